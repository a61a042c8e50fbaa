//! Reading a file tensor by tensor, for files as large as the memory.

use super::dtype::Dtype;
use super::header::{Entry, Header};
use super::json::quoted;
use super::reader::{Opened, TensorView};
use crate::error::Error;
use core::fmt;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes decoded at a time: a multiple of every element's size.
const AT_ONCE: usize = 1 << 20;

/// An open safetensors file whose header was read and checked, and whose tensors are read only when
/// requested.
///
/// [`SafeTensors`](super::SafeTensors) holds a file in memory; this type is for files that should
/// not be copied into memory.
pub struct TensorFile {
    path: String,
    file: File,
    header: Header,
    data_start: u64,
}

impl TensorFile {
    /// Opens the file at `path` and checks its header against its length.
    ///
    /// # Errors
    ///
    /// As [`SafeTensors::open`](super::SafeTensors::open).
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let Opened {
            file,
            header,
            data_start,
            ..
        } = Opened::new(path, &name)?;
        Ok(Self {
            path: name,
            file,
            header,
            data_start,
        })
    }

    /// The result of `read` on the file at `path`. An error names the file.
    pub(crate) fn read<T>(
        path: &Path,
        read: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        read(&Self::open(path)?).map_err(|e| e.in_file(path))
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
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

    /// Type and shape of the tensor of this name, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<(Dtype, &[usize])> {
        let entry = self.header.tensors.get(name)?;
        Some((entry.dtype, &entry.shape))
    }

    /// Shape of the tensor of this name.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] naming it.
    pub fn shape(&self, name: &str) -> Result<&[usize], Error> {
        self.entry(name).map(|entry| &*entry.shape)
    }

    /// The elements of a float tensor, row-major, as
    /// [`TensorView::to_f64`](super::TensorView::to_f64) gives them.
    ///
    /// # Errors
    ///
    /// If it is missing, of another type, or cannot be read.
    pub fn to_f64(&self, name: &str) -> Result<Vec<f64>, Error> {
        self.decoded(name, |view| view.to_f64())
    }

    /// The elements of an integer tensor, row-major.
    ///
    /// # Errors
    ///
    /// If it is missing, of another type, or cannot be read.
    pub fn to_integers(&self, name: &str) -> Result<Vec<i64>, Error> {
        self.decoded(name, |view| view.to_integers())
    }

    /// True if two tensors hold the same bytes and have the same type and shape.
    ///
    /// # Errors
    ///
    /// If one is missing or cannot be read.
    pub fn same(&self, name: &str, other: &str) -> Result<bool, Error> {
        let (a, b) = (self.entry(name)?, self.entry(other)?);
        if a.dtype != b.dtype || a.shape != b.shape {
            return Ok(false);
        }
        let mut pieces = [vec![0; AT_ONCE], vec![0; AT_ONCE]];
        for at in (0..a.end - a.begin).step_by(AT_ONCE) {
            let len = AT_ONCE.min(a.end - a.begin - at);
            for (piece, (entry, name)) in pieces.iter_mut().zip([(a, name), (b, other)]) {
                self.read_at(name, entry.begin + at, &mut piece[..len])?;
            }
            if pieces[0][..len] != pieces[1][..len] {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The bytes from `begin` on, counted from the end of the header.
    fn read_at(&self, name: &str, begin: usize, bytes: &mut [u8]) -> Result<(), Error> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.data_start + begin as u64))
            .and_then(|_| file.read_exact(bytes))
            .map_err(|e| Error::value(format!("tensor {}", quoted(name)), e.to_string()))
    }

    fn entry(&self, name: &str) -> Result<&Entry, Error> {
        let entry = self.header.tensors.get(name);
        entry.ok_or_else(|| Error::missing(format!("tensor {}", quoted(name))))
    }

    /// The tensor piece by piece through `decode`, so that its bytes are never all in memory.
    fn decoded<T>(
        &self,
        name: &str,
        decode: impl Fn(TensorView<'_>) -> Result<Vec<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        let entry = self.entry(name)?;
        let elements = entry.shape.iter().product();
        let mut decoded = Vec::new();
        decoded
            .try_reserve_exact(elements)
            .map_err(|e| Error::value(format!("tensor {}", quoted(name)), e.to_string()))?;
        let mut at = entry.begin;
        let mut bytes = vec![0; AT_ONCE.min(entry.end - at)];
        loop {
            let bytes = &mut bytes[..AT_ONCE.min(entry.end - at)];
            self.read_at(name, at, bytes)?;
            // Decoded once even if it is empty, so that a wrong type is refused all the same.
            decoded.extend(decode(TensorView {
                name,
                dtype: entry.dtype,
                shape: &entry.shape,
                bytes,
            })?);
            at += bytes.len();
            if at == entry.end {
                return Ok(decoded);
            }
        }
    }
}

impl fmt::Debug for TensorFile {
    /// Says what the file holds, without the data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorFile")
            .field("path", &self.path)
            .field("header", &self.header)
            .finish_non_exhaustive()
    }
}
