//! Any bytes: random ones, random headers, and mutations of a valid file.

use super::{entries, file};
use hungry_hippos::safetensors::SafeTensors;
use proptest::prelude::*;

/// Reads any bytes. If they pass for a file, the tensors must cover the data exactly, and every
/// view must be usable.
fn read_anything(bytes: Vec<u8>) -> bool {
    let file_len = bytes.len();
    let header_len = bytes
        .first_chunk()
        .map_or(0, |&prefix| u64::from_le_bytes(prefix)) as usize;
    let Ok(read) = SafeTensors::from_bytes(bytes) else {
        return false;
    };
    let mut data_len = 0;
    for tensor in read.tensors() {
        let elements: usize = tensor.shape.iter().product();
        assert_eq!(elements * tensor.dtype.bits(), tensor.bytes.len() * 8);
        if let Ok(values) = tensor.to_f64() {
            assert_eq!(values.len(), elements);
        }
        data_len += tensor.bytes.len();
    }
    assert_eq!(8 + header_len + data_len, file_len);
    true
}

/// A valid file with a bit of everything, for mutations to begin from.
fn seed_file() -> Vec<u8> {
    let header = format!(
        r#"{{{},{},{}}}  "#,
        r#""__metadata__":{"a\u00e9":"\ud83e\udd9b","b":""}"#,
        entries(&[("f", "F16", "[2,3]", [0, 12]), ("s", "I64", "[]", [12, 20])]),
        r#""n\n":{"shape":[0,7],"data_offsets":[20,20],"dtype":"BF16"}"#,
    );
    file(header, 20)
}

#[test]
fn the_seed_of_the_mutations_is_valid() {
    assert!(read_anything(seed_file()));
}

/// Pieces of headers, for files that get further than random bytes do.
#[rustfmt::skip]
const PIECES: [&str; 30] = [
    "{", "}", "[", "]", ":", ",", "\"", "\\", " ", "0", "1", "8", "-", "18446744073709551615",
    "9223372036854775808", "\"w\"", "\"dtype\"", "\"shape\"", "\"data_offsets\"", "\"F64\"",
    "\"F4\"", "\"__metadata__\"", "\"w\":{", "\"dtype\":\"F64\"", "\"shape\":[1]", "\"shape\":[]",
    "\"data_offsets\":[0,8]", "\"data_offsets\":[8,16]", "\\ud800", "\u{1f99b}",
];

#[derive(Clone, Debug)]
enum Mutation {
    Set(u8),
    Flip(u8),
    Insert(&'static str),
    Delete(usize),
    Truncate,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        any::<u8>().prop_map(Mutation::Set),
        (0u8..8).prop_map(Mutation::Flip),
        prop::sample::select(&PIECES[..]).prop_map(Mutation::Insert),
        (1usize..20).prop_map(Mutation::Delete),
        Just(Mutation::Truncate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_anything(bytes);
    }

    #[test]
    fn random_headers_do_not_panic(
        header in prop::collection::vec(any::<u8>(), 0..300),
        data_len in 0usize..20,
    ) {
        read_anything(file(header, data_len));
    }

    #[test]
    fn headers_of_random_pieces_do_not_panic(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40),
        data_len in prop::sample::select(&[0usize, 8, 16][..]),
    ) {
        read_anything(file(format!("{{{}", pieces.concat()), data_len));
    }

    /// With the header's length kept right, so that what is tested lies behind it, or not.
    #[test]
    fn mutated_files_do_not_panic(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), mutation()), 1..5),
        mend_length in any::<bool>(),
    ) {
        let mut bytes = seed_file();
        let data_len = 20;
        for (place, mutation) in mutations {
            let at = place.index(bytes.len().max(1)).min(bytes.len());
            match mutation {
                Mutation::Set(byte) => if let Some(b) = bytes.get_mut(at) { *b = byte },
                Mutation::Flip(bit) => if let Some(b) = bytes.get_mut(at) { *b ^= 1 << bit },
                Mutation::Insert(piece) => drop(bytes.splice(at..at, piece.bytes())),
                Mutation::Delete(count) => {
                    let end = (at + count).min(bytes.len());
                    bytes.drain(at..end);
                }
                Mutation::Truncate => bytes.truncate(at),
            }
        }
        if mend_length && bytes.len() >= 8 + data_len {
            let len = (bytes.len() - 8 - data_len) as u64;
            bytes[..8].copy_from_slice(&len.to_le_bytes());
        }
        read_anything(bytes);
    }
}
