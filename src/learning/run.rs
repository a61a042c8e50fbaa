//! A training run: from initial parameters, or from a file where it was left.

use super::curve::{Curve, Epoch};
use super::score::score;
use super::settings::{Data, Settings};
use crate::algebra::Rng;
use crate::error::{Error, check_len};
use crate::fast::{Dropout, Level, Trainer};
use crate::into_vec::IntoVec as _;
use crate::model::{ModelParameters, initial_parameters};
use crate::oracle::{Case, ModelCase};
use crate::safetensors::{Dtype, TensorFile, Writer};
use crate::tensor::Tensor;
use crate::training::official_groups;
use std::path::{Path, PathBuf};

/// A training run, in f32 on the fast path.
///
/// Every random number is drawn from a stream identified by the seed and by epoch or step, so the
/// state of a generator need not be stored, only the number of epochs.
#[derive(Debug)]
pub struct Run<'a> {
    data: &'a Data,
    trainer: Trainer<f32>,
    curve: Curve,
}

/// The prefixes of the names of AdamW's moments in a file.
const MOMENTS: [&str; 2] = ["exp_avg.", "exp_avg_sq."];

/// Tokens of the held-out sequences that a case file has as its input: few, since the error scales of its
/// gradients take time for each.
const TOKENS_OF_CASE: usize = 64;

/// The type of the weights and moments in files: that of training, which holds them exactly.
const TRAINED_IN: Dtype = Dtype::F32;

/// The tensors of the curve, an element for every epoch.
const CURVES: [&str; 2] = ["train.loss", "train.score"];

/// A run in the file where it was left.
#[derive(Debug)]
pub struct Saved {
    curve: Curve,
    /// The [`fingerprint`] of the data.
    fingerprint: String,
    parameters: ModelParameters<f64>,
    moments: [ModelParameters<f64>; 2],
    path: PathBuf,
}

/// The metadata key of what tells the data from others.
const DATA: &str = "train.data";

impl Saved {
    /// Reads what [`Run::saved`] wrote.
    ///
    /// # Errors
    ///
    /// Naming the file and the tensor or metadata key at fault, and what was expected of it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        TensorFile::read(path, |file| Self::of_file(file, path))
    }

    fn of_file(file: &TensorFile, path: &Path) -> Result<Self, Error> {
        let strings = file.metadata();
        let settings = Settings::of_metadata(strings)?;
        settings.check()?;
        let config = settings.config();
        let saved = |prefix: &str| {
            ModelParameters::new(config.clone(), |name| {
                let stored = format!("{prefix}{}", name.official());
                let values = file.to_f64(&stored)?;
                match values.iter().find(|x| !x.is_finite()) {
                    None => Ok(values),
                    Some(x) => {
                        let why = format!("holds {x}; expected finite numbers");
                        Err(Error::value(format!("tensor {stored:?}"), why))
                    }
                }
            })
        };
        let [first, second] = MOMENTS;
        if !file.names().any(|name| name.starts_with(first)) {
            return Err(Error::missing(
                "every moment of AdamW, which resuming a run needs (a case of trained weights holds none),",
            ));
        }
        let moments = [saved(first)?, saved(second)?];
        let curves = CURVES.map(|name| file.to_f64(name));
        let [losses, scores] = curves;
        let (losses, scores) = (losses?, scores?);
        check_len(CURVES[1], scores.len(), losses.len())?;
        let epochs = losses.into_iter().zip(scores);
        Ok(Self {
            curve: Curve {
                settings,
                epochs: epochs.map(|(loss, score)| Epoch { loss, score }).into_vec(),
            },
            fingerprint: strings
                .get(DATA)
                .ok_or_else(|| Error::missing(format!("metadata {DATA}")))?
                .clone(),
            parameters: saved("")?,
            moments,
            path: path.to_owned(),
        })
    }

    /// The settings of the run.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.curve.settings
    }
}

/// A hash of every token, which tells data from others (Fowler, Noll and Vo, 64 bits, 1a).
fn fingerprint(data: &Data) -> String {
    let tokens = data.train.tokens().iter().chain(data.held_out.tokens());
    let hash = tokens.fold(0xcbf2_9ce4_8422_2325_u64, |hash, &token| {
        (hash ^ token as u64).wrapping_mul(0x100_0000_01b3)
    });
    format!("{hash:016x}")
}

impl<'a> Run<'a> {
    /// A run from the initial parameters of the settings' seed.
    ///
    /// # Errors
    ///
    /// If the settings cannot be, or the data are of other ones.
    pub fn new(
        settings: Settings,
        data: &'a Data,
        level: Level,
        threads: usize,
    ) -> Result<Self, Error> {
        settings.check()?;
        for set in [&data.train, &data.held_out] {
            if set.is_empty() || set.seq_len() != settings.seq_len {
                return Err(Error::value("data", "are not those of the settings"));
            }
        }
        let config = settings.config();
        let parameters = initial_parameters(&config, settings.seed)?;
        let groups = official_groups(&config, &settings.optimizer());
        let trainer = Trainer::new(level, &parameters, &groups, None, threads)?;
        Ok(Self {
            data,
            trainer,
            curve: Curve {
                settings,
                epochs: Vec::new(),
            },
        })
    }

    /// A run that continues from where it was stopped. The results are bit for bit those of an
    /// uninterrupted run.
    ///
    /// # Errors
    ///
    /// If the data are others than those the run was begun with.
    pub fn resume(
        saved: &Saved,
        data: &'a Data,
        level: Level,
        threads: usize,
    ) -> Result<Self, Error> {
        let found = fingerprint(data);
        if found != saved.fingerprint {
            let why = format!(
                "says {}, but the data are {found}: others than those the run was begun with",
                saved.fingerprint
            );
            return Err(Error::value(format!("metadata {DATA}"), why).in_file(&saved.path));
        }
        let mut run = Self::new(saved.settings().clone(), data, level, threads)?;
        let steps = run.steps() * saved.curve.epochs.len();
        let restored = run
            .trainer
            .restore(&saved.parameters, &saved.moments, steps as u64);
        restored.map_err(|e| e.in_file(&saved.path))?;
        run.curve = saved.curve.clone();
        Ok(run)
    }

    /// The run so far.
    #[must_use]
    pub fn curve(&self) -> &Curve {
        &self.curve
    }

    /// Steps of an epoch.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.data.train.len().div_ceil(self.curve.settings.batch)
    }

    /// One pass over the training set in a new order, and the score after it; `progress` is called after
    /// every step.
    ///
    /// # Errors
    ///
    /// If the loss is no longer finite.
    pub fn epoch(&mut self, progress: &mut dyn FnMut()) -> Result<(), Error> {
        let (settings, epoch) = (&self.curve.settings, self.curve.epochs.len());
        let (train, seq_len) = (&self.data.train, settings.seq_len);
        let order = train.shuffled(&mut Rng::named(settings.seed, &format!("order {epoch}")));
        let schedule = settings.schedule(self.steps());
        let dropout = Dropout {
            embedding: settings.dropout,
            attention: settings.dropout,
            seed: settings.seed,
        };
        let (mut ids, mut targets) = (Vec::new(), Vec::new());
        let mut sum = 0.0;
        for chosen in order.chunks(settings.batch) {
            ids.clear();
            targets.clear();
            for &i in chosen {
                ids.extend_from_slice(train.inputs(i));
                targets.extend(train.targets(i).iter().map(|&id| Some(id)));
            }
            let step = self.trainer.steps();
            let rate: f64 = schedule.rate(settings.rate, step)?;
            let factor = if settings.rate > 0.0 {
                rate / settings.rate
            } else {
                0.0
            };
            let sizes = (chosen.len(), seq_len);
            let loss = self
                .trainer
                .step(&ids, &targets, sizes, factor, &dropout)?
                .loss;
            if !loss.is_finite() {
                let why = format!("{loss} at step {step}; a lower rate may keep it finite");
                return Err(Error::value("loss", why));
            }
            sum += loss * chosen.len() as f64;
            progress();
        }
        let measure = self.curve.measure();
        let score = score(&mut self.trainer, &self.data.held_out, measure)?;
        self.curve.epochs.push(Epoch {
            loss: sum / order.len().max(1) as f64,
            score,
        });
        Ok(())
    }

    /// The trained weights and the first held-out sequences with their targets, as a case file.
    ///
    /// # Errors
    ///
    /// The writer's own checks are passed on.
    pub fn case(&self) -> Result<Writer, Error> {
        let (held_out, seq_len) = (&self.data.held_out, self.curve.settings.seq_len);
        let batch = (TOKENS_OF_CASE / seq_len).clamp(1, held_out.len());
        let ids = (0..batch).flat_map(|i| held_out.inputs(i)).copied();
        let ids = Tensor::new([batch, seq_len], ids.into_vec())?;
        let targets = (0..batch).flat_map(|i| held_out.targets(i));
        let targets = targets.map(|&id| Some(id)).into_vec();
        let case = ModelCase::new(self.trainer.parameters()?, ids)?
            .with_targets(Tensor::new([batch, seq_len], targets)?);
        let mut writer = Case::from(case).writer_in(TRAINED_IN)?;
        for (key, value) in self.curve.settings.metadata() {
            writer.metadata(&key, &value)?;
        }
        Ok(writer)
    }

    /// Everything needed to resume the run, as a case file that [`Saved::open`] reads.
    ///
    /// # Errors
    ///
    /// The writer's own checks are passed on.
    pub fn saved(&self) -> Result<Writer, Error> {
        let mut writer = self.case()?;
        writer.metadata(DATA, &fingerprint(self.data))?;
        let epochs = &self.curve.epochs;
        let values: [Vec<f64>; 2] = [
            epochs.iter().map(|epoch| epoch.loss).into_vec(),
            epochs.iter().map(|epoch| epoch.score).into_vec(),
        ];
        for (name, values) in CURVES.into_iter().zip(values) {
            writer.add(name, Dtype::F64, &[values.len()], &values)?;
        }
        for (prefix, moments) in MOMENTS.into_iter().zip(self.trainer.moments()?) {
            add_parameters(&mut writer, prefix, &moments)?;
        }
        Ok(writer)
    }
}

/// Adds numbers of every parameter, their names after a prefix.
fn add_parameters(
    writer: &mut Writer,
    prefix: &str,
    of: &ModelParameters<f64>,
) -> Result<(), Error> {
    for name in of.config().names() {
        let stored = format!("{prefix}{}", name.official());
        writer.add(&stored, TRAINED_IN, &name.shape(of.config()), of.get(name))?;
    }
    Ok(())
}
