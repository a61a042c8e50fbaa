//! What `hippos lm` does with texts longer than `l_max`, and with one length only.

use crate::common::data;
use hungry_hippos::oracle::ModelFile;
use hungry_hippos::safetensors::{SafeTensors, Writer};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn lm(words: &[&str], paths: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hippos"));
    let ran = command.arg("lm").args(words).args(paths).output();
    ran.expect("hippos runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

fn in_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("model-commands-{name}"))
}

/// The official case with `l_max` below its length.
fn cut() -> PathBuf {
    let file = SafeTensors::open(&data("lm-tiny")).expect("a file");
    let mut writer = Writer::new();
    for (key, value) in file.metadata() {
        let value = if key == "l_max" { "9" } else { value };
        writer.metadata(key, value).expect("once");
    }
    for tensor in file.tensors() {
        if tensor.name == "input_ids" || tensor.name.starts_with("backbone.") {
            let added = writer.add_bytes(tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
            added.expect("fits");
        }
    }
    let path = in_folder("cut");
    writer.write(&path).expect("written");
    path
}

#[test]
fn texts_beyond_l_max() {
    let case = cut();
    let logits = |form: &str| {
        let out = in_folder(form);
        let ran = lm(
            &["logits", "--form", form],
            &[&case, Path::new("--out"), &out],
        );
        assert!(ran.status.success(), "{form}: {}", text(&ran.stderr));
        let file = SafeTensors::open(&out).expect("written");
        let logits = file.tensor("logits").expect("there");
        logits.to_f64().expect("floats")
    };
    let (whole, fast) = (logits("sequence"), logits("fast"));
    // The bounds proper are those of the fast path's own tests.
    let largest = crate::common::largest(&whole);
    crate::common::assert_close("fast", &fast, &whole, 1e4 * f64::EPSILON * largest);
    // Of what the model would say without the cut it is far.
    let uncut = ModelFile::open(&data("lm-tiny")).expect("a case");
    let uncut = uncut
        .saved("logits", &[2, 24, 32])
        .expect("read")
        .expect("there");
    assert!(crate::common::close("uncut", &fast, uncut.data(), 1e-3 * largest).is_err());

    let perplexity = |form: &str| {
        let ran = lm(&["perplexity", "--form", form], &[&case]);
        (ran.status.code(), text(&ran.stdout), text(&ran.stderr))
    };
    let number = |form: &str| -> f64 {
        let (_, out, err) = perplexity(form);
        let last = out
            .split_whitespace()
            .last()
            .unwrap_or_else(|| panic!("{err}"));
        last.parse().expect("a number")
    };
    let (whole, fast) = (number("sequence"), number("fast"));
    assert!((whole - fast).abs() <= 1e-9 * whole, "{whole} and {fast}");

    // With steps there is no state to pass.
    let out = in_folder("refused");
    let steps = [
        lm(
            &["logits", "--form", "step"],
            &[&case, Path::new("--out"), &out],
        ),
        lm(
            &["logits", "--form", "prompt"],
            &[&case, Path::new("--out"), &out],
        ),
        lm(&["perplexity", "--form", "step"], &[&case]),
    ];
    for ran in steps {
        let said = text(&ran.stderr);
        assert!(!ran.status.success() && ran.stdout.is_empty(), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        for part in ["l_max = 9", "24 tokens", "--form sequence or fast"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    assert!(!out.exists());
}

/// No slope through one length: it is counted, and the time left out of the sentence.
#[test]
fn what_one_length_can_tell() {
    let flags = ["cost", "--preset", "tiny", "--rounds", "3", "--from", "4"];
    for (to, lengths) in [("4", 1), ("7", 1), ("8", 2)] {
        let ran = lm(&[&flags[..], &["--to", to]].concat(), &[]);
        let out = text(&ran.stdout);
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        assert!(!out.contains("inf") && !out.contains("NaN"), "{out}");
        let counted = out.matches("multiplications more").count();
        assert_eq!(
            (counted, out.matches(" +- ").count()),
            (3, if lengths > 1 { 3 } else { 0 })
        );
        let told = out.matches("two lengths (--to 8)").count();
        assert_eq!(told, if lengths > 1 { 0 } else { 3 }, "{out}");
        assert_eq!(out.lines().count(), 1 + lengths + 3, "{out}");
    }
}
