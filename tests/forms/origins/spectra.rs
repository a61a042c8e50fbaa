//! Claim: the eigen-solver solves; the spectra of the normal parts agree with eigenvalues computed
//! elsewhere at 50 digits, and with the official code's; the split reassembles the matrix.

use super::official::numbers;
use crate::common::{assert_close, close, largest};
use hungry_hippos::algebra::ball::BallN;
use hungry_hippos::algebra::{ComplexScalar, Matrix, Real, Rng, Sample, hermitian_eigen};
use hungry_hippos::ssm::hippo::{Diagonalized, Measure, NormalPlusLowRank};
use num_complex::Complex;

/// A random Hermitian matrix with a double eigenvalue: residual, orthonormality, order.
#[test]
fn the_eigen_solver_solves() {
    let rng = &mut Rng::new(1);
    for n in [0usize, 1, 2, 3, 10] {
        let x = Matrix::from_fn(n, n, |_, _| f64::sample_complex(rng));
        let mut h = Matrix::from_fn(n, n, |i, j| {
            x.get(i, j).expect("in") + x.get(j, i).expect("in").conj()
        });
        if n == 3 {
            // u u^* has the eigenvalue 0 twice.
            let u = [
                Complex::new(1.0, 0.0),
                Complex::new(0.0, 2.0),
                Complex::new(1.0, 1.0),
            ];
            h = Matrix::from_fn(3, 3, |i, j| u[i] * u[j].conj());
        }
        let eigen = hermitian_eigen::<f64>(&h).expect("finite");
        let v = &eigen.vectors;
        let star = v.transpose().map(|z| z.conj());
        let flat = |m: &Matrix<Complex<f64>>| -> Vec<f64> {
            m.entries().iter().flat_map(|z| [z.re, z.im]).collect()
        };
        let bound = 100.0 * f64::UNIT_ROUNDOFF * largest(&flat(&h)).max(1.0);
        let product = star.times(v).expect("square");
        assert_close("V* V", &flat(&product), &flat(&Matrix::identity(n)), bound);
        let values: Vec<_> = eigen.values.iter().map(|&x| Complex::new(x, 0.0)).collect();
        let rebuilt = v
            .times(&Matrix::diagonal(&values))
            .and_then(|m| m.times(&star));
        assert_close("V w V*", &flat(&rebuilt.expect("square")), &flat(&h), bound);
        assert!(eigen.values.is_sorted());
    }
    let nan = Matrix::from_fn(2, 2, |_, _| Complex::new(f64::NAN, 0.0));
    assert!(hermitian_eigen::<f64>(&nan).is_err());
    assert!(hermitian_eigen::<f64>(&Matrix::from_fn(2, 3, |_, _| Complex::new(1.0, 0.0))).is_err());
}

/// Refinement brings the vectors, too, to the digits of the numbers: two eigenvalues of three are equal,
/// and known as such only up to rounding. A matrix times a power of two has the same vectors, bit for
/// bit, and its eigenvalues are those times it.
#[test]
fn refinement_and_scaling() {
    type Big = BallN<4>;
    // A reflection takes diag(2, 2, 5, -1) to a matrix with rational entries.
    let axis = [1.0, 2.0, -1.0, 3.0];
    let reflection = |i: usize, j: usize| f64::from(i == j) * 15.0 - 2.0 * axis[i] * axis[j];
    let phase =
        [(1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, -1.0)].map(|(re, im)| Complex::new(re, im));
    let entry = |i: usize, j: usize| {
        let sum: f64 = [2.0, 2.0, 5.0, -1.0]
            .iter()
            .enumerate()
            .map(|(k, value)| reflection(i, k) * value * reflection(k, j))
            .sum();
        phase[i] * phase[j].conj() * sum
    };
    // Times 15^2 = 225: the entries are integers.
    let h = Matrix::from_fn(4, 4, entry);
    let big = |m: &Matrix<Complex<f64>>| {
        m.map(|z| ComplexScalar::from_parts(Big::from_f64(z.re), Big::from_f64(z.im)))
    };
    let residual = |scale: f64| {
        let h = h.map(|z| z * scale);
        let eigen = hermitian_eigen::<Big>(&big(&h)).expect("finite");
        let v = &eigen.vectors;
        let values: Vec<_> = eigen
            .values
            .iter()
            .map(|&x| ComplexScalar::from_base(x))
            .collect();
        let star = v.transpose().map(|z| z.conj());
        let (left, right) = (big(&h).times(v), v.times(&Matrix::diagonal(&values)));
        let square = star.times(v).expect("square");
        let off = |a: &Matrix<_>, b: &Matrix<_>, unit: f64| {
            let pairs = a.entries().iter().zip(b.entries());
            pairs.fold(
                0.0,
                |most: f64, (x, y): (&<Big as hungry_hippos::algebra::Scalar>::Complex, _)| {
                    let difference = *x - *y;
                    most.max(
                        (difference.re().to_f64().abs() + difference.im().to_f64().abs()) / unit,
                    )
                },
            )
        };
        for (value, exact) in eigen.values.iter().zip([-225.0, 450.0, 450.0, 1125.0]) {
            let error = *value - Big::from_f64(exact * scale);
            assert!(
                error.to_f64().abs() < 1e-55 * 1125.0 * scale,
                "{}",
                error.to_f64()
            );
        }
        let identity = Matrix::identity(4);
        off(
            &left.expect("square"),
            &right.expect("square"),
            1125.0 * scale,
        )
        .max(off(&square, &identity, 1.0))
    };
    for exponent in [0, -90, 90] {
        let worst = residual(2f64.powi(exponent));
        // One step fewer would leave 1e-30.
        assert!(worst < 1e-55, "times 2^{exponent}: {worst}");
    }

    let rng = &mut Rng::new(3);
    let x = Matrix::from_fn(6, 6, |_, _| f64::sample_complex(rng));
    let h = Matrix::from_fn(6, 6, |i, j| {
        x.get(i, j).expect("in") + x.get(j, i).expect("in").conj()
    });
    let eigen = hermitian_eigen::<f64>(&h).expect("finite");
    for exponent in [-100, 100] {
        let scale = 2f64.powi(exponent);
        let scaled = hermitian_eigen::<f64>(&h.map(|z| z * scale)).expect("finite");
        let values: Vec<f64> = eigen.values.iter().map(|x| x * scale).collect();
        assert_eq!(scaled.values, values);
        assert_eq!(scaled.vectors, eigen.vectors);
    }
}

const SPECTRA: [(Measure, usize); 10] = [
    (Measure::LegS, 4),
    (Measure::LegS, 8),
    (Measure::LegS, 16),
    (Measure::LegS, 64),
    (Measure::LegT, 8),
    (Measure::LegT, 16),
    (Measure::LagT, 8),
    (Measure::LagT, 16),
    (Measure::FouT, 8),
    (Measure::FouT, 16),
];

/// In f64, to 1e-13 of the largest eigenvalue. The bound refuses the spectrum of a matrix whose
/// state dimension is one less.
#[test]
fn spectra_agree_with_an_independent_computation() {
    for (measure, m) in SPECTRA {
        let what = format!("{measure} {m}");
        let truth = numbers(&format!("truth.{measure}.{m}"));
        let split = NormalPlusLowRank::<f64>::new(measure, m).expect("a split");
        let bound = 1e-13 * largest(&truth);
        assert_close(&what, &split.eigen.values, &truth, bound);
        let real = if measure == Measure::LegS { -0.5 } else { 0.0 };
        assert_close(&what, &[split.real], &[real], 1e-13 * m as f64);

        let official = numbers(&format!("nplr.{measure}.{m}.w"));
        let poles: Vec<f64> = split.poles().iter().flat_map(|z| [z.re, z.im]).collect();
        assert_close(&what, &poles, &official, bound);
        if measure != Measure::FouT {
            // B and P in the eigenvectors, up to their phases.
            let magnitudes = |x: &[f64]| -> Vec<f64> {
                let x = split.in_eigenvectors(x).expect("fits");
                x.iter().map(|z| z.norm()).collect()
            };
            let b = numbers(&format!("nplr.{measure}.{m}.B"));
            assert_close(&what, &magnitudes(&split.model.b), &b, bound);
            let p: Vec<f64> = split.p.iter().flat_map(|p| magnitudes(p)).collect();
            let official = numbers(&format!("nplr.{measure}.{m}.P"));
            assert_close(&what, &p, &official, bound);
        }
        // The vectors are orthonormal, and orthogonal to their conjugates, which are the other half;
        // so they are where zero is an eigenvalue twice.
        let v = split.vectors();
        for (what, left, expected) in [
            ("V* V", v.map(|z| z.conj()), Matrix::identity(m / 2)),
            (
                "V^T V",
                v.clone(),
                Matrix::from_fn(m / 2, m / 2, |_, _| Complex::ZERO),
            ),
        ] {
            let product = left.transpose().times(&v).expect("fits");
            let flat = |m: &Matrix<Complex<f64>>| -> Vec<f64> {
                m.entries().iter().flat_map(|z| [z.re, z.im]).collect()
            };
            let what = format!("{what} of {measure} {m}");
            assert_close(&what, &flat(&product), &flat(&expected), 1e-13);
        }
        let odd =
            NormalPlusLowRank::<f64>::new(measure, m - 1).and_then(|split| split.reassembled());
        assert!(odd.is_err(), "an eigenvalue without a partner");
        let a = split.reassembled().expect("even");
        let bound = 1e-12 * largest(&truth);
        assert_close(&what, a.entries(), split.model.a.entries(), bound);
        assert!(
            close(
                &what,
                a.transpose().entries(),
                split.model.a.entries(),
                bound
            )
            .is_err()
        );
    }
}

/// Small eigenvalues beside large ones lose relative accuracy in f64; in numbers of two words every
/// one of them has all digits of an f64.
#[test]
fn more_words_give_every_digit() {
    type Wide = BallN<2>;
    for (measure, m) in [
        (Measure::LegS, 16),
        (Measure::LegS, 64),
        (Measure::LegT, 16),
    ] {
        let truth = numbers(&format!("truth.{measure}.{m}"));
        let split = NormalPlusLowRank::<Wide>::new(measure, m).expect("a split");
        for (got, &truth) in split.eigen.values.iter().zip(&truth) {
            let got = got.to_f64();
            assert_close(
                "eigenvalue",
                &[got],
                &[truth],
                2.0 * f64::UNIT_ROUNDOFF * truth.abs(),
            );
        }
    }
}

/// S4D: every official initialization, to 1e-13 of the largest pole.
#[test]
fn diagonal_initializations_are_the_official_ones() {
    let d_state = 16;
    for init in Diagonalized::ALL {
        let official = numbers(&format!("diag.{init}.w"));
        let poles = init.poles::<f64>(d_state).expect("any size");
        let row: Vec<f64> = poles.iter().flat_map(|z| [z.re, z.im]).collect();
        let twice = [row.clone(), row].concat(); // two models
        // The official code makes diag-legs from a matrix rounded to float32.
        let bound = match init {
            Diagonalized::LegS => f64::from(f32::EPSILON) / 2.0,
            _ => 1e-13,
        } * largest(&official);
        assert_close(&init.to_string(), &twice, &official, bound);
        if init != Diagonalized::Real {
            let conjugate: Vec<f64> = twice
                .iter()
                .enumerate()
                .map(|(i, &x)| if i % 2 == 1 { -x } else { x })
                .collect();
            assert!(close("conjugate", &conjugate, &official, bound).is_err());
        }
        let b = numbers(&format!("diag.{init}.B"));
        assert!(b.chunks(2).all(|b| b == [1.0, 0.0]), "B is one");
    }
    let legs = Diagonalized::LegS.poles::<f64>(64).expect("any size");
    let imaginary: Vec<f64> = legs.iter().map(|z| z.im).collect();
    let truth = numbers("truth.legs.64");
    assert_close(
        "S4D-LegS",
        &imaginary,
        &truth[..32],
        1e-13 * largest(&truth),
    );
    // The combination: half of the models each, diag-inv first.
    let both = Diagonalized::of_measure("diag").expect("a name");
    assert_eq!(both, [Diagonalized::Inv, Diagonalized::Lin]);
    let official = numbers("diag.diag.w");
    for (rows, init) in official.chunks(2 * d_state).zip(both) {
        let poles = init.poles::<f64>(d_state).expect("any size");
        let row: Vec<f64> = poles.iter().flat_map(|z| [z.re, z.im]).collect();
        assert_close(
            "diag",
            rows,
            &[row.clone(), row].concat(),
            1e-13 * largest(rows),
        );
    }
    assert!(Diagonalized::of_measure("legs").is_err());
    assert!(
        Diagonalized::Lin
            .poles::<f64>(1)
            .expect("no pairs")
            .is_empty()
    );
}

/// At every order the vectors are those of the poles, also where an odd one leaves zero without a partner:
/// `S v = w v` for the normal part `S`.
#[test]
fn the_vectors_belong_to_the_poles_at_every_order() {
    for measure in [Measure::LegS, Measure::LegT, Measure::LagT, Measure::FouT] {
        for m in 1..=12 {
            let Ok(split) = NormalPlusLowRank::<f64>::new(measure, m) else {
                assert!(measure == Measure::FouT && m % 2 == 1, "{measure} {m}");
                continue;
            };
            let normal = Matrix::from_fn(m, m, |i, j| {
                let a = split.model.a.get(i, j).expect("in");
                Complex::from(split.p.iter().fold(a, |sum, p| sum + p[i] * p[j]))
            });
            let (v, w) = (split.vectors(), split.poles());
            let left = normal.times(&v).expect("fits");
            let right = Matrix::from_fn(m, m / 2, |i, k| v.get(i, k).expect("in") * w[k]);
            let flat = |m: &Matrix<Complex<f64>>| -> Vec<f64> {
                m.entries().iter().flat_map(|z| [z.re, z.im]).collect()
            };
            let bound = 1e-14 * (m * m) as f64;
            assert_close(
                &format!("{measure} {m}"),
                &flat(&left),
                &flat(&right),
                bound,
            );
        }
    }
}

/// FouT's frequency zero, an eigenvalue twice, has the vector `(v + i w) / sqrt 2`.
#[test]
fn the_vector_of_frequency_zero_is_made_of_both() {
    for m in [2, 4, 8, 16] {
        let split = NormalPlusLowRank::<f64>::new(Measure::FouT, m).expect("even");
        let column = |matrix: &Matrix<Complex<f64>>, k| -> Vec<Complex<f64>> {
            (0..m).map(|i| matrix.get(i, k).expect("in")).collect()
        };
        let k = m / 2 - 1;
        let [v, w] = [k, k + 1].map(|k| column(&split.eigen.vectors, k));
        for (i, z) in column(&split.vectors(), k).into_iter().enumerate() {
            let error: Complex<f64> = z - (v[i] + Complex::new(0.0f64, 1.0) * w[i]) / 2f64.sqrt();
            assert!(error.norm() <= f64::EPSILON, "{m}, {i}: {error}");
        }
    }
}
