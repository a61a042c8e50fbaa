//! A graph computed, in any scalars.

use super::filters::Filters;
use super::functions::Source;
use super::ops::{Convolve, Graph, GraphStage, Id, Modes, Node, Op};
use crate::algebra::{ComplexScalar, Ring, Scalar, dot};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::oracle::subject::Named;
use crate::ssm::{Diagonal, PackedResponse};
use crate::tensor::Tensor;

/// The value used in place of a computed stage, given the values computed before it.
pub(crate) type OnStage<'a, T> =
    &'a dyn Fn(&str, Tensor<T>, &Computed<'_, T>) -> Result<Tensor<T>, Error>;

/// The values that a graph has computed so far.
pub(crate) struct Computed<'a, T> {
    pub(crate) graph: &'a Graph,
    /// The nodes' values, in order.
    pub(crate) values: Vec<Tensor<T>>,
}

impl<T: Ring> Computed<'_, T> {
    /// The stage of this name, if it was computed.
    pub(crate) fn stage(&self, name: &str) -> Option<&Tensor<T>> {
        let found = self.graph.stages.iter().find(|stage| stage.name == name)?;
        self.values.get(found.node)
    }

    /// The stages under their names, zeros at padding.
    pub(crate) fn stages(&self) -> Named<T> {
        let of = |stage: &GraphStage| {
            let mut values = self.values[stage.node].clone();
            stage.clear_padding(&mut values);
            (stage.name.clone(), values)
        };
        self.graph.stages.iter().map(of).into_vec()
    }
}

impl GraphStage {
    /// Sets values at padding to zero.
    pub(super) fn clear_padding<T: Ring>(&self, values: &mut Tensor<T>) {
        for &at in &self.padding {
            values.data_mut()[at] = T::ZERO;
        }
    }
}

impl Graph {
    /// Every node of the graph.
    ///
    /// # Errors
    ///
    /// If a filter cannot be run by the form, or `on_stage` refuses.
    pub(crate) fn forward<T: Scalar>(
        &self,
        source: &dyn Source<T>,
        by: &dyn Filters<T>,
        on_stage: OnStage<'_, T>,
    ) -> Result<Computed<'_, T>, Error> {
        let mut computed = Computed {
            graph: self,
            values: Vec::with_capacity(self.nodes.len()),
        };
        let run = Run {
            graph: self,
            source,
            by,
        };
        for (id, node) in self.nodes.iter().enumerate() {
            let mut value = run.value(id, node, &computed.values)?;
            if let Some(stage) = node.stage {
                value = on_stage(&self.stages[stage].name, value, &computed)?;
            }
            computed.values.push(value);
        }
        Ok(computed)
    }
}

/// A graph and how it is run.
pub(super) struct Run<'a, T: Scalar> {
    pub(super) graph: &'a Graph,
    pub(super) source: &'a dyn Source<T>,
    pub(super) by: &'a dyn Filters<T>,
}

impl<T: Scalar> Run<'_, T> {
    fn value(&self, id: Id, node: &Node, values: &[Tensor<T>]) -> Result<Tensor<T>, Error> {
        let operand = |at: usize| &values[node.of[at]];
        let data = |at: usize| operand(at).data();
        let value = match &node.op {
            Op::Given(at) => return Ok(self.source.given(*at)),
            Op::Function(function) => {
                let operands: Vec<&Tensor<T>> = node.of.iter().map(|&of| &values[of]).into_vec();
                return self.source.function(id, function, &operands);
            }
            Op::Gather(places) => places.iter().map(|&at| data(0)[at]).into_vec(),
            Op::Multiply => data(0).iter().zip(data(1)).map(|(&a, &b)| a * b).into_vec(),
            Op::Add => data(0).iter().zip(data(1)).map(|(&a, &b)| a + b).into_vec(),
            Op::Contract { terms, left, right } => {
                let (a, b) = (data(0), data(1));
                let pairs = left.chunks_exact(*terms).zip(right.chunks_exact(*terms));
                pairs
                    .map(|(left, right)| {
                        let terms = left.iter().zip(right);
                        terms.fold(T::ZERO, |sum, (&l, &r)| sum + a[l] * b[r])
                    })
                    .into_vec()
            }
            Op::Linear => {
                let (x, weight) = (operand(0), operand(1));
                let (rows, outputs) = (x.rows(), weight.shape()[0]);
                let mut y = Vec::with_capacity(rows * outputs);
                for row in 0..rows {
                    for i in 0..outputs {
                        let sum = dot(weight.row(i), x.row(row));
                        y.push(match node.of.get(2) {
                            Some(&bias) => sum + values[bias].data()[i],
                            None => sum,
                        });
                    }
                }
                y
            }
            Op::Convolve(parts) => self.convolve(parts, node, values)?,
            Op::ModesKernel(modes) => {
                let (len, models) = (node.shape[1], node.shape[0]);
                let mut kernels = Vec::with_capacity(models * len);
                for model in 0..models {
                    let ssm = modes.model(node, values, (model, T::ZERO), self.source)?;
                    kernels.extend(self.by.modes_kernel(&ssm, len));
                }
                kernels
            }
            Op::ModesFilter(modes) => {
                let mut outputs = Vec::with_capacity(node.shape.iter().product());
                for row in 0..operand(3).rows() {
                    outputs.extend(self.response(modes, node, values, row)?.output);
                }
                outputs
            }
            Op::ModesState(modes) => {
                let each = modes.numbers();
                let mut states = vec![T::ZERO; node.shape.iter().product()];
                let rows = operand(3).rows();
                for row in 0..rows {
                    let found = self.response(modes, node, values, row)?.states;
                    for (document, state) in found.iter().enumerate() {
                        let first = self.graph.state_of(row, rows, document) * each;
                        modes.store(state, &mut states[first..first + each]);
                    }
                }
                states
            }
            Op::Last => {
                let len = node.shape.last().copied().unwrap_or(0);
                let mut last = vec![T::ZERO; node.shape.iter().product()];
                self.graph.last_of(operand(0).shape(), len, |from, to| {
                    last[to].copy_from_slice(&data(0)[from]);
                });
                last
            }
        };
        Tensor::new(&node.shape[..], value)
    }

    fn convolve(
        &self,
        parts: &Convolve,
        node: &Node,
        values: &[Tensor<T>],
    ) -> Result<Vec<T>, Error> {
        let (kernel, u) = (&values[node.of[0]], &values[node.of[1]]);
        let mut output = Vec::with_capacity(u.data().len());
        for row in 0..u.rows() {
            let documents = self.graph.documents_of(row, u);
            let (within, u) = (row % parts.kernel.len(), u.row(row));
            let kernel = kernel.row(parts.kernel[within]);
            let mut y = self.by.convolve(parts.at, kernel, u, &documents)?;
            if let Some(places) = &parts.feedthrough {
                let d = values[node.of[2]].data()[places[within]];
                y.iter_mut().zip(u).for_each(|(y, &u)| *y = *y + d * u);
            }
            if let (Some(places), Some(&bias)) = (&parts.bias, node.of.last()) {
                let bias = values[bias].data()[places[within]];
                y.iter_mut().for_each(|y| *y = *y + bias);
            }
            output.extend(y);
        }
        Ok(output)
    }

    /// The response of a row's model.
    fn response(
        &self,
        modes: &Modes,
        node: &Node,
        values: &[Tensor<T>],
        row: usize,
    ) -> Result<PackedResponse<Diagonal<T>>, Error> {
        let (kernel, u) = (&values[node.of[2]], &values[node.of[3]]);
        let within = row % modes.models.len();
        let ssm = modes.of_row(node, values, within, self.source)?;
        let documents = self.graph.documents_of(row, u);
        let (kernel, u) = (kernel.row(within), u.row(row));
        self.by.modes(modes.at, &ssm, kernel, u, &documents)
    }
}

impl Modes {
    /// The model of a row of one sequence, with its feedthrough if the node has one.
    pub(super) fn of_row<T: Scalar>(
        &self,
        node: &Node,
        values: &[Tensor<T>],
        within: usize,
        source: &dyn Source<T>,
    ) -> Result<Diagonal<T>, Error> {
        let d = node
            .of
            .get(4)
            .map_or(T::ZERO, |&d: &Id| values[d].data()[within]);
        self.model(node, values, (self.models[within], d), source)
    }

    /// `y = Re sum_n R_n x_n + d u`, `x_n = p_n x_n + u`: the trace doubles, so residues are halved.
    fn model<T: Scalar>(
        &self,
        node: &Node,
        values: &[Tensor<T>],
        (model, d): (usize, T),
        source: &dyn Source<T>,
    ) -> Result<Diagonal<T>, Error> {
        let of = |operand: usize| {
            let each = self.numbers();
            self.load(&values[node.of[operand]].data()[model * each..(model + 1) * each])
        };
        let half = source.halves(self.times);
        let residues = of(1).into_iter().map(|r| r.scale(half)).into_vec();
        Diagonal::new(of(0), vec![Ring::ONE; self.state], residues, d)
    }

    /// The numbers of a model's modes in arrays.
    pub(super) fn numbers(&self) -> usize {
        self.state * if self.complex { 2 } else { 1 }
    }

    /// Modes as they stand in arrays.
    pub(super) fn load<T: Scalar>(&self, numbers: &[T]) -> Vec<T::Complex> {
        let mut modes = Vec::with_capacity(self.state);
        for n in 0..self.state {
            modes.push(match self.complex {
                true => T::Complex::from_parts(numbers[2 * n], numbers[2 * n + 1]),
                false => T::Complex::from_base(numbers[n]),
            });
        }
        modes
    }

    /// Modes put into an array; what is real has no imaginary part.
    pub(super) fn store<T: Scalar>(&self, modes: &[T::Complex], numbers: &mut [T]) {
        for (n, z) in modes.iter().enumerate() {
            match self.complex {
                true => (numbers[2 * n], numbers[2 * n + 1]) = (z.re(), z.im()),
                false => numbers[n] = z.re(),
            }
        }
    }
}
