//! `hippos verify`: every form against every other, and the M_xy table.

mod fast;
mod forms;
mod row_sets;

use crate::args::{self, Failure, Spec};
use crate::progress::Progress;
use std::ffi::OsString;
use std::process::ExitCode;

const SPEC: Spec = Spec {
    help: "\
usage: hippos verify [--seed S] [--trials K] [--quick]

Runs every form of the state space model and of the H3 layer against every other on random
parameters, lengths, states and chunkings:

  exactly, over the prime field with 2^61 - 1 elements and its quadratic extension, where forms
  must agree with ==;
  in f64 and f32, where every form must lie within the bound that ball arithmetic at that
  precision derives for it.

Then the fast path at every level the machine has, against certified values; and the M_xy table:
which rows of M_xy are right under which convention.

  --seed S      repeat the run of this seed (default 1)
  --trials K    random trials (default 64)
  --quick       8 trials

Exit status 1 if anything differs that must not, or agrees that must not.
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

    let forms = forms::run(seed, trials, &mut Progress::new("forms", trials))?;
    args::print(&forms.text())?;
    let fast = fast::run(seed, trials)?;
    args::print(&fast.text())?;
    let row_sets = row_sets::run(seed, trials)?;
    args::print(&row_sets.text())?;
    let failures = forms.failures() + fast.failures() + row_sets.failures();
    if failures == 0 {
        args::print(&format!(
            "\nverified: {} exact comparisons, {} within derived bounds; nothing differs (seed {seed})\n",
            forms.exact_comparisons() + row_sets.comparisons(),
            forms.float_comparisons() + fast.comparisons(),
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    args::print(&format!(
        "\nMISMATCH: {failures} comparisons did not come out as they must (seed {seed})\n"
    ))?;
    Ok(ExitCode::from(1))
}
