//! The stages of a layer's case by the reference: forward, between chunks, backward.

use super::case::LayerCase;
use super::cotangents::Cotangents;
use crate::algebra::{Real, RootsOfUnity};
use crate::error::Error;
use crate::flashconv::Chunking;
use crate::h3::{
    Backward, Evaluate, Form, Layer, LayerState, Name, Parameters, Plain, Stage, Stages,
    documents_of,
};
use crate::into_vec::IntoVec as _;
use crate::oracle::sequence::{Schedule, mark_name};
use crate::oracle::stage::in_order_of_name;
use crate::oracle::subject::Named;
use crate::oracle::upstream::Upstream;
use crate::ssm::Documents;
use crate::tensor::Tensor;
use core::ops::Range;

impl LayerCase {
    /// Every stage of the layer in one form, in the scalars of a precision, under its name in files;
    /// with `gradients`, every gradient too.
    pub(super) fn run_stages<T>(&self, form: &Form, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        self.run_by(form, gradients, |layer, input, state| {
            layer.forward_documents(form, input, &self.documents(), state)
        })
    }

    /// The same in the case's default form alone.
    pub(super) fn run_plainly<T>(&self, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let by = Plain::by_default(self.is_cut());
        self.run_by(&by, gradients, |layer, input, state| {
            layer.forward_by(&by, (input, &self.documents()), state)
        })
    }

    fn run_by<T, F>(
        &self,
        by: &F,
        gradients: bool,
        forward: impl Fn(&Layer<T>, &Tensor<T>, Option<&LayerState<T>>) -> Result<Stages<T>, Error>,
    ) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
        F: Evaluate<T> + Backward<T>,
    {
        // Decoded and discretized once, forwards and backwards.
        let parameters = self.parameters.map(T::from_f64);
        let layer = parameters.discretize()?;
        let state = self.state.as_ref().map(|state| state.map(T::from_f64));
        let (input, state) = (self.input.map(T::from_f64), state.as_ref());
        let mut named = match self.sequence.schedule() {
            None => owned(forward(&layer, &input, state)?),
            Some(schedule) => {
                let lengths = schedule.lengths();
                let (stages, states) = layer.forward_in_parts(by, &input, state, &lengths)?;
                let mut named = owned(stages);
                named.extend(at_marks(schedule, states));
                named
            }
        };
        if self.chunk_len.is_some() {
            named.extend(self.states_between(&layer, state, |tokens, state| {
                let tokens = input.tokens(tokens)?;
                let whole = documents_of(&tokens);
                let stages =
                    layer.forward_by(&Plain::Recurrence, (&tokens, &whole), Some(state))?;
                Ok([stages.state.clone(), stages.state])
            })?);
        }
        if gradients {
            let (g, g_state) = self.cotangents::<T>()?;
            let run = BackwardRun {
                parameters: &parameters,
                layer: &layer,
                input: &input,
                documents: &self.documents(),
                state,
                g: &g,
                g_state: g_state.as_ref(),
            };
            named.extend(run.gradients(by, by)?);
        }
        Ok(named)
    }

    /// The states between the parts of a run, as they are stages. After every chunk, the last one
    /// included: `chunk_states_k` (chunks, batch, d, m) and `chunk_states` (chunks, batch d1 d2, H, m/2,
    /// 2), what FlashConv passes on. At the marks of a schedule: `state.T.final_state_k` and
    /// `state.T.final_state`, shaped as final states. Nothing for a case without either.
    ///
    /// `run` continues from a state over some tokens; it returns the state that is saved after them
    /// and the one the next chunk begins from.
    pub(super) fn states_between<T: Real>(
        &self,
        layer: &Layer<T>,
        state: Option<&LayerState<T>>,
        run: impl Fn(Range<usize>, &LayerState<T>) -> Result<[LayerState<T>; 2], Error>,
    ) -> Result<Named<T>, Error> {
        let (batch, len) = (self.input.shape()[0], self.input.shape()[1]);
        let schedule = self.sequence.schedule();
        let lengths = match (self.chunk_len, schedule) {
            (Some(chunk_len), _) => Chunking::Uniform(chunk_len).lengths(len)?,
            (None, Some(schedule)) => schedule.lengths(),
            (None, None) => return Ok(Vec::new()),
        };
        let mut state = state.cloned().unwrap_or_else(|| layer.zero_state(batch));
        let (mut states, mut from) = (Vec::new(), 0);
        for len in lengths {
            let [saved, next] = run(from..from + len, &state)?;
            states.push(saved);
            state = next;
            from += len;
        }
        if let Some(schedule) = schedule {
            return Ok(at_marks(schedule, states));
        }
        let chunks = states.len();
        let (mut shift, mut diagonal) = (Vec::new(), Vec::new());
        for saved in states {
            shift.extend_from_slice(saved.shift.data());
            diagonal.extend(saved.flat_diagonal().into_data());
        }
        let with_chunks = |shape: &[usize]| [&[chunks], shape].concat();
        let shift_shape = with_chunks(state.shift.shape());
        let diagonal_shape = with_chunks(state.flat_diagonal().shape());
        Ok(vec![
            ("chunk_states_k".into(), Tensor::new(shift_shape, shift)?),
            (
                "chunk_states".into(),
                Tensor::new(diagonal_shape, diagonal)?,
            ),
        ])
    }
}

/// The states after parts of a schedule that are stages of it, under their names.
pub(super) fn at_marks<T: Real>(schedule: &Schedule, states: Vec<LayerState<T>>) -> Named<T> {
    let mut named = Vec::new();
    let mut at = 0;
    for (len, state) in schedule.lengths().into_iter().zip(states) {
        at += len;
        if schedule.marks.contains(&at) {
            let diagonal = state.flat_diagonal();
            named.push((mark_name(at, Stage::FinalStateK.name()), state.shift));
            named.push((mark_name(at, Stage::FinalState.name()), diagonal));
        }
    }
    named
}

/// The stages of a forward pass under their names.
pub(super) fn owned<T: Real>(stages: Stages<T>) -> Named<T> {
    let named = stages.named().into_iter();
    named
        .map(|(name, stage)| (name.to_string(), stage))
        .into_vec()
}

/// A layer about to be run backwards from cotangents of its output and its final states.
pub(super) struct BackwardRun<'a, T: Real> {
    pub(super) parameters: &'a Parameters<T>,
    pub(super) layer: &'a Layer<T>,
    pub(super) input: &'a Tensor<T>,
    pub(super) documents: &'a Documents,
    pub(super) state: Option<&'a LayerState<T>>,
    pub(super) g: &'a Tensor<T>,
    pub(super) g_state: Option<&'a LayerState<T>>,
}

impl<T> BackwardRun<'_, T>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    /// The gradients of `<g, output>` as they stand in files: `grad.input` (batch, seq_len,
    /// `d_model`) and `grad.<official name>` of every parameter in its own shape; from an initial
    /// state also `grad.initial_state_k` and `grad.initial_state`. Complex parameters are pairs, and
    /// so are their gradients: the derivatives with respect to real and imaginary part.
    ///
    /// `back` is the way the models go backwards: the adjoint of a form, or a mistake.
    pub(super) fn gradients(
        &self,
        forward: &dyn Evaluate<T>,
        back: &dyn Backward<T>,
    ) -> Result<Named<T>, Error> {
        self.gradients_from(None, &|x, _| T::from_f64(x), forward, back)
    }

    /// The same with a port's cotangents in the place of those computed: each is of what is computed
    /// from them, and is itself computed from those before it. `scalar` makes a port's number one of
    /// the run, given its rounding.
    pub(super) fn gradients_from(
        &self,
        upstream: Option<&Upstream>,
        scalar: &dyn Fn(f64, f64) -> T,
        forward: &dyn Evaluate<T>,
        back: &dyn Backward<T>,
    ) -> Result<Named<T>, Error> {
        let (layer, u) = (self.layer, (self.input, self.documents));
        let (g, g_state) = (self.g, self.g_state);
        let (sizes, _) = layer.check_input(self.input, self.documents, self.state)?;
        let back = Cotangents::new(back, upstream, scalar, sizes);
        let discrete = layer.gradients_by(forward, &back, u, self.state, g, g_state)?;
        let official = self.parameters.gradients(&discrete)?;
        let mut named = vec![("grad.input".to_string(), discrete.input)];
        for name in Name::ALL {
            let shape = name.shape(self.parameters.config());
            let gradient = Tensor::new(shape, official.get(name).to_vec())?;
            named.push((format!("grad.{}", name.official()), gradient));
        }
        if self.state.is_some() {
            let diagonal = discrete.state.flat_diagonal();
            named.push(("grad.initial_state_k".into(), discrete.state.shift));
            named.push(("grad.initial_state".into(), diagonal));
        }
        // In the order of the stages.
        let mut gradients = back.computed();
        gradients.extend(in_order_of_name(named, |(name, _)| name));
        Ok(gradients)
    }
}
