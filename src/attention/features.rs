//! The feature maps with which linear attention is used.

use crate::algebra::{Matrix, Real};

/// The function applied to every entry of queries and keys before their products are formed.
///
/// The first two are positive, so no normalizer can vanish; with the identity it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureMap {
    /// `elu(x) + 1`: `x + 1` above zero, `e^x` below (Katharopoulos et al. 2020).
    EluPlusOne,
    /// `e^x`.
    Exp,
    /// `x`: what H3 leaves of the map.
    Identity,
}

impl FeatureMap {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::EluPlusOne, Self::Exp, Self::Identity];

    /// The feature of one number.
    pub fn of<T: Real>(self, x: T) -> T {
        match self {
            // One text for both sides, so that a ball that straddles zero is enclosed, and with
            // the slope 1 at zero: one of the two terms is constant on either side.
            Self::EluPlusOne => x.relu() + (x - x.relu()).exp(),
            Self::Exp => x.exp(),
            Self::Identity => x,
        }
    }

    /// The features of a matrix, entry by entry: seq_len x d_phi, `d_phi = d_k`.
    #[must_use]
    pub fn apply<T: Real>(self, x: &Matrix<T>) -> Matrix<T> {
        x.map(|x| self.of(x))
    }
}
