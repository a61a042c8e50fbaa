//! Sequences as they are served, in files: documents packed into a row, rows with padding, schedules,
//! cotangents of final states.

mod official;
mod refusals;

use crate::common::data;
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::collections::BTreeMap;

/// A case's file, to be changed.
#[derive(Clone)]
struct Parts {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Parts {
    fn of(name: &str) -> Self {
        let file = SafeTensors::open(&data(name)).expect("a file");
        let tensors = file.tensors().map(|t| {
            let stored = (t.dtype, t.shape.to_vec(), t.bytes.to_vec());
            (t.name.to_string(), stored)
        });
        Self {
            metadata: file.metadata().clone(),
            tensors: tensors.collect(),
        }
    }

    fn with(mut self, key: &str, value: &str) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.metadata.remove(name);
        self.tensors.remove(name);
        self
    }

    /// With a tensor of integers.
    fn counts(self, name: &str, values: &[i64]) -> Self {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.tensor(name, Dtype::I64, &[values.len()], bytes)
    }

    /// With a tensor of zeros.
    fn zeros(self, name: &str, shape: &[usize]) -> Self {
        let size: usize = shape.iter().product();
        self.tensor(name, Dtype::F64, shape, vec![0; 8 * size])
    }

    fn tensor(mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: Vec<u8>) -> Self {
        let stored = (dtype, shape.to_vec(), bytes);
        self.tensors.insert(name.into(), stored);
        self
    }

    fn file(&self) -> SafeTensors {
        let mut writer = Writer::new();
        for (key, value) in &self.metadata {
            writer.metadata(key, value).expect("no key twice");
        }
        for (name, (dtype, shape, bytes)) in &self.tensors {
            writer.add_bytes(name, *dtype, shape, bytes).expect("fits");
        }
        SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid")
    }
}
