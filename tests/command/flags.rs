//! Claims: every flag of every command refuses every bad value with one line that names it, and
//! whatever the system does while a file is written, no half of it is left under its name.

use super::support::{folder, hippos_in};
use crate::common::{data, golden_file, is_exhaustive};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Nothing.
    Switch,
    /// A whole number from 0.
    Number,
    /// A whole number from 1.
    Count,
    /// A positive number.
    Real,
    /// One of some names, of which this is one.
    Choice(&'static str),
    /// A file to write.
    Out,
    /// A folder to write into.
    Dir,
    /// A file to read.
    In,
}

/// A command that would succeed, and its flags. `CASE`, `LM` and `OUT` stand for paths.
struct Usage {
    command: &'static [&'static str],
    flags: &'static [(&'static str, Kind)],
}

const USAGES: &[Usage] = &[
    Usage {
        command: &["verify"],
        flags: &[
            ("--seed", Kind::Number),
            ("--trials", Kind::Count),
            ("--quick", Kind::Switch),
        ],
    },
    Usage {
        command: &["run", "CASE", "--form", "flashconv"],
        flags: &[
            ("--out", Kind::Out),
            ("--precision", Kind::Choice("f32")),
            ("--chunk", Kind::Count),
            ("--grad", Kind::Switch),
        ],
    },
    Usage {
        command: &["run", "CASE", "--out", "OUT"],
        flags: &[("--form", Kind::Choice("scan"))],
    },
    Usage {
        command: &["run", "CASE", "--out", "OUT", "--form", "fast"],
        flags: &[
            ("--threads", Kind::Count),
            ("--level", Kind::Choice("baseline")),
        ],
    },
    Usage {
        command: &["golden"],
        flags: &[("--seed", Kind::Number), ("--out", Kind::Dir)],
    },
    Usage {
        command: &["golden", "--out", "OUT"],
        flags: &[("--from", Kind::In)],
    },
    Usage {
        command: &["check", "CASE", "CASE"],
        flags: &[
            ("--dtype", Kind::Choice("f32")),
            ("--json", Kind::Switch),
            ("--report", Kind::Out),
        ],
    },
    Usage {
        command: &["lm", "logits", "LM", "--out", "OUT"],
        flags: &[
            ("--form", Kind::Choice("step")),
            ("--precision", Kind::Choice("f32")),
            ("--prompt-len", Kind::Count),
        ],
    },
    Usage {
        command: &["lm", "generate", "LM"],
        flags: &[("--tokens", Kind::Count)],
    },
    Usage {
        command: &["lm", "generate", "LM", "--tokens", "2"],
        flags: &[
            ("--temperature", Kind::Real),
            ("--top-k", Kind::Count),
            ("--top-p", Kind::Real),
            ("--seed", Kind::Number),
            ("--prompt", Kind::Choice("zero")),
            ("--form", Kind::Choice("step")),
            ("--precision", Kind::Choice("f32")),
            ("--weights", Kind::Choice("bf16")),
            ("--threads", Kind::Count),
            ("--level", Kind::Choice("baseline")),
            ("--unpadded", Kind::Switch),
            ("--time", Kind::Switch),
        ],
    },
    Usage {
        command: &["lm", "perplexity", "LM"],
        flags: &[
            ("--ids", Kind::In),
            ("--form", Kind::Choice("step")),
            ("--precision", Kind::Choice("f32")),
            ("--weights", Kind::Choice("int8")),
        ],
    },
    Usage {
        command: &["lm", "init", "--preset", "tiny", "--out", "OUT"],
        flags: &[
            ("--seed", Kind::Number),
            ("--attention", Kind::Choice("none")),
        ],
    },
    Usage {
        command: &["lm", "cost"],
        flags: &[
            ("--preset", Kind::Choice("tiny")),
            ("--from", Kind::Count),
            ("--to", Kind::Count),
            ("--rounds", Kind::Count),
            ("--csv", Kind::Switch),
        ],
    },
    Usage {
        command: &["train", "recall"],
        flags: &[
            ("--mixer", Kind::Choice("hybrid")),
            ("--vocab", Kind::Count),
            ("--epochs", Kind::Count),
            ("--examples", Kind::Count),
            ("--batch", Kind::Count),
            ("--rate", Kind::Real),
            ("--decay", Kind::Real),
            ("--dropout", Kind::Real),
            ("--d-model", Kind::Count),
            ("--blocks", Kind::Count),
            ("--d-state", Kind::Count),
            ("--heads", Kind::Count),
            ("--seed", Kind::Number),
            ("--data-seed", Kind::Number),
            ("--seeds", Kind::Count),
            ("--until", Kind::Real),
            ("--stop", Kind::Count),
            ("--threads", Kind::Count),
            ("--level", Kind::Choice("baseline")),
            ("--resume", Kind::In),
            ("--save", Kind::Out),
            ("--out", Kind::Out),
            ("--plot", Kind::Out),
            ("--json", Kind::Switch),
        ],
    },
    Usage {
        command: &["train", "text", "CASE"],
        flags: &[("--seq-len", Kind::Count)],
    },
];

/// Values no flag of a kind takes.
fn bad_values(kind: Kind, folder: &Path) -> Vec<OsString> {
    let mut values: Vec<OsString> = match kind {
        Kind::Switch => Vec::new(),
        Kind::Number | Kind::Count => [
            "-1",
            "1.5",
            "1e3",
            "0x10",
            " 1",
            "one",
            "NaN",
            "18446744073709551616",
            "\u{ff11}",
            "1\n",
        ]
        .map(OsString::from)
        .into(),
        Kind::Real => ["-1", "NaN", "inf", "1e999", "one", "0x1", "1,5", " 1"]
            .map(OsString::from)
            .into(),
        Kind::Choice(name) => vec![
            name.to_uppercase().into(),
            format!("{name} ").into(),
            "x\ny".into(),
        ],
        Kind::Out => vec![
            "/".into(),
            "..".into(),
            folder.join("no-such-folder").join("out").into(),
            folder.join("x".repeat(300)).into(),
        ],
        Kind::Dir => vec![
            case().into(),
            case().join("inside").into(),
            folder.join("x".repeat(300)).into(),
        ],
        Kind::In => vec![folder.join("nowhere").into(), folder.into()],
    };
    if kind == Kind::Count {
        values.push("0".into());
    }
    #[cfg(unix)]
    if !matches!(kind, Kind::Switch | Kind::Out | Kind::Dir) {
        use std::os::unix::ffi::OsStrExt as _;
        values.push(OsStr::from_bytes(b"\xff\xfe").to_owned());
    }
    values
}

fn case() -> PathBuf {
    data("layer-v5-hd4-L1")
}

fn model() -> PathBuf {
    data("lm-tiny")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut entries: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    entries.sort();
    entries
}

/// Exit status 2, one line on stderr that holds `names`, nothing on stdout, and no new file.
fn refused(folder: &Path, args: &[OsString], names: &str) {
    let before = entries(folder);
    let output = hippos_in(folder, args);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
    assert!(stderr.starts_with("hippos: "), "{stderr}");
    assert!(
        stderr.contains(names),
        "{args:?}: {names:?} not in {stderr}"
    );
    assert!(output.stdout.is_empty(), "{args:?}: nothing on stdout");
    assert_eq!(entries(folder), before, "{args:?}: no file is left behind");
}

/// And half of what is wrong with any flag, the next one the other half; with `HIPPOS_EXHAUSTIVE` set, all of it.
#[test]
fn every_flag_refuses_every_bad_value() {
    let folder = folder("values");
    let mut turn = 0;
    for usage in USAGES {
        let command: Vec<OsString> = usage
            .command
            .iter()
            .map(|&part| match part {
                "CASE" => case().into(),
                "LM" => model().into(),
                "OUT" => folder.join("out").into(),
                part => part.into(),
            })
            .collect();
        let with = |more: &[&OsStr]| -> Vec<OsString> {
            let more = more.iter().map(|&part| part.to_owned());
            command.iter().cloned().chain(more).collect()
        };
        refused(
            &folder,
            &with(&["--no-such-flag".as_ref()]),
            "--no-such-flag",
        );
        refused(
            &folder,
            &with(&["stray".as_ref(), "stray".as_ref()]),
            "stray",
        );
        for &(flag, kind) in usage.flags {
            let flag_os = OsStr::new(flag);
            if kind == Kind::Switch {
                refused(&folder, &with(&[flag_os, flag_os]), flag);
                refused(&folder, &with(&[format!("{flag}=1").as_ref()]), flag);
                continue;
            }
            let (empty, equals) = (OsStr::new(""), format!("{flag}="));
            let general: [&[&OsStr]; 5] = [
                &[flag_os],
                &[flag_os, empty],
                &[equals.as_ref()],
                &[flag_os, "--help-me".as_ref()],
                &[flag_os, "1".as_ref(), flag_os, "1".as_ref()],
            ];
            for (place, args) in general.into_iter().enumerate() {
                if (turn + place) % 2 == 0 || is_exhaustive() {
                    refused(&folder, &with(args), flag);
                }
            }
            turn += 1;
            for value in bad_values(kind, &folder) {
                // Where a path is at fault, the path is what to name.
                let names = match kind {
                    Kind::Out | Kind::Dir | Kind::In => "",
                    _ => flag,
                };
                let mut args = with(&[flag_os, &value]);
                // What else the command needs, so that nothing but the value is wrong.
                if usage.command[0] == "golden" && kind == Kind::Number {
                    args.extend(["--out".into(), folder.join("suite").into()]);
                }
                if usage.command[0] == "run"
                    && kind != Kind::Out
                    && !usage.command.contains(&"--out")
                {
                    args.extend(["--out".into(), folder.join("out").into()]);
                }
                refused(&folder, &args, names);
            }
        }
    }
}

#[test]
fn flags_that_contradict_each_other() {
    let folder = folder("contradictions");
    let case = case();
    let case = case.to_str().expect("UTF-8");
    for (args, names) in [
        (vec!["verify", "--quick", "--trials", "3"], "--quick"),
        (
            vec!["golden", "--from", case, "--out", "out", "--seed", "1"],
            "--seed",
        ),
        (vec!["golden", "--from", case, "--out", case], "--out"),
        (vec!["run", case, "--out", case], "--out"),
        (
            vec!["run", case, "--out", "out", "--threads", "2"],
            "--threads",
        ),
        (
            vec!["run", case, "--out", "out", "--level", "baseline"],
            "--level",
        ),
        (vec!["run", case, "--out", "out", "--chunk", "3"], "--chunk"),
        (
            vec![
                "run",
                case,
                "--out",
                "out",
                "--form",
                "fast",
                "--precision",
                "certified",
            ],
            "certified",
        ),
    ] {
        let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        refused(&folder, &args, names);
    }
}

/// A device is not replaced by a file.
#[cfg(unix)]
#[test]
fn what_is_no_regular_file_stays() {
    let folder = folder("devices");
    let run = |out: &str| -> Vec<OsString> {
        ["run", case().to_str().expect("UTF-8"), "--out", out]
            .map(OsString::from)
            .into()
    };
    // A pipe of the test's own: were the code wrong, a system's device would be lost to all.
    let pipe = Command::new("mkfifo").arg(folder.join("pipe")).status();
    assert!(pipe.expect("mkfifo runs").success());
    refused(&folder, &run("pipe"), "pipe");
    fs::create_dir(folder.join("taken")).expect("a folder");
    refused(&folder, &run("taken"), "taken");
    // Through a link too, also through one that names no path, as those of a process's open files.
    let link = |target: &str, name: &str| {
        std::os::unix::fs::symlink(target, folder.join(name)).expect("linked");
    };
    link("pipe", "to-pipe");
    link("absent", "to-none");
    refused(&folder, &run("to-pipe"), "to-pipe");
    refused(&folder, &run("to-none"), "to-none");
    if cfg!(target_os = "linux") {
        link("/proc/self/fd/1", "to-stdout");
        refused(&folder, &run("to-stdout"), "to-stdout");
        assert!(folder.join("to-stdout").is_symlink());
    }
    assert!(folder.join("to-pipe").is_symlink() && folder.join("to-none").is_symlink());
    let kind = fs::metadata(folder.join("pipe"))
        .expect("there")
        .file_type();
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&kind));
    // A link is followed: its target is replaced, the link stays.
    fs::write(folder.join("target"), "old").expect("written");
    std::os::unix::fs::symlink("target", folder.join("link")).expect("linked");
    assert!(hippos_in(&folder, &run("link")).status.success());
    assert!(
        fs::symlink_metadata(folder.join("link"))
            .expect("there")
            .is_symlink()
    );
    assert!(fs::read(folder.join("target")).expect("readable").len() > 1000);
}

/// A disk that fills up, as a limit on the size of files; what was there before stays.
#[cfg(target_os = "linux")]
#[test]
fn a_write_that_fails_leaves_what_was_there() {
    let folder = folder("full");
    for old in [None, Some("what was there")] {
        if let Some(old) = old {
            fs::write(folder.join("out"), old).expect("written");
        }
        let before = entries(&folder);
        let script = format!(
            "trap '' XFSZ; ulimit -f 1; exec '{}' run '{}' --out out",
            env!("CARGO_BIN_EXE_hippos"),
            case().display()
        );
        let output = Command::new("bash")
            .args(["-c", &script])
            .current_dir(&folder)
            .output();
        let output = output.expect("bash runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains("out"), "{stderr}");
        assert_eq!(entries(&folder), before, "no file is left behind");
        let now = fs::read_to_string(folder.join("out")).ok();
        assert_eq!(now.as_deref(), old, "untouched");
    }
}

/// Killed at any moment, the file is whole or not there (under its own name), and nothing else is left for
/// long.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_a_whole_file_or_none() {
    let folder = folder("killed");
    let out = folder.join("out");
    let args: Vec<OsString> = ["run", case().to_str().expect("UTF-8"), "--out", "out"]
        .map(OsString::from)
        .into();
    assert!(hippos_in(&folder, &args).status.success());
    let whole = fs::read(&out).expect("written");
    for micros in (0..4000).step_by(250) {
        let _ = fs::remove_file(&out);
        let mut child = Command::new(env!("CARGO_BIN_EXE_hippos"))
            .args(&args)
            .current_dir(&folder)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("hippos runs");
        std::thread::sleep(std::time::Duration::from_micros(micros));
        let _ = child.kill();
        child.wait().expect("ended");
        if let Ok(bytes) = fs::read(&out) {
            assert!(bytes == whole, "killed after {micros} us: half a file");
        }
    }
    // What the killed ones left, the next one removes.
    fs::write(folder.join(".hippos-1-0.tmp"), "half").expect("written");
    assert!(hippos_in(&folder, &args).status.success());
    assert_eq!(entries(&folder), [out]);
}

/// Where standard output takes nothing, a file that was written is still written, and the exit status says
/// so; a command that writes none has failed.
#[cfg(target_os = "linux")]
#[test]
fn a_written_file_needs_no_standard_output() {
    let folder = folder("full-stdout");
    let model = data("lm-tiny").display().to_string();
    let case = case().display().to_string();
    for (args, status) in [
        (vec!["run", &case, "--out", "out"], 0),
        (vec!["golden", "--from", &case, "--out", "out"], 0),
        (vec!["init", "--d-model", "2", "--out", "out"], 0),
        (vec!["lm", "logits", &model, "--out", "out"], 0),
        (
            vec!["lm", "generate", &model, "--tokens", "1", "--out", "out"],
            0,
        ),
        (vec!["lm", "generate", &model, "--tokens", "1"], 2),
        (vec!["show", &case], 2),
    ] {
        let _ = fs::remove_file(folder.join("out"));
        let full = fs::File::create("/dev/full").expect("a device");
        let output = Command::new(env!("CARGO_BIN_EXE_hippos"))
            .args(&args)
            .current_dir(&folder)
            .stdout(full)
            .output()
            .expect("hippos runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.contains("standard output"), "{args:?}: {stderr}");
        assert_eq!(stderr.contains("out is written"), status == 0, "{stderr}");
        assert_eq!(folder.join("out").is_file(), status == 0, "{args:?}");
    }
}

/// `help COMMAND` is what `COMMAND --help` is, and of a command there is none it is an error.
#[test]
fn help_of_a_command_is_that_of_the_command() {
    let folder = folder("help");
    for command in ["check", "train", "lm"] {
        let asked = hippos_in(&folder, &["help", command].map(OsStr::new));
        let of_command = hippos_in(&folder, &[command, "--help"].map(OsStr::new));
        assert!(asked.status.success() && !asked.stdout.is_empty());
        assert_eq!(asked.stdout, of_command.stdout, "{command}");
    }
    refused(&folder, &["help", "chek"].map(OsString::from), "chek");
}

/// A reader of the output that has gone away is no error, and nothing to talk about.
#[cfg(unix)]
#[test]
fn a_broken_pipe_is_silent() {
    let golden = golden_file("01-basic");
    let golden = golden.display();
    for command in [
        "--help",
        &format!("show '{}'", case().display()),
        // What takes a while finds nobody left when it prints; the second one takes a second.
        &format!("check '{golden}' '{golden}' --dtype bf16"),
        if is_exhaustive() {
            "verify --trials 1"
        } else {
            "--version"
        },
    ] {
        let script = format!(
            "'{}' {command} | true; exit ${{PIPESTATUS[0]}}",
            env!("CARGO_BIN_EXE_hippos")
        );
        let output = Command::new("bash")
            .args(["-c", &script])
            .output()
            .expect("bash runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.is_empty(), "{command}: {stderr}");
        assert_eq!(output.status.code(), Some(0), "{command}");
    }
}
