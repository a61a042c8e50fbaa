//! State space models whose matrices depend on the token: `A_t` diagonal, `B_t` and `C_t` vectors.
//!
//! Gated linear attention and Mamba-2's SSD (Dao and Gu 2024, *Transformers are SSMs*) are such
//! models. The forms that are built on powers of one `A` drop out: there is no kernel, so no
//! Toeplitz matrix, no convolution and no FFT. What composes transitions stays, with products of
//! decays in the place of powers: the recurrence, the scan, the quadratic form and state passing
//! (`flashconv`). No product is ever computed as a quotient of two others: a decay of zero, which
//! forgets everything before it, would be 0/0.

mod adjoint;
mod model;
mod quadratic;
mod recurrence;
mod scan;

pub use adjoint::{VaryingGradients, varying_recurrence_adjoint};
pub use model::{Varying, VaryingResponse};
pub use quadratic::varying_quadratic;
pub use recurrence::{VaryingStream, varying_recurrence};
pub use scan::varying_scan;
