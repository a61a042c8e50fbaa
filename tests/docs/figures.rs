//! `hippos figures` draws what is checked in, byte for byte, and refuses what it cannot do.

use crate::root;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

fn draw(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hippos"))
        .arg("figures")
        .args(arguments)
        .output()
        .expect("hippos runs")
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
    const AGAIN: &str = "cargo run --release -- figures --out docs/figures";
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures/made/deep");
    drop(std::fs::remove_dir_all(&out));
    let drawn = draw(&["--out", out.to_str().expect("UTF-8")]);
    assert!(drawn.status.success(), "{drawn:?}");
    let (drawn, kept) = (files(&out), files(&root().join("docs/figures")));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&drawn), names(&kept), "run: {AGAIN}");
    for (name, bytes) in &drawn {
        // Git may have changed the ends of lines.
        let kept: Vec<u8> = kept[name].iter().copied().filter(|&b| b != b'\r').collect();
        let same = bytes.iter().zip(&kept).take_while(|(a, b)| a == b).count();
        assert!(
            *bytes == kept,
            "docs/figures/{name} differs from what is drawn, from byte {same} on; run: {AGAIN}"
        );
    }
}

#[test]
fn every_figure_is_shown_and_described() {
    let pages = crate::pages();
    for (name, bytes) in files(&root().join("docs/figures")) {
        let Some(figure) = name.strip_suffix(".svg") else {
            continue;
        };
        let shown = format!("][fig-{figure}]");
        assert!(
            pages.iter().any(|(_, page)| page.contains(&shown)),
            "no chapter shows {name}"
        );
        let text = String::from_utf8(bytes).expect("UTF-8");
        for part in ["<title>", "<desc>", "prefers-color-scheme:dark"] {
            assert!(text.contains(part), "{name} has no {part}");
        }
        for wrong in ["NaN", "inf", "\"-0\"", "var("] {
            assert!(!text.contains(wrong), "{name} has {wrong}");
        }
    }
}

/// What chapter 9 says of its figure is what the figure was drawn with.
#[test]
fn chapter_nine_quotes_its_figure() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("a page");
    let (page, figure) = (read("docs/09-oracle.md"), read("docs/figures/stages.svg"));
    let page = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for (said, drawn) in [
        ("it is 43 tolerances off in the kernel", ">43 ×<"),
        ("but only 0.7 in the output", ">0.7 ×<"),
    ] {
        assert!(
            page.contains(said) && figure.contains(drawn),
            "{said}, {drawn}"
        );
    }
}

#[test]
fn what_cannot_be_drawn_is_refused_in_one_line() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures-refused");
    std::fs::create_dir_all(&folder).expect("made");
    let file = folder.join("a-file");
    std::fs::write(&file, "kept").expect("written");
    let file = file.to_str().expect("UTF-8");
    let under = format!("{file}/below");
    for (arguments, expected) in [
        (vec![], "--out is missing"),
        (vec!["--out"], "--out needs a value"),
        (vec!["--out", file], "a-file"),
        (vec!["--out", &under], "a-file/below"),
        (vec!["--out", "x", "extra"], "extra"),
        (vec!["--format", "png"], "unknown flag --format"),
    ] {
        let output = draw(&arguments);
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(expected), "{expected:?} not in {stderr}");
    }
    assert_eq!(std::fs::read(file).expect("there"), b"kept");
}
