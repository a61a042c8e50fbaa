//! Linear systems by elimination, over any field.

use super::matrix::Matrix;
use super::ring::Field;
use crate::error::{Error, check_len};

impl<T: Field> Matrix<T> {
    /// `X` with `self X = right`, by Gaussian elimination without exchange of rows.
    ///
    /// No row is exchanged, since a field has no notion of a large pivot. Over floats that is
    /// accurate where the matrix has a positive definite symmetric part, as `I - dt A / 2` has for
    /// every HiPPO matrix `A`: then no pivot can become small (Golub and Van Loan 1979).
    ///
    /// # Errors
    ///
    /// If `self` is not square, `right` has another number of rows, or a pivot has no inverse.
    pub fn solve(&self, right: &Self) -> Result<Self, Error> {
        let n = self.rows();
        check_len("columns of a square matrix", self.cols(), n)?;
        check_len("rows of the right-hand side", right.rows(), n)?;
        let (mut a, mut x) = (self.clone(), right.clone());
        for p in 0..n {
            let pivot = a.row(p)[p];
            let inverse = pivot.inverse().ok_or_else(|| {
                Error::value(
                    "linear system",
                    format!("pivot {p} is zero; rows are not exchanged"),
                )
            })?;
            let (pivot_row, pivot_right) = (a.row(p).to_vec(), x.row(p).to_vec());
            for i in p + 1..n {
                let factor = a.row(i)[p] * inverse;
                for (entry, &above) in a.row_mut(i)[p..].iter_mut().zip(&pivot_row[p..]) {
                    *entry = *entry - factor * above;
                }
                for (entry, &above) in x.row_mut(i).iter_mut().zip(&pivot_right) {
                    *entry = *entry - factor * above;
                }
            }
        }
        for p in (0..n).rev() {
            for j in p + 1..n {
                let (factor, below) = (a.row(p)[j], x.row(j).to_vec());
                for (entry, below) in x.row_mut(p).iter_mut().zip(below) {
                    *entry = *entry - factor * below;
                }
            }
            let pivot = a.row(p)[p];
            for entry in x.row_mut(p) {
                // The pivot had an inverse above.
                *entry = entry.divide(pivot).unwrap_or(T::ZERO);
            }
        }
        Ok(x)
    }
}
