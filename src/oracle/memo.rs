//! Answers of the reference that runs with mistakes ask for again.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// The inputs of the steps of runs without mistakes, with their answers: a run with a mistake asks most of
/// its steps the same. A step's answer depends on the numbers it is asked with and nothing else, so it
/// is the same, bit for bit, whether it is remembered or computed.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    answers: RwLock<HashMap<u64, Vec<Answered>>>,
}

/// A step of the reference that costs more than to look its numbers up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `W x + b` of every token.
    Project,
    /// A model's kernel.
    Kernel,
    /// A causal convolution.
    Convolve,
    /// `M_ux u`.
    Absorb,
}

#[derive(Debug)]
struct Answered {
    step: Step,
    asked: Vec<Vec<f64>>,
    answer: Box<dyn Any + Send + Sync>,
}

impl Answered {
    fn is(&self, step: Step, asked: &[&[f64]]) -> bool {
        let same = |(a, b): (&Vec<f64>, &&[f64])| {
            a.len() == b.len() && a.iter().zip(*b).all(|(a, b)| a.to_bits() == b.to_bits())
        };
        self.step == step
            && self.asked.len() == asked.len()
            && self.asked.iter().zip(asked).all(same)
    }
}

/// A memo as a run uses it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recall<'m> {
    memo: Option<&'m Memo>,
    /// True for a run without mistakes, whose answers are kept.
    learns: bool,
}

impl<'m> Recall<'m> {
    /// Of a run that `learns` if it makes no mistake.
    pub(crate) fn new(memo: Option<&'m Memo>, learns: bool) -> Self {
        Self { memo, learns }
    }

    /// A step's answer, remembered or computed.
    pub(crate) fn answer<A: Clone + Send + Sync + 'static>(
        &self,
        step: Step,
        asked: &[&[f64]],
        compute: impl FnOnce() -> A,
    ) -> A {
        let Some(memo) = self.memo else {
            return compute();
        };
        let place = place(asked);
        let known = memo.answers.read().unwrap_or_else(PoisonError::into_inner);
        let mut at_place = known.get(&place).into_iter().flatten();
        if let Some(known) = at_place.find(|known| known.is(step, asked))
            && let Some(answer) = known.answer.downcast_ref::<A>()
        {
            return answer.clone();
        }
        drop(known);
        let answer = compute();
        if self.learns {
            let mut known = memo.answers.write().unwrap_or_else(PoisonError::into_inner);
            known.entry(place).or_default().push(Answered {
                step,
                asked: asked.iter().map(|part| part.to_vec()).collect(),
                answer: Box::new(answer.clone()),
            });
        }
        answer
    }
}

/// The place at which numbers are looked up: different ones may share it, and are told apart one by one.
fn place(asked: &[&[f64]]) -> u64 {
    let numbers = asked.iter().flat_map(|part| part.iter());
    numbers.fold(0x9e37_79b9_7f4a_7c15, |place: u64, x| {
        (place ^ x.to_bits())
            .wrapping_mul(0xff51_afd7_ed55_8ccd)
            .rotate_left(31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers asked before are not computed again; those that differ in a number, a length or the step are.
    #[test]
    fn only_the_same_numbers_are_remembered() {
        let memo = Memo::default();
        let (learning, reading) = (
            Recall::new(Some(&memo), true),
            Recall::new(Some(&memo), false),
        );
        let (one, other) = ([1.0, 2.0], [2.0]);
        let first = learning.answer(Step::Kernel, &[&one, &other], || vec![3.0]);
        assert_eq!(first, [3.0]);
        let again = reading.answer(Step::Kernel, &[&one, &other], || vec![4.0]);
        assert_eq!(again, [3.0]);

        for asked in [[&one[..], &[-2.0]], [&one[..1], &[2.0, 2.0]]] {
            assert_eq!(reading.answer(Step::Kernel, &asked, || vec![4.0]), [4.0]);
            // A run with a mistake leaves nothing behind.
            assert_eq!(reading.answer(Step::Kernel, &asked, || vec![5.0]), [5.0]);
        }
        let step = reading.answer(Step::Absorb, &[&one, &other], || vec![4.0]);
        assert_eq!(step, [4.0]);
        let none = Recall::default().answer(Step::Kernel, &[&one, &other], || vec![4.0]);
        assert_eq!(none, [4.0]);
        // Zeros of two signs are two numbers, and a number that is none is itself.
        let [zero, minus, nan] = [0.0, -0.0, f64::NAN];
        for x in [zero, minus, nan] {
            let _ = learning.answer(Step::Project, &[&[x]], || x.to_bits());
        }
        for x in [zero, minus, nan] {
            let known = reading.answer(Step::Project, &[&[x]], || 1);
            assert_eq!(known, x.to_bits());
        }
    }
}
