//! The stages and what each is computed from, as a drawing with the verdict on each.

use super::super::report::{Report, StageVerdict};
use super::super::words::percent;
use super::text::{anchor, class, escaped};
use crate::oracle::stage::StageSpec;
use std::fmt::Write as _;

const WIDTH: f64 = 400.0;
/// The height of a row, and of a stage in it.
const ROW: f64 = 64.0;
const BOX: f64 = 38.0;
/// The widest a stage is drawn.
const WIDEST: f64 = 124.0;

/// A stage's verdict as a class of the style sheet, and in words.
fn said(report: &Report, name: &str) -> (&'static str, String) {
    let stage = report.stages.iter().find(|stage| stage.name == name);
    stage.map_or(("absent", "absent".into()), |stage| {
        let largest = match stage.verdict {
            StageVerdict::Fail => stage.local.max(stage.worst),
            _ => stage.worst,
        };
        let largest = percent(largest).replace(" times", "×");
        let said = format!("{} {largest}", stage.verdict.name());
        (class(stage.verdict), said)
    })
}

/// The tags around a stage's name: a link to what is said of it, or `plain` where nothing is.
fn link(class: &str, name: &str, plain: &'static str) -> (String, &'static str) {
    match class {
        "absent" => (plain.into(), plain),
        _ => (format!("a href=\"#{}\"", anchor(name)), "a"),
    }
}

/// The row of every stage: below everything it is computed from, and what something is computed from
/// right above that.
pub fn rows(specs: &[&StageSpec]) -> Vec<usize> {
    let is_from = |at: usize, before: usize| specs[at].from.contains(&specs[before].name);
    let mut rows = vec![0_usize; specs.len()];
    for at in 0..specs.len() {
        let above = (0..at).filter(|&before| is_from(at, before));
        rows[at] = above.map(|before| rows[before] + 1).max().unwrap_or(0);
    }
    for at in (0..specs.len()).rev() {
        let below = (at + 1..specs.len()).filter(|&after| is_from(after, at));
        let below = below.map(|after| rows[after]).min();
        if let Some(row) = below {
            rows[at] = row.saturating_sub(1);
        }
    }
    rows
}

/// The drawing. Gradients, which come from everything, are listed below it.
pub(super) fn graph(report: &Report) -> String {
    let (gradients, specs): (Vec<_>, Vec<_>) =
        report.specs.iter().partition(|spec| spec.is_gradient());
    let rows = rows(&specs);
    let height = rows
        .iter()
        .max()
        .map_or(0.0, |&last| (last + 1) as f64 * ROW);
    // The middle of a stage's upper edge, and its width.
    let place = |at: usize| {
        let beside = |other: &usize| rows[*other] == rows[at];
        let count = (0..specs.len()).filter(beside).count() as f64;
        let before = (0..at).filter(beside).count() as f64;
        let share = WIDTH / count;
        let x = share * (before + 0.5);
        (x, rows[at] as f64 * ROW + 4.0, (share - 6.0).min(WIDEST))
    };
    let mut svg = format!(
        "<svg class=\"graph\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"The stages, each below those it is computed from\">\n"
    );
    for (at, spec) in specs.iter().enumerate() {
        let (x, y, _) = place(at);
        for before in (0..at).filter(|&before| spec.from.contains(&specs[before].name)) {
            let (from_x, from_y, _) = place(before);
            // Around the stages in between.
            let aside = match rows[at] - rows[before] > 1 {
                true => WIDEST * 0.7,
                false => 0.0,
            };
            let from_y = from_y + BOX;
            let _ = writeln!(
                svg,
                "<path d=\"M{from_x:.1} {from_y:.1}C{:.1} {:.1} {:.1} {:.1} {x:.1} {y:.1}\"/>",
                from_x + aside,
                from_y + 16.0,
                x + aside,
                y - 16.0
            );
        }
    }
    for (at, spec) in specs.iter().enumerate() {
        let (x, y, width) = place(at);
        let (class, said) = said(report, &spec.name);
        let (open, close) = link(class, &spec.name, "g");
        let _ = writeln!(
            svg,
            "<{open} class=\"{class}\"><rect x=\"{:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BOX}\" rx=\"5\"/>\
             <text x=\"{x:.1}\" y=\"{}\">{}</text>\
             <text class=\"said\" x=\"{x:.1}\" y=\"{}\">{}</text></{close}>",
            x - width / 2.0,
            y + 16.0,
            escaped(&spec.name),
            y + 30.0,
            escaped(&said)
        );
    }
    svg.push_str("</svg>\n");
    if !gradients.is_empty() {
        svg.push_str("<h2>Gradients</h2>\n<ul class=\"chips\">\n");
        for spec in gradients {
            let (class, said) = said(report, &spec.name);
            let (open, close) = link(class, &spec.name, "span");
            let _ = writeln!(
                svg,
                "<li class=\"{class}\"><{open}>{}</{close}> <span class=\"badge\">{}</span></li>",
                escaped(spec.name.strip_prefix("grad.").unwrap_or(&spec.name)),
                escaped(&said)
            );
        }
        svg.push_str("</ul>\n");
    }
    svg
}
