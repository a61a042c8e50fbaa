//! A row-major array with a shape: what the layer takes and returns.

use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use core::ops::Range;

/// The largest product of the axes that are not zero, of an array that is empty.
const MAX_EMPTY: usize = 1 << 20;

/// A row-major array: the last axis varies fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor<T> {
    shape: Vec<usize>,
    data: Vec<T>,
}

impl<T: Copy> Tensor<T> {
    /// The array of this shape with these elements.
    ///
    /// # Errors
    ///
    /// If there are not as many elements as the shape has places.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<T>) -> Result<Self, Error> {
        let shape = shape.into();
        check_places(&shape, data.len())?;
        Ok(Self { shape, data })
    }

    /// The array of a shape known to fit its elements.
    pub(crate) fn known(shape: impl Into<Vec<usize>>, data: Vec<T>) -> Self {
        let shape = shape.into();
        debug_assert_eq!(shape.iter().product::<usize>(), data.len());
        Self { shape, data }
    }

    /// The array of this shape filled with one value.
    pub(crate) fn filled(shape: impl Into<Vec<usize>>, value: T) -> Self {
        let shape = shape.into();
        let size = shape.iter().product();
        Self {
            shape,
            data: vec![value; size],
        }
    }

    /// The length of each axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    #[must_use]
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The elements, row-major, to be written.
    pub(crate) fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The elements, row-major, taken out.
    #[must_use]
    pub fn into_data(self) -> Vec<T> {
        self.data
    }

    /// The array with every element replaced by its image.
    pub fn map<U: Copy>(&self, mut f: impl FnMut(T) -> U) -> Tensor<U> {
        self.map_by(&mut f)
    }

    /// [`map`](Self::map), compiled once for every pair of types and not for every function.
    fn map_by<U: Copy>(&self, f: &mut dyn FnMut(T) -> U) -> Tensor<U> {
        Tensor {
            shape: self.shape.clone(),
            data: self.data.iter().map(|&x| f(x)).into_vec(),
        }
    }

    /// The number of rows along the last axis.
    pub(crate) fn rows(&self) -> usize {
        let outer = self.shape.len().saturating_sub(1);
        self.shape[..outer].iter().product()
    }

    /// Row `r` of the array seen as a matrix whose rows run along the last axis. Panics outside.
    pub(crate) fn row(&self, r: usize) -> &[T] {
        let len = self.shape.last().copied().unwrap_or(1);
        &self.data[r * len..(r + 1) * len]
    }

    /// As [`row`](Self::row), to be written.
    pub(crate) fn row_mut(&mut self, r: usize) -> &mut [T] {
        let len = self.shape.last().copied().unwrap_or(1);
        &mut self.data[r * len..(r + 1) * len]
    }

    /// Some tokens of every row of an array (batch, seq_len, ...).
    ///
    /// # Errors
    ///
    /// If there are not as many.
    pub(crate) fn tokens(&self, tokens: Range<usize>) -> Result<Self, Error> {
        let (shape, each) = shape_of_tokens(&self.shape, &tokens)?;
        let mut kept = Vec::with_capacity(shape.iter().product());
        for b in 0..shape[0] {
            let start = b * self.shape[1];
            let tokens = start + tokens.start..start + tokens.end;
            kept.extend_from_slice(&self.data[tokens.start * each..tokens.end * each]);
        }
        Ok(Self { shape, data: kept })
    }

    /// Some columns of every row along the last axis; of those that it has not, none.
    pub(crate) fn columns(&self, columns: Range<usize>) -> Self {
        let mut shape = self.shape.clone();
        let len = shape.pop().unwrap_or(1);
        let columns = columns.start.min(len)..columns.end.min(len);
        shape.push(columns.len());
        let mut kept = Vec::with_capacity(shape.iter().product());
        for row in self.data.chunks_exact(len.max(1)) {
            kept.extend_from_slice(&row[columns.clone()]);
        }
        Self { shape, data: kept }
    }

    /// Refuses an array of another shape, naming it.
    ///
    /// # Errors
    ///
    /// If the shape is not `expected`.
    pub(crate) fn check_shape(&self, what: &str, expected: &[usize]) -> Result<(), Error> {
        if self.shape == expected {
            return Ok(());
        }
        Err(other_shape(what, expected, &self.shape))
    }
}

/// Refuses a shape that has not this many places, or no array should have.
fn check_places(shape: &[usize], elements: usize) -> Result<(), Error> {
    let size = shape
        .iter()
        .try_fold(1usize, |size, &axis| size.checked_mul(axis))
        .ok_or_else(|| Error::value("shape", format!("{shape:?} is too large")))?;
    if elements != size {
        return check_len(&format!("array of shape {shape:?}"), elements, size);
    }
    // An array of nothing may have a long axis, and what is computed from it need not be
    // empty: nothing is held, but something would have to be allocated.
    let mut others = shape.iter().filter(|&&axis| axis > 0);
    let others = others.try_fold(1usize, |size, &axis| size.checked_mul(axis));
    if size == 0 && others.is_none_or(|others| others > MAX_EMPTY) {
        return Err(Error::value("shape", format!("{shape:?} is too large")));
    }
    Ok(())
}

/// The shape of some tokens of every row, and how many numbers each has.
fn shape_of_tokens(shape: &[usize], tokens: &Range<usize>) -> Result<(Vec<usize>, usize), Error> {
    let [batch, len, rest @ ..] = shape else {
        return Err(Error::shape("array", "two axes or more", shape.len()));
    };
    if tokens.start > tokens.end || tokens.end > *len {
        return Err(Error::value(
            "tokens",
            format!("{tokens:?}; there are {len}"),
        ));
    }
    let shape = [&[*batch, tokens.len()], rest].concat();
    Ok((shape, rest.iter().product()))
}

fn other_shape(what: &str, expected: &[usize], found: &[usize]) -> Error {
    let expected = format_args!("shape {expected:?}");
    Error::shape(what, expected, format_args!("{found:?}"))
}
