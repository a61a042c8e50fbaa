//! The recurrence as an associative scan.

use super::packed::{PackedResponse, beginning_at, check_states};
use super::prefixes::prefixes;
use super::state_space::{Response, StateSpace, Transition, add_states, initial_state};
use crate::algebra::Ring;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use core::ops::Range;

/// One node of the scan: the affine map `x -> A x + b`. Where a document begins `A` is 0, and no
/// power of anything: `None`.
#[derive(Clone)]
pub(super) struct Affine<T: Transition> {
    pub(super) a: Option<T>,
    pub(super) b: Vec<T::Element>,
}

impl<T> Affine<T>
where
    T: Transition,
    T::Element: Ring,
{
    /// `self` after `earlier`: `(A2, b2) . (A1, b1) = (A2 A1, A2 b1 + b2)`.
    ///
    /// The order matters, also for a commuting `A`: `b` does not commute.
    fn after(&self, earlier: &Self) -> Self {
        let Some(a) = &self.a else {
            return self.clone();
        };
        Self {
            a: earlier.a.as_ref().map(|earlier| a.after(earlier)),
            b: add_states(&a.apply(&earlier.b), &self.b),
        }
    }
}

/// The outputs and final state by a work-efficient parallel scan (Blelloch 1990) over the
/// affine maps `x -> A x + B u_i`, run here one node after another.
///
/// The tree is padded with identity maps to a power of two. The up-sweep composes neighbours;
/// the down-sweep hands every node the map of all that lies to its left, beginning at the root
/// with the constant map to `x0`, so that the initial state enters like one more, earliest
/// node.
///
/// # Errors
///
/// If `x0` is not a state of this model.
pub fn scan<S: StateSpace>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
) -> Result<Response<S>, Error> {
    let x0 = initial_state(ssm, x0)?;
    let node = |_, u| Affine {
        a: Some(ssm.transition()),
        b: ssm.inject(u),
    };
    let states = states(ssm, u, x0.clone(), &node);
    Ok(Response {
        output: outputs(ssm, u, &states),
        state: states.into_iter().next_back().unwrap_or(x0),
    })
}

/// The same over a row of documents: a document's first node is the constant map to the state after
/// its first token, `A = 0`, and what came before is forgotten however the tree composes it.
///
/// # Errors
///
/// If there is not one state of this model per document.
pub(crate) fn scan_packed<S: StateSpace>(
    ssm: &S,
    u: &[S::Scalar],
    documents: &[Range<usize>],
    x0: &[&[S::Element]],
) -> Result<PackedResponse<S>, Error> {
    check_states(ssm, documents, x0)?;
    let node = |i, u| match beginning_at(documents, i) {
        None => Affine {
            a: Some(ssm.transition()),
            b: ssm.inject(u),
        },
        Some(document) => Affine {
            a: None,
            b: add_states(&ssm.advance(x0[document], 1), &ssm.inject(u)),
        },
    };
    let zero = vec![S::Element::ZERO; ssm.state_dim()];
    let states = states(ssm, u, zero, &node);
    let mut output = vec![S::Scalar::ZERO; u.len()];
    for tokens in documents.iter().cloned() {
        let of_document = outputs(ssm, &u[tokens.clone()], &states[tokens.clone()]);
        output[tokens].copy_from_slice(&of_document);
    }
    let after = |(tokens, x0): (&Range<usize>, &&[S::Element])| {
        let last = tokens.clone().next_back();
        last.map_or_else(|| x0.to_vec(), |last| states[last].clone())
    };
    Ok(PackedResponse {
        output,
        states: documents.iter().zip(x0).map(after).into_vec(),
    })
}

/// The state after every input.
fn states<S: StateSpace>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Vec<S::Element>,
    node: &dyn Fn(usize, S::Scalar) -> Affine<S::Transition>,
) -> Vec<Vec<S::Element>> {
    let maps: Vec<_> = u.iter().enumerate().map(|(i, &u)| node(i, u)).into_vec();
    states_after(&maps, ssm.transition().identity(), x0)
}

/// The state after every map, from the state before the first.
pub(super) fn states_after<T>(
    maps: &[Affine<T>],
    identity: T,
    x0: Vec<T::Element>,
) -> Vec<Vec<T::Element>>
where
    T: Transition,
    T::Element: Ring,
{
    let nothing = Affine {
        a: Some(identity.clone()),
        b: x0.iter().map(|_| T::Element::ZERO).into_vec(),
    };
    let start = Affine {
        a: Some(identity),
        b: x0,
    };
    let tree = prefixes(maps, &nothing, start, &Affine::after);
    let pairs = maps.iter().zip(&tree);
    pairs.map(|(map, before)| map.after(before).b).into_vec()
}

/// The outputs, read from the state after every input.
fn outputs<S: StateSpace>(ssm: &S, u: &[S::Scalar], states: &[Vec<S::Element>]) -> Vec<S::Scalar> {
    let pairs = states.iter().zip(u);
    pairs
        .map(|(state, &u)| ssm.read(state) + ssm.feedthrough() * u)
        .into_vec()
}
