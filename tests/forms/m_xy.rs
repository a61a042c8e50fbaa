//! Claim, and the answer to the review: with the state after a chunk's last input passed on,
//! M_xy has the rows CA, ..., CA^T. The rows C, ..., CA^{T-1} are right only where something else
//! moves with them; alone they are right in the first chunk and wrong in every later one.

use crate::common::{ragged, trials};
use hungry_hippos::algebra::{M61, Rng, Sample};
use hungry_hippos::flashconv::{Chunking, Convention, MatrixSet, flashconv};
use hungry_hippos::ssm::{Dense, Diagonal, Shift, StateSpace};
use proptest::prelude::*;

fn check<S>(ssm: &S, x0: &[S::Element], u: &[M61], chunking: &Chunking)
where
    S: StateSpace<Scalar = M61> + std::fmt::Debug,
{
    let lengths = chunking.lengths(u.len()).expect("fits");
    for x0 in [None, Some(x0)] {
        for set in MatrixSet::ALL {
            let outputs = set.outputs(ssm, u, x0, chunking).expect("shapes fit");
            let expected = set.convention().recurrence(ssm, u, x0).expect("fits");
            if set != MatrixSet::EarlyRows {
                assert_eq!(outputs, expected, "{set:?} on {ssm:?}");
                continue;
            }
            // One step early: right while the incoming state is zero, wrong afterwards.
            let first = lengths.first().copied().unwrap_or(0);
            let right_until = if x0.is_none() { first } else { 0 };
            assert_eq!(
                outputs[..right_until],
                expected[..right_until],
                "first chunk"
            );
            let mut start = 0;
            for &len in &lengths {
                let end = start + len;
                if start >= right_until {
                    assert_ne!(
                        outputs[start..end],
                        expected[start..end],
                        "the chunk at {start} must be wrong"
                    );
                }
                start = end;
            }
        }
        let right = Convention::ReadsAfter.recurrence(ssm, u, x0).expect("fits");
        let flash = flashconv(ssm, u, x0, chunking).expect("fits").output;
        assert_eq!(flash, right, "the crate's FlashConv uses the right set");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(trials(48)))]

    #[test]
    fn the_row_sets(m in 1usize..=16, n in 1usize..=200, seed: u64) {
        let rng = &mut Rng::new(seed);
        let u: Vec<_> = (0..n).map(|_| M61::sample(rng)).collect();
        let real: Vec<_> = (0..m).map(|_| M61::sample(rng)).collect();
        let complex: Vec<_> = (0..m).map(|_| M61::sample_complex(rng)).collect();
        for chunking in [Chunking::Uniform(1 + rng.below(30)), ragged(n, rng)] {
            check(&Dense::sample(m, rng), &real, &u, &chunking);
            check(&Shift::sample(m, rng), &real, &u, &chunking);
            check(&Diagonal::sample(m, rng), &complex, &u, &chunking);
        }
    }
}

/// The error of the early rows is exactly "one place early": in a chunk they add, at place i,
/// what the right rows add at place i - 1.
#[test]
fn early_rows_are_the_right_rows_one_place_early() {
    let rng = &mut Rng::new(3);
    let (ssm, chunk) = (Diagonal::<M61>::sample(4, rng), Chunking::Uniform(8));
    let u: Vec<_> = (0..24).map(|_| M61::sample(rng)).collect();
    let at = |set: MatrixSet| set.outputs(&ssm, &u, None, &chunk).expect("shapes fit");
    let (right, early) = (at(MatrixSet::EndOfChunk), at(MatrixSet::EarlyRows));
    // What a chunk's own inputs give, without any incoming state.
    let alone: Vec<_> = u
        .chunks(8)
        .flat_map(|u| flashconv(&ssm, u, None, &chunk).expect("shapes fit").output)
        .collect();
    for start in [8, 16] {
        for i in start + 1..start + 8 {
            assert_eq!(
                early[i] - alone[i],
                right[i - 1] - alone[i - 1],
                "place {i}"
            );
        }
    }
}
