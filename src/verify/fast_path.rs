//! The fast path at every level of the machine, held to certified values.

use super::fast_layer::fast_stages;
use super::trials::outcomes;
use crate::algebra::{FloatFormat, Rng};
use crate::error::Error;
use crate::fast::Level;
use crate::h3::{Config, HeadOrder, Name, Parameters, RealType};
use crate::into_vec::IntoVec as _;
use crate::oracle::{Golden, LayerCase, Precision};
use crate::ssm::Discretization;

/// One layer in so many trials: certifying it takes most of the time.
const EVERY: usize = 4;

/// The fast path at one level and in one float type.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct TypeReport {
    /// Numbers compared with certified ones.
    pub compared: usize,
    /// Those beyond the tolerance derived for any port.
    pub outside: usize,
    /// The largest share of a tolerance that was used.
    pub used: f64,
    /// Layers whose bits changed with the number of threads.
    pub unstable: usize,
}

impl TypeReport {
    fn add(&mut self, others: Self) {
        self.compared += others.compared;
        self.outside += others.outside;
        self.used = self.used.max(others.used);
        self.unstable += others.unstable;
    }
}

/// The fast path at one level.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LevelReport {
    /// The level.
    pub level: Level,
    /// In f64.
    pub f64: TypeReport,
    /// In f32.
    pub f32: TypeReport,
}

/// The fast path at every level of this machine.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FastPathReport {
    /// By level.
    pub levels: Vec<LevelReport>,
    /// Number of random layers run at each.
    pub layers: usize,
}

impl FastPathReport {
    /// Number of values compared with certified ones.
    #[must_use]
    pub fn comparisons(&self) -> usize {
        self.types().map(|report| report.compared).sum()
    }

    /// Number of values beyond their tolerance, plus layers whose bits changed with the number of
    /// threads.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.types()
            .map(|report| report.outside + report.unstable)
            .sum()
    }

    fn types(&self) -> impl Iterator<Item = &TypeReport> {
        self.levels
            .iter()
            .flat_map(|level| [&level.f64, &level.f32])
    }
}

/// Outputs and final states of random layers, one for every four trials, at every level this machine has and with 1
/// and 2 threads, against certified values.
///
/// # Errors
///
/// If a layer cannot be certified or run, which none should.
pub fn fast_path(seed: u64, trials: usize) -> Result<FastPathReport, Error> {
    let report = |level| LevelReport {
        level,
        f64: TypeReport::default(),
        f32: TypeReport::default(),
    };
    let mut found = FastPathReport {
        levels: Level::all().into_iter().map(report).into_vec(),
        layers: trials.div_ceil(EVERY),
    };
    let fresh = found.levels.clone();
    let of_layers = outcomes(found.layers, |trial| {
        let mut levels = fresh.clone();
        let rng = &mut Rng::new(!seed ^ ((trial as u64) << 32));
        let sample = Sample::draw(rng)?;
        for report in &mut levels {
            sample.compare(report.level, Precision::F64, &mut report.f64)?;
            sample.compare(report.level, Precision::F32, &mut report.f32)?;
        }
        Ok(levels)
    })?;
    for levels in of_layers {
        for (report, of_layer) in found.levels.iter_mut().zip(levels) {
            report.f64.add(of_layer.f64);
            report.f32.add(of_layer.f32);
        }
    }
    Ok(found)
}

/// A random layer, an input, and what is certified of it.
struct Sample {
    case: LayerCase,
    golden: Golden,
}

impl Sample {
    /// Every parameter is at work.
    fn draw(rng: &mut Rng) -> Result<Self, Error> {
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
            Ok((0..size).map(draw).into_vec())
        })?;
        let input = parameters.discretize()?.sample_input(batch, len, rng);
        let case = LayerCase::new(parameters, input)?;
        Ok(Self {
            golden: Golden::certify(case.clone())?,
            case,
        })
    }

    /// Runs the fast path and adds what came of it to a report.
    fn compare(
        &self,
        level: Level,
        precision: Precision,
        report: &mut TypeReport,
    ) -> Result<(), Error> {
        let run = |threads| fast_stages(&self.case, level, threads, precision, false);
        let (alone, shared) = (run(1)?, run(2)?);
        report.unstable += usize::from(alone != shared);
        let unit_roundoff = match precision {
            Precision::F32 => FloatFormat::F32.unit_roundoff(),
            _ => FloatFormat::F64.unit_roundoff(),
        };
        for (name, values) in alone {
            let stage = self
                .golden
                .stages()
                .iter()
                .find(|stage| stage.name() == name);
            let stage = stage.ok_or(Error::missing(name))?;
            let pairs = values.data().iter().zip(stage.values.data());
            for ((got, certified), scale) in pairs.zip(stage.scale.data()) {
                report.compared += 1;
                let (error, tolerance) = ((got - certified).abs(), unit_roundoff * scale);
                let used = if error == 0.0 { 0.0 } else { error / tolerance };
                report.outside += usize::from(used.is_nan() || used > 1.0);
                report.used = report.used.max(used);
            }
        }
        Ok(())
    }
}
