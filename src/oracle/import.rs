//! Blocks of checkpoints as cases.

use super::case::Case;
use super::kinds::{checkpoint_kinds, official};
use super::official::{Choices, Sizes, StoredAs};
use crate::algebra::Rng;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::safetensors::{Dtype, SafeTensors, Tensors, Writer};
use core::cell::RefCell;
use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

/// The parameters of one block of a checkpoint, under their official names.
///
/// ```
/// use hungry_hippos::oracle::Checkpoint;
/// use hungry_hippos::safetensors::{SafeTensors, Tensors as _};
/// use std::{collections::BTreeMap, path::Path};
///
/// // A model of which the first block is wanted.
/// let file = SafeTensors::open(Path::new("tests/golden/v2/39-model-hybrid.safetensors"))?;
/// let block = Checkpoint::block(&file, "layer", "backbone.layers.0.mixer.", &[])?;
/// let choices = ["disc", "real_type", "l_max", "head_order"];
/// let choices = choices.map(|key| (key.to_string(), file.metadata()[key].clone()));
/// let input = SafeTensors::from_bytes(block.drawn(1, 16, 0)?.to_bytes()?)?;
/// let case = block.case(&BTreeMap::from(choices), &input)?;
/// assert_eq!(case.kind(), "layer");
/// # Ok::<(), hungry_hippos::Error>(())
/// ```
pub struct Checkpoint<'a> {
    file: &'a dyn Tensors,
    kind: &'static str,
    /// The name in the file of every parameter, by its official one.
    stored: StoredAs,
    choices: Choices,
    left_out: Vec<String>,
    absent: Vec<String>,
    /// The channels of an input, and the vocabulary, if the block is a language model.
    input: (usize, Option<usize>),
}

impl fmt::Debug for Checkpoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&String> = self.stored.keys().into_vec();
        f.debug_tuple("Checkpoint").field(&names).finish()
    }
}

impl<'a> Checkpoint<'a> {
    /// The kinds whose names in checkpoints are known.
    #[must_use]
    pub fn kinds() -> Vec<&'static str> {
        checkpoint_kinds().into_vec()
    }

    /// The block of a kind whose names begin with `prefix`, except names (without the prefix) to be
    /// ignored.
    ///
    /// # Errors
    ///
    /// Listing all parameters that are missing, all tensors that are none, and all shapes that contradict
    /// one another.
    pub fn block(
        file: &'a dyn Tensors,
        kind: &str,
        prefix: &str,
        ignored: &[&str],
    ) -> Result<Self, Error> {
        let Some((kind, official)) = official(kind) else {
            return Err(Error::unknown("kind", kind, checkpoint_kinds()));
        };
        let all = file.names();
        let within: Vec<&str> = all
            .iter()
            .filter_map(|name| name.strip_prefix(prefix))
            .into_vec();
        if let Some(name) = ignored.iter().find(|name| !within.contains(name)) {
            return Err(Error::value(
                format!("tensor {name:?}"),
                format!("is to be ignored, but no name begins with {prefix:?} and ends like this"),
            ));
        }
        let (beside, taken): (Vec<&str>, Vec<&str>) = within.into_iter().partition(|name| {
            ignored.contains(name) || official.beside.iter().any(|begin| name.starts_with(begin))
        });
        let mut stored = (official.stored)(&taken)?;
        let names: Vec<String> = stored.keys().cloned().into_vec();
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let parameters = (official.parameters)(&names);
        let mut sizes = Sizes::new(&names);
        let (mut wrong, mut absent, mut missing) = (Vec::new(), Vec::new(), 0);
        for parameter in &parameters {
            let name = &parameter.name;
            let Some(within) = stored.get(name) else {
                match parameter.needed {
                    true => {
                        wrong.push(format!("{name} is missing"));
                        missing += 1;
                    }
                    false => absent.push(name.clone()),
                }
                continue;
            };
            let Some((dtype, shape)) = file.find(&format!("{prefix}{within}")) else {
                continue;
            };
            if dtype.float_format().is_none() {
                wrong.push(format!("{within} holds {dtype}, expected floats"));
            } else if let Err(expected) = sizes.take(parameter.shape, shape) {
                wrong.push(format!(
                    "{within} has shape {shape:?}, expected [{expected}]"
                ));
            }
        }
        let needed = parameters.iter().filter(|parameter| parameter.needed);
        if missing == needed.count() {
            // Nothing is here: the block is somewhere else.
            wrong.truncate(missing);
        } else {
            let is_known = |name: &&str| parameters.iter().any(|known| known.name == **name);
            let unknown = names.iter().filter(|name| !is_known(name));
            wrong.extend(unknown.map(|name| format!("{name} is no parameter of a {kind}")));
        }
        if !wrong.is_empty() {
            let first = parameters.iter().find(|parameter| parameter.needed);
            let end = first.map_or("", |parameter| &parameter.name);
            let elsewhere = all.iter().filter_map(|name| name.strip_suffix(end));
            let elsewhere: Vec<String> = elsewhere.map(|begin| format!("{begin:?}")).into_vec();
            if missing > 0 && !elsewhere.is_empty() && !names.contains(end) {
                let begins = elsewhere.join(", ");
                wrong.push(format!("(a {kind} may begin at {begins})"));
            }
            return Err(Error::value(
                format!("names that begin with {prefix:?}"),
                wrong.join("; "),
            ));
        }
        let choices = (official.choices)(&sizes);
        let vocabulary = Some(sizes.of('V')).filter(|&size| size > 0);
        let input = (sizes.of('d'), vocabulary);
        for name in stored.values_mut() {
            *name = format!("{prefix}{name}");
        }
        Ok(Self {
            file,
            kind,
            stored,
            choices,
            left_out: beside.into_iter().map(String::from).into_vec(),
            absent,
            input,
        })
    }

    /// The tensors of the block that do not belong to its operator, or that were to be ignored.
    #[must_use]
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The parameters that a block may be without, and this one is.
    #[must_use]
    pub fn absent(&self) -> &[String] {
        &self.absent
    }

    /// The metadata keys that a case needs, that the tensors do not determine, and that these
    /// choices lack.
    #[must_use]
    pub fn missing(&self, choices: &BTreeMap<String, String>) -> Vec<&'static str> {
        let asked = self.choices.asked.iter().copied();
        asked.filter(|key| !choices.contains_key(*key)).into_vec()
    }

    /// A writer with the parameters under their official names, in the types of the checkpoint.
    ///
    /// # Errors
    ///
    /// If one cannot be read.
    pub fn parameters(&self) -> Result<Writer, Error> {
        let mut writer = Writer::new();
        for (official, name) in &self.stored {
            if let Some((dtype, shape)) = self.file.find(name) {
                writer.add(official, dtype, shape, &self.file.values(name)?)?;
            }
        }
        Ok(writer)
    }

    /// A file with an input of the block (batch, seq_len, channels), uniform in [-1, 1), or with uniform
    /// tokens (batch, seq_len) of its vocabulary.
    ///
    /// # Errors
    ///
    /// If it would hold nothing, or more than 2^27 numbers.
    pub fn drawn(&self, batch: usize, seq_len: usize, seed: u64) -> Result<Writer, Error> {
        let (channels, vocabulary) = self.input;
        let rng = &mut Rng::new(seed);
        let mut writer = Writer::new();
        let axes = match vocabulary {
            Some(_) => vec![batch, seq_len],
            None => vec![batch, seq_len, channels],
        };
        let size = axes
            .iter()
            .try_fold(1usize, |size, &axis| size.checked_mul(axis));
        let Some(size) = size.filter(|size| (1..=1 << 27).contains(size)) else {
            return Err(Error::value(
                "the input",
                format!("of shape {axes:?}: expected from 1 to 2^27 numbers"),
            ));
        };
        match vocabulary {
            Some(vocabulary) => {
                let tokens: Vec<i64> = (0..size).map(|_| rng.below(vocabulary) as i64).into_vec();
                writer.add_i64("input_ids", &axes, &tokens)?;
            }
            None => {
                let values: Vec<f64> = (0..size).map(|_| rng.unit()).into_vec();
                writer.add("input", Dtype::F64, &axes, &values)?;
            }
        }
        Ok(writer)
    }

    /// The case of the block with these choices (by metadata keys) and the contents of another
    /// file: its input, and cotangents, states or documents with their metadata.
    ///
    /// # Errors
    ///
    /// Listing the choices that are missing; for one that is no choice of the kind, or that the other file
    /// contradicts; for a tensor there that no such case is given; and as [`Case::read`].
    pub fn case(
        &self,
        choices: &BTreeMap<String, String>,
        given: &SafeTensors,
    ) -> Result<Case, Error> {
        let (asked, possible) = (&self.choices.asked, self.choices.possible);
        let missing = self.missing(choices);
        if !missing.is_empty() {
            return Err(Error::missing(format!(
                "what the tensors of a {} do not tell: {}",
                self.kind,
                missing.join(", ")
            )));
        }
        let mut metadata = given.metadata().clone();
        // Whatever made the file says so under this key.
        metadata.remove("format");
        let kind = [("kind", self.kind.to_string())];
        let told = self.choices.told.iter().cloned().chain(kind);
        let told = told.map(|(key, value)| (key.to_string(), value));
        let stated = choices
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()));
        for (key, value) in told.chain(stated) {
            if choices.contains_key(&key)
                && !asked.contains(&&key[..])
                && !possible.contains(&&key[..])
            {
                let known: Vec<&str> = asked.iter().chain(possible).copied().into_vec();
                return Err(Error::value(
                    format!("{key} = {value:?}"),
                    format!(
                        "is no choice of this {}; its choices are {}",
                        self.kind,
                        known.join(", ")
                    ),
                ));
            }
            if let Some(other) = metadata.insert(key.clone(), value.clone())
                && other != value
            {
                return Err(Error::value(
                    format!("metadata {key} of the input's file"),
                    format!("says {other:?}, and the block is of {value:?}"),
                ));
            }
        }
        if let Some(name) = self.stored.keys().find(|name| given.get(name).is_some()) {
            return Err(Error::value(
                format!("tensor {name:?} of the input's file"),
                "is a parameter, which the checkpoint holds",
            ));
        }
        let block = Block {
            checkpoint: self,
            given,
            metadata,
            read: RefCell::default(),
        };
        let case = Case::read(&block)?;
        let read = block.read.borrow();
        match given.names().find(|name| !read.contains(*name)) {
            Some(name) => Err(Error::value(
                format!("tensor {name:?} of the input's file"),
                format!("is nothing that a case of kind {:?} is given", self.kind),
            )),
            None => Ok(case),
        }
    }
}

/// A block and what it is given, as one file.
struct Block<'a> {
    checkpoint: &'a Checkpoint<'a>,
    given: &'a SafeTensors,
    metadata: BTreeMap<String, String>,
    /// The names that were looked for among what is given.
    read: RefCell<BTreeSet<String>>,
}

impl Block<'_> {
    /// The file that holds a tensor, and its name there.
    fn place<'n>(&'n self, name: &'n str) -> (&'n dyn Tensors, &'n str) {
        match self.checkpoint.stored.get(name) {
            Some(stored) => (self.checkpoint.file, stored),
            None => (self.given, name),
        }
    }
}

impl Tensors for Block<'_> {
    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn names(&self) -> Vec<&str> {
        let stored = self.checkpoint.stored.keys().map(String::as_str);
        let mut names: Vec<&str> = stored.chain(self.given.names()).into_vec();
        names.sort_unstable();
        names
    }

    fn find(&self, name: &str) -> Option<(Dtype, &[usize])> {
        match self.checkpoint.stored.get(name) {
            Some(stored) => self.checkpoint.file.find(stored),
            None => {
                self.read.borrow_mut().insert(name.to_string());
                self.given.find(name)
            }
        }
    }

    fn values(&self, name: &str) -> Result<Vec<f64>, Error> {
        let (file, name) = self.place(name);
        file.values(name)
    }

    fn integers(&self, name: &str) -> Result<Vec<i64>, Error> {
        let (file, name) = self.place(name);
        file.integers(name)
    }

    fn same(&self, name: &str, other: &str) -> Result<bool, Error> {
        match (self.place(name), self.place(other)) {
            ((a, name), (b, other)) if core::ptr::addr_eq(a, b) => a.same(name, other),
            _ => Ok(false),
        }
    }
}
