//! Claim: the equivalent mutants that `docs/mutation-testing.md` lists are changes of lines that are there.

use super::root;
use std::fs;

/// The file and the line of source of every row of the lists, and the change: the rows of three cells under
/// headings that name a file.
fn rows(page: &str) -> Vec<[String; 3]> {
    let mut file = "";
    let mut rows = Vec::new();
    for line in page.lines() {
        if line.starts_with('#') {
            file = line.trim_matches(['#', ' ', '`']);
        }
        if !line.starts_with("| `") || !file.starts_with("src/") {
            continue;
        }
        // A bar within a cell is escaped.
        let cells = line.replace("\\|", "\u{1}");
        let mut cells = cells.trim_matches('|').split('|').map(|cell| {
            let cell = cell.trim().replace('\u{1}', "|");
            cell.trim_matches('`').trim().to_string()
        });
        let mut next = || {
            cells
                .next()
                .unwrap_or_else(|| panic!("three cells: {line}"))
        };
        rows.push([file.to_string(), next(), next()]);
        assert!(!next().is_empty(), "a reason: {line}");
    }
    rows
}

#[test]
fn the_lines_listed_are_in_the_source() {
    let page = fs::read_to_string(root().join("docs/mutation-testing.md")).expect("a page");
    let rows = rows(&page);
    assert!(rows.len() > 10, "the list is read");
    for [file, code, change] in rows {
        let source = fs::read_to_string(root().join(&file)).expect("a file of the source");
        assert!(
            source.lines().any(|line| line.trim() == code),
            "{file}: {code}"
        );
        // What is replaced stands there.
        let from = change.split_whitespace().nth(1).expect("replace X with Y");
        assert!(
            change.contains("->") || code.contains(from.trim_matches('`')),
            "{code}: {change}"
        );
    }
}
