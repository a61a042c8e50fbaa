//! Claim: every mistake of the catalogue is the one its formula says, in every model it can be made in, and is
//! left out of the others.

use super::plain;
use super::support::{Stages, certified, config, judge, parameters, with_heads_of};
use crate::common::{close, largest};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::HeadOrder;
use hungry_hippos::model::{ModelConfig, ModelName, ModelParameters, SsmMixer};
use hungry_hippos::oracle::{Case, Format, ModelCase};
use hungry_hippos::safetensors::Dtype;
use hungry_hippos::ssm::Discretization;

/// Of a stage's largest number: the same sums in another order, through at most five blocks.
const BOUND: f64 = 1e-11;

fn ids(config: &ModelConfig) -> Tensor<usize> {
    let mut rng = Rng::new(31);
    let ids = (0..10).map(|_| rng.below(config.vocab_size));
    Tensor::new([2, 5], ids.collect()).expect("fits")
}

/// The models, each with the mistakes that cannot be made in it.
fn models() -> Vec<(&'static str, ModelConfig, Vec<&'static str>)> {
    let no_attention = [
        "qkv_by_head",
        "no_scale",
        "scale_by_model",
        "no_mask",
        "mask_one_late",
        "mask_one_early",
        "attention_early",
        "attention_late",
        "no_attention_bias",
    ];
    let mut first = config(3, &[0], 1, 4);
    first.max_position_embeddings = 8;
    first.layer_norm_epsilon = 1e-6;
    first.h3.disc = Discretization::ZeroOrderHold;
    let mut last = with_heads_of(3, config(3, &[2], 3, 6));
    last.layer_norm_epsilon = 1e-12;
    last.h3.head_order = HeadOrder::HD2;
    last.h3.l_max = Some(3);
    let mut middle = with_heads_of(2, config(3, &[1], 2, 6));
    middle.layer_norm_epsilon = 1e-5;
    let mut alone = with_heads_of(6, config(2, &[], 2, 6));
    alone.max_position_embeddings = 5;
    let mut s4d = config(2, &[], 0, 4);
    (s4d.ssm, s4d.h3.n_ssm, s4d.h3.d_state) = (SsmMixer::S4d, 1, 6);
    let mut held = config(3, &[1], 2, 4);
    (held.ssm, held.h3.n_ssm, held.h3.disc) = (SsmMixer::S4d, 1, Discretization::ZeroOrderHold);
    let mut exact = with_heads_of(2, config(1, &[], 0, 4));
    exact.layer_norm_epsilon = 0.0;
    vec![
        (
            "attention in the middle, 1e-5",
            middle,
            vec!["epsilon_1e5", "no_positions", "positions_from_one"],
        ),
        (
            "attention first, of one head, positions, 1e-6",
            first,
            vec![
                "epsilon_1e6",
                "qkv_by_head",
                "scale_by_model",
                "attention_early",
                "head_order",
            ],
        ),
        (
            "attention last, cut kernels, 1e-12",
            last,
            vec![
                "epsilon_1e12",
                "attention_late",
                "no_positions",
                "positions_from_one",
            ],
        ),
        (
            "two apart, the first at the beginning, heads of one channel",
            with_heads_of(2, config(4, &[0, 2], 4, 4)),
            vec![
                "no_scale",
                "attention_early",
                "no_positions",
                "positions_from_one",
            ],
        ),
        (
            "two apart, the last at the end",
            with_heads_of(2, config(4, &[1, 3], 2, 4)),
            vec!["attention_late", "no_positions", "positions_from_one"],
        ),
        (
            "two apart, free on both sides",
            config(5, &[1, 3], 2, 4),
            vec!["no_positions", "positions_from_one", "head_order"],
        ),
        (
            "two beside each other: neither can move both",
            config(4, &[1, 2], 2, 4),
            vec![
                "attention_early",
                "attention_late",
                "no_positions",
                "positions_from_one",
                "head_order",
            ],
        ),
        (
            "attention alone",
            with_heads_of(2, config(2, &[0, 1], 2, 4)),
            vec![
                "attention_early",
                "attention_late",
                "no_positions",
                "positions_from_one",
                "head_order",
                "discretization",
            ],
        ),
        (
            "no attention, and one head in every layer, which has no order",
            alone,
            [&no_attention[..], &["head_order"]].concat(),
        ),
        (
            "one block, no epsilon, which is in no place",
            exact,
            [
                &no_attention[..],
                &["no_positions", "positions_from_one", "epsilon_outside"],
            ]
            .concat(),
        ),
        (
            "S4D layers alone",
            s4d,
            [
                &no_attention[..],
                &["no_positions", "positions_from_one", "head_order"],
            ]
            .concat(),
        ),
        (
            "S4D layers around attention, zero-order hold",
            held,
            vec!["no_positions", "positions_from_one", "head_order"],
        ),
        (
            "one channel: LayerNorms of nothing but their bias",
            config(2, &[1], 1, 1),
            vec![
                "last_add_forgotten",
                "epsilon_1e5",
                "epsilon_1e6",
                "epsilon_1e12",
                "epsilon_1e3",
                "epsilon_outside",
                "unbiased_variance",
                "norm_weight_plus_one",
                "qkv_by_head",
                "no_scale",
                "scale_by_model",
                "no_mask",
                "mask_one_late",
                "mask_one_early",
                "attention_late",
                "no_positions",
                "positions_from_one",
                "head_order",
            ],
        ),
    ]
}

/// The stages of the model with mistakes; none where a port has no number to dump.
fn run(config: &ModelConfig, mistakes: &[&str]) -> Option<Stages> {
    let case = ModelCase::new(parameters(config), ids(config)).expect("tokens");
    let stages = Case::from(case).run_with(mistakes, None).ok()?;
    let mut values = stages.iter().flat_map(|(_, stage)| stage.data());
    values.all(|x| x.is_finite()).then_some(stages)
}

/// The names of the mistakes in what stands around the layers.
fn names() -> Vec<&'static str> {
    let config = config(1, &[], 0, 2);
    let case = ModelCase::new(parameters(&config), ids(&config)).expect("tokens");
    let mistakes = Case::from(case).mistakes();
    let around = mistakes
        .iter()
        .filter(|mistake| mistake.id.starts_with('L'));
    around.map(|mistake| mistake.name).collect()
}

#[test]
fn mistakes_are_what_their_formulas_say() {
    // By how much of a stage's largest number, at most, in any model.
    let names = names();
    assert_eq!(names.len(), 47);
    let mut departures = vec![0.0f64; names.len()];
    for (what, config, mut impossible) in models() {
        // Of whole sequences; the golden models with documents have them.
        impossible.extend([
            "attention_across_documents",
            "positions_across_documents",
            "documents_ignored",
            "layers_across_documents",
        ]);
        if config.ssm != SsmMixer::S4d {
            impossible.extend(names.iter().filter(|name| name.starts_with("s4d_")));
        }
        if config.layer_norm_epsilon == 1e-3 {
            impossible.push("epsilon_1e3");
        }
        let (parameters, ids) = (parameters(&config), ids(&config));
        let right = plain::stages(&parameters, &ids, None);
        let reference = run(&config, &[]);
        for (name, departure) in names.iter().zip(&mut departures) {
            let what = format!("{what}: {name}");
            let got = run(&config, &[name]).filter(|got| Some(got) != reference.as_ref());
            let Some(got) = got else {
                assert!(impossible.contains(name), "{what}: changes nothing");
                continue;
            };
            assert!(!impossible.contains(name), "{what}: made of nothing");
            let expected = plain::stages(&parameters, &ids, Some(name));
            assert_eq!(got.len(), expected.len(), "{what}");
            for (((name, got), (stage, expected)), (_, right)) in
                got.iter().zip(&expected).zip(&right)
            {
                assert_eq!(name, stage, "{what}");
                let size = largest(expected);
                let compared = close(
                    &format!("{what}, {name}"),
                    got.data(),
                    expected,
                    BOUND * size,
                );
                if let Err(message) = compared {
                    panic!("{message}");
                }
                let moved = expected
                    .iter()
                    .zip(right)
                    .map(|(x, y)| (x - y).abs() / size);
                *departure = moved.fold(*departure, f64::max);
            }
        }
    }
    // Nothing above holds of a mistake that leaves all as it is.
    for (name, departure) in names.iter().zip(departures) {
        if name.contains("documents") {
            continue;
        }
        assert!(departure > 1e6 * BOUND, "{name}: {departure:e}");
    }
}

/// An epsilon that went through float32 is the same one to a float32 port: it is not what a failure is
/// explained by. Ten times as much is.
#[test]
fn an_epsilon_that_was_rounded_is_no_mistake() {
    for (name, epsilon) in [
        ("epsilon_1e5", 1e-5),
        ("epsilon_1e6", 1e-6),
        ("epsilon_1e12", 1e-12),
    ] {
        for (epsilon, is_another) in [(f64::from(epsilon as f32), false), (10.0 * epsilon, true)] {
            let mut config = config(1, &[], 0, 2);
            config.layer_norm_epsilon = epsilon;
            // Small enough for any epsilon to count.
            let small = ModelParameters::new(config.clone(), |name| {
                let values = parameters(&config).get(name).to_vec();
                Ok(match name {
                    ModelName::Embeddings => values.iter().map(|x| 1e-6 * x).collect(),
                    _ => values,
                })
            });
            let golden = certified(small.expect("a model"), ids(&config));
            let case = Case::from(golden.model().expect("a model").clone());
            let stages = case.run_with(&[name], None).expect("computed");
            let report = judge(&golden, &stages, Dtype::F32, Format::F32);
            assert_eq!(!report.pass(), is_another, "{name}, {epsilon:e}");
        }
    }
}
