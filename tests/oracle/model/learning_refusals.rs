//! What a file says of a loss or of training steps that is not computed, or that contradicts it, is
//! refused in one line that names the key or the tensor; what is left out is what H3's experiments have.

use super::refusals::{Parts, parts, with, without, written};
use crate::common::data;
use hungry_hippos::Tensor;
use hungry_hippos::oracle::{Case, Precision};
use std::path::Path;

const LOSS: &str = "lm-grad-v3-attention-ignore";
const STEPS: &str = "lm-train-v2-clip-warmup";

fn changed(of: &str, change: &dyn Fn(&mut Parts)) -> std::path::PathBuf {
    let mut parts = parts(&data(of));
    change(&mut parts);
    let thread = std::thread::current();
    let test = thread.name().unwrap_or(of).replace(':', "-");
    written(&test, &parts)
}

/// What a change of a file makes a run of it say.
fn refused(of: &str, fragments: &[&str], change: impl Fn(&mut Parts)) {
    let path = changed(of, &change);
    let ran =
        Case::open(&path).and_then(|case| case.run(&case.default_form(), Precision::F64, true));
    let said = ran.map(|_| ()).expect_err(fragments[0]).to_string();
    for fragment in fragments {
        assert!(said.contains(fragment), "{fragment:?} not in {said}");
    }
    assert_eq!(said.lines().count(), 1, "one line: {said}");
}

fn steps(path: &Path) -> Vec<(String, Tensor<f64>)> {
    let case = Case::open(path).expect("a case");
    let ran = case.run(&case.default_form(), Precision::F64, true);
    ran.expect("runs")
}

fn with_element(name: &'static str, at: usize, value: i64) -> impl Fn(&mut Parts) {
    move |parts| {
        let (_, _, bytes) = parts.tensors.get_mut(name).expect("there");
        bytes[8 * at..8 * at + 8].copy_from_slice(&value.to_le_bytes());
    }
}

fn renamed(name: &'static str, to: &'static str) -> impl Fn(&mut Parts) {
    move |parts| {
        let tensor = parts.tensors.remove(name).expect("there");
        parts.tensors.insert(to.into(), tensor);
    }
}

/// The groups of the file with a part of the text replaced.
fn groups(from: &'static str, to: &'static str) -> impl Fn(&mut Parts) {
    move |parts| {
        let groups = parts.metadata.get_mut("groups").expect("there");
        assert!(groups.contains(from), "{from}");
        *groups = groups.replacen(from, to, 1);
    }
}

#[test]
fn losses() {
    refused(LOSS, &["tensor \"targets\"", "missing"], |parts| {
        parts.tensors.remove("targets");
        parts.metadata.remove("counted");
    });
    let misspelt = renamed("targets", "target");
    refused(
        LOSS,
        &["tensor \"target\"", "is \"targets\" meant"],
        misspelt,
    );
    let out = with_element("targets", 2, 13);
    refused(
        LOSS,
        &["tensor \"targets\"", "element 2 is 13", "13, or -100"],
        out,
    );
    refused(LOSS, &["element 0 is -1"], with_element("targets", 0, -1));
    refused(
        LOSS,
        &["metadata counted", "[7.0]", "[16.0]"],
        with("counted", "7"),
    );
    refused(
        LOSS,
        &["metadata counted", "a number"],
        with("counted", "all"),
    );
    refused(
        LOSS,
        &["metadata loss_of", "the sum"],
        with("loss_of", "the sum"),
    );
    refused(LOSS, &["metadata dropout", "0.1"], with("dropout", "0.1"));
    refused(
        LOSS,
        &["metadata gradients", "some", "none"],
        with("gradients", "some"),
    );
    refused(LOSS, &["tensor \"targets\"", "[2, 9]"], |parts| {
        let (_, shape, _) = parts.tensors.get_mut("targets").expect("there");
        *shape = vec![9, 2];
    });
    refused(LOSS, &["in parts"], |parts| {
        parts.metadata.insert("sequence".into(), "schedule".into());
        parts
            .metadata
            .insert("schedule".into(), "prompt=4,steps=5".into());
    });
}

#[test]
fn batches() {
    let missing = |name: &'static str| move |parts: &mut Parts| drop(parts.tensors.remove(name));
    refused(
        STEPS,
        &["\"batch2.targets\"", "missing"],
        missing("batch2.targets"),
    );
    refused(
        STEPS,
        &["\"batch1.input_ids\"", "missing"],
        missing("batch1.input_ids"),
    );
    let gap = missing("batch2.input_ids");
    refused(
        STEPS,
        &["\"batch2.targets\"", "none of the batches 1 to 1"],
        gap,
    );
    let stray = renamed("batch3.targets", "batch3.labels");
    refused(STEPS, &["\"batch3.targets\"", "missing"], stray);
    let both = renamed("step1.lr", "input_ids");
    refused(STEPS, &["tensor \"input_ids\"", "batches"], both);
    refused(STEPS, &["metadata steps", "\"4\"", "3"], with("steps", "4"));
    refused(STEPS, &["metadata counted"], with("counted", "[45, 45]"));
    let out = with_element("batch2.input_ids", 3, 10);
    refused(STEPS, &["\"batch2.input_ids\"", "element 3 is 10"], out);
    refused(STEPS, &["batch 1", "metadata L"], with("L", "16"));
    refused(
        STEPS,
        &["metadata dropout"],
        with("dropout", "0.1 on the embedding"),
    );
    refused(STEPS, &["sequence"], with("sequence", "packed"));
}

#[test]
fn optimizers() {
    refused(
        STEPS,
        &["metadata optimizer", "SGD"],
        with("optimizer", "SGD"),
    );
    refused(
        STEPS,
        &["metadata lr", "0.005", "0.004"],
        with("lr", "0.005"),
    );
    refused(
        STEPS,
        &["metadata betas", "0.8"],
        with("betas", "[0.8, 0.999]"),
    );
    refused(
        STEPS,
        &["metadata betas", "two numbers"],
        with("betas", "[0.9]"),
    );
    refused(STEPS, &["metadata ssm_lr"], with("ssm_lr", "0.004"));
    refused(
        STEPS,
        &["metadata clip_global_norm", "often"],
        with("clip_global_norm", "often"),
    );
    refused(
        STEPS,
        &["metadata clip_global_norm", "-1"],
        with("clip_global_norm", "-1"),
    );
    let back = |parts: &mut Parts| {
        with("warmup_steps", "none")(parts);
        with("total_steps", "none")(parts);
        with("lr_factors", "[0.0, -0.5, 1.0]")(parts);
    };
    refused(STEPS, &["metadata lr_factors", "-0.5", "from 0"], back);
    let long = |parts: &mut Parts| {
        parts.metadata.remove("lr_factors");
        with("warmup_steps", "11")(parts);
    };
    refused(STEPS, &["metadata warmup_steps", "11 steps, but 10"], long);
    refused(
        STEPS,
        &["metadata lr_factors", "2"],
        with("lr_factors", "[0.0, 0.5]"),
    );
    let shifted = with("lr_factors", "[0.5, 1.0, 0.875]");
    refused(STEPS, &["metadata lr_factors", "0.5 at step 1"], shifted);
    refused(
        STEPS,
        &["metadata lr_factors", "a number"],
        with("lr_factors", "[0, half, 1]"),
    );
    refused(
        STEPS,
        &["metadata warmup_steps", "two"],
        with("warmup_steps", "two"),
    );
    refused(
        STEPS,
        &["metadata total_steps", "missing"],
        without("total_steps"),
    );
    refused(
        STEPS,
        &["metadata lr_factors", "missing", "linear"],
        |parts| {
            for key in ["lr_factors", "warmup_steps", "total_steps"] {
                parts.metadata.remove(key);
            }
        },
    );
    for (from, to, fragment) in [
        (
            "\"eps\": 1e-08",
            "\"epsilon\": 1e-08",
            "unknown key \"epsilon\"",
        ),
        ("\"eps\": 1e-08, ", "", "without \"eps\""),
        (
            "\"lr\": 0.004",
            "\"lr\": 0.004, \"lr\": 0.004",
            "\"lr\" appears twice",
        ),
        ("\"lr\": 0.004", "\"lr\": 04", "expected a number"),
        ("\"lr\": 0.004", "\"lr\": 1e999", "beyond the range"),
        (
            "\"betas\": [0.9, 0.999]",
            "\"betas\": 0.9",
            "expected an array",
        ),
        ("\"betas\": [0.9, 0.999]", "\"betas\": [0.9]", "two numbers"),
        ("mixer.D\"", "mixer.E\"", "is no parameter of this model"),
        (
            "\"backbone.ln_f.bias\"",
            "\"backbone.ln_f.weight\"",
            "ln_f.weight: is in 2 groups",
        ),
        (", \"backbone.ln_f.bias\"", "", "ln_f.bias: is in 0 groups"),
        ("}]", "}], 1", "nothing but whitespace"),
    ] {
        refused(STEPS, &["metadata groups", fragment], groups(from, to));
    }
    let reach = |parts: &mut Parts| {
        groups("[0.9, 0.999]", "[0.9, 1.0]")(parts);
        parts.metadata.remove("betas");
    };
    refused(STEPS, &["metadata groups", "beta 1", "below 1"], reach);
    refused(STEPS, &["metadata lr ", "missing"], |parts| {
        parts.metadata.remove("groups");
        parts.metadata.remove("lr");
    });
}

/// Without the groups, the factors and the constants of AdamW the file means the same: the official
/// groups, the linear schedule, the constants of H3's experiments.
#[test]
fn what_is_left_out_is_official() {
    let all = steps(&data(STEPS));
    let path = changed(STEPS, &|parts| {
        for key in [
            "groups",
            "lr_factors",
            "betas",
            "eps",
            "weight_decay",
            "ssm_lr",
            "optimizer",
            "steps",
        ] {
            parts.metadata.remove(key).expect(key);
        }
    });
    let some = steps(&path);
    assert!(all == some);
    // And it is no other: nothing clipped, a constant rate.
    for (key, what) in [("clip_global_norm", "exp_avg."), ("warmup_steps", "lr")] {
        let path = changed(STEPS, &|parts| {
            parts.metadata.insert(key.into(), "none".into());
            if key == "warmup_steps" {
                for key in ["total_steps", "lr_factors", "schedule"] {
                    parts.metadata.remove(key);
                }
            }
        });
        let other = steps(&path);
        let mut pairs = all.iter().zip(&other);
        let (first, _) = pairs.find(|(one, other)| one != other).expect(key);
        assert!(first.0.contains(what), "{key}: {}", first.0);
    }
}

/// What is written of a case is that case.
#[test]
fn a_case_is_written_as_it_was_read() {
    for name in [LOSS, STEPS, "lm-train-v1-hybrid"] {
        let case = Case::open(&data(name)).expect("a case");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("written-{name}"));
        case.writer()
            .expect("a case")
            .write(&path)
            .expect("written");
        assert!(steps(&path) == steps(&data(name)), "{name}");
        let again = Case::open(&path).expect("a case");
        assert_eq!(again.kind(), case.kind());
        let bytes = |case: &Case| case.writer().expect("a case").to_bytes().expect("small");
        assert!(bytes(&again) == bytes(&case), "{name}");
    }
}
