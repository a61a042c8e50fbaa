//! A layer's case: parameters, an input, and the tensors that go with them.

use crate::algebra::Real;
use crate::error::Error;
use crate::h3::{Config, Layer, LayerState, Name, Parameters};
use crate::into_vec::IntoVec as _;
use crate::oracle::read::{
    Strings, check_size, demand, demand_tensors, metadata, optional, read_tensor, required,
    shape_of,
};
use crate::oracle::sequence::{COTANGENTS, Sequence, check_initial_state};
use crate::oracle::subject::{Given, Subject};
use crate::safetensors::{TensorFile, Tensors};
use crate::ssm::Documents;
use crate::tensor::Tensor;
use num_complex::Complex;
use std::path::Path;

/// The `format` of the case files of layers that this crate writes.
pub const FORMAT: &str = "hippos-case/1";

/// A layer's official parameters and an input, with the states before it, the cotangents of its
/// outputs and the chunk length at which states are kept, where there are any.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerCase {
    pub(super) parameters: Parameters<f64>,
    pub(super) input: Tensor<f64>,
    pub(super) state: Option<LayerState<f64>>,
    pub(super) cotangent: Option<Tensor<f64>>,
    pub(super) state_cotangent: Option<LayerState<f64>>,
    pub(super) sequence: Sequence,
    pub(super) chunk_len: Option<usize>,
}

/// A layer, its input and the state before it, in one precision.
pub(crate) type LayerRun<T> = (Layer<T>, Tensor<T>, Option<LayerState<T>>);

impl LayerCase {
    /// Reads a case file.
    ///
    /// # Errors
    ///
    /// Naming the file and the tensor or metadata key at fault, and what was expected of it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        TensorFile::read(path, |file| Self::read(file))
    }

    /// The case in an already parsed file.
    ///
    /// # Errors
    ///
    /// Naming the tensor or metadata key that is missing, of the wrong shape or type, not
    /// finite, or in contradiction with another.
    pub fn read(file: &dyn Tensors) -> Result<Self, Error> {
        let config = read_config(file)?;
        let parameters = Parameters::new(config.clone(), |name| {
            read_tensor(file, name.official(), &name.shape(&config)).map(Tensor::into_data)
        })?;
        let input = read_input(file, &config)?;
        let rows = [input.shape()[0], input.shape()[1]];
        let sequence = Sequence::read(file, "input", rows)?;
        let documents = sequence
            .documents(input.shape()[0], input.shape()[1])?
            .count();
        let state = read_state(file, &config, documents, INITIAL)?;
        check_initial_state(file.metadata(), INITIAL[0], state.is_some())?;
        Self {
            state,
            state_cotangent: read_state(file, &config, documents, COTANGENTS)?,
            sequence,
            cotangent: file
                .find("g")
                .map(|_| read_tensor(file, "g", input.shape()))
                .transpose()?,
            chunk_len: optional(file.metadata(), "chunk_len")?,
            parameters,
            input,
        }
        .checked()
    }

    /// The case of a layer and an input (batch, seq_len, d_model).
    ///
    /// # Errors
    ///
    /// If the input does not fit the layer, or a number is not finite.
    pub fn new(parameters: Parameters<f64>, input: Tensor<f64>) -> Result<Self, Error> {
        Self {
            parameters,
            input,
            state: None,
            cotangent: None,
            state_cotangent: None,
            sequence: Sequence::Whole,
            chunk_len: None,
        }
        .checked()
    }

    /// The case from the state before its first input.
    ///
    /// # Errors
    ///
    /// If it is no state of this layer and batch, or a number is not finite.
    pub fn with_state(self, state: LayerState<f64>) -> Result<Self, Error> {
        Self {
            state: Some(state),
            ..self
        }
        .checked()
    }

    /// The case with a cotangent of its output (batch, seq_len, d_model): gradients are stages of it.
    ///
    /// # Errors
    ///
    /// If it is of another shape than the input, or a number is not finite.
    pub fn with_cotangent(self, g: Tensor<f64>) -> Result<Self, Error> {
        Self {
            cotangent: Some(g),
            ..self
        }
        .checked()
    }

    /// The case with the states after every chunk of this length as stages.
    ///
    /// # Errors
    ///
    /// If the length is 0, or `l_max` truncates the kernels, so that no state passes between chunks.
    pub fn with_chunk_len(self, chunk_len: usize) -> Result<Self, Error> {
        Self {
            chunk_len: Some(chunk_len),
            ..self
        }
        .checked()
    }

    /// The case with cotangents of its final states too; those without one of the output are alone.
    ///
    /// # Errors
    ///
    /// If they have not the shapes of the final states, or a number is not finite.
    pub(super) fn with_state_cotangent(self, g: LayerState<f64>) -> Result<Self, Error> {
        Self {
            state_cotangent: Some(g),
            ..self
        }
        .checked()
    }

    /// The case of other sequences in its rows.
    ///
    /// # Errors
    ///
    /// If they do not fit it.
    pub(super) fn with_sequence(self, sequence: Sequence) -> Result<Self, Error> {
        Self { sequence, ..self }.checked()
    }

    /// The case, if its parts fit each other and all its numbers are finite.
    fn checked(self) -> Result<Self, Error> {
        let config = self.parameters.config();
        let &[batch, seq_len, d] = self.input.shape() else {
            return Err(Error::shape(
                "input",
                "three axes",
                self.input.shape().len(),
            ));
        };
        let fits = [batch, seq_len, config.d_model];
        self.input.check_shape("input", &fits)?;
        if batch == 0 || seq_len == 0 || d == 0 {
            return Err(Error::value(
                "input",
                "holds nothing; expected at least one token",
            ));
        }
        if let Some(g) = &self.cotangent {
            g.check_shape("g", &fits)?;
        }
        let documents = self.documents().count();
        let states = [(&self.state, INITIAL), (&self.state_cotangent, COTANGENTS)];
        for (state, [keys, modes]) in states {
            let Some(state) = state else { continue };
            let (d_h, heads, n) = (config.head_dim, config.n_heads(), config.n_modes());
            let shift = [documents, d, config.d_state];
            state.shift.check_shape(keys, &shift)?;
            let diagonal = [documents, d_h, d_h, heads, n];
            state.diagonal.check_shape(modes, &diagonal)?;
        }
        if self.is_cut() {
            let refused = |what: &str| {
                Err(Error::unsupported(format!(
                    "{what}: no state passes through a layer whose l_max is below its length"
                )))
            };
            if self.sequence.schedule().is_some() {
                return refused("metadata schedule");
            }
        }
        if self.chunk_len.is_some() && self.sequence != Sequence::Whole {
            return Err(Error::unsupported(
                "metadata chunk_len: states between chunks are those of whole sequences, and this case \
                 has metadata sequence",
            ));
        }
        if self.chunk_len == Some(0) {
            return Err(Error::value("metadata chunk_len", "0; expected at least 1"));
        }
        if self.chunk_len.is_some() && self.is_cut() {
            return Err(Error::unsupported(
                "metadata chunk_len: no state passes between the chunks of a layer whose l_max is \
                 below its length",
            ));
        }
        for given in self.given() {
            given.check_finite()?;
        }
        Ok(self)
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

    /// The cotangent of the output (batch, seq_len, `d_model`), tensor `g` of the file.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn cotangent(&self) -> Result<&Tensor<f64>, Error> {
        let missing = || Error::missing("tensor \"g\", the cotangent of the output,");
        self.cotangent.as_ref().ok_or_else(missing)
    }

    /// True if the case is run in parts.
    pub(crate) fn is_scheduled(&self) -> bool {
        self.sequence.schedule().is_some()
    }

    /// True if there is a cotangent from which to run backwards.
    pub(super) fn has_cotangent(&self) -> bool {
        self.cotangent.is_some() || self.state_cotangent.is_some()
    }

    /// The cotangents of the output, zeros if only final states have some, and of the final states.
    ///
    /// # Errors
    ///
    /// If there are none.
    pub(crate) fn cotangents<T: Real>(&self) -> Result<(Tensor<T>, Option<LayerState<T>>), Error> {
        let g = match &self.state_cotangent {
            Some(_) if self.cotangent.is_none() => self.input.map(|_| T::ZERO),
            _ => self.cotangent()?.map(T::from_f64),
        };
        let of_states = self.state_cotangent.as_ref();
        Ok((g, of_states.map(|state| state.map(T::from_f64))))
    }

    /// The discrete layer, its input and its initial state in the scalars of a precision: every
    /// number of the file is rounded to `T` first, and all else computed in `T`.
    ///
    /// # Errors
    ///
    /// As [`Parameters::discretize`].
    pub fn in_precision<T: Real>(&self) -> Result<LayerRun<T>, Error> {
        let layer = self.parameters.map(T::from_f64).discretize()?;
        let state = self.state.as_ref().map(|state| state.map(T::from_f64));
        Ok((layer, self.input.map(T::from_f64), state))
    }

    /// The ranges of documents in the rows of the input.
    pub(crate) fn documents(&self) -> Documents {
        let (batch, len) = (self.input.shape()[0], self.input.shape()[1]);
        self.sequence.checked_documents(batch, len)
    }

    /// True if `l_max` truncates the kernels, so that they have no recurrence.
    pub(super) fn is_cut(&self) -> bool {
        let l_max = self.parameters.config().l_max;
        l_max.is_some_and(|l_max| l_max < self.documents().longest())
    }
}

/// The metadata of a layer's case: what its tensors do not tell, and their sizes.
pub(super) fn case_metadata(case: &LayerCase) -> Vec<(String, String)> {
    let (config, input) = (case.parameters.config(), case.input.shape());
    let mut strings = vec![("format".to_string(), FORMAT.to_string())];
    strings.extend(config_metadata(config));
    strings.extend([
        ("d_model".to_string(), config.d_model.to_string()),
        ("B".to_string(), input[0].to_string()),
        ("L".to_string(), input[1].to_string()),
    ]);
    if let Some(chunk_len) = case.chunk_len {
        strings.push(("chunk_len".into(), chunk_len.to_string()));
    }
    let of_states = case.state_cotangent.is_some();
    strings.extend(case.sequence.metadata(of_states));
    if let Some(state) = &case.state {
        strings.push(("position".into(), state.position.to_string()));
        strings.push(("initial_state".into(), "given".into()));
    }
    strings
}

/// The metadata of an H3 layer's choices and sizes, but for `d_model`, in any kind of case.
pub(crate) fn config_metadata(config: &Config) -> Vec<(String, String)> {
    let l_max = config.l_max.map_or("none".into(), |l| l.to_string());
    [
        ("head_dim", config.head_dim.to_string()),
        ("d_state", config.d_state.to_string()),
        ("n_ssm", config.n_ssm.to_string()),
        ("disc", config.disc.to_string()),
        ("real_type", config.real_type.to_string()),
        ("l_max", l_max),
        ("head_order", config.head_order.to_string()),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .into()
}

/// The given tensors of a layer's case.
pub(super) fn given(case: &LayerCase) -> Vec<Given> {
    let parameters = &case.parameters;
    let mut given: Vec<Given> = Name::ALL
        .into_iter()
        .map(|name| {
            let shape = name.shape(parameters.config());
            Given::numbers(name.official(), &shape, parameters.get(name))
        })
        .into_vec();
    given.push(Given::tensor("input", &case.input).by_token());
    if let Some(state) = &case.state {
        given.push(Given::tensor("initial_state_k", &state.shift));
        given.push(Given::tensor("initial_state", &state.flat_diagonal()));
    }
    given.extend(case.sequence.given());
    let g = case.cotangent.iter();
    given.extend(g.map(|g| Given::tensor("g", g).by_token()));
    if let Some(g) = &case.state_cotangent {
        given.push(Given::tensor(COTANGENTS[0], &g.shift));
        given.push(Given::tensor(COTANGENTS[1], &g.flat_diagonal()));
    }
    given
}

fn read_config(file: &dyn Tensors) -> Result<Config, Error> {
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
    demand_tensors(file, Name::ALL.map(Name::official))?;
    let axis = |name: Name, rank: usize, axis: usize| {
        Ok::<_, Error>(shape_of(file, name.official(), rank)?[axis])
    };
    let strings = file.metadata();
    demand(strings, &["head_dim", "disc", "real_type", "l_max"])?;
    let head_dim = required(strings, "head_dim")?;
    let config = read_choices(strings, axis(Name::QWeight, 2, 0)?, head_dim, axis)?;
    check_size(strings, "d_model", config.d_model, false)?;
    Ok(config)
}

/// The configuration of an H3 layer in any kind of case: choices from the metadata, sizes from the
/// tensors, of which `axis(name, rank, i)` gives the length of axis `i`.
pub(crate) fn read_choices(
    strings: &Strings,
    d_model: usize,
    head_dim: usize,
    axis: impl Fn(Name, usize, usize) -> Result<usize, Error>,
) -> Result<Config, Error> {
    let config = Config {
        d_model,
        d_state: axis(Name::ShiftB, 2, 1)?,
        n_ssm: axis(Name::B, 3, 0)?,
        head_dim,
        disc: required(strings, "disc")?,
        real_type: required(strings, "real_type")?,
        l_max: match metadata(strings, "l_max")? {
            "none" | "None" => None,
            _ => Some(required(strings, "l_max")?),
        },
        head_order: optional(strings, "head_order")?.unwrap_or_default(),
    };
    config.check()?;
    let heads = axis(Name::LogDt, 1, 0)?;
    if heads != config.n_heads() {
        return Err(Error::value(
            "metadata head_dim",
            format!(
                "says \"{head_dim}\", but {} is of {heads} heads, and d_model is {d_model}: expected {}",
                Name::LogDt.official(),
                d_model.checked_div(heads).unwrap_or(0),
            ),
        ));
    }
    check_size(strings, "d_state", config.d_state, false)?;
    // The official code writes n_ssm = none for one model per head.
    check_size(
        strings,
        "n_ssm",
        config.n_ssm,
        config.n_ssm == config.n_heads(),
    )?;
    Ok(config)
}

fn read_input(file: &dyn Tensors, config: &Config) -> Result<Tensor<f64>, Error> {
    let (_, shape) = file
        .find("input")
        .ok_or_else(|| Error::missing("tensor \"input\""))?;
    let &[batch, seq_len, _] = shape else {
        return Err(Error::shape(
            "tensor \"input\"",
            format_args!("shape (batch, seq_len, d_model = {})", config.d_model),
            format_args!("{shape:?}"),
        ));
    };
    if batch == 0 || seq_len == 0 {
        return Err(Error::value(
            "tensor \"input\"",
            format!("shape {shape:?} holds nothing; expected at least one token"),
        ));
    }
    check_size(file.metadata(), "B", batch, false)?;
    check_size(file.metadata(), "L", seq_len, false)?;
    read_tensor(file, "input", &[batch, seq_len, config.d_model])
}

/// The states before the first inputs in files.
const INITIAL: [&str; 2] = ["initial_state_k", "initial_state"];

/// A state of every document, if the file holds one.
fn read_state(
    file: &dyn Tensors,
    config: &Config,
    documents: usize,
    names: [&str; 2],
) -> Result<Option<LayerState<f64>>, Error> {
    if names.iter().all(|name| file.find(name).is_none()) {
        return Ok(None);
    }
    let (batch, d_h, n) = (documents, config.head_dim, config.n_modes());
    let shift = read_tensor(file, names[0], &[batch, config.d_model, config.d_state])?;
    let pairs = batch * d_h * d_h;
    let diagonal = read_tensor(file, names[1], &[pairs, config.n_heads(), n, 2])?;
    let diagonal = diagonal
        .data()
        .chunks_exact(2)
        .map(|z| Complex::new(z[0], z[1]))
        .into_vec();
    Ok(Some(LayerState {
        shift,
        diagonal: Tensor::new([batch, d_h, d_h, config.n_heads(), n], diagonal)?,
        position: optional(file.metadata(), "position")?.unwrap_or(0),
    }))
}
