//! Writing a file all or nothing.

use crate::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Puts `bytes` at `path`, all or nothing: written and flushed to disk under another name in the
/// same directory (a rename does not cross file systems), then renamed. Whatever fails, no
/// temporary file is left, and a file that was at `path` before stays as it was. Where `path` is a
/// link, what it points to is replaced. What is there and is no regular file stays: a rename would
/// put a file in the place of a device.
///
/// # Errors
///
/// [`Error::File`] with the path and what the operating system has against it.
pub(super) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace(path, |file| file.write_all(bytes))
        .map_err(|e| Error::file(path.display().to_string(), e))
}

/// [`replace_file`], of what `write` writes.
pub(super) fn replace<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn io::Write) -> Result<(), E>,
) -> Result<(), E> {
    let refused = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why).into());
    if path.file_name().is_none() {
        return refused("not the name of a file");
    }
    let target = match fs::canonicalize(path) {
        Ok(target) if !target.is_file() => return refused("not a regular file"),
        Ok(target) => target,
        Err(_) => path.to_owned(),
    };
    let path = target.as_path();
    let (mut temporary, mut file) = Temporary::create(path)?;
    let mut buffered = BufWriter::new(&mut file);
    write(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    file.sync_all()?;
    // Some systems do not rename an open file.
    drop(file);
    fs::rename(&temporary.path, path)?;
    temporary.renamed = true;
    Ok(())
}

/// A file that is removed unless it has been renamed.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    /// A new file beside `target`, of a name nobody uses. The name is short whatever the final one is, so that it
    /// is not too long where the final one is not.
    fn create(target: &Path) -> io::Result<(Self, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!(".hippos-{}-{count}.tmp", std::process::id());
            let path = target.with_file_name(name);
            match File::create_new(&path) {
                Ok(file) => {
                    let renamed = false;
                    return Ok((Self { path, renamed }, file));
                }
                // Left by a process of the same number that was killed: take the next name. Each
                // name is tried once, and a directory holds finitely many.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            // The error that led here is the one to report.
            drop(fs::remove_file(&self.path));
        }
    }
}
