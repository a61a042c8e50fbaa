//! Claim: a training run learns; its steps are the reference's; and neither its number of threads nor
//! anything but its settings decides its numbers.

use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::Level;
use hungry_hippos::h3::Form;
use hungry_hippos::learning::{Curve, Data, MixerChoice, Run, Settings, Task};
use hungry_hippos::model::initial_parameters;
use hungry_hippos::training::{AdamW, Schedule, TrainingState, official_groups};
use hungry_hippos::{Error, Tensor};

fn settings(task: Task, vocabulary: usize) -> Settings {
    Settings::official(task, MixerChoice::H3, Some(vocabulary)).expect("official")
}

fn data(settings: &Settings) -> Data {
    settings.synthetic().expect("drawn")
}

/// The curve of a short run of a small model.
fn short_run(epochs: usize, change: impl Fn(&mut Settings), threads: usize) -> Curve {
    let mut settings = settings(Task::Recall, 10);
    (settings.d_model, settings.d_state) = (8, 4);
    (settings.examples, settings.batch, settings.epochs) = (80, 8, epochs);
    settings.rate = 2e-2;
    change(&mut settings);
    let data = data(&settings);
    let mut run = Run::new(settings, &data, Level::detect(), threads).expect("a model");
    for _ in 0..epochs {
        run.epoch(&mut || ()).expect("finite");
    }
    run.curve().clone()
}

/// The loss falls from that of knowing nothing towards that of knowing which tokens are keys and which
/// values; without a rate it stays.
#[test]
fn a_short_run_learns() {
    for mixer in MixerChoice::ALL {
        let curve = short_run(3, |settings| settings.mixer = mixer, 1);
        let [first, .., last] = curve.epochs[..] else {
            panic!("three epochs");
        };
        assert!(
            first.loss > 1.8 && last.loss < 1.75,
            "{mixer}: {:?}",
            curve.epochs
        );
    }
    let still = short_run(1, |settings| settings.rate = 0.0, 1);
    assert!(
        still
            .epochs
            .iter()
            .all(|epoch| (epoch.loss - 10f64.ln()).abs() < 0.1)
    );
}

/// Every index once, in a random order (Fisher and Yates).
fn shuffled(len: usize, rng: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        order.swap(last, rng.below(last + 1));
    }
    order
}

/// The mean losses of epochs that the reference trains in f64, every rate that of a step so many later.
fn losses_of_reference(settings: &Settings, data: &Data, epochs: usize, late: u64) -> Vec<f64> {
    let (config, train) = (settings.config(), &data.train);
    let steps = train.len().div_ceil(settings.batch);
    let schedule = settings.schedule(steps);
    let factor = |t| Ok::<f64, Error>(schedule.rate::<f64>(settings.rate, t)? / settings.rate);
    let factors: Result<Vec<f64>, _> = (0..(epochs * steps) as u64)
        .map(|t| factor(t + late))
        .collect();
    let schedule = Schedule::Factors(factors.expect("rates"));
    let groups = official_groups(&config, &settings.optimizer());
    let optimizer = AdamW::new(&config, groups, schedule, None).expect("an optimizer");
    let parameters = initial_parameters(&config, settings.seed).expect("a model");
    let mut state = TrainingState::<f64>::new(parameters);
    let mut losses = Vec::with_capacity(epochs);
    for epoch in 0..epochs {
        let order = shuffled(
            train.len(),
            &mut Rng::named(settings.seed, &format!("order {epoch}")),
        );
        let mut sum = 0.0;
        for chosen in order.chunks(settings.batch) {
            let shape = [chosen.len(), settings.seq_len];
            let ids: Vec<usize> = chosen
                .iter()
                .flat_map(|&i| train.inputs(i))
                .copied()
                .collect();
            let targets = chosen.iter().flat_map(|&i| train.targets(i));
            let targets = targets.map(|&id| Some(id)).collect();
            let ids = Tensor::new(shape, ids).expect("fits");
            let targets = Tensor::new(shape, targets).expect("fits");
            let step = state.step(&optimizer, &Form::Convolution, &ids, &targets);
            let step = step.expect("runs");
            sum += step.loss * chosen.len() as f64;
            state = step.state;
        }
        losses.push(sum / order.len() as f64);
    }
    losses
}

/// A run's losses are those of the reference's steps: its batches, the rate of the step and not of the next, the
/// SSMs' parameters in a separate group.
#[test]
fn a_run_takes_the_reference_s_steps() {
    let mut settings = settings(Task::Recall, 10);
    (settings.d_model, settings.d_state) = (8, 4);
    (settings.examples, settings.batch, settings.epochs) = (6, 4, 4);
    (settings.rate, settings.dropout) = (2e-2, 0.0);
    let data = data(&settings);
    let mut run = Run::new(settings.clone(), &data, Level::detect(), 1).expect("a model");
    for _ in 0..2 {
        run.epoch(&mut || ()).expect("finite");
    }
    let found: Vec<f64> = run.curve().epochs.iter().map(|epoch| epoch.loss).collect();
    let apart = |settings: &Settings, late| {
        let right = losses_of_reference(settings, &data, 2, late);
        let pairs = found.iter().zip(&right).map(|(x, y)| (x - y).abs());
        pairs.fold(0.0, f64::max)
    };
    let mut undecayed = settings.clone();
    undecayed.decay = 0.0;
    // The run is in f32: some 1e-8 is what it is off by.
    let bound = 1e-6;
    assert!(apart(&settings, 0) < bound, "{found:?}");
    for (what, settings, late) in [("late", &settings, 1), ("no decay", &undecayed, 0)] {
        assert!(apart(settings, late) > 3.0 * bound, "{what}");
    }
}

/// The number of threads changes no bit; dropout and every seed do.
#[test]
fn a_run_is_that_of_its_settings() {
    let alone = short_run(1, |_| (), 1);
    assert_eq!(alone, short_run(1, |_| (), 3));
    for change in [
        |settings: &mut Settings| settings.seed = 1,
        |settings: &mut Settings| settings.data_seed = 1,
        |settings: &mut Settings| settings.dropout = 0.0,
        |settings: &mut Settings| settings.decay = 0.0,
    ] {
        assert_ne!(alone.epochs, short_run(1, change, 1).epochs);
    }
}
