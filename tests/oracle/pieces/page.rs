//! What a report says in words and on its page.

use crate::common::data;
use hungry_hippos::oracle::{
    BINS, Case, Finding, LOWEST, PER_DECADE, SHOWN, StageSpec, Suspect, counts, describe, percent,
    rows, shown,
};

/// A finding with the first mistakes of the catalogue as suspects.
fn finding(suspects: usize, reproduced: bool) -> Finding {
    let case = Case::open(&data("layer-v1-hd1-L7")).expect("a case");
    let suspects = case.mistakes().into_iter().take(suspects);
    let suspects = suspects.map(|mistake| Suspect::of(vec![mistake], 1.0, 0.0));
    Finding::of("output", "all zero", suspects.collect(), reproduced)
}

/// What leaves more than a right port's rounding is near, and no more than that.
#[test]
fn what_leaves_much_unexplained_is_not_said_to_explain() {
    let mut finding = finding(2, false);
    finding.suspects[0].worst = 52.0;
    let text = described(&finding);
    let first = "\n  no known mistake explains all of it: the nearest leaves 52.0 times the tolerance\n  the nearest is M";
    assert_eq!(text.matches(first).count(), 1, "{text}");
    assert_eq!(text.matches("\n  then M").count(), 1, "{text}");
    assert!(
        !text.contains("told apart") && !text.contains("or from"),
        "{text}"
    );
    // What is reproduced at its own stage is so, whatever it leaves at others.
    finding.reproduced = true;
    let text = described(&finding);
    assert_eq!(text.matches("\n  reproduced by M").count(), 1, "{text}");
    assert!(!text.contains("nearest"), "{text}");
}

#[test]
fn names_do_not_steer_a_terminal() {
    assert_eq!(shown("plain name"), "plain name");
    assert_eq!(shown("\u{1b}[31mred"), r#""\u{1b}[31mred""#);
    assert_eq!(shown("two\nlines"), r#""two\nlines""#);
}

fn described(finding: &Finding) -> String {
    let mut text = String::new();
    describe(&mut text, finding);
    text
}

/// If many mistakes cannot be told apart, five are shown, and the number of the others.
#[test]
fn many_suspects_are_counted() {
    for (suspects, reproduced, intros) in [
        (0, false, [0, 0, 0]),
        (1, true, [1, 0, 0]),
        (1, false, [0, 1, 0]),
        (5, true, [1, 0, 4]),
        (5, false, [0, 1, 4]),
        (12, false, [0, 1, 4]),
    ] {
        let text = described(&finding(suspects, reproduced));
        assert!(text.starts_with("FAIL at output: all zero\n"), "{text}");
        let count = |intro: &str| text.matches(intro).count();
        let found = [
            "  reproduced by M",
            "  cannot be told apart from M",
            "  or from M",
        ]
        .map(count);
        assert_eq!(found, intros, "{text}");
        assert_eq!(count("    fix: "), suspects.min(SHOWN), "{text}");
        assert_eq!(
            count("no known mistake"),
            usize::from(suspects == 0),
            "{text}"
        );
        let more = "  or from 7 more (--json names them)\n";
        assert_eq!(text.ends_with(more), suspects == 12, "{text}");
    }
}

/// Two mistakes made in one step are one explanation; where it shows again is said.
#[test]
fn what_was_made_together_is_said_together() {
    let mut finding = finding(2, true);
    let other = finding.suspects.pop().expect("two");
    finding.suspects[0].mistakes.extend(other.mistakes);
    finding.also_at = vec!["q".into(), "k".into()];
    let text = described(&finding);
    assert_eq!(text.matches("\n  reproduced by M").count(), 1, "{text}");
    assert_eq!(text.matches("\n  together with M").count(), 1, "{text}");
    assert!(text.ends_with("\n  the same shows at q, k\n"), "{text}");
}

#[test]
fn fractions_in_words() {
    for (fraction, words) in [
        (0.0, "0.0 %"),
        (0.004, "0.4 %"),
        (0.996, "99.6 %"),
        (1.0, "1.0 times"),
        (99.6, "99.6 times"),
        (100.4, "1.0e2 times"),
        (f64::INFINITY, "inf times"),
    ] {
        assert_eq!(percent(fraction), words);
    }
}

/// No error, the tolerance itself and what is beyond it fall into bins of their own, and nothing is lost.
#[test]
fn bins_do_not_mix_what_is_within_with_what_is_not() {
    let limit = (1 - LOWEST * PER_DECADE) as usize;
    for (fraction, bin) in [
        (0.0, 0),
        (1e-30, 1),
        (0.999, limit - 1),
        (1.0, limit - 1),
        (1.0 + f64::EPSILON, limit),
        (1e30, BINS - 1),
        (f64::INFINITY, BINS - 1),
    ] {
        let counts = counts(&[fraction]);
        assert_eq!(counts[bin], 1, "{fraction}: {counts:?}");
        assert_eq!(counts.iter().sum::<usize>(), 1);
    }
}

/// A stage without predecessors is placed right above the first that needs it, not at the top.
#[test]
fn stages_stand_above_what_needs_them() {
    let spec = |name: &str, from: &[&str]| StageSpec::named(name, from);
    let specs = [
        spec("q", &[]),
        spec("k", &[]),
        spec("shift_k", &["k"]),
        spec("kv", &["shift_k"]),
        spec("gated", &["q", "kv"]),
        spec("state", &["k"]),
    ];
    let specs: Vec<&StageSpec> = specs.iter().collect();
    assert_eq!(rows(&specs), [2, 0, 1, 2, 3, 1]);
}
