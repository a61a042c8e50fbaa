//! The layout of a layer's states in lanes, and to and from the reference's.

use super::lanes::{Element, Vector};
use super::layer::FastLayer;
use super::layer_state::FastState;
use crate::error::{Error, check_len};
use crate::h3::LayerState;
use crate::tensor::Tensor;
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
        for (at, place, lane) in self.shift_places(batch) {
            fast.shift[place].lanes_mut()[lane] = state.shift.data()[at];
        }
        for (at, place, lane) in self.diagonal_places(batch) {
            let z = state.diagonal.data()[at];
            fast.diagonal[place][0].lanes_mut()[lane] = z.re;
            fast.diagonal[place][1].lanes_mut()[lane] = z.im;
        }
        Ok(fast)
    }

    /// The state in the reference's layout: its one position is that of the longest sequence.
    ///
    /// # Errors
    ///
    /// If it is not a state of this layer.
    pub fn state_to(&self, fast: &FastState<T>) -> Result<LayerState<T>, Error> {
        self.check_state(fast)?;
        let (d, d_h, heads) = (
            self.config.d_model,
            self.config.head_dim,
            self.config.n_heads(),
        );
        let (m, n, batch) = (self.config.d_state, self.config.n_modes(), fast.batch());
        let mut shift = vec![T::ZERO; batch * d * m];
        for (at, place, lane) in self.shift_places(batch) {
            shift[at] = fast.shift[place].lanes()[lane];
        }
        let mut diagonal = vec![Complex::new(T::ZERO, T::ZERO); batch * d_h * d_h * heads * n];
        for (at, place, lane) in self.diagonal_places(batch) {
            let [re, im] = &fast.diagonal[place];
            diagonal[at] = Complex::new(re.lanes()[lane], im.lanes()[lane]);
        }
        Ok(LayerState {
            shift: Tensor::new([batch, d, m], shift)?,
            diagonal: Tensor::new([batch, d_h, d_h, heads, n], diagonal)?,
            position: fast.position(),
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

    /// For every element of a reference's shift state: its index, the vector here, the lane.
    fn shift_places(&self, batch: usize) -> impl Iterator<Item = (usize, usize, usize)> + use<T> {
        let (d, d_h, m) = (
            self.config.d_model,
            self.config.head_dim,
            self.config.d_state,
        );
        (0..batch * d * m).map(move |at| {
            let (b, c, n) = (at / m / d, at / m % d, at % m);
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
    ) -> impl Iterator<Item = (usize, usize, usize)> + use<T> {
        let (d_h, heads) = (self.config.head_dim, self.config.n_heads());
        let (n, padded, copies) = (self.config.n_modes(), self.diagonal.padded(), d_h * d_h);
        (0..batch * copies * heads * n).map(move |at| {
            let (i, h) = (at % n, at / n % heads);
            let (b, copy) = (at / n / heads / copies, at / n / heads % copies);
            let (group, lane) = (h / T::Lanes::WIDTH, h % T::Lanes::WIDTH);
            let place = ((group * batch + b) * copies + copy) * padded + i;
            (at, place, lane)
        })
    }
}
