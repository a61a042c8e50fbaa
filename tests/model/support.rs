//! What the tests of the model share.

use hungry_hippos::oracle::ModelCase;
use std::path::{Path, PathBuf};

/// The path of a case in `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.safetensors"))
}

/// The official language model's case.
pub(crate) fn official() -> ModelCase {
    ModelCase::open(&data("lm-tiny")).expect("a well-formed case")
}
