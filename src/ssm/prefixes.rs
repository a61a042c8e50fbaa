//! Blelloch's tree: all prefixes of an associative composition.

/// For every node the composition of `start` and of all nodes before it, by Blelloch's tree.
///
/// `after(later, earlier)` composes two neighbours; it need not commute.
pub(super) fn prefixes<N: Clone>(
    nodes: &[N],
    identity: &N,
    start: N,
    after: &dyn Fn(&N, &N) -> N,
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
