//! SSD in chunks against the recurrence.

use crate::common::{assert_close, golden_file, is_exhaustive};
use crate::support::{assert_within, share_used, signal};
use hungry_hippos::algebra::{Matrix, Rng};
use hungry_hippos::fast::{Element, Level, Panels, Ssd, SsdInputs, Workspace};
use hungry_hippos::safetensors::SafeTensors;
use hungry_hippos::ssm::{Varying, varying_recurrence};

/// Sizes of a case.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    heads: usize,
    inputs: usize,
    groups: usize,
    state: usize,
    len: usize,
}

impl Sizes {
    const fn of([batch, heads, inputs, groups, state, len]: [usize; 6]) -> Self {
        Self {
            batch,
            heads,
            inputs,
            groups,
            state,
            len,
        }
    }
}

/// Operands, row-major as files have them.
#[derive(Clone)]
struct Operands<T> {
    x: Vec<T>,
    dt: Vec<T>,
    log_a: Vec<T>,
    b: Vec<T>,
    c: Vec<T>,
    state: Vec<T>,
}

impl<T: Element> Operands<T> {
    fn random(s: Sizes, rng: &mut Rng) -> Self {
        let steps = s.batch * s.len;
        let mut of = |each: usize| signal::<T>(steps * each, rng);
        let (x, dt, logs) = (of(s.heads * s.inputs), of(s.heads), of(s.heads));
        let (b, c) = (of(s.groups * s.state), of(s.groups * s.state));
        // Long memories, and now and then a step that forgets all.
        let decay = |x: &T| match x.to_f64() {
            x if x > 0.97 => T::from_f64(f64::NEG_INFINITY),
            x => T::from_f64(0.05 * x - 0.05),
        };
        Self {
            x,
            dt,
            log_a: logs.iter().map(decay).collect(),
            b,
            c,
            state: signal(s.batch * s.heads * s.inputs * s.state, rng),
        }
    }

    fn run(&self, level: Level, s: Sizes, threads: usize) -> (Vec<T>, Vec<T>) {
        let ssd = Ssd::new(level, [s.heads, s.inputs], [s.groups, s.state]).unwrap();
        let mut x = Panels::zeros(s.batch * s.heads, s.len, s.inputs);
        let place = |head: usize, p: usize| head * s.inputs + p;
        x.read_parts(s.heads, place, &self.x).unwrap();
        let nan = vec![T::from_f64(f64::NAN); self.x.len()];
        let mut y = x.clone();
        y.read_parts(s.heads, place, &nan).unwrap();
        let inputs = SsdInputs {
            x: &x,
            dt: Some(&self.dt),
            log_a: &self.log_a,
            b: &self.b,
            c: &self.c,
        };
        let mut state = ssd.state_from(s.batch, &self.state).unwrap();
        assert_eq!(ssd.state_numbers(s.batch, &state).unwrap(), self.state);
        let workspace = &mut Workspace::new(threads).sharing_all();
        ssd.run(&inputs, &mut state.clone(), &mut y, workspace)
            .unwrap();
        // With buffers that have been used.
        ssd.run(&inputs, &mut state, &mut y, workspace).unwrap();
        let mut rows = nan;
        y.write_parts(s.heads, place, &mut rows).unwrap();
        (rows, ssd.state_numbers(s.batch, &state).unwrap())
    }

    /// Some of the steps of a batch of one.
    fn steps(&self, s: Sizes, steps: core::ops::Range<usize>, state: &[T]) -> Self {
        let of = |x: &[T], each: usize| x[steps.start * each..steps.end * each].to_vec();
        Self {
            x: of(&self.x, s.heads * s.inputs),
            dt: of(&self.dt, s.heads),
            log_a: of(&self.log_a, s.heads),
            b: of(&self.b, s.groups * s.state),
            c: of(&self.c, s.groups * s.state),
            state: state.to_vec(),
        }
    }
}

/// What the reference answers, and how far a run in unit roundoff `u` may be from it, for outputs
/// and final state.
///
/// Every term of an output is a product `C_n a_i ... a_{j+1} B_n dt x` of one input (or one of the state
/// before the first). With `M0` the sum of the magnitudes of these terms and `M1` that of the
/// magnitudes times their age, both by the recurrence on absolute values,
///
/// |error| <= u (K0 M0 + K1 M1).
///
/// K1, for every step a term grows older: the exponential (2) and its product (1); a product and at most
/// 48 sums a chunk of 48 steps, for the state (1.1); the reference's own product and sum (2).
/// K0: sums over N channels, 48 inputs and once more 48 to the state, the reference's sum over N, and
/// single products: 2 N + 2 * 48 + 14.
fn expected<T: Element>(o: &Operands<T>, s: Sizes) -> [Vec<f64>; 4] {
    let wide = |x: &[T]| x.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    let at = |x: &Matrix<f64>, row: usize, col: usize| x.entries()[row * x.cols() + col];
    let (k0, k1) = ((2 * s.state + 2 * 48 + 14) as f64, 6.1);
    let mut out = [(); 2].map(|()| vec![0.0; o.x.len()]);
    let (mut states, mut state_bounds) = (Vec::new(), Vec::new());
    for b in 0..s.batch {
        for h in 0..s.heads {
            let group = h / (s.heads / s.groups);
            let row = |t: usize| b * s.len + t;
            let of = |x: &[T], each: usize, first: usize, count: usize| {
                let x = wide(x);
                Matrix::from_fn(s.len, count, |t, n| x[row(t) * each + first + n])
            };
            let of_group = |x: &[T]| of(x, s.groups * s.state, group * s.state, s.state);
            let a = of(&o.log_a, s.heads, h, 1).map(f64::exp);
            let (keys, queries) = (of_group(&o.b), of_group(&o.c));
            let dt = of(&o.dt, s.heads, h, 1);
            let x = of(&o.x, s.heads * s.inputs, h * s.inputs, s.inputs);
            let u = Matrix::from_fn(s.len, s.inputs, |t, p| at(&dt, t, 0) * at(&x, t, p));
            let size = s.inputs * s.state;
            let x0 = wide(&o.state[(b * s.heads + h) * size..][..size]);
            let x0 = Matrix::new(s.inputs, s.state, x0).unwrap();
            let model = Varying::new(a.clone(), keys.clone(), queries.clone()).unwrap();
            let response = varying_recurrence(&model, &u, Some(&x0)).unwrap();
            states.extend_from_slice(response.state.entries());
            for p in 0..s.inputs {
                let mut m0: Vec<f64> = (0..s.state).map(|n| at(&x0, p, n).abs()).collect();
                let mut m1 = vec![0.0; s.state];
                for t in 0..s.len {
                    let mut sum = 0.0;
                    for n in 0..s.state {
                        let a = at(&a, t, 0);
                        m1[n] = a * (m1[n] + m0[n]);
                        m0[n] = a * m0[n] + (at(&keys, t, n) * at(&u, t, p)).abs();
                        sum += at(&queries, t, n).abs() * (k0 * m0[n] + k1 * m1[n]);
                    }
                    let place = (row(t) * s.heads + h) * s.inputs + p;
                    out[0][place] = at(&response.output, t, p);
                    out[1][place] = T::UNIT_ROUNDOFF * sum;
                }
                let bound = m0.iter().zip(&m1).map(|(m0, m1)| k0 * m0 + k1 * m1);
                state_bounds.extend(bound.map(|units| units * T::UNIT_ROUNDOFF));
            }
        }
    }
    let [y, y_bound] = out;
    [y, y_bound, states, state_bounds]
}

fn check<T: Element>(level: Level, s: Sizes, seed: u64) -> f64 {
    let operands = Operands::<T>::random(s, &mut Rng::new(seed));
    let (y, state) = operands.run(level, s, 1);
    assert_eq!((y.clone(), state.clone()), operands.run(level, s, 2));
    assert_eq!((y.clone(), state.clone()), operands.run(level, s, 3));
    let [output, bound, end, end_bound] = expected(&operands, s);
    let what = format!("{level}, {s:?}");
    assert_within(&what, &y, &output, &bound);
    assert_within(&format!("{what}, state"), &state, &end, &end_bound);
    share_used(&y, &output, &bound).max(share_used(&state, &end, &end_bound))
}

/// Every size in one precision a level, the other at the next; with `HIPPOS_EXHAUSTIVE` set, in both.
#[test]
fn every_size_at_every_level() {
    let mut turn = 0;
    for level in Level::all() {
        for sizes in [
            // One of everything; no state; no step at all.
            [1, 1, 1, 1, 1, 1],
            [1, 1, 3, 1, 0, 50],
            [1, 2, 3, 1, 4, 0],
            // A step less than a chunk, a chunk, one more; lanes not full, full, one more.
            [1, 2, 15, 1, 7, 47],
            [2, 4, 16, 2, 6, 48],
            [1, 3, 17, 3, 5, 49],
            // Whole tiles and more of everything.
            [1, 2, 64, 1, 24, 97],
            [1, 1, 70, 1, 13, 200],
        ] {
            turn += 1;
            if turn % 2 == 0 || is_exhaustive() {
                check::<f32>(level, Sizes::of(sizes), 1);
            }
            if turn % 2 == 1 || is_exhaustive() {
                let used = check::<f64>(level, Sizes::of(sizes), 2);
                assert!(used < 0.5, "the bound is nearly used up: {used}");
            }
        }
        // At the next level each size in the other precision.
        turn += 1;
    }
}

/// From a state kept at a chunk's end a run goes on with the same bits.
#[test]
fn a_run_goes_on_from_its_state() {
    let s = Sizes::of([1, 2, 5, 1, 3, 130]);
    let all = Operands::<f32>::random(s, &mut Rng::new(4));
    let level = Level::detect();
    let (y, end) = all.run(level, s, 1);
    let part = |steps: core::ops::Range<usize>, state: &[f32]| {
        let len = steps.len();
        let part = all.steps(s, steps, state);
        part.run(level, Sizes { len, ..s }, 1)
    };
    let (first, state) = part(0..96, &all.state);
    let (second, last) = part(96..130, &state);
    assert_eq!([first, second].concat(), y);
    assert_eq!(last, end);
}

/// The certified case of the suite, in both precisions.
#[test]
fn a_golden_file_is_met() {
    fn met<T: Element>(bound: f64) {
        let file = SafeTensors::open(&golden_file("80-ssd")).unwrap();
        let get = |name: &str| file.tensor(name).unwrap();
        let wide = |name: &str| get(name).to_f64().unwrap();
        let of = |name: &str| wide(name).iter().map(|&x| T::from_f64(x)).collect();
        let operands = Operands::<T> {
            x: of("x"),
            dt: of("dt"),
            log_a: of("log_a"),
            b: of("B"),
            c: of("C"),
            state: of("initial_state"),
        };
        let [&[batch, len, heads, inputs], &[_, _, groups, state]] =
            [get("x").shape, get("B").shape]
        else {
            panic!("shapes");
        };
        let s = Sizes::of([batch, heads, inputs, groups, state, len]);
        let (y, end) = operands.run(Level::detect(), s, 1);
        // The file's outputs have the feedthrough in them.
        let (d, x) = (wide("D"), wide("x"));
        let y = y.iter().zip(&x).enumerate();
        let y: Vec<f64> = y
            .map(|(at, (y, x))| y.to_f64() + d[at / inputs % heads] * x)
            .collect();
        let end: Vec<f64> = end.iter().map(|x| x.to_f64()).collect();
        assert_close("y", &y, &wide("y"), bound);
        assert_close("final_state", &end, &wide("final_state"), bound);
    }
    met::<f64>(1e-13);
    met::<f32>(1e-5);
}

/// What the bound is there to refuse.
#[test]
fn wrong_results_are_outside_the_bound() {
    let s = Sizes::of([1, 2, 4, 2, 8, 100]);
    let operands = Operands::<f32>::random(s, &mut Rng::new(5));
    let (y, state) = operands.run(Level::detect(), s, 1);
    let used = |o: &Operands<f32>| {
        let [output, bound, end, end_bound] = expected(o, s);
        [
            share_used(&y, &output, &bound),
            share_used(&state, &end, &end_bound),
        ]
    };
    assert!(used(&operands).iter().all(|&used| used < 0.5));
    // The last decay left out; all of them one step late; a group too far; a token's dt.
    let wrong = |change: &dyn Fn(&mut Operands<f32>)| {
        let mut operands = operands.clone();
        change(&mut operands);
        used(&operands)
    };
    let [_, state] = wrong(&|o| o.log_a[198] = 0.0);
    assert!(state > 1.0);
    let [output, _] = wrong(&|o| o.log_a.rotate_right(2));
    assert!(output > 1.0);
    let [output, _] = wrong(&|o| o.b.rotate_right(8));
    assert!(output > 1.0);
    let [output, _] = wrong(&|o| o.dt[100] = 1.0);
    assert!(output > 1.0);
}

#[test]
fn wrong_shapes_are_refused() {
    let level = Level::detect();
    assert!(Ssd::new(level, [4, 2], [3, 2]).is_err());
    assert!(Ssd::new(level, [4, 2], [0, 2]).is_err());
    let ssd = Ssd::new(level, [4, 2], [2, 3]).unwrap();
    let workspace = &mut Workspace::new(1);
    let mut run = |x: usize, [dt, log_a, b, c]: [usize; 4], batch: usize| {
        let x = Panels::<f32>::zeros(x, 5, 2);
        let [dt, log_a, b, c] = [dt, log_a, b, c].map(|size| vec![0.0; size]);
        let inputs = SsdInputs {
            x: &x,
            dt: Some(&dt),
            log_a: &log_a,
            b: &b,
            c: &c,
        };
        let mut y = Panels::zeros(4, 5, 2);
        let done = ssd.run(&inputs, &mut ssd.zero_state(batch), &mut y, workspace);
        done.map_err(|e| e.to_string())
    };
    assert_eq!(run(4, [20, 20, 30, 30], 1), Ok(()));
    for (x, sizes, batch, said) in [
        (8, [20, 20, 30, 30], 1, "x"),
        (4, [19, 20, 30, 30], 1, "dt"),
        (4, [20, 21, 30, 30], 1, "log_a"),
        (4, [20, 20, 15, 30], 1, "B"),
        (4, [20, 20, 30, 31], 1, "C"),
        (4, [20, 20, 30, 30], 2, "state"),
    ] {
        let error = run(x, sizes, batch).unwrap_err();
        assert!(error.contains(said), "{said}: {error}");
    }
    assert!(ssd.state_from::<f32>(1, &[0.0; 23]).is_err());
}
