//! Some whole sequences forwards through the model, and backwards.

use super::attended::{Attended, Attention};
use super::attention::HeadBuffers;
use super::dropout::{Dropout, Masks};
use super::kernels::{KernelSizes, LayerKernels};
use super::loss::CrossEntropy;
use super::matrices::{Sums, Times, place};
use super::mixing::{MixBuffers, Mixed, Mixing};
use super::rows::{Activate, MultiplyBy, NormOf, Normalize, NormalizeBack, SumRows, mask};
use super::s4d::Filtered;
use super::slots::Slots;
use crate::fast::lanes::{Arithmetic, Element, Vector};
use crate::fast::level::Level;
use crate::fast::panels::lane_groups;
use crate::fast::rows::ModelElement;
use crate::h3::Name;
use crate::into_vec::IntoVec as _;
use crate::model::{BlockName, ModelConfig, ModelName, SsmMixer};

/// All weights of a model, as the passes read them.
#[derive(Clone, Debug)]
pub(super) struct Network<T: Element> {
    pub(super) config: ModelConfig,
    pub(super) level: Level,
    pub(super) slots: Slots,
    pub(super) weights: Vec<T::Lanes>,
    /// Every matrix once more, transposed, in the place it has among the weights: the way forwards
    /// has outputs for lanes, the backward pass inputs.
    pub(super) transposed: Vec<T::Lanes>,
    /// Of each block; `None` for attention.
    pub(super) kernels: Vec<Option<LayerKernels<T>>>,
    pub(super) sizes: KernelSizes,
    mask: Vec<T::Lanes>,
    vocabulary: Vec<T::Lanes>,
}

/// Some sequences of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sequences<'a> {
    /// The first of them in the batch.
    pub(super) first: usize,
    pub(super) len: usize,
    pub(super) tokens: &'a [usize],
}

/// Dropout of one step.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StepDropout {
    pub(super) dropout: Dropout,
    pub(super) step: u64,
}

impl StepDropout {
    fn embedding(self) -> Option<Masks> {
        Masks::new(self.dropout.seed, self.step, 0, self.dropout.embedding)
    }

    fn attention(self, block: usize) -> Option<Masks> {
        let site = 1 + block as u64;
        Masks::new(self.dropout.seed, self.step, site, self.dropout.attention)
    }
}

/// The values that a pass keeps of some sequences, and its buffers: (rows, channels) each, as vectors.
#[derive(Clone, Debug, Default)]
pub(super) struct Activations<T: Element> {
    /// The residual stream, to which all parts add.
    x: Vec<T::Lanes>,
    factors: Vec<T::Lanes>,
    blocks: Vec<BlockActivations<T>>,
    last: Normed<T>,
    pub(super) logits: Vec<T::Lanes>,
    back: BackBuffers<T>,
    mix: MixBuffers<T>,
    head: HeadBuffers<T>,
}

#[derive(Clone, Debug, Default)]
struct BackBuffers<T: Element> {
    of_x: Vec<T::Lanes>,
    /// Of a LayerNorm's output.
    of_normed: Vec<T::Lanes>,
    /// Of the values between two projections.
    of_inner: Vec<T::Lanes>,
    of_qkv: [Vec<T::Lanes>; 3],
}

/// The values that a LayerNorm keeps for the backward pass.
#[derive(Clone, Debug, Default)]
struct Normed<T: Element> {
    scaled: Vec<T::Lanes>,
    factors: Vec<T>,
    y: Vec<T::Lanes>,
}

#[derive(Clone, Debug, Default)]
struct BlockActivations<T: Element> {
    norm1: Normed<T>,
    mixed: Mixed<T>,
    filtered: Filtered<T>,
    attended: Attended<T>,
    norm2: Normed<T>,
    hidden: Vec<T::Lanes>,
    slope: Vec<T::Lanes>,
}

/// The two parameters of a projection or LayerNorm.
type Pair = [ModelName; 2];

const NORM: Pair = [ModelName::NormWeight, ModelName::NormBias];

fn pair(block: usize, names: [BlockName; 2]) -> Pair {
    names.map(|name| ModelName::Block(block, name))
}

/// Queries, keys and values.
fn projections(block: usize) -> [Pair; 3] {
    [
        [Name::QWeight, Name::QBias],
        [Name::KWeight, Name::KBias],
        [Name::VWeight, Name::VBias],
    ]
    .map(|names| pair(block, names.map(BlockName::H3)))
}

const OUTPUT: [BlockName; 2] = [
    BlockName::H3(Name::OutputWeight),
    BlockName::H3(Name::OutputBias),
];
const S4D_OUTPUT: [BlockName; 2] = [
    BlockName::S4d(Name::OutputWeight),
    BlockName::S4d(Name::OutputBias),
];
const NORM1: [BlockName; 2] = [BlockName::Norm1Weight, BlockName::Norm1Bias];
const NORM2: [BlockName; 2] = [BlockName::Norm2Weight, BlockName::Norm2Bias];
const FC1: [BlockName; 2] = [BlockName::Fc1Weight, BlockName::Fc1Bias];
const FC2: [BlockName; 2] = [BlockName::Fc2Weight, BlockName::Fc2Bias];
const QKV: [BlockName; 2] = [BlockName::QkvWeight, BlockName::QkvBias];
const OUT: [BlockName; 2] = [BlockName::OutWeight, BlockName::OutBias];

impl<T: ModelElement> Network<T> {
    /// A network of zeros.
    pub(super) fn new(level: Level, config: &ModelConfig) -> Self {
        let slots = Slots::new::<T>(config);
        let zeros = vec![T::Lanes::ZERO; slots.len];
        Self {
            level,
            weights: zeros.clone(),
            transposed: zeros,
            kernels: Vec::new(),
            sizes: KernelSizes::new::<T>(config, 0),
            mask: mask::<T>(config.d_model()),
            vocabulary: mask::<T>(config.vocab_size),
            slots,
            config: config.clone(),
        }
    }

    fn part(&self, name: ModelName) -> &[T::Lanes] {
        &self.weights[self.slots.range(name)]
    }

    fn channels(&self) -> usize {
        self.mask.len()
    }

    fn inner(&self) -> usize {
        lane_groups::<T>(self.config.d_inner)
    }

    fn norm<'a>(&'a self, weight: &'a [T::Lanes]) -> NormOf<'a, T> {
        NormOf {
            weight,
            mask: &self.mask,
            channels: self.config.d_model(),
        }
    }

    fn normalize(&self, [weight, bias]: Pair, x: &[T::Lanes], to: &mut Normed<T>) {
        let Normed { scaled, factors, y } = to;
        scaled.resize(x.len(), T::Lanes::ZERO);
        y.resize(x.len(), T::Lanes::ZERO);
        factors.resize(x.len() / self.channels(), T::ZERO);
        self.level.run(Normalize {
            norm: self.norm(self.part(weight)),
            bias: self.part(bias),
            epsilon: self.config.layer_norm_epsilon,
            x,
            scaled,
            factors,
            y,
        });
    }

    /// `y = W x + b`, or added to `y`: `inputs` and `outputs` are vectors per row.
    fn project(
        &self,
        [weight, bias]: Pair,
        (x, inputs): (&[T::Lanes], usize),
        (y, outputs): (&mut Vec<T::Lanes>, usize),
        add: bool,
    ) {
        y.resize(x.len() / inputs * outputs, T::Lanes::ZERO);
        self.level.run(Times::<T> {
            x,
            inputs,
            weight: &self.transposed[self.slots.range(weight)],
            outputs,
            bias: self.part(bias),
            add,
            y,
        });
    }

    /// A projection backwards, from the cotangents `g` of its output: those of its input `x`, or added to
    /// them, and what weight and bias receive.
    fn project_back(
        &self,
        [weight, bias]: Pair,
        (x, inputs): (&[T::Lanes], usize),
        (g, outputs): (&[T::Lanes], usize),
        (of_x, add): (&mut Vec<T::Lanes>, bool),
        gradient: &mut [T::Lanes],
    ) {
        of_x.resize(x.len(), T::Lanes::ZERO);
        self.level.run(Times::<T> {
            x: g,
            inputs: outputs,
            weight: self.part(weight),
            outputs: inputs,
            bias: &[],
            add,
            y: of_x,
        });
        self.level.run(Sums::<T> {
            g,
            outputs,
            u: x,
            inputs,
            sums: &mut gradient[self.slots.range(weight)],
        });
        self.level.run(SumRows::<T> {
            x: g,
            sum: &mut gradient[self.slots.range(bias)],
        });
    }

    fn normalize_back(
        &self,
        [weight, bias]: Pair,
        from: &Normed<T>,
        g: &[T::Lanes],
        of_x: &mut [T::Lanes],
        gradient: &mut [T::Lanes],
    ) {
        let places = [self.slots.range(weight), self.slots.range(bias)];
        // Parameters stand apart from each other.
        let Ok([of_weight, of_bias]) = gradient.get_disjoint_mut(places) else {
            return;
        };
        self.level.run(NormalizeBack {
            norm: self.norm(self.part(weight)),
            scaled: &from.scaled,
            factors: &from.factors,
            g,
            of_x,
            of_weight,
            of_bias,
        });
    }

    /// The sequences forwards, up to their logits.
    pub(super) fn forward(
        &self,
        sequences: Sequences<'_>,
        dropout: StepDropout,
        to: &mut Activations<T>,
    ) {
        let (d, inner) = (self.channels(), self.inner());
        self.embed(sequences, dropout.embedding(), to);
        let Activations {
            x,
            blocks,
            last,
            logits,
            mix,
            head,
            ..
        } = to;
        blocks.resize_with(self.config.n_layer, BlockActivations::default);
        for (i, block) in blocks.iter_mut().enumerate() {
            self.normalize(pair(i, NORM1), x, &mut block.norm1);
            if let Some(kernels) = &self.kernels[i]
                && self.config.ssm == SsmMixer::S4d
            {
                let filtered = &mut block.filtered;
                let mixing = self.mixing(kernels, sequences.len);
                mixing.filter(&block.norm1.y, filtered, mix);
                self.project(pair(i, S4D_OUTPUT), (&filtered.y, d), (x, d), true);
            } else if let Some(kernels) = &self.kernels[i] {
                let (mixed, width) = (&mut block.mixed, self.sizes.channels());
                for (names, y) in projections(i).into_iter().zip(&mut mixed.qkv) {
                    self.project(names, (&block.norm1.y, d), (y, width), false);
                }
                self.mixing(kernels, sequences.len).forward(mixed, mix);
                self.project(pair(i, OUTPUT), (&mixed.gated, width), (x, d), true);
            } else {
                let attention = self.attention(sequences.len);
                let (attended, wide) = (&mut block.attended, attention.wide);
                let qkv = &mut attended.qkv;
                self.project(pair(i, QKV), (&block.norm1.y, d), (qkv, wide), false);
                let masks = dropout.attention(i).map(|masks| (masks, sequences.first));
                attention.forward(masks, attended, head);
                self.project(pair(i, OUT), (&attended.context, d), (x, d), true);
            }
            self.normalize(pair(i, NORM2), x, &mut block.norm2);
            let hidden = &mut block.hidden;
            self.project(pair(i, FC1), (&block.norm2.y, d), (hidden, inner), false);
            block.slope.resize(hidden.len(), T::Lanes::ZERO);
            self.level.run(Activate::<T> {
                x: hidden,
                slope: &mut block.slope,
            });
            self.project(pair(i, FC2), (hidden, inner), (x, d), true);
        }
        self.normalize(NORM, x, last);
        logits.resize(x.len() / d * self.vocabulary.len(), T::Lanes::ZERO);
        self.level.run(Times::<T> {
            x: &last.y,
            inputs: d,
            weight: &self.transposed[self.slots.range(ModelName::Embeddings)],
            outputs: self.vocabulary.len(),
            bias: &[],
            add: false,
            y: logits,
        });
    }

    /// Logits and targets to their loss; the logits become the cotangents.
    pub(super) fn loss(
        &self,
        targets: &[Option<usize>],
        weight: f64,
        logits: &mut [T::Lanes],
    ) -> f64 {
        self.level.run(CrossEntropy::<T> {
            mask: &self.vocabulary,
            logits,
            targets,
            weight,
        })
    }

    /// The sequences backwards, from the cotangents of the logits: `gradient` becomes what the parameters
    /// receive, and after them, block by block, the layers' kernels.
    pub(super) fn backward(
        &self,
        sequences: Sequences<'_>,
        of: &mut Activations<T>,
        gradient: &mut [T::Lanes],
    ) {
        let (d, inner, vocabulary) = (self.channels(), self.inner(), self.vocabulary.len());
        let Activations {
            x,
            factors,
            blocks,
            last,
            logits,
            back,
            mix,
            head,
        } = of;
        let BackBuffers {
            of_x,
            of_normed,
            of_inner,
            of_qkv,
        } = back;
        of_normed.resize(x.len(), T::Lanes::ZERO);
        self.level.run(Times::<T> {
            x: logits,
            inputs: vocabulary,
            weight: self.part(ModelName::Embeddings),
            outputs: d,
            bias: &[],
            add: false,
            y: of_normed,
        });
        self.level.run(Sums::<T> {
            g: logits,
            outputs: vocabulary,
            u: &last.y,
            inputs: d,
            sums: &mut gradient[self.slots.range(ModelName::Embeddings)],
        });
        of_x.clear();
        of_x.resize(x.len(), T::Lanes::ZERO);
        self.normalize_back(NORM, last, of_normed, of_x, gradient);
        let (gradient, received) = gradient.split_at_mut(self.slots.len);
        let received = &mut received.chunks_exact_mut(self.sizes.len().max(1));
        let mut received: Vec<_> = received.into_vec();
        for (i, block) in blocks.iter().enumerate().rev() {
            let hidden = (&*block.hidden, inner);
            self.project_back(pair(i, FC2), hidden, (of_x, d), (of_inner, false), gradient);
            self.level.run(MultiplyBy::<T> {
                x: of_inner,
                y: &block.slope,
            });
            let normed = (&*block.norm2.y, d);
            let g = (&**of_inner, inner);
            self.project_back(pair(i, FC1), normed, g, (of_normed, false), gradient);
            self.normalize_back(pair(i, NORM2), &block.norm2, of_normed, of_x, gradient);
            let normed = (&*block.norm1.y, d);
            if let Some(kernels) = &self.kernels[i]
                && self.config.ssm == SsmMixer::S4d
            {
                let filtered = (&*block.filtered.y, d);
                let g = (&**of_x, d);
                let output = pair(i, S4D_OUTPUT);
                self.project_back(output, filtered, g, (of_inner, false), gradient);
                let received = &mut *received[i];
                received.fill(T::Lanes::ZERO);
                let mixing = self.mixing(kernels, sequences.len);
                let from = (normed.0, &block.filtered);
                mixing.filter_back(from, of_inner, of_normed, received, mix);
            } else if let Some(kernels) = &self.kernels[i] {
                let (mixed, width) = (&block.mixed, self.sizes.channels());
                let gated = (&*mixed.gated, width);
                let g = (&**of_x, d);
                self.project_back(pair(i, OUTPUT), gated, g, (of_inner, false), gradient);
                let received = &mut *received[i];
                received.fill(T::Lanes::ZERO);
                let mixing = self.mixing(kernels, sequences.len);
                mixing.backward(mixed, of_inner, of_qkv, received, mix);
                for (which, names) in projections(i).into_iter().enumerate() {
                    let g = (&*of_qkv[which], width);
                    self.project_back(names, normed, g, (of_normed, which > 0), gradient);
                }
            } else {
                let attention = self.attention(sequences.len);
                let (attended, wide) = (&block.attended, attention.wide);
                let context = (&*attended.context, d);
                let g = (&**of_x, d);
                self.project_back(pair(i, OUT), context, g, (of_inner, false), gradient);
                attention.backward(attended, of_inner, &mut of_qkv[0], head);
                let g = (&*of_qkv[0], wide);
                self.project_back(pair(i, QKV), normed, g, (of_normed, false), gradient);
                attention.clear_keys::<T>(&mut gradient[self.slots.range(pair(i, QKV)[1])]);
            }
            self.normalize_back(pair(i, NORM1), &block.norm1, of_normed, of_x, gradient);
        }
        self.embed_back(sequences, factors, of_x, gradient);
    }

    fn attention(&self, len: usize) -> Attention {
        Attention::new::<T>(self.level, &self.config, len)
    }

    fn mixing<'a>(&self, kernels: &'a LayerKernels<T>, len: usize) -> Mixing<'a, T> {
        Mixing {
            level: self.level,
            sizes: self.sizes,
            kernels: &kernels.lanes,
            len,
        }
    }

    /// Embeddings and learned positions, with dropout.
    fn embed(&self, sequences: Sequences<'_>, masks: Option<Masks>, to: &mut Activations<T>) {
        let (d, channels) = (self.channels(), self.config.d_model());
        let table = self.part(ModelName::Embeddings);
        let positions = self.part(ModelName::Positions);
        let Sequences { first, len, tokens } = sequences;
        let Activations { x, factors, .. } = to;
        x.resize(tokens.len() * d, T::Lanes::ZERO);
        for (r, (x, &token)) in x.chunks_exact_mut(d).zip(tokens).enumerate() {
            for v in 0..d {
                x[v] = table[place(table.len() / d, d, token, v)];
            }
            if let Some(position) = positions.get(r % len * d..(r % len + 1) * d) {
                for v in 0..d {
                    x[v] = x[v].plus(position[v]);
                }
            }
        }
        factors.clear();
        let Some(masks) = masks else { return };
        factors.resize(x.len(), T::Lanes::ZERO);
        for (r, factors) in factors.chunks_exact_mut(d).enumerate() {
            let row = (first * len + r) as u64;
            masks.factors::<T>(row * channels as u64, channels, factors);
        }
        self.level.run(MultiplyBy::<T> { x, y: factors });
    }

    fn embed_back(
        &self,
        sequences: Sequences<'_>,
        factors: &[T::Lanes],
        of_x: &mut [T::Lanes],
        gradient: &mut [T::Lanes],
    ) {
        let d = self.channels();
        let Sequences { len, tokens, .. } = sequences;
        if !factors.is_empty() {
            self.level.run(MultiplyBy::<T> {
                x: of_x,
                y: factors,
            });
        }
        let table = &mut gradient[self.slots.range(ModelName::Embeddings)];
        let rows = table.len() / d;
        for (of_x, &token) in of_x.chunks_exact(d).zip(tokens) {
            for v in 0..d {
                let to = &mut table[place(rows, d, token, v)];
                *to = to.plus(of_x[v]);
            }
        }
        let positions = &mut gradient[self.slots.range(ModelName::Positions)];
        positions.fill(T::Lanes::ZERO);
        for (r, of_x) in of_x.chunks_exact(d).enumerate() {
            if let Some(to) = positions.get_mut(r % len * d..(r % len + 1) * d) {
                for v in 0..d {
                    to[v] = to[v].plus(of_x[v]);
                }
            }
        }
    }
}
