//! What a model's file says that this crate does not compute, or that contradicts it, is refused in one
//! line that names it; what says the same in other words is read.

use crate::common::{data, golden_file};
use hungry_hippos::Error;
use hungry_hippos::oracle::{Case, Golden, ModelFile};
use hungry_hippos::safetensors::{Dtype, SafeTensors, TensorFile, Writer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file of a model, to be changed.
pub(super) struct Parts {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

pub(super) fn parts(path: &Path) -> Parts {
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

pub(super) fn written(name: &str, parts: &Parts) -> PathBuf {
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
    let opened = ModelFile::open(&path).and_then(|case| case.parameters().map(|_| ()));
    opened.err().map(|error| error.to_string())
}

pub(super) fn with(key: &'static str, value: &'static str) -> impl Fn(&mut Parts) {
    move |parts| {
        parts.metadata.insert(key.into(), value.into());
    }
}

pub(super) fn without(key: &'static str) -> impl Fn(&mut Parts) {
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
        let case = ModelFile::open(&written("tokens", &parts)).expect("a model");
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
    let mut parts = parts(&golden_file("40-model-h3"));
    parts
        .metadata
        .insert("golden".into(), "h3-golden-v9".into());
    let error = Golden::open(&written("version", &parts)).expect_err("another version");
    let said = error.to_string();
    assert!(
        said.contains("h3-golden-v9") && said.contains("expected"),
        "{said}"
    );
}

/// What `read` makes of the changed file of a model.
fn of_case<T>(
    name: &str,
    change: impl Fn(&mut Parts),
    read: impl Fn(&ModelFile) -> Result<T, Error>,
) -> Result<T, String> {
    let mut parts = parts(&data("lm-tiny"));
    change(&mut parts);
    let case = ModelFile::open(&written(name, &parts)).expect("a model");
    read(&case).map_err(|error| error.to_string())
}

/// Tokens are sequences of one length, at least one of one token; one axis is one sequence.
#[test]
fn tokens_of_other_shapes() {
    let ids = |shape: &'static [usize], key: &'static str, value: &'static str| {
        let change = move |parts: &mut Parts| {
            let count = shape.iter().product::<usize>();
            let bytes = [3u8, 0, 0, 0, 0, 0, 0, 0].repeat(count);
            let ids = (Dtype::I64, shape.to_vec(), bytes);
            parts.tensors.insert("input_ids".into(), ids);
            parts.metadata.remove("B");
            parts.metadata.remove("L");
            if !key.is_empty() {
                parts.metadata.insert(key.into(), value.into());
            }
        };
        of_case("shapes", change, ModelFile::ids)
    };
    for (shape, expected) in [(&[5][..], [1, 5]), (&[2, 3], [2, 3]), (&[1, 1], [1, 1])] {
        let ids = ids(shape, "", "").expect("tokens");
        assert_eq!((ids.shape(), ids.data()[0]), (&expected[..], 3));
    }
    for (shape, key, value, fragment) in [
        (&[0][..], "", "", "holds nothing"),
        (&[2, 0], "", "", "holds nothing"),
        (&[0, 2], "", "", "holds nothing"),
        (&[1, 2, 3], "", "", "(batch, seq_len)"),
        (&[2, 3], "B", "3", "metadata B"),
        (&[2, 3], "L", "2", "metadata L"),
    ] {
        let said = ids(shape, key, value).expect_err(fragment);
        assert!(said.contains(fragment), "{fragment}: {said}");
    }
    assert!(ids(&[2, 3], "B", "2").is_ok() && ids(&[2, 3], "L", "3").is_ok());
}

#[test]
fn prompts_and_vocabularies() {
    let prompt = |value: Option<&'static str>, len: usize| {
        let change = move |parts: &mut Parts| {
            parts.metadata.remove("prompt_len");
            if let Some(value) = value {
                parts.metadata.insert("prompt_len".into(), value.into());
            }
        };
        of_case("prompt", change, |case| case.prompt_len(len))
    };
    assert_eq!(prompt(None, 7), Ok(7));
    assert_eq!(prompt(Some("1"), 7), Ok(1));
    assert_eq!(prompt(Some("7"), 7), Ok(7));
    for refused in ["0", "8", "-1", "few"] {
        let said = prompt(Some(refused), 7).expect_err(refused);
        assert!(said.contains("prompt_len"), "{said}");
    }
    let vocabulary =
        |change: fn(&mut Parts)| of_case("vocabulary", change, ModelFile::unpadded_vocabulary);
    let none = vocabulary(|parts| {
        parts.metadata.remove("vocab_size");
    });
    assert_eq!(none, Ok(None));
    let all = vocabulary(|parts| {
        parts.metadata.insert("vocab_size".into(), "32".into());
    });
    assert_eq!(all, Ok(Some(32)));
}

/// A parameter with a number that is not finite, a saved stage of another shape.
#[test]
fn values_that_are_none() {
    let bias = "backbone.ln_f.bias";
    refused("lm-tiny", bias, |parts| {
        let (dtype, _, bytes) = parts.tensors.get_mut(bias).expect("there");
        assert_eq!(*dtype, Dtype::F64);
        bytes[8..16].copy_from_slice(&f64::NAN.to_le_bytes());
    });
    let saved = |name: &'static str, shape: &'static [usize]| {
        of_case("saved", |_| {}, move |case| case.saved(name, shape))
    };
    assert!(
        saved("logits", &[2, 24, 32])
            .expect("of this shape")
            .is_some()
    );
    assert_eq!(saved("no such stage", &[2, 24, 32]), Ok(None));
    let said = saved("logits", &[2, 32, 24]).expect_err("another shape");
    assert!(
        said.contains("[2, 32, 24]") && said.contains("[2, 24, 32]"),
        "{said}"
    );
    let file = |name: &str| TensorFile::open(&data(name)).expect("a file");
    for (name, kind) in [
        ("lm-tiny", "model"),
        ("lm-older-f32", "model"),
        ("layer-v1-hd1-L7", "layer"),
    ] {
        assert_eq!(
            Case::read(&file(name)).expect("a case").kind(),
            kind,
            "{name}"
        );
    }
}

/// What reading the changed golden model says, or which stages it holds.
fn golden(name: &str, change: impl Fn(&mut Parts)) -> Result<Vec<String>, String> {
    let mut parts = parts(&golden_file("40-model-h3"));
    change(&mut parts);
    let golden = Golden::open(&written(name, &parts)).map_err(|error| error.to_string())?;
    let names = golden.stages().iter().map(|stage| stage.name().to_string());
    Ok(names.collect())
}

/// A golden file may hold some of the stages, each with a scale from 0, and no others.
#[test]
fn golden_stages_that_are_not_the_models() {
    let remove = |name: &'static str| {
        move |parts: &mut Parts| {
            parts.tensors.remove(name).expect("there");
        }
    };
    let with_scale = |value: f32| {
        move |parts: &mut Parts| {
            let (dtype, _, bytes) = parts.tensors.get_mut("scale.logits").expect("there");
            assert_eq!(*dtype, Dtype::F32);
            bytes[8..12].copy_from_slice(&value.to_le_bytes());
        }
    };
    let all = golden("all", |_| {}).expect("as it stands");
    let in_order = [
        "block0.residual",
        "block0.hidden",
        "block1.residual",
        "block1.hidden",
        "logits",
    ];
    assert_eq!(all, in_order);
    let some = golden("some", |parts| {
        remove("scale.block0.hidden")(parts);
        remove("block0.hidden")(parts);
    });
    assert_eq!(some.expect("the others").len(), 4);
    assert_eq!(golden("zero", with_scale(0.0)), Ok(all));
    for (name, change, fragment) in [
        (
            "negative",
            Box::new(with_scale(-1e-30)) as Box<dyn Fn(&mut Parts)>,
            "element 2 is negative",
        ),
        ("lost", Box::new(remove("block1.hidden")), "block1.hidden"),
        (
            "unknown",
            Box::new(|parts: &mut Parts| {
                let scale = parts.tensors["scale.block1.hidden"].clone();
                parts.tensors.insert("scale.block2.hidden".into(), scale);
            }),
            "\"scale.block2.hidden\": is of no stage known here",
        ),
        (
            "none",
            Box::new(|parts: &mut Parts| {
                parts.tensors.retain(|name, _| !name.starts_with("scale."));
            }),
            "scale.STAGE tensor",
        ),
    ] {
        let said = golden(name, change).expect_err(name);
        assert!(said.contains(fragment), "{fragment:?} not in {said}");
    }
}

/// What is left of a golden file without its stages is a plain case, and certified is that file again: the
/// stages, their scales and the unpadded vocabulary.
#[test]
fn a_plain_case_is_certified_into_the_golden_file() {
    let path = golden_file("41-model-attention");
    let mut parts = parts(&path);
    assert!(parts.metadata.remove("golden").is_some());
    assert!(parts.metadata.contains_key("vocab_size"));
    parts.tensors.retain(|name, _| {
        let stage = name.starts_with("block") || name == "logits";
        let scale = ["scale.", "probable.", "projections."];
        !stage && !scale.iter().any(|part| name.starts_with(part))
    });
    let golden = Golden::open(&written("plain", &parts)).expect("certified");
    let bytes = golden.writer().and_then(|writer| writer.to_bytes());
    assert!(bytes.expect("a file") == std::fs::read(&path).expect("committed"));
}
