//! What the documentation quotes of a command's output is what the command prints: a block of text
//! under `<!-- printed by: COMMAND -->`.

use crate::{pages, root};
use hungry_hippos::safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

#[path = "../../examples/learned.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod learned;
#[path = "../../examples/one_page.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod one_page;
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

/// What a command prints. Each is run once, whichever test asks first, and beside others.
fn printed(command: &str) -> String {
    static PRINTED: Mutex<BTreeMap<String, Arc<OnceLock<String>>>> = Mutex::new(BTreeMap::new());
    let mut known = PRINTED.lock().expect("nothing panics that holds it");
    let text = Arc::clone(known.entry(command.to_string()).or_default());
    drop(known);
    text.get_or_init(|| run(command)).clone()
}

fn run(command: &str) -> String {
    if command == "cargo run --example recall" {
        return recall::report().expect("the layer is one");
    }
    if command == "cargo run --release --example learned" {
        return learned::report(learned::OF_THE_SUITE.as_ref()).expect("a model that recalls");
    }
    if command == "cargo run --release --example cost" {
        return crate::cost::example::report().expect("every form runs");
    }
    if let Some(case) = command.strip_prefix("cargo run --release --example one_page ") {
        let file = SafeTensors::open(&root().join(case)).expect("a case file");
        return one_page::report(&file).expect("the page runs");
    }
    let mut words = command.split(' ');
    assert_eq!(words.next(), Some("hippos"), "{command}: not known here");
    // A file of its own.
    let name: String = command
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect();
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name + ".safetensors");
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
    let mut checked = 0;
    for (path, page) in pages() {
        for quotation in quotations(&path.display().to_string(), &page) {
            let Quotation {
                place,
                command,
                lines,
            } = quotation;
            let printed = printed(&command);
            if let Some(line) = missing(&lines, &printed) {
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
fn unprinted(list: &str, printed_by: impl Fn(&str) -> String) -> Vec<String> {
    let pages = pages();
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
            !quoted || !printed_by(command).contains(printed.as_str())
        })
        .map(str::to_string)
        .collect()
}

#[test]
fn numbers_on_the_list_are_printed() {
    let list = include_str!("numbers.txt");
    let wrong = unprinted(list, printed);
    assert!(
        wrong.is_empty(),
        "not in the page, or not printed: {wrong:#?}"
    );
}

/// A number that is not printed, one that no page has, and a line without a command are found.
#[test]
fn numbers_that_are_not_printed_are_found() {
    let wrong = |line: &str| unprinted(line, |_| "1 and 2".to_string()).len();
    assert_eq!(wrong("README.md | Checking a port | x | 2"), 0);
    assert_eq!(wrong("README.md | Checking a port | x | 3"), 1);
    assert_eq!(wrong("README.md | No such text anywhere | x | 2"), 1);
    assert_eq!(wrong("README.md | Checking a port"), 1);
}

/// The cells of a table that are not "largest / median" of a row's stage in the certified run of a
/// column's case, and how many cells there are.
fn misquoted_errors(table: &[&str], printed_by: impl Fn(&str) -> String) -> (Vec<String>, usize) {
    let rows: Vec<Vec<&str>> = table
        .iter()
        .map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let (mut wrong, mut cells) = (Vec::new(), 0);
    for (column, case) in rows[0].iter().enumerate().skip(1) {
        let file = format!("tests/data/layer-{case}.safetensors");
        let printed = printed_by(&format!(
            "hippos run {file} --out {{out}} --precision certified"
        ));
        for row in &rows[2..] {
            let line = printed
                .lines()
                .map(|line| line.split_whitespace().collect::<Vec<_>>())
                .find(|words| words.first() == Some(&row[0]));
            let expected = line.as_deref().and_then(|words| match words {
                [.., largest, median, _radius, _retried] => Some(format!("{largest} / {median}")),
                _ => None,
            });
            cells += 1;
            if expected.as_deref() != row.get(column).copied() {
                wrong.push(format!("{} of {case} is {expected:?}", row[0]));
            }
        }
    }
    (wrong, cells)
}

/// Chapter 09's table of the official code's errors: a column for a case, a row for a stage.
#[test]
fn the_table_of_official_errors_is_what_certified_runs_print() {
    let page = std::fs::read_to_string(root().join("docs/09-oracle.md")).expect("chapter 09");
    let mut table: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("| stage | v1-"))
        .take_while(|line| line.starts_with('|'))
        .collect();
    assert_eq!(misquoted_errors(&table, printed), (vec![], 12 * 6));
    // A wrong digit is found.
    let other = table[2].replace("34.0 / 1.0", "34.1 / 1.0");
    assert_ne!(other, table[2]);
    table[2] = &other;
    assert_eq!(misquoted_errors(&table, printed).0.len(), 1);
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
