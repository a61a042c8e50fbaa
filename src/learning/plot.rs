//! The curves of runs as one SVG: loss above, score below, over epochs.

use super::curve::{Curve, Epoch, Measure};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use crate::safetensors::replace_file;
use std::fmt::Write as _;
use std::path::Path;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 488.0;

/// Left, top, width and height of the two panels.
const LOSS: [f64; 4] = [58.0, 44.0, 470.0, 170.0];
const SCORE: [f64; 4] = [58.0, 268.0, 470.0, 170.0];

/// Colours are classes, light or dark as the viewer is set. Line colours are those of Okabe and Ito, which
/// the common kinds of colour blindness tell apart.
const STYLE: &str = "\
svg{--paper:#fff;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--s0:#0072b2;--s1:#d55e00;--s2:#007a5a;\
--s3:#a0458a;--s4:#8a6d00}
@media(prefers-color-scheme:dark){svg{--paper:#0d1117;--ink:#e6edf3;--soft:#9da7b3;--line:#3d444d;\
--s0:#56b4e9;--s1:#ff8c42;--s2:#35c295;--s3:#e09ac5;--s4:#f0c83c}}
text{font:12px system-ui,sans-serif;fill:var(--soft)}
.t{font-size:14px;font-weight:600;fill:var(--ink)}
path{fill:none;stroke-width:1.6;stroke-linejoin:round}
.g{stroke:var(--line);stroke-width:1}
.p{stroke:var(--soft);stroke-width:1;stroke-dasharray:5 4}
.r{fill:var(--paper)}
.e{text-anchor:end}.m{text-anchor:middle}
";

/// The series that are told apart by colour.
const COLOURS: usize = 5;

/// A panel: where it is, and the values at its sides.
struct Panel {
    place: [f64; 4],
    epochs: f64,
    bottom: f64,
    top: f64,
}

impl Panel {
    fn at(&self, epoch: f64, value: f64) -> (f64, f64) {
        let [left, top, width, height] = self.place;
        let up = (value - self.bottom) / (self.top - self.bottom);
        (
            left + width * epoch / self.epochs,
            top + height * (1.0 - up.clamp(0.0, 1.0)),
        )
    }

    /// Grid lines and labels; `title` says what is drawn.
    fn draw(&self, svg: &mut String, title: &str) {
        let [left, top, width, height] = self.place;
        let _ = writeln!(
            svg,
            "<text x=\"{left}\" y=\"{:.0}\">{title}</text>",
            top - 8.0
        );
        for (value, label) in ticks(self.bottom, self.top) {
            let (_, y) = self.at(0.0, value);
            let _ = writeln!(
                svg,
                "<path class=\"g\" d=\"M{left} {y:.1}h{width}\"/>\
                 <text class=\"e\" x=\"{:.0}\" y=\"{:.1}\">{label}</text>",
                left - 7.0,
                y + 4.0
            );
        }
        for (epoch, label) in ticks(0.0, self.epochs) {
            let (x, _) = self.at(epoch, 0.0);
            let bottom = top + height;
            let _ = writeln!(
                svg,
                "<path class=\"g\" d=\"M{x:.1} {bottom}v4\"/>\
                 <text class=\"m\" x=\"{x:.1}\" y=\"{:.0}\">{label}</text>",
                bottom + 17.0
            );
        }
    }

    /// One curve.
    fn line(&self, svg: &mut String, epochs: &[Epoch], value: fn(&Epoch) -> f64, series: usize) {
        let mut d = String::new();
        for (at, epoch) in epochs.iter().enumerate() {
            let (x, y) = self.at(at as f64 + 1.0, value(epoch));
            let command = if at == 0 { 'M' } else { 'L' };
            let _ = write!(d, "{command}{x:.1} {y:.1}");
        }
        // A single epoch is a dot.
        if epochs.len() == 1 {
            d.push_str("h0.1");
        }
        let _ = writeln!(svg, "<path d=\"{d}\"{}/>", stroke(series));
    }
}

/// Colour by place among the series; those after the first five are dashed, then dotted.
fn stroke(series: usize) -> String {
    let dash = match series / COLOURS {
        0 => "",
        1 => ";stroke-dasharray:6 3",
        _ => ";stroke-dasharray:2 2",
    };
    let colour = series % COLOURS;
    format!(" style=\"stroke:var(--s{colour}){dash}\" stroke-linecap=\"round\"")
}

/// Round values between two ends, with labels: at most eight, a step of 1, 2 or 5 times a power of ten.
fn ticks(low: f64, high: f64) -> Vec<(f64, String)> {
    let mut step = 1e-9_f64;
    for factor in [2.0, 2.5, 2.0].into_iter().cycle() {
        if (high - low) / step <= 7.0 || !step.is_finite() {
            break;
        }
        step *= factor;
    }
    let decimals = (-step.log10()).ceil().clamp(0.0, 9.0) as usize;
    let first = (low / step).ceil() as i64;
    (first..)
        .map(|k| k as f64 * step)
        .take_while(|&value| value <= high + 1e-6 * step)
        .map(|value| (value, format!("{value:.decimals$}")))
        .into_vec()
}

/// The smallest range that holds all values, never empty.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    match high - low {
        spread if spread > 1e-6 => (low - 0.04 * spread, high + 0.04 * spread),
        _ if low.is_finite() => (low - 0.5, low + 0.5),
        _ => (0.0, 1.0),
    }
}

/// The curves of runs of one task as an SVG that needs no other file, light or dark as the viewer is set;
/// a dashed line marks the paper's score where there is one. The same curves give the same bytes.
#[must_use]
pub fn plot(curves: &[Curve]) -> String {
    let epochs = curves.iter().map(|curve| curve.epochs.len()).max();
    let epochs = epochs.unwrap_or(0).max(1) as f64;
    let all = || curves.iter().flat_map(|curve| &curve.epochs);
    let measure = curves.first().map_or(Measure::Accuracy, Curve::measure);
    let of_paper = curves.first().and_then(|curve| curve.settings.of_paper());
    let (bottom, top) = range(all().map(|epoch| epoch.loss));
    let loss = Panel {
        place: LOSS,
        epochs,
        bottom,
        top,
    };
    let (bottom, top) = match measure {
        Measure::Accuracy => (0.0, 100.0),
        Measure::BitsPerByte => range(all().map(|epoch| epoch.score)),
    };
    let score = Panel {
        place: SCORE,
        epochs,
        bottom,
        top,
    };
    let title = curves.first().map_or_else(String::new, |curve| {
        let settings = &curve.settings;
        format!(
            "{}, {} tokens, {}",
            settings.task, settings.vocabulary, settings.mixer
        )
    });
    let described = curves.iter().map(|curve| {
        let last = curve.last().map_or("none".into(), |s| measure.printed(s));
        format!("seed {}: {last} {}", curve.settings.seed, measure.unit())
    });
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" role=\"img\" aria-labelledby=\"t d\">\n<title id=\"t\">Training: {title}</title>\n\
         <desc id=\"d\">Training loss above and held-out score below, over epochs. Last scores: {}.</desc>\n\
         <style>{STYLE}</style>\n<rect class=\"r\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text class=\"t\" x=\"{}\" y=\"18\">{title}</text>\n",
        described.into_vec().join("; "),
        LOSS[0],
    );
    loss.draw(&mut svg, "training loss, nats per token");
    score.draw(&mut svg, &format!("held-out score, {}", measure.unit()));
    if let Some(value) = of_paper {
        let (x, y) = score.at(0.0, value);
        let _ = writeln!(
            svg,
            "<path class=\"p\" d=\"M{x} {y:.1}h{}\"/><text x=\"{}\" y=\"{:.1}\">paper {value:.1}</text>",
            SCORE[2],
            SCORE[0] + SCORE[2] + 6.0,
            y + 4.0
        );
    }
    for (series, curve) in curves.iter().enumerate() {
        loss.line(&mut svg, &curve.epochs, |epoch| epoch.loss, series);
        score.line(&mut svg, &curve.epochs, |epoch| epoch.score, series);
        let (x, y) = (LOSS[0] + LOSS[2] + 12.0, LOSS[1] + 14.0 * series as f64);
        let _ = writeln!(
            svg,
            "<path d=\"M{x} {y}h16\"{}/><text x=\"{}\" y=\"{}\">seed {}</text>",
            stroke(series),
            x + 22.0,
            y + 4.0,
            curve.settings.seed
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"m\" x=\"{}\" y=\"{}\">epoch</text>\n</svg>",
        SCORE[0] + SCORE[2] / 2.0,
        HEIGHT - 12.0
    );
    svg
}

/// Writes the [`plot`], whole or not at all.
///
/// # Errors
///
/// If the file cannot be written, as the operating system says.
pub fn write_plot(path: &Path, curves: &[Curve]) -> Result<(), Error> {
    replace_file(path, plot(curves).as_bytes())
}
