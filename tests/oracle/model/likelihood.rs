//! Claim: the perplexity is that of the probabilities, every token but the first of each sequence foretold
//! by what comes before it in the same sequence.

use hungry_hippos::Tensor;
use hungry_hippos::model::{Perplexity, Text, perplexity};
use hungry_hippos::ssm::{Documents, Padding};

/// Logits of these probabilities: any constant may be added, one that would overflow as a power too.
fn logarithms(probabilities: &[f64]) -> Vec<f64> {
    probabilities.iter().map(|p| p.ln() + 1024.0).collect()
}

fn rows(ids: &[usize], len: usize) -> Tensor<usize> {
    Tensor::new([ids.len() / len, len], ids.to_vec()).expect("fits")
}

fn text(ids: &[usize], len: usize) -> Text {
    Text::new(rows(ids, len)).expect("tokens")
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
    let found = perplexity(&logits, &text(&ids, 3)).expect("to foretell");
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
        (&logits[..17], &ids, 3, "for each of 6 tokens"),
        (&[], &ids, 3, "for each of 6 tokens"),
        (&logits, &[2, 1, 3, 1, 0, 2], 3, "3 has no logit"),
    ] {
        let said = perplexity(logits, &text(ids, seq_len)).expect_err(fragment);
        assert!(said.to_string().contains(fragment), "{fragment}: {said}");
    }
    assert!(perplexity(&logits[..6], &text(&ids[..2], 2)).is_ok());
    logits[4] = f64::INFINITY;
    let said = perplexity(&logits, &text(&ids, 3)).expect_err("no probability");
    assert!(said.to_string().contains("token 1 has inf"), "{said}");
    // What is not finite where nothing is foretold changes nothing.
    let (mut logits, ids) = two();
    logits[8] = f64::NAN;
    assert!(perplexity(&logits, &text(&ids, 3)).is_ok());
}

/// The first token of a document is foretold by nothing, least of all by the document before it; padding
/// is neither counted nor read.
#[test]
fn of_documents() {
    let (mut logits, ids) = two();
    let of = |logits: &[f64], rows: Tensor<usize>, documents: Documents| {
        let text = Text::of_documents(rows, documents).expect("tokens");
        perplexity(logits, &text).expect("to foretell")
    };
    let packed = Documents::packed(6, &[0, 1, 4, 6]).expect("fits");
    let found = of(&logits, rows(&ids, 6), packed);
    // 0 after 1, 1 after 0; 2 after 0. Not 1 after 2, nor 0 after 1 across a boundary.
    let product: f64 = 0.125 * 0.001 * 0.375;
    assert_eq!(found.tokens, 3);
    assert!((found.negative_log_likelihood + product.ln()).abs() < 1e-12);
    let whole = perplexity(&logits, &text(&ids, 6)).expect("to foretell");
    assert_eq!(whole.tokens, 5);
    assert!((whole.value() - found.value()).abs() > 1.0);

    // Without the first token of the one row, and the last of the other.
    for (padding, product, tokens) in [
        (Padding::Left, 0.125 * 0.25 * 0.375, 3),
        (Padding::Right, 0.25 * 0.25 * 0.375, 3),
    ] {
        let documents = Documents::padded(3, &[2, 3], padding).expect("fits");
        let mut ids = ids.clone();
        let at = if padding == Padding::Left { 0 } else { 2 };
        ids[at] = 1 << 40;
        logits[3 * at] = f64::NAN;
        let found = of(&logits, rows(&ids, 3), documents);
        assert_eq!(found.tokens, tokens);
        assert!((found.negative_log_likelihood + f64::ln(product)).abs() < 1e-12);
        logits = two().0;
    }
    let ones = Documents::padded(3, &[1, 1], Padding::Right).expect("fits");
    let text = Text::of_documents(rows(&ids, 3), ones).expect("tokens");
    let said = perplexity(&logits, &text).expect_err("nothing to foretell");
    assert!(
        said.to_string().contains("1 tokens in the longest"),
        "{said}"
    );
}
