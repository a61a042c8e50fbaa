//! Claim: `hippos init` writes a case that `run` and `golden` read, the same for the same seed, and
//! answers bad requests with one line, exit status 2 and no file.

use super::support::{folder, hippos};
use hungry_hippos::algebra::FloatFormat;
use hungry_hippos::oracle::{Golden, LayerCase};
use hungry_hippos::safetensors::SafeTensors;
use std::path::Path;

#[test]
fn the_command_writes_what_run_and_golden_read() {
    let folder = folder("init");
    let path = |name: &str| folder.join(name).display().to_string();
    let (case, again, out) = (path("case"), path("again"), path("out"));
    for file in [&case, &again] {
        let done = hippos(&[
            "init",
            "--d-model",
            "4",
            "--head-dim",
            "2",
            "--d-state",
            "6",
            "--measure",
            "diag-legs",
            "--disc",
            "zoh",
            "--seq-len",
            "9",
            "--batch",
            "2",
            "--seed",
            "7",
            "--out",
            file,
        ]);
        assert!(done.status.success(), "{done:?}");
    }
    let bytes = |file: &str| std::fs::read(file).expect("written");
    assert_eq!(bytes(&case), bytes(&again), "the same bytes");
    let file = SafeTensors::open(Path::new(&case)).expect("a file");
    let read = LayerCase::read(&file).expect("a case");
    assert_eq!(read.input().shape(), [2, 9, 4]);
    assert_eq!(file.metadata()["measure"], "diag-legs");
    assert!(hippos(&["run", &case, "--out", &out]).status.success());
    let golden = path("golden");
    let done = hippos(&["golden", "--from", &case, "--out", &golden]);
    assert!(done.status.success(), "{done:?}");
    assert!(hippos(&["check", &golden, &out]).status.success());
}

/// Every stage of what `--exact` writes is exact in the format asked for, whatever the sizes.
#[test]
fn an_exact_layer_is_exact() {
    let folder = folder("init-exact");
    for (format, flags, shape) in [
        (
            "bf16",
            "--d-model 4 --head-dim 2 --d-state 6 --n-ssm 1 --batch 2 --seq-len 9",
            [2, 9, 4],
        ),
        ("bf16", "--d-model 2 --seq-len 100 --l-max 30", [1, 100, 2]),
        ("f16", "--d-model 3 --d-state 4 --seed 8", [1, 64, 3]),
        ("f32", "--d-model 2 --d-state 10 --seq-len 20", [1, 20, 2]),
    ] {
        let out = folder.join(format).display().to_string();
        let mut args = vec!["init", "--exact", format, "--out", &out];
        args.extend(flags.split_whitespace());
        let done = hippos(&args);
        assert!(done.status.success(), "{format} {flags}: {done:?}");
        let case = LayerCase::open(Path::new(&out)).expect("a case");
        assert_eq!(case.input().shape(), shape);
        let golden = Golden::certify(case).expect("certified");
        let asked: FloatFormat = format.parse().expect("a format");
        for stage in golden.stages() {
            let held = stage.exact.contains(&asked) && stage.exact.contains(&FloatFormat::F64);
            assert!(held, "{format} {flags}: {}", stage.name());
        }
    }
}

#[test]
fn bad_requests_are_one_line_and_no_file() {
    let folder = folder("init-bad");
    let out = folder.join("case").display().to_string();
    for (flags, said) in [
        ("", "--d-model is missing"),
        ("--d-model 0", "--d-model 0"),
        ("--d-model four", "--d-model"),
        ("--d-model 4 --head-dim 3", "does not divide d_model"),
        ("--d-model 4 --head-dim 8", "does not divide d_model"),
        (
            "--d-model 4 --n-ssm 3",
            "does not divide the number of heads",
        ),
        ("--d-model 4 --measure diag --n-ssm 1", "shared equally"),
        ("--d-model 4 --measure legs", "diag-lin"),
        (
            "--d-model 4 --measure diag-real --real-type sigmoid",
            "sigmoid",
        ),
        (
            "--d-model 4 --measure diag-legs --d-state 1000",
            "at most 256",
        ),
        ("--d-model 4 --d-state 1", "at least 2"),
        ("--d-model 4 --dt-min 1", "dt_min <= dt_max"),
        ("--d-model 4 --dt-min -1", "dt_min <= dt_max"),
        ("--d-model 4 --dt-min 0", "dt_min <= dt_max"),
        ("--d-model 4 --dt-max inf", "dt_min <= dt_max"),
        ("--d-model 4 --dt-min nan", "dt_min <= dt_max"),
        ("--d-model 4 --l-max 0", "--l-max 0"),
        ("--d-model 4 --disc euler", "bilinear, zoh"),
        ("--d-model 4 --real-type log", "softplus"),
        ("--d-model 4 --batch 0", "--batch 0"),
        ("--d-model 4 --seed -1", "--seed"),
        ("--d-model 99999999999", "numbers"),
        ("--d-model 4 --seq-len 99999999999", "numbers"),
        ("--d-model 4 --bogus 1", "unknown flag"),
        ("--d-model 4 --exact f8", "f64, f32, tf32, f16, bf16"),
        ("--d-model 4 --exact bf16 --disc zoh", "--disc does not go"),
        (
            "--d-model 4 --exact bf16 --dt-min 1",
            "--dt-min does not go",
        ),
        (
            "--d-model 4 --head-dim 3 --exact bf16",
            "does not divide d_model",
        ),
        ("--d-model 4 --d-state 1 --exact bf16", "at least 2"),
        ("--d-model 99999999999 --exact bf16", "smaller ones"),
        (
            "--d-model 64 --head-dim 64 --d-state 4 --seq-len 3 --exact bf16",
            "no exact case of this size was found in bf16",
        ),
    ] {
        let mut args = vec!["init", "--out", &out];
        args.extend(flags.split_whitespace());
        let done = hippos(&args);
        let stderr = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{flags}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{flags}: {stderr}");
        assert!(stderr.contains(said), "{flags}: {stderr}");
        assert!(!Path::new(&out).exists(), "{flags}");
    }
}
