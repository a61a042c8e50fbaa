//! A report in words, and for programs.

use super::report::Report;
use crate::table::aligned;
use core::fmt;
use std::fmt::Write as _;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(self))
    }
}

impl Report {
    /// The report as JSON, for programs: one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        json(self)
    }
}

fn percent(fraction: f64) -> String {
    let percent = 100.0 * fraction;
    if percent >= 1e4 {
        format!("{fraction:.1e} times")
    } else if percent >= 100.0 {
        format!("{fraction:.1} times")
    } else {
        format!("{percent:.1} %")
    }
}

fn text(report: &Report) -> String {
    let mut rows = vec![
        [
            "stage",
            "verdict",
            "of tolerance",
            "of probable",
            "bits",
            "worst at",
            "golden",
            "candidate",
        ]
        .map(String::from)
        .to_vec(),
    ];
    for stage in &report.stages {
        rows.push(vec![
            stage.name.clone(),
            match (stage.pass, stage.says_nothing) {
                (false, _) => "FAIL".into(),
                (true, false) => "pass".into(),
                (true, true) => "says nothing".into(),
            },
            percent(stage.worst),
            stage.probable.map(percent).unwrap_or_default(),
            format!("{:.1}", stage.bits),
            format!("{:?}", stage.at),
            format!("{:.6e}", stage.golden),
            format!("{:.6e}", stage.candidate),
        ]);
    }
    let mut text = format!(
        "tolerance for {}\n{}",
        report.format.name(),
        aligned(&rows, false)
    );
    for stage in &report.stages {
        if let Some(note) = &stage.note {
            let _ = writeln!(text, "note: {}: {note}", stage.name);
        }
    }
    let Some(diagnosis) = &report.diagnosis else {
        text.push_str(if report.says_nothing() {
            "cannot be judged: at this precision zeros would be within tolerance too\n"
        } else {
            "pass: every stage is within tolerance\n"
        });
        return text;
    };
    let _ = writeln!(
        text,
        "FAIL: the first stage that departs is {}; its error: {}",
        diagnosis.first_stage, diagnosis.pattern
    );
    if diagnosis.suspects.is_empty() {
        text.push_str(if diagnosis.pairs_tried {
            "no known mistake, and no pair of them, reproduces these stages\n"
        } else {
            "no known mistake reproduces these stages (not every pair of them was tried)\n"
        });
    }
    for (place, suspect) in diagnosis.suspects.iter().enumerate().take(SHOWN) {
        let intro = if place == 0 {
            "reproduced by"
        } else {
            "also by"
        };
        for known in &suspect.mistakes {
            let _ = writeln!(
                text,
                "{intro} {} {}: {}\n  fix: {}",
                known.id,
                known.name,
                known.formula(),
                known.fix
            );
        }
    }
    let more = diagnosis.suspects.len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = writeln!(
            text,
            "and by {more} more, which these stages do not tell apart (--json names them)"
        );
    }
    text
}

/// How many suspects are shown with their fixes: at 16 bits and from few stages there can be many.
const SHOWN: usize = 5;

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A JSON number; JSON has no infinity.
fn number(x: f64) -> String {
    if x.is_finite() {
        format!("{x:e}")
    } else {
        "null".into()
    }
}

fn json(report: &Report) -> String {
    let stages: Vec<String> = report
        .stages
        .iter()
        .map(|stage| {
            format!(
                "{{\"name\":{},\"pass\":{},\"says_nothing\":{},\"of_tolerance\":{},\"of_probable\":{},\"bits\":{},\"at\":{:?},\
                 \"golden\":{},\"candidate\":{},\"note\":{}}}",
                quoted(&stage.name),
                stage.pass,
                stage.says_nothing,
                number(stage.worst),
                stage.probable.map_or("null".into(), number),
                number(stage.bits),
                stage.at,
                number(stage.golden),
                number(stage.candidate),
                stage.note.as_deref().map_or("null".into(), quoted),
            )
        })
        .collect();
    let diagnosis = report
        .diagnosis
        .as_ref()
        .map_or("null".into(), |diagnosis| {
            let suspects: Vec<String> = diagnosis
                .suspects
                .iter()
                .map(|suspect| {
                    let mutants: Vec<String> = suspect
                        .mistakes
                        .iter()
                        .map(|known| {
                            format!(
                                "{{\"id\":{},\"name\":{},\"formula\":{},\"fix\":{}}}",
                                quoted(known.id),
                                quoted(known.name),
                                quoted(&known.formula()),
                                quoted(known.fix)
                            )
                        })
                        .collect();
                    format!(
                        "{{\"of_tolerance\":{},\"mutants\":[{}]}}",
                        number(suspect.worst),
                        mutants.join(",")
                    )
                })
                .collect();
            format!(
                "{{\"first_stage\":{},\"pattern\":{},\"suspects\":[{}]}}",
                quoted(&diagnosis.first_stage),
                quoted(&diagnosis.pattern),
                suspects.join(",")
            )
        });
    format!(
        "{{\"pass\":{},\"dtype\":{},\"stages\":[{}],\"diagnosis\":{diagnosis}}}\n",
        report.pass(),
        quoted(report.format.name()),
        stages.join(",")
    )
}
