//! An epoch of training, next to PyTorch's.

use crate::contest::{Contestant, Python, contest, seconds};
use crate::results;
use crate::sections::ask;
use hungry_hippos::fast::{Dropout, Level, Trainer};
use hungry_hippos::learning::{MixerChoice, Settings, Task};
use hungry_hippos::model::initial_parameters;
use hungry_hippos::training::official_groups;
use std::cell::RefCell;

/// The case with H3 blocks alone whose loss the peer has to get right.
const JUDGED_BY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/golden/v2/89-model-recall.safetensors"
);

/// An epoch of the recall task, H3: for every batch forwards, loss, backwards, AdamW, the rate's schedule, the
/// loss as a number.
pub fn training(python: &mut Option<Python>) {
    let apart = match python {
        Some(python) => python.ask(&format!("loss_apart {JUDGED_BY}")),
        None => f64::NAN,
    };
    println!("loss of case 89: the peer's is {apart:.1e} from the golden one");
    let python = RefCell::new(python);
    for vocabulary in [10, 20] {
        let settings = Settings::official(Task::Recall, MixerChoice::H3, Some(vocabulary)).unwrap();
        let data = settings.synthetic().unwrap().train;
        let (len, config) = (settings.seq_len, settings.config());
        let order: Vec<usize> = (0..data.len()).collect();
        let steps = order.chunks(settings.batch).len();
        let schedule = settings.schedule(steps);
        let groups = official_groups(&config, &settings.optimizer());
        let dropout = Dropout {
            embedding: settings.dropout,
            ..Dropout::default()
        };
        for threads in [1, 2] {
            let parameters = initial_parameters(&config, 0).unwrap();
            let level = Level::detect();
            let mut trainer =
                Trainer::<f32>::new(level, &parameters, &groups, None, threads).unwrap();
            let (mut ids, mut targets) = (Vec::new(), Vec::new());
            let mut all = vec![Contestant::new("fast", || {
                seconds(|| {
                    for batch in order.chunks(settings.batch) {
                        ids.clear();
                        targets.clear();
                        for &i in batch {
                            ids.extend_from_slice(data.inputs(i));
                            targets.extend(data.targets(i).iter().map(|&id| Some(id)));
                        }
                        let rate: f64 = schedule.rate(settings.rate, trainer.steps()).unwrap();
                        let sizes = (batch.len(), len);
                        let factor = rate / settings.rate;
                        let report = trainer.step(&ids, &targets, sizes, factor, &dropout);
                        std::hint::black_box(report.unwrap().loss);
                    }
                })
            })];
            // A peer that computes something else takes no part.
            if apart <= 1e-12 {
                let sizes = format!("{vocabulary} {len}");
                all.extend(ask(&python, "torch_training", threads, &sizes, 1.0));
            }
            let title = format!(
                "an epoch of recall, V {vocabulary}, {steps} steps, {level}, f32, {threads} threads, load {}",
                results::load()
            );
            contest(&title, "ms", 1e-3, all);
        }
    }
    println!("load {}", results::load());
}
