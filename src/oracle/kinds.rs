//! The one place that tells the kinds of subjects apart.

use super::any::AnyCase;
use super::spelling::read_case;
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
use super::subjects::training::TrainingCase;
use crate::error::Error;
use crate::safetensors::Tensors;

/// The kinds that are known.
const KINDS: [&str; 10] = [
    LayerCase::KIND,
    ModelCase::KIND,
    TrainingCase::KIND,
    DenseCase::KIND,
    ConvolutionCase::KIND,
    H3OperatorCase::KIND,
    HyenaCase::KIND,
    StripedHyenaCase::KIND,
    SsdCase::KIND,
    Mamba2Case::KIND,
];

/// The case of one kind in a file.
fn of<S: Subject>(file: &dyn Tensors) -> Result<Box<dyn AnyCase>, Error> {
    Ok(Box::new(read_case::<S>(file)?))
}

/// The case in a file, of the kind that its metadata or else its tensors say.
pub(super) fn read(file: &dyn Tensors) -> Result<Box<dyn AnyCase>, Error> {
    match file.metadata().get("kind").map(String::as_str) {
        Some(LayerCase::KIND) => of::<LayerCase>(file),
        Some(ModelCase::KIND) => of::<ModelCase>(file),
        Some(TrainingCase::KIND) => of::<TrainingCase>(file),
        Some(DenseCase::KIND) => of::<DenseCase>(file),
        Some(ConvolutionCase::KIND) => of::<ConvolutionCase>(file),
        Some(H3OperatorCase::KIND) => of::<H3OperatorCase>(file),
        Some(HyenaCase::KIND) => of::<HyenaCase>(file),
        Some(StripedHyenaCase::KIND) => of::<StripedHyenaCase>(file),
        Some(SsdCase::KIND) => of::<SsdCase>(file),
        Some(Mamba2Case::KIND) => of::<Mamba2Case>(file),
        Some(kind) => Err(Error::unknown("metadata kind", kind, KINDS)),
        None if TrainingCase::is_in(file) => of::<TrainingCase>(file),
        None if ModelCase::is_in(file) => of::<ModelCase>(file),
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
        None => of::<LayerCase>(file),
    }
}
