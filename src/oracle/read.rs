//! Metadata and tensors of a case file, read and checked.

use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::safetensors::Tensors;
use crate::tensor::Tensor;
use core::str::FromStr;
use std::collections::BTreeMap;

/// The strings of a file.
pub(crate) type Strings = BTreeMap<String, String>;

/// A metadata string that must be there.
pub(crate) fn metadata<'a>(strings: &'a Strings, key: &str) -> Result<&'a str, Error> {
    strings
        .get(key)
        .map(String::as_str)
        .ok_or_else(|| Error::missing(format!("metadata {key}")))
}

/// Refuses a file that lacks any of these metadata strings, naming all that it lacks.
pub(crate) fn demand(strings: &Strings, keys: &[&str]) -> Result<(), Error> {
    let lacking = keys.iter().filter(|key| !strings.contains_key(**key));
    none_lacks(["metadata"; 2], lacking.map(ToString::to_string).into_vec())
}

/// Refuses a file that lacks any of these tensors, naming all that it lacks.
pub(crate) fn demand_tensors<'a>(
    file: &dyn Tensors,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<(), Error> {
    let lacking = names.into_iter().filter(|name| file.find(name).is_none());
    let lacking = lacking.map(|name| format!("{name:?}"));
    none_lacks(["tensor", "tensors"], lacking.into_vec())
}

/// Refuses names of what a file lacks; the words are those for one and for several.
pub(crate) fn none_lacks([one, several]: [&str; 2], lacking: Vec<String>) -> Result<(), Error> {
    match &lacking[..] {
        [] => Ok(()),
        [name] => Err(Error::missing(format!("{one} {name}"))),
        names => {
            let why = format!("{} are missing", names.join(", "));
            Err(Error::value(several, why))
        }
    }
}

/// A metadata string that must be there and be understood.
pub(crate) fn required<V: FromStr>(strings: &Strings, key: &str) -> Result<V, Error>
where
    V::Err: core::fmt::Display,
{
    let value = metadata(strings, key)?;
    value.parse().map_err(|e| {
        Error::value(
            format!("metadata {key}"),
            format!("{value:?} is not understood: {e}"),
        )
    })
}

/// A metadata string that must be understood if it is there.
pub(crate) fn optional<V: FromStr>(strings: &Strings, key: &str) -> Result<Option<V>, Error>
where
    V::Err: core::fmt::Display,
{
    let stated = strings.contains_key(key);
    stated.then(|| required(strings, key)).transpose()
}

/// Holds a size stated in the metadata against the one the tensors have.
pub(crate) fn check_size(
    strings: &Strings,
    key: &str,
    size: usize,
    none_allowed: bool,
) -> Result<(), Error> {
    match strings.get(key).map(String::as_str) {
        None => Ok(()),
        Some("none") if none_allowed => Ok(()),
        Some(stated) if stated == size.to_string() => Ok(()),
        Some(stated) => Err(Error::value(
            format!("metadata {key}"),
            format!("says {stated:?}, but the tensors say {size}"),
        )),
    }
}

/// Holds a choice stated in the metadata (as Python spells it, or in lower case) against the one the
/// tensors tell.
pub(crate) fn check_choice(strings: &Strings, key: &str, choice: bool) -> Result<(), Error> {
    match flag(strings, key)? {
        Some(stated) if stated != choice => Err(Error::value(
            format!("metadata {key}"),
            format!("says {stated}, but the tensors say {choice}"),
        )),
        _ => Ok(()),
    }
}

/// A choice in the metadata, if it is there: `True` or `False`, in any case of letters.
pub(crate) fn flag(strings: &Strings, key: &str) -> Result<Option<bool>, Error> {
    let Some(stated) = strings.get(key) else {
        return Ok(None);
    };
    match &stated.to_ascii_lowercase()[..] {
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        _ => Err(Error::value(
            format!("metadata {key}"),
            format!("{stated:?}; expected True or False"),
        )),
    }
}

/// The shape of a tensor that must be there, of this many axes.
pub(crate) fn shape_of<'a>(
    file: &'a dyn Tensors,
    name: &str,
    axes: usize,
) -> Result<&'a [usize], Error> {
    let (_, shape) = file
        .find(name)
        .ok_or_else(|| Error::missing(format!("tensor {name:?}")))?;
    if shape.len() == axes {
        return Ok(shape);
    }
    Err(Error::shape(
        format!("tensor {name:?}"),
        format_args!("{axes} axes"),
        format_args!("shape {shape:?}"),
    ))
}

/// A float tensor of a known shape, every element finite.
pub(crate) fn read_tensor(
    file: &dyn Tensors,
    name: &str,
    shape: &[usize],
) -> Result<Tensor<f64>, Error> {
    let found = file.find(name).map(|(_, found)| found);
    let found = found.ok_or_else(|| Error::missing(format!("tensor {name:?}")))?;
    check_shape(name, found, shape)?;
    let data = file.values(name)?;
    check_finite(name, &data)?;
    Tensor::new(shape, data)
}

/// The same, if the file holds the tensor.
pub(crate) fn read_optional(
    file: &dyn Tensors,
    name: &str,
    shape: &[usize],
) -> Result<Option<Tensor<f64>>, Error> {
    let found = file.find(name);
    found.map(|_| read_tensor(file, name, shape)).transpose()
}

/// A float tensor of this many axes, none of them empty.
pub(crate) fn read_axes(file: &dyn Tensors, name: &str, axes: usize) -> Result<Tensor<f64>, Error> {
    let shape = shape_of(file, name, axes)?;
    if shape.contains(&0) {
        let expected = format_args!("{axes} axes, none of them empty");
        let got = format_args!("shape {shape:?}");
        return Err(Error::shape(format!("tensor {name:?}"), expected, got));
    }
    read_tensor(file, name, shape)
}

/// Refuses a shape that is not the one expected.
pub(crate) fn check_shape(name: &str, got: &[usize], expected: &[usize]) -> Result<(), Error> {
    if got == expected {
        return Ok(());
    }
    Err(Error::shape(
        format!("tensor {name:?}"),
        format_args!("shape {expected:?}"),
        format_args!("{got:?}"),
    ))
}

/// Refuses a tensor with an element that is not finite.
pub(crate) fn check_finite(name: &str, data: &[f64]) -> Result<(), Error> {
    match data.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::value(
            format!("tensor {name:?}"),
            format!("element {at} is {}; expected finite numbers", data[at]),
        )),
    }
}
