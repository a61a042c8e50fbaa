//! Words are as many as it takes, ties are undecided, and what is known too badly is refused.

use hungry_hippos::algebra::Real;
use hungry_hippos::algebra::ball::BallN;
use hungry_hippos::oracle::{Computation, certify};
use hungry_hippos::{Error, Tensor};

type Named<T> = Vec<(String, Tensor<T>)>;
type Balls = BallN<2>;
type LongerBalls = BallN<4>;

/// A number above a float by some part of what it is to the middle between that and the next, times a one that is
/// known but for its last digits.
struct Above(f64, f64);

impl Above {
    fn number<T: Real>(&self) -> T {
        let half = (self.0.next_up() - self.0) / 2.0;
        let (sin, cos) = T::ONE.sin_cos();
        (T::from_f64(self.0) + T::from_f64(self.1 * half)) * (sin * sin + cos * cos)
    }
}

impl Above {
    fn stages_in<T: Real>(&self) -> Result<Named<T>, Error> {
        Ok(vec![("x".into(), Tensor::new([1], vec![self.number()])?)])
    }
}

impl Computation for Above {
    fn stages(&self) -> Result<Named<Balls>, Error> {
        self.stages_in()
    }

    fn stages_again(&self) -> Result<Named<LongerBalls>, Error> {
        self.stages_in()
    }
}

/// Four words are used where two do not decide, and only there.
#[test]
fn words_are_as_many_as_it_takes() {
    for (part, expected, words, retried) in [
        (0.5, 1.0, 2, vec![]),
        (1.0f64.next_down(), 1.0, 4, vec![0]),
        (1.0f64.next_up(), 1.0f64.next_up(), 4, vec![0]),
    ] {
        let certified = certify(&Above(1.0, part)).expect("decided");
        let stage = &certified.stages[0];
        assert_eq!(stage.values.data(), [expected], "{part}");
        assert_eq!(
            (certified.words, &stage.retried),
            (words, &retried),
            "{part}"
        );
    }
}

/// A tie between numbers that are not exact is written with its radius, and counted.
#[test]
fn a_tie_is_undecided() {
    for x in [1.0, -3.0, 1e-250, 1e250] {
        let certified = certify(&Above(x, 1.0)).expect("written");
        let stage = &certified.stages[0];
        let (value, radius) = (stage.values.data()[0], stage.radii.data()[0]);
        assert_eq!((&stage.retried, &stage.undecided), (&vec![0], &vec![0]));
        assert!(value == x || value == x.next_up(), "{value:e} for {x:e}");
        let half = (x.next_up() - x) / 2.0;
        assert!(radius >= half && radius < 1.001 * half, "{radius:e}");
    }
}

/// Numbers next to one of size 1: an enclosure of zero is written as zero, and one too wide to be of
/// use is refused with the reason.
struct Zero(f64);

impl Zero {
    fn stages_in<T: Real>(&self) -> Result<Named<T>, Error> {
        let (sin, cos) = T::ONE.sin_cos();
        let zero = (sin * sin + cos * cos - T::ONE) * T::from_f64(self.0);
        let stage = |x| Tensor::new([1], vec![x]);
        Ok(vec![
            ("one".into(), stage(T::ONE)?),
            ("zero".into(), stage(zero)?),
        ])
    }
}

impl Computation for Zero {
    fn stages(&self) -> Result<Named<Balls>, Error> {
        self.stages_in()
    }

    fn stages_again(&self) -> Result<Named<LongerBalls>, Error> {
        self.stages_in()
    }
}

#[test]
fn what_is_known_too_badly_is_refused() {
    for factor in [1e-300, 1.0, 1e40] {
        let certified = certify(&Zero(factor)).expect("written");
        let stage = &certified.stages[1];
        assert_eq!(
            (stage.values.data(), &stage.undecided),
            (&[0.0][..], &vec![0])
        );
        let radius = stage.radii.data()[0];
        assert!(
            radius > 0.0 && radius <= 1e-60 * factor + 1e-320,
            "{radius:e}"
        );
    }
    for (factor, why) in [
        (1e60, "element 0 is known to within "),
        (f64::INFINITY, "element 0 is not known"),
    ] {
        let said = certify(&Zero(factor)).expect_err("too wide").to_string();
        assert!(said.contains("stage zero") && said.contains(why), "{said}");
    }
}
