//! A report as one page for a browser: no script, nothing from a network.

mod graph;
mod plots;
mod text;

internals!(graph::rows);
internals!(plots::{BINS, LOWEST, PER_DECADE, counts});

use super::report::{Finding, Report, SampledHeads, StageReport, StageVerdict, Suspect, Verdict};
use super::words::{closing, partly, percent};
use crate::error::Error;
use crate::internals::internals;
use crate::into_vec::IntoVec as _;
use crate::oracle::mistake::Mistake;
use crate::oracle::stage::StageSpec;
use crate::safetensors::replace_file;
use std::fmt::Write as _;
use std::path::Path;
use text::{anchor, class, escaped};

/// The cells of all heat maps of a page together: what keeps it small.
const CELLS: usize = 24_000;

/// The most of one stage.
const CELLS_OF_ONE: usize = 2_400;

impl Report {
    /// The report as a page of HTML that needs no other file, light or dark as the browser is set; `title`
    /// says what was checked against what.
    #[must_use]
    pub fn to_html(&self, title: &str) -> String {
        let (class, verdict) = match self.verdict() {
            Verdict::Pass => ("pass", "pass"),
            Verdict::Refused => ("fail", "FAIL"),
            Verdict::Undecided => ("undecided", "undecided"),
        };
        let line = closing(self);
        let line = line
            .trim_end()
            .split_once(": ")
            .map_or("", |(_, rest)| rest);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{verdict}: {title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n\
             <header class=\"{class}\">\n<h1><span class=\"badge\">{verdict}</span> {title}</h1>\n\
             <p>judged in {}: {}</p>\n</header>\n<div class=\"columns\">\n<nav aria-label=\"Stages\">\n{}</nav>\n<div>\n",
            include_str!("style.css"),
            self.format.name(),
            escaped(line),
            graph::graph(self),
            title = escaped(title),
        );
        self.add_findings(&mut page);
        self.add_power(&mut page);
        self.add_unseen(&mut page);
        self.add_stages(&mut page);
        let _ = write!(
            page,
            "<details><summary><h2>As printed</h2></summary>\n<pre>{}</pre></details>\n\
             </div>\n</div>\n</main>\n</body>\n</html>\n",
            escaped(&self.to_string())
        );
        page
    }

    /// Writes the page, whole or not at all.
    ///
    /// # Errors
    ///
    /// The error of the operating system.
    pub fn write_html(&self, path: &Path, title: &str) -> Result<(), Error> {
        replace_file(path, self.to_html(title).as_bytes())
    }

    fn add_findings(&self, page: &mut String) {
        if !self.findings.is_empty() {
            page.push_str("<h2>What is wrong</h2>\n");
        }
        for finding in &self.findings {
            add_finding(page, finding);
        }
    }

    fn add_power(&self, page: &mut String) {
        page.push_str("<h2>What the verdict excludes</h2>\n");
        let Some(power) = &self.power else {
            page.push_str(
                "<p>Something is refused, so mistakes that were not made are not evaluated.</p>\n",
            );
            return;
        };
        let _ = writeln!(
            page,
            "<p>{} of {} known mistakes that change this case would have been refused.</p>",
            power.excluded.len(),
            power.known
        );
        if let Some(SampledHeads { heads, all }) = self.sampled {
            let _ = writeln!(page, "<p>They were tried on {heads} of {all} heads.</p>");
        }
        let lists = [
            ("Not excluded", &power.not_excluded, " open"),
            ("Excluded", &power.excluded, ""),
        ];
        for (name, mistakes, open) in lists {
            if mistakes.is_empty() {
                continue;
            }
            let count = mistakes.len();
            let _ = writeln!(
                page,
                "<details{open}><summary><h3>{name}: {count}</h3></summary>\n<ul>"
            );
            for known in mistakes {
                let _ = writeln!(page, "<li>{}</li>", named(known));
            }
            page.push_str("</ul></details>\n");
        }
    }

    fn add_unseen(&self, page: &mut String) {
        let mut said = Vec::new();
        let holdings = &self.holdings;
        if !holdings.absent.is_empty() {
            said.push(format!("not in the dump: {}", codes(&holdings.absent)));
        }
        for stage in &self.stages {
            if stage.verdict == StageVerdict::Undecided {
                let name = code(&stage.name);
                said.push(format!(
                    "{name} is off by a large part of the stage or of its change, within a wide tolerance: undecided"
                ));
            }
        }
        for (name, stage) in &holdings.close {
            said.push(format!(
                "{} is not a stage, but close to {}",
                code(name),
                code(stage)
            ));
        }
        if !holdings.unknown.is_empty() {
            said.push(format!("unknown, not judged: {}", codes(&holdings.unknown)));
        }
        if !said.is_empty() {
            add_list(page, "What could not be seen", &said);
        }
        let mut notes: Vec<String> = self.precision.iter().map(|said| escaped(said)).into_vec();
        if let Some(equal) = self.equal {
            notes.push(format!(
                "nothing rounds in {} of the stages; equal in every element: {}",
                equal.exact, equal.equal
            ));
        }
        let noted = self.stages.iter().filter_map(|stage| {
            let note = stage.note.as_deref()?;
            Some(format!("{}: {}", code(&stage.name), escaped(note)))
        });
        notes.extend(noted);
        if !notes.is_empty() {
            add_list(page, "Notes", &notes);
        }
    }

    fn add_stages(&self, page: &mut String) {
        page.push_str(
            "<h2>Stages</h2>\n<div class=\"wide\"><table>\n<tr><th>stage</th><th>verdict</th><th>of tolerance</th>\
             <th>own step</th><th>explained</th><th>bits</th></tr>\n",
        );
        for stage in &self.stages {
            let explained = stage.explained.map_or(String::new(), |explained| {
                format!("{:.2} of {:.2}", explained.share.max(0.0), explained.limit)
            });
            let _ = writeln!(
                page,
                "<tr class=\"{}\"><td><a href=\"#{}\">{}</a></td><td class=\"badge\">{}</td><td>{}</td><td>{}</td>\
                 <td>{explained}</td><td>{:.1}</td></tr>",
                class(stage.verdict),
                anchor(&stage.name),
                escaped(&stage.name),
                stage.verdict.name(),
                percent(stage.worst),
                percent(stage.local),
                stage.bits
            );
        }
        page.push_str("</table></div>\n");
        page.push_str(
            "<p class=\"dim\">Histograms: elements by error in units of the tolerance; bars: on the whole, line: the \
             step as computed from the port's own stages.</p>\n",
        );
        page.push_str(&plots::key());
        let cells = (CELLS / self.stages.len().max(1)).clamp(96, CELLS_OF_ONE);
        for stage in &self.stages {
            if let Some(spec) = self.specs.iter().find(|spec| spec.name == stage.name) {
                add_stage(page, stage, spec, cells);
            }
        }
    }
}

fn add_list(page: &mut String, title: &str, items: &[String]) {
    let items: Vec<String> = items
        .iter()
        .map(|item| format!("<li>{item}</li>\n"))
        .into_vec();
    let _ = writeln!(page, "<h2>{title}</h2>\n<ul>\n{}</ul>", items.concat());
}

fn add_stage(page: &mut String, stage: &StageReport, spec: &StageSpec, cells: usize) {
    // Long lists of gradients that pass are opened one by one.
    let open = if stage.pass && spec.is_gradient() {
        ""
    } else {
        " open"
    };
    let place = spec.axes.iter().zip(place(stage, spec));
    let place: Vec<String> = place
        .map(|((axis, _), at)| format!("{axis} {at}"))
        .into_vec();
    let mut off = percent(stage.worst);
    if !off.ends_with("times") {
        off.push_str(" of");
    }
    let _ = writeln!(
        page,
        "<details class=\"stage {}\" id=\"{}\"{open}><summary><h3><code>{}</code></h3><span class=\"badge\">{}</span></summary>\n\
         <p>Worst at {}: golden {:.6e}, port {:.6e}, {} the tolerance.</p>\n<div class=\"numbers\">\n<figure>{}</figure>",
        class(stage.verdict),
        anchor(&stage.name),
        escaped(&stage.name),
        stage.verdict.name(),
        escaped(&place.join(", ")),
        stage.golden,
        stage.candidate,
        off,
        plots::histogram(stage)
    );
    if let Some(map) = plots::heat_map(stage, spec, cells) {
        let _ = writeln!(page, "<figure>{map}</figure>");
    }
    page.push_str("</div>\n</details>\n");
}

/// The place of the worst element along every axis, those that are one in files apart.
fn place(stage: &StageReport, spec: &StageSpec) -> Vec<usize> {
    let shape = spec.shape();
    let flat = stage
        .at
        .iter()
        .zip(&shape)
        .fold(0, |flat, (at, len)| flat * len + at);
    let lens: Vec<usize> = spec.axes.iter().map(|&(_, len)| len).into_vec();
    super::index_of(flat, &lens)
}

fn add_finding(page: &mut String, finding: &Finding) {
    let stage = &finding.stage;
    let _ = writeln!(
        page,
        "<section class=\"finding\"><h3><a href=\"#{}\"><code>{}</code></a>: {}</h3>",
        anchor(stage),
        escaped(stage),
        escaped(&finding.pattern)
    );
    if finding.suspects.is_empty() {
        page.push_str("<p>No known mistake explains it.</p>\n");
    }
    if let Some(times) = finding.leaves() {
        let _ = writeln!(page, "<p>{}.</p>", capitalized(&partly(times)));
    }
    for (place, suspect) in finding.suspects.iter().enumerate() {
        add_suspect(page, &capitalized(finding.introduction(place)), suspect);
    }
    if !finding.also_at.is_empty() {
        let _ = writeln!(
            page,
            "<p>The same shows at {}.</p>",
            codes(&finding.also_at)
        );
    }
    page.push_str("</section>\n");
}

/// Words at the beginning of a sentence.
fn capitalized(words: &str) -> String {
    let (first, rest) = words.split_at(1);
    first.to_uppercase() + rest
}

fn add_suspect(page: &mut String, intro: &str, suspect: &Suspect) {
    for (place, known) in suspect.mistakes.iter().enumerate() {
        let intro = if place == 0 { intro } else { "together with" };
        let _ = writeln!(
            page,
            "<p>{intro} {}<br><span class=\"fix\">Fix:</span> {}</p>",
            named(known),
            escaped(known.fix)
        );
    }
}

/// A mistake by id, name and formula.
fn named(known: &Mistake) -> String {
    let (id, name, formula) = (known.id, known.name, escaped(&known.formula()));
    format!("<b>{id}</b> <code>{name}</code>: {formula}")
}

fn code(name: &str) -> String {
    format!("<code>{}</code>", escaped(name))
}

fn codes(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| code(name)).into_vec();
    names.join(", ")
}
