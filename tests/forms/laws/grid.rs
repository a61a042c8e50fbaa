//! Numbers that say which formats hold them: by hand, and against sums in random orders in the
//! formats themselves.

use hungry_hippos::algebra::{
    Bf16, ComplexGrid, ComplexScalar, Demand, Emulated, F16, Field, FloatFormat, Grid, Precision,
    Real, Ring, Rng, RootsOfUnity,
};
use hungry_hippos::ssm::bilinear;
use proptest::prelude::*;

fn grid(x: f64) -> Grid {
    Grid::from_f64(x)
}

fn met(x: Grid) -> Vec<&'static str> {
    let formats = x.demand().formats();
    formats.iter().map(|format| format.name()).collect()
}

/// Digits and formats of what can be told by hand.
#[test]
fn demands_by_hand() {
    let all = ["f64", "f32", "tf32", "f16", "bf16"];
    let tiny = 2f64.powi(-25);
    for (what, x, value, digits, formats) in [
        ("zero", grid(0.0), 0.0, Some(0), &all[..]),
        ("a power of two", grid(0.25), 0.25, Some(0), &all),
        ("8 digits", grid(255.0), 255.0, Some(8), &all),
        ("2^8 needs none of them", grid(256.0), 256.0, Some(0), &all),
        ("9 digits", grid(257.0), 257.0, Some(9), &all[..4]),
        ("12 digits", grid(4095.0), 4095.0, Some(12), &all[..2]),
        (
            "25 digits",
            grid(2f64.powi(25) - 1.0),
            33_554_431.0,
            Some(25),
            &all[..1],
        ),
        (
            "what cancels has been there",
            grid(256.0) + grid(1.0) - grid(256.0),
            1.0,
            Some(10),
            &all[..4],
        ),
        ("the finer unit", grid(2.0) + grid(0.5), 2.5, Some(3), &all),
        ("a product", grid(3.0) * grid(0.75), 2.25, Some(4), &all),
        (
            "a half",
            grid(3.0).divide(grid(-2.0)).expect("not zero"),
            -1.5,
            Some(2),
            &all,
        ),
        (
            "a third",
            grid(1.0).divide(grid(3.0)).expect("not zero"),
            1.0 / 3.0,
            None,
            &[],
        ),
        (
            "too large for f16",
            grid(65536.0),
            65536.0,
            Some(0),
            &["f64", "f32", "tf32", "bf16"],
        ),
        (
            "too small for f16",
            grid(tiny),
            tiny,
            Some(0),
            &["f64", "f32", "tf32", "bf16"],
        ),
        (
            "a past too large for f16",
            grid(65536.0) * grid(0.5),
            32768.0,
            Some(0),
            &["f64", "f32", "tf32", "bf16"],
        ),
        (
            "zero times a past",
            grid(257.0) * grid(0.0),
            0.0,
            Some(9),
            &all[..4],
        ),
        (
            "beyond f64",
            grid(1.0) + grid(2f64.powi(-60)),
            1.0,
            None,
            &[],
        ),
        (
            "a product beyond f64",
            grid(1.0 + f64::EPSILON) * grid(1.0 + f64::EPSILON),
            1.0 + 2.0 * f64::EPSILON,
            None,
            &[],
        ),
        (
            "nothing heals what was rounded",
            (grid(0.1) * grid(0.1)) * grid(0.0),
            0.0,
            None,
            &[],
        ),
        ("e^0", grid(0.0).exp(), 1.0, Some(0), &all),
        (
            "e^0, of what cancels",
            (grid(257.0) - grid(257.0)).exp(),
            1.0,
            Some(10),
            &all[..4],
        ),
        ("e^1", grid(1.0).exp(), 1f64.exp(), None, &[]),
        ("a root", grid(2.25).sqrt(), 1.5, Some(4), &all),
        ("no root", grid(2.0).sqrt(), 2f64.sqrt(), None, &[]),
        ("relu below", grid(-257.0).relu(), 0.0, Some(9), &all[..4]),
        ("infinity", grid(f64::INFINITY), f64::INFINITY, None, &[]),
    ] {
        assert_eq!(x.to_f64(), value, "{what}");
        assert_eq!(x.demand().digits(), digits, "{what}");
        assert_eq!(met(x), formats, "{what}");
    }
    let (sin, cos) = grid(0.0).sin_cos();
    assert_eq!(
        (sin.to_f64(), cos.to_f64(), met(cos)),
        (0.0, 1.0, all.to_vec())
    );
    assert_eq!(grid(1.0).divide(grid(0.0)), None);
    let demand = Demand::of(&[grid(1.0), grid(257.0), grid(0.5)]);
    // Of a stage, not of a sum: 257 takes nine digits, and the half none.
    assert_eq!(demand.digits(), Some(9));
}

#[test]
fn quarter_turns_alone_are_exact() {
    for (n, exact) in [(1, true), (2, true), (4, true), (8, false)] {
        let roots = ComplexGrid::roots_of_unity(n).expect("roots");
        let all = roots.iter().all(|w| !met(w.re() + w.im()).is_empty());
        assert_eq!(all, exact, "{n}");
    }
}

/// The poles of exact layers: `a = 2/(1 - z/2) - 1`, and the input factor `1/(1 - z/2)`.
#[test]
fn the_bilinear_poles_are_dyadic() {
    let number = |(re, im): (f64, f64)| ComplexGrid::from_parts(grid(re), grid(im));
    let parts = |z: ComplexGrid| (z.re().to_f64(), z.im().to_f64());
    for (z, a, factor) in [
        ((0.0, 2.0), (0.0, 1.0), (0.5, 0.5)),
        ((0.0, -2.0), (0.0, -1.0), (0.5, -0.5)),
        ((0.0, 0.0), (1.0, 0.0), (1.0, 0.0)),
        ((-6.0, 0.0), (-0.5, 0.0), (0.25, 0.0)),
        ((-2.0, 4.0), (-0.5, 0.5), (0.25, 0.25)),
        // Nothing is left of a state, and the official kernel is exp(l log 0).
        ((-2.0, 0.0), (0.0, 0.0), (0.5, 0.0)),
    ] {
        let found = bilinear(number(z), ComplexGrid::ONE, Grid::ONE).expect("no pole");
        assert_eq!((parts(found.0), parts(found.1)), (a, factor), "{z:?}");
        for part in [found.0.re(), found.0.im(), found.1.re(), found.1.im()] {
            assert!(part.demand().is_met_by(FloatFormat::BF16), "{z:?}");
        }
        // A turn takes no digits, however often it is taken; a decay takes exponents or digits.
        let power = found.0.power(1 << 10);
        let lasts = [power.re(), power.im()]
            .iter()
            .all(|part| met(*part).len() == 5);
        assert_eq!(lasts, z.0 == 0.0 || a == (0.0, 0.0), "{z:?}");
    }
    let third = bilinear(number((-4.0, 0.0)), ComplexGrid::ONE, Grid::ONE).expect("no pole");
    assert_eq!(third.0.re().demand(), Demand::UNMET);
}

/// The sum of products, in an order drawn at random, in a format.
fn shuffled<P: Precision>(terms: &[[f64; 2]], rng: &mut Rng) -> f64 {
    let number = Emulated::<P>::from_f64;
    let products = terms.iter().map(|&[a, b]| number(a) * number(b));
    let mut sums: Vec<Emulated<P>> = products.collect();
    while sums.len() > 1 {
        // Any two are added: every order and every bracketing.
        let one = sums.swap_remove(rng.below(sums.len()));
        let other = rng.below(sums.len());
        sums[other] = sums[other] + one;
    }
    sums[0].to_f64()
}

proptest! {
    /// Where the demand is met nothing rounds, in any order; where digits alone are wanting, a sum that is
    /// as large as its terms together does round, or its unit was not needed.
    #[test]
    fn what_is_met_is_exact_in_every_order(
        terms in prop::collection::vec((-9i32..=9, -9i32..=9, -3i32..=3), 1..24),
        seed: u64,
    ) {
        let terms: Vec<[f64; 2]> = terms
            .iter()
            .map(|&(a, b, k)| [f64::from(a), f64::from(b) * 2f64.powi(k)])
            .collect();
        let sum = terms.iter().fold(Grid::ZERO, |sum, &[a, b]| sum + grid(a) * grid(b));
        let exact: f64 = terms.iter().map(|[a, b]| a * b).sum();
        prop_assert_eq!(sum.to_f64(), exact);
        let rng = &mut Rng::new(seed);
        let is_met = |format| sum.demand().is_met_by(format);
        if is_met(FloatFormat::F16) {
            prop_assert_eq!(shuffled::<F16>(&terms, rng), exact);
        }
        if is_met(FloatFormat::BF16) {
            prop_assert_eq!(shuffled::<Bf16>(&terms, rng), exact);
        }
        prop_assert!(is_met(FloatFormat::F32));
    }
}

/// A format that does not meet the demand rounds: the demand is not merely large.
#[test]
fn what_is_not_met_rounds() {
    let ones = |n: usize| vec![[1.0, 1.0]; n];
    let rng = &mut Rng::new(1);
    for (n, met) in [(256, true), (257, false)] {
        let sum = ones(n)
            .iter()
            .fold(Grid::ZERO, |sum, &[a, b]| sum + grid(a) * grid(b));
        assert_eq!(sum.demand().is_met_by(FloatFormat::BF16), met);
        assert_eq!(shuffled::<Bf16>(&ones(n), rng) == n as f64, met);
    }
}
