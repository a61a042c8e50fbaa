//! The names of the parameters of a block in checkpoints, and the choices that a case of it needs besides.

use crate::error::Error;
use crate::into_vec::IntoVec as _;
use std::collections::{BTreeMap, BTreeSet};

/// The names of tensors in a checkpoint, by their official ones.
pub(crate) type StoredAs = BTreeMap<String, String>;

/// The tensors of one kind of block in checkpoints, as official code saves them.
pub(crate) struct Official {
    /// The official name of every tensor of a block, with the name it has there (older checkpoints call
    /// them otherwise).
    pub(crate) stored: fn(&[&str]) -> Result<StoredAs, Error>,
    /// The parameters that a block with tensors of these official names is made of; those that decide on
    /// the length of an axis first.
    pub(crate) parameters: fn(&BTreeSet<&str>) -> Vec<Parameter>,
    /// The prefixes of tensors that stand in the block and are none of its operator's.
    pub(crate) beside: &'static [&'static str],
    /// The choices of a block of these sizes.
    pub(crate) choices: fn(&Sizes<'_>) -> Choices,
}

/// A parameter of a block, or a buffer saved with them.
pub(crate) struct Parameter {
    pub(crate) name: String,
    /// The shape, one character per axis: a digit is the length, a letter stands for the same length
    /// throughout the block.
    pub(crate) shape: &'static str,
    /// True for one that every block has.
    pub(crate) needed: bool,
}

impl Parameter {
    pub(crate) fn needed(name: impl Into<String>, shape: &'static str) -> Self {
        Self {
            name: name.into(),
            shape,
            needed: true,
        }
    }

    /// One that a block may be without.
    pub(crate) fn optional(name: impl Into<String>, shape: &'static str) -> Self {
        Self {
            needed: false,
            ..Self::needed(name, shape)
        }
    }
}

/// The choices of a block, by their metadata keys.
#[derive(Default)]
pub(crate) struct Choices {
    /// Those that its tensors tell.
    pub(crate) told: Vec<(&'static str, String)>,
    /// Those that they do not tell.
    pub(crate) asked: Vec<&'static str>,
    /// Those that another choice may ask for, or that have an official default.
    pub(crate) possible: &'static [&'static str],
}

/// The sizes of a block: the lengths of the letters of its shapes.
pub(crate) struct Sizes<'a> {
    lengths: BTreeMap<char, usize>,
    names: &'a BTreeSet<&'a str>,
}

impl<'a> Sizes<'a> {
    /// The sizes of a block with tensors of these names, none of them known yet.
    pub(crate) fn new(names: &'a BTreeSet<&'a str>) -> Self {
        Self {
            lengths: BTreeMap::new(),
            names,
        }
    }

    /// True if the block has the tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The length that a letter stands for; 0 where no tensor tells.
    pub(crate) fn of(&self, letter: char) -> usize {
        self.lengths.get(&letter).copied().unwrap_or(0)
    }

    /// Takes the lengths of a shape.
    ///
    /// # Errors
    ///
    /// If they contradict those taken before: the shape that was expected.
    pub(crate) fn take(&mut self, letters: &str, shape: &[usize]) -> Result<(), String> {
        let known = |letter: char, lengths: &BTreeMap<char, usize>| {
            let digit = letter.to_digit(10).map(|digit| digit as usize);
            digit.or_else(|| lengths.get(&letter).copied())
        };
        let axes = || letters.chars().zip(shape);
        let fits = |(letter, &len): (char, &usize)| {
            known(letter, &self.lengths).is_none_or(|known| known == len)
        };
        if letters.len() != shape.len() || !axes().all(fits) {
            let expected = letters.chars().map(|letter| {
                known(letter, &self.lengths).map_or(letter.to_string(), |len| len.to_string())
            });
            return Err(expected.into_vec().join(", "));
        }
        for (letter, &len) in axes() {
            self.lengths.insert(letter, len);
        }
        Ok(())
    }
}

/// The names of checkpoints that call every parameter by its official name.
///
/// # Errors
///
/// Never.
pub(crate) fn as_they_are(names: &[&str]) -> Result<StoredAs, Error> {
    let same = |name: &&str| (name.to_string(), name.to_string());
    Ok(names.iter().map(same).collect())
}
