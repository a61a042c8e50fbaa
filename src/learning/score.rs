//! Scores of a model on sequences that are held out.

use super::curve::Measure;
use super::sequences::Sequences;
use crate::algebra::Real as _;
use crate::error::Error;
use crate::fast::Trainer;
use crate::into_vec::IntoVec as _;
use crate::model::Perplexity;

/// Sequences scored at once, which bounds the memory of their logits.
const AT_ONCE: usize = 64;

/// The score of the unchanged model, without dropout.
pub(super) fn score(
    trainer: &mut Trainer<f32>,
    held_out: &Sequences,
    measure: Measure,
) -> Result<f64, Error> {
    let (seq_len, vocabulary) = (held_out.seq_len(), trainer.config().vocab_size);
    let (mut right, mut found) = (0usize, Perplexity::default());
    let (mut ids, mut targets) = (Vec::new(), Vec::new());
    for first in (0..held_out.len()).step_by(AT_ONCE) {
        let set = first..held_out.len().min(first + AT_ONCE);
        ids.clear();
        targets.clear();
        for i in set.clone() {
            ids.extend_from_slice(held_out.inputs(i));
            targets.extend_from_slice(held_out.targets(i));
        }
        let sizes = (set.len(), seq_len);
        match measure {
            Measure::Accuracy => {
                let logits = trainer.last_logits(&ids, sizes)?;
                let rows = logits.chunks_exact(vocabulary);
                let answers = targets.chunks_exact(seq_len).map(|row| row[seq_len - 1]);
                let is_right = |(row, answer): &(&[f32], usize)| largest(row) == *answer;
                right += rows.zip(answers).filter(is_right).count();
            }
            Measure::BitsPerByte => {
                let logits = trainer.logits(&ids, sizes)?;
                for (row, &next) in logits.chunks_exact(vocabulary).zip(&targets) {
                    let row: Vec<f64> = row.iter().map(|x| x.to_f64()).into_vec();
                    found.count(&row, next)?;
                }
            }
        }
    }
    Ok(match measure {
        Measure::Accuracy => 100.0 * right as f64 / held_out.len().max(1) as f64,
        Measure::BitsPerByte => found.mean() / core::f64::consts::LN_2,
    })
}

/// The place of the largest number, the first of several.
fn largest(row: &[f32]) -> usize {
    let mut best = 0;
    for (at, &x) in row.iter().enumerate() {
        if x > row[best] {
            best = at;
        }
    }
    best
}
