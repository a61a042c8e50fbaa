//! The program that runs a model: the reference or the fast path.

use crate::error::Error;
use crate::fast::{FastModel, Level, ModelElement, WeightFormat};
use crate::oracle::ModelFile;
use crate::safetensors::Dtype;

/// The program that runs a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The reference, which is written to be read.
    Reference,
    /// The fast path.
    Fast {
        /// The instruction set.
        level: Level,
        /// The number of threads, which changes no bit of a result; 0 is taken as 1.
        threads: usize,
        /// The format that the weights of matrices are stored in, which changes the weights; `None` keeps them.
        weights: Option<WeightFormat>,
    },
}

/// The fast model of a case, its weights read one at a time.
pub(super) fn fast_model<T: ModelElement>(
    case: &ModelFile,
    level: Level,
    weights: Option<WeightFormat>,
) -> Result<FastModel<T>, Error> {
    let config = case.config();
    if config.has_s4d() {
        let why = "a model with S4D layers, which the fast path does not run; the reference does (--form step)";
        return Err(Error::unsupported(why).in_file(case.file().path()));
    }
    FastModel::with_weights(level, weights, config, |name| case.parameter(name))
        .map_err(|e| e.in_file(case.file().path()))
}

/// The refusal of a type in which no model is computed.
pub(super) fn not_computed_in(dtype: Dtype) -> Error {
    Error::unsupported(format!(
        "models are computed in F32 and F64, not in {dtype}"
    ))
}
