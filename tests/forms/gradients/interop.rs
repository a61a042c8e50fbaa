//! Claim: every gradient of every case is the official autograd's, in every form; and what balls
//! certify is both.

use super::support::random;
use crate::common::{assert_close, close, data, is_exhaustive, largest, saved};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Ball, Real, Rng, RootsOfUnity};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{Form, Name};
use hungry_hippos::oracle::LayerCase;
use hungry_hippos::safetensors::SafeTensors;
use hungry_hippos::ssm::Diagonal;

const FLOAT64_CASES: [&str; 5] = [
    "layer-v1-hd1-L7",
    "layer-v2-hd4-L32",
    "layer-v3-hd8-L90",
    "layer-v4-hd1-L100",
    "layer-v5-hd4-L1",
];

/// Relative to the tensor's largest magnitude. The official code forms the powers of `a` as
/// `exp(j dt lambda)`, so the rounding of the exponent, `u j |dt lambda|`, is a relative error of
/// the power, and its gradients with respect to `log_dt` and `lambda` weigh these terms with `j`
/// once more. The worst of these cases is at 1.9e-13 (`log_dt` of `layer-v3`); what is refused
/// below is wrong by 1e-10.
const FLOAT64_BOUND: f64 = 1e-12;

/// A case, and the file it is in, with the official gradients.
fn open(name: &str) -> (LayerCase, SafeTensors) {
    let file = SafeTensors::open(&data(name)).expect("a file");
    (LayerCase::read(&file).expect("a well-formed case"), file)
}

/// The gradients of the input and of every parameter, under their names in files.
fn gradients<T>(case: &LayerCase, form: &Form) -> Vec<(String, Tensor<T>)>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    let parameters = case.parameters().map(T::from_f64);
    let layer = parameters.discretize().expect("a layer");
    let state = case.state().map(|state| state.map(T::from_f64));
    let input = case.input().map(T::from_f64);
    let g = case.cotangent().expect("there").map(T::from_f64);
    let gradients = layer.gradients(form, &input, state.as_ref(), &g, None);
    let gradients = gradients.expect("shapes fit");
    let official = parameters.gradients(&gradients).expect("fits");
    let mut named = vec![("grad.input".to_string(), gradients.input)];
    named.extend(Name::ALL.map(|name| {
        let shape = name.shape(parameters.config());
        let gradient = Tensor::new(shape, official.get(name).to_vec());
        (format!("grad.{}", name.official()), gradient.expect("fits"))
    }));
    named
}

fn forms(seq_len: usize) -> Vec<Form> {
    Form::all([
        Chunking::Uniform(1),
        Chunking::Uniform(13),
        Chunking::Uniform(seq_len),
    ])
}

/// Of every case by every second form, of the next one by the others; with `HIPPOS_EXHAUSTIVE` set, by all.
#[test]
fn every_gradient_is_the_official_one() {
    for (number, name) in FLOAT64_CASES.into_iter().enumerate() {
        let (case, file) = open(name);
        let forms = forms(case.input().shape()[1]).into_iter();
        for (at, form) in forms.enumerate() {
            if (number + at) % 2 == 1 && !is_exhaustive() {
                continue;
            }
            let gradients = gradients::<f64>(&case, &form);
            assert_eq!(gradients.len(), 1 + Name::ALL.len(), "input and parameters");
            for (tensor, ours) in gradients {
                let saved = saved(&file, &tensor, ours.shape());
                let bound = FLOAT64_BOUND * largest(saved.data());
                let what = format!("{name}, {form}, {tensor}");
                assert_close(&what, ours.data(), saved.data(), bound);
            }
        }
    }
}

/// Every form is run backwards as itself: exactly they are one function, in floats each has roundings of
/// its own. (The matrix and the sum add the same terms in the same order, the attention form is made of the
/// matrix, and one chunk is one block transform.)
#[test]
fn every_form_has_its_own_roundings() {
    let rng = &mut Rng::new(6);
    let ssm = Diagonal::<f64>::sample(4, rng);
    let (u, g): (Vec<f64>, Vec<f64>) = (random(90, rng), random(90, rng));
    let mut forms = forms(90);
    let whole = Form::FlashConv(Chunking::Uniform(90));
    forms.retain(|form| !matches!(form, Form::Attention | Form::Toeplitz) && *form != whole);
    let found: Vec<_> = forms
        .iter()
        .map(|form| {
            let gradients = form.gradients(&ssm, &u, None, &g, None).expect("fits");
            (gradients.input, gradients.model)
        })
        .collect();
    for (i, one) in found.iter().enumerate() {
        for (j, other) in found.iter().enumerate().skip(i + 1) {
            assert!(one != other, "{} is computed as {}", forms[i], forms[j]);
        }
    }
}

/// The float32 case: the official run's own rounding decides. The longest chain of roundings
/// between the input and a gradient goes through two projections, shift model, convolution and
/// gate, forward and back, and ends in a sum over batch and tokens:
/// `n = 4 d + 4 m + 4 L + B L` of them, `n u` relative to what is summed, `u = 2^-24`. These sums
/// of random terms cancel little in a tensor's largest entry, which is taken for their scale; the
/// worst measured is 1.2e-6.
#[test]
fn the_float32_case_is_within_what_float32_allows() {
    let (case, file) = open("layer-v6-f32-hd1-L32");
    let (shape, config) = (case.input().shape(), case.parameters().config());
    let (batch, len) = (shape[0], shape[1]);
    let n = 4 * (config.d_model + config.d_state + len) + batch * len;
    let relative = n as f64 * 2f64.powi(-24);
    assert!(
        relative < 1e-4,
        "small enough to mean something: {relative}"
    );
    let ours = [
        gradients::<f64>(&case, &Form::Fft),
        gradients::<f32>(&case, &Form::Fft)
            .into_iter()
            .map(|(name, tensor)| (name, tensor.map(f64::from)))
            .collect(),
    ];
    for (tensor, ours) in ours.into_iter().flatten() {
        let saved = saved(&file, &tensor, ours.shape());
        let bound = relative * largest(saved.data());
        assert_close(&tensor, ours.data(), saved.data(), bound);
        let mut wrong = ours.data().to_vec();
        wrong[0] += 1e-3 * largest(saved.data());
        assert!(close(&tensor, &wrong, saved.data(), bound).is_err());
    }
}

/// The bound can fail: each known mistake is refused on every case it touches.
#[test]
fn mistakes_are_refused() {
    for name in FLOAT64_CASES {
        let (case, file) = open(name);
        for (tensor, ours) in gradients::<f64>(&case, &Form::Fft) {
            let saved = saved(&file, &tensor, ours.shape());
            let bound = FLOAT64_BOUND * largest(saved.data());
            let refused = |what: &str, wrong: Vec<f64>| {
                let what = format!("{name}, {tensor}: {what}");
                assert!(close(&what, &wrong, saved.data(), bound).is_err(), "{what}");
            };
            let data = ours.data();
            refused("off by a factor 1 + 1e-10", {
                data.iter().map(|x| x * (1.0 + 1e-10)).collect()
            });
            refused("half", data.iter().map(|x| 0.5 * x).collect());
            if ["grad.kernel.kernel.B", "grad.kernel.kernel.C"].contains(&tensor.as_str()) {
                let flip = |(i, x): (usize, &f64)| if i % 2 == 1 { -x } else { *x };
                refused("conjugated", data.iter().enumerate().map(flip).collect());
            }
            if tensor == "grad.kernel.kernel.A_imag" {
                refused("conjugated", data.iter().map(|x| -x).collect());
            }
        }
    }
}

/// Certified: run on balls, every gradient of every float64 case comes out with its correctly
/// rounded value, and f64 and the official autograd are within their bounds of that.
///
/// A ball's error is about `2^-100` per operation; what it may have grown to is checked, not
/// assumed. The largest case, of heads of 8 channels, takes longer than all others: with `HIPPOS_EXHAUSTIVE` set.
#[test]
fn balls_certify_the_gradients() {
    for name in FLOAT64_CASES {
        if name == "layer-v3-hd8-L90" && !is_exhaustive() {
            continue;
        }
        let (case, file) = open(name);
        let len = case.input().shape()[1];
        let form = Form::FlashConv(Chunking::Uniform(len.div_ceil(3)));
        let certified = gradients::<Ball>(&case, &form);
        let plain = gradients::<f64>(&case, &form);
        for ((tensor, balls), (_, plain)) in certified.into_iter().zip(plain) {
            let saved = saved(&file, &tensor, balls.shape());
            let scale = largest(saved.data());
            let mut rounded = 0;
            for (i, &ball) in balls.data().iter().enumerate() {
                let what = format!("{name}, {tensor}[{i}]");
                assert!(ball.radius() <= 1e-24 * scale, "{what}: {ball:?}");
                let off = |x: f64| (ball - Ball::from_f64(x)).upper_magnitude();
                assert!(off(plain.data()[i]) <= 1e-12 * scale, "{what}: f64");
                assert!(
                    off(saved.data()[i]) <= FLOAT64_BOUND * scale,
                    "{what}: official"
                );
                // A mode with a real pole and real B and C has imaginary parts whose gradient is
                // exactly zero: that, no ball of positive radius can round. A ball that excludes
                // zero holds the midpoint of two floats with chance 1e-8.
                let certified = ball.rounded().is_some();
                assert!(certified || ball.contains_zero(), "{what}: {ball:?}");
                rounded += usize::from(certified);
            }
            assert!(
                2 * rounded > balls.data().len(),
                "{name}, {tensor}: {rounded} certified"
            );
        }
    }
}
