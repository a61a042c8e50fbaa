//! Projections against sums of products.

use crate::common::trials;
use crate::support::{assert_within, share_used, signal};
use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{Element, Level, Projection, Workspace};
use proptest::prelude::*;

/// A random projection at a level against the sums in double precision, to within `inputs + 2`
/// roundings of the sum of magnitudes; the largest share of the bound used.
pub(crate) fn check<T: Element>(
    level: Level,
    rows: usize,
    inputs: usize,
    outputs: usize,
    seed: u64,
) -> f64 {
    let rng = &mut Rng::new(seed);
    let (w, b) = (
        signal::<T>(inputs * outputs, rng),
        signal::<T>(outputs, rng),
    );
    let u = signal::<T>(rows * inputs, rng);
    let projection = Projection::new(level, inputs, &w, &b).unwrap();
    let bits = |y: &[T]| y.iter().map(|y| y.to_f64().to_bits()).collect::<Vec<_>>();
    let run = |threads: usize| {
        let mut workspace = Workspace::new(threads).sharing_all();
        let mut y = vec![T::from_f64(f64::NAN); rows * outputs];
        let poison = vec![T::from_f64(f64::NAN); rows * inputs];
        projection.apply(&poison, &mut y, &mut workspace).unwrap();
        projection.apply(&u, &mut y, &mut workspace).unwrap();
        y
    };
    let y = run(1);
    assert_eq!(bits(&y), bits(&run(3)), "threads");
    let (mut want, mut bound) = (Vec::new(), Vec::new());
    for r in 0..rows {
        for o in 0..outputs {
            let (mut sum, mut size) = (b[o].to_f64(), b[o].to_f64().abs());
            for i in 0..inputs {
                let term = w[o * inputs + i].to_f64() * u[r * inputs + i].to_f64();
                sum += term;
                size += term.abs();
            }
            want.push(sum);
            // Twice: this sum has errors too where it is in the same precision.
            bound.push(2.0 * (inputs + 2) as f64 * T::UNIT_ROUNDOFF * size);
        }
    }
    let what = format!("{level}, {rows} x {inputs} times {inputs} x {outputs}");
    assert_within(&what, &y, &want, &bound);
    share_used(&y, &want, &bound)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(trials(64)))]

    #[test]
    fn every_shape_at_every_level(
        rows in 0usize..150,
        inputs in 1usize..60,
        outputs in 0usize..120,
        seed: u64,
    ) {
        for level in Level::all() {
            check::<f32>(level, rows, inputs, outputs, seed);
            let used = check::<f64>(level, rows, inputs, outputs, seed);
            prop_assert!(used < 0.6, "the bound is nearly used up: {}", used);
        }
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let level = Level::detect();
    assert!(Projection::<f32>::new(level, 3, &[0.0; 5], &[0.0; 2]).is_err());
    let projection = Projection::<f32>::new(level, 3, &[0.0; 6], &[0.0; 2]).unwrap();
    let workspace = &mut Workspace::new(1);
    assert!(
        projection
            .apply(&[0.0; 6], &mut [0.0; 4], workspace)
            .is_ok()
    );
    assert!(
        projection
            .apply(&[0.0; 7], &mut [0.0; 4], workspace)
            .is_err()
    );
    assert!(
        projection
            .apply(&[0.0; 6], &mut [0.0; 5], workspace)
            .is_err()
    );
}
