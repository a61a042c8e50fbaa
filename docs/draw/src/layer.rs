//! The layer's stages and what flows between them.

use crate::svg::{Anchor, Figure};

pub(crate) fn draw() -> String {
    let mut figure = Figure::new(
        400.0,
        "The H3 layer: stages from the input to the output",
        "The input at the bottom is projected to q, k and v. The key goes through the shift model to \
         shift_k. shift_k and v are multiplied to kv, every channel of a head with every other. kv goes \
         through the diagonal model of its head to ssm_out. q and ssm_out are multiplied and summed to \
         gated, and gated is projected to the output.",
    );
    let (q, k, v, between) = (80.0, 230.0, 390.0, 310.0);
    let at = |row: usize| 360.0 - 62.0 * row as f64;
    let mut stage = |x: f64, row: usize, name: &str| {
        let width = 20.0 + 8.4 * name.len() as f64;
        let place = [x - width / 2.0, at(row) - 15.0, width, 30.0];
        figure.rect(place, "band");
        figure.frame(place, "stroke soft-line");
        figure.text(x, at(row) + 5.0, Anchor::Middle, "ink", name);
    };
    for (x, row, name) in [
        (k, 0, "input"),
        (q, 1, "q"),
        (k, 1, "k"),
        (v, 1, "v"),
        (k, 2, "shift_k"),
        (between, 3, "kv"),
        (between, 4, "ssm_out"),
        (q, 5, "gated"),
        (between, 5, "output"),
    ] {
        stage(x, row, name);
    }
    let (over, under) = (17.0, 17.0);
    for x in [q, v] {
        let start = (k + 0.25 * (x - k), at(0) - over);
        figure.arrow(start, (x, at(1) + under), "s0");
    }
    figure.arrow((k, at(0) - over), (k, at(1) + under), "s0");
    figure.text(
        k + 10.0,
        at(0) - 25.0,
        Anchor::Start,
        "small s0",
        "$W u + b$",
    );
    figure.arrow((k, at(1) - over), (k, at(2) + under), "s1");
    let label = "shift model, ssm_k_D";
    figure.text(k - 10.0, at(1) - 25.0, Anchor::End, "small s1", label);
    figure.arrow(
        (k + 14.0, at(2) - over),
        (between - 12.0, at(3) + under),
        "s2",
    );
    figure.arrow((v, at(1) - over), (between + 14.0, at(3) + under), "s2");
    let label = "$k$ at $d_1$ times $v$ at $d_2$";
    figure.text(between - 28.0, at(3) + 2.0, Anchor::End, "small s2", label);
    figure.arrow((between, at(3) - over), (between, at(4) + under), "s1");
    let label = "diagonal model, D";
    figure.text(
        between + 10.0,
        at(3) - 27.0,
        Anchor::Start,
        "small s1",
        label,
    );
    figure.arrow(
        (between - 46.0, at(4) - 8.0),
        (q + 34.0, at(5) + under),
        "s2",
    );
    figure.arrow((q, at(1) - over), (q, at(5) + under), "s2");
    let label = "$q$ at $d_1$, summed over $d_1$";
    figure.text(q + 10.0, at(4) + 30.0, Anchor::Start, "small s2", label);
    figure.arrow((q + 34.0, at(5)), (between - 38.0, at(5)), "s0");
    figure.text(
        0.5 * (q + between),
        at(5) - 8.0,
        Anchor::Middle,
        "small s0",
        "$W_o$, $b_o$",
    );
    figure.finish()
}
