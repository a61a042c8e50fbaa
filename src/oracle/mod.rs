#![doc = include_str!("../../docs/09-oracle.md")]

mod case;
mod certified;
mod check;
mod golden;
mod gradients;
mod model_case;
mod model_run;
pub mod mutants;
mod parallel;
mod stages;
mod suite;
mod tolerance;

pub use case::{Case, FORMAT};
pub use certified::{Certified, CertifiedStage, certified};
pub use check::{
    Candidate, CandidateStage, Diagnosis, KnownMistake, Report, StageReport, Suspect, check,
};
pub use golden::{GOLDEN, Golden, GoldenStage};
pub use model_case::ModelCase;
pub use model_run::ModelRun;
pub use stages::named_stages;
pub use suite::{SUITE_SEED, SuiteCase, suite};
pub use tolerance::{Format, error_scales, gradient_scales};
