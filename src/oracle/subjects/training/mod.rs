//! Training steps of a language model as a subject (`torch.optim.AdamW` on the official model, with
//! safari's groups, clipping and schedules).
//!
//! A file holds a model's parameters before the first step, `batch{k}.input_ids` and `batch{k}.targets` of
//! every step k = 1, 2, ..., and in its metadata what the optimizer is (see [`read_optimizer`]).

mod case;
mod hooks;
mod mistakes;
mod optimizer;
mod scales;
mod suite;

pub(crate) use case::TrainingCase;
pub(crate) use suite::suite;

use super::model::{
    ModelCase, given_ids, given_parameters, model_metadata, parameter_axes, stored_targets,
    underflow_growth,
};
use crate::algebra::{ErrorBound, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::{Form, Plain};
use crate::into_vec::IntoVec as _;
use crate::model::ModelName;
use crate::oracle::format::Format;
use crate::oracle::mistake::Row;
use crate::oracle::stage::{Axis, StageSpec};
use crate::oracle::subject::{Given, Named, Scale, Setting, Subject};
use crate::oracle::upstream::Upstream;
use crate::safetensors::Tensors;
use hooks::TrainingHook;

impl Subject for TrainingCase {
    const KIND: &'static str = "training";
    const MAY_BE_EXACT: bool = false;
    type Hook = TrainingHook;

    fn read(file: &dyn Tensors) -> Result<Self, Error> {
        Self::from_file(file)
    }

    fn metadata(&self) -> Vec<(String, String)> {
        let mut strings = model_metadata(self.parameters.config());
        strings.insert("kind".into(), Self::KIND.into());
        let unpadded = self
            .unpadded
            .map(|size| ("vocab_size".into(), size.to_string()));
        strings.extend(unpadded);
        strings.insert("steps".into(), self.batches.len().to_string());
        strings.extend(optimizer::metadata(&self.optimizer));
        strings.into_iter().into_vec()
    }

    fn given(&self) -> Vec<Given> {
        let mut given = given_parameters(&self.parameters);
        for (batch, k) in self.batches.iter().zip(1..) {
            given.push(given_ids(format!("batch{k}.input_ids"), &batch.ids));
            given.push(stored_targets(format!("batch{k}.targets"), &batch.targets));
        }
        given
    }

    /// Step by step `step{k}.loss`, `.grad.PARAMETER`, `.grad_norm`, `.lr`, `.exp_avg.PARAMETER`,
    /// `.exp_avg_sq.PARAMETER`, `.param.PARAMETER`.
    fn stages(&self) -> Vec<StageSpec> {
        let config = self.parameters.config();
        let number = [(Axis::Step, 1)];
        let names = config.names();
        let mut stages = Vec::new();
        for k in 1..=self.batches.len() {
            let of = |what: &str| format!("step{k}.{what}");
            let before = |what: &str| format!("step{}.{what}", k - 1);
            // The weights of the first step are given.
            let chain = |from: &[String]| -> Vec<String> {
                if k == 1 { Vec::new() } else { from.to_vec() }
            };
            let spec = |name: String, axes: &[(Axis, usize)], from: &[String]| {
                let from: Vec<&str> = from.iter().map(String::as_str).into_vec();
                StageSpec::new(name, axes, &from)
            };
            let weights: Vec<String> = names
                .iter()
                .map(|name| before(&format!("param.{}", name.official())))
                .into_vec();
            stages.push(spec(of("loss"), &number, &chain(&weights)));
            let axes = |name| parameter_axes(name, config);
            let gradient = |name: &ModelName| of(&format!("grad.{}", name.official()));
            for &name in &names {
                stages.push(spec(gradient(&name), &axes(name), &chain(&weights)));
            }
            let gradients: Vec<String> = names.iter().map(gradient).into_vec();
            stages.push(spec(of("grad_norm"), &number, &gradients));
            let groups = [(Axis::Group, self.optimizer.groups().len())];
            stages.push(spec(of("lr"), &groups, &[]));
            for kind in ["exp_avg", "exp_avg_sq"] {
                for &name in &names {
                    let moment = format!("{kind}.{}", name.official());
                    let own = [gradient(&name), of("grad_norm")];
                    let from = [&own[..], &chain(&[before(&moment)])].concat();
                    stages.push(spec(of(&moment), &axes(name), &from));
                }
            }
            for &name in &names {
                let official = name.official();
                let moments =
                    ["exp_avg", "exp_avg_sq"].map(|kind| of(&format!("{kind}.{official}")));
                let weight = format!("param.{official}");
                let rate = [of("lr")];
                let from = [&moments[..], &rate, &chain(&[before(&weight)])].concat();
                let changed = if k == 1 { official } else { before(&weight) };
                stages.push(spec(of(&weight), &axes(name), &from).change_of(changed));
            }
        }
        stages
    }

    fn seq_len(&self) -> usize {
        self.longest()
    }

    fn default_form(&self) -> Form {
        self.parameters.config().h3.default_form(self.longest())
    }

    fn describe(&self) -> String {
        let config = self.parameters.config();
        let batches: Vec<_> = self
            .batches
            .iter()
            .map(|batch| batch.ids.shape())
            .into_vec();
        let groups = self.optimizer.groups().iter();
        let groups: Vec<usize> = groups.map(|group| group.parameters.len()).into_vec();
        format!(
            "{} steps of AdamW, {} blocks, attention at {:?}, d_model {}, vocabulary {}, batches {batches:?}, \
             groups of {groups:?} parameters",
            self.batches.len(),
            config.n_layer,
            config.attn_layer_idx,
            config.d_model(),
            config.vocab_size,
        )
    }

    /// The steps, which go through gradients whether or not those are asked for.
    fn run<T>(&self, form: &Form, _gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        self.steps(form)
    }

    fn run_plainly<T>(&self, _gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let is_cut = self.parameters.config().cuts_kernels(self.longest());
        self.steps(&Plain::by_default(is_cut))
    }

    fn scales(&self) -> Result<Vec<Scale>, Error> {
        Ok(Scale::throughout(scales::error_scales(self)?))
    }

    /// As of the model: the derivatives in a scale are differences. After some steps in which gradients are
    /// near zero nothing may be known of a number any more; the largest f32 says so in every format.
    fn stored_scale(x: f64) -> f64 {
        ModelCase::stored_scale(x).min(f64::from(f32::MAX))
    }

    /// As of the model's gradients, and a square root and a quotient behind them.
    /// The scales of golden files know one format: a port in two is taken for one in the coarser.
    fn judged_in(format: Format) -> Format {
        format.without_projections()
    }

    fn underflow_growth(&self) -> f64 {
        underflow_growth(self.parameters.config(), self.longest(), &self.given())
    }

    /// No stage is a gradient that is judged on a way back of its own: a step goes there and back.
    fn mistakes(backward: bool) -> Vec<Vec<&'static Row<Self::Hook>>> {
        match backward {
            true => Vec::new(),
            false => vec![
                mistakes::ROWS.iter().into_vec(),
                mistakes::IN_GRADIENTS.iter().into_vec(),
            ],
        }
    }

    fn needs_chunks(_row: &Row<Self::Hook>) -> bool {
        false
    }

    /// Forward once and back twice as much, through the projections and direct convolutions of every step.
    fn cost(&self, tokens: usize) -> usize {
        let config = self.parameters.config();
        let d = config.d_model();
        let projections = (8 * d + 2 * config.d_inner).saturating_mul(d);
        let pairs = d.saturating_mul(config.h3.head_dim);
        let each = projections.saturating_add(pairs.saturating_mul(tokens));
        let rows: usize = self.batches.iter().map(|batch| batch.ids.shape()[0]).sum();
        let of_blocks = each.saturating_mul(config.n_layer).saturating_mul(tokens);
        of_blocks.saturating_mul(rows).saturating_mul(3)
    }

    fn run_with(
        &self,
        mistakes: &[&'static Row<Self::Hook>],
        setting: Setting<'_>,
    ) -> Result<Named<f64>, Error> {
        hooks::run_with(self, mistakes, setting)
    }

    fn local_scales(
        &self,
        upstream: &Upstream,
        format: Format,
    ) -> Result<Named<ErrorBound>, Error> {
        scales::local_scales(self, upstream, format)
    }
}
