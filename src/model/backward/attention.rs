//! Multi-head attention, backwards.

use super::super::attention::MultiHeadAttention;
use crate::algebra::{Matrix, Real};
use crate::attention::softmax;
use crate::error::{Error, check_len};
use crate::h3::Linear;
use crate::into_vec::IntoVec as _;
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// The gradients of multi-head attention.
#[derive(Clone, Debug)]
pub(super) struct AttentionGradient<T> {
    pub(super) input: Tensor<T>,
    pub(super) qkv: Linear<T>,
    pub(super) output: Linear<T>,
}

/// The adjoint of [`softmax_attention`](crate::attention::softmax_attention) over whole sequences:
/// the cotangents of `q`, `k` and `v`, (seq_len, channels) each, given that of the output. With P the
/// weights, row by row softmaxes of `S = scale Q K^T` up to the diagonal,
///
/// ```text
/// V: P^T G        P: E = G V^T        S: F = P o (E - rowsum(P o E))
/// Q: scale F K    K: scale F^T Q
/// ```
///
/// Every row of F adds up to zero: weights do not change where all scores of a token grow by the same.
///
/// # Errors
///
/// If the shapes disagree, or as the softmax.
pub(crate) fn softmax_attention_adjoint<T: Real>(
    [q, k, v]: [&Matrix<T>; 3],
    scale: T,
    g: &Matrix<T>,
) -> Result<[Matrix<T>; 3], Error> {
    let len = q.rows();
    check_len("rows of K", k.rows(), len)?;
    check_len("rows of V", v.rows(), len)?;
    check_len("rows of the cotangent", g.rows(), len)?;
    let scores = q.times(&k.transpose())?;
    let of_weights = g.times(&v.transpose())?;
    let (mut weights, mut of_scores) = (Vec::new(), Vec::new());
    for i in 0..len {
        let row: Vec<T> = scores.row(i)[..=i].iter().map(|&s| scale * s).into_vec();
        let row = softmax(&row)?;
        let of_row = &of_weights.row(i)[..=i];
        let mean = crate::algebra::dot(&row, of_row);
        of_scores.extend(row.iter().zip(of_row).map(|(&p, &e)| p * (e - mean)));
        of_scores.resize((i + 1) * len, T::ZERO);
        weights.extend(row);
        weights.resize((i + 1) * len, T::ZERO);
    }
    let weights = Matrix::new(len, len, weights)?;
    let of_scores = Matrix::new(len, len, of_scores)?;
    let scaled = |x: Matrix<T>| x.map(|x| scale * x);
    Ok([
        scaled(of_scores.times(k)?),
        scaled(of_scores.transpose().times(q)?),
        weights.transpose().times(g)?,
    ])
}

impl<T: Real> MultiHeadAttention<T> {
    /// The adjoint of [`forward`](Self::forward) over rows of documents: gradients given the cotangent
    /// `g` (batch, seq_len, d) of the output. The attention of a head, of its queries, keys and values
    /// and the scale, and its adjoint are computed in any way.
    ///
    /// Queries, keys, values and weights are computed again, one document at a time and one head of it:
    /// a constant number of arrays of (tokens, d), and of (tokens, tokens).
    ///
    /// # Errors
    ///
    /// If the shapes disagree, or the attention of a head or its adjoint fails.
    pub(super) fn adjoint(
        &self,
        (u, documents): (&Tensor<T>, &Documents),
        g: &Tensor<T>,
        attend: impl Fn([&Matrix<T>; 3], T) -> Result<Matrix<T>, Error>,
        attend_back: impl Fn([&Matrix<T>; 3], T, &Matrix<T>) -> Result<[Matrix<T>; 3], Error>,
    ) -> Result<AttentionGradient<T>, Error> {
        let (d, len) = (self.d_model(), documents.seq_len());
        let shape = [documents.batch(), len, d];
        u.check_shape("input", &shape)?;
        g.check_shape("cotangent of the output", &shape)?;
        let (scale, d_h) = (self.scale()?, d / self.num_heads);
        let mut gradient = AttentionGradient {
            input: Tensor::filled(u.shape(), T::ZERO),
            qkv: Linear::zeros(3 * d, d),
            output: Linear::zeros(d, d),
        };
        for (b, tokens) in documents.iter() {
            let rows: Vec<usize> = tokens.map(|i| b * len + i).into_vec();
            let qkv: Vec<Vec<T>> = rows.iter().map(|&r| self.qkv.apply(u.row(r))).into_vec();
            let head = |which: usize, h: usize| {
                let first = which * d + h * d_h;
                Matrix::from_fn(rows.len(), d_h, |i, c| qkv[i][first + c])
            };
            let heads: Vec<[Matrix<T>; 3]> = (0..self.num_heads)
                .map(|h| [0, 1, 2].map(|which| head(which, h)))
                .into_vec();
            let mut of_context = Vec::with_capacity(rows.len());
            let contexts = heads.iter().map(|head| attend(head.each_ref(), scale));
            let contexts = contexts.collect::<Result<Vec<_>, Error>>()?;
            for (i, &r) in rows.iter().enumerate() {
                let context: Vec<T> = contexts.iter().flat_map(|o| o.row(i)).copied().into_vec();
                of_context.push(
                    self.output
                        .adjoint(&context, g.row(r), &mut gradient.output),
                );
            }
            let mut of_qkv = vec![vec![T::ZERO; 3 * d]; rows.len()];
            for (h, head) in heads.iter().enumerate() {
                let g = Matrix::from_fn(rows.len(), d_h, |i, c| of_context[i][h * d_h + c]);
                let of_head = attend_back(head.each_ref(), scale, &g)?;
                for (which, of) in of_head.iter().enumerate() {
                    check_len("rows of a head's cotangent", of.rows(), rows.len())?;
                    check_len("channels of a head's cotangent", of.cols(), d_h)?;
                    let first = which * d + h * d_h;
                    for (i, row) in of_qkv.iter_mut().enumerate() {
                        row[first..first + d_h].copy_from_slice(of.row(i));
                    }
                }
            }
            for (&r, g) in rows.iter().zip(&of_qkv) {
                let of_input = self.qkv.adjoint(u.row(r), g, &mut gradient.qkv);
                gradient.input.row_mut(r).copy_from_slice(&of_input);
            }
        }
        Ok(gradient)
    }
}
