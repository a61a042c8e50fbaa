//! Big integers, dyadic numbers and their quotients: schoolbook, slow and plain.
#![allow(dead_code, reason = "every test uses its own part of it")]

use std::cmp::Ordering;

/// An integer: sign and magnitude in limbs of 64 bits, lowest first, no zero limb on top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Int {
    negative: bool,
    limbs: Vec<u64>,
}

impl Int {
    pub(crate) fn zero() -> Self {
        Self::from_limbs(false, Vec::new())
    }

    pub(crate) fn one() -> Self {
        Self::from(1)
    }

    fn from_limbs(negative: bool, mut limbs: Vec<u64>) -> Self {
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        Self {
            negative: negative && !limbs.is_empty(),
            limbs,
        }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.negative
    }

    pub(crate) fn abs(&self) -> Self {
        Self::from_limbs(false, self.limbs.clone())
    }

    pub(crate) fn neg(&self) -> Self {
        Self::from_limbs(!self.negative, self.limbs.clone())
    }

    /// The number of binary digits of the magnitude.
    pub(crate) fn bits(&self) -> i64 {
        match self.limbs.last() {
            None => 0,
            Some(top) => self.limbs.len() as i64 * 64 - i64::from(top.leading_zeros()),
        }
    }

    fn compare_magnitudes(a: &[u64], b: &[u64]) -> Ordering {
        a.len()
            .cmp(&b.len())
            .then_with(|| a.iter().rev().cmp(b.iter().rev()))
    }

    fn add_magnitudes(a: &[u64], b: &[u64]) -> Vec<u64> {
        let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
        let mut sum = Vec::with_capacity(long.len() + 1);
        let mut carry = 0u128;
        for (i, &x) in long.iter().enumerate() {
            let wide = u128::from(x) + u128::from(short.get(i).copied().unwrap_or(0)) + carry;
            sum.push(wide as u64);
            carry = wide >> 64;
        }
        sum.push(carry as u64);
        sum
    }

    /// `a - b` for `a >= b`.
    fn sub_magnitudes(a: &[u64], b: &[u64]) -> Vec<u64> {
        let mut difference = Vec::with_capacity(a.len());
        let mut borrow = false;
        for (i, &x) in a.iter().enumerate() {
            let (d, first) = x.overflowing_sub(b.get(i).copied().unwrap_or(0));
            let (d, second) = d.overflowing_sub(u64::from(borrow));
            difference.push(d);
            borrow = first || second;
        }
        assert!(!borrow);
        difference
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        if self.negative == other.negative {
            return Self::from_limbs(
                self.negative,
                Self::add_magnitudes(&self.limbs, &other.limbs),
            );
        }
        match Self::compare_magnitudes(&self.limbs, &other.limbs) {
            Ordering::Equal => Self::zero(),
            Ordering::Greater => Self::from_limbs(
                self.negative,
                Self::sub_magnitudes(&self.limbs, &other.limbs),
            ),
            Ordering::Less => Self::from_limbs(
                other.negative,
                Self::sub_magnitudes(&other.limbs, &self.limbs),
            ),
        }
    }

    pub(crate) fn sub(&self, other: &Self) -> Self {
        self.add(&other.neg())
    }

    pub(crate) fn mul(&self, other: &Self) -> Self {
        let mut product = vec![0u64; self.limbs.len() + other.limbs.len()];
        for (i, &x) in self.limbs.iter().enumerate() {
            let mut carry = 0u128;
            for (j, &y) in other.limbs.iter().enumerate() {
                let wide = u128::from(x) * u128::from(y) + u128::from(product[i + j]) + carry;
                product[i + j] = wide as u64;
                carry = wide >> 64;
            }
            product[i + other.limbs.len()] = carry as u64;
        }
        Self::from_limbs(self.negative != other.negative, product)
    }

    /// `self * 2^k`; for negative `k` the magnitude is truncated.
    pub(crate) fn shift(&self, k: i64) -> Self {
        if k >= 0 {
            let (whole, part) = ((k / 64) as usize, (k % 64) as u32);
            let mut limbs = vec![0; whole];
            let mut carry = 0;
            for &x in &self.limbs {
                if part == 0 {
                    limbs.push(x);
                } else {
                    limbs.push((x << part) | carry);
                    carry = x >> (64 - part);
                }
            }
            limbs.push(carry);
            return Self::from_limbs(self.negative, limbs);
        }
        let (whole, part) = ((-k / 64) as usize, (-k % 64) as u32);
        if whole >= self.limbs.len() {
            return Self::zero();
        }
        let kept = &self.limbs[whole..];
        let limbs = (0..kept.len())
            .map(|i| {
                let above = kept.get(i + 1).copied().unwrap_or(0);
                if part == 0 {
                    kept[i]
                } else {
                    (kept[i] >> part) | (above << (64 - part))
                }
            })
            .collect();
        Self::from_limbs(self.negative, limbs)
    }

    /// The quotient by a small number, truncated.
    pub(crate) fn div_small(&self, divisor: u64) -> Self {
        let mut quotient = vec![0; self.limbs.len()];
        let mut remainder = 0u128;
        for i in (0..self.limbs.len()).rev() {
            let wide = (remainder << 64) | u128::from(self.limbs[i]);
            quotient[i] = (wide / u128::from(divisor)) as u64;
            remainder = wide % u128::from(divisor);
        }
        Self::from_limbs(self.negative, quotient)
    }

    /// The truncated quotient: Knuth's algorithm D on 32-bit digits.
    pub(crate) fn div(&self, divisor: &Self) -> Self {
        assert!(!divisor.is_zero(), "division by zero");
        let negative = self.negative != divisor.negative;
        if Self::compare_magnitudes(&self.limbs, &divisor.limbs) == Ordering::Less {
            return Self::zero();
        }
        let digits = |limbs: &[u64]| -> Vec<u64> {
            let mut d: Vec<u64> = limbs
                .iter()
                .flat_map(|x| [x & 0xffff_ffff, x >> 32])
                .collect();
            while d.last() == Some(&0) {
                d.pop();
            }
            d
        };
        let shift = i64::from(divisor.limbs.last().unwrap().leading_zeros() % 32);
        let v = digits(&divisor.shift(shift).limbs);
        let mut u = digits(&self.shift(shift).limbs);
        if v.len() == 1 {
            return Self::from_limbs(negative, self.abs().shift(shift).div_small(v[0]).limbs);
        }
        u.push(0);
        let (n, m) = (v.len(), u.len() - v.len() - 1);
        let mut q = vec![0u64; m + 1];
        for j in (0..=m).rev() {
            let top = (u[j + n] << 32) | u[j + n - 1];
            let (mut digit, mut rest) = (top / v[n - 1], top % v[n - 1]);
            while digit >> 32 != 0 || digit * v[n - 2] > ((rest << 32) | u[j + n - 2]) {
                digit -= 1;
                rest += v[n - 1];
                if rest >> 32 != 0 {
                    break;
                }
            }
            let (mut borrow, mut carry) = (0i64, 0u64);
            for i in 0..n {
                let product = digit * v[i] + carry;
                carry = product >> 32;
                let t = u[i + j] as i64 - borrow - (product & 0xffff_ffff) as i64;
                u[i + j] = (t as u64) & 0xffff_ffff;
                borrow = i64::from(t < 0);
            }
            let t = u[j + n] as i64 - borrow - carry as i64;
            u[j + n] = (t as u64) & 0xffff_ffff;
            if t < 0 {
                digit -= 1;
                let mut carry = 0;
                for i in 0..n {
                    let t = u[i + j] + v[i] + carry;
                    u[i + j] = t & 0xffff_ffff;
                    carry = t >> 32;
                }
                u[j + n] = (u[j + n] + carry) & 0xffff_ffff;
            }
            q[j] = digit;
        }
        let limbs = q
            .chunks(2)
            .map(|c| c[0] | (c.get(1).copied().unwrap_or(0) << 32))
            .collect();
        Self::from_limbs(negative, limbs)
    }

    /// Whether bit `k` of the magnitude is set.
    pub(crate) fn bit(&self, k: i64) -> bool {
        let limb = self.limbs.get((k / 64) as usize).copied().unwrap_or(0);
        (limb >> (k % 64)) & 1 == 1
    }

    /// The lowest limb of the magnitude.
    pub(crate) fn low(&self) -> u64 {
        self.limbs.first().copied().unwrap_or(0)
    }
}

impl From<i64> for Int {
    fn from(n: i64) -> Self {
        Self::from_limbs(n < 0, vec![n.unsigned_abs()])
    }
}

impl PartialOrd for Int {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Int {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => Self::compare_magnitudes(&self.limbs, &other.limbs),
            (true, true) => Self::compare_magnitudes(&other.limbs, &self.limbs),
        }
    }
}

/// `int * 2^exp`, exactly.
#[derive(Clone, Debug)]
pub(crate) struct Dyadic {
    pub(crate) int: Int,
    pub(crate) exp: i64,
}

impl Dyadic {
    pub(crate) fn zero() -> Self {
        Self::new(Int::zero(), 0)
    }

    pub(crate) fn new(int: Int, exp: i64) -> Self {
        Self { int, exp }
    }

    pub(crate) fn power_of_two(k: i64) -> Self {
        Self::new(Int::one(), k)
    }

    /// The exact value of a finite float, read from its bits.
    pub(crate) fn from_f64(x: f64) -> Self {
        assert!(x.is_finite(), "{x} is not finite");
        let bits = x.to_bits();
        let biased = ((bits >> 52) & 0x7ff) as i64;
        let fraction = (bits & ((1 << 52) - 1)) as i64;
        let (m, e) = if biased == 0 {
            (fraction, -1074)
        } else {
            (fraction | 1 << 52, biased - 1075)
        };
        Self::new(Int::from(if x < 0.0 { -m } else { m }), e)
    }

    /// The exact sum of floats.
    pub(crate) fn sum(words: &[f64]) -> Self {
        words
            .iter()
            .fold(Self::zero(), |sum, &x| sum.add(&Self::from_f64(x)))
    }

    fn aligned(&self, exp: i64) -> Int {
        self.int.shift(self.exp - exp)
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        if self.int.is_zero() {
            return other.clone();
        }
        if other.int.is_zero() {
            return self.clone();
        }
        let exp = self.exp.min(other.exp);
        Self::new(self.aligned(exp).add(&other.aligned(exp)), exp)
    }

    pub(crate) fn neg(&self) -> Self {
        Self::new(self.int.neg(), self.exp)
    }

    pub(crate) fn abs(&self) -> Self {
        Self::new(self.int.abs(), self.exp)
    }

    pub(crate) fn sub(&self, other: &Self) -> Self {
        self.add(&other.neg())
    }

    pub(crate) fn mul(&self, other: &Self) -> Self {
        Self::new(self.int.mul(&other.int), self.exp + other.exp)
    }

    pub(crate) fn scaled(&self, k: i64) -> Self {
        Self::new(self.int.clone(), self.exp + k)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.int.is_zero()
    }

    /// `k` with `2^(k-1) <= |x| < 2^k`; very low for zero.
    pub(crate) fn magnitude_exponent(&self) -> i64 {
        if self.is_zero() {
            i64::MIN / 4
        } else {
            self.int.bits() + self.exp
        }
    }

    /// `floor(|x| 2^p)` with the sign of `x`.
    pub(crate) fn fixed(&self, p: i64) -> Int {
        self.int.shift(self.exp + p)
    }

    /// For messages and ratios.
    pub(crate) fn to_f64(&self) -> f64 {
        let shift = 60 - self.int.bits();
        let top = self.int.shift(shift);
        let size = top.low() as f64;
        let exponent = self.exp - shift;
        let size =
            size * 2f64.powi((exponent / 2) as i32) * 2f64.powi((exponent - exponent / 2) as i32);
        if self.int.is_negative() { -size } else { size }
    }
}

impl PartialEq for Dyadic {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Dyadic {}

impl PartialOrd for Dyadic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Dyadic {
    fn cmp(&self, other: &Self) -> Ordering {
        self.sub(other).int.cmp(&Int::zero())
    }
}

/// A quotient of dyadic numbers, the denominator positive.
#[derive(Clone, Debug)]
pub(crate) struct Ratio {
    pub(crate) num: Dyadic,
    pub(crate) den: Dyadic,
}

impl Ratio {
    pub(crate) fn from_f64(x: f64) -> Self {
        Self {
            num: Dyadic::from_f64(x),
            den: Dyadic::power_of_two(0),
        }
    }

    pub(crate) fn add(&self, other: &Self) -> Self {
        Self {
            num: self.num.mul(&other.den).add(&other.num.mul(&self.den)),
            den: self.den.mul(&other.den),
        }
    }

    pub(crate) fn neg(&self) -> Self {
        Self {
            num: self.num.neg(),
            den: self.den.clone(),
        }
    }

    pub(crate) fn sub(&self, other: &Self) -> Self {
        self.add(&other.neg())
    }

    pub(crate) fn mul(&self, other: &Self) -> Self {
        Self {
            num: self.num.mul(&other.num),
            den: self.den.mul(&other.den),
        }
    }

    /// `None` for division by zero.
    pub(crate) fn div(&self, other: &Self) -> Option<Self> {
        if other.num.is_zero() {
            return None;
        }
        let (num, den) = (self.num.mul(&other.den), self.den.mul(&other.num));
        Some(if den.int.is_negative() {
            Self {
                num: num.neg(),
                den: den.neg(),
            }
        } else {
            Self { num, den }
        })
    }

    /// `|x - mid| * den`, to be compared with `radius * den`.
    pub(crate) fn distance_times_den(&self, mid: &Dyadic) -> Dyadic {
        self.num.sub(&mid.mul(&self.den)).abs()
    }

    /// Whether `|x - mid| <= radius`, exactly.
    pub(crate) fn within(&self, mid: &Dyadic, radius: &Dyadic) -> bool {
        self.distance_times_den(mid) <= radius.mul(&self.den)
    }
}
