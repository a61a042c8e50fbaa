//! A port's file: the stages it holds, brought into the golden file's shapes.

use super::super::format::Format;
use super::super::golden::{Golden, GoldenStage};
use crate::algebra::FloatFormat;
use crate::error::Error;
use crate::h3::Name;
use crate::safetensors::{Dtype, SafeTensors, TensorView};
use crate::tensor::Tensor;

/// One stage of a candidate, in the golden file's shape.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CandidateStage {
    /// The stage.
    pub name: String,
    /// The values, exactly as stored.
    pub values: Tensor<f64>,
    /// The unit roundoff of the type they are stored in.
    pub unit_roundoff: f64,
    /// Half the smallest positive number of that type.
    pub smallest: f64,
    /// What had to be done to the shape, if anything.
    pub note: Option<String>,
}

/// What a port computed: any of the golden file's stages.
#[derive(Clone, Debug)]
pub struct Candidate {
    stages: Vec<CandidateStage>,
    dtypes: Vec<Dtype>,
}

impl Candidate {
    /// Reads a candidate's stages, those of the golden file's names; other tensors are left alone.
    ///
    /// A stage may have more or fewer axes of length one than the golden one, and the last two of
    /// its three axes exchanged; both are said in its note. Parameters and input, where the
    /// candidate holds them, must be the golden file's (rounded to the type they are stored in).
    ///
    /// # Errors
    ///
    /// If none of the stages is there, one is of another shape or not a float type or not finite
    /// everywhere, or the candidate was made from other parameters or another input.
    pub fn read(file: &SafeTensors, golden: &Golden) -> Result<Self, Error> {
        same_case(file, golden)?;
        Self::of_stages(file, golden.stages())
    }

    /// The stages of a file that golden ones are there for.
    pub(in super::super) fn of_stages(
        file: &SafeTensors,
        golden: &[GoldenStage],
    ) -> Result<Self, Error> {
        let mut stages = Vec::new();
        let mut dtypes = Vec::new();
        for stage in golden {
            let Some(view) = file.get(&stage.name) else {
                continue;
            };
            let values = finite(&view)?;
            if !dtypes.contains(&view.dtype) {
                dtypes.push(view.dtype);
            }
            let (values, note) = in_shape(&view, values, stage.values.shape())?;
            let (unit_roundoff, smallest) = storage(view.dtype);
            stages.push(CandidateStage {
                name: stage.name.clone(),
                values,
                unit_roundoff,
                smallest,
                note,
            });
        }
        if stages.is_empty() {
            let names: Vec<&str> = golden.iter().map(|s| s.name.as_str()).collect();
            return Err(Error::missing(format!(
                "every stage of the golden file (any of {})",
                names.join(", ")
            )));
        }
        Ok(Self { stages, dtypes })
    }

    /// A stage by name.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<&CandidateStage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The format to judge by where none is asked for: that of the type all stages are stored in.
    ///
    /// # Errors
    ///
    /// If they are stored in several types: one narrow stage would loosen the others' tolerance.
    pub fn format(&self) -> Result<Format, Error> {
        match self.dtypes[..] {
            [Dtype::F32] => Ok(Format::F32),
            [Dtype::F16] => Ok(Format::F16),
            [Dtype::BF16] => Ok(Format::BF16),
            [_] => Ok(Format::F64),
            _ => Err(Error::value(
                "candidate",
                format!(
                    "its stages are stored as {}; say what the port works in (--dtype)",
                    self.dtypes
                        .iter()
                        .map(|dtype| dtype.name())
                        .collect::<Vec<_>>()
                        .join(" and ")
                ),
            )),
        }
    }
}

/// Unit roundoff and half the smallest positive number of a stored type; zero for binary64, which
/// holds golden values unchanged.
fn storage(dtype: Dtype) -> (f64, f64) {
    match dtype.float_format() {
        None | Some(FloatFormat::F64) => (0.0, 0.0),
        Some(format) => (format.unit_roundoff(), format.half_smallest()),
    }
}

/// The values of a float tensor, every one finite.
fn finite(view: &TensorView<'_>) -> Result<Vec<f64>, Error> {
    let values = view.to_f64()?;
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(values),
        Some(at) => Err(Error::value(
            format!("tensor {:?}", view.name),
            format!("element {at} is {}; expected finite numbers", values[at]),
        )),
    }
}

/// Refuses a candidate whose own parameters or input are not the golden file's.
fn same_case(file: &SafeTensors, golden: &Golden) -> Result<(), Error> {
    let names = Name::ALL.into_iter().map(Name::official);
    for name in names.chain(["input", "initial_state_k", "initial_state", "g"]) {
        let (Some(theirs), Some(ours)) = (file.get(name), golden.case().file().get(name)) else {
            continue;
        };
        same_values(&theirs, ours.shape, &ours.to_f64()?)?;
    }
    Ok(())
}

/// Refuses a tensor of a candidate that is not the golden file's, rounded once to the type it is
/// stored in.
pub(in super::super) fn same_values(
    theirs: &TensorView<'_>,
    shape: &[usize],
    values: &[f64],
) -> Result<(), Error> {
    let (u, smallest) = storage(theirs.dtype);
    let mut pairs = finite(theirs)?.into_iter().zip(values);
    if theirs.shape == shape && pairs.all(|(a, b)| (a - b).abs() <= u * b.abs() + smallest) {
        return Ok(());
    }
    Err(another_case(theirs.name))
}

/// The error of a candidate that holds another case's tensor.
pub(in super::super) fn another_case(name: &str) -> Error {
    Error::value(
        format!("tensor {name:?}"),
        "is not the golden file's: the candidate was made from another case",
    )
}

/// The values in the golden shape, and what had to be done.
fn in_shape(
    view: &TensorView<'_>,
    values: Vec<f64>,
    expected: &[usize],
) -> Result<(Tensor<f64>, Option<String>), Error> {
    if view.shape == expected {
        return Ok((Tensor::new(expected, values)?, None));
    }
    let squeezed = |shape: &[usize]| -> Vec<usize> {
        shape.iter().copied().filter(|&axis| axis != 1).collect()
    };
    let (theirs, ours) = (squeezed(view.shape), squeezed(expected));
    if theirs == ours {
        let note = format!("read {:?} as {expected:?}", view.shape);
        return Ok((Tensor::new(expected, values)?, Some(note)));
    }
    // (batch, length, channels) against (batch, channels, length): only for what has three axes.
    if let (&[batch, rows, cols], [.., a, b]) = (expected, view.shape)
        && (*a, *b) == (cols, rows)
        && values.len() == batch * rows * cols
    {
        let note = format!(
            "last two axes of {:?} exchanged to {expected:?}",
            view.shape
        );
        let values = exchanged(&values, rows, cols);
        return Ok((Tensor::new(expected, values)?, Some(note)));
    }
    Err(Error::shape(
        format!("tensor {:?}", view.name),
        format_args!("shape {expected:?}"),
        format_args!("{:?}", view.shape),
    ))
}

/// Matrices of `cols` rows and `rows` columns, one after another, transposed.
pub(super) fn exchanged(values: &[f64], rows: usize, cols: usize) -> Vec<f64> {
    let places = 0..values.len();
    places
        .map(|place| {
            let (b, r, c) = (place / (rows * cols), place / cols % rows, place % cols);
            values[(b * cols + c) * rows + r]
        })
        .collect()
}
