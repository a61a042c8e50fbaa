//! The Toeplitz matrix of a model, and its off-diagonal blocks as products through the state.

use crate::svg::{Anchor, Figure, level};
use hungry_hippos::Error;
use hungry_hippos::algebra::{Field, M61, Matrix, Ring, Scalar};
use hungry_hippos::ssm::{Diagonal, StateSpace, toeplitz_matrix};
use num_complex::Complex;

/// Inputs, and inputs a block.
const N: usize = 32;
const T: usize = 8;

/// Two conjugate pairs, so four real states: hundredths, the same over floats and the field.
const POLES: [[i64; 2]; 2] = [[94, 24], [60, 66]];
const OUTPUTS: [[i64; 2]; 2] = [[40, 10], [50, -45]];
const STATES: usize = 4;

fn model<S: Scalar>() -> Result<Diagonal<S>, Error>
where
    S::Complex: From<Complex<S>>,
{
    let hundredth = |x: i64| S::from_i64(x).divide(S::from_i64(100)).unwrap_or(S::ZERO);
    let complex = |z: &[i64; 2]| S::Complex::from(Complex::new(hundredth(z[0]), hundredth(z[1])));
    Diagonal::new(
        POLES.iter().map(complex).collect(),
        vec![S::Complex::ONE; 2],
        OUTPUTS.iter().map(complex).collect(),
        S::ZERO,
    )
}

pub(crate) fn draw() -> Result<String, Error> {
    let ssm = model::<f64>()?;
    let kernel = ssm.kernel(N);
    let largest = kernel.iter().fold(0.0f64, |m, f| m.max(f.abs()));
    let matrix = toeplitz_matrix(&kernel, 0.0, N);
    let entry = |i, j| matrix.get(i, j).unwrap_or(0.0);
    let exact = toeplitz_matrix(&model::<M61>()?.kernel(N), M61::ZERO, N);

    let mut figure = Figure::new(
        492.0,
        "A state space model as a Toeplitz matrix",
        "A lower triangular matrix of 32 by 32 entries, constant along diagonals, cut into blocks of \
         8 by 8. Blocks on the diagonal have rank 8, blocks above it rank 0, and every block below \
         it rank 4, the number of states; below, one of these is shown as the product of an 8 by 4 \
         and a 4 by 8 matrix.",
    );
    figure.text(
        24.0,
        26.0,
        Anchor::Start,
        "ink",
        "$T_f$, blocks of $T$ = 8, and the rank of each:",
    );
    let (left, top, cell) = (24.0, 42.0, 9.0);
    figure.heat((left, top), cell, (N, N), |i, j| {
        level(entry(i, j), largest)
    });
    let side = cell * T as f64;
    for row in 0..N / T {
        for col in 0..N / T {
            let place = [
                left + side * col as f64,
                top + side * row as f64,
                side,
                side,
            ];
            figure.frame(place, "stroke thin soft-line");
            let block = Matrix::from_fn(T, T, |i, j| {
                exact.get(T * row + i, T * col + j).unwrap_or(M61::ZERO)
            });
            let (x, y) = (place[0] + side / 2.0, place[1] + side / 2.0);
            figure.rect([x - 11.0, y - 11.0, 22.0, 22.0], "paper");
            let rank = rank(block).to_string();
            figure.text(x, y + 5.0, Anchor::Middle, "head ink", &rank);
        }
    }
    let notes = [
        "blue: positive",
        "orange: negative",
        "",
        "Below the diagonal",
        "the rank is that of",
        "the state, $m$ = 4,",
        "not the block's size:",
        "all that an earlier",
        "chunk can tell a",
        "later one.",
    ];
    for (i, note) in notes.iter().enumerate() {
        let y = top + 14.0 + 20.0 * i as f64;
        figure.text(left + cell * N as f64 + 18.0, y, Anchor::Start, "ink", note);
    }

    // The block of the second chunk's outputs and the first chunk's inputs, through the state.
    let y = 376.0;
    figure.frame([left, top + side, side, side], "stroke thick s1-line");
    let block = |i: usize, j: usize| level(entry(T + i, j), largest);
    figure.heat((left, y), cell, (T, T), block);
    figure.frame([left, y, side, side], "stroke thick s1-line");
    figure.text(
        left + side + 16.0,
        y + side / 2.0 + 5.0,
        Anchor::Middle,
        "ink",
        "=",
    );
    let unit = |s: usize| {
        let mut x = vec![Complex::new(0.0, 0.0); STATES / 2];
        x[s / 2] = [Complex::new(1.0, 0.0), Complex::new(0.0, 1.0)][s % 2];
        x
    };
    let out: Vec<Vec<f64>> = (0..STATES)
        .map(|s| ssm.state_to_output(&unit(s), T))
        .collect();
    let within: Vec<Vec<Complex<f64>>> = (0..T)
        .map(|j| {
            let mut u = vec![0.0; T];
            u[j] = 1.0;
            ssm.input_to_state(&u)
        })
        .collect();
    let x = left + side + 32.0;
    let wide = cell * STATES as f64;
    figure.heat((x, y), cell, (T, STATES), |i, s| level(out[s][i], 1.3));
    figure.frame([x, y, wide, side], "stroke thin soft-line");
    figure.text(
        x + wide / 2.0,
        y + side + 20.0,
        Anchor::Middle,
        "ink",
        "$M_{xy}$",
    );
    figure.text(
        x + wide + 16.0,
        y + side / 2.0 + 5.0,
        Anchor::Middle,
        "ink",
        "·",
    );
    let (x, y) = (x + wide + 32.0, y + (side - wide) / 2.0);
    figure.heat((x, y), cell, (STATES, T), |s, j| {
        let z = within[j][s / 2];
        level([z.re, z.im][s % 2], 1.3)
    });
    figure.frame([x, y, side, wide], "stroke thin soft-line");
    figure.text(
        x + side / 2.0,
        y + wide + 20.0,
        Anchor::Middle,
        "ink",
        "$M_{ux}$",
    );
    figure.text(
        x + side + 18.0,
        y + 12.0,
        Anchor::Start,
        "ink",
        "the outlined block:",
    );
    figure.text(
        x + side + 18.0,
        y + 32.0,
        Anchor::Start,
        "ink",
        "inputs to a state,",
    );
    figure.text(
        x + side + 18.0,
        y + 52.0,
        Anchor::Start,
        "ink",
        "the state to outputs",
    );
    Ok(figure.finish())
}

/// The rank, by elimination: exact, since the entries are in a field.
fn rank(matrix: Matrix<M61>) -> usize {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    let mut rows_left: Vec<Vec<M61>> = (0..rows)
        .map(|i| matrix.entries()[i * cols..(i + 1) * cols].to_vec())
        .collect();
    let mut rank = 0;
    for col in 0..cols {
        let Some(pivot) = (rank..rows).find(|&i| rows_left[i][col] != M61::ZERO) else {
            continue;
        };
        rows_left.swap(rank, pivot);
        let chosen = rows_left[rank].clone();
        for row in &mut rows_left[rank + 1..] {
            let factor = row[col].divide(chosen[col]).unwrap_or(M61::ZERO);
            for (x, &p) in row.iter_mut().zip(&chosen) {
                *x = *x - factor * p;
            }
        }
        rank += 1;
    }
    rank
}
