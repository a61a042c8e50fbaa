//! The exact layers of the golden suite: cases on which nothing rounds.

use super::case::LayerCase;
use super::exact::ExactLayer;
use crate::algebra::{FloatFormat, Rng};
use crate::h3::{Config, HeadOrder, RealType};
use crate::into_vec::IntoVec as _;
use crate::oracle::subject::SuiteRow;
use crate::ssm::Discretization;
use num_complex::Complex;

/// One exact layer of the suite.
struct ExactRow {
    name: &'static str,
    stresses: &'static str,
    layer: ExactLayer,
}

/// The exact layers of the suite, in order. The numbers are d, d_h, m; B, L.
#[rustfmt::skip]
fn rows() -> Vec<ExactRow> {
    const BF16: FloatFormat = FloatFormat::BF16;
    const F16: FloatFormat = FloatFormat::F16;
    const F32: FloatFormat = FloatFormat::F32;
    let [i, minus_i, one] = ExactLayer::ROTATIONS;
    let [minus_half, spiral] = ExactLayer::DECAYS;
    let turning = || ExactLayer::ROTATIONS.to_vec();
    let row = ExactRow::new;
    vec![
        row("50-exact-basic", "exact in bf16: begin here where a port works in 16 bits", BF16, [4, 1, 6], [1, 12]).poles(turning()),
        row("51-exact-heads", "exact in bf16, head_dim 2, channels d2 * H + h", BF16, [4, 2, 4], [1, 12]).poles(turning()),
        row("52-exact-heads-hd2", "exact in bf16, head_dim 2, channels h * head_dim + d2", BF16, [4, 2, 4], [1, 10]).poles(turning()).hd2(),
        row("53-exact-heads-4", "exact in bf16, one head of head_dim 4", BF16, [4, 4, 4], [1, 9]).poles(turning()),
        row("54-exact-shared", "exact in bf16, four heads share two models", BF16, [4, 1, 4], [1, 11]).poles(turning()).n_ssm(2),
        row("55-exact-batch", "exact in bf16, three sequences", BF16, [2, 1, 4], [3, 7]).poles(turning()),
        row("56-exact-cut", "exact in bf16, l_max below the length", BF16, [2, 1, 6], [1, 13]).poles(turning()).l_max(5),
        row("57-exact-short", "exact in bf16, shorter than the window", BF16, [2, 1, 16], [1, 6]),
        row("58-exact-resumed", "exact in bf16, goes on from a state, head_dim 2", BF16, [4, 2, 4], [1, 9]).poles(turning()).after(6),
        row("59-exact-chunks", "exact in bf16, the states after every chunk of 5, head_dim 2, resumed", BF16, [2, 2, 4], [1, 17]).poles(turning()).chunks(5).after(4),
        row("60-exact-decays", "exact in bf16, all five poles", BF16, [2, 1, 10], [1, 8]),
        row("61-exact-pole-i", "exact in bf16, the poles i and -i alone", BF16, [1, 1, 4], [1, 20]).poles(vec![i, minus_i]),
        row("62-exact-pole-1", "exact in bf16, the pole 1 alone: a sum", BF16, [1, 1, 2], [1, 20]).poles(vec![one]),
        row("63-exact-pole-half", "exact in bf16, the pole -1/2 alone", BF16, [1, 1, 2], [1, 7]).poles(vec![minus_half]),
        row("64-exact-pole-spiral", "exact in bf16, the pole (-1 + i)/2 alone", BF16, [1, 1, 2], [1, 6]).poles(vec![spiral]),
        row("65-exact-f16", "exact in f16", F16, [2, 1, 6], [1, 20]).poles(turning()),
        row("66-exact-f32", "exact in f32, all five poles, head_dim 2", F32, [2, 2, 10], [1, 16]),
        row("67-exact-f32-long", "exact in f32, long: 70 tokens", F32, [1, 1, 6], [1, 70]).poles(turning()),
    ]
}

/// The exact layers of the suite, in order.
pub(crate) fn exact_suite() -> Vec<SuiteRow<LayerCase>> {
    let rows = rows().into_iter();
    rows.map(|row| {
        SuiteRow::new(row.name, row.stresses, move |seed| {
            row.layer.find(&mut Rng::named(seed, row.name))
        })
    })
    .into_vec()
}

impl ExactRow {
    fn new(
        name: &'static str,
        stresses: &'static str,
        format: FloatFormat,
        [d_model, head_dim, d_state]: [usize; 3],
        [batch, seq_len]: [usize; 2],
    ) -> Self {
        let config = Config {
            d_model,
            head_dim,
            d_state,
            n_ssm: d_model / head_dim,
            disc: Discretization::Bilinear,
            real_type: RealType::None,
            l_max: None,
            head_order: HeadOrder::D2H,
        };
        let mut layer = ExactLayer::new(config, batch, seq_len, format);
        layer.gradients = Some(FloatFormat::F32);
        Self {
            name,
            stresses,
            layer,
        }
    }

    fn poles(mut self, poles: Vec<Complex<f64>>) -> Self {
        self.layer.poles = poles;
        self
    }

    fn hd2(mut self) -> Self {
        self.layer.config.head_order = HeadOrder::HD2;
        self
    }

    fn n_ssm(mut self, n_ssm: usize) -> Self {
        self.layer.config.n_ssm = n_ssm;
        self
    }

    fn l_max(mut self, l_max: usize) -> Self {
        self.layer.config.l_max = Some(l_max);
        self
    }

    fn after(mut self, position: usize) -> Self {
        self.layer.position = Some(position);
        self
    }

    fn chunks(mut self, chunk_len: usize) -> Self {
        self.layer.chunk_len = Some(chunk_len);
        self
    }
}
