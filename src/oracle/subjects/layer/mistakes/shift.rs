//! M08 to M20, M78: the shift model and what it is applied to.

use super::super::super::wrong_model::ModelHook::{
    Absorb, Carry, Convolution, Kernel, Read, ReadLater,
};
use super::super::hooks::LayerHook::{self, Parameters, Reads, Shift, Stage};
use super::super::stage_run::StageRun;
use crate::algebra::{FloatFormat, RootsOfUnity, dot};
use crate::flashconv::delayed;
use crate::h3::{Name, Stage as At};
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::rows;
use crate::ssm::{Shift as ShiftModel, StateSpace};
use crate::tensor::Tensor;
use num_complex::Complex;

/// Taps back to front, and zeros up to `len`.
fn reversed(mut taps: Vec<f64>, len: usize) -> Vec<f64> {
    taps.reverse();
    taps.resize(len, 0.0);
    taps
}

/// `sum_i b_i c_{place(t, i, n)}` for the first `halves n/2` taps, `n = 2m` being the length of the
/// transform over the state axis, and zeros up to `len`. Places are taken modulo `n`.
fn correlated(
    b: &[f64],
    c: &[f64],
    len: usize,
    halves: usize,
    place: fn(usize, usize, usize) -> usize,
) -> Vec<f64> {
    let n = 2 * b.len();
    let tap = |t: usize| {
        let terms = b.iter().enumerate();
        let term = |(i, b): (usize, &f64)| b * c.get(place(t, i, n) % n).copied().unwrap_or(0.0);
        terms.map(term).sum()
    };
    let count = halves * b.len();
    (0..len)
        .map(|t| if t < count { tap(t) } else { 0.0 })
        .into_vec()
}

/// The diagonal of A in place of the shift matrix.
fn decays(m: usize) -> impl Iterator<Item = f64> {
    (0..m).map(move |n| (-((n + 1) as f64) / m as f64).exp())
}

/// `A^k x` with those decays.
fn faded(ssm: &ShiftModel<f64>, x: &[f64], k: usize) -> Vec<f64> {
    let power = i32::try_from(k).unwrap_or(i32::MAX);
    let pairs = x.iter().zip(decays(ssm.state_dim()));
    pairs.map(|(x, decay)| x * decay.powi(power)).into_vec()
}

/// `C A^{first + i} x` with those decays.
fn fading(ssm: &ShiftModel<f64>, x: &[f64], first: usize, len: usize) -> Vec<f64> {
    let row = |i| dot(ssm.c(), &faded(ssm, x, first + i));
    (0..len).map(row).into_vec()
}

/// `sum_j A^{T-j} B u_j` with those decays.
fn fading_sum(ssm: &ShiftModel<f64>, u: &[f64]) -> Vec<f64> {
    let sum = |decay: f64| u.iter().fold(0.0, |sum, u| sum * decay + u);
    let pairs = ssm.b().iter().zip(decays(ssm.state_dim()));
    pairs.map(|(b, decay)| b * sum(decay)).into_vec()
}

/// The kernel by the official transforms over the state axis, their product rounded to float32, and
/// the taps too.
fn through_f32(ssm: &ShiftModel<f64>, len: usize) -> Vec<f64> {
    let (m, round) = (ssm.state_dim(), |x| FloatFormat::F32.round(x));
    // There are roots of every order from 1.
    let roots = Complex::<f64>::roots_of_unity(2 * m).unwrap_or_default();
    let transform = |x: &[f64], k: usize| -> Complex<f64> {
        let terms = x.iter().enumerate();
        terms.map(|(i, &x)| roots[i * k % (2 * m)].conj() * x).sum()
    };
    let spectrum = (0..2 * m).map(|k| transform(ssm.b(), k).conj() * transform(ssm.c(), k));
    let spectrum: Vec<_> = spectrum
        .map(|z| Complex::new(round(z.re), round(z.im)))
        .into_vec();
    let tap = |t: usize| {
        let terms = spectrum.iter().enumerate();
        let sum: Complex<f64> = terms.map(|(k, z)| z * roots[k * t % (2 * m)]).sum();
        round(sum.re / (2 * m) as f64)
    };
    (0..len)
        .map(|t| if t < m { tap(t) } else { 0.0 })
        .into_vec()
}

/// The taps against channels `c, c - 1, ...` (cyclic) at one position.
fn across_channels(mut shift_k: Tensor<f64>, run: &StageRun<'_>) -> Tensor<f64> {
    let (keys, sizes) = (&run.so_far.stages.k, run.so_far.sizes);
    for (c, ssm) in run.so_far.layer.parts().shift.iter().enumerate() {
        let taps = ssm.kernel(ssm.state_dim());
        for b in 0..sizes.batch {
            let row = sizes.channel(b, c);
            for (t, y) in shift_k.row_mut(row).iter_mut().enumerate() {
                *y = ssm.feedthrough() * keys.row(row)[t];
                for (m, tap) in taps.iter().enumerate() {
                    let channel = (c + sizes.d - m % sizes.d) % sizes.d;
                    *y += tap * keys.row(sizes.channel(b, channel))[t];
                }
            }
        }
    }
    shift_k
}

rows! { LayerHook:
    "M08" "shift_unit_delay" at "shift_kernel"
        wrong "k'_t = k_{t-1} + D k_t"
        right "k'_t = sum_m K_m k_{t-m} + D k_t"
        seen "seen in an independent port"
        looks "kernel 0, 1, 0, ...: B and C have no effect"
        fix "the shift model is a learned FIR filter of d_state taps, not one delay"
        by [Shift(Kernel(|_, _, len| (0..len).map(|t| f64::from(t == 1)).into_vec()))];
    "M09a" "shift_delayed" at "shift_kernel"
        wrong "K_0 = 0, K_t = C A^{t-1} B: the output reads the state before the update"
        right "K_t = C A^t B"
        seen "plausible"
        looks "shift_kernel one place late"
        fix "read the state after the update: tap 0 weighs the current key"
        by [Shift(Kernel(|_, f, len| delayed(f(len)))), Shift(ReadLater(-1))];
    "M09b" "shift_advanced" at "shift_kernel"
        wrong "K_t = C A^{t+1} B"
        right "K_t = C A^t B"
        seen "plausible"
        looks "shift_kernel one place early, its first tap lost"
        fix "tap 0 is C B: do not advance the state before reading it"
        by [Shift(Kernel(|_, f, len| f(len + 1).split_off(1))), Shift(ReadLater(1))];
    "M10" "shift_taps_reversed" at "shift_kernel"
        wrong "K_t -> K_{N-1-t}, N taps"
        right "K_t"
        seen "seen in an independent port (taps given to conv1d)"
        looks "the N taps backwards"
        fix "flip the taps for conv1d; ones go below the diagonal of A"
        by [Shift(Kernel(|ssm, f, len| reversed(f(ssm.state_dim()), len)))];
    "M11" "shift_conv_not_corr" at "shift_kernel"
        wrong "K = irfft(B_f C_f), K_t = sum_n B_n C_{t-n}"
        right "K = irfft(conj(B_f) C_f), K_t = sum_n B_n C_{n+t}"
        seen "plausible"
        looks "right while B = e_1, as at initialization; wrong once B is trained"
        fix "conj on B_f: it is a correlation over the state index"
        by [Shift(Kernel(|ssm, _, len| correlated(ssm.b(), ssm.c(), len, 1, |t, i, n| t + n - i)))];
    "M12" "shift_conj_on_c" at "shift_kernel"
        wrong "K = irfft(B_f conj(C_f)), K_t = sum_n C_n B_{n+t}"
        right "K = irfft(conj(B_f) C_f)"
        seen "plausible"
        looks "while B = e_1 only tap 0 survives"
        fix "the conj belongs on B_f, not on C_f; or B and C were exchanged"
        by [Shift(Kernel(|ssm, _, len| correlated(ssm.c(), ssm.b(), len, 1, |t, i, _| t + i)))];
    "M13" "shift_fft_n" at "shift_kernel"
        wrong "the correlation of B and C modulo N: an FFT of N points over the state axis"
        right "2 N points"
        seen "plausible"
        looks "right while B = e_1; with a trained B taps wrap around"
        fix "zero-pad B and C to 2 N before their FFT"
        by [Shift(Kernel(|ssm, _, len| correlated(ssm.b(), ssm.c(), len, 1, |t, i, n| (t + i) % (n / 2))))];
    "M14a" "shift_len_alias" at "shift_k"
        wrong "N > L taps kept with a transform of 2 L points"
        right "the kernel cut to min(N, L) taps"
        seen "plausible"
        looks "sequences shorter than the window: not causal, worst at the first position"
        fix "cut the kernel to min(N, L), or transform L + N points"
        by [Shift(Convolution(|c| c.aliased(usize::MAX)))];
    "M14b" "shift_len_uncut" at "shift_kernel"
        wrong "irfft(conj(B_f) C_f)[:L], 2 N points, their upper half at negative lags"
        right "[: min(N, L)], zeros beyond"
        seen "plausible"
        looks "taps beyond N that should be zero; right while B = e_1"
        fix "cut the kernel to its first N taps, then pad with zeros"
        by [Shift(Kernel(|ssm, _, len| correlated(ssm.b(), ssm.c(), len, 2, |t, i, _| t + i)))];
    "M15" "shift_cyclic_time" at "shift_k"
        wrong "k'_t = sum_m K_m k_{(t-m) mod L}: roll with wraparound"
        right "zeros before the first key"
        seen "plausible"
        looks "wrong at the first N - 1 positions only"
        fix "fill with zeros instead of rolling, or pad the FFT"
        by [Shift(Convolution(|c| c.rolled()))];
    "M16" "shift_feature_axis" at "shift_k"
        wrong "k'_{c,t} = sum_m K_{c,m} k_{(c-m) mod d, t}: rolls channels"
        right "rolls time"
        seen "seen in an independent port"
        looks "no memory: position t depends on position t alone"
        fix "shift along the sequence axis"
        by [Stage(At::ShiftK, across_channels), LayerHook::AcrossChannels];
    "M17" "shift_is_decay" at "shift_kernel"
        wrong "A = diag(exp(-(n+1)/N)), K_t = sum_n C_n B_n exp(-(n+1) t/N)"
        right "A the shift matrix"
        seen "seen in independent ports (a second diagonal model in its place)"
        looks "a decaying kernel instead of the taps C"
        fix "the first SSM has the shift matrix: its state is a window, not an average"
        by [Shift(Kernel(|ssm, _, len| fading(ssm, ssm.b(), 0, len))),
            Shift(Read(|ssm, x, len| fading(ssm, x, 1, len))),
            Shift(Carry(|ssm, x, len, _| faded(ssm, x, len))),
            Shift(Absorb(fading_sum))];
    "M18" "no_shift_d" at "shift_k"
        wrong "k' = K_sh * k"
        right "k' = K_sh * k + ssm_k_D k"
        seen "seen in an independent port"
        looks "shift_k differs by ssm_k_D k, channel by channel"
        fix "add the skip ssm_k_D k to the shift model's output"
        by [Parameters(|p| p.get_mut(Name::ShiftD).fill(0.0))];
    "M19" "shift_on_v" at "shift_k"
        wrong "kv = k (K_sh * v + D v)"
        right "kv = (K_sh * k + D k) v"
        seen "the Hyena paper writes H3 so (its footnote on k and v)"
        looks "k and v exchanged in their use, not in their weights"
        fix "H3 shifts the keys, not the values"
        by [Reads(At::ShiftK, |run| run.stages.v.clone()), Stage(At::Kv, |_, run| run.product(&run.stages().k, &run.stages().shift_k))];
    "M20" "shift_on_q" at "shift_k"
        wrong "q' = K_sh * q + D q, kv = k v"
        right "the keys are shifted, the queries not"
        seen "seen in independent ports"
        looks "kv is the plain product; gated uses shifted queries"
        fix "apply the shift model to k, and leave q alone"
        by [Reads(At::ShiftK, |run| run.stages.q.clone()),
            Stage(At::Kv, |_, run| run.product(&run.stages().k, &run.stages().v)),
            Stage(At::Gated, |_, run| run.gated_by(&run.stages().shift_k))];
    "M78" "shift_kernel_f32" at "shift_kernel"
        wrong "irfft of a spectrum in complex64, rounded to float32, in a float64 layer"
        right "in the precision of the layer"
        seen "the official SSKernelShift: k.float()"
        looks "everything from shift_kernel on right to 4e-8 and no further, whatever the precision"
        fix "no cast of the kernel"
        rounding F32
        by [Shift(Kernel(|ssm, _, len| through_f32(ssm, len)))];
}
