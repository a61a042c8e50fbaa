//! The tasks' format, and what is made of curves. (Runs are tested in `learning.rs`.)

use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::Name;
use hungry_hippos::learning::{
    Curve, Data, Epoch, Measure, MixerChoice, Settings, Task, json, plot, table,
};
use hungry_hippos::model::{BlockName, ModelName, initial_parameters};
use std::collections::BTreeSet;

fn settings(task: Task, vocabulary: usize) -> Settings {
    Settings::official(task, MixerChoice::H3, Some(vocabulary)).expect("official")
}

fn data(settings: &Settings) -> Data {
    settings.synthetic().expect("drawn")
}

/// The answers of a sequence of recall, its tokens read without the code that draws them; `None` if it is none.
fn answer_of_recall(inputs: &[usize], vocabulary: usize) -> Option<BTreeSet<usize>> {
    let half = (vocabulary - 2) / 2;
    let (keys, values) = (1..=half, half + 1..=2 * half);
    let (pairs, question) = inputs.split_at(inputs.len() - 2);
    let well_formed = pairs
        .chunks(2)
        .all(|pair| keys.contains(&pair[0]) && values.contains(&pair[1]));
    let asked = question[0] == vocabulary - 1 && keys.contains(&question[1]);
    let found = pairs.chunks(2).filter(|pair| pair[0] == question[1]);
    (well_formed && asked).then(|| found.map(|pair| pair[1]).collect())
}

#[test]
fn recall_asks_for_a_key_that_was_read() {
    for (vocabulary, len) in [(10, 22), (20, 42)] {
        let data = data(&settings(Task::Recall, vocabulary));
        let (mut keys, mut values) = (BTreeSet::new(), BTreeSet::new());
        for (set, count) in [(&data.train, 5000), (&data.held_out, 500)] {
            assert_eq!((set.len(), set.seq_len()), (count, len));
            let distinct: BTreeSet<&[usize]> = (0..count).map(|i| set.inputs(i)).collect();
            assert_eq!(distinct.len(), count, "all different");
            for i in 0..count {
                let (inputs, targets) = (set.inputs(i), set.targets(i));
                assert_eq!(inputs[1..], targets[..len - 1]);
                let answer = answer_of_recall(inputs, vocabulary).expect("well formed");
                assert_eq!(
                    answer,
                    BTreeSet::from([targets[len - 1]]),
                    "one value of a key"
                );
                keys.insert(inputs[len - 1]);
                values.insert(targets[len - 1]);
            }
        }
        assert_eq!(keys.len(), vocabulary / 2 - 1, "every key is asked for");
        assert_eq!(values.len(), vocabulary / 2 - 1);
        // Teeth: an answer that is another value.
        let wrong = answer_of_recall(data.train.targets(0), vocabulary);
        assert_ne!(
            wrong,
            Some(BTreeSet::from([data.train.targets(0)[len - 1]]))
        );
    }
}

/// Naming the value read most often is right for half of the sequences: the plateau of every curve.
#[test]
fn the_most_frequent_value_is_half_the_score() {
    let data = data(&settings(Task::Recall, 10));
    let most_frequent = |inputs: &[usize]| {
        let count = |value: usize| inputs.iter().filter(|&&token| token == value).count();
        (5..=8).max_by_key(|&value| count(value))
    };
    let set = &data.train;
    let right =
        (0..set.len()).filter(|&i| most_frequent(set.inputs(i)) == Some(set.targets(i)[21]));
    let share = right.count() as f64 / set.len() as f64;
    assert!((0.47..0.56).contains(&share), "{share}");
}

#[test]
fn induction_asks_for_what_followed_the_sign() {
    let data = data(&settings(Task::Induction, 20));
    let mut places = BTreeSet::new();
    for set in [&data.train, &data.held_out] {
        for i in 0..set.len() {
            let (inputs, targets) = (set.inputs(i), set.targets(i));
            let signs: Vec<usize> = (0..31).filter(|&at| inputs[at] == 19).collect();
            assert_eq!((signs.len(), signs[1]), (2, 30), "{inputs:?}");
            assert!(inputs.iter().all(|token| (1..=19).contains(token)));
            assert_eq!(targets[30], inputs[signs[0] + 1]);
            places.insert(signs[0]);
        }
    }
    assert_eq!(places, (0..28).collect());
}

/// A seed of the data names them, and nothing else does.
#[test]
fn the_data_are_those_of_their_seed() {
    let first = settings(Task::Recall, 10);
    let mut again = first.clone();
    (again.seed, again.mixer, again.batch) = (7, MixerChoice::Attention, 3);
    assert_eq!(data(&first), data(&again));
    again.data_seed = 1;
    assert_ne!(data(&first), data(&again));
}

#[test]
fn a_text_is_cut_into_windows() {
    let mut settings = settings(Task::Text, 256);
    settings.seq_len = 4;
    let text: Vec<u8> = (0..100).collect();
    let data = settings.of_text(&text).expect("long enough");
    assert_eq!((data.train.len(), data.held_out.len()), (22, 2));
    assert_eq!(data.train.inputs(1), [4, 5, 6, 7]);
    assert_eq!(data.train.targets(21), [85, 86, 87, 88]);
    assert_eq!(data.held_out.inputs(0), [90, 91, 92, 93]);
    let mut order = data.train.in_random_order(&mut Rng::new(3));
    assert_ne!(order, (0..22).collect::<Vec<_>>());
    order.sort_unstable();
    assert_eq!(order, (0..22).collect::<Vec<_>>());
    let refused = settings
        .of_text(&text[..49])
        .expect_err("no window held out");
    assert!(refused.to_string().contains("at least 50"), "{refused}");
    assert!(settings.of_text(&text[..50]).is_ok());
}

#[test]
fn settings_are_read_as_they_are_written() {
    let mut settings = settings(Task::Recall, 20);
    (settings.rate, settings.seed) = (1.0 / 3.0, u64::MAX);
    let mut strings: std::collections::BTreeMap<_, _> = settings.strings().into_iter().collect();
    assert_eq!(Settings::of_strings(&strings), Ok(settings));
    strings.insert("train.mixer".into(), "hyena".into());
    let refused = Settings::of_strings(&strings).expect_err("no such mixer");
    assert!(refused.to_string().contains("train.mixer"), "{refused}");
    strings.remove("train.seed");
    strings.remove("train.mixer");
    let refused = Settings::of_strings(&strings).expect_err("missing");
    assert!(
        refused.to_string().contains("train.mixer is missing")
            || refused.to_string().contains("train.mixer, which"),
        "{refused}"
    );
}

fn curve(seed: u64, scores: &[f64]) -> Curve {
    let mut settings = settings(Task::Recall, 10);
    settings.seed = seed;
    let epochs = scores.iter().enumerate();
    Curve {
        settings,
        epochs: epochs
            .map(|(at, &score)| Epoch::of(2.0 - at as f64 / 8.0, score))
            .collect(),
    }
}

#[test]
fn a_report_has_every_seed() {
    let curves = [curve(0, &[25.0, 99.8, 97.4]), curve(1, &[50.0, 80.4])];
    let text = table(&curves);
    for said in [
        "97.4",
        "99.8",
        "80.4",
        "3 of 200",
        "mean 88.9, least 80.4, most 97.4",
    ] {
        assert!(text.contains(said), "{said}:\n{text}");
    }
    let best = |curve: &Curve| (curve.last(), curve.best(), curve.first(97.0));
    assert_eq!(best(&curves[0]), (Some(97.4), Some(99.8), Some(2)));
    assert_eq!(best(&curves[1]), (Some(80.4), Some(80.4), None));
    assert!(Measure::BitsPerByte.reaches(1.9, 2.0) && !Measure::Accuracy.reaches(1.9, 2.0));
    let mut other = curves[0].clone();
    other.settings.rate *= 2.0;
    assert!(text.contains("the paper: 99.8") && !table(&[other]).contains("paper"));
    assert!(json(&curves).contains("\"loss\":[2,1.875,1.75],\"score\":[25,99.8,97.4]"));
}

/// A plot is well formed, has a line for every run and panel, and stays in its box.
#[test]
fn a_plot_shows_every_run() {
    let curves = [
        curve(0, &[25.0, 99.8, 97.4]),
        curve(1, &[50.0]),
        curve(2, &[]),
    ];
    let svg = plot(&curves);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("stroke:var(--s0)").count(), 3);
    assert!(svg.contains("prefers-color-scheme:dark") && svg.contains("paper 99.8"));
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
    // The last epoch at the right, and a better score above a worse one.
    assert!(svg.contains("L528.0 272.4"), "{svg}");
    assert!(!plot(&[]).contains("NaN"));
}

/// The deviations of what training begins with, and what is constant.
#[test]
fn a_model_begins_as_the_official_one() {
    let deviation = |values: &[f64]| {
        let squares: f64 = values.iter().map(|x| x * x).sum();
        (squares / values.len() as f64).sqrt()
    };
    for mixer in MixerChoice::ALL {
        let mut settings = settings(Task::Recall, 10);
        settings.mixer = mixer;
        let config = settings.config();
        let parameters = initial_parameters(&config, 5).expect("a model");
        for name in config.names() {
            let (official, values) = (name.official(), parameters.get(name));
            let expected = match &official[official.rfind("mixer.").unwrap_or(0)..] {
                of if of.contains("norm") || of.contains("ln_f") => {
                    let one = f64::from(u8::from(of.ends_with("weight")));
                    assert!(values.iter().all(|x| *x == one), "{official}");
                    continue;
                }
                of if of.ends_with("bias") => 0.0,
                of if of.contains("fc2.weight") || of.contains("out_proj.weight") => 0.01,
                of if of.ends_with(".weight") => 0.02,
                "mixer.D" | "mixer.ssm_k_D" => 1.0,
                // Of an S4D layer so that a constant input has a response of variance 1.
                "mixer.kernel.kernel.C" if mixer == MixerChoice::S4d => {
                    let w = |i: usize| {
                        let of = |name| parameters.get(ModelName::Block(0, BlockName::S4d(name)));
                        of(Name::InvAReal)[i].exp().hypot(of(Name::AImag)[i])
                    };
                    let pairs = values.chunks(2).enumerate();
                    let squares = pairs.map(|(i, c)| (c[0].hypot(c[1]) / w(i % 32)).powi(2));
                    let variance = 2.0 * squares.sum::<f64>() / 32.0;
                    assert!((0.4..2.5).contains(&variance), "{variance}");
                    continue;
                }
                "mixer.kernel.kernel.C" => core::f64::consts::FRAC_1_SQRT_2,
                "mixer.ssm_k_kernel.kernel.C" => 0.125 / 3f64.sqrt(),
                "mixer.kernel.kernel.log_dt" => {
                    assert!(
                        values.iter().all(|x| (-6.908..=-2.302).contains(x)),
                        "{official}"
                    );
                    continue;
                }
                _ => continue,
            };
            let found = deviation(values);
            let few = 4.0 / (2.0 * values.len() as f64).sqrt();
            assert!(
                (found - expected).abs() <= few * expected,
                "{official}: {found}"
            );
        }
    }
}
