//! Helpers of several test programs.
#![allow(
    dead_code,
    reason = "every test program compiles this module and uses its own part of it"
)]

pub(crate) mod exact;
pub(crate) mod functions;

use hungry_hippos::Tensor;
use hungry_hippos::algebra::Rng;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::safetensors::SafeTensors;
use std::path::{Path, PathBuf};

/// True if `HIPPOS_EXHAUSTIVE` is set: tests then try all that they can, which takes minutes, and not a part of it.
pub(crate) fn is_exhaustive() -> bool {
    std::env::var_os("HIPPOS_EXHAUSTIVE").is_some()
}

/// The number of random trials: all of them if everything is tried, else a third.
pub(crate) fn trials(all: u32) -> u32 {
    if is_exhaustive() {
        all
    } else {
        all.div_ceil(3)
    }
}

/// The path of a case in `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.safetensors"))
}

/// The path of a golden file of the suite.
pub(crate) fn golden_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/v2/{name}.safetensors"))
}

/// A tensor saved in a file next to a case, of a known shape.
pub(crate) fn saved(file: &SafeTensors, name: &str, shape: &[usize]) -> Tensor<f64> {
    let tensor = file.tensor(name).expect("saved");
    assert_eq!(tensor.shape, shape, "{name}");
    Tensor::new(shape, tensor.to_f64().expect("floats")).expect("of this shape")
}

/// Sequence lengths worth trying against a state of dimension `m` and chunks of `t`, each with
/// its reason.
pub(crate) fn lengths(m: usize, t: usize) -> Vec<(usize, &'static str)> {
    let mut lengths = vec![
        (0, "nothing at all"),
        (1, "one token: no carry, FFT of length 1"),
        (2, "the first token with a past"),
        (m.saturating_sub(1), "window not yet full"),
        (m, "window exactly full"),
        (m + 1, "window begins to forget"),
        (t.saturating_sub(1), "one chunk, not full"),
        (t, "exactly one chunk"),
        (t + 1, "a second chunk of one token"),
        (3 * t + t / 2, "three chunks and a bit"),
        (97, "a prime"),
        (100, "not a power of two"),
        (128, "a power of two: no slack in the FFT's padding"),
    ];
    lengths.dedup_by_key(|(n, _)| *n);
    lengths
}

/// A random ragged partition of `n` into chunks of at most 40.
pub(crate) fn ragged(n: usize, rng: &mut Rng) -> Chunking {
    let mut lengths = Vec::new();
    let mut rest = n;
    while rest > 0 {
        let len = (1 + rng.below(40)).min(rest);
        lengths.push(len);
        rest -= len;
    }
    Chunking::Ragged(lengths)
}

/// Fails unless `got` is within `bound` of `expected` everywhere: first the lengths, then
/// finiteness, then the bound, with index, both values and their ratio to the bound.
pub(crate) fn assert_close(what: &str, got: &[f64], expected: &[f64], bound: f64) {
    if let Err(message) = close(what, got, expected, bound) {
        panic!("{message}");
    }
}

/// [`assert_close`] as a value, so that a test can also demand a refusal.
pub(crate) fn close(what: &str, got: &[f64], expected: &[f64], bound: f64) -> Result<(), String> {
    if got.len() != expected.len() {
        return Err(format!(
            "{what}: {} elements, expected {}",
            got.len(),
            expected.len()
        ));
    }
    for (i, (&x, &y)) in got.iter().zip(expected).enumerate() {
        if !x.is_finite() || !y.is_finite() {
            return Err(format!("{what}[{i}]: {x:e} against {y:e}, not finite"));
        }
        let error = (x - y).abs();
        if error > bound {
            return Err(format!(
                "{what}[{i}]: {x:e} against {y:e}, {:.3} times the bound {bound:e}",
                error / bound
            ));
        }
    }
    Ok(())
}

/// The largest magnitude, refusing NaN.
pub(crate) fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, &x| {
        assert!(!x.is_nan(), "NaN among the values");
        f64::max(largest, x.abs())
    })
}
