//! The subjects of golden files: one trait, over which everything else in the oracle is written
//! once.

use super::format::Format;
use super::mistake::Row;
use super::read::check_finite;
pub(crate) use super::stage::Named;
use super::stage::StageSpec;
use super::upstream::Upstream;
use crate::algebra::{ErrorBound, ErrorScale, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::Form;
use crate::into_vec::IntoVec as _;
use crate::safetensors::{Dtype, Tensors, Writer};
use crate::tensor::Tensor;

pub(crate) use super::upstream::Setting;

/// A tensor that a case is given: a parameter, an input, a state or a cotangent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Given {
    /// The name in files.
    pub(crate) name: String,
    /// The shape in files.
    pub(crate) shape: Vec<usize>,
    /// The values, row-major.
    pub(crate) values: GivenValues,
    /// The axis of tokens, where the first one is that of the input's rows, so that it may hold
    /// anything at padding.
    pub(crate) by_token: Option<usize>,
}

/// The values of a given tensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum GivenValues {
    /// Numbers.
    Numbers(Vec<f64>),
    /// Token ids or counts, stored as I64.
    Integers(Vec<i64>),
}

impl Given {
    /// A tensor of numbers.
    pub(crate) fn numbers(name: impl Into<String>, shape: &[usize], values: &[f64]) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            values: GivenValues::Numbers(values.to_vec()),
            by_token: None,
        }
    }

    /// A tensor of counts on one axis.
    pub(crate) fn integers(name: impl Into<String>, values: &[usize]) -> Self {
        Self {
            name: name.into(),
            shape: vec![values.len()],
            // What was read from an i64 fits one.
            values: GivenValues::Integers(values.iter().map(|&x| x as i64).into_vec()),
            by_token: None,
        }
    }

    /// An array.
    pub(crate) fn tensor(name: impl Into<String>, tensor: &Tensor<f64>) -> Self {
        Self::numbers(name, tensor.shape(), tensor.data())
    }

    /// The same, of which a part belongs to every token of every row: its second axis is theirs.
    pub(crate) fn by_token(self) -> Self {
        self.by_token_of(1)
    }

    /// The same with this axis of tokens.
    pub(crate) fn by_token_of(self, axis: usize) -> Self {
        Self {
            by_token: Some(axis),
            ..self
        }
    }

    /// Refuses a number that is not finite.
    pub(crate) fn check_finite(&self) -> Result<(), Error> {
        match &self.values {
            GivenValues::Numbers(values) => check_finite(&self.name, values),
            GivenValues::Integers(_) => Ok(()),
        }
    }

    /// Adds it to a file, numbers as `dtype`.
    pub(super) fn write(&self, writer: &mut Writer, dtype: Dtype) -> Result<(), Error> {
        match &self.values {
            GivenValues::Numbers(x) => writer.add(&self.name, dtype, &self.shape, x)?,
            GivenValues::Integers(x) => writer.add_i64(&self.name, &self.shape, x)?,
        };
        Ok(())
    }
}

/// The error scale of one stage, element by element.
pub(crate) struct Scale {
    /// The stage.
    pub(crate) name: String,
    /// In units of the unit roundoff of a port that works in one format throughout.
    pub(crate) uniform: Tensor<ErrorBound>,
    /// What each unit by which the projections' unit roundoff exceeds the models' adds to the worst
    /// case (with both measured in the models'); `None` where a port in two formats is taken for
    /// one in the coarser throughout.
    pub(crate) projections: Option<Tensor<f64>>,
}

impl Scale {
    /// The scales of stages for which a port in two formats is taken for one in the coarser throughout.
    pub(crate) fn throughout(errors: Named<ErrorBound>) -> Vec<Self> {
        let errors = errors.into_iter();
        let scale = |(name, uniform)| Self {
            name,
            uniform,
            projections: None,
        };
        errors.map(scale).into_vec()
    }
}

/// The errors of analysed stages.
pub(crate) fn errors(stages: Named<ErrorScale>) -> Named<ErrorBound> {
    let stages = stages.into_iter();
    stages
        .map(|(name, stage)| (name, stage.map(ErrorScale::error)))
        .into_vec()
}

/// Errors times a ratio of units.
pub(crate) fn scaled(errors: Named<ErrorBound>, ratio: f64) -> Named<ErrorBound> {
    let errors = errors.into_iter();
    errors
        .map(|(name, stage)| (name, stage.map(|error| error * ratio)))
        .into_vec()
}

/// One case of a subject's golden suite.
pub(crate) struct SuiteRow<S> {
    pub(crate) name: &'static str,
    /// The purpose of the case.
    pub(crate) stresses: &'static str,
    /// The case from a seed.
    pub(crate) build: Box<dyn Fn(u64) -> Result<S, Error> + Send + Sync>,
}

impl<S> SuiteRow<S> {
    /// The case that a function makes from a seed.
    pub(crate) fn new(
        name: &'static str,
        stresses: &'static str,
        build: impl Fn(u64) -> Result<S, Error> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            stresses,
            build: Box::new(build),
        }
    }
}

/// A kind of golden file: what is given, what is computed of it, which mistakes are known.
///
/// A subject says what it is given, what its stages are, how the reference computes them in any
/// scalars, the largest error of a right port, and which mistakes are known. Reading and writing
/// files, certification, the check and its words are the same for all.
pub(crate) trait Subject: Sized + Send + Sync + 'static {
    /// The metadata `kind` of its files.
    const KIND: &'static str;
    /// False if no case of it can be exact in any format, since all of them take exponentials or square roots. Nothing is
    /// then compiled to find out.
    const MAY_BE_EXACT: bool = true;
    /// The tensors that a file may hold or not.
    const OPTIONAL: &'static [&'static str] = &[];
    /// The places in the reference at which a mistake can be made.
    type Hook: Copy + Send + Sync + 'static;

    /// Reads what is given.
    ///
    /// # Errors
    ///
    /// Naming the tensor or metadata key at fault, and what was expected of it.
    fn read(file: &dyn Tensors) -> Result<Self, Error>;

    /// The strings that its files need: what tensors do not tell, and their sizes.
    fn metadata(&self) -> Vec<(String, String)>;

    /// The tensors it is given: what is written back, and what a candidate must not contradict.
    fn given(&self) -> Vec<Given>;

    /// The stages, in the order of computation; gradients last.
    fn stages(&self) -> Vec<StageSpec>;

    /// Inputs of every sequence.
    fn seq_len(&self) -> usize;

    /// Padding of the input, as rows and positions. Stages are not compared there; gradients of what is
    /// given are, and are 0.
    fn padding(&self) -> Vec<(usize, usize)> {
        Vec::new()
    }

    /// The form to certify by: the recurrence, which keeps exact zeros exact, where there is one.
    fn default_form(&self) -> Form {
        Form::Recurrence
    }

    /// One line that says what was run.
    fn describe(&self) -> String;

    /// The reference: every stage in the scalars of a precision; with `gradients` those too.
    ///
    /// # Errors
    ///
    /// If the form cannot run the subject, or there is no cotangent to run back from.
    fn run<T>(&self, form: &Form, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity;

    /// [`run`](Self::run) in the default form alone, for scalars in which no other is wanted.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    fn run_plainly<T>(&self, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity;

    /// The error scale of every stage.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    fn scales(&self) -> Result<Vec<Scale>, Error>;

    /// The error scale of every stage in one format, in units of its unit roundoff, where that of golden
    /// files is not enough: it is of first order, and hundreds of roundings in 16 bits multiply; and it is for
    /// transforms as fine as the rest. Nothing where it is enough.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    fn further_scales(&self, _format: Format) -> Result<Named<ErrorBound>, Error> {
        Ok(Vec::new())
    }

    /// A scale as golden files store it: not below `x`.
    fn stored_scale(x: f64) -> f64 {
        up_to_f32(x)
    }

    /// The format a port is judged by that says it works in this one.
    fn judged_in(format: Format) -> Format {
        format
    }

    /// The number of operations behind an element, each weighed by what its result may be
    /// multiplied with on its way: what underflow in one of them may grow to.
    fn underflow_growth(&self) -> f64;

    /// The known mistakes of the forward pass, or of the way `backward`, in groups: a later group is
    /// tried where none of an earlier one explains a candidate.
    fn mistakes(backward: bool) -> Vec<Vec<&'static Row<Self::Hook>>>;

    /// True if a mistake sits between chunks, so that the reference runs chunk by chunk with it.
    fn needs_chunks(row: &Row<Self::Hook>) -> bool;

    /// Multiplications of one run on this many tokens of each sequence, about.
    fn cost(&self, tokens: usize) -> usize;

    /// Number of heads on which known mistakes of the forward pass are tried, and of all, where the case is
    /// so large that trying them on all would take minutes; `None` where they are tried on all. `judged` are
    /// the stages that the port has, `own` those of them from which others are computed.
    fn sampled_heads(&self, _judged: &[&str], _own: &Upstream) -> Option<[usize; 2]> {
        None
    }

    /// The elements of a stage that belong to some heads, in the order of a case of these heads alone.
    fn of_heads(&self, spec: &StageSpec, _heads: &[usize]) -> Vec<usize> {
        spec.elements(|_, len| (0..len).into_vec())
    }

    /// True if a mistake takes numbers from one head to another, so that no head can be run alone with it.
    fn is_across_heads(&self, _row: &Row<Self::Hook>) -> bool {
        false
    }

    /// The stages with mistakes made in the reference; those that they cannot change may be left
    /// out.
    ///
    /// # Errors
    ///
    /// If a mistake has no value here, such as a discretization at its pole.
    fn run_with(
        &self,
        mistakes: &[&'static Row<Self::Hook>],
        setting: Setting<'_>,
    ) -> Result<Named<f64>, Error>;

    /// The error scale of every stage in one format, in units of its unit roundoff, where each is
    /// computed from a port's own stages: of that step alone. Stages may be left out that are not
    /// computed from others, and gradients where no cotangent of a stage is among the port's own.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    fn local_scales(&self, upstream: &Upstream, format: Format)
    -> Result<Named<ErrorBound>, Error>;
}

/// The smallest f32 not below `x`, as f64.
pub(crate) fn up_to_f32(x: f64) -> f64 {
    let nearest = x as f32;
    let up = if f64::from(nearest) < x {
        nearest.next_up()
    } else {
        nearest
    };
    f64::from(up)
}

/// True for the gradient of a given tensor, which is compared at padding too.
pub(crate) fn is_gradient_of_given(stage: &str, given: &[Given]) -> bool {
    let of = stage.strip_prefix("grad.");
    of.is_some_and(|of| given.iter().any(|given| given.name == of))
}

/// The largest magnitude among given numbers, at least 1.
pub(crate) fn largest_given(given: &[Given]) -> f64 {
    let values = given.iter().flat_map(|given| match &given.values {
        GivenValues::Numbers(values) => &values[..],
        GivenValues::Integers(_) => &[],
    });
    values.fold(1.0, |largest: f64, x| largest.max(x.abs()))
}
