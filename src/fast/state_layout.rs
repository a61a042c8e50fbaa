//! The layout of a layer's states in lanes, and to and from the reference's.

use super::lanes::{Element, Vector};
use super::layer::FastLayer;
use super::layer_state::FastState;
use crate::error::{Error, check_len};
use crate::h3::LayerState;
use crate::tensor::Tensor;
use core::ops::Range;
use num_complex::Complex;

impl<T: Element> FastLayer<T> {
    /// The state before any input, for a batch.
    #[must_use]
    pub fn zero_state(&self, batch: usize) -> FastState<T> {
        let groups = self.groups();
        FastState {
            positions: vec![0; batch],
            shift: vec![T::Lanes::ZERO; groups * self.shift_part(batch)],
            diagonal: vec![[T::Lanes::ZERO; 2]; groups * self.diagonal_part(batch)],
        }
    }

    /// The state in the reference's layout, taken over.
    ///
    /// # Errors
    ///
    /// If it is not a state of this layer.
    pub fn state_from(&self, state: &LayerState<T>) -> Result<FastState<T>, Error> {
        let batch = state.shift.shape().first().copied().unwrap_or(0);
        let (d, d_h, heads) = (
            self.config.d_model,
            self.config.head_dim,
            self.config.n_heads(),
        );
        let (m, n) = (self.config.d_state, self.config.n_modes());
        state
            .shift
            .check_shape("state of the shift models", &[batch, d, m])?;
        let shape = [batch, d_h, d_h, heads, n];
        state
            .diagonal
            .check_shape("state of the diagonal models", &shape)?;
        let mut fast = self.zero_state(batch);
        fast.positions.fill(state.position);
        for (at, place, lane) in self.shift_places(batch, 0..batch) {
            fast.shift[place].lanes_mut()[lane] = state.shift.data()[at];
        }
        for (at, place, lane) in self.diagonal_places(batch, 0..batch) {
            let z = state.diagonal.data()[at];
            fast.diagonal[place][0].lanes_mut()[lane] = z.re;
            fast.diagonal[place][1].lanes_mut()[lane] = z.im;
        }
        Ok(fast)
    }

    /// The state in the reference's layout.
    ///
    /// # Errors
    ///
    /// If it is not a state of this layer, or as many inputs did not come before in every sequence (as after
    /// documents, see [`states_to`](Self::states_to)).
    pub fn state_to(&self, fast: &FastState<T>) -> Result<LayerState<T>, Error> {
        self.check_state(fast)?;
        if fast.positions.iter().any(|&p| p != fast.position()) {
            return Err(Error::value(
                "positions of the state",
                format!("{:?}; expected the same in every sequence", fast.positions),
            ));
        }
        self.reference_state(fast, 0..fast.batch())
    }

    /// The state of every sequence, as of a batch of one, in the reference's layout.
    ///
    /// # Errors
    ///
    /// If it is not a state of this layer.
    pub fn states_to(&self, fast: &FastState<T>) -> Result<Vec<LayerState<T>>, Error> {
        self.check_state(fast)?;
        let sequences = 0..fast.batch();
        sequences
            .map(|b| self.reference_state(fast, b..b + 1))
            .collect()
    }

    /// The states of some sequences in the reference's layout.
    fn reference_state(
        &self,
        fast: &FastState<T>,
        sequences: Range<usize>,
    ) -> Result<LayerState<T>, Error> {
        let (d, d_h, heads) = (
            self.config.d_model,
            self.config.head_dim,
            self.config.n_heads(),
        );
        let (m, n, batch) = (self.config.d_state, self.config.n_modes(), fast.batch());
        let mut shift = vec![T::ZERO; sequences.len() * d * m];
        for (at, place, lane) in self.shift_places(batch, sequences.clone()) {
            shift[at] = fast.shift[place].lanes()[lane];
        }
        let size = sequences.len() * d_h * d_h * heads * n;
        let mut diagonal = vec![Complex::new(T::ZERO, T::ZERO); size];
        for (at, place, lane) in self.diagonal_places(batch, sequences.clone()) {
            let [re, im] = &fast.diagonal[place];
            diagonal[at] = Complex::new(re.lanes()[lane], im.lanes()[lane]);
        }
        Ok(LayerState {
            shift: Tensor::new([sequences.len(), d, m], shift)?,
            diagonal: Tensor::new([sequences.len(), d_h, d_h, heads, n], diagonal)?,
            position: fast.positions.get(sequences.start).copied().unwrap_or(0),
        })
    }

    /// Number of shift-state vectors per group of heads.
    pub(super) fn shift_part(&self, batch: usize) -> usize {
        batch * self.config.head_dim * self.config.d_state
    }

    /// Number of pairs of diagonal-state vectors per group of heads.
    pub(super) fn diagonal_part(&self, batch: usize) -> usize {
        batch * self.config.head_dim * self.config.head_dim * self.diagonal.padded()
    }

    pub(super) fn check_state(&self, state: &FastState<T>) -> Result<(), Error> {
        let (groups, batch) = (self.groups(), state.batch());
        let shift = groups * self.shift_part(batch);
        check_len("state of the shift models", state.shift.len(), shift)?;
        let diagonal = groups * self.diagonal_part(batch);
        check_len(
            "state of the diagonal models",
            state.diagonal.len(),
            diagonal,
        )
    }

    /// For every element of a reference's shift state of some sequences: its index, the vector in a state of
    /// `batch` here, the lane.
    fn shift_places(
        &self,
        batch: usize,
        sequences: Range<usize>,
    ) -> impl Iterator<Item = (usize, usize, usize)> + use<T> {
        let (d, d_h, m) = (
            self.config.d_model,
            self.config.head_dim,
            self.config.d_state,
        );
        (0..sequences.len() * d * m).map(move |at| {
            let (b, c, n) = (sequences.start + at / m / d, at / m % d, at % m);
            let (h, d1) = (c / d_h, c % d_h);
            let (group, lane) = (h / T::Lanes::WIDTH, h % T::Lanes::WIDTH);
            let place = ((group * batch + b) * d_h + d1) * m + n;
            (at, place, lane)
        })
    }

    /// As [`shift_places`](Self::shift_places), for the diagonal states.
    fn diagonal_places(
        &self,
        batch: usize,
        sequences: Range<usize>,
    ) -> impl Iterator<Item = (usize, usize, usize)> + use<T> {
        let (d_h, heads) = (self.config.head_dim, self.config.n_heads());
        let (n, padded, copies) = (self.config.n_modes(), self.diagonal.padded(), d_h * d_h);
        (0..sequences.len() * copies * heads * n).map(move |at| {
            let (i, h) = (at % n, at / n % heads);
            let (b, copy) = (at / n / heads / copies, at / n / heads % copies);
            let b = sequences.start + b;
            let (group, lane) = (h / T::Lanes::WIDTH, h % T::Lanes::WIDTH);
            let place = ((group * batch + b) * copies + copy) * padded + i;
            (at, place, lane)
        })
    }
}
