//! Claim: the layer on one page (`examples/one_page.rs`) and the reference are one function. The page
//! shares only the file reader with the crate, so an error in one of them shows.

mod files;
mod options;
mod reference;
mod support;
mod teeth;

#[path = "../../examples/one_page.rs"]
#[allow(dead_code, reason = "its main is not called")]
mod page;
