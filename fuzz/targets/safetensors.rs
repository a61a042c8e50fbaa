//! Any bytes through the reader: no panic, every view usable, memory bounded by the file's length.
#![no_main]

use hungry_hippos::safetensors::SafeTensors;
use hungry_hippos_fuzz::{Counting, allowance, mutate, peak};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_mutator!(|data: &mut [u8], len: usize, max_len: usize, seed: u32| {
    mutate(data, len, max_len, seed)
});

fuzz_target!(|data: &[u8]| {
    let (bytes, read) = peak(|| SafeTensors::from_bytes(data.to_vec()));
    assert!(
        bytes <= allowance(data.len()),
        "{bytes} bytes for {}",
        data.len()
    );
    let Ok(file) = read else {
        return;
    };
    let mut covered = 0;
    for tensor in file.tensors() {
        let elements: usize = tensor.shape.iter().product();
        assert_eq!(elements * tensor.dtype.bits(), tensor.bytes.len() * 8);
        covered += tensor.bytes.len();
        let values = tensor.to_f64().map(|values| values.len());
        assert_eq!(values.unwrap_or(elements), elements);
        assert!(file.get(tensor.name).is_some());
    }
    // Every byte of the data belongs to one tensor.
    let header_len = u64::from_le_bytes(*data.first_chunk().expect("read"));
    assert_eq!(8 + header_len as usize + covered, data.len());
});
