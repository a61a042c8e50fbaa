//! Training: steps of AdamW on a model that is stored once.

use super::adamw::{Squares, SumRuns, Update, UpdateOf};
use super::dropout::Dropout;
use super::kernels::{KernelSizes, LayerOf};
use super::matrices::Transpose;
use super::pass::{Activations, Network, Sequences, StepDropout};
use crate::error::{Error, check_len};
use crate::fast::lanes::{Element, Vector};
use crate::fast::level::Level;
use crate::fast::rows::ModelElement;
use crate::fast::share::share;
use crate::into_vec::IntoVec as _;
use crate::model::{ModelConfig, ModelParameters};
use crate::training::{ParameterGroup, check_clip, check_groups};

/// The largest number of parts of a batch, each with its own gradient. A part is processed by one thread, and the
/// gradients are added in the order of the parts, whatever thread each came from.
const PARTS: usize = 8;

/// Vectors of parameters a thread takes at a time.
const AT_ONCE: usize = 4096;

/// A model, its moments, and the buffers of its training.
#[derive(Clone, Debug)]
pub struct Trainer<T: ModelElement> {
    network: Network<T>,
    groups: Vec<ParameterGroup>,
    clip: Option<f64>,
    /// The group of every parameter, in their order.
    group_of: Vec<usize>,
    moments: [Vec<T::Lanes>; 2],
    steps: u64,
    /// Of the parts of a batch: what the parameters and the layers' kernels receive.
    gradients: Vec<Vec<T::Lanes>>,
    /// Of the whole batch.
    gradient: Vec<T::Lanes>,
    threads: Vec<Activations<T>>,
    /// The length of sequences that the kernels were formed for, since the last update.
    prepared: Option<usize>,
}

/// The report of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// The mean cross-entropy over the counted positions, before the step.
    pub loss: f64,
    /// The norm of the gradient of all parameters together, before clipping.
    pub gradient_norm: f64,
}

/// A batch of sequences of one length.
#[derive(Clone, Copy, Debug)]
struct Batch<'a> {
    tokens: &'a [usize],
    count: usize,
    len: usize,
}

impl Batch<'_> {
    /// Sequences of a part.
    fn each(self) -> usize {
        self.count.div_ceil(PARTS)
    }
}

impl<T: ModelElement> Trainer<T> {
    /// The model of these parameters, rounded to `T`, with moments of zero, to be trained by a number of
    /// threads (0 is taken as 1). A gradient whose norm exceeds `clip` is scaled down to it.
    ///
    /// # Errors
    ///
    /// If a parameter is in no group or in more than one, or a number of a group or `clip` is out of range.
    pub fn new(
        level: Level,
        parameters: &ModelParameters<f64>,
        groups: &[ParameterGroup],
        clip: Option<f64>,
        threads: usize,
    ) -> Result<Self, Error> {
        check_groups(parameters.config(), groups)?;
        check_clip(clip)?;
        let network = Network::new(level, parameters.config());
        let group_of = network.slots.iter().filter_map(|slot| {
            let mut groups = groups.iter();
            groups.position(|group| group.parameters.contains(&slot.name))
        });
        let zeros = vec![T::Lanes::ZERO; network.slots.len];
        let mut trainer = Self {
            group_of: group_of.into_vec(),
            network,
            groups: groups.to_vec(),
            clip,
            moments: [zeros.clone(), zeros.clone()],
            steps: 0,
            gradients: Vec::new(),
            gradient: zeros,
            threads: vec![Activations::default(); threads.max(1)],
            prepared: None,
        };
        trainer
            .network
            .slots
            .read::<T>(parameters, &mut trainer.network.weights)?;
        trainer.transpose();
        Ok(trainer)
    }

    /// The sizes and choices of the model.
    #[must_use]
    pub fn config(&self) -> &ModelConfig {
        &self.network.config
    }

    /// The number of steps taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The parameters as they are.
    ///
    /// # Errors
    ///
    /// Never for a model that was built.
    pub fn parameters(&self) -> Result<ModelParameters<f64>, Error> {
        self.network.slots.write::<T>(&self.network.weights)
    }

    /// The first and second moments of every parameter.
    ///
    /// # Errors
    ///
    /// Never for a model that was built.
    pub fn moments(&self) -> Result<[ModelParameters<f64>; 2], Error> {
        let [first, second] = &self.moments;
        let slots = &self.network.slots;
        Ok([slots.write::<T>(first)?, slots.write::<T>(second)?])
    }

    /// Takes over parameters, moments and the number of steps of an earlier training, whose next steps
    /// are then the same bits as if it had gone on.
    ///
    /// # Errors
    ///
    /// If they are of another model.
    pub fn restore(
        &mut self,
        parameters: &ModelParameters<f64>,
        moments: &[ModelParameters<f64>; 2],
        steps: u64,
    ) -> Result<(), Error> {
        let slots = &self.network.slots;
        for of in [parameters].into_iter().chain(moments) {
            if of.config() != &self.network.config {
                return Err(Error::value("saved training", "is of another model"));
            }
        }
        for (to, from) in self.moments.iter_mut().zip(moments) {
            slots.read::<T>(from, to)?;
        }
        slots.read::<T>(parameters, &mut self.network.weights)?;
        self.steps = steps;
        self.updated();
        Ok(())
    }

    /// One step of AdamW on a batch: `tokens` and `targets` (batch, seq_len) row-major, `None`
    /// for a position that does not count, and every rate multiplied by `rate_factor`.
    ///
    /// The results are the same bits for any number of threads. The masks of dropout depend on its seed,
    /// on the number of steps taken, and on the place in the batch alone.
    ///
    /// # Errors
    ///
    /// If a length does not fit, a token or target is outside the vocabulary, no target counts, there are
    /// more tokens than learned positions, a rate of dropout is not one, or a discretization has no value.
    /// Nothing has then changed.
    pub fn step(
        &mut self,
        tokens: &[usize],
        targets: &[Option<usize>],
        (batch, seq_len): (usize, usize),
        rate_factor: f64,
        dropout: &Dropout,
    ) -> Result<StepReport, Error> {
        let batch = self.batch(tokens, batch, seq_len)?;
        let loss = self.differentiate(batch, targets, dropout)?;
        let gradient_norm = self.gradient_norm();
        let clip = self.clip.map_or(1.0, |clip| {
            // As PyTorch's clip_grad_norm_.
            (clip / (gradient_norm + 1e-6)).min(1.0)
        });
        self.steps += 1;
        self.update(rate_factor, clip);
        Ok(StepReport {
            loss,
            gradient_norm,
        })
    }

    /// The mean cross-entropy of a batch and the gradient of every parameter, without a step.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    pub fn gradients(
        &mut self,
        tokens: &[usize],
        targets: &[Option<usize>],
        (batch, seq_len): (usize, usize),
        dropout: &Dropout,
    ) -> Result<(f64, ModelParameters<f64>), Error> {
        let batch = self.batch(tokens, batch, seq_len)?;
        let loss = self.differentiate(batch, targets, dropout)?;
        Ok((loss, self.network.slots.write::<T>(&self.gradient)?))
    }

    /// The mean cross-entropy of a batch, without dropout.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    pub fn loss(
        &mut self,
        tokens: &[usize],
        targets: &[Option<usize>],
        (batch, seq_len): (usize, usize),
    ) -> Result<f64, Error> {
        let batch = self.batch(tokens, batch, seq_len)?;
        let counted = self.counted(batch, targets)?;
        self.prepare(batch.len)?;
        let each = batch.each() * batch.len;
        let mut losses = vec![0.0; tokens.len().div_ceil(each)];
        let network = &self.network;
        let parts = losses.iter_mut().zip(tokens.chunks(each));
        let items = parts.zip(targets.chunks(each)).enumerate();
        share(items, &mut self.threads, |thread, item| {
            let (part, ((loss, tokens), targets)) = item;
            network.forward(of_part(batch, part, tokens), StepDropout::default(), thread);
            *loss = network.loss(targets, 1.0, &mut thread.logits);
        });
        Ok(losses.iter().sum::<f64>() / counted as f64)
    }

    /// The logits of a batch, without dropout: (batch, seq_len, vocab_size) row-major.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    pub fn logits(
        &mut self,
        tokens: &[usize],
        (batch, seq_len): (usize, usize),
    ) -> Result<Vec<T>, Error> {
        self.logits_from(tokens, (batch, seq_len), 0)
    }

    /// The logits after the last token of every sequence of a batch, without dropout: (batch, vocab_size)
    /// row-major.
    ///
    /// # Errors
    ///
    /// As [`step`](Self::step).
    pub fn last_logits(
        &mut self,
        tokens: &[usize],
        (batch, seq_len): (usize, usize),
    ) -> Result<Vec<T>, Error> {
        self.logits_from(tokens, (batch, seq_len), seq_len.saturating_sub(1))
    }

    /// The logits of the tokens of every sequence from `first` on.
    fn logits_from(
        &mut self,
        tokens: &[usize],
        (batch, seq_len): (usize, usize),
        first: usize,
    ) -> Result<Vec<T>, Error> {
        let batch = self.batch(tokens, batch, seq_len)?;
        self.prepare(batch.len)?;
        let vocab = self.network.config.vocab_size;
        let (each, len) = (batch.each(), batch.len);
        let mut logits = vec![T::ZERO; batch.count * (len - first) * vocab];
        let network = &self.network;
        let parts = logits.chunks_mut(each * (len - first) * vocab);
        let items = parts.zip(tokens.chunks(each * len)).enumerate();
        share(items, &mut self.threads, |thread, (part, (to, tokens))| {
            network.forward(of_part(batch, part, tokens), StepDropout::default(), thread);
            let vectors = thread.logits.len() / tokens.len();
            let rows = thread.logits.chunks_exact(len * vectors);
            let rows = rows.flat_map(|rows| rows[first * vectors..].chunks_exact(vectors));
            for (to, row) in to.chunks_exact_mut(vocab).zip(rows) {
                for (to, lanes) in to.chunks_mut(T::Lanes::WIDTH).zip(row) {
                    lanes.store(to);
                }
            }
        });
        Ok(logits)
    }

    /// A batch checked.
    fn batch<'a>(&self, tokens: &'a [usize], count: usize, len: usize) -> Result<Batch<'a>, Error> {
        let size = count.checked_mul(len);
        let size = size.ok_or_else(|| Error::value("batch", "too large"))?;
        check_len("input_ids", tokens.len(), size)?;
        if size == 0 {
            return Err(Error::value("input_ids", "no token"));
        }
        self.network.config.check_tokens(tokens, count, 0)?;
        Ok(Batch { tokens, count, len })
    }

    /// The number of targets that count, all checked.
    fn counted(&self, batch: Batch<'_>, targets: &[Option<usize>]) -> Result<usize, Error> {
        check_len("targets", targets.len(), batch.tokens.len())?;
        let vocab = self.network.config.vocab_size;
        let given = targets.iter().enumerate();
        let given = given.filter_map(|(at, target)| Some((at, (*target)?)));
        if let Some((at, id)) = given.clone().find(|(_, id)| *id >= vocab) {
            let why = format!("element {at} is {id}, outside the vocabulary of {vocab}");
            return Err(Error::value("targets", why));
        }
        match given.count() {
            0 => Err(Error::value("targets", "none counts")),
            counted => Ok(counted),
        }
    }

    /// Forms the kernels of all layers for sequences of a length.
    fn prepare(&mut self, len: usize) -> Result<(), Error> {
        if self.prepared == Some(len) {
            return Ok(());
        }
        // Until they are formed there are none, of any length.
        self.prepared = None;
        let network = &mut self.network;
        network.sizes = KernelSizes::new::<T>(&network.config, len);
        let network = &*network;
        // Not worth a thread: no work here is done for every sequence.
        let kernels = (0..network.config.n_layer).map(|block| {
            let has_ssm = !network.config.is_attention(block);
            let kernels = has_ssm.then(|| layer(network, block).kernels::<T>(&network.weights));
            kernels.transpose()
        });
        self.network.kernels = kernels.collect::<Result<_, Error>>()?;
        self.prepared = Some(len);
        Ok(())
    }

    /// The loss of a batch; `gradient` becomes what the parameters receive.
    fn differentiate(
        &mut self,
        batch: Batch<'_>,
        targets: &[Option<usize>],
        dropout: &Dropout,
    ) -> Result<f64, Error> {
        for (what, rate) in [
            ("dropout of the embedding", dropout.embedding),
            ("dropout of attention", dropout.attention),
        ] {
            if !(0.0..1.0).contains(&rate) {
                let why = format!("{rate}; expected a share from 0 and below 1");
                return Err(Error::value(what, why));
            }
        }
        let counted = self.counted(batch, targets)? as f64;
        self.prepare(batch.len)?;
        let network = &self.network;
        let size = network.slots.len + network.sizes.len() * network.config.n_layer;
        let each = batch.each() * batch.len;
        let parts = batch.tokens.len().div_ceil(each);
        self.gradients
            .resize_with(parts.max(self.gradients.len()), Vec::new);
        let gradients = &mut self.gradients[..parts];
        let mut losses = vec![0.0; parts];
        let dropout = StepDropout {
            dropout: *dropout,
            step: self.steps,
        };
        let items = gradients.iter_mut().zip(&mut losses);
        let items = items.zip(batch.tokens.chunks(each).zip(targets.chunks(each)));
        share(items.enumerate(), &mut self.threads, |thread, item| {
            let (part, ((gradient, loss), (tokens, targets))) = item;
            let sequences = of_part(batch, part, tokens);
            gradient.resize(size, T::Lanes::ZERO);
            network.forward(sequences, dropout, thread);
            *loss = network.loss(targets, 1.0 / counted, &mut thread.logits);
            network.backward(sequences, thread, gradient);
        });
        self.gradient.resize(size, T::Lanes::ZERO);
        let gradients = &*gradients;
        let threads = worth_sharing(&mut self.threads, size);
        let sums = self.gradient.chunks_mut(AT_ONCE).enumerate();
        share(sums, threads, |_, (at, sum)| {
            let here = at * AT_ONCE..at * AT_ONCE + sum.len();
            let runs: Vec<_> = gradients.iter().map(|of| &of[here.clone()]).into_vec();
            network.level.run(SumRuns::<T> { runs: &runs, sum });
        });
        let (gradient, received) = self.gradient.split_at_mut(network.slots.len);
        for (block, kernels) in network.kernels.iter().enumerate() {
            if let Some(kernels) = kernels {
                let received = &received[block * network.sizes.len()..][..network.sizes.len()];
                layer(network, block).gradient(kernels, &network.weights, received, gradient);
            }
        }
        Ok(losses.iter().sum::<f64>() / counted)
    }

    /// The norm of the gradient of all parameters.
    fn gradient_norm(&self) -> f64 {
        let gradient = &self.gradient[..self.network.slots.len];
        let squares = gradient.chunks(AT_ONCE);
        let squares = squares.map(|part| self.network.level.run(Squares::<T>(part)));
        squares.sum::<f64>().sqrt()
    }

    /// AdamW on every parameter.
    fn update(&mut self, factor: f64, clip: f64) {
        let network = &mut self.network;
        let level = network.level;
        let updates = self.groups.iter();
        let updates = updates.map(|group| Update::<T>::new(group, factor, clip, self.steps));
        let updates: Vec<_> = updates.into_vec();
        let [first, second] = &mut self.moments;
        let mut rest = (
            &mut network.weights[..],
            &mut first[..],
            &mut second[..],
            &self.gradient[..network.slots.len],
        );
        let parts = network.slots.iter().zip(&self.group_of);
        // Slots follow one another.
        let parts = parts.flat_map(|(slot, &group)| {
            let len = slot.place.len();
            let (weights, more) = core::mem::take(&mut rest.0).split_at_mut(len);
            rest.0 = more;
            let (first, more) = core::mem::take(&mut rest.1).split_at_mut(len);
            rest.1 = more;
            let (second, more) = core::mem::take(&mut rest.2).split_at_mut(len);
            rest.2 = more;
            let (gradient, more) = rest.3.split_at(len);
            rest.3 = more;
            let moments = first.chunks_mut(AT_ONCE).zip(second.chunks_mut(AT_ONCE));
            let parts = weights.chunks_mut(AT_ONCE).zip(gradient.chunks(AT_ONCE));
            parts.zip(moments).map(move |part| (group, part))
        });
        let threads = worth_sharing(&mut self.threads, network.slots.len);
        share(parts, threads, |_, (group, part)| {
            let ((weights, gradient), (first, second)) = part;
            level.run(UpdateOf {
                by: updates[group],
                weights,
                moments: [first, second],
                gradient,
            });
        });
        self.updated();
    }

    /// After a change of the weights: what depends on them.
    fn updated(&mut self) {
        self.prepared = None;
        self.transpose();
    }

    fn transpose(&mut self) {
        let Network {
            level,
            slots,
            weights,
            transposed,
            ..
        } = &mut self.network;
        let mut rest = &mut transposed[..];
        let items = slots.iter().filter_map(|slot| {
            let (to, more) = core::mem::take(&mut rest).split_at_mut(slot.place.len());
            rest = more;
            Some((slot.matrix::<T>()?, &weights[slot.place.clone()], to))
        });
        let threads = worth_sharing(&mut self.threads, slots.len);
        share(items, threads, |_, ((rows, columns), from, to)| {
            level.run(Transpose::<T> {
                from,
                rows,
                columns,
                to,
            });
        });
    }
}

/// The threads worth waking for some passes over so many vectors.
fn worth_sharing<S>(threads: &mut [S], vectors: usize) -> &mut [S] {
    let count = if vectors < 4 * AT_ONCE {
        1
    } else {
        threads.len()
    };
    &mut threads[..count]
}

/// The sequences of a part of a batch.
fn of_part<'a>(batch: Batch<'_>, part: usize, tokens: &'a [usize]) -> Sequences<'a> {
    Sequences {
        first: part * batch.each(),
        len: batch.len,
        tokens,
    }
}

fn layer<T: Element>(network: &Network<T>, block: usize) -> LayerOf<'_> {
    LayerOf {
        config: &network.config,
        slots: &network.slots,
        block,
        level: network.level,
        sizes: network.sizes,
    }
}
