//! Claim: the scales of golden files are those of the analysis at one format, never below it and hardly
//! above.

use crate::common::golden_file;
use crate::verdicts::cases::case_of;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{ErrorBound, ErrorScale, Ring};
use hungry_hippos::h3::{Form, LayerState, Name};
use hungry_hippos::oracle::{
    Case, Format, Golden, GoldenStage, LayerCase, Precision, error_scales, gradient_scales,
};
use num_complex::Complex;

/// Golden files of heads of one channel and of two.
const ONE_CHANNEL: &str = "26-batch";
const TWO_CHANNELS: &str = "03-heads";

/// A layer of random parameters: four heads, or two of two channels; one sequence of five tokens.
fn case(head_dim: usize, l_max: Option<usize>) -> LayerCase {
    case_of((head_dim, 1), l_max, [1, 5], |_, _, unit| unit)
}

fn scales_at(case: &LayerCase, format: Format) -> Bounds {
    error_scales(case, format).expect("derived")
}

/// The layer's case of a golden file, and its stages.
fn stored(name: &str) -> (LayerCase, Vec<GoldenStage>) {
    let golden = Golden::open(&golden_file(name)).expect("a golden file");
    let case = golden.layer().expect("a layer's").clone();
    (case, golden.stages().to_vec())
}

type Bounds = Vec<(String, Tensor<ErrorBound>)>;

fn find<'a>(scales: &'a Bounds, name: &str) -> &'a Tensor<ErrorBound> {
    let found = scales.iter().find(|(n, _)| n == name);
    &found.expect("a stage").1
}

/// A scale is rounded up to float32, and by no more than a place.
#[test]
fn scales_are_rounded_up() {
    let (case, golden) = stored(ONE_CHANNEL);
    let exact = scales_at(&case, Format::F64);
    for (name, exact) in &exact {
        let stage = golden.iter().find(|stage| stage.name() == name);
        let stage = stage.expect("a stage");
        let probable = stage.probable.as_ref().expect("derived").data();
        let exact = exact.data().iter();
        for ((&up, &probable), exact) in stage.scale.data().iter().zip(probable).zip(exact) {
            for (up, exact) in [(up, exact.worst), (probable, exact.probable)] {
                assert_eq!(f64::from(up as f32), up, "{name}");
                assert!(up >= exact, "{name}: {up:e} {exact:e}");
                let below = f64::from((up as f32).next_down());
                assert!(up == 0.0 || below < exact, "{name}: {up:e} {exact:e}");
            }
        }
    }
}

/// What a golden file says of a mixed format is never below the analysis in that format; where the
/// projections are coarsest, and in formats of one roundoff, it is that analysis, rounded up to
/// float32. In 16 bits it has transforms in these.
#[test]
fn golden_scales_bound_the_analysis_in_every_format() {
    for name in [ONE_CHANNEL, TWO_CHANNELS] {
        let (case, golden) = stored(name);
        assert_eq!(
            case.parameters().config().head_dim == 1,
            name == ONE_CHANNEL
        );
        for format in Format::ALL {
            let is_of_one = format.projection_unit_roundoff() <= format.unit_roundoff();
            let in_16_bits = format.with_transforms_in_16_bits();
            let as_stored = in_16_bits.filter(|_| is_of_one).unwrap_or(format);
            let exact = scales_at(&case, as_stored);
            for ((_, unsaid), (name, exact)) in scales_at(&case, format).iter().zip(&exact) {
                let mut pairs = unsaid.data().iter().zip(exact.data());
                assert!(
                    pairs.all(|(unsaid, exact)| unsaid.worst <= exact.worst),
                    "{name}"
                );
            }
            let is_end = format == Format::MIXED_BF16 || is_of_one;
            let mut above = 0.0f64;
            for (name, exact) in &exact {
                let stage = golden.iter().find(|stage| stage.name() == name);
                let stage = stage.expect("a stage");
                for (&scale, exact) in stage.scale_at(format).iter().zip(exact.data()) {
                    let what = format!("{name}, {}: {scale:e}, {exact:?}", format.name());
                    assert!(scale >= exact.worst * (1.0 - 1e-12), "{what}");
                    if is_end {
                        // Both parts are rounded up, each by a place at most.
                        assert!(scale <= exact.worst * (1.0 + 2f64.powi(-22)), "{what}");
                    }
                    if exact.worst > 0.0 {
                        above = above.max(scale / exact.worst);
                    }
                }
            }
            // Along the chord it is not far above either.
            assert!(above < 1.5, "{}: {above}", format.name());
        }
    }
}

/// Kernels are cut below the sequence's length, and not at it: there a port may run backwards by
/// recurrences too, and have their errors.
#[test]
fn gradients_of_kernels_that_are_just_whole() {
    let scales = |l_max: Option<usize>, resumed: bool| {
        let g = (0..20).map(|i| f64::from(i) - 9.5).collect();
        let g = Tensor::new([1, 5, 4], g).expect("fits");
        let mut case = case(1, l_max).with_cotangent(g).expect("fits");
        if resumed {
            let ones = Complex::new(1.0, 1.0);
            let state = LayerState {
                shift: Tensor::new([1, 4, 6], vec![1.0; 24]).expect("fits"),
                diagonal: Tensor::new([1, 1, 1, 4, 3], vec![ones; 12]).expect("fits"),
                position: 0,
            };
            case = case.with_state(state).expect("fits");
        }
        gradient_scales(&case).expect("derived")
    };
    for l_max in [Some(5), Some(9)] {
        assert_eq!(scales(l_max, true), scales(None, true));
    }
    let (cut, whole) = (scales(Some(4), false), scales(None, false));
    assert_eq!(cut.len(), whole.len());
    assert_ne!(cut, whole);
}

/// With `B` the first unit vector the gradient of `C` is the kernel's cotangent, and exactly 0 from the
/// sequence's length on. By spectra of length 2m it is off there by the normwise error, and by no
/// other way at all.
#[test]
fn gradients_that_are_zero_have_the_error_of_an_fft() {
    let (len, m) = (5, 6);
    let case = case_of((1, 1), None, [1, 5], |name, at, unit| match name {
        Name::ShiftB => f64::from(u8::from(at.is_multiple_of(m))),
        _ => unit,
    });
    let g = (0..20).map(|i| f64::from(i) - 9.5).collect();
    let case = case.with_cotangent(Tensor::new([1, len, 4], g).expect("fits"));
    let case = case.expect("fits");
    // Three transforms of 16 points and a complex product (chapter 4), in units of `u |f| |v|`.
    let fft_error = 3.0 * 4.0 * (1.0 + 4.0 * core::f64::consts::SQRT_2) + 2.24;
    let name = "grad.ssm_k_kernel.kernel.C";
    let run = Case::from(case.clone()).run(&Form::Recurrence, Precision::F64, true);
    let run = run.expect("runs");
    let (_, values) = run.iter().find(|(n, _)| n == name).expect("a gradient");
    let scales = gradient_scales(&case).expect("derived");
    let scales = find(&scales, name).data().chunks(m);
    for (values, scales) in values.data().chunks(m).zip(scales) {
        assert_eq!(values[len], 0.0);
        let norm = values.iter().map(|x| x * x).sum::<f64>().sqrt();
        let expected = fft_error * norm;
        for found in [scales[len].worst, scales[len].probable] {
            assert!((found / expected - 1.0).abs() < 1e-12, "{found} {expected}");
        }
        assert!(scales[..len].iter().all(|scale| scale.worst > expected));
    }
}

/// Projections in one format and models in a finer one: the error of what leaves a projection is that
/// many more of the finer units, and what enters the last one is rounded to the coarser first. Worked
/// out from the scales between.
#[test]
fn projections_in_a_coarser_format() {
    let case = case(2, None);
    let uniform = scales_at(&case, Format::F32);
    let in_f64 = scales_at(&case, Format::F64);
    assert_eq!(in_f64, uniform, "in units of one format's own");
    for format in [Format::MIXED_TF32, Format::MIXED_F16, Format::MIXED_BF16] {
        let ratio = format.projection_unit_roundoff() / format.unit_roundoff();
        assert!(ratio > 1.0);
        let mixed = scales_at(&case, format);
        for name in ["q", "k", "v"] {
            let expected = find(&uniform, name).map(|bound| bound * ratio);
            assert_eq!(find(&mixed, name), &expected, "{}, {name}", format.name());
        }
        for name in ["shift_kernel", "ssm_kernel"] {
            let expected = find(&uniform, name);
            assert_eq!(find(&mixed, name), expected, "{}", format.name());
        }
        // The last projection, of numbers with the errors of the gated stage.
        let (layer, _, _) = case.in_precision::<ErrorScale>().expect("discretizes");
        let (in_f64, input, _) = case.in_precision::<f64>().expect("discretizes");
        let stages = in_f64
            .forward(&Form::Recurrence, &input, None)
            .expect("runs");
        let (gated, output) = (find(&mixed, "gated"), find(&mixed, "output"));
        for t in 0..5 {
            let entering: Vec<ErrorScale> = (0..4)
                .map(|c| {
                    let value = stages.gated.data()[t * 4 + c];
                    let off = gated.data()[t * 4 + c];
                    ErrorScale::new(value, off / ratio + value.abs())
                })
                .collect();
            let last = &layer.parts().output;
            for (c, &bias) in last.bias().iter().enumerate() {
                let terms = (0..4).map(|j| last.weight().entries()[c * 4 + j] * entering[j]);
                let y = terms.fold(ErrorScale::ZERO, |sum, term| sum + term) + bias;
                let (got, expected) = (output.data()[t * 4 + c], y.error() * ratio);
                // The gated stage's own value differs by the roundings of its form.
                let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * b;
                assert!(
                    close(got.worst, expected.worst) && close(got.probable, expected.probable),
                    "{}: {got:?} {expected:?}",
                    format.name()
                );
            }
        }
    }
}
