//! Multi-head attention as a mixer, over a whole sequence or one token at a time.

use crate::algebra::{Matrix, Real, dot};
use crate::attention::{multi_head, softmax, softmax_attention};
use crate::error::{Error, check_len};
use crate::h3::Linear;
use crate::tensor::Tensor;

/// Causal multi-head self-attention (flash-attention `modules/mha.py`, `MHA` with
/// `causal=True`): scale `1 / sqrt(d_h)`, no positions.
///
/// Row `w d + h d_h + c` of `Wqkv` makes channel `c` of head `h` of the queries (`w` = 0), keys (1) or
/// values (2): `'(three h d) -> three h d'`.
#[derive(Clone, Debug)]
pub struct MultiHeadAttention<T> {
    num_heads: usize,
    qkv: Linear<T>,
    output: Linear<T>,
}

/// The keys and values of all tokens so far, (batch, tokens, d) each: what attention remembers. It
/// grows by `2 d` numbers a token.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyValueCache<T> {
    keys: Vec<Vec<T>>,
    values: Vec<Vec<T>>,
}

impl<T> KeyValueCache<T> {
    /// The cache before any token, for a batch.
    #[must_use]
    pub fn new(batch: usize) -> Self {
        let empty = || (0..batch).map(|_| Vec::new()).collect();
        Self {
            keys: empty(),
            values: empty(),
        }
    }

    /// How many sequences it is of.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.keys.len()
    }

    /// Refuses a cache that is not one of `tokens` tokens of `d` channels in each of `batch` sequences.
    pub(super) fn check(&self, batch: usize, tokens: usize, d: usize) -> Result<(), Error> {
        check_len("sequences of the cache", self.batch(), batch)?;
        let kept = self.keys.iter().chain(&self.values);
        kept.into_iter().try_for_each(|kept| {
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

    fn d_model(&self) -> usize {
        self.output.weight().rows()
    }

    /// `1 / sqrt(d_h)`.
    fn scale(&self) -> Result<T, Error> {
        let d_h = self.d_model() / self.num_heads;
        let root = T::from_i64(d_h as i64).sqrt();
        root.inverse()
            .ok_or_else(|| Error::value("num_heads", "no channel a head"))
    }

    /// The whole sequences `u` (batch, seq_len, d), with nothing before them: the output, and what
    /// to go on from.
    ///
    /// # Errors
    ///
    /// If `u` has another shape.
    pub fn forward(&self, u: &Tensor<T>) -> Result<(Tensor<T>, KeyValueCache<T>), Error> {
        self.forward_by(u, |q, k, v, scale| softmax_attention(q, k, v, scale))
    }

    /// [`forward`](Self::forward) with the attention of a head, of its queries, keys, values
    /// (seq_len, d_h) and the scale, computed in any way.
    pub(crate) fn forward_by(
        &self,
        u: &Tensor<T>,
        attend: impl Fn(&Matrix<T>, &Matrix<T>, &Matrix<T>, T) -> Result<Matrix<T>, Error>,
    ) -> Result<(Tensor<T>, KeyValueCache<T>), Error> {
        let d = self.d_model();
        let &[batch, len, _] = u.shape() else {
            return Err(Error::shape("input", "three axes", u.shape().len()));
        };
        u.check_shape("input", &[batch, len, d])?;
        let scale = self.scale()?;
        let mut cache = KeyValueCache::new(batch);
        let mut output = Vec::with_capacity(u.data().len());
        for b in 0..batch {
            let qkv: Vec<Vec<T>> = (0..len)
                .map(|i| self.qkv.apply(u.row(b * len + i)))
                .collect();
            // (seq_len, d) of the queries, keys or values.
            let part = |which: usize| Matrix::from_fn(len, d, |i, c| qkv[i][which * d + c]);
            let context = multi_head(
                &part(0),
                &part(1),
                &part(2),
                self.num_heads,
                |_, q, k, v| attend(q, k, v, scale),
            )?;
            for (i, token) in qkv.iter().enumerate() {
                cache.keys[b].extend_from_slice(&token[d..2 * d]);
                cache.values[b].extend_from_slice(&token[2 * d..]);
                output.extend(self.output.apply(context.row(i)));
            }
        }
        Ok((Tensor::new(u.shape(), output)?, cache))
    }

    /// The next token of every sequence, `u` (batch, d) row-major, after those in the cache.
    ///
    /// # Errors
    ///
    /// If `u` has another length. The cache is then as it was.
    pub fn step(&self, u: &[T], cache: &mut KeyValueCache<T>) -> Result<Vec<T>, Error> {
        let d = self.d_model();
        check_len("token", u.len(), cache.batch() * d)?;
        let tokens = cache.keys.first().map_or(0, |keys| keys.len() / d);
        cache.check(cache.batch(), tokens, d)?;
        let d_h = d / self.num_heads;
        let scale = self.scale()?;
        let mut output = Vec::with_capacity(u.len());
        for (b, u) in u.chunks_exact(d).enumerate() {
            let qkv = self.qkv.apply(u);
            cache.keys[b].extend_from_slice(&qkv[d..2 * d]);
            cache.values[b].extend_from_slice(&qkv[2 * d..]);
            let mut context = vec![T::ZERO; d];
            for head in 0..self.num_heads {
                let channels = head * d_h..(head + 1) * d_h;
                let q = &qkv[channels.clone()];
                let keys = cache.keys[b].chunks_exact(d);
                let scores: Vec<T> = keys.map(|k| scale * dot(q, &k[channels.clone()])).collect();
                let weights = softmax(&scores)?;
                for (weight, v) in weights.into_iter().zip(cache.values[b].chunks_exact(d)) {
                    for (o, &v) in context[channels.clone()]
                        .iter_mut()
                        .zip(&v[channels.clone()])
                    {
                        *o = *o + weight * v;
                    }
                }
            }
            output.extend(self.output.apply(&context));
        }
        Ok(output)
    }
}
