//! The parameters of a model, and from them the model.

use super::attention::MultiHeadAttention;
use super::block::{Block, Mixer};
use super::config::{ModelConfig, SsmMixer};
use super::forward::Model;
use super::layer_norm::LayerNorm;
use super::mlp::Mlp;
use super::named::Named;
use super::names::{BlockName, ModelName};
use super::s4d::S4d;
use crate::algebra::{Matrix, Real};
use crate::error::{Error, check_len};
use crate::h3::{DiagonalModels, Linear, Name, Parameters};
use crate::into_vec::IntoVec as _;
use crate::tensor::Tensor;

/// The official parameters of one model, of consistent shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelParameters<T> {
    config: ModelConfig,
    // One vector a name of the configuration, each as long as its shape says.
    values: Named<T>,
}

impl<T: Copy> ModelParameters<T> {
    /// The parameters that `value_of` gives for each name, row-major.
    ///
    /// # Errors
    ///
    /// If the configuration is impossible, a value is not as long as its shape says, or
    /// `value_of` fails.
    pub fn new(
        config: ModelConfig,
        mut value_of: impl FnMut(ModelName) -> Result<Vec<T>, Error>,
    ) -> Result<Self, Error> {
        Self::new_by(config, &mut value_of)
    }

    /// [`new`](Self::new), compiled once and not for every function.
    fn new_by(
        config: ModelConfig,
        value_of: &mut dyn FnMut(ModelName) -> Result<Vec<T>, Error>,
    ) -> Result<Self, Error> {
        config.check()?;
        let mut values = Named::new();
        for name in config.names() {
            let value = value_of(name)?;
            let size = name.shape(&config).iter().product();
            check_len(&name.official(), value.len(), size)?;
            values.insert(name, value);
        }
        Ok(Self { config, values })
    }

    /// The sizes and choices of the model.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// One parameter, row-major; empty for a name the configuration does not have.
    #[must_use]
    pub fn get(&self, name: ModelName) -> &[T] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    /// Every parameter as an array of its shape, in the order of [`ModelConfig::names`].
    pub fn tensors(&self) -> impl Iterator<Item = (ModelName, Tensor<T>)> {
        let names = self.config.names().into_iter();
        names.map(|name| {
            let shape = name.shape(&self.config);
            (name, Tensor::known(shape, self.get(name).to_vec()))
        })
    }

    /// One parameter, to be changed; empty for a name the configuration does not have.
    pub(crate) fn get_mut(&mut self, name: ModelName) -> &mut [T] {
        self.values.get_mut(name).map_or(&mut [], Vec::as_mut_slice)
    }

    /// The same parameters with every number replaced by its image.
    pub fn map<U: Copy>(&self, mut f: impl FnMut(T) -> U) -> ModelParameters<U> {
        ModelParameters {
            config: self.config.clone(),
            values: self.values.map(&mut f),
        }
    }

    /// The parameters of an H3 block's layer.
    ///
    /// # Errors
    ///
    /// If the mixer of that block is not an H3 layer.
    pub fn h3(&self, block: usize) -> Result<Parameters<T>, Error> {
        Parameters::new(self.config.h3.clone(), |name| {
            Ok(self
                .get(ModelName::Block(block, BlockName::H3(name)))
                .to_vec())
        })
    }
}

impl ModelParameters<f64> {
    /// The model in the scalars of a precision: every number is rounded to `T` first, and all else
    /// computed in `T`.
    ///
    /// # Errors
    ///
    /// If a discretization has no value.
    pub fn build<T: Real>(&self) -> Result<Model<T>, Error> {
        self.build_by(&T::from_f64)
    }
}

impl<T: Real> ModelParameters<T> {
    /// The model with these numbers.
    ///
    /// # Errors
    ///
    /// If a discretization has no value.
    pub fn model(&self) -> Result<Model<T>, Error> {
        self.build_by(&|x| x)
    }
}

impl<S: Copy> ModelParameters<S> {
    /// The images of the parameters of the diagonal models of an S4D block, whose `B` is 1.
    pub(super) fn s4d<T: Real>(&self, block: usize, convert: &dyn Fn(S) -> T) -> DiagonalModels<T> {
        let config = &self.config.h3;
        DiagonalModels::of(config, |name| match name {
            Name::B => [T::ONE, T::ZERO].repeat(config.n_ssm * config.n_modes()),
            name => {
                let stored = self.get(ModelName::Block(block, BlockName::S4d(name)));
                stored.iter().map(|&x| convert(x)).into_vec()
            }
        })
    }

    /// The model of these numbers' images.
    fn build_by<T: Real>(&self, convert: &dyn Fn(S) -> T) -> Result<Model<T>, Error> {
        let config = &self.config;
        let d = config.d_model();
        let values =
            |name: ModelName| -> Vec<T> { self.get(name).iter().map(|&x| convert(x)).into_vec() };
        let table = |name: ModelName, rows: usize| Matrix::new(rows, d, values(name));
        let epsilon = T::from_f64(config.layer_norm_epsilon);
        let norm = |weight, bias| LayerNorm::new(values(weight), values(bias), epsilon);
        let block = |i: usize| -> Result<Block<T>, Error> {
            let of = |name| ModelName::Block(i, name);
            let linear = |weight, bias, outputs, inputs| {
                let weight = Matrix::new(outputs, inputs, values(of(weight)))?;
                Linear::new(weight, values(of(bias)))
            };
            let mixer = match config.ssm {
                _ if config.is_attention(i) => Mixer::Attention(MultiHeadAttention::new(
                    config.num_heads,
                    linear(BlockName::QkvWeight, BlockName::QkvBias, 3 * d, d)?,
                    linear(BlockName::OutWeight, BlockName::OutBias, d, d)?,
                )?),
                SsmMixer::H3 => Mixer::H3(Box::new(self.h3(i)?.map(convert).discretize()?)),
                SsmMixer::S4d => {
                    let [weight, bias] = [Name::OutputWeight, Name::OutputBias].map(BlockName::S4d);
                    let models = self.s4d(i, convert).discretize()?;
                    Mixer::S4d(S4d::new(models, linear(weight, bias, d, d)?)?)
                }
            };
            let inner = config.d_inner;
            Ok(Block {
                norm1: norm(of(BlockName::Norm1Weight), of(BlockName::Norm1Bias))?,
                mixer,
                norm2: norm(of(BlockName::Norm2Weight), of(BlockName::Norm2Bias))?,
                mlp: Mlp::new(
                    linear(BlockName::Fc1Weight, BlockName::Fc1Bias, inner, d)?,
                    linear(BlockName::Fc2Weight, BlockName::Fc2Bias, d, inner)?,
                )?,
            })
        };
        let blocks = (0..config.n_layer)
            .map(|i| block(i).map_err(|e| Error::value(format!("block {i}"), e.to_string())));
        Ok(Model {
            config: config.clone(),
            embeddings: table(ModelName::Embeddings, config.vocab_size)?,
            positions: table(ModelName::Positions, config.max_position_embeddings)?,
            blocks: blocks.collect::<Result<_, Error>>()?,
            norm: norm(ModelName::NormWeight, ModelName::NormBias)?,
        })
    }
}
