//! Claim: certified stages do not depend on the form, and are the same bits on every machine and
//! in every build; an undecided rounding is decided by more words.

use crate::common::{data, is_exhaustive, saved};
use hungry_hippos::algebra::{Ball, ComplexScalar, Real};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{Config, Form, HeadOrder, Name, Parameters, RealType};
use hungry_hippos::oracle::{Case, Certified, Format, Golden, LayerCase};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use hungry_hippos::ssm::Discretization;
use hungry_hippos::{Error, Tensor};
use std::sync::LazyLock;

const CASES: [&str; 6] = [
    "layer-v1-hd1-L7",
    "layer-v2-hd4-L32",
    "layer-v3-hd8-L90",
    "layer-v4-hd1-L100",
    "layer-v5-hd4-L1",
    "layer-v6-f32-hd1-L32",
];

fn open(name: &str) -> Case {
    Case::open(&data(name)).expect("a well-formed case")
}

/// Certified stages; with `gradients`, those too.
fn certified(case: &Case, form: &Form, gradients: bool) -> Result<Certified, Error> {
    case.certified(form, gradients)
}

/// Stages by name, the bits of each value.
type Bits = Vec<(String, Vec<u64>)>;

/// The values' bits, stage by stage, for the stages that both forms make.
fn bits(certified: &Certified) -> Bits {
    let stages = certified.stages.iter();
    stages
        .map(|s| {
            (
                s.name.clone(),
                s.values.data().iter().map(|x| x.to_bits()).collect(),
            )
        })
        .collect()
}

/// Every stage and gradient of every case, by recurrence.
static BY_RECURRENCE: LazyLock<Vec<Bits>> = LazyLock::new(|| {
    let all = CASES.iter();
    all.map(|name| bits(&certified(&open(name), &Form::Recurrence, true).expect("decided")))
        .collect()
});

/// By default each case in one of two other forms, with `HIPPOS_EXHAUSTIVE` set in both.
#[test]
fn the_rounded_values_do_not_depend_on_the_form() {
    for (turn, (name, steps)) in CASES.into_iter().zip(BY_RECURRENCE.iter()).enumerate() {
        let case = open(name);
        assert!(steps.len() > 25, "stages and gradients");
        let forms = [Form::Fft, Form::FlashConv(Chunking::Uniform(13))];
        let forms = match is_exhaustive() {
            true => &forms[..],
            false => &forms[turn % 2..][..1],
        };
        for form in forms {
            let by = bits(&certified(&case, form, true).expect("decided"));
            assert_eq!(by.len(), steps.len(), "{name}, {form}");
            for ((stage, expected), (other, got)) in steps.iter().zip(by) {
                assert_eq!(stage, &other, "stages in one order");
                assert!(expected == &got, "{name}, {form}, {stage}: bits differ");
            }
        }
    }
}

/// FNV-1a over every bit of every certified stage and gradient of every case. It is pinned, so
/// that debug and release builds, one machine and another, give the same digits or fail here.
#[test]
fn the_bits_are_pinned() {
    let mut digest = 0xcbf2_9ce4_8422_2325u64;
    for (_, bits) in BY_RECURRENCE.iter().flatten() {
        for byte in bits.iter().copied().flat_map(u64::to_le_bytes) {
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    assert_eq!(digest, PINNED, "{digest:#x}");
}

/// What [`the_bits_are_pinned`] computed when the stages were last added to; those before them kept their bits.
const PINNED: u64 = 0x3b78_bb67_0d07_ed6c;

/// The independent 80-bit evaluation, rounded to f64, differs from the certified values by at
/// most the last bit, and seldom by that.
#[test]
fn eighty_bits_agree() {
    for name in CASES {
        let case = open(name);
        let certified = certified(&case, &Form::Recurrence, false).expect("decided");
        let output = certified.stages.iter().find(|s| s.name == "output");
        let output = output.expect("a stage").values.data();
        let shape = case.layer().expect("a layer").input().shape();
        let file = SafeTensors::open(&data(name)).expect("a file");
        let longdouble = saved(&file, "output_longdouble", shape);
        let mut different = 0;
        for (x, y) in output.iter().zip(longdouble.data()) {
            let apart = (x.to_bits() as i64 - y.to_bits() as i64).unsigned_abs();
            // Where terms cancel, 80 bits lose some of their eleven guard bits.
            assert!(apart <= 16, "{name}: {x:e} and {y:e}, {apart} units apart");
            different += usize::from(apart > 0);
        }
        assert!(
            different * 20 <= output.len(),
            "{name}: {different} of {} differ",
            output.len()
        );
    }
}

/// A projection whose exact value is 1 + 2^-53 + 2^-120: a hair above the middle of two floats.
/// Two words do not decide it, four do; and a value exactly in the middle stays undecided only
/// if intermediate results are inexact, which in q they are not.
#[test]
fn what_two_words_leave_open_four_decide() {
    let file = SafeTensors::open(&data("layer-v1-hd1-L7")).expect("a file");
    let d = LayerCase::read(&file).expect("a case").input().shape()[2];
    let mut writer = Writer::new();
    for (key, value) in file.metadata() {
        if !["d_model", "format"].contains(&key.as_str()) {
            writer.metadata(key, value).expect("new");
        }
    }
    for view in file.tensors() {
        let mut values = view.to_f64().expect("floats");
        if view.name == "q_proj.weight" {
            values[..d].fill(0.0);
            values[0] = 1.0;
            values[1] = 2f64.powi(-53);
            values[2] = 2f64.powi(-120);
        }
        if view.name == "input" {
            values.fill(1.0);
        }
        if view.name == "q_proj.bias" {
            values[0] = 0.0;
        }
        writer
            .add(view.name, Dtype::F64, view.shape, &values)
            .expect("fits");
    }
    let file = SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid");
    let case = Case::read(&file).expect("a case");
    let certified = certified(&case, &Form::Recurrence, false).expect("decided");
    assert_eq!(certified.words, 4, "two words do not decide it");
    let q = &certified.stages[0];
    assert_eq!(q.name, "q");
    assert!(q.retried.contains(&0), "the position is reported");
    assert_eq!(q.values.data()[0], 1.0f64.next_up(), "above the middle: up");
}

/// One channel, one mode of pole 1/15, a skip of zero: `K_t = 2 C b 15^-t`.
fn fading(len: usize) -> LayerCase {
    let config = Config {
        d_model: 1,
        head_dim: 1,
        d_state: 2,
        n_ssm: 1,
        disc: Discretization::Bilinear,
        real_type: RealType::None,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    let parameters = Parameters::new(config, |name| {
        Ok(match name {
            // (1 - 7/8)/(1 + 7/8) = 1/15, and b = 1/(1 + 7/8) = 8/15.
            Name::InvAReal => vec![1.75],
            Name::AImag | Name::LogDt => vec![0.0],
            Name::B | Name::C => vec![1.0, 0.0],
            Name::ShiftB | Name::ShiftC => vec![0.0, 0.0],
            Name::D => vec![0.0],
            _ => vec![1.0],
        })
    });
    let input = Tensor::new([1, len, 1], vec![1.0; len]).expect("fits");
    LayerCase::new(parameters.expect("a layer"), input).expect("finite")
}

/// A kernel that falls below the smallest normal number and then to nothing. Its last words are lost
/// on the way, so that no number of them decides a rounding; what is then written is known to a few of
/// the smallest numbers there are, and counted.
#[test]
fn below_the_range_of_words_the_radius_says_what_is_known() {
    let len = 290;
    let certified = certified(&fading(len).into(), &Form::Recurrence, false).expect("settled");
    assert_eq!(certified.words, 4, "two words do not decide it");
    let kernel = certified.stages.iter().find(|s| s.name == "ssm_kernel");
    let kernel = kernel.expect("a stage");
    // Two words do with every number whose last ones are not lost, and with none below.
    let first = kernel.retried[0];
    assert!(kernel.retried.iter().copied().eq(first..len));
    let known = |t: usize| kernel.values.data()[t];
    assert!(known(first - 1) > f64::MIN_POSITIVE && known(first) < 1e-300);
    // 16 15^-(t+1) as a number from 1 to 2 and a power of 2.
    let (mut factor, mut exponent) = (1.0, 4);
    for (t, &got) in kernel.values.data().iter().enumerate() {
        factor /= 15.0;
        while factor < 1.0 {
            factor *= 2.0;
            exponent -= 1;
        }
        // In two steps: 2^exponent alone may be below every number there is.
        let expected = factor * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
        // A rounding a division, and twice the last place of the smallest numbers.
        let bound = (t + 2) as f64 * 2f64.powi(-53) * expected + 2.0 * f64::from_bits(1);
        assert!(
            (got - expected).abs() <= bound,
            "{t}: {got:e}, {expected:e}"
        );
        // And what is said to be known of it holds the number, to the last place of a double.
        let radius = kernel.radii.data()[t];
        assert!(radius <= 1e-20 * expected + 1e-322, "{t}: {radius:e}");
    }
    assert_eq!(kernel.values.data()[len - 1], 0.0);
    assert!(
        kernel
            .undecided
            .iter()
            .copied()
            .eq(kernel.undecided[0]..len)
    );
    assert!(kernel.undecided[0] >= first);
}

/// An input that begins with zeros: by recurrence they stay, by FFT they are sums of rounded numbers,
/// and no number of words says that such a sum is zero. What it leaves open the recurrence decides.
#[test]
fn exact_zeros_are_decided_by_exact_steps() {
    let (layer, len) = (fading(6), 6);
    let mut input = vec![0.0; len];
    input[len - 1] = 0.3;
    let p = layer.parameters();
    let p = Parameters::new(p.config().clone(), |name| {
        Ok(match name {
            Name::KBias | Name::VBias => vec![0.0],
            Name::ShiftD => vec![1.0],
            _ => p.get(name).to_vec(),
        })
    });
    let input = Tensor::new([1, len, 1], input).expect("fits");
    let case = LayerCase::new(p.expect("a layer"), input)
        .expect("finite")
        .into();
    let by = |form: Form| {
        let stages = certified(&case, &form, false).expect("exact zeros").stages;
        let output = stages.into_iter().find(|s| s.name == "ssm_out");
        output.expect("a stage")
    };
    let (exact, transformed) = (by(Form::Recurrence), by(Form::Fft));
    assert!(exact.retried.is_empty(), "{:?}", exact.retried);
    assert!(transformed.retried.iter().copied().eq(0..len - 1));
    assert_eq!(transformed.values, exact.values);
    let output = exact.values.data();
    assert!(output[..len - 1].iter().all(|&y| y == 0.0));
    // D is zero, and so 2 C b u^2 is what is left.
    assert!((output[len - 1] - 16.0 / 15.0 * 0.09).abs() < 1e-16);
}

/// Two modes that go the same inexact way and are read against each other: their kernel is zero, and no
/// form proves it.
fn cancelling() -> Case {
    let layer = fading(6);
    let p = layer.parameters();
    let mut config = p.config().clone();
    config.d_state = 4;
    let p = Parameters::new(config, |name| {
        Ok(match name {
            Name::InvAReal => vec![1.0 / 3.0; 2],
            Name::AImag => vec![0.0; 2],
            Name::B => [1.0, 0.0].repeat(2),
            Name::C => vec![1.0, 0.0, -1.0, 0.0],
            Name::ShiftB | Name::ShiftC => vec![0.0; 4],
            _ => p.get(name).to_vec(),
        })
    });
    let case = LayerCase::new(p.expect("a layer"), layer.input().clone());
    Case::from(case.expect("finite"))
}

/// It is written as zero with its radius, and counted.
#[test]
fn an_exact_zero_by_inexact_steps_is_undecided() {
    let case = cancelling();
    for form in [Form::Recurrence, Form::Fft] {
        let certified = certified(&case, &form, false).expect("written");
        let kernel = certified.stages.iter().find(|s| s.name == "ssm_kernel");
        let kernel = kernel.expect("a stage");
        assert!(kernel.undecided.iter().copied().eq(0..6), "{form}");
        for (&x, &radius) in kernel.values.data().iter().zip(kernel.radii.data()) {
            assert!(
                x == 0.0 && radius > 0.0 && radius < 1e-60,
                "{form}: {radius:e}"
            );
        }
        let states = certified.stages.iter().find(|s| s.name == "final_state");
        assert!(states.expect("a stage").undecided.is_empty(), "{form}");
    }
}

/// A golden file says how many elements are undecided, and their tolerance covers what is not known of them,
/// in every format. What it says must be of its stages.
#[test]
fn a_golden_file_counts_what_is_undecided() {
    let certified = certified(&cancelling(), &Form::Recurrence, false).expect("written");
    let golden = Golden::certify(cancelling()).expect("written");
    let counts = "ssm_kernel:6,ssm_out:6,gated:6";
    assert_eq!(golden.undecided().as_deref(), Some(counts));
    assert_eq!(golden.undecided(), certified.undecided());
    for (stage, found) in golden.stages().iter().zip(&certified.stages) {
        assert_eq!(stage.undecided, found.undecided.len(), "{}", found.name);
        for format in Format::ALL {
            let scales = [Some(stage.scale_at(format)), stage.probable_at(format)];
            for &at in &found.undecided {
                for scale in scales.iter().flatten() {
                    let tolerance = scale[at] * format.unit_roundoff();
                    assert!(tolerance >= found.radii.data()[at], "{}", format.name());
                }
            }
        }
    }
    let bytes = golden
        .writer()
        .and_then(|writer| writer.to_bytes())
        .expect("small");
    let file = SafeTensors::from_bytes(bytes).expect("valid");
    assert_eq!(file.metadata()["undecided"], counts);
    let read = Golden::read(&file).expect("golden");
    assert_eq!(read.stages(), golden.stages());
    for wrong in [
        "",
        "ssm_kernel",
        "ssm_kernel:0",
        "ssm_kernel:7",
        "ssm_kernel:6,",
        "kernel:1",
    ] {
        let mut writer = Writer::new();
        for (key, value) in file.metadata() {
            let value = if key == "undecided" { wrong } else { value };
            writer.metadata(key, value).expect("new");
        }
        for tensor in file.tensors() {
            let added = writer.add_bytes(tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
            added.expect("fits");
        }
        let file = SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid");
        let said = Golden::read(&file).expect_err(wrong).to_string();
        assert!(
            said.contains("undecided") && said.contains("STAGE:COUNT"),
            "{said}"
        );
    }
    // A golden file without any says nothing.
    let plain = Golden::certify(open("layer-v1-hd1-L7")).expect("decided");
    let bytes = plain
        .writer()
        .and_then(|writer| writer.to_bytes())
        .expect("small");
    let file = SafeTensors::from_bytes(bytes).expect("valid");
    assert!(plain.undecided().is_none() && !file.metadata().contains_key("undecided"));
}

/// Real poles and an imaginary B: the states are imaginary, and the kernel of a real C is zero. Algebra
/// says so, and every digit is decided, in the direct forms with no retry.
#[test]
fn an_imaginary_b_is_certified() {
    let layer = fading(6);
    let p = layer.parameters();
    for (c, kernel_is_zero) in [([1.0, 0.0], true), ([0.25, 0.5], false)] {
        let p = Parameters::new(p.config().clone(), |name| {
            Ok(match name {
                Name::InvAReal => vec![1.0 / 3.0],
                Name::B => vec![0.0, 0.7],
                Name::C => c.to_vec(),
                _ => p.get(name).to_vec(),
            })
        });
        let case = LayerCase::new(p.expect("a layer"), layer.input().clone());
        let case = Case::from(case.expect("finite"));
        for form in [Form::Recurrence, Form::Scan, Form::Convolution, Form::Fft] {
            let certified = certified(&case, &form, false).expect("decided");
            for stage in &certified.stages {
                assert!(stage.undecided.is_empty(), "{form}, {}", stage.name);
            }
            assert!(certified.words == 2 || form == Form::Fft, "{form}");
            let values = |name: &str| {
                let stage = certified.stages.iter().find(|s| s.name == name);
                stage.expect("a stage").values.data()
            };
            assert!(values("final_state")[0] == 0.0 && values("final_state")[1] != 0.0);
            let zero = values("ssm_kernel").iter().all(|&x| x == 0.0);
            assert_eq!(zero, kernel_is_zero, "{form}, {c:?}");
        }
    }
}

/// The real part of a sigmoid's pole, of a stored number known so badly that the exponential beside 1
/// may be -1: not divided, and still enclosed.
#[test]
fn a_badly_known_sigmoid_is_enclosed() {
    let case = fading(1);
    let p = case.parameters();
    let mut config = p.config().clone();
    config.real_type = RealType::Sigmoid;
    for (low, high) in [
        (-8.0, 8.0),
        (-1e3, 1e3),
        (-8.0, 20.0),
        (-3.0, 4.0),
        (-5.0, 3.0),
    ] {
        let of = |name: Name| -> Vec<Ball> {
            match name {
                Name::InvAReal => vec![Ball::hull(low, high)],
                _ => p.get(name).iter().map(|&x| Ball::from_f64(x)).collect(),
            }
        };
        let wide = Parameters::new(config.clone(), |name| Ok(of(name))).expect("a layer");
        let real = -wide.lambda()[0].re();
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        // Around the middle's, and no wider than all that a sigmoid can be.
        let middle = sigmoid((low + high) / 2.0);
        assert!((real.to_f64() - middle).abs() < 1e-15, "{real:?}");
        assert!(real.radius() < 1.0, "{real:?}");
        for i in 0..=20 {
            let x = low + (high - low) * f64::from(i) / 20.0;
            assert!(real.contains(sigmoid(x)), "{low}, {high}, {x}: {real:?}");
        }
    }
}
