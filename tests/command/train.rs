//! Claim: `hippos train` goes on bit for bit where it was left, for any number of threads, writes what the
//! other commands read, and refuses what contradicts itself before it trains.

use super::support::{folder, hippos};
use crate::common::is_exhaustive;
use hungry_hippos::oracle::Case;
use std::path::Path;
use std::process::Output;

/// A model that is trained within a tenth of a second.
const SMALL: &str = "--examples 40 --batch 16 --d-model 4 --d-state 4 --epochs 3";

fn train(flags: &str) -> Output {
    let args: Vec<&str> = std::iter::once("train")
        .chain(flags.split_whitespace())
        .collect();
    hippos(&args)
}

fn done(flags: &str) -> Output {
    let output = train(flags);
    assert!(output.status.success(), "{flags}: {output:?}");
    output
}

#[test]
fn a_resumed_run_is_the_same_bit_for_bit() {
    let folder = folder("train-resume");
    for mixer in ["h3", "s4d", "hybrid"] {
        let path = |name: &str| folder.join(format!("{mixer}-{name}")).display().to_string();
        let (whole, part, other) = (path("whole"), path("part"), path("other"));
        let (plot, again) = (path("plot.svg"), path("again.svg"));
        let begun = format!("recall --mixer {mixer} {SMALL}");
        done(&format!("{begun} --threads 1 --save {whole} --plot {plot}"));
        done(&format!("{begun} --threads 3 --save {part} --stop 1"));
        let bytes = |file: &str| std::fs::read(file).expect("written");
        assert_ne!(bytes(&whole), bytes(&part));
        let output = done(&format!(
            "recall --resume {part} --save {part} --plot {again}"
        ));
        assert_eq!(bytes(&whole), bytes(&part), "{mixer}");
        assert_eq!(bytes(&plot), bytes(&again), "the curve is whole too");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr.lines().count(), 2, "an epoch a line: {stderr}");
        // Teeth: another seed.
        done(&format!("{begun} --seed 1 --save {other}"));
        assert_ne!(bytes(&whole), bytes(&other));
    }
}

/// What is certified of a small model takes a second: one with attention and H3 layers, one with S4D; with
/// `HIPPOS_EXHAUSTIVE` set, all are.
#[test]
fn other_commands_read_what_is_trained() {
    let folder = folder("train-out");
    let path = |name: &str| folder.join(name).display().to_string();
    for (task, flags, is_certified) in [
        ("recall", "--vocab 20", is_exhaustive()),
        ("induction", "--mixer attention --heads 2", is_exhaustive()),
        ("recall", "--mixer hybrid", true),
        ("recall", "--mixer s4d", true),
    ] {
        let (out, stages, golden) = (path("case"), path("stages"), path("golden"));
        done(&format!("{task} {flags} {SMALL} --stop 1 --out {out}"));
        let case = Case::open(Path::new(&out)).expect("a case");
        assert_eq!(case.kind(), "model");
        let perplexity = ["lm", "perplexity", &out];
        if flags == "--mixer s4d" {
            let output = hippos(&perplexity);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(
                !output.status.success()
                    && stderr.contains("S4D")
                    && stderr.contains("--form step"),
                "{stderr}"
            );
        } else {
            assert!(hippos(&perplexity).status.success());
        }
        let commands = [
            vec!["run", &out, "--grad", "--out", &stages],
            vec!["lm", "perplexity", &out, "--form", "step"],
            vec!["golden", "--from", &out, "--out", &golden],
            vec!["check", &golden, &stages],
        ];
        for args in &commands[..if is_certified { 4 } else { 2 }] {
            let output = hippos(args);
            assert!(output.status.success(), "{args:?}: {output:?}");
        }
    }
}

#[test]
fn a_text_is_learned_byte_by_byte() {
    let folder = folder("train-text");
    let path = |name: &str| folder.join(name).display().to_string();
    let (text, saved) = (path("text"), path("saved"));
    std::fs::write(&text, "abcde".repeat(100)).expect("written");
    let flags = "--seq-len 8 --d-model 4 --d-state 4 --batch 4 --epochs 4";
    let output = done(&format!(
        "text {text} {flags} --rate 0.03 --json --save {saved}"
    ));
    let json = String::from_utf8(output.stdout).expect("UTF-8");
    let scores = json.split("\"score\":[").nth(1).expect("scores");
    let scores: Vec<f64> = scores
        .split(']')
        .next()
        .expect("a list")
        .split(',')
        .map(|score| score.parse().expect("a number"))
        .collect();
    assert_eq!(scores.len(), 4);
    // 8 bits are what knows nothing needs, log2 of 5 what knows the letters.
    assert!(scores[3] < 2.5, "{json}");
    std::fs::write(&text, "abcdf".repeat(100)).expect("written");
    let refused = train(&format!("text {text} --resume {saved}"));
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("others than those the run was begun with"),
        "{stderr}"
    );
}

#[test]
fn several_seeds_are_several_runs() {
    let output = done(&format!(
        "recall {SMALL} --seed 7 --seeds 3 --threads 2 --stop 1"
    ));
    let table = String::from_utf8(output.stdout).expect("UTF-8");
    let seeds: Vec<&str> = table
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .take(3)
        .collect();
    assert_eq!(seeds, ["7", "8", "9"], "{table}");
    assert!(table.contains("last score of 3 seeds: mean"), "{table}");
}

#[test]
fn a_score_ends_a_run() {
    let flags = format!("recall {SMALL} --rate 0");
    let epochs = |more: &str| {
        let output = done(&format!("{flags} {more}"));
        String::from_utf8_lossy(&output.stderr).lines().count()
    };
    assert_eq!(
        (epochs("--until 0"), epochs("--until 100"), epochs("")),
        (1, 3, 3)
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    let folder = folder("train-bad");
    let path = |name: &str| folder.join(name).display().to_string();
    let (saved, out) = (path("saved"), path("out"));
    let trained = path("trained");
    done(&format!(
        "recall {SMALL} --stop 1 --save {saved} --out {trained}"
    ));
    let case = crate::common::data("lm-tiny").display().to_string();
    for (flags, said) in [
        ("nothing".into(), "recall, induction, text"),
        ("text".into(), "FILE is missing"),
        ("text /no/such/file".into(), "/no/such/file"),
        ("recall --vocab 12".into(), "--vocab"),
        (
            "induction --vocab 10".into(),
            "--vocab goes with train recall",
        ),
        (
            "recall --seq-len 10".into(),
            "--seq-len goes with train text",
        ),
        (
            "recall --mixer attention --heads 5".into(),
            "does not divide",
        ),
        ("recall --dropout 1".into(), "--dropout: 1; expected"),
        (
            format!("text {saved} --examples 3"),
            "--examples does not go",
        ),
        (format!("text {saved} --seq-len 60000"), "at least"),
        (
            format!("text {saved} --out {saved}"),
            "is a file that is read",
        ),
        (
            format!("recall --resume {saved} --rate 1"),
            "--rate does not go with --resume",
        ),
        (format!("induction --resume {saved}"), "of train recall"),
        (
            format!("recall --resume {saved} --stop 1"),
            "--stop 1: the run of --resume has done 1 epochs",
        ),
        (format!("recall --resume {case}"), "train.task"),
        (
            format!("recall --resume {trained}"),
            "every moment of AdamW",
        ),
        (
            format!("recall {SMALL} --save {out} --out {out}"),
            "is the file of --save too",
        ),
        (
            format!(
                "recall {SMALL} --out {out} --plot {}/./out",
                folder.display()
            ),
            "is the file of --out too",
        ),
        (
            format!("recall --seeds 2 --out {out}"),
            "--out goes with one run",
        ),
        (
            format!("recall --seeds 2 --resume {saved}"),
            "--resume goes with one run",
        ),
    ] {
        let output = train(&flags);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{flags}: {stderr}");
        assert!(stderr.contains(said), "{flags}: {stderr}");
        assert!(!Path::new(&out).exists(), "{flags}");
    }
}
