//! Claim: sampling keeps the tokens it says it keeps, with the probabilities it says.

use hungry_hippos::algebra::Rng;
use hungry_hippos::model::Sampling;

/// Probabilities 1/2, 1/4, 1/8, 1/8 of tokens 2, 0, 1, 3.
fn logits() -> [f64; 4] {
    [0.25f64.ln(), 0.125f64.ln(), 0.5f64.ln(), 0.125f64.ln()]
}

fn frequencies(temperature: f64, top_k: Option<usize>, top_p: Option<f64>) -> [f64; 4] {
    let sampling = Sampling::Random {
        temperature,
        top_k,
        top_p,
    };
    let (mut rng, mut counts) = (Rng::new(5), [0.0; 4]);
    for _ in 0..40_000 {
        counts[sampling.choose(&logits(), &mut rng).expect("finite")] += 1.0 / 40_000.0;
    }
    counts
}

#[test]
fn frequencies_are_the_probabilities() {
    // Four standard deviations of 40000 draws are 0.01.
    for (temperature, top_k, top_p, expected) in [
        (1.0, None, None, [0.25, 0.125, 0.5, 0.125]),
        (1.0, Some(2), None, [1.0 / 3.0, 0.0, 2.0 / 3.0, 0.0]),
        (1.0, None, Some(0.5), [0.0, 0.0, 1.0, 0.0]),
        (1.0, None, Some(0.6), [1.0 / 3.0, 0.0, 2.0 / 3.0, 0.0]),
        (
            1.0,
            Some(3),
            Some(1.0),
            [2.0 / 7.0, 1.0 / 7.0, 4.0 / 7.0, 0.0],
        ),
        (0.5, Some(2), None, [0.2, 0.0, 0.8, 0.0]),
    ] {
        let got = frequencies(temperature, top_k, top_p);
        for (id, (got, expected)) in got.iter().zip(expected).enumerate() {
            let what = format!("token {id} at {temperature}, {top_k:?}, {top_p:?}");
            assert!((got - expected).abs() < 0.01, "{what}: {got} of {expected}");
            assert!(expected > 0.0 || *got <= 0.0, "{what}: never");
        }
    }
}

#[test]
fn greedy_takes_the_first_of_equal_logits_and_refuses_what_is_no_number() {
    let mut rng = Rng::new(0);
    assert_eq!(Sampling::Greedy.choose(&[1.0, 2.0, 2.0], &mut rng), Ok(1));
    for bad in [f64::NAN, f64::INFINITY] {
        let error = Sampling::Greedy.choose(&[1.0, bad], &mut rng);
        assert!(error.expect_err("refused").to_string().contains("token 1"));
    }
    assert!(Sampling::Greedy.choose(&[], &mut rng).is_err());
}
