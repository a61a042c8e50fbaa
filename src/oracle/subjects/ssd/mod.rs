//! The SSD operator as a subject: gated linear attention with a decay that depends on the token
//! (official `mamba_ssm/modules/ssd_minimal.py`; `fla/ops/gla`, `retention`, `linear_attn`).

mod case;
mod hooks;
mod mistakes;
mod suite;
mod worst;

pub(crate) use case::SsdCase;
pub(crate) use hooks::{SsdHook, WrongSsd};
pub(crate) use mistakes::{backward_mistakes, forward_mistakes};
pub(crate) use suite::suite;
pub(crate) use worst::{worst_gradients_of_head, worst_response_of_head};

use crate::algebra::{ErrorBound, ErrorScale, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::Form;
use crate::into_vec::IntoVec as _;
use crate::mamba::{Place, by_recurrence, respond_in};
use crate::oracle::format::Format;
use crate::oracle::mistake::Row;
use crate::oracle::sequence::{Sequence as Rows, mark_name};
use crate::oracle::stage::{Axis, StageSpec};
use crate::oracle::subject::{Given, Named, Scale, Setting, Subject, errors, largest_given};
use crate::oracle::upstream::Upstream;
use crate::safetensors::Tensors;
use crate::ssm::varying_recurrence;

impl Subject for SsdCase {
    const KIND: &'static str = "ssd";
    const OPTIONAL: &'static [&'static str] = &["dt", "D", "initial_state", "g", "g.final_state"];
    type Hook = SsdHook;

    fn read(file: &dyn Tensors) -> Result<Self, Error> {
        Self::read(file)
    }

    fn metadata(&self) -> Vec<(String, String)> {
        let decay = match self.log_a.shape().len() {
            4 => "per_channel",
            _ => "per_head_and_step",
        };
        let said = |there, words: [&'static str; 2]| if there { words[0] } else { words[1] };
        let mut strings: Vec<(String, String)> = [
            ("kind", Self::KIND),
            ("decay", decay),
            ("D", said(self.d.is_some(), ["present", "none"])),
            (
                "initial_state",
                said(self.initial.is_some(), ["given", "zero"]),
            ),
        ]
        .map(|(key, value)| (key.into(), value.into()))
        .into();
        strings.extend(self.sequence.metadata(self.g_state.is_some()));
        strings
    }

    fn given(&self) -> Vec<Given> {
        self.given()
    }

    fn stages(&self) -> Vec<StageSpec> {
        use Axis::{Channel, Document, Group, Head, Mode, Sequence, Time};
        let (x, b) = (self.x.shape(), self.b.shape());
        let (batch, time, heads) = ((Sequence, x[0]), (Time, x[1]), (Head, x[2]));
        let (channels, modes) = ((Channel, x[3]), (Mode, b[3]));
        let axis = match self.sequence {
            Rows::Packed(_) => Document,
            _ => Sequence,
        };
        let each = (axis, self.documents().count());
        let outputs = [batch, time, heads, channels];
        let states = [each, heads, channels, modes];
        let mut specs = vec![
            StageSpec::new("y", &outputs, &[]),
            StageSpec::new("final_state", &states, &[]),
        ];
        for &tokens in self.sequence.marks() {
            specs.push(StageSpec::new(
                mark_name(tokens, "final_state"),
                &states,
                &[],
            ));
        }
        if self.has_cotangent() {
            let groups = [batch, time, (Group, b[2]), modes];
            let decays = [batch, time, heads, modes];
            let decays = &decays[..self.log_a.shape().len()];
            let mut gradient = |name: &str, axes: &[(Axis, usize)]| {
                specs.push(StageSpec::new(format!("grad.{name}"), axes, &[]));
            };
            gradient("B", &groups);
            gradient("C", &groups);
            if self.d.is_some() {
                gradient("D", &[heads]);
            }
            if self.dt.is_some() {
                gradient("dt", &[batch, time, heads]);
            }
            if self.initial.is_some() {
                gradient("initial_state", &states);
            }
            gradient("log_a", decays);
            gradient("x", &outputs);
        }
        specs
    }

    fn seq_len(&self) -> usize {
        self.x.shape()[1]
    }

    fn padding(&self) -> Vec<(usize, usize)> {
        self.documents().padding().into_vec()
    }

    fn describe(&self) -> String {
        let (b, decays) = (self.b.shape(), self.log_a.shape().len());
        let per = ["head and step", "state channel and step"][usize::from(decays == 4)];
        format!(
            "SSD: x {:?}, {} groups, {} state channels, a decay per {per}",
            self.x.shape(),
            b[2],
            b[3]
        )
    }

    fn run<T>(&self, form: &Form, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let respond = |_: &_, ssm: &_, u: &_, x0: &_| respond_in(form, ssm, u, x0);
        self.assemble(&self.operands(), gradients, &respond, &by_recurrence)
    }

    fn run_plainly<T>(&self, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let respond = |_: &_, ssm: &_, u: &_, x0: &_| varying_recurrence(ssm, u, Some(x0));
        self.assemble(&self.operands(), gradients, &respond, &by_recurrence)
    }

    fn scales(&self) -> Result<Vec<Scale>, Error> {
        let of = self.operands::<ErrorScale>();
        let log_a = |place: &Place| of.log_a_of(place);
        let stages = self.assemble(
            &of,
            self.has_cotangent(),
            &|place, ssm, u, x0| worst_response_of_head(&log_a(place), ssm, u, x0),
            &|place, ssm, given| worst_gradients_of_head(&log_a(place), place, ssm, given),
        )?;
        Ok(Scale::throughout(errors(stages)))
    }

    fn judged_in(format: Format) -> Format {
        format.without_projections()
    }

    fn underflow_growth(&self) -> f64 {
        let operands: Vec<Given> = self
            .given()
            .into_iter()
            .filter(|given| given.name != "log_a")
            .into_vec();
        let largest = largest_given(&operands);
        let (x, b) = (self.x.shape(), self.b.shape());
        (x[1] * (x[3] + b[3])) as f64 * largest * largest * largest
    }

    fn mistakes(backward: bool) -> Vec<Vec<&'static Row<SsdHook>>> {
        vec![match backward {
            true => backward_mistakes(),
            false => forward_mistakes(),
        }]
    }

    fn needs_chunks(row: &Row<SsdHook>) -> bool {
        row.hooks.iter().any(SsdHook::needs_chunks)
    }

    fn cost(&self, tokens: usize) -> usize {
        let (x, b) = (self.x.shape(), self.b.shape());
        let states = x[0] * x[2] * x[3] * b[3];
        states.saturating_mul(8 * tokens)
    }

    fn run_with(
        &self,
        mistakes: &[&'static Row<SsdHook>],
        setting: Setting<'_>,
    ) -> Result<Named<f64>, Error> {
        hooks::run_with(self, mistakes, setting)
    }

    /// No stage is computed from another.
    fn local_scales(
        &self,
        _upstream: &Upstream,
        _format: Format,
    ) -> Result<Named<ErrorBound>, Error> {
        Ok(Vec::new())
    }
}
