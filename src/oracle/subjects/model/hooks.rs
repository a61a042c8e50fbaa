//! The places in the reference model where a mistake can be made, and the model with mistakes.

use super::super::layer::{LayerHook, WrongLayer};
use super::case::ModelCase;
use crate::algebra::{Linear, Matrix};
use crate::attention::softmax_attention;
use crate::error::Error;
use crate::h3::{Backward, Evaluate, Form, Layer, LayerGradients, LayerState, Parameters};
use crate::into_vec::IntoVec as _;
use crate::model::{
    BlockStage, Cotangent, LayerNorm, Mixed, Model, ModelBackward, ModelConfig, ModelGradients,
    ModelHooks, ModelName, ModelParameters, ModelStages, NormGradient, Part, Rows, S4d, Targets,
    gelu, gelu_slope, weights_of_counted,
};
use crate::oracle::mistake::Row;
use crate::oracle::subject::{Named, Setting};
use crate::oracle::upstream::{Replaced, replaced_or_stored};
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// A LayerNorm of one token; `true` for the one before the head.
type Norm = fn(&LayerNorm<f64>, bool, &[f64]) -> Result<Vec<f64>, Error>;

/// The adjoint of a LayerNorm at one token, given the cotangent of its image.
type NormBack = fn(&LayerNorm<f64>, &[f64], &[f64]) -> Result<NormGradient<f64>, Error>;

/// Attention of one head: queries, keys, values, scale.
type Attend = fn(&Matrix<f64>, &Matrix<f64>, &Matrix<f64>, f64) -> Result<Matrix<f64>, Error>;

/// The gradient of the embedding, from those of the head and of the lookup.
type Tied = fn(&Matrix<f64>, &Matrix<f64>) -> Result<Matrix<f64>, Error>;

/// One edit of the reference model: of what it is given, or of what one of its parts computes.
#[derive(Clone, Copy)]
pub(crate) enum ModelHook {
    /// The choices of the model.
    Config(fn(&mut ModelConfig)),
    /// A parameter, `None` where it stays.
    Parameters(fn(&ModelParameters<f64>, ModelName) -> Option<Vec<f64>>),
    /// The block whose mixer every block has.
    Mixers(fn(&ModelConfig) -> Vec<usize>),
    /// Every LayerNorm.
    Norm(Norm),
    /// Attention, head by head.
    Attend(Attend),
    /// The activation of the MLPs.
    Activation(fn(f64) -> f64),
    /// The output of S4D layers at one token, of their models' responses.
    S4dOutput(fn(&Linear<f64>, &[f64]) -> Vec<f64>),
    /// Every value of the residual stream before it is read.
    Residual(fn(f64) -> f64),
    /// The stages, once all are computed.
    Stages(fn(&mut ModelStages<f64>, &Model<f64>) -> Result<(), Error>),
    /// Values saved in place of stages; nothing is computed from them.
    Saved(fn(&mut ModelStages<f64>)),
    /// A part of the model knows nothing of documents or padding: it takes every row for one sequence.
    TakesRows(Part),
    /// A layer's mistake, made in every H3 layer.
    Layers(&'static Row<LayerHook>),
    /// The adjoint of every LayerNorm.
    NormBack(NormBack),
    /// The slope of the MLPs' activation.
    Slope(fn(f64) -> f64),
    /// The weight of every place in the loss.
    LossWeights(fn(&Targets) -> Result<Tensor<f64>, Error>),
    /// The gradient of the embedding, of those of its uses: head and lookup.
    Tied(Tied),
    /// The gradient of a parameter, once it is complete.
    Gradient(fn(ModelName, &mut [f64])),
    /// The embedded tokens.
    Embedded(fn(f64) -> f64),
}

/// The stages of a model with mistakes.
pub(super) fn run_with(
    case: &ModelCase,
    mistakes: &[&'static Row<ModelHook>],
    setting: Setting<'_>,
) -> Result<Named<f64>, Error> {
    let hooks: Vec<ModelHook> = mistakes
        .iter()
        .flat_map(|row| row.hooks.iter().copied())
        .into_vec();
    let saved = hooks.iter().filter_map(|hook| match hook {
        ModelHook::Saved(edit) => Some(edit),
        _ => None,
    });
    let saved: Vec<_> = saved.into_vec();
    if saved.is_empty() {
        return Ok(stages_with(case, hooks, setting)?.named());
    }
    // A port that saves something else computed nothing from that.
    let from_nothing = Setting {
        upstream: None,
        ..setting
    };
    let computed = stages_with(case, hooks.clone(), from_nothing)?;
    let mut stages = computed.clone();
    saved.iter().for_each(|edit| edit(&mut stages));
    let mut stages = stages.named();
    if setting.upstream.is_some() {
        let computed = computed.named();
        stages.retain(|stage| !computed.contains(stage));
    }
    Ok(stages)
}

/// The stages that a model with these mistakes computes.
fn stages_with(
    case: &ModelCase,
    hooks: Vec<ModelHook>,
    setting: Setting<'_>,
) -> Result<ModelStages<f64>, Error> {
    let parameters = edited(case.parameters(), &hooks)?;
    let config = parameters.config();
    let in_layers: Vec<_> = hooks
        .iter()
        .filter_map(|hook| match hook {
            ModelHook::Layers(row) => Some(*row),
            _ => None,
        })
        .into_vec();
    let wrong_layer = |block: usize| -> Result<Option<WrongLayer<'_>>, Error> {
        if in_layers.is_empty() || config.is_attention(block) || config.has_s4d() {
            return Ok(None);
        }
        let parameters: Parameters<f64> = parameters.h3(block)?;
        let wrong = WrongLayer::new(&parameters, &in_layers, setting)?;
        Ok(Some(wrong.at_parts(case.sequence.schedule())))
    };
    let wrong = WrongModel {
        replaced: replaced_or_stored(setting, |_| true),
        form: config.h3.default_form(case.text.documents().longest()),
        layers: (0..config.n_layer)
            .map(wrong_layer)
            .collect::<Result<_, _>>()?,
        hooks,
        documents: case.text.documents(),
    };
    let model = parameters.build::<f64>()?;
    let edited = |mut stages: ModelStages<f64>| {
        for hook in &wrong.hooks {
            if let ModelHook::Stages(edit) = hook {
                edit(&mut stages, &model)?;
            }
        }
        Ok::<_, Error>(stages)
    };
    // Such a port runs all that stands in the rows, padding too.
    let (ids, documents) = case.text.rows();
    let whole = Documents::whole(documents.batch(), documents.seq_len());
    let takes_rows = |hook: &ModelHook| matches!(hook, ModelHook::TakesRows(_));
    let rows = match wrong.hooks.iter().any(takes_rows) {
        true => (ids, &whole),
        false => (ids, documents),
    };
    let ran = model.forward_by(&wrong, rows, None)?;
    // What blocks return is edited as it was computed; the logits are computed from what blocks
    // returned.
    let computed = wrong.replaced.computed();
    let mut own = ran.clone();
    for (i, block) in own.blocks.iter_mut().enumerate() {
        for (stage, which) in block
            .iter_mut()
            .zip([BlockStage::Hidden, BlockStage::Residual])
        {
            let name = which.name(i);
            if let Some((_, found)) = computed.iter().find(|(known, _)| *known == name) {
                *stage = found.clone();
            }
        }
    }
    let logits = edited(ran)?.logits;
    Ok(ModelStages {
        logits,
        ..edited(own)?
    })
}

/// The stages of a model with mistakes, with its loss and gradients.
pub(super) fn run_back_with(
    case: &ModelCase,
    mistakes: &[&'static Row<ModelHook>],
    setting: Setting<'_>,
) -> Result<Named<f64>, Error> {
    let targets = case
        .targets
        .as_ref()
        .ok_or_else(|| Error::missing("tensor \"targets\""))?;
    let wrong =
        WrongModel::on_the_way_back(case.parameters(), case.text.rows().1, mistakes, setting);
    let (stages, gradients) = wrong.gradients(case.parameters(), case.text.rows(), targets)?;
    let named = [stages.named(), gradients.named()].concat();
    Ok(wrong.replaced.restore(named))
}

/// The loss and the gradients of a model with mistakes.
///
/// # Errors
///
/// As [`ModelParameters::gradients`].
pub(crate) fn wrong_gradients(
    parameters: &ModelParameters<f64>,
    rows: Rows<'_, usize>,
    targets: &Targets,
    mistakes: &[&'static Row<ModelHook>],
) -> Result<ModelGradients<f64>, Error> {
    let setting = Setting {
        chunk_len: 1,
        upstream: None,
        stored: None,
        backward: true,
        memo: None,
        sample: None,
    };
    let wrong = WrongModel::on_the_way_back(parameters, rows.1, mistakes, setting);
    Ok(wrong.gradients(parameters, rows, targets)?.1)
}

/// The parameters and choices of a port with these mistakes.
fn edited(
    parameters: &ModelParameters<f64>,
    hooks: &[ModelHook],
) -> Result<ModelParameters<f64>, Error> {
    let mut config = parameters.config().clone();
    let mut mixers: Vec<usize> = (0..config.n_layer).into_vec();
    for hook in hooks {
        match hook {
            ModelHook::Config(edit) => edit(&mut config),
            ModelHook::Mixers(of) => mixers = of(parameters.config()),
            _ => {}
        }
    }
    let attention = |block: &usize| parameters.config().is_attention(mixers[*block]);
    config.attn_layer_idx = (0..config.n_layer).filter(attention).into_vec();
    ModelParameters::new(config, |name| {
        let name = match name {
            ModelName::Block(block, within) if within.is_mixer() => {
                ModelName::Block(mixers[block], within)
            }
            name => name,
        };
        let replaced = hooks.iter().find_map(|hook| match hook {
            ModelHook::Parameters(edit) => edit(parameters, name),
            _ => None,
        });
        Ok(replaced.unwrap_or_else(|| parameters.get(name).to_vec()))
    })
}

/// The parts of a model with mistakes.
struct WrongModel<'a> {
    hooks: Vec<ModelHook>,
    replaced: Replaced<'a, f64>,
    form: Form,
    /// The layer of every block, where it has a mistake.
    layers: Vec<Option<WrongLayer<'a>>>,
    /// The true ranges of documents.
    documents: &'a Documents,
}

/// The first hook of a kind.
macro_rules! first {
    ($hooks:expr, $kind:ident) => {
        $hooks.iter().find_map(|hook| match hook {
            ModelHook::$kind(hook) => Some(hook),
            _ => None,
        })
    };
}

impl<'a> WrongModel<'a> {
    /// With mistakes of the backward pass, none of which is in a layer.
    fn on_the_way_back(
        parameters: &ModelParameters<f64>,
        documents: &'a Documents,
        mistakes: &[&'static Row<ModelHook>],
        setting: Setting<'a>,
    ) -> Self {
        let hooks = mistakes.iter().flat_map(|row| row.hooks.iter().copied());
        Self {
            hooks: hooks.into_vec(),
            replaced: replaced_or_stored(setting, |_| true),
            form: parameters.config().h3.default_form(documents.longest()),
            layers: Vec::new(),
            documents,
        }
    }

    fn gradients(
        &self,
        parameters: &ModelParameters<f64>,
        rows: Rows<'_, usize>,
        targets: &Targets,
    ) -> Result<(ModelStages<f64>, ModelGradients<f64>), Error> {
        let (stages, mut gradients) = parameters.gradients_by(self, rows, targets)?;
        for hook in &self.hooks {
            if let ModelHook::Gradient(edit) = hook {
                for name in parameters.config().names() {
                    edit(name, gradients.parameters.get_mut(name));
                }
            }
        }
        Ok((stages, gradients))
    }
}

impl ModelBackward<f64> for WrongModel<'_> {
    fn h3_back(
        &self,
        block: usize,
        layer: &Layer<f64>,
        u: Rows<'_, f64>,
        g: &Tensor<f64>,
    ) -> Result<LayerGradients<f64>, Error> {
        self.form.h3_back(block, layer, u, g)
    }

    fn models_back(&self) -> &dyn Backward<f64> {
        &self.form
    }

    fn norm_back(
        &self,
        norm: &LayerNorm<f64>,
        _last: bool,
        x: &[f64],
        g: &[f64],
    ) -> Result<NormGradient<f64>, Error> {
        match first!(self.hooks, NormBack) {
            Some(by) => by(norm, x, g),
            None => norm.adjoint(x, g),
        }
    }

    fn slope(&self, x: f64) -> f64 {
        match first!(self.hooks, Slope) {
            Some(slope) => slope(x),
            None => gelu_slope(x),
        }
    }

    fn logits(&self, computed: Tensor<f64>) -> Tensor<f64> {
        self.replaced.stage("logits", computed)
    }

    fn weights(&self, targets: &Targets) -> Result<Tensor<f64>, Error> {
        match first!(self.hooks, LossWeights) {
            Some(weights) => weights(targets),
            None => weights_of_counted(targets),
        }
    }

    fn tied(&self, head: &Matrix<f64>, lookup: &Matrix<f64>) -> Result<Matrix<f64>, Error> {
        match first!(self.hooks, Tied) {
            Some(tied) => tied(head, lookup),
            None => head.plus(lookup),
        }
    }

    fn cotangent(&self, of: Cotangent, computed: Tensor<f64>) -> Tensor<f64> {
        self.replaced.stage(&of.name(), computed)
    }
}

impl ModelHooks<f64> for WrongModel<'_> {
    fn h3(
        &self,
        block: usize,
        layer: &Layer<f64>,
        (u, documents): Rows<'_, f64>,
        state: Option<&LayerState<f64>>,
    ) -> Result<Mixed<f64>, Error> {
        match self.layers.get(block).and_then(Option::as_ref) {
            Some(wrong) => {
                let documents = wrong.documents(documents.clone());
                let state = wrong.initial(state, (u, &documents));
                let stages = wrong
                    .layer
                    .forward_by(wrong, (u, &documents), state.as_ref())?;
                Ok((stages.output, stages.state))
            }
            None => self.form.h3(block, layer, (u, documents), state),
        }
    }

    fn models(&self) -> &dyn Evaluate<f64> {
        &self.form
    }

    fn s4d_output(&self, layer: &S4d<f64>, x: &Tensor<f64>, documents: &Documents) -> Tensor<f64> {
        let right = layer.output(self.models(), x, documents);
        let Some(by) = first!(self.hooks, S4dOutput) else {
            return right;
        };
        let mut output = right;
        for token in documents.tokens() {
            let of_token = by(layer.projection(), x.row(token));
            output.row_mut(token).copy_from_slice(&of_token);
        }
        output
    }

    fn documents(&self, part: Part, rows: &Documents) -> Documents {
        let takes_rows = |hook: &ModelHook| matches!(hook, ModelHook::TakesRows(p) if *p == part);
        match self.hooks.iter().any(takes_rows) {
            true => rows.clone(),
            false => self.documents.clone(),
        }
    }

    fn attend(
        &self,
        q: &Matrix<f64>,
        k: &Matrix<f64>,
        v: &Matrix<f64>,
        scale: f64,
    ) -> Result<Matrix<f64>, Error> {
        match first!(self.hooks, Attend) {
            Some(attend) => attend(q, k, v, scale),
            None => softmax_attention(q, k, v, scale),
        }
    }

    fn norm(&self, norm: &LayerNorm<f64>, last: bool, x: &[f64]) -> Result<Vec<f64>, Error> {
        match first!(self.hooks, Norm) {
            Some(by) => by(norm, last, x),
            None => norm.apply(x),
        }
    }

    fn activation(&self, x: f64) -> f64 {
        match first!(self.hooks, Activation) {
            Some(activation) => activation(x),
            None => gelu(x),
        }
    }

    fn embedded(&self, computed: Tensor<f64>) -> Tensor<f64> {
        match first!(self.hooks, Embedded) {
            Some(edit) => computed.map(edit),
            None => computed,
        }
    }

    fn on_residual(&self, x: f64) -> f64 {
        match first!(self.hooks, Residual) {
            Some(edit) => edit(x),
            None => x,
        }
    }

    fn stage(&self, block: usize, which: BlockStage, computed: Tensor<f64>) -> Tensor<f64> {
        self.replaced.stage(&which.name(block), computed)
    }
}
