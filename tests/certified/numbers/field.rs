//! The prime field is one, its residues are uniform, and roots of unity are primitive, in signs too.

use hungry_hippos::algebra::{Field, M61, Ring, Rng, RootsOfUnity, Sample};
use num_complex::Complex;

#[test]
fn a_field_has_no_remainders() {
    assert_eq!(M61::new(7) % M61::new(2), M61::ZERO);
}

/// Of an order with factors from either side of `p^2 - 1 = (p - 1)(p + 1)`, and of none that does not divide it.
#[test]
fn roots_are_primitive() {
    let one = Complex::new(M61::ONE, M61::ZERO);
    for n in [8, 9, 25, 77] {
        let roots = Complex::<M61>::roots_of_unity(n).expect("divides");
        assert_eq!(roots[1] * roots[n - 1], one, "order {n}");
        let mut orders = roots.iter().skip(1);
        assert!(orders.all(|&w| w != one), "order {n}");
    }
    assert!(Complex::<M61>::roots_of_unity(17).is_none());
}

#[test]
fn inverses_are_inverses() {
    for x in (0..61).map(|k| 1 << k).chain([3, 5, M61::MODULUS - 1]) {
        let x = M61::new(x);
        let inverse = x.inverse().expect("not zero");
        assert_eq!(x * inverse, M61::ONE, "{x}");
        assert_eq!(inverse, x.power(M61::MODULUS - 2), "{x}");
    }
    assert!(M61::ZERO.inverse().is_none());
}

#[test]
#[should_panic(expected = "remainder of a division by zero")]
fn nor_one_of_a_division_by_zero() {
    let _ = M61::new(7) % M61::ZERO;
}

/// Of 64 uniform residues not all are even, nor all below half the modulus, but once in 2^64 times.
#[test]
fn residues_have_all_their_bits() {
    let rng = &mut Rng::new(1);
    let drawn: Vec<u64> = (0..64).map(|_| M61::sample(rng).value()).collect();
    let seen = drawn.iter().fold(0, |seen, x| seen | x);
    let always = drawn.iter().fold(u64::MAX, |always, x| always & x);
    assert_eq!((seen, always), (M61::MODULUS, 0));
}

/// The modulus itself is drawn again: as a residue it would be a second zero.
#[test]
fn the_modulus_is_drawn_again() {
    // The generator undone from its last step to its first.
    let mut rng = Rng::new(0x3162_8af6_7b21_31ab);
    let mut other = rng.clone();
    assert_eq!(rng.next_u64(), u64::MAX);
    let next = rng.next_u64() >> 3;
    assert!(0 < next && next < M61::MODULUS);
    assert_eq!(M61::sample(&mut other), M61::new(next));
}

/// Cosines are not negative up to a quarter turn, sines up to half a turn, in sign either: the zeros on the
/// axes are those of the quarter they end.
#[test]
fn zeros_have_the_sign_of_their_quarter() {
    for n in [4, 8, 12, 20] {
        let roots = Complex::<f64>::roots_of_unity(n).expect("of every order");
        for (k, w) in roots.iter().enumerate() {
            let cos = if 4 * k <= n || 4 * k >= 3 * n {
                1.0
            } else {
                -1.0
            };
            let sin = if 2 * k <= n { 1.0 } else { -1.0 };
            assert_eq!(w.re.signum(), cos, "cosine {k} of {n}");
            assert_eq!(w.im.signum(), sin, "sine {k} of {n}");
        }
    }
}
