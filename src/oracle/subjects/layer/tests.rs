//! What the search for a mistake asks of a row of the catalogue, held against running it.

use super::LayerHook;
use super::suite::random_parameter;
use super::{LayerCase, forward_mistakes};
use crate::algebra::Rng;
use crate::h3::{Config, HeadOrder, Name, Parameters, RealType};
use crate::oracle::mistake::Row;
use crate::oracle::subject::{Named, Setting, Subject};
use crate::ssm::Discretization;
use crate::tensor::Tensor;

/// A layer of two heads, sequences of 13 tokens, with this many taps.
fn case(d_state: usize, batch: usize) -> LayerCase {
    let rng = &mut Rng::new(11);
    let config = Config {
        d_model: 2,
        head_dim: 1,
        d_state,
        n_ssm: 2,
        disc: Discretization::Bilinear,
        real_type: RealType::Exp,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    let parameters = Parameters::new(config.clone(), |name: Name| {
        let size = name.shape(&config).iter().product();
        let value = |_| random_parameter(&config, (0.1, 0.7), name, rng);
        Ok((0..size).map(value).collect())
    });
    let input = Tensor::filled([batch, 13, 2], 0.0).map(|_| rng.unit());
    LayerCase::new(parameters.expect("a layer"), input).expect("a case")
}

fn run(
    case: &LayerCase,
    row: &'static Row<LayerHook>,
    chunk_len: usize,
    tokens: Option<usize>,
) -> Named<f64> {
    let setting = Setting { chunk_len, tokens };
    let stages = Subject::run_with(case, &[row], setting);
    stages.unwrap_or_else(|e| panic!("{}: {e}", row.mistake.id))
}

fn output(stages: &Named<f64>) -> &[f64] {
    let found = stages.iter().find(|(name, _)| name == "output");
    found.expect("a stage").1.data()
}

/// What a causal mistake makes of the first tokens is what it makes of them on their own, bit for
/// bit; and those that are not causal show that they are not, on a layer of a short window or of a
/// long one.
#[test]
fn causal_mistakes_do_not_look_ahead() {
    let cases = [case(4, 1), case(32, 1)];
    for row in forward_mistakes() {
        let looks_ahead = |case: &LayerCase| {
            let (whole, beginning) = (run(case, row, 3, None), run(case, row, 3, Some(6)));
            output(&whole)[..6 * 2] != *output(&beginning)
        };
        let seen = cases.iter().any(looks_ahead);
        assert_eq!(LayerCase::is_causal(row), !seen, "{}", row.mistake.id);
    }
}

/// A mistake that sits between chunks or has a number, and no other, depends on their length.
#[test]
fn mistakes_between_chunks_depend_on_the_chunk_length() {
    let case = case(4, 2);
    for row in forward_mistakes() {
        let seen = run(&case, row, 3, None) != run(&case, row, 4, None);
        assert_eq!(LayerCase::needs_chunks(row), seen, "{}", row.mistake.id);
    }
}

/// Of no tokens every mistake makes nothing.
#[test]
fn of_no_tokens_there_is_nothing() {
    for row in forward_mistakes() {
        let stages = run(&case(4, 1), row, 3, Some(0));
        assert!(output(&stages).is_empty(), "{}", row.mistake.id);
    }
}
