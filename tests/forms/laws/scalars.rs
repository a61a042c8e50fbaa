//! The scalars.

use hungry_hippos::algebra::{
    ComplexScalar, Counted, Field, M61, Matrix, OperationCount, Real, Ring, Rng, RootsOfUnity,
    Sample, Scalar,
};
use num_complex::Complex;
use num_traits::{Num, One, Zero};
use proptest::prelude::*;

const P: u64 = M61::MODULUS;

/// Residues with a reason: the ends of the range and where the reduction folds.
const CORNERS: [u64; 8] = [
    0,
    1,
    2,
    P - 1,
    P - 2,
    1 << 60,
    (1 << 60) - 1,
    0x0555_5555_5555_5555,
];

fn m61() -> impl Strategy<Value = M61> {
    prop_oneof![
        prop::sample::select(&CORNERS[..]).prop_map(M61::new),
        any::<u64>().prop_map(M61::new),
    ]
}

fn complex() -> impl Strategy<Value = Complex<M61>> {
    (m61(), m61()).prop_map(|(re, im)| Complex::new(re, im))
}

/// The axioms of a field, on three elements.
fn field_axioms<F: Field + PartialEq>(x: F, y: F, z: F) {
    assert_eq!(x + y, y + x);
    assert_eq!(x * y, y * x);
    assert_eq!((x + y) + z, x + (y + z));
    assert_eq!((x * y) * z, x * (y * z));
    assert_eq!(x * (y + z), x * y + x * z);
    assert_eq!(x + F::ZERO, x);
    assert_eq!(x * F::ONE, x);
    assert_eq!(x + (-x), F::ZERO);
    assert_eq!(x - y, x + (-y));
    match x.inverse() {
        Some(inverse) => {
            assert_eq!(x * inverse, F::ONE);
            assert_eq!(y.divide(x).map(|quotient| quotient * x), Some(y));
        }
        None => {
            assert_eq!(x, F::ZERO, "only zero has no inverse");
            assert!(y.divide(x).is_none());
        }
    }
}

proptest! {
    #[test]
    fn m61_is_a_field(x in m61(), y in m61(), z in m61()) {
        field_axioms(x, y, z);
        prop_assert!(x.value() < P, "canonical");
    }

    #[test]
    fn complex_m61_is_a_field(x in complex(), y in complex(), z in complex()) {
        field_axioms(x, y, z);
    }

    /// Against 128-bit integers and the remainder the fast reduction avoids.
    #[test]
    fn m61_arithmetic_is_arithmetic_modulo_p(a: u64, b: u64) {
        let (x, y) = (M61::new(a), M61::new(b));
        let (a, b, p) = (u128::from(a), u128::from(b), u128::from(P));
        prop_assert_eq!(u128::from(x.value()), a % p);
        prop_assert_eq!(u128::from((x + y).value()), (a + b) % p);
        prop_assert_eq!(u128::from((x * y).value()), a % p * (b % p) % p);
        prop_assert_eq!(u128::from((x - y).value()), (a % p + p - b % p) % p);
    }

    #[test]
    fn integers_map_to_the_ring(n: i64, k in 0u64..200) {
        let expected = i128::from(n).rem_euclid(i128::from(P));
        prop_assert_eq!(i128::from(M61::from_i64(n).value()), expected);
        let x = M61::from_i64(n);
        let product = (0..k).fold(M61::ONE, |product, _| product * x);
        prop_assert_eq!(x.power(k), product, "powers by squaring");
    }

    /// Conjugation is the Frobenius map z -> z^p: a homomorphism that fixes the base field.
    #[test]
    fn conjugation_is_frobenius(z in complex(), w in complex(), x in m61()) {
        prop_assert_eq!(ComplexScalar::conj(z), z.power(P));
        prop_assert_eq!(ComplexScalar::conj(z * w), ComplexScalar::conj(z) * ComplexScalar::conj(w));
        prop_assert_eq!(ComplexScalar::conj(Complex::from_base(x)), Complex::from_base(x));
        prop_assert_eq!(z + ComplexScalar::conj(z), Complex::from_base(z.trace()));
        prop_assert_eq!(z.scale(x), z * Complex::from_base(x));
        prop_assert_eq!(Complex::from_parts(z.re(), z.im()), z);
        // Fixed exactly by conjugation: the base field.
        prop_assert_eq!(ComplexScalar::conj(z) == z, z.im == M61::ZERO);
    }

    /// The embedding that `num_complex` asks for is the same arithmetic.
    #[test]
    fn num_traits_agree(x in m61(), y in m61()) {
        prop_assert_eq!(<M61 as Zero>::zero(), M61::ZERO);
        prop_assert_eq!(<M61 as One>::one(), M61::ONE);
        prop_assert_eq!(x.is_zero(), x == M61::ZERO);
        prop_assert_eq!(M61::from_str_radix(&x.value().to_string(), 10), Ok(x));
        prop_assert_eq!(format!("{x} {x:?} {x:25}"), format!("{0} {0} {0:25}", x.value()));
        if y != M61::ZERO {
            prop_assert_eq!((x / y) * y + x % y, x);
        }
    }

    /// A counted number is the float it holds, operation by operation, and each is noted once.
    #[test]
    fn counted_numbers_are_floats(x in -1e3f64..1e3, y in 1e-3f64..1e3) {
        let (a, b) = (Counted::new(x), Counted::new(y));
        let divisions = |n| OperationCount { divisions: n, ..OperationCount::new(0, 0) };
        let functions = |n| OperationCount { functions: n, ..OperationCount::new(0, 0) };
        let noted = |value: f64, count, work: &dyn Fn() -> Counted| {
            let (result, done) = Counted::count(work);
            assert_eq!((result.to_f64().to_bits(), done), (value.to_bits(), count));
        };
        noted(x + y, OperationCount::new(0, 1), &|| a + b);
        noted(x - y, OperationCount::new(0, 1), &|| a - b);
        noted(x * y, OperationCount::new(1, 0), &|| a * b);
        noted(-x, OperationCount::new(0, 0), &|| -a);
        noted(x / y, divisions(1), &|| a / b);
        noted(x % y, divisions(1), &|| a % b);
        noted(x / y, divisions(1), &|| a.divide(b).expect("not zero"));
        noted(1.0 / y, divisions(1), &|| b.inverse().expect("not zero"));
        noted(y.exp(), functions(1), &|| b.exp());
        noted(y.exp_m1(), functions(1), &|| b.exp_m1());
        noted(y.ln_1p(), functions(1), &|| b.ln_1p());
        noted(y.sqrt(), functions(1), &|| Real::sqrt(b));
        noted(x.tanh(), functions(1), &|| a.tanh());
        noted(x.sin(), functions(1), &|| a.sin_cos().0);
        noted(x.cos(), functions(1), &|| a.sin_cos().1);
        noted(x.max(0.0), OperationCount::new(0, 0), &|| a.relu());
        prop_assert!(a.divide(Counted::ZERO).is_none());
        prop_assert_eq!(a.is_zero(), x == 0.0);
        prop_assert!(Counted::zero().is_zero() && !Counted::one().is_zero());
        let four = OperationCount { divisions: 3, functions: 4, ..OperationCount::new(1, 2) };
        prop_assert_eq!(four.total(), 10);
        prop_assert_eq!((2 * four).total(), 20);
        let parsed = Counted::from_str_radix("2.5", 10).map(Counted::value);
        prop_assert_eq!(parsed.ok(), Some(2.5));
    }

    #[test]
    fn floats_divide_in_one_rounding(x: f64, y: f64) {
        let quotient = x.divide(y);
        prop_assert_eq!(quotient.is_none(), y == 0.0);
        if let Some(quotient) = quotient {
            prop_assert_eq!(quotient.to_bits(), (x / y).to_bits());
        }
    }

    #[test]
    fn matrices_multiply_by_the_definition(n in 0usize..6, m in 0usize..6, k in 0usize..6, seed: u64) {
        let rng = &mut Rng::new(seed);
        let a = Matrix::from_fn(n, m, |_, _| M61::sample(rng));
        let b = Matrix::from_fn(m, k, |_, _| M61::sample(rng));
        let c = a.times(&b).expect("shapes fit");
        for i in 0..n {
            for j in 0..k {
                let entry = (0..m).fold(M61::ZERO, |sum, l| {
                    sum + a.get(i, l).expect("inside") * b.get(l, j).expect("inside")
                });
                prop_assert_eq!(c.get(i, j), Some(entry));
            }
        }
        prop_assert_eq!(c.transpose(), b.transpose().times(&a.transpose()).expect("fits"));
        prop_assert_eq!(a.times(&Matrix::identity(m)).expect("fits"), a.clone());
        if m != n {
            prop_assert!(a.times(&a).is_err(), "shapes do not fit");
        }
    }
}

/// (4 + i)^(p-1) has order exactly 2^61: its 2^60-th power is -1, not 1.
#[test]
fn the_norm_one_group_has_order_two_to_the_sixty_one() {
    let w = Complex::new(M61::new(4), M61::new(1)).power(P - 1);
    assert_eq!(w * ComplexScalar::conj(w), Complex::<M61>::ONE, "norm one");
    assert_eq!(w.power(1 << 60), -Complex::<M61>::ONE);
}

/// 6 + i generates the whole multiplicative group: no power to a maximal proper divisor of
/// p^2 - 1 is one. So the roots the crate hands out have the order they claim.
#[test]
fn six_plus_i_generates() {
    let g = Complex::new(M61::new(6), M61::new(1));
    let primes = [2u128, 3, 5, 7, 11, 13, 31, 41, 61, 151, 331, 1321];
    let order = u128::from(P) * u128::from(P) - 1;
    let mut rest = order;
    for q in primes {
        while rest % q == 0 {
            rest /= q;
        }
        // g^(order/q) by two 61-bit digits of the exponent.
        let exponent = order / q;
        let (low, high) = ((exponent & u128::from(P)) as u64, (exponent >> 61) as u64);
        let power = g.power(low) * g.power(1 << 61).power(high);
        assert_ne!(power, Complex::<M61>::ONE, "order divides (p^2 - 1) / {q}");
    }
    assert_eq!(rest, 1, "the primes are all of them");
}

/// Order, compatibility w_{nm}^m = w_n, and conj(w) = 1/w for powers of two.
#[test]
fn m61_roots_of_unity() {
    type C = Complex<M61>;
    for n in [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 60, 64, 105, 256] {
        let powers = C::roots_of_unity(n).expect("n divides p^2 - 1");
        assert_eq!(powers.len(), n);
        let w = powers[1 % n];
        for (k, &power) in powers.iter().enumerate() {
            assert_eq!(power, w.power(k as u64), "w_{n}^{k}");
            assert_eq!(power == C::ONE, k == 0, "the order is exactly {n}");
        }
        assert_eq!(w.power(n as u64), C::ONE);
        for m in [2, 3, 4] {
            let divides = (u128::from(P) * u128::from(P) - 1) % (n * m) as u128 == 0;
            let finer = C::roots_of_unity(n * m);
            assert_eq!(finer.is_some(), divides, "roots exist for divisors only");
            if let Some(finer) = finer {
                assert_eq!(finer[m % (n * m)], w, "w_{}^{m} = w_{n}", n * m);
            }
        }
        if n.is_power_of_two() {
            assert_eq!(
                Some(ComplexScalar::conj(w)),
                w.inverse(),
                "conj w_{n} = 1 / w_{n}"
            );
        }
    }
    assert!(C::roots_of_unity(0).is_none());
    assert!(
        C::roots_of_unity(17).is_none(),
        "17 does not divide p^2 - 1"
    );
}

/// Random numbers are the same on every machine: the first words of two seeds, computed from
/// the published SplitMix64 by hand-written integer arithmetic elsewhere.
#[test]
fn seeds_name_streams() {
    let mut rng = Rng::new(0);
    assert_eq!(
        rng.next_u64(),
        0xe220_a839_7b1d_cdaf,
        "first word of seed 0"
    );
    let mut rng = Rng::new(1_234_567);
    let words: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
    assert_eq!(
        words,
        [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423
        ],
        "the reference implementation's test vector"
    );
}

/// Poles for floats stay inside the unit disc, and reach every quadrant.
#[test]
fn sampled_poles_do_not_grow() {
    let rng = &mut Rng::new(5);
    let mut quadrants = [0usize; 4];
    for _ in 0..1000 {
        let a: <f64 as Scalar>::Complex = f64::sample_pole(rng);
        assert!(a.norm_sqr() < 1.0 && a.norm_sqr() > 0.2, "{a}");
        quadrants[usize::from(a.re < 0.0) + 2 * usize::from(a.im < 0.0)] += 1;
    }
    assert!(quadrants.iter().all(|&count| count > 150), "{quadrants:?}");
}
