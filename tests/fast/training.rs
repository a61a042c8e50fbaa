//! Claim: the fast path's losses, gradients and training steps are the official and the reference's, at
//! every level; the same bits for any number of threads, at every run, and in one that is resumed.

use crate::common::{assert_close, close, data, is_exhaustive, largest};
use crate::models::{config, parameters, with_heads_of};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{Dropout, Level, ModelElement, Trainer};
use hungry_hippos::h3::{Form, HeadOrder, RealType};
use hungry_hippos::model::{BlockName, ModelConfig, ModelName, ModelParameters, SsmMixer};
use hungry_hippos::oracle::ModelFile;
use hungry_hippos::ssm::Discretization;
use hungry_hippos::training::{OptimizerOptions, ParameterGroup, official_groups};

/// A batch: tokens, targets, and (batch, seq_len).
type Batch = (Vec<usize>, Vec<Option<usize>>, (usize, usize));

fn groups(config: &ModelConfig, rate: f64) -> Vec<ParameterGroup> {
    official_groups(config, &OptimizerOptions::official(rate))
}

fn trainer<T: ModelElement>(
    level: Level,
    parameters: &ModelParameters<f64>,
    threads: usize,
) -> Trainer<T> {
    let groups = groups(parameters.config(), 2e-3);
    Trainer::new(level, parameters, &groups, Some(1.0), threads).expect("a model")
}

/// An official model.
fn official(name: &str) -> (ModelFile, ModelParameters<f64>) {
    let file = ModelFile::open(&data(name)).expect("a file");
    let parameters = file.parameters().expect("parameters");
    (file, parameters)
}

/// The tokens and targets a file holds under a prefix.
fn batch_of(file: &ModelFile, prefix: &str) -> Batch {
    let file = file.file();
    let name = |part: &str| format!("{prefix}{part}");
    let integers = |part: &str| file.to_integers(&name(part)).expect("integers");
    let shape = file.shape(&name("input_ids")).expect("tokens");
    let ids = integers("input_ids").into_iter();
    let targets = integers("targets").into_iter();
    (
        ids.map(|id| usize::try_from(id).expect("a token"))
            .collect(),
        targets.map(|id| usize::try_from(id).ok()).collect(),
        (shape[0], shape[1]),
    )
}

fn random_batch(vocab: usize, (batch, len): (usize, usize)) -> Batch {
    let mut rng = Rng::new(31);
    let size = batch * len;
    let ids = (0..size).map(|_| rng.below(vocab)).collect();
    // Two in three count.
    let targets = (0..size).map(|_| Some(rng.below(vocab)).filter(|_| rng.below(3) > 0));
    (ids, targets.collect(), (batch, len))
}

/// True for the bias of queries, keys and values, whose keys receive nothing but rounding.
fn has_keys(name: ModelName) -> bool {
    matches!(name, ModelName::Block(_, BlockName::QkvBias))
}

/// Loss and gradients of an official file, within `relative` of the largest number of each.
fn judge_gradients<T: ModelElement>(name: &str, relative: f64) {
    let (file, parameters) = official(name);
    let (ids, targets, sizes) = batch_of(&file, "");
    let stored = |name: &str| file.file().to_f64(name).expect("floats");
    for level in Level::all() {
        let mut trainer = trainer::<T>(level, &parameters, 2);
        let computed = trainer.gradients(&ids, &targets, sizes, &Dropout::default());
        let (loss, gradients) = computed.expect("runs");
        let right = stored("loss");
        assert_close(name, &[loss], &right, relative * right[0]);
        let alone = trainer.loss(&ids, &targets, sizes).expect("runs");
        assert_close(name, &[alone], &right, relative * right[0]);
        let logits = trainer.logits(&ids, sizes).expect("runs");
        let logits: Vec<f64> = logits.iter().map(|x| x.to_f64()).collect();
        let right = stored("logits");
        assert_close(name, &logits, &right, relative * largest(&right));
        let (vocab, len) = (parameters.config().vocab_size, sizes.1);
        let last = trainer.last_logits(&ids, sizes).expect("runs");
        for (b, last) in last.chunks_exact(vocab).enumerate() {
            let last: Vec<f64> = last.iter().map(|x| x.to_f64()).collect();
            let all = &logits[((b + 1) * len - 1) * vocab..][..vocab];
            assert_eq!(last, all, "{name}, {level}");
        }
        for parameter in parameters.config().names() {
            let what = format!("{name}, {level}, {}", parameter.official());
            let right = stored(&format!("grad.{}", parameter.official()));
            let bound = relative * largest(&right).max(1e-3);
            assert_close(&what, gradients.get(parameter), &right, bound);
            let mut wrong = gradients.get(parameter).to_vec();
            wrong[0] += 3.0 * bound;
            assert!(close(&what, &wrong, &right, bound).is_err(), "{what}");
        }
    }
}

#[test]
fn every_gradient_is_the_official_one() {
    judge_gradients::<f64>("lm-grad-v2-h3-ignore", 1e-11);
    judge_gradients::<f64>("lm-grad-v3-attention-ignore", 1e-11);
    judge_gradients::<f64>("lm-grad-s4d", 1e-11);
}

/// 3.7e-6 is what the official run in float32 is off by itself.
#[test]
fn float32_is_within_what_float32_allows() {
    judge_gradients::<f32>("lm-grad-v5-hybrid-f32", 2e-5);
    judge_gradients::<f64>("lm-grad-v5-hybrid-f32", 2e-5);
}

/// Three steps of an official run: how far weights and moments are off at most, key biases left out.
fn off_after_steps<T: ModelElement>(
    name: &str,
    groups: &[ParameterGroup],
    (clip, factors): (Option<f64>, [f64; 3]),
) -> f64 {
    let (file, parameters) = official(name);
    let stored = |name: &str| file.file().to_f64(name);
    let mut trainer =
        Trainer::<T>::new(Level::detect(), &parameters, groups, clip, 2).expect("a model");
    let mut worst = 0.0f64;
    for (k, factor) in (1..).zip(factors) {
        let (ids, targets, sizes) = batch_of(&file, &format!("batch{k}."));
        let step = trainer.step(&ids, &targets, sizes, factor, &Dropout::default());
        let step = step.expect("runs");
        for (of, x) in [("loss", step.loss), ("grad_norm", step.gradient_norm)] {
            if let Ok(right) = stored(&format!("step{k}.{of}")) {
                worst = worst.max((x - right[0]).abs());
            }
        }
    }
    assert_eq!(trainer.steps(), 3);
    let after = trainer.parameters().expect("parameters");
    let [first, second] = trainer.moments().expect("moments");
    for parameter in parameters.config().names() {
        for (of, got) in [
            ("param", &after),
            ("exp_avg", &first),
            ("exp_avg_sq", &second),
        ] {
            let right = stored(&format!("step3.{of}.{}", parameter.official())).expect("stored");
            let d = right.len() / 3;
            for (i, (x, right)) in got.get(parameter).iter().zip(&right).enumerate() {
                if !has_keys(parameter) || i / d != 1 {
                    worst = worst.max((x - right).abs());
                }
            }
        }
    }
    worst
}

/// The groups of the official runs: rate, decay and the SSMs' rate.
fn groups_of(name: &str, rate: f64) -> Vec<ParameterGroup> {
    let config = official(name).1.config().clone();
    groups(&config, rate)
}

#[test]
fn every_step_is_the_official_one() {
    for (name, rate, clip, factors, f32_too) in [
        ("lm-train-v1-hybrid", 2e-3, None, [1.0; 3], false),
        (
            "lm-train-v2-clip-warmup",
            4e-3,
            Some(1.0),
            [0.0, 0.5, 1.0],
            false,
        ),
        (
            "lm-train-v4-hybrid-f32",
            2e-3,
            Some(1.0),
            [0.0, 1.0, 0.8],
            true,
        ),
    ] {
        let (groups, run) = (groups_of(name, rate), (clip, factors));
        let bound = if f32_too { 4e-6 } else { 1e-11 };
        let off = off_after_steps::<f64>(name, &groups, run);
        assert!(off <= bound, "{name}: {off:e}");
        if f32_too {
            let off = off_after_steps::<f32>(name, &groups, run);
            assert!(off <= bound, "{name} in f32: {off:e}");
        }
        // Refused: decay of the SSMs' parameters too; another clip; another rate.
        let mut decayed = groups.clone();
        decayed[1].weight_decay = 0.1;
        let mut faster = groups.clone();
        faster[0].rate *= 1.01;
        for (groups, clip) in [(&decayed, clip), (&faster, clip), (&groups, Some(0.5))] {
            let off = off_after_steps::<f64>(name, groups, (clip, factors));
            assert!(off > bound, "{name}: a mistake is {off:e} off");
        }
    }
}

/// Models whose axes are no multiples of lanes, with every choice that changes a formula.
fn odd_models() -> Vec<(ModelConfig, (usize, usize))> {
    let mut pairs = with_heads_of(2, config(2, &[1], 3, 6));
    (pairs.h3.n_ssm, pairs.max_position_embeddings) = (1, 12);
    pairs.h3.disc = Discretization::ZeroOrderHold;
    let mut triples = with_heads_of(3, config(3, &[], 0, 12));
    (triples.h3.head_order, triples.h3.real_type) = (HeadOrder::HD2, RealType::Softplus);
    triples.h3.l_max = Some(5);
    let mut wide = config(1, &[], 0, 20);
    (wide.vocab_size, wide.d_inner, wide.h3.real_type) = (35, 33, RealType::Relu);
    wide.h3.d_state = 10;
    let attention = config(2, &[0, 1], 2, 18);
    let mut s4d = config(3, &[1], 2, 10);
    (s4d.ssm, s4d.h3.n_ssm) = (SsmMixer::S4d, 1);
    s4d.h3.disc = Discretization::ZeroOrderHold;
    let mut s4d_alone = s4d.clone();
    s4d_alone.attn_layer_idx.clear();
    (s4d_alone.h3.n_ssm, s4d_alone.h3.disc) = (10, Discretization::Bilinear);
    vec![
        // More sequences than parts; a single token; shorter and longer than the window; one sequence.
        (pairs, (11, 7)),
        (triples.clone(), (3, 9)),
        (triples, (2, 1)),
        (wide, (1, 23)),
        (attention, (9, 19)),
        (s4d, (5, 9)),
        (s4d_alone, (2, 1)),
    ]
}

#[test]
fn gradients_are_the_reference_s() {
    for (config, (batch, len)) in odd_models() {
        let parameters = parameters(&config);
        let (ids, targets, sizes) = random_batch(config.vocab_size, (batch, len));
        let (ids_of, targets_of) = (
            Tensor::new([batch, len], ids.clone()).expect("fits"),
            Tensor::new([batch, len], targets.clone()).expect("fits"),
        );
        let right = parameters.gradients(&Form::Convolution, &ids_of, &targets_of);
        let (_, right) = right.expect("runs");
        for level in Level::all() {
            let mut trainer = trainer::<f64>(level, &parameters, 2);
            let computed = trainer.gradients(&ids, &targets, sizes, &Dropout::default());
            let (loss, gradients) = computed.expect("runs");
            assert_close("loss", &[loss], &[right.loss], 1e-12);
            for name in config.names() {
                let what = format!("{config:?}, {level}, {}", name.official());
                let expected = right.parameters.get(name);
                let bound = 1e-12 * largest(expected).max(1e-2);
                assert_close(&what, gradients.get(name), expected, bound);
            }
        }
    }
}

/// Some steps with dropout: loss and weights of each.
fn steps<T: ModelElement>(
    trainer: &mut Trainer<T>,
    (ids, targets, sizes): &Batch,
    count: usize,
    dropout: &Dropout,
) -> Vec<(u64, ModelParameters<f64>)> {
    let steps = (0..count).map(|_| {
        let step = trainer.step(ids, targets, *sizes, 0.7, dropout);
        let loss = step.expect("runs").loss;
        (loss.to_bits(), trainer.parameters().expect("parameters"))
    });
    steps.collect()
}

const DROPOUT: Dropout = Dropout {
    embedding: 0.3,
    attention: 0.2,
    seed: 5,
};

fn reproduced<T: ModelElement>() {
    let (config, sizes) = odd_models().swap_remove(0);
    let parameters = parameters(&config);
    let batch = random_batch(config.vocab_size, sizes);
    for level in Level::all() {
        let mut alone = trainer::<T>(level, &parameters, 1);
        let right = steps(&mut alone, &batch, 3, &DROPOUT);
        for threads in [1, 2, 3] {
            let mut trainer = trainer::<T>(level, &parameters, threads);
            let got = steps(&mut trainer, &batch, 3, &DROPOUT);
            assert_eq!(got, right, "{level}, {threads} threads");
        }
        // Resumed after the first step, by a trainer that has already taken others.
        let mut saved = trainer::<T>(level, &parameters, 2);
        steps(&mut saved, &batch, 1, &DROPOUT);
        let mut resumed = trainer::<T>(level, &parameters, 2);
        steps(&mut resumed, &batch, 2, &Dropout::default());
        let (weights, moments) = (saved.parameters().unwrap(), saved.moments().unwrap());
        let restored = resumed.restore(&weights, &moments, saved.steps());
        restored.expect("the same model");
        let got = steps(&mut resumed, &batch, 2, &DROPOUT);
        assert_eq!(got, right[1..], "{level}, resumed");
        // With the count of steps lost the masks are others, with the moments lost the steps.
        for (moments, done) in [(&moments, 0), (&[&moments[1]; 2].map(Clone::clone), 1)] {
            resumed
                .restore(&weights, moments, done)
                .expect("the same model");
            let got = steps(&mut resumed, &batch, 2, &DROPOUT);
            assert_ne!(got, right[1..], "{level}, something lost");
        }
        let other = Dropout { seed: 6, ..DROPOUT };
        for dropout in [other, Dropout::default()] {
            let mut trainer = trainer::<T>(level, &parameters, 2);
            assert_ne!(steps(&mut trainer, &batch, 1, &dropout)[0], right[0]);
        }
    }
}

#[test]
fn the_same_bits_for_any_number_of_threads_and_resumed() {
    reproduced::<f64>();
    reproduced::<f32>();
}

/// Under the masks of a step the gradient is the loss's: differences of four losses, for a number of
/// every second parameter, with `HIPPOS_EXHAUSTIVE` set of every one.
#[test]
fn with_dropout_too_gradients_are_of_the_loss() {
    let (config, sizes) = odd_models().swap_remove(0);
    let parameters = parameters(&config);
    let (ids, targets, sizes) = random_batch(config.vocab_size, sizes);
    let mut trainer = trainer::<f64>(Level::detect(), &parameters, 1);
    let mut at = |parameters: &ModelParameters<f64>| {
        let zeros = trainer.moments().expect("moments");
        trainer
            .restore(parameters, &zeros, 0)
            .expect("the same model");
        let computed = trainer.gradients(&ids, &targets, sizes, &DROPOUT);
        computed.expect("runs")
    };
    let (_, gradients) = at(&parameters);
    let mut seen = 0.0f64;
    for name in config
        .names()
        .into_iter()
        .step_by(if is_exhaustive() { 1 } else { 2 })
    {
        let values = parameters.get(name);
        let i = values.len() / 2;
        let mut moved = |by: f64| {
            let changed = ModelParameters::new(config.clone(), |other| {
                let mut values = parameters.get(other).to_vec();
                if other == name {
                    values[i] += by;
                }
                Ok(values)
            });
            at(&changed.expect("the same shapes")).0
        };
        let h = 1e-3;
        let wide = (moved(2.0 * h) - moved(-2.0 * h)) / (4.0 * h);
        let narrow = (moved(h) - moved(-h)) / (2.0 * h);
        let slope = (4.0 * narrow - wide) / 3.0;
        let (got, what) = (gradients.get(name)[i], name.official());
        assert_close(&what, &[got], &[slope], 1e-8);
        seen = seen.max(slope.abs());
    }
    assert!(seen > 1e-2, "the bound could tell");
}

/// What cannot be trained on is refused by name, and leaves everything as it was.
#[test]
fn refusals() {
    let (config, sizes) = odd_models().swap_remove(0);
    let parameters = parameters(&config);
    let (ids, targets, (batch, len)) = random_batch(config.vocab_size, sizes);
    let mut trainer = trainer::<f64>(Level::detect(), &parameters, 1);
    let mut refused = |ids: &[usize], targets: &[Option<usize>], sizes, dropout, expected: &str| {
        let said = trainer
            .step(ids, targets, sizes, 1.0, &dropout)
            .expect_err(expected);
        assert!(said.to_string().contains(expected), "{said}");
        assert_eq!(trainer.parameters().expect("parameters"), parameters);
        assert_eq!(trainer.steps(), 0);
    };
    let none = Dropout::default();
    refused(&ids[1..], &targets, (batch, len), none, "input_ids");
    refused(&[], &[], (0, len), none, "no token");
    refused(&ids, &targets[1..], (batch, len), none, "targets");
    refused(
        &ids,
        &vec![None; ids.len()],
        (batch, len),
        none,
        "targets: none counts",
    );
    let outside = vec![config.vocab_size; ids.len()];
    refused(
        &outside,
        &targets,
        (batch, len),
        none,
        "outside the vocabulary",
    );
    let outside: Vec<_> = outside.into_iter().map(Some).collect();
    refused(&ids, &outside, (batch, len), none, "targets: element 0");
    refused(&ids, &targets, (1, batch * len), none, "learned positions");
    for (dropout, expected) in [
        (
            Dropout {
                embedding: 1.0,
                ..none
            },
            "dropout of the embedding",
        ),
        (
            Dropout {
                attention: f64::NAN,
                ..none
            },
            "dropout of attention",
        ),
    ] {
        refused(&ids, &targets, (batch, len), dropout, expected);
    }
    let other = odd_models().swap_remove(1).0;
    let other = Trainer::<f64>::new(
        Level::detect(),
        &crate::models::parameters(&other),
        &groups(&other, 1e-3),
        None,
        1,
    );
    let other = other.expect("a model");
    let (weights, moments) = (other.parameters().unwrap(), other.moments().unwrap());
    let said = trainer
        .restore(&weights, &moments, 0)
        .expect_err("another model");
    assert!(said.to_string().contains("another model"), "{said}");
    let mut missing = groups(&config, 1e-3);
    missing[1].parameters.pop();
    let said = Trainer::<f64>::new(Level::detect(), &parameters, &missing, None, 1);
    let said = said.expect_err("a parameter in no group").to_string();
    assert!(said.contains("is in 0 groups"), "{said}");
}
