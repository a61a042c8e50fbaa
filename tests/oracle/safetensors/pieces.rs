//! The list of types is whole, and no fewer bytes are read than are announced.

use hungry_hippos::safetensors::{ALL, Dtype, read_len};
use std::io;

/// A file can shrink after its length was asked for.
#[test]
fn fewer_bytes_than_announced_are_an_error() {
    assert_eq!(read_len(&b"abc"[..], 2).unwrap(), b"ab");
    assert_eq!(read_len(&b"abc"[..], 3).unwrap(), b"abc");
    let kind = read_len(&b"abc"[..], 4).unwrap_err().kind();
    assert_eq!(kind, io::ErrorKind::UnexpectedEof);
}

#[test]
fn all_lists_every_type_in_the_order_of_the_enum() {
    for (i, dtype) in ALL.into_iter().enumerate() {
        assert_eq!(dtype as usize, i, "{dtype}");
    }
    // `U64` is declared last, so its discriminant counts the variants before it.
    assert_eq!(ALL.len(), Dtype::U64 as usize + 1);
}
