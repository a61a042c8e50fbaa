//! The gradients of a case: its layer run backwards from the cotangent in the file.

use super::case::{Case, flat_diagonal_state};
use crate::algebra::{Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::{Backward, Form, Name};
use crate::tensor::Tensor;

impl Case {
    /// The cotangent of the output (batch, seq_len, `d_model`): tensor `g` of the file.
    ///
    /// # Errors
    ///
    /// If it is missing, of another shape than the input, or holds a number that is not finite.
    pub fn cotangent(&self) -> Result<Tensor<f64>, Error> {
        self.tensor("g", self.input().shape())
    }

    /// The gradients of `<g, output>` as they stand in files, in the scalars of a precision:
    /// `grad.input` (batch, seq_len, `d_model`) and `grad.<official name>` of every parameter in its
    /// own shape; for a case with an initial state also `grad.initial_state_k` and
    /// `grad.initial_state`. Complex parameters are pairs, and so are their gradients: the
    /// derivatives with respect to real and imaginary part.
    ///
    /// # Errors
    ///
    /// If there is no fitting [`cotangent`](Self::cotangent), or as
    /// [`Layer::gradients`](crate::h3::Layer::gradients).
    pub fn gradients<T>(&self, form: &Form) -> Result<Vec<(String, Tensor<T>)>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        self.gradients_by(form, form)
    }

    /// [`gradients`](Self::gradients) with the models' adjoints computed in any way.
    pub(super) fn gradients_by<T>(
        &self,
        form: &Form,
        back: &impl Backward<T>,
    ) -> Result<Vec<(String, Tensor<T>)>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let parameters = self.parameters().map(T::from_f64);
        let (layer, input, state) = self.in_precision::<T>()?;
        let g = self.cotangent()?.map(T::from_f64);
        let discrete = layer.gradients_by(form, back, &input, state.as_ref(), &g, None)?;
        let official = parameters.gradients(&discrete)?;
        let mut named = vec![("grad.input".to_string(), discrete.input.clone())];
        for name in Name::ALL {
            let shape = name.shape(parameters.config());
            let gradient = Tensor::new(shape, official.get(name).to_vec())?;
            named.push((format!("grad.{}", name.official()), gradient));
        }
        if state.is_some() {
            let diagonal = flat_diagonal_state::<T>(&discrete.state.diagonal);
            named.push(("grad.initial_state_k".into(), discrete.state.shift));
            named.push(("grad.initial_state".into(), diagonal));
        }
        Ok(named)
    }
}
