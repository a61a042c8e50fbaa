//! Any file as a case: read or refused, never a panic; what is read runs, and is finite or not as
//! its numbers will have it, without a panic either.
#![no_main]

use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Precision};
use hungry_hippos::safetensors::SafeTensors;
use hungry_hippos_fuzz::{Counting, allowance, mutate, peak};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fuzz_mutator!(|data: &mut [u8], len: usize, max_len: usize, seed: u32| {
    mutate(data, len, max_len, seed)
});

fuzz_target!(|data: &[u8]| {
    let Ok(file) = SafeTensors::from_bytes(data.to_vec()) else {
        return;
    };
    let (bytes, case) = peak(|| Case::read(&file));
    // Numbers of two bytes become numbers of eight.
    assert!(
        bytes <= 4 * allowance(data.len()),
        "{bytes} bytes for {}",
        data.len()
    );
    let Ok(case) = case else {
        return;
    };
    // Gradients too; without a cotangent, or of another kind, that is refused.
    let _ = case.run(&Form::Convolution, Precision::F64, true);
    let _ = case.run(&Form::Convolution, Precision::F64, false);
    let _ = case.run(&Form::Recurrence, Precision::F32, false);
});
