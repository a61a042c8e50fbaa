//! Every stage of a model by the reference, and the logits by the fast path.

use super::backend::{fast_model, not_computed_in};
use crate::algebra::{Real, RootsOfUnity};
use crate::error::Error;
use crate::fast::{FastModel, Level, ModelElement, ModelWorkspace, WeightFormat};
use crate::h3::Form;
use crate::into_vec::IntoVec as _;
use crate::model::Text;
use crate::oracle::ModelFile;
use crate::safetensors::Dtype;
use crate::tensor::Tensor;

/// The stages of a model over a text, under their names in files and widened to f64, by the reference in F32 or F64: in
/// the parts of the text, zeros at padding. What is run at once goes through the H3 layers by FFT, or by direct
/// convolution if `l_max` truncates their kernels.
///
/// # Errors
///
/// As [`ModelFile::parameters`] and [`Model::forward_documents`](crate::model::Model::forward_documents), or if
/// `dtype` is another.
pub fn stages(
    case: &ModelFile,
    text: &Text,
    dtype: Dtype,
) -> Result<Vec<(String, Tensor<f64>)>, Error> {
    match dtype {
        Dtype::F32 => stages_in::<f32>(case, text),
        Dtype::F64 => stages_in::<f64>(case, text),
        other => Err(not_computed_in(other)),
    }
}

fn stages_in<T>(case: &ModelFile, text: &Text) -> Result<Vec<(String, Tensor<f64>)>, Error>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    let form = match case.config().cuts_kernels(text.documents().longest()) {
        true => Form::Convolution,
        false => Form::Fft,
    };
    let model = case.parameters()?.build::<T>()?;
    let stages = model.forward_text(&form, text)?.named().into_iter();
    Ok(stages
        .map(|(name, stage)| (name, stage.map(Real::to_f64)))
        .into_vec())
}

/// The logits (batch, seq_len, vocabulary) by the fast path in F32 or F64, widened to f64; zeros at padding. All tokens
/// of a document are taken at once.
///
/// # Errors
///
/// As [`FastModel::new`] and [`FastModel::all_logits`], or if `dtype` is another.
pub fn fast_logits(
    case: &ModelFile,
    text: &Text,
    level: Level,
    threads: usize,
    dtype: Dtype,
) -> Result<Tensor<f64>, Error> {
    let (ids, vocab) = (text.ids(), case.config().vocab_size);
    let mut all = vec![0.0; ids.data().len() * vocab];
    let mut take = |at: usize, logits: &[f64]| {
        all[at * vocab..][..vocab].copy_from_slice(logits);
        Ok(())
    };
    match dtype {
        Dtype::F32 => each_token::<f32>(case, text, (level, None), threads, &mut take)?,
        Dtype::F64 => each_token::<f64>(case, text, (level, None), threads, &mut take)?,
        other => return Err(not_computed_in(other)),
    }
    Tensor::new([ids.shape(), &[vocab]].concat(), all)
}

/// A consumer of the logits after a token, given its place in the rows.
pub(super) type Take<'a> = &'a mut dyn FnMut(usize, &[f64]) -> Result<(), Error>;

/// Hands on the logits after every token of a text by the fast path, with the token's place in the rows.
pub(super) fn each_token<T: ModelElement>(
    case: &ModelFile,
    text: &Text,
    (level, weights): (Level, Option<WeightFormat>),
    threads: usize,
    take: Take<'_>,
) -> Result<(), Error> {
    let model: FastModel<T> = fast_model(case, level, weights)?;
    let (documents, vocab) = (text.documents(), case.config().vocab_size);
    let mut workspace = ModelWorkspace::new(threads);
    let mut row = Vec::with_capacity(vocab);
    let mut state = model.zero_state(documents.count(), documents.longest());
    let ids = text.ids().data();
    model.all_logits_of_documents(
        ids,
        documents,
        &mut state,
        &mut workspace,
        |first, logits| {
            for (at, logits) in (first..).zip(logits.chunks_exact(vocab)) {
                row.clear();
                row.extend(logits.iter().map(|&x| x.to_f64()));
                take(at, &row)?;
            }
            Ok(())
        },
    )
}
