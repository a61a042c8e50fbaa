//! Operations of each block of a model, by the structure of `A`: a formula for every method of
//! [`StateSpace`](crate::ssm::StateSpace).

use super::{ADD, COMPLEX_PRODUCT, COMPLEX_SUM, MULTIPLY, SCALE, TERM, triangle};
use crate::algebra::OperationCount;

/// A structure of `A`, with the number of elements its state is stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// [`Dense`](crate::ssm::Dense), m real states.
    Dense(usize),
    /// [`Diagonal`](crate::ssm::Diagonal), m stored complex modes.
    Diagonal(usize),
    /// [`Shift`](crate::ssm::Shift), a window of m.
    Shift(usize),
}

/// Multiplications of [`Ring::power`](crate::algebra::Ring::power): one for every binary digit that
/// is 1, one for every digit but the first.
fn power(k: usize) -> u64 {
    let digits = u64::from(usize::BITS - k.leading_zeros());
    u64::from(k.count_ones()) + digits.saturating_sub(1)
}

impl Structure {
    /// `A x + B u`, then `C x + D u`.
    pub(super) fn step(self) -> OperationCount {
        let update = match self {
            Self::Dense(m) => square(m) * TERM + m as u64 * TERM,
            Self::Diagonal(m) => m as u64 * (COMPLEX_PRODUCT + SCALE + COMPLEX_SUM),
            Self::Shift(m) => m as u64 * TERM,
        };
        update + self.read() + TERM
    }

    /// `B u`.
    pub(super) fn inject(self) -> OperationCount {
        match self {
            Self::Dense(m) | Self::Shift(m) => m as u64 * MULTIPLY,
            Self::Diagonal(m) => m as u64 * SCALE,
        }
    }

    /// `C x`; the trace is an addition.
    pub(super) fn read(self) -> OperationCount {
        match self {
            Self::Dense(m) | Self::Shift(m) => m as u64 * TERM,
            Self::Diagonal(m) => m as u64 * (COMPLEX_PRODUCT + COMPLEX_SUM) + ADD,
        }
    }

    /// A row `C A^j` or column `A^j B` moved on and multiplied; for a diagonal model, the sum and
    /// next power of every mode.
    fn row(self) -> OperationCount {
        match self {
            Self::Dense(m) => square(m) * TERM + m as u64 * TERM,
            Self::Diagonal(m) => m as u64 * (COMPLEX_SUM + COMPLEX_PRODUCT) + ADD,
            Self::Shift(m) => m as u64 * TERM,
        }
    }

    /// `f_0, ..., f_{len-1}`.
    pub(super) fn kernel(self, len: usize) -> OperationCount {
        match self {
            Self::Dense(_) => len as u64 * self.row(),
            Self::Diagonal(m) => m as u64 * COMPLEX_PRODUCT + len as u64 * self.row(),
            // m, m - 1, ..., one term less with every place.
            Self::Shift(m) => (triangle(m as u64) - triangle(m.saturating_sub(len) as u64)) * TERM,
        }
    }

    /// `C A^i x`, i = 1, ..., len.
    pub(super) fn state_to_output(self, len: usize) -> OperationCount {
        match self {
            Self::Dense(_) => len as u64 * self.row(),
            Self::Diagonal(m) => 2 * m as u64 * COMPLEX_PRODUCT + len as u64 * self.row(),
            Self::Shift(m) => {
                let after = m.saturating_sub(1);
                (triangle(after as u64) - triangle(after.saturating_sub(len) as u64)) * TERM
            }
        }
    }

    /// `A^k x`.
    pub(super) fn advance(self, k: usize) -> OperationCount {
        match self {
            Self::Dense(m) => {
                let applied = u64::from(k.count_ones());
                let squarings = power(k) - applied;
                applied * square(m) * TERM + squarings * square(m) * m as u64 * TERM
            }
            Self::Diagonal(m) => m as u64 * (power(k) + 1) * COMPLEX_PRODUCT,
            Self::Shift(_) => OperationCount::default(),
        }
    }

    /// `sum_j A^{T-j} B u_j`, T = len.
    pub(super) fn input_to_state(self, len: usize) -> OperationCount {
        match self {
            Self::Dense(_) => len as u64 * self.row(),
            Self::Diagonal(m) => {
                let input = SCALE + COMPLEX_SUM + COMPLEX_PRODUCT;
                m as u64 * (len as u64 * input + COMPLEX_PRODUCT)
            }
            // Element n meets the last n + 1 inputs, or all there are.
            Self::Shift(m) => {
                let ramp = triangle(m.min(len) as u64);
                (ramp + (m.saturating_sub(len) * len) as u64) * TERM
            }
        }
    }

    /// The sum of two states.
    pub(super) fn add_states(self) -> OperationCount {
        match self {
            Self::Dense(m) | Self::Shift(m) => m as u64 * ADD,
            Self::Diagonal(m) => m as u64 * COMPLEX_SUM,
        }
    }

    /// One node of the scan, `(A2 A1, A2 b1 + b2)`.
    pub(super) fn compose(self) -> OperationCount {
        let products = match self {
            Self::Dense(m) => square(m) * (m as u64 + 1) * TERM,
            Self::Diagonal(m) => 2 * m as u64 * COMPLEX_PRODUCT,
            Self::Shift(_) => OperationCount::default(),
        };
        products + self.add_states()
    }
}

fn square(m: usize) -> u64 {
    (m * m) as u64
}
