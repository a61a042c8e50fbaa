//! Claim: a model's run goes on from a port's own stages.

use crate::common::golden_file;
use crate::verdicts::Stages;
use hungry_hippos::oracle::{Case, Golden, Rerun, Setting, Upstream, UpstreamStage};

/// The stages of a run in which some stand in the place of those computed.
fn run_from(case: &Case, stages: Option<&Stages>) -> Stages {
    let own = stages.map(|stages| {
        let stages = stages.iter().map(|(name, values)| UpstreamStage {
            name: name.clone(),
            values: values.clone(),
            rounding: 0.0,
        });
        Upstream::new(stages.collect())
    });
    let setting = Setting {
        stored: None,
        memo: None,
        chunk_len: 3,
        upstream: own.as_ref(),
        backward: false,
        sample: None,
    };
    Rerun(case).run(&[], setting).expect("runs")
}

/// From its own stages a run is itself, bit for bit; from stages of which one is wrong, those
/// computed from it depart and nothing else.
#[test]
fn a_wrong_stage_moves_what_is_computed_from_it() {
    for name in ["39-model-hybrid", "41-model-attention"] {
        let golden = Golden::open(&golden_file(name)).expect("a golden file");
        let case = Case::from(golden.model().expect("a model's").clone());
        let whole = run_from(&case, None);
        assert!(run_from(&case, Some(&whole)) == whole, "{name}");
        for at in 0..whole.len() {
            let mut stages = whole.clone();
            stages[at].1 = stages[at].1.map(|x| x * x);
            let moved = run_from(&case, Some(&stages));
            for ((stage, one), (_, other)) in whole.iter().zip(&moved) {
                let mut specs = Rerun(&case).stages().into_iter();
                let spec = specs.find(|spec| spec.name == *stage).expect("a stage");
                let computed_from = spec.from.contains(&whole[at].0);
                let of = format!("{name}: {stage} from {}", whole[at].0);
                assert_eq!(one != other, computed_from, "{of}");
            }
        }
    }
}
