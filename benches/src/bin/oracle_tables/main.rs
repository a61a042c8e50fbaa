//! The figures of chapter 13, from the committed golden suite: how many wrong ports the check
//! accepts, by format and by what they dump, how many it names right, and how many right ports it
//! refuses.
//!
//! A wrong port is a right one, run in its format, plus what a mistake of the catalogue adds to each
//! of its stages; it is then stored in the types of that format.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin oracle_tables              the tables
//! cargo run --release --manifest-path benches/Cargo.toml --bin oracle_tables -- --quick   of one wrong port in 200
//! cargo run --release --manifest-path benches/Cargo.toml --bin oracle_tables -- --each    and of every mistake
//! cargo run --release --manifest-path benches/Cargo.toml --bin oracle_tables -- --shares  the numbers of the figure of shares
//! cargo run --release --manifest-path benches/Cargo.toml --bin oracle_tables -- --suite   the table of cases in tests/golden/v2/README.md
//! ```
//!
//! `--sample N` takes one wrong port in N.

mod ports;
mod rules;
mod tables;

use hungry_hippos::oracle::{Case, Format, Golden, Mistake, Report, Verdict, suite};
use ports::{Committed, FORMATS, dumped};
use std::error::Error;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The cases before this one are layers and dense models over whole sequences, which the ports of the tables run.
const SERVED: &str = "68";

/// One wrong port in so many is taken by `--quick`.
const QUICK: usize = 200;

fn main() -> Result<()> {
    let flags: Vec<String> = std::env::args().skip(1).collect();
    let mut sample = 1;
    let mut rest = flags.iter();
    while let Some(flag) = rest.next() {
        match flag.as_str() {
            "--quick" => sample = QUICK,
            "--sample" => {
                let n = rest.next().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
                sample = n.ok_or("--sample: expected a number from 1 on")?;
            }
            "--each" | "--shares" | "--suite" => {}
            _ => {
                let known = "--quick, --sample N, --each, --shares or --suite";
                return Err(format!("{flag}: expected {known}").into());
            }
        }
    }
    let has = |flag: &str| flags.iter().any(|given| given == flag);
    let mut cases = committed()?;
    if has("--suite") {
        return tables::suite(&cases);
    }
    cases.retain(|case| case.name < SERVED);
    if has("--shares") {
        let wrong = wrong_ports(&cases, &[Format::BF16], sample)?;
        let right = right_ports(&cases, &[Format::BF16], 1)?;
        tables::shares(&right, &wrong);
        return Ok(());
    }
    let right = right_ports(&cases, &FORMATS, sample.min(8))?;
    tables::right(&right);
    let wrong = wrong_ports(&cases, &FORMATS, sample)?;
    tables::wrong(&wrong);
    rules::print(&cases, sample)?;
    if has("--each") {
        tables::each(&wrong);
    }
    Ok(())
}

/// The committed golden files.
fn committed() -> Result<Vec<Committed>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/v2");
    let mut cases = Vec::new();
    for row in suite() {
        let path = folder.join(format!("{}.safetensors", row.name));
        cases.push(Committed {
            name: row.name,
            stresses: row.stresses,
            golden: Golden::open(&path)?,
            case: Case::open(&path)?,
        });
    }
    Ok(cases)
}

/// A right port, judged.
pub(crate) struct RightPort {
    pub(crate) format: Format,
    pub(crate) exact: bool,
    /// Case and form.
    pub(crate) name: String,
    pub(crate) report: Report,
    /// The error of its output dumped alone, as a multiple of what storing every stage makes.
    pub(crate) of_typical: Option<f64>,
}

/// A wrong port, judged.
pub(crate) struct WrongPort {
    pub(crate) format: Format,
    pub(crate) exact: bool,
    /// True if it dumps its output alone.
    pub(crate) alone: bool,
    pub(crate) case: &'static str,
    pub(crate) id: &'static str,
    pub(crate) mistake: &'static str,
    pub(crate) verdict: Verdict,
    /// The mistake is among those that the report cannot tell apart, at some stage.
    pub(crate) named: bool,
    /// It, or one that explains as much, is the first that is said.
    pub(crate) first: bool,
    /// It passed although the report says that it would not have.
    pub(crate) excluded: bool,
    /// It holds the numbers of a right port, bit for bit: too little changes to be stored.
    pub(crate) unseen: bool,
    /// The largest share that the stage where it is seen best shows.
    pub(crate) share: f64,
}

/// The results of a function for all items, on all cores.
fn on_all_cores<I: Sync, R: Send>(
    items: &[I],
    f: impl Fn(&I) -> Result<Vec<R>> + Sync,
) -> Result<Vec<R>> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, item)) = {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    items.get(at).map(|item| (at, item))
                } {
                    let result = f(item);
                    if let Ok(mut done) = done.lock() {
                        done.push((at, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().map_err(|_| "a thread panicked")?;
    done.sort_by_key(|(at, _)| *at);
    let mut all = Vec::new();
    for (_, result) in done {
        all.extend(result?);
    }
    Ok(all)
}

fn pairs<'a>(cases: &'a [Committed], formats: &[Format]) -> Vec<(&'a Committed, Format)> {
    let of = |case| formats.iter().map(move |&format| (case, format));
    let all = cases.iter().flat_map(of);
    // Models are judged in one format throughout, a lone model has no projections.
    let fits = |(case, format): &(&Committed, Format)| {
        case.case.layer().is_some() || !format.name().starts_with("mixed")
    };
    all.filter(fits).collect()
}

/// Right ports in all forms, one in so many.
fn right_ports(cases: &[Committed], formats: &[Format], sample: usize) -> Result<Vec<RightPort>> {
    on_all_cores(&pairs(cases, formats), |&(case, format)| {
        let mut judged = Vec::new();
        for form in case.forms(format).iter().step_by(sample) {
            let stages = case.right(format, form)?;
            let finite = |x: &f64| x.is_finite();
            if !stages.iter().all(|(_, x)| x.data().iter().all(finite)) {
                continue;
            }
            let candidate = case.golden.candidate(&dumped(&stages, format, false)?)?;
            let alone = case.golden.candidate(&dumped(&stages, format, true)?)?;
            let alone = case.golden.check(&alone, format);
            judged.push(RightPort {
                of_typical: alone.stages.iter().find_map(|stage| stage.of_typical),
                format,
                exact: case.is_exact(),
                name: format!("{} {form}", case.name),
                report: case.golden.check(&candidate, format),
            });
        }
        Ok(judged)
    })
}

/// A wrong port for every mistake on every case on which it changes a number, one in so many.
fn wrong_ports(cases: &[Committed], formats: &[Format], sample: usize) -> Result<Vec<WrongPort>> {
    let wrong = on_all_cores(&cases.iter().collect::<Vec<_>>(), |case| {
        Ok(vec![case.wrong()?])
    })?;
    let mut jobs = Vec::new();
    for (at, (case, format)) in pairs(cases, formats).into_iter().enumerate() {
        let place = cases.iter().position(|known| known.name == case.name);
        let wrong = place.map_or(&[][..], |place| &wrong[place]);
        // Of each case other mistakes in each format.
        let taken = wrong.iter().skip(at * 37 % sample).step_by(sample);
        jobs.push((case, format, taken.collect::<Vec<_>>()));
    }
    on_all_cores(&jobs, |(case, format, wrong)| {
        let (mut judged, format) = (Vec::new(), *format);
        if wrong.is_empty() {
            return Ok(judged);
        }
        let right = case.right(format, &case.case.default_form())?;
        for wrong in wrong.iter().filter(|wrong| wrong.is_one_at(format)) {
            let Some(stages) = wrong.port(&right)? else {
                continue;
            };
            for alone in [false, true] {
                if alone && !wrong.changes_output {
                    continue;
                }
                let candidate = case.golden.candidate(&dumped(&stages, format, alone)?)?;
                let report = case.golden.check(&candidate, format);
                let mut port = judge(case, format, alone, wrong.mistake, &report);
                port.unseen = ports::are_stored_alike(&right, &stages, format, alone);
                judged.push(port);
            }
        }
        Ok(judged)
    })
}

fn judge(
    case: &Committed,
    format: Format,
    alone: bool,
    mistake: &'static Mistake,
    report: &Report,
) -> WrongPort {
    let is = |known: &&Mistake| known.id == mistake.id;
    let suspects = || report.findings.iter().flat_map(|f| &f.suspects);
    let best = report.findings.first().and_then(|f| f.suspects.first());
    // Those that compute the same numbers cannot be told apart.
    let first = report.findings.first().is_some_and(|finding| {
        let as_good = finding
            .suspects
            .iter()
            .filter(|suspect| best.is_some_and(|best| suspect.share >= best.share - 1e-6));
        as_good.flat_map(|s| &s.mistakes).any(|known| is(&known))
    });
    let shares = report.stages.iter().filter_map(|stage| stage.explained);
    WrongPort {
        format,
        exact: case.is_exact(),
        alone,
        case: case.name,
        id: mistake.id,
        mistake: mistake.name,
        verdict: report.verdict(),
        named: suspects().flat_map(|s| &s.mistakes).any(|known| is(&known)),
        first,
        excluded: report.verdict() == Verdict::Pass
            && report
                .power
                .as_ref()
                .is_some_and(|power| !power.not_excluded.iter().any(|known| is(&known))),
        unseen: false,
        share: shares.map(|e| e.share).fold(0.0, f64::max),
    }
}
