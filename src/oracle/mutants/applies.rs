//! On which layers a mutant can change anything.

use super::Mutant::{self, *};
use super::diagonal;
use super::evaluate::{Run, default_chunk_len, prepare};
use super::passing::{Model, Passing};
use super::shift;
use super::switches::Switches;
use crate::algebra::{Rng, Sample};
use crate::h3::{Name, Parameters};
use crate::tensor::Tensor;
use num_complex::Complex;

/// Whether the mutant changes a stage of this layer, for all inputs and states but exceptional
/// ones. Where its discretization has no value it counts as applying.
///
/// Wherever the parameters decide (a unit vector for B, a zero skip, a symmetric weight) they are
/// looked at: what a mutant does not touch is not said to be touched.
#[must_use]
pub fn applies(
    mutant: Mutant,
    parameters: &Parameters<f64>,
    seq_len: usize,
    batch: usize,
    has_state: bool,
) -> bool {
    let chunk_len = default_chunk_len(seq_len);
    applies_in_chunks(mutant, parameters, seq_len, batch, has_state, chunk_len)
}

/// [`applies`] with the chunk length of the port.
#[must_use]
pub fn applies_in_chunks(
    mutant: Mutant,
    parameters: &Parameters<f64>,
    seq_len: usize,
    batch: usize,
    has_state: bool,
    chunk_len: usize,
) -> bool {
    if seq_len == 0 || batch == 0 || chunk_len == 0 {
        return false;
    }
    let facts = Facts {
        mutant,
        p: parameters,
        len: seq_len,
        batch,
        has_state,
        chunk_len,
        window: parameters
            .config()
            .l_max
            .map_or(seq_len, |l| l.min(seq_len)),
    };
    facts.applies()
}

struct Facts<'a> {
    mutant: Mutant,
    p: &'a Parameters<f64>,
    len: usize,
    batch: usize,
    has_state: bool,
    chunk_len: usize,
    window: usize,
}

impl Facts<'_> {
    fn applies(&self) -> bool {
        let config = self.p.config();
        let (len, window, has_state) = (self.len, self.window, self.has_state);
        let (taps, heads, d_h) = (config.d_state, config.n_heads(), config.head_dim);
        let modes = config.n_modes() > 0;
        let any = |name| self.p.get(name).iter().any(|&x| x != 0.0);
        let differ = |one, other| self.p.get(one) != self.p.get(other);
        let skip = any(Name::D);
        // Whether the diagonal model takes anything in, has a state that is not zero, gives anything.
        let driven = modes && any(Name::B);
        let holds = driven || modes && has_state;
        let reads = holds && any(Name::C);
        let responds = reads || skip;
        // A kernel that is cut has no state, so neither chunks nor steps.
        let passes = window == len;
        let chunks = len.div_ceil(self.chunk_len);
        let across = passes && (chunks >= 2 || has_state);
        let last = len - (chunks - 1) * self.chunk_len;
        match self.mutant {
            CircularFft | FftConj => self.shift_tap(1, window) || self.long_tap(1, window),
            CircularFftLong | FftConjLong => self.long_tap(1, window),
            FftConjShift => self.shift_tap(1, window),
            LongKernelAlias => {
                let l_k = match config.l_max {
                    None => 2 * len,
                    Some(l_max) => l_max.min(2 * len),
                };
                self.long_tap(len + 1, l_k) || self.shift_tap(len + 1, l_k)
            }
            ConvNoFlip => self.not_a_palindrome(),
            NormTwiceLong | NormNeverLong => self.long_tap(0, window),
            NormTwiceShift | NormNeverShift => self.shift_tap(0, window),
            IrfftOddN => {
                let nonzero = self.shift_tap(0, window) || self.long_tap(0, window);
                nonzero && super::convolve::odd_transform(len + window - 1, len)
            }
            ShiftUnitDelay | ShiftTapsReversed | ShiftConvNotCorr | ShiftConjOnC | ShiftFftN
            | ShiftLenUncut => self.shift_kernels_differ(),
            ShiftDelayed => self.shift_kernels_differ() || has_state && any(Name::ShiftC),
            ShiftAdvanced => self.shift_kernels_differ() || has_state && self.reads_beyond(0),
            ShiftLenAlias => passes && self.shift_tap(len + 1, 2 * len),
            ShiftCyclicTime => self.shift_tap_of(&[self.mutant], 1, taps),
            ShiftFeatureAxis => {
                self.shift_tap_of(&[self.mutant], 1, taps) || has_state && self.reads_beyond(0)
            }
            ShiftIsDecay => {
                has_state || self.shift_kernels_differ() || len >= 2 && any(Name::ShiftB)
            }
            NoShiftD => any(Name::ShiftD),
            // Channel j of equal keys and values meets channel i either way, but shifted at another
            // place.
            ShiftOnV if d_h > 1 => true,
            ShiftOnV | MapSwapKv => {
                differ(Name::KWeight, Name::VWeight) || differ(Name::KBias, Name::VBias)
            }
            MapSwapQk => differ(Name::QWeight, Name::KWeight) || differ(Name::QBias, Name::KBias),
            QvRolesSwapped | MapSwapQv => {
                differ(Name::QWeight, Name::VWeight) || differ(Name::QBias, Name::VBias)
            }
            MapSwapD => d_h == 1 && differ(Name::ShiftD, Name::D),
            ShiftOnQ | GeluShift | GeluTanhShift | SiluShift => true,
            ShiftStateFromShiftK => any(Name::ShiftB),
            GateBeforeSsm => driven || responds,
            NoFinalGate | GeluLong | GeluTanhLong | SiluLong => responds,
            HeadOutPerm => responds && d_h > 1 && heads > 1,
            HeadSplitPerm => d_h > 1 && heads > 1,
            ContractWrongIndex => responds && d_h > 1,
            ElementwiseNotOuter => d_h > 1,
            NoBias => self.any_bias() || any(Name::OutputBias),
            NoBiasQkv => self.any_bias(),
            NoBiasOutput => any(Name::OutputBias),
            NoOutProj => any(Name::OutputBias) || responds && !self.output_is_identity(),
            WeightTranspose => self.any_asymmetric(),
            NoD | DTimesV | DTimesShiftK | DTimesInput | DAfterGate | DTwice => skip,
            ZohForBilinear
            | BilinearForZoh
            | RealDecodeNone
            | RealDecodeSoftplus
            | RealDecodeExp
            | ReluWithoutOffset
            | EulerB
            | MissingBilinearDenominator
            | NoFactor2
            | Factor4
            | RealBeforePower
            | ImagDropped
            | MagnitudeOnly
            | ConjC
            | ConjB
            | ConjA
            | ExpImag
            | RealDecodePositive
            | DtSoftplus
            | DtRaw
            | DtExpExp
            | Undiscretised
            | KernelDelay
            | KernelAdvance
            | BDropped
            | BUndiscretised
            | KernelBf16
            | DecodeBf16 => modes && self.diagonal_models_differ(),
            LMaxCut => self.shift_tap(window, len) || self.long_tap(window, len),
            ScanUnderflow => driven && passes,
            StateBf16 => holds && passes,
            ScanOperands => holds && passes && (len >= 2 || has_state),
            CarryOneShort | CarryUndecayed => holds && across,
            MxyOneEarly | MxyOneLate | CarryAfterGate | CarryNoFactor2 => reads && across,
            CarryRealParts => reads && across && self.any_imaginary(Name::C),
            MuxUnreversed => driven && passes && self.chunk_len.min(len) >= 2,
            CarryFullChunk => holds && passes && chunks >= 2 && last < self.chunk_len,
            CarryDropped => holds && passes && chunks >= 2,
            InitialStateIgnored => has_state && (modes || self.reads_beyond(0) || taps > len),
            SnapshotBoundary => passes && chunks >= 2,
            SnapshotBoundaryLater => passes && chunks >= 2 && self.batch >= 2,
            // Lost are keys that a tap would have read, or that the window still holds.
            ShiftStateLost => {
                let given = has_state && (taps > len || self.reads_beyond(self.chunk_len));
                passes && chunks >= 2 && (self.shift_tap(1, len) || self.holds_after(last) || given)
            }
            // A window of 1 does not move, and one of 2 rolls to the same place either way.
            ShiftStepTransposed => {
                passes && taps >= 2 && (len >= 2 && any(Name::ShiftB) || has_state)
            }
            ShiftStepRolledBack => {
                let given = has_state && (taps > len || self.reads_beyond(0));
                passes && taps >= 3 && (len >= 2 && any(Name::ShiftB) || given)
            }
            ShiftStepReadsBefore => {
                passes && (self.shift_tap(0, len) || has_state && any(Name::ShiftC))
            }
            StateFromInput | StateFromV => driven,
            StateWithoutB => modes,
            PadInState => len % 2 == 1,
        }
    }

    /// The run of these mutants on an input of zeros.
    fn with_run<R>(&self, mutants: &[Mutant], ask: impl FnOnce(&Run<'_>) -> R) -> Option<R> {
        let input = Tensor::filled([1, self.len, self.p.config().d_model], 0.0);
        let run = prepare(self.p, &input, None, Switches(mutants), self.chunk_len).ok()?;
        Some(ask(&run))
    }

    /// Whether some right tap of the shift models in this range is not zero.
    fn shift_tap(&self, from: usize, to: usize) -> bool {
        self.shift_tap_of(&[], from, to)
    }

    /// The same of the taps that these mutants use, which may be more.
    fn shift_tap_of(&self, mutants: &[Mutant], from: usize, to: usize) -> bool {
        self.with_run(mutants, |run| {
            shift::models(run, self.len).iter().any(|model| {
                let taps = model.kernel.iter().take(to).skip(from);
                taps.into_iter().any(|&tap| tap != 0.0)
            })
        })
        .unwrap_or(true)
    }

    /// The right kernels of the diagonal models; none where they cannot be discretized.
    fn long_kernels(&self, len: usize) -> Option<Vec<Vec<f64>>> {
        let kernels = self.with_run(&[], |run| {
            let models = diagonal::models(run).ok()?;
            Some(models.iter().map(|m| m.kernel(run.on, len)).collect())
        });
        kernels.flatten()
    }

    fn long_tap(&self, from: usize, to: usize) -> bool {
        self.long_kernels(to).is_none_or(|kernels| {
            let nonzero = |kernel: &Vec<f64>| kernel.iter().skip(from).any(|&tap| tap != 0.0);
            kernels.iter().any(nonzero)
        })
    }

    fn not_a_palindrome(&self) -> bool {
        self.long_kernels(self.window).is_none_or(|kernels| {
            let palindrome = |kernel: &Vec<f64>| kernel.iter().eq(kernel.iter().rev());
            !kernels.iter().all(palindrome)
        })
    }

    /// Whether the mutant changes a shift kernel where it is used.
    fn shift_kernels_differ(&self) -> bool {
        let kernels = |mutants: &[Mutant]| {
            self.with_run(mutants, |run| -> Vec<Vec<f64>> {
                let cut = |model: shift::ShiftModel| {
                    let mut kernel = model.kernel;
                    kernel.resize(self.window, 0.0);
                    kernel
                };
                shift::models(run, self.len).into_iter().map(cut).collect()
            })
        };
        kernels(&[self.mutant]) != kernels(&[])
    }

    /// Whether the mutant changes what is seen of a diagonal model: its kernel, the state that
    /// inputs leave, and what becomes of a state.
    fn diagonal_models_differ(&self) -> bool {
        let seen = |mutants: &[Mutant]| {
            self.with_run(mutants, |run| -> Option<Vec<_>> {
                let rng = &mut Rng::new(1);
                let u: Vec<f64> = (0..self.len).map(|_| f64::sample(rng)).collect();
                let models = diagonal::models(run).ok()?;
                let seen = models.iter().map(|model| {
                    let kernel = model.kernel(run.on, self.window);
                    let state = self.has_state.then(|| {
                        let x0 = generic_state(self.p.config().n_modes());
                        let first = Passing::long(run.on, run.passes_states()).first_row();
                        (
                            model.advance(&x0, self.len),
                            model.rows(&x0, first, self.len),
                        )
                    });
                    (kernel, model.absorb(&u), state)
                });
                Some(seen.collect())
            })
            .flatten()
        };
        match (seen(&[self.mutant]), seen(&[])) {
            (Some(wrong), Some(right)) => wrong != right,
            _ => true,
        }
    }

    /// Whether a tap of C beyond entry `n` of the window is not zero.
    fn reads_beyond(&self, n: usize) -> bool {
        let rows = self.p.get(Name::ShiftC).chunks(self.p.config().d_state);
        rows.into_iter()
            .any(|c| c.iter().skip(n + 1).any(|&c| c != 0.0))
    }

    /// Whether the window holds something of a key that `steps` others came after.
    fn holds_after(&self, steps: usize) -> bool {
        let rows = self.p.get(Name::ShiftB).chunks(self.p.config().d_state);
        rows.into_iter()
            .any(|b| b.iter().rev().skip(steps).any(|&b| b != 0.0))
    }

    fn any_imaginary(&self, name: Name) -> bool {
        self.p
            .get(name)
            .iter()
            .skip(1)
            .step_by(2)
            .any(|&x| x != 0.0)
    }

    fn any_bias(&self) -> bool {
        [Name::QBias, Name::KBias, Name::VBias]
            .iter()
            .any(|&name| self.p.get(name).iter().any(|&x| x != 0.0))
    }

    fn any_asymmetric(&self) -> bool {
        let d = self.p.config().d_model;
        [
            Name::QWeight,
            Name::KWeight,
            Name::VWeight,
            Name::OutputWeight,
        ]
        .iter()
        .any(|&name| {
            let w = self.p.get(name);
            (0..d * d).any(|i| w[i] != w[i % d * d + i / d])
        })
    }

    fn output_is_identity(&self) -> bool {
        let d = self.p.config().d_model;
        let identity = |i| if i / d == i % d { 1.0 } else { 0.0 };
        let w = self.p.get(Name::OutputWeight);
        (0..d * d).all(|i| w[i] == identity(i))
    }
}

/// A state with nothing special about it.
fn generic_state(modes: usize) -> Vec<Complex<f64>> {
    let rng = &mut Rng::new(2);
    (0..modes).map(|_| f64::sample_complex(rng)).collect()
}
