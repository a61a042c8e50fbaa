//! What a graph is given: tensors under their names, each with the meaning of its axes.

use crate::error::Error;
use crate::oracle::read::{read_tensor, shape_of};
use crate::oracle::stage::Axis;
use crate::oracle::subject::Given;
use crate::safetensors::Tensors;
use crate::tensor::Tensor;

/// A tensor that a case is given.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// The name in files.
    pub(crate) name: String,
    pub(crate) values: Tensor<f64>,
    /// The meaning of the axes of its gradient; `None` for what has none, such as a cotangent or a
    /// buffer.
    pub(crate) axes: Option<Vec<Axis>>,
}

/// The tensors of a case, in the order in which they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs(Vec<Input>);

impl Inputs {
    /// A tensor with a gradient.
    pub(crate) fn push(&mut self, name: impl Into<String>, values: Tensor<f64>, axes: &[Axis]) {
        self.add(name, values, Some(axes.to_vec()));
    }

    /// A tensor without a gradient.
    pub(crate) fn push_fixed(&mut self, name: impl Into<String>, values: Tensor<f64>) {
        self.add(name, values, None);
    }

    fn add(&mut self, name: impl Into<String>, values: Tensor<f64>, axes: Option<Vec<Axis>>) {
        self.0.push(Input {
            name: name.into(),
            values,
            axes,
        });
    }

    /// Reads a tensor of this shape that has a gradient.
    ///
    /// # Errors
    ///
    /// As [`read_tensor`].
    pub(crate) fn read(
        &mut self,
        file: &dyn Tensors,
        name: &str,
        shape: &[usize],
        axes: &[Axis],
    ) -> Result<(), Error> {
        self.push(name, read_tensor(file, name, shape)?, axes);
        Ok(())
    }

    /// The same, if the file holds the tensor.
    ///
    /// # Errors
    ///
    /// As [`read_tensor`].
    pub(crate) fn read_optional(
        &mut self,
        file: &dyn Tensors,
        name: &str,
        shape: &[usize],
        axes: &[Axis],
    ) -> Result<(), Error> {
        match file.find(name) {
            Some(_) => self.read(file, name, shape, axes),
            None => Ok(()),
        }
    }

    /// Reads the cotangent `g` of the result, if the file holds one.
    ///
    /// # Errors
    ///
    /// As [`read_tensor`].
    pub(crate) fn read_cotangent(
        &mut self,
        file: &dyn Tensors,
        shape: &[usize],
    ) -> Result<(), Error> {
        if file.find(COTANGENT).is_some() {
            self.push_fixed(COTANGENT, read_tensor(file, COTANGENT, shape)?);
        }
        Ok(())
    }

    /// The tensor of this name, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<&Tensor<f64>> {
        let found = self.0.iter().find(|input| input.name == name);
        found.map(|input| &input.values)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Tensor<f64>> {
        let found = self.0.iter_mut().find(|input| input.name == name);
        found.map(|input| &mut input.values)
    }

    /// The place of a tensor.
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|input| input.name == name)
    }

    pub(crate) fn all(&self) -> &[Input] {
        &self.0
    }

    /// The cotangent of the result.
    pub(crate) fn cotangent(&self) -> Option<&Tensor<f64>> {
        self.get(COTANGENT)
    }

    /// The tensors as a case is given them.
    pub(crate) fn given(&self) -> Vec<Given> {
        let of = |input: &Input| Given::tensor(&input.name, &input.values);
        self.0.iter().map(of).collect()
    }
}

/// The name of the cotangent of a case's result.
const COTANGENT: &str = "g";

/// The shape of a tensor of this many axes, none of them empty.
///
/// # Errors
///
/// If the tensor is missing, has another number of axes, or holds nothing.
pub(crate) fn sizes<const N: usize>(file: &dyn Tensors, name: &str) -> Result<[usize; N], Error> {
    let shape = shape_of(file, name, N)?;
    let refused = || {
        let expected = format_args!("{N} axes, none of them empty");
        let got = format_args!("shape {shape:?}");
        Error::shape(format!("tensor {name:?}"), expected, got)
    };
    let sizes: [usize; N] = shape.try_into().map_err(|_| refused())?;
    match sizes.contains(&0) {
        true => Err(refused()),
        false => Ok(sizes),
    }
}
