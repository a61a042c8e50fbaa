//! Claim: the precision a port works in is seen in the size of its errors.

use crate::common::golden_file;
use crate::verdicts::{Stages, dumped, named};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::FloatFormat;
use hungry_hippos::oracle::{Format, Golden, precision_seen};
use hungry_hippos::safetensors::Dtype;

const STAGES: [&str; 6] = ["q", "k", "v", "shift_k", "kv", "output"];

/// A case whose numbers need all bits of f32.
fn golden() -> Golden {
    Golden::open(&golden_file("44-fine")).expect("a golden file")
}

/// Some stages of a port that rounds every number of every stage to a format.
fn rounded(to: FloatFormat) -> Stages {
    let golden = golden();
    let stages = golden.stages().iter();
    let stages = stages.filter(|stage| STAGES.contains(&stage.name()));
    stages
        .map(|stage| (stage.name().into(), stage.values.map(|x| to.round(x))))
        .collect()
}

/// What is said of the precision of stages stored in a type, by a port that says it works in a format.
fn said(stages: &Stages, dtype: Dtype, format: Format) -> Vec<String> {
    let golden = golden();
    let file = dumped(&named(stages), dtype);
    let candidate = golden.candidate(&file).expect("can be judged");
    precision_seen(&golden, &candidate, format, 7)
}

const SEEN: &str = "on the errors look like those of";

/// A port that rounds to a coarser format than it says is told which: by what its numbers are, where they
/// are all of one, and by the size of its errors otherwise.
#[test]
fn coarser_formats_are_seen() {
    use FloatFormat as F;
    for (to, stored, format, words) in [
        (
            F::F32,
            Dtype::F64,
            Format::F64,
            "q on . float32; try --dtype f32",
        ),
        (
            F::F16,
            Dtype::F32,
            Format::F32,
            "q on . f16; try --dtype f16",
        ),
        (
            F::BF16,
            Dtype::F32,
            Format::F32,
            "q on . bf16; try --dtype bf16",
        ),
        (
            F::BF16,
            Dtype::F64,
            Format::F64,
            "q on . bf16; try --dtype bf16",
        ),
        // The projections may be.
        (
            F::BF16,
            Dtype::F32,
            Format::MIXED_BF16,
            "shift_k on . bf16; try --dtype bf16",
        ),
        (
            F::F16,
            Dtype::F32,
            Format::MIXED_F16,
            "shift_k on . f16; try --dtype f16",
        ),
    ] {
        let expected = format!("from {}", words.replace("on .", SEEN));
        assert_eq!(said(&rounded(to), stored, format), [expected]);
    }
    // Errors of TF32's size, not its numbers.
    let mut off = 1.0;
    let mut stages = rounded(F::F64);
    for (_, stage) in &mut stages {
        *stage = stage.map(|x| {
            off = -off;
            x * (1.0 + off * 1.5 * F::TF32.unit_roundoff())
        });
    }
    let words = [format!("from q {SEEN} tf32; try --dtype tf32")];
    assert_eq!(said(&stages, Dtype::F32, Format::F32), words);
    assert_eq!(said(&stages, Dtype::F64, Format::F32), words);
}

/// Products in bf16 of a port in f32, as autocast makes them: off by more than the rounding that their type
/// makes is allowed for.
#[test]
fn more_than_the_rounding_of_storage_is_seen() {
    use FloatFormat as F;
    let off_by = |roundings: f64| {
        let mut off = 1.0;
        let mut stages = rounded(F::F64);
        for (_, stage) in &mut stages {
            *stage = stage.map(|x| {
                off = -off;
                F::BF16.round(x * (1.0 + off * roundings * F::BF16.unit_roundoff()))
            });
        }
        said(&stages, Dtype::BF16, Format::F32)
    };
    let seen = format!("from q {SEEN} bf16; try --dtype bf16");
    assert_eq!(off_by(4.0)[0], seen);
    assert!(!off_by(0.0).iter().any(|words| words.contains(SEEN)));
}

/// A port in the format it says is told nothing, in whatever its stages are stored.
#[test]
fn the_right_format_is_no_matter() {
    use FloatFormat as F;
    for (to, stored, format) in [
        (F::F64, Dtype::F64, Format::F64),
        (F::F32, Dtype::F32, Format::F32),
        (F::F32, Dtype::F64, Format::F32),
        (F::BF16, Dtype::F32, Format::BF16),
        (F::BF16, Dtype::BF16, Format::BF16),
        (F::F16, Dtype::F16, Format::F16),
        // As fine as tf32, which is not far from it.
        (F::F16, Dtype::F16, Format::BF16),
    ] {
        assert_eq!(said(&rounded(to), stored, format), [""; 0], "{to:?}");
    }
}

#[test]
fn finer_formats_are_seen() {
    use FloatFormat as F;
    for (to, stored, format) in [
        (F::F64, Dtype::F64, Format::F32),
        (F::F32, Dtype::F32, Format::BF16),
        (F::F64, Dtype::F64, Format::BF16),
    ] {
        let name = to.name();
        let words = format!(
            "looks finer than that: like {name}; --dtype {name} would judge it more strictly"
        );
        assert_eq!(said(&rounded(to), stored, format), [words]);
    }
}

/// What is stored in fewer bits is judged with that allowed for, which is said and of which stages.
#[test]
fn narrow_storage_is_said() {
    use FloatFormat as F;
    for (to, stored, format) in [
        (F::F32, Dtype::F32, Format::F64),
        (F::BF16, Dtype::BF16, Format::F32),
        (F::F16, Dtype::F16, Format::TF32),
    ] {
        let said = said(&rounded(to), stored, format);
        let narrow = stored.name() != "F16";
        let words = format!(
            "stored in fewer bits than {} has; the rounding is allowed for: {}",
            format.name(),
            STAGES.join(", ")
        );
        assert_eq!(said.contains(&words), narrow, "{said:?}");
        assert!(said.len() <= 1, "{said:?}");
    }
}

/// What is simply wrong has no precision.
#[test]
fn mistakes_have_no_precision() {
    let mut stages = rounded(FloatFormat::F32);
    for (_, stage) in &mut stages {
        *stage = stage.map(|x| 1.25 * x);
    }
    assert_eq!(said(&stages, Dtype::F32, Format::F32), [""; 0]);
    for (_, stage) in &mut stages {
        let mut values = stage.data().to_vec();
        values[3] = f64::NAN;
        *stage = Tensor::new(stage.shape(), values).expect("fits");
    }
    assert_eq!(said(&stages, Dtype::F32, Format::F32), [""; 0]);
}

/// A port in float16 that stores none but numbers of bfloat16 is told at which stages; one whose projections are in
/// bfloat16 is not, nor one in bfloat16.
#[test]
fn numbers_of_bfloat16_are_said_in_float16_alone() {
    let stages = rounded(FloatFormat::BF16);
    let words = format!(
        "every number is one of bf16, which has fewer bits than the type stored: {}",
        STAGES.join(", ")
    );
    for (stored, format, is_said) in [
        (Dtype::F16, Format::F16, true),
        (Dtype::F32, Format::MIXED_BF16, false),
        (Dtype::F32, Format::BF16, false),
    ] {
        let said = said(&stages, stored, format);
        assert_eq!(
            said.contains(&words),
            is_said,
            "{}: {said:?}",
            format.name()
        );
        let any = said.iter().any(|one| one.starts_with("every number"));
        assert_eq!(any, is_said, "{}: {said:?}", format.name());
    }
    let right = said(&rounded(FloatFormat::F16), Dtype::F16, Format::F16);
    assert!(right.is_empty(), "{right:?}");
}
