//! The operators of StripedHyena 1 and 2 as subjects (togethercomputer/stripedhyena
//! `stripedhyena/model.py`, Zymrael/vortex `vortex/model/model.py`: `ParallelGatedConvBlock` without norm,
//! residual and MLP).

mod backward;
mod case;
mod decoding;
mod forward;
mod official;
mod read;
mod suite;

pub(crate) use case::StripedHyenaCase;
pub(crate) use official::OFFICIAL;
pub(crate) use suite::suite;

use super::graph::{Convolve, Function, Graph, GraphCase, GraphHook, Id, Inputs, Modes, Op};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::Row;
use crate::oracle::stage::Axis;
use crate::safetensors::Tensors;
use case::{
    Gates, LOG_POLES, Operator, POLES, RESIDUES, SHORT, SHORT_BIAS, SIGNAL, SKIP, TAPS, TOKENS,
    WEIGHT,
};

/// The stage that the inner filter is on the way to.
const INNER: &str = "filtered";

impl StripedHyenaCase {
    /// The filter of every channel, and the poles from which it is computed.
    fn filter(&self, graph: &mut Graph) -> Option<(Id, Option<[Id; 2]>)> {
        let [_, len, d] = self.sizes();
        let given = |graph: &mut Graph, name: &str| graph.given(&self.inputs, name);
        let poles = match self.operator {
            Operator::Sh1 => given(graph, POLES)?,
            Operator::Hcl => {
                let logarithms = given(graph, LOG_POLES)?;
                let shape = graph.shape(logarithms).to_vec();
                graph.node(Op::Function(Function::Exp), &[logarithms], &shape)
            }
            Operator::Hcm | Operator::Hcs => {
                let taps = given(graph, TAPS)?;
                let count = *graph.shape(taps).last()?;
                let filter = graph.gather(taps, &[d, count], |at| {
                    self.group(at / count) * count + at % count
                });
                graph.kernel_stage("filter", filter, &[Axis::Channel, Axis::Tap]);
                return Some((filter, None));
            }
        };
        let residues = given(graph, RESIDUES)?;
        let modes = self.modes("filter");
        let groups = self.groups();
        let len = graph.longest(len);
        let kernels = graph.node(Op::ModesKernel(modes), &[poles, residues], &[groups, len]);
        let filter = graph.gather(kernels, &[d, len], |at| {
            self.group(at / len) * len + at % len
        });
        graph.kernel_stage("filter", filter, &[Axis::Channel, Axis::Time]);
        Some((filter, Some([poles, residues])))
    }

    fn modes(&self, at: &'static str) -> Modes {
        let [_, _, d] = self.sizes();
        let residues = self.inputs.get(RESIDUES);
        Modes {
            at,
            state: residues.map_or(0, |x| x.shape()[1]),
            complex: self.operator == Operator::Sh1,
            models: (0..d).map(|c| self.group(c)).into_vec(),
            times: self.wiring.times,
        }
    }

    /// The states from which decoding continues, with the axes of each: the last raw projections,
    /// and the modes or the last inputs of the inner filter.
    fn states(
        &self,
        graph: &mut Graph,
        ([raw, filter, p], short_taps): ([Id; 3], usize),
        modes: Option<[Id; 2]>,
    ) -> Option<[(&'static str, Id, Vec<Axis>); 2]> {
        let of_documents = self.inputs.document_axis();
        let window = vec![of_documents, Axis::Channel, Axis::Tap];
        let fir = graph.last(raw, short_taps - 1);
        let inner = match modes {
            Some([poles, residues]) => {
                let parts = self.modes("state.iir");
                let mut axes = vec![of_documents, Axis::Channel, Axis::Mode];
                axes.extend(parts.complex.then_some(Axis::RealImaginary));
                let state = graph.modes_state(parts, &[poles, residues, filter, p]);
                ("state.iir", state, axes)
            }
            None => {
                let taps = *graph.shape(filter).last()?;
                let state = graph.last(p, taps - 1);
                ("state.fir_inner", state, window.clone())
            }
        };
        Some([("state.fir", fir, window), inner])
    }

    /// `F(p)`, its feedthrough included.
    fn filtered(
        &self,
        graph: &mut Graph,
        [filter, p, v]: [Id; 3],
        modes: Option<[Id; 2]>,
    ) -> Option<Id> {
        let [batch, len, d] = self.sizes();
        let skip = graph.given(&self.inputs, SKIP);
        let direct = skip.filter(|_| self.wiring.gated_skip);
        let shape = [batch, d, len];
        let filtered = match modes {
            Some([poles, residues]) => {
                let of = [poles, residues, filter, p].into_iter().chain(direct);
                graph.node(Op::ModesFilter(self.modes(INNER)), &of.into_vec(), &shape)
            }
            None => {
                let each: Vec<usize> = (0..d).into_vec();
                let parts = Convolve {
                    at: INNER,
                    kernel: each.clone(),
                    feedthrough: Some(each),
                    bias: None,
                };
                // In hcs the last tap meets the present input.
                let correlates = (self.operator == Operator::Hcs) == self.wiring.inner_order;
                let taps = match correlates {
                    true => graph.reversed(filter),
                    false => filter,
                };
                graph.convolve(parts, taps, p, direct, None)
            }
        };
        let Some(skip) = skip.filter(|_| !self.wiring.gated_skip) else {
            return Some(filtered);
        };
        let skip = graph.gather(skip, &shape, |at| at / len % d);
        let ungated = graph.multiply(skip, v);
        Some(graph.add(filtered, ungated))
    }
}

impl GraphCase for StripedHyenaCase {
    const KIND: &'static str = "striped-hyena";
    const OPTIONAL: &'static [&'static str] = &[
        "projections.bias",
        SHORT_BIAS,
        SKIP,
        "out_filter_dense.bias",
        "g",
    ];

    fn read(file: &dyn Tensors) -> Result<Self, Error> {
        read::read(file)
    }

    fn choices(&self) -> Vec<(&'static str, String)> {
        vec![
            ("operator", self.operator.to_string()),
            ("layout", self.layout.to_string()),
            ("hyena_flip_x1x2", self.flip.to_string()),
            ("num_attention_heads", self.heads.to_string()),
        ]
    }

    fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    fn inputs_mut(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    fn build(&self, graph: &mut Graph) -> Option<()> {
        let [batch, len, d] = self.sizes();
        let given = |graph: &mut Graph, name: &str| graph.given(&self.inputs, name);
        let (input, weight) = (given(graph, "input")?, given(graph, WEIGHT)?);
        let bias = given(graph, "projections.bias");
        let projected = graph.linear(input, weight, bias);
        graph.stage("projected", projected, &TOKENS);
        let raw = graph.transpose(projected);

        let (taps, bias) = (given(graph, SHORT)?, given(graph, SHORT_BIAS));
        let count = *graph.shape(taps).last()?;
        let correlates = self.wiring.short_correlates;
        let short = graph.short_filters([taps, raw], bias, 3 * d, correlates)?;
        graph.stage("short", short, &SIGNAL);
        let [x2, x1, v] = [(0, "x2"), (1, "x1"), (2, "v")].map(|(which, name)| {
            let signal = graph.gather(short, &[batch, d, len], |at| {
                let (t, c, b) = (at % len, at / len % d, at / (len * d));
                (b * 3 * d + self.projection(which, c)) * len + t
            });
            graph.stage(name, signal, &SIGNAL);
            signal
        });
        let p = match self.wiring.gates {
            Gates::WithoutX1 => v,
            _ => graph.multiply(x1, v),
        };

        let (filter, modes) = self.filter(graph)?;
        let filtered = self.filtered(graph, [filter, p, v], modes)?;
        graph.stage(INNER, filtered, &SIGNAL);
        let gated = match self.wiring.gates {
            Gates::WithoutX2 => filtered,
            _ => graph.multiply(x2, filtered),
        };
        let gated = graph.transpose(gated);
        graph.stage("gated", gated, &TOKENS);
        let weight = given(graph, "out_filter_dense.weight")?;
        let bias = given(graph, "out_filter_dense.bias");
        graph.result = graph.linear(gated, weight, bias);
        graph.stage("output", graph.result, &TOKENS);

        for (name, node, axes) in self.states(graph, ([raw, filter, p], count), modes)? {
            graph.stage(name, node, &axes);
        }
        let marks = self.inputs.schedule().map(|known| &known.marks[..]);
        for &tokens in marks.unwrap_or_default() {
            let signals = [graph.cut(raw, tokens), filter, graph.cut(p, tokens)];
            for (name, node, axes) in self.states(graph, (signals, count), modes)? {
                graph.stage_at_mark(tokens, name, node, &axes);
            }
        }
        Some(())
    }

    fn seq_len(&self) -> usize {
        self.sizes()[1]
    }

    fn describe(&self) -> String {
        let [batch, len, d] = self.sizes();
        let filters = self.inputs.get(self.of_groups());
        let size = match self.operator.has_modes() {
            true => format!("{} modes", filters.map_or(0, |x| x.shape()[1])),
            false => format!("{} taps", filters.map_or(0, |x| x.shape()[2])),
        };
        format!(
            "{}, d_model {d}, {} filters of {size}, layout {}, input [{batch}, {len}, {d}]",
            self.operator,
            self.groups(),
            self.layout,
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
