//! Mutants that sit between chunks or in saved states, against loops over the models' own blocks.

use super::formulas::reference;
use super::layers::{EQUAL, Named, PLAIN, Shape, Subject, distance, random, stage};
use hungry_hippos::Tensor;
use hungry_hippos::flashconv::{Chunking, MatrixSet};
use hungry_hippos::h3::{Form, Layer};
use hungry_hippos::oracle::default_chunk_len;
use hungry_hippos::ssm::{Diagonal, StateSpace, causal_convolution};
use num_complex::Complex;

type C = Complex<f64>;

const SHAPE: Shape = Shape {
    state: true,
    batch: 2,
    ..PLAIN
};

fn assert_row(what: &str, got: &[f64], expected: &[f64]) {
    let scale = expected.iter().fold(1e-3, |m: f64, x| m.max(x.abs()));
    crate::common::assert_close(what, got, expected, EQUAL * scale);
}

fn row<'a>(stages: &'a Named, name: &str, r: usize, len: usize) -> &'a [f64] {
    &stage(stages, name).data()[r * len..][..len]
}

fn parts(x: &[C]) -> Vec<f64> {
    x.iter().flat_map(|z| [z.re, z.im]).collect()
}

fn sum(x: &[C], y: &[C]) -> Vec<C> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

/// The state after a chunk: from the model, the state before, the inputs, the full chunk's length.
type Leave = fn(&Diagonal<f64>, &[C], &[f64], usize) -> Vec<C>;

/// What a mutant does to a chunk: the incoming state, the carried outputs, the outgoing state.
struct Rule {
    mutant: &'static str,
    enter: fn(c: usize, &[C]) -> Vec<C>,
    carried: fn(&Diagonal<f64>, &[C], usize) -> Vec<f64>,
    leave: Leave,
}

fn right_leave(ssm: &Diagonal<f64>, x: &[C], u: &[f64], _: usize) -> Vec<C> {
    sum(&ssm.advance(x, u.len()), &ssm.input_to_state(u))
}

fn rules() -> Vec<Rule> {
    let right = || Rule {
        mutant: "snapshot_boundary",
        enter: |_, x| x.to_vec(),
        carried: |ssm, x, len| ssm.state_to_output(x, len),
        leave: right_leave,
    };
    vec![
        Rule {
            mutant: "mxy_one_late",
            carried: |ssm, x, len| ssm.state_to_output(&ssm.advance(x, 1), len),
            ..right()
        },
        Rule {
            mutant: "mux_unreversed",
            leave: |ssm, x, u, _| {
                let backwards: Vec<f64> = u.iter().rev().copied().collect();
                sum(&ssm.advance(x, u.len()), &ssm.input_to_state(&backwards))
            },
            ..right()
        },
        Rule {
            mutant: "carry_full_chunk",
            leave: |ssm, x, u, full| sum(&ssm.advance(x, full), &ssm.input_to_state(u)),
            ..right()
        },
        Rule {
            mutant: "carry_one_short",
            leave: |ssm, x, u, _| sum(&ssm.advance(x, u.len() - 1), &ssm.input_to_state(u)),
            ..right()
        },
        Rule {
            mutant: "carry_undecayed",
            leave: |ssm, x, u, _| sum(x, &ssm.input_to_state(u)),
            ..right()
        },
        Rule {
            mutant: "carry_dropped",
            enter: |c, x| {
                if c > 0 {
                    vec![C::new(0.0, 0.0); x.len()]
                } else {
                    x.to_vec()
                }
            },
            ..right()
        },
        Rule {
            mutant: "carry_no_factor_2",
            carried: |ssm, x, len| {
                ssm.state_to_output(x, len)
                    .iter()
                    .map(|y| 0.5 * y)
                    .collect()
            },
            ..right()
        },
    ]
}

fn setting(seed: u64) -> (Subject, Layer<f64>, Named) {
    let s = random(SHAPE, seed);
    let layer = s.p.discretize().expect("stable");
    let right = reference(&s.p, &s);
    (s, layer, right)
}

#[test]
fn between_chunks() {
    let (s, layer, right) = setting(21);
    let (len, n) = (s.len(), s.p.config().n_modes());
    // The default, a length that divides nothing, and the port's own.
    for chunk_len in [default_chunk_len(len), 4, 6, 7] {
        for rule in rules() {
            let state = s.state.as_ref();
            let got = s.run_in_chunks(&[rule.mutant], chunk_len);
            for r in 0..4 {
                let ssm = &layer.parts().diagonal[r % 2];
                let kv = row(&right, "kv", r, len);
                let mut x = state.expect("given").diagonal.data()[r * n..][..n].to_vec();
                let mut output = Vec::new();
                for (c, u) in kv.chunks(chunk_len).enumerate() {
                    x = (rule.enter)(c, &x);
                    let within = causal_convolution(&ssm.kernel(u.len()), u);
                    let carried = (rule.carried)(ssm, &x, u.len());
                    for ((y, carried), u) in within.iter().zip(carried).zip(u) {
                        output.push(y + carried + ssm.feedthrough() * u);
                    }
                    x = (rule.leave)(ssm, &x, u, chunk_len);
                }
                let what = format!("{}, chunks of {chunk_len}, row {r}", rule.mutant);
                assert_row(&what, row(&got, "ssm_out", r, len), &output);
                assert_row(&what, row(&got, "final_state", r, 2 * n), &parts(&x));
            }
        }
    }
}

/// M55 is the inconsistent set of matrices of the M_xy table.
#[test]
fn one_early_is_the_early_rows() {
    let (s, layer, right) = setting(22);
    let (len, n) = (s.len(), s.p.config().n_modes());
    let got = s.run(&["mxy_one_early"]);
    let chunking = Chunking::Uniform(default_chunk_len(len));
    for r in 0..4 {
        let ssm = &layer.parts().diagonal[r % 2];
        let x0 = &s.state.as_ref().expect("given").diagonal.data()[r * n..][..n];
        let kv = row(&right, "kv", r, len);
        let early = MatrixSet::EarlyRows.outputs(ssm, kv, Some(x0), &chunking);
        assert_row("M55", row(&got, "ssm_out", r, len), &early.expect("fits"));
        assert_row(
            "M55",
            row(&got, "final_state", r, 2 * n),
            row(&right, "final_state", r, 2 * n),
        );
    }
}

/// M61 moves the carried part past the gate, M62a takes real parts too early.
#[test]
fn the_carried_part() {
    let (s, layer, right) = setting(23);
    let (len, n) = (s.len(), s.p.config().n_modes());
    let (after, real) = (s.run(&["carry_after_gate"]), s.run(&["carry_real_parts"]));
    let chunk_len = default_chunk_len(len);
    for r in 0..4 {
        let (b, h) = (r / 2, r % 2);
        let ssm = &layer.parts().diagonal[h];
        let (q, kv) = (row(&right, "q", r, len), row(&right, "kv", r, len));
        let mut x = s.state.as_ref().expect("given").diagonal.data()[r * n..][..n].to_vec();
        let (mut carried, mut real_parts) = (Vec::new(), Vec::new());
        for u in kv.chunks(chunk_len) {
            carried.extend(ssm.state_to_output(&x, u.len()));
            for i in 1..=u.len() {
                let advanced = ssm.advance(&x, i);
                let read = |m: usize| {
                    // c, read off the model: its output for a unit state is 2 Re c.
                    let mut unit = vec![C::new(0.0, 0.0); n];
                    unit[m] = C::new(1.0, 0.0);
                    ssm.read(&unit) * advanced[m].re
                };
                real_parts.push((0..n).map(read).sum::<f64>());
            }
            x = right_leave(ssm, &x, u, 0);
        }
        let y = row(&right, "ssm_out", r, len);
        let without: Vec<f64> = y.iter().zip(&carried).map(|(y, c)| y - c).collect();
        assert_row("M61", row(&after, "ssm_out", r, len), &without);
        let gated: Vec<f64> = (0..len).map(|t| q[t] * without[t] + carried[t]).collect();
        let got: Vec<f64> = (0..len)
            .map(|t| stage(&after, "gated").data()[(b * len + t) * 2 + h])
            .collect();
        assert_row("M61", &got, &gated);
        let wrong: Vec<f64> = without
            .iter()
            .zip(&real_parts)
            .map(|(y, c)| y + c)
            .collect();
        assert_row("M62a", row(&real, "ssm_out", r, len), &wrong);
    }
}

/// M09 and M50 from a state: what is read is the state before the update, or one step after it; with
/// M55 or M56 the carried state is out by two.
#[test]
fn states_read_a_step_off() {
    let (s, layer, right) = setting(27);
    let (len, n, m) = (s.len(), s.p.config().n_modes(), SHAPE.d_state);
    let state = s.state.as_ref().expect("given");
    let (late, early) = (s.run(&["kernel_advance"]), s.run(&["kernel_delay"]));
    let (shift_late, shift_early) = (s.run(&["shift_advanced"]), s.run(&["shift_delayed"]));
    let both = [
        (s.run(&["kernel_advance", "mxy_one_late"]), 3),
        (s.run(&["kernel_advance", "mxy_one_early"]), 1),
        (s.run(&["kernel_delay", "mxy_one_late"]), 1),
        // There is no power below the zeroth.
        (s.run(&["kernel_delay", "mxy_one_early"]), 0),
    ];
    for r in 0..4 {
        let ssm = &layer.parts().diagonal[r % 2];
        let kv = row(&right, "kv", r, len);
        let mut x = state.diagonal.data()[r * n..][..n].to_vec();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for &u in kv {
            let skip = ssm.feedthrough() * u;
            before.push(ssm.read(&x) + skip);
            ssm.step(&mut x, u);
            after.push(ssm.read(&ssm.advance(&x, 1)) + skip);
        }
        assert_row("M50a", row(&early, "ssm_out", r, len), &before);
        assert_row("M50b", row(&late, "ssm_out", r, len), &after);
        for (stages, power) in &both {
            // Within a chunk as M50, of the kernel as it is; between chunks another power.
            let kernel = row(stages, "ssm_kernel", r % 2, len);
            let mut x = state.diagonal.data()[r * n..][..n].to_vec();
            let mut y = Vec::new();
            for u in kv.chunks(default_chunk_len(len)) {
                let within = causal_convolution(&kernel[..u.len()], u);
                for (i, (within, u)) in within.iter().zip(u).enumerate() {
                    let carried = ssm.read(&ssm.advance(&x, power + i));
                    y.push(within + carried + ssm.feedthrough() * u);
                }
                x = right_leave(ssm, &x, u, 0);
            }
            assert_row("M50 in chunks", row(stages, "ssm_out", r, len), &y);
        }

        let shift = &layer.parts().shift[r % 2];
        let mut x = state.shift.data()[r * m..][..m].to_vec();
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for &u in row(&right, "k", r, len) {
            let skip = shift.feedthrough() * u;
            before.push(shift.read(&x) + skip);
            shift.step(&mut x, u);
            after.push(shift.read(&shift.advance(&x, 1)) + skip);
        }
        assert_row("M09a", row(&shift_early, "shift_k", r, len), &before);
        assert_row("M09b", row(&shift_late, "shift_k", r, len), &after);
    }
}

/// M63: each chunk a call of its own on the shift model, without its state.
#[test]
fn the_shift_state_lost() {
    let (s, layer, right) = setting(24);
    let (len, m) = (s.len(), SHAPE.d_state);
    let got = s.run(&["shift_state_lost"]);
    for r in 0..4 {
        let ssm = &layer.parts().shift[r % 2];
        let k = row(&right, "k", r, len);
        let x0 = &s.state.as_ref().expect("given").shift.data()[r * m..][..m];
        let (mut output, mut last) = (Vec::new(), Vec::new());
        for (c, u) in k.chunks(default_chunk_len(len)).enumerate() {
            let x0 = (c == 0).then_some(x0);
            let response = hungry_hippos::ssm::recurrence(ssm, u, x0).expect("fits");
            output.extend(response.output);
            last = response.state;
        }
        assert_row("M63", row(&got, "shift_k", r, len), &output);
        assert_row("M63", row(&got, "final_state_k", r, m), &last);
    }
}

/// The input's first `len` tokens.
fn prefix(input: &Tensor<f64>, len: usize) -> Tensor<f64> {
    let &[batch, whole, d] = input.shape() else {
        panic!("three axes")
    };
    let data = (0..batch).flat_map(|b| input.data()[b * whole * d..][..len * d].to_vec());
    Tensor::new([batch, len, d], data.collect()).expect("fits")
}

#[test]
fn saved_states() {
    let (s, layer, right) = setting(25);
    let (len, n, m) = (s.len(), s.p.config().n_modes(), SHAPE.d_state);
    let state = s.state.as_ref().expect("given");

    // M60: the states of the sequence without its last chunk.
    let last = len % default_chunk_len(len);
    assert!(last > 0);
    let shorter = Subject {
        name: s.name.clone(),
        p: s.p.clone(),
        input: prefix(&s.input, len - last),
        state: s.state.clone(),
    };
    let old = reference(&s.p, &shorter);
    let (all, later) = (
        s.run(&["snapshot_boundary"]),
        s.run(&["snapshot_boundary_later"]),
    );
    for (name, size) in [("final_state_k", 2 * m), ("final_state", 2 * 2 * n)] {
        for b in 0..2 {
            let of = |stages| row(stages, name, b, size).to_vec();
            assert_row("M60a", &of(&all), &of(&old));
            let expected = if b == 0 { of(&right) } else { of(&old) };
            assert_row("M60b", &of(&later), &expected);
        }
    }

    // So too where a mistake steps the models one by one.
    for (mutant, name, size) in [
        ("state_bf16", "final_state", 2 * 2 * n),
        ("scan_operands", "final_state", 2 * 2 * n),
        ("scan_underflow", "final_state", 2 * 2 * n),
        ("shift_step_transposed", "final_state_k", 2 * m),
        ("shift_step_rolled_back", "final_state_k", 2 * m),
    ] {
        let (snapshots, old) = (
            s.run(&[mutant, "snapshot_boundary"]),
            shorter.run(&[mutant]),
        );
        for b in 0..2 {
            let (got, old) = (row(&snapshots, name, b, size), row(&old, name, b, size));
            assert_row(mutant, got, old);
        }
    }

    // M65, M66, M67, by the models' own blocks.
    let run = |m: &str| s.run(&[m]);
    let (from_u, from_v, from_shift_k) = (
        run("state_from_input"),
        run("state_from_v"),
        run("shift_state_from_shift_k"),
    );
    let (without_b, pad) = (run("state_without_b"), run("pad_in_state"));
    assert!(len % 2 == 1);
    for r in 0..4 {
        let (b, h) = (r / 2, r % 2);
        let ssm = &layer.parts().diagonal[h];
        let x0 = &state.diagonal.data()[r * n..][..n];
        let u: Vec<f64> = (0..len)
            .map(|t| s.input.data()[(b * len + t) * 2 + h])
            .collect();
        let (v, kv) = (row(&right, "v", r, len), row(&right, "kv", r, len));
        for (name, got, input) in [("M65a", &from_u, u.as_slice()), ("M65c", &from_v, v)] {
            let expected = parts(&right_leave(ssm, x0, input, 0));
            assert_row(name, row(got, "final_state", r, 2 * n), &expected);
        }
        let ones = vec![C::new(1.0, 0.0); n];
        let bare = Diagonal::new(ssm.poles().to_vec(), ones.clone(), ones, 0.0).expect("fits");
        let expected = parts(&right_leave(&bare, x0, kv, 0));
        assert_row("M66", row(&without_b, "final_state", r, 2 * n), &expected);
        let expected = parts(&ssm.advance(&right_leave(ssm, x0, kv, 0), 1));
        assert_row("M67", row(&pad, "final_state", r, 2 * n), &expected);

        let shift = &layer.parts().shift[h];
        let x0 = &state.shift.data()[r * m..][..m];
        let keys = |input: &[f64]| {
            hungry_hippos::ssm::recurrence(shift, input, Some(x0))
                .expect("fits")
                .state
        };
        let expected = keys(row(&right, "shift_k", r, len));
        assert_row("M65b", row(&from_shift_k, "final_state_k", r, m), &expected);
        let expected = shift.advance(&keys(row(&right, "k", r, len)), 1);
        assert_row("M67", row(&pad, "final_state_k", r, m), &expected);
    }
}

/// M22: the gate before the diagonal model, whose response is then gated.
#[test]
fn gate_before_ssm() {
    let (s, layer, right) = setting(26);
    let (len, n) = (s.len(), s.p.config().n_modes());
    let got = s.run(&["gate_before_ssm"]);
    for r in 0..4 {
        let ssm = &layer.parts().diagonal[r % 2];
        let x0 = &s.state.as_ref().expect("given").diagonal.data()[r * n..][..n];
        let (q, kv) = (row(&right, "q", r, len), row(&right, "kv", r, len));
        let input: Vec<f64> = q.iter().zip(kv).map(|(q, kv)| q * kv).collect();
        let response = Form::Recurrence
            .respond(ssm, &input, Some(x0))
            .expect("fits");
        assert_row("M22", row(&got, "ssm_out", r, len), &response.output);
        let gated: Vec<f64> = (0..len)
            .map(|t| stage(&got, "gated").data()[(r / 2 * len + t) * 2 + r % 2])
            .collect();
        assert_row("M22", &gated, &response.output);
        assert_row(
            "M22",
            row(&got, "final_state", r, 2 * n),
            &parts(&response.state),
        );
    }
    assert!(distance(stage(&got, "output"), stage(&right, "output")) > EQUAL);
}
