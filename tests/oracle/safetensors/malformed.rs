//! Each rule, and files that break it.

use super::{file, good, layout, one, with_dtype, with_name, with_offsets, with_shape};
use hungry_hippos::safetensors::SafeTensors;

fn refusal(bytes: Vec<u8>) -> Result<String, SafeTensors> {
    SafeTensors::from_bytes(bytes).map_or_else(|error| Ok(error.to_string()), Err)
}

/// (what is wrong, the file, what the message must say)
type Malformed = (&'static str, Vec<u8>, &'static str);

/// Checks that each file is refused for the reason given. The message is part of the check: a
/// file refused for another reason would not test its rule.
fn assert_refused(table: Vec<Malformed>) {
    for (name, bytes, expected) in table {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
        match refusal(bytes) {
            Ok(message) => assert!(
                message.contains(expected),
                "{name}: {shown}\n  says: {message}\n  expected: {expected}"
            ),
            Err(read) => panic!("{name}: {shown}\n  was read: {read:?}"),
        }
    }
}

#[test]
#[rustfmt::skip]
fn framing_is_checked() {
    let announce = |len: u64| len.to_le_bytes().to_vec();
    let mut long = file("{}", 0);
    long[0] = 3;
    assert_refused(vec![
        ("empty file", vec![], "0 bytes; a safetensors file has at least 8"),
        ("7 bytes", vec![0; 7], "7 bytes; a safetensors file has at least 8"),
        ("no header", announce(0), "expected an object, found the end of the header"),
        ("one byte above the limit", announce(100_000_001), "100000001 bytes are announced, more than the 100000000"),
        ("ten gigabytes", announce(10_000_000_000), "10000000000 bytes are announced, more than"),
        ("almost 2^64", announce(u64::MAX), "18446744073709551615 bytes are announced, more than"),
        ("2^64 - 8: plus 8 wraps to 0", announce(u64::MAX - 7), "bytes are announced, more than"),
        ("at the limit, but not there", announce(100_000_000), "announced, but the file has 0 after its first 8"),
        ("header one byte too long", long, "3 bytes are announced, but the file has 2"),
        ("not UTF-8", file(b"{\"\xff\":{}}", 0), "not UTF-8 (at byte 2 of the header)"),
        ("a surrogate in UTF-8", file(b"{\"\xed\xa0\x80\":{}}", 0), "not UTF-8 (at byte 2"),
        ("UTF-16", file(b"{\0}\0", 0), "expected a string, found '\\0'"),
        ("byte order mark", file("\u{feff}{}", 0), "expected an object"),
    ]);
}

#[test]
#[rustfmt::skip]
fn json_is_checked() {
    let deep = "[".repeat(1_000_000);
    assert_refused(vec![
        ("only whitespace", file("        ", 0), "expected an object, found the end"),
        ("no JSON", file("hello", 0), "expected an object, found 'h'"),
        ("array", file("[]", 0), "expected an object, found '['"),
        ("null", file("null", 0), "expected an object"),
        ("form feed is not whitespace", file("{}\u{c}", 0), "expected nothing but whitespace after"),
        ("NUL padding", file("{}\0\0\0\0\0\0", 0), "expected nothing but whitespace after"),
        ("second object", file("{}{}", 0), "expected nothing but whitespace after the closing '}', found '{'"),
        ("not closed", file("{", 0), "expected a string, found the end"),
        ("tensor not closed", file(r#"{"w":{"dtype":"F64""#, 0), "expected ',' or '}', found the end"),
        ("trailing comma", file(format!("{{{},}}", good("w", 0)), 8), "expected a string, found '}'"),
        ("leading comma", file("{,}", 0), "expected a string, found ','"),
        ("no comma", file(format!("{{{} {}}}", good("v", 0), good("w", 8)), 16), "expected ',' or '}', found '\"'"),
        ("no colon", file(r#"{"w" {}}"#, 0), "expected ':' after \"w\", found '{'"),
        ("key is no string", file("{w:{}}", 0), "expected a string, found 'w'"),
        ("single quotes", file("{'w':{}}", 0), "expected a string, found '''"),
        ("comment", file("{/**/}", 0), "expected a string, found '/'"),
        ("mismatched bracket", file("{]", 0), "expected a string, found ']'"),
        ("deep arrays for a header", file(&deep, 0), "expected an object, found '['"),
        ("deep arrays for a tensor", file(format!(r#"{{"w":{deep}"#), 0), "\"w\": expected an object, found '['"),
        ("deep arrays in a shape", file(format!(r#"{{"w":{{"shape":{deep}"#), 0), "shape: expected a non-negative integer, found '['"),
        ("deep objects in metadata", file(format!(r#"{{"__metadata__":{}"#, r#"{"a":"#.repeat(300_000)), 0), "expected a string, found '{'"),
        ("deep value of an unknown field", file(format!(r#"{{"w":{{"x":{deep}"#), 0), "unknown field \"x\""),
    ]);
}

#[test]
#[rustfmt::skip]
fn strings_are_checked() {
    assert_refused(vec![
        ("not closed", file(r#"{"w"#, 0), "a string is not closed"),
        ("ends in a backslash", file(r#"{"w\"#, 0), "a string is not closed"),
        ("closing quote escaped", file(r#"{"w\":{}}"#, 0), "a string is not closed"),
        ("raw newline", with_name("a\nb"), "raw control character '\\n'"),
        ("raw NUL", with_name("a\0b"), "raw control character '\\0'"),
        ("raw 0x1f", with_name("a\u{1f}b"), "raw control character '\\u{1f}'"),
        ("raw tab in metadata", file("{\"__metadata__\":{\"a\":\"\t\"}}", 0), "raw control character '\\t'"),
        ("control character after a backslash", with_name("\\\n"), "expected an escape"),
        ("unknown escape", with_name(r"\x41"), "expected an escape, one of"),
        ("escape in capitals", with_name(r"\N"), "expected an escape, one of"),
        ("letter beyond ASCII escaped", with_name("\\\u{e9}"), "expected an escape, one of"),
        ("three digits", with_name(r"\u004"), "expected four hexadecimal digits after \\u, found '\"'"),
        ("sign among digits", with_name(r"\u+041"), "expected four hexadecimal digits after \\u, found '+'"),
        ("braces", with_name(r"\u{41}"), "expected four hexadecimal digits after \\u, found '{'"),
        ("high surrogate alone", with_name(r"\ud83e"), "lone surrogate \\ud83e"),
        ("high surrogate, then a letter", with_name(r"\ud83ex"), "lone surrogate \\ud83e"),
        ("high surrogate, then an escape", with_name(r"\ud83e\n"), "lone surrogate \\ud83e"),
        ("high surrogate, then a character", with_name(r"\ud83e\u0041"), "lone surrogate \\ud83e"),
        ("high surrogate, then what comes after the low ones", with_name(r"\ud83e\ue000"), "lone surrogate \\ud83e"),
        ("high surrogate, then what comes before them", with_name(r"\ud83e\udbff"), "lone surrogate \\ud83e"),
        ("two high surrogates", with_name(r"\ud83e\ud83e"), "lone surrogate \\ud83e"),
        ("low surrogate alone", with_name(r"\udd9b"), "lone surrogate \\udd9b"),
        ("surrogates swapped", with_name(r"\udd9b\ud83e"), "lone surrogate \\udd9b"),
        ("half a low surrogate", with_name(r"\ud83e\udd9"), "expected four hexadecimal digits"),
        ("lone surrogate in metadata", file(r#"{"__metadata__":{"a":"\udc00"}}"#, 0), "__metadata__: \"a\": lone surrogate \\udc00"),
    ]);
}

#[test]
#[rustfmt::skip]
fn keys_are_unique_at_every_level_after_unescaping() {
    let double = |a: &str, b: &str| file(format!("{{{},{}}}", good(a, 0), good(b, 8)), 16);
    let field = |extra: &str| {
        let fields = r#""dtype":"F64","shape":[1],"data_offsets":[0,8]"#;
        file(one(&format!("{fields},{extra}")), 8)
    };
    assert_refused(vec![
        ("tensor", double("w", "w"), "\"w\" appears twice"),
        ("tensor, one escaped", double("w", r"\u0077"), "\"w\" appears twice"),
        ("tensor, pair and raw", double("\u{1f99b}", r"\ud83e\udd9b"), "appears twice"),
        // The layout check cannot see these two: they are empty or take the same place.
        ("empty tensor", file(layout(&[("w", "F64", "[0]", [0, 0]), ("w", "F64", "[0]", [0, 0])]), 0), "\"w\" appears twice"),
        ("tensor, same bytes", file(format!("{{{},{}}}", good("w", 0), good("w", 0)), 8), "\"w\" appears twice"),
        ("dtype", field(r#""dtype":"F64""#), "field \"dtype\" appears twice"),
        ("shape", field(r#""shape":[1]"#), "field \"shape\" appears twice"),
        ("data_offsets", field(r#""data_offsets":[0,8]"#), "field \"data_offsets\" appears twice"),
        ("field, one escaped", field(r#""sh\u0061pe":[1]"#), "field \"shape\" appears twice"),
        ("metadata string", file(r#"{"__metadata__":{"a":"1","\u0061":"1"}}"#, 0), "__metadata__: \"a\" appears twice"),
        ("metadata", file(r#"{"__metadata__":{},"__metadata__":{}}"#, 0), "__metadata__ appears twice"),
        ("metadata, one escaped", file(r#"{"__metadata__":{},"\u005f_metadata__":{}}"#, 0), "__metadata__ appears twice"),
    ]);
}

#[test]
#[rustfmt::skip]
fn metadata_is_checked() {
    let metadata = |value: &str| file(format!(r#"{{"__metadata__":{value}}}"#), 0);
    assert_refused(vec![
        ("null", metadata("null"), "__metadata__: expected an object, found 'n'"),
        ("string", metadata(r#""a""#), "__metadata__: expected an object"),
        ("array", metadata("[]"), "__metadata__: expected an object"),
        ("number in it", metadata(r#"{"a":1}"#), "__metadata__: \"a\": expected a string, found '1'"),
        ("null in it", metadata(r#"{"a":null}"#), "expected a string, found 'n'"),
        ("true in it", metadata(r#"{"a":true}"#), "expected a string, found 't'"),
        ("object in it", metadata(r#"{"a":{}}"#), "expected a string, found '{'"),
        ("array in it", metadata(r#"{"a":[]}"#), "expected a string, found '['"),
        // A tensor of this name, as the reference library writes it, is taken for metadata.
        ("tensor of the reserved name", with_name("__metadata__"), "__metadata__: \"shape\": expected a string, found '['"),
    ]);
}

#[test]
#[rustfmt::skip]
fn fields_are_checked() {
    let dtype = r#""dtype":"F64""#;
    let shape = r#""shape":[1]"#;
    let offsets = r#""data_offsets":[0,8]"#;
    let fields = |fields: &[&str]| file(one(&fields.join(",")), 8);
    assert_refused(vec![
        ("no fields", fields(&[]), "\"w\": field data_offsets is missing"),
        ("no dtype", fields(&[shape, offsets]), "\"w\": field dtype is missing"),
        ("no shape", fields(&[dtype, offsets]), "\"w\": field shape is missing"),
        ("no offsets", fields(&[dtype, shape]), "\"w\": field data_offsets is missing"),
        ("unknown field", fields(&[dtype, shape, offsets, r#""strides":[1]"#]), "\"w\": unknown field \"strides\""),
        ("other case", fields(&[r#""Dtype":"F64""#, shape, offsets]), "unknown field \"Dtype\""),
        ("array for a tensor", file(r#"{"w":["F64",[1],[0,8]]}"#, 8), "\"w\": expected an object, found '['"),
        ("null for a tensor", file(r#"{"w":null}"#, 0), "\"w\": expected an object, found 'n'"),
        ("string for a tensor", file(r#"{"w":"F64"}"#, 0), "\"w\": expected an object, found '\"'"),
        ("number for a dtype", file(with_dtype("64"), 8), "dtype: expected a string, found '6'"),
        ("null for a dtype", file(with_dtype("null"), 8), "dtype: expected a string, found 'n'"),
        ("object for a dtype", file(with_dtype(r#"{"F64":null}"#), 8), "dtype: expected a string, found '{'"),
        ("unknown dtype", file(with_dtype(r#""C128""#), 8), "\"w\": dtype \"C128\" is not a data type of the format"),
        ("dtype in lower case", file(with_dtype(r#""f64""#), 8), "dtype \"f64\" is not a data type"),
        ("dtype with a space", file(with_dtype(r#""F64 ""#), 8), "dtype \"F64 \" is not a data type"),
        ("name of an enum, not of the format", file(with_dtype(r#""F8E4M3""#), 8), "dtype \"F8E4M3\" is not a data type"),
        ("number for a shape", file(with_shape("1"), 8), "shape: expected an array of integers, found '1'"),
        ("null for a shape", file(with_shape("null"), 8), "shape: expected an array of integers"),
        ("negative axis", file(with_shape("[-1]"), 8), "shape: expected a non-negative integer, found '-'"),
        ("minus zero", file(with_shape("[-0]"), 8), "shape: expected a non-negative integer, found '-'"),
        ("plus", file(with_shape("[+1]"), 8), "shape: expected a non-negative integer, found '+'"),
        ("fraction", file(with_shape("[1.0]"), 8), "shape: expected an integer without fraction or exponent, found '.'"),
        ("exponent", file(with_shape("[1e0]"), 8), "shape: expected an integer without fraction or exponent, found 'e'"),
        ("capital exponent", file(with_shape("[1E0]"), 8), "shape: expected an integer without fraction or exponent"),
        ("leading zero", file(with_shape("[01]"), 8), "shape: an integer must not begin with 0"),
        ("two zeros", file(with_shape("[00]"), 8), "shape: an integer must not begin with 0"),
        ("hexadecimal", file(with_shape("[0x1]"), 8), "shape: expected ',' or ']', found 'x'"),
        ("string axis", file(with_shape(r#"["1"]"#), 8), "shape: expected a non-negative integer, found '\"'"),
        ("null axis", file(with_shape("[null]"), 8), "shape: expected a non-negative integer, found 'n'"),
        ("nested axis", file(with_shape("[[1]]"), 8), "shape: expected a non-negative integer, found '['"),
        ("trailing comma", file(with_shape("[1,]"), 8), "shape: expected a non-negative integer, found ']'"),
        ("digits apart", file(with_shape("[1 1]"), 8), "shape: expected ',' or ']', found '1'"),
        ("2^64", file(with_shape("[18446744073709551616]"), 8), "shape: an integer exceeds"),
        ("many digits", file(with_shape(&format!("[{}]", "9".repeat(1000))), 8), "shape: an integer exceeds"),
        ("33 axes", file(with_shape(&format!("[{}1]", "1,".repeat(32))), 8), "shape: more than 32 numbers"),
        ("no number", file(with_offsets("[]"), 8), "data_offsets: expected two numbers, found 0"),
        ("one number", file(with_offsets("[8]"), 8), "data_offsets: expected two numbers, found 1"),
        ("three numbers", file(with_offsets("[0,8,8]"), 8), "data_offsets: more than 2 numbers"),
        ("negative begin", file(with_offsets("[-8,0]"), 8), "data_offsets: expected a non-negative integer"),
        ("object for offsets", file(with_offsets(r#"{"0":8}"#), 8), "data_offsets: expected an array of integers, found '{'"),
        ("end of 2^64", file(with_offsets("[0,18446744073709551616]"), 8), "data_offsets: an integer exceeds"),
        // 2^64 + 8: a wrapping parser would take it for 8.
        ("end that wraps to 8", file(with_offsets("[0,18446744073709551624]"), 8), "data_offsets: an integer exceeds"),
    ]);
}

#[test]
#[rustfmt::skip]
fn layout_is_checked() {
    let two = |a, b| file(layout(&[("a", "F64", "[1]", a), ("b", "F64", "[1]", b)]), 16);
    assert_refused(vec![
        ("first begins at 8", file(with_offsets("[8,16]"), 16), "tensor \"w\": hole in the data: bytes 0 to 8"),
        ("hole", two([0, 8], [9, 17]), "tensor \"b\": hole in the data: bytes 8 to 9"),
        ("hole, listed last first", two([9, 17], [0, 8]), "tensor \"a\": hole in the data: bytes 8 to 9"),
        ("overlap", two([0, 8], [7, 15]), "tensor \"b\": overlap: it begins at byte 7, and the tensor before it ends at 8"),
        ("same bytes", two([0, 8], [0, 8]), "overlap: it begins at byte 0, and the tensor before it ends at 8"),
        ("one inside the other", file(layout(&[("a", "F64", "[2]", [0, 16]), ("b", "F64", "[1]", [8, 16])]), 16), "tensor \"b\": overlap"),
        ("reversed", file(with_offsets("[8,0]"), 8), "tensor \"w\": data_offsets [8, 0] end before they begin"),
        ("empty tensor inside another", file(layout(&[("a", "F64", "[1]", [0, 8]), ("b", "F64", "[0]", [4, 4])]), 8), "tensor \"b\": overlap"),
        ("shape too small", file(with_shape("[]"), 8).into_iter().chain([0; 8]).collect(), "and 16 follow the header: 8 too many"),
        ("shape larger than offsets", file(with_shape("[2]"), 8), "tensor \"w\": F64 of shape [2] takes 16 bytes, and data_offsets [0, 8] give it 8"),
        ("empty tensor with bytes", file(with_shape("[0]"), 8), "F64 of shape [0] takes 0 bytes"),
        ("bytes for a narrower type", file(layout(&[("w", "F32", "[1]", [0, 8])]), 8), "F32 of shape [1] takes 4 bytes"),
        ("half a byte", file(layout(&[("w", "F4", "[3]", [0, 2])]), 2), "F4 of shape [3] takes 12 bits, not a whole number of bytes"),
        ("three quarters of a byte", file(layout(&[("w", "F6_E2M3", "[1]", [0, 1])]), 1), "takes 6 bits, not a whole number"),
        ("two bytes short", file(with_offsets("[0,8]"), 6), "the tensors take 8 bytes, and 6 follow the header: 2 too few"),
        ("one byte trailing", file(with_offsets("[0,8]"), 9), "the tensors take 8 bytes, and 9 follow the header: 1 too many"),
        ("data without tensors", file("{}", 4), "the tensors take 0 bytes, and 4 follow"),
    ]);
}

/// Numbers that are fine one by one, and overflow 64 bits when multiplied or added.
#[test]
#[rustfmt::skip]
#[cfg(target_pointer_width = "64")]
fn sizes_are_computed_without_overflow() {
    // The most bytes whose bits can be counted: 2^64 - 8 of them.
    const MOST: u64 = (1 << 61) - 1;
    let most = format!("[{MOST}]");
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let row: Vec<_> = (0..8).map(|i| (names[i], "U8", most.as_str(), [MOST * i as u64, MOST * (i as u64 + 1)])).collect();
    let empty = |dtype, shape| file(layout(&[("w", dtype, shape, [0, 0])]), 0);
    assert_refused(vec![
        // 2^64 elements, 0 after wrapping.
        ("axes", empty("U8", "[4294967296,4294967296]"), "tensor \"w\": the size of U8 of shape [4294967296, 4294967296] overflows"),
        ("axes, before the zero", empty("U8", "[9223372036854775808,2,0]"), "overflows"),
        // 2^58 elements of 64 bits, 0 after wrapping.
        ("bits", empty("F64", "[288230376151711744]"), "the size of F64 of shape [288230376151711744] overflows"),
        ("no overflow, but no data", file(layout(&row[..1]), 0), "the tensors take 2305843009213693951 bytes, and 0 follow the header: 2305843009213693951 too few"),
        // 8 (2^61 - 1) = 2^64 - 8: to add the eight bytes before the header wraps to 0.
        ("eight of them", file(layout(&row), 0), "the tensors take 18446744073709551608 bytes, and 0 follow the header: 18446744073709551608 too few"),
        ("offsets up to 2^64 - 1", file(layout(&[("w", "U8", "[1]", [0, u64::MAX])]), 0), "U8 of shape [1] takes 1 bytes, and data_offsets [0, 18446744073709551615] give it"),
    ]);
}

/// The limit on entries holds for tensors, for metadata and for both together.
#[test]
fn the_number_of_entries_is_limited() {
    let header = |tensors: usize, strings: usize| {
        let strings: Vec<_> = (0..strings).map(|i| format!(r#""{i}":"""#)).collect();
        let mut header = format!(r#"{{"__metadata__":{{{}}}"#, strings.join(","));
        for i in 0..tensors {
            header += &format!(r#","{i}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#);
        }
        file(header + "}", 0)
    };
    for (tensors, strings) in [(65_536, 0), (0, 65_536), (65_000, 536)] {
        let read = SafeTensors::from_bytes(header(tensors, strings)).unwrap();
        assert_eq!(
            (read.names().len(), read.metadata().len()),
            (tensors, strings)
        );
    }
    let expected = "more than 65536 tensors and metadata strings";
    assert_refused(vec![
        ("tensors", header(65_537, 0), expected),
        ("strings", header(0, 65_537), expected),
        ("both", header(65_000, 537), expected),
    ]);
}

/// A message stays short and printable whatever the name in the file.
#[test]
fn messages_quote_names_cut_and_escaped() {
    let message = refusal(file(
        format!(r#"{{"{}\n":0}}"#, "\u{1f99b}".repeat(1000)),
        0,
    ))
    .unwrap();
    assert!(message.len() < 500, "{message}");
    assert!(message.contains("...\": expected an object"), "{message}");
    let message = refusal(file(r#"{"a\n\u001b":0}"#, 0)).unwrap();
    assert!(message.contains(r#""a\n\u{1b}": expected"#), "{message}");
}
