//! The rewritten copy: written, thinned until it compiles, and its tests built.

use crate::failure::Failure;
use crate::list::{self, Mutant, Place};
use crate::rewrite::{self, Stand};
use crate::runtime;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a copy needs of the package.
const PARTS: [&str; 9] = [
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "tests",
    "docs",
    "examples",
    "README.md",
    "CHANGELOG.md",
    "benches/src",
];

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if from.is_file() {
        fs::create_dir_all(to.parent().ok_or("a file has a folder")?)?;
        fs::copy(from, to)?;
    }
    Ok(())
}

/// Cargo in the copy, quiet about what rewriting makes ugly.
fn cargo(at: &Path, words: &[&str]) -> Result<(bool, Vec<Value>), Failure> {
    let output = Command::new("cargo")
        .args(words)
        .arg("--message-format=json")
        .current_dir(at)
        .env("RUSTFLAGS", "--cap-lints=allow")
        .env("RUSTC_BOOTSTRAP", "1")
        .stderr(Stdio::inherit())
        .output()?;
    let messages = String::from_utf8(output.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    Ok((output.status.success(), messages))
}

/// What stands in a written copy.
#[derive(Default)]
struct Written {
    /// The mutants of every file, and where.
    stands: BTreeMap<String, Vec<Stand>>,
    placed: BTreeSet<u32>,
}

fn write(
    at: &Path,
    originals: &BTreeMap<String, String>,
    mutants: &[Mutant],
    dropped: &BTreeSet<u32>,
) -> Result<Written, Failure> {
    let mut written = Written::default();
    for (file, original) in originals {
        let here: Vec<Mutant> = mutants
            .iter()
            .filter(|m| m.file == *file && !dropped.contains(&m.id))
            .cloned()
            .collect();
        let (mut text, done) = rewrite::rewrite(original, &here)?;
        written.placed.extend(done);
        written.stands.insert(file.clone(), rewrite::stands(&text)?);
        if file == "src/lib.rs" {
            text = format!("{}{text}{}", runtime::FEATURES, runtime::SOURCE);
        }
        let path = at.join(file);
        if fs::read_to_string(&path)? != text {
            fs::write(path, text)?;
        }
    }
    Ok(written)
}

/// The innermost mutant around a place: one whose own part holds it, else one that stands there.
fn blamed(stands: &[Stand], at: Place) -> Option<u32> {
    let holds = |(from, to): (Place, Place)| from <= at && at < to;
    let innermost = |of: fn(&Stand) -> (Place, Place)| {
        stands
            .iter()
            .filter(|s| holds(of(s)))
            .max_by_key(|s| of(s).0)
            .map(|s| s.id)
    };
    innermost(|s| s.own).or_else(|| innermost(|s| s.whole))
}

/// The places an error names: its own spans, and where no mutant stands at those, its notes'.
fn places(message: &Value) -> Vec<(String, Place)> {
    let mut found = Vec::new();
    let spans = |of: &Value, found: &mut Vec<(String, Place)>| {
        let mut spans: Vec<&Value> = of["spans"].as_array().into_iter().flatten().collect();
        spans.sort_by_key(|s| !s["is_primary"].as_bool().unwrap_or(false));
        for span in spans {
            if let (Some(file), Some(line), Some(column)) = (
                span["file_name"].as_str(),
                span["line_start"].as_u64(),
                span["column_start"].as_u64(),
            ) {
                found.push((file.to_string(), (line as usize, column as usize)));
            }
        }
    };
    spans(message, &mut found);
    for child in message["children"].as_array().into_iter().flatten() {
        spans(child, &mut found);
    }
    found
}

/// Writes the copy and leaves out, again and again, the mutants that errors point at.
fn thin(
    at: &Path,
    originals: &BTreeMap<String, String>,
    mutants: &[Mutant],
    dropped: &mut BTreeMap<u32, String>,
) -> Result<(), Failure> {
    loop {
        let Written { stands, .. } =
            write(at, originals, mutants, &dropped.keys().copied().collect())?;
        let (good, messages) = cargo(at, &["check", "--lib", "--features", "internals"])?;
        if good {
            return Ok(());
        }
        let before = dropped.len();
        let mut unexplained = Vec::new();
        for message in messages
            .iter()
            .filter(|m| m["reason"] == "compiler-message")
        {
            let message = &message["message"];
            if message["level"] != "error" {
                continue;
            }
            let blame = places(message)
                .into_iter()
                .find_map(|(file, at)| blamed(stands.get(&file)?, at));
            let text = message["message"].as_str().unwrap_or_default();
            match blame {
                Some(id) => {
                    dropped
                        .entry(id)
                        .or_insert_with(|| text.lines().next().unwrap_or_default().to_string());
                }
                None => {
                    unexplained.push(message["rendered"].as_str().unwrap_or_default().to_string())
                }
            }
        }
        eprintln!("{} do not compile", dropped.len());
        if dropped.len() == before {
            return Err(format!("no mutant explains this:\n{}", unexplained.join("\n")).into());
        }
    }
}

/// One line for each mutant: its number, what became of it, its name.
fn report(
    at: &Path,
    mutants: &[Mutant],
    placed: &BTreeSet<u32>,
    dropped: &BTreeMap<u32, String>,
) -> Result<(), Failure> {
    let mut lines = String::new();
    for mutant in mutants {
        let state = match dropped.get(&mutant.id) {
            Some(why) => format!("does not compile: {why}"),
            None if placed.contains(&mutant.id) => "built".to_string(),
            None => "not placed".to_string(),
        };
        writeln!(lines, "{}\t{}\t{state}", mutant.id, mutant.name)?;
    }
    Ok(fs::write(at.join("mutants.tsv"), lines)?)
}

/// `build LIST COPY`.
pub fn build(list: &Path, at: &Path) -> Result<(), Failure> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mutants = list::read(list)?;
    fs::create_dir_all(at)?;
    for part in PARTS {
        copy(&package.join(part), &at.join(part))?;
    }
    let mut files: BTreeSet<String> = mutants.iter().map(|m| m.file.clone()).collect();
    files.insert("src/lib.rs".to_string());
    let mut originals = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(package.join(&file))?;
        originals.insert(file, text);
    }
    let mut dropped = BTreeMap::new();
    thin(at, &originals, &mutants, &mut dropped)?;
    let kept = dropped.keys().copied().collect();
    let Written { placed, .. } = write(at, &originals, &mutants, &kept)?;
    report(at, &mutants, &placed, &dropped)?;
    let (good, messages) = cargo(at, &["test", "--no-run", "--tests"])?;
    if !good {
        return Err("the tests do not build".into());
    }
    let programs: Vec<&str> = messages
        .iter()
        .filter(|m| m["profile"]["test"] == true)
        .filter_map(|m| m["executable"].as_str())
        .collect();
    fs::write(at.join("programs.txt"), programs.join("\n"))?;
    eprintln!("{} test programs", programs.len());
    Ok(())
}
