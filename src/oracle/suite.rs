//! The golden suite: small cases, each for a reason, made from a seed.

use super::case::{Case, FORMAT};
use crate::algebra::{Matrix, Real, Rng};
use crate::error::Error;
use crate::h3::{Config, HeadOrder, Name, RealType};
use crate::safetensors::{Dtype, FloatFormat, SafeTensors, Writer};
use crate::ssm::Discretization;

/// The seed of version 1 of the suite.
pub const SUITE_SEED: u64 = 0x4833;

/// One case of the suite.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SuiteCase {
    /// The file's name without its ending.
    pub name: &'static str,
    /// Why the case is there.
    pub stresses: &'static str,
    config: Config,
    batch: usize,
    seq_len: usize,
    /// Inputs before the first one of the case: the case begins from a state.
    position: Option<usize>,
    dt: (f64, f64),
    /// States are saved after every chunk of this length.
    chunk_len: Option<usize>,
    /// Which of the layer's models is left on its own, if one is.
    alone: Option<Alone>,
}

/// A layer in which all but one model is the identity, so that a stage is that model alone.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Alone {
    /// `shift_k` is the shift model of the input, and `kv` and everything after it repeat it.
    Shift,
    /// `kv` is the input, `ssm_out` the diagonal model of it.
    Diagonal,
}

/// The cases of the suite, in order.
#[must_use]
pub fn suite() -> Vec<SuiteCase> {
    use Discretization::{Bilinear, ZeroOrderHold};
    let case = |name, stresses, (d, d_h, m): (usize, usize, usize), batch, seq_len| SuiteCase {
        name,
        stresses,
        config: Config {
            d_model: d,
            head_dim: d_h,
            d_state: m,
            n_ssm: d / d_h,
            disc: Bilinear,
            real_type: RealType::Exp,
            l_max: None,
            head_order: HeadOrder::D2H,
        },
        batch,
        seq_len,
        position: None,
        dt: (0.05, 0.5),
        chunk_len: None,
        alone: None,
    };
    let with = |mut case: SuiteCase, change: fn(&mut SuiteCase)| {
        change(&mut case);
        case
    };
    vec![
        case(
            "01-basic",
            "head_dim 1, bilinear: begin here",
            (4, 1, 6),
            2,
            21,
        ),
        with(case("02-zoh", "zero-order hold", (4, 1, 6), 2, 21), |c| {
            c.config.disc = ZeroOrderHold;
        }),
        case(
            "03-heads",
            "head_dim 2, channels d2 * H + h",
            (6, 2, 6),
            2,
            19,
        ),
        with(
            case(
                "04-heads-hd2",
                "head_dim 2, channels h * head_dim + d2",
                (6, 2, 6),
                2,
                19,
            ),
            |c| {
                c.config.head_order = HeadOrder::HD2;
            },
        ),
        with(
            case(
                "05-heads-8",
                "head_dim 8, two heads, zero-order hold",
                (16, 8, 4),
                1,
                13,
            ),
            |c| {
                c.config.disc = ZeroOrderHold;
            },
        ),
        with(
            case("06-shared", "four heads share two models", (4, 1, 6), 1, 23),
            |c| {
                c.config.n_ssm = 2;
            },
        ),
        with(
            case(
                "07-shared-all",
                "all heads share one model",
                (6, 2, 8),
                1,
                17,
            ),
            |c| {
                c.config.n_ssm = 1;
            },
        ),
        with(
            case("08-cut", "l_max below the length", (4, 1, 8), 2, 24),
            |c| {
                c.config.l_max = Some(9);
            },
        ),
        with(
            case(
                "09-cut-short",
                "l_max below the window, head_dim 2",
                (4, 2, 8),
                1,
                19,
            ),
            |c| {
                c.config.l_max = Some(5);
                c.config.disc = ZeroOrderHold;
            },
        ),
        with(
            case(
                "10-uncut",
                "l_max above the length: cuts nothing",
                (4, 1, 6),
                1,
                18,
            ),
            |c| {
                c.config.l_max = Some(64);
            },
        ),
        case("11-one", "one token", (4, 2, 4), 2, 1),
        case(
            "12-two",
            "two tokens: the first with a past",
            (4, 1, 4),
            2,
            2,
        ),
        case("13-short", "shorter than the window", (4, 1, 16), 2, 7),
        case("14-window", "exactly the window", (4, 1, 8), 1, 8),
        case(
            "15-window-and-one",
            "the window begins to forget",
            (4, 1, 8),
            1,
            9,
        ),
        case("16-prime", "a prime length", (4, 1, 6), 1, 31),
        case(
            "17-power",
            "a power of two: no slack in the padding",
            (4, 1, 8),
            1,
            32,
        ),
        case(
            "18-long",
            "long: 167 tokens, two channels",
            (2, 1, 8),
            1,
            167,
        ),
        with(
            case("19-real-none", "real_type none", (4, 1, 6), 1, 16),
            |c| {
                c.config.real_type = RealType::None;
            },
        ),
        with(
            case(
                "20-real-relu",
                "real_type relu, zero-order hold, long steps",
                (4, 1, 6),
                1,
                16,
            ),
            |c| {
                c.config.real_type = RealType::Relu;
                // Long steps, so that the 1e-4 this type adds to the real part is seen.
                c.dt = (1.0, 4.0);
                c.config.disc = ZeroOrderHold;
            },
        ),
        with(
            case("21-real-sigmoid", "real_type sigmoid", (4, 1, 6), 1, 16),
            |c| {
                c.config.real_type = RealType::Sigmoid;
            },
        ),
        with(
            case("22-real-softplus", "real_type softplus", (4, 1, 6), 1, 16),
            |c| {
                c.config.real_type = RealType::Softplus;
                c.config.disc = ZeroOrderHold;
            },
        ),
        case(
            "23-odd-state",
            "odd d_state: 5 taps, 2 modes",
            (4, 1, 5),
            2,
            15,
        ),
        with(
            case("24-resumed", "goes on from a state", (4, 1, 6), 2, 14),
            |c| {
                c.position = Some(11);
            },
        ),
        with(
            case(
                "25-resumed-heads",
                "goes on from a state, head_dim 2",
                (4, 2, 6),
                2,
                14,
            ),
            |c| {
                c.position = Some(6);
                c.config.disc = ZeroOrderHold;
            },
        ),
        case("26-batch", "three sequences", (3, 1, 4), 3, 11),
        with(
            case(
                "27-slow",
                "small steps: poles near the unit circle",
                (4, 1, 6),
                1,
                40,
            ),
            |c| {
                c.dt = (0.004, 0.03);
                c.config.disc = ZeroOrderHold;
            },
        ),
        with(
            case(
                "28-fast",
                "large steps: the discretizations far apart",
                (4, 1, 6),
                1,
                20,
            ),
            |c| {
                c.dt = (0.5, 1.5);
            },
        ),
        case("29-one-channel", "one channel", (1, 1, 6), 1, 25),
        case("30-one-mode", "two taps, one mode", (3, 1, 2), 1, 20),
        with(
            case(
                "31-shift-alone",
                "the shift model on its own",
                (2, 1, 7),
                1,
                26,
            ),
            |c| {
                c.alone = Some(Alone::Shift);
            },
        ),
        with(
            case(
                "32-shift-alone-resumed",
                "the shift model from a state",
                (2, 1, 7),
                1,
                18,
            ),
            |c| {
                c.alone = Some(Alone::Shift);
                c.position = Some(9);
            },
        ),
        with(
            case(
                "33-diagonal-alone",
                "the diagonal model on its own",
                (2, 1, 8),
                1,
                26,
            ),
            |c| {
                c.alone = Some(Alone::Diagonal);
            },
        ),
        with(
            case(
                "34-diagonal-alone-resumed",
                "the diagonal model from a state",
                (2, 1, 8),
                1,
                18,
            ),
            |c| {
                c.alone = Some(Alone::Diagonal);
                c.position = Some(9);
                c.config.disc = ZeroOrderHold;
            },
        ),
        with(
            case(
                "35-diagonal-alone-long",
                "one long convolution",
                (1, 1, 16),
                1,
                600,
            ),
            |c| {
                c.alone = Some(Alone::Diagonal);
                c.dt = (0.01, 0.02);
            },
        ),
        with(
            case(
                "36-chunks",
                "FlashConv: the states after every chunk of 8",
                (4, 1, 6),
                2,
                32,
            ),
            |c| {
                c.chunk_len = Some(8);
            },
        ),
        with(
            case(
                "37-chunks-ragged",
                "chunks of 5, the last one of 3, head_dim 2, resumed",
                (4, 2, 6),
                1,
                23,
            ),
            |c| {
                c.chunk_len = Some(5);
                c.position = Some(4);
            },
        ),
        with(
            case("38-stream", "the states after every token", (3, 1, 4), 1, 9),
            |c| {
                c.chunk_len = Some(1);
                c.config.disc = ZeroOrderHold;
            },
        ),
    ]
}

impl SuiteCase {
    /// The case made from a seed: the same on every machine.
    ///
    /// Every parameter, input and state is a number that F16 and BF16 hold exactly, so that no
    /// port begins with a rounding.
    ///
    /// # Errors
    ///
    /// Never for the cases of [`suite`]; the file's own checks are passed on.
    pub fn build(&self, seed: u64) -> Result<Case, Error> {
        let rng = &mut random_numbers(self.name, seed);
        let config = &self.config;
        let mut writer = Writer::new();
        let l_max = config.l_max.map_or("none".into(), |l| l.to_string());
        for (key, value) in [
            ("format", FORMAT.to_string()),
            ("head_dim", config.head_dim.to_string()),
            ("disc", config.disc.to_string()),
            ("real_type", config.real_type.to_string()),
            ("l_max", l_max),
            ("head_order", config.head_order.to_string()),
        ] {
            writer.metadata(key, &value)?;
        }
        for name in Name::ALL {
            let shape = name.shape(config);
            let size = shape.iter().product();
            let drawn = (0..size).map(|_| random_parameter(config, self.dt, name, rng));
            let mut values: Vec<f64> = drawn.collect();
            if let Some(fixed) = self.alone.and_then(|alone| alone.fixes(name)) {
                values = fixed(config);
            }
            writer.add(name.official(), Dtype::F64, &shape, &values)?;
        }
        if let Some(chunk_len) = self.chunk_len {
            writer.metadata("chunk_len", &chunk_len.to_string())?;
        }
        let mut random = |writer: &mut Writer, name: &str, shape: &[usize], size: f64| {
            let len = shape.iter().product();
            let values: Vec<f64> = (0..len).map(|_| held(size * rng.unit())).collect();
            writer.add(name, Dtype::F64, shape, &values).map(|_| ())
        };
        let (batch, d, d_h) = (self.batch, config.d_model, config.head_dim);
        random(&mut writer, "input", &[batch, self.seq_len, d], 1.5)?;
        random(&mut writer, "g", &[batch, self.seq_len, d], 1.0)?;
        if let Some(position) = self.position {
            writer.metadata("position", &position.to_string())?;
            let pairs = batch * d_h * d_h;
            let shape = [pairs, config.n_heads(), config.n_modes(), 2];
            random(
                &mut writer,
                "initial_state_k",
                &[batch, d, config.d_state],
                1.0,
            )?;
            random(&mut writer, "initial_state", &shape, 1.0)?;
        }
        Case::from_file(SafeTensors::from_bytes(writer.to_bytes()?)?)
    }
}

/// A random value of one parameter, in a range where every part of the layer matters.
pub(super) fn random_parameter(config: &Config, dt: (f64, f64), name: Name, rng: &mut Rng) -> f64 {
    let unit = rng.unit();
    // Uniform between two numbers.
    let between = |low: f64, high: f64| low + (high - low) * (0.5 + 0.5 * unit);
    held(match name {
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
            let ln = |x: f64| crate::algebra::Ball::from_f64(x - 1.0).ln_1p().to_f64();
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
    })
}

impl Alone {
    /// The value of a parameter that is not left random.
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

/// The random numbers of a case: of its own, so that no other case changes them.
pub(super) fn random_numbers(name: &str, seed: u64) -> Rng {
    Rng::new(name.bytes().fold(seed, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    }))
}

/// The nearest number that F16 and BF16 both hold.
pub(super) fn held(x: f64) -> f64 {
    FloatFormat::BF16.round(FloatFormat::F16.round(x))
}
