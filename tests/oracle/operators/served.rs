//! Operators over documents, beside padding and by a schedule: each document is what it is alone.

use super::CASES;
use crate::common::{assert_close, close, data, largest};
use hungry_hippos::Tensor;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Precision};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::ops::Range;

type Stages = Vec<(String, Tensor<f64>)>;

/// The signals of a kind, one of which gives the numbers of the output's cotangent, and their axis of
/// tokens.
fn signals(kind: &str) -> (&'static [&'static str], usize) {
    match kind {
        "convolution" => (&["u", "pregate", "postgate"], 2),
        "h3-operator" => (&["k", "q", "v"], 2),
        _ => (&["input"], 1),
    }
}

/// What a file says of its rows.
#[derive(Clone)]
enum Said {
    Nothing,
    Packed(Vec<usize>),
    /// Lengths, and whether padding stands on the left.
    Padded(Vec<usize>, bool),
    Scheduled(&'static str),
}

/// A file's operator on other rows.
struct Rows<'a> {
    file: &'a SafeTensors,
    /// Rows, each of the tokens of the file's first sequence or of padding.
    rows: Vec<Vec<Option<usize>>>,
    said: Said,
    /// Cotangents of states, or numbers added to what is given.
    more: Vec<(String, Vec<usize>, Vec<f64>)>,
    moved: f64,
}

impl Rows<'_> {
    fn kind(&self) -> &str {
        &self.file.metadata()["kind"]
    }

    /// A signal on the rows, with large numbers at padding.
    fn signal(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let (_, axis) = signals(self.kind());
        let tensor = self.file.tensor(name).expect("there");
        let (shape, values) = (tensor.shape, tensor.to_f64().expect("floats"));
        let len = self.rows[0].len();
        let mut of = shape.to_vec();
        (of[0], of[axis]) = (self.rows.len(), len);
        let mut data = Vec::new();
        for row in &self.rows {
            for i in 0..of[1] {
                for j in 0..of[2] {
                    let token = row[if axis == 1 { i } else { j }];
                    let at = |t: usize| match axis {
                        1 => t * shape[2] + j,
                        _ => i * shape[2] + t,
                    };
                    data.push(token.map_or(1e3, |t| values[at(t)]));
                }
            }
        }
        (of, data)
    }

    fn case(&self) -> Case {
        let mut writer = Writer::new();
        let sizes = ["B", "L", "K", "sequence"];
        for (key, value) in self.file.metadata() {
            if !sizes.contains(&&key[..]) {
                writer.metadata(key, value).expect("new");
            }
        }
        let (names, _) = signals(self.kind());
        let known = Case::read(self.file).expect("a case");
        let given =
            SafeTensors::from_bytes(known.writer().and_then(|w| w.to_bytes()).expect("small"));
        for tensor in given.expect("valid").tensors() {
            let mut values = tensor.to_f64().expect("floats");
            if tensor.name == "g" {
                continue;
            }
            let mut shape = tensor.shape.to_vec();
            if names.contains(&tensor.name) {
                (shape, values) = self.signal(tensor.name);
            } else if !tensor.name.contains("freq") {
                // One frequency under several names stays one.
                for (at, x) in values.iter_mut().enumerate() {
                    *x += self.moved * direction(tensor.name, at);
                }
            }
            writer
                .add(tensor.name, Dtype::F64, &shape, &values)
                .expect("new");
        }
        let (shape, g) = self.signal(names[0]);
        let g: Vec<f64> = g.iter().map(|x| 0.5 * x).collect();
        writer.add("g", Dtype::F64, &shape, &g).expect("new");
        for (name, shape, values) in &self.more {
            writer.add(name, Dtype::F64, shape, values).expect("new");
        }
        let side = |left: bool| if left { "left" } else { "right" };
        let (said, counts): (Vec<(&str, &str)>, _) = match &self.said {
            Said::Nothing => (Vec::new(), None),
            Said::Packed(ends) => (vec![("sequence", "packed")], Some(("cu_seqlens", ends))),
            Said::Padded(lengths, left) => (
                vec![("sequence", "padded"), ("padding", side(*left))],
                Some(("lengths", lengths)),
            ),
            Said::Scheduled(parts) => {
                let said = vec![("sequence", "schedule"), ("schedule", *parts)];
                (said, None)
            }
        };
        for (key, value) in said {
            writer.metadata(key, value).expect("new");
        }
        if let Some((name, counts)) = counts {
            let counts: Vec<i64> = counts.iter().map(|&x| x as i64).collect();
            writer.add_i64(name, &[counts.len()], &counts).expect("new");
        }
        let bytes = writer.to_bytes().expect("small");
        Case::read(&SafeTensors::from_bytes(bytes).expect("valid")).expect("a case")
    }

    fn run(&self, form: &Form) -> Stages {
        self.case().run(form, Precision::F64, true).expect("runs")
    }
}

/// A direction in which tensors are moved.
fn direction(tensor: &str, at: usize) -> f64 {
    let tensor: usize = tensor.bytes().map(usize::from).sum();
    ((3 * tensor + 7 * at) % 11) as f64 / 11.0 - 0.4
}

fn rows<'a>(file: &'a SafeTensors, rows: Vec<Vec<Option<usize>>>, said: Said) -> Rows<'a> {
    Rows {
        file,
        rows,
        said,
        more: Vec::new(),
        moved: 0.0,
    }
}

fn find<'a>(stages: &'a Stages, name: &str) -> &'a Tensor<f64> {
    let found = stages.iter().find(|(known, _)| known == name);
    &found.expect(name).1
}

/// The part of an array of rows that belongs to tokens of one.
fn part(x: &Tensor<f64>, axis: usize, row: usize, tokens: Range<usize>) -> Vec<f64> {
    let shape = x.shape();
    let each: usize = shape[axis + 1..].iter().product();
    let outer: usize = shape[1..axis].iter().product();
    let (len, of_row) = (shape[axis], row * outer * shape[axis] * each);
    (0..outer)
        .flat_map(|i| {
            let first = of_row + i * len * each;
            x.data()[first + tokens.start * each..first + tokens.end * each].to_vec()
        })
        .collect()
}

/// The results of a kind, with their axis of tokens.
fn results(kind: &str) -> (&'static str, usize) {
    match kind {
        "convolution" => ("y", 2),
        "h3-operator" => ("gated", 2),
        _ => ("output", 1),
    }
}

/// Documents of 5, 1 and 9 tokens in a row, and beside padding on either side, in every form: outputs,
/// states and gradients are those of each alone; with documents that leak they are not.
#[test]
fn documents_know_nothing_of_each_other() {
    let cuts = [0usize, 5, 6, 15];
    let documents: Vec<Range<usize>> = cuts.windows(2).map(|w| w[0]..w[1]).collect();
    for name in CASES {
        let file = SafeTensors::open(&data(name)).expect("a file");
        let kind = file.metadata()["kind"].clone();
        let tokens = |of: &Range<usize>| of.clone().map(|t| Some(t % 5)).collect::<Vec<_>>();
        let alone: Vec<Stages> = documents
            .iter()
            .map(|of| rows(&file, vec![tokens(of)], Said::Nothing).run(&Form::Convolution))
            .collect();
        let mut served = vec![(
            vec![tokens(&(0..15))],
            Said::Packed(cuts.to_vec()),
            documents
                .iter()
                .map(|of| (0, of.clone()))
                .collect::<Vec<_>>(),
        )];
        for left in [false, true] {
            let row = |of: &Range<usize>| {
                let padding = vec![None; 11 - of.len()];
                match left {
                    true => [padding, tokens(of)].concat(),
                    false => [tokens(of), padding].concat(),
                }
            };
            let place = |(n, of): (usize, &Range<usize>)| match left {
                true => (n, 11 - of.len()..11),
                false => (n, 0..of.len()),
            };
            served.push((
                documents.iter().map(row).collect(),
                Said::Padded(documents.iter().map(Range::len).collect(), left),
                documents.iter().enumerate().map(place).collect(),
            ));
        }
        let chunks = Form::FlashConv(Chunking::Uniform(4));
        for (of, said, places) in served {
            let packed = matches!(said, Said::Packed(_));
            let served = rows(&file, of, said);
            for form in [Form::Convolution, Form::Scan, Form::Fft, chunks.clone()] {
                let what = format!("{name}, {form}");
                let found = served.run(&form);
                is_each_alone(&what, &kind, &found, &places, &alone);
                if form != Form::Convolution || !packed {
                    continue;
                }
                // Leaking documents are seen.
                let leaking = served.case().run_with(&["Y90"], None).expect("runs");
                let (result, axis) = results(&kind);
                let bound = 1e-12 * largest(find(&found, result).data());
                let (row, tokens) = places[2].clone();
                let wrong = part(find(&leaking, result), axis, row, tokens);
                let right = find(&alone[2], result).data();
                assert!(close(name, &wrong, right, bound).is_err(), "{name}");
            }
        }
    }
}

fn is_each_alone(
    what: &str,
    kind: &str,
    found: &Stages,
    places: &[(usize, Range<usize>)],
    alone: &[Stages],
) {
    let (result, axis) = results(kind);
    let (names, of_signals) = signals(kind);
    for (n, ((row, tokens), alone)) in places.iter().zip(alone).enumerate() {
        let expected = find(alone, result);
        let part_of = |x, axis| part(x, axis, *row, tokens.clone());
        let bound = 1e-12 * largest(find(found, result).data());
        let y = part_of(find(found, result), axis);
        assert_close(&format!("{what}, {n}"), &y, expected.data(), bound);
        for name in names {
            let name = format!("grad.{name}");
            let g = part_of(find(found, &name), of_signals);
            let expected = find(alone, &name).data();
            let bound = 1e-11 * largest(find(found, &name).data());
            assert_close(&format!("{what}, {n}, {name}"), &g, expected, bound);
        }
        for (name, state) in alone.iter().filter(|(name, _)| name.starts_with("state.")) {
            let whole = find(found, name);
            let each: usize = whole.shape()[1..].iter().product();
            let of = &whole.data()[n * each..(n + 1) * each];
            // A window is as long as in the longest document, with zeros before the first token.
            let (width, own) = (whole.shape()[2], state.shape()[2]);
            let inner: usize = state.shape()[3..].iter().product();
            let own: Vec<f64> = match name.ends_with("iir") {
                true => state.data().to_vec(),
                false => state
                    .data()
                    .chunks(own * inner)
                    .flat_map(|window| [vec![0.0; (width - own) * inner], window.to_vec()].concat())
                    .collect(),
            };
            assert_close(
                &format!("{what}, {n}, {name}"),
                of,
                &own,
                1e-12 * largest(of),
            );
        }
    }
    for (name, gradient) in found.iter().filter(|(name, _)| name.starts_with("grad.")) {
        if names.iter().any(|signal| name[5..] == **signal) {
            continue;
        }
        let mut sum = vec![0.0; gradient.data().len()];
        for alone in alone {
            let terms = sum.iter_mut().zip(find(alone, name).data());
            terms.for_each(|(sum, x)| *sum += x);
        }
        assert_close(
            &format!("{what}, {name}"),
            gradient.data(),
            &sum,
            1e-11 * largest(&sum),
        );
    }
}

/// States at marks are those of a sequence that ends there.
#[test]
fn states_at_marks_are_those_of_shorter_sequences() {
    for name in &CASES[4..] {
        let file = SafeTensors::open(&data(name)).expect("a file");
        let tokens = |len: usize| vec![(0..len).map(|t| Some(t % 5)).collect::<Vec<_>>()];
        let said = Said::Scheduled("prompt=3,steps=2,chunk=4");
        let scheduled = rows(&file, tokens(9), said);
        let run = scheduled.run(&Form::Convolution);
        let wrong = scheduled.case().run_with(&["Y81", "Y82"], None);
        let wrong = wrong.expect("runs");
        for mark in [3, 4, 5, 9] {
            let whole = rows(&file, tokens(mark), Said::Nothing).run(&Form::Recurrence);
            let states = whole.iter().filter(|(name, _)| name.starts_with("state."));
            for (state, expected) in states {
                let at = format!("state.{mark}.{state}");
                let (found, bound) = (find(&run, &at), 1e-12 * largest(expected.data()));
                assert_close(&at, found.data(), expected.data(), bound);
                if state != "state.fir_inner" {
                    let wrong = find(&wrong, &at).data();
                    assert!(close(&at, wrong, expected.data(), bound).is_err(), "{at}");
                }
            }
        }
    }
}

/// The gradients of outputs and states are the differences of their products with the cotangents;
/// without the cotangents of states they are not.
#[test]
fn cotangents_of_states_are_counted() {
    for name in &CASES[4..] {
        let file = SafeTensors::open(&data(name)).expect("a file");
        let tokens = vec![(0..7).map(|t| Some(t % 5)).collect::<Vec<_>>()];
        let mut packed = rows(&file, tokens, Said::Packed(vec![0, 3, 7]));
        let states = packed.run(&Form::Convolution);
        for (state, values) in states.iter().filter(|(name, _)| name.starts_with("state.")) {
            let g = (0..values.data().len()).map(|at| direction(state, at));
            packed
                .more
                .push((format!("g.{state}"), values.shape().to_vec(), g.collect()));
        }
        let (_, g) = packed.signal("input");
        let mut loss = |moved: f64| {
            packed.moved = moved;
            let run = packed.run(&Form::Convolution);
            let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let outputs = 0.5 * product(find(&run, "output").data(), &g);
            let of_states = packed.more.iter();
            of_states.fold(outputs, |sum, (name, _, g)| {
                sum + product(find(&run, &name[2..]).data(), g)
            })
        };
        let difference = (loss(1e-5) - loss(-1e-5)) / 2e-5;
        packed.moved = 0.0;
        let along = |stages: &Stages| -> f64 {
            let of = |(name, gradient): &(String, Tensor<f64>)| {
                let given = name.strip_prefix("grad.").filter(|name| *name != "input");
                let terms = gradient.data().iter().enumerate();
                given.map(|name| terms.map(|(at, g)| g * direction(name, at)).sum::<f64>())
            };
            stages.iter().filter_map(of).sum()
        };
        for form in [Form::Recurrence, Form::Fft] {
            let found = along(&packed.run(&form));
            let bound = 1e-6 * difference.abs().max(1.0);
            assert!(
                (found - difference).abs() <= bound,
                "{name}: {found} for {difference}"
            );
            let without = packed.case().run_with(&["Y47a"], None).expect("runs");
            let without = along(&without);
            assert!((without - difference).abs() > bound, "{name}");
        }
    }
}
