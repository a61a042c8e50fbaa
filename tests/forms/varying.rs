//! Claim: with matrices that depend on the token, recurrence = stream = scan = quadratic form = state
//! passing in any chunks, exactly, from any state; and the adjoint is the derivative.

use crate::common::{lengths, ragged};
use hungry_hippos::algebra::{Dual, M61, Matrix, Ring, Rng, Sample};
use hungry_hippos::attention::{decay_mask, masked_attention};
use hungry_hippos::flashconv::{Chunking, pass_varying_states};
use hungry_hippos::ssm::{
    Varying, VaryingResponse, VaryingStream, varying_quadratic, varying_recurrence,
    varying_recurrence_adjoint, varying_scan,
};

type D = Dual<M61>;

fn matrix<T: Sample>(rows: usize, cols: usize, rng: &mut Rng) -> Matrix<T> {
    Matrix::from_fn(rows, cols, |_, _| T::sample(rng))
}

/// A model of N state channels with `width` decays per step, some of them 0, its inputs and a state.
struct Random<T> {
    a: Matrix<T>,
    b: Matrix<T>,
    c: Matrix<T>,
    u: Matrix<T>,
    x0: Matrix<T>,
}

impl<T: Sample> Random<T> {
    fn new(len: usize, (p, n, width): (usize, usize, usize), rng: &mut Rng) -> Self {
        let a = Matrix::from_fn(len, width, |_, _| match rng.below(8) {
            0 => T::ZERO,
            _ => T::sample(rng),
        });
        Self {
            a,
            b: matrix(len, n, rng),
            c: matrix(len, n, rng),
            u: matrix(len, p, rng),
            x0: matrix(p, n, rng),
        }
    }

    fn ssm(&self) -> Varying<T> {
        Varying::new(self.a.clone(), self.b.clone(), self.c.clone()).expect("shapes fit")
    }
}

/// Inputs, state channels and decays per step.
const SIZES: [(usize, usize, usize); 4] = [(1, 1, 1), (3, 4, 1), (3, 4, 4), (2, 1, 1)];

fn all_forms(
    of: &Random<M61>,
    x0: Option<&Matrix<M61>>,
    rng: &mut Rng,
) -> Vec<(String, VaryingResponse<M61>)> {
    let (ssm, len) = (of.ssm(), of.u.rows());
    let mut forms = vec![
        ("recurrence".into(), varying_recurrence(&ssm, &of.u, x0)),
        ("scan".into(), varying_scan(&ssm, &of.u, x0)),
        ("quadratic".into(), varying_quadratic(&ssm, &of.u, x0)),
    ];
    let chunk = 1 + rng.below(9);
    for chunking in [
        Chunking::Uniform(1),
        Chunking::Uniform(chunk),
        Chunking::Uniform(len + 2),
        ragged(len, rng),
    ] {
        let response = pass_varying_states(&ssm, &of.u, x0, &chunking);
        forms.push((format!("{chunking:?}"), response));
    }
    let forms = forms.into_iter();
    forms
        .map(|(name, response)| (name, response.expect("shapes fit")))
        .collect()
}

/// A wrong identity survives one trial with probability at most about 3 L / 2^61.
#[test]
fn all_forms_agree() {
    let mut rng = Rng::new(1);
    for (len, why) in lengths(4, 8).into_iter().filter(|(len, _)| *len <= 40) {
        for sizes in SIZES {
            let of = Random::<M61>::new(len, sizes, &mut rng);
            for x0 in [None, Some(&of.x0)] {
                let forms = all_forms(&of, x0, &mut rng);
                for (name, response) in &forms {
                    assert_eq!(response, &forms[0].1, "{name}, {sizes:?}, {len}: {why}");
                }
            }
            // A stream cut anywhere goes on where it was.
            let whole = varying_recurrence(&of.ssm(), &of.u, Some(&of.x0)).expect("fits");
            let cut = rng.below(len + 1);
            let mut stream = VaryingStream::resume(of.x0.clone());
            for t in 0..len {
                if t == cut {
                    stream = VaryingStream::resume(stream.state().clone());
                }
                let row = |x: &Matrix<M61>| x.entries()[t * x.cols()..(t + 1) * x.cols()].to_vec();
                let [a, b, c, u] = [&of.a, &of.b, &of.c, &of.u].map(row);
                let y = stream.step(&a, &b, &c, &u).expect("lengths fit");
                assert_eq!(y, row(&whole.output));
            }
            assert_eq!(stream.state(), &whole.state);
        }
    }
}

/// A decay per step is a mask: SSD is masked attention. Each mask that is off by one step is another
/// function.
#[test]
fn a_decay_per_step_is_a_mask() {
    let mut rng = Rng::new(2);
    let of = Random::<M61>::new(13, (3, 4, 1), &mut rng);
    let expected = varying_recurrence(&of.ssm(), &of.u, None)
        .expect("fits")
        .output;
    let attend = |mask: &Matrix<M61>| masked_attention(&of.c, &of.b, &of.u, mask).expect("fits");
    let mask = decay_mask(of.a.entries()).expect("small");
    assert_eq!(attend(&mask), expected);
    let entry = |i: usize, j: usize| mask.get(i, j).expect("within");
    // With the decay of the diagonal's own step, and without that of the row's.
    let own = Matrix::from_fn(13, 13, |i, j| entry(i, j) * of.a.entries()[j]);
    let late = Matrix::from_fn(
        13,
        13,
        |i, j| if i > j { entry(i - 1, j) } else { entry(i, j) },
    );
    for wrong in [own, late] {
        assert_ne!(attend(&wrong), expected);
    }
    // All decays 1 is H3's limit: linear attention without its normalizer.
    let ones = decay_mask(&[M61::ONE; 13]).expect("small");
    assert!((0..13).all(|i| (0..=i).all(|j| ones.get(i, j) == Some(M61::ONE))));
}

/// FlashConv's question for the third time. A chunk's outputs read the incoming state through as many
/// decays as steps have been made, its own included; one fewer is wrong from the second chunk on.
#[test]
fn the_rows_of_m_xy_begin_with_one_decay() {
    let mut rng = Rng::new(3);
    let (len, t) = (12, 4);
    let of = Random::<M61>::new(len, (2, 3, 3), &mut rng);
    let (ssm, n) = (of.ssm(), 3);
    let whole = varying_recurrence(&ssm, &of.u, None).expect("fits").output;
    let part = |x: &Matrix<M61>, from: usize, to: usize| {
        Matrix::new(
            to - from,
            x.cols(),
            x.entries()[from * x.cols()..to * x.cols()].to_vec(),
        )
        .expect("rows")
    };
    let model = |from, to| {
        Varying::new(
            part(&of.a, from, to),
            part(&of.b, from, to),
            part(&of.c, from, to),
        )
        .expect("fits")
    };
    let state = varying_recurrence(&model(0, t), &part(&of.u, 0, t), None)
        .expect("fits")
        .state;
    let chunk = varying_recurrence(&model(t, 2 * t), &part(&of.u, t, 2 * t), None).expect("fits");
    let outputs = |first: usize| {
        Matrix::from_fn(t, 2, |i, p| {
            let read = (0..n).map(|k| {
                let decays = (first..=i).map(|s| of.a.get(t + s, k).expect("within"));
                let decay = decays.fold(M61::ONE, |product, a| product * a);
                of.c.get(t + i, k).expect("within") * decay * state.get(p, k).expect("within")
            });
            chunk.output.get(i, p).expect("within") + read.fold(M61::ZERO, |sum, x| sum + x)
        })
    };
    assert_eq!(outputs(0), part(&whole, t, 2 * t));
    assert_ne!(outputs(1), part(&whole, t, 2 * t));
}

/// Every gradient of `<g, y> + <g_state, x_L>` against dual numbers, and summed up chunk by chunk from
/// the states at the boundaries alone.
#[test]
fn the_adjoint_is_the_derivative() {
    let mut rng = Rng::new(4);
    for (len, sizes) in [
        (0, (2, 3, 1)),
        (1, (2, 3, 3)),
        (7, (2, 3, 1)),
        (7, (3, 2, 2)),
    ] {
        let of = Random::<M61>::new(len, sizes, &mut rng);
        let (g, g_state) = (
            matrix(len, sizes.0, &mut rng),
            matrix(sizes.0, sizes.1, &mut rng),
        );
        let ssm = of.ssm();
        let adjoint = varying_recurrence_adjoint(&ssm, &of.u, Some(&of.x0), &g, Some(&g_state));
        let adjoint = adjoint.expect("fits");
        // All numbers moved at once, each at a random rate.
        let rate = Random::<M61>::new(len, sizes, &mut rng);
        let moving = |x: &Matrix<M61>, rate: &Matrix<M61>| {
            let at = |i: usize, j: usize| {
                D::new(
                    x.get(i, j).expect("within"),
                    rate.get(i, j).expect("within"),
                )
            };
            Matrix::from_fn(x.rows(), x.cols(), at)
        };
        let moved = Random {
            a: moving(&of.a, &rate.a),
            b: moving(&of.b, &rate.b),
            c: moving(&of.c, &rate.c),
            u: moving(&of.u, &rate.u),
            x0: moving(&of.x0, &rate.x0),
        };
        let response = varying_recurrence(&moved.ssm(), &moved.u, Some(&moved.x0)).expect("fits");
        let pair = |x: &Matrix<M61>, y: &Matrix<M61>| {
            let pairs = x.entries().iter().zip(y.entries());
            pairs.fold(M61::ZERO, |sum, (&x, &y)| sum + x * y)
        };
        let slope = |x: &Matrix<D>| x.map(|x| x.derivative);
        let expected = pair(&g, &slope(&response.output)) + pair(&g_state, &slope(&response.state));
        let (a, b, c) = adjoint.model.parts();
        let sum = pair(a, &rate.a) + pair(b, &rate.b) + pair(c, &rate.c);
        let sum = sum + pair(&adjoint.input, &rate.u) + pair(&adjoint.state, &rate.x0);
        assert_eq!(sum, expected, "{len}, {sizes:?}");
        if len > 1 {
            // The decay's gradient from the state after the step instead of before it.
            assert_ne!(sum + pair(a, a), expected);
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let mut rng = Rng::new(5);
    let mut of = |rows, cols| matrix::<M61>(rows, cols, &mut rng);
    let (a, b) = (of(5, 2), of(5, 3));
    assert!(
        Varying::new(a, b.clone(), b.clone()).is_err(),
        "2 decays for 3 channels"
    );
    assert!(
        Varying::new(of(4, 1), b.clone(), b.clone()).is_err(),
        "4 steps of 5"
    );
    let ssm = Varying::new(of(5, 1), b.clone(), b).expect("fits");
    assert!(varying_recurrence(&ssm, &of(4, 2), None).is_err());
    assert!(varying_scan(&ssm, &of(5, 2), Some(&of(2, 2))).is_err());
    assert!(pass_varying_states(&ssm, &of(5, 2), None, &Chunking::Uniform(0)).is_err());
    let mut stream = VaryingStream::<M61>::new(2, 3);
    assert!(
        stream
            .step(
                &[M61::ONE; 2],
                &[M61::ONE; 3],
                &[M61::ONE; 3],
                &[M61::ONE; 2]
            )
            .is_err()
    );
}
