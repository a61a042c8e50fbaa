//! What a mistake can change: its first stage, and what is computed from that.

use super::layers::{EQUAL, Named, distance, forward_mistakes, subjects};
use crate::common::{golden_file, is_exhaustive};
use hungry_hippos::oracle::{Case, Golden, Precision, SUITE_SEED, StageSpec, suite};
use std::collections::{BTreeMap, BTreeSet};

/// The stages of a layer by golden files: every name, and what is computed from it directly or by
/// way of others.
fn downstream(specs: &[StageSpec]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut of: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for spec in specs.iter().rev() {
        // Later stages are known already.
        let next = specs
            .iter()
            .filter(|later| later.from.contains(&spec.name))
            .map(|later| later.name.as_str());
        let next: Vec<&str> = next.collect();
        let after = next.iter().flat_map(|name| of[name].clone());
        let after: BTreeSet<&str> = after.chain(next.iter().copied()).collect();
        of.insert(&spec.name, after);
    }
    of
}

/// The stages that are one model's: what is wrong with the model is wrong in its kernel, in its
/// response and in the state it leaves, none of the two last being computed from the kernel of
/// necessity.
const MODELS: [[&str; 3]; 2] = [
    ["shift_kernel", "shift_k", "final_state_k"],
    ["ssm_kernel", "ssm_out", "final_state"],
];

/// Mistakes that are made at several places at once: the other stages that show them by themselves.
const ELSEWHERE: [(&str, &[&str]); 6] = [
    ("M30a", &["k", "v"]),
    ("M30b", &["k", "v"]),
    ("M33a", &["k", "v"]),
    ("M33b", &["k"]),
    ("M33c", &["v"]),
    ("M33d", &["v"]),
];

/// The stages that a mistake changes; one that has no value on a case changes nothing.
fn changed(case: &Case, right: &Named, id: &str) -> BTreeSet<String> {
    let wrong = case.run_with(&[id], None).unwrap_or_default();
    let stages = right.iter().filter(|(name, right)| {
        let wrong = wrong.iter().find(|(wrong, _)| wrong == name);
        wrong.is_some_and(|(_, wrong)| distance(wrong, right) > EQUAL)
    });
    stages.map(|(name, _)| name.clone()).collect()
}

/// The specifications of a case's stages.
fn specs(golden: &Golden) -> Vec<StageSpec> {
    let stages = golden.stages().iter();
    stages.map(|stage| stage.spec.clone()).collect()
}

/// Every mistake on every second layer, the next one on the others; with `HIPPOS_EXHAUSTIVE` set, on all.
#[test]
fn a_mistake_changes_its_first_stage_and_what_comes_of_it() {
    let subjects = subjects();
    let runs = subjects.iter().map(|s| (s.case(), s.run(&[])));
    let runs: Vec<(Case, Named)> = runs.collect();
    let specs = specs(&Golden::certify(subjects[4].case()).expect("certified"));
    let downstream = downstream(&specs);
    assert!(downstream["shift_kernel"].contains("output"));
    assert!(!downstream["q"].contains("ssm_out") && downstream["output"].is_empty());
    let mut elsewhere: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (at, mistake) in forward_mistakes().into_iter().enumerate() {
        let first = mistake.first_stage;
        let mut allowed = downstream[first].clone();
        allowed.insert(first);
        for model in MODELS.iter().filter(|model| model.contains(&first)) {
            for stage in model {
                allowed.insert(stage);
                allowed.extend(&downstream[stage]);
            }
        }
        let step = if is_exhaustive() { 1 } else { 2 };
        for (case, right) in runs.iter().skip(at % step).step_by(step) {
            let changed = changed(case, right, mistake.id);
            // By itself: none of what it is computed from is changed.
            let by_itself = specs.iter().filter(|spec| {
                changed.contains(&spec.name) && !spec.from.iter().any(|name| changed.contains(name))
            });
            let other = by_itself.filter(|spec| !allowed.contains(spec.name.as_str()));
            let found = elsewhere.entry(mistake.id).or_default();
            found.extend(other.map(|spec| spec.name.as_str()));
        }
    }
    elsewhere.retain(|_, stages| !stages.is_empty());
    let expected = ELSEWHERE.map(|(id, stages)| (id, stages.iter().copied().collect()));
    assert_eq!(elsewhere, BTreeMap::from(expected));
}

/// A language model's own mistakes are made in every block: they show from their first stage on, and
/// on some model of the suite at that.
#[test]
fn mistakes_of_a_model_show_from_their_first_stage() {
    let mut seen = BTreeMap::new();
    for row in suite().iter().filter(|row| row.kind == "model") {
        let case = row.build(SUITE_SEED).expect("a case");
        let golden = Golden::open(&golden_file(row.name)).expect("committed");
        let specs = specs(&golden);
        let place = |name: &str| specs.iter().position(|spec| spec.name == name);
        let right = match place("loss") {
            Some(_) => case.run(&case.default_form(), Precision::F64, true),
            None => case.run_with(&[], None),
        };
        let right = right.expect("runs");
        for mistake in case.mistakes() {
            // The others are those of its layers, whose stages it does not have, and of losses.
            let Some(first) = place(mistake.first_stage) else {
                assert!(mistake.id.starts_with(['M', 'T']), "{}", mistake.id);
                continue;
            };
            let changed = changed(&case, &right, mistake.id);
            let changed = changed.iter().filter_map(|name| place(name)).min();
            assert!(
                changed.is_none_or(|changed| changed >= first),
                "{}",
                mistake.id
            );
            *seen.entry(mistake.id).or_insert(false) |= changed == Some(first);
        }
    }
    let unseen = seen.iter().filter(|(_, seen)| !**seen).map(|(id, _)| *id);
    assert_eq!(unseen.collect::<Vec<_>>(), [""; 0]);
    assert!(seen.len() > 15);
}
