//! Claims: the scalars obey the laws the forms rest on, and the forms the laws that hold between
//! modules, whoever computes them. Exact ones with `==`.

mod error_scale;
mod grid;
mod layers;
mod models;
mod scalars;
mod transforms;
