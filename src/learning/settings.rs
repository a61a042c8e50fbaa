//! The settings of a training run, and the official ones of the tasks.

use super::sequences::Sequences;
use super::tasks;
use crate::algebra::Rng;
use crate::error::Error;
use crate::h3::{self, HeadOrder, RealType};
use crate::into_vec::IntoVec as _;
use crate::model::{ModelConfig, SsmMixer};
use crate::spelled::spelled;
use crate::ssm::Discretization;
use crate::training::{OptimizerOptions, Schedule};
use std::collections::BTreeMap;

/// The task of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// Associative recall: the value of a key read before.
    Recall,
    /// Induction heads: the word that followed the only prefix before.
    Induction,
    /// The next byte of a file.
    Text,
}

spelled!(Task, "task",
    Recall => "recall",
    Induction => "induction",
    Text => "text",
);

/// The mixer of the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MixerChoice {
    /// H3 layers.
    H3,
    /// S4D layers.
    S4d,
    /// Attention with learned positions.
    Attention,
    /// H3 layers, but attention without positions in the second block of two, the third of four, ...: the
    /// middle one.
    Hybrid,
}

spelled!(MixerChoice, "mixer",
    H3 => "h3",
    S4d => "s4d",
    Attention => "attention",
    Hybrid => "hybrid",
);

/// Declares the settings with the names under which files keep them.
macro_rules! settings {
    ($($(#[$doc:meta])* $field:ident: $type:ty,)+) => {
        /// The settings of a training run. They determine every result bit for bit, whatever the
        /// number of threads.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct Settings {
            $($(#[$doc])* pub $field: $type,)+
        }

        impl Settings {
            /// The metadata of files that keep them.
            #[cfg(feature = "internals")]
            #[must_use]
            pub fn strings(&self) -> Vec<(String, String)> {
                self.metadata()
            }

            /// The settings in such metadata.
            #[cfg(feature = "internals")]
            pub fn of_strings(strings: &BTreeMap<String, String>) -> Result<Self, Error> {
                Self::of_metadata(strings)
            }

            /// The metadata of files that keep them.
            pub(super) fn metadata(&self) -> Vec<(String, String)> {
                vec![$((format!("{PREFIX}{}", stringify!($field)), self.$field.to_string()),)+]
            }

            /// The settings in the metadata of a file.
            pub(super) fn of_metadata(strings: &BTreeMap<String, String>) -> Result<Self, Error> {
                Ok(Self {
                    $($field: understood(strings, stringify!($field))?,)+
                })
            }
        }
    };
}

/// The prefix of the metadata keys of settings.
const PREFIX: &str = "train.";

fn understood<V: core::str::FromStr>(
    strings: &BTreeMap<String, String>,
    field: &str,
) -> Result<V, Error> {
    let key = format!("{PREFIX}{field}");
    let value = strings.get(&key).ok_or_else(|| {
        Error::missing(format!(
            "metadata {key}, which the files of saved runs hold,"
        ))
    })?;
    let wrong = |_| {
        Error::value(
            format!("metadata {key}"),
            format!("{value:?} is not understood"),
        )
    };
    value.parse().map_err(wrong)
}

settings! {
    /// The task.
    task: Task,
    /// The mixer of the blocks.
    mixer: MixerChoice,
    /// Tokens of the vocabulary.
    vocabulary: usize,
    /// Tokens of a sequence that the model reads.
    seq_len: usize,
    /// Sequences of the training set; of a text, all there are.
    examples: usize,
    /// Blocks of the model.
    blocks: usize,
    /// Channels of the model; its MLPs have four times as many.
    d_model: usize,
    /// Shift taps of an H3 layer, and twice the modes of its diagonal models.
    d_state: usize,
    /// Heads of attention.
    heads: usize,
    /// The number of passes over the training set for which the schedule is made.
    epochs: usize,
    /// Sequences of a step; the last step of an epoch takes what is left.
    batch: usize,
    /// The learning rate, the schedule's factor being 1.
    rate: f64,
    /// The weight decay of the parameters that decay.
    decay: f64,
    /// The rate of dropout after the embedding and in attention.
    dropout: f64,
    /// The seed of initial parameters, order and dropout.
    seed: u64,
    /// The seed of a synthetic task's sequences.
    data_seed: u64,
}

/// Sequences of a synthetic task that are held out.
const HELD_OUT: usize = 500;

/// The part of a text that is held out: its last tenth.
const HELD_OUT_OF_TEXT: usize = 10;

/// The sequences of a run: those it learns from, and those it is scored on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// The training set.
    pub train: Sequences,
    /// The held-out set.
    pub held_out: Sequences,
}

impl Settings {
    /// The official settings of a task (safari 02220c6, `configs/experiment/synthetics/`), and for `text` the
    /// same model and optimizer, wider. `vocabulary` is recall's, 10 (the default) or 20; induction has 20,
    /// a text 256.
    ///
    /// # Errors
    ///
    /// If the task has no such vocabulary.
    pub fn official(
        task: Task,
        mixer: MixerChoice,
        vocabulary: Option<usize>,
    ) -> Result<Self, Error> {
        // Vocabulary, tokens of a sequence, sequences, epochs.
        let sizes: &[[usize; 4]] = match task {
            Task::Recall => &[[10, 22, 5000, 200], [20, 42, 5000, 400]],
            Task::Induction => &[[20, 31, 5000, 400]],
            Task::Text => &[[256, 128, 0, 10]],
        };
        let asked = vocabulary.unwrap_or(sizes[0][0]);
        let known = sizes.iter().find(|sizes| sizes[0] == asked);
        let &[vocabulary, seq_len, examples, epochs] = known.ok_or_else(|| {
            let known: Vec<String> = sizes.iter().map(|sizes| sizes[0].to_string()).into_vec();
            let why = format!("{asked}; {task} has {}", known.join(" or "));
            Error::value("vocabulary", why)
        })?;
        let is_text = task == Task::Text;
        Ok(Self {
            task,
            mixer,
            vocabulary,
            seq_len,
            examples,
            blocks: 2,
            d_model: if is_text { 64 } else { 32 },
            d_state: 64,
            heads: 1,
            epochs,
            batch: 32,
            rate: if is_text { 2e-3 } else { 5e-4 },
            decay: 0.1,
            dropout: if is_text { 0.0 } else { 0.1 },
            seed: 0,
            data_seed: 0,
        })
    }

    /// The sizes and choices of the model.
    #[must_use]
    pub fn config(&self) -> ModelConfig {
        let d = self.d_model;
        let attn_layer_idx: Vec<usize> = match self.mixer {
            MixerChoice::H3 | MixerChoice::S4d => Vec::new(),
            MixerChoice::Attention => (0..self.blocks).into_vec(),
            MixerChoice::Hybrid => vec![self.blocks / 2],
        };
        let has_attention = !attn_layer_idx.is_empty();
        let (ssm, n_ssm, disc) = match self.mixer {
            MixerChoice::S4d => (SsmMixer::S4d, 1, Discretization::ZeroOrderHold),
            _ => (SsmMixer::H3, d, Discretization::Bilinear),
        };
        ModelConfig {
            n_layer: self.blocks,
            d_inner: 4 * d,
            vocab_size: self.vocabulary,
            max_position_embeddings: match self.mixer {
                MixerChoice::Attention => self.seq_len,
                MixerChoice::H3 | MixerChoice::S4d | MixerChoice::Hybrid => 0,
            },
            attn_layer_idx,
            num_heads: if has_attention { self.heads } else { 0 },
            layer_norm_epsilon: 1e-5,
            ssm,
            h3: h3::Config {
                d_model: d,
                head_dim: 1,
                d_state: self.d_state,
                n_ssm,
                disc,
                real_type: RealType::Exp,
                l_max: None,
                head_order: HeadOrder::D2H,
            },
        }
    }

    /// The options of AdamW.
    #[must_use]
    pub fn optimizer(&self) -> OptimizerOptions {
        OptimizerOptions {
            weight_decay: self.decay,
            ..OptimizerOptions::official(self.rate)
        }
    }

    /// The schedule of the rate over so many steps an epoch: a warmup over a tenth of the epochs, then, of
    /// recall and texts, straight to zero; of induction, along a cosine to a tenth.
    #[must_use]
    pub fn schedule(&self, steps: usize) -> Schedule {
        let total = (self.epochs * steps) as u64;
        let warmup = (self.epochs.div_ceil(10) * steps) as u64;
        match self.task {
            Task::Recall | Task::Text => Schedule::Linear { warmup, total },
            Task::Induction => Schedule::Cosine {
                warmup,
                first: 1e-6,
                total,
                least: 0.1 * self.rate,
            },
        }
    }

    /// The sequences of a synthetic task.
    ///
    /// # Errors
    ///
    /// If the settings cannot be, or the task is a text, whose sequences are those of a file.
    pub fn synthetic(&self) -> Result<Data, Error> {
        self.check()?;
        let draw = match self.task {
            Task::Recall => tasks::recall,
            Task::Induction => tasks::induction,
            Task::Text => return Err(Error::missing("the text to learn from")),
        };
        let set = |count, name: &str| {
            let rng = &mut Rng::named(self.data_seed, &format!("{} {name}", self.task));
            draw(self.vocabulary, self.seq_len, count, rng)
        };
        Ok(Data {
            train: set(self.examples, "train"),
            held_out: set(HELD_OUT, "held out"),
        })
    }

    /// The sequences of a text: windows of its bytes, those of the last tenth held out.
    ///
    /// # Errors
    ///
    /// If the settings cannot be, or a part holds no window.
    pub fn of_text(&self, text: &[u8]) -> Result<Data, Error> {
        self.check()?;
        let (train, held_out) = text.split_at(text.len() - text.len() / HELD_OUT_OF_TEXT);
        let data = Data {
            train: Sequences::windows(train, self.seq_len),
            held_out: Sequences::windows(held_out, self.seq_len),
        };
        if data.held_out.is_empty() || data.train.is_empty() {
            return Err(Error::value(
                "text",
                format!(
                    "{} bytes, of which the last tenth is held out; expected at least {}, for one \
                     sequence of {} bytes and the next there",
                    text.len(),
                    HELD_OUT_OF_TEXT * (self.seq_len + 1),
                    self.seq_len
                ),
            ));
        }
        Ok(data)
    }

    /// Refuses settings with which nothing can be trained.
    ///
    /// # Errors
    ///
    /// Naming the setting, and what was expected of it.
    pub fn check(&self) -> Result<(), Error> {
        let known = Self::official(self.task, self.mixer, Some(self.vocabulary))?;
        if self.task != Task::Text && self.seq_len != known.seq_len {
            return Err(Error::value(
                "seq_len",
                format!("{}; {} has {}", self.seq_len, self.task, known.seq_len),
            ));
        }
        let examples = if self.task == Task::Text {
            1
        } else {
            self.examples
        };
        for (name, size, most) in [
            ("seq_len", self.seq_len, 1 << 16),
            ("examples", examples, 1 << 20),
            ("blocks", self.blocks, 1 << 8),
            ("d_model", self.d_model, 1 << 12),
            ("d_state", self.d_state, 1 << 12),
            ("heads", self.heads, self.d_model),
            ("epochs", self.epochs, 1 << 20),
            ("batch", self.batch, 1 << 16),
        ] {
            if !(1..=most).contains(&size) {
                return Err(Error::value(
                    name,
                    format!("{size}; expected a whole number from 1 to {most}"),
                ));
            }
        }
        for (name, value, most) in [
            ("rate", self.rate, f64::MAX),
            ("decay", self.decay, f64::MAX),
            ("dropout", self.dropout, 1.0 - f64::EPSILON),
        ] {
            if !(0.0..=most).contains(&value) {
                let below = if most < 1.0 { " and below 1" } else { "" };
                return Err(Error::value(
                    name,
                    format!("{value}; expected a number from 0{below}"),
                ));
            }
        }
        self.config().check()
    }

    /// The score that the paper reports of a mixer on a task, in per cent, where all settings but the seeds
    /// are the official ones (recall there is this one with V = 10, by its score of chance, one in four).
    #[must_use]
    pub fn of_paper(&self) -> Option<f64> {
        let official = Self {
            seed: self.seed,
            data_seed: self.data_seed,
            ..Self::official(self.task, self.mixer, Some(self.vocabulary)).ok()?
        };
        if *self != official {
            return None;
        }
        match (self.task, self.vocabulary, self.mixer) {
            (Task::Recall, 10, MixerChoice::H3) => Some(99.8),
            (Task::Recall, 10, MixerChoice::S4d) => Some(86.0),
            (Task::Induction, _, MixerChoice::S4d) => Some(35.6),
            (Task::Recall, 10, MixerChoice::Attention) => Some(100.0),
            (Task::Induction, _, MixerChoice::H3 | MixerChoice::Attention) => Some(100.0),
            _ => None,
        }
    }
}
