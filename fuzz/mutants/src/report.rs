//! What became of every mutant, module by module, and which of those that no test notices are not
//! explained.

use crate::failure::Failure;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

/// What tells a mutant wherever its line stands: its file, the text of that line, what is changed
/// there, and the column, which is only looked at where a line has the same change twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    file: String,
    text: String,
    what: String,
}

/// A mutant of the list, by its name: `FILE:LINE:COLUMN: WHAT in FUNCTION`.
fn change(package: &Path, name: &str) -> Result<(Change, usize), Failure> {
    let mut parts = name.splitn(4, ':');
    let mut next = || parts.next().ok_or(format!("not a mutant: {name}"));
    let (file, line, column, what) = (next()?, next()?, next()?, next()?.trim());
    let source = fs::read_to_string(package.join(file))?;
    let line: usize = line.parse()?;
    let text = source.lines().nth(line - 1).map(str::trim);
    let text = text.ok_or(format!(
        "{name}: no such line; the list is of another source"
    ))?;
    let what = what.rsplit_once(" in ").map_or(what, |(what, _)| what);
    Ok((
        Change {
            file: file.into(),
            text: text.into(),
            what: what.into(),
        },
        column.parse()?,
    ))
}

/// The rows of a document's tables `| code | change | why |` under headings that name a file; a change
/// that a line has more than once may say `(column N)`.
fn explained(document: &str) -> Result<BTreeSet<(Change, Option<usize>)>, Failure> {
    let mut file = String::new();
    let mut rows = BTreeSet::new();
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix('#') {
            file = heading.trim_matches(|c| "# `".contains(c)).to_string();
        }
        if !file.starts_with("src/") || !line.starts_with("| `") {
            continue;
        }
        // `\|` is a bar within a cell.
        let cells = line.replace("\\|", "\u{1}");
        let cells: Vec<String> = cells
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().replace('\u{1}', "|"))
            .collect();
        let [text, what, _why] = &cells[..] else {
            return Err(format!("not a row of three cells: {line}").into());
        };
        let column = what
            .strip_suffix(')')
            .and_then(|w| w.split_once(" (column "));
        let (what, column) = match column {
            Some((what, column)) => (what, Some(column.parse()?)),
            None => (what.as_str(), None),
        };
        let change = Change {
            file: file.clone(),
            text: text.trim_matches('`').trim().into(),
            what: what.trim_matches('`').into(),
        };
        if !rows.insert((change, column)) {
            return Err(format!("twice: {line}").into());
        }
    }
    Ok(rows)
}

/// The verdicts of both kinds of run, by name: the last line of a mutant holds, and what `cargo mutants`
/// itself built and ran goes first.
fn verdicts(at: &Path, single: &[&str]) -> Result<HashMap<String, String>, Failure> {
    let mut verdicts = HashMap::new();
    for line in fs::read_to_string(at.join("outcomes.tsv"))?.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        if let [_, verdict, _, name] = parts[..] {
            verdicts.insert(name.to_string(), verdict.to_string());
        }
    }
    for folder in single {
        for (file, verdict) in [
            ("caught.txt", "caught"),
            ("missed.txt", "missed"),
            ("timeout.txt", "timed out"),
            ("unviable.txt", "does not compile"),
        ] {
            let names = fs::read_to_string(Path::new(folder).join(file))?;
            verdicts.extend(names.lines().map(|n| (n.to_string(), verdict.to_string())));
        }
    }
    Ok(verdicts)
}

/// The columns of the table, and the verdicts counted in each.
const COLUMNS: [&str; 5] = [
    "caught",
    "timed out",
    "equivalent",
    "not explained",
    "not run",
];

/// `report COPY DOCUMENT [MUTANTS_OUT...]`: prints a table, then the mutants that no test notices and
/// the document does not explain, and what it explains in the files listed that is no mutant left; an error
/// where there is either.
pub fn report(at: &Path, document: &Path, single: &[&str]) -> Result<(), Failure> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let rows = explained(&fs::read_to_string(document)?)?;
    let verdicts = verdicts(at, single)?;
    let mut counts: BTreeMap<String, (u32, u32, [u32; 5])> = BTreeMap::new();
    let (mut open, mut used, mut files) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for line in fs::read_to_string(at.join("mutants.tsv"))?.lines() {
        let parts: Vec<&str> = line.split('\t').collect();
        let [_, name, state] = parts[..] else {
            continue;
        };
        files.insert(name.split(':').next().unwrap_or(name).to_string());
        let module = name.split('/').nth(1).unwrap_or(name).to_string();
        let (listed, uncompiled, columns) = counts.entry(module).or_default();
        *listed += 1;
        let verdict = verdicts.get(name).map(String::as_str);
        if verdict.unwrap_or(state).starts_with("does not") {
            *uncompiled += 1;
            continue;
        }
        let column = match verdict {
            Some("caught") => 0,
            Some("timed out") => 1,
            // No test reaches it, none of those that do notices, or none of the quick ones.
            Some(verdict @ ("missed" | "not reached" | "open")) => {
                let (change, column) = change(&package, name)?;
                let keys = [(change.clone(), Some(column)), (change, None)];
                match keys.into_iter().find(|key| rows.contains(key)) {
                    Some(key) => {
                        used.insert(key);
                        2
                    }
                    None => {
                        open.push(format!("{name}: {verdict}"));
                        if verdict == "open" { 4 } else { 3 }
                    }
                }
            }
            _ => {
                open.push(format!("{name}: not run"));
                4
            }
        };
        columns[column] += 1;
    }
    println!(
        "| module | listed | do not compile | built | {} |",
        COLUMNS.join(" | ")
    );
    println!("|{}", "---|".repeat(4 + COLUMNS.len()));
    let mut all = (0, 0, [0; 5]);
    for (module, (listed, uncompiled, columns)) in &counts {
        all.0 += listed;
        all.1 += uncompiled;
        for (sum, n) in all.2.iter_mut().zip(columns) {
            *sum += n;
        }
        row(&format!("`{module}`"), *listed, *uncompiled, columns);
    }
    row("together", all.0, all.1, &all.2);
    let idle: Vec<_> = rows
        .iter()
        .filter(|key| files.contains(&key.0.file) && !used.contains(key))
        .collect();
    for (change, _) in &idle {
        println!(
            "explains no mutant that is left: {} `{}` {}",
            change.file, change.text, change.what
        );
    }
    for name in &open {
        println!("not explained: {name}");
    }
    if open.is_empty() && idle.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "{} mutants not explained, {} explanations of none",
            open.len(),
            idle.len()
        )
        .into())
    }
}

fn row(module: &str, listed: u32, uncompiled: u32, columns: &[u32; 5]) {
    let cells = columns.map(|n| n.to_string()).join(" | ");
    println!(
        "| {module} | {listed} | {uncompiled} | {} | {cells} |",
        listed - uncompiled
    );
}
