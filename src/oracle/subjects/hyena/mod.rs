//! Hyena as a subject: projections, short filters, and a recursion of gates and implicit long filters
//! (Poli et al. 2023; safari `src/models/sequence/hyena.py`, `HyenaOperator`).

mod backward;
mod case;
mod forward;
mod official;
mod read;
mod suite;

pub(crate) use case::HyenaCase;
pub(crate) use official::OFFICIAL;
pub(crate) use suite::suite;

use super::graph::{Convolve, Function, Graph, GraphCase, GraphHook, Id, Inputs, Op};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::Row;
use crate::oracle::stage::Axis;
use crate::safetensors::Tensors;
use case::{
    BIAS, DECAYS, FEATURES, FilterLayout, PLACES, SHORT, SHORT_BIAS, SIGNAL, TOKENS, network,
};

/// The stage that a long filter is on the way to.
const LONG: &str = "v.n";

impl HyenaCase {
    /// The place of filter `o` of a head's channel `v` among the last layer's outputs.
    fn flat(&self, o: usize, v: usize) -> usize {
        let [_, _, d, _] = self.sizes();
        match self.layout {
            FilterLayout::ChannelMajor => v * (self.order - 1) + o,
            FilterLayout::FilterMajor => o * (d / self.heads) + v,
        }
    }

    /// The channel of `short` that is channel `c` of gate `n`, or of the value for `n = order`.
    fn channel(&self, n: usize, c: usize) -> usize {
        let [_, _, d, _] = self.sizes();
        let head_dim = d / self.heads;
        let n = match self.wiring.value_last {
            true => n,
            false => (n + 1) % (self.order + 1),
        };
        match self.wiring.by_head {
            true => (c / head_dim * (self.order + 1) + n) * head_dim + c % head_dim,
            false => n * d + c,
        }
    }

    /// The filters (order - 1, head_dim, L').
    fn filters(&self, graph: &mut Graph) -> Option<Id> {
        let ([_, _, d, _], len) = (self.sizes(), self.taps());
        let head_dim = d / self.heads;
        let (rows, flat) = (self.order - 1, (self.order - 1) * head_dim);
        let given = |graph: &mut Graph, name: &str| graph.given(&self.inputs, name);
        let features = given(graph, FEATURES)?;
        let emb_dim = *graph.shape(features).last()?;
        let mut x = graph.gather(features, &[len, emb_dim], |at| at);
        for layer in 0..self.sines {
            let weight = given(graph, &network(2 * layer, "weight"))?;
            let bias = given(graph, &network(2 * layer, "bias"));
            x = graph.linear(x, weight, bias);
            let of = if self.wiring.one_frequency { 0 } else { layer };
            let frequency = given(graph, &network(2 * of + 1, "freq"))?;
            let shape = graph.shape(x).to_vec();
            let frequency = graph.gather(frequency, &shape, |at| at % shape[1]);
            let turned = graph.multiply(frequency, x);
            x = graph.node(Op::Function(Function::Sin), &[turned], &shape);
        }
        let weight = given(graph, &network(2 * self.sines, "weight"))?;
        let mut h = graph.linear(x, weight, None);
        if self.modulate {
            let places = given(graph, PLACES)?;
            let places = graph.gather(places, &[len], |at| at);
            let window = Op::Function(Function::Window {
                shift: self.shift,
                absolute: self.wiring.absolute,
            });
            let decays = given(graph, DECAYS)?;
            let window = graph.node(window, &[places, decays], &[len, flat]);
            h = graph.multiply(h, window);
        }
        if self.normalized {
            let exchange = |graph: &mut Graph, x: Id, [rows, cols]: [usize; 2]| {
                graph.gather(x, &[cols, rows], |at| at % rows * cols + at / rows)
            };
            if !self.wiring.over_channels {
                h = exchange(graph, h, [len, flat]);
            }
            let shape = graph.shape(h).to_vec();
            h = graph.node(Op::Function(Function::Normalize), &[h], &shape);
            if !self.wiring.over_channels {
                h = exchange(graph, h, [flat, len]);
            }
        }
        Some(graph.gather(h, &[rows, head_dim, len], |at| {
            let (t, v, o) = (at % len, at / len % head_dim, at / (len * head_dim));
            t * flat + self.flat(o, v)
        }))
    }
}

impl GraphCase for HyenaCase {
    const KIND: &'static str = "hyena";
    const OPTIONAL: &'static [&'static str] =
        &["in_proj.bias", SHORT_BIAS, BIAS, "out_proj.bias", "g"];

    fn read(file: &dyn Tensors) -> Result<Self, Error> {
        read::read(file)
    }

    fn choices(&self) -> Vec<(&'static str, String)> {
        vec![
            ("order", self.order.to_string()),
            ("num_heads", self.heads.to_string()),
            ("filter_layout", self.layout.to_string()),
            ("shift", self.shift.to_string()),
            ("modulate", self.modulate.to_string()),
            ("normalized", self.normalized.to_string()),
            ("use_bias", self.use_bias.to_string()),
        ]
    }

    fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    fn inputs_mut(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    fn build(&self, graph: &mut Graph) -> Option<()> {
        let ([batch, _, d, _], len) = (self.sizes(), self.len());
        let (head_dim, signals) = (d / self.heads, (self.order + 1) * d);
        let given = |graph: &mut Graph, name: &str| graph.given(&self.inputs, name);
        let (input, weight) = (given(graph, "input")?, given(graph, "in_proj.weight")?);
        let bias = given(graph, "in_proj.bias");
        let projected = graph.linear(input, weight, bias);
        let projected = graph.transpose(projected);
        graph.stage("projected", projected, &SIGNAL);

        let (taps, bias) = (given(graph, SHORT)?, given(graph, SHORT_BIAS));
        let correlates = self.wiring.short_correlates;
        let short = graph.short_filters([taps, projected], bias, signals, correlates)?;
        let short = graph.cut(short, len);
        graph.stage("short", short, &SIGNAL);

        let filter = self.filters(graph)?;
        let axes = [Axis::Step, Axis::Channel, Axis::Time];
        let longest = graph.longest(len);
        let shown = match longest < self.taps() {
            true => graph.cut(filter, longest),
            false => filter,
        };
        graph.kernel_stage("filter", shown, &axes);
        let bias = given(graph, BIAS).filter(|_| self.use_bias);
        let signal = |graph: &mut Graph, n: usize| {
            graph.gather(short, &[batch, d, len], |at| {
                let (t, c, b) = (at % len, at / len % d, at / (len * d));
                (b * signals + self.channel(n, c)) * len + t
            })
        };
        let mut v = signal(graph, self.order);
        graph.stage("v.0", v, &SIGNAL);
        for n in 1..self.order {
            let gate = match self.wiring.gates_descend {
                true => self.order - n,
                false => n - 1,
            };
            let gate = signal(graph, gate);
            let product = graph.multiply(v, gate);
            graph.stage(format!("product.{n}"), product, &SIGNAL);
            let parts = Convolve {
                at: LONG,
                kernel: (0..d).map(|c| (n - 1) * head_dim + c % head_dim).into_vec(),
                feedthrough: Some((0..d).map(|c| self.flat(n - 1, c % head_dim)).into_vec()),
                bias: None,
            };
            let shape = graph.shape(filter).to_vec();
            let kernels = graph.gather(filter, &[shape[0] * shape[1], shape[2]], |at| at);
            let direct = bias.filter(|_| self.wiring.gated_bias);
            let mut next = graph.convolve(parts, kernels, product, direct, None);
            if let Some(bias) = bias.filter(|_| !self.wiring.gated_bias) {
                let bias = graph.gather(bias, &[batch, d, len], |at| {
                    self.flat(n - 1, at / len % d % head_dim)
                });
                let ungated = graph.multiply(bias, v);
                next = graph.add(next, ungated);
            }
            v = next;
            graph.stage(format!("v.{n}"), v, &SIGNAL);
        }
        let last = match self.wiring.gates_descend {
            true => 0,
            false => self.order - 1,
        };
        let mixed = match self.wiring.last_gate {
            true => {
                let gate = signal(graph, last);
                graph.multiply(v, gate)
            }
            false => v,
        };
        let mixed = graph.transpose(mixed);
        graph.stage("mixed", mixed, &TOKENS);
        let (weight, bias) = (
            given(graph, "out_proj.weight")?,
            given(graph, "out_proj.bias"),
        );
        graph.result = graph.linear(mixed, weight, bias);
        graph.stage("output", graph.result, &TOKENS);
        Some(())
    }

    fn seq_len(&self) -> usize {
        self.sizes()[1]
    }

    fn describe(&self) -> String {
        let [batch, len, d, l_max] = self.sizes();
        format!(
            "order {}, d_model {d}, {} heads, l_max {l_max}, filters {} from {} sines, shift {}, input \
             [{batch}, {len}, {d}]",
            self.order, self.heads, self.layout, self.sines, self.shift,
        )
    }

    fn is_projected(stage: &str) -> bool {
        matches!(stage, "projected" | "output")
    }

    fn mistakes(backward: bool) -> &'static [Row<GraphHook<Self>>] {
        match backward {
            true => backward::ROWS,
            false => forward::ROWS,
        }
    }
}
