//! What is valid is read, and read right.

use super::{file, layout, with_name, with_shape};
use hungry_hippos::Error;
use hungry_hippos::safetensors::{Dtype, SafeTensors, TensorFile};
use std::fs;
use std::path::PathBuf;

/// Valid files that a hasty strict reader would refuse.
#[test]
fn what_is_valid_is_read() {
    let padded =
        |before: &str, after: &str| file(format!("{before}{}{after}", with_shape("[1]")), 8);
    let spaced =
        "\n{ \"w\" : {\t\"data_offsets\" : [ 0 , 8 ] ,\r\n\"shape\":[ 1 ],\"dtype\" :\"F64\" } }";
    let table: Vec<(&str, Vec<u8>, &str, &[usize])> = vec![
        ("plain", padded("", ""), "w", &[1]),
        (
            "padding that leaves the data unaligned",
            padded("", "   "),
            "w",
            &[1],
        ),
        ("whitespace before", padded(" \t\r\n", ""), "w", &[1]),
        ("whitespace after", padded("", " \t\r\n"), "w", &[1]),
        (
            "whitespace everywhere, fields in another order",
            file(spaced, 8),
            "w",
            &[1],
        ),
        ("scalar", file(with_shape("[]"), 8), "w", &[]),
        (
            "32 axes",
            file(with_shape(&format!("[{}1]", "1,".repeat(31))), 8),
            "w",
            &[1; 32],
        ),
        ("empty name", with_name(""), "", &[1]),
        ("NUL escaped", with_name(r"\u0000"), "\0", &[1]),
        (
            "every escape",
            with_name(r#"\"\\\/\b\f\n\r\t"#),
            "\"\\/\u{8}\u{c}\n\r\t",
            &[1],
        ),
        (
            "hexadecimal in both cases",
            with_name(r"a\u00e9\u00C9z"),
            "a\u{e9}\u{c9}z",
            &[1],
        ),
        (
            "surrogate pair",
            with_name(r"\uD83E\udd9b!"),
            "\u{1f99b}!",
            &[1],
        ),
        (
            "last character",
            with_name(r"\udbff\udfff"),
            "\u{10ffff}",
            &[1],
        ),
        (
            "first beyond the basic plane",
            with_name(r"\ud800\udc00"),
            "\u{10000}",
            &[1],
        ),
        (
            "raw text beyond ASCII, DEL",
            with_name("\u{1f99b}\u{7f}"),
            "\u{1f99b}\u{7f}",
            &[1],
        ),
        (
            "escaped backslash before u",
            with_name(r"\\u0041"),
            "\\u0041",
            &[1],
        ),
        (
            "almost the reserved name",
            with_name("__metadata"),
            "__metadata",
            &[1],
        ),
        ("name of a field", with_name("dtype"), "dtype", &[1]),
        (
            "tensors listed against the order of their data, an empty one between",
            file(
                layout(&[
                    ("last", "U8", "[3]", [8, 11]),
                    ("w", "F64", "[1]", [0, 8]),
                    ("none", "F64", "[5,0]", [8, 8]),
                ]),
                11,
            ),
            "w",
            &[1],
        ),
    ];
    let value = f64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]);
    for (what, bytes, name, shape) in table {
        let read = SafeTensors::from_bytes(bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
        let tensor = read.tensor(name).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(tensor.shape, shape, "{what}");
        assert_eq!(
            tensor.to_f64().unwrap()[0].to_bits(),
            value.to_bits(),
            "{what}"
        );
        assert_eq!(tensor.bytes, [0, 1, 2, 3, 4, 5, 6, 7], "{what}");
    }
    for empty in ["{}", " { } ", r#"{"__metadata__":{}}"#] {
        let read = SafeTensors::from_bytes(file(empty, 0)).unwrap();
        assert_eq!(
            (read.names().len(), read.metadata().len()),
            (0, 0),
            "{empty}"
        );
    }
    let two_pairs = r#"{"__metadata__":{"b":"\u00e9","a":"","":"x"}}"#;
    let read = SafeTensors::from_bytes(file(two_pairs, 0)).unwrap();
    let pairs: Vec<_> = read.metadata().iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(pairs, [("", "x"), ("a", ""), ("b", "\u{e9}")]);
}

#[test]
fn a_header_of_the_greatest_length_is_read() {
    let mut header = vec![b' '; 100_000_000];
    header[..2].copy_from_slice(b"{}");
    assert_eq!(
        SafeTensors::from_bytes(file(header, 0))
            .unwrap()
            .names()
            .len(),
        0
    );
}

/// Each type the format knows: its name and the bits of one element (README and the reference
/// library's enum, smallest alignment first), and whether its values are decoded.
const DTYPES: [(&str, usize, Option<&str>); 22] = [
    ("BOOL", 8, None),
    ("F4", 4, None),
    ("F6_E2M3", 6, None),
    ("F6_E3M2", 6, None),
    ("U8", 8, None),
    ("I8", 8, None),
    ("F8_E5M2", 8, None),
    ("F8_E4M3", 8, None),
    ("F8_E8M0", 8, None),
    ("F8_E4M3FNUZ", 8, None),
    ("F8_E5M2FNUZ", 8, None),
    ("I16", 16, None),
    ("U16", 16, None),
    ("F16", 16, Some("float")),
    ("BF16", 16, Some("float")),
    ("I32", 32, None),
    ("U32", 32, None),
    ("F32", 32, Some("float")),
    ("C64", 64, None),
    ("F64", 64, Some("float")),
    ("I64", 64, Some("integer")),
    ("U64", 64, None),
];

#[test]
fn every_type_is_listed_and_five_are_decoded() {
    let mut before = None;
    for (name, bits, decoded) in DTYPES {
        let dtype = Dtype::from_name(name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!((dtype.name(), dtype.bits()), (name, bits));
        assert!(before < Some(dtype), "{name} is out of order");
        before = Some(dtype);

        // Four elements are a whole number of bytes in each.
        let len = (bits / 2) as u64;
        let bytes = file(layout(&[("w", name, "[2,2]", [0, len])]), len as usize);
        let read = SafeTensors::from_bytes(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let tensor = read.tensor("w").unwrap();
        assert_eq!((tensor.dtype, tensor.bytes.len() as u64), (dtype, len));
        let (floats, integers) = (tensor.to_f64(), tensor.to_i64());
        assert_eq!(floats.is_ok(), decoded == Some("float"), "{name}");
        assert_eq!(integers.is_ok(), decoded == Some("integer"), "{name}");
        let refusal = |expected: &str| Error::Unsupported {
            why: format!("tensor \"w\" holds {name}, where {expected} is expected"),
        };
        match floats {
            Ok(values) => assert_eq!(values.len(), 4, "{name}"),
            Err(error) => assert_eq!(error, refusal("F64, F32, F16 or BF16")),
        }
        match integers {
            Ok(values) => assert_eq!(values.len(), 4, "{name}"),
            Err(error) => assert_eq!(error, refusal("I64")),
        }
    }
}

#[test]
fn values_are_decoded_little_endian_and_exactly() {
    let cases: [(&str, &[u8], &[f64]); 4] = [
        (
            "F64",
            &[0x18, 0x2d, 0x44, 0x54, 0xfb, 0x21, 0x09, 0xc0],
            &[-core::f64::consts::PI],
        ),
        (
            "F32",
            // 1/3 rounded to 24 bits is 11184811 / 2^25; then the least subnormal, -inf.
            &[0xab, 0xaa, 0xaa, 0x3e, 1, 0, 0, 0, 0, 0, 0x80, 0xff],
            &[
                11_184_811.0 / 33_554_432.0,
                f64::from_bits(0x36a0 << 48),
                f64::NEG_INFINITY,
            ],
        ),
        (
            "F16",
            &[0xff, 0x7b, 1, 0, 0, 0x7c],
            &[65504.0, 1.0 / 16_777_216.0, f64::INFINITY],
        ),
        (
            "BF16",
            &[0x49, 0x40, 0, 0x80, 1, 0],
            &[3.140625, -0.0, f64::from_bits(0x37a0 << 48)],
        ),
    ];
    for (dtype, data, expected) in cases {
        let header = layout(&[(
            "w",
            dtype,
            &format!("[{}]", expected.len()),
            [0, data.len() as u64],
        )]);
        let mut bytes = file(header, 0);
        bytes.extend_from_slice(data);
        let read = SafeTensors::from_bytes(bytes).unwrap();
        let values = read.tensor("w").unwrap().to_f64().unwrap();
        let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&values), bits(expected), "{dtype}");
    }
    for (dtype, data) in [
        ("F64", &[1, 0, 0, 0, 0, 0, 0xf8, 0xff][..]),
        ("F32", &[1, 0, 0xc0, 0xff]),
        ("F16", &[1, 0xfe]),
        ("BF16", &[0xc1, 0xff]),
    ] {
        let mut bytes = file(layout(&[("w", dtype, "[]", [0, data.len() as u64])]), 0);
        bytes.extend_from_slice(data);
        let read = SafeTensors::from_bytes(bytes).unwrap();
        let [value] = read.tensor("w").unwrap().to_f64().unwrap()[..] else {
            panic!("{dtype}: one value");
        };
        assert!(
            value.is_nan() && value.is_sign_negative(),
            "{dtype}: {value}"
        );
    }
    let mut bytes = file(layout(&[("i", "I64", "[2]", [0, 16])]), 0);
    bytes.extend([
        0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0x80,
    ]);
    let read = SafeTensors::from_bytes(bytes).unwrap();
    assert_eq!(read.tensor("i").unwrap().to_i64().unwrap(), [-2, i64::MIN]);
}

/// Every integer type that 64 bits with a sign hold, with the sign it has; no other.
#[test]
fn integers_of_every_width_keep_their_sign() {
    let bytes = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for (dtype, size, expected) in [
        ("I64", 8, Some(-2)),
        ("I32", 4, Some(-2)),
        ("I16", 2, Some(-2)),
        ("I8", 1, Some(-2)),
        ("U32", 4, Some(0xffff_fffe)),
        ("U16", 2, Some(0xfffe)),
        ("U8", 1, Some(0xfe)),
        ("U64", 8, None),
        ("F32", 4, None),
        ("BOOL", 1, None),
    ] {
        let mut written = file(layout(&[("i", dtype, "[1]", [0, size as u64])]), 0);
        written.extend(&bytes[..size]);
        let read = SafeTensors::from_bytes(written).unwrap();
        let values = read.tensor("i").unwrap().to_integers();
        match expected {
            Some(value) => assert_eq!(values.unwrap(), [value], "{dtype}"),
            None => assert!(
                values.unwrap_err().to_string().contains(dtype),
                "{dtype} is named"
            ),
        }
    }
}

/// Tensors longer than what is read at once are the same if their own bytes are, whatever stands behind
/// them, and are not where the last byte differs.
#[test]
fn long_tensors_are_compared_to_their_ends() {
    let len = (1 << 20) + 3;
    let shape = format!("[{len}]");
    let names = ["a", "between", "b", "c"];
    let at = |i: usize| [(i * len) as u64, ((i + 1) * len) as u64];
    let tensors: Vec<_> = (0..4)
        .map(|i| (names[i], "U8", &shape[..], at(i)))
        .collect();
    let mut bytes = file(layout(&tensors), 0);
    // `c` differs at its end alone. What follows `a` is not what follows `b`.
    for (fill, last) in [(1, 7), (2, 2), (1, 7), (1, 8)] {
        bytes.extend(vec![fill; len - 1]);
        bytes.push(last);
    }
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("long.safetensors");
    fs::write(&path, &bytes).unwrap();
    let read = TensorFile::open(&path).unwrap();
    assert!(read.same("a", "b").unwrap() && read.same("b", "b").unwrap());
    assert!(!read.same("a", "c").unwrap() && !read.same("c", "b").unwrap());
    fs::remove_file(path).unwrap();
}

/// The same bytes are the same tensor only if type and shape are the same.
#[test]
fn bytes_of_another_type_or_shape_are_not_the_same() {
    let tensors = [
        ("a", "F32", "[2,3]", [0, 24]),
        ("b", "F32", "[2,3]", [24, 48]),
        ("shape", "F32", "[3,2]", [48, 72]),
        ("type", "I32", "[2,3]", [72, 96]),
    ];
    let mut bytes = file(layout(&tensors), 0);
    bytes.extend([0; 96]);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("same.safetensors");
    fs::write(&path, &bytes).unwrap();
    let read = TensorFile::open(&path).unwrap();
    assert!(read.same("a", "b").unwrap());
    for other in ["shape", "type"] {
        assert!(!read.same("a", other).unwrap(), "{other}");
    }
    fs::remove_file(path).unwrap();
}

/// What is printed for a person to look at says what a file holds, not all its numbers.
#[test]
fn a_file_prints_without_its_data() {
    let mut bytes = file(layout(&[("w", "F64", "[2]", [0, 16])]), 0);
    bytes.extend([0; 16]);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("printed.safetensors");
    fs::write(&path, &bytes).unwrap();
    let whole = format!("{:?}", SafeTensors::from_bytes(bytes).unwrap());
    assert!(
        whole.contains("\"w\"") && whole.contains("data_len: 16"),
        "{whole}"
    );
    let on_disk = TensorFile::open(&path).unwrap();
    assert_eq!(on_disk.path(), path.display().to_string());
    let printed = format!("{on_disk:?}");
    assert!(
        printed.contains("\"w\"") && printed.contains("printed.safetensors"),
        "{printed}"
    );
    for text in [whole, printed] {
        assert!(text.len() < 400, "{text}");
    }
}

#[test]
fn an_absent_tensor_is_named() {
    let read = SafeTensors::from_bytes(with_name("w")).unwrap();
    assert!(read.get("v").is_none());
    let what = "tensor \"v\"".to_owned();
    assert_eq!(read.tensor("v").unwrap_err(), Error::Missing { what });
}

/// A file of the official PyTorch layer, written by Python's safetensors.
#[test]
fn a_real_file_is_read() {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/layer-v5-hd4-L1.safetensors");
    let opened = SafeTensors::open(&path).unwrap();
    let in_memory = SafeTensors::from_bytes(fs::read(&path).unwrap()).unwrap();
    for read in [opened, in_memory] {
        assert_eq!(read.names().len(), 52);
        assert!(read.names().is_sorted());
        assert!(read.tensors().all(|tensor| tensor.dtype == Dtype::F64));
        assert_eq!(read.metadata().len(), 24);
        for (key, value) in [
            ("d_model", "8"),
            ("head_dim", "4"),
            ("disc", "bilinear"),
            ("l_max", "none"),
        ] {
            assert_eq!(read.metadata()[key], value);
        }
        let shapes: [(&str, &[usize]); 5] = [
            ("D", &[2]),
            ("input", &[2, 1, 8]),
            ("kv", &[2, 4, 4, 2, 1]),
            ("ssm_k_kernel.kernel.C", &[1, 8, 4]),
            ("kernel.kernel.B", &[2, 2, 2]),
        ];
        for (name, shape) in shapes {
            assert_eq!(read.tensor(name).unwrap().shape, shape, "{name}");
        }
        // The first data in the file: 7d a3 49 e6 f5 39 f4 bf, 68 8d d4 47 c2 66 f3 3f.
        let d = read.tensor("D").unwrap().to_f64().unwrap();
        let bits: Vec<u64> = d.iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, [0xbff4_39f5_e649_a37d, 0x3ff3_66c2_47d4_8d68]);
    }
}

#[test]
fn open_names_the_file_and_what_is_wrong() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("safetensors-open");
    fs::create_dir_all(&directory).unwrap();
    let path = directory.join("case.safetensors");
    let check = |expected: &str| {
        let Err(Error::File { path: named, why }) = SafeTensors::open(&path) else {
            panic!("not an error of a file: {expected}");
        };
        assert_eq!(named, path.display().to_string());
        assert!(why.contains(expected), "{why}\n  expected: {expected}");
    };
    drop(fs::remove_file(&path));
    check(""); // No such file: the system's words.
    for (bytes, expected) in [
        (vec![1; 7], "7 bytes; a safetensors file has at least 8"),
        (
            10_000_000_000u64.to_le_bytes().to_vec(),
            "10000000000 bytes are announced, more than",
        ),
        (
            100_000_000u64.to_le_bytes().to_vec(),
            "announced, but the file has 0",
        ),
        (file("{\"a", 0), "a string is not closed"),
        (file("{}", 1), "1 too many"),
        (file(with_shape("[1]"), 7), "1 too few"),
    ] {
        fs::write(&path, bytes).unwrap();
        check(expected);
    }
    let Err(Error::File { why, .. }) = SafeTensors::open(&directory) else {
        panic!("a directory was opened");
    };
    assert_eq!(why, "not a regular file");
    fs::write(&path, file(with_shape("[1]"), 8)).unwrap();
    let read = SafeTensors::open(&path).unwrap();
    assert_eq!(read.tensor("w").unwrap().bytes, [0, 1, 2, 3, 4, 5, 6, 7]);
    fs::remove_dir_all(&directory).unwrap();
}
