//! Whether sharing work among threads pays, from the time that it took before.

/// The time that work took, alone and together. Where others use the machine, waiting for a thread that was put
/// off costs more than it helped, and on some machines starting one does: then one thread works alone until that has
/// changed.
#[derive(Clone, Debug)]
pub(super) struct Experience {
    /// Seconds per operation, by the logarithm of the number of operations: alone, and together. 0 if not known.
    rates: [[f64; 2]; usize::BITS as usize],
    /// The calls of so many operations.
    calls: [usize; usize::BITS as usize],
}

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
    pub(super) fn share(&mut self, operations: usize) -> bool {
        let class = operations.max(1).ilog2() as usize;
        let [alone, together] = self.rates[class];
        self.calls[class] += 1;
        // What has not been tried is tried first.
        if alone == 0.0 || together == 0.0 {
            return together == 0.0;
        }
        (together <= alone) != self.calls[class].is_multiple_of(CALLS_TO_TRY)
    }

    /// Takes note of a time, the later ones counting more.
    pub(super) fn note(&mut self, operations: usize, shared: bool, seconds: f64) {
        let rate = &mut self.rates[operations.max(1).ilog2() as usize][usize::from(shared)];
        let new = seconds / operations.max(1) as f64;
        *rate = if *rate == 0.0 {
            new
        } else {
            0.75 * *rate + 0.25 * new
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ways are tried, then the quicker one is taken but for one call in 32; each size is a matter of its own.
    #[test]
    fn the_quicker_way_is_taken() {
        for quicker in [true, false] {
            let mut experience = Experience::default();
            let mut shared = 0;
            for call in 0..320 {
                let share = experience.share(5000);
                if call < 2 {
                    assert_eq!(share, call == 0, "both are tried");
                }
                shared += usize::from(share);
                let seconds = if share == quicker { 1.0 } else { 1.2 };
                experience.note(5000, share, seconds);
            }
            let rare = if quicker { 320 - shared } else { shared };
            assert!((10..=12).contains(&rare), "{rare}");
            assert!(experience.share(9000), "of another size nothing is known");
        }
    }
}
