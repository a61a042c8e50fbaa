//! Claim: older checkpoints' names and order of LayerNorms are read as the official loader reads them.

use hungry_hippos::model::StoredNames;

#[test]
fn the_older_order_moves_every_norm_one_place() {
    let mut names = vec![
        "model.s4seq.encoder.norm.weight".to_string(),
        "model.s4seq.encoder.norm.bias".to_string(),
        "model.embedding.weight".to_string(),
        "input_ids".to_string(),
    ];
    for block in 0..2 {
        for part in ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"] {
            names.push(format!("model.s4seq.encoder.layers.{block}.{part}"));
        }
    }
    let stored = StoredNames::new(names.iter().map(String::as_str)).expect("consistent");
    assert!(stored.is_older());
    for (official, older) in [
        ("layers.0.norm1", "norm"),
        ("layers.0.norm2", "layers.0.norm1"),
        ("layers.1.norm1", "layers.0.norm2"),
        ("layers.1.norm2", "layers.1.norm1"),
        ("ln_f", "layers.1.norm2"),
    ] {
        for part in ["weight", "bias"] {
            let got = stored.get(&format!("backbone.{official}.{part}"));
            let expected = format!("model.s4seq.encoder.{older}.{part}");
            assert_eq!(got, Some(&*expected), "{official}.{part}");
        }
    }
    let embedding = stored.get("backbone.embeddings.word_embeddings.weight");
    assert_eq!(embedding, Some("model.embedding.weight"));
    assert_eq!(stored.get("backbone.ln_0.weight"), None);
    assert_eq!(stored.official().count(), 11, "nothing else is a parameter");
    // A norm of the older order that is missing is named.
    names.retain(|name| !name.ends_with("layers.1.norm1.bias"));
    let error = StoredNames::new(names.iter().map(String::as_str)).expect_err("one is missing");
    assert!(
        error.to_string().contains("backbone.layers.1.norm1.bias"),
        "{error}"
    );
}

/// What is no parameter is passed over; one that is there twice, under two names, is refused.
#[test]
fn one_name_for_every_parameter() {
    let names = |names: &[&'static str]| StoredNames::new(names.iter().copied());
    let stored = names(&[
        "lm_head.weight",
        "model.backbone.ln_f.bias",
        "logits",
        "backbones.x",
    ]);
    let stored = stored.expect("consistent");
    let official: Vec<_> = stored.official().collect();
    assert_eq!(official, ["backbone.ln_f.bias", "lm_head.weight"]);
    assert!(!stored.is_older());
    assert_eq!(
        stored.get("backbone.ln_f.bias"),
        Some("model.backbone.ln_f.bias")
    );
    assert_eq!(stored.stored("lm_head.weight"), Ok("lm_head.weight"));
    let said = stored.stored("backbone.ln_f.weight").expect_err("missing");
    assert!(said.to_string().contains("backbone.ln_f.weight"), "{said}");
    let twice = names(&["backbone.ln_f.bias", "model.s4seq.encoder.ln_f.bias"]);
    let said = twice.expect_err("twice").to_string();
    let both = "\"model.s4seq.encoder.ln_f.bias\": is backbone.ln_f.bias, and so is \"backbone.ln_f.bias\"";
    assert!(said.contains(both), "{said}");
}

/// Blocks are counted up to the last one named, numbers from 65536 being no blocks.
#[test]
fn numbers_that_are_blocks() {
    let of = |block: &str| {
        let names = [
            "backbone.norm.weight".to_string(),
            "backbone.norm.bias".to_string(),
            format!("backbone.layers.{block}.mixer.D"),
        ];
        let stored = StoredNames::new(names.iter().map(String::as_str));
        stored.map_err(|error| error.to_string())
    };
    for block in ["0", "65535"] {
        let said = of(block).expect_err("a block without LayerNorms");
        assert!(said.contains("backbone.layers.0.norm1.weight"), "{said}");
    }
    for none in ["65536", "-1", "x", "99999999999999999999999"] {
        let stored = of(none).expect("no block, and so no LayerNorms of one");
        assert_eq!(stored.get("backbone.ln_f.bias"), Some("backbone.norm.bias"));
    }
}
