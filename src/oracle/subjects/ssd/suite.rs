//! The SSD cases of the golden suite, made from a seed.

use super::super::round_to_16_bits::round_to_16_bits;
use super::case::SsdCase;
use crate::algebra::Rng;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::oracle::sequence::Sequence;
use crate::oracle::subject::SuiteRow;
use crate::ssm::Padding;
use crate::tensor::Tensor;

/// The decays of a case.
#[derive(Clone, Copy)]
enum Decays {
    /// Per head and step, with one reset to nearly nothing.
    PerStep,
    /// Per state channel too.
    PerChannel,
    /// None: log_a = 0.
    One,
}

/// One case; decays per state channel come in a row of documents. The sizes are batch, tokens, heads, P, groups, N.
struct SsdRow {
    name: &'static str,
    stresses: &'static str,
    sizes: [usize; 6],
    decays: Decays,
    /// The tokens of rows that have padding on the left.
    lengths: Option<[usize; 2]>,
    /// Numbers such that nothing rounds in any format.
    exact: bool,
}

/// The SSD cases of the suite, in order.
pub(crate) fn suite() -> Vec<SuiteRow<SsdCase>> {
    [
        SsdRow {
            name: "80-ssd",
            stresses: "SSD: two groups for four heads, D, an initial state, one decay near zero",
            sizes: [2, 19, 4, 3, 2, 5],
            decays: Decays::PerStep,
            lengths: None,
            exact: false,
        },
        SsdRow {
            name: "81-ssd-packed",
            stresses: "gated linear attention, one decay per state channel: three documents in a row",
            sizes: [1, 17, 2, 3, 2, 4],
            decays: Decays::PerChannel,
            lengths: None,
            exact: false,
        },
        SsdRow {
            name: "82-ssd-exact-bf16",
            stresses: "linear attention on small integers: nothing rounds in any format",
            sizes: [1, 8, 4, 2, 2, 2],
            decays: Decays::One,
            lengths: None,
            exact: true,
        },
        SsdRow {
            name: "82b-ssd-padded",
            stresses: "SSD on rows with padding on the left, from given states",
            sizes: [2, 11, 4, 2, 2, 3],
            decays: Decays::PerStep,
            lengths: Some([7, 10]),
            exact: false,
        },
    ]
    .map(|row| SuiteRow::new(row.name, row.stresses, move |seed| row.build(seed)))
    .into()
}

impl SsdRow {
    /// The case made from a seed: the same on every machine. F16 and BF16 hold every number.
    fn build(&self, seed: u64) -> Result<SsdCase, Error> {
        let rng = &mut Rng::named(seed, self.name);
        let [batch, len, heads, inputs, groups, state] = self.sizes;
        let mut draw = |shape: &[usize], size: f64, offset: f64| {
            let number = |rng: &mut Rng| match self.exact {
                // -1, 0 and 1.
                true => rng.below(3) as f64 - 1.0,
                false => round_to_16_bits(offset + size * rng.unit()),
            };
            let count = shape.iter().product();
            let data = (0..count).map(|_| number(rng)).into_vec();
            Tensor::new(shape, data)
        };
        let x = draw(&[batch, len, heads, inputs], 1.5, 0.0)?;
        let b = draw(&[batch, len, groups, state], 1.0, 0.0)?;
        let c = draw(&[batch, len, groups, state], 1.0, 0.0)?;
        let dt = draw(&[batch, len, heads], 0.4, 0.5)?;
        let decays = match self.decays {
            Decays::PerChannel => vec![batch, len, heads, state],
            _ => vec![batch, len, heads],
        };
        let mut log_a = draw(&decays, 0.25, -0.25)?;
        match self.decays {
            Decays::One => log_a = log_a.map(|_| 0.0),
            // One head forgets nearly everything in the middle of a chunk.
            Decays::PerStep => log_a.data_mut()[len / 2 * heads] = -30.0,
            Decays::PerChannel => {}
        }
        let documents = match self.decays {
            Decays::PerChannel => 3,
            _ => batch,
        };
        let of_state = [documents, heads, inputs, state];
        let d = draw(&[heads], 1.0, 0.0)?;
        let [initial, g_state] = [draw(&of_state, 1.0, 0.0)?, draw(&of_state, 1.0, 0.0)?];
        let g = draw(&[batch, len, heads, inputs], 1.0, 0.0)?;
        Ok(SsdCase {
            dt: matches!(self.decays, Decays::PerStep).then_some(dt),
            d: (!matches!(self.decays, Decays::PerChannel)).then_some(d),
            initial: Some(initial),
            g: Some(g),
            g_state: Some(g_state),
            sequence: match (self.decays, self.lengths) {
                (Decays::PerChannel, _) => Sequence::Packed(vec![0, 5, 6, len]),
                (_, Some(lengths)) => Sequence::Padded(lengths.into(), Padding::Left),
                _ => Sequence::Whole,
            },
            x,
            log_a,
            b,
            c,
        })
    }
}
