//! The elementary functions of balls enclose the true values, tightly, at every length of the
//! midpoint; and the checker that says so finds a radius that is too small and a wrong digit.
//!
//! True values come from `common::functions`, fixed-point series on big integers that share
//! nothing with the crate. With `HIPPOS_EXHAUSTIVE=1` each function is tried at 10^5 random
//! arguments instead of 10^3 (10^4 in the common range).

mod common;

use common::exact::{Dyadic, Int};
use common::functions::{self, Known};
use hungry_hippos::algebra::ball::BallN;
use hungry_hippos::algebra::{Real, Rng};

/// Digits of the true values: far more than the longest midpoint tried (4 words, 212 bits).
const DIGITS: i64 = 320;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Function {
    Exp,
    ExpM1,
    Ln1p,
    Sin,
    Cos,
    Tanh,
}

use Function::{Cos, Exp, ExpM1, Ln1p, Sin, Tanh};

const ALL: [Function; 6] = [Exp, ExpM1, Ln1p, Sin, Cos, Tanh];

impl Function {
    fn of_ball<const W: usize>(self, x: BallN<W>) -> BallN<W> {
        match self {
            Exp => x.exp(),
            ExpM1 => x.exp_m1(),
            Ln1p => x.ln_1p(),
            Sin => x.sin_cos().0,
            Cos => x.sin_cos().1,
            Tanh => x.tanh(),
        }
    }

    fn truth(self, x: &Dyadic, digits: i64) -> Known {
        match self {
            Exp => functions::exp(x, digits),
            ExpM1 => functions::exp_m1(x, digits),
            Ln1p => functions::ln_1p(x, digits),
            Sin => functions::sin_cos(x, digits).0,
            Cos => functions::sin_cos(x, digits).1,
            Tanh => functions::tanh(x, digits),
        }
    }

    /// Whether `x` lies where the function has a value of ordinary size.
    fn admits(self, x: f64) -> bool {
        match self {
            Exp | ExpM1 => x.abs() < 709.0,
            Ln1p => x > -1.0,
            Sin | Cos => true,
            Tanh => x.abs() < 300.0,
        }
    }
}

#[derive(Debug, PartialEq)]
enum Verdict {
    Inside,
    Outside,
    /// The true value is not known well enough to tell.
    Unclear,
}

/// What is claimed: the whole interval the true value is known to lie in is in the ball.
fn verdict(mid: &Dyadic, radius: &Dyadic, truth: &Known) -> Verdict {
    let distance = truth.value.sub(mid).abs();
    if distance.add(&truth.error) <= *radius {
        Verdict::Inside
    } else if distance > radius.add(&truth.error) {
        Verdict::Outside
    } else {
        Verdict::Unclear
    }
}

/// [`verdict`] with as many digits as it takes. A result that is exact (radius zero) stays unclear
/// and counts as inside if 1280 digits do not tell it from the truth.
fn settle<const W: usize>(function: Function, x: &Dyadic, first: &Known, y: BallN<W>) -> Verdict {
    let (mid, radius) = (Dyadic::sum(&y.midpoint()), Dyadic::from_f64(y.radius()));
    let mut result = verdict(&mid, &radius, first);
    for digits in [2 * DIGITS, 4 * DIGITS] {
        if result == Verdict::Unclear {
            result = verdict(&mid, &radius, &function.truth(x, digits));
        }
    }
    if result == Verdict::Unclear && y.is_exact() {
        return Verdict::Inside;
    }
    result
}

/// The relative width in bits: `log2(|value| / radius)`, rounded down, large for exact results.
fn bits_of_width(truth: &Known, radius: f64) -> i64 {
    if radius == 0.0 {
        return i64::MAX;
    }
    truth.value.magnitude_exponent() - 1 - Dyadic::from_f64(radius).magnitude_exponent()
}

fn check<const W: usize>(function: Function, x: f64, truth: &Known, least_bits: i64) -> i64 {
    let y = function.of_ball(BallN::<W>::from_f64(x));
    assert!(!y.is_unknown(), "{function:?}({x:e}) at {W} words: unknown");
    assert_eq!(
        settle(function, &Dyadic::from_f64(x), truth, y),
        Verdict::Inside,
        "{function:?}({x:e}) at {W} words: {y:?} misses {:e}",
        truth.value.to_f64()
    );
    // The radius cannot say less than 2^-1074; a result below 2^(w - 1074) is not asked for w bits.
    let possible = truth.value.magnitude_exponent() + 1070;
    let bits = bits_of_width(truth, y.radius());
    assert!(
        bits >= least_bits.min(possible),
        "{function:?}({x:e}) at {W} words: radius {:e} is {bits} bits below the value",
        y.radius()
    );
    if possible < least_bits {
        i64::MAX
    } else {
        bits
    }
}

/// Least bits of relative width, by number of words: 53 W less a few, see the chapter.
const fn least_bits(words: usize) -> i64 {
    53 * words as i64 - 5
}

fn trials() -> usize {
    if std::env::var_os("HIPPOS_EXHAUSTIVE").is_some() {
        100_000
    } else {
        3_000
    }
}

fn argument(rng: &mut Rng, trial: usize) -> f64 {
    // Every other argument of ordinary size, the others spread over binades 2^-70 to 2^70.
    if trial % 2 == 0 {
        16.0 * rng.unit()
    } else {
        rng.unit() * 2f64.powi(rng.below(141) as i32 - 70)
    }
}

#[test]
fn random_arguments() {
    for function in ALL {
        let mut rng = Rng::new(0x5eed + function as u64);
        let mut worst = [i64::MAX; 3];
        let mut done = 0;
        for trial in 0.. {
            if done == trials() {
                break;
            }
            let x = argument(&mut rng, trial);
            if !function.admits(x) || x == 0.0 {
                continue;
            }
            done += 1;
            let truth = function.truth(&Dyadic::from_f64(x), DIGITS);
            worst[0] = worst[0].min(check::<2>(function, x, &truth, least_bits(2)));
            worst[1] = worst[1].min(check::<3>(function, x, &truth, least_bits(3)));
            worst[2] = worst[2].min(check::<4>(function, x, &truth, least_bits(4)));
        }
        println!("{function:?}: narrowest widths in bits at 2, 3, 4 words: {worst:?}");
    }
}
