//! Every stage of a model by the reference, and the logits by the fast path.

use super::backend::{fast_model, not_computed_in};
use crate::algebra::{Real, RootsOfUnity};
use crate::error::Error;
use crate::fast::{FastModel, Functions, Level, ModelWorkspace};
use crate::h3::Form;
use crate::model::ModelParameters;
use crate::oracle::{ModelFile, ModelCase};
use crate::safetensors::Dtype;
use crate::tensor::Tensor;

/// The stages of a model over the tokens `ids` (batch, seq_len), under their names in files and widened to f64, by the
/// reference in F32 or F64: the first `prompt` tokens of each sequence as a whole, the others one at a time. Whole
/// tokens go through the H3 layers by FFT, or by direct convolution if `l_max` cuts their kernels.
///
/// # Errors
///
/// As [`ModelFile::parameters`] and [`Model::forward_from_prompt`](crate::model::Model::forward_from_prompt), or if
/// `dtype` is another.
pub fn stages(
    case: &ModelFile,
    ids: &Tensor<usize>,
    prompt: usize,
    dtype: Dtype,
) -> Result<Vec<(String, Tensor<f64>)>, Error> {
    let parameters = case.parameters()?;
    match dtype {
        Dtype::F32 => in_scalars::<f32>(&reference_run(&parameters, ids, prompt)),
        Dtype::F64 => in_scalars::<f64>(&reference_run(&parameters, ids, prompt)),
        other => Err(not_computed_in(other)),
    }
}

/// The run of the reference that commands ask for.
pub(super) fn reference_run<'a>(
    parameters: &'a ModelParameters<f64>,
    ids: &'a Tensor<usize>,
    prompt: usize,
) -> ModelCase<'a> {
    let whole = ModelCase::whole(parameters, ids);
    let form = match whole.form {
        Form::Convolution => Form::Convolution,
        _ => Form::Fft,
    };
    ModelCase {
        prompt,
        form,
        ..whole
    }
}

fn in_scalars<T>(run: &ModelCase<'_>) -> Result<Vec<(String, Tensor<f64>)>, Error>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    let stages = run.stages::<T>()?.into_iter();
    let widened = |(name, stage): (_, Tensor<T>)| (name, stage.map(Real::to_f64));
    Ok(stages.map(widened).collect())
}

/// The logits (batch, seq_len, vocabulary) by the fast path in F32 or F64, widened to f64.
///
/// # Errors
///
/// As [`FastModel::new`] and [`FastModel::all_logits`], or if `dtype` is another.
pub fn fast_logits(
    case: &ModelFile,
    ids: &Tensor<usize>,
    level: Level,
    threads: usize,
    dtype: Dtype,
) -> Result<Tensor<f64>, Error> {
    match dtype {
        Dtype::F32 => logits_in::<f32>(case, ids, level, threads),
        Dtype::F64 => logits_in::<f64>(case, ids, level, threads),
        other => Err(not_computed_in(other)),
    }
}

fn logits_in<T: Functions>(
    case: &ModelFile,
    ids: &Tensor<usize>,
    level: Level,
    threads: usize,
) -> Result<Tensor<f64>, Error> {
    let model: FastModel<T> = fast_model(case, level)?;
    let (batch, len) = batch_and_len(ids)?;
    let vocab = case.config().vocab_size;
    let mut all = vec![f64::NAN; batch * len * vocab];
    let mut workspace = ModelWorkspace::new(threads);
    let mut state = model.zero_state(batch, len);
    model.all_logits(ids.data(), &mut state, &mut workspace, |first, logits| {
        let tokens = logits.len() / (batch * vocab);
        for (b, logits) in logits.chunks_exact(tokens * vocab).enumerate() {
            let place = &mut all[(b * len + first) * vocab..][..tokens * vocab];
            for (place, x) in place.iter_mut().zip(logits) {
                *place = x.to_f64();
            }
        }
        Ok(())
    })?;
    Tensor::new([batch, len, vocab], all)
}

/// The two sizes of tokens (batch, seq_len).
pub(super) fn batch_and_len(ids: &Tensor<usize>) -> Result<(usize, usize), Error> {
    match *ids.shape() {
        [batch, len] => Ok((batch, len)),
        ref other => Err(Error::shape(
            "input_ids",
            "shape (batch, seq_len)",
            format_args!("{other:?}"),
        )),
    }
}
