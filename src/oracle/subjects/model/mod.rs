//! Language models as a subject (official `src/models/ssm_seq.py`, `SSMLMHeadModel`).

mod analysis;
mod backward_analysis;
mod backward_mistakes;
mod case;
mod file;
mod gradient_scales;
mod hooks;
#[cfg(feature = "internals")]
pub mod internals;
mod layout;
mod local_scales;
mod mistakes;
mod official;
mod s4d_mistakes;
mod scales;
mod suite;
mod targets;

use crate::into_vec::IntoVec as _;
pub use case::ModelCase;
pub use file::ModelFile;
pub(crate) use gradient_scales::{followed_gradients, gradient_errors};
pub(crate) use hooks::{ModelHook, wrong_gradients};
pub(crate) use layout::ModelLayout;
pub use layout::model_metadata;
pub(crate) use official::OFFICIAL;
pub(crate) use suite::{random_ids, random_model, random_targets, suite};
pub(crate) use targets::{check_counted, read_targets, stored_targets};
use targets::{has_gradients, without_gradients};

use super::layer::{LayerCase, parameter_axes as layer_axes};
use crate::algebra::{ErrorBound, ErrorScale, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::{Form, Name, Plain};
use crate::model::{
    BlockName, ModelBackward, ModelConfig, ModelHooks, ModelName, ModelParameters, mean_loss,
};
use crate::oracle::format::Format;
use crate::oracle::mistake::Row;
use crate::oracle::read::optional;
use crate::oracle::stage::{Axis, StageSpec};
use crate::oracle::subject::{
    Given, GivenValues, Named, Scale, Setting, Subject, errors, largest_given, up_to_f32,
};
use crate::oracle::upstream::Upstream;
use crate::safetensors::Tensors;
use crate::tensor::Tensor;

impl Subject for ModelCase {
    const KIND: &'static str = layout::KIND;
    const MAY_BE_EXACT: bool = false;
    const OPTIONAL: &'static [&'static str] = &["targets"];
    type Hook = ModelHook;

    fn read(file: &dyn Tensors) -> Result<Self, Error> {
        Self::of_layout(&ModelLayout::read(file)?, file)
    }

    fn metadata(&self) -> Vec<(String, String)> {
        let mut strings: Vec<_> = model_metadata(self.parameters.config())
            .into_iter()
            .into_vec();
        strings.extend(
            self.unpadded
                .map(|size| ("vocab_size".into(), size.to_string())),
        );
        strings.extend(self.sequence.metadata(false));
        strings.extend((!self.has_gradients).then(without_gradients));
        strings.retain(|(key, _)| key != layout::MARKS);
        strings
    }

    fn given(&self) -> Vec<Given> {
        let mut given = given_parameters(&self.parameters);
        given.push(given_ids("input_ids", self.ids()).by_token());
        given.extend(self.sequence.given());
        let targets = self.targets.as_ref();
        given.extend(targets.map(|targets| stored_targets("targets", targets)));
        given
    }

    /// `block{i}.residual`, `block{i}.hidden`, and the next block; `logits`; where there are targets `loss`,
    /// and, unless there is the loss alone, gradients in the order in which they are found.
    fn stages(&self) -> Vec<StageSpec> {
        let config = self.parameters.config();
        let tokens = [
            (Axis::Sequence, self.ids().shape()[0]),
            (Axis::Time, self.ids().shape()[1]),
        ];
        let channels = [tokens[0], tokens[1], (Axis::Channel, config.d_model())];
        let words = [tokens[0], tokens[1], (Axis::Word, config.vocab_size)];
        let mut stages = Vec::new();
        let mut before: Vec<String> = Vec::new();
        for i in 0..config.n_layer {
            let from: Vec<&str> = before.iter().map(String::as_str).into_vec();
            let (residual, hidden) = (format!("block{i}.residual"), format!("block{i}.hidden"));
            stages.push(StageSpec::new(&residual, &channels, &from));
            stages.push(StageSpec::new(&hidden, &channels, &[&residual]));
            before = vec![residual, hidden];
        }
        let from: Vec<&str> = before.iter().map(String::as_str).into_vec();
        stages.push(StageSpec::new("logits", &words, &from));
        if self.targets.is_some() {
            stages.push(StageSpec::new("loss", &[(Axis::Step, 1)], &["logits"]));
            if self.has_gradients {
                stages.extend(self.gradient_stages(&channels, &words));
            }
        }
        stages
    }

    fn padding(&self) -> Vec<(usize, usize)> {
        self.text.documents().padding().into_vec()
    }

    fn seq_len(&self) -> usize {
        self.ids().shape()[1]
    }

    fn default_form(&self) -> Form {
        let longest = self.text.documents().longest();
        self.parameters.config().h3.default_form(longest)
    }

    fn describe(&self) -> String {
        let config = self.parameters.config();
        format!(
            "{} blocks{}, attention at {:?}, d_model {}, vocabulary {}, input_ids {:?}{}",
            config.n_layer,
            if config.has_s4d() { " of S4D" } else { "" },
            config.attn_layer_idx,
            config.d_model(),
            config.vocab_size,
            self.ids().shape(),
            match self.has_gradients {
                true => "",
                false => ", a loss without gradients (metadata gradients)",
            }
        )
    }

    fn run<T>(&self, form: &Form, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        match gradients {
            true => self.run_back(form),
            false => self.run_by(form),
        }
    }

    fn run_plainly<T>(&self, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let config = self.parameters.config();
        let is_cut = config.cuts_kernels(self.text.documents().longest());
        let plainly = Plain::by_default(is_cut);
        match gradients {
            true => self.run_back(&plainly),
            false => self.run_by(&plainly),
        }
    }

    fn scales(&self) -> Result<Vec<Scale>, Error> {
        let mut scales = scales::error_scales(&self.parameters, self.text.rows())?;
        match &self.targets {
            None => {}
            Some(targets) if self.has_gradients => {
                let parameters = self.parameters.map(ErrorScale::from_f64);
                let gradients = gradient_errors(&parameters, self.text.rows(), targets)?;
                scales.extend(errors(gradients.named()));
            }
            Some(targets) => {
                let loss = scales::loss_error(&self.parameters, self.text.rows(), targets, &scales);
                scales.push(("loss".into(), loss?));
            }
        }
        Ok(Scale::throughout(scales))
    }

    /// The derivatives in a scale are differences of f64 runs, whose last bits are the platform's
    /// library's: 8 bits of a scale are the same everywhere.
    fn stored_scale(x: f64) -> f64 {
        up_to_8_bits(x)
    }

    /// The scales of golden files know one format: a port in two is taken for one in the coarser.
    fn judged_in(format: Format) -> Format {
        format.without_projections()
    }

    fn underflow_growth(&self) -> f64 {
        underflow_growth(self.parameters.config(), self.seq_len(), &self.given())
    }

    fn mistakes(backward: bool) -> Vec<Vec<&'static Row<ModelHook>>> {
        if backward {
            return vec![backward_mistakes::ROWS.iter().into_vec()];
        }
        vec![
            mistakes::ROWS.iter().chain(s4d_mistakes::ROWS).into_vec(),
            mistakes::IN_LAYERS.iter().into_vec(),
        ]
    }

    fn needs_chunks(row: &Row<ModelHook>) -> bool {
        row.hooks.iter().any(|hook| match hook {
            ModelHook::Layers(row) => LayerCase::needs_chunks(row),
            _ => false,
        })
    }

    /// The direct convolutions of the H3 layers, and the projections.
    fn cost(&self, tokens: usize) -> usize {
        let config = self.parameters.config();
        let (d, layers) = (
            config.d_model(),
            config.n_layer - config.attn_layer_idx.len(),
        );
        let pairs = d.saturating_mul(config.h3.head_dim);
        let convolutions = tokens.saturating_mul(pairs).saturating_mul(layers);
        let projections = (8 * d + 2 * config.d_inner).saturating_mul(d * config.n_layer);
        let each = convolutions
            .saturating_add(projections)
            .saturating_mul(tokens);
        each.saturating_mul(self.ids().shape()[0])
    }

    fn run_with(
        &self,
        mistakes: &[&'static Row<ModelHook>],
        setting: Setting<'_>,
    ) -> Result<Named<f64>, Error> {
        match setting.backward {
            true => Ok(self.of_stages(hooks::run_back_with(self, mistakes, setting)?)),
            false => hooks::run_with(self, mistakes, setting),
        }
    }

    fn local_scales(
        &self,
        upstream: &Upstream,
        format: Format,
    ) -> Result<Named<ErrorBound>, Error> {
        Ok(self.of_stages(local_scales::local_scales(self, upstream, format)?))
    }
}

impl ModelCase {
    /// The case in a file of this layout.
    fn of_layout(layout: &ModelLayout, file: &dyn Tensors) -> Result<Self, Error> {
        let (text, sequence) = layout.text(file)?;
        let targets = read_targets(file, "targets", text.ids().shape(), &layout.config)?;
        if let Some(targets) = &targets {
            check_counted(file.metadata(), &[targets])?;
        }
        let has_gradients = has_gradients(file.metadata())?;
        if targets.is_none() && !has_gradients {
            return Err(Error::missing(
                "tensor \"targets\", of which metadata gradients speaks,",
            ));
        }
        let case = Self::of(layout.parameters(file)?, text, sequence)?;
        Ok(Self {
            targets,
            has_gradients,
            unpadded: optional(file.metadata(), "vocab_size")?,
            ..case
        })
    }

    /// The gradients as stages, in the order of computation: of the logits, of what the blocks return
    /// from the last to the first, of both uses of the embedding, of the parameters.
    fn gradient_stages(
        &self,
        channels: &[(Axis, usize)],
        words: &[(Axis, usize)],
    ) -> Vec<StageSpec> {
        let config = self.parameters.config();
        let logits = "grad.logits".to_string();
        let mut stages = vec![StageSpec::new(&logits, words, &["logits"])];
        let block = |i: usize| [format!("block{i}.residual"), format!("block{i}.hidden")];
        // The cotangent of what enters a block, and what it is computed of.
        let mut after = vec![logits.clone()];
        let spec = |name: &str, axes: &[(Axis, usize)], from: &[String]| {
            let from: Vec<&str> = from.iter().map(String::as_str).into_vec();
            StageSpec::new(name, axes, &from)
        };
        for i in (0..config.n_layer).rev() {
            let [residual, hidden] = block(i).map(|name| format!("grad.{name}"));
            let from = [&after[..], &block(i)].concat();
            stages.push(spec(&hidden, channels, &from));
            let from = [hidden.clone(), block(i)[0].clone()];
            stages.push(spec(&residual, channels, &from));
            after = vec![residual];
        }
        let table = parameter_axes(ModelName::Embeddings, config);
        let last = match config.n_layer.checked_sub(1) {
            Some(last) => block(last).to_vec(),
            None => Vec::new(),
        };
        let head = [&[logits][..], &last].concat();
        stages.push(spec("tied.grad.head", &table, &head));
        stages.push(spec("tied.grad.lookup", &table, &after));
        let of_block = |i: usize, name: BlockName| -> Vec<String> {
            let before = i.checked_sub(1).map(block);
            let before = before.iter().flatten().cloned();
            let [residual, hidden] = block(i).map(|name| format!("grad.{name}"));
            match name.is_after_mixer() {
                true => vec![hidden, block(i)[0].clone()],
                false => before.chain([residual]).into_vec(),
            }
        };
        for name in config.names() {
            let from = match name {
                ModelName::Embeddings => [&head[..], &after].concat(),
                ModelName::Positions => after.clone(),
                ModelName::NormWeight | ModelName::NormBias => head.clone(),
                ModelName::Block(i, within) => of_block(i, within),
            };
            let axes = parameter_axes(name, config);
            stages.push(spec(&format!("grad.{}", name.official()), &axes, &from));
        }
        stages
    }

    /// The stages, the loss and the gradients of the model in one way, in the scalars of a precision.
    fn run_back<T>(&self, hooks: &dyn ModelBackward<T>) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let targets = self.targets.as_ref().ok_or_else(|| {
            Error::missing("tensor \"targets\", which the loss and the gradients need,")
        })?;
        if !self.text.is_run_at_once() {
            return Err(Error::unsupported(
                "gradients of a language model over sequences run in parts: run them at once",
            ));
        }
        if !self.has_gradients {
            let model = self.parameters.build::<T>()?;
            let stages = model.forward_text(hooks, &self.text)?;
            let loss = mean_loss(&stages.logits, targets, self.text.rows().1)?;
            let loss = ("loss".to_string(), Tensor::known([1], vec![loss]));
            return Ok([stages.named(), vec![loss]].concat());
        }
        let parameters = self.parameters.map(T::from_f64);
        let (stages, gradients) = parameters.gradients_by(hooks, self.text.rows(), targets)?;
        Ok([stages.named(), gradients.named()].concat())
    }

    /// Without the gradients that are no stages of the case.
    fn of_stages<T>(&self, mut computed: Named<T>) -> Named<T> {
        let is_gradient = |name: &str| name.starts_with("grad.") || name.starts_with("tied.grad.");
        computed.retain(|(name, _)| self.has_gradients || !is_gradient(name));
        computed
    }

    /// The stages of the model in one way, in the scalars of a precision.
    fn run_by<T>(&self, hooks: &dyn ModelHooks<T>) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let model = self.parameters.build::<T>()?;
        Ok(model.forward_text(hooks, &self.text)?.named())
    }
}

/// The known mistakes of losses and gradients.
pub(crate) fn backward_mistakes() -> &'static [Row<ModelHook>] {
    backward_mistakes::ROWS
}

/// The parameters as a case is given them.
pub(crate) fn given_parameters(parameters: &ModelParameters<f64>) -> Vec<Given> {
    let config = parameters.config();
    let given = |name: ModelName| {
        let values = parameters.get(name);
        Given::numbers(name.official(), &name.shape(config), values)
    };
    config.names().into_iter().map(given).into_vec()
}

/// Tokens (batch, seq_len) as a case is given them.
pub(crate) fn given_ids(name: impl Into<String>, ids: &Tensor<usize>) -> Given {
    Given {
        name: name.into(),
        shape: ids.shape().to_vec(),
        values: GivenValues::Integers(ids.data().iter().map(|&id| id as i64).into_vec()),
        by_token: None,
    }
}

/// [`Subject::underflow_growth`] of a model over this many tokens. A LayerNorm's inverse deviation magnifies
/// too.
pub(crate) fn underflow_growth(config: &ModelConfig, tokens: usize, given: &[Given]) -> f64 {
    let of_block = tokens * (config.h3.d_state + config.d_model()) + config.d_inner;
    let largest = largest_given(given);
    let deviation = config.layer_norm_epsilon.sqrt().max(1e-6);
    (config.n_layer * of_block) as f64 * largest * largest / deviation
}

/// The meaning of the axes of a model's parameter.
pub(crate) fn parameter_axes(name: ModelName, config: &ModelConfig) -> Vec<(Axis, usize)> {
    use Axis::{Channel, Column, Row, Time, Word};
    let axes: &[Axis] = match name {
        ModelName::Block(_, BlockName::H3(name)) => return layer_axes(name, &config.h3),
        ModelName::Embeddings => &[Word, Channel],
        ModelName::Positions => &[Time, Channel],
        // `D` has a first axis of length one.
        ModelName::Block(_, BlockName::S4d(name)) if name != Name::D => {
            return layer_axes(name, &config.h3);
        }
        _ if name.shape(config).len() == 2 => &[Row, Column],
        _ => &[Channel],
    };
    axes.iter().copied().zip(name.shape(config)).into_vec()
}

/// A number of 8 significant bits not below `x`, at most one of their last units above.
pub fn up_to_8_bits(x: f64) -> f64 {
    let bits = (up_to_f32(x) as f32).to_bits();
    f64::from(f32::from_bits(bits.saturating_add(0xFFFF) & !0xFFFF))
}
