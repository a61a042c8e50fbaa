//! The Mamba-2 layers of the golden suite, made from a seed.

use super::super::round_to_16_bits::round_to_16_bits;
use super::case::Mamba2Case;
use crate::algebra::Rng;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::mamba::{GatedNorm, Mamba2Config, Mamba2Name, Mamba2Parameters};
use crate::oracle::sequence::Sequence;
use crate::oracle::subject::SuiteRow;
use crate::tensor::Tensor;

/// The layer with steps at the limits.
const NEAR_LIMITS: &str = "85b-mamba2-near-limits";

/// The steps of its heads before softplus, but for the last one, which depends on the token: just above
/// the lower limit, just above the threshold, just below the upper limit.
const STEPS: [f64; 3] = [-0.5, 20.0 + 1.0 / 1_048_576.0, 21.3];

/// The Mamba-2 layers of the suite, in order.
pub(crate) fn suite() -> Vec<SuiteRow<Mamba2Case>> {
    let norm = |groups, before_gate| {
        Some(GatedNorm {
            groups,
            eps: 1e-5,
            before_gate,
        })
    };
    let config = |norm, d_mlp| Mamba2Config {
        d_model: 6,
        heads: 4,
        head_dim: 2,
        groups: 2,
        d_state: 3,
        d_conv: 4,
        d_mlp,
        norm,
        dt_limit: (0.125, 1.25),
        d_has_hdim: false,
        bias: [false, true, false],
    };
    // Within rounding in float32 of the step of head 0, which is softplus(-1/2), and of that of head 2.
    let near_limits = Mamba2Config {
        dt_limit: (0.474_076_98, 21.300_001),
        d_has_hdim: true,
        ..config(norm(2, false), 0)
    };
    let whole = |_: usize| Sequence::Whole;
    let packed = |len: usize| Sequence::Packed(vec![0, 4, 5, len]);
    type Rows = fn(usize) -> Sequence;
    let rows: [(&'static str, &'static str, Mamba2Config, usize, Rows); 3] = [
        (
            "84-mamba2",
            "a Mamba-2 layer: two groups for four heads, dt_limit at both ends, steps after the sequence",
            config(norm(2, false), 0),
            2,
            whole,
        ),
        (
            "85-mamba2-packed",
            "a Mamba-2 layer with its MLP half and the norm before the gate: three documents in a row",
            config(norm(2, true), 2),
            1,
            packed,
        ),
        (
            NEAR_LIMITS,
            "a Mamba-2 layer with D per channel, whose steps float32 cannot tell from dt_limit, or softplus from its identity",
            near_limits,
            2,
            whole,
        ),
    ];
    rows.map(|(name, stresses, config, batch, rows)| {
        SuiteRow::new(name, stresses, move |seed| {
            build(name, config.clone(), batch, rows, seed)
        })
    })
    .into()
}

/// The case made from a seed: the same on every machine. F16 and BF16 hold every number.
fn build(
    name: &str,
    config: Mamba2Config,
    batch: usize,
    rows: fn(usize) -> Sequence,
    seed: u64,
) -> Result<Mamba2Case, Error> {
    let rng = &mut Rng::named(seed, name);
    let mut draw = |count: usize, size: f64, offset: f64| -> Vec<f64> {
        let number = |_| round_to_16_bits(offset + size * rng.unit());
        (0..count).map(number).into_vec()
    };
    let (len, d) = (13, config.d_model);
    let mut parameters = Mamba2Parameters::new(config.clone(), |name, shape| {
        let (size, offset) = match name {
            Mamba2Name::InWeight => (1.0, 0.0),
            Mamba2Name::OutWeight | Mamba2Name::ConvWeight => (0.75, 0.0),
            Mamba2Name::NormWeight => (0.5, 1.0),
            // Steps from below the lower limit to above the upper.
            Mamba2Name::DtBias => (0.5, -0.25),
            Mamba2Name::ALog => (0.75, 0.0),
            _ => (0.5, 0.25),
        };
        Ok(draw(shape.iter().product(), size, offset))
    })?;
    if name == NEAR_LIMITS {
        let first = config.columns()[4].start * d;
        let weight = parameters.get_mut(Mamba2Name::InWeight);
        weight[first..first + STEPS.len() * d].fill(0.0);
        parameters.get_mut(Mamba2Name::DtBias)[..STEPS.len()].copy_from_slice(&STEPS);
        // Else of states as they were a step of 20 ago nothing is left.
        parameters.get_mut(Mamba2Name::ALog)[1..STEPS.len()].fill(-6.0);
    }
    let input = Tensor::new([batch, len, d], draw(batch * len * d, 1.0, 0.0))?;
    let sequence = rows(len);
    let is_whole = sequence == Sequence::Whole;
    let steps = Tensor::new([batch, 3, d], draw(batch * 3 * d, 1.0, 0.0))?;
    let g = Tensor::new([batch, len, d], draw(batch * len * d, 1.0, 0.0))?;
    let states = [batch, config.heads, config.head_dim, config.d_state];
    let g_ssm = draw(states.iter().product(), 1.0, 0.0);
    Ok(Mamba2Case {
        parameters,
        input,
        steps: is_whole.then_some(steps),
        initial: None,
        g: Some(g),
        g_states: match is_whole {
            true => [None, Some(Tensor::new(states, g_ssm)?)],
            false => [None, None],
        },
        sequence,
    })
}
