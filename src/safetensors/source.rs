//! Tensors by name, whether a file is in memory or on disk.

use super::dtype::Dtype;
use super::on_disk::TensorFile;
use super::reader::SafeTensors;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use std::collections::BTreeMap;

/// A file of named tensors, in memory ([`SafeTensors`]) or on disk ([`TensorFile`]).
pub trait Tensors {
    /// The strings under `__metadata__`; empty if there are none.
    fn metadata(&self) -> &BTreeMap<String, String>;

    /// The names of the tensors, sorted.
    fn names(&self) -> Vec<&str>;

    /// Type and shape of the tensor of this name, if there is one.
    fn find(&self, name: &str) -> Option<(Dtype, &[usize])>;

    /// The elements of a float tensor, row-major, each widened to `f64` without rounding.
    ///
    /// # Errors
    ///
    /// If it is missing, of another type, or cannot be read.
    fn values(&self, name: &str) -> Result<Vec<f64>, Error>;

    /// The elements of an integer tensor, row-major.
    ///
    /// # Errors
    ///
    /// If it is missing, of another type, or cannot be read.
    fn integers(&self, name: &str) -> Result<Vec<i64>, Error>;

    /// True if two tensors hold the same bytes and have the same type and shape.
    ///
    /// # Errors
    ///
    /// If one is missing or cannot be read.
    fn same(&self, name: &str, other: &str) -> Result<bool, Error>;
}

impl Tensors for SafeTensors {
    fn metadata(&self) -> &BTreeMap<String, String> {
        self.metadata()
    }

    fn names(&self) -> Vec<&str> {
        self.names().into_vec()
    }

    fn find(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.get(name).map(|view| (view.dtype, view.shape))
    }

    fn values(&self, name: &str) -> Result<Vec<f64>, Error> {
        self.tensor(name)?.to_f64()
    }

    fn integers(&self, name: &str) -> Result<Vec<i64>, Error> {
        self.tensor(name)?.to_integers()
    }

    fn same(&self, name: &str, other: &str) -> Result<bool, Error> {
        let (a, b) = (self.tensor(name)?, self.tensor(other)?);
        Ok(a.dtype == b.dtype && a.shape == b.shape && a.bytes == b.bytes)
    }
}

impl Tensors for TensorFile {
    fn metadata(&self) -> &BTreeMap<String, String> {
        self.metadata()
    }

    fn names(&self) -> Vec<&str> {
        self.names().into_vec()
    }

    fn find(&self, name: &str) -> Option<(Dtype, &[usize])> {
        self.get(name)
    }

    fn values(&self, name: &str) -> Result<Vec<f64>, Error> {
        self.to_f64(name)
    }

    fn integers(&self, name: &str) -> Result<Vec<i64>, Error> {
        self.to_integers(name)
    }

    fn same(&self, name: &str, other: &str) -> Result<bool, Error> {
        self.same(name, other)
    }
}
