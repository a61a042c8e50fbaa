//! Claim: recurrence = scan = Toeplitz = direct = FFT = block FFT = FlashConv, for every
//! structure of the state matrix, exactly, from any initial state, outputs and final state.

use crate::common::{lengths, ragged, trials};
use hungry_hippos::algebra::{M61, Rng, RootsOfUnity, Sample, Scalar};
use hungry_hippos::flashconv::{Chunking, chunk_states, flashconv};
use hungry_hippos::h3::Form;
use hungry_hippos::ssm::{
    Dense, Diagonal, Response, Shift, StateSpace, Stream, convolution, recurrence, scan, toeplitz,
};
use proptest::prelude::*;

/// Every form's response, with its name.
fn all_forms<S>(
    ssm: &S,
    u: &[S::Scalar],
    x0: Option<&[S::Element]>,
    rng: &mut Rng,
) -> Vec<(String, Response<S>)>
where
    S: StateSpace,
    <S::Scalar as Scalar>::Complex: RootsOfUnity,
{
    let mut responses = vec![
        ("recurrence".into(), recurrence(ssm, u, x0)),
        ("scan".into(), scan(ssm, u, x0)),
        ("toeplitz".into(), toeplitz(ssm, u, x0)),
        ("convolution".into(), convolution(ssm, u, x0)),
    ];
    for form in [Form::Fft, Form::RealFft, Form::BlockFft] {
        responses.push((form.to_string(), form.respond(ssm, u, x0)));
    }
    let chunk = 1 + rng.below(20);
    for chunking in [
        Chunking::Uniform(1),
        Chunking::Uniform(chunk),
        Chunking::Uniform(u.len() + 3),
        ragged(u.len(), rng),
    ] {
        responses.push((
            format!("flashconv {chunking:?}"),
            flashconv(ssm, u, x0, &chunking),
        ));
    }
    responses
        .into_iter()
        .map(|(name, response)| (name, response.expect("shapes fit")))
        .collect()
}

/// All forms agree with `==`, and a stream cut anywhere goes on where it was.
fn agree<S>(ssm: &S, u: &[S::Scalar], x0: &[S::Element], rng: &mut Rng)
where
    S: StateSpace + std::fmt::Debug,
    S::Scalar: PartialEq,
    S::Element: PartialEq,
    <S::Scalar as Scalar>::Complex: RootsOfUnity,
{
    for x0 in [None, Some(x0)] {
        let responses = all_forms(ssm, u, x0, rng);
        let (_, expected) = &responses[0];
        assert_eq!(expected.output.len(), u.len(), "one output an input");
        for (name, response) in &responses {
            assert_eq!(response, expected, "{name} on {ssm:?}");
        }
    }
    // Streaming: save in the middle, branch, resume.
    let cut = rng.below(u.len() + 1);
    let mut stream = Stream::resume(ssm, x0.to_vec()).expect("a state of this model");
    let mut output: Vec<_> = u[..cut].iter().map(|&u| stream.step(u)).collect();
    let branch = stream.clone();
    let mut resumed = Stream::resume(ssm, stream.state().to_vec()).expect("a saved state");
    output.extend(u[cut..].iter().map(|&u| resumed.step(u)));
    let whole = recurrence(ssm, u, Some(x0)).expect("shapes fit");
    assert_eq!(output, whole.output, "resumed stream");
    assert_eq!(resumed.state(), whole.state, "resumed stream's state");
    assert_eq!(branch.state(), stream.state(), "a clone is not touched");
    // The states FlashConv passes are the recurrence's states at the chunk ends.
    let chunking = ragged(u.len(), rng);
    let passed = chunk_states(ssm, u, Some(x0), &chunking).expect("shapes fit");
    let mut end = 0;
    for (len, state) in chunking.lengths(u.len()).expect("fits").iter().zip(passed) {
        end += len;
        let until = recurrence(ssm, &u[..end], Some(x0)).expect("shapes fit");
        assert_eq!(state, until.state, "state passed after {end} inputs");
    }
}

fn signal(n: usize, rng: &mut Rng) -> Vec<M61> {
    (0..n).map(|_| M61::sample(rng)).collect()
}

fn agree_for_all_structures(m: usize, n: usize, seed: u64) {
    let rng = &mut Rng::new(seed);
    let u = signal(n, rng);
    let real_state = signal(m, rng);
    let complex_state: Vec<_> = (0..m).map(|_| M61::sample_complex(rng)).collect();
    agree(&Dense::<M61>::sample(m, rng), &u, &real_state, rng);
    agree(&Shift::<M61>::sample(m, rng), &u, &real_state, rng);
    agree(&Diagonal::<M61>::sample(m, rng), &u, &complex_state, rng);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(trials(48)))]

    #[test]
    fn forms_agree_exactly(m in 1usize..=16, n in 1usize..=200, seed: u64) {
        agree_for_all_structures(m, n, seed);
    }
}

#[test]
fn forms_agree_at_every_boundary_length() {
    for (m, t) in [(1, 4), (4, 4), (5, 8)] {
        for (n, reason) in lengths(m, t) {
            println!("m {m}, n {n}: {reason}");
            agree_for_all_structures(m, n, (n * 31 + m) as u64);
        }
    }
}

#[test]
fn a_model_without_state_is_its_feedthrough() {
    let rng = &mut Rng::new(7);
    let ssm = Diagonal::<M61>::sample(0, rng);
    let u = signal(9, rng);
    for (name, response) in all_forms(&ssm, &u, None, rng) {
        let expected: Vec<_> = u.iter().map(|&u| ssm.feedthrough() * u).collect();
        assert_eq!(response.output, expected, "{name}");
    }
}

/// Responses are equal where output and state are, and print both.
#[test]
fn responses_are_compared_whole() {
    let mut rng = Rng::new(5);
    let ssm = Diagonal::<M61>::sample(2, &mut rng);
    let u = signal(4, &mut rng);
    let response = recurrence(&ssm, &u, None).expect("long enough");
    let (mut other_output, mut other_state) = (response.clone(), response.clone());
    other_output.output[3] = M61::sample(&mut rng);
    other_state.state[0] = Default::default();
    assert!(response == response.clone());
    assert!(response != other_output && response != other_state);
    let printed = format!("{response:?}");
    assert!(
        printed.contains("output: [") && printed.contains("state: ["),
        "{printed}"
    );
}
