//! Claims about the oracle: correct ports pass, whatever way they compute; mutants fail and are
//! named; what cannot be judged is said.

pub(crate) mod cases;
mod correct;
mod dense;
mod exact;
mod gradients;
mod in_memory;
mod judged;
mod mutants;
mod named;
mod ports;
mod served;
mod sixteen_bits;
mod stored;
mod suite;
mod tf32;
mod thresholds;
mod triples;

use crate::common::{data, golden_file, is_exhaustive};
use hungry_hippos::Tensor;
use hungry_hippos::oracle::{
    Case, Finding, Format, Golden, GoldenStage, LayerCase, Mistake, Report, StageVerdict, Verdict,
    suite,
};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::path::PathBuf;

/// The golden cases of the official code, certified here.
pub(crate) const OFFICIAL: [&str; 6] = [
    "layer-v1-hd1-L7",
    "layer-v2-hd4-L32",
    "layer-v3-hd8-L90",
    "layer-v4-hd1-L100",
    "layer-v5-hd4-L1",
    "layer-v6-f32-hd1-L32",
];

pub(crate) fn official(name: &str) -> Golden {
    Golden::certify(LayerCase::open(&data(name)).expect("a case")).expect("certified")
}

/// One committed golden file.
pub(crate) fn committed_one(name: &str) -> Golden {
    Golden::open(&golden_file(name)).expect("a golden file")
}

/// The path of one of two golden files of version 1, kept to show that they are still read.
pub(crate) fn version_1(name: &str) -> PathBuf {
    data(&format!("golden-v1/{name}"))
}

/// The case of many tokens, on which [`correct`] has a claim of its own.
pub(crate) const LONG: &str = "49-long-gradients";

/// The committed golden files of layers on whole sequences, by name, but for [`LONG`].
pub(crate) fn committed() -> Vec<(&'static str, Golden)> {
    layers_named(|name| name != LONG && !is_served(name))
}

/// Those on sequences as they are served: documents, padding, schedules, cotangents of states.
pub(crate) fn served() -> Vec<(&'static str, Golden)> {
    layers_named(is_served)
}

/// The mistakes that need documents, padding or cotangents of states.
pub(crate) fn of_documents(id: &str) -> bool {
    let number: String = id.chars().filter(char::is_ascii_digit).collect();
    number.parse::<u32>().expect("a number") >= 99
}

fn is_served(name: &str) -> bool {
    ("72".."80").contains(&&name[..2])
}

fn layers_named(is_asked: impl Fn(&str) -> bool) -> Vec<(&'static str, Golden)> {
    let names = suite().into_iter().map(|case| case.name);
    let names = names.filter(|name| is_asked(name));
    let files = names.map(|name| (name, committed_one(name)));
    files
        .filter(|(_, golden)| golden.kind() == "layer")
        .collect()
}

/// The layer's case of a golden file.
pub(crate) fn layer(golden: &Golden) -> &LayerCase {
    golden.layer().expect("a layer's golden file")
}

/// One stage of a golden file.
pub(crate) fn stage<'a>(golden: &'a Golden, name: &str) -> &'a GoldenStage {
    let mut stages = golden.stages().iter();
    stages.find(|s| s.name() == name).expect("a stage")
}

/// Arrays under their names.
pub(crate) type Stages = Vec<(String, Tensor<f64>)>;

/// Stages by name, to be dumped.
pub(crate) fn named(stages: &Stages) -> Vec<(&str, &Tensor<f64>)> {
    stages.iter().map(|(name, x)| (name.as_str(), x)).collect()
}

/// The mistakes of a layer's forward pass.
pub(crate) fn forward_mistakes(case: &Case) -> Vec<&'static Mistake> {
    let mut mistakes = case.mistakes();
    mistakes.retain(|mistake| !mistake.first_stage.starts_with("grad."));
    mistakes
}

/// The case of a layer's golden file and the stages of the reference in f64, for runs with
/// mistakes.
pub(crate) struct Mistaken {
    pub(crate) case: Case,
    right: Stages,
}

impl Mistaken {
    pub(crate) fn new(golden: &Golden) -> Self {
        let case = Case::from(layer(golden).clone());
        let right = case.run_with(&[], None).expect("runs");
        Self { case, right }
    }

    /// The stages with mistakes, where these change the layer: by more than the order of a sum
    /// does, and into numbers that a port can dump.
    pub(crate) fn stages(&self, ids: &[&str]) -> Option<Stages> {
        let stages = self.case.run_with(ids, None).ok()?;
        let mut values = stages.iter().flat_map(|(_, stage)| stage.data());
        let finite = values.all(|x| x.is_finite() && x.abs() < 1e30);
        (finite && differ(&stages, &self.right)).then_some(stages)
    }
}

/// True if two runs differ in some stage by more than 1e-13 of its largest number.
fn differ(one: &Stages, other: &Stages) -> bool {
    one.iter().zip(other).any(|((_, a), (_, b))| {
        let largest = |x: &Tensor<f64>| x.data().iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let bound = 1e-13 * largest(a).max(largest(b));
        let mut pairs = a.data().iter().zip(b.data());
        a.shape() != b.shape() || pairs.any(|(a, b)| (a - b).abs() > bound)
    })
}

/// Stages as a port would dump them, as a file in memory.
pub(crate) fn dumped(stages: &[(&str, &Tensor<f64>)], dtype: Dtype) -> SafeTensors {
    let mut writer = Writer::new();
    for (name, stage) in stages {
        writer
            .add(name, dtype, stage.shape(), stage.data())
            .expect("shapes fit");
    }
    let bytes = writer.to_bytes().expect("a small header");
    SafeTensors::from_bytes(bytes).expect("what was written can be read")
}

/// The first step that is wrong, if one is.
pub(crate) fn first_wrong(report: &Report) -> Option<&str> {
    let mut stages = report.stages.iter();
    let wrong = stages.find(|stage| stage.verdict == StageVerdict::Fail);
    wrong.map(|stage| &stage.name[..])
}

/// What is said of the first step that is wrong.
pub(crate) fn first_finding(report: &Report) -> &Finding {
    assert_eq!(report.verdict(), Verdict::Refused, "{report}");
    report.findings.first().expect("said where")
}

/// True if this mistake is among the suspects of some step.
pub(crate) fn names(report: &Report, id: &str) -> bool {
    let mut suspects = report.findings.iter().flat_map(|found| &found.suspects);
    suspects.any(|suspect| suspect.mistakes.iter().any(|known| known.id == id))
}

/// What is found, stage by stage, to be shown where it is not what should be.
pub(crate) fn told(report: &Report) -> Vec<String> {
    let found = report.findings.iter().map(|found| {
        let suspects = found.suspects.iter();
        let ids = suspects.map(|s| s.mistakes.iter().map(|m| m.id).collect::<Vec<_>>());
        let ids: Vec<_> = ids.collect();
        format!("{} {ids:?}: {}", found.stage, found.pattern)
    });
    found.collect()
}

/// True for the cotangent of a stage, and for the parts of its scale.
pub(crate) fn is_cotangent(tensor: &str) -> bool {
    let parts = ["scale.", "probable.", "projections."];
    let stripped = parts.iter().find_map(|part| tensor.strip_prefix(part));
    let stage = stripped.unwrap_or(tensor).strip_prefix("grad.");
    let known = ["gated", "q", "ssm_out", "kv", "shift_k", "k", "v"];
    stage.is_some_and(|stage| known.contains(&stage))
}

/// The verdicts on a dump, without the search for mistakes that explain them.
pub(crate) fn verdicts(golden: &Golden, file: &SafeTensors, format: Format) -> Report {
    let candidate = golden.candidate(file).expect("can be judged");
    golden.verdicts(&candidate, format)
}

pub(crate) fn judge(golden: &Golden, file: &SafeTensors, format: Format) -> Report {
    let candidate = golden.candidate(file).expect("can be judged");
    golden.check(&candidate, format)
}
