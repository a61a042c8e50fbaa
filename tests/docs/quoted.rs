//! What the documentation quotes of a command's output is what the command prints: a block of text
//! under `<!-- printed by: COMMAND -->`.

use crate::{pages, root};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

#[path = "../../examples/recall.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod recall;

/// Where, by which command, which lines.
struct Quotation {
    place: String,
    command: String,
    lines: Vec<String>,
}

fn quotations(place: &str, page: &str) -> Vec<Quotation> {
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(command) = line.strip_prefix("<!-- printed by: ") else {
            continue;
        };
        let place = format!("{place}:{}", number + 1);
        let command = command
            .strip_suffix(" -->")
            .expect("the comment ends in its line");
        let opened = lines.find(|(_, line)| !line.is_empty());
        assert_eq!(opened.map(|(_, line)| line), Some("```text"), "{place}");
        found.push(Quotation {
            place,
            command: command.to_string(),
            lines: lines
                .by_ref()
                .map(|(_, line)| line.to_string())
                .take_while(|line| line != "```")
                .collect(),
        });
    }
    found
}

fn run(command: &str) -> String {
    if command == "cargo run --example recall" {
        return recall::report().expect("the layer is one");
    }
    if command == "cargo run --release --example cost" {
        return crate::cost::example::report().expect("every form runs");
    }
    let mut words = command.split(' ');
    assert_eq!(words.next(), Some("hippos"), "{command}: not known here");
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("quoted.safetensors");
    let output = Command::new(env!("CARGO_BIN_EXE_hippos"))
        .args(words.map(|word| match word {
            "{out}" => scratch.as_os_str(),
            word => word.as_ref(),
        }))
        .current_dir(root())
        .output()
        .expect("hippos runs");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The first quoted line that is not where it must be: lines follow one another as they were
/// printed, and `...` stands for any number of them. A line `$ ...` is the command.
fn missing<'q>(quoted: &'q [String], printed: &str) -> Option<&'q str> {
    let printed: Vec<&str> = printed.lines().collect();
    let (mut from, mut anywhere) = (0, true);
    for line in quoted.iter().filter(|line| !line.starts_with("$ ")) {
        if line.trim() == "..." {
            anywhere = true;
            continue;
        }
        let rest = printed.get(from..).unwrap_or(&[]);
        let at = if anywhere {
            rest.iter().position(|p| p == line)
        } else {
            rest.first().filter(|p| *p == line).map(|_| 0)
        };
        let Some(at) = at else {
            return Some(line);
        };
        (from, anywhere) = (from + at + 1, false);
    }
    None
}

#[test]
fn quotations_are_what_commands_print() {
    let mut outputs = BTreeMap::new();
    let mut checked = 0;
    for (path, page) in pages() {
        for quotation in quotations(&path.display().to_string(), &page) {
            let Quotation {
                place,
                command,
                lines,
            } = quotation;
            let printed = outputs
                .entry(command.clone())
                .or_insert_with(|| run(&command));
            if let Some(line) = missing(&lines, printed) {
                panic!(
                    "{place}: `{command}` does not print this line there:\n{line}\nbut:\n{printed}"
                );
            }
            checked += lines.len();
        }
    }
    assert!(checked > 20, "only {checked} lines are quoted");
}

/// The lines of a list of numbers that do not hold: `page | text | command | printed`.
fn unprinted(list: &str, run: &mut impl FnMut(&str) -> String) -> Vec<String> {
    let pages = pages();
    let mut outputs = BTreeMap::new();
    list.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .filter(|line| {
            let fields: Vec<String> = line.split(" | ").map(|f| f.replace("\\n", "\n")).collect();
            let [page, text, command, printed] = &fields[..] else {
                return true;
            };
            let quoted = pages
                .iter()
                .any(|(path, body)| path == Path::new(page) && body.contains(text.as_str()));
            let output = outputs
                .entry(command.clone())
                .or_insert_with(|| run(command));
            !quoted || !output.contains(printed.as_str())
        })
        .map(str::to_string)
        .collect()
}

#[test]
fn numbers_on_the_list_are_printed() {
    let list = include_str!("numbers.txt");
    let wrong = unprinted(list, &mut run);
    assert!(
        wrong.is_empty(),
        "not in the page, or not printed: {wrong:#?}"
    );
}

/// A number that is not printed, one that no page has, and a line without a command are found.
#[test]
fn numbers_that_are_not_printed_are_found() {
    let mut print = |_: &str| "1 and 2".to_string();
    let mut wrong = |line: &str| unprinted(line, &mut print).len();
    assert_eq!(wrong("README.md | Two commands | x | 2"), 0);
    assert_eq!(wrong("README.md | Two commands | x | 3"), 1);
    assert_eq!(wrong("README.md | No such text anywhere | x | 2"), 1);
    assert_eq!(wrong("README.md | Two commands"), 1);
}

/// The comparison can fail: a digit changed, a line dropped, lines exchanged.
#[test]
fn wrong_quotations_are_found() {
    let printed = "a 1\nb 2\nc 3\nd 4\n";
    let wrong = |lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        missing(&lines, printed).is_some()
    };
    assert!(!wrong(&["$ hippos x", "b 2", "c 3"]));
    assert!(!wrong(&["a 1", "...", "d 4"]));
    assert!(wrong(&["a 2"]));
    assert!(wrong(&["a 1", "c 3"]));
    assert!(wrong(&["b 2", "...", "a 1"]));
}

/// The translation has the code of the original, block by block, so what is tested there is tested
/// here.
#[test]
fn the_translation_has_the_same_code() {
    let read = |name: &str| std::fs::read_to_string(root().join("docs").join(name)).expect(name);
    let blocks = |page: &str| -> Vec<String> {
        let parts = page.split("\n```");
        parts.skip(1).step_by(2).map(str::to_string).collect()
    };
    let formulas = |page: &str| page.matches("$$").count();
    let (original, translation) = (read("19-review.md"), read("19-review.ko.md"));
    assert!(blocks(&original).len() >= 6);
    assert_eq!(blocks(&translation), blocks(&original));
    assert_eq!(formulas(&translation), formulas(&original));
    assert!(original.contains("]: 19-review.ko.md") && translation.contains("]: 19-review.md"));
}
