//! A Mamba-2 layer's case: what it is given.

use crate::algebra::Real;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::mamba::{GatedNorm, Mamba2Config, Mamba2Name, Mamba2Parameters, Mamba2States};
use crate::oracle::read::{
    Strings, check_choice, check_size, demand, flag, metadata, optional, read_optional,
    read_tensor, required, shape_of,
};
use crate::oracle::sequence::{Sequence, check_initial_state};
use crate::oracle::subject::{Given, Subject};
use crate::safetensors::Tensors;
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// A Mamba-2 layer with its input.
///
/// Files hold the parameters under their official names, `input` (batch, seq_len, d_model), where
/// there are any the states before it as `initial_conv_state` (documents, conv_dim, K) and
/// `initial_ssm_state` (documents, heads, P, N), the cotangents `g`, `g.conv_state` and
/// `g.ssm_state`, and `step_input` (batch, steps, d_model), tokens that are fed one by one after
/// `input`; and metadata `kind` = `mamba2`, `ngroups`, `headdim`, `norm_before_gate`, `norm_eps`,
/// `norm_groups`, `dt_limit`.
#[derive(Clone, Debug)]
pub(crate) struct Mamba2Case {
    pub(super) parameters: Mamba2Parameters<f64>,
    pub(super) input: Tensor<f64>,
    pub(super) steps: Option<Tensor<f64>>,
    pub(super) initial: Option<Mamba2States<f64>>,
    pub(super) g: Option<Tensor<f64>>,
    pub(super) g_states: [Option<Tensor<f64>>; 2],
    pub(super) sequence: Sequence,
}

/// The smallest and the largest step, `0.0,inf`.
fn read_limit(strings: &Strings) -> Result<(f64, f64), Error> {
    let Some(stated) = strings.get("dt_limit") else {
        return Ok((0.0, f64::INFINITY));
    };
    let number = |x: &str| x.trim().parse::<f64>().ok();
    let pair = stated.split_once(',');
    let pair = pair.and_then(|(low, high)| Some((number(low)?, number(high)?)));
    match pair {
        Some((low, high)) if low.is_finite() && low <= high => Ok((low, high)),
        _ => Err(Error::value(
            "metadata dt_limit",
            format!("{stated:?}; expected two numbers, the smaller first, such as 0.0,inf"),
        )),
    }
}

/// The tensors that say how large a layer is.
const SIZED_BY: [&str; 6] = [
    "in_proj.weight",
    "conv1d.weight",
    "dt_bias",
    "norm.weight",
    "D",
    "out_proj.weight",
];

fn read_config(file: &dyn Tensors) -> Result<Mamba2Config, Error> {
    let strings = file.metadata();
    let heads = shape_of(file, "dt_bias", 1)?[0];
    let (in_proj, out_proj) = (
        shape_of(file, "in_proj.weight", 2)?,
        shape_of(file, "out_proj.weight", 2)?,
    );
    let conv = shape_of(file, "conv1d.weight", 3)?;
    let is_there = |name: Mamba2Name| file.find(name.official()).is_some();
    let has_norm = is_there(Mamba2Name::NormWeight);
    // The official functional forms and the module disagree on what norm_before_gate is by default.
    let of_norm = if has_norm {
        "norm_before_gate"
    } else {
        "headdim"
    };
    demand(strings, &["ngroups", of_norm])?;
    let d_ssm = match has_norm {
        true => shape_of(file, "norm.weight", 1)?[0],
        false => heads.saturating_mul(required(strings, "headdim")?),
    };
    let groups: usize = required(strings, "ngroups")?;
    let refused = |what: String| Err(Error::value("the tensors' shapes", what));
    let positive = [heads, d_ssm, groups, in_proj[1], conv[2]];
    if positive.contains(&0) || !d_ssm.is_multiple_of(heads) || !heads.is_multiple_of(groups) {
        return refused(format!(
            "{heads} heads (dt_bias), {d_ssm} channels (norm.weight, or heads times headdim), {groups} \
             groups; expected groups that divide the heads, and heads that divide the channels"
        ));
    }
    let of_groups = conv[0].checked_sub(d_ssm);
    let of_groups = of_groups.filter(|of| of.is_multiple_of(2 * groups) && *of > 0);
    let Some(of_groups) = of_groups else {
        return refused(format!(
            "{} channels of the convolution (conv1d.weight), {d_ssm} of them x (norm.weight, or heads times \
             headdim); expected B and C of {groups} groups in addition",
            conv[0]
        ));
    };
    let Some(d_mlp) = out_proj[1].checked_sub(d_ssm) else {
        return refused(format!(
            "out_proj.weight reads {} channels; expected at least {d_ssm} (norm.weight, or heads times headdim)",
            out_proj[1]
        ));
    };
    let d = shape_of(file, "D", 1)?[0];
    let norm = match has_norm {
        false => None,
        true => Some(GatedNorm {
            groups: match strings.get("norm_groups") {
                None => groups,
                Some(_) => required(strings, "norm_groups")?,
            },
            eps: optional(strings, "norm_eps")?.unwrap_or(1e-5),
            before_gate: flag(strings, "norm_before_gate")?.unwrap_or_default(),
        }),
    };
    if let Some(norm) = &norm
        && (norm.groups == 0 || !d_ssm.is_multiple_of(norm.groups))
    {
        let why = format!("{}; expected a divisor of {d_ssm}", norm.groups);
        return Err(Error::value("metadata norm_groups", why));
    }
    if let Some(norm) = &norm
        && !(norm.eps.is_finite() && norm.eps >= 0.0)
    {
        let why = format!("{}; expected a number from 0", norm.eps);
        return Err(Error::value("metadata norm_eps", why));
    }
    let config = Mamba2Config {
        d_model: in_proj[1],
        heads,
        head_dim: d_ssm / heads,
        groups,
        d_state: of_groups / 2 / groups,
        d_conv: conv[2],
        d_mlp,
        norm,
        dt_limit: read_limit(strings)?,
        d_has_hdim: d == d_ssm && d != heads,
        bias: [
            is_there(Mamba2Name::InBias),
            is_there(Mamba2Name::ConvBias),
            is_there(Mamba2Name::OutBias),
        ],
    };
    check_stated(strings, &config, d_ssm == heads)?;
    Ok(config)
}

/// Holds what the metadata says against what the tensors do.
fn check_stated(strings: &Strings, c: &Mamba2Config, one_channel: bool) -> Result<(), Error> {
    for (key, size) in [
        ("d_model", c.d_model),
        ("n_heads", c.heads),
        ("headdim", c.head_dim),
        ("d_ssm", c.d_ssm()),
        ("d_state", c.d_state),
        ("d_conv", c.d_conv),
        ("d_mlp", c.d_mlp),
    ] {
        check_size(strings, key, size, false)?;
    }
    let [in_bias, conv_bias, _] = c.bias;
    for (key, is) in [
        ("rmsnorm", c.norm.is_some()),
        ("D_has_hdim", c.d_has_hdim),
        ("conv_bias", conv_bias),
        ("bias", in_bias),
    ] {
        // One channel a head has one D, whichever way it is counted.
        if key != "D_has_hdim" || !one_channel {
            check_choice(strings, key, is)?;
        }
    }
    match strings
        .contains_key("activation")
        .then(|| metadata(strings, "activation"))
    {
        None | Some(Ok("silu" | "swish")) => Ok(()),
        Some(other) => Err(Error::unknown(
            "metadata activation",
            other?,
            ["silu", "swish"],
        )),
    }
}

/// The names of states in files, before the input, as cotangents.
pub(super) const INITIAL: [&str; 2] = ["initial_conv_state", "initial_ssm_state"];
pub(super) const COTANGENTS: [&str; 2] = ["g.conv_state", "g.ssm_state"];

impl Mamba2Case {
    pub(super) fn read(file: &dyn Tensors) -> Result<Self, Error> {
        let config = read_config(file)?;
        let tensor = |name: &str, shape: &[usize]| {
            let sizes = SIZED_BY.into_iter();
            let sizes = sizes.filter_map(|name| Some((name, file.find(name)?.1)));
            read_tensor(file, name, shape).map_err(|error| error.sized_by(sizes))
        };
        let parameters = Mamba2Parameters::new(config.clone(), |name, shape| {
            tensor(name.official(), shape).map(Tensor::into_data)
        })?;
        let shape = shape_of(file, "input", 3)?;
        let (batch, len) = (shape[0], shape[1]);
        if batch == 0 || len == 0 {
            let expected = format_args!("sequences of at least one token");
            let got = format_args!("shape {shape:?}");
            return Err(Error::shape("tensor \"input\"", expected, got));
        }
        let input = tensor("input", &[batch, len, config.d_model])?;
        let strings = file.metadata();
        check_size(strings, "B", batch, false)?;
        check_size(strings, "L", len, false)?;
        let sequence = Sequence::read(file, "input", [batch, len])?;
        let documents = sequence.documents(batch, len)?.count();
        let like = Mamba2States::<f64>::zero(&config, documents);
        let shapes = [like.conv.shape(), like.ssm.shape()];
        let states = |names: [&str; 2]| -> Result<[Option<Tensor<f64>>; 2], Error> {
            Ok([
                read_optional(file, names[0], shapes[0])?,
                read_optional(file, names[1], shapes[1])?,
            ])
        };
        let initial = match states(INITIAL)? {
            [None, None] => None,
            [conv, ssm] => Some(Mamba2States {
                conv: conv.unwrap_or(like.conv.clone()),
                ssm: ssm.unwrap_or(like.ssm.clone()),
            }),
        };
        check_initial_state(strings, INITIAL[1], initial.is_some())?;
        let steps = match file.find("step_input") {
            None => None,
            Some(_) => {
                let shape = shape_of(file, "step_input", 3)?;
                if documents != batch {
                    return Err(Error::unsupported(
                        "tensor \"step_input\": tokens after a row of documents belong to none",
                    ));
                }
                let count = shape[1];
                let steps = tensor("step_input", &[batch, count, config.d_model])?;
                (count > 0).then_some(steps)
            }
        };
        let count = steps.as_ref().map_or(0, |steps| steps.shape()[1]);
        check_size(strings, "steps", count, false)?;
        Ok(Self {
            g: read_optional(file, "g", input.shape())?,
            g_states: states(COTANGENTS)?,
            parameters,
            input,
            steps,
            initial,
            sequence,
        })
    }

    pub(super) fn metadata(&self) -> Vec<(String, String)> {
        let c = &self.parameters.config;
        let mut strings: Vec<(String, String)> = vec![
            ("kind".into(), Self::KIND.into()),
            ("headdim".into(), c.head_dim.to_string()),
            ("ngroups".into(), c.groups.to_string()),
            ("rmsnorm".into(), c.norm.is_some().to_string()),
            (
                "dt_limit".into(),
                format!("{:?},{:?}", c.dt_limit.0, c.dt_limit.1),
            ),
        ];
        if let Some(norm) = &c.norm {
            strings.extend([
                ("norm_groups".into(), norm.groups.to_string()),
                ("norm_eps".into(), format!("{:?}", norm.eps)),
                ("norm_before_gate".into(), norm.before_gate.to_string()),
            ]);
        }
        if self.initial.is_some() {
            strings.push(("initial_state".into(), "given".into()));
        }
        let of_states = self.g_states.iter().any(Option::is_some);
        strings.extend(self.sequence.metadata(of_states));
        strings
    }

    pub(super) fn given(&self) -> Vec<Given> {
        let c = &self.parameters.config;
        let names = Mamba2Name::ALL.into_iter().filter_map(|name| {
            let values = self.parameters.get(name);
            Some(Given::numbers(name.official(), &name.shape(c)?, values))
        });
        let mut given: Vec<Given> = names.into_vec();
        let of = |name: &str, tensor: Option<&Tensor<f64>>| {
            tensor.map(|tensor| Given::tensor(name, tensor))
        };
        let initial = self.initial.as_ref();
        given.push(Given::tensor("input", &self.input).by_token());
        given.extend(of("step_input", self.steps.as_ref()));
        given.extend(of(INITIAL[0], initial.map(|states| &states.conv)));
        given.extend(of(INITIAL[1], initial.map(|states| &states.ssm)));
        given.extend(of("g", self.g.as_ref()).map(Given::by_token));
        given.extend(of(COTANGENTS[0], self.g_states[0].as_ref()));
        given.extend(of(COTANGENTS[1], self.g_states[1].as_ref()));
        given.extend(self.sequence.given());
        given
    }

    pub(super) fn has_cotangent(&self) -> bool {
        self.g.is_some() || self.g_states.iter().any(Option::is_some)
    }

    pub(super) fn documents(&self) -> Documents {
        let (batch, len) = (self.input.shape()[0], self.input.shape()[1]);
        self.sequence.checked_documents(batch, len)
    }

    pub(super) fn initial<T: Real>(&self) -> Mamba2States<T> {
        let zero = || Mamba2States::zero(&self.parameters.config, self.documents().count());
        let given = self.initial.as_ref();
        given.map_or_else(zero, |states| states.map(T::from_f64))
    }
}
