//! What LegS's state remembers of a history, and how the rest falls with m.

use crate::axes::Axes;
use crate::svg::{Anchor, Figure};
use hungry_hippos::Error;
use hungry_hippos::ssm::hippo::LegsHistory;

const N: usize = 256;

/// A tone that rises and grows: turned by rational rotations, so that no library function is
/// involved.
fn signal() -> Vec<f64> {
    let (mut re, mut im) = (1.0, 0.0);
    (0..N)
        .map(|i| {
            let x = i as f64 / N as f64;
            let t = 0.01 + 0.06 * x;
            let (c, s) = ((1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t));
            (re, im) = (c * re - s * im, s * re + c * im);
            im * (0.5 + 0.5 * x)
        })
        .collect()
}

/// The history as m numbers have it.
fn recalled(m: usize, u: &[f64]) -> Result<Vec<f64>, Error> {
    let mut history = LegsHistory::new(m);
    u.iter().try_for_each(|&u| history.push(u))?;
    (0..N)
        .map(|i| history.reconstruct((i as f64 + 0.5) / N as f64))
        .collect()
}

pub(crate) fn draw() -> Result<String, Error> {
    let mut figure = Figure::new(
        470.0,
        "A history recalled from m numbers",
        "Above, a signal of 256 samples whose tone rises, and what LegS recalls of it at the end \
         from 4, 8 and 16 numbers: 4 hold its mean and trend, 8 its beginning and end, 16 all of it. \
         Below, the root mean square error for m from 2 to 24 on a logarithmic scale: nearly flat up \
         to 8, then falling by about half for every number more, to 2 to the power -11 at 21.",
    );
    let u = signal();
    let above = Axes {
        place: [44.0, 62.0, 418.0, 150.0],
        x: (0.0, N as f64),
        y: (-1.25, 1.25),
    };
    let samples = [
        (0.0, "0"),
        (64.0, "64"),
        (128.0, "128"),
        (192.0, "192"),
        (256.0, "256"),
    ];
    above.draw(
        &mut figure,
        &samples,
        &[(-1.0, "−1"), (0.0, "0"), (1.0, "1")],
    );
    let below = Axes {
        place: [44.0, 276.0, 418.0, 150.0],
        x: (1.0, 25.0),
        y: (-13.0, 0.0),
    };
    let ms = [
        (4.0, "4"),
        (8.0, "8"),
        (12.0, "12"),
        (16.0, "16"),
        (20.0, "20"),
        (24.0, "24"),
    ];
    let powers = [
        (0.0, "1"),
        (-4.0, "$2^{−4}$"),
        (-8.0, "$2^{−8}$"),
        (-12.0, "$2^{−12}$"),
    ];
    below.draw(&mut figure, &ms, &powers);

    let curve = |values: &[f64]| -> Vec<(f64, f64)> {
        let places = values.iter().enumerate();
        places.map(|(i, &y)| (i as f64 + 0.5, y)).collect()
    };
    above.line(&mut figure, &curve(&u), "stroke thick soft-line");
    let mut errors = Vec::new();
    for m in 2..=24 {
        let again = recalled(m, &u)?;
        let squares = again.iter().zip(&u).map(|(a, u)| (a - u) * (a - u));
        let error = (squares.sum::<f64>() / N as f64).sqrt();
        errors.push((m as f64, error.log2()));
        let series = [(4, "s1", "d2"), (8, "s3", "d1"), (16, "s0", "")];
        if let Some((s, (_, name, dash))) =
            series.iter().enumerate().find(|(_, series)| series.0 == m)
        {
            let class = format!("stroke {dash} {name}-line");
            above.line(&mut figure, &curve(&again), &class);
            let x = 210.0 + 88.0 * s as f64;
            figure.path(&[(x, 30.0), (x + 28.0, 30.0)], &class);
            let label = format!("$m$ = {m}");
            figure.text(x + 34.0, 35.0, Anchor::Start, "small ink", &label);
        }
    }
    figure.path(&[(122.0, 30.0), (150.0, 30.0)], "stroke thick soft-line");
    figure.text(156.0, 35.0, Anchor::Start, "small ink", "signal");
    below.line(&mut figure, &errors, "stroke thin soft-line");
    for &(m, error) in &errors {
        figure.dot(below.at(m, error), 0, "s0");
    }
    figure.text(44.0, 264.0, Anchor::Start, "ink", "root mean square error");
    figure.text(
        462.0,
        464.0,
        Anchor::End,
        "small soft",
        "$m$, numbers in the state",
    );
    Ok(figure.finish())
}
