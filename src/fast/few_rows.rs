//! Products of a few rows: the time goes into reading the weight, so that is what threads share.

use super::experience::Experience;
use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel, Level, match_size};
use super::tile::{height_of, tile_of};
use super::weights::{Tiles, Weights, Whole, Widen, WithTiles};
use crate::into_vec::IntoVec as _;
use crate::threads::{Parked, Task, lock};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockWriteGuard};
use std::time::Instant;

/// The most rows of which it is the weight's outputs that threads share: every one of them reads its part of the weight
/// once, and every row.
pub(super) const FEW_ROWS: usize = 32;

/// Tiles that a thread takes at once: a multiple of those that kernels take.
const TILES_AT_ONCE: usize = 12;

/// The most rows whose products read a weight as it is stored; for more, a tile is widened first.
const ROWS_OF_CODES: usize = 4;

/// The threads that do products of a few rows, parked between them, and the buffers of such a product.
#[derive(Debug)]
pub(super) struct FewRowsThreads<T: Element> {
    parked: Parked,
    task: Arc<FewRows<T>>,
    experience: Experience,
    /// The fewest vector operations that threads are woken for.
    worth_waking: usize,
}

/// Vector operations that take some times as long as waking a thread that is parked, measured at 8 microseconds: if a weight
/// comes from a cache, some 20.
const WORTH_WAKING: usize = 1 << 15;

impl<T: Element> FewRowsThreads<T> {
    /// `others` threads beside the caller's.
    pub(super) fn new(others: usize) -> Self {
        Self {
            parked: Parked::new(others),
            task: Arc::default(),
            experience: Experience::default(),
            worth_waking: WORTH_WAKING,
        }
    }

    /// Shares all work out, however little.
    pub(super) fn share_all(&mut self) {
        self.worth_waking = 0;
    }

    /// Does the task, of so many operations, alone or together, whichever was faster of late; together in any case if
    /// all is worth it.
    fn run(&mut self, operations: usize) {
        let Self {
            parked,
            task,
            experience,
            worth_waking,
        } = self;
        if parked.others() == 0 || operations < *worth_waking {
            return task.work();
        }
        if *worth_waking == 0 {
            return parked.run(task);
        }
        let shared = experience.share(operations);
        let begun = Instant::now();
        match shared {
            true => parked.run(task),
            false => task.work(),
        }
        experience.note(operations, shared, begun.elapsed().as_secs_f64());
    }
}

impl<T: Element> Clone for FewRowsThreads<T> {
    /// As many threads of its own.
    fn clone(&self) -> Self {
        let threads = Self::new(self.parked.others());
        Self {
            worth_waking: self.worth_waking,
            ..threads
        }
    }
}

/// A few rows times a weight, as threads that outlive the call do it: it owns or shares all it needs.
#[derive(Debug)]
struct FewRows<T: Element> {
    product: RwLock<Product<T>>,
    /// The next tiles to be taken.
    next: AtomicUsize,
    /// Results, and buffers for them.
    done: Mutex<Vec<Outputs<T>>>,
    spare: Mutex<Vec<Outputs<T>>>,
}

#[derive(Debug)]
struct Product<T: Element> {
    weights: Option<Weights<T>>,
    packed: Vec<T>,
    rows: usize,
}

/// The outputs that one thread computed.
#[derive(Debug)]
struct Outputs<T: Element> {
    /// The first tile of every part taken.
    tiles: Vec<usize>,
    /// Part by part: [vector][row]
    lanes: Vec<T::Lanes>,
    /// A tile that is stored in another format.
    wide: Vec<T::Lanes>,
}

impl<T: Element> Default for FewRows<T> {
    fn default() -> Self {
        Self {
            product: RwLock::new(Product {
                weights: None,
                packed: Vec::new(),
                rows: 0,
            }),
            next: AtomicUsize::new(0),
            done: Mutex::default(),
            spare: Mutex::default(),
        }
    }
}

impl<T: Element> Task for FewRows<T> {
    fn work(&self) {
        let product = self.product.read().unwrap_or_else(PoisonError::into_inner);
        let Some(weights) = &product.weights else {
            return;
        };
        let spare = lock(&self.spare).pop();
        let mut outputs = spare.unwrap_or(Outputs {
            tiles: Vec::new(),
            lanes: Vec::new(),
            wide: Vec::new(),
        });
        outputs.tiles.clear();
        outputs.lanes.clear();
        loop {
            let first = self.next.fetch_add(TILES_AT_ONCE, Ordering::Relaxed);
            if first >= weights.tiles() {
                break;
            }
            let count = TILES_AT_ONCE.min(weights.tiles() - first);
            let (before, size) = (
                outputs.lanes.len(),
                count * weights.per_tile() * product.rows,
            );
            outputs.lanes.resize(before + size, T::Lanes::ZERO);
            let out = &mut outputs.lanes[before..];
            product.of_tiles(weights, (first, count), out, &mut outputs.wide);
            outputs.tiles.push(first);
        }
        lock(&self.done).push(outputs);
    }
}

impl<T: Element> Product<T> {
    fn of_tiles(
        &self,
        weights: &Weights<T>,
        (first, count): (usize, usize),
        out: &mut [T::Lanes],
        wide: &mut Vec<T::Lanes>,
    ) {
        let (packed, rows) = (&self.packed[..], self.rows);
        if rows <= ROWS_OF_CODES.min(weights.height) {
            let (level, inputs) = (weights.level, weights.inputs);
            let few = FewTimes {
                level,
                inputs,
                packed,
                rows,
                out,
            };
            return weights.with_tiles(first, count, few);
        }
        weights.multiply_to_panels(packed, rows, first * weights.per_tile(), out, wide);
    }
}

impl<T: Element> Weights<T> {
    /// A few rows, packed by `pack`, times the weight: `store(vector, row, lanes)` is called for every vector of outputs.
    pub(super) fn project_few(
        &self,
        rows: usize,
        pack: impl FnOnce(&mut [T]),
        threads: &mut FewRowsThreads<T>,
        mut store: impl FnMut(usize, usize, T::Lanes),
    ) {
        let task = &threads.task;
        {
            let mut product = write(&task.product);
            product.packed.resize(self.packed_len(rows), T::ZERO);
            pack(&mut product.packed);
            product.rows = rows;
            product.weights = Some(self.clone());
        }
        task.next.store(0, Ordering::Relaxed);
        // If a thread panicked, there may be outputs of that product still.
        lock(&task.done).clear();
        threads.run(self.operations(rows));
        let task = &threads.task;
        // No thread is at it any more, and the weight may be dropped before the next product.
        write(&task.product).weights = None;
        let mut done = lock(&task.done);
        for outputs in &*done {
            let mut parts = &outputs.lanes[..];
            for &first in &outputs.tiles {
                let count = TILES_AT_ONCE.min(self.tiles() - first) * self.per_tile();
                let (part, rest) = parts.split_at(count * rows);
                for (v, panel) in part.chunks_exact(rows).enumerate() {
                    let vector = first * self.per_tile() + v;
                    if vector < self.vectors {
                        for (row, &lanes) in panel.iter().enumerate() {
                            store(vector, row, lanes);
                        }
                    }
                }
                parts = rest;
            }
        }
        lock(&task.spare).append(&mut done);
    }
}

/// Products are put up whole, so a poisoned lock is as good as any.
fn write<V>(lock: &RwLock<V>) -> RwLockWriteGuard<'_, V> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// At most [`ROWS_OF_CODES`] packed rows times neighbouring tiles as they are stored.
struct FewTimes<'a, T: Element> {
    level: Level,
    inputs: usize,
    packed: &'a [T],
    rows: usize,
    /// [vector][row]
    out: &'a mut [T::Lanes],
}

impl<T: Element> WithTiles<T> for FewTimes<'_, T> {
    fn run<W: Widen<T>>(self, tiles: Tiles<'_, T, W>) {
        // Kernels that widen what they read are compiled for f32 alone; f64 is there to compare with.
        if const { W::WIDENS && size_of::<T>() > size_of::<f32>() } {
            let Tiles {
                codes,
                scales,
                bias,
            } = tiles;
            let vectors = tile_of(self.level.accumulators(), T::Lanes::WIDTH).1;
            let scale = |i: usize| scales.get(i / (self.inputs * vectors) * vectors + i % vectors);
            let codes = codes.iter().enumerate();
            let wide = codes.map(|(i, code)| W::lanes(code, scale(i).copied().unwrap_or_default()));
            let tiles = Tiles::<T, Whole> {
                codes: &wide.into_vec(),
                scales: &[],
                bias,
            };
            self.level.run(FewKernel { few: self, tiles });
        } else {
            self.level.run(FewKernel { few: self, tiles });
        }
    }
}

struct FewKernel<'a, 'b, T: Element, W: Widen<T>> {
    few: FewTimes<'a, T>,
    tiles: Tiles<'b, T, W>,
}

impl<T: Element, W: Widen<T>> Kernel for FewKernel<'_, '_, T, W> {
    type Output = ();

    /// Several tiles at a time, since a multiply-add waits for the last one into the same sum: eight registers of sums
    /// keep two units busy. Where lanes are widened it is six in tiles of one vector, since the compiler
    /// ran out of registers with eight, and one tile of three vectors: with three of those a step was no quicker.
    #[inline(always)]
    fn run<S: Isa>(self) {
        let (height, _) = tile_of(S::ACCUMULATORS, T::Lanes::WIDTH);
        let rows = height_of(self.few.rows, height);
        match_size!(tile_of(S::ACCUMULATORS, T::Lanes::WIDTH);
            (_, 3) => match rows {
                1 if const { W::WIDENS } => self.tiles::<S, 1, 3, 1>(),
                1 => self.tiles::<S, 1, 3, 3>(),
                2 => self.tiles::<S, 2, 3, 2>(),
                _ => self.tiles::<S, 4, 3, 1>(),
            },
            _ => match rows {
                1 if const { W::WIDENS } => self.tiles::<S, 1, 1, 3>(),
                1 => self.tiles::<S, 1, 1, 4>(),
                2 => self.tiles::<S, 2, 1, 2>(),
                _ => match_size!(tile_of(S::ACCUMULATORS, T::Lanes::WIDTH);
                    (3, _) => self.tiles::<S, 3, 1, 1>(),
                    _ => self.tiles::<S, 4, 1, 1>(),
                ),
            },
        );
    }
}

impl<T: Element, W: Widen<T>> FewKernel<'_, '_, T, W> {
    /// Tiles of `V` vectors times rows packed `R` high, `G` tiles at a time.
    #[inline(always)]
    fn tiles<S: Isa, const R: usize, const V: usize, const G: usize>(mut self) {
        let count = self.tiles.bias.len() / V;
        let whole = count / G * G;
        for first in (0..whole).step_by(G) {
            self.some::<S, R, V, G>(first);
        }
        for first in whole..count {
            self.some::<S, R, V, 1>(first);
        }
    }

    #[inline(always)]
    fn some<S: Isa, const R: usize, const V: usize, const G: usize>(&mut self, first: usize) {
        let Self { few, tiles } = self;
        let (a, _) = few.packed.as_chunks::<R>();
        let terms = few.inputs.min(a.len());
        let a = &a[..terms];
        let (codes, _) = tiles.codes.as_chunks::<V>();
        let codes: [&[[W::Code; V]]; G] =
            core::array::from_fn(|g| &codes[(first + g) * few.inputs..][..terms]);
        let at = |g: usize, v: usize| (first + g) * V + v;
        let mut scales = [[T::Lanes::ZERO; V]; G];
        const { assert!(V == 1 || V == 3, "vectors are written out") };
        let mut acc = [[[T::Lanes::ZERO; V]; R]; G];
        for g in 0..G {
            for v in 0..V {
                if let Some(&scale) = tiles.scales.get(at(g, v)) {
                    scales[g][v] = scale;
                }
                for r in 0..R {
                    acc[g][r][v] = tiles.bias[at(g, v)];
                }
            }
        }
        for k in 0..terms {
            for g in 0..G {
                // Written out: a loop over vectors whose lanes are widened in several operations was taken for one over
                // the elements of a vector, gathered lane by lane, 20 times slower.
                let (code, scales, acc) = (&codes[g][k], &scales[g], &mut acc[g]);
                add::<S, T, W, R, V>(acc, code, scales, &a[k], 0);
                if V > 1 {
                    add::<S, T, W, R, V>(acc, code, scales, &a[k], 1);
                    add::<S, T, W, R, V>(acc, code, scales, &a[k], 2);
                }
            }
        }
        for g in 0..G {
            for v in 0..V {
                for r in 0..R.min(few.rows) {
                    few.out[at(g, v) * few.rows + r] = acc[g][r][v];
                }
            }
        }
    }
}

/// One term of the products of `R` rows with one vector of a tile.
#[inline(always)]
fn add<S: Isa, T: Element, W: Widen<T>, const R: usize, const V: usize>(
    acc: &mut [[T::Lanes; V]; R],
    code: &[W::Code; V],
    scales: &[T::Lanes; V],
    a: &[T; R],
    v: usize,
) {
    let w = W::lanes(&code[v], scales[v]);
    for r in 0..R {
        acc[r][v] = T::Lanes::splat(a[r]).fma::<S>(w, acc[r][v]);
    }
}
