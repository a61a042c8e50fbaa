//! The official parameters, and from them the discrete layer.

use super::config::Config;
use super::diagonal_models::DiagonalModels;
use super::layer::{Layer, LayerParts};
use super::modes::Modes;
use crate::algebra::{Linear, Matrix, Real};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use crate::ssm::Shift;

/// The parameters of the official layer, in this order: projections, shift model, diagonal model,
/// output projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// `q_proj.weight` (d, d)
    QWeight,
    /// `q_proj.bias` (d)
    QBias,
    /// `k_proj.weight` (d, d)
    KWeight,
    /// `k_proj.bias` (d)
    KBias,
    /// `v_proj.weight` (d, d)
    VWeight,
    /// `v_proj.bias` (d)
    VBias,
    /// `ssm_k_kernel.kernel.B` (d, m)
    ShiftB,
    /// `ssm_k_kernel.kernel.C` (1, d, m)
    ShiftC,
    /// `ssm_k_D` (d)
    ShiftD,
    /// `kernel.kernel.log_dt` (H)
    LogDt,
    /// `kernel.kernel.B` (n_ssm, m/2, 2)
    B,
    /// `kernel.kernel.C` (1, H, m/2, 2)
    C,
    /// `kernel.kernel.inv_A_real` (n_ssm, m/2)
    InvAReal,
    /// `kernel.kernel.A_imag` (n_ssm, m/2)
    AImag,
    /// `D` (H)
    D,
    /// `output_linear.weight` (d, d)
    OutputWeight,
    /// `output_linear.bias` (d)
    OutputBias,
}

impl Name {
    /// All parameters.
    pub const ALL: [Self; 17] = [
        Self::QWeight,
        Self::QBias,
        Self::KWeight,
        Self::KBias,
        Self::VWeight,
        Self::VBias,
        Self::ShiftB,
        Self::ShiftC,
        Self::ShiftD,
        Self::LogDt,
        Self::B,
        Self::C,
        Self::InvAReal,
        Self::AImag,
        Self::D,
        Self::OutputWeight,
        Self::OutputBias,
    ];

    /// The name in the official state dict.
    #[must_use]
    pub const fn official(self) -> &'static str {
        match self {
            Self::QWeight => "q_proj.weight",
            Self::QBias => "q_proj.bias",
            Self::KWeight => "k_proj.weight",
            Self::KBias => "k_proj.bias",
            Self::VWeight => "v_proj.weight",
            Self::VBias => "v_proj.bias",
            Self::ShiftB => "ssm_k_kernel.kernel.B",
            Self::ShiftC => "ssm_k_kernel.kernel.C",
            Self::ShiftD => "ssm_k_D",
            Self::LogDt => "kernel.kernel.log_dt",
            Self::B => "kernel.kernel.B",
            Self::C => "kernel.kernel.C",
            Self::InvAReal => "kernel.kernel.inv_A_real",
            Self::AImag => "kernel.kernel.A_imag",
            Self::D => "D",
            Self::OutputWeight => "output_linear.weight",
            Self::OutputBias => "output_linear.bias",
        }
    }

    /// The shape in a layer of these sizes.
    #[must_use]
    pub fn shape(self, config: &Config) -> Vec<usize> {
        let (d, m, h) = (config.d_model, config.d_state, config.n_heads());
        let (t, n) = (config.n_ssm, config.n_modes());
        match self {
            Self::QWeight | Self::KWeight | Self::VWeight | Self::OutputWeight => vec![d, d],
            Self::QBias | Self::KBias | Self::VBias | Self::OutputBias | Self::ShiftD => vec![d],
            Self::ShiftB => vec![d, m],
            Self::ShiftC => vec![1, d, m],
            Self::LogDt | Self::D => vec![h],
            Self::B => vec![t, n, 2],
            Self::C => vec![1, h, n, 2],
            Self::InvAReal | Self::AImag => vec![t, n],
        }
    }
}

/// The official parameters of one layer, of consistent shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters<T> {
    config: Config,
    // One vector a name, in the order of Name::ALL; each as long as its shape says.
    values: Vec<Vec<T>>,
}

impl<T: Copy> Parameters<T> {
    /// The parameters that `value_of` gives for each name, row-major.
    ///
    /// # Errors
    ///
    /// If the configuration is impossible, a value is not as long as its shape says, or
    /// `value_of` fails.
    pub fn new(
        config: Config,
        mut value_of: impl FnMut(Name) -> Result<Vec<T>, Error>,
    ) -> Result<Self, Error> {
        Self::new_by(config, &mut value_of)
    }

    /// [`new`](Self::new), compiled once and not for every function.
    fn new_by(
        config: Config,
        value_of: &mut dyn FnMut(Name) -> Result<Vec<T>, Error>,
    ) -> Result<Self, Error> {
        config.check()?;
        let values = Name::ALL
            .into_iter()
            .map(|name| {
                let value = value_of(name)?;
                let shape = name.shape(&config);
                check_len(name.official(), value.len(), shape.iter().product())?;
                Ok(value)
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self { config, values })
    }

    /// The sizes and choices of the layer.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// One parameter, row-major; its shape is [`Name::shape`].
    #[must_use]
    pub fn get(&self, name: Name) -> &[T] {
        &self.values[name as usize]
    }

    /// One parameter, to be changed.
    pub(crate) fn get_mut(&mut self, name: Name) -> &mut [T] {
        &mut self.values[name as usize]
    }

    /// The values of two parameters exchanged; they must be as long as each other.
    pub(crate) fn swap(&mut self, one: Name, other: Name) {
        self.values.swap(one as usize, other as usize);
    }

    /// The choices of the layer, to be changed; its sizes must stay.
    pub(crate) fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// The same parameters with every number replaced by its image.
    pub fn map<U: Copy>(&self, mut f: impl FnMut(T) -> U) -> Parameters<U> {
        self.map_by(&mut f)
    }

    /// [`map`](Self::map), compiled once for every pair of types and not for every function.
    fn map_by<U: Copy>(&self, f: &mut dyn FnMut(T) -> U) -> Parameters<U> {
        let mut image = |value: &Vec<T>| value.iter().map(|&x| f(x)).into_vec();
        Parameters {
            config: self.config.clone(),
            values: self.values.iter().map(&mut image).into_vec(),
        }
    }
}

impl<T: Real> Parameters<T> {
    /// `lambda` of every stored mode, (n_ssm, m/2) row-major: the real part decoded as
    /// `real_type` says, the imaginary part as stored.
    #[must_use]
    pub fn lambda(&self) -> Vec<T::Complex> {
        self.diagonal_models().lambda()
    }

    /// The discrete layer: `lambda` and `dt = exp(log_dt)` decoded, every diagonal model
    /// discretized.
    ///
    /// # Errors
    ///
    /// If a discretization has no value ([`bilinear`](crate::ssm::bilinear)).
    pub fn discretize(&self) -> Result<Layer<T>, Error> {
        self.discretize_modes(&self.modes())
    }

    /// [`discretize`](Self::discretize) from the decoded models.
    pub(crate) fn discretize_modes(&self, modes: &Modes<T>) -> Result<Layer<T>, Error> {
        let config = &self.config;
        let (d, m) = (config.d_model, config.d_state);
        let mut shift = Vec::with_capacity(d);
        for channel in 0..d {
            let taps = channel * m..(channel + 1) * m;
            let b = self.get(Name::ShiftB)[taps.clone()].to_vec();
            let c = self.get(Name::ShiftC)[taps].to_vec();
            shift.push(Shift::new(b, c, self.get(Name::ShiftD)[channel])?);
        }
        Layer::new(LayerParts {
            head_dim: config.head_dim,
            l_max: config.l_max,
            head_order: config.head_order,
            q: self.linear(Name::QWeight, Name::QBias)?,
            k: self.linear(Name::KWeight, Name::KBias)?,
            v: self.linear(Name::VWeight, Name::VBias)?,
            output: self.linear(Name::OutputWeight, Name::OutputBias)?,
            shift,
            diagonal: self.diagonal_models().discretize_modes(modes)?,
        })
    }

    /// The continuous diagonal models, decoded.
    pub(crate) fn modes(&self) -> Modes<T> {
        self.diagonal_models().modes()
    }

    /// The stored parameters of the diagonal models.
    pub(super) fn diagonal_models(&self) -> DiagonalModels<T> {
        DiagonalModels::of(&self.config, |name| self.get(name).to_vec())
    }

    fn linear(&self, weight: Name, bias: Name) -> Result<Linear<T>, Error> {
        let d = self.config.d_model;
        Linear::new(
            Matrix::new(d, d, self.get(weight).to_vec())?,
            self.get(bias).to_vec(),
        )
    }
}

impl<T> DiagonalModels<T> {
    /// The parameters that `value_of` gives for each of their names, of the right lengths.
    pub(crate) fn of(config: &Config, value_of: impl Fn(Name) -> Vec<T>) -> Self {
        Self {
            config: config.clone(),
            log_dt: value_of(Name::LogDt),
            b: value_of(Name::B),
            c: value_of(Name::C),
            inv_a_real: value_of(Name::InvAReal),
            a_imag: value_of(Name::AImag),
            d: value_of(Name::D),
        }
    }

    /// One parameter; `None` for a name that is none of theirs.
    pub(crate) fn get(&self, name: Name) -> Option<&[T]> {
        match name {
            Name::LogDt => Some(&self.log_dt),
            Name::B => Some(&self.b),
            Name::C => Some(&self.c),
            Name::InvAReal => Some(&self.inv_a_real),
            Name::AImag => Some(&self.a_imag),
            Name::D => Some(&self.d),
            _ => None,
        }
    }
}
