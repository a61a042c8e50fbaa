//! The stages of the forward pass, by name and as arrays.

use super::layer::{Layer, LayerState};
use crate::algebra::Scalar;
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// A stage of the forward pass, in the order of computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Q,
    K,
    V,
    ShiftKernel,
    ShiftK,
    Kv,
    SsmKernel,
    SsmOut,
    Gated,
    Output,
    FinalStateK,
    FinalState,
}

impl Stage {
    /// The name in files.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
            Self::ShiftKernel => "shift_kernel",
            Self::ShiftK => "shift_k",
            Self::Kv => "kv",
            Self::SsmKernel => "ssm_kernel",
            Self::SsmOut => "ssm_out",
            Self::Gated => "gated",
            Self::Output => "output",
            Self::FinalStateK => "final_state_k",
            Self::FinalState => "final_state",
        }
    }
}

/// The stages that the layer computed, under their names in files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stages<T: Scalar> {
    /// `W_q u + b_q` (batch, d, seq_len).
    pub q: Tensor<T>,
    /// `W_k u + b_k` (batch, d, seq_len).
    pub k: Tensor<T>,
    /// `W_v u + b_v` (batch, d, seq_len).
    pub v: Tensor<T>,
    /// The shift models' kernels without `ssm_k_D`, (d, min(seq_len, `l_max`)).
    pub shift_kernel: Tensor<T>,
    /// The shift model of k, with `ssm_k_D k` (batch, d, seq_len).
    pub shift_k: Tensor<T>,
    /// `shift_k v` (batch, d1, d2, H, seq_len).
    pub kv: Tensor<T>,
    /// The diagonal models' kernels without `D`, (H, min(seq_len, `l_max`)).
    pub ssm_kernel: Tensor<T>,
    /// The diagonal model of kv, with `D kv` (batch, d1, d2, H, seq_len). The attention form does
    /// not compute it.
    pub ssm_out: Option<Tensor<T>>,
    /// `sum_d1 q ssm_out` (batch, seq_len, d), channels in the layer's head order.
    pub gated: Tensor<T>,
    /// `W_o gated + b_o` (batch, seq_len, d).
    pub output: Tensor<T>,
    /// The state after the last input. It is the state of the full recurrence even if `l_max`
    /// truncates the kernels, as in the official `forward_state`.
    pub state: LayerState<T>,
}

impl<T: Scalar> Stages<T> {
    /// No stage yet, from the state before the first input.
    pub(super) fn from_state(state: &LayerState<T>) -> Self {
        let none = || Tensor::filled([0], T::ZERO);
        Self {
            q: none(),
            k: none(),
            v: none(),
            shift_kernel: none(),
            shift_k: none(),
            kv: none(),
            ssm_kernel: none(),
            ssm_out: None,
            gated: none(),
            output: none(),
            state: state.clone(),
        }
    }

    /// The stages in the layout of files: name and array in the order of computation, with the
    /// diagonal models' states as [`LayerState::flat_diagonal`].
    #[must_use]
    pub fn named(self) -> Vec<(&'static str, Tensor<T>)> {
        let flat = self.state.flat_diagonal();
        let mut named = vec![
            (Stage::Q.name(), self.q),
            (Stage::K.name(), self.k),
            (Stage::V.name(), self.v),
            (Stage::ShiftKernel.name(), self.shift_kernel),
            (Stage::ShiftK.name(), self.shift_k),
            (Stage::Kv.name(), self.kv),
            (Stage::SsmKernel.name(), self.ssm_kernel),
        ];
        named.extend(self.ssm_out.map(|ssm_out| (Stage::SsmOut.name(), ssm_out)));
        named.extend([
            (Stage::Gated.name(), self.gated),
            (Stage::Output.name(), self.output),
            (Stage::FinalStateK.name(), self.state.shift),
            (Stage::FinalState.name(), flat),
        ]);
        named
    }
}

// By hand, since a derive would not ask for the comparison of complex companions.
impl<T> PartialEq for Stages<T>
where
    T: Scalar + PartialEq,
    T::Complex: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        // Taken apart, so that a stage added later cannot be forgotten here.
        let Self {
            q,
            k,
            v,
            shift_kernel,
            shift_k,
            kv,
            ssm_kernel,
            ssm_out,
            gated,
            output,
            state,
        } = self;
        [
            q,
            k,
            v,
            shift_kernel,
            shift_k,
            kv,
            ssm_kernel,
            gated,
            output,
        ] == [
            &other.q,
            &other.k,
            &other.v,
            &other.shift_kernel,
            &other.shift_k,
            &other.kv,
            &other.ssm_kernel,
            &other.gated,
            &other.output,
        ] && *ssm_out == other.ssm_out
            && *state == other.state
    }
}

/// A layer in the middle of a run: what it is run on, and the stages computed so far. Those that
/// are still to come are empty.
pub(crate) struct Progress<'a, T: Scalar> {
    pub(crate) layer: &'a Layer<T>,
    /// The layer's input (batch, seq_len, d).
    pub(crate) input: &'a Tensor<T>,
    /// The ranges of its documents.
    pub(crate) documents: &'a Documents,
    /// The state before the first input.
    pub(crate) initial: &'a LayerState<T>,
    pub(crate) stages: Stages<T>,
    pub(crate) sizes: Sizes,
}

/// The sizes every stage needs.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) len: usize,
    pub(crate) d: usize,
    pub(crate) d_h: usize,
    pub(crate) heads: usize,
}

impl Sizes {
    /// The row of a (batch, d, seq_len) stage.
    pub(crate) fn channel(self, b: usize, channel: usize) -> usize {
        b * self.d + channel
    }

    /// The row of a (batch, d1, d2, H, seq_len) stage.
    pub(crate) fn pair(self, b: usize, d1: usize, d2: usize, h: usize) -> usize {
        ((b * self.d_h + d1) * self.d_h + d2) * self.heads + h
    }

    /// All (d1, d2, h).
    pub(crate) fn pairs(self) -> impl Iterator<Item = (usize, usize, usize)> {
        let Self { d_h, heads, .. } = self;
        (0..d_h)
            .flat_map(move |d1| (0..d_h).flat_map(move |d2| (0..heads).map(move |h| (d1, d2, h))))
    }
}
