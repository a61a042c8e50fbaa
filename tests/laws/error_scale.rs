//! The error a port may make, by hand: what each operation adds, in units roundoff.

use hungry_hippos::algebra::{
    ComplexErrorScale, ComplexScalar, ErrorBound, ErrorScale, Field, LIBRARY_FACTOR, Real, Ring,
};

/// The two bounds.
fn units(worst: f64, probable: f64) -> ErrorBound {
    ErrorBound { worst, probable }
}

fn number(x: f64, error: f64) -> ErrorScale {
    ErrorScale::new(x, ErrorBound::both(error))
}

fn assert_units(what: &str, got: ErrorBound, expected: ErrorBound) {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b.abs();
    assert!(
        near(got.worst, expected.worst) && near(got.probable, expected.probable),
        "{what}: {got:?} but by hand {expected:?}"
    );
}

/// `n` terms take `n - 1` roundings of at most the summed magnitude, whichever are added first; the
/// probable error is `4 sqrt(n - 1)` of them where that is less.
#[test]
fn sums_in_any_order() {
    let term = number(3.0, 0.0);
    for n in [1usize, 2, 3, 16, 17, 18, 40, 100] {
        let magnitude = 3.0 * n as f64;
        let roundings = (n - 1) as f64;
        let expected = units(
            roundings * magnitude,
            roundings.min(4.0 * roundings.sqrt()) * magnitude,
        );
        let alternating = |i: usize| if i.is_multiple_of(2) { term } else { -term };
        let forwards = (1..n).fold(term, |sum, i| sum + alternating(i));
        let backwards = (1..n).fold(term, |sum, i| alternating(i) + sum);
        let halves = {
            let half = |from: usize, to: usize| {
                (from..to).fold(None, |sum: Option<ErrorScale>, i| {
                    Some(sum.map_or(alternating(i), |sum| sum - -alternating(i)))
                })
            };
            match (half(0, n / 2), half(n / 2, n)) {
                (Some(a), Some(b)) => a + b,
                (a, b) => a.or(b).expect("one at least"),
            }
        };
        for sum in [forwards, backwards, halves] {
            assert_units(&format!("{n} terms"), sum.error(), expected);
        }
    }
    // What the terms inherit is added up besides.
    let sum = number(1.0, 2.0) + number(-1.0, 5.0);
    assert_eq!(sum.to_f64(), 0.0);
    assert_units("inherited", sum.error(), units(7.0 + 2.0, 7.0 + 2.0));
    // Zero is no term.
    assert_units(
        "zero",
        (number(4.0, 1.0) + ErrorScale::ZERO).error(),
        units(1.0, 1.0),
    );
}

/// First order: the slope times what is inherited, and one rounding of the result.
#[test]
fn operations_by_their_slopes() {
    let (x, y) = (number(3.0, 2.0), number(-0.5, 7.0));
    let both = |a: f64| ErrorBound::both(a);
    assert_units("x y", (x * y).error(), both(0.5 * 2.0 + 3.0 * 7.0 + 1.5));
    let quotient = x.divide(y).expect("not zero");
    assert_eq!(quotient.to_f64(), -6.0);
    assert_units(
        "x / y",
        quotient.error(),
        both((2.0 + 6.0 * 7.0) / 0.5 + 6.0),
    );
    assert_units(
        "1 / y",
        y.inverse().expect("not zero").error(),
        both(7.0 * 4.0 + 2.0),
    );
    assert!(x.divide(ErrorScale::ZERO).is_none() && ErrorScale::ZERO.inverse().is_none());
    // Of a product only the result is left, one term: adding one to it rounds once.
    assert_units(
        "x y + 1",
        (x * y + ErrorScale::ONE).error(),
        both(23.5 + 2.5),
    );
    assert_units(
        "sqrt",
        number(4.0, 3.0).sqrt().error(),
        both(3.0 * 0.25 + 2.0),
    );

    // A library function errs by some units of its value.
    let z = 0.75;
    let of = |f: fn(ErrorScale) -> ErrorScale, value: f64, slope: f64| {
        let result = f(number(z, 3.0));
        assert!((result.to_f64() - value).abs() <= 1e-15, "{value}");
        assert_units(
            "function",
            result.error(),
            both(3.0 * slope.abs() + LIBRARY_FACTOR * value.abs()),
        );
    };
    of(Real::exp, z.exp(), z.exp());
    of(Real::exp_m1, z.exp_m1(), z.exp());
    of(Real::ln_1p, z.ln_1p(), 1.0 / 1.75);
    of(|x| x.sin_cos().0, z.sin(), z.cos());
    of(|x| x.sin_cos().1, z.cos(), z.sin());
    of(Real::tanh, z.tanh(), 1.0 - z.tanh() * z.tanh());

    // Numbers that every format holds are there without a rounding.
    assert_units("0.5", ErrorScale::from_f64(0.5).error(), both(0.0));
    assert_units("1.001", ErrorScale::from_f64(1.001).error(), both(1.001));
    assert_units("-3", ErrorScale::from_i64(-3).error(), both(0.0));
    assert_eq!((-x).to_f64(), -3.0);
}

/// Complex ones: products within `sqrt(5)` units, moduli in place of magnitudes.
#[test]
fn complex_operations_by_their_moduli() {
    let at = |re: f64, im: f64, error: f64| {
        ComplexErrorScale::from_parts(number(re, 0.0), number(im, 0.0))
            .with_error(ErrorBound::both(error))
    };
    let (z, w) = (at(3.0, 4.0, 1.0), at(0.0, -2.0, 3.0));
    let both = |a: f64| ErrorBound::both(a);
    let sqrt5 = 2.2361;
    assert_units(
        "z w",
        (z * w).error(),
        both(5.0 * 3.0 + 2.0 * 1.0 + sqrt5 * 10.0),
    );
    assert_units("z + w", (z + w).error(), both(4.0 + 7.0));
    assert_units("z - w", (z - w).error(), both(4.0 + 7.0));
    let value = z * w;
    assert_eq!((value.re().to_f64(), value.im().to_f64()), (8.0, -6.0));
    assert_units("conj", z.conj().error(), both(1.0));
    assert_eq!(z.conj().im().to_f64(), -4.0);
}
