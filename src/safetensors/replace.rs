//! Writing a file all or nothing.

use crate::error::Error;
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Puts `bytes` at `path`, all or nothing: written and flushed to disk under another name in the
/// same directory (a rename does not cross file systems), then renamed. Whatever fails, no
/// temporary file is left, and a file that was at `path` before stays as it was. Where `path` is a
/// link, what it points to is replaced. What is there and is no regular file stays, and so does a link
/// to it: a rename would put a file in the place of a device.
///
/// The standard library catches no signal: a process that is killed between creation and rename leaves
/// its temporary file. Such a file is not locked, by which the next write into the directory knows it,
/// and removes it.
///
/// # Errors
///
/// [`Error::File`] with the path and the error of the operating system.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
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
    // Asked of what a link leads to, not of its name: a link of /proc to a pipe names no file.
    let target = match fs::metadata(path) {
        Ok(found) if !found.is_file() => return refused("not a regular file"),
        Ok(_) => fs::canonicalize(path)?,
        Err(_) if path.is_symlink() => return refused("a link to no file"),
        Err(_) => path.to_owned(),
    };
    let path = target.as_path();
    remove_abandoned(path);
    let (mut temporary, mut file) = Temporary::create(path)?;
    let mut buffered = BufWriter::new(&mut file);
    write(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    file.sync_all()?;
    // Open until it has its name, since it is locked that long.
    fs::rename(&temporary.path, path)?;
    temporary.renamed = true;
    Ok(())
}

/// Prefix and suffix of the names of temporary files; two numbers come in between.
const NAME: (&str, &str) = (".hippos-", ".tmp");

/// Removes the temporary files next to `target` that no process has locked. What cannot be removed
/// hinders nobody.
fn remove_abandoned(target: &Path) {
    let directory = match target.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return,
    };
    let is_temporary = |name: &str| {
        let numbers = name
            .strip_prefix(NAME.0)
            .and_then(|n| n.strip_suffix(NAME.1));
        let numbers = numbers.and_then(|numbers| numbers.split_once('-'));
        let is_number = |n: &str| n.parse::<u64>().is_ok();
        numbers.is_some_and(|(process, count)| is_number(process) && is_number(count))
    };
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        // Opening a pipe could wait for ever.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && entry.file_name().to_str().is_some_and(is_temporary) {
            let file = File::options().write(true).open(entry.path());
            if let Ok(file) = file
                && file.try_lock().is_ok()
            {
                drop(fs::remove_file(entry.path()));
            }
        }
    }
}

/// A file that is removed unless it has been renamed.
struct Temporary {
    path: PathBuf,
    renamed: bool,
}

impl Temporary {
    /// A new file next to `target`, locked, of a name nobody uses. The name is short whatever the final one is, so
    /// that it is not too long where the final one is not.
    fn create(target: &Path) -> io::Result<(Self, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{}{}-{count}{}", NAME.0, std::process::id(), NAME.1);
            let path = target.with_file_name(name);
            match File::create_new(&path) {
                Ok(file) => {
                    // Another process that found it before it was locked is about to remove it, or
                    // has. A file system without locks has no file removed either.
                    let lost = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
                    if !lost && path.exists() {
                        let renamed = false;
                        return Ok((Self { path, renamed }, file));
                    }
                }
                // Of a process of the same number in another container, or left by one: take the next
                // name. Each name is tried once, and a directory holds finitely many.
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
