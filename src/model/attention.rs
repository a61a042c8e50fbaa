//! Multi-head attention as a mixer, over whole sequences or parts of them.

use crate::algebra::{Matrix, Real};
use crate::attention::{multi_head, softmax_attention};
use crate::error::{Error, check_len};
use crate::h3::{Linear, documents_of};
use crate::into_vec::IntoVec as _;
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// Causal multi-head self-attention (flash-attention `modules/mha.py`, `MHA` with
/// `causal=True`): scale `1 / sqrt(d_h)`, no positions.
///
/// Row `w d + h d_h + c` of `Wqkv` makes channel `c` of head `h` of the queries (`w` = 0), keys (1) or
/// values (2): `'(three h d) -> three h d'`.
#[derive(Clone, Debug)]
pub struct MultiHeadAttention<T> {
    pub(super) num_heads: usize,
    pub(super) qkv: Linear<T>,
    pub(super) output: Linear<T>,
}

/// The keys and values of all previous tokens of every sequence, (tokens, d) each: the state of
/// attention. It grows by `2 d` numbers per token.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyValueCache<T> {
    keys: Vec<Vec<T>>,
    values: Vec<Vec<T>>,
}

impl<T> KeyValueCache<T> {
    /// The cache before any token, for a batch.
    #[must_use]
    pub fn new(batch: usize) -> Self {
        let empty = || (0..batch).map(|_| Vec::new()).into_vec();
        Self {
            keys: empty(),
            values: empty(),
        }
    }

    /// Number of sequences.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.keys.len()
    }

    /// Refuses a cache that is not one of sequences of so many tokens each, of `d` channels.
    pub(super) fn check(&self, tokens: &[usize], d: usize) -> Result<(), Error> {
        check_len("sequences of the cache", self.batch(), tokens.len())?;
        let kept = [&self.keys, &self.values];
        let mut kept = kept.into_iter().flat_map(|kept| kept.iter().zip(tokens));
        kept.try_for_each(|(kept, tokens)| {
            check_len(
                "keys or values of the cache",
                kept.len(),
                tokens.saturating_mul(d),
            )
        })
    }
}

impl<T: Real> MultiHeadAttention<T> {
    /// The attention with these projections: `Wqkv` of d to 3 d channels, `out_proj` of d to d.
    ///
    /// # Errors
    ///
    /// If the shapes disagree, or `num_heads` does not divide d.
    pub fn new(num_heads: usize, qkv: Linear<T>, output: Linear<T>) -> Result<Self, Error> {
        let d = output.weight().rows();
        check_len("inputs of out_proj", output.weight().cols(), d)?;
        check_len("inputs of Wqkv", qkv.weight().cols(), d)?;
        check_len("outputs of Wqkv", qkv.weight().rows(), d.saturating_mul(3))?;
        if num_heads == 0 || !d.is_multiple_of(num_heads) {
            return Err(Error::value(
                "num_heads",
                format!("{num_heads} does not divide d_model = {d}"),
            ));
        }
        Ok(Self {
            num_heads,
            qkv,
            output,
        })
    }

    pub(super) fn d_model(&self) -> usize {
        self.output.weight().rows()
    }

    /// `1 / sqrt(d_h)`.
    pub(super) fn scale(&self) -> Result<T, Error> {
        let d_h = self.d_model() / self.num_heads;
        let root = T::from_i64(d_h as i64).sqrt();
        root.inverse()
            .ok_or_else(|| Error::value("num_heads", "no channel a head"))
    }

    /// The output for whole sequences `u` (batch, seq_len, d) without previous tokens, and the
    /// cache from which to continue.
    ///
    /// # Errors
    ///
    /// If `u` has another shape.
    pub fn forward(&self, u: &Tensor<T>) -> Result<(Tensor<T>, KeyValueCache<T>), Error> {
        let batch = u.shape().first().copied().unwrap_or(0);
        self.forward_from(u, &KeyValueCache::new(batch))
    }

    /// The output for the next tokens `u` (batch, seq_len, d) of the sequences in a cache, and the
    /// extended cache.
    ///
    /// # Errors
    ///
    /// If `u` has another shape, or the cache is of other sequences.
    pub fn forward_from(
        &self,
        u: &Tensor<T>,
        before: &KeyValueCache<T>,
    ) -> Result<(Tensor<T>, KeyValueCache<T>), Error> {
        let whole = (u, &documents_of(u));
        self.forward_by(whole, before, softmax_attention)
    }

    /// [`forward_from`](Self::forward_from) over rows of documents, each after what the cache has of it;
    /// zeros at padding. The attention of a head, of its queries (tokens, d_h), its keys and values (with
    /// those before) and the scale, is computed in any way.
    pub(crate) fn forward_by(
        &self,
        (u, documents): (&Tensor<T>, &Documents),
        before: &KeyValueCache<T>,
        attend: impl Fn(&Matrix<T>, &Matrix<T>, &Matrix<T>, T) -> Result<Matrix<T>, Error>,
    ) -> Result<(Tensor<T>, KeyValueCache<T>), Error> {
        let (d, len) = (self.d_model(), documents.seq_len());
        u.check_shape("input", &[documents.batch(), len, d])?;
        check_len("sequences of the cache", before.batch(), documents.count())?;
        let scale = self.scale()?;
        let mut cache = before.clone();
        let mut output = Tensor::filled(u.shape(), T::ZERO);
        for (n, (b, tokens)) in documents.iter().enumerate() {
            let rows = tokens.map(|i| b * len + i);
            let (keys, values) = (&mut cache.keys[n], &mut cache.values[n]);
            let mut queries = Vec::with_capacity(rows.len() * d);
            for r in rows.clone() {
                let qkv = self.qkv.apply(u.row(r));
                queries.extend_from_slice(&qkv[..d]);
                keys.extend_from_slice(&qkv[d..2 * d]);
                values.extend_from_slice(&qkv[2 * d..]);
            }
            let matrix = |x: &[T]| Matrix::new(x.len() / d, d, x.to_vec());
            let (q, k, v) = (matrix(&queries)?, matrix(keys)?, matrix(values)?);
            let context = multi_head(&q, &k, &v, self.num_heads, |_, q, k, v| {
                attend(q, k, v, scale)
            })?;
            for (i, r) in rows.enumerate() {
                let row = self.output.apply(context.row(i));
                output.row_mut(r).copy_from_slice(&row);
            }
        }
        Ok((output, cache))
    }
}
