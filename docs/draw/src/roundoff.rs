//! The error of each form against the unit roundoff: what is proved, and what is seen.

use crate::axes::Axes;
use crate::svg::{Anchor, Figure};
use hungry_hippos::Error;
use hungry_hippos::algebra::{
    Ball, Bf16, F32, F64, Precision, Real, RootsOfUnity, Rounded, Scalar, Tf32,
};
use hungry_hippos::flashconv::{Chunking, flashconv};
use hungry_hippos::fourier::convolution::causal_convolution;
use hungry_hippos::h3::Form;
use hungry_hippos::ssm::{Diagonal, StateSpace as _, convolution, recurrence, scan};
use num_complex::Complex;

const N: usize = 64;

/// Four pairs and an input of eighths: numbers that every format holds, so that what is seen is the
/// error of the arithmetic and nothing else.
fn model() -> Result<(Diagonal<f64>, Vec<f64>), Error> {
    let poles = [(0.875, 0.375), (0.5, 0.75), (-0.75, 0.5), (0.9375, 0.125)];
    let outputs = [(0.5, -0.25), (-0.375, 0.5), (0.75, 0.125), (0.25, 0.625)];
    let complex = |z: [(f64, f64); 4]| z.map(|(re, im)| Complex::new(re, im)).to_vec();
    let ssm = Diagonal::new(
        complex(poles),
        vec![Complex::new(1.0, 0.0); 4],
        complex(outputs),
        0.0,
    )?;
    let u = (0..N).map(|i| ((7 * i * i + 13 * i) % 17) as f64 / 8.0 - 1.0);
    Ok((ssm, u.collect()))
}

/// The outputs of a form over another scalar.
fn run<T: Real>(form: &Form) -> Result<Vec<T>, Error>
where
    T::Complex: RootsOfUnity,
{
    let (ssm, u) = model()?;
    let u: Vec<T> = u.into_iter().map(T::from_f64).collect();
    let ssm = ssm.map(T::from_f64);
    // Named one by one: to go through `Form` would compile all of its forms in all of the formats.
    Ok(match form {
        Form::Recurrence => recurrence(&ssm, &u, None)?.output,
        Form::Convolution => convolution(&ssm, &u, None)?.output,
        Form::Scan => scan(&ssm, &u, None)?.output,
        Form::FlashConv(chunking) => flashconv(&ssm, &u, None, chunking)?.output,
        // Without D the outputs are the convolution.
        _ => causal_convolution(&ssm.kernel(u.len()), &u)?,
    })
}

/// Unit roundoff, and the proved bound of every output's error relative to the largest output, both
/// in powers of two.
fn proved<P: Precision>(form: &Form) -> Result<(f64, f64), Error>
where
    Rounded<P>: Real,
    <Rounded<P> as Scalar>::Complex: RootsOfUnity,
{
    let balls = run::<Rounded<P>>(form)?;
    let radius = balls.iter().fold(0.0f64, |m, y| m.max(y.ball().radius()));
    Ok((
        P::FORMAT.unit_roundoff().log2(),
        (radius / largest()?).log2(),
    ))
}

/// Unit roundoff, and the error that is seen.
fn seen<T: Real>(form: &Form) -> Result<(f64, f64), Error>
where
    T::Complex: RootsOfUnity,
{
    let error = run::<T>(form)?
        .into_iter()
        .zip(run::<Ball>(&Form::Recurrence)?)
        .fold(0.0f64, |worst, (y, truth)| {
            let [high, low] = truth.midpoint();
            worst.max(((y.to_f64() - high) - low).abs())
        });
    Ok((T::UNIT_ROUNDOFF.log2(), (error / largest()?).log2()))
}

fn largest() -> Result<f64, Error> {
    let outputs = run::<f64>(&Form::Recurrence)?;
    Ok(outputs.iter().fold(0.0, |m: f64, y| m.max(y.abs())))
}

pub(crate) fn draw() -> Result<String, Error> {
    let forms = [
        (Form::Recurrence, "recurrence", "s0", ""),
        (Form::Convolution, "convolution", "s1", "d1"),
        (Form::Scan, "scan", "s2", "d2"),
        (Form::Fft, "FFT", "s3", "d3"),
        (
            Form::FlashConv(Chunking::Uniform(16)),
            "FlashConv",
            "s4",
            "d4",
        ),
    ];
    let mut figure = Figure::new(
        470.0,
        "The error of each form against the unit roundoff",
        "On logarithmic scales: for unit roundoffs of bf16, tf32, f32 and f64 the proved bound of \
         each form's error, in parallel straight lines of slope one within a few powers of two of \
         each other, and the errors seen in f32 and f64, well below the lines.",
    );
    let axes = Axes {
        place: [66.0, 46.0, 396.0, 300.0],
        x: (-56.0, -5.0),
        y: (-58.0, 10.0),
    };
    let xs = [(-53.0, "f64"), (-24.0, "f32"), (-11.0, "tf32"), (-8.0, "")];
    let labels: Vec<(f64, String)> = (0..7)
        .map(|k| -50.0 + 10.0 * f64::from(k))
        .map(|y| (y, format!("$2^{{{y}}}$").replace('-', "−")))
        .collect();
    let ys: Vec<(f64, &str)> = labels
        .iter()
        .map(|(y, label)| (*y, label.as_str()))
        .collect();
    axes.draw(&mut figure, &xs, &ys);
    figure.text(
        66.0,
        30.0,
        Anchor::Start,
        "ink",
        "largest error / largest output",
    );
    let (x, _) = axes.at(-8.0, 0.0);
    figure.text(x + 4.0, 365.0, Anchor::Start, "small soft", "bf16");
    for (f, (form, name, series, dash)) in forms.iter().enumerate() {
        let bound = [
            proved::<F64>(form)?,
            proved::<F32>(form)?,
            proved::<Tf32>(form)?,
            proved::<Bf16>(form)?,
        ];
        let class = format!("stroke {dash} {series}-line");
        axes.line(&mut figure, &bound, &class);
        let mut dots = vec![seen::<f32>(form)?];
        // Roots of unity in f64 come from the platform's sine: their last digit is its own.
        if !matches!(form, Form::Fft | Form::FlashConv(_)) {
            dots.push(seen::<f64>(form)?);
        }
        for (u, error) in dots {
            // Side by side: the forms' errors are alike.
            let (x, y) = axes.at(u, error);
            figure.dot((x + 9.0 * (f as f64 - 2.0), y), f, series);
        }
        let (x, y) = (66.0 + 140.0 * (f % 3) as f64, 400.0 + 22.0 * (f / 3) as f64);
        figure.path(&[(x, y), (x + 30.0, y)], &class);
        figure.dot((x + 15.0, y), f, series);
        figure.text(x + 37.0, y + 4.5, Anchor::Start, "small ink", name);
    }
    figure.text(
        66.0,
        452.0,
        Anchor::Start,
        "small soft",
        "lines: proved bounds; marks: errors seen",
    );
    Ok(figure.finish())
}
