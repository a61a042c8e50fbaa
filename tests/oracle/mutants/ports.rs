//! Mistakes in states that are given, saved and handed over, in padding and in convolutions, against
//! the right layer run otherwise: over another input, in two parts, from another state.

use super::formulas::{assert_stages, reference};
use super::layers::{EQUAL, Named, PLAIN, SHAPES, Shape, Subject, distance, random, stage};
use hungry_hippos::Tensor;
use hungry_hippos::algebra::FloatFormat;
use hungry_hippos::h3::{Form, LayerState, Name, Stages};
use hungry_hippos::ssm::StateSpace;
use num_complex::Complex;

type C = Complex<f64>;

const RESUMED: Shape = Shape {
    head_dim: 2,
    batch: 2,
    state: true,
    ..PLAIN
};

/// The rows of a tensor along its last axis.
trait Lines<T> {
    fn line(&self, r: usize) -> &[T];
    fn edit(&mut self, edit: impl FnOnce(&mut [T]));
    fn edit_line(&mut self, r: usize, edit: impl FnOnce(&mut [T]));
}

impl<T: Copy> Lines<T> for Tensor<T> {
    fn line(&self, r: usize) -> &[T] {
        let each = *self.shape().last().expect("an axis");
        &self.data()[r * each..][..each]
    }

    fn edit(&mut self, edit: impl FnOnce(&mut [T])) {
        let mut data = self.data().to_vec();
        edit(&mut data);
        *self = Tensor::new(self.shape(), data).expect("as long as before");
    }

    fn edit_line(&mut self, r: usize, edit: impl FnOnce(&mut [T])) {
        let each = *self.shape().last().expect("an axis");
        self.edit(|data| edit(&mut data[r * each..][..each]));
    }
}

/// The right layer over an input, from a state.
fn run(s: &Subject, input: &Tensor<f64>, state: Option<&LayerState<f64>>) -> Stages<f64> {
    let layer = s.p.discretize().expect("stable");
    let stages = layer.forward(&Form::Convolution, input, state);
    stages.expect("shapes fit")
}

/// Some tokens of every sequence.
fn tokens(input: &Tensor<f64>, range: std::ops::Range<usize>) -> Tensor<f64> {
    let &[batch, len, d] = input.shape() else {
        panic!("an input")
    };
    let rows = (0..batch).flat_map(|b| range.clone().map(move |t| b * len + t));
    let values = rows.flat_map(|row| input.line(row).to_vec()).collect();
    Tensor::new([batch, range.len(), d], values).expect("fits")
}

/// The inputs one after the other.
fn joined(one: &Tensor<f64>, other: &Tensor<f64>) -> Tensor<f64> {
    let (batch, d) = (one.shape()[0], one.shape()[2]);
    let (first, second) = (one.shape()[1], other.shape()[1]);
    let sequence = |b: usize| {
        let of = |x: &Tensor<f64>, len: usize| x.data()[b * len * d..][..len * d].to_vec();
        [of(one, first), of(other, second)].concat()
    };
    let values = (0..batch).flat_map(sequence).collect();
    Tensor::new([batch, first + second, d], values).expect("fits")
}

fn zeros(input: &Tensor<f64>, len: usize) -> Tensor<f64> {
    let (batch, d) = (input.shape()[0], input.shape()[2]);
    Tensor::new([batch, len, d], vec![0.0; batch * len * d]).expect("fits")
}

fn named(stages: Stages<f64>) -> Named {
    let named = stages.named().into_iter();
    named.map(|(name, x)| (name.to_string(), x)).collect()
}

/// The last numbers of every row of time.
fn last(x: &Tensor<f64>, len: usize) -> Vec<f64> {
    let whole = x.shape().last().copied().expect("time");
    let rows = x.data().chunks(whole);
    rows.flat_map(|row| row[whole - len..].to_vec()).collect()
}

fn assert_equal(what: &str, got: &[f64], expected: &[f64]) {
    let size = expected.iter().fold(1e-3, |m: f64, x| m.max(x.abs()));
    crate::common::assert_close(what, got, expected, EQUAL * size);
}

/// The wrong run of a mistake is the right one in every stage.
fn assert_run(s: &Subject, mistake: &str, number: usize, right: &Named) {
    let wrong = s.run_in_chunks(&[mistake], number);
    for (name, right) in right {
        let off = distance(stage(&wrong, name), right);
        assert!(off <= EQUAL, "{mistake} on {}, {name}: {off:e}", s.name);
    }
}

fn bf16(x: f64) -> f64 {
    FloatFormat::BF16.round(x)
}

/// The newest first, and behind them what was there before.
fn window(signal: &[f64], before: &[f64]) -> Vec<f64> {
    let mut all: Vec<f64> = before.iter().rev().copied().collect();
    all.extend(signal);
    all.reverse();
    all.truncate(before.len());
    all
}

/// Another window of a row, given the one before the first input and the one after the last.
type Edit<'a> = &'a dyn Fn(usize, &[f64], &[f64]) -> Vec<f64>;

/// What is done to the states at a boundary, given the stages before it and the states before those.
type HandedOver = fn(&Subject, &Stages<f64>, &LayerState<f64>, &mut LayerState<f64>);

/// What a token adds to the states once more, or takes away.
fn stepped(s: &Subject, before: &Stages<f64>, state: &mut LayerState<f64>) {
    let layer = s.p.discretize().expect("stable");
    let (batch, d) = (s.input.shape()[0], s.p.config().d_model);
    for row in 0..batch * d {
        let key = *before.k.line(row).last().expect("a token");
        let ssm = &layer.parts().shift[row % d];
        state.shift.edit_line(row, |x| _ = ssm.step(x, key));
    }
    let heads = layer.n_heads();
    for row in 0..state.diagonal.data().len() / s.p.config().n_modes() {
        let kv = *before.kv.line(row).last().expect("a token");
        let ssm = &layer.parts().diagonal[row % heads];
        state.diagonal.edit_line(row, |x| _ = ssm.step(x, kv));
    }
}

fn keys_by(
    s: &Subject,
    initial: &LayerState<f64>,
    state: &mut LayerState<f64>,
    by: impl Fn(usize, &[f64], &[f64]) -> Vec<f64>,
) {
    let rows = s.input.shape()[0] * s.p.config().d_model;
    for row in 0..rows {
        let next = by(row, initial.shift.line(row), state.shift.line(row));
        state.shift.edit_line(row, |x| x.copy_from_slice(&next));
    }
}

/// The mistakes at one boundary, each with what it does there.
fn at_the_boundary() -> Vec<(&'static str, HandedOver)> {
    vec![
        ("prompt_state_lost", |_, _, _, x| {
            x.diagonal = x.diagonal.map(|_| C::new(0.0, 0.0));
        }),
        ("prompt_window_lost", |_, _, _, x| {
            x.shift = x.shift.map(|_| 0.0)
        }),
        ("prompt_states_lost", |_, _, _, x| {
            x.shift = x.shift.map(|_| 0.0);
            x.diagonal = x.diagonal.map(|_| C::new(0.0, 0.0));
        }),
        ("prompt_window_of_shift_k", |s, before, initial, x| {
            let layer = s.p.discretize().expect("stable");
            keys_by(s, initial, x, |row, x0, _| {
                let mut state = x0.to_vec();
                for &y in before.shift_k.line(row) {
                    layer.parts().shift[row % s.p.config().d_model].step(&mut state, y);
                }
                state
            });
        }),
        ("prompt_window_of_raw_keys", |s, before, initial, x| {
            keys_by(s, initial, x, |row, x0, _| window(before.k.line(row), x0));
        }),
        ("prompt_window_reversed", |s, _, initial, x| {
            keys_by(s, initial, x, |_, _, x| x.iter().rev().copied().collect());
        }),
        ("prompt_last_token_twice", |s, before, _, x| {
            stepped(s, before, x)
        }),
        ("prompt_state_bf16", |_, _, _, x| {
            x.diagonal = x.diagonal.map(|z| C::new(bf16(z.re), bf16(z.im)));
        }),
        ("prompt_state_real", |_, _, _, x| {
            x.diagonal = x.diagonal.map(|z| C::new(z.re, 0.0));
        }),
        ("window_cut_to_chunk", |s, before, initial, x| {
            let chunk_len = before.k.shape()[2];
            keys_by(s, initial, x, |_, _, x| {
                let kept = x.iter().enumerate();
                kept.map(|(n, x)| if n < chunk_len { *x } else { 0.0 })
                    .collect()
            });
        }),
        ("window_of_chunk_alone", |s, before, initial, x| {
            let layer = s.p.discretize().expect("stable");
            keys_by(s, initial, x, |row, x0, _| {
                let mut state = vec![0.0; x0.len()];
                for &key in before.k.line(row) {
                    layer.parts().shift[row % s.p.config().d_model].step(&mut state, key);
                }
                state
            });
        }),
    ]
}

/// After one boundary a mistake's outputs are those of the right layer from the state it hands over.
#[test]
fn handed_over_after_a_prompt() {
    for (seed, prompt) in [(400, 2), (401, 3), (402, 9), (403, 12)] {
        let s = random(RESUMED, seed);
        let len = s.len();
        let before = run(&s, &tokens(&s.input, 0..prompt), s.state.as_ref());
        for (mistake, edit) in at_the_boundary() {
            // In chunks there is one boundary only if the rest is no longer than the prompt.
            if mistake.starts_with("window") && 2 * prompt < len {
                continue;
            }
            let mut state = before.state.clone();
            edit(&s, &before, s.state.as_ref().expect("a state"), &mut state);
            let after = run(&s, &tokens(&s.input, prompt..len), Some(&state));
            let wrong = s.run_in_chunks(&[mistake], prompt);
            let what = format!("{mistake} after {prompt}");
            for (name, right) in named(after) {
                if ["shift_k", "ssm_out"].contains(&name.as_str()) {
                    let got = last(stage(&wrong, &name), len - prompt);
                    assert_equal(&format!("{what}, {name}"), &got, right.data());
                } else if name.starts_with("final") {
                    assert_equal(&what, stage(&wrong, &name).data(), right.data());
                }
            }
        }
        // The state of the prompt but for its last token.
        let old = run(&s, &tokens(&s.input, 0..prompt - 1), s.state.as_ref());
        let after = run(&s, &tokens(&s.input, prompt..len), Some(&old.state));
        let wrong = s.run_in_chunks(&["prompt_last_token_missing"], prompt);
        let got = last(stage(&wrong, "ssm_out"), len - prompt);
        let right = after.ssm_out.as_ref().expect("a stage");
        assert_equal("last token missing", &got, right.data());
        // The diagonal state read one step early: as if it were one pole back.
        let mut state = before.state.clone();
        poles(&s, &mut state, |a| a.inv());
        let after = run(&s, &tokens(&s.input, prompt..len), Some(&state));
        let wrong = s.run_in_chunks(&["prompt_state_one_early"], prompt);
        let got = last(stage(&wrong, "shift_k"), len - prompt);
        assert_equal("one early", &got, after.shift_k.data());
    }
}

/// A window with nothing new in it.
fn moved_on(x: &mut [f64]) {
    x.rotate_right(1);
    x[0] = 0.0;
}

/// Every entry of the diagonal states multiplied by what is made of its pole.
fn poles(s: &Subject, state: &mut LayerState<f64>, factor: impl Fn(C) -> C) {
    let layer = s.p.discretize().expect("stable");
    let modes = s.p.config().n_modes();
    for row in 0..state.diagonal.data().len() / modes {
        let ssm = &layer.parts().diagonal[row % layer.n_heads()];
        state.diagonal.edit_line(row, |x| {
            let pairs = x.iter_mut().zip(ssm.poles());
            pairs.for_each(|(x, a)| *x *= factor(*a));
        });
    }
}

/// Mistakes in reading a given state are right layers from another one, but for what they leave.
#[test]
fn given_states() {
    let outputs = ["shift_k", "kv", "ssm_out", "gated", "output"];
    for seed in [410, 411] {
        let s = random(RESUMED, seed);
        let from = |edit: &dyn Fn(&mut LayerState<f64>)| {
            let mut state = s.state.clone().expect("a state");
            edit(&mut state);
            named(run(&s, &s.input, Some(&state)))
        };
        let early = from(&|x| poles(&s, x, |a| a.inv()));
        assert_stages(&s, "given_state_one_early", &early, &outputs);
        let late = from(&|x| poles(&s, x, |a| a));
        assert_stages(&s, "given_state_one_late", &late, &outputs);
        let window_late = from(&|x| {
            let rows = x.shift.data().len() / PLAIN.d_state;
            for row in 0..rows {
                x.shift.edit_line(row, moved_on);
            }
        });
        assert_stages(&s, "given_keys_one_late", &window_late, &outputs[..1]);
        let conjugated = from(&|x| x.diagonal = x.diagonal.map(|z| z.conj()));
        assert_stages(&s, "given_state_conjugated", &conjugated, &[]);
        let exchanged = from(&|x| {
            let (keys, modes) = (x.shift.data().len() / 2, x.diagonal.data().len() / 2);
            x.shift.edit(|x| x.rotate_left(keys));
            x.diagonal.edit(|x| x.rotate_left(modes));
        });
        assert_stages(&s, "given_states_exchanged", &exchanged, &[]);
        let right = from(&|_| {});
        let (heads, modes) = (RESUMED.heads, 2 * s.p.config().n_modes());
        let transposed = |x: &[f64]| -> Vec<f64> {
            let at = |i: usize| {
                let (b, rest) = (i / (4 * heads * modes), i % (4 * heads * modes));
                let (pair, inner) = (rest / (heads * modes), rest % (heads * modes));
                let (d1, d2) = (pair / 2, pair % 2);
                x[((b * 2 + d2) * 2 + d1) * heads * modes + inner]
            };
            (0..x.len()).map(at).collect()
        };
        let final_state = stage(&right, "final_state").data();
        let expected: [(&str, Vec<f64>); 4] = [
            ("final_state_transposed", transposed(final_state)),
            ("final_state_conjugated", {
                let sign = |i: usize| if i % 2 == 1 { -1.0 } else { 1.0 };
                let parts = final_state.iter().enumerate();
                parts.map(|(i, x)| sign(i) * x).collect()
            }),
            ("final_state_real", {
                let parts = final_state.iter().enumerate();
                parts
                    .map(|(i, x)| if i % 2 == 1 { 0.0 } else { *x })
                    .collect()
            }),
            ("final_state_planar", {
                let rows = final_state.chunks(modes);
                rows.flat_map(|row| {
                    let parts = |first| row.iter().skip(first).step_by(2).copied();
                    parts(0).chain(parts(1)).collect::<Vec<_>>()
                })
                .collect()
            }),
        ];
        for (mistake, expected) in expected {
            let wrong = s.run(&[mistake]);
            assert_equal(mistake, stage(&wrong, "final_state").data(), &expected);
        }
        let wrong = s.run(&["given_state_transposed"]);
        let given = from(&|x| {
            let flat: Vec<f64> = x
                .diagonal
                .data()
                .iter()
                .flat_map(|z| [z.re, z.im])
                .collect();
            let pairs = transposed(&flat);
            x.diagonal.edit(|x| {
                let places = x.iter_mut().zip(pairs.chunks(2));
                places.for_each(|(z, pair)| *z = C::new(pair[0], pair[1]));
            });
        });
        let off = distance(stage(&wrong, "ssm_out"), stage(&given, "ssm_out"));
        assert!(off <= EQUAL, "given_state_transposed: {off:e}");
    }
}

/// What is saved: states at another token, or the signals instead of them.
#[test]
fn saved_states() {
    for (seed, number) in [(420, 1), (421, 3), (422, 13)] {
        let s = random(RESUMED, seed);
        let (len, right) = (s.len(), run(&s, &s.input, s.state.as_ref()));
        let initial = s.state.clone().expect("a state");
        let states = |mistake: &str, expected: &LayerState<f64>| {
            let wrong = s.run_in_chunks(&[mistake], number);
            let what = format!("{mistake}, {number}");
            let keys = stage(&wrong, "final_state_k").data();
            assert_equal(&what, keys, expected.shift.data());
            let modes = expected.diagonal.data().iter().flat_map(|z| [z.re, z.im]);
            let modes: Vec<f64> = modes.collect();
            assert_equal(&what, stage(&wrong, "final_state").data(), &modes);
            let output = distance(stage(&wrong, "output"), &right.output);
            assert!(output <= EQUAL, "{what}: {output:e}");
        };
        let old = run(&s, &tokens(&s.input, 0..len - number), Some(&initial));
        states("states_old", &old.state);
        let mut later = right.state.clone();
        let (keys, modes) = (
            later.shift.data().len() / 2,
            later.diagonal.data().len() / 2,
        );
        let (old_keys, old_modes) = (old.state.shift.data(), old.state.diagonal.data());
        later
            .shift
            .edit(|x| x[keys..].copy_from_slice(&old_keys[keys..]));
        later
            .diagonal
            .edit(|x| x[modes..].copy_from_slice(&old_modes[modes..]));
        states("states_old_later", &later);
        states("states_not_saved", &initial);
        let mut exchanged = right.state.clone();
        exchanged.shift.edit(|x| x.rotate_left(keys));
        exchanged.diagonal.edit(|x| x.rotate_left(modes));
        states("final_states_exchanged", &exchanged);
        let padded = joined(&s.input, &zeros(&s.input, number));
        states(
            "padding_tokens_stepped",
            &run(&s, &padded, Some(&initial)).state,
        );
        let mut stepped = right.state.clone();
        for _ in 0..number {
            poles(&s, &mut stepped, |a| a);
            for row in 0..stepped.shift.data().len() / PLAIN.d_state {
                stepped.shift.edit_line(row, moved_on);
            }
        }
        states("padding_stepped", &stepped);
        let by = |edit: Edit<'_>| {
            let mut state = right.state.clone();
            keys_by(&s, &initial, &mut state, edit);
            state
        };
        let raw = |row: usize, x0: &[f64], _: &[f64]| window(right.k.line(row), x0);
        states("raw_key_window", &by(&raw));
        let reversed = |x: Vec<f64>| x.into_iter().rev().collect::<Vec<_>>();
        let oldest = |row: usize, x0: &[f64], x: &[f64]| reversed(raw(row, x0, x));
        states("raw_key_window_oldest_first", &by(&oldest));
        states("window_oldest_first", &by(&|_, _, x| reversed(x.to_vec())));
        let of_outputs = |row: usize, x0: &[f64], _: &[f64]| window(right.shift_k.line(row), x0);
        states("window_of_shift_k", &by(&of_outputs));
    }
}

/// Zeros before the input, whose outputs are cut off; for all sequences or for the second one.
#[test]
fn padding_on_the_left() {
    for state in [false, true] {
        for (seed, number) in [(430, 1), (431, 4)] {
            let s = random(Shape { state, ..RESUMED }, seed);
            let padded = joined(&zeros(&s.input, number), &s.input);
            let padded = named(run(&s, &padded, s.state.as_ref()));
            let right = named(run(&s, &s.input, s.state.as_ref()));
            for name in ["shift_k", "ssm_out"] {
                let expected = last(stage(&padded, name), s.len());
                let all = s.run_in_chunks(&["left_padding"], number);
                assert_equal(name, stage(&all, name).data(), &expected);
                let later = s.run_in_chunks(&["left_padding_later"], number);
                let (got, half) = (stage(&later, name).data(), expected.len() / 2);
                assert_equal(name, &got[..half], &stage(&right, name).data()[..half]);
                assert_equal(name, &got[half..], &expected[half..]);
            }
        }
    }
}

/// Other parameters of the right layer.
#[test]
fn decoded_otherwise() {
    let only = |s: &Subject, of: Name, f: fn(f64) -> f64| {
        let value = |name| (name == of).then(|| s.p.get(name).iter().map(|&x| f(x)).collect());
        reference(&s.with(|_| (), value), s)
    };
    for s in [random(PLAIN, 440), random(RESUMED, 441)] {
        for (mistake, name, f) in [
            (
                "real_decode_twice",
                Name::InvAReal,
                (|x| -x.exp()) as fn(f64) -> f64,
            ),
            ("real_decode_inverse", Name::InvAReal, |x| -x),
            ("dt_softplus_of_dt", Name::LogDt, |x| {
                x.exp().exp().ln_1p().ln()
            }),
            ("dt_clamped", Name::LogDt, |x| {
                x.exp().clamp(0.001, 0.1).ln()
            }),
            ("dt_bf16", Name::LogDt, |x| bf16(x.exp()).ln()),
        ] {
            assert_stages(&s, mistake, &only(&s, name, f), &[]);
        }
    }
    // Four heads: models 0, 0, 1, 1 in place of 0, 1, 0, 1. The heads in the middle exchanged are right.
    let s = random(SHAPES[24], 442);
    let wrong = s.run(&["shared_in_blocks"]);
    let each = s.p.config().n_modes();
    let own = |values: &[f64], width: usize| {
        let model = |m: usize| values[m * each * width..][..each * width].to_vec();
        [model(0), model(0), model(1), model(1)].concat()
    };
    let blocks = s.with(
        |config| config.n_ssm = 4,
        |name| match name {
            Name::B => Some(own(s.p.get(name), 2)),
            Name::InvAReal | Name::AImag => Some(own(s.p.get(name), 1)),
            _ => None,
        },
    );
    for (name, right) in reference(&blocks, &s) {
        let off = distance(stage(&wrong, &name), &right);
        assert!(off <= EQUAL, "shared_in_blocks, {name}: {off:e}");
    }
}

/// Sums that are cut, shifted or taken over too much, in plain loops.
#[test]
fn sums_of_the_models() {
    for (seed, shape) in [
        (450, PLAIN),
        (
            451,
            Shape {
                l_max: Some(5),
                ..PLAIN
            },
        ),
    ] {
        let s = random(shape, seed);
        let (right, len) = (s.run(&[]), s.len());
        let taps = stage(&right, "ssm_kernel").shape()[1];
        let skip = s.p.get(Name::D);
        // y_i = sum_j K_j u_{i + ahead - j}, of the first so many taps.
        let sum = |ahead: usize, count: usize| -> Vec<f64> {
            let (kernel, kv) = (stage(&right, "ssm_kernel"), stage(&right, "kv"));
            let at = |row: usize, i: usize| {
                let term = |j: usize| match (i + ahead).checked_sub(j) {
                    Some(t) if t < len => kernel.line(row)[j] * kv.line(row)[t],
                    _ => 0.0,
                };
                (0..count.min(taps)).map(term).sum::<f64>() + skip[row] * kv.line(row)[i]
            };
            let rows = 0..kv.data().len() / len;
            rows.flat_map(|row| (0..len).map(move |i| (row, i)))
                .map(|(row, i)| at(row, i))
                .collect()
        };
        let out = |mistake: &str, number: usize| {
            let wrong = s.run_in_chunks(&[mistake], number);
            stage(&wrong, "ssm_out").data().to_vec()
        };
        assert_equal("M76b", &out("conv_last_kept_long", 3), &sum(taps, taps));
        for number in [1, 4] {
            assert_equal("M77a", &out("kernel_short", number), &sum(0, number));
        }
        let late = s.run(&["conv_last_kept"]);
        let (kernel, k) = (stage(&right, "shift_kernel"), stage(&right, "k"));
        let middle = s.run(&["conv_same"]);
        for (mistake, wrong, ahead) in [("M76a", late, taps), ("M76c", middle, (taps - 1) / 2)] {
            for row in 0..s.p.config().d_model {
                for i in 0..len {
                    let mut y = s.p.get(Name::ShiftD)[row] * k.line(row)[i];
                    for j in 0..taps {
                        if i + ahead >= j && i + ahead - j < len {
                            y += kernel.line(row)[j] * k.line(row)[i + ahead - j];
                        }
                    }
                    let got = stage(&wrong, "shift_k").line(row)[i];
                    assert!((got - y).abs() < 1e-13, "{mistake}");
                }
            }
        }
        if shape.l_max.is_some() {
            let whole = s.with(|config| config.l_max = None, |_| None);
            let steps = reference(&whole, &s);
            assert_stages(&s, "state_of_steps", &steps, &["final_state"]);
            assert_stages(&s, "state_of_steps", &right, &["ssm_out", "output"]);
            continue;
        }
        let layer = s.p.discretize().expect("stable");
        let (mut frozen, mut summed) = (Vec::new(), Vec::new());
        for (h, ssm) in layer.parts().diagonal.iter().enumerate() {
            let mut x = vec![C::new(0.0, 0.0); ssm.poles().len()];
            for &u in stage(&right, "kv").line(h) {
                let mut first = vec![C::new(0.0, 0.0); x.len()];
                frozen.push(ssm.step(&mut first, u));
                let mixed: C = ssm.poles().iter().zip(&x).map(|(a, x)| a * x).sum();
                x = ssm.inject(u).iter().map(|b| mixed + b).collect();
                let read: f64 = ssm.c().iter().zip(&x).map(|(c, x)| 2.0 * (c * x).re).sum();
                summed.push(read + ssm.feedthrough() * u);
            }
        }
        assert_equal("M87a", &out("state_frozen", 3), &frozen);
        assert_equal("M83", &out("modes_summed", 3), &summed);
    }
    let s = random(RESUMED, 452);
    let (right, wrong) = (s.run(&[]), s.run(&["sequences_exchanged"]));
    let mut exchanged = stage(&right, "ssm_out").data().to_vec();
    let half = exchanged.len() / 2;
    exchanged.rotate_left(half);
    assert_equal("M80", stage(&wrong, "ssm_out").data(), &exchanged);
    assert_run(&s, "padding_of_last_chunk_stepped", 1, &right);
}
