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
