//! Language models as a subject (official `src/models/ssm_seq.py`, `SSMLMHeadModel`).

mod case;
mod file;
mod hooks;
mod layout;
mod mistakes;
mod scales;
mod suite;

pub use case::ModelCase;
pub use file::ModelFile;
pub use layout::model_metadata;
pub(crate) use suite::suite;

use super::layer::LayerCase;
use crate::algebra::{ErrorBound, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::{Form, Plain};
use crate::oracle::format::Format;
use crate::oracle::mistake::Row;
use crate::oracle::read::optional;
use crate::oracle::stage::{Axis, StageSpec};
use crate::oracle::subject::{
    Given, GivenValues, Named, Scale, Setting, Subject, largest_given, up_to_f32,
};
use crate::oracle::upstream::Upstream;
use crate::safetensors::Tensors;
use hooks::ModelHook;
use layout::ModelLayout;

impl Subject for ModelCase {
    const KIND: &'static str = "model";
    type Hook = ModelHook;

    fn read(file: &dyn Tensors) -> Result<Self, Error> {
        let layout = ModelLayout::read(file)?;
        let case = Self::new(layout.parameters(file)?, layout.ids(file)?)?;
        Ok(Self {
            unpadded: optional(file.metadata(), "vocab_size")?,
            ..case
        })
    }

    fn metadata(&self) -> Vec<(String, String)> {
        let mut strings: Vec<_> = model_metadata(self.parameters.config())
            .into_iter()
            .collect();
        strings.extend(
            self.unpadded
                .map(|size| ("vocab_size".into(), size.to_string())),
        );
        strings
    }

    fn given(&self) -> Vec<Given> {
        let config = self.parameters.config();
        let mut given: Vec<Given> = config
            .names()
            .into_iter()
            .map(|name| {
                let values = self.parameters.get(name);
                Given::numbers(name.official(), &name.shape(config), values)
            })
            .collect();
        given.push(Given {
            name: "input_ids".into(),
            shape: self.ids.shape().to_vec(),
            values: GivenValues::Integers(self.ids.data().iter().map(|&id| id as i64).collect()),
        });
        given
    }

    /// `block{i}.residual`, `block{i}.hidden`, and the next block; `logits` last.
    fn stages(&self) -> Vec<StageSpec> {
        let config = self.parameters.config();
        let tokens = [
            (Axis::Sequence, self.ids.shape()[0]),
            (Axis::Time, self.ids.shape()[1]),
        ];
        let channels = [tokens[0], tokens[1], (Axis::Channel, config.d_model())];
        let words = [tokens[0], tokens[1], (Axis::Word, config.vocab_size)];
        let mut stages = Vec::new();
        let mut before: Vec<String> = Vec::new();
        for i in 0..config.n_layer {
            let from: Vec<&str> = before.iter().map(String::as_str).collect();
            let (residual, hidden) = (format!("block{i}.residual"), format!("block{i}.hidden"));
            stages.push(StageSpec::new(&residual, &channels, &from));
            stages.push(StageSpec::new(&hidden, &channels, &[&residual]));
            before = vec![residual, hidden];
        }
        let from: Vec<&str> = before.iter().map(String::as_str).collect();
        stages.push(StageSpec::new("logits", &words, &from));
        stages
    }

    fn seq_len(&self) -> usize {
        self.ids.shape()[1]
    }

    fn default_form(&self) -> Form {
        self.parameters.config().h3.default_form(self.seq_len())
    }

    fn describe(&self) -> String {
        let config = self.parameters.config();
        format!(
            "{} blocks, attention at {:?}, d_model {}, vocabulary {}, input_ids {:?}",
            config.n_layer,
            config.attn_layer_idx,
            config.d_model(),
            config.vocab_size,
            self.ids.shape(),
        )
    }

    fn run<T>(&self, form: &Form, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        if gradients {
            return Err(Error::unsupported(
                "gradients of a language model are no stages",
            ));
        }
        let model = self.parameters.build::<T>()?;
        Ok(model
            .forward_from_prompt(form, self.prompt, &self.ids)?
            .named())
    }

    fn run_plainly<T>(&self, _gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        let l_max = self.parameters.config().h3.l_max;
        let by = Plain::by_default(l_max.is_some_and(|l_max| l_max < self.seq_len()));
        let model = self.parameters.build::<T>()?;
        Ok(model.forward_by(&by, &self.ids)?.named())
    }

    fn scales(&self) -> Result<Vec<Scale>, Error> {
        let scales = scales::error_scales(&self.parameters, &self.ids)?.into_iter();
        Ok(scales
            .map(|(name, uniform)| Scale {
                name,
                uniform,
                projections: None,
            })
            .collect())
    }

    /// A number of 8 significant bits not below `x`, at most one of their last units above. The
    /// derivatives in a scale are differences of f64 runs, whose last bits are the platform's
    /// library's: so few bits of a scale are the same everywhere.
    fn stored_scale(x: f64) -> f64 {
        let bits = (up_to_f32(x) as f32).to_bits();
        f64::from(f32::from_bits(bits.saturating_add(0xFFFF) & !0xFFFF))
    }

    /// A LayerNorm's inverse deviation magnifies too.
    fn underflow_growth(&self) -> f64 {
        let config = self.parameters.config();
        let of_block = self.seq_len() * (config.h3.d_state + config.d_model()) + config.d_inner;
        let largest = largest_given(&self.given());
        let deviation = config.layer_norm_epsilon.sqrt().max(1e-6);
        (config.n_layer * of_block) as f64 * largest * largest / deviation
    }

    fn mistakes(_backward: bool) -> Vec<Vec<&'static Row<ModelHook>>> {
        vec![
            mistakes::ROWS.iter().collect(),
            mistakes::IN_LAYERS.iter().collect(),
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
        each.saturating_mul(self.ids.shape()[0])
    }

    fn run_with(
        &self,
        mistakes: &[&'static Row<ModelHook>],
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

#[cfg(test)]
mod tests {
    use super::ModelCase;
    use crate::algebra::exact_gelu;
    use crate::model::gelu;
    use crate::oracle::subject::Subject;

    /// What the mistake of the other activation changes.
    #[test]
    fn the_two_gelus_differ_by_less_than_half_a_thousandth() {
        let apart = |i: i32| {
            let x = f64::from(i) / 100.0;
            (exact_gelu(x) - gelu(x)).abs()
        };
        let largest = (-1000..=1000).map(apart).fold(0.0, f64::max);
        assert!((4.5e-4..5e-4).contains(&largest), "{largest}");
    }

    #[test]
    fn scales_are_rounded_up_to_eight_bits() {
        let unit = 2f64.powi(-7);
        for (x, expected) in [
            (0.0, 0.0),
            (1.0, 1.0),
            (1.0 + unit, 1.0 + unit),
            (1.0 + 0.5 * unit, 1.0 + unit),
            (1.0 + 2f64.powi(-50), 1.0 + unit),
            (1.0 + 1.25 * unit, 1.0 + 2.0 * unit),
            (2.0 - 2f64.powi(-20), 2.0),
            (1e300, f64::INFINITY),
        ] {
            assert_eq!(ModelCase::stored_scale(x), expected, "{x}");
        }
    }
}
