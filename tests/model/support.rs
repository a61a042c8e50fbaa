//! What the tests of the model share.

use hungry_hippos::oracle::ModelCase;
use std::path::{Path, PathBuf};

/// The path of a case in `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.safetensors"))
}

/// The path of a committed golden file.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v1/{name}.safetensors"))
}

/// One of the official language models' cases.
pub(crate) fn case(name: &str) -> ModelCase {
    ModelCase::open(&data(name)).expect("a well-formed case")
}

/// The one that holds everything there is to compare.
pub(crate) fn official() -> ModelCase {
    case("lm-tiny")
}
