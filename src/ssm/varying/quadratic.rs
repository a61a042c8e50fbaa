//! The outputs as one matrix applied to the inputs.

use super::model::{Varying, VaryingResponse};
use crate::algebra::{Matrix, Ring, check_matrix_size};
use crate::error::Error;

impl<T: Ring> Varying<T> {
    /// The lower triangular matrix that maps inputs to outputs (seq_len x seq_len):
    ///
    /// ```text
    /// M_ij = C_i^T A_i ... A_{j+1} B_j      i >= j, so M_ii = C_i^T B_i
    /// ```
    ///
    /// It takes the place of the Toeplitz matrix of a model with one `A`. Its blocks below the
    /// diagonal have rank N: it is semiseparable.
    ///
    /// # Errors
    ///
    /// If the sequence is too long for a matrix to be written out.
    pub fn matrix(&self) -> Result<Matrix<T>, Error> {
        let len = self.seq_len();
        check_matrix_size(len)?;
        let mut matrix = Matrix::from_fn(len, len, |_, _| T::ZERO);
        for j in 0..len {
            // The decays from j on, one row at a time.
            let mut products = vec![T::ONE; self.a.cols()];
            for i in j..len {
                if i > j {
                    for (product, &a) in products.iter_mut().zip(self.a.row(i)) {
                        *product = a * *product;
                    }
                }
                let terms = self
                    .c
                    .row(i)
                    .iter()
                    .zip(self.b.row(j))
                    .map(|(&c, &b)| c * b);
                matrix.row_mut(i)[j] = match products[..] {
                    [product] => product * terms.fold(T::ZERO, |sum, term| sum + term),
                    _ => terms
                        .zip(&products)
                        .fold(T::ZERO, |sum, (term, &product)| sum + product * term),
                };
            }
        }
        Ok(matrix)
    }
}

/// The outputs and the final state by the quadratic form: masked attention with a mask of products
/// of decays. `Y = M U`, plus the contribution of the initial state.
///
/// # Errors
///
/// As [`varying_recurrence`](super::varying_recurrence), and as [`Varying::matrix`].
pub fn varying_quadratic<T: Ring>(
    ssm: &Varying<T>,
    u: &Matrix<T>,
    x0: Option<&Matrix<T>>,
) -> Result<VaryingResponse<T>, Error> {
    let x0 = ssm.initial(u, x0)?;
    let (from_input, from_state) = (ssm.matrix()?.times(u)?, ssm.state_to_output(&x0));
    let (left, added) = (ssm.advance(&x0), ssm.input_to_state(u));
    Ok(VaryingResponse {
        output: from_input.plus(&from_state)?,
        state: left.plus(&added)?,
    })
}
