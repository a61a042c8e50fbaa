//! What the functions refuse, and what they agree on.

use crate::common::data;
use hungry_hippos::Error;
use hungry_hippos::Tensor;
use hungry_hippos::fast::Level;
use hungry_hippos::lm::{
    Backend, Generation, fast_logits, generate, perplexity, stages, step_times,
};
use hungry_hippos::model::{ModelPreset, Sampling, Text};
use hungry_hippos::oracle::ModelFile;
use hungry_hippos::safetensors::Dtype;
use hungry_hippos::ssm::{Documents, Padding};

fn tiny() -> ModelFile {
    ModelFile::open(&data("lm-tiny")).expect("a model")
}

fn fast() -> Backend {
    Backend::Fast {
        level: Level::detect(),
        threads: 1,
        weights: None,
    }
}

fn asked(prompts: &Text, vocabulary: usize) -> Generation<'_> {
    Generation {
        prompts,
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
    let text = case.text().expect("tokens");
    let (level, vocabulary) = (Level::detect(), case.config().vocab_size);
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::I64] {
        let name = dtype.to_string();
        refused(stages(&case, &text, dtype), &name);
        refused(fast_logits(&case, &text, level, 1, dtype), &name);
        for backend in [Backend::Reference, fast()] {
            refused(perplexity(&case, &text, backend, dtype), &name);
            refused(
                generate(&case, &asked(&text, vocabulary), backend, dtype),
                &name,
            );
        }
    }
}

#[test]
fn tokens_and_vocabularies_that_do_not_fit_are_refused() {
    let case = tiny();
    let vocabulary = case.config().vocab_size;
    let text = |shape: &[usize]| {
        let ids = Tensor::new(shape, vec![1; shape.iter().product()]).expect("fits");
        Text::new(ids)
    };
    refused(text(&[3]), "input_ids");
    refused(text(&[1, 0]), "no token");
    refused(text(&[0, 3]), "no token");
    let one = text(&[1, 1]).expect("a token");
    for backend in [Backend::Reference, fast()] {
        let go = |vocabulary| generate(&case, &asked(&one, vocabulary), backend, Dtype::F64);
        refused(go(0), "vocabulary");
        refused(go(vocabulary + 1), "vocabulary");
        assert!(go(vocabulary).is_ok());
        refused(perplexity(&case, &one, backend, Dtype::F64), "at least 2");
    }
    let outside = Tensor::new([1, 2], vec![1, vocabulary]).expect("fits");
    let outside = Text::new(outside).expect("tokens");
    let logits = fast_logits(&case, &outside, Level::detect(), 1, Dtype::F64);
    refused(logits, "outside the vocabulary");
    refused(
        stages(&case, &outside, Dtype::F64),
        "outside the vocabulary",
    );
    // In steps only where every row is a sequence.
    let rows = Tensor::new([2, 3], vec![1; 6]).expect("fits");
    let padded = Documents::padded(3, &[2, 3], Padding::Left).expect("fits");
    let padded = Text::of_documents(rows, padded).expect("tokens");
    refused(padded.with_prompt(1), "run at once");
    refused(text(&[1, 3]).expect("tokens").with_prompt(4), "prompt");
}

/// The reference and the fast path, tokens as a whole and one at a time: the same tokens, the same perplexity to 12
/// digits.
#[test]
fn backends_agree() {
    let case = tiny();
    let text = case.text().expect("tokens");
    let &[batch, len] = text.ids().shape() else {
        panic!("tokens have two axes")
    };
    let asked = asked(&text, case.config().vocab_size);
    let go = |backend| {
        let found = generate(&case, &asked, backend, Dtype::F64);
        found.expect("runs").sequences
    };
    let found = go(Backend::Reference);
    assert!(found.len() == batch && found.iter().all(|ids| ids.len() == len + 5));
    assert_eq!(found, go(fast()));
    let judged = |prompt, backend| {
        let text = text.clone().with_prompt(prompt).expect("whole sequences");
        let found = perplexity(&case, &text, backend, Dtype::F64).expect("runs");
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
