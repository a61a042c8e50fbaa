//! Sums of products side by side: within their radii whatever is added up, and exact where two words hold
//! every partial sum of floats.

use super::exact;
use crate::common::exact::Dyadic;
use hungry_hippos::algebra::ball::internals::LONGEST;
use hungry_hippos::algebra::{Ball, Numbers, Real, Ring, Rng, SideBySide};

/// Numbers of one kind: floats of 53 and of 24 digits, balls of two words, zeros among all, and numbers so
/// large and small that their products under- and overflow; floats of many sizes, of whose sums two words lose a part;
/// balls with the largest second words there are, and balls as wide as their midpoints.
fn number(kind: usize, rng: &mut Rng) -> Ball {
    let x = rng.unit();
    match kind {
        _ if rng.below(9) == 0 => Ball::ZERO,
        0 => Ball::from_f64(x),
        1 => Ball::from_f64(f64::from(x as f32)),
        2 => Ball::new([x, rng.unit() * 1e-17], rng.unit().abs() * 1e-30),
        4 => Ball::from_f64(x * 2f64.powi(rng.below(121) as i32 - 60)),
        5 => Ball::new(
            [x, x * 0.99 * f64::EPSILON / 2.0 * rng.unit().signum()],
            0.0,
        ),
        6 => Ball::new([x, 0.0], rng.unit().abs()),
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
        let kinds = (0..7).flat_map(|a| (0..7).map(move |b| (a, b)));
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

/// The bounds are of the size of what they bound: among many sums some are off by a sixteenth of theirs.
#[test]
fn bounds_are_nearly_reached() {
    let mut rng = Rng::new(14);
    for kind in [4, 5] {
        let mut reached = false;
        for len in [1, 2, 3, 5, 40] {
            let mut of = || (0..len).map(|_| number(kind, &mut rng)).collect();
            let (a, b) = (rows(40, &mut of), rows(4, &mut of));
            for (at, found) in products(&a, &b).into_iter().enumerate() {
                let off = off(found, &truth(&a[at / 4], &b[at % 4], |_, _| 0.0));
                assert!(off <= exact(found.radius()), "{kind}, {len}: {found:?}");
                reached |= found.radius() > 0.0 && off > exact(found.radius() / 16.0);
            }
        }
        assert!(reached, "{kind}");
    }
}

/// The bounds are derived for sums of this length; longer ones are added up one by one.
#[test]
fn longer_sums_are_added_up_one_by_one() {
    let ones = vec![Ball::ONE; LONGEST + 1];
    assert!(Ball::numbers(&ones) == Numbers::Any);
    assert!(Ball::numbers(&ones[1..]) == Numbers::Plain);
    let found = products(std::slice::from_ref(&ones), std::slice::from_ref(&ones))[0];
    assert_eq!(found.rounded(), Some((LONGEST + 1) as f64));
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
    let tie = [1.0, 2f64.powi(-53)].map(Ball::from_f64).to_vec();
    let ones = vec![Ball::ONE; 2];
    let found = products(&[tie], &[ones])[0];
    assert_eq!(found.rounded(), Some(1.0));
    assert_eq!(Ball::new(found.midpoint(), 1e-60).rounded(), None);
}
