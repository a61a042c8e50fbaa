//! Everything that is not a state space model: names, projections, products, gates, heads.

use super::Mutant::{
    ContractWrongIndex, ElementwiseNotOuter, GateBeforeSsm, HeadOutPerm, HeadSplitPerm, MapSwapD,
    MapSwapKv, MapSwapQk, MapSwapQv, NoBias, NoBiasOutput, NoBiasQkv, NoFinalGate, NoOutProj,
    WeightTranspose,
};
use super::evaluate::Run;
use super::switches::Switches;
use crate::algebra::dot;
use crate::error::Error;
use crate::h3::{HeadOrder, Name, Parameters};
use crate::tensor::Tensor;

/// The parameters as a port with a wrong map of names loads them.
pub(super) fn load(p: &Parameters<f64>, on: Switches<'_>) -> Result<Parameters<f64>, Error> {
    use Name::{
        D, KBias, KWeight, OutputBias, OutputWeight, QBias, QWeight, ShiftD, VBias, VWeight,
    };
    let mut source = Name::ALL;
    for (mutant, exchanged) in [
        (MapSwapQk, [(QWeight, KWeight), (QBias, KBias)].as_slice()), // M33b
        (MapSwapQv, &[(QWeight, VWeight), (QBias, VBias)]),           // M33c
        (MapSwapKv, &[(KWeight, VWeight), (KBias, VBias)]),           // M33d
        (MapSwapD, &[(ShiftD, D)]),                                   // M33e
    ] {
        // Two skips of different shapes cannot be exchanged.
        let fits = mutant != MapSwapD || p.config().head_dim == 1;
        if on.on(mutant) && fits {
            for &(one, other) in exchanged {
                source.swap(one as usize, other as usize);
            }
        }
    }
    let d = p.config().d_model;
    Parameters::new(p.config().clone(), |name| {
        let mut values = p.get(source[name as usize]).to_vec();
        if on.on(WeightTranspose) && matches!(name, QWeight | KWeight | VWeight | OutputWeight) {
            // M33a
            let stored = values.clone();
            values = (0..d * d).map(|i| stored[i % d * d + i / d]).collect();
        }
        let unbiased = match name {
            QBias | KBias | VBias => on.any(&[NoBias, NoBiasQkv]),
            OutputBias => on.any(&[NoBias, NoBiasOutput]),
            _ => false,
        };
        if unbiased {
            values.fill(0.0); // M30
        }
        Ok(values)
    })
}

/// The layer's input as (batch, d, seq_len).
pub(super) fn by_channel(run: &Run<'_>) -> Tensor<f64> {
    let sizes = run.sizes;
    let mut channels = Tensor::filled([sizes.batch, sizes.d, sizes.len], 0.0);
    for b in 0..sizes.batch {
        for c in 0..sizes.d {
            let row = channels.row_mut(sizes.channel(b, c));
            for (i, place) in row.iter_mut().enumerate() {
                *place = run.input.row(b * sizes.len + i)[c];
            }
        }
    }
    channels
}

/// `W u + b` of `u` (batch, d, seq_len), of the same shape.
pub(super) fn project(run: &Run<'_>, u: &Tensor<f64>, weight: Name, bias: Name) -> Tensor<f64> {
    let sizes = run.sizes;
    let (w, bias) = (run.parameters.get(weight), run.parameters.get(bias));
    let mut projected = Tensor::filled(u.shape(), 0.0);
    for b in 0..sizes.batch {
        for c in 0..sizes.d {
            let row = projected.row_mut(sizes.channel(b, c));
            for (j, &w) in w[c * sizes.d..][..sizes.d].iter().enumerate() {
                for (place, &u) in row.iter_mut().zip(u.row(sizes.channel(b, j))) {
                    *place += w * u;
                }
            }
            row.iter_mut().for_each(|place| *place += bias[c]);
        }
    }
    projected
}

/// The row of a (batch, d, seq_len) array that is channel `j` of head `h`.
pub(super) fn head_row(run: &Run<'_>, b: usize, h: usize, j: usize) -> usize {
    let sizes = run.sizes;
    // M25: heads as the fast axis.
    let channel = if run.on.on(HeadSplitPerm) {
        j * sizes.heads + h
    } else {
        h * sizes.d_h + j
    };
    sizes.channel(b, channel)
}

/// `kv[d1, d2, h] = keys[h, d1] values[h, d2]`.
pub(super) fn outer(run: &Run<'_>, keys: &Tensor<f64>, values: &Tensor<f64>) -> Tensor<f64> {
    let sizes = run.sizes;
    let (d_h, heads) = (sizes.d_h, sizes.heads);
    let mut kv = Tensor::filled([sizes.batch, d_h, d_h, heads, sizes.len], 0.0);
    for (b, d1, d2, h) in sizes.all_pairs() {
        if run.on.on(ElementwiseNotOuter) && d1 != d2 {
            continue; // M28
        }
        let k = keys.row(head_row(run, b, h, d1));
        let v = values.row(head_row(run, b, h, d2));
        let row = kv.row_mut(sizes.pair(b, d1, d2, h));
        for ((kv, &k), &v) in row.iter_mut().zip(k).zip(v) {
            *kv = k * v;
        }
    }
    kv
}

/// `gated[h, d2] = sum_d1 q[h, d1] y[d1, d2, h]`, and beside the gate what should have been
/// before it: the skip (M36) and the carried part (M61).
pub(super) fn gate(
    run: &Run<'_>,
    q: &Tensor<f64>,
    ssm_out: &Tensor<f64>,
    ungated: &Tensor<f64>,
) -> Tensor<f64> {
    let (on, sizes) = (run.on, run.sizes);
    let mut gated = Tensor::filled([sizes.batch, sizes.len, sizes.d], 0.0);
    let order = match run.config.head_order {
        order if !on.on(HeadOutPerm) => order,
        HeadOrder::D2H => HeadOrder::HD2, // M24
        HeadOrder::HD2 => HeadOrder::D2H,
    };
    for (b, d1, d2, h) in sizes.all_pairs() {
        // M27: summed over d2, d1 kept.
        let (summed, kept) = if on.on(ContractWrongIndex) {
            (d2, d1)
        } else {
            (d1, d2)
        };
        let channel = match order {
            HeadOrder::D2H => kept * sizes.heads + h,
            HeadOrder::HD2 => h * sizes.d_h + kept,
        };
        let r = sizes.pair(b, d1, d2, h);
        let (y, beside) = (ssm_out.row(r), ungated.row(r));
        let q = q.row(head_row(run, b, h, summed));
        for i in 0..sizes.len {
            // M23: no gate. M22: it came before.
            let open = on.any(&[NoFinalGate, GateBeforeSsm]);
            let q = if open { 1.0 } else { q[i] };
            gated.row_mut(b * sizes.len + i)[channel] += q * y[i] + beside[i];
        }
    }
    gated
}

/// `W_o gated + b_o`.
pub(super) fn finish(run: &Run<'_>, gated: &Tensor<f64>) -> Tensor<f64> {
    if run.on.on(NoOutProj) {
        return gated.clone(); // M31
    }
    let d = run.sizes.d;
    let w = run.parameters.get(Name::OutputWeight);
    let bias = run.parameters.get(Name::OutputBias);
    let mut output = Tensor::filled(gated.shape(), 0.0);
    for r in 0..run.sizes.batch * run.sizes.len {
        let row = output.row_mut(r);
        for (c, place) in row.iter_mut().enumerate() {
            *place = dot(&w[c * d..][..d], gated.row(r)) + bias[c];
        }
    }
    output
}
