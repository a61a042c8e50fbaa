//! The multiply-add peak of one core: chains of fused multiply-adds that never leave the registers.

use hungry_hippos::fast::Level;
use std::hint::black_box;
use std::time::Instant;

/// More chains than a core has multiply-adds under way (latency 4, two a cycle), and few enough for
/// the registers.
const CHAINS: usize = 12;
const STEPS: usize = 20_000;

/// The best of many runs, in GFLOP/s of f32.
pub fn measured_peak(level: Level) -> f64 {
    let (lanes, run): (usize, fn()) = match level.name() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a level is only there where the machine has what it names.
        "avx512" => (16, || unsafe { x86::avx512() }),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        "avx2" => (8, || unsafe { x86::avx2() }),
        _ => (4, baseline),
    };
    let mut best = f64::MAX;
    for _ in 0..500 {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    2.0 * (CHAINS * STEPS * lanes) as f64 / best / 1e9
}

/// Products and sums of four lanes each, as a level without fused multiply-adds has them.
fn baseline() {
    let (x, y) = (black_box([0.999_f32; 4]), black_box([0.001_f32; 4]));
    let mut chains = black_box([[1.0_f32; 4]; CHAINS]);
    for _ in 0..STEPS {
        for chain in &mut chains {
            for l in 0..4 {
                chain[l] = chain[l] * x[l] + y[l];
            }
        }
    }
    black_box(chains);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHAINS, STEPS, black_box};
    use core::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};

    macro_rules! chains {
        ($name:ident, $features:literal, $set:ident, $fma:ident) => {
            #[target_feature(enable = $features)]
            pub fn $name() {
                let (x, y) = ($set(black_box(0.999)), $set(black_box(0.001)));
                let mut chains = [$set(black_box(1.0)); CHAINS];
                for _ in 0..STEPS {
                    for chain in &mut chains {
                        *chain = $fma(*chain, x, y);
                    }
                }
                black_box(chains);
            }
        };
    }

    chains!(avx2, "avx2,fma", _mm256_set1_ps, _mm256_fmadd_ps);
    chains!(avx512, "avx512f", _mm512_set1_ps, _mm512_fmadd_ps);
}
