//! Claim: the comparison of forms can fail. Each known mistake is refused by the very `==` that
//! the correct forms pass, and by the very bound that the float tests use.

use hungry_hippos::algebra::{ComplexScalar, M61, Rng, Sample};
use hungry_hippos::flashconv::{Chunking, MatrixSet};
use hungry_hippos::fourier::convolution::circular_convolution;
use hungry_hippos::ssm::{Diagonal, StateSpace, causal_convolution, recurrence};
use num_complex::Complex;

/// A diagonal model taken apart, so that it can be put together wrongly.
struct Parts<T: Sample> {
    a: Vec<T::Complex>,
    b: Vec<T::Complex>,
    c: Vec<T::Complex>,
    d: T,
    u: Vec<T>,
}

impl<T: Sample> Parts<T> {
    fn new(seed: u64) -> Self {
        let rng = &mut Rng::new(seed);
        let modes = 4;
        Self {
            a: (0..modes).map(|_| T::sample_pole(rng)).collect(),
            b: (0..modes).map(|_| T::sample_complex(rng)).collect(),
            c: (0..modes).map(|_| T::sample_complex(rng)).collect(),
            d: T::sample(rng),
            u: (0..48).map(|_| T::sample(rng)).collect(),
        }
    }

    fn model(&self) -> Diagonal<T> {
        Diagonal::new(self.a.clone(), self.b.clone(), self.c.clone(), self.d).expect("fits")
    }

    fn with_kernel(&self, f: &[T]) -> Vec<T> {
        causal_convolution(f, &self.u)
            .iter()
            .zip(&self.u)
            .map(|(&y, &u)| y + self.d * u)
            .collect()
    }

    /// The right outputs and the wrong ones, by name.
    fn mistakes(&self) -> (Vec<T>, Vec<(&'static str, Vec<T>)>)
    where
        T::Complex: hungry_hippos::algebra::RootsOfUnity,
    {
        let (ssm, n) = (self.model(), self.u.len());
        let f = ssm.kernel(n + 1);
        let right = recurrence(&ssm, &self.u, None).expect("fits").output;
        let mut late = f.clone();
        late.insert(0, T::ZERO);
        let model = |a: &[T::Complex], b: &[T::Complex], c: &[T::Complex], d: T| {
            let ssm = Diagonal::new(a.to_vec(), b.to_vec(), c.to_vec(), d).expect("fits");
            recurrence(&ssm, &self.u, None).expect("fits").output
        };
        let conj = |z: &[T::Complex]| -> Vec<T::Complex> { z.iter().map(|z| z.conj()).collect() };
        let halves: Vec<T> = {
            // re instead of the trace: the factor 2 forgotten.
            let half = T::ONE.divide(T::ONE + T::ONE).expect("2 is invertible");
            self.with_kernel(&f.iter().map(|&f| f * half).collect::<Vec<_>>())
        };
        let circular = circular_convolution(&f[..n], &self.u).expect("equal lengths");
        let wrapped = circular
            .iter()
            .zip(&self.u)
            .map(|(&y, &u)| y + self.d * u)
            .collect();
        let early = MatrixSet::EarlyRows
            .outputs(&ssm, &self.u, None, &Chunking::Uniform(16))
            .expect("fits");
        let delayed = MatrixSet::DelayedKernel
            .outputs(&ssm, &self.u, None, &Chunking::Uniform(16))
            .expect("fits");
        let wrong = vec![
            ("kernel one place late", self.with_kernel(&late)),
            ("kernel one place early", self.with_kernel(&f[1..])),
            ("circular wrap", wrapped),
            ("D dropped", model(&self.a, &self.b, &self.c, T::ZERO)),
            (
                "C conjugated",
                model(&self.a, &self.b, &conj(&self.c), self.d),
            ),
            (
                "B conjugated",
                model(&self.a, &conj(&self.b), &self.c, self.d),
            ),
            (
                "A conjugated",
                model(&conj(&self.a), &self.b, &self.c, self.d),
            ),
            ("real part instead of trace", halves),
            ("M_xy one place early", early),
            ("output read before the update", delayed),
            ("last output dropped", right[..n - 1].to_vec()),
        ];
        (right, wrong)
    }
}

#[test]
fn exact_equality_refuses_every_mistake() {
    for seed in 0..20 {
        let (right, wrong) = Parts::<M61>::new(seed).mistakes();
        for (name, outputs) in wrong {
            assert_ne!(outputs, right, "{name}, seed {seed}");
        }
    }
}

/// Conjugating everything is no mistake: the stored half of the pairs may be either half.
#[test]
fn conjugating_all_three_changes_nothing() {
    let parts = Parts::<M61>::new(1);
    let conj = |z: &[Complex<M61>]| z.iter().map(|&z| ComplexScalar::conj(z)).collect();
    let other = Diagonal::new(conj(&parts.a), conj(&parts.b), conj(&parts.c), parts.d);
    assert_eq!(
        recurrence(&other.expect("fits"), &parts.u, None)
            .expect("fits")
            .output,
        recurrence(&parts.model(), &parts.u, None)
            .expect("fits")
            .output,
    );
}

/// In f64 the forms agree within the a-priori bound and every mistake is outside it.
///
/// Bound: 48 steps, 4 modes, every quantity of magnitude at most 1.5, so that a sum has at most
/// 48 * 4 * 2 terms of magnitude at most 1.5^3; each term passes at most 48 * 3 roundings of its
/// power and 4 more, and each sum at most 48 + 4 + 1: 200 u relative to the sum of magnitudes.
#[test]
fn the_float_bound_refuses_every_mistake() {
    let bound = 200.0 * f64::EPSILON / 2.0 * (48.0 * 4.0 * 2.0 * 1.5f64.powi(3) + 1.0);
    for seed in 0..20 {
        let parts = Parts::<f64>::new(seed);
        let (right, wrong) = parts.mistakes();
        let direct = parts.with_kernel(&parts.model().kernel(parts.u.len()));
        crate::common::assert_close("direct", &direct, &right, bound);
        for (name, outputs) in wrong {
            assert!(
                crate::common::close(name, &outputs, &right, bound).is_err(),
                "{name}, seed {seed}"
            );
        }
    }
}
