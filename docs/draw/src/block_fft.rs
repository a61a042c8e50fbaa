//! The block FFT: a transform as a product of sparse matrices.

use crate::svg::{Anchor, Figure};
use hungry_hippos::Error;
use hungry_hippos::algebra::Matrix;
use hungry_hippos::fourier::{block::BlockFactors, dft::dft_matrix};
use num_complex::Complex;

const N1: usize = 3;
const N2: usize = 4;
const N: usize = N1 * N2;

/// Blank for zero; else by the real part, one of 0, 1/2, sqrt(3)/2 and 1 in magnitude for
/// twelfth roots of unity, which six steps keep clear of every boundary between two levels.
fn level(z: Complex<f64>) -> i32 {
    if z == Complex::new(0.0, 0.0) {
        return 0;
    }
    let step = 1 + (6.0 * z.re.abs()).round() as i32;
    if z.re < 0.0 { -step } else { step }
}

pub(crate) fn draw() -> Result<String, Error> {
    let factors = BlockFactors::<Complex<f64>>::new(N1, N2)?;
    let whole = dft_matrix::<Complex<f64>>(N)?;
    let p = &factors.permutation;
    let back = p.transpose();
    type Shown<'a> = (&'a Matrix<Complex<f64>>, &'static str);
    let rows: [Vec<Shown<'_>>; 2] = [
        vec![
            (&whole, "$F_{12}$"),
            (p, "$P$"),
            (&factors.short_n1, "$I_4$ ⊗ $F_3$"),
        ],
        vec![
            (&back, "$P^T$"),
            (&factors.twiddles, "$D$"),
            (&factors.short_n2, "$I_3$ ⊗ $F_4$"),
            (p, "$P$"),
        ],
    ];
    let mut figure = Figure::new(
        316.0,
        "The block FFT as a product of six sparse matrices",
        "The dense Fourier matrix of order 12 equals the product of a permutation, four blocks of \
         order 3, the permutation back, a diagonal of twiddle factors, three blocks of order 4 and \
         the permutation again.",
    );
    let (cell, gap) = (8.0, 18.0);
    let side = cell * N as f64;
    for (r, row) in rows.iter().enumerate() {
        let top = 22.0 + 144.0 * r as f64;
        let mut left = if r == 0 { 84.0 } else { 24.0 };
        for (i, (matrix, label)) in row.iter().enumerate() {
            let zero = Complex::new(0.0, 0.0);
            figure.heat((left, top), cell, (N, N), |i, j| {
                level(matrix.get(i, j).unwrap_or(zero))
            });
            figure.frame([left, top, side, side], "stroke thin soft-line");
            figure.text(
                left + side / 2.0,
                top + side + 19.0,
                Anchor::Middle,
                "ink",
                label,
            );
            if i > 0 || r > 0 {
                let sign = if (r, i) == (0, 1) { "=" } else { "·" };
                let y = top + side / 2.0 + 5.0;
                figure.text(left - gap / 2.0, y, Anchor::Middle, "ink", sign);
            }
            left += side + gap;
        }
    }
    figure.text(
        24.0,
        304.0,
        Anchor::Start,
        "small soft",
        "blue: real part from 0 up, orange: below 0, blank: the entry is zero",
    );
    Ok(figure.finish())
}
