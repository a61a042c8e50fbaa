//! From the gradients of the discrete layer to those of the official parameters.

use super::config::RealType;
use super::gradients::LayerGradients;
use super::parameters::{Name, Parameters, sigmoid};
use crate::algebra::{ComplexScalar, Real, Ring, real_and_imaginary};
use crate::error::{Error, check_len};
use crate::ssm::StateSpace;

impl<T: Real> Parameters<T> {
    /// The gradient with respect to every official parameter, in the parameters' own shapes, given
    /// the gradients of the [discrete layer](Self::discretize): back through the discretization
    /// (summed over the heads that share a model), `dt = exp(log_dt)` and `real_type`.
    ///
    /// # Errors
    ///
    /// If `gradients` is not of a layer of these sizes, or as [`discretize`](Self::discretize).
    pub fn gradients(&self, gradients: &LayerGradients<T>) -> Result<Self, Error> {
        let config = self.config();
        check_len(
            "gradients of the heads",
            gradients.diagonal.len(),
            config.n_heads(),
        )?;
        let discrete: Vec<_> = gradients
            .diagonal
            .iter()
            .map(|head| (head.poles().to_vec(), head.b().to_vec()))
            .collect();
        let modes = self.modes();
        let continuous = modes.discretize_adjoint(config.disc, &discrete)?;
        Self::new(config.clone(), |name| {
            Ok(match name {
                Name::QWeight => gradients.q.weight.entries().to_vec(),
                Name::KWeight => gradients.k.weight.entries().to_vec(),
                Name::VWeight => gradients.v.weight.entries().to_vec(),
                Name::OutputWeight => gradients.output.weight.entries().to_vec(),
                Name::QBias => gradients.q.bias.clone(),
                Name::KBias => gradients.k.bias.clone(),
                Name::VBias => gradients.v.bias.clone(),
                Name::OutputBias => gradients.output.bias.clone(),
                Name::ShiftB => joined(&gradients.shift, |s| s.b().to_vec()),
                Name::ShiftC => joined(&gradients.shift, |s| s.c().to_vec()),
                Name::ShiftD => gradients.shift.iter().map(|s| s.feedthrough()).collect(),
                Name::D => gradients.diagonal.iter().map(|s| s.feedthrough()).collect(),
                Name::C => joined(&gradients.diagonal, |head| real_and_imaginary(head.c())),
                Name::B => real_and_imaginary(&continuous.b),
                // d exp(x) = exp(x) dx, and exp(log_dt) is at hand.
                Name::LogDt => modes
                    .dt
                    .iter()
                    .zip(&continuous.dt)
                    .map(|(&dt, &g)| dt * g)
                    .collect(),
                Name::InvAReal => self
                    .get(Name::InvAReal)
                    .iter()
                    .zip(&continuous.lambda)
                    .map(|(&stored, g)| decode_slope(config.real_type, stored) * g.re())
                    .collect(),
                Name::AImag => continuous.lambda.iter().map(|g| g.im()).collect(),
            })
        })
    }
}

/// One array per model, joined.
fn joined<S, T: Copy>(models: &[S], read: fn(&S) -> Vec<T>) -> Vec<T> {
    let mut all = Vec::new();
    for model in models {
        all.extend_from_slice(&read(model));
    }
    all
}

/// The slope of the real part of lambda in its stored parameter.
///
/// As PyTorch's: zero at the kink of relu, and one above softplus's threshold of 20.
fn decode_slope<T: Real>(real_type: RealType, stored: T) -> T {
    -match real_type {
        RealType::None => T::ONE,
        RealType::Exp => stored.exp(),
        RealType::Relu => stored.step(),
        RealType::Sigmoid => sigmoid(stored) * sigmoid(-stored),
        RealType::Softplus if stored.to_f64() > 20.0 => <T as Ring>::ONE,
        RealType::Softplus => sigmoid(stored),
    }
}
