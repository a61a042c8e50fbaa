//! An error in words, for mistakes that the catalogue does not hold.

use super::super::stage::Axis;
use super::compare::Compared;
use super::series::Series;

/// True if the candidate is outside the golden value's tolerance at a place.
fn wrong(compared: &Compared<'_>, at: usize) -> bool {
    let error = (compared.candidate.data()[at] - compared.golden.data()[at]).abs();
    error > compared.bounds[at]
}

/// True if the candidate holds at one place what is golden at another.
fn holds(compared: &Compared<'_>, at: usize, from: usize) -> bool {
    let error = (compared.candidate.data()[at] - compared.golden.data()[from]).abs();
    error <= compared.bounds[at].max(compared.bounds[from])
}

/// The first time step at which any series is outside its tolerance, if time is an axis.
pub(super) fn first_wrong_token(compared: &Compared<'_>) -> Option<usize> {
    let series = Series::over_time(compared.spec)?;
    (0..series.len).find(|&t| (0..series.count).any(|s| wrong(compared, series.place(s, t))))
}

/// One sentence about the error of a stage that is outside its tolerance.
pub(super) fn describe(compared: &Compared<'_>) -> String {
    let found = factor(compared)
        .or_else(|| shifted(compared))
        .or_else(|| reversed(compared))
        .or_else(|| permuted(compared))
        .or_else(|| some_series(compared))
        .or_else(|| from_some_token(compared));
    found.unwrap_or_else(|| scattered(compared))
}

/// The stage times a constant.
fn factor(compared: &Compared<'_>) -> Option<String> {
    let (golden, candidate) = (compared.golden.data(), compared.candidate.data());
    let square: f64 = golden.iter().map(|g| g * g).sum();
    let alpha = golden
        .iter()
        .zip(candidate)
        .map(|(g, c)| g * c)
        .sum::<f64>()
        / square;
    if !alpha.is_finite() {
        return None;
    }
    if candidate.iter().all(|&c| c.abs() <= 0.0) {
        return Some("all zero".into());
    }
    let scaled: Vec<f64> = golden.iter().map(|g| alpha * g).collect();
    // Once the tolerance for the candidate's rounding, once for what that does to the factor found.
    let fits = scaled
        .iter()
        .zip(candidate)
        .zip(&compared.bounds)
        .all(|((x, c), bound)| (c - x).abs() <= bound * alpha.abs().max(1.0) * 2.0);
    // A factor within the tolerance explains nothing that is outside.
    (fits && compared.differs(&scaled)).then(|| {
        let off = alpha - 1.0;
        match off.abs() < 1e-4 {
            // Six digits would show 1.
            true => {
                let sign = if off < 0.0 { "-" } else { "+" };
                format!("the golden stage times (1 {sign} {:.1e})", off.abs())
            }
            false => format!("the golden stage times {alpha:.6}"),
        }
    })
}

/// Every series moved along time by a few places.
fn shifted(compared: &Compared<'_>) -> Option<String> {
    let series = Series::of(compared.spec);
    for places in 1..=4usize.min(series.len.saturating_sub(3)) {
        for late in [true, false] {
            let fits = (0..series.count).all(|s| {
                (0..series.len - places).all(|t| {
                    let (early_end, late_end) = (series.place(s, t), series.place(s, t + places));
                    match late {
                        true => holds(compared, late_end, early_end),
                        false => holds(compared, early_end, late_end),
                    }
                })
            });
            if fits {
                let way = if late { "late" } else { "early" };
                return Some(format!(
                    "the golden stage {places} {}(s) {way}",
                    series.along
                ));
            }
        }
    }
    None
}

/// Every series back to front.
fn reversed(compared: &Compared<'_>) -> Option<String> {
    let series = Series::of(compared.spec);
    let fits = (0..series.count).all(|s| {
        (0..series.len).all(|t| {
            holds(
                compared,
                series.place(s, t),
                series.place(s, series.len - 1 - t),
            )
        })
    });
    fits.then(|| match series.along {
        Axis::Time => "the golden stage reversed in time".into(),
        step => format!("the golden stage with its {step}s in reverse"),
    })
}

/// The series in another order.
fn permuted(compared: &Compared<'_>) -> Option<String> {
    let series = Series::of(compared.spec);
    let mut taken = vec![false; series.count];
    let mut moved = Vec::new();
    for s in 0..series.count {
        // Its own before any other that is alike.
        let from = std::iter::once(s).chain(0..series.count).find(|&from| {
            let same = |t| holds(compared, series.place(s, t), series.place(from, t));
            !taken[from] && (0..series.len).all(same)
        })?;
        taken[from] = true;
        if from != s {
            moved.push(format!("{s} holds {from}"));
        }
    }
    let shown = moved.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
    let more = if moved.len() > 4 { ", ..." } else { "" };
    Some(format!("channels permuted: {shown}{more}"))
}

/// Some series wrong and the others right.
fn some_series(compared: &Compared<'_>) -> Option<String> {
    let series = Series::of(compared.spec);
    let bad: Vec<usize> = (0..series.count)
        .filter(|&s| (0..series.len).any(|t| wrong(compared, series.place(s, t))))
        .collect();
    if bad.len() == series.count {
        return None;
    }
    let shown: Vec<String> = bad.iter().take(6).map(ToString::to_string).collect();
    let more = if bad.len() > 6 { ", ..." } else { "" };
    Some(format!(
        "wrong in {} of {} series ({}{more}), right in the others",
        bad.len(),
        series.count,
        shown.join(", ")
    ))
}

/// Right up to some token and wrong from there on, or wrong at the starts of chunks.
fn from_some_token(compared: &Compared<'_>) -> Option<String> {
    let series = Series::of(compared.spec);
    let bad: Vec<bool> = (0..series.len)
        .map(|t| (0..series.count).any(|s| wrong(compared, series.place(s, t))))
        .collect();
    let step = series.along;
    let first = bad.iter().position(|&b| b)?;
    let last = bad.iter().rposition(|&b| b)?;
    // Runs of wrong tokens that begin at multiples of one length: a carry lost between chunks. (Of
    // runs of which one begins at zero the others do not: zero has no other multiple.)
    let starts: Vec<usize> = (0..series.len)
        .filter(|&t| bad[t] && (t == 0 || !bad[t - 1]))
        .collect();
    if starts.len() > 1 && starts.iter().all(|t| t.is_multiple_of(first)) {
        return Some(format!(
            "wrong after every multiple of {first} {step}s: what is carried between chunks"
        ));
    }
    if first > 0 {
        return Some(format!(
            "right up to {step} {}, wrong from {first} on",
            first - 1
        ));
    }
    (last + 1 < series.len)
        .then(|| format!("wrong up to {step} {last}, right from {} on", last + 1))
}

fn scattered(compared: &Compared<'_>) -> String {
    let elements = compared.bounds.len();
    let bad = (0..elements).filter(|&at| wrong(compared, at)).count();
    format!("{bad} of {elements} elements outside their tolerance, in no pattern known here")
}
