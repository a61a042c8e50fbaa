//! The words: ids, names, the table of the reference page.

use super::layers::{PLAIN, random};
use hungry_hippos::oracle::{Case, Mistake, SUITE_SEED, suite};
use std::collections::{BTreeMap, BTreeSet};

const PAGE: &str = include_str!("../../../docs/20-mistakes-reference.md");

/// The catalogue of a layer.
fn layers() -> Vec<&'static Mistake> {
    random(PLAIN, 1).case().mistakes()
}

/// The entries that no switch makes, from the reference page: id, name and reason.
fn without_switch() -> Vec<[&'static str; 3]> {
    let lines = PAGE.lines().filter(|line| line.starts_with("| M"));
    let cells = lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect());
    cells
        .filter_map(|cells: Vec<&str>| cells.try_into().ok())
        .collect()
}

#[test]
fn every_entry_has_a_switch_or_a_reason() {
    let reasons = without_switch();
    assert_eq!(reasons.len(), 5);
    let mut entries = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let switched = layers().into_iter().map(|mistake| mistake.id);
    for id in switched.chain(reasons.iter().map(|[id, ..]| *id)) {
        assert!(ids.insert(id), "{id} twice");
        let digits = id.strip_prefix('M').expect("starts with M");
        let entry: String = digits.chars().take_while(char::is_ascii_digit).collect();
        let variant = &digits[entry.len()..];
        assert!((2..=3).contains(&entry.len()) && variant.len() <= 1, "{id}");
        entries.insert(entry.parse::<u32>().expect("a number"));
    }
    assert_eq!(entries, (1..=104).collect());
    // Variants of one entry are a, b, c, ... without gaps; an entry alone has no letter.
    for id in ids
        .iter()
        .filter(|id| id.ends_with(|c: char| c.is_ascii_lowercase()))
    {
        let (entry, letter) = id.split_at(id.len() - 1);
        assert!(!ids.contains(entry), "{entry} and {id}");
        let before = char::from(letter.as_bytes()[0] - 1);
        assert!(letter == "a" || ids.contains(format!("{entry}{before}").as_str()));
        assert!(ids.contains(format!("{entry}b").as_str()), "{entry}a alone");
    }
    let unknown = random(PLAIN, 1).case().run_with(&["M07"], None);
    assert!(unknown.expect_err("no switch").to_string().contains("M07"));
}

/// Of every kind: no id or name is of two mistakes, none of one is that of another kind's, and the
/// words are there.
#[test]
fn ids_and_names_are_unique() {
    let mut kinds: BTreeMap<&str, Case> = BTreeMap::new();
    for row in suite() {
        let case = || row.build(SUITE_SEED).expect("a case");
        kinds.entry(row.kind).or_insert_with(case);
    }
    assert_eq!(kinds.len(), 10);
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for (kind, case) in &kinds {
        let (mut of_id, mut of_name) = (BTreeSet::new(), BTreeSet::new());
        for mistake in case.mistakes() {
            assert!(of_id.insert(mistake.id), "{kind}: {} twice", mistake.id);
            assert!(
                of_name.insert(mistake.name),
                "{kind}: {} twice",
                mistake.name
            );
            let name = names.entry(mistake.id).or_insert(mistake.name);
            assert_eq!(*name, mistake.name, "{}", mistake.id);
            let Mistake {
                first_stage,
                wrong,
                right,
                evidence,
                looks,
                fix,
                ..
            } = *mistake;
            for text in [first_stage, wrong, right, evidence, looks, fix] {
                assert!(!text.is_empty() && !text.contains('\n'), "{}", mistake.id);
            }
        }
        assert!(of_id.is_disjoint(&of_name), "{kind}");
    }
    let all: BTreeSet<&str> = names.values().copied().collect();
    assert_eq!(all.len(), names.len());
}

/// By id and by name it is one mistake.
#[test]
fn by_id_or_by_name() {
    let s = random(PLAIN, 1);
    for mistake in super::layers::forward_mistakes() {
        assert_eq!(s.run(&[mistake.id]), s.run(&[mistake.name]));
    }
}

/// The mistakes of these cases whose ids begin with this letter, by number and letter; what is of several is
/// said as of the first.
fn of(letter: char, names: &[&str]) -> Vec<&'static Mistake> {
    let mut mistakes: Vec<&'static Mistake> = Vec::new();
    for &name in names {
        let case = suite().into_iter().find(|row| row.name == name);
        let case = case.expect("there").build(SUITE_SEED).expect("a case");
        for mistake in case.mistakes() {
            let is_new = mistakes.iter().all(|known| known.id != mistake.id);
            if is_new && mistake.id.starts_with(letter) {
                mistakes.push(mistake);
            }
        }
    }
    let place = |mistake: &&Mistake| {
        let digits = mistake.id.trim_start_matches(letter);
        let number = digits.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let letter = digits[number.len()..].to_string();
        (number.parse::<u32>().expect("a number"), letter)
    };
    mistakes.sort_by_key(place);
    mistakes
}

/// The page's tables are those of the code, line by line.
#[test]
fn the_page_has_the_table() {
    let row = |m: &Mistake| {
        format!(
            "| {} | `{}` | `{}` | {} | {} | {} |",
            m.id,
            m.name,
            m.formula()
                .replace('|', "\\|")
                .replace(" instead of ", "` instead of `"),
            m.evidence,
            m.first_stage,
            m.looks.replace('|', "\\|"),
        )
    };
    let reasons = without_switch().into_iter();
    let of_layers: Vec<String> = layers()
        .into_iter()
        .map(row)
        .chain(reasons.map(|cells| format!("| {} |", cells.join(" | "))))
        .collect();
    let others = [
        ('S', &["80-ssd", "84-mamba2"][..]),
        ('T', &["86-model-loss", "88-training"]),
    ];
    let others = others.map(|(letter, names)| {
        let rows = of(letter, names).into_iter().map(row);
        (letter, rows.collect())
    });
    for (letter, rows) in [('M', of_layers)].into_iter().chain(others) {
        let start = format!("| {letter}");
        let table: Vec<&str> = PAGE.lines().filter(|l| l.starts_with(&start)).collect();
        if std::env::var_os("HIPPOS_PRINT_TABLE").is_some() {
            println!("{}", rows.join("\n"));
        }
        assert_eq!(table, rows);
    }
}
