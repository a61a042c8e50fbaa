//! Numbers made by running the official code (tests/data/README.md says how).

use hungry_hippos::safetensors::SafeTensors;
use std::path::Path;
use std::sync::OnceLock;

pub(crate) fn file() -> &'static SafeTensors {
    static FILE: OnceLock<SafeTensors> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/origins.safetensors");
        SafeTensors::open(&path).expect("a committed file")
    })
}

pub(crate) fn numbers(name: &str) -> Vec<f64> {
    let view = file().tensor(name).expect("a tensor of the file");
    view.to_f64().expect("floats")
}
