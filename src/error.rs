//! The one error type of the crate.

use crate::into_vec::IntoVec as _;
use core::fmt;
use std::path::Path;

/// An error, with enough detail to act on.
///
/// Every public function that can be given bad input returns this instead of panicking. The message
/// names the thing at fault and says what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A slice, state or tensor has the wrong number of elements or the wrong shape.
    Shape {
        /// The argument or tensor.
        what: String,
        /// The shape or length it should have had.
        expected: String,
        /// The one it has.
        got: String,
    },
    /// A value is outside what is allowed.
    Value {
        /// The argument, field or tensor.
        what: String,
        /// The reason, and what was expected.
        why: String,
    },
    /// Something needed is absent.
    Missing {
        /// The tensor, metadata key or argument.
        what: String,
    },
    /// The request makes sense but has no answer in the requested form.
    Unsupported {
        /// What was requested, and why it is not available.
        why: String,
    },
    /// A file could not be read, written or understood.
    File {
        /// The path.
        path: String,
        /// The defect.
        why: String,
    },
}

impl Error {
    pub(crate) fn shape(
        what: impl Into<String>,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        Self::Shape {
            what: what.into(),
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }

    /// A wrong shape, with the tensors whose own shapes the expected one was taken from: it may be one of
    /// these that is wrong.
    pub(crate) fn sized_by<'a>(
        self,
        sizes: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Self {
        let Self::Shape {
            what,
            expected,
            got,
        } = self
        else {
            return self;
        };
        let others = sizes.into_iter().filter_map(|(name, shape)| {
            let other = format!("tensor {name:?}");
            (other != what).then(|| format!("{other} {shape:?}"))
        });
        let others: Vec<String> = others.into_vec();
        let expected = match others.is_empty() {
            true => expected,
            false => format!("{expected} (to go with {})", others.join(", ")),
        };
        Self::Shape {
            what,
            expected,
            got,
        }
    }

    pub(crate) fn value(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Value {
            what: what.into(),
            why: why.into(),
        }
    }

    /// A name that is none of the `known` ones.
    pub(crate) fn unknown<'a>(
        what: impl Into<String>,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<&str> = known.into_iter().into_vec();
        let known = known.join(", ");
        Self::value(
            what,
            format!("unknown value {name:?}; expected one of {known}"),
        )
    }

    pub(crate) fn missing(what: impl Into<String>) -> Self {
        Self::Missing { what: what.into() }
    }

    pub(crate) fn unsupported(why: impl Into<String>) -> Self {
        Self::Unsupported { why: why.into() }
    }

    pub(crate) fn file(path: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::File {
            path: path.into(),
            why: why.to_string(),
        }
    }

    /// The same error, said of a file: `path: message`.
    #[must_use]
    pub fn in_file(self, path: impl AsRef<Path>) -> Self {
        match self {
            Self::File { .. } => self,
            other => Self::file(path.as_ref().display().to_string(), other),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape {
                what,
                expected,
                got,
            } => write!(f, "{what}: expected {expected}, got {got}"),
            Self::Value { what, why } => write!(f, "{what}: {why}"),
            Self::Missing { what } => write!(f, "{what} is missing"),
            Self::Unsupported { why } => f.write_str(why),
            Self::File { path, why } => write!(f, "{path}: {why}"),
        }
    }
}

impl core::error::Error for Error {}

/// Refuses a slice whose length is not `expected`.
pub(crate) fn check_len(what: &str, got: usize, expected: usize) -> Result<(), Error> {
    if got == expected {
        Ok(())
    } else {
        Err(Error::shape(what, format_args!("{expected} elements"), got))
    }
}
