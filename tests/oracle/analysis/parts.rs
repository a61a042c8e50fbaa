//! The error of every part of a model by hand.

use super::assert_bound;
use hungry_hippos::algebra::{ErrorBound, ErrorScale, LIBRARY_FACTOR, Matrix, Rng};
use hungry_hippos::model::LayerNorm;
use hungry_hippos::oracle::model_analysis::{
    Rises, activation, attend as analysed, norm as normed,
};

/// `sqrt(2 / pi)`.
const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// A number and its error.
type Pair = (f64, f64);

fn scale((value, error): Pair) -> ErrorScale {
    ErrorScale::new(value, ErrorBound::both(error))
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
    let got = analysed(&matrix(&q), &matrix(&k), &matrix(&v), scale(factor));
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
            assert_pair(&what, got.entries()[i * d_h + c], expected);
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
        let got = normed(&norm, &of(&x)).expect("runs");

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
        let got = activation(scale((x, error)));
        let off = (got.value() - value).abs();
        // Where 1 + tanh cancels, the value is good to its size times u.
        assert!(off <= 1e-15 * size, "at {x}: {} for {value}", got.value());
        let expected = ErrorBound::both(by_tanh.max(by_sigmoid));
        assert_bound(&format!("at {x}"), got.error(), expected, 1e-12);
    }
}
