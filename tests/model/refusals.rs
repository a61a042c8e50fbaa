//! What a model's file says that this crate does not compute, or that contradicts it, is refused in one
//! line that names it; what says the same in other words is read.

use crate::support::data;
use hungry_hippos::oracle::{ModelCase, ModelGolden};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file of a model, to be changed.
struct Parts {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

fn parts(path: &Path) -> Parts {
    let file = SafeTensors::open(path).expect("a file");
    let tensors = file.tensors().map(|t| {
        let stored = (t.dtype, t.shape.to_vec(), t.bytes.to_vec());
        (t.name.to_string(), stored)
    });
    Parts {
        metadata: file.metadata().clone(),
        tensors: tensors.collect(),
    }
}

fn written(name: &str, parts: &Parts) -> PathBuf {
    let mut writer = Writer::new();
    for (key, value) in &parts.metadata {
        writer.metadata(key, value).expect("no key twice");
    }
    for (name, (dtype, shape, bytes)) in &parts.tensors {
        writer.add_bytes(name, *dtype, shape, bytes).expect("fits");
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("model-refusals-{name}"));
    writer.write(&path).expect("written");
    path
}

/// What opening the changed model says, or nothing.
fn said(of: &str, change: impl Fn(&mut Parts)) -> Option<String> {
    let mut parts = parts(&data(of));
    change(&mut parts);
    // Tests run at the same time.
    let thread = std::thread::current();
    let test = thread.name().unwrap_or(of).replace(':', "-");
    let path = written(&test, &parts);
    let opened = ModelCase::open(&path).and_then(|case| case.parameters().map(|_| ()));
    opened.err().map(|error| error.to_string())
}

fn with(key: &'static str, value: &'static str) -> impl Fn(&mut Parts) {
    move |parts| {
        parts.metadata.insert(key.into(), value.into());
    }
}

fn without(key: &'static str) -> impl Fn(&mut Parts) {
    move |parts| {
        parts.metadata.remove(key);
    }
}

fn refused(of: &str, fragment: &str, change: impl Fn(&mut Parts)) {
    let said = said(of, change).unwrap_or_else(|| panic!("{fragment}: not refused"));
    assert!(said.contains(fragment), "{fragment:?} not in {said}");
    assert_eq!(said.lines().count(), 1, "one line: {said}");
}

fn read(of: &str, change: impl Fn(&mut Parts)) {
    assert_eq!(said(of, change), None);
}

#[test]
fn metadata_that_ask_for_something_else() {
    for (key, value, of_what) in [
        ("rotary_emb_dim", "8", "rotary positions"),
        ("dwconv", "true", "a convolution in attention"),
        ("softmax_scale", "0.5", "another scale"),
        ("word_embed_proj_dim", "4", "a projected embedding"),
        ("mode", "nplr", "expected \"diag\""),
        ("mlp_activation", "relu", "expected \"tanh\""),
        (
            "attn_layer_idx",
            "[0]",
            "but the blocks with a mixer.Wqkv are [1]",
        ),
        ("attn_layer_idx", "one", "attn_layer_idx"),
        ("d_model", "8", "d_model"),
        ("n_layer", "2", "n_layer"),
        ("d_inner", "32", "d_inner"),
        ("padded_vocab", "31", "padded_vocab"),
        ("vocab_size", "33", "the embedding has 32 rows"),
        ("head_dim", "2", "head_dim"),
        ("d_state", "6", "d_state"),
        ("n_ssm", "3", "n_ssm"),
        ("num_heads", "3", "num_heads"),
        ("num_heads", "two", "num_heads"),
        ("layer_norm_epsilon", "-1", "layer_norm_epsilon"),
        ("disc", "euler", "disc"),
        ("real_type", "softmax", "real_type"),
        ("l_max", "few", "l_max"),
        ("head_order", "dh", "head_order"),
        ("qkv_bias", "false", "says that there is none"),
    ] {
        refused("lm-tiny", of_what, with(key, value));
    }
    for key in [
        "num_heads",
        "layer_norm_epsilon",
        "disc",
        "real_type",
        "l_max",
    ] {
        refused("lm-tiny", key, without(key));
    }
}

/// The same model in other words.
#[test]
fn metadata_that_say_the_same() {
    for (key, value) in [
        ("rotary_emb_dim", "0"),
        ("dwconv", "False"),
        ("softmax_scale", "none"),
        ("word_embed_proj_dim", "None"),
        ("attn_layer_idx", "1"),
        ("attn_layer_idx", "{1}"),
        ("attn_layer_idx", "(1, )"),
        ("vocab_size", "31"),
        ("n_ssm", "none"),
        ("n_ssm", "16"),
        ("l_max", "None"),
        ("head_order", "d2h"),
    ] {
        read("lm-tiny", with(key, value));
    }
    read("lm-tiny", |parts| {
        let heads = parts.metadata.remove("num_heads").expect("there");
        parts.metadata.insert("nheads".into(), heads);
    });
    for key in ["attn_layer_idx", "d_model", "n_layer", "vocab_size", "mode"] {
        read("lm-tiny", without(key));
    }
}

#[test]
fn tensors_that_are_not_the_models() {
    let some = |shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        (Dtype::F32, shape.to_vec(), vec![0u8; 4 * count])
    };
    for (name, fragment) in [
        (
            "backbone.layers.0.mixer.rotary_emb.inv_freq",
            "rotary positions",
        ),
        ("backbone.layers.1.mixer.dwconv_qkv.weight", "a convolution"),
        (
            "backbone.embeddings.project_in.weight",
            "a projected embedding",
        ),
        (
            "backbone.layers.0.mixer.extra",
            "is no parameter of this model",
        ),
    ] {
        let change = |parts: &mut Parts| {
            parts.tensors.insert(name.into(), some(&[4]));
        };
        refused("lm-tiny", fragment, change);
        refused("lm-tiny", name, change);
    }
    let bias = "backbone.ln_f.bias";
    refused("lm-tiny", bias, |parts| {
        parts.tensors.remove(bias);
    });
    refused("lm-tiny", "[16]", |parts| {
        parts.tensors.insert(bias.into(), some(&[15]));
    });
    refused(
        "lm-tiny",
        "holds I32; expected F64, F32, F16 or BF16",
        |parts| {
            parts
                .tensors
                .insert(bias.into(), (Dtype::I32, vec![16], vec![0; 64]));
        },
    );
    refused("lm-tiny", "Wqkv.bias", |parts| {
        parts.tensors.remove("backbone.layers.1.mixer.Wqkv.bias");
    });
    refused("lm-tiny", "2 axes", |parts| {
        let embedding = "backbone.embeddings.word_embeddings.weight";
        parts.tensors.insert(embedding.into(), some(&[512]));
    });
}

/// The head is the embedding: stored twice it must be the same twice.
#[test]
fn heads_are_tied() {
    let tied = |parts: &mut Parts| {
        let embedding = parts.tensors["backbone.embeddings.word_embeddings.weight"].clone();
        parts.tensors.insert("lm_head.weight".into(), embedding);
    };
    read("lm-tiny", tied);
    refused("lm-tiny", "is tied to the embedding", |parts| {
        tied(parts);
        let (_, _, bytes) = parts.tensors.get_mut("lm_head.weight").expect("there");
        bytes[9] ^= 1;
    });
}

/// The last row of the embedding is a token, the one behind it is none.
#[test]
fn tokens_outside_the_vocabulary() {
    for (id, inside) in [(31i64, true), (32, false), (-1, false)] {
        let mut parts = parts(&data("lm-tiny"));
        let (_, _, bytes) = parts.tensors.get_mut("input_ids").expect("tokens");
        bytes[3 * 8..4 * 8].copy_from_slice(&id.to_le_bytes());
        let case = ModelCase::open(&written("tokens", &parts)).expect("a model");
        match (case.ids(), inside) {
            (Ok(ids), true) => assert_eq!(ids.data()[3], 31),
            (Err(error), false) => {
                let said = error.to_string();
                let expected = format!("element 3 is {id}, outside the vocabulary of 32");
                assert!(said.contains(&expected), "{said}");
            }
            (other, _) => panic!("{id}: {other:?}"),
        }
    }
}

/// A golden file of another version says which this program reads.
#[test]
fn golden_models_of_another_version() {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1/40-model-h3.safetensors");
    let mut parts = parts(&path);
    parts
        .metadata
        .insert("golden".into(), "h3-golden-v9".into());
    let error = ModelGolden::open(&written("version", &parts)).expect_err("another version");
    let said = error.to_string();
    assert!(
        said.contains("h3-golden-v9") && said.contains("expected"),
        "{said}"
    );
}
