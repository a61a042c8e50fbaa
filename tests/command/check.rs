//! Claims: `hippos check` passes what is right, refuses what is wrong with a diagnosis, and says of
//! what cannot be judged, in one line, what is the matter with it.

use crate::common::{golden_file as golden, is_exhaustive};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A candidate: some of a golden file's tensors, each changed at will.
fn candidate(
    test: &str,
    of: &str,
    mut change: impl FnMut(&str, &mut Vec<usize>, &mut Vec<f64>) -> Option<Dtype>,
) -> PathBuf {
    let file = SafeTensors::open(&golden(of)).expect("a golden file");
    let mut writer = Writer::new();
    for tensor in file.tensors() {
        let Ok(mut values) = tensor.to_f64() else {
            // Tokens.
            continue;
        };
        let mut shape = tensor.shape.to_vec();
        if let Some(dtype) = change(tensor.name, &mut shape, &mut values) {
            writer
                .add(tensor.name, dtype, &shape, &values)
                .expect("fits");
        }
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli_check-{test}"));
    writer.write(&path).expect("written");
    path
}

fn check(golden: &Path, candidate: &Path, flags: &[&str]) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_hippos"))
        .arg("check")
        .args([golden, candidate])
        .args(flags)
        .output()
        .expect("hippos runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

const STAGES: [&str; 4] = ["shift_k", "kv", "gated", "output"];

#[test]
fn the_truth_passes_in_every_type() {
    for (dtype, flag) in [
        (Dtype::F64, "f64"),
        (Dtype::F32, "f32"),
        (Dtype::F32, "mixed-tf32"),
    ] {
        let right = candidate(flag, "01-basic", |name, _, _| {
            STAGES.contains(&name).then_some(dtype)
        });
        let (code, out, err) = check(&golden("01-basic"), &right, &["--dtype", flag]);
        assert_eq!(code, Some(0), "{flag}: {out}{err}");
        let closing = out.lines().last().expect("a verdict");
        assert!(
            closing.starts_with("pass: 4 stages judged, 33 absent (q, k, v, "),
            "{out}"
        );
        assert!(closing.contains(" known mistakes excluded"), "{out}");
        assert_eq!(out.matches(" pass ").count(), STAGES.len(), "{out}");
    }
}

/// The two layouts, a leading batch of one, and a layout the shape does not tell.
#[test]
fn layouts_are_recognized_and_said() {
    let transposed = |shape: &mut Vec<usize>, values: &mut Vec<f64>| {
        let &mut [batch, rows, cols] = &mut shape[..] else {
            panic!("three axes")
        };
        let before = values.clone();
        for (at, value) in values.iter_mut().enumerate() {
            let (b, r, c) = (at / (rows * cols), at / rows % cols, at % rows);
            *value = before[(b * rows + c) * cols + r];
        }
        *shape = vec![batch, cols, rows];
    };
    let only = |name: &str| (name == "output").then_some(Dtype::F64);
    let other = candidate("transposed", "01-basic", |name, shape, values| {
        if name == "output" {
            transposed(shape, values);
        }
        only(name)
    });
    let (code, out, err) = check(&golden("01-basic"), &other, &[]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("note: output: last two axes"), "{out}");

    let leading = candidate("leading", "01-basic", |name, shape, _| {
        shape.insert(0, 1);
        only(name)
    });
    let (code, out, err) = check(&golden("01-basic"), &leading, &[]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("note: output: read [1, "), "{out}");

    // As long as wide: nothing is exchanged unasked, and what would help is said.
    let square = "square";
    let plain = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli_check-square-case");
    let made = Command::new(env!("CARGO_BIN_EXE_hippos"))
        .args(["init", "--d-model", "6", "--d-state", "4", "--batch", "1"])
        .args(["--seq-len", "6", "--seed", "3", "--out"])
        .arg(&plain)
        .output()
        .expect("hippos runs");
    assert!(made.status.success(), "{made:?}");
    let run = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli_check-square-run");
    let ran = Command::new(env!("CARGO_BIN_EXE_hippos"))
        .arg("run")
        .arg(&plain)
        .arg("--out")
        .arg(&run)
        .output()
        .expect("hippos runs");
    assert!(ran.status.success(), "{ran:?}");
    let file = SafeTensors::open(&run).expect("written");
    let output = file.tensor("output").expect("a stage");
    let (mut shape, mut values) = (output.shape.to_vec(), output.to_f64().expect("floats"));
    transposed(&mut shape, &mut values);
    let mut writer = Writer::new();
    writer
        .add("output", Dtype::F64, &shape, &values)
        .expect("fits");
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli_check-{square}"));
    writer.write(&path).expect("written");
    let (code, out, err) = check(&plain, &path, &[]);
    assert_eq!(code, Some(1), "{out}{err}");
    let says = "within tolerance with its last two axes, both 6 long, exchanged";
    assert!(out.contains(says), "{out}");
}

#[test]
fn a_mistake_is_named_with_its_fix() {
    // The diagonal kernel without its factor 2: everything after it is of other size.
    let wrong = candidate("half", "01-basic", |name, _, values| {
        if name == "ssm_kernel" {
            values.iter_mut().for_each(|x| *x /= 2.0);
        }
        ["shift_k", "kv", "ssm_kernel"]
            .contains(&name)
            .then_some(Dtype::F32)
    });
    let (code, out, err) = check(&golden("01-basic"), &wrong, &[]);
    assert_eq!(code, Some(1), "{out}{err}");
    let says =
        "\nFAIL at ssm_kernel: the right stage times 0.500000\n  reproduced by M41 no_factor_2: ";
    assert!(out.contains(says), "{out}");
    assert!(
        out.contains("\n    fix: multiply the real part by 2\n"),
        "{out}"
    );
    let closing = out.lines().last().expect("a verdict");
    assert!(
        closing.starts_with("FAIL: 3 stages judged, 34 absent ("),
        "{out}"
    );

    let (code, json, err) = check(&golden("01-basic"), &wrong, &["--json"]);
    assert_eq!(code, Some(1), "{json}{err}");
    for held in [
        "{\"schema\":\"hippos-check/2\",\"verdict\":\"refused\",\"pass\":false,\"dtype\":\"f32\",\"stages\":[{\"name\":\"shift_k\",\"verdict\":\"pass\",\"pass\":true,",
        "\"findings\":[{\"stage\":\"ssm_kernel\",\"pattern\":\"the right stage times 0.500000\",\"reproduced\":true,\"suspects\":[{",
        "\"mistakes\":[{\"id\":\"M41\",\"name\":\"no_factor_2\",",
        "\"power\":null,\"precision\":[],\"absent\":[\"q\",",
        "\"unknown\":[],\"close\":[],\"sampled\":null,\"text\":\"tolerance for f32\\u000a  stage ",
    ] {
        assert!(json.contains(held), "{held} not in {json}");
    }
    assert_eq!(json.lines().count(), 1);
    assert_eq!(json.matches('{').count(), json.matches('}').count());

    // A gradient alone: half of what it should be where the model's parameters receive theirs.
    let wrong = candidate("half-gradient", "01-basic", |name, _, values| {
        let halved = ["B", "C", "inv_A_real", "A_imag", "log_dt"];
        if halved
            .iter()
            .any(|p| name == format!("grad.kernel.kernel.{p}"))
        {
            values.iter_mut().for_each(|x| *x /= 2.0);
        }
        name.starts_with("grad.").then_some(Dtype::F64)
    });
    let (code, out, err) = check(&golden("01-basic"), &wrong, &[]);
    assert_eq!(code, Some(1), "{out}{err}");
    // At each of them half is as good an explanation, and none of all at once.
    let says = "\n  reproduced by M73 half_grad: ";
    assert!(out.contains(says), "{out}");
    let says = "\n  the same shows at grad.kernel.kernel.B, grad.kernel.kernel.C, ";
    assert!(out.contains(says), "{out}");
}

/// The search takes what threads it gets: none, where a stack fits no address space.
#[test]
#[cfg(target_os = "linux")]
fn a_mistake_is_named_without_threads() {
    let wrong = candidate("threadless", "01-basic", |name, _, values| {
        if name == "ssm_kernel" {
            values.iter_mut().for_each(|x| *x /= 2.0);
        }
        (name == "ssm_kernel").then_some(Dtype::F32)
    });
    let (code, with, err) = check(&golden("01-basic"), &wrong, &[]);
    assert!(
        code == Some(1) && with.contains("reproduced by M41 "),
        "{with}{err}"
    );
    let stack: usize = 1 << 60;
    let premise = std::thread::Builder::new().stack_size(stack).spawn(|| ());
    assert!(premise.is_err(), "such a thread does not start");
    let without = Command::new(env!("CARGO_BIN_EXE_hippos"))
        .arg("check")
        .args([&golden("01-basic"), &wrong])
        .env("RUST_MIN_STACK", stack.to_string())
        .output()
        .expect("hippos runs");
    assert_eq!(without.status.code(), Some(1), "{without:?}");
    assert_eq!(String::from_utf8_lossy(&without.stdout), with);
}

#[test]
fn a_mistake_no_mutant_covers_is_described() {
    let wrong = candidate("late", "01-basic", |name, shape, values| {
        let (len, d) = (shape[shape.len().max(2) - 2], shape[shape.len() - 1]);
        for (at, value) in values.iter_mut().enumerate() {
            if name == "output" && at / d % len >= 9 {
                *value = value.sin() + 3.0;
            }
        }
        STAGES.contains(&name).then_some(Dtype::F32)
    });
    let (code, out, err) = check(&golden("01-basic"), &wrong, &[]);
    assert_eq!(code, Some(1), "{out}{err}");
    let says = "\nFAIL at output: right up to time step 8, wrong from time step 9 on\n  \
                no known mistake explains it\n";
    assert!(out.contains(says), "{out}");
}

#[test]
fn what_cannot_be_judged_is_said_in_one_line() {
    let mut bad: Vec<(PathBuf, Vec<&str>, &str)> = Vec::new();
    let all = |name: &str| STAGES.contains(&name).then_some(Dtype::F32);
    bad.push((
        candidate("no-stage", "01-basic", |name, _, _| {
            (name == "D").then_some(Dtype::F64)
        }),
        vec![],
        "any of",
    ));
    bad.push((
        candidate("shape", "01-basic", |name, shape, values| {
            if name == "kv" {
                shape.clear();
                shape.push(values.len());
            }
            all(name)
        }),
        vec![],
        "kv",
    ));
    bad.push((
        candidate("other", "02-zoh", |name, _, _| match name {
            "input" => Some(Dtype::F64),
            name => all(name),
        }),
        vec![],
        "another case",
    ));
    bad.push((
        candidate("types", "01-basic", |name, _, _| match name {
            "kv" => Some(Dtype::F64),
            name => all(name),
        }),
        vec![],
        "--dtype",
    ));
    bad.push((
        candidate("right", "01-basic", |name, _, _| all(name)),
        vec!["--dtype", "f8"],
        "--dtype",
    ));
    for (test, bytes) in [("empty", &b""[..]), ("text", b"no safetensors file at all")] {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli_check-{test}"));
        std::fs::write(&path, bytes).expect("written");
        bad.push((path, vec![], "cli_check-"));
    }
    bad.push((PathBuf::from("/nowhere/at/all"), vec![], "/nowhere/at/all"));
    for (path, flags, says) in bad {
        let (code, out, err) = check(&golden("01-basic"), &path, &flags);
        assert_eq!(code, Some(2), "{path:?}: {out}{err}");
        assert!(out.is_empty(), "{path:?}: {out}");
        assert_eq!(err.lines().count(), 1, "{path:?}: {err}");
        assert!(err.contains(says), "{path:?}: {says:?} not in {err}");
    }
    let right = candidate("right", "01-basic", |name, _, _| all(name));
    let (code, _, err) = check(Path::new("/nowhere"), &right, &[]);
    assert_eq!((code, err.lines().count()), (Some(2), 1), "{err}");
    assert!(err.contains("/nowhere"), "{err}");
}

/// How far off, in words: in hundredths up to the tolerance, in multiples of it beyond; what is too far for a
/// number is none in JSON.
#[test]
fn how_far_is_said_in_words() {
    let file = SafeTensors::open(&golden("01-basic")).expect("a golden file");
    let read = |name: &str| file.tensor(name).and_then(|x| x.to_f64()).expect("there");
    // A gradient: what is wrong with one is soon searched for.
    let (scale, value) = (read("scale.grad.D")[2], read("grad.D")[2]);
    // In f64 the candidate loses nothing of it.
    let tolerance = scale * 2f64.powi(-24) + value.abs() * 2f64.powi(-53);
    for (times, words, code) in [
        (0.004, " 0.4 % ", 0),
        (0.5, " 50.0 % ", 0),
        // No right port gets as near to the worst case.
        (0.996, " 99.6 % ", 1),
        (1.004, " 1.0 times ", 1),
        (99.6, " 99.6 times ", 1),
        (100.4, " 1.0e2 times ", 1),
        (3e5, " 3.0e5 times ", 1),
    ] {
        let wrong = candidate("far", "01-basic", |name, _, values| {
            (name == "grad.D").then(|| {
                values[2] += times * tolerance;
                Dtype::F64
            })
        });
        let (status, out, err) = check(&golden("01-basic"), &wrong, &["--dtype", "f32"]);
        assert_eq!(status, Some(code), "{out}{err}");
        assert!(out.contains(words), "{words}: {out}");
        let (_, json, _) = check(&golden("01-basic"), &wrong, &["--dtype", "f32", "--json"]);
        let found = json.split("\"of_tolerance\":").nth(1).and_then(|rest| {
            let number = rest.split(',').next()?;
            number.parse::<f64>().ok()
        });
        let found = found.expect("a number");
        assert!((found - times).abs() <= 1e-6 * times, "{found} for {times}");
    }
    let far = candidate("furthest", "01-basic", |name, _, values| {
        (name == "grad.D").then(|| {
            values[2] = 1e308;
            Dtype::F64
        })
    });
    let (status, json, _) = check(&golden("01-basic"), &far, &["--json"]);
    assert_eq!(status, Some(1), "{json}");
    assert!(json.contains("\"of_tolerance\":null,"), "{json}");
    assert!(json.contains("\"candidate\":1e308,"), "{json}");
}

/// Noise as large as a part of the stage, within a tolerance as wide as the stage, is neither passed nor
/// refused.
#[test]
fn what_is_undecided_is_no_pass() {
    let noisy = |test: &str, most: f64| {
        let mut state = 1u32;
        candidate(test, "01-basic", |name, _, values| {
            for value in values.iter_mut() {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *value *= 1.0 + most * (f64::from(state >> 8) / 8_388_608.0 - 1.0);
            }
            (name == "gated").then_some(Dtype::F32)
        })
    };
    let (right, noise, wrong) = (
        noisy("little-noise", 1.0 / 256.0),
        noisy("noise", 0.8),
        noisy("much-noise", 1e4),
    );
    for (path, allowed, code) in [
        (&right, false, 0),
        (&noise, false, 2),
        (&noise, true, 0),
        (&wrong, false, 1),
        (&wrong, true, 1),
    ] {
        let mut flags = vec!["--dtype", "bf16"];
        flags.extend(allowed.then_some("--allow-undecided"));
        let (status, out, err) = check(&golden("01-basic"), path, &flags);
        assert_eq!(status, Some(code), "{out}{err}");
        // What is wrong is searched for its mistake: the longest of these runs, once with the flag and once without.
        if path == &wrong && allowed && !is_exhaustive() {
            continue;
        }
        flags.push("--json");
        let (status, json, _) = check(&golden("01-basic"), path, &flags);
        assert_eq!(status, Some(code), "{json}");
        let undecided = path == &noise;
        assert_eq!(
            out.contains("\nundecided: 0 stages judged, 1 undecided ("),
            undecided,
            "{out}"
        );
        assert_eq!(
            json.contains("\"verdict\":\"undecided\",\"pass\":false,"),
            undecided,
            "{json}"
        );
        assert_eq!(out.contains("\npass: "), path == &right, "{out}");
        assert_eq!(
            json.contains("\"pass\":true,\"dtype\""),
            path == &right,
            "{json}"
        );
    }
}

/// A name that is nearly a stage's is an oversight until it is said to be none; other tensors are listed.
#[test]
fn names_close_to_a_stage_are_asked_about() {
    let named = |test: &str, extra: &[&str]| {
        let right = candidate(test, "01-basic", |name, _, _| {
            STAGES.contains(&name).then_some(Dtype::F32)
        });
        let file = SafeTensors::open(&right).expect("written");
        let mut writer = Writer::new();
        for tensor in file.tensors() {
            let added = writer.add_bytes(tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
            added.expect("fits");
        }
        for name in extra {
            writer.add(name, Dtype::F32, &[1], &[0.0]).expect("fits");
        }
        writer.write(&right).expect("written");
        right
    };
    let golden = golden("01-basic");
    let close = named("close", &["ssm-out", "otuput", "gate"]);
    let (status, out, err) = check(&golden, &close, &[]);
    assert_eq!(status, Some(2), "{out}{err}");
    for says in [
        "\nunknown, not judged: gate, otuput, ssm-out\n",
        "\ntensor \"ssm-out\" is not a stage, but \"ssm_out\" is: rename it, or use --ignore ssm-out\n",
        "\ntensor \"otuput\" is not a stage, but \"output\" is: rename it, or use --ignore otuput\n",
        "\nundecided: 4 stages judged, 33 absent (",
    ] {
        assert!(out.contains(says), "{says:?} not in {out}");
    }
    assert!(!out.contains("\"gate\""), "{out}");
    let (status, json, _) = check(&golden, &close, &["--json"]);
    assert_eq!(status, Some(2), "{json}");
    let says = "\"close\":[{\"name\":\"otuput\",\"stage\":\"output\"},\
                {\"name\":\"ssm-out\",\"stage\":\"ssm_out\"}]";
    assert!(
        json.contains("\"verdict\":\"undecided\",\"pass\":false,"),
        "{json}"
    );
    assert!(json.contains(says), "{json}");
    for (flags, code) in [
        (&["--ignore", "ssm-out"][..], 2),
        (&["--ignore", "ssm-out,otuput"], 0),
        (&["--allow-undecided"], 0),
    ] {
        let (status, out, err) = check(&golden, &close, flags);
        assert_eq!(status, Some(code), "{out}{err}");
    }
    // Ignored in vain, or what is judged.
    for (ignored, says) in [
        (
            "ssm-in",
            "--ignore ssm-in: is not a tensor of the candidate that could be left out",
        ),
        (
            "output",
            "--ignore output: is a stage of the golden file, and is judged",
        ),
    ] {
        let (status, out, err) = check(&golden, &close, &["--ignore", ignored]);
        assert_eq!((status, &out[..]), (Some(2), ""), "{err}");
        assert!(err.contains(says) && err.lines().count() == 1, "{err}");
    }
}

/// A number that is none is wrong, and said where.
#[test]
fn what_is_no_number_is_wrong() {
    for (test, number, says) in [("nan", f64::NAN, "NaN"), ("inf", f64::INFINITY, "inf")] {
        let path = candidate(test, "01-basic", |name, _, values| {
            if name == "gated" {
                values[11] = number;
            }
            STAGES.contains(&name).then_some(Dtype::F32)
        });
        let (status, out, err) = check(&golden("01-basic"), &path, &[]);
        assert_eq!(status, Some(1), "{out}{err}");
        let note = format!("\nnote: gated: holds {says}; expected finite numbers\n");
        assert!(out.contains(&note), "{out}");
        assert!(
            out.contains("\nFAIL at gated: 1 of 168 elements is not finite\n"),
            "{out}"
        );
        assert_eq!(out.matches(" pass ").count(), 3, "{out}");
        let (status, json, _) = check(&golden("01-basic"), &path, &["--json"]);
        assert_eq!(status, Some(1), "{json}");
        // JSON has no such number.
        assert!(json.contains("\"at\":[0, 2, 3]"), "{json}");
        assert!(json.contains("\"candidate\":null"), "{json}");
    }
}

/// A language model is recognised, by itself or as a golden file, and judged like a layer.
#[test]
fn models_are_judged_too() {
    let name = "41-model-attention";
    let is_stage = |name: &str| name == "logits" || name.starts_with("block");
    let stages = |test: &str, change: fn(&str, &mut [f64])| {
        candidate(test, name, |name, _, values| {
            change(name, values);
            is_stage(name).then_some(Dtype::F32)
        })
    };
    let right = stages("model", |_, _| {});
    let (code, out, err) = check(&golden(name), &right, &[]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(out.matches(" pass ").count(), 5, "{out}");
    // The sum of both outputs of a block in place of the MLP's own.
    let file = SafeTensors::open(&golden(name)).expect("a golden file");
    let read = |name: &str| file.tensor(name).and_then(|x| x.to_f64()).expect("a stage");
    let summed = candidate("model-summed", name, |name, _, values| {
        if name.ends_with(".hidden") && !name.starts_with("scale.") {
            let residual = read(&name.replace("hidden", "residual"));
            values.iter_mut().zip(residual).for_each(|(h, r)| *h += r);
        }
        is_stage(name).then_some(Dtype::F32)
    });
    let (code, out, _) = check(&golden(name), &summed, &[]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("\nFAIL at block0.hidden: "), "{out}");
    assert!(out.contains("reproduced by L02 hidden_summed"), "{out}");
    assert!(out.contains("the same shows at block1.hidden\n"), "{out}");
    assert_eq!(out.matches("FAIL at").count(), 1, "{out}");
    let (code, out, _) = check(&golden(name), &summed, &["--json"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("\"findings\":[{\"stage\":\"block0.hidden\"")
            && out.contains("\"id\":\"L02\""),
        "{out}"
    );
    // Another model's stages.
    let (code, _, err) = check(&golden("40-model-h3"), &right, &[]);
    assert_eq!((code, err.lines().count()), (Some(2), 1), "{err}");
    // The case alone, without what is golden in it, certified again.
    let again = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli_check-model-again");
    let golden_of = |from: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hippos"));
        let command = command.args(["golden", "--from"]).arg(from).arg("--out");
        command.arg(&again).output().expect("hippos runs")
    };
    let case = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli_check-model-case");
    let mut plain = Writer::new();
    for (key, value) in file.metadata().iter().filter(|(key, _)| *key != "golden") {
        plain.metadata(key, value).expect("once");
    }
    for tensor in file.tensors() {
        if tensor.name == "input_ids" || tensor.name.starts_with("backbone.") {
            let added = plain.add_bytes(tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
            added.expect("fits");
        }
    }
    plain.write(&case).expect("written");
    let said = golden_of(&case);
    assert!(said.status.success(), "{said:?}");
    assert!(
        String::from_utf8_lossy(&said.stdout).starts_with("5 stages certified"),
        "{said:?}"
    );
    assert_eq!(
        std::fs::read(&again).expect("written"),
        std::fs::read(golden(name)).expect("there")
    );
    assert_eq!(check(&case, &summed, &[]).0, Some(1));
}

/// One dense model is recognised by its kind, judged, and certified again from what is given alone.
#[test]
fn dense_models_are_judged_too() {
    let name = "43-dense-resumed";
    let is_stage = |name: &str| ["kernel", "output", "final_x"].contains(&name);
    let right = candidate("dense", name, |name, _, _| {
        is_stage(name).then_some(Dtype::F32)
    });
    let (code, out, err) = check(&golden(name), &right, &[]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(out.matches(" pass ").count(), 3, "{out}");
    let file = SafeTensors::open(&golden(name)).expect("a golden file");
    let read = |name: &str| file.tensor(name).and_then(|x| x.to_f64()).expect("there");
    let (input, skip) = (read("input"), read("ssm.D")[0]);
    let without = candidate("dense-no-d", name, |name, _, values| {
        if name == "output" {
            let pairs = values.iter_mut().zip(&input);
            pairs.for_each(|(y, u)| *y -= skip * u);
        }
        is_stage(name).then_some(Dtype::F32)
    });
    let (code, out, _) = check(&golden(name), &without, &[]);
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("\nFAIL at output: "), "{out}");
    assert!(out.contains("reproduced by M34 no_d"), "{out}");
    // The other dense model's stages: those of no state.
    let (code, out, _) = check(&golden("42-dense"), &right, &[]);
    assert_eq!(code, Some(1), "{out}");

    // The model and its inputs alone.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (plain, again) = (
        folder.join("cli_check-dense-plain"),
        folder.join("cli_check-dense-again"),
    );
    let mut writer = Writer::new();
    writer.metadata("kind", "dense-ssm").expect("once");
    for tensor in file.tensors() {
        if tensor.name.starts_with("ssm.") || ["input", "initial_x"].contains(&tensor.name) {
            let added = writer.add_bytes(tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
            added.expect("fits");
        }
    }
    writer.write(&plain).expect("written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_hippos"));
    let command = command.args(["golden", "--from"]).arg(&plain);
    let said = command
        .arg("--out")
        .arg(&again)
        .output()
        .expect("hippos runs");
    assert!(said.status.success(), "{said:?}");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(text.starts_with("3 stages certified"), "{text}");
    let bytes = |path: &Path| std::fs::read(path).expect("there");
    assert_eq!(bytes(&again), bytes(&golden(name)));
    assert_eq!(check(&plain, &without, &[]).0, Some(1));
    assert_eq!(check(&plain, &right, &[]).0, Some(0));
}
