//! A computation as data: the steps, their operands, and the names under which results are saved.

use super::inputs::{COTANGENT, Inputs, cotangent_of};
use crate::into_vec::IntoVec as _;
use crate::oracle::stage::{Axis, StageSpec, in_order_of_name};
use crate::ssm::Documents;
use crate::tensor::Tensor;
use core::ops::Range;

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
    /// The states of the models after the last input of every document, residues not applied;
    /// operands poles, residues, kernels, `u`.
    ModesState(Modes),
    /// As many of the last entries of every document as the result has, oldest first, with zeros before
    /// its first.
    Last,
    /// A step that is not a sum of products.
    Function(Function),
}

/// A function of real numbers, element by element but for the norm.
#[derive(Clone, Debug)]
pub(crate) enum Function {
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

impl Function {
    /// The shape of its values, given its operands.
    pub(crate) fn shape<T: Copy>(&self, operands: &[&Tensor<T>]) -> Vec<usize> {
        match (self, operands) {
            (Self::Window { .. }, [places, decays]) => {
                vec![places.data().len(), decays.data().len()]
            }
            _ => operands[0].shape().to_vec(),
        }
    }
}

/// Convolutions row by row, each document alone: row `r` of `u` with row `r mod kernels` of the kernels,
/// of which nothing longer than a document is read.
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
    /// The factor of the real part: 1, except in a mistake.
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
    /// Its elements at padding.
    pub(super) padding: Vec<usize>,
}

/// A computation, in the order in which it is made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) stages: Vec<GraphStage>,
    /// The node whose cotangent is given.
    pub(crate) result: Id,
    /// The ranges of documents in the rows; `None` if every row is one document of any length.
    pub(crate) documents: Option<Documents>,
}

impl Graph {
    /// A graph of nothing yet, over the documents of its inputs.
    pub(crate) fn of(inputs: &Inputs) -> Self {
        Self {
            documents: inputs.documents().cloned(),
            ..Self::default()
        }
    }

    /// The documents of a row of an array along its last axis.
    pub(super) fn documents_of<T: Copy>(&self, row: usize, x: &Tensor<T>) -> Vec<Range<usize>> {
        let len = x.shape().last().copied().unwrap_or(0);
        self.documents_in(row, [x.rows(), len])
    }

    /// The documents of a row, of so many of so many tokens.
    fn documents_in(&self, row: usize, [rows, len]: [usize; 2]) -> Vec<Range<usize>> {
        match &self.documents {
            None => vec![0..len; 1],
            Some(documents) => documents.row(row * documents.batch() / rows).to_vec(),
        }
    }

    /// Calls with every range of an array (batch, channels, seq_len) that [`Op::Last`] reads, and that it
    /// is written to.
    pub(super) fn last_of(
        &self,
        shape: &[usize],
        len: usize,
        mut copy: impl FnMut(Range<usize>, Range<usize>),
    ) {
        let tokens = shape.last().copied().unwrap_or(0);
        let rows = shape.iter().product::<usize>() / tokens.max(1);
        for row in 0..rows {
            for (n, of) in self.documents_in(row, [rows, tokens]).iter().enumerate() {
                let count = len.min(of.len());
                let (from, to) = (
                    row * tokens + of.end,
                    (self.state_of(row, rows, n) + 1) * len,
                );
                copy(from - count..from, to - count..to);
            }
        }
    }

    /// The place of a row's document among all that channel has: the documents are the first axis of
    /// states, and the channels the second.
    pub(super) fn state_of(&self, row: usize, rows: usize, document: usize) -> usize {
        let Some(documents) = &self.documents else {
            return row;
        };
        let channels = rows / documents.batch();
        let first = documents.numbers(row / channels).start;
        (first + document) * channels + row % channels
    }

    /// The number of documents, where there are so many rows, and the longest, of rows of so many
    /// tokens.
    fn states(&self, [batch, len]: [usize; 2]) -> [usize; 2] {
        let documents = self.documents.as_ref();
        documents.map_or([batch, len], |all| [all.count(), all.longest()])
    }

    /// The tokens of the longest document of rows of `len`.
    pub(crate) fn longest(&self, len: usize) -> usize {
        self.states([1, len])[1]
    }

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
        let places = (0..shape.iter().product()).map(from).into_vec();
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

    /// The last entries of every document of (batch, channels, seq_len), oldest first: at most `len`, and
    /// no more than the longest has.
    pub(crate) fn last(&mut self, x: Id, len: usize) -> Id {
        let &[batch, channels, tokens] = self.shape(x) else {
            return x;
        };
        let [documents, longest] = self.states([batch, tokens]);
        self.node(Op::Last, &[x], &[documents, channels, len.min(longest)])
    }

    /// The states of models after every document of (batch, channels, seq_len), of which the last
    /// operand is their input.
    pub(crate) fn modes_state(&mut self, modes: Modes, of: &[Id; 4]) -> Id {
        let &[batch, channels, tokens] = self.shape(of[3]) else {
            return of[3];
        };
        let [documents, _] = self.states([batch, tokens]);
        let mut shape = vec![documents, channels, modes.state];
        shape.extend(modes.complex.then_some(2));
        self.node(Op::ModesState(modes), of, &shape)
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
        let of: Vec<Id> = [x, weight].into_iter().chain(bias).into_vec();
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
        self.node(Op::Convolve(parts), &of.into_vec(), &shape)
    }

    /// The filters `short` of this many channels, with their bias where there is one; where they correlate,
    /// the last tap meets the present input, else the first.
    pub(crate) fn short_filters(
        &mut self,
        [taps, u]: [Id; 2],
        bias: Option<Id>,
        channels: usize,
        correlates: bool,
    ) -> Option<Id> {
        let count = *self.shape(taps).last()?;
        let taps = self.gather(taps, &[channels, count], |at| at);
        let taps = match correlates {
            true => self.reversed(taps),
            false => taps,
        };
        let each: Vec<usize> = (0..channels).into_vec();
        let parts = Convolve {
            at: "short",
            kernel: each.clone(),
            feedthrough: None,
            bias: Some(each),
        };
        Some(self.convolve(parts, taps, u, None, bias))
    }

    /// Saves a node as a stage.
    pub(crate) fn stage(&mut self, name: impl Into<String>, node: Id, axes: &[Axis]) {
        self.save(name, node, axes, false);
    }

    /// Saves a node as the kernels of filters.
    pub(crate) fn kernel_stage(&mut self, name: impl Into<String>, node: Id, axes: &[Axis]) {
        self.save(name, node, axes, true);
    }

    /// Saves a node as the state after so many tokens of a schedule.
    pub(crate) fn stage_at_mark(&mut self, tokens: usize, name: &str, node: Id, axes: &[Axis]) {
        self.stage(format!("state.{tokens}.{name}"), node, axes);
    }

    fn save(&mut self, name: impl Into<String>, node: Id, axes: &[Axis], kernel: bool) {
        self.nodes[node].stage = Some(self.stages.len());
        let mut stage = GraphStage {
            name: name.into(),
            node,
            axes: axes.to_vec(),
            kernel,
            padding: Vec::new(),
        };
        if let Some(documents) = &self.documents {
            let padding: Vec<_> = documents.padding().into_vec();
            stage.padding = self.spec(&stage).at_padding(&padding);
        }
        self.stages.push(stage);
    }

    /// The stages as data; gradients last, by name, if there is a cotangent.
    pub(crate) fn specs(&self, inputs: &Inputs) -> Vec<StageSpec> {
        let mut specs: Vec<StageSpec> = self.stages.iter().map(|stage| self.spec(stage)).into_vec();
        if inputs.has_cotangent() {
            let gradients = inputs.all().iter().filter_map(|input| {
                let axes = input.axes.as_ref()?.iter().copied();
                let axes: Vec<_> = axes.zip(input.values.shape().iter().copied()).into_vec();
                Some(StageSpec::new(gradient_of(&input.name), &axes, &[]))
            });
            specs.extend(in_order_of_name(
                gradients.into_vec(),
                |spec: &StageSpec| &spec.name,
            ));
        }
        specs
    }

    pub(super) fn spec(&self, stage: &GraphStage) -> StageSpec {
        let shape = self.shape(stage.node).iter().copied();
        let axes: Vec<_> = stage.axes.iter().copied().zip(shape).into_vec();
        let mut from = Vec::new();
        for &of in &self.nodes[stage.node].of {
            self.stages_before(of, &mut from);
        }
        from.sort_unstable();
        from.dedup();
        let from: Vec<&str> = from.iter().map(|&at| &self.stages[at].name[..]).into_vec();
        let spec = StageSpec::new(&stage.name, &axes, &from);
        match stage.kernel {
            true => spec.kernel(),
            false => spec,
        }
    }

    /// The names and shapes of states after the last tokens of documents.
    pub(super) fn states_after_documents(&self) -> Vec<(String, Vec<usize>)> {
        let stages = self.stages.iter();
        let is_last = |stage: &&GraphStage| at_mark(&stage.name).0.is_none();
        let states = stages.filter(is_last);
        let states = states.filter(|stage| self.spec(stage).is_state());
        let named = |stage: &GraphStage| (stage.name.clone(), self.shape(stage.node).to_vec());
        states.map(named).into_vec()
    }

    /// The stages that gradients begin from, each with the place of its cotangent among the inputs.
    pub(super) fn cotangents(&self, inputs: &Inputs) -> Vec<(&GraphStage, usize)> {
        let stages = self.stages.iter();
        let given = stages.filter_map(|stage| {
            let of_result = stage.node == self.result;
            let name = match of_result {
                true => COTANGENT.to_string(),
                false => cotangent_of(&stage.name),
            };
            Some((stage, inputs.index(&name)?))
        });
        given.into_vec()
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

/// The mark of a state's name in files, `state.T.NAME`, and the name without it.
pub(super) fn at_mark(name: &str) -> (Option<usize>, &str) {
    let parts = name.strip_prefix("state.").and_then(|x| x.split_once('.'));
    match parts.map(|(mark, name)| (mark.parse().ok(), name)) {
        Some((Some(mark), name)) => (Some(mark), name),
        _ => (None, name),
    }
}

/// The name of a gradient in files.
pub(crate) fn gradient_of(name: &str) -> String {
    format!("grad.{name}")
}
