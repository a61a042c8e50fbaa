//! Sequences as they are served: documents in a row, rows with padding, parts of a schedule, each against
//! every sequence alone, exactly over the prime field.

use super::trials::outcomes;
use crate::algebra::{M61, Rng};
use crate::error::Error;
use crate::flashconv::Chunking;
use crate::h3::{Form, HeadOrder, Layer, LayerShape, Stages};
use crate::into_vec::IntoVec as _;
use crate::ssm::{Documents, Padding};
use crate::tensor::Tensor;

/// The longest document tried.
const LONGEST: usize = 12;

/// The comparisons of one way in which sequences are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServedReport {
    /// `packed`, `padded` or `schedule`, as in files.
    pub sequence: &'static str,
    /// Results compared: all outputs and final states of one layer in one form.
    pub compared: usize,
    /// Those that were equal.
    pub equal: usize,
}

impl ServedReport {
    /// Results that are not those of each sequence alone.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.compared - self.equal
    }
}

/// Runs every form of `trials` random layers over documents packed into a row, over rows padded on either
/// side with other numbers, and in parts that pass on their state; compares outputs and final states with
/// those of each sequence alone, by the recurrence.
///
/// # Errors
///
/// If a form refuses a layer, which none should.
pub fn served(seed: u64, trials: usize) -> Result<Vec<ServedReport>, Error> {
    let mut reports = ["packed", "padded", "schedule"].map(|sequence| ServedReport {
        sequence,
        compared: 0,
        equal: 0,
    });
    let found = outcomes(trials, |trial| {
        let rng = &mut Rng::new(seed ^ ((trial as u64 + 1) << 24));
        let shape = LayerShape {
            n_heads: 1 + rng.below(2),
            head_dim: [1, 2, 4][trial % 3],
            d_state: 1 + rng.below(8),
            l_max: None,
            head_order: [HeadOrder::D2H, HeadOrder::HD2][rng.below(2)],
        };
        let layer = Layer::<M61>::sample(shape, rng)?;
        let lengths = some_lengths(1 + rng.below(4), rng);
        let total: usize = lengths.iter().sum();
        let mut cu_seqlens = vec![0];
        cu_seqlens.extend(lengths.iter().scan(0, |end, len| {
            *end += len;
            Some(*end)
        }));
        let padding = [Padding::Right, Padding::Left][trial % 2];
        let documents = [
            Documents::packed(total, &cu_seqlens)?,
            Documents::padded(LONGEST, &lengths, padding)?,
            Documents::whole(1, total),
        ];
        let mut equal = [const { Vec::new() }; 3];
        for ((report, equal), documents) in reports.iter().zip(&mut equal).zip(documents) {
            let u = layer.sample_input(documents.batch(), documents.seq_len(), rng);
            let expected = alone(&layer, &u, &documents)?;
            for form in Form::all([Chunking::Uniform(1 + rng.below(LONGEST))]) {
                let stages = match report.sequence {
                    "schedule" => layer.forward_in_parts(&form, &u, None, &lengths)?.0,
                    _ => layer.forward_documents(&form, &u, &documents, None)?,
                };
                equal.push(results(stages) == expected);
            }
        }
        Ok(equal)
    })?;
    for found in found {
        for (report, equal) in reports.iter_mut().zip(found) {
            report.compared += equal.len();
            report.equal += equal.into_iter().filter(|&equal| equal).count();
        }
    }
    Ok(reports.into())
}

fn some_lengths(count: usize, rng: &mut Rng) -> Vec<usize> {
    (0..count).map(|_| 1 + rng.below(LONGEST)).into_vec()
}

/// Outputs, and the final states of the shift and of the diagonal models.
type Results = (Vec<M61>, Vec<M61>, Vec<num_complex::Complex<M61>>);

fn results(stages: Stages<M61>) -> Results {
    let state = stages.state;
    let states = (state.shift.into_data(), state.diagonal.into_data());
    (stages.output.into_data(), states.0, states.1)
}

/// The results of each document on its own, outputs at its place; zeros at padding.
fn alone(layer: &Layer<M61>, u: &Tensor<M61>, documents: &Documents) -> Result<Results, Error> {
    let (d, len) = (layer.d_model(), documents.seq_len());
    let mut all = (u.map(|_| M61::new(0)).into_data(), Vec::new(), Vec::new());
    for (b, tokens) in documents.iter() {
        let place = (b * len + tokens.start) * d..(b * len + tokens.end) * d;
        let of = Tensor::new([1, tokens.len(), d], u.data()[place.clone()].to_vec())?;
        let (output, shift, diagonal) = results(layer.forward(&Form::Recurrence, &of, None)?);
        all.0[place].copy_from_slice(&output);
        all.1.extend(shift);
        all.2.extend(diagonal);
    }
    Ok(all)
}
