//! What is known of a layer's stages, what right runs miss it by, and what they may.

use crate::axes::Axes;
use crate::oracle::{Stages, case, layer, mistake, outputs, run, scales, truth, values};
use crate::svg::{Anchor, Figure};
use hungry_hippos::Error;
use hungry_hippos::algebra::Real;
use hungry_hippos::h3::{Name, Parameters};
use hungry_hippos::oracle::{Case, CertifiedStage, LayerCase, Precision};
use hungry_hippos::ssm::Discretization;

const CASE: &str = "20-real-relu";
const MISTAKE: &str = "M47e";

/// The case with steps of `exp(0)` and the bilinear rule: what rounding does to it is then the same
/// on every machine, as no function of the platform's library is asked for anything else.
fn exact_functions() -> Result<Case, Error> {
    let case = case(CASE)?;
    let case = layer(&case)?;
    let mut config = case.parameters().config().clone();
    config.disc = Discretization::Bilinear;
    let parameters = Parameters::new(config, |name| match case.parameters().get(name) {
        steps if name == Name::LogDt => Ok(vec![0.0; steps.len()]),
        values => Ok(values.iter().map(|x| x * 1.1).collect()),
    })?;
    Ok(LayerCase::new(parameters, case.input().map(|x| x * 1.1))?.into())
}

/// A value for every stage up to the output, by its place, as a power of ten relative to the stage's
/// largest element.
fn relative(
    truth: &[CertifiedStage],
    value: impl Fn(&CertifiedStage) -> Option<f64>,
) -> Vec<(f64, f64)> {
    let places = (0..).map(f64::from).zip(truth);
    let of = |(place, stage): (f64, &CertifiedStage)| {
        Some((
            place,
            (value(stage)? / largest(stage.values.data())).log10(),
        ))
    };
    places.filter_map(of).collect()
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m: f64, x| m.max(x.abs()))
}

/// The largest distance of a run's stage from the certified one.
fn departure(run: &Stages, stage: &CertifiedStage) -> Option<f64> {
    let pairs = values(run, &stage.name)?.iter().zip(stage.values.data());
    Some(pairs.fold(0.0, |m: f64, (x, y)| m.max((x - y).abs())))
}

pub(crate) fn draw() -> Result<String, Error> {
    let case = exact_functions()?;
    let wrong = case.run_with(&[MISTAKE], None)?;
    let names = outputs(&wrong);
    let mut truth = truth(&case)?;
    truth.retain(|stage| names.contains(&stage.name));
    let scales = scales(exact_functions()?)?;
    // The largest over a stage's elements of something made of a scale and its place.
    let over = |stage: &CertifiedStage, value: &dyn Fn(usize, f64) -> f64| {
        let scales = values(&scales, &stage.name)?.iter().enumerate();
        Some(scales.fold(0.0, |m: f64, (at, &scale)| m.max(value(at, scale))))
    };
    let allowed = |unit_roundoff: f64| {
        relative(&truth, |stage| {
            over(stage, &|_, scale| scale * unit_roundoff)
        })
    };
    let single = run(&case, Precision::F32)?;
    let double = run(&case, Precision::F64)?;
    let double = relative(&truth, |stage| departure(&double, stage));
    let mistake = mistake(&case, MISTAKE)?;
    // Up to the mistake it is the run in f64.
    let made = names.iter().position(|name| name == "ssm_kernel");
    let made = made.unwrap_or_default();
    let mut departs = relative(&truth, |stage| departure(&wrong, stage));
    departs[..made].copy_from_slice(&double[..made]);

    let mut figure = Figure::new(
        490.0,
        "From the certified digits to the tolerances, stage by stage",
        "On a logarithmic scale, relative to each stage's largest element, ten stages in the order \
         of computation. The certified enclosure has a radius near ten to the minus 30; the error of \
         a run in float64 is near ten to the minus 15, of one in float32 near ten to the minus 7, \
         each below its tolerance, by up to about three powers of ten. A mistake in the diagonal kernel leaves \
         the run in float64 at that stage, far outside the tolerance of float32, and is within it in the output.",
    );
    let axes = Axes {
        place: [52.0, 38.0, 412.0, 320.0],
        x: (-0.5, names.len() as f64 - 0.5),
        y: (-34.5, 0.0),
    };
    let ys = [
        (-30.0, "$10^{−30}$"),
        (-20.0, "$10^{−20}$"),
        (-10.0, "$10^{−10}$"),
    ];
    axes.draw(&mut figure, &[], &ys);
    let measure = "relative to the largest element of the stage";
    figure.text(16.0, 24.0, Anchor::Start, "soft", measure);
    axes.stages(&mut figure, &names);
    let single = relative(&truth, |stage| departure(&single, stage));
    let radius = relative(&truth, |stage| Some(largest(stage.radii.data())));
    let wrong_label = format!("{} {}", mistake.id, mistake.name);
    let series = [
        (&departs[made - 1..], "s1", "", Some(3), &wrong_label[..]),
        (
            &allowed(f32::UNIT_ROUNDOFF),
            "s0",
            "d1",
            None,
            "tolerance of float32",
        ),
        (&single, "s0", "", Some(1), "error of a float32 run"),
        (
            &allowed(f64::UNIT_ROUNDOFF),
            "s2",
            "d1",
            None,
            "tolerance of float64",
        ),
        (&double, "s2", "", Some(2), "error of a float64 run"),
        (&radius, "s3", "", Some(0), "radius of the enclosure"),
    ];
    for (i, (values, series, dash, shape, label)) in series.into_iter().enumerate() {
        let class = format!("stroke {dash} {series}-line");
        axes.line(&mut figure, values, &class);
        let (x, y) = (52.0 + 206.0 * (i / 3) as f64, 422.0 + 22.0 * (i % 3) as f64);
        figure.path(&[(x, y), (x + 30.0, y)], &class);
        figure.text(x + 37.0, y + 4.5, Anchor::Start, "small ink", label);
        if let Some(shape) = shape {
            for &(x, y) in values {
                figure.dot(axes.at(x, y), shape, series);
            }
            figure.dot((x + 15.0, y), shape, series);
        }
    }
    // By how many tolerances of float32 the mistake departs, where it is made and at the end.
    let departure = |stage: &str| {
        let truth = truth.iter().find(|truth| truth.name == stage)?;
        let wrong = values(&wrong, stage)?;
        let off = |at: usize| (wrong[at] - truth.values.data()[at]).abs();
        over(truth, &|at, scale| off(at) / (scale * f32::UNIT_ROUNDOFF))
    };
    for (stage, dx, dy) in [("ssm_kernel", -24.0, -5.0), ("output", 0.0, 19.0)] {
        let place = departs.iter().find(|(x, _)| names[*x as usize] == stage);
        if let (Some(&(x, y)), Some(times)) = (place, departure(stage)) {
            let (x, y) = axes.at(x, y);
            let decimals = usize::from(times < 1.0);
            let label = format!("{times:.decimals$} ×");
            figure.text(x + dx, y + dy, Anchor::Middle, "small s1", &label);
        }
    }
    Ok(figure.finish())
}
