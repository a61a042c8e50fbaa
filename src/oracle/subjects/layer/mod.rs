//! The H3 layer as a subject (official `src/models/ssm/h3.py`).

mod analysis;
mod case;
mod cotangents;
mod exact;
mod exact_suite;
mod hooks;
mod mistakes;
mod official;
mod run;
mod scales;
mod stage_run;
mod suite;
mod upstream;
mod wrong;
mod wrong_backward;

use crate::into_vec::IntoVec as _;
pub(crate) use analysis::Analysis;
pub use case::{FORMAT, LayerCase};
pub(crate) use case::{config_metadata, read_choices};
pub use exact::ExactLayer;
pub(crate) use exact_suite::exact_suite;
pub(crate) use hooks::LayerHook;
pub(crate) use mistakes::forward_mistakes;
pub(crate) use official::{OFFICIAL, SHAPES, choices};
pub(crate) use suite::{random_parameter, suite};
pub(crate) use wrong::WrongLayer;

internals!(scales::{error_scales, gradient_scales});

#[cfg(feature = "internals")]
pub use scales::kernel_errors;

use crate::algebra::{ErrorBound, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::{Config, Form, HeadOrder, Name, Stage};
use crate::internals::internals;
use crate::oracle::format::Format;
use crate::oracle::mistake::Row;
use crate::oracle::sequence::{Sequence as Served, mark_name};
use crate::oracle::stage::{Axis, StageSpec, in_order_of_name};
use crate::oracle::subject::{Given, Named, Scale, Setting, Subject, largest_given};
use crate::oracle::upstream::Upstream;
use crate::safetensors::Tensors;

impl Subject for LayerCase {
    const KIND: &'static str = "layer";
    const OPTIONAL: &'static [&'static str] = &["g", "initial_state_k", "initial_state"];
    type Hook = LayerHook;

    fn read(file: &dyn Tensors) -> Result<Self, Error> {
        Self::read(file)
    }

    fn metadata(&self) -> Vec<(String, String)> {
        case::case_metadata(self)
    }

    fn given(&self) -> Vec<Given> {
        case::given(self)
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

    fn default_form(&self) -> Form {
        let longest = self.documents().longest();
        self.parameters.config().default_form(longest)
    }

    fn describe(&self) -> String {
        let config = self.parameters.config();
        format!(
            "d_model {}, head_dim {}, {} heads, d_state {}, n_ssm {}, {}, {} real part, input {:?}",
            config.d_model,
            config.head_dim,
            config.n_heads(),
            config.d_state,
            config.n_ssm,
            config.disc,
            config.real_type,
            self.input.shape(),
        )
    }

    fn run<T>(&self, form: &Form, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        self.run_stages(form, gradients)
    }

    fn run_plainly<T>(&self, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        self.run_plainly(gradients)
    }

    fn scales(&self) -> Result<Vec<Scale>, Error> {
        scales::scales(self)
    }

    fn further_scales(&self, format: Format) -> Result<Named<ErrorBound>, Error> {
        scales::further_scales(self, format)
    }

    fn underflow_growth(&self) -> f64 {
        let config = self.parameters.config();
        let operations = self.seq_len() * (config.d_state + config.d_model);
        let mut given = self.given();
        given.retain(|given| Name::ALL.iter().any(|name| name.official() == given.name));
        let largest = largest_given(&given);
        operations as f64 * largest * largest
    }

    fn mistakes(backward: bool) -> Vec<Vec<&'static Row<LayerHook>>> {
        vec![match backward {
            true => mistakes::backward_mistakes(),
            false => forward_mistakes(),
        }]
    }

    fn needs_chunks(row: &Row<LayerHook>) -> bool {
        row.hooks.iter().any(LayerHook::needs_chunks)
    }

    /// Heads are independent of each other between the projections.
    fn sampled_heads(&self, judged: &[&str], own: &Upstream) -> Option<[usize; 2]> {
        let config = self.parameters.config();
        let (all, cost) = (config.n_heads(), self.cost(self.seq_len()));
        let (gated, output) = (Stage::Gated.name(), Stage::Output.name());
        // The output is computed from all heads: it takes the port's own stages of the others.
        let is_apart = own.get(gated).is_some() || !judged.contains(&output);
        let least = (LEAST_CHANNELS / config.head_dim).max(LEAST_HEADS);
        let some = (all * WHOLE).checked_div(cost)?.max(least);
        (is_apart && self.sequence == Served::Whole && some < all).then_some([some, all])
    }

    fn of_heads(&self, spec: &StageSpec, heads: &[usize]) -> Vec<usize> {
        let config = self.parameters.config();
        let by_token = [Stage::Gated.name(), Stage::Output.name()];
        let order = match by_token.contains(&&spec.name[..]) {
            true => config.head_order,
            false => HeadOrder::HD2,
        };
        spec.elements(|axis, len| match axis {
            Axis::Head => heads.to_vec(),
            Axis::Channel => order.channels(heads, config.n_heads(), config.head_dim),
            _ => (0..len).into_vec(),
        })
    }

    fn is_across_heads(&self, row: &Row<LayerHook>) -> bool {
        let is_one = self.parameters.config().head_dim == 1;
        row.hooks.iter().any(|hook| match hook {
            LayerHook::AcrossChannels => true,
            LayerHook::AcrossHeads => !is_one,
            _ => false,
        })
    }

    /// Projections, convolutions and states, and a model's memory as some 500 (measured).
    fn cost(&self, tokens: usize) -> usize {
        let config = self.parameters.config();
        let each = tokens.saturating_mul(tokens / 2 + config.d_state);
        let models = each.saturating_add(500).saturating_mul(config.head_dim + 1);
        let projections = tokens.saturating_mul(4 * config.d_model);
        let channels = self.input.shape()[0].saturating_mul(config.d_model);
        models.saturating_add(projections).saturating_mul(channels)
    }

    fn run_with(
        &self,
        mistakes: &[&'static Row<LayerHook>],
        setting: Setting<'_>,
    ) -> Result<Named<f64>, Error> {
        match setting.backward {
            true => wrong_backward::gradients_with(self, mistakes, setting),
            false => wrong::run_with(self, mistakes, setting),
        }
    }

    fn local_scales(
        &self,
        upstream: &Upstream,
        format: Format,
    ) -> Result<Named<ErrorBound>, Error> {
        scales::local_scales(self, upstream, format)
    }
}

/// Multiplications of one run up to which mistakes are tried on all heads. Trying all of them takes some 150 runs.
const WHOLE: usize = 1 << 23;

/// Never on fewer channels, so that a departure has many elements, and some of every kind of parameters.
const LEAST_CHANNELS: usize = 16;

/// The same of heads.
const LEAST_HEADS: usize = 2;

/// The stages of a case, in the order of computation: in the backward pass cotangents of stages, then the
/// gradients of what is given by name.
fn specs(case: &LayerCase) -> Vec<StageSpec> {
    use Axis::{
        Channel, Chunk, Document, Head, KeyChannel, Mode, RealImaginary, Sequence, Tap, Time,
        ValueChannel,
    };
    let config = case.parameters.config();
    let (batch, len) = (case.input.shape()[0], case.input.shape()[1]);
    let documents = case.documents();
    let longest = documents.longest();
    let window = config.l_max.map_or(longest, |l_max| l_max.min(longest));
    // There is one state per document: each is a separate sequence.
    let each = match case.sequence {
        Served::Packed(_) => (Document, documents.count()),
        _ => (Sequence, documents.count()),
    };
    let channels = (Channel, config.d_model);
    let (batch, time) = ((Sequence, batch), (Time, len));
    let (d1, d2) = (
        (KeyChannel, config.head_dim),
        (ValueChannel, config.head_dim),
    );
    let heads = (Head, config.n_heads());
    let by_channel = [batch, channels, time];
    let by_pair = [batch, d1, d2, heads, time];
    let by_token = [batch, time, channels];
    let keys = [each, channels, (Tap, config.d_state)];
    let modes = [
        each,
        d1,
        d2,
        heads,
        (Mode, config.n_modes()),
        (RealImaginary, 2),
    ];
    let of = |stage: Stage, axes: &[(Axis, usize)], from: &[&str]| {
        StageSpec::new(stage.name(), axes, from)
    };
    let mut specs = vec![
        of(Stage::Q, &by_channel, &[]),
        of(Stage::K, &by_channel, &[]),
        of(Stage::V, &by_channel, &[]),
        of(Stage::ShiftKernel, &[channels, (Time, window)], &[]).kernel(),
        of(Stage::ShiftK, &by_channel, &["shift_kernel", "k"]),
        of(Stage::Kv, &by_pair, &["shift_k", "v"]),
        of(Stage::SsmKernel, &[heads, (Time, window)], &[]).kernel(),
        of(Stage::SsmOut, &by_pair, &["ssm_kernel", "kv"]),
        of(Stage::Gated, &by_token, &["q", "ssm_out"]),
        of(Stage::Output, &by_token, &["gated"]),
        of(Stage::FinalStateK, &keys, &["k"]),
        of(Stage::FinalState, &modes, &["kv"]).merged(0..3),
    ];
    if let Some(chunk_len) = case.chunk_len {
        let between = |axes: &[(Axis, usize)]| [&[(Chunk, len.div_ceil(chunk_len))], axes].concat();
        specs.push(StageSpec::new("chunk_states_k", &between(&keys), &["k"]));
        specs.push(StageSpec::new("chunk_states", &between(&modes), &["kv"]).merged(1..4));
    }
    for &tokens in case.sequence.marks() {
        let name = |state: Stage| mark_name(tokens, state.name());
        specs.push(StageSpec::new(name(Stage::FinalStateK), &keys, &["k"]));
        specs.push(StageSpec::new(name(Stage::FinalState), &modes, &["kv"]).merged(0..3));
    }
    if case.has_cotangent() {
        let of_stages = ["grad.q", "grad.k", "grad.v"];
        let mut gradients = vec![StageSpec::new("grad.input", &by_token, &of_stages)];
        // In the backward pass those of stages come first, then all others by name.
        for stage in cotangents::STAGES {
            let (axes, from): (&[(Axis, usize)], &[&str]) = match stage {
                Stage::Gated => (&by_token, &[]),
                Stage::SsmOut => (&by_pair, &["grad.gated"]),
                Stage::Kv => (&by_pair, &["grad.ssm_out"]),
                Stage::ShiftK | Stage::V => (&by_channel, &["grad.kv"]),
                Stage::K => (&by_channel, &["grad.shift_k"]),
                _ => (&by_channel, &["grad.gated"]),
            };
            specs.push(StageSpec::new(cotangents::name(stage), axes, from));
        }
        if case.state.is_some() {
            gradients.push(StageSpec::new(
                "grad.initial_state_k",
                &keys,
                &["grad.shift_k"],
            ));
            gradients
                .push(StageSpec::new("grad.initial_state", &modes, &["grad.ssm_out"]).merged(0..3));
        }
        for name in Name::ALL {
            let gradient = format!("grad.{}", name.official());
            let from: &[&str] = match name {
                Name::QWeight | Name::QBias => &["grad.q"],
                Name::KWeight | Name::KBias => &["grad.k"],
                Name::VWeight | Name::VBias => &["grad.v"],
                Name::OutputWeight | Name::OutputBias => &[],
                Name::ShiftB | Name::ShiftC | Name::ShiftD => &["grad.shift_k"],
                _ => &["grad.ssm_out"],
            };
            gradients.push(StageSpec::new(
                gradient,
                &parameter_axes(name, config),
                from,
            ));
        }
        specs.extend(in_order_of_name(gradients, |spec| &spec.name));
    }
    specs
}

/// The meaning of a parameter's axes.
pub(crate) fn parameter_axes(name: Name, config: &Config) -> Vec<(Axis, usize)> {
    use Axis::{Channel, Column, Head, Mode, Model, RealImaginary, Row, Sequence, Tap};
    let axes: &[Axis] = match name {
        Name::QWeight | Name::KWeight | Name::VWeight | Name::OutputWeight => &[Row, Column],
        Name::QBias | Name::KBias | Name::VBias | Name::OutputBias | Name::ShiftD => &[Channel],
        Name::ShiftB => &[Channel, Tap],
        // The official code's first axis of length one is that of its input's channels.
        Name::ShiftC => &[Sequence, Channel, Tap],
        Name::LogDt | Name::D => &[Head],
        Name::B => &[Model, Mode, RealImaginary],
        Name::C => &[Sequence, Head, Mode, RealImaginary],
        Name::InvAReal | Name::AImag => &[Model, Mode],
    };
    axes.iter().copied().zip(name.shape(config)).into_vec()
}
