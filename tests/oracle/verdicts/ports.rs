//! Ports that were once judged wrongly or told too little, and what each is told now; what stands in a
//! dump besides stages; mistakes made together; and that what is called excluded is.

use super::{
    Mistaken, Stages, committed_one, differ, dumped, first_finding, forward_mistakes,
    is_exhaustive, judge, named, names, stage, told, verdicts,
};
use crate::common::data;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::FloatFormat;
use hungry_hippos::oracle::{Format, Golden, Report, StageVerdict, Verdict};
use hungry_hippos::safetensors::{Dtype, SafeTensors};

/// The verdict that is right.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Right,
    Wrong,
    /// The format may be too coarse to prove it wrong.
    NotPassed,
}
use Expected::{NotPassed, Right, Wrong};

/// Dump, golden file, format (where it is not that of the stored type), verdict, words of which one has
/// to be said, and words that would be untrue.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    Expected,
    &'static [&'static str],
    &'static [&'static str],
);

const PORTS: [Row; 30] = [
    (
        "batch-stride",
        "03-heads",
        "mixed-bf16",
        Wrong,
        &["sequence"],
        &["m05b"],
    ),
    ("batch-stride-bf16", "03-heads", "bf16", NotPassed, &[], &[]),
    (
        "frequencies-detached",
        "18-long",
        "",
        Wrong,
        &["zero"],
        &["m73"],
    ),
    (
        "misspelt-output",
        "01-basic",
        "",
        NotPassed,
        &["ouput"],
        &[],
    ),
    (
        "three-skips",
        "01-basic",
        "",
        Wrong,
        &["m18", "no_shift_d"],
        &[],
    ),
    (
        "raw-window",
        "01-basic",
        "",
        Wrong,
        &["raw key", "raw_key", "raw-key"],
        &[],
    ),
    (
        "official-f64",
        "01-basic",
        "f64",
        Wrong,
        &["float32", "f32"],
        &[],
    ),
    (
        "f32-stored-as-f64",
        "01-basic",
        "f64",
        Wrong,
        &["--dtype f32", "float32"],
        &[],
    ),
    (
        "gradients-without-first-token",
        "18-long",
        "",
        Wrong,
        &[],
        &[],
    ),
    ("window-of-outputs", "36-chunks", "", Wrong, &[], &[]),
    ("padded-by-3", "26-batch", "", Wrong, &["pad"], &[]),
    ("padded-by-1", "36-chunks", "", Wrong, &["pad"], &[]),
    (
        "left-padding-of-one",
        "01-basic",
        "",
        Wrong,
        &["sequence"],
        &[],
    ),
    ("state-frozen", "25-resumed-heads", "", Wrong, &[], &[]),
    (
        "state-read-transposed",
        "25-resumed-heads",
        "",
        Wrong,
        &["d1", "transpos", "exchang"],
        &[],
    ),
    (
        "state-written-transposed",
        "25-resumed-heads",
        "",
        Wrong,
        &["d1", "transpos", "exchang"],
        &[],
    ),
    ("double-exp", "01-basic", "", Wrong, &[], &[]),
    ("softplus-of-dt", "28-fast", "", Wrong, &[], &[]),
    (
        "backward-carry-undecayed",
        "27-slow",
        "",
        Wrong,
        &["chunk"],
        &["multiple of 1 "],
    ),
    ("backward-right", "36-chunks", "", Right, &[], &[]),
    (
        "backward-carry",
        "36-chunks",
        "",
        Wrong,
        &["chunk", "carr"],
        &[],
    ),
    (
        "tf32-projections-as-f32",
        "03-heads",
        "",
        NotPassed,
        &["tf32"],
        &[],
    ),
    ("tf32-every-product", "03-heads", "tf32", Right, &[], &[]),
    ("chunks-of-3", "16-prime", "", Wrong, &["chunk"], &[]),
    (
        "states-3-tokens-early",
        "36-chunks",
        "",
        Wrong,
        &["3 token", "token"],
        &[],
    ),
    (
        "one-chunk-state-early",
        "36-chunks",
        "",
        Wrong,
        &["1"],
        &["wrong from 1 on"],
    ),
    (
        "state-lost-after-11",
        "16-prime",
        "",
        Wrong,
        &["m59", "carry_dropped", "11"],
        &[],
    ),
    ("window-of-shift-k", "01-basic", "", Wrong, &[], &[]),
    ("torch-f64", "judged/torch-golden", "", Right, &[], &[]),
    ("torch-f32", "judged/torch-golden", "", Right, &[], &[]),
];

/// Those whose search for a name takes longest: run with `HIPPOS_EXHAUSTIVE` set.
const SLOW: [&str; 7] = [
    "f32-stored-as-f64",
    "official-f64",
    "padded-by-1",
    "states-3-tokens-early",
    "backward-carry-undecayed",
    "backward-carry",
    "one-chunk-state-early",
];

#[test]
fn each_port_is_judged_and_told_why() {
    let mut wrong = Vec::new();
    for (name, golden, format, expected, says, never) in PORTS {
        if SLOW.contains(&name) && !is_exhaustive() {
            continue;
        }
        let golden = match golden.strip_prefix("judged/") {
            Some(_) => Golden::open(&data(golden)).expect("a golden file"),
            None => committed_one(golden),
        };
        let file = SafeTensors::open(&data(&format!("judged/{name}"))).expect("a dump");
        let candidate = golden.candidate(&file).expect("can be judged");
        let format = match format {
            "" => candidate.format().expect("one type"),
            name => Format::from_name(name).expect("a format"),
        };
        let report = golden.check(&candidate, format);
        let is_right = match expected {
            Right => report.verdict() == Verdict::Pass,
            Wrong => report.verdict() == Verdict::Refused,
            NotPassed => report.verdict() != Verdict::Pass,
        };
        let text = report.to_string().to_lowercase();
        let is_said = says.is_empty() || says.iter().any(|word| text.contains(word));
        if !is_right || !is_said || never.iter().any(|word| text.contains(word)) {
            wrong.push(format!(
                "{name}: {expected:?}, {says:?}, not {never:?}\n{text}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A stage of a golden file, changed.
fn changed(golden: &Golden, name: &str, change: impl FnOnce(&mut [f64])) -> Tensor<f64> {
    let right = &stage(golden, name).values;
    let mut values = right.data().to_vec();
    change(&mut values);
    Tensor::new(right.shape(), values).expect("fits")
}

/// A name that is nearly a stage's leaves the dump undecided, and is said; one that is far from all is
/// listed; and both can be left out by name.
#[test]
fn names_that_are_nearly_a_stages_are_said() {
    let golden = committed_one("01-basic");
    let [q, output] = ["q", "output"].map(|name| &stage(&golden, name).values);
    for (name, meant) in [
        ("ouput", "output"),
        ("outputs", "output"),
        ("ssm-out", "ssm_out"),
        ("SSM_Out", "ssm_out"),
        ("conv_state", ""),
        ("qq", ""),
        ("cache", ""),
    ] {
        let file = dumped(&[("q", q), (name, output)], Dtype::F64);
        let report = judge(&golden, &file, Format::F64);
        assert_eq!(report.holdings.unknown, [name]);
        let close: Vec<_> = report.holdings.close.iter().collect();
        let text = report.to_string();
        match meant {
            "" => {
                assert!(close.is_empty() && report.pass(), "{name}: {close:?}");
                assert!(text.contains(&format!("not judged: {name}")), "{text}");
            }
            meant => {
                assert_eq!(close, [&(name.to_string(), meant.to_string())]);
                assert_eq!(report.verdict(), Verdict::Undecided, "{name}");
                let said = format!("{name:?} is not a stage, but {meant:?} is");
                assert!(text.contains(&said), "{text}");
            }
        }
        let candidate = golden.candidate(&file).expect("q");
        let without = candidate.ignoring([name]).expect("is there");
        let report = golden.check(&without, Format::F64);
        assert!(
            report.pass() && report.holdings.unknown.is_empty(),
            "{name}"
        );
    }
    let file = dumped(&[("q", q)], Dtype::F64);
    for (name, why) in [
        ("q", "is judged"),
        ("ouput", "is not a tensor of the candidate"),
    ] {
        let candidate = golden.candidate(&file).expect("q");
        let said = candidate.ignoring([name]).expect_err("no such").to_string();
        assert!(said.contains(name) && said.contains(why), "{said}");
    }
}

/// A number that is none fails the stage it stands in, at its place, and no stage after it that is right.
#[test]
fn what_is_not_finite_fails_at_its_place() {
    let golden = committed_one("03-heads");
    for (x, said) in [
        (f64::NAN, "holds NaN"),
        (f64::INFINITY, "holds inf"),
        (f64::NEG_INFINITY, "holds -inf"),
    ] {
        // (2, 19, 6): sequence 1, token 2, channel 3.
        let wrong = changed(&golden, "gated", |values| values[114 + 2 * 6 + 3] = x);
        let output = &stage(&golden, "output").values;
        let file = dumped(&[("gated", &wrong), ("output", output)], Dtype::F32);
        let report = judge(&golden, &file, Format::F32);
        let [gated, output] = &report.stages[..] else {
            panic!("two stages: {report}")
        };
        assert_eq!(gated.verdict, StageVerdict::Fail);
        assert_eq!(gated.at, [1, 2, 3], "{x}");
        assert!(
            gated.note.as_deref().is_some_and(|n| n.contains(said)),
            "{report}"
        );
        assert_eq!(output.verdict, StageVerdict::Pass, "{report}");
        let found = first_finding(&report);
        assert_eq!((&found.stage[..], found.suspects.len()), ("gated", 0));
        assert_eq!(report.findings.len(), 1);
    }
}

/// Within the worst case of 16 bits zeros may lie, and they are no rounding.
#[test]
fn zeros_are_refused_at_16_bits() {
    let golden = committed_one("03-heads");
    for (format, number) in [
        (Format::BF16, FloatFormat::BF16),
        (Format::F16, FloatFormat::F16),
        (Format::MIXED_BF16, FloatFormat::F32),
    ] {
        let from = ["kv", "ssm_out", "gated", "output"];
        let shown = if format == Format::BF16 { 4 } else { 1 };
        for from in from.into_iter().take(shown) {
            let mut is_after = false;
            let stages = golden.stages().iter().filter_map(|stage| {
                is_after |= stage.name() == from;
                let of_kernel = stage.name().contains("kernel");
                let forward = !stage.name().starts_with("grad.") && !of_kernel;
                let values = stage.values.map(|x| match is_after {
                    true => 0.0,
                    false => number.round(x),
                });
                forward.then(|| (stage.name().to_string(), values))
            });
            let stages: Stages = stages.collect();
            let report = judge(&golden, &dumped(&named(&stages), Dtype::F32), format);
            let found = first_finding(&report);
            assert_eq!(found.stage, from, "{}: {report}", format.name());
            assert_eq!(found.pattern, "all zero", "{report}");
            // The same without anything before it.
            let zeros = changed(&golden, from, |x| x.fill(0.0));
            let alone = verdicts(&golden, &dumped(&[(from, &zeros)], Dtype::F32), format);
            assert_ne!(alone.verdict(), Verdict::Pass, "{}: {alone}", format.name());
        }
    }
}

/// Stages stored in fewer bits than the port works in are allowed that rounding, which is said; it is not
/// taken for a mistake that rounds.
#[test]
fn narrow_storage_is_said() {
    for case in ["01-basic", "04-heads-hd2"] {
        let golden = committed_one(case);
        let right = Mistaken::new(&golden).right;
        for (format, dtype) in [
            (Format::MIXED_BF16, Dtype::BF16),
            (Format::F32, Dtype::F16),
            (Format::F32, Dtype::BF16),
            (Format::F64, Dtype::F32),
        ] {
            let report = judge(&golden, &dumped(&named(&right), dtype), format);
            let what = format!("{case}, {} in {dtype}: {report}", format.name());
            assert_ne!(report.verdict(), Verdict::Refused, "{what}");
            // A mixed format's projections are as coarse.
            let narrower = format != Format::MIXED_BF16;
            let said = report.to_string().contains("stored in fewer bits");
            assert_eq!(said, narrower, "{what}");
        }
    }
}

/// Two sequences exchanged from a stage on, as a wrong stride of the batch does, at 16 bits too.
#[test]
fn exchanged_sequences_are_said() {
    let golden = committed_one("03-heads");
    let right = Mistaken::new(&golden).right;
    let of = |names: &[&str], from: &str, format: FloatFormat| {
        let mut is_after = false;
        let stages = names.iter().map(|name| {
            is_after |= *name == from;
            let (_, found) = right
                .iter()
                .find(|(known, _)| known == name)
                .expect("there");
            let mut values: Vec<f64> = found.data().iter().map(|&x| format.round(x)).collect();
            if is_after {
                let half = values.len() / 2;
                values.rotate_left(half);
            }
            let values = Tensor::new(found.shape(), values).expect("fits");
            (name.to_string(), values)
        });
        stages.collect::<Stages>()
    };
    let forward = ["q", "k", "v", "shift_k", "kv", "ssm_out", "gated", "output"];
    for from in ["ssm_out", "output"] {
        for (format, dtype) in [
            (Format::F32, FloatFormat::F32),
            (Format::MIXED_BF16, FloatFormat::F32),
            (Format::BF16, FloatFormat::BF16),
        ] {
            let stages = of(&forward, from, dtype);
            let report = judge(&golden, &dumped(&named(&stages), Dtype::F32), format);
            let found = first_finding(&report);
            assert_eq!(found.stage, from, "{}: {report}", format.name());
            assert!(
                found.pattern.starts_with("sequences 0 and 1 exchanged"),
                "{} from {from}: {report}",
                format.name()
            );
        }
    }
}

/// Mistakes made at different stages, three at once.
const TRIPLES: [(&str, [&str; 3]); 8] = [
    ("01-basic", ["no_shift_d", "no_d", "no_bias_output"]),
    ("01-basic", ["map_swap_qk", "conj_c", "no_final_gate"]),
    (
        "03-heads",
        ["weight_transpose", "shift_taps_reversed", "head_out_perm"],
    ),
    (
        "03-heads",
        ["shift_conv_not_corr", "no_factor_2", "no_out_proj"],
    ),
    (
        "04-heads-hd2",
        ["no_bias_qkv", "contract_wrong_index", "imag_dropped"],
    ),
    (
        "16-prime",
        ["shift_delayed", "kernel_delay", "no_bias_output"],
    ),
    ("16-prime", ["no_shift_d", "carry_dropped", "no_out_proj"]),
    (
        "25-resumed-heads",
        ["map_swap_kv", "initial_state_ignored", "head_out_perm"],
    ),
];

/// A first port makes several mistakes: each is named at the stage where it is made, in float32 and,
/// every stage rounded, in bfloat16; and nothing else is.
#[test]
fn three_mistakes_have_three_names() {
    let (mut made, mut found, mut false_names) = (0, 0, Vec::new());
    let mut unnamed = Vec::new();
    let step = if is_exhaustive() { 1 } else { 3 };
    for (case, mistakes) in TRIPLES.into_iter().step_by(step) {
        let golden = committed_one(case);
        let mistaken = Mistaken::new(&golden);
        let known = forward_mistakes(&mistaken.case);
        let ids = mistakes.map(|name| {
            let mut known = known.iter();
            known.find(|m| m.name == name).expect("in the catalogue").id
        });
        for id in ids {
            assert!(mistaken.stages(&[id]).is_some(), "{id} acts on {case}");
        }
        let stages = mistaken.stages(&ids).expect("runs");
        for (format, number) in [
            (Format::F32, FloatFormat::F32),
            (Format::MIXED_BF16, FloatFormat::F32),
            (Format::BF16, FloatFormat::BF16),
        ] {
            let stages: Stages = stages
                .iter()
                .map(|(name, stage)| (name.clone(), stage.map(|x| number.round(x))))
                .collect();
            let report = judge(&golden, &dumped(&named(&stages), Dtype::F32), format);
            assert_eq!(report.verdict(), Verdict::Refused, "{mistakes:?} on {case}");
            for (id, name) in ids.iter().zip(mistakes) {
                made += 1;
                match names(&report, id) {
                    true => found += 1,
                    false => unnamed.push(format!(
                        "{id} {name} of {ids:?} on {case}, {}: {:#?}",
                        format.name(),
                        told(&report)
                    )),
                }
            }
            for finding in report.findings.iter().filter(|f| f.reproduced) {
                let first = &finding.suspects[0].mistakes;
                if !finding
                    .suspects
                    .iter()
                    .any(|s| s.mistakes.iter().any(|m| ids.contains(&m.id)))
                {
                    let first: Vec<_> = first.iter().map(|m| m.id).collect();
                    false_names.push(format!(
                        "{first:?} for {ids:?} on {case}, {}",
                        format.name()
                    ));
                }
            }
        }
    }
    println!("{found} of {made} named\n{}", unnamed.join("\n"));
    assert!(false_names.is_empty(), "{false_names:#?}");
    assert!(unnamed.is_empty(), "{}", unnamed.join("\n"));
}

/// What a report on a right port calls excluded does not pass when it is made: none of it, with all
/// stages and with the output alone. With `HIPPOS_EXHAUSTIVE` set, of every mistake.
#[test]
fn excluded_mistakes_do_not_pass() {
    let step = if is_exhaustive() { 1 } else { 64 };
    let (mut runs, mut accepted) = (0, Vec::new());
    let cases = ["04-heads-hd2", "25-resumed-heads"];
    for (place, case) in cases.into_iter().enumerate() {
        let golden = committed_one(case);
        let mistaken = Mistaken::new(&golden);
        let known = forward_mistakes(&mistaken.case);
        for (turn, (format, number)) in [
            (Format::F32, FloatFormat::F32),
            (Format::BF16, FloatFormat::BF16),
        ]
        .into_iter()
        .enumerate()
        {
            for kept in ["", "output"] {
                let dumped_of = |stages: &Stages| -> Stages {
                    let kept = stages
                        .iter()
                        .filter(|(name, _)| kept.is_empty() || name == kept);
                    kept.cloned().collect()
                };
                let judged = |stages: &Stages| -> Report {
                    let rounded = dumped_of(stages).into_iter();
                    let rounded: Stages = rounded
                        .map(|(name, stage)| (name, stage.map(|x| number.round(x))))
                        .collect();
                    verdicts(&golden, &dumped(&named(&rounded), Dtype::F32), format)
                };
                let right = dumped_of(&mistaken.right);
                let report = judged(&right);
                assert!(report.pass(), "{case}, {}: {report}", format.name());
                let power = report.power.expect("nothing is wrong");
                let what = format!("{case}, {}, {kept:?}", format.name());
                assert!(power.known > power.not_excluded.len(), "{what}");
                // What a port of the format rounds anyway is no mistake.
                let rounds = |name: &str| name.contains("bf16") || name.contains("f32");
                let excluded = known
                    .iter()
                    .filter(|m| !power.not_excluded.contains(m) && !rounds(m.name));
                let from = (7 * place + 17 * turn + 5 * kept.len()) % step;
                for mistake in excluded.skip(from).step_by(step) {
                    let stages = mistaken.stages(&[mistake.id]);
                    let Some(stages) = stages.filter(|s| differ(&dumped_of(s), &right)) else {
                        continue;
                    };
                    runs += 1;
                    if judged(&stages).verdict() == Verdict::Pass {
                        accepted.push(format!("{} {} on {what}", mistake.id, mistake.name));
                    }
                }
            }
        }
    }
    println!("{runs} runs, accepted: {accepted:#?}");
    assert!(runs >= 8, "{runs}");
    assert!(accepted.is_empty(), "{accepted:#?}");
}
