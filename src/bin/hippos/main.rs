//! `hippos`: the command line of hungry-hippos.
fn main() {}
