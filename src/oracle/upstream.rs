//! Stages of a port that stand in the place of the reference's, for what is computed from them.

use super::subject::Named;
use crate::tensor::Tensor;
use std::cell::RefCell;

/// Stages of a port, in the golden file's shapes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upstream {
    stages: Vec<UpstreamStage>,
}

/// One stage of a port.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamStage {
    pub(crate) name: String,
    pub(crate) values: Tensor<f64>,
    /// What the port may have used in its place is within this many unit roundoffs of its own size:
    /// a fused port computes on from the number before it was rounded.
    pub(crate) rounding: f64,
}

impl Upstream {
    pub(crate) fn new(stages: Vec<UpstreamStage>) -> Self {
        Self { stages }
    }

    /// The stage of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&UpstreamStage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// How many stages there are.
    pub(crate) fn len(&self) -> usize {
        self.stages.len()
    }

    /// The stages but for some.
    pub(crate) fn without(&self, left_out: impl Fn(&str) -> bool) -> Self {
        let stages = self.stages.iter();
        Self::new(stages.filter(|s| !left_out(&s.name)).cloned().collect())
    }
}

/// A run in which a port's stages take the place of those computed, in any scalars; what was
/// computed is kept.
pub(crate) struct Replaced<'a, T, F> {
    upstream: Option<&'a Upstream>,
    /// The scalar of a port's number, given its rounding.
    scalar: F,
    computed: RefCell<Named<T>>,
}

impl<'a, T: Copy, F: Fn(f64, f64) -> T> Replaced<'a, T, F> {
    pub(crate) fn new(upstream: Option<&'a Upstream>, scalar: F) -> Self {
        Self {
            upstream,
            scalar,
            computed: RefCell::new(Vec::new()),
        }
    }

    /// What stands in the place of a stage that was computed.
    pub(crate) fn stage(&self, name: &str, computed: Tensor<T>) -> Tensor<T> {
        let own = self.upstream.and_then(|upstream| upstream.get(name));
        match own.filter(|own| own.values.shape() == computed.shape()) {
            None => computed,
            Some(own) => {
                self.computed.borrow_mut().push((name.into(), computed));
                own.values.map(|x| (self.scalar)(x, own.rounding))
            }
        }
    }

    /// What was computed where a port's stage took its place.
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
