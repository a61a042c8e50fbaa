//! The recurrence as an associative scan.

use super::state_space::{Response, StateSpace, Transition, add_states, initial_state};
use crate::algebra::Ring;
use crate::error::Error;

/// One node of the scan: the affine map `x -> A x + b`.
#[derive(Clone)]
struct Affine<T: Transition> {
    a: T,
    b: Vec<T::Element>,
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
        Self {
            a: self.a.after(&earlier.a),
            b: add_states(&self.a.apply(&earlier.b), &self.b),
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
    let (a, m) = (ssm.transition(), ssm.state_dim());
    let identity = Affine {
        a: a.identity(),
        b: vec![S::Element::ZERO; m],
    };
    let leaves = u.iter().map(|&u| Affine {
        a: a.clone(),
        b: ssm.inject(u),
    });
    let maps: Vec<_> = leaves.collect();
    let start = Affine {
        a: a.identity(),
        b: x0.clone(),
    };
    let tree = prefixes(&maps, &identity, start, Affine::after);

    let mut state = x0;
    let output = maps
        .iter()
        .zip(&tree)
        .zip(u)
        .map(|((map, before), &u)| {
            state = map.after(before).b;
            ssm.read(&state) + ssm.feedthrough() * u
        })
        .collect();
    Ok(Response { output, state })
}

/// For every node the composition of `start` and of all nodes before it, by Blelloch's tree.
///
/// `after(later, earlier)` composes two neighbours; it need not commute.
pub(super) fn prefixes<N: Clone>(
    nodes: &[N],
    identity: &N,
    start: N,
    after: impl Fn(&N, &N) -> N,
) -> Vec<N> {
    let size = nodes.len().next_power_of_two();
    let mut tree = nodes.to_vec();
    tree.resize(size, identity.clone());

    let strides = (0..size.trailing_zeros()).map(|level| 1 << level);

    // Up-sweep: after the pass with stride s, every 2s-th node holds the map of its 2s leaves.
    for stride in strides.clone() {
        for right in (2 * stride - 1..size).step_by(2 * stride) {
            tree[right] = after(&tree[right], &tree[right - stride]);
        }
    }
    // Down-sweep: every node holds the map of all that is to the left of its leaves.
    tree[size - 1] = start;
    for stride in strides.rev() {
        for right in (2 * stride - 1..size).step_by(2 * stride) {
            let before = tree[right].clone();
            tree[right] = after(&tree[right - stride], &before);
            tree[right - stride] = before;
        }
    }
    tree.truncate(nodes.len());
    tree
}
