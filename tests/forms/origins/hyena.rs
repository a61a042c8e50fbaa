//! Claim: the Hyena operator is the official one's: positional features, window, implicit filter,
//! short filters, order of gates and filters.

use super::official::{file, numbers};
use crate::common::{assert_close, close};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Linear, Matrix};
use hungry_hippos::attention::hyena::{
    DecayWindow, Filter, HyenaLayer, ImplicitFilter, ShortFilter, positional_features,
};
use hungry_hippos::fourier::convolution::via_real_fft;

fn matrix(name: &str) -> Matrix<f64> {
    let view = file().tensor(name).expect("a tensor of the file");
    let [.., rows, cols] = view.shape else {
        panic!("{name} is no matrix");
    };
    Matrix::new(*rows, *cols, numbers(name)).expect("fits")
}

fn linear(name: &str) -> Linear<f64> {
    let bias = numbers(&format!("{name}.bias"));
    Linear::new(matrix(&format!("{name}.weight")), bias).expect("fits")
}

fn implicit(operator: &str) -> ImplicitFilter<f64> {
    let of = |part: &str| format!("{operator}.filter_fn.{part}");
    ImplicitFilter {
        features: matrix(&of("pos_emb.z")),
        layers: [0, 2, 4]
            .map(|i| linear(&of(&format!("implicit_filter.{i}"))))
            .to_vec(),
        frequency: numbers(&of("implicit_filter.1.freq")),
        output: matrix(&of("implicit_filter.6.weight")),
        window: DecayWindow {
            decay: numbers(&of("modulation.deltas")),
            shift: 0.0,
        },
        feedthrough: numbers(&of("bias")),
    }
}

/// (length, channels), as the official code lays filters out.
fn laid_out(filters: &[Filter<f64>], len: usize) -> Vec<f64> {
    (0..len)
        .flat_map(|i| filters.iter().map(move |f| f.kernel[i]))
        .collect()
}

#[test]
fn filters_are_the_official_ones() {
    for (operator, channels) in [("hyena2", 2), ("hyena3", 4)] {
        let of = |part: &str| numbers(&format!("{operator}.filter_fn.{part}"));
        // What the official code begins with.
        let features = positional_features::<f64>(12, 5).expect("odd");
        assert_close("features", features.entries(), &of("pos_emb.z"), 1e-14);
        let window = DecayWindow::<f64>::official(channels).expect("floats");
        assert_close("decays", &window.decay, &of("modulation.deltas"), 1e-13);
        // One frequency serves all layers.
        assert_eq!(of("implicit_filter.1.freq"), of("implicit_filter.5.freq"));

        let implicit = implicit(operator);
        for (len, name) in [(12, "filter"), (9, "filter9")] {
            let official = numbers(&format!("{operator}.{name}"));
            let filters = implicit.filters(len).expect("fits");
            assert_close(name, &laid_out(&filters, len), &official, 1e-12);
            // Teeth: without the window; with cosines for sines; time over l_max.
            let mut wrong = implicit.clone();
            wrong.window.decay = vec![0.0; channels];
            let wrong = wrong.filters(len).expect("fits");
            assert!(close(name, &laid_out(&wrong, len), &official, 1e-3).is_err());
            let mut wrong = implicit.clone();
            wrong.features = Matrix::from_fn(12, 5, |i, c| {
                let sign = if c > 2 { -1.0 } else { 1.0 };
                sign * features.get(i, c).expect("inside")
            });
            let wrong = wrong.filters(len).expect("fits");
            assert!(close(name, &laid_out(&wrong, len), &official, 1e-3).is_err());
        }
        // A filter for 9 places is the beginning of that for 12, not a rescaled one.
        assert_eq!(
            laid_out(&implicit.filters(9).expect("fits"), 9),
            laid_out(&implicit.filters(12).expect("fits"), 12)[..9 * channels]
        );
        // The shift is what is left where the window has closed.
        let mut open = implicit.clone();
        open.window.shift = 0.5;
        let (open, closed) = (open.filters(12), implicit.filters(12));
        let (open, closed) = (open.expect("fits"), closed.expect("fits"));
        let window = (-implicit.window.decay[0].abs()).exp();
        let expected = closed[0].kernel[11] * (window + 0.5) / window;
        assert!((open[0].kernel[11] - expected).abs() < 1e-12 * expected.abs().max(1.0));
    }
}

fn operator(name: &str, gates_first: bool) -> HyenaLayer<f64> {
    let of = |part: &str| format!("{name}.{part}");
    let (weights, biases) = (
        numbers(&of("short_filter.weight")),
        numbers(&of("short_filter.bias")),
    );
    let short: Vec<_> = weights
        .chunks_exact(3)
        .zip(biases)
        .map(|(weight, bias)| ShortFilter::of_conv1d(weight, bias))
        .collect();
    let mut long = implicit(name).filters(12).expect("fits");
    let identity = vec![Filter::identity(); 2];
    if gates_first {
        long.splice(0..0, identity);
    } else {
        long.extend(identity);
    }
    HyenaLayer::new(linear(&of("in_proj")), short, long, linear(&of("out_proj"))).expect("fits")
}

#[test]
fn the_operator_is_the_official_one() {
    for name in ["hyena2", "hyena3"] {
        let input = numbers(&format!("{name}.input"));
        let u = Tensor::new([1, 12, 2], input).expect("fits");
        let official = numbers(&format!("{name}.output"));
        let y = operator(name, true).forward(&u).expect("fits");
        assert_close(name, y.data(), &official, 1e-12);
        let y = operator(name, true)
            .forward_with(&u, via_real_fft)
            .expect("fits");
        assert_close(name, y.data(), &official, 1e-12);
        // Teeth: filter, then gate, as the paper's text reads.
        let y = operator(name, false).forward(&u).expect("fits");
        assert!(close(name, y.data(), &official, 1e-3).is_err());
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let said = |filter: &ImplicitFilter<f64>, len: usize| {
        filter.filters(len).expect_err("wrong").to_string()
    };
    let right = implicit("hyena2");
    assert!(said(&right, 13).contains("l_max = 12"));
    let mut wrong = right.clone();
    wrong.frequency.pop();
    assert!(said(&wrong, 3).contains("frequencies"));
    let mut wrong = right.clone();
    wrong.window.decay.push(1.0);
    assert!(said(&wrong, 3).contains("decays"));
    let mut wrong = right.clone();
    wrong.feedthrough.pop();
    assert!(said(&wrong, 3).contains("feedthroughs"));
    let mut wrong = right.clone();
    wrong.layers.remove(0);
    assert!(said(&wrong, 3).contains("inputs of layer 0"));
    let mut wrong = right;
    wrong.layers.clear();
    assert!(said(&wrong, 3).contains("last layer"));
    for emb_dim in [0, 1, 2, 4] {
        let e = positional_features::<f64>(8, emb_dim).expect_err("no such");
        assert!(e.to_string().contains("odd"));
    }
    assert_eq!(
        positional_features::<f64>(1, 3).expect("odd").entries(),
        [0.0, 1.0, 0.0]
    );
}
