//! M71 to M75, M95 to M98, M104: the backward pass.

use super::super::hooks::LayerHook::{
    self, ConvolutionAdjoint, Cotangent, CotangentsLeak, Gradient, ReverseCarry, StateCotangent,
    StateCotangents,
};
use super::{bf16, conjugate, sequences_exchanged};
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::rows;
use crate::ssm::{Adjoint, Diagonal, causal_convolution, causal_convolution_adjoint};
use crate::tensor::Tensor;
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
    (of_kernel.into_vec(), of_input)
}

fn is_complex(parameter: &str) -> bool {
    ["kernel.kernel.B", "kernel.kernel.C"].contains(&parameter)
}

fn scale(gradient: &mut Tensor<f64>, factor: f64) {
    gradient.data_mut().iter_mut().for_each(|x| *x *= factor);
}

fn clear(gradient: &mut Tensor<f64>) {
    gradient.data_mut().fill(0.0);
}

/// The gradient of one parameter set to zero.
fn detach(name: &str, gradient: &mut Tensor<f64>, parameter: &str) {
    if name == parameter {
        clear(gradient);
    }
}

/// One token of every sequence set to zero: of (batch, seq_len, d) the one that `place` names, given
/// the length.
fn without_token(x: &mut Tensor<f64>, place: fn(usize) -> Option<usize>) {
    let &[batch, len, _] = x.shape() else { return };
    if let Some(token) = place(len).filter(|&token| token < len) {
        for b in 0..batch {
            x.row_mut(b * len + token).fill(0.0);
        }
    }
}

fn last(len: usize) -> Option<usize> {
    len.checked_sub(1)
}

/// All sequences but the first set to zero.
fn first_sequence(g: &mut Tensor<f64>) {
    let each = g.data().len() / g.shape()[0].max(1);
    g.data_mut().iter_mut().skip(each).for_each(|x| *x = 0.0);
}

/// `(A*)^k l`.
fn decayed(ssm: &Diagonal<f64>, l: &[Complex<f64>], k: usize) -> Vec<Complex<f64>> {
    // Linear in the cotangent, so the state that it is asked about may be any.
    ssm.advance_adjoint(l, k, l, &mut ssm.zero_gradient())
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
    "M71b" "du_convolved" at "grad.kv"
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
        fix "truncate the kernel's gradient to the kernel's length before continuing"
        by [ConvolutionAdjoint(uncut_kernel_gradient)];
    "M72a" "complex_grad_conj" at "grad.kernel.kernel.B"
        wrong "dL/dre - i dL/dim for the complex parameters B and C"
        right "dL/dre + i dL/dim"
        seen "plausible (JAX's gradient of a complex number is the conjugate of PyTorch's)"
        looks "imaginary parts of the gradients of B and C with the other sign"
        fix "conjugate the gradients of complex parameters, or train them as pairs"
        by [Gradient(|name, g| if is_complex(name) { conjugate(g.data_mut()) })];
    "M72b" "complex_grad_conj_all" at "grad.kernel.kernel.A_imag"
        wrong "dL/dre - i dL/dim for B, C and lambda"
        right "dL/dre + i dL/dim"
        seen "plausible (as M72a)"
        looks "as M72a, and the gradient of A_imag with the other sign"
        fix "conjugate the gradients of complex parameters, or train them as pairs"
        by [Gradient(|name, g| if is_complex(name) { conjugate(g.data_mut()) } else if name == "kernel.kernel.A_imag" { scale(g, -1.0) })];
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
        by [Gradient(|name, g| if ["ssm_k_D", "ssm_k_kernel.kernel.C"].contains(&name) { clear(g) })];
    "M74b" "untrained_shift_b" at "grad.ssm_k_kernel.kernel.B"
        wrong "no gradient (zeros) for B of the shift model"
        right "it is trained, though it begins as e_1"
        seen "seen in independent ports (B a plain tensor)"
        looks "the gradient of ssm_k_kernel.kernel.B zero"
        fix "register B of the shift model as a parameter"
        by [Gradient(|name, g| detach(name, g, "ssm_k_kernel.kernel.B"))];
    "M75" "state_grad_bf16" at "grad.kv"
        wrong "l_i = bf16(C* g_i + A* l_{i+1}): the state's cotangent in bfloat16"
        right "in the precision of the rest"
        seen "fla-org/flash-linear-attention#37"
        looks "gradients good to two digits, worse the earlier the token"
        fix "keep the carried cotangent in float32"
        rounding BF16
        by [StateCotangent(bf16_cotangent)];
    "M95a" "reverse_carry_undecayed" at "grad.kv"
        wrong "the cotangent of a chunk's first state handed on as it is: l_i"
        right "A* l_i, the cotangent of the state before the chunk"
        seen "plausible (vllm-project/vllm#23279, the decay of a carry counted from the wrong place, backward)"
        looks "last chunk right, all before it wrong, in chunks"
        fix "a step of A* lies between the first state of a chunk and the last of the one before"
        by [ReverseCarry(|c| c.first.to_vec())];
    "M95b" "reverse_carry_whole_undecayed" at "grad.kv"
        wrong "l^(c-1) = l^(c) + M_xy* g: the cotangent handed on does not decay over the chunk"
        right "l^(c-1) = (A*)^len l^(c) + M_xy* g"
        seen "plausible (as M58c, backward)"
        looks "the last two chunks right, all before them wrong"
        fix "the cotangent decays by (A*)^len over a chunk, as the state does by A^len"
        by [ReverseCarry(|c| {
            let decayed = decayed(c.ssm, c.incoming, c.len);
            let terms = c.right.iter().zip(&decayed).zip(c.incoming);
            terms.map(|((right, decayed), incoming)| right - decayed + incoming).into_vec()
        })];
    "M95c" "reverse_carry_dropped" at "grad.kv"
        wrong "the way back ends at the boundaries of chunks: the state handed on is detached"
        right "l^(c-1) = (A*)^len l^(c) + M_xy* g"
        seen "plausible (truncated backpropagation; fla-org/flash-linear-attention#875: a step outside autograd)"
        looks "last chunk right; gradients of earlier inputs lack what later chunks make of them"
        fix "pass the cotangent of the state on to the previous chunk"
        by [ReverseCarry(|c| vec![Complex::new(0.0, 0.0); c.right.len()])];
    "M95d" "reverse_carry_one_late" at "grad.kv"
        wrong "A* l^(c-1) handed on: one power of A too many"
        right "l^(c-1), the cotangent of the state before the chunk"
        seen "plausible (rows of M_xy* begin at power 1, those of M_ux* at power 0)"
        looks "last chunk right, all before it wrong"
        fix "the columns of M_xy* are (CA)*, ..., (CA^T)*: the carry needs no further power"
        by [ReverseCarry(|c| decayed(c.ssm, c.right, 1))];
    "M95e" "reverse_carry_full_chunk" at "grad.kv"
        wrong "(A*)^{T-len} l^(c-1) out of a last chunk of len < T: its padding stepped through"
        right "l^(c-1)"
        seen "plausible (fla-org/flash-linear-attention#1142, pull request 577: last chunks that are not whole, backward)"
        looks "right where the chunk length divides the length; else only the last chunk"
        fix "count the powers of a short last chunk by its own length"
        by [ReverseCarry(|c| decayed(c.ssm, c.right, c.chunk_len - c.len))];
    "M96a" "detached_frequencies" at "grad.kernel.kernel.A_imag"
        wrong "no gradient (zeros) for A_imag"
        right "it is trained"
        seen "plausible (frequencies kept as a buffer)"
        looks "the gradient of A_imag zero, all others right"
        fix "register A_imag as a parameter; make the complex A from it within autograd"
        by [Gradient(|name, g| detach(name, g, "kernel.kernel.A_imag"))];
    "M96b" "detached_decays" at "grad.kernel.kernel.inv_A_real"
        wrong "no gradient (zeros) for inv_A_real"
        right "it is trained"
        seen "plausible (decays kept as a buffer)"
        looks "the gradient of inv_A_real zero, all others right"
        fix "register inv_A_real as a parameter; decode it within autograd"
        by [Gradient(|name, g| detach(name, g, "kernel.kernel.inv_A_real"))];
    "M96c" "detached_dt" at "grad.kernel.kernel.log_dt"
        wrong "no gradient (zeros) for log_dt"
        right "it is trained"
        seen "plausible (a constant step; the PINA-style blocks have one)"
        looks "the gradient of log_dt zero, all others right"
        fix "register log_dt as a parameter; exponentiate it within autograd"
        by [Gradient(|name, g| detach(name, g, "kernel.kernel.log_dt"))];
    "M96d" "detached_b" at "grad.kernel.kernel.B"
        wrong "no gradient (zeros) for B of the diagonal model"
        right "it is trained, though it begins as 1"
        seen "plausible (as M74b; B = 1 at initialization)"
        looks "the gradient of kernel.kernel.B zero, all others right"
        fix "register B of the diagonal model as a parameter"
        by [Gradient(|name, g| detach(name, g, "kernel.kernel.B"))];
    "M96e" "detached_c" at "grad.kernel.kernel.C"
        wrong "no gradient (zeros) for C of the diagonal model"
        right "it is trained"
        seen "plausible (as M74a)"
        looks "the gradient of kernel.kernel.C zero, all others right"
        fix "register C of the diagonal model as a parameter after moving it"
        by [Gradient(|name, g| detach(name, g, "kernel.kernel.C"))];
    "M96f" "detached_skip" at "grad.D"
        wrong "no gradient (zeros) for D"
        right "it is trained"
        seen "plausible (as M74a)"
        looks "the gradient of D zero, all others right"
        fix "register D as a parameter"
        by [Gradient(|name, g| detach(name, g, "D"))];
    "M97a" "first_input_grad_lost" at "grad.input"
        wrong "zeros for the gradient of the first token"
        right "what its outputs make of it"
        seen "plausible (a scan backward that stops one step early)"
        looks "the gradient of the input zero at the first token, all others right"
        fix "the backward pass ends at token 0, not at token 1"
        by [Gradient(|name, g| if name == "input" { without_token(g, |_| Some(0)) })];
    "M97b" "last_input_grad_lost" at "grad.input"
        wrong "zeros for the gradient of the last token"
        right "what its output makes of it"
        seen "plausible (a scan backward that starts one step early)"
        looks "the gradient of the input zero at the last token, all others right"
        fix "the backward pass starts at the last token"
        by [Gradient(|name, g| if name == "input" { without_token(g, last) })];
    "M98a" "last_output_uncounted" at "grad.gated"
        wrong "the cotangent of the last output as zero"
        right "as given"
        seen "plausible (a loss over tokens shifted by one)"
        looks "all gradients wrong, that of the input zero at the last token"
        fix "pass all of the output's cotangent to the backward pass"
        by [Cotangent(|g| without_token(g, last))];
    "M98b" "mean_over_batch" at "grad.gated"
        wrong "gradients divided by the number of sequences"
        right "summed over sequences"
        seen "plausible (a loss that is a mean, or data parallelism that averages)"
        looks "all gradients smaller by exactly the batch"
        fix "sum over the sequences of a batch"
        by [Cotangent(|g| { let batch = g.shape()[0] as f64; scale(g, 1.0 / batch); })];
    "M98c" "first_sequence_alone" at "grad.gated"
        wrong "gradients of the first sequence alone"
        right "summed over sequences"
        seen "plausible (parameters' gradients overwritten, not accumulated, over a batch)"
        looks "right with a batch of one; else parts of all gradients missing"
        fix "accumulate over the sequences of a batch; test with a batch above 1"
        by [Cotangent(first_sequence)];
    "M104a" "state_cotangents_exchanged" at "grad.kv"
        wrong "the cotangents of final states are those of another sequence or document"
        right "each of its own"
        seen "plausible (as M91a, on the way back)"
        looks "everything right without cotangents of states; with them all gradients wrong"
        fix "index the cotangents of states as the states"
        by [StateCotangents(|g| {
            g.shift = sequences_exchanged(&g.shift);
            g.diagonal = sequences_exchanged(&g.diagonal);
        })];
    "M104b" "state_cotangents_dropped" at "grad.kv"
        wrong "the cotangents of final states are not read"
        right "lambda begins with the cotangent of the final state"
        seen "plausible (a state returned for caching alone, detached)"
        looks "right without cotangents of states; with them as if there were none"
        fix "pass the state's cotangent to the backward pass of both models"
        by [StateCotangents(|g| {
            g.shift.data_mut().fill(0.0);
            g.diagonal.data_mut().fill(Complex::ZERO);
        })];
    "M104c" "state_cotangents_conjugated" at "grad.kv"
        wrong "the loss takes Re(g z) of a complex state"
        right "Re(conj(g) z): the cotangent holds the derivatives by real and imaginary part"
        seen "plausible (as M72a)"
        looks "right where the cotangents of states are real"
        fix "conjugate the cotangent of the diagonal models' final states"
        by [StateCotangents(|g| g.diagonal = g.diagonal.map(|z| z.conj()))];
    "M104d" "cotangents_leak" at "grad.kv"
        wrong "the cotangent of the state that a document begins from goes on into the document before it"
        right "it ends there: documents know nothing of each other"
        seen "fla-org/flash-linear-attention#1184 (a backward pass without cu_seqlens)"
        looks "outputs right; gradients of the last document right, of earlier ones wrong at their ends"
        fix "start the backward pass anew at every boundary of cu_seqlens"
        by [CotangentsLeak];
}
