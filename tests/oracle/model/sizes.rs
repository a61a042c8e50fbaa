//! What a configuration says of a model, counted by hand; and sizes that no model has.

use super::support::{config, parameters, with_heads_of};
use hungry_hippos::Tensor;
use hungry_hippos::h3::{Form, HeadOrder, RealType};
use hungry_hippos::model::{
    ModelConfig, ModelParameters, ModelPreset, ModelStream, operations_per_token,
};
use hungry_hippos::ssm::Discretization;

/// Three blocks, attention of 2 heads in the second; 6 channels, 4 numbers of state, 7 hidden
/// channels, 9 words.
fn hybrid() -> ModelConfig {
    with_heads_of(2, config(3, &[1], 2, 6))
}

#[test]
fn numbers_of_parameters() {
    // A block's two LayerNorms and its MLP.
    let every = 2 * (6 + 6) + (7 * 6 + 7) + (6 * 7 + 6);
    let attention = (18 * 6 + 18) + (6 * 6 + 6);
    // Four projections; B, C and D of the shift models; of the diagonal ones log dt and D of 3 heads, and
    // 2 modes of each: B, C, and the two parts of the poles.
    let h3 = 4 * (6 * 6 + 6) + (6 * 4 + 6 * 4 + 6) + (3 + 3) + 3 * 2 * (2 + 2 + 1 + 1);
    let around = 9 * 6 + 6 + 6;
    let mut config = hybrid();
    let expected = around + 3 * every + attention + 2 * h3;
    assert_eq!(config.parameter_count(), expected);
    config.max_position_embeddings = 5;
    assert_eq!(config.parameter_count(), expected + 5 * 6);
    let built = parameters(&config);
    let lengths = config.names().into_iter().map(|name| built.get(name).len());
    assert_eq!(lengths.sum::<usize>(), expected + 5 * 6);
}

#[test]
fn multiplications_of_a_token() {
    let at = |position| operations_per_token(&hybrid(), position);
    // Four projections and the two of the MLP in every block; the head.
    let weights = 3 * (4 * 36 + 2 * 6 * 7) + 6 * 9;
    // In each of 6 channels 4 for B u, 4 for C x and D; for each of 12 products of key and value the
    // product, 2 modes of 8, D and the gate.
    let models = 2 * (6 * (4 + 4 + 1) + 12 * (1 + 2 * 8 + 1 + 1));
    assert_eq!((at(0).weights, at(5).weights), (weights, weights));
    assert_eq!((at(0).models, at(5).models), (models, models));
    // Scores and weighted sums of 6 channels, with each token there is.
    assert_eq!((at(0).context, at(5).context), (12, 6 * 12));
    assert_eq!(at(5).total(), weights + models + 6 * 12);
}

/// The published sizes.
#[test]
fn presets() {
    for (name, blocks, d, attention, heads, vocab) in [
        ("tiny", 2, 32, &[1][..], 4, 64),
        ("125m", 12, 768, &[6], 12, 50264),
        ("355m", 24, 1024, &[8, 16], 16, 50264),
    ] {
        let config = name.parse::<ModelPreset>().expect("a preset").config();
        assert_eq!((config.n_layer, config.d_model()), (blocks, d), "{name}");
        assert_eq!(config.attn_layer_idx, attention, "{name}");
        assert_eq!((config.num_heads, config.vocab_size), (heads, vocab));
        assert_eq!(config.d_inner, 4 * d, "{name}");
        assert_eq!(config.attention_head_dim(), d / heads, "{name}");
        assert_eq!(config.max_position_embeddings, 0, "{name}");
        assert_eq!(config.layer_norm_epsilon, 1e-5, "{name}");
        let h3 = &config.h3;
        assert_eq!((h3.head_dim, h3.n_ssm, h3.l_max), (1, d, None), "{name}");
        assert_eq!(h3.d_state, if name == "tiny" { 8 } else { 64 });
        assert_eq!(h3.disc, Discretization::Bilinear);
        assert_eq!(h3.real_type, RealType::Exp);
        assert_eq!(h3.head_order, HeadOrder::D2H);
    }
    let said = "125M".parse::<ModelPreset>().expect_err("another name");
    assert!(
        said.to_string()
            .contains("expected one of tiny, 125m, 355m")
    );
}

/// What making a model of this configuration says, or nothing.
fn said(change: impl Fn(&mut ModelConfig)) -> Option<String> {
    let mut config = hybrid();
    change(&mut config);
    let values = ModelParameters::new(config.clone(), |name| {
        Ok(vec![0.0; name.shape(&config).iter().product()])
    });
    values.err().map(|error| error.to_string())
}

#[test]
fn sizes_that_no_model_has() {
    type Change = fn(&mut ModelConfig);
    let refused: [(Change, &str); 14] = [
        (|c| c.n_layer = 0, "n_layer"),
        (|c| c.d_inner = 0, "d_inner"),
        (|c| c.vocab_size = 0, "vocab_size"),
        (|c| c.h3.d_state = 0, "d_state"),
        (|c| c.layer_norm_epsilon = -1e-9, "layer_norm_epsilon"),
        (|c| c.layer_norm_epsilon = f64::NAN, "layer_norm_epsilon"),
        (
            |c| c.layer_norm_epsilon = f64::INFINITY,
            "layer_norm_epsilon",
        ),
        (
            |c| c.attn_layer_idx = vec![3],
            "3, but the blocks are 0 to 2",
        ),
        (
            |c| c.attn_layer_idx = vec![7],
            "7, but the blocks are 0 to 2",
        ),
        (
            |c| c.attn_layer_idx = vec![1, 1],
            "each block once, ascending",
        ),
        (
            |c| c.attn_layer_idx = vec![2, 1],
            "each block once, ascending",
        ),
        (|c| c.num_heads = 0, "0 does not divide d_model = 6"),
        (|c| c.num_heads = 4, "4 does not divide d_model = 6"),
        (|c| c.num_heads = 12, "12 does not divide d_model = 6"),
    ];
    for (change, fragment) in refused {
        let said = said(change).unwrap_or_else(|| panic!("{fragment}: a model"));
        assert!(said.contains(fragment), "{fragment:?} not in {said}");
    }
    let read: [Change; 5] = [
        |_| {},
        |c| c.layer_norm_epsilon = 0.0,
        |c| c.attn_layer_idx = vec![0, 2],
        |c| (c.attn_layer_idx, c.num_heads) = (Vec::new(), 4),
        |c| (c.attn_layer_idx, c.num_heads) = (Vec::new(), 0),
    ];
    for change in read {
        assert_eq!(said(change), None);
    }
    assert_eq!(config(1, &[], 0, 6).attention_head_dim(), 0);
    let mut short = hybrid();
    short.n_layer = 1;
    short.attn_layer_idx.clear();
    let short = ModelParameters::new(short, |_| Ok(vec![0.0; 7]));
    let said = short.expect_err("of wrong lengths").to_string();
    assert!(said.contains("word_embeddings"), "{said}");
}

/// The last word and the last position there is are taken, those behind them are not; also a token
/// at a time.
#[test]
fn tokens_beyond_the_tables() {
    let mut config = hybrid();
    config.max_position_embeddings = 4;
    let model = parameters(&config).build::<f64>().expect("a model");
    let run = |ids: Vec<usize>| {
        let ids = Tensor::new([1, ids.len()], ids).expect("fits");
        let stages = model.forward(&Form::Recurrence, &ids);
        stages
            .map(|stages| stages.logits)
            .map_err(|e| e.to_string())
    };
    let whole = run(vec![8, 0, 1, 8]).expect("taken");
    let said = run(vec![8, 0, 9]).expect_err("no such word");
    assert!(
        said.contains("element 2 is 9, outside the vocabulary of 9"),
        "{said}"
    );
    let said = run(vec![0; 5]).expect_err("no such position");
    assert!(
        said.contains("5 tokens, but the model has learned positions for 4"),
        "{said}"
    );
    let mut stream = ModelStream::new(&model, 1);
    for (i, id) in [8, 0, 1, 8].into_iter().enumerate() {
        assert_eq!(stream.positions(), [i]);
        let logits = stream.step(&[id]).expect("taken").logits.into_data();
        for (x, y) in logits.iter().zip(&whole.data()[i * 9..]) {
            assert!((x - y).abs() < 1e-12, "token {i}");
        }
    }
    let said = stream.step(&[0]).expect_err("no such position").to_string();
    assert!(said.contains("learned positions for 4"), "{said}");
    assert_eq!(stream.positions(), [4], "as it was");
}
