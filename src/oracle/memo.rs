//! Results of the reference, cached for runs with mistakes.

use crate::into_vec::IntoVec as _;
use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};

/// The inputs of the steps of runs, with their answers: a run with a mistake asks most of its steps as one
/// without mistakes does, and the others as the same mistake with a port's kernels, or another mistake in
/// the same chunks. A step's answer depends on the numbers it is asked with and nothing else, so it
/// is the same, bit for bit, whether it is remembered or computed.
#[derive(Debug, Default)]
pub struct Memo {
    answers: RwLock<HashMap<u64, Vec<Answered>>>,
    /// How many numbers runs with mistakes have left.
    left: AtomicUsize,
}

/// Runs with mistakes leave no more numbers than this: 64 MB.
pub const ROOM: usize = 1 << 23;

/// A step of the reference that costs more than to look its numbers up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
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
        // What is looked at here is nearly always the same, so it is gone through to the end.
        let same = |(a, b): (&Vec<f64>, &&[f64])| {
            let pairs = a.iter().zip(*b);
            let differ = pairs.fold(0, |bits, (a, b)| bits | (a.to_bits() ^ b.to_bits()));
            a.len() == b.len() && differ == 0
        };
        self.step == step
            && self.asked.len() == asked.len()
            && self.asked.iter().zip(asked).all(same)
    }
}

/// A memo as a run uses it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recall<'m> {
    memo: Option<&'m Memo>,
    /// True for a run without mistakes, whose answers are all kept.
    is_right: bool,
}

impl<'m> Recall<'m> {
    /// Of a run that makes no mistake, or one.
    #[must_use]
    pub fn new(memo: Option<&'m Memo>, is_right: bool) -> Self {
        Self { memo, is_right }
    }

    /// A step's answer, remembered or computed.
    pub fn answer<A: Clone + Send + Sync + 'static>(
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
        let numbers: usize = asked.iter().map(|part| part.len()).sum();
        if self.is_right || memo.left.fetch_add(numbers, Ordering::Relaxed) < ROOM {
            let mut known = memo.answers.write().unwrap_or_else(PoisonError::into_inner);
            known.entry(place).or_default().push(Answered {
                step,
                asked: asked.iter().map(|part| part.to_vec()).into_vec(),
                answer: Box::new(answer.clone()),
            });
        }
        answer
    }
}

/// The place at which numbers are looked up: different ones may share it, and are told apart one by one.
fn place(asked: &[&[f64]]) -> u64 {
    // Several at a time, since each waits for the one before it.
    let mut lanes = [0x9e37_79b9_7f4a_7c15_u64; 4];
    let take = |lane: &mut u64, bits: u64| {
        *lane = (*lane ^ bits)
            .wrapping_mul(0xff51_afd7_ed55_8ccd)
            .rotate_left(31);
    };
    for part in asked {
        for numbers in part.chunks(lanes.len()) {
            let pairs = lanes.iter_mut().zip(numbers);
            pairs.for_each(|(lane, x)| take(lane, x.to_bits()));
        }
    }
    let [mut place, others @ ..] = lanes;
    others.into_iter().for_each(|lane| take(&mut place, lane));
    place
}
