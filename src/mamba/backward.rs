//! The gradients of a Mamba-2 layer.

use super::functions::{clamp_back, silu, silu_slope, softplus, softplus_slope};
use super::layer::{Mamba2Pass, Mamba2Stages, Mamba2States, inverse_root};
use super::parameters::{Mamba2Name, Mamba2Parameters};
use super::ssd::{Place, skip, skip_gradient};
use crate::algebra::{Matrix, Real, dot};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::ssm::{Varying, VaryingGradients};
use crate::tensor::Tensor;

/// The gradients of a layer.
#[derive(Clone, Debug)]
pub(crate) struct Mamba2Gradients<T> {
    pub(crate) input: Tensor<T>,
    pub(crate) parameters: Mamba2Parameters<T>,
    /// With respect to the states before every document.
    pub(crate) states: Mamba2States<T>,
}

/// A head's gradients, that of its decays with respect to their logarithms (`log_a`, tokens x 1).
pub(crate) type Mamba2Back<'a, T> = &'a dyn Fn(
    &Matrix<T>,
    &Place,
    &Varying<T>,
    [&Matrix<T>; 4],
) -> Result<VaryingGradients<T>, Error>;

/// Of `W u + b`: adds to the gradients of W and b, returns that of u.
fn project_back<T: Real>(
    (weight, gradient, bias): (&[T], &mut [T], Option<&mut [T]>),
    x: &Tensor<T>,
    g: &Tensor<T>,
) -> Tensor<T> {
    let cols = x.shape().last().copied().unwrap_or(1).max(1);
    let rows = g.shape().last().copied().unwrap_or(1).max(1);
    let mut of_x = x.map(|_| T::ZERO);
    let pairs = x.data().chunks_exact(cols).zip(g.data().chunks_exact(rows));
    let mut of_bias = bias;
    for ((x, g), of_x) in pairs.zip(of_x.data_mut().chunks_exact_mut(cols)) {
        for (r, &g) in g.iter().enumerate() {
            for j in 0..cols {
                gradient[r * cols + j] = gradient[r * cols + j] + g * x[j];
                of_x[j] = of_x[j] + g * weight[r * cols + j];
            }
            if let Some(bias) = &mut of_bias
                && let Some(bias) = bias.get_mut(r)
            {
                *bias = *bias + g;
            }
        }
    }
    of_x
}

impl<T: Real> Mamba2Pass<'_, T> {
    /// The gradients of `<g, output> + <g_states, final states>`, given the stages of the pass.
    ///
    /// # Errors
    ///
    /// If shapes do not fit, or a head's gradients fail.
    pub(crate) fn backward(
        &self,
        s: &Mamba2Stages<T>,
        g: &Tensor<T>,
        g_states: &Mamba2States<T>,
        back: Mamba2Back<'_, T>,
    ) -> Result<Mamba2Gradients<T>, Error> {
        use Mamba2Name::{ALog, D, DtBias, InBias, InWeight, NormWeight, OutBias, OutWeight};
        let (layer, c) = (self.layer, &self.layer.config);
        let mut sum = layer.map(&|_| T::ZERO);
        let mut g = g.clone();
        self.documents.clear_padding(&mut g);
        let mut of_zxbcdt = s.zxbcdt.map(|_| T::ZERO);
        let [z0, x0, z, xbc, dt] = c.columns();
        let tokens = s.dt.data().len() / c.heads.max(1);

        // The output projection, and the MLP half.
        let joined = self.joined(&s.zxbcdt, s.inner());
        let mut bias = sum.get(OutBias).to_vec();
        let weight = layer.get(OutWeight);
        let of_joined = project_back(
            (weight, sum.get_mut(OutWeight), Some(&mut bias)),
            &joined,
            &g,
        );
        sum.get_mut(OutBias).copy_from_slice(&bias);
        for t in 0..tokens {
            for k in 0..c.d_mlp {
                let (g, row) = (of_joined.row(t)[k], s.zxbcdt.row(t));
                let (gate, x) = (row[z0.start + k], row[x0.start + k]);
                of_zxbcdt.row_mut(t)[z0.start + k] = g * x * silu_slope(gate);
                of_zxbcdt.row_mut(t)[x0.start + k] = g * silu(gate);
            }
        }

        // Norm and gate.
        let of_inner = of_joined.columns(c.d_mlp..c.d_mlp + c.d_ssm());
        let gates = s.zxbcdt.columns(z.clone());
        let mut of_gate = |g: &Tensor<T>, x: &[T]| -> Tensor<T> {
            let mut of_x = g.clone();
            for (at, of_x) in of_x.data_mut().iter_mut().enumerate() {
                let (gate, t, k) = (gates.data()[at], at / c.d_ssm(), at % c.d_ssm());
                of_zxbcdt.row_mut(t)[z.start + k] = *of_x * x[at] * silu_slope(gate);
                *of_x = *of_x * silu(gate);
            }
            of_x
        };
        let of_y_d = match &c.norm {
            None => of_gate(&of_inner, s.y_d.data()),
            Some(norm) if norm.before_gate => {
                let normed = self.norm(&s.y_d, norm.groups, norm.eps)?;
                let g = of_gate(&of_inner, normed.data());
                self.norm_back(&s.y_d, &g, (norm.groups, norm.eps), sum.get_mut(NormWeight))?
            }
            Some(norm) => {
                let g = self.norm_back(
                    &s.gated,
                    &of_inner,
                    (norm.groups, norm.eps),
                    sum.get_mut(NormWeight),
                )?;
                of_gate(&g, s.y_d.data())
            }
        };

        // The operator and D.
        let ssd = self.operator(s)?;
        let of_y_d = Tensor::new(ssd.x.shape(), of_y_d.into_data())?;
        let of_d = skip_gradient(&of_y_d, &ssd.x, layer.get(D))?;
        sum.get_mut(D).copy_from_slice(&of_d);
        let a = self.a();
        let of = ssd.gradients(
            self.documents,
            &self.initial.ssm,
            (&of_y_d, &g_states.ssm),
            &|place, ssm, given| back(&self.log_a(&s.dt, &a, place), place, ssm, given),
        )?;
        let of_x = skip(&of.x, &of_y_d, layer.get(D))?;

        // The step: into the operator, and through the decays.
        let raw = self.raw_dt(&s.zxbcdt);
        for at in 0..tokens * c.heads {
            let (t, h) = (at / c.heads, at % c.heads);
            let of_log_a = of.log_a.data()[at];
            let of_a = sum.get_mut(ALog);
            // dA A = dA_log, and log a = dt A.
            of_a[h] = of_a[h] + of_log_a * (s.dt.data()[at] * a[h]);
            let direct = of.dt.as_ref().map_or(T::ZERO, |dt| dt.data()[at]);
            let v = raw.data()[at];
            let limited = clamp_back(direct + of_log_a * a[h], softplus(v), c.dt_limit);
            let of_raw = limited * softplus_slope(v);
            of_zxbcdt.row_mut(t)[dt.start + h] = of_raw;
            let of_bias = sum.get_mut(DtBias);
            of_bias[h] = of_bias[h] + of_raw;
        }

        // The convolution.
        let mut of_conv = Tensor::filled(s.xbc_conv.shape(), T::ZERO);
        let (d, of_groups) = (c.d_ssm(), c.groups * c.d_state);
        for t in 0..tokens {
            let row = of_conv.row_mut(t);
            row[..d].copy_from_slice(&of_x.data()[t * d..(t + 1) * d]);
            let of_group = t * of_groups..(t + 1) * of_groups;
            row[d..d + of_groups].copy_from_slice(&of.b.data()[of_group.clone()]);
            row[d + of_groups..].copy_from_slice(&of.c.data()[of_group]);
        }
        let (convolved, _) = self.convolved(&s.zxbcdt);
        for (g, &v) in of_conv.data_mut().iter_mut().zip(convolved.data()) {
            *g = *g * silu_slope(v);
        }
        let of_state = self.convolution_back(
            (&s.zxbcdt, &mut of_zxbcdt, xbc.start),
            &of_conv,
            &g_states.conv,
            &mut sum,
        );
        self.documents.clear_padding(&mut of_zxbcdt);

        let mut bias = sum.get(InBias).to_vec();
        let weight = layer.get(InWeight);
        let input = project_back(
            (weight, sum.get_mut(InWeight), Some(&mut bias)),
            self.input,
            &of_zxbcdt,
        );
        sum.get_mut(InBias).copy_from_slice(&bias);
        Ok(Mamba2Gradients {
            input,
            parameters: sum,
            states: Mamba2States {
                conv: of_state,
                ssm: of.state,
            },
        })
    }

    /// Of the norm: adds to the gradient of its weight, returns that of what it was given.
    fn norm_back(
        &self,
        x: &Tensor<T>,
        g: &Tensor<T>,
        (groups, eps): (usize, f64),
        of_weight: &mut [T],
    ) -> Result<Tensor<T>, Error> {
        let weight = self.layer.get(Mamba2Name::NormWeight);
        let each = (weight.len() / groups.max(1)).max(1);
        let count = T::from_i64(each as i64);
        let mut data = Vec::with_capacity(x.data().len());
        let pairs = x.data().chunks_exact(each).zip(g.data().chunks_exact(each));
        for (at, (x, g)) in pairs.enumerate() {
            let r = inverse_root(x, eps)?;
            let first = at % groups * each;
            let weighted: Vec<T> = g
                .iter()
                .zip(&weight[first..])
                .map(|(&g, &w)| g * w)
                .into_vec();
            let mean = dot(&weighted, x).divide(count).unwrap_or(T::ZERO);
            for (k, (&x, &g)) in x.iter().zip(g).enumerate() {
                of_weight[first + k] = of_weight[first + k] + g * (x * r);
                data.push(r * (weighted[k] - x * (r * r * mean)));
            }
        }
        Tensor::new(x.shape(), data)
    }

    /// Of the convolution and of the state that it leaves: adds to the gradients of its taps and of
    /// the projection, returns that of the state before.
    fn convolution_back(
        &self,
        (zxbcdt, of_zxbcdt, first): (&Tensor<T>, &mut Tensor<T>, usize),
        g: &Tensor<T>,
        g_state: &Tensor<T>,
        sum: &mut Mamba2Parameters<T>,
    ) -> Tensor<T> {
        let c = &self.layer.config;
        let (taps, len) = (c.d_conv as isize, self.documents.seq_len());
        let mut of_state = g_state.map(|_| T::ZERO);
        for (document, (row, tokens)) in self.documents.iter().enumerate() {
            let place = (document, row, tokens.start);
            for channel in 0..c.conv_dim() {
                let mut add = |at: isize, term: T| {
                    let of = match usize::try_from(at) {
                        Ok(at) => {
                            let token = row * len + tokens.start + at;
                            Some(&mut of_zxbcdt.row_mut(token)[first + channel])
                        }
                        Err(_) => c.d_conv.checked_add_signed(at).map(|column| {
                            &mut of_state.row_mut(document * c.conv_dim() + channel)[column]
                        }),
                    };
                    if let Some(of) = of {
                        *of = *of + term;
                    }
                };
                for t in 0..tokens.len() {
                    let g = g.row(row * len + tokens.start + t)[channel];
                    for j in 0..c.d_conv {
                        let (at, tap) = ((t + 1 + j) as isize - taps, channel * c.d_conv + j);
                        add(at, g * self.layer.get(Mamba2Name::ConvWeight)[tap]);
                        let x = self.xbc(zxbcdt, place, at, channel);
                        let of_tap = &mut sum.get_mut(Mamba2Name::ConvWeight)[tap];
                        *of_tap = *of_tap + g * x;
                    }
                    if let Some(bias) = sum.get_mut(Mamba2Name::ConvBias).get_mut(channel) {
                        *bias = *bias + g;
                    }
                }
                for k in 0..c.d_conv {
                    let g = g_state.row(document * c.conv_dim() + channel)[k];
                    add((tokens.len() + k) as isize - taps, g);
                }
            }
        }
        of_state
    }
}
