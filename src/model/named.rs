//! Numbers under the names of parameters.

use super::names::ModelName;
use crate::into_vec::IntoVec as _;

/// One vector per name, in the order of the names.
///
/// Names are found apart from the numbers, so that the search is compiled once and not for every type of
/// number.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named<T> {
    names: Vec<ModelName>,
    vectors: Vec<Vec<T>>,
}

impl<T> Named<T> {
    pub(crate) const fn new() -> Self {
        Self {
            names: Vec::new(),
            vectors: Vec::new(),
        }
    }

    pub(crate) fn insert(&mut self, name: ModelName, vector: Vec<T>) {
        match self.names.binary_search(&name) {
            Ok(at) => self.vectors[at] = vector,
            Err(at) => {
                self.names.insert(at, name);
                self.vectors.insert(at, vector);
            }
        }
    }

    pub(crate) fn extend<const N: usize>(&mut self, named: [(ModelName, Vec<T>); N]) {
        for (name, vector) in named {
            self.insert(name, vector);
        }
    }

    /// Nothing for a name that there is not.
    pub(crate) fn get(&self, name: ModelName) -> Option<&Vec<T>> {
        self.vectors.get(self.names.binary_search(&name).ok()?)
    }

    pub(crate) fn get_mut(&mut self, name: ModelName) -> Option<&mut Vec<T>> {
        self.vectors.get_mut(self.names.binary_search(&name).ok()?)
    }

    pub(crate) fn remove(&mut self, name: ModelName) -> Option<Vec<T>> {
        let at = self.names.binary_search(&name).ok()?;
        self.names.remove(at);
        Some(self.vectors.remove(at))
    }

    /// The same with every number replaced by its image.
    pub(crate) fn map<U>(&self, f: &mut dyn FnMut(T) -> U) -> Named<U>
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_found_by_name() {
        let names = [
            ModelName::NormBias,
            ModelName::Embeddings,
            ModelName::Positions,
        ];
        let mut named = Named::new();
        named.extend(names.map(|name| (name, vec![name.official().len()])));
        named.insert(names[2], vec![7]);
        for (name, length) in names.into_iter().zip([18, 42, 7]) {
            assert_eq!(named.get(name), Some(&vec![length]));
        }
        assert_eq!(named.get(ModelName::NormWeight), None);
        let twice = named.map(&mut |x| 2 * x);
        assert_eq!(twice.get(names[2]), Some(&vec![14]));
        assert_eq!(named.remove(names[1]), Some(vec![42]));
        assert_eq!(named.get(names[1]), None);
        assert_eq!(named.remove(names[1]), None);
        *named.get_mut(names[0]).expect("there") = vec![];
        let mut left = Named::new();
        left.extend([(names[2], vec![7]), (names[0], vec![])]);
        assert_eq!(named, left);
    }
}
