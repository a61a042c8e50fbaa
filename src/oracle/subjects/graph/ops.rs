//! A computation as data: what is computed from what, and which of it is saved under which name.

use super::inputs::Inputs;
use crate::oracle::stage::{Axis, StageSpec, in_order_of_name};

/// A number of a graph: the place of the node that computes it.
pub(crate) type Id = usize;

/// One step of a computation.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A tensor that is given.
    Given(usize),
    /// The elements of the first operand at these places: every rearrangement, cut and repetition.
    Gather(Vec<usize>),
    /// Products of the elements of two operands in the same places.
    Multiply,
    /// Sums of them.
    Add,
    /// `sum_t a[left[i terms + t]] b[right[i terms + t]]`.
    Contract {
        terms: usize,
        left: Vec<usize>,
        right: Vec<usize>,
    },
    /// `W x + b` of every row of `x`; operands `x`, `W` (outputs, inputs), and `b` if there is one.
    Linear,
    /// Every row of `u` convolved, on the way to a stage; operands as its parts say.
    Convolve(Convolve),
    /// The kernels of diagonal models, `sum_n Re(R_n p_n^t)`; operands poles, residues.
    ModesKernel(Modes),
    /// Every row of `u` through a diagonal model, plus a feedthrough; operands poles, residues, the
    /// kernels (one per row of a sequence), `u` and `D`.
    ModesFilter(Modes),
    /// The states of the models after the last input, residues not applied; operands poles,
    /// residues, kernels, `u`.
    ModesState(Modes),
    Sin,
    Exp,
    /// `e^{-|delta_c| t_l} + shift`, (l, c); operands `t`, `delta`, neither with a gradient.
    Window {
        shift: f64,
        /// False for the decays with their own sign, a mistake.
        absolute: bool,
    },
    /// Every row divided by the sum of its absolute values.
    Normalize,
}

/// Convolutions row by row: row `r` of `u` with row `r mod kernels` of the kernels, cut to the length
/// of `u`.
#[derive(Clone, Debug)]
pub(crate) struct Convolve {
    /// The stage that it is on the way to.
    pub(crate) at: &'static str,
    /// The kernel of every row of one sequence.
    pub(crate) kernel: Vec<usize>,
    /// The place of the feedthrough of every row of one sequence, in the third operand.
    pub(crate) feedthrough: Option<Vec<usize>>,
    /// The place of what is added to every output, in the last operand.
    pub(crate) bias: Option<Vec<usize>>,
}

/// Diagonal models.
#[derive(Clone, Debug)]
pub(crate) struct Modes {
    pub(crate) at: &'static str,
    /// Modes per model.
    pub(crate) state: usize,
    /// True if poles and residues are pairs of real and imaginary parts, else they are real.
    pub(crate) complex: bool,
    /// The model of every row of one sequence.
    pub(crate) models: Vec<usize>,
    /// How often the real part is counted: 1, but for a mistake.
    pub(crate) times: i64,
}

/// A step with its operands and the shape of its result.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) of: Vec<Id>,
    pub(crate) shape: Vec<usize>,
    /// The stage that it is.
    pub(crate) stage: Option<usize>,
}

/// A node that is saved under a name.
#[derive(Clone, Debug)]
pub(crate) struct GraphStage {
    pub(crate) name: String,
    pub(crate) node: Id,
    axes: Vec<Axis>,
    kernel: bool,
}

/// A computation, in the order in which it is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) stages: Vec<GraphStage>,
    /// The node whose cotangent is given.
    pub(crate) result: Id,
}

impl Graph {
    /// A step.
    pub(crate) fn node(&mut self, op: Op, of: &[Id], shape: &[usize]) -> Id {
        self.nodes.push(Node {
            op,
            of: of.to_vec(),
            shape: shape.to_vec(),
            stage: None,
        });
        self.nodes.len() - 1
    }

    /// A tensor that is given, if there is one of this name.
    pub(crate) fn given(&mut self, inputs: &Inputs, name: &str) -> Option<Id> {
        let at = inputs.index(name)?;
        let known = |node: &Node| matches!(node.op, Op::Given(given) if given == at);
        if let Some(known) = self.nodes.iter().position(known) {
            return Some(known);
        }
        let shape = inputs.all()[at].values.shape().to_vec();
        Some(self.node(Op::Given(at), &[], &shape))
    }

    pub(crate) fn shape(&self, id: Id) -> &[usize] {
        &self.nodes[id].shape
    }

    /// The elements of a node at places that are a function of the place in the result.
    pub(crate) fn gather(&mut self, x: Id, shape: &[usize], from: impl Fn(usize) -> usize) -> Id {
        let places = (0..shape.iter().product()).map(from).collect();
        self.node(Op::Gather(places), &[x], shape)
    }

    /// The last two of three axes exchanged.
    pub(crate) fn transpose(&mut self, x: Id) -> Id {
        let &[n, rows, cols] = self.shape(x) else {
            return x;
        };
        self.gather(x, &[n, cols, rows], |at| {
            let (outer, at) = (at / (rows * cols), at % (rows * cols));
            outer * rows * cols + at % rows * cols + at / rows
        })
    }

    /// The first `len` elements of every row.
    pub(crate) fn cut(&mut self, x: Id, len: usize) -> Id {
        let mut shape = self.shape(x).to_vec();
        let Some(last) = shape.last_mut() else {
            return x;
        };
        let whole = core::mem::replace(last, len);
        self.gather(x, &shape, |at| at / len * whole + at % len)
    }

    /// The last `len` elements of every row.
    pub(crate) fn last(&mut self, x: Id, len: usize) -> Id {
        let mut shape = self.shape(x).to_vec();
        let Some(last) = shape.last_mut() else {
            return x;
        };
        let whole = core::mem::replace(last, len);
        self.gather(x, &shape, |at| at / len * whole + whole - len + at % len)
    }

    /// Every row back to front.
    pub(crate) fn reversed(&mut self, x: Id) -> Id {
        let shape = self.shape(x).to_vec();
        let len = shape.last().copied().unwrap_or(1);
        self.gather(x, &shape, |at| at / len * len + len - 1 - at % len)
    }

    pub(crate) fn multiply(&mut self, a: Id, b: Id) -> Id {
        let shape = self.shape(a).to_vec();
        self.node(Op::Multiply, &[a, b], &shape)
    }

    /// Sums of `terms` products of the elements of two nodes at these places.
    pub(crate) fn contract(
        &mut self,
        terms: usize,
        [(a, left), (b, right)]: [(Id, Vec<usize>); 2],
        shape: &[usize],
    ) -> Id {
        let op = Op::Contract { terms, left, right };
        self.node(op, &[a, b], shape)
    }

    pub(crate) fn add(&mut self, a: Id, b: Id) -> Id {
        let shape = self.shape(a).to_vec();
        self.node(Op::Add, &[a, b], &shape)
    }

    /// `W x + b` of every row.
    pub(crate) fn linear(&mut self, x: Id, weight: Id, bias: Option<Id>) -> Id {
        let mut shape = self.shape(x).to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.shape(weight)[0];
        }
        let of: Vec<Id> = [x, weight].into_iter().chain(bias).collect();
        self.node(Op::Linear, &of, &shape)
    }

    /// Convolutions, with their feedthrough and bias where there are such.
    pub(crate) fn convolve(
        &mut self,
        parts: Convolve,
        kernel: Id,
        u: Id,
        feedthrough: Option<Id>,
        bias: Option<Id>,
    ) -> Id {
        let shape = self.shape(u).to_vec();
        let of = [kernel, u].into_iter().chain(feedthrough).chain(bias);
        let parts = Convolve {
            feedthrough: parts.feedthrough.filter(|_| feedthrough.is_some()),
            bias: parts.bias.filter(|_| bias.is_some()),
            ..parts
        };
        self.node(Op::Convolve(parts), &of.collect::<Vec<_>>(), &shape)
    }

    /// Saves a node as a stage.
    pub(crate) fn stage(&mut self, name: impl Into<String>, node: Id, axes: &[Axis]) {
        self.save(name, node, axes, false);
    }

    /// Saves a node as the kernels of filters.
    pub(crate) fn kernel_stage(&mut self, name: impl Into<String>, node: Id, axes: &[Axis]) {
        self.save(name, node, axes, true);
    }

    fn save(&mut self, name: impl Into<String>, node: Id, axes: &[Axis], kernel: bool) {
        self.nodes[node].stage = Some(self.stages.len());
        self.stages.push(GraphStage {
            name: name.into(),
            node,
            axes: axes.to_vec(),
            kernel,
        });
    }

    /// The stages as data; gradients last, by name, if there is a cotangent.
    pub(crate) fn specs(&self, inputs: &Inputs) -> Vec<StageSpec> {
        let mut specs: Vec<StageSpec> = self.stages.iter().map(|stage| self.spec(stage)).collect();
        if inputs.cotangent().is_some() {
            let gradients = inputs.all().iter().filter_map(|input| {
                let axes = input.axes.as_ref()?.iter().copied();
                let axes: Vec<_> = axes.zip(input.values.shape().iter().copied()).collect();
                Some(StageSpec::new(gradient_of(&input.name), &axes, &[]))
            });
            specs.extend(in_order_of_name(gradients.collect(), |spec: &StageSpec| {
                &spec.name
            }));
        }
        specs
    }

    fn spec(&self, stage: &GraphStage) -> StageSpec {
        let shape = self.shape(stage.node).iter().copied();
        let axes: Vec<_> = stage.axes.iter().copied().zip(shape).collect();
        let mut from = Vec::new();
        for &of in &self.nodes[stage.node].of {
            self.stages_before(of, &mut from);
        }
        from.sort_unstable();
        from.dedup();
        let from: Vec<&str> = from.iter().map(|&at| &self.stages[at].name[..]).collect();
        let spec = StageSpec::new(&stage.name, &axes, &from);
        match stage.kernel {
            true => spec.kernel(),
            false => spec,
        }
    }

    /// The nearest stages on every way to a node.
    fn stages_before(&self, node: Id, found: &mut Vec<usize>) {
        match self.nodes[node].stage {
            Some(stage) => found.push(stage),
            None => {
                for &of in &self.nodes[node].of {
                    self.stages_before(of, found);
                }
            }
        }
    }

    /// Multiplications of one run, about.
    pub(crate) fn cost(&self, tokens: usize, of_tokens: usize) -> usize {
        let each = self.nodes.iter().map(|node| {
            let size: usize = node.shape.iter().product();
            let work = match &node.op {
                Op::Convolve(_) | Op::ModesFilter(_) => {
                    let kernel = self.shape(node.of[0]).last().copied();
                    kernel.unwrap_or(1).min(tokens / 2 + 1)
                }
                Op::ModesKernel(modes) | Op::ModesState(modes) => 4 * modes.state,
                Op::Linear => self.shape(node.of[1]).last().copied().unwrap_or(1),
                Op::Contract { terms, .. } => *terms,
                _ => 1,
            };
            size.saturating_mul(work)
        });
        let whole = each.fold(0, usize::saturating_add);
        whole / of_tokens.max(1) * tokens
    }
}

/// The name of a gradient in files.
pub(crate) fn gradient_of(name: &str) -> String {
    format!("grad.{name}")
}
