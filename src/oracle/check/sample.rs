//! The heads of a large case on which known mistakes are tried.
//!
//! Bounds, own steps and generic hypotheses are judged at every element of a stage. What a known mistake makes of it has
//! to be computed once for each of more than a hundred of them, and the heads of a layer differ in their numbers alone: a
//! few of them show which one it is.

use super::super::golden::Reference;
use super::super::mistake::Mistake;
use super::super::subject::Named;
use super::super::upstream::{Sample, Setting, Upstream};
use super::judge::Own;
use super::judged::{Judged, Source};
use super::report::SampledHeads;
use crate::into_vec::IntoVec as _;
use crate::tensor::Tensor;

/// The numbers of heads on which mistakes are tried and of all, given the stages that are judged and those from which
/// others are computed; nothing if they are tried on all
/// ([`Subject::sampled_heads`](super::super::subject::Subject::sampled_heads)).
pub(super) type Size<'a> = &'a dyn Fn(&[&str], &Upstream) -> Option<[usize; 2]>;

/// Some heads of a case, and what a port has of them.
pub(super) struct Sampled<'a> {
    heads: Vec<usize>,
    all: usize,
    /// In the order of the stages that are judged; nothing of gradients, at which mistakes are tried whole.
    pub(super) stages: Vec<Judged<'a>>,
    own: Own,
}

impl<'a> Sampled<'a> {
    /// The sample of a case, if it is to have one.
    pub(super) fn new(
        golden: Reference<'_>,
        stages: &[Judged<'a>],
        own: &Own,
        chunk_len: usize,
        heads: Size<'_>,
    ) -> Option<Self> {
        let case = golden.case;
        let forward = || stages.iter().filter(|stage| !stage.spec.is_gradient());
        let judged = forward().filter(|stage| stage.is_finite());
        let judged: Vec<&str> = judged.map(|stage| &stage.spec.name[..]).into_vec();
        let [some, all] = heads(&judged, own.all())?;
        let is_off = |stage: &&Judged<'_>| stage.wrong().next().is_some();
        let off: Vec<&Judged<'_>> = forward().filter(is_off).into_vec();
        let is_wrong = |&head: &usize| {
            let at = |stage: &&Judged<'_>| case.of_heads(stage.spec, &[head]);
            off.iter()
                .any(|stage| at(stage).into_iter().any(|at| stage.is_wrong(at)))
        };
        let heads = chosen(all, &(0..all).filter(is_wrong).into_vec(), some);
        let sampled = Self {
            stages: stages
                .iter()
                .map(|stage| match stage.spec.is_gradient() {
                    true => stage.of_elements(&[]),
                    false => stage.of_elements(&case.of_heads(stage.spec, &heads)),
                })
                .into_vec(),
            own: own.map(|stage| {
                let picked = of_heads(golden, (&stage.name, &stage.values), &heads, all);
                picked.unwrap_or_else(|| stage.values.clone())
            }),
            heads,
            all,
        };
        // What runs without mistakes compute is remembered.
        for source in [Source::Own, Source::WithoutKernels] {
            if forward().any(|stage| stage.local.source == source) {
                sampled.run(golden, own, &[], chunk_len, source);
            }
        }
        Some(sampled)
    }

    /// The reference with mistakes at these heads, continued from a port's stages of them; nothing where a mistake has
    /// no value.
    pub(super) fn run(
        &self,
        golden: Reference<'_>,
        whole: &Own,
        mistakes: &[&'static Mistake],
        chunk_len: usize,
        source: Source,
    ) -> Named<f64> {
        let case = golden.case;
        if mistakes.iter().any(|one| case.is_across_heads(one)) {
            let run = case.run_with(mistakes, whole.setting(source, chunk_len));
            let stages = run.unwrap_or_default().into_iter();
            let picked = stages.filter_map(|(name, stage)| {
                let picked = of_heads(golden, (&name, &stage), &self.heads, self.all)?;
                Some((name, picked))
            });
            return picked.into_vec();
        }
        let setting = Setting {
            sample: Some(Sample {
                heads: &self.heads,
                whole: whole.all(),
            }),
            ..self.own.setting(source, chunk_len)
        };
        case.run_with(mistakes, setting).unwrap_or_default()
    }

    /// The multiplications of a run, given those of a run of the whole case.
    pub(super) fn cost(&self, whole: usize) -> usize {
        whole / self.all * self.heads.len()
    }

    pub(super) fn report(&self) -> SampledHeads {
        SampledHeads {
            heads: self.heads.len(),
            all: self.all,
        }
    }
}

/// A stage's elements of some of `all` heads; `None` if it is no stage of the golden file.
fn of_heads(
    golden: Reference<'_>,
    (name, stage): (&str, &Tensor<f64>),
    heads: &[usize],
    all: usize,
) -> Option<Tensor<f64>> {
    let mut known = golden.stages.iter();
    let spec = &known.find(|known| known.name() == name)?.spec;
    let elements = golden.case.of_heads(spec, heads);
    let picked = elements.iter().map(|&at| stage.data()[at]).into_vec();
    let shape = spec.shape_of_heads([heads.len(), all]);
    Some(Tensor::known(shape, picked))
}

/// So many of `all` heads, spread over them; half of them from those that are wrong, if not all are.
pub fn chosen(all: usize, wrong: &[usize], some: usize) -> Vec<usize> {
    let of_wrong = if wrong.len() < all { some / 2 } else { 0 };
    let mut heads = spread(wrong, of_wrong);
    let every: Vec<usize> = (0..all).into_vec();
    heads.extend(spread(&every, some - heads.len()));
    heads.sort_unstable();
    heads.dedup();
    heads
}

/// Some of these, one from each of equal parts, at places of which no period is a head's own: what heads share they may
/// share by their number modulo another.
fn spread(from: &[usize], some: usize) -> Vec<usize> {
    const GOLDEN_RATIO: f64 = 0.618_033_988_749_894_9;
    let some = some.min(from.len());
    let place = |part: usize| {
        let [begin, end] = [part, part + 1].map(|part| part * from.len() / some);
        begin + ((part as f64 * GOLDEN_RATIO).fract() * (end - begin) as f64) as usize
    };
    (0..some).map(|part| from[place(part)]).into_vec()
}
