//! The forms that survive a separate decay at every token, by name.

use crate::algebra::{Matrix, Ring};
use crate::error::Error;
use crate::flashconv::pass_varying_states;
use crate::h3::Form;
use crate::ssm::{Varying, VaryingResponse, varying_quadratic, varying_recurrence, varying_scan};

/// A head's response in a form.
///
/// # Errors
///
/// If the form is one of a kernel, which no longer exists; or as the form itself.
pub(crate) fn respond_in<T: Ring>(
    form: &Form,
    ssm: &Varying<T>,
    u: &Matrix<T>,
    x0: &Matrix<T>,
) -> Result<VaryingResponse<T>, Error> {
    match form {
        Form::Recurrence => varying_recurrence(ssm, u, Some(x0)),
        Form::Scan => varying_scan(ssm, u, Some(x0)),
        Form::Attention => varying_quadratic(ssm, u, Some(x0)),
        Form::FlashConv(chunking) => pass_varying_states(ssm, u, Some(x0), chunking),
        other => Err(Error::unsupported(format!(
            "form {other} needs one kernel for all tokens, and decays that depend on the token have \
             none; expected recurrence, scan, attention or flashconv"
        ))),
    }
}
