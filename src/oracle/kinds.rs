//! The one place that tells the kinds of subjects apart.

use super::subject::Subject;
use super::subjects::convolution::ConvolutionCase;
use super::subjects::dense::DenseCase;
use super::subjects::h3_operator::H3OperatorCase;
use super::subjects::hyena::HyenaCase;
use super::subjects::layer::LayerCase;
use super::subjects::mamba2::Mamba2Case;
use super::subjects::model::ModelCase;
use super::subjects::ssd::SsdCase;
use super::subjects::striped_hyena::StripedHyenaCase;
use crate::error::Error;
use crate::safetensors::Tensors;

/// Something done with a file, whatever kind of subject it holds.
pub(super) trait ForSubject {
    type Output;

    fn of<S: Subject>(&self, file: &dyn Tensors) -> Result<Self::Output, Error>;
}

/// The kinds that are known.
const KINDS: [&str; 9] = [
    LayerCase::KIND,
    ModelCase::KIND,
    DenseCase::KIND,
    ConvolutionCase::KIND,
    H3OperatorCase::KIND,
    HyenaCase::KIND,
    StripedHyenaCase::KIND,
    SsdCase::KIND,
    Mamba2Case::KIND,
];

/// The kind of a file, by its metadata or else its tensors, and what is to be done with it.
pub(super) fn dispatch<F: ForSubject>(file: &dyn Tensors, f: &F) -> Result<F::Output, Error> {
    match file.metadata().get("kind").map(String::as_str) {
        Some(LayerCase::KIND) => f.of::<LayerCase>(file),
        Some(ModelCase::KIND) => f.of::<ModelCase>(file),
        Some(DenseCase::KIND) => f.of::<DenseCase>(file),
        Some(ConvolutionCase::KIND) => f.of::<ConvolutionCase>(file),
        Some(H3OperatorCase::KIND) => f.of::<H3OperatorCase>(file),
        Some(HyenaCase::KIND) => f.of::<HyenaCase>(file),
        Some(StripedHyenaCase::KIND) => f.of::<StripedHyenaCase>(file),
        Some(SsdCase::KIND) => f.of::<SsdCase>(file),
        Some(Mamba2Case::KIND) => f.of::<Mamba2Case>(file),
        Some(kind) => Err(Error::unknown("metadata kind", kind, KINDS)),
        None if ModelCase::is_in(file) => f.of::<ModelCase>(file),
        None if ["input", "q_proj.weight"]
            .iter()
            .all(|name| file.find(name).is_none()) =>
        {
            Err(Error::value(
                "the file",
                "is no case and no golden file: it has no metadata kind, no tensor \"input\" and no \"q_proj.weight\"; a \
             port's dump is checked as the second file, against a golden one",
            ))
        }
        None => f.of::<LayerCase>(file),
    }
}
