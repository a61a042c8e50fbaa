//! Complex numbers of about 106 bits: the truth that float results are measured against.
//!
//! Nothing here is shared with the code under test. Roots of unity come from a Taylor series at
//! 1/256 of the angle, squared eight times, with no folding of octants; sums are sums.

use num_complex::Complex;

/// `hi + lo`, with `hi` the nearest `f64` to the sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dd {
    pub(crate) hi: f64,
    pub(crate) lo: f64,
}

impl Dd {
    pub(crate) const ZERO: Self = Self { hi: 0.0, lo: 0.0 };
    pub(crate) const ONE: Self = Self { hi: 1.0, lo: 0.0 };
    /// 2 pi: the nearest f64, and the nearest f64 to what is missing.
    pub(crate) const TAU: Self = Self {
        hi: core::f64::consts::TAU,
        lo: 2.449_293_598_294_706_4e-16,
    };

    pub(crate) fn from(x: f64) -> Self {
        Self { hi: x, lo: 0.0 }
    }

    fn two_sum(a: f64, b: f64) -> Self {
        let s = a + b;
        let t = s - a;
        Self {
            hi: s,
            lo: (a - (s - t)) + (b - t),
        }
    }

    pub(crate) fn add(self, other: Self) -> Self {
        let (s, t) = (
            Self::two_sum(self.hi, other.hi),
            Self::two_sum(self.lo, other.lo),
        );
        let v = Self::two_sum(s.hi, s.lo + t.hi);
        Self::two_sum(v.hi, v.lo + t.lo)
    }

    pub(crate) fn neg(self) -> Self {
        Self {
            hi: -self.hi,
            lo: -self.lo,
        }
    }

    pub(crate) fn mul(self, other: Self) -> Self {
        let p = self.hi * other.hi;
        let rest = self.hi.mul_add(other.hi, -p) + (self.hi * other.lo + self.lo * other.hi);
        Self::two_sum(p, rest)
    }

    /// `self / d` for an integer `d` that f64 holds exactly.
    pub(crate) fn div_int(self, d: f64) -> Self {
        let q = self.hi / d;
        let rest = (-q).mul_add(d, self.hi) + self.lo;
        Self::two_sum(q, rest / d)
    }

    pub(crate) fn to_f64(self) -> f64 {
        self.hi + self.lo
    }
}

/// A complex [`Dd`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cd {
    pub(crate) re: Dd,
    pub(crate) im: Dd,
}

impl Cd {
    pub(crate) const ZERO: Self = Self {
        re: Dd::ZERO,
        im: Dd::ZERO,
    };
    pub(crate) const ONE: Self = Self {
        re: Dd::ONE,
        im: Dd::ZERO,
    };

    pub(crate) fn from(z: Complex<f64>) -> Self {
        Self {
            re: Dd::from(z.re),
            im: Dd::from(z.im),
        }
    }

    pub(crate) fn add(self, other: Self) -> Self {
        Self {
            re: self.re.add(other.re),
            im: self.im.add(other.im),
        }
    }

    pub(crate) fn mul(self, o: Self) -> Self {
        Self {
            re: self.re.mul(o.re).add(self.im.mul(o.im).neg()),
            im: self.re.mul(o.im).add(self.im.mul(o.re)),
        }
    }

    pub(crate) fn conj(self) -> Self {
        Self {
            re: self.re,
            im: self.im.neg(),
        }
    }

    /// `|self - z|` for an `f64` approximation `z`: the difference is taken before rounding.
    pub(crate) fn distance(self, z: Complex<f64>) -> f64 {
        let re = self.re.add(Dd::from(-z.re)).to_f64();
        let im = self.im.add(Dd::from(-z.im)).to_f64();
        re.hypot(im)
    }

    pub(crate) fn abs(self) -> f64 {
        self.re.to_f64().hypot(self.im.to_f64())
    }
}

/// `exp(2 pi i k / n)`.
pub(crate) fn root(k: usize, n: usize) -> Cd {
    let angle = Dd::TAU
        .mul(Dd::from(k as f64))
        .div_int(n as f64)
        .div_int(256.0);
    // |angle| < 0.025: the 14th term is below 0.025^14/14! < 2^-110.
    let i_angle = Cd {
        re: Dd::ZERO,
        im: angle,
    };
    let (mut term, mut w) = (Cd::ONE, Cd::ONE);
    for j in 1..16 {
        let product = term.mul(i_angle);
        term = Cd {
            re: product.re.div_int(f64::from(j)),
            im: product.im.div_int(f64::from(j)),
        };
        w = w.add(term);
    }
    (0..8).fold(w, |w, _| w.mul(w))
}

/// The DFT by its definition, forward, in about 100 bits.
pub(crate) fn dft(x: &[Complex<f64>]) -> Vec<Cd> {
    let n = x.len();
    let roots: Vec<Cd> = (0..n).map(|k| root(k, n).conj()).collect();
    (0..n)
        .map(|k| {
            (0..n).fold(Cd::ZERO, |sum, j| {
                sum.add(roots[j * k % n].mul(Cd::from(x[j])))
            })
        })
        .collect()
}

/// The causal convolution by its definition, in about 100 bits.
pub(crate) fn convolution(f: &[f64], u: &[f64]) -> Vec<Cd> {
    (0..u.len())
        .map(|i| {
            let re = (0..f.len().min(i + 1)).fold(Dd::ZERO, |sum, j| {
                sum.add(Dd::from(f[j]).mul(Dd::from(u[i - j])))
            });
            Cd { re, im: Dd::ZERO }
        })
        .collect()
}
