#![cfg_attr(not(doctest), doc = include_str!("../../docs/figures/rustdoc.md"))]
#![cfg_attr(not(doctest), doc = include_str!("../chapters.md"))]
#![doc = include_str!("../../docs/08-files.md")]

mod dtype;
mod header;
mod json;
mod on_disk;
mod reader;
mod replace;
mod source;
mod writer;

use crate::internals::internals;

pub use crate::algebra::FloatFormat;
pub use dtype::Dtype;
pub(crate) use json::{Cursor, Malformed};
pub use on_disk::TensorFile;
pub use reader::{SafeTensors, TensorView};
pub(crate) use replace::replace_file;
pub use source::Tensors;
pub use writer::{Writer, write_streamed};

internals!(dtype::ALL);
internals!(reader::read_len);

/// The key under which a header keeps its strings; never the name of a tensor.
const METADATA_KEY: &str = "__metadata__";

/// The longest header, in bytes: the reference library's limit, for reading and for writing.
const MAX_HEADER_LEN: u64 = 100_000_000;

/// The most axes a tensor may have (NumPy long had the same limit). The format has no limit; with
/// one, what a shape costs in memory is bounded.
const MAX_RANK: usize = 32;

/// The most tensors and metadata strings a file may hold, counted together. The format has no
/// limit; with one, the index costs no more memory than a constant beyond the strings themselves:
/// for each tensor at most 8 `MAX_RANK` = 256 bytes of shape, 24 to sort it, and its share of a
/// map's node, which has room for 11 pairs of 64 bytes and holds at least 5. That is less than
/// 2^9 bytes, 2^25 for all; for a string it is less.
const MAX_ENTRIES: usize = 1 << 16;
