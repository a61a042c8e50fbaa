//! The parameters of a Mamba-2 layer under their official names, and its choices.

use crate::algebra::Ring;
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// The choices of a layer (official `mamba_ssm/modules/mamba2.py`, `Mamba2.__init__`).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mamba2Config {
    pub(crate) d_model: usize,
    /// H.
    pub(crate) heads: usize,
    /// P.
    pub(crate) head_dim: usize,
    /// G, which divides H.
    pub(crate) groups: usize,
    /// N.
    pub(crate) d_state: usize,
    /// K, the taps of the convolution.
    pub(crate) d_conv: usize,
    /// Channels that pass by the state space model, gated alone.
    pub(crate) d_mlp: usize,
    /// The gated RMSNorm; `None` with `rmsnorm` = false.
    pub(crate) norm: Option<GatedNorm>,
    /// The smallest and the largest step.
    pub(crate) dt_limit: (f64, f64),
    /// True if D has one number per channel.
    pub(crate) d_has_hdim: bool,
    /// True for each projection, and for the convolution, that has a bias.
    pub(crate) bias: [bool; 3],
}

/// The choices of the gated RMSNorm.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GatedNorm {
    /// The number of groups of channels that are normalized separately.
    pub(crate) groups: usize,
    pub(crate) eps: f64,
    /// True if the gate is multiplied in after the norm.
    pub(crate) before_gate: bool,
}

/// The rows of the input projection that make up one part.
pub(crate) type Columns = core::ops::Range<usize>;

impl Mamba2Config {
    pub(crate) fn d_ssm(&self) -> usize {
        self.heads * self.head_dim
    }

    /// The channels of the convolution: x, B and C.
    pub(crate) fn conv_dim(&self) -> usize {
        self.d_ssm() + 2 * self.groups * self.d_state
    }

    /// The rows of the input projection: z0, x0, z, xBC, dt.
    pub(crate) fn columns(&self) -> [Columns; 5] {
        let mut end = 0;
        [
            self.d_mlp,
            self.d_mlp,
            self.d_ssm(),
            self.conv_dim(),
            self.heads,
        ]
        .map(|len| {
            end += len;
            end - len..end
        })
    }

    pub(crate) fn projected(&self) -> usize {
        self.columns()[4].end
    }
}

/// A parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mamba2Name {
    InWeight,
    InBias,
    ConvWeight,
    ConvBias,
    DtBias,
    ALog,
    D,
    NormWeight,
    OutWeight,
    OutBias,
}

impl Mamba2Name {
    pub(crate) const ALL: [Self; 10] = [
        Self::InWeight,
        Self::InBias,
        Self::ConvWeight,
        Self::ConvBias,
        Self::DtBias,
        Self::ALog,
        Self::D,
        Self::NormWeight,
        Self::OutWeight,
        Self::OutBias,
    ];

    pub(crate) fn official(self) -> &'static str {
        match self {
            Self::InWeight => "in_proj.weight",
            Self::InBias => "in_proj.bias",
            Self::ConvWeight => "conv1d.weight",
            Self::ConvBias => "conv1d.bias",
            Self::DtBias => "dt_bias",
            Self::ALog => "A_log",
            Self::D => "D",
            Self::NormWeight => "norm.weight",
            Self::OutWeight => "out_proj.weight",
            Self::OutBias => "out_proj.bias",
        }
    }

    /// The shape in files; `None` for one that the layer has not.
    pub(crate) fn shape(self, c: &Mamba2Config) -> Option<Vec<usize>> {
        let inner = c.d_ssm() + c.d_mlp;
        let [in_bias, conv_bias, out_bias] = c.bias;
        match self {
            Self::InWeight => Some(vec![c.projected(), c.d_model]),
            Self::InBias => in_bias.then(|| vec![c.projected()]),
            Self::ConvWeight => Some(vec![c.conv_dim(), 1, c.d_conv]),
            Self::ConvBias => conv_bias.then(|| vec![c.conv_dim()]),
            Self::DtBias | Self::ALog => Some(vec![c.heads]),
            Self::D if c.d_has_hdim => Some(vec![c.d_ssm()]),
            Self::D => Some(vec![c.heads]),
            Self::NormWeight => c.norm.as_ref().map(|_| vec![c.d_ssm()]),
            Self::OutWeight => Some(vec![c.d_model, inner]),
            Self::OutBias => out_bias.then(|| vec![c.d_model]),
        }
    }
}

/// A layer's parameters, or their gradients; those that it has not are empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mamba2Parameters<T> {
    pub(crate) config: Mamba2Config,
    values: Vec<Vec<T>>,
}

impl<T: Ring> Mamba2Parameters<T> {
    /// The parameters that a function gives, row-major.
    ///
    /// # Errors
    ///
    /// If it fails, or gives another number of elements than the shape has.
    pub(crate) fn new(
        config: Mamba2Config,
        mut of: impl FnMut(Mamba2Name, &[usize]) -> Result<Vec<T>, Error>,
    ) -> Result<Self, Error> {
        let mut values = Vec::new();
        for name in Mamba2Name::ALL {
            values.push(match name.shape(&config) {
                None => Vec::new(),
                Some(shape) => {
                    let values = of(name, &shape)?;
                    check_len(name.official(), values.len(), shape.iter().product())?;
                    values
                }
            });
        }
        Ok(Self { config, values })
    }

    pub(crate) fn get(&self, name: Mamba2Name) -> &[T] {
        &self.values[name as usize]
    }

    pub(crate) fn get_mut(&mut self, name: Mamba2Name) -> &mut [T] {
        &mut self.values[name as usize]
    }

    pub(crate) fn map<U: Ring>(&self, f: &dyn Fn(T) -> U) -> Mamba2Parameters<U> {
        let values = self.values.iter();
        Mamba2Parameters {
            config: self.config.clone(),
            values: values
                .map(|values| values.iter().map(|&x| f(x)).into_vec())
                .into_vec(),
        }
    }
}
