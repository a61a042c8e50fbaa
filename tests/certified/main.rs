//! Balls hold what they say they hold, and what is certified with them is the same everywhere.

mod arithmetic;
#[path = "../common/mod.rs"]
mod common;
mod elementary;
mod inside;
mod numbers;
mod rounded;
mod stages;
