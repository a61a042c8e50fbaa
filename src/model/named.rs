//! Numbers under the names of parameters.

use super::names::ModelName;
use crate::into_vec::IntoVec as _;

/// One vector per name, in the order of the names.
///
/// Names are found apart from the numbers, so that the search is compiled once and not for every type of
/// number.
#[derive(Clone, Debug, PartialEq)]
pub struct Named<T> {
    names: Vec<ModelName>,
    vectors: Vec<Vec<T>>,
}

impl<T> Named<T> {
    /// Without names.
    #[allow(clippy::new_without_default, reason = "said as it is: without names")]
    pub const fn new() -> Self {
        Self {
            names: Vec::new(),
            vectors: Vec::new(),
        }
    }

    /// Puts a vector under a name, in the place of another.
    pub fn insert(&mut self, name: ModelName, vector: Vec<T>) {
        match self.names.binary_search(&name) {
            Ok(at) => self.vectors[at] = vector,
            Err(at) => {
                self.names.insert(at, name);
                self.vectors.insert(at, vector);
            }
        }
    }

    /// Puts some vectors under their names.
    pub fn extend<const N: usize>(&mut self, named: [(ModelName, Vec<T>); N]) {
        for (name, vector) in named {
            self.insert(name, vector);
        }
    }

    /// The vector of a name; nothing for one that there is not.
    pub fn get(&self, name: ModelName) -> Option<&Vec<T>> {
        self.vectors.get(self.names.binary_search(&name).ok()?)
    }

    /// As [`get`](Self::get), to be changed.
    pub fn get_mut(&mut self, name: ModelName) -> Option<&mut Vec<T>> {
        self.vectors.get_mut(self.names.binary_search(&name).ok()?)
    }

    /// Takes a name and its vector out.
    pub fn remove(&mut self, name: ModelName) -> Option<Vec<T>> {
        let at = self.names.binary_search(&name).ok()?;
        self.names.remove(at);
        Some(self.vectors.remove(at))
    }

    /// The same with every number replaced by its image.
    pub fn map<U>(&self, f: &mut dyn FnMut(T) -> U) -> Named<U>
    where
        T: Copy,
    {
        let mut image = |vector: &Vec<T>| vector.iter().map(|&x| f(x)).into_vec();
        Named {
            names: self.names.clone(),
            vectors: self.vectors.iter().map(&mut image).into_vec(),
        }
    }
}
