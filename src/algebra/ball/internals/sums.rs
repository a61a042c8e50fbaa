//! Sums of products side by side: within their radii whatever is added up, and exact where two words hold
//! what floats add up to.

use super::exact;
use crate::algebra::ball::common::exact::Dyadic;
use crate::algebra::ball::interval::BallN;
use crate::algebra::{Ring, Rng};

type Ball = BallN<2>;

/// Numbers of one kind: floats of 53 and of 24 digits, balls of two words, zeros among all, and numbers so
/// large and small that their products under- and overflow.
fn number(kind: usize, rng: &mut Rng) -> Ball {
    let x = rng.unit();
    match kind {
        _ if rng.below(9) == 0 => Ball::ZERO,
        0 => Ball::exact(x),
        1 => Ball::exact(f64::from(x as f32)),
        2 => Ball::new([x, rng.unit() * 1e-17], rng.unit().abs() * 1e-30),
        _ => {
            let size = 2f64.powi(1200 * (rng.below(2) as i32) - 600);
            Ball::new([x * size, rng.unit() * 1e-17 * size], 1e-30 * size)
        }
    }
}

fn rows(count: usize, mut row: impl FnMut() -> Vec<Ball>) -> Vec<Vec<Ball>> {
    (0..count).map(|_| row()).collect()
}

fn products(a: &[Vec<Ball>], b: &[Vec<Ball>]) -> Vec<Ball> {
    let [a, b] = [a, b].map(|rows| rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
    Ball::products(&a, &b)
}

/// The number at `part` of the radius from a ball's midpoint.
fn at(x: Ball, part: f64) -> Dyadic {
    Dyadic::sum(&x.midpoint()).add(&exact(part).mul(&exact(x.radius())))
}

fn truth(a: &[Ball], b: &[Ball], part: impl Fn(Ball, Ball) -> f64) -> Dyadic {
    let pairs = a.iter().zip(b);
    pairs.fold(Dyadic::zero(), |sum, (&a, &b)| {
        let part = part(a, b);
        sum.add(&at(a, part).mul(&at(b, part)))
    })
}

fn off(found: Ball, truth: &Dyadic) -> Dyadic {
    Dyadic::sum(&found.midpoint()).sub(truth).abs()
}

#[test]
fn sums_of_products_hold_the_truth() {
    let mut rng = Rng::new(11);
    for (len, kinds) in [0, 1, 2, 7, 60].into_iter().flat_map(|len| {
        let kinds = (0..4).flat_map(|a| (0..4).map(move |b| (a, b)));
        kinds.map(move |kinds| (len, kinds))
    }) {
        let mut of = |kind| (0..len).map(|_| number(kind, &mut rng)).collect();
        let (a, b) = (rows(2, || of(kinds.0)), rows(5, || of(kinds.1)));
        let found = products(&a, &b);
        assert_eq!(found.len(), 10);
        for (at, &found) in found.iter().enumerate() {
            let (a, b) = (&a[at / 5], &b[at % 5]);
            if found.is_unknown() {
                assert!(kinds.0 == 3 || kinds.1 == 3);
                continue;
            }
            for part in [0.0, 1.0, -1.0, 0.3] {
                let off = off(found, &truth(a, b, |_, _| part));
                assert!(off <= exact(found.radius()), "{kinds:?}, {len}: {found:?}");
            }
            // And by less than 2^-94 of the summed magnitudes, beside what the radii give.
            let size = |x: &Ball| x.upper_magnitude();
            let pairs = || a.iter().zip(b);
            let given: f64 = pairs()
                .map(|(a, b)| size(a) * b.radius() + size(b) * a.radius())
                .sum();
            let sum: f64 = pairs().map(|(a, b)| size(a) * size(b)).sum();
            let own = found.radius() - 1.01 * given;
            assert!(own <= sum * 2f64.powi(-94) + 1e-300, "{kinds:?}: {found:?}");
        }
    }
}

/// The numbers at the far end of every radius are held, and by half the radius they would not be.
#[test]
fn radii_are_no_larger_than_they_need_to_be() {
    let mut rng = Rng::new(12);
    let b = rows(4, || (0..50).map(|_| number(0, &mut rng)).collect());
    // Radii beside which what the sums themselves add is little.
    let mut wide = || Ball::new([rng.unit(), rng.unit() * 1e-17], rng.unit().abs() * 1e-24);
    let a = rows(1, || (0..50).map(|_| wide()).collect());
    for (b, found) in b.iter().zip(products(&a, &b)) {
        let ends = [1.0, -1.0].map(|end| {
            let truth = truth(&a[0], b, |_, b| end * b.midpoint()[0].signum());
            off(found, &truth)
        });
        let furthest = ends
            .iter()
            .fold(&ends[0], |a, b| if a >= b { a } else { b });
        assert!(*furthest <= exact(found.radius()), "{found:?}");
        assert!(*furthest > exact(found.radius() / 2.0), "{found:?}");
    }
}

/// What two words hold is exact, so that ties are decided; with a radius they would not be.
#[test]
fn sums_of_short_products_are_exact() {
    let mut rng = Rng::new(13);
    let mut of = || (0..200).map(|_| number(1, &mut rng)).collect();
    let (a, b) = (rows(3, &mut of), rows(6, &mut of));
    for (at, found) in products(&a, &b).into_iter().enumerate() {
        let truth = truth(&a[at / 6], &b[at % 6], |_, _| 0.0);
        assert!(
            found.is_exact() && off(found, &truth).is_zero(),
            "{found:?}"
        );
    }
    let tie = [1.0, 2f64.powi(-53)].map(Ball::exact).to_vec();
    let ones = vec![Ball::ONE; 2];
    let found = products(&[tie], &[ones])[0];
    assert_eq!(found.rounded(), Some(1.0));
    assert_eq!(Ball::new(found.midpoint(), 1e-60).rounded(), None);
}
