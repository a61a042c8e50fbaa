//! The laws of `RootsOfUnity`: order, compatible orders, conjugate inverse, and accuracy.

use super::double_double::{self, Dd};
use super::support::{Z, exact_lengths};
use hungry_hippos::algebra::{M61, Ring, RootsOfUnity};
use num_complex::Complex;

/// Lengths for the float roots, with the reason each is there.
const FLOAT_LENGTHS: [(usize, &str); 16] = [
    (1, "the trivial root"),
    (2, "half a turn"),
    (3, "odd: no folding lands on an axis"),
    (4, "quarter turns, exact"),
    (5, "odd, both reflections used"),
    (6, "even, not a multiple of four"),
    (7, "odd prime"),
    (8, "eighths: the last fold is met with equality"),
    (12, "a multiple of four, not of eight"),
    (60, "many divisors"),
    (105, "odd, composite"),
    (127, "a prime below a power of two"),
    (128, "a power of two"),
    (1000, "neither prime nor power of two"),
    (4096, "a long power of two"),
    (65_537, "a long prime: angles near zero"),
];

fn roots<C: RootsOfUnity>(n: usize) -> Vec<C> {
    let w = C::roots_of_unity(n).expect("these orders exist");
    assert_eq!(w.len(), n);
    w
}

#[test]
fn no_roots_of_order_zero_and_only_divisors_of_the_group_order_over_m61() {
    assert!(Complex::<f32>::roots_of_unity(0).is_none());
    assert!(Complex::<f64>::roots_of_unity(0).is_none());
    assert!(Z::roots_of_unity(0).is_none());
    // p^2 - 1 = 2^62 3^2 5^2 7 11 13 31 41 ...: 17, 19, 23 and 27 = 3^3 do not divide it.
    let none: Vec<usize> = (1..=30)
        .filter(|&n| Z::roots_of_unity(n).is_none())
        .collect();
    assert_eq!(none, [17, 19, 23, 27, 29]);
}

#[test]
fn over_m61_the_roots_are_the_powers_of_one_of_exactly_that_order() {
    for n in exact_lengths(256).into_iter().chain([1024, 4095, 1 << 14]) {
        let w: Vec<Z> = roots(n);
        let first = w[1 % n];
        for (k, &power) in w.iter().enumerate() {
            assert_eq!(power, first.power(k as u64), "n = {n}, k = {k}");
            assert!(k == 0 || power != Z::ONE, "order of w_{n} divides {k}");
        }
        assert_eq!(first.power(n as u64), Z::ONE, "n = {n}");
    }
}

#[test]
fn over_m61_orders_are_compatible_and_the_fourth_root_is_i() {
    for (n, m) in [(2, 2), (4, 8), (3, 5), (5, 3), (4, 15), (7, 9), (64, 64)] {
        let (fine, coarse): (Vec<Z>, Vec<Z>) = (roots(n * m), roots(n));
        for k in 0..n {
            assert_eq!(fine[m * k], coarse[k], "w_{}^{m} = w_{n}, k = {k}", n * m);
        }
    }
    assert_eq!(roots::<Z>(4)[1], Complex::new(M61::ZERO, M61::ONE));
}

#[test]
fn over_m61_the_conjugate_is_the_inverse_for_powers_of_two_and_for_no_odd_order() {
    for t in 0..=12 {
        for w in roots::<Z>(1 << t) {
            assert_eq!(w.conj() * w, Z::ONE, "n = 2^{t}");
        }
    }
    // Odd orders divide p - 1: such roots lie in the base field and are their own conjugates.
    // This is why the real transform takes powers of two only.
    for n in exact_lengths(64)
        .into_iter()
        .filter(|n| n % 2 == 1 && *n > 1)
    {
        let w = roots::<Z>(n)[1];
        assert_eq!(w.conj(), w, "n = {n}");
        assert_ne!(w.conj() * w, Z::ONE, "n = {n}");
    }
}

#[test]
fn over_m61_sums_of_powers_vanish() {
    for n in exact_lengths(128) {
        let w: Vec<Z> = roots(n);
        for j in 0..n {
            let sum = (0..n).fold(Z::ZERO, |sum, k| sum + w[j * k % n]);
            let expected = if j == 0 {
                Z::from_i64(n as i64)
            } else {
                Z::ZERO
            };
            assert_eq!(sum, expected, "n = {n}, j = {j}");
        }
    }
}

/// The symmetries of the circle, bit for bit; `==` on floats lets `-0 == 0` pass and no more.
macro_rules! float_symmetries {
    ($name:ident, $float:ident) => {
        #[test]
        fn $name() {
            type C = Complex<$float>;
            for (n, why) in FLOAT_LENGTHS {
                let w: Vec<C> = roots(n);
                let i = C::new(0.0, 1.0);
                assert_eq!(w[0], C::ONE, "{n}: {why}");
                for k in 0..n {
                    assert_eq!(w[(n - k) % n], w[k].conj(), "{n} ({why}), k = {k}");
                    if n % 2 == 0 {
                        assert_eq!(w[(k + n / 2) % n], -w[k], "{n} ({why}), k = {k}");
                    }
                    if n % 4 == 0 {
                        assert_eq!(w[(k + n / 4) % n], i * w[k], "{n} ({why}), k = {k}");
                        let mirrored = w[(n + n / 4 - k) % n];
                        assert_eq!(mirrored, C::new(w[k].im, w[k].re), "{n} ({why}), {k}");
                    }
                }
                for m in [2, 3, 8] {
                    let fine: Vec<C> = roots(n * m);
                    for k in 0..n {
                        assert_eq!(fine[m * k], w[k], "w_{}^{m} = w_{n} ({why}), {k}", n * m);
                    }
                }
            }
        }
    };
}

float_symmetries!(f32_roots_have_the_symmetries_of_the_circle_bit_for_bit, f32);
float_symmetries!(f64_roots_have_the_symmetries_of_the_circle_bit_for_bit, f64);

/// The distance from `x` to the next float away from zero, in f64.
fn ulp(x: f64) -> f64 {
    f64::from_bits(x.abs().to_bits() + 1) - x.abs()
}

fn ulp_f32(x: f32) -> f64 {
    f64::from(f32::from_bits(x.abs().to_bits() + 1)) - f64::from(x.abs())
}

/// `|truth - x|` in units of `unit`; infinite if `x` is not finite.
fn error_in(truth: Dd, x: f64, unit: f64) -> f64 {
    if x.is_finite() {
        truth.add(Dd::from(-x)).to_f64().abs() / unit
    } else {
        f64::INFINITY
    }
}

#[test]
fn the_reference_roots_lie_on_the_circle_and_have_their_order() {
    // The truth below is computed by a Taylor series at a small part of the angle. That it is
    // right is seen from identities that do not use the series.
    for (n, why) in FLOAT_LENGTHS {
        for k in [1 % n, n / 3, n / 2, n - 1] {
            let w = double_double::root(k, n);
            let norm = w.re.mul(w.re).add(w.im.mul(w.im));
            let defect = norm.add(Dd::from(-1.0)).to_f64().abs();
            assert!(defect < 1e-28, "|w_{n}^{k}|^2 - 1 = {defect:e} ({why})");
            let power = (0..n).fold(double_double::Cd::ONE, |power, _| power.mul(w));
            let defect = power.distance(Complex::ONE);
            assert!(defect < 1e-28 * n as f64, "w_{n}^{k}: {defect:e} ({why})");
        }
        // Not the trivial root: the first lies in the upper half plane, near 2 pi / n.
        let sine = double_double::root(1 % n, n).im.to_f64();
        assert!(n < 4 || (sine > 3.9 / n as f64 && sine < 6.3 / n as f64));
    }
}

#[test]
fn float_roots_are_within_their_stated_accuracy() {
    // f64: the library's sine and cosine are within one unit in the last place on [0, pi/4]
    // (glibc: 0.55), and the correction of the angle adds one rounding, half a unit.
    // f32: the f64 value rounded once; 2^-29 of a unit covers the f64 error.
    const F64_UNITS: f64 = 1.5;
    const F32_UNITS: f64 = 0.5 + 8.0 / (1u64 << 29) as f64;
    for (n, why) in FLOAT_LENGTHS {
        let (single, double): (Vec<Complex<f32>>, Vec<Complex<f64>>) = (roots(n), roots(n));
        for k in 0..n {
            let truth = double_double::root(k, n);
            for (truth, x, x32) in [
                (truth.re, double[k].re, single[k].re),
                (truth.im, double[k].im, single[k].im),
            ] {
                if 4 * k % n == 0 {
                    // Zero or one in magnitude, and exactly that: the truth is within 1e-28 of
                    // an integer, and so must both floats be.
                    for x in [x, f64::from(x32)] {
                        assert!(error_in(truth, x, 1.0) < 1e-28, "{n}, k = {k}: {x}");
                    }
                    continue;
                }
                let error = error_in(truth, x, ulp(x));
                assert!(
                    error <= F64_UNITS,
                    "f64 w_{n}^{k} ({why}): {error} units in the last place"
                );
                let error = error_in(truth, f64::from(x32), ulp_f32(x32));
                assert!(
                    error <= F32_UNITS,
                    "f32 w_{n}^{k} ({why}): {error} units in the last place"
                );
                // The same check refuses the neighbour but one.
                let off = x + 3.0 * ulp(x);
                assert!(error_in(truth, off, ulp(x)) > F64_UNITS);
                let off = f32::from_bits(x32.to_bits() + 1);
                assert!(error_in(truth, f64::from(off), ulp_f32(x32)) > F32_UNITS * 0.99);
            }
        }
    }
}
