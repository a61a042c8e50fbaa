//! What a page is compared with, and how.

use crate::page::Stage;
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::path::Path;

/// f64's unit roundoff.
pub(crate) const U: f64 = 1.0 / (1u64 << 53) as f64;

/// All inputs in one chunk: the convolution.
pub(crate) const WHOLE: usize = usize::MAX;

/// The values of one stage, and how far the page may be from each of them.
pub(crate) struct Expected {
    pub(crate) name: String,
    pub(crate) values: Vec<f64>,
    pub(crate) bound: Vec<f64>,
}

/// The first stage, in the page's order, that is not as expected; a stage that the page does not
/// have comes last.
pub(crate) fn first_wrong(page: &[Stage], expected: &[Expected]) -> Option<String> {
    for (name, shape, values) in page {
        let Some(stage) = expected.iter().find(|stage| stage.name == *name) else {
            return Some(format!("{name}, of which nothing is known"));
        };
        let right = values.len() == stage.values.len()
            && shape.iter().product::<usize>() == values.len()
            && (values.iter().zip(&stage.values).zip(&stage.bound))
                .all(|((x, y), bound)| (x - y).abs() <= *bound);
        if !right {
            return Some((*name).to_string());
        }
    }
    let computed = |name: &str| page.iter().any(|stage| stage.0 == name);
    let missing = expected.iter().find(|stage| !computed(&stage.name));
    missing.map(|stage| stage.name.clone())
}

/// The stages of a golden file. The page may be off by `U scale`, as any right program in f64, and the
/// golden value is within half a unit of the truth.
pub(crate) fn golden(file: &SafeTensors) -> Vec<Expected> {
    let scales = file.tensors().filter_map(|scale| {
        let name = scale.name.strip_prefix("scale.")?;
        (!name.starts_with("grad.")).then_some((name.to_string(), scale))
    });
    let expected = scales.map(|(name, scale)| {
        let values = file.tensor(&name).expect("a stage").to_f64().expect("f64");
        let scale = scale.to_f64().expect("f32");
        let bound = values.iter().zip(scale).map(|(x, s)| U * (s + x.abs()));
        let bound = bound.collect();
        Expected {
            name,
            values,
            bound,
        }
    });
    expected.collect()
}

/// Every safetensors file of a folder under `tests` that holds a layer, by name.
pub(crate) fn layer_files(folder: &str) -> Vec<(String, SafeTensors)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    let entries = folder
        .read_dir()
        .expect("a folder")
        .map(|entry| entry.expect("readable").path());
    let mut paths: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    paths.sort();
    let files = paths.into_iter().map(|path| {
        let name = path
            .file_stem()
            .expect("a file")
            .to_string_lossy()
            .into_owned();
        (name, SafeTensors::open(&path).expect("a valid file"))
    });
    // The page runs whole sequences.
    files
        .filter(|(_, file)| !file.metadata().contains_key("sequence"))
        .filter(|(_, file)| file.get("q_proj.weight").is_some() && file.get("input").is_some())
        .collect()
}

pub(crate) fn case(name: &str) -> SafeTensors {
    let mut files = layer_files("golden/v2");
    files.retain(|(file, _)| file == name);
    files.pop().expect("a case of the suite").1
}

/// Whether `l_max` cuts the kernels, so that the layer has no form but the convolution.
pub(crate) fn is_cut(file: &SafeTensors) -> bool {
    let l_max = file.metadata()["l_max"].parse::<usize>();
    l_max.is_ok_and(|l_max| l_max < file.tensor("input").expect("an input").shape[1])
}

/// A copy of a file with some strings and tensors replaced.
pub(crate) fn edited(
    file: &SafeTensors,
    metadata: &[(&str, &str)],
    edit: impl Fn(&str, &mut [f64]),
) -> SafeTensors {
    let mut writer = Writer::new();
    for (key, value) in file.metadata() {
        let new = metadata.iter().find(|(k, _)| k == key);
        writer
            .metadata(key, new.map_or(value, |(_, new)| new))
            .expect("a new key");
    }
    for tensor in file.tensors() {
        let mut values = tensor.to_f64().expect("numbers");
        edit(tensor.name, &mut values);
        writer
            .add(tensor.name, Dtype::F64, tensor.shape, &values)
            .expect("a new tensor");
    }
    SafeTensors::from_bytes(writer.to_bytes().expect("a file")).expect("valid")
}
