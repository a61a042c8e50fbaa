//! Operations a byte of the fast path's forms, under roofs that machines set.

use crate::axes::Axes;
use crate::svg::{Anchor, Figure};

/// Bytes of a lane vector.
const VECTOR: f64 = 64.0;
/// Stored pairs, channels, steps of the layer, inputs of a block.
const PAIRS: f64 = 32.0;
const D: f64 = 768.0;
const STEPS: f64 = 2048.0;
const BLOCK: f64 = 16.0;

/// The forms and their operations a byte, counted as in chapter 10: operations a step and group of
/// lanes, over bytes from memory; then the same over what passes from a cache to the registers.
fn forms() -> [(&'static str, usize, f64); 7] {
    let signals = 2.0 * VECTOR; // one vector in, one out
    let blocks = 4.0 * PAIRS + 4.0 * PAIRS / BLOCK + (BLOCK + 4.0) / 2.0;
    // 4096 = 4 4^5 points: radix 4, five passes.
    let transform = 4.0 * 4.0 + 2.0 + 14.0 * 5.0;
    // Every weight once for all steps, shared by the groups.
    let weights = D * D * 4.0 / (STEPS * D / 16.0);
    let product = D / (signals + weights);
    let coefficients = 2.0 * 2.0 * PAIRS * BLOCK * VECTOR;
    // In an order in which no label crosses another form's line.
    [
        ("a step of the layer: every weight once", 0, 1.0 / VECTOR),
        ("a coefficient for every operation", 1, 1.0 / VECTOR),
        (
            "register tiles of 24: blocks, products",
            1,
            6.0 * BLOCK * blocks / coefficients,
        ),
        ("a step of eight streams", 0, 8.0 / VECTOR),
        ("product 2048 × 768 × 768", 0, product),
        ("diagonal, blocks", 0, blocks / signals),
        ("convolution", 0, transform / signals),
    ]
}

pub(crate) fn draw() -> String {
    let mut figure = Figure::new(
        470.0,
        "Operations a byte, and the share of the peak they allow",
        "Below, on logarithmic scales, the largest share of the peak for so many vector operations a \
         byte, if memory or a cache delivers 1, 4, 16 or 64 bytes in the time of an operation. Above, \
         where the forms stand. A single step, with one operation for 64 bytes, needs 64; the diagonal \
         model in blocks and the products need less than 1 from memory, and 9.4 from the second-level \
         cache.",
    );
    let axes = Axes {
        place: [48.0, 196.0, 414.0, 210.0],
        x: (-7.0, 3.0),
        y: (-7.0, 0.0),
    };
    let xs = [
        (-6.0, "1/64"),
        (-4.0, "1/16"),
        (-2.0, "1/4"),
        (0.0, "1"),
        (2.0, "4"),
    ];
    let ys = [(-6.0, "1/64"), (-4.0, "1/16"), (-2.0, "1/4"), (0.0, "peak")];
    for (row, (label, kind, intensity)) in forms().into_iter().enumerate() {
        let x = intensity.log2();
        let series = ["s0", "s1"][kind];
        let (at, bottom) = axes.at(x, axes.y.0);
        let y = 50.0 + 19.0 * row as f64;
        figure.path(&[(at, y), (at, bottom)], "stroke thin line-line");
        figure.dot((at, y), kind, series);
        let (end, anchor) = if x > -1.0 {
            (at - 9.0, Anchor::End)
        } else {
            (at + 9.0, Anchor::Start)
        };
        figure.text(end, y + 4.5, anchor, "small ink", label);
    }
    axes.draw(&mut figure, &xs, &ys);
    for (bytes, class) in [
        (0.0, "stroke s2-line"),
        (2.0, "stroke d1 s2-line"),
        (4.0, "stroke d2 s2-line"),
        (6.0, "stroke d3 s2-line"),
    ] {
        let foot = (axes.x.0, bytes + axes.x.0);
        axes.line(&mut figure, &[foot, (-bytes, 0.0), (axes.x.1, 0.0)], class);
        let (x, y) = axes.at(-bytes - 3.4, -3.4);
        if bytes < 4.0 {
            let label = ["1 byte an operation", "4"][bytes as usize / 2];
            figure.text(x + 12.0, y + 4.0, Anchor::Start, "small soft", label);
        }
    }
    for (bytes, label) in [(4.0, "16"), (6.0, "64")] {
        let (x, y) = axes.at(-bytes - 0.7, -0.7);
        figure.text(x + 10.0, y + 8.0, Anchor::Start, "small soft", label);
    }
    figure.text(48.0, 24.0, Anchor::Start, "ink", "for each byte from");
    for (kind, (x, label)) in [(186.0, "memory"), (266.0, "a cache")].iter().enumerate() {
        figure.dot((*x, 19.0), kind, ["s0", "s1"][kind]);
        figure.text(x + 9.0, 24.0, Anchor::Start, "ink", label);
    }
    figure.text(
        462.0,
        452.0,
        Anchor::End,
        "small soft",
        "vector operations a byte",
    );
    figure.text(
        48.0,
        452.0,
        Anchor::Start,
        "small soft",
        "upright: share of the peak",
    );
    figure.finish()
}
