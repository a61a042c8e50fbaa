//! What tests see of balls beside their interface: the arithmetic of words beneath, the tables, and
//! series that are cut where a test says.

pub use super::bound::{
    Bound, add_down, hypot_down, mul_down, sqrt_down, sub_down, sum_of_magnitudes,
};
pub use super::constants::{
    Constant, FACTORIALS, INVERSE_FACTORIALS, INVERSE_ODDS, LN_2, LN_2_BITS, QUARTER_PI,
    QUARTER_PI_BITS, TWO_OVER_PI_BITS, WORDS,
};
pub use super::decide::sign;
use super::disc::DiscN;
pub use super::eft::{ETA, Product, product, scale, significand, two_sum};
pub use super::elementary::negligible;
pub use super::expansion::{Approx, Terms, div, mul, sqrt};
use super::interval::BallN;
pub use super::sums::LONGEST;

/// `(e^t - 1) / t` for `|t| <= 1` by its series, without the terms below `cut`.
#[must_use]
pub fn exp_m1_over_t<const W: usize>(t: BallN<W>, cut: f64) -> BallN<W> {
    BallN::exp_m1_over_t(t, cut)
}

/// `2 artanh s` for `|s| <= 1/2` by its series, without the terms below `cut`.
#[must_use]
pub fn twice_artanh<const W: usize>(s: BallN<W>, cut: f64) -> BallN<W> {
    BallN::twice_artanh(s, cut)
}

/// `(sin t, cos t)` for `|t| <= 1` by their series, without the terms below `cut`.
#[must_use]
pub fn sin_cos_series<const W: usize>(t: BallN<W>, cut: f64) -> (BallN<W>, BallN<W>) {
    BallN::sin_cos_series(t, cut)
}

/// `sum_k weight(k) z^k / (k + shift)!` for `|z| <= 1`, without the terms below `cut`.
#[must_use]
pub fn series<const W: usize>(
    z: DiscN<W>,
    shift: usize,
    weight: fn(usize) -> usize,
    cut: f64,
) -> DiscN<W> {
    z.series(shift, weight, cut)
}

/// `(m - k ln 2, k)` with `|m - k ln 2|` about `ln 2 / 2` at most.
#[must_use]
pub fn without_ln_2<const W: usize>(m: BallN<W>) -> (BallN<W>, i32) {
    m.without_ln_2()
}

/// `(t, q)` with `m = q pi/2 + t` modulo a full turn and `|t| <= pi/4`.
#[must_use]
pub fn reduced<const W: usize>(m: BallN<W>) -> (BallN<W>, u8) {
    m.reduced()
}

/// Cosine and sine of `2 pi k/n` for `0 <= 8 k <= n`.
#[must_use]
pub fn eighth_turn<const W: usize>(k: u128, n: u128) -> (BallN<W>, BallN<W>) {
    DiscN::eighth_turn(k, n)
}

/// `2^k z`.
#[must_use]
pub fn scaled<const W: usize>(z: DiscN<W>, k: i32) -> DiscN<W> {
    z.scaled(k)
}
