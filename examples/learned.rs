//! Which earlier token training made the shift models of a recall model look at: chapter 18's layer, which was
//! set by hand, next to what chapter 24 learned.
//!
//! ```text
//! cargo run --release --example learned [FILE]
//! ```
//!
//! FILE is what `hippos train recall --out FILE` wrote; without one it is the trained model of the golden suite.

use hungry_hippos::Error;
use hungry_hippos::fast::{Level, Trainer};
use hungry_hippos::h3::Name;
use hungry_hippos::learning::{MixerChoice, Sequences, Settings, Task};
use hungry_hippos::model::{BlockName, ModelName, ModelParameters};
use hungry_hippos::oracle::ModelFile;
use hungry_hippos::ssm::StateSpace;
use hungry_hippos::table::aligned;
use hungry_hippos::training::{OptimizerOptions, official_groups};
use std::path::Path;

/// The trained model of the golden suite.
pub(crate) const OF_THE_SUITE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/v2/89-model-recall.safetensors"
);

/// Lags with a column of their own; the last column is all beyond.
const LAGS: usize = 4;

fn main() -> Result<(), Error> {
    let file = std::env::args_os().nth(1);
    let file = file.unwrap_or_else(|| OF_THE_SUITE.into());
    print!("{}", report(Path::new(&file))?);
    Ok(())
}

/// The tables, block by block.
pub(crate) fn report(file: &Path) -> Result<String, Error> {
    let trained = ModelFile::open(file)?.parameters()?;
    let vocabulary = Some(trained.config().vocab_size);
    let settings = Settings::official(Task::Recall, MixerChoice::H3, vocabulary)?;
    let held_out = settings.synthetic()?.held_out;
    let mut text = format!(
        "right answers to {} sequences, %: {:.1}\n",
        held_out.len(),
        score(&trained, &held_out)?
    );
    for block in 0..trained.config().n_layer {
        let kernels = Kernels::of(&trained, block, held_out.seq_len())?;
        let remember = kernels.remembering();
        let of = |wanted: bool| -> Vec<usize> {
            let channels = 0..remember.len();
            channels.filter(|&c| remember[c] == wanted).collect()
        };
        let (keep, pass) = (of(true), of(false));
        let mut rows = vec![[vec![format!("block {block}, lag")], lags()].concat()];
        for (channels, whose) in [(&keep, "that remember"), (&pass, "that do not")] {
            let head = format!("mass, {} channels {whose}", channels.len());
            let mass = kernels.mass(channels);
            let shares = mass.map(|share| format!("{share:.2}"));
            rows.push([vec![head], shares.to_vec()].concat());
        }
        for (head, alone) in [
            ("right, without the lag where they remember", false),
            ("right, with it alone there", true),
        ] {
            let mut row = vec![head.to_string()];
            for lag in 0..=LAGS {
                let is_kept = |j: usize| (j.min(LAGS) == lag) == alone;
                let edited = kernels.with(&trained, &keep, is_kept)?;
                row.push(format!("{:.1}", score(&edited, &held_out)?));
            }
            rows.push(row);
        }
        text.push('\n');
        text.push_str(&aligned(&rows, true));
    }
    Ok(text)
}

fn lags() -> Vec<String> {
    let alone = (0..LAGS).map(|lag| lag.to_string());
    alone.chain([format!("{LAGS} on")]).collect()
}

/// The impulse responses of a block's models, their feedthroughs at lag 0.
struct Kernels {
    block: usize,
    shift: Vec<Vec<f64>>,
    diagonal: Vec<Vec<f64>>,
}

impl Kernels {
    fn of(model: &ModelParameters<f64>, block: usize, len: usize) -> Result<Self, Error> {
        let layer = model.h3(block)?.discretize()?;
        let parts = layer.parts();
        let shift = parts.shift.iter();
        let diagonal = parts.diagonal.iter();
        Ok(Self {
            block,
            shift: shift.map(|ssm| response(ssm, len)).collect(),
            diagonal: diagonal.map(|ssm| response(ssm, len)).collect(),
        })
    }

    /// The channels whose diagonal model keeps the past: more than half of its response's energy comes after
    /// the token that caused it. (In the others the layer multiplies what is there at one time.)
    fn remembering(&self) -> Vec<bool> {
        let energy = |response: &[f64]| response.iter().map(|f| f * f).sum::<f64>();
        let past = |response: &Vec<f64>| energy(&response[1..]) > 0.5 * energy(response);
        self.diagonal.iter().map(past).collect()
    }

    /// The share of every lag in the energy of these channels' shift models.
    fn mass(&self, channels: &[usize]) -> [f64; LAGS + 1] {
        let mut mass = [0.0; LAGS + 1];
        for &c in channels {
            for (j, f) in self.shift[c].iter().enumerate() {
                mass[j.min(LAGS)] += f * f;
            }
        }
        let sum: f64 = mass.iter().sum();
        mass.map(|share| share / sum)
    }

    /// The model with only some lags in the shift models of these channels: a window of the past, read by
    /// what is kept of the response.
    fn with(
        &self,
        model: &ModelParameters<f64>,
        channels: &[usize],
        is_kept: impl Fn(usize) -> bool,
    ) -> Result<ModelParameters<f64>, Error> {
        let taps = model.config().h3.d_state;
        let edited = |name: Name| ModelName::Block(self.block, BlockName::H3(name));
        ModelParameters::new(model.config().clone(), |name| {
            let mut values = model.get(name).to_vec();
            for &c in channels {
                let row = c * taps..(c + 1) * taps;
                let kept = |j: usize| match self.shift[c].get(j) {
                    Some(&f) if is_kept(j) => f,
                    _ => 0.0,
                };
                if name == edited(Name::ShiftB) {
                    values[row].fill(0.0);
                    values[c * taps] = 1.0;
                } else if name == edited(Name::ShiftC) {
                    let places = values[row].iter_mut().enumerate();
                    places.for_each(|(j, tap)| *tap = kept(j));
                } else if name == edited(Name::ShiftD) {
                    values[c] = 0.0;
                }
            }
            Ok(values)
        })
    }
}

/// The response to a 1: the kernel, with the feedthrough.
fn response<S: StateSpace<Scalar = f64>>(ssm: &S, len: usize) -> Vec<f64> {
    let mut response = ssm.kernel(len);
    response[0] += ssm.feedthrough();
    response
}

/// The share of sequences whose last token is foretold, in per cent.
fn score(model: &ModelParameters<f64>, held_out: &Sequences) -> Result<f64, Error> {
    let groups = official_groups(model.config(), &OptimizerOptions::official(0.0));
    let mut trainer = Trainer::<f64>::new(Level::detect(), model, &groups, None, 1)?;
    let (count, len) = (held_out.len(), held_out.seq_len());
    let ids: Vec<usize> = (0..count)
        .flat_map(|i| held_out.inputs(i))
        .copied()
        .collect();
    let logits = trainer.last_logits(&ids, (count, len))?;
    let rows = logits.chunks_exact(model.config().vocab_size);
    let right = rows.enumerate().filter(|(i, row)| {
        let answer = held_out.targets(*i)[len - 1];
        row.iter().all(|&logit| logit <= row[answer])
    });
    Ok(100.0 * right.count() as f64 / count as f64)
}
