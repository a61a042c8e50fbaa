//! Known mistakes in S4D layers.

use super::hooks::ModelHook::{self, Parameters, S4dOutput};
use crate::algebra::Linear;
use crate::h3::Name;
use crate::into_vec::IntoVec as _;
use crate::model::{BlockName, ModelName, ModelParameters, exact_gelu, gelu};
use crate::oracle::mistake::rows;
use crate::ssm::Discretization;
use num_complex::Complex;

/// A parameter of every S4D layer times a factor.
fn scaled(p: &ModelParameters<f64>, name: ModelName, of: Name, factor: f64) -> Option<Vec<f64>> {
    let ModelName::Block(_, BlockName::S4d(found)) = name else {
        return None;
    };
    (found == of).then(|| p.get(name).iter().map(|x| factor * x).into_vec())
}

/// `C` with its imaginary parts negated.
fn conjugated(p: &ModelParameters<f64>, name: ModelName) -> Option<Vec<f64>> {
    let mut c = scaled(p, name, Name::C, 1.0)?;
    c.iter_mut().skip(1).step_by(2).for_each(|im| *im = -*im);
    Some(c)
}

/// `C` read as all real parts, then all imaginary ones, for every channel.
fn planar(p: &ModelParameters<f64>, name: ModelName) -> Option<Vec<f64>> {
    let c = scaled(p, name, Name::C, 1.0)?;
    let each = p.config().h3.d_state;
    let read = c.chunks_exact(each).flat_map(|c| {
        let (re, im) = c.split_at(each / 2);
        re.iter().zip(im).flat_map(|(&re, &im)| [re, im])
    });
    Some(read.into_vec())
}

/// `C` times `dt` and over the factor by which the discretization multiplies the input.
fn euler(p: &ModelParameters<f64>, name: ModelName) -> Option<Vec<f64>> {
    let c = scaled(p, name, Name::C, 1.0)?;
    let ModelName::Block(block, _) = name else {
        return None;
    };
    let config = &p.config().h3;
    let (modes, models) = (config.d_state / 2, config.n_ssm);
    let of = |name| p.get(ModelName::Block(block, BlockName::S4d(name)));
    let (log_dt, real, imaginary) = (of(Name::LogDt), of(Name::InvAReal), of(Name::AImag));
    let numbers = c.chunks_exact(2).enumerate().flat_map(|(at, c)| {
        let (channel, mode) = (at / modes, at % modes);
        let mode = channel % models * modes + mode;
        let dt = log_dt[channel].exp();
        let z = dt * Complex::new(-real[mode].exp(), imaginary[mode]);
        let right = match config.disc {
            Discretization::ZeroOrderHold => (z.exp() - 1.0) / z,
            Discretization::Bilinear => 1.0 / (1.0 - z / 2.0),
        };
        let c = Complex::new(c[0], c[1]) / right;
        [c.re, c.im]
    });
    Some(numbers.into_vec())
}

/// The projection after an activation.
fn applied(linear: &Linear<f64>, x: &[f64], activation: fn(f64) -> f64) -> Vec<f64> {
    linear.apply(&x.iter().map(|&x| activation(x)).into_vec())
}

/// The activation after the projection.
fn activated_after(linear: &Linear<f64>, x: &[f64]) -> Vec<f64> {
    linear.apply(x).into_iter().map(exact_gelu).into_vec()
}

rows! { ModelHook:
    "L21a" "s4d_tanh_gelu" at "block0.residual"
        wrong "W gelu(x) + b by the tanh approximation"
        right "by x/2 (1 + erf(x / sqrt(2)))"
        seen "plausible (the MLPs beside it take the approximation)"
        looks "wrong from the first S4D block on, by less than half a thousandth"
        fix "S4D's activation is nn.GELU() without approximation"
        by [S4dOutput(|linear, x| applied(linear, x, gelu))];
    "L21b" "s4d_no_gelu" at "block0.residual"
        wrong "W x + b"
        right "W gelu(x) + b"
        seen "plausible (an H3 layer has no activation there)"
        looks "wrong from the first S4D block on"
        fix "apply the activation to the models' responses"
        by [S4dOutput(|linear, x| linear.apply(x))];
    "L21c" "s4d_gelu_after" at "block0.residual"
        wrong "gelu(W x + b)"
        right "W gelu(x) + b"
        seen "plausible"
        looks "wrong from the first S4D block on, and never below -0.17 before the residual is added"
        fix "the activation comes before output_linear"
        by [S4dOutput(activated_after)];
    "L22a" "s4d_half_kernel" at "block0.residual"
        wrong "re(sum over the stored modes)"
        right "2 re(...): each stands for a conjugate pair"
        seen "plausible (S4's kernels have both conventions)"
        looks "wrong from the first S4D block on; right where D dominates"
        fix "double the real part"
        by [Parameters(|p, name| scaled(p, name, Name::C, 0.5))];
    "L22b" "s4d_no_d" at "block0.residual"
        wrong "f * u"
        right "f * u + D u"
        seen "plausible"
        looks "wrong from the first S4D block on"
        fix "add D u before the activation"
        by [Parameters(|p, name| scaled(p, name, Name::D, 0.0))];
    "L22c" "s4d_euler_input" at "block0.residual"
        wrong "C dt exp(k dt lambda)"
        right "C (exp(dt lambda) - 1)/lambda exp(k dt lambda), or what the bilinear rule has in its place"
        seen "plausible (Mamba's kernels discretize B so)"
        looks "wrong from the first S4D block on, by little at small dt"
        fix "discretize the input as the state"
        by [Parameters(euler)];
    "L22d" "s4d_conjugated" at "block0.residual"
        wrong "the conjugate of C"
        right "C"
        seen "plausible (view_as_complex and einsum with conj, or w_imag of the other sign)"
        looks "wrong from the first S4D block on; right at lag 0 but for rounding where C is real"
        fix "C and w_imag belong together as they are stored"
        by [Parameters(conjugated)];
    "L22e" "s4d_planar_c" at "block0.residual"
        wrong "C read as all real parts, then all imaginary ones"
        right "as pairs (view_as_complex)"
        seen "plausible (as M85d of the H3 layer)"
        looks "wrong from the first S4D block on"
        fix "the last axis of kernel.kernel.C is (re, im)"
        by [Parameters(planar)];
}
