//! A header: its fields, and the check that the tensors cover the data exactly.

use super::dtype::Dtype;
use super::json::{Cursor, Malformed, quoted};
use super::{MAX_ENTRIES, MAX_HEADER_LEN, MAX_RANK, METADATA_KEY};
use crate::error::Error;
use core::cmp::Ordering;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;

/// The bytes before the header: its length.
pub(super) const PREFIX_LEN: usize = 8;

/// The entry of one tensor in a header.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) dtype: Dtype,
    pub(super) shape: Box<[usize]>,
    /// The first byte of the tensor and the one after its last, counted from the end of the
    /// header.
    pub(super) begin: usize,
    pub(super) end: usize,
}

// The bound on memory beside `MAX_ENTRIES` rests on it.
const _: () = assert!(size_of::<(String, Entry)>() <= 64);

/// A header that has passed every check.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: BTreeMap<String, Entry>,
}

/// The length of the header that the first eight bytes announce, for a file of `file_len` bytes.
/// To be called before anything is allocated.
pub(super) fn announced_len(prefix: [u8; PREFIX_LEN], file_len: u64) -> Result<usize, Error> {
    let len = u64::from_le_bytes(prefix);
    let refused = |why| Err(Error::value("header length", why));
    if len > MAX_HEADER_LEN {
        return refused(format!(
            "{len} bytes are announced, more than the {MAX_HEADER_LEN} the format allows; is this \
             a safetensors file?"
        ));
    }
    let room = file_len.saturating_sub(PREFIX_LEN as u64);
    if len > room {
        return refused(format!(
            "{len} bytes are announced, but the file has {room} after its first {PREFIX_LEN}"
        ));
    }
    // At most MAX_HEADER_LEN, which fits any `usize` of 32 bits or more.
    usize::try_from(len).or_else(|_| refused(format!("{len} bytes do not fit in memory")))
}

/// Refuses a file too short to announce a header.
pub(super) fn too_short(file_len: u64) -> Error {
    Error::value(
        "file length",
        format!("{file_len} bytes; a safetensors file has at least {PREFIX_LEN}"),
    )
}

impl Header {
    /// Reads the header `bytes` (without the eight bytes before it) of a file in which `data_len`
    /// bytes follow.
    pub(super) fn parse(bytes: &[u8], data_len: u64) -> Result<Self, Error> {
        let text = core::str::from_utf8(bytes).map_err(|e| {
            Error::value(
                "header",
                format!("not UTF-8 (at byte {} of the header)", e.valid_up_to()),
            )
        })?;
        let header = Self::parse_json(text)?;
        header.check_layout(data_len)?;
        Ok(header)
    }

    fn parse_json(text: &str) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new("header", text);
        let mut header = Self {
            metadata: BTreeMap::new(),
            tensors: BTreeMap::new(),
        };
        let mut room = MAX_ENTRIES;
        let mut metadata_seen = false;
        cursor.object(|cursor, name| {
            if name == METADATA_KEY {
                if metadata_seen {
                    return Err(cursor.fault(format!("{METADATA_KEY} appears twice")));
                }
                metadata_seen = true;
                return cursor
                    .object(|cursor, key| {
                        insert(cursor, &mut header.metadata, &mut room, key, |cursor| {
                            cursor.string().map(Cow::into_owned)
                        })
                    })
                    .map_err(|fault| fault.within(METADATA_KEY));
            }
            insert(cursor, &mut header.tensors, &mut room, name, entry)
        })?;
        cursor.end()?;
        Ok(header)
    }

    /// Every byte of the data belongs to exactly one tensor, each of which has as many as its
    /// shape and type ask for. The checks come in the reference library's order.
    fn check_layout(&self, data_len: u64) -> Result<(), Error> {
        let mut by_offset: Vec<(&str, &Entry)> = Vec::with_capacity(self.tensors.len());
        by_offset.extend(self.tensors.iter().map(|(name, entry)| (&**name, entry)));
        by_offset.sort_unstable_by_key(|(name, entry)| (entry.begin, entry.end, *name));
        let mut covered = 0;
        for (name, entry) in by_offset {
            entry
                .check(covered)
                .map_err(|why| Error::value(format!("tensor {}", quoted(name)), why))?;
            covered = entry.end;
        }
        let covered = covered as u64;
        let why = match covered.cmp(&data_len) {
            Ordering::Equal => return Ok(()),
            Ordering::Greater => format!("{} too few", covered - data_len),
            Ordering::Less => format!("{} too many", data_len - covered),
        };
        Err(Error::value(
            "file length",
            format!("the tensors take {covered} bytes, and {data_len} follow the header: {why}"),
        ))
    }
}

impl Entry {
    /// Checks one entry, given the end of the one before it.
    fn check(&self, covered: usize) -> Result<(), String> {
        let Self {
            dtype,
            ref shape,
            begin,
            end,
        } = *self;
        if end < begin {
            return Err(format!(
                "data_offsets [{begin}, {end}] end before they begin"
            ));
        }
        if begin > covered {
            return Err(format!(
                "hole in the data: bytes {covered} to {begin} before it belong to no tensor"
            ));
        }
        if begin < covered {
            return Err(format!(
                "overlap: it begins at byte {begin}, and the tensor before it ends at {covered}"
            ));
        }
        let needed = byte_len(dtype, shape)?;
        if end - begin != needed {
            return Err(format!(
                "{dtype} of shape {shape:?} takes {needed} bytes, and data_offsets \
                 [{begin}, {end}] give it {}",
                end - begin
            ));
        }
        Ok(())
    }
}

/// The bytes a tensor takes. Multiplied from the left with overflow checks, as the reference
/// library does: `[2^63, 2, 0]` is refused though it is empty.
pub(super) fn byte_len(dtype: Dtype, shape: &[usize]) -> Result<usize, String> {
    let bits = shape
        .iter()
        .try_fold(1usize, |product, &axis| product.checked_mul(axis))
        .and_then(|elements| elements.checked_mul(dtype.bits()))
        .ok_or_else(|| format!("the size of {dtype} of shape {shape:?} overflows"))?;
    if bits % 8 != 0 {
        return Err(format!(
            "{dtype} of shape {shape:?} takes {bits} bits, not a whole number of bytes"
        ));
    }
    Ok(bits / 8)
}

/// Takes the value of `key` into `map`, unless the key is there already. Keys are compared
/// after unescaping.
fn insert<'a, T>(
    cursor: &mut Cursor<'a>,
    map: &mut BTreeMap<String, T>,
    room: &mut usize,
    key: Cow<'a, str>,
    value: impl FnOnce(&mut Cursor<'a>) -> Result<T, Malformed>,
) -> Result<(), Malformed> {
    *room = room.checked_sub(1).ok_or_else(|| {
        cursor.fault(format!(
            "more than {MAX_ENTRIES} tensors and metadata strings"
        ))
    })?;
    match map.entry(key.into_owned()) {
        Place::Occupied(place) => {
            Err(cursor.fault(format!("{} appears twice", quoted(place.key()))))
        }
        Place::Vacant(place) => {
            let value = value(cursor).map_err(|fault| fault.within(quoted(place.key())))?;
            place.insert(value);
            Ok(())
        }
    }
}

/// The object that describes one tensor: three fields, all of them, once each, no others.
fn entry(cursor: &mut Cursor<'_>) -> Result<Entry, Malformed> {
    let (mut dtype, mut shape, mut offsets) = (None, None, None);
    cursor.object(|cursor, field| {
        let twice = match &*field {
            "dtype" => dtype.replace(read_dtype(cursor)?).is_some(),
            "shape" => shape.replace(read_shape(cursor)?).is_some(),
            "data_offsets" => offsets.replace(read_offsets(cursor)?).is_some(),
            _ => {
                return Err(cursor.fault(format!(
                    "unknown field {}; expected dtype, shape and data_offsets",
                    quoted(&field)
                )));
            }
        };
        if twice {
            return Err(cursor.fault(format!("field {} appears twice", quoted(&field))));
        }
        Ok(())
    })?;
    let missing = |field: &str| cursor.fault(format!("field {field} is missing"));
    let (begin, end) = offsets.ok_or_else(|| missing("data_offsets"))?;
    Ok(Entry {
        dtype: dtype.ok_or_else(|| missing("dtype"))?,
        shape: shape.ok_or_else(|| missing("shape"))?,
        begin,
        end,
    })
}

fn read_dtype(cursor: &mut Cursor<'_>) -> Result<Dtype, Malformed> {
    let name = cursor.string().map_err(|fault| fault.within("dtype"))?;
    Dtype::from_name(&name).ok_or_else(|| {
        cursor.fault(format!(
            "dtype {} is not a data type of the format",
            quoted(&name)
        ))
    })
}

fn read_shape(cursor: &mut Cursor<'_>) -> Result<Box<[usize]>, Malformed> {
    let (axes, rank) = cursor
        .integers::<MAX_RANK>()
        .map_err(|fault| fault.within("shape"))?;
    Ok(axes[..rank].into())
}

fn read_offsets(cursor: &mut Cursor<'_>) -> Result<(usize, usize), Malformed> {
    let part = "data_offsets";
    match cursor.integers::<2>().map_err(|fault| fault.within(part))? {
        ([begin, end], 2) => Ok((begin, end)),
        (_, count) => Err(cursor
            .fault(format!("expected two numbers, found {count}"))
            .within(part)),
    }
}
