//! Documents in one row beside one sequence as long as the row.

use crate::contest::{Contestant, contest, seconds};
use crate::sections::{D, parameters, random};
use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{FastAdjoint, FastState, Level, SavedStates, Workspace};
use hungry_hippos::ssm::Documents;
use std::cell::RefCell;

/// The ends of documents of 100 to 2000 tokens, drawn until the row is full; the last one ends with it.
fn documents(len: usize) -> Vec<usize> {
    let mut rng = Rng::new(11);
    let mut ends = vec![0];
    loop {
        let next = ends[ends.len() - 1] + 100 + rng.below(1901);
        // What is left after it must hold a document too.
        if next + 100 > len {
            ends.push(len);
            return ends;
        }
        ends.push(next);
    }
}

/// The layer forwards, and forwards and backwards with the sums left in place.
pub fn packed() {
    let len = 32768;
    let adjoint = FastAdjoint::<f32>::new(Level::detect(), &parameters()).unwrap();
    let layer = adjoint.layer();
    let ends = documents(len);
    let row = Documents::packed(len, &ends).unwrap();
    let one = Documents::whole(1, len);
    let lengths = || ends.windows(2).map(|w| w[1] - w[0]);
    println!(
        "{} documents of {} to {} tokens",
        row.count(),
        lengths().min().unwrap_or(0),
        lengths().max().unwrap_or(0)
    );
    let (u, g) = (random(len * D, 5), random(len * D, 6));
    for threads in [1, 2] {
        let buffers = RefCell::new((
            vec![0.0f32; len * D],
            vec![0.0f32; len * D],
            SavedStates::new(),
            adjoint.zero_gradients(),
            Workspace::new(threads),
        ));
        // The states are the result, and begin at zero.
        let timed = |documents: &Documents, both_ways: bool| {
            let zero: FastState<f32> = layer.zero_state(documents.count());
            let (mut state, mut cotangent) = (zero.clone(), zero);
            let (out, of_u, saved, gradients, workspace) = &mut *buffers.borrow_mut();
            seconds(|| {
                if !both_ways {
                    let done = layer.run_documents(&u, out, documents, &mut state, workspace);
                    return done.unwrap();
                }
                gradients.clear();
                adjoint
                    .forward_documents(&u, out, documents, &mut state, saved, workspace)
                    .unwrap();
                adjoint
                    .backward(&u, &g, saved, &mut cotangent, of_u, gradients, workspace)
                    .unwrap();
            })
        };
        for both_ways in [false, true] {
            let what = if both_ways {
                "forward and backward"
            } else {
                "forward"
            };
            let all = vec![
                Contestant::new("one sequence", || timed(&one, both_ways)),
                Contestant::new("packed", || timed(&row, both_ways)),
            ];
            let medians = contest(
                &format!("{what}, d {D}, d_state 64, a row of {len}, f32, {threads} threads"),
                "ms",
                1e-3,
                all,
            );
            println!(
                "  {:.0} and {:.0} tokens a second: {:.2} of one sequence's",
                len as f64 / medians[0] * 1e3,
                len as f64 / medians[1] * 1e3,
                medians[0] / medians[1]
            );
        }
    }
}
