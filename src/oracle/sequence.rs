//! Sequences as they are served: documents packed in a row, rows padded, prompts continued.

use super::read::{Strings, check_shape};
use super::subject::Given;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::safetensors::Tensors;
use crate::ssm::{Documents, Padding};

/// The division of a case's input rows into sequences (metadata `sequence`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sequence {
    /// Every row is one sequence.
    Whole,
    /// One row of documents (`packed`, tensor `cu_seqlens`).
    Packed(Vec<usize>),
    /// Rows of documents and padding (`padded`, tensor `lengths`, metadata `padding`).
    Padded(Vec<usize>, Padding),
    /// Every row is one sequence, which is run in parts (`schedule`).
    Scheduled(Schedule),
}

/// Parts in which a sequence is run, each from the state that the one before it left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Tokens of each part, and whether they are taken one by one.
    pub(crate) parts: Vec<(usize, bool)>,
    /// The numbers of tokens after which states are stages.
    pub(crate) marks: Vec<usize>,
    /// As it stands in the file.
    text: String,
}

/// The metadata and tensors that say something of sequences, with the value of `sequence` that they
/// belong to.
const PARTS: [(&str, &str); 5] = [
    ("tensor", "cu_seqlens"),
    ("tensor", "lengths"),
    ("metadata", "padding"),
    ("metadata", "schedule"),
    ("metadata", "marks"),
];

/// The cotangents of the states after the last tokens in files.
pub(crate) const COTANGENTS: [&str; 2] = ["g.final_state_k", "g.final_state"];

/// The values of metadata `sequence`.
const NAMES: [&str; 4] = ["packed", "padded", "schedule", "cotangent"];

impl Sequence {
    /// The sequences of a file whose tensor of this name has `batch` rows of `len` tokens.
    ///
    /// # Errors
    ///
    /// Naming the tensor or metadata key at fault, and what was expected of it.
    pub(crate) fn read(
        file: &dyn Tensors,
        input: &str,
        [batch, len]: [usize; 2],
    ) -> Result<Self, Error> {
        let strings = file.metadata();
        let kind = kind_of(file)?;
        let (read, parts): (_, &[&str]) = match kind {
            None => (Self::Whole, &[]),
            Some("cotangent") => {
                // Every kind has names of its own for its states.
                if file.names().iter().all(|name| !name.starts_with("g.")) {
                    let [keys, modes] = COTANGENTS;
                    return Err(Error::missing(format!(
                        "a cotangent of a final state (metadata sequence = cotangent): a tensor \"g.STATE\", \
                         of a layer {keys:?} and {modes:?}"
                    )));
                }
                (Self::Whole, &[])
            }
            Some("packed") => {
                let cu_seqlens = counts(file, "cu_seqlens", None)?;
                if batch != 1 {
                    return Err(Error::value(
                        format!("tensor {input:?}"),
                        format!("has {batch} rows; documents (cu_seqlens) are packed into one"),
                    ));
                }
                (Self::Packed(cu_seqlens), &["cu_seqlens"])
            }
            Some("padded") => {
                let padding = match strings.get("padding").map(String::as_str) {
                    Some("right") => Padding::Right,
                    Some("left") => Padding::Left,
                    Some(other) => {
                        return Err(Error::unknown("metadata padding", other, ["right", "left"]));
                    }
                    None => return Err(Error::missing("metadata padding (right or left)")),
                };
                let lengths = counts(file, "lengths", Some(batch))?;
                // A description of the tensor may stand under the same name in the metadata.
                (Self::Padded(lengths, padding), &["lengths", "padding"])
            }
            Some(_) => {
                let schedule = Schedule::read(strings, len)?;
                (Self::Scheduled(schedule), &["schedule", "marks"])
            }
        };
        for (what, name) in PARTS {
            let (is_there, what) = match what {
                "tensor" => (file.find(name).is_some(), format!("tensor {name:?}")),
                _ => (strings.contains_key(name), format!("metadata {name}")),
            };
            if is_there && !parts.contains(&name) {
                let kind = kind.unwrap_or("none");
                let why = format!("does not go with metadata sequence = {kind}");
                return Err(Error::value(what, why));
            }
        }
        read.documents(batch, len).map_err(|error| match error {
            Error::Value { what, why } => Error::value(format!("tensor {what:?}"), why),
            error => error,
        })?;
        Ok(read)
    }

    /// The ranges of documents in the rows.
    ///
    /// # Errors
    ///
    /// If the numbers do not fit the rows.
    pub(crate) fn documents(&self, batch: usize, len: usize) -> Result<Documents, Error> {
        match self {
            Self::Whole | Self::Scheduled(_) => Ok(Documents::whole(batch, len)),
            Self::Packed(cu_seqlens) => Documents::packed(len, cu_seqlens),
            Self::Padded(lengths, padding) => Documents::padded(len, lengths, *padding),
        }
    }

    /// The same of rows that it was read for.
    pub(crate) fn checked_documents(&self, batch: usize, len: usize) -> Documents {
        let documents = self.documents(batch, len);
        // Held against these rows when it was read.
        documents.unwrap_or_else(|_| Documents::whole(batch, len))
    }

    /// The schedule, if it is run by one.
    pub(crate) fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Scheduled(schedule) => Some(schedule),
            _ => None,
        }
    }

    /// The numbers of tokens after which states are stages.
    pub(crate) fn marks(&self) -> &[usize] {
        self.schedule().map_or(&[], |schedule| &schedule.marks)
    }

    /// The strings that say so; `cotangents` of final states are one way in which a case may be given.
    pub(crate) fn metadata(&self, cotangents: bool) -> Vec<(String, String)> {
        let mut strings = Vec::new();
        let mut say = |key: &str, value: &str| strings.push((key.to_string(), value.to_string()));
        match self.name() {
            Some(name) => say("sequence", name),
            None if cotangents => say("sequence", "cotangent"),
            None => {}
        }
        match self {
            Self::Padded(_, Padding::Right) => say("padding", "right"),
            Self::Padded(_, Padding::Left) => say("padding", "left"),
            Self::Scheduled(schedule) => {
                say("schedule", &schedule.text);
                let marks: Vec<String> = schedule.marks.iter().map(usize::to_string).into_vec();
                say("marks", &marks.join(","));
            }
            Self::Whole | Self::Packed(_) => {}
        }
        strings
    }

    /// The tensors that say so.
    pub(crate) fn given(&self) -> Option<Given> {
        match self {
            Self::Packed(cu_seqlens) => Some(Given::integers("cu_seqlens", cu_seqlens)),
            Self::Padded(lengths, _) => Some(Given::integers("lengths", lengths)),
            Self::Whole | Self::Scheduled(_) => None,
        }
    }

    fn name(&self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Packed(_) => Some("packed"),
            Self::Padded(..) => Some("padded"),
            Self::Scheduled(_) => Some("schedule"),
        }
    }
}

/// The name in files of a state after so many tokens.
pub(crate) fn mark_name(tokens: usize, state: &str) -> String {
    format!("state.{tokens}.{state}")
}

/// Refuses a file with sequences that its subject does not take.
///
/// # Errors
///
/// Naming what the file holds of them.
pub(crate) fn refuse(file: &dyn Tensors, kind: &str) -> Result<(), Error> {
    let refused = |what: String| {
        Err(Error::unsupported(format!(
            "{what}: not in a case of kind {kind}"
        )))
    };
    let stated = file.metadata().get("sequence");
    if let Some(sequence) = stated.filter(|sequence| *sequence != "none") {
        return refused(format!("metadata sequence = {sequence:?}"));
    }
    let [shift, diagonal] = COTANGENTS;
    let tensors = ["cu_seqlens", "lengths", shift, diagonal];
    match tensors.iter().find(|name| file.find(name).is_some()) {
        Some(name) => refused(format!("tensor {name:?}")),
        None => Ok(()),
    }
}

/// Holds what the metadata says of initial states (`initial_state`) against whether the file holds one,
/// such as a tensor of this name.
///
/// # Errors
///
/// If it says otherwise.
pub(crate) fn check_initial_state(
    strings: &Strings,
    tensor: &str,
    given: bool,
) -> Result<(), Error> {
    let key = "metadata initial_state";
    match strings.get("initial_state").map(String::as_str) {
        Some("given") if !given => Err(Error::missing(format!("tensor {tensor:?}"))),
        Some("zero") if given => {
            let why = format!("says \"zero\", and the file holds one, as tensor {tensor:?}");
            Err(Error::value(key, why))
        }
        None | Some("given" | "zero") => Ok(()),
        Some(other) => Err(Error::unknown(key, other, ["given", "zero"])),
    }
}

/// The kind of sequences in a file: stated in metadata, or implied by its tensors.
fn kind_of(file: &dyn Tensors) -> Result<Option<&str>, Error> {
    let is_there = |name| file.find(name).is_some();
    if is_there("cu_seqlens") && is_there("lengths") {
        return Err(Error::value(
            "tensors \"cu_seqlens\" and \"lengths\"",
            "exclude each other: either documents are packed into one row, or rows are padded",
        ));
    }
    match file.metadata().get("sequence").map(String::as_str) {
        None | Some("none") if is_there("cu_seqlens") => Ok(Some("packed")),
        None | Some("none") if is_there("lengths") => Ok(Some("padded")),
        None | Some("none") => Ok(None),
        Some(name) if NAMES.contains(&name) => Ok(Some(name)),
        Some(other) => Err(Error::unknown("metadata sequence", other, NAMES)),
    }
}

/// A tensor of counts on one axis, of this length if there is only one that fits.
fn counts(file: &dyn Tensors, name: &str, len: Option<usize>) -> Result<Vec<usize>, Error> {
    let found = file.find(name).map(|(_, shape)| shape);
    let shape = found.ok_or_else(|| Error::missing(format!("tensor {name:?}")))?;
    match len {
        Some(len) => check_shape(name, shape, &[len])?,
        None if shape.len() == 1 => {}
        None => {
            return Err(Error::shape(
                format!("tensor {name:?}"),
                "one axis",
                format_args!("shape {shape:?}"),
            ));
        }
    }
    let count = |x: i64| {
        let negative = |_| {
            Error::value(
                format!("tensor {name:?}"),
                format!("holds {x}; expected counts of tokens"),
            )
        };
        usize::try_from(x).map_err(negative)
    };
    file.integers(name)?.into_iter().map(count).collect()
}

/// The lengths of the parts in which a port says it ran its sequences of `len` tokens (metadata `schedule`);
/// `None` where it does not say so: words of another kind under that key say nothing.
///
/// # Errors
///
/// If they do not add up to the sequence.
pub(crate) fn parts_of_port(
    schedule: Option<&String>,
    len: usize,
) -> Result<Option<Vec<usize>>, Error> {
    let is_part = |part: &str| {
        let name = part.split_once('=').map(|(name, _)| name.trim());
        name.is_some_and(|name| PART_NAMES.contains(&name))
    };
    let text = schedule.filter(|text| text.split(',').any(is_part));
    let parsed = text.map(|text| Schedule::parse(text, None, len));
    Ok(parsed.transpose()?.map(|schedule| schedule.lengths()))
}

/// What a part of a schedule is called; tokens of the last are taken one by one.
const PART_NAMES: [&str; 3] = ["prompt", "chunk", STEPS];
const STEPS: &str = "steps";

impl Schedule {
    /// The schedule in a file's metadata, of a sequence of `len` tokens.
    fn read(strings: &Strings, len: usize) -> Result<Self, Error> {
        let text = strings.get("schedule");
        let text = text.ok_or_else(|| Error::missing("metadata schedule"))?;
        Self::parse(text, strings.get("marks").map(String::as_str), len)
    }

    /// The schedule of a sequence of `len` tokens, with states at marks: where there is no word of
    /// them, after every prompt, chunk and step.
    ///
    /// # Errors
    ///
    /// Naming the metadata key at fault.
    pub(crate) fn parse(text: &str, marks: Option<&str>, len: usize) -> Result<Self, Error> {
        let refused = |why: String| {
            Err(Error::value(
                "metadata schedule",
                format!("{text:?}: {why}"),
            ))
        };
        let (mut parts, mut ends, mut at) = (Vec::new(), Vec::new(), 0usize);
        for part in text.split(',') {
            let (name, count) = part.split_once('=').unwrap_or((part, ""));
            if !PART_NAMES.contains(&name.trim()) {
                return refused(format!(
                    "{part:?} is no part; expected prompt=N, steps=N or chunk=N, with commas between"
                ));
            }
            let one_by_one = name.trim() == STEPS;
            let count = match count.trim().parse::<usize>() {
                Ok(count) if count > 0 => count,
                _ => {
                    return refused(format!(
                        "{part:?} names no positive number of tokens; expected prompt=N, steps=N or chunk=N with \
                         N at least 1, and commas between"
                    ));
                }
            };
            let end = at.saturating_add(count);
            if end > len {
                return refused(format!("is of more tokens than the sequence has ({len})"));
            }
            parts.push((count, one_by_one));
            match one_by_one {
                true => ends.extend(at + 1..=end),
                false => ends.push(end),
            }
            at = end;
        }
        if at != len {
            return refused(format!("covers {at} tokens; the sequence has {len}"));
        }
        let marks = match marks {
            None => ends,
            Some(stated) => {
                let marks = stated.split(',').map(|mark| mark.trim().parse::<usize>());
                let marks: Result<Vec<usize>, _> = marks.collect();
                let increase = |marks: &[usize]| marks.windows(2).all(|w| w[0] < w[1]);
                let known = |mark: &usize| ends.contains(mark);
                match marks {
                    Ok(marks) if increase(&marks) && marks.iter().all(known) => marks,
                    _ => {
                        return Err(Error::value(
                            "metadata marks",
                            format!(
                                "{stated:?}; expected numbers of tokens that increase, each after a part \
                                 of the schedule {text:?}"
                            ),
                        ));
                    }
                }
            }
        };
        Ok(Self {
            parts,
            marks,
            text: text.into(),
        })
    }

    /// The lengths of what is run at once: parts, and single tokens.
    pub(crate) fn lengths(&self) -> Vec<usize> {
        let of = |&(count, one_by_one): &(usize, bool)| match one_by_one {
            true => vec![1; count],
            false => vec![count],
        };
        self.parts.iter().flat_map(of).into_vec()
    }
}
