//! What a port of a given format gets lies in the `Rounded` ball, operation by operation and through
//! whole computations; and the bounds are attained, so that none of them could be smaller.
//!
//! The port is emulated: its numbers are `f64` that the format holds, every operation is done in
//! `f64` and rounded to the format. For formats of at most 24 digits rounding twice is rounding
//! once (Figueroa 1995: 53 >= 2 * 24 + 2), for `f64` the hardware's operation is the port's.

#![allow(clippy::float_cmp, reason = "exact results are compared exactly")]

use crate::common::exact::Dyadic;
use crate::common::trials;
use hungry_hippos::algebra::{
    Ball, Bf16, ComplexScalar, Disc, F16, F32, F64, Field, FloatFormat, LIBRARY_FACTOR, Precision,
    Real, Ring, Rng, RootsOfUnity, Rounded, RoundedDisc, Scalar, Tf32,
};
use std::marker::PhantomData;
use std::ops::{Add, Mul, Neg, Sub};

/// The number of the format nearest to `x`, ties to even; infinite beyond the largest.
fn round<P: Precision>(x: f64) -> f64 {
    if P::FORMAT.digits() == 53 || x == 0.0 || !x.is_finite() {
        return x;
    }
    // The exponent is read off the bits; f64 subnormals are zero in all the narrower formats.
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    let unit = 2f64.powi(exponent.max(P::FORMAT.min_exponent()) - P::FORMAT.digits() + 1);
    // Division by a power of two is exact, or far below half of the smallest number.
    let rounded = (x / unit).round_ties_even() * unit;
    if rounded.abs() > P::FORMAT.largest() {
        f64::INFINITY.copysign(x)
    } else {
        rounded
    }
}

/// A number of the emulated port.
#[derive(Clone, Copy, Debug)]
struct Port<P>(f64, PhantomData<P>);

#[derive(Clone, Copy, Debug)]
struct PortComplex<P> {
    re: Port<P>,
    im: Port<P>,
}

fn port<P: Precision>(x: f64) -> Port<P> {
    Port(round::<P>(x), PhantomData)
}

impl<P: Precision> Add for Port<P> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        port(self.0 + other.0)
    }
}

impl<P: Precision> Sub for Port<P> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        port(self.0 - other.0)
    }
}

impl<P: Precision> Mul for Port<P> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        port(self.0 * other.0)
    }
}

impl<P: Precision> Neg for Port<P> {
    type Output = Self;
    fn neg(self) -> Self {
        port(-self.0)
    }
}

impl<P: Precision> Ring for Port<P> {
    const ZERO: Self = Port(0.0, PhantomData);
    const ONE: Self = Port(1.0, PhantomData);
    fn from_i64(n: i64) -> Self {
        port(n as f64)
    }
}

impl<P: Precision> Field for Port<P> {
    fn inverse(self) -> Option<Self> {
        (self.0 != 0.0).then(|| port(1.0 / self.0))
    }
    fn divide(self, divisor: Self) -> Option<Self> {
        (divisor.0 != 0.0).then(|| port(self.0 / divisor.0))
    }
}

impl<P: Precision> Scalar for Port<P> {
    type Complex = PortComplex<P>;
}

/// Library functions: the correctly rounded ones, moved by one unit in the last place, so that
/// they are off by up to one and a half.
impl<P: Precision> Port<P> {
    fn library(self, f: impl Fn(Ball) -> Ball) -> Self {
        let x = f(Ball::from_f64(self.0)).rounded().unwrap_or(f64::NAN);
        let rounded = round::<P>(x);
        let up = if P::FORMAT.digits() == 53 {
            rounded.next_up()
        } else {
            round::<P>(rounded + rounded.abs() * P::FORMAT.unit_roundoff() * 1.5)
        };
        let moved = if self.0.to_bits().is_multiple_of(3) {
            up
        } else {
            rounded
        };
        Port(moved, PhantomData)
    }
}

impl<P: Precision> Real for Port<P> {
    const UNIT_ROUNDOFF: f64 = P::FORMAT.unit_roundoff();
    fn from_f64(x: f64) -> Self {
        port(x)
    }
    fn to_f64(self) -> f64 {
        self.0
    }
    fn exp(self) -> Self {
        self.library(Ball::exp)
    }
    fn exp_m1(self) -> Self {
        self.library(Ball::exp_m1)
    }
    fn ln_1p(self) -> Self {
        self.library(Ball::ln_1p)
    }
    fn sin_cos(self) -> (Self, Self) {
        (
            self.library(|x| x.sin_cos().0),
            self.library(|x| x.sin_cos().1),
        )
    }
    fn sqrt(self) -> Self {
        port(self.0.sqrt())
    }
    fn tanh(self) -> Self {
        self.library(Ball::tanh)
    }
    fn erf(self) -> Self {
        self.library(Ball::erf)
    }
    fn relu(self) -> Self {
        port(self.0.max(0.0))
    }
}

impl<P: Precision> Add for PortComplex<P> {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::from_parts(self.re + other.re, self.im + other.im)
    }
}

impl<P: Precision> Sub for PortComplex<P> {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self::from_parts(self.re - other.re, self.im - other.im)
    }
}

impl<P: Precision> Neg for PortComplex<P> {
    type Output = Self;
    fn neg(self) -> Self {
        Self::from_parts(-self.re, -self.im)
    }
}

impl<P: Precision> Mul for PortComplex<P> {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self::from_parts(
            self.re * other.re - self.im * other.im,
            self.re * other.im + self.im * other.re,
        )
    }
}

impl<P: Precision> Ring for PortComplex<P> {
    const ZERO: Self = PortComplex {
        re: Port::ZERO,
        im: Port::ZERO,
    };
    const ONE: Self = PortComplex {
        re: Port::ONE,
        im: Port::ZERO,
    };
    fn from_i64(n: i64) -> Self {
        Self::from_parts(Port::from_i64(n), Port::ZERO)
    }
}

impl<P: Precision> Field for PortComplex<P> {
    fn inverse(self) -> Option<Self> {
        let norm = self.re * self.re + self.im * self.im;
        Some(Self::from_parts(
            self.re.divide(norm)?,
            (-self.im).divide(norm)?,
        ))
    }
}

impl<P: Precision> ComplexScalar for PortComplex<P> {
    type Base = Port<P>;
    fn from_parts(re: Port<P>, im: Port<P>) -> Self {
        Self { re, im }
    }
    fn re(self) -> Port<P> {
        self.re
    }
    fn im(self) -> Port<P> {
        self.im
    }
    fn conj(self) -> Self {
        Self::from_parts(self.re, -self.im)
    }
    fn scale(self, factor: Port<P>) -> Self {
        Self::from_parts(self.re * factor, self.im * factor)
    }
}

/// Smith's complex division (1962), which libraries use against overflow.
fn smith<P: Precision>(a: PortComplex<P>, b: PortComplex<P>) -> Option<PortComplex<P>> {
    let (x, y) = (a.re, a.im);
    if b.re.0.abs() >= b.im.0.abs() {
        let ratio = b.im.divide(b.re)?;
        let denominator = b.re + b.im * ratio;
        Some(PortComplex::from_parts(
            (x + y * ratio).divide(denominator)?,
            (y - x * ratio).divide(denominator)?,
        ))
    } else {
        let ratio = b.re.divide(b.im)?;
        let denominator = b.re * ratio + b.im;
        Some(PortComplex::from_parts(
            (x * ratio + y).divide(denominator)?,
            (y * ratio - x).divide(denominator)?,
        ))
    }
}

/// The distance of the port's number from the midpoint over the radius: at most 1 if it is inside.
/// `None` if nothing is known.
fn used(ball: Ball, x: f64) -> Option<f64> {
    if ball.is_unknown() {
        return None;
    }
    assert!(x.is_finite(), "{x} in {ball:?}");
    let distance = Dyadic::from_f64(x)
        .sub(&Dyadic::sum(&ball.midpoint()))
        .abs();
    assert_eq!(
        distance <= Dyadic::from_f64(ball.radius()),
        ball.contains(x)
    );
    if !ball.contains(x) {
        return Some(f64::INFINITY);
    }
    Some(if ball.radius() > 0.0 {
        distance.to_f64() / ball.radius()
    } else {
        0.0
    })
}

/// The same for complex numbers; inside is decided exactly.
fn used_complex<P: Precision>(disc: Disc, z: PortComplex<P>) -> Option<f64> {
    if disc.is_unknown() {
        return None;
    }
    let (re, im) = disc.midpoint();
    let square = |x: f64, mid: &[f64]| {
        let d = Dyadic::from_f64(x).sub(&Dyadic::sum(mid));
        d.mul(&d)
    };
    assert!(
        z.re.0.is_finite() && z.im.0.is_finite(),
        "{z:?} in {disc:?}"
    );
    let distance = square(z.re.0, &re).add(&square(z.im.0, &im));
    let radius = Dyadic::from_f64(disc.radius());
    if distance > radius.mul(&radius) {
        return Some(f64::INFINITY);
    }
    Some(if disc.radius() > 0.0 {
        distance.to_f64().sqrt() / disc.radius()
    } else {
        0.0
    })
}

/// One operation on numbers of the format: inside, and the worst of many uses most of the radius.
#[test]
fn single_operations() {
    fn check<P: Precision>() {
        let mut rng = Rng::new(P::FORMAT.digits() as u64);
        // Per operation the largest share of the radius that was used.
        let mut worst = [0.0f64; 12];
        for _ in 0..trials(20_000) {
            let mut draw = || round::<P>(rng.unit() * 2f64.powi(rng.below(8) as i32 - 4));
            let (a, b, c, d) = (draw(), draw(), draw(), draw());
            let (pa, pb) = (port::<P>(a), port::<P>(b));
            let (ra, rb) = (Rounded::<P>::from_f64(a), Rounded::<P>::from_f64(b));
            assert!(ra.ball().is_exact() && ra.ball().contains(a));
            let (z, w) = (
                PortComplex::from_parts(pa, pb),
                PortComplex::from_parts(port(c), port(d)),
            );
            let (rz, rw) = (
                RoundedDisc::from_parts(ra, rb),
                RoundedDisc::from_parts(Rounded::from_f64(c), Rounded::from_f64(d)),
            );
            let mut real = |i: usize, ball: Rounded<P>, x: Port<P>| {
                let share = used(ball.ball(), x.0).expect("known");
                assert!(
                    share <= 1.0,
                    "{} operation {i} of {a:e}, {b:e}: {ball:?}, {x:?}",
                    P::FORMAT
                );
                worst[i] = worst[i].max(share);
            };
            real(0, ra + rb, pa + pb);
            real(1, ra - rb, pa - pb);
            real(2, ra * rb, pa * pb);
            if b != 0.0 {
                real(3, ra.divide(rb).unwrap(), pa.divide(pb).unwrap());
            }
            if a > 0.0 {
                real(4, ra.sqrt(), pa.sqrt());
            }
            real(5, ra.exp(), pa.exp());
            real(6, ra.tanh(), pa.tanh());
            let mut complex = |i: usize, disc: RoundedDisc<P>, x: PortComplex<P>| {
                let Some(share) = used_complex(disc.disc(), x) else {
                    return;
                };
                assert!(share <= 1.0, "{} operation {i}: {disc:?}, {x:?}", P::FORMAT);
                worst[i] = worst[i].max(share);
            };
            complex(7, rz + rw, z + w);
            complex(8, rz * rw, z * w);
            complex(9, rz.scale(Rounded::from_f64(c)), z.scale(port(c)));
            if let (Some(disc), Some(x)) = (rw.inverse(), w.inverse()) {
                complex(10, disc, x);
            }
            if let (Some(disc), Some(x), Some(y)) = (rz.divide(rw), z.divide(w), smith(z, w)) {
                complex(11, disc, x);
                complex(11, disc, y);
            }
        }
        println!("{}: {worst:.2?}", P::FORMAT);
        // A rounding to nearest errs by up to u: bounds of one rounding are attained. Library
        // functions of this emulation err by 1.5 units in the last place where 2 are allowed.
        // The square root uses all significands of the format only where there are few of them.
        for (i, least) in [0.9, 0.9, 0.9, 0.9, 0.9, 0.6, 0.6, 0.9, 0.7, 0.9, 0.6, 0.45]
            .iter()
            .enumerate()
        {
            assert!(
                worst[i] >= *least,
                "{} operation {i}: {}",
                P::FORMAT,
                worst[i]
            );
        }
    }
    check::<F64>();
    check::<F32>();
    check::<Tf32>();
    check::<F16>();
    check::<Bf16>();
}

/// The worst product for `f32` (Brent, Percival and Zimmermann 2007, section 4):
/// `3/4 + 3/4 (1 - 4u) i` times `2/3 (1 + 11u) + 2/3 (1 + 5u) i` is off by `sqrt(5 - 168 u) u`.
#[test]
fn worst_complex_product() {
    let u = FloatFormat::F32.unit_roundoff();
    let (a, b) = (0.75, 0.75 * (1.0 - 4.0 * u));
    let third = |k: f64| (2f64.powi(25) + 2.0 * k) / 3.0 / 2f64.powi(24);
    let (c, d) = (third(11.0), third(5.0));
    for x in [a, b, c, d] {
        assert_eq!(f64::from(x as f32).to_bits(), x.to_bits(), "{x} is a float");
    }
    let exact = |x: f64| Rounded::<F32>::from_f64(x);
    let disc =
        RoundedDisc::from_parts(exact(a), exact(b)) * RoundedDisc::from_parts(exact(c), exact(d));
    let z = PortComplex::from_parts(port::<F32>(a), port(b));
    let w = PortComplex::from_parts(port::<F32>(c), port(d));
    let share = used_complex(disc.disc(), z * w).unwrap();
    assert!((0.9999..=1.0).contains(&share), "{share}");
}

/// In the subnormal range the error is half of the smallest number, not u times the result.
#[test]
fn underflow_is_gradual() {
    let mut rng = Rng::new(6);
    let (mut beyond_relative, mut worst) = (0, 0.0f64);
    for _ in 0..5000 {
        let mut draw = || round::<F16>(rng.unit() * 2f64.powi(-(rng.below(12) as i32)));
        let (a, b, c, d) = (draw(), draw(), draw(), draw());
        let product = Rounded::<F16>::from_f64(a) * Rounded::from_f64(b);
        let got = port::<F16>(a) * port(b);
        let share = used(product.ball(), got.0).unwrap();
        assert!(share <= 1.0, "{a} * {b}: {product:?} {got:?}");
        worst = worst.max(share);
        beyond_relative +=
            usize::from((got.0 - a * b).abs() > FloatFormat::F16.unit_roundoff() * (a * b).abs());
        let z = RoundedDisc::<F16>::from_parts(Rounded::from_f64(a), Rounded::from_f64(b));
        let w = RoundedDisc::from_parts(Rounded::from_f64(c), Rounded::from_f64(d));
        let pz = PortComplex::from_parts(port::<F16>(a), port(b));
        let pw = PortComplex::from_parts(port(c), port(d));
        assert!(used_complex((z * w).disc(), pz * pw).unwrap() <= 1.0);
        assert!(
            used_complex(z.scale(Rounded::from_f64(c)).disc(), pz.scale(port(c))).unwrap() <= 1.0
        );
        if let (Some(inverse), Some(got)) = (z.inverse(), pz.inverse())
            && let Some(share) = used_complex(inverse.disc(), got)
        {
            assert!(share <= 1.0, "1/{z:?}: {inverse:?} {got:?}");
        }
    }
    assert!(worst > 0.9, "{worst}");
    assert!(
        beyond_relative > 100,
        "the absolute term is needed: {beyond_relative}"
    );
}

#[test]
fn overflow_is_unknown() {
    let x = Rounded::<F16>::from_f64(300.0);
    assert!((x * x).ball().is_unknown());
    assert!(!(x * Rounded::from_f64(200.0)).ball().is_unknown());
    assert!(Rounded::<F16>::from_f64(1e6).ball().is_unknown());
    assert!(!Rounded::<Bf16>::from_f64(1e6).ball().is_unknown());
    let z = RoundedDisc::<F16>::from_base(x);
    assert!((z * z).disc().is_unknown());
}

/// What the format holds is exact; anything else carries the error of having been rounded.
#[test]
fn inputs_are_rounded_once() {
    fn check<P: Precision>() {
        let mut rng = Rng::new(9);
        for _ in 0..3000 {
            let x = rng.unit() * 2f64.powi(rng.below(60) as i32 - 45);
            let ball = Rounded::<P>::from_f64(x).ball();
            let stored = round::<P>(x);
            if stored.is_infinite() {
                assert!(ball.is_unknown());
                continue;
            }
            assert!(
                ball.contains(stored) && ball.contains(x),
                "{x:e} in {}: {ball:?}",
                P::FORMAT
            );
            assert_eq!(
                ball.is_exact(),
                stored == x,
                "{x:e} in {}: {ball:?}",
                P::FORMAT
            );
            let kept = Rounded::<P>::from_f64(stored).ball();
            assert!(kept.is_exact() && kept.contains(stored));
        }
        for n in [
            0i64,
            1,
            -2,
            255,
            256,
            257,
            2048,
            2049,
            1 << 24,
            (1 << 24) + 1,
            i64::MAX,
        ] {
            let ball = Rounded::<P>::from_i64(n).ball();
            let stored = round::<P>(n as f64);
            assert!(
                ball.is_unknown() || ball.contains(stored),
                "{n} in {}",
                P::FORMAT
            );
            assert_eq!(
                ball.is_exact(),
                Dyadic::from_f64(stored.min(1e300)) == Dyadic::sum(&Ball::from_i64(n).midpoint())
            );
        }
    }
    check::<F64>();
    check::<F32>();
    check::<Tf32>();
    check::<F16>();
    check::<Bf16>();
}

/// `x <- a x + b u`, read out as `2 re(c x)`: one text for the port and for the bound.
fn state_space<T: Scalar>(a: T::Complex, b: T::Complex, c: T::Complex, u: &[T]) -> Vec<T> {
    let mut x = T::Complex::ZERO;
    u.iter()
        .map(|&u| {
            x = a * x + b.scale(u);
            (c * x).trace()
        })
        .collect()
}

/// A layer in miniature: decode, discretize, run, normalize, squash.
fn miniature<T: Real>(parameters: &[f64], u: &[f64]) -> Vec<T> {
    let p: Vec<T> = parameters.iter().map(|&x| T::from_f64(x)).collect();
    let complex = |re: T, im: T| T::Complex::from_parts(re, im);
    let (lambda, dt) = (complex(-(p[0].exp()), p[1]), p[2].exp());
    let z = lambda.scale(dt);
    let a = T::exp_complex(z);
    let b = T::phi1(z).scale(dt) * complex(p[3], p[4]);
    let u: Vec<T> = u.iter().map(|&x| T::from_f64(x)).collect();
    let y = state_space(a, b, complex(p[5], p[6]), &u);
    let energy = y.iter().fold(T::ONE, |sum, &y| sum + y * y);
    let norm = energy.sqrt();
    y.iter()
        .map(|&y| {
            y.divide(norm)
                .map_or(T::from_f64(f64::NAN), |x| x.tanh().relu() + x.ln_1p())
        })
        .collect()
}

fn random_case(rng: &mut Rng, steps: usize) -> (Vec<f64>, Vec<f64>) {
    let mut p: Vec<f64> = (0..7).map(|_| rng.unit()).collect();
    // dt = e^p[2] between 0.003 and 0.4.
    p[2] = -3.5 + 2.5 * p[2];
    p[1] *= 8.0;
    let u = (0..steps).map(|_| rng.unit()).collect();
    (p, u)
}

/// Whole computations of every format lie inside, and the worst output uses 5 % of its bound or
/// more (the bound is the worst case, errors mostly cancel). A port of fewer digits does not pass.
#[test]
fn computations() {
    fn check<P: Precision>() -> (usize, f64) {
        let mut rng = Rng::new(100 + P::FORMAT.digits() as u64);
        let (mut compared, mut worst) = (0, 0.0f64);
        for _ in 0..60 {
            let (p, u) = random_case(&mut rng, 20);
            let bound = miniature::<Rounded<P>>(&p, &u);
            let got = miniature::<Port<P>>(&p, &u);
            for (bound, got) in bound.iter().zip(&got) {
                if let Some(share) = used(bound.ball(), got.0) {
                    assert!(share <= 1.0, "{}: {bound:?} {got:?}", P::FORMAT);
                    compared += 1;
                    worst = worst.max(share);
                }
            }
        }
        println!(
            "{}: {compared} outputs, the worst uses {worst:.3} of its bound",
            P::FORMAT
        );
        (compared, worst)
    }
    for (compared, worst) in [
        check::<F64>(),
        check::<F32>(),
        check::<Tf32>(),
        check::<F16>(),
        check::<Bf16>(),
    ] {
        assert!(compared > 600, "too much is unknown: {compared} of 1200");
        assert!(worst > 0.01, "the bounds are far too wide: {worst}");
    }
    // Teeth: a port of 11 digits against the bounds of 24.
    let mut rng = Rng::new(55);
    for _ in 0..60 {
        let (p, u) = random_case(&mut rng, 20);
        let bound = miniature::<Rounded<F32>>(&p, &u);
        let got = miniature::<Port<Tf32>>(&p, &u);
        let outside =
            |(b, x): (&Rounded<F32>, &Port<Tf32>)| used(b.ball(), x.0) == Some(f64::INFINITY);
        assert!(bound.iter().zip(&got).any(outside));
    }
}

/// Roots of unity: rounded parts are inside, quarter turns exact.
#[test]
fn roots_of_unity_carry_one_rounding() {
    for n in [1, 3, 8, 60, 256] {
        let exact = Disc::roots_of_unity(n).unwrap();
        let rounded = RoundedDisc::<F32>::roots_of_unity(n).unwrap();
        for (k, (w, r)) in exact.iter().zip(rounded).enumerate() {
            let (re, im) = (w.re().to_f64(), w.im().to_f64());
            let z = PortComplex::from_parts(port::<F32>(re), port(im));
            assert!(used_complex(r.disc(), z).unwrap() <= 1.0, "w_{n}^{k}");
            assert!(r.disc().radius() <= 1.01 * FloatFormat::F32.unit_roundoff());
            assert_eq!(r.disc().radius() == 0.0, 4 * k % n == 0);
        }
    }
    assert!(RoundedDisc::<F32>::roots_of_unity(0).is_none());
}

/// `phi_1` covers the official quotient `(e^z - 1)/z`, which loses `1/|z|`, and the careful form.
#[test]
fn phi_covers_both_ways_of_computing_it() {
    let mut rng = Rng::new(41);
    let mut official_is_far = 0;
    for _ in 0..400 {
        let size = 2f64.powi(-(rng.below(14) as i32));
        let (x, y) = (
            round::<F32>(-size * rng.unit().abs()),
            round::<F32>(size * rng.unit()),
        );
        let exact = |x: f64| Rounded::<F32>::from_f64(x);
        let disc = Rounded::phi1(RoundedDisc::from_parts(exact(x), exact(y))).disc();
        let z = PortComplex::from_parts(port::<F32>(x), port(y));
        let official = (Port::exp_complex(z) - PortComplex::ONE).divide(z).unwrap();
        let careful = Port::phi1(z);
        assert!(used_complex(disc, official).unwrap() <= 1.0, "{x} {y}");
        assert!(used_complex(disc, careful).unwrap() <= 1.0, "{x} {y}");
        let careful_disc = Ball::phi1(Disc::from_parts(Ball::from_f64(x), Ball::from_f64(y)));
        let (re, _) = careful_disc.midpoint();
        official_is_far +=
            usize::from((official.re.0 - re[0]).abs() > 32.0 * FloatFormat::F32.unit_roundoff());
    }
    assert!(official_is_far > 10, "{official_is_far}");
    // At zero there is no quotient.
    let at_zero = Rounded::<F32>::phi1(RoundedDisc::ZERO).disc();
    assert!(
        at_zero.radius() <= 8.1 * FloatFormat::F32.unit_roundoff()
            && at_zero.midpoint().0[0] == 1.0
    );
}

/// The derivative of `phi_1` likewise: the quotient `(e^z - phi_1(z)) / z` of a port's own numbers,
/// and the exact one, which a careful port comes near.
#[test]
fn the_derivative_of_phi_covers_both_ways_too() {
    let mut rng = Rng::new(42);
    let mut quotient_is_far = 0;
    for _ in 0..200 {
        let size = 2f64.powi(-(rng.below(10) as i32));
        let (x, y) = (
            round::<F32>(-size * rng.unit().abs()),
            round::<F32>(size * rng.unit()),
        );
        let parts = |x: f64| Rounded::<F32>::from_f64(x);
        let disc = Rounded::phi1_derivative(RoundedDisc::from_parts(parts(x), parts(y))).disc();
        let z = PortComplex::from_parts(port::<F32>(x), port(y));
        let quotient = (Port::exp_complex(z) - Port::phi1(z)).divide(z).unwrap();
        assert!(used_complex(disc, quotient).unwrap() <= 1.0, "{x} {y}");
        let exact = Ball::phi1_derivative(Disc::from_parts(Ball::from_f64(x), Ball::from_f64(y)));
        let (re, im) = exact.midpoint();
        let careful = PortComplex::from_parts(port::<F32>(re[0]), port(im[0]));
        assert!(used_complex(disc, careful).unwrap() <= 1.0, "{x} {y}");
        // No wider than its operations make it, in u: the exponential is off by (4 + 4 + 1) u = 9 u at
        // most where x <= 0, a difference by 1 and a quotient by 5.75 more (an inverse with 3.52, a product
        // with sqrt 5). So phi_1 by 9/|z| + 6.75 |phi_1|, and its derivative by (9 + 9/|z| + 6.75 |phi_1|)/|z| +
        // 6.75 |phi_1'|; with |phi_1| <= 1, |phi_1'| <= 1/2 and |z| <= sqrt 2 below 38.1/|z|^2.
        let size = x.hypot(y);
        assert!(
            disc.radius() <= 38.1 * FloatFormat::F32.unit_roundoff() / (size * size),
            "{x} {y}"
        );
        quotient_is_far +=
            usize::from((quotient.re.0 - re[0]).abs() > 32.0 * FloatFormat::F32.unit_roundoff());
    }
    assert!(quotient_is_far > 10, "{quotient_is_far}");
    let at_zero = Rounded::<F32>::phi1_derivative(RoundedDisc::ZERO).disc();
    assert!(
        at_zero.radius() <= 4.1 * FloatFormat::F32.unit_roundoff()
            && at_zero.midpoint().0[0] == 0.5
    );
}

/// A number back from its ball, an inverse, a negative, on numbers anyone can check.
#[test]
fn single_numbers_by_hand() {
    let third = Rounded::<F32>::from_i64(3).inverse().expect("not zero");
    assert_eq!(third.to_f64(), 1.0 / 3.0);
    assert!(third.ball().contains(f64::from(1f32 / 3.0)) && !third.ball().is_exact());
    assert!(Rounded::<F32>::ZERO.inverse().is_none());
    let (x, y) = (
        Rounded::<F16>::from_f64(1.5),
        Rounded::<F16>::from_f64(-0.25),
    );
    assert_eq!(
        ((-x).to_f64(), (x - y).to_f64(), (x * y).to_f64()),
        (-1.5, 1.75, -0.375)
    );
    // The difference of equal numbers is zero, which no rounding changes.
    assert!((x - x).ball().is_exact());
    let z = RoundedDisc::from_parts(x, y);
    let (minus, disc) = (-z, z.disc());
    assert_eq!((minus.re().to_f64(), minus.im().to_f64()), (-1.5, 0.25));
    assert_eq!(minus.disc().radius(), disc.radius(), "exact in any format");
    // The largest number is held; what lies beyond is not.
    let held = |x: f64| Rounded::<F16>::from_f64(x).ball();
    assert!(held(65504.0).is_exact() && held(-65504.0).is_exact());
    assert!(held(65505.0).is_unknown());
}

#[test]
fn formats_are_what_they_are_called() {
    let formats = [
        F64::FORMAT,
        F32::FORMAT,
        Tf32::FORMAT,
        F16::FORMAT,
        Bf16::FORMAT,
    ];
    assert_eq!(formats, FloatFormat::ALL);
    assert_eq!(
        formats.map(FloatFormat::name),
        ["f64", "f32", "tf32", "f16", "bf16"]
    );
    const { assert!(LIBRARY_FACTOR >= 2.0) };
    // The emulation rounds to f32 as the hardware does.
    let mut rng = Rng::new(2);
    for _ in 0..20_000 {
        let x = rng.unit() * 2f64.powi(rng.below(280) as i32 - 150);
        assert_eq!(
            round::<F32>(x).to_bits(),
            f64::from(x as f32).to_bits(),
            "{x:e}"
        );
    }
}
