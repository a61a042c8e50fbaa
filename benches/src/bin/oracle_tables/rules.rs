//! The field's usual rules, which look at the output alone, on the same wrong ports.

use crate::Result;
use crate::ports::Committed;
use hungry_hippos::algebra::FloatFormat;
use hungry_hippos::oracle::Format;

/// A rule of thumb: `(truth, found) -> accepted`.
type Rule = (&'static str, fn(&[f64], &[f64]) -> bool);

const RULES: [Rule; 4] = [
    ("RMS ratio below 0.005", |truth, found| {
        let rms = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let error = rms(&mut truth.iter().zip(found).map(|(a, b)| a - b));
        error < 0.005 * rms(&mut truth.iter().copied())
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

/// Wrong ports with a wrong output that each rule accepts, and right ones that it refuses.
pub(crate) fn print(cases: &[Committed], sample: usize) -> Result<()> {
    println!("The usual rules, on the outputs of the cases that are not exact.\n");
    println!("| rule | format | wrong ports accepted | right ports refused |\n|---|---|---|---|");
    for (format, float) in [
        (Format::F32, FloatFormat::F32),
        (Format::BF16, FloatFormat::BF16),
    ] {
        let (mut accepted, mut refused) = ([0_usize; RULES.len()], [0_usize; RULES.len()]);
        let (mut wrong, mut right) = (0_usize, 0_usize);
        for case in cases.iter().filter(|case| !case.is_exact()) {
            let Some(golden) = case.golden.stages().iter().find(|s| s.name() == "output") else {
                continue;
            };
            let truth = golden.values.data();
            let output = |stages: &crate::ports::Stages| -> Vec<f64> {
                let found = stages.iter().find(|(name, _)| name == "output");
                let found = found.map_or(&[][..], |(_, stage)| stage.data());
                found.iter().map(|&x| float.round(x)).collect()
            };
            let run = case.right(format, &case.case.default_form())?;
            right += 1;
            for (count, (_, accepts)) in refused.iter_mut().zip(RULES) {
                *count += usize::from(!accepts(truth, &output(&run)));
            }
            let all = case.wrong()?;
            let seen = all.iter().filter(|wrong| wrong.changes_output);
            for port in seen.step_by(sample) {
                let Some(stages) = port.port(&run)? else {
                    continue;
                };
                wrong += 1;
                for (count, (_, accepts)) in accepted.iter_mut().zip(RULES) {
                    *count += usize::from(accepts(truth, &output(&stages)));
                }
            }
        }
        for ((rule, _), (accepted, refused)) in RULES.iter().zip(accepted.iter().zip(refused)) {
            let share = 100.0 * *accepted as f64 / wrong.max(1) as f64;
            println!(
                "| {rule} | {} | {accepted} of {wrong} ({share:.1} %) | {refused} of {right} |",
                format.name()
            );
        }
    }
    println!();
    Ok(())
}
