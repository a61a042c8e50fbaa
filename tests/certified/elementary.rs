//! The elementary functions of balls enclose the true values, tightly, at every length of the
//! midpoint; and the checker that says so finds a radius that is too small and a wrong digit.
//!
//! True values come from `common::functions`, fixed-point series on big integers that share
//! nothing with the crate. With `HIPPOS_EXHAUSTIVE=1` each function is tried at 10^5 random
//! arguments instead of 1500.

#![allow(clippy::float_cmp, reason = "exact results are compared exactly")]

use crate::common::exact::{Dyadic, Int};
use crate::common::functions::{self, Known};
use crate::common::is_exhaustive;
use hungry_hippos::algebra::ball::{BallN, DiscN};
use hungry_hippos::algebra::{ComplexScalar, Real, Rng, RootsOfUnity};

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
    Erf,
}

use Function::{Cos, Erf, Exp, ExpM1, Ln1p, Sin, Tanh};

const ALL: [Function; 7] = [Exp, ExpM1, Ln1p, Sin, Cos, Tanh, Erf];

impl Function {
    fn of_ball<const W: usize>(self, x: BallN<W>) -> BallN<W> {
        match self {
            Exp => x.exp(),
            ExpM1 => x.exp_m1(),
            Ln1p => x.ln_1p(),
            Sin => x.sin_cos().0,
            Cos => x.sin_cos().1,
            Tanh => x.tanh(),
            Erf => x.erf(),
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
            Erf => functions::erf(x, digits),
        }
    }

    /// Whether `x` lies where the function has a value of ordinary size.
    fn admits(self, x: f64) -> bool {
        match self {
            Exp | ExpM1 => x.abs() < 709.0,
            Ln1p => x > -1.0,
            Sin | Cos => true,
            Tanh => x.abs() < 300.0,
            Erf => x.abs() < 12.0,
        }
    }

    /// The bits of a midpoint that its radius may cover, relative to the value. Far out `erf` sums a
    /// hundred terms, each with its own rounding.
    const fn lost_bits(self) -> i64 {
        match self {
            Exp | ExpM1 | Ln1p | Sin | Cos | Tanh => 5,
            Erf => 13,
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
    // No word and no radius is finer than 2^-1074. Where the result is small, a radius of a few
    // times that, here 2^-1068, is all that is asked.
    let possible = truth.value.magnitude_exponent() + 1067;
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
const fn least_bits(function: Function, words: usize) -> i64 {
    53 * words as i64 - function.lost_bits()
}

fn trials(function: Function) -> usize {
    let all = if is_exhaustive() { 100_000 } else { 1_500 };
    // The true values of erf take a series of hundreds of terms.
    if function == Erf { all / 10 } else { all }
}

fn argument(rng: &mut Rng, trial: usize) -> f64 {
    // Every other argument of ordinary size, the others spread over binades 2^-70 to 2^70.
    if trial.is_multiple_of(2) {
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
            if done == trials(function) {
                break;
            }
            let x = argument(&mut rng, trial);
            if !function.admits(x) || x == 0.0 {
                continue;
            }
            done += 1;
            let truth = function.truth(&Dyadic::from_f64(x), DIGITS);
            worst[0] = worst[0].min(check::<2>(function, x, &truth, least_bits(function, 2)));
            worst[1] = worst[1].min(check::<3>(function, x, &truth, least_bits(function, 3)));
            worst[2] = worst[2].min(check::<4>(function, x, &truth, least_bits(function, 4)));
        }
        println!("{function:?}: narrowest widths in bits at 2, 3, 4 words: {worst:?}");
    }
}

/// Arguments at which something special happens, for each function it happens to.
const HARD: &[(f64, &str)] = &[
    (0.0, "exact results"),
    (f64::MIN_POSITIVE, "smallest normal"),
    (5e-324, "smallest subnormal"),
    (1.0e-310, "subnormal"),
    (-3.0e-320, "subnormal"),
    (1.0e-300, "squares underflow"),
    (1.0e-160, "cubes underflow"),
    (1.0e-20, "series of one term"),
    (-7.450_580_596_923_828e-9, "2^-27"),
    (
        0.346_573_590_279_972_64,
        "half of ln 2: a new multiple is taken out",
    ),
    (0.346_573_590_279_972_7, "half of ln 2, next"),
    (0.35, "expm1 changes method"),
    (-0.35, "expm1 changes method"),
    (
        core::f64::consts::LN_2,
        "ln 2: argument reduced to nearly zero",
    ),
    (-693.147_180_559_945_3, "-1000 ln 2, nearly"),
    (709.782_712_893_384, "largest argument of exp"),
    (709.782_712_893_384_1, "exp overflows"),
    (-708.396_418_532_264_1, "exp reaches the subnormal range"),
    (-744.440_071_921_381_3, "exp near the smallest subnormal"),
    (-745.133_219_101_941_2, "exp rounds to zero"),
    (-1.0e4, "exp far below"),
    (
        -1.0e300,
        "exp far below, its quotient by ln 2 beyond any integer type",
    ),
    (-0.999_999_999_999_999_9, "1 + x is tiny"),
    (-0.5, "1 + x a power of two"),
    (
        -0.292_893_218_813_452_5,
        "1 + x = sqrt(1/2): ln_1p changes method",
    ),
    (
        0.414_213_562_373_095_03,
        "1 + x = sqrt 2: ln_1p changes method",
    ),
    (0.414_213_562_373_095_1, "the same, next"),
    (1.0, "powers of two"),
    (3.0, "powers of two"),
    (1.0e16, "1 + x rounds"),
    (f64::MAX, "largest"),
    (
        core::f64::consts::FRAC_PI_4,
        "pi/4: a quarter turn is taken out",
    ),
    (0.785, "reduction starts"),
    (0.785_000_000_000_000_1, "reduction starts, next"),
    (core::f64::consts::FRAC_PI_2, "pi/2 rounded: cosine 6e-17"),
    (core::f64::consts::PI, "pi rounded: sine 1e-16"),
    (3.0 * core::f64::consts::FRAC_PI_2, "3 pi/2"),
    (1.0e22, "the classical test of argument reduction"),
    (-1.0e22, "the same, negative"),
    (1.7e308, "huge"),
    (20.0, "tanh near one"),
    (-37.0, "tanh near one"),
    (355.0, "355/113: nearly a multiple of pi"),
];

/// `6381956970095103 * 2^797`, the double nearest to a multiple of `pi/2` in relative terms
/// (Muller, *Elementary Functions*, table of worst cases): its cosine is about 4.7e-19.
fn worst_for_half_pi() -> f64 {
    6_381_956_970_095_103.0 * 2f64.powi(797)
}

fn hard_arguments() -> Vec<f64> {
    let mut all: Vec<f64> = HARD.iter().map(|&(x, _)| x).collect();
    all.extend([worst_for_half_pi(), -worst_for_half_pi()]);
    // Every binade, or every third, so that every bit of 2/pi is used.
    let step = if is_exhaustive() { 1 } else { 3 };
    all.extend(
        (-1074..1024)
            .step_by(step)
            .map(|e| 2f64.powi(e / 2) * 2f64.powi(e - e / 2)),
    );
    all.extend(
        (0..970)
            .step_by(7)
            .map(|e| (2f64.powi(53) - 1.0) * 2f64.powi(e)),
    );
    all
}

/// Whether the true value overflows or the argument is outside the domain.
fn has_no_value(function: Function, x: f64) -> bool {
    match function {
        Exp | ExpM1 => x > 709.782_712_893_384,
        Ln1p => x <= -1.0,
        _ => false,
    }
}

#[test]
fn hard_arguments_at_every_length() {
    for function in ALL {
        for x in hard_arguments() {
            if has_no_value(function, x) {
                assert!(function.of_ball(BallN::<2>::from_f64(x)).is_unknown());
                assert!(function.of_ball(BallN::<5>::from_f64(x)).is_unknown());
                continue;
            }
            let settled = match function {
                Exp if x < -760.0 => Some((0.0, 1e-322)),
                ExpM1 if x < -760.0 => Some((-1.0, 1e-320)),
                Tanh if x.abs() > 500.0 => Some((x.signum(), 1e-320)),
                Erf if x.abs() > 28.0 => Some((x.signum(), 1e-320)),
                _ => None,
            };
            if let Some((limit, most)) = settled {
                // e^x < 2^-1090 here: the limit is in the ball, and the radius next to nothing.
                let y = function.of_ball(BallN::<2>::from_f64(x));
                assert!(
                    y.contains(limit) && y.radius() < most,
                    "{function:?}({x:e}): {y:?}"
                );
                continue;
            }
            let truth = function.truth(&Dyadic::from_f64(x), DIGITS);
            if x == 0.0 {
                check::<2>(function, x, &truth, i64::MAX);
                continue;
            }
            check::<1>(function, x, &truth, least_bits(function, 1));
            check::<2>(function, x, &truth, least_bits(function, 2));
            check::<3>(function, x, &truth, least_bits(function, 3));
            check::<4>(function, x, &truth, least_bits(function, 4));
            check::<5>(function, x, &truth, least_bits(function, 5));
            check::<6>(function, x, &truth, least_bits(function, 6));
        }
    }
}

/// Arguments that need all their words, among them ones much nearer to multiples of pi/2 and of
/// ln 2 than any `f64`.
#[test]
fn arguments_of_several_words() {
    fn at<const W: usize>(function: Function, x: BallN<W>) {
        let x = BallN::<W>::new(x.midpoint(), 0.0);
        assert!(x.is_exact());
        let exact = Dyadic::sum(&x.midpoint());
        if has_no_value(function, x.to_f64()) {
            return;
        }
        let truth = function.truth(&exact, 2 * DIGITS + 200);
        let y = function.of_ball(x);
        assert_eq!(
            settle(function, &exact, &truth, y),
            Verdict::Inside,
            "{function:?}({x:?}) at {W} words: {y:?}"
        );
        let bits = bits_of_width(&truth, y.radius());
        // expm1, ln_1p and tanh do not come near a zero here except at zero itself.
        assert!(
            bits >= least_bits(function, W),
            "{function:?}({x:?}) at {W} words: {bits} bits"
        );
    }
    fn all<const W: usize>() {
        let mut rng = Rng::new(11);
        for function in ALL {
            // True values of erf are for small arguments.
            for k in 1..if function == Erf { 8 } else { 40 } {
                let factor = BallN::<W>::from_f64(f64::from(k) / 2.0);
                at(function, BallN::pi() * factor);
                at(function, BallN::ln_2() * factor);
                at(function, -(BallN::ln_2() * factor));
                let mut words = [0.0; W];
                for (i, word) in words.iter_mut().enumerate() {
                    *word = rng.unit() * 2f64.powi(-53 * i as i32 - rng.below(9) as i32);
                }
                at(function, BallN::new(words, 0.0));
            }
        }
    }
    all::<2>();
    all::<3>();
    all::<4>();
}

/// The functions at balls of positive radius contain their values at points of the ball, the ends
/// included; and the radius is at most 1.01 times (plus rounding) what the ends force, or, where the
/// derivative varies over the ball, at most a stated factor.
#[test]
fn wide_balls() {
    let mut rng = Rng::new(77);
    for function in ALL {
        for trial in 0..400 {
            let x = argument(&mut rng, 2 * (trial % 2));
            let x = if function == Erf { x / 4.0 } else { x };
            let radius = 2f64.powi(-(rng.below(50) as i32)) * (1.0 + rng.unit().abs());
            let domain = if function == Ln1p {
                x - radius > -1.0
            } else {
                true
            };
            let ball = BallN::<2>::new([x, 0.0], radius);
            let y = function.of_ball(ball);
            if !domain {
                assert!(y.is_unknown(), "ln_1p of a ball that reaches -1");
                continue;
            }
            let center = Dyadic::from_f64(x);
            let (mid, rad) = (Dyadic::sum(&y.midpoint()), Dyadic::from_f64(y.radius()));
            let mut reach = Dyadic::zero();
            for part in [-1.0, -0.7, -0.01, 0.3, 1.0] {
                let point = center.add(&Dyadic::from_f64(radius).mul(&Dyadic::from_f64(part)));
                let truth = function.truth(&point, DIGITS);
                assert_eq!(
                    verdict(&mid, &rad, &truth),
                    Verdict::Inside,
                    "{function:?} of {ball:?} is {y:?}, which misses a point of it"
                );
                reach = reach.max(truth.value.sub(&mid).abs());
            }
            if radius < 1e-3 && !matches!(function, Sin | Cos) {
                let slack = reach.to_f64() * 1.01 + 1e-29 * y.upper_magnitude();
                // ln_1p near -1 and beyond: the slope varies by r/(1 + x - r).
                let variation = if function == Ln1p {
                    1.0 + 2.0 * radius / (1.0 + x - radius)
                } else {
                    1.0
                };
                assert!(
                    y.radius() <= slack * variation,
                    "{function:?} of {ball:?}: radius {:e} where the ends force {:e}",
                    y.radius(),
                    reach.to_f64()
                );
            }
        }
    }
}

#[test]
fn square_roots() {
    fn check<const W: usize>(x: f64, least_bits: i64) {
        let y = BallN::<W>::from_f64(x).sqrt();
        let (mid, rad) = (Dyadic::sum(&y.midpoint()), Dyadic::from_f64(y.radius()));
        // Exactly: low^2 <= x <= high^2.
        let (low, high, x_exact) = (mid.sub(&rad), mid.add(&rad), Dyadic::from_f64(x));
        assert!(!low.int.is_negative(), "sqrt({x:e}) = {y:?}");
        assert!(
            low.mul(&low) <= x_exact && x_exact <= high.mul(&high),
            "sqrt({x:e}) = {y:?}"
        );
        let bits = mid.magnitude_exponent() - 1 - rad.magnitude_exponent();
        assert!(
            y.is_exact() || bits >= least_bits,
            "sqrt({x:e}) = {y:?}: {bits} bits"
        );
    }
    let mut rng = Rng::new(3);
    let random =
        (0..trials(Exp)).map(|_| rng.unit().abs() * 2f64.powi(rng.below(2000) as i32 - 1000));
    let random: Vec<f64> = random.collect();
    for x in random
        .into_iter()
        .chain(hard_arguments())
        .filter(|&x| x > 0.0)
    {
        check::<1>(x, 51);
        check::<2>(x, 53 * 2 - 1);
        check::<3>(x, 53 * 3 - 1);
        check::<4>(x, 53 * 4 - 1);
    }
    for k in 0..200 {
        let y = BallN::<2>::from_f64(f64::from(k * k)).sqrt();
        assert!(
            y.is_exact() && y.contains(f64::from(k)),
            "sqrt({}) = {y:?}",
            k * k
        );
    }
    // Wide balls: the ends are in, a ball that reaches below zero has no root.
    for (m, r) in [(4.0, 1.0), (1.0, 1.0), (1e-300, 1e-301), (2.0, 1e-20)] {
        let y = BallN::<2>::new([m, 0.0], r).sqrt();
        let (mid, rad) = (Dyadic::sum(&y.midpoint()), Dyadic::from_f64(y.radius()));
        let (low, high) = (mid.sub(&rad), mid.add(&rad));
        let m = Dyadic::from_f64(m);
        let r = Dyadic::from_f64(r);
        assert!(low.int.is_negative() || low.mul(&low) <= m.sub(&r));
        assert!(m.add(&r) <= high.mul(&high));
    }
    assert!(BallN::<2>::new([1.0, 0.0], 1.1).sqrt().is_unknown());
    assert!(BallN::<2>::from_f64(-1.0).sqrt().is_unknown());
}

/// The reference itself: two formulas each for pi and ln 2, identities, and known digits.
#[test]
fn the_reference_agrees_with_itself() {
    let p = 2000;
    let near = |a: &Int, b: &Int| a.sub(b).bits() < 16;
    assert!(near(&functions::pi(p), &functions::pi_again(p)));
    assert!(near(&functions::ln_2(p), &functions::ln_2_again(p)));
    let close = |a: &Dyadic, b: f64| (a.to_f64() - b).abs() <= 1e-15 * b.abs();
    let at = |f: Function, x: f64| f.truth(&Dyadic::from_f64(x), DIGITS).value;
    // Digits of e, ln 3, sin 1, cos 1, tanh 1 from any table.
    assert!(close(&at(Exp, 1.0), std::f64::consts::E));
    assert!(close(&at(Ln1p, 2.0), 1.098_612_288_668_109_8));
    assert!(close(&at(Sin, 1.0), 0.841_470_984_807_896_5));
    assert!(close(&at(Cos, 1.0), 0.540_302_305_868_139_8));
    assert!(close(&at(Tanh, 1.0), 0.761_594_155_955_764_9));
    // sin(1e22), the classical value.
    assert!(close(&at(Sin, 1e22), -0.852_200_849_767_188_8));
    let mut rng = Rng::new(5);
    for _ in 0..50 {
        let x = Dyadic::from_f64(3.0 * rng.unit());
        let one = Dyadic::power_of_two(0);
        let tiny = Dyadic::power_of_two(40 - DIGITS);
        let (sin, cos) = functions::sin_cos(&x, DIGITS);
        let norm = sin.value.mul(&sin.value).add(&cos.value.mul(&cos.value));
        assert!(norm.sub(&one).abs() < tiny);
        let product = functions::exp(&x, DIGITS)
            .value
            .mul(&functions::exp(&x.neg(), DIGITS).value);
        assert!(product.sub(&one).abs() < tiny);
        // ln(1 + expm1 x) = x.
        let back = functions::ln_1p(&functions::exp_m1(&x, DIGITS).value, DIGITS);
        assert!(back.value.sub(&x).abs() < tiny);
    }
}

fn constant_is<const W: usize>(ball: BallN<W>, truth: &Int, p: i64) -> bool {
    let known = Known {
        value: Dyadic::new(truth.clone(), -p),
        error: Dyadic::power_of_two(4 - p),
    };
    let (mid, rad) = (
        Dyadic::sum(&ball.midpoint()),
        Dyadic::from_f64(ball.radius()),
    );
    verdict(&mid, &rad, &known) == Verdict::Inside
        && bits_of_width(&known, ball.radius()) >= 53 * W as i64
}

#[test]
fn constants_and_wrong_digits() {
    let p = 600;
    let (pi, ln_2) = (functions::pi(p), functions::ln_2(p));
    fn both<const W: usize>(pi: &Int, ln_2: &Int, p: i64) {
        assert!(constant_is(BallN::<W>::pi(), pi, p));
        assert!(constant_is(BallN::<W>::ln_2(), ln_2, p));
        // One unit of the last word off, or of any other.
        for wrong in 0..W {
            for ball in [BallN::<W>::pi(), BallN::<W>::ln_2()] {
                let mut words = ball.midpoint();
                words[wrong] = words[wrong].next_up();
                let ball = BallN::<W>::new(words, ball.radius());
                assert!(!constant_is(ball, pi, p) && !constant_is(ball, ln_2, p));
            }
        }
    }
    both::<1>(&pi, &ln_2, p);
    both::<2>(&pi, &ln_2, p);
    both::<3>(&pi, &ln_2, p);
    both::<4>(&pi, &ln_2, p);
    both::<5>(&pi, &ln_2, p);
    both::<6>(&pi, &ln_2, p);
}

/// The same checker refuses radii that are too small: never wrongly at the full radius (the tests
/// above), often at half of it, and always at none. The radius of `erf` allows for a hundred roundings that
/// all err one way, which they never do: half of it is enough.
#[test]
fn a_shrunk_radius_is_found() {
    for function in ALL {
        let mut rng = Rng::new(99);
        let (mut halved, mut sixteenth, mut total) = (0, 0, 0);
        for trial in 0..600 {
            let x = argument(&mut rng, trial);
            if !function.admits(x) || x.abs() < 1e-3 {
                continue;
            }
            let truth = function.truth(&Dyadic::from_f64(x), 2 * DIGITS);
            let y = function.of_ball(BallN::<2>::from_f64(x));
            let mid = Dyadic::sum(&y.midpoint());
            let with = |factor: f64| {
                verdict(&mid, &Dyadic::from_f64(y.radius() * factor), &truth) == Verdict::Outside
            };
            total += 1;
            halved += usize::from(with(0.5));
            sixteenth += usize::from(with(1.0 / 16.0));
            // No elementary value at these arguments is a dyadic number: radius zero is wrong,
            // unless the value is so near to one that its neighbour cannot be told (tanh, exp
            // at large arguments, where the radius is below 2^-640).
            assert!(with(0.0) || y.radius() < 1e-150, "{function:?}({x:e})");
        }
        println!(
            "{function:?}: of {total} radii, {halved} are found if halved, {sixteenth} if a sixteenth"
        );
        assert!(
            halved > 0 || function == Erf,
            "{function:?}: halving the radius is never noticed"
        );
        assert!(
            sixteenth > total / 4,
            "{function:?}: {sixteenth} of {total}"
        );
    }
}

/// A logarithm table, a turn or a factorial with one wrong digit shifts the value: by twice the widest
/// radius, a relative 2^-100 (of `erf` 2^-92), it must be noticed at two words.
#[test]
fn a_shifted_value_is_found() {
    let mut rng = Rng::new(98);
    for function in ALL {
        for trial in 0..200 {
            let x = argument(&mut rng, trial);
            if !function.admits(x) || x.abs() < 1e-3 {
                continue;
            }
            let truth = function.truth(&Dyadic::from_f64(x), DIGITS);
            let y = function.of_ball(BallN::<2>::from_f64(x));
            let mid = Dyadic::sum(&y.midpoint());
            let shifted = mid.add(&mid.scaled(1 - least_bits(function, 2)));
            assert_eq!(
                verdict(&shifted, &Dyadic::from_f64(y.radius()), &truth),
                Verdict::Outside,
                "{function:?}({x:e})"
            );
        }
    }
}

/// Whether a complex number, known in parts, is in a disc.
fn disc_holds<const W: usize>(z: DiscN<W>, re: &Known, im: &Known) -> bool {
    let (mid_re, mid_im) = z.midpoint();
    let dx = re.value.sub(&Dyadic::sum(&mid_re)).abs().add(&re.error);
    let dy = im.value.sub(&Dyadic::sum(&mid_im)).abs().add(&im.error);
    let rad = Dyadic::from_f64(z.radius());
    dx.mul(&dx).add(&dy.mul(&dy)) <= rad.mul(&rad)
}

#[test]
fn roots_of_unity_of_any_order() {
    fn check<const W: usize>(n: usize) {
        let roots = DiscN::<W>::roots_of_unity(n).unwrap();
        assert_eq!(roots.len(), n);
        let p = 500;
        for (k, &w) in roots.iter().enumerate() {
            assert!(
                w.radius() <= 2f64.powi(5 - 53 * W as i32),
                "w_{n}^{k} = {w:?}"
            );
            if 4 * k % n == 0 {
                let (re, im) = w.midpoint();
                assert!(w.radius() == 0.0, "quarter turns are exact");
                let expected = [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][4 * k / n];
                assert_eq!((re[0], im[0]), expected);
                continue;
            }
            let angle = functions::pi(p)
                .mul(&Int::from(2 * k as i64))
                .div(&Int::from(n as i64));
            let (sin, cos) = functions::sin_cos(&Dyadic::new(angle, -p), 400);
            assert!(disc_holds(w, &cos, &sin), "w_{n}^{k} = {w:?}");
            // The symmetry holds bit for bit.
            assert_eq!(w.conj().midpoint(), roots[n - k].midpoint());
        }
    }
    for n in [1, 2, 3, 4, 5, 7, 8, 12, 16, 60, 97, 256, 1000] {
        check::<2>(n);
        check::<3>(n);
    }
    assert!(DiscN::<2>::roots_of_unity(0).is_none());
    // A root moved by 2^-95 is refused.
    let w = DiscN::<2>::roots_of_unity(7).unwrap()[1];
    let (mut re, im) = w.midpoint();
    re[1] += 2f64.powi(-95);
    let angle = functions::pi(500).shift(1).div(&Int::from(7));
    let (sin, cos) = functions::sin_cos(&Dyadic::new(angle, -500), 400);
    assert!(!disc_holds(DiscN::new(re, im, w.radius()), &cos, &sin));
}

/// `e^z`, `phi_1(z)` and `phi_1'(z)` of `z = x + i y` from the reference functions:
/// `w = e^z - 1`, `phi_1 = w/z`, `phi_1' = (e^z - phi_1)/z`, with digits enough that no
/// cancellation matters.
fn complex_truth(x: &Dyadic, y: &Dyadic) -> [(Dyadic, Dyadic); 3] {
    let digits = 900;
    let p = 800;
    let e = functions::exp(x, digits).value;
    let (sin, cos) = functions::sin_cos(y, digits);
    let exp = (e.mul(&cos.value), e.mul(&sin.value));
    let one = Dyadic::power_of_two(0);
    let divide = |(a, b): (Dyadic, Dyadic)| -> (Dyadic, Dyadic) {
        let norm = x.mul(x).add(&y.mul(y)).fixed(2 * p);
        let quotient = |n: Dyadic| Dyadic::new(n.fixed(3 * p).div(&norm), -p);
        (
            quotient(a.mul(x).add(&b.mul(y))),
            quotient(b.mul(x).sub(&a.mul(y))),
        )
    };
    let phi = divide((exp.0.sub(&one), exp.1.clone()));
    let slope = divide((exp.0.sub(&phi.0), exp.1.sub(&phi.1)));
    [exp, phi, slope]
}

#[test]
fn complex_exponential_and_phi() {
    fn check<const W: usize>(x: f64, y: f64, least_bits: i32) {
        let z = DiscN::<W>::from_parts(BallN::from_f64(x), BallN::from_f64(y));
        let truths = complex_truth(&Dyadic::from_f64(x), &Dyadic::from_f64(y));
        let values = [
            BallN::<W>::exp_complex(z),
            BallN::<W>::phi1(z),
            BallN::<W>::phi1_derivative(z),
        ];
        for (name, (truth, value)) in ["exp", "phi1", "phi1'"]
            .iter()
            .zip(truths.iter().zip(values))
        {
            let known = |v: &Dyadic| Known {
                value: v.clone(),
                error: Dyadic::power_of_two(-400),
            };
            assert!(
                disc_holds(value, &known(&truth.0), &known(&truth.1)),
                "{name}({x:e} + {y:e} i) at {W} words: {value:?}"
            );
            let size = truth.0.to_f64().abs().max(truth.1.to_f64().abs());
            assert!(
                value.radius() <= size * 2f64.powi(-least_bits),
                "{name}({x:e} + {y:e} i) at {W} words: radius {:e} of {size:e}",
                value.radius()
            );
        }
    }
    let mut rng = Rng::new(21);
    for trial in 0..120 {
        let size = [1.0, 1e-3, 1e-12, 1e-30, 8.0, 0.7][trial % 6];
        let (x, y) = (size * rng.unit(), size * rng.unit());
        check::<2>(x, y, 99);
        check::<3>(x, y, 151);
        check::<4>(x, y, 203);
    }
    check::<2>(-0.5, 0.0, 99);
    check::<2>(0.0, 3.0, 99);
    check::<2>(-1e-40, 0.0, 99);
    // At zero exactly.
    let zero = DiscN::<2>::new([0.0; 2], [0.0; 2], 0.0);
    let one = BallN::<2>::phi1(zero);
    assert!(one.radius() == 0.0 && one.midpoint().0 == [1.0, 0.0]);
    let half = BallN::<2>::phi1_derivative(zero);
    assert!(half.radius() == 0.0 && half.midpoint().0 == [0.5, 0.0]);
}

/// Discs of positive radius, around zero and elsewhere: values at points on the rim are inside.
#[test]
fn complex_functions_of_wide_discs() {
    for (x, y, radius) in [
        (0.0, 0.0, 1e-3),
        (1e-4, -2e-4, 1e-3),
        (0.3, 0.2, 0.5),
        (-1.5, 0.5, 0.25),
        (-1.5, 0.5, 2.0),
        // Centers on the real axis: the disc still holds numbers that are not real.
        (0.5, 0.0, 0.25),
        (-2.5, 0.0, 0.5),
        (3.0, 0.0, 1e-3),
        (0.2, 6.2, 0.125),
        (-30.0, 2.0, 0.5),
    ] {
        let z = DiscN::<2>::new([x, 0.0], [y, 0.0], radius);
        let values = [
            BallN::<2>::exp_complex(z),
            BallN::<2>::phi1(z),
            BallN::<2>::phi1_derivative(z),
        ];
        // Points of the rim, a little inside: (3/5, 4/5) and its images, and the axes.
        for (c, s) in [
            (0.6, 0.8),
            (-0.6, 0.8),
            (0.8, -0.6),
            (-0.8, -0.6),
            (1.0, 0.0),
            (-1.0, 0.0),
            (0.0, 1.0),
            (0.0, -1.0),
        ] {
            let inside = radius * (1.0 - 1e-10);
            let (px, py) = (x + inside * c, y + inside * s);
            let truths = complex_truth(&Dyadic::from_f64(px), &Dyadic::from_f64(py));
            for (truth, value) in truths.iter().zip(values) {
                assert!(!value.is_unknown());
                let known = |v: &Dyadic| Known {
                    value: v.clone(),
                    error: Dyadic::power_of_two(-400),
                };
                assert!(
                    disc_holds(value, &known(&truth.0), &known(&truth.1)),
                    "{z:?} at ({px}, {py}): {value:?}"
                );
            }
        }
        // Not absurdly wide: the slopes of exp, phi1, phi1' are at most e^x, and 1/2 and 1/3 of
        // max(1, e^x); by division the factor is at most 8 for these discs.
        let slope = (x + radius).exp().max(1.0);
        for value in values {
            assert!(value.radius() <= 8.0 * slope * radius, "{z:?}: {value:?}");
        }
    }
}

/// Arguments from which on a limit is taken for the value, which is then off by less than the
/// smallest number: no wider radius is returned, from the first such argument.
#[test]
fn limits_are_as_near_as_can_be_said() {
    let eta = f64::from_bits(1);
    for x in [-746.0, -747.0, -1e5, -1e300, f64::MIN] {
        let y = BallN::<2>::from_f64(x).exp();
        assert_eq!((y.midpoint(), y.radius()), ([0.0; 2], eta), "exp({x:e})");
    }
    for x in [400.0, 401.0, 1e5, f64::MAX] {
        for x in [x, -x] {
            let y = BallN::<2>::from_f64(x).tanh();
            let limit = [x.signum(), 0.0];
            assert_eq!((y.midpoint(), y.radius()), (limit, eta), "tanh({x:e})");
        }
    }
    // Above, where every exponential overflows, nothing is known, by whatever step it overflows.
    for x in [709.79, 710.0, 711.0, 1e4, 1e10, 1e17, 1e300, f64::MAX] {
        assert!(BallN::<2>::from_f64(x).exp().is_unknown(), "exp({x:e})");
        assert!(BallN::<6>::from_f64(x).exp().is_unknown(), "exp({x:e})");
    }
    // The logarithm's domain ends at -1, and there is none of zero or of a negative number.
    for x in [-1.0, -1.5, -2.0, -2.5, -3.0, -5.0, -1e16, -1e300, f64::MIN] {
        assert!(BallN::<2>::from_f64(x).ln_1p().is_unknown(), "ln_1p({x:e})");
        assert!(BallN::<1>::from_f64(x).ln_1p().is_unknown(), "ln_1p({x:e})");
    }
    let below = BallN::<3>::new([-1.0, -1e-40, 0.0], 0.0);
    assert!(below.ln_1p().is_unknown());
    // A zero keeps the sign it has for f64.
    let zero = BallN::<2>::from_f64(0.0).tanh().midpoint()[0];
    assert_eq!(zero.to_bits(), 0f64.tanh().to_bits());
}

/// What nothing is known of stays so under every function.
#[test]
fn functions_of_the_unknown() {
    for function in ALL {
        assert!(function.of_ball(BallN::<1>::UNKNOWN).is_unknown());
        assert!(function.of_ball(BallN::<2>::UNKNOWN).is_unknown());
    }
}

/// The addition theorem bounds the spread of the sine by `|cos m| r + r^2/2`, that of the cosine
/// likewise; the radius is that bound, and rounding.
#[test]
fn the_spread_of_sine_and_cosine() {
    let near = |radius: f64, bound: f64| radius <= bound * (1.0 + 1e-12);
    for x in [0.0, 0.3, 1.0, core::f64::consts::FRAC_PI_2, 3.0, 100.0] {
        for r in [0.125, 1e-3, 1e-9] {
            let (sin, cos) = BallN::<2>::new([x, 0.0], r).sin_cos();
            let second = r * r / 2.0;
            assert!(
                near(sin.radius(), x.cos().abs() * r + second),
                "sin of {x} +- {r}: {sin:?}"
            );
            assert!(
                near(cos.radius(), x.sin().abs() * r + second),
                "cos of {x} +- {r}: {cos:?}"
            );
        }
    }
}

/// The slopes of `phi_1` and `phi_1'` are at most a half and a third of `max(1, e^x)`: near zero,
/// and where the disc is too wide to divide by its numbers, the radius is that slope's. The
/// exponential over a disc is bounded by way of `e^r <= (2 + r)/(2 - r)`, for `r <= 1` off by a
/// factor `3/e` at most.
#[test]
fn the_spread_of_phi() {
    for (x, y, r) in [
        (0.0, 0.0, 1e-3),
        (-0.5, 0.25, 1e-3),
        (0.5, -0.25, 0.125),
        (-1.5, 0.5, 2.0),
        (-2.0, 0.0, 2.5),
    ] {
        let z = DiscN::<2>::new([x, 0.0], [y, 0.0], r);
        let largest = (x + r).exp().max(1.0) * (3.0 / core::f64::consts::E);
        let (phi, slope) = (BallN::phi1(z), BallN::phi1_derivative(z));
        for (name, radius, bound) in [
            ("phi1", phi.radius(), largest / 2.0 * r),
            ("phi1'", slope.radius(), largest / 3.0 * r),
        ] {
            assert!(
                radius <= bound * (1.0 + 1e-12),
                "{name} of {z:?}: {radius:e} > {bound:e}"
            );
        }
    }
}
