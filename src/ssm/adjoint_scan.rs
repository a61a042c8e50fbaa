//! The adjoint of the scan.

use super::adjoint::{Adjoint, Gradients, check_cotangents};
use super::packed::{PackedGradients, beginning_at, check_packed_cotangents, ending_at};
use super::prefixes::prefixes;
use super::state_space::add_states;
use crate::algebra::Ring;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use core::ops::Range;

/// The gradients by two associative scans: one forward for the states, one from the last step to
/// the first for their cotangents, over the affine maps `l -> (A*)^k l + v`. Composed, they add
/// their powers: `(k2, v2) . (k1, v1) = (k1 + k2, (A*)^{k2} v1 + v2)`.
///
/// # Errors
///
/// As [`recurrence_adjoint`](super::recurrence_adjoint).
pub fn scan_adjoint<S: Adjoint>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
    g: &[S::Scalar],
    g_state: Option<&[S::Element]>,
) -> Result<Gradients<S>, Error> {
    let (x0, g_state) = check_cotangents(ssm, u, x0, g, g_state)?;
    let whole = vec![0..u.len(); 1];
    let row = scan_adjoint_packed(ssm, (u, g), &whole, [&[&x0], &[&g_state]])?;
    Ok(Gradients {
        input: row.input,
        state: row.states.into_iter().flatten().into_vec(),
        model: row.model,
    })
}

/// The same over a row of documents. Forwards the map of a document's first token is constant, as in
/// the scan itself; backwards that of the token after a document's last one is: whatever follows,
/// the cotangent of the state left behind is the one given.
///
/// # Errors
///
/// If there are not two states of this model per document, or `g` is not as long as `u`.
pub(crate) fn scan_adjoint_packed<S: Adjoint>(
    ssm: &S,
    (u, g): (&[S::Scalar], &[S::Scalar]),
    documents: &[Range<usize>],
    [x0, g_states]: [&[&[S::Element]]; 2],
) -> Result<PackedGradients<S>, Error> {
    check_packed_cotangents(ssm, (u, g), documents, [x0, g_states])?;
    let zero = vec![S::Element::ZERO; ssm.state_dim()];
    let mut gradient = ssm.zero_gradient();
    // A power of A, or `None` for 0.
    let power = |later: Option<usize>, earlier: Option<usize>| Some(later? + earlier?);
    let states = {
        let node = |(i, &u)| match beginning_at(documents, i) {
            None => (Some(1), ssm.inject(u)),
            Some(document) => (
                None,
                add_states(&ssm.advance(x0[document], 1), &ssm.inject(u)),
            ),
        };
        let nodes: Vec<_> = u.iter().enumerate().map(node).into_vec();
        let start = (Some(0), zero.clone());
        prefixes(&nodes, &start.clone(), start, &|later, earlier| {
            let Some(k) = later.0 else {
                return later.clone();
            };
            let moved = ssm.advance(&earlier.1, k);
            (power(later.0, earlier.0), add_states(&moved, &later.1))
        })
    };
    // l_i before C* g_i was added, that is A* l_{i+1}, for i = N..1.
    let adjoints = {
        // Linear in the cotangent alone, so the state it is asked about may be zero.
        let back = |l: &[S::Element], k| ssm.advance_adjoint(&zero, k, l, &mut ssm.zero_gradient());
        let node = |i: usize| match ending_at(documents, i) {
            None => {
                let read = ssm.read_adjoint(&zero, g[i], &mut ssm.zero_gradient());
                (Some(1), back(&read, 1))
            }
            Some(document) => (None, g_states[document].to_vec()),
        };
        let nodes: Vec<_> = (0..u.len()).rev().map(node).into_vec();
        let last = ending_at(documents, u.len());
        let last = last.map_or(zero.clone(), |document| g_states[document].to_vec());
        let nothing = (Some(0), zero.clone());
        prefixes(&nodes, &nothing, (Some(0), last), &|later, earlier| {
            let Some(k) = later.0 else {
                return later.clone();
            };
            let moved = back(&earlier.1, k);
            (power(later.0, earlier.0), add_states(&moved, &later.1))
        })
    };
    let mut input = vec![S::Scalar::ZERO; u.len()];
    let mut of_states = Vec::with_capacity(documents.len());
    for ((tokens, x0), g_state) in documents.iter().zip(x0).zip(g_states) {
        let mut of_x0 = g_state.to_vec();
        for i in tokens.clone().rev() {
            let before = if i == tokens.start {
                x0
            } else {
                &states[i].1[..]
            };
            let mut after = before.to_vec();
            ssm.step(&mut after, u[i]);
            let read = ssm.read_adjoint(&after, g[i], &mut gradient);
            let adjoint = add_states(&adjoints[u.len() - 1 - i].1, &read);
            input[i] = ssm.feedthrough_adjoint(u[i], g[i], &mut gradient)
                + ssm.inject_adjoint(u[i], &adjoint, &mut gradient);
            of_x0 = ssm.advance_adjoint(before, 1, &adjoint, &mut gradient);
        }
        of_states.push(of_x0);
    }
    Ok(PackedGradients {
        input,
        states: of_states,
        model: gradient,
    })
}
