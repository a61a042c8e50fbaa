//! Ports in 16 bits where a first-order tolerance in one format is not enough: transforms in 16 bits, and
//! roundings that multiply over a thousand steps.

use super::{
    LONG, Stages, committed_one, dumped, first_wrong, is_exhaustive, judge, layer, named, stage,
    verdicts,
};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Bf16, Emulated, FloatFormat, Real};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::fourier::convolution::via_real_fft;
use hungry_hippos::h3::{Form, Name};
use hungry_hippos::oracle::{Case, Format, Golden, Precision, Verdict};
use hungry_hippos::safetensors::{Dtype, SafeTensors};

type Narrow = Emulated<Bf16>;

/// The stages up to `ssm_out`, whose convolutions are products of spectra in bfloat16; all others are the
/// golden ones. `late` kernels come one step late.
fn by_narrow_spectra(golden: &Golden, late: bool) -> Stages {
    let of = |name: &str| stage(golden, name).values.clone();
    let (kernels, kv) = (of("ssm_kernel"), of("kv"));
    let &[.., heads, len] = kv.shape() else {
        panic!("kv has five axes")
    };
    let skips = layer(golden).parameters().get(Name::D).to_vec();
    let window = kernels.shape()[1];
    let narrow = |x: &f64| Narrow::from_f64(*x);
    let mut ssm_out = Vec::new();
    for (series, u) in kv.data().chunks(len).enumerate() {
        let h = series % heads;
        let mut f: Vec<Narrow> = kernels.data()[h * window..][..window]
            .iter()
            .map(narrow)
            .collect();
        if late {
            f.rotate_right(1);
            f[0] = Narrow::from_f64(0.0);
        }
        let v: Vec<Narrow> = u.iter().map(narrow).collect();
        let y = via_real_fft(&f, &v).expect("lengths fit");
        let sums = y.iter().zip(u).map(|(y, u)| y.to_f64() + skips[h] * u);
        ssm_out.extend(sums);
    }
    let before = ["q", "k", "v", "shift_kernel", "shift_k", "kv", "ssm_kernel"];
    let mut stages: Stages = before.map(|name| (name.to_string(), of(name))).into();
    let ssm_out = Tensor::new(kv.shape(), ssm_out).expect("fits");
    stages.push(("ssm_out".into(), ssm_out));
    stages
}

/// A convolution by spectra in bfloat16 is off by far more than a binary32 one, normwise, in every element:
/// the port that says so is right, and the one that does not is refused where it does it.
#[test]
fn transforms_in_16_bits_are_right_where_they_are_said() {
    let said = |format: Format| format.with_transforms_in_16_bits().expect("has 16 bits");
    let verdict = |golden: &Golden, file: &SafeTensors, format| {
        let report = verdicts(golden, file, format);
        let at = first_wrong(&report).map(str::to_string);
        (report.verdict(), at, report.to_string())
    };
    for (name, format, dtype) in [
        ("03-heads", Format::MIXED_BF16, Dtype::F32),
        ("50-exact-basic", Format::BF16, Dtype::F32),
    ] {
        let golden = committed_one(name);
        let right = by_narrow_spectra(&golden, false);
        let right = dumped(&named(&right), dtype);
        let (silent, at, text) = verdict(&golden, &right, format);
        assert_eq!(silent, Verdict::Refused, "{name}: {text}");
        assert_eq!(at.as_deref(), Some("ssm_out"), "{name}: {text}");
        let (spoken, _, text) = verdict(&golden, &right, said(format));
        assert_eq!(spoken, Verdict::Pass, "{name}: {text}");
        assert!(text.starts_with(&format!("tolerance for {}, transforms", format.name())));

        let late = by_narrow_spectra(&golden, true);
        let late = dumped(&named(&late), dtype);
        let (verdict, at, text) = verdict(&golden, &late, said(format));
        assert_eq!(verdict, Verdict::Refused, "{name}: {text}");
        assert_eq!(at.as_deref(), Some("ssm_out"), "{name}: {text}");
    }
    // Formats that have no 16 bits have no such transforms.
    for format in Format::ALL {
        let narrow = [FloatFormat::BF16, FloatFormat::F16];
        let has = narrow
            .iter()
            .any(|narrow| format.name().ends_with(narrow.name()));
        assert_eq!(format.with_transforms_in_16_bits().is_some(), has);
    }
}

/// Powers of poles over 1024 steps, every operation in bfloat16: (1 + u)^1024 is no longer near 1 + 1024 u.
/// Nothing of the right port is refused; of one that leaves a sign out, the kernel is.
#[test]
fn a_thousand_steps_in_bfloat16_pass() {
    let golden = committed_one(LONG);
    let case = layer(&golden);
    let forms = [Form::Convolution, Form::Recurrence, Form::Scan];
    let forms = if is_exhaustive() {
        &forms[..]
    } else {
        &forms[..1]
    };
    for form in forms {
        let (port, input, state) = case.in_precision::<Narrow>().expect("runs");
        let stages = port
            .forward(form, &input, state.as_ref())
            .expect("runs")
            .named();
        let stages = stages.into_iter();
        let mut stages: Stages = stages
            .map(|(name, stage)| (name.to_string(), stage.map(Real::to_f64)))
            .collect();
        let report = verdicts(&golden, &dumped(&named(&stages), Dtype::BF16), Format::BF16);
        assert_ne!(report.verdict(), Verdict::Refused, "{form}: {report}");
        let kernel = report
            .stages
            .iter()
            .find(|stage| stage.name == "ssm_kernel");
        assert!(
            kernel.expect("dumped").worst > 0.01,
            "the tolerance is not void"
        );

        stages.retain(|(name, _)| name == "ssm_kernel");
        stages[0].1 = stages[0].1.map(|x| -x);
        let report = verdicts(&golden, &dumped(&named(&stages), Dtype::BF16), Format::BF16);
        assert_eq!(report.verdict(), Verdict::Refused, "{form}: {report}");
    }
}

/// A factor of 5 % in a stage of the models, all others right, lies within the worst case of bfloat16 and is more
/// than the roundings that a whole stage shares; one of four roundings is not. (Of `ssm_kernel` the errors are of too
/// few elements here.)
#[test]
fn a_factor_beyond_shared_roundings_is_refused() {
    let golden = committed_one("03-heads");
    let mut names: Vec<&str> = golden.stages().iter().map(|stage| stage.name()).collect();
    names.retain(|name| !name.starts_with("grad."));
    for wrong in [
        "shift_kernel",
        "shift_k",
        "ssm_out",
        "final_state_k",
        "final_state",
    ] {
        let u = FloatFormat::BF16.unit_roundoff();
        for (factor, is_refused) in [(1.05, true), (1.0 + 4.0 * u, false)] {
            let port: Stages = names
                .iter()
                .map(|&name| {
                    let factor = if name == wrong { factor } else { 1.0 };
                    let port = stage(&golden, name).values.map(|x| factor * x);
                    (name.to_string(), port)
                })
                .collect();
            let report = verdicts(&golden, &dumped(&named(&port), Dtype::BF16), Format::BF16);
            let at = first_wrong(&report);
            assert_eq!(at, is_refused.then_some(wrong), "{factor}: {report}");
        }
    }
}

/// A kernel that was rounded to bfloat16 in a port in float16 is off by less than float16 may be there; that it has no other
/// numbers is what shows it. With one that bfloat16 has not it is a right port's.
#[test]
fn numbers_of_a_coarser_format_are_seen() {
    let golden = committed_one("03-heads");
    let kernel = &stage(&golden, "ssm_kernel").values;
    let mut numbers: Vec<f64> = kernel
        .data()
        .iter()
        .map(|&x| FloatFormat::BF16.round(x))
        .collect();
    let judged = |numbers: &[f64]| {
        let kernel = Tensor::new(kernel.shape(), numbers.to_vec()).expect("fits");
        judge(
            &golden,
            &dumped(&[("ssm_kernel", &kernel)], Dtype::F16),
            Format::F16,
        )
    };
    let report = judged(&numbers);
    assert_eq!(report.verdict(), Verdict::Refused, "{report}");
    let found = &report.findings[0];
    assert!(report.stages[0].worst < 1.0, "{report}");
    assert_eq!(
        found.pattern,
        "within the worst case of rounding, but every number is one of bf16, which has fewer bits"
    );
    assert_eq!(found.suspects[0].mistakes[0].id, "M70a");
    let said = "note: every number is one of bf16, which has fewer bits than the type stored: ssm_kernel\n";
    assert!(report.to_string().contains(said), "{report}");
    // Half the numbers of a right port in float16.
    for (x, right) in numbers.iter_mut().zip(kernel.data()).step_by(2) {
        *x = FloatFormat::F16.round(*right);
    }
    let report = judged(&numbers);
    assert!(!report.to_string().contains("every number"), "{report}");
}

/// Where the right numbers are themselves those of a coarser format, having no others says nothing, however the stages before
/// were rounded.
#[test]
fn exact_numbers_are_no_evidence_of_a_coarser_format() {
    let golden = committed_one("59-exact-chunks");
    let case = Case::from(layer(&golden).clone());
    let gradients = golden
        .stages()
        .iter()
        .any(|stage| stage.name() == "grad.input");
    for form in Form::all([Chunking::Uniform(5), Chunking::Uniform(16)]) {
        let port = case.run(&form, Precision::F32, gradients).expect("runs");
        let report = judge(&golden, &dumped(&named(&port), Dtype::F32), Format::F32);
        assert_eq!(report.verdict(), Verdict::Pass, "{form}: {report}");
    }
}

/// Exponentials in 16 bits on an exact case are refused, and told why; a stage that is wrong in earnest is not.
#[test]
fn exponentials_in_16_bits_on_an_exact_case_are_told() {
    let golden = committed_one("50-exact-basic");
    let kernel = &stage(&golden, "ssm_kernel").values;
    let said = |times: f64| {
        let off = |at: usize, x: f64| x * if at % 2 == 1 { times } else { 1.0 };
        let numbers = kernel.data().iter().enumerate();
        let numbers = numbers.map(|(at, &x)| FloatFormat::BF16.round(off(at, x)));
        let kernel = Tensor::new(kernel.shape(), numbers.collect()).expect("fits");
        let report = judge(
            &golden,
            &dumped(&[("ssm_kernel", &kernel)], Dtype::BF16),
            Format::BF16,
        );
        (report.verdict(), report.to_string())
    };
    let why = "in ssm_kernel nothing rounds in bf16 but exponentials and transforms";
    let (verdict, text) = said(1.03);
    assert!(verdict == Verdict::Refused && text.contains(why), "{text}");
    let (verdict, text) = said(-1.0);
    assert!(verdict == Verdict::Refused && !text.contains(why), "{text}");
    let (verdict, text) = said(1.0);
    assert!(verdict == Verdict::Pass && !text.contains(why), "{text}");
}

/// Where a token of a gradient was lost, bfloat16's worst case allows it, and it is seen all the same, also if it is
/// next to nothing instead of zero.
#[test]
fn a_lost_token_does_not_pass_within_a_wide_tolerance() {
    let golden = committed_one("81-ssd-packed");
    let exact = stage(&golden, "grad.x").values.clone();
    let len = exact.shape()[1];
    let each = exact.data().len() / exact.shape()[0] / len;
    let with = |edit: &dyn Fn(usize, f64) -> f64| {
        let edited = exact.data().iter().enumerate();
        let edited = edited.map(|(at, &x)| FloatFormat::BF16.round(edit(at / each % len, x)));
        let edited = Tensor::new(exact.shape(), edited.collect()).expect("fits");
        let stages: Stages = vec![("grad.x".into(), edited)];
        judge(&golden, &dumped(&named(&stages), Dtype::F32), Format::BF16)
    };
    let at = |report: &hungry_hippos::oracle::Report| {
        let judged = report.stages.iter().find(|stage| stage.name == "grad.x");
        judged.expect("judged").clone()
    };
    for nothing in [0.0, 1e-30, -1e-4] {
        let lost = with(&|token, x| if token == 16 { nothing } else { x });
        assert_eq!(lost.verdict(), Verdict::Undecided, "{lost}");
        assert!(at(&lost).worst < 1.0);
        let note = "zero but for rounding in time step 16";
        assert_eq!(at(&lost).note.as_deref(), Some(note), "{lost}");
        assert!(lost.to_string().contains(note), "{lost}");
    }
    for factor in [1.0, 0.97] {
        let right = with(&|token, x| if token == 16 { factor * x } else { x });
        assert_eq!(right.verdict(), Verdict::Pass, "{right}");
    }
    // A place that hardly counts in the stage: the end of a kernel that has decayed.
    let golden = committed_one("28-fast");
    let kernel = &stage(&golden, "ssm_kernel").values;
    let len = kernel.shape()[1];
    let numbers = kernel.data().iter().enumerate();
    let cut = numbers.map(|(at, &x)| match at % len == len - 1 {
        true => 0.0,
        false => FloatFormat::BF16.round(x),
    });
    let cut = Tensor::new(kernel.shape(), cut.collect()).expect("fits");
    let stages: Stages = vec![("ssm_kernel".into(), cut)];
    let report = judge(&golden, &dumped(&named(&stages), Dtype::F32), Format::BF16);
    assert!(
        report.stages.iter().all(|stage| stage.note.is_none()),
        "{report}"
    );
}
