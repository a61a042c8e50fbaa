#![doc = include_str!("../../docs/09-oracle.md")]

mod case;
mod certified;
mod tolerance;

pub use case::{Case, FORMAT, named_stages};
pub use certified::{Certified, CertifiedStage, certified};
pub use tolerance::{Format, error_scales};
