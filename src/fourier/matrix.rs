//! Small dense matrices, for writing a transform down as a product and multiplying it out.

use crate::Error;
use crate::algebra::{Ring, dot};
use crate::error::check_len;

/// A dense matrix, row-major.
///
/// It serves to state identities such as the block factorization of the DFT matrix, and to
/// check them. It is no linear algebra package.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix<R> {
    rows: usize,
    cols: usize,
    entries: Vec<R>,
}

/// The most entries a matrix built here may have (a 4096 x 4096 matrix).
///
/// Anything larger is a mistake or a case for the algorithms, and would only exhaust memory.
const MAX_ENTRIES: usize = 1 << 24;

impl<R: Ring> Matrix<R> {
    /// The matrix with the given entries, `entries[i * cols + j]` in row `i`, column `j`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there are not `rows * cols` entries.
    pub fn new(rows: usize, cols: usize, entries: Vec<R>) -> Result<Self, Error> {
        let expected = rows
            .checked_mul(cols)
            .ok_or_else(|| Error::value("matrix shape", format!("{rows} x {cols} overflows")))?;
        check_len("matrix entries", entries.len(), expected)?;
        Ok(Self {
            rows,
            cols,
            entries,
        })
    }

    /// Refuses a square matrix too large to be written out.
    pub(crate) fn check_size(n: usize) -> Result<(), Error> {
        match n.checked_mul(n) {
            Some(entries) if entries <= MAX_ENTRIES => Ok(()),
            _ => Err(Error::value(
                "matrix size",
                format!("{n} x {n} is more than the {MAX_ENTRIES} entries a dense matrix may have"),
            )),
        }
    }

    pub(crate) fn from_fn(rows: usize, cols: usize, entry: impl Fn(usize, usize) -> R) -> Self {
        let entries = (0..rows * cols).map(|i| entry(i / cols, i % cols));
        Self {
            rows,
            cols,
            entries: entries.collect(),
        }
    }

    pub(crate) fn identity(n: usize) -> Self {
        Self::diagonal(&vec![R::ONE; n])
    }

    pub(crate) fn diagonal(d: &[R]) -> Self {
        Self::from_fn(d.len(), d.len(), |i, j| if i == j { d[i] } else { R::ZERO })
    }

    /// The matrix of a gather: `(P x)_i = x_{source[i]}`, a one in row `i`, column `source[i]`.
    pub(crate) fn permutation(source: &[usize]) -> Self {
        Self::from_fn(source.len(), source.len(), |i, j| {
            if source[i] == j { R::ONE } else { R::ZERO }
        })
    }

    /// `A (x) B`: the block matrix whose block `(i, j)` is `a_ij B`.
    pub(crate) fn kronecker(&self, b: &Self) -> Self {
        Self::from_fn(self.rows * b.rows, self.cols * b.cols, |i, j| {
            self.at(i / b.rows, j / b.cols) * b.at(i % b.rows, j % b.cols)
        })
    }

    fn at(&self, i: usize, j: usize) -> R {
        self.entries[i * self.cols + j]
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The entry in row `i`, column `j` (from 0), or `None` outside the matrix.
    #[must_use]
    pub fn get(&self, i: usize, j: usize) -> Option<R> {
        (i < self.rows && j < self.cols).then(|| self.at(i, j))
    }

    /// The transposed matrix.
    #[must_use]
    pub fn transpose(&self) -> Self {
        Self::from_fn(self.cols, self.rows, |i, j| self.at(j, i))
    }

    /// The product `self * other`, each entry summed from the left.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if `other` does not have as many rows as this matrix has columns.
    pub fn times(&self, other: &Self) -> Result<Self, Error> {
        if other.rows != self.cols {
            return Err(Error::shape(
                "right factor",
                format_args!("{} rows", self.cols),
                format_args!("{} rows", other.rows),
            ));
        }
        Ok(Self::from_fn(self.rows, other.cols, |i, j| {
            (0..self.cols).fold(R::ZERO, |sum, l| sum + self.at(i, l) * other.at(l, j))
        }))
    }

    /// The product with a column vector of `cols` elements.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if `x` has another length.
    pub fn apply(&self, x: &[R]) -> Result<Vec<R>, Error> {
        check_len("vector", x.len(), self.cols)?;
        Ok((0..self.rows)
            .map(|i| dot(&self.entries[i * self.cols..(i + 1) * self.cols], x))
            .collect())
    }
}
