//! `hippos show`: the contents of a file.

use crate::args::{self, Failure, Spec};
use hungry_hippos::safetensors::{SafeTensors, TensorView};
use hungry_hippos::table::aligned;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos show FILE

Lists the metadata and the tensors of a safetensors file: type, shape, and for float tensors the
smallest and largest value, and whether all are finite.
",
    positional: &["FILE"],
    values: &[],
    switches: &[],
};

pub(crate) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let file = SafeTensors::open(Path::new(args.positional(0)))?;
    let mut text = String::from("metadata\n");
    let metadata: Vec<Vec<String>> = file
        .metadata()
        .iter()
        .map(|(key, value)| vec![printable(key), printable(value)])
        .collect();
    text.push_str(&aligned(&metadata, false));
    text.push_str("tensors\n");
    let tensors: Vec<Vec<String>> = file.tensors().map(describe).collect();
    text.push_str(&aligned(&tensors, false));
    args::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// A string from the file with nothing in it that could steer a terminal.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn describe(tensor: TensorView<'_>) -> Vec<String> {
    let shape: Vec<String> = tensor.shape.iter().map(ToString::to_string).collect();
    let shape = if shape.is_empty() {
        "scalar".into()
    } else {
        shape.join(" x ")
    };
    let range = match (tensor.to_f64(), tensor.to_i64()) {
        (Ok(values), _) if values.is_empty() => "empty".into(),
        (Ok(values), _) => {
            let bad = values.iter().filter(|x| !x.is_finite()).count();
            let finite = values.iter().copied().filter(|x| x.is_finite());
            let low = finite.clone().fold(f64::INFINITY, f64::min);
            let high = finite.fold(f64::NEG_INFINITY, f64::max);
            match bad {
                0 => format!("{low:.3e} to {high:.3e}"),
                _ if bad == values.len() => format!("{bad} not finite"),
                _ => format!("{low:.3e} to {high:.3e}, {bad} not finite"),
            }
        }
        (_, Ok(values)) => match (values.iter().min(), values.iter().max()) {
            (Some(low), Some(high)) => format!("{low} to {high}"),
            _ => "empty".into(),
        },
        _ => String::new(),
    };
    vec![
        printable(tensor.name),
        tensor.dtype.to_string(),
        shape,
        range,
    ]
}
