//! Eigenvalues and eigenvectors of a Hermitian matrix: Jacobi's rotations in `f64`, then as many
//! steps of refinement as the scalar has digits.

use super::matrix::Matrix;
use super::real::Real;
use super::ring::{Field, Ring, one_half};
use super::scalar::ComplexScalar;
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use num_complex::Complex;

/// Sweeps after which something is wrong: convergence is quadratic, and six to ten are the rule.
const MAX_SWEEPS: usize = 60;

/// `H = V diag(values) V^*` with unitary `V`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HermitianEigen<T: Real> {
    /// The eigenvalues, ascending.
    pub values: Vec<T>,
    /// The eigenvectors: column `k` belongs to `values[k]`. Each is determined up to a factor of
    /// magnitude one, which is left as the rotations make it.
    pub vectors: Matrix<T::Complex>,
}

/// Eigenvalues and eigenvectors of the Hermitian matrix `h`, of which the upper triangle and the
/// real parts of the diagonal are read.
///
/// The absolute error of an eigenvalue is a few units roundoff of `T` times the norm of `h`. Every
/// step of refinement squares the error (relative to the gaps), so numbers of more words get all
/// their digits and dual numbers their derivatives; eigenvalues that are no further apart
/// than a thousand units roundoff of `f64` times the largest are treated as equal. Over balls the
/// radii bound the rounding, not what refinement leaves.
///
/// # Errors
///
/// If `h` is not square or holds a number that is not finite.
pub fn hermitian_eigen<T: Real>(h: &Matrix<T::Complex>) -> Result<HermitianEigen<T>, Error> {
    let n = h.rows();
    check_len("columns of a Hermitian matrix", h.cols(), n)?;
    let h = Matrix::from_fn(n, n, |i, j| match i.cmp(&j) {
        core::cmp::Ordering::Less => h.row(i)[j],
        core::cmp::Ordering::Equal => T::Complex::from_base(h.row(i)[i].re()),
        core::cmp::Ordering::Greater => h.row(j)[i].conj(),
    });
    let (values, v) = jacobi(h.map(|z| Complex::new(z.re().to_f64(), z.im().to_f64())))?;
    let mut eigen = HermitianEigen {
        values: values.into_iter().map(T::from_f64).into_vec(),
        vectors: v.map(|z| T::Complex::from_parts(T::from_f64(z.re), T::from_f64(z.im))),
    };
    let mut digits = f64::UNIT_ROUNDOFF;
    loop {
        eigen = refined(&h, &eigen)?;
        digits *= digits;
        if digits <= T::UNIT_ROUNDOFF {
            return Ok(eigen);
        }
    }
}

/// One step of Ogita and Aishima's refinement (2018). With `R = I - V^* V` and `S = V^* H V` the
/// eigenvalues are the quotients `S_ii / (1 - R_ii)`, and `V (I + E)` is closer to unitary and to
/// eigenvectors: `E_ij = (S_ij + l_j R_ij) / (l_j - l_i)`, or `R_ij / 2` where `l_i = l_j`.
fn refined<T: Real>(
    h: &Matrix<T::Complex>,
    eigen: &HermitianEigen<T>,
) -> Result<HermitianEigen<T>, Error> {
    let (n, v, half) = (h.rows(), &eigen.vectors, one_half::<T>()?);
    let star = v.transpose().map(|z| z.conj());
    let (s, square) = (star.times(&h.times(v)?)?, star.times(v)?);
    let r = |i: usize, j: usize| {
        let identity = if i == j {
            T::Complex::ONE
        } else {
            T::Complex::ZERO
        };
        identity - square.row(i)[j]
    };
    let values = (0..n)
        .map(|i| s.row(i)[i].re().divide(T::ONE - r(i, i).re()))
        .collect::<Option<Vec<T>>>()
        .ok_or_else(|| Error::value("Hermitian matrix", "its eigenvectors have lost all digits"))?;
    let largest = values
        .iter()
        .fold(0.0, |top, x| f64::max(top, x.to_f64().abs()));
    let e = Matrix::from_fn(n, n, |i, j| {
        let gap = values[j] - values[i];
        let apart = gap.to_f64().abs() > 1e3 * f64::UNIT_ROUNDOFF * largest;
        let quotient = (s.row(i)[j] + r(i, j).scale(values[j])).divide(T::Complex::from_base(gap));
        match quotient {
            Some(quotient) if apart => quotient,
            _ => r(i, j).scale(half),
        }
    });
    let correction = v.times(&e)?;
    let vectors = Matrix::from_fn(n, n, |i, j| v.row(i)[j] + correction.row(i)[j]);
    Ok(HermitianEigen { values, vectors })
}

/// Cyclic Jacobi (Jacobi 1846; for Hermitian matrices Forsythe and Henrici 1960): each rotation
/// annihilates one entry, and the sum of squares off the diagonal goes to zero quadratically.
fn jacobi(mut a: Matrix<Complex<f64>>) -> Result<(Vec<f64>, Matrix<Complex<f64>>), Error> {
    let n = a.rows();
    let mut v = Matrix::<Complex<f64>>::identity(n);
    let norm = |a: &Matrix<Complex<f64>>| {
        a.entries()
            .iter()
            .fold(0.0, |sum, z| f64::hypot(sum, z.norm()))
    };
    let total = norm(&a);
    if !total.is_finite() {
        return Err(Error::value(
            "Hermitian matrix",
            "holds a number that is not finite",
        ));
    }
    for _ in 0..MAX_SWEEPS {
        let mut off = 0.0;
        for p in 0..n {
            for q in p + 1..n {
                let entry = a.row(p)[q].norm();
                off = f64::hypot(off, entry);
                // Smaller ones could be dropped without moving an eigenvalue.
                if entry > f64::UNIT_ROUNDOFF * f64::UNIT_ROUNDOFF * total {
                    rotate(&mut a, &mut v, p, q);
                }
            }
        }
        if off <= f64::UNIT_ROUNDOFF * total {
            let mut order: Vec<usize> = (0..n).into_vec();
            order.sort_by(|&i, &j| f64::total_cmp(&a.row(i)[i].re, &a.row(j)[j].re));
            let values = order.iter().map(|&k| a.row(k)[k].re).into_vec();
            return Ok((values, Matrix::from_fn(n, n, |i, j| v.row(i)[order[j]])));
        }
    }
    Err(Error::value(
        "Hermitian matrix",
        format!("no convergence in {MAX_SWEEPS} sweeps"),
    ))
}

/// Annihilates entry `(p, q)`: with `a_pq = |a_pq| e`, the phase `conj(e)` on column `q` makes it
/// real, and a plane rotation by the smaller angle does the rest.
fn rotate(a: &mut Matrix<Complex<f64>>, v: &mut Matrix<Complex<f64>>, p: usize, q: usize) {
    let magnitude = a.row(p)[q].norm();
    let phase = (a.row(p)[q] / magnitude).conj();
    let (app, aqq) = (a.row(p)[p].re, a.row(q)[q].re);
    let tau = (aqq - app) / (2.0 * magnitude);
    let t = tau.signum() / (tau.abs() + f64::hypot(1.0, tau));
    let c = 1.0 / f64::hypot(1.0, t);
    let s = t * c;
    let turn = |x: Complex<f64>, y: Complex<f64>| {
        let y = y * phase;
        (x * c - y * s, x * s + y * c)
    };
    for k in 0..a.rows() {
        let (x, y) = turn(v.row(k)[p], v.row(k)[q]);
        (v.row_mut(k)[p], v.row_mut(k)[q]) = (x, y);
        let (x, y) = turn(a.row(k)[p], a.row(k)[q]);
        (a.row_mut(k)[p], a.row_mut(k)[q]) = (x, y);
        (a.row_mut(p)[k], a.row_mut(q)[k]) = (x.conj(), y.conj());
    }
    // What the loop made of the four entries in which p and q meet was read by no other step.
    a.row_mut(p)[p] = Complex::new(app - t * magnitude, 0.0);
    a.row_mut(q)[q] = Complex::new(aqq + t * magnitude, 0.0);
    a.row_mut(p)[q] = Complex::new(0.0, 0.0);
    a.row_mut(q)[p] = Complex::new(0.0, 0.0);
}
