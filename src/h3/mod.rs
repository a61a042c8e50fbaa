#![doc = include_str!("../../docs/07-h3.md")]

mod config;
mod form;
mod forward;
mod layer;
mod parameters;
mod sample;
mod streaming;

pub use config::{Config, HeadOrder, RealType};
pub use form::Form;
pub(crate) use forward::Respond;
pub use forward::Stages;
pub use layer::{Layer, LayerParts, LayerState, Linear};
pub use parameters::{Name, Parameters};
pub use sample::LayerShape;
pub use streaming::LayerStream;
