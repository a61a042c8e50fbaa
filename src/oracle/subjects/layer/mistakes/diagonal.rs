//! M34 to M54, M81 to M83: the diagonal model's skip, decoding, discretization, kernel and scan.

use super::super::super::wrong_model::ModelHook::{Kernel, ReadLater, Response as By, Uncut};
use super::super::super::wrong_model::Taps;
use super::super::hooks::LayerHook::{
    self, Diagonal, Discrete, Modes, NoSkip, Parameters, Shift, Stage,
};
use super::super::stage_run::StageRun;
use super::{bf16, conjugate};
use crate::algebra::Real;
use crate::flashconv::delayed;
use crate::h3::{
    Config, LayerParts, Modes as Decoded, Name, Parameters as Loaded, RealType, Stage as At,
};
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::rows;
use crate::ssm::{Diagonal as DiagonalModel, Discretization, Response, StateSpace};
use crate::tensor::Tensor;
use num_complex::Complex;

type C = Complex<f64>;

/// The discrete models with every mode's `(a, b)` replaced, given those, lambda, B and dt.
fn rediscretize(
    parts: &mut LayerParts<f64>,
    modes: &Decoded<f64>,
    replace: impl Fn((C, C), C, C, f64) -> (C, C),
) {
    for (h, ssm) in parts.diagonal.iter_mut().enumerate() {
        let (n, dt) = (ssm.state_dim(), modes.dt[h]);
        let first = h % modes.n_ssm * n;
        let (lambda, b) = (&modes.lambda[first..], &modes.b[first..]);
        ssm.edit_modes(|i, mode| replace(mode, lambda[i], b[i], dt));
    }
}

fn without_denominator(parts: &mut LayerParts<f64>, modes: &Decoded<f64>, config: &Config) {
    if config.disc == Discretization::Bilinear {
        rediscretize(parts, modes, |(a, _), _, b, dt| (a, b * dt));
    }
}

fn without_offset(modes: &mut Decoded<f64>, p: &Loaded<f64>) {
    if p.config().real_type == RealType::Relu {
        modes.lambda.iter_mut().for_each(|l| l.re += 1e-4);
    }
}

/// One entry of the state for the sum of all modes.
fn modes_summed(ssm: &DiagonalModel<f64>, u: &[f64], x0: &[C]) -> Response<DiagonalModel<f64>> {
    let mut state = x0.to_vec();
    let step = |&u: &f64| {
        let sum: C = ssm.poles().iter().zip(&state).map(|(a, x)| a * x).sum();
        state = ssm
            .inject(u)
            .into_iter()
            .map(|input| sum + input)
            .into_vec();
        ssm.read(&state) + ssm.feedthrough() * u
    };
    let output = u.iter().map(step).into_vec();
    Response { output, state }
}

fn edit_steps(modes: &mut Decoded<f64>, edit: fn(f64) -> f64) {
    modes.dt.iter_mut().for_each(|dt| *dt = edit(*dt));
}

fn skip_in_kernel(ssm: &DiagonalModel<f64>, taps: Taps<'_>, len: usize) -> Vec<f64> {
    let mut taps = taps(len);
    if let Some(first) = taps.first_mut() {
        *first += ssm.feedthrough();
    }
    taps
}

/// `ssm_out + D x`, with `x` read for sequence, key channel and value channel.
fn with_skip(
    mut y: Tensor<f64>,
    run: &StageRun<'_>,
    read: fn(&StageRun<'_>, usize, usize, usize) -> Vec<f64>,
) -> Tensor<f64> {
    let (d, sizes) = (run.parameters.get(Name::D), run.so_far.sizes);
    for b in 0..sizes.batch {
        for (d1, d2, h) in sizes.pairs() {
            let x = read(run, b, h * sizes.d_h + d1, h * sizes.d_h + d2);
            let row = y.row_mut(sizes.pair(b, d1, d2, h));
            row.iter_mut()
                .zip(x)
                .for_each(|(y, x)| *y += d[run.head(h)] * x);
        }
    }
    y
}

/// `gated + sum_d1 D kv`.
fn skip_after_gate(gated: Tensor<f64>, run: &StageRun<'_>) -> Tensor<f64> {
    let (d, sizes) = (run.parameters.get(Name::D), run.so_far.sizes);
    let mut skip = run.stages().kv.clone();
    for b in 0..sizes.batch {
        for (d1, d2, h) in sizes.pairs() {
            let row = skip.row_mut(sizes.pair(b, d1, d2, h));
            row.iter_mut().for_each(|kv| *kv *= d[run.head(h)]);
        }
    }
    run.plus_ungated(gated, &skip)
}

/// Cumulative sums over cumulative products, kept from vanishing.
fn scan_underflow(ssm: &DiagonalModel<f64>, u: &[f64], x0: &[C]) -> Response<DiagonalModel<f64>> {
    let mut powers = vec![C::ONE; x0.len()];
    let mut sums = vec![C::ZERO; x0.len()];
    states(ssm, u, x0, |x, n, a, input| {
        powers[n] *= a;
        sums[n] += input / (powers[n] + 1e-10);
        *x = powers[n] * (sums[n] + x0[n]);
    })
}

/// The earlier product multiplies the later input.
fn scan_operands(ssm: &DiagonalModel<f64>, u: &[f64], x0: &[C]) -> Response<DiagonalModel<f64>> {
    let mut powers = vec![C::ONE; x0.len()];
    states(ssm, u, x0, |x, n, a, input| {
        *x += powers[n] * input;
        powers[n] *= a;
    })
}

/// The response by another update of the state: of mode `n`, given its pole and `b u`.
fn states(
    ssm: &DiagonalModel<f64>,
    u: &[f64],
    x0: &[C],
    mut update: impl FnMut(&mut C, usize, C, C),
) -> Response<DiagonalModel<f64>> {
    let mut state = x0.to_vec();
    let step = |&u: &f64| {
        let inputs = ssm.inject(u);
        for (n, x) in state.iter_mut().enumerate() {
            update(x, n, ssm.poles()[n], inputs[n]);
        }
        ssm.read(&state) + ssm.feedthrough() * u
    };
    let output = u.iter().map(step).into_vec();
    Response { output, state }
}

rows! { LayerHook:
    "M34" "no_d" at "ssm_out"
        wrong "y = K * kv"
        right "y = K * kv + D kv"
        seen "seen in independent ports"
        looks "kernel right; ssm_out differs by D kv"
        fix "add the skip D kv"
        by [NoSkip];
    "M35a" "d_times_v" at "ssm_out"
        wrong "y = K * kv + D v"
        right "y = K * kv + D kv"
        seen "plausible"
        looks "ssm_out differs by D (v - kv)"
        fix "the skip multiplies the SSM's own input, kv"
        by [NoSkip, Stage(At::SsmOut, |y, run| with_skip(y, run, |run, b, _, v| run.channel(&run.stages().v, b, v)))];
    "M35b" "d_times_shift_k" at "ssm_out"
        wrong "y = K * kv + D k'"
        right "y = K * kv + D kv"
        seen "plausible"
        looks "ssm_out differs by D (k' - kv)"
        fix "the skip multiplies the SSM's own input, kv"
        by [NoSkip, Stage(At::SsmOut, |y, run| with_skip(y, run, |run, b, k, _| run.channel(&run.stages().shift_k, b, k)))];
    "M35c" "d_times_input" at "ssm_out"
        wrong "y = K * kv + D u, u the layer's input"
        right "y = K * kv + D kv"
        seen "plausible"
        looks "ssm_out differs by D (u - kv)"
        fix "the skip multiplies the SSM's own input, kv"
        by [NoSkip, Stage(At::SsmOut, |y, run| with_skip(y, run, |run, b, _, v| run.input_channel(b, v)))];
    "M36" "d_after_gate" at "ssm_out"
        wrong "gated = sum_d1 (q (K * kv) + D kv)"
        right "sum_d1 q (K * kv + D kv)"
        seen "plausible"
        looks "ssm_out without its skip; gated has the skip ungated"
        fix "add D kv before the query gates"
        by [NoSkip, Stage(At::Gated, skip_after_gate)];
    "M37" "d_twice" at "ssm_kernel"
        wrong "K_0 + D in the kernel, and D kv beside it"
        right "one of the two"
        seen "plausible"
        looks "ssm_kernel wrong at tap 0 only; the skip doubled"
        fix "add the skip once"
        by [Diagonal(Kernel(skip_in_kernel))];
    "M38a" "zoh_for_bilinear" at "ssm_kernel"
        wrong "a = e^{dt A}, b = B (e^{dt A} - 1)/A"
        right "a = (1 + dt A/2)/(1 - dt A/2), b = dt B/(1 - dt A/2)"
        seen "state-spaces/s4#92 (users take zoh for granted); the official default is bilinear"
        looks "a small error at small dt: needs a tight tolerance"
        fix "discretize by the bilinear rule: SSKernelDiag's default is disc='bilinear'"
        by [Parameters(|p| p.config_mut().disc = Discretization::ZeroOrderHold)];
    "M38b" "bilinear_for_zoh" at "ssm_kernel"
        wrong "a = (1 + dt A/2)/(1 - dt A/2), b = dt B/(1 - dt A/2)"
        right "a = e^{dt A}, b = B (e^{dt A} - 1)/A"
        seen "plausible (the converse of M38a)"
        looks "a small error at small dt: needs a tight tolerance"
        fix "this layer is discretized by zero-order hold (disc='zoh')"
        by [Parameters(|p| p.config_mut().disc = Discretization::Bilinear)];
    "M39" "euler_b" at "ssm_kernel"
        wrong "a = e^{dt A} with b = dt B"
        right "the rule of disc for both a and b"
        seen "seen in independent ports"
        looks "kernel off by a factor a mode, near 1 at small dt"
        fix "zoh: b = B (e^{dt A} - 1)/A; bilinear: b = dt B/(1 - dt A/2)"
        by [Discrete(|parts, modes, _| rediscretize(parts, modes, |_, l, b, dt| ((l * dt).exp(), b * dt)))];
    "M40" "missing_bilinear_denominator" at "ssm_kernel"
        wrong "b = dt B with the bilinear a"
        right "b = dt B/(1 - dt A/2)"
        seen "plausible"
        looks "kernel off by a factor a mode, near 1 at small dt"
        fix "divide b by 1 - dt A/2 too"
        by [Discrete(without_denominator)];
    "M41" "no_factor_2" at "ssm_kernel"
        wrong "K = Re(sum C b a^t)"
        right "2 Re: each stored mode stands for a conjugate pair"
        seen "seen in an independent port"
        looks "kernel exactly half"
        fix "multiply the real part by 2"
        by [Parameters(|p| p.get_mut(Name::C).iter_mut().for_each(|c| *c *= 0.5))];
    "M42" "factor_4" at "ssm_kernel"
        wrong "the conjugate modes written out and 2 Re as well"
        right "one of the two"
        seen "plausible (the official code sums a kernel in both styles)"
        looks "kernel exactly double"
        fix "either write out the conjugate modes and take Re, or keep half of them and take 2 Re"
        by [Parameters(|p| p.get_mut(Name::C).iter_mut().for_each(|c| *c *= 2.0))];
    "M43" "real_before_power" at "ssm_kernel"
        wrong "K = 2 Re(sum C b Re(a)^t)"
        right "powers of the complex a, then Re"
        seen "seen in an independent port"
        looks "kernel right at tap 0, then without oscillation"
        fix "keep the recurrence complex and take the real part of the output"
        by [Discrete(|parts, modes, _| rediscretize(parts, modes, |(a, b), _, _, _| (a.re.into(), b)))];
    "M44a" "imag_dropped" at "ssm_kernel"
        wrong "A_im = 0"
        right "A = A_re + i A_imag"
        seen "seen in independent ports"
        looks "a kernel that only decays"
        fix "A is complex: use A_imag"
        by [Parameters(|p| p.get_mut(Name::AImag).fill(0.0))];
    "M44b" "magnitude_only" at "ssm_kernel"
        wrong "|a|^t"
        right "a^t"
        seen "seen in an independent port (magnitudes scanned as real numbers)"
        looks "kernel right at tap 0, then only decays"
        fix "scan complex numbers"
        by [Discrete(|parts, modes, _| rediscretize(parts, modes, |(a, b), _, _, _| (a.norm().into(), b)))];
    "M45a" "conj_c" at "ssm_kernel"
        wrong "conj(C)"
        right "C as stored"
        seen "the official constructor stores conj(C) at initialization: stored is what is used"
        looks "each mode's phase mirrored; a wrong kernel of the right size"
        fix "use C as stored: conjugating C alone is wrong, conjugating A, B and C is harmless"
        by [Parameters(|p| conjugate(p.get_mut(Name::C)))];
    "M45b" "conj_b" at "ssm_kernel"
        wrong "conj(B)"
        right "B as stored"
        seen "plausible"
        looks "right while B is real, as at initialization"
        fix "no conjugate on B"
        by [Parameters(|p| conjugate(p.get_mut(Name::B)))];
    "M45c" "conj_a" at "ssm_kernel"
        wrong "A_re - i A_imag"
        right "A_re + i A_imag"
        seen "state-spaces/s4#120 (harmless only if B and C are conjugated too)"
        looks "each mode turns the other way"
        fix "the sign of A_imag is positive with the stored B and C"
        by [Parameters(|p| p.get_mut(Name::AImag).iter_mut().for_each(|x| *x = -*x))];
    "M46" "exp_imag" at "ssm_kernel"
        wrong "A_im = exp(A_imag)"
        right "A_im = A_imag"
        seen "lucidrains/gated-state-spaces-pytorch#2"
        looks "wild frequencies"
        fix "only the real part is stored as a logarithm"
        by [Parameters(|p| p.get_mut(Name::AImag).iter_mut().for_each(|x| *x = x.exp()))];
    "M47a" "real_decode_none" at "ssm_kernel"
        wrong "A_re = -inv_A_real"
        right "the rule of real_type (exp: A_re = -exp(inv_A_real))"
        seen "plausible (real_type='none' in the official code)"
        looks "wrong decay; may grow"
        fix "decode inv_A_real as the file's real_type says (exp: the logarithm of -A_re; relu: with the official -1e-4)"
        by [Parameters(|p| p.config_mut().real_type = RealType::None)];
    "M47b" "real_decode_positive" at "ssm_kernel"
        wrong "A_re = +exp(inv_A_real) (or the sign lost in another real_type)"
        right "A_re = -exp(inv_A_real)"
        seen "plausible"
        looks "kernel grows"
        fix "the real part is negative: put the sign back"
        by [Modes(|modes, _| modes.lambda.iter_mut().for_each(|l| l.re = -l.re))];
    "M47c" "real_decode_softplus" at "ssm_kernel"
        wrong "A_re = -softplus(inv_A_real)"
        right "the rule of real_type (exp: A_re = -exp(inv_A_real))"
        seen "plausible (real_type='softplus' in the official code)"
        looks "wrong decay"
        fix "decode inv_A_real as real_type says"
        by [Parameters(|p| p.config_mut().real_type = RealType::Softplus)];
    "M47d" "real_decode_exp" at "ssm_kernel"
        wrong "A_re = -exp(inv_A_real) where real_type is another"
        right "the rule of real_type"
        seen "plausible (exp is the official default)"
        looks "wrong decay"
        fix "decode inv_A_real as real_type says"
        by [Parameters(|p| p.config_mut().real_type = RealType::Exp)];
    "M47e" "relu_without_offset" at "ssm_kernel"
        wrong "A_re = -max(inv_A_real, 0) where real_type is relu"
        right "A_re = -max(inv_A_real, 0) - 1e-4"
        seen "made by this project's own PyTorch port, see the chapter on golden outputs"
        looks "the decay too slow by e^{-1e-4 dt t}: next to nothing at first, then all of it"
        fix "real_type relu has an offset in the official code: subtract 1e-4 once more"
        by [Modes(without_offset)];
    "M48a" "dt_softplus" at "ssm_kernel"
        wrong "dt = softplus(log_dt)"
        right "dt = exp(log_dt)"
        seen "seen in an independent port"
        looks "close at small dt, never equal"
        fix "dt = exp(log_dt)"
        by [Modes(|modes, p| modes.dt = p.get(Name::LogDt).iter().map(|x| Real::ln_1p(x.exp())).into_vec())];
    "M48b" "dt_raw" at "ssm_kernel"
        wrong "dt = log_dt"
        right "dt = exp(log_dt)"
        seen "plausible"
        looks "negative dt: kernel grows"
        fix "dt = exp(log_dt)"
        by [Modes(|modes, p| modes.dt = p.get(Name::LogDt).to_vec())];
    "M48c" "dt_exp_exp" at "ssm_kernel"
        wrong "dt = exp(exp(log_dt))"
        right "dt = exp(log_dt)"
        seen "the official deterministic=True stores dt itself as log_dt"
        looks "dt a little above 1 instead of 0.001 to 0.1"
        fix "exponentiate once"
        by [Modes(|modes, _| modes.dt.iter_mut().for_each(|dt| *dt = dt.exp()))];
    "M49" "undiscretised" at "ssm_kernel"
        wrong "a = e^A, b = B: dt = 1 and no rule"
        right "a and b of disc with dt = exp(log_dt)"
        seen "seen in an independent port"
        looks "kernel too large and too fast"
        fix "discretize with dt = exp(log_dt)"
        by [Discrete(|parts, modes, _| rediscretize(parts, modes, |_, l, b, _| (l.exp(), b)))];
    "M50a" "kernel_delay" at "ssm_kernel"
        wrong "K_0 = 0, K_t = C a^{t-1} b: the output reads the state before the update"
        right "K_t = C a^t b"
        seen "plausible"
        looks "kernel one place late"
        fix "read the state after the update"
        by [Diagonal(Kernel(|_, f, len| delayed(f(len)))), Diagonal(ReadLater(-1))];
    "M50b" "kernel_advance" at "ssm_kernel"
        wrong "K_t = C a^{t+1} b"
        right "K_t = C a^t b"
        seen "plausible"
        looks "kernel one place early, its first tap lost"
        fix "powers of a start at 0"
        by [Diagonal(Kernel(|_, f, len| f(len + 1).split_off(1))), Diagonal(ReadLater(1))];
    "M51a" "b_dropped" at "ssm_kernel"
        wrong "B = 1"
        right "B as stored"
        seen "plausible"
        looks "right at initialization, where B = 1; wrong once B is trained"
        fix "use the stored B"
        by [Parameters(|p| p.get_mut(Name::B).chunks_exact_mut(2).for_each(|b| b.copy_from_slice(&[1.0, 0.0])))];
    "M51b" "b_undiscretised" at "ssm_kernel"
        wrong "b = B"
        right "b = dt B/(1 - dt A/2), or zoh's"
        seen "plausible"
        looks "kernel too large by about 1/dt"
        fix "discretize B as well as A"
        by [Discrete(|parts, modes, _| rediscretize(parts, modes, |(a, _), _, b, _| (a, b)))];
    "M52" "l_max_cut" at "shift_k"
        wrong "no cut: the recurrence, whose kernel never ends"
        right "kernels end at l_max"
        seen "state-spaces/s4#135; the official step() against its forward()"
        looks "right up to position l_max - 1, wrong from l_max on"
        fix "a recurrence cannot honour l_max: cut the kernel, or drop l_max on both sides"
        by [Shift(Uncut), Diagonal(Uncut)];
    "M53" "scan_underflow" at "ssm_out"
        wrong "x_t = p_t cumsum(b u_s/(p_s + 1e-10)), p_t = a^{t+1}"
        right "x_t = a x_{t-1} + b u_t"
        seen "seen in an independent port"
        looks "1e-10 at first, total loss once |a^t| comes near 1e-10"
        fix "use an associative scan; do not divide by cumulative products"
        by [Diagonal(By(scan_underflow))];
    "M54" "scan_operands" at "ssm_out"
        wrong "(a1,b1).(a2,b2) = (a1 a2, a1 b2 + b1)"
        right "(a1 a2, a2 b1 + b2), 1 the earlier"
        seen "state-spaces/mamba#716 (a comment)"
        looks "right at position 0, wrong from position 1; kernel right"
        fix "in the scan the later factor multiplies the earlier sum"
        by [Diagonal(By(scan_operands))];
    "M81a" "real_decode_twice" at "ssm_kernel"
        wrong "A_re = -exp(-exp(inv_A_real)): decoded once on loading and once in the kernel"
        right "the rule of real_type, once (exp: A_re = -exp(inv_A_real))"
        seen "plausible (a converter that stores A beside a kernel that decodes it)"
        looks "every decay between 0 and 1"
        fix "decode inv_A_real in one place"
        by [Modes(|modes, _| modes.lambda.iter_mut().for_each(|l| l.re = -l.re.exp()))];
    "M81b" "real_decode_inverse" at "ssm_kernel"
        wrong "A_re = -exp(-inv_A_real)"
        right "the rule of real_type (exp: A_re = -exp(inv_A_real))"
        seen "plausible (the parameter is called inv_A_real)"
        looks "decay 1/|A_re| in place of |A_re|: right where inv_A_real is 0"
        fix "the name is that of the inverse of the decoding: A_re = -exp(inv_A_real)"
        by [Parameters(|p| p.get_mut(Name::InvAReal).iter_mut().for_each(|x| *x = -*x))];
    "M82a" "dt_softplus_of_dt" at "ssm_kernel"
        wrong "dt = softplus(exp(log_dt))"
        right "dt = exp(log_dt)"
        seen "plausible (dt_softplus is an option of Mamba's kernels)"
        looks "dt a little above 0.69 where it is small"
        fix "no softplus: log_dt is a logarithm"
        by [Modes(|modes, _| edit_steps(modes, |dt| Real::ln_1p(dt.exp())))];
    "M82b" "dt_clamped" at "ssm_kernel"
        wrong "dt = min(max(exp(log_dt), 0.001), 0.1)"
        right "dt = exp(log_dt)"
        seen "ml-explore/mlx-lm#1026; state-spaces/mamba#448 (an option of Mamba's kernels)"
        looks "heads with dt between dt_min and dt_max right, the others wrong"
        fix "dt_min and dt_max are for initialization; a trained dt may leave them"
        by [Modes(|modes, _| edit_steps(modes, |dt| dt.clamp(0.001, 0.1)))];
    "M82c" "dt_bf16" at "ssm_kernel"
        wrong "dt rounded to bfloat16"
        right "in float32 at least"
        seen "plausible (as M70c; log_dt exponentiated under autocast)"
        looks "a phase error that grows with t, the same in all modes of a head"
        fix "exponentiate log_dt in float32"
        rounding BF16
        by [Modes(|modes, _| edit_steps(modes, bf16))];
    "M83" "modes_summed" at "ssm_out"
        wrong "x_n = sum_m a_m x_m + b_n u"
        right "x_n = a_n x_n + b_n u"
        seen "plausible (an einsum of the update that names the mode once)"
        looks "kernel right; ssm_out right at position 0 only, may grow"
        fix "A is diagonal: multiply entry by entry, the only sum is the output's"
        by [Diagonal(By(modes_summed))];
}
