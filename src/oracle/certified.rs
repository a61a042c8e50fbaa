//! The layer in ball arithmetic: every stage correctly rounded.

use super::case::Case;
use crate::algebra::ball::BallN;
use crate::algebra::{Real, RootsOfUnity, Scalar};
use crate::error::Error;
use crate::h3::Form;
use crate::tensor::Tensor;

/// One stage of a layer, every element *the* `f64` nearest to the real-number answer.
#[derive(Clone, Debug, PartialEq)]
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

/// All stages of a layer, certified.
#[derive(Clone, Debug, PartialEq)]
pub struct Certified {
    /// In the order of computation.
    pub stages: Vec<CertifiedStage>,
    /// The longest expansion used, in words of 53 bits: 2 unless something was retried.
    pub words: usize,
}

/// Runs the layer of a case in ball arithmetic, in one form (and backwards, with `gradients`), with midpoints of two words; if an
/// enclosure does not decide the rounding of some element, again with four.
///
/// The parameters and the input of the file are taken as exact real numbers, and the layer as the
/// real-number function of them. So the result does not depend on the form, the machine, or the
/// order of summation.
///
/// # Errors
///
/// As [`Layer::forward`](crate::h3::Layer::forward); and if four words do not decide some element:
/// its exact value then lies within some 10^-60 of the middle between two floats. That happens to
/// an exact zero or tie in a form whose intermediate results are not exact.
pub fn certified(case: &Case, form: &Form, gradients: bool) -> Result<Certified, Error> {
    let mut certified = Certified {
        stages: Vec::new(),
        words: 2,
    };
    for (name, balls) in case.stages::<BallN<2>>(form, gradients)? {
        certified.stages.push(CertifiedStage {
            name,
            values: balls.map(|ball| ball.rounded().unwrap_or(f64::NAN)),
            radii: balls.map(BallN::radius),
            retried: undecided(balls.data()),
        });
    }
    certified.retry::<4>(case, form, gradients)?;
    for stage in &certified.stages {
        let open = stage.values.data().iter().position(|x| x.is_nan());
        if let Some(at) = open {
            return Err(Error::value(
                format!("stage {}", stage.name),
                format!(
                    "the rounding of element {at} is not decided by balls of four words in form \
                     {form}; form recurrence keeps exact zeros and ties exact"
                ),
            ));
        }
    }
    Ok(certified)
}

impl Certified {
    /// Decides what is still open with expansions of `W` words.
    fn retry<const W: usize>(
        &mut self,
        case: &Case,
        form: &Form,
        gradients: bool,
    ) -> Result<(), Error>
    where
        BallN<W>: Real,
        <BallN<W> as Scalar>::Complex: RootsOfUnity,
    {
        let open = |stage: &CertifiedStage| stage.values.data().iter().any(|x| x.is_nan());
        if !self.stages.iter().any(open) {
            return Ok(());
        }
        self.words = W;
        let longer = case.stages::<BallN<W>>(form, gradients)?;
        for (stage, (_, balls)) in self.stages.iter_mut().zip(longer) {
            stage.decide(balls.data());
        }
        Ok(())
    }
}

impl CertifiedStage {
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
