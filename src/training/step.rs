//! One training step, from tokens and targets to new weights.

use super::adamw::{AdamW, AsOfficial, OptimizerHooks, TrainingState, UpdateStage};
use crate::algebra::{Real, RootsOfUnity};
use crate::error::{Error, check_len};
use crate::h3::Form;
use crate::into_vec::IntoVec as _;
use crate::model::{ModelParameters, Targets};
use crate::tensor::Tensor;

/// The stages of a training step, and the state that it leaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TrainingStep<T: Real> {
    /// The loss of the batch, before the step.
    pub loss: T,
    /// The gradients, before clipping.
    pub gradients: ModelParameters<T>,
    /// Their norm.
    pub grad_norm: T,
    /// The rate of every group.
    pub rates: Vec<T>,
    /// Parameters and moments after the step.
    pub state: TrainingState<T>,
}

impl<T: Real> TrainingStep<T> {
    /// The stages under their names in files, of step k from 1: `step{k}.loss`, `.grad.PARAMETER`,
    /// `.grad_norm`, `.lr`, and `.exp_avg.PARAMETER`, `.exp_avg_sq.PARAMETER` and `.param.PARAMETER`, which
    /// it leaves.
    #[must_use]
    pub fn named(&self) -> Vec<(String, Tensor<T>)> {
        let of_step = |name: &str| format!("step{}.{name}", self.state.steps);
        let number = |name: &str, x: T| (of_step(name), Tensor::known([1], vec![x]));
        let all = |kind: &str, of: &ModelParameters<T>| -> Vec<(String, Tensor<T>)> {
            let name = |name: String| of_step(&format!("{kind}.{name}"));
            of.tensors()
                .map(|(of, x)| (name(of.official()), x))
                .into_vec()
        };
        let rates = Tensor::known([self.rates.len()], self.rates.clone());
        [
            vec![number("loss", self.loss)],
            all("grad", &self.gradients),
            vec![number("grad_norm", self.grad_norm), (of_step("lr"), rates)],
            all("exp_avg", &self.state.exp_avg),
            all("exp_avg_sq", &self.state.exp_avg_sq),
            all("param", &self.state.parameters),
        ]
        .concat()
    }
}

impl<T: Real> TrainingState<T> {
    /// The training step on the sequences `ids` (batch, seq_len) with `targets` (batch, seq_len) from this
    /// state, with the H3 layers in this form.
    ///
    /// # Errors
    ///
    /// As [`ModelParameters::gradients`] and [`AdamW::update`].
    pub fn step(
        &self,
        optimizer: &AdamW,
        form: &Form,
        ids: &Tensor<usize>,
        targets: &Targets,
    ) -> Result<TrainingStep<T>, Error>
    where
        T::Complex: RootsOfUnity,
    {
        let (_, found) = self.parameters.gradients(form, ids, targets)?;
        self.step_from(&AsOfficial, optimizer, (found.loss, found.parameters))
    }

    /// [`step`](Self::step) through hooks into the optimizer, from a loss and gradients.
    pub(crate) fn step_from(
        &self,
        update: &dyn OptimizerHooks<T>,
        optimizer: &AdamW,
        (loss, mut gradients): (T, ModelParameters<T>),
    ) -> Result<TrainingStep<T>, Error> {
        let step = self.steps + 1;
        for name in gradients.config().names() {
            let of = UpdateStage::Gradient(name);
            let stands = update.stage(step, of, gradients.get(name).to_vec());
            check_len(&of.name(step), stands.len(), gradients.get(name).len())?;
            gradients.get_mut(name).copy_from_slice(&stands);
        }
        let mut state = self.clone();
        let done = optimizer.update_by(update, &mut state, &gradients)?;
        Ok(TrainingStep {
            loss,
            gradients,
            grad_norm: done.grad_norm,
            rates: done.rates,
            state,
        })
    }
}
