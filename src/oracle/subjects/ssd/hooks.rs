//! The places in the operator where a mistake can be made, and the operator with mistakes.

use super::case::{Operands, SsdCase};
use crate::algebra::Matrix;
use crate::error::Error;
use crate::flashconv::{Chunking, VaryingBlocks, pass_varying_states, pass_varying_states_by};
use crate::into_vec::IntoVec as _;
use crate::mamba::{GroupOf, Place, Ssd, by_recurrence, group_of};
use crate::oracle::mistake::Row;
use crate::oracle::subject::{Named, Setting};
use crate::ssm::{Varying, VaryingGradients, VaryingResponse, varying_recurrence};
use crate::tensor::Tensor;

/// A head's response with a mistake.
type Response =
    fn(&Varying<f64>, &Matrix<f64>, &Matrix<f64>) -> Result<VaryingResponse<f64>, Error>;

/// A head's gradients with a mistake, given inputs, initial state, and the cotangents of outputs and
/// final state.
type Gradients =
    fn(&Place, &Varying<f64>, [&Matrix<f64>; 4]) -> Result<VaryingGradients<f64>, Error>;

/// One edit of the operator.
#[derive(Clone, Copy)]
pub(crate) enum SsdHook {
    /// An edit of the operands, decays included.
    Operands(fn(&mut Ssd<f64>)),
    /// The group whose B and C a head reads.
    Group(GroupOf),
    /// The state before the first token.
    Initial(fn(&mut Tensor<f64>)),
    /// Every row is one sequence, whatever documents and padding it holds.
    OneSequence,
    /// A head's response.
    Respond(Response),
    /// The blocks of a chunk.
    Blocks(&'static (dyn VaryingBlocks<f64> + Sync)),
    /// The signal that D multiplies.
    Skip(fn(&Ssd<f64>) -> Tensor<f64>),
    /// A head's gradients.
    Back(Gradients),
}

/// The first hook of a kind.
macro_rules! first {
    ($hooks:expr, $kind:ident) => {
        $hooks.iter().find_map(|hook| match hook {
            SsdHook::$kind(hook) => Some(*hook),
            _ => None,
        })
    };
}

impl SsdHook {
    /// True if it is made between chunks.
    pub(crate) fn needs_chunks(&self) -> bool {
        matches!(self, Self::Blocks(_))
    }
}

/// The operator with mistakes.
pub(crate) struct WrongSsd {
    pub(crate) hooks: Vec<SsdHook>,
    pub(crate) chunk_len: usize,
}

impl WrongSsd {
    pub(crate) fn edit(&self, ssd: &mut Ssd<f64>) {
        for hook in &self.hooks {
            if let SsdHook::Operands(edit) = hook {
                edit(ssd);
            }
        }
    }

    pub(crate) fn edit_initial(&self, state: &mut Tensor<f64>) {
        for hook in &self.hooks {
            if let SsdHook::Initial(edit) = hook {
                edit(state);
            }
        }
    }

    pub(crate) fn group_of(&self) -> GroupOf {
        first!(self.hooks, Group).unwrap_or(group_of)
    }

    /// The signal that D multiplies, if it is not x.
    pub(crate) fn skipped(&self, ssd: &Ssd<f64>) -> Option<Tensor<f64>> {
        first!(self.hooks, Skip).map(|of| of(ssd))
    }

    pub(crate) fn respond(
        &self,
        ssm: &Varying<f64>,
        u: &Matrix<f64>,
        x0: &Matrix<f64>,
    ) -> Result<VaryingResponse<f64>, Error> {
        let right = match first!(self.hooks, Respond) {
            Some(respond) => respond(ssm, u, x0)?,
            None => varying_recurrence(ssm, u, Some(x0))?,
        };
        let Some(blocks) = first!(self.hooks, Blocks) else {
            return Ok(right);
        };
        // What the blocks make wrong, added to the recurrence: where they change nothing, nothing is.
        let chunking = Chunking::Uniform(self.chunk_len);
        let wrong = pass_varying_states_by(blocks, ssm, u, Some(x0), &chunking)?;
        let chunks = pass_varying_states(ssm, u, Some(x0), &chunking)?;
        let moved = |x: &Matrix<f64>, wrong: &Matrix<f64>, right: &Matrix<f64>| {
            Matrix::from_fn(x.rows(), x.cols(), |i, j| {
                x.row(i)[j] + (wrong.row(i)[j] - right.row(i)[j])
            })
        };
        Ok(VaryingResponse {
            output: moved(&right.output, &wrong.output, &chunks.output),
            state: moved(&right.state, &wrong.state, &chunks.state),
        })
    }

    pub(crate) fn back(
        &self,
        place: &Place,
        ssm: &Varying<f64>,
        given: [&Matrix<f64>; 4],
    ) -> Result<VaryingGradients<f64>, Error> {
        match first!(self.hooks, Back) {
            Some(back) => back(place, ssm, given),
            None => by_recurrence(place, ssm, given),
        }
    }
}

/// The stages with mistakes.
pub(super) fn run_with(
    case: &SsdCase,
    mistakes: &[&'static Row<SsdHook>],
    setting: Setting<'_>,
) -> Result<Named<f64>, Error> {
    let hooks = mistakes.iter().flat_map(|row| row.hooks.iter().copied());
    let wrong = WrongSsd {
        hooks: hooks.into_vec(),
        chunk_len: setting.chunk_len,
    };
    let mut of: Operands<f64> = case.operands();
    wrong.edit(&mut of.ssd);
    wrong.edit_initial(&mut of.initial);
    let ignores = |hook: &SsdHook| matches!(hook, SsdHook::OneSequence);
    if wrong.hooks.iter().any(ignores) {
        of = of.into_one_sequence()?;
    }
    let mut stages = case.forward(
        &of,
        wrong.group_of(),
        &|_, ssm, u, x0| wrong.respond(ssm, u, x0),
        wrong.skipped(&of.ssd),
    )?;
    if setting.backward {
        stages.extend(case.gradients(&of, &|place, ssm, given| wrong.back(place, ssm, given))?);
    }
    if let Some(format) = setting.stored {
        for (_, stage) in &mut stages {
            *stage = stage.map(|x| format.store(false, x));
        }
    }
    Ok(stages)
}
