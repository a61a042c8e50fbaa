//! The continuous diagonal models of a layer, between the stored parameters and the discrete
//! layer: what needs a field but no exponential, so that it runs over any scalar.

use crate::algebra::{Real, Ring, Scalar};
use crate::error::{Error, check_len};
use crate::ssm::{Discretization, ModeGradient, bilinear, bilinear_adjoint};

/// The decoded parameters of the continuous diagonal models: `lambda` after `real_type`, `dt` after
/// `exp`.
///
/// Head `h` uses model `h mod n_ssm` with its own step (official code:
/// `repeat(A, 't n -> (v t) n')`). With `n_ssm` below the number of heads a model is shared, and
/// what it receives backwards is the sum over its heads.
#[derive(Clone, Debug)]
pub struct Modes<T: Scalar> {
    /// Number of models.
    pub n_ssm: usize,
    /// `lambda` (n_ssm, m/2), row-major.
    pub lambda: Vec<T::Complex>,
    /// `B` (n_ssm, m/2), row-major.
    pub b: Vec<T::Complex>,
    /// The step of every head (H).
    pub dt: Vec<T>,
}

impl<T> PartialEq for Modes<T>
where
    T: Scalar + PartialEq,
    T::Complex: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.n_ssm == other.n_ssm
            && self.lambda == other.lambda
            && self.b == other.b
            && self.dt == other.dt
    }
}

/// The discrete poles and input vector of one head, or their cotangents.
type Discrete<T> = (Vec<<T as Scalar>::Complex>, Vec<<T as Scalar>::Complex>);

/// The discrete pole and input of one mode, given `lambda`, `B` and `dt`.
type Map<'a, T> = &'a dyn Fn(
    <T as Scalar>::Complex,
    <T as Scalar>::Complex,
    T,
) -> Result<(<T as Scalar>::Complex, <T as Scalar>::Complex), Error>;

/// The gradient of one mode, given those three and the cotangents of pole and input.
type MapAdjoint<'a, T> = &'a dyn Fn(
    <T as Scalar>::Complex,
    <T as Scalar>::Complex,
    T,
    (<T as Scalar>::Complex, <T as Scalar>::Complex),
) -> Result<ModeGradient<T>, Error>;

/// The error of a head.
fn in_head(h: usize, error: &Error) -> Error {
    Error::value(format!("head {h}"), error.to_string())
}

impl<T: Scalar> Modes<T> {
    /// The discrete `(a, b)` of every head, bilinear.
    ///
    /// # Errors
    ///
    /// If the sizes disagree, or at the pole of the map ([`bilinear`]).
    pub fn bilinear(&self) -> Result<Vec<Discrete<T>>, Error> {
        self.sample(&bilinear)
    }

    /// The gradients of [`bilinear`](Self::bilinear), given the cotangents of every head's
    /// `(a, b)`, in the same shape as `self`.
    ///
    /// # Errors
    ///
    /// As [`bilinear`](Self::bilinear), or if there is not one cotangent for each `a` and `b`.
    pub fn bilinear_adjoint(&self, g: &[Discrete<T>]) -> Result<Self, Error> {
        self.sample_adjoint(g, &bilinear_adjoint)
    }

    fn sample(&self, map: Map<'_, T>) -> Result<Vec<Discrete<T>>, Error> {
        let n = self.modes_each()?;
        let mut heads = Vec::with_capacity(self.dt.len());
        for (h, &dt) in self.dt.iter().enumerate() {
            let model = h % self.n_ssm;
            let (mut poles, mut inputs) = (Vec::with_capacity(n), Vec::with_capacity(n));
            for i in model * n..(model + 1) * n {
                let (a, b) = map(self.lambda[i], self.b[i], dt).map_err(|e| in_head(h, &e))?;
                poles.push(a);
                inputs.push(b);
            }
            heads.push((poles, inputs));
        }
        Ok(heads)
    }

    fn sample_adjoint(&self, g: &[Discrete<T>], adjoint: MapAdjoint<'_, T>) -> Result<Self, Error> {
        let n = self.modes_each()?;
        check_len("cotangents of the heads", g.len(), self.dt.len())?;
        let zeros = || vec![T::Complex::ZERO; self.lambda.len()];
        let mut sum = Self {
            n_ssm: self.n_ssm,
            lambda: zeros(),
            b: zeros(),
            dt: vec![T::ZERO; self.dt.len()],
        };
        for (h, (g_a, g_b)) in g.iter().enumerate() {
            check_len("cotangents of the poles", g_a.len(), n)?;
            check_len("cotangents of B", g_b.len(), n)?;
            let model = h % self.n_ssm;
            for (k, i) in (model * n..(model + 1) * n).enumerate() {
                let mode = adjoint(self.lambda[i], self.b[i], self.dt[h], (g_a[k], g_b[k]))
                    .map_err(|e| in_head(h, &e))?;
                sum.lambda[i] = sum.lambda[i] + mode.lambda;
                sum.b[i] = sum.b[i] + mode.b;
                sum.dt[h] = sum.dt[h] + mode.dt;
            }
        }
        Ok(sum)
    }

    /// The modes of one model.
    fn modes_each(&self) -> Result<usize, Error> {
        check_len(
            "B of the continuous models",
            self.b.len(),
            self.lambda.len(),
        )?;
        match self.lambda.len().checked_div(self.n_ssm) {
            Some(n) if n * self.n_ssm == self.lambda.len() => Ok(n),
            _ => Err(Error::value(
                "n_ssm",
                format!("{} does not divide {} modes", self.n_ssm, self.lambda.len()),
            )),
        }
    }
}

impl<T: Real> Modes<T> {
    /// The discrete `(a, b)` of every head.
    ///
    /// # Errors
    ///
    /// As [`bilinear`](Self::bilinear).
    pub fn discretize(&self, disc: Discretization) -> Result<Vec<Discrete<T>>, Error> {
        self.sample(&|lambda, b, dt| disc.apply(lambda, b, dt))
    }

    /// The gradients of [`discretize`](Self::discretize).
    ///
    /// # Errors
    ///
    /// As [`bilinear_adjoint`](Self::bilinear_adjoint).
    pub fn discretize_adjoint(
        &self,
        disc: Discretization,
        g: &[Discrete<T>],
    ) -> Result<Self, Error> {
        self.sample_adjoint(g, &|lambda, b, dt, g| disc.adjoint(lambda, b, dt, g))
    }
}
