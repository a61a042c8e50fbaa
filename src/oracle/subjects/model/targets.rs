//! The targets of a loss in a file, and the metadata that describes them.

use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::model::{ModelConfig, Targets};
use crate::oracle::read::{Strings, check_shape};
use crate::oracle::subject::{Given, GivenValues};
use crate::safetensors::{Cursor, Tensors};
use crate::tensor::Tensor;

/// The target in files at a position that is not counted: PyTorch's default `ignore_index`.
const NOT_COUNTED: i64 = -100;

/// The loss that is taken, in the words of the official files (metadata `loss_of`).
const LOSS: &str = "mean cross-entropy over targets that are not -100";

/// The tensor of targets of this name, of the shape of the tokens; `None` if there is none.
///
/// # Errors
///
/// If it has another shape, a target is neither -100 nor a word of the vocabulary, or the metadata
/// asks for another loss, or for dropout.
pub(crate) fn read_targets(
    file: &dyn Tensors,
    name: &str,
    shape: &[usize],
    config: &ModelConfig,
) -> Result<Option<Targets>, Error> {
    let Some((_, found)) = file.find(name) else {
        return Ok(None);
    };
    // A single axis is one sequence, as of the tokens.
    match (found, shape) {
        (&[len], &[1, expected]) if len == expected => {}
        _ => check_shape(name, found, shape)?,
    }
    check_loss(file.metadata())?;
    let vocab = config.vocab_size;
    let target = |(at, &id): (usize, &i64)| match usize::try_from(id) {
        Ok(id) if id < vocab => Ok(Some(id)),
        _ if id == NOT_COUNTED => Ok(None),
        _ => Err(Error::value(
            format!("tensor {name:?}"),
            format!("element {at} is {id}; expected a word of the vocabulary of {vocab}, or -100"),
        )),
    };
    let ids = file.integers(name)?;
    let targets = ids.iter().enumerate().map(target);
    Tensor::new(shape, targets.collect::<Result<Vec<_>, _>>()?).map(Some)
}

/// Targets as files hold them.
pub(crate) fn stored_targets(name: impl Into<String>, targets: &Targets) -> Given {
    let stored = |target: &Option<usize>| target.map_or(NOT_COUNTED, |id| id as i64);
    Given {
        name: name.into(),
        shape: targets.shape().to_vec(),
        values: GivenValues::Integers(targets.data().iter().map(stored).into_vec()),
        by_token: None,
    }
}

/// Refuses another loss than the mean over counted positions, and dropout.
fn check_loss(strings: &Strings) -> Result<(), Error> {
    if let Some(loss) = strings.get("loss_of").filter(|loss| *loss != LOSS) {
        return Err(Error::unknown("metadata loss_of", loss, [LOSS]));
    }
    match strings.get("dropout").map(String::as_str) {
        None | Some("0" | "0.0" | "none" | "None" | "0 everywhere") => Ok(()),
        Some(dropout) => Err(Error::unsupported(format!(
            "metadata dropout = {dropout:?}: losses and gradients are computed without dropout; expected \"0\""
        ))),
    }
}

/// The metadata key that says of what gradients there are.
const GRADIENTS: &str = "gradients";

/// Its value where there is the loss alone.
const NO_GRADIENTS: &str = "none";

/// The metadata of a case without gradients.
pub(super) fn without_gradients() -> (String, String) {
    (GRADIENTS.into(), NO_GRADIENTS.into())
}

/// True unless metadata `gradients` is `none`.
///
/// # Errors
///
/// If it is anything else.
pub(super) fn has_gradients(strings: &Strings) -> Result<bool, Error> {
    match strings.get(GRADIENTS).map(String::as_str) {
        None => Ok(true),
        Some(NO_GRADIENTS) => Ok(false),
        Some(other) => Err(Error::value(
            format!("metadata {GRADIENTS}"),
            format!("says {other:?}; expected {NO_GRADIENTS:?}, or no such key for all gradients"),
        )),
    }
}

/// Holds metadata `counted`, one number or a list of one for each batch, against the targets.
///
/// # Errors
///
/// If they disagree.
pub(crate) fn check_counted(strings: &Strings, batches: &[&Targets]) -> Result<(), Error> {
    let Some(stated) = strings.get("counted") else {
        return Ok(());
    };
    let mut cursor = Cursor::new("metadata counted", stated);
    let stated = match stated.starts_with('[') {
        true => cursor.numbers()?,
        false => vec![cursor.number()?],
    };
    cursor.end()?;
    let counted = batches
        .iter()
        .map(|targets| targets.data().iter().flatten().count() as f64);
    let counted: Vec<f64> = counted.into_vec();
    if stated == counted {
        return Ok(());
    }
    Err(Error::value(
        "metadata counted",
        format!("says {stated:?}, but the targets count {counted:?}"),
    ))
}
