//! Small dense matrices, row-major: for the matrices in the chapters.

use super::ring::{Ring, dot};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use core::ops::Range;

/// The most entries a transform may be written out in (a 4096 x 4096 matrix).
///
/// Anything larger is a mistake or a case for the algorithms, and would only exhaust memory.
const MAX_ENTRIES: usize = 1 << 24;

/// A dense `rows x cols` matrix over a ring, stored row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix<T> {
    rows: usize,
    cols: usize,
    entries: Vec<T>,
}

impl<T: Ring> Matrix<T> {
    /// The matrix whose entry in row `i`, column `j` (from 0) is `entry(i, j)`.
    pub fn from_fn(rows: usize, cols: usize, mut entry: impl FnMut(usize, usize) -> T) -> Self {
        Self::by_entries(rows, cols, &mut entry)
    }

    /// [`from_fn`](Self::from_fn), compiled once for every ring and not for every function.
    fn by_entries(rows: usize, cols: usize, entry: &mut dyn FnMut(usize, usize) -> T) -> Self {
        let mut entries = Vec::with_capacity(rows * cols);
        for i in 0..rows {
            for j in 0..cols {
                entries.push(entry(i, j));
            }
        }
        Self {
            rows,
            cols,
            entries,
        }
    }

    /// The matrix with these entries, row by row.
    ///
    /// # Errors
    ///
    /// If there are not `rows * cols` entries.
    pub fn new(rows: usize, cols: usize, entries: Vec<T>) -> Result<Self, Error> {
        let size = rows
            .checked_mul(cols)
            .ok_or_else(|| Error::value("matrix", format!("{rows} x {cols} is too large")))?;
        check_len("matrix entries", entries.len(), size)?;
        Ok(Self {
            rows,
            cols,
            entries,
        })
    }

    /// The matrix of entries known to fit, row by row.
    pub(super) fn known(rows: usize, cols: usize, entries: Vec<T>) -> Self {
        debug_assert_eq!(entries.len(), rows * cols);
        Self {
            rows,
            cols,
            entries,
        }
    }

    /// The matrix of a gather: `(P x)_i = x_{source[i]}`, a one in row `i`, column `source[i]`.
    pub(crate) fn permutation(source: &[usize]) -> Self {
        Self::from_fn(source.len(), source.len(), |i, j| {
            if source[i] == j { T::ONE } else { T::ZERO }
        })
    }

    /// `A (x) B`: the block matrix whose block `(i, j)` is `a_ij B`.
    pub(crate) fn kronecker(&self, b: &Self) -> Self {
        Self::from_fn(self.rows * b.rows, self.cols * b.cols, |i, j| {
            self.row(i / b.rows)[j / b.cols] * b.row(i % b.rows)[j % b.cols]
        })
    }

    /// The `n x n` identity.
    #[must_use]
    pub fn identity(n: usize) -> Self {
        Self::diagonal(&vec![T::ONE; n])
    }

    /// The square matrix with these diagonal entries and zeros elsewhere.
    #[must_use]
    pub fn diagonal(entries: &[T]) -> Self {
        Self::from_fn(entries.len(), entries.len(), |i, j| {
            if i == j { entries[i] } else { T::ZERO }
        })
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
    pub fn get(&self, i: usize, j: usize) -> Option<T> {
        (j < self.cols).then(|| self.entries.get(i * self.cols + j).copied())?
    }

    /// Row `i` as a slice. Panics outside the matrix, so it stays in the crate.
    pub(crate) fn row(&self, i: usize) -> &[T] {
        &self.entries[i * self.cols..(i + 1) * self.cols]
    }

    /// The matrix with every entry replaced by its image.
    pub fn map<U>(&self, mut f: impl FnMut(T) -> U) -> Matrix<U> {
        self.map_by(&mut f)
    }

    /// [`map`](Self::map), compiled once for every pair of types and not for every function.
    fn map_by<U>(&self, f: &mut dyn FnMut(T) -> U) -> Matrix<U> {
        Matrix {
            rows: self.rows,
            cols: self.cols,
            entries: self.entries.iter().map(|&x| f(x)).into_vec(),
        }
    }

    /// The entries, row by row.
    #[must_use]
    pub fn entries(&self) -> &[T] {
        &self.entries
    }

    /// As [`row`](Self::row), to be written.
    pub(crate) fn row_mut(&mut self, i: usize) -> &mut [T] {
        &mut self.entries[i * self.cols..(i + 1) * self.cols]
    }

    /// The transposed matrix.
    #[must_use]
    pub fn transpose(&self) -> Self {
        Self::from_fn(self.cols, self.rows, |i, j| self.row(j)[i])
    }

    /// The matrix product `self * other`.
    ///
    /// # Errors
    ///
    /// If `self` has not as many columns as `other` has rows.
    pub fn times(&self, other: &Self) -> Result<Self, Error> {
        check_len("rows of the right factor", other.rows, self.cols)?;
        let columns = other.transpose();
        Ok(Self::from_fn(self.rows, other.cols, |i, j| {
            dot(self.row(i), columns.row(j))
        }))
    }

    /// The matrix applied to a vector, `self * x`.
    ///
    /// # Errors
    ///
    /// If `x` has not as many elements as `self` has columns.
    pub fn apply(&self, x: &[T]) -> Result<Vec<T>, Error> {
        check_len("vector", x.len(), self.cols)?;
        Ok((0..self.rows).map(|i| dot(self.row(i), x)).into_vec())
    }

    /// The sum.
    ///
    /// # Errors
    ///
    /// If the shapes differ.
    pub fn plus(&self, other: &Self) -> Result<Self, Error> {
        self.entrywise("sum", other, |a, b| a + b)
    }

    /// Some of the rows. Panics outside the matrix, so it stays in the crate.
    pub(crate) fn row_range(&self, rows: Range<usize>) -> Self {
        Self {
            rows: rows.len(),
            cols: self.cols,
            entries: self.entries[rows.start * self.cols..rows.end * self.cols].to_vec(),
        }
    }

    /// The entrywise (Hadamard) product.
    ///
    /// # Errors
    ///
    /// If the shapes differ.
    pub fn hadamard(&self, other: &Self) -> Result<Self, Error> {
        self.entrywise("entrywise product", other, |a, b| a * b)
    }

    fn entrywise(&self, what: &str, other: &Self, f: impl Fn(T, T) -> T) -> Result<Self, Error> {
        if (self.rows, self.cols) != (other.rows, other.cols) {
            return Err(Error::shape(
                what,
                format_args!("a {} x {} matrix", self.rows, self.cols),
                format_args!("{} x {}", other.rows, other.cols),
            ));
        }
        Ok(Self::from_fn(self.rows, self.cols, |i, j| {
            f(self.row(i)[j], other.row(i)[j])
        }))
    }
}

/// Refuses a square matrix too large to be written out.
///
/// # Errors
///
/// If it would have more than 2^24 entries.
pub fn check_matrix_size(n: usize) -> Result<(), Error> {
    match n.checked_mul(n) {
        Some(entries) if entries <= MAX_ENTRIES => Ok(()),
        _ => Err(Error::value(
            "matrix size",
            format!("{n} x {n} is more than the {MAX_ENTRIES} entries a dense matrix may have"),
        )),
    }
}
