//! Whether sharing work among threads pays, from the time that it took before.

/// The time that work took, alone and together. Where others use the machine, waiting for a thread that was put
/// off costs more than it helped, and on some machines starting one does: then one thread works alone until that has
/// changed.
#[derive(Clone, Debug)]
pub struct Experience {
    /// Seconds per operation, by the logarithm of the number of operations: alone, and together. 0 if not known.
    rates: [[f64; 2]; usize::BITS as usize],
    /// The calls of so many operations.
    calls: [usize; usize::BITS as usize],
}

/// Calls in which both ways are tried in turn.
pub const TRIALS: usize = 4;

/// Calls after which the way that was slower is tried again.
const CALLS_TO_TRY: usize = 32;

impl Default for Experience {
    fn default() -> Self {
        Self {
            rates: [[0.0; 2]; usize::BITS as usize],
            calls: [0; usize::BITS as usize],
        }
    }
}

impl Experience {
    /// True if so many operations are to be shared: if that was quicker of late, and now and then if it was not.
    pub fn share(&mut self, operations: usize) -> bool {
        let class = operations.max(1).ilog2() as usize;
        let [alone, together] = self.rates[class];
        self.calls[class] += 1;
        // Each way is tried first, and tried again: the very first call fills buffers and caches.
        if self.calls[class] <= TRIALS {
            return self.calls[class] % 2 == 1;
        }
        (together <= alone) != self.calls[class].is_multiple_of(CALLS_TO_TRY)
    }

    /// Takes note of a time: of the first ones the least, then the later ones counting more.
    pub fn note(&mut self, operations: usize, shared: bool, seconds: f64) {
        let class = operations.max(1).ilog2() as usize;
        let rate = &mut self.rates[class][usize::from(shared)];
        let new = seconds / operations.max(1) as f64;
        *rate = match (*rate == 0.0, self.calls[class] <= TRIALS) {
            (true, _) => new,
            (false, true) => rate.min(new),
            (false, false) => 0.75 * *rate + 0.25 * new,
        };
    }
}
