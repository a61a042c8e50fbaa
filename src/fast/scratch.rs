//! Reusable buffers: of one thread, and of all threads together.

use super::lanes::Element;

/// The buffers of one thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scratch<T: Element> {
    pub(super) diagonal: BlockScratch<T>,
    /// Packed rows of this thread.
    pub(super) packed: Vec<T>,
    /// The beginning of a filter's input, with zeros before it.
    pub(super) window: Vec<T::Lanes>,
    /// A filter's state that is not needed.
    pub(super) state: Vec<T::Lanes>,
    /// Queries, keys and values of a group of heads.
    pub(super) heads: Vec<T::Lanes>,
    /// A tile of a weight that is stored in another format.
    pub(super) wide: Vec<T::Lanes>,
    /// Points of a transform.
    pub(super) points: Vec<[T::Lanes; 2]>,
    /// Two signals: the input of a diagonal model and its output.
    pub(super) signals: Vec<T::Lanes>,
    pub(super) adjoint: HeadsAdjointScratch<T>,
}

/// A tile of blocks of a diagonal model.
#[derive(Clone, Debug, Default)]
pub(super) struct BlockScratch<T: Element> {
    pub(super) inputs: Vec<T::Lanes>,
    pub(super) states: Vec<T::Lanes>,
    pub(super) outputs: Vec<T::Lanes>,
}

/// The backward pass of a group of heads.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadsAdjointScratch<T: Element> {
    pub(super) diagonal: DiagonalAdjointScratch<T>,
    pub(super) shift: ShiftAdjointScratch<T>,
    pub(super) signals: Vec<T::Lanes>,
    pub(super) keys: Vec<T::Lanes>,
    pub(super) window: Vec<T::Lanes>,
}

/// The backward pass of a diagonal model.
#[derive(Clone, Debug, Default)]
pub(super) struct DiagonalAdjointScratch<T: Element> {
    /// The states before the blocks: [tile of rows][block][row].
    pub(super) states: Vec<T::Lanes>,
    /// The cotangents of the states after the blocks, likewise.
    pub(super) cotangents: Vec<T::Lanes>,
    /// Inputs: [tile of steps][block][step].
    pub(super) inputs: Vec<T::Lanes>,
    /// Cotangents of outputs, likewise.
    pub(super) outputs: Vec<T::Lanes>,
    pub(super) reversed: Vec<T::Lanes>,
    /// The state after the last whole block.
    pub(super) end: Vec<[T::Lanes; 2]>,
    /// The state after the last step.
    pub(super) after: Vec<[T::Lanes; 2]>,
}

/// The backward pass of a shift model.
#[derive(Clone, Debug, Default)]
pub(super) struct ShiftAdjointScratch<T: Element> {
    pub(super) reversed: Vec<T::Lanes>,
    pub(super) window: Vec<T::Lanes>,
    pub(super) outputs: Vec<T::Lanes>,
    /// A state to run forwards from.
    pub(super) state: Vec<T::Lanes>,
}

/// The buffers of a layer's backward pass that all threads share.
#[derive(Clone, Debug, Default)]
pub(super) struct AdjointBuffers<T: Element> {
    pub(super) packed: Vec<T>,
    pub(super) of_gated: Vec<T::Lanes>,
    pub(super) of_heads: Vec<T::Lanes>,
    pub(super) inputs: WideRows<T>,
    pub(super) cotangents: WideRows<T>,
}

/// Row-major rows in tiles of neighbouring vectors: [tile][row][vector of the tile].
#[derive(Clone, Debug, Default)]
pub(super) struct WideRows<T: Element> {
    pub(super) lanes: Vec<T::Lanes>,
}
