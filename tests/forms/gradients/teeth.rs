//! Claim: the comparisons of gradients can fail. Each known mistake of a backward pass is refused
//! by the very `==` that the right one passes, and in f64 by the bound of the float tests.

use super::support::*;
use crate::common::{close, largest};
use hungry_hippos::algebra::{ComplexScalar, Field, Ring, Rng, RootsOfUnity, Sample, Scalar};
use hungry_hippos::flashconv::{Chunking, chunk_states};
use hungry_hippos::fourier::fft::{fft, inverse_fft};
use hungry_hippos::h3::Form;
use hungry_hippos::ssm::{Adjoint, Gradients, causal_convolution_adjoint, recurrence_adjoint};

/// What can be wrong with a chunked adjoint.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    None,
    /// Every chunk begins with a zero cotangent of its outgoing state.
    StateNotPassed,
    /// The cotangent of the final state is ignored, as long published of one selective scan.
    FinalStateIgnored,
    /// The chunk before receives the cotangent without its own `M_xx*`.
    NotAdvanced,
    /// The columns of `M_xy*` begin at power 0: the state moves by one against the outputs.
    OutputsOneEarly,
    /// The rows of `M_ux*` begin at power 1: as if the passed state had not taken the chunk's last
    /// input in.
    InputsOneLate,
    /// The state saved for a chunk is the one after it.
    WrongSavedState,
    /// The kernel's cotangent is that of the first chunk, not the sum.
    KernelOfOneChunk,
    /// Convolved again where a correlation belongs.
    NotReversed,
}

const MISTAKES: [Mistake; 8] = [
    Mistake::StateNotPassed,
    Mistake::FinalStateIgnored,
    Mistake::NotAdvanced,
    Mistake::OutputsOneEarly,
    Mistake::InputsOneLate,
    Mistake::WrongSavedState,
    Mistake::KernelOfOneChunk,
    Mistake::NotReversed,
];

fn add<E: Ring>(x: &[E], y: &[E]) -> Vec<E> {
    x.iter().zip(y).map(|(&x, &y)| x + y).collect()
}

/// A chunked adjoint put together from the public blocks, rightly or with one mistake.
fn chunked<S: Adjoint>(
    ssm: &S,
    u: &[S::Scalar],
    x0: &[S::Element],
    g: &[S::Scalar],
    g_state: &[S::Element],
    chunk: usize,
    mistake: Mistake,
) -> Gradients<S> {
    let zero = vec![S::Element::ZERO; ssm.state_dim()];
    let after = chunk_states(ssm, u, Some(x0), &Chunking::Uniform(chunk)).expect("fits");
    let mut gradient = ssm.zero_gradient();
    let mut input = vec![S::Scalar::ZERO; u.len()];
    let kernel = ssm.kernel(chunk);
    let mut of_kernel = vec![S::Scalar::ZERO; chunk];
    let mut l = match mistake {
        Mistake::FinalStateIgnored => zero.clone(),
        _ => g_state.to_vec(),
    };
    for c in (0..after.len()).rev() {
        let range = c * chunk..((c + 1) * chunk).min(u.len());
        let (u, g, input) = (&u[range.clone()], &g[range.clone()], &mut input[range]);
        let x = match mistake {
            Mistake::WrongSavedState => &after[c][..],
            _ if c == 0 => x0,
            _ => &after[c - 1],
        };
        let out = match mistake {
            Mistake::InputsOneLate => ssm.advance_adjoint(&zero, 1, &l, &mut ssm.zero_gradient()),
            _ => l.clone(),
        };
        let (f, mut of_input) = causal_convolution_adjoint(&kernel, u, g);
        if mistake == Mistake::NotReversed {
            of_input = hungry_hippos::ssm::causal_convolution(&kernel, g);
        }
        let from_state = ssm.input_to_state_adjoint(u, &out, &mut gradient);
        for i in 0..u.len() {
            let d = ssm.feedthrough_adjoint(u[i], g[i], &mut gradient);
            input[i] = of_input[i] + from_state[i] + d;
        }
        if mistake != Mistake::KernelOfOneChunk || c == 0 {
            of_kernel = add(&of_kernel, &f);
        }
        let carried = ssm.advance_adjoint(x, u.len(), &l, &mut gradient);
        let read = match mistake {
            Mistake::OutputsOneEarly => add(
                &ssm.read_adjoint(x, g[0], &mut gradient),
                &ssm.state_to_output_adjoint(x, &g[1..], &mut gradient),
            ),
            _ => ssm.state_to_output_adjoint(x, g, &mut gradient),
        };
        l = match mistake {
            Mistake::StateNotPassed if c > 0 => zero.clone(),
            Mistake::NotAdvanced => add(&l, &read),
            _ => add(&carried, &read),
        };
    }
    ssm.kernel_adjoint(&of_kernel, &mut gradient);
    Gradients {
        input,
        state: l,
        model: gradient,
    }
}

/// A model with input, state and cotangents.
struct Case<F: Structure, T: Scalar> {
    ssm: F::Model<T>,
    u: Vec<T>,
    x0: Vec<T>,
    g: Vec<T>,
    g_state: Vec<T>,
}

impl<F: Structure, T: Sample> Case<F, T> {
    fn new(ssm: F::Model<T>, m: usize, n: usize, rng: &mut Rng) -> Self {
        Self {
            ssm,
            u: random(n, rng),
            x0: random(F::state_size(m), rng),
            g: random(n, rng),
            g_state: random(F::state_size(m), rng),
        }
    }

    fn right(&self) -> Vec<T> {
        let (x0, g_state) = (F::state(&self.x0), F::state(&self.g_state));
        let gradients = recurrence_adjoint(&self.ssm, &self.u, Some(&x0), &self.g, Some(&g_state));
        flat_gradients::<F, T>(&gradients.expect("fits"))
    }

    fn with(&self, mistake: Mistake) -> Vec<T> {
        let (x0, g_state) = (F::state(&self.x0), F::state(&self.g_state));
        let gradients = chunked(&self.ssm, &self.u, &x0, &self.g, &g_state, 7, mistake);
        flat_gradients::<F, T>(&gradients)
    }
}

#[test]
fn exact_equality_refuses_every_chunked_mistake() {
    fn refuse<F: Structure>(seed: u64) {
        let (rng, m) = (&mut Rng::new(seed), 4);
        let ssm = F::build(m, &random::<Exact>(F::size(m), rng));
        let case = Case::<F, Exact>::new(ssm, m, 23, rng);
        let right = case.right();
        assert_eq!(case.with(Mistake::None), right, "the right one passes");
        for mistake in MISTAKES {
            assert_ne!(case.with(mistake), right, "{mistake:?}, seed {seed}");
        }
    }
    for seed in 0..20 {
        refuse::<IsDense>(seed);
        refuse::<IsDiagonal>(seed);
        refuse::<IsShift>(seed);
    }
}

/// In f64, with the bound that the official gradients are compared with.
#[test]
fn the_float_bound_refuses_every_chunked_mistake() {
    for seed in 0..20 {
        let (rng, m) = (&mut Rng::new(seed), 4);
        let ssm = hungry_hippos::ssm::Diagonal::<f64>::sample(m, rng);
        let case = Case::<IsDiagonal, f64>::new(ssm, m, 23, rng);
        let right = case.right();
        let bound = 1e-11 * largest(&right);
        close("right", &case.with(Mistake::None), &right, bound).expect("the right one passes");
        for mistake in MISTAKES {
            let refused = close("wrong", &case.with(mistake), &right, bound);
            assert!(refused.is_err(), "{mistake:?}, seed {seed}");
        }
    }
}

/// The Fourier adjoint needs the conjugate spectrum: `F^{-1}(F f . F g)` convolves once more.
#[test]
fn a_dropped_conjugate_in_the_spectrum_is_refused() {
    fn by_spectra<T: Scalar>(f: &[T], g: &[T], conjugate: bool) -> Vec<T>
    where
        T::Complex: RootsOfUnity,
    {
        let padded = |x: &[T]| -> Vec<T::Complex> {
            let mut z: Vec<_> = x.iter().map(|&x| T::Complex::from_base(x)).collect();
            z.resize(64, T::Complex::ZERO);
            z
        };
        let (f, spectrum) = (fft(&padded(f)).expect("64"), fft(&padded(g)).expect("64"));
        let product: Vec<_> = f
            .iter()
            .zip(spectrum)
            .map(|(&f, g)| if conjugate { f.conj() * g } else { f * g })
            .collect();
        let y = inverse_fft(&product).expect("64");
        y[..g.len()].iter().map(|y| y.re()).collect()
    }
    let rng = &mut Rng::new(2);
    for n in [2, 7, 32] {
        let (f, u, g) = (random(n, rng), random(n, rng), random(n, rng));
        let (_, right) = causal_convolution_adjoint::<Exact>(&f, &u, &g);
        assert_eq!(by_spectra(&f, &g, true), right, "n {n}");
        assert_ne!(by_spectra(&f, &g, false), right, "n {n}");
    }
}

/// The convention of complex parameters: the conjugate of every complex gradient (which another
/// framework returns), the forgotten factor 2 of the trace, and the state's cotangent carried by
/// `a` instead of `conj a`.
#[test]
fn mistaken_complex_conventions_are_refused() {
    let (rng, m) = (&mut Rng::new(8), 3);
    let ssm = IsDiagonal::build(m, &random::<Exact>(IsDiagonal::size(m), rng));
    let case = Case::<IsDiagonal, Exact>::new(ssm, m, 9, rng);
    let right = case.right();
    let complex = ..6 * m;
    let mut conjugated = right.clone();
    for im in conjugated[complex].iter_mut().skip(1).step_by(2) {
        *im = -*im;
    }
    assert_ne!(conjugated, right);
    let half = Exact::from_i64(2).inverse().expect("odd characteristic");
    let halved: Vec<_> = right[complex].iter().map(|&x| x * half).collect();
    assert_ne!(halved, right[complex]);

    // The cotangent of x_0 from that of the final state alone is conj(a)^N g.
    let g_state = IsDiagonal::state(&case.g_state);
    let zeros = vec![Exact::ZERO; 9];
    let alone = recurrence_adjoint(&case.ssm, &case.u, None, &zeros, Some(&g_state));
    let alone = alone.expect("fits").state;
    let carried = |conjugate: bool| -> Vec<_> {
        let poles = case.ssm.poles().iter();
        let factors = poles.map(|&a| if conjugate { ComplexScalar::conj(a) } else { a });
        factors
            .zip(&g_state)
            .map(|(a, &g)| a.power(9) * g)
            .collect()
    };
    assert_eq!(carried(true), alone);
    assert_ne!(carried(false), alone);
}

/// What a model shared by heads, or used for every element of a batch, receives is a sum.
#[test]
fn gradients_not_summed_are_refused() {
    let problem = shared_layer();
    let rng = &mut Rng::new(21);
    let flat: Vec<Exact> = random(problem.size(), rng);
    let g: Vec<Exact> = random(problem.output_size() + problem.state_size(), rng);
    let right = problem.gradient(&Form::Fft, &flat, &g);
    let (built, gradients) = problem.layer_gradients(&Form::Fft, &flat, &g);
    let discrete: Vec<_> = gradients
        .diagonal
        .iter()
        .map(|head| (head.poles().to_vec(), head.b().to_vec()))
        .collect();
    let modes = built.modes.bilinear_adjoint(&discrete).expect("no pole");
    assert_eq!(problem.flatten(&gradients, &modes), right);
    // One head's share in the place of the sum, for each model: lambda and B are wrong, the rest
    // (each head's own dt among it) is right.
    for first in [true, false] {
        let mut share = discrete.clone();
        for (h, head) in share.iter_mut().enumerate() {
            if (h < problem.n_ssm) != first {
                let zero = || vec![Ring::ZERO; head.0.len()];
                *head = (zero(), zero());
            }
        }
        let mut wrong = built.modes.bilinear_adjoint(&share).expect("no pole");
        wrong.dt.clone_from(&modes.dt);
        assert_ne!(problem.flatten(&gradients, &wrong), right, "first {first}");
    }
    // The first element of the batch alone: the same loss with the other's cotangents zero.
    let mut first = g.clone();
    first[problem.output_size() / 2..problem.output_size()].fill(Exact::ZERO);
    assert_ne!(problem.gradient(&Form::Fft, &flat, &first), right);
}

/// A sequence shorter than the shift's window leaves part of the initial state in the final one:
/// its cotangent must pass through, moved by exactly the length.
#[test]
fn a_short_sequence_passes_the_final_states_cotangent_through() {
    let (rng, m, n) = (&mut Rng::new(6), 4, 2);
    let ssm = IsShift::build(m, &random::<Exact>(IsShift::size(m), rng));
    let (u, g_state) = (random::<Exact>(n, rng), random::<Exact>(m, rng));
    let zeros = vec![Exact::ZERO; n];
    let gradients = recurrence_adjoint(&ssm, &u, None, &zeros, Some(&g_state)).expect("fits");
    let moved = |places: usize| -> Vec<Exact> {
        let rest = g_state[places..].iter().copied();
        rest.chain(std::iter::repeat(Exact::ZERO)).take(m).collect()
    };
    assert_eq!(gradients.state, moved(n));
    for (places, mistake) in [(m, "dropped"), (n - 1, "clamped"), (n + 1, "one too far")] {
        assert_ne!(gradients.state, moved(places), "{mistake}");
    }
    for form in forms(n, rng) {
        let got = form.gradients(&ssm, &u, None, &zeros, Some(&g_state));
        assert_eq!(got.as_ref(), Ok(&gradients), "{form:?}");
    }
}
