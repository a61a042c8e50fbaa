//! What a mistake can change: its first stage, and what is computed from that.

use super::layers::{EQUAL, Subject, distance, forward_mistakes, subjects};
use hungry_hippos::oracle::{Golden, StageSpec};
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

fn changed(s: &Subject, id: &str) -> BTreeSet<String> {
    let (right, wrong) = (s.run(&[]), s.run(&[id]));
    let stages = right.into_iter().zip(wrong);
    stages
        .filter(|((_, right), (_, wrong))| distance(wrong, right) > EQUAL)
        .map(|((name, _), _)| name)
        .collect()
}

#[test]
fn a_mistake_changes_its_first_stage_and_what_comes_of_it() {
    let subjects = subjects();
    let golden = Golden::certify(subjects[4].case()).expect("certified");
    let specs: Vec<StageSpec> = golden.stages().iter().map(|s| s.spec.clone()).collect();
    let downstream = downstream(&specs);
    assert!(downstream["shift_kernel"].contains("output"));
    assert!(!downstream["q"].contains("ssm_out") && downstream["output"].is_empty());
    let mut elsewhere: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for mistake in forward_mistakes() {
        let first = mistake.first_stage;
        let mut allowed = downstream[first].clone();
        allowed.insert(first);
        for model in MODELS.iter().filter(|model| model.contains(&first)) {
            for stage in model {
                allowed.insert(stage);
                allowed.extend(&downstream[stage]);
            }
        }
        for s in &subjects {
            let changed = changed(s, mistake.id);
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
