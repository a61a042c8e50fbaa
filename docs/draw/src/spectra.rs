//! The poles with which diagonal models begin: three rules for the frequencies.

use crate::axes::Axes;
use crate::svg::{Anchor, Figure};
use hungry_hippos::Error;
use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::{Config, HeadOrder, Initialization, Name, RealType};
use hungry_hippos::ssm::Discretization;
use hungry_hippos::ssm::hippo::Diagonalized;

const STATES: usize = 64;

/// The imaginary parts of the poles of three models, one of each kind, as a layer begins with them.
fn frequencies() -> Result<Vec<f64>, Error> {
    let config = Config {
        d_model: 3,
        head_dim: 1,
        d_state: STATES,
        n_ssm: 3,
        disc: Discretization::Bilinear,
        real_type: RealType::Exp,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    let initialization = Initialization {
        config,
        measure: vec![Diagonalized::LegS, Diagonalized::Inv, Diagonalized::Lin],
        dt_min: 0.001,
        dt_max: 0.1,
    };
    let layer = initialization.parameters(&mut Rng::new(1))?;
    Ok(layer.get(Name::AImag).to_vec())
}

pub(crate) fn draw() -> Result<String, Error> {
    let mut figure = Figure::new(
        400.0,
        "The frequencies of S4D-LegS, S4D-Inv and S4D-Lin",
        "For 64 states, the size of the imaginary part of each of 32 poles on a logarithmic scale. \
         LegS and Inv begin together near 1300 and fall side by side to about a quarter. Lin rises in \
         equal steps of pi from 0 to 97.",
    );
    let axes = Axes {
        place: [58.0, 40.0, 404.0, 290.0],
        x: (-1.0, 32.0),
        y: (-2.5, 11.5),
    };
    let labels: Vec<(f64, String)> = [
        (-2, "−2"),
        (0, "0"),
        (2, "2"),
        (4, "4"),
        (6, "6"),
        (8, "8"),
        (10, "10"),
    ]
    .map(|(y, label)| (f64::from(y), format!("$2^{{{label}}}$")))
    .to_vec();
    let ys: Vec<(f64, &str)> = labels
        .iter()
        .map(|(y, label)| (*y, label.as_str()))
        .collect();
    let xs = [
        (0.0, "0"),
        (8.0, "8"),
        (16.0, "16"),
        (24.0, "24"),
        (31.0, "31"),
    ];
    axes.draw(&mut figure, &xs, &ys);
    figure.text(
        58.0,
        26.0,
        Anchor::Start,
        "ink",
        "|im $λ_n$|, $m$ = 64; the real part is −1/2",
    );
    let frequencies = frequencies()?;
    for (s, (name, series)) in [
        ("diag-legs (below the axis)", "s0"),
        ("diag-inv", "s1"),
        ("diag-lin (first: 0)", "s2"),
    ]
    .into_iter()
    .enumerate()
    {
        let poles = &frequencies[s * STATES / 2..(s + 1) * STATES / 2];
        for (n, frequency) in poles.iter().enumerate() {
            // Lin's first is zero, below any scale.
            if *frequency != 0.0 {
                figure.dot(axes.at(n as f64, frequency.abs().log2()), s, series);
            }
        }
        let x = [58.0, 256.0, 338.0][s];
        figure.dot((x + 5.0, 376.0), s, series);
        figure.text(x + 15.0, 380.5, Anchor::Start, "small ink", name);
    }
    figure.text(462.0, 360.0, Anchor::End, "small soft", "$n$");
    Ok(figure.finish())
}
