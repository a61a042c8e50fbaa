//! Claim: `hippos run` and `hippos show` answer bad input with one clear line on stderr that
//! names the thing, exit status 2, and no output file.

use super::support::{folder, hippos};
use crate::common::{data, golden_file};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::path::{Path, PathBuf};

fn case(name: &str) -> String {
    data(name).display().to_string()
}

/// What no ball decides is said by `run` and `golden`, stage by stage, and is in the metadata of both files;
/// where all is decided nothing is said.
#[test]
fn undecided_roundings_are_counted() {
    let folder = folder("undecided");
    let edited = folder.join("case");
    let out = folder.join("out");
    let [from, to] = [&edited, &out].map(|path| path.display().to_string());
    for (factor, counts) in [(1.0, None), (1e-311, Some("ssm_kernel:2,final_state:256"))] {
        let scaled = |_: &mut Dtype, _: &mut Vec<usize>, values: &mut Vec<f64>| {
            values.iter_mut().for_each(|x| *x *= factor);
        };
        let case = Edit::of("layer-v5-hd4-L1").tensor("kernel.kernel.B", scaled);
        case.write(&edited);
        for args in [
            &["run", &from, "--out", &to, "--precision", "certified"][..],
            &["golden", "--from", &from, "--out", &to],
        ] {
            let output = hippos(args);
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{output:?}");
            let file = SafeTensors::open(&out).expect("written");
            let metadata = file.metadata().get("undecided");
            let Some(counts) = counts else {
                assert!(metadata.is_none() && !said.contains("rounding undecided"));
                continue;
            };
            // With gradients where the case has a cotangent, which `golden` runs back from.
            let metadata = metadata.expect("there");
            assert!(metadata.starts_with(counts), "{metadata}");
            assert!(
                said.contains(&format!("\nrounding undecided: {metadata} (")),
                "{said}"
            );
        }
    }
}

/// A copy of a good case with one thing changed.
struct Edit {
    metadata: Vec<(String, String)>,
    tensors: Vec<(String, Dtype, Vec<usize>, Vec<f64>)>,
}

impl Edit {
    fn of(name: &str) -> Self {
        let file = SafeTensors::open(Path::new(&case(name))).expect("a good case");
        Self {
            metadata: file
                .metadata()
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            tensors: file
                .tensors()
                .map(|t| {
                    let values = t.to_f64().expect("floats");
                    (t.name.to_string(), t.dtype, t.shape.to_vec(), values)
                })
                .collect(),
        }
    }

    fn set(mut self, key: &str, value: Option<&str>) -> Self {
        self.metadata.retain(|(k, _)| k != key);
        if let Some(value) = value {
            self.metadata.push((key.into(), value.into()));
        }
        self
    }

    fn tensor(
        mut self,
        name: &str,
        change: impl FnOnce(&mut Dtype, &mut Vec<usize>, &mut Vec<f64>),
    ) -> Self {
        let found = self.tensors.iter_mut().find(|(n, ..)| n == name);
        let (_, dtype, shape, values) = found.expect("the tensor is there");
        change(dtype, shape, values);
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.tensors.retain(|(n, ..)| n != name);
        self
    }

    /// The same with a tensor under another name.
    fn renamed(mut self, name: &str, to: &str) -> Self {
        let found = self.tensors.iter_mut().find(|(n, ..)| n == name);
        found.expect("the tensor is there").0 = to.into();
        self
    }

    fn write(self, path: &Path) {
        let mut writer = Writer::new();
        for (key, value) in &self.metadata {
            writer.metadata(key, value).expect("new key");
        }
        for (name, dtype, shape, values) in &self.tensors {
            if *dtype == Dtype::I64 {
                let values: Vec<i64> = values.iter().map(|&x| x as i64).collect();
                writer.add_i64(name, shape, &values).expect("fits");
            } else {
                writer.add(name, *dtype, shape, values).expect("fits");
            }
        }
        writer.write(path).expect("written");
    }
}

/// Runs the command, which must fail with one line that has all the fragments, and leave no
/// file behind in the folder but those that were there.
fn refused(folder: &Path, args: &[&str], fragments: &[&str]) {
    let before = entries(folder);
    let output = hippos(args);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "one line: {stderr}");
    assert!(stderr.starts_with("hippos: "), "{stderr}");
    assert!(output.stdout.is_empty(), "nothing on stdout");
    for fragment in fragments {
        assert!(stderr.contains(fragment), "{fragment:?} not in {stderr}");
    }
    assert_eq!(entries(folder), before, "no file is left behind");
}

/// An overflow is written as it came about, and said: with a status of its own, and where it is.
#[test]
fn what_is_not_finite_is_said() {
    let folder = folder("not-finite");
    let [from, to] = ["case", "out"].map(|name| folder.join(name).display().to_string());
    let huge = |_: &mut Dtype, _: &mut Vec<usize>, values: &mut Vec<f64>| values[2] = 1e39;
    let edit = Edit::of("layer-v5-hd4-L1").tensor("v_proj.bias", huge);
    edit.write(Path::new(&from));
    let output = hippos(&["run", &from, "--out", &to, "--precision", "f32"]);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("not finite: v (") && stderr.contains("first element 2, inf"),
        "{stderr}"
    );
    assert!(SafeTensors::open(Path::new(&to)).is_ok());
    let output = hippos(&["run", &from, "--out", &to]);
    assert!(output.status.success() && output.stderr.is_empty());
}

/// A file of another kind that does not say so is told which kinds there are, and `lm` says which it was given.
#[test]
fn kinds_are_named() {
    let folder = folder("kinds");
    let [from, to] = ["case", "out"].map(|name| folder.join(name).display().to_string());
    let golden = SafeTensors::open(&golden_file("90-convolution")).expect("a golden file");
    let mut writer = Writer::new();
    for name in ["u", "k", "D"] {
        let view = golden.get(name).expect("there");
        let values = view.to_f64().expect("floats");
        writer
            .add(name, Dtype::F64, view.shape, &values)
            .expect("added");
    }
    writer.write(Path::new(&from)).expect("written");
    let kinds = ["no metadata kind", "layer, model", "convolution", "mamba2"];
    refused(&folder, &["run", &from, "--out", &to], &kinds);
    let path = golden_file("90-convolution").display().to_string();
    let named = ["\"convolution\"", "a language model"];
    refused(&folder, &["lm", "logits", &path, "--out", &to], &named);
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .collect();
    entries.sort();
    entries
}

#[test]
fn bad_cases_are_refused() {
    let folder = folder("bad");
    let bad = folder.join("bad.safetensors");
    let out = folder.join("out.safetensors");
    let edit = || Edit::of("layer-v5-hd4-L1");
    let edits: Vec<(Edit, Vec<&str>)> = vec![
        (
            edit().without("q_proj.weight"),
            vec!["q_proj.weight", "missing"],
        ),
        (
            edit().without("kernel.kernel.log_dt"),
            vec!["kernel.kernel.log_dt", "missing"],
        ),
        (edit().without("input"), vec!["input", "missing"]),
        (
            edit().without("D").without("v_proj.bias"),
            vec!["tensors: \"v_proj.bias\", \"D\" are missing"],
        ),
        (
            edit().tensor("v_proj.bias", |_, shape, values| {
                shape[0] = 7;
                values.pop();
            }),
            vec!["v_proj.bias", "[8]", "[7]"],
        ),
        (
            edit().tensor("input", |_, shape, _| *shape = vec![2, 8]),
            vec!["input", "seq_len", "[2, 8]"],
        ),
        (
            edit().tensor("q_proj.weight", |_, shape, _| *shape = vec![64]),
            vec!["q_proj.weight", "2 axes", "[64]"],
        ),
        (
            edit().tensor("D", |dtype, _, _| *dtype = Dtype::I64),
            vec!["\"D\"", "I64", "F64"],
        ),
        (
            edit().tensor("k_proj.weight", |_, _, values| values[3] = f64::NAN),
            vec!["k_proj.weight", "element 3", "NaN"],
        ),
        (
            edit().tensor("input", |_, _, values| values[15] = f64::INFINITY),
            vec!["input", "element 15", "inf"],
        ),
        (
            edit().set("disc", Some("euler")),
            vec!["disc", "euler", "bilinear", "zoh"],
        ),
        (edit().set("disc", None), vec!["disc", "missing"]),
        (
            edit().set("disc", None).set("l_max", None),
            vec!["disc, l_max are missing"],
        ),
        (
            edit().set("real_type", Some("")),
            vec!["real_type", "softplus"],
        ),
        (
            edit().set("head_order", Some("dh")),
            vec!["head_order", "d2h", "hd2"],
        ),
        (
            edit().set("head_dim", Some("3")),
            vec!["head_dim", "3", "d_model"],
        ),
        (edit().set("head_dim", Some("0")), vec!["head_dim", "0"]),
        (edit().set("head_dim", Some("-4")), vec!["head_dim", "-4"]),
        (
            edit().set("head_dim", Some("2")),
            vec!["head_dim", "\"2\"", "2 heads", "4"],
        ),
        (
            edit().set("head_dim", Some("99999999999999999999")),
            vec!["head_dim"],
        ),
        (edit().set("l_max", Some("0")), vec!["l_max", "0"]),
        (edit().set("l_max", Some("many")), vec!["l_max", "many"]),
        (edit().set("l_max", None), vec!["l_max", "missing"]),
        (
            edit().set("d_model", Some("16")),
            vec!["d_model", "16", "8"],
        ),
        (edit().set("d_state", Some("5")), vec!["d_state", "5", "4"]),
        (edit().set("n_ssm", Some("1")), vec!["n_ssm", "1", "2"]),
        (edit().set("L", Some("2")), vec!["metadata L", "2", "1"]),
        (edit().set("B", Some("9")), vec!["metadata B", "9", "2"]),
        (edit().set("mode", Some("ema")), vec!["mode", "ema"]),
        (
            edit().set("chunk_len", Some("0")),
            vec!["metadata chunk_len", "0", "at least 1"],
        ),
        (
            edit().set("chunk_len", Some("-3")),
            vec!["metadata chunk_len", "-3"],
        ),
        (
            Edit::of("layer-v2-hd4-L32")
                .set("l_max", Some("31"))
                .set("chunk_len", Some("8")),
            vec!["metadata chunk_len", "l_max", "no state passes"],
        ),
        (
            edit().tensor("input", |_, shape, values| {
                (shape[0], *values) = (0, Vec::new());
            }),
            vec!["\"input\"", "[0, 1, 8]", "at least one token"],
        ),
        (
            edit().tensor("input", |_, shape, values| {
                (shape[1], *values) = (0, Vec::new());
            }),
            vec!["\"input\"", "[2, 0, 8]", "at least one token"],
        ),
        (
            edit().set("sequence", Some("ragged")),
            vec!["metadata sequence", "ragged", "packed, padded"],
        ),
        (
            edit().set("sequence", Some("packed")),
            vec!["tensor \"cu_seqlens\"", "missing"],
        ),
        (
            edit().renamed("g", "g_"),
            vec!["tensor \"g_\"", "is \"g\" meant"],
        ),
        (
            edit().renamed("final_state", "initial_stat"),
            vec!["tensor \"initial_stat\"", "is \"initial_state\" meant"],
        ),
        (
            edit().renamed("final_state", "cu_seqlen"),
            vec!["tensor \"cu_seqlen\"", "is \"cu_seqlens\" meant"],
        ),
        (
            edit().set("sequence", Some("cotangent")),
            vec!["g.final_state_k", "sequence = cotangent", "missing"],
        ),
        (
            edit().set("schedule", Some("prompt=1")),
            vec!["metadata schedule", "sequence = none"],
        ),
        (
            edit().set("format", Some("hippos-case/2")),
            vec!["format", "hippos-case/1"],
        ),
    ];
    for (edit, fragments) in edits {
        edit.write(&bad);
        let (bad, out) = (bad.to_str().expect("UTF-8"), out.to_str().expect("UTF-8"));
        let mut with_path = fragments.clone();
        with_path.push("bad.safetensors");
        refused(&folder, &["run", bad, "--out", out], &with_path);
    }
}

#[test]
fn broken_files_are_refused() {
    let folder = folder("broken");
    let bad = folder.join("bad.safetensors");
    let out = folder.join("out.safetensors");
    let good = std::fs::read(case("layer-v5-hd4-L1")).expect("a good case");
    let mut huge_header = good.clone();
    huge_header[..8].copy_from_slice(&10_000_000_000u64.to_le_bytes());
    for (bytes, fragment) in [
        (Vec::new(), "file length: 0 bytes"),
        (good[..good.len() - 2].to_vec(), "bytes"),
        (good[..5].to_vec(), "file length: 5 bytes"),
        (good[..100].to_vec(), "header"),
        (huge_header, "header"),
        (
            b"not a safetensors file, but long enough".to_vec(),
            "header",
        ),
    ] {
        std::fs::write(&bad, bytes).expect("written");
        let (bad, out) = (bad.to_str().expect("UTF-8"), out.to_str().expect("UTF-8"));
        refused(
            &folder,
            &["run", bad, "--out", out],
            &["bad.safetensors", fragment],
        );
        refused(&folder, &["show", bad], &["bad.safetensors", fragment]);
    }
    let out = out.to_str().expect("UTF-8");
    let nowhere = folder.join("nowhere.safetensors");
    let nowhere = nowhere.to_str().expect("UTF-8");
    refused(
        &folder,
        &["run", nowhere, "--out", out],
        &["nowhere.safetensors"],
    );
    let inside = folder.join("no-such-folder/out.safetensors");
    let inside = inside.to_str().expect("UTF-8");
    refused(
        &folder,
        &["run", &case("layer-v5-hd4-L1"), "--out", inside],
        &["no-such-folder"],
    );
}

#[test]
fn bad_flags_are_refused() {
    let folder = folder("flags");
    let out = folder.join("out.safetensors");
    let (out, good) = (out.to_str().expect("UTF-8"), case("layer-v4-hd1-L100"));
    for (args, fragments) in [
        (vec!["run"], vec!["CASE"]),
        (vec!["run", &good], vec!["--out"]),
        (vec!["run", &good, "extra", "--out", out], vec!["extra"]),
        (vec!["run", &good, "--out"], vec!["--out", "value"]),
        (vec!["run", &good, "--out", ""], vec!["--out", "value"]),
        (
            vec!["run", &good, "--out", out, "--out", out],
            vec!["--out", "twice"],
        ),
        (
            vec!["run", &good, "--out", out, "--form", "fourier"],
            vec!["--form", "fourier", "scan"],
        ),
        (
            vec!["run", &good, "--out", out, "--precision", "f8"],
            vec!["--precision", "f8"],
        ),
        (
            vec!["run", &good, "--out", out, "--chunk", "8"],
            vec!["--chunk", "flashconv"],
        ),
        (
            vec!["run", &good, "--out", out, "--form", "fft", "--chunk", "8"],
            vec!["--chunk", "flashconv"],
        ),
        (
            vec![
                "run",
                &good,
                "--out",
                out,
                "--form",
                "flashconv",
                "--chunk",
                "0",
            ],
            vec!["--chunk", "0"],
        ),
        (
            vec![
                "run",
                &good,
                "--out",
                out,
                "--form",
                "flashconv",
                "--chunk",
                "-1",
            ],
            vec!["--chunk", "-1"],
        ),
        (
            vec!["run", &good, "--out", out, "--frm", "fft"],
            vec!["--frm", "--form"],
        ),
        (
            vec!["run", &good, "--out", &good],
            vec!["--out", "is a file that is read"],
        ),
        (vec!["show"], vec!["FILE"]),
        (vec!["hippo"], vec!["hippo", "verify"]),
    ] {
        refused(&folder, &args, &fragments);
    }
}

/// l_max below the sequence: the state-passing forms refuse with the reason, the others run, and
/// the default is one that can.
/// The help is a literal; the names it lists are the library's, in its order.
#[test]
fn the_help_names_every_form() {
    let help = String::from_utf8(hippos(&["run", "--help"]).stdout).expect("text");
    let words: Vec<&str> = help.split_whitespace().collect();
    let names = Form::all([Chunking::Uniform(1)]);
    let names: Vec<&str> = names.iter().map(Form::name).collect();
    let listed = names.join(", ") + " or fast";
    assert!(words.join(" ").contains(&listed), "{listed}");
}

#[test]
fn l_max_with_a_recurrence_is_refused() {
    let folder = folder("l_max");
    let cut = folder.join("cut.safetensors");
    Edit::of("layer-v1-hd1-L7")
        .set("l_max", Some("4"))
        .write(&cut);
    let out = folder.join("out.safetensors");
    let (cut, out) = (cut.to_str().expect("UTF-8"), out.to_str().expect("UTF-8"));
    for form in ["recurrence", "scan", "flashconv"] {
        refused(
            &folder,
            &["run", cut, "--out", out, "--form", form],
            &[
                "l_max = 4",
                "7 inputs",
                form,
                "convolution",
                "cut.safetensors",
            ],
        );
    }
    refused(
        &folder,
        &["run", cut, "--out", out, "--form", "fast", "--grad"],
        &["l_max = 4", "7 inputs", "backward pass", "cut.safetensors"],
    );
    for form in [
        vec![],
        vec!["--form", "fft"],
        vec!["--form", "attention"],
        vec!["--form", "fast"],
    ] {
        let mut args = vec!["run", cut, "--out", out];
        args.extend(form);
        let output = hippos(&args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        std::fs::remove_file(out).expect("written");
    }
}

/// What `run` writes is itself a case: it can be run again and shown, and the second run agrees
/// with the stages of the first to the last bit.
#[test]
fn the_output_is_a_case() {
    let folder = folder("again");
    let (first, second) = (
        folder.join("first.safetensors"),
        folder.join("second.safetensors"),
    );
    let (first, second) = (
        first.to_str().expect("UTF-8"),
        second.to_str().expect("UTF-8"),
    );
    let run = |from: &str, to: &str| {
        let output = hippos(&[
            "run",
            from,
            "--out",
            to,
            "--form",
            "flashconv",
            "--chunk",
            "9",
        ]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let table = run(&case("layer-v2-hd4-L32"), first);
    assert!(
        table.contains("ssm_out") && table.contains("2 x 4 x 4 x 4 x 32"),
        "{table}"
    );
    let again = run(first, second);
    for line in again.lines().skip(2) {
        assert!(line.ends_with("0.0e0"), "{line}");
    }
    assert_eq!(
        std::fs::read(first).expect("written"),
        std::fs::read(second).expect("written"),
        "the same case gives the same bytes"
    );
    let shown = hippos(&["show", first]);
    let shown = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(
        shown.contains("head_dim") && shown.contains("final_state_k"),
        "{shown}"
    );
}

/// With `--grad` the gradients are written, in every form the same, and the file is a case that
/// can be run backwards again. Without a fitting cotangent it is refused by name.
#[test]
fn gradients_are_written_or_the_cotangent_is_named() {
    let folder = folder("grad");
    let at = |name: &str| folder.join(name).to_str().expect("UTF-8").to_string();
    let (first, second) = (at("first"), at("second"));
    let args = ["--grad", "--form", "flashconv", "--chunk", "5"];
    let output = hippos(
        &[
            &["run", &case("layer-v2-hd4-L32"), "--out", &first],
            &args[..],
        ]
        .concat(),
    );
    assert!(output.status.success(), "{output:?}");
    let output = hippos(&["run", &first, "--out", &second, "--grad"]);
    assert!(output.status.success(), "{output:?}");
    let (saved, again) = (open(&first), open(&second));
    let official = open(&case("layer-v2-hd4-L32"));
    let mut compared = 0;
    for tensor in official.tensors().filter(|t| t.name.starts_with("grad.")) {
        let expected = tensor.to_f64().expect("floats");
        let scale = expected.iter().fold(0.0f64, |s, x| s.max(x.abs()));
        for file in [&saved, &again] {
            let ours = file.tensor(tensor.name).expect("written");
            assert_eq!(ours.shape, tensor.shape);
            for (x, y) in ours.to_f64().expect("floats").iter().zip(&expected) {
                assert!((x - y).abs() <= 1e-11 * scale, "{}: {x} {y}", tensor.name);
            }
        }
        compared += 1;
    }
    assert_eq!(compared, 18, "input and 17 parameters");
    assert!(saved.get("g").is_some(), "the cotangent is passed on");

    let out = at("none");
    for (edit, runs) in [
        (Edit::of("layer-v1-hd1-L7").without("g"), true),
        (
            Edit::of("layer-v1-hd1-L7").tensor("g", |_, shape, values| {
                shape[1] -= 1;
                values.truncate(shape.iter().product());
            }),
            false,
        ),
    ] {
        let bad = folder.join("bad");
        edit.write(&bad);
        let bad = bad.to_str().expect("UTF-8");
        let output = hippos(&["run", bad, "--out", &out, "--grad"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("\"g\""), "{stderr}");
        assert!(!Path::new(&out).exists(), "nothing is written");
        // Without --grad there need be no cotangent, but one that is there has to fit.
        let output = hippos(&["run", bad, "--out", &at("forward")]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), runs, "{stderr}");
        assert!(runs || stderr.contains("\"g\""), "{stderr}");
    }
}

fn open(path: &str) -> SafeTensors {
    SafeTensors::open(Path::new(path)).expect("a file of tensors")
}
