#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![doc = include_str!("../../docs/05-attention.md")]

mod features;
mod heads;
pub mod hyena;
mod linear;
mod masked;
mod softmax;
mod surrogate;

pub use features::FeatureMap;
pub use heads::multi_head;
pub use linear::{linear_attention_quadratic, linear_attention_recurrent, linear_attention_ssm};
pub use masked::{decay_mask, masked_attention};
pub(crate) use softmax::softmax;
pub use softmax::softmax_attention;
pub use surrogate::{h3_on_k, h3_on_v, hyena_on_v};
