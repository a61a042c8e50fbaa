//! SSD, a model with one decay per head and step, in chunks of matrix products.
//!
//! Within a chunk of `T` steps, from the state `S` (P x N) before it, with `L_ij = a_i ... a_{j+1}`,
//! `d_i = a_i ... a_1` and `e_j = a_T ... a_{j+1}` (chapter 23):
//!
//! ```text
//! Y  = ((C B^T) o L) U + diag(d) C S^T
//! S' = d_T S + U^T diag(e) B
//! ```
//!
//! `C B^T` is the same for all heads of a group, and made once. The `P` inputs of a head are lanes; every
//! product has scalars on its left, laid out as its register tiles read them, and lanes on its right.
//! No product of decays is a quotient of two others.

use super::lanes::{Arithmetic, Element, Vector};
use super::level::{Isa, Kernel, Level, match_size};
use super::panels::{Panels, lane_groups, split_parts};
use super::share::share;
use super::workspace::Workspace;
use crate::error::{Error, check_len};
use crate::into_vec::IntoVec as _;

/// Steps per chunk. A step and head costs `2 N P` multiply-adds for the state and `(T + R) P / 2` for the
/// triangle, and the state is read and written once per chunk.
const CHUNK: usize = 48;

/// State channels are padded to a multiple of it, which the rows of every register tile divide.
const ROWS: usize = 6;

/// Rows and vectors of a register tile. Never as many rows as lanes (see `projection`).
const fn tile_of(accumulators: usize) -> (usize, usize) {
    match accumulators {
        24.. => (6, 4),
        6.. => (6, 1),
        _ => (3, 1),
    }
}

/// The SSD operator, prepared for a level:
///
/// ```text
/// S_t = exp(log_a_t) S_(t-1) + dt_t x_t B_t^T        y_t = S_t C_t
/// ```
///
/// for every head, whose state `S` is P x N, and which reads the `B` and `C` of its group (Mamba-2's
/// `ssd_minimal_discrete`, whose `X` is `dt x` and whose `A` is `log_a`).
#[derive(Clone, Copy, Debug)]
pub struct Ssd {
    level: Level,
    heads: usize,
    inputs: usize,
    groups: usize,
    state: usize,
}

/// The operands of an [`Ssd`].
#[derive(Clone, Copy, Debug)]
pub struct SsdInputs<'a, T: Element> {
    /// Panels (batch heads, seq_len, P), the heads of a sequence one after another.
    pub x: &'a Panels<T>,
    /// (batch, seq_len, heads); ones where there is none.
    pub dt: Option<&'a [T]>,
    /// (batch, seq_len, heads).
    pub log_a: &'a [T],
    /// (batch, seq_len, groups, N).
    pub b: &'a [T],
    /// (batch, seq_len, groups, N).
    pub c: &'a [T],
}

/// The states of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct SsdState<T: Element> {
    /// [sequence][head][tile of vectors][n][vector of the tile]
    lanes: Vec<T::Lanes>,
}

/// The operands that the heads of a group share in a chunk.
struct Shared<'a, T> {
    /// `C`: [tile of steps][n][step].
    c: &'a [T],
    /// `B`: [tile of n][step][n].
    b: &'a [T],
    /// `C B^T`, transposed: [j][i].
    scores: &'a [T],
}

impl Ssd {
    /// The operator with these sizes; consecutive heads share a group.
    ///
    /// # Errors
    ///
    /// If the groups do not divide the heads.
    pub fn new(
        level: Level,
        [heads, inputs]: [usize; 2],
        [groups, state]: [usize; 2],
    ) -> Result<Self, Error> {
        if groups == 0 || !heads.is_multiple_of(groups) {
            return Err(Error::value(
                "groups",
                format!("{groups}; expected a divisor of the {heads} heads"),
            ));
        }
        Ok(Self {
            level,
            heads,
            inputs,
            groups,
            state,
        })
    }

    fn tile(&self) -> (usize, usize) {
        tile_of(self.level.accumulators())
    }

    /// State channels with those that only fill the last tile.
    fn padded_state(&self) -> usize {
        // One tile even of no state, so that outputs are written.
        self.state.max(1).next_multiple_of(ROWS)
    }

    /// Vectors of a head's inputs, likewise.
    fn padded_vectors<T: Element>(&self) -> usize {
        let (_, vectors) = self.tile();
        lane_groups::<T>(self.inputs).next_multiple_of(vectors)
    }

    /// The zero state of a batch.
    #[must_use]
    pub fn zero_state<T: Element>(&self, batch: usize) -> SsdState<T> {
        let each = self.padded_vectors::<T>() * self.padded_state();
        SsdState {
            lanes: vec![T::Lanes::ZERO; batch * self.heads * each],
        }
    }

    /// The places of a state's numbers (batch, heads, P, N) in its lanes: vector and lane.
    fn places<T: Element>(&self, batch: usize) -> impl Iterator<Item = (usize, usize)> + use<T> {
        let (_, tile) = self.tile();
        let (rows, vectors, width) = (
            self.padded_state(),
            self.padded_vectors::<T>(),
            T::Lanes::WIDTH,
        );
        let (inputs, state) = (self.inputs, self.state);
        (0..batch * self.heads * inputs * state).map(move |i| {
            let (n, p, head) = (i % state, i / state % inputs, i / state / inputs);
            let v = p / width;
            let at = head * vectors * rows + (v / tile * rows + n) * tile + v % tile;
            (at, p % width)
        })
    }

    /// The state with these numbers (batch, heads, P, N).
    ///
    /// # Errors
    ///
    /// If there are not as many.
    pub fn state_from<T: Element>(
        &self,
        batch: usize,
        numbers: &[T],
    ) -> Result<SsdState<T>, Error> {
        let size = batch * self.heads * self.inputs * self.state;
        check_len("state", numbers.len(), size)?;
        let mut state = self.zero_state::<T>(batch);
        for ((at, lane), &x) in self.places::<T>(batch).zip(numbers) {
            state.lanes[at].lanes_mut()[lane] = x;
        }
        Ok(state)
    }

    /// The numbers of a state (batch, heads, P, N).
    ///
    /// # Errors
    ///
    /// If it is not a state of such a batch.
    pub fn state_numbers<T: Element>(
        &self,
        batch: usize,
        state: &SsdState<T>,
    ) -> Result<Vec<T>, Error> {
        self.check_state(batch, state)?;
        let places = self.places::<T>(batch);
        Ok(places
            .map(|(at, lane)| state.lanes[at].lanes()[lane])
            .into_vec())
    }

    fn check_state<T: Element>(&self, batch: usize, state: &SsdState<T>) -> Result<(), Error> {
        let each = self.padded_vectors::<T>() * self.padded_state();
        let size = batch * self.heads * each;
        check_len("state of the heads", state.lanes.len(), size)
    }

    /// `y` (panels as `x`) from `state`, leaving in it the state after the last step. The result does not
    /// depend on the number of threads.
    ///
    /// # Errors
    ///
    /// If a shape disagrees.
    pub fn run<T: Element>(
        &self,
        inputs: &SsdInputs<'_, T>,
        state: &mut SsdState<T>,
        y: &mut Panels<T>,
        workspace: &mut Workspace<T>,
    ) -> Result<(), Error> {
        let (heads, len) = (self.heads, y.seq_len());
        let batch = y.batch().checked_div(heads).unwrap_or(0);
        y.check("output", batch * heads, self.inputs, len)?;
        inputs.x.check("x", batch * heads, self.inputs, len)?;
        let steps = batch * len;
        check_len("log_a", inputs.log_a.len(), steps * heads)?;
        if let Some(dt) = inputs.dt {
            check_len("dt", dt.len(), steps * heads)?;
        }
        check_len("B", inputs.b.len(), steps * self.groups * self.state)?;
        check_len("C", inputs.c.len(), steps * self.groups * self.state)?;
        self.check_state(batch, state)?;
        if steps * heads * self.inputs == 0 {
            return Ok(());
        }
        let mut shared = core::mem::take(&mut workspace.shared);
        self.prepare(inputs, steps / batch, &mut shared, workspace);
        let (chunks, each) = (len.div_ceil(CHUNK), self.shared_len());
        let states = split_parts(
            &mut state.lanes,
            self.padded_vectors::<T>() * self.padded_state(),
            batch * heads,
        );
        let items = y.sequences_mut().zip(states).enumerate();
        let operations = steps * heads * self.padded_vectors::<T>() * 2 * self.state;
        let threads = workspace.threads_for(operations);
        share(items, threads, |scratch, (i, (y, state))| {
            let (sequence, head) = (i / heads, i % heads);
            let group = sequence * self.groups + head / (heads / self.groups);
            for chunk in 0..chunks {
                let first = chunk * CHUNK;
                let count = CHUNK.min(len - first);
                let of_step = |t: usize| (sequence * len + first + t) * heads + head;
                let mut decays = [T::ONE; CHUNK];
                let mut dt = [T::ONE; CHUNK];
                for t in 0..count {
                    decays[t] = inputs.log_a[of_step(t)].exp();
                    if let Some(given) = inputs.dt {
                        dt[t] = given[of_step(t)];
                    }
                }
                let at = (group * chunks + chunk) * each;
                self.level.run(Chunk {
                    shared: self.shared(&shared[at..][..each]),
                    decays: &decays,
                    dt: &dt,
                    x: inputs.x.sequence(i),
                    len,
                    first,
                    count,
                    state: &mut *state,
                    y: &mut *y,
                    mask: &mut scratch.packed,
                    u: &mut scratch.heads,
                });
            }
        });
        workspace.shared = shared;
        Ok(())
    }

    /// The length of the [`Shared`] numbers of a chunk and group.
    fn shared_len(&self) -> usize {
        CHUNK * (self.state + self.padded_state() + CHUNK)
    }

    fn shared<'a, T>(&self, numbers: &'a [T]) -> Shared<'a, T> {
        let (c, rest) = numbers.split_at(CHUNK * self.state);
        let (b, scores) = rest.split_at(CHUNK * self.padded_state());
        Shared { c, b, scores }
    }

    /// `B`, `C` and their products, for every chunk of every group.
    fn prepare<T: Element>(
        &self,
        inputs: &SsdInputs<'_, T>,
        len: usize,
        shared: &mut Vec<T>,
        workspace: &mut Workspace<T>,
    ) {
        let (chunks, each, n) = (len.div_ceil(CHUNK), self.shared_len(), self.state);
        let (rows, vectors) = self.tile();
        let batch = inputs.x.batch() / self.heads;
        shared.resize(batch * self.groups * chunks * each, T::ZERO);
        let items = shared.chunks_exact_mut(each).enumerate();
        let operations = batch * self.groups * len * CHUNK * n / T::Lanes::WIDTH;
        let threads = workspace.threads_for(operations);
        share(items, threads, |scratch, (i, shared)| {
            let (sequence, group) = (i / chunks / self.groups, i / chunks % self.groups);
            let first = i % chunks * CHUNK;
            let count = CHUNK.min(len - first);
            let row = |t: usize| ((sequence * len + first + t) * self.groups + group) * n;
            // Beyond the last step all is zero.
            shared.fill(T::ZERO);
            let (c, rest) = shared.split_at_mut(CHUNK * n);
            let (b, scores) = rest.split_at_mut(CHUNK * self.padded_state());
            let tiles = (CHUNK / T::Lanes::WIDTH).div_ceil(vectors);
            let (columns, keys) = (&mut scratch.heads, &mut scratch.packed);
            columns.clear();
            columns.resize(tiles * n * vectors, T::Lanes::ZERO);
            keys.clear();
            keys.resize(n * CHUNK, T::ZERO);
            for t in 0..count {
                let (of_b, of_c) = (&inputs.b[row(t)..][..n], &inputs.c[row(t)..][..n]);
                let (v, lane) = (t / T::Lanes::WIDTH, t % T::Lanes::WIDTH);
                for k in 0..n {
                    c[(t / rows * n + k) * rows + t % rows] = of_c[k];
                    b[(k / rows * CHUNK + t) * rows + k % rows] = of_b[k];
                    keys[k * CHUNK + t] = of_b[k];
                    let at = (v / vectors * n + k) * vectors + v % vectors;
                    columns[at].lanes_mut()[lane] = of_c[k];
                }
            }
            self.level.run(Scores {
                keys,
                columns,
                n,
                scores,
            });
        });
    }
}

/// `acc[r][v] += sum_k a[k stride + r] w[k][v]`.
#[inline(always)]
fn product<T: Element, S: Isa, const R: usize, const V: usize>(
    a: &[T],
    stride: usize,
    w: &[[T::Lanes; V]],
    mut acc: [[T::Lanes; V]; R],
) -> [[T::Lanes; V]; R] {
    for k in 0..w.len() {
        let row = &a[k * stride..][..R];
        for r in 0..R {
            let x = T::Lanes::splat(row[r]);
            for v in 0..V {
                acc[r][v] = x.fma::<S>(w[k][v], acc[r][v]);
            }
        }
    }
    acc
}

/// A kernel in the register tiles of [`tile_of`].
trait Tiled {
    /// The computation in tiles of `R` rows and `V` vectors.
    fn tiles<S: Isa, const R: usize, const V: usize>(self);
}

impl<K: Tiled> Kernel for K {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        match_size!(tile_of(S::ACCUMULATORS);
            (6, 4) => self.tiles::<S, 6, 4>(),
            (6, 1) => self.tiles::<S, 6, 1>(),
            _ => self.tiles::<S, 3, 1>(),
        );
    }
}

/// `scores[j][i] = B_j . C_i` in a chunk, as a kernel.
struct Scores<'a, T: Element> {
    /// `B`: [n][step].
    keys: &'a [T],
    /// `C`: [tile of vectors of steps][n][vector of the tile].
    columns: &'a [T::Lanes],
    n: usize,
    scores: &'a mut [T],
}

impl<T: Element> Tiled for Scores<'_, T> {
    #[inline(always)]
    fn tiles<S: Isa, const R: usize, const V: usize>(self) {
        let columns = self.columns.as_chunks::<V>().0;
        if self.n == 0 {
            return;
        }
        for (tile, columns) in columns.chunks_exact(self.n).enumerate() {
            for j in (0..CHUNK).step_by(R) {
                let zero = [[T::Lanes::ZERO; V]; R];
                let acc = product::<T, S, R, V>(&self.keys[j..], CHUNK, columns, zero);
                for r in 0..R {
                    let to = &mut self.scores[(j + r) * CHUNK..][..CHUNK];
                    for v in 0..V {
                        if let Some(to) = to.get_mut((tile * V + v) * T::Lanes::WIDTH..) {
                            acc[r][v].store(to);
                        }
                    }
                }
            }
        }
    }
}

/// One chunk of one head, as a kernel.
struct Chunk<'a, T: Element> {
    shared: Shared<'a, T>,
    /// Ones beyond the last step.
    decays: &'a [T; CHUNK],
    dt: &'a [T; CHUNK],
    /// [vector][step of the sequence]
    x: &'a [T::Lanes],
    /// Steps of the sequence; the first of the chunk, and their number.
    len: usize,
    first: usize,
    count: usize,
    state: &'a mut [T::Lanes],
    /// As `x`.
    y: &'a mut [T::Lanes],
    mask: &'a mut Vec<T>,
    u: &'a mut Vec<T::Lanes>,
}

impl<T: Element> Tiled for Chunk<'_, T> {
    #[inline(always)]
    fn tiles<S: Isa, const R: usize, const V: usize>(self) {
        let Self {
            shared,
            decays,
            len,
            first,
            count,
            ..
        } = self;
        let (n, rows) = (shared.c.len() / CHUNK, shared.b.len() / CHUNK);
        self.mask.resize(CHUNK * CHUNK, T::ZERO);
        masked(shared.scores, decays, self.mask);
        self.u.resize(CHUNK * V, T::Lanes::ZERO);
        let u = self.u.as_chunks_mut::<V>().0;
        let (mut from_start, mut to_end) = (*decays, [T::ONE; CHUNK]);
        for t in 1..CHUNK {
            from_start[t] = from_start[t - 1] * decays[t];
            to_end[CHUNK - 1 - t] = to_end[CHUNK - t] * decays[CHUNK - t];
        }
        let whole = T::Lanes::splat(from_start[CHUNK - 1]);
        let vectors = self.x.len() / len;
        let state = self.state.as_chunks_mut::<V>().0;
        for (tile, state) in state.chunks_exact_mut(rows.max(1)).enumerate() {
            let vectors = V.min(vectors.saturating_sub(tile * V));
            for t in 0..CHUNK {
                let dt = T::Lanes::splat(self.dt[t]);
                u[t] = [T::Lanes::ZERO; V];
                if t < count {
                    for v in 0..vectors {
                        u[t][v] = self.x[(tile * V + v) * len + first + t].times(dt);
                    }
                }
            }
            for i in (0..count).step_by(R) {
                let c = &shared.c[i * n..][..R * n];
                let zero = [[T::Lanes::ZERO; V]; R];
                let mut acc = product::<T, S, R, V>(c, R, &state[..n], zero);
                for r in 0..R {
                    let decay = T::Lanes::splat(from_start[i + r]);
                    for v in 0..V {
                        acc[r][v] = acc[r][v].times(decay);
                    }
                }
                let mask = &self.mask[i..];
                let acc = product::<T, S, R, V>(mask, CHUNK, &u[..i + R], acc);
                for r in 0..R.min(count - i) {
                    for v in 0..vectors {
                        self.y[(tile * V + v) * len + first + i + r] = acc[r][v];
                    }
                }
            }
            for t in 0..count {
                let decay = T::Lanes::splat(to_end[t]);
                for v in 0..V {
                    u[t][v] = u[t][v].times(decay);
                }
            }
            for (state, b) in state
                .as_chunks_mut::<R>()
                .0
                .iter_mut()
                .zip(shared.b.chunks_exact(R * CHUNK))
            {
                let mut acc = *state;
                for r in 0..R {
                    for v in 0..V {
                        acc[r][v] = acc[r][v].times(whole);
                    }
                }
                *state = product::<T, S, R, V>(b, R, &u[..count], acc);
            }
        }
    }
}

/// `mask[j][i] = scores[j][i] L_ij`, zeros above the diagonal. `L_ij` is `L_i(j+1) a_(j+1)`, so it is made
/// from the last `j` down.
#[inline(always)]
fn masked<T: Element>(scores: &[T], decays: &[T; CHUNK], mask: &mut [T]) {
    let width = T::Lanes::WIDTH;
    for first in (0..CHUNK).step_by(width) {
        let mut products = T::Lanes::ZERO;
        for j in (0..CHUNK).rev() {
            if j + 1 < CHUNK {
                products = products.times(T::Lanes::splat(decays[j + 1]));
            }
            if (first..first + width).contains(&j) {
                products.lanes_mut()[j - first] = T::ONE;
            }
            let at = j * CHUNK + first;
            let scores = T::Lanes::load(&scores[at..]);
            scores.times(products).store(&mut mask[at..]);
        }
    }
}
