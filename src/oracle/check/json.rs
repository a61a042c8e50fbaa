//! A report for programs.

use super::super::mistake::Mistake;
use super::report::{Finding, Report, StageReport, Suspect, Verdict};
use crate::into_vec::IntoVec as _;
use std::fmt::Write as _;

/// The version of the report's schema (chapter 13).
const SCHEMA: &str = "hippos-check/2";

impl Report {
    /// The report as JSON, for programs: one line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let verdict = match self.verdict() {
            Verdict::Pass => "pass",
            Verdict::Refused => "refused",
            Verdict::Undecided => "undecided",
        };
        let power = self.power.as_ref().map_or("null".into(), |power| {
            let ids = list(&power.not_excluded, |known| quoted(known.id));
            object(&[("known", power.known.to_string()), ("not_excluded", ids)])
        });
        let equal = self.equal.map_or("null".into(), |found| {
            object(&[
                ("exact", found.exact.to_string()),
                ("equal", found.equal.to_string()),
            ])
        });
        let sampled = self.sampled.map_or("null".into(), |found| {
            object(&[
                ("heads", found.heads.to_string()),
                ("all", found.all.to_string()),
            ])
        });
        let close = list(&self.holdings.close, |(name, stage)| {
            object(&[("name", quoted(name)), ("stage", quoted(stage))])
        });
        let fields = [
            ("schema", quoted(SCHEMA)),
            ("verdict", quoted(verdict)),
            ("pass", self.pass().to_string()),
            ("dtype", quoted(self.format.name())),
            ("stages", list(&self.stages, stage)),
            ("findings", list(&self.findings, finding)),
            ("equal", equal),
            ("power", power),
            ("precision", list(&self.precision, |said| quoted(said))),
            ("absent", list(&self.holdings.absent, |name| quoted(name))),
            ("unknown", list(&self.holdings.unknown, |name| quoted(name))),
            ("close", close),
            ("sampled", sampled),
            ("text", quoted(&self.to_string())),
        ];
        format!("{}\n", object(&fields))
    }
}

fn stage(stage: &StageReport) -> String {
    let explained = stage.explained.map_or("null".into(), |explained| {
        object(&[
            ("share", number(explained.share)),
            ("limit", number(explained.limit)),
            ("elements", number(explained.elements)),
            ("length", number(explained.length)),
        ])
    });
    object(&[
        ("name", quoted(&stage.name)),
        ("verdict", quoted(&stage.verdict.name().to_lowercase())),
        ("pass", stage.pass.to_string()),
        ("of_tolerance", number(stage.worst)),
        ("own_step", number(stage.local)),
        ("of_probable", number(stage.probable)),
        ("explained", explained),
        ("of_typical", stage.of_typical.map_or("null".into(), number)),
        ("bits", number(stage.bits)),
        ("at", format!("{:?}", stage.at)),
        ("golden", number(stage.golden)),
        ("candidate", number(stage.candidate)),
        ("note", stage.note.as_deref().map_or("null".into(), quoted)),
    ])
}

fn finding(finding: &Finding) -> String {
    object(&[
        ("stage", quoted(&finding.stage)),
        ("pattern", quoted(&finding.pattern)),
        ("reproduced", finding.reproduced.to_string()),
        ("suspects", list(&finding.suspects, suspect)),
        ("also_at", list(&finding.also_at, |name| quoted(name))),
    ])
}

fn suspect(suspect: &Suspect) -> String {
    object(&[
        ("share", number(suspect.share)),
        ("of_tolerance", number(suspect.worst)),
        ("mistakes", list(&suspect.mistakes, |known| mistake(known))),
    ])
}

fn mistake(known: &Mistake) -> String {
    object(&[
        ("id", quoted(known.id)),
        ("name", quoted(known.name)),
        ("formula", quoted(&known.formula())),
        ("fix", quoted(known.fix)),
    ])
}

fn object(fields: &[(&str, String)]) -> String {
    let fields = fields
        .iter()
        .map(|(key, value)| format!("\"{key}\":{value}"));
    format!("{{{}}}", fields.into_vec().join(","))
}

fn list<I>(items: &[I], f: impl Fn(&I) -> String) -> String {
    let items: Vec<String> = items.iter().map(f).into_vec();
    format!("[{}]", items.join(","))
}

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
    match x.is_finite() {
        true => format!("{x:e}"),
        false => "null".into(),
    }
}
