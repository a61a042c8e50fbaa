//! The words of the catalogue: one row a mutant.

mod diagonal;
mod fft;
mod shift;
mod state;
mod wiring;

use super::Mutant;

/// What is said of one mutant; the public accessors of [`Mutant`] explain the fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) mutant: Mutant,
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) first: &'static str,
    pub(super) wrong: &'static str,
    pub(super) right: &'static str,
    pub(super) evidence: &'static str,
    pub(super) looks: &'static str,
    pub(super) advice: &'static str,
}

/// The rows of one group.
macro_rules! rows {
    ($($mutant:ident $id:literal $name:literal at $first:literal
        wrong $wrong:literal
        right $right:literal
        seen $evidence:literal
        looks $looks:literal
        fix $advice:literal;)+) => {
        use super::Row;
        use crate::oracle::mutants::Mutant;

        pub(super) const ROWS: &[Row] = &[$(Row {
            mutant: Mutant::$mutant,
            id: $id,
            name: $name,
            first: $first,
            wrong: $wrong,
            right: $right,
            evidence: $evidence,
            looks: $looks,
            advice: $advice,
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
