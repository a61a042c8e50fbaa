//! What `cargo mutants --list --json` lists.

use crate::failure::Failure;
use serde_json::Value;
use std::path::Path;

/// A place in a file: line and column, both counted from one.
pub type Place = (usize, usize);

/// One change.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// Counted from one; zero is the crate as it is.
    pub id: u32,
    pub name: String,
    pub file: String,
    pub genre: Genre,
    pub replacement: String,
    /// Where what it changes starts and ends.
    pub start: Place,
    pub end: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

fn genre(word: &str) -> Option<Genre> {
    Some(match word {
        "FnValue" => Genre::FnValue,
        "BinaryOperator" => Genre::BinaryOperator,
        "UnaryOperator" => Genre::UnaryOperator,
        "MatchArm" => Genre::MatchArm,
        "MatchArmGuard" => Genre::MatchArmGuard,
        "StructField" => Genre::StructField,
        _ => return None,
    })
}

fn mutant(id: u32, value: &Value) -> Option<Mutant> {
    let text = |key: &str| value[key].as_str().map(str::to_string);
    let place = |which: &str| {
        let place = &value["span"][which];
        Some((
            usize::try_from(place["line"].as_u64()?).ok()?,
            usize::try_from(place["column"].as_u64()?).ok()?,
        ))
    };
    Some(Mutant {
        id,
        name: text("name")?,
        file: text("file")?,
        genre: genre(value["genre"].as_str()?)?,
        replacement: text("replacement")?,
        start: place("start")?,
        end: place("end")?,
    })
}

/// The mutants of a list, numbered in its order.
pub fn read(path: &Path) -> Result<Vec<Mutant>, Failure> {
    let list: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let list = list.as_array().ok_or("the list is not a JSON array")?;
    (1..)
        .zip(list)
        .map(|(id, value)| {
            mutant(id, value).ok_or_else(|| format!("not understood: {value}").into())
        })
        .collect()
}
