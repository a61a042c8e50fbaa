//! What the rows `C, ..., CA^{T-1}` do over time: right in the first chunk, wrong from the second on.

use crate::axes::Axes;
use crate::svg::{Anchor, Figure};
use hungry_hippos::Error;
use hungry_hippos::flashconv::{Chunking, MatrixSet};
use hungry_hippos::ssm::Diagonal;
use num_complex::Complex;

const N: usize = 64;
const T: usize = 16;

pub(crate) fn draw() -> Result<String, Error> {
    // One conjugate pair that turns by about a tenth of a turn a step and decays slowly; short
    // decimals, so that no library function is involved.
    let ssm = Diagonal::<f64>::new(
        vec![Complex::new(0.78, 0.55)],
        vec![Complex::new(1.0, 0.0)],
        vec![Complex::new(0.3, -0.2)],
        0.0,
    )?;
    // Whole numbers over 8, from a formula.
    let u: Vec<f64> = (0..N)
        .map(|i| ((7 * i * i + 13 * i) % 17) as f64 / 8.0 - 1.0)
        .collect();
    let run = |set: MatrixSet| set.outputs(&ssm, &u, None, &Chunking::Uniform(T));
    let (right, early) = (run(MatrixSet::EndOfChunk)?, run(MatrixSet::EarlyRows)?);
    let error: Vec<f64> = early.iter().zip(&right).map(|(e, r)| e - r).collect();

    let mut figure = Figure::new(
        420.0,
        "The rows C, CA, ... in place of CA, CA^2, ...: the error over time",
        "Above, the outputs of a model over 64 steps in four chunks of 16, with the right rows and \
         with rows one step early; below, their difference. It is exactly zero in the first chunk. \
         From the second chunk on it jumps at each chunk's beginning and fades within it.",
    );
    let size = |values: &[f64]| values.iter().fold(0.0f64, |m, y| m.max(y.abs()));
    let top = (size(&right).max(size(&early)) * 1.1).ceil();
    let ticks: Vec<(f64, String)> = (1..=N / T)
        .map(|c| (((c - 1) * T) as f64 + 1.0, ((c - 1) * T + 1).to_string()))
        .collect();
    let ticks: Vec<(f64, &str)> = ticks
        .iter()
        .map(|(x, label)| (*x, label.as_str()))
        .collect();
    let label = format!("{top}");
    let below = format!("−{top}");
    let scale = [(-top, below.as_str()), (0.0, "0"), (top, label.as_str())];
    for (part, (place, title)) in [
        ([44.0, 62.0, 418.0, 130.0], "outputs $y_i$"),
        (
            [44.0, 250.0, 418.0, 130.0],
            "error: rows $C$, …, $CA^{T−1}$ minus the right ones",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let axes = Axes {
            place,
            x: (0.5, N as f64 + 0.5),
            y: (-top, top),
        };
        for c in (1..N / T).step_by(2) {
            let (from, _) = axes.at((c * T) as f64 + 0.5, 0.0);
            let (to, _) = axes.at(((c + 1) * T) as f64 + 0.5, 0.0);
            figure.rect([from, place[1], to - from, place[3]], "band");
        }
        axes.draw(&mut figure, &ticks, &scale);
        figure.text(44.0, place[1] - 12.0, Anchor::Start, "ink", title);
        let numbered = |values: &[f64]| -> Vec<(f64, f64)> {
            values
                .iter()
                .enumerate()
                .map(|(i, &y)| (i as f64 + 1.0, y))
                .collect()
        };
        if part == 0 {
            axes.line(&mut figure, &numbered(&right), "stroke thick s0-line");
            axes.line(&mut figure, &numbered(&early), "stroke d1 s1-line");
        } else {
            for (i, &e) in error.iter().enumerate() {
                let (zero, end) = (axes.at(i as f64 + 1.0, 0.0), axes.at(i as f64 + 1.0, e));
                if e != 0.0 {
                    figure.path(&[zero, end], "stroke thick s1-line");
                }
            }
            for c in 0..N / T {
                let wrong = error[c * T..(c + 1) * T].iter().any(|&e| e != 0.0);
                let (x, _) = axes.at(((c * T) as f64) + 8.5, 0.0);
                let verdict = if wrong { "wrong" } else { "zero" };
                figure.text(x, place[1] + 18.0, Anchor::Middle, "small ink", verdict);
            }
        }
    }
    figure.path(&[(252.0, 22.0), (282.0, 22.0)], "stroke thick s0-line");
    figure.text(
        288.0,
        27.0,
        Anchor::Start,
        "small ink",
        "rows $CA$, …, $CA^T$",
    );
    figure.path(&[(252.0, 42.0), (282.0, 42.0)], "stroke d1 s1-line");
    figure.text(
        288.0,
        47.0,
        Anchor::Start,
        "small ink",
        "rows $C$, …, $CA^{T−1}$",
    );
    figure.text(462.0, 414.0, Anchor::End, "small soft", "$i$, chunks of 16");
    Ok(figure.finish())
}
