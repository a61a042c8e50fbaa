//! The results of several runs of one task: a table for people, JSON for programs.

use super::curve::{Curve, Measure};
use crate::into_vec::IntoVec as _;
use crate::table::aligned;

/// The accuracies whose first epochs are told, in per cent: what the official text promises of H3 and
/// attention, and the figure of the paper's table.
const MARKS: [f64; 2] = [97.0, 99.8];

/// The version of the JSON's schema.
const SCHEMA: &str = "hippos-train/1";

/// A row for every run, and the mean, minimum and maximum of the last scores, with the paper's
/// score next to them.
#[must_use]
pub fn table(curves: &[Curve]) -> String {
    let Some(first) = curves.first() else {
        return String::new();
    };
    let measure = first.measure();
    let mut head = vec!["seed".to_string(), "epochs".into()];
    head.extend(["last", "best"].map(|what| format!("{what} {}", measure.unit())));
    if measure == Measure::Accuracy {
        head.extend(MARKS.map(|mark| format!("first >= {mark}")));
    }
    let mut rows = vec![head];
    let printed = |score: Option<f64>| score.map_or("-".into(), |score| measure.printed(score));
    for curve in curves {
        let mut row = vec![
            curve.settings.seed.to_string(),
            format!("{} of {}", curve.epochs.len(), curve.settings.epochs),
            printed(curve.last()),
            printed(curve.best()),
        ];
        if measure == Measure::Accuracy {
            row.extend(MARKS.map(|mark| {
                curve
                    .first(mark)
                    .map_or("-".into(), |epoch| epoch.to_string())
            }));
        }
        rows.push(row);
    }
    let mut text = aligned(&rows, true);
    let last: Vec<f64> = curves.iter().filter_map(Curve::last).into_vec();
    if last.len() > 1 {
        let mean = last.iter().sum::<f64>() / last.len() as f64;
        let least = last.iter().copied().fold(f64::INFINITY, f64::min);
        let most = last.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let [mean, least, most] = [mean, least, most].map(|score| measure.printed(score));
        text.push_str(&format!(
            "  last score of {} seeds: mean {mean}, least {least}, most {most} {}\n",
            last.len(),
            measure.unit()
        ));
    }
    if let Some(score) = first.settings.of_paper() {
        text.push_str(&format!("  the paper: {}\n", measure.printed(score)));
    }
    text
}

/// The runs as JSON: one line.
#[must_use]
pub fn json(curves: &[Curve]) -> String {
    let runs: Vec<String> = curves.iter().map(run).into_vec();
    format!(
        "{{\"schema\":\"{SCHEMA}\",\"runs\":[{}]}}\n",
        runs.join(",")
    )
}

fn run(curve: &Curve) -> String {
    let settings = &curve.settings;
    let list = |value: fn(&super::curve::Epoch) -> f64| {
        let values: Vec<String> = curve
            .epochs
            .iter()
            .map(|epoch| number(value(epoch)))
            .into_vec();
        format!("[{}]", values.join(","))
    };
    // Names and numbers, in which nothing has to be escaped.
    format!(
        "{{\"task\":\"{}\",\"mixer\":\"{}\",\"vocabulary\":{},\"parameters\":{},\"seed\":{},\"data_seed\":{},\
         \"epochs\":{},\"measure\":\"{}\",\"paper\":{},\"loss\":{},\"score\":{}}}",
        settings.task,
        settings.mixer,
        settings.vocabulary,
        settings.config().parameter_count(),
        settings.seed,
        settings.data_seed,
        settings.epochs,
        curve.measure().unit(),
        settings.of_paper().map_or("null".into(), number),
        list(|epoch| epoch.loss),
        list(|epoch| epoch.score),
    )
}

/// A JSON number; JSON has no infinity.
fn number(x: f64) -> String {
    match x.is_finite() {
        true => x.to_string(),
        false => "null".into(),
    }
}
