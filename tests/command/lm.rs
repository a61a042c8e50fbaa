//! What the functions refuse, and what they agree on.

use crate::common::data;
use hungry_hippos::Error;
use hungry_hippos::Tensor;
use hungry_hippos::fast::Level;
use hungry_hippos::lm::{
    Backend, Generation, fast_logits, generate, perplexity, stages, step_times,
};
use hungry_hippos::model::{ModelPreset, Sampling};
use hungry_hippos::oracle::ModelFile;
use hungry_hippos::safetensors::Dtype;

fn tiny() -> ModelFile {
    ModelFile::open(&data("lm-tiny")).expect("a model")
}

fn fast() -> Backend {
    Backend::Fast {
        level: Level::detect(),
        threads: 1,
    }
}

fn asked(prompt: &Tensor<usize>, vocabulary: usize) -> Generation<'_> {
    Generation {
        prompt,
        tokens: 5,
        vocabulary,
        sampling: Sampling::Greedy,
        seed: 0,
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, named: &str) {
    let message = result.expect_err("must be refused").to_string();
    assert!(message.contains(named), "{named:?} not in {message:?}");
}

#[test]
fn other_types_are_refused_by_name() {
    let case = tiny();
    let ids = case.ids().expect("tokens");
    let (level, vocabulary) = (Level::detect(), case.config().vocab_size);
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::I64] {
        let name = dtype.to_string();
        refused(stages(&case, &ids, 1, dtype), &name);
        refused(fast_logits(&case, &ids, level, 1, dtype), &name);
        for backend in [Backend::Reference, fast()] {
            refused(perplexity(&case, &ids, 1, backend, dtype), &name);
            refused(
                generate(&case, &asked(&ids, vocabulary), backend, dtype),
                &name,
            );
        }
    }
}

#[test]
fn tokens_and_vocabularies_that_do_not_fit_are_refused() {
    let case = tiny();
    let vocabulary = case.config().vocab_size;
    let flat = Tensor::new([3], vec![1, 2, 3]).expect("fits");
    let empty = Tensor::new([1, 0], Vec::new()).expect("fits");
    let one = Tensor::new([1, 1], vec![1]).expect("fits");
    for backend in [Backend::Reference, fast()] {
        let go =
            |prompt, vocabulary| generate(&case, &asked(prompt, vocabulary), backend, Dtype::F64);
        refused(go(&flat, vocabulary), "input_ids");
        refused(go(&empty, vocabulary), "no token");
        refused(go(&one, 0), "vocabulary");
        refused(go(&one, vocabulary + 1), "vocabulary");
        assert!(go(&one, vocabulary).is_ok());
        let judged = |ids| perplexity(&case, ids, 0, backend, Dtype::F64);
        refused(judged(&flat), "input_ids");
        refused(judged(&one), "at least 2");
    }
    let logits = |ids| fast_logits(&case, ids, Level::detect(), 1, Dtype::F64);
    refused(logits(&flat), "input_ids");
    let none = Tensor::new([0, 3], Vec::new()).expect("fits");
    for ids in [&empty, &none] {
        refused(logits(ids), "no token");
        for backend in [Backend::Reference, fast()] {
            refused(perplexity(&case, ids, 0, backend, Dtype::F64), "no token");
            refused(
                generate(&case, &asked(ids, vocabulary), backend, Dtype::F64),
                "no token",
            );
        }
    }
}

/// The reference and the fast path, tokens as a whole and one at a time: the same tokens, the same perplexity to 12
/// digits.
#[test]
fn backends_agree() {
    let case = tiny();
    let ids = case.ids().expect("tokens");
    let &[batch, len] = ids.shape() else {
        panic!("tokens have two axes")
    };
    let asked = asked(&ids, case.config().vocab_size);
    let go = |backend| {
        generate(&case, &asked, backend, Dtype::F64)
            .expect("runs")
            .ids
    };
    let found = go(Backend::Reference);
    assert_eq!(found.shape(), [batch, len + 5]);
    assert_eq!(found, go(fast()));
    let judged = |prompt, backend| {
        let found = perplexity(&case, &ids, prompt, backend, Dtype::F64).expect("runs");
        assert_eq!(found.tokens, batch * (len - 1));
        found.value()
    };
    let whole = judged(len, Backend::Reference);
    for other in [judged(0, Backend::Reference), judged(len, fast())] {
        assert!(
            (other - whole).abs() < 1e-12 * whole,
            "{other} is not {whole}"
        );
    }
}

#[test]
fn steps_are_timed_at_every_length() {
    let configs = [ModelPreset::Tiny.config()];
    let mut rounds = 0;
    let times = |lengths: &[usize], rounds: &mut usize| {
        let mut found = step_times(&configs, lengths, 3, Level::detect(), 1, &mut || {
            *rounds += 1
        })
        .expect("runs");
        found.pop().expect("one model")
    };
    let two = times(&[1, 8], &mut rounds);
    assert_eq!(rounds, 3);
    assert_eq!(two.medians().len(), 2);
    assert!(two.medians().iter().all(|&seconds| seconds > 0.0));
    assert!(two.seconds_per_token_before().is_some());
    assert_eq!(times(&[4], &mut rounds).seconds_per_token_before(), None);
}
