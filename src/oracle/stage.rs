//! Stages as data: names, shapes, the meaning of every axis, and what each is computed from.

use crate::into_vec::IntoVec as _;
use crate::tensor::Tensor;
use core::fmt;
use core::ops::Range;

/// Arrays under their names in files.
pub(crate) type Named<T> = Vec<(String, Tensor<T>)>;

/// Things in the order of their names. The names are sorted apart from them, so that one sort is
/// compiled and not one for every type.
pub(crate) fn in_order_of_name<T>(things: Vec<T>, name: fn(&T) -> &str) -> Vec<T> {
    let order = order_of(&things.iter().map(name).into_vec());
    let mut things: Vec<Option<T>> = things.into_iter().map(Some).into_vec();
    let taken = order.into_iter().filter_map(|at| things[at].take());
    taken.into_vec()
}

/// The places of these names, the first name's first.
fn order_of(names: &[&str]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..names.len()).into_vec();
    order.sort_by_key(|&at| names[at]);
    order
}

/// The meaning of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Axis {
    /// The sequences of a batch.
    Sequence,
    /// The documents packed into a row.
    Document,
    /// The tokens of a sequence.
    Time,
    /// The channels of a layer, or of a model's residual path.
    Channel,
    /// The heads.
    Head,
    /// The groups of heads.
    Group,
    /// A head's channels of the key, d1.
    KeyChannel,
    /// A head's channels of the value, d2.
    ValueChannel,
    /// The taps of a shift model, or the entries of its window.
    Tap,
    /// The stored modes of a diagonal model, or the state of a dense one.
    Mode,
    /// Real and imaginary part.
    RealImaginary,
    /// The chunks of a sequence.
    Chunk,
    /// The shared diagonal models.
    Model,
    /// The outputs of a projection.
    Row,
    /// The inputs of a projection.
    Column,
    /// The words of a vocabulary.
    Word,
    /// The steps of a recursion.
    Step,
}

impl fmt::Display for Axis {
    /// One step along the axis.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sequence => "sequence",
            Self::Document => "document",
            Self::Time => "time step",
            Self::Channel => "channel",
            Self::Head => "head",
            Self::Group => "group",
            Self::KeyChannel => "key channel",
            Self::ValueChannel => "value channel",
            Self::Tap => "tap",
            Self::Mode => "mode",
            Self::RealImaginary => "part",
            Self::Chunk => "chunk",
            Self::Model => "model",
            Self::Row => "row",
            Self::Column => "column",
            Self::Word => "word",
            Self::Step => "step",
        })
    }
}

/// One stage of a subject. Lists of stages are in the order of computation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StageSpec {
    /// The name in files.
    pub name: String,
    /// The meaning and length of every axis, slowest first.
    pub axes: Vec<(Axis, usize)>,
    /// The axes that are one axis in files.
    merged: Range<usize>,
    /// The stages it is computed from.
    pub from: Vec<String>,
    /// True for the kernels of models, which a port may have without computing from them.
    kernel: bool,
    /// The stage or given tensor of which it is a change.
    changed: Option<String>,
}

impl StageSpec {
    /// A stage without axes, computed from others.
    #[cfg(feature = "internals")]
    #[must_use]
    pub fn named(name: &str, from: &[&str]) -> Self {
        Self::new(name, &[], from)
    }

    /// A stage of these axes.
    pub(crate) fn new(name: impl Into<String>, axes: &[(Axis, usize)], from: &[&str]) -> Self {
        Self {
            name: name.into(),
            axes: axes.to_vec(),
            merged: 0..0,
            from: from.iter().map(ToString::to_string).into_vec(),
            kernel: false,
            changed: None,
        }
    }

    /// The stage as a change of another one, or of a given tensor: as that, if nothing was done.
    pub(crate) fn change_of(mut self, name: String) -> Self {
        self.changed = Some(name);
        self
    }

    /// What it is a change of.
    pub(crate) fn changed(&self) -> Option<&str> {
        self.changed.as_deref()
    }

    /// The stage as the kernels of models, which a port that computes by their states has aside.
    pub(crate) fn kernel(mut self) -> Self {
        self.kernel = true;
        self
    }

    /// The stage with some of its axes stored as one.
    pub(crate) fn merged(mut self, axes: Range<usize>) -> Self {
        self.merged = axes;
        self
    }

    /// The shape in files.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        let mut shape: Vec<usize> = self.axes.iter().map(|&(_, len)| len).into_vec();
        if !self.merged.is_empty() {
            let size = shape[self.merged.clone()].iter().product();
            shape.splice(self.merged.clone(), [size]);
        }
        shape
    }

    /// The shape in files of a case of so many of its heads: `[some, all]`.
    pub(crate) fn shape_of_heads(&self, [some, all]: [usize; 2]) -> Vec<usize> {
        let mut of_some = self.clone();
        for (axis, len) in &mut of_some.axes {
            if matches!(axis, Axis::Head | Axis::Channel) {
                *len = *len / all.max(1) * some;
            }
        }
        of_some.shape()
    }

    /// The elements, in their order, at chosen places of every axis.
    pub(crate) fn elements(&self, places: impl Fn(Axis, usize) -> Vec<usize>) -> Vec<usize> {
        self.axes.iter().fold(vec![0], |before, &(axis, len)| {
            let places = places(axis, len);
            let at = |before: usize| places.iter().map(move |place| before * len + place);
            before.into_iter().flat_map(at).into_vec()
        })
    }

    /// Its elements at padding, given that of the rows: rows and positions.
    pub(crate) fn at_padding(&self, padding: &[(usize, usize)]) -> Vec<usize> {
        let place = |axis: Axis| self.axes.iter().position(|&(a, _)| a == axis);
        let (Some(row), Some(time)) = (place(Axis::Sequence), place(Axis::Time)) else {
            return Vec::new();
        };
        let len: usize = self.axes.iter().map(|&(_, len)| len).product();
        let stride =
            |at: usize| -> usize { self.axes[at + 1..].iter().map(|&(_, len)| len).product() };
        let at = |element: usize, axis: usize| element / stride(axis) % self.axes[axis].1;
        let is_padding =
            |&element: &usize| padding.contains(&(at(element, row), at(element, time)));
        (0..len).filter(is_padding).into_vec()
    }

    /// True for kernels of models.
    pub(crate) fn is_kernel(&self) -> bool {
        self.kernel
    }

    /// True for states of models: stages with taps or modes and no time axis.
    pub(crate) fn is_state(&self) -> bool {
        let has = |axis: Axis| self.axes.iter().any(|&(a, _)| a == axis);
        !self.is_gradient()
            && !self.kernel
            && !has(Axis::Time)
            && (has(Axis::Tap) || has(Axis::Mode))
    }

    /// True for a gradient, a part of one, or the loss: stages of the backward pass alone.
    pub(crate) fn is_gradient(&self) -> bool {
        let starts = |with: &str| self.name.starts_with(with);
        starts("grad.") || starts("tied.grad.") || self.name == "loss"
    }
}
