//! Claim: the fast path gives the reference's and the official logits, at every level, with any number
//! of threads, in whole prompts and in pieces, and `check` accepts them.

use crate::common::{assert_close, golden_file, largest};
use crate::models::{case, certified, judge, model_of, official};
use hungry_hippos::Tensor;
use hungry_hippos::fast::{FastModel, Level, ModelElement, ModelWorkspace};
use hungry_hippos::h3::Form;
use hungry_hippos::model::{ModelConfig, ModelParameters};
use hungry_hippos::oracle::{Format, Golden, GoldenStage, ModelFile};
use hungry_hippos::safetensors::Dtype;

/// A committed golden model.
fn golden(name: &str) -> Golden {
    Golden::open(&golden_file(name)).expect("a golden file")
}

fn logits_of(golden: &Golden) -> &GoldenStage {
    let stage = golden.stages().iter().find(|s| s.name() == "logits");
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
fn compared<T: ModelElement>(name: &str, unit: f64) {
    let golden = golden(name);
    let (right, ids) = (logits_of(&golden), model_of(&golden).ids());
    let (batch, len) = (ids.shape()[0], ids.shape()[1]);
    let numbers = |logits: &[T]| logits.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    for level in Level::all() {
        let model = fast::<T>(level, model_of(&golden).parameters());
        let mut of_threads: Vec<Vec<f64>> = Vec::new();
        for threads in [1, 2] {
            let mut state = model.zero_state(batch, 0);
            let mut got = Vec::new();
            let mut workspace = ModelWorkspace::new(threads).sharing_all();
            let taken =
                model.all_logits(ids.data(), &mut state, &mut workspace, |first, logits| {
                    assert_eq!(first * model.config().vocab_size, got.len(), "in order");
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

/// The official logits, which two float64 computations miss by some 1e-14 here.
#[test]
fn the_official_logits() {
    let case = official();
    let parameters = case.parameters().expect("read");
    let ids = case.ids().expect("tokens");
    let (batch, vocab) = (ids.shape()[0], parameters.config().vocab_size);
    let shape = [ids.shape(), &[vocab]].concat();
    let saved = case.saved("logits", &shape).expect("of this shape");
    let saved = saved.expect("the case holds them");
    for level in Level::all() {
        let (got, _) = all_logits(&fast::<f64>(level, &parameters), ids.data(), batch);
        assert_close(level.name(), &got, saved.data(), 1e-11);
    }
}

/// As a port that dumps its logits, far from the limit: the analysis is of the worst case.
fn accepted<T: ModelElement>(name: &str, dtype: Dtype, format: Format) {
    let golden = golden(name);
    let model = fast::<T>(Level::detect(), model_of(&golden).parameters());
    let ids = model_of(&golden).ids();
    let (logits, _) = all_logits(&model, ids.data(), ids.shape()[0]);
    let logits = logits.iter().map(|x| x.to_f64()).collect();
    let logits = Tensor::new(logits_of(&golden).values.shape().to_vec(), logits).expect("fits");
    let report = judge(&golden, &vec![("logits".into(), logits)], dtype, format);
    assert!(report.pass(), "{name}");
    assert_eq!(report.stages.len(), 1, "{name}");
    assert!(report.stages[0].worst < 0.1, "{name}");
}

#[test]
fn check_accepts_the_logits() {
    for name in GOLDEN {
        accepted::<f64>(name, Dtype::F64, Format::F64);
        accepted::<f32>(name, Dtype::F32, Format::F32);
    }
}

/// An official case's model with kernels that end after `l_max` taps.
fn cut(case: &ModelFile, l_max: usize) -> ModelParameters<f64> {
    let parameters = case.parameters().expect("read");
    let mut config: ModelConfig = parameters.config().clone();
    config.h3.l_max = Some(l_max);
    ModelParameters::new(config, |name| Ok(parameters.get(name).to_vec())).expect("fits")
}

fn fast<T: ModelElement>(level: Level, parameters: &ModelParameters<f64>) -> FastModel<T> {
    let read = |name| Ok(parameters.get(name).to_vec());
    FastModel::new(level, parameters.config(), read).expect("a model")
}

fn cut_to(l_max: usize) -> ModelParameters<f64> {
    cut(&official(), l_max)
}

/// All logits (batch, len, vocab), and where the pieces began that they came in.
fn all_logits<T: ModelElement>(
    model: &FastModel<T>,
    ids: &[usize],
    batch: usize,
) -> (Vec<T>, Vec<usize>) {
    let (len, vocab) = (ids.len() / batch, model.config().vocab_size);
    let mut all = vec![T::from_f64(f64::NAN); batch * len * vocab];
    let mut begun = Vec::new();
    let mut state = model.zero_state(batch, 0);
    let taken = model.all_logits(
        ids,
        &mut state,
        &mut ModelWorkspace::new(2).sharing_all(),
        |first, logits| {
            begun.push(first);
            all[first * vocab..][..logits.len()].copy_from_slice(logits);
            Ok(())
        },
    );
    taken.expect("runs");
    (all, begun)
}

/// A text longer than `l_max` is convolved with cut kernels where it comes whole, as by the official forward
/// pass; one that comes in pieces has no state that would do, and the refusal leaves it where it was.
#[test]
fn beyond_l_max_a_text_comes_whole() {
    let parameters = cut_to(5);
    let ids = official().ids().expect("tokens").data()[..7].to_vec();
    let text = Tensor::new([1, 7], ids.clone()).expect("fits");
    let golden = certified(parameters.clone(), text);
    let right = logits_of(&golden);
    let (model, unit) = (
        fast::<f64>(Level::detect(), &parameters),
        f64::EPSILON / 2.0,
    );
    let (got, _) = all_logits(&model, &ids, 1);
    assert_within("whole", right, 0..7, &got, unit);
    let (uncut, _) = all_logits(&fast(Level::detect(), &cut_to(7)), &ids, 1);
    assert!(
        within(right, 5..7, &uncut[5 * 32..], unit).is_err(),
        "the cut is seen"
    );

    let workspace = &mut ModelWorkspace::new(1);
    let mut state = model.zero_state(1, 0);
    let last = model
        .last_logits(&ids, &mut state, workspace)
        .expect("whole");
    assert_within("the last", right, 6..7, &last, unit);
    assert_eq!(state.position(), 7);
    let said = model
        .last_logits(&ids[..1], &mut state, workspace)
        .expect_err("no state");
    let said = said.to_string();
    assert!(
        said.contains("l_max = 5") && said.contains("8 inputs"),
        "{said}"
    );
    // Up to l_max states pass.
    let mut state = model.zero_state(1, 0);
    for (t, id) in ids[..5].iter().enumerate() {
        let got = model
            .last_logits(&[*id], &mut state, workspace)
            .expect("within l_max");
        assert_within("a step", right, t..t + 1, &got, unit);
    }
    assert!(model.last_logits(&ids[5..], &mut state, workspace).is_err());
    assert_eq!(state.position(), 5);
}

/// A refusal comes before anything is done: attention in the first block remembers nothing of it.
#[test]
fn what_is_refused_is_not_remembered() {
    let case = case("lm-choices");
    assert_eq!(case.config().attn_layer_idx, [0, 2]);
    let model = fast::<f64>(Level::detect(), &cut(&case, 5));
    let workspace = &mut ModelWorkspace::new(1);
    let [asked, spared] = [true, false].map(|asked| {
        let mut state = model.zero_state(1, 0);
        let taken = model.last_logits(&[1, 2, 3], &mut state, workspace);
        taken.expect("within l_max");
        if asked {
            let refused = model.last_logits(&[4, 5, 6], &mut state, workspace);
            assert!(refused.is_err(), "beyond l_max from a state");
        }
        let next = model.last_logits(&[7], &mut state, workspace);
        next.expect("within l_max")
    });
    assert_eq!(asked, spared);
}

/// A long text is one sequence for the blocks and pieces for the head, whose logits are many.
#[test]
fn long_texts_beyond_l_max_are_scored_in_pieces() {
    let parameters = cut_to(20);
    let len = 300;
    let ids: Vec<usize> = (0..2 * len).map(|i| (i * i + 3 * i / 7) % 32).collect();
    let (got, begun) = all_logits(&fast(Level::detect(), &parameters), &ids, 2);
    assert_eq!(begun, [0, 256, 300, 556]);
    let model = parameters.build::<f64>().expect("a model");
    let ids = Tensor::new([2, len], ids).expect("fits");
    let stages = model.forward(&Form::Convolution, &ids).expect("runs");
    let right = stages.logits.data();
    // The bounds proper are above; this is to tell one place from another.
    assert_close("long", &got, right, 1e4 * f64::EPSILON * largest(right));
}

/// Attention alone has no kernels to cut.
#[test]
fn without_h3_l_max_is_nothing() {
    let golden = golden("41-model-attention");
    let (parameters, ids) = (
        model_of(&golden).parameters(),
        model_of(&golden).ids().data(),
    );
    let mut config = parameters.config().clone();
    config.h3.l_max = Some(2);
    let read = |name| Ok(parameters.get(name).to_vec());
    let model = FastModel::<f64>::new(Level::detect(), &config, read).expect("a model");
    let mut state = model.zero_state(1, ids.len());
    for (t, id) in ids.iter().enumerate() {
        let workspace = &mut ModelWorkspace::new(1);
        let got = model
            .last_logits(&[*id], &mut state, workspace)
            .expect("no window");
        assert_within(
            "a step",
            logits_of(&golden),
            t..t + 1,
            &got,
            f64::EPSILON / 2.0,
        );
    }
}
