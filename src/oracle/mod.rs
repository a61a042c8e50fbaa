#![doc = include_str!("../../docs/09-oracle.md")]

mod case;
mod certified;
mod golden;
mod gradients;
pub mod mutants;
mod stages;
mod tolerance;

pub use case::{Case, FORMAT};
pub use certified::{Certified, CertifiedStage, certified};
pub use golden::{GOLDEN, Golden, GoldenStage};
pub use stages::named_stages;
pub use tolerance::{Format, error_scales};
