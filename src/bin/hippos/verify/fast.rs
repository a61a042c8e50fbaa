//! The fast path at every level of the machine, held to certified values.

use crate::run::outputs;
use crate::table::aligned;
use hungry_hippos::Error;
use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{Element, FastLayer, Level, Workspace};
use hungry_hippos::h3::{Config, HeadOrder, Name, Parameters, RealType};
use hungry_hippos::oracle::{Case, Golden};
use hungry_hippos::ssm::Discretization;

/// Every how many trials a layer is run: certifying it takes most of the time.
const EVERY: usize = 4;

/// What came of one level in one precision.
#[derive(Clone, Copy, Default)]
struct Tally {
    compared: usize,
    outside: usize,
    /// The largest share of a tolerance that was used.
    used: f64,
    /// Runs whose bits changed with the number of threads.
    unstable: usize,
}

pub(super) struct FastPath {
    levels: Vec<(Level, [Tally; 2])>,
    layers: usize,
}

pub(super) fn run(seed: u64, trials: usize) -> Result<FastPath, Error> {
    let levels = Level::all().into_iter();
    let mut found = FastPath {
        levels: levels
            .map(|level| (level, <[Tally; 2]>::default()))
            .collect(),
        layers: trials.div_ceil(EVERY),
    };
    for trial in 0..found.layers {
        let rng = &mut Rng::new(!seed ^ ((trial as u64) << 32));
        let golden = Golden::certify(sample(rng)?)?;
        for (level, [f64, f32]) in &mut found.levels {
            f64.compare::<f64>(*level, &golden)?;
            f32.compare::<f32>(*level, &golden)?;
        }
    }
    Ok(found)
}

/// A random layer, every parameter at work, and an input.
fn sample(rng: &mut Rng) -> Result<Case, Error> {
    let (head_dim, n_heads) = ([1, 2, 4][rng.below(3)], 1 + rng.below(10));
    let config = Config {
        d_model: head_dim * n_heads,
        head_dim,
        d_state: 2 + rng.below(11),
        n_ssm: [1, n_heads][rng.below(2)],
        disc: [Discretization::Bilinear, Discretization::ZeroOrderHold][rng.below(2)],
        real_type: RealType::Exp,
        l_max: None,
        head_order: [HeadOrder::D2H, HeadOrder::HD2][rng.below(2)],
    };
    let (batch, len) = (1 + rng.below(2), 1 + rng.below(100));
    let parameters = Parameters::new(config.clone(), |name| {
        let size = name.shape(&config).iter().product();
        let draw = |_| match name {
            Name::LogDt => -2.5 + 1.5 * rng.unit(),
            Name::AImag => 6.0 * rng.unit(),
            _ => rng.unit(),
        };
        Ok((0..size).map(draw).collect())
    })?;
    Case::new(
        &parameters,
        &parameters.discretize()?.sample_input(batch, len, rng),
    )
}

impl Tally {
    fn compare<T: Element>(&mut self, level: Level, golden: &Golden) -> Result<(), Error> {
        let (_, input, _) = golden.case().in_precision::<T>()?;
        let layer = FastLayer::<T>::new(level, golden.case().parameters())?;
        let run = |threads| -> Result<_, Error> {
            let (output, state) = layer.forward(&input, None, &mut Workspace::new(threads))?;
            outputs(&output, &state)
        };
        let (alone, shared) = (run(1)?, run(2)?);
        self.unstable += usize::from(alone != shared);
        for (name, values) in alone {
            let stage = golden.stages().iter().find(|stage| stage.name == name);
            let stage = stage.ok_or(Error::Missing { what: name })?;
            let pairs = values.data().iter().zip(stage.values.data());
            for ((got, certified), scale) in pairs.zip(stage.scale.data()) {
                self.compared += 1;
                let (error, tolerance) = ((got - certified).abs(), T::UNIT_ROUNDOFF * scale);
                let used = if error == 0.0 { 0.0 } else { error / tolerance };
                self.outside += usize::from(used.is_nan() || used > 1.0);
                self.used = self.used.max(used);
            }
        }
        Ok(())
    }
}

impl FastPath {
    pub(super) fn comparisons(&self) -> usize {
        self.tallies().map(|tally| tally.compared).sum()
    }

    pub(super) fn failures(&self) -> usize {
        self.tallies()
            .map(|tally| tally.outside + tally.unstable)
            .sum()
    }

    fn tallies(&self) -> impl Iterator<Item = &Tally> {
        self.levels.iter().flat_map(|(_, tallies)| tallies)
    }

    pub(super) fn text(&self) -> String {
        let head = ["level", "f64", "f32", "bits with 1 and 2 threads"];
        let mut rows = vec![head.map(String::from).to_vec()];
        for (level, tallies) in &self.levels {
            let verdict = |tally: &Tally| match tally.outside {
                0 => format!("within, {:.0} % used", 100.0 * tally.used),
                outside => format!("{outside} of {} OUTSIDE", tally.compared),
            };
            let unstable: usize = tallies.iter().map(|tally| tally.unstable).sum();
            rows.push(vec![
                level.to_string(),
                verdict(&tallies[0]),
                verdict(&tallies[1]),
                match unstable {
                    0 => "equal".into(),
                    _ => format!("DIFFERENT in {unstable}"),
                },
            ]);
        }
        format!(
            "\nthe fast path at every level of this machine: outputs and final states of {} random layers\n\
             against certified values, within the tolerance derived for any right port\n{}",
            self.layers,
            aligned(&rows, true),
        )
    }
}
