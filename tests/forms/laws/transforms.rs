//! The transforms: unitary up to the factor n, and turning a rotation into a twist of the bins.

use hungry_hippos::algebra::{ComplexScalar, M61, Ring, Rng, RootsOfUnity, Sample};
use hungry_hippos::fourier::dft::{dft, dft_matrix};
use hungry_hippos::fourier::fft::fft;
use num_complex::Complex;
use proptest::prelude::*;

type C = Complex<M61>;

fn inner(x: &[C], y: &[C]) -> C {
    let pairs = x.iter().zip(y);
    pairs.fold(C::ZERO, |sum, (&x, &y)| sum + ComplexScalar::conj(x) * y)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn inner_products_survive(bits in 0u32..8, seed: u64) {
        let n = 1usize << bits;
        let rng = &mut Rng::new(seed);
        let mut signal = || -> Vec<C> { (0..n).map(|_| M61::sample_complex(rng)).collect() };
        let (x, y) = (signal(), signal());
        let scale = C::from_base(M61::from_i64(n as i64));
        for transform in [dft::<C>, fft::<C>] {
            let (big_x, big_y) = (transform(&x).expect("2^k"), transform(&y).expect("2^k"));
            prop_assert_eq!(inner(&big_x, &big_y), scale * inner(&x, &y), "Parseval");
            let by = rng.below(n);
            let mut rotated = x.clone();
            rotated.rotate_right(by);
            let roots = C::roots_of_unity(n).expect("2^k");
            // X_k w^(-k by): the forward transform has w^(-jk).
            let twisted: Vec<C> = (0..n)
                .map(|k| big_x[k] * ComplexScalar::conj(roots[k * by % n]))
                .collect();
            prop_assert_eq!(transform(&rotated).expect("2^k"), twisted);
        }
    }
}

#[test]
fn the_matrix_is_unitary_up_to_its_size() {
    for n in [1, 2, 4, 8, 32] {
        let f = dft_matrix::<C>(n).expect("2^k");
        let adjoint = f.transpose().map(ComplexScalar::conj);
        let scale = C::from_base(M61::from_i64(n as i64));
        let diagonal = hungry_hippos::algebra::Matrix::diagonal(&vec![scale; n]);
        assert_eq!(adjoint.times(&f).expect("square"), diagonal, "n {n}");
    }
}
