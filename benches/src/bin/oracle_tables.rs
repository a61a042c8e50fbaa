//! The figures of chapter 13, from the committed golden suite: by how much each known mistake
//! exceeds the tolerance, what the field's usual rules would have accepted, and how many right
//! ports are refused.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin oracle_tables              the tables
//! cargo run --release --manifest-path benches/Cargo.toml --bin oracle_tables -- --all     and the margin of every mistake on every case
//! cargo run --release --manifest-path benches/Cargo.toml --bin oracle_tables -- --suite   the table of cases in tests/golden/v2/README.md
//! ```

use hungry_hippos::Tensor;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{
    Case, Format, Golden, GoldenStage, LayerCase, Mistake, Precision, suite,
};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let flags: Vec<String> = std::env::args().skip(1).collect();
    for flag in &flags {
        if !["--suite", "--all"].contains(&flag.as_str()) {
            return Err(format!("{flag}: expected --suite, --all or nothing").into());
        }
    }
    let cases = committed()?;
    let known = forward_mistakes(&cases)?;
    if flags.iter().any(|flag| flag == "--suite") {
        return print_suite(&cases);
    }
    // In the later cases parts of the layer are switched off, and most mistakes with them.
    let cases: Vec<_> = cases.into_iter().filter(|case| case.name < "31").collect();
    let runs = run_mistakes(&cases, &known)?;
    print_margins(&runs, &known);
    print_shortfalls(&runs, &known);
    if flags.iter().any(|flag| flag == "--all") {
        print_every_margin(&runs, &known);
    }
    print_rules(&cases, &runs)?;
    print_correct(&cases)
}

/// A layer of the committed golden suite.
struct Committed {
    name: &'static str,
    stresses: &'static str,
    golden: Golden,
    case: Case,
}

/// The committed golden files of layers.
fn committed() -> Result<Vec<Committed>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/v2");
    let mut cases = Vec::new();
    for row in suite() {
        let path = folder.join(format!("{}.safetensors", row.name));
        let case = Case::open(&path)?;
        if case.layer().is_some() {
            cases.push(Committed {
                name: row.name,
                stresses: row.stresses,
                golden: Golden::open(&path)?,
                case,
            });
        }
    }
    Ok(cases)
}

/// The layer of a golden file.
fn layer(golden: &Golden) -> Result<&LayerCase> {
    Ok(golden.layer().ok_or("a layer")?)
}

/// The known mistakes of the forward pass.
fn forward_mistakes(cases: &[Committed]) -> Result<Vec<&'static Mistake>> {
    let mut known = cases.first().ok_or("no case")?.case.mistakes();
    known.retain(|mistake| !mistake.first_stage.starts_with("grad."));
    Ok(known)
}

/// The table of the suite's README, from what the files hold.
fn print_suite(cases: &[Committed]) -> Result<()> {
    println!(
        "| case | what it stresses | B | L | d | d_h | m | n_ssm | disc | real_type | l_max |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for case in cases {
        let layer = layer(&case.golden)?;
        let (config, shape) = (layer.parameters().config(), layer.input().shape());
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            case.name,
            case.stresses,
            shape[0],
            shape[1],
            config.d_model,
            config.head_dim,
            config.d_state,
            config.n_ssm,
            config.disc,
            config.real_type,
            config
                .l_max
                .map_or("none".into(), |l_max| l_max.to_string()),
        );
    }
    Ok(())
}

/// The formats margins are given in.
const FORMATS: [Format; 3] = [Format::F32, Format::MIXED_BF16, Format::BF16];

/// The smallest margin asked for on every case: at f32, and at 16 bits.
const BARS: [f64; 3] = [10.0, 4.0, 4.0];

/// One mistake on one case.
struct Run {
    mistake: &'static Mistake,
    case: usize,
    case_name: &'static str,
    stages: Vec<(String, Tensor<f64>)>,
    /// By [`FORMATS`]: the largest departure from the golden file over the tolerance `u scale`.
    margins: [f64; 3],
    /// Whether every number can be stored at all.
    finite: bool,
}

fn run_mistakes(cases: &[Committed], known: &[&'static Mistake]) -> Result<Vec<Run>> {
    let mut runs = Vec::new();
    for (case_index, committed) in cases.iter().enumerate() {
        let golden = &committed.golden;
        let in_f64 = tolerances(golden, Format::F64, WORST)?;
        let [f32s, mixed, bf16s] = FORMATS.map(|format| tolerances(golden, format, WORST));
        let tolerances = [f32s?, mixed?, bf16s?];
        for &mistake in known {
            let stages = committed.case.run_with(&[mistake.id], None);
            // A mistake whose discretization has no value on these parameters computes nothing.
            let Ok(stages) = stages else { continue };
            let margin = |tolerances: &BTreeMap<String, Vec<f64>>| {
                let fractions = stages.iter().map(|(name, values)| {
                    golden_stage(golden, name).map_or(0.0, |stage| {
                        fraction(stage.values.data(), values.data(), &tolerances[name])
                    })
                });
                fractions.fold(0.0, f64::max)
            };
            // One that changes no number of the case is none there.
            if margin(&in_f64) <= 1.0 {
                continue;
            }
            let finite = stages
                .iter()
                .flat_map(|(_, stage)| stage.data())
                .all(|x| x.is_finite() && x.abs() < 1e30);
            let margins = [0, 1, 2].map(|i| margin(&tolerances[i]));
            runs.push(Run {
                mistake,
                case: case_index,
                case_name: committed.name,
                stages,
                margins,
                finite,
            });
        }
    }
    Ok(runs)
}

fn golden_stage<'a>(golden: &'a Golden, name: &str) -> Option<&'a GoldenStage> {
    golden.stages().iter().find(|stage| stage.name() == name)
}

/// Which of the two scales of a stage.
type Part = fn(&GoldenStage, Format) -> Option<Vec<f64>>;
const WORST: Part = |stage, format| Some(stage.scale_at(format));
const PROBABLE: Part = |stage, format| stage.probable_at(format);

/// What a port may be off by, element by element, of every stage: `u scale`, and the rounding of
/// the golden value.
fn tolerances(golden: &Golden, format: Format, part: Part) -> Result<BTreeMap<String, Vec<f64>>> {
    let u = format.unit_roundoff();
    let of = |stage: &GoldenStage| {
        let scales = part(stage, format).ok_or("a stage without a probable scale")?;
        let pairs = scales.iter().zip(stage.values.data());
        let bounds = pairs.map(|(scale, value)| u * scale + value.abs() * f64::EPSILON / 2.0);
        Ok((stage.name().to_string(), bounds.collect()))
    };
    golden.stages().iter().map(of).collect()
}

/// The largest error over its bound.
fn fraction(truth: &[f64], found: &[f64], bounds: &[f64]) -> f64 {
    let mut worst = 0.0;
    for ((truth, found), bound) in truth.iter().zip(found).zip(bounds) {
        let error = (truth - found).abs();
        let fraction = if error > 0.0 { error / bound } else { 0.0 };
        if fraction.is_nan() || error.is_nan() {
            return f64::INFINITY;
        }
        worst = f64::max(worst, fraction);
    }
    worst
}

/// A margin to two digits.
fn shown(margin: f64) -> String {
    match margin {
        m if m.is_infinite() => "infinite".into(),
        m if m >= 1000.0 => format!("{m:.0e}"),
        m if m >= 10.0 => format!("{m:.0}"),
        m => format!("{m:.2}"),
    }
}

fn print_margins(runs: &[Run], known: &[&'static Mistake]) {
    println!("Margins: the departure of a mutant over the worst-case tolerance, the largest over");
    println!("all stages. Smallest (and where) and largest over the cases in which it applies.\n");
    println!("| id | name | cases | f32 smallest | on | f32 largest | mixed-bf16 | bf16 |");
    println!("|---|---|---|---|---|---|---|---|");
    for &mistake in known {
        let own: Vec<&Run> = runs.iter().filter(|run| run.mistake == mistake).collect();
        let ends = |i: usize| {
            let margins = own.iter().map(|run| run.margins[i]);
            let smallest = margins.clone().fold(f64::INFINITY, f64::min);
            (smallest, margins.fold(0.0, f64::max))
        };
        let smallest = own
            .iter()
            .min_by(|a, b| a.margins[0].total_cmp(&b.margins[0]));
        let range = |i: usize| format!("{} to {}", shown(ends(i).0), shown(ends(i).1));
        println!(
            "| {} | `{}` | {} | {} | {} | {} | {} | {} |",
            mistake.id,
            mistake.name,
            own.len(),
            shown(ends(0).0),
            smallest.map_or("", |run| run.case_name),
            shown(ends(0).1),
            range(1),
            range(2),
        );
    }
    println!();
}

fn print_shortfalls(runs: &[Run], known: &[&'static Mistake]) {
    let mistakes = |i: usize, bar: f64| {
        let reached = |mistake: &Mistake| {
            let own = runs.iter().filter(|run| run.mistake == mistake);
            own.map(|run| run.margins[i]).fold(0.0, f64::max) >= bar
        };
        known.iter().filter(|mistake| reached(mistake)).count()
    };
    println!(
        "| format | bar | mutant x case | below the bar | below 1: accepted | mutants that reach it somewhere |"
    );
    println!("|---|---|---|---|---|---|");
    for (i, (format, bar)) in FORMATS.iter().zip(BARS).enumerate() {
        let below = |bar: f64| runs.iter().filter(|run| run.margins[i] < bar).count();
        println!(
            "| {} | {bar} | {} | {} | {} | {} of {} |",
            format.name(),
            runs.len(),
            below(bar),
            below(1.0),
            mistakes(i, bar),
            known.len(),
        );
    }
    println!(
        "\nAt f32, {} of {} mutants exceed 100 times the tolerance on at least one case.",
        mistakes(0, 100.0),
        known.len()
    );
    for (i, (format, bar)) in FORMATS.iter().zip(BARS).enumerate() {
        println!("\nBelow {bar} at {}:\n", format.name());
        let (mut everywhere, mut somewhere) = (Vec::new(), Vec::new());
        for &mistake in known {
            let own: Vec<&Run> = runs.iter().filter(|run| run.mistake == mistake).collect();
            let below: Vec<&Run> = own.iter().copied().filter(|r| r.margins[i] < bar).collect();
            if below.is_empty() {
                continue;
            }
            // At 16 bits whole rows fall short; the cases are in --all.
            if i == 0 {
                let places = below
                    .iter()
                    .map(|run| format!("{} ({})", run.case_name, shown(run.margins[i])));
                let places: Vec<String> = places.collect();
                println!("- {} `{}`: {}", mistake.id, mistake.name, places.join(", "));
            } else if below.len() == own.len() {
                everywhere.push(format!("{} ({})", mistake.id, own.len()));
            } else {
                somewhere.push(format!("{} ({} of {})", mistake.id, below.len(), own.len()));
            }
        }
        if i > 0 {
            println!("- on every case: {}", everywhere.join(", "));
            println!("- on some: {}", somewhere.join(", "));
        }
    }
    println!();
}

fn print_every_margin(runs: &[Run], known: &[&'static Mistake]) {
    println!("| id | case | f32 | mixed-bf16 | bf16 |\n|---|---|---|---|---|");
    for &mistake in known {
        for run in runs.iter().filter(|run| run.mistake == mistake) {
            let [f32s, mixed, bf16s] = run.margins.map(shown);
            let (id, case) = (mistake.id, run.case_name);
            println!("| {id} | {case} | {f32s} | {mixed} | {bf16s} |");
        }
    }
    println!();
}

/// Rules of thumb, applied to `output` alone: `(truth, found) -> accepted`.
type Rule = (&'static str, fn(&[f64], &[f64]) -> bool);

const RULES: [Rule; 4] = [
    ("RMS ratio below 0.005", |truth, found| {
        let squares = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let error = squares(&mut truth.iter().zip(found).map(|(a, b)| a - b));
        error < 0.005 * squares(&mut truth.iter().copied())
    }),
    ("allclose, rtol = atol = 1e-3", |truth, found| {
        all_close(truth, found, 1e-3, 1e-3)
    }),
    ("allclose, rtol = atol = 1e-2", |truth, found| {
        all_close(truth, found, 1e-2, 1e-2)
    }),
    (
        "allclose, rtol 5e-2, atol 5e-1 (official, bf16)",
        |truth, found| all_close(truth, found, 5e-2, 5e-1),
    ),
];

fn all_close(truth: &[f64], found: &[f64], rtol: f64, atol: f64) -> bool {
    let mut pairs = truth.iter().zip(found);
    pairs.all(|(truth, found)| (truth - found).abs() <= atol + rtol * truth.abs())
}

fn print_rules(cases: &[Committed], runs: &[Run]) -> Result<()> {
    // Only what can be stored can be judged, and only mistakes that reach the output can be seen
    // in it: those outside even the f64 tolerance there.
    let stored: Vec<&Run> = runs.iter().filter(|run| run.finite).collect();
    let all = stored.len();
    let mut on_output = Vec::new();
    for run in &stored {
        let golden = &cases[run.case].golden;
        let (truth, found) = (golden_output(golden), output(run));
        let bounds = tolerances(golden, Format::F64, WORST)?;
        if fraction(truth, found, &bounds["output"]) > 1.0 {
            on_output.push(*run);
        }
    }
    println!(
        "Wrong ports accepted, of {all} mutant x case, and of the {} among them whose output is",
        on_output.len()
    );
    println!("wrong. The usual rules look at `output` alone.\n");
    println!("| rule | stored as | of all | of those with a wrong output |");
    println!("|---|---|---|---|");
    for dtype in [Dtype::F32, Dtype::BF16] {
        let float = dtype.float_format().ok_or("a float type")?;
        for (rule, accepts) in RULES {
            let count = |runs: &[&Run]| {
                let accepted = runs.iter().filter(|run| {
                    let found: Vec<f64> = output(run).iter().map(|&x| float.round(x)).collect();
                    accepts(golden_output(&cases[run.case].golden), &found)
                });
                accepted.count()
            };
            row(
                rule,
                dtype,
                (count(&stored), all),
                (count(&on_output), on_output.len()),
            );
        }
    }
    for (dtype, format) in [
        (Dtype::F32, Format::F32),
        (Dtype::BF16, Format::MIXED_BF16),
        (Dtype::BF16, Format::BF16),
    ] {
        for (what, alone) in [("`output` alone", true), ("all stages", false)] {
            let count = |runs: &[&Run]| -> Result<usize> {
                let mut accepted = 0;
                for run in runs {
                    accepted += usize::from(oracle_accepts(
                        &cases[run.case].golden,
                        run,
                        dtype,
                        format,
                        alone,
                    )?);
                }
                Ok(accepted)
            };
            row(
                &format!("this oracle at {}, {what}", format.name()),
                dtype,
                (count(&stored)?, all),
                (count(&on_output)?, on_output.len()),
            );
        }
    }
    for (dtype, format) in [
        (Dtype::F32, Format::F32),
        (Dtype::BF16, Format::MIXED_BF16),
        (Dtype::BF16, Format::BF16),
    ] {
        let count = |runs: &[&Run]| -> Result<usize> {
            let mut accepted = 0;
            for run in runs {
                let golden = &cases[run.case].golden;
                accepted += usize::from(within(golden, run, dtype, format, false, PROBABLE)?);
            }
            Ok(accepted)
        };
        row(
            &format!("its probable bound at {}, all stages", format.name()),
            dtype,
            (count(&stored)?, all),
            (count(&on_output)?, on_output.len()),
        );
    }
    println!();
    Ok(())
}

fn row(rule: &str, dtype: Dtype, of_all: (usize, usize), of_wrong: (usize, usize)) {
    let share = |(count, all): (usize, usize)| {
        format!(
            "{count} ({:.1} %)",
            100.0 * count as f64 / all.max(1) as f64
        )
    };
    println!(
        "| {rule} | {dtype} | {} | {} |",
        share(of_all),
        share(of_wrong)
    );
}

fn golden_output(golden: &Golden) -> &[f64] {
    golden_stage(golden, "output").map_or(&[], |stage| stage.values.data())
}

fn output(run: &Run) -> &[f64] {
    let stage = run.stages.iter().find(|(name, _)| name == "output");
    stage.map_or(&[], |(_, stage)| stage.data())
}

/// Whether every stage (or `output` alone) of a mutant, as a port's file would hold it, is within
/// the tolerance: what `check` decides, without the search for the mistake that follows there.
fn within(
    golden: &Golden,
    run: &Run,
    dtype: Dtype,
    format: Format,
    alone: bool,
    part: Part,
) -> Result<bool> {
    let float = dtype.float_format().ok_or("a float type")?;
    let (unit, smallest) = (float.unit_roundoff(), float.half_smallest());
    let tolerances = tolerances(golden, format, part)?;
    let stages = run.stages.iter();
    for (name, values) in stages.filter(|(name, _)| !alone || name == "output") {
        let Some(stage) = golden_stage(golden, name) else {
            continue;
        };
        let stored: Vec<f64> = values.data().iter().map(|&x| float.round(x)).collect();
        let truth = stage.values.data();
        let bounds = tolerances[name].iter().zip(truth);
        let bounds: Vec<f64> = bounds
            .map(|(bound, truth)| bound + unit * truth.abs() + smallest)
            .collect();
        if fraction(truth, &stored, &bounds) > 1.0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What the oracle decides of a mutant: where it accepts, `check` is asked too.
fn oracle_accepts(
    golden: &Golden,
    run: &Run,
    dtype: Dtype,
    format: Format,
    alone: bool,
) -> Result<bool> {
    if !within(golden, run, dtype, format, alone, WORST)? {
        return Ok(false);
    }
    let stages = run.stages.iter();
    let named = stages
        .filter(|(name, _)| !alone || name == "output")
        .map(|(name, stage)| (name.as_str(), stage));
    let candidate = golden.candidate(&dumped(named, dtype)?)?;
    if !golden.check(&candidate, format).pass() {
        return Err(format!("{} on {}: check disagrees", run.mistake.id, run.case_name).into());
    }
    Ok(true)
}

/// Stages as a port would dump them, as a file in memory.
fn dumped<'a>(
    stages: impl Iterator<Item = (&'a str, &'a Tensor<f64>)>,
    dtype: Dtype,
) -> Result<SafeTensors> {
    let mut writer = Writer::new();
    for (name, stage) in stages {
        writer.add(name, dtype, stage.shape(), stage.data())?;
    }
    Ok(SafeTensors::from_bytes(writer.to_bytes()?)?)
}

fn forms(layer: &LayerCase) -> Vec<Form> {
    let len = layer.input().shape()[1];
    let cut = layer.parameters().config().l_max;
    let mut forms = Form::all([Chunking::Uniform(5), Chunking::Uniform(16)]);
    // A kernel that is cut short has no state.
    if cut.is_some_and(|l_max| l_max < len) {
        forms.retain(|form| !form.passes_state());
    }
    forms
}

/// The runs of one golden file in every form: refused, and how many.
fn refused(golden: &Golden, precision: Precision, format: Format) -> Result<(usize, usize, f64)> {
    let gradients = golden_stage(golden, "grad.input").is_some();
    let layer = layer(golden)?;
    let case = Case::from(layer.clone());
    let (mut refused, mut worst) = (0, 0.0);
    let forms = forms(layer);
    for form in &forms {
        let stages = case.run(form, precision, gradients)?;
        let named = stages.iter().map(|(name, values)| (name.as_str(), values));
        let candidate = golden.candidate(&dumped(named, precision.dtype())?)?;
        let report = golden.check(&candidate, format);
        refused += usize::from(!report.pass());
        let fractions = report.stages.iter().map(|stage| stage.worst);
        worst = fractions.fold(worst, f64::max);
    }
    Ok((refused, forms.len(), worst))
}

fn print_correct(cases: &[Committed]) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    // What is no layer has another name.
    files.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("layer-") && name.ends_with(".safetensors")
    });
    files.sort();
    let official = files
        .iter()
        .map(|path| Ok(Golden::certify(Case::open(path)?)?))
        .collect::<Result<Vec<Golden>>>()?;
    println!("Right ports refused: every form on the suite and on the official layers.\n");
    println!(
        "| computed in | refused | of | largest share of a tolerance used |\n|---|---|---|---|"
    );
    for format in [Format::F64, Format::F32] {
        let (mut bad, mut all, mut worst) = (0, 0, 0.0);
        let goldens = cases.iter().map(|case| &case.golden).chain(&official);
        for golden in goldens {
            let (refused, ran, used) = if format == Format::F64 {
                refused(golden, Precision::F64, format)?
            } else {
                refused(golden, Precision::F32, format)?
            };
            bad += refused;
            all += ran;
            worst = f64::max(worst, used);
        }
        println!(
            "| {} | {bad} | {all} | {:.0} % |",
            format.name(),
            100.0 * worst
        );
    }
    Ok(())
}
