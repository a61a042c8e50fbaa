//! Claim: the fast path gives the reference's logits, at every level, with any number of threads, in
//! whole prompts and in pieces.

use crate::support::golden;
use hungry_hippos::fast::{FastModel, Functions, Level, ModelWorkspace};
use hungry_hippos::model::ModelParameters;
use hungry_hippos::oracle::{GoldenStage, ModelGolden};

fn logits_of(golden: &ModelGolden) -> &GoldenStage {
    let stage = golden.stages().iter().find(|s| s.name == "logits");
    stage.expect("a stage")
}

/// Holds logits against the right ones of the rows `at`: within their scale times the unit roundoff, which is
/// what rounding may take any right way to compute them away, and the right ones' own rounding.
fn within(
    right: &GoldenStage,
    at: impl Iterator<Item = usize>,
    got: &[f64],
    unit: f64,
) -> Result<(), String> {
    let vocab = right.values.shape()[2];
    let at: Vec<usize> = at.flat_map(|row| row * vocab..(row + 1) * vocab).collect();
    assert_eq!(got.len(), at.len());
    for (got, at) in got.iter().zip(at) {
        let (x, scale) = (right.values.data()[at], right.scale.data()[at]);
        let (off, allowed) = ((got - x).abs(), scale * unit + x.abs() * f64::EPSILON / 2.0);
        // What is no number is not within anything.
        if off.is_nan() || off > allowed {
            return Err(format!("{off:e} off at {at}, {allowed:e} allowed"));
        }
    }
    Ok(())
}

fn assert_within(
    what: &str,
    right: &GoldenStage,
    at: impl Iterator<Item = usize>,
    got: &[f64],
    unit: f64,
) {
    if let Err(said) = within(right, at, got, unit) {
        panic!("{what}: {said}");
    }
}

/// A golden model at every level and in every cut of its sequences, in numbers of this unit roundoff.
fn compared<T: Functions>(name: &str, unit: f64) {
    let golden = ModelGolden::open(&golden(name)).expect("a golden file");
    let (right, ids) = (logits_of(&golden), golden.ids());
    let (batch, len) = (ids.shape()[0], ids.shape()[1]);
    let numbers = |logits: &[T]| logits.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    for level in Level::all() {
        let model = fast::<T>(level, golden.parameters());
        let mut of_threads: Vec<Vec<f64>> = Vec::new();
        for threads in [1, 2] {
            let mut state = model.zero_state(batch, 0);
            let mut got = Vec::new();
            let mut workspace = ModelWorkspace::new(threads);
            let taken =
                model.all_logits(ids.data(), &mut state, &mut workspace, |first, logits| {
                    assert_eq!(first, 0, "one piece");
                    got.extend(numbers(logits));
                    Ok(())
                });
            taken.expect("runs");
            let what = format!("{name}, {level}, {threads} threads");
            assert_within(&what, right, 0..batch * len, &got, unit);
            of_threads.push(got);
        }
        assert_eq!(
            of_threads[0], of_threads[1],
            "{level}: threads change nothing"
        );
        // A prompt of some lengths, then a token at a time.
        for prompt in [1, len / 2, len - 1] {
            let workspace = &mut ModelWorkspace::new(1);
            let mut state = model.zero_state(batch, len);
            let mut from = 0;
            for to in prompt..=len {
                let sequences = ids.data().chunks_exact(len);
                let piece: Vec<usize> = sequences.flat_map(|ids| &ids[from..to]).copied().collect();
                let last = model
                    .last_logits(&piece, &mut state, workspace)
                    .expect("runs");
                let what = format!("{name}, {level}, prompt {prompt}, token {to}");
                let rows = (0..batch).map(|b| b * len + to - 1);
                assert_within(&what, right, rows, &numbers(&last), unit);
                from = to;
            }
            assert_eq!(state.position(), len);
        }
    }
    // The bound refuses the logits of the token before.
    let mut shifted = right.values.data().to_vec();
    shifted.rotate_left(right.values.shape()[2]);
    assert!(within(right, 0..batch * len, &shifted, unit).is_err());
}

const GOLDEN: [&str; 3] = ["39-model-hybrid", "40-model-h3", "41-model-attention"];

#[test]
fn in_f64() {
    GOLDEN
        .iter()
        .for_each(|name| compared::<f64>(name, f64::EPSILON / 2.0));
}

#[test]
fn in_f32() {
    GOLDEN
        .iter()
        .for_each(|name| compared::<f32>(name, f64::from(f32::EPSILON) / 2.0));
}

fn fast<T: Functions>(level: Level, parameters: &ModelParameters<f64>) -> FastModel<T> {
    let read = |name| Ok(parameters.get(name).to_vec());
    FastModel::new(level, parameters.config(), read).expect("a model")
}
