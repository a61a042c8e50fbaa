//! What several test files share: exact integers and dyadic numbers, and elementary functions
//! computed from them, independently of the crate.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod exact;
pub(crate) mod functions;
