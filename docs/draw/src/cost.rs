//! Operations per input against the length, by formula.

use crate::axes::Axes;
use crate::svg::{Anchor, Figure};
use hungry_hippos::Error;
use hungry_hippos::cost::{self, AttentionShape, Convolution, Structure};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;

/// Modes of the model, channels of a head of attention.
const MODES: usize = 8;
const HEAD: usize = 64;

/// Operations per input and channel at length n, in powers of two.
fn per_input(series: usize, n: usize) -> Result<f64, Error> {
    let model = |form: Form| cost::model(&form, Structure::Diagonal(MODES), n);
    let total = match series {
        0 => model(Form::Recurrence)?.total() as f64,
        1 => model(Form::Convolution)?.total() as f64,
        2 => model(Form::RealFft)?.total() as f64,
        3 => model(Form::FlashConv(Chunking::Uniform(n.min(256))))?.total() as f64,
        4 => {
            let shape = AttentionShape {
                seq_len: n,
                key_dim: HEAD,
                value_dim: HEAD,
            };
            cost::softmax_attention(shape).total() as f64 / HEAD as f64
        }
        _ => cost::hyena(2, Convolution::RealFft, n)?.total() as f64,
    };
    Ok((total / n as f64).log2())
}

pub(crate) fn draw() -> Result<String, Error> {
    let mut figure = Figure::new(
        430.0,
        "Operations per input against the length",
        "On logarithmic scales, for lengths from 16 to 65536: the recurrence is constant, the Fourier \
         forms rise slowly, FlashConv is constant from its chunk of 256 on, Hyena by Fourier \
         transform rises slowly, and the direct convolution and softmax attention rise in \
         proportion to the length.",
    );
    let axes = Axes {
        place: [58.0, 44.0, 404.0, 280.0],
        x: (4.0, 16.0),
        y: (4.0, 19.0),
    };
    let power = |k: i32| (f64::from(k), format!("$2^{{{k}}}$"));
    let (xs, ys) = (
        [4, 6, 8, 10, 12, 14, 16].map(power),
        [4, 8, 12, 16].map(power),
    );
    let xs: Vec<(f64, &str)> = xs.iter().map(|(x, label)| (*x, label.as_str())).collect();
    let ys: Vec<(f64, &str)> = ys.iter().map(|(y, label)| (*y, label.as_str())).collect();
    axes.draw(&mut figure, &xs, &ys);
    let title = "operations per input and channel";
    figure.text(58.0, 28.0, Anchor::Start, "ink", title);
    figure.text(462.0, 358.0, Anchor::End, "small soft", "$N$");
    for (s, (name, class)) in [
        ("recurrence", "stroke s0-line"),
        ("convolution", "stroke d1 s1-line"),
        ("real FFT", "stroke d2 s2-line"),
        ("FlashConv", "stroke d3 s3-line"),
        ("softmax attention", "stroke d4 s4-line"),
        ("Hyena 2, real FFT", "stroke thick soft-line"),
    ]
    .into_iter()
    .enumerate()
    {
        let values: Result<Vec<(f64, f64)>, Error> = (4..=16)
            .map(|k| Ok((f64::from(k), per_input(s, 1 << k)?)))
            .collect();
        axes.line(&mut figure, &values?, class);
        let (x, y) = ([58.0, 170.0, 322.0][s % 3], 386.0 + 24.0 * (s / 3) as f64);
        figure.path(&[(x, y), (x + 28.0, y)], class);
        figure.text(x + 34.0, y + 4.5, Anchor::Start, "small ink", name);
    }
    Ok(figure.finish())
}
