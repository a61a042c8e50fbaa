//! Claim: the gradient of the layer, in every form, with respect to its input, its initial state
//! and every parameter (bilinear discretization, models shared between heads, both head orders,
//! cut kernels) is the derivative, exactly.

use super::support::*;
use hungry_hippos::algebra::{Dual, Linear, Matrix, Ring, Rng};
use hungry_hippos::h3::{Form, HeadOrder, LayerGradients, LayerShape, Modes};
use proptest::prelude::*;

fn derivative(
    problem: &Problem,
    form: &Form,
    flat: &[Exact],
    direction: &[Exact],
    g: &[Exact],
) -> Exact {
    let response = problem.respond::<Dual<Exact>>(form, &along(flat, direction));
    dot(&constant(g), &response).derivative
}

/// Equality of gradients means every part.
#[test]
fn gradients_differ_where_one_part_does() {
    let rng = &mut Rng::new(4);
    let problem = shared_layer();
    let built = problem.build(&random::<Exact>(problem.size(), rng));
    let gradients = built
        .layer
        .gradients(&Form::Convolution, &built.input, None, &built.input, None)
        .expect("shapes fit");
    let other = |change: &dyn Fn(&mut LayerGradients<Exact>)| {
        let mut other = gradients.clone();
        assert_eq!(other, gradients);
        change(&mut other);
        assert_ne!(other, gradients);
    };
    let two = Exact::new(2);
    let [zero, one] =
        [0, 1].map(|n| Linear::new(Matrix::identity(1), vec![Exact::new(n)]).expect("fits"));
    assert_ne!(zero, one);
    other(&|g| g.input = g.input.map(|x| x * two));
    other(&|g| g.state.position += 1);
    other(&|g| g.q = zero.clone());
    other(&|g| g.k = zero.clone());
    other(&|g| g.v = zero.clone());
    other(&|g| g.output = zero.clone());
    other(&|g| g.shift.swap(0, 1));
    other(&|g| g.diagonal.swap(0, 1));
    let modes = &built.modes;
    let other = |change: &dyn Fn(&mut Modes<Exact>)| {
        let mut other = modes.clone();
        assert!(other == *modes);
        change(&mut other);
        assert!(other != *modes);
    };
    other(&|m| m.n_ssm += 1);
    other(&|m| m.lambda.swap(0, 1));
    other(&|m| m.b.swap(0, 1));
    other(&|m| m.dt.swap(0, 1));
}

fn agree(problem: &Problem, rng: &mut Rng) {
    let flat: Vec<Exact> = random(problem.size(), rng);
    let g: Vec<Exact> = random(problem.output_size() + problem.state_size(), rng);
    let expected = problem.gradient(&Form::Convolution, &flat, &g);
    assert_eq!(expected.len(), flat.len(), "one derivative an entry");
    let cut = problem.shape.l_max.is_some_and(|l_max| l_max < problem.len);
    for form in forms(problem.len, rng) {
        if cut && matches!(form, Form::Recurrence | Form::Scan | Form::FlashConv(_)) {
            let built = problem.build(&flat);
            let refused = built
                .layer
                .gradients(&form, &built.input, None, &built.input, None);
            let e = refused.expect_err("no recurrence of finite window");
            assert!(e.to_string().contains("l_max"), "{e}");
            continue;
        }
        let got = problem.gradient(&form, &flat, &g);
        assert_eq!(got, expected, "{form:?}, {problem:?}");
        let direction = random(flat.len(), rng);
        assert_eq!(
            dot(&got, &direction),
            derivative(problem, &form, &flat, &direction, &g),
            "{form:?} against dual numbers, {problem:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn gradients_are_derivatives(
        (n_heads, n_ssm) in prop::sample::select(vec![(1, 1), (2, 1), (2, 2), (4, 2), (3, 1)]),
        head_dim in 1usize..=3,
        d_state in 1usize..=8,
        hd2: bool,
        batch in 1usize..=2,
        len in 0usize..=24,
        l_max in prop::option::of(1usize..=24),
        state: bool,
        seed: u64,
    ) {
        let head_order = if hd2 { HeadOrder::HD2 } else { HeadOrder::D2H };
        let shape = LayerShape { n_heads, head_dim, d_state, l_max, head_order };
        // A state through a cut kernel is refused, as in the forward pass.
        let state = state && l_max.is_none_or(|l_max| l_max >= len);
        agree(&Problem { shape, n_ssm, batch, len, state }, &mut Rng::new(seed));
    }
}

#[test]
fn every_entry_is_a_derivative() {
    let rng = &mut Rng::new(17);
    for head_order in [HeadOrder::D2H, HeadOrder::HD2] {
        let mut problem = shared_layer();
        problem.shape.head_order = head_order;
        problem.batch = 1;
        let flat: Vec<Exact> = random(problem.size(), rng);
        let g: Vec<Exact> = random(problem.output_size() + problem.state_size(), rng);
        let gradient = problem.gradient(&Form::Recurrence, &flat, &g);
        for i in 0..flat.len() {
            let mut direction = vec![Exact::ZERO; flat.len()];
            direction[i] = Exact::ONE;
            assert_eq!(
                gradient[i],
                derivative(&problem, &Form::Recurrence, &flat, &direction, &g),
                "entry {i}, {head_order:?}"
            );
        }
    }
}
