//! Three mistakes at once, made at different stages: each is named at the stage where it is made.

use super::{Stages, committed, dumped, is_exhaustive, judge, layer, named, names, told};
use hungry_hippos::algebra::Rng;
use hungry_hippos::oracle::{Case, Format, Golden, Mistake, Report, Verdict};
use hungry_hippos::safetensors::Dtype;

/// The type a port of a format stores a stage in.
fn dtype(format: Format) -> Dtype {
    match format.name() {
        "bf16" => Dtype::BF16,
        "f16" => Dtype::F16,
        _ => Dtype::F32,
    }
}

/// What was found of the mistakes of ports that make three each.
#[derive(Debug, Default)]
struct Found {
    ports: usize,
    mistakes: usize,
    named: usize,
    falsely: usize,
    accepted: usize,
}

/// True if a mistake that is not made is said to reproduce a stage, and none that is made is said beside it.
fn is_false(report: &Report, made: &[&str]) -> bool {
    let mut findings = report.findings.iter().filter(|found| found.reproduced);
    findings.any(|found| {
        let mut said = found.suspects.iter().flat_map(|suspect| &suspect.mistakes);
        !said.any(|known| made.contains(&known.id))
    })
}

/// Ports of a case in a format with three mistakes drawn from those that a right one is shown not to make.
fn draw(golden: &Golden, format: Format, ports: usize, rng: &mut Rng, found: &mut Found) {
    let case = Case::from(layer(golden).clone());
    let right = case.run_stored(&[], format).expect("runs");
    let dtype = dtype(format);
    let finite = |stages: &Stages| {
        let mut numbers = stages.iter().flat_map(|(_, stage)| stage.data());
        numbers.all(|x| x.abs() < 1e30)
    };
    let report = judge(golden, &dumped(&named(&right), dtype), format);
    // In 16 bits a right port may overflow, or be undecided: then nothing is shown.
    let Some(power) = report.power.as_ref().filter(|_| finite(&right)) else {
        return;
    };
    let mut visible = power.excluded.clone();
    visible.retain(|mistake| !mistake.first_stage.starts_with("grad."));
    let mut made = 0;
    for _ in 0..20 * ports {
        if made == ports || visible.is_empty() {
            return;
        }
        let of: Vec<&Mistake> = (0..3).map(|_| visible[rng.below(visible.len())]).collect();
        let stages = [of[0], of[1], of[2]].map(|mistake| mistake.first_stage);
        if stages[0] == stages[1] || stages[1] == stages[2] || stages[0] == stages[2] {
            continue;
        }
        let ids = [of[0].id, of[1].id, of[2].id];
        let Ok(port) = case.run_stored(&ids, format) else {
            continue;
        };
        // Where two mistakes hide the third (keys that are all zero hide all that is computed of them), nothing in the
        // port says that it was made.
        let is_hidden = |id: &&str| {
            let others: Vec<&str> = ids.iter().copied().filter(|other| other != id).collect();
            case.run_stored(&others, format)
                .is_ok_and(|without| without == port)
        };
        if !finite(&port) || ids.iter().any(is_hidden) {
            continue;
        }
        made += 1;
        let report = judge(golden, &dumped(&named(&port), dtype), format);
        let hits = ids.iter().filter(|id| names(&report, id)).count();
        found.ports += 1;
        found.mistakes += 3;
        found.named += hits;
        found.falsely += usize::from(is_false(&report, &ids));
        found.accepted += usize::from(report.verdict() == Verdict::Pass);
        if hits < 3 || is_false(&report, &ids) {
            println!(
                "{}: {ids:?} at {stages:?}: {:?}",
                format.name(),
                told(&report)
            );
        }
    }
}

/// In float32 nearly all are named; in 16 bits fewer, since of a step that is wrong below what refuses it in a port whose
/// other steps are wrong too nothing is said. No port passes, and of a hundred ports no more than one is given a name
/// that is not theirs. With `HIPPOS_EXHAUSTIVE` set, some 300 ports of every format.
#[test]
fn three_mistakes_are_named_at_their_stages() {
    let mut cases: Vec<(&str, Golden)> = committed();
    cases.retain(|(name, _)| !name.contains("-exact-"));
    let mut all = Vec::new();
    for (format, least) in [
        (Format::F32, 0.97),
        (Format::BF16, 0.90),
        (Format::F16, 0.95),
    ] {
        let (step, ports) = match is_exhaustive() {
            true => (1, 9),
            false => (cases.len() / 2, 1),
        };
        let (mut found, mut rng) = (Found::default(), Rng::new(19));
        for (_, golden) in cases.iter().skip(2).step_by(step) {
            draw(golden, format, ports, &mut rng, &mut found);
        }
        println!("{}: {found:?}", format.name());
        all.push((format, least, found));
    }
    for (format, least, found) in all {
        let named = found.named as f64 / found.mistakes as f64;
        assert!(named >= least, "{}: {found:?}", format.name());
        assert_eq!(found.accepted, 0, "{}: {found:?}", format.name());
        let few = found.falsely * 100 <= found.ports;
        assert!(few, "{}: {found:?}", format.name());
    }
}
