//! The curve of a training run: loss and score, epoch by epoch.

use super::settings::{Settings, Task};

/// One pass over the training set, and the score after it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Epoch {
    /// The mean training loss, in nats per counted token: with dropout, each step's before its update.
    pub loss: f64,
    /// The score on the held-out set.
    pub score: f64,
}

#[cfg(feature = "internals")]
impl Epoch {
    /// An epoch of this loss and score.
    #[must_use]
    pub fn of(loss: f64, score: f64) -> Self {
        Self { loss, score }
    }
}

/// The measure of a model on the held-out set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// Sequences whose last token is predicted, in per cent; chance is the rate of the most likely
    /// answer.
    Accuracy,
    /// The mean of `-log2 p` of every byte but a sequence's first; less is better.
    BitsPerByte,
}

impl Measure {
    /// The measure of a task.
    #[must_use]
    pub fn of(task: Task) -> Self {
        match task {
            Task::Recall | Task::Induction => Self::Accuracy,
            Task::Text => Self::BitsPerByte,
        }
    }

    /// The unit, as tables and plots name it.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Accuracy => "%",
            Self::BitsPerByte => "bits per byte",
        }
    }

    /// A score in print: accuracies of 500 sequences with one decimal are exact.
    #[must_use]
    pub fn printed(self, score: f64) -> String {
        match self {
            Self::Accuracy => format!("{score:.1}"),
            Self::BitsPerByte => format!("{score:.4}"),
        }
    }

    /// True if a score is at least as good as another.
    #[must_use]
    pub fn reaches(self, score: f64, other: f64) -> bool {
        match self {
            Self::Accuracy => score >= other,
            Self::BitsPerByte => score <= other,
        }
    }
}

/// The report of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The settings of the run.
    pub settings: Settings,
    /// The epochs so far.
    pub epochs: Vec<Epoch>,
}

impl Curve {
    /// The measure of the scores.
    #[must_use]
    pub fn measure(&self) -> Measure {
        Measure::of(self.settings.task)
    }

    /// The last score; `None` before the first epoch.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        self.epochs.last().map(|epoch| epoch.score)
    }

    /// The best score; `None` before the first epoch.
    #[must_use]
    pub fn best(&self) -> Option<f64> {
        let measure = self.measure();
        let scores = self.epochs.iter().map(|epoch| epoch.score);
        scores.reduce(|best, score| {
            if measure.reaches(best, score) {
                best
            } else {
                score
            }
        })
    }

    /// The first epoch, counted from 1, whose score is at least this good.
    #[must_use]
    pub fn first(&self, score: f64) -> Option<usize> {
        let measure = self.measure();
        let reached = |epoch: &Epoch| measure.reaches(epoch.score, score);
        self.epochs.iter().position(reached).map(|at| at + 1)
    }
}
