//! The Mamba-2 layer as a subject (official `mamba_ssm/modules/mamba2.py`).

mod case;
mod hooks;
mod mistakes;
mod official;
mod run;
mod scales;
mod suite;

pub(crate) use case::Mamba2Case;
pub(crate) use hooks::Mamba2Hook;
pub(crate) use official::OFFICIAL;
pub(crate) use suite::suite;

use crate::algebra::{ErrorBound, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::Form;
use crate::into_vec::IntoVec as _;
use crate::mamba::{Mamba2Name, by_recurrence};
use crate::oracle::format::Format;
use crate::oracle::mistake::Row;
use crate::oracle::sequence::{Sequence as Rows, mark_name};
use crate::oracle::stage::{Axis, StageSpec, in_order_of_name};
use crate::oracle::subject::{Given, Named, Scale, Setting, Subject, largest_given};
use crate::oracle::upstream::Upstream;
use crate::safetensors::Tensors;
use run::{InForm, Plainly, STATES};

impl Subject for Mamba2Case {
    const KIND: &'static str = "mamba2";
    const MAY_BE_EXACT: bool = false;
    const OPTIONAL: &'static [&'static str] = &[
        "in_proj.bias",
        "conv1d.bias",
        "out_proj.bias",
        "norm.weight",
        "step_input",
        "initial_conv_state",
        "initial_ssm_state",
        "g",
        "g.conv_state",
        "g.ssm_state",
    ];
    type Hook = Mamba2Hook;

    fn read(file: &dyn Tensors) -> Result<Self, Error> {
        Self::read(file)
    }

    fn metadata(&self) -> Vec<(String, String)> {
        self.metadata()
    }

    fn given(&self) -> Vec<Given> {
        self.given()
    }

    fn stages(&self) -> Vec<StageSpec> {
        specs(self)
    }

    fn seq_len(&self) -> usize {
        self.input.shape()[1]
    }

    fn padding(&self) -> Vec<(usize, usize)> {
        self.documents().padding().into_vec()
    }

    fn describe(&self) -> String {
        let c = &self.parameters.config;
        let norm = match &c.norm {
            None => "no norm".to_string(),
            Some(norm) => {
                let place = if norm.before_gate { "before" } else { "after" };
                format!("norm of {} groups {place} the gate", norm.groups)
            }
        };
        format!(
            "Mamba-2: d_model {}, {} heads of {}, {} groups, d_state {}, {norm}, input {:?}",
            c.d_model,
            c.heads,
            c.head_dim,
            c.groups,
            c.d_state,
            self.input.shape(),
        )
    }

    fn run<T>(&self, form: &Form, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let by = InForm(form);
        let back = |_: &_, place: &_, ssm: &_, given: [&_; 4]| by_recurrence(place, ssm, given);
        let back = gradients.then_some(&back as _);
        // Steps are taken one by one, in whatever form the rest is run.
        self.assemble(&self.layers(), (&by, &Plainly), &|_| {}, back)
    }

    fn run_plainly<T>(&self, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        self.run(&Form::Recurrence, gradients)
    }

    fn scales(&self) -> Result<Vec<Scale>, Error> {
        scales::scales(self)
    }

    /// A norm's inverse root magnifies too.
    fn underflow_growth(&self) -> f64 {
        let c = &self.parameters.config;
        let operations = self.seq_len() * (c.d_state + c.d_conv) + c.d_model + c.projected();
        let largest = largest_given(&self.given());
        let root = c
            .norm
            .as_ref()
            .map_or(1.0, |norm| norm.eps.sqrt().max(1e-6));
        operations as f64 * largest * largest / root
    }

    fn mistakes(backward: bool) -> Vec<Vec<&'static Row<Mamba2Hook>>> {
        match backward {
            true => vec![mistakes::backward_mistakes()],
            false => vec![mistakes::forward_mistakes()],
        }
    }

    fn needs_chunks(row: &Row<Mamba2Hook>) -> bool {
        row.hooks.iter().any(Mamba2Hook::needs_chunks)
    }

    fn cost(&self, tokens: usize) -> usize {
        let c = &self.parameters.config;
        let projections = c.d_model * (c.projected() + c.d_ssm() + c.d_mlp);
        let states = 8 * c.d_ssm() * c.d_state;
        let each = projections + states + c.conv_dim() * c.d_conv;
        each.saturating_mul(tokens)
            .saturating_mul(self.input.shape()[0])
    }

    fn run_with(
        &self,
        mistakes: &[&'static Row<Mamba2Hook>],
        setting: Setting<'_>,
    ) -> Result<Named<f64>, Error> {
        hooks::run_with(self, mistakes, setting)
    }

    fn local_scales(
        &self,
        upstream: &Upstream,
        format: Format,
    ) -> Result<Named<ErrorBound>, Error> {
        scales::local_scales(self, upstream, format)
    }
}

/// The stages of a case, in the order of computation; gradients last, by name.
fn specs(case: &Mamba2Case) -> Vec<StageSpec> {
    use Axis::{Channel, Document, Head, Mode, Row as Projected, Sequence, Tap, Time};
    let c = &case.parameters.config;
    let (batch, time) = (
        (Sequence, case.input.shape()[0]),
        (Time, case.input.shape()[1]),
    );
    let axis = match case.sequence {
        Rows::Packed(_) => Document,
        _ => Sequence,
    };
    let each = (axis, case.documents().count());
    let heads = (Head, c.heads);
    let by_head = [batch, time, heads];
    let by_channel = [batch, time, heads, (Channel, c.head_dim)];
    let inner = [batch, time, (Channel, c.d_ssm())];
    let outer = [batch, time, (Channel, c.d_model)];
    let conv = [each, (Channel, c.conv_dim()), (Tap, c.d_conv)];
    let ssm = [each, heads, (Channel, c.head_dim), (Mode, c.d_state)];
    let before_gate = c.norm.as_ref().is_some_and(|norm| norm.before_gate);
    let mut specs = vec![
        StageSpec::new("zxbcdt", &[batch, time, (Projected, c.projected())], &[]),
        StageSpec::new(
            "xBC_conv",
            &[batch, time, (Channel, c.conv_dim())],
            &["zxbcdt"],
        ),
        StageSpec::new("dt", &by_head, &["zxbcdt"]),
        StageSpec::new("a", &by_head, &["dt"]),
        StageSpec::new("y", &by_channel, &["xBC_conv", "dt", "a"]),
        StageSpec::new("y_d", &by_channel, &["y", "xBC_conv"]),
    ];
    let mut last = "y_d";
    if !before_gate {
        specs.push(StageSpec::new("gated", &inner, &["y_d", "zxbcdt"]));
        last = "gated";
    }
    if c.norm.is_some() {
        let from: &[&str] = if before_gate {
            &["y_d", "zxbcdt"]
        } else {
            &["gated"]
        };
        specs.push(StageSpec::new("normed", &inner, from));
        last = "normed";
    }
    let with_mlp = [last, "zxbcdt"];
    let from = if c.d_mlp > 0 {
        &with_mlp[..]
    } else {
        &with_mlp[..1]
    };
    specs.push(StageSpec::new("output", &outer, from));
    specs.push(StageSpec::new("conv_state", &conv, &["zxbcdt"]));
    specs.push(StageSpec::new("ssm_state", &ssm, &["xBC_conv", "dt", "a"]));
    for &tokens in case.sequence.marks() {
        let [of_conv, of_ssm] = STATES.map(|state| mark_name(tokens, state));
        specs.push(StageSpec::new(of_conv, &conv, &[]));
        specs.push(StageSpec::new(of_ssm, &ssm, &[]));
    }
    if let Some(steps) = &case.steps {
        let steps = [batch, (Time, steps.shape()[1]), (Channel, c.d_model)];
        let from = ["conv_state", "ssm_state"];
        specs.push(StageSpec::new("step_output", &steps, &from));
        specs.push(StageSpec::new("step.conv_state", &conv, &from[..1]));
        specs.push(StageSpec::new("step.ssm_state", &ssm, &from));
    }
    if case.has_cotangent() {
        let mut gradients = vec![StageSpec::new("grad.input", &outer, &[])];
        if case.initial.is_some() {
            gradients.push(StageSpec::new("grad.initial_conv_state", &conv, &[]));
            gradients.push(StageSpec::new("grad.initial_ssm_state", &ssm, &[]));
        }
        for name in Mamba2Name::ALL {
            if let Some(shape) = name.shape(c) {
                let axes: &[Axis] = match name {
                    Mamba2Name::InWeight | Mamba2Name::OutWeight => &[Axis::Row, Axis::Column],
                    // The official code's axis of length one is that of a group's channels.
                    Mamba2Name::ConvWeight => &[Channel, Axis::Column, Tap],
                    Mamba2Name::DtBias | Mamba2Name::ALog => &[Head],
                    Mamba2Name::D if !c.d_has_hdim => &[Head],
                    _ => &[Channel],
                };
                let axes: Vec<_> = axes.iter().copied().zip(shape).into_vec();
                gradients.push(StageSpec::new(
                    format!("grad.{}", name.official()),
                    &axes,
                    &[],
                ));
            }
        }
        specs.extend(in_order_of_name(gradients, |spec| &spec.name));
    }
    specs
}
