//! The H3 operator as a subject: from `q`, `k`, `v` and kernels to the input of the output projection (official H3
//! `src/ops/fftconv.py`, `fftconv_h3_ref`).

mod backward;
mod case;
mod forward;
mod suite;

pub(crate) use case::H3OperatorCase;
pub(crate) use suite::suite;

use super::graph::{Convolve, Graph, GraphCase, GraphHook, Inputs};
use crate::error::Error;
use crate::h3::HeadOrder;
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::Row;
use crate::oracle::read::{check_size, optional};
use crate::oracle::stage::Axis;
use crate::safetensors::Tensors;
use case::{Query, SIGNAL};

impl GraphCase for H3OperatorCase {
    const KIND: &'static str = "h3-operator";
    const OPTIONAL: &'static [&'static str] = &["D", "shift_kernel", "ssm_k_D", "g"];

    fn read(file: &dyn Tensors) -> Result<Self, Error> {
        use Axis::{Channel, Head, Tap};
        let mut inputs = Inputs::default();
        let signal @ [batch, d, len] = inputs.sizes(file, "k")?;
        let [heads, taps] = inputs.sizes(file, "ssm_kernel")?;
        if !d.is_multiple_of(heads) {
            return Err(Error::shape(
                "tensor \"ssm_kernel\"",
                format_args!(
                    "one kernel per head, of which the {d} channels of \"k\" are a multiple"
                ),
                format_args!("{heads} kernels"),
            ));
        }
        for name in ["k", "q", "v"] {
            inputs.read(file, name, &signal, &SIGNAL)?;
        }
        inputs.read(file, "ssm_kernel", &[heads, taps], &[Head, Tap])?;
        inputs.read_optional(file, "D", &[heads], &[Head])?;
        let mut shift_taps = None;
        if file.find("shift_kernel").is_some() {
            let [_, taps] = inputs.sizes(file, "shift_kernel")?;
            shift_taps = Some(taps);
            inputs.read(file, "shift_kernel", &[d, taps], &[Channel, Tap])?;
            inputs.read_optional(file, "ssm_k_D", &[d], &[Channel])?;
        } else if file.find("ssm_k_D").is_some() {
            return Err(Error::missing(
                "tensor \"shift_kernel\", to which \"ssm_k_D\" belongs",
            ));
        }
        inputs.read_cotangent(file, &signal, &SIGNAL)?;
        inputs.read_sequence(file, "k", [batch, len])?;
        let strings = file.metadata();
        for (key, size) in [
            ("B", batch),
            ("H", heads),
            ("L", len),
            ("d_model", d),
            ("head_dim", d / heads),
            ("ssm_kernel_len", taps),
        ] {
            check_size(strings, key, size, false)?;
        }
        check_size(
            strings,
            "shift_kernel_len",
            shift_taps.unwrap_or(0),
            shift_taps.is_none(),
        )?;
        let case = Self::new(inputs);
        Ok(Self {
            head_order: optional(strings, "head_order")?.unwrap_or(case.head_order),
            ..case
        })
    }

    fn choices(&self) -> Vec<(&'static str, String)> {
        vec![("head_order", self.head_order.to_string())]
    }

    fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    fn inputs_mut(&mut self) -> &mut Inputs {
        &mut self.inputs
    }

    fn build(&self, graph: &mut Graph) -> Option<()> {
        use Axis::{Head, KeyChannel, Sequence, Time, ValueChannel};
        let [batch, d, len, heads] = self.sizes();
        let head_dim = d / heads.max(1);
        let mut given = |name: &str| graph.given(&self.inputs, name);
        let (k, q, v) = (given("k")?, given("q")?, given("v")?);
        let (kernel, d_of_heads) = (given("ssm_kernel")?, given("D"));
        let (shift_kernel, d_of_keys) = (given("shift_kernel"), given("ssm_k_D"));
        let each: Vec<usize> = (0..d).into_vec();
        let shift_k = shift_kernel.map_or(k, |kernel| {
            let parts = Convolve {
                at: "shift_k",
                kernel: each.clone(),
                feedthrough: Some(each.clone()),
                bias: None,
            };
            graph.convolve(parts, kernel, k, d_of_keys, None)
        });
        graph.stage("shift_k", shift_k, &SIGNAL);

        // Place of a pair (b, d1, d2, h, t) in an array (batch, d, seq_len), by head channel.
        let pairs = [batch, head_dim, head_dim, heads, len];
        let place = |at: usize, by_key: bool| {
            let (t, h) = (at % len, at / len % heads);
            let (d2, d1) = (
                at / (len * heads) % head_dim,
                at / (len * heads * head_dim) % head_dim,
            );
            let b = at / (len * heads * head_dim * head_dim);
            let i = if by_key { d1 } else { d2 };
            (b * d + h * head_dim + i) * len + t
        };
        let keys = graph.gather(shift_k, &pairs, |at| place(at, true));
        let values = graph.gather(v, &pairs, |at| place(at, false));
        let kv = graph.multiply(keys, values);
        let axes = [Sequence, KeyChannel, ValueChannel, Head, Time];
        graph.stage("kv", kv, &axes);
        let of_row = |row: usize| match self.heads_repeated {
            true => row / (head_dim * head_dim),
            false => row % heads,
        };
        let of_heads: Vec<usize> = (0..head_dim * head_dim * heads).map(of_row).into_vec();
        let parts = Convolve {
            at: "ssm_out",
            kernel: of_heads.clone(),
            feedthrough: Some(of_heads),
            bias: None,
        };
        let ssm_out = graph.convolve(parts, kernel, kv, d_of_heads, None);
        graph.stage("ssm_out", ssm_out, &axes);

        // gated[h, i] = sum_j q[h, j] ssm_out[j, i, h].
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for at in 0..batch * d * len {
            let (t, c, b) = (at % len, at / len % d, at / (len * d));
            let (h, i) = match self.head_order {
                HeadOrder::HD2 => (c / head_dim, c % head_dim),
                HeadOrder::D2H => (c % heads, c / heads),
            };
            for j in 0..head_dim {
                let (d1, d2) = match self.query {
                    Query::Key => (j, i),
                    Query::Value => (i, j),
                };
                left.push((b * d + h * head_dim + j) * len + t);
                right.push((((b * head_dim + d1) * head_dim + d2) * heads + h) * len + t);
            }
        }
        let gated = graph.contract(head_dim, [(q, left), (ssm_out, right)], &[batch, d, len]);
        graph.stage("gated", gated, &SIGNAL);
        graph.result = gated;
        Some(())
    }

    fn seq_len(&self) -> usize {
        self.sizes()[2]
    }

    fn describe(&self) -> String {
        let [batch, d, len, heads] = self.sizes();
        let shift = self.inputs.get("shift_kernel").map(|x| x.shape()[1]);
        let shift = shift.map_or("no shift".into(), |taps| format!("a shift of {taps} taps"));
        let taps = self.inputs.get("ssm_kernel").map_or(0, |x| x.shape()[1]);
        format!(
            "{batch} sequences of {len} tokens, {heads} heads of {} channels, {shift}, kernels of {taps} \
             taps, gated in the order {}",
            d / heads.max(1),
            self.head_order,
        )
    }

    fn mistakes(backward: bool) -> &'static [Row<GraphHook<Self>>] {
        match backward {
            true => backward::ROWS,
            false => forward::ROWS,
        }
    }
}
