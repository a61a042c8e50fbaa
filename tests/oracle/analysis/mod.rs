//! The rounding error analyses of models and of the layer by other means.

mod gradient_scales;
mod layer;
mod parts;
mod scales;

use hungry_hippos::Tensor;
use hungry_hippos::algebra::{ErrorBound, Rng};
use hungry_hippos::h3::{self, HeadOrder, Name, RealType};
use hungry_hippos::model::{BlockName, ModelConfig, ModelName, ModelParameters, SsmMixer, Text};
use hungry_hippos::ssm::Discretization;

fn assert_bound(what: &str, got: ErrorBound, expected: ErrorBound, relative: f64) {
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

/// A small hybrid whose tokens deviate by some `size`, and two sequences. (Of two channels, LayerNorm would leave
/// hardly more than a sign.)
fn model(size: f64) -> (ModelParameters<f64>, Tensor<usize>) {
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

fn text(ids: &Tensor<usize>) -> Text {
    Text::new(ids.clone()).expect("tokens")
}
