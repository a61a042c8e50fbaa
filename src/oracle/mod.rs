#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![doc = include_str!("../../docs/09-oracle.md")]

mod case;
mod certified;
mod check;
mod dense_golden;
mod format;
mod golden;
mod gradients;
mod model_case;
mod model_check;
mod model_golden;
mod model_layers;
mod model_mutants;
mod model_run;
mod model_suite;
mod model_tolerance;
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
pub use dense_golden::{DenseGolden, DenseSuiteCase, check_dense, dense_suite};
pub use format::Format;
pub use golden::{GOLDEN, Golden, GoldenStage};
pub use model_case::{ModelCase, model_metadata};
pub use model_check::check_model;
pub use model_golden::ModelGolden;
pub use model_mutants::ModelMutant;
pub use model_run::ModelRun;
pub use model_suite::{ModelSuiteCase, model_suite};
pub use stages::named_stages;
pub use suite::{SUITE_SEED, SuiteCase, suite};
pub use tolerance::{error_scales, gradient_scales};
