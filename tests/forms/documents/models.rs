//! Claim: over a row of documents every form of a model of any structure computes each document from
//! its own initial state alone, and every gradient is that of each document alone, parameters summed;
//! exactly.

use super::super::gradients::support::*;
use super::support::{forms, packed_rows, ranges};
use hungry_hippos::algebra::{Ring, Rng};
use hungry_hippos::h3::{AdjointForm, ModelForm};
use hungry_hippos::ssm::{Adjoint, StateSpace, recurrence, recurrence_adjoint};
use proptest::prelude::*;
use std::ops::Range;

type State<F> = Vec<<<F as Structure>::Model<Exact> as StateSpace>::Element>;

fn flat_states<F: Structure>(states: &[State<F>]) -> Vec<Exact> {
    let flat = states.iter().map(|x| F::flat_state::<Exact>(x));
    flat.collect::<Vec<_>>().concat()
}

fn agree<F: Structure>(m: usize, t: usize, len: usize, row: &[Range<usize>], rng: &mut Rng) {
    let ssm = F::build(m, &random::<Exact>(F::size(m), rng));
    let (u, g): (Vec<Exact>, Vec<Exact>) = (random(len, rng), random(len, rng));
    let mut states = || -> Vec<State<F>> {
        let one = |_| F::state::<Exact>(&random(F::state_size(m), rng));
        row.iter().map(one).collect()
    };
    let (x0, g_states) = (states(), states());
    let refs = |states| -> Vec<_> { Iterator::collect(<[State<F>]>::iter(states).map(|x| &x[..])) };
    let (x0, g_states) = (refs(&x0), refs(&g_states));

    let (mut output, mut input) = (vec![Exact::ZERO; len], vec![Exact::ZERO; len]);
    let (mut after, mut before) = (Vec::new(), Vec::new());
    let mut model = ssm.zero_gradient();
    for ((tokens, x0), g_state) in row.iter().zip(&x0).zip(&g_states) {
        let (u, g) = (&u[tokens.clone()], &g[tokens.clone()]);
        let alone = recurrence(&ssm, u, Some(x0)).expect("fits");
        output[tokens.clone()].copy_from_slice(&alone.output);
        after.push(alone.state);
        let alone = recurrence_adjoint(&ssm, u, Some(x0), g, Some(g_state)).expect("fits");
        input[tokens.clone()].copy_from_slice(&alone.input);
        before.push(alone.state);
        model.add_gradient(&alone.model);
    }
    let longest = row.iter().map(Range::len).max().unwrap_or(0);
    let kernel = ssm.kernel(longest);
    for form in forms(len, t, rng) {
        let what = format!("{form:?} over {row:?}");
        let found = form.respond_to_row(&ssm, &kernel, &u, row, &x0);
        let found = found.expect("fits");
        assert_eq!(found.output, output, "outputs, {what}");
        let states = flat_states::<F>(&found.states);
        assert_eq!(states, flat_states::<F>(&after), "final states, {what}");

        let found = form.gradients_of_row(&ssm, (&u, &g), row, [&x0, &g_states], longest);
        let found = found.expect("fits");
        assert_eq!(found.input, input, "gradient of the input, {what}");
        let states = flat_states::<F>(&found.states);
        assert_eq!(
            states,
            flat_states::<F>(&before),
            "of initial states, {what}"
        );
        let found = F::flatten(&found.model);
        assert_eq!(found, F::flatten(&model), "of the model, {what}");
    }
}

fn agree_for_all_structures(m: usize, t: usize, len: usize, row: &[Range<usize>], rng: &mut Rng) {
    agree::<IsDense>(m, t, len, row, rng);
    agree::<IsDiagonal>(m, t, len, row, rng);
    agree::<IsShift>(m, t, len, row, rng);
}

#[test]
fn packed_is_each_document_alone() {
    let rng = &mut Rng::new(1);
    for (m, t) in [(1, 4), (4, 4), (5, 3)] {
        for (lengths, why) in packed_rows(m, t) {
            println!("m {m}, chunks of {t}, documents of {lengths:?}: {why}");
            let len = lengths.iter().sum();
            agree_for_all_structures(m, t, len, &ranges(&lengths, 0), rng);
        }
    }
}

/// Documents need not cover a row, nor hold a token.
#[test]
fn padding_and_documents_without_tokens_change_nothing() {
    let rng = &mut Rng::new(2);
    let (m, t) = (4, 4);
    for (len, row, why) in [
        (12, ranges(&[7], 0), "padding after"),
        (
            12,
            ranges(&[7], 5),
            "padding before, its end within a chunk",
        ),
        (12, ranges(&[8], 4), "padding before, a whole chunk of it"),
        (12, ranges(&[1], 11), "one token at the end"),
        (
            20,
            vec![2..5, 5..6, 10..17],
            "padding before, between and after",
        ),
        (9, Vec::new(), "padding alone"),
        (
            7,
            vec![0..0, 0..3, 3..3, 3..7, 7..7],
            "documents without tokens",
        ),
    ] {
        println!("documents {row:?} of {len}: {why}");
        agree_for_all_structures(m, t, len, &row, rng);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn rows_are_each_document_alone(
        m in 1usize..=8,
        t in 1usize..=12,
        lengths in prop::collection::vec(1usize..=20, 1..6),
        gaps in prop::collection::vec(0usize..=5, 6),
        padded: bool,
        seed: u64,
    ) {
        let mut row = ranges(&lengths, 0);
        let mut shift = 0;
        for (tokens, gap) in row.iter_mut().zip(&gaps) {
            shift += if padded { *gap } else { 0 };
            *tokens = tokens.start + shift..tokens.end + shift;
        }
        let end = row.last().map_or(0, |tokens| tokens.end);
        let len = end + if padded { gaps[5] } else { 0 };
        agree_for_all_structures(m, t, len, &row, &mut Rng::new(seed));
    }
}
