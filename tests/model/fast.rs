//! Claim: the fast path gives the reference's logits, at every level, with any number of threads, in
//! whole prompts and in pieces.

use crate::common::{assert_close, close};
use crate::support::official;
use hungry_hippos::fast::{FastModel, FastModelState, Level, ModelWorkspace};
use hungry_hippos::oracle::ModelCase;

/// Of logits up to 7: measured 3e-15 of that in f64; f32 carries 1e-6 of it through three blocks.
const F64_BOUND: f64 = 1e-12;
const F32_BOUND: f64 = 1e-4;

fn logits(case: &ModelCase) -> Vec<f64> {
    let saved = case.saved("logits", &[2, 24, 32]).expect("of this shape");
    saved.expect("the case holds it").into_data()
}

macro_rules! compared {
    ($name:ident, $float:ty, $bound:expr) => {
        #[test]
        fn $name() {
            let case = official();
            let (ids, expected) = (case.ids().expect("tokens"), logits(&case));
            for level in Level::all() {
                let model =
                    FastModel::<$float>::new(level, case.config(), |name| case.parameter(name))
                        .expect("a model");
                let mut of_threads: Vec<Vec<f64>> = Vec::new();
                for threads in [1, 2] {
                    let mut workspace = ModelWorkspace::new(threads);
                    let mut state = model.zero_state(2, 0);
                    let mut got = Vec::new();
                    model
                        .all_logits(ids.data(), &mut state, &mut workspace, |first, logits| {
                            assert_eq!(first, 0, "one piece");
                            got.extend(logits.iter().map(|&x| f64::from(x)));
                            Ok(())
                        })
                        .expect("runs");
                    let what = format!("{level}, {threads} threads");
                    assert_close(&what, &got, &expected, $bound);
                    of_threads.push(got);
                }
                assert_eq!(
                    of_threads[0], of_threads[1],
                    "{level}: threads change nothing"
                );
                // A prompt of every length, then a token at a time.
                for prompt in [1, 10, 23] {
                    let mut workspace = ModelWorkspace::new(1);
                    let mut state: FastModelState<$float> = model.zero_state(2, 24);
                    let piece = |from: usize, to: usize| -> Vec<usize> {
                        (0..2)
                            .flat_map(|b| ids.data()[b * 24 + from..b * 24 + to].to_vec())
                            .collect()
                    };
                    let mut from = 0;
                    for to in prompt..=24 {
                        let last = model
                            .last_logits(&piece(from, to), &mut state, &mut workspace)
                            .expect("runs");
                        let got: Vec<f64> = last.iter().map(|&x| f64::from(x)).collect();
                        let at = |b: usize| expected[(b * 24 + to - 1) * 32..][..32].to_vec();
                        let what = format!("{level}, prompt {prompt}, token {to}");
                        assert_close(&what, &got, &[at(0), at(1)].concat(), $bound);
                        from = to;
                    }
                    assert_eq!(state.position(), 24);
                }
            }
            // The bound refuses the logits of the token before.
            let shifted = [&expected[32..], &expected[..32]].concat();
            assert!(close("shifted", &shifted, &expected, $bound).is_err());
        }
    };
}

compared!(in_f64, f64, F64_BOUND);
compared!(in_f32, f32, F32_BOUND);
