//! Formats, names of stages and what metadata say of exact ones.

use hungry_hippos::algebra::FloatFormat;
use hungry_hippos::oracle::{EXACT, Format, StageSpec, may_stand_for, read_exact, spell};
use std::collections::BTreeMap;

type Strings = BTreeMap<String, String>;
type Exact = Vec<(String, Vec<FloatFormat>)>;

/// The numbers every tolerance is made of: unit roundoff of the models, of the projections, and
/// what one operation may lose to underflow.
#[test]
fn numbers_of_the_formats() {
    let two = |k| 2f64.powi(k);
    for (format, numbers) in [
        (Format::F64, [two(-53), two(-53), two(-1022)]),
        (Format::F32, [two(-24), two(-24), two(-126)]),
        (Format::TF32, [two(-11), two(-11), two(-126)]),
        (Format::MIXED_TF32, [two(-24), two(-11), two(-126)]),
        (Format::MIXED_F16, [two(-24), two(-11), two(-126)]),
        (Format::MIXED_BF16, [two(-24), two(-8), two(-126)]),
        (Format::F16, [two(-11), two(-11), two(-24)]),
        (Format::BF16, [two(-8), two(-8), two(-126)]),
    ] {
        let found = [
            format.unit_roundoff(),
            format.projection_unit_roundoff(),
            format.lost_to_underflow(),
        ];
        assert_eq!(found, numbers, "{}", format.name());
        assert_eq!(Format::from_name(format.name()), Some(format));

        // Transforms in 16 bits are said.
        let transforms = format.roundoff_of_transforms();
        assert_eq!(
            transforms,
            if numbers[0] == two(-53) {
                two(-53)
            } else if format.name() == "tf32" {
                two(-11)
            } else {
                two(-24)
            }
        );
        if let Some(said) = format.with_transforms_in_16_bits() {
            assert_eq!(said.roundoff_of_transforms(), numbers[1]);
        }

        let alone = format.in_one();
        let coarser = format.projection_unit_roundoff();
        assert_eq!(alone.unit_roundoff(), coarser);
        assert_eq!(alone.projection_unit_roundoff(), coarser);
    }
}

#[test]
fn short_names_stand_for_stages_of_as_many_numbers() {
    for (name, stage) in [
        ("yy", "y"),
        ("out", "output"),
        ("query", "q"),
        ("h3.output", "output"),
        ("gate", "gated"),
        ("state", "final_state"),
        ("kw", "k"),
    ] {
        assert!(may_stand_for(name, stage), "{name}, {stage}");
    }
    for (name, stage) in [("x", "q"), ("", "q"), ("hidden", "gated"), ("kw", "kv")] {
        assert!(!may_stand_for(name, stage), "{name}, {stage}");
    }
}

fn read(text: &str) -> Result<Exact, String> {
    let specs = ["q", "k"].map(|name| StageSpec::named(name, &[]));
    let strings = Strings::from([(EXACT.to_string(), text.to_string())]);
    read_exact(&strings, &specs).map_err(|e| e.to_string())
}

#[test]
fn what_is_spelled_is_read_back() {
    let (f64, bf16) = (FloatFormat::F64, FloatFormat::BF16);
    let stages = [("q", vec![f64, bf16]), ("none", vec![]), ("k", vec![f64])];
    let spelled = spell(stages.iter().map(|(name, formats)| (*name, &formats[..])));
    assert_eq!(spelled.as_deref(), Some("q=f64,bf16;k=f64"));
    let expected = vec![("q".into(), vec![f64, bf16]), ("k".into(), vec![f64])];
    assert_eq!(read("q=f64,bf16;k=f64"), Ok(expected));
    assert_eq!(spell([].into_iter()), None);
    assert_eq!(read_exact(&Strings::new(), &[]), Ok(Vec::new()));
}

#[test]
fn errors_name_the_key() {
    for (text, said) in [
        ("", "\"\" is no entry"),
        ("q", "expected STAGE=FORMAT"),
        ("v=f32", "\"v\" is no stage"),
        ("q=f31", "\"f31\"; expected one of f64"),
        ("q=", "\"\"; expected one of"),
        ("q=f32,f32", "q: f32 twice"),
        ("q=f32;q=f32", "q twice"),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.contains("metadata exact"), "{text}: {error}");
        assert!(error.contains(said), "{text}: {error}");
    }
}
