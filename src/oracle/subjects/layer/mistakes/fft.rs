//! M01 to M07, M76 and M77: convolution by FFT, and by `conv1d`; the kernel's length.

use super::super::super::wrong_convolution::Convolution as Transform;
use super::super::super::wrong_model::ModelHook::{Convolution, Factor, Short};
use super::super::hooks::LayerHook::{self, Diagonal, Numbered, Shift};
use crate::oracle::mistake::rows;

/// The kernel as long as it can be: `l_max` taps, or twice the input's length without one.
fn longest(convolution: &Transform<'_>) -> Vec<f64> {
    convolution.aliased(convolution.l_max.unwrap_or(usize::MAX))
}

rows! { LayerHook:
    "M01a" "circular_fft" at "shift_k"
        wrong "irfft(rfft(u, L) rfft(K, L), L), y_i = sum_j K_j u_{(i-j) mod L}, in both convolutions"
        right "a transform of at least L + L_k - 1 points"
        seen "HazyResearch/flash-fft-conv#31, #12"
        looks "not causal: the last inputs reach the first outputs"
        fix "zero-pad both factors to n >= L + L_k - 1 (2 L will do) before the FFT"
        by [Shift(Convolution(|c| c.circular())), Diagonal(Convolution(|c| c.circular()))];
    "M01b" "circular_fft_long" at "ssm_out"
        wrong "a transform of L points in the long convolution only"
        right "at least L + L_k - 1 points"
        seen "HazyResearch/flash-fft-conv#31, #12"
        looks "shift_k right; ssm_out not causal"
        fix "zero-pad kv and the kernel to n >= L + L_k - 1 before the FFT"
        by [Diagonal(Convolution(|c| c.circular()))];
    "M02" "long_kernel_alias" at "shift_k"
        wrong "n = 2 L with a kernel of L_k > L taps (L_k = l_max, or 2 L without one)"
        right "a kernel cut to min(L, l_max)"
        seen "HazyResearch/safari, h3_conv.py"
        looks "not causal; largest at the first positions, fading to zero at the last"
        fix "cut the kernel to the input's length, or transform n >= L + L_k points"
        by [Shift(Convolution(longest)), Diagonal(Convolution(longest))];
    "M03a" "fft_conj" at "shift_k"
        wrong "irfft(U conj(K)), y_i = sum_j K_j u_{i+j}, in both convolutions"
        right "irfft(U K)"
        seen "lucidrains/gated-state-spaces-pytorch#1"
        looks "anti-causal: outputs read the future"
        fix "multiply the spectra without conj; conj is for correlation"
        by [Shift(Convolution(|c| c.correlated())), Diagonal(Convolution(|c| c.correlated()))];
    "M03b" "fft_conj_long" at "ssm_out"
        wrong "irfft(KV conj(K)) in the long convolution only"
        right "irfft(KV K)"
        seen "lucidrains/gated-state-spaces-pytorch#1"
        looks "shift_k right; ssm_out reads the future"
        fix "no conj in the long convolution"
        by [Diagonal(Convolution(|c| c.correlated()))];
    "M03c" "fft_conj_shift" at "shift_k"
        wrong "irfft(K_in conj(K_sh)) in the shift convolution only"
        right "irfft(K_in K_sh)"
        seen "lucidrains/gated-state-spaces-pytorch#1"
        looks "shift_k reads the future"
        fix "the conj of the official shift kernel is over the state axis (B_f), none over time"
        by [Shift(Convolution(|c| c.correlated()))];
    "M04" "conv_no_flip" at "ssm_out"
        wrong "tap m of the long convolution weighs K_{L-1-m}"
        right "K_m"
        seen "seen in an independent port"
        looks "kernel right, ssm_out wrong everywhere; the newest input has the oldest weight"
        fix "flip the kernel: conv1d computes a correlation"
        by [Diagonal(Convolution(|c| c.unflipped()))];
    "M05a" "norm_twice_long" at "ssm_out"
        wrong "(K * kv) / n, n = L_k + L: the factor 1/n twice"
        right "K * kv"
        seen "HazyResearch/H3#22"
        looks "the convolved part smaller by exactly n"
        fix "either divide one spectrum by n and use norm='forward', or neither"
        by [Diagonal(Factor(|n| 1.0 / n))];
    "M05b" "norm_never_long" at "ssm_out"
        wrong "n (K * kv), n = L_k + L: the factor 1/n never"
        right "K * kv"
        seen "HazyResearch/H3#22"
        looks "the convolved part larger by exactly n"
        fix "norm='forward' on irfft leaves out 1/n: divide one spectrum by n, as the official code"
        by [Diagonal(Factor(|n| n))];
    "M05c" "norm_twice_shift" at "shift_k"
        wrong "(K_sh * k) / n, n = L_k + L"
        right "K_sh * k"
        seen "HazyResearch/H3#22"
        looks "the convolved part of shift_k smaller by exactly n"
        fix "the shift convolution uses the default norm of irfft and no division"
        by [Shift(Factor(|n| 1.0 / n))];
    "M05d" "norm_never_shift" at "shift_k"
        wrong "n (K_sh * k), n = L_k + L"
        right "K_sh * k"
        seen "HazyResearch/H3#22"
        looks "the convolved part of shift_k larger by exactly n"
        fix "norm='forward' is for the long convolution, whose input is already divided by n"
        by [Shift(Factor(|n| n))];
    "M06" "irfft_odd_n" at "shift_k"
        wrong "irfft(Y) of a spectrum of odd length n = L + L_k - 1, hence n - 1 points"
        right "irfft(Y, n)"
        seen "pytorch/pytorch#119360, #125903"
        looks "resampled: outputs drift between their neighbours, in both convolutions"
        fix "pass n to irfft; from n/2 + 1 bins it cannot know an odd n"
        by [Shift(Convolution(|c| c.resampled())), Diagonal(Convolution(|c| c.resampled()))];
    "M76a" "conv_last_kept" at "shift_k"
        wrong "irfft(U K, n)[-L:], y_i = sum_j K_j u_{i+L_k-j}, in both convolutions"
        right "irfft(U K, n)[:L]"
        seen "HazyResearch/safari#4 asks which part of the padded convolution to keep"
        looks "not causal; the last output is zero"
        fix "zeros stand behind the input: keep the first L outputs, not the last"
        by [Shift(Convolution(|c| c.kept_from(c.kernel.len()))), Diagonal(Convolution(|c| c.kept_from(c.kernel.len())))];
    "M76b" "conv_last_kept_long" at "ssm_out"
        wrong "irfft(KV K, n)[-L:] in the long convolution only"
        right "irfft(KV K, n)[:L]"
        seen "HazyResearch/safari#4 asks which part of the padded convolution to keep"
        looks "shift_k right; ssm_out not causal, its last element the skip alone"
        fix "zeros stand behind the input: keep the first L outputs, not the last"
        by [Diagonal(Convolution(|c| c.kept_from(c.kernel.len())))];
    "M76c" "conv_same" at "shift_k"
        wrong "y_i = sum_j K_j u_{i+floor((L_k-1)/2)-j}: the middle, padding='same', in both convolutions"
        right "y_i = sum_j K_j u_{i-j}"
        seen "plausible (r9y9/wavenet_vocoder#131: conv1d pads both sides unless told otherwise)"
        looks "not causal: outputs half a kernel early"
        fix "pad L_k - 1 zeros on the left and none on the right"
        by [Shift(Convolution(|c| c.kept_from(c.kernel.len().saturating_sub(1) / 2))),
            Diagonal(Convolution(|c| c.kept_from(c.kernel.len().saturating_sub(1) / 2)))];
    "M77a" "kernel_short" at "ssm_kernel"
        wrong "a kernel of n < L taps, such as d_state or L - 1, and zeros after them"
        right "min(L, l_max) taps"
        seen "plausible (as M02, the other way; HazyResearch/flash-fft-conv#16)"
        looks "ssm_kernel right up to tap n - 1, then zero; ssm_out right up to position n - 1"
        fix "ask the kernel for as many taps as the input has tokens"
        by [Numbered, Diagonal(Short)];
    "M77b" "shift_kernel_short" at "shift_kernel"
        wrong "a window of n < N taps, and zeros after them"
        right "all N taps"
        seen "plausible (a short convolution of width 3 or 4 in its place)"
        looks "shift_kernel right up to tap n - 1, then zero"
        fix "the shift model has d_state taps"
        by [Numbered, Shift(Short)];
}
