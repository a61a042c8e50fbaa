//! How the tests of the command start it, and where they let it write.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The command with these arguments, run to its end in `folder`.
pub(crate) fn hippos_in(folder: &Path, args: &[impl AsRef<OsStr>]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hippos"))
        .args(args)
        .current_dir(folder)
        .output()
        .expect("hippos runs")
}

/// The command with these arguments, run to its end.
pub(crate) fn hippos(args: &[impl AsRef<OsStr>]) -> Output {
    hippos_in(Path::new("."), args)
}

/// A fresh folder for one test.
pub(crate) fn folder(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("command-{test}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("a folder for the test");
    path
}
