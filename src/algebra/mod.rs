#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![doc = include_str!("../../docs/01-numbers.md")]

pub mod ball;
mod complex;
mod counted;
mod dual;
mod emulated;
mod error_function;
mod error_scale;
mod float;
mod float_format;
mod grid;
mod hermitian;
mod linear;
mod m61;
mod matrix;
mod precision;
mod real;
mod ring;
mod roots;
mod rounded;
mod sample;
mod scalar;
mod side_by_side;
mod solve;

use crate::internals::internals;

pub use ball::{Ball, Disc};
pub use counted::{Counted, OperationCount};
pub use dual::Dual;
pub use emulated::Emulated;
pub use error_scale::{ComplexErrorScale, ErrorBound, ErrorScale};
pub use float_format::FloatFormat;
pub use grid::{ComplexGrid, Demand, Grid};
pub use hermitian::HermitianEigen;
pub use linear::Linear;
pub use m61::M61;
pub use matrix::Matrix;
pub use precision::{Bf16, F16, F32, F64, Precision, Tf32};
pub(crate) use precision::{Chosen, in_format};
pub use real::Real;
pub use ring::{Field, Ring};
pub use roots::RootsOfUnity;
pub use rounded::{LIBRARY_FACTOR, Rounded, RoundedDisc};
pub use sample::{Rng, Sample};
pub(crate) use scalar::real_and_imaginary;
pub use scalar::{ComplexScalar, Scalar};

internals!(error_scale::{COMPLEX_PRODUCT, convolution_of_errors, correlation_of_errors});
internals!(hermitian::hermitian_eigen);
internals!(matrix::check_matrix_size);
internals!(real::pi);
internals!(ring::dot);
internals!(side_by_side::{Numbers, ROWS, SideBySide, products, products_of});

pub(crate) use error_scale::modulus;
pub(crate) use real::{complex_exp, erf_slope};
pub(crate) use ring::one_half;
