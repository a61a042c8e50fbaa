//! The discrete layer: everything after decoding and discretization, over any scalar.

use super::config::HeadOrder;
use crate::algebra::{ComplexScalar, Linear, Ring, Scalar, real_and_imaginary};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use crate::ssm::{Diagonal, Shift, StateSpace};
use crate::tensor::Tensor;

/// The parts of a [`Layer`].
#[derive(Clone, Debug)]
pub struct LayerParts<T: Scalar> {
    /// `d_h`, channels a head.
    pub head_dim: usize,
    /// Kernels are cut to this length; `None`: as long as the input.
    pub l_max: Option<usize>,
    /// The order of channels between the heads and the output projection.
    pub head_order: HeadOrder,
    /// `q_proj`.
    pub q: Linear<T>,
    /// `k_proj`.
    pub k: Linear<T>,
    /// `v_proj`.
    pub v: Linear<T>,
    /// `output_linear`.
    pub output: Linear<T>,
    /// The shift model of every key channel (d), `ssm_k_D` as its feedthrough.
    pub shift: Vec<Shift<T>>,
    /// The diagonal model of every head (H), `D` as its feedthrough.
    pub diagonal: Vec<Diagonal<T>>,
}

/// A discrete H3 layer of consistent shapes.
#[derive(Clone, Debug)]
pub struct Layer<T: Scalar> {
    parts: LayerParts<T>,
    taps: usize,
    modes: usize,
}

impl<T: Scalar> Layer<T> {
    /// The layer made of these parts.
    ///
    /// # Errors
    ///
    /// If a shape disagrees with `d_model = parts.shift.len()`, `head_dim` times the number of
    /// heads is not `d_model`, models of one kind have different state dimensions, or `l_max` is
    /// zero.
    pub fn new(parts: LayerParts<T>) -> Result<Self, Error> {
        let d = parts.shift.len();
        if d == 0 || parts.head_dim == 0 || parts.l_max == Some(0) {
            return Err(Error::value(
                "layer",
                "d_model, head_dim and l_max must be at least 1",
            ));
        }
        check_len(
            "diagonal models times head_dim",
            parts.diagonal.len().saturating_mul(parts.head_dim),
            d,
        )?;
        for (what, linear) in [
            ("q_proj", &parts.q),
            ("k_proj", &parts.k),
            ("v_proj", &parts.v),
            ("output_linear", &parts.output),
        ] {
            let shape = (linear.weight.rows(), linear.weight.cols());
            if shape != (d, d) {
                return Err(Error::shape(
                    format!("{what}.weight"),
                    format_args!("({d}, {d})"),
                    format_args!("{shape:?}"),
                ));
            }
        }
        let taps = parts.shift[0].state_dim();
        for shift in &parts.shift {
            check_len("taps of a shift model", shift.state_dim(), taps)?;
        }
        let modes = parts.diagonal[0].state_dim();
        for diagonal in &parts.diagonal {
            check_len("modes of a diagonal model", diagonal.state_dim(), modes)?;
        }
        Ok(Self { parts, taps, modes })
    }

    /// The same layer in other scalars: every number replaced by its image.
    #[must_use]
    pub fn map<U: Scalar>(&self, f: impl Fn(T) -> U) -> Layer<U> {
        let LayerParts {
            head_dim,
            l_max,
            head_order,
            q,
            k,
            v,
            output,
            shift,
            diagonal,
        } = &self.parts;
        Layer {
            parts: LayerParts {
                head_dim: *head_dim,
                l_max: *l_max,
                head_order: *head_order,
                q: q.map(&f),
                k: k.map(&f),
                v: v.map(&f),
                output: output.map(&f),
                shift: shift.iter().map(|model| model.map(&f)).into_vec(),
                diagonal: diagonal.iter().map(|model| model.map(&f)).into_vec(),
            },
            taps: self.taps,
            modes: self.modes,
        }
    }

    /// d, the number of channels.
    #[must_use]
    pub fn d_model(&self) -> usize {
        self.parts.shift.len()
    }

    /// `d_h`, channels a head.
    #[must_use]
    pub fn head_dim(&self) -> usize {
        self.parts.head_dim
    }

    /// H, the number of heads.
    #[must_use]
    pub fn n_heads(&self) -> usize {
        self.parts.diagonal.len()
    }

    /// The parts, to be read.
    #[must_use]
    pub fn parts(&self) -> &LayerParts<T> {
        &self.parts
    }

    /// The layer of these heads alone. Its projections have the rows of their channels: those of the input read
    /// all channels of that, and the last one all of `gated`, which
    /// [`Evaluate::all_gated`](super::Evaluate::all_gated) must know.
    pub(crate) fn of_heads(&self, heads: &[usize]) -> Self {
        let (parts, d_h) = (&self.parts, self.parts.head_dim);
        let channels: Vec<usize> = HeadOrder::HD2.channels(heads, self.n_heads(), d_h);
        let gated = parts.head_order.channels(heads, self.n_heads(), d_h);
        Self {
            parts: LayerParts {
                head_dim: d_h,
                l_max: parts.l_max,
                head_order: parts.head_order,
                q: parts.q.of_rows(&channels),
                k: parts.k.of_rows(&channels),
                v: parts.v.of_rows(&channels),
                output: parts.output.of_rows(&gated),
                shift: channels.iter().map(|&c| parts.shift[c].clone()).into_vec(),
                diagonal: heads.iter().map(|&h| parts.diagonal[h].clone()).into_vec(),
            },
            ..*self
        }
    }

    /// The layer with zeros as its last projection, for its states alone, which may be those of some heads.
    pub(crate) fn without_output(&self) -> Self {
        let mut layer = self.clone();
        layer.parts.output = Linear::zeros(self.d_model(), self.d_model());
        layer
    }

    /// The channels of the layer's input.
    pub(crate) fn input_channels(&self) -> usize {
        self.parts.q.weight.cols()
    }

    /// The parts, taken out.
    pub(crate) fn into_parts(self) -> LayerParts<T> {
        self.parts
    }

    /// The shift models' kernels without `ssm_k_D`, (d, min(len, l_max)).
    #[must_use]
    pub fn shift_kernel(&self, len: usize) -> Tensor<T> {
        stack(&self.parts.shift, self.window(len), &StateSpace::kernel)
    }

    /// The diagonal models' kernels without `D`, (H, min(len, l_max)).
    #[must_use]
    pub fn ssm_kernel(&self, len: usize) -> Tensor<T> {
        stack(&self.parts.diagonal, self.window(len), &StateSpace::kernel)
    }

    /// The kernel length for an input of `len`.
    pub(crate) fn window(&self, len: usize) -> usize {
        self.parts.l_max.map_or(len, |l_max| l_max.min(len))
    }

    /// The state before any input, for a batch.
    #[must_use]
    pub fn zero_state(&self, batch: usize) -> LayerState<T> {
        LayerState {
            shift: Tensor::filled(self.shift_state_shape(batch), T::ZERO),
            diagonal: Tensor::filled(self.diagonal_state_shape(batch), T::Complex::ZERO),
            position: 0,
        }
    }

    pub(crate) fn shift_state_shape(&self, batch: usize) -> [usize; 3] {
        [batch, self.d_model(), self.taps]
    }

    pub(crate) fn diagonal_state_shape(&self, batch: usize) -> [usize; 5] {
        let d_h = self.head_dim();
        [batch, d_h, d_h, self.n_heads(), self.modes]
    }

    /// Refuses a state that is not one of this layer for this batch.
    pub(crate) fn check_state(&self, state: &LayerState<T>, batch: usize) -> Result<(), Error> {
        state
            .shift
            .check_shape("state of the shift models", &self.shift_state_shape(batch))?;
        state.diagonal.check_shape(
            "state of the diagonal models",
            &self.diagonal_state_shape(batch),
        )
    }

    /// The channel of `gated` in which head `h`, value channel `d2` lands.
    pub(crate) fn gated_channel(&self, h: usize, d2: usize) -> usize {
        let order = self.parts.head_order;
        order.channel((h, d2), self.n_heads(), self.head_dim())
    }
}

/// The kernels of `len` taps of models, one per row.
pub(super) fn stack<S: StateSpace>(
    models: &[S],
    len: usize,
    kernel: &dyn Fn(&S, usize) -> Vec<S::Scalar>,
) -> Tensor<S::Scalar> {
    let rows: Vec<_> = models.iter().map(|model| kernel(model, len)).into_vec();
    Tensor::known([models.len(), len], rows.concat())
}

/// The state of a layer between two inputs: all it remembers.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerState<T: Scalar> {
    /// The shift models' states (batch, d, m): `final_state_k` in files.
    pub shift: Tensor<T>,
    /// The diagonal models' states (batch, d1, d2, H, m/2): `final_state` in files.
    pub diagonal: Tensor<T::Complex>,
    /// Number of inputs that came before; a layer with `l_max` needs it.
    pub position: usize,
}

impl<T: Scalar> LayerState<T> {
    /// The same state in other scalars: every number replaced by its image, complex numbers part
    /// by part.
    #[must_use]
    pub fn map<U: Scalar>(&self, f: impl Fn(T) -> U) -> LayerState<U> {
        LayerState {
            shift: self.shift.map(&f),
            diagonal: self
                .diagonal
                .map(|z| U::Complex::from_parts(f(z.re()), f(z.im()))),
            position: self.position,
        }
    }

    /// The states of these heads alone.
    pub(crate) fn of_heads(&self, heads: &[usize]) -> Self {
        let &[batch, d_h, _, of, modes] = self.diagonal.shape() else {
            return self.clone();
        };
        let channels = HeadOrder::HD2.channels(heads, of, d_h);
        let taps = self.shift.shape()[2];
        let keys = (0..batch).flat_map(|b| channels.iter().map(move |c| b * of * d_h + c));
        let pairs =
            (0..batch * d_h * d_h).flat_map(|pair| heads.iter().map(move |h| pair * of + h));
        let keys: Vec<&[T]> = keys.map(|row| self.shift.row(row)).into_vec();
        let pairs: Vec<&[T::Complex]> = pairs.map(|row| self.diagonal.row(row)).into_vec();
        Self {
            shift: Tensor::known([batch, channels.len(), taps], keys.concat()),
            diagonal: Tensor::known([batch, d_h, d_h, heads.len(), modes], pairs.concat()),
            position: self.position,
        }
    }

    /// The diagonal models' states in the layout of files, (batch d1 d2, H, m/2, 2): real and
    /// imaginary parts as the last axis.
    #[must_use]
    pub fn flat_diagonal(&self) -> Tensor<T> {
        let shape = self.diagonal.shape();
        let parts = real_and_imaginary(self.diagonal.data());
        let flat = [shape[0] * shape[1] * shape[2], shape[3], shape[4], 2];
        Tensor::known(flat, parts)
    }
}
