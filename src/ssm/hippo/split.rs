//! Every HiPPO matrix is a normal matrix minus one of low rank; the normal part diagonalizes by a
//! unitary matrix, and its spectrum is where S4D comes from.

use super::continuous::Continuous;
use super::measure::Measure;
use crate::algebra::{
    ComplexScalar, HermitianEigen, Matrix, Real, Ring, hermitian_eigen, one_half,
};
use crate::error::Error;
use crate::into_vec::IntoVec as _;

/// `A + sum_r P_r P_r^T` of a measure is normal: a multiple of the identity plus a skew-symmetric
/// matrix.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NormalPlusLowRank<T: Real> {
    /// `A`, `B`.
    pub model: Continuous<T>,
    /// The vectors `P_r` (hippo.py, `rank_correction`): one, for LegT two.
    pub p: Vec<Vec<T>>,
    /// The multiple of the identity: the real part of every eigenvalue of the normal part.
    pub real: T,
    /// The imaginary parts, ascending (m), and the eigenvectors.
    pub eigen: HermitianEigen<T>,
    /// True if zero is a double eigenvalue, as for FouT with even size.
    double_zero: bool,
}

/// The vectors `P_r` with which `A + sum_r P_r P_r^T` is normal (`hippo.py`, `rank_correction`).
///
/// # Errors
///
/// For [`Measure::Lmu`], whose coordinates are not orthonormal: no such vectors exist there.
pub(super) fn low_rank<T: Real>(measure: Measure, m: usize) -> Result<Vec<Vec<T>>, Error> {
    let half = one_half::<T>()?;
    let scaled = |keep: &dyn Fn(usize) -> bool, square: &dyn Fn(usize) -> T| -> Vec<T> {
        (0..m)
            .map(|n| if keep(n) { square(n).sqrt() } else { T::ZERO })
            .into_vec()
    };
    let legendre = |n: usize| T::from_i64(2 * n as i64 + 1) * half;
    Ok(match measure {
        Measure::LegS => vec![scaled(&|_| true, &legendre)],
        // Odd places first, as the official code stacks them.
        Measure::LegT => vec![
            scaled(&|n| n % 2 == 1, &legendre),
            scaled(&|n| n % 2 == 0, &legendre),
        ],
        Measure::LagT => vec![scaled(&|_| true, &|_| half)],
        Measure::FouT => vec![scaled(&|n| n % 2 == 0, &|n| {
            T::from_i64(super::fout::fout_weight(n))
        })],
        Measure::Lmu => {
            return Err(Error::unsupported(
                "the normal-plus-low-rank split of lmu: its coordinates are not orthonormal; take legt",
            ));
        }
    })
}

impl<T: Real> NormalPlusLowRank<T> {
    /// The split of a measure with m states (`hippo.py`, `nplr`).
    ///
    /// # Errors
    ///
    /// For [`Measure::Lmu`], whose coordinates are not orthonormal; as [`Measure::model`]; if m is 0.
    pub fn new(measure: Measure, m: usize) -> Result<Self, Error> {
        if m == 0 {
            return Err(Error::value("state dimension", "0; expected at least 1"));
        }
        let model = measure.model::<T>(m)?;
        let p = low_rank::<T>(measure, m)?;
        let half = one_half::<T>()?;
        let normal = Matrix::from_fn(m, m, |i, j| {
            p.iter().fold(model.a.row(i)[j], |sum, p| sum + p[i] * p[j])
        });
        // S = real I + skew. The skew part is taken as half the difference, so that it is skew to
        // the last bit, and -i times it is Hermitian.
        let hermitian = Matrix::from_fn(m, m, |i, j| {
            let skew = (normal.row(i)[j] - normal.row(j)[i]) * half;
            T::Complex::from_parts(T::ZERO, -skew)
        });
        Ok(Self {
            real: normal.row(0)[0],
            eigen: hermitian_eigen::<T>(&hermitian)?,
            model,
            p,
            // The constant and the sine of frequency zero.
            double_zero: measure == Measure::FouT,
        })
    }

    /// The eigenvalues of the normal part with the smaller imaginary parts, one of each conjugate
    /// pair, m/2 (rounded down), ascending by imaginary part: the official `w`, below the real axis.
    #[must_use]
    pub fn poles(&self) -> Vec<T::Complex> {
        let values = &self.eigen.values;
        let lower = &values[..values.len() / 2];
        lower
            .iter()
            .map(|&im| T::Complex::from_parts(self.real, im))
            .into_vec()
    }

    /// The eigenvectors of [`poles`](Self::poles) as columns, m x m/2.
    ///
    /// If zero is a double eigenvalue (FouT's frequency zero), its real eigenvectors `v`, `w` give
    /// `(v + i w) / sqrt 2`, whose conjugate is the other eigenvector of the pair.
    #[must_use]
    pub fn vectors(&self) -> Matrix<T::Complex> {
        let (m, half) = (self.eigen.values.len(), self.eigen.values.len() / 2);
        let v = &self.eigen.vectors;
        let i_unit = T::Complex::from_parts(T::ZERO, T::ONE);
        let root = one_half::<T>().map_or(T::ZERO, Real::sqrt);
        Matrix::from_fn(m, half, |i, k| {
            let entry = v.row(i)[k];
            if self.double_zero && k + 1 == half {
                let other = v.row(i)[half];
                (entry + other * i_unit).scale(root)
            } else {
                entry
            }
        })
    }

    /// A real vector in the coordinates of the eigenvectors, `V^* x`, m/2.
    pub fn in_eigenvectors(&self, x: &[T]) -> Result<Vec<T::Complex>, Error> {
        let conjugate = self.vectors().transpose().map(|z| z.conj());
        let x: Vec<T::Complex> = x.iter().map(|&x| T::Complex::from_base(x)).into_vec();
        conjugate.apply(&x)
    }

    /// `A` again: `2 re(V diag(w) V^*) - sum_r P_r P_r^T`. For even m.
    ///
    /// # Errors
    ///
    /// If m is odd, where one eigenvalue has no partner.
    pub fn reassembled(&self) -> Result<Matrix<T>, Error> {
        let m = self.eigen.values.len();
        if m % 2 == 1 {
            return Err(Error::value(
                "state dimension",
                format!("{m}; expected an even number, so that all eigenvalues come in pairs"),
            ));
        }
        let (v, w) = (self.vectors(), self.poles());
        Ok(Matrix::from_fn(m, m, |i, j| {
            let terms = w.iter().enumerate();
            let sum = terms.fold(T::Complex::ZERO, |sum, (k, &w)| {
                sum + v.row(i)[k] * w * v.row(j)[k].conj()
            });
            self.p.iter().fold(sum.trace(), |sum, p| sum - p[i] * p[j])
        }))
    }
}
