//! The language model: against the official one, its forms against each other, the names of older
//! checkpoints, sampling, the commands. Its fast path is in `tests/fast`.

mod certified;
mod documents;
mod golden;
mod initial;
mod learning;
mod learning_checks;
mod learning_refusals;
mod likelihood;
mod mistakes;
mod names;
mod official;
mod own_stages;
mod plain;
mod refusals;
mod s4d;
mod sampling;
mod sizes;
mod states;
mod support;
mod tolerance;
