//! Every stage of a model by the reference, and the logits by the fast path.

use super::backend::{fast_model, not_computed_in};
use crate::error::Error;
use crate::fast::{FastModel, Level, ModelElement, ModelWorkspace};
use crate::h3::Form;
use crate::oracle::{Case, ModelCase, ModelFile, Precision};
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
    let (case, form) = reference_run(case, ids, prompt)?;
    case.run(&form, precision_of(dtype)?, false)
}

/// The run of the reference that commands ask for: a case and a form.
pub(super) fn reference_run(
    model: &ModelFile,
    ids: &Tensor<usize>,
    prompt: usize,
) -> Result<(Case, Form), Error> {
    let case = ModelCase::new(model.parameters()?, ids.clone())?.with_prompt(prompt);
    let case = Case::from(case);
    let form = match case.default_form() {
        Form::Convolution => Form::Convolution,
        _ => Form::Fft,
    };
    Ok((case, form))
}

/// The precision of a float type in which the commands compute.
pub(super) fn precision_of(dtype: Dtype) -> Result<Precision, Error> {
    match dtype {
        Dtype::F32 => Ok(Precision::F32),
        Dtype::F64 => Ok(Precision::F64),
        other => Err(not_computed_in(other)),
    }
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

fn logits_in<T: ModelElement>(
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
        for (place, x) in all[first * vocab..].iter_mut().zip(logits) {
            *place = x.to_f64();
        }
        Ok(())
    })?;
    Tensor::new([batch, len, vocab], all)
}

/// The two sizes of tokens (batch, seq_len), each at least 1.
pub(super) fn batch_and_len(ids: &Tensor<usize>) -> Result<(usize, usize), Error> {
    match *ids.shape() {
        [batch, len] if batch > 0 && len > 0 => Ok((batch, len)),
        [batch, len] => Err(Error::value(
            "input_ids",
            format!("no token: {batch} sequences of {len}; expected at least one of each"),
        )),
        ref other => Err(Error::shape(
            "input_ids",
            "shape (batch, seq_len)",
            format_args!("{other:?}"),
        )),
    }
}
