//! Claim: a layer's runs are as the check asks for them: with mistakes, from a port's own stages, on some
//! heads alone, and with what runs without mistakes compute remembered.

use crate::common::{golden_file, is_exhaustive};
use crate::verdicts::Stages;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::{Config, HeadOrder, Name, Parameters, RealType};
use hungry_hippos::oracle::{
    Axis, Case, Format, Golden, LayerCase, Memo, Mistake, Recall, Rerun, Sample, Setting, Step,
    Upstream, UpstreamStage, suite,
};
use hungry_hippos::ssm::{Discretization, causal_convolution};

/// A layer of two heads, sequences of 13 tokens, with this many taps.
fn case(d_state: usize, batch: usize) -> Case {
    let rng = &mut Rng::new(11);
    let config = Config {
        d_model: 2,
        head_dim: 1,
        d_state,
        n_ssm: 2,
        disc: Discretization::Bilinear,
        real_type: RealType::Exp,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    let parameters = Parameters::new(config.clone(), |name: Name| {
        let size = name.shape(&config).iter().product();
        Ok((0..size).map(|_| parameter(name, rng.unit())).collect())
    });
    let input = (0..batch * 13 * 2).map(|_| rng.unit()).collect();
    let input = Tensor::new([batch, 13, 2], input).expect("fits");
    Case::from(LayerCase::new(parameters.expect("a layer"), input).expect("a case"))
}

/// A number of a parameter, in a range where every part of the layer matters; `unit` is between -1 and 1.
fn parameter(name: Name, unit: f64) -> f64 {
    let between = |low: f64, high: f64| low + (high - low) * (0.5 + 0.5 * unit);
    match name {
        Name::LogDt => between(0.1f64.ln(), 0.7f64.ln()),
        Name::InvAReal => between(-2.0, 0.5),
        Name::AImag => 3.0 * unit + 3.0 * unit.signum(),
        _ => 1.2 * unit,
    }
}

/// The layer's case of a golden file of the suite.
fn stored(name: &str) -> Case {
    let golden = Golden::open(&golden_file(name)).expect("a golden file");
    Case::from(golden.layer().expect("a layer's").clone())
}

fn run(
    case: &Case,
    mistakes: &[&'static Mistake],
    chunk_len: usize,
    from: Option<&Upstream>,
) -> Stages {
    let run = Rerun(case).run(mistakes, setting(chunk_len, from));
    run.expect("runs")
}

/// Forwards, and nothing remembered.
fn setting(chunk_len: usize, from: Option<&Upstream>) -> Setting<'_> {
    Setting {
        stored: None,
        memo: None,
        chunk_len,
        upstream: from,
        backward: false,
        sample: None,
    }
}

/// A mistake that sits between chunks or has a number, and no other, depends on their length.
#[test]
fn mistakes_between_chunks_depend_on_the_chunk_length() {
    let case = case(4, 2);
    for mistake in Rerun(&case).mistakes(false) {
        let seen = run(&case, &[mistake], 3, None) != run(&case, &[mistake], 4, None);
        let expected = Rerun(&case).needs_chunks(mistake);
        assert_eq!(expected, seen, "{}", mistake.id);
    }
}

/// The cost of a run, against its multiplications one by one.
#[test]
fn the_cost_of_a_run_is_counted() {
    // Six channels in heads of two.
    let case = stored("03-heads");
    let layer = case.layer().expect("a layer's");
    let config = layer.parameters().config();
    let (batch, len, d) = (layer.input().shape()[0], 41, config.d_model);
    let pairs = config.head_dim * config.head_dim * config.n_heads();
    let mut counted = 0;
    for _sequence in 0..batch {
        for _projection in ["q", "k", "v", "output"] {
            counted += len * d * d;
        }
        // The shift model of every channel, the diagonal one of every pair.
        for _model in 0..d + pairs {
            // Every input with those before it; the state step by step; and its memory.
            counted += (0..len).map(|t| t + config.d_state).sum::<usize>() + 500;
        }
    }
    assert_eq!(Rerun(&case).cost(len), counted);
}

/// Cases with states that are given and states between chunks, with kernels that are cut, and with
/// heads of several channels.
const CASES: [&str; 4] = [
    "38-stream",
    "08-cut",
    "25-resumed-heads",
    "37-chunks-ragged",
];

/// Stages in a run's place, those chosen by name.
fn upstream(stages: &Stages, rounding: f64, chosen: impl Fn(&str) -> bool) -> Upstream {
    let stages = stages.iter().filter(|(name, _)| chosen(name));
    let stages = stages.map(|(name, values)| UpstreamStage {
        name: name.clone(),
        values: values.clone(),
        rounding,
    });
    Upstream::new(stages.collect())
}

/// The names of the stages that differ between two runs.
fn differing(one: &Stages, other: &Stages) -> Vec<String> {
    assert_eq!(one.len(), other.len());
    let pairs = one.iter().zip(other);
    let changed = pairs.filter(|(one, other)| one != other);
    changed.map(|((name, _), _)| name.clone()).collect()
}

/// The stages computed from this one, directly or by way of others.
fn downstream(case: &Case, name: &str, directly: bool) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for spec in Rerun(case).stages() {
        let mut from = spec.from.iter();
        if from.any(|before| before == name || !directly && found.contains(before)) {
            found.push(spec.name);
        }
    }
    found
}

fn is_upstream(case: &Case, name: &str) -> bool {
    !downstream(case, name, true).is_empty()
}

#[test]
fn from_its_own_stages_a_run_is_itself() {
    for name in CASES {
        let case = stored(name);
        let whole = run(&case, &[], 3, None);
        for all in [true, false] {
            let own = upstream(&whole, 0.0, |stage| {
                is_upstream(&case, stage) && (all || !stage.ends_with("_kernel"))
            });
            let again = run(&case, &[], 3, Some(&own));
            assert_eq!(differing(&whole, &again), [""; 0], "{name}");
        }
    }
}

/// From stages of which one is wrong, those computed from it depart and nothing else, the wrong one
/// neither; what is not replaced hands the error on.
#[test]
fn a_wrong_stage_moves_what_is_computed_from_it() {
    for name in CASES {
        let case = stored(name);
        let whole = run(&case, &[], 3, None);
        for (wrong, _) in &whole {
            if !is_upstream(&case, wrong) {
                continue;
            }
            let mut stages = whole.clone();
            for (stage, values) in &mut stages {
                if stage == wrong {
                    *values = values.map(|x| 1.25 * x + 0.5);
                }
            }
            for directly in [true, false] {
                let own = upstream(&stages, 0.0, |stage| {
                    stage == wrong || directly && is_upstream(&case, stage)
                });
                let moved = differing(&whole, &run(&case, &[], 3, Some(&own)));
                assert_eq!(moved, downstream(&case, wrong, directly), "{name}: {wrong}");
            }
        }
    }
}

/// A mistake shows in its own step, not in those that follow from it.
#[test]
fn a_mistake_shows_where_it_is_made() {
    let case = stored("03-heads");
    let whole = run(&case, &[], 3, None);
    let own = upstream(&whole, 0.0, |stage| is_upstream(&case, stage));
    for (mistake, shows) in [
        ("no_bias_qkv", &["q", "k", "v"][..]),
        ("no_d", &["ssm_out"]),
        ("no_factor_2", &["ssm_kernel"]),
    ] {
        let mut known = Rerun(&case).mistakes(false).into_iter();
        let known = known.find(|known| known.name == mistake);
        let wrong = run(&case, &[known.expect("in the catalogue")], 3, Some(&own));
        assert_eq!(differing(&whole, &wrong), shows, "{mistake}");
    }
}

/// What a product may be off by in its own step: its rounding, and one of each factor, which a port
/// may have stored in fewer bits than it works in.
#[test]
fn a_step_counts_the_rounding_of_what_it_is_computed_from() {
    let case = stored("01-basic");
    let whole = run(&case, &[], 3, None);
    let u = Format::F32.unit_roundoff();
    for (stored, each) in [(0.0, 1.0), (u, 1.0), (4.0 * u, 4.0)] {
        let own = upstream(&whole, stored, |stage| is_upstream(&case, stage));
        let scales = Rerun(&case).local_scales(&own, Format::F32).expect("runs");
        let (_, scale) = scales.iter().find(|(name, _)| name == "kv").expect("there");
        let (_, kv) = whole.iter().find(|(name, _)| name == "kv").expect("there");
        for (bound, kv) in scale.data().iter().zip(kv.data()) {
            let expected = (2.0 * each + 1.0) * kv.abs();
            assert!(
                (bound.worst - expected).abs() <= 1e-12 * expected,
                "{bound:?}, {kv}"
            );
        }
    }
}

/// Stages in chunks, resumed; packed with gradients and states; behind padding.
const REMEMBERED: [&str; 3] = ["37-chunks-ragged", "74-packed-resumed", "76-padded-left"];

/// The numbers of a run bit by bit; of one that has no value, none.
fn bits(
    case: &Case,
    mistakes: &[&'static Mistake],
    setting: Setting<'_>,
) -> Vec<(String, Vec<usize>, Vec<u64>)> {
    let stages = Rerun(case).run(mistakes, setting).unwrap_or_default();
    let stages = stages.into_iter().map(|(name, stage)| {
        let numbers = stage.data().iter().map(|x| x.to_bits());
        (name, stage.shape().to_vec(), numbers.collect())
    });
    stages.collect()
}

/// A mistake's numbers are the same to the last bit, whether what it leaves unchanged is remembered of runs
/// without mistakes or computed: from the reference's own stages, from a port's that are wrong, with kernels
/// and without, in chunks and backwards. With `HIPPOS_EXHAUSTIVE` set on every layer of the suite.
#[test]
fn mistakes_are_the_same_remembered_and_computed() {
    let names: Vec<&str> = match is_exhaustive() {
        true => {
            let suite = suite().into_iter();
            let layers = suite.filter(|case| case.kind == "layer");
            layers.map(|case| case.name).collect()
        }
        false => REMEMBERED.to_vec(),
    };
    for name in names {
        let case = stored(name);
        let rerun = Rerun(&case);
        let mut specs = rerun.stages().into_iter();
        let has_gradients = specs.any(|spec| spec.name.starts_with("grad."));
        let directions = [false, true].map(|backward| (backward, rerun.mistakes(backward)));
        let whole = run(&case, &[], 3, None);
        let port: Stages = whole
            .iter()
            .map(|(name, stage)| (name.clone(), stage.map(|x| 1.25 * x + 0.5)))
            .collect();
        let is_kernel = |stage: &str| stage.ends_with("_kernel");
        let sources = [
            upstream(&whole, 0.0, |stage| is_upstream(&case, stage)),
            upstream(&port, 0.0, |stage| is_upstream(&case, stage)),
            upstream(&port, 0.0, |stage| {
                is_upstream(&case, stage) && !is_kernel(stage)
            }),
        ];
        let memo = Memo::default();
        let remembered = |setting| Setting {
            memo: Some(&memo),
            ..setting
        };
        // As a check does, in one memo: first the runs without mistakes, those that store their stages too.
        let stored = [None, Some(Format::BF16)];
        for (source, stored) in sources
            .iter()
            .flat_map(|s| stored.map(|stored| (s, stored)))
        {
            let setting = Setting {
                stored,
                ..setting(3, Some(source))
            };
            let computed = bits(&case, &[], setting);
            for _ in 0..2 {
                assert_eq!(bits(&case, &[], remembered(setting)), computed, "{name}");
            }
        }
        for (backward, mistakes) in &directions {
            if *backward && !has_gradients {
                continue;
            }
            for &mistake in mistakes {
                let lens = match rerun.needs_chunks(mistake) {
                    true => &[3, 4][..],
                    false => &[3],
                };
                for (source, &len) in sources
                    .iter()
                    .flat_map(|s| lens.iter().map(move |l| (s, l)))
                {
                    let setting = Setting {
                        backward: *backward,
                        ..setting(len, Some(source))
                    };
                    let found = bits(&case, &[mistake], remembered(setting));
                    let computed = bits(&case, &[mistake], setting);
                    assert!(found == computed, "{name}: {}", mistake.id);
                }
            }
        }
    }
}

/// A memo that holds a wrong answer is believed, and the comparison above sees it.
#[test]
fn a_wrong_memory_is_seen() {
    let case = stored("01-basic");
    let whole = run(&case, &[], 3, None);
    let first_row = |name: &str| {
        let mut stages = whole.iter();
        let (_, stage) = stages.find(|(known, _)| known == name).expect("one");
        let len = stage.shape().last().copied().expect("an axis");
        &stage.data()[..len]
    };
    let (kernel, keys) = (first_row("ssm_kernel"), first_row("kv"));
    let memo = Memo::default();
    let _ = Recall::new(Some(&memo), true).answer(Step::Convolve, &[kernel, keys], || {
        let right = causal_convolution(kernel, keys);
        right.into_iter().map(|x| 2.0 * x).collect::<Vec<f64>>()
    });
    let setting = setting(3, None);
    let remembered = Setting {
        memo: Some(&memo),
        ..setting
    };
    assert_ne!(bits(&case, &[], remembered), bits(&case, &[], setting));
}

/// Some heads run alone have the numbers of the whole run, to the last bit, with every mistake but those that take numbers
/// from one head to another: those do not.
#[test]
fn heads_alone_are_those_of_the_whole_run() {
    for (name, heads) in [
        ("01-basic", [1, 3]),
        ("03-heads", [0, 2]),
        ("04-heads-hd2", [1, 2]),
        ("06-shared", [1, 2]),
        ("08-cut", [0, 3]),
        ("24-resumed", [2, 3]),
        ("36-chunks", [0, 2]),
    ] {
        let case = stored(name);
        let rerun = Rerun(&case);
        let specs = rerun.stages();
        let layer = case.layer().expect("a layer's");
        let all = layer.parameters().config().n_heads();
        let of_sample = |stages: &Stages| -> Stages {
            let picked = stages.iter().map(|(name, stage)| {
                let spec = specs.iter().find(|spec| spec.name == *name);
                let spec = spec.expect("a stage");
                let elements = rerun.of_heads(spec, &heads);
                let picked = elements.iter().map(|&at| stage.data()[at]).collect();
                let mut spec = spec.clone();
                for (axis, len) in &mut spec.axes {
                    if matches!(axis, Axis::Head | Axis::Channel) {
                        *len = *len / all * heads.len();
                    }
                }
                (
                    name.clone(),
                    Tensor::new(spec.shape(), picked).expect("fits"),
                )
            });
            picked.collect()
        };
        let port: Stages = run(&case, &[], 3, None)
            .iter()
            .map(|(name, stage)| (name.clone(), stage.map(|x| 1.25 * x + 0.5)))
            .collect();
        let whole = upstream(&port, 0.0, |stage| is_upstream(&case, stage));
        let own = upstream(&of_sample(&port), 0.0, |stage| is_upstream(&case, stage));
        let sample = Sample {
            heads: &heads,
            whole: &whole,
        };
        for made in [&[][..]].into_iter().chain(rerun.mistakes(false).chunks(1)) {
            let run = |setting| rerun.run(made, setting).unwrap_or_default();
            let alone = run(Setting {
                sample: Some(sample),
                ..setting(3, Some(&own))
            });
            let among_all = of_sample(&run(setting(3, Some(&whole))));
            let is_across = made.iter().any(|one| rerun.is_across_heads(one));
            let id = made.first().map_or("none", |one| one.id);
            let is_same = differing(&alone, &among_all).is_empty();
            assert_eq!(is_same, !is_across, "{name}: {id}");
        }
    }
}
