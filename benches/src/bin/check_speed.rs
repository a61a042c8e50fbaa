//! How long `check` takes on a layer of d_model 64 and seq_len 512: when it passes, and when it has
//! to look for the mistake, by all stages and by `output` alone.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin check_speed
//! ```

use hungry_hippos::Tensor;
use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::{Form, Name};
use hungry_hippos::oracle::{Case, Format, Golden, Precision, Verdict};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::error::Error;
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Stages = Vec<(String, Tensor<f64>)>;

const D_MODEL: usize = 64;
const SEQ_LEN: usize = 512;
const D_STATE: usize = 64;

fn main() -> Result<()> {
    println!("| head_dim | candidate | dumped | seconds | verdict |\n|---|---|---|---|---|");
    for head_dim in [1, 8] {
        let case = Case::read(&SafeTensors::from_bytes(case(head_dim)?)?)?;
        let candidates = candidates(&case)?;
        let (golden, seconds) = timed(|| Ok(case.certify()?))?;
        println!("| {head_dim} | (a golden file made from the case) | | {seconds:.2} | |");
        // As the command does, `check` begins by reading the golden file.
        let golden = golden.writer()?.to_bytes()?;
        for (what, stages) in candidates {
            for output_only in [false, true] {
                let kept: Vec<_> = stages
                    .iter()
                    .filter(|(name, _)| !output_only || name == "output")
                    .collect();
                let (verdict, seconds) = timed(|| judged(&golden, &kept))?;
                let dumped = if output_only { "output" } else { "all stages" };
                println!("| {head_dim} | {what} | {dumped} | {seconds:.2} | {verdict} |");
            }
        }
    }
    Ok(())
}

fn timed<R>(run: impl FnOnce() -> Result<R>) -> Result<(R, f64)> {
    let start = Instant::now();
    Ok((run()?, start.elapsed().as_secs_f64()))
}

/// A layer of the official sizes, drawn as its initialization draws, and a random input.
fn case(head_dim: usize) -> Result<Vec<u8>> {
    let rng = &mut Rng::new(1);
    let (heads, modes) = (D_MODEL / head_dim, D_STATE / 2);
    let mut writer = Writer::new();
    for (key, value) in [
        ("head_dim", head_dim.to_string()),
        ("disc", "bilinear".into()),
        ("real_type", "exp".into()),
        ("l_max", "none".into()),
    ] {
        writer.metadata(key, &value)?;
    }
    let square = || vec![D_MODEL, D_MODEL];
    for name in Name::ALL {
        let shape = match name {
            Name::QWeight | Name::KWeight | Name::VWeight | Name::OutputWeight => square(),
            Name::QBias | Name::KBias | Name::VBias | Name::OutputBias | Name::ShiftD => {
                vec![D_MODEL]
            }
            Name::ShiftB => vec![D_MODEL, D_STATE],
            Name::ShiftC => vec![1, D_MODEL, D_STATE],
            Name::LogDt | Name::D => vec![heads],
            Name::B => vec![1, modes, 2],
            Name::C => vec![1, heads, modes, 2],
            Name::InvAReal | Name::AImag => vec![1, modes],
        };
        let size: usize = shape.iter().product();
        let value = |i: usize, unit: f64| match name {
            Name::ShiftB => f64::from(u8::from(i.is_multiple_of(D_STATE))) + 0.01 * unit,
            Name::ShiftC => unit / 8.0,
            // dt from 0.001 to 0.1.
            Name::LogDt => -4.6 + 2.3 * unit,
            Name::B => f64::from(u8::from(i.is_multiple_of(2))) + 0.01 * unit,
            Name::InvAReal => 0.5f64.ln(),
            Name::AImag => std::f64::consts::PI * i as f64,
            Name::C | Name::D | Name::ShiftD => unit,
            _ => unit / 8.0,
        };
        let values: Vec<f64> = (0..size).map(|i| value(i, rng.unit())).collect();
        writer.add(name.official(), Dtype::F32, &shape, &values)?;
    }
    let input: Vec<f64> = (0..SEQ_LEN * D_MODEL).map(|_| 1.7 * rng.unit()).collect();
    writer.add("input", Dtype::F32, &[1, SEQ_LEN, D_MODEL], &input)?;
    Ok(writer.to_bytes()?)
}

/// A right port in f32, ports with one known mistake and with two, and one with an unknown one.
fn candidates(case: &Case) -> Result<Vec<(&'static str, Stages)>> {
    let right: Stages = case.run(&Form::Fft, Precision::F32, false)?;
    let wrong = |mistakes: &[&str]| case.run_with(mistakes, None);
    // A mistake of no catalogue, in every stage.
    let mut unknown = right.clone();
    for (_, stage) in &mut unknown {
        let off = stage.data().iter().enumerate();
        let off = off.map(|(i, x)| x + 0.1 * (i as f64).sin()).collect();
        *stage = Tensor::new(stage.shape(), off)?;
    }
    Ok(vec![
        ("right", right),
        ("M38a", wrong(&["M38a"])?),
        ("M55", wrong(&["M55"])?),
        ("M18 and M34", wrong(&["M18", "M34"])?),
        ("unknown", unknown),
    ])
}

fn read(golden: &[u8]) -> Result<Golden> {
    Ok(Golden::read(&SafeTensors::from_bytes(golden.to_vec())?)?)
}

fn judged(golden: &[u8], stages: &[&(String, Tensor<f64>)]) -> Result<String> {
    let mut writer = Writer::new();
    for (name, stage) in stages {
        writer.add(name, Dtype::F32, stage.shape(), stage.data())?;
    }
    let golden = read(golden)?;
    let candidate = golden.candidate(&SafeTensors::from_bytes(writer.to_bytes()?)?)?;
    let report = golden.check(&candidate, Format::F32);
    if report.findings.is_empty() {
        let verdict = match report.verdict() {
            Verdict::Pass => "pass",
            _ => "undecided",
        };
        let power = report.power.map_or(String::new(), |power| {
            let excluded = power.known - power.not_excluded.len();
            format!("; {excluded} of {} known mistakes excluded", power.known)
        });
        return Ok(format!("{verdict}{power}"));
    }
    let found = report.findings.iter().map(|finding| {
        let named = finding.suspects.iter().map(|suspect| {
            let ids: Vec<&str> = suspect.mistakes.iter().map(|m| m.id).collect();
            ids.join(" and ")
        });
        let named: Vec<String> = named.take(3).collect();
        let named = match named.is_empty() {
            true => "no known mistake".into(),
            false => named.join(", "),
        };
        format!("fails at {}: {named}", finding.stage)
    });
    Ok(found.collect::<Vec<_>>().join("; "))
}
