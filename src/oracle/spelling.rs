//! Names that resemble others.

use super::subject::{Given, Subject};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::safetensors::Tensors;

/// The letters and digits of a name, in lower case.
pub(super) fn letters(name: &str) -> Vec<char> {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).into_vec()
}

/// True if a name is nearly a stage's: the same but for case and punctuation, or one letter wrong,
/// missing, too many or exchanged with the next.
pub(super) fn is_close(name: &str, stage: &str) -> bool {
    let (name, stage) = (letters(name), letters(stage));
    if name == stage {
        return true;
    }
    // Of names as short as q and k every other is one letter away, of gated a word of its own.
    stage.len() >= 6 && is_a_letter_off(&name, &stage)
}

/// True if a name has one letter that is wrong, missing, too many or exchanged with the next.
fn is_a_letter_off(name: &[char], stage: &[char]) -> bool {
    if name.len().abs_diff(stage.len()) > 1 {
        return false;
    }
    let pairs = || name.iter().zip(stage);
    let same = pairs().take_while(|(a, b)| a == b).count();
    let (name, stage) = (&name[same..], &stage[same..]);
    let from = |x: &[char], at: usize| x.get(at..).unwrap_or_default().to_vec();
    let exchanged = name.len() > 1
        && stage.len() > 1
        && (name[0], name[1]) == (stage[1], stage[0])
        && name[2..] == stage[2..];
    from(name, 1) == from(stage, 1) || from(name, 1) == stage || name == from(stage, 1) || exchanged
}

/// The stage that a name is nearly, the same letters before others.
pub(super) fn nearest<'a>(
    name: &str,
    stages: impl Iterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let same = |stage: &&str| letters(stage) == letters(name);
    let first = stages.clone().find(same);
    first.or_else(|| stages.clone().find(|stage| is_close(name, stage)))
}

/// True if a name may stand for a stage that is not there and has as many numbers: one of the two begins
/// or ends as the other (`out`, `yy`, `query`, `h3.output`), or they are a letter apart.
pub fn may_stand_for(name: &str, stage: &str) -> bool {
    let (name, stage) = (letters(name), letters(stage));
    let (short, long) = match name.len() <= stage.len() {
        true => (&name[..], &stage[..]),
        false => (&stage[..], &name[..]),
    };
    if short.is_empty() {
        return false;
    }
    long.starts_with(short)
        || long.ends_with(short)
        || (short.len() >= 3 && is_a_letter_off(&name, &stage))
}

/// True if a name is nearly that of a tensor, however short: also the same with one letter more.
fn is_meant(name: &str, tensor: &str) -> bool {
    let (more, letters) = (letters(name), letters(tensor));
    let without = |at: usize| [&more[..at], &more[at + 1..]].concat();
    is_close(name, tensor) || (0..more.len()).any(|at| without(at) == letters)
}

/// The tensors that say of any case how its rows hold documents.
const OF_ROWS: [&str; 2] = ["cu_seqlens", "lengths"];

/// The case in a file, in which no tensor that may be absent is there under a name that is nearly its
/// own.
///
/// # Errors
///
/// As [`Subject::read`]; and naming such a tensor.
pub(super) fn read_case<S: Subject>(file: &dyn Tensors) -> Result<S, Error> {
    let case = S::read(file)?;
    let (given, stages) = (case.given(), case.stages());
    let is_read = |name: &str| {
        let mut given = given.iter().map(|given: &Given| &given.name);
        given.any(|known| known == name) || stages.iter().any(|stage| stage.name == name)
    };
    let mut unread = file.names().into_iter().filter(|name| !is_read(name));
    let absent = |name: &&&str| file.find(name).is_none();
    let misspelt = unread.find_map(|name| {
        let mut absent = S::OPTIONAL.iter().chain(&OF_ROWS).filter(absent);
        Some((name, absent.find(|tensor| is_meant(name, tensor))?))
    });
    match misspelt {
        None => Ok(case),
        Some((name, meant)) => Err(Error::value(
            format!("tensor {name:?}"),
            format!("is not read; is {meant:?} meant, which may be absent and is?"),
        )),
    }
}
