#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![cfg_attr(not(doctest), doc = include_str!("../chapters.md"))]
#![doc = include_str!("../../docs/09-oracle.md")]

mod any;
mod candidate;
mod case;
mod certified;
mod check;
mod exact;
mod format;
mod golden;
mod golden_file;
mod import;
mod kinds;
mod memo;
mod mistake;
mod official;
mod precision;
mod read;
mod rerun;
mod sequence;
mod spelling;
mod stage;
mod subject;
mod subjects;
mod suite;
mod upstream;

use crate::internals::internals;

pub use candidate::{Candidate, CandidateStage, Holdings, PortNumber};
pub use case::Case;
pub use certified::{Certified, CertifiedStage};
pub use check::{
    Equal, Explained, Finding, Power, Report, SampledHeads, StageReport, StageVerdict, Suspect,
    Verdict, default_chunk_len,
};
pub use format::Format;
pub use golden::{GOLDEN, GoldenStage};
pub use golden_file::{Golden, check_files};
pub use import::Checkpoint;
pub use mistake::Mistake;
pub use precision::Precision;
pub(crate) use stage::Named as Stages;
pub use stage::{Axis, StageSpec};
pub(crate) use subjects::graph::{ByForm, Filters, Function, Inputs, Operator, Source, taps_model};
pub use subjects::layer::{ExactLayer, FORMAT, LayerCase};
pub use subjects::model::{ModelCase, ModelFile, model_metadata};
pub(crate) use suite::operators_of_the_suite;
pub use suite::{SUITE_SEED, SuiteCase, suite};

#[cfg(feature = "internals")]
pub use subjects::{layer::kernel_errors, model::internals as model_analysis};

internals!(certified::{Computation, certify});
internals!(check::{
    BINS, BY_CHANCE, CHANCE, Evidence, LARGE, LOWEST, PER_DECADE, SHARE, SHARE_AT_16_BITS, SHARE_OF_FEW,
    SHARE_OF_LARGE, SHARE_OF_ROUNDED, SHOWN, Scales, Weights, chosen, counts, describe, percent, rows, shown,
});
internals!(exact::{EXACT, read_exact, spell});
internals!(memo::{Memo, ROOM, Recall, Step});
internals!(rerun::{Rerun, check_on_heads, precision_seen});
internals!(spelling::may_stand_for);
internals!(subjects::layer::{error_scales, gradient_scales});
internals!(subjects::model::up_to_8_bits);
internals!(upstream::{Sample, Setting, Upstream, UpstreamStage});
