#![cfg_attr(not(doctest), doc = include_str!("../docs/figures/rustdoc.md"))]
#![cfg_attr(not(doctest), doc = include_str!("chapters.md"))]
#![doc = include_str!("../README.md")]
//!
//! # Map of the crate
//!
//! In the order of the derivation; each module opens with its chapter.
//!
//! | module | contents |
//! |---|---|
//! | [`algebra`] | the numbers: traits, floats and their formats, the prime field, duals, certified balls |
//! | [`ssm`] | the state space model: three structures, its forms, discretization, HiPPO |
//! | [`fourier`] | transforms from the definition to the fused block FFT, causal convolution |
//! | [`attention`] | softmax and linear attention, H3 as masked attention, surrogate matrices, Hyena |
//! | [`flashconv`] | state passing, and the M_xy question |
//! | [`h3`] | the layer: official parameters, every form, streaming, gradients |
//! | [`model`] | language models of H3 and attention blocks, whole sequences and token by token |
//! | [`training`] | training steps: AdamW, groups of parameters, schedules of the rate |
//! | [`fast`] | the layer and the model in vectorized loops, checked against all of the above |
//! | [`cost`] | the operations of each form, by formula |
//! | [`safetensors`] | the file format |
//! | [`oracle`] | cases, certified stages, golden files with tolerances, the golden suite, known mistakes, the check |
//! | [`verify`] | the forms compared with one another on random models, the fast path with certified values |
//! | [`lm`] | a language model of a case file: stages, perplexity, generation, seconds per token |
//! | [`learning`] | training runs: synthetic tasks and the bytes of a file |
//! | [`table`] | rows of text in aligned columns, as the command prints them |
//! | [`book`] | the chapters that belong to no one module: mistakes and their catalogue, golden outputs, recall by hand, the review answered, sequences as they are served, operators, masks that depend on the token |

// What only the feature reaches is used and public in every build that is linted with it.
#![cfg_attr(
    not(feature = "internals"),
    allow(
        dead_code,
        unreachable_pub,
        reason = "the feature makes these items public; lints hold with it"
    )
)]

pub mod algebra;
pub mod attention;
pub mod book;
pub mod cost;
mod error;
pub mod fast;
pub mod flashconv;
pub mod fourier;
pub mod h3;
mod internals;
mod into_vec;
pub mod learning;
pub mod lm;
mod mamba;
pub mod model;
pub mod oracle;
pub mod safetensors;
mod spelled;
pub mod ssm;
pub mod table;
mod tensor;
#[cfg(feature = "internals")]
pub mod threads;
#[cfg(not(feature = "internals"))]
mod threads;
pub mod training;
pub mod verify;

pub use error::Error;
pub use tensor::Tensor;
