//! Claim: what a boundary between documents makes of FlashConv's four blocks. Written as matrices,
//!
//! ```text
//! a boundary inside a chunk:  M_xx = 0
//!                             M_ux keeps its columns from the last boundary on
//!                             M_xy keeps its rows before the first
//!                             T_f  is block diagonal
//! one at a chunk's edge:      the incoming state is dropped, for M_xy too
//! ```
//!
//! they give, chunk by chunk, what the packed form gives; transposed, what its adjoint gives; and with
//! any one of these rules broken they do not. Over the prime field, for every structure: each is written
//! as a dense model with real states first.

use super::super::gradients::support::*;
use super::support::{packed_rows, ranges};
use hungry_hippos::algebra::{Matrix, Ring, Rng};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{AdjointForm, Form, ModelForm};
use hungry_hippos::ssm::{Dense, Diagonal, Shift, StateSpace};
use std::ops::Range;

/// The same model with a dense state matrix, on states as [`Structure::flat_state`] writes them.
trait AsDense: Structure {
    fn dense(ssm: &Self::Model<Exact>) -> Dense<Exact>;
}

impl AsDense for IsDense {
    fn dense(ssm: &Dense<Exact>) -> Dense<Exact> {
        ssm.clone()
    }
}

impl AsDense for IsShift {
    fn dense(ssm: &Shift<Exact>) -> Dense<Exact> {
        let m = ssm.state_dim();
        let below = |i: usize, j: usize| if i == j + 1 { Exact::ONE } else { Exact::ZERO };
        let a = Matrix::from_fn(m, m, below);
        let (b, c) = (ssm.b().to_vec(), ssm.c().to_vec());
        Dense::new(a, b, c, ssm.feedthrough()).expect("fits")
    }
}

/// Real and imaginary parts: a pole is a rotation and scaling, and the trace reads `2 Re(c x)`.
impl AsDense for IsDiagonal {
    fn dense(ssm: &Diagonal<Exact>) -> Dense<Exact> {
        let (m, poles) = (2 * ssm.state_dim(), ssm.poles());
        let a = Matrix::from_fn(m, m, |i, j| match (i / 2 == j / 2, i % 2, j % 2) {
            (false, ..) => Exact::ZERO,
            (true, 0, 0) | (true, 1, 1) => poles[i / 2].re,
            (true, 0, _) => Exact::ZERO - poles[i / 2].im,
            (true, ..) => poles[i / 2].im,
        });
        let two = Exact::new(2);
        let c = ssm
            .c()
            .iter()
            .flat_map(|c| [two * c.re, Exact::ZERO - two * c.im]);
        let (b, c) = (pairs(ssm.b()), c.collect());
        Dense::new(a, b, c, ssm.feedthrough()).expect("fits")
    }
}

/// A rule of boundaries that is broken.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Leak {
    /// `M_xx = A^T`, a boundary inside or not.
    Carried,
    /// `M_ux` with all its columns.
    AllColumns,
    /// `M_xy` with all its rows.
    AllRows,
    /// `T_f` without its zeros.
    WholeKernel,
    /// At a chunk's edge the incoming state goes on.
    EdgeKept,
    /// It is dropped for `M_xx` and still read by `M_xy`.
    EdgeRead,
    /// It is dropped for `M_xy` and still carried on by `M_xx`.
    EdgeCarried,
}

const LEAKS: [Leak; 7] = [
    Leak::Carried,
    Leak::AllColumns,
    Leak::AllRows,
    Leak::WholeKernel,
    Leak::EdgeKept,
    Leak::EdgeRead,
    Leak::EdgeCarried,
];

/// The blocks of one chunk, `D` on the diagonal of `T_f`.
struct Blocks {
    xx: Matrix<Exact>,
    ux: Matrix<Exact>,
    xy: Matrix<Exact>,
    tf: Matrix<Exact>,
    /// What is left of the incoming state for `M_xx`, and for `M_xy`.
    incoming: [bool; 2],
}

impl Blocks {
    fn new(
        ssm: &Dense<Exact>,
        chunk: &Range<usize>,
        row: &[Range<usize>],
        leak: Option<Leak>,
    ) -> Self {
        let (m, len) = (ssm.state_dim(), chunk.len());
        let mut powers = vec![Matrix::identity(m)];
        for k in 0..len {
            powers.push(powers[k].times(ssm.a()).expect("square"));
        }
        let of_b = |k: usize| powers[k].apply(ssm.b()).expect("fits");
        let of_c = |k: usize| powers[k].transpose().apply(ssm.c()).expect("fits");
        let starts = row.iter().map(|tokens| tokens.start);
        let inside = starts.filter(|&start| start > chunk.start && start < chunk.end);
        let inside: Vec<usize> = inside.map(|start| start - chunk.start).collect();
        let is = |broken: Leak| leak == Some(broken);
        let first = match inside.first() {
            Some(&first) if !is(Leak::AllRows) => first,
            _ => len,
        };
        let last = match inside.last() {
            Some(&last) if !is(Leak::AllColumns) => last,
            _ => 0,
        };
        let document = |i: usize| {
            row.iter()
                .position(|tokens| tokens.contains(&(chunk.start + i)))
        };
        let related = |i, j| document(i) == document(j) || is(Leak::WholeKernel);
        let dropped = row.iter().any(|tokens| tokens.start == chunk.start) && chunk.start > 0;
        let kept = !dropped || is(Leak::EdgeKept);
        Self {
            xx: match inside[..] {
                [_, ..] if !is(Leak::Carried) => Matrix::from_fn(m, m, |_, _| Exact::ZERO),
                _ => powers[len].clone(),
            },
            ux: Matrix::from_fn(m, len, |n, j| match j >= last {
                true => of_b(len - 1 - j)[n],
                false => Exact::ZERO,
            }),
            xy: Matrix::from_fn(len, m, |i, n| match i < first {
                true => of_c(i + 1)[n],
                false => Exact::ZERO,
            }),
            tf: Matrix::from_fn(len, len, |i, j| match i >= j && related(i, j) {
                true if i == j => dot(ssm.c(), &of_b(0)) + ssm.feedthrough(),
                true => dot(ssm.c(), &of_b(i - j)),
                false => Exact::ZERO,
            }),
            incoming: [kept || is(Leak::EdgeCarried), kept || is(Leak::EdgeRead)],
        }
    }
}

/// A row of documents in chunks.
struct Row<'a> {
    ssm: &'a Dense<Exact>,
    documents: &'a [Range<usize>],
    chunks: Vec<Range<usize>>,
    leak: Option<Leak>,
}

impl Row<'_> {
    fn blocks(&self) -> impl DoubleEndedIterator<Item = (Range<usize>, Blocks)> {
        let of = |chunk: &Range<usize>| {
            let blocks = Blocks::new(self.ssm, chunk, self.documents, self.leak);
            (chunk.clone(), blocks)
        };
        self.chunks.iter().map(of)
    }

    /// The outputs, and the state after every chunk.
    fn run(&self, u: &[Exact]) -> (Vec<Exact>, Vec<Vec<Exact>>) {
        let mut x = vec![Exact::ZERO; self.ssm.state_dim()];
        let (mut output, mut states) = (Vec::new(), Vec::new());
        for (chunk, blocks) in self.blocks() {
            let u = &u[chunk];
            let [carried, read] = blocks.incoming.map(|kept| kept_or_zero(&x, kept));
            output.extend(sum(&blocks.xy, &read, &blocks.tf, u));
            x = sum(&blocks.xx, &carried, &blocks.ux, u);
            states.push(x.clone());
        }
        (output, states)
    }

    /// The gradient of `<g, outputs>` with respect to the inputs: the blocks transposed, from the last
    /// chunk to the first.
    fn run_back(&self, g: &[Exact]) -> Vec<Exact> {
        let mut l = vec![Exact::ZERO; self.ssm.state_dim()];
        let mut input = vec![Exact::ZERO; g.len()];
        for (chunk, blocks) in self.blocks().rev() {
            let g = &g[chunk.clone()];
            let [ux, tf] = [&blocks.ux, &blocks.tf].map(Matrix::transpose);
            input[chunk].copy_from_slice(&sum(&ux, &l, &tf, g));
            let carried = blocks.xx.transpose().apply(&l).expect("fits");
            let read = blocks.xy.transpose().apply(g).expect("fits");
            let [carried, read] = [(carried, blocks.incoming[0]), (read, blocks.incoming[1])]
                .map(|(x, kept)| kept_or_zero(&x, kept));
            l = carried.iter().zip(&read).map(|(&a, &b)| a + b).collect();
        }
        input
    }
}

fn kept_or_zero(x: &[Exact], kept: bool) -> Vec<Exact> {
    let keep = |&x: &Exact| if kept { x } else { Exact::ZERO };
    x.iter().map(keep).collect()
}

/// `a x + b u`.
fn sum(a: &Matrix<Exact>, x: &[Exact], b: &Matrix<Exact>, u: &[Exact]) -> Vec<Exact> {
    let (a, b) = (a.apply(x).expect("fits"), b.apply(u).expect("fits"));
    a.iter().zip(&b).map(|(&a, &b)| a + b).collect()
}

/// A model over a row of documents in chunks, from zero states: by the packed form and its adjoint,
/// against the blocks written out.
struct Trial<F: AsDense> {
    ssm: F::Model<Exact>,
    dense: Dense<Exact>,
    documents: Vec<Range<usize>>,
    chunking: Chunking,
    u: Vec<Exact>,
    g: Vec<Exact>,
}

impl<F: AsDense> Trial<F> {
    fn new(m: usize, lengths: &[usize], chunking: Chunking, rng: &mut Rng) -> Self {
        let ssm = F::build(m, &random::<Exact>(F::size(m), rng));
        let len = lengths.iter().sum();
        Self {
            dense: F::dense(&ssm),
            ssm,
            documents: ranges(lengths, 0),
            chunking,
            u: random(len, rng),
            g: random(len, rng),
        }
    }

    fn row(&self, leak: Option<Leak>) -> Row<'_> {
        let lengths = self.chunking.lengths(self.u.len()).expect("fits");
        Row {
            ssm: &self.dense,
            documents: &self.documents,
            chunks: ranges(&lengths, 0),
            leak,
        }
    }

    fn compare(&self) {
        let zero = F::state::<Exact>(&vec![Exact::ZERO; self.dense.state_dim()]);
        let x0 = vec![&zero[..]; self.documents.len()];
        let form = Form::FlashConv(self.chunking.clone());
        let what = format!("{form:?} over {:?}", self.documents);
        let found = form.respond_to_row(&self.ssm, &[], &self.u, &self.documents, &x0);
        let found = found.expect("fits");
        let row = self.row(None);
        let (output, states) = row.run(&self.u);
        assert_eq!(found.output, output, "{what}");
        for (document, state) in self.documents.iter().zip(&found.states) {
            let at_its_end = row
                .chunks
                .iter()
                .position(|chunk| chunk.end == document.end);
            if let Some(chunk) = at_its_end {
                let state = F::flat_state::<Exact>(state);
                assert_eq!(state, states[chunk], "after document {document:?}, {what}");
            }
        }
        let (signals, states) = ((&self.u[..], &self.g[..]), [&x0[..], &x0[..]]);
        let back = form.gradients_of_row(&self.ssm, signals, &self.documents, states, 0);
        assert_eq!(back.expect("fits").input, row.run_back(&self.g), "{what}");
    }
}

fn compare<F: AsDense>(m: usize, lengths: &[usize], chunking: &Chunking, rng: &mut Rng) {
    Trial::<F>::new(m, lengths, chunking.clone(), rng).compare();
}

#[test]
fn the_packed_form_is_these_blocks() {
    let rng = &mut Rng::new(1);
    for (m, t) in [(1, 4), (6, 4), (3, 5)] {
        for (lengths, why) in packed_rows(m, t) {
            println!("m {m}, chunks of {t}, documents of {lengths:?}: {why}");
            let len = lengths.iter().sum();
            for chunking in [Chunking::Uniform(t), crate::common::ragged(len, rng)] {
                compare::<IsDense>(m, &lengths, &chunking, rng);
                compare::<IsDiagonal>(m, &lengths, &chunking, rng);
                compare::<IsShift>(m, &lengths, &chunking, rng);
            }
        }
    }
}

/// On a row with boundaries at an edge and inside chunks every rule is needed, forwards and backwards,
/// by every structure; also by the shift model, whose states in chunks of four are not yet forgotten.
#[test]
fn every_rule_is_needed() {
    fn refuse<F: AsDense>(seed: u64) {
        let trial = Trial::<F>::new(6, &[8, 6, 7, 5], Chunking::Uniform(4), &mut Rng::new(seed));
        let run = |leak| {
            let row = trial.row(leak);
            (row.run(&trial.u).0, row.run_back(&trial.g))
        };
        trial.compare();
        let (output, input) = run(None);
        for leak in LEAKS {
            let (wrong, wrong_back) = run(Some(leak));
            assert_ne!(wrong, output, "{leak:?}");
            assert_ne!(wrong_back, input, "{leak:?} backwards");
            assert_eq!(
                wrong[..8],
                output[..8],
                "{leak:?}: nothing comes before document 0"
            );
        }
    }
    for seed in 0..5 {
        refuse::<IsDense>(seed);
        refuse::<IsDiagonal>(seed);
        refuse::<IsShift>(seed);
    }
}

/// Where all boundaries are at edges the rules for those inside change nothing, and the other way round:
/// what a suite without such rows cannot see.
#[test]
fn a_rule_shows_only_where_its_boundary_is() {
    let outputs = |lengths: &[usize], leak| {
        let rng = &mut Rng::new(3);
        let trial = Trial::<IsDense>::new(3, lengths, Chunking::Uniform(4), rng);
        trial.row(leak).run(&trial.u).0
    };
    for leak in LEAKS {
        let of_edges = matches!(leak, Leak::EdgeKept | Leak::EdgeRead | Leak::EdgeCarried);
        for (lengths, at_edges) in [([8, 4, 8], true), ([6, 5, 9], false)] {
            let differs = outputs(&lengths, Some(leak)) != outputs(&lengths, None);
            assert_eq!(differs, of_edges == at_edges, "{leak:?} over {lengths:?}");
        }
    }
}
