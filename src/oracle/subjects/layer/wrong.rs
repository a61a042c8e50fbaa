//! The reference layer with mistakes made at their hooks.

use super::super::wrong_model::{Boundaries, ModelHook, WrongModel};
use super::case::LayerCase;
use super::hooks::{Beginning, LayerHook, ReverseCarry};
use super::run::{BackwardRun, owned};
use super::stage_run::StageRun;
use super::upstream::{FromUpstream, local_stages};
use crate::error::Error;
use crate::h3::{Backward, Config, Evaluate, Form, Layer, LayerState, Parameters, Progress, Stage};
use crate::oracle::mistake::Row;
use crate::oracle::subject::{Named, Setting};
use crate::oracle::upstream::replaced_or_stored;
use crate::ssm::{
    Adjoint, Diagonal, Gradients, Response, Shift, StateSpace, add_states, check_cotangents,
    convolution_adjoint_with, recurrence_adjoint_with,
};
use crate::tensor::Tensor;
use num_complex::Complex;
use std::cell::RefCell;

/// The reference layer with mistakes: its models as convolutions within chunks and states between
/// them, in one chunk unless a mistake sits between chunks.
pub(crate) struct WrongLayer {
    pub(crate) layer: Layer<f64>,
    parameters: Parameters<f64>,
    /// In the order of the catalogue.
    hooks: Vec<&'static LayerHook>,
    boundaries: Boundaries,
    /// The chunk length, and the number of a mistake that has one.
    number: usize,
}

impl WrongLayer {
    /// The layer of these parameters with these mistakes, run in chunks of this length where one
    /// of them sits between chunks.
    ///
    /// # Errors
    ///
    /// If a mistake's discretization has no value.
    pub(crate) fn new(
        parameters: &Parameters<f64>,
        mistakes: &[&'static Row<LayerHook>],
        chunk_len: usize,
    ) -> Result<Self, Error> {
        let mut rows = mistakes.to_vec();
        rows.sort_by_key(|row| row.mistake.id);
        let hooks: Vec<&'static LayerHook> = rows.iter().flat_map(|row| row.hooks.iter()).collect();
        let mut parameters = parameters.clone();
        for hook in &hooks {
            if let LayerHook::Parameters(edit) = hook {
                edit(&mut parameters);
            }
        }
        let mut modes = parameters.modes();
        for hook in &hooks {
            if let LayerHook::Modes(edit) = hook {
                edit(&mut modes, &parameters);
            }
        }
        let mut parts = parameters.discretize_modes(&modes)?.into_parts();
        for hook in &hooks {
            if let LayerHook::Discrete(edit) = hook {
                edit(&mut parts, &modes, parameters.config());
            }
        }
        let number = chunk_len.max(1);
        let has = |asked: fn(&LayerHook) -> bool| hooks.iter().any(|hook| asked(hook));
        let boundaries = if has(|hook| matches!(hook, LayerHook::InChunks)) {
            Boundaries::Every(number)
        } else if has(|hook| matches!(hook, LayerHook::AfterPrompt)) {
            Boundaries::Once(number)
        } else {
            Boundaries::None
        };
        Ok(Self {
            layer: Layer::new(parts)?,
            parameters,
            hooks,
            boundaries,
            number,
        })
    }

    /// The state that a run over this input (batch, seq_len, d) begins from.
    pub(crate) fn initial(
        &self,
        state: Option<&LayerState<f64>>,
        input: &Tensor<f64>,
    ) -> Option<LayerState<f64>> {
        let &[batch, len, _] = input.shape() else {
            return state.cloned();
        };
        let beginning = Beginning {
            layer: &self.layer,
            batch,
            len,
            number: self.number,
        };
        let mut edits = self.hooks.iter().filter_map(|hook| match hook {
            LayerHook::InitialState(edit) => Some(edit),
            _ => None,
        });
        let Some(first) = edits.next() else {
            return state.cloned();
        };
        let mut state = state
            .cloned()
            .unwrap_or_else(|| self.layer.zero_state(batch));
        first(&mut state, &beginning);
        edits.for_each(|edit| edit(&mut state, &beginning));
        Some(state)
    }

    fn config(&self) -> &Config {
        self.parameters.config()
    }

    fn at<'a>(&'a self, so_far: &'a Progress<'a, f64>) -> StageRun<'a> {
        StageRun {
            so_far,
            parameters: &self.parameters,
            diagonal: self.diagonal_hooks(),
            by: self,
            boundaries: self.boundaries,
            number: self.number,
        }
    }

    fn shift_hooks(&self) -> WrongModel<Shift<f64>> {
        let of = |hook: &&'static LayerHook| match hook {
            LayerHook::Shift(hook) => Some(hook),
            _ => None,
        };
        self.model_hooks(self.hooks.iter().filter_map(of).collect())
    }

    fn diagonal_hooks(&self) -> WrongModel<Diagonal<f64>> {
        let of = |hook: &&'static LayerHook| match hook {
            LayerHook::Diagonal(hook) => Some(hook),
            _ => None,
        };
        self.model_hooks(self.hooks.iter().filter_map(of).collect())
    }

    fn model_hooks<S: StateSpace>(&self, hooks: Vec<&'static ModelHook<S>>) -> WrongModel<S> {
        WrongModel {
            hooks,
            l_max: self.config().l_max,
            boundaries: self.boundaries,
            number: self.number,
        }
    }
}

impl Evaluate<f64> for WrongLayer {
    fn shift_kernel(&self, ssm: &Shift<f64>, len: usize) -> Vec<f64> {
        self.shift_hooks().taps(ssm, len)
    }

    fn ssm_kernel(&self, ssm: &Diagonal<f64>, len: usize) -> Vec<f64> {
        self.diagonal_hooks().taps(ssm, len)
    }

    fn shift(
        &self,
        ssm: &Shift<f64>,
        kernel: &[f64],
        u: &[f64],
        x0: &[f64],
    ) -> Result<Response<Shift<f64>>, Error> {
        self.shift_hooks().respond(ssm, kernel, u, x0)
    }

    fn diagonal(
        &self,
        ssm: &Diagonal<f64>,
        kernel: &[f64],
        u: &[f64],
        x0: &[Complex<f64>],
    ) -> Result<Response<Diagonal<f64>>, Error> {
        let hooks = self.diagonal_hooks();
        if !self
            .hooks
            .iter()
            .any(|hook| matches!(hook, LayerHook::NoSkip))
        {
            return hooks.respond(ssm, kernel, u, x0);
        }
        let mut without = ssm.clone();
        without.set_feedthrough(0.0);
        hooks.respond(&without, kernel, u, x0)
    }

    fn model_input(&self, stage: Stage, so_far: &Progress<'_, f64>) -> Option<Tensor<f64>> {
        let reads = self.hooks.iter().find_map(|hook| match hook {
            LayerHook::Reads(of, read) if *of == stage => Some(read),
            _ => None,
        });
        reads.map(|read| read(so_far))
    }

    fn stage(
        &self,
        stage: Stage,
        mut computed: Tensor<f64>,
        so_far: &Progress<'_, f64>,
    ) -> Result<Tensor<f64>, Error> {
        for hook in &self.hooks {
            if let LayerHook::Stage(of, edit) = hook
                && *of == stage
            {
                computed = edit(computed, &self.at(so_far));
            }
        }
        Ok(computed)
    }

    fn final_state(
        &self,
        mut computed: Tensor<Complex<f64>>,
        so_far: &Progress<'_, f64>,
    ) -> Tensor<Complex<f64>> {
        for hook in &self.hooks {
            if let LayerHook::FinalState(edit) = hook {
                computed = edit(computed, &self.at(so_far));
            }
        }
        computed
    }
}

/// The stages of a case with mistakes: of the forward pass, or if they are made on the way back the
/// gradients.
pub(super) fn run_with(
    case: &LayerCase,
    mistakes: &[&'static Row<LayerHook>],
    setting: Setting<'_>,
) -> Result<Named<f64>, Error> {
    let wrong = WrongLayer::new(case.parameters(), mistakes, setting.chunk_len)?;
    let state = wrong.initial(case.state(), case.input());
    if setting.backward {
        return gradients_with(case, &wrong, state.as_ref());
    }
    let by = FromUpstream {
        by: &wrong,
        replaced: replaced_or_stored(setting, is_projected),
    };
    // A layer that runs in chunks of its own hands on a wrong state, which its mistake speaks of.
    let stages = match wrong.boundaries {
        Boundaries::None => local_stages(case, &wrong.layer, &by, case.input(), state)?,
        _ => owned(wrong.layer.forward_by(
            &by,
            (case.input(), &case.documents()),
            state.as_ref(),
        )?),
    };
    Ok(by.replaced.restore(stages))
}

/// True for the stages that a port in two formats stores in that of its projections.
fn is_projected(stage: &str) -> bool {
    [Stage::Q, Stage::K, Stage::V, Stage::Gated, Stage::Output]
        .into_iter()
        .any(|projected| projected.name() == stage)
}

/// The gradients of a case with mistakes on the way back.
fn gradients_with(
    case: &LayerCase,
    wrong: &WrongLayer,
    state: Option<&LayerState<f64>>,
) -> Result<Named<f64>, Error> {
    let form = wrong.config().default_form(case.documents().longest());
    let (mut g, g_state) = case.cotangents()?;
    for hook in &wrong.hooks {
        if let LayerHook::Cotangent(edit) = hook {
            edit(&mut g);
        }
    }
    let run = BackwardRun {
        parameters: &wrong.parameters,
        layer: &wrong.layer,
        input: case.input(),
        documents: &case.documents(),
        state,
        g: &g,
        g_state: g_state.as_ref(),
    };
    let back = WrongBackward {
        hooks: &wrong.hooks,
        form: &form,
        chunk_len: wrong.number,
    };
    let mut gradients = run.gradients(&form, &back)?;
    for (name, gradient) in &mut gradients {
        let parameter = name.strip_prefix("grad.").unwrap_or(name);
        for hook in &wrong.hooks {
            if let LayerHook::Gradient(edit) = hook {
                edit(parameter, gradient);
            }
        }
    }
    Ok(gradients)
}

/// The adjoint of a form, with mistakes.
struct WrongBackward<'a> {
    hooks: &'a [&'static LayerHook],
    form: &'a Form,
    /// For the mistakes between chunks.
    chunk_len: usize,
}

/// One model's response about to be differentiated: the model, its inputs and initial state, and
/// the cotangents of its outputs and final state.
type Differentiated<'a, S> = (
    &'a S,
    &'a [f64],
    Option<&'a [<S as StateSpace>::Element]>,
    &'a [f64],
    Option<&'a [<S as StateSpace>::Element]>,
);

impl WrongBackward<'_> {
    /// By the wrong adjoint of the convolution, if that is among the mistakes.
    fn convolution<S: Adjoint<Scalar = f64>>(
        &self,
        (ssm, u, x0, g, g_state): Differentiated<'_, S>,
        window: usize,
    ) -> Option<Result<Gradients<S>, Error>> {
        let adjoint = self.hooks.iter().find_map(|hook| match hook {
            LayerHook::ConvolutionAdjoint(adjoint) => Some(adjoint),
            _ => None,
        })?;
        let by = |f: &[f64]| Ok(adjoint(f, u, g));
        Some(convolution_adjoint_with(ssm, u, x0, g, g_state, window, by))
    }

    /// From the last chunk to the first, with a wrong cotangent handed on between them.
    fn in_chunks(
        &self,
        (ssm, u, x0, g, g_state): Differentiated<'_, Diagonal<f64>>,
        carry: &fn(&ReverseCarry<'_>) -> Vec<Complex<f64>>,
    ) -> Result<Gradients<Diagonal<f64>>, Error> {
        let (x0, mut adjoint) = check_cotangents(ssm, u, x0, g, g_state)?;
        let starts = (0..u.len()).step_by(self.chunk_len);
        let mut before = vec![x0];
        for start in starts.clone() {
            let end = u.len().min(start + self.chunk_len);
            let left = ssm.input_to_state(&u[start..end]);
            let carried = before.last().map(|x| ssm.advance(x, end - start));
            before.extend(carried.map(|carried| add_states(&carried, &left)));
        }
        let mut model = ssm.zero_gradient();
        let mut input = vec![0.0; u.len()];
        for (start, x) in starts.zip(&before).rev() {
            let end = u.len().min(start + self.chunk_len);
            let first = RefCell::new(adjoint.clone());
            let keep = |l: &mut [Complex<f64>]| first.borrow_mut().copy_from_slice(l);
            let (u, g) = (&u[start..end], &g[start..end]);
            let chunk = recurrence_adjoint_with(ssm, u, Some(x), g, Some(&adjoint), keep)?;
            input[start..end].copy_from_slice(&chunk.input);
            model.add_gradient(&chunk.model);
            adjoint = match start {
                0 => chunk.state,
                _ => carry(&ReverseCarry {
                    ssm,
                    right: &chunk.state,
                    first: &first.borrow(),
                    incoming: &adjoint,
                    len: end - start,
                    chunk_len: self.chunk_len,
                }),
            };
        }
        Ok(Gradients {
            input,
            state: adjoint,
            model,
        })
    }
}

impl Backward<f64> for WrongBackward<'_> {
    fn shift(
        &self,
        ssm: &Shift<f64>,
        u: &[f64],
        x0: Option<&[f64]>,
        g: &[f64],
        g_state: Option<&[f64]>,
        window: usize,
    ) -> Result<Gradients<Shift<f64>>, Error> {
        let wrong = self.convolution((ssm, u, x0, g, g_state), window);
        wrong.unwrap_or_else(|| Backward::shift(self.form, ssm, u, x0, g, g_state, window))
    }

    fn diagonal(
        &self,
        ssm: &Diagonal<f64>,
        u: &[f64],
        x0: Option<&[Complex<f64>]>,
        g: &[f64],
        g_state: Option<&[Complex<f64>]>,
        window: usize,
    ) -> Result<Gradients<Diagonal<f64>>, Error> {
        let cotangent = self.hooks.iter().find_map(|hook| match hook {
            LayerHook::StateCotangent(edit) => Some(edit),
            _ => None,
        });
        let carry = self.hooks.iter().find_map(|hook| match hook {
            LayerHook::ReverseCarry(carry) => Some(carry),
            _ => None,
        });
        // A kernel that is cut has no state, nor the state a cotangent.
        if window == u.len() {
            if let Some(edit) = cotangent {
                return recurrence_adjoint_with(ssm, u, x0, g, g_state, edit);
            }
            if let Some(carry) = carry {
                return self.in_chunks((ssm, u, x0, g, g_state), carry);
            }
        }
        let wrong = self.convolution((ssm, u, x0, g, g_state), window);
        wrong.unwrap_or_else(|| Backward::diagonal(self.form, ssm, u, x0, g, g_state, window))
    }
}
