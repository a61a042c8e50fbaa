//! `f32` and `f64` as scalars.
//!
//! The reference's floats use plain `+ - * /` in the order the formulas state, with no fused
//! multiply-add, so that a result does not depend on what the compiler finds to fuse.

use super::real::Real;
use super::ring::{Field, Ring};
use super::roots::{RootsOfUnity, fold_turn};
use super::scalar::Scalar;
use num_complex::Complex;

macro_rules! float_scalar {
    ($float:ident, $unit_roundoff:expr) => {
        impl Ring for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;

            fn from_i64(n: i64) -> Self {
                n as Self
            }
        }

        impl Field for $float {
            #[expect(
                clippy::float_cmp,
                reason = "exactly zero, of either sign, has no inverse"
            )]
            fn inverse(self) -> Option<Self> {
                (self != 0.0).then(|| 1.0 / self)
            }

            #[expect(
                clippy::float_cmp,
                reason = "exactly zero, of either sign, has no inverse"
            )]
            fn divide(self, divisor: Self) -> Option<Self> {
                (divisor != 0.0).then(|| self / divisor)
            }
        }

        impl Scalar for $float {
            type Complex = Complex<$float>;
        }

        impl Real for $float {
            const UNIT_ROUNDOFF: f64 = $unit_roundoff;

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
                        .collect()
                })
            }
        }
    };
}

float_scalar!(f32, 1.0 / (1u32 << 24) as f64);
float_scalar!(f64, 1.0 / (1u64 << 53) as f64);

/// Cosine and sine of `2 pi k / n` for `0 <= 8 k <= n`, as accurate as the library's functions are
/// on `[0, pi/4]`.
fn cos_sin_of_eighth_turn(k: u128, n: u128) -> (f64, f64) {
    let (sin, cos) = (core::f64::consts::TAU * (k as f64 / n as f64)).sin_cos();
    (cos, sin)
}
