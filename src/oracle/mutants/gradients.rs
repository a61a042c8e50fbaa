//! Mistakes in the backward pass: gradients, wrong in every known way.

use super::activation::bf16;
use super::catalogue::{Words, accessors};
use crate::error::Error;
use crate::h3::{Backward, Form};
use crate::oracle::case::Case;
use crate::oracle::golden::default_form;
use crate::ssm::{
    Adjoint, Diagonal, Gradients, Shift, causal_convolution, causal_convolution_adjoint,
    convolution_adjoint_with, recurrence_adjoint_with,
};
use crate::tensor::Tensor;
use num_complex::Complex;

/// One known-wrong variant of the backward pass. What each is stands in the table of this module's
/// chapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum GradientMutant {
    /// Entry M71a of the catalogue.
    DkConvolved,
    /// Entry M71b of the catalogue.
    DuConvolved,
    /// Entry M71c of the catalogue.
    DkUncut,
    /// Entry M72a of the catalogue.
    ComplexGradConj,
    /// Entry M72b of the catalogue.
    ComplexGradConjAll,
    /// Entry M73 of the catalogue.
    HalfGrad,
    /// Entry M74a of the catalogue.
    UntrainedShift,
    /// Entry M74b of the catalogue.
    UntrainedShiftB,
    /// Entry M75 of the catalogue.
    StateGradBf16,
}

use GradientMutant::{
    ComplexGradConj, ComplexGradConjAll, DkConvolved, DkUncut, DuConvolved, HalfGrad,
    StateGradBf16, UntrainedShift, UntrainedShiftB,
};

impl GradientMutant {
    /// Every mutant of the backward pass, in the order of the catalogue.
    pub const ALL: [Self; 9] = [
        DkConvolved,
        DuConvolved,
        DkUncut,
        ComplexGradConj,
        ComplexGradConjAll,
        HalfGrad,
        UntrainedShift,
        UntrainedShiftB,
        StateGradBf16,
    ];

    const fn words(self) -> &'static Words {
        match self {
            DkConvolved => &Words {
                id: "M71a",
                name: "dk_convolved",
                first: "grad.kernel.kernel.A_imag",
                wrong: "dK_j = sum_i g_i u_{j-i}: irfft(G U) in the backward of both convolutions",
                right: "dK_j = sum_i g_i u_{i-j}: irfft(G conj(U))",
                evidence: "plausible (HazyResearch/flash-fft-conv#33 mends a wrong backward)",
                looks: "gradients of the input right, those of the models' parameters wrong",
                advice: "the adjoint of a convolution is a correlation: conjugate the spectrum of u",
            },
            DuConvolved => &Words {
                id: "M71b",
                name: "du_convolved",
                first: "grad.input",
                wrong: "du_j = sum_i g_i K_{j-i}: irfft(G K) in the backward of both convolutions",
                right: "du_j = sum_i g_i K_{i-j}: irfft(G conj(K))",
                evidence: "plausible (HazyResearch/flash-fft-conv#33 mends a wrong backward)",
                looks: "gradients of the kernel of the long convolution right, all before it wrong",
                advice: "the adjoint of a convolution is a correlation: conjugate the spectrum of K",
            },
            DkUncut => &Words {
                id: "M71c",
                name: "dk_uncut",
                first: "grad.kernel.kernel.A_imag",
                wrong: "dK = irfft(G conj(U), n), all n = L_k + L entries",
                right: "dK = irfft(G conj(U), n)[: L_k]",
                evidence: "HazyResearch/flash-fft-conv#16 (the kernel's gradient of another length)",
                looks: "gradients of the models' parameters off by what lags outside the kernel add",
                advice: "cut the kernel's gradient to the kernel's length before going on",
            },
            ComplexGradConj => &Words {
                id: "M72a",
                name: "complex_grad_conj",
                first: "grad.kernel.kernel.B",
                wrong: "dL/dre - i dL/dim for the complex parameters B and C",
                right: "dL/dre + i dL/dim",
                evidence: "plausible (JAX's gradient of a complex number is the conjugate of PyTorch's)",
                looks: "imaginary parts of the gradients of B and C with the other sign",
                advice: "conjugate the gradients of complex parameters, or train them as pairs",
            },
            ComplexGradConjAll => &Words {
                id: "M72b",
                name: "complex_grad_conj_all",
                first: "grad.kernel.kernel.A_imag",
                wrong: "dL/dre - i dL/dim for B, C and lambda",
                right: "dL/dre + i dL/dim",
                evidence: "plausible (as M72a)",
                looks: "as M72a, and the gradient of A_imag with the other sign",
                advice: "conjugate the gradients of complex parameters, or train them as pairs",
            },
            HalfGrad => &Words {
                id: "M73",
                name: "half_grad",
                first: "grad.kernel.kernel.A_imag",
                wrong: "the backward of K = 2 Re(sum) as that of Re(sum)",
                right: "2 g conj(.)",
                evidence: "plausible",
                looks: "gradients of B, C, A and log_dt smaller by exactly 2",
                advice: "the factor 2 of the conjugate modes belongs into the backward pass too",
            },
            UntrainedShift => &Words {
                id: "M74a",
                name: "untrained_shift",
                first: "grad.ssm_k_D",
                wrong: "no gradient (zeros) for C and D of the shift model",
                right: "they are trained",
                evidence: "seen in an independent port (parameters moved to the device: no leaves)",
                looks: "gradients of ssm_k_kernel.kernel.C and ssm_k_D zero",
                advice: "register C and D of the shift model as parameters after moving them",
            },
            UntrainedShiftB => &Words {
                id: "M74b",
                name: "untrained_shift_b",
                first: "grad.ssm_k_kernel.kernel.B",
                wrong: "no gradient (zeros) for B of the shift model",
                right: "it is trained, though it begins as e_1",
                evidence: "seen in independent ports (B a plain tensor)",
                looks: "the gradient of ssm_k_kernel.kernel.B zero",
                advice: "register B of the shift model as a parameter",
            },
            StateGradBf16 => &Words {
                id: "M75",
                name: "state_grad_bf16",
                first: "grad.input",
                wrong: "l_i = bf16(C* g_i + A* l_{i+1}): the state's cotangent in bfloat16",
                right: "in the precision of the rest",
                evidence: "fla-org/flash-linear-attention#37",
                looks: "gradients good to two digits, worse the earlier the token",
                advice: "keep the carried cotangent in float32",
            },
        }
    }
}

accessors!(GradientMutant);

/// The gradients of a case ([`Case::gradients`]) in `f64`, with one mistake in the backward pass.
///
/// # Errors
///
/// As [`Case::gradients`].
pub fn mutated_gradients(
    case: &Case,
    mutant: GradientMutant,
) -> Result<Vec<(String, Tensor<f64>)>, Error> {
    let form = default_form(case);
    let back = Wrong {
        mutant,
        form: &form,
    };
    let mut gradients = case.gradients_by::<f64>(&form, &back)?;
    for (name, gradient) in &mut gradients {
        let parameter = name.strip_prefix("grad.").unwrap_or(name);
        mutant.afterwards(parameter, gradient.data_mut());
    }
    Ok(gradients)
}

impl GradientMutant {
    /// What the mistake does to a parameter's gradient once it is there.
    fn afterwards(self, parameter: &str, gradient: &mut [f64]) {
        let complex = ["kernel.kernel.B", "kernel.kernel.C"].contains(&parameter);
        let imaginary = parameter == "kernel.kernel.A_imag";
        match self {
            ComplexGradConj | ComplexGradConjAll if complex => {
                gradient
                    .iter_mut()
                    .skip(1)
                    .step_by(2)
                    .for_each(|x| *x = -*x); // M72
            }
            ComplexGradConjAll if imaginary => gradient.iter_mut().for_each(|x| *x = -*x), // M72b
            // M73: B, C, lambda and log_dt.
            HalfGrad if parameter.starts_with("kernel.kernel.") => {
                gradient.iter_mut().for_each(|x| *x /= 2.0);
            }
            // M74a
            UntrainedShift if ["ssm_k_D", "ssm_k_kernel.kernel.C"].contains(&parameter) => {
                gradient.fill(0.0);
            }
            UntrainedShiftB if parameter == "ssm_k_kernel.kernel.B" => gradient.fill(0.0), // M74b
            _ => {}
        }
    }
}

/// The adjoint of a form, with a mistake.
struct Wrong<'a> {
    mutant: GradientMutant,
    form: &'a Form,
}

impl Wrong<'_> {
    /// M71: the adjoint of the convolution, where that is what is wrong.
    fn convolution<S: Adjoint<Scalar = f64>>(
        &self,
        ssm: &S,
        u: &[f64],
        x0: Option<&[S::Element]>,
        g: &[f64],
        g_state: Option<&[S::Element]>,
        window: usize,
    ) -> Option<Result<Gradients<S>, Error>> {
        if ![DkConvolved, DuConvolved, DkUncut].contains(&self.mutant) {
            return None;
        }
        let adjoint = |f: &[f64]| {
            let (mut of_kernel, mut of_input) = causal_convolution_adjoint(f, u, g);
            match self.mutant {
                DkConvolved => {
                    of_kernel = causal_convolution(u, g);
                    of_kernel.truncate(f.len());
                }
                DuConvolved => of_input = causal_convolution(f, g),
                _ => of_kernel = correlation(g, u, f.len() + u.len()),
            }
            Ok((of_kernel, of_input))
        };
        Some(convolution_adjoint_with(
            ssm, u, x0, g, g_state, window, adjoint,
        ))
    }
}

/// `irfft(G conj(U), n)`: `sum_i g_i u_{(i - j) mod n}`, j = 0, ..., n - 1.
fn correlation(g: &[f64], u: &[f64], n: usize) -> Vec<f64> {
    let place = |i: usize, j: usize| (i + n - j) % n;
    let term = |i, j| g[i] * u.get(place(i, j)).copied().unwrap_or(0.0);
    (0..n)
        .map(|j| (0..g.len()).map(|i| term(i, j)).sum())
        .collect()
}

impl Backward<f64> for Wrong<'_> {
    fn shift(
        &self,
        ssm: &Shift<f64>,
        u: &[f64],
        x0: Option<&[f64]>,
        g: &[f64],
        g_state: Option<&[f64]>,
        window: usize,
    ) -> Result<Gradients<Shift<f64>>, Error> {
        let wrong = self.convolution(ssm, u, x0, g, g_state, window);
        wrong.unwrap_or_else(|| Backward::shift(self.form, ssm, u, x0, g, g_state, window))
    }

    fn diagonal(
        &self,
        ssm: &Diagonal<f64>,
        u: &[f64],
        x0: Option<&[Complex<f64>]>,
        g: &[f64],
        g_state: Option<&[Complex<f64>]>,
        window: usize,
    ) -> Result<Gradients<Diagonal<f64>>, Error> {
        // A kernel that is cut has no state, nor the state a cotangent.
        if self.mutant == StateGradBf16 && window == u.len() {
            return recurrence_adjoint_with(ssm, u, x0, g, g_state, |adjoint| {
                for z in adjoint {
                    *z = Complex::new(bf16(z.re), bf16(z.im)); // M75
                }
            });
        }
        let wrong = self.convolution(ssm, u, x0, g, g_state, window);
        wrong.unwrap_or_else(|| Backward::diagonal(self.form, ssm, u, x0, g, g_state, window))
    }
}
