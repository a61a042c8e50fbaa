//! Mean cross-entropy over counted positions, and its derivative by the logits.

use crate::algebra::Real;
use crate::attention::softmax;
use crate::error::{Error, check_len};
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// The target at every place of the rows, (batch, seq_len); `None` where nothing is counted: -100
/// in files, `ignore_index` of `torch.nn.functional.cross_entropy`.
pub type Targets = Tensor<Option<usize>>;

/// Refuses targets that no loss can be taken of.
///
/// # Errors
///
/// If they have another shape than the rows, stand at padding, are outside the vocabulary, or none is
/// counted.
pub(super) fn check_targets(
    targets: &Targets,
    documents: &Documents,
    vocab_size: usize,
) -> Result<(), Error> {
    let (batch, len) = (documents.batch(), documents.seq_len());
    targets.check_shape("targets", &[batch, len])?;
    let counted = targets.data().iter().enumerate();
    let mut counted = counted.filter_map(|(at, target)| Some((at, (*target)?)));
    if let Some((at, id)) = counted.find(|(_, id)| *id >= vocab_size) {
        let why = format!("element {at} is {id}, outside the vocabulary of {vocab_size}");
        return Err(Error::value("targets", why));
    }
    if targets.data().iter().all(Option::is_none) {
        return Err(Error::value("targets", "no position is counted"));
    }
    let mut padding = documents.padding().map(|(b, i)| b * len + i);
    match padding.find(|&at| targets.data()[at].is_some()) {
        None => Ok(()),
        Some(at) => Err(Error::value(
            "tensor \"targets\"",
            format!("element {at} is at padding, where no target may be counted"),
        )),
    }
}

/// The weight of every place in the loss, (batch, seq_len): `1 / counted` at the counted ones, else 0.
///
/// # Errors
///
/// If none is counted.
pub(crate) fn weights_of_counted<T: Real>(targets: &Targets) -> Result<Tensor<T>, Error> {
    let counted = targets.data().iter().flatten().count();
    let weight = T::from_i64(counted as i64).inverse();
    let weight = weight.ok_or_else(|| Error::value("targets", "no position is counted"))?;
    Ok(targets.map(|target| target.map_or(T::ZERO, |_| weight)))
}

/// The loss of one token, `-ln softmax(logits)[target]` over all logits, and its derivative by each
/// of them, `softmax(logits) - e_target`.
///
/// With `top` the largest logit the loss is `ln(1 + sum of the others' e^(z - top)) + (top - z_target)`,
/// which neither overflows nor cancels.
///
/// # Errors
///
/// If there is no such logit, or as the softmax.
pub(crate) fn cross_entropy<T: Real>(logits: &[T], target: usize) -> Result<(T, Vec<T>), Error> {
    let of_target = *logits.get(target).ok_or_else(|| {
        let why = format!("{target} has no logit among {}", logits.len());
        Error::value("targets", why)
    })?;
    let numbered = logits.iter().enumerate();
    let (at, &top) = numbered
        .max_by(|a, b| a.1.to_f64().total_cmp(&b.1.to_f64()))
        .unwrap_or((target, &of_target));
    let others = logits.iter().enumerate().filter(|(i, _)| *i != at);
    let others = others.fold(T::ZERO, |sum, (_, &z)| sum + (z - top).exp());
    let loss = others.ln_1p() + (top - of_target);
    let mut slope = softmax(logits)?;
    slope[target] = slope[target] - T::ONE;
    Ok((loss, slope))
}

/// The mean cross-entropy of the counted positions, alone.
///
/// # Errors
///
/// As [`ModelParameters::gradients`](super::super::ModelParameters::gradients) of the targets.
pub(crate) fn mean_loss<T: Real>(
    logits: &Tensor<T>,
    targets: &Targets,
    documents: &Documents,
) -> Result<T, Error> {
    check_targets(targets, documents, logits.shape()[2])?;
    let weights = weights_of_counted(targets)?;
    Ok(weighted_loss(logits, targets, &weights, cross_entropy)?.0)
}

/// The loss of the rows, and its derivative by the logits (batch, seq_len, `vocab_size`), for a loss of
/// one token and a weight of each. Places of weight 0 or without a target take no part.
///
/// # Errors
///
/// If the shapes disagree, or the loss of a token fails.
pub(super) fn weighted_loss<T: Real>(
    logits: &Tensor<T>,
    targets: &Targets,
    weights: &Tensor<T>,
    of_token: impl Fn(&[T], usize) -> Result<(T, Vec<T>), Error>,
) -> Result<(T, Tensor<T>), Error> {
    weights.check_shape("weights of the loss", targets.shape())?;
    let mut of_logits = Tensor::filled(logits.shape(), T::ZERO);
    let mut sum = T::ZERO;
    let counted = targets.data().iter().zip(weights.data()).enumerate();
    for (r, (target, &weight)) in counted {
        let Some(target) = *target else { continue };
        let (loss, slope) = of_token(logits.row(r), target)?;
        check_len(
            "derivative of a token's loss",
            slope.len(),
            logits.row(r).len(),
        )?;
        sum = sum + weight * loss;
        let places = of_logits.row_mut(r).iter_mut().zip(slope);
        places.for_each(|(place, slope)| *place = weight * slope);
    }
    Ok((sum, of_logits))
}
