//! The whole layer against the reference in double precision, and against the official layers of
//! `tests/data`.

use crate::common::trials;
use crate::decoding::{self, REAL_TYPES};
use crate::support::{assert_within, share_used};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Real, Rng};
use hungry_hippos::fast::{Element, FastLayer, Level, Workspace};
use hungry_hippos::h3::{
    Config, Form, HeadOrder, Layer, LayerState, Name, Parameters, RealType, Stages,
};
use hungry_hippos::oracle::LayerCase;
use hungry_hippos::ssm::Discretization;
use num_complex::Complex;
use proptest::prelude::*;
use std::path::Path;

pub(crate) fn config(heads: usize, head_dim: usize, d_state: usize) -> Config {
    Config {
        d_model: heads * head_dim,
        head_dim,
        d_state,
        n_ssm: if heads.is_multiple_of(2) { 2 } else { 1 },
        disc: Discretization::Bilinear,
        real_type: RealType::Exp,
        l_max: None,
        head_order: HeadOrder::D2H,
    }
}

/// Random parameters of the sizes the official initialization draws.
fn parameters(config: Config, rng: &mut Rng) -> Parameters<f64> {
    let d = config.d_model as f64;
    let m = config.d_state as f64;
    Parameters::new(config.clone(), |name| {
        let size = name.shape(&config).iter().product();
        Ok((0..size)
            .map(|i| match name {
                Name::QWeight | Name::KWeight | Name::VWeight | Name::OutputWeight => {
                    rng.unit() / d.sqrt()
                }
                Name::LogDt => -4.6 + 2.3 * rng.unit(),
                Name::InvAReal => -0.69 + 0.2 * rng.unit(),
                Name::AImag => 3.2 * (i % 16) as f64,
                Name::ShiftC => rng.unit() / m.sqrt(),
                _ => rng.unit(),
            })
            .collect())
    })
    .unwrap()
}

/// Bounds of what the layer in unit roundoff `T::UNIT_ROUNDOFF` may be off, element by element of
/// the output and of the final states.
///
/// The layer is run on magnitudes: every number by its absolute value, every model by the
/// recurrence with |a|, |b|, |c|. An output is then a sum of products whose magnitudes add up to
/// the result, and each product has met so many roundings, in order of the stages, each counted
/// with the sums it stands in (inputs, parameters and conversions: 1 each):
///
/// - a projection: d products and sums, a bias: d + 4, for q, for k and for v;
/// - the shift model: 2 m + 8;
/// - kv, the gate and the sum over d1: d_h + 2;
/// - the diagonal model: K0 + K1 age as in `support::expected`, with every age at most the number
///   of steps since the state was zero;
/// - the output projection: d H' + 4, with the lanes that only fill vectors adding zeros.
///
/// Both decode on their own, so that `a` and `b` differ by `decoding::relative`, in double precision;
/// the first once for every step of its age.
pub(crate) fn bounds<T: Element>(
    p: &Parameters<f64>,
    layer: &Layer<f64>,
    u: &Tensor<f64>,
    state: &LayerState<f64>,
) -> (Vec<f64>, f64, f64) {
    let config = p.config();
    let (d, d_h, heads) = (config.d_model, config.head_dim, config.n_heads());
    let (m, n) = (config.d_state, config.n_modes());
    let &[batch, len, _] = u.shape() else {
        panic!("an input has three axes")
    };
    let magnitude = |name: Name, at: usize| p.get(name)[at].abs();
    let project = |weight: Name, bias: Name, x: &[f64]| -> Vec<f64> {
        (0..d)
            .map(|o| {
                let sum: f64 = (0..d).map(|i| magnitude(weight, o * d + i) * x[i]).sum();
                sum + magnitude(bias, o)
            })
            .collect()
    };
    let age = (len + 1) as f64;
    let ratio = f64::UNIT_ROUNDOFF / T::UNIT_ROUNDOFF;
    let (pole, input) = decoding::relative(p);
    let k = 3.0 * (d + 4) as f64
        + (2 * m + 8) as f64
        + (d_h + 2) as f64
        + 2.0 * (36.0 + 2.0 * n as f64)
        + 150.0
        + (10.0 / 16.0 + 10.0 * ratio) * age
        + (d * 16 + 4) as f64
        + (pole * age + input) * ratio;
    let unit = T::UNIT_ROUNDOFF * k;
    let mut out = Vec::new();
    let (mut largest_shift, mut largest_diagonal) = (0.0f64, 0.0f64);
    let lambda = p.lambda();
    let (b, c) = (p.get(Name::B), p.get(Name::C));
    for s in 0..batch {
        let mut shift: Vec<f64> = state.shift.data()[s * d * m..][..d * m]
            .iter()
            .map(|x| x.abs())
            .collect();
        let size = d_h * d_h * heads * n;
        let mut diagonal: Vec<f64> = state.diagonal.data()[s * size..][..size]
            .iter()
            .map(|z| z.norm())
            .collect();
        for t in 0..len {
            let x: Vec<f64> = u.data()[(s * len + t) * d..][..d]
                .iter()
                .map(|x| x.abs())
                .collect();
            let q = project(Name::QWeight, Name::QBias, &x);
            let mut key = project(Name::KWeight, Name::KBias, &x);
            let v = project(Name::VWeight, Name::VBias, &x);
            for ch in 0..d {
                let window = &mut shift[ch * m..][..m];
                let mut y = magnitude(Name::ShiftD, ch) * key[ch];
                for i in (0..m).rev() {
                    let moved = if i > 0 { window[i - 1] } else { 0.0 };
                    window[i] = moved + magnitude(Name::ShiftB, ch * m + i) * key[ch];
                    y += magnitude(Name::ShiftC, ch * m + i) * window[i];
                }
                key[ch] = y;
            }
            let mut gated = vec![0.0; d];
            for d1 in 0..d_h {
                for d2 in 0..d_h {
                    for h in 0..heads {
                        let kv = key[h * d_h + d1] * v[h * d_h + d2];
                        let mut y = magnitude(Name::D, h) * kv;
                        for i in 0..n {
                            let at = h % config.n_ssm * n + i;
                            let stored = Complex::new(b[2 * at], b[2 * at + 1]);
                            let dt = p.get(Name::LogDt)[h].exp();
                            let (a, b) = config.disc.apply(lambda[at], stored, dt).unwrap();
                            let c = &c[2 * (h * n + i)..];
                            let x = &mut diagonal[((d1 * d_h + d2) * heads + h) * n + i];
                            *x = a.norm() * *x + b.norm() * kv;
                            y += 2.0 * c[0].hypot(c[1]) * *x;
                        }
                        let place = match config.head_order {
                            HeadOrder::D2H => d2 * heads + h,
                            HeadOrder::HD2 => h * d_h + d2,
                        };
                        gated[place] += q[h * d_h + d1] * y;
                    }
                }
            }
            let row = project(Name::OutputWeight, Name::OutputBias, &gated);
            out.extend(row.iter().map(|y| unit * y));
        }
        largest_shift = shift.iter().copied().fold(largest_shift, f64::max);
        largest_diagonal = diagonal.iter().copied().fold(largest_diagonal, f64::max);
    }
    assert_eq!(layer.d_model(), d, "one layer");
    (out, unit * largest_shift, unit * largest_diagonal)
}

pub(crate) fn rounded<T: Element>(state: &LayerState<f64>) -> LayerState<T> {
    LayerState {
        shift: state.shift.map(T::from_f64),
        diagonal: state
            .diagonal
            .map(|z| Complex::new(T::from_f64(z.re), T::from_f64(z.im))),
        position: state.position,
    }
}

/// Numbers that both precisions hold.
fn short<T: Copy>(tensor: &Tensor<T>, f: impl Fn(T) -> f64) -> Tensor<f64> {
    tensor.map(|x| f64::from(f(x) as f32))
}

/// The fast layer at a level against the reference, whole and in pieces.
pub(crate) fn check<T: Element>(
    level: Level,
    p: &Parameters<f64>,
    u: &Tensor<f64>,
    state: &LayerState<f64>,
    pieces: &[usize],
) -> f64 {
    let layer = p.discretize().unwrap();
    let want = layer.forward(&Form::Recurrence, u, Some(state)).unwrap();
    let (bound, shift_bound, diagonal_bound) = bounds::<T>(p, &layer, u, state);
    let fast = FastLayer::<T>::new(level, p).unwrap();
    let (d, batch, len) = (layer.d_model(), u.shape()[0], u.shape()[1]);
    let input: Vec<T> = u.data().iter().map(|&x| T::from_f64(x)).collect();
    let nan = vec![T::from_f64(f64::NAN); input.len()];
    let mut workspace = Workspace::new(1);
    let mut worst: f64 = 0.0;
    for pieces in [&[len], pieces] {
        // The workspace comes back from a run over something that is not a number.
        let mut poisoned = nan.clone();
        fast.run(
            &nan,
            &mut poisoned,
            &mut fast.zero_state(batch),
            &mut workspace,
        )
        .unwrap();
        let mut running = fast.state_from(&rounded(state)).unwrap();
        let mut out = nan.clone();
        let mut start = 0;
        for &steps in pieces {
            let steps = steps.min(len - start);
            let rows = |b: usize| (b * len + start) * d..(b * len + start + steps) * d;
            let piece: Vec<T> = (0..batch).flat_map(|b| input[rows(b)].to_vec()).collect();
            let mut got = vec![T::from_f64(f64::NAN); piece.len()];
            fast.run(&piece, &mut got, &mut running, &mut workspace)
                .unwrap();
            for b in 0..batch {
                out[rows(b)].copy_from_slice(&got[b * steps * d..][..steps * d]);
            }
            start += steps;
        }
        assert_eq!(start, len, "the pieces cover the sequence");
        let what = format!("{level}, input {:?}, pieces {pieces:?}", u.shape());
        assert_within(&what, &out, want.output.data(), &bound);
        worst = worst.max(share_used(&out, want.output.data(), &bound));
        let got = fast.state_to(&running).unwrap();
        assert_eq!(got.position, want.state.position, "{what}: position");
        let whole = |tensor: &Tensor<f64>, bound: f64| vec![bound; tensor.data().len()];
        assert_within(
            &format!("{what}, shift state"),
            got.shift.data(),
            want.state.shift.data(),
            &whole(&want.state.shift, shift_bound),
        );
        for part in [0, 1] {
            let of = |z: [f64; 2]| z[part];
            let got = got.diagonal.map(|z| [z.re, z.im][part]);
            let want = want.state.diagonal.map(|z| of([z.re, z.im]));
            assert_within(
                &format!("{what}, diagonal state"),
                got.data(),
                want.data(),
                &whole(&want, diagonal_bound),
            );
        }
    }
    worst
}

pub(crate) fn trial(
    config: Config,
    batch: usize,
    len: usize,
    seed: u64,
) -> (Parameters<f64>, Tensor<f64>, LayerState<f64>) {
    let rng = &mut Rng::new(seed);
    let p = parameters(config, rng);
    let layer = p.discretize().unwrap();
    let u = short(&layer.sample_input(batch, len, rng), |x| x);
    let state = layer.sample_state(batch, 3, rng);
    let state = rounded::<f64>(&LayerState {
        shift: short(&state.shift, |x| x),
        diagonal: state
            .diagonal
            .map(|z| Complex::new(f64::from(z.re as f32), f64::from(z.im as f32))),
        position: state.position,
    });
    (p, u, state)
}

#[test]
fn official_layers_at_every_level() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut files = 0;
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if !name.starts_with("layer-") {
            continue;
        }
        let case = LayerCase::open(&path).unwrap();
        let p = case.parameters();
        let layer = p.discretize().unwrap();
        let zero = layer.zero_state(case.input().shape()[0]);
        let state = case.state().unwrap_or(&zero);
        let end = state.position + case.input().shape()[1];
        if p.config().l_max.is_some_and(|l_max| l_max < end) {
            // Its outputs are held to the reference's in `cut.rs`.
            continue;
        }
        files += 1;
        for level in Level::all() {
            println!("{path:?} {level}");
            check::<f64>(level, p, case.input(), state, &[1, 2, 5, 1000]);
        }
    }
    assert!(files >= 4, "only {files} files were compared");
}

#[test]
fn layers_of_some_sizes() {
    for (heads, head_dim, d_state, len) in [(20, 1, 64, 200), (6, 4, 8, 97), (17, 2, 5, 40)] {
        let (p, u, state) = trial(config(heads, head_dim, d_state), 3, len, 5);
        for level in Level::all() {
            let used = check::<f64>(level, &p, &u, &state, &[1, 31, 1, 1, 64, 500]);
            assert!(used < 0.5, "the bound is nearly used up: {used}");
            check::<f32>(level, &p, &u, &state, &[len / 2, len]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(trials(24)))]

    #[test]
    fn layers_of_any_size(
        batch in 1usize..4,
        heads in 1usize..19,
        head_dim in 1usize..4,
        d_state in 1usize..12,
        len in 0usize..40,
        cut in 0usize..20,
        zoh: bool,
        hd2: bool,
        real_type in prop::sample::select(&REAL_TYPES[..]),
        seed: u64,
    ) {
        let config = Config {
            real_type,
            disc: if zoh { Discretization::ZeroOrderHold } else { Discretization::Bilinear },
            head_order: if hd2 { HeadOrder::HD2 } else { HeadOrder::D2H },
            ..config(heads, head_dim, d_state)
        };
        let (p, u, state) = trial(config, batch, len, seed);
        for level in Level::all() {
            check::<f64>(level, &p, &u, &state, &[cut, 1, 100]);
            check::<f32>(level, &p, &u, &state, &[cut, 1, 100]);
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_bits(
        batch in 1usize..4,
        heads in 1usize..40,
        head_dim in 1usize..3,
        len in 1usize..90,
        threads in 2usize..5,
        seed: u64,
    ) {
        let (p, u, state) = trial(config(heads, head_dim, 6), batch, len, seed);
        let (u, state) = (u.map(|x| x as f32), rounded(&state));
        for level in Level::all() {
            let fast = FastLayer::<f32>::new(level, &p).unwrap();
            let run = |threads| {
                let (y, x) = fast.forward(&u, Some(&state), &mut Workspace::new(threads).sharing_all()).unwrap();
                let parts = x.diagonal.data().iter().flat_map(|z| [z.re, z.im]);
                let all = y.data().iter().chain(x.shift.data()).copied().chain(parts);
                all.map(f32::to_bits).collect::<Vec<_>>()
            };
            prop_assert_eq!(run(1), run(threads));
        }
    }
}

/// What the bound is there to refuse, in double precision: every parameter matters.
#[test]
fn a_layer_with_one_parameter_changed_is_outside_the_bound() {
    let (p, u, state) = trial(config(18, 2, 6), 2, 60, 7);
    let layer = p.discretize().unwrap();
    let Stages { output: want, .. } = layer.forward(&Form::Recurrence, &u, Some(&state)).unwrap();
    let (bound, _, _) = bounds::<f64>(&p, &layer, &u, &state);
    for name in Name::ALL {
        let changed = Parameters::new(p.config().clone(), |of| {
            let mut value = p.get(of).to_vec();
            if of == name {
                value[0] += 1e-6;
            }
            Ok(value)
        })
        .unwrap();
        let fast = FastLayer::<f64>::new(Level::detect(), &changed).unwrap();
        let (got, _) = fast
            .forward(&u, Some(&state), &mut Workspace::new(1))
            .unwrap();
        let used = share_used(got.data(), want.data(), &bound);
        assert!(used > 1.0, "{}: {used}", name.official());
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let (p, u, state) = trial(config(4, 1, 4), 2, 5, 1);
    let fast = FastLayer::<f64>::new(Level::detect(), &p).unwrap();
    let workspace = &mut Workspace::new(1);
    assert!(fast.forward(&u, Some(&state), workspace).is_ok());
    let flat = Tensor::new([10, 4], u.data().to_vec()).unwrap();
    assert!(fast.forward(&flat, None, workspace).is_err());
    let wide = Tensor::new([1, 2, 20], u.data().to_vec()).unwrap();
    assert!(fast.forward(&wide, None, workspace).is_err());
    let one = Tensor::new([1, 10, 4], u.data().to_vec()).unwrap();
    assert!(fast.forward(&one, Some(&state), workspace).is_err());
    let mut out = vec![0.0; 39];
    let mut running = fast.zero_state(2);
    assert!(
        fast.run(u.data(), &mut out, &mut running, workspace)
            .is_err()
    );
    assert!(
        fast.run(&u.data()[..39], &mut out, &mut running, workspace)
            .is_err()
    );
    let other = FastLayer::<f64>::new(Level::detect(), &trial(config(40, 1, 4), 2, 5, 1).0);
    let mut foreign = other.unwrap().zero_state(2);
    let mut out = vec![0.0; 40];
    assert!(
        fast.run(u.data(), &mut out, &mut foreign, workspace)
            .is_err()
    );
}

#[test]
fn pieces_from_an_iterator_are_one_sequence() {
    let (p, u, _) = trial(config(5, 1, 6), 1, 100, 9);
    let fast = FastLayer::<f64>::new(Level::detect(), &p).unwrap();
    let mut workspace = Workspace::new(1);
    let (whole, end) = fast.forward(&u, None, &mut workspace).unwrap();
    let mut state = fast.zero_state(1);
    let pieces: Vec<Vec<f64>> = u.data().chunks(5 * 17).map(<[f64]>::to_vec).collect();
    let got: Result<Vec<_>, _> = fast
        .run_pieces(pieces, &mut state, &mut workspace)
        .collect();
    let (got, layer) = (got.unwrap().concat(), p.discretize().unwrap());
    let (bound, _, _) = bounds::<f64>(&p, &layer, &u, &layer.zero_state(1));
    assert_within("pieces", &got, whole.data(), &bound);
    assert_eq!(fast.state_to(&state).unwrap().position, end.position);
}
