//! Error scales allow for either branch where rounding may take it, and do not depend on how sums are taken.

use hungry_hippos::algebra::{
    ErrorBound, ErrorScale, FloatFormat, Real, Ring, Rng, convolution_of_errors,
    correlation_of_errors, dot,
};
use hungry_hippos::ssm::{causal_convolution, causal_convolution_adjoint};

/// The formats that ports work in, the finest first; the unit roundoff of F16 is that of TF32.
const FORMATS: [FloatFormat; 4] = [
    FloatFormat::F64,
    FloatFormat::F32,
    FloatFormat::TF32,
    FloatFormat::BF16,
];

/// Where rounding may take a number across zero, in any format, the other branch is within tolerance in
/// that format; in a format too fine for that it is refused, and so it is in all where the number is out
/// of reach of the coarsest.
#[test]
fn either_branch_is_allowed_where_rounding_may_take_it() {
    let error = ErrorBound::both(3.0);
    let chosen = |x: f64| {
        let branch = |value| move || ErrorScale::new(value, ErrorBound::ZERO);
        let chosen = ErrorScale::select(ErrorScale::new(x, error), branch(5.0), branch(1.0));
        assert_eq!(chosen.value(), if x > 0.0 { 5.0 } else { 1.0 });
        let step = ErrorScale::new(x, error).step();
        assert_eq!(step.value(), if x > 0.0 { 1.0 } else { 0.0 });
        assert!(
            (step.error().worst * 4.0 - chosen.error().worst).abs() <= 1e-9 * step.error().worst
        );
        chosen.error().worst
    };
    let apart = 4.0;
    for (n, u) in FORMATS
        .map(FloatFormat::unit_roundoff)
        .into_iter()
        .enumerate()
    {
        for part in [1.0, 0.5, 1e-3, 0.0, -0.5, -1.0] {
            let allowed = u * chosen(part * 3.0 * u);
            assert!(allowed >= apart * (1.0 - 1e-12), "{u:e}, {part}: {allowed}");
            // And nothing beyond it, unless a finer format may confuse the two as well.
            let finer = n.checked_sub(1).map(|n| FORMATS[n].unit_roundoff());
            if finer.is_none_or(|finer| f64::abs(part) * u > 2.0 * finer) {
                assert!(allowed <= apart * (1.0 + 1e-12), "{u:e}, {part}: {allowed}");
            }
        }
    }
    let coarsest = FloatFormat::BF16.unit_roundoff();
    for sign in [1.0, -1.0] {
        let at_its_reach = chosen(sign * 3.0 * coarsest);
        assert!(FloatFormat::F32.unit_roundoff() * at_its_reach < 1e-4 * apart);
        assert!(chosen(sign * 3.0 * 2.001 * coarsest) <= 0.0);
    }
}

/// Numbers of one kind: none of them nothing; some, and some with errors nearly too large; or some beyond the range of sums side by side.
fn numbers(kind: usize, len: usize, rng: &mut Rng) -> Vec<ErrorScale> {
    let mut number = |_| {
        let (value, error) = (rng.unit(), rng.unit().abs());
        let (value, error) = match rng.below(6) {
            0 if kind > 0 => (0.0, 0.0),
            1 if kind > 0 => (0.0, error),
            2 if kind > 0 => (value, 0.0),
            3 if kind == 1 => (value, error * 1e260),
            3 if kind > 1 => (value * 1e-200, 0.0),
            4 if kind > 1 => (value * 1e200, error),
            _ => (value, error),
        };
        let (worst, probable) = (error, error / 2.0);
        ErrorScale::new(value, ErrorBound { worst, probable })
    };
    (0..len).map(&mut number).collect()
}

fn bits(x: &[ErrorScale]) -> Vec<[u64; 5]> {
    x.iter().map(|x| x.floats().map(f64::to_bits)).collect()
}

/// Golden files hold the scales, so their bits may not depend on how sums are taken.
#[test]
fn sums_side_by_side_are_those_one_by_one() {
    let mut rng = Rng::new(5);
    for (kind, len) in (0..3).flat_map(|kind| [0, 1, 3, 4, 17, 40].map(|len| (kind, len))) {
        let mut rows =
            |count| -> Vec<_> { (0..count).map(|_| numbers(kind, len, &mut rng)).collect() };
        let (a, b): (Vec<_>, Vec<_>) = (rows(2), rows(7));
        let [a, b] = [&a, &b].map(|rows| rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let found = ErrorScale::products(&a, &b);
        let dots: Vec<_> = a.iter().flat_map(|a| b.iter().map(|b| dot(a, b))).collect();
        assert_eq!(bits(&found), bits(&dots), "{kind}, {len}");
        for taps in [1, 2, 5, 17, 50] {
            let mut kernel = numbers(kind, taps, &mut rng);
            // A kernel may end long before its length.
            kernel.resize(taps + len / 2, ErrorScale::ZERO);
            let found = convolution_of_errors(&kernel, a[0]);
            let expected = causal_convolution(&kernel, a[0]);
            assert_eq!(bits(&found), bits(&expected), "{kind}, {taps}, {len}");
            let (of_kernel, of_input) = causal_convolution_adjoint(&kernel, a[0], a[1]);
            let found = correlation_of_errors(a[0], a[1], kernel.len());
            assert_eq!(bits(&found), bits(&of_kernel), "{kind}, {taps}, {len}");
            let found = correlation_of_errors(&kernel, a[1], len);
            assert_eq!(bits(&found), bits(&of_input), "{kind}, {taps}, {len}");
        }
        // Taken in another order they are others.
        if len > 4 && kind == 0 {
            let [mut a, mut b] = [a[0], b[0]].map(<[_]>::to_vec);
            a.reverse();
            b.reverse();
            assert_ne!(bits(&found[..1]), bits(&[dot(&a, &b)]));
        }
    }
}
