//! stub
use crate::args::Failure;
pub(crate) fn main(_raw: Vec<std::ffi::OsString>) -> Result<std::process::ExitCode, Failure> {
    Err(Failure("no".into()))
}
