//! By how many float32 tolerances known mistakes depart, stage by stage.

use crate::axes::Axes;
use crate::oracle::{case, mistake, outputs, scales, values};
use crate::svg::{Anchor, Figure};
use hungry_hippos::Error;

const CASE: &str = "03-heads";
/// Mistakes made at one stage after another.
const MISTAKES: [(&str, &str); 5] = [
    ("M30a", "s0"),
    ("M11", "s3"),
    ("M38a", "s1"),
    ("M55", "s2"),
    ("M31", "s4"),
];

pub(crate) fn draw() -> Result<String, Error> {
    let mut figure = Figure::new(
        440.0,
        "Mistakes against the float32 tolerance, stage by stage",
        "The largest departure of five mistakes in units of the float32 tolerance, on a scale of powers \
         of two, at eight stages in the order of computation. Each is no nearer where it is made than in \
         the output, whose tolerance has grown: zero-order hold by more than 2 to the power 14 in the \
         kernel, less than 2 to the power 9 in the output. The tolerance of bfloat16 throughout is 2 to the power 16.",
    );
    let scales = scales(case(CASE)?)?;
    let case = case(CASE)?;
    let right = case.run_with(&[], None)?;
    // One projection stands for the three.
    let mut names = outputs(&right);
    names.retain(|name| name != "k" && name != "v");

    let axes = Axes {
        place: [48.0, 96.0, 414.0, 258.0],
        x: (-0.5, names.len() as f64 - 0.5),
        y: (-1.0, 22.0),
    };
    let ys = [(0.0, "1"), (8.0, "$2^8$"), (16.0, "$2^{16}$")];
    axes.draw(&mut figure, &[], &ys);
    axes.stages(&mut figure, &names);
    for (y, label) in [
        (0.0, "tolerance of float32"),
        (16.0, "of bfloat16 throughout"),
    ] {
        axes.line(
            &mut figure,
            &[(axes.x.0, y), (axes.x.1, y)],
            "stroke thick soft-line",
        );
        let (x, y) = axes.at(axes.x.1, y);
        figure.text(x - 6.0, y - 6.0, Anchor::End, "small soft", label);
    }
    for (i, (id, series)) in MISTAKES.iter().enumerate() {
        let mistake = mistake(&case, id)?;
        let wrong = case.run_with(&[id], None)?;
        let mut points = Vec::new();
        for (place, stage) in names.iter().enumerate() {
            let of = |stages| values(stages, stage).unwrap_or_default();
            let margin = of(&right)
                .iter()
                .zip(of(&wrong))
                .zip(of(&scales))
                .filter(|(_, scale)| **scale > 0.0)
                .map(|((right, wrong), scale)| (right - wrong).abs() / scale)
                .fold(0.0, f64::max);
            // Below a thousandth of a tolerance it is rounding.
            let margin = (margin * f64::from(1 << 24)).log2();
            if margin > -10.0 {
                points.push((place as f64, margin));
            }
        }
        axes.line(&mut figure, &points, &format!("stroke {series}-line"));
        for &(x, y) in &points {
            figure.dot(axes.at(x, y), i, series);
        }
        let (x, y) = (60.0 + 210.0 * (i % 2) as f64, 22.0 + 22.0 * (i / 2) as f64);
        figure.dot((x, y - 4.5), i, series);
        let label = format!("{id} {}", mistake.name);
        figure.text(x + 10.0, y, Anchor::Start, "small ink", &label);
    }
    figure.text(
        48.0,
        428.0,
        Anchor::Start,
        "small soft",
        "upright: departure over the float32 tolerance",
    );
    Ok(figure.finish())
}
