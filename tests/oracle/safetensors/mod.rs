//! Reading safetensors: every rule of the format has a file that breaks it and nothing else, and
//! no bytes whatever make the reader panic.

mod anything;
mod malformed;
mod pieces;
mod valid;
mod writer;

/// A file of this header and `data_len` bytes of data.
pub(crate) fn file(header: impl AsRef<[u8]>, data_len: usize) -> Vec<u8> {
    let header = header.as_ref();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.extend((0..data_len).map(|i| i as u8));
    bytes
}

/// A header with one tensor `w`, of these fields.
pub(crate) fn one(fields: &str) -> String {
    format!(r#"{{"w":{{{fields}}}}}"#)
}

/// A tensor of 8 bytes that is valid at `begin`.
pub(crate) fn good(name: &str, begin: usize) -> String {
    format!(
        r#""{name}":{{"dtype":"F64","shape":[1],"data_offsets":[{begin},{}]}}"#,
        begin + 8
    )
}

/// The header of [`one`] with this shape.
pub(crate) fn with_shape(shape: &str) -> String {
    one(&format!(
        r#""dtype":"F64","shape":{shape},"data_offsets":[0,8]"#
    ))
}

pub(crate) fn with_offsets(offsets: &str) -> String {
    one(&format!(
        r#""dtype":"F64","shape":[1],"data_offsets":{offsets}"#
    ))
}

pub(crate) fn with_dtype(dtype: &str) -> String {
    one(&format!(
        r#""dtype":{dtype},"shape":[1],"data_offsets":[0,8]"#
    ))
}

/// A file whose one tensor has this name, as written between quotes.
pub(crate) fn with_name(name: &str) -> Vec<u8> {
    file(format!("{{{}}}", good(name, 0)), 8)
}

/// Entries of a header for tensors of these types, shapes and offsets.
pub(crate) fn entries(tensors: &[(&str, &str, &str, [u64; 2])]) -> String {
    let entries: Vec<String> = tensors
        .iter()
        .map(|(name, dtype, shape, [begin, end])| {
            format!(
                r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#
            )
        })
        .collect();
    entries.join(",")
}

/// A header with nothing else.
pub(crate) fn layout(tensors: &[(&str, &str, &str, [u64; 2])]) -> String {
    format!("{{{}}}", entries(tensors))
}
