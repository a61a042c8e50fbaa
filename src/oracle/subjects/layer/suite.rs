//! The layers of the golden suite: small cases, each for a reason, made from a seed.

use super::super::round_to_16_bits::round_to_16_bits;
use super::case::LayerCase;
use crate::algebra::{Ball, Matrix, Real, Rng};
use crate::error::Error;
use crate::h3::{Config, HeadOrder, LayerState, Name, Parameters, RealType};
use crate::into_vec::IntoVec as _;
use crate::oracle::sequence::{Schedule, Sequence};
use crate::oracle::subject::SuiteRow;
use crate::ssm::{Discretization, Padding};
use crate::tensor::Tensor;
use num_complex::Complex;

/// The factor by which the input is larger at padding, where it must not matter.
const LARGE: f64 = 65536.0;

/// One layer of the suite.
struct LayerRow {
    name: &'static str,
    stresses: &'static str,
    config: Config,
    batch: usize,
    seq_len: usize,
    /// Inputs before the first one of the case: the case begins from a state.
    position: Option<usize>,
    dt: (f64, f64),
    /// States are saved after every chunk of this length.
    chunk_len: Option<usize>,
    /// The one model that is not the identity, if there is only one.
    isolated: Option<Isolated>,
    /// Parameters, inputs and states need all 24 bits of binary32.
    fine: bool,
    served: Option<Served>,
    /// Final states have cotangents, and the output has none if they are alone.
    states: bool,
    alone: bool,
}

/// The sequences in the rows of a case.
#[derive(Clone, Copy)]
enum Served {
    /// Documents of these lengths.
    Packed(&'static [usize]),
    /// Padded rows of these lengths.
    Padded(&'static [usize], Padding),
    /// A schedule.
    Scheduled(&'static str),
}

impl Served {
    fn sequence(self, len: usize) -> Result<Sequence, Error> {
        match self {
            Self::Packed(lengths) => {
                let ends = lengths.iter().scan(0, |end, len| {
                    *end += len;
                    Some(*end)
                });
                Ok(Sequence::Packed([0].into_iter().chain(ends).into_vec()))
            }
            Self::Padded(lengths, padding) => Ok(Sequence::Padded(lengths.to_vec(), padding)),
            Self::Scheduled(text) => Schedule::parse(text, None, len).map(Sequence::Scheduled),
        }
    }
}

/// A layer in which all but one model is the identity, so that a stage is that model alone.
#[derive(Clone, Copy, PartialEq)]
enum Isolated {
    /// `shift_k` is the shift model of the input, and `kv` and everything after it repeat it.
    Shift,
    /// `kv` is the input, `ssm_out` the diagonal model of it.
    Diagonal,
}

/// The layers of the suite, in order. The numbers are d, d_h, m; B, L.
#[rustfmt::skip]
fn rows() -> Vec<LayerRow> {
    use Isolated::{Diagonal, Shift};
    let row = LayerRow::new;
    vec![
        row("01-basic", "head_dim 1, bilinear: begin here", [4, 1, 6], [2, 21]),
        row("02-zoh", "zero-order hold", [4, 1, 6], [2, 21]).zoh(),
        row("03-heads", "head_dim 2, channels d2 * H + h", [6, 2, 6], [2, 19]),
        row("04-heads-hd2", "head_dim 2, channels h * head_dim + d2", [6, 2, 6], [2, 19]).hd2(),
        row("05-heads-8", "head_dim 8, two heads, zero-order hold", [16, 8, 4], [1, 13]).zoh(),
        row("06-shared", "four heads share two models", [4, 1, 6], [1, 23]).n_ssm(2),
        row("07-shared-all", "all heads share one model", [6, 2, 8], [1, 17]).n_ssm(1),
        row("08-cut", "l_max below the length", [4, 1, 8], [2, 24]).l_max(9),
        row("09-cut-short", "l_max below the window, head_dim 2", [4, 2, 8], [1, 19]).l_max(5).zoh(),
        row("10-uncut", "l_max above the length: cuts nothing", [4, 1, 6], [1, 18]).l_max(64),
        row("11-one", "one token", [4, 2, 4], [2, 1]),
        row("12-two", "two tokens: the first with a past", [4, 1, 4], [2, 2]),
        row("13-short", "shorter than the window", [4, 1, 16], [2, 7]),
        row("14-window", "exactly the window", [4, 1, 8], [1, 8]),
        row("15-window-and-one", "the window begins to forget", [4, 1, 8], [1, 9]),
        row("16-prime", "a prime length", [4, 1, 6], [1, 31]),
        row("17-power", "a power of two: no slack in the padding", [4, 1, 8], [1, 32]),
        row("18-long", "long: 167 tokens, two channels", [2, 1, 8], [1, 167]),
        row("19-real-none", "real_type none", [4, 1, 6], [1, 16]).real(RealType::None),
        // Long steps, so that the 1e-4 this type adds to the real part is seen.
        row("20-real-relu", "real_type relu, zero-order hold, long steps", [4, 1, 6], [1, 16])
            .real(RealType::Relu).dt(1.0, 4.0).zoh(),
        row("21-real-sigmoid", "real_type sigmoid", [4, 1, 6], [1, 16]).real(RealType::Sigmoid),
        row("22-real-softplus", "real_type softplus", [4, 1, 6], [1, 16]).real(RealType::Softplus).zoh(),
        row("23-odd-state", "odd d_state: 5 taps, 2 modes", [4, 1, 5], [2, 15]),
        row("24-resumed", "goes on from a state", [4, 1, 6], [2, 14]).after(11),
        row("25-resumed-heads", "goes on from a state, head_dim 2", [4, 2, 6], [2, 14]).after(6).zoh(),
        row("26-batch", "three sequences", [3, 1, 4], [3, 11]),
        row("27-slow", "small steps: poles near the unit circle", [4, 1, 6], [1, 40]).dt(0.004, 0.03).zoh(),
        row("28-fast", "large steps: the discretizations far apart", [4, 1, 6], [1, 20]).dt(0.5, 1.5),
        row("29-one-channel", "one channel", [1, 1, 6], [1, 25]),
        row("30-one-mode", "two taps, one mode", [3, 1, 2], [1, 20]),
        row("31-shift-alone", "the shift model on its own", [2, 1, 7], [1, 26]).isolated(Shift),
        row("32-shift-alone-resumed", "the shift model from a state", [2, 1, 7], [1, 18])
            .isolated(Shift).after(9),
        row("33-diagonal-alone", "the diagonal model on its own", [2, 1, 8], [1, 26]).isolated(Diagonal),
        row("34-diagonal-alone-resumed", "the diagonal model from a state", [2, 1, 8], [1, 18])
            .isolated(Diagonal).after(9).zoh(),
        row("35-diagonal-alone-long", "one long convolution", [1, 1, 16], [1, 600])
            .isolated(Diagonal).dt(0.01, 0.02),
        row("36-chunks", "FlashConv: the states after every chunk of 8", [4, 1, 6], [2, 32]).chunks(8),
        row("37-chunks-ragged", "chunks of 5, the last one of 3, head_dim 2, resumed", [4, 2, 6], [1, 23])
            .chunks(5).after(4),
        row("38-stream", "the states after every token", [3, 1, 4], [1, 9]).chunks(1).zoh(),
        // What a product drops that rounds its factors, as in TF32, is seen where they have more bits.
        row("44-fine", "numbers of 24 bits: TF32 shows from q on", [4, 1, 6], [1, 21]).fine(),
        row("45-fine-heads", "24 bits, head_dim 2, zero-order hold", [6, 2, 6], [1, 19]).zoh().fine(),
        row("46-fine-chunks", "24 bits, shared models, chunks of 6, goes on from a state", [4, 1, 6], [1, 20])
            .n_ssm(2).chunks(6).after(7).fine(),
        row("47-fine-cut", "24 bits, l_max below the length, head_dim 2, real_type softplus", [4, 2, 8], [1, 24])
            .l_max(9).real(RealType::Softplus).fine(),
        row("48-fine-slow", "24 bits, small steps", [4, 1, 8], [1, 48]).dt(0.004, 0.03).fine(),
        row("49-long-gradients", "1024 tokens with gradients, long memory", [2, 1, 8], [1, 1024]).dt(0.002, 0.05),
        // As they are served. Documents of one token, shorter than the window, ending where a chunk of 8 does.
        row("72-packed", "documents of 5, 1, 10 and 8 tokens in one row", [4, 1, 6], [1, 24])
            .served(Served::Packed(&[5, 1, 10, 8])),
        row("73-packed-heads", "documents of 3, 8, 1 and 7 tokens, head_dim 2, zero-order hold", [4, 2, 6], [1, 19])
            .served(Served::Packed(&[3, 8, 1, 7])).zoh(),
        row("74-packed-resumed", "documents of 4, 9 and 6 tokens, each from a state; cotangents of final states too", [4, 1, 6], [1, 19])
            .served(Served::Packed(&[4, 9, 6])).after(5).states(),
        row("75-padded-right", "rows of 6, 13, 1 tokens, large numbers after them", [4, 1, 6], [3, 13])
            .served(Served::Padded(&[6, 13, 1], Padding::Right)),
        row("76-padded-left", "rows of 5, 12, 9 tokens, large numbers before them, head_dim 2", [4, 2, 6], [3, 12])
            .served(Served::Padded(&[5, 12, 9], Padding::Left)).zoh(),
        row("77-schedule", "a prompt of 7, 3 steps, 4 at once, 2 steps", [4, 1, 6], [2, 16])
            .served(Served::Scheduled("prompt=7,steps=3,chunk=4,steps=2")),
        row("78-schedule-short", "a prompt of 1 and chunks shorter than the window, head_dim 2, resumed", [4, 2, 8], [1, 9])
            .served(Served::Scheduled("prompt=1,chunk=3,steps=3,chunk=2")).after(4),
        row("79-cotangents", "cotangents of final states alone, from a state", [4, 1, 6], [2, 12]).after(7).states().alone(),
    ]
}

/// The layers of the suite, in order.
pub(crate) fn suite() -> Vec<SuiteRow<LayerCase>> {
    let rows = rows().into_iter();
    rows.map(|row| SuiteRow::new(row.name, row.stresses, move |seed| row.build(seed)))
        .into_vec()
}

/// The choices of a row that differ from the usual ones.
macro_rules! choices {
    ($($name:ident($($value:ident: $type:ty),*) $place:ident $(. $field:ident)? = $expression:expr;)+) => {
        $(fn $name(mut self, $($value: $type),*) -> Self {
            self.$place$(.$field)? = $expression;
            self
        })+
    };
}

impl LayerRow {
    fn new(
        name: &'static str,
        stresses: &'static str,
        [d_model, head_dim, d_state]: [usize; 3],
        [batch, seq_len]: [usize; 2],
    ) -> Self {
        Self {
            name,
            stresses,
            config: Config {
                d_model,
                head_dim,
                d_state,
                n_ssm: d_model / head_dim,
                disc: Discretization::Bilinear,
                real_type: RealType::Exp,
                l_max: None,
                head_order: HeadOrder::D2H,
            },
            batch,
            seq_len,
            position: None,
            dt: (0.05, 0.5),
            chunk_len: None,
            isolated: None,
            fine: false,
            served: None,
            states: false,
            alone: false,
        }
    }

    choices! {
        zoh() config.disc = Discretization::ZeroOrderHold;
        hd2() config.head_order = HeadOrder::HD2;
        n_ssm(n_ssm: usize) config.n_ssm = n_ssm;
        real(real_type: RealType) config.real_type = real_type;
        l_max(l_max: usize) config.l_max = Some(l_max);
        dt(least: f64, most: f64) dt = (least, most);
        after(position: usize) position = Some(position);
        chunks(chunk_len: usize) chunk_len = Some(chunk_len);
        isolated(model: Isolated) isolated = Some(model);
        fine() fine = true;
        served(served: Served) served = Some(served);
        states() states = true;
        alone() alone = true;
    }

    /// The case made from a seed: the same on every machine.
    ///
    /// Every parameter, input and state is a number that F16 and BF16 hold exactly, so that no
    /// port begins with a rounding; in fine cases one that only F32 and F64 hold.
    fn build(&self, seed: u64) -> Result<LayerCase, Error> {
        let rng = &mut Rng::named(seed, self.name);
        let config = &self.config;
        let round = if self.fine {
            to_24_bits
        } else {
            round_to_16_bits
        };
        let parameters = Parameters::new(config.clone(), |name| {
            let size = name.shape(config).iter().product();
            let drawn = (0..size).map(|_| round(random_parameter(config, self.dt, name, rng)));
            let drawn: Vec<f64> = drawn.into_vec();
            let fixed = self.isolated.and_then(|isolated| isolated.fixes(name));
            Ok(fixed.map_or(drawn, |fixed| fixed(config)))
        })?;
        let mut random = |len: usize, size: f64| -> Vec<f64> {
            (0..len).map(|_| round(size * rng.unit())).into_vec()
        };
        let (batch, d, d_h) = (self.batch, config.d_model, config.head_dim);
        let tokens = [batch, self.seq_len, d];
        let len = tokens.iter().product();
        let mut input = Tensor::new(tokens, random(len, 1.5))?;
        let g = Tensor::new(tokens, random(len, 1.0))?;
        let sequence = self.served.map(|served| served.sequence(self.seq_len));
        let sequence = sequence.transpose()?.unwrap_or(Sequence::Whole);
        let documents = sequence.documents(batch, self.seq_len)?;
        for (b, i) in documents.padding() {
            let row = input.row_mut(b * self.seq_len + i);
            row.iter_mut().for_each(|x| *x *= LARGE);
        }
        let mut case = LayerCase::new(parameters, input)?.with_sequence(sequence)?;
        if !self.alone {
            case = case.with_cotangent(g)?;
        }
        if let Some(chunk_len) = self.chunk_len {
            case = case.with_chunk_len(chunk_len)?;
        }
        let each = documents.count();
        let keys = [each, d, config.d_state];
        let modes = [each, d_h, d_h, config.n_heads(), config.n_modes()];
        let mut state = |position| -> Result<LayerState<f64>, Error> {
            let shift = Tensor::new(keys, random(keys.iter().product(), 1.0))?;
            let parts = random(2 * modes.iter().product::<usize>(), 1.0);
            let pairs = parts.chunks_exact(2).map(|z| Complex::new(z[0], z[1]));
            Ok(LayerState {
                shift,
                diagonal: Tensor::new(modes, pairs.into_vec())?,
                position,
            })
        };
        if let Some(position) = self.position {
            case = case.with_state(state(position)?)?;
        }
        if self.states {
            case = case.with_state_cotangent(state(0)?)?;
        }
        Ok(case)
    }
}

/// A random value of one parameter, in a range where every part of the layer matters.
pub(crate) fn random_parameter(config: &Config, dt: (f64, f64), name: Name, rng: &mut Rng) -> f64 {
    let unit = rng.unit();
    // Uniform between two numbers.
    let between = |low: f64, high: f64| low + (high - low) * (0.5 + 0.5 * unit);
    match name {
        Name::QWeight | Name::KWeight | Name::VWeight | Name::OutputWeight => {
            // Of the variance that keeps a projection's output as large as its input.
            unit * (3.0 / config.d_model as f64).sqrt()
        }
        Name::QBias | Name::KBias | Name::VBias | Name::OutputBias => 0.6 * unit,
        Name::ShiftB | Name::ShiftC | Name::ShiftD | Name::D => unit,
        Name::B | Name::C => 1.5 * unit,
        Name::LogDt => {
            // Uniform between the logarithms of the ends, by the crate's own logarithm: the
            // same on every machine.
            let ln = |x: f64| Ball::from_f64(x - 1.0).ln_1p().to_f64();
            between(ln(dt.0), ln(dt.1))
        }
        Name::InvAReal => match config.real_type {
            RealType::Exp => between(-2.0, 0.5),
            _ => between(0.1, 1.2),
        },
        Name::AImag => {
            let size = between(0.5, 6.0);
            if rng.next_u64() >> 63 == 0 {
                size
            } else {
                -size
            }
        }
    }
}

/// A number next to `x` of which binary32 needs every bit.
fn to_24_bits(x: f64) -> f64 {
    f64::from(f32::from_bits((x as f32).to_bits() | 1))
}

impl Isolated {
    /// The value of a parameter that is not random.
    fn fixes(self, name: Name) -> Option<fn(&Config) -> Vec<f64>> {
        let ones: fn(&Config) -> Vec<f64> = |config| vec![1.0; config.d_model];
        match (self, name) {
            // q = v = 1, and k and the output are the input and the gated stage themselves.
            (_, Name::QWeight | Name::VWeight) => Some(|c| vec![0.0; c.d_model * c.d_model]),
            (_, Name::KWeight | Name::OutputWeight) => {
                Some(|c| Matrix::identity(c.d_model).entries().to_vec())
            }
            (_, Name::QBias | Name::VBias) => Some(ones),
            (_, Name::KBias | Name::OutputBias) => Some(|c| vec![0.0; c.d_model]),
            // The other model: no kernel, and a skip of one.
            (Self::Shift, Name::C) => Some(|c| vec![0.0; c.n_heads() * c.n_modes() * 2]),
            (Self::Shift, Name::D) => Some(|c| vec![1.0; c.n_heads()]),
            (Self::Diagonal, Name::ShiftC) => Some(|c| vec![0.0; c.d_model * c.d_state]),
            (Self::Diagonal, Name::ShiftD) => Some(ones),
            _ => None,
        }
    }
}
