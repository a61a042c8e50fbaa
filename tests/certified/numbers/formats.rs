//! Formats have the numbers they have, and round to them.

use hungry_hippos::algebra::FloatFormat;

/// By the formats of the language where there is one, by the numbers of IEEE 754 for `binary16`, by the
/// upper half of an `f32` for bfloat16.
#[test]
fn numbers_of_the_formats() {
    let numbers = |format: FloatFormat| {
        [
            format.smallest(),
            format.smallest_normal(),
            format.largest(),
            format.unit_roundoff(),
        ]
    };
    let upper = |half: u32| f64::from(f32::from_bits(half << 16));
    let single = f64::from(f32::from_bits(1));
    let normal = f64::from(f32::MIN_POSITIVE);
    assert_eq!(
        numbers(FloatFormat::F64),
        [
            f64::from_bits(1),
            f64::MIN_POSITIVE,
            f64::MAX,
            f64::EPSILON / 2.0
        ]
    );
    let epsilon = f64::from(f32::EPSILON);
    assert_eq!(
        numbers(FloatFormat::F32),
        [single, normal, f64::from(f32::MAX), epsilon / 2.0]
    );
    assert_eq!(
        numbers(FloatFormat::F16),
        [2f64.powi(-24), 2f64.powi(-14), 65504.0, 2f64.powi(-11)]
    );
    let step = upper(0x3f81) - 1.0;
    assert_eq!(
        numbers(FloatFormat::BF16),
        [upper(1), normal, upper(0x7f7f), step / 2.0]
    );
    // Ten bits after the point in place of 23.
    let longer = |x: f64| x * 2f64.powi(13);
    let largest = f64::from(f32::from_bits(f32::MAX.to_bits() & !0x1fff));
    assert_eq!(
        numbers(FloatFormat::TF32),
        [longer(single), normal, largest, longer(epsilon / 2.0)]
    );
}

/// The same numbers as what rounding does: the largest is held, and half a unit above it is
/// infinite; the smallest is held, and half of it is not.
#[test]
fn numbers_and_rounding_agree() {
    for format in FloatFormat::ALL {
        let half_unit = format.unit_in_the_last_place(format.largest()) / 2.0;
        assert!(format.holds(format.largest()), "{format}");
        let beyond = format.round(format.largest() + half_unit);
        assert!(beyond.is_infinite(), "{format}: {beyond:e}");
        assert!(!format.holds(f64::INFINITY) && !format.holds(f64::NAN));
        let [smallest, half] = [format.smallest(), format.half_smallest()];
        assert!(format.holds(smallest) && format.holds(-smallest) && format.holds(-0.0));
        if format == FloatFormat::F64 {
            assert_eq!(half, smallest);
            continue;
        }
        assert_eq!(2.0 * half, smallest, "{format}");
        assert_eq!(format.round(half), 0.0, "{format}");
        assert_eq!(format.round(half.next_up()), smallest, "{format}");
        let one = 1.0 + format.unit_roundoff();
        assert_eq!(format.round(one), 1.0, "{format}");
        assert!(format.round(one.next_up()) > one, "{format}");
    }
}

#[test]
fn units_in_the_last_place_are_distances_of_neighbours() {
    for x in [1.0, 1.9999, -3.0, 0.1, 65472.0, 2f64.powi(-14), 1e-5, 0.0] {
        let format = FloatFormat::F16;
        // Rounded towards zero, which stays in the binade.
        let bits = format.encode(x.abs());
        let bits = bits - u64::from(format.decode(bits) > x.abs());
        let apart = format.decode(bits + 1) - format.decode(bits);
        assert_eq!(format.unit_in_the_last_place(x), apart, "{x}");
    }
    for x in [1.0, 0.3, f64::MIN_POSITIVE, f64::from_bits(5), 0.0] {
        let apart = f64::from_bits(x.to_bits() + 1) - x;
        assert_eq!(FloatFormat::F64.unit_in_the_last_place(x), apart, "{x:e}");
    }
}

#[test]
fn names_are_read_back() {
    for format in FloatFormat::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    let error = "F16".parse::<FloatFormat>().expect_err("no such name");
    assert_eq!(
        error.to_string(),
        "floating-point format: unknown value \"F16\"; expected one of f64, f32, tf32, f16, bf16"
    );
}

/// Half of the smallest number may be subnormal itself, and subnormal numbers those of `f64`.
#[test]
fn a_format_near_the_end_of_f64() {
    let quarter = FloatFormat::with_bits("upper quarter of f64", 11, 4);
    assert_eq!(quarter.half_smallest(), f64::MIN_POSITIVE / 32.0);
    for bits in 0..0x7ff0 {
        assert_eq!(quarter.decode(bits).to_bits(), bits << 48);
        assert_eq!(quarter.encode(quarter.decode(bits)), bits);
    }
}
