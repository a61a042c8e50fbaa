//! Which mutants are on.

use super::Mutant;

/// The mutants of one run, asked at the line each of them changes.
#[derive(Clone, Copy)]
pub(super) struct Switches<'a>(pub(super) &'a [Mutant]);

impl Switches<'_> {
    pub(super) fn on(self, mutant: Mutant) -> bool {
        self.0.contains(&mutant)
    }

    pub(super) fn any(self, mutants: &[Mutant]) -> bool {
        mutants.iter().any(|&m| self.on(m))
    }

    /// Whether the run goes chunk by chunk: where a mutant sits between chunks.
    pub(super) fn chunked(self) -> bool {
        self.0.iter().any(|m| m.needs_chunks())
    }
}

impl Mutant {
    /// Whether the mistake sits between chunks, so that the layer is run chunk by chunk.
    #[must_use]
    pub fn needs_chunks(self) -> bool {
        matches!(
            self,
            Self::MxyOneEarly
                | Self::MxyOneLate
                | Self::MuxUnreversed
                | Self::CarryFullChunk
                | Self::CarryOneShort
                | Self::CarryUndecayed
                | Self::CarryDropped
                | Self::SnapshotBoundary
                | Self::SnapshotBoundaryLater
                | Self::CarryAfterGate
                | Self::CarryRealParts
                | Self::CarryNoFactor2
                | Self::ShiftStateLost
        )
    }

    /// Whether what the mistake makes of the first tokens depends on those alone: not where a
    /// transform's length is the sequence's, or taps are read back to front.
    #[must_use]
    pub fn is_causal(self) -> bool {
        !matches!(
            self,
            Self::CircularFft
                | Self::CircularFftLong
                | Self::LongKernelAlias
                | Self::FftConj
                | Self::FftConjLong
                | Self::FftConjShift
                | Self::ConvNoFlip
                | Self::NormTwiceLong
                | Self::NormNeverLong
                | Self::NormTwiceShift
                | Self::NormNeverShift
                | Self::IrfftOddN
                | Self::ShiftLenAlias
                | Self::ShiftCyclicTime
        )
    }

    /// Whether the mistake sits in the diagonal model's recurrence, which then takes the place of
    /// its convolution.
    pub(super) fn steps_diagonal(self) -> bool {
        matches!(
            self,
            Self::ScanUnderflow | Self::ScanOperands | Self::StateBf16
        )
    }

    /// Whether the mistake sits in the shift model's step.
    pub(super) fn steps_shift(self) -> bool {
        matches!(
            self,
            Self::ShiftStepTransposed | Self::ShiftStepRolledBack | Self::ShiftStepReadsBefore
        )
    }
}
