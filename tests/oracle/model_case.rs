//! What a model as a subject says of itself: its scales' digits and its cost.

use hungry_hippos::Tensor;
use hungry_hippos::model::{ModelParameters, ModelPreset, exact_gelu, gelu};
use hungry_hippos::oracle::{Case, ModelCase, Rerun, up_to_8_bits};

/// What the mistake of the other activation changes.
#[test]
fn the_two_gelus_differ_by_less_than_half_a_thousandth() {
    let apart = |i: i32| {
        let x = f64::from(i) / 100.0;
        (exact_gelu(x) - gelu(x)).abs()
    };
    let largest = (-1000..=1000).map(apart).fold(0.0, f64::max);
    assert!((4.5e-4..5e-4).contains(&largest), "{largest}");
}

#[test]
fn scales_are_rounded_up_to_eight_bits() {
    let unit = 2f64.powi(-7);
    for (x, expected) in [
        (0.0, 0.0),
        (1.0, 1.0),
        (1.0 + unit, 1.0 + unit),
        (1.0 + 0.5 * unit, 1.0 + unit),
        (1.0 + 2f64.powi(-50), 1.0 + unit),
        (1.0 + 1.25 * unit, 1.0 + 2.0 * unit),
        (2.0 - 2f64.powi(-20), 2.0),
        (1e300, f64::INFINITY),
    ] {
        assert_eq!(up_to_8_bits(x), expected, "{x}");
    }
}

/// A model of 20 pairs of channels in every layer, with attention in some of its blocks.
fn model(n_layer: usize, attention: &[usize], batch: usize, len: usize) -> ModelCase {
    let mut config = ModelPreset::Tiny.config();
    (config.n_layer, config.attn_layer_idx) = (n_layer, attention.to_vec());
    (config.h3.d_model, config.h3.head_dim, config.h3.n_ssm) = (10, 2, 1);
    (config.d_inner, config.vocab_size, config.num_heads) = (1, 1, 1);
    let parameters = ModelParameters::new(config.clone(), |name| {
        Ok(vec![0.5; name.shape(&config).iter().product()])
    });
    let ids = Tensor::new([batch, len], vec![0; batch * len]).expect("fits");
    ModelCase::new(parameters.expect("a model"), ids).expect("tokens")
}

/// A direct convolution takes a product for every pair of tokens and of channels in every layer
/// with models; a projection one for every token and pair of its channels.
#[test]
fn the_cost_of_a_model_is_counted() {
    for (n_layer, attention, batch, len) in [
        (1, &[][..], 1, 1000),
        (4, &[], 1, 500),
        (5, &[0], 2, 500),
        (1, &[0], 1, 9),
    ] {
        let convolutions = (n_layer - attention.len()) * 20 * len * len;
        let (projections, mlp) = (8 * 10 * 10, 2 * 10);
        let each_token = n_layer * (projections + mlp);
        let expected = batch * (convolutions + each_token * len);
        assert_eq!(
            Rerun(&Case::from(model(n_layer, attention, batch, len))).cost(len),
            expected
        );
    }
}
