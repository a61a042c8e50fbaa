//! Wrong convolutions and adjoints, for any kind.

use crate::into_vec::IntoVec as _;
use crate::ssm::{causal_convolution, moved};
use crate::tensor::Tensor;
use core::ops::Range;

/// The circular convolution of `n` points, cut to the length of `u`: taps and inputs beyond `n` are
/// lost.
fn circular_of(n: usize, f: &[f64], u: &[f64]) -> Vec<f64> {
    let mut y = vec![0.0; u.len()];
    for (i, y) in y.iter_mut().enumerate() {
        for (j, f) in f.iter().enumerate().take(n) {
            *y += f * u.get((i + n - j % n) % n).copied().unwrap_or(0.0);
        }
    }
    y
}

/// A transform as long as the sequence: the future wraps onto the past.
pub(crate) fn circular(f: &[f64], u: &[f64]) -> Vec<f64> {
    circular_of(u.len(), f, u)
}

/// A transform of twice the sequence's length of a kernel that was not cut to it: taps beyond the
/// sequence wrap onto future inputs.
pub(crate) fn wrapped(f: &[f64], u: &[f64]) -> Vec<f64> {
    match f.len() > u.len() {
        true => circular_of(2 * u.len(), f, u),
        // As it stands, so that a kernel that fits is no mistake.
        false => causal_convolution(f, u),
    }
}

/// The kernel one step late.
pub(crate) fn late(f: &[f64], u: &[f64]) -> Vec<f64> {
    let mut delayed = vec![0.0];
    delayed.extend_from_slice(f);
    causal_convolution(&delayed, u)
}

/// The convolution without the present input.
pub(crate) fn without_present(f: &[f64], u: &[f64]) -> Vec<f64> {
    let mut f = f.to_vec();
    if let Some(first) = f.first_mut() {
        *first = 0.0;
    }
    causal_convolution(&f, u)
}

/// Spectra multiplied without a conjugate: convolutions where correlations are meant.
pub(crate) fn convolved_back(f: &[f64], u: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let mut of_kernel = causal_convolution(u, g);
    of_kernel.truncate(f.len());
    (of_kernel, causal_convolution(f, g))
}

/// Correlations by a transform as long as the sequence.
pub(crate) fn circular_back(f: &[f64], u: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let n = u.len();
    let correlate = |x: &[f64], len: usize| -> Vec<f64> {
        let entry = |j: usize| {
            let terms = g.iter().enumerate();
            terms
                .map(|(i, g)| g * x.get((i + n - j % n) % n).copied().unwrap_or(0.0))
                .sum()
        };
        (0..len).map(entry).into_vec()
    };
    (correlate(u, f.len().min(n)), correlate(f, n))
}

/// Every row of the last axis back to front.
pub(crate) fn reverse_rows(x: &mut Tensor<f64>) {
    let len = x.shape().last().copied().unwrap_or(1).max(1);
    for row in x.data_mut().chunks_exact_mut(len) {
        row.reverse();
    }
}

/// All elements replaced by one number.
pub(crate) fn fill(x: Option<&mut Tensor<f64>>, value: f64) {
    if let Some(x) = x {
        x.data_mut().fill(value);
    }
}

/// Every document with all that stands before it in its row: what filters see that are not emptied at
/// boundaries, or that take the padding before a document for tokens.
pub(crate) fn from_the_beginning(documents: &[Range<usize>], _len: usize) -> Vec<Range<usize>> {
    documents.iter().map(|tokens| 0..tokens.end).into_vec()
}

/// The row as one document.
pub(crate) fn one_document(_documents: &[Range<usize>], len: usize) -> Vec<Range<usize>> {
    vec![0..len; 1]
}

/// Documents that end one token late.
pub(crate) fn one_token_late(documents: &[Range<usize>], len: usize) -> Vec<Range<usize>> {
    moved(documents, len, 1)
}

/// Documents that end one token early.
pub(crate) fn one_token_early(documents: &[Range<usize>], len: usize) -> Vec<Range<usize>> {
    moved(documents, len, -1)
}

/// The last document of a row with what stands behind it.
pub(crate) fn to_the_end(documents: &[Range<usize>], len: usize) -> Vec<Range<usize>> {
    let mut documents = documents.to_vec();
    if let Some(last) = documents.last_mut() {
        last.end = len;
    }
    documents
}
