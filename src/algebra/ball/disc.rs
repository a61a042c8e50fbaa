//! The complex companion of the ball: a disc, with one radius for both parts.

use super::bound::{Bound, hypot_down, mul_down, sub_down};
use super::expansion::{self, Approx};
use super::interval::BallN;
use core::fmt;
use core::ops::{Add, Mul, Neg, Sub};

/// A disc of complex numbers that is known to contain the exact one.
///
/// The midpoint is complex, each part a sum of `W` floats; there is *one* radius. A pair of balls
/// would be a rectangle, and a rectangle turned by an angle has to be put into a larger
/// rectangle, by up to a factor sqrt 2 at every multiplication (the wrapping effect); a disc
/// turned is a disc, and under multiplication by `a` its radius grows by `|a|`.
///
/// The bound of `|a|` is `sqrt(re^2 + im^2)` rounded up, so a rotation costs a relative `2^-50` of
/// the radius per step.
///
/// A number may also be known to be real, or to be imaginary: then the set is a diameter of the disc,
/// an interval of that axis, and stays one under operations that keep to the axes. Without this the
/// part of such a number that is zero could never be decided; and real poles are what the official
/// layer begins with (`A_imag` of the first mode is 0).
///
/// # Invariant
///
/// As for [`BallN`]: everything finite, or the disc that contains everything. A part that is known to
/// be zero has a midpoint of zero; the radius is zero if both are.
#[derive(Clone, Copy)]
pub struct DiscN<const W: usize> {
    re: [f64; W],
    im: [f64; W],
    rad: f64,
    zero: ZeroParts,
}

/// The parts of a complex number that are zero by algebra, whatever was rounded.
#[derive(Clone, Copy)]
struct ZeroParts {
    re: bool,
    im: bool,
}

impl ZeroParts {
    /// Those of a sum: zero in both terms.
    fn common(self, other: Self) -> Self {
        Self {
            re: self.re && other.re,
            im: self.im && other.im,
        }
    }

    /// Those of a product: `(x + iy)(v + iw) = (xv - yw) + i(xw + yv)`, where a product is zero if a
    /// factor is.
    fn times(self, other: Self) -> Self {
        Self {
            re: (self.re || other.re) && (self.im || other.im),
            im: (self.re || other.im) && (self.im || other.re),
        }
    }
}

/// The disc with double-double parts, companion of [`Ball`](super::Ball).
pub type Disc = DiscN<2>;

impl<const W: usize> DiscN<W> {
    pub(in crate::algebra) const ZERO: Self = Self {
        re: [0.0; W],
        im: [0.0; W],
        rad: 0.0,
        zero: ZeroParts { re: true, im: true },
    };
    pub(in crate::algebra) const ONE: Self = {
        let mut re = [0.0; W];
        re[0] = 1.0;
        Self {
            re,
            im: [0.0; W],
            rad: 0.0,
            zero: ZeroParts {
                re: false,
                im: true,
            },
        }
    };

    /// The disc that contains every complex number.
    pub const UNKNOWN: Self = Self {
        re: [f64::NAN; W],
        im: [f64::NAN; W],
        rad: f64::INFINITY,
        zero: ZeroParts {
            re: false,
            im: false,
        },
    };

    /// The disc around `re + i im` (sums of words) with the given radius.
    #[must_use]
    pub fn new(re: [f64; W], im: [f64; W], radius: f64) -> Self {
        let center = Self::of_parts(BallN::new(re, 0.0), BallN::new(im, 0.0));
        if radius > 0.0 {
            // Such a disc also holds numbers that are off the axes.
            let zero = Self::UNKNOWN.zero;
            Self { zero, ..center }.widened(Bound::of(radius))
        } else if radius >= 0.0 {
            center
        } else {
            Self::UNKNOWN
        }
    }

    /// The disc of these parts, or its diameter where one of them is zero.
    #[inline(always)]
    fn assemble(re: [f64; W], im: [f64; W], rad: Bound, zero: ZeroParts) -> Self {
        let size = re.iter().chain(&im).fold(rad.get(), |sum, x| sum + x.abs());
        if size <= f64::MAX {
            debug_assert!(
                (!zero.re || re == [0.0; W]) && (!zero.im || im == [0.0; W]),
                "a part that is zero has a midpoint of zero"
            );
            Self {
                re,
                im,
                rad: rad.get(),
                zero,
            }
        } else {
            Self::UNKNOWN
        }
    }

    /// The smallest disc around the rectangle of two balls.
    pub(in crate::algebra) fn of_parts(re: BallN<W>, im: BallN<W>) -> Self {
        let is_zero = |part: BallN<W>| part.is_exact() && part.midpoint() == [0.0; W];
        Self::assemble(
            re.midpoint(),
            im.midpoint(),
            Bound::hypot(re.rad(), im.rad()),
            ZeroParts {
                re: is_zero(re),
                im: is_zero(im),
            },
        )
    }

    /// The words of the midpoint's real and imaginary parts.
    #[must_use]
    pub fn midpoint(self) -> ([f64; W], [f64; W]) {
        (self.re, self.im)
    }

    /// The radius; infinite if nothing is known.
    #[must_use]
    pub fn radius(self) -> f64 {
        self.rad
    }

    pub(in crate::algebra) fn rad(self) -> Bound {
        Bound::of(self.rad)
    }

    /// True if nothing is known about the number.
    #[must_use]
    pub fn is_unknown(self) -> bool {
        self.rad > f64::MAX
    }

    /// The real part: the disc's shadow, with the same radius.
    pub(in crate::algebra) fn real(self) -> BallN<W> {
        if self.zero.re {
            return BallN::ZERO;
        }
        BallN::from_parts(self.re, self.rad())
    }

    /// The imaginary part.
    pub(in crate::algebra) fn imaginary(self) -> BallN<W> {
        if self.zero.im {
            return BallN::ZERO;
        }
        BallN::from_parts(self.im, self.rad())
    }

    pub(in crate::algebra) fn center(self) -> Self {
        Self {
            rad: if self.is_unknown() { self.rad } else { 0.0 },
            ..self
        }
    }

    /// The same disc, known to be real only if `argument` is, and not to be imaginary: for the value at
    /// the center of a disc of a function that is real for real arguments. That value may lie on an axis
    /// where those of the disc's other numbers do not.
    pub(in crate::algebra) fn as_real_as(self, argument: Self) -> Self {
        let mut zero = self.zero.common(argument.zero);
        zero.re = false;
        Self { zero, ..self }
    }

    /// The disc with its radius increased. A number on an axis stays there: the error of an operation
    /// that keeps to the axis does.
    pub(in crate::algebra) fn widened(self, by: Bound) -> Self {
        if by.is_zero() {
            return self;
        }
        Self::assemble(self.re, self.im, self.rad().charged(by), self.zero)
    }

    /// A bound of the midpoint's modulus.
    #[inline(always)]
    pub(in crate::algebra) fn center_modulus(self) -> Bound {
        Bound::hypot(
            expansion::upper_magnitude(&self.re),
            expansion::upper_magnitude(&self.im),
        )
    }

    /// A bound of the modulus of every number in the disc.
    #[inline(always)]
    pub(in crate::algebra) fn modulus(self) -> Bound {
        self.center_modulus() + self.rad()
    }

    /// An upper bound of the modulus; infinite if nothing is known.
    #[must_use]
    pub fn upper_modulus(self) -> f64 {
        let bound = self.modulus().get();
        if bound.is_nan() { f64::INFINITY } else { bound }
    }

    /// A lower bound of the midpoint's modulus.
    fn center_lower_modulus(self) -> f64 {
        hypot_down(
            expansion::lower_magnitude(&self.re),
            expansion::lower_magnitude(&self.im),
        )
    }

    /// A lower bound of the modulus: zero if the number may be zero.
    #[must_use]
    pub fn lower_modulus(self) -> f64 {
        sub_down(self.center_lower_modulus(), self.rad)
    }

    /// The complex conjugate, exactly.
    pub(in crate::algebra) fn conjugate(self) -> Self {
        Self {
            im: expansion::negate(&self.im),
            ..self
        }
    }

    /// Times a real ball: the disc is stretched, and the factor's radius moves its midpoint.
    pub(in crate::algebra) fn times_real(self, factor: BallN<W>) -> Self {
        let m = factor.midpoint();
        let (re, im) = (expansion::mul(&self.re, &m), expansion::mul(&self.im, &m));
        let spread = self.center_modulus() * factor.rad() + factor.magnitude() * self.rad();
        Self::assemble(re.words, im.words, re.error + im.error + spread, self.zero)
    }

    /// `1 / z`, or `None` if the disc may contain zero.
    ///
    /// The midpoint's inverse is `conj m / |m|^2`, evaluated with balls of radius zero; and
    /// `|1/(m + d) - 1/m| = |d| / (|m| |m + d|) <= r / (|m| (|m| - r))`.
    pub(in crate::algebra) fn reciprocal(self) -> Option<Self> {
        // Scaled by a power of two to a modulus near 1, so that |m|^2 neither over- nor
        // underflows: 1/z = 2^-k / (2^-k z).
        let largest = self.re[0].abs().max(self.im[0].abs());
        let k = super::eft::significand(largest).1;
        let z = self.scaled(-k);
        let (inner, outer) = (z.lower_modulus(), z.center_lower_modulus());
        if inner <= 0.0 {
            return None;
        }
        let (x, y) = (z.real().center(), z.imaginary().center());
        let norm = x * x + y * y;
        let center = if self.zero.im {
            Self::of_parts(BallN::ONE.quotient(x)?, BallN::ZERO)
        } else if self.zero.re {
            Self::of_parts(BallN::ZERO, -BallN::ONE.quotient(y)?)
        } else {
            Self::of_parts(x.quotient(norm)?, -y.quotient(norm)?)
        };
        let spread = z.rad().over(mul_down(inner, outer));
        // A center on an axis says nothing of the disc's other numbers.
        let zero = center.zero.common(self.zero);
        Some(Self { zero, ..center }.widened(spread).scaled(-k))
    }

    /// `2^k` times the number.
    pub(super) fn scaled(self, k: i32) -> Self {
        let (re, lost_re) = expansion::scale_words(&self.re, k);
        let (im, lost_im) = expansion::scale_words(&self.im, k);
        Self::assemble(
            re,
            im,
            expansion::scale_bound(self.rad(), k).charged(lost_re + lost_im),
            self.zero,
        )
    }
}

impl<const W: usize> Add for DiscN<W> {
    type Output = Self;
    // A call costs little beside the sums of words; in place everywhere, they cost a tenth of the
    // compiler's time.
    #[inline(never)]
    fn add(self, other: Self) -> Self {
        let re = expansion::add(&self.re, &other.re);
        let im = expansion::add(&self.im, &other.im);
        let rad = (re.error + im.error) + (self.rad() + other.rad());
        Self::assemble(re.words, im.words, rad, self.zero.common(other.zero))
    }
}

impl<const W: usize> Neg for DiscN<W> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self {
            re: expansion::negate(&self.re),
            im: expansion::negate(&self.im),
            ..self
        }
    }
}

impl<const W: usize> Sub for DiscN<W> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl<const W: usize> Mul for DiscN<W> {
    type Output = Self;

    /// The midpoints' product by its four real products, the radius as for real balls:
    /// `|a| s + |b| r + r s`.
    #[inline(never)]
    fn mul(self, other: Self) -> Self {
        let difference = |p: Approx<W>, q: Approx<W>| -> Approx<W> {
            let sum = expansion::add(&p.words, &expansion::negate(&q.words));
            Approx {
                words: sum.words,
                error: sum.error + (p.error + q.error),
            }
        };
        let sum = |p: Approx<W>, q: Approx<W>| -> Approx<W> {
            let sum = expansion::add(&p.words, &q.words);
            Approx {
                words: sum.words,
                error: sum.error + (p.error + q.error),
            }
        };
        let re = difference(
            expansion::mul(&self.re, &other.re),
            expansion::mul(&self.im, &other.im),
        );
        let im = sum(
            expansion::mul(&self.re, &other.im),
            expansion::mul(&self.im, &other.re),
        );
        let (r, s) = (self.rad(), other.rad());
        let spread = self.center_modulus() * s + (other.center_modulus() + s) * r;
        let rad = (re.error + im.error) + spread;
        Self::assemble(re.words, im.words, rad, self.zero.times(other.zero))
    }
}

impl<const W: usize> fmt::Debug for DiscN<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} + i {:?} +- {:e}", self.re, self.im, self.rad)
    }
}
