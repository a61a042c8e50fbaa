//! Digits of ln 2, pi/4 and 2/pi, and the tables of 1/k! and 1/(2k+1), as sums of floats.
//!
//! The three constants are written out in binary, truncated; a test computes them again from
//! arctangent and inverse hyperbolic tangent series in big integers. The tables are computed by
//! the compiler with exact integer division.

use super::bound::Bound;
use super::eft::power_of_two;

/// Number of words of each constant: two more than the longest expansion needs, and one beyond.
pub const WORDS: usize = 9;

/// `ln 2 = 0.1011...` in binary, the first 512 bits after the point.
pub const LN_2_BITS: [u64; 8] = [
    0xb172_17f7_d1cf_79ab,
    0xc9e3_b398_03f2_f6af,
    0x40f3_4326_7298_b62d,
    0x8a0d_175b_8baa_fa2b,
    0xe7b8_7620_6deb_ac98,
    0x5595_52fb_4afa_1b10,
    0xed2e_ae35_c138_2144,
    0x2757_3b29_1169_b825,
];

/// `pi / 4 = 0.1100...` in binary, the first 512 bits after the point.
pub const QUARTER_PI_BITS: [u64; 8] = [
    0xc90f_daa2_2168_c234,
    0xc4c6_628b_80dc_1cd1,
    0x2902_4e08_8a67_cc74,
    0x020b_bea6_3b13_9b22,
    0x514a_0879_8e34_04dd,
    0xef95_19b3_cd3a_431b,
    0x302b_0a6d_f25f_1437,
    0x4fe1_356d_6d51_c245,
];

/// `2 / pi = 0.1010...` in binary, the first 1664 bits after the point: the largest `f64` has its
/// last bit at `2^971`, and the reduction wants 640 bits beyond.
pub const TWO_OVER_PI_BITS: [u64; 26] = [
    0xa2f9_836e_4e44_1529,
    0xfc27_57d1_f534_ddc0,
    0xdb62_9599_3c43_9041,
    0xfe51_63ab_debb_c561,
    0xb724_6e3a_424d_d2e0,
    0x0649_2eea_09d1_921c,
    0xfe1d_eb1c_b129_a73e,
    0xe882_35f5_2ebb_4484,
    0xe99c_7026_b45f_7e41,
    0x3991_d639_8353_39f4,
    0x9c84_5f8b_bdf9_283b,
    0x1ff8_97ff_de05_980f,
    0xef2f_118b_5a0a_6d1f,
    0x6d36_7ecf_27cb_09b7,
    0x4f46_3f66_9e5f_ea2d,
    0x7527_bac7_ebe5_f17b,
    0x3d07_39f7_8a52_92ea,
    0x6bfb_5fb1_1f8d_5d08,
    0x5603_3046_fc7b_6bab,
    0xf0cf_bc20_9af4_361d,
    0xa9e3_9161_5ee6_1b08,
    0x6599_855f_14a0_6840,
    0x8dff_d880_4d73_2731,
    0x0606_1556_ca73_a8c9,
    0x60e2_7bc0_8c6b_47c4,
    0x19c3_67cd_dce8_092a,
];

/// A positive constant below 2 as a sum of 53-bit pieces of its binary expansion.
#[derive(Clone, Copy, Debug)]
pub struct Constant {
    words: [f64; WORDS],
    /// True if the first word is exactly the constant.
    exact: bool,
    /// `2^lead` is the highest bit of the constant.
    lead: i32,
}

/// `ln 2`.
pub const LN_2: Constant = Constant::from_bits(&LN_2_BITS, false);
/// `pi / 4`.
pub const QUARTER_PI: Constant = Constant::from_bits(&QUARTER_PI_BITS, false);

/// Number of inverse factorials.
pub const FACTORIALS: usize = 80;
/// `1 / k!` for `k < FACTORIALS`.
pub static INVERSE_FACTORIALS: [Constant; FACTORIALS] = inverse_factorials();

/// Number of reciprocals of odd numbers.
pub(super) const ODDS: usize = 80;
/// `1 / (2k + 1)` for `k < ODDS`.
pub static INVERSE_ODDS: [Constant; ODDS] = inverse_odds();

impl Constant {
    /// The first `n` pieces, from the highest, and a bound of what they leave out, for
    /// `0 < n < WORDS`.
    pub fn truncated(&self, n: usize) -> (&[f64], Bound) {
        let left = if self.exact {
            Bound::ZERO
        } else {
            // The pieces hold the bits down to 2^(lead - 53 n + 1), so truncation leaves less
            // than that; a division cut off at 2^-1024 may leave 2^-1023 more.
            Bound::of(power_of_two(self.lead + 2 - 53 * n as i32))
        };
        (&self.words[..n], left)
    }

    /// Two pieces more than there are words in a result, so that rounding it to so many words is the
    /// only loss.
    pub(super) fn guarded(&self, words: usize) -> (&[f64], Bound) {
        self.truncated(words + 2)
    }

    /// The words of `0.b1 b2 b3 ...`, bits given in limbs of 64.
    const fn from_bits(limbs: &[u64], exact: bool) -> Self {
        let mut first = 0;
        while bit(limbs, first) == 0 {
            first += 1;
            assert!(first < 64 * limbs.len(), "a constant is not zero");
        }
        let mut words = [0.0; WORDS];
        let mut w = 0;
        while w < WORDS {
            let start = first + 53 * w;
            let (mut piece, mut i) = (0u64, 0);
            while i < 53 {
                piece = 2 * piece + bit(limbs, start + i);
                i += 1;
            }
            // The last bit of the piece stands at 2^-(start + 53).
            if piece != 0 {
                words[w] = piece as f64 * power_of_two(-(start as i32 + 53));
            }
            w += 1;
        }
        Self {
            words,
            exact,
            lead: -(first as i32) - 1,
        }
    }

    const fn integer(n: u64) -> Self {
        assert!(n == 1);
        let mut words = [0.0; WORDS];
        words[0] = 1.0;
        Self {
            words,
            exact: true,
            lead: 0,
        }
    }
}

const fn bit(limbs: &[u64], index: usize) -> u64 {
    (limbs[index / 64] >> (63 - index % 64)) & 1
}

/// Divides a fraction by a small integer.
const fn divide(limbs: &mut [u64; 16], divisor: u64) {
    let (mut remainder, mut i) = (0u128, 0);
    while i < limbs.len() {
        let value = (remainder << 64) + limbs[i] as u128;
        limbs[i] = (value / divisor as u128) as u64;
        remainder = value % divisor as u128;
        i += 1;
    }
}

/// Each division truncates at `2^-1024`, and later divisions shrink what earlier ones lost, so
/// every entry is short of the truth by less than `2^-1023`.
const fn inverse_factorials() -> [Constant; FACTORIALS] {
    let mut table = [Constant::integer(1); FACTORIALS];
    // 1/2! = 0.1 in binary.
    let mut fraction = [0u64; 16];
    fraction[0] = 1 << 63;
    let mut k = 2;
    while k < FACTORIALS {
        // From 1/3! on they have no end.
        table[k] = Constant::from_bits(&fraction, k == 2);
        k += 1;
        divide(&mut fraction, k as u64);
    }
    table
}

const fn inverse_odds() -> [Constant; ODDS] {
    let mut table = [Constant::integer(1); ODDS];
    let mut k = 1;
    while k < ODDS {
        // 1/(2k+1) = (1/2) / (2k+1) * 2: dividing all ones, 2^1024 - 1, by an odd number gives
        // the same quotient as dividing 2^1024, which it does not divide.
        let mut fraction = [u64::MAX; 16];
        divide(&mut fraction, 2 * k as u64 + 1);
        table[k] = Constant::from_bits(&fraction, false);
        k += 1;
    }
    table
}
