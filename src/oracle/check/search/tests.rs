use super::super::compare::compare;
use super::*;
use crate::model::{ModelParameters, ModelPreset};
use crate::oracle::candidate::Candidate;
use crate::oracle::format::Format;
use crate::oracle::subjects::layer::LayerCase;
use crate::oracle::subjects::model::ModelCase;
use crate::tensor::Tensor;

const CHUNK_LEN: usize = 7;

type Known = &'static Row<<LayerCase as Subject>::Hook>;

/// The mistakes of the forward pass.
fn group() -> Vec<Known> {
    LayerCase::mistakes(false).concat()
}

fn mistake(name: &str) -> Known {
    let mut known = group().into_iter();
    known
        .find(|row| row.mistake.name == name)
        .expect("in the catalogue")
}

/// The ids of mistakes, in the order of the catalogue.
fn ids(rows: &[Known]) -> Vec<&'static str> {
    let mut ids: Vec<_> = rows.iter().map(|row| row.mistake.id).collect();
    ids.sort_unstable();
    ids
}

fn is_of(suspect: &Suspect, rows: &[Known]) -> bool {
    suspect.mistakes.iter().map(|m| m.id).eq(ids(rows))
}

fn layer(name: &str) -> LayerCase {
    GoldenOf::stored(name).subject
}

fn golden() -> GoldenOf<LayerCase> {
    GoldenOf::stored("29-one-channel")
}

fn run(golden: &GoldenOf<LayerCase>, mistakes: &[Known]) -> Named<f64> {
    let setting = Setting {
        chunk_len: CHUNK_LEN,
        tokens: None,
    };
    Subject::run_with(&golden.subject, mistakes, setting).expect("runs")
}

/// The search for what a port with these mistakes did, which dumped these stages.
fn search(
    mistakes: &[Known],
    dumped: &[&str],
    look: impl FnOnce(&Search<'_, LayerCase>, &GoldenOf<LayerCase>),
) {
    let golden = golden();
    let stages = run(&golden, mistakes);
    let stages = stages
        .iter()
        .filter(|(name, _)| dumped.contains(&name.as_str()));
    let arrays = stages.map(|(name, stage)| (name.as_str(), stage.data()));
    let candidate = Candidate::of_arrays(&golden.stages, arrays).expect("can be judged");
    let (compared, stages) = compare(&golden.stages, &candidate, Format::F64, 1e-300);
    let first = stages.iter().position(|s| !s.pass).expect("fails");
    look(
        &Search::new(&golden, &compared, first, vec![CHUNK_LEN]),
        &golden,
    );
}

fn of<'a>(stages: &'a Named<f64>, name: &str) -> &'a [f64] {
    let found = stages.iter().find(|(stage, _)| *stage == name);
    found.expect("a stage").1.data()
}

fn alike(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-12)
}

/// Pairs are tried up to the limit, and if it was reached it is said.
#[test]
fn pairs_end_at_the_limit() {
    let pair = [mistake("no_d"), mistake("imag_dropped")];
    search(&pair, &["q", "ssm_kernel", "ssm_out"], |search, golden| {
        let singles = search.singles(&group(), true).expect("tried");
        assert!(singles.suspects.is_empty());
        let (suspects, all) = search.pairs(&singles, usize::MAX);
        assert!(all && suspects.iter().any(|s| is_of(s, &pair)));
        // One pair alone, with what it takes and with less.
        let one = Singles {
            suspects: Vec::new(),
            explaining: vec![(mistake("imag_dropped"), CHUNK_LEN)],
            possible: pair.to_vec(),
        };
        let takes = golden.subject.cost(search.beginnings[0]);
        let (suspects, all) = search.pairs(&one, takes);
        assert!(all && suspects.len() == 1);
        let (suspects, all) = search.pairs(&one, takes - 1);
        assert!(suspects.is_empty() && !all);
    });
}

/// One of two mistakes explains the first stage that departs, and what stands right before it is
/// right with either.
#[test]
fn one_of_two_explains_the_first_stage() {
    let pair = [mistake("no_d"), mistake("imag_dropped")];
    search(&pair, &["q", "ssm_kernel", "ssm_out"], |search, golden| {
        let singles = search.singles(&group(), true).expect("tried");
        let (right, wrong) = (run(golden, &[]), run(golden, &pair[1..]));
        assert!(!alike(of(&right, "ssm_kernel"), of(&wrong, "ssm_kernel")));
        for row in group() {
            let stages = run(golden, &[row]);
            let explains = alike(of(&stages, "ssm_kernel"), of(&wrong, "ssm_kernel"));
            let mut explaining = singles.explaining.iter();
            let found = explaining.any(|&(other, len)| same(other, row) && len == CHUNK_LEN);
            let spoils = !alike(of(&stages, "q"), of(&right, "q"));
            let possible = singles.possible.iter().any(|other| same(other, row));
            assert_eq!(
                (found, possible),
                (explains && !spoils, !spoils),
                "{}",
                row.mistake.name
            );
        }
    });
}

/// Where a stage is right up to some step, what is wrong before that step is not looked at further:
/// the first steps tell.
#[test]
fn the_first_steps_tell() {
    let carry = mistake("carry_dropped");
    search(&[carry], &["q", "ssm_out"], |search, _| {
        assert_eq!(search.right, CHUNK_LEN);
        let singles = search.singles(&group(), true).expect("tried");
        for (row, stays) in [
            (carry, true),
            (mistake("no_d"), false),
            (mistake("no_bias_qkv"), false),
        ] {
            let mut possible = singles.possible.iter();
            let name = row.mistake.name;
            assert_eq!(possible.any(|other| same(other, row)), stays, "{name}");
            let fractions = search.fractions(&[row], CHUNK_LEN, None);
            assert_eq!(fractions.is_some(), stays, "{name}");
        }
        assert!(singles.suspects.iter().any(|s| is_of(s, &[carry])));
    });
}

/// What a mistake that is not causal makes of the first tokens depends on the others: it is run
/// whole.
#[test]
fn what_is_not_causal_is_run_whole() {
    let (wraps, causal) = (mistake("circular_fft_long"), mistake("no_d"));
    assert!(LayerCase::is_causal(causal) && !LayerCase::is_causal(wraps));
    search(&[wraps], &["ssm_kernel", "ssm_out"], |search, _| {
        let whole = search.beginnings.len() - 1;
        assert!(whole > 1);
        assert_eq!(search.shortest(&[causal]), 0);
        assert_eq!(search.shortest(&[wraps]), whole);
        assert_eq!(search.shortest(&[causal, wraps]), whole);
        let singles = search.singles(&group(), true).expect("tried");
        assert!(singles.suspects.iter().any(|s| is_of(s, &[wraps])));
    });
}

/// What a run is taken to cost, against its multiplications one by one.
#[test]
fn the_cost_of_a_run_is_counted() {
    // Six channels in heads of two.
    let case = layer("03-heads");
    let config = case.parameters().config();
    let (batch, len, d) = (case.input().shape()[0], 41, config.d_model);
    let pairs = config.head_dim * config.head_dim * config.n_heads();
    let mut counted = 0;
    for _sequence in 0..batch {
        for _projection in ["q", "k", "v", "output"] {
            counted += len * d * d;
        }
        // The shift model of every channel, the diagonal one of every pair.
        for _model in 0..d + pairs {
            // Every input with those before it; the state step by step; and its memory.
            counted += (0..len).map(|t| t + config.d_state).sum::<usize>() + 500;
        }
    }
    assert_eq!(case.cost(len), counted);
}

/// A model of 20 pairs of channels in every layer, with attention in some of its blocks.
fn model(n_layer: usize, attention: &[usize], batch: usize, len: usize) -> ModelCase {
    let mut config = ModelPreset::Tiny.config();
    (config.n_layer, config.attn_layer_idx) = (n_layer, attention.to_vec());
    (config.h3.d_model, config.h3.head_dim, config.h3.n_ssm) = (10, 2, 1);
    (config.d_inner, config.vocab_size, config.num_heads) = (1, 1, 1);
    let parameters = ModelParameters::new(config.clone(), |name| {
        Ok(vec![0.5; name.shape(&config).iter().product()])
    });
    let ids = Tensor::new([batch, len], vec![0; batch * len]).expect("fits");
    ModelCase::new(parameters.expect("a model"), ids).expect("tokens")
}

/// A direct convolution takes a product for every pair of tokens and of channels in every layer with
/// models; a projection one for every token and pair of its channels.
#[test]
fn the_cost_of_a_model_is_counted() {
    for (n_layer, attention, batch, len) in [
        (1, &[][..], 1, 1000),
        (4, &[], 1, 500),
        (5, &[0], 2, 500),
        (1, &[0], 1, 9),
    ] {
        let convolutions = (n_layer - attention.len()) * 20 * len * len;
        let (projections, mlp) = (8 * 10 * 10, 2 * 10);
        let each_token = n_layer * (projections + mlp);
        let expected = batch * (convolutions + each_token * len);
        assert_eq!(model(n_layer, attention, batch, len).cost(len), expected);
    }
}

/// A later group of mistakes is tried where its runs take no longer than the limit; the first
/// always is.
#[test]
fn later_groups_are_tried_up_to_a_limit() {
    let groups = ModelCase::mistakes(false);
    let cost = |len: usize| model(1, &[], 1, len).cost(len) * groups[1].len();
    // The longest sequence on which the layers' mistakes are tried.
    let longest = (1..).take_while(|&len| cost(len) <= GROUP_WORK).last();
    let longest = longest.expect("one token is little");
    assert!((500..5000).contains(&longest), "{longest} tokens");
    for (len, tried) in [(longest, true), (longest + 1, false)] {
        assert_eq!(is_tried(len, groups[1].len()), tried, "{len} tokens");
    }
}

fn is_tried(len: usize, mistakes: usize) -> bool {
    let case = model(1, &[], 1, len);
    within_limit(case.cost(case.seq_len()), mistakes, false)
        && within_limit(usize::MAX, mistakes, true)
}

#[test]
fn the_doubt_ends_beyond_its_bound() {
    assert!(!out(DOUBT) && out(DOUBT.next_up()) && out(f64::INFINITY));
}

/// Suspects are within the tolerance, which includes it, and each is listed once.
#[test]
fn suspects_are_listed_once() {
    let pair = [mistake("no_d"), mistake("imag_dropped")];
    let (one, other) = (&pair[..1], &pair[..]);
    let mut suspects = Vec::new();
    suspect(&mut suspects, one, 1.0f64.next_up());
    assert!(suspects.is_empty());
    for (mistakes, worst) in [(one, 1.0), (other, 0.5), (one, 0.25)] {
        suspect(&mut suspects, mistakes, worst);
    }
    let listed: Vec<_> = suspects
        .iter()
        .map(|s| (s.mistakes.iter().map(|m| m.id).collect(), s.worst))
        .collect();
    assert_eq!(listed, [(ids(one), 1.0), (ids(other), 0.5)]);
}
