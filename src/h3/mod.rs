#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![cfg_attr(not(doctest), doc = include_str!("../chapters.md"))]
#![doc = include_str!("../../docs/07-h3.md")]

mod config;
mod diagonal_models;
mod evaluate;
mod form;
mod forward;
pub mod gradients;
mod gradients_form;
mod gradients_parameters;
mod init;
mod layer;
mod modes;
mod parameters;
mod parts;
mod plain;
mod sample;
mod stages;
mod streaming;

use crate::internals::internals;

pub use crate::algebra::Linear;
pub use config::{Config, HeadOrder, RealType};
pub(crate) use diagonal_models::DiagonalModels;
pub(crate) use evaluate::Evaluate;
pub use form::Form;
pub(crate) use forward::multiply;
pub(crate) use gradients::Backward;
pub use gradients::LayerGradients;
pub use init::Initialization;
pub(crate) use init::normal;
pub use layer::{Layer, LayerParts, LayerState};
pub use modes::Modes;
pub use parameters::{Name, Parameters};
pub(crate) use plain::Plain;
pub use sample::LayerShape;
pub use stages::Stages;
pub(crate) use stages::{Progress, Sizes, Stage};
pub use streaming::LayerStream;

internals!(diagonal_models::{sigmoid, softplus});
internals!(form::ModelForm);
internals!(forward::documents_of);
internals!(gradients_form::AdjointForm);
internals!(init::polar);
internals!(parts::join);
