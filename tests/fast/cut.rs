//! Layers whose kernels end at `l_max`, before the sequence does, against the reference.

use crate::common::golden_file;
use crate::layer::{bounds, config, trial};
use crate::support::{assert_within, share_used, transform_bound};
use hungry_hippos::Tensor;
use hungry_hippos::fast::{Element, FastAdjoint, FastLayer, Level, LongConvolution, Workspace};
use hungry_hippos::h3::{Form, HeadOrder, Name, Parameters, Stages};
use hungry_hippos::oracle::Golden;
use proptest::prelude::*;

/// The same parameters with kernels of at most `l_max` taps.
fn cut_at(p: &Parameters<f64>, l_max: usize) -> Parameters<f64> {
    let mut config = p.config().clone();
    config.l_max = Some(l_max);
    Parameters::new(config, |name| Ok(p.get(name).to_vec())).unwrap()
}

/// A run along the last axis.
fn row_of(tensor: &Tensor<f64>, r: usize) -> &[f64] {
    let len = tensor.shape().last().copied().unwrap();
    &tensor.data()[r * len..][..len]
}

/// What a transform adds to the bound of every output. The diagonal models' outputs are off by
/// `transform_bound` beside the roundings that `bounds` counts for the taps; the gate and the last
/// projection pass that on with the magnitudes of q and of the weights. Twice, since the stages here are
/// the reference's and not the ones met.
fn of_transforms<T: Element>(level: Level, p: &Parameters<f64>, stages: &Stages<f64>) -> Vec<f64> {
    let config = p.config();
    let (d, d_h, heads) = (config.d_model, config.head_dim, config.n_heads());
    let &[batch, len, _] = stages.output.shape() else {
        panic!("an output has three axes")
    };
    let window = config.l_max.unwrap();
    let points = LongConvolution::<T>::with_taps(level, heads, usize::MAX, window).points();
    let kernels = p.discretize().unwrap().ssm_kernel(len);
    let mut gated = vec![0.0; batch * len * d];
    for b in 0..batch {
        for (d1, d2, h) in
            (0..d_h * d_h * heads).map(|i| (i / heads / d_h, i / heads % d_h, i % heads))
        {
            let mut f = row_of(&kernels, h).to_vec();
            f[0] += p.get(Name::D)[h];
            let kv = row_of(&stages.kv, ((b * d_h + d1) * d_h + d2) * heads + h);
            let q = row_of(&stages.q, b * d + h * d_h + d1);
            let channel = match config.head_order {
                HeadOrder::D2H => d2 * heads + h,
                HeadOrder::HD2 => h * d_h + d2,
            };
            for (t, bound) in transform_bound::<T>(points, &f, kv).iter().enumerate() {
                gated[(b * len + t) * d + channel] += 2.0 * q[t].abs() * bound;
            }
        }
    }
    let weight = p.get(Name::OutputWeight);
    let row = |gated: &[f64], o: usize| -> f64 {
        let row = weight[o * d..(o + 1) * d].iter().zip(gated);
        row.map(|(w, g)| w.abs() * g).sum()
    };
    let rows = gated
        .chunks(d)
        .flat_map(|gated| (0..d).map(move |o| row(gated, o)));
    rows.collect()
}

/// The fast layer at a level against the reference's convolution, with any number of threads and buffers
/// full of what is not a number: the largest share of the bound used, for the right kernels and for
/// those of a layer with another window.
fn check<T: Element>(
    level: Level,
    p: &Parameters<f64>,
    other: &Parameters<f64>,
    u: &Tensor<f64>,
) -> (f64, f64) {
    let forward = |p: &Parameters<f64>| {
        let layer = p.discretize().unwrap();
        layer.forward(&Form::Convolution, u, None).unwrap()
    };
    let (layer, want) = (p.discretize().unwrap(), forward(p));
    let batch = u.shape()[0];
    let (mut bound, shift_bound, diagonal_bound) =
        bounds::<T>(p, &layer, u, &layer.zero_state(batch));
    for (bound, more) in bound.iter_mut().zip(of_transforms::<T>(level, p, &want)) {
        *bound += more;
    }
    let fast = FastLayer::<T>::new(level, p).unwrap();
    let input = u.map(T::from_f64);
    let run = |threads: usize| {
        let mut workspace = Workspace::new(threads).sharing_all();
        let nan = u.map(|_| T::from_f64(f64::NAN));
        fast.forward(&nan, None, &mut workspace).unwrap();
        let mut state = fast.zero_state(batch);
        let mut out = nan.data().to_vec();
        fast.run(input.data(), &mut out, &mut state, &mut workspace)
            .unwrap();
        (out, fast.state_to(&state).unwrap())
    };
    let (out, state) = run(1);
    assert!((&out, &state) == (&run(2).0, &run(3).1), "threads");
    let what = format!(
        "{level}, l_max {:?}, input {:?}",
        p.config().l_max,
        u.shape()
    );
    assert_within(&what, &out, want.output.data(), &bound);
    assert_eq!(state.position, want.state.position, "{what}: position");
    let all = |len: usize, bound: f64| vec![bound; len];
    let (got, expected) = (state.shift.data(), want.state.shift.data());
    assert_within(&what, got, expected, &all(got.len(), shift_bound));
    let parts =
        |z: &[num_complex::Complex<f64>]| z.iter().flat_map(|z| [z.re, z.im]).collect::<Vec<_>>();
    let got = state
        .diagonal
        .map(|z| num_complex::Complex::new(z.re.to_f64(), z.im.to_f64()));
    let (got, expected) = (parts(got.data()), parts(want.state.diagonal.data()));
    assert_within(&what, &got, &expected, &all(got.len(), diagonal_bound));
    (
        share_used(&out, want.output.data(), &bound),
        share_used(&out, forward(other).output.data(), &bound),
    )
}

/// (heads, head_dim, d_state), l_max, (batch, length), and why.
type Shape = ((usize, usize, usize), usize, (usize, usize), &'static str);

const SHAPES: [Shape; 6] = [
    ((5, 1, 8), 1, (1, 20), "a single tap"),
    ((3, 2, 8), 5, (2, 23), "the filters are cut too"),
    ((3, 2, 8), 8, (2, 9), "as long as the filters, one step cut"),
    (
        (17, 1, 4),
        33,
        (1, 100),
        "more heads than lanes, several parts",
    ),
    ((2, 1, 6), 24, (3, 25), "one step more than the window"),
    (
        (4, 1, 12),
        130,
        (1, 700),
        "more steps than a layer takes at once without a window",
    ),
];

#[test]
fn cut_kernels_at_every_level() {
    for level in Level::all() {
        for (sizes, l_max, (batch, len), why) in SHAPES {
            println!("{level}, {why}");
            let (heads, head_dim, d_state) = sizes;
            let (p, u, _) = trial(config(heads, head_dim, d_state), batch, len, 21);
            let (p, other) = (cut_at(&p, l_max), cut_at(&p, l_max + 1));
            check::<f32>(level, &p, &other, &u);
            let (used, wrong) = check::<f64>(level, &p, &other, &u);
            assert!(used < 0.5, "the bound is nearly used up: {used}");
            assert!(wrong > 1.0, "a tap more is within the bound: {wrong}");
        }
    }
}

#[test]
fn golden_layers_at_every_level() {
    for name in ["08-cut", "09-cut-short"] {
        let golden = Golden::open(&golden_file(name)).unwrap();
        let case = golden.layer().unwrap();
        let (p, u) = (case.parameters(), case.input());
        let whole = cut_at(p, u.shape()[1]);
        for level in Level::all() {
            check::<f32>(level, p, &whole, u);
            let (_, wrong) = check::<f64>(level, p, &whole, u);
            assert!(wrong > 1.0, "the whole kernel is within the bound: {wrong}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_shape_at_the_best_level(
        heads in 1usize..10,
        head_dim in 1usize..4,
        d_state in 1usize..8,
        l_max in 1usize..30,
        longer in 1usize..40,
        batch in 1usize..3,
        seed: u64,
    ) {
        let (p, u, _) = trial(config(heads, head_dim, 2 * d_state), batch, l_max + longer, seed);
        let p = cut_at(&p, l_max);
        check::<f32>(Level::detect(), &p, &p, &u);
        check::<f64>(Level::detect(), &p, &p, &u);
    }
}

/// What passes a state beyond the window is refused, with the reason, and leaves all as it was.
#[test]
fn states_beyond_the_window_are_refused() {
    let (p, u, state) = trial(config(3, 1, 4), 1, 5, 22);
    let p = cut_at(&p, 7);
    let layer = FastLayer::<f64>::new(Level::detect(), &p).unwrap();
    let workspace = &mut Workspace::new(1);
    // Three inputs came before, so the fifth is the eighth.
    let refused = layer
        .forward(&u, Some(&state), workspace)
        .unwrap_err()
        .to_string();
    for part in ["passes a state", "l_max = 7", "8 inputs", "convolution"] {
        assert!(refused.contains(part), "{refused}");
    }
    let mut running = layer.state_from(&state).unwrap();
    let before = running.clone();
    let mut out = vec![1.0; 15];
    assert!(
        layer
            .run(u.data(), &mut out, &mut running, workspace)
            .is_err()
    );
    assert_eq!((running, out), (before, vec![1.0; 15]));
    // As the reference does it: a whole sequence, and nothing after it.
    let mut running = layer.zero_state(1);
    let (long, mut out) = (vec![0.5; 24], vec![0.0; 24]);
    layer.run(&long, &mut out, &mut running, workspace).unwrap();
    assert_eq!(running.position(), 8);
    assert!(
        layer
            .run(&long[..3], &mut out[..3], &mut running, workspace)
            .is_err()
    );
    // Backwards states are passed too.
    let adjoint = FastAdjoint::<f64>::new(Level::detect(), &p).unwrap();
    let long = Tensor::new([1, 8, 3], long).unwrap();
    let refused = adjoint.gradients(&long, None, &long, None, workspace);
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("backward") && refused.contains("l_max = 7"),
        "{refused}"
    );
}
