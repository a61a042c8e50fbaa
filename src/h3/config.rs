//! The configuration of a layer: everything besides its tensors.

use super::form::Form;
use crate::error::Error;
use crate::spelled::spelled;
use crate::ssm::Discretization;

/// The encoding of the real part of lambda in the stored `inv_A_real` (`ss_kernel_diag.py`, `_A`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RealType {
    /// `-inv_A_real`
    None,
    /// `-exp(inv_A_real)`, the official default.
    Exp,
    /// `-relu(inv_A_real) - 1e-4`
    Relu,
    /// `-sigmoid(inv_A_real)`
    Sigmoid,
    /// `-softplus(inv_A_real)`; as in PyTorch, the identity above 20.
    Softplus,
}

/// The order in which the channels of `gated` enter `output_linear` if `head_dim > 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HeadOrder {
    /// Channel `d2 * H + h`: the official CPU forward pass and `step()`.
    #[default]
    D2H,
    /// Channel `h * head_dim + d2`: the official fused kernel and its reference.
    HD2,
}

impl HeadOrder {
    /// The channel of `gated` in which head `h`, value channel `d2` lands, of so many heads of so many
    /// channels.
    pub(crate) fn channel(self, (h, d2): (usize, usize), heads: usize, head_dim: usize) -> usize {
        match self {
            Self::D2H => d2 * heads + h,
            Self::HD2 => h * head_dim + d2,
        }
    }

    /// The channels of `gated` that belong to some heads, in the order in which a layer of these heads
    /// alone has them.
    pub(crate) fn channels(self, heads: &[usize], of: usize, head_dim: usize) -> Vec<usize> {
        let mut channels = vec![0; heads.len() * head_dim];
        for (place, &h) in heads.iter().enumerate() {
            for d2 in 0..head_dim {
                let own = self.channel((place, d2), heads.len(), head_dim);
                channels[own] = self.channel((h, d2), of, head_dim);
            }
        }
        channels
    }
}

/// The sizes and choices of an H3 layer.
///
/// Checked as a whole when [`Parameters`](super::Parameters) are created from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// d: the number of channels.
    pub d_model: usize,
    /// `d_h`: channels a head; divides `d_model`.
    pub head_dim: usize,
    /// m: shift taps per channel; a diagonal model stores `m / 2` (rounded down) complex modes.
    pub d_state: usize,
    /// Number of diagonal models; divides the number of heads. Head `h` uses model `h mod n_ssm`.
    pub n_ssm: usize,
    /// Discretization of the diagonal models.
    pub disc: Discretization,
    /// Encoding of the real part of lambda.
    pub real_type: RealType,
    /// Kernels are cut to this length; `None`: as long as the input.
    pub l_max: Option<usize>,
    /// The order of channels between the heads and the output projection.
    pub head_order: HeadOrder,
}

impl Config {
    /// H: the number of heads, `d_model / head_dim`.
    #[must_use]
    pub fn n_heads(&self) -> usize {
        self.d_model.checked_div(self.head_dim).unwrap_or(0)
    }

    /// The complex modes a diagonal model stores, `d_state / 2`.
    #[must_use]
    pub fn n_modes(&self) -> usize {
        self.d_state / 2
    }

    /// The default form for `seq_len` inputs: the recurrence, which keeps exact zeros exact; or the
    /// convolution if `l_max` truncates the kernels.
    #[must_use]
    pub fn default_form(&self, seq_len: usize) -> Form {
        match self.l_max {
            Some(l_max) if l_max < seq_len => Form::Convolution,
            _ => Form::Recurrence,
        }
    }

    /// Refuses sizes that no layer has.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (what, size) in [
            ("d_model", self.d_model),
            ("head_dim", self.head_dim),
            ("d_state", self.d_state),
            ("n_ssm", self.n_ssm),
            ("l_max", self.l_max.unwrap_or(1)),
        ] {
            if size == 0 {
                return Err(Error::value(what, "0; expected at least 1"));
            }
        }
        if !self.d_model.is_multiple_of(self.head_dim) {
            return Err(Error::value(
                "head_dim",
                format!(
                    "{} does not divide d_model = {}",
                    self.head_dim, self.d_model
                ),
            ));
        }
        if !self.n_heads().is_multiple_of(self.n_ssm) {
            return Err(Error::value(
                "n_ssm",
                format!(
                    "{} does not divide the number of heads, {}",
                    self.n_ssm,
                    self.n_heads()
                ),
            ));
        }
        Ok(())
    }
}

spelled!(RealType, "real_type",
    None => "none",
    Exp => "exp",
    Relu => "relu",
    Sigmoid => "sigmoid",
    Softplus => "softplus",
);
spelled!(HeadOrder, "head_order",
    D2H => "d2h",
    HD2 => "hd2",
);
