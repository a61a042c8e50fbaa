//! Every relative link of the documentation leads to a file, and every anchor to a heading.

use crate::{pages, root};
use std::path::{Component, Path, PathBuf};

/// The text without code blocks, without code spans and without formulas: links in those are none.
fn prose(page: &str) -> String {
    let mut prose = String::new();
    let mut fence: Option<&str> = None;
    for line in page.lines() {
        let marks = line.trim_start();
        let length = marks.len() - marks.trim_start_matches('`').len();
        match fence {
            None if length >= 3 => fence = Some(&marks[..length]),
            Some(open) if marks.trim_end() == open => fence = None,
            None => {
                for (i, part) in line.split('`').enumerate() {
                    if i % 2 == 0 {
                        prose.push_str(part);
                    }
                }
                prose.push('\n');
            }
            Some(_) => {}
        }
    }
    prose
}

/// Targets of `[text](target)`, of `[name]: target`, and names used as `[text][name]`.
struct Links {
    targets: Vec<String>,
    names: Vec<String>,
    defined: Vec<String>,
}

fn links(page: &str) -> Links {
    let prose = prose(page);
    let mut links = Links {
        targets: Vec::new(),
        names: Vec::new(),
        defined: Vec::new(),
    };
    let until = |text: &str, end: char| text.split(end).next().unwrap_or("").to_string();
    for after in prose.split("](").skip(1) {
        links.targets.push(until(after, ')'));
    }
    for after in prose.split("][").skip(1) {
        links.names.push(until(after, ']'));
    }
    for line in prose.lines() {
        if let Some((name, target)) = line.strip_prefix('[').and_then(|l| l.split_once("]: ")) {
            links.defined.push(name.to_string());
            links.targets.push(target.trim().to_string());
        }
    }
    links
}

/// The anchors GitHub gives to a page's headings.
fn anchors(page: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let mut fenced = false;
    for line in page.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        let title = line.trim_start_matches('#');
        if fenced || !line.starts_with('#') || !title.starts_with(' ') {
            continue;
        }
        let anchor: String = title
            .trim()
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .flat_map(char::to_lowercase)
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let same = anchors.iter().filter(|a| **a == anchor).count();
        anchors.push(if same == 0 {
            anchor
        } else {
            format!("{anchor}-{same}")
        });
    }
    anchors
}

/// `a/b/../c` as `a/c`.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut path, part| {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            part => path.push(part),
        }
        path
    })
}

/// What is wrong with the links of a page, if anything.
fn broken(path: &Path, page: &str, pages: &[(PathBuf, String)]) -> Vec<String> {
    let links = links(page);
    let mut broken = Vec::new();
    for name in &links.names {
        if !links.defined.contains(name) {
            broken.push(format!("[{name}] is not defined"));
        }
    }
    for target in &links.targets {
        if target.starts_with("https://") {
            continue;
        }
        let (file, anchor) = match target.split_once('#') {
            Some((file, anchor)) => (file, Some(anchor)),
            None => (target.as_str(), None),
        };
        let file = if file.is_empty() {
            path.to_path_buf()
        } else {
            plain(&path.parent().unwrap_or(Path::new("")).join(file))
        };
        if !root().join(&file).exists() {
            broken.push(format!("{target}: there is no {}", file.display()));
            continue;
        }
        let Some(anchor) = anchor else { continue };
        let found = pages
            .iter()
            .find(|(path, _)| *path == file)
            .is_some_and(|(_, page)| anchors(page).iter().any(|a| a == anchor));
        if !found {
            broken.push(format!("{target}: no heading of that name"));
        }
    }
    broken
}

#[test]
fn all_relative_links_resolve() {
    let pages = pages();
    let mut checked = 0;
    for (path, page) in &pages {
        let wrong = broken(path, page, &pages);
        assert!(wrong.is_empty(), "{}: {wrong:#?}", path.display());
        checked += links(page).targets.len();
    }
    assert!(checked > 40, "only {checked} links were found");
}

/// The check can fail: each kind of broken link is found.
#[test]
fn broken_links_are_found() {
    let pages = pages();
    let find = |text: &str| broken(Path::new("docs/README.md"), text, &pages).len();
    assert_eq!(
        find("[a](01-numbers.md) ![b][c]\n\n[c]: figures/recall.svg"),
        0
    );
    assert_eq!(find("[a](01-numbers.md#the-field) `[not](a-link)`"), 0);
    assert_eq!(find("[a](no-such-page.md)"), 1);
    assert_eq!(find("[a](01-numbers.md#no-such-heading)"), 1);
    assert_eq!(find("[a][nowhere]"), 1);
    assert_eq!(find("[a]: figures/none.svg"), 1);
    assert_eq!(find("```\n[a](none.md)\n```"), 0);
}

/// Every chapter is on the map and in the book.
#[test]
fn the_map_and_the_book_have_every_chapter() {
    let chapters: Vec<String> = pages()
        .iter()
        .filter_map(|(path, _)| path.strip_prefix("docs").ok())
        .map(|path| path.display().to_string())
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()) && !name.ends_with("ko.md"))
        .collect();
    assert!(chapters.len() >= 13, "{chapters:?}");
    for map in ["docs/README.md", "docs/SUMMARY.md"] {
        let text = std::fs::read_to_string(root().join(map)).expect("readable");
        for chapter in &chapters {
            assert!(
                text.contains(&format!("]({chapter})")),
                "{map} lacks {chapter}"
            );
        }
    }
}
