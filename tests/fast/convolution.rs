//! The long convolution against its definition.

use crate::common::trials;
use crate::support::{LENGTHS, assert_within, share_used, signal, transform_bound};
use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{Element, Level, LongConvolution, Panels, Workspace};
use hungry_hippos::ssm::causal_convolution;
use proptest::prelude::*;

/// What a convolution is prepared for: signals of at most so many steps, kernels of at most so many
/// taps.
#[derive(Clone, Copy)]
pub(crate) struct Prepared {
    steps: usize,
    taps: usize,
}

impl Prepared {
    /// Kernels of any length.
    pub(crate) fn whole(steps: usize) -> Self {
        Self { steps, taps: steps }
    }
}

/// Random kernels and signals at a level against the definition; the largest share of the bound
/// used.
pub(crate) fn check<T: Element>(
    level: Level,
    (batch, channels, taps, len): (usize, usize, usize, usize),
    prepared: Prepared,
    seed: u64,
) -> f64 {
    let rng = &mut Rng::new(seed);
    let f: Vec<T> = signal(taps * channels, rng);
    let u: Vec<T> = signal(batch * len * channels, rng);
    let kernels = Panels::from_rows(1, taps, channels, &f).unwrap();
    let input = Panels::from_rows(batch, len, channels, &u).unwrap();
    let nan = vec![T::from_f64(f64::NAN); u.len()];
    let poison = Panels::from_rows(batch, len, channels, &nan).unwrap();
    let Prepared { steps, taps: most } = prepared;
    let mut convolution = LongConvolution::<T>::with_taps(level, channels, steps, most);
    let run = |convolution: &mut LongConvolution<T>, threads: usize| {
        let mut workspace = Workspace::new(threads).sharing_all();
        let mut y = poison.clone();
        convolution.set_kernels(&kernels, &mut workspace).unwrap();
        convolution.run(&poison, &mut y, &mut workspace).unwrap();
        convolution.run(&input, &mut y, &mut workspace).unwrap();
        y.to_rows()
    };
    let y = run(&mut convolution, 1);
    assert_eq!(y, run(&mut convolution, 2), "threads");
    let n = convolution.points();
    let mut worst: f64 = 0.0;
    for b in 0..batch {
        for c in 0..channels {
            let f: Vec<f64> = (0..taps).map(|t| f[t * channels + c].to_f64()).collect();
            let at = |t: usize| (b * len + t) * channels + c;
            let u: Vec<f64> = (0..len).map(|t| u[at(t)].to_f64()).collect();
            let got: Vec<T> = (0..len).map(|t| y[at(t)]).collect();
            let want = causal_convolution(&f, &u);
            let bound = transform_bound::<T>(n, &f[..taps.min(steps)], &u);
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
            check::<f32>(level, (1, 3, len, len), Prepared::whole(len), 1);
            let used = check::<f64>(level, (1, 3, len, len), Prepared::whole(len), 2);
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
            check::<f64>(level, (1, 1, len, len), Prepared::whole(len), 3);
        }
    }
}

/// Kernels shorter than the signal, part by part: one tap, one less than a part, a part, one more; the
/// last part whole, short, and a single step.
#[test]
fn short_kernels_at_every_level() {
    for level in Level::all() {
        for (taps, len) in [
            (1, 100),
            (15, 97),
            (16, 96),
            (17, 4097),
            (64, 1025),
            (200, 999),
        ] {
            let prepared = Prepared { steps: len, taps };
            let n = LongConvolution::<f32>::with_taps(level, 2, len, taps).points();
            assert!(n >= taps && n < len, "{taps} taps, {len} steps: {n} points");
            check::<f32>(level, (2, 2, taps, len), prepared, 4);
            let used = check::<f64>(level, (2, 2, taps, len), prepared, 5);
            assert!(used < 0.5, "the bound is nearly used up: {used}");
            let steps = usize::MAX;
            check::<f64>(level, (1, 1, taps, len), Prepared { steps, taps }, 6);
        }
    }
}

/// A transform with levels above its blocks, against a kernel of which a few taps are not zero.
#[test]
fn transforms_beyond_the_cache_at_every_level() {
    fn beyond<T: Element>(level: Level) {
        let len = 40_000;
        let rng = &mut Rng::new(6);
        let u: Vec<T> = signal(len, rng);
        let places = [0, 1, 4095, 4096, 12_287, 12_288, 20_001, 39_999];
        let taps: Vec<T> = signal(places.len(), rng);
        let mut f = vec![T::ZERO; len];
        let (mut want, mut wide) = (vec![0.0; len], vec![0.0; len]);
        for (&at, &tap) in places.iter().zip(&taps) {
            (f[at], wide[at]) = (tap, tap.to_f64());
            for t in at..len {
                want[t] += tap.to_f64() * u[t - at].to_f64();
            }
        }
        let workspace = &mut Workspace::new(1);
        let panels = |x: &[T]| Panels::from_rows(1, len, 1, x).unwrap();
        let mut convolution = LongConvolution::<T>::new(level, 1, len);
        convolution.set_kernels(&panels(&f), workspace).unwrap();
        let mut y = panels(&vec![T::from_f64(f64::NAN); len]);
        convolution.run(&panels(&u), &mut y, workspace).unwrap();
        let signal: Vec<f64> = u.iter().map(|u| u.to_f64()).collect();
        let bound = transform_bound::<T>(convolution.points(), &wide, &signal);
        assert_within(level.name(), &y.to_rows(), &want, &bound);
        // A kernel whose last tap comes a step early.
        let early = |t: usize| taps[7].to_f64() * u[t].to_f64();
        let wrong = [
            want[len - 2] + early(0),
            want[len - 1] - early(0) + early(1),
        ];
        assert!(share_used(&y.to_rows()[len - 2..], &wrong, &bound[len - 2..]) > 1.0);
    }
    for level in Level::all() {
        beyond::<f32>(level);
        beyond::<f64>(level);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(trials(48)))]

    #[test]
    fn every_shape_at_every_level(
        batch in 1usize..4,
        channels in 1usize..40,
        taps in 0usize..200,
        len in 0usize..200,
        longer in 0usize..100,
        more in 0usize..20,
        seed: u64,
    ) {
        let (shape, steps) = ((batch, channels, taps, len), len + longer);
        for level in Level::all() {
            for prepared in [Prepared::whole(steps), Prepared { steps, taps: taps + more }] {
                check::<f32>(level, shape, prepared, seed);
                check::<f64>(level, shape, prepared, seed);
            }
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
    let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let bound = transform_bound::<f32>(convolution.points(), &wide(&f), &wide(&u));
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
    // A tap too many would be left out, were it not refused.
    let mut short = LongConvolution::<f64>::with_taps(Level::detect(), 3, 8, 4);
    let refused = short.set_kernels(&Panels::zeros(1, 5, 3), workspace);
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("5 taps; this convolution was prepared for at most 4"),
        "{message}"
    );
    assert!(
        short
            .set_kernels(&Panels::zeros(1, 4, 3), workspace)
            .is_ok()
    );
}
