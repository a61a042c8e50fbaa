//! Names and text as a page holds them.

use super::super::report::StageVerdict;

/// The class of a verdict in the style sheet.
pub(super) fn class(verdict: StageVerdict) -> &'static str {
    match verdict {
        StageVerdict::Pass => "pass",
        StageVerdict::Fail => "fail",
        StageVerdict::Follows => "follows",
        StageVerdict::Undecided => "undecided",
    }
}

/// The name under which a stage is linked to.
pub(super) fn anchor(stage: &str) -> String {
    format!("stage-{}", escaped(stage))
}

/// Text that a page shows as it is, between tags and in attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}
