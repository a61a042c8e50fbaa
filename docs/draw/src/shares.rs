//! The shares of errors that hypotheses explain, in right and in wrong ports.

use crate::axes::Axes;
use crate::svg::{Anchor, Figure};

/// How many stages of right bfloat16 ports, and how many wrong ones, have a largest share in each
/// twentieth of 0 to 1: printed by
/// `cargo run --release --manifest-path benches/Cargo.toml --bin oracle_tables -- --shares --sample 60`.
const RIGHT: [usize; 20] = [
    3545, 157, 140, 110, 83, 72, 52, 62, 35, 37, 18, 16, 10, 12, 5, 1, 6, 3, 2, 0,
];
const WRONG: [usize; 20] = [0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 108];

pub(crate) fn draw() -> String {
    let mut figure = Figure::new(
        430.0,
        "What hypotheses explain of the errors of right and wrong ports",
        "Two histograms of shares from 0 to 1, in percent of the ports. Above, stages of right \
         ports in bfloat16: four fifths at the left end, a tail of \
         stages of few elements. Below, ports with one mistake: nearly all at the right end, where a \
         mistake explains all of a stage's error.",
    );
    for (top, counts, series, title) in [
        (44.0, RIGHT, "s0", "right ports, every stage"),
        (
            236.0,
            WRONG,
            "s1",
            "ports with one mistake, the stage that shows it best",
        ),
    ] {
        let axes = Axes {
            place: [58.0, top, 404.0, 130.0],
            x: (0.0, 1.0),
            y: (0.0, 100.0),
        };
        figure.text(58.0, top - 14.0, Anchor::Start, "ink", title);
        let ys = [(0.0, "0"), (50.0, "50 %"), (100.0, "100 %")];
        let xs = [
            (0.0, "0"),
            (0.25, "0.25"),
            (0.5, "0.5"),
            (0.75, "0.75"),
            (1.0, "1"),
        ];
        axes.draw(&mut figure, &xs, &ys);
        let all: usize = counts.iter().sum();
        for (place, count) in counts.into_iter().enumerate() {
            let share = 100.0 * count as f64 / all.max(1) as f64;
            let of = |k: usize| k as f64 / counts.len() as f64;
            let ((left, y), (right, bottom)) =
                (axes.at(of(place), share), axes.at(of(place + 1), 0.0));
            let bar = [left + 1.0, y, right - left - 2.0, bottom - y];
            if count > 0 {
                figure.rect(bar, series);
            }
        }
    }
    figure.text(
        462.0,
        408.0,
        Anchor::End,
        "small soft",
        "share explained, $S$",
    );
    figure.finish()
}
