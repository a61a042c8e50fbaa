//! The mistakes of official decoders, made from the stages that a run has computed.

use super::super::graph::Moment;
use super::case::{
    LOG_POLES, Operator, POLES, RESIDUES, SHORT, SHORT_BIAS, SKIP, StripedHyenaCase, TAPS,
};
use crate::into_vec::IntoVec as _;
use crate::ssm::Documents;
use crate::tensor::Tensor;
use core::ops::Range;
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
            .into_vec(),
        (None, Some((logarithms, _))) => modes
            .map(|n| [logarithms[n].exp(), residues[n]].map(Complex::from))
            .into_vec(),
        (None, None) => Vec::new(),
    }
}

/// A channel of a document.
struct Place {
    /// The row of its signal among (sequence, channel).
    row: usize,
    sequence: usize,
    channel: usize,
    tokens: Range<usize>,
    /// The positions of padding behind its last token.
    padding: Range<usize>,
}

/// All of them in the order of states, (document, channel); of a state at a mark, up to there.
fn places(moment: &At<'_>, channels: usize) -> Vec<Place> {
    let (case, [batch, len, _]) = (moment.case, moment.case.sizes());
    let whole = Documents::whole(batch, len);
    let documents = case.inputs.documents().unwrap_or(&whole);
    let place = |(sequence, tokens): (usize, Range<usize>)| {
        let last = documents.row(sequence).last() == Some(&tokens);
        let end = moment.mark.unwrap_or(tokens.end);
        let padding = end..if last { len.max(end) } else { end };
        (0..channels).map(move |channel| Place {
            row: sequence * channels + channel,
            sequence,
            channel,
            tokens: tokens.start..end,
            padding: if moment.mark.is_some() {
                end..end
            } else {
                padding.clone()
            },
        })
    };
    documents.iter().flat_map(place).into_vec()
}

impl Place {
    /// The raw projections at positions of its row.
    fn raw(&self, moment: &At<'_>, at: Range<usize>) -> Option<Vec<f64>> {
        let (projected, [_, len, _]) = (moment.stage("projected")?, moment.case.sizes());
        let of = |t: usize| projected.row(self.sequence * len + t)[self.channel];
        Some(at.map(of).into_vec())
    }

    /// The inputs of the inner filter at positions of its row.
    fn inner(&self, moment: &At<'_>, gate: &str, at: Range<usize>) -> Option<Vec<f64>> {
        Some(inner_input(moment, self.row, gate)?[at].to_vec())
    }
}

/// The inputs of the inner filter, of a row (sequence, channel).
fn inner_input(moment: &At<'_>, row: usize, gate: &str) -> Option<Vec<f64>> {
    let (x, v) = (moment.stage(gate)?, moment.stage("v")?);
    let pairs = x.row(row).iter().zip(v.row(row));
    Some(pairs.map(|(x, v)| x * v).into_vec())
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
    let (case, [_, _, d]) = (moment.case, moment.case.sizes());
    let taps = case.inputs.get(SHORT);
    let Some(taps) = taps.filter(|_| case.operator != Operator::Sh1) else {
        return;
    };
    let count = taps.shape()[2];
    for at in places(moment, 3 * d) {
        let taps = &taps.data()[at.channel * count..(at.channel + 1) * count];
        if let Some(u) = at.raw(moment, at.tokens.clone()) {
            oldest_taps(&mut stage.row_mut(at.row)[at.tokens], &u, taps, prompt);
        }
    }
}

/// The inner filter of hcs after a prompt of this many tokens.
fn inner_after(stage: &mut Tensor<f64>, moment: &At<'_>, prompt: usize) {
    let (case, [_, _, d]) = (moment.case, moment.case.sizes());
    let taps = case.inputs.get(TAPS);
    let Some(taps) = taps.filter(|_| case.operator == Operator::Hcs) else {
        return;
    };
    let count = taps.shape()[2];
    for at in places(moment, d) {
        let first = case.group(at.channel) * count;
        let taps = &taps.data()[first..first + count];
        if let Some(u) = at.inner(moment, "x1", at.tokens.clone()) {
            oldest_taps(&mut stage.row_mut(at.row)[at.tokens], &u, taps, prompt);
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
    let (case, [_, _, d]) = (moment.case, moment.case.sizes());
    let taps = case.inputs.get(SHORT);
    let Some(taps) = taps.filter(|_| case.operator == Operator::Sh1) else {
        return;
    };
    let count = taps.shape()[2];
    for at in places(moment, 3 * d) {
        let Some(u) = at.raw(moment, at.tokens.clone()) else {
            return;
        };
        let taps = &taps.data()[at.channel * count..(at.channel + 1) * count];
        let older: f64 = taps[..count - 1].iter().sum();
        let bias = case.inputs.get(SHORT_BIAS);
        let bias = bias.map_or(0.0, |x| x.data()[at.channel]);
        let row = &mut stage.row_mut(at.row)[at.tokens];
        for t in 1..u.len() {
            row[t] = taps[count - 1] * u[t] + older * u[t - 1] + bias;
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

/// The output of a mode, given its residue and state.
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
    for at in places(moment, d) {
        let Some(u) = at.inner(moment, "x1", at.tokens.clone()) else {
            return;
        };
        let modes = modes(case, at.channel);
        let mut state = vec![Complex::new(0.0, 0.0); modes.len()];
        for (y, u) in stage.row_mut(at.row)[at.tokens].iter_mut().zip(u) {
            *y = skip(case, at.channel) * u;
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

/// The states of modes after the last input of every document, given its inputs and how much padding is
/// behind them.
fn states(
    stage: &mut Tensor<f64>,
    moment: &At<'_>,
    gate: &str,
    state: impl Fn(&[Complex<f64>; 2], &[f64], usize) -> Complex<f64>,
) {
    let (case, [_, _, d]) = (moment.case, moment.case.sizes());
    let mut numbers = stage.data_mut().iter_mut();
    for at in places(moment, d) {
        let Some(u) = at.inner(moment, gate, at.tokens.clone()) else {
            return;
        };
        for mode in modes(case, at.channel) {
            let x = state(&mode, &u, at.padding.len());
            let parts = [x.re, x.im];
            let kept = if case.operator == Operator::Sh1 { 2 } else { 1 };
            for (number, part) in numbers.by_ref().take(kept).zip(parts) {
                *number = part;
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
        states(stage, moment, "x1", |[pole, _], u, _| {
            last_state(*pole, u, wrong_step)
        });
    }
}

/// States that the residues are applied to.
pub(super) fn state_times_residue(stage: &mut Tensor<f64>, moment: &At<'_>) {
    states(stage, moment, "x1", |[pole, residue], u, _| {
        residue * last_state(*pole, u, right_step)
    });
}

/// States without the last input.
pub(super) fn state_one_token_early(stage: &mut Tensor<f64>, moment: &At<'_>) {
    states(stage, moment, "x1", |[pole, _], u, _| {
        let before = &u[..u.len().saturating_sub(1)];
        last_state(*pole, before, right_step)
    });
}

/// States of x2 v.
pub(super) fn state_of_x2(stage: &mut Tensor<f64>, moment: &At<'_>) {
    states(stage, moment, "x2", |[pole, _], u, _| {
        last_state(*pole, u, right_step)
    });
}

/// States after the padding behind the last token, which is zero there.
pub(super) fn state_after_padding(stage: &mut Tensor<f64>, moment: &At<'_>) {
    states(stage, moment, "x1", |[pole, _], u, padding| {
        let faded = pole.powu(u32::try_from(padding).unwrap_or(u32::MAX));
        faded * last_state(*pole, u, right_step)
    });
}

/// The windows of a state, oldest first, out of the whole of what each is the end of.
fn windows(stage: &mut Tensor<f64>, moment: &At<'_>, signal: impl Fn(&Place) -> Option<Vec<f64>>) {
    let (channels, len) = (stage.shape()[1], stage.shape()[2]);
    for (n, at) in places(moment, channels).iter().enumerate() {
        let Some(u) = signal(at) else { return };
        let window = stage.row_mut(n);
        window.fill(0.0);
        let count = len.min(u.len());
        window[len - count..].copy_from_slice(&u[u.len() - count..]);
    }
}

/// The inner window of x2 v.
pub(super) fn window_of_x2(stage: &mut Tensor<f64>, moment: &At<'_>) {
    windows(stage, moment, |at| {
        at.inner(moment, "x2", at.tokens.clone())
    });
}

/// The window of the projections behind the short filter.
pub(super) fn window_of_short(stage: &mut Tensor<f64>, moment: &At<'_>) {
    windows(stage, moment, |at| {
        let short = moment.stage("short")?;
        Some(short.row(at.row)[at.tokens.clone()].to_vec())
    });
}

/// The window of the projections at the end of a row, zero at padding.
pub(super) fn window_after_padding(stage: &mut Tensor<f64>, moment: &At<'_>) {
    windows(stage, moment, |at| {
        let mut u = at.raw(moment, at.tokens.clone())?;
        u.resize(u.len() + at.padding.len(), 0.0);
        Some(u)
    });
}

/// The inner window, likewise.
pub(super) fn inner_window_after_padding(stage: &mut Tensor<f64>, moment: &At<'_>) {
    windows(stage, moment, |at| {
        let mut u = at.inner(moment, "x1", at.tokens.clone())?;
        u.resize(u.len() + at.padding.len(), 0.0);
        Some(u)
    });
}

/// The window of the projections at the end of a row, its padding taken for tokens.
pub(super) fn window_of_padding(stage: &mut Tensor<f64>, moment: &At<'_>) {
    windows(stage, moment, |at| {
        at.raw(moment, at.tokens.start..at.padding.end)
    });
}

/// The inner window, likewise.
pub(super) fn inner_window_of_padding(stage: &mut Tensor<f64>, moment: &At<'_>) {
    windows(stage, moment, |at| {
        at.inner(moment, "x1", at.tokens.start..at.padding.end)
    });
}

/// Every document of a row with the state of the last one.
pub(super) fn of_the_last(stage: &mut Tensor<f64>, moment: &At<'_>) {
    let Some(documents) = moment.case.inputs.documents() else {
        return;
    };
    let each = stage.data().len() / documents.count();
    for (n, (row, _)) in documents.iter().enumerate() {
        let last = (documents.numbers(row).end - 1) * each;
        stage.data_mut().copy_within(last..last + each, n * each);
    }
}

/// The short filter's window not emptied between sequences.
pub(super) fn window_kept(stage: &mut Tensor<f64>, moment: &At<'_>) {
    let (case, [_, _, d]) = (moment.case, moment.case.sizes());
    let Some(taps) = case.inputs.get(SHORT) else {
        return;
    };
    let count = taps.shape()[2];
    let places = places(moment, 3 * d);
    for (at, before) in places.iter().skip(3 * d).zip(&places) {
        let Some(before) = before.raw(moment, before.tokens.clone()) else {
            return;
        };
        let taps = &taps.data()[at.channel * count..(at.channel + 1) * count];
        let row = &mut stage.row_mut(at.row)[at.tokens.clone()];
        for (t, y) in row.iter_mut().enumerate().take(count - 1) {
            for (j, w) in taps.iter().enumerate().take(count - 1 - t) {
                // Input t - (count - 1) + j, before the sequence.
                if let Some(at) = (before.len() + t + j).checked_sub(count - 1) {
                    *y += w * before[at];
                }
            }
        }
    }
}

/// The modes' states not emptied between sequences.
pub(super) fn modes_kept(stage: &mut Tensor<f64>, moment: &At<'_>) {
    let (case, [_, _, d]) = (moment.case, moment.case.sizes());
    let places = places(moment, d);
    for (at, before) in places.iter().skip(d).zip(&places) {
        let Some(before) = before.inner(moment, "x1", before.tokens.clone()) else {
            return;
        };
        for [pole, residue] in modes(case, at.channel) {
            let mut x = last_state(pole, &before, right_step);
            for y in &mut stage.row_mut(at.row)[at.tokens.clone()] {
                x *= pole;
                *y += (residue * x).re;
            }
        }
    }
}
