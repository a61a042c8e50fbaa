//! H3 and Hyena as matrices: factors, and what they multiply to.

use crate::svg::{Anchor, Figure, level};
use hungry_hippos::Error;
use hungry_hippos::algebra::Matrix;
use hungry_hippos::attention::hyena::{Filter, Step, matrix};
use hungry_hippos::ssm::{Diagonal, Shift};
use num_complex::Complex;

const N: usize = 24;

/// A sequence of eighths, from a formula.
fn sequence(a: usize, b: usize) -> Vec<f64> {
    let place = |i: usize| (a * i * i + b * i + a) % 17;
    (0..N).map(|i| place(i) as f64 / 8.0 - 1.0).collect()
}

pub(crate) fn draw() -> Result<String, Error> {
    let (q, v, x) = (sequence(7, 13), sequence(3, 5), sequence(5, 11));
    let shift = Shift::new(vec![1.0, 0.0, 0.0], vec![0.5, 1.0, -0.5], 0.0)?;
    let poles = vec![Complex::new(0.875, 0.25), Complex::new(0.75, -0.125)];
    let outputs = vec![Complex::new(0.5, -0.25), Complex::new(0.25, 0.5)];
    let ssm = Diagonal::new(poles, vec![Complex::new(1.0, 0.0); 2], outputs, 0.0)?;
    let (phi, psi) = (Filter::of_model(&shift, N), Filter::of_model(&ssm, N));
    // Free: no model with a small state has it.
    let free = Filter {
        kernel: sequence(11, 2),
        feedthrough: 0.0,
    };
    let step = |filter: &Filter<f64>, gate: &[f64]| Step {
        filter: filter.clone(),
        gate: gate.to_vec(),
    };
    let h3 = [step(&phi, &v), step(&psi, &q)];
    let three = [step(&phi, &v), step(&psi, &q), step(&free, &x)];

    let mut figure = Figure::new(
        372.0,
        "H3 and Hyena as matrices",
        "Above, the four factors of an H3 head of dimension 1 acting on k: the diagonal matrix of q, \
         the dense lower triangular Toeplitz matrix of the diagonal model, the diagonal matrix of v \
         and the banded Toeplitz matrix of the shift model. Below, products of one, two and three \
         such pairs: all lower triangular, and from one to the next with less of the Toeplitz \
         stripes.",
    );
    let mut show = |matrix: &Matrix<f64>, [left, top, cell]: [f64; 3], label: &str| {
        let largest = matrix.entries().iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let entry = |i, j| matrix.get(i, j).unwrap_or(0.0);
        figure.heat((left, top), cell, (N, N), |i, j| {
            level(entry(i, j), largest)
        });
        let side = cell * N as f64;
        figure.frame([left, top, side, side], "stroke thin soft-line");
        let x = left + side / 2.0;
        figure.text(x, top + side + 19.0, Anchor::Middle, "ink", label);
    };
    let factors = [
        (Matrix::diagonal(&q), "$D_q$"),
        (psi.matrix(N), "$T_f$"),
        (Matrix::diagonal(&v), "$D_v$"),
        (phi.matrix(N), "$T_s$"),
    ];
    for (i, (factor, label)) in factors.iter().enumerate() {
        show(factor, [18.0 + 115.0 * i as f64, 18.0, 4.125], label);
    }
    let products = [
        (matrix(&h3[..1], N)?, "order 1: $D_v T_s$"),
        (matrix(&h3, N)?, "order 2: H3"),
        (matrix(&three, N)?, "order 3: $D_x T_h$ · H3"),
    ];
    for (i, (product, label)) in products.iter().enumerate() {
        show(product, [18.0 + 153.0 * i as f64, 168.0, 5.75], label);
    }
    figure.text(
        18.0,
        356.0,
        Anchor::Start,
        "small soft",
        "rows: outputs, columns: inputs; blue above 0, orange below",
    );
    Ok(figure.finish())
}
