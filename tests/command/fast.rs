//! `hippos run --form fast` writes the reference's output, whatever the threads and the level, and
//! refuses what it does not do.

use crate::common::{data, saved};
use hungry_hippos::oracle::LayerCase;
use hungry_hippos::safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn case() -> PathBuf {
    data("layer-v2-hd4-L32")
}

fn run(out: &Path, flags: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hippos"))
        .arg("run")
        .arg(case())
        .arg("--out")
        .arg(out)
        .args(flags)
        .output()
        .unwrap()
}

/// The output tensor of a run.
fn output(name: &str, flags: &[&str]) -> Vec<f64> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let ran = run(&out, flags);
    let message = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{flags:?}: {message}");
    let file = SafeTensors::open(&out).unwrap();
    let case = LayerCase::read(&file).unwrap();
    saved(&file, "output", case.input().shape()).into_data()
}

#[test]
fn output_is_the_references() {
    let want = output("fast_cli-reference", &[]);
    let largest = want.iter().fold(0.0f64, |most, y| most.max(y.abs()));
    let one = output("fast_cli-one", &["--form", "fast", "--threads", "1"]);
    let three = output("fast_cli-three", &["--form", "fast", "--threads", "3"]);
    assert_eq!(one, three, "threads change nothing");
    for (precision, unit) in [("f64", 2f64.powi(-53)), ("f32", 2f64.powi(-24))] {
        for level in hungry_hippos::fast::Level::all() {
            let flags = [
                "--form",
                "fast",
                "--precision",
                precision,
                "--level",
                level.name(),
            ];
            let got = output("fast_cli-level", &flags);
            assert_eq!(got.len(), want.len());
            // The bounds proper are those of tests/fast; here it is enough to tell the function
            // from any other: a thousand roundings of the largest output.
            for (got, want) in got.iter().zip(&want) {
                assert!(
                    (got - want).abs() <= 1e3 * unit * largest,
                    "{level} {precision}"
                );
            }
        }
    }
}

/// Where the system starts no thread the work is done on the one there is, to the same bits. A thread's
/// stack of 2^60 bytes is more than any address space has.
#[test]
#[cfg(target_os = "linux")]
fn threads_that_cannot_be_started_are_done_without() {
    const STACK: usize = 1 << 60;
    let premise = std::thread::Builder::new().stack_size(STACK).spawn(|| ());
    assert!(premise.is_err(), "such a thread does not start");
    let flags = ["--form", "fast", "--threads", "3"];
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fast_cli-threadless");
    let ran = Command::new(env!("CARGO_BIN_EXE_hippos"))
        .arg("run")
        .arg(case())
        .arg("--out")
        .arg(&out)
        .args(flags)
        .env("RUST_MIN_STACK", STACK.to_string())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{message}");
    let with = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fast_cli-threads");
    assert!(run(&with, &flags).status.success());
    let bytes = |path: &Path| std::fs::read(path).unwrap();
    assert!(bytes(&out) == bytes(&with), "the same file");
}

#[test]
fn what_it_does_not_do_is_refused() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fast_cli-refused");
    for (flags, says) in [
        (
            vec!["--form", "fast", "--precision", "certified"],
            "certified",
        ),
        (vec!["--form", "fast", "--chunk", "4"], "--chunk"),
        (vec!["--form", "fast", "--threads", "0"], "--threads 0"),
        (vec!["--form", "fast", "--level", "avx9000"], "avx9000"),
        (vec!["--threads", "2"], "--threads goes with"),
        (
            vec!["--form", "scan", "--level", "baseline"],
            "--level goes with",
        ),
    ] {
        let ran = run(&out, &flags);
        let message = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(ran.status.code(), Some(2), "{flags:?}");
        assert!(message.contains(says), "{flags:?}: {message}");
        assert!(!out.exists(), "{flags:?} wrote a file");
    }
}

/// `--grad`: every gradient of the reference, at every level, and no other shape.
#[test]
fn gradients_are_the_references() {
    let read = |name: &str, flags: &[&str]| {
        let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let ran = run(&out, flags);
        let message = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{flags:?}: {message}");
        SafeTensors::open(&out).unwrap()
    };
    let want = read("fast_cli-grad-reference", &["--grad"]);
    for level in hungry_hippos::fast::Level::all() {
        let flags = ["--grad", "--form", "fast", "--level", level.name()];
        let got = read("fast_cli-grad", &flags);
        let mut compared = 0;
        // The fast path keeps no cotangents of stages.
        let inner = ["gated", "q", "ssm_out", "kv", "shift_k", "k", "v"];
        let inner = inner.map(|stage| format!("grad.{stage}"));
        let wanted = want.tensors().filter(|t| t.name.starts_with("grad."));
        for want in wanted.filter(|t| inner.iter().all(|name| name != t.name)) {
            let got = got.tensor(want.name).unwrap();
            assert_eq!(got.shape, want.shape, "{}", want.name);
            let (got, values) = (got.to_f64().unwrap(), want.to_f64().unwrap());
            let largest = values.iter().fold(0.0f64, |most, g| most.max(g.abs()));
            // As above: the bounds proper are those of tests/fast.
            for (got, value) in got.iter().zip(&values) {
                let error = (got - value).abs();
                assert!(error <= 1e-12 * largest, "{level} {}: {error:e}", want.name);
            }
            compared += 1;
        }
        assert_eq!(compared, 18, "the input and 17 parameters");
    }
}

/// Documents, padding and cotangents of states are run, not passed over; a schedule is refused.
#[test]
fn sequences_as_they_are_served() {
    let path = |file: PathBuf| file.display().to_string();
    let golden = |name: &str| {
        let file = format!("tests/golden/v2/{name}.safetensors");
        path(Path::new(env!("CARGO_MANIFEST_DIR")).join(file))
    };
    let dumped = |name: &str| {
        let file = format!("fast_served-{name}.safetensors");
        path(Path::new(env!("CARGO_TARGET_TMPDIR")).join(file))
    };
    let hippos = |args: &[&str]| {
        let command = Command::new(env!("CARGO_BIN_EXE_hippos"))
            .args(args)
            .output();
        command.expect("runs")
    };
    for name in [
        "72-packed",
        "74-packed-resumed",
        "75-padded-right",
        "76-padded-left",
        "79-cotangents",
    ] {
        let (case, out) = (golden(name), dumped(name));
        let run = ["run", &case, "--out", &out, "--form", "fast"];
        for more in [
            &["--precision", "f32"][..],
            &["--precision", "f32", "--grad"],
        ] {
            let ran = hippos(&[&run, more].concat());
            let message = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success(), "{name}: {message}");
            let judged = hippos(&["check", &case, &out]);
            let said = String::from_utf8_lossy(&judged.stdout);
            assert_eq!(judged.status.code(), Some(0), "{name}, {more:?}: {said}");
        }
    }
    let (case, out) = (golden("77-schedule"), dumped("77-schedule"));
    let ran = hippos(&["run", &case, "--out", &out, "--form", "fast"]);
    assert_eq!(ran.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("schedule"));
    assert!(!Path::new(&out).exists());
}
