//! Claim: the discretizations are what they are named after.

use hungry_hippos::algebra::{ComplexScalar, ErrorBound, ErrorScale, M61, Real, Ring, Rng, Sample};
use hungry_hippos::ssm::{Discretization, bilinear, zero_order_hold};
use num_complex::Complex;
use proptest::prelude::*;

type C = Complex<f64>;

proptest! {
    /// The trapezoidal rule x_i - x_{i-1} = dt (lambda (x_i + x_{i-1}) / 2 + B u_i), exactly.
    #[test]
    fn bilinear_is_the_trapezoidal_rule(seed: u64) {
        let rng = &mut Rng::new(seed);
        let (lambda, b) = (M61::sample_complex(rng), M61::sample_complex(rng));
        let (dt, u) = (M61::sample(rng), Complex::from(M61::sample(rng)));
        let before = M61::sample_complex(rng);
        let (a, b_bar) = bilinear(lambda, b, dt).expect("no pole");
        let after = a * before + b_bar * u;
        let two = Complex::from(M61::new(2));
        let dt = Complex::from(dt);
        prop_assert_eq!((after - before) * two, dt * (lambda * (after + before) + two * b * u));
    }

    /// Zero-order hold: two half steps with the same input are one step (the semigroup law,
    /// which determines exp), and its derivative at dt = 0 is lambda.
    #[test]
    fn zero_order_hold_is_exact_for_a_held_input(
        re in -3.0f64..0.0, im in -3.0f64..3.0, dt in 1e-6f64..1.0, u in -1.0f64..1.0,
    ) {
        let (lambda, b, x) = (C::new(re, im), C::new(0.7, -0.2), C::new(0.3, 0.9));
        let step = |x: C, dt: f64| {
            let (a, b) = zero_order_hold(lambda, b, dt);
            a * x + b * u
        };
        let (whole, halves) = (step(x, dt), step(step(x, dt / 2.0), dt / 2.0));
        // |x|, |u|, |b| <= 1 and |a| <= 1: about 30 roundings of numbers below 2.
        prop_assert!((whole - halves).norm() < 30.0 * f64::EPSILON, "{whole} {halves}");
        let (euler, wrong) = (x + (lambda * x + b * u) * 1e-9, C::new(1.0, 0.0) + lambda * 1e-9);
        // The next term of the series is below (3 * 1e-9)^2 * 2; the rest is rounding.
        prop_assert!((step(x, 1e-9) - euler).norm() < 8.0 * f64::EPSILON);
        prop_assert!((step(x, 1e-9) - wrong).norm() > 1e-13, "the bound has teeth");
    }

    /// phi_1 near zero: against its Taylor series, where (e^z - 1) / z has lost most digits.
    #[test]
    fn phi1_does_not_cancel(re in -1e-3f64..1e-3, im in -1e-3f64..1e-3, exponent in 0i32..12) {
        let scale = 10f64.powi(-exponent);
        let z = C::new(re * scale, im * scale);
        // Terms to z^6: the remainder is below |z|^7 / 8! < 1e-24.
        let series = (1..=7).rev().fold(C::new(0.0, 0.0), |sum, n| {
            (sum * z + C::new(1.0, 0.0)) / f64::from(n)
        });
        let phi = f64::phi1(z);
        prop_assert!((phi - series).norm() < 8.0 * f64::EPSILON, "{phi} {series}");
    }
}

#[test]
fn phi1_at_zero_is_one() {
    assert_eq!(f64::phi1(C::new(0.0, 0.0)), C::new(1.0, 0.0));
    assert_eq!(f32::phi1(Complex::new(0.0, 0.0)), Complex::new(1.0, 0.0));
    // lambda = 0: an integrator, b = B dt.
    let (a, b) = zero_order_hold(C::new(0.0, 0.0), C::new(2.0, 1.0), 0.25);
    assert_eq!((a, b), (C::new(1.0, 0.0), C::new(0.5, 0.25)));
}

/// The official `(exp(dtA) - 1) / A` loses digits at small steps; this does not. Both stand here
/// so that the difference is a fact and not a claim.
#[test]
fn the_official_zoh_cancels_at_small_steps() {
    let (lambda, dt) = (C::new(-0.5, 0.0), 1e-9);
    let (_, ours) = zero_order_hold(lambda, C::new(1.0, 0.0), dt);
    let official = ((lambda * dt).exp() - 1.0) / lambda;
    // dt (1 + z/2 + ...) with z = -5e-10.
    let truth = dt * (1.0 - 2.5e-10);
    assert!((ours.re / truth - 1.0).abs() < 4.0 * f64::EPSILON);
    assert!((official.re / truth - 1.0).abs() > 1e-9, "{official}");
}

#[test]
fn the_pole_of_the_bilinear_map_is_an_error() {
    let two = Complex::from(M61::new(2));
    assert!(bilinear(two, two, M61::ONE).is_err());
    let said = Discretization::Bilinear
        .apply(C::new(8.0, 0.0), C::new(1.0, 0.0), 0.25)
        .expect_err("dt lambda = 2");
    assert!(said.to_string().contains("dt * lambda = 2"), "{said}");
}

/// What autograd makes of the official formula, `e^z / z - (e^z - 1) / z^2`, cancels twice. It is a right
/// port's gradient all the same, so its error must be within the error scale; and the error of a formula
/// that does not cancel must not be all the scale allows.
#[test]
fn the_error_scale_covers_the_official_gradient_at_small_steps() {
    let mut largest: f64 = 0.0;
    for exponent in 0..8 {
        for k in 0..40 {
            let angle = 1.6 + 0.078 * f64::from(k);
            let size = 10f64.powi(-exponent) * (1.0 + 0.1 * f64::from(k % 7));
            let z = C::from_polar(size, angle);
            let exact = |x: f64| ErrorScale::new(x, ErrorBound::ZERO);
            let point = ComplexScalar::from_parts(exact(z.re), exact(z.im));
            let scale = ErrorScale::phi1_derivative(point);
            let truth = f64::phi1_derivative(z);
            let official = z.exp() / z - (z.exp() - 1.0) / (z * z);
            let allowed = f64::UNIT_ROUNDOFF * scale.error().worst;
            let used = (official - truth).norm() / allowed;
            assert!(used <= 1.0, "{z}: {used} of the scale");
            largest = largest.max(used);
            // With one digit fewer it is refused.
            assert!(
                (official * 1.001 - truth).norm() > allowed || exponent > 5,
                "{z}"
            );
        }
    }
    assert!(largest > 0.02, "the scale is far too wide: {largest}");
    // Where nothing cancels it is some dozens of roundings: exponentials, products, quotients.
    let one = ComplexScalar::from_parts(ErrorScale::ONE, ErrorScale::ZERO);
    assert!(ErrorScale::phi1_derivative(one).error().worst < 100.0);
}
