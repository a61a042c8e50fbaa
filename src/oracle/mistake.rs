//! Known mistakes (chapter 12, [`book::mistakes`](crate::book::mistakes)): what is said of one, and
//! where in the reference it is made.

use crate::algebra::FloatFormat;
use crate::error::Error;
use std::borrow::Cow;

/// A known mistake of ports, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mistake {
    /// The entry in the catalogue, such as `M34`; a letter distinguishes the variants of an entry.
    pub id: &'static str,
    /// A short name in snake case.
    pub name: &'static str,
    /// The first stage, in the order of computation, that it changes.
    pub first_stage: &'static str,
    /// The formula that the mistake computes.
    pub wrong: &'static str,
    /// The right formula.
    pub right: &'static str,
    /// The place where it was seen, or the reason why it is plausible.
    pub evidence: &'static str,
    /// The symptom.
    pub looks: &'static str,
    /// The fix, for the author of a port.
    pub fix: &'static str,
    /// The format to which the mistake rounds, if it only rounds: in a port with a format as coarse
    /// it is not a mistake.
    pub rounding: Option<FloatFormat>,
}

impl Mistake {
    /// Its place in the catalogue: by number, and by letter within it.
    pub(crate) fn place(&self) -> (u32, &'static str) {
        let digits = self.id.trim_start_matches(|c: char| c.is_ascii_uppercase());
        let letter = digits.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = digits.trim_end_matches(|c: char| !c.is_ascii_digit());
        (number.parse().unwrap_or(0), letter)
    }

    /// The error that says so of one that is not in a catalogue.
    pub(crate) fn not_in_catalogue(name: &str) -> Error {
        Error::value(format!("mistake {name:?}"), "is not in the catalogue")
    }

    /// The wrong and the right formula, in one line.
    #[must_use]
    pub fn formula(&self) -> String {
        format!("{} instead of {}", self.wrong, self.right)
    }
}

/// A row of the catalogue: a mistake in words, and the hooks by which the reference makes it.
pub(crate) struct Row<H: Copy + 'static> {
    pub(crate) mistake: Mistake,
    pub(crate) hooks: Cow<'static, [H]>,
}

/// The rows of one group of mistakes, as a table: in words, or in the words that other groups share (a function
/// of the first stage); and by which hooks.
macro_rules! rows {
    ($hook:ty: $(
        $($id:literal $name:literal at $first:literal
            wrong $wrong:literal
            right $right:literal
            seen $evidence:literal
            looks $looks:literal
            fix $fix:literal
            $(rounding $rounding:ident)?)?
        $(in the words of $words:ident at $first_of_words:literal)?
        by [$($by:expr),+ $(,)?];)+) => {
        pub(super) static ROWS: &[$crate::oracle::mistake::Row<$hook>] =
            &[$($crate::oracle::mistake::Row {
                mistake: $($crate::oracle::mistake::Mistake {
                    id: $id,
                    name: $name,
                    first_stage: $first,
                    wrong: $wrong,
                    right: $right,
                    evidence: $evidence,
                    looks: $looks,
                    fix: $fix,
                    rounding: $crate::oracle::mistake::rounding!($($rounding)?),
                })? $($words($first_of_words))?,
                hooks: std::borrow::Cow::Borrowed(&[$($by),+]),
            }),+];
    };
}
pub(crate) use rows;

/// The format named in a row, if there is one.
macro_rules! rounding {
    () => {
        None
    };
    ($format:ident) => {
        Some($crate::algebra::FloatFormat::$format)
    };
}
pub(crate) use rounding;
