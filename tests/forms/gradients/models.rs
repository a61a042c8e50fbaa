//! Claim: for every structure of the state matrix the gradient of every form is the derivative of
//! that form, exactly, and all forms have one gradient.
//!
//! The derivative of a form along a direction `d` is what the form itself computes over dual
//! numbers at `theta + e d`; the gradient must satisfy `<gradient, d>` = that, over the prime
//! field with `==`. A wrong gradient differs in some entry; for a random `d` the difference
//! `<wrong - right, d>` vanishes with probability `1/p`, `p = 2^61 - 1`. For small shapes every
//! entry is compared by itself.

use super::support::*;
use crate::common::lengths;
use hungry_hippos::algebra::{Dual, Ring, Rng, RootsOfUnity, Scalar};
use hungry_hippos::h3::Form;
use proptest::prelude::*;

/// Outputs and final state, flat.
fn respond<F: Structure, T: Scalar>(form: &Form, m: usize, flat: &[T]) -> Vec<T>
where
    T::Complex: RootsOfUnity,
{
    let (model, rest) = flat.split_at(F::size(m));
    let (state, u) = rest.split_at(F::state_size(m));
    let ssm = F::build(m, model);
    let response = form.respond(&ssm, u, Some(&F::state(state))).expect("fits");
    [response.output, F::flat_state::<T>(&response.state)].concat()
}

fn gradient<F: Structure>(form: &Form, m: usize, flat: &[Exact], g: &[Exact]) -> Vec<Exact> {
    let (model, rest) = flat.split_at(F::size(m));
    let (state, u) = rest.split_at(F::state_size(m));
    let (g, g_state) = g.split_at(u.len());
    let gradients = form
        .gradients(
            &F::build(m, model),
            u,
            Some(&F::state(state)),
            g,
            Some(&F::state(g_state)),
        )
        .expect("fits");
    flat_gradients::<F, Exact>(&gradients)
}

/// `<g, derivative of the response along direction>`.
fn derivative<F: Structure>(
    form: &Form,
    m: usize,
    flat: &[Exact],
    direction: &[Exact],
    g: &[Exact],
) -> Exact {
    let response = respond::<F, Dual<Exact>>(form, m, &along(flat, direction));
    dot(&constant(g), &response).derivative
}

fn agree<F: Structure>(m: usize, n: usize, every_entry: bool, rng: &mut Rng) {
    let size = F::size(m) + F::state_size(m) + n;
    let flat: Vec<Exact> = random(size, rng);
    let g: Vec<Exact> = random(n + F::state_size(m), rng);
    let expected = gradient::<F>(&Form::Recurrence, m, &flat, &g);
    assert_eq!(expected.len(), size, "one derivative an entry");
    for form in forms(n, rng) {
        let got = gradient::<F>(&form, m, &flat, &g);
        assert_eq!(got, expected, "{form:?} and the recurrence, m {m}, n {n}");
        let direction = random(size, rng);
        assert_eq!(
            dot(&got, &direction),
            derivative::<F>(&form, m, &flat, &direction, &g),
            "{form:?} against dual numbers, m {m}, n {n}"
        );
    }
    if every_entry {
        for i in 0..size {
            let mut direction = vec![Exact::ZERO; size];
            direction[i] = Exact::ONE;
            assert_eq!(
                expected[i],
                derivative::<F>(&Form::Recurrence, m, &flat, &direction, &g),
                "entry {i}, m {m}, n {n}"
            );
        }
    }
}

fn agree_for_all_structures(m: usize, n: usize, every_entry: bool, seed: u64) {
    let rng = &mut Rng::new(seed);
    agree::<IsDense>(m, n, every_entry, rng);
    agree::<IsDiagonal>(m, n, every_entry, rng);
    agree::<IsShift>(m, n, every_entry, rng);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn gradients_are_derivatives(m in 0usize..=9, n in 0usize..=120, seed: u64) {
        agree_for_all_structures(m, n, false, seed);
    }
}

#[test]
fn gradients_are_derivatives_at_every_boundary_length() {
    for (m, t) in [(1, 4), (4, 4), (5, 8)] {
        for (n, reason) in lengths(m, t) {
            println!("m {m}, n {n}: {reason}");
            agree_for_all_structures(m, n, false, (n * 31 + m) as u64);
        }
    }
}

/// Shapes small enough to perturb every entry alone; with n < m the final state still holds part
/// of the initial one, where published backward passes have gone wrong.
#[test]
fn every_entry_is_a_derivative() {
    for (m, n) in [(0, 3), (1, 0), (1, 1), (3, 2), (3, 3), (3, 4), (4, 11)] {
        agree_for_all_structures(m, n, true, (m * 100 + n) as u64);
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let rng = &mut Rng::new(3);
    let ssm = IsShift::build::<Exact>(2, &random(IsShift::size(2), rng));
    let u: Vec<Exact> = random(5, rng);
    for form in forms(5, rng) {
        let short_cotangent = form.gradients(&ssm, &u, None, &u[..4], None);
        let e = short_cotangent.expect_err("a cotangent of the output is missing");
        assert!(
            e.to_string().contains("cotangent of the output"),
            "{form}: {e}"
        );
        let e = form
            .gradients(&ssm, &u, None, &u, Some(&u[..3]))
            .expect_err("not a state");
        assert!(
            e.to_string().contains("cotangent of the final state"),
            "{form}: {e}"
        );
        let e = form
            .gradients(&ssm, &u, Some(&u[..1]), &u, None)
            .expect_err("not a state");
        assert!(e.to_string().contains("initial state"), "{form}: {e}");
        // No cotangent of the final state is a cotangent of zeros.
        let zeros = [Exact::ZERO; 2];
        assert_eq!(
            form.gradients(&ssm, &u, None, &u, None),
            form.gradients(&ssm, &u, Some(&zeros), &u, Some(&zeros)),
        );
    }
}
