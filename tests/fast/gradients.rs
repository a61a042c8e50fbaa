//! The layer backwards against the reference's gradients in double precision.

use crate::common::trials;
use crate::decoding::{self, REAL_TYPES};
use crate::layer::{config, rounded, trial};
use crate::support::{assert_within, share_used};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Matrix, Real, Rng};
use hungry_hippos::fast::{Element, FastAdjoint, Level, SavedStates, Workspace};
use hungry_hippos::h3::{
    Config, Form, HeadOrder, Layer, LayerGradients, LayerParts, LayerState, Linear, Name,
    Parameters, RealType,
};
use hungry_hippos::oracle::LayerCase;
use hungry_hippos::ssm::{Diagonal, Discretization, Shift, StateSpace};
use num_complex::Complex;
use proptest::prelude::*;
use std::path::Path;

/// What a gradient is computed from.
pub(crate) struct Trial {
    pub(crate) p: Parameters<f64>,
    pub(crate) u: Tensor<f64>,
    state: LayerState<f64>,
    pub(crate) g: Tensor<f64>,
    pub(crate) g_state: LayerState<f64>,
}

/// A gradient as lists with names: of the input, of the initial state, of every parameter.
type Named = Vec<(&'static str, Vec<f64>)>;

pub(crate) fn sample(config: Config, batch: usize, len: usize, seed: u64) -> Trial {
    let (p, u, state) = trial(config.clone(), batch, len, seed);
    let (_, g, g_state) = trial(config, batch, len, seed ^ 0x5eed);
    Trial {
        p,
        u,
        state,
        g,
        g_state,
    }
}

impl Trial {
    /// The trial with stored numbers of which every type makes a stable pole, and changed otherwise.
    pub(crate) fn with_stable(self, change: impl Fn(Name, &mut [f64])) -> Self {
        let config = self.p.config().clone();
        let p = Parameters::new(config.clone(), |name| {
            let mut value = self.p.get(name).to_vec();
            if let (Name::InvAReal, RealType::None | RealType::Relu) = (name, config.real_type) {
                value.iter_mut().for_each(|x| *x = x.abs());
            }
            change(name, &mut value);
            Ok(value)
        });
        Self {
            p: p.unwrap(),
            ..self
        }
    }
}

/// The layer of magnitudes: every number by its absolute value.
fn majorant(layer: &Layer<f64>) -> Layer<f64> {
    let parts = layer.parts();
    let real = |x: &[f64]| x.iter().map(|x| x.abs()).collect::<Vec<_>>();
    let complex = |z: &[Complex<f64>]| -> Vec<_> { z.iter().map(|z| z.norm().into()).collect() };
    let linear = |l: &Linear<f64>| {
        let (w, d) = (l.weight(), l.bias().len());
        Linear::new(
            Matrix::from_fn(d, d, |i, j| w.get(i, j).expect("inside").abs()),
            real(l.bias()),
        )
        .unwrap()
    };
    let shift = |s: &Shift<f64>| Shift::new(real(s.b()), real(s.c()), s.feedthrough().abs());
    let diagonal = |s: &Diagonal<f64>| {
        let d = s.feedthrough().abs();
        Diagonal::new(complex(s.poles()), complex(s.b()), complex(s.c()), d)
    };
    Layer::new(LayerParts {
        head_dim: parts.head_dim,
        l_max: parts.l_max,
        head_order: parts.head_order,
        q: linear(&parts.q),
        k: linear(&parts.k),
        v: linear(&parts.v),
        output: linear(&parts.output),
        shift: parts.shift.iter().map(|s| shift(s).unwrap()).collect(),
        diagonal: parts
            .diagonal
            .iter()
            .map(|s| diagonal(s).unwrap())
            .collect(),
    })
    .unwrap()
}

fn magnitudes(state: &LayerState<f64>) -> LayerState<f64> {
    LayerState {
        shift: state.shift.map(f64::abs),
        diagonal: state.diagonal.map(|z| z.norm().into()),
        position: state.position,
    }
}

fn parts_of(state: &LayerState<f64>) -> [(&'static str, Vec<f64>); 2] {
    let diagonal = state.diagonal.data().iter().flat_map(|z| [z.re, z.im]);
    [
        ("initial_state_k", state.shift.data().to_vec()),
        ("initial_state", diagonal.collect()),
    ]
}

pub(crate) fn expected(t: &Trial) -> Named {
    let layer = t.p.discretize().unwrap();
    let form = Form::Recurrence;
    let discrete = layer
        .gradients(&form, &t.u, Some(&t.state), &t.g, Some(&t.g_state))
        .unwrap();
    let official = t.p.gradients(&discrete).unwrap();
    let mut named = vec![("input", discrete.input.data().to_vec())];
    named.extend(parts_of(&discrete.state));
    named.extend(Name::ALL.map(|name| (name.official(), official.get(name).to_vec())));
    named
}

/// How far gradients in unit roundoff `T::UNIT_ROUNDOFF` may be off, element by element.
///
/// A gradient is a sum of products of parameters, inputs, cotangents and states; the reference's
/// own gradients of the layer of magnitudes are the sums of the products' magnitudes. No product
/// has met more roundings than
///
/// - those of the forward stages it went through, counted as in `layer::bounds`;
/// - those of the backward stages: an adjoint has the transposed sums of its stage, so the same
///   again (the sum of three projections and the sum over d1 are as long as d, d_h);
/// - those of the sum over rows and over copies of a head, batch len d_h^2, and 64 more for what
///   brings the sums of a block to a, b and c.
///
/// Discretization and decoding, in double precision, are linear in what `a` and `b` received,
/// and multiply errors by the magnitudes of their slopes. In units of the bounds 1, 1 and 1/2 of
/// `a'`, `q` and `q'`, with `L = 4` the error of a function, the two differ by at most
///
/// - `q'` of zero-order hold, a quotient of `e^z - q` by some `|z|` of at least 0.7 in the reference, at
///   least 1 here: `(2L + 1 + 26 + 1) 1.5 + 6` and `2L + 1 + 22 + 8`, relative to 1/2: 196 (bilinear:
///   15 roundings in `q^2` each);
/// - what another `z` does to it, with types sigmoid and softplus: 96;
/// - the slope of a type: two functions and five roundings each: 26;
/// - products and sums: 24.
fn bounds<T: Element>(t: &Trial) -> Named {
    let config = t.p.config();
    let (d, d_h, m, n) = (
        config.d_model as f64,
        config.head_dim as f64,
        config.d_state as f64,
        config.n_modes() as f64,
    );
    let (batch, len) = (t.u.shape()[0] as f64, t.u.shape()[1] as f64);
    let ratio = f64::UNIT_ROUNDOFF / T::UNIT_ROUNDOFF;
    let (pole, entry) = decoding::relative(&t.p);
    let through = 3.0 * (d + 4.0)
        + (2.0 * m + 8.0)
        + (d_h + 2.0)
        + 2.0 * (36.0 + 2.0 * n)
        + 150.0
        + (10.0 / 16.0 + 10.0 * ratio) * (len + 1.0)
        + (d * 16.0 + 4.0)
        + (pole * (len + 1.0) + entry) * ratio;
    let k = 2.0 * through + batch * len * d_h * d_h + 64.0 + 342.0 * ratio;
    let unit = k * T::UNIT_ROUNDOFF;

    let layer = majorant(&t.p.discretize().unwrap());
    let LayerGradients {
        input,
        state,
        q,
        k,
        v,
        output,
        shift,
        diagonal,
    } = layer
        .gradients(
            &Form::Recurrence,
            &t.u.map(f64::abs),
            Some(&magnitudes(&t.state)),
            &t.g.map(f64::abs),
            Some(&magnitudes(&t.g_state)),
        )
        .unwrap();
    let modulus = |z: &[Complex<f64>]| -> Vec<f64> { z.iter().map(|z| z.norm()).collect() };
    let twice = |x: &[f64]| -> Vec<f64> { x.iter().flat_map(|&x| [x, x]).collect() };
    let modes = config.n_modes();
    let lambda = t.p.lambda();
    let mut of_lambda = vec![0.0; lambda.len()];
    let (mut of_b, mut of_dt) = (of_lambda.clone(), Vec::new());
    for (h, head) in diagonal.iter().enumerate() {
        let dt = t.p.get(Name::LogDt)[h].exp();
        let mut sum = 0.0;
        for i in 0..modes {
            let at = h % config.n_ssm * modes + i;
            let stored = &t.p.get(Name::B)[2 * at..];
            let b = stored[0].hypot(stored[1]);
            // |a'|, |q| and |q'| of a = a(z), b = dt B q(z).
            let (slope, q, slope_q) = match config.disc {
                Discretization::Bilinear => {
                    let q = (Complex::new(1.0, 0.0) - lambda[at] * dt / 2.0)
                        .inv()
                        .norm();
                    (q * q, q, q * q / 2.0)
                }
                // q is the mean of e^{sz} for s in [0, 1], q' that of s e^{sz}; re z <= 0.
                Discretization::ZeroOrderHold => (1.0, 1.0, 0.5),
                other => panic!("no slopes of {other} here"),
            };
            let (g_a, g_b) = (head.poles()[i].re, head.b()[i].re);
            let of_z = slope * g_a + dt * b * slope_q * g_b;
            of_lambda[at] += dt * of_z;
            of_b[at] += dt * q * g_b;
            sum += lambda[at].norm() * of_z + b * q * g_b;
        }
        of_dt.push(dt * sum);
    }
    let inv_a_real = of_lambda.iter().zip(t.p.get(Name::InvAReal));
    let inv_a_real = inv_a_real.map(|(x, stored)| match config.real_type {
        RealType::Exp => x * stored.exp(),
        // The slope of the others is at most one.
        _ => *x,
    });
    let inv_a_real: Vec<f64> = inv_a_real.collect();
    let mut named = vec![("input", input.data().to_vec())];
    named.extend(parts_of(&state));
    // Both parts of a complex number may be off by what the modulus is.
    named[2].1 = twice(&modulus(state.diagonal.data()));
    named.extend(Name::ALL.map(|name| {
        let bound = match name {
            Name::QWeight => q.weight().entries().to_vec(),
            Name::KWeight => k.weight().entries().to_vec(),
            Name::VWeight => v.weight().entries().to_vec(),
            Name::OutputWeight => output.weight().entries().to_vec(),
            Name::QBias => q.bias().to_vec(),
            Name::KBias => k.bias().to_vec(),
            Name::VBias => v.bias().to_vec(),
            Name::OutputBias => output.bias().to_vec(),
            Name::ShiftB => shift.iter().flat_map(|s| s.b().to_vec()).collect(),
            Name::ShiftC => shift.iter().flat_map(|s| s.c().to_vec()).collect(),
            Name::ShiftD => shift.iter().map(StateSpace::feedthrough).collect(),
            Name::D => diagonal.iter().map(StateSpace::feedthrough).collect(),
            Name::C => diagonal
                .iter()
                .flat_map(|s| twice(&modulus(s.c())))
                .collect(),
            Name::B => twice(&of_b),
            Name::LogDt => of_dt.clone(),
            Name::InvAReal => inv_a_real.clone(),
            Name::AImag => of_lambda.clone(),
        };
        (name.official(), bound)
    }));
    for (_, bound) in &mut named {
        bound.iter_mut().for_each(|x| *x *= unit);
    }
    named
}

fn tensor<T: Element>(tensor: &Tensor<f64>) -> Tensor<T> {
    tensor.map(T::from_f64)
}

/// The fast path's gradients, from buffers that come back from a run over what is not a number.
fn fast<T: Element>(level: Level, t: &Trial, threads: usize) -> Named {
    let adjoint = FastAdjoint::<T>::new(level, &t.p).unwrap();
    let mut workspace = Workspace::new(threads).sharing_all();
    let (u, g) = (tensor::<T>(&t.u), tensor::<T>(&t.g));
    let nan = tensor::<T>(&t.u.map(|_| f64::NAN));
    adjoint
        .gradients(&nan, None, &nan, None, &mut workspace)
        .unwrap();
    let (state, g_state) = (rounded(&t.state), rounded(&t.g_state));
    let got = adjoint
        .gradients(&u, Some(&state), &g, Some(&g_state), &mut workspace)
        .unwrap();
    assert_eq!(got.state.position, t.state.position, "position");
    let (output, end) = adjoint
        .layer()
        .forward(&u, Some(&state), &mut workspace)
        .unwrap();
    assert_eq!((got.output, got.final_state), (output, end), "forwards");
    let widened = LayerState {
        shift: got.state.shift.map(Real::to_f64),
        diagonal: got
            .state
            .diagonal
            .map(|z| Complex::new(z.re.to_f64(), z.im.to_f64())),
        position: got.state.position,
    };
    let mut named = vec![("input", got.input.map(Real::to_f64).into_data())];
    named.extend(parts_of(&widened));
    named.extend(Name::ALL.map(|name| (name.official(), got.parameters.get(name).to_vec())));
    named
}

/// Holds every gradient at a level against the reference; the largest share of a bound used.
pub(crate) fn check<T: Element>(level: Level, t: &Trial, want: &Named) -> f64 {
    let got = fast::<T>(level, t, 1);
    let mut worst: f64 = 0.0;
    for (((name, got), (_, want)), (_, bound)) in got.iter().zip(want).zip(&bounds::<T>(t)) {
        let what = format!("{level}, input {:?}, gradient of {name}", t.u.shape());
        assert_within(&what, got, want, bound);
        worst = worst.max(share_used(got, want, bound));
    }
    worst
}

#[test]
fn gradients_of_some_sizes() {
    for (heads, head_dim, d_state, batch, len) in [
        (20, 1, 64, 2, 200),
        (6, 4, 8, 3, 97),
        (17, 2, 5, 1, 40),
        // A sequence of more than one part, the last of them no whole number of blocks.
        (3, 1, 6, 8, 300),
        (2, 1, 4, 1, 2061),
    ] {
        let t = sample(config(heads, head_dim, d_state), batch, len, 5);
        let want = expected(&t);
        for level in Level::all() {
            let used = check::<f64>(level, &t, &want);
            assert!(used < 0.5, "the bound is nearly used up: {used}");
            check::<f32>(level, &t, &want);
        }
    }
}

#[test]
fn official_gradients_at_every_level() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut files = 0;
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if !name.starts_with("layer-") {
            continue;
        }
        let case = LayerCase::open(&path).unwrap();
        let (p, u) = (case.parameters().clone(), case.input().clone());
        let layer = p.discretize().unwrap();
        let zero = layer.zero_state(u.shape()[0]);
        let state = case.state().unwrap_or(&zero).clone();
        let cut = |l_max| l_max < state.position + u.shape()[1];
        if p.config().l_max.is_some_and(cut) {
            continue;
        }
        files += 1;
        let rng = &mut Rng::new(3);
        let g = case
            .cotangent()
            .cloned()
            .unwrap_or_else(|_| u.map(|_| f64::from(rng.unit() as f32)));
        let g_state = zero;
        let t = Trial {
            p,
            u,
            state,
            g,
            g_state,
        };
        let want = expected(&t);
        for level in Level::all() {
            println!("{path:?} {level}");
            check::<f64>(level, &t, &want);
        }
    }
    assert!(files >= 4, "only {files} files were compared");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(trials(24)))]

    #[test]
    fn gradients_of_any_size(
        batch in 1usize..4,
        heads in 1usize..19,
        head_dim in 1usize..4,
        d_state in 1usize..12,
        len in 0usize..40,
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
        let t = sample(config, batch, len, seed).with_stable(|_, _| ());
        let want = expected(&t);
        for level in Level::all() {
            check::<f64>(level, &t, &want);
            check::<f32>(level, &t, &want);
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_gradients(
        batch in 1usize..4,
        heads in 1usize..40,
        head_dim in 1usize..3,
        len in 1usize..90,
        threads in 2usize..5,
        seed: u64,
    ) {
        let t = sample(config(heads, head_dim, 6), batch, len, seed);
        let bits = |named: Named| -> Vec<u64> {
            named.iter().flat_map(|(_, x)| x.iter().map(|x| x.to_bits())).collect()
        };
        for level in Level::all() {
            let one = bits(fast::<f32>(level, &t, 1));
            prop_assert_eq!(&one, &bits(fast::<f32>(level, &t, threads)));
        }
    }

    #[test]
    fn projecting_again_changes_no_bit(
        batch in 1usize..4,
        heads in 1usize..40,
        head_dim in 1usize..3,
        len in 1usize..90,
        seed: u64,
    ) {
        let t = sample(config(heads, head_dim, 6), batch, len, seed);
        let (u, g) = (tensor::<f32>(&t.u), tensor::<f32>(&t.g));
        for level in Level::all() {
            let adjoint = FastAdjoint::<f32>::new(level, &t.p).unwrap();
            let (layer, mut workspace) = (adjoint.layer(), Workspace::new(1));
            let mut run = |mut saved: SavedStates<f32>| -> Vec<u64> {
                let mut state = layer.zero_state(batch);
                let (mut cotangent, mut sums) = (state.clone(), adjoint.zero_gradients());
                let (mut out, mut of_u) = (vec![0.0; u.data().len()], vec![0.0; u.data().len()]);
                adjoint.forward(u.data(), &mut out, &mut state, &mut saved, &mut workspace).unwrap();
                let (u, g) = (u.data(), g.data());
                adjoint
                    .backward(u, g, &saved, &mut cotangent, &mut of_u, &mut sums, &mut workspace)
                    .unwrap();
                let official = adjoint.official(&sums).unwrap();
                let sums = Name::ALL.into_iter().flat_map(|name| official.get(name).to_vec());
                let signals = of_u.iter().chain(&out).map(|&x| f64::from(x));
                sums.chain(signals).map(f64::to_bits).collect()
            };
            prop_assert_eq!(run(SavedStates::new()), run(SavedStates::with_projections()));
        }
    }
}

/// What the bound is there to refuse.
#[test]
fn gradients_of_another_layer_are_outside_the_bound() {
    let t = sample(config(18, 2, 6), 2, 60, 7);
    let want = expected(&t);
    let bound = bounds::<f64>(&t);
    let used = |t: &Trial| -> Vec<f64> {
        let got = fast::<f64>(Level::detect(), t, 1);
        let both = got.iter().zip(&want).zip(&bound);
        both.map(|(((_, got), (_, want)), (_, bound))| share_used(got, want, bound))
            .collect()
    };
    for name in Name::ALL {
        let p = Parameters::new(t.p.config().clone(), |of| {
            let mut value = t.p.get(of).to_vec();
            if of == name {
                value[0] += 1e-6;
            }
            Ok(value)
        });
        let changed = Trial {
            p: p.unwrap(),
            u: t.u.clone(),
            state: t.state.clone(),
            g: t.g.clone(),
            g_state: t.g_state.clone(),
        };
        // The output's bias enters no gradient at all.
        let worst = used(&changed).into_iter().fold(0.0, f64::max);
        assert_eq!(worst > 1.0, name != Name::OutputBias, "{name:?}: {worst}");
    }
    let ignored = Trial {
        g_state: t.p.discretize().unwrap().zero_state(2),
        p: t.p.clone(),
        u: t.u.clone(),
        state: t.state.clone(),
        g: t.g.clone(),
    };
    assert!(used(&ignored).iter().any(|&used| used > 1.0));
}

#[test]
fn sums_go_on_until_they_are_cleared_and_pieces_are_one_sequence() {
    let t = sample(config(5, 1, 6), 1, 100, 9);
    let (want, bound) = (expected(&t), bounds::<f64>(&t));
    let adjoint = FastAdjoint::<f64>::new(Level::detect(), &t.p).unwrap();
    let mut workspace = Workspace::new(1);
    let layer = adjoint.layer();
    let mut gradients = adjoint.zero_gradients();
    for _ in 0..2 {
        // Two pieces forwards, and back in the reverse order.
        let mut state = layer.state_from(&t.state).unwrap();
        let mut cotangent = layer.state_from(&t.g_state).unwrap();
        let mut of_u = vec![f64::NAN; 500];
        let mut saved = [SavedStates::new(), SavedStates::new()];
        let pieces = [0..5 * 37, 5 * 37..500];
        for (piece, saved) in pieces.iter().zip(&mut saved) {
            let u = &t.u.data()[piece.clone()];
            let mut out = vec![f64::NAN; u.len()];
            adjoint
                .forward(u, &mut out, &mut state, saved, &mut workspace)
                .unwrap();
        }
        gradients.clear();
        for (piece, saved) in pieces.iter().zip(&saved).rev() {
            adjoint
                .backward(
                    &t.u.data()[piece.clone()],
                    &t.g.data()[piece.clone()],
                    saved,
                    &mut cotangent,
                    &mut of_u[piece.clone()],
                    &mut gradients,
                    &mut workspace,
                )
                .unwrap();
        }
        let official = adjoint.official(&gradients).unwrap();
        assert_within("input", &of_u, &want[0].1, &bound[0].1);
        for ((name, want), (_, bound)) in want.iter().zip(&bound).skip(3) {
            let of = Name::ALL.into_iter().find(|n| n.official() == *name);
            assert_within(name, official.get(of.unwrap()), want, bound);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let t = sample(config(4, 1, 4), 2, 5, 1);
    let adjoint = FastAdjoint::<f64>::new(Level::detect(), &t.p).unwrap();
    let workspace = &mut Workspace::new(1);
    let short = Tensor::new([2, 4, 4], vec![0.0; 32]).unwrap();
    assert!(adjoint.gradients(&t.u, None, &t.g, None, workspace).is_ok());
    assert!(
        adjoint
            .gradients(&t.u, None, &short, None, workspace)
            .is_err()
    );
    let mut saved = SavedStates::new();
    let mut out = vec![0.0; 40];
    let mut state = adjoint.layer().zero_state(2);
    adjoint
        .forward(t.u.data(), &mut out, &mut state, &mut saved, workspace)
        .unwrap();
    let other = sample(config(40, 1, 4), 2, 5, 1);
    let other = FastAdjoint::<f64>::new(Level::detect(), &other.p).unwrap();
    let (u, g) = (t.u.data(), t.g.data());
    let mut sums = adjoint.zero_gradients();
    let mut foreign = other.zero_gradients();
    let mut of_u = vec![f64::NAN; 40];
    let mut l = adjoint.layer().zero_state(2);
    let mut l_foreign = other.layer().zero_state(2);
    let mut run = |u: &[f64], saved: &SavedStates<f64>, l: &mut _, sums: &mut _| {
        adjoint.backward(
            u,
            &g[..u.len()],
            saved,
            l,
            &mut of_u[..u.len()],
            sums,
            workspace,
        )
    };
    assert!(run(u, &SavedStates::new(), &mut l, &mut sums).is_err());
    assert!(run(&u[..32], &saved, &mut l, &mut sums).is_err());
    assert!(run(u, &saved, &mut l_foreign, &mut sums).is_err());
    assert!(run(u, &saved, &mut l, &mut foreign).is_err());
    assert!(run(u, &saved, &mut l, &mut sums).is_ok());
}
