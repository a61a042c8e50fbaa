//! Where each mutant acts.

use super::layers::{EQUAL, Subject, case, distance, official, random, stage, subjects};
use super::layers::{PLAIN, SHAPES, Shape};
use hungry_hippos::Tensor;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::mutants::{
    Mutant, STAGES, applies, default_chunk_len, mutated_forward_in_chunks,
};
use hungry_hippos::oracle::named_stages;
use std::collections::BTreeSet;

fn applies_to(mutant: Mutant, s: &Subject) -> bool {
    applies(mutant, &s.p, s.len(), s.batch(), s.state.is_some())
}

#[test]
fn without_mutants_it_is_the_reference() {
    for s in subjects() {
        let layer = s.p.discretize().expect("stable");
        let convolution = layer.forward(&Form::Convolution, &s.input, s.state.as_ref());
        let right = named_stages(&layer, &convolution.expect("shapes fit"));
        let got = s.run(&[]);
        assert_eq!(got.len(), right.len());
        for ((name, got), (expected, right)) in got.iter().zip(&right) {
            assert_eq!(name, expected);
            let off = distance(got, right);
            assert!(off <= EQUAL, "{}, {name}: {off:e}", s.name);
        }
        let names: Vec<_> = got.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, STAGES);
    }
}

/// Of no tokens every mistake makes nothing.
#[test]
fn of_no_tokens_there_is_nothing() {
    let s = random(Shape { len: 0, ..PLAIN }, 7);
    for mutant in Mutant::ALL {
        let stages = s.run(&[mutant]);
        assert!(stage(&stages, "output").data().is_empty(), "{mutant:?}");
    }
}

/// Also in chunks: a mutant that sits between chunks and touches nothing of this layer leaves the
/// chunked form, which must be the reference too.
#[test]
fn chunks_alone_change_nothing() {
    let s = random(PLAIN, 7);
    let right = s.run(&[]);
    // M60b saves other states for later sequences; here there is one sequence.
    let chunked = s.run(&[Mutant::SnapshotBoundaryLater]);
    assert!(!applies_to(Mutant::SnapshotBoundaryLater, &s));
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
fn mutants_act_exactly_where_they_apply_and_from_their_first_stage() {
    let mut seen_first = BTreeSet::new();
    let mut failures = Vec::new();
    for s in subjects() {
        let right = s.run(&[]);
        for mutant in Mutant::ALL {
            let wrong = s.run(&[mutant]);
            let off: Vec<f64> = wrong
                .iter()
                .zip(&right)
                .map(|((_, wrong), (_, right))| distance(wrong, right))
                .collect();
            let changed = off.iter().position(|&off| off > EQUAL);
            // Nothing is near the border but the division by 1e-10.
            let near = |off: f64| off > EQUAL && off < 1e-12;
            if mutant != Mutant::ScanUnderflow && off.iter().any(|&off| near(off)) {
                let name = mutant.id();
                failures.push(format!("{name} on {}: near the border: {off:?}", s.name));
            }
            if applies_to(mutant, &s) != changed.is_some() {
                failures.push(format!(
                    "{} on {}: applies is {}, first change {:?}",
                    mutant.id(),
                    s.name,
                    applies_to(mutant, &s),
                    changed.map(|i| STAGES[i])
                ));
            }
            let first = STAGES.iter().position(|&name| name == mutant.first_stage());
            if changed.is_some_and(|changed| Some(changed) < first) {
                failures.push(format!(
                    "{} on {}: changes {} before {}",
                    mutant.id(),
                    s.name,
                    STAGES[changed.expect("some")],
                    mutant.first_stage()
                ));
            }
            if changed == first {
                seen_first.insert(mutant);
            }
        }
    }
    for mutant in Mutant::ALL {
        if !seen_first.contains(&mutant) {
            failures.push(format!("{} never shows first where it says", mutant.id()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Which mutants no official case can show, and why.
#[test]
fn the_official_cases_show_all_but_these() {
    let cases = official();
    let unseen: Vec<_> = Mutant::ALL
        .into_iter()
        .filter(|&m| !cases.iter().any(|s| applies_to(m, s)))
        .map(Mutant::id)
        .collect();
    // M14a: no window is that much longer than its input. M47d, M47e: all decode by exp. M52: none has
    // an l_max below its length. M59b: none has a state.
    assert_eq!(unseen, ["M14a", "M47d", "M47e", "M52", "M59b"]);
}

/// What is invisible in a layer as initialized: B of the shift model is e_1, B of the diagonal
/// one is 1.
#[test]
fn invisible_at_initialization() {
    use Mutant::{BDropped, ConjB, ShiftConvNotCorr, ShiftFftN, ShiftLenUncut};
    for shape in SHAPES.into_iter().filter(|shape| shape.len > 4) {
        let fresh = random(
            Shape {
                fresh: true,
                ..shape
            },
            3,
        );
        let right = fresh.run(&[]);
        for mutant in [ShiftConvNotCorr, ShiftFftN, ShiftLenUncut, BDropped, ConjB] {
            let name = format!("{} on {}", mutant.id(), fresh.name);
            assert!(!applies_to(mutant, &fresh), "{name}");
            assert_eq!(fresh.run(&[mutant]), right, "{name}");
        }
    }
    let trained = random(PLAIN, 3);
    for mutant in [ShiftConvNotCorr, ShiftFftN, ShiftLenUncut, BDropped, ConjB] {
        assert_ne!(trained.run(&[mutant]), trained.run(&[]), "{}", mutant.id());
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
        let all = s.run(&[Mutant::ConjA, Mutant::ConjB, Mutant::ConjC]);
        for ((name, got), (_, right)) in all.iter().zip(&right) {
            if *name == "final_state" {
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
        for pair in [
            [Mutant::ConjA, Mutant::ConjB],
            [Mutant::ConjB, Mutant::ConjC],
        ] {
            let wrong = s.run(&pair);
            assert!(distance(stage(&wrong, "output"), stage(&right, "output")) > EQUAL);
        }
    }
}

/// Pairs: the order does not matter, and up to the later one's first stage only the earlier one
/// shows. (Where one of the two sits between chunks the other runs in chunks too; then only the
/// first holds.)
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
    let place = |m: Mutant| STAGES.iter().position(|&name| name == m.first_stage());
    let alone: Vec<_> = Mutant::ALL.iter().map(|&m| s.run(&[m])).collect();
    let mut later_shows = 0;
    for (i, one) in Mutant::ALL.into_iter().enumerate() {
        for (j, other) in Mutant::ALL.into_iter().enumerate().skip(i + 1) {
            let (pair, reversed) = (s.run(&[one, other]), s.run(&[other, one]));
            for ((name, x), (_, y)) in pair.iter().zip(&reversed) {
                let same = x
                    .data()
                    .iter()
                    .zip(y.data())
                    .all(|(x, y)| x.to_bits() == y.to_bits());
                assert!(same, "{} and {}, {name}", one.id(), other.id());
            }
            if one.needs_chunks() != other.needs_chunks() || place(one) == place(other) {
                continue;
            }
            let earlier = if place(one) < place(other) { i } else { j };
            let seam = place(one).max(place(other)).expect("a stage");
            for k in 0..seam {
                assert_eq!(
                    pair[k],
                    alone[earlier][k],
                    "{} and {}",
                    one.id(),
                    other.id()
                );
            }
            later_shows += usize::from(pair[seam] != alone[earlier][seam]);
        }
    }
    // Nearly all later mutants show beside the earlier one.
    assert!(later_shows > 2000, "{later_shows}");
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
    for (name, expected) in [
        (
            "layer-v1-hd1-L7",
            // As initialized, B is real.
            "M09a M64c, M12 M64a, M19 M33d, M21 M33c, M45a M45c",
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
        let mut outputs: Vec<(Mutant, Tensor<f64>)> = Vec::new();
        let mut common = Vec::new();
        let mut silent = Vec::new();
        for mutant in Mutant::ALL.into_iter().filter(|&m| applies_to(m, &s)) {
            let output = stage(&s.run(&[mutant]), "output").clone();
            if distance(&output, stage(&right, "output")) <= EQUAL {
                silent.push(mutant.first_stage());
                continue;
            }
            for (earlier, other) in &outputs {
                if distance(&output, other) <= EQUAL {
                    common.push(format!("{} {}", earlier.id(), mutant.id()));
                }
            }
            outputs.push((mutant, output));
        }
        common.sort();
        assert_eq!(common.join(", "), expected, "{name}");
        let states_only = |first: &&str| first.starts_with("final_state");
        assert!(silent.iter().all(states_only), "{name}: {silent:?}");
        assert!(silent.len() >= 6, "{name}: {silent:?}");
    }
}

/// What a causal mutant makes of the first tokens is what it makes of them on their own, bit for
/// bit; and those that are not causal show that they are not, on a layer of a short window or of a long
/// one.
#[test]
fn causal_mutants_do_not_look_ahead() {
    let long = Shape {
        d_state: 32,
        ..PLAIN
    };
    let layers = [random(PLAIN, 11), random(long, 12)];
    let looks_ahead = |s: &Subject, mutant: Mutant| {
        let (len, short) = (s.len(), s.len() / 2);
        let d = s.p.config().d_model;
        let kept = (0..s.batch()).flat_map(|b| &s.input.data()[b * len * d..][..short * d]);
        let input = Tensor::new([s.batch(), short, d], kept.copied().collect()).expect("fits");
        let run = |input| mutated_forward_in_chunks(&s.p, input, None, &[mutant], 3).expect("runs");
        let (whole, beginning) = (run(&s.input), run(&input));
        // Of `output` (batch, len, d) the first tokens stand together.
        let (whole, beginning) = (stage(&whole, "output"), stage(&beginning, "output"));
        (0..s.batch()).any(|b| {
            let first = &whole.data()[b * len * d..][..short * d];
            first != &beginning.data()[b * short * d..][..short * d]
        })
    };
    for mutant in Mutant::ALL {
        let seen = layers.iter().any(|s| looks_ahead(s, mutant));
        assert_eq!(mutant.is_causal(), !seen, "{}", mutant.id());
    }
}
