//! Diagonal models if only the outputs from the zero state are needed: by blocks, or as a
//! convolution with their impulse responses, whichever the plan finds cheaper.

use super::convolution::LongConvolution;
use super::diagonal::{DiagonalSsm, DiagonalState, Plan};
use super::lanes::Element;
use super::panels::Panels;
use super::workspace::Workspace;
use crate::error::Error;

/// A bank of diagonal models prepared for sequences up to a given length, from the zero state and
/// without a final state.
///
/// Preparation computes the impulse responses and their spectra, or nothing; [`plan`](Self::plan)
/// gives the form that runs, and the reason.
#[derive(Clone, Debug)]
pub struct DiagonalOutputs<T: Element> {
    plan: Plan,
    form: Prepared<T>,
}

#[derive(Clone, Debug)]
enum Prepared<T: Element> {
    Blocks(Box<(DiagonalSsm<T>, DiagonalState<T>)>),
    Transform(LongConvolution<T>),
}

impl<T: Element> DiagonalOutputs<T> {
    /// The bank prepared for sequences of at most `seq_len` steps.
    ///
    /// # Errors
    ///
    /// Never for sizes that fit memory.
    pub fn new(
        ssm: &DiagonalSsm<T>,
        seq_len: usize,
        workspace: &mut Workspace<T>,
    ) -> Result<Self, Error> {
        let plan = ssm.plan(seq_len);
        let form = if plan.prefers_transform() {
            let kernels = ssm.impulse_response(seq_len, workspace)?;
            let mut convolution = LongConvolution::new(plan.level, ssm.models(), seq_len);
            convolution.set_kernels(&kernels, workspace)?;
            Prepared::Transform(convolution)
        } else {
            Prepared::Blocks(Box::new((ssm.clone(), ssm.zero_state(1))))
        };
        Ok(Self { plan, form })
    }

    /// The plan that was chosen.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The outputs `y` for the inputs `u`, both (batch, seq_len, models). The result does not depend on
    /// the number of threads.
    ///
    /// # Errors
    ///
    /// If a shape disagrees, or the sequence is longer than prepared for.
    pub fn run(
        &mut self,
        u: &Panels<T>,
        y: &mut Panels<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        match &mut self.form {
            Prepared::Transform(convolution) => convolution.run(u, y, workspace),
            Prepared::Blocks(bank) => {
                let (ssm, state) = &mut **bank;
                if u.seq_len() > self.plan.seq_len() {
                    return Err(Error::value(
                        "input",
                        format!(
                            "{} steps; these models were prepared for at most {}",
                            u.seq_len(),
                            self.plan.seq_len()
                        ),
                    ));
                }
                state.clear(u.batch(), ssm);
                ssm.run(u, state, y, workspace)
            }
        }
    }
}
