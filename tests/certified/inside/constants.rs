//! Every digit of the tabled constants.

use super::exact;
use crate::common::exact::{Dyadic, Int};
use crate::common::functions;
use hungry_hippos::algebra::ball::internals::{
    Constant, FACTORIALS, INVERSE_FACTORIALS, INVERSE_ODDS, LN_2, LN_2_BITS, QUARTER_PI,
    QUARTER_PI_BITS, TWO_OVER_PI_BITS, WORDS,
};

fn bits_match(limbs: &[u64], truth: &Int) -> bool {
    // The truth has as many fractional bits as the limbs.
    let mut value = Int::zero();
    for &limb in limbs {
        let (high, low) = ((limb >> 32) as i64, (limb & 0xffff_ffff) as i64);
        value = value
            .shift(32)
            .add(&Int::from(high))
            .shift(32)
            .add(&Int::from(low));
    }
    value == *truth
}

/// Every bit of the three constants, computed again (and twice over, by two formulas each).
#[test]
fn constants_to_the_last_bit() {
    let truncated = |x: &Int, guard: i64| x.shift(-guard);
    let (short, long, guard) = (512, 1664, 128);
    let quarter_pi = truncated(&functions::pi(short + guard), guard + 2);
    let quarter_pi_again = truncated(&functions::pi_again(short + guard), guard + 2);
    let ln_2 = truncated(&functions::ln_2(short + guard), guard);
    let ln_2_again = truncated(&functions::ln_2_again(short + guard), guard);
    let p = long + guard;
    let two_over = |pi: Int| truncated(&Int::one().shift(2 * p + 1).div(&pi), guard);
    let two_over_pi = two_over(functions::pi(p));
    let two_over_pi_again = two_over(functions::pi_again(p));
    for (bits, truths) in [
        (&LN_2_BITS[..], [ln_2, ln_2_again]),
        (&QUARTER_PI_BITS[..], [quarter_pi, quarter_pi_again]),
        (&TWO_OVER_PI_BITS[..], [two_over_pi, two_over_pi_again]),
    ] {
        for truth in &truths {
            assert!(bits_match(bits, truth));
            // Any single wrong bit is noticed.
            for wrong in 0..64 * bits.len() {
                let mut bits = bits.to_vec();
                bits[wrong / 64] ^= 1 << (wrong % 64);
                assert!(!bits_match(&bits, truth), "bit {wrong}");
            }
        }
    }
}

/// Whether the first `n` pieces leave out what they say, of a constant times `factor` that is 1.
fn pieces_of_reciprocal(constant: &Constant, n: usize, factor: &Int) -> bool {
    let (pieces, left) = constant.truncated(n);
    // 0 <= 1 - factor * sum <= factor * left.
    let factor = Dyadic::new(factor.clone(), 0);
    let rest = Dyadic::power_of_two(0).sub(&Dyadic::sum(pieces).mul(&factor));
    rest >= Dyadic::zero() && rest <= factor.mul(&exact(left.get()))
}

#[test]
fn tables_of_reciprocals() {
    let mut factorial = Int::one();
    for (k, constant) in INVERSE_FACTORIALS.iter().enumerate() {
        factorial = factorial.mul(&Int::from(k.max(1) as i64));
        for n in 1..WORDS {
            assert!(
                pieces_of_reciprocal(constant, n, &factorial),
                "1/{k}!, {n} pieces"
            );
            // Relative to the value the rest is below 2^(3 - 53 n): the table is not just bounded
            // but accurate.
            let (_, left) = constant.truncated(n);
            let scaled = exact(left.get()).mul(&Dyadic::new(factorial.clone(), 0));
            assert!(scaled.magnitude_exponent() <= 3 - 53 * n as i64);
        }
        let (_, left) = constant.truncated(2);
        assert_eq!(left.is_zero(), k <= 2, "only 1, 1 and 1/2 are exact");
    }
    assert_eq!(INVERSE_FACTORIALS.len(), FACTORIALS);
    for (k, constant) in INVERSE_ODDS.iter().enumerate() {
        for n in 1..WORDS {
            assert!(pieces_of_reciprocal(
                constant,
                n,
                &Int::from(2 * k as i64 + 1)
            ));
        }
    }
    // A wrong entry is noticed: 1/3! is not 1/7.
    assert!(!pieces_of_reciprocal(
        &INVERSE_FACTORIALS[3],
        2,
        &Int::from(7)
    ));
    assert!(!pieces_of_reciprocal(&LN_2, 8, &Int::from(1)));
    assert!(!pieces_of_reciprocal(&QUARTER_PI, 8, &Int::from(1)));
}
