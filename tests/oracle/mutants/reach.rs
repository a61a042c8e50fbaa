//! On which layers a mistake changes a number: layers with something special about them, such as a
//! skip, a bias or a tap that is zero, or weights that are equal, symmetric or one; at every chunk
//! length and every `l_max`.

use super::layers::{EQUAL, PLAIN, Shape, Subject, distance, forward_mistakes, random};
use hungry_hippos::h3::Name::{
    AImag, B, C, D, KBias, KWeight, OutputBias, OutputWeight, QBias, QWeight, ShiftB, ShiftC,
    ShiftD, VBias, VWeight,
};
use hungry_hippos::h3::{Name, RealType};
use hungry_hippos::ssm::Discretization::ZeroOrderHold;

const WEIGHTS: [Name; 4] = [QWeight, KWeight, VWeight, OutputWeight];
const BIASES: [Name; 4] = [QBias, KBias, VBias, OutputBias];
/// The mistakes of the skip of the diagonal model.
const SKIP: [&str; 6] = [
    "no_d",
    "d_times_v",
    "d_times_shift_k",
    "d_times_input",
    "d_after_gate",
    "d_twice",
];

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
    let p = s.with(|_| (), |name| value(name, s.p.get(name)));
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

/// Whether a mistake changes a number in chunks of this length.
fn shows_in_chunks(s: &Subject, mistake: &str, chunk_len: usize) -> bool {
    let right = s.run_in_chunks(&[], chunk_len);
    let wrong = s.run_in_chunks(&[mistake], chunk_len);
    let mut pairs = wrong.iter().zip(&right);
    pairs.any(|((_, wrong), (_, right))| distance(wrong, right) > EQUAL)
}

/// Fails unless each of these mistakes changes a number of the layer, or none of them does.
fn expect(s: &Subject, mistakes: &[&str], shows: bool) {
    for mistake in mistakes {
        let seen = shows_in_chunks(s, mistake, 2);
        assert_eq!(seen, shows, "{mistake} on {}", s.name);
    }
}

/// Four tokens from a state and not, heads of one channel and of two.
fn shapes() -> [Shape; 3] {
    let short = Shape { len: 4, ..PLAIN };
    [
        short,
        Shape {
            state: true,
            ..short
        },
        Shape {
            head_dim: 2,
            ..short
        },
    ]
}

#[test]
fn skips_and_biases() {
    for shape in shapes() {
        let try_it = |what: &str, value: Replace<'_>| special(shape, 200, what, value);
        let plain = try_it("as it is", &|_, _| None);
        expect(&plain, &SKIP, true);
        let biased = ["no_bias", "no_bias_qkv", "no_bias_output"];
        expect(&plain, &biased, true);
        expect(&plain, &["no_shift_d"], true);
        expect(&plain, &["map_swap_d"], shape.head_dim == 1);
        expect(&try_it("no skip", &filled(&[D], 0.0)), &SKIP, false);
        let without = try_it("no shift skip", &filled(&[ShiftD], 0.0));
        expect(&without, &["no_shift_d"], false);
        let equal = try_it("equal skips", &filled(&[D, ShiftD], 0.5));
        expect(&equal, &["map_swap_d"], false);
        expect(&try_it("no bias", &filled(&BIASES, 0.0)), &biased, false);
        for kept in BIASES {
            // And of that one only the last element.
            let s = try_it(&format!("{kept:?} alone"), &|name, old| {
                let last = |i| f64::from(name == kept && i + 1 == old.len());
                BIASES
                    .contains(&name)
                    .then(|| (0..old.len()).map(last).collect())
            });
            expect(&s, &["no_bias"], true);
            expect(&s, &["no_bias_qkv"], kept != OutputBias);
            expect(&s, &["no_bias_output"], kept == OutputBias);
        }
    }
}

#[test]
fn equal_projections() {
    for shape in shapes() {
        let plain = random(shape, 210);
        for (one, other, mistake) in [
            ((QWeight, QBias), (KWeight, KBias), "map_swap_qk"),
            ((QWeight, QBias), (VWeight, VBias), "map_swap_qv"),
            ((KWeight, KBias), (VWeight, VBias), "map_swap_kv"),
        ] {
            for (weights, biases) in [(true, false), (false, true), (true, true)] {
                let what = format!("{one:?} as {other:?}: {weights}, {biases}");
                let s = special(shape, 210, &what, |name, _| match name {
                    _ if name == one.0 && weights => Some(plain.p.get(other.0).to_vec()),
                    _ if name == one.1 && biases => Some(plain.p.get(other.1).to_vec()),
                    _ => None,
                });
                expect(&s, &[mistake], !(weights && biases));
            }
        }
        // Where keys are as values, it is one which of them is shifted; with heads of one channel.
        let s = special(shape, 210, "k as v", |name, _| match name {
            KWeight => Some(plain.p.get(VWeight).to_vec()),
            KBias => Some(plain.p.get(VBias).to_vec()),
            _ => None,
        });
        expect(&s, &["shift_on_v"], shape.head_dim > 1);
        expect(&s, &["shift_on_q"], true);
    }
}

#[test]
fn symmetric_and_identical_weights() {
    for shape in shapes() {
        let d = shape.heads * shape.head_dim;
        let symmetric = |name: Name, old: &[f64]| {
            let entry = |i: usize| old[i] + old[i % d * d + i / d];
            let weight = WEIGHTS.contains(&name);
            weight.then(|| (0..d * d).map(entry).collect::<Vec<f64>>())
        };
        let s = special(shape, 220, "symmetric", symmetric);
        expect(&s, &["weight_transpose"], false);
        for uneven in WEIGHTS {
            let what = format!("all symmetric but {uneven:?}");
            let s = special(shape, 220, &what, |name, old| {
                let mut values = symmetric(name, old)?;
                if name == uneven {
                    values[d * (d - 1)] += 1.0;
                }
                Some(values)
            });
            expect(&s, &["weight_transpose"], true);
        }
        // What comes after the gate: nothing, a bias, an entry too many.
        for (bias, entry) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)] {
            let what = format!("{bias} and {entry} after the gate");
            let s = special(shape, 220, &what, |name, old| match name {
                OutputWeight => {
                    let identity = |i| f64::from(i / d == i % d);
                    let mut values: Vec<f64> = (0..d * d).map(identity).collect();
                    values[d * d - 1] += entry;
                    Some(values)
                }
                OutputBias => Some(vec![bias; old.len()]),
                _ => None,
            });
            expect(&s, &["no_out_proj"], bias + entry > 0.0);
        }
    }
}

/// Without a kernel of the shift model nothing done to it shows; with `B = e_0` the ways to
/// correlate B and C are one.
#[test]
fn taps_of_the_shift_model() {
    let of_kernel = [
        "shift_taps_reversed",
        "shift_conv_not_corr",
        "shift_conj_on_c",
        "shift_fft_n",
        "shift_len_uncut",
        "shift_delayed",
        "shift_advanced",
        "norm_twice_shift",
        "fft_conj_shift",
        "shift_cyclic_time",
    ];
    for len in [3, 6, 8] {
        let shape = Shape { len, ..PLAIN };
        for name in [ShiftB, ShiftC] {
            let s = special(shape, 230, &format!("{name:?} zero"), filled(&[name], 0.0));
            expect(&s, &of_kernel, false);
        }
        let first = special(shape, 230, "B = e_0", |name, old| {
            let entry = |i| f64::from(i % PLAIN.d_state == 0);
            (name == ShiftB).then(|| (0..old.len()).map(entry).collect())
        });
        expect(&first, &of_kernel[1..2], false);
        expect(&first, &of_kernel[3..5], false);
        expect(&first, &of_kernel[..1], true);
        expect(&first, &of_kernel[5..], true);
    }
}

/// One tap in all of the layer: it aliases from beyond the sequence, where the last input comes round
/// to the first output, to twice as far, or to `l_max`.
#[test]
fn one_tap_alone() {
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
            let ends = l_max.unwrap_or(8).min(8);
            expect(&s, &["long_kernel_alias"], (5..ends).contains(&n));
            expect(&s, &["shift_len_alias"], (5..8).contains(&n));
        }
    }
}

/// Conjugates of what is real, and models without input.
#[test]
fn parts_of_the_diagonal_model() {
    for shape in shapes() {
        let real = |of: Name| {
            move |name: Name, old: &[f64]| {
                let parts = old.iter().enumerate();
                let parts = parts.map(|(i, x)| if i % 2 == 0 { *x } else { 0.0 });
                (name == of).then(|| parts.collect::<Vec<f64>>())
            }
        };
        let conjugated = ["conj_a", "conj_b", "conj_c"];
        for (s, hidden) in [
            (special(shape, 240, "B real", real(B)), "conj_b"),
            (special(shape, 240, "C real", real(C)), "conj_c"),
            (
                special(shape, 240, "real poles", filled(&[AImag], 0.0)),
                "conj_a",
            ),
        ] {
            for mistake in conjugated {
                expect(&s, &[mistake], mistake != hidden);
            }
            expect(&s, &["imag_dropped"], hidden != "conj_a");
        }
        // Nothing enters the state; what was in it before is decoded all the same.
        let s = special(shape, 240, "B zero", filled(&[B], 0.0));
        for mistake in forward_mistakes() {
            if mistake.first_stage == "ssm_kernel" && !shape.state {
                let shows = ["d_twice", "b_dropped"].contains(&mistake.name);
                expect(&s, &[mistake.name], shows);
            }
        }
        expect(&s, &["conj_a", "dt_raw"], shape.state);
    }
}

/// No chunk boundary, one, several, a last chunk that is shorter; under and over the window.
#[test]
fn every_chunk_length() {
    for (d_state, len, batch) in [(4, 6, 1), (2, 5, 2), (3, 2, 1), (3, 1, 2)] {
        for state in [false, true] {
            let shape = Shape {
                d_state,
                len,
                batch,
                state,
                ..PLAIN
            };
            let s = random(shape, 250);
            for chunk_len in 1..=len + 1 {
                let passed = len > chunk_len;
                let carried = passed || state;
                for (mistake, shows) in [
                    ("mxy_one_early", carried),
                    ("mxy_one_late", carried),
                    ("carry_after_gate", carried),
                    ("carry_real_parts", carried),
                    ("carry_no_factor_2", carried),
                    ("carry_one_short", carried),
                    ("carry_undecayed", carried),
                    ("carry_full_chunk", passed && len % chunk_len != 0),
                    ("carry_dropped", passed),
                    ("shift_state_lost", passed),
                    ("mux_unreversed", chunk_len.min(len) > 1),
                    ("snapshot_boundary", passed),
                    ("snapshot_boundary_later", passed && batch > 1),
                    ("initial_state_ignored", state),
                    ("pad_in_state", len % 2 == 1),
                ] {
                    let seen = shows_in_chunks(&s, mistake, chunk_len);
                    assert_eq!(seen, shows, "{mistake} on {shape:?} in {chunk_len}");
                }
            }
        }
    }
}

/// An `l_max` below, at and above the length: only below it there is something to cut, and nothing
/// between chunks.
#[test]
fn every_window() {
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
            let s = random(shape, 260);
            expect(&s, &["l_max_cut"], l_max < 5);
            let between = [
                "mxy_one_early",
                "mux_unreversed",
                "carry_dropped",
                "shift_state_lost",
                "snapshot_boundary",
                "scan_operands",
                "shift_step_transposed",
            ];
            expect(&s, &between, l_max >= 5);
            let zoh = disc == ZeroOrderHold;
            expect(
                &s,
                &["zoh_for_bilinear", "missing_bilinear_denominator"],
                !zoh,
            );
            expect(&s, &["bilinear_for_zoh"], zoh);
            let relu = real_type == RealType::Relu;
            expect(&s, &["relu_without_offset", "real_decode_exp"], relu);
        }
    }
}

/// Without modes no mistake of the diagonal model is one, whatever rule it is decoded and discretized
/// by, but for that of its skip; a state of one entry does not move.
#[test]
fn without_modes() {
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
            let bare = special(shape, 281, "no skip", filled(&[D], 0.0));
            for (s, skip) in [(random(shape, 280), true), (bare, false)] {
                for mistake in forward_mistakes() {
                    if mistake.first_stage == "ssm_kernel" {
                        expect(&s, &[mistake.name], skip && mistake.name == "d_twice");
                    }
                }
                let silent = [
                    "scan_operands",
                    "scan_underflow",
                    "state_bf16",
                    "shift_step_transposed",
                    "shift_step_rolled_back",
                ];
                expect(&s, &silent, false);
            }
        }
    }
}
