//! Subjects that are graphs: everything that the oracle asks of one, written once.

use super::super::layer::Analysis;
use super::filters::{ByForm, Filters};
use super::forward::Computed;
use super::hooks::{GraphHook, Moment, WrongFilters};
use super::inputs::{Inputs, cotangent_of};
use super::ops::{Graph, at_mark};
use crate::algebra::{ErrorBound, ErrorScale, Real, RootsOfUnity};
use crate::error::Error;
use crate::h3::{Form, Plain};
use crate::into_vec::IntoVec as _;
use crate::oracle::format::Format;
use crate::oracle::mistake::Row;
use crate::oracle::stage::StageSpec;
use crate::oracle::subject::{
    Given, Named, Scale, Setting, Subject, errors, largest_given, scaled,
};
use crate::oracle::upstream::{Replaced, Upstream, replaced_or_stored};
use crate::safetensors::Tensors;
use crate::tensor::Tensor;

/// A case whose stages a graph computes.
pub(crate) trait GraphCase: Clone + Send + Sync + 'static {
    /// The metadata `kind` of its files.
    const KIND: &'static str;
    /// The tensors that a file may hold or not.
    const OPTIONAL: &'static [&'static str];

    /// Reads what is given.
    ///
    /// # Errors
    ///
    /// Naming the tensor or metadata key at fault, and what was expected of it.
    fn read(file: &dyn Tensors) -> Result<Self, Error>;

    /// The choices that tensors do not tell, by their metadata keys, without the kind.
    fn choices(&self) -> Vec<(&'static str, String)>;

    /// The tensors that it is given.
    fn inputs(&self) -> &Inputs;

    /// The same, to be added to.
    fn inputs_mut(&mut self) -> &mut Inputs;

    /// Adds what is computed of them to a graph; `None` if one that it needs is not there.
    fn build(&self, graph: &mut Graph) -> Option<()>;

    /// The graph computed from the inputs.
    fn graph(&self) -> Graph {
        let mut graph = Graph::of(self.inputs());
        // Nothing is missing of a case that was read: it was built once there.
        let _ = self.build(&mut graph);
        graph
    }

    /// The same case with cotangents of the states that it leaves, made for their shapes.
    ///
    /// # Errors
    ///
    /// As `make`.
    fn with_state_cotangents(
        mut self,
        mut make: impl FnMut(&[usize]) -> Result<Tensor<f64>, Error>,
    ) -> Result<Self, Error> {
        for (state, shape) in self.graph().states_after_documents() {
            let values = make(&shape)?;
            self.inputs_mut()
                .push_cotangent(cotangent_of(&state), values, &[]);
        }
        Ok(self)
    }

    /// Inputs of every sequence.
    fn seq_len(&self) -> usize;

    /// One line on its sizes and choices.
    fn describe(&self) -> String;

    /// True for a stage that a port in two formats stores in that of its projections.
    fn is_projected(_stage: &str) -> bool {
        false
    }

    /// The known mistakes, of the forward pass or of the backward pass.
    fn mistakes(backward: bool) -> &'static [Row<GraphHook<Self>>];
}

/// The computation of an operator of any kind.
pub(crate) struct Operator {
    pub(crate) kind: &'static str,
    pub(crate) graph: Graph,
    pub(crate) inputs: Inputs,
    /// Tokens of a row.
    len: usize,
}

impl Operator {
    /// The operator of a case.
    pub(crate) fn of<K: GraphCase>(case: &K) -> Self {
        Self {
            kind: <K as GraphCase>::KIND,
            graph: case.graph(),
            inputs: case.inputs().clone(),
            len: GraphCase::seq_len(case),
        }
    }

    /// The tokens of its longest document.
    pub(crate) fn longest(&self) -> usize {
        self.graph.longest(self.len)
    }

    /// The stage that is its result.
    pub(crate) fn result<'a, T>(&self, stages: &'a Named<T>) -> Option<&'a Tensor<T>> {
        let mut known = self.graph.stages.iter();
        let result = known.find(|stage| stage.node == self.graph.result)?;
        let found = stages.iter().find(|(name, _)| *name == result.name);
        found.map(|(_, values)| values)
    }
}

/// Every stage, and with `gradients` these too.
fn stages<T: Real>(
    case: &impl GraphCase,
    by: &dyn Filters<T>,
    gradients: bool,
) -> Result<Named<T>, Error> {
    let (graph, inputs) = (case.graph(), case.inputs());
    let computed = graph.forward(inputs, by, &|_, stage, _| Ok(stage))?;
    let mut stages = computed.stages();
    if gradients {
        stages.extend(graph.gradients(inputs, inputs, &computed.values, by)?);
    }
    Ok(stages)
}

impl<K: GraphCase> Subject for K {
    const KIND: &'static str = <K as GraphCase>::KIND;
    const OPTIONAL: &'static [&'static str] = <K as GraphCase>::OPTIONAL;
    type Hook = GraphHook<K>;

    fn read(file: &dyn Tensors) -> Result<Self, Error> {
        let mut case = <K as GraphCase>::read(file)?;
        let mut graph = Graph::of(case.inputs());
        if case.build(&mut graph).is_none() {
            let what = "a tensor that a case of this kind is given";
            return Err(Error::missing(what));
        }
        if let Some("given") = file.metadata().get("initial_state").map(String::as_str) {
            let what = "metadata initial_state = given: not in a case of this kind";
            return Err(Error::unsupported(what));
        }
        let states = graph.states_after_documents();
        if states.is_empty() && case.inputs().schedule().is_some() {
            let what = "metadata sequence = schedule: this kind has no states to be handed over";
            return Err(Error::unsupported(what));
        }
        case.inputs_mut().read_state_cotangents(file, &states)?;
        Ok(case)
    }

    fn metadata(&self) -> Vec<(String, String)> {
        let mut metadata = vec![("kind".into(), <K as GraphCase>::KIND.into())];
        let choices = self.choices().into_iter();
        metadata.extend(choices.map(|(key, value)| (key.to_string(), value)));
        metadata.extend(self.inputs().metadata());
        metadata
    }

    fn given(&self) -> Vec<Given> {
        self.inputs().given()
    }

    fn stages(&self) -> Vec<StageSpec> {
        self.graph().specs(self.inputs())
    }

    fn seq_len(&self) -> usize {
        GraphCase::seq_len(self)
    }

    fn padding(&self) -> Vec<(usize, usize)> {
        let documents = self.inputs().documents();
        documents.map_or_else(Vec::new, |all| all.padding().into_vec())
    }

    fn default_form(&self) -> Form {
        Form::Convolution
    }

    fn describe(&self) -> String {
        GraphCase::describe(self)
    }

    fn run<T>(&self, form: &Form, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        stages(self, &ByForm(form), gradients)
    }

    fn run_plainly<T>(&self, gradients: bool) -> Result<Named<T>, Error>
    where
        T: Real,
        T::Complex: RootsOfUnity,
    {
        stages(self, &ByForm(&Plain::Convolution), gradients)
    }

    fn scales(&self) -> Result<Vec<Scale>, Error> {
        let gradients = self.inputs().has_cotangent();
        let stages = stages(self, &Analysis::UNIFORM, gradients)?;
        Ok(Scale::throughout(errors(stages)))
    }

    fn further_scales(&self, format: Format) -> Result<Named<ErrorBound>, Error> {
        if format.transforms().is_none() {
            return Ok(Vec::new());
        }
        let (analysis, ratio) = coarser_throughout(format);
        let gradients = self.inputs().cotangent().is_some();
        Ok(scaled(errors(stages(self, &analysis, gradients)?), ratio))
    }

    fn judged_in(format: Format) -> Format {
        match K::is_projected("output") {
            true => format,
            false => format.without_projections(),
        }
    }

    fn underflow_growth(&self) -> f64 {
        let largest = largest_given(&self.given());
        self.graph().nodes.len() as f64 * GraphCase::seq_len(self) as f64 * largest * largest
    }

    fn mistakes(backward: bool) -> Vec<Vec<&'static Row<GraphHook<K>>>> {
        vec![<K as GraphCase>::mistakes(backward).iter().into_vec()]
    }

    fn needs_chunks(row: &Row<GraphHook<K>>) -> bool {
        let mut hooks = row.hooks.iter();
        hooks.any(|hook| matches!(hook, GraphHook::AfterPrompt(..)))
    }

    fn cost(&self, tokens: usize) -> usize {
        self.graph().cost(tokens, GraphCase::seq_len(self))
    }

    fn run_with(
        &self,
        mistakes: &[&'static Row<GraphHook<K>>],
        setting: Setting<'_>,
    ) -> Result<Named<f64>, Error> {
        let hooks: Vec<GraphHook<K>> = mistakes
            .iter()
            .flat_map(|row| row.hooks.iter().copied())
            .into_vec();
        let mut case = self.clone();
        for hook in &hooks {
            if let GraphHook::Case(edit) = hook {
                edit(&mut case);
            }
        }
        let graph = case.graph();
        let filters = WrongFilters { hooks: &hooks };
        let replaced = replaced_or_stored(setting, K::is_projected);
        let on_stage = |name: &str, mut stage: Tensor<f64>, so_far: &Computed<'_, f64>| {
            let (mark, name_of_state) = at_mark(name);
            let moment = Moment {
                case: &case,
                so_far,
                prompt: setting.chunk_len,
                mark,
            };
            for hook in &hooks {
                match hook {
                    GraphHook::Stage(at, edit) | GraphHook::AfterPrompt(at, edit)
                        if *at == name_of_state =>
                    {
                        edit(&mut stage, &moment);
                    }
                    _ => {}
                }
            }
            Ok(replaced.stage(name, stage))
        };
        let computed = graph.forward(case.inputs(), &filters, &on_stage)?;
        if !setting.backward {
            return Ok(replaced.restore(computed.stages()));
        }
        let inputs = case.inputs();
        let mut gradients = graph.gradients(inputs, inputs, &computed.values, &filters)?;
        for hook in &hooks {
            if let GraphHook::Gradient(at, edit) = hook
                && let Some((_, gradient)) = gradients.iter_mut().find(|(name, _)| name == at)
            {
                edit(gradient, &case);
            }
        }
        Ok(gradients)
    }

    fn local_scales(
        &self,
        upstream: &Upstream,
        format: Format,
    ) -> Result<Named<ErrorBound>, Error> {
        let replaced = Replaced::within_roundings(upstream, format.projection_unit_roundoff());
        let graph = self.graph();
        let on_stage =
            |name: &str, stage, _: &Computed<'_, ErrorScale>| Ok(replaced.stage(name, stage));
        let (analysis, ratio) = coarser_throughout(format);
        let computed = graph.forward(self.inputs(), &analysis, &on_stage)?;
        let scales = errors(replaced.restore(computed.stages()));
        Ok(scaled(scales, ratio))
    }
}

/// The analysis of a port in two formats, which is taken for one in the coarser throughout, and the
/// coarser's unit roundoff over that of the models.
fn coarser_throughout(format: Format) -> (Analysis, f64) {
    let coarse = format.projection_unit_roundoff();
    let transforms = format.transform_unit_roundoff() / coarse;
    let analysis = Analysis::with_transforms(transforms);
    (analysis, coarse / format.unit_roundoff())
}
