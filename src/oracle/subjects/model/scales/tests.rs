//! The analysis by other means: its derivatives by dual numbers, its sums written out, and the error of every
//! part by hand.

use super::*;
use crate::algebra::{Dual, Rng};
use crate::h3::{self, HeadOrder, Name, Plain, RealType, documents_of};
use crate::model::{BlockName, ModelConfig, ModelName, SsmMixer, Text};
use crate::ssm::Discretization;

/// A small hybrid whose tokens deviate by some `size`, and two sequences. (Of two channels, LayerNorm would leave
/// hardly more than a sign.)
pub(in super::super) fn model(size: f64) -> (ModelParameters<f64>, Tensor<usize>) {
    model_of([size; 4])
}

/// The same with words of several sizes, the first of them not the largest.
fn model_of(sizes: [f64; 4]) -> (ModelParameters<f64>, Tensor<usize>) {
    let config = ModelConfig {
        n_layer: 2,
        d_inner: 5,
        vocab_size: 4,
        max_position_embeddings: 0,
        attn_layer_idx: vec![1],
        num_heads: 3,
        layer_norm_epsilon: 0.125 * sizes[0] * sizes[0],
        ssm: SsmMixer::H3,
        h3: h3::Config {
            d_model: 3,
            head_dim: 1,
            d_state: 2,
            n_ssm: 1,
            disc: Discretization::Bilinear,
            real_type: RealType::Exp,
            l_max: None,
            head_order: HeadOrder::D2H,
        },
    };
    let mut rng = Rng::new(37);
    let parameters = ModelParameters::new(config.clone(), |name| {
        let values = (0..name.shape(&config).iter().product()).map(|i: usize| {
            let unit = rng.unit();
            match name {
                ModelName::Embeddings => sizes[i / 3] * unit,
                ModelName::Block(_, BlockName::H3(Name::LogDt)) => unit - 1.0,
                _ => 0.25 + 0.75 * unit,
            }
        });
        Ok(values.collect())
    });
    let ids = Tensor::new([2, 3], vec![0, 1, 2, 3, 0, 3]).expect("fits");
    (parameters.expect("a model"), ids)
}

pub(in super::super) fn text(ids: &Tensor<usize>) -> Text {
    Text::new(ids.clone()).expect("tokens")
}

fn moves(own: &OwnErrors) -> Vec<(usize, usize)> {
    let batch = own.sums[0].shape()[0];
    let of_sum = |k: usize| (0..own.sums[k].data().len() / batch).map(move |at| (k, at));
    (0..own.sums.len()).flat_map(of_sum).collect()
}

/// The derivatives of all later stages, exact but for rounding.
fn exact(
    model: &Model<Dual<f64>>,
    own: &OwnErrors,
    (k, at): (usize, usize),
) -> Vec<(String, Tensor<f64>)> {
    let mut sum = own.sums[k].map(Dual::constant);
    let of_sequence = sum.data().len() / sum.shape()[0];
    for sequence in sum.data_mut().chunks_exact_mut(of_sequence) {
        sequence[at].derivative = 1.0;
    }
    let documents = documents_of(&sum);
    let stages = model.forward_after(&Plain::Recurrence, &documents, k, sum);
    let named = stages.expect("runs").named_from(k / 2).into_iter();
    named
        .map(|(name, stage)| (name, stage.map(|x| x.derivative)))
        .collect()
}

/// Whatever the size of the tokens: the step is in units of the deviation of the one that is moved.
#[test]
fn columns_are_derivatives() {
    let small = 2f64.powi(-30);
    for sizes in [
        [small; 4],
        [1.0; 4],
        [2f64.powi(30); 4],
        [small, 1.0, 1.0, 1.0],
    ] {
        let (parameters, ids) = model_of(sizes);
        let text = text(&ids);
        let own = OwnErrors::of(&parameters, text.rows()).expect("runs");
        let plain = parameters.build::<f64>().expect("a model");
        let dual = parameters.build().expect("a model");
        for moved in moves(&own) {
            let run = (&plain, &Form::Recurrence, text.documents());
            let got = column(run, &own, moved).expect("runs");
            let expected = exact(&dual, &own, moved);
            assert_eq!(got.len(), expected.len());
            for ((name, got), (stage, expected)) in got.iter().zip(&expected) {
                assert_eq!(name, stage);
                let largest = expected.data().iter().fold(0.0, |a: f64, x| a.max(x.abs()));
                for (got, expected) in got.data().iter().zip(expected.data()) {
                    // A difference over a step of 2^-16 is off by some 2^-32, or by 2^-53 over 2^-16.
                    let off = (got - expected).abs();
                    assert!(
                        off <= 1e-7 * largest,
                        "{sizes:?}, {moved:?}, {name}: {got:e}, exactly {expected:e}"
                    );
                }
            }
        }
    }
}

/// A stage is off by its own errors and, for every channel of every sum, the sum's error times the
/// derivative with respect to it, of the same sequence.
#[test]
fn scales_are_the_sum_over_all_errors() {
    let (parameters, ids) = model(1.0);
    let own = OwnErrors::of(&parameters, text(&ids).rows()).expect("runs");
    let dual = parameters.build().expect("a model");
    let mut expected = own.stages.clone();
    for (k, at) in moves(&own) {
        let error = own.errors[k].data();
        for (name, slopes) in exact(&dual, &own, (k, at)) {
            let stage = expected.iter_mut().find(|(known, _)| *known == name);
            let (_, stage) = stage.expect("of this name");
            let half = slopes.data().len() / 2;
            for (e, slope) in slopes.data().iter().enumerate() {
                let sequence = e / half;
                let ErrorBound { worst, probable } = error[sequence * error.len() / 2 + at];
                let scale = &mut stage.data_mut()[e];
                scale.worst += worst * slope.abs();
                scale.probable += probable * slope.abs();
            }
        }
    }
    let got = error_scales(&parameters, text(&ids).rows()).expect("runs");
    let names: Vec<_> = got.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "block0.hidden",
            "block0.residual",
            "block1.hidden",
            "block1.residual",
            "logits"
        ]
    );
    for ((name, got), (_, expected)) in got.iter().zip(&expected) {
        for (got, expected) in got.data().iter().zip(expected.data()) {
            assert_bound(name, *got, *expected, 1e-7);
            assert!(got.worst > 0.0, "{name}: no error");
        }
    }
}

/// The sums are those of the model: the tokens, then what every mixer and MLP adds.
#[test]
fn sums_are_the_models() {
    let (parameters, ids) = model(1.0);
    let own = OwnErrors::of(&parameters, text(&ids).rows()).expect("runs");
    let model = parameters.build::<f64>().expect("a model");
    let words = parameters.get(ModelName::Embeddings).chunks(3);
    let words: Vec<_> = words.collect();
    let tokens: Vec<_> = ids.data().iter().map(|&id| words[id]).collect();
    let mut expected = vec![tokens.concat()];
    for [hidden, residual] in model.forward(&Form::Recurrence, &ids).expect("runs").blocks {
        expected.push(residual.data().to_vec());
        let pairs = hidden.data().iter().zip(residual.data());
        expected.push(pairs.map(|(h, r)| h + r).collect());
    }
    assert_eq!(own.sums.len(), expected.len());
    for (k, (sum, expected)) in own.sums.iter().zip(&expected).enumerate() {
        for (x, y) in sum.data().iter().zip(expected) {
            assert!((x - y).abs() < 1e-13, "sum {k}: {x} but {y}");
        }
    }
    // And from each of them on, the rest of the model.
    let whole = model
        .forward(&Form::Recurrence, &ids)
        .expect("runs")
        .named();
    for (k, sum) in own.sums.iter().enumerate() {
        let rest = model.forward_after(&Form::Recurrence, &documents_of(sum), k, sum.clone());
        let rest = rest.expect("runs").named_from(k / 2);
        assert_eq!(rest.len(), whole.len() - 2 * (k / 2), "from sum {k}");
        for ((name, stage), (_, expected)) in rest.iter().zip(&whole[2 * (k / 2)..]) {
            for (x, y) in stage.data().iter().zip(expected.data()) {
                assert!((x - y).abs() < 1e-12, "from sum {k}, {name}: {x} but {y}");
            }
        }
    }
    // An embedding is one rounding of a random number, a residual's error comes in as that of a sum.
    for (x, error) in own.sums[0].data().iter().zip(own.errors[0].data()) {
        assert_eq!(*error, ErrorBound::both(x.abs()));
    }
    for (name, stage) in &own.stages {
        let none = stage.data().iter().all(|error| *error == ErrorBound::ZERO);
        assert_eq!(none, name.ends_with(".residual"), "{name}");
    }
}

#[test]
fn deviations() {
    // Of -3, -1, 1, 3 from 4: the root of (9 + 1 + 1 + 9) / 4.
    let far = 2f64.powi(52);
    let cases: [(&[f64], f64); 6] = [
        (&[1.0, 3.0, 5.0, 7.0], 5f64.sqrt()),
        (&[-2.0, 2.0], 2.0),
        // The squares of these numbers are not known to 1.
        (&[far, far + 2.0], 1.0),
        // Nothing to be in units of but the number itself, or one.
        (&[-3.0, -3.0], 3.0),
        (&[0.5], 0.5),
        (&[0.0, 0.0], STEP),
    ];
    for (token, expected) in cases {
        assert_eq!(deviation(token), expected, "{token:?}");
    }
    assert_eq!(STEP.log2(), -16.0);
}

/// A number and its error.
type Pair = (f64, f64);

fn scale((value, error): Pair) -> ErrorScale {
    ErrorScale::new(value, ErrorBound::both(error))
}

pub(in super::super) fn assert_bound(
    what: &str,
    got: ErrorBound,
    expected: ErrorBound,
    relative: f64,
) {
    for (got, expected) in [
        (got.worst, expected.worst),
        (got.probable, expected.probable),
    ] {
        let off = (got - expected).abs();
        assert!(
            off <= relative * expected.abs(),
            "{what}: {got:e}, by hand {expected:e}"
        );
    }
}

/// Fewer than 17 terms have one bound, the worst. The powers of attention are of numbers up to 1000, whose own
/// roundings they carry.
fn assert_pair(what: &str, got: ErrorScale, (value, error): Pair) {
    let off = (got.value() - value).abs();
    let bound = 1000.0 * f64::EPSILON;
    assert!(
        off <= 10.0 * bound * value.abs().max(1.0),
        "{what}: {} for {value}",
        got.value()
    );
    assert_bound(what, got.error(), ErrorBound::both(error), 10.0 * bound);
}

fn pairs(rng: &mut Rng, count: usize) -> Vec<Pair> {
    let pair = |_| (rng.unit(), 1.5 + rng.unit());
    (0..count).map(pair).collect()
}

#[test]
fn attention_by_hand() {
    attend(0.0);
    // Scores about 900, whose powers would overflow if the largest were not subtracted.
    attend(20.0);
}

/// With queries and keys about this size.
fn attend(size: f64) {
    let (len, d_h) = (5, 3);
    let mut rng = Rng::new(41);
    let mut about = |size: f64| -> Vec<Pair> {
        let pairs = pairs(&mut rng, len * d_h).into_iter();
        pairs.map(|(x, error)| (size + x, error)).collect()
    };
    let (q, k, v) = (about(size), about(size), about(0.0));
    let factor = (0.75, 2.0);
    let matrix = |x: &[Pair]| Matrix::from_fn(len, d_h, |i, c| scale(x[i * d_h + c]));
    let got = ModelAnalysis.attend(&matrix(&q), &matrix(&k), &matrix(&v), scale(factor));
    let got = got.expect("positive");
    for i in 0..len {
        let scores: Vec<Pair> = (0..=i)
            .map(|j| {
                let (mut sum, mut size, mut error) = (0.0, 0.0, 0.0);
                for c in 0..d_h {
                    let ((q, q_error), (k, k_error)) = (q[i * d_h + c], k[j * d_h + c]);
                    sum += q * k;
                    size += (q * k).abs();
                    error += q.abs() * k_error + k.abs() * q_error + (q * k).abs();
                }
                error += (d_h - 1) as f64 * size;
                let score = factor.0 * sum;
                // The scale rounded, their product, and the products with the scale in q or k.
                error = factor.0 * error + factor.1 * sum.abs() + score.abs();
                (score, error + factor.0 * size)
            })
            .collect();
        let (mut top, mut rises) = (scores[0].0, 0.0);
        for &(score, _) in &scores {
            if score > top {
                top = score;
                rises += 1.0;
            }
        }
        // An exponential and a product for every rise, and the rise itself.
        let running = rises * (LIBRARY_FACTOR + 1.0) + (top - scores[0].0);
        let powers: Vec<Pair> = scores
            .iter()
            .map(|&(score, error)| {
                let size = score.abs() + top.abs();
                let power = (score - top).exp();
                // Two roundings of each for base two, one of their difference.
                let exponent = error + 2.0 * size + size;
                (power, power * (exponent + LIBRARY_FACTOR + running))
            })
            .collect();
        let sum: f64 = powers.iter().map(|(power, _)| power).sum();
        let sum_error: f64 = powers.iter().map(|(_, error)| error).sum::<f64>() + i as f64 * sum;
        for c in 0..d_h {
            let (mut output, mut size, mut error) = (0.0, 0.0, 0.0);
            for (j, &(power, power_error)) in powers.iter().enumerate() {
                let weight = power / sum;
                let weight_error = (power_error + sum_error * weight) / sum + weight;
                let (v, v_error) = v[j * d_h + c];
                output += weight * v;
                size += (weight * v).abs();
                error += weight * v_error + v.abs() * weight_error + (weight * v).abs();
            }
            let expected = (output, error + i as f64 * size);
            let what = format!("about {size}, token {i}, channel {c}");
            assert_pair(&what, got.row(i)[c], expected);
        }
    }
}

#[test]
fn rises_are_counted_and_added_up() {
    for (scores, top, count, whole) in [
        (&[1.0, 3.0, 2.0, 3.0, 5.0][..], 5.0, 2.0, 4.0),
        (&[-1.0, -4.0, -1.0], -1.0, 0.0, 0.0),
        (&[-8.0, -2.0], -2.0, 1.0, 6.0),
    ] {
        let scores: Vec<_> = scores.iter().map(|&x| scale((x, 1.0))).collect();
        let rises = Rises::of(&scores);
        assert_eq!((rises.top, rises.count, rises.whole), (top, count, whole));
        assert_eq!(rises.error(), count * (LIBRARY_FACTOR + 1.0) + whole);
    }
}

/// The variance of two passes has the larger error where the mean is small, that of one pass, which
/// cancels, where it is large.
#[test]
fn layer_norms_by_hand() {
    let mut rng = Rng::new(43);
    for (mean, one_pass_is_larger) in [(0.0, false), (-3.0, true)] {
        let d = 5;
        let x: Vec<Pair> = pairs(&mut rng, d)
            .into_iter()
            .map(|(x, error)| (mean + x, 0.125 * error))
            .collect();
        let (weight, bias, epsilon) = (pairs(&mut rng, d), pairs(&mut rng, d), (0.25, 0.5));
        let of = |pairs: &[Pair]| pairs.iter().copied().map(scale).collect::<Vec<_>>();
        let norm = LayerNorm::new(of(&weight), of(&bias), scale(epsilon)).expect("fits");
        let got = ModelAnalysis.norm(&norm, false, &of(&x)).expect("runs");

        let n = d as f64;
        let total = |f: &dyn Fn(Pair) -> f64| x.iter().map(|&x| f(x)).sum::<f64>();
        // The mean of terms with errors: every addition, and the division.
        let divided = |sum: f64, size: f64, error: f64| -> Pair {
            (sum / n, (error + (n - 1.0) * size) / n + (sum / n).abs())
        };
        let (c, c_error) = divided(
            total(&|(x, _)| x),
            total(&|(x, _)| x.abs()),
            total(&|(_, error)| error),
        );
        let centered = |(x, error): Pair| (x - c, error + c_error + x.abs() + c.abs());
        let square = |(x, error): Pair| (x * x, 2.0 * x.abs() * error + x * x);
        let mean_square = |f: &dyn Fn(Pair) -> Pair| {
            let sum = total(&|x| f(x).0);
            divided(sum, sum, total(&|x| f(x).1))
        };
        let (variance, in_two) = mean_square(&|x| square(centered(x)));
        let (mean_of_squares, error) = mean_square(&square);
        let (square_of_mean, other_error) = square((c, c_error));
        let in_one = error + other_error + mean_of_squares + square_of_mean;
        assert_eq!(in_one > in_two, one_pass_is_larger, "{in_one} and {in_two}");
        let sum = variance + epsilon.0;
        let deviation = sum.sqrt();
        let deviation_error = (in_one.max(in_two) + epsilon.1 + sum) * 0.5 / deviation + deviation;
        for i in 0..d {
            let (x, error) = x[i];
            // With the inverse deviation: roundings of x, of the mean and of their difference more.
            let inverse = x.abs() + c.abs() + (x - c).abs();
            let (y, y_error) = centered((x, error + inverse));
            let quotient = y / deviation;
            let quotient_error =
                (y_error + deviation_error * quotient.abs()) / deviation + quotient.abs();
            let ((w, w_error), (b, b_error)) = (weight[i], bias[i]);
            let product = (quotient * w).abs();
            let error = quotient.abs() * w_error + w.abs() * quotient_error + product;
            let expected = (quotient * w + b, error + b_error + product + b.abs());
            assert_pair(&format!("mean {mean}, channel {i}"), got[i], expected);
        }
    }
}

/// By hyperbolic tangent the error is larger where `1 + tanh` cancels or grows, by exponential near zero.
#[test]
fn activations_by_hand() {
    let root = SQRT_2_OVER_PI;
    for (x, by_sigmoid_is_larger) in [
        (-1e4, false),
        // Just below where the power overflows, its error does.
        (-21.1, false),
        (-20.0, false),
        (-2.0, false),
        (-0.125, true),
        (0.125, true),
        (2.0, false),
        (20.0, false),
        (1e4, false),
    ] {
        let (size, error) = (f64::abs(x), 0.375);
        // 0.044715 and the root are rounded by the port.
        let cube = 0.044715 * size.powi(3);
        let inner = size + cube;
        let inner_error = error + 0.044715 * 3.0 * size * size * error + 4.0 * cube + inner;
        let t = (root * inner).tanh() * f64::signum(x);
        let t_error =
            (1.0 - t * t) * (root * inner_error + 2.0 * root * inner) + LIBRARY_FACTOR * t.abs();
        let (half, half_error) = (size / 2.0, error / 2.0 + size / 2.0);
        let factor_error = t_error + 1.0 + t.abs();
        let value = x / 2.0 * (1.0 + t);
        let by_tanh = half * factor_error + (1.0 + t) * half_error + value.abs();

        let power = (-2.0 * root * inner * f64::signum(x)).exp();
        let exponent_error = 2.0 * root * inner_error + 4.0 * root * inner;
        // In units of the sum 1 + power, of which the power is a part of at most 1.
        let part = 1.0 / (1.0 + 1.0 / power);
        let sum_error = part * (exponent_error + LIBRARY_FACTOR) + 1.0;
        let quotient = size / (1.0 + power);
        let by_sigmoid = error / (1.0 + power) + sum_error * quotient + quotient;
        assert_eq!(by_sigmoid > by_tanh, by_sigmoid_is_larger, "at {x}");
        let got = ModelAnalysis.activation(scale((x, error)));
        let off = (got.value() - value).abs();
        // Where 1 + tanh cancels, the value is good to its size times u.
        assert!(off <= 1e-15 * size, "at {x}: {} for {value}", got.value());
        let expected = ErrorBound::both(by_tanh.max(by_sigmoid));
        assert_bound(&format!("at {x}"), got.error(), expected, 1e-12);
    }
}
