//! `f32` and `f64` as scalars.
//!
//! The reference's floats use plain `+ - * /` in the order the formulas state, with no fused
//! multiply-add, so that a result does not depend on what the compiler finds to fuse.

use super::ball::eft::{Product, product};
use super::error_function::erf;
use super::float_format::FloatFormat;
use super::real::Real;
use super::ring::{Field, Ring, one_by_one};
use super::roots::{RootsOfUnity, fold_turn};
use super::scalar::Scalar;
use super::side_by_side::{self, LANES, Lanes, Numbers, SideBySide};
use crate::into_vec::IntoVec as _;
use core::f64::consts::{FRAC_1_SQRT_2, TAU};
use num_complex::Complex;

macro_rules! float_scalar {
    ($float:ident, $format:expr, $products:path) => {
        impl Ring for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            fn from_i64(n: i64) -> Self {
                n as Self
            }

            fn products(a: &[&[Self]], b: &[&[Self]]) -> Vec<Self> {
                $products(a, b)
            }
        }

        impl Field for $float {
            fn inverse(self) -> Option<Self> {
                (self != 0.0).then(|| 1.0 / self)
            }

            fn divide(self, divisor: Self) -> Option<Self> {
                (divisor != 0.0).then(|| self / divisor)
            }
        }

        impl Scalar for $float {
            type Complex = Complex<$float>;
        }

        impl Real for $float {
            const UNIT_ROUNDOFF: f64 = $format.unit_roundoff();

            fn from_f64(x: f64) -> Self {
                x as Self
            }

            fn to_f64(self) -> f64 {
                f64::from(self)
            }

            fn exp(self) -> Self {
                self.exp()
            }

            fn exp_m1(self) -> Self {
                self.exp_m1()
            }

            fn ln_1p(self) -> Self {
                self.ln_1p()
            }

            fn sin_cos(self) -> (Self, Self) {
                self.sin_cos()
            }

            fn sqrt(self) -> Self {
                self.sqrt()
            }

            fn tanh(self) -> Self {
                self.tanh()
            }

            fn erf(self) -> Self {
                Self::from_f64(erf(f64::from(self)))
            }

            fn relu(self) -> Self {
                // Not `max`, which would turn a NaN into 0.
                if self < 0.0 { 0.0 } else { self }
            }
        }

        impl RootsOfUnity for Complex<$float> {
            fn roots_of_unity(n: usize) -> Option<Vec<Self>> {
                (n > 0).then(|| {
                    (0..n)
                        .map(|k| {
                            let (cos, sin) = fold_turn(k, n, cos_sin_of_eighth_turn);
                            Complex::new($float::from_f64(cos), $float::from_f64(sin))
                        })
                        .into_vec()
                })
            }
        }
    };
}

float_scalar!(f32, FloatFormat::F32, one_by_one);
float_scalar!(f64, FloatFormat::F64, side_by_side::products);

/// Sums of products of `f64` side by side: the same numbers as one by one.
impl SideBySide<1> for f64 {
    fn parts(self) -> [Self; 1] {
        [self]
    }

    fn numbers(_: &[Self]) -> Numbers {
        Numbers::Plain
    }

    fn sums(_: Numbers, x: &[[Self; 1]], y: &[[Lanes; 1]]) -> [Self; LANES] {
        let mut sums = [0.0; LANES];
        for ([x], [y]) in x.iter().zip(y) {
            for l in 0..LANES {
                sums[l] += x * y[l];
            }
        }
        sums
    }
}

/// Cosine and sine of `2 pi k / n` for `0 <= 8 k <= n`.
///
/// Rounding the angle alone, in `k / n`, in `2 pi` and in their product, can cost the sine more
/// than two units in the last place. So the angle is carried as `theta + delta`, where `delta`
/// makes good the three roundings, and enters to first order (`delta < 2^-52`): what is left is
/// the library's rounding and that of one addition.
fn cos_sin_of_eighth_turn(k: u128, n: u128) -> (f64, f64) {
    /// `2 pi` minus its nearest `f64`.
    const TAU_REST: f64 = 2.449_293_598_294_706_4e-16;
    if 8 * k == n {
        // On the diagonal the two are one number, and must come out as one.
        return (FRAC_1_SQRT_2, FRAC_1_SQRT_2);
    }
    let (k, n) = (k as f64, n as f64);
    let turn = k / n;
    let Product { p, e, .. } = product(turn, n);
    let turn_rest = ((k - p) - e) / n;
    let Product { p: theta, e, .. } = product(TAU, turn);
    let delta = e + (TAU * turn_rest + TAU_REST * turn);
    let (sin, cos) = theta.sin_cos();
    (cos - delta * sin, sin + delta * cos)
}
