//! The reference layer run backwards with mistakes.

use super::case::LayerCase;
use super::hooks::{LayerHook, ReverseCarry};
use super::run::BackwardRun;
use super::wrong::WrongLayer;
use crate::algebra::Ring;
use crate::error::Error;
use crate::h3::{Backward, Form};
use crate::oracle::mistake::Row;
use crate::oracle::subject::{Named, Setting};
use crate::ssm::{
    Adjoint, Diagonal, Gradients, PackedGradients, Shift, StateSpace, add_states, check_cotangents,
    convolution_adjoint_with, each_document_back, recurrence_adjoint_with,
};
use core::ops::Range;
use num_complex::Complex;
use std::cell::RefCell;

/// The gradients of a case with mistakes in the backward pass.
pub(super) fn gradients_with(
    case: &LayerCase,
    mistakes: &[&'static Row<LayerHook>],
    setting: Setting<'_>,
) -> Result<Named<f64>, Error> {
    let wrong = WrongLayer::new(case.parameters(), mistakes, setting)?;
    let documents = case.documents();
    let state = wrong.initial(case.state(), (case.input(), &documents));
    let form = wrong.parameters.config().default_form(documents.longest());
    let (mut g, mut g_state) = case.cotangents()?;
    for hook in &wrong.hooks {
        if let LayerHook::Cotangent(edit) = hook {
            edit(&mut g);
        }
        if let (LayerHook::StateCotangents(edit), Some(g_state)) = (hook, &mut g_state) {
            edit(g_state);
        }
    }
    let run = BackwardRun {
        parameters: &wrong.parameters,
        layer: &wrong.layer,
        input: case.input(),
        documents: &documents,
        state: state.as_ref(),
        g: &g,
        g_state: g_state.as_ref(),
    };
    let back = WrongBackward {
        hooks: &wrong.hooks,
        form: &form,
        chunk_len: wrong.number,
    };
    let mut gradients = run.gradients_from(setting.upstream, &|x, _| x, &form, &back)?;
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

/// The gradients of a row from its last document to its first, each handing the cotangent of the state
/// that it begins from to the one before it.
fn leaking<S: Adjoint>(
    ssm: &S,
    len: usize,
    documents: &[Range<usize>],
    [x0, g_states]: [&[&[S::Element]]; 2],
    back: impl Fn(Range<usize>, [&[S::Element]; 2]) -> Result<Gradients<S>, Error>,
) -> Result<PackedGradients<S>, Error> {
    let mut row = PackedGradients {
        input: vec![S::Scalar::ZERO; len],
        states: Vec::new(),
        model: ssm.zero_gradient(),
    };
    let mut handed = vec![S::Element::ZERO; ssm.state_dim()];
    let pairs = x0.iter().zip(g_states);
    for (tokens, (x0, g_state)) in documents.iter().zip(pairs).rev() {
        let of = back(tokens.clone(), [x0, &add_states(g_state, &handed)])?;
        row.input[tokens.clone()].copy_from_slice(&of.input);
        row.model.add_gradient(&of.model);
        handed.clone_from(&of.state);
        row.states.insert(0, of.state);
    }
    Ok(row)
}

impl WrongBackward<'_> {
    fn leaks(&self) -> bool {
        let hooks = &self.hooks;
        hooks
            .iter()
            .any(|hook| matches!(hook, LayerHook::CotangentsLeak))
    }

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

    /// From the last chunk to the first, with a wrong cotangent passed between them.
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
    fn shift_row(
        &self,
        ssm: &Shift<f64>,
        (u, g): (&[f64], &[f64]),
        documents: &[Range<usize>],
        states: [&[&[f64]]; 2],
        window: usize,
    ) -> Result<PackedGradients<Shift<f64>>, Error> {
        let back = |tokens: Range<usize>, [x0, g_state]: [&[f64]; 2]| {
            let window = window.min(tokens.len());
            let (u, g) = (&u[tokens.clone()], &g[tokens]);
            self.shift(ssm, u, Some(x0), g, Some(g_state), window)
        };
        match self.leaks() {
            true => leaking(ssm, u.len(), documents, states, back),
            false => each_document_back(ssm, (u, g), documents, states, &back),
        }
    }

    fn diagonal_row(
        &self,
        ssm: &Diagonal<f64>,
        (u, g): (&[f64], &[f64]),
        documents: &[Range<usize>],
        states: [&[&[Complex<f64>]]; 2],
        window: usize,
    ) -> Result<PackedGradients<Diagonal<f64>>, Error> {
        let back = |tokens: Range<usize>, [x0, g_state]: [&[Complex<f64>]; 2]| {
            let window = window.min(tokens.len());
            let (u, g) = (&u[tokens.clone()], &g[tokens]);
            self.diagonal(ssm, u, Some(x0), g, Some(g_state), window)
        };
        match self.leaks() {
            true => leaking(ssm, u.len(), documents, states, back),
            false => each_document_back(ssm, (u, g), documents, states, &back),
        }
    }

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
