//! The optimizer in a file's metadata.

use crate::error::Error;
use crate::h3::Name;
use crate::into_vec::IntoVec as _;
use crate::model::{BlockName, ModelConfig, ModelName};
use crate::oracle::read::{Strings, optional};
use crate::safetensors::{Cursor, Malformed};
use crate::training::{
    AdamW, OptimizerOptions, ParameterGroup, Schedule, check_clip, official_groups,
};

/// The optimizer that the metadata describes.
///
/// | key | |
/// |---|---|
/// | `groups` | JSON, a list of objects `lr`, `weight_decay`, `betas`, `eps`, `parameters` (official names); absent: the official groups by the keys below |
/// | `lr` | needed where there are no `groups`: every experiment has its own |
/// | `weight_decay`, `betas`, `eps`, `ssm_lr` | absent: 0.1, `[0.9, 0.999]`, 1e-8, the lesser of 0.001 and `lr`, as H3's experiments |
/// | `lr_factors` | JSON, one factor a step; absent: the linear schedule of the next two |
/// | `warmup_steps`, `total_steps` | of a linear warmup and decay to zero; absent or `none`: a constant rate |
/// | `clip_global_norm` | absent or `none`: nothing is clipped |
/// | `optimizer` | `torch.optim.AdamW`, `AdamW` or `adamw` if it is there |
///
/// Two keys that say the same must agree: `lr`, `weight_decay`, `betas`
/// and `eps` with the first group, `ssm_lr` with the groups that hold `log_dt`, a linear schedule with the
/// factors. Other keys describe (`schedule`, `grouping`, `clip_rule`) and are not read, but where there are
/// neither factors nor steps `schedule` must be `constant`.
///
/// # Errors
///
/// Naming the key, and what was expected of it.
pub(super) fn read_optimizer(
    strings: &Strings,
    config: &ModelConfig,
    steps: usize,
) -> Result<AdamW, Error> {
    let known = ["torch.optim.AdamW", "AdamW", "adamw"];
    if let Some(name) = strings
        .get("optimizer")
        .filter(|name| !known.contains(&name.as_str()))
    {
        return Err(Error::unknown("metadata optimizer", name, known));
    }
    let groups = match strings.get("groups") {
        Some(text) => {
            let groups = read_groups(text, config)?;
            check_options(strings, &groups)?;
            groups
        }
        None => official_groups(config, &read_options(strings)?),
    };
    let of_key = |key: &str| {
        let what = format!("metadata {key}");
        move |e: Error| Error::value(what, e.to_string())
    };
    let clip = unless_none::<f64>(strings, "clip_global_norm")?;
    check_clip(clip).map_err(of_key("clip_global_norm"))?;
    let schedule = read_schedule(strings, steps)?;
    let key = match schedule {
        Schedule::Factors(_) => "lr_factors",
        _ => "warmup_steps",
    };
    schedule.check().map_err(of_key(key))?;
    let optimizer = AdamW::new(config, groups, schedule, clip);
    match strings.contains_key("groups") {
        true => optimizer.map_err(of_key("groups")),
        false => optimizer,
    }
}

/// The strings that [`read_optimizer`] reads.
pub(super) fn metadata(optimizer: &AdamW) -> Vec<(String, String)> {
    let group = |group: &ParameterGroup| {
        let names = group
            .parameters
            .iter()
            .map(|name| format!("{:?}", name.official()));
        let names: Vec<String> = names.into_vec();
        let ParameterGroup {
            rate,
            weight_decay,
            betas,
            epsilon,
            ..
        } = group;
        format!(
            "{{\"lr\": {rate:?}, \"weight_decay\": {weight_decay:?}, \"betas\": {betas:?}, \"eps\": {epsilon:?}, \
             \"parameters\": [{}]}}",
            names.join(", ")
        )
    };
    let groups: Vec<String> = optimizer.groups().iter().map(group).into_vec();
    let clip = optimizer
        .clip()
        .map_or("none".into(), |clip| format!("{clip:?}"));
    let mut strings = vec![
        ("optimizer", "torch.optim.AdamW".to_string()),
        ("groups", format!("[{}]", groups.join(", "))),
        ("clip_global_norm", clip),
    ];
    match optimizer.schedule() {
        Schedule::Factors(factors) => strings.push(("lr_factors", format!("{factors:?}"))),
        Schedule::Linear { warmup, total } => strings.extend([
            ("warmup_steps", warmup.to_string()),
            ("total_steps", total.to_string()),
        ]),
        // No other is read.
        _ => {}
    }
    strings
        .into_iter()
        .map(|(key, value)| (key.to_string(), value))
        .into_vec()
}

/// A metadata value that may be absent or `none`.
fn unless_none<V: core::str::FromStr>(strings: &Strings, key: &str) -> Result<Option<V>, Error>
where
    V::Err: core::fmt::Display,
{
    match strings.get(key).map(String::as_str) {
        Some("none" | "None") => Ok(None),
        _ => optional(strings, key),
    }
}

/// A list of numbers, as JSON.
fn numbers(key: &'static str, text: &str) -> Result<Vec<f64>, Error> {
    let mut cursor = Cursor::new(key, text);
    let numbers = cursor.numbers()?;
    cursor.end()?;
    Ok(numbers)
}

/// Two numbers.
fn pair(key: &'static str, text: &str) -> Result<[f64; 2], Error> {
    let found = numbers(key, text)?;
    let len = found.len();
    found
        .try_into()
        .map_err(|_| Error::shape(key, "two numbers", len))
}

fn read_options(strings: &Strings) -> Result<OptimizerOptions, Error> {
    let rate = optional(strings, "lr")?
        .ok_or_else(|| Error::missing("metadata lr (or groups, each with its own)"))?;
    let official = OptimizerOptions::official(rate);
    let number = |key, default| Ok::<f64, Error>(optional(strings, key)?.unwrap_or(default));
    let betas = strings
        .get("betas")
        .map(|text| pair("metadata betas", text));
    Ok(OptimizerOptions {
        weight_decay: number("weight_decay", official.weight_decay)?,
        betas: betas.transpose()?.unwrap_or(official.betas),
        epsilon: number("eps", official.epsilon)?,
        ssm_rate: number("ssm_lr", official.ssm_rate)?,
        ..official
    })
}

/// Holds what is said of all groups against the groups.
fn check_options(strings: &Strings, groups: &[ParameterGroup]) -> Result<(), Error> {
    let Some(first) = groups.first() else {
        return Ok(());
    };
    let says = |key: &str, stated: &dyn core::fmt::Debug, group: &dyn core::fmt::Debug| {
        let why = format!("says {stated:?}, but metadata groups {group:?}");
        Err(Error::value(format!("metadata {key}"), why))
    };
    for (key, of_group) in [
        ("lr", first.rate),
        ("weight_decay", first.weight_decay),
        ("eps", first.epsilon),
    ] {
        match optional::<f64>(strings, key)? {
            Some(stated) if stated != of_group => return says(key, &stated, &of_group),
            _ => {}
        }
    }
    if let Some(text) = strings.get("betas") {
        let stated = pair("metadata betas", text)?;
        if stated != first.betas {
            return says("betas", &stated, &first.betas);
        }
    }
    let is_step =
        |name: &ModelName| matches!(name, ModelName::Block(_, BlockName::H3(Name::LogDt)));
    let mut of_ssm = groups
        .iter()
        .filter(|group| group.parameters.iter().any(is_step));
    match unless_none::<f64>(strings, "ssm_lr")? {
        Some(stated) => match of_ssm.find(|group| group.rate != stated) {
            Some(group) => says("ssm_lr", &stated, &group.rate),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

fn read_schedule(strings: &Strings, steps: usize) -> Result<Schedule, Error> {
    let stated = ["warmup_steps", "total_steps"];
    let linear = match stated.map(|key| unless_none::<u64>(strings, key)) {
        [Ok(Some(warmup)), Ok(Some(total))] => Some(Schedule::Linear { warmup, total }),
        [Ok(None), Ok(None)] => None,
        [Err(e), _] | [_, Err(e)] => return Err(e),
        [Ok(None), _] => {
            return Err(Error::missing(
                "metadata warmup_steps, which total_steps needs,",
            ));
        }
        [_, Ok(None)] => {
            return Err(Error::missing(
                "metadata total_steps, which warmup_steps needs,",
            ));
        }
    };
    let Some(text) = strings.get("lr_factors") else {
        let is_constant = |schedule: &String| schedule == "constant" || schedule == "none";
        return match (linear, strings.get("schedule")) {
            (Some(linear), _) => Ok(linear),
            (None, Some(schedule)) if !is_constant(schedule) => Err(Error::missing(format!(
                "metadata lr_factors (metadata schedule is {schedule:?})"
            ))),
            (None, _) => Ok(Schedule::Constant),
        };
    };
    let factors = numbers("metadata lr_factors", text)?;
    if factors.len() != steps {
        let expected = format_args!("one factor for each of {steps} steps");
        return Err(Error::shape("metadata lr_factors", expected, factors.len()));
    }
    if let Some(linear) = linear {
        for (&factor, t) in factors.iter().zip(0..) {
            let of_schedule: f64 = linear.rate(1.0, t)?;
            // Both are roundings of one quotient.
            if (factor - of_schedule).abs() > 1e-12 {
                let why = format!(
                    "says {factor} at step {}, but warmup_steps and total_steps {of_schedule}",
                    t + 1
                );
                return Err(Error::value("metadata lr_factors", why));
            }
        }
    }
    Ok(Schedule::Factors(factors))
}

fn read_groups(text: &str, config: &ModelConfig) -> Result<Vec<ParameterGroup>, Error> {
    let mut cursor = Cursor::new("metadata groups", text);
    let mut groups = Vec::new();
    cursor.array(|cursor| {
        groups.push(read_group(cursor, config)?);
        Ok(())
    })?;
    cursor.end()?;
    Ok(groups)
}

fn read_group(cursor: &mut Cursor<'_>, config: &ModelConfig) -> Result<ParameterGroup, Malformed> {
    let names = config.names();
    let (mut numbers, mut betas, mut parameters) = ([None; 3], None, None);
    const NUMBERS: [&str; 3] = ["lr", "weight_decay", "eps"];
    cursor.object(|cursor, key| {
        let twice = cursor.fault(format!("{key:?} appears twice in a group"));
        let is_new = match &key[..] {
            "betas" => {
                let found = cursor.numbers()?;
                let pair = found.try_into();
                let pair = pair.map_err(|_| cursor.fault("betas: expected two numbers"))?;
                betas.replace(pair).is_none()
            }
            "parameters" => {
                let mut found = Vec::new();
                cursor.array(|cursor| {
                    let name = cursor.string()?;
                    let known = names.iter().find(|known| known.official() == *name);
                    let known = known.ok_or_else(|| {
                        cursor.fault(format!("{name:?} is no parameter of this model"))
                    })?;
                    found.push(*known);
                    Ok(())
                })?;
                parameters.replace(found).is_none()
            }
            other => {
                let at = NUMBERS.iter().position(|known| *known == other);
                let at = at.ok_or_else(|| {
                    let known = "lr, weight_decay, betas, eps, parameters";
                    cursor.fault(format!(
                        "unknown key {other:?} in a group; expected {known}"
                    ))
                })?;
                numbers[at].replace(cursor.number()?).is_none()
            }
        };
        match is_new {
            true => Ok(()),
            false => Err(twice),
        }
    })?;
    let absent = |key: &str| cursor.fault(format!("a group without {key:?}"));
    let [rate, weight_decay, epsilon] = numbers;
    Ok(ParameterGroup {
        rate: rate.ok_or_else(|| absent(NUMBERS[0]))?,
        weight_decay: weight_decay.ok_or_else(|| absent(NUMBERS[1]))?,
        epsilon: epsilon.ok_or_else(|| absent(NUMBERS[2]))?,
        betas: betas.ok_or_else(|| absent("betas"))?,
        parameters: parameters.ok_or_else(|| absent("parameters"))?,
    })
}
