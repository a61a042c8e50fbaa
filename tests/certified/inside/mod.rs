//! Inside the balls: the exactness of the error-free transformations, upward rounding, sums of products,
//! every digit of the tables, the terms and tails of the series.

mod constants;
mod series;
mod sums;
mod words;

use crate::common::exact::Dyadic;

fn exact(x: f64) -> Dyadic {
    Dyadic::from_f64(x)
}
