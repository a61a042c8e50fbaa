//! A graph run backwards: the cotangent of every tensor it is given.

use super::filters::Filters;
use super::forward::Run;
use super::functions::Source;
use super::inputs::Inputs;
use super::ops::{Convolve, Graph, Id, Modes, Node, Op, gradient_of};
use crate::algebra::{ComplexScalar, Ring, Scalar};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::oracle::subject::Named;
use crate::ssm::StateSpace;
use crate::tensor::Tensor;

/// The cotangents of nodes, where there are any yet.
struct Cotangents<T>(Vec<Option<Tensor<T>>>);

impl<T: Ring> Cotangents<T> {
    /// The cotangent of an operand, zeros at first, to be added to.
    fn of<'a>(&'a mut self, id: Id, values: &[Tensor<T>]) -> &'a mut Tensor<T> {
        self.0[id].get_or_insert_with(|| Tensor::filled(values[id].shape(), T::ZERO))
    }

    fn add(&mut self, id: Id, values: &[Tensor<T>], terms: impl Iterator<Item = T>) {
        let sums = self.of(id, values).data_mut().iter_mut();
        sums.zip(terms).for_each(|(sum, x)| *sum = *sum + x);
    }
}

fn add<T: Ring>(place: &mut T, x: T) {
    *place = *place + x;
}

impl Graph {
    /// The gradients of `<g, result>`, and of such a product of every state that has a cotangent:
    /// `grad.NAME` of every tensor that has one, in its own shape.
    ///
    /// # Errors
    ///
    /// If there is no cotangent, or the adjoint of a filter fails.
    pub(crate) fn gradients<T: Scalar>(
        &self,
        inputs: &Inputs,
        source: &dyn Source<T>,
        values: &[Tensor<T>],
        by: &dyn Filters<T>,
    ) -> Result<Named<T>, Error> {
        if !inputs.has_cotangent() {
            return Err(Error::missing(
                "tensor \"g\", the cotangent that gradients begin from",
            ));
        }
        let mut cotangents = Cotangents(vec![None; self.nodes.len()]);
        for (stage, at) in self.cotangents(inputs) {
            let mut g = source.given(at);
            let what = format!("tensor {:?}", inputs.all()[at].name);
            g.check_shape(&what, self.shape(stage.node))?;
            stage.clear_padding(&mut g);
            cotangents.0[stage.node] = Some(g);
        }
        let run = Run {
            graph: self,
            source,
            by,
        };
        let mut gradients: Vec<Option<Tensor<T>>> = vec![None; inputs.all().len()];
        for (id, node) in self.nodes.iter().enumerate().rev() {
            let Some(g) = cotangents.0[id].take() else {
                continue;
            };
            match node.op {
                Op::Given(at) => gradients[at] = Some(g),
                _ => run.adjoint(node, values, (&values[id], &g), &mut cotangents)?,
            }
        }
        let named = inputs
            .all()
            .iter()
            .zip(gradients)
            .filter(|(input, _)| input.axes.is_some());
        Ok(named
            .map(|(input, gradient)| {
                let zeros = || Tensor::filled(input.values.shape(), T::ZERO);
                (gradient_of(&input.name), gradient.unwrap_or_else(zeros))
            })
            .into_vec())
    }
}

impl<T: Scalar> Run<'_, T> {
    /// Adds what the cotangent `g` of a node makes of its operands'.
    fn adjoint(
        &self,
        node: &Node,
        values: &[Tensor<T>],
        (value, g): (&Tensor<T>, &Tensor<T>),
        cotangents: &mut Cotangents<T>,
    ) -> Result<(), Error> {
        let of = &node.of;
        let operand = |at: usize| values[of[at]].data();
        match &node.op {
            // Neither has a gradient.
            Op::Given(_) | Op::ModesKernel(_) => {}
            Op::Function(function) => {
                let at = [&values[of[0]], value];
                if let Some(terms) = self.source.function_adjoint(function, at, g)? {
                    cotangents.add(of[0], values, terms.into_iter());
                }
            }
            Op::Last => {
                let x = &values[of[0]];
                let len = node.shape.last().copied().unwrap_or(0);
                let sums = cotangents.of(of[0], values).data_mut();
                self.graph.last_of(x.shape(), len, |from, to| {
                    let pairs = sums[from].iter_mut().zip(&g.data()[to]);
                    pairs.for_each(|(sum, &g)| add(sum, g));
                });
            }
            Op::Gather(places) => {
                let sums = cotangents.of(of[0], values).data_mut();
                places
                    .iter()
                    .zip(g.data())
                    .for_each(|(&at, &g)| add(&mut sums[at], g));
            }
            Op::Multiply => {
                for (this, other) in [(0, 1), (1, 0)] {
                    let terms = g.data().iter().zip(operand(other));
                    cotangents.add(of[this], values, terms.map(|(&g, &x)| g * x));
                }
            }
            Op::Add => {
                for &id in of {
                    cotangents.add(id, values, g.data().iter().copied());
                }
            }
            Op::Contract { terms, left, right } => {
                for (this, places, other, others) in [(0, left, 1, right), (1, right, 0, left)] {
                    let sums = cotangents.of(of[this], values).data_mut();
                    let x = operand(other);
                    for (i, (&at, &other)) in places.iter().zip(others).enumerate() {
                        add(&mut sums[at], g.data()[i / terms] * x[other]);
                    }
                }
            }
            Op::Linear => node.linear_adjoint(values, g, cotangents),
            Op::Convolve(parts) => self.convolve_adjoint(parts, node, (values, g), cotangents)?,
            Op::ModesFilter(modes) | Op::ModesState(modes) => {
                self.modes_adjoint(modes, node, (values, g), cotangents)?;
            }
        }
        Ok(())
    }

    fn convolve_adjoint(
        &self,
        parts: &Convolve,
        node: &Node,
        (values, g): (&[Tensor<T>], &Tensor<T>),
        cotangents: &mut Cotangents<T>,
    ) -> Result<(), Error> {
        let of = &node.of;
        let (kernel, u) = (&values[of[0]], &values[of[1]]);
        for row in 0..u.rows() {
            let documents = self.graph.documents_of(row, u);
            let (within, u, g) = (row % parts.kernel.len(), u.row(row), g.row(row));
            let of_row = parts.kernel[within];
            let (of_kernel, of_u) =
                self.by
                    .convolve_adjoint(parts.at, kernel.row(of_row), (u, g), &documents)?;
            let sums = cotangents.of(of[0], values).row_mut(of_row).iter_mut();
            sums.zip(of_kernel).for_each(|(sum, x)| add(sum, x));
            let sums = cotangents.of(of[1], values).row_mut(row).iter_mut();
            sums.zip(of_u).for_each(|(sum, x)| add(sum, x));
            if let Some(places) = &parts.feedthrough {
                let d = values[of[2]].data()[places[within]];
                let sums = cotangents.of(of[1], values).row_mut(row).iter_mut();
                sums.zip(g).for_each(|(sum, &g)| add(sum, d * g));
                let sum = &mut cotangents.of(of[2], values).data_mut()[places[within]];
                g.iter().zip(u).for_each(|(&g, &u)| add(sum, g * u));
            }
            if let (Some(places), Some(&bias)) = (&parts.bias, of.last()) {
                let sum = &mut cotangents.of(bias, values).data_mut()[places[within]];
                g.iter().for_each(|&g| add(sum, g));
            }
        }
        Ok(())
    }

    fn modes_adjoint(
        &self,
        modes: &Modes,
        node: &Node,
        (values, g): (&[Tensor<T>], &Tensor<T>),
        cotangents: &mut Cotangents<T>,
    ) -> Result<(), Error> {
        let of = &node.of;
        let u = &values[of[3]];
        let (half, each) = (self.source.halves(modes.times), modes.numbers());
        for row in 0..u.rows() {
            let within = row % modes.models.len();
            let ssm = modes.of_row(node, values, within, self.source)?;
            let documents = self.graph.documents_of(row, u);
            // The cotangent is of the outputs, or of the states after documents.
            let (mut of_row, mut of_states) = (vec![T::ZERO; u.row(row).len()], Vec::new());
            match node.op {
                Op::ModesState(_) => {
                    for document in 0..documents.len() {
                        let first = self.graph.state_of(row, u.rows(), document) * each;
                        of_states.push(modes.load(&g.data()[first..first + each]));
                    }
                }
                _ => {
                    of_row.copy_from_slice(g.row(row));
                    of_states.resize(documents.len(), vec![Ring::ZERO; modes.state]);
                }
            }
            let (signals, states) = ((u.row(row), &of_row[..]), &of_states[..]);
            let gradients = self
                .by
                .modes_adjoint(modes.at, &ssm, signals, &documents, states)?;
            let sums = cotangents.of(of[3], values).row_mut(row).iter_mut();
            sums.zip(gradients.input).for_each(|(sum, x)| add(sum, x));
            let first = modes.models[within] * each;
            let of_model = &gradients.model;
            let residues: Vec<_> = of_model.c().iter().map(|r| r.scale(half)).into_vec();
            for (operand, found) in [(0, of_model.poles()), (1, &residues)] {
                let mut terms = vec![T::ZERO; each];
                modes.store(found, &mut terms);
                let sums = &mut cotangents.of(of[operand], values).data_mut()[first..];
                sums.iter_mut().zip(terms).for_each(|(sum, x)| add(sum, x));
            }
            if let Some(&d) = of.get(4) {
                let sum = &mut cotangents.of(d, values).data_mut()[within];
                add(sum, of_model.feedthrough());
            }
        }
        Ok(())
    }
}

impl Node {
    fn linear_adjoint<T: Ring>(
        &self,
        values: &[Tensor<T>],
        g: &Tensor<T>,
        cotangents: &mut Cotangents<T>,
    ) {
        let (x, weight) = (&values[self.of[0]], &values[self.of[1]]);
        let outputs = weight.shape()[0];
        let sums = cotangents.of(self.of[0], values);
        for row in 0..x.rows() {
            for (i, &g) in g.row(row).iter().enumerate() {
                let terms = sums.row_mut(row).iter_mut().zip(weight.row(i));
                terms.for_each(|(sum, &w)| add(sum, g * w));
            }
        }
        let sums = cotangents.of(self.of[1], values);
        for row in 0..x.rows() {
            for (i, &g) in g.row(row).iter().enumerate() {
                let terms = sums.row_mut(i).iter_mut().zip(x.row(row));
                terms.for_each(|(sum, &x)| add(sum, g * x));
            }
        }
        if let Some(&bias) = self.of.get(2) {
            let sums = cotangents.of(bias, values).data_mut();
            for (at, &g) in g.data().iter().enumerate() {
                add(&mut sums[at % outputs], g);
            }
        }
    }
}
