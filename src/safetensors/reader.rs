//! Reading a file: a checked header and views of its tensors.

use super::dtype::Dtype;
use super::header::{Entry, Header, PREFIX_LEN, announced_len, too_short};
use super::json::quoted;
use crate::error::Error;
use crate::into_vec::IntoVec as _;
use core::fmt;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// A safetensors file in memory, for which every rule of the [module](crate::safetensors)'s page
/// was checked.
pub struct SafeTensors {
    header: Header,
    bytes: Vec<u8>,
    /// The offset of the data in `bytes`.
    data_start: usize,
}

impl SafeTensors {
    /// Reads a file held in memory.
    ///
    /// # Errors
    ///
    /// [`Error::Value`] naming the tensor, or the place in the header, that breaks a rule.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        let file_len = bytes.len() as u64;
        let (&prefix, rest) = bytes
            .split_first_chunk::<PREFIX_LEN>()
            .ok_or_else(|| too_short(file_len))?;
        // The length has been checked against the file's, so the split is inside.
        let (header, data) = rest.split_at(announced_len(prefix, file_len)?);
        Ok(Self {
            header: Header::parse(header, data.len() as u64)?,
            data_start: bytes.len() - data.len(),
            bytes,
        })
    }

    /// Reads the file at `path`. The data is read only after the header has been checked against
    /// the length of the file.
    ///
    /// # Errors
    ///
    /// [`Error::File`] with the path, and what [`from_bytes`](Self::from_bytes) or the operating
    /// system has against it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let Opened {
            mut file,
            header,
            data_len,
            ..
        } = Opened::new(path, &name)?;
        let bytes = read_len(&mut file, data_len).map_err(|e| Error::file(name, e))?;
        Ok(Self {
            header,
            bytes,
            data_start: 0,
        })
    }

    /// The strings under `__metadata__`; empty if there are none.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// The names of the tensors, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    /// The tensors, sorted by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorView<'_>> {
        let tensors = self.header.tensors.iter();
        tensors.map(|(name, entry)| self.view(name, entry))
    }

    /// The tensor of this name, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<TensorView<'_>> {
        let (name, entry) = self.header.tensors.get_key_value(name)?;
        Some(self.view(name, entry))
    }

    /// The tensor of this name.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] naming it.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, Error> {
        self.get(name)
            .ok_or_else(|| Error::missing(format!("tensor {}", quoted(name))))
    }

    fn view<'a>(&'a self, name: &'a str, entry: &'a Entry) -> TensorView<'a> {
        TensorView {
            name,
            dtype: entry.dtype,
            shape: &entry.shape,
            bytes: &self.bytes[self.data_start..][entry.begin..entry.end],
        }
    }
}

impl fmt::Debug for SafeTensors {
    /// Says what the file holds, without the data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SafeTensors")
            .field("header", &self.header)
            .field("data_len", &(self.bytes.len() - self.data_start))
            .finish_non_exhaustive()
    }
}

/// An open file behind its checked header.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) header: Header,
    /// The offset of the data in the file.
    pub(super) data_start: u64,
    pub(super) data_len: u64,
}

impl Opened {
    /// Opens the file at `path` and checks its header against its length; `name` is what errors
    /// call it.
    pub(super) fn new(path: &Path, name: &str) -> Result<Self, Error> {
        let system = |e: io::Error| Error::file(name, e);
        // Asked before opening: to open a pipe would wait for somebody to write to it.
        if !fs::metadata(path).map_err(system)?.is_file() {
            return Err(Error::file(name, "not a regular file"));
        }
        let mut file = File::open(path).map_err(system)?;
        let file_len = file.metadata().map_err(system)?.len();
        let Some(room) = file_len.checked_sub(PREFIX_LEN as u64) else {
            return Err(too_short(file_len).in_file(name));
        };
        let mut prefix = [0; PREFIX_LEN];
        file.read_exact(&mut prefix).map_err(system)?;
        let header_len = announced_len(prefix, file_len).map_err(|e| e.in_file(name))? as u64;
        let data_len = room - header_len;
        // Dropped at the end: text and data are never in memory together.
        let text = read_len(&mut file, header_len).map_err(system)?;
        Ok(Self {
            header: Header::parse(&text, data_len).map_err(|e| e.in_file(name))?,
            file,
            data_start: PREFIX_LEN as u64 + header_len,
            data_len,
        })
    }
}

/// The next `len` bytes of `file`, no fewer. Memory that cannot be had is an error, not an abort.
pub fn read_len(file: impl Read, len: u64) -> Result<Vec<u8>, io::Error> {
    let mut bytes = Vec::new();
    let wanted = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.try_reserve_exact(wanted)?;
    if file.take(len).read_to_end(&mut bytes)? < wanted {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// A tensor of a file, without a copy.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TensorView<'a> {
    /// The name.
    pub name: &'a str,
    /// The type of its elements.
    pub dtype: Dtype,
    /// The length of each axis, slowest first; empty for a scalar.
    pub shape: &'a [usize],
    /// The elements, little-endian, row-major, at any alignment.
    pub bytes: &'a [u8],
}

impl TensorView<'_> {
    /// The elements of a float tensor in row-major order, exactly: every F32, F16 and BF16 is an
    /// `f64`, subnormals, infinities and NaNs included.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] naming the tensor and its type, if that is not F64, F32, F16 or
    /// BF16.
    pub fn to_f64(&self) -> Result<Vec<f64>, Error> {
        let Some(format) = self.dtype.float_format() else {
            return Err(self.unsupported("F64, F32, F16 or BF16"));
        };
        Ok(match self.dtype.bits() {
            64 => self.elements(f64::from_le_bytes),
            32 => self.elements(|bytes| format.decode(u32::from_le_bytes(bytes).into())),
            _ => self.elements(|bytes| format.decode(u16::from_le_bytes(bytes).into())),
        })
    }

    /// The elements of an I64 tensor in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] naming the tensor and its type, if that is not I64.
    pub fn to_i64(&self) -> Result<Vec<i64>, Error> {
        match self.dtype {
            Dtype::I64 => Ok(self.elements(i64::from_le_bytes)),
            _ => Err(self.unsupported("I64")),
        }
    }

    /// The elements of an integer tensor of at most 64 bits, in row-major order.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] naming the tensor and its type, if that is none of them (U64 is not read).
    pub fn to_integers(&self) -> Result<Vec<i64>, Error> {
        Ok(match self.dtype {
            Dtype::I64 => return self.to_i64(),
            Dtype::I32 => self.elements(|bytes| i32::from_le_bytes(bytes).into()),
            Dtype::I16 => self.elements(|bytes| i16::from_le_bytes(bytes).into()),
            Dtype::I8 => self.elements(|bytes| i8::from_le_bytes(bytes).into()),
            Dtype::U32 => self.elements(|bytes| u32::from_le_bytes(bytes).into()),
            Dtype::U16 => self.elements(|bytes| u16::from_le_bytes(bytes).into()),
            Dtype::U8 => self.elements(|bytes| u8::from_le_bytes(bytes).into()),
            _ => return Err(self.unsupported("I64, or an integer type narrower")),
        })
    }

    fn elements<const N: usize, T>(&self, decode: impl Fn([u8; N]) -> T) -> Vec<T> {
        // The layout check has left no rest.
        let (elements, _) = self.bytes.as_chunks::<N>();
        elements.iter().map(|&bytes| decode(bytes)).into_vec()
    }

    fn unsupported(&self, expected: &str) -> Error {
        Error::unsupported(format!(
            "tensor {} holds {}, where {expected} is expected",
            quoted(self.name),
            self.dtype
        ))
    }
}
