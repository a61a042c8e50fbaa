//! An SSD case: what it is given, and its stages in any scalars.

use crate::algebra::{Matrix, Real};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::mamba::{Back, GroupOf, Place, Respond, Ssd, group_of, skip, skip_gradient};
use crate::oracle::read::{Strings, check_size, demand_tensors, read_axes, read_optional};
use crate::oracle::sequence::{Sequence, check_initial_state, mark_name};
use crate::oracle::subject::{Given, Named};
use crate::safetensors::Tensors;
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// The SSD operator, gated linear attention, retention or linear attention on given operands:
///
/// ```text
/// S_t = exp(log_a_t) S_(t-1) + (dt_t x_t) B_t^T        y_t = S_t C_t + D x_t
/// ```
///
/// Files hold `x` (batch, seq_len, heads, P), `log_a` (batch, seq_len, heads), or with an axis N
/// more one decay per state channel, `B` and `C` (batch, seq_len, groups, N), where there are any
/// `dt` (batch, seq_len, heads), `D` (heads), `initial_state` (documents, heads, P, N) and the
/// cotangents `g` (as x) and `g.final_state`, and metadata `kind` = `ssd`. The stages are `y` (as x)
/// and `final_state`.
#[derive(Clone, Debug)]
pub(crate) struct SsdCase {
    pub(super) x: Tensor<f64>,
    pub(super) dt: Option<Tensor<f64>>,
    pub(super) log_a: Tensor<f64>,
    pub(super) b: Tensor<f64>,
    pub(super) c: Tensor<f64>,
    pub(super) d: Option<Tensor<f64>>,
    pub(super) initial: Option<Tensor<f64>>,
    pub(super) g: Option<Tensor<f64>>,
    pub(super) g_state: Option<Tensor<f64>>,
    pub(super) sequence: Sequence,
}

/// The decays that metadata may state, and the operators that have them.
const DECAYS: [(&str, &str); 4] = [
    ("per_head_and_step", "ssd"),
    ("per_channel", "gated_linear_attention"),
    ("constant", "retention"),
    ("one", "linear_attention"),
];

/// The operands of a case in the scalars of a precision.
pub(super) struct Operands<T> {
    pub(super) ssd: Ssd<T>,
    pub(super) log_a: Tensor<T>,
    pub(super) d: Option<Vec<T>>,
    pub(super) initial: Tensor<T>,
    pub(super) documents: Documents,
}

impl SsdCase {
    pub(super) fn read(file: &dyn Tensors) -> Result<Self, Error> {
        demand_tensors(file, ["x", "log_a", "B", "C"])?;
        let of = |name: &str, axes: usize| read_axes(file, name, axes);
        let optional_of = |name: &str, shape: &[usize]| read_optional(file, name, shape);
        let (x, b, c) = (of("x", 4)?, of("B", 4)?, of("C", 4)?);
        // Both have the states' axis. Where they differ, nothing is to be measured by either.
        if b.shape() != c.shape() {
            let got = format_args!("{:?} and {:?}", b.shape(), c.shape());
            return Err(Error::shape("tensors \"B\" and \"C\"", "one shape", got));
        }
        let decays = file.find("log_a").map_or(3, |(_, shape)| shape.len());
        let log_a = of("log_a", decays.clamp(3, 4))?;
        let (batch, len, heads, inputs) = (x.shape()[0], x.shape()[1], x.shape()[2], x.shape()[3]);
        let sequence = Sequence::read(file, "x", [batch, len])?;
        let documents = sequence.documents(batch, len)?.count();
        let states = [documents, heads, inputs, b.shape()[3]];
        let case = Self {
            dt: optional_of("dt", &[batch, len, heads])?,
            d: optional_of("D", &[heads])?,
            initial: optional_of("initial_state", &states)?,
            g: optional_of("g", x.shape())?,
            g_state: optional_of("g.final_state", &states)?,
            x,
            log_a,
            b,
            c,
            sequence,
        };
        case.operands::<f64>().ssd.check()?;
        case.check_stated(file)?;
        Ok(case)
    }

    /// Holds what the metadata says against what there is.
    fn check_stated(&self, file: &dyn Tensors) -> Result<(), Error> {
        let strings = file.metadata();
        let (x, b) = (self.x.shape(), self.b.shape());
        for (key, size) in [
            ("B", x[0]),
            ("L", x[1]),
            ("n_heads", x[2]),
            ("head_dim", x[3]),
            ("n_groups", b[2]),
            ("d_state", b[3]),
        ] {
            check_size(strings, key, size, false)?;
        }
        match (strings.get("D").map(String::as_str), self.d.is_some()) {
            (None, _) | (Some("present"), true) | (Some("none"), false) => {}
            (Some(stated @ ("present" | "none")), _) => {
                let why = format!("says {stated:?}, and the tensors say otherwise");
                return Err(Error::value("metadata D", why));
            }
            (Some(other), _) => {
                return Err(Error::unknown("metadata D", other, ["present", "none"]));
            }
        }
        check_initial_state(strings, "initial_state", self.initial.is_some())?;
        if let Some(stated) = strings.get("normalizer")
            && stated != "none"
        {
            let why = format!("{stated:?}; expected none: the outputs are not divided by a sum");
            return Err(Error::value("metadata normalizer", why));
        }
        if let Some(scale) = strings.get("scale")
            // A word on it may follow.
            && scale.split_whitespace().next().and_then(|x| x.parse().ok()) != Some(1.0)
        {
            let why = format!("{scale:?}; expected 1: C is used as stored");
            return Err(Error::value("metadata scale", why));
        }
        self.check_decay(strings, "decay", DECAYS.map(|(decay, _)| decay))?;
        self.check_decay(strings, "operator", DECAYS.map(|(_, operator)| operator))
    }

    /// Holds what one key says of the decays, in words for each of [`DECAYS`], against them.
    fn check_decay(&self, strings: &Strings, key: &str, words: [&str; 4]) -> Result<(), Error> {
        let Some(stated) = strings.get(key) else {
            return Ok(());
        };
        let axes = self.log_a.shape().len();
        let holds = match words.iter().position(|word| word == stated) {
            Some(0) => axes == 3,
            Some(1) => axes == 4,
            Some(2) => self.decay_is_constant(),
            Some(_) => self.log_a.data().iter().all(|&x| x == 0.0),
            None => return Err(Error::unknown(format!("metadata {key}"), stated, words)),
        };
        match holds {
            true => Ok(()),
            false => Err(Error::value(
                format!("metadata {key}"),
                format!("says {stated:?}, and tensor \"log_a\" holds others"),
            )),
        }
    }

    fn decay_is_constant(&self) -> bool {
        let shape = self.log_a.shape();
        let each: usize = shape[2..].iter().product();
        let mut rows = self.log_a.data().chunks_exact(each);
        let first = rows.next().unwrap_or_default();
        rows.all(|row| row == first)
    }

    pub(super) fn given(&self) -> Vec<Given> {
        let optional = [
            ("dt", &self.dt),
            ("D", &self.d),
            ("initial_state", &self.initial),
            ("g", &self.g),
            ("g.final_state", &self.g_state),
        ];
        let operands = [
            ("x", &self.x),
            ("log_a", &self.log_a),
            ("B", &self.b),
            ("C", &self.c),
        ];
        let mut given: Vec<Given> = operands
            .map(|(name, tensor)| Given::tensor(name, tensor).by_token())
            .into();
        for (name, tensor) in optional {
            let made = tensor.iter().map(|tensor| Given::tensor(name, tensor));
            given.extend(made.map(|given| match name {
                "dt" | "g" => given.by_token(),
                _ => given,
            }));
        }
        given.extend(self.sequence.given());
        given
    }

    pub(super) fn has_cotangent(&self) -> bool {
        self.g.is_some() || self.g_state.is_some()
    }

    pub(super) fn documents(&self) -> Documents {
        let (batch, len) = (self.x.shape()[0], self.x.shape()[1]);
        self.sequence.checked_documents(batch, len)
    }

    pub(super) fn operands<T: Real>(&self) -> Operands<T> {
        let into = |x: &Tensor<f64>| x.map(T::from_f64);
        let log_a = into(&self.log_a);
        let documents = self.documents();
        let s = [self.x.shape()[2], self.x.shape()[3], self.b.shape()[3]];
        let zero = || Tensor::filled([documents.count(), s[0], s[1], s[2]], T::ZERO);
        Operands {
            ssd: Ssd {
                x: into(&self.x),
                dt: self.dt.as_ref().map(into),
                a: log_a.map(T::exp),
                b: into(&self.b),
                c: into(&self.c),
            },
            log_a,
            d: self.d.as_ref().map(|d| into(d).into_data()),
            initial: self.initial.as_ref().map_or_else(zero, into),
            documents,
        }
    }

    /// The stages of the forward pass, given how heads respond, and what D multiplies if not x.
    pub(super) fn forward<T: Real>(
        &self,
        of: &Operands<T>,
        group_of: GroupOf,
        respond: Respond<'_, T>,
        skipped: Option<Tensor<T>>,
    ) -> Result<Named<T>, Error> {
        let (mut y, state) = of
            .ssd
            .respond(&of.documents, &of.initial, group_of, respond)?;
        if let Some(d) = &of.d {
            y = skip(&y, skipped.as_ref().unwrap_or(&of.ssd.x), d)?;
        }
        self.documents().clear_padding(&mut y);
        let mut stages = vec![("y".into(), y), ("final_state".into(), state)];
        if let Some(schedule) = self.sequence.schedule() {
            for &tokens in &schedule.marks {
                let part = of.ssd.tokens(0..tokens)?;
                let whole = Documents::whole(self.x.shape()[0], tokens);
                let (_, state) = part.respond(&whole, &of.initial, group_of, respond)?;
                stages.push((mark_name(tokens, "final_state"), state));
            }
        }
        Ok(stages)
    }

    /// The gradients of `<g, y> + <g.final_state, final_state>`, given those of heads.
    pub(super) fn gradients<T: Real>(
        &self,
        of: &Operands<T>,
        back: Back<'_, T>,
    ) -> Result<Named<T>, Error> {
        if !self.has_cotangent() {
            return Err(Error::missing(
                "tensor \"g\" (or \"g.final_state\"), the cotangent to run back from",
            ));
        }
        let cotangent = |g: &Option<Tensor<f64>>, like: &Tensor<T>| match g {
            Some(g) => g.map(T::from_f64),
            None => like.map(|_| T::ZERO),
        };
        let mut g = cotangent(&self.g, &of.ssd.x);
        self.documents().clear_padding(&mut g);
        let mut g_state = cotangent(&self.g_state, &of.initial);
        if g_state.shape() != of.initial.shape() {
            g_state = of.initial.map(|_| T::ZERO);
        }
        let sum = of
            .ssd
            .gradients(&of.documents, &of.initial, (&g, &g_state), back)?;
        let mut x = sum.x;
        let mut named = vec![("grad.B", sum.b), ("grad.C", sum.c)];
        if let Some(d) = &of.d {
            x = skip(&x, &g, d)?;
            let gradient = skip_gradient(&g, &of.ssd.x, d)?;
            named.push(("grad.D", Tensor::new([d.len()], gradient)?));
        }
        named.extend(sum.dt.map(|dt| ("grad.dt", dt)));
        if self.initial.is_some() {
            named.push(("grad.initial_state", sum.state));
        }
        named.extend([("grad.log_a", sum.log_a), ("grad.x", x)]);
        let named = named.into_iter();
        Ok(named.map(|(name, x)| (name.to_string(), x)).into_vec())
    }

    /// Every stage, given how heads respond and go back.
    pub(super) fn assemble<T: Real>(
        &self,
        of: &Operands<T>,
        gradients: bool,
        respond: Respond<'_, T>,
        back: Back<'_, T>,
    ) -> Result<Named<T>, Error> {
        let mut stages = self.forward(of, group_of, respond, None)?;
        if gradients {
            stages.extend(self.gradients(of, back)?);
        }
        Ok(stages)
    }
}

impl<T: Real> Operands<T> {
    /// The operands with every row as one sequence, from the state of its first document.
    pub(super) fn into_one_sequence(mut self) -> Result<Self, Error> {
        let (batch, shape) = (self.documents.batch(), self.initial.shape());
        let each: usize = shape[1..].iter().product();
        let shape = [&[batch], &shape[1..]].concat();
        let first = (0..batch).flat_map(|row| {
            let at = self.documents.numbers(row).start * each;
            self.initial.data()[at..at + each].iter().copied()
        });
        self.initial = Tensor::new(shape, first.into_vec())?;
        self.documents = Documents::whole(batch, self.documents.seq_len());
        Ok(self)
    }

    /// The logarithms of a head's decays: tokens x 1 or x N.
    pub(super) fn log_a_of(&self, place: &Place) -> Matrix<T> {
        let shape = self.log_a.shape();
        let (len, heads) = (shape[1], shape[2]);
        let width = shape.get(3).copied().unwrap_or(1);
        Matrix::from_fn(place.tokens.len(), width, |t, n| {
            let token = place.row * len + place.tokens.start + t;
            self.log_a.data()[(token * heads + place.head) * width + n]
        })
    }
}
