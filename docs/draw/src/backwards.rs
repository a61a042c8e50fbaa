//! A recurrence forwards and its cotangents backwards.

use crate::svg::{Anchor, Figure};

pub(crate) fn draw() -> String {
    let mut figure = Figure::new(
        300.0,
        "The adjoint of a recurrence runs backwards in time",
        "Above, the recurrence: states x from left to right, each from the one before by A and from an \
         input by B, and outputs by C. Below, its adjoint: cotangents l from right to left, each from the \
         one after by the adjoint of A and from an output's cotangent g by the adjoint of C, and \
         cotangents of the inputs by the adjoint of B.",
    );
    let x = |i: usize| 106.0 + 120.0 * i as f64;
    let (forth, back) = (92.0, 212.0);
    for i in 0..3 {
        let (at, index) = (x(i), ["i-1", "i", "i+1"][i]);
        for (y, name, series) in [(forth, "x", "s0"), (back, "l", "s1")] {
            let place = [at - 26.0, y - 15.0, 52.0, 30.0];
            figure.rect(place, "paper");
            figure.frame(place, &format!("stroke {series}-line"));
            let label = format!("${name}_{{{index}}}$").replace('-', "−");
            figure.text(at, y + 5.0, Anchor::Middle, "ink", &label);
        }
        // Outputs above the states, inputs' cotangents below the adjoint's.
        figure.arrow((at, forth - 17.0), (at, forth - 49.0), "s0");
        figure.arrow((at, back + 17.0), (at, back + 49.0), "s1");
        let label = |name: &str| format!("${name}_{{{index}}}$").replace('-', "−");
        figure.text(at + 6.0, forth - 54.0, Anchor::Middle, "ink", &label("y"));
        figure.text(at - 10.0, forth - 28.0, Anchor::End, "small s0", "$C$");
        figure.text(
            at,
            back + 66.0,
            Anchor::Middle,
            "ink",
            &format!("∂{}", label("u")),
        );
        figure.text(at - 10.0, back + 38.0, Anchor::End, "small s1", "$B^*$");
        // What enters: an input from below, a cotangent from above.
        figure.arrow((at - 48.0, forth + 40.0), (at - 14.0, forth + 17.0), "s0");
        figure.text(at - 54.0, forth + 50.0, Anchor::Middle, "ink", &label("u"));
        figure.arrow((at + 48.0, back - 40.0), (at + 14.0, back - 17.0), "s1");
        figure.text(at + 56.0, back - 44.0, Anchor::Middle, "ink", &label("g"));
    }
    for i in 0..4 {
        let (from, to) = (x(i) - 92.0, x(i) - 28.0);
        figure.arrow((from, forth), (to, forth), "s0");
        figure.text(
            0.5 * (from + to),
            forth - 7.0,
            Anchor::Middle,
            "small s0",
            "$A$",
        );
        figure.arrow((to, back), (from, back), "s1");
        figure.text(
            0.5 * (from + to),
            back - 7.0,
            Anchor::Middle,
            "small s1",
            "$A^*$",
        );
    }
    figure.finish()
}
