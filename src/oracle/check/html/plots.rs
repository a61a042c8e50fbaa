//! The errors of a stage in units of the tolerance: as a histogram, and over time and channels.

use super::super::report::StageReport;
use super::text::escaped;
use crate::into_vec::IntoVec as _;
use crate::oracle::stage::{Axis, StageSpec};
use std::fmt::Write as _;

/// Where the histogram begins, in decades of the tolerance.
pub const LOWEST: i32 = -6;
/// Where it ends.
const HIGHEST: i32 = 4;
/// Bins in each factor of ten.
pub const PER_DECADE: i32 = 2;
/// One bin for no error, those of the range, and one for everything above it.
pub const BINS: usize = ((HIGHEST - LOWEST) * PER_DECADE) as usize + 2;

const BAR: f64 = 17.0;
const TALL: f64 = 90.0;

/// The number of elements in every bin.
pub fn counts(fractions: &[f64]) -> [usize; BINS] {
    let mut counts = [0; BINS];
    for &fraction in fractions {
        let bin = if fraction == 0.0 {
            0
        } else if fraction > 1.0 {
            // What is just outside must not share a bin with what is just within.
            let above = (fraction.log10() * f64::from(PER_DECADE)).floor() as usize;
            (1 - LOWEST * PER_DECADE) as usize + above.min((HIGHEST * PER_DECADE) as usize)
        } else {
            let below = (-fraction.log10() * f64::from(PER_DECADE)).floor() as usize;
            let within = (-LOWEST * PER_DECADE) as usize;
            within - below.min(within - 1)
        };
        counts[bin] += 1;
    }
    counts
}

/// Both errors of a stage as one histogram: bars on the whole, a line for the step alone.
pub(super) fn histogram(stage: &StageReport) -> String {
    let (whole, own) = (counts(&stage.fractions), counts(&stage.local_fractions));
    let most = whole.iter().chain(&own).copied().max().unwrap_or(0).max(1);
    let height = |count: usize| match count {
        0 => 0.0,
        // One element of many is what matters most.
        _ => (TALL * count as f64 / most as f64).max(2.0),
    };
    let limit = (1 - LOWEST * PER_DECADE) as usize;
    let width = BAR * BINS as f64;
    let mut svg = format!(
        "<svg class=\"histogram\" viewBox=\"-6 0 {} {}\" role=\"img\" aria-label=\"Errors in units of the tolerance\">\n",
        width + 12.0,
        TALL + 22.0
    );
    let mut line = format!("M0 {TALL}");
    for bin in 0..BINS {
        let (x, tall) = (BAR * bin as f64, height(whole[bin]));
        if tall > 0.0 {
            let class = if bin < limit { "within" } else { "outside" };
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{:.0}\" y=\"{:.1}\" width=\"{:.0}\" height=\"{tall:.1}\"><title>{} elements</title></rect>",
                x + 1.0,
                TALL - tall,
                BAR - 2.0,
                whole[bin]
            );
        }
        let y = TALL - height(own[bin]);
        let _ = write!(line, "V{y:.1}H{:.0}", x + BAR);
    }
    let x = BAR * limit as f64;
    let _ = writeln!(
        svg,
        "<path class=\"own\" d=\"{line}V{TALL}\"/>\n<path class=\"limit\" d=\"M{x} 0V{TALL}\"/>\n\
         <path class=\"limit\" d=\"M0 {TALL}H{width}\"/>"
    );
    let mut label = |bin: f64, text: &str| {
        let x = BAR * bin;
        let _ = writeln!(
            svg,
            "<text class=\"dim\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{}\">{text}</text>",
            TALL + 14.0
        );
    };
    label(0.5, "0");
    for decade in (LOWEST..=HIGHEST).filter(|decade| decade % 2 == 0 && *decade > LOWEST) {
        let bin = f64::from((decade - LOWEST) * PER_DECADE) + 1.0;
        match decade {
            0 => label(bin, "1"),
            HIGHEST => label(bin - 0.5, "1e4"),
            _ => label(bin, &format!("1e{decade}")),
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// The upper ends of the colours of a heat map, in units of the tolerance.
const LEVELS: [f64; 6] = [0.01, 0.1, 1.0, 10.0, 1000.0, f64::INFINITY];

/// The legend of the colours.
pub(super) fn key() -> String {
    let names = [
        "to 0.01",
        "to 0.1",
        "to 1: within",
        "to 10",
        "to 1000",
        "more",
    ];
    let mut key = String::from("<p class=\"dim key\">Maps, in units of the tolerance: ");
    for (level, name) in names.iter().enumerate() {
        let _ = write!(
            key,
            "<span><svg width=\"12\" height=\"12\"><rect class=\"l{}\" width=\"12\" height=\"12\"/></svg> {name}</span> ",
            level + 1
        );
    }
    key + "</p>\n"
}

/// The errors of the step over time (or the last axis) and everything else, the largest where several
/// elements share one of at most `cells` cells; nothing for what has one axis of one place.
pub(super) fn heat_map(stage: &StageReport, spec: &StageSpec, cells: usize) -> Option<String> {
    let lens: Vec<usize> = spec.axes.iter().map(|&(_, len)| len).into_vec();
    let elements = stage.local_fractions.len();
    if elements < 2 || lens.iter().product::<usize>() != elements {
        return None;
    }
    let time = spec.axes.iter().position(|&(axis, _)| axis == Axis::Time);
    let across = time.unwrap_or(lens.len() - 1);
    let (columns, stride) = (lens[across], lens[across + 1..].iter().product::<usize>());
    let rows = elements / columns;
    let wide = columns.min(96);
    let high = rows.min((cells / wide).max(1));
    let mut largest = vec![0.0_f64; wide * high];
    for (at, &fraction) in stage.local_fractions.iter().enumerate() {
        let (column, row) = (
            at / stride % columns,
            at / (stride * columns) * stride + at % stride,
        );
        let cell = &mut largest[row * high / rows * wide + column * wide / columns];
        *cell = cell.max(fraction);
    }
    let mut paths = vec![String::new(); LEVELS.len()];
    for (row, line) in largest.chunks(wide).enumerate() {
        let level = |column: usize| {
            let fraction = line[column];
            (fraction > 0.0).then(|| LEVELS.iter().position(|&end| fraction <= end))?
        };
        let mut column = 0;
        while column < wide {
            let (begin, here) = (column, level(column));
            while column < wide && level(column) == here {
                column += 1;
            }
            if let Some(here) = here {
                let run = column - begin;
                let _ = write!(paths[here], "M{begin} {row}h{run}v1h-{run}z");
            }
        }
    }
    let tall = (high * 14).clamp(28, 220);
    let mut svg = format!(
        "<svg class=\"heat\" viewBox=\"0 0 {wide} {high}\" height=\"{tall}\" preserveAspectRatio=\"none\" \
         shape-rendering=\"crispEdges\" role=\"img\" aria-label=\"Errors of the step in units of the tolerance\">"
    );
    for (level, path) in paths
        .iter()
        .enumerate()
        .filter(|(_, path)| !path.is_empty())
    {
        let _ = write!(svg, "<path class=\"l{}\" d=\"{path}\"/>", level + 1);
    }
    let others: Vec<String> = spec
        .axes
        .iter()
        .enumerate()
        .filter(|&(at, &(_, len))| at != across && len > 1)
        .map(|(_, (axis, len))| format!("{len} {axis}{}", plural(*len)))
        .into_vec();
    let down = match others.is_empty() {
        true => String::new(),
        false => format!("; down: {}", others.join(", in each ")),
    };
    let _ = write!(
        svg,
        "</svg>\n<figcaption>own step; across: {columns} {}{}{}</figcaption>",
        spec.axes[across].0,
        plural(columns),
        escaped(&down)
    );
    Some(svg)
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}
