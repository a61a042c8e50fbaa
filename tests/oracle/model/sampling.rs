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

#[test]
fn parameters_that_mean_nothing() {
    let check = |temperature: f64, top_k: Option<usize>, top_p: Option<f64>| {
        let sampling = Sampling::Random {
            temperature,
            top_k,
            top_p,
        };
        let chosen = sampling.choose(&[1.0, 2.0], &mut Rng::new(0)).map(|_| ());
        assert_eq!(chosen, sampling.check());
        sampling.check().map_err(|error| error.to_string())
    };
    for (temperature, top_k, top_p) in [
        (1e-300, None, None),
        (1e300, Some(1), Some(1.0)),
        (1.0, Some(3), Some(1e-300)),
    ] {
        assert_eq!(check(temperature, top_k, top_p), Ok(()));
    }
    for (temperature, top_k, top_p, name) in [
        (0.0, None, None, "temperature"),
        (-1.0, None, None, "temperature"),
        (f64::NAN, None, None, "temperature"),
        (f64::INFINITY, None, None, "temperature"),
        (1.0, Some(0), None, "top-k"),
        (1.0, None, Some(0.0), "top-p"),
        (1.0, None, Some(-0.5), "top-p"),
        (1.0, None, Some(1.0 + f64::EPSILON), "top-p"),
        (1.0, None, Some(f64::NAN), "top-p"),
    ] {
        let said = check(temperature, top_k, top_p).expect_err(name);
        assert!(said.contains(name), "{name}: {said}");
    }
    assert_eq!(Sampling::Greedy.check(), Ok(()));
}

/// Probabilities are of differences of logits, which themselves may be of any size.
#[test]
fn large_logits() {
    let sampling = Sampling::Random {
        temperature: 0.25,
        top_k: None,
        top_p: Some(1.0),
    };
    let mut rng = Rng::new(7);
    let mut seen = [0; 2];
    for _ in 0..1000 {
        seen[sampling
            .choose(&[-1000.25, -1000.0], &mut rng)
            .expect("finite")] += 1;
        seen[sampling
            .choose(&[1000.0, 1000.25], &mut rng)
            .expect("finite")] += 1;
    }
    // 1 to e; six deviations of 20 of 2000.
    let expected = 2000.0 / (1.0 + core::f64::consts::E);
    assert!((f64::from(seen[0]) - expected).abs() < 120.0, "{seen:?}");
}

/// Of equal logits the first tokens are kept; every token that is kept can be drawn, the last one too.
#[test]
fn equal_logits_and_the_ends() {
    let sampling = |top_k| Sampling::Random {
        temperature: 0.5,
        top_k: Some(top_k),
        top_p: None,
    };
    let mut rng = Rng::new(3);
    let mut seen = [0; 4];
    for _ in 0..300 {
        seen[sampling(2)
            .choose(&[0.0, 7.0, 7.0, 7.0], &mut rng)
            .expect("finite")] += 1;
    }
    // Each is drawn 150 times, give or take six deviations of 8.7.
    assert_eq!((seen[0], seen[3]), (0, 0));
    assert!(seen[1] > 97 && seen[2] > 97, "{seen:?}");
    assert_eq!(sampling(1).choose(&[0.0, 7.0, 7.0], &mut rng), Ok(1));
    assert_eq!(sampling(9).choose(&[-3.0], &mut rng), Ok(0));
}
