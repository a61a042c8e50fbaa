//! The words: ids, names, the chapter's table.

use hungry_hippos::oracle::mutants::{GradientMutant, Mutant, STAGES, WITHOUT_SWITCH};
use std::collections::BTreeSet;

#[test]
fn every_entry_has_a_switch_or_a_reason() {
    let switched = Mutant::ALL.iter().map(|m| m.id());
    let reasons = WITHOUT_SWITCH.iter().map(|(id, ..)| *id);
    let mut entries = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let backward = GradientMutant::ALL.iter().map(|m| m.id());
    for id in switched.chain(backward).chain(reasons) {
        assert!(ids.insert(id), "{id} twice");
        let digits = id.strip_prefix('M').expect("starts with M");
        let entry: String = digits.chars().take_while(char::is_ascii_digit).collect();
        let variant = &digits[entry.len()..];
        assert!(entry.len() == 2 && variant.len() <= 1, "{id}");
        entries.insert(entry.parse::<u32>().expect("a number"));
    }
    assert_eq!(entries, (1..=75).collect());
    // Variants of one entry are a, b, c, ... without gaps; an entry alone has no letter.
    for id in ids.iter().filter(|id| id.len() == 4) {
        let (entry, letter) = id.split_at(3);
        assert!(!ids.contains(entry), "{entry} and {id}");
        let before = char::from(letter.as_bytes()[0] - 1);
        assert!(letter == "a" || ids.contains(format!("{entry}{before}").as_str()));
        assert!(ids.contains(format!("{entry}b").as_str()), "{entry}a alone");
    }
}

#[test]
fn names_and_words_are_there() {
    let mut names = BTreeSet::new();
    for m in Mutant::ALL {
        assert!(names.insert(m.name()), "{} twice", m.name());
        assert!(STAGES.contains(&m.first_stage()), "{}", m.id());
        for text in [m.evidence(), m.advice(), m.looks()] {
            assert!(!text.is_empty() && !text.contains('\n'), "{}", m.id());
        }
        assert_eq!(Mutant::find(m.id()), Some(m));
        assert_eq!(Mutant::find(m.name()), Some(m));
    }
    for m in GradientMutant::ALL {
        assert!(names.insert(m.name()), "{} twice", m.name());
        assert!(m.first_stage().starts_with("grad."), "{}", m.id());
        for text in [m.evidence(), m.advice(), m.looks()] {
            assert!(!text.is_empty() && !text.contains('\n'), "{}", m.id());
        }
        assert_eq!(GradientMutant::find(m.id()), Some(m));
        assert_eq!(GradientMutant::find(m.name()), Some(m));
    }
    assert_eq!(Mutant::find("M07"), None);
}

/// The chapter's tables are those of the code, line by line.
#[test]
fn the_chapter_has_the_table() {
    let chapter = include_str!("../../../docs/12-mutants.md");
    macro_rules! row {
        ($m:ident) => {
            format!(
                "| {} | `{}` | `{}` | {} | {} | {} |",
                $m.id(),
                $m.name(),
                $m.formula()
                    .replace('|', "\\|")
                    .replace(" instead of ", "` instead of `"),
                $m.evidence(),
                $m.first_stage(),
                $m.looks().replace('|', "\\|"),
            )
        };
    }
    let rows: Vec<String> = Mutant::ALL
        .iter()
        .map(|m| row!(m))
        .chain(GradientMutant::ALL.iter().map(|m| row!(m)))
        .chain(
            WITHOUT_SWITCH
                .iter()
                .map(|(id, name, why)| format!("| {id} | `{name}` | {why} |")),
        )
        .collect();
    let table: Vec<&str> = chapter.lines().filter(|l| l.starts_with("| M")).collect();
    if std::env::var_os("HIPPOS_PRINT_TABLE").is_some() {
        println!("{}", rows.join("\n"));
    }
    assert_eq!(table, rows);
}
