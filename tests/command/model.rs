//! What `hippos lm` does with texts longer than `l_max`, with one length only, and with documents in rows.

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

/// The official model with other rows of tokens.
fn with_rows(
    name: &str,
    strings: &[(&str, &str)],
    counts: &[(&str, &[i64])],
    ids: &[&[i64]],
) -> PathBuf {
    let file = SafeTensors::open(&data("lm-tiny")).expect("a file");
    let mut writer = Writer::new();
    let sizes = ["B", "L", "prompt_len"];
    let kept = file
        .metadata()
        .iter()
        .filter(|(key, _)| !sizes.contains(&key.as_str()));
    for (key, value) in kept {
        writer.metadata(key, value).expect("once");
    }
    for (key, value) in strings {
        writer.metadata(key, value).expect("once");
    }
    for tensor in file.tensors() {
        if tensor.name.starts_with("backbone.") {
            let added = writer.add_bytes(tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
            added.expect("fits");
        }
    }
    let shape = [ids.len(), ids[0].len()];
    writer
        .add_i64("input_ids", &shape, &ids.concat())
        .expect("fits");
    for (name, counts) in counts {
        writer.add_i64(name, &[counts.len()], counts).expect("fits");
    }
    let path = in_folder(name);
    writer.write(&path).expect("written");
    path
}

const TEXTS: [&[i64]; 3] = [&[3, 1, 4], &[1, 5, 9, 2, 6, 5, 3], &[8, 9, 7, 9, 3]];

/// Every text alone, all packed in a row, and in rows beside padding, which is no token of the vocabulary.
fn served() -> Vec<(PathBuf, Vec<(usize, usize)>)> {
    let row = TEXTS.concat();
    let cu_seqlens: &[i64] = &[0, 3, 10, 15];
    let packed = with_rows(
        "packed",
        &[("sequence", "packed")],
        &[("cu_seqlens", cu_seqlens)],
        &[&row],
    );
    let mut all = vec![(packed, vec![(0, 0), (0, 3), (0, 10)])];
    for side in ["left", "right"] {
        let rows = TEXTS.map(|text| {
            let padding = vec![-100; 7 - text.len()];
            match side {
                "left" => [&padding, text].concat(),
                _ => [text, &padding].concat(),
            }
        });
        let padded = with_rows(
            side,
            &[("sequence", "padded"), ("padding", side)],
            &[("lengths", &[3, 7, 5])],
            &[&rows[0], &rows[1], &rows[2]],
        );
        let first = |len: usize| if side == "left" { 7 - len } else { 0 };
        all.push((padded, vec![(0, first(3)), (1, 0), (2, first(5))]));
    }
    all
}

/// What a command prints of a file.
fn said(words: &[&str], path: &Path) -> String {
    let ran = lm(words, &[path]);
    assert!(ran.status.success(), "{words:?}: {}", text(&ran.stderr));
    text(&ran.stdout)
}

#[test]
fn documents_are_taken_as_if_each_stood_alone() {
    let alone: Vec<PathBuf> = (0..3)
        .map(|i| with_rows(&format!("alone-{i}"), &[], &[], &[TEXTS[i]]))
        .collect();
    let logits = |path: &Path, form: &str| {
        let out = in_folder("served-logits");
        let out_flag = out.to_str().expect("UTF-8");
        said(&["logits", "--form", form, "--out", out_flag], path);
        let file = SafeTensors::open(&out).expect("written");
        let logits = file.tensor("logits").expect("there");
        (logits.shape.to_vec(), logits.to_f64().expect("floats"))
    };
    let generate = ["generate", "--tokens", "4", "--precision", "f64"];
    let continued: Vec<String> = alone.iter().map(|path| said(&generate, path)).collect();
    // Of all texts together, from those of each.
    let foretold = |path: &Path, form: &str| -> (f64, f64) {
        let out = said(&["perplexity", "--form", form], path);
        let number = |at: usize| {
            let line = out.lines().nth(at).expect("a line");
            let word = line.split_whitespace().find_map(|word| word.parse().ok());
            word.unwrap_or_else(|| panic!("{line}"))
        };
        (number(0), number(1))
    };
    let of_each: Vec<(f64, f64)> = alone.iter().map(|path| foretold(path, "fast")).collect();
    let tokens: f64 = of_each.iter().map(|(tokens, _)| tokens).sum();
    let mean = of_each.iter().map(|(n, mean)| n * mean).sum::<f64>() / tokens;
    assert_eq!(tokens, 12.0);

    for (path, places) in served() {
        for form in ["sequence", "fast"] {
            let (shape, got) = logits(&path, form);
            for (alone, &(b, first)) in alone.iter().zip(&places) {
                let (_, expected) = logits(alone, "sequence");
                let at = (b * shape[1] + first) * shape[2];
                let bound = 1e-9 * crate::common::largest(&expected);
                let got = &got[at..at + expected.len()];
                crate::common::assert_close(form, got, &expected, bound);
            }
            let (n, found) = foretold(&path, form);
            assert!(
                n == tokens && (found - mean).abs() < 1e-9,
                "{found} but {mean}"
            );
        }
        for form in ["fast", "step"] {
            let out = in_folder("served-ids");
            let flags = ["--form", form, "--out", out.to_str().expect("UTF-8")];
            let got = said(&[&generate[..], &flags].concat(), &path);
            assert_eq!(got, continued.concat(), "{form}");
            let file = SafeTensors::open(&out).expect("written");
            let ids = file.tensor("generated_ids").expect("there");
            assert_eq!(ids.shape, [3, 11]);
            let lengths = file.tensor("lengths").expect("there").to_i64();
            assert_eq!(lengths.expect("counts"), [7, 11, 9]);
        }
        // One token at a time only where every row is one sequence.
        let out = in_folder("refused");
        for words in [
            &["logits", "--form", "step"][..],
            &["perplexity", "--form", "step"],
        ] {
            let out: &[&Path] = match words[0] {
                "logits" => &[&path, Path::new("--out"), &out],
                _ => &[&path],
            };
            let ran = lm(words, out);
            let err = text(&ran.stderr);
            assert!(
                !ran.status.success() && err.contains("--form step goes with whole"),
                "{err}"
            );
        }
    }
}

/// A schedule changes nothing; what a model does not have is refused by name.
#[test]
fn schedules_and_what_is_refused() {
    let ids: [&[i64]; 1] = [TEXTS[1]];
    let strings: &[(&str, &str)] = &[
        ("sequence", "schedule"),
        ("schedule", "prompt=3,steps=2,chunk=2"),
    ];
    let whole = with_rows("whole", &[], &[], &ids);
    let parts = with_rows("schedule", strings, &[], &ids);
    let of = |path: &Path| said(&["perplexity", "--form", "sequence"], path);
    let number = |out: String| -> f64 {
        let last = out.split_whitespace().last().expect("a number").parse();
        last.expect("a number")
    };
    assert!((number(of(&whole)) - number(of(&parts))).abs() < 1e-9);
    let refused =
        |name: &str, strings: &[(&str, &str)], counts: &[(&str, &[i64])], fragment: &str| {
            let path = with_rows(name, strings, counts, &ids);
            let ran = lm(&["perplexity"], &[&path]);
            let err = text(&ran.stderr);
            assert!(
                !ran.status.success() && err.contains(fragment),
                "{fragment}: {err}"
            );
            assert!(err.contains(path.to_str().expect("UTF-8")), "{err}");
        };
    let marks = [strings, &[("marks", "3")]].concat();
    refused("marks", &marks, &[], "metadata marks");
    refused(
        "cotangent",
        &[("sequence", "cotangent")],
        &[],
        "sequence = \"cotangent\"",
    );
    refused(
        "given",
        &[("initial_state", "given")],
        &[],
        "initial_state = \"given\"",
    );
    refused(
        "state",
        &[],
        &[("initial_state_k", &[1])],
        "initial_state_k",
    );
    refused("short", &[], &[("cu_seqlens", &[0, 6])], "cu_seqlens");
    refused(
        "lengths",
        &[("padding", "left")],
        &[("lengths", &[8])],
        "lengths",
    );
    refused("side", &[], &[("lengths", &[3])], "padding");
    let other = [("sequence", "schedule"), ("schedule", "prompt=3,steps=2")];
    refused("unfinished", &other, &[], "schedule");
}

fn run(words: &[&str], case: &Path, out: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hippos"));
    let command = command.arg("run").arg(case).arg("--out").arg(out);
    command.args(words).output().expect("hippos runs")
}

/// The gradients of a model with targets and the training steps of one with batches are written next to
/// what they are computed from; the printed deviations are from the official ones.
#[test]
fn gradients_and_training_steps() {
    for (name, flag, written) in [
        (
            "lm-grad-v3-attention-ignore",
            &["--grad"][..],
            "tied.grad.lookup",
        ),
        (
            "lm-train-v2-clip-warmup",
            &[],
            "step3.exp_avg_sq.backbone.ln_f.bias",
        ),
    ] {
        let out = in_folder(name);
        let ran = run(flag, &data(name), &out);
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        let said = text(&ran.stdout);
        let row = said.lines().find(|line| line.contains(written));
        let deviation = row.and_then(|row| row.split_whitespace().last());
        let deviation: f64 = deviation.expect(written).parse().expect("a number");
        assert!(deviation < 1e-12, "{deviation}");
        let file = SafeTensors::open(&out).expect("written");
        assert!(file.get(written).is_some());
        // What was written is a case that is run again, to the same bits.
        let again = in_folder(&format!("{name}-again"));
        let ran = run(flag, &out, &again);
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        let again = SafeTensors::open(&again).expect("written");
        let of = |file: &SafeTensors| file.tensor(written).expect("there").bytes.to_vec();
        assert_eq!(of(&file), of(&again));
    }
}

/// A model's gradients need targets, and the fast path has none: said of the file.
#[test]
fn gradients_that_cannot_be_had() {
    for (name, words, fragment) in [
        ("lm-tiny", &["--grad"][..], "tensor \"targets\""),
        (
            "lm-train-v2-clip-warmup",
            &["--form", "fast"],
            "runs layers",
        ),
    ] {
        let out = in_folder(&format!("no-gradients-{name}"));
        let ran = run(words, &data(name), &out);
        let said = text(&ran.stderr);
        assert!(!ran.status.success() && said.contains(fragment), "{said}");
        assert!(said.contains(name), "{said}");
        assert!(!out.exists());
    }
}
