//! Mutants that are other parameters or choices of the right layer, said so and compared with the
//! reference; what is not of that kind is in `sums` and `chunks`.

use super::layers::{EQUAL, Named, PLAIN, Shape, Subject, distance, random, stage};
use hungry_hippos::h3::{Config, Form, HeadOrder, Name, Parameters, RealType};
use hungry_hippos::ssm::Discretization::{Bilinear, ZeroOrderHold};

pub(crate) fn reference(p: &Parameters<f64>, s: &Subject) -> Named {
    let layer = p.discretize().expect("discretizes");
    let stages = layer.forward(&Form::Convolution, &s.input, s.state.as_ref());
    let named = stages.expect("shapes fit").named().into_iter();
    named
        .map(|(name, stage)| (name.to_string(), stage))
        .collect()
}

/// The stages named, or all, are equal.
pub(crate) fn assert_stages(s: &Subject, mutant: &str, right: &Named, stages: &[&str]) {
    let wrong = s.run(&[mutant]);
    let all: Vec<&str> = right.iter().map(|(name, _)| name.as_str()).collect();
    let stages = if stages.is_empty() { &all } else { stages };
    for name in stages {
        let off = distance(stage(&wrong, name), stage(right, name));
        assert!(off <= EQUAL, "{mutant} on {}, {name}: {off:e}", s.name);
    }
}

/// A mutant that is the right layer with other choices.
fn chosen(s: &Subject, mutant: &str, change: impl Fn(&mut Config)) {
    let p = s.with(change, |_| None);
    assert_stages(s, mutant, &reference(&p, s), &[]);
}

/// A mutant that is the right layer with another value of some parameters, in these stages
/// (none: all).
fn valued(
    s: &Subject,
    mutant: &str,
    stages: &[&str],
    value: impl Fn(Name, &[f64]) -> Option<Vec<f64>>,
) {
    let p = s.with(|_| (), |name| value(name, s.p.get(name)));
    assert_stages(s, mutant, &reference(&p, s), stages);
}

fn each(values: &[f64], f: impl FnMut(&f64) -> f64) -> Option<Vec<f64>> {
    Some(values.iter().map(f).collect())
}

/// The imaginary parts, in every second place, negated.
fn conjugate(values: &[f64]) -> Option<Vec<f64>> {
    let sign = |i| if i % 2 == 1 { -1.0 } else { 1.0 };
    Some(
        values
            .iter()
            .enumerate()
            .map(|(i, x)| sign(i) * x)
            .collect(),
    )
}

fn layers() -> Vec<Subject> {
    let wide = Shape {
        head_dim: 2,
        batch: 2,
        ..PLAIN
    };
    let with_state = Shape {
        state: true,
        ..wide
    };
    vec![random(PLAIN, 31), random(wide, 32), random(with_state, 33)]
}

#[test]
fn choices() {
    for s in layers() {
        chosen(&s, "zoh_for_bilinear", |c| c.disc = ZeroOrderHold);
        chosen(&s, "real_decode_none", |c| c.real_type = RealType::None);
        chosen(&s, "real_decode_softplus", |c| {
            c.real_type = RealType::Softplus
        });
        chosen(&s, "head_out_perm", |c| c.head_order = HeadOrder::HD2);
    }
    let zoh = random(
        Shape {
            disc: ZeroOrderHold,
            ..PLAIN
        },
        34,
    );
    chosen(&zoh, "bilinear_for_zoh", |c| c.disc = Bilinear);
    let relu = random(
        Shape {
            real_type: RealType::Relu,
            ..PLAIN
        },
        35,
    );
    chosen(&relu, "real_decode_exp", |c| c.real_type = RealType::Exp);
    // The offset is in no other real_type; without it relu is none of a number cut at zero.
    let p = relu.with(
        |c| c.real_type = RealType::None,
        |n| {
            let stored = relu.p.get(n).iter().map(|x| x.max(0.0));
            (n == Name::InvAReal).then(|| stored.collect())
        },
    );
    assert_stages(&relu, "relu_without_offset", &reference(&p, &relu), &[]);
    let fused = random(
        Shape {
            head_dim: 2,
            order: HeadOrder::HD2,
            ..PLAIN
        },
        36,
    );
    chosen(&fused, "head_out_perm", |c| c.head_order = HeadOrder::D2H);
    let cut = random(
        Shape {
            l_max: Some(5),
            d_state: 8,
            ..PLAIN
        },
        37,
    );
    let whole = cut.with(|c| c.l_max = None, |_| None);
    let outputs = ["shift_k", "kv", "ssm_out", "gated", "output", "final_state"];
    assert_stages(&cut, "l_max_cut", &reference(&whole, &cut), &outputs);
    // Of a kernel that nothing cuts no end is kept beyond the sequence.
    let both = cut.run(&["l_max_cut", "long_kernel_alias"]);
    for name in outputs {
        let right = reference(&whole, &cut);
        assert!(
            distance(stage(&both, name), stage(&right, name)) <= EQUAL,
            "{name}"
        );
    }
}

#[test]
fn projections_and_names() {
    use Name::{
        D, KBias, KWeight, OutputBias, OutputWeight, QBias, QWeight, ShiftD, VBias, VWeight,
    };
    for s in layers() {
        let zero = |name: Name, names: &[Name], x: &[f64]| {
            names.contains(&name).then(|| vec![0.0; x.len()])
        };
        valued(&s, "no_bias", &[], |n, x| {
            zero(n, &[QBias, KBias, VBias, OutputBias], x)
        });
        valued(&s, "no_bias_qkv", &[], |n, x| {
            zero(n, &[QBias, KBias, VBias], x)
        });
        valued(&s, "no_bias_output", &[], |n, x| zero(n, &[OutputBias], x));
        valued(&s, "no_shift_d", &[], |n, x| zero(n, &[ShiftD], x));
        valued(&s, "no_d", &[], |n, x| zero(n, &[D], x));
        let d = s.p.config().d_model;
        let weights = [QWeight, KWeight, VWeight, OutputWeight];
        valued(&s, "weight_transpose", &[], |n, x| {
            let transposed = || (0..d * d).map(|i| x[(i % d) * d + i / d]).collect();
            weights.contains(&n).then(transposed)
        });
        for (mutant, one, other) in [
            ("map_swap_qk", [QWeight, QBias], [KWeight, KBias]),
            ("map_swap_qv", [QWeight, QBias], [VWeight, VBias]),
            ("map_swap_kv", [KWeight, KBias], [VWeight, VBias]),
            ("map_swap_d", [ShiftD, ShiftD], [D, D]),
        ] {
            if mutant == "map_swap_d" && s.p.config().head_dim > 1 {
                continue;
            }
            let swapped = |n: Name, _: &[f64]| {
                let forth = one.iter().position(|&x| x == n).map(|i| other[i]);
                let back = other.iter().position(|&x| x == n).map(|i| one[i]);
                forth.or(back).map(|source| s.p.get(source).to_vec())
            };
            valued(&s, mutant, &[], swapped);
            // Wired wrongly is loaded wrongly, seen from where the three have met.
            match mutant {
                "map_swap_qv" => {
                    valued(&s, "qv_roles_swapped", &["kv", "gated", "output"], swapped)
                }
                "map_swap_qk" => valued(&s, "shift_on_q", &["shift_k", "final_state_k"], swapped),
                "map_swap_kv" => valued(&s, "shift_on_v", &["shift_k", "final_state_k"], swapped),
                _ => {}
            }
        }
        let identity = |n: Name, _: &[f64]| match n {
            OutputWeight => Some((0..d * d).map(|i| f64::from(i / d == i % d)).collect()),
            OutputBias => Some(vec![0.0; d]),
            _ => None,
        };
        valued(&s, "no_out_proj", &[], identity);
        let open = |n: Name, x: &[f64]| match n {
            QWeight => Some(vec![0.0; x.len()]),
            QBias => Some(vec![1.0; x.len()]),
            _ => None,
        };
        valued(&s, "no_final_gate", &["gated", "output"], open);
        // The skip twice is a skip of twice the size; half of it sits in the kernel.
        let double = |n: Name, x: &[f64]| (n == D).then(|| each(x, |x| 2.0 * x)).flatten();
        valued(
            &s,
            "d_twice",
            &["ssm_out", "gated", "output", "final_state"],
            double,
        );
        let (right, wrong) = (s.run(&[]), s.run(&["d_twice"]));
        let (right, wrong) = (stage(&right, "ssm_kernel"), stage(&wrong, "ssm_kernel"));
        for (i, (x, y)) in right.data().iter().zip(wrong.data()).enumerate() {
            let len = s.len();
            let extra = if i % len == 0 {
                s.p.get(D)[i / len]
            } else {
                0.0
            };
            assert!((x + extra - y).abs() < 1e-15);
        }
    }
}

#[test]
fn decoding() {
    for s in layers() {
        let only = |of: Name, f: fn(f64) -> f64| {
            move |n: Name, x: &[f64]| (n == of).then(|| each(x, |&x| f(x))).flatten()
        };
        valued(&s, "exp_imag", &[], only(Name::AImag, f64::exp));
        valued(&s, "imag_dropped", &[], only(Name::AImag, |_| 0.0));
        valued(&s, "conj_a", &[], only(Name::AImag, |x| -x));
        let conj = |of| move |n, x: &[f64]| (n == of).then(|| conjugate(x)).flatten();
        valued(&s, "conj_b", &[], conj(Name::B));
        valued(&s, "conj_c", &[], conj(Name::C));
        valued(&s, "b_dropped", &[], |n, x| {
            let ones = || (0..x.len()).map(|i| f64::from(i % 2 == 0)).collect();
            (n == Name::B).then(ones)
        });
        valued(&s, "no_factor_2", &[], only(Name::C, |x| 0.5 * x));
        valued(&s, "factor_4", &[], only(Name::C, |x| 2.0 * x));
        valued(&s, "dt_exp_exp", &[], only(Name::LogDt, f64::exp));
        valued(
            &s,
            "dt_softplus",
            &[],
            only(Name::LogDt, |x| x.exp().ln_1p().ln()),
        );

        // A positive real part, by the real_type that stores it plainly.
        let p = s.with(
            |c| c.real_type = RealType::None,
            |n| {
                (n == Name::InvAReal)
                    .then(|| each(s.p.get(n), |x| -x.exp()))
                    .flatten()
            },
        );
        assert_stages(&s, "real_decode_positive", &reference(&p, &s), &[]);

        // dt = log_dt < 0 is dt = -log_dt with A and B negated.
        let p = s.with(
            |c| c.real_type = RealType::None,
            |n| match n {
                Name::InvAReal => each(s.p.get(n), |x| -x.exp()),
                Name::AImag | Name::B => each(s.p.get(n), |x| -x),
                Name::LogDt => each(s.p.get(n), |x| {
                    assert!(*x < 0.0);
                    (-x).ln()
                }),
                _ => None,
            },
        );
        assert_stages(&s, "dt_raw", &reference(&p, &s), &[]);
    }
}

#[test]
fn a_given_state_ignored_is_none() {
    for s in layers().into_iter().filter(|s| s.state.is_some()) {
        let without = Subject {
            name: s.name.clone(),
            p: s.p.clone(),
            input: s.input.clone(),
            state: None,
        };
        assert_stages(&s, "initial_state_ignored", &reference(&s.p, &without), &[]);
    }
}
