//! One state space model with mistakes made at its hooks.

use super::wrong_convolution::Convolution;
use crate::algebra::Ring;
use crate::error::Error;
use crate::flashconv::{Blocks, Chunking, early_rows, pass_states};
use crate::into_vec::IntoVec as _;
use crate::oracle::memo::{Recall, Step};
use crate::ssm::{Dense, Diagonal, Response, Shift, StateSpace, causal_convolution};

/// Taps of a kernel, any number of them.
pub(super) type Taps<'a> = &'a dyn Fn(usize) -> Vec<f64>;

/// The state before a chunk carried over it: given the chunk's length and the first chunk's.
type Carry<S> =
    fn(&S, &[<S as StateSpace>::Element], usize, usize) -> Vec<<S as StateSpace>::Element>;

/// The response to inputs from a state.
type Respond<S> = fn(&S, &[f64], &[<S as StateSpace>::Element]) -> Response<S>;

/// The state about to be passed on at a boundary, and its operands.
pub(crate) struct HandOver<'a, S: StateSpace> {
    pub(super) ssm: &'a S,
    pub(super) state: &'a [S::Element],
    /// The state before the first input.
    pub(super) initial: &'a [S::Element],
    /// All inputs and outputs before the boundary.
    pub(super) inputs: &'a [f64],
    pub(super) outputs: &'a [f64],
    /// The length of the chunk before it.
    pub(super) chunk_len: usize,
}

/// The state passed on in place of the right one.
type HandOn<S> = fn(&HandOver<'_, S>) -> Vec<<S as StateSpace>::Element>;

/// The boundaries at which a run passes on its states.
#[derive(Clone)]
pub(super) enum Boundaries {
    /// Nowhere: the sequence is one chunk.
    None,
    /// After every chunk of this length.
    Every(usize),
    /// Once, after this many tokens.
    Once(usize),
    /// After parts of these lengths.
    After(Vec<usize>),
}

impl Boundaries {
    /// A sequence of this length cut there.
    pub(super) fn chunking(&self, len: usize) -> Chunking {
        match self {
            Self::Every(chunk_len) => Chunking::Uniform((*chunk_len).max(1)),
            Self::Once(prompt) if (1..len).contains(prompt) => {
                Chunking::Ragged(vec![*prompt, len - prompt])
            }
            Self::After(lengths) if len > 0 => {
                let mut left = len;
                let parts = lengths.iter().map(|&part| {
                    let part = part.min(left);
                    left -= part;
                    part
                });
                let mut parts: Vec<usize> = parts.filter(|&part| part > 0).into_vec();
                parts.extend((left > 0).then_some(left));
                Chunking::Ragged(parts)
            }
            _ => Chunking::Uniform(len.max(1)),
        }
    }

    /// The tokens before the last part of a sequence, if there is more than one part.
    pub(super) fn last(&self, len: usize) -> Option<usize> {
        // Uniform chunks are not empty and others add up to the length, so these are never refused.
        let lengths = self.chunking(len).lengths(len).unwrap_or_default();
        let (last, before) = lengths.split_last()?;
        (!before.is_empty()).then_some(len - last)
    }
}

/// One edit of the models of a kind.
pub(crate) enum ModelHook<S: StateSpace> {
    /// The kernel of this many taps, given the right one's taps.
    Kernel(fn(&S, Taps<'_>, usize) -> Vec<f64>),
    /// The kernel is not cut to `l_max`.
    Uncut,
    /// The kernel has as many taps as the run's number says, and zeros after them.
    Short,
    /// The convolution of a chunk, by a transform or otherwise in a way that depends on its whole
    /// length.
    Convolution(fn(&Convolution<'_>) -> Vec<f64>),
    /// The factor of a chunk's convolution, given the length of the transform.
    Factor(fn(f64) -> f64),
    /// `M_xy x`, of this many rows.
    Read(fn(&S, &[S::Element], usize) -> Vec<f64>),
    /// The rows of `M_xy` have this many powers of `A` more. Of several the sum counts, and no row
    /// has fewer than none.
    ReadLater(isize),
    /// The contribution of the state is kept separate from the output.
    ReadApart,
    /// `M_xx x`.
    Carry(Carry<S>),
    /// `M_ux u`.
    Absorb(fn(&S, &[f64]) -> Vec<S::Element>),
    /// The columns of `M_ux` in the order of the inputs, where chunks pass on a state.
    Unreversed,
    /// The state is not passed on to the next chunk.
    Dropped,
    /// The state passed on to the next chunk.
    HandedOn(HandOn<S>),
    /// The response to `u` from `x0`, step by step.
    Response(Respond<S>),
}

// By hand, since a derive would ask it of the model.
impl<S: StateSpace> Clone for ModelHook<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: StateSpace> Copy for ModelHook<S> {}

/// A model with mistakes: as a convolution within chunks and a state between them, in one chunk
/// unless a mistake sits between chunks.
pub(super) struct WrongModel<'m, S: StateSpace + 'static> {
    /// In the order of the catalogue.
    pub(super) hooks: Vec<&'static ModelHook<S>>,
    /// Those of them that act on the state passed on at the first boundary alone.
    pub(super) once: Vec<&'static ModelHook<S>>,
    pub(super) l_max: Option<usize>,
    pub(super) boundaries: Boundaries,
    /// The number that some mistakes have, such as a kernel's length.
    pub(super) number: usize,
    pub(super) recall: Recall<'m>,
}

/// A model whose steps' answers can be looked up.
pub(super) trait Recalled:
    StateSpace<Scalar = f64, Element: PartialEq + Send + Sync>
{
    /// All that its kernel and its states depend on, as numbers.
    fn numbers(&self) -> Vec<f64>;
}

impl Recalled for Shift<f64> {
    fn numbers(&self) -> Vec<f64> {
        [self.b(), self.c()].concat()
    }
}

impl Recalled for Diagonal<f64> {
    fn numbers(&self) -> Vec<f64> {
        let parts = [self.poles(), self.b(), self.c()];
        let numbers = parts.into_iter().flatten();
        numbers.flat_map(|z| [z.re, z.im]).into_vec()
    }
}

impl Recalled for Dense<f64> {
    fn numbers(&self) -> Vec<f64> {
        [self.a.entries(), &self.b, &self.c].concat()
    }
}

/// Chunks of fewer tokens are computed sooner than they are looked up.
const LEAST_RECALLED: usize = 8;

/// The sizes of a step that a model is asked for. With that of the state its numbers can be taken for no
/// other model's, of whichever kind.
fn sizes_of<S: StateSpace>(ssm: &S, len: usize) -> [f64; 2] {
    [ssm.state_dim() as f64, len as f64]
}

/// The last of the hooks of one kind, which is the one that counts.
macro_rules! last {
    ($hooks:expr, $kind:ident) => {
        $hooks.iter().rev().find_map(|hook| match hook {
            ModelHook::$kind(hook) => Some(hook),
            _ => None,
        })
    };
}

impl<S: Recalled + 'static> WrongModel<'_, S> {
    /// The model without some of its hooks.
    pub(super) fn without(&self, left_out: impl Fn(&ModelHook<S>) -> bool) -> Self {
        let hooks = self.hooks.iter().copied();
        Self {
            hooks: hooks.filter(|hook| !left_out(hook)).into_vec(),
            once: self.once.clone(),
            boundaries: self.boundaries.clone(),
            ..*self
        }
    }

    /// The first `len` taps of the kernel, not cut.
    pub(super) fn taps(&self, ssm: &S, len: usize) -> Vec<f64> {
        let right = |len: usize| {
            let asked = [&sizes_of(ssm, len)[..], &ssm.numbers()];
            self.recall.answer(Step::Kernel, &asked, || ssm.kernel(len))
        };
        edited_taps(&self.hooks, self.number, ssm, &right, len)
    }

    /// The response to `u` from `x0`, given the kernel, which `l_max` may have cut.
    ///
    /// # Errors
    ///
    /// If `x0` is no state of the model.
    pub(super) fn respond(
        &self,
        ssm: &S,
        kernel: &[f64],
        u: &[f64],
        x0: &[S::Element],
    ) -> Result<Response<S>, Error> {
        // Kernels that are cut have no recurrence: neither steps nor states between chunks.
        let passes = kernel.len() == u.len();
        if passes && let Some(respond) = last!(self.hooks, Response) {
            return Ok(respond(ssm, u, x0));
        }
        let blocks = WrongBlocks {
            hooks: self,
            ssm,
            kernel,
            inputs: u,
            initial: x0,
            passes,
        };
        let chunking = match passes {
            true => self.boundaries.chunking(u.len()),
            false => Boundaries::None.chunking(u.len()),
        };
        pass_states(ssm, &blocks, u, Some(x0), &chunking)
    }
}

/// The taps of the right kernel through the hooks, the first one innermost.
fn edited_taps<S>(
    hooks: &[&ModelHook<S>],
    number: usize,
    ssm: &S,
    right: Taps<'_>,
    len: usize,
) -> Vec<f64>
where
    S: StateSpace<Scalar = f64>,
{
    match hooks.split_last() {
        None => right(len),
        Some((ModelHook::Kernel(edit), inner)) => {
            let taps: Taps<'_> = &|len| edited_taps(inner, number, ssm, right, len);
            edit(ssm, taps, len)
        }
        Some((ModelHook::Short, inner)) => {
            let mut taps = edited_taps(inner, number, ssm, right, len.min(number));
            taps.resize(len, 0.0);
            taps
        }
        Some((_, inner)) => edited_taps(inner, number, ssm, right, len),
    }
}

/// The blocks of a chunk with mistakes.
struct WrongBlocks<'a, S: StateSpace + 'static> {
    hooks: &'a WrongModel<'a, S>,
    ssm: &'a S,
    kernel: &'a [f64],
    inputs: &'a [f64],
    initial: &'a [S::Element],
    passes: bool,
}

impl<S: Recalled + 'static> Blocks<S> for WrongBlocks<'_, S> {
    fn convolve(&self, ssm: &S, u: &[f64]) -> Result<Vec<f64>, Error> {
        let hooks = &self.hooks.hooks;
        let taps: Taps<'_> = &|len| self.hooks.taps(ssm, len);
        let uncut = hooks.iter().any(|hook| matches!(hook, ModelHook::Uncut));
        let whole = if uncut { taps(u.len()) } else { Vec::new() };
        let kernel = if uncut { &whole } else { self.kernel };
        let convolution = Convolution {
            kernel: &kernel[..kernel.len().min(u.len())],
            taps,
            state_dim: ssm.state_dim(),
            u,
            l_max: self.hooks.l_max,
        };
        let mut y = match last!(hooks, Convolution) {
            Some(by) => by(&convolution),
            None => {
                let kernel = convolution.kernel;
                let convolve = || causal_convolution(kernel, u);
                match u.len() < LEAST_RECALLED {
                    true => convolve(),
                    false => {
                        let recall = self.hooks.recall;
                        recall.answer(Step::Convolve, &[kernel, u], convolve)
                    }
                }
            }
        };
        for hook in hooks {
            if let ModelHook::Factor(factor) = hook {
                let factor = factor(convolution.padded() as f64);
                y.iter_mut().for_each(|y| *y *= factor);
            }
        }
        Ok(y)
    }

    fn receive(&self, chunk: usize, state: Vec<S::Element>, outputs: &[f64]) -> Vec<S::Element> {
        if chunk == 0 {
            return state;
        }
        let edit = |state: Vec<S::Element>, hook: &&'static ModelHook<S>| match hook {
            ModelHook::Dropped => vec![S::Element::ZERO; state.len()],
            ModelHook::HandedOn(edit) => edit(&HandOver {
                ssm: self.ssm,
                state: &state,
                initial: self.initial,
                inputs: &self.inputs[..outputs.len()],
                outputs,
                chunk_len: self.hooks.number.min(outputs.len()),
            }),
            _ => state,
        };
        let acts = |hook: &&&'static ModelHook<S>| {
            let is_it = |once: &&'static ModelHook<S>| core::ptr::eq(*once, **hook);
            chunk == 1 || !self.hooks.once.iter().any(is_it)
        };
        self.hooks.hooks.iter().filter(acts).fold(state, edit)
    }

    fn read(&self, ssm: &S, x: &[S::Element], len: usize) -> Vec<f64> {
        let hooks = &self.hooks.hooks;
        let apart = hooks
            .iter()
            .any(|hook| matches!(hook, ModelHook::ReadApart));
        if apart || x.iter().all(|&x| x == S::Element::ZERO) {
            return vec![0.0; len];
        }
        let later = hooks.iter().map(|hook| match hook {
            ModelHook::ReadLater(powers) => *powers,
            _ => 0,
        });
        let later: isize = later.sum();
        let x = ssm.advance(x, usize::try_from(later).unwrap_or(0));
        match last!(hooks, Read) {
            Some(read) => read(ssm, &x, len),
            None if later < 0 => early_rows(ssm, &x, len),
            None => ssm.state_to_output(&x, len),
        }
    }

    fn carry(&self, ssm: &S, x: &[S::Element], len: usize, first: usize) -> Vec<S::Element> {
        match last!(self.hooks.hooks, Carry) {
            Some(carry) => carry(ssm, x, len, first),
            None => ssm.advance(x, len),
        }
    }

    fn absorb(&self, ssm: &S, u: &[f64]) -> Vec<S::Element> {
        let hooks = &self.hooks.hooks;
        let mut u = u.to_vec();
        if self.passes
            && hooks
                .iter()
                .any(|hook| matches!(hook, ModelHook::Unreversed))
        {
            u.reverse();
        }
        match last!(hooks, Absorb) {
            Some(absorb) => absorb(ssm, &u),
            None if u.len() < LEAST_RECALLED => ssm.input_to_state(&u),
            None => {
                let asked = [&sizes_of(ssm, u.len())[..], &ssm.numbers(), &u];
                let absorb = || ssm.input_to_state(&u);
                self.hooks.recall.answer(Step::Absorb, &asked, absorb)
            }
        }
    }
}
