//! The wrapping effect: a complex number turned by 45 degrees a step, enclosed in discs and in
//! rectangles.

use crate::axes::Axes;
use crate::svg::{Anchor, Figure};
use hungry_hippos::Error;
use hungry_hippos::algebra::{ComplexScalar, Disc, RootsOfUnity};

const STEPS: usize = 80;

pub(crate) fn draw() -> Result<String, Error> {
    let roots = Disc::roots_of_unity(8).unwrap_or_default();
    let &[_, eighth, ..] = &roots[..] else {
        return Err(Error::Unsupported {
            why: "there are no roots of this order".into(),
        });
    };
    let start = Disc::new([1.0, 0.0], [0.0, 0.0], 1e-20);
    let (mut disc, mut re, mut im) = (start, start.re(), start.im());
    let (mut discs, mut rectangles) = (Vec::new(), Vec::new());
    for step in 0..=STEPS {
        discs.push((step as f64, disc.radius().log10()));
        rectangles.push((step as f64, re.radius().log10()));
        disc = disc * eighth;
        (re, im) = (
            re * eighth.re() - im * eighth.im(),
            re * eighth.im() + im * eighth.re(),
        );
    }

    let mut figure = Figure::new(
        270.0,
        "The wrapping effect: rectangles grow, discs do not",
        "The radius that encloses a number turned by 45 degrees a step, on a logarithmic scale over 80 \
         steps. In discs it stays at ten to the minus 20; in rectangles it grows by the square root \
         of two a step, to ten to the minus 8.",
    );
    let axes = Axes {
        place: [64.0, 40.0, 390.0, 180.0],
        x: (0.0, STEPS as f64),
        y: (-21.0, -7.0),
    };
    figure.text(16.0, 24.0, Anchor::Start, "soft", "radius of the enclosure");
    axes.draw(
        &mut figure,
        &[
            (0.0, "0"),
            (20.0, "20"),
            (40.0, "40"),
            (60.0, "60"),
            (80.0, "80"),
        ],
        &[
            (-20.0, "$10^{−20}$"),
            (-16.0, "$10^{−16}$"),
            (-12.0, "$10^{−12}$"),
            (-8.0, "$10^{−8}$"),
        ],
    );
    figure.text(454.0, 258.0, Anchor::End, "soft", "steps");
    axes.line(&mut figure, &rectangles, "stroke thick s1-line d1");
    axes.line(&mut figure, &discs, "stroke thick s0-line");
    let (x, y) = axes.at(44.0, -13.0);
    figure.text(x - 12.0, y - 4.0, Anchor::End, "s1", "rectangles");
    let (x, y) = axes.at(60.0, -20.0);
    figure.text(x, y - 10.0, Anchor::Middle, "s0", "discs");
    Ok(figure.finish())
}
