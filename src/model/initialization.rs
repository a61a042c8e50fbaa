//! A model as training begins with it: the official constructor's distributions.

use super::config::{ModelConfig, SsmMixer};
use super::names::{BlockName, ModelName};
use super::parameters::ModelParameters;
use crate::algebra::Rng;
use crate::error::Error;
use crate::h3::{Initialization, Name, Parameters, normal};
use crate::into_vec::IntoVec as _;
use crate::ssm::hippo::Diagonalized;

/// The standard deviation of weights (`initializer_range`).
const DEVIATION: f64 = 0.02;

/// The initial parameters that a seed names (`simple_lm.py`, `_init_weights`, of safari 02220c6; H3's
/// `ssm_seq.py` has the same):
///
/// | parameter | value |
/// |---|---|
/// | weights of embeddings and linear layers | normal, deviation 0.02 |
/// | those of `fc2` and attention's `out_proj` | normal, deviation 0.02 / sqrt(2 `n_layer`) |
/// | biases, LayerNorms | 0; 1 and 0 |
/// | the rest of an H3 layer | [`Initialization`], poles diag-lin, steps from 0.001 to 0.1 |
/// | the rest of an S4D layer | the same, poles diag-inv, but for `log_w_real` and `C` (`s4d.py`) |
///
/// H3's `output_linear` is not scaled down: the official code looks for `output_linear.0.weight`, a name
/// that this layer does not have. Every parameter has its own stream of random numbers, so that two
/// models of one seed agree in what they share.
///
/// # Errors
///
/// If the configuration is impossible, or its H3 layers have no initialization.
pub fn initial_parameters(config: &ModelConfig, seed: u64) -> Result<ModelParameters<f64>, Error> {
    config.check()?;
    let layers: Vec<Option<Parameters<f64>>> = (0..config.n_layer)
        .map(|block| {
            let initialization = || {
                let rng = &mut Rng::named(seed, &format!("backbone.layers.{block}.mixer"));
                let of_measure = |measure| Initialization {
                    config: config.h3.clone(),
                    measure: vec![measure],
                    dt_min: 0.001,
                    dt_max: 0.1,
                };
                match config.ssm {
                    SsmMixer::H3 => of_measure(Diagonalized::Lin).parameters(rng),
                    SsmMixer::S4d => s4d(&of_measure(Diagonalized::Inv), rng),
                }
            };
            let has_ssm = !config.is_attention(block);
            has_ssm.then(initialization).transpose()
        })
        .collect::<Result<_, Error>>()?;
    let residual = DEVIATION / (2.0 * config.n_layer as f64).sqrt();
    ModelParameters::new(config.clone(), |name| {
        let size = name.shape(config).iter().product();
        let normals = |deviation: f64| {
            let rng = &mut Rng::named(seed, &name.official());
            (0..size).map(|_| deviation * normal(rng)).into_vec()
        };
        let constant = |value: f64| vec![value; size];
        Ok(match name {
            ModelName::Embeddings | ModelName::Positions => normals(DEVIATION),
            ModelName::NormWeight => constant(1.0),
            ModelName::NormBias => constant(0.0),
            ModelName::Block(block, name) => match name {
                BlockName::Norm1Weight | BlockName::Norm2Weight => constant(1.0),
                BlockName::QkvWeight | BlockName::Fc1Weight => normals(DEVIATION),
                BlockName::OutWeight | BlockName::Fc2Weight => normals(residual),
                BlockName::H3(name) | BlockName::S4d(name) => match name {
                    Name::QWeight | Name::KWeight | Name::VWeight | Name::OutputWeight => {
                        normals(DEVIATION)
                    }
                    Name::QBias | Name::KBias | Name::VBias | Name::OutputBias => constant(0.0),
                    _ => layers[block]
                        .as_ref()
                        .map_or_else(Vec::new, |layer| layer.get(name).to_vec()),
                },
                BlockName::Norm1Bias
                | BlockName::QkvBias
                | BlockName::OutBias
                | BlockName::Norm2Bias
                | BlockName::Fc1Bias
                | BlockName::Fc2Bias => constant(0.0),
            },
        })
    })
}

/// The initial parameters of an S4D layer (`s4d.py`, `random_dplr`, `S4DKernel` and `SSKernelDiag`), under the
/// names of their counterparts in an H3 layer: `log_w_real` is `ln(1/2 + 1e-4)`, and `C` is multiplied by a normal `B` that
/// all channels share, scaled so that a constant input has a response of variance 1.
fn s4d(layer: &Initialization, rng: &mut Rng) -> Result<Parameters<f64>, Error> {
    /// `ln(0.5001)`.
    const LOG_W_REAL: f64 = -0.692_947_200_557_279_1;
    let mut parameters = layer.parameters(rng)?;
    let modes = layer.config.n_modes();
    let imaginary = parameters.get(Name::AImag)[..modes].to_vec();
    let b: Vec<[f64; 2]> = (0..modes).map(|_| [normal(rng), normal(rng)]).into_vec();
    let size = |[re, im]: [f64; 2]| re * re + im * im;
    let squares = b
        .iter()
        .zip(&imaginary)
        .map(|(&b, &im)| size(b) / size([0.5, im]));
    // Both parts of a complex normal number have variance 1/2, and of each pair of modes one is stored.
    let variance: f64 = squares.sum();
    let factor = 1.0 / (2.0 * variance).sqrt();
    let c = parameters.get_mut(Name::C).chunks_exact_mut(2);
    for (c, [re, im]) in c.zip(b.iter().cycle()) {
        let [x, y] = [c[0], c[1]];
        c.copy_from_slice(&[(x * re - y * im) * factor, (x * im + y * re) * factor]);
    }
    parameters.get_mut(Name::InvAReal).fill(LOG_W_REAL);
    Ok(parameters)
}
