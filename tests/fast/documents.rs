//! Claim: packed and padded batches are, bit for bit, every document alone, both ways, for any number of
//! threads; and a state that leaks is seen.

use crate::gradients::{Trial, sample};
use crate::layer::config;
use crate::models;
use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{
    Element, FastAdjoint, FastLayer, FastModel, Level, ModelWorkspace, SavedStates, Workspace,
};
use hungry_hippos::h3::{LayerState, Name};
use hungry_hippos::model::ModelParameters;
use hungry_hippos::ssm::{Documents, Padding};
use std::ops::Range;

/// Lengths of documents in one row, and why. The window is 6, a block 16 steps, a piece 1024.
const ROWS: [(&[usize], &str); 7] = [
    (&[1, 1, 1, 2], "documents of a token"),
    (&[3, 5, 4], "shorter than the window"),
    (&[16, 32, 96, 16], "boundaries at the edges of blocks"),
    (&[17, 1, 90, 29], "boundaries inside blocks"),
    (
        &[1000, 24, 40],
        "a boundary at the end of a piece of the row",
    ),
    (&[40, 1100, 1024, 3], "longer than a piece, and a piece"),
    (&[130], "a full row"),
];

/// What is compared of a run both ways, as bits.
#[derive(PartialEq)]
struct Bits {
    output: Vec<u64>,
    state: Vec<u64>,
    of_input: Vec<u64>,
    of_state: Vec<u64>,
}

struct Run<T: Element> {
    output: Vec<T>,
    state: LayerState<T>,
    of_input: Vec<T>,
    of_state: LayerState<T>,
    of_parameters: Vec<Vec<f64>>,
}

fn bits<T: Element>(numbers: impl IntoIterator<Item = T>) -> Vec<u64> {
    // Exact, and a sign of zero with it.
    numbers.into_iter().map(|x| x.to_f64().to_bits()).collect()
}

/// The bits of one document of a state.
fn state_bits<T: Element>(state: &LayerState<T>, document: usize) -> Vec<u64> {
    let [shift, diagonal] = [state.shift.data().len(), state.diagonal.data().len()]
        .map(|all| all / state.shift.shape()[0]);
    let parts = state.diagonal.data()[document * diagonal..][..diagonal].iter();
    let shift = state.shift.data()[document * shift..][..shift].iter();
    bits(shift.copied().chain(parts.flat_map(|z| [z.re, z.im])))
}

impl<T: Element> Run<T> {
    /// A document of this run.
    fn document(&self, rows: Range<usize>, document: usize) -> Bits {
        let d = self.state.shift.shape()[1];
        let of = |all: &[T]| bits(all[rows.start * d..rows.end * d].iter().copied());
        Bits {
            output: of(&self.output),
            state: state_bits(&self.state, document),
            of_input: of(&self.of_input),
            of_state: state_bits(&self.of_state, document),
        }
    }
}

fn number<T: Element>(x: &[f64]) -> Vec<T> {
    x.iter().map(|&x| T::from_f64(x)).collect()
}

/// Forwards and backwards over documents (a batch of one if `None`), over buffers of what is no number.
fn run<T: Element>(
    adjoint: &FastAdjoint<T>,
    documents: Option<&Documents>,
    (u, g): (&[T], &[T]),
    l: &LayerState<T>,
    threads: usize,
) -> Run<T> {
    let layer = adjoint.layer();
    let workspace = &mut Workspace::new(threads).sharing_all();
    let nan = T::from_f64(f64::NAN);
    let (mut output, mut of_input) = (vec![nan; u.len()], vec![nan; u.len()]);
    let mut state = layer.zero_state(l.shift.shape()[0]);
    let mut cotangent = layer.state_from(l).unwrap();
    let (mut saved, mut sums) = (SavedStates::new(), adjoint.zero_gradients());
    let forward = match documents {
        Some(documents) => {
            adjoint.forward_documents(u, &mut output, documents, &mut state, &mut saved, workspace)
        }
        None => adjoint.forward(u, &mut output, &mut state, &mut saved, workspace),
    };
    forward.unwrap();
    adjoint
        .backward(
            u,
            g,
            &saved,
            &mut cotangent,
            &mut of_input,
            &mut sums,
            workspace,
        )
        .unwrap();
    if let Some(documents) = documents {
        // Without a backward pass it is the same function.
        let (mut again, mut after) = (vec![nan; u.len()], layer.zero_state(documents.count()));
        layer
            .run_documents(u, &mut again, documents, &mut after, workspace)
            .unwrap();
        assert_eq!(bits(again), bits(output.iter().copied()));
        let states = [after, state.clone()].map(|state| layer.state_to(&state).unwrap());
        assert!(states[0] == states[1]);
    }
    let official = adjoint.official(&sums).unwrap();
    Run {
        output,
        state: layer.state_to(&state).unwrap(),
        of_input,
        of_state: layer.state_to(&cotangent).unwrap(),
        of_parameters: Name::ALL.map(|name| official.get(name).to_vec()).into(),
    }
}

/// One document of a state.
fn one_of<T: Element>(state: &LayerState<T>, document: usize) -> LayerState<T> {
    let part = |len: usize| document * len..(document + 1) * len;
    let count = state.shift.shape()[0];
    let (shift, diagonal) = (state.shift.data(), state.diagonal.data());
    let shape = |shape: &[usize]| [&[1], &shape[1..]].concat();
    let (s, z) = (part(shift.len() / count), part(diagonal.len() / count));
    LayerState {
        shift: hungry_hippos::Tensor::new(shape(state.shift.shape()), shift[s].to_vec()).unwrap(),
        diagonal: hungry_hippos::Tensor::new(shape(state.diagonal.shape()), diagonal[z].to_vec())
            .unwrap(),
        position: 0,
    }
}

/// The rows of every document, counted through the batch.
fn rows_of(documents: &Documents) -> Vec<Range<usize>> {
    let len = documents.seq_len();
    let all = documents.iter();
    all.map(|(b, steps)| b * len + steps.start..b * len + steps.end)
        .collect()
}

/// Holds a batch of documents against each alone; gives the parameters' gradients and their sums.
fn compared<T: Element>(
    level: Level,
    heads: (usize, usize),
    documents: &Documents,
    what: &str,
) -> [Vec<Vec<f64>>; 2] {
    let (rows, count) = (rows_of(documents), documents.count());
    let steps = documents.batch() * documents.seq_len();
    let Trial { p, u, g, .. } = &sample(config(heads.0, heads.1, 6), 1, steps, 7);
    let Trial { g_state, .. } = &sample(config(heads.0, heads.1, 6), count, 1, 8);
    let d = p.config().d_model;
    let adjoint = FastAdjoint::<T>::new(level, p).unwrap();
    let l = g_state.map(T::from_f64);
    let (mut u, mut g) = (number::<T>(u.data()), number::<T>(g.data()));
    for row in 0..steps {
        if !rows.iter().any(|rows| rows.contains(&row)) {
            u[row * d..(row + 1) * d].fill(T::from_f64(1e30));
            g[row * d..(row + 1) * d].fill(T::from_f64(1e30));
        }
    }
    let mut sums: Vec<Vec<f64>> = Name::ALL.map(|name| vec![0.0; p.get(name).len()]).into();
    let alone: Vec<_> = (0..count)
        .map(|i| {
            let part = rows[i].start * d..rows[i].end * d;
            let one = run(
                &adjoint,
                None,
                (&u[part.clone()], &g[part]),
                &one_of(&l, i),
                1,
            );
            for (sums, of) in sums.iter_mut().zip(&one.of_parameters) {
                sums.iter_mut().zip(of).for_each(|(sum, x)| *sum += x);
            }
            one.document(0..rows[i].len(), 0)
        })
        .collect();
    let together = [1, 2].map(|threads| run(&adjoint, Some(documents), (&u, &g), &l, threads));
    for one in &together {
        for (i, alone) in alone.iter().enumerate() {
            assert!(
                one.document(rows[i].clone(), i) == *alone,
                "{level}, {what}, document {i}"
            );
        }
        for row in (0..steps).filter(|row| !rows.iter().any(|rows| rows.contains(row))) {
            let zeros = |all: &[T]| bits(all[row * d..(row + 1) * d].iter().copied());
            assert!(
                zeros(&one.output).iter().all(|&x| x == 0),
                "{what}, output at padding"
            );
            assert!(
                zeros(&one.of_input).iter().all(|&x| x == 0),
                "{what}, gradient at padding"
            );
        }
    }
    let [one, two] = together;
    assert!(one.of_parameters == two.of_parameters, "{what}: threads");
    // The same row as one sequence: what stands after the first boundary is another's.
    if documents.batch() == 1 && count > 1 {
        let whole = run(&adjoint, None, (&u, &g), &one_of(&l, count - 1), 1);
        for (i, alone) in alone.iter().enumerate().skip(1) {
            let leaked = whole.document(rows[i].clone(), 0);
            assert!(
                leaked.output != alone.output,
                "{what}: a leak into document {i} is seen"
            );
        }
    }
    [one.of_parameters, sums]
}

/// The largest departure of a parameter's gradient, in terms of its largest number.
fn apart(got: &[Vec<f64>], want: &[Vec<f64>]) -> f64 {
    let largest = |x: &[f64]| x.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let of = |(got, want): (&Vec<f64>, &Vec<f64>)| {
        let off: Vec<f64> = got.iter().zip(want).map(|(a, b)| a - b).collect();
        largest(&off) / largest(want).max(f64::MIN_POSITIVE)
    };
    got.iter().zip(want).map(of).fold(0.0, f64::max)
}

fn packed(lengths: &[usize]) -> Documents {
    let mut ends = vec![0];
    for len in lengths {
        ends.push(ends[ends.len() - 1] + len);
    }
    Documents::packed(ends[lengths.len()], &ends).unwrap()
}

#[test]
fn packed_is_each_document_alone() {
    for (lengths, why) in ROWS {
        let documents = packed(lengths);
        for level in Level::all() {
            compared::<f32>(level, (3, 1), &documents, why);
        }
        // Sums of as many products in another order: some 1e-13 apart.
        let [got, want] = compared::<f64>(Level::detect(), (17, 1), &documents, why);
        assert!(apart(&got, &want) < 1e-11, "{why}: {}", apart(&got, &want));
    }
    for head_dim in [2, 4] {
        let documents = packed(&[17, 1, 90, 4]);
        for level in Level::all() {
            let [got, want] = compared::<f64>(level, (3, head_dim), &documents, "heads");
            assert!(apart(&got, &want) < 1e-11);
        }
    }
}

#[test]
fn padded_is_each_row_alone() {
    for padding in [Padding::Right, Padding::Left] {
        for (len, lengths) in [(40, [1, 40, 5, 17]), (1100, [1100, 16, 1025, 3])] {
            let documents = Documents::padded(len, &lengths, padding).unwrap();
            for level in Level::all() {
                compared::<f32>(level, (3, 1), &documents, "padded");
            }
            let [got, want] = compared::<f64>(Level::detect(), (2, 2), &documents, "padded");
            assert!(apart(&got, &want) < 1e-11);
        }
    }
}

/// A document of which the sums miss one is beyond what order does to them.
#[test]
fn a_document_left_out_of_the_sums_is_seen() {
    let full = packed(&[16, 33, 7]);
    let [got, _] = compared::<f64>(Level::detect(), (3, 1), &full, "all");
    let Trial { p, u, g, .. } = &sample(config(3, 1, 6), 1, 56, 7);
    let Trial { g_state, .. } = &sample(config(3, 1, 6), 3, 1, 8);
    let adjoint = FastAdjoint::<f64>::new(Level::detect(), p).unwrap();
    let first = (&u.data()[..16 * 3], &g.data()[..16 * 3]);
    let one = run(&adjoint, None, first, &one_of(g_state, 0), 1);
    for (got, one) in got.iter().zip(&one.of_parameters) {
        let less: Vec<f64> = got.iter().zip(one).map(|(a, b)| a - b).collect();
        // The diagonal models' D is the only one that could be small here, and is not.
        assert!(apart(&[less], std::slice::from_ref(got)) > 1e-6);
    }
}

/// Each state alone: a port may reset one and forget the other.
#[test]
fn a_leak_of_either_state_is_seen() {
    let Trial { p, u, .. } = &sample(config(3, 2, 6), 1, 60, 7);
    let layer = FastLayer::<f32>::new(Level::detect(), p).unwrap();
    let workspace = &mut Workspace::new(1);
    let u = number::<f32>(u.data());
    let (before, after) = u.split_at(20 * 6);
    let mut out = vec![f32::NAN; before.len()];
    let mut state = layer.zero_state(1);
    layer.run(before, &mut out, &mut state, workspace).unwrap();
    let end = layer.state_to(&state).unwrap();
    let zero = layer.state_to(&layer.zero_state(1)).unwrap();
    let mut from = |shift: &LayerState<f32>, diagonal: &LayerState<f32>| {
        let state = LayerState {
            shift: shift.shift.clone(),
            diagonal: diagonal.diagonal.clone(),
            position: 0,
        };
        let mut out = vec![f32::NAN; after.len()];
        let mut state = layer.state_from(&state).unwrap();
        layer.run(after, &mut out, &mut state, workspace).unwrap();
        bits(out)
    };
    let right = from(&zero, &zero);
    assert!(right == from(&zero, &zero));
    assert!(right != from(&end, &zero), "the window");
    assert!(right != from(&zero, &end), "the diagonal state");
    assert!(right != from(&end, &end), "both");
}

/// Documents that go on, of different lengths: a prompt of rows, then a token each.
#[test]
fn documents_are_continued_from_their_own_ends() {
    let Trial { p, u, .. } = &sample(config(3, 1, 6), 2, 30, 7);
    let layer = FastLayer::<f64>::new(Level::detect(), p).unwrap();
    let workspace = &mut Workspace::new(1);
    let documents = Documents::padded(30, &[11, 30], Padding::Right).unwrap();
    let (mut out, mut state) = (vec![f64::NAN; 180], layer.zero_state(2));
    layer
        .run_documents(u.data(), &mut out, &documents, &mut state, workspace)
        .unwrap();
    assert_eq!(state.positions(), [11, 30]);
    let next = [0.5, -0.25, 1.0, 2.0, 0.125, -1.0];
    let mut got = vec![f64::NAN; 6];
    layer.run(&next, &mut got, &mut state, workspace).unwrap();
    for (b, len) in [11, 30].into_iter().enumerate() {
        let mut state = layer.zero_state(1);
        let (mut out, mut one) = (vec![f64::NAN; len * 3], vec![f64::NAN; 3]);
        let row = &u.data()[b * 90..][..len * 3];
        layer.run(row, &mut out, &mut state, workspace).unwrap();
        let next = &next[b * 3..][..3];
        layer.run(next, &mut one, &mut state, workspace).unwrap();
        assert_eq!(bits(got[b * 3..][..3].to_vec()), bits(one));
    }
}

/// Beyond `l_max` a document is a convolution with cut kernels, whatever its neighbours are.
#[test]
fn documents_beyond_l_max() {
    let mut cut = config(3, 2, 6);
    cut.l_max = Some(4);
    let Trial { p, u, g, .. } = &sample(cut, 1, 60, 7);
    let layer = FastLayer::<f32>::new(Level::detect(), p).unwrap();
    let workspace = &mut Workspace::new(1);
    let u = number::<f32>(u.data());
    let documents = packed(&[3, 40, 4, 13]);
    let (mut out, mut state) = (vec![f32::NAN; u.len()], layer.zero_state(4));
    layer
        .run_documents(&u, &mut out, &documents, &mut state, workspace)
        .unwrap();
    for rows in rows_of(&documents) {
        let mut one = vec![f32::NAN; rows.len() * 6];
        let part = rows.start * 6..rows.end * 6;
        let state = &mut layer.zero_state(1);
        layer
            .run(&u[part.clone()], &mut one, state, workspace)
            .unwrap();
        assert_eq!(bits(out[part].to_vec()), bits(one));
    }
    // From a state, and backwards, it is refused by name, and nothing is touched.
    let before = state.clone();
    let said = layer.run_documents(&u, &mut out, &documents, &mut state, workspace);
    assert!(said.unwrap_err().to_string().contains("l_max = 4"));
    assert!(state == before);
    let adjoint = FastAdjoint::<f64>::new(Level::detect(), p).unwrap();
    let (mut state, mut saved) = (adjoint.layer().zero_state(4), SavedStates::new());
    let mut out = vec![f64::NAN; 360];
    let said = adjoint.forward_documents(
        g.data(),
        &mut out,
        &documents,
        &mut state,
        &mut saved,
        &mut Workspace::new(1),
    );
    assert!(said.unwrap_err().to_string().contains("backward"));
    assert!(out.iter().all(|x| x.is_nan()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let Trial { p, u, .. } = &sample(config(3, 1, 6), 1, 12, 7);
    let layer = FastLayer::<f64>::new(Level::detect(), p).unwrap();
    let workspace = &mut Workspace::new(1);
    let mut out = vec![0.0; 36];
    let mut refused = |documents: &Documents, batch: usize| {
        let state = &mut layer.zero_state(batch);
        let done = layer.run_documents(u.data(), &mut out, documents, state, workspace);
        done.is_err()
    };
    assert!(!refused(&packed(&[5, 7]), 2));
    assert!(refused(&packed(&[5, 7]), 1), "a state per row");
    assert!(refused(&packed(&[5, 6]), 2), "another length");
}

fn model(parameters: &ModelParameters<f64>) -> FastModel<f32> {
    let read = |name| Ok(parameters.get(name).to_vec());
    FastModel::new(Level::detect(), parameters.config(), read).expect("a model")
}

/// The logits after every token, and after the last, of documents.
fn logits_of(
    model: &FastModel<f32>,
    ids: &[usize],
    documents: &Documents,
    threads: usize,
) -> (Vec<u64>, Vec<u64>) {
    let (vocab, count) = (model.config().vocab_size, documents.count());
    let mut all = vec![0.0; ids.len() * vocab];
    let workspace = &mut ModelWorkspace::new(threads).sharing_all();
    let mut state = model.zero_state(count, 0);
    model
        .all_logits_of_documents(ids, documents, &mut state, workspace, |first, logits| {
            all[first * vocab..][..logits.len()].copy_from_slice(logits);
            Ok(())
        })
        .expect("runs");
    let lengths: Vec<usize> = documents.iter().map(|(_, steps)| steps.len()).collect();
    assert_eq!(state.positions(), lengths);
    let state = &mut model.zero_state(count, 0);
    let last = model.last_logits_of_documents(ids, documents, state, workspace);
    (bits(all), bits(last.expect("runs")))
}

/// Blocks of H3 and of attention, with learned positions and without, heads of one channel and of two; longer
/// than a piece of a text, which is 256 tokens.
#[test]
fn models_of_documents() {
    let kinds = [
        (models::config(2, &[], 2, 6), 0),
        (models::config(2, &[1], 2, 6), 0),
        (models::config(2, &[0], 2, 6), 600),
        (models::with_heads_of(2, models::config(1, &[], 3, 6)), 7),
    ];
    let layouts = [
        (packed(&[1, 3, 7, 2]), "packed"),
        (packed(&[5, 300, 1, 256]), "packed, long"),
        (
            Documents::padded(7, &[7, 1, 4], Padding::Right).unwrap(),
            "right",
        ),
        (
            Documents::padded(7, &[7, 1, 4], Padding::Left).unwrap(),
            "left",
        ),
    ];
    let mut rng = Rng::new(3);
    for (mut config, positions) in kinds {
        config.max_position_embeddings = positions;
        let model = model(&models::parameters(&config));
        for (documents, what) in &layouts {
            if positions > 0 && documents.longest() > positions {
                continue;
            }
            let (rows, vocab) = (rows_of(documents), config.vocab_size);
            let steps = documents.batch() * documents.seq_len();
            // At padding, no token of the vocabulary.
            let mut ids = vec![usize::MAX; steps];
            for at in rows.iter().cloned().flatten() {
                ids[at] = rng.below(vocab);
            }
            let (all, last) = logits_of(&model, &ids, documents, 1);
            assert!((all.clone(), last.clone()) == logits_of(&model, &ids, documents, 2));
            for (i, rows) in rows.iter().enumerate() {
                let one = Documents::whole(1, rows.len());
                let (own, own_last) = logits_of(&model, &ids[rows.clone()], &one, 1);
                let got = &all[rows.start * vocab..rows.end * vocab];
                assert!(got == own, "{what}, document {i}");
                assert!(
                    last[i * vocab..][..vocab] == own_last,
                    "{what}, document {i}"
                );
                let state = &mut model.zero_state(1, 0);
                let plain =
                    model.last_logits(&ids[rows.clone()], state, &mut ModelWorkspace::new(1));
                assert!(bits(plain.expect("runs")) == own_last);
            }
            // As one text, every document but the first is another's continuation.
            let fits = positions == 0 || steps <= positions;
            if documents.batch() == 1 && fits {
                let (leaked, _) = logits_of(&model, &ids, &Documents::whole(1, steps), 1);
                for rows in &rows[1..] {
                    let part = rows.start * vocab..rows.end * vocab;
                    assert!(leaked[part.clone()] != all[part]);
                }
            }
        }
    }
}
