//! The numbers that `hippos verify` prints: everything is right, all of it was compared, and a failure
//! would be counted.

use crate::common::is_exhaustive;
use hungry_hippos::fast::Level;
use hungry_hippos::flashconv::MatrixSet;
use hungry_hippos::verify::{exact, fast_path, forms, matrix_sets, operators, pairs_of, served};

#[test]
fn every_pair_is_compared_and_failures_are_counted() {
    let mut trials = 0;
    let mut report = forms(3, 1, &mut || trials += 1).expect("every form runs");
    assert_eq!(trials, 1);
    // Nine forms, of which attention is one of the layer alone.
    assert_eq!(report.pairs.len(), 9 * 8 / 2);
    assert_eq!(report.exact_comparisons(), 4 * (8 * 7 / 2) + 8);
    assert!(report.float_comparisons > 0 && report.bound_used.iter().all(|&used| used > 0.0));
    assert_eq!(report.failures(), 0);
    assert_eq!(forms(3, 1, &mut || ()).expect("runs"), report);
    if is_exhaustive() {
        assert_ne!(forms(4, 1, &mut || ()).expect("runs"), report);
    }
    report.pairs[5].equal -= 1;
    report.outside_bound += 2;
    assert_eq!(report.failures(), 3);
}

#[test]
fn exact_layers_are_equal_in_every_format_and_a_failure_is_counted() {
    let mut report = exact(3, 2).expect("every form runs");
    assert_eq!(report.layers, 4);
    let names: Vec<_> = report.formats.iter().map(|of| of.format.name()).collect();
    assert_eq!(names, ["f64", "f32", "f16", "bf16"]);
    assert!(report.formats.iter().all(|of| of.compared > 0));
    assert_eq!(report.failures(), 0);
    assert_eq!(exact(3, 2).expect("runs"), report);
    report.formats[3].equal -= 1;
    assert_eq!(report.failures(), 1);
}

#[test]
fn served_sequences_are_equal_and_a_failure_is_counted() {
    let mut reports = served(3, 3).expect("every form runs");
    let names: Vec<_> = reports.iter().map(|of| of.sequence).collect();
    assert_eq!(names, ["packed", "padded", "schedule"]);
    for report in &mut reports {
        // Nine forms of each layer.
        assert_eq!((report.compared, report.failures()), (3 * 9, 0));
        report.equal -= 1;
        assert_eq!(report.failures(), 1);
    }
}

/// In every form, and in chunks with the right sets of matrices; with the rows one step early they are not.
#[test]
fn operators_are_equal_in_every_form_and_a_failure_is_counted() {
    let mut reports = operators(3, 1).expect("every form runs");
    let kinds: Vec<_> = reports.iter().map(|of| of.kind).collect();
    assert_eq!(
        kinds,
        ["convolution", "h3-operator", "hyena", "striped-hyena"]
    );
    for report in &mut reports {
        // Nine forms and three sets of matrices.
        assert!(report.compared >= 2 * 9 && report.chunked >= 2 * 3);
        assert_eq!(report.compared * 3, report.chunked * 9);
        assert_eq!(report.failures(), 0, "{report:?}");
        report.equal -= 1;
        report.as_expected -= 1;
        assert_eq!(report.failures(), 2);
    }
}

#[test]
fn every_level_is_within_and_failures_are_counted() {
    let mut report = fast_path(2, 5).expect("every layer runs");
    assert_eq!(report.layers, 2);
    assert_eq!(report.levels.len(), Level::all().len());
    assert!(report.comparisons() > 0);
    assert!(report.levels.iter().all(|level| level.f32.used > 0.0));
    assert_eq!(report.failures(), 0);
    report.levels[0].f64.outside += 1;
    report.levels[0].f32.unstable += 1;
    assert_eq!(report.failures(), 2);
}

#[test]
fn consistent_sets_are_right_and_a_failure_is_counted() {
    let reports = matrix_sets(5, 2).expect("every set runs");
    assert_eq!(reports.len(), MatrixSet::ALL.len());
    for mut report in reports {
        assert!(report.first.compared == 6 && report.later.compared > 0);
        assert_eq!(report.failures(), 0, "{:?}", report.set);
        // A later chunk that comes out otherwise than it must.
        match report.set {
            MatrixSet::EarlyRows => report.later.equal += 1,
            _ => report.later.equal -= 1,
        }
        assert_eq!(report.failures(), 1);
        report.first.equal -= 1;
        assert_eq!(report.failures(), 2);
    }
}

#[test]
fn pairs_are_each_once_and_in_order() {
    let pairs: Vec<_> = pairs_of(&["a", "b", "c"]).collect();
    assert_eq!(pairs, [(&"a", &"b"), (&"a", &"c"), (&"b", &"c")]);
}
