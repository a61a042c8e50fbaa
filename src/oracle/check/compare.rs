//! The comparison of a candidate with golden stages, element by element.

use super::super::candidate::{Candidate, CandidateStage, exchanged};
use super::super::format::Format;
use super::super::golden::GoldenStage;
use super::super::stage::StageSpec;
use super::report::StageReport;
use super::series::Series;
use crate::tensor::Tensor;

/// A stage of golden file and candidate, with everything a comparison needs.
pub(super) struct Compared<'a> {
    pub(super) spec: &'a StageSpec,
    pub(super) golden: &'a Tensor<f64>,
    pub(super) candidate: &'a Tensor<f64>,
    /// The worst-case tolerance of every element.
    pub(super) bounds: Vec<f64>,
}

impl Compared<'_> {
    /// Where the last two of three axes are of one length, the shape cannot tell (b, l, d) from
    /// (b, d, l): what to say if it is the other that is within tolerance.
    fn layout_note(&self) -> Option<String> {
        let &[_, rows, cols] = self.golden.shape() else {
            return None;
        };
        if rows != cols {
            return None;
        }
        let other = exchanged(self.candidate.data(), rows, cols);
        let other = Compared {
            candidate: &Tensor::new(self.golden.shape(), other).ok()?,
            bounds: self.bounds.clone(),
            ..*self
        };
        let (worst, _) = other.worst_against(self.golden.data(), false);
        (worst <= 1.0).then(|| {
            format!("within tolerance with its last two axes, both {rows} long, exchanged")
        })
    }

    /// True if a stage of zeros would be within tolerance, and the golden one is not zeros.
    fn zeros_pass(&self) -> bool {
        let golden = self.golden.data();
        golden.iter().any(|g| g.abs() > 0.0)
            && golden
                .iter()
                .zip(&self.bounds)
                .all(|(g, bound)| g.abs() <= *bound)
    }

    /// The largest error against other values than the golden ones, as a fraction of the
    /// tolerance, and where.
    ///
    /// `mutated` values have no tolerance of their own: theirs is the golden one, grown with the
    /// stage where the mistake makes it larger, and relative to their own size no less than the
    /// stage's tolerance is to its largest value.
    pub(super) fn worst_against(&self, truth: &[f64], mutated: bool) -> (f64, usize) {
        let leeway = match mutated {
            true => self.leeway(largest(truth)),
            false => Leeway::NONE,
        };
        let errors = truth.iter().zip(self.candidate.data()).zip(&self.bounds);
        let mut worst = (0.0, 0);
        for (at, ((&truth, &candidate), &bound)) in errors.enumerate() {
            let fraction = leeway.fraction(truth, candidate, bound);
            if fraction > worst.0 {
                worst = (fraction, at);
            }
        }
        worst
    }

    /// True if values are outside the tolerance of the golden ones.
    pub(super) fn differs(&self, values: &[f64]) -> bool {
        let pairs = values.iter().zip(self.golden.data()).zip(&self.bounds);
        let mut pairs = pairs.map(|((x, golden), bound)| (x - golden).abs() > *bound);
        pairs.any(|differs| differs)
    }

    /// The tolerance of mutated values, of this largest one.
    fn leeway(&self, own_size: f64) -> Leeway {
        let size = largest(self.golden.data());
        if size <= 0.0 {
            return Leeway::NONE;
        }
        Leeway {
            grown: (own_size / size).max(1.0),
            relative: largest(&self.bounds) / size,
        }
    }

    /// This stage among those of a run.
    pub(super) fn of<'s>(&self, stages: &'s [(String, Tensor<f64>)]) -> Option<&'s Tensor<f64>> {
        let stage = stages.iter().find(|(name, _)| *name == self.spec.name);
        stage.map(|(_, values)| values)
    }

    /// The distance of the candidate from mutated values of its first time steps alone, as
    /// [`worst_against`](Self::worst_against); `None` for what has no time steps. Values
    /// past them are unknown; assume the candidate's.
    pub(super) fn worst_beginning(&self, mutated: &Tensor<f64>) -> Option<f64> {
        let leeway = self.leeway(largest(self.candidate.data()));
        self.beginning(mutated, self.candidate, leeway, usize::MAX)
    }

    /// The distance of the golden values from mutated ones of at most `steps` first time steps.
    pub(super) fn golden_beginning(&self, mutated: &Tensor<f64>, steps: usize) -> Option<f64> {
        self.beginning(mutated, self.golden, Leeway::NONE, steps)
    }

    fn beginning(
        &self,
        mutated: &Tensor<f64>,
        whole: &Tensor<f64>,
        leeway: Leeway,
        steps: usize,
    ) -> Option<f64> {
        let long = Series::over_time(self.spec)?;
        let short = long.of_length(mutated.data().len() / long.count.max(1));
        if short.count * short.len != mutated.data().len() {
            return Some(f64::INFINITY);
        }
        let mut worst = 0.0;
        for s in 0..short.count {
            for t in 0..short.len.min(long.len).min(steps) {
                let at = long.place(s, t);
                let truth = mutated.data()[short.place(s, t)];
                let fraction = leeway.fraction(truth, whole.data()[at], self.bounds[at]);
                worst = f64::max(worst, fraction);
            }
        }
        Some(worst)
    }
}

/// The factor and the relative part by which the tolerance of a mutated stage is wider than the golden one's.
#[derive(Clone, Copy)]
struct Leeway {
    grown: f64,
    relative: f64,
}

impl Leeway {
    const NONE: Self = Self {
        grown: 1.0,
        relative: 0.0,
    };

    /// The distance as a fraction of the tolerance; infinite for what is no number.
    fn fraction(self, truth: f64, candidate: f64, bound: f64) -> f64 {
        let error = (truth - candidate).abs();
        if error <= 0.0 {
            return 0.0;
        }
        let fraction = error / (bound * self.grown + self.relative * truth.abs());
        match fraction.is_nan() {
            true => f64::INFINITY,
            false => fraction,
        }
    }
}

/// The largest magnitude.
fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |m: f64, x| m.max(x.abs()))
}

/// Every stage of the candidate against the golden one. `underflow` is what underflow may add to an
/// element.
pub(super) fn compare<'a>(
    golden: &'a [GoldenStage],
    candidate: &'a Candidate,
    format: Format,
    underflow: f64,
) -> (Vec<Compared<'a>>, Vec<StageReport>) {
    let mut compared = Vec::new();
    let mut stages = Vec::new();
    for stage in golden {
        let Some(found) = candidate.stage(stage.name()) else {
            continue;
        };
        let (this, report) = compare_stage(stage, found, format, underflow);
        compared.push(this);
        stages.push(report);
    }
    (compared, stages)
}

fn compare_stage<'a>(
    stage: &'a GoldenStage,
    found: &'a CandidateStage,
    format: Format,
    underflow: f64,
) -> (Compared<'a>, StageReport) {
    let (golden, candidate) = (&stage.values, &found.values);
    let with = |scale: &[f64]| {
        let pairs = scale.iter().zip(golden.data());
        let bound = |(scale, golden): (&f64, &f64)| {
            let stored = found.unit_roundoff * golden.abs() + found.smallest + underflow;
            scale * format.unit_roundoff() + stored + golden.abs() * f64::EPSILON / 2.0
        };
        Compared {
            spec: &stage.spec,
            golden,
            candidate,
            bounds: pairs.map(bound).collect(),
        }
    };
    let this = with(&stage.scale_at(format));
    let probable = stage.probable_at(format);
    let probable = probable.map(|scale| with(&scale).worst_against(golden.data(), false).0);
    let (worst, at) = this.worst_against(golden.data(), false);
    let note = found.note.clone().or_else(|| match worst <= 1.0 {
        true => None,
        false => this.layout_note(),
    });
    let report = StageReport {
        name: stage.name().to_string(),
        pass: worst <= 1.0,
        says_nothing: this.zeros_pass(),
        worst,
        probable,
        at: index_of(at, golden.shape()),
        golden: golden.data().get(at).copied().unwrap_or(0.0),
        candidate: candidate.data().get(at).copied().unwrap_or(0.0),
        bits: correct_bits(golden.data(), candidate.data()),
        note,
    };
    (this, report)
}

/// The place in a row-major array, axis by axis.
fn index_of(at: usize, shape: &[usize]) -> Vec<usize> {
    let mut rest = at;
    let mut index: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&axis| {
            let place = rest % axis.max(1);
            rest /= axis.max(1);
            place
        })
        .collect();
    index.reverse();
    index
}

fn correct_bits(golden: &[f64], candidate: &[f64]) -> f64 {
    let largest = |x: &mut dyn Iterator<Item = f64>| x.fold(0.0, |m: f64, x| m.max(x.abs()));
    let scale = largest(&mut golden.iter().copied());
    let error = largest(&mut golden.iter().zip(candidate).map(|(a, b)| a - b));
    if error <= 0.0 {
        return 53.0;
    }
    (-(error / scale).log2()).clamp(0.0, 53.0)
}

#[cfg(test)]
mod tests {
    use super::super::super::stage::Axis;
    use super::*;

    /// What is no number, and what is infinitely large in a mistake, is infinitely far off; what is equal
    /// is not, even without a tolerance.
    #[test]
    fn fractions_at_the_ends_of_the_numbers() {
        let leeway = Leeway {
            grown: 2.0,
            relative: 0.5,
        };
        for leeway in [Leeway::NONE, leeway] {
            for truth in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                assert_eq!(leeway.fraction(truth, 1.0, 0.25), f64::INFINITY);
            }
            assert_eq!(leeway.fraction(0.0, 1.0, 0.0), f64::INFINITY);
            assert_eq!(leeway.fraction(3.0, 3.0, 0.0), 0.0);
            assert_eq!(leeway.fraction(0.0, 0.0, 0.0), 0.0);
        }
        assert_eq!(Leeway::NONE.fraction(4.0, 1.0, 2.0), 1.5);
        // 2 * 2 and half of 4 are allowed.
        assert_eq!(leeway.fraction(4.0, 1.0, 2.0), 0.5);
    }

    /// A mistake's tolerance: the golden one, five times as wide where the stage is five times as large, and of
    /// the element's own size what the widest is of the largest golden value.
    #[test]
    fn mistakes_have_tolerances_of_their_size() {
        let tensor = |x: [f64; 2]| Tensor::new([2], x.to_vec()).expect("fits");
        let (golden, candidate) = (tensor([1.0, -2.0]), tensor([10.02, 5.0]));
        let spec = StageSpec::new("D", &[(Axis::Head, 2)], &[]);
        let compared = |golden, bounds: [f64; 2]| Compared {
            spec: &spec,
            golden,
            candidate: &candidate,
            bounds: bounds.to_vec(),
        };
        let this = compared(&golden, [1e-3, 4e-3]);
        let close = |(found, at): (f64, usize), (expected, place): (f64, usize)| {
            assert!(
                (found - expected).abs() <= 1e-9 * expected,
                "{found} but {expected}"
            );
            assert_eq!(at, place);
        };
        // 1e-3 * 5 + 2e-3 * 10 of an error of 0.02; and as much as golden.
        close(this.worst_against(&[10.0, 5.0], true), (0.8, 0));
        close(this.worst_against(&[10.0, 5.0], false), (20.0, 0));
        // No narrower where the stage is smaller.
        close(
            this.worst_against(&[10.02, 0.5], true),
            (4.5 / (4e-3 * 5.01 + 2e-3 * 0.5), 1),
        );
        close(
            this.worst_against(&[1.0, 0.5], true),
            (9.02 / (1e-3 + 2e-3), 0),
        );
        // Of a golden stage of zeros nothing can be relative.
        let zeros = tensor([0.0, 0.0]);
        close(
            compared(&zeros, [1e-3, 4e-3]).worst_against(&[10.0, 5.0], true),
            (20.0, 0),
        );

        // At its tolerance a value does not differ.
        let this = compared(&golden, [0.5, 0.25]);
        assert!(!this.differs(&[1.5, -2.25]) && !this.differs(&[0.5, -1.75]));
        assert!(this.differs(&[1.5f64.next_up(), -2.0]));
        assert!(this.differs(&[1.0, -2.25f64.next_up()]) && this.differs(&[1.0, 2.0]));
    }
}
