//! A long convolution as a subject: `y = postgate (k * p + D p)`, `p = pregate u` (official H3
//! `src/ops/fftconv.py`, flash-fft-conv).

mod backward;
mod case;
mod forward;
mod suite;

pub(crate) use case::ConvolutionCase;
pub(crate) use suite::suite;

use super::graph::{Convolve, Graph, GraphCase, GraphHook, Inputs};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::Row;
use crate::oracle::read::{check_choice, check_size};
use crate::oracle::stage::Axis;
use crate::safetensors::Tensors;
use case::{SIGNAL, Skip};

impl GraphCase for ConvolutionCase {
    const KIND: &'static str = "convolution";
    const OPTIONAL: &'static [&'static str] = &["D", "pregate", "postgate", "g"];

    fn read(file: &dyn Tensors) -> Result<Self, Error> {
        let mut inputs = Inputs::default();
        let signal @ [batch, channels, len] = inputs.sizes(file, "u")?;
        let [_, taps] = inputs.sizes(file, "k")?;
        inputs.read(file, "u", &signal, &SIGNAL)?;
        inputs.read(file, "k", &[channels, taps], &[Axis::Channel, Axis::Tap])?;
        inputs.read_optional(file, "D", &[channels], &[Axis::Channel])?;
        inputs.read_optional(file, "pregate", &signal, &SIGNAL)?;
        inputs.read_optional(file, "postgate", &signal, &SIGNAL)?;
        inputs.read_cotangent(file, &signal, &SIGNAL)?;
        inputs.read_sequence(file, "u", [batch, len])?;
        let strings = file.metadata();
        for (key, size) in [("B", batch), ("H", channels), ("L", len), ("K", taps)] {
            check_size(strings, key, size, false)?;
        }
        let gated = ["pregate", "postgate"]
            .iter()
            .any(|gate| inputs.get(gate).is_some());
        check_choice(strings, "gated", gated)?;
        check_choice(strings, "has_D", inputs.get("D").is_some())?;
        Ok(Self::new(inputs))
    }

    fn choices(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    fn inputs_mut(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    fn build(&self, graph: &mut Graph) -> Option<()> {
        let [_, channels, _] = self.sizes();
        let mut given = |name: &str| graph.given(&self.inputs, name);
        let (u, k) = (given("u")?, given("k")?);
        let (d, pregate, postgate) = (given("D"), given("pregate"), given("postgate"));
        let p = pregate.map_or(u, |gate| graph.multiply(gate, u));
        let each: Vec<usize> = (0..channels).into_vec();
        let parts = Convolve {
            at: "y",
            kernel: each.clone(),
            feedthrough: Some(each.clone()),
            bias: None,
        };
        let direct = (self.skip == Skip::Gated).then_some(d).flatten();
        let mut y = graph.convolve(parts, k, p, direct, None);
        // The other ways add a product of their own.
        let apart = |graph: &mut Graph, y, signal| {
            let Some(d) = d else { return y };
            let shape = graph.shape(y).to_vec();
            let (len, rows) = (shape[2], channels);
            let d = graph.gather(d, &shape, |at| at / len % rows);
            let skip = graph.multiply(d, signal);
            graph.add(y, skip)
        };
        if self.skip == Skip::Ungated {
            y = apart(graph, y, u);
        }
        y = postgate.map_or(y, |gate| graph.multiply(gate, y));
        if self.skip == Skip::AfterGate {
            y = apart(graph, y, p);
        }
        graph.stage("y", y, &SIGNAL);
        graph.result = y;
        Some(())
    }

    fn seq_len(&self) -> usize {
        self.sizes()[2]
    }

    fn describe(&self) -> String {
        let [batch, channels, len] = self.sizes();
        let taps = self.inputs.get("k").map_or(0, |k| k.shape()[1]);
        let with = |name: &str| match self.inputs.get(name) {
            Some(_) => format!(", {name}"),
            None => String::new(),
        };
        format!(
            "{batch} sequences of {len} tokens, {channels} channels, kernels of {taps} taps{}{}{}",
            with("D"),
            with("pregate"),
            with("postgate"),
        )
    }

    fn mistakes(backward: bool) -> &'static [Row<GraphHook<Self>>] {
        match backward {
            true => backward::ROWS,
            false => forward::ROWS,
        }
    }
}
