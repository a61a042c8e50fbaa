//! The places in the reference layer where a mistake can be made.

use super::super::wrong_model::ModelHook;
use super::stage_run::StageRun;
use crate::h3::{Config, Layer, LayerParts, LayerState, Modes, Parameters, Progress, Stage};
use crate::ssm::{Diagonal, Documents, Shift};
use crate::tensor::Tensor;
use num_complex::Complex;

/// An edit of the diagonal models' final states.
type EditStates = fn(Tensor<Complex<f64>>, &StageRun<'_>) -> Tensor<Complex<f64>>;

/// The adjoint of `f * u`: of `f`, `u` and the cotangent of their convolution, those of `f` and `u`.
type ConvolutionAdjoint = fn(&[f64], &[f64], &[f64]) -> (Vec<f64>, Vec<f64>);

/// One edit of the reference layer: of what it is given, or of what one of its steps computes.
#[derive(Clone, Copy)]
pub(crate) enum LayerHook {
    /// The parameters and choices, as loaded.
    Parameters(fn(&mut Parameters<f64>)),
    /// The decoded continuous models, given the parameters.
    Modes(fn(&mut Modes<f64>, &Parameters<f64>)),
    /// The discrete layer, given the continuous models.
    Discrete(fn(&mut LayerParts<f64>, &Modes<f64>, &Config)),
    /// A change of the ranges of documents.
    Documents(fn(&Documents) -> Documents),
    /// The states before the first inputs.
    InitialState(fn(&mut LayerState<f64>, &Beginning<'_>)),
    /// The shift models.
    Shift(ModelHook<Shift<f64>>),
    /// The diagonal models run without their skip.
    NoSkip,
    /// The diagonal models.
    Diagonal(ModelHook<Diagonal<f64>>),
    /// The signal that the models of a stage read, in place of `k` or `kv`.
    Reads(Stage, fn(&Progress<'_, f64>) -> Tensor<f64>),
    /// A stage, given the reference's value.
    Stage(Stage, fn(Tensor<f64>, &StageRun<'_>) -> Tensor<f64>),
    /// The diagonal models' final states, likewise.
    FinalState(EditStates),
    /// The layer is run chunk by chunk, for a mistake between chunks.
    InChunks,
    /// The layer is run in two parts, the first as long as a chunk: a prompt, and what follows it.
    AfterPrompt,
    /// The mistake has a number, such as that of padding tokens: the run's chunk length.
    Numbered,
    /// The mistake takes numbers from one channel to another.
    AcrossChannels,
    /// The mistake takes numbers from one head to another where heads have several channels.
    AcrossHeads,
    /// The adjoint of the causal convolution.
    ConvolutionAdjoint(ConvolutionAdjoint),
    /// The cotangent of the diagonal models' state, at every step of the backward pass.
    StateCotangent(fn(&mut [Complex<f64>])),
    /// The diagonal models run backwards chunk by chunk, and the cotangent of the state that a chunk
    /// hands on to the one before it.
    ReverseCarry(fn(&ReverseCarry<'_>) -> Vec<Complex<f64>>),
    /// The cotangent of the output (batch, seq_len, d).
    Cotangent(fn(&mut Tensor<f64>)),
    /// The cotangents of the final states.
    StateCotangents(fn(&mut LayerState<f64>)),
    /// The cotangent of the state that a document begins from is handed to the document before it.
    CotangentsLeak,
    /// The gradient of a parameter of this name, or of the input, once it is computed.
    Gradient(fn(&str, &mut Tensor<f64>)),
}

/// A run about to begin.
pub(crate) struct Beginning<'a> {
    pub(super) layer: &'a Layer<f64>,
    /// The input (batch, seq_len, d), with any values at padding.
    pub(super) input: &'a Tensor<f64>,
    pub(super) documents: &'a Documents,
    /// The number of the mistake, if it has one.
    pub(super) number: usize,
}

/// A chunk whose way back is done: cotangents of states, and what they are computed by.
pub(crate) struct ReverseCarry<'a> {
    pub(super) ssm: &'a Diagonal<f64>,
    /// Of the state before the chunk, which is to be passed on.
    pub(super) right: &'a [Complex<f64>],
    /// Of the state after the chunk's first input.
    pub(super) first: &'a [Complex<f64>],
    /// Of the state after the chunk, as it was passed on.
    pub(super) incoming: &'a [Complex<f64>],
    /// The chunk's length, and that of a whole one.
    pub(super) len: usize,
    pub(super) chunk_len: usize,
}

impl LayerHook {
    /// True if what the hook makes depends on the run's chunk length.
    pub(super) fn needs_chunks(&self) -> bool {
        matches!(
            self,
            Self::InChunks | Self::AfterPrompt | Self::Numbered | Self::ReverseCarry(_)
        )
    }
}
