//! Operators of the Hyena family over the prime field: every stage and gradient in every form, and the
//! M_xy question with their filters.

use super::trials::outcomes;
use crate::algebra::{Field, M61, Ring, Rng, Sample};
use crate::error::Error;
use crate::flashconv::{Chunking, MatrixSet, pass_states_packed};
use crate::h3::Form;
use crate::into_vec::IntoVec as _;
use crate::oracle::{
    ByForm, Filters, Function, Inputs, Operator, SUITE_SEED, Source, Stages,
    operators_of_the_suite, taps_model,
};
use crate::ssm::{Diagonal, PackedGradients, PackedResponse, StateSpace};
use crate::tensor::Tensor;
use core::cell::Cell;
use core::ops::Range;
use num_complex::Complex;

/// One kind of operator, its filters free taps or state space models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperatorReport {
    /// The kind, as in files.
    pub kind: &'static str,
    /// Results compared: all stages, states and gradients of one operator in one form.
    pub compared: usize,
    /// Those that were equal to the recurrence's.
    pub equal: usize,
    /// Results of chunks with a consistent set of matrices, and with the rows of M_xy one step early,
    /// which differ where a chunk begins within a document.
    pub chunked: usize,
    /// Those that are as they must be: equal to the recurrence's, or refused.
    pub as_expected: usize,
}

impl OperatorReport {
    /// Results that differ and must not, or are equal and must not be.
    #[must_use]
    pub fn failures(&self) -> usize {
        self.compared - self.equal + self.chunked - self.as_expected
    }

    /// The number of results compared.
    #[must_use]
    pub fn comparisons(&self) -> usize {
        self.compared + self.chunked
    }
}

/// Runs the operators of the suite, `trials` times each on new numbers of the prime field with new chunk
/// lengths, in every form, forwards and backwards; and in chunks with consistent sets of FlashConv's
/// matrices and with the inconsistent one.
///
/// Sines, exponentials and norms (implicit filters, poles given by their logarithms) have no meaning there:
/// those filters are free numbers, from which the rest is computed.
///
/// # Errors
///
/// If a form refuses an operator, which none should.
pub fn operators(seed: u64, trials: usize) -> Result<Vec<OperatorReport>, Error> {
    let operators = operators_of_the_suite(SUITE_SEED)?;
    let found = outcomes(operators.len() * trials, |trial| {
        let rng = &mut Rng::new(seed ^ ((trial as u64 + 1) << 24));
        compare(&operators[trial / trials], rng)
    })?;
    let mut reports: Vec<OperatorReport> = Vec::new();
    for found in found {
        match reports.iter_mut().find(|of| of.kind == found.kind) {
            None => reports.push(found),
            Some(report) => {
                report.compared += found.compared;
                report.equal += found.equal;
                report.chunked += found.chunked;
                report.as_expected += found.as_expected;
            }
        }
    }
    Ok(reports)
}

/// One operator, on numbers drawn for it.
fn compare(operator: &Operator, rng: &mut Rng) -> Result<OperatorReport, Error> {
    let mut report = OperatorReport {
        kind: operator.kind,
        compared: 0,
        equal: 0,
        chunked: 0,
        as_expected: 0,
    };
    let numbers = Drawn::of(&operator.inputs, rng);
    let len = operator.longest();
    let chunk = 1 + rng.below(len);
    let by = |form: &Form| run(operator, &numbers, &ByForm(form), true);
    let expected = by(&Form::Recurrence)?;
    for form in Form::all([Chunking::Uniform(chunk)]) {
        report.compared += 1;
        report.equal += usize::from(by(&form)? == expected);
    }
    if len < 2 {
        return Ok(report);
    }
    let chunk = 1 + rng.below(len - 1);
    for set in [
        MatrixSet::EndOfChunk,
        MatrixSet::AdvancedState,
        MatrixSet::EarlyRows,
    ] {
        let filters = InChunks {
            set,
            chunk,
            first_cut: Cell::new(usize::MAX),
            shortest: Cell::new(usize::MAX),
        };
        // The states that are passed are advanced in one of the sets.
        let found = run(operator, &numbers, &filters, false)?;
        let is_equal = operator.result(&found) == operator.result(&expected);
        report.chunked += 1;
        // Where the chunks of a row begin with its documents, or past what is left of it, no state is
        // passed.
        let is_passed = filters.first_cut.get() < filters.shortest.get();
        let is_wrong = set == MatrixSet::EarlyRows && is_passed;
        report.as_expected += usize::from(is_equal != is_wrong);
    }
    Ok(report)
}

/// The stages of an operator, and its gradients.
fn run(
    operator: &Operator,
    numbers: &Drawn,
    by: &dyn Filters<M61>,
    gradients: bool,
) -> Result<Stages<M61>, Error> {
    let (graph, inputs) = (&operator.graph, &operator.inputs);
    let computed = graph.forward(numbers, by, &|_, stage, _| Ok(stage))?;
    let mut stages = computed.stages();
    if gradients {
        stages.extend(graph.gradients(inputs, numbers, &computed.values, by)?);
    }
    Ok(stages)
}

/// Numbers of the field in the place of an operator's.
struct Drawn {
    given: Vec<Tensor<M61>>,
    /// Of the numbers in the place of functions.
    seed: u64,
}

impl Drawn {
    fn of(inputs: &Inputs, rng: &mut Rng) -> Self {
        let given = inputs.all().iter();
        Self {
            given: given
                .map(|input| input.values.map(|_| M61::sample(rng)))
                .into_vec(),
            seed: rng.next_u64(),
        }
    }
}

impl Source<M61> for Drawn {
    fn given(&self, at: usize) -> Tensor<M61> {
        self.given[at].clone()
    }

    fn halves(&self, n: i64) -> M61 {
        // Two has an inverse modulo an odd number.
        let half = M61::from_i64(2).inverse().unwrap_or(M61::ZERO);
        M61::from_i64(n) * half
    }

    /// The same numbers in every form.
    fn function(
        &self,
        node: usize,
        function: &Function,
        operands: &[&Tensor<M61>],
    ) -> Result<Tensor<M61>, Error> {
        let rng = &mut Rng::new(self.seed ^ node as u64);
        let shape = function.shape(operands);
        let count = shape.iter().product();
        Tensor::new(shape, (0..count).map(|_| M61::sample(rng)).into_vec())
    }

    /// Free numbers are functions of nothing.
    fn function_adjoint(
        &self,
        _function: &Function,
        _at: [&Tensor<M61>; 2],
        _g: &Tensor<M61>,
    ) -> Result<Option<Vec<M61>>, Error> {
        Ok(None)
    }
}

/// Filters in chunks, with a set of matrices.
struct InChunks {
    set: MatrixSet,
    chunk: usize,
    /// The first token with which a chunk begins within a document.
    first_cut: Cell<usize>,
    /// The shortest row: Hyena cuts its rows to `l_max` after the short filter.
    shortest: Cell<usize>,
}

impl InChunks {
    fn respond<S: StateSpace<Scalar = M61>>(
        &self,
        ssm: &S,
        u: &[M61],
        documents: &[Range<usize>],
    ) -> Result<PackedResponse<S>, Error> {
        let zeros = vec![S::Element::ZERO; ssm.state_dim()];
        let x0 = vec![&zeros[..]; documents.len()];
        let within =
            |tokens: &Range<usize>| (tokens.start + 1..tokens.end).find(|i| i % self.chunk == 0);
        let cut = documents.iter().filter_map(within).min();
        self.first_cut
            .set(self.first_cut.get().min(cut.unwrap_or(usize::MAX)));
        self.shortest.set(self.shortest.get().min(u.len()));
        pass_states_packed(
            ssm,
            &self.set,
            u,
            documents,
            &x0,
            &Chunking::Uniform(self.chunk),
        )
    }
}

/// The forward pass alone is asked for.
fn no_adjoint<T>() -> Result<T, Error> {
    Err(Error::unsupported("a set of matrices run backwards"))
}

impl Filters<M61> for InChunks {
    fn convolve(
        &self,
        _at: &str,
        f: &[M61],
        u: &[M61],
        documents: &[Range<usize>],
    ) -> Result<Vec<M61>, Error> {
        Ok(self.respond(&taps_model(f, u)?, u, documents)?.output)
    }

    fn convolve_adjoint(
        &self,
        _at: &str,
        _f: &[M61],
        _of: (&[M61], &[M61]),
        _documents: &[Range<usize>],
    ) -> Result<(Vec<M61>, Vec<M61>), Error> {
        no_adjoint()
    }

    fn modes_kernel(&self, ssm: &Diagonal<M61>, len: usize) -> Vec<M61> {
        ssm.kernel(len)
    }

    fn modes(
        &self,
        _at: &str,
        ssm: &Diagonal<M61>,
        _kernel: &[M61],
        u: &[M61],
        documents: &[Range<usize>],
    ) -> Result<PackedResponse<Diagonal<M61>>, Error> {
        self.respond(ssm, u, documents)
    }

    fn modes_adjoint(
        &self,
        _at: &str,
        _ssm: &Diagonal<M61>,
        _of: (&[M61], &[M61]),
        _documents: &[Range<usize>],
        _states: &[Vec<Complex<M61>>],
    ) -> Result<PackedGradients<Diagonal<M61>>, Error> {
        no_adjoint()
    }
}
