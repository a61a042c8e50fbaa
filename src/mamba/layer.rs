//! The Mamba-2 layer (official `mamba_ssm/modules/mamba2.py`, `Mamba2.forward` and `step`): every
//! stage in any real scalars.

use super::functions::{clamp, silu, softplus};
use super::parameters::{Mamba2Config, Mamba2Name, Mamba2Parameters};
use super::ssd::{GroupOf, Place, Ssd, group_of, skip};
use crate::algebra::{Matrix, Real, dot};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::ssm::{Documents, Varying, VaryingResponse};
use crate::tensor::Tensor;

/// A stage of the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mamba2Stage {
    Zxbcdt,
    XbcConv,
    Dt,
    A,
    Y,
    YD,
    Gated,
    Normed,
    Output,
    ConvState,
    SsmState,
}

impl Mamba2Stage {
    /// The name in files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Zxbcdt => "zxbcdt",
            Self::XbcConv => "xBC_conv",
            Self::Dt => "dt",
            Self::A => "a",
            Self::Y => "y",
            Self::YD => "y_d",
            Self::Gated => "gated",
            Self::Normed => "normed",
            Self::Output => "output",
            Self::ConvState => "conv_state",
            Self::SsmState => "ssm_state",
        }
    }
}

/// The stages of a pass, those not yet computed empty.
#[derive(Clone, Debug)]
pub(crate) struct Mamba2Stages<T> {
    /// (batch, seq_len, rows of in_proj).
    pub(crate) zxbcdt: Tensor<T>,
    /// (batch, seq_len, conv_dim).
    pub(crate) xbc_conv: Tensor<T>,
    /// (batch, seq_len, heads).
    pub(crate) dt: Tensor<T>,
    /// (batch, seq_len, heads).
    pub(crate) a: Tensor<T>,
    /// (batch, seq_len, heads, P).
    pub(crate) y: Tensor<T>,
    /// (batch, seq_len, heads, P).
    pub(crate) y_d: Tensor<T>,
    /// (batch, seq_len, d_ssm); empty with the norm before the gate.
    pub(crate) gated: Tensor<T>,
    /// (batch, seq_len, d_ssm); empty without a norm.
    pub(crate) normed: Tensor<T>,
    /// (batch, seq_len, d_model).
    pub(crate) output: Tensor<T>,
    /// After the last token of every document.
    pub(crate) states: Mamba2States<T>,
}

/// The states of every document.
#[derive(Clone, Debug)]
pub(crate) struct Mamba2States<T> {
    /// (documents, conv_dim, K): the last K columns of xBC before the convolution, oldest first.
    pub(crate) conv: Tensor<T>,
    /// (documents, heads, P, N).
    pub(crate) ssm: Tensor<T>,
}

impl<T: Real> Mamba2States<T> {
    pub(crate) fn zero(c: &Mamba2Config, documents: usize) -> Self {
        Self {
            conv: Tensor::filled([documents, c.conv_dim(), c.d_conv], T::ZERO),
            ssm: Tensor::filled([documents, c.heads, c.head_dim, c.d_state], T::ZERO),
        }
    }

    pub(crate) fn map<U: Real>(&self, f: impl Fn(T) -> U) -> Mamba2States<U> {
        Mamba2States {
            conv: self.conv.map(&f),
            ssm: self.ssm.map(&f),
        }
    }
}

/// The operands of a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mamba2Pass<'a, T> {
    pub(crate) layer: &'a Mamba2Parameters<T>,
    /// (batch, seq_len, d_model).
    pub(crate) input: &'a Tensor<T>,
    pub(crate) documents: &'a Documents,
    /// The states before every document.
    pub(crate) initial: &'a Mamba2States<T>,
}

/// A way to evaluate the layer.
pub(crate) trait Mamba2Evaluate<T: Real> {
    /// A head's response; `log_a` holds the logarithms of its decays (tokens x 1).
    fn respond(
        &self,
        log_a: &Matrix<T>,
        ssm: &Varying<T>,
        u: &Matrix<T>,
        x0: &Matrix<T>,
    ) -> Result<VaryingResponse<T>, Error>;

    /// The value used in place of a computed stage.
    fn stage(
        &self,
        _pass: &Mamba2Pass<'_, T>,
        _stage: Mamba2Stage,
        computed: Tensor<T>,
        _so_far: &Mamba2Stages<T>,
    ) -> Result<Tensor<T>, Error> {
        Ok(computed)
    }

    /// The operator before its heads are run.
    fn operator(&self, ssd: Ssd<T>) -> Ssd<T> {
        ssd
    }

    /// The group that a head reads.
    fn group_of(&self) -> GroupOf {
        group_of
    }
}

/// `W u + b` for every row of an array along its last axis.
pub(crate) fn project<T: Real>(
    weight: &[T],
    bias: &[T],
    x: &Tensor<T>,
) -> Result<Tensor<T>, Error> {
    let mut shape = x.shape().to_vec();
    let cols = shape.pop().unwrap_or(1);
    let rows = weight.len() / cols.max(1);
    shape.push(rows);
    let mut data = Vec::with_capacity(x.data().len() / cols.max(1) * rows);
    for u in x.data().chunks_exact(cols.max(1)) {
        for (r, row) in weight.chunks_exact(cols.max(1)).enumerate() {
            let product = dot(row, u);
            data.push(match bias.get(r) {
                Some(&bias) => product + bias,
                None => product,
            });
        }
    }
    Tensor::new(shape, data)
}

impl<T: Real> Mamba2Pass<'_, T> {
    fn sizes(&self) -> (usize, usize) {
        (self.documents.batch(), self.documents.seq_len())
    }

    /// xBC before the convolution at a token of a document, counted from its first; before that, of
    /// the state.
    pub(super) fn xbc(
        &self,
        zxbcdt: &Tensor<T>,
        (document, row, start): (usize, usize, usize),
        at: isize,
        channel: usize,
    ) -> T {
        let c = &self.layer.config;
        match usize::try_from(at) {
            Ok(at) => {
                let token = row * self.documents.seq_len() + start + at;
                zxbcdt.row(token)[c.columns()[3].start + channel]
            }
            Err(_) => {
                let state = self.initial.conv.row(document * c.conv_dim() + channel);
                let column = c.d_conv.checked_add_signed(at);
                column.map_or(T::ZERO, |column| state[column])
            }
        }
    }

    /// The convolution before its activation (batch, seq_len, conv_dim), and the state after it. The
    /// last tap meets the present token.
    pub(crate) fn convolved(&self, zxbcdt: &Tensor<T>) -> (Tensor<T>, Tensor<T>) {
        let c = &self.layer.config;
        let (batch, len) = self.sizes();
        let (weight, bias) = (
            self.layer.get(Mamba2Name::ConvWeight),
            self.layer.get(Mamba2Name::ConvBias),
        );
        let taps = c.d_conv as isize;
        let mut convolved = Tensor::filled([batch, len, c.conv_dim()], T::ZERO);
        let mut state = self.initial.conv.clone();
        for (document, (row, tokens)) in self.documents.iter().enumerate() {
            let place = (document, row, tokens.start);
            for channel in 0..c.conv_dim() {
                let weight = &weight[channel * c.d_conv..(channel + 1) * c.d_conv];
                for t in 0..tokens.len() {
                    let mut sum = bias.get(channel).copied().unwrap_or(T::ZERO);
                    for (j, &w) in weight.iter().enumerate() {
                        let at = (t + 1 + j) as isize - taps;
                        sum = sum + w * self.xbc(zxbcdt, place, at, channel);
                    }
                    convolved.row_mut(row * len + tokens.start + t)[channel] = sum;
                }
                let last = |k: usize| (tokens.len() + k) as isize - taps;
                let columns = (0..c.d_conv).map(|k| self.xbc(zxbcdt, place, last(k), channel));
                let columns: Vec<T> = columns.into_vec();
                state
                    .row_mut(document * c.conv_dim() + channel)
                    .copy_from_slice(&columns);
            }
        }
        (convolved, state)
    }

    /// The step before its activation: its projection and bias (batch, seq_len, heads).
    pub(crate) fn raw_dt(&self, zxbcdt: &Tensor<T>) -> Tensor<T> {
        let c = &self.layer.config;
        let mut raw = zxbcdt.columns(c.columns()[4].clone());
        let bias = self.layer.get(Mamba2Name::DtBias);
        for (at, x) in raw.data_mut().iter_mut().enumerate() {
            *x = *x + bias[at % c.heads];
        }
        raw
    }

    /// A, below zero: one number per head.
    pub(crate) fn a(&self) -> Vec<T> {
        let a_log = self.layer.get(Mamba2Name::ALog);
        a_log.iter().map(|a| -a.exp()).into_vec()
    }

    /// The operands of the operator.
    pub(crate) fn operator(&self, s: &Mamba2Stages<T>) -> Result<Ssd<T>, Error> {
        let c = &self.layer.config;
        let (batch, len) = self.sizes();
        let (d, of_groups) = (c.d_ssm(), c.groups * c.d_state);
        let shaped = |columns, shape: [usize; 2]| {
            let part = s.xbc_conv.columns(columns);
            Tensor::new([batch, len, shape[0], shape[1]], part.into_data())
        };
        Ok(Ssd {
            x: shaped(0..d, [c.heads, c.head_dim])?,
            dt: Some(s.dt.clone()),
            a: s.a.clone(),
            b: shaped(d..d + of_groups, [c.groups, c.d_state])?,
            c: shaped(d + of_groups..d + 2 * of_groups, [c.groups, c.d_state])?,
        })
    }

    /// The logarithms of a head's decays, `dt A` (tokens x 1).
    pub(crate) fn log_a(&self, dt: &Tensor<T>, a: &[T], place: &Place) -> Matrix<T> {
        let first = place.row * self.documents.seq_len() + place.tokens.start;
        Matrix::from_fn(place.tokens.len(), 1, |t, _| {
            dt.row(first + t)[place.head] * a[place.head]
        })
    }

    /// `x silu(z)`, with z of the input projection.
    pub(crate) fn gate(&self, x: &Tensor<T>, zxbcdt: &Tensor<T>) -> Tensor<T> {
        let z = zxbcdt.columns(self.layer.config.columns()[2].clone());
        let pairs = x.data().iter().zip(z.data());
        let data = pairs.map(|(&x, &z)| x * silu(z)).into_vec();
        Tensor::known(z.shape(), data)
    }

    /// The RMSNorm of every group of channels (batch, seq_len, d_ssm).
    ///
    /// # Errors
    ///
    /// If the root of a mean square has no value.
    pub(crate) fn norm(&self, x: &Tensor<T>, groups: usize, eps: f64) -> Result<Tensor<T>, Error> {
        let weight = self.layer.get(Mamba2Name::NormWeight);
        let (batch, len) = self.sizes();
        let each = weight.len() / groups.max(1);
        let mut data = Vec::with_capacity(x.data().len());
        for (at, values) in x.data().chunks_exact(each.max(1)).enumerate() {
            let r = inverse_root(values, eps)?;
            let weight = &weight[at % groups * each..];
            data.extend(values.iter().zip(weight).map(|(&x, &w)| x * r * w));
        }
        Tensor::new([batch, len, weight.len()], data)
    }

    /// The input of the output projection: the MLP half, and the operator's output.
    pub(crate) fn joined(&self, zxbcdt: &Tensor<T>, inner: &Tensor<T>) -> Tensor<T> {
        let c = &self.layer.config;
        let [z0, x0, ..] = c.columns();
        let width = c.d_mlp + c.d_ssm();
        let (batch, len) = self.sizes();
        let mut data = Vec::with_capacity(batch * len * width);
        for token in 0..batch * len {
            let row = zxbcdt.row(token);
            let pairs = row[z0.clone()].iter().zip(&row[x0.clone()]);
            data.extend(pairs.map(|(&z, &x)| silu(z) * x));
            data.extend_from_slice(&inner.data()[token * c.d_ssm()..(token + 1) * c.d_ssm()]);
        }
        Tensor::known([batch, len, width], data)
    }

    /// Every stage.
    ///
    /// # Errors
    ///
    /// If shapes do not fit, or a stage has no value.
    pub(crate) fn forward(&self, by: &dyn Mamba2Evaluate<T>) -> Result<Mamba2Stages<T>, Error> {
        use Mamba2Stage::{
            A, ConvState, Dt, Gated, Normed, Output, SsmState, XbcConv, Y, YD, Zxbcdt,
        };
        let (layer, c) = (self.layer, &self.layer.config);
        let empty = || Tensor::filled([0], T::ZERO);
        let mut s = Mamba2Stages {
            zxbcdt: empty(),
            xbc_conv: empty(),
            dt: empty(),
            a: empty(),
            y: empty(),
            y_d: empty(),
            gated: empty(),
            normed: empty(),
            output: empty(),
            states: self.initial.clone(),
        };
        let stage = |stage, mut computed: Tensor<T>, s: &Mamba2Stages<T>| {
            self.documents.clear_padding(&mut computed);
            let mut of = by.stage(self, stage, computed, s)?;
            self.documents.clear_padding(&mut of);
            Ok::<_, Error>(of)
        };
        let (weight, bias) = (
            layer.get(Mamba2Name::InWeight),
            layer.get(Mamba2Name::InBias),
        );
        s.zxbcdt = stage(Zxbcdt, project(weight, bias, self.input)?, &s)?;
        let (convolved, conv) = self.convolved(&s.zxbcdt);
        s.states.conv = by.stage(self, ConvState, conv, &s)?;
        s.xbc_conv = stage(XbcConv, convolved.map(silu), &s)?;
        let limited = |v| clamp(softplus(v), c.dt_limit);
        s.dt = stage(Dt, self.raw_dt(&s.zxbcdt).map(limited), &s)?;
        let a = self.a();
        let mut decays = s.dt.clone();
        for (at, x) in decays.data_mut().iter_mut().enumerate() {
            *x = (*x * a[at % c.heads]).exp();
        }
        s.a = stage(A, decays, &s)?;
        let ssd = by.operator(self.operator(&s)?);
        let respond = |place: &Place, ssm: &_, u: &_, x0: &_| {
            by.respond(&self.log_a(&s.dt, &a, place), ssm, u, x0)
        };
        let initial = &self.initial.ssm;
        let (y, state) = ssd.respond(self.documents, initial, by.group_of(), &respond)?;
        s.y = stage(Y, y, &s)?;
        s.states.ssm = by.stage(self, SsmState, state, &s)?;
        let x = self.operator(&s)?.x;
        s.y_d = stage(YD, skip(&s.y, &x, layer.get(Mamba2Name::D))?, &s)?;
        let before_gate = c.norm.as_ref().is_some_and(|norm| norm.before_gate);
        if !before_gate {
            s.gated = stage(Gated, self.gate(&s.y_d, &s.zxbcdt), &s)?;
        }
        if let Some(norm) = &c.norm {
            let normed = match before_gate {
                true => {
                    let normed = self.norm(&s.y_d, norm.groups, norm.eps)?;
                    self.gate(&normed, &s.zxbcdt)
                }
                false => self.norm(&s.gated, norm.groups, norm.eps)?,
            };
            s.normed = stage(Normed, normed, &s)?;
        }
        let joined = self.joined(&s.zxbcdt, s.inner());
        let (weight, bias) = (
            layer.get(Mamba2Name::OutWeight),
            layer.get(Mamba2Name::OutBias),
        );
        s.output = stage(Output, project(weight, bias, &joined)?, &s)?;
        Ok(s)
    }
}

/// `1 / sqrt(mean x^2 + eps)`.
///
/// # Errors
///
/// If it has no value.
pub(crate) fn inverse_root<T: Real>(x: &[T], eps: f64) -> Result<T, Error> {
    let mean = dot(x, x).divide(T::from_i64(x.len() as i64));
    let root = mean.map(|mean| (mean + T::from_f64(eps)).sqrt());
    let inverse = root.and_then(T::inverse);
    inverse.ok_or_else(|| Error::value("norm_eps", "0, and so is the mean of squares"))
}

impl<T: Real> Mamba2Stages<T> {
    /// The operator's output, normalized and gated.
    pub(crate) fn inner(&self) -> &Tensor<T> {
        match self.normed.data().is_empty() {
            true => &self.gated,
            false => &self.normed,
        }
    }

    /// The stages under their names, states last.
    pub(crate) fn named(self) -> Vec<(&'static str, Tensor<T>)> {
        use Mamba2Stage::{
            A, ConvState, Dt, Gated, Normed, Output, SsmState, XbcConv, Y, YD, Zxbcdt,
        };
        let named = [
            (Zxbcdt, self.zxbcdt),
            (XbcConv, self.xbc_conv),
            (Dt, self.dt),
            (A, self.a),
            (Y, self.y),
            (YD, self.y_d),
            (Gated, self.gated),
            (Normed, self.normed),
            (Output, self.output),
            (ConvState, self.states.conv),
            (SsmState, self.states.ssm),
        ];
        let named = named.into_iter().filter(|(_, x)| !x.data().is_empty());
        named.map(|(stage, x)| (stage.name(), x)).into_vec()
    }
}
