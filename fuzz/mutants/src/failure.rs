//! The error of every step of the tool.

pub type Failure = Box<dyn std::error::Error>;
