//! Claim: a layer is drawn with the official constructor's values and distributions, the same for the
//! same seed.

use super::official::numbers;
use crate::common::assert_close;
use hungry_hippos::Error;
use hungry_hippos::algebra::{Ball, ComplexScalar, Real, Rng};
use hungry_hippos::h3::{Config, HeadOrder, Initialization, Name, Parameters, RealType};
use hungry_hippos::ssm::Discretization;
use hungry_hippos::ssm::hippo::Diagonalized;

fn drawing(d_model: usize, real_type: RealType, measure: &str) -> Result<Initialization, Error> {
    Ok(Initialization {
        config: Config {
            d_model,
            head_dim: 1,
            d_state: 16,
            n_ssm: 4,
            disc: Discretization::Bilinear,
            real_type,
            l_max: None,
            head_order: HeadOrder::D2H,
        },
        measure: Diagonalized::of_measure(measure)?,
        dt_min: 0.001,
        dt_max: 0.1,
    })
}

fn layer(
    d_model: usize,
    real_type: RealType,
    measure: &str,
    seed: u64,
) -> Result<Parameters<f64>, Error> {
    drawing(d_model, real_type, measure)?.parameters(&mut Rng::new(seed))
}

/// A step that is given and not drawn has its own logarithm, subnormal ones too.
#[test]
fn steps_have_their_logarithms() {
    for dt in [0.5, 3.0, 1e-3, 1e300, f64::MIN_POSITIVE, 3.3e-310, 5e-324] {
        let mut drawing = drawing(4, RealType::Exp, "diag-lin").expect("a measure");
        (drawing.dt_min, drawing.dt_max) = (dt, dt);
        let drawn = drawing.parameters(&mut Rng::new(1)).expect("in order");
        let expected = [dt.ln(); 4];
        assert_close("log_dt", drawn.get(Name::LogDt), &expected, 1e-13);
    }
}

/// The smallest state there is: one pole.
#[test]
fn states_have_a_pole() {
    let mut drawing = drawing(4, RealType::Exp, "diag-lin").expect("a measure");
    drawing.config.d_state = 2;
    let drawn = drawing.parameters(&mut Rng::new(1)).expect("one pole");
    assert_eq!(drawn.get(Name::AImag).len(), 4);
    drawing.config.d_state = 1;
    let said = drawing.parameters(&mut Rng::new(1)).expect_err("none");
    assert!(said.to_string().contains("at least 2"), "{said}");
    // A pole of -1, which no sigmoid reaches.
    let real = Diagonalized::of_measure("diag-real").expect("a measure");
    (drawing.config.d_state, drawing.measure) = (2, real);
    drawing.config.real_type = RealType::Sigmoid;
    let said = drawing
        .parameters(&mut Rng::new(1))
        .expect_err("out of reach");
    assert!(said.to_string().contains("has -1"), "{said}");
}

/// What is not drawn is the official value; every `real_type` is encoded as the official code does.
#[test]
fn fixed_values_are_the_official_ones() {
    for real_type in [
        RealType::None,
        RealType::Exp,
        RealType::Relu,
        RealType::Sigmoid,
        RealType::Softplus,
    ] {
        let layer = layer(8, real_type, "diag", 1).expect("possible");
        let official = numbers(&format!("inv_A_real.{real_type}"))[0];
        let expected = vec![official; 32];
        assert_close("inv_A_real", layer.get(Name::InvAReal), &expected, 1e-15);
        let decoded: Vec<f64> = layer.lambda().iter().map(|z| z.re).collect();
        // The official relu: its decoding adds 1e-4, which its encoding does not take off.
        let real = if real_type == RealType::Relu {
            -0.5001
        } else {
            -0.5
        };
        assert_close("real part", &decoded, &[real; 32], 1e-15);
    }
    let layer = layer(8, RealType::Exp, "diag", 1).expect("possible");
    let official = numbers("diag.diag.w");
    let imaginary: Vec<f64> = official.chunks(2).map(|z| z[1]).collect();
    assert_close("A_imag", layer.get(Name::AImag), &imaginary, 1e-13 * 82.0);
    assert!(layer.get(Name::B).chunks(2).all(|b| b == [1.0, 0.0]));
    let e_1 = |taps: &[f64]| taps[0] == 1.0 && taps[1..].iter().all(|&b| b == 0.0);
    assert!(layer.get(Name::ShiftB).chunks(16).all(e_1));
}

/// Range, mean and variance of what is drawn. Over thousands of draws a wrong rule (a normal for a
/// uniform, variance 1 for 1/2, steps uniform instead of log-uniform) is far outside.
#[test]
fn drawn_values_have_the_official_distributions() {
    let layer = layer(400, RealType::Exp, "diag-lin", 2).expect("possible");
    let moments = |x: &[f64]| {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        (
            mean,
            variance,
            x.iter().fold(0.0, |top, x| f64::max(top, x.abs())),
        )
    };
    for (name, bound) in [
        (Name::QWeight, 0.05),
        (Name::OutputBias, 0.05),
        (Name::ShiftC, 0.25),
    ] {
        let (mean, variance, largest) = moments(layer.get(name));
        assert!(
            largest <= bound && largest > 0.98 * bound,
            "{name:?}: {largest}"
        );
        assert!(mean.abs() < 0.1 * bound, "{name:?}: {mean}");
        let ratio = variance / (bound * bound / 3.0);
        assert!((ratio - 1.0).abs() < 0.2, "{name:?}: {ratio}");
    }
    for (name, expected) in [(Name::ShiftD, 1.0), (Name::D, 1.0), (Name::C, 0.5)] {
        let (mean, variance, largest) = moments(layer.get(name));
        assert!(mean.abs() < 0.2, "{name:?}: {mean}");
        assert!(
            (variance / expected - 1.0).abs() < 0.25,
            "{name:?}: {variance}"
        );
        assert!(
            largest > 2.2 * f64::sqrt(expected),
            "{name:?} has tails: {largest}"
        );
    }
    let log_dt = layer.get(Name::LogDt);
    let (low, high) = (0.001f64.ln(), 0.1f64.ln());
    assert!(log_dt.iter().all(|x| (low..=high).contains(x)));
    let (mean, variance, _) = moments(log_dt);
    assert!((mean - (low + high) / 2.0).abs() < 0.25, "{mean}");
    let ratio = variance / ((high - low).powi(2) / 12.0);
    assert!((ratio - 1.0).abs() < 0.2, "{ratio}");
}

/// A normal number, by Marsaglia's polar method.
fn normal(rng: &mut Rng) -> f64 {
    loop {
        let (x, y) = (rng.unit(), rng.unit());
        let s = x * x + y * y;
        if 0.0 < s && s < 1.0 {
            return x * (-2.0 * s.ln() / s).sqrt();
        }
    }
}

/// Every number a seed draws, one after another, by the formulas in plain `f64`: bounds from
/// `d_model` and `d_state`, each number of C of variance 1/2, steps between two logarithms.
#[test]
fn every_draw_is_its_formula() {
    let mut drawing = drawing(6, RealType::Exp, "diag-lin").expect("a measure");
    (drawing.config.n_ssm, drawing.config.head_dim) = (3, 2);
    (drawing.dt_min, drawing.dt_max) = (0.002, 0.3);
    let rng = &mut Rng::new(12);
    let drawn = drawing.parameters(rng).expect("possible");
    let input = drawing.input(2, 5, rng).expect("possible");
    let rng = &mut Rng::new(12);
    for name in Name::ALL {
        let count = drawn.get(name).len();
        let mut uniform =
            |fan_in: f64| -> Vec<f64> { (0..count).map(|_| rng.unit() / fan_in.sqrt()).collect() };
        let expected: Vec<f64> = match name {
            Name::ShiftB | Name::B | Name::InvAReal | Name::AImag => continue,
            Name::ShiftC => uniform(16.0),
            Name::ShiftD | Name::D => (0..count).map(|_| normal(rng)).collect(),
            Name::C => (0..count).map(|_| normal(rng) / 2f64.sqrt()).collect(),
            Name::LogDt => {
                let unit = uniform(1.0).into_iter().map(|x| (x + 1.0) / 2.0);
                unit.map(|x| 0.002f64.ln() + x * (0.3f64 / 0.002).ln())
                    .collect()
            }
            _ => uniform(6.0),
        };
        // A few roundings, of numbers below 7.
        assert_close(name.official(), drawn.get(name), &expected, 1e-14);
    }
    let expected: Vec<f64> = (0..60).map(|_| normal(rng)).collect();
    assert_eq!(input.shape(), [2, 5, 6]);
    assert_close("input", input.data(), &expected, 1e-14);
    for (batch, len) in [(0, 5), (2, 0)] {
        let said = drawing.input(batch, len, rng).expect_err("nothing");
        assert!(said.to_string().contains("at least 1"), "{said}");
    }
}

/// Copies of every measure's poles, certified and rounded once, one measure after another.
#[test]
fn poles_are_shared_out_in_order() {
    let count = 16 / 2;
    let drawn = layer(8, RealType::Exp, "diag", 3).expect("possible");
    let measures = [Diagonalized::Inv, Diagonalized::Lin];
    assert_eq!(drawn.get(Name::AImag).len(), 4 * count);
    for (model, imaginary) in drawn.get(Name::AImag).chunks(count).enumerate() {
        let poles = measures[model / 2].poles::<Ball>(16).expect("poles");
        let expected: Vec<f64> = poles.iter().map(|z| z.im().to_f64()).collect();
        assert_eq!(imaginary, expected);
    }
}

/// Real parts from -1 to -8, by the inverse of each decoding.
#[test]
fn real_parts_are_encoded_by_the_inverse_of_their_decoding() {
    for real_type in [
        RealType::None,
        RealType::Exp,
        RealType::Relu,
        RealType::Softplus,
    ] {
        let drawn = layer(8, real_type, "diag-real", 3).expect("possible");
        let poles = Diagonalized::Real.poles::<f64>(16).expect("poles");
        let offset = if real_type == RealType::Relu {
            1e-4
        } else {
            0.0
        };
        for (model, lambda) in drawn.lambda().chunks(8).enumerate() {
            for (z, pole) in lambda.iter().zip(&poles) {
                let expected = pole.re - offset;
                let off = (z.re - expected).abs();
                assert!(off <= 1e-14 * expected.abs(), "{real_type}, {model}: {z}");
            }
        }
    }
}

#[test]
fn a_seed_names_a_layer() {
    let draw = |seed| layer(8, RealType::Exp, "diag-inv", seed).expect("possible");
    assert_eq!(draw(5), draw(5));
    assert_ne!(draw(5), draw(6));
    assert!(layer(8, RealType::Sigmoid, "diag-real", 1).is_err());
    assert!(
        layer(6, RealType::Exp, "diag", 1).is_err(),
        "4 models, 6 heads"
    );
}
