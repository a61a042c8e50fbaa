//! Claim: back through `real_type`, `dt = exp(log_dt)` and both discretizations the gradient is
//! the derivative: in f64 to 1e-12, on balls as enclosures of one number.

use crate::common::largest;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Ball, Dual, Real, Rng, RootsOfUnity};
use hungry_hippos::h3::{Config, Form, HeadOrder, Name, Parameters, RealType};
use hungry_hippos::ssm::{Discretization, bilinear_adjoint, zero_order_hold_adjoint};
use num_complex::Complex;

const LEN: usize = 9;

fn config(disc: Discretization, real_type: RealType) -> Config {
    Config {
        d_model: 4,
        head_dim: 1,
        d_state: 4,
        // Two models, each shared by two heads.
        n_ssm: 2,
        disc,
        real_type,
        l_max: None,
        head_order: HeadOrder::D2H,
    }
}

fn parameters(config: &Config, rng: &mut Rng) -> Parameters<f64> {
    Parameters::new(config.clone(), |name| {
        let n: usize = name.shape(config).iter().product();
        let mut values: Vec<f64> = (0..n).map(|_| rng.unit()).collect();
        match name {
            // Steps from 1e-4, where zero-order hold's factors cancel, to 0.3.
            Name::LogDt => values = vec![-9.2, -4.0, -2.5, -1.2],
            // Both sides of relu's kink and of softplus's threshold at 20; 20 itself is a point
            // of the smooth branch.
            Name::InvAReal => values = vec![-1.5, 0.4, 1.1, 20.5],
            _ => {}
        }
        if name == Name::InvAReal && config.real_type == RealType::Exp {
            values[3] = -0.3;
        }
        Ok(values)
    })
    .expect("sizes fit")
}

/// `<g, output>` of the layer of these parameters.
fn loss<T: Real>(parameters: &Parameters<T>, u: &Tensor<f64>, g: &Tensor<f64>) -> T
where
    T::Complex: RootsOfUnity,
{
    let layer = parameters.discretize().expect("no pole");
    let stages = layer
        .forward(&Form::Convolution, &u.map(T::from_f64), None)
        .expect("fits");
    let terms = stages.output.data().iter().zip(g.data());
    terms.fold(T::ZERO, |sum, (&y, &g)| sum + y * T::from_f64(g))
}

fn gradient<T: Real>(
    parameters: &Parameters<T>,
    form: &Form,
    u: &Tensor<f64>,
    g: &Tensor<f64>,
) -> Parameters<T>
where
    T::Complex: RootsOfUnity,
{
    let layer = parameters.discretize().expect("no pole");
    let (u, g) = (u.map(T::from_f64), g.map(T::from_f64));
    let discrete = layer.gradients(form, &u, None, &g, None).expect("fits");
    parameters.gradients(&discrete).expect("of this layer")
}

/// The derivative with respect to entry `i` of one parameter.
fn derivative<T: Real>(
    parameters: &Parameters<f64>,
    name: Name,
    i: usize,
    u: &Tensor<f64>,
    g: &Tensor<f64>,
) -> T
where
    T::Complex: RootsOfUnity,
{
    let perturbed = Parameters::new(parameters.config().clone(), |other| {
        let constant = |&x: &f64| Dual::constant(T::from_f64(x));
        let mut values: Vec<_> = parameters.get(other).iter().map(constant).collect();
        if other == name {
            values[i].derivative = T::ONE;
        }
        Ok(values)
    });
    loss(&perturbed.expect("the same sizes"), u, g).derivative
}

fn problems() -> Vec<(Parameters<f64>, Tensor<f64>, Tensor<f64>)> {
    let rng = &mut Rng::new(5);
    let mut problems = Vec::new();
    for disc in [Discretization::Bilinear, Discretization::ZeroOrderHold] {
        for real_type in [
            RealType::None,
            RealType::Exp,
            RealType::Relu,
            RealType::Sigmoid,
            RealType::Softplus,
        ] {
            let config = config(disc, real_type);
            let mut signal = || {
                let data = (0..2 * LEN * 4).map(|_| rng.unit()).collect();
                Tensor::new([2, LEN, 4], data).expect("fits")
            };
            let (u, g) = (signal(), signal());
            problems.push((parameters(&config, rng), u, g));
        }
    }
    problems
}

/// Every entry of every parameter, in f64: gradient and dual numbers go through the same layer in
/// different orders, at most a few hundred roundings of quantities no larger than the result's
/// scale.
#[test]
fn every_entry_agrees_with_dual_numbers_in_f64() {
    for (parameters, u, g) in problems() {
        let gradient = gradient(&parameters, &Form::Recurrence, &u, &g);
        for name in Name::ALL {
            let ours = gradient.get(name);
            let scale = largest(ours);
            for (i, &ours) in ours.iter().enumerate() {
                let dual = derivative::<f64>(&parameters, name, i, &u, &g);
                assert!(
                    (ours - dual).abs() <= 1e-12 * scale,
                    "{name:?}[{i}]: {ours:e} against {dual:e}, {:?}",
                    parameters.config()
                );
            }
        }
    }
}

/// The same on balls, where no tolerance is needed: two enclosures of one number have a number in
/// common. They are narrow, so that a relative error of 1e-20 would be refused.
#[test]
fn every_entry_agrees_with_dual_numbers_on_balls() {
    for (parameters, u, g) in problems() {
        let gradient = gradient(&parameters.map(Ball::from_f64), &Form::Fft, &u, &g);
        for name in [Name::LogDt, Name::InvAReal, Name::AImag, Name::B, Name::C] {
            let ours = gradient.get(name);
            let scale = ours
                .iter()
                .fold(0.0, |s, x| f64::max(s, x.upper_magnitude()));
            for (i, &ours) in ours.iter().enumerate() {
                let dual = derivative::<Ball>(&parameters, name, i, &u, &g);
                let what = format!("{name:?}[{i}] {:?}", parameters.config());
                assert!(ours.overlaps(dual), "{what}: {ours:?} against {dual:?}");
                let width = ours.radius() + dual.radius();
                assert!(width <= 1e-20 * scale, "{what}: {ours:?}, {dual:?}");
            }
        }
    }
}

/// Where the derivative is what a definition makes it: PyTorch's conventions at the kink of relu
/// (zero) and beyond softplus's threshold (one).
#[test]
fn slopes_at_the_seams_are_pytorchs() {
    let slope = |real_type, stored: f64| -> f64 {
        let mut config = config(Discretization::Bilinear, real_type);
        config.d_state = 2;
        config.d_model = 1;
        config.n_ssm = 1;
        let parameters = Parameters::new(config.clone(), |name| {
            let n: usize = name.shape(&config).iter().product();
            let value = match name {
                Name::InvAReal => stored,
                Name::LogDt => -3.0,
                _ => 1.0,
            };
            Ok(vec![value; n])
        })
        .expect("sizes fit");
        let one = Tensor::new([1, 1, 1], vec![1.0]).expect("fits");
        let with = gradient(&parameters, &Form::Recurrence, &one, &one);
        with.get(Name::InvAReal)[0] / decoded_gradient(&parameters, &one)
    };
    assert_eq!(slope(RealType::Relu, 0.0), -0.0);
    assert_eq!(slope(RealType::Relu, -1.0), -0.0);
    assert_eq!(slope(RealType::Relu, 1.0), -1.0);
    assert_eq!(slope(RealType::Softplus, 20.5), -1.0);
    // 1 / (1 + e^-20) differs from 1 by 2e-9: the branch below the threshold is another one.
    assert!(slope(RealType::Softplus, 20.0) > -1.0 + 1e-9);
}

/// The gradient with respect to the decoded real part of lambda, in a layer of one mode.
fn decoded_gradient(parameters: &Parameters<f64>, one: &Tensor<f64>) -> f64 {
    let layer = parameters.discretize().expect("no pole");
    let discrete = layer
        .gradients(&Form::Recurrence, one, None, one, None)
        .expect("fits");
    let head = &discrete.diagonal[0];
    let (lambda, b) = (parameters.lambda()[0], Complex::new(1.0, 1.0));
    let dt = parameters.get(Name::LogDt)[0].exp();
    let g = (head.poles()[0], head.b()[0]);
    bilinear_adjoint(lambda, b, dt, g)
        .expect("no pole")
        .lambda
        .re
}

/// Zero-order hold at `lambda = 0`, where the official formula divides by zero, has a gradient.
#[test]
fn zero_order_hold_at_zero() {
    let z = Complex::new(0.0, 0.0);
    let one = Complex::new(1.0, 0.0);
    let g = zero_order_hold_adjoint::<f64>(z, one, 0.5, (one, one));
    // a = 1 + dt lambda, b = dt (1 + dt lambda / 2) to first order.
    assert_eq!(g.lambda, Complex::new(0.5 + 0.125, 0.0));
    assert_eq!(g.b, Complex::new(0.5, 0.0));
    assert_eq!(g.dt, 1.0);
}

#[test]
fn the_pole_of_the_bilinear_map_is_refused() {
    let g = (Complex::new(1.0, 0.0), Complex::new(1.0, 0.0));
    let e = bilinear_adjoint(Complex::new(4.0, 0.0), g.0, 0.5, g).expect_err("the pole");
    assert!(e.to_string().contains("pole"), "{e}");
}
