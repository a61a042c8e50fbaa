//! Constants, series and the error function have their known values.

use core::f64::consts::FRAC_2_SQRT_PI;
use hungry_hippos::algebra::ball::BallN;
use hungry_hippos::algebra::{Counted, Real, pi};
use num_complex::Complex;

fn erf(x: f64) -> f64 {
    Real::erf(x)
}

/// The sine of what is off is what is off; six words hold 95 digits.
#[test]
fn pi_by_two_steps() {
    let off = pi::<BallN<6>>().sin_cos().0;
    assert!(
        off.contains_zero() && off.upper_magnitude() < 1e-90,
        "{off}"
    );
}

/// Up to 1 the series, of the fewest terms with `1/n! <= u`, each with a division; beyond, the quotient alone.
#[test]
fn the_series_up_to_one() {
    let divisions = |x: f64, y: f64| {
        let z = Complex::new(Counted::new(x), Counted::new(y));
        let (_, count) = Counted::count(|| Counted::phi1_derivative(z));
        count.divisions
    };
    let factorial = |n: u64| (1..=n).product::<u64>();
    let terms = (1..).find(|&n| factorial(n) >= 1 << 53).expect("grows");
    let quotient = divisions(1.5, 0.0);
    for (x, y) in [(1.0, 0.0), (-0.25, 0.75), (0.5, -0.5), (0.125, 0.0)] {
        assert_eq!(divisions(x, y), quotient + terms, "{x}, {y}");
    }
    for (x, y) in [(1.0f64.next_up(), 0.0), (0.75, -0.5)] {
        assert_eq!(divisions(x, y), quotient, "{x}, {y}");
    }
}

/// Values of Abramowitz and Stegun, table 7.1, and the limits.
#[test]
fn erf_has_its_known_values() {
    for (x, expected) in [
        (0.0, 0.0),
        (0.5, 0.520_499_877_813_046_5),
        (1.0, 0.842_700_792_949_714_9),
        (2.0, 0.995_322_265_018_952_7),
        (6.0, 1.0),
        // Where the terms of the series overflow and their factor underflows.
        (40.0, 1.0),
        (f64::INFINITY, 1.0),
    ] {
        for (x, expected) in [(x, expected), (-x, -expected)] {
            let error: f64 = erf(x) - expected;
            assert!(error.abs() < 1e-15, "erf {x}: off by {error:e}");
        }
    }
    assert_eq!(erf(6.0), 1.0, "less than half a unit below 1");
    let slope = erf(1e-300) / 1e-300;
    assert!((slope - FRAC_2_SQRT_PI).abs() < 1e-15, "{slope}");
    assert!(erf(f64::NAN).is_nan());
}
