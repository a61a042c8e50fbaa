//! A model over a row of documents.

use super::adjoint::{Adjoint, Gradients};
use super::state_space::{Response, StateSpace};
use crate::algebra::Ring;
use crate::error::{Error, check_len};
use core::ops::Range;

/// The result of a form on a row of documents.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedResponse<S: StateSpace> {
    /// One output a token; zeros at padding.
    pub output: Vec<S::Scalar>,
    /// The state after the last token of each document.
    pub states: Vec<Vec<S::Element>>,
}

/// The gradients of a row of documents.
#[derive(Clone, Debug, PartialEq)]
pub struct PackedGradients<S: StateSpace> {
    /// With respect to the row's inputs; zeros at padding.
    pub input: Vec<S::Scalar>,
    /// With respect to the state before each document.
    pub states: Vec<Vec<S::Element>>,
    /// With respect to the model: summed over documents.
    pub model: S,
}

/// The response to one document, given its tokens and its state.
type Respond<'a, S> =
    &'a dyn Fn(Range<usize>, &[<S as StateSpace>::Element]) -> Result<Response<S>, Error>;

/// The gradients of one, given the cotangent of its final state too.
type Back<'a, S> =
    &'a dyn Fn(Range<usize>, [&[<S as StateSpace>::Element]; 2]) -> Result<Gradients<S>, Error>;

/// A model over a row of `len` tokens of documents, each starting from its own state: each
/// alone, given its tokens and its state.
///
/// # Errors
///
/// If there is not one state per document, or the response to one fails.
pub(crate) fn each_document<S: StateSpace>(
    ssm: &S,
    len: usize,
    documents: &[Range<usize>],
    x0: &[&[S::Element]],
    respond: Respond<'_, S>,
) -> Result<PackedResponse<S>, Error> {
    check_states(ssm, documents, x0)?;
    let mut output = vec![S::Scalar::ZERO; len];
    let mut states = Vec::with_capacity(documents.len());
    for (tokens, x0) in documents.iter().zip(x0) {
        let response = respond(tokens.clone(), x0)?;
        output[tokens.clone()].copy_from_slice(&response.output);
        states.push(response.state);
    }
    Ok(PackedResponse { output, states })
}

/// The gradients of a row of documents, given the cotangents of its outputs and of each final state:
/// of each alone, given its tokens, its state and that cotangent; the model's summed.
///
/// # Errors
///
/// If there are not two states per document, or the adjoint of one fails.
pub(crate) fn each_document_back<S: Adjoint>(
    ssm: &S,
    (u, g): (&[S::Scalar], &[S::Scalar]),
    documents: &[Range<usize>],
    [x0, g_states]: [&[&[S::Element]]; 2],
    back: Back<'_, S>,
) -> Result<PackedGradients<S>, Error> {
    check_packed_cotangents(ssm, (u, g), documents, [x0, g_states])?;
    let mut sum = PackedGradients {
        input: vec![S::Scalar::ZERO; u.len()],
        states: Vec::with_capacity(documents.len()),
        model: ssm.zero_gradient(),
    };
    for ((tokens, x0), g_state) in documents.iter().zip(x0).zip(g_states) {
        let of = back(tokens.clone(), [x0, g_state])?;
        sum.input[tokens.clone()].copy_from_slice(&of.input);
        sum.states.push(of.state);
        sum.model.add_gradient(&of.model);
    }
    Ok(sum)
}

/// The number of the document whose first token is token `i`; one without tokens has none.
pub(super) fn beginning_at(documents: &[Range<usize>], i: usize) -> Option<usize> {
    let begins = |tokens: &Range<usize>| tokens.start == i && !tokens.is_empty();
    documents.iter().position(begins)
}

/// The number of the document whose last token is the one before token `i`.
pub(super) fn ending_at(documents: &[Range<usize>], i: usize) -> Option<usize> {
    let ends = |tokens: &Range<usize>| tokens.end == i && !tokens.is_empty();
    documents.iter().position(ends)
}

/// Refuses anything but one state of the model per document.
pub(crate) fn check_states<S: StateSpace>(
    ssm: &S,
    documents: &[Range<usize>],
    states: &[&[S::Element]],
) -> Result<(), Error> {
    check_len("states, one a document", states.len(), documents.len())?;
    states
        .iter()
        .try_for_each(|state| check_len("state of a document", state.len(), ssm.state_dim()))
}

/// Refuses cotangents that do not fit a row of documents.
pub(crate) fn check_packed_cotangents<S: StateSpace>(
    ssm: &S,
    (u, g): (&[S::Scalar], &[S::Scalar]),
    documents: &[Range<usize>],
    [x0, g_states]: [&[&[S::Element]]; 2],
) -> Result<(), Error> {
    check_len("cotangent of the output", g.len(), u.len())?;
    check_states(ssm, documents, x0)?;
    check_states(ssm, documents, g_states)
}
