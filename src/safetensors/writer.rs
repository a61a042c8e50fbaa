//! Writing a file: the same content always gives the same bytes.

use super::dtype::Dtype;
use super::header::{PREFIX_LEN, byte_len};
use super::json::{push_string, quoted};
use super::replace::{replace, replace_file};
use super::{MAX_ENTRIES, MAX_HEADER_LEN, MAX_RANK, METADATA_KEY};
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

/// Collects strings and tensors, in any order, and writes them in one canonical form.
///
/// It refuses what a reader would refuse, so a file that it has written can be read.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, Pending>,
}

#[derive(Clone, Debug)]
struct Pending {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Writer {
    /// Nothing yet: a file without tensors and strings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a string under `__metadata__`.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] if the key is there already, or the file is full.
    pub fn metadata(&mut self, key: &str, value: &str) -> Result<&mut Self, Error> {
        if self.metadata.contains_key(key) {
            return Err(Error::value(
                format!("metadata {}", quoted(key)),
                "is there already",
            ));
        }
        self.check_room()?;
        self.metadata.insert(key.to_owned(), value.to_owned());
        Ok(self)
    }

    /// Adds a float tensor, each element rounded to the nearest number of `dtype` (ties to even),
    /// which is F64, F32, F16 or BF16. `values` are in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if `dtype` is another type; otherwise as
    /// [`add_bytes`](Self::add_bytes).
    pub fn add(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        values: &[f64],
    ) -> Result<&mut Self, Error> {
        let len = self.check_new(name, dtype, shape)?;
        let Some(format) = dtype.float_format() else {
            return Err(Error::unsupported(format!(
                "tensor {}: floats cannot be written as {dtype}, only as F64, F32, F16 or BF16",
                quoted(name)
            )));
        };
        // The bits of the format are the low ones.
        let bits = values.iter().map(|&x| format.encode(x));
        let bytes = match dtype.bits() {
            // As they are: not even a NaN changes.
            64 => values.iter().flat_map(|x| x.to_le_bytes()).into_vec(),
            32 => bits.flat_map(|bits| (bits as u32).to_le_bytes()).into_vec(),
            _ => bits.flat_map(|bits| (bits as u16).to_le_bytes()).into_vec(),
        };
        self.insert(name, dtype, shape, bytes, len)
    }

    /// Adds an I64 tensor. `values` are in row-major order.
    ///
    /// # Errors
    ///
    /// As [`add_bytes`](Self::add_bytes).
    pub fn add_i64(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[i64],
    ) -> Result<&mut Self, Error> {
        let len = self.check_new(name, Dtype::I64, shape)?;
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).into_vec();
        self.insert(name, Dtype::I64, shape, bytes, len)
    }

    /// Adds a tensor of any type as its bytes: little-endian, row-major. With the fields of a
    /// [`TensorView`](super::TensorView), a copy.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] if the name is taken or is `__metadata__`, the shape has too many axes or
    /// overflows, or the file is full; [`Error::Shape`] if there are more or fewer elements than
    /// the shape asks for.
    pub fn add_bytes(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        bytes: &[u8],
    ) -> Result<&mut Self, Error> {
        let len = self.check_new(name, dtype, shape)?;
        self.insert(name, dtype, shape, bytes.to_vec(), len)
    }

    /// Checks everything but the number of elements, of which it gives the bytes expected.
    fn check_new(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<usize, Error> {
        let refused = |why: String| Err(Error::value(format!("tensor {}", quoted(name)), why));
        if name == METADATA_KEY {
            return refused("the name is reserved for strings".to_owned());
        }
        if self.tensors.contains_key(name) {
            return refused("is there already".to_owned());
        }
        if shape.len() > MAX_RANK {
            return refused(format!("{} axes, at most {MAX_RANK} allowed", shape.len()));
        }
        self.check_room()?;
        byte_len(dtype, shape).or_else(refused)
    }

    fn check_room(&self) -> Result<(), Error> {
        check_entries(self.metadata.len() + self.tensors.len() + 1)
    }

    /// Checks the number of elements, and takes them.
    fn insert(
        &mut self,
        name: &str,
        dtype: Dtype,
        shape: &[usize],
        bytes: Vec<u8>,
        expected: usize,
    ) -> Result<&mut Self, Error> {
        if bytes.len() != expected {
            return Err(Error::shape(
                format!("tensor {}", quoted(name)),
                format_args!("{expected} bytes ({dtype} of shape {shape:?})"),
                format_args!("{} bytes", bytes.len()),
            ));
        }
        let shape = shape.to_vec();
        self.tensors.insert(
            name.to_owned(),
            Pending {
                dtype,
                shape,
                bytes,
            },
        );
        Ok(self)
    }

    /// The file: tensors by descending type, then name; strings by key; the header padded with
    /// spaces to a multiple of 8 bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] if the header would be longer than the format allows.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        // The map is sorted by name, and the sort is stable.
        let mut tensors: Vec<_> = self.tensors.iter().into_vec();
        tensors.sort_by_key(|(_, tensor)| Reverse(tensor.dtype));
        let entries = tensors.iter().map(|(name, tensor)| Entry {
            name: name.as_str(),
            dtype: tensor.dtype,
            shape: &tensor.shape,
            len: tensor.bytes.len(),
        });
        let (mut file, data_len) = beginning(&self.metadata, entries)?;
        file.reserve_exact(data_len);
        for (_, tensor) in tensors {
            file.extend_from_slice(&tensor.bytes);
        }
        Ok(file)
    }

    /// Writes the file to `path`, all or nothing: under a temporary name in the same directory
    /// first, and renamed when complete. Whatever fails, no temporary file is left, and a file
    /// that was at `path` before stays as it was. (What a killed process leaves, the next write into
    /// the directory removes.) What is there and is no regular file is refused.
    ///
    /// # Errors
    ///
    /// [`Error::File`] with the path, and what [`to_bytes`](Self::to_bytes) or the operating
    /// system has against it.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let name = || path.display().to_string();
        let bytes = self.to_bytes().map_err(|e| e.in_file(name()))?;
        replace_file(path, &bytes)
    }
}

/// Refuses more tensors and strings, counted together, than a file may hold.
fn check_entries(entries: usize) -> Result<(), Error> {
    if entries <= MAX_ENTRIES {
        return Ok(());
    }
    Err(Error::value(
        "file",
        format!("more than {MAX_ENTRIES} tensors and metadata strings"),
    ))
}

/// One tensor in a header.
struct Entry<'a> {
    name: &'a str,
    dtype: Dtype,
    shape: &'a [usize],
    len: usize,
}

/// The bytes before the data (the header's length, and the header padded with spaces), and the
/// length of the data.
fn beginning<'a>(
    metadata: &BTreeMap<String, String>,
    tensors: impl Iterator<Item = Entry<'a>>,
) -> Result<(Vec<u8>, usize), Error> {
    let mut out = String::from("{");
    let comma = |out: &mut String| {
        if !out.ends_with('{') {
            out.push(',');
        }
    };
    if !metadata.is_empty() {
        push_string(&mut out, METADATA_KEY);
        out.push_str(":{");
        for (key, value) in metadata {
            comma(&mut out);
            push_string(&mut out, key);
            out.push(':');
            push_string(&mut out, value);
        }
        out.push('}');
    }
    let mut begin = 0;
    for tensor in tensors {
        let end = begin + tensor.len;
        comma(&mut out);
        push_string(&mut out, tensor.name);
        let axes: Vec<String> = tensor.shape.iter().map(usize::to_string).into_vec();
        out.push_str(&format!(
            r#":{{"dtype":"{}","shape":[{}],"data_offsets":[{begin},{end}]}}"#,
            tensor.dtype,
            axes.join(",")
        ));
        begin = end;
    }
    out.push('}');
    while out.len() % 8 != 0 {
        out.push(' ');
    }
    let header_len = out.len() as u64;
    if header_len > MAX_HEADER_LEN {
        return Err(Error::value(
            "header",
            format!("{header_len} bytes, more than the {MAX_HEADER_LEN} the format allows"),
        ));
    }
    let mut file = Vec::with_capacity(PREFIX_LEN + out.len());
    file.extend_from_slice(&header_len.to_le_bytes());
    file.extend_from_slice(out.as_bytes());
    Ok((file, begin))
}

/// Writes a file of F32 tensors whose elements are computed as they are written, so that none of
/// them need be in memory: all or nothing, as [`Writer::write`]. `tensors` are (name, shape), sorted
/// by name; `values` gives the elements of each, row-major.
///
/// # Errors
///
/// As [`Writer::write`]; and [`Error::Shape`] if `values` gives more or fewer elements than the shape
/// asks for.
pub fn write_streamed<I>(
    path: &Path,
    metadata: &BTreeMap<String, String>,
    tensors: &[(String, Vec<usize>)],
    mut values: impl FnMut(&str) -> I,
) -> Result<(), Error>
where
    I: Iterator<Item = f64>,
{
    let name = || path.display().to_string();
    let mut checked = Writer::new();
    for (key, value) in metadata {
        checked.metadata(key, value)?;
    }
    check_entries(metadata.len() + tensors.len())?;
    let entries: Vec<Entry<'_>> = tensors
        .iter()
        .map(|(name, shape)| {
            Ok(Entry {
                name,
                dtype: Dtype::F32,
                shape,
                len: checked.check_new(name, Dtype::F32, shape)?,
            })
        })
        .collect::<Result<_, Error>>()?;
    if !tensors.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(Error::value(
            "tensors",
            "not sorted by name, or not distinct",
        ));
    }
    let counted: Vec<(&str, usize)> = entries.iter().map(|e| (e.name, e.len / 4)).into_vec();
    let (beginning, _) = beginning(metadata, entries.into_iter())?;
    replace(path, |file| {
        let system = |e: std::io::Error| Streamed(Error::file(name(), e));
        file.write_all(&beginning).map_err(system)?;
        for (tensor, expected) in counted {
            let mut written = 0usize;
            for x in values(tensor) {
                file.write_all(&(x as f32).to_le_bytes()).map_err(system)?;
                written += 1;
            }
            if written != expected {
                let what = format!("tensor {}", quoted(tensor));
                let expected = format_args!("{expected} elements").to_string();
                return Err(Streamed(Error::shape(what, expected, written)));
            }
        }
        Ok(())
    })
    .map_err(|Streamed(e)| e.in_file(name()))
}

/// An error of [`write_streamed`], also made from the system's.
struct Streamed(Error);

impl From<std::io::Error> for Streamed {
    fn from(e: std::io::Error) -> Self {
        Self(Error::value("file", e.to_string()))
    }
}
