//! From the loss back to every parameter.

use super::super::block::{Block, Mixer, add, documents_of_ids, tokens};
use super::super::forward::{BlockStage, Model, ModelStages, Part, Rows};
use super::super::layer_norm::LayerNorm;
use super::super::named::Named;
use super::super::names::{BlockName, ModelName};
use super::super::parameters::ModelParameters;
use super::hooks::{Cotangent, ModelBackward};
use super::loss::{Targets, check_targets, weighted_loss};
use crate::algebra::{Matrix, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::{Form, Linear, Name};
use crate::ssm::Documents;
use crate::tensor::Tensor;

/// The loss of a model on some tokens, and its derivative by everything.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelGradients<T: Real> {
    /// The mean cross-entropy of the counted positions.
    pub loss: T,
    /// The derivatives with respect to every parameter; for a complex parameter, with respect to
    /// each part. Those of the biases of keys are exactly zero, since a softmax does not change if
    /// a number is added to all its scores.
    pub parameters: ModelParameters<T>,
    /// The derivative by the logits (batch, seq_len, `vocab_size`).
    pub logits: Tensor<T>,
    /// The part of the embedding's derivative that comes from the head (`vocab_size`, d).
    pub head: Tensor<T>,
    /// The part that comes from looking tokens up (`vocab_size`, d).
    pub lookup: Tensor<T>,
    /// The derivatives with respect to the results of every block, (batch, seq_len, d) each:
    /// `hidden`, then `residual`. That of the residual includes the contribution through the
    /// block's own second LayerNorm and MLP, whose input it is; the contribution of later blocks
    /// alone is that of the hidden values.
    pub blocks: Vec<[Tensor<T>; 2]>,
}

impl<T: Real> ModelGradients<T> {
    /// The loss and the gradients under their names in files: `loss`, `grad.logits`, from the last block to the first
    /// `grad.block{i}.hidden` and `grad.block{i}.residual`, `tied.grad.head`, `tied.grad.lookup`,
    /// `grad.PARAMETER`.
    #[must_use]
    pub fn named(self) -> Vec<(String, Tensor<T>)> {
        let mut named = vec![
            ("loss".to_string(), Tensor::known([1], vec![self.loss])),
            (Cotangent::Logits.name(), self.logits),
        ];
        for (i, [hidden, residual]) in self.blocks.into_iter().enumerate().rev() {
            named.push((Cotangent::Block(i, BlockStage::Hidden).name(), hidden));
            named.push((Cotangent::Block(i, BlockStage::Residual).name(), residual));
        }
        named.push(("tied.grad.head".into(), self.head));
        named.push(("tied.grad.lookup".into(), self.lookup));
        let parameters = self.parameters.tensors();
        named.extend(parameters.map(|(name, of)| (format!("grad.{}", name.official()), of)));
        named
    }
}

impl<T> ModelParameters<T>
where
    T: Real,
    T::Complex: RootsOfUnity,
{
    /// The stages of the model over the sequences `ids` (batch, seq_len) from their beginning, and the
    /// gradients of the mean cross-entropy with `targets` (batch, seq_len), the H3 layers in the form asked
    /// for, forward and back.
    ///
    /// # Memory
    ///
    /// Of the forward pass what every block returns is kept, `2 n_layer` arrays of (batch, seq_len, d), and
    /// the logits; back, as many cotangents. All else is computed again where it is needed: LayerNorms and
    /// MLPs token by token, a mixer when its block has its turn. One H3 layer at a time has a constant number
    /// of (batch, seq_len, d) arrays and one model's adjoint
    /// ([`Layer::gradients`](crate::h3::Layer::gradients)); one attention layer a constant number of them
    /// and the weights of one head over one document, (tokens, tokens).
    ///
    /// # Errors
    ///
    /// As [`Model::forward`] and [`Layer::gradients`](crate::h3::Layer::gradients); or if `targets` is of
    /// another shape, counts no position, or has a token outside the vocabulary.
    pub fn gradients(
        &self,
        form: &Form,
        ids: &Tensor<usize>,
        targets: &Targets,
    ) -> Result<(ModelStages<T>, ModelGradients<T>), Error> {
        self.gradients_by(form, (ids, &documents_of_ids(ids)?), targets)
    }

    /// The same over rows of documents; nothing may be counted at padding.
    ///
    /// # Errors
    ///
    /// As [`gradients`](Self::gradients), and if the documents are not those of `ids`.
    pub fn gradients_of_documents(
        &self,
        form: &Form,
        ids: &Tensor<usize>,
        documents: &Documents,
        targets: &Targets,
    ) -> Result<(ModelStages<T>, ModelGradients<T>), Error> {
        self.gradients_by(form, (ids, documents), targets)
    }
}

impl<T: Real> ModelParameters<T> {
    /// [`gradients_of_documents`](Self::gradients_of_documents) through hooks.
    pub(crate) fn gradients_by(
        &self,
        hooks: &dyn ModelBackward<T>,
        rows: Rows<'_, usize>,
        targets: &Targets,
    ) -> Result<(ModelStages<T>, ModelGradients<T>), Error> {
        let model = self.model()?;
        check_targets(targets, rows.1, self.config().vocab_size)?;
        let stages = model.forward_by(hooks, rows, None)?;
        let back = Back {
            parameters: self,
            model: &model,
            hooks,
            documents: rows.1,
        };
        let gradients = back.run(rows.0, targets, &stages)?;
        Ok((stages, gradients))
    }
}

/// The way back through one model on one batch.
struct Back<'a, T: Real> {
    parameters: &'a ModelParameters<T>,
    model: &'a Model<T>,
    hooks: &'a dyn ModelBackward<T>,
    documents: &'a Documents,
}

impl<T: Real> Back<'_, T> {
    fn run(
        &self,
        ids: &Tensor<usize>,
        targets: &Targets,
        stages: &ModelStages<T>,
    ) -> Result<ModelGradients<T>, Error> {
        let weights = self.hooks.weights(targets)?;
        let of_token = |logits: &[T], target| self.hooks.token_loss(logits, target);
        let logits = self.hooks.logits(stages.logits.clone());
        let (loss, of_logits) = weighted_loss(&logits, targets, &weights, of_token)?;
        let of_logits = self.hooks.cotangent(Cotangent::Logits, of_logits);

        let mut found = Named::new();
        let counted = self.hooks.documents(Part::Positions, self.documents);
        let embedded = || self.model.embed((ids, self.documents), &counted, None);
        // What enters block i, and after the last block the last LayerNorm.
        let entering = |i: usize| -> Result<Tensor<T>, Error> {
            let sum = match i.checked_sub(1) {
                None => self.hooks.embedded(embedded()?),
                Some(before) => {
                    let [hidden, residual] = &stages.blocks[before];
                    Tensor::known(hidden.shape(), add(hidden.data(), residual.data()))
                }
            };
            Ok(sum.map(|x| self.hooks.on_residual(x)))
        };
        let blocks = &self.model.blocks;
        let last = entering(blocks.len())?;
        let (mut g, head) = self.head(&last, &of_logits, &mut found)?;
        let mut cotangents = Vec::with_capacity(blocks.len());
        for (i, block) in blocks.iter().enumerate().rev() {
            let in_block = |e: Error| Error::value(format!("block {i}"), e.to_string());
            let [_, residual] = &stages.blocks[i];
            let input = entering(i)?;
            let [hidden, of_residual, of_input] = self
                .block((i, block), &input, residual, g, &mut found)
                .map_err(in_block)?;
            g = of_input;
            cotangents.push([hidden, of_residual]);
        }
        cotangents.reverse();
        let lookup = self.look_up(ids, &counted, &g, &mut found)?;
        let embeddings = self.hooks.tied(&head, &lookup)?;
        found.insert(ModelName::Embeddings, embeddings.entries().to_vec());
        let parameters = ModelParameters::new(self.parameters.config().clone(), |name| {
            let gradient = found.remove(name);
            gradient.ok_or_else(|| Error::missing(format!("gradient of {}", name.official())))
        })?;
        let table = |of: Matrix<T>| Tensor::known([of.rows(), of.cols()], of.entries().to_vec());
        Ok(ModelGradients {
            loss,
            parameters,
            logits: of_logits,
            head: table(head),
            lookup: table(lookup),
            blocks: cotangents,
        })
    }

    /// Every token of the rows, and its place.
    fn places(&self) -> impl Iterator<Item = usize> {
        let len = self.documents.seq_len();
        let documents = self.documents.iter();
        documents.flat_map(move |(b, tokens)| tokens.map(move |i| b * len + i))
    }

    /// Back through the head and the last LayerNorm: the cotangent of what enters it, and the head's part
    /// of the embedding's gradient.
    ///
    /// ```text
    /// logits = E n,  n = norm(x)        E: g n^T        n: E^T g
    /// ```
    fn head(
        &self,
        x: &Tensor<T>,
        g: &Tensor<T>,
        found: &mut Named<T>,
    ) -> Result<(Tensor<T>, Matrix<T>), Error> {
        let (vocab, d) = (self.model.embeddings.rows(), self.model.embeddings.cols());
        let words = Linear::new(self.model.embeddings.clone(), vec![T::ZERO; vocab])?;
        let mut of_words = Linear::zeros(vocab, d);
        let norm = &self.model.norm;
        let mut of_normed = Tensor::filled(x.shape(), T::ZERO);
        for r in self.places() {
            let normed = self.hooks.norm(norm, true, x.row(r))?;
            let back = words.adjoint(&normed, g.row(r), &mut of_words);
            of_normed.row_mut(r).copy_from_slice(&back);
        }
        let names = [ModelName::NormWeight, ModelName::NormBias];
        let of_input = self.norm_back((norm, true), x, &of_normed, names, found)?;
        Ok((of_input, of_words.weight))
    }

    /// Back through a LayerNorm of every token, from the cotangent of what it returned to that of `x`.
    fn norm_back(
        &self,
        (norm, last): (&LayerNorm<T>, bool),
        x: &Tensor<T>,
        g: &Tensor<T>,
        [weight, bias]: [ModelName; 2],
        found: &mut Named<T>,
    ) -> Result<Tensor<T>, Error> {
        let d = self.parameters.config().d_model();
        let (mut of_weight, mut of_bias) = (vec![T::ZERO; d], vec![T::ZERO; d]);
        let mut of_input = Tensor::filled(x.shape(), T::ZERO);
        for r in self.places() {
            let of_token = self.hooks.norm_back(norm, last, x.row(r), g.row(r))?;
            of_weight = add(&of_weight, &of_token.weight);
            of_bias = add(&of_bias, &of_token.bias);
            of_input.row_mut(r).copy_from_slice(&of_token.input);
        }
        found.extend([(weight, of_weight), (bias, of_bias)]);
        Ok(of_input)
    }

    /// Back through one block, from the cotangent `g` of the sum of what it returns: those of its hidden
    /// values, its residual and its input.
    ///
    /// ```text
    /// residual = input + mixer(norm1(input))      hidden = mlp(norm2(residual))      sum = hidden + residual
    /// hidden: g      residual: g + norm2^T mlp^T g      input: residual's + norm1^T mixer^T residual's
    /// ```
    fn block(
        &self,
        (i, block): (usize, &Block<T>),
        input: &Tensor<T>,
        residual: &Tensor<T>,
        g: Tensor<T>,
        found: &mut Named<T>,
    ) -> Result<[Tensor<T>; 3], Error> {
        let d = self.parameters.config().d_model();
        let of = |name| ModelName::Block(i, name);
        let at = |which| Cotangent::Block(i, which);
        let plus = |a: &Tensor<T>, b: &Tensor<T>| Tensor::known(a.shape(), add(a.data(), b.data()));
        let of_hidden = self.hooks.cotangent(at(BlockStage::Hidden), g);

        let between = residual.map(|x| self.hooks.on_residual(x));
        let mut of_mlp = block.mlp.zero_gradient();
        let mut of_normed = Tensor::filled(of_hidden.shape(), T::ZERO);
        for r in self.places() {
            let normed = self.hooks.norm(&block.norm2, false, between.row(r))?;
            let back = block.mlp.adjoint(
                &normed,
                of_hidden.row(r),
                |x| self.hooks.activation(x),
                |x| self.hooks.slope(x),
                &mut of_mlp,
            );
            of_normed.row_mut(r).copy_from_slice(&back);
        }
        found.extend(linear(
            of_mlp.fc1,
            [BlockName::Fc1Weight, BlockName::Fc1Bias].map(of),
        ));
        found.extend(linear(
            of_mlp.fc2,
            [BlockName::Fc2Weight, BlockName::Fc2Bias].map(of),
        ));
        let names = [BlockName::Norm2Weight, BlockName::Norm2Bias].map(of);
        let back = self.norm_back((&block.norm2, false), &between, &of_normed, names, found)?;
        let of_residual = plus(&of_hidden, &back);
        let of_residual = self.hooks.cotangent(at(BlockStage::Residual), of_residual);

        let norm = |x: &[T]| self.hooks.norm(&block.norm1, false, x);
        let u = tokens(input, self.documents, d, norm)?;
        let of_normed = self.mixer((i, &block.mixer), &u, &of_residual, found)?;
        let names = [BlockName::Norm1Weight, BlockName::Norm1Bias].map(of);
        let back = self.norm_back((&block.norm1, false), input, &of_normed, names, found)?;
        let of_input = plus(&of_residual, &back);
        Ok([of_hidden, of_residual, of_input])
    }

    /// Back through a mixer, from the cotangent of its output to that of its input.
    fn mixer(
        &self,
        (i, mixer): (usize, &Mixer<T>),
        u: &Tensor<T>,
        g: &Tensor<T>,
        found: &mut Named<T>,
    ) -> Result<Tensor<T>, Error> {
        let of = |name| ModelName::Block(i, name);
        match mixer {
            Mixer::H3(layer) => {
                let documents = self.hooks.documents(Part::H3, self.documents);
                let gradients = self.hooks.h3_back(i, layer, (u, &documents), g)?;
                let official = self.parameters.h3(i)?.gradients(&gradients)?;
                let values = |name| official.get(name).to_vec();
                found.extend(Name::ALL.map(|name| (of(BlockName::H3(name)), values(name))));
                Ok(gradients.input)
            }
            Mixer::S4d(layer) => {
                let documents = self.hooks.documents(Part::H3, self.documents);
                let ways = (self.hooks.models(), self.hooks.models_back());
                let gradient = layer.adjoint(ways, (u, &documents), g)?;
                let of_models = self.parameters.s4d(i, &|x| x).gradients(&gradient.models)?;
                for name in BlockName::S4D_NAMES {
                    if let Some(values) = of_models.get(name) {
                        found.insert(of(BlockName::S4d(name)), values.to_vec());
                    }
                }
                let names = [Name::OutputWeight, Name::OutputBias].map(BlockName::S4d);
                found.extend(linear(gradient.output, names.map(of)));
                Ok(gradient.input)
            }
            Mixer::Attention(attention) => {
                let documents = self.hooks.documents(Part::Attention, self.documents);
                let attend = |[q, k, v]: [&Matrix<T>; 3], scale| self.hooks.attend(q, k, v, scale);
                let back = |qkv: [&_; 3], scale, g: &_| self.hooks.attend_back(qkv, scale, g);
                let mut gradient = attention.adjoint((u, &documents), g, attend, back)?;
                let d = self.parameters.config().d_model();
                let keys = &mut gradient.qkv.bias[d..2 * d];
                let of_keys = self.hooks.key_biases(keys);
                keys.copy_from_slice(&of_keys);
                found.extend(linear(
                    gradient.qkv,
                    [BlockName::QkvWeight, BlockName::QkvBias].map(of),
                ));
                found.extend(linear(
                    gradient.output,
                    [BlockName::OutWeight, BlockName::OutBias].map(of),
                ));
                Ok(gradient.input)
            }
        }
    }

    /// Back through the embedding of tokens and positions: what every row that was looked up receives.
    fn look_up(
        &self,
        ids: &Tensor<usize>,
        counted: &Documents,
        g: &Tensor<T>,
        found: &mut Named<T>,
    ) -> Result<Matrix<T>, Error> {
        let zeros = |of: &Matrix<T>| of.map(|_| T::ZERO);
        let mut lookup = zeros(&self.model.embeddings);
        let mut of_positions = zeros(&self.model.positions);
        let positions = self.model.positions_of(counted, None)?;
        let receive = |table: &mut Matrix<T>, row: usize, g: &[T]| {
            let sum = add(table.row(row), g);
            table.row_mut(row).copy_from_slice(&sum);
        };
        for r in self.places() {
            receive(&mut lookup, ids.data()[r], g.row(r));
            if of_positions.rows() > 0 {
                receive(&mut of_positions, positions[r], g.row(r));
            }
        }
        found.insert(ModelName::Positions, of_positions.entries().to_vec());
        Ok(lookup)
    }
}

/// The gradient of a projection, under the names of its weight and bias.
fn linear<T: Real>(
    gradient: Linear<T>,
    [weight, bias]: [ModelName; 2],
) -> [(ModelName, Vec<T>); 2] {
    let entries = gradient.weight.entries().to_vec();
    [(weight, entries), (bias, gradient.bias)]
}
