//! The SSD operator over a batch of rows, heads and groups.

use crate::algebra::{Matrix, Ring};
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;
use crate::ssm::{
    Documents, Varying, VaryingGradients, VaryingResponse, varying_recurrence_adjoint,
};
use crate::tensor::Tensor;
use core::ops::Range;

/// The operands of the operator. State S of head h is P x N, and the head reads the inputs B and
/// outputs C of its group:
///
/// ```text
/// S_t = a_t S_(t-1) + dt_t x_t B_t^T        y_t = S_t C_t
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Ssd<T> {
    /// (batch, seq_len, heads, P).
    pub(crate) x: Tensor<T>,
    /// (batch, seq_len, heads); 1 where there is none.
    pub(crate) dt: Option<Tensor<T>>,
    /// (batch, seq_len, heads), or one per state channel: (batch, seq_len, heads, N).
    pub(crate) a: Tensor<T>,
    /// (batch, seq_len, groups, N).
    pub(crate) b: Tensor<T>,
    /// (batch, seq_len, groups, N).
    pub(crate) c: Tensor<T>,
}

/// The gradients of one [`Ssd`], each in its own shape.
#[derive(Clone, Debug)]
pub(crate) struct SsdGradients<T> {
    pub(crate) x: Tensor<T>,
    pub(crate) dt: Option<Tensor<T>>,
    /// With respect to the logarithm of `a`: the gradient of `a` times `a`.
    pub(crate) log_a: Tensor<T>,
    pub(crate) b: Tensor<T>,
    pub(crate) c: Tensor<T>,
    /// (documents, heads, P, N).
    pub(crate) state: Tensor<T>,
}

/// The group whose B and C a head reads, given the number of heads and of groups.
pub(crate) type GroupOf = fn(usize, usize, usize) -> usize;

/// Consecutive heads share a group: `repeat_interleave`, not `repeat`.
pub(crate) fn group_of(head: usize, heads: usize, groups: usize) -> usize {
    head / (heads / groups.max(1)).max(1)
}

/// One head of one document.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The document, counted over the batch.
    pub(crate) document: usize,
    pub(crate) row: usize,
    pub(crate) tokens: Range<usize>,
    pub(crate) head: usize,
    pub(crate) sizes: Sizes,
}

/// A head's response: given its model, inputs and initial state.
pub(crate) type Respond<'a, T> =
    &'a dyn Fn(&Place, &Varying<T>, &Matrix<T>, &Matrix<T>) -> Result<VaryingResponse<T>, Error>;

/// A head's gradients, that of `a` with respect to its logarithm: given its model, inputs, initial
/// state, and the cotangents of outputs and final state.
pub(crate) type Back<'a, T> =
    &'a dyn Fn(&Place, &Varying<T>, [&Matrix<T>; 4]) -> Result<VaryingGradients<T>, Error>;

/// A part of an array seen as a matrix: `cols` numbers from `offset` in every row of `stride`.
pub(crate) fn columns<T: Ring>(
    x: &Tensor<T>,
    rows: Range<usize>,
    (stride, offset, cols): (usize, usize, usize),
) -> Matrix<T> {
    Matrix::from_fn(rows.len(), cols, |t, j| {
        x.data()[(rows.start + t) * stride + offset + j]
    })
}

/// Adds to the same part of an array.
fn add_columns<T: Ring>(
    x: &mut Tensor<T>,
    start: usize,
    (stride, offset): (usize, usize),
    part: &Matrix<T>,
) {
    for t in 0..part.rows() {
        let row = &mut x.data_mut()[(start + t) * stride + offset..];
        for (to, &add) in row.iter_mut().zip(part.row(t)) {
            *to = *to + add;
        }
    }
}

impl<T: Ring> Ssd<T> {
    /// Refuses shapes that do not fit each other.
    ///
    /// # Errors
    ///
    /// Naming the operand.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Sizes {
            batch,
            len,
            heads,
            groups,
            state,
            ..
        } = self.sizes()?;
        if groups == 0 || !heads.is_multiple_of(groups) {
            let got = format_args!("{heads} heads, {groups} groups");
            return Err(Error::shape("B", "groups that divide the heads", got));
        }
        self.b.check_shape("B", &[batch, len, groups, state])?;
        self.c.check_shape("C", &[batch, len, groups, state])?;
        if let Some(dt) = &self.dt {
            dt.check_shape("dt", &[batch, len, heads])?;
        }
        match self.a.shape().len() {
            4 => self.a.check_shape("log_a", &[batch, len, heads, state]),
            _ => self.a.check_shape("log_a", &[batch, len, heads]),
        }
    }

    pub(crate) fn sizes(&self) -> Result<Sizes, Error> {
        match (self.x.shape(), self.b.shape()) {
            (&[batch, len, heads, inputs], &[_, _, groups, state]) => Ok(Sizes {
                batch,
                len,
                heads,
                inputs,
                groups,
                state,
            }),
            (x, b) => Err(Error::shape(
                "x and B",
                "four axes each",
                format_args!("{x:?} and {b:?}"),
            )),
        }
    }

    /// The operator over some tokens of every row.
    ///
    /// # Errors
    ///
    /// If there are not as many.
    pub(crate) fn tokens(&self, tokens: Range<usize>) -> Result<Self, Error> {
        let of = |x: &Tensor<T>| x.tokens(tokens.clone());
        Ok(Self {
            x: of(&self.x)?,
            dt: self.dt.as_ref().map(of).transpose()?,
            a: of(&self.a)?,
            b: of(&self.b)?,
            c: of(&self.c)?,
        })
    }

    /// The rows of a place in arrays with one row per token of the batch.
    fn rows_of(&self, place: &Place, s: &Sizes) -> Range<usize> {
        let first = place.row * s.len;
        first + place.tokens.start..first + place.tokens.end
    }

    /// The decays per step and head.
    fn width(&self, s: &Sizes) -> usize {
        if self.a.shape().len() == 4 {
            s.state
        } else {
            1
        }
    }

    /// The model and the inputs of a head.
    fn head(
        &self,
        place: &Place,
        s: &Sizes,
        group_of: GroupOf,
    ) -> Result<(Varying<T>, Matrix<T>), Error> {
        let rows = self.rows_of(place, s);
        let (h, width) = (place.head, self.width(s));
        let g = group_of(h, s.heads, s.groups);
        let of_group = (s.groups * s.state, g * s.state, s.state);
        let a = columns(&self.a, rows.clone(), (s.heads * width, h * width, width));
        let b = columns(&self.b, rows.clone(), of_group);
        let c = columns(&self.c, rows.clone(), of_group);
        let x = columns(
            &self.x,
            rows.clone(),
            (s.heads * s.inputs, h * s.inputs, s.inputs),
        );
        let u = match &self.dt {
            None => x,
            Some(dt) => Matrix::from_fn(x.rows(), x.cols(), |t, p| {
                dt.data()[(rows.start + t) * s.heads + h] * x.row(t)[p]
            }),
        };
        Ok((Varying::new(a, b, c)?, u))
    }

    /// `y` (batch, seq_len, heads, P), zeros outside the documents, and the state after each
    /// document (documents, heads, P, N), from the states before them.
    ///
    /// # Errors
    ///
    /// If shapes do not fit, or a head's response fails.
    pub(crate) fn respond(
        &self,
        documents: &Documents,
        x0: &Tensor<T>,
        group_of: GroupOf,
        respond: Respond<'_, T>,
    ) -> Result<(Tensor<T>, Tensor<T>), Error> {
        let s = self.sizes()?;
        check_states("initial state", x0, documents.count(), &s)?;
        let mut y = self.x.map(|_| T::ZERO);
        let mut states = Vec::with_capacity(x0.data().len());
        for place in places(documents, s) {
            let (ssm, u) = self.head(&place, &s, group_of)?;
            let response = respond(&place, &ssm, &u, &state_of(x0, &place, &s)?)?;
            let to = (s.heads * s.inputs, place.head * s.inputs);
            add_columns(&mut y, self.rows_of(&place, &s).start, to, &response.output);
            states.extend_from_slice(response.state.entries());
        }
        Ok((y, Tensor::new(x0.shape(), states)?))
    }

    /// The gradients of `<g, y> + <g_state, final state>`.
    ///
    /// # Errors
    ///
    /// As [`respond`](Self::respond).
    pub(crate) fn gradients(
        &self,
        documents: &Documents,
        x0: &Tensor<T>,
        (g, g_state): (&Tensor<T>, &Tensor<T>),
        back: Back<'_, T>,
    ) -> Result<SsdGradients<T>, Error> {
        let s = self.sizes()?;
        check_states("initial state", x0, documents.count(), &s)?;
        check_states(
            "cotangent of the final state",
            g_state,
            documents.count(),
            &s,
        )?;
        g.check_shape("cotangent of y", self.x.shape())?;
        let zeros = |x: &Tensor<T>| x.map(|_| T::ZERO);
        let mut sum = SsdGradients {
            x: zeros(&self.x),
            dt: self.dt.as_ref().map(zeros),
            log_a: zeros(&self.a),
            b: zeros(&self.b),
            c: zeros(&self.c),
            state: zeros(x0),
        };
        let width = self.width(&s);
        for place in places(documents, s) {
            let (rows, h) = (self.rows_of(&place, &s), place.head);
            let (ssm, u) = self.head(&place, &s, group_of)?;
            let of_head = (s.heads * s.inputs, h * s.inputs, s.inputs);
            let cotangent = columns(g, rows.clone(), of_head);
            let [x0, g_state] = [x0, g_state].map(|x| state_of(x, &place, &s));
            let of = back(&place, &ssm, [&u, &x0?, &cotangent, &g_state?])?;
            let group = group_of(h, s.heads, s.groups);
            let of_group = (s.groups * s.state, group * s.state);
            add_columns(&mut sum.b, rows.start, of_group, &of.model.b);
            add_columns(&mut sum.c, rows.start, of_group, &of.model.c);
            let of_decay = (s.heads * width, h * width);
            add_columns(&mut sum.log_a, rows.start, of_decay, &of.model.a);
            let at = (place.document * s.heads + h) * s.inputs * s.state;
            let state = &mut sum.state.data_mut()[at..at + s.inputs * s.state];
            state.copy_from_slice(of.state.entries());
            let mut of_x = of.input;
            if let (Some(dt), Some(of_dt)) = (&self.dt, &mut sum.dt) {
                let x = columns(&self.x, rows.clone(), of_head);
                for t in 0..rows.len() {
                    let at = (rows.start + t) * s.heads + h;
                    let pairs = of_x.row(t).iter().zip(x.row(t));
                    of_dt.data_mut()[at] = pairs.fold(T::ZERO, |sum, (&g, &x)| sum + g * x);
                    for g in of_x.row_mut(t) {
                        *g = *g * dt.data()[at];
                    }
                }
            }
            let to = (s.heads * s.inputs, h * s.inputs);
            add_columns(&mut sum.x, rows.start, to, &of_x);
        }
        Ok(sum)
    }
}

/// A head's gradients by the adjoint of the recurrence.
///
/// # Errors
///
/// As [`varying_recurrence_adjoint`].
pub(crate) fn by_recurrence<T: Ring>(
    _: &Place,
    ssm: &Varying<T>,
    [u, x0, g, g_state]: [&Matrix<T>; 4],
) -> Result<VaryingGradients<T>, Error> {
    let mut of = varying_recurrence_adjoint(ssm, u, Some(x0), g, Some(g_state))?;
    of.model.a = of.model.a.hadamard(&ssm.a)?;
    Ok(of)
}

/// Sizes of the operator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) len: usize,
    pub(crate) heads: usize,
    /// P.
    pub(crate) inputs: usize,
    pub(crate) groups: usize,
    /// N.
    pub(crate) state: usize,
}

fn places(documents: &Documents, sizes: Sizes) -> impl Iterator<Item = Place> + use<'_> {
    let documents = documents.iter().enumerate();
    documents.flat_map(move |(document, (row, tokens))| {
        (0..sizes.heads).map(move |head| Place {
            document,
            row,
            tokens: tokens.clone(),
            head,
            sizes,
        })
    })
}

fn check_states<T: Ring>(
    what: &str,
    x: &Tensor<T>,
    documents: usize,
    s: &Sizes,
) -> Result<(), Error> {
    x.check_shape(what, &[documents, s.heads, s.inputs, s.state])
}

fn state_of<T: Ring>(x: &Tensor<T>, place: &Place, s: &Sizes) -> Result<Matrix<T>, Error> {
    let size = s.inputs * s.state;
    let at = (place.document * s.heads + place.head) * size;
    Matrix::new(s.inputs, s.state, x.data()[at..at + size].to_vec())
}

/// `y + D x`: D of one number per head, or one per head and input channel.
///
/// # Errors
///
/// If `d` has another length.
pub(crate) fn skip<T: Ring>(y: &Tensor<T>, x: &Tensor<T>, d: &[T]) -> Result<Tensor<T>, Error> {
    let places = per_token(x, d)?;
    let pairs = y.data().iter().zip(x.data()).enumerate();
    let sums = pairs.map(|(at, (&y, &x))| y + d[places(at)] * x);
    Tensor::new(y.shape(), sums.into_vec())
}

/// The gradient of D from the cotangent of `y + D x`.
///
/// # Errors
///
/// If `d` has another length.
pub(crate) fn skip_gradient<T: Ring>(
    g: &Tensor<T>,
    x: &Tensor<T>,
    d: &[T],
) -> Result<Vec<T>, Error> {
    let places = per_token(x, d)?;
    let mut gradient = vec![T::ZERO; d.len()];
    for (at, (&g, &x)) in g.data().iter().zip(x.data()).enumerate() {
        let place = places(at);
        gradient[place] = gradient[place] + g * x;
    }
    Ok(gradient)
}

/// For each element of an array (batch, seq_len, heads, P), the element of `d` that belongs to it.
pub(crate) fn per_token<T: Ring>(
    x: &Tensor<T>,
    d: &[T],
) -> Result<impl Fn(usize) -> usize + use<T>, Error> {
    let &[_, _, heads, inputs] = x.shape() else {
        return Err(Error::shape("x", "four axes", x.shape().len()));
    };
    if d.len() != heads {
        check_len("D, if not one number per head", d.len(), heads * inputs)?;
    }
    // Elements of x per element of D.
    let each = if d.len() == heads { inputs } else { 1 };
    let len = d.len();
    Ok(move |at: usize| at / each % len)
}
