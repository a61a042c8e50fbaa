//! Claim: the mutants are what they say. Without any the evaluator is the reference; each changes
//! something exactly where it is said to apply, and nothing before its first stage.

mod applies;
mod catalogue;
mod chunks;
mod effects;
mod formulas;
mod gradients;
mod layers;
mod sums;
mod wiring;
