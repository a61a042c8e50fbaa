//! An H3 operator's case.

use super::super::graph::Inputs;
use crate::h3::HeadOrder;
use crate::oracle::stage::Axis;

/// The heart of an H3 layer, without its projections and without the models its kernels come from.
///
/// Files hold `k`, `q`, `v` (batch, d, seq_len), `ssm_kernel` (heads, any length), `D` (heads) and, where
/// keys are shifted, `shift_kernel` (d, any length) and `ssm_k_D` (d); the cotangent `g` of `gated`;
/// metadata `kind` = `h3-operator`; and where documents or padding lie in the rows. Of kernels nothing beyond the sequence is read. Channel
/// `h head_dim + i` of the four is that of head `h`; `head_order` = `d2h` lays `gated` out as channel
/// `i heads + h`, as the layer's plain path does.
///
/// Its stages are `shift_k` (batch, d, seq_len), `kv` and `ssm_out` (batch, d1, d2, heads, seq_len) and
/// `gated` (batch, d, seq_len).
#[derive(Clone, Debug)]
pub(crate) struct H3OperatorCase {
    pub(super) inputs: Inputs,
    pub(super) head_order: HeadOrder,
    /// The head channel that `q` is multiplied at.
    pub(super) query: Query,
    /// True if every kernel serves neighbouring pairs in place of every `heads`-th: a mistake.
    pub(super) heads_repeated: bool,
}

/// The head channel of `kv` at which `q` is read, and over which is summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Query {
    /// The key's, d1.
    Key,
    /// The value's, d2: a mistake.
    Value,
}

pub(super) const SIGNAL: [Axis; 3] = [Axis::Sequence, Axis::Channel, Axis::Time];

impl H3OperatorCase {
    pub(super) fn new(inputs: Inputs) -> Self {
        Self {
            inputs,
            head_order: HeadOrder::HD2,
            query: Query::Key,
            heads_repeated: false,
        }
    }

    /// Sequences, channels, tokens, heads.
    pub(super) fn sizes(&self) -> [usize; 4] {
        let shape = |name| self.inputs.get(name).map(|x| x.shape());
        match (shape("k"), shape("ssm_kernel")) {
            (Some(&[batch, d, len]), Some(&[heads, _])) => [batch, d, len, heads],
            _ => [0; 4],
        }
    }
}
