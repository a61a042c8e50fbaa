//! Weights in the formats they are stored in: the numbers they stand for, and the same bits as a layer, projection or
//! model of those numbers.

use crate::layer::{config, trial};
use crate::support::signal;
use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{
    Element, FastLayer, FastModel, Level, ModelWorkspace, Projection, WeightFormat, Workspace,
};
use hungry_hippos::h3::{Name, Parameters};
use hungry_hippos::model::{BlockName, ModelName};
use hungry_hippos::oracle::ModelFile;

fn bits<T: Element>(y: &[T]) -> Vec<u64> {
    y.iter().map(|y| y.to_f64().to_bits()).collect()
}

/// Numbers where formats differ from each other, with their bits in f16 and bf16 (NumPy, PyTorch).
const CORNERS: [(f64, u16, u16); 16] = [
    (0.0, 0, 0),
    (-0.0, 0x8000, 0x8000),
    (1.0, 0x3c00, 0x3f80),
    (1.001, 0x3c01, 0x3f80),
    (-1.0 - 1.0 / 256.0, 0xbc04, 0xbf80),
    (1.0 + 3.0 / 256.0, 0x3c0c, 0x3f82),
    (1.0 + 1.0 / 2048.0, 0x3c00, 0x3f80),
    (65504.0, 0x7bff, 0x4780),
    (65519.0, 0x7bff, 0x4780),
    (6.1e-5, 0x3ff, 0x3880),
    (5.96e-8, 1, 0x3380),
    (2.99e-8, 1, 0x3300),
    (-2.98e-8, 0x8000, 0xb300),
    (1e-39, 0, 0xb),
    (1.4e-45, 0, 0),
    (1e-300, 0, 0),
];

/// The number of so many bits, by the definition of IEEE 754.
fn number(bits: u16, fraction_bits: i32, smallest: i32) -> f64 {
    let exponent = i32::from(bits & 0x7fff) >> fraction_bits;
    let fraction = f64::from(bits & ((1 << fraction_bits) - 1)) / 2f64.powi(fraction_bits);
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(smallest),
        _ => (1.0 + fraction) * 2f64.powi(smallest + exponent - 1),
    };
    magnitude.copysign(if bits >> 15 == 1 { -1.0 } else { 1.0 })
}

#[test]
fn floats_are_rounded_once() {
    let numbers = CORNERS.map(|(x, ..)| x);
    for (format, right) in [
        (WeightFormat::F32, numbers.map(|x| f64::from(x as f32))),
        (
            WeightFormat::F16,
            CORNERS.map(|(_, bits, _)| number(bits, 10, -14)),
        ),
        (
            WeightFormat::Bf16,
            CORNERS.map(|(.., bits)| number(bits, 7, -126)),
        ),
    ] {
        let mut stored = numbers;
        format.dequantise("w", numbers.len(), &mut stored).unwrap();
        assert_eq!(bits(&stored), bits(&right), "{format}");
    }
}

#[test]
fn levels_are_within_half_a_step_of_every_row() {
    let (rows, inputs) = (6, 33);
    let mut weight = signal::<f64>(rows * inputs, &mut Rng::new(2));
    weight[..inputs].fill(0.0);
    weight[inputs..2 * inputs]
        .iter_mut()
        .for_each(|x| *x *= 1e6);
    let mut stored = weight.clone();
    let format = WeightFormat::Int8;
    format.dequantise("w", inputs, &mut stored).unwrap();
    for (row, stored) in weight.chunks(inputs).zip(stored.chunks(inputs)) {
        let most = row.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        let step = most / 127.0;
        for (x, y) in row.iter().zip(stored) {
            assert!((x - y).abs() <= 0.501 * step, "{x} is stored as {y}");
        }
        let largest = stored.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        assert!((largest - most).abs() <= 1e-6 * most, "{largest} of {most}");
    }
    // Ties go to even levels, where the scale is 1.
    let mut ties = [127.0, 0.5, 1.5, -2.5, 126.5, -126.5, 0.49, -0.51];
    format.dequantise("w", ties.len(), &mut ties).unwrap();
    assert_eq!(ties, [127.0, 0.0, 2.0, -2.0, 126.0, -126.0, 0.0, -1.0]);
    // A scale of the whole weight instead of one per row loses all but one row.
    let mut of_all = weight.clone();
    format.dequantise("w", rows * inputs, &mut of_all).unwrap();
    assert!(of_all[2 * inputs..].iter().all(|&x| x == 0.0));
}

#[test]
fn what_a_format_has_no_value_for_is_refused_by_name() {
    let (p, ..) = trial(config(3, 1, 4), 1, 1, 3);
    for (format, bad) in [
        (WeightFormat::F16, 65520.0),
        (WeightFormat::F16, f64::NAN),
        (WeightFormat::Bf16, 3.4e38),
        (WeightFormat::F32, 3.5e38),
        (WeightFormat::Int8, f64::INFINITY),
        (WeightFormat::Int8, 1e39),
        // 127 times its scale is no f32.
        (WeightFormat::Int8, f64::from(f32::MAX)),
    ] {
        let with_bad = Parameters::new(p.config().clone(), |name| {
            let mut value = p.get(name).to_vec();
            if name == Name::VWeight {
                value[4] = bad;
            }
            Ok(value)
        })
        .unwrap();
        let refused = FastLayer::<f32>::with_weights(Level::detect(), Some(format), &with_bad);
        let said = refused.unwrap_err().to_string();
        assert!(said.contains("v_proj.weight"), "{said}");
        assert!(said.contains(format.name()), "{said}");
        assert_eq!(said, format.dequantised(&with_bad).unwrap_err().to_string());
    }
    let said = "bfloat16".parse::<WeightFormat>().unwrap_err().to_string();
    assert!(said.contains("f32, f16, bf16, int8"), "{said}");
}

/// A projection of stored weights and one of the numbers they stand for, for few rows and many, by one thread and more.
fn projections<T: Element>(level: Level) {
    let rng = &mut Rng::new(4);
    // The last has several parts to be taken at every level.
    for (inputs, outputs) in [(5, 3), (40, 70), (33, 129), (7, 1201)] {
        let weight = signal::<T>(inputs * outputs, rng);
        let bias = signal::<T>(outputs, rng);
        for format in WeightFormat::ALL {
            let mut stored: Vec<f64> = weight.iter().map(|x| x.to_f64()).collect();
            format.dequantise("w", inputs, &mut stored).unwrap();
            let stored: Vec<T> = stored.into_iter().map(T::from_f64).collect();
            let right = Projection::new(level, inputs, &stored, &bias).unwrap();
            let of = Projection::with_weights(level, Some(format), inputs, &weight, &bias);
            let of = of.unwrap();
            for rows in [1, 2, 3, 4, 5, 8, 9, 33, 70] {
                let u = signal::<T>(rows * inputs, rng);
                let run = |projection: &Projection<T>, threads| {
                    let mut y = vec![T::from_f64(f64::NAN); rows * outputs];
                    let workspace = &mut Workspace::new(threads).sharing_all();
                    projection.apply(&u, &mut y, workspace).unwrap();
                    bits(&y)
                };
                let want = run(&right, 1);
                for threads in [1, 2] {
                    let what = format!("{level}, {format}, {rows} x {inputs} to {outputs}");
                    assert_eq!(run(&of, threads), want, "{what}, {threads} threads");
                }
            }
        }
    }
}

#[test]
fn projections_are_those_of_the_numbers_stored() {
    for level in Level::all() {
        projections::<f32>(level);
        projections::<f64>(level);
    }
}

#[test]
fn a_layer_is_that_of_the_numbers_stored() {
    for (heads, head_dim) in [(5, 1), (9, 2)] {
        let (p, u, _) = trial(config(heads, head_dim, 6), 2, 40, 5);
        let input: Vec<f32> = u.data().iter().map(|&x| x as f32).collect();
        let run = |layer: &FastLayer<f32>, threads| {
            let (mut out, mut state) = (vec![f32::NAN; input.len()], layer.zero_state(2));
            let workspace = &mut Workspace::new(threads).sharing_all();
            layer.run(&input, &mut out, &mut state, workspace).unwrap();
            // And a step.
            let step = &input[..2 * p.config().d_model];
            let mut last = step.to_vec();
            layer.run(step, &mut last, &mut state, workspace).unwrap();
            (bits(&out), bits(&last))
        };
        for level in Level::all() {
            let whole = run(&FastLayer::new(level, &p).unwrap(), 1);
            for format in WeightFormat::ALL {
                let right = format.dequantised(&p).unwrap();
                let want = run(&FastLayer::new(level, &right).unwrap(), 1);
                let of = FastLayer::with_weights(level, Some(format), &p).unwrap();
                for threads in [1, 2] {
                    assert_eq!(run(&of, threads), want, "{level}, {format}");
                }
                // Without the format it is another layer.
                assert_eq!(want == whole, format == WeightFormat::F32, "{format}");
            }
        }
    }
}

#[test]
fn a_model_is_that_of_the_numbers_stored() {
    let case = ModelFile::open(&crate::common::data("lm-tiny")).unwrap();
    let config = case.config();
    let ids = [3, 1, 4, 1, 5];
    let run = |model: &FastModel<f32>, threads| {
        let workspace = &mut ModelWorkspace::new(threads).sharing_all();
        let mut state = model.zero_state(1, ids.len());
        let prompt = model.last_logits(&ids, &mut state, workspace).unwrap();
        let next = model.last_logits(&[2], &mut state, workspace).unwrap();
        (bits(&prompt), bits(&next))
    };
    for format in WeightFormat::ALL {
        let dequantised = |name: ModelName| {
            let mut value = case.parameter(name)?;
            let shape = name.shape(config);
            let matrix = match name {
                ModelName::Embeddings => true,
                ModelName::Block(_, BlockName::H3(name)) => name.official().ends_with("weight"),
                ModelName::Block(..) => shape.len() == 2 && name.official().ends_with("weight"),
                _ => false,
            };
            if matrix {
                format.dequantise("w", shape[1], &mut value)?;
            }
            Ok(value)
        };
        let level = Level::detect();
        let right = FastModel::new(level, config, dequantised).unwrap();
        let of = FastModel::with_weights(level, Some(format), config, |name| case.parameter(name));
        let (of, want) = (of.unwrap(), run(&right, 1));
        for threads in [1, 2] {
            assert_eq!(run(&of, threads), want, "{format}");
        }
    }
}
