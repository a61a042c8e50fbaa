//! Claim: every form computes, block by block, what the official PyTorch code computed.
//!
//! `tests/data/lm-tiny.safetensors` was made by running HazyResearch/H3 at commit 5c4d06b in
//! float64 on random parameters; see `tests/data/README.md`.

use super::support::{case, official};
use crate::common::{assert_close, close, data, largest};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::Form;
use hungry_hippos::model::{Model, ModelConfig, ModelParameters, ModelStream, Sampling};
use hungry_hippos::oracle::{Case, ModelCase, ModelFile};
use hungry_hippos::safetensors::{SafeTensors, Writer};
use std::path::Path;

/// What the logits may be off by: two float64 computations differ by some 1e-14 here.
const BOUND: f64 = 1e-11;

fn model(case: &ModelFile) -> Model<f64> {
    case.parameters()
        .and_then(|parameters| parameters.build())
        .expect("a model")
}

fn saved(case: &ModelFile, name: &str, shape: &[usize]) -> Tensor<f64> {
    let saved = case.saved(name, shape).expect("of this shape");
    saved.expect("the case holds it")
}

#[test]
fn every_block_and_the_logits_in_every_form() {
    let case = official();
    let (model, ids) = (model(&case), case.ids().expect("tokens"));
    for form in [Form::Fft, Form::Recurrence, Form::Convolution, Form::Scan] {
        let stages = model
            .forward(&form, &ids)
            .expect("tokens of the vocabulary");
        let named = stages.named();
        assert_eq!(named.len(), 7, "two of each block, and the logits");
        for (name, stage) in named {
            let saved = saved(&case, &name, stage.shape());
            assert_close(
                &format!("{form}, {name}"),
                stage.data(),
                saved.data(),
                BOUND,
            );
        }
    }
}

/// The official logits from steps alone, and from a prompt and steps; and whole sequences and steps
/// against each other.
#[test]
fn steps_and_prompts_give_the_same_logits() {
    let case = official();
    let (model, ids) = (model(&case), case.ids().expect("tokens"));
    let len = ids.shape()[1];
    let prompt_len = case.prompt_len(len).expect("a prompt");
    assert_eq!(prompt_len, 10);
    let whole = model.forward(&Form::Fft, &ids).expect("runs");
    for (prompt, name) in [
        (0, "step_logits"),
        (prompt_len, "prompt_logits"),
        (len, "logits"),
    ] {
        let stages = model
            .forward_from_prompt(&Form::Fft, prompt, &ids)
            .expect("runs");
        let saved = saved(&case, name, stages.logits.shape());
        assert_close(name, stages.logits.data(), saved.data(), BOUND);
        for (mine, whole) in stages.named().iter().zip(whole.clone().named()) {
            let what = format!("prompt {prompt}: {}", whole.0);
            assert_close(&what, mine.1.data(), whole.1.data(), 1e-12);
        }
    }
}

#[test]
fn certified_logits_enclose_the_official_ones() {
    let case = official();
    let (parameters, ids) = (
        case.parameters().expect("read"),
        case.ids().expect("tokens"),
    );
    let whole = ModelCase::new(parameters, ids).expect("tokens of the vocabulary");
    let run = |case: ModelCase| {
        let case = Case::from(case);
        case.certified(&case.default_form(), false)
    };
    let certified = run(whole.clone()).expect("decided");
    for stage in &certified.stages {
        let saved = saved(&case, &stage.name, stage.values.shape());
        let bound = 1e-13 * largest(saved.data()).max(1.0);
        assert_close(&stage.name, saved.data(), stage.values.data(), bound);
        // Far below what double precision resolves: the radius is what decided the rounding.
        let radius = largest(stage.radii.data());
        assert!(radius < 1e-17, "{}: radius {radius:e}", stage.name);
    }
    // The same real numbers, whatever the form.
    let steps = whole.with_prompt(0).expect("whole sequences");
    let steps = run(steps).expect("decided");
    for (a, b) in certified.stages.iter().zip(&steps.stages) {
        assert_eq!(a.values, b.values, "{}", a.name);
    }
}

#[test]
fn the_greedy_continuation_is_the_official_one() {
    let case = official();
    let model = model(&case);
    let expected = case.saved_ids("greedy_ids").expect("saved");
    let &[batch, total] = expected.shape() else {
        panic!("two axes")
    };
    let prompt = case.prompt_len(total).expect("a prompt");
    let mut stream = ModelStream::new(&model, batch);
    let mut rng = Rng::new(0);
    let mut next: Vec<usize> = Vec::new();
    for i in 0..total {
        let token: Vec<usize> = if i < prompt {
            (0..batch).map(|b| expected.data()[b * total + i]).collect()
        } else {
            next
        };
        for (b, &id) in token.iter().enumerate() {
            assert_eq!(
                id,
                expected.data()[b * total + i],
                "sequence {b}, token {i}"
            );
        }
        let logits = stream.step(&token).expect("a step").logits.into_data();
        let vocab = logits.len() / batch;
        next = logits
            .chunks(vocab)
            .map(|row| Sampling::Greedy.choose(row, &mut rng).expect("finite"))
            .collect();
    }
}

/// The same model with another configuration.
fn reconfigured(case: &ModelFile, change: impl Fn(&mut ModelConfig)) -> Model<f64> {
    let mut config = case.config().clone();
    change(&mut config);
    ModelParameters::new(config, |name| case.parameter(name))
        .and_then(|parameters| parameters.build())
        .expect("still a model")
}

/// The choices the first case does not make, and an older checkpoint in float32, whose run is off by
/// its own rounding: 3e-7 of the largest logit was seen, a hundred units are allowed.
#[test]
fn other_choices_and_an_older_checkpoint() {
    for (name, relative) in [
        ("lm-choices", 1e-12),
        ("lm-older-f32", 100.0 / (1u32 << 24) as f64),
    ] {
        let case = case(name);
        let (model, ids) = (model(&case), case.ids().expect("tokens"));
        for prompt in [ids.shape()[1], 0, 3] {
            let stages = model.forward_from_prompt(&Form::Fft, prompt, &ids);
            let named = stages.expect("runs").named();
            assert_eq!(named.len(), 2 * case.config().n_layer + 1);
            for (stage, values) in named {
                let saved = saved(&case, &stage, values.shape());
                let bound = relative * largest(saved.data());
                let what = format!("{name}, prompt {prompt}, {stage}");
                assert_close(&what, values.data(), saved.data(), bound);
            }
        }
        let logits = saved(
            &case,
            "logits",
            &[ids.shape()[0], ids.shape()[1], case.config().vocab_size],
        );
        let bound = relative * largest(logits.data());
        let other = reconfigured(&case, |config| config.layer_norm_epsilon *= 2.0);
        let other = other.forward(&Form::Fft, &ids).expect("runs").logits;
        let refused = close("epsilon", other.data(), logits.data(), bound).is_err();
        assert!(refused, "{name}: twice the epsilon");
    }
}

/// The bound tells the model from near ones: other epsilon, the last token changed.
#[test]
fn the_bound_refuses_other_models() {
    let case = official();
    let ids = case.ids().expect("tokens");
    let logits = saved(&case, "logits", &[2, 24, 32]);
    let mut changed = ids.data().to_vec();
    changed[5] = (changed[5] + 1) % 32;
    let changed = Tensor::new(ids.shape(), changed).expect("as before");
    let other = model(&case).forward(&Form::Fft, &changed).expect("runs");
    assert!(close("other token", other.logits.data(), logits.data(), BOUND).is_err());
    let other = reconfigured(&case, |config| config.layer_norm_epsilon *= 1.000_1);
    let other = other.forward(&Form::Fft, &ids).expect("runs");
    assert!(close("other epsilon", other.logits.data(), logits.data(), BOUND).is_err());
}

/// What the official `attn_cfg = {"bias": False}` leaves out is zero, where the metadata says so; where it
/// does not, a missing bias is missing.
#[test]
fn queries_keys_and_values_may_have_no_bias() {
    let bytes = std::fs::read(data("lm-tiny")).expect("there");
    let file = SafeTensors::from_bytes(bytes).expect("valid");
    let rewritten = |name: &str, keep: bool, metadata: Option<&str>| {
        let mut writer = Writer::new();
        for (key, value) in file.metadata() {
            writer.metadata(key, value).expect("once");
        }
        if let Some(value) = metadata {
            writer.metadata("qkv_bias", value).expect("once");
        }
        for view in file.tensors() {
            let is_bias = view.name.ends_with("Wqkv.bias");
            let zeros = vec![0; view.bytes.len()];
            let bytes = if is_bias { &zeros } else { view.bytes };
            if keep || !is_bias {
                let added = writer.add_bytes(view.name, view.dtype, view.shape, bytes);
                added.expect("fits");
            }
        }
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        writer.write(&path).expect("written");
        ModelFile::open(&path)
    };
    let zeros = rewritten("zero-bias", true, None).expect("a case");
    let without = rewritten("no-bias", false, Some("False")).expect("a case");
    assert_eq!(
        zeros.parameters().expect("read"),
        without.parameters().expect("read")
    );
    let said = rewritten("lost-bias", false, None)
        .expect_err("missing")
        .to_string();
    assert!(
        said.contains("qkv_bias") && said.contains("Wqkv.bias"),
        "{said}"
    );
    let said = rewritten("both", true, Some("false"))
        .expect_err("a contradiction")
        .to_string();
    assert!(said.contains("Wqkv.bias"), "{said}");
}
