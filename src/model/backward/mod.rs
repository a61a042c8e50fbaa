//! A language model backwards, by hand: the loss and its derivative by every parameter.
//!
//! The loss is the mean of `-ln softmax(logits)[target]` over the counted positions (a target of
//! -100 is not counted), the softmax being over every row of the embedding, those that pad the
//! vocabulary too. Back from it, with `g` the cotangent of what a step returns:
//!
//! ```text
//! loss         logits:  (softmax(logits) - e_target) / counted             loss.rs
//! head         logits = E n:  n receives E^T g,  E receives g n^T          gradients.rs
//! LayerNorm    x receives (e - mean(e) - xhat mean(e xhat)) / deviation    layer_norm.rs
//! MLP          e = W2^T g * gelu'(W1 x + b1);  x receives W1^T e           mlp.rs
//! attention    S receives P o (E - rowsum(P o E)),  E = G V^T              attention.rs
//! H3           the layer's own adjoint                                     h3::gradients
//! S4D          x receives W^T g * gelu'(x);  u by the models' adjoint       s4d.rs
//! residual     x + f(x):  x receives g + f^T g                             gradients.rs
//! embedding    every row receives the sum of g over its tokens             gradients.rs
//! ```
//!
//! The head is tied to the embedding: one parameter used twice, whose gradient is the sum of both
//! parts.
//!
//! The biases of keys have no gradient at all. `q . (k + b)` is `q . k + q . b`, which adds the same to
//! every score of a token, and a softmax does not see that. So it is zero here, exactly, where an
//! automatic differentiation sums up rounding noise (1e-17 in f64). AdamW divides a gradient by its
//! own size, so that of noise it makes steps as long as of any other gradient; see
//! [`training`](crate::training).
//!
//! One text for every scalar, as everything: f64 and f32, balls, and dual numbers, whose derivatives are what
//! these are held against.

mod attention;
mod gradients;
mod hooks;
mod layer_norm;
mod loss;
mod mlp;
mod s4d;

use crate::internals::internals;

pub use gradients::ModelGradients;
pub(crate) use hooks::{Cotangent, ModelBackward};
pub(crate) use layer_norm::NormGradient;
pub use loss::Targets;
pub(crate) use loss::{cross_entropy, mean_loss, weights_of_counted};
pub(crate) use mlp::gelu_slope;

internals!(mlp::exact_gelu_slope);
