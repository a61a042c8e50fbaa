//! Case and golden files: what they may say in which words, and that what is written is read.

use super::{committed_one, dumped, judge, layer, stage};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::Rng;
use hungry_hippos::h3::{Config, Form, HeadOrder, Name, Parameters, RealType};
use hungry_hippos::oracle::{Case, Format, Golden, LayerCase, Precision};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use hungry_hippos::ssm::Discretization;
use num_complex::Complex;

/// A layer of random parameters: four heads, or two of two channels.
fn case(
    head_dim: usize,
    n_ssm: usize,
    l_max: Option<usize>,
    batch: usize,
    len: usize,
) -> LayerCase {
    case_of((head_dim, n_ssm), l_max, [batch, len], |_, _, unit| unit)
}

/// The same with numbers made of the parameter's name, the place in it and one between -1 and 1.
pub(crate) fn case_of(
    (head_dim, n_ssm): (usize, usize),
    l_max: Option<usize>,
    [batch, len]: [usize; 2],
    number: impl Fn(Name, usize, f64) -> f64,
) -> LayerCase {
    let config = Config {
        d_model: 4,
        head_dim,
        d_state: 6,
        n_ssm,
        disc: Discretization::Bilinear,
        real_type: RealType::Exp,
        l_max,
        head_order: HeadOrder::D2H,
    };
    let rng = &mut Rng::new(31);
    let parameters = Parameters::new(config.clone(), |name| {
        let size = name.shape(&config).iter().product();
        let numbers = (0..size).map(|at| number(name, at, rng.unit()));
        Ok(numbers.collect())
    });
    let input = (0..batch * len * 4).map(|_| rng.unit()).collect();
    let input = Tensor::new([batch, len, 4], input).expect("fits");
    LayerCase::new(parameters.expect("a layer"), input).expect("finite")
}

/// A case as a file, said in other words: metadata, `None` of it where it is to be missing, and tensors
/// in the place of its own or next to them.
fn edited_file(
    case: &LayerCase,
    metadata: &[(&str, Option<&str>)],
    tensors: &[(&str, &[usize], &[f64])],
) -> SafeTensors {
    let writer = Case::from(case.clone()).writer();
    let bytes = writer.and_then(|w| w.to_bytes()).expect("small");
    let file = SafeTensors::from_bytes(bytes).expect("valid");
    let mut writer = Writer::new();
    for (key, value) in file.metadata() {
        if !metadata.iter().any(|(k, _)| k == key) {
            writer.metadata(key, value).expect("once");
        }
    }
    for (key, value) in metadata {
        if let Some(value) = value {
            writer.metadata(key, value).expect("once");
        }
    }
    for tensor in file.tensors() {
        if !tensors.iter().any(|(name, ..)| *name == tensor.name) {
            let added = writer.add_bytes(tensor.name, tensor.dtype, tensor.shape, tensor.bytes);
            added.expect("fits");
        }
    }
    for (name, shape, values) in tensors {
        writer.add(name, Dtype::F64, shape, values).expect("fits");
    }
    let bytes = writer.to_bytes().expect("small");
    SafeTensors::from_bytes(bytes).expect("valid")
}

/// The case such a file is read as.
fn edited(
    case: &LayerCase,
    metadata: &[(&str, Option<&str>)],
    tensors: &[(&str, &[usize], &[f64])],
) -> Result<LayerCase, String> {
    LayerCase::read(&edited_file(case, metadata, tensors)).map_err(|e| e.to_string())
}

#[test]
fn one_model_a_head_is_no_number() {
    let (own, shared) = (case(1, 4, None, 1, 5), case(1, 2, None, 1, 5));
    let none = edited(&own, &[("n_ssm", Some("none"))], &[]).expect("one a head");
    assert_eq!(none.parameters(), own.parameters());
    assert_eq!(none.parameters().config().n_ssm, 4);
    edited(
        &own,
        &[("n_ssm", None), ("d_model", None), ("L", None)],
        &[],
    )
    .expect("the tensors say it");
    for (case, key) in [
        (&shared, "n_ssm"),
        (&own, "d_model"),
        (&own, "d_state"),
        (&own, "B"),
        (&own, "L"),
    ] {
        let said = edited(case, &[(key, Some("none"))], &[]).expect_err("a number");
        assert!(said.contains(&format!("metadata {key}")), "{said}");
        assert!(said.contains("\"none\""), "{said}");
    }
}

#[test]
fn chunks_go_with_kernels_that_are_whole() {
    for (l_max, whole) in [
        (None, true),
        (Some(5), true),
        (Some(9), true),
        (Some(4), false),
    ] {
        let case = case(1, 1, l_max, 1, 5);
        assert_eq!(case.chunk_len(), None);
        match edited(&case, &[("chunk_len", Some("2"))], &[]) {
            Ok(case) => assert!(whole && case.chunk_len() == Some(2), "{l_max:?}"),
            Err(said) => assert!(!whole && said.contains("no state passes"), "{said}"),
        }
    }
}

/// A state and chunks of sizes that are all different: read as they stand, and written again.
#[test]
fn states_are_read_and_written() {
    let (batch, heads, d_h, m, n) = (3, 2, 2, 6, 3);
    let case = case(d_h, 1, None, batch, 5);
    let shift: Vec<f64> = (0..batch * 4 * m).map(|i| i as f64).collect();
    let diagonal: Vec<f64> = (0..batch * 4 * heads * n * 2)
        .map(|i| -(i as f64))
        .collect();
    let (shift_shape, flat) = ([batch, 4, m], [batch * d_h * d_h, heads, n, 2]);
    let tensors: [(&str, &[usize], &[f64]); 2] = [
        ("initial_state_k", &shift_shape, &shift),
        ("initial_state", &flat, &diagonal),
    ];
    let resumed = edited(&case, &[("chunk_len", Some("2"))], &tensors).expect("a state");
    assert_eq!(resumed.state().expect("given").position, 0);
    let resumed = edited(
        &case,
        &[("position", Some("11")), ("chunk_len", Some("2"))],
        &tensors,
    );
    let resumed = resumed.expect("a state");
    let again = edited(&resumed, &[], &[]).expect("as it was written");
    for case in [&resumed, &again] {
        let state = case.state().expect("given");
        assert_eq!((state.position, case.chunk_len()), (11, Some(2)));
        assert_eq!(state.shift.shape(), shift_shape);
        assert_eq!(state.shift.data(), shift);
        assert_eq!(state.diagonal.shape(), [batch, d_h, d_h, heads, n]);
        let pairs = diagonal.chunks(2).map(|z| Complex::new(z[0], z[1]));
        assert!(state.diagonal.data().iter().copied().eq(pairs));
    }
    // Nothing of a sequence, or no sequence.
    for shape in [[0, 5, 4], [3, 0, 4]] {
        let said = edited(
            &case,
            &[("B", None), ("L", None)],
            &[("input", &shape, &[])],
        );
        let said = said.expect_err("no token");
        assert!(said.contains("at least one token"), "{said}");
    }
    let half = edited(&case, &[], &tensors[..1]).expect_err("one of two");
    assert!(half.contains("initial_state"), "{half}");
    let other = [6, heads, n, 2];
    let tensors: [(&str, &[usize], &[f64]); 2] =
        [tensors[0], ("initial_state", &other, &diagonal[..72])];
    let said = edited(&case, &[], &tensors).expect_err("of other sequences");
    assert!(said.contains("[12, 2, 3, 2]"), "{said}");

    // The states between chunks, as the layer's own run of a beginning leaves them.
    let (layer, input, state) = resumed.in_precision::<f64>().expect("discretizes");
    let run = Case::from(resumed).run(&Form::Recurrence, Precision::F64, false);
    let stages = run.expect("runs");
    let stage = |name: &str| &stages.iter().find(|(s, _)| s == name).expect("there").1;
    let (keys, modes) = (stage("chunk_states_k"), stage("chunk_states"));
    assert_eq!(keys.shape(), [3, batch, 4, m]);
    assert_eq!(modes.shape(), [3, batch * d_h * d_h, heads, n, 2]);
    for (chunk, len) in [2, 4, 5].into_iter().enumerate() {
        let beginning = (0..batch).flat_map(|b| &input.data()[b * 20..][..len * 4]);
        let beginning = Tensor::new([batch, len, 4], beginning.copied().collect()).expect("fits");
        let run = layer.forward(&Form::Recurrence, &beginning, state.as_ref());
        let left = run.expect("fits").state;
        let size = left.shift.data().len();
        assert_eq!(keys.data()[chunk * size..][..size], *left.shift.data());
        let parts: Vec<f64> = left
            .diagonal
            .data()
            .iter()
            .flat_map(|z| [z.re, z.im])
            .collect();
        assert_eq!(modes.data()[chunk * parts.len()..][..parts.len()], parts);
    }
}

#[test]
fn golden_files_are_held_to_their_words() {
    let golden = committed_one("11-one");
    let order: Vec<&str> = golden.stages().iter().map(|s| s.name()).collect();
    let forward = [
        "q",
        "k",
        "v",
        "shift_kernel",
        "shift_k",
        "kv",
        "ssm_kernel",
        "ssm_out",
        "gated",
        "output",
        "final_state_k",
        "final_state",
    ];
    assert_eq!(order[..12], forward);
    assert!(order[12..].iter().all(|name| name.starts_with("grad.")));

    let q = &stage(&golden, "q").values;
    let of = |scale: f64| vec![scale; q.data().len()];
    let reopened = |version: &str, tensors: &[(&str, &[usize], &[f64])]| {
        let file = edited_file(layer(&golden), &[("golden", Some(version))], tensors);
        Golden::read(&file).map_err(|e| e.to_string())
    };
    let shape = q.shape();
    let right = [("q", shape, q.data()), ("scale.q", shape, &of(0.0)[..])];
    for version in ["hippos-golden/1", "hippos-golden/2"] {
        let exact = reopened(version, &right).expect("a scale of zero is one");
        assert_eq!(exact.stages().len(), 1);
        assert_eq!(exact.stages()[0].scale.data(), of(0.0));
        for (tensors, says) in [
            (
                vec![right[0], ("scale.q", shape, &of(-1.0)[..])],
                "element 0 is negative",
            ),
            (vec![right[0]], "scale.STAGE"),
            (
                vec![("scale.p", shape, &of(1.0)[..])],
                "no stage known here",
            ),
            (
                vec![("scale.chunk_states", shape, &of(1.0)[..])],
                "no stage known here",
            ),
            (
                vec![right[0], right[1], ("probable.q", shape, &of(-1.0)[..])],
                "\"probable.q\": element 0 is negative",
            ),
            (
                vec![right[0], right[1], ("projections.q", shape, &of(-1.0)[..])],
                "\"projections.q\": element 0 is negative",
            ),
            (
                vec![right[0], right[1], ("probable.p", shape, &of(1.0)[..])],
                "no stage known here",
            ),
        ] {
            let said = reopened(version, &tensors).expect_err(says);
            assert!(said.contains(says), "{said}");
        }
    }
    let said = reopened("hippos-golden/3", &right).expect_err("another version");
    let versions = ["golden/3", "hippos-golden/2", "hippos-golden/1"];
    assert!(
        versions.iter().all(|version| said.contains(version)),
        "{said}"
    );
}

/// States between chunks are stages like others, after those at the end.
#[test]
fn golden_files_hold_the_states_between_chunks() {
    for (name, chunks) in [("36-chunks", 4), ("37-chunks-ragged", 5), ("38-stream", 9)] {
        let golden = committed_one(name);
        let stages = &golden.stages()[10..14];
        let names: Vec<&str> = stages.iter().map(|s| s.name()).collect();
        let expected = [
            "final_state_k",
            "final_state",
            "chunk_states_k",
            "chunk_states",
        ];
        assert_eq!(names, expected);
        for (state, between) in [(0, 2), (1, 3)] {
            let (state, between) = (&stages[state].values, &stages[between].values);
            assert_eq!(between.shape(), [&[chunks], state.shape()].concat());
            // The last of them is the state at the end.
            let last = between.data().len() - state.data().len();
            assert_eq!(between.data()[last..], *state.data());
        }
    }
}

/// A golden file judges alike in every format, just certified or read.
#[test]
fn a_golden_file_judges_as_it_did_when_it_was_made() {
    let made = Golden::certify(case(2, 1, None, 1, 5)).expect("certified");
    let bytes = made.writer().and_then(|w| w.to_bytes()).expect("small");
    let file = SafeTensors::from_bytes(bytes).expect("valid");
    let read = Golden::read(&file).expect("a golden file");
    assert_eq!(made.stages(), read.stages());
    let output = stage(&made, "output").values.map(|y| y + 1e-6);
    let file = dumped(&[("output", &output)], Dtype::F64);
    let mut probable = Vec::new();
    for format in Format::ALL {
        let [made, read] = [&made, &read].map(|golden| judge(golden, &file, format));
        let (made, read) = (&made.stages[0], &read.stages[0]);
        assert_eq!(made.worst, read.worst, "{}", format.name());
        assert_eq!(made.probable, read.probable, "{}", format.name());
        probable.push(made.probable);
    }
    // Formats as in their list, every coarser one allows more: by its projections, then by its models.
    let order = [0, 1, 2, 4, 6, 7].map(|at| probable[at]);
    assert!(order[1..].is_sorted_by(|a, b| a > b), "{probable:?}");
}

/// The form nobody asked for: the recurrence, and where kernels end before the sequence does the
/// convolution.
#[test]
fn the_form_by_itself() {
    for (l_max, len, form) in [
        (None, 9, Form::Recurrence),
        (Some(10), 9, Form::Recurrence),
        (Some(9), 9, Form::Recurrence),
        (Some(8), 9, Form::Convolution),
        (Some(1), 9, Form::Convolution),
    ] {
        let config = case(2, 2, l_max, 1, 1).parameters().config().clone();
        assert_eq!(
            config.default_form(len),
            form,
            "l_max {l_max:?}, {len} steps"
        );
    }
}
