//! A graph run backwards: the cotangent of every tensor it is given.

use super::filters::Filters;
use super::forward::{absolute_sum, no_size, rows};
use super::inputs::Inputs;
use super::ops::{Convolve, Graph, Id, Modes, Node, Op, gradient_of};
use crate::algebra::{ComplexScalar, Real};
use crate::error::Error;
use crate::oracle::subject::Named;
use crate::ssm::StateSpace;
use crate::tensor::Tensor;

/// The cotangents of nodes, where there are any yet.
struct Cotangents<T>(Vec<Option<Tensor<T>>>);

impl<T: Real> Cotangents<T> {
    /// The cotangent of an operand, zeros at first, to be added to.
    fn of<'a>(&'a mut self, id: Id, values: &[Tensor<T>]) -> &'a mut Tensor<T> {
        self.0[id].get_or_insert_with(|| Tensor::filled(values[id].shape(), T::ZERO))
    }

    fn add(&mut self, id: Id, values: &[Tensor<T>], terms: impl Iterator<Item = T>) {
        let sums = self.of(id, values).data_mut().iter_mut();
        sums.zip(terms).for_each(|(sum, x)| *sum = *sum + x);
    }
}

fn add<T: Real>(place: &mut T, x: T) {
    *place = *place + x;
}

impl Graph {
    /// The gradients of `<g, result>`: `grad.NAME` of every tensor that has one, in its own shape.
    ///
    /// # Errors
    ///
    /// If there is no cotangent, or the adjoint of a filter fails.
    pub(crate) fn gradients<T: Real>(
        &self,
        inputs: &Inputs,
        values: &[Tensor<T>],
        by: &dyn Filters<T>,
    ) -> Result<Named<T>, Error> {
        let g = inputs.cotangent().ok_or_else(|| {
            Error::missing("tensor \"g\", the cotangent that gradients begin from")
        })?;
        g.check_shape("tensor \"g\"", self.shape(self.result))?;
        let mut cotangents = Cotangents(vec![None; self.nodes.len()]);
        cotangents.0[self.result] = Some(g.map(T::from_f64));
        let mut gradients: Vec<Option<Tensor<T>>> = vec![None; inputs.all().len()];
        for (id, node) in self.nodes.iter().enumerate().rev() {
            let Some(g) = cotangents.0[id].take() else {
                continue;
            };
            match node.op {
                Op::Given(at) => gradients[at] = Some(g),
                _ => node.adjoint(values, &values[id], &g, by, &mut cotangents)?,
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
            .collect())
    }
}

impl Node {
    /// Adds what the cotangent `g` of this node makes of its operands'.
    fn adjoint<T: Real>(
        &self,
        values: &[Tensor<T>],
        value: &Tensor<T>,
        g: &Tensor<T>,
        by: &dyn Filters<T>,
        cotangents: &mut Cotangents<T>,
    ) -> Result<(), Error> {
        let of = &self.of;
        let operand = |at: usize| values[of[at]].data();
        match &self.op {
            // Neither has a gradient.
            Op::Given(_) | Op::Window { .. } | Op::ModesKernel(_) | Op::ModesState(_) => {}
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
            Op::Linear => self.linear_adjoint(values, g, cotangents),
            Op::Convolve(parts) => self.convolve_adjoint(parts, values, g, by, cotangents)?,
            Op::ModesFilter(modes) => self.modes_adjoint(modes, values, g, by, cotangents)?,
            Op::Sin => {
                let terms = g.data().iter().zip(operand(0));
                cotangents.add(of[0], values, terms.map(|(&g, x)| g * x.sin_cos().1));
            }
            Op::Exp => {
                let terms = g.data().iter().zip(value.data());
                cotangents.add(of[0], values, terms.map(|(&g, &y)| g * y));
            }
            Op::Normalize => {
                let x = &values[of[0]];
                let mut terms = Vec::with_capacity(x.data().len());
                for row in 0..rows(x) {
                    let (x, y, g) = (x.row(row), value.row(row), g.row(row));
                    let along = g.iter().zip(y).fold(T::ZERO, |sum, (&g, &y)| sum + g * y);
                    let size = absolute_sum(x);
                    for (&x, &g) in x.iter().zip(g) {
                        let sign = x.step() - (-x).step();
                        let of_size = (g - sign * along).divide(size);
                        terms.push(of_size.ok_or_else(no_size)?);
                    }
                }
                cotangents.add(of[0], values, terms.into_iter());
            }
        }
        Ok(())
    }

    fn linear_adjoint<T: Real>(
        &self,
        values: &[Tensor<T>],
        g: &Tensor<T>,
        cotangents: &mut Cotangents<T>,
    ) {
        let (x, weight) = (&values[self.of[0]], &values[self.of[1]]);
        let outputs = weight.shape()[0];
        let sums = cotangents.of(self.of[0], values);
        for row in 0..rows(x) {
            for (i, &g) in g.row(row).iter().enumerate() {
                let terms = sums.row_mut(row).iter_mut().zip(weight.row(i));
                terms.for_each(|(sum, &w)| add(sum, g * w));
            }
        }
        let sums = cotangents.of(self.of[1], values);
        for row in 0..rows(x) {
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

    fn convolve_adjoint<T: Real>(
        &self,
        parts: &Convolve,
        values: &[Tensor<T>],
        g: &Tensor<T>,
        by: &dyn Filters<T>,
        cotangents: &mut Cotangents<T>,
    ) -> Result<(), Error> {
        let (kernel, u) = (&values[self.of[0]], &values[self.of[1]]);
        for row in 0..rows(u) {
            let (within, u, g) = (row % parts.kernel.len(), u.row(row), g.row(row));
            let of_row = parts.kernel[within];
            let (of_kernel, of_u) = by.convolve_adjoint(parts.at, kernel.row(of_row), u, g)?;
            let sums = cotangents.of(self.of[0], values).row_mut(of_row).iter_mut();
            sums.zip(of_kernel).for_each(|(sum, x)| add(sum, x));
            let sums = cotangents.of(self.of[1], values).row_mut(row).iter_mut();
            sums.zip(of_u).for_each(|(sum, x)| add(sum, x));
            if let Some(places) = &parts.feedthrough {
                let d = values[self.of[2]].data()[places[within]];
                let sums = cotangents.of(self.of[1], values).row_mut(row).iter_mut();
                sums.zip(g).for_each(|(sum, &g)| add(sum, d * g));
                let sum = &mut cotangents.of(self.of[2], values).data_mut()[places[within]];
                g.iter().zip(u).for_each(|(&g, &u)| add(sum, g * u));
            }
            if let (Some(places), Some(&bias)) = (&parts.bias, self.of.last()) {
                let sum = &mut cotangents.of(bias, values).data_mut()[places[within]];
                g.iter().for_each(|&g| add(sum, g));
            }
        }
        Ok(())
    }

    fn modes_adjoint<T: Real>(
        &self,
        modes: &Modes,
        values: &[Tensor<T>],
        g: &Tensor<T>,
        by: &dyn Filters<T>,
        cotangents: &mut Cotangents<T>,
    ) -> Result<(), Error> {
        let u = &values[self.of[3]];
        let half = modes.half::<T>();
        for row in 0..rows(u) {
            let within = row % modes.models.len();
            let ssm = modes.of_row(self, values, within)?;
            let gradients = by.modes_adjoint(modes.at, &ssm, u.row(row), g.row(row))?;
            let sums = cotangents.of(self.of[3], values).row_mut(row).iter_mut();
            sums.zip(gradients.input).for_each(|(sum, x)| add(sum, x));
            let first = modes.models[within] * modes.state;
            let of_model = &gradients.model;
            let residues: Vec<_> = of_model.c().iter().map(|r| r.scale(half)).collect();
            for (operand, found) in [(0, of_model.poles()), (1, &residues)] {
                let sums = cotangents.of(self.of[operand], values).data_mut();
                for (n, z) in found.iter().enumerate() {
                    let at = first + n;
                    match modes.complex {
                        true => {
                            add(&mut sums[2 * at], z.re());
                            add(&mut sums[2 * at + 1], z.im());
                        }
                        false => add(&mut sums[at], z.re()),
                    }
                }
            }
            if let Some(&d) = self.of.get(4) {
                let sum = &mut cotangents.of(d, values).data_mut()[within];
                add(sum, of_model.feedthrough());
            }
        }
        Ok(())
    }
}
