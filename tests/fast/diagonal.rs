//! The diagonal models over lanes against the recurrence.

use crate::common::trials;
use crate::support::{LENGTHS, assert_within, expected, models, share_used, signal};
use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{
    DiagonalOutputs, DiagonalParameters, DiagonalSsm, Element, Level, Panels, Workspace,
};
use num_complex::Complex;
use proptest::prelude::*;

/// A bank, its input and its initial state.
pub(crate) struct Trial<T> {
    bank: DiagonalParameters,
    batch: usize,
    len: usize,
    u: Vec<T>,
    x0: Vec<Complex<T>>,
}

impl<T: Element> Trial<T> {
    pub(crate) fn new(batch: usize, channels: usize, pairs: usize, len: usize, seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let x0 = signal::<T>(2 * batch * channels * pairs, rng);
        Self {
            bank: models(channels, pairs, rng),
            batch,
            len,
            u: signal(batch * len * channels, rng),
            x0: x0.chunks(2).map(|z| Complex::new(z[0], z[1])).collect(),
        }
    }

    fn channels(&self) -> usize {
        self.bank.d.len()
    }

    fn x0(&self, b: usize, h: usize, n: usize) -> Complex<T> {
        self.x0[(b * self.channels() + h) * self.bank.pairs + n]
    }

    /// Outputs (batch, seq_len, channels) and final states (batch, channels, pairs). The output
    /// buffer holds NaN beforehand, and the workspace has been used for something else.
    fn run(&self, level: Level, threads: usize) -> (Vec<T>, Vec<Complex<T>>) {
        let channels = self.channels();
        let ssm = DiagonalSsm::<T>::new(level, &self.bank).unwrap();
        let nan = vec![T::from_f64(f64::NAN); self.u.len()];
        let poison = Panels::from_rows(self.batch, self.len, channels, &nan).unwrap();
        let u = Panels::from_rows(self.batch, self.len, channels, &self.u).unwrap();
        let mut y = poison.clone();
        let mut workspace = Workspace::new(threads).sharing_all();
        let mut spoilt = ssm.zero_state(self.batch);
        ssm.run(&poison, &mut spoilt, &mut y, &mut workspace)
            .unwrap();
        let mut state = ssm.state_from(self.batch, |b, h, n| self.x0(b, h, n));
        ssm.run(&u, &mut state, &mut y, &mut workspace).unwrap();
        let mut states = Vec::new();
        for b in 0..self.batch {
            for h in 0..channels {
                for n in 0..self.bank.pairs {
                    states.push(ssm.state_part(&state, b, h, n).unwrap());
                }
            }
        }
        (y.to_rows(), states)
    }

    /// Runs at a level and holds the result against the reference; the largest share of the
    /// bound used.
    pub(crate) fn check(&self, level: Level) -> f64 {
        let (channels, m) = (self.channels(), self.bank.pairs);
        let (y, states) = self.run(level, 1);
        let mut worst: f64 = 0.0;
        for b in 0..self.batch {
            for h in 0..channels {
                let at = |t: usize| (b * self.len + t) * channels + h;
                let u: Vec<f64> = (0..self.len).map(|t| self.u[at(t)].to_f64()).collect();
                let got: Vec<T> = (0..self.len).map(|t| y[at(t)]).collect();
                let x0: Vec<_> = (0..m)
                    .map(|n| self.x0(b, h, n))
                    .map(|z| Complex::new(z.re.to_f64(), z.im.to_f64()))
                    .collect();
                let want = expected::<T>(&self.bank, h, &u, &x0);
                let what = format!("{level}, {} steps, sequence {b}, channel {h}", self.len);
                assert_within(&what, &got, &want.output, &want.output_bound);
                worst = worst.max(share_used(&got, &want.output, &want.output_bound));
                let state = &states[(b * channels + h) * m..][..m];
                for (part, of) in [("re", 0), ("im", 1)] {
                    let got: Vec<T> = state.iter().map(|z| [z.re, z.im][of]).collect();
                    let want_state: Vec<f64> =
                        want.state.iter().map(|z| [z.re, z.im][of]).collect();
                    let what = format!("{what}, final state {part}");
                    assert_within(&what, &got, &want_state, &want.state_bound);
                }
            }
        }
        worst
    }
}

#[test]
fn every_length_at_every_level() {
    for level in Level::all() {
        for (len, why) in LENGTHS {
            println!("{level}, {len}: {why}");
            Trial::<f32>::new(1, 5, 32, len, 1).check(level);
            Trial::<f64>::new(1, 5, 32, len, 2).check(level);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(trials(48)))]

    #[test]
    fn every_shape_at_every_level(
        batch in 1usize..4,
        channels in 1usize..40,
        pairs in 0usize..40,
        len in 0usize..300,
        seed: u64,
    ) {
        for level in Level::all() {
            Trial::<f32>::new(batch, channels, pairs, len, seed).check(level);
            Trial::<f64>::new(batch, channels, pairs, len, seed).check(level);
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits(
        batch in 1usize..4,
        channels in 1usize..80,
        len in 1usize..200,
        threads in 2usize..6,
        seed: u64,
    ) {
        let trial = Trial::<f32>::new(batch, channels, 8, len, seed);
        for level in Level::all() {
            let bits = |(y, x): (Vec<f32>, Vec<Complex<f32>>)| {
                let x = x.iter().flat_map(|z| [z.re, z.im]).map(f32::to_bits);
                (y.iter().map(|y| y.to_bits()).collect::<Vec<_>>(), x.collect::<Vec<_>>())
            };
            prop_assert_eq!(bits(trial.run(level, 1)), bits(trial.run(level, threads)));
        }
    }
}

/// One signal, whose time two threads share: over many of the buffers that they pass each other, and with steps that
/// fill no block at its end.
#[test]
fn two_threads_along_one_long_signal_give_the_same_bits() {
    for (len, seed) in [(7000, 1), (7013, 2), (12_293, 3), (800, 4)] {
        let trial = Trial::<f32>::new(1, 1, 3, len, seed);
        for level in Level::all() {
            let bits = |(y, x): (Vec<f32>, Vec<Complex<f32>>)| {
                let x = x.iter().flat_map(|z| [z.re, z.im]).map(f32::to_bits);
                let y = y.iter().map(|y| y.to_bits());
                y.chain(x).collect::<Vec<_>>()
            };
            let alone = bits(trial.run(level, 1));
            for threads in [2, 2, 2, 3, 5] {
                assert_eq!(alone, bits(trial.run(level, threads)), "{level}, {len}");
            }
        }
    }
}

/// The bound is there to refuse: a pole off by one part in a hundred thousand, an output one step
/// late, a state that was dropped, and a feedthrough forgotten.
#[test]
fn wrong_results_are_outside_the_bound() {
    let trial = Trial::<f32>::new(1, 16, 32, 1000, 3);
    let used = trial.check(Level::detect());
    assert!(used < 0.5, "the bound is nearly used up: {used}");
    let (y, _) = trial.run(Level::detect(), 1);
    let refuses = |got: &[f32], bank: &DiagonalParameters, x0: &dyn Fn(usize) -> Complex<f64>| {
        let u: Vec<f64> = (0..1000).map(|t| f64::from(trial.u[t * 16])).collect();
        let x0: Vec<_> = (0..32).map(x0).collect();
        let want = expected::<f32>(bank, 0, &u, &x0);
        share_used(got, &want.output, &want.output_bound) > 1.0
    };
    let x0 = |n| {
        let z: Complex<f32> = trial.x0(0, 0, n);
        Complex::new(f64::from(z.re), f64::from(z.im))
    };
    let got: Vec<f32> = (0..1000).map(|t| y[t * 16]).collect();
    assert!(!refuses(&got, &trial.bank, &x0));
    let late: Vec<f32> = (0..1000usize)
        .map(|t| y[t.saturating_sub(1) * 16])
        .collect();
    assert!(refuses(&late, &trial.bank, &x0));
    assert!(refuses(&got, &trial.bank, &|_| Complex::new(0.0, 0.0)));
    let mut bank = trial.bank.clone();
    bank.d[0] = 0.0;
    assert!(refuses(&got, &bank, &x0));
    let mut bank = trial.bank.clone();
    bank.a[0] *= 1.0 + 1e-3;
    assert!(refuses(&got, &bank, &x0));
}

#[test]
fn wrong_shapes_are_refused() {
    let bank = models(3, 2, &mut Rng::new(1));
    let ssm = DiagonalSsm::<f32>::new(Level::detect(), &bank).unwrap();
    let (u, mut y) = (Panels::zeros(1, 4, 3), Panels::zeros(1, 4, 3));
    let workspace = &mut Workspace::new(1);
    let mut state = ssm.zero_state(1);
    assert!(ssm.run(&u, &mut state, &mut y, workspace).is_ok());
    assert!(
        ssm.run(&u, &mut ssm.zero_state(2), &mut y, workspace)
            .is_err()
    );
    assert!(
        ssm.run(&Panels::zeros(1, 4, 2), &mut state, &mut y, workspace)
            .is_err()
    );
    assert!(
        ssm.run(&u, &mut state, &mut Panels::zeros(1, 5, 3), workspace)
            .is_err()
    );
    assert!(
        ssm.run(&u, &mut state, &mut Panels::zeros(2, 4, 3), workspace)
            .is_err()
    );
    let mut short = bank.clone();
    short.b.pop();
    assert!(DiagonalSsm::<f32>::new(Level::detect(), &short).is_err());
    assert!(ssm.state_part(&state, 0, 3, 0).is_none());
    assert!("avx9000".parse::<Level>().is_err());
}

/// Outputs by convolution with the models' own impulse responses are the recurrence's.
#[test]
fn impulse_responses_are_kernels() {
    let trial = Trial::<f64>::new(1, 19, 7, 500, 11);
    for level in Level::all() {
        let ssm = DiagonalSsm::<f64>::new(level, &trial.bank).unwrap();
        let workspace = &mut Workspace::new(1);
        let kernels = ssm.impulse_response(500, workspace).unwrap().to_rows();
        let impulse: Vec<f64> = (0..500).map(|t| f64::from(u8::from(t == 0))).collect();
        for h in 0..19 {
            let zero = vec![Complex::new(0.0, 0.0); 7];
            let want = expected::<f64>(&trial.bank, h, &impulse, &zero);
            let got: Vec<f64> = (0..500).map(|t| kernels[t * 19 + h]).collect();
            assert_within("impulse response", &got, &want.output, &want.output_bound);
        }
        let plan = ssm.plan(500);
        assert_eq!((plan.blocks, plan.steps), (31, 4));
        assert!(plan.to_string().contains("31 blocks of 16 steps"), "{plan}");
    }
    let none = DiagonalSsm::<f64>::new(Level::detect(), &trial.bank).unwrap();
    let empty = none.impulse_response(0, &mut Workspace::new(1)).unwrap();
    assert_eq!(empty.seq_len(), 0);
}

/// Outputs alone come by the form the plan names: for many pairs a convolution, for few the blocks. The
/// kernel's own error, weighed by the input, and the transforms' (see `convolution.rs`) bound both.
#[test]
fn outputs_alone_come_as_planned() {
    for (pairs, len, by_transform) in [(32, 500, true), (32, 97, true), (2, 500, false)] {
        for level in Level::all() {
            outputs_alone::<f32>(level, pairs, len, by_transform);
            outputs_alone::<f64>(level, pairs, len, by_transform);
        }
    }
}

fn outputs_alone<T: Element>(level: Level, pairs: usize, len: usize, by_transform: bool) {
    let trial = Trial::<T>::new(2, 19, pairs, len, 11);
    let ssm = DiagonalSsm::<T>::new(level, &trial.bank).unwrap();
    let workspace = &mut Workspace::new(2).sharing_all();
    let mut planned = DiagonalOutputs::new(&ssm, len, workspace).unwrap();
    assert_eq!(planned.plan().prefers_transform(), by_transform);
    let u = Panels::from_rows(2, len, 19, &trial.u).unwrap();
    let nan = vec![T::from_f64(f64::NAN); trial.u.len()];
    let mut y = Panels::from_rows(2, len, 19, &nan).unwrap();
    // Twice: nothing of the first run is in the second.
    planned.run(&y.clone(), &mut y, workspace).unwrap();
    planned.run(&u, &mut y, workspace).unwrap();
    let y = y.to_rows();
    let zero = vec![Complex::new(0.0, 0.0); pairs];
    let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
    for b in 0..2 {
        for h in 0..19 {
            let at = |t: usize| (b * len + t) * 19 + h;
            let u: Vec<f64> = (0..len).map(|t| trial.u[at(t)].to_f64()).collect();
            let want = expected::<T>(&trial.bank, h, &u, &zero);
            let got: Vec<T> = (0..len).map(|t| y[at(t)]).collect();
            let mut impulse = vec![0.0; len];
            impulse[0] = 1.0;
            let kernel = expected::<T>(&trial.bank, h, &impulse, &zero);
            // No transform here has more than 8 len points.
            let units = (3.0 * (6.0 * (8.0 * len as f64).log2() + 18.0) + 8.0) * T::UNIT_ROUNDOFF;
            let transforms = (units * norm(&kernel.output) + norm(&kernel.output_bound)) * norm(&u);
            let bound: Vec<f64> = want.output_bound.iter().map(|x| x + transforms).collect();
            assert_within("outputs alone", &got, &want.output, &bound);
            // The bound refuses a neighbouring model's outputs.
            let other = expected::<T>(&trial.bank, (h + 1) % 19, &u, &zero).output;
            let mut pairs = got.iter().zip(&other).zip(&bound);
            assert!(pairs.any(|((got, other), bound)| (got.to_f64() - other).abs() > *bound));
        }
    }
    let long = Panels::zeros(1, len + 1, 19);
    let e = planned
        .run(&long, &mut Panels::zeros(1, len + 1, 19), workspace)
        .unwrap_err();
    assert!(e.to_string().contains("prepared for at most"), "{e}");
}

/// The numbers of the first exercise of chapter 10.
#[test]
fn plans_are_those_of_the_chapter() {
    let plan = |pairs: usize, steps: usize| {
        let bank = DiagonalParameters {
            pairs,
            a: vec![Complex::new(0.5, 0.5); pairs],
            b: vec![Complex::new(1.0, 0.0); pairs],
            c: vec![Complex::new(1.0, 0.0); pairs],
            d: vec![0.0],
        };
        let ssm = DiagonalSsm::<f32>::new(Level::detect(), &bank);
        ssm.expect("finite parameters").plan(steps)
    };
    assert!(!plan(2, 4096).prefers_transform() && plan(32, 4096).prefers_transform());
    assert!(!plan(32, 32768).prefers_transform());
    assert!([145.0, 146.0].contains(&plan(32, 4096).operations));
    assert_eq!(plan(32, 4096).recurrence, 256.0);
    for (steps, operations) in [(256, 60.0), (4096, 88.0), (32768, 118.0), (65536, 116.0)] {
        assert_eq!(plan(32, steps).transform, operations);
    }
}
