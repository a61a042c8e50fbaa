//! Skips, gates, heads and activations, element by element.

use super::layers::{Named, PLAIN, Shape, random, stage};
use hungry_hippos::h3::Name;
use hungry_hippos::ssm::StateSpace;

/// Skips, gates and heads at head_dim 2, element by element.
#[test]
fn wiring() {
    let shape = Shape {
        head_dim: 2,
        batch: 2,
        state: true,
        ..PLAIN
    };
    let s = random(shape, 95);
    let right = s.run(&[]);
    let (batch, len, d, d_h, heads) = (2, s.len(), 4, 2, 2);
    // Indices of the stages' layouts.
    let bdl = |b: usize, c: usize, t: usize| (b * d + c) * len + t;
    let pair = |b: usize, d1: usize, d2: usize, h: usize, t: usize| {
        (((b * d_h + d1) * d_h + d2) * heads + h) * len + t
    };
    let bld = |b: usize, t: usize, c: usize| (b * len + t) * d + c;
    let at = |stages: &Named, name: &str, i: usize| stage(stages, name).data()[i];
    // Sums of a hundred terms of size one at most, in any order: 100 * 100 u = 1e-12. The mistakes
    // are of size one.
    let close = |mutant: &str, got: f64, expected: f64| {
        assert!(
            (got - expected).abs() < 1e-12,
            "{mutant}: {got:e} {expected:e}"
        );
    };
    let skip = |h: usize| s.p.get(Name::D)[h];
    let got = |m: &str| s.run(&[m]);
    let mutants = [
        "contract_wrong_index",
        "head_split_perm",
        "elementwise_not_outer",
        "d_times_v",
        "d_times_shift_k",
        "d_times_input",
        "d_after_gate",
        "shift_feature_axis",
        "silu_long",
        "gelu_tanh_long",
        "gelu_long",
        "silu_shift",
        "gelu_tanh_shift",
        "gelu_shift",
        "shift_on_v",
        "shift_on_q",
    ];
    let runs: Vec<(&str, Named)> = mutants.into_iter().map(|m| (m, got(m))).collect();
    let run = |m: &str| &runs.iter().find(|(n, _)| *n == m).expect("run").1;
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let gelu = |x: f64| {
        let inner = (2.0 / core::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        0.5 * x * (1.0 + inner.tanh())
    };
    let mut apart = false;
    for b in 0..batch {
        for t in 0..len {
            for (d1, d2, h) in (0..8).map(|i| (i / 4, i / 2 % 2, i % 2)) {
                let (i, key, value) = (pair(b, d1, d2, h, t), h * d_h + d1, h * d_h + d2);
                let y = at(&right, "ssm_out", i);
                let (kv, k) = (at(&right, "kv", i), at(&right, "shift_k", bdl(b, key, t)));
                let v = at(&right, "v", bdl(b, value, t));
                let u = s.input.data()[bld(b, t, value)];
                for (m, other) in [
                    ("d_times_v", v),
                    ("d_times_shift_k", k),
                    ("d_times_input", u),
                ] {
                    close(m, at(run(m), "ssm_out", i), y + skip(h) * (other - kv));
                }
                close(
                    "d_after_gate",
                    at(run("d_after_gate"), "ssm_out", i),
                    y - skip(h) * kv,
                );
                close("silu_long", at(run("silu_long"), "ssm_out", i), silu(y));
                close(
                    "gelu_tanh_long",
                    at(run("gelu_tanh_long"), "ssm_out", i),
                    gelu(y),
                );
                // The two forms of gelu differ by up to 5e-4 (the exact one has its values tested
                // beside it).
                let exact = at(run("gelu_long"), "ssm_out", i);
                assert!((exact - gelu(y)).abs() < 5e-4);
                apart |= (exact - gelu(y)).abs() > 1e-5;
                let only = if d1 == d2 { kv } else { 0.0 };
                close(
                    "elementwise_not_outer",
                    at(run("elementwise_not_outer"), "kv", i),
                    only,
                );
                let split = at(&right, "shift_k", bdl(b, d1 * heads + h, t))
                    * at(&right, "v", bdl(b, d2 * heads + h, t));
                close(
                    "head_split_perm",
                    at(run("head_split_perm"), "kv", i),
                    split,
                );
                let raw = at(&right, "k", bdl(b, key, t));
                let shifted = at(run("shift_on_v"), "shift_k", bdl(b, value, t));
                close("shift_on_v", at(run("shift_on_v"), "kv", i), raw * shifted);
                close("shift_on_q", at(run("shift_on_q"), "kv", i), raw * v);
            }
            for (h, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let place = bld(b, t, j * heads + h);
                let q = |c: usize| at(&right, "q", bdl(b, h * d_h + c, t));
                let y = |d1, d2| at(&right, "ssm_out", pair(b, d1, d2, h, t));
                let kv = |d1, d2| at(&right, "kv", pair(b, d1, d2, h, t));
                let sum = |f: &dyn Fn(usize) -> f64| (0..d_h).map(f).sum::<f64>();
                let m = "contract_wrong_index";
                close(m, at(run(m), "gated", place), sum(&|c| q(c) * y(j, c)));
                let m = "d_after_gate";
                let late = |c| q(c) * (y(c, j) - skip(h) * kv(c, j)) + skip(h) * kv(c, j);
                close(m, at(run(m), "gated", place), sum(&late));
                let m = "shift_on_q";
                let gate = |c: usize| at(run(m), "shift_k", bdl(b, h * d_h + c, t));
                let y = |c| at(run(m), "ssm_out", pair(b, c, j, h, t));
                close(m, at(run(m), "gated", place), sum(&|c| gate(c) * y(c)));
                let m = "head_split_perm";
                let q = |c: usize| at(&right, "q", bdl(b, c * heads + h, t));
                let y = |c| at(run(m), "ssm_out", pair(b, c, j, h, t));
                close(m, at(run(m), "gated", place), sum(&|c| q(c) * y(c)));
            }
            let layer = s.p.discretize().expect("stable");
            for c in 0..d {
                let x = at(&right, "shift_k", bdl(b, c, t));
                close(
                    "silu_shift",
                    at(run("silu_shift"), "shift_k", bdl(b, c, t)),
                    silu(x),
                );
                close(
                    "gelu_tanh_shift",
                    at(run("gelu_tanh_shift"), "shift_k", bdl(b, c, t)),
                    gelu(x),
                );
                let exact = at(run("gelu_shift"), "shift_k", bdl(b, c, t));
                assert!((exact - gelu(x)).abs() < 5e-4);
                let taps = layer.parts().shift[c].kernel(PLAIN.d_state);
                let skip = s.p.get(Name::ShiftD)[c] * at(&right, "k", bdl(b, c, t));
                let across = (0..PLAIN.d_state)
                    .map(|m| taps[m] * at(&right, "k", bdl(b, (c + 8 - m) % d, t)))
                    .sum::<f64>();
                let m = "shift_feature_axis";
                close(m, at(run(m), "shift_k", bdl(b, c, t)), across + skip);
            }
        }
    }
    assert!(apart);
}
