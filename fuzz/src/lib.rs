//! What the fuzz targets share: an allocator that counts, and a mutator that knows the format.

use libfuzzer_sys::fuzzer_mutate;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting what this thread holds and the most it held.
pub struct Counting;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
    static MOST: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    // A thread that is ending has no counter any more, and nothing to say.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What a call allocates at most, beyond what was held before it, in bytes; and its result.
pub fn peak<T>(call: impl FnOnce() -> T) -> (u64, T) {
    let before = HELD.get();
    MOST.set(before);
    let result = call();
    ((MOST.get() - before).unsigned_abs(), result)
}

/// What reading `file_len` bytes may allocate: twice the file, and the constant that the format's
/// limits allow an index of `MAX_ENTRIES` names to cost (see `src/safetensors/mod.rs`).
pub fn allowance(file_len: usize) -> u64 {
    2 * file_len as u64 + (1 << 25)
}

/// Mutates a file. Three times out of four only its header, with the announced length kept right,
/// so that what is tested lies behind that check; else any byte.
pub fn mutate(data: &mut [u8], len: usize, max_len: usize, seed: u32) -> usize {
    let header_len = data[..len]
        .first_chunk()
        .map_or(u64::MAX, |&prefix| u64::from_le_bytes(prefix));
    let header_len = usize::try_from(header_len).unwrap_or(usize::MAX);
    let rest = len.saturating_sub(8);
    if seed % 4 == 0 || header_len > rest {
        return fuzzer_mutate(data, len, max_len);
    }
    let numbers = data[8 + header_len..len].to_vec();
    let room = max_len - 8 - numbers.len();
    let mut header = data[8..8 + header_len].to_vec();
    header.resize(room, 0);
    let header_len = fuzzer_mutate(&mut header, header_len, room);
    data[..8].copy_from_slice(&(header_len as u64).to_le_bytes());
    data[8..][..header_len].copy_from_slice(&header[..header_len]);
    data[8 + header_len..][..numbers.len()].copy_from_slice(&numbers);
    8 + header_len + numbers.len()
}
