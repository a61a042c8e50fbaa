//! The reference layer with mistakes made at their hooks.

use super::super::wrong_model::{Boundaries, ModelHook, WrongModel};
use super::case::LayerCase;
use super::hooks::{Beginning, LayerHook};
use super::run::owned;
use super::stage_run::StageRun;
use super::upstream::{FromUpstream, first_tokens, local_stages};
use crate::algebra::Linear;
use crate::error::Error;
use crate::h3::{
    Config, Evaluate, Layer, LayerState, Parameters, Plain, Progress, Stage, documents_of,
};
use crate::into_vec::IntoVec as _;
use crate::oracle::memo::{Recall, Step};
use crate::oracle::mistake::Row;
use crate::oracle::sequence::{Schedule, mark_name};
use crate::oracle::subject::{Named, Setting};
use crate::oracle::upstream::{Sample, replaced_or_stored};
use crate::ssm::{Diagonal, Documents, Response, Shift, StateSpace};
use crate::tensor::Tensor;
use num_complex::Complex;
use std::borrow::Cow;

/// The reference layer with mistakes: its models as convolutions within chunks and states between
/// them, in one chunk unless a mistake sits between chunks.
pub(crate) struct WrongLayer<'m> {
    pub(crate) layer: Layer<f64>,
    pub(super) parameters: Parameters<f64>,
    /// In the order of the catalogue.
    pub(super) hooks: Vec<&'static LayerHook>,
    /// Those of mistakes that are made after a prompt: in chunks, what they do to a state is done at the first boundary.
    after_prompt: Vec<&'static LayerHook>,
    boundaries: Boundaries,
    /// The chunk length, and the number of a mistake that has one.
    pub(super) number: usize,
    recall: Recall<'m>,
    /// The heads that are run alone, if not all are.
    sample: Option<Sample<'m>>,
}

impl<'m> WrongLayer<'m> {
    /// The layer of these parameters with these mistakes, run in chunks of the setting's length where
    /// one of them sits between chunks.
    ///
    /// # Errors
    ///
    /// If a mistake's discretization has no value.
    pub(crate) fn new(
        parameters: &Parameters<f64>,
        mistakes: &[&'static Row<LayerHook>],
        setting: Setting<'m>,
    ) -> Result<Self, Error> {
        let mut rows = mistakes.to_vec();
        rows.sort_by_key(|row| row.mistake.place());
        let hooks: Vec<&'static LayerHook> =
            rows.iter().flat_map(|row| row.hooks.iter()).into_vec();
        let is_after_prompt = |row: &&&'static Row<LayerHook>| {
            let mut hooks = row.hooks.iter();
            hooks.any(|hook| matches!(hook, LayerHook::AfterPrompt))
        };
        let after_prompt = rows.iter().filter(is_after_prompt);
        let after_prompt = after_prompt.flat_map(|row| row.hooks.iter()).into_vec();
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
        let number = setting.chunk_len.max(1);
        let has = |asked: fn(&LayerHook) -> bool| hooks.iter().any(|hook| asked(hook));
        let boundaries = if has(|hook| matches!(hook, LayerHook::InChunks)) {
            Boundaries::Every(number)
        } else if has(|hook| matches!(hook, LayerHook::AfterPrompt)) {
            Boundaries::Once(number)
        } else {
            Boundaries::None
        };
        let layer = Layer::new(parts)?;
        Ok(Self {
            layer: match setting.sample {
                Some(Sample { heads, .. }) => layer.of_heads(heads),
                None => layer,
            },
            sample: setting.sample,
            parameters,
            recall: Recall::new(setting.memo, hooks.is_empty()),
            hooks,
            after_prompt,
            boundaries,
            number,
        })
    }

    /// The layer with its states passed on where a schedule says, if there is a mistake there.
    pub(crate) fn at_parts(mut self, schedule: Option<&Schedule>) -> Self {
        if let Some(schedule) = schedule {
            let lengths = schedule.lengths();
            self.boundaries = match self.boundaries {
                Boundaries::None => Boundaries::None,
                // A schedule has a part, of at least one token.
                Boundaries::Once(_) => Boundaries::Once(lengths[0]),
                _ => Boundaries::After(lengths),
            };
        }
        self
    }

    /// The ranges of documents that the mistake assumes.
    pub(crate) fn documents(&self, documents: Documents) -> Documents {
        self.hooks
            .iter()
            .fold(documents, |documents, hook| match hook {
                LayerHook::Documents(edit) => edit(&documents),
                _ => documents,
            })
    }

    /// The states that it leaves at the marks of a schedule, run up to each; from the first tokens of a
    /// port's own stages, if there are some.
    fn at_marks(
        &self,
        case: &LayerCase,
        schedule: &Schedule,
        state: Option<&LayerState<f64>>,
        setting: Setting<'_>,
    ) -> Result<Named<f64>, Error> {
        let mut named = Vec::new();
        for &tokens in &schedule.marks {
            let input = case.input().tokens(0..tokens)?;
            let whole = documents_of(&input);
            let own = setting.upstream.map(|own| first_tokens(own, tokens));
            let setting = Setting {
                upstream: own.as_ref(),
                ..setting
            };
            let by = FromUpstream {
                by: self,
                replaced: replaced_or_stored(setting, is_projected),
                projections_known: false,
            };
            let stages = self.layer.forward_by(&by, (&input, &whole), state)?;
            let diagonal = stages.state.flat_diagonal();
            named.push((
                mark_name(tokens, Stage::FinalStateK.name()),
                stages.state.shift,
            ));
            named.push((mark_name(tokens, Stage::FinalState.name()), diagonal));
        }
        Ok(named)
    }

    /// The state that a run over this input (batch, seq_len, d) begins from.
    pub(crate) fn initial(
        &self,
        state: Option<&LayerState<f64>>,
        (input, documents): (&Tensor<f64>, &Documents),
    ) -> Option<LayerState<f64>> {
        let beginning = Beginning {
            layer: &self.layer,
            input,
            documents,
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
            .unwrap_or_else(|| self.layer.zero_state(documents.count()));
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
            boundaries: self.boundaries.clone(),
            number: self.number,
            heads: self.sample.map(|sample| sample.heads),
        }
    }

    fn shift_hooks(&self) -> WrongModel<'m, Shift<f64>> {
        self.model_hooks(|hook| match hook {
            LayerHook::Shift(hook) => Some(hook),
            _ => None,
        })
    }

    fn diagonal_hooks(&self) -> WrongModel<'m, Diagonal<f64>> {
        self.model_hooks(|hook| match hook {
            LayerHook::Diagonal(hook) => Some(hook),
            _ => None,
        })
    }

    fn model_hooks<S: StateSpace>(
        &self,
        of: impl Fn(&'static LayerHook) -> Option<&'static ModelHook<S>>,
    ) -> WrongModel<'m, S> {
        let of = |hooks: &[&'static LayerHook]| hooks.iter().filter_map(|hook| of(hook)).into_vec();
        WrongModel {
            hooks: of(&self.hooks),
            once: of(&self.after_prompt),
            l_max: self.config().l_max,
            boundaries: self.boundaries.clone(),
            number: self.number,
            recall: self.recall,
        }
    }
}

impl Evaluate<f64> for WrongLayer<'_> {
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

    fn project(&self, linear: &Linear<f64>, x: &Tensor<f64>, documents: &Documents) -> Tensor<f64> {
        // Documents lie where the tokens of padding are not read, and nowhere else matter here.
        let is_read = documents.padding().next().is_none();
        let project = || Plain::Convolution.project(linear, x, documents);
        if !is_read {
            return project();
        }
        let shape: Vec<f64> = x.shape().iter().map(|&size| size as f64).into_vec();
        let asked = [&shape, linear.weight().entries(), linear.bias(), x.data()];
        self.recall.answer(Step::Project, &asked, project)
    }

    fn all_gated<'t>(&self, gated: &'t Tensor<f64>) -> Cow<'t, Tensor<f64>> {
        let Some(Sample { heads, whole }) = self.sample else {
            return Cow::Borrowed(gated);
        };
        let (config, sizes) = (self.config(), gated.shape());
        let shape = [sizes[0], sizes[1], config.d_model];
        let own = whole.get(Stage::Gated.name());
        let mut all = match own.filter(|own| own.values.shape() == shape) {
            Some(own) => own.values.clone(),
            // Then nothing is said of what is computed from it.
            None => Tensor::filled(shape, 0.0),
        };
        let order = config.head_order;
        let channels = order.channels(heads, config.n_heads(), config.head_dim);
        for token in 0..sizes[0] * sizes[1] {
            let (all, of_sample) = (all.row_mut(token), gated.row(token));
            for (&channel, &x) in channels.iter().zip(of_sample) {
                all[channel] = x;
            }
        }
        Cow::Owned(all)
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

/// The stages of a case's forward pass with mistakes.
pub(super) fn run_with(
    case: &LayerCase,
    mistakes: &[&'static Row<LayerHook>],
    setting: Setting<'_>,
) -> Result<Named<f64>, Error> {
    let wrong = WrongLayer::new(case.parameters(), mistakes, setting)?;
    let wrong = wrong.at_parts(case.sequence.schedule());
    let documents = wrong.documents(case.documents());
    let given = case.state().map(|state| match setting.sample {
        Some(Sample { heads, .. }) => Cow::Owned(state.of_heads(heads)),
        None => Cow::Borrowed(state),
    });
    let state = wrong.initial(given.as_deref(), (case.input(), &documents));
    let by = FromUpstream {
        by: &wrong,
        replaced: replaced_or_stored(setting, is_projected),
        projections_known: false,
    };
    // A layer that runs in chunks of its own hands on a wrong state, which its mistake speaks of.
    let stages = match wrong.boundaries {
        Boundaries::None => {
            local_stages(case, &wrong.layer, &by, (case.input(), &documents), state)?
        }
        _ => {
            let input = (case.input(), &documents);
            let mut named = owned(wrong.layer.forward_by(&by, input, state.as_ref())?);
            if let Some(schedule) = case.sequence.schedule() {
                named.extend(wrong.at_marks(case, schedule, state.as_ref(), setting)?);
            }
            named
        }
    };
    let mut stages = by.replaced.restore(stages);
    if documents != case.documents() {
        // Kernels are as long as the longest document, and do not depend on where it lies.
        stages.retain(|(name, _)| {
            let kernels = [Stage::ShiftKernel, Stage::SsmKernel];
            kernels.iter().all(|kernel| kernel.name() != name)
        });
    }
    Ok(stages)
}

/// True for the stages that a port in two formats stores in that of its projections.
fn is_projected(stage: &str) -> bool {
    [Stage::Q, Stage::K, Stage::V, Stage::Gated, Stage::Output]
        .into_iter()
        .any(|projected| projected.name() == stage)
}
