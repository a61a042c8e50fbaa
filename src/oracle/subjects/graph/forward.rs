//! A graph computed, in any scalars.

use super::filters::Filters;
use super::inputs::Inputs;
use super::ops::{Convolve, Graph, Id, Modes, Node, Op};
use crate::algebra::{ComplexScalar, Real, Ring, dot};
use crate::error::Error;
use crate::oracle::subject::Named;
use crate::ssm::{Diagonal, Response};
use crate::tensor::Tensor;

/// What stands in the place of a stage that was computed, given what was computed before it.
pub(crate) type OnStage<'a, T> =
    &'a dyn Fn(&str, Tensor<T>, &Computed<'_, T>) -> Result<Tensor<T>, Error>;

/// What a graph has computed so far.
pub(crate) struct Computed<'a, T> {
    pub(crate) graph: &'a Graph,
    /// The nodes' values, in order.
    pub(crate) values: Vec<Tensor<T>>,
}

impl<T: Copy> Computed<'_, T> {
    /// The stage of this name, if it was computed.
    pub(crate) fn stage(&self, name: &str) -> Option<&Tensor<T>> {
        let found = self.graph.stages.iter().find(|stage| stage.name == name)?;
        self.values.get(found.node)
    }

    /// The stages under their names.
    pub(crate) fn stages(&self) -> Named<T> {
        let stages = self.graph.stages.iter();
        stages
            .map(|stage| (stage.name.clone(), self.values[stage.node].clone()))
            .collect()
    }
}

impl Graph {
    /// Every node of the graph.
    ///
    /// # Errors
    ///
    /// If a filter cannot be run by the form, or `on_stage` refuses.
    pub(crate) fn forward<T: Real>(
        &self,
        inputs: &Inputs,
        by: &dyn Filters<T>,
        on_stage: OnStage<'_, T>,
    ) -> Result<Computed<'_, T>, Error> {
        let mut computed = Computed {
            graph: self,
            values: Vec::with_capacity(self.nodes.len()),
        };
        for node in &self.nodes {
            let data = match &node.op {
                Op::Given(at) => {
                    let values = inputs.all()[*at].values.data().iter();
                    values.map(|&x| T::from_f64(x)).collect()
                }
                _ => node.compute(&computed.values, by)?,
            };
            let mut value = Tensor::new(&node.shape[..], data)?;
            if let Some(stage) = node.stage {
                value = on_stage(&self.stages[stage].name, value, &computed)?;
            }
            computed.values.push(value);
        }
        Ok(computed)
    }
}

impl Node {
    fn compute<T: Real>(&self, values: &[Tensor<T>], by: &dyn Filters<T>) -> Result<Vec<T>, Error> {
        let operand = |at: usize| &values[self.of[at]];
        let data = |at: usize| operand(at).data();
        Ok(match &self.op {
            Op::Given(_) => Vec::new(),
            Op::Gather(places) => places.iter().map(|&at| data(0)[at]).collect(),
            Op::Multiply => data(0).iter().zip(data(1)).map(|(&a, &b)| a * b).collect(),
            Op::Add => data(0).iter().zip(data(1)).map(|(&a, &b)| a + b).collect(),
            Op::Contract { terms, left, right } => {
                let (a, b) = (data(0), data(1));
                let pairs = left.chunks_exact(*terms).zip(right.chunks_exact(*terms));
                pairs
                    .map(|(left, right)| {
                        let terms = left.iter().zip(right);
                        terms.fold(T::ZERO, |sum, (&l, &r)| sum + a[l] * b[r])
                    })
                    .collect()
            }
            Op::Linear => {
                let (x, weight) = (operand(0), operand(1));
                let (rows, outputs) = (rows(x), weight.shape()[0]);
                let mut y = Vec::with_capacity(rows * outputs);
                for row in 0..rows {
                    for i in 0..outputs {
                        let sum = dot(weight.row(i), x.row(row));
                        y.push(match self.of.get(2) {
                            Some(&bias) => sum + values[bias].data()[i],
                            None => sum,
                        });
                    }
                }
                y
            }
            Op::Convolve(parts) => self.convolve(parts, values, by)?,
            Op::ModesKernel(modes) => {
                let (len, models) = (self.shape[1], self.shape[0]);
                let mut kernels = Vec::with_capacity(models * len);
                for model in 0..models {
                    let ssm = modes.model(self, values, model, T::ZERO)?;
                    kernels.extend(by.modes_kernel(&ssm, len));
                }
                kernels
            }
            Op::ModesFilter(modes) => {
                let responses = self.responses(modes, values, by)?;
                let mut output = Vec::new();
                for response in &responses {
                    output.extend_from_slice(&response.output);
                }
                output
            }
            Op::ModesState(modes) => {
                let mut parts = Vec::new();
                for response in self.responses(modes, values, by)? {
                    for z in response.state {
                        parts.push(z.re());
                        if modes.complex {
                            parts.push(z.im());
                        }
                    }
                }
                parts
            }
            Op::Sin => data(0).iter().map(|x| x.sin_cos().0).collect(),
            Op::Exp => data(0).iter().map(|x| x.exp()).collect(),
            Op::Window { shift, absolute } => {
                let shift = (*shift != 0.0).then(|| T::from_f64(*shift));
                let mut weights = Vec::with_capacity(data(0).len() * data(1).len());
                for &t in data(0) {
                    for &x in data(1) {
                        let decay = if *absolute && x.to_f64() < 0.0 { -x } else { x };
                        let fading = (-(t * decay)).exp();
                        weights.push(shift.map_or(fading, |shift| fading + shift));
                    }
                }
                weights
            }
            Op::Normalize => {
                let x = operand(0);
                let mut y = Vec::with_capacity(x.data().len());
                for row in 0..rows(x) {
                    let x = x.row(row);
                    let size = absolute_sum(x);
                    for &x in x {
                        y.push(x.divide(size).ok_or_else(no_size)?);
                    }
                }
                y
            }
        })
    }

    fn convolve<T: Real>(
        &self,
        parts: &Convolve,
        values: &[Tensor<T>],
        by: &dyn Filters<T>,
    ) -> Result<Vec<T>, Error> {
        let (kernel, u) = (&values[self.of[0]], &values[self.of[1]]);
        let mut output = Vec::with_capacity(u.data().len());
        for row in 0..rows(u) {
            let (within, u) = (row % parts.kernel.len(), u.row(row));
            let kernel = kernel.row(parts.kernel[within]);
            let mut y = by.convolve(parts.at, kernel, u)?;
            if let Some(places) = &parts.feedthrough {
                let d = values[self.of[2]].data()[places[within]];
                y.iter_mut().zip(u).for_each(|(y, &u)| *y = *y + d * u);
            }
            if let (Some(places), Some(&bias)) = (&parts.bias, self.of.last()) {
                let bias = values[bias].data()[places[within]];
                y.iter_mut().for_each(|y| *y = *y + bias);
            }
            output.extend(y);
        }
        Ok(output)
    }

    /// The response of every row's model.
    fn responses<T: Real>(
        &self,
        modes: &Modes,
        values: &[Tensor<T>],
        by: &dyn Filters<T>,
    ) -> Result<Vec<Response<Diagonal<T>>>, Error> {
        let (kernel, u) = (&values[self.of[2]], &values[self.of[3]]);
        let response = |row: usize| {
            let within = row % modes.models.len();
            let ssm = modes.of_row(self, values, within)?;
            by.modes(modes.at, &ssm, kernel.row(within), u.row(row))
        };
        (0..rows(u)).map(response).collect()
    }
}

impl Modes {
    /// The model of a row of one sequence, with its feedthrough if the node has one.
    pub(super) fn of_row<T: Real>(
        &self,
        node: &Node,
        values: &[Tensor<T>],
        within: usize,
    ) -> Result<Diagonal<T>, Error> {
        let d = node
            .of
            .get(4)
            .map_or(T::ZERO, |&d: &Id| values[d].data()[within]);
        self.model(node, values, self.models[within], d)
    }

    /// `y = Re sum_n R_n x_n + d u`, `x_n = p_n x_n + u`: the trace doubles, so residues are halved.
    pub(super) fn model<T: Real>(
        &self,
        node: &Node,
        values: &[Tensor<T>],
        model: usize,
        d: T,
    ) -> Result<Diagonal<T>, Error> {
        let of = |operand: usize| -> Vec<T::Complex> {
            let data = values[node.of[operand]].data();
            let modes = model * self.state..(model + 1) * self.state;
            modes
                .map(|n| match self.complex {
                    true => T::Complex::from_parts(data[2 * n], data[2 * n + 1]),
                    false => T::Complex::from_base(data[n]),
                })
                .collect()
        };
        let half = self.half::<T>();
        let residues = of(1).into_iter().map(|r| r.scale(half)).collect();
        Diagonal::new(of(0), vec![Ring::ONE; self.state], residues, d)
    }

    /// What residues are multiplied with.
    pub(super) fn half<T: Real>(&self) -> T {
        T::from_f64(self.times as f64 / 2.0)
    }
}

/// The number of rows along the last axis.
pub(super) fn rows<T: Copy>(x: &Tensor<T>) -> usize {
    let shape = x.shape();
    shape[..shape.len().saturating_sub(1)].iter().product()
}

/// `sum |x|`.
pub(super) fn absolute_sum<T: Real>(x: &[T]) -> T {
    x.iter()
        .fold(T::ZERO, |sum, &x| sum + (x.relu() + (-x).relu()))
}

/// A filter that cannot be normalized.
pub(super) fn no_size() -> Error {
    Error::value(
        "filter",
        "is zero in every channel of a place, and cannot be normalized",
    )
}
