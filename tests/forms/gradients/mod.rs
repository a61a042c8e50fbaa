//! Claims: the gradients of every form are the derivative, exactly; all forms' gradients are one;
//! they are the official autograd's; known mistakes are refused; balls certify them.

mod decoding;
mod interop;
mod language;
mod layer;
mod memory;
mod models;
pub(crate) mod support;
mod teeth;
