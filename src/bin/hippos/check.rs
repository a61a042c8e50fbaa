//! `hippos check`: a port's stages against golden ones.

use crate::args::{self, Failure, Spec};
use crate::table::aligned;
use hungry_hippos::oracle::{
    Candidate, DenseGolden, Format, Golden, ModelCase, ModelGolden, Report, check, check_dense,
    check_model,
};
use hungry_hippos::safetensors::{SafeTensors, TensorFile};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos check GOLDEN CANDIDATE [--dtype F] [--json]

Compares the stages that CANDIDATE (a safetensors file with any of q, k, v, shift_kernel, shift_k, kv,
ssm_kernel, ssm_out, gated, output, final_state_k, final_state, grad.*; of a language model block{i}.residual,
block{i}.hidden, logits) holds with golden ones. GOLDEN is a golden file, or a plain case file, which
is certified first.

  --dtype F    what the port works in: f64, f32, tf32, f16, bf16, or mixed-f16 and mixed-bf16
               (projections in 16 bits, the rest in f32). Default: the type the stages are stored in
  --json       the report for programs

What decides is the worst-case tolerance: a stage passes if no element is further from the golden
one than rounding at that precision can take any right way to compute it, to first order. 'probable' is the same
with roundings taken as independent; a right port is expected to stay below 100 % of it too.

Exit status: 0 pass, 1 fail (with a diagnosis), 2 could not be judged.
",
    positional: &["GOLDEN", "CANDIDATE"],
    values: &["--dtype"],
    switches: &["--json"],
};

pub(crate) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let format = match args.value("--dtype") {
        None => None,
        Some(name) => {
            let known = name.to_str().and_then(Format::from_name);
            Some(known.ok_or_else(|| {
                let names = Format::ALL.map(|format| format.name()).join(", ");
                Failure(format!("--dtype {name:?}: expected one of {names}"))
            })?)
        }
    };
    let path = Path::new(args.positional(1));
    let file = SafeTensors::open(path)?;
    let truth = Path::new(args.positional(0));
    let in_candidate = |e: hungry_hippos::Error| e.in_file(path.display().to_string());
    let format_of = |candidate: &Candidate| match format {
        Some(format) => Ok(format),
        None => candidate.format().map_err(in_candidate),
    };
    let header = TensorFile::open(truth)?;
    let report = if DenseGolden::is_in(&header) {
        let golden = DenseGolden::open(truth)?;
        let candidate = Candidate::read_dense(&file, &golden).map_err(in_candidate)?;
        check_dense(&golden, &candidate, format_of(&candidate)?)?
    } else if ModelCase::is_in(&header) {
        let golden = ModelGolden::open(truth)?;
        let candidate = Candidate::read_model(&file, &golden).map_err(in_candidate)?;
        check_model(&golden, &candidate, format_of(&candidate)?)?
    } else {
        let golden = Golden::open(truth)?;
        let candidate = Candidate::read(&file, &golden).map_err(in_candidate)?;
        check(&golden, &candidate, format_of(&candidate)?)?
    };
    args::print(&if args.has("--json") {
        json(&report)
    } else {
        text(&report)
    })?;
    // What is outside even a tolerance that says nothing is wrong.
    Ok(if !report.pass() {
        ExitCode::from(1)
    } else if report.says_nothing() {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    })
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
        for known in suspect.mistakes() {
            let _ = writeln!(
                text,
                "{intro} {} {}: {}\n  fix: {}",
                known.id, known.name, known.formula, known.advice
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
                        .mistakes()
                        .iter()
                        .map(|known| {
                            format!(
                                "{{\"id\":{},\"name\":{},\"formula\":{},\"fix\":{}}}",
                                quoted(known.id),
                                quoted(known.name),
                                quoted(&known.formula),
                                quoted(known.advice)
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
