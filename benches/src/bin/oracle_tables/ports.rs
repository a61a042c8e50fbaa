//! Ports of the cases in every format: right ones by running the layer in it, and wrong ones.

use crate::Result;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{
    Bf16, Emulated, F16, FloatFormat, Linear, Real, RootsOfUnity, Scalar,
};
use hungry_hippos::h3::{Form, HeadOrder, Layer, Name, Parameters};
use hungry_hippos::oracle::{Case, Format, Golden, LayerCase, Mistake, Precision};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use hungry_hippos::ssm::{Response, StateSpace, causal_convolution};

pub(crate) type Stages = Vec<(String, Tensor<f64>)>;

/// A committed golden file.
pub(crate) struct Committed {
    pub(crate) name: &'static str,
    pub(crate) stresses: &'static str,
    pub(crate) golden: Golden,
    pub(crate) case: Case,
}

/// Formats that a port's stages are dumped in, and those of the projections.
pub(crate) const FORMATS: [Format; 5] = [
    Format::F32,
    Format::MIXED_BF16,
    Format::MIXED_F16,
    Format::BF16,
    Format::F16,
];

/// The type a port of a format stores a stage in.
pub(crate) fn dtype(format: Format, stage: &str) -> Dtype {
    let is_projection = ["q", "k", "v", "output"].contains(&stage);
    match format {
        Format::BF16 => Dtype::BF16,
        Format::F16 => Dtype::F16,
        Format::MIXED_BF16 if is_projection => Dtype::BF16,
        Format::MIXED_F16 if is_projection => Dtype::F16,
        Format::F64 => Dtype::F64,
        _ => Dtype::F32,
    }
}

impl Committed {
    /// True if it is one of the cases on which nothing rounds.
    pub(crate) fn is_exact(&self) -> bool {
        self.name.contains("-exact-")
    }

    /// True if the file holds gradients.
    pub(crate) fn has_gradients(&self) -> bool {
        self.golden
            .stages()
            .iter()
            .any(|s| s.name() == "grad.input")
    }

    /// Forms a right port in a format may run in; transforms in 16 bits are none of them.
    pub(crate) fn forms(&self, format: Format) -> Vec<Form> {
        use hungry_hippos::flashconv::Chunking::Uniform;
        let Some(layer) = self.case.layer() else {
            return vec![self.case.default_form()];
        };
        let len = layer.input().shape()[1];
        let cut = layer.parameters().config().l_max;
        let mut forms = match format {
            Format::F64 | Format::F32 => Form::all([Uniform(5), Uniform(16)]),
            _ => vec![
                Form::Recurrence,
                Form::Scan,
                Form::Convolution,
                Form::Toeplitz,
            ],
        };
        if cut.is_some_and(|l_max| l_max < len) {
            forms.retain(|form| !form.passes_state());
        }
        forms
    }

    /// Every stage of a right port; of stages that only the reference computes (states between
    /// chunks, models in 16 bits) the golden ones, with the errors of an f32 run in units of the
    /// format's. Cotangents of stages are left out in 16 bits: what is made up so would be of another
    /// port than the gradients computed from them.
    pub(crate) fn right(&self, format: Format, form: &Form) -> Result<Stages> {
        let gradients = self.has_gradients();
        let in_f32 = || self.case.run(form, Precision::F32, gradients);
        let mut stages = match (format, self.case.layer()) {
            (Format::F64, _) => self.case.run(form, Precision::F64, gradients)?,
            (Format::F32, _) => in_f32()?,
            (Format::BF16, Some(case)) => in_scalars::<Emulated<Bf16>>(case, form, gradients)?,
            (Format::F16, Some(case)) => in_scalars::<Emulated<F16>>(case, form, gradients)?,
            (Format::MIXED_BF16, Some(case)) => mixed(case, FloatFormat::BF16)?,
            (Format::MIXED_F16, Some(case)) => mixed(case, FloatFormat::F16)?,
            _ => Vec::new(),
        };
        let times = format.unit_roundoff() / Format::F32.unit_roundoff();
        for (name, found) in in_f32()? {
            let golden = self.golden.stages().iter().find(|s| s.name() == name);
            let made_up = times > 1.0 && self.case.layer().is_some() && is_cotangent(&name);
            if let Some(golden) = golden
                && !made_up
                && stages.iter().all(|(known, _)| *known != name)
            {
                let pairs = golden.values.data().iter().zip(found.data());
                let scaled = pairs.map(|(g, x)| g + times * (x - g)).collect();
                stages.push((name, Tensor::new(found.shape(), scaled)?));
            }
        }
        Ok(stages)
    }

    /// What every known mistake changes of the stages, where it changes anything that float64 shows.
    pub(crate) fn wrong(&self) -> Result<Vec<Wrong>> {
        let base = self.case.run_with(&[], None)?;
        let backward = match self.has_gradients() {
            true => self
                .case
                .run(&self.case.default_form(), Precision::F64, true)?,
            false => Vec::new(),
        };
        let mut wrong = Vec::new();
        for mistake in self.case.mistakes() {
            // A mistake whose discretization has no value on these parameters computes nothing.
            let Ok(stages) = self.case.run_with(&[mistake.id], None) else {
                continue;
            };
            let (mut departures, mut acts, mut changes_output) = (Stages::new(), false, false);
            let mut rounded = Vec::new();
            for (name, stage) in stages {
                let from = match name.starts_with("grad.") {
                    true => &backward,
                    false => &base,
                };
                let golden = self.golden.stages().iter().find(|s| s.name() == name);
                let (Some(golden), Some((_, from))) =
                    (golden, from.iter().find(|(known, _)| *known == name))
                else {
                    continue;
                };
                if let Some(coarse) = mistake.rounding {
                    let holds = |x: &Tensor<f64>| x.data().iter().all(|&x| coarse.holds(x));
                    if holds(&stage) && !holds(from) {
                        rounded.push(name.clone());
                    }
                }
                let scale = golden.scale_at(Format::F64);
                let mut departure = Vec::new();
                for ((w, r), s) in stage.data().iter().zip(from.data()).zip(scale) {
                    let m = w - r;
                    let shows = m.abs() > 4.0 * s * f64::EPSILON || m.is_nan();
                    acts |= shows;
                    changes_output |= shows && ["output", "logits", "y"].contains(&name.as_str());
                    departure.push(m);
                }
                departures.push((name, Tensor::new(stage.shape(), departure)?));
            }
            if acts {
                wrong.push(Wrong {
                    mistake,
                    departures,
                    rounded,
                    changes_output,
                });
            }
        }
        Ok(wrong)
    }
}

/// True for the cotangent of a stage.
fn is_cotangent(name: &str) -> bool {
    let stages = ["q", "k", "v", "shift_k", "kv", "ssm_out", "gated"];
    name.strip_prefix("grad.")
        .is_some_and(|stage| stages.contains(&stage))
}

/// A mistake on a case: what it adds to each stage.
pub(crate) struct Wrong {
    pub(crate) mistake: &'static Mistake,
    departures: Stages,
    /// Of a mistake that rounds, the stages that it leaves rounded.
    rounded: Vec<String>,
    pub(crate) changes_output: bool,
}

impl Wrong {
    /// True if it is a mistake in a port of this format: what the format rounds anyway is none, on the way
    /// back the coarser of two. A mistake that only rounds has its format at the end of its name.
    pub(crate) fn is_one_at(&self, format: Format) -> bool {
        let rounding = self
            .mistake
            .name
            .rsplit('_')
            .next()
            .and_then(Format::from_name);
        let unit = match self.mistake.first_stage.starts_with("grad.") {
            true => format.projection_unit_roundoff(),
            false => format.unit_roundoff(),
        };
        rounding.is_none_or(|coarse| coarse.unit_roundoff() > 2.0 * unit)
    }

    /// The stages of a port that makes the mistake and rounds as a right one does; nothing where a
    /// number is too large to be stored.
    pub(crate) fn port(&self, right: &Stages) -> Result<Option<Stages>> {
        let mut stages = Vec::new();
        for (name, right) in right {
            let departure = self.departures.iter().find(|(known, _)| known == name);
            let stage = match departure {
                None => right.clone(),
                Some((_, m)) => {
                    // What is rounded is so with the errors that a right port has there.
                    let coarse = self
                        .mistake
                        .rounding
                        .filter(|_| self.rounded.contains(name));
                    let store = |x: f64| coarse.map_or(x, |coarse| coarse.round(x));
                    let sums = right.data().iter().zip(m.data()).map(|(c, m)| store(c + m));
                    Tensor::new(right.shape(), sums.collect())?
                }
            };
            if stage.data().iter().any(|x| !(x.abs() < 1e30)) {
                return Ok(None);
            }
            stages.push((name.clone(), stage));
        }
        Ok(Some(stages))
    }
}

/// The stages as a port of a format dumps them, as a file in memory.
pub(crate) fn dumped(stages: &Stages, format: Format, alone: bool) -> Result<SafeTensors> {
    let mut writer = Writer::new();
    for (name, stage) in stages {
        if !alone || ["output", "logits", "y"].contains(&name.as_str()) {
            writer.add(name, dtype(format, name), stage.shape(), stage.data())?;
        }
    }
    Ok(SafeTensors::from_bytes(writer.to_bytes()?)?)
}

/// True if two ports' dumps hold the same numbers.
pub(crate) fn are_stored_alike(a: &Stages, b: &Stages, format: Format, alone: bool) -> bool {
    let is_dumped = |name: &str| !alone || ["output", "logits", "y"].contains(&name);
    let pairs = a.iter().zip(b).filter(|((name, _), _)| is_dumped(name));
    let mut numbers = pairs.flat_map(|((name, a), (_, b))| {
        let float = dtype(format, name).float_format();
        a.data()
            .iter()
            .zip(b.data())
            .map(move |(&a, &b)| (float, a, b))
    });
    numbers.all(|(float, a, b)| float.is_some_and(|float| float.round(a) == float.round(b)))
}

/// The layer with every operation in the scalars `T`.
fn in_scalars<T>(case: &LayerCase, form: &Form, gradients: bool) -> Result<Stages>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    let (layer, input, state) = case.in_precision::<T>()?;
    let stages = layer.forward(form, &input, state.as_ref())?.named();
    let mut named: Stages = stages
        .into_iter()
        .map(|(name, stage)| (name.to_string(), stage.map(Real::to_f64)))
        .collect();
    if gradients {
        let g = case.cotangent()?.map(T::from_f64);
        let discrete = layer.gradients(form, &input, state.as_ref(), &g, None)?;
        let official = case.parameters().map(T::from_f64).gradients(&discrete)?;
        named.push(("grad.input".into(), discrete.input.map(Real::to_f64)));
        for name in Name::ALL {
            let values = official.get(name).iter().map(|x| x.to_f64()).collect();
            let shape = name.shape(case.parameters().config());
            named.push((
                format!("grad.{}", name.official()),
                Tensor::new(shape, values)?,
            ));
        }
        if state.is_some() {
            let diagonal = discrete.state.flat_diagonal().map(Real::to_f64);
            named.push((
                "grad.initial_state_k".into(),
                discrete.state.shift.map(Real::to_f64),
            ));
            named.push(("grad.initial_state".into(), diagonal));
        }
    }
    Ok(named)
}

/// The forward pass with projections in a 16-bit format and the models in f32, as under autocast:
/// factors and results of the projections rounded, their sums in f32.
fn mixed(case: &LayerCase, format: FloatFormat) -> Result<Stages> {
    let narrow = |x: f64| format.round(x) as f32;
    let projections = [
        (Name::QWeight, Name::QBias),
        (Name::KWeight, Name::KBias),
        (Name::VWeight, Name::VBias),
        (Name::OutputWeight, Name::OutputBias),
    ];
    let is_projection = |name: Name| projections.iter().any(|&(w, b)| w == name || b == name);
    let own = case.parameters();
    let parameters = Parameters::new(own.config().clone(), |name| {
        let round = |&x: &f64| match is_projection(name) {
            true => narrow(x),
            false => x as f32,
        };
        Ok(own.get(name).iter().map(round).collect())
    })?;
    let layer: Layer<f32> = parameters.discretize()?;
    let (parts, config) = (layer.parts(), own.config());
    let (d, d_h, heads) = (config.d_model, config.head_dim, layer.n_heads());
    let &[batch, len, _] = case.input().shape() else {
        return Err("an input of three axes".into());
    };
    let window = config.l_max.map_or(len, |l_max| l_max.min(len));
    let state = case.state().map(|state| state.map(|x| x as f32));

    // (batch, d, len), from rows of tokens.
    let project = |linear: &Linear<f32>| -> Vec<f32> {
        let mut y = vec![0.0; batch * d * len];
        for (row, token) in case.input().data().chunks(d).enumerate() {
            let token: Vec<f32> = token.iter().map(|&x| narrow(x)).collect();
            for (channel, value) in apply(linear, &token).into_iter().enumerate() {
                y[(row / len * d + channel) * len + row % len] = narrow(f64::from(value));
            }
        }
        y
    };
    let [q, k, v] = [&parts.q, &parts.k, &parts.v].map(project);
    let (shift_kernel, ssm_kernel) = (layer.shift_kernel(len), layer.ssm_kernel(len));

    let (mut shift_k, mut states_k) = (Vec::new(), Vec::new());
    for (row, u) in k.chunks(len).enumerate() {
        let m = config.d_state;
        let x0 = state.as_ref().map(|s| &s.shift.data()[row * m..][..m]);
        let response = respond(&parts.shift[row % d], u, x0, window)?;
        shift_k.extend(response.output);
        states_k.extend(response.state);
    }
    let (mut kv, mut ssm_out, mut states) = (Vec::new(), Vec::new(), Vec::new());
    for b in 0..batch {
        for (d1, d2) in (0..d_h * d_h).map(|i| (i / d_h, i % d_h)) {
            for h in 0..heads {
                let row = |x: &[f32], c: usize| x[(b * d + h * d_h + c) * len..][..len].to_vec();
                let pairs = row(&shift_k, d1).into_iter().zip(row(&v, d2));
                let u: Vec<f32> = pairs.map(|(k, v)| k * v).collect();
                let m = config.d_state / 2;
                let at = ((b * d_h + d1) * d_h + d2) * heads + h;
                let x0 = state.as_ref().map(|s| &s.diagonal.data()[at * m..][..m]);
                let response = respond(&parts.diagonal[h], &u, x0, window)?;
                kv.extend(u);
                ssm_out.extend(response.output);
                states.extend(response.state.iter().flat_map(|z| [z.re, z.im]));
            }
        }
    }
    let mut gated = vec![0.0_f32; batch * len * d];
    for (at, &y) in ssm_out.iter().enumerate() {
        let (t, h, pair) = (at % len, at / len % heads, at / len / heads);
        let (d2, d1, b) = (pair % d_h, pair / d_h % d_h, pair / d_h / d_h);
        let channel = match config.head_order {
            HeadOrder::D2H => d2 * heads + h,
            HeadOrder::HD2 => h * d_h + d2,
        };
        gated[(b * len + t) * d + channel] += q[(b * d + h * d_h + d1) * len + t] * y;
    }
    let output = gated.chunks(d).flat_map(|row| {
        let row: Vec<f32> = row.iter().map(|&x| narrow(f64::from(x))).collect();
        apply(&parts.output, &row)
    });
    let output: Vec<f32> = output.map(|y| narrow(f64::from(y))).collect();

    let of_channels = vec![batch, d, len];
    let of_pairs = vec![batch, d_h, d_h, heads, len];
    let stages = [
        ("q", of_channels.clone(), q),
        ("k", of_channels.clone(), k),
        ("v", of_channels.clone(), v),
        ("shift_kernel", vec![d, window], shift_kernel.into_data()),
        ("shift_k", of_channels, shift_k),
        ("kv", of_pairs.clone(), kv),
        ("ssm_kernel", vec![heads, window], ssm_kernel.into_data()),
        ("ssm_out", of_pairs, ssm_out),
        ("gated", vec![batch, len, d], gated),
        ("output", vec![batch, len, d], output),
        ("final_state_k", vec![batch, d, config.d_state], states_k),
        (
            "final_state",
            vec![batch * d_h * d_h, heads, config.d_state / 2, 2],
            states,
        ),
    ];
    let widened = stages.into_iter().map(|(name, shape, values)| {
        let values = values.into_iter().map(f64::from).collect();
        Ok((name.to_string(), Tensor::new(shape, values)?))
    });
    widened.collect()
}

/// `W u + b` in f32.
fn apply(linear: &Linear<f32>, u: &[f32]) -> Vec<f32> {
    let rows = linear.weight().entries().chunks(u.len()).zip(linear.bias());
    let dot = |row: &[f32]| row.iter().zip(u).map(|(w, u)| w * u).sum::<f32>();
    rows.map(|(row, b)| dot(row) + b).collect()
}

/// A model by direct convolution, its kernel cut to the window; what is left of a state it begins from
/// is added.
fn respond<S>(ssm: &S, u: &[f32], x0: Option<&[S::Element]>, window: usize) -> Result<Response<S>>
where
    S: StateSpace<Scalar = f32>,
    <f32 as Scalar>::Complex: RootsOfUnity,
{
    let mut response = Form::Convolution.respond(ssm, u, x0)?;
    if window < u.len() && x0.is_none() {
        response.output = causal_convolution(&ssm.kernel(window), u);
        for (y, u) in response.output.iter_mut().zip(u) {
            *y += ssm.feedthrough() * u;
        }
    }
    Ok(response)
}
