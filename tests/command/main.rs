//! The command as a whole: what it writes and prints, and how it refuses what it cannot do.

mod check;
mod check_page;
#[path = "../common/mod.rs"]
mod common;
mod fast;
mod flags;
mod import;
mod init;
mod lm;
mod model;
mod run;
mod support;
mod train;
mod verify;
