//! Pieces of a model: vectors under names, the two activations.

use hungry_hippos::model::{ModelName, Named, exact_gelu, gelu};

#[test]
fn vectors_are_found_by_name() {
    let names = [
        ModelName::NormBias,
        ModelName::Embeddings,
        ModelName::Positions,
    ];
    let mut named = Named::new();
    named.extend(names.map(|name| (name, vec![name.official().len()])));
    named.insert(names[2], vec![7]);
    for (name, length) in names.into_iter().zip([18, 42, 7]) {
        assert_eq!(named.get(name), Some(&vec![length]));
    }
    assert_eq!(named.get(ModelName::NormWeight), None);
    let twice = named.map(&mut |x| 2 * x);
    assert_eq!(twice.get(names[2]), Some(&vec![14]));
    assert_eq!(named.remove(names[1]), Some(vec![42]));
    assert_eq!(named.get(names[1]), None);
    assert_eq!(named.remove(names[1]), None);
    *named.get_mut(names[0]).expect("there") = vec![];
    let mut left = Named::new();
    left.extend([(names[2], vec![7]), (names[0], vec![])]);
    assert_eq!(named, left);
}

#[test]
fn the_exact_gelu_has_its_known_values() {
    for (x, expected) in [
        (1.0, 0.841_344_746_068_542_9),
        (-3.0, -0.004_049_694_094_890_284),
        (0.0, 0.0),
    ] {
        let off: f64 = exact_gelu(x) - expected;
        assert!(off.abs() < 4e-16, "{x}: {off:e}");
        assert!(
            (gelu(x) - expected).abs() > 1e-5 || x == 0.0,
            "the other one"
        );
    }
}
