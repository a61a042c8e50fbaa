//! Claim: the mistakes of the catalogue are what they say. Without any the run is the reference; with
//! one it is the formula of the catalogue, and right before the mistake's first stage.

mod catalogue;
mod chunks;
mod effects;
mod formulas;
mod gradients;
mod layers;
mod ports;
mod reach;
mod stages;
mod sums;
mod wiring;
