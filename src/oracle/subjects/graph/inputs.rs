//! The inputs of a graph: tensors under their names, each with the meaning of its axes.

use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::oracle::read::{read_tensor, shape_of};
use crate::oracle::sequence::{Schedule, Sequence};
use crate::oracle::stage::Axis;
use crate::oracle::subject::Given;
use crate::safetensors::Tensors;
use crate::ssm::Documents;
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
    /// The axis of tokens, where the first one is that of rows.
    time: Option<usize>,
}

/// The tensors of a case, in the order in which they are written, and how the rows of its input are
/// made of sequences.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    tensors: Vec<Input>,
    sequence: Sequence,
    /// The ranges of documents in the rows, if rows are not whole sequences.
    documents: Option<Documents>,
    /// The tensors of a file whose shapes say what those of the others should be.
    sized_by: Vec<(String, Vec<usize>)>,
}

impl Default for Inputs {
    fn default() -> Self {
        Self {
            tensors: Vec::new(),
            sequence: Sequence::Whole,
            documents: None,
            sized_by: Vec::new(),
        }
    }
}

impl Inputs {
    /// A tensor with a gradient.
    pub(crate) fn push(&mut self, name: impl Into<String>, values: Tensor<f64>, axes: &[Axis]) {
        self.add(name, values, Some(axes.to_vec()));
    }

    /// A tensor without a gradient.
    pub(crate) fn push_fixed(&mut self, name: impl Into<String>, values: Tensor<f64>) {
        self.add(name, values, None);
    }

    /// The cotangent of a stage of these axes.
    pub(crate) fn push_cotangent(
        &mut self,
        name: impl Into<String>,
        values: Tensor<f64>,
        axes: &[Axis],
    ) {
        self.add(name, values, None);
        if let Some(last) = self.tensors.last_mut() {
            last.time = time_of(axes);
        }
    }

    fn add(&mut self, name: impl Into<String>, values: Tensor<f64>, axes: Option<Vec<Axis>>) {
        self.tensors.push(Input {
            name: name.into(),
            values,
            time: axes.as_deref().and_then(time_of),
            axes,
        });
    }

    /// Sets the division of rows into sequences, for a tensor (batch, ...) with this number of
    /// tokens.
    ///
    /// # Errors
    ///
    /// If they are not so long.
    pub(crate) fn set_sequence(
        &mut self,
        sequence: Sequence,
        [batch, len]: [usize; 2],
    ) -> Result<(), Error> {
        let documents = sequence.documents(batch, len)?;
        let is_whole = matches!(sequence, Sequence::Whole | Sequence::Scheduled(_));
        self.documents = (!is_whole).then_some(documents);
        self.sequence = sequence;
        Ok(())
    }

    /// Reads how the rows of a tensor are made of sequences.
    ///
    /// # Errors
    ///
    /// As [`Sequence::read`].
    pub(crate) fn read_sequence(
        &mut self,
        file: &dyn Tensors,
        input: &str,
        sizes: [usize; 2],
    ) -> Result<(), Error> {
        self.set_sequence(Sequence::read(file, input, sizes)?, sizes)
    }

    /// The ranges of documents in the rows; `None` if every row is one document.
    pub(crate) fn documents(&self) -> Option<&Documents> {
        self.documents.as_ref()
    }

    /// The schedule, if it is run by one.
    pub(crate) fn schedule(&self) -> Option<&Schedule> {
        self.sequence.schedule()
    }

    /// The axis of states along which documents stand.
    pub(crate) fn document_axis(&self) -> Axis {
        match self.sequence {
            Sequence::Packed(_) => Axis::Document,
            _ => Axis::Sequence,
        }
    }

    /// The strings that say how rows are made of sequences.
    pub(crate) fn metadata(&self) -> Vec<(String, String)> {
        let mut names = self.tensors.iter().map(|input| &input.name);
        self.sequence
            .metadata(names.any(|name| name.starts_with(COTANGENTS)))
    }

    /// The shape of a tensor of this many axes, none of them empty, by which those of others are known.
    ///
    /// # Errors
    ///
    /// If the tensor is missing, has another number of axes, or holds nothing.
    pub(crate) fn sizes<const N: usize>(
        &mut self,
        file: &dyn Tensors,
        name: &str,
    ) -> Result<[usize; N], Error> {
        let shape = shape_of(file, name, N)?;
        let refused = || {
            let expected = format_args!("{N} axes, none of them empty");
            let got = format_args!("shape {shape:?}");
            Error::shape(format!("tensor {name:?}"), expected, got)
        };
        let sizes: [usize; N] = shape.try_into().map_err(|_| refused())?;
        if sizes.contains(&0) {
            return Err(refused());
        }
        self.sized_by.push((name.into(), shape.into()));
        Ok(sizes)
    }

    /// A tensor of a file, of this shape.
    ///
    /// # Errors
    ///
    /// As [`read_tensor`], with the tensors that the shape is known by.
    pub(crate) fn tensor(
        &self,
        file: &dyn Tensors,
        name: &str,
        shape: &[usize],
    ) -> Result<Tensor<f64>, Error> {
        let sizes = self.sized_by.iter();
        let sizes = sizes.map(|(name, shape)| (&name[..], &shape[..]));
        read_tensor(file, name, shape).map_err(|error| error.sized_by(sizes))
    }

    /// Reads a tensor of this shape that has a gradient.
    ///
    /// # Errors
    ///
    /// As [`tensor`](Self::tensor).
    pub(crate) fn read(
        &mut self,
        file: &dyn Tensors,
        name: &str,
        shape: &[usize],
        axes: &[Axis],
    ) -> Result<(), Error> {
        self.push(name, self.tensor(file, name, shape)?, axes);
        Ok(())
    }

    /// The same, if the file holds the tensor.
    ///
    /// # Errors
    ///
    /// As [`tensor`](Self::tensor).
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

    /// Reads the cotangent `g` of the result, of these axes, if the file holds one.
    ///
    /// # Errors
    ///
    /// As [`tensor`](Self::tensor).
    pub(crate) fn read_cotangent(
        &mut self,
        file: &dyn Tensors,
        shape: &[usize],
        axes: &[Axis],
    ) -> Result<(), Error> {
        if file.find(COTANGENT).is_some() {
            self.push_cotangent(COTANGENT, self.tensor(file, COTANGENT, shape)?, axes);
        }
        Ok(())
    }

    /// Reads the cotangents of states, of these names and shapes.
    ///
    /// # Errors
    ///
    /// As [`tensor`](Self::tensor); and if the file holds the cotangent of something else.
    pub(crate) fn read_state_cotangents(
        &mut self,
        file: &dyn Tensors,
        states: &[(String, Vec<usize>)],
    ) -> Result<(), Error> {
        let known: Vec<String> = states.iter().map(|(name, _)| cotangent_of(name)).into_vec();
        let names = file.names();
        let mut given = names.iter().filter(|name| name.starts_with(COTANGENTS));
        if let Some(other) = given.find(|name| known.iter().all(|known| known != *name)) {
            let what = format!("tensor {other:?}");
            return Err(match known.is_empty() {
                true => Error::unsupported(format!("{what}: this kind has no states")),
                false => Error::value(what, format!("is of no state; expected one of {known:?}")),
            });
        }
        for (name, (_, shape)) in known.iter().zip(states) {
            if file.find(name).is_some() {
                self.push_cotangent(&name[..], self.tensor(file, name, shape)?, &[]);
            }
        }
        Ok(())
    }

    /// The tensor of this name, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<&Tensor<f64>> {
        let found = self.tensors.iter().find(|input| input.name == name);
        found.map(|input| &input.values)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Tensor<f64>> {
        let found = self.tensors.iter_mut().find(|input| input.name == name);
        found.map(|input| &mut input.values)
    }

    /// The place of a tensor.
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.tensors.iter().position(|input| input.name == name)
    }

    pub(crate) fn all(&self) -> &[Input] {
        &self.tensors
    }

    /// The cotangent of the result.
    pub(crate) fn cotangent(&self) -> Option<&Tensor<f64>> {
        self.get(COTANGENT)
    }

    /// True if there is a cotangent for gradients to begin from.
    pub(crate) fn has_cotangent(&self) -> bool {
        let mut names = self.tensors.iter().map(|input| &input.name);
        names.any(|name| name == COTANGENT || name.starts_with(COTANGENTS))
    }

    /// The tensors as a case is given them.
    pub(crate) fn given(&self) -> Vec<Given> {
        let of = |input: &Input| {
            let given = Given::tensor(&input.name, &input.values);
            match input.time {
                Some(axis) => given.by_token_of(axis),
                None => given,
            }
        };
        let tensors = self.tensors.iter().map(of);
        tensors.chain(self.sequence.given()).into_vec()
    }
}

/// The axis of tokens, where the first axis is that of rows.
fn time_of(axes: &[Axis]) -> Option<usize> {
    let by_row = axes.first() == Some(&Axis::Sequence);
    let time = axes.iter().position(|&axis| axis == Axis::Time);
    time.filter(|_| by_row)
}

/// The name of the cotangent of a case's result.
pub(super) const COTANGENT: &str = "g";

/// Prefix of the names of cotangents of states.
const COTANGENTS: &str = "g.";

/// The name of the cotangent of a state.
pub(super) fn cotangent_of(state: &str) -> String {
    format!("{COTANGENTS}{state}")
}
