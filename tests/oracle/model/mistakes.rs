//! Claim: every mistake of the catalogue is the one its formula says, in every model it can be made in, and is
//! left out of the others.

use super::plain;
use super::support::{config, parameters, with_heads_of};
use crate::common::{close, largest};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::HeadOrder;
use hungry_hippos::model::ModelConfig;
use hungry_hippos::oracle::ModelMutant::{self, *};
use hungry_hippos::ssm::Discretization;

/// Of a stage's largest number: the same sums in another order, through at most five blocks.
const BOUND: f64 = 1e-11;

fn ids(config: &ModelConfig) -> Tensor<usize> {
    let mut rng = Rng::new(31);
    let ids = (0..10).map(|_| rng.below(config.vocab_size));
    Tensor::new([2, 5], ids.collect()).expect("fits")
}

/// The models, each with the mistakes that cannot be made in it.
fn models() -> Vec<(&'static str, ModelConfig, Vec<ModelMutant>)> {
    let no_attention = [
        QkvByHead,
        NoScale,
        ScaleByModel,
        NoMask,
        AttentionEarly,
        AttentionLate,
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
    let mut exact = with_heads_of(2, config(1, &[], 0, 4));
    exact.layer_norm_epsilon = 0.0;
    vec![
        (
            "attention in the middle, 1e-5",
            middle,
            vec![Epsilon5, NoPositions],
        ),
        (
            "attention first, of one head, positions, 1e-6",
            first,
            vec![Epsilon6, QkvByHead, ScaleByModel, AttentionEarly, HeadOrder],
        ),
        (
            "attention last, cut kernels, 1e-12",
            last,
            vec![Epsilon12, AttentionLate, NoPositions],
        ),
        (
            "two apart, the first at the beginning, heads of one channel",
            with_heads_of(2, config(4, &[0, 2], 4, 4)),
            vec![NoScale, AttentionEarly, NoPositions],
        ),
        (
            "two apart, the last at the end",
            with_heads_of(2, config(4, &[1, 3], 2, 4)),
            vec![AttentionLate, NoPositions],
        ),
        (
            "two apart, free on both sides",
            config(5, &[1, 3], 2, 4),
            vec![NoPositions, HeadOrder],
        ),
        (
            "two beside each other: neither can move both",
            config(4, &[1, 2], 2, 4),
            vec![AttentionEarly, AttentionLate, NoPositions, HeadOrder],
        ),
        (
            "attention alone",
            with_heads_of(2, config(2, &[0, 1], 2, 4)),
            vec![
                AttentionEarly,
                AttentionLate,
                NoPositions,
                HeadOrder,
                Discretization,
            ],
        ),
        (
            "no attention, and one head in every layer, which has no order",
            alone,
            [&no_attention[..], &[HeadOrder]].concat(),
        ),
        (
            "one block, no epsilon, which is in no place",
            exact,
            [&no_attention[..], &[NoPositions, EpsilonOutside]].concat(),
        ),
        (
            "one channel: LayerNorms of nothing but their bias",
            config(2, &[1], 1, 1),
            vec![
                UnbiasedVariance,
                QkvByHead,
                NoScale,
                ScaleByModel,
                AttentionLate,
                NoPositions,
                HeadOrder,
            ],
        ),
    ]
}

#[test]
fn mistakes_are_what_their_formulas_say() {
    // By how much of a stage's largest number, at most, in any model.
    let mut departures = vec![0.0f64; ModelMutant::ALL.len()];
    for (what, config, impossible) in models() {
        let (parameters, ids) = (parameters(&config), ids(&config));
        let right = plain::stages(&parameters, &ids, None);
        for (mutant, departure) in ModelMutant::ALL.into_iter().zip(&mut departures) {
            let what = format!("{what}: {}", mutant.name());
            let got = mutant.stages(&parameters, &ids).expect("computed");
            let Some(got) = got else {
                assert!(impossible.contains(&mutant), "{what}: left out");
                continue;
            };
            assert!(!impossible.contains(&mutant), "{what}: made of nothing");
            let expected = plain::stages(&parameters, &ids, Some(mutant));
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
    for (mutant, departure) in ModelMutant::ALL.into_iter().zip(departures) {
        assert!(departure > 1e6 * BOUND, "{}: {departure:e}", mutant.name());
    }
}

/// A file's epsilon is one of the catalogue's if it is within a thousandth of it, as one that went through
/// another format is.
#[test]
fn an_epsilon_is_another_one_beyond_a_thousandth() {
    let ids = ids(&config(1, &[], 0, 2));
    for (mutant, epsilon) in [(Epsilon5, 1e-5), (Epsilon6, 1e-6), (Epsilon12, 1e-12)] {
        for (factor, is_another) in [
            (1.0, false),
            (1.000_9, false),
            (0.999_1, false),
            (1.001_1, true),
            (0.998_9, true),
        ] {
            let mut config = config(1, &[], 0, 2);
            config.layer_norm_epsilon = factor * epsilon;
            let stages = mutant.stages(&parameters(&config), &ids).expect("computed");
            assert_eq!(stages.is_some(), is_another, "{factor} times {epsilon:e}");
        }
    }
}
