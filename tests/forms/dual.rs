//! Dual numbers differentiate: with `==` over the field of 2^61 - 1, by the mean value theorem over
//! balls, and against certified derivatives over `f64`.

#![allow(clippy::float_cmp, reason = "exact results are compared exactly")]

use hungry_hippos::algebra::ball::BallN;
use hungry_hippos::algebra::{
    Ball, ComplexScalar, Disc, Dual, Field, M61, Real, Ring, Rng, RootsOfUnity, Sample, Scalar,
};
use num_complex::Complex;

type D = Dual<M61>;

fn random(rng: &mut Rng) -> M61 {
    M61::sample(rng)
}

/// `sum_i c_i x^i` by Horner's rule: one text for numbers and dual numbers.
fn polynomial<T: Ring>(coefficients: &[T], x: T) -> T {
    coefficients
        .iter()
        .rev()
        .fold(T::ZERO, |sum, &c| sum * x + c)
}

/// The derivative of a polynomial is `sum_i i c_i x^(i-1)`, with `==`. A wrong rule survives one
/// trial with probability at most degree / 2^61.
#[test]
fn polynomials() {
    let mut rng = Rng::new(1);
    for degree in [0, 1, 2, 3, 7, 20] {
        let c: Vec<M61> = (0..=degree).map(|_| random(&mut rng)).collect();
        let slope: Vec<M61> = (1..=degree)
            .map(|i| M61::from_i64(i as i64) * c[i])
            .collect();
        let x = random(&mut rng);
        let constants: Vec<D> = c.iter().map(|&c| Dual::constant(c)).collect();
        let y = polynomial(&constants, Dual::variable(x));
        assert_eq!(y.value, polynomial(&c, x));
        assert_eq!(y.derivative, polynomial(&slope, x));
        // With the coefficients varying as well: sum_i c_i' x^i + slope * x'.
        let moving: Vec<D> = c.iter().map(|&c| Dual::new(c, random(&mut rng))).collect();
        let rates: Vec<M61> = moving.iter().map(|c| c.derivative).collect();
        let rate = random(&mut rng);
        let y = polynomial(&moving, Dual::new(x, rate));
        let expected = polynomial(&rates, x) + polynomial(&slope, x) * rate;
        assert_eq!(y.derivative, expected);
        assert_ne!(y.derivative, expected + M61::ONE);
    }
}

#[test]
fn ring_and_field_laws() {
    let mut rng = Rng::new(2);
    for _ in 0..100 {
        let [a, b, c] = [(); 3].map(|()| D::sample(&mut rng));
        assert_eq!(a + b, b + a);
        assert_eq!((a + b) + c, a + (b + c));
        assert_eq!(a * b, b * a);
        assert_eq!((a * b) * c, a * (b * c));
        assert_eq!(a * (b + c), a * b + a * c);
        assert_eq!(a + D::ZERO, a);
        assert_eq!(a * D::ONE, a);
        assert_eq!(a - a, D::ZERO);
        assert_eq!(a + (-a), D::ZERO);
        assert_eq!(a * a.inverse().unwrap(), D::ONE);
        assert_eq!(a.divide(b).unwrap() * b, a);
        assert_eq!(a.divide(b).unwrap(), a * b.inverse().unwrap());
        // The quotient rule.
        let q = a.divide(b).unwrap();
        let (numerator, denominator) = (
            a.derivative * b.value - a.value * b.derivative,
            b.value * b.value,
        );
        assert_eq!(q.derivative, numerator.divide(denominator).unwrap());
        assert_eq!(
            a.power(5).derivative,
            M61::from_i64(5) * a.value.power(4) * a.derivative
        );
    }
    // A multiple of e has no inverse.
    assert!(Dual::new(M61::ZERO, M61::ONE).inverse().is_none());
    assert!(D::ONE.divide(Dual::new(M61::ZERO, M61::ONE)).is_none());
    assert_eq!(D::from_i64(-3), Dual::constant(M61::from_i64(-3)));
}

#[test]
fn complex_companion() {
    let mut rng = Rng::new(3);
    for _ in 0..50 {
        let (x, y, f) = (
            D::sample(&mut rng),
            D::sample(&mut rng),
            D::sample(&mut rng),
        );
        let z: Dual<Complex<M61>> = ComplexScalar::from_parts(x, y);
        let w = D::sample_complex(&mut rng);
        assert_eq!((z.re(), z.im()), (x, y));
        assert_eq!(z.conj().conj(), z);
        assert_eq!((z * w).conj(), z.conj() * w.conj());
        assert_eq!((z * z.conj()).im(), D::ZERO);
        assert_eq!((z * z.conj()).re(), x * x + y * y);
        assert_eq!(z.scale(f), z * ComplexScalar::from_base(f));
        assert_eq!(z.trace(), x + x);
        // Arithmetic by parts.
        assert_eq!((z * w).re(), x * w.re() - y * w.im());
        assert_eq!((z * w).im(), x * w.im() + y * w.re());
    }
    let roots = <D as Scalar>::Complex::roots_of_unity(8).unwrap();
    let plain = Complex::<M61>::roots_of_unity(8).unwrap();
    for (w, p) in roots.iter().zip(plain) {
        assert_eq!((w.value, w.derivative), (p, Ring::ZERO));
    }
    assert!(<D as Scalar>::Complex::roots_of_unity(0).is_none());
}

/// The kernel `f_j = 2 re(c a^j b)` of a diagonal SSM, differentiated by the pole's real part:
/// `2 re(c j a^(j-1) b)`; by its imaginary part: the same times i.
#[test]
fn kernels() {
    let mut rng = Rng::new(4);
    let [a, b, c] = [(); 3].map(|()| M61::sample_complex(&mut rng));
    let i = Complex::new(M61::ZERO, M61::ONE);
    for direction in [Ring::ONE, i] {
        let moving = Dual::new(a, direction);
        for j in [0u64, 1, 2, 3, 17, 100] {
            let f = (Dual::constant(c) * moving.power(j) * Dual::constant(b)).trace();
            assert_eq!(f.value, (c * a.power(j) * b).trace());
            let slope = if j == 0 {
                Ring::ZERO
            } else {
                c * Complex::from_i64(j as i64) * a.power(j - 1) * b * direction
            };
            assert_eq!(f.derivative, slope.trace());
        }
    }
}

/// Second derivatives by nesting: `(x^5)'' = 20 x^3`.
#[test]
fn nested() {
    let x = M61::new(1234567);
    let y = Dual::variable(Dual::variable(x)).power(5);
    assert_eq!(y.value.value, x.power(5));
    assert_eq!(y.value.derivative, M61::from_i64(5) * x.power(4));
    assert_eq!(y.derivative.value, M61::from_i64(5) * x.power(4));
    assert_eq!(y.derivative.derivative, M61::from_i64(20) * x.power(3));
}

/// A function with its name.
type Named<T> = (&'static str, fn(T) -> T);

fn functions<T: Real>() -> Vec<Named<T>> {
    vec![
        ("exp", T::exp),
        ("exp_m1", T::exp_m1),
        ("ln_1p", T::ln_1p),
        ("sin", |x| x.sin_cos().0),
        ("cos", |x| x.sin_cos().1),
        ("sqrt", T::sqrt),
        ("tanh", T::tanh),
        ("relu", T::relu),
        ("x exp(sin x) / (1 + x^2)", |x| {
            (x * x.sin_cos().0.exp()).divide(T::ONE + x * x).unwrap()
        }),
    ]
}

/// Mean value theorem: `(f(x + h) - f(x))/h = f'(xi)` for some `xi` between. The dual number over the
/// ball of all `xi` encloses the right side, arithmetic on balls the left: they must overlap. With
/// `h = 2^-30` both are narrow, so a derivative off by a thousandth is found.
#[test]
fn mean_values() {
    let mut rng = Rng::new(5);
    let h = 2f64.powi(-30);
    let duals = functions::<Dual<Ball>>();
    for ((name, f), (_, df)) in functions::<Ball>().into_iter().zip(duals) {
        let mut found = 0;
        for _ in 0..100 {
            // Away from zero, where square roots and positive parts turn.
            let x = (1.0 + rng.unit()) * 1.5 + 0.01;
            let x = if name == "sqrt" || rng.below(2) == 0 {
                x
            } else {
                -x / 4.0
            };
            let (low, high) = (Ball::from_f64(x), Ball::from_f64(x) + Ball::from_f64(h));
            let quotient = (f(high) - f(low)) * Ball::from_f64(1.0 / h);
            let between = Ball::hull(x, (x + h).next_up());
            let y = df(Dual::variable(between));
            assert!(
                !quotient.is_unknown() && !y.derivative.is_unknown(),
                "{name}({x})"
            );
            assert!(
                y.derivative.overlaps(quotient),
                "{name}({x}): {y:?}, {quotient:?}"
            );
            assert!(y.value.overlaps(f(low)) && y.value.overlaps(f(high)));
            // Teeth. (A derivative of zero times anything is zero.)
            let wrong = y.derivative * Ball::from_f64(1.001);
            if quotient.lower_magnitude() > 1e-4 {
                assert!(!wrong.overlaps(quotient), "{name}({x})");
                found += 1;
            }
        }
        assert!(found >= 40, "{name}: {found}");
    }
}

/// At an exact point the derivative is known to all digits, and second derivatives too.
#[test]
fn derivatives_of_exp_to_all_digits() {
    let x = Ball::from_f64(0.3);
    let y = Dual::variable(Dual::variable(x)).exp();
    for part in [
        y.value.derivative,
        y.derivative.value,
        y.derivative.derivative,
    ] {
        assert!(part.overlaps(x.exp()) && part.radius() < 1e-30, "{part:?}");
    }
    // sin'' = -sin, tanh'' = -2 tanh (1 - tanh^2).
    let y = Dual::variable(Dual::variable(x))
        .sin_cos()
        .0
        .derivative
        .derivative;
    assert!(y.overlaps(-x.sin_cos().0) && y.radius() < 1e-30);
    let t = x.tanh();
    let y = Dual::variable(Dual::variable(x))
        .tanh()
        .derivative
        .derivative;
    let expected = -(t + t) * (Ball::ONE - t * t);
    assert!(y.overlaps(expected) && y.radius() < 1e-29);
}

#[test]
fn corners() {
    type F = Dual<f64>;
    // The positive part: slopes 1, 0, and 0 at zero by convention; a NaN stays one.
    assert_eq!(F::variable(2.0).relu(), Dual::new(2.0, 1.0));
    assert_eq!(F::variable(-2.0).relu(), Dual::new(0.0, 0.0));
    assert_eq!(F::variable(0.0).relu().derivative, 0.0);
    assert!(F::variable(f64::NAN).relu().derivative.is_nan());
    // A ball that straddles zero has both slopes.
    let open = Dual::variable(Ball::hull(-1.0, 1.0)).relu().derivative;
    assert!(open.contains(0.0) && open.contains(1.0) && open.radius() < 0.5 + 1e-12);
    // No slope at zero.
    assert!(F::variable(0.0).sqrt().derivative.is_nan());
    assert!(Dual::variable(Ball::ZERO).sqrt().derivative.is_unknown());
    assert!(F::variable(-1.0).ln_1p().derivative.is_nan());
    assert_eq!(F::from_f64(0.5), Dual::constant(0.5));
    assert_eq!(F::variable(0.5).to_f64(), 0.5);
}

/// `phi_1` over dual numbers: value 1 and derivative z'/2 at zero, exactly, and everywhere the
/// derivative of the quotient.
#[test]
fn phi_and_its_derivative() {
    let one = Complex::new(1.0, 0.0);
    let y = Dual::<f64>::phi1(Dual::new(Complex::new(0.0, 0.0), Complex::new(3.0, -1.0)));
    assert_eq!((y.value, y.derivative), (one, Complex::new(1.5, -0.5)));
    let y = Dual::<Ball>::phi1(Dual::variable(Disc::ZERO));
    assert!(y.value.re().is_exact() && y.value.re().contains(1.0));
    assert!(y.derivative.re().is_exact() && y.derivative.re().contains(0.5));

    // Over f64 against the certified derivative, at sizes on both sides of where the method
    // changes (|x| + |y| = 1). Rounding errors: the series adds 21 terms of ratio below 2/3 by
    // complex products (sqrt 5 u each) and sums; the quotient loses at most
    // (|e^z| + |phi_1|)/|z phi_1'| < 20 for these z. 200 u covers both.
    let mut rng = Rng::new(6);
    let u = f64::UNIT_ROUNDOFF;
    let disc = |z: Complex<f64>| Disc::from_parts(Ball::from_f64(z.re), Ball::from_f64(z.im));
    for trial in 0..2000 {
        let size = [1e-300, 1e-12, 1e-3, 0.5, 1.0, 3.0, 10.0][trial % 7];
        let z = Complex::new(-size * rng.unit().abs(), size * rng.unit());
        let y = Dual::<f64>::phi1(Dual::variable(z));
        let truth = Ball::phi1_derivative(disc(z));
        let off = (disc(y.derivative) - truth).upper_modulus();
        assert!(
            off <= 200.0 * u * truth.upper_modulus(),
            "{z}: {y:?} {truth:?}"
        );
        // The plain quotient fails the same test where z is small.
        if size < 1e-2 && size > 1e-200 {
            let naive = ((z.exp() - one) / z, z.exp());
            let naive = (naive.1 - naive.0) / z;
            let off = (disc(naive) - truth).upper_modulus();
            assert!(off > 200.0 * u * truth.upper_modulus(), "{z}");
        }
    }

    // Mean value over the disc of all points between, along the real direction.
    for z in [(-0.2, 0.4), (-1.5, 2.0), (-1e-9, 0.0), (-0.7, -0.3)] {
        let h = 2f64.powi(-30);
        let at = |x: f64| Disc::from_parts(Ball::from_f64(x), Ball::from_f64(z.1));
        let quotient =
            (Ball::phi1(at(z.0 + h)) - Ball::phi1(at(z.0))).scale(Ball::from_f64(1.0 / h));
        let between = Disc::new([z.0 + h / 2.0, 0.0], [z.1, 0.0], h);
        let y = Dual::<Ball>::phi1(Dual::variable(between)).derivative;
        assert!(
            (y - quotient).lower_modulus() <= 0.0,
            "{z:?}: {y:?} {quotient:?}"
        );
        let wrong = y.scale(Ball::from_f64(1.001));
        assert!((wrong - quotient).lower_modulus() > 0.0, "{z:?}");
    }

    // The second derivative at zero is 1/3.
    let zero = Dual::new(Dual::variable(Disc::ZERO), Dual::ONE);
    let second = Dual::<Dual<Ball>>::phi1(zero).derivative.derivative.re();
    let third = Ball::ONE.divide(Ball::from_i64(3)).unwrap();
    assert!((second - third).upper_magnitude() < 1e-28, "{second:?}");
}

/// `e^z` of complex dual numbers: `(e^z)' = e^z z'`.
#[test]
fn complex_exponentials() {
    let z = BallN::<3>::sample_pole(&mut Rng::new(7));
    let dz = BallN::<3>::sample_complex(&mut Rng::new(8));
    let y = Dual::<BallN<3>>::exp_complex(Dual::new(z, dz));
    let e = BallN::<3>::exp_complex(z);
    assert!((y.value - e).lower_modulus() <= 0.0);
    assert!((y.derivative - e * dz).lower_modulus() <= 0.0);
    assert!(y.derivative.radius() < 1e-45);
}
