//! Decoding and discretization of the fast path against the reference's, which share no code.

use crate::gradients;
use crate::layer::{bounds, config, trial};
use crate::support::share_used;
use hungry_hippos::algebra::{LIBRARY_FACTOR, Real, Rng};
use hungry_hippos::fast::{DiagonalParameters, FastLayer, Level, Workspace};
use hungry_hippos::h3::{Config, Form, Name, Parameters, RealType};
use hungry_hippos::ssm::Discretization;
use num_complex::Complex;

pub(crate) const REAL_TYPES: [RealType; 5] = [
    RealType::Exp,
    RealType::None,
    RealType::Relu,
    RealType::Sigmoid,
    RealType::Softplus,
];

const DISCRETIZATIONS: [Discretization; 2] =
    [Discretization::Bilinear, Discretization::ZeroOrderHold];

/// Steps and why.
const STEPS: [(f64, &str); 7] = [
    (1e-12, "(e^z - 1) / z keeps no more than four digits"),
    (1e-6, "a step where it keeps ten"),
    (1e-3, "the official least step"),
    (0.1, "the official largest step"),
    (0.9, "|z| on both sides of 1, where series end"),
    (7.0, "beyond them all"),
    (40.0, "poles that underflow"),
];

/// Stored real parts and why.
const STORED: [(f64, &str); 9] = [
    (-745.5, "an exponential that underflows to zero"),
    (-30.0, "1 + e^x is 1, nearly"),
    (-1.5, "below the kink"),
    (-1e-3, "next to it"),
    (0.0, "on it"),
    (0.4, "above it"),
    (1.1, "likewise"),
    (20.0, "softplus's threshold"),
    (20.5, "beyond it"),
];

/// What two right decodings in double precision may differ by: `a` and `b` of every head and mode,
/// in units of 2^-53.
pub(crate) struct Differences {
    a: Vec<f64>,
    b: Vec<f64>,
}

/// One call of the library is one number in both decodings, so what they differ by is their own
/// roundings. With `L` the error of a function in units of roundoff, `z = dt lambda`, and all errors
/// relative unless they are called absolute:
///
/// - `z`: the same bits for types none, exp and relu. The other two have at most two functions and one
///   sum or quotient each, so that lambda differs by `2 (2L + 1)`, and `z` by 2 more.
/// - Bilinear. Each decoding of `a`, `q` and `b` has at most 10 roundings: sums and halves 2, scales 2,
///   the inverse of a complex number 3 (two squares and their sum, a quotient), its product sqrt 5.
///   A change of `z` is multiplied by `a' = q^2` and `q' = q^2 / 2`.
/// - Zero-order hold. `a` is the same product of the same functions, or of an exponential of another
///   number: `2L`; one rounding each.
///   `q = (e^z - 1) / z`. The reference's numerator is `expm1(x) cos y - 2 sin^2(y/2)` and
///   `e^x sin y`: two functions, and three roundings, of each term. The quotient is 6. The fast path's
///   is `e^z - 1` from `|z| = 1` on, 2L + 1 of `e^x` and 1 of the difference, and the same quotient.
///   Below 1 it is a nested series. With `t_k = sum of 1/j! from k on`, step k adds `sqrt 5 t_(k+1)`
///   for its product, `t_k` for its sum and `1/k!` for its coefficient: 2.3 + 2.8 + 1.8 < 7, absolute.
///   A change of `z` is multiplied by `q'`, the mean of `s e^(sz)` over [0, 1]: `max(1, e^x) / 2` at
///   most. `b = dt B q` is a product more in each: `2 (1 + sqrt 5)`, less than 7.
pub(crate) fn differences(p: &Parameters<f64>) -> Differences {
    let (config, l) = (p.config(), LIBRARY_FACTOR);
    let (lambda, n) = (p.lambda(), config.n_modes());
    let layer = p.discretize().unwrap();
    let of_lambda = match config.real_type {
        RealType::None | RealType::Exp | RealType::Relu => 0.0,
        _ => 2.0 * (2.0 * l + 1.0) + 2.0,
    };
    let mut found = Differences {
        a: Vec::new(),
        b: Vec::new(),
    };
    for (h, head) in layer.parts().diagonal.iter().enumerate() {
        let dt = p.get(Name::LogDt)[h].exp();
        for i in 0..n {
            let at = h % config.n_ssm * n + i;
            let z = lambda[at] * dt;
            let of_z = of_lambda * z.norm();
            let stored = &p.get(Name::B)[2 * at..];
            let size = dt * stored[0].hypot(stored[1]);
            let (a, b) = (head.poles()[i].norm(), head.b()[i].norm());
            let (of_a, of_q) = match config.disc {
                Discretization::Bilinear => {
                    let q = (1.0 - z / 2.0).inv().norm();
                    (q * q * of_z + 20.0 * a, q * q / 2.0 * of_z + 20.0 * q)
                }
                Discretization::ZeroOrderHold => {
                    let exponential = if of_z > 0.0 { 2.0 * l } else { 0.0 };
                    let grown = z.re.exp();
                    let terms = (z.re.exp_m1() * z.im.cos()).abs()
                        + 2.0 * (z.im / 2.0).sin().powi(2)
                        + grown * z.im.sin().abs();
                    let numerator = (z.exp() - 1.0).norm();
                    let reference = ((2.0 * l + 3.0) * terms + 6.0 * numerator) / z.norm();
                    let fast = if z.norm() < 1.0 {
                        7.0
                    } else {
                        ((2.0 * l + 1.0) * grown + 7.0 * numerator) / z.norm()
                    };
                    let q = f64::phi1(z).norm();
                    let moved = grown.max(1.0) / 2.0 * of_z;
                    (
                        a * (of_z + exponential + 2.0),
                        moved + reference + fast + 7.0 * q,
                    )
                }
                other => panic!("no bound for {other:?} here"),
            };
            assert!(b.is_finite() && of_q.is_finite(), "head {h}, mode {i}: {z}");
            found.a.push(of_a);
            found.b.push(size * of_q);
        }
    }
    found
}

/// The largest differences of `a` and `b` relative to their moduli, in units of 2^-53.
pub(crate) fn relative(p: &Parameters<f64>) -> (f64, f64) {
    let (found, layer) = (differences(p), p.discretize().unwrap());
    let heads = &layer.parts().diagonal;
    let poles = heads.iter().flat_map(|head| head.poles());
    let inputs = heads.iter().flat_map(|head| head.b());
    let largest = |bounds: &[f64], values: &mut dyn Iterator<Item = &Complex<f64>>| {
        let shares = bounds.iter().zip(values).map(|(bound, z)| match z.norm() {
            0.0 => 0.0,
            size => bound / size,
        });
        shares.fold(0.0, f64::max)
    };
    (
        largest(&found.a, &mut poles.into_iter()),
        largest(&found.b, &mut inputs.into_iter()),
    )
}

/// Every stored real part with some frequencies, in two models that the heads of all steps share.
fn modes(real_type: RealType, disc: Discretization) -> Parameters<f64> {
    let frequencies = [0.25, 3.2, 48.0, 1e-3];
    let n = STORED.len() * frequencies.len() / 2;
    let heads = STEPS.len() * 2;
    let config = Config {
        n_ssm: 2,
        disc,
        real_type,
        ..config(heads, 1, 2 * n)
    };
    let rng = &mut Rng::new(11);
    Parameters::new(config.clone(), |name| {
        let size = name.shape(&config).iter().product();
        Ok((0..size)
            .map(|i: usize| match name {
                // Both models are sampled with every step.
                Name::LogDt => STEPS[i / 2].0.ln(),
                Name::InvAReal => match (real_type, STORED[i % STORED.len()].0) {
                    // Below zero an unstable model, of which e^z may overflow.
                    (RealType::None, stored) => stored.abs(),
                    (_, stored) => stored,
                },
                Name::AImag => frequencies[i / STORED.len()],
                _ => rng.unit(),
            })
            .collect())
    })
    .unwrap()
}

/// The elements of `a` and `b` outside the bound, and the largest share of it used.
fn outside(p: &Parameters<f64>, got: &DiagonalParameters) -> (usize, f64) {
    let (bound, layer) = (differences(p), p.discretize().unwrap());
    let heads = &layer.parts().diagonal;
    let a: Vec<_> = heads.iter().flat_map(|head| head.poles()).collect();
    let b: Vec<_> = heads.iter().flat_map(|head| head.b()).collect();
    let (mut count, mut used) = (0, 0.0f64);
    for (got, want, bound) in [(&got.a, &a, &bound.a), (&got.b, &b, &bound.b)] {
        assert_eq!(got.len(), want.len(), "length");
        for ((got, &want), bound) in got.iter().zip(want).zip(bound) {
            assert!(want.is_finite(), "{want}");
            let (error, bound) = ((got - want).norm(), bound * f64::UNIT_ROUNDOFF);
            // Not a number is outside.
            let within = error <= bound;
            count += usize::from(!within);
            if error > 0.0 {
                used = used.max(error / bound);
            }
        }
    }
    (count, used)
}

#[test]
fn two_decodings_without_common_code_agree() {
    for real_type in REAL_TYPES {
        for disc in DISCRETIZATIONS {
            let p = modes(real_type, disc);
            let got = DiagonalParameters::from_official(&p).unwrap();
            let (count, used) = outside(&p, &got);
            assert_eq!(count, 0, "{real_type:?}, {disc:?}: {used}");
            assert!(used < 1.0, "{real_type:?}, {disc:?}: {used}");
            let c = got.c.iter().flat_map(|z| [z.re, z.im]);
            assert!(c.eq(p.get(Name::C).iter().copied()), "C as stored");
            assert_eq!(got.d, p.get(Name::D), "D as stored");
        }
    }
}

/// A change of the stored numbers of a name.
type Change<'a> = &'a dyn Fn(Name, &mut [f64]);

/// The same parameters read otherwise.
fn read_as(
    p: &Parameters<f64>,
    change: impl Fn(&mut Config),
    value: impl Fn(Name, &mut [f64]),
) -> DiagonalParameters {
    let mut config = p.config().clone();
    change(&mut config);
    let read = Parameters::new(config, |name| {
        let mut read = p.get(name).to_vec();
        value(name, &mut read);
        Ok(read)
    });
    DiagonalParameters::from_official(&read.unwrap()).unwrap()
}

#[test]
fn wrong_decodings_are_outside_the_bound() {
    let same = |_: Name, _: &mut [f64]| ();
    for real_type in REAL_TYPES {
        for disc in DISCRETIZATIONS {
            let p = modes(real_type, disc);
            let refused = |what: &str, got: &DiagonalParameters| {
                let (count, _) = outside(&p, got);
                assert!(count > 0, "{what} of {real_type:?}, {disc:?} is accepted");
            };
            for other in REAL_TYPES.into_iter().filter(|&other| other != real_type) {
                let got = read_as(&p, |config| config.real_type = other, same);
                refused(&format!("type {other:?}"), &got);
            }
            for other in DISCRETIZATIONS.into_iter().filter(|&other| other != disc) {
                refused(
                    "another discretization",
                    &read_as(&p, |config| config.disc = other, same),
                );
            }
            let wrong: [(&str, Change<'_>); 4] = [
                ("the models exchanged among heads", &|name, value| {
                    if matches!(name, Name::InvAReal | Name::AImag | Name::B) {
                        let half = value.len() / 2;
                        value.rotate_left(half);
                    }
                }),
                ("the step as stored", &|name, value| {
                    if name == Name::LogDt {
                        value.iter_mut().for_each(|x| *x = x.abs().ln());
                    }
                }),
                ("the conjugate frequency", &|name, value| {
                    if name == Name::AImag {
                        value.iter_mut().for_each(|x| *x = -*x);
                    }
                }),
                ("real and imaginary part of B exchanged", &|name, value| {
                    if name == Name::B {
                        value.chunks_exact_mut(2).for_each(|z| z.swap(0, 1));
                    }
                }),
            ];
            for (what, value) in wrong {
                refused(what, &read_as(&p, |_| (), value));
            }
            let right = || DiagonalParameters::from_official(&p).unwrap();
            let mut got = right();
            for (at, b) in got.b.iter_mut().enumerate() {
                *b /= STEPS[at / p.config().n_modes() / 2].0;
            }
            refused("B without the step", &got);
            let mut got = right();
            got.a[0] *= 1.0 + 1e-13;
            refused("a pole off by a thousand roundings", &got);
        }
    }
    // What only a few of the modes show: the numbers 1e-4 and 20, and cancellation.
    let p = modes(RealType::Relu, Discretization::ZeroOrderHold);
    let without = |name: Name, value: &mut [f64]| {
        if name == Name::InvAReal {
            value.iter_mut().for_each(|x| *x = x.max(0.0));
        }
    };
    let got = read_as(&p, |config| config.real_type = RealType::None, without);
    assert!(outside(&p, &got).0 > 0, "relu without its 1e-4");
    let p = modes(RealType::Softplus, Discretization::ZeroOrderHold);
    let everywhere = |name: Name, value: &mut [f64]| {
        if name == Name::InvAReal {
            value.iter_mut().for_each(|x| *x = x.exp().ln_1p());
        }
    };
    let got = read_as(&p, |config| config.real_type = RealType::None, everywhere);
    assert!(outside(&p, &got).0 > 0, "softplus without its threshold");
    let p = modes(RealType::Exp, Discretization::ZeroOrderHold);
    let mut got = DiagonalParameters::from_official(&p).unwrap();
    let (lambda, n) = (p.lambda(), p.config().n_modes());
    for (at, b) in got.b.iter_mut().enumerate() {
        let (h, i) = (at / n, at % n);
        let mode = h % 2 * n + i;
        let stored = &p.get(Name::B)[2 * mode..];
        let pole = (lambda[mode] * p.get(Name::LogDt)[h].exp()).exp();
        *b = Complex::new(stored[0], stored[1]) * (pole - 1.0) / lambda[mode];
    }
    assert!(outside(&p, &got).0 > 0, "a quotient that cancels");
}

/// What the tests of the layer compare is enough to notice a wrong decoding.
#[test]
fn a_layer_decoded_otherwise_is_outside_the_bound() {
    for real_type in REAL_TYPES {
        for disc in DISCRETIZATIONS {
            let right = Config {
                real_type,
                disc,
                ..config(5, 1, 6)
            };
            let (p, u, state) = trial(right.clone(), 1, 40, 3);
            let layer = p.discretize().unwrap();
            let want = layer.forward(&Form::Recurrence, &u, Some(&state)).unwrap();
            let (bound, _, _) = bounds::<f64>(&p, &layer, &u, &state);
            let used = |config: Config| {
                let read = Parameters::new(config, |name| Ok(p.get(name).to_vec())).unwrap();
                let fast = FastLayer::<f64>::new(Level::detect(), &read).unwrap();
                let workspace = &mut Workspace::new(1);
                let (got, _) = fast.forward(&u, Some(&state), workspace).unwrap();
                share_used(got.data(), want.output.data(), &bound)
            };
            assert!(used(right.clone()) < 1.0, "{right:?}");
            let types = REAL_TYPES.map(|real_type| Config {
                real_type,
                ..right.clone()
            });
            let discretizations = DISCRETIZATIONS.map(|disc| Config {
                disc,
                ..right.clone()
            });
            for other in types.into_iter().chain(discretizations) {
                if other != right {
                    let used = used(other.clone());
                    assert!(used > 1.0, "{other:?} for {right:?}: {used}");
                }
            }
        }
    }
}

#[test]
fn gradients_at_small_and_large_steps() {
    for real_type in REAL_TYPES {
        for disc in DISCRETIZATIONS {
            let config = Config {
                real_type,
                disc,
                ..config(STEPS.len(), 1, 6)
            };
            let steps: Vec<f64> = STEPS.iter().map(|(step, _)| step.ln()).collect();
            let t = gradients::sample(config, 1, 20, 4).with_stable(|name, value| {
                if name == Name::LogDt {
                    value.copy_from_slice(&steps);
                }
            });
            let want = gradients::expected(&t);
            gradients::check::<f64>(Level::detect(), &t, &want);
        }
    }
}

/// A layer of one head of one mode with `z` and `B = 1`.
fn one_mode(z: Complex<f64>) -> Parameters<f64> {
    let config = Config {
        real_type: RealType::None,
        ..config(1, 1, 2)
    };
    Parameters::new(config.clone(), |name| {
        let size = name.shape(&config).iter().product();
        Ok(match name {
            Name::InvAReal => vec![-z.re],
            Name::AImag => vec![z.im],
            Name::B => vec![1.0, 0.0],
            _ => vec![0.0; size],
        })
    })
    .unwrap()
}

/// Poles of exact cases are exact: where `1 - z/2` is a unit times a power of `1 + i`.
#[test]
fn dyadic_poles_are_exact() {
    for ((re, im), pole, input) in [
        ((0.0, 2.0), (0.0, 1.0), (0.5, 0.5)),
        ((0.0, -2.0), (0.0, -1.0), (0.5, -0.5)),
        ((-2.0, 4.0), (-0.5, 0.5), (0.25, 0.25)),
        ((-6.0, 0.0), (-0.5, 0.0), (0.25, 0.0)),
        ((0.0, 0.0), (1.0, 0.0), (1.0, 0.0)),
        ((-2.0, 0.0), (0.0, 0.0), (0.5, 0.0)),
    ] {
        let got = DiagonalParameters::from_official(&one_mode(Complex::new(re, im))).unwrap();
        let exact = |(re, im)| vec![Complex::new(re, im)];
        assert_eq!(
            (got.a, got.b),
            (exact(pole), exact(input)),
            "z = {re} + {im} i"
        );
    }
}

#[test]
fn large_steps_do_not_overflow_the_bilinear_map() {
    let z = Complex::new(-1e200, 1e200);
    let got = DiagonalParameters::from_official(&one_mode(z)).unwrap();
    assert_eq!(got.a, [Complex::new(-1.0, 0.0)]);
    assert!((got.b[0] * z / -2.0 - 1.0).norm() < 1e-15, "{}", got.b[0]);
}

#[test]
fn the_pole_of_the_bilinear_map_is_refused() {
    let message = FastLayer::<f64>::new(Level::detect(), &one_mode(Complex::new(2.0, 0.0)))
        .unwrap_err()
        .to_string();
    let reference = one_mode(Complex::new(2.0, 0.0)).discretize();
    assert_eq!(message, reference.unwrap_err().to_string());
    assert!(
        message.contains("head 0") && message.contains("pole"),
        "{message}"
    );
}
