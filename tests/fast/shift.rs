//! The shift models over lanes against the recurrence.

use crate::support::{LENGTHS, assert_within, share_used, signal, transform_bound};
use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{Element, Level, Panels, ShiftParameters, ShiftSsm, Workspace};
use hungry_hippos::ssm::{Response, Shift, recurrence};
use proptest::prelude::*;

/// Runs a random bank at a level and holds outputs and states against the reference; the largest
/// share of the bound used.
///
/// An output is a sum of products `C_n B_{n-j} u` (or `C_n x`), all of them met by at most `2 m +
/// 8` roundings (the kernel's sum and its rounding, the product, the sum over taps, the
/// feedthrough), here and in the reference; the bound is that many units of the sum of their
/// magnitudes, which is the recurrence on magnitudes. Long windows go through transforms, whose
/// error is relative to the norms.
pub(crate) fn check<T: Element>(
    level: Level,
    shape: (usize, usize, usize, usize),
    seed: u64,
) -> f64 {
    let (batch, channels, m, len) = shape;
    let rng = &mut Rng::new(seed);
    let random = |size: usize, rng: &mut Rng| (0..size).map(|_| rng.unit()).collect::<Vec<_>>();
    let bank = ShiftParameters {
        taps: m,
        b: random(channels * m, rng),
        c: random(channels * m, rng),
        d: random(channels, rng),
    };
    let u: Vec<T> = signal(batch * len * channels, rng);
    let x0: Vec<T> = signal(batch * channels * m, rng);
    let ssm = ShiftSsm::<T>::new(level, &bank).unwrap();
    let nan = vec![T::from_f64(f64::NAN); u.len()];
    let poison = Panels::from_rows(batch, len, channels, &nan).unwrap();
    let input = Panels::from_rows(batch, len, channels, &u).unwrap();
    let mut y = poison.clone();
    let mut workspace = Workspace::new(1);
    ssm.run(&poison, &mut ssm.zero_state(batch), &mut y, &mut workspace)
        .unwrap();
    let mut state = ssm.state_from(batch, |b, h, n| x0[(b * channels + h) * m + n]);
    ssm.run(&input, &mut state, &mut y, &mut workspace).unwrap();
    let y = y.to_rows();
    let mut worst: f64 = 0.0;
    for b in 0..batch {
        for h in 0..channels {
            let of = |all: &[f64]| all[h * m..(h + 1) * m].to_vec();
            let model = Shift::new(of(&bank.b), of(&bank.c), bank.d[h]).unwrap();
            let magnitudes = |all: Vec<f64>| all.iter().map(|x| x.abs()).collect::<Vec<_>>();
            let majorant = Shift::new(
                magnitudes(of(&bank.b)),
                magnitudes(of(&bank.c)),
                bank.d[h].abs(),
            )
            .unwrap();
            let at = |t: usize| (b * len + t) * channels + h;
            let signal: Vec<f64> = (0..len).map(|t| u[at(t)].to_f64()).collect();
            let start: Vec<f64> = x0[(b * channels + h) * m..][..m]
                .iter()
                .map(|x| x.to_f64())
                .collect();
            let Response { output, state: end } =
                recurrence(&model, &signal, Some(&start)).unwrap();
            let bound = recurrence(
                &majorant,
                &magnitudes(signal.clone()),
                Some(&magnitudes(start)),
            )
            .unwrap();
            let unit = 2.0 * (2 * m + 8) as f64 * T::UNIT_ROUNDOFF;
            let scaled = |all: Vec<f64>| all.iter().map(|x| unit * x).collect::<Vec<_>>();
            let what = format!("{level}, {shape:?}, sequence {b}, channel {h}");
            let got: Vec<T> = (0..len).map(|t| y[at(t)]).collect();
            let mut output_bound = scaled(bound.output);
            if let Some(points) = ssm.points().filter(|_| len >= m) {
                let mut impulse = vec![0.0; m];
                impulse[0] = 1.0;
                let kernel = recurrence(&model, &impulse, None).unwrap().output;
                let transforms = transform_bound::<T>(points, &kernel, &signal);
                for (bound, more) in output_bound.iter_mut().zip(transforms) {
                    *bound += more;
                }
            }
            assert_within(&what, &got, &output, &output_bound);
            worst = worst.max(share_used(&got, &output, &output_bound));
            let got: Vec<T> = (0..m)
                .map(|n| ssm.state_part(&state, b, h, n).unwrap())
                .collect();
            assert_within(&format!("{what}, state"), &got, &end, &scaled(bound.state));
        }
    }
    worst
}

#[test]
fn every_length_at_every_level() {
    for level in Level::all() {
        for (len, why) in LENGTHS {
            println!("{level}, {len}: {why}");
            check::<f32>(level, (1, 3, 64, len), 1);
            let used = check::<f64>(level, (1, 3, 64, len), 2);
            assert!(used < 0.5, "the bound is nearly used up: {used}");
        }
    }
}

/// Windows long enough for a transform: a part and a bit, several parts, and fewer inputs than taps.
#[test]
fn long_windows_at_every_level() {
    for level in Level::all() {
        for (taps, len) in [
            (95, 400),
            (96, 400),
            (128, 700),
            (128, 2000),
            (200, 1500),
            (131, 140),
            (131, 100),
            (300, 3),
        ] {
            check::<f32>(level, (2, 3, taps, len), 3);
            let used = check::<f64>(level, (2, 3, taps, len), 4);
            assert!(used < 0.5, "the bound is nearly used up: {used}");
        }
    }
}

/// The bound must refuse a part that does not reach into the next one.
#[test]
fn a_part_without_the_one_before_is_outside_the_bound() {
    let m = 128;
    let random = |seed| signal::<f64>(m, &mut Rng::new(seed));
    let bank = ShiftParameters {
        taps: m,
        b: random(1),
        c: random(2),
        d: vec![0.0],
    };
    let ssm = ShiftSsm::<f32>::new(Level::detect(), &bank).unwrap();
    let n = ssm.points().unwrap();
    let model = Shift::new(bank.b, bank.c, 0.0).unwrap();
    let u = signal::<f64>(2 * n, &mut Rng::new(3));
    let output = |u: &[f64]| recurrence(&model, u, None).unwrap().output;
    let mut impulse = vec![0.0; m];
    impulse[0] = 1.0;
    let bound = transform_bound::<f32>(n, &output(&impulse), &u);
    let (right, alone) = (output(&u), output(&u[n..]));
    assert!(share_used(&alone, &right[n..], &bound[n..]) > 100.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_shape_at_every_level(
        batch in 1usize..4,
        channels in 1usize..40,
        taps in 0usize..70,
        len in 0usize..150,
        seed: u64,
    ) {
        for level in Level::all() {
            check::<f32>(level, (batch, channels, taps, len), seed);
            check::<f64>(level, (batch, channels, taps, len), seed);
        }
    }
}
