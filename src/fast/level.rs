//! Instruction sets: detection, and the one place where code for them is entered.

use crate::error::Error;
use crate::into_vec::IntoVec as _;
use core::fmt;
use core::str::FromStr;

/// Properties of the instruction set that a kernel is compiled for.
///
/// The type parameter every kernel is written over; it is never a value. Not re-exported.
pub trait Isa: Copy + Send + Sync + 'static {
    /// True if a fused multiply-add is one instruction. Where it is not, `mul_add` would be a
    /// call of the C library, a hundred times slower than two roundings.
    const FMA: bool;
    /// The number of 64-byte lane vectors that the registers hold as accumulators, with room to spare for
    /// operands: 24 of 32 zmm, 12 of 16 ymm, 12 of 16 xmm, 24 of 32 NEON registers.
    const ACCUMULATORS: usize;
}

/// A computation to be compiled once for every instruction set.
///
/// `run` must be `#[inline(always)]`, and so must all it calls: that is what makes the plain
/// loops inside it be compiled with the instructions of the level that enters it.
pub(crate) trait Kernel {
    /// The result.
    type Output;
    /// The computation.
    fn run<S: Isa>(self) -> Self::Output;
}

/// A `match` on a size that the instruction set fixes, as [`Isa::ACCUMULATORS`] does. It is asked in `const`, so that nothing
/// is compiled in the sizes of another level; of a plain `match` all arms are.
macro_rules! match_size {
    ($size:expr; _ => $last:expr $(,)?) => {
        $last
    };
    ($size:expr; $pattern:pat => $then:expr, $($rest:tt)+) => {
        if const { matches!($size, $pattern) } {
            $then
        } else {
            match_size!($size; $($rest)+)
        }
    };
}

pub(super) use match_size;

macro_rules! isa {
    ($name:ident, fma: $fma:literal, accumulators: $accumulators:literal) => {
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Isa for $name {
            const FMA: bool = $fma;
            const ACCUMULATORS: usize = $accumulators;
        }
    };
}

isa!(Baseline, fma: false, accumulators: 3);
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
isa!(Fused, fma: true, accumulators: 6);
#[cfg(target_arch = "x86_64")]
isa!(Avx512, fma: true, accumulators: 24);

/// An instruction set that this machine was found to have.
///
/// A `Level` can only be obtained by detection, so having one proves that its instructions can be
/// run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Level(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Baseline,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Level {
    /// The best level this machine has.
    #[must_use]
    pub fn detect() -> Self {
        // The standard library detects once and remembers.
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
            {
                return Self(Kind::Avx512);
            }
            if avx2 {
                return Self(Kind::Avx2);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Self(Kind::Neon);
        }
        Self(Kind::Baseline)
    }

    /// The level every machine of this architecture has (SSE2 on `x86_64`).
    #[must_use]
    pub fn baseline() -> Self {
        Self(Kind::Baseline)
    }

    /// Every level this machine has, the baseline first.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut levels = vec![Self::baseline()];
        match Self::detect().0 {
            Kind::Baseline => {}
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => levels.push(Self(Kind::Avx2)),
            // Detection of AVX-512 above includes AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => levels.extend([Self(Kind::Avx2), Self(Kind::Avx512)]),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => levels.push(Self(Kind::Neon)),
        }
        levels
    }

    /// Its name: `baseline`, `avx2`, `avx512` or `neon`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Baseline => "baseline",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
        }
    }

    /// True if multiply-adds of this level round once.
    #[must_use]
    pub fn fused(self) -> bool {
        self.0 != Kind::Baseline
    }

    /// [`Isa::ACCUMULATORS`] of this level, on which the shapes of packed operands depend.
    pub(super) fn accumulators(self) -> usize {
        self.run(Accumulators)
    }

    /// Runs a kernel compiled for this level.
    #[expect(
        unsafe_code,
        reason = "a function compiled for an instruction set may be entered only where it exists"
    )]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            Kind::Baseline => kernel.run::<Baseline>(),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => {
                #[target_feature(enable = "avx2,fma")]
                fn enter<K: Kernel>(kernel: K) -> K::Output {
                    kernel.run::<Fused>()
                }
                // SAFETY: `Kind::Avx2` is made only after AVX2 and FMA
                // were detected.
                unsafe { enter(kernel) }
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
                fn enter<K: Kernel>(kernel: K) -> K::Output {
                    kernel.run::<Avx512>()
                }
                // SAFETY: `Kind::Avx512` is made only after every feature named above was
                // detected.
                unsafe { enter(kernel) }
            }
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => {
                #[target_feature(enable = "neon")]
                fn enter<K: Kernel>(kernel: K) -> K::Output {
                    kernel.run::<Fused>()
                }
                // SAFETY: `Kind::Neon` is made only after NEON was detected.
                unsafe { enter(kernel) }
            }
        }
    }
}

/// Asks a level for its accumulators.
struct Accumulators;

impl Kernel for Accumulators {
    type Output = usize;

    #[inline(always)]
    fn run<S: Isa>(self) -> usize {
        S::ACCUMULATORS
    }
}

impl Default for Level {
    fn default() -> Self {
        Self::detect()
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Level({})", self.name())
    }
}

impl FromStr for Level {
    type Err = Error;

    /// The level of this name, if the machine has it.
    fn from_str(name: &str) -> Result<Self, Error> {
        let levels = Self::all();
        let found = levels.iter().find(|level| level.name() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = levels.iter().map(|level| level.name()).into_vec();
            Error::value(
                "level",
                format!("{name:?} is not one this machine has: {}", names.join(", ")),
            )
        })
    }
}
