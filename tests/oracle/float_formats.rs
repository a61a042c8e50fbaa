//! Rounding `f64` to narrower formats and back, against their definition.

use hungry_hippos::algebra::FloatFormat;
use proptest::prelude::*;

/// Name, format, exponent bits, fraction bits.
const FORMATS: [(&str, FloatFormat, u32, u32); 5] = [
    ("F64", FloatFormat::F64, 11, 52),
    ("F32", FloatFormat::F32, 8, 23),
    ("TF32", FloatFormat::TF32, 8, 10),
    ("F16", FloatFormat::F16, 5, 10),
    ("BF16", FloatFormat::BF16, 8, 7),
];

/// `2^k`, from its bits: no function of the platform is in it.
fn power_of_two(k: i32) -> f64 {
    assert!((-1022..=1023).contains(&k), "{k}");
    f64::from_bits(((k + 1023) as u64) << 52)
}

/// The value IEEE 754-2019, section 3.4, gives a finite bit pattern without sign: in `f64` each
/// operation is exact. The pattern of infinity gives what would be the next number.
fn definition(bits: u64, exponent_bits: u32, fraction_bits: u32) -> f64 {
    let bias = (1 << (exponent_bits - 1)) - 1;
    let fraction = (bits & ((1 << fraction_bits) - 1)) as f64;
    let fraction = fraction * power_of_two(-(fraction_bits as i32));
    match (bits >> fraction_bits) as i32 {
        0 => fraction * power_of_two(1 - bias),
        field => (1.0 + fraction) * power_of_two(field - bias),
    }
}

/// Patterns without sign, zero to infinity: all of a 16-bit format's, and for wider ones those around
/// every power of two with a stride of a prime between.
fn patterns(exponent_bits: u32, fraction_bits: u32) -> Vec<u64> {
    let infinity = ((1 << exponent_bits) - 1) << fraction_bits;
    let stride = match fraction_bits {
        52 => (1 << 44) - 17,
        23 => 9973,
        _ => 1,
    };
    let mut patterns: Vec<u64> = (0..infinity).step_by(stride).collect();
    for field in 0..(1 << exponent_bits) - 1 {
        let first = field << fraction_bits;
        patterns.extend([first, first + 1, first + (1 << fraction_bits) - 1]);
    }
    patterns
}

#[test]
fn every_number_is_decoded_exactly_and_survives() {
    for (name, format, exponent_bits, fraction_bits) in FORMATS {
        let sign = 1 << (exponent_bits + fraction_bits);
        for bits in patterns(exponent_bits, fraction_bits) {
            let expected = definition(bits, exponent_bits, fraction_bits);
            let (plus, minus) = (format.decode(bits), format.decode(bits | sign));
            assert_eq!(plus.to_bits(), expected.to_bits(), "{name} {bits:#x}");
            assert_eq!(minus.to_bits(), (-expected).to_bits(), "{name} -{bits:#x}");
            assert_eq!(format.encode(plus), bits, "{name} {bits:#x}");
            assert_eq!(format.encode(minus), bits | sign, "{name} -{bits:#x}");
        }
    }
}

/// Between two neighbours `a < b` all numbers below the midpoint go to `a`, all above to `b`, the
/// midpoint to the even one. Rounding to nearest is fixed by where it steps: tested at the two
/// floats next to each midpoint it is tested everywhere, as far as it is monotone (which
/// `rounding_is_monotone` tests). Zero, subnormals and the step to infinity are among the pairs.
#[test]
fn rounding_steps_at_the_midpoints_and_ties_go_to_even() {
    let [_, narrower @ ..] = FORMATS;
    for (name, format, exponent_bits, fraction_bits) in narrower {
        let sign = 1 << (exponent_bits + fraction_bits);
        for a in patterns(exponent_bits, fraction_bits) {
            let b = a + 1;
            let even = if a % 2 == 0 { a } else { b };
            let [low, high] = [a, b].map(|bits| definition(bits, exponent_bits, fraction_bits));
            let midpoint = low + (high - low) / 2.0;
            for (x, expected) in [
                (low, a),
                (low.next_up(), a),
                (midpoint.next_down(), a),
                (midpoint, even),
                (midpoint.next_up(), b),
                (high.next_down(), b),
            ] {
                assert_eq!(format.encode(x), expected, "{name} {x:e}");
                assert_eq!(format.encode(-x), expected | sign, "{name} {:e}", -x);
            }
        }
    }
}

fn f16(x: f64) -> u64 {
    FloatFormat::F16.encode(x)
}

fn bf16(x: f64) -> u64 {
    FloatFormat::BF16.encode(x)
}

#[test]
fn known_cases_in_16_bits() {
    let f16_cases: [(&str, f64, u64); 15] = [
        ("one", 1.0, 0x3c00),
        ("one third", 1.0 / 3.0, 0x3555),
        ("negative zero", -0.0, 0x8000),
        ("largest", 65504.0, 0x7bff),
        ("below the tie with infinity", 65519.99, 0x7bff),
        ("tie with infinity", 65520.0, 0x7c00),
        ("infinity", f64::INFINITY, 0x7c00),
        ("largest f64", f64::MAX, 0x7c00),
        ("-largest f64", f64::MIN, 0xfc00),
        ("least normal", 0.00006103515625, 0x0400),
        ("least subnormal", 5.960464477539063e-8, 0x0001),
        ("tie of it with zero", 2.9802322387695313e-8, 0x0000),
        ("just above", 2.980232238769532e-8, 0x0001),
        ("least normal f64", f64::MIN_POSITIVE, 0x0000),
        ("-least subnormal f64", -5e-324, 0x8000),
    ];
    for (name, x, bits) in f16_cases {
        assert_eq!(f16(x), bits, "{name}");
    }
    let bf16_cases: [(&str, f64, u64); 8] = [
        ("pi", core::f64::consts::PI, 0x4049),
        ("tie to even, down", 1.0 + 1.0 / 256.0, 0x3f80),
        ("tie to even, up", 1.0 + 3.0 / 256.0, 0x3f82),
        ("above what f16 can hold", 65520.0, 0x4780),
        ("largest f32 goes to infinity", f64::from(f32::MAX), 0x7f80),
        ("least subnormal", 9.183549615799121e-41, 0x0001),
        ("tie of it with zero", 4.591774807899561e-41, 0x0000),
        ("-1e300", -1e300, 0xff80),
    ];
    for (name, x, bits) in bf16_cases {
        assert_eq!(bf16(x), bits, "{name}");
    }
}

/// What a rounding by way of `f32` gets wrong, in both directions, so that a test would notice it.
#[test]
fn there_is_one_rounding_not_two() {
    let tiny = 2f64.powi(-40);
    let f16_tie = 1.0 + 2f64.powi(-11);
    assert_eq!(f16(f16_tie + tiny), 0x3c01);
    assert_eq!(f16(f64::from((f16_tie + tiny) as f32)), 0x3c00);
    let bf16_tie = 1.0 + 3.0 * 2f64.powi(-8);
    assert_eq!(bf16(bf16_tie - tiny), 0x3f81);
    assert_eq!(bf16(f64::from((bf16_tie - tiny) as f32)), 0x3f82);
}

#[test]
fn nan_stays_nan_with_its_sign() {
    for (name, format, exponent_bits, fraction_bits) in FORMATS {
        let sign = 1 << (exponent_bits + fraction_bits);
        let infinity = ((1 << exponent_bits) - 1) << fraction_bits;
        // Quiet; signalling, with a payload only in bits that are cut; all payload.
        for nan in [
            0x7ff8_0000_0000_0000,
            0x7ff0_0000_0000_0001,
            0x7fff_ffff_ffff_ffff,
        ] {
            let plus = format.encode(f64::from_bits(nan));
            let minus = format.encode(f64::from_bits(nan | 1 << 63));
            assert!(infinity < plus && plus < sign, "{name} {nan:#x}: {plus:#x}");
            assert_eq!(minus, plus | sign, "{name} {nan:#x}");
            assert!(
                format.round(f64::from_bits(nan)).is_nan(),
                "{name} {nan:#x}"
            );
        }
        for payload in [1, 1 << (fraction_bits - 1), (1 << fraction_bits) - 1] {
            let value = format.decode(infinity | payload);
            assert!(
                value.is_nan() && value.is_sign_positive(),
                "{name} {payload:#x}"
            );
            let value = format.decode(sign | infinity | payload);
            assert!(
                value.is_nan() && value.is_sign_negative(),
                "{name} {payload:#x}"
            );
        }
        for (bits, expected) in [
            (infinity, f64::INFINITY),
            (sign | infinity, f64::NEG_INFINITY),
        ] {
            assert_eq!(format.decode(bits).to_bits(), expected.to_bits(), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// The language's own conversion is another implementation of one of the formats.
    #[test]
    fn f32_agrees_with_the_language(bits in any::<u64>(), near_one in -4.0..4.0f64, scale in -160..130i32) {
        for x in [f64::from_bits(bits), near_one * 2f64.powi(scale)] {
            if !x.is_nan() {
                prop_assert_eq!(FloatFormat::F32.encode(x), u64::from((x as f32).to_bits()), "{:e}", x);
                prop_assert_eq!(FloatFormat::F64.encode(x), x.to_bits(), "{:e}", x);
            }
        }
        let single = f32::from_bits(bits as u32);
        if !single.is_nan() {
            let decoded = FloatFormat::F32.decode(bits & 0xffff_ffff);
            prop_assert_eq!(decoded.to_bits(), f64::from(single).to_bits());
        }
    }

    #[test]
    fn rounding_is_monotone(x in any::<u64>(), y in any::<u64>()) {
        // Magnitudes of floats are ordered as their bits are.
        let [x, y] = [x.min(y), x.max(y)].map(|bits| f64::from_bits(bits >> 1));
        prop_assume!(!x.is_nan() && !y.is_nan());
        for (name, format, ..) in FORMATS {
            let (x, y) = if x <= y { (x, y) } else { (y, x) };
            prop_assert!(format.encode(x) <= format.encode(y), "{name}: {x:e} {y:e}");
        }
    }
}
