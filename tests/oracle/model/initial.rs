//! Claim: random weights are spread as the official initialization spreads them.

use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::Name;
use hungry_hippos::model::{BlockName, ModelName, ModelPreset, initial_values};
use std::f64::consts::{LN_2, LN_10, PI};

/// Of a name, its values less the mean of each: how many times, so that some thousand are seen.
fn spread(name: ModelName, mean: impl Fn(usize) -> f64, keep: impl Fn(usize) -> bool) -> Vec<f64> {
    let mut config = ModelPreset::Tiny.config();
    config.n_layer = 8;
    let mut seen = Vec::new();
    for seed in 0.. {
        let values: Vec<f64> = initial_values(&config, name, Rng::new(seed)).collect();
        assert_eq!(values.len(), name.shape(&config).iter().product::<usize>());
        let values = values.iter().enumerate().filter(|(at, _)| keep(*at));
        seen.extend(values.map(|(at, x)| x - mean(at)));
        if seen.len() >= 4000 {
            break;
        }
    }
    seen
}

/// Five standard deviations of the mean and of the deviation, and nothing beyond `widest` deviations.
fn assert_spread(what: &str, values: &[f64], deviation: f64, widest: f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let got = (values.iter().map(|x| x * x).sum::<f64>() / n).sqrt();
    assert!(
        mean.abs() <= 5.0 * deviation / n.sqrt(),
        "{what}: off by {mean:e}"
    );
    let off = (got / deviation - 1.0).abs();
    assert!(
        off <= 5.0 / (2.0 * n).sqrt(),
        "{what}: {got:e} of {deviation:e}"
    );
    let largest = values.iter().fold(0.0, |a: f64, x| a.max(x.abs()));
    assert!(largest <= widest * deviation, "{what}: {largest:e}");
}

/// Of 8 blocks what is added to the residual path has a deviation of 0.02 over the root of 16; the tiny preset has
/// 4 modes and 8 taps.
#[test]
fn weights_are_spread_as_the_official_ones() {
    let h3 = |name| ModelName::Block(0, BlockName::H3(name));
    let block = |name| ModelName::Block(1, name);
    // The sum of four uniform numbers goes to four times 0.866.
    let normal = 4.0 * 0.866;
    for (name, mean, deviation) in [
        (ModelName::Embeddings, 0.0, 0.02),
        (ModelName::NormWeight, 1.0, 0.02),
        (ModelName::NormBias, 0.0, 0.02),
        (block(BlockName::Norm1Weight), 1.0, 0.02),
        (block(BlockName::Norm2Weight), 1.0, 0.02),
        (block(BlockName::Norm2Bias), 0.0, 0.02),
        (block(BlockName::QkvWeight), 0.0, 0.02),
        (block(BlockName::OutWeight), 0.0, 0.005),
        (block(BlockName::Fc1Weight), 0.0, 0.02),
        (block(BlockName::Fc2Weight), 0.0, 0.005),
        (h3(Name::QWeight), 0.0, 0.02),
        (h3(Name::OutputWeight), 0.0, 0.005),
        (h3(Name::InvAReal), -LN_2, 0.02),
        (h3(Name::C), 0.0, 0.5f64.sqrt()),
        (h3(Name::ShiftC), 0.0, 1.0 / 24f64.sqrt()),
        (h3(Name::ShiftD), 0.0, 1.0),
        (h3(Name::D), 0.0, 1.0),
    ] {
        let values = spread(name, |_| mean, |_| true);
        assert_spread(&name.official(), &values, deviation, normal);
    }
    // Uniform between the logarithms of 0.001 and 0.1.
    let steps = spread(h3(Name::LogDt), |_| -2.0 * LN_10, |_| true);
    assert_spread("log_dt", &steps, LN_10 / 3f64.sqrt(), 3f64.sqrt());
    // As S4D-Lin: pi times the number of the mode.
    let imaginary = spread(h3(Name::AImag), |at| PI * (at % 4) as f64, |_| true);
    assert_spread("A_imag", &imaginary, 0.02, normal);
    // Real parts about one, imaginary ones about zero.
    let real = |at: usize| f64::from(u8::from(at.is_multiple_of(2)));
    assert_spread("B", &spread(h3(Name::B), real, |_| true), 0.02, normal);
    // The first tap is one, exactly.
    let first = |at: usize| at.is_multiple_of(8);
    let ones = spread(h3(Name::ShiftB), |_| 1.0, first);
    assert!(ones.iter().all(|x| *x == 0.0));
    let others = spread(h3(Name::ShiftB), |_| 0.0, |at| !first(at));
    assert_spread("shift B", &others, 0.02, normal);
}
