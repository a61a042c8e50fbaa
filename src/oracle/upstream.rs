//! Stages of a port that stand in the place of the reference's, for what is computed from them.

use super::format::Format;
use super::memo::Memo;
use super::stage::Named;
use crate::algebra::{ErrorBound, ErrorScale};
use crate::into_vec::IntoVec as _;
use crate::tensor::Tensor;
use std::cell::RefCell;

/// The settings of a run with mistakes.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The chunk length of the port, for mistakes between chunks.
    pub chunk_len: usize,
    /// Stages of the port from which the run goes on in place of its own: what it then holds of each
    /// stage is computed from those, so that a mistake shows where it is made and nowhere else.
    pub upstream: Option<&'a Upstream>,
    /// The format in which every stage is stored before anything is computed from it, if it is not
    /// f64.
    pub stored: Option<Format>,
    /// Answers of runs without mistakes in settings that differ from this one in nothing but mistakes.
    pub memo: Option<&'a Memo>,
    /// True for the gradients, by the whole pass forwards and back; else the stages of the forward
    /// pass.
    pub backward: bool,
    /// The heads that are run alone, if not all are. The port's stages are then theirs.
    pub sample: Option<Sample<'a>>,
}

/// Some heads of a large case.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Their numbers.
    pub heads: &'a [usize],
    /// The port's stages at all heads, for what is computed from all of them.
    pub whole: &'a Upstream,
}

/// Stages of a port, in the golden file's shapes.
#[derive(Clone, Debug, Default)]
pub struct Upstream {
    stages: Vec<UpstreamStage>,
}

/// One stage of a port.
#[derive(Clone, Debug)]
pub struct UpstreamStage {
    /// The name in files.
    pub name: String,
    /// A NaN where the port's number is unknown; the run's own value is used there.
    pub values: Tensor<f64>,
    /// What the port may have used in its place is within this many unit roundoffs of its own size:
    /// a fused port computes on from the number before it was rounded.
    pub rounding: f64,
}

impl Upstream {
    /// These stages.
    #[must_use]
    pub fn new(stages: Vec<UpstreamStage>) -> Self {
        Self { stages }
    }

    /// The stage of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&UpstreamStage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// Number of stages.
    pub(crate) fn len(&self) -> usize {
        self.stages.len()
    }

    /// The same stages with other values.
    pub(crate) fn map(&self, values: impl Fn(&UpstreamStage) -> Tensor<f64>) -> Self {
        let stages = self.stages.iter().map(|stage| UpstreamStage {
            name: stage.name.clone(),
            values: values(stage),
            rounding: stage.rounding,
        });
        Self::new(stages.into_vec())
    }

    /// The stages but for some.
    pub(crate) fn without(&self, left_out: impl Fn(&str) -> bool) -> Self {
        let stages = self.stages.iter();
        Self::new(stages.filter(|s| !left_out(&s.name)).cloned().into_vec())
    }
}

/// The stored value of a number, given the stage's name.
type Store<'a, T> = Box<dyn Fn(&str, T) -> T + 'a>;

/// The scalar of a port's number, given its rounding.
type OfPort<'a, T> = Box<dyn Fn(f64, f64) -> T + 'a>;

/// A run in which a port's stages take the place of those computed, in any scalars; what was
/// computed is kept.
pub(crate) struct Replaced<'a, T> {
    upstream: Option<&'a Upstream>,
    /// The stored value of a number of a stage.
    stored: Option<Store<'a, T>>,
    scalar: OfPort<'a, T>,
    computed: RefCell<Named<T>>,
}

impl<'a, T: Copy> Replaced<'a, T> {
    pub(crate) fn new(upstream: Option<&'a Upstream>, scalar: impl Fn(f64, f64) -> T + 'a) -> Self {
        Self {
            upstream,
            stored: None,
            scalar: Box::new(scalar),
            computed: RefCell::new(Vec::new()),
        }
    }

    /// The run with every stage stored before anything is computed from it.
    pub(crate) fn stored(self, store: impl Fn(&str, T) -> T + 'a) -> Self {
        Self {
            stored: Some(Box::new(store)),
            ..self
        }
    }

    /// The value used in place of a computed stage.
    pub(crate) fn stage(&self, name: &str, computed: Tensor<T>) -> Tensor<T> {
        let computed = match &self.stored {
            Some(store) => computed.map(|x| store(name, x)),
            None => computed,
        };
        let own = self.upstream.and_then(|upstream| upstream.get(name));
        match own.filter(|own| own.values.shape() == computed.shape()) {
            None => computed,
            Some(own) => {
                let pairs = own.values.data().iter().zip(computed.data());
                let go_on = pairs.map(|(&x, &computed)| match x.is_nan() {
                    true => computed,
                    false => (self.scalar)(x, own.rounding),
                });
                let go_on = Tensor::known(computed.shape(), go_on.into_vec());
                self.computed.borrow_mut().push((name.into(), computed));
                go_on
            }
        }
    }

    /// A port's stage, if it is whole and stands as it is.
    pub(crate) fn whole(&self, name: &str) -> Option<Tensor<T>> {
        let own = self.upstream.and_then(|upstream| upstream.get(name))?;
        let is_whole = own.values.data().iter().all(|x| !x.is_nan());
        let number = |x| (self.scalar)(x, own.rounding);
        is_whole.then(|| own.values.map(number))
    }

    /// The computed values of the stages that a port's stages replaced.
    pub(crate) fn computed(&self) -> Named<T> {
        self.computed.take()
    }

    /// The stages of the run, each as it was computed.
    pub(crate) fn restore(&self, mut stages: Named<T>) -> Named<T> {
        for (name, computed) in self.computed() {
            if let Some((_, stage)) = stages.iter_mut().find(|(known, _)| *known == name) {
                *stage = computed;
            }
        }
        stages
    }
}

impl<'a> Replaced<'a, ErrorScale> {
    /// An analysis in units of a port's unit roundoff: its numbers are off by never less than one rounding.
    pub(crate) fn within_roundings(upstream: &'a Upstream, unit_roundoff: f64) -> Self {
        Self::new(Some(upstream), of_port(unit_roundoff))
    }
}

/// A port's number with the error of its rounding, in units of this unit roundoff and never less than one.
pub(crate) fn of_port(unit_roundoff: f64) -> impl Fn(f64, f64) -> ErrorScale {
    move |x, rounding| {
        let units = (rounding / unit_roundoff).max(1.0);
        ErrorScale::new(x, ErrorBound::both(x.abs() * units))
    }
}

/// The stages of a run in f64 in a setting; `is_projected` says which stages a port in two formats
/// stores in that of its projections.
pub(crate) fn replaced_or_stored<'a>(
    setting: Setting<'a>,
    is_projected: fn(&str) -> bool,
) -> Replaced<'a, f64> {
    let replaced = Replaced::new(setting.upstream, |x, _| x);
    match setting.stored {
        None => replaced,
        Some(format) => replaced.stored(move |stage, x| format.store(is_projected(stage), x)),
    }
}
