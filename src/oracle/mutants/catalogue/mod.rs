//! The words of the catalogue: one row a mutant.

mod diagonal;
mod fft;
mod shift;
mod state;
mod wiring;

use super::Mutant;

/// What is said of one mutant; the accessors explain the fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) first: &'static str,
    pub(super) wrong: &'static str,
    pub(super) right: &'static str,
    pub(super) evidence: &'static str,
    pub(super) looks: &'static str,
    pub(super) advice: &'static str,
}

/// A mutant and its words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) mutant: Mutant,
    pub(super) words: Words,
}

/// What can be asked of every mutant, of the forward pass or the backward one.
macro_rules! accessors {
    ($type:ident) => {
        impl $type {
            /// The entry of the catalogue, `"M01a"`: a letter tells the variants of one entry
            /// apart.
            #[must_use]
            pub fn id(self) -> &'static str {
                self.words().id
            }

            /// A short name in snake case, `"circular_fft"`.
            #[must_use]
            pub fn name(self) -> &'static str {
                self.words().name
            }

            /// What is computed, and what should be, in one line.
            #[must_use]
            pub fn formula(self) -> String {
                format!("{} instead of {}", self.words().wrong, self.words().right)
            }

            /// Where it was seen: an issue thread, the official code, an independent port; or
            /// `"plausible"`.
            #[must_use]
            pub fn evidence(self) -> &'static str {
                self.words().evidence
            }

            /// The fix, for the author of a port.
            #[must_use]
            pub fn advice(self) -> &'static str {
                self.words().advice
            }

            /// The first stage (or gradient) that can differ; none before it ever does.
            #[must_use]
            pub fn first_stage(self) -> &'static str {
                self.words().first
            }

            /// What the error looks like in a comparison.
            #[must_use]
            pub fn looks(self) -> &'static str {
                self.words().looks
            }

            /// The mutant of this id (`"M01a"`) or name (`"circular_fft"`).
            #[must_use]
            pub fn find(id_or_name: &str) -> Option<Self> {
                let mut all = Self::ALL.into_iter();
                all.find(|m| m.id() == id_or_name || m.name() == id_or_name)
            }
        }
    };
}
pub(super) use accessors;

/// The rows of one group.
macro_rules! rows {
    ($($mutant:ident $id:literal $name:literal at $first:literal
        wrong $wrong:literal
        right $right:literal
        seen $evidence:literal
        looks $looks:literal
        fix $advice:literal;)+) => {
        use super::{Row, Words};
        use crate::oracle::mutants::Mutant;

        pub(super) const ROWS: &[Row] = &[$(Row {
            mutant: Mutant::$mutant,
            words: Words {
                id: $id,
                name: $name,
                first: $first,
                wrong: $wrong,
                right: $right,
                evidence: $evidence,
                looks: $looks,
                advice: $advice,
            },
        }),+];
    };
}
use rows;

const GROUPS: [&[Row]; 5] = [
    fft::ROWS,
    shift::ROWS,
    wiring::ROWS,
    diagonal::ROWS,
    state::ROWS,
];

pub(super) const LEN: usize = {
    let (mut sum, mut group) = (0, 0);
    while group < GROUPS.len() {
        sum += GROUPS[group].len();
        group += 1;
    }
    sum
};

/// All rows, each at the place of its mutant; compiling this checks that.
pub(super) static TABLE: [Row; LEN] = {
    let mut table = [fft::ROWS[0]; LEN];
    let (mut place, mut group) = (0, 0);
    while group < GROUPS.len() {
        let mut i = 0;
        while i < GROUPS[group].len() {
            table[place] = GROUPS[group][i];
            assert!(table[place].mutant as usize == place, "a row out of order");
            place += 1;
            i += 1;
        }
        group += 1;
    }
    table
};
