//! Reading the arguments of a command, and the one way to fail.

use hungry_hippos::Error;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr;

/// A request that could not be carried out: one line for stderr, exit status 2.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) String);

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self(e.to_string())
    }
}

/// The flags and arguments of a command.
pub(crate) struct Spec {
    /// The text of `--help`.
    pub(crate) help: &'static str,
    /// The names of the positional arguments, all of them required.
    pub(crate) positional: &'static [&'static str],
    /// Flags that take a value.
    pub(crate) values: &'static [&'static str],
    /// Flags that take none.
    pub(crate) switches: &'static [&'static str],
}

/// The arguments of a command, sorted by kind.
pub(crate) struct Args {
    positional: Vec<OsString>,
    values: Vec<(&'static str, OsString)>,
    switches: Vec<&'static str>,
}

impl Spec {
    /// Sorts the arguments, or prints the help and returns `None` if it was asked for.
    pub(crate) fn parse(&self, raw: Vec<OsString>) -> Result<Option<Args>, Failure> {
        if raw.iter().any(|a| a == "--help" || a == "-h") {
            print(self.help)?;
            return Ok(None);
        }
        let mut args = Args {
            positional: Vec::new(),
            values: Vec::new(),
            switches: Vec::new(),
        };
        let mut raw = raw.into_iter();
        while let Some(argument) = raw.next() {
            let Some(flag) = argument.to_str().filter(|a| a.starts_with("--")) else {
                if self.positional.len() == args.positional.len() {
                    return Err(Failure(format!("unexpected argument {argument:?}")));
                }
                args.positional.push(argument);
                continue;
            };
            let (flag, inline) = match flag.split_once('=') {
                Some((flag, value)) => (flag, Some(OsString::from(value))),
                None => (flag, None),
            };
            if args.has(flag) || args.value(flag).is_some() {
                return Err(Failure(format!("{flag} is given twice")));
            }
            if let Some(&name) = self.values.iter().find(|&&name| name == flag) {
                let value = inline
                    .or_else(|| raw.next())
                    .filter(|value| {
                        !value.is_empty() && !value.as_encoded_bytes().starts_with(b"--")
                    })
                    .ok_or_else(|| Failure(format!("{flag} needs a value")))?;
                args.values.push((name, value));
            } else if let Some(&name) = self.switches.iter().find(|&&name| name == flag) {
                if inline.is_some() {
                    return Err(Failure(format!("{flag} takes no value")));
                }
                args.switches.push(name);
            } else {
                let known: Vec<_> = self.values.iter().chain(self.switches).copied().collect();
                return Err(Failure(format!(
                    "unknown flag {flag}; expected {}",
                    if known.is_empty() {
                        "no flags".into()
                    } else {
                        known.join(", ")
                    }
                )));
            }
        }
        if let Some(missing) = self.positional.get(args.positional.len()) {
            return Err(Failure(format!("{missing} is missing")));
        }
        Ok(Some(args))
    }
}

impl Args {
    /// The positional argument at a place of the [`Spec`].
    pub(crate) fn positional(&self, place: usize) -> &OsStr {
        &self.positional[place]
    }

    /// True if a switch was given.
    pub(crate) fn has(&self, switch: &str) -> bool {
        self.switches.contains(&switch)
    }

    /// The value of a flag, as it was given.
    pub(crate) fn value(&self, flag: &str) -> Option<&OsStr> {
        self.values
            .iter()
            .find(|(name, _)| *name == flag)
            .map(|(_, value)| value.as_os_str())
    }

    /// The value of a flag that must be given.
    pub(crate) fn required(&self, flag: &str) -> Result<&OsStr, Failure> {
        self.value(flag)
            .ok_or_else(|| Failure(format!("{flag} is missing")))
    }

    /// The value of a flag, understood.
    pub(crate) fn parsed<V: FromStr>(
        &self,
        flag: &str,
        expected: &str,
    ) -> Result<Option<V>, Failure> {
        let Some(value) = self.value(flag) else {
            return Ok(None);
        };
        value
            .to_str()
            .and_then(|text| text.parse().ok())
            .map(Some)
            .ok_or_else(|| Failure(format!("{flag} {value:?}: expected {expected}")))
    }
}

/// Writes to stdout. A reader that has gone away is no error: it has seen what it wanted.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure(format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Writes to stdout what is said of a file that has been written. Where stdout takes nothing, stderr is told,
/// and nothing has failed: what was asked for is in the file.
pub(crate) fn print_of_written(file: &Path, text: &str) {
    if let Err(Failure(why)) = print(text) {
        let _ = writeln!(
            std::io::stderr(),
            "hippos: {} is written; {why}",
            file.display()
        );
    }
}

/// Refuses to write over a file that is read, `flag` being the one that says where to write.
pub(crate) fn not_the_same_file(flag: &str, read: &Path, out: &Path) -> Result<(), Failure> {
    match read.exists() && is_one_file(read, out) {
        true => Err(Failure(format!(
            "{flag} {out:?} is a file that is read; expected another name"
        ))),
        false => Ok(()),
    }
}

/// True if two names are one file's, which need not be there yet.
pub(crate) fn is_one_file(a: &Path, b: &Path) -> bool {
    let full = |path: &Path| {
        let found = path.canonicalize();
        found.or_else(|_| std::path::absolute(path)).ok()
    };
    full(a).is_some_and(|a| full(b) == Some(a))
}

/// Refuses a file that cannot be written, where its name or folder says so already: asked before long work
/// is begun.
pub(crate) fn can_be_written(flag: &str, out: &Path) -> Result<(), Failure> {
    let refused = |why: String| Err(Failure(format!("{flag} {}: {why}", out.display())));
    match std::fs::metadata(out) {
        Ok(found) if found.is_dir() => refused("is a folder".into()),
        Ok(_) => Ok(()),
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => refused(e.to_string()),
        Err(_) => match out.parent() {
            Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
                refused(format!("there is no folder {}", folder.display()))
            }
            _ => Ok(()),
        },
    }
}
