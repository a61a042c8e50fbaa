//! Lists made from iterators, by one loop.

/// An iterator's items as a list.
///
/// `collect` makes some twelve functions for each closure and each scalar that it meets; this makes three. With
/// eight scalars under every form, that is an eighth of all code which the library hands to the compiler's
/// back end.
pub(crate) trait IntoVec: Iterator + Sized {
    /// The items that are left, in their order.
    fn into_vec(self) -> Vec<Self::Item> {
        let mut items = Vec::with_capacity(self.size_hint().0);
        for item in self {
            items.push(item);
        }
        items
    }
}

impl<I: Iterator> IntoVec for I {}
