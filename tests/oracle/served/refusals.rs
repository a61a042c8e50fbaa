//! What a file says of sequences that does not fit its tensors, itself or its kind is refused in one
//! line that names the tensor or key; what says the same in other words is read.

use super::Parts;
use hungry_hippos::oracle::{Case, ModelFile};
use hungry_hippos::safetensors::{Dtype, SafeTensors};

/// One row of 19 tokens, documents of 1, 11, 2 and 5.
fn packed() -> Parts {
    Parts::of("layer-packed-p3-hd4-T19")
}

/// Three rows of 19 tokens.
fn padded() -> Parts {
    Parts::of("layer-padded-p2-left-hd2-L19")
}

/// Two rows of 3 tokens, cotangents of both final states.
fn cotangent() -> Parts {
    Parts::of("layer-cotangent-c4-hd2-initial-L3")
}

/// Two rows of 7 tokens, whole sequences.
fn whole() -> Parts {
    Parts::of("layer-v1-hd1-L7")
}

fn scheduled(schedule: &str) -> Parts {
    whole()
        .with("sequence", "schedule")
        .with("schedule", schedule)
}

fn said(parts: &Parts) -> Option<String> {
    Case::read(&parts.file())
        .err()
        .map(|error| error.to_string())
}

fn refused(parts: Parts, fragments: &[&str]) {
    let said = said(&parts).unwrap_or_else(|| panic!("{fragments:?}: not refused"));
    for fragment in fragments {
        assert!(said.contains(fragment), "{fragment:?} not in {said}");
    }
    assert_eq!(said.lines().count(), 1, "one line: {said}");
}

#[test]
fn cu_seqlens_that_do_not_fit() {
    let expected = "expected numbers that increase from 0 to the 19 tokens of the row";
    for counts in [
        &[0, 12, 1, 14, 19][..],
        &[0, 1, 12, 12, 19],
        &[1, 12, 14, 19],
        &[0, 1, 12, 14],
        &[0, 1, 12, 14, 20],
        &[0],
        &[],
    ] {
        let parts = packed().counts("cu_seqlens", counts);
        refused(
            parts,
            &["tensor \"cu_seqlens\"", &format!("{counts:?}"), expected],
        );
    }
    let of = |counts: &[i64]| packed().counts("cu_seqlens", counts);
    refused(
        of(&[0, -3, 19]),
        &["tensor \"cu_seqlens\"", "holds -3", "counts of tokens"],
    );
    refused(
        packed().without("cu_seqlens"),
        &["tensor \"cu_seqlens\"", "missing"],
    );
    let floats = packed().zeros("cu_seqlens", &[5]);
    refused(floats, &["\"cu_seqlens\"", "F64", "I64"]);
    let axes = packed().tensor("cu_seqlens", Dtype::I64, &[1, 1], vec![0; 8]);
    refused(axes, &["tensor \"cu_seqlens\"", "one axis", "[1, 1]"]);
    // Documents are packed into one row.
    let batch = padded()
        .without("lengths")
        .without("padding")
        .with("sequence", "packed");
    let batch = batch.counts("cu_seqlens", &[0, 5, 19]);
    refused(
        batch.clone(),
        &["tensor \"input\"", "3 rows", "cu_seqlens", "one"],
    );
    refused(
        batch.without("sequence"),
        &["tensor \"input\"", "3 rows", "cu_seqlens"],
    );
    // Any integers, and without a word of metadata: the tensor says it.
    let narrow = [0i32, 1, 12, 14, 19]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let narrow = packed().tensor("cu_seqlens", Dtype::I32, &[5], narrow);
    assert_eq!(said(&narrow), None);
    assert_eq!(said(&packed().without("sequence")), None);
}

#[test]
fn lengths_and_padding_that_do_not_fit() {
    for lengths in [[0, 19, 10], [1, 20, 10]] {
        let parts = padded().counts("lengths", &lengths);
        let expected = "expected at least 1 and at most the 19 tokens of a row";
        refused(
            parts,
            &["tensor \"lengths\"", &format!("{lengths:?}"), expected],
        );
    }
    let of = |lengths: &[i64]| padded().counts("lengths", lengths);
    refused(of(&[1, -2, 10]), &["tensor \"lengths\"", "holds -2"]);
    refused(of(&[1, 19]), &["tensor \"lengths\"", "shape [3]", "[2]"]);
    refused(
        padded().without("lengths"),
        &["tensor \"lengths\"", "missing"],
    );
    let floats = padded().zeros("lengths", &[3]);
    refused(floats, &["\"lengths\"", "F64", "I64"]);
    for word in ["middle", "Left", ""] {
        let parts = padded().with("padding", word);
        refused(
            parts,
            &["metadata padding", &format!("{word:?}"), "right, left"],
        );
    }
    let mut unsaid = padded();
    unsaid.metadata.remove("padding");
    refused(unsaid, &["metadata padding", "right or left", "missing"]);
}

#[test]
fn schedules_and_marks_that_do_not_fit() {
    for (schedule, fragments) in [
        ("", &["\"\" is no part", "prompt=N, steps=N or chunk=N"][..]),
        ("prompt=4,", &["\"\" is no part"]),
        (
            "prompt=4;steps=3",
            &["\"prompt=4;steps=3\" names no positive number of tokens"],
        ),
        ("prefill=4,steps=3", &["\"prefill=4\" is no part"]),
        ("prompt,steps=3", &["\"prompt\" names no positive number"]),
        (
            "prompt=0,steps=7",
            &["\"prompt=0\" names no positive number", "at least 1"],
        ),
        (
            "prompt=-4,steps=3",
            &["\"prompt=-4\" names no positive number"],
        ),
        (
            "prompt=4,steps=three",
            &["\"steps=three\" names no positive number"],
        ),
        ("prompt=4,steps=2", &["covers 6 tokens; the sequence has 7"]),
        (
            "prompt=4,steps=4",
            &["more tokens than the sequence has (7)"],
        ),
        (
            "prompt=99999999999999999999",
            &["names no positive number of tokens"],
        ),
        (
            "steps=18446744073709551615",
            &["more tokens than the sequence has (7)"],
        ),
        ("prompt=3,steps=18446744073709551615", &["more tokens than"]),
    ] {
        let mut all = vec!["metadata schedule", schedule];
        all.extend(fragments);
        refused(scheduled(schedule), &all);
    }
    let unsaid = whole().with("sequence", "schedule");
    refused(unsaid, &["metadata schedule", "missing"]);
    for marks in ["", "0", "3", "5,4", "4,4", "4,8", "4,x", "-4", "4,5,6,7,8"] {
        let parts = scheduled("prompt=4,steps=3").with("marks", marks);
        let stated = format!("{marks:?}");
        refused(
            parts,
            &[
                "metadata marks",
                &stated,
                "each after a part",
                "prompt=4,steps=3",
            ],
        );
    }
    for marks in ["4,5,6,7", "4, 7", "6"] {
        assert_eq!(
            said(&scheduled("prompt=4,steps=3").with("marks", marks)),
            None
        );
    }
    assert_eq!(said(&scheduled("chunk=2, steps=1,prompt=4")), None);
    // States pass between parts.
    let cut = scheduled("prompt=4,steps=3").with("l_max", "6");
    refused(cut, &["metadata schedule", "no state passes", "l_max"]);
}

#[test]
fn cotangents_that_do_not_fit() {
    let (keys, modes) = ("g.final_state_k", "g.final_state");
    refused(
        cotangent().zeros(keys, &[2, 6, 7]),
        &[keys, "[2, 6, 8]", "[2, 6, 7]"],
    );
    refused(
        cotangent().zeros(keys, &[1, 6, 8]),
        &[keys, "[2, 6, 8]", "[1, 6, 8]"],
    );
    refused(
        cotangent().zeros(modes, &[8, 3, 4]),
        &[modes, "[8, 3, 4, 2]", "[8, 3, 4]"],
    );
    refused(cotangent().without(keys), &[keys, "missing"]);
    refused(cotangent().without(modes), &[modes, "missing"]);
    let none = cotangent().without(keys).without(modes);
    refused(none.clone(), &[keys, "sequence = cotangent", "missing"]);
    assert_eq!(said(&none.without("sequence")), None);
    // One for each document, not for each row.
    let rows = packed()
        .zeros(keys, &[1, 8, 4])
        .zeros(modes, &[16, 2, 2, 2]);
    refused(rows, &[keys, "[4, 8, 4]", "[1, 8, 4]"]);
    let documents = packed()
        .zeros(keys, &[4, 8, 4])
        .zeros(modes, &[64, 2, 2, 2]);
    assert_eq!(said(&documents), None);
    let states = packed().zeros("initial_state_k", &[1, 8, 4]);
    refused(states, &["initial_state_k", "[4, 8, 4]", "[1, 8, 4]"]);
}

#[test]
fn words_that_contradict_each_other() {
    let unknown = whole().with("sequence", "ragged");
    refused(
        unknown,
        &[
            "metadata sequence",
            "\"ragged\"",
            "packed, padded, schedule, cotangent",
        ],
    );
    let both = padded().counts("cu_seqlens", &[0, 5, 19]);
    for parts in [
        both.clone(),
        both.clone().without("sequence"),
        both.with("sequence", "packed"),
    ] {
        refused(
            parts,
            &["\"cu_seqlens\"", "\"lengths\"", "exclude each other"],
        );
    }
    for (parts, what, sequence) in [
        (
            packed().with("sequence", "cotangent"),
            "g.final_state_k",
            "cotangent",
        ),
        (
            packed().with("sequence", "padded").with("padding", "left"),
            "lengths",
            "",
        ),
        (
            packed().with("padding", "left"),
            "metadata padding",
            "packed",
        ),
        (
            packed().with("schedule", "prompt=19"),
            "metadata schedule",
            "packed",
        ),
        (padded().with("sequence", "packed"), "cu_seqlens", ""),
        (padded().with("marks", "19"), "metadata marks", "padded"),
        (
            scheduled("prompt=7").with("padding", "left"),
            "metadata padding",
            "schedule",
        ),
        (
            scheduled("prompt=7").counts("lengths", &[7, 7]),
            "tensor \"lengths\"",
            "schedule",
        ),
        (
            cotangent().counts("lengths", &[3, 3]),
            "tensor \"lengths\"",
            "cotangent",
        ),
        (
            whole().with("schedule", "prompt=7"),
            "metadata schedule",
            "none",
        ),
        (whole().with("marks", "7"), "metadata marks", "none"),
        (whole().with("padding", "right"), "metadata padding", "none"),
    ] {
        refused(parts, &[what, sequence]);
    }
    let chunks = packed().with("chunk_len", "4");
    refused(chunks, &["metadata chunk_len", "sequence"]);
    for (key, stated, is) in [("L", "20", "19"), ("B", "2", "1"), ("d_state", "5", "4")] {
        refused(
            packed().with(key, stated),
            &[&format!("metadata {key}"), stated, is],
        );
    }
    let zero = cotangent().with("initial_state", "zero");
    refused(zero, &["metadata initial_state", "says \"zero\""]);
    let given = packed().with("initial_state", "given");
    refused(given, &["initial_state_k", "missing"]);
}

/// Kinds that take whole sequences alone.
#[test]
fn other_kinds() {
    let dense = || {
        let file = SafeTensors::open(&crate::common::golden_file("42-dense")).expect("a file");
        let case = Case::read(&file).expect("a case").writer().expect("a case");
        SafeTensors::from_bytes(case.to_bytes().expect("small")).expect("valid")
    };
    let with = |name: &str| {
        let file = dense();
        let mut parts = packed();
        parts.metadata = file.metadata().clone();
        parts.tensors.clear();
        for t in file.tensors() {
            parts = parts.tensor(t.name, t.dtype, t.shape, t.bytes.to_vec());
        }
        match name {
            "sequence" => parts.with("sequence", "packed"),
            name => parts.counts(name, &[0, 1]),
        }
    };
    let names = [
        "cu_seqlens",
        "lengths",
        "g.final_state_k",
        "g.final_state",
        "sequence",
    ];
    for name in names {
        refused(with(name), &[name, "kind dense-ssm"]);
    }
    // A model has no states to be given or asked about.
    for name in ["g.final_state_k", "g.final_state"] {
        refused(Parts::of("lm-tiny").counts(name, &[0, 1]), &[name]);
    }
    assert!(ModelFile::open(&crate::common::data("lm-tiny")).is_ok());
}
