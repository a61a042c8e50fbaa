//! FlashConv's picture: chunks, the state between them, and the matrices on the arrows.

use crate::svg::{Anchor, Figure};

pub(crate) fn draw() -> String {
    let mut figure = Figure::new(
        330.0,
        "FlashConv: chunks and the state passed between them",
        "Three chunks of inputs below, of outputs above, and four states in a row between them. \
         Within a chunk the outputs are a convolution of its inputs. A state gives outputs of the \
         next chunk through M_xy and the next state through A to the T; a chunk's inputs add to the \
         state after it through M_ux.",
    );
    let (up, middle, down) = (66.0, 166.0, 266.0);
    let state = |c: usize| 38.0 + 134.0 * c as f64;
    let chunk = |c: usize| 105.0 + 134.0 * c as f64;
    for c in 0..3 {
        let x = chunk(c);
        let number = c + 1;
        // From the inputs to the outputs of the same chunk.
        figure.arrow((x, down - 19.0), (x, up + 19.0), "s2");
        figure.text(x + 6.0, up + 46.0, Anchor::Start, "small s2", "$f$ ∗, $D$");
        // From the state before to the outputs and to the state after.
        figure.arrow(
            (state(c) + 12.0, middle - 16.0),
            (x - 26.0, up + 19.0),
            "s1",
        );
        figure.text(x - 52.0, up + 52.0, Anchor::End, "s1", "$M_{xy}$");
        figure.arrow(
            (state(c) + 21.0, middle),
            (state(c + 1) - 21.0, middle),
            "s0",
        );
        figure.text(x + 8.0, middle - 8.0, Anchor::Start, "s0", "$A^T$");
        // From the inputs to the state after.
        figure.arrow(
            (x + 26.0, down - 19.0),
            (state(c + 1) - 12.0, middle + 16.0),
            "s3",
        );
        figure.text(x + 50.0, down - 42.0, Anchor::Start, "s3", "$M_{ux}$");
        for (y, name) in [(up, "y"), (down, "u")] {
            let place = [x - 42.0, y - 17.0, 84.0, 34.0];
            figure.rect(place, "band");
            figure.frame(place, "stroke soft-line");
            let label = format!("${name}^{{({number})}}$");
            figure.text(x, y + 5.0, Anchor::Middle, "ink", &label);
        }
    }
    for c in 0..4 {
        let place = [state(c) - 19.0, middle - 14.0, 38.0, 28.0];
        figure.rect(place, "paper");
        figure.frame(place, "stroke s0-line");
        let label = format!("$x^{{({c})}}$");
        figure.text(state(c), middle + 5.0, Anchor::Middle, "ink", &label);
    }
    figure.text(
        20.0,
        28.0,
        Anchor::Start,
        "soft",
        "outputs, one chunk of $T$ a box",
    );
    figure.text(20.0, 312.0, Anchor::Start, "soft", "inputs");
    figure.text(
        462.0,
        312.0,
        Anchor::End,
        "soft",
        "$M_{xy}$ = [$CA$; $CA^2$; …; $CA^T$]",
    );
    figure.finish()
}
