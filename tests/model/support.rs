//! What the tests of the model share.

use hungry_hippos::Tensor;
use hungry_hippos::oracle::{Candidate, Format, ModelCase, ModelGolden, Report, check_model};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::path::{Path, PathBuf};

/// The path of a case in `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.safetensors"))
}

/// One of the official language models' cases.
pub(crate) fn case(name: &str) -> ModelCase {
    ModelCase::open(&data(name)).expect("a well-formed case")
}

/// The one that holds everything there is to compare.
pub(crate) fn official() -> ModelCase {
    case("lm-tiny")
}

/// Stages under their names.
pub(crate) type Stages = Vec<(String, Tensor<f64>)>;

/// A file of stages.
pub(crate) fn file(stages: &Stages, dtype: Dtype) -> SafeTensors {
    let mut writer = Writer::new();
    for (name, stage) in stages {
        let added = writer.add(name, dtype, stage.shape(), stage.data());
        added.expect("shapes fit");
    }
    SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid")
}

/// What the check of such a file says.
pub(crate) fn judge(golden: &ModelGolden, stages: &Stages, dtype: Dtype, format: Format) -> Report {
    let candidate = Candidate::read_model(&file(stages, dtype), golden).expect("can be judged");
    check_model(golden, &candidate, format).expect("can be judged")
}
