//! The error a port may make, by hand: what each operation adds, in units roundoff.

use hungry_hippos::algebra::{
    ComplexErrorScale, ComplexScalar, ErrorBound, ErrorScale, Field, LIBRARY_FACTOR, Real, Ring,
    RootsOfUnity,
};
use num_complex::Complex64;

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

/// What the layer does with a complex number besides: a real factor, twice the real part, an
/// inverse, roots of unity.
#[test]
fn complex_numbers_in_the_layer() {
    let both = |a: f64| ErrorBound::both(a);
    let z =
        ComplexErrorScale::from_parts(number(3.0, 0.0), number(-4.0, 0.0)).with_error(both(7.0));
    let scaled = z.scale(number(-2.0, 0.25));
    assert_units("z f", scaled.error(), both(7.0 * 2.0 + 0.25 * 5.0 + 10.0));
    assert_eq!((scaled.re().to_f64(), scaled.im().to_f64()), (-6.0, 8.0));
    let trace = z.trace();
    assert_eq!(trace.to_f64(), 6.0);
    assert_units("2 Re z", trace.error(), both(14.0));
    // Doubling rounds nothing, and what is added next is one rounding of 2 |z| + 1.
    assert_units(
        "2 Re z + 1",
        (trace + ErrorScale::ONE).error(),
        both(14.0 + 11.0),
    );
    let inverse = z.inverse().expect("not zero");
    assert_units("1 / z", inverse.error(), both(7.0 / 25.0 + 3.0 / 5.0));
    let from_parts = ComplexErrorScale::from_parts(number(1.0, 3.0), number(1.0, 4.0));
    assert_units("two parts", from_parts.error(), both(5.0));

    let roots = ComplexErrorScale::roots_of_unity(8).expect("there are some");
    assert_eq!(roots.len(), 8);
    for (k, root) in roots.into_iter().enumerate() {
        let angle = core::f64::consts::FRAC_PI_4 * k as f64;
        let off =
            (root.re().to_f64() - angle.cos()).abs() + (root.im().to_f64() - angle.sin()).abs();
        assert!(off < 1e-15, "{k}: off by {off:e}");
        assert_units("root", root.error(), both(1.0));
    }
}

/// `phi_1 = (e^z - 1) / z` and its derivative as ports compute them: the exponential's error, `LIBRARY_FACTOR`
/// units of each part and one for the difference, in the unit of what is left of it.
#[test]
fn quotients_that_cancel() {
    let both = |a: f64| ErrorBound::both(a);
    let (product, inverse) = (2.2361, 3.0);
    for z in [
        Complex64::new(0.3, -0.4),
        Complex64::new(-3.0, 4.0),
        Complex64::new(1.5, 2.0),
        Complex64::new(-6e-3, 8e-3),
    ] {
        let given = ComplexErrorScale::from_parts(number(z.re, 0.0), number(z.im, 0.0))
            .with_error(both(5.0));
        let phi = (z.exp() - 1.0) / z;
        let slope = (z.exp() - phi) / z;
        let power = z.re.exp();
        let exponential = 2f64.sqrt() * LIBRARY_FACTOR * power + 1.0;
        // The quotients of f64 themselves cancel here.
        let near = |got: ErrorBound, expected: f64| {
            let off = (got.worst - expected)
                .abs()
                .max((got.probable - expected).abs());
            assert!(
                off <= 1e-11 * expected,
                "{z}: {got:?} but by hand {expected}"
            );
        };
        let value = ErrorScale::phi1(given);
        assert!((value.re().to_f64() - phi.re).abs() <= 1e-12 * phi.norm());
        let units = exponential / (z.exp() - 1.0).norm() + inverse + product;
        near(value.error(), 5.0 * slope.norm() + phi.norm() * units);

        let value = ErrorScale::phi1_derivative(given);
        assert!((value.im().to_f64() - slope.im).abs() <= 1e-11 * slope.norm());
        // The difference of e^z / z and (e^z - 1) / z^2; |phi_1''| is at most max(e^Re z, 1) / 3.
        let size = z.norm();
        let difference = exponential * (1.0 + 1.0 / size) / size
            + (inverse + 2.0 * product + 1.0) * (power + phi.norm()) / size;
        let rounding = (inverse + product) * slope.norm();
        near(
            value.error(),
            5.0 * power.max(1.0) / 3.0 + difference + rounding,
        );
    }
    // At zero nothing cancels, and nothing is divided by.
    let zero = ComplexErrorScale::ZERO.with_error(both(5.0));
    assert_units(
        "phi_1(0)",
        ErrorScale::phi1(zero).error(),
        both(2.5 + inverse + product),
    );
    assert_units(
        "phi_1'(0)",
        ErrorScale::phi1_derivative(zero).error(),
        both(5.0 / 3.0 + 0.5 * (inverse + product)),
    );
}
