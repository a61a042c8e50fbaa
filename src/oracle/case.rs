//! Case files: one layer with its input, and whatever stages were saved beside it.

use crate::algebra::{ComplexScalar, Real};
use crate::error::Error;
use crate::h3::{Config, HeadOrder, Layer, LayerState, Name, Parameters};
use crate::safetensors::{Dtype, SafeTensors, TensorView, Writer};
use crate::tensor::Tensor;
use core::str::FromStr;
use num_complex::Complex;
use std::collections::BTreeMap;
use std::path::Path;

/// The `format` of the case files this crate writes.
pub const FORMAT: &str = "hippos-case/1";

/// The strings of a file.
type Strings = BTreeMap<String, String>;

/// A layer's official parameters and an input, read from a case file, with the file at hand for
/// whatever else it holds.
#[derive(Debug)]
pub struct Case {
    file: SafeTensors,
    parameters: Parameters<f64>,
    input: Tensor<f64>,
    state: Option<LayerState<f64>>,
    chunk_len: Option<usize>,
}

impl Case {
    /// Reads a case file.
    ///
    /// # Errors
    ///
    /// Naming the file and the tensor or metadata key at fault, and what was expected of it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        SafeTensors::open(path)
            .and_then(Self::from_file)
            .map_err(|e| e.in_file(path.display().to_string()))
    }

    /// The case of a layer and an input (batch, seq_len, d_model).
    ///
    /// # Errors
    ///
    /// If the input does not fit the layer, or a number is not finite.
    pub fn new(parameters: &Parameters<f64>, input: &Tensor<f64>) -> Result<Self, Error> {
        let file = layer_writer(parameters, input)?.to_bytes()?;
        Self::from_file(SafeTensors::from_bytes(file)?)
    }

    /// The case in an already parsed file.
    ///
    /// # Errors
    ///
    /// Naming the tensor or metadata key that is missing, of the wrong shape or type, not
    /// finite, or in contradiction with another.
    pub fn from_file(file: SafeTensors) -> Result<Self, Error> {
        let config = read_config(&file)?;
        let parameters = Parameters::new(config.clone(), |name| {
            read_tensor(&file, name.official(), &name.shape(&config)).map(Tensor::into_data)
        })?;
        let input = read_input(&file, &config)?;
        let state = read_state(&file, &config, &input)?;
        let chunk_len = read_chunk_len(&file)?;
        if chunk_len.is_some() && config.l_max.is_some_and(|l_max| l_max < input.shape()[1]) {
            return Err(Error::unsupported(
                "metadata chunk_len: no state passes between the chunks of a layer whose l_max is \
                 below its length",
            ));
        }
        Ok(Self {
            file,
            parameters,
            input,
            state,
            chunk_len,
        })
    }

    /// The layer's parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters<f64> {
        &self.parameters
    }

    /// The input (batch, seq_len, d_model).
    #[must_use]
    pub fn input(&self) -> &Tensor<f64> {
        &self.input
    }

    /// The state before the first input, if the file holds one (`initial_state_k`,
    /// `initial_state`; metadata `position`).
    #[must_use]
    pub fn state(&self) -> Option<&LayerState<f64>> {
        self.state.as_ref()
    }

    /// The chunk length (metadata `chunk_len`) at whose multiples, and at the end, the states
    /// between chunks are stages of the case (`chunk_states_k`, `chunk_states`).
    #[must_use]
    pub fn chunk_len(&self) -> Option<usize> {
        self.chunk_len
    }

    /// The whole file.
    #[must_use]
    pub fn file(&self) -> &SafeTensors {
        &self.file
    }

    /// The discrete layer, its input and its initial state in the scalars of a precision: every
    /// number of the file is rounded to `T` first, and all else computed in `T`.
    ///
    /// # Errors
    ///
    /// As [`Parameters::discretize`].
    #[expect(
        clippy::type_complexity,
        reason = "three things of one precision, taken apart at once"
    )]
    pub fn in_precision<T: Real>(
        &self,
    ) -> Result<(Layer<T>, Tensor<T>, Option<LayerState<T>>), Error> {
        let layer = self.parameters.map(T::from_f64).discretize()?;
        let state = self.state.as_ref().map(|state| state.map(T::from_f64));
        Ok((layer, self.input.map(T::from_f64), state))
    }

    /// A tensor of the file of which the shape is known, decoded.
    ///
    /// # Errors
    ///
    /// If it is missing, of another shape, not a float type, or holds a number that is not
    /// finite.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<f64>, Error> {
        read_tensor(&self.file, name, shape)
    }

    /// A writer that already holds what makes a case: metadata, parameters, input and initial
    /// state.
    ///
    /// # Errors
    ///
    /// Never for a case that was read; the writer's own checks are passed on.
    pub fn writer(&self) -> Result<Writer, Error> {
        let mut writer = layer_writer(&self.parameters, &self.input)?;
        if let Some(chunk_len) = self.chunk_len {
            writer.metadata("chunk_len", &chunk_len.to_string())?;
        }
        if let Some(state) = &self.state {
            writer.metadata("position", &state.position.to_string())?;
            add(&mut writer, "initial_state_k", Dtype::F64, &state.shift)?;
            let diagonal = flat_diagonal_state::<f64>(&state.diagonal);
            add(&mut writer, "initial_state", Dtype::F64, &diagonal)?;
        }
        Ok(writer)
    }
}

/// A writer that holds a layer and its input.
fn layer_writer(parameters: &Parameters<f64>, input: &Tensor<f64>) -> Result<Writer, Error> {
    let config = parameters.config();
    let mut writer = Writer::new();
    let l_max = config.l_max.map_or("none".into(), |l| l.to_string());
    for (key, value) in [
        ("format", FORMAT.to_string()),
        ("d_model", config.d_model.to_string()),
        ("head_dim", config.head_dim.to_string()),
        ("d_state", config.d_state.to_string()),
        ("n_ssm", config.n_ssm.to_string()),
        ("disc", config.disc.to_string()),
        ("real_type", config.real_type.to_string()),
        ("l_max", l_max),
        ("head_order", config.head_order.to_string()),
        ("B", input.shape()[0].to_string()),
        ("L", input.shape()[1].to_string()),
    ] {
        writer.metadata(key, &value)?;
    }
    for name in Name::ALL {
        let value = parameters.get(name);
        writer.add(name.official(), Dtype::F64, &name.shape(config), value)?;
    }
    add(&mut writer, "input", Dtype::F64, input)?;
    Ok(writer)
}

/// (batch, d1, d2, H, m/2) complex as (batch d1 d2, H, m/2, 2).
pub(super) fn flat_diagonal_state<T: Real>(state: &Tensor<T::Complex>) -> Tensor<T> {
    let shape = state.shape();
    let parts = state.data().iter().flat_map(|z| [z.re(), z.im()]).collect();
    let flat = [shape[0] * shape[1] * shape[2], shape[3], shape[4], 2];
    Tensor::known(flat, parts)
}

fn add(writer: &mut Writer, name: &str, dtype: Dtype, tensor: &Tensor<f64>) -> Result<(), Error> {
    writer.add(name, dtype, tensor.shape(), tensor.data())?;
    Ok(())
}

fn read_config(file: &SafeTensors) -> Result<Config, Error> {
    if let Some(format) = file.metadata().get("format")
        && format.starts_with("hippos-case/")
        && format != FORMAT
    {
        return Err(Error::value(
            "metadata format",
            format!("{format:?} is not a version this program reads; expected {FORMAT:?}"),
        ));
    }
    if let Some(mode) = file.metadata().get("mode")
        && mode != "diag"
    {
        return Err(Error::value(
            "metadata mode",
            format!("unknown value {mode:?}; an H3 layer has \"diag\""),
        ));
    }
    let axis = |name: Name, rank: usize, axis: usize| {
        let view = file.tensor(name.official())?;
        if view.shape.len() != rank {
            return Err(Error::shape(
                format!("tensor {:?}", view.name),
                format_args!("{rank} axes"),
                format_args!("shape {:?}", view.shape),
            ));
        }
        Ok(view.shape[axis])
    };
    let config = Config {
        d_model: axis(Name::QWeight, 2, 0)?,
        d_state: axis(Name::ShiftB, 2, 1)?,
        n_ssm: axis(Name::B, 3, 0)?,
        head_dim: required(file.metadata(), "head_dim")?,
        disc: required(file.metadata(), "disc")?,
        real_type: required(file.metadata(), "real_type")?,
        l_max: match metadata(file.metadata(), "l_max")? {
            "none" => None,
            _ => Some(required(file.metadata(), "l_max")?),
        },
        head_order: match file.metadata().get("head_order") {
            Some(_) => required(file.metadata(), "head_order")?,
            None => HeadOrder::default(),
        },
    };
    config.check()?;
    let heads = axis(Name::LogDt, 1, 0)?;
    if heads != config.n_heads() {
        return Err(Error::value(
            "metadata head_dim",
            format!(
                "says \"{}\", but {} is of {heads} heads, and d_model is {}: expected {}",
                config.head_dim,
                Name::LogDt.official(),
                config.d_model,
                config.d_model.checked_div(heads).unwrap_or(0),
            ),
        ));
    }
    for (key, size) in [
        ("d_model", config.d_model),
        ("d_state", config.d_state),
        ("n_ssm", config.n_ssm),
    ] {
        // The official code writes n_ssm = none for one model a head.
        let none_means_heads = key == "n_ssm" && config.n_ssm == config.n_heads();
        check_size(file.metadata(), key, size, none_means_heads)?;
    }
    Ok(config)
}

fn read_input(file: &SafeTensors, config: &Config) -> Result<Tensor<f64>, Error> {
    let view = file.tensor("input")?;
    let &[batch, seq_len, _] = view.shape else {
        return Err(Error::shape(
            "tensor \"input\"",
            format_args!("shape (batch, seq_len, d_model = {})", config.d_model),
            format_args!("{:?}", view.shape),
        ));
    };
    if batch == 0 || seq_len == 0 {
        return Err(Error::value(
            "tensor \"input\"",
            format!(
                "shape {:?} holds nothing; expected at least one token",
                view.shape
            ),
        ));
    }
    check_size(file.metadata(), "B", batch, false)?;
    check_size(file.metadata(), "L", seq_len, false)?;
    read_tensor(file, "input", &[batch, seq_len, config.d_model])
}

/// The state before the first input, if the file holds one.
fn read_state(
    file: &SafeTensors,
    config: &Config,
    input: &Tensor<f64>,
) -> Result<Option<LayerState<f64>>, Error> {
    let names = ["initial_state_k", "initial_state"];
    if names.iter().all(|name| file.get(name).is_none()) {
        return Ok(None);
    }
    let (batch, d_h, n) = (input.shape()[0], config.head_dim, config.n_modes());
    let shift = read_tensor(file, names[0], &[batch, config.d_model, config.d_state])?;
    let pairs = batch * d_h * d_h;
    let diagonal = read_tensor(file, names[1], &[pairs, config.n_heads(), n, 2])?;
    let diagonal = diagonal
        .data()
        .chunks_exact(2)
        .map(|z| Complex::new(z[0], z[1]))
        .collect();
    Ok(Some(LayerState {
        shift,
        diagonal: Tensor::new([batch, d_h, d_h, config.n_heads(), n], diagonal)?,
        position: match file.metadata().get("position") {
            Some(_) => required(file.metadata(), "position")?,
            None => 0,
        },
    }))
}

/// The chunk length, if the file states one.
fn read_chunk_len(file: &SafeTensors) -> Result<Option<usize>, Error> {
    if !file.metadata().contains_key("chunk_len") {
        return Ok(None);
    }
    match required(file.metadata(), "chunk_len")? {
        0 => Err(Error::value("metadata chunk_len", "0; expected at least 1")),
        len => Ok(Some(len)),
    }
}

/// A metadata string that must be there.
pub(super) fn metadata<'a>(strings: &'a Strings, key: &str) -> Result<&'a str, Error> {
    strings
        .get(key)
        .map(String::as_str)
        .ok_or_else(|| Error::missing(format!("metadata {key}")))
}

/// A metadata string that must be there and be understood.
pub(super) fn required<V: FromStr>(strings: &Strings, key: &str) -> Result<V, Error>
where
    V::Err: core::fmt::Display,
{
    let value = metadata(strings, key)?;
    value.parse().map_err(|e| {
        Error::value(
            format!("metadata {key}"),
            format!("{value:?} is not understood: {e}"),
        )
    })
}

/// Holds a size stated in the metadata against the one the tensors have.
pub(super) fn check_size(
    strings: &Strings,
    key: &str,
    size: usize,
    none_allowed: bool,
) -> Result<(), Error> {
    match strings.get(key).map(String::as_str) {
        None => Ok(()),
        Some("none") if none_allowed => Ok(()),
        Some(stated) if stated == size.to_string() => Ok(()),
        Some(stated) => Err(Error::value(
            format!("metadata {key}"),
            format!("says {stated:?}, but the tensors say {size}"),
        )),
    }
}

/// A float tensor of a known shape, every element finite.
fn read_tensor(file: &SafeTensors, name: &str, shape: &[usize]) -> Result<Tensor<f64>, Error> {
    let view: TensorView<'_> = file.tensor(name)?;
    if view.shape != shape {
        return Err(Error::shape(
            format!("tensor {name:?}"),
            format_args!("shape {shape:?}"),
            format_args!("{:?}", view.shape),
        ));
    }
    let data = view.to_f64()?;
    check_finite(name, &data)?;
    Tensor::new(shape, data)
}

/// Refuses a tensor with an element that is not finite.
pub(super) fn check_finite(name: &str, data: &[f64]) -> Result<(), Error> {
    match data.iter().position(|x| !x.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::value(
            format!("tensor {name:?}"),
            format!("element {at} is {}; expected finite numbers", data[at]),
        )),
    }
}
