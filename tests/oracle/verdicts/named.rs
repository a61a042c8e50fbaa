//! The right mistake is named: inside a float32 port by FFT, two at once, and at 16 bits as far as
//! 16 bits tell.

use super::{
    Mistaken, Stages, committed, committed_one, differ, dumped, forward_mistakes, is_exhaustive,
    judge, layer, named, names, of_documents, told,
};
use hungry_hippos::algebra::{FloatFormat, Real, Rng};
use hungry_hippos::h3::{Config, Form, HeadOrder, Name, Parameters, RealType};
use hungry_hippos::oracle::{Case, Format, Golden, Report};
use hungry_hippos::safetensors::Dtype;
use hungry_hippos::ssm::Discretization;

/// The layer with other parameters, in float32 and by FFT: a port with a mistake in what it reads.
fn port_by_fft(
    golden: &Golden,
    change: &dyn Fn(&mut Config),
    read: &dyn Fn(&Parameters<f64>, Name) -> Vec<f64>,
) -> Stages {
    let case = layer(golden);
    let mut config = case.parameters().config().clone();
    change(&mut config);
    let parameters = Parameters::new(config, |name| Ok(read(case.parameters(), name)));
    let layer = parameters.expect("sizes fit").map(f32::from_f64);
    let layer = layer.discretize().expect("a layer");
    let state = case.state().map(|state| state.map(f32::from_f64));
    let input = case.input().map(f32::from_f64);
    let stages = layer.forward(&Form::Fft, &input, state.as_ref());
    let named = stages.expect("runs").named().into_iter();
    named
        .map(|(name, stage)| (name.to_string(), stage.map(Real::to_f64)))
        .collect()
}

/// True if each of these mistakes is named.
fn names_all(report: &Report, ids: &[&str]) -> bool {
    ids.iter().all(|id| names(report, id))
}

/// Both discretizations, both orders of heads, shared models, other decodings, odd lengths, a state.
const FFT_CASES: [&str; 10] = [
    "01-basic",
    "02-zoh",
    "03-heads",
    "05-heads-8",
    "07-shared-all",
    "09-cut-short",
    "16-prime",
    "21-real-sigmoid",
    "23-odd-state",
    "25-resumed-heads",
];

#[test]
fn a_mistake_in_a_float32_port_by_fft_is_named() {
    type Change = fn(&mut Config);
    type Read = fn(&Parameters<f64>, Name) -> Vec<f64>;
    let same: Change = |_| {};
    let kept: Read = |p, name| p.get(name).to_vec();
    let mistakes: [(&str, Change, Read); 16] = [
        (
            "zoh_for_bilinear",
            |c| c.disc = Discretization::ZeroOrderHold,
            kept,
        ),
        ("real_decode_none", |c| c.real_type = RealType::None, kept),
        (
            "head_out_perm",
            |c| {
                c.head_order = match c.head_order {
                    HeadOrder::D2H => HeadOrder::HD2,
                    HeadOrder::HD2 => HeadOrder::D2H,
                };
            },
            kept,
        ),
        ("no_d", same, |p, name| zeroed(p, name, &[Name::D])),
        ("no_shift_d", same, |p, name| {
            zeroed(p, name, &[Name::ShiftD])
        }),
        ("no_bias", same, |p, name| {
            let biases = [Name::QBias, Name::KBias, Name::VBias, Name::OutputBias];
            zeroed(p, name, &biases)
        }),
        ("no_bias_output", same, |p, name| {
            zeroed(p, name, &[Name::OutputBias])
        }),
        ("imag_dropped", same, |p, name| {
            zeroed(p, name, &[Name::AImag])
        }),
        ("no_factor_2", same, |p, name| {
            scaled(p, name, Name::C, &[0.5, 0.5])
        }),
        ("factor_4", same, |p, name| {
            scaled(p, name, Name::C, &[2.0, 2.0])
        }),
        ("conj_c", same, |p, name| {
            scaled(p, name, Name::C, &[1.0, -1.0])
        }),
        ("conj_b", same, |p, name| {
            scaled(p, name, Name::B, &[1.0, -1.0])
        }),
        ("map_swap_qk", same, |p, name| {
            let other = match name {
                Name::QWeight => Name::KWeight,
                Name::KWeight => Name::QWeight,
                Name::QBias => Name::KBias,
                Name::KBias => Name::QBias,
                name => name,
            };
            p.get(other).to_vec()
        }),
        ("weight_transpose", same, |p, name| {
            let (d, w) = (p.config().d_model, p.get(name));
            match name {
                Name::QWeight | Name::KWeight | Name::VWeight | Name::OutputWeight => {
                    (0..d * d).map(|at| w[at % d * d + at / d]).collect()
                }
                _ => w.to_vec(),
            }
        }),
        ("dt_exp_exp", same, |p, name| match name {
            Name::LogDt => p.get(name).iter().map(|x| x.exp()).collect(),
            _ => p.get(name).to_vec(),
        }),
        ("exp_imag", same, |p, name| match name {
            Name::AImag => p.get(name).iter().map(|x| x.exp()).collect(),
            _ => p.get(name).to_vec(),
        }),
    ];
    let (mut runs, mut misnamed) = (0, Vec::new());
    let mut goldens = committed();
    goldens.retain(|(case, _)| FFT_CASES.contains(case));
    for (turn, (case, golden)) in goldens.iter().enumerate() {
        let mistaken = Mistaken::new(golden);
        let known = forward_mistakes(&mistaken.case);
        for (place, (name, change, read)) in mistakes.into_iter().enumerate() {
            if !is_exhaustive() && (turn + place) % FFT_CASES.len() != 0 {
                continue;
            }
            let mut known = known.iter();
            let mistake = known.find(|m| m.name == name).expect("in the catalogue");
            if mistaken.stages(&[mistake.id]).is_none() {
                continue;
            }
            let stages = port_by_fft(golden, &change, &read);
            if stages
                .iter()
                .any(|(_, s)| s.data().iter().any(|x| !x.is_finite()))
            {
                continue;
            }
            let report = judge(golden, &dumped(&named(&stages), Dtype::F32), Format::F32);
            assert!(!report.pass(), "{name} on {case}");
            runs += 1;
            if !names_all(&report, &[mistake.id]) {
                let said = told(&report);
                misnamed.push(format!("{name} on {case}: {said:?}"));
            }
        }
    }
    println!("{runs} runs, misnamed: {misnamed:#?}");
    assert!(runs > if is_exhaustive() { 120 } else { 10 }, "{runs}");
    assert!(misnamed.len() * 100 <= runs, "{misnamed:#?}");
}

fn zeroed(p: &Parameters<f64>, name: Name, which: &[Name]) -> Vec<f64> {
    match which.contains(&name) {
        true => vec![0.0; p.get(name).len()],
        false => p.get(name).to_vec(),
    }
}

/// The real and imaginary parts of one parameter times two factors.
fn scaled(p: &Parameters<f64>, name: Name, which: Name, factors: &[f64; 2]) -> Vec<f64> {
    let values = p.get(name).iter().enumerate();
    match name == which {
        true => values.map(|(at, x)| x * factors[at % 2]).collect(),
        false => p.get(name).to_vec(),
    }
}

/// Two mistakes at once: refused always, and named where neither alone explains what is seen.
#[test]
fn two_mistakes_at_once_are_named() {
    let cases = committed();
    let rng = &mut Rng::new(5);
    let (mut runs, mut misnamed) = (0, Vec::new());
    while runs < if is_exhaustive() { 30 } else { 3 } {
        let (case, golden) = &cases[rng.below(30)];
        let mistaken = Mistaken::new(golden);
        let mut known = forward_mistakes(&mistaken.case);
        // Whole sequences have no documents to mistake.
        known.retain(|mistake| !of_documents(mistake.id));
        let pair = [0, 1].map(|_| known[rng.below(known.len())].id);
        let alone = pair.map(|id| mistaken.stages(&[id]));
        let (Some(both), [Some(one), Some(other)]) = (mistaken.stages(&pair), alone) else {
            continue;
        };
        let judged =
            |stages: &Stages| judge(golden, &dumped(&named(stages), Dtype::F32), Format::F32);
        // A pair is one where both do something and something else than either, in more than the order
        // of sums: one that sits between chunks may be hidden by the other, and leave the chunks.
        let truth = [&one, &other].map(|stages| judged(stages).pass());
        if !differ(&both, &one) || !differ(&both, &other) || truth.contains(&true) {
            continue;
        }
        let report = judged(&both);
        assert!(!report.pass(), "{pair:?} on {case}");
        runs += 1;
        if !names_all(&report, &pair) {
            let said = told(&report);
            misnamed.push(format!("{pair:?} on {case}: {said:?}"));
        }
    }
    println!("{} of {runs}: {misnamed:#?}", misnamed.len());
    // What is left hides behind the other mistake: chapter 13.
    assert!(misnamed.len() * 10 <= runs, "{misnamed:#?}");
}

/// Of a language model too, also where one of the two is a layer's.
#[test]
fn two_mistakes_of_a_model_are_named() {
    let golden = committed_one("39-model-hybrid");
    let case = Case::from(golden.model().expect("a model").clone());
    let pairs = [["L04", "no_d"], ["L08b", "no_mask"], ["L03", "L08b"]];
    for pair in &pairs[..if is_exhaustive() { 3 } else { 1 }] {
        let ids = pair.map(|mistake: &str| {
            let known = case.mistakes().into_iter();
            let mut known = known.filter(|known| known.id == mistake || known.name == mistake);
            known.next().expect("in the catalogue").id
        });
        let stages = case.run_with(&ids, None).expect("runs");
        let file = dumped(&named(&stages), Dtype::F32);
        let report = judge(&golden, &file, Format::F32);
        assert!(!report.pass(), "{pair:?}");
        assert!(names_all(&report, &ids), "{pair:?}: {report}");
    }
}

/// At 16 bits what departs by four tolerances is named; how much does is in chapter 13.
#[test]
fn what_16_bits_can_tell_is_named() {
    let step = if is_exhaustive() { 1 } else { 80 };
    let formats = [
        (Format::MIXED_BF16, FloatFormat::F32, 200),
        (Format::BF16, FloatFormat::BF16, 50),
    ];
    for (format, number, least) in formats {
        let (mut clear, mut misnamed) = (0, Vec::new());
        for case in ["04-heads-hd2", "13-short", "25-resumed-heads"] {
            let golden = &committed_one(case);
            let mistaken = Mistaken::new(golden);
            for mistake in forward_mistakes(&mistaken.case).into_iter().step_by(step) {
                let Some(mut stages) = mistaken.stages(&[mistake.id]) else {
                    continue;
                };
                for (_, stage) in &mut stages {
                    *stage = stage.map(|x| number.round(x));
                }
                let report = judge(golden, &dumped(&named(&stages), Dtype::F32), format);
                let margin = report.stages.iter().map(|s| s.worst).fold(0.0, f64::max);
                if margin < 4.0 {
                    continue;
                }
                clear += 1;
                if !names_all(&report, &[mistake.id]) {
                    let said = told(&report);
                    misnamed.push(format!("{} on {case}: {said:?}", mistake.name));
                }
            }
        }
        println!(
            "{}: {clear} clear, misnamed {}: {misnamed:#?}",
            format.name(),
            misnamed.len()
        );
        assert!(clear * step >= least, "{}: {clear}", format.name());
        assert!(misnamed.len() * 100 <= clear, "{misnamed:#?}");
    }
}
