//! The numbers one by one: the field, the formats, error scales, functions, matrices.

mod error_scales;
mod field;
mod formats;
mod functions;
mod matrices;
