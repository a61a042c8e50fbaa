//! The one place that tells the kinds of subjects apart.

use super::any::AnyCase;
use super::official::Official;
use super::spelling::read_case;
use super::subject::Subject;
use super::subjects::convolution::ConvolutionCase;
use super::subjects::dense::DenseCase;
use super::subjects::h3_operator::H3OperatorCase;
use super::subjects::hyena::{self, HyenaCase};
use super::subjects::layer::{self, LayerCase};
use super::subjects::mamba2::{self, Mamba2Case};
use super::subjects::model::{self, ModelCase};
use super::subjects::ssd::SsdCase;
use super::subjects::striped_hyena::{self, StripedHyenaCase};
use super::subjects::training::TrainingCase;
use crate::error::Error;
use crate::h3::Name;
use crate::safetensors::Tensors;

/// The kinds that are known.
pub(super) const KINDS: [&str; 10] = [
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

/// The kinds that checkpoints hold blocks of.
static OFFICIAL: [(&str, Official); 5] = [
    (LayerCase::KIND, layer::OFFICIAL),
    (ModelCase::KIND, model::OFFICIAL),
    (HyenaCase::KIND, hyena::OFFICIAL),
    (StripedHyenaCase::KIND, striped_hyena::OFFICIAL),
    (Mamba2Case::KIND, mamba2::OFFICIAL),
];

/// The names of those kinds.
pub(super) fn checkpoint_kinds() -> impl Iterator<Item = &'static str> {
    OFFICIAL.iter().map(|(kind, _)| *kind)
}

/// The contents of checkpoints of a kind, if it can be imported.
pub(super) fn official(kind: &str) -> Option<(&'static str, &'static Official)> {
    let found = OFFICIAL.iter().find(|(known, _)| *known == kind);
    found.map(|(kind, official)| (*kind, official))
}

/// True if a file without a kind can be meant for a layer: if it holds a tensor that only layers have.
fn may_be_a_layer(file: &dyn Tensors) -> bool {
    let names = Name::ALL.map(Name::official);
    // Other kinds have a D too.
    let mut own = names.into_iter().filter(|name| name.contains('.'));
    own.any(|name| file.find(name).is_some())
}

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
        None if may_be_a_layer(file) => of::<LayerCase>(file),
        None => Err(Error::value(
            "the file",
            format!(
                "has no metadata kind, and its tensors are those of no layer and no language model; expected \
                 kind = {}, or, for a port's dump, that it is checked as the second file, against a golden one",
                KINDS.join(", ")
            ),
        )),
    }
}
