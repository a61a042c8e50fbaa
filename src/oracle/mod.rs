#![doc = include_str!("../../docs/09-oracle.md")]

mod case;
mod certified;
mod golden;
mod tolerance;

pub use case::{Case, FORMAT, named_stages};
pub use certified::{Certified, CertifiedStage, certified};
pub use golden::{GOLDEN, Golden, GoldenStage};
pub use tolerance::{Format, error_scales};
