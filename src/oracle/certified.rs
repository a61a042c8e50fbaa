//! A subject in ball arithmetic: every stage correctly rounded.

use super::subject::{Named, Subject};
use crate::algebra::ball::BallN;
use crate::algebra::{Real, RootsOfUnity, Scalar};
use crate::error::Error;
use crate::h3::Form;
use crate::tensor::Tensor;

/// Below this magnitude (1e-240) an enclosure is taken as it is: the second word of a number of
/// this size is near 1e-256, the fourth would be near the end of the exponents.
const UNDERFLOW: f64 = 1e-240;

/// One stage, every element *the* `f64` nearest to the real-number answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CertifiedStage {
    /// The stage's name in files.
    pub name: String,
    /// The correctly rounded values.
    pub values: Tensor<f64>,
    /// The radius within which each value was known when its rounding was decided.
    pub radii: Tensor<f64>,
    /// The positions (row-major) that double-double balls did not decide, so that longer
    /// expansions had to.
    pub retried: Vec<usize>,
}

/// All stages of a subject, certified.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Certified {
    /// In the order of computation.
    pub stages: Vec<CertifiedStage>,
    /// The longest expansion used, in words of 53 bits: 2 unless something was retried.
    pub words: usize,
}

/// Something whose stages can be computed in any scalars.
pub(super) trait Computation {
    /// Every stage under its name in files.
    fn stages<T>(&self) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity;

    /// The same stages, perhaps computed another way, which decides as many roundings.
    fn stages_again<T>(&self) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity;
}

/// A subject in one form; backwards too, with `gradients`.
pub(super) struct SubjectRun<'a, S> {
    pub(super) subject: &'a S,
    pub(super) form: &'a Form,
    pub(super) gradients: bool,
}

impl<S: Subject> Computation for SubjectRun<'_, S> {
    fn stages<T>(&self) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        self.subject.run(self.form, self.gradients)
    }

    fn stages_again<T>(&self) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        self.subject.run_plainly(self.gradients)
    }
}

/// Runs a computation in ball arithmetic, with midpoints of two words; if an enclosure does not
/// decide the rounding of some element, again with four, in the subject's default form.
///
/// The numbers it is given are taken as exact real numbers, and the stages as real-number functions
/// of them. So the result does not depend on the form, the machine, or the order of summation.
///
/// # Errors
///
/// As the computation itself; and if four words do not decide some element: its exact value then
/// lies within some 10^-60 of the middle between two floats. That happens to an exact zero or tie
/// where the intermediate results are not exact.
pub(super) fn certify(run: &impl Computation) -> Result<Certified, Error> {
    let mut certified = Certified {
        stages: Vec::new(),
        words: 2,
    };
    for (name, balls) in run.stages::<BallN<2>>()? {
        certified.stages.push(CertifiedStage {
            name,
            values: balls.map(|ball| ball.rounded().unwrap_or(f64::NAN)),
            radii: balls.map(BallN::radius),
            retried: undecided(balls.data()),
        });
    }
    certified.retry::<4>(run)?;
    certified.settle_underflow(run)?;
    for stage in &certified.stages {
        let open = stage.values.data().iter().position(|x| x.is_nan());
        if let Some(at) = open {
            return Err(Error::value(
                format!("stage {}", stage.name),
                format!(
                    "the rounding of element {at} is not decided by balls of four words: it is \
                     an exact zero or tie, or closer to one than 1e-60"
                ),
            ));
        }
    }
    Ok(certified)
}

impl Certified {
    /// Takes the midpoint where the enclosure lies below [`UNDERFLOW`]: there the lower words of an
    /// expansion underflow, and no number of them decides a rounding. The radius says what is
    /// known.
    fn settle_underflow(&mut self, run: &impl Computation) -> Result<(), Error> {
        if !self.stages.iter().any(CertifiedStage::is_open) {
            return Ok(());
        }
        let balls = run.stages::<BallN<2>>()?;
        for (stage, (_, balls)) in self.stages.iter_mut().zip(balls) {
            let values = stage.values.data_mut().iter_mut();
            for (value, ball) in values.zip(balls.data()) {
                if value.is_nan() && ball.upper_magnitude() < UNDERFLOW {
                    *value = ball.to_f64();
                }
            }
        }
        Ok(())
    }

    /// Decides what is still open with expansions of `W` words.
    fn retry<const W: usize>(&mut self, run: &impl Computation) -> Result<(), Error>
    where
        BallN<W>: Real,
        <BallN<W> as Scalar>::Complex: RootsOfUnity,
    {
        if !self.stages.iter().any(CertifiedStage::is_open) {
            return Ok(());
        }
        self.words = W;
        let longer = run.stages_again::<BallN<W>>()?;
        for stage in &mut self.stages {
            if let Some((_, balls)) = longer.iter().find(|(name, _)| *name == stage.name) {
                stage.decide(balls.data());
            }
        }
        Ok(())
    }
}

impl CertifiedStage {
    /// A stage that was computed in plain floats: it has no radii.
    #[must_use]
    pub fn plain(name: String, values: Tensor<f64>) -> Self {
        Self {
            name,
            values,
            radii: Tensor::filled([0], 0.0),
            retried: Vec::new(),
        }
    }

    /// True if some rounding is not decided yet.
    fn is_open(&self) -> bool {
        self.values.data().iter().any(|x| x.is_nan())
    }

    fn decide<const W: usize>(&mut self, balls: &[BallN<W>]) {
        let (values, radii) = (self.values.data_mut(), self.radii.data_mut());
        for ((value, radius), ball) in values.iter_mut().zip(radii).zip(balls) {
            if let (true, Some(rounded)) = (value.is_nan(), ball.rounded()) {
                (*value, *radius) = (rounded, ball.radius());
            }
        }
    }
}

/// The positions whose enclosure holds numbers that round differently.
fn undecided<const W: usize>(balls: &[BallN<W>]) -> Vec<usize> {
    let open = balls.iter().enumerate();
    open.filter(|(_, ball)| ball.rounded().is_none())
        .map(|(at, _)| at)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number above a float by some part of what it is to the middle between that and the next, times a one that is
    /// known but for its last digits.
    struct Above(f64, f64);

    impl Above {
        fn number<T: Real>(&self) -> T {
            let half = (self.0.next_up() - self.0) / 2.0;
            let (sin, cos) = T::ONE.sin_cos();
            (T::from_f64(self.0) + T::from_f64(self.1 * half)) * (sin * sin + cos * cos)
        }
    }

    impl Computation for Above {
        fn stages<T>(&self) -> Result<Named<T>, Error>
        where
            T: Real,
            T::Complex: RootsOfUnity,
        {
            Ok(vec![("x".into(), Tensor::new([1], vec![self.number()])?)])
        }

        fn stages_again<T>(&self) -> Result<Named<T>, Error>
        where
            T: Real,
            T::Complex: RootsOfUnity,
        {
            self.stages()
        }
    }

    /// Four words are used where two do not decide, and only there.
    #[test]
    fn words_are_as_many_as_it_takes() {
        for (part, expected, words, retried) in [
            (0.5, 1.0, 2, vec![]),
            (1.0f64.next_down(), 1.0, 4, vec![0]),
            (1.0f64.next_up(), 1.0f64.next_up(), 4, vec![0]),
        ] {
            let certified = certify(&Above(1.0, part)).expect("decided");
            let stage = &certified.stages[0];
            assert_eq!(stage.values.data(), [expected], "{part}");
            assert_eq!(
                (certified.words, &stage.retried),
                (words, &retried),
                "{part}"
            );
        }
        assert!(certify(&Above(1.0, 1.0)).is_err());
    }

    /// Only what is certainly below the limit is taken as it is.
    #[test]
    fn the_limit_is_not_below_itself() {
        let bound = |x: f64| Above(x, 1.0).number::<BallN<2>>().upper_magnitude();
        let mut x = UNDERFLOW;
        while bound(x) > UNDERFLOW {
            x = x.next_down();
        }
        assert_eq!(bound(x), UNDERFLOW);
        assert!(certify(&Above(x, 1.0)).is_err());
        x = x.next_down();
        assert!(bound(x) < UNDERFLOW);
        let settled = certify(&Above(x, 1.0)).expect("below");
        let found = settled.stages[0].values.data()[0];
        assert!(found == x || found == x.next_up(), "{found:e} for {x:e}");
    }
}
