//! Claim: the state remembers. LegS's state is the orthogonal projection of the whole history,
//! exactly; what it forgets falls with m; time's scale does not matter; the windows of the others
//! are as long as said.

use crate::common::{assert_close, close};
use hungry_hippos::algebra::{Field, M61, Ring, Rng, Sample};
use hungry_hippos::ssm::hippo::{LegsHistory, Measure, legendre};
use hungry_hippos::ssm::recurrence;

fn remember<T: Field>(m: usize, u: &[T]) -> LegsHistory<T> {
    let mut history = LegsHistory::new(m);
    for &u in u {
        history.push(u).expect("a field of large characteristic");
    }
    history
}

/// `c_n = (1/N) sum_i u_i int over sample i`, evaluated directly from antiderivatives.
fn project(m: usize, u: &[M61]) -> Vec<M61> {
    let (n, half) = (
        M61::from_i64(u.len() as i64),
        M61::from_i64(2).inverse().expect("not 0"),
    );
    let antiderivatives = |i: usize| -> Vec<M61> {
        // x = 2 i/N - 1, dx = 2 ds.
        let x = M61::from_i64(2 * i as i64).divide(n).expect("not 0") - M61::ONE;
        let p = legendre(m + 1, x).expect("a field");
        (0..m)
            .map(|k| match k {
                0 => (x + M61::ONE) * half,
                _ => (p[k + 1] - p[k - 1])
                    .divide(M61::from_i64(2 * (2 * k as i64 + 1)))
                    .expect("not 0"),
            })
            .collect()
    };
    let ends: Vec<Vec<M61>> = (0..=u.len()).map(antiderivatives).collect();
    (0..m)
        .map(|k| {
            (0..u.len()).fold(M61::ZERO, |sum, i| {
                sum + u[i] * (ends[i + 1][k] - ends[i][k])
            })
        })
        .collect()
}

#[test]
fn the_state_is_the_projection_exactly() {
    let rng = &mut Rng::new(1);
    for (m, n) in [(1, 1), (4, 1), (4, 9), (9, 4), (12, 40)] {
        let u: Vec<M61> = (0..n).map(|_| M61::sample(rng)).collect();
        assert_eq!(
            remember(m, &u).coefficients(),
            project(m, &u),
            "m = {m}, N = {n}"
        );
    }
}

/// Every sample twice: the same state, with `==`. A window of fixed length has no such property.
#[test]
fn the_scale_of_time_does_not_matter() {
    let rng = &mut Rng::new(2);
    let u: Vec<M61> = (0..15).map(|_| M61::sample(rng)).collect();
    for slower in [2, 3] {
        let slow: Vec<M61> = u.iter().flat_map(|&u| vec![u; slower]).collect();
        assert_eq!(
            remember(7, &slow).coefficients(),
            remember(7, &u).coefficients()
        );
        let window = |u: &[f64]| {
            let model = Measure::LegT.memory(7, 0.1, 0.5).expect("a model");
            recurrence(&model, u, None).expect("fits").state
        };
        let floats: Vec<f64> = (0..15).map(|i| (0.3 * f64::from(i)).sin()).collect();
        let slow: Vec<f64> = floats.iter().flat_map(|&u| vec![u; slower]).collect();
        assert!(close("window", &window(&slow), &window(&floats), 1e-3).is_err());
    }
}

/// The root mean square error of the whole history from m numbers.
fn forgotten(m: usize, u: &[f64]) -> f64 {
    let history = remember(m, u);
    let n = u.len() as f64;
    let squares = u.iter().enumerate().map(|(i, &u)| {
        let recalled = history.reconstruct((i as f64 + 0.5) / n);
        (recalled.expect("a field") - u).powi(2)
    });
    (squares.sum::<f64>() / n).sqrt()
}

/// 400 samples of a smooth signal: each doubling of m forgets far less, down to what holding
/// samples constant costs. White noise is remembered in proportion to m/N and no better.
#[test]
fn what_is_forgotten_falls_with_m() {
    let signal = |i: usize| {
        let x = (i as f64 + 0.5) / 400.0;
        (9.0 * x).sin() * (1.0 + x) + 0.5 * (23.0 * x * x).cos()
    };
    let u: Vec<f64> = (0..400).map(signal).collect();
    let errors: Vec<f64> = [2, 4, 8, 16, 32].map(|m| forgotten(m, &u)).to_vec();
    for pair in errors.windows(2) {
        assert!(pair[1] < pair[0], "{errors:?}");
    }
    assert!(errors[0] > 0.3, "two numbers are not a history: {errors:?}");
    assert!(errors[2] > 0.1 && errors[4] < 2e-3, "{errors:?}");
    let rng = &mut Rng::new(3);
    let noise: Vec<f64> = (0..400).map(|_| rng.unit()).collect();
    let variance = noise.iter().map(|u| u * u).sum::<f64>() / 400.0;
    for m in [8, 32] {
        let kept = 1.0 - forgotten(m, &noise).powi(2) / variance;
        let expected = m as f64 / 400.0;
        assert!(
            (0.3 * expected..3.0 * expected).contains(&kept),
            "m = {m}: {kept}"
        );
    }
}

/// A window model reads `u(t - delay)` for every delay inside its window, and not beyond it.
#[test]
fn windows_are_as_long_as_said() {
    let dt = 0.002;
    let u: Vec<f64> = (0..4000).map(|i| (2.0 * dt * f64::from(i)).sin()).collect();
    for (measure, bound) in [
        (Measure::LegT, 2e-3),
        (Measure::Lmu, 2e-3),
        (Measure::FouT, 0.15),
    ] {
        let window = measure.window().expect("a window") as f64;
        for fraction in [0.1, 0.5, 0.9] {
            let delay = fraction * window;
            let model = measure.memory(16, dt, delay).expect("a model");
            let y = recurrence(&model, &u, None).expect("fits").output;
            let steps = (delay / dt).round() as usize;
            let (late, truth) = (&y[3000..], &u[3000 - steps..4000 - steps]);
            assert_close(&format!("{measure} {delay}"), late, truth, bound);
            // Not the signal of another delay.
            let other = &u[2700 - steps..3700 - steps];
            assert!(
                close("another delay", late, other, bound).is_err(),
                "{measure}"
            );
        }
        // A bump inside the window is in the state; the same bump before it has left.
        let trace = |age: f64| {
            let now = 3000;
            let bump = |i: i32| {
                let x = (f64::from(now - i) * dt - age) / (0.1 * window);
                (-x * x).exp()
            };
            let u: Vec<f64> = (0..now).map(bump).collect();
            let model = measure.memory(16, dt, 0.0).expect("a model");
            let x = recurrence(&model, &u, None).expect("fits").state;
            x.iter().map(|x| x * x).sum::<f64>().sqrt()
        };
        let (inside, outside) = (trace(0.5 * window), trace(1.5 * window));
        assert!(outside < 0.1 * inside, "{measure}: {inside:e} {outside:e}");
    }
}

/// LegS as S4 runs it, and LagT: a bump not long ago is recalled, the same bump long ago is not.
#[test]
fn fading_memories_fade() {
    for (measure, dt, width, near, far) in [
        (Measure::LegS, 0.002, 0.3, 0.8, 7.0),
        (Measure::LagT, 0.02, 3.0, 8.0, 150.0),
    ] {
        let recalled = |age: f64| {
            let now = (1.5 * age / dt) as i32;
            let bump = |i: i32| {
                let x = (f64::from(now - i) * dt - age) / width;
                (-x * x).exp()
            };
            let u: Vec<f64> = (0..now).map(bump).collect();
            let model = measure.memory(24, dt, age).expect("a model");
            let y = recurrence(&model, &u, None).expect("fits").output;
            y[u.len() - 1]
        };
        let (near, far) = (recalled(near), recalled(far));
        assert!((near - 1.0).abs() < 0.05, "{measure}: {near}");
        assert!(far.abs() < 0.3, "{measure}: {far}");
    }
}
