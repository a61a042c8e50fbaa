//! Where each mutant acts.

use super::formulas::reference;
use super::layers::{EQUAL, Named, case, distance, forward_mistakes, is_served, official, random};
use super::layers::{PLAIN, SHAPES, Shape, stage, subjects};
use crate::common::is_exhaustive;
use hungry_hippos::Tensor;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Mistake, default_chunk_len};
use std::collections::BTreeSet;

/// The place of a stage in the order of computation.
fn place(stages: &Named, name: &str) -> usize {
    let found = stages.iter().position(|(stage, _)| stage == name);
    found.expect("a stage")
}

/// Whether any stage is other than the right one.
fn changes(wrong: &Named, right: &Named) -> bool {
    let mut pairs = wrong.iter().zip(right);
    pairs.any(|((_, wrong), (_, right))| distance(wrong, right) > EQUAL)
}

#[test]
fn without_mutants_it_is_the_reference() {
    for s in subjects() {
        let (got, right) = (s.run(&[]), reference(&s.p, &s));
        assert_eq!(got.len(), right.len());
        for ((name, got), (expected, right)) in got.iter().zip(&right) {
            assert_eq!(name, expected);
            let off = distance(got, right);
            assert!(off <= EQUAL, "{}, {name}: {off:e}", s.name);
        }
    }
}

/// Also in chunks: a mutant that sits between chunks and touches nothing of this layer leaves the
/// chunked form, which must be the reference too.
#[test]
fn chunks_alone_change_nothing() {
    let s = random(PLAIN, 7);
    let right = s.run(&[]);
    // M60b saves other states for later sequences; here there is one sequence.
    let chunked = s.run(&["snapshot_boundary_later"]);
    for ((name, got), (_, right)) in chunked.iter().zip(&right) {
        let off = distance(got, right);
        assert!(off <= EQUAL, "{name}: {off:e}");
    }
    let layer = s.p.discretize().expect("stable");
    let form = Form::FlashConv(Chunking::Uniform(default_chunk_len(s.len())));
    let flashconv = layer.forward(&form, &s.input, None).expect("fits");
    assert!(distance(stage(&chunked, "output"), &flashconv.output) <= EQUAL);
}

#[test]
fn mistakes_show_from_their_first_stage() {
    let mut known = forward_mistakes();
    known.retain(|mistake| !is_served(mistake));
    let mut seen_first = BTreeSet::new();
    let mut failures = Vec::new();
    for s in subjects() {
        let right = s.run(&[]);
        for mistake in &known {
            let wrong = s.run(&[mistake.id]);
            let off: Vec<f64> = wrong
                .iter()
                .zip(&right)
                .map(|((_, wrong), (_, right))| distance(wrong, right))
                .collect();
            let changed = off.iter().position(|&off| off > EQUAL);
            // Nothing is near the border but the division by 1e-10.
            let near = |off: f64| off > EQUAL && off < 1e-12;
            if mistake.name != "scan_underflow" && off.iter().any(|&off| near(off)) {
                let name = mistake.id;
                failures.push(format!("{name} on {}: near the border: {off:?}", s.name));
            }
            let first = place(&right, mistake.first_stage);
            if let Some(changed) = changed
                && changed < first
            {
                failures.push(format!(
                    "{} on {}: changes {} before {}",
                    mistake.id, s.name, right[changed].0, mistake.first_stage
                ));
            }
            if changed == Some(first) {
                seen_first.insert(mistake.id);
            }
        }
    }
    for mistake in &known {
        if !seen_first.contains(mistake.id) {
            failures.push(format!("{} never shows first where it says", mistake.id));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Which mistakes no official case can show, and why.
#[test]
fn the_official_cases_show_all_but_these() {
    let cases: Vec<_> = official().into_iter().map(|s| (s.run(&[]), s)).collect();
    let unseen: Vec<_> = forward_mistakes()
        .into_iter()
        .filter(|mistake| !is_served(mistake))
        .map(|mistake| mistake.id)
        .filter(|id| !cases.iter().any(|(right, s)| changes(&s.run(&[id]), right)))
        .collect();
    // M14a: no window is that much longer than its input. M47d, M47e: all decode by exp. M52, M94: none
    // has an l_max below its length. M79: none has several models and fewer than heads. M92a, M92b: no
    // window is longer than a chunk. The others: none has a state.
    let reading = [
        "M59b", "M84a", "M84b", "M84c", "M84d", "M85a", "M85f", "M91b",
    ];
    let others = ["M14a", "M47d", "M47e", "M52", "M79", "M92a", "M92b", "M94"];
    let mut expected = [reading, others].concat();
    expected.sort_unstable();
    assert_eq!(unseen, expected);
}

/// What is invisible in a layer as initialized: B of the shift model is e_1, B of the diagonal
/// one is 1.
#[test]
fn invisible_at_initialization() {
    let hidden = [
        "shift_conv_not_corr",
        "shift_fft_n",
        "shift_len_uncut",
        "b_dropped",
        "conj_b",
    ];
    for shape in SHAPES.into_iter().filter(|shape| shape.len > 4) {
        let fresh = random(
            Shape {
                fresh: true,
                ..shape
            },
            3,
        );
        let right = fresh.run(&[]);
        for mutant in hidden {
            assert_eq!(fresh.run(&[mutant]), right, "{mutant} on {}", fresh.name);
        }
    }
    let trained = random(PLAIN, 3);
    for mutant in hidden {
        assert_ne!(trained.run(&[mutant]), trained.run(&[]), "{mutant}");
    }
}

/// Conjugating A, B and C together is no mistake: the outputs stay, the saved states turn into
/// their conjugates.
#[test]
fn conjugating_everything_is_harmless() {
    for shape in [
        PLAIN,
        Shape {
            head_dim: 2,
            disc: SHAPES[11].disc,
            ..PLAIN
        },
    ] {
        let s = random(shape, 11);
        let right = s.run(&[]);
        let all = s.run(&["conj_a", "conj_b", "conj_c"]);
        for ((name, got), (_, right)) in all.iter().zip(&right) {
            if name == "final_state" {
                let mut conjugate = right.clone().into_data();
                conjugate
                    .iter_mut()
                    .skip(1)
                    .step_by(2)
                    .for_each(|im| *im = -*im);
                let conjugate = Tensor::new(right.shape(), conjugate);
                assert!(distance(got, &conjugate.expect("fits")) <= EQUAL);
                assert!(distance(got, right) > EQUAL);
            } else {
                assert!(distance(got, right) <= EQUAL, "{name}");
            }
        }
        // Any two of them are a mistake.
        for pair in [["conj_a", "conj_b"], ["conj_b", "conj_c"]] {
            let wrong = s.run(&pair);
            assert!(distance(stage(&wrong, "output"), stage(&right, "output")) > EQUAL);
        }
    }
}

/// Pairs: the order does not matter, and up to the later one's first stage only the earlier one
/// shows. (Where one of the two sits between chunks the other runs in chunks too; then only the
/// first holds.) Of every mistake with every third of the others; with `HIPPOS_EXHAUSTIVE` set, with all.
#[test]
fn pairs_compose() {
    let s = random(
        Shape {
            head_dim: 2,
            batch: 2,
            state: true,
            ..PLAIN
        },
        5,
    );
    let known = forward_mistakes();
    let right = s.run(&[]);
    let case = s.case();
    let run = |ids: &[&str]| case.run_with(ids, None).expect("runs");
    let alone: Vec<_> = known.iter().map(|m| run(&[m.id])).collect();
    // How a mistake has the layer run: whole, chunk by chunk, or in two parts.
    let parts = |m: &&Mistake| {
        let differs = s.run_in_chunks(&[m.id], 3) != s.run_in_chunks(&[m.id], 5);
        let numbered = ["M77", "M88", "M89", "M90"].contains(&&m.id[..3]);
        (differs && !numbered, m.name.starts_with("prompt"))
    };
    let parts: Vec<_> = known.iter().map(parts).collect();
    let place = |i: usize| place(&right, known[i].first_stage);
    let step = if is_exhaustive() { 1 } else { 3 };
    let mut later_shows = 0;
    for (i, one) in known.iter().map(|m| m.id).enumerate() {
        for (j, other) in known.iter().map(|m| m.id).enumerate().skip(i + 1) {
            if (i + j) % step != 0 {
                continue;
            }
            let pair = run(&[one, other]);
            // One pair in five the other way round too.
            let reversed = match (i + j) % 5 {
                0 => run(&[other, one]),
                _ => Vec::new(),
            };
            for ((name, x), (_, y)) in pair.iter().zip(&reversed) {
                let same = x
                    .data()
                    .iter()
                    .zip(y.data())
                    .all(|(x, y)| x.to_bits() == y.to_bits());
                assert!(same, "{one} and {other}, {name}");
            }
            if parts[i] != parts[j] || place(i) == place(j) {
                continue;
            }
            let earlier = if place(i) < place(j) { i } else { j };
            let seam = place(i).max(place(j));
            for k in 0..seam {
                assert_eq!(pair[k], alone[earlier][k], "{one} and {other}");
            }
            later_shows += usize::from(pair[seam] != alone[earlier][seam]);
        }
    }
    // Nearly all later mutants show beside the earlier one.
    assert!(step * later_shows > 2000, "{later_shows}");
}

#[test]
fn chunk_lengths() {
    for (len, chunk) in [
        (1, 1),
        (2, 1),
        (3, 1),
        (4, 1),
        (5, 2),
        (7, 3),
        (32, 15),
        (48, 15),
        (90, 16),
    ] {
        assert_eq!(default_chunk_len(len), chunk, "length {len}");
    }
    for len in 5..300 {
        let chunk = default_chunk_len(len);
        assert!(len.div_ceil(chunk) >= 3, "length {len}");
        assert!(
            len == 6 || len % chunk != 0,
            "length {len}: the last chunk is shorter"
        );
    }
}

/// Which mutants have an output in common, among all that change it: those the chapter lists.
#[test]
fn outputs_in_common() {
    let (mut found, mut listed) = (Vec::new(), Vec::new());
    for (name, expected) in [
        (
            "layer-v1-hd1-L7",
            // As initialized: B of the shift model is e_1, that of the diagonal one real.
            "M09a M64c, M12 M64a, M12 M87b, M19 M33d, M21 M33c, M45a M45c, M64a M87b",
        ),
        ("layer-v2-hd4-L32", "M09a M64c, M12 M64a, M21 M33c"),
        ("layer-v3-hd8-L90", "M09a M64c, M12 M64a, M21 M33c"),
        (
            "layer-v4-hd1-L100",
            "M09a M64c, M12 M64a, M19 M33d, M21 M33c",
        ),
    ] {
        let s = case(name);
        let right = s.run(&[]);
        let mut outputs: Vec<(&str, Tensor<f64>)> = Vec::new();
        let mut common = Vec::new();
        let mut silent = Vec::new();
        for mistake in forward_mistakes() {
            let wrong = s.run(&[mistake.id]);
            if !changes(&wrong, &right) {
                continue;
            }
            let output = stage(&wrong, "output").clone();
            if distance(&output, stage(&right, "output")) <= EQUAL {
                silent.push(mistake.first_stage);
                continue;
            }
            for (earlier, other) in &outputs {
                if distance(&output, other) <= EQUAL {
                    common.push(format!("{earlier} {}", mistake.id));
                }
            }
            outputs.push((mistake.id, output));
        }
        common.sort();
        found.push((name, common.join(", ")));
        listed.push((name, expected.to_string()));
        let states_only = |first: &&str| first.starts_with("final_state");
        assert!(silent.iter().all(states_only), "{name}: {silent:?}");
        assert!(silent.len() >= 6, "{name}: {silent:?}");
    }
    assert_eq!(found, listed);
}
