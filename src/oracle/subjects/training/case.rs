//! A training case: a model, batches, an optimizer.

use super::super::model::{ModelLayout, check_counted, read_targets};
use super::optimizer::read_optimizer;
use crate::algebra::{Real, RootsOfUnity};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::model::{ModelBackward, ModelParameters, Rows, Targets, documents_of_ids};
use crate::oracle::read::{check_size, optional};
use crate::oracle::sequence;
use crate::oracle::subject::{Named, Subject};
use crate::safetensors::Tensors;
use crate::tensor::Tensor;
use crate::training::{AdamW, AsOfficial, OptimizerHooks, TrainingState};

/// The tokens of one step and the targets at each, (batch, seq_len).
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) ids: Tensor<usize>,
    pub(super) targets: Targets,
}

/// A language model and the batches it is trained on, one per step.
#[derive(Clone, Debug)]
pub(crate) struct TrainingCase {
    /// Before the first step.
    pub(super) parameters: ModelParameters<f64>,
    pub(super) batches: Vec<Batch>,
    pub(super) optimizer: AdamW,
    /// The vocabulary without its padding, where that is known.
    pub(super) unpadded: Option<usize>,
}

impl TrainingCase {
    /// True if a file holds training steps: if some tensor is a batch's tokens.
    pub(crate) fn is_in(file: &dyn Tensors) -> bool {
        let is_batch = |name: &&str| name.starts_with("batch") && name.ends_with(".input_ids");
        file.names().iter().any(is_batch)
    }

    /// The case in a file.
    ///
    /// # Errors
    ///
    /// Naming the tensor or metadata key at fault, and what was expected of it.
    pub(super) fn from_file(file: &dyn Tensors) -> Result<Self, Error> {
        let layout = ModelLayout::read(file)?;
        let strings = file.metadata();
        sequence::refuse(file, Self::KIND)?;
        for name in ["input_ids", "targets"] {
            if file.find(name).is_some() {
                return Err(Error::value(
                    format!("tensor {name:?}"),
                    "is there, and so are batches: a file holds one loss or training steps",
                ));
            }
        }
        let mut batches = Vec::new();
        let tensor = |k: usize, of: &str| format!("batch{k}.{of}");
        while file.find(&tensor(batches.len() + 1, "input_ids")).is_some() {
            batches.push(read_batch(&layout, file, batches.len() + 1)?);
        }
        let first = tensor(1, "input_ids");
        if batches.is_empty() {
            return Err(Error::missing(format!("tensor {first:?}")));
        }
        let known = |name: &str| {
            let mut steps = 1..=batches.len();
            steps.any(|k| {
                ["input_ids", "targets"]
                    .iter()
                    .any(|of| tensor(k, of) == name)
            })
        };
        let of_batches = file.names().into_iter();
        let mut of_batches = of_batches.filter(|name| name.starts_with("batch"));
        if let Some(name) = of_batches.find(|name| !known(name)) {
            let why = format!("is of none of the batches 1 to {}", batches.len());
            return Err(Error::value(format!("tensor {name:?}"), why));
        }
        check_size(strings, "steps", batches.len(), false)?;
        let targets: Vec<&Targets> = batches.iter().map(|batch| &batch.targets).into_vec();
        check_counted(strings, &targets)?;
        Ok(Self {
            optimizer: read_optimizer(strings, &layout.config, batches.len())?,
            parameters: layout.parameters(file)?,
            batches,
            unpadded: optional(strings, "vocab_size")?,
        })
    }

    /// The most tokens of a sequence.
    pub(super) fn longest(&self) -> usize {
        let lengths = self.batches.iter().map(|batch| batch.ids.shape()[1]);
        lengths.max().unwrap_or(0)
    }

    /// The stages of every step, in the scalars of a precision.
    pub(super) fn steps<T>(&self, hooks: &dyn ModelBackward<T>) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let parameters = self.parameters.map(T::from_f64);
        let gradients = |parameters: &ModelParameters<T>, rows: Rows<'_, usize>, targets: &_| {
            let (_, found) = parameters.gradients_by(hooks, rows, targets)?;
            Ok((found.loss, found.parameters))
        };
        self.steps_by(&self.optimizer, &AsOfficial, parameters, gradients)
    }

    /// The stages of every step of an optimizer, by an update through hooks and a loss and
    /// gradients computed in any way.
    pub(super) fn steps_by<T: Real>(
        &self,
        optimizer: &AdamW,
        update: &dyn OptimizerHooks<T>,
        parameters: ModelParameters<T>,
        gradients: impl Fn(
            &ModelParameters<T>,
            Rows<'_, usize>,
            &Targets,
        ) -> Result<(T, ModelParameters<T>), Error>,
    ) -> Result<Named<T>, Error> {
        let mut state = TrainingState::new(parameters);
        let mut named = Vec::new();
        for (Batch { ids, targets }, k) in self.batches.iter().zip(1..) {
            let of_step = |e: Error| Error::value(format!("step {k}"), e.to_string());
            let documents = documents_of_ids(ids).map_err(of_step)?;
            let found = gradients(&state.parameters, (ids, &documents), targets);
            let step = found.and_then(|found| state.step_from(update, optimizer, found));
            let step = step.map_err(of_step)?;
            named.extend(step.named());
            state = step.state;
        }
        Ok(named)
    }
}

fn read_batch(layout: &ModelLayout, file: &dyn Tensors, k: usize) -> Result<Batch, Error> {
    let strings = file.metadata();
    let ids = layout.saved_ids(file, &format!("batch{k}.input_ids"))?;
    let of_batch = |e: Error| Error::value(format!("batch {k}"), e.to_string());
    check_size(strings, "B", ids.shape()[0], false).map_err(of_batch)?;
    check_size(strings, "L", ids.shape()[1], false).map_err(of_batch)?;
    layout.config.check_end(ids.shape()[1]).map_err(of_batch)?;
    let name = format!("batch{k}.targets");
    let targets = read_targets(file, &name, ids.shape(), &layout.config)?;
    let targets = targets.ok_or_else(|| Error::missing(format!("tensor {name:?}")))?;
    if targets.data().iter().all(Option::is_none) {
        return Err(Error::value(
            format!("tensor {name:?}"),
            "counts no position",
        ));
    }
    Ok(Batch { ids, targets })
}
