//! The figures drawn are those checked in, byte for byte, and what cannot be drawn is refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

fn draw(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hungry-hippos-figures"))
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| {
            let path = entry.expect("readable").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            (name.into_owned(), std::fs::read(&path).expect("readable"))
        })
        .collect()
}

#[test]
fn the_figures_checked_in_are_those_drawn() {
    const AGAIN: &str =
        "cargo run --release --manifest-path docs/draw/Cargo.toml -- --out docs/figures";
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("made/deep");
    drop(std::fs::remove_dir_all(&out));
    let drawn = draw(&["--out", out.to_str().expect("UTF-8")]);
    assert!(drawn.status.success(), "{drawn:?}");
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("../figures");
    let (drawn, checked_in) = (files(&out), files(&checked_in));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&drawn), names(&checked_in), "run: {AGAIN}");
    for (name, bytes) in &drawn {
        // Git may have changed the ends of lines.
        let checked_in = checked_in[name].iter().copied();
        let checked_in: Vec<u8> = checked_in.filter(|&b| b != b'\r').collect();
        let same = bytes.iter().zip(&checked_in).take_while(|(a, b)| a == b);
        assert!(
            *bytes == checked_in,
            "docs/figures/{name} differs from what is drawn, from byte {} on; run: {AGAIN}",
            same.count()
        );
    }
}

#[test]
fn what_cannot_be_drawn_is_refused_in_one_line() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("refused");
    std::fs::create_dir_all(&folder).expect("made");
    let file = folder.join("a-file");
    std::fs::write(&file, "kept").expect("written");
    let file = file.to_str().expect("UTF-8");
    let under = format!("{file}/below");
    for (arguments, expected) in [
        (vec![], "--out is missing"),
        (vec!["--out"], "--out needs a value"),
        (vec!["--out", ""], "--out needs a value"),
        (vec!["--out", "x", "--out", "x"], "--out is given twice"),
        (vec!["--out", file], "a-file"),
        (vec!["--out", &under], "a-file/below"),
        (vec!["--out", "x", "extra"], "extra"),
        (vec!["--format", "png"], "unexpected argument \"--format\""),
    ] {
        let output = draw(&arguments);
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(expected), "{expected:?} not in {stderr}");
    }
    assert_eq!(std::fs::read(file).expect("there"), b"kept");
    let help = draw(&["--help"]);
    assert!(help.status.success() && help.stdout.starts_with(b"usage: "));
}
