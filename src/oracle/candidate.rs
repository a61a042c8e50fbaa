//! A port's stages, brought into the golden file's shapes.

use super::format::Format;
use super::golden::{GoldenStage, SCALES};
use super::kinds::KINDS;
use super::read::check_finite;
use super::sequence::parts_of_port;
use super::spelling::{may_stand_for, nearest};
use super::subject::{Given, GivenValues, is_gradient_of_given};
use crate::algebra::FloatFormat;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::safetensors::{Dtype, Tensors};
use crate::tensor::Tensor;
use std::borrow::Cow;

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
    /// The change of shape that was made, if any.
    pub note: Option<String>,
}

/// The stages that a port computed: any of those of the golden file.
#[derive(Clone, Debug)]
pub struct Candidate {
    stages: Vec<CandidateStage>,
    dtypes: Vec<Dtype>,
    /// Tensors that are no stage and nothing that the case is given, and how many numbers each holds.
    unknown: Vec<(String, usize)>,
    /// The lengths of the parts after which the port handed its states over, where it says so.
    parts: Vec<usize>,
}

/// The contents of a candidate besides the stages that were judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holdings {
    /// Stages of the golden file that it has not.
    pub absent: Vec<String>,
    /// Tensors that are no stage.
    pub unknown: Vec<String>,
    /// Those of them whose name is close to a stage's, with that stage.
    pub close: Vec<(String, String)>,
}

/// So many tensors of a candidate without stages are named.
const NAMED: usize = 6;

/// A number type that a port's arrays are made of.
pub trait PortNumber: Copy {
    /// The type under which the array counts as stored.
    const DTYPE: Dtype;

    /// The number, exactly.
    fn widen(self) -> f64;
}

impl PortNumber for f32 {
    const DTYPE: Dtype = Dtype::F32;

    fn widen(self) -> f64 {
        self.into()
    }
}

impl PortNumber for f64 {
    const DTYPE: Dtype = Dtype::F64;

    fn widen(self) -> f64 {
        self
    }
}

impl Candidate {
    /// The stages of a file that golden ones are there for; other tensors are left alone.
    ///
    /// A stage may have more or fewer axes of length one than the golden one, and the last two of
    /// its three axes exchanged; both are said in its note. What the golden file is given must be the
    /// same (rounded to the type it is stored in) where the candidate holds it, and so must what is `said`
    /// in its metadata.
    ///
    /// # Errors
    ///
    /// If none of the stages is there, one is of another shape or not a float type, or the candidate
    /// was made from another case.
    pub(super) fn read(
        file: &dyn Tensors,
        golden: &[GoldenStage],
        given: &[Given],
        padding: &[(usize, usize)],
        said: &[(String, String)],
    ) -> Result<Self, Error> {
        same_choices(file, said, given)?;
        let parts = same_parts(file, said, given)?;
        for given in given {
            same_given(file, given, padding)?;
        }
        let is_known = |name: &str| {
            let stage = |name: &str| golden.iter().any(|stage| stage.name() == name);
            let scale = SCALES.iter().find_map(|prefix| name.strip_prefix(prefix));
            let is_given = given.iter().any(|given| given.name == name);
            is_given || stage(name) || scale.is_some_and(stage)
        };
        let mut unknown = file.names();
        unknown.retain(|name| !is_known(name));
        let sized = |name: &str| {
            let numbers = file
                .find(name)
                .map_or(0, |(_, shape)| shape.iter().product());
            (name.to_string(), numbers)
        };
        let mut candidate = Self {
            stages: Vec::new(),
            dtypes: Vec::new(),
            unknown: unknown.into_iter().map(sized).into_vec(),
            parts,
        };
        for stage in golden {
            let name = stage.name();
            if let Some((dtype, shape)) = file.find(name) {
                let values = file.values(name)?;
                let (values, note) = in_shape(name, shape, values, stage.values.shape())?;
                candidate.push(name, dtype, values, note);
            }
        }
        candidate.not_empty(golden)
    }

    /// The candidate of arrays in memory, each the elements of one stage in the golden file's
    /// row-major order.
    ///
    /// # Errors
    ///
    /// If there is none, or one has a name that is no stage's or was given before, or another number
    /// of elements.
    pub(super) fn of_arrays<'a, T: PortNumber + 'a>(
        golden: &[GoldenStage],
        stages: impl IntoIterator<Item = (&'a str, &'a [T])>,
    ) -> Result<Self, Error> {
        let mut candidate = Self {
            stages: Vec::new(),
            dtypes: Vec::new(),
            unknown: Vec::new(),
            parts: Vec::new(),
        };
        for (name, values) in stages {
            let stage = golden.iter().find(|stage| stage.name() == name);
            let stage = stage.ok_or_else(|| {
                let why = format!(
                    "is not a stage of the golden file, which holds {}",
                    names(golden)
                );
                Error::value(format!("stage {name:?}"), why)
            })?;
            let shape = stage.values.shape();
            let values: Vec<f64> = values.iter().map(|x| x.widen()).into_vec();
            if values.len() != stage.values.data().len() {
                return Err(Error::shape(
                    format!("stage {name:?}"),
                    format_args!("{} elements (shape {shape:?})", stage.values.data().len()),
                    values.len(),
                ));
            }
            if candidate.stage(name).is_some() {
                return Err(Error::value(format!("stage {name:?}"), "is given twice"));
            }
            candidate.push(name, T::DTYPE, Tensor::new(shape, values)?, None);
        }
        candidate.not_empty(golden)
    }

    fn push(&mut self, name: &str, dtype: Dtype, values: Tensor<f64>, note: Option<String>) {
        if !self.dtypes.contains(&dtype) {
            self.dtypes.push(dtype);
        }
        let (unit_roundoff, smallest) = storage(dtype);
        self.stages.push(CandidateStage {
            name: name.to_string(),
            values,
            unit_roundoff,
            smallest,
            note,
        });
    }

    /// The candidate with other numbers at padding, where it may hold anything: of forward stages, and
    /// of cotangents within the subject, each made of the golden one and its own. Gradients of what is
    /// given are truly zero there.
    pub(super) fn at_padding(
        &self,
        golden: &[GoldenStage],
        given: &[Given],
        padding: &[(usize, usize)],
        make: impl Fn(f64, f64) -> f64,
    ) -> Cow<'_, Self> {
        if padding.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut cleared = self.clone();
        for found in &mut cleared.stages {
            let stage = golden.iter().find(|stage| stage.name() == found.name);
            let Some(stage) = stage.filter(|stage| !is_gradient_of_given(stage.name(), given))
            else {
                continue;
            };
            for at in stage.spec.at_padding(padding) {
                let place = &mut found.values.data_mut()[at];
                *place = make(stage.values.data()[at], *place);
            }
        }
        Cow::Owned(cleared)
    }

    fn not_empty(self, golden: &[GoldenStage]) -> Result<Self, Error> {
        match self.stages.is_empty() {
            false => Ok(self),
            true => Err(Error::value(
                "stages",
                format!(
                    "none of the golden file is there{}; expected any of {}",
                    self.held_instead(golden),
                    names(golden)
                ),
            )),
        }
    }

    /// The contents of a candidate without stages, in words, with the stages that its names
    /// resemble.
    fn held_instead(&self, golden: &[GoldenStage]) -> String {
        if self.unknown.is_empty() {
            return String::new();
        }
        let held = self.unknown.iter().take(NAMED).map(|unknown| {
            let name = &unknown.0;
            match self.meant(unknown, golden) {
                Some(stage) => format!("{name:?}, which is close to {stage:?}"),
                None => format!("{name:?}"),
            }
        });
        let held: Vec<String> = held.into_vec();
        let more = if self.unknown.len() > NAMED {
            ", ..."
        } else {
            ""
        };
        format!(": it holds {}{more}", held.join(", "))
    }

    /// The stage that a tensor may have been meant for: one that is not there, if there is a choice. What
    /// is there under its own name is not what another name stands for.
    fn meant<'g>(
        &self,
        (name, numbers): &(String, usize),
        golden: &'g [GoldenStage],
    ) -> Option<&'g str> {
        let absent = || {
            golden
                .iter()
                .filter(|stage| self.stage(stage.name()).is_none())
        };
        let of_size = absent().filter(|stage| stage.values.data().len() == *numbers);
        let mut may = of_size.filter(|stage| may_stand_for(name, stage.name()));
        nearest(name, absent().map(GoldenStage::name))
            .or_else(|| nearest(name, golden.iter().map(GoldenStage::name)))
            .or_else(|| may.next().map(GoldenStage::name))
    }

    /// The contents besides the stages that are judged, and the stages that are absent.
    pub(super) fn holdings(&self, golden: &[GoldenStage]) -> Holdings {
        let close = self.unknown.iter().filter_map(|unknown| {
            let stage = self.meant(unknown, golden)?;
            Some((unknown.0.clone(), stage.to_string()))
        });
        let names = golden.iter().map(GoldenStage::name);
        let absent = names.filter(|name| self.stage(name).is_none());
        Holdings {
            absent: absent.map(String::from).into_vec(),
            close: close.into_vec(),
            unknown: self.unknown.iter().map(|(name, _)| name.clone()).into_vec(),
        }
    }

    /// The candidate without tensors of these names that are no stage.
    ///
    /// # Errors
    ///
    /// If one of them is a stage, or is not there.
    pub fn ignoring<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        for name in names {
            let Some(at) = self.unknown.iter().position(|(known, _)| known == name) else {
                let why = match self.stage(name) {
                    Some(_) => "is a stage of the golden file, and is judged",
                    None => "is not a tensor of the candidate that could be left out",
                };
                return Err(Error::value(format!("--ignore {name}"), why));
            };
            self.unknown.remove(at);
        }
        Ok(self)
    }

    /// The lengths of the parts after which the port says it handed its states over.
    pub(super) fn parts(&self) -> &[usize] {
        &self.parts
    }

    /// A stage by name.
    #[must_use]
    pub fn stage(&self, name: &str) -> Option<&CandidateStage> {
        self.stages.iter().find(|stage| stage.name == name)
    }

    /// The default format for the check: that of the type in which all stages are stored.
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
            _ => {
                let types: Vec<_> = self.dtypes.iter().map(|dtype| dtype.name()).into_vec();
                let why = format!(
                    "its stages are stored as {}; state the format the port computes in (--dtype)",
                    types.join(" and ")
                );
                Err(Error::value("candidate", why))
            }
        }
    }
}

/// The names of golden stages, in one line.
fn names(golden: &[GoldenStage]) -> String {
    let names: Vec<&str> = golden.iter().map(GoldenStage::name).into_vec();
    names.join(", ")
}

/// Unit roundoff and half the smallest positive number of a stored type.
fn storage(dtype: Dtype) -> (f64, f64) {
    match dtype.float_format() {
        None | Some(FloatFormat::F64) => (0.0, 0.0),
        Some(format) => (format.unit_roundoff(), format.half_smallest()),
    }
}

/// The choices that a candidate can contradict: key, and every value of it. What another program wrote under
/// such a key in its own words says nothing.
const CHOICES: [(&str, &[&str]); 7] = [
    ("kind", &KINDS),
    (
        "sequence",
        &["whole", "packed", "padded", "schedule", "cotangent"],
    ),
    ("padding", &["none", "left", "right"]),
    ("initial_state", &["none", "zero", "given"]),
    ("disc", &["bilinear", "zoh"]),
    ("real_type", &["exp", "none", "relu", "sigmoid", "softplus"]),
    ("head_order", &["d2h", "hd2"]),
];

/// Refuses a candidate whose metadata says something else of its case than the golden file's.
fn same_choices(
    file: &dyn Tensors,
    said: &[(String, String)],
    given: &[Given],
) -> Result<(), Error> {
    // What is not said of a case, and what that means.
    let unsaid = [
        ("sequence", ["whole", "schedule"]),
        ("initial_state", ["zero", "none"]),
        ("padding", ["none", "none"]),
    ];
    let own = |key: &str| file.metadata().get(key).map(|value| value.trim());
    let golden = |key: &str| said.iter().find(|(known, _)| known == key);
    for (key, values) in CHOICES {
        let Some(own) = own(key).filter(|own| values.contains(own)) else {
            continue;
        };
        match golden(key) {
            Some((_, value)) => {
                let is_handed_over = key == "sequence" && own == "schedule";
                if own != value && !is_handed_over {
                    return Err(other_choice(key, own, &format!("{value:?}")));
                }
            }
            None => {
                let mut unsaid = unsaid.iter().filter(|(known, _)| *known == key);
                if unsaid.any(|(_, means_nothing)| !means_nothing.contains(&own)) {
                    return Err(other_choice(key, own, "nothing of it"));
                }
            }
        }
    }
    let tokens = tokens(given);
    // Kernels are cut to the sequence too, so two larger lengths are one choice.
    let cut = |len: usize| len.min(tokens.unwrap_or(usize::MAX));
    let same = |number: usize| number;
    for (key, as_computed) in [
        ("L", &same as &dyn Fn(usize) -> usize),
        ("head_dim", &same),
        ("l_max", &cut),
    ] {
        let number = |value: &str| value.trim().parse::<usize>().ok().map(as_computed);
        if let (Some(own), Some((_, value))) = (own(key), golden(key))
            && let (Some(a), Some(b)) = (number(own), number(value))
            && a != b
        {
            return Err(other_choice(key, own, &format!("{value:?}")));
        }
    }
    Ok(())
}

/// The tokens of every row of a case.
fn tokens(given: &[Given]) -> Option<usize> {
    let mut given = given.iter();
    given.find_map(|given| Some(given.shape[given.by_token?]))
}

/// The parts in which a port says it ran its sequences: its own affair where the golden file has them
/// whole, and refused where that was run in other parts.
fn same_parts(
    file: &dyn Tensors,
    said: &[(String, String)],
    given: &[Given],
) -> Result<Vec<usize>, Error> {
    let Some(tokens) = tokens(given) else {
        return Ok(Vec::new());
    };
    let Some(own) = parts_of_port(file.metadata().get("schedule"), tokens)? else {
        return Ok(Vec::new());
    };
    let golden = said.iter().find(|(key, _)| key == "schedule");
    if let Some((key, golden)) = golden
        && parts_of_port(Some(golden), tokens)?.is_some_and(|golden| golden != own)
    {
        let own = &file.metadata()[key];
        return Err(other_choice(key, own, &format!("{golden:?}")));
    }
    Ok(own)
}

fn other_choice(key: &str, own: &str, golden: &str) -> Error {
    let why = format!(
        "{own:?}, where the golden file says {golden}: the candidate was made from another case"
    );
    Error::value(format!("metadata {key}"), why)
}

/// Refuses a candidate that holds another case's tensor.
fn same_given(file: &dyn Tensors, given: &Given, padding: &[(usize, usize)]) -> Result<(), Error> {
    let Some((dtype, shape)) = file.find(&given.name) else {
        return Ok(());
    };
    // What a port puts where no token stands is its own affair.
    let at_padding = |at: usize| {
        let Some(axis) = given.by_token.filter(|&axis| axis < shape.len()) else {
            return false;
        };
        let each = |axis: usize| shape[axis + 1..].iter().product::<usize>().max(1);
        padding.contains(&(at / each(0), at / each(axis) % shape[axis].max(1)))
    };
    let same = match &given.values {
        GivenValues::Integers(ours) => {
            let theirs = file.integers(&given.name)?;
            let mut pairs = theirs.iter().zip(ours).enumerate();
            theirs.len() == ours.len() && pairs.all(|(at, (a, b))| a == b || at_padding(at))
        }
        GivenValues::Numbers(ours) => {
            let theirs = file.values(&given.name)?;
            check_finite(&given.name, &theirs)?;
            let (u, smallest) = storage(dtype);
            let mut pairs = theirs.iter().zip(ours).enumerate();
            let is_same = |a: f64, b: f64| (a - b).abs() <= u * b.abs() + smallest;
            shape == given.shape && pairs.all(|(at, (&a, &b))| is_same(a, b) || at_padding(at))
        }
    };
    match same {
        true => Ok(()),
        false => Err(Error::value(
            format!("tensor {:?}", given.name),
            "differs from the golden file's: the candidate was made from another case",
        )),
    }
}

/// The values in the golden shape, and what had to be done.
fn in_shape(
    name: &str,
    shape: &[usize],
    values: Vec<f64>,
    expected: &[usize],
) -> Result<(Tensor<f64>, Option<String>), Error> {
    if shape == expected {
        return Ok((Tensor::new(expected, values)?, None));
    }
    let squeezed = |shape: &[usize]| -> Vec<usize> {
        shape.iter().copied().filter(|&axis| axis != 1).into_vec()
    };
    if squeezed(shape) == squeezed(expected) {
        let note = format!("read {shape:?} as {expected:?}");
        return Ok((Tensor::new(expected, values)?, Some(note)));
    }
    // (batch, length, channels) against (batch, channels, length): only for what has three axes.
    if let (&[batch, rows, cols], [.., a, b]) = (expected, shape)
        && (*a, *b) == (cols, rows)
        && values.len() == batch * rows * cols
    {
        let note = format!("last two axes of {shape:?} exchanged to {expected:?}");
        let values = exchanged(&values, rows, cols);
        return Ok((Tensor::new(expected, values)?, Some(note)));
    }
    Err(Error::shape(
        format!("tensor {name:?}"),
        format_args!("shape {expected:?}"),
        format_args!("{shape:?}"),
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
        .into_vec()
}
