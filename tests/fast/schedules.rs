//! The optimizer's numbers and the schedules of its rate.

use hungry_hippos::training::{Schedule, clip_factor, complement, correction};

/// In f32 `1 - b^k` is as good as rounding it, where the difference itself loses five digits.
#[test]
fn the_corrections_do_not_cancel() {
    for beta in [0.9, 0.999, 0.0, 0.3] {
        for step in [1, 2, 3, 10, 1000] {
            let exact = 1.0 - f64::powi(beta, step as i32);
            let found = f64::from(correction(complement::<f32>(beta), step));
            assert!(
                (found / exact - 1.0).abs() < 1e-6,
                "{beta}, {step}: {found} {exact}"
            );
        }
    }
    let cancelled = f64::from(1.0 - 0.999f32) / 1e-3 - 1.0;
    assert!(cancelled.abs() > 1e-6, "{cancelled}");
}

#[test]
fn a_norm_is_clipped_above_its_limit_alone() {
    assert_eq!(clip_factor(0.75, 1.0), Ok(1.0));
    assert_eq!(clip_factor(2.0 - 1e-6, 1.0), Ok(0.5));
    // Such a factor would be lost in a difference from 1.
    assert_eq!(clip_factor(1e20, 1.0), Ok(1e-20));
}

fn rates(schedule: &Schedule, base: f64, steps: &[u64]) -> Vec<f64> {
    let rate = |&t| schedule.rate::<f64>(base, t).expect("a step of it");
    steps.iter().map(rate).collect()
}

/// As the official warmup of 2 of 10 steps, and beyond its end.
#[test]
fn the_linear_schedule() {
    let schedule = Schedule::Linear {
        warmup: 2,
        total: 10,
    };
    let found = rates(&schedule, 4.0, &[0, 1, 2, 3, 9, 10, 11]);
    assert_eq!(found, [0.0, 2.0, 4.0, 3.5, 0.5, 0.0, 0.0]);
    let all = Schedule::Linear {
        warmup: 0,
        total: 4,
    };
    assert_eq!(rates(&all, 4.0, &[0, 1, 4]), [4.0, 3.0, 0.0]);
    assert!(
        Schedule::Linear {
            warmup: 3,
            total: 2
        }
        .checked()
        .is_err()
    );
}

/// The induction task's, scaled to 40 steps, 4 of them warmup, by `_get_lr` of timm's
/// `scheduler/cosine_lr.py`: the cosine is not shifted, so step 4 has `cos(pi/10)`.
#[test]
fn the_cosine_schedule() {
    let (first, least) = (1e-6, 5e-5);
    let schedule = Schedule::Cosine {
        warmup: 4,
        first,
        total: 40,
        least,
    };
    let found = rates(&schedule, 5e-4, &[0, 2, 4, 20, 39, 40, 60]);
    let cosine = |x: f64| least + 0.5 * (5e-4 - least) * (1.0 + (core::f64::consts::PI * x).cos());
    let expected = [
        first,
        2.505e-4,
        cosine(0.1),
        cosine(0.5),
        cosine(0.975),
        least,
        least,
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-18, "{found:e} {expected:e}");
    }
    assert!(
        found[2] < 4.9e-4,
        "the shifted cosine would be at the whole rate"
    );
}

#[test]
fn factors_are_for_their_steps() {
    let schedule = Schedule::Factors(vec![0.0, 0.5]);
    assert_eq!(rates(&schedule, 3.0, &[0, 1]), [0.0, 1.5]);
    assert!(schedule.rate::<f64>(3.0, 2).is_err());
    assert!(Schedule::Factors(vec![f64::NAN]).checked().is_err());
    assert!(Schedule::Factors(vec![-1.0]).checked().is_err());
}
