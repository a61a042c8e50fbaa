//! Where mutants apply, on layers with something special about them: a skip, a bias or a tap that is
//! zero, weights that are equal, symmetric or one; and at every chunk length. The judge is what
//! changes in the stages.

use super::layers::{EQUAL, Named, PLAIN, Shape, Subject, distance, random};
use hungry_hippos::h3::Name::{
    AImag, B, C, D, KBias, KWeight, LogDt, OutputBias, OutputWeight, QBias, QWeight, ShiftB,
    ShiftC, ShiftD, VBias, VWeight,
};
use hungry_hippos::h3::{Name, Parameters, RealType};
use hungry_hippos::oracle::mutants::Mutant::{self, *};
use hungry_hippos::oracle::mutants::{applies, applies_in_chunks, mutated_forward_in_chunks};
use hungry_hippos::ssm::Discretization::ZeroOrderHold;

const WEIGHTS: [Name; 4] = [QWeight, KWeight, VWeight, OutputWeight];
const BIASES: [Name; 4] = [QBias, KBias, VBias, OutputBias];

fn in_chunks(s: &Subject, mutants: &[Mutant], chunk_len: usize) -> Named {
    mutated_forward_in_chunks(&s.p, &s.input, s.state.as_ref(), mutants, chunk_len)
        .unwrap_or_else(|e| panic!("{}, {mutants:?}: {e}", s.name))
}

/// Every mutant that is said to apply and changes no stage, or the other way round.
fn misjudged(s: &Subject, chunk_len: usize) -> Vec<String> {
    let right = in_chunks(s, &[], chunk_len);
    let mut failures = Vec::new();
    for mutant in Mutant::ALL {
        let wrong = in_chunks(s, &[mutant], chunk_len);
        let stages = wrong.iter().zip(&right);
        let off = stages.map(|((_, wrong), (_, right))| distance(wrong, right));
        let off = off.fold(0.0, f64::max);
        let (len, batch) = (s.len(), s.batch());
        let said = applies_in_chunks(mutant, &s.p, len, batch, s.state.is_some(), chunk_len);
        if said != (off > EQUAL) {
            failures.push(format!(
                "{} on {}, chunks of {chunk_len}: said to apply: {said}, off by {off:e}",
                mutant.id(),
                s.name
            ));
        }
    }
    failures
}

/// Another value of a parameter, or none.
type Replace<'a> = &'a dyn Fn(Name, &[f64]) -> Option<Vec<f64>>;

/// The layer of a shape with some parameters replaced.
fn special(
    shape: Shape,
    seed: u64,
    what: &str,
    value: impl Fn(Name, &[f64]) -> Option<Vec<f64>>,
) -> Subject {
    let s = random(shape, seed);
    let p: Parameters<f64> = s.with(|_| (), |name| value(name, s.p.get(name)));
    Subject {
        name: format!("{}: {what}", s.name),
        p,
        ..s
    }
}

/// Every parameter of these names filled with a number.
fn filled(names: &[Name], x: f64) -> impl Fn(Name, &[f64]) -> Option<Vec<f64>> {
    move |name, old| names.contains(&name).then(|| vec![x; old.len()])
}

/// Two to four tokens from a state and not, heads of one channel and of two.
fn shapes() -> Vec<Shape> {
    let short = Shape {
        len: 4,
        d_state: 4,
        ..PLAIN
    };
    let wide = Shape {
        head_dim: 2,
        ..short
    };
    vec![
        short,
        Shape {
            state: true,
            ..short
        },
        wide,
    ]
}

fn check(all: Vec<String>) {
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn skips_and_biases() {
    let mut failures = Vec::new();
    for (i, shape) in shapes().into_iter().enumerate() {
        let seed = 200 + i as u64;
        let mut try_it = |what: &str, value: Replace<'_>| {
            let s = special(shape, seed, what, value);
            failures.extend(misjudged(&s, 2));
        };
        try_it("no skip", &filled(&[D], 0.0));
        try_it("no shift skip", &filled(&[ShiftD], 0.0));
        try_it("equal skips", &filled(&[D, ShiftD], 0.5));
        try_it("no bias", &filled(&BIASES, 0.0));
        for kept in BIASES {
            try_it(&format!("{kept:?} alone"), &|name, old| {
                let zero = BIASES.contains(&name) && name != kept;
                // And of that one only the last element.
                let mut values = vec![0.0; old.len()];
                values[old.len() - 1] = 1.0;
                match name {
                    _ if zero => Some(vec![0.0; old.len()]),
                    _ if name == kept => Some(values),
                    _ => None,
                }
            });
        }
    }
    check(failures);
}

#[test]
fn equal_projections() {
    let mut failures = Vec::new();
    for (i, shape) in shapes().into_iter().enumerate() {
        let seed = 210 + i as u64;
        let plain = random(shape, seed);
        for [(weight, bias), (other_weight, other_bias)] in [
            [(QWeight, QBias), (KWeight, KBias)],
            [(QWeight, QBias), (VWeight, VBias)],
            [(KWeight, KBias), (VWeight, VBias)],
        ] {
            for (weights, biases) in [(true, false), (false, true), (true, true)] {
                let what =
                    format!("{weight:?} as {other_weight:?}: {weights}, the biases: {biases}");
                let s = special(shape, seed, &what, |name, _| match name {
                    _ if name == weight && weights => Some(plain.p.get(other_weight).to_vec()),
                    _ if name == bias && biases => Some(plain.p.get(other_bias).to_vec()),
                    _ => None,
                });
                failures.extend(misjudged(&s, 3));
            }
        }
    }
    check(failures);
}

#[test]
fn symmetric_and_identical_weights() {
    let mut failures = Vec::new();
    for (i, shape) in shapes().into_iter().enumerate() {
        let seed = 220 + i as u64;
        let d = shape.heads * shape.head_dim;
        let symmetric = |name: Name, old: &[f64]| {
            let entry = |i: usize| old[i] + old[i % d * d + i / d];
            WEIGHTS
                .contains(&name)
                .then(|| (0..d * d).map(entry).collect::<Vec<f64>>())
        };
        let s = special(shape, seed, "symmetric", symmetric);
        failures.extend(misjudged(&s, 2));
        for uneven in WEIGHTS {
            let what = format!("all symmetric but {uneven:?}");
            let s = special(shape, seed, &what, |name, old| {
                let mut values = symmetric(name, old)?;
                if name == uneven {
                    values[d * (d - 1)] += 1.0;
                }
                Some(values)
            });
            failures.extend(misjudged(&s, 2));
        }
        // What comes after the gate: nothing, a bias, an entry too many.
        for (what, bias, entry) in [
            ("nothing after the gate", 0.0, 0.0),
            ("a bias after the gate", 1.0, 0.0),
            ("nearly the identity after the gate", 0.0, 1.0),
        ] {
            let s = special(shape, seed, what, |name, old| match name {
                OutputWeight => {
                    let mut values: Vec<f64> =
                        (0..d * d).map(|i| f64::from(i / d == i % d)).collect();
                    values[d * d - 1] += entry;
                    Some(values)
                }
                OutputBias => Some(vec![bias; old.len()]),
                _ => None,
            });
            failures.extend(misjudged(&s, 2));
        }
    }
    check(failures);
}

/// One tap of the shift model's C, or of B, and no other.
#[test]
fn taps_of_the_shift_model() {
    let mut failures = Vec::new();
    let short = Shape { len: 3, ..PLAIN };
    let long = Shape { len: 6, ..PLAIN };
    let whole = Shape { len: 8, ..PLAIN };
    let full = Shape { len: 4, ..PLAIN };
    for (i, shape) in [short, long, whole, full].into_iter().enumerate() {
        for state in [false, true] {
            let shape = Shape { state, ..shape };
            let seed = 230 + i as u64;
            let m = shape.d_state;
            // In the last channel alone, that none is passed over.
            let unit = |old: &[f64], n: usize| {
                let last = old.len() - m;
                (0..old.len())
                    .map(|i| f64::from(i == last + n))
                    .collect::<Vec<f64>>()
            };
            for n in 0..m {
                for name in [ShiftB, ShiftC] {
                    let s = special(shape, seed, &format!("{name:?} = e_{n}"), |of, old| {
                        (of == name).then(|| unit(old, n))
                    });
                    failures.extend(misjudged(&s, 2));
                }
                let s = special(shape, seed, &format!("B and C e_{n}"), |of, old| {
                    [ShiftB, ShiftC].contains(&of).then(|| unit(old, n))
                });
                failures.extend(misjudged(&s, 4));
            }
            // What was given is neither read, nor still there after as many keys as the window is long.
            let newest = special(shape, seed, "the newest key of none", |of, old| match of {
                ShiftB => Some(vec![0.0; old.len()]),
                ShiftC => Some(unit(old, 0)),
                _ => None,
            });
            failures.extend(misjudged(&newest, 2));
            for name in [ShiftB, ShiftC] {
                let s = special(shape, seed, &format!("{name:?} zero"), filled(&[name], 0.0));
                failures.extend(misjudged(&s, 2));
            }
        }
    }
    check(failures);
}

/// One tap that is not zero in all of the layer, within the sequence, twice as far, or beyond.
#[test]
fn one_tap_alone() {
    let mut failures = Vec::new();
    for l_max in [None, Some(9), Some(7), Some(4)] {
        let shape = Shape {
            len: 4,
            d_state: 12,
            l_max,
            ..PLAIN
        };
        for n in 0..12 {
            let s = special(shape, 235, &format!("tap {n}"), |name, old| match name {
                ShiftB => Some((0..old.len()).map(|i| f64::from(i % 12 == 0)).collect()),
                ShiftC => Some((0..old.len()).map(|i| f64::from(i % 12 == n)).collect()),
                C => Some(vec![0.0; old.len()]),
                _ => None,
            });
            failures.extend(misjudged(&s, 2));
        }
    }
    check(failures);
}

/// Modes that are real, or not there but in one head.
#[test]
fn parts_of_the_diagonal_model() {
    let mut failures = Vec::new();
    for (i, shape) in shapes().into_iter().enumerate() {
        let seed = 240 + i as u64;
        let real = |of: Name| {
            move |name: Name, old: &[f64]| {
                let parts = old.iter().enumerate();
                let parts = parts.map(|(i, x)| if i % 2 == 0 { *x } else { 0.0 });
                (name == of).then(|| parts.collect::<Vec<f64>>())
            }
        };
        let second_head = |of: Name| {
            move |name: Name, old: &[f64]| {
                let half = old.len() / 2;
                (name == of).then(|| [&vec![0.0; half], &old[half..]].concat())
            }
        };
        for s in [
            special(shape, seed, "B real", real(B)),
            special(shape, seed, "C real", real(C)),
            special(shape, seed, "real poles", filled(&[AImag], 0.0)),
            special(shape, seed, "C in the second head", second_head(C)),
            special(shape, seed, "D in the second head", second_head(D)),
            special(shape, seed, "dt of one", filled(&[LogDt], 0.0)),
            special(shape, seed, "C zero", filled(&[C], 0.0)),
            special(shape, seed, "B zero", filled(&[B], 0.0)),
            special(shape, seed, "C and D zero", filled(&[C, D], 0.0)),
            // Of a state that was given, the last mode alone is read.
            special(shape, seed, "C in the last mode", |name, old| match name {
                B => Some(vec![0.0; old.len()]),
                C => Some(
                    (0..old.len())
                        .map(|i| f64::from(i + 2 == old.len()))
                        .collect(),
                ),
                _ => None,
            }),
        ] {
            failures.extend(misjudged(&s, 3));
        }
    }
    check(failures);
}

/// No chunk, one, whole ones, a last one that is shorter; under and over the window.
#[test]
fn every_chunk_length() {
    let mut failures = Vec::new();
    for (i, (d_state, len, batch)) in [(4, 6, 1), (2, 5, 2), (1, 4, 2), (3, 2, 1), (3, 1, 2)]
        .into_iter()
        .enumerate()
    {
        for state in [false, true] {
            let shape = Shape {
                d_state,
                len,
                batch,
                state,
                ..PLAIN
            };
            let s = random(shape, 250 + i as u64);
            for chunk_len in 1..=len + 1 {
                failures.extend(misjudged(&s, chunk_len));
            }
        }
    }
    check(failures);
}

/// Below, at and above the length, and at twice the length.
#[test]
fn every_window() {
    let mut failures = Vec::new();
    for l_max in 1..=11 {
        for (d_state, disc, real_type) in [
            (4, PLAIN.disc, RealType::Relu),
            (12, ZeroOrderHold, RealType::Exp),
        ] {
            let shape = Shape {
                len: 5,
                l_max: Some(l_max),
                d_state,
                disc,
                real_type,
                ..PLAIN
            };
            failures.extend(misjudged(&random(shape, 260), 2));
        }
    }
    check(failures);
}

/// Without modes no mistake of the diagonal model is one, whatever rule it is decoded and discretized
/// by; a state of one entry does not move.
#[test]
fn without_modes() {
    let mut failures = Vec::new();
    for (real_type, disc) in [
        (RealType::None, ZeroOrderHold),
        (RealType::Relu, PLAIN.disc),
        (RealType::Softplus, ZeroOrderHold),
        (RealType::Sigmoid, PLAIN.disc),
    ] {
        for (state, len) in [(false, 5), (true, 5), (false, 1), (true, 1)] {
            let shape = Shape {
                d_state: 1,
                len,
                state,
                real_type,
                disc,
                ..PLAIN
            };
            let (s, bare) = (
                random(shape, 280),
                special(shape, 281, "no skip", filled(&[D], 0.0)),
            );
            for s in [s, bare] {
                failures.extend(misjudged(&s, 2));
            }
        }
    }
    check(failures);
}

/// Nothing can be told on no token, in no sequence, or in chunks of nothing.
#[test]
fn nothing_applies_to_nothing() {
    let s = random(PLAIN, 270);
    for mutant in Mutant::ALL {
        for (len, batch, chunk_len) in [(0, 1, 4), (13, 0, 4), (13, 1, 0)] {
            let said = applies_in_chunks(mutant, &s.p, len, batch, true, chunk_len);
            assert!(!said, "{}: {len}, {batch}, {chunk_len}", mutant.id());
        }
        assert!(!applies(mutant, &s.p, 0, 1, true), "{}", mutant.id());
    }
    assert!(applies(ShiftOnQ, &s.p, 13, 1, false));
}
