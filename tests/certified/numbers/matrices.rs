//! Matrices: how large they may be, eigenvectors of equal eigenvalues, products on several threads.

use hungry_hippos::algebra::ball::BallN;
use hungry_hippos::algebra::{
    Ball, ComplexScalar, Matrix, ROWS, Real, Rng, Scalar, check_matrix_size, hermitian_eigen,
    products, products_of,
};
use num_complex::Complex;

#[test]
fn matrices_are_written_out_up_to_4096() {
    assert!(check_matrix_size(4096).is_ok());
    assert!(check_matrix_size(4097).is_err());
    assert!(check_matrix_size(usize::MAX).is_err());
}

type Big = BallN<4>;
type BigComplex = <Big as Scalar>::Complex;

/// Eigenvectors, and how far they are from orthonormal.
fn vectors(h: &Matrix<BigComplex>) -> (Matrix<BigComplex>, f64) {
    let vectors = hermitian_eigen::<Big>(h).expect("finite").vectors;
    let star = vectors.transpose().map(|z| z.conj());
    let product = star.times(&vectors).expect("square");
    let identity = Matrix::<BigComplex>::identity(h.rows());
    let pairs = product.entries().iter().zip(identity.entries());
    let off = pairs.map(|(&x, &y)| (x - y).re().to_f64().hypot((x - y).im().to_f64()));
    (vectors, off.fold(0.0, f64::max))
}

fn big(x: f64) -> BigComplex {
    BigComplex::from_base(Big::from_f64(x))
}

#[test]
fn of_zero_nothing_is_turned() {
    let zero = Matrix::<Complex<f64>>::from_fn(3, 3, |_, _| Complex::ZERO);
    let eigen = hermitian_eigen::<f64>(&zero).expect("finite");
    assert_eq!(eigen.values, [0.0; 3]);
    assert_eq!(eigen.vectors, Matrix::identity(3));
}

/// `I + w w^T` has the eigenvalue 1 three times, known to the digits that are there after every step: what
/// is between them then says nothing of the vectors.
#[test]
fn equal_eigenvalues_leave_the_vectors_orthonormal() {
    let w = [0.3, -0.7, 1.1, 0.45].map(big);
    let h = Matrix::from_fn(4, 4, |i, j| w[i] * w[j] + big(f64::from(u8::from(i == j))));
    let (_, off) = vectors(&h);
    assert!(off < 1e-60, "{off:e}");
}

/// Eigenvalues 1 and `1 - k u` with the vectors `(3, 4)/5` and `(4, -3)/5`, all entries exact: up to a thousand
/// `u` apart they count as equal, and the vectors stay as good as `f64` makes them.
#[test]
fn a_thousand_roundings_apart_is_equal() {
    for (k, apart) in [(975.0, false), (1000.0, false), (1025.0, true)] {
        let part = |of_25: f64| of_25 * k / 25.0 * f64::UNIT_ROUNDOFF;
        let entries = [1.0 - part(16.0), part(12.0), part(12.0), 1.0 - part(9.0)];
        let h = Matrix::new(2, 2, entries.map(big).to_vec()).expect("square");
        let (v, off) = vectors(&h);
        assert!(off < 1e-60, "{k}: {off:e}");
        let slope = big(3.0) * v.entries()[0] + big(4.0) * v.entries()[2];
        let slope = slope.re().to_f64().abs();
        // A vector left alone is off by roundings of f64; a refined one by their square over the gap, and again.
        assert_eq!(slope < 1e-25, apart, "{k}: {slope:e}");
        assert!(slope < 1e-15, "{k}: {slope:e}");
    }
}

/// More rows than one thread takes: each as if it were alone.
#[test]
fn threads_change_no_bit() {
    let mut rng = Rng::new(1);
    let mut row = |_| -> Vec<Ball> { (0..9).map(|_| Ball::from_f64(rng.unit())).collect() };
    let (a, b): (Vec<_>, Vec<_>) = (
        (0..2 * ROWS + 3).map(&mut row).collect(),
        (0..5).map(&mut row).collect(),
    );
    let [a, b] = [&a, &b].map(|rows| rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let bits = |x: Vec<Ball>| -> Vec<_> {
        let bits = |x: Ball| (x.midpoint().map(f64::to_bits), x.radius().to_bits());
        x.into_iter().map(bits).collect()
    };
    let found = bits(products(&a, &b));
    assert_eq!(found, bits(products_of(&a, &b)));
    for (row, found) in a.iter().zip(found.chunks(b.len())) {
        assert_eq!(found, bits(products(&[row], &b)));
    }
    // Rows that change places change the products.
    assert_ne!(found, bits(products(&[&a[1..], &a[..1]].concat(), &b)));
}
