//! The long convolution against its definition.

use crate::support::{LENGTHS, assert_within, share_used, signal};
use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{Element, Level, LongConvolution, Panels, Workspace};
use hungry_hippos::ssm::causal_convolution;
use proptest::prelude::*;

/// Random kernels and signals at a level against the definition; the largest share of the bound
/// used.
///
/// A transform in unit roundoff `u` of `n` points is off by at most `c u log2(n)` of the norm of
/// what it transforms (Higham, Accuracy and Stability, section 24.1): here every butterfly of two
/// levels is at most 12 roundings (products, sums and rounded constants, `2 a - b` counted with
/// the magnitude of both), so c = 6 a level; the first and last step are sums of at most 7 terms,
/// 2 * 9 more. With both transforms, the product and the inverse: `3 (6 log2 n + 18) + 8` units of
/// `|f| |u|` (2-norms), which bounds every element of the convolution by Cauchy and Schwarz.
fn check<T: Element>(
    level: Level,
    (batch, channels, taps, len): (usize, usize, usize, usize),
    longest: usize,
    seed: u64,
) -> f64 {
    let rng = &mut Rng::new(seed);
    let f: Vec<T> = signal(taps * channels, rng);
    let u: Vec<T> = signal(batch * len * channels, rng);
    let kernels = Panels::from_rows(1, taps, channels, &f).unwrap();
    let input = Panels::from_rows(batch, len, channels, &u).unwrap();
    let nan = vec![T::from_f64(f64::NAN); u.len()];
    let poison = Panels::from_rows(batch, len, channels, &nan).unwrap();
    let mut convolution = LongConvolution::<T>::new(level, channels, longest);
    let run = |convolution: &mut LongConvolution<T>, threads: usize| {
        let mut workspace = Workspace::new(threads);
        let mut y = poison.clone();
        convolution.set_kernels(&kernels, &mut workspace).unwrap();
        convolution.run(&poison, &mut y, &mut workspace).unwrap();
        convolution.run(&input, &mut y, &mut workspace).unwrap();
        y.to_rows()
    };
    let y = run(&mut convolution, 1);
    assert_eq!(y, run(&mut convolution, 2), "threads");
    let n = convolution.points() as f64;
    let units = (3.0 * (6.0 * n.log2() + 18.0) + 8.0) * T::UNIT_ROUNDOFF;
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut worst: f64 = 0.0;
    for b in 0..batch {
        for c in 0..channels {
            let f: Vec<f64> = (0..taps).map(|t| f[t * channels + c].to_f64()).collect();
            let at = |t: usize| (b * len + t) * channels + c;
            let u: Vec<f64> = (0..len).map(|t| u[at(t)].to_f64()).collect();
            let got: Vec<T> = (0..len).map(|t| y[at(t)]).collect();
            let want = causal_convolution(&f, &u);
            let reach = &f[..taps.min(longest)];
            let bound = vec![units * norm(reach) * norm(&u); len];
            let what = format!("{level}, {taps} taps, {len} steps, {n} points, channel {c}");
            assert_within(&what, &got, &want, &bound);
            worst = worst.max(share_used(&got, &want, &bound));
        }
    }
    worst
}

#[test]
fn every_length_at_every_level() {
    for level in Level::all() {
        for (len, why) in LENGTHS {
            println!("{level}, {len}: {why}");
            check::<f32>(level, (1, 3, len, len), len, 1);
            let used = check::<f64>(level, (1, 3, len, len), len, 2);
            assert!(used < 0.5, "the bound is nearly used up: {used}");
        }
    }
}

/// Every first step there is, several sizes of each, and one beyond the first-level cache.
#[test]
fn every_radix_at_every_level() {
    for level in Level::all() {
        for len in [
            3, 4, 5, 6, 7, 8, 12, 20, 24, 28, 96, 112, 320, 1280, 1792, 2048, 3000,
        ] {
            check::<f64>(level, (1, 1, len, len), len, 3);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_shape_at_every_level(
        batch in 1usize..4,
        channels in 1usize..40,
        taps in 0usize..200,
        len in 0usize..200,
        longer in 0usize..100,
        seed: u64,
    ) {
        for level in Level::all() {
            check::<f32>(level, (batch, channels, taps, len), len + longer, seed);
            check::<f64>(level, (batch, channels, taps, len), len + longer, seed);
        }
    }
}

/// What the bound is there to refuse: one tap missing, one wrapped around, one step late.
#[test]
fn wrong_results_are_outside_the_bound() {
    let rng = &mut Rng::new(5);
    let (f, u): (Vec<f32>, Vec<f32>) = (signal(1000, rng), signal(1000, rng));
    let panels = |x: &[f32]| Panels::from_rows(1, 1000, 1, x).unwrap();
    let workspace = &mut Workspace::new(1);
    let mut convolution = LongConvolution::<f32>::new(Level::detect(), 1, 1000);
    convolution.set_kernels(&panels(&f), workspace).unwrap();
    let mut y = Panels::zeros(1, 1000, 1);
    convolution.run(&panels(&u), &mut y, workspace).unwrap();
    let norm = |x: &[f32]| x.iter().map(|&x| f64::from(x * x)).sum::<f64>().sqrt();
    let units = (3.0 * (6.0 * 10.0 + 18.0) + 8.0) * 2f64.powi(-24);
    let bound = vec![units * norm(&f) * norm(&u); 1000];
    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let used = |f: &[f64], u: &[f64]| share_used(&y.to_rows(), &causal_convolution(f, u), &bound);
    assert!(used(&wide(&f), &wide(&u)) < 0.5);
    assert!(used(&wide(&f[..999]), &wide(&u)) > 1.0);
    let late: Vec<f32> = core::iter::once(0.0).chain(u[..999].to_vec()).collect();
    assert!(used(&wide(&f), &wide(&late)) > 1.0);
    let mut first = wide(&f);
    first[0] += 0.05;
    assert!(used(&first, &wide(&u)) > 1.0);
}

#[test]
fn wrong_shapes_are_refused() {
    let workspace = &mut Workspace::new(1);
    let mut convolution = LongConvolution::<f64>::new(Level::detect(), 3, 8);
    let (u, mut y) = (Panels::zeros(1, 8, 3), Panels::zeros(1, 8, 3));
    assert!(convolution.run(&u, &mut y, workspace).is_ok());
    assert!(
        convolution
            .run(
                &Panels::zeros(1, 9, 3),
                &mut Panels::zeros(1, 9, 3),
                workspace
            )
            .is_err()
    );
    assert!(
        convolution
            .run(&u, &mut Panels::zeros(1, 7, 3), workspace)
            .is_err()
    );
    assert!(
        convolution
            .run(&Panels::zeros(1, 8, 2), &mut y, workspace)
            .is_err()
    );
    assert!(
        convolution
            .set_kernels(&Panels::zeros(2, 8, 3), workspace)
            .is_err()
    );
    assert!(
        convolution
            .set_kernels(&Panels::zeros(1, 8, 4), workspace)
            .is_err()
    );
    assert!(
        convolution
            .set_kernels(&Panels::zeros(1, 80, 3), workspace)
            .is_ok()
    );
}
