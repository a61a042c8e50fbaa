//! The stages of a case in any scalars: forward, at marks, over steps, backward.

use super::case::Mamba2Case;
use crate::algebra::{Matrix, Real};
use crate::error::Error;
use crate::h3::Form;
use crate::mamba::{
    Mamba2Back, Mamba2Evaluate, Mamba2Name, Mamba2Parameters, Mamba2Pass, Mamba2Stages,
    Mamba2States, respond_in,
};
use crate::oracle::sequence::mark_name;
use crate::oracle::stage::in_order_of_name;
use crate::oracle::subject::Named;
use crate::ssm::{Documents, Varying, VaryingResponse, varying_recurrence};
use crate::tensor::Tensor;

/// The reference in a form.
pub(super) struct InForm<'a>(pub(super) &'a Form);

impl<T: Real> Mamba2Evaluate<T> for InForm<'_> {
    fn respond(
        &self,
        _: &Matrix<T>,
        ssm: &Varying<T>,
        u: &Matrix<T>,
        x0: &Matrix<T>,
    ) -> Result<VaryingResponse<T>, Error> {
        respond_in(self.0, ssm, u, x0)
    }
}

/// The recurrence alone.
pub(super) struct Plainly;

impl<T: Real> Mamba2Evaluate<T> for Plainly {
    fn respond(
        &self,
        _: &Matrix<T>,
        ssm: &Varying<T>,
        u: &Matrix<T>,
        x0: &Matrix<T>,
    ) -> Result<VaryingResponse<T>, Error> {
        varying_recurrence(ssm, u, Some(x0))
    }
}

/// The states after the last token, as stages.
pub(super) const STATES: [&str; 2] = ["conv_state", "ssm_state"];

/// The layers with which a case is computed: its own, and the one that decodes steps.
pub(super) struct Layers<T> {
    pub(super) prefill: Mamba2Parameters<T>,
    pub(super) decode: Mamba2Parameters<T>,
}

impl Mamba2Case {
    pub(super) fn layers<T: Real>(&self) -> Layers<T> {
        let layer = self.parameters.map(&T::from_f64);
        Layers {
            prefill: layer.clone(),
            decode: layer,
        }
    }

    /// Every stage, given how a whole pass, and how what comes after it is evaluated, and what becomes
    /// of states that are handed over to single steps; the gradients too, given those of heads.
    pub(super) fn assemble<T: Real>(
        &self,
        layers: &Layers<T>,
        (by, decoding): (&dyn Mamba2Evaluate<T>, &dyn Mamba2Evaluate<T>),
        hand_over: &dyn Fn(&mut Mamba2States<T>),
        back: Option<Mamba2Back<'_, T>>,
    ) -> Result<Named<T>, Error> {
        let (documents, initial) = (self.documents(), self.initial::<T>());
        let input = self.input.map(T::from_f64);
        let pass = Mamba2Pass {
            layer: &layers.prefill,
            input: &input,
            documents: &documents,
            initial: &initial,
        };
        let stages = pass.forward(by)?;
        let mut named: Named<T> = Vec::new();
        let own = |name: &str, x| (name.to_string(), x);
        named.extend(
            stages
                .clone()
                .named()
                .into_iter()
                .map(|(name, x)| own(name, x)),
        );
        if let Some(schedule) = self.sequence.schedule() {
            let (mut states, mut at) = (initial.clone(), 0);
            for len in schedule.lengths() {
                let part = Mamba2Pass {
                    layer: if at == 0 {
                        &layers.prefill
                    } else {
                        &layers.decode
                    },
                    input: &input.tokens(at..at + len)?,
                    documents: &Documents::whole(documents.batch(), len),
                    initial: &states,
                };
                states = part.forward(decoding)?.states;
                at += len;
                if schedule.marks.contains(&at) {
                    let [conv, ssm] = STATES.map(|state| mark_name(at, state));
                    named.push((conv, states.conv.clone()));
                    named.push((ssm, states.ssm.clone()));
                }
            }
        }
        if let Some(steps) = &self.steps {
            let mut handed_over = stages.states.clone();
            hand_over(&mut handed_over);
            let after = Mamba2Pass {
                layer: &layers.decode,
                input: &steps.map(T::from_f64),
                documents: &Documents::whole(documents.batch(), steps.shape()[1]),
                initial: &handed_over,
            };
            let steps = after.forward(decoding)?;
            named.push(own("step_output", steps.output));
            named.push(own("step.conv_state", steps.states.conv));
            named.push(own("step.ssm_state", steps.states.ssm));
        }
        if let Some(back) = back {
            named.extend(self.gradients(&pass, &stages, back)?);
        }
        Ok(named)
    }

    fn gradients<T: Real>(
        &self,
        pass: &Mamba2Pass<'_, T>,
        stages: &Mamba2Stages<T>,
        back: Mamba2Back<'_, T>,
    ) -> Result<Named<T>, Error> {
        if !self.has_cotangent() {
            return Err(Error::missing(
                "tensor \"g\" (or \"g.conv_state\", \"g.ssm_state\"), the cotangent to run back from",
            ));
        }
        let cotangent = |g: &Option<Tensor<f64>>, like: &Tensor<T>| match g {
            Some(g) => g.map(T::from_f64),
            None => like.map(|_| T::ZERO),
        };
        let g = cotangent(&self.g, pass.input);
        let g_states = Mamba2States {
            conv: cotangent(&self.g_states[0], &pass.initial.conv),
            ssm: cotangent(&self.g_states[1], &pass.initial.ssm),
        };
        let of = pass.backward(stages, &g, &g_states, back)?;
        let mut named: Named<T> = vec![("grad.input".into(), of.input)];
        for name in Mamba2Name::ALL {
            if let Some(shape) = name.shape(&self.parameters.config) {
                let values = of.parameters.get(name).to_vec();
                named.push((
                    format!("grad.{}", name.official()),
                    Tensor::new(shape, values)?,
                ));
            }
        }
        if self.initial.is_some() {
            named.push(("grad.initial_conv_state".into(), of.states.conv));
            named.push(("grad.initial_ssm_state".into(), of.states.ssm));
        }
        Ok(in_order_of_name(named, |(name, _)| name))
    }
}
