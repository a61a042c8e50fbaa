//! One model over a sequence: a convolution within chunks, a state between them.

use super::Mutant::{
    CarryDropped, CarryFullChunk, CarryOneShort, CarryUndecayed, KernelAdvance, KernelDelay,
    MuxUnreversed, MxyOneEarly, MxyOneLate, ShiftAdvanced, ShiftDelayed, ShiftStateLost,
};
use super::switches::Switches;
use crate::algebra::Ring;
use crate::error::Error;

/// What a chunk needs of a model.
pub(super) trait Model {
    type X: Ring + PartialEq;

    /// `A^k x`.
    fn advance(&self, x: &[Self::X], k: usize) -> Vec<Self::X>;

    /// `C A^{first + i} x`, `i = 0, ..., len - 1`.
    fn rows(&self, x: &[Self::X], first: usize, len: usize) -> Vec<f64>;

    /// `sum_j A^j B u_{T-1-j}`.
    fn absorb(&self, u: &[f64]) -> Vec<Self::X>;
}

/// The mistakes made between chunks.
pub(super) struct Passing {
    /// The power of A in the first row of `M_xy`; 1 is right.
    first_row: usize,
    drop: bool,
    unreversed: bool,
    full: bool,
    one_short: bool,
    undecayed: bool,
}

impl Passing {
    /// `passes` is whether the kernel is whole, so that states can be passed at all.
    pub(super) fn long(on: Switches<'_>, passes: bool) -> Self {
        // M55, M56: C A^i and C A^{i+2} for C A^{i+1}. M50: an output read before the update (or
        // a step after it) reads carried states so too.
        let late = usize::from(on.on(MxyOneLate)) + usize::from(on.on(KernelAdvance));
        let early = usize::from(on.on(MxyOneEarly)) + usize::from(on.on(KernelDelay));
        Self {
            first_row: (1 + late).saturating_sub(early),
            drop: on.on(CarryDropped),
            unreversed: passes && on.on(MuxUnreversed),
            full: on.on(CarryFullChunk),
            one_short: on.on(CarryOneShort),
            undecayed: on.on(CarryUndecayed),
        }
    }

    pub(super) fn shift(on: Switches<'_>) -> Self {
        // M09, as M50.
        let late = usize::from(on.on(ShiftAdvanced));
        let early = usize::from(on.on(ShiftDelayed));
        Self {
            first_row: (1 + late).saturating_sub(early),
            drop: on.on(ShiftStateLost),
            unreversed: false,
            full: false,
            one_short: false,
            undecayed: false,
        }
    }

    /// The power of A in the first row of what reads a state.
    pub(super) fn first_row(&self) -> usize {
        self.first_row
    }

    /// By which power of A the carried state passes a chunk of `len`, of at most `full`.
    fn power(&self, len: usize, full: usize) -> usize {
        if self.undecayed {
            0 // M58c
        } else if self.one_short {
            len - 1 // M58b
        } else if self.full {
            full // M58a
        } else {
            len
        }
    }
}

/// What came of it, the carried part apart from the rest.
pub(super) struct Passed<X> {
    pub(super) within: Vec<f64>,
    pub(super) carried: Vec<f64>,
    pub(super) state: Vec<X>,
    /// The state before the last chunk.
    pub(super) boundary: Vec<X>,
}

/// Runs a model over the chunks of `u`.
pub(super) fn pass<M: Model>(
    model: &M,
    passing: &Passing,
    chunks: &[usize],
    u: &[f64],
    x0: &[M::X],
    convolve: impl Fn(&[f64]) -> Result<Vec<f64>, Error>,
) -> Result<Passed<M::X>, Error> {
    let full = chunks.first().copied().unwrap_or(0);
    let mut passed = Passed {
        within: Vec::with_capacity(u.len()),
        carried: Vec::with_capacity(u.len()),
        state: x0.to_vec(),
        boundary: x0.to_vec(),
    };
    let mut rest = u;
    for (c, &len) in chunks.iter().enumerate() {
        let (chunk, after) = rest.split_at(len);
        rest = after;
        passed.boundary.clone_from(&passed.state);
        if c > 0 && passing.drop {
            // M59a, M63
            passed.state.fill(M::X::ZERO);
        }
        let state = &passed.state;
        passed.within.extend(convolve(chunk)?);
        passed
            .carried
            .extend(read_rows(model, state, passing.first_row, len));
        let advanced = model.advance(state, passing.power(len, full));
        let left = if passing.unreversed {
            // M57
            let backwards: Vec<f64> = chunk.iter().rev().copied().collect();
            model.absorb(&backwards)
        } else {
            model.absorb(chunk)
        };
        passed.state = add(&advanced, &left);
    }
    Ok(passed)
}

/// [`Model::rows`], for nothing where the state is zero.
fn read_rows<M: Model>(model: &M, x: &[M::X], first: usize, len: usize) -> Vec<f64> {
    if x.iter().all(|&x| x == M::X::ZERO) {
        vec![0.0; len]
    } else {
        model.rows(x, first, len)
    }
}

/// The state left by `u` after `x0`, in closed form.
pub(super) fn closed_form<M: Model>(model: &M, x0: &[M::X], u: &[f64]) -> Vec<M::X> {
    add(&model.advance(x0, u.len()), &model.absorb(u))
}

fn add<X: Ring>(x: &[X], y: &[X]) -> Vec<X> {
    x.iter().zip(y).map(|(&a, &b)| a + b).collect()
}
