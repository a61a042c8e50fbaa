//! M71 to M75: the way back.

use super::super::hooks::LayerHook::{self, ConvolutionAdjoint, Gradient, StateCotangent};
use super::{bf16, conjugate};
use crate::oracle::mistake::rows;
use crate::ssm::{causal_convolution, causal_convolution_adjoint};
use num_complex::Complex;

/// `dK_j = sum_i g_i u_{j-i}`.
fn convolved_kernel_gradient(f: &[f64], u: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (_, of_input) = causal_convolution_adjoint(f, u, g);
    let mut of_kernel = causal_convolution(u, g);
    of_kernel.truncate(f.len());
    (of_kernel, of_input)
}

/// `du_j = sum_i g_i K_{j-i}`.
fn convolved_input_gradient(f: &[f64], u: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (of_kernel, _) = causal_convolution_adjoint(f, u, g);
    (of_kernel, causal_convolution(f, g))
}

/// `irfft(G conj(U), n)`: `sum_i g_i u_{(i - j) mod n}`, j = 0, ..., n - 1.
fn uncut_kernel_gradient(f: &[f64], u: &[f64], g: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let n = f.len() + u.len();
    let (_, of_input) = causal_convolution_adjoint(f, u, g);
    let term = |i: usize, j: usize| g[i] * u.get((i + n - j) % n).copied().unwrap_or(0.0);
    let of_kernel = (0..n).map(|j| (0..g.len()).map(|i| term(i, j)).sum());
    (of_kernel.collect(), of_input)
}

fn is_complex(parameter: &str) -> bool {
    ["kernel.kernel.B", "kernel.kernel.C"].contains(&parameter)
}

fn scale(gradient: &mut [f64], factor: f64) {
    gradient.iter_mut().for_each(|x| *x *= factor);
}

fn bf16_cotangent(adjoint: &mut [Complex<f64>]) {
    for z in adjoint {
        *z = Complex::new(bf16(z.re), bf16(z.im));
    }
}

rows! { LayerHook:
    "M71a" "dk_convolved" at "grad.kernel.kernel.A_imag"
        wrong "dK_j = sum_i g_i u_{j-i}: irfft(G U) in the backward of both convolutions"
        right "dK_j = sum_i g_i u_{i-j}: irfft(G conj(U))"
        seen "plausible (HazyResearch/flash-fft-conv#33 mends a wrong backward)"
        looks "gradients of the input right, those of the models' parameters wrong"
        fix "the adjoint of a convolution is a correlation: conjugate the spectrum of u"
        by [ConvolutionAdjoint(convolved_kernel_gradient)];
    "M71b" "du_convolved" at "grad.input"
        wrong "du_j = sum_i g_i K_{j-i}: irfft(G K) in the backward of both convolutions"
        right "du_j = sum_i g_i K_{i-j}: irfft(G conj(K))"
        seen "plausible (HazyResearch/flash-fft-conv#33 mends a wrong backward)"
        looks "gradients of the kernel of the long convolution right, all before it wrong"
        fix "the adjoint of a convolution is a correlation: conjugate the spectrum of K"
        by [ConvolutionAdjoint(convolved_input_gradient)];
    "M71c" "dk_uncut" at "grad.kernel.kernel.A_imag"
        wrong "dK = irfft(G conj(U), n), all n = L_k + L entries"
        right "dK = irfft(G conj(U), n)[: L_k]"
        seen "HazyResearch/flash-fft-conv#16 (the kernel's gradient of another length)"
        looks "gradients of the models' parameters off by what lags outside the kernel add"
        fix "cut the kernel's gradient to the kernel's length before going on"
        by [ConvolutionAdjoint(uncut_kernel_gradient)];
    "M72a" "complex_grad_conj" at "grad.kernel.kernel.B"
        wrong "dL/dre - i dL/dim for the complex parameters B and C"
        right "dL/dre + i dL/dim"
        seen "plausible (JAX's gradient of a complex number is the conjugate of PyTorch's)"
        looks "imaginary parts of the gradients of B and C with the other sign"
        fix "conjugate the gradients of complex parameters, or train them as pairs"
        by [Gradient(|name, g| if is_complex(name) { conjugate(g) })];
    "M72b" "complex_grad_conj_all" at "grad.kernel.kernel.A_imag"
        wrong "dL/dre - i dL/dim for B, C and lambda"
        right "dL/dre + i dL/dim"
        seen "plausible (as M72a)"
        looks "as M72a, and the gradient of A_imag with the other sign"
        fix "conjugate the gradients of complex parameters, or train them as pairs"
        by [Gradient(|name, g| if is_complex(name) { conjugate(g) } else if name == "kernel.kernel.A_imag" { scale(g, -1.0) })];
    "M73" "half_grad" at "grad.kernel.kernel.A_imag"
        wrong "the backward of K = 2 Re(sum) as that of Re(sum)"
        right "2 g conj(.)"
        seen "plausible"
        looks "gradients of B, C, A and log_dt smaller by exactly 2"
        fix "the factor 2 of the conjugate modes belongs into the backward pass too"
        by [Gradient(|name, g| if name.starts_with("kernel.kernel.") { scale(g, 0.5) })];
    "M74a" "untrained_shift" at "grad.ssm_k_D"
        wrong "no gradient (zeros) for C and D of the shift model"
        right "they are trained"
        seen "seen in an independent port (parameters moved to the device: no leaves)"
        looks "gradients of ssm_k_kernel.kernel.C and ssm_k_D zero"
        fix "register C and D of the shift model as parameters after moving them"
        by [Gradient(|name, g| if ["ssm_k_D", "ssm_k_kernel.kernel.C"].contains(&name) { g.fill(0.0) })];
    "M74b" "untrained_shift_b" at "grad.ssm_k_kernel.kernel.B"
        wrong "no gradient (zeros) for B of the shift model"
        right "it is trained, though it begins as e_1"
        seen "seen in independent ports (B a plain tensor)"
        looks "the gradient of ssm_k_kernel.kernel.B zero"
        fix "register B of the shift model as a parameter"
        by [Gradient(|name, g| if name == "ssm_k_kernel.kernel.B" { g.fill(0.0) })];
    "M75" "state_grad_bf16" at "grad.input"
        wrong "l_i = bf16(C* g_i + A* l_{i+1}): the state's cotangent in bfloat16"
        right "in the precision of the rest"
        seen "fla-org/flash-linear-attention#37"
        looks "gradients good to two digits, worse the earlier the token"
        fix "keep the carried cotangent in float32"
        rounding BF16
        by [StateCotangent(bf16_cotangent)];
}
