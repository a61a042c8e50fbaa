//! `hippos verify`: every form against every other, and the M_xy table.

use crate::args::{self, Failure, Spec};
use crate::progress::Progress;
use hungry_hippos::flashconv::Convention;
use hungry_hippos::table::aligned;
use hungry_hippos::verify::{
    self, ChunkCount, ExactReport, FastPathReport, FormsReport, MatrixSetReport, OperatorReport,
    ServedReport, TypeReport,
};
use std::ffi::OsString;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos verify [--seed S] [--trials K] [--quick]

Compares every form of the state space model and of the H3 layer with every other, on random
parameters, lengths, states and chunkings:

  exactly, over the prime field with 2^61 - 1 elements and its quadratic extension, where forms
  must agree with ==;
  in f64 and f32, where every form must lie within the bound that ball arithmetic at that
  precision derives for it;
  on layers in which no operation rounds, in f64, f32, f16 and bf16, where the forms that only add
  and multiply must agree in every bit;
  over documents packed into a row, padded rows and parts of a schedule, exactly, where every
  sequence must come out as if it were alone;
  on operators of the Hyena family, exactly, including gradients, with filters that are state space
  models or free taps.

Then compares the fast path, at every level that the machine has, with certified values, and prints
the M_xy table: which rows of M_xy are right under which convention.

  --seed S      seed of the random trials (default 1)
  --trials K    random trials (default 64)
  --quick       8 trials

Exit status: 1 if anything differs that must agree, or agrees that must differ.
",
    positional: &[],
    values: &["--seed", "--trials"],
    switches: &["--quick"],
};

pub(crate) fn main(raw: Vec<OsString>) -> Result<ExitCode, Failure> {
    let Some(args) = SPEC.parse(raw)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let seed: u64 = args.parsed("--seed", "a whole number from 0")?.unwrap_or(1);
    let trials: Option<usize> = args.parsed("--trials", "a whole number from 1")?;
    let trials = match (trials, args.has("--quick")) {
        (Some(0), _) => return Err(Failure("--trials 0: expected a whole number from 1".into())),
        (Some(_), true) => return Err(Failure("--trials and --quick exclude each other".into())),
        (Some(trials), false) => trials,
        (None, quick) => {
            if quick {
                8
            } else {
                64
            }
        }
    };

    let mut progress = Progress::new("forms", trials);
    let forms = verify::forms(seed, trials, &mut || progress.step())?;
    drop(progress);
    args::print(&forms_text(&forms))?;
    let exact = verify::exact(seed, trials.div_ceil(4))?;
    args::print(&exact_text(&exact))?;
    let served = verify::served(seed, trials.div_ceil(4))?;
    args::print(&served_text(&served, trials.div_ceil(4)))?;
    let operators = verify::operators(seed, trials.div_ceil(16))?;
    args::print(&operators_text(&operators))?;
    let fast_path = verify::fast_path(seed, trials)?;
    args::print(&fast_path_text(&fast_path))?;
    let sets = verify::matrix_sets(seed, trials)?;
    args::print(&matrix_sets_text(&sets))?;
    let of_sets = |count: fn(&MatrixSetReport) -> usize| sets.iter().map(count).sum::<usize>();
    let failures = forms.failures()
        + exact.failures()
        + served.iter().map(ServedReport::failures).sum::<usize>()
        + operators
            .iter()
            .map(OperatorReport::failures)
            .sum::<usize>()
        + fast_path.failures()
        + of_sets(MatrixSetReport::failures);
    if failures == 0 {
        args::print(&format!(
            "\nverified: {} exact comparisons, {} within derived bounds; nothing differs (seed {seed})\n",
            forms.exact_comparisons()
                + served.iter().map(|of| of.compared).sum::<usize>()
                + operators
                    .iter()
                    .map(OperatorReport::comparisons)
                    .sum::<usize>()
                + of_sets(MatrixSetReport::comparisons),
            forms.float_comparisons + fast_path.comparisons(),
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    args::print(&format!(
        "\nMISMATCH: {failures} comparisons did not come out as they must (seed {seed})\n"
    ))?;
    Ok(ExitCode::from(1))
}

fn forms_text(report: &FormsReport) -> String {
    let mut rows = vec![
        ["forms", "over M61", "f64", "f32"]
            .map(String::from)
            .to_vec(),
    ];
    for pair in &report.pairs {
        let [a, b] = &pair.forms;
        let verdict = if pair.equal == pair.compared {
            "equal"
        } else {
            "DIFFERENT"
        };
        rows.push(vec![
            format!("{a} = {b}"),
            format!("{verdict} {}/{}", pair.equal, pair.compared),
            format!("{:.1e}", pair.f64),
            format!("{:.1e}", pair.f32),
        ]);
    }
    let [f64_used, f32_used] = report.bound_used.map(|used| 100.0 * used);
    format!(
        "every form of dense, diagonal and shift models and of the whole layer, outputs and final\n\
         states, {} random trials each: parameters, lengths 1 to {}, initial states, chunks\n{}\
         over M61 (integers modulo 2^61 - 1) equality is exact. Outputs are polynomials of degree at\n\
         most {}, so one random trial misses a wrong identity with probability at most {:.1e}.\n\
         f64, f32: the largest deviation of the pair in {} trials, relative to the largest result.\n\
         Bounds derived by ball arithmetic: {} results, {} outside; at most {f64_used:.0} % (f64) and\n\
         {f32_used:.0} % (f32) used.\n",
        report.trials,
        report.longest,
        aligned(&rows, true),
        report.degree,
        report.miss_probability,
        report.float_trials,
        report.float_comparisons,
        report.outside_bound,
    )
}

fn exact_text(report: &ExactReport) -> String {
    let of_format = |of: &verify::ExactFormat| {
        let verdict = if of.equal == of.compared {
            "equal"
        } else {
            "DIFFERENT"
        };
        format!("{} {verdict} {}/{}", of.format, of.equal, of.compared)
    };
    let formats: Vec<String> = report.formats.iter().map(of_format).collect();
    format!(
        "{} layers on which nothing rounds, every operation rounded to the format: all stages by recurrence,\n\
         scan, Toeplitz, convolution, attention, in chunks and with sums in random order are the exact ones:\n\
         {}\n",
        report.layers,
        formats.join(", "),
    )
}

fn served_text(reports: &[ServedReport], layers: usize) -> String {
    let of_sequence = |of: &ServedReport| {
        let verdict = if of.failures() == 0 {
            "equal"
        } else {
            "DIFFERENT"
        };
        format!("{} {verdict} {}/{}", of.sequence, of.equal, of.compared)
    };
    let sequences: Vec<String> = reports.iter().map(of_sequence).collect();
    format!(
        "sequences as they are served, over M61: outputs and final states of {layers} layers over documents packed\n\
         into a row, padded rows and parts of a schedule, in every form, are those of each sequence alone:\n\
         {}\n",
        sequences.join(", "),
    )
}

fn operators_text(reports: &[OperatorReport]) -> String {
    let of_kind = |of: &OperatorReport| {
        let verdict = if of.failures() == 0 {
            "equal"
        } else {
            "DIFFERENT"
        };
        format!("{} {verdict} {}/{}", of.kind, of.equal, of.compared)
    };
    let kinds: Vec<String> = reports.iter().map(of_kind).collect();
    let sum = |of: fn(&OperatorReport) -> usize| reports.iter().map(of).sum::<usize>();
    format!(
        "operators of the Hyena family, over M61: every stage, state and gradient in every form is the\n\
         recurrence's, filters being state space models or free taps:\n{}\n\
         in chunks, equal with M_xy = [CA; ...; CA^T] and with the state passed on in advance, not with the\n\
         rows C, ..., CA^(T-1) alone: {} of {} as they must be\n",
        kinds.join(", "),
        sum(|of| of.as_expected),
        sum(|of| of.chunked),
    )
}

fn fast_path_text(report: &FastPathReport) -> String {
    let head = ["level", "f64", "f32", "bits with 1 and 2 threads"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for level in &report.levels {
        let verdict = |of_type: &TypeReport| match of_type.outside {
            0 => format!("within, {:.0} % used", 100.0 * of_type.used),
            outside => format!("{outside} of {} OUTSIDE", of_type.compared),
        };
        rows.push(vec![
            level.level.to_string(),
            verdict(&level.f64),
            verdict(&level.f32),
            match level.f64.unstable + level.f32.unstable {
                0 => "equal".into(),
                unstable => format!("DIFFERENT in {unstable}"),
            },
        ]);
    }
    format!(
        "\nthe fast path at every level of this machine: outputs and final states of {} random layers\n\
         against certified values, within the tolerance derived for any right port\n{}",
        report.layers,
        aligned(&rows, true),
    )
}

fn matrix_sets_text(reports: &[MatrixSetReport]) -> String {
    let mut rows = vec![
        [
            "rows of M_xy",
            "columns of M_ux",
            "kernel",
            "output reads",
            "first chunk",
            "later chunks",
        ]
        .map(String::from)
        .to_vec(),
    ];
    for report in reports {
        let judged = |ChunkCount {
                          compared, equal, ..
                      }| match equal {
            _ if equal == compared => format!("right, {equal} of {compared}"),
            0 => format!("WRONG, {compared} of {compared}"),
            _ => format!("right in {equal} of {compared}"),
        };
        rows.push(vec![
            report.set.rows().into(),
            report.set.columns().into(),
            report.set.kernel().into(),
            match report.set.convention() {
                Convention::ReadsAfter => "x_i".into(),
                Convention::ReadsBefore => "x_(i-1)".into(),
            },
            judged(report.first),
            judged(report.later),
        ]);
    }
    format!(
        "\nthe M_xy question, exactly: chunks of T against the recurrence y_i = C x_i + D u_i\n{}\
         verdict: where the state after a chunk's last input is passed on, M_xy = [CA; ...; CA^T]; the\n\
         rows C, ..., CA^(T-1) are one step early, right in the first chunk and wrong in every later\n\
         one, unless M_ux or the kernel moves with them\n",
        aligned(&rows, false)
    )
}
