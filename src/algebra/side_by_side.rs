//! Sums of products side by side: a matrix product of numbers made of several floats, some sums at a time.

use super::ring::{Ring, dot};
use crate::into_vec::IntoVec as _;
use crate::threads;

/// Sums taken at once: two of the narrowest vectors that machines of today have.
pub(super) const LANES: usize = 4;

/// One float of every sum.
pub(super) type Lanes = [f64; LANES];

/// The numbers of a row or of a pair of rows, from the easiest to add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Numbers {
    /// In range, and none needs what a few of them may need.
    Plain,
    /// In range.
    InRange,
    /// Out of the range in which nothing over- or underflows: added up one by one.
    Any,
}

/// A scalar of `P` floats of which sums of products can be taken side by side: the lanes are independent,
/// and the compiler makes vectors of them.
pub trait SideBySide<const P: usize>: Ring {
    /// The floats of a number.
    fn parts(self) -> [f64; P];

    /// What is to be known of a row before its sums are taken.
    fn numbers(row: &[Self]) -> Numbers;

    /// The sums of products of one row with several, given term by term; not of [`Numbers::Any`].
    fn sums(numbers: Numbers, x: &[[f64; P]], y: &[[Lanes; P]]) -> [Self; LANES];
}

/// Rows that one thread takes at a time: many for each time that the other rows are laid side by side.
pub const ROWS: usize = 128;

/// [`Ring::products`] of such scalars, shared out among threads. The rows of `b` are taken [`LANES`] at a
/// time, laid side by side.
pub fn products<T: SideBySide<P>, const P: usize>(a: &[&[T]], b: &[&[T]]) -> Vec<T> {
    let parts: Vec<&[&[T]]> = a.chunks(ROWS).into_vec();
    threads::map(&parts, |rows| products_of(rows, b)).concat()
}

/// The same on one thread.
pub fn products_of<T: SideBySide<P>, const P: usize>(a: &[&[T]], b: &[&[T]]) -> Vec<T> {
    let in_parts = |row: &&[T]| -> (Numbers, Vec<[f64; P]>) {
        (T::numbers(row), row.iter().map(|x| x.parts()).into_vec())
    };
    let rows: Vec<_> = a.iter().map(in_parts).into_vec();
    let mut products = vec![T::ZERO; a.len() * b.len()];
    let mut panel = Vec::new();
    for (at, columns) in b.chunks(LANES).enumerate() {
        let numbers = columns.iter().map(|column| T::numbers(column)).max();
        panel.clear();
        panel.resize(columns[0].len(), [[0.0; LANES]; P]);
        for (lane, column) in columns.iter().enumerate() {
            for (place, x) in panel.iter_mut().zip(*column) {
                for (lanes, part) in place.iter_mut().zip(x.parts()) {
                    lanes[lane] = part;
                }
            }
        }
        for (i, (of_row, row)) in rows.iter().enumerate() {
            let from = i * b.len() + at * LANES;
            let places = &mut products[from..from + columns.len()];
            match numbers.map_or(*of_row, |numbers| numbers.max(*of_row)) {
                Numbers::Any => {
                    for (place, column) in places.iter_mut().zip(columns) {
                        *place = dot(a[i], column);
                    }
                }
                numbers => {
                    let sums = T::sums(numbers, row, &panel);
                    places.copy_from_slice(&sums[..places.len()]);
                }
            }
        }
    }
    products
}
