//! Real scalars and their complex companions, naming each other.

use super::ring::{Field, Ring};

/// A "real" number: the type of signals, kernels and outputs.
///
/// Each scalar names the complex companion in which diagonal states, spectra and roots of
/// unity live.
pub trait Scalar: Field {
    /// The complex companion.
    type Complex: ComplexScalar<Base = Self>;
}

/// A "complex" number `re + i im` over a base scalar.
///
/// # Laws
///
/// Conjugation is a ring homomorphism, its own inverse, and fixes exactly the base scalars;
/// `z * conj(z)` lies in the base. Over [`M61`](super::M61) conjugation is the Frobenius map
/// `z -> z^p`.
pub trait ComplexScalar: Field {
    /// The base scalar, of which this is the companion.
    type Base: Scalar<Complex = Self>;

    /// `re + i im`.
    fn from_parts(re: Self::Base, im: Self::Base) -> Self;

    /// The real part.
    fn re(self) -> Self::Base;

    /// The imaginary part.
    fn im(self) -> Self::Base;

    /// `re - i im`.
    fn conj(self) -> Self;

    /// `self` times a base scalar: two multiplications instead of four.
    fn scale(self, factor: Self::Base) -> Self;

    /// `x + 0 i`.
    fn from_base(x: Self::Base) -> Self {
        Self::from_parts(x, <Self::Base as Ring>::ZERO)
    }

    /// The trace `z + conj z = 2 re z`, landing in the base scalar.
    ///
    /// This is the official code's `2 * y.real`: a state that stores one of each conjugate pair
    /// is read out with the trace.
    fn trace(self) -> Self::Base {
        self.re() + self.re()
    }
}

/// Complex numbers as pairs of real and imaginary part, one after another.
pub(crate) fn real_and_imaginary<C: ComplexScalar>(z: &[C]) -> Vec<C::Base> {
    let mut parts = Vec::with_capacity(2 * z.len());
    for z in z {
        parts.push(z.re());
        parts.push(z.im());
    }
    parts
}
