//! Rows beside padding, schedules and given states.

use super::{Stages, bound, open};
use crate::common::{assert_close, close};
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Precision};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};

const SSD: &str = "ssd-v3-G2-H6-ragged-reset-L27";
const LAYER: &str = "mamba2-v3-G2-limit-bias-L23";

type Array = (String, Vec<usize>, Vec<f64>);

/// A file's operator with other arrays in the place of those of these names; a name that was dropped is
/// not there.
struct Edited<'a> {
    file: &'a SafeTensors,
    dropped: Vec<&'a str>,
    arrays: Vec<Array>,
    metadata: Vec<(&'a str, &'a str)>,
    lengths: Vec<i64>,
}

impl<'a> Edited<'a> {
    fn of(file: &'a SafeTensors) -> Self {
        Self {
            file,
            dropped: vec!["g.final_state", "step_input"],
            arrays: Vec::new(),
            metadata: Vec::new(),
            lengths: Vec::new(),
        }
    }

    fn run(&self, mistakes: &[&str]) -> Stages {
        let (case, _) = self.case();
        match mistakes {
            [] => case.run(&Form::Recurrence, Precision::F64, true),
            _ => case.run_with(mistakes, None),
        }
        .expect("runs")
    }

    fn case(&self) -> (Case, SafeTensors) {
        let mut writer = Writer::new();
        for (key, value) in self.file.metadata() {
            let stated = ["B", "L", "steps", "initial_state"].contains(&&key[..]);
            if !stated && self.metadata.iter().all(|(known, _)| known != key) {
                writer.metadata(key, value).expect("new");
            }
        }
        for (key, value) in &self.metadata {
            writer.metadata(key, value).expect("new");
        }
        let known = Case::read(self.file).expect("a case").writer();
        let known = known.and_then(|w| w.to_bytes()).expect("small");
        let known = SafeTensors::from_bytes(known).expect("valid");
        for tensor in known.tensors() {
            let replaced = self.arrays.iter().any(|(name, ..)| name == tensor.name);
            if !replaced && !self.dropped.contains(&tensor.name) {
                let values = tensor.to_f64().expect("floats");
                writer
                    .add(tensor.name, Dtype::F64, tensor.shape, &values)
                    .expect("new");
            }
        }
        for (name, shape, values) in &self.arrays {
            writer.add(name, Dtype::F64, shape, values).expect("new");
        }
        if !self.lengths.is_empty() {
            let shape = [self.lengths.len()];
            writer
                .add_i64("lengths", &shape, &self.lengths)
                .expect("new");
        }
        let bytes = writer.to_bytes().expect("small");
        let file = SafeTensors::from_bytes(bytes).expect("valid");
        (Case::read(&file).expect("a case"), file)
    }
}

fn find<'a>(stages: &'a Stages, name: &str) -> &'a [f64] {
    let found = stages.iter().find(|(known, _)| known == name);
    found.expect(name).1.data()
}

/// Tokens of the first row of an array (batch, seq_len, ...), or of padding.
fn row(file: &SafeTensors, name: &str, tokens: &[Option<usize>]) -> Array {
    let tensor = file.tensor(name).expect("there");
    let values = tensor.to_f64().expect("floats");
    let each: usize = tensor.shape[2..].iter().product();
    let of = |token: &Option<usize>| match token {
        Some(t) => values[t * each..(t + 1) * each].to_vec(),
        // A decay's logarithm there is one, too.
        None => vec![-3.0; each],
    };
    let shape = [&[1, tokens.len()], &tensor.shape[2..]].concat();
    (name.into(), shape, tokens.iter().flat_map(of).collect())
}

/// The same of several rows.
fn rows(file: &SafeTensors, name: &str, tokens: &[Vec<Option<usize>>]) -> Array {
    let mut parts = tokens.iter().map(|tokens| row(file, name, tokens));
    let (name, mut shape, mut values) = parts.next().expect("one row");
    for (_, _, more) in parts {
        shape[0] += 1;
        values.extend(more);
    }
    (name, shape, values)
}

fn tokens(range: std::ops::Range<usize>) -> Vec<Option<usize>> {
    range.map(Some).collect()
}

/// Rows of SSD beside padding on either side, from given states: outputs, states and gradients are those
/// of each row alone; padding taken for tokens is seen.
#[test]
fn padded_rows_of_ssd_are_what_each_is_alone() {
    let (_, file) = open(SSD);
    let signals = ["x", "dt", "log_a", "B", "C", "g"];
    let lengths = [5usize, 1, 9];
    let state = |n: usize| -> (Vec<usize>, Vec<f64>) {
        let tensor = file.tensor("initial_state").expect("there");
        let values = tensor.to_f64().expect("floats");
        let each = values.len() / 2;
        let mut shape = tensor.shape.to_vec();
        shape[0] = 1;
        (shape, values[n % 2 * each..(n % 2 + 1) * each].to_vec())
    };
    let alone = lengths.iter().enumerate().map(|(n, &len)| {
        let mut edited = Edited::of(&file);
        edited.arrays = signals
            .iter()
            .map(|name| row(&file, name, &tokens(0..len)))
            .collect();
        let (shape, values) = state(n);
        edited.arrays.push(("initial_state".into(), shape, values));
        edited.run(&[])
    });
    let alone: Vec<Stages> = alone.collect();
    for left in [false, true] {
        let padded: Vec<_> = lengths
            .iter()
            .map(|&len| {
                let padding = vec![None; 9 - len];
                match left {
                    true => [padding, tokens(0..len)].concat(),
                    false => [tokens(0..len), padding].concat(),
                }
            })
            .collect();
        let mut edited = Edited::of(&file);
        edited.arrays = signals
            .iter()
            .map(|name| rows(&file, name, &padded))
            .collect();
        let states: Vec<_> = (0..3).map(state).collect();
        let shape = [&[3], &states[0].0[1..]].concat();
        let values = states.iter().flat_map(|(_, values)| values.clone());
        edited
            .arrays
            .push(("initial_state".into(), shape, values.collect()));
        let side = if left { "left" } else { "right" };
        edited.metadata = vec![("sequence", "padded"), ("padding", side)];
        edited.lengths = lengths.map(|len| len as i64).into();
        let found = edited.run(&[]);
        let wrong = edited.run(&["S16a"]);
        let part = |x: &[f64], n: usize, len: usize| {
            let each = x.len() / 27;
            let first = n * 9 + if left { 9 - len } else { 0 };
            x[first * each..(first + len) * each].to_vec()
        };
        for (n, (&len, alone)) in lengths.iter().zip(&alone).enumerate() {
            for name in ["y", "grad.x", "grad.dt", "grad.log_a", "grad.B", "grad.C"] {
                let expected = find(alone, name);
                let of = part(find(&found, name), n, len);
                assert_close(name, &of, expected, bound(name, find(&found, name)));
            }
            for name in ["final_state", "grad.initial_state"] {
                let (expected, all) = (find(alone, name), find(&found, name));
                let each = expected.len();
                assert_close(
                    name,
                    &all[n * each..(n + 1) * each],
                    expected,
                    bound(name, all),
                );
            }
        }
        let sum: Vec<f64> = (0..6)
            .map(|h| alone.iter().map(|of| find(of, "grad.D")[h]).sum())
            .collect();
        assert_close(
            "grad.D",
            find(&found, "grad.D"),
            &sum,
            bound("grad.D", &sum),
        );
        let states = ["y", "final_state"].map(|name| {
            let bound = bound(name, find(&found, name));
            close(name, find(&wrong, name), find(&found, name), bound)
        });
        assert!(states.iter().any(Result::is_err), "{side}");
    }
}

/// States at marks are those of a sequence that ends there: of the operator and of the layer.
#[test]
fn states_at_marks_are_those_of_shorter_sequences() {
    let cases: [(&str, &[&str], &[&str], &str); 2] = [
        (
            SSD,
            &["x", "dt", "log_a", "B", "C", "g"],
            &["final_state"],
            "S05a",
        ),
        (LAYER, &["input", "g"], &["conv_state", "ssm_state"], "S11c"),
    ];
    for (name, signals, states, mistake) in cases {
        let (_, file) = open(name);
        let cut = |len: usize| {
            let mut edited = Edited::of(&file);
            edited.dropped.push("initial_state");
            edited.arrays = signals
                .iter()
                .map(|name| row(&file, name, &tokens(0..len)))
                .collect();
            edited
        };
        let mut edited = cut(11);
        edited.metadata = vec![
            ("sequence", "schedule"),
            ("schedule", "prompt=4,steps=2,chunk=5"),
        ];
        let (scheduled, wrong) = (edited.run(&[]), edited.run(&[mistake]));
        let mut refused = false;
        for mark in [4, 5, 6, 11] {
            let whole = cut(mark).run(&[]);
            for state in states {
                let (at, expected) = (format!("state.{mark}.{state}"), find(&whole, state));
                let bound = bound(state, expected);
                assert_close(&at, find(&scheduled, &at), expected, bound);
                refused |= close(&at, find(&wrong, &at), expected, bound).is_err();
            }
        }
        assert!(refused, "{name}");
    }
}

/// A layer that goes on from the states of a first part is the layer of the whole: outputs, states, and
/// gradients, if those of the states it begins from are the cotangents of the states the first part
/// leaves. From zeros it is another.
#[test]
fn a_layer_goes_on_from_given_states() {
    let (_, file) = open(LAYER);
    let part = |range: std::ops::Range<usize>, more: Vec<Array>| {
        let mut edited = Edited::of(&file);
        edited.arrays = ["input", "g"]
            .iter()
            .map(|name| row(&file, name, &tokens(range.clone())))
            .collect();
        edited.arrays.extend(more);
        edited.run(&[])
    };
    let whole = part(0..23, Vec::new());
    let states = ["conv_state", "ssm_state"];
    let renamed = |stages: &Stages, from: &dyn Fn(&str) -> String, to: &dyn Fn(&str) -> String| {
        let of = |state: &&str| {
            let found = stages.iter().find(|(name, _)| *name == from(state));
            let (_, x) = found.expect("a state");
            (to(state), x.shape().to_vec(), x.data().to_vec())
        };
        states.iter().map(of).collect::<Vec<Array>>()
    };
    for cut in [2, 9] {
        let first = part(0..cut, Vec::new());
        let given = renamed(&first, &str::to_string, &|state| format!("initial_{state}"));
        let second = part(cut..23, given);
        let cotangents = renamed(
            &second,
            &|state| format!("grad.initial_{state}"),
            &|state| format!("g.{state}"),
        );
        let first = part(0..cut, cotangents);
        for name in ["output", "y", "grad.input"] {
            let joined = [find(&first, name), find(&second, name)].concat();
            assert_close(name, &joined, find(&whole, name), bound(name, &joined));
        }
        for name in states {
            let expected = find(&whole, name);
            assert_close(name, find(&second, name), expected, bound(name, expected));
        }
        for name in [
            "grad.in_proj.weight",
            "grad.conv1d.weight",
            "grad.A_log",
            "grad.D",
        ] {
            let pairs = find(&first, name).iter().zip(find(&second, name));
            let sum: Vec<f64> = pairs.map(|(a, b)| a + b).collect();
            assert_close(name, &sum, find(&whole, name), bound(name, &sum));
        }
        let anew = part(cut..23, Vec::new());
        let expected = find(&second, "output");
        let bound = bound("output", expected);
        assert!(close("output", find(&anew, "output"), expected, bound).is_err());
    }
}
