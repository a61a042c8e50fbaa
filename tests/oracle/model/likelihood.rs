//! Claim: the perplexity is that of the probabilities, every token but the first of each sequence foretold
//! by what comes before it in the same sequence.

use hungry_hippos::model::{Perplexity, perplexity};

/// Logits of these probabilities: any constant may be added, one that would overflow as a power too.
fn logarithms(probabilities: &[f64]) -> Vec<f64> {
    probabilities.iter().map(|p| p.ln() + 1024.0).collect()
}

/// Two sequences of three tokens of three words.
fn two() -> (Vec<f64>, Vec<usize>) {
    let rows = [
        [0.5, 0.25, 0.25],
        [0.125, 0.75, 0.125],
        // After the last token there is nothing to foretell.
        [0.001, 0.001, 0.998],
        [0.25, 0.5, 0.25],
        [0.5, 0.125, 0.375],
        [0.998, 0.001, 0.001],
    ];
    let logits = rows.iter().flat_map(|row| logarithms(row)).collect();
    (logits, vec![2, 1, 0, 1, 0, 2])
}

#[test]
fn of_sequences() {
    let (logits, ids) = two();
    let found = perplexity(&logits, &ids, 3).expect("to foretell");
    assert_eq!(found.tokens, 4);
    // 1 after 2, 0 after 1; 0 after 1, 2 after 0.
    let product: f64 = 0.25 * 0.125 * 0.25 * 0.375;
    assert!((found.negative_log_likelihood + product.ln()).abs() < 1e-12);
    assert!((found.value() - product.powf(-0.25)).abs() < 1e-12);
    assert_eq!(Perplexity::default().value(), 1.0);
    let mut counted = Perplexity::default();
    for (row, id) in [(0, 1), (1, 0), (3, 0), (4, 2)] {
        counted.count(&logits[3 * row..][..3], id).expect("there");
    }
    assert_eq!(counted, found);
}

#[test]
fn what_cannot_be_foretold() {
    let (mut logits, ids) = two();
    for (logits, ids, seq_len, fragment) in [
        (&logits[..], &ids[..], 1, "expected at least 2"),
        (&logits, &ids, 4, "for each of 6 tokens"),
        (&logits[..17], &ids, 3, "for each of 6 tokens"),
        (&[], &ids, 3, "for each of 6 tokens"),
        (&logits, &[], 2, "for each of 0 tokens"),
        (&logits, &[2, 1, 3, 1, 0, 2], 3, "3 has no logit"),
    ] {
        let said = perplexity(logits, ids, seq_len).expect_err(fragment);
        assert!(said.to_string().contains(fragment), "{fragment}: {said}");
    }
    assert!(perplexity(&logits[..6], &ids[..2], 2).is_ok());
    logits[4] = f64::INFINITY;
    let said = perplexity(&logits, &ids, 3).expect_err("no probability");
    assert!(said.to_string().contains("token 1 has inf"), "{said}");
    // What is not finite where nothing is foretold changes nothing.
    let (mut logits, ids) = two();
    logits[8] = f64::NAN;
    assert!(perplexity(&logits, &ids, 3).is_ok());
}
