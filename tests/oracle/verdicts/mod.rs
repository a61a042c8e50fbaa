//! Claims about the oracle: correct ports pass, whatever way they compute; mutants fail and are
//! named; what cannot be judged is said.

mod cases;
mod correct;
mod dense;
mod gradients;
mod judged;
mod mutants;
mod named;
mod suite;
mod thresholds;

use hungry_hippos::Tensor;
use hungry_hippos::oracle::{Candidate, Case, Format, Golden, Report, check};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::path::Path;

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
    let path = format!(
        "{}/tests/data/{name}.safetensors",
        env!("CARGO_MANIFEST_DIR")
    );
    Golden::certify(Case::open(Path::new(&path)).expect("a case")).expect("certified")
}

/// One committed golden file.
pub(crate) fn committed_one(name: &str) -> Golden {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v2");
    Golden::open(&folder.join(format!("{name}.safetensors"))).expect("a golden file")
}

/// The committed golden files, by name.
pub(crate) fn committed() -> Vec<(&'static str, Golden)> {
    let names = hungry_hippos::oracle::suite().into_iter().map(|c| c.name);
    names.map(|name| (name, committed_one(name))).collect()
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

pub(crate) fn judge(golden: &Golden, file: &SafeTensors, format: Format) -> Report {
    let candidate = Candidate::read(file, golden).expect("can be judged");
    check(golden, &candidate, format).expect("can be judged")
}
