//! A report in words.

use super::report::{Equal, Finding, Report, SampledHeads, StageVerdict, Suspect, Verdict};
use crate::into_vec::IntoVec as _;
use crate::table::aligned;
use core::fmt;
use std::borrow::Cow;
use std::fmt::Write as _;

/// Number of suspects shown with their fixes: at 16 bits and from few stages there can be many.
pub const SHOWN: usize = 5;

/// Number of mistakes not excluded that the closing line names.
const NAMED: usize = 12;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(self))
    }
}

/// A fraction of a tolerance, in words.
pub fn percent(fraction: f64) -> String {
    let percent = 100.0 * fraction;
    if percent >= 1e4 {
        format!("{fraction:.1e} times")
    } else if percent >= 100.0 {
        format!("{fraction:.1} times")
    } else {
        format!("{percent:.1} %")
    }
}

/// A tensor's name as a terminal may show it: what would move the cursor or change colours is escaped.
pub fn shown(name: &str) -> Cow<'_, str> {
    match name.chars().any(char::is_control) {
        true => Cow::Owned(format!("{name:?}")),
        false => Cow::Borrowed(name),
    }
}

fn text(report: &Report) -> String {
    let transforms = match report.format.transforms() {
        Some(_) => ", transforms in 16 bits",
        None => "",
    };
    let mut text = format!("tolerance for {}{transforms}\n", report.format.name());
    text.push_str(&table(report));
    for stage in &report.stages {
        if let Some(note) = &stage.note {
            let _ = writeln!(text, "note: {}: {note}", stage.name);
        }
    }
    if let Some(Equal { exact, equal }) = report.equal {
        let _ = writeln!(
            text,
            "note: stages in which nothing rounds in {}: {exact}; equal in every element: {equal}",
            report.format.name()
        );
    }
    for said in &report.precision {
        let _ = writeln!(text, "note: {said}");
    }
    if let Some(SampledHeads { heads, all }) = report.sampled {
        let _ = writeln!(
            text,
            "note: known mistakes were tried on {heads} of {all} heads; all else is judged at every element"
        );
    }
    for finding in &report.findings {
        describe(&mut text, finding);
    }
    let holdings = &report.holdings;
    if !holdings.unknown.is_empty() {
        let names: Vec<_> = holdings.unknown.iter().map(|name| shown(name)).into_vec();
        let _ = writeln!(text, "unknown, not judged: {}", names.join(", "));
    }
    for (name, stage) in &holdings.close {
        let _ = writeln!(
            text,
            "tensor {name:?} is not a stage, but {stage:?} is: rename it, or use --ignore {name}"
        );
    }
    text.push_str(&closing(report));
    text
}

fn table(report: &Report) -> String {
    let head = [
        "stage",
        "verdict",
        "of tolerance",
        "own step",
        "explained",
        "bits",
        "worst at",
        "golden",
        "candidate",
    ];
    let mut rows = vec![head.map(String::from).to_vec()];
    for stage in &report.stages {
        rows.push(vec![
            stage.name.clone(),
            stage.verdict.name().into(),
            percent(stage.worst),
            percent(stage.local),
            stage.explained.map_or(String::new(), |explained| {
                format!("{:.2} of {:.2}", explained.share.max(0.0), explained.limit)
            }),
            format!("{:.1}", stage.bits),
            format!("{:?}", stage.at),
            format!("{:.6e}", stage.golden),
            format!("{:.6e}", stage.candidate),
        ]);
    }
    aligned(&rows, false)
}

/// Adds a finding and its suspects to a text.
pub fn describe(text: &mut String, finding: &Finding) {
    let _ = writeln!(text, "FAIL at {}: {}", finding.stage, finding.pattern);
    if finding.suspects.is_empty() {
        text.push_str("  no known mistake explains it\n");
    }
    if let Some(times) = finding.leaves() {
        let _ = writeln!(text, "  {}", partly(times));
    }
    for (place, suspect) in finding.suspects.iter().enumerate().take(SHOWN) {
        describe_suspect(text, finding.introduction(place), suspect);
    }
    let more = finding.suspects.len().saturating_sub(SHOWN);
    if more > 0 {
        let intro = finding.introduction(SHOWN);
        let _ = writeln!(text, "  {intro} {more} more (--json names them)");
    }
    if !finding.also_at.is_empty() {
        let _ = writeln!(text, "  the same shows at {}", finding.also_at.join(", "));
    }
}

/// No suspect is the whole of it.
pub(super) fn partly(times: f64) -> String {
    let times = percent(times);
    format!("no known mistake explains all of it: the nearest leaves {times} the tolerance")
}

fn describe_suspect(text: &mut String, intro: &str, suspect: &Suspect) {
    for (place, known) in suspect.mistakes.iter().enumerate() {
        let intro = if place == 0 { intro } else { "together with" };
        let (id, name) = (known.id, known.name);
        let _ = writeln!(
            text,
            "  {intro} {id} {name}: {}\n    fix: {}",
            known.formula(),
            known.fix
        );
    }
}

/// The last line: the verdict, what it is worth, and what was not judged.
pub(super) fn closing(report: &Report) -> String {
    let count = |verdict| {
        let stages = report
            .stages
            .iter()
            .filter(|stage| stage.verdict == verdict);
        stages.count()
    };
    let undecided = count(StageVerdict::Undecided);
    let judged = report.stages.len() - undecided;
    let mut counts = format!(
        "{judged} stage{} judged",
        if judged == 1 { "" } else { "s" }
    );
    if undecided > 0 {
        let _ = write!(
            counts,
            ", {undecided} undecided (off by a large part of the stage or of its change, within a wide tolerance)"
        );
    }
    let absent = &report.holdings.absent;
    if !absent.is_empty() {
        let _ = write!(counts, ", {} absent ({})", absent.len(), absent.join(", "));
    }
    let power = report.power.as_ref().map_or(String::new(), |power| {
        let excluded = power.known - power.not_excluded.len();
        let mut power_said = format!("; {excluded} of {} known mistakes excluded", power.known);
        if let Some(SampledHeads { heads, all }) = report.sampled {
            let _ = write!(power_said, " (tried on {heads} of {all} heads)");
        }
        if !power.not_excluded.is_empty() {
            let ids = power.not_excluded.iter().map(|known| known.id);
            let named: Vec<&str> = ids.take(NAMED).into_vec();
            let _ = write!(power_said, "; not excluded: {}", named.join(", "));
            let more = power.not_excluded.len().saturating_sub(NAMED);
            if more > 0 {
                let _ = write!(power_said, " and {more} more");
            }
        }
        power_said
    });
    let verdict = match report.verdict() {
        Verdict::Pass => "pass",
        Verdict::Refused => "FAIL",
        Verdict::Undecided => "undecided",
    };
    format!("{verdict}: {counts}{power}\n")
}
