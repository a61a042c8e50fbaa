#![cfg_attr(not(doctest), doc = include_str!("../../../docs/figures/rustdoc.md"))]
#![doc = include_str!("../../../docs/12-mutants.md")]

mod activation;
mod applies;
mod catalogue;
mod convolve;
mod diagonal;
mod evaluate;
mod gradients;
mod passing;
mod shift;
mod switches;
mod wiring;

pub use applies::{applies, applies_in_chunks};
pub use evaluate::{default_chunk_len, mutated_forward, mutated_forward_in_chunks};
pub use gradients::{GradientMutant, mutated_gradients};

use catalogue::{TABLE, Words};

/// The stages of a case file, in the order in which they are computed and compared.
pub const STAGES: [&str; 12] = [
    "q",
    "k",
    "v",
    "shift_kernel",
    "shift_k",
    "kv",
    "ssm_kernel",
    "ssm_out",
    "gated",
    "output",
    "final_state_k",
    "final_state",
];

/// Names the variants once: the enum, all of them in order, and their number.
macro_rules! mutants {
    ($($variant:ident $id:literal)+) => {
        /// One known-wrong variant of the layer: a switch on the reference. What each is stands in
        /// the table of this module's chapter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Mutant {
            $(#[doc = concat!("Entry ", $id, " of the catalogue.")] $variant,)+
        }

        impl Mutant {
            /// Every mutant, in the order of the catalogue.
            pub const ALL: [Self; catalogue::LEN] = [$(Self::$variant),+];
        }

        /// The ids as the enum's documentation gives them.
        #[cfg(test)]
        const IDS: [&str; catalogue::LEN] = [$($id),+];
    };
}

mutants! {
    CircularFft "M01a" CircularFftLong "M01b"
    LongKernelAlias "M02"
    FftConj "M03a" FftConjLong "M03b" FftConjShift "M03c"
    ConvNoFlip "M04"
    NormTwiceLong "M05a" NormNeverLong "M05b" NormTwiceShift "M05c" NormNeverShift "M05d"
    IrfftOddN "M06"
    ShiftUnitDelay "M08"
    ShiftDelayed "M09a" ShiftAdvanced "M09b"
    ShiftTapsReversed "M10"
    ShiftConvNotCorr "M11"
    ShiftConjOnC "M12"
    ShiftFftN "M13"
    ShiftLenAlias "M14a" ShiftLenUncut "M14b"
    ShiftCyclicTime "M15"
    ShiftFeatureAxis "M16"
    ShiftIsDecay "M17"
    NoShiftD "M18"
    ShiftOnV "M19"
    ShiftOnQ "M20"
    QvRolesSwapped "M21"
    GateBeforeSsm "M22"
    NoFinalGate "M23"
    HeadOutPerm "M24"
    HeadSplitPerm "M25"
    ContractWrongIndex "M27"
    ElementwiseNotOuter "M28"
    NoBias "M30a" NoBiasQkv "M30b" NoBiasOutput "M30c"
    NoOutProj "M31"
    GeluShift "M32a" GeluLong "M32b" GeluTanhShift "M32c" GeluTanhLong "M32d"
    SiluShift "M32e" SiluLong "M32f"
    WeightTranspose "M33a" MapSwapQk "M33b" MapSwapQv "M33c" MapSwapKv "M33d" MapSwapD "M33e"
    NoD "M34"
    DTimesV "M35a" DTimesShiftK "M35b" DTimesInput "M35c"
    DAfterGate "M36"
    DTwice "M37"
    ZohForBilinear "M38a" BilinearForZoh "M38b"
    EulerB "M39"
    MissingBilinearDenominator "M40"
    NoFactor2 "M41"
    Factor4 "M42"
    RealBeforePower "M43"
    ImagDropped "M44a" MagnitudeOnly "M44b"
    ConjC "M45a" ConjB "M45b" ConjA "M45c"
    ExpImag "M46"
    RealDecodeNone "M47a" RealDecodePositive "M47b" RealDecodeSoftplus "M47c"
    RealDecodeExp "M47d" ReluWithoutOffset "M47e"
    DtSoftplus "M48a" DtRaw "M48b" DtExpExp "M48c"
    Undiscretised "M49"
    KernelDelay "M50a" KernelAdvance "M50b"
    BDropped "M51a" BUndiscretised "M51b"
    LMaxCut "M52"
    ScanUnderflow "M53"
    ScanOperands "M54"
    MxyOneEarly "M55"
    MxyOneLate "M56"
    MuxUnreversed "M57"
    CarryFullChunk "M58a" CarryOneShort "M58b" CarryUndecayed "M58c"
    CarryDropped "M59a" InitialStateIgnored "M59b"
    SnapshotBoundary "M60a" SnapshotBoundaryLater "M60b"
    CarryAfterGate "M61"
    CarryRealParts "M62a" CarryNoFactor2 "M62b"
    ShiftStateLost "M63"
    ShiftStepTransposed "M64a" ShiftStepRolledBack "M64b" ShiftStepReadsBefore "M64c"
    StateFromInput "M65a" ShiftStateFromShiftK "M65b" StateFromV "M65c"
    StateWithoutB "M66"
    PadInState "M67"
    KernelBf16 "M70a" StateBf16 "M70b" DecodeBf16 "M70c"
}

impl Mutant {
    fn words(self) -> &'static Words {
        &TABLE[self as usize].words
    }
}

catalogue::accessors!(Mutant);

/// The entries of the catalogue without a switch here, and why.
pub const WITHOUT_SWITCH: [(&str, &str, &str); 5] = [
    (
        "M07",
        "bidir_lag",
        "needs a bidirectional layer, which H3 as defined here is not",
    ),
    (
        "M26",
        "heads_vs_head_dim",
        "the parameters of the heads have other shapes; where they have the same \
         (d = head_dim squared) it is no mistake",
    ),
    (
        "M29",
        "unshared_head_kernel",
        "another number of parameters: C and D a (d1, d2, h), not a head",
    ),
    (
        "M68",
        "stale_step_matrices",
        "needs the parameters of an earlier moment, which no case holds",
    ),
    (
        "M69",
        "head_state_batch",
        "states of another shape: it raises, or is refused by its shape",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The documentation of the enum and the catalogue give the same ids.
    #[test]
    fn ids_are_those_of_the_rows() {
        for (mutant, id) in Mutant::ALL.into_iter().zip(IDS) {
            assert_eq!(mutant.id(), id, "{mutant:?}");
        }
    }
}
