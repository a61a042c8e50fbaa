//! What official decoders do wrong, made of the stages that a run has computed.

use super::super::graph::Moment;
use super::case::{
    LOG_POLES, Operator, POLES, RESIDUES, SHORT, SHORT_BIAS, SKIP, StripedHyenaCase, TAPS,
};
use crate::tensor::Tensor;
use num_complex::Complex;

type At<'a> = Moment<'a, StripedHyenaCase>;

/// The modes of a channel: poles and residues.
fn modes(case: &StripedHyenaCase, channel: usize) -> Vec<[Complex<f64>; 2]> {
    let group = case.group(channel);
    let of = |name: &str| case.inputs.get(name).map(|x| (x.data(), x.shape()[1]));
    let (Some((residues, state)), poles) = (of(RESIDUES), of(POLES)) else {
        return Vec::new();
    };
    let modes = group * state..(group + 1) * state;
    match (poles, of(LOG_POLES)) {
        (Some((poles, _)), _) => modes
            .map(|n| [poles, residues].map(|x| Complex::new(x[2 * n], x[2 * n + 1])))
            .collect(),
        (None, Some((logarithms, _))) => modes
            .map(|n| [logarithms[n].exp(), residues[n]].map(Complex::from))
            .collect(),
        (None, None) => Vec::new(),
    }
}

/// The inputs of the inner filter, of a row (sequence, channel).
fn inner_input(moment: &At<'_>, row: usize, gate: &str) -> Option<Vec<f64>> {
    let (x, v) = (moment.stage(gate)?, moment.stage("v")?);
    let pairs = x.row(row).iter().zip(v.row(row));
    Some(pairs.map(|(x, v)| x * v).collect())
}

/// The feedthrough of a channel.
fn skip(case: &StripedHyenaCase, channel: usize) -> f64 {
    case.inputs.get(SKIP).map_or(0.0, |d| d.data()[channel])
}

/// vortex `step_fir` with fewer inputs behind it than the filter has taps: the oldest taps where the
/// newest are meant, from token `prompt` on until the window is full.
fn oldest_taps(row: &mut [f64], u: &[f64], taps: &[f64], prompt: usize) {
    for t in prompt.max(1)..row.len().min(taps.len() - 1) {
        row[t] = taps.iter().zip(u).take(t + 1).map(|(w, u)| w * u).sum();
    }
}

/// The short filter after a prompt of this many tokens.
fn short_after(stage: &mut Tensor<f64>, moment: &At<'_>, prompt: usize) {
    let inputs = &moment.case.inputs;
    let (Some(taps), Some(raw)) = (inputs.get(SHORT), moment.stage("projected")) else {
        return;
    };
    if moment.case.operator == Operator::Sh1 {
        return;
    }
    let ([batch, len, d], count) = (moment.case.sizes(), taps.shape()[2]);
    for b in 0..batch {
        for c in 0..3 * d {
            let u: Vec<f64> = (0..len).map(|t| raw.row(b * len + t)[c]).collect();
            let taps = &taps.data()[c * count..(c + 1) * count];
            oldest_taps(stage.row_mut(b * 3 * d + c), &u, taps, prompt);
        }
    }
}

/// The inner filter of hcs after a prompt of this many tokens.
fn inner_after(stage: &mut Tensor<f64>, moment: &At<'_>, prompt: usize) {
    let (case, [batch, _, d]) = (moment.case, moment.case.sizes());
    let Some(taps) = case
        .inputs
        .get(TAPS)
        .filter(|_| case.operator == Operator::Hcs)
    else {
        return;
    };
    let count = taps.shape()[2];
    for row in 0..batch * d {
        let first = case.group(row % d) * count;
        if let Some(u) = inner_input(moment, row, "x1") {
            oldest_taps(
                stage.row_mut(row),
                &u,
                &taps.data()[first..first + count],
                prompt,
            );
        }
    }
}

/// The short filter after a prompt of one token.
pub(super) fn short_after_one(stage: &mut Tensor<f64>, moment: &At<'_>) {
    short_after(stage, moment, 1);
}

/// The inner filter after a prompt of one token.
pub(super) fn inner_after_one(stage: &mut Tensor<f64>, moment: &At<'_>) {
    inner_after(stage, moment, 1);
}

/// The inner filter after a prompt of as many tokens as the run's chunk length.
pub(super) fn inner_after_prompt(stage: &mut Tensor<f64>, moment: &At<'_>) {
    inner_after(stage, moment, moment.prompt);
}

/// stripedhyena `step_fir` with a cache of one column, which is broadcast against the older taps and
/// never grows.
pub(super) fn one_column(stage: &mut Tensor<f64>, moment: &At<'_>) {
    let (case, [batch, len, d]) = (moment.case, moment.case.sizes());
    let (Some(taps), Some(raw)) = (case.inputs.get(SHORT), moment.stage("projected")) else {
        return;
    };
    if case.operator != Operator::Sh1 {
        return;
    }
    let count = taps.shape()[2];
    for b in 0..batch {
        for c in 0..3 * d {
            let taps = &taps.data()[c * count..(c + 1) * count];
            let older: f64 = taps[..count - 1].iter().sum();
            let bias = case.inputs.get(SHORT_BIAS).map_or(0.0, |x| x.data()[c]);
            let row = stage.row_mut(b * 3 * d + c);
            for t in 1..len {
                let u = |t: usize| raw.row(b * len + t)[c];
                row[t] = taps[count - 1] * u(t) + older * u(t - 1) + bias;
            }
        }
    }
}

/// One step of the official recurrence: the imaginary part updated with the new real part.
fn wrong_step(x: &mut Complex<f64>, pole: Complex<f64>, u: f64) {
    x.re = pole.re * x.re - pole.im * x.im + u;
    x.im = pole.re * x.im + pole.im * x.re;
}

fn right_step(x: &mut Complex<f64>, pole: Complex<f64>, u: f64) {
    *x = pole * *x + u;
}

/// A step of a mode.
type Step = fn(&mut Complex<f64>, Complex<f64>, f64);

/// What is read of a mode's state, given its residue.
type Read = fn(Complex<f64>, Complex<f64>) -> f64;

fn real_part(residue: Complex<f64>, x: Complex<f64>) -> f64 {
    (residue * x).re
}

fn product_of_real_parts(residue: Complex<f64>, x: Complex<f64>) -> f64 {
    residue.re * x.re
}

/// The inner filter of complex modes step by step.
fn by_steps(stage: &mut Tensor<f64>, moment: &At<'_>, step: Step, read: Read) {
    let (case, [_, _, d]) = (moment.case, moment.case.sizes());
    if case.operator != Operator::Sh1 {
        return;
    }
    for row in 0..stage.shape()[0] * d {
        let Some(u) = inner_input(moment, row, "x1") else {
            return;
        };
        let modes = modes(case, row % d);
        let mut state = vec![Complex::new(0.0, 0.0); modes.len()];
        for (y, u) in stage.row_mut(row).iter_mut().zip(u) {
            *y = skip(case, row % d) * u;
            for ([pole, residue], x) in modes.iter().zip(&mut state) {
                step(x, *pole, u);
                *y += read(*residue, *x);
            }
        }
    }
}

pub(super) fn wrong_prefill(stage: &mut Tensor<f64>, moment: &At<'_>) {
    by_steps(stage, moment, wrong_step, real_part);
}

pub(super) fn wrong_read(stage: &mut Tensor<f64>, moment: &At<'_>) {
    by_steps(stage, moment, right_step, product_of_real_parts);
}

pub(super) fn wrong_prefill_and_read(stage: &mut Tensor<f64>, moment: &At<'_>) {
    by_steps(stage, moment, wrong_step, product_of_real_parts);
}

/// The states of modes after the last input.
fn states(
    stage: &mut Tensor<f64>,
    moment: &At<'_>,
    gate: &str,
    state: impl Fn(&[Complex<f64>; 2], &[f64]) -> Complex<f64>,
) {
    let (case, [batch, _, d]) = (moment.case, moment.case.sizes());
    let mut places = stage.data_mut().iter_mut();
    for row in 0..batch * d {
        let Some(u) = inner_input(moment, row, gate) else {
            return;
        };
        for mode in modes(case, row % d) {
            let x = state(&mode, &u);
            let parts = [x.re, x.im];
            let kept = if case.operator == Operator::Sh1 { 2 } else { 1 };
            for (place, part) in places.by_ref().take(kept).zip(parts) {
                *place = part;
            }
        }
    }
}

fn last_state(pole: Complex<f64>, u: &[f64], step: Step) -> Complex<f64> {
    let mut x = Complex::new(0.0, 0.0);
    u.iter().for_each(|&u| step(&mut x, pole, u));
    x
}

pub(super) fn wrong_state(stage: &mut Tensor<f64>, moment: &At<'_>) {
    if moment.case.operator == Operator::Sh1 {
        states(stage, moment, "x1", |[pole, _], u| {
            last_state(*pole, u, wrong_step)
        });
    }
}

/// States that the residues are applied to.
pub(super) fn state_times_residue(stage: &mut Tensor<f64>, moment: &At<'_>) {
    states(stage, moment, "x1", |[pole, residue], u| {
        residue * last_state(*pole, u, right_step)
    });
}

/// States without the last input.
pub(super) fn state_one_token_early(stage: &mut Tensor<f64>, moment: &At<'_>) {
    states(stage, moment, "x1", |[pole, _], u| {
        let before = &u[..u.len().saturating_sub(1)];
        last_state(*pole, before, right_step)
    });
}

/// States of x2 v.
pub(super) fn state_of_x2(stage: &mut Tensor<f64>, moment: &At<'_>) {
    states(stage, moment, "x2", |[pole, _], u| {
        last_state(*pole, u, right_step)
    });
}

/// The inner window of x2 v.
pub(super) fn window_of_x2(stage: &mut Tensor<f64>, moment: &At<'_>) {
    for row in 0..stage.shape()[0] * stage.shape()[1] {
        if let Some(u) = inner_input(moment, row, "x2") {
            let place = stage.row_mut(row);
            let first = u.len() - place.len();
            place.copy_from_slice(&u[first..]);
        }
    }
}

/// The window of the projections behind the short filter.
pub(super) fn window_of_short(stage: &mut Tensor<f64>, moment: &At<'_>) {
    let Some(short) = moment.stage("short") else {
        return;
    };
    for row in 0..stage.shape()[0] * stage.shape()[1] {
        let (place, short) = (stage.row_mut(row), short.row(row));
        let first = short.len() - place.len();
        place.copy_from_slice(&short[first..]);
    }
}

/// The short filter's window not emptied between sequences.
pub(super) fn window_kept(stage: &mut Tensor<f64>, moment: &At<'_>) {
    let (case, [batch, len, d]) = (moment.case, moment.case.sizes());
    let (Some(taps), Some(raw)) = (case.inputs.get(SHORT), moment.stage("projected")) else {
        return;
    };
    let count = taps.shape()[2];
    for b in 1..batch {
        for c in 0..3 * d {
            let taps = &taps.data()[c * count..(c + 1) * count];
            let row = stage.row_mut(b * 3 * d + c);
            for (t, y) in row.iter_mut().enumerate().take(count - 1) {
                for (j, w) in taps.iter().enumerate().take(count - 1 - t) {
                    // Input t - (count - 1) + j, before the sequence.
                    if let Some(at) = (len + t + j).checked_sub(count - 1) {
                        *y += w * raw.row((b - 1) * len + at)[c];
                    }
                }
            }
        }
    }
}

/// The modes' states not emptied between sequences.
pub(super) fn modes_kept(stage: &mut Tensor<f64>, moment: &At<'_>) {
    let (case, [batch, _, d]) = (moment.case, moment.case.sizes());
    for row in d..batch * d {
        let Some(before) = inner_input(moment, row - d, "x1") else {
            return;
        };
        for [pole, residue] in modes(case, row % d) {
            let mut x = last_state(pole, &before, right_step);
            for y in stage.row_mut(row) {
                x *= pole;
                *y += (residue * x).re;
            }
        }
    }
}
