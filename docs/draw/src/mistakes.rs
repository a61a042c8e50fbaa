//! Known mistakes by where in a sequence they show.

use crate::oracle::{case, layer, mistake, values};
use crate::svg::{Anchor, Figure, LEVELS};
use hungry_hippos::Error;

/// A case of the golden suite with head_dim 1 and 31 steps.
const CASE: &str = "16-prime";
/// The chunks of the port.
const CHUNK: usize = 8;
/// What is shown of them: a stage, and the mistakes that show there first.
const SHOWN: [(&str, &[&str]); 2] = [
    ("shift_k", &["M18", "M15", "M63", "M01a"]),
    ("ssm_out", &["M34", "M03b", "M54", "M55", "M58b"]),
];

pub(crate) fn draw() -> Result<String, Error> {
    let mut figure = Figure::new(
        266.0,
        "Where in a sequence known mistakes show",
        "Nine mistakes in chunks of 8, a row of 31 time steps each, darker where a stage departs more. A forgotten \
         skip shows everywhere; a cyclic shift at the first places alone; a lost window after every \
         chunk boundary; a circular convolution and a conjugated spectrum at the beginning. A scan \
         with exchanged operands is right at the first step, M_xy one step early in the first chunk, \
         a state carried one step short in the first two.",
    );
    let case = case(CASE)?;
    let steps = layer(&case)?.input().shape()[1];
    // The last axis of these stages is time: the largest departure of all channels at each step.
    let run = |stage: &str, mistakes: &[&str]| -> Result<Vec<f64>, Error> {
        let stages = case.run_with(mistakes, Some(CHUNK))?;
        Ok(values(&stages, stage).unwrap_or_default().to_vec())
    };

    let (left, cell, row) = (158.0, 10.0, 20.0);
    let mut y = 18.0;
    for (stage, ids) in SHOWN {
        figure.text(20.0, y + 8.0, Anchor::Start, "head ink", stage);
        y += 18.0;
        let right = run(stage, &[])?;
        let top = y;
        for id in ids {
            let mistake = mistake(&case, id)?;
            let wrong = run(stage, &[id])?;
            let mut departure = vec![0.0f64; steps];
            for (i, (right, wrong)) in right.iter().zip(&wrong).enumerate() {
                let step = &mut departure[i % steps];
                *step = step.max((right - wrong).abs());
            }
            let largest = departure.iter().copied().fold(0.0, f64::max);
            let label = format!("{} {}", mistake.id, mistake.name);
            figure.text(left - 8.0, y + 9.0, Anchor::End, "small ink", &label);
            // Powers of two below the largest; rounding is not a departure.
            figure.heat((left, y), cell, (1, steps), |_, i| {
                let share = departure[i] / largest;
                if share < 1e-9 {
                    0
                } else {
                    (LEVELS + share.log2().ceil() as i32).max(1)
                }
            });
            figure.frame(
                [left, y, cell * steps as f64, cell],
                "stroke thin line-line",
            );
            y += row;
        }
        for chunk in (CHUNK..steps).step_by(CHUNK) {
            let x = left + cell * chunk as f64;
            figure.path(&[(x, top - 3.0), (x, y - 4.0)], "stroke d2 soft-line");
        }
        y += 8.0;
    }
    for step in (0..steps).step_by(CHUNK) {
        let x = left + cell * (step as f64 + 0.5);
        let label = step.to_string();
        figure.text(x, y + 4.0, Anchor::Middle, "small soft", &label);
    }
    figure.text(left - 8.0, y + 4.0, Anchor::End, "small soft", "time step");
    Ok(figure.finish())
}
