//! The roots of unity, over the complex numbers and over the field with p^2 elements.

use crate::svg::{Anchor, Figure};
use hungry_hippos::Error;
use hungry_hippos::algebra::{ComplexScalar, Field, M61, Ring, RootsOfUnity};
use num_complex::Complex;

const N: usize = 16;

pub(crate) fn draw() -> Result<String, Error> {
    let none = || Error::Unsupported {
        why: "there are no roots of this order".into(),
    };
    let roots = Complex::<f64>::roots_of_unity(N).ok_or_else(none)?;
    let field = Complex::<M61>::roots_of_unity(N).ok_or_else(none)?;
    let mut figure = Figure::new(
        330.0,
        "The conjugate of a root of unity is its inverse",
        "Sixteen roots of unity on a circle, each joined to its conjugate, which is its inverse; the real \
         ones, 1 and -1, are their own. In the field with p squared elements there are no circle and no \
         order, but the same sixteen powers and the same pairs.",
    );
    let place = |k: usize| (150.0 + 110.0 * roots[k].re, 165.0 - 110.0 * roots[k].im);
    let circle: Vec<(f64, f64)> = (0..=N).map(|k| place(k % N)).collect();
    figure.path(&circle, "stroke soft-line");
    for k in 1..N / 2 {
        figure.path(&[place(k), place(N - k)], "stroke s0-line d1");
    }
    let mut pairs = 0;
    for k in 0..N {
        figure.dot(place(k), 0, "s0");
        let (x, y) = place(k);
        let at = (150.0 + 1.17 * (x - 150.0), 170.0 + 1.17 * (y - 165.0));
        let label = format!("$w^{{{k}}}$");
        figure.text(at.0, at.1, Anchor::Middle, "small ink", &label);
        // What the picture says, in the field: w^k conj(w^k) = 1, and conj(w^k) = w^{n-k}.
        let conjugate = field[k].conj();
        let inverse = field[k].inverse().unwrap_or(Complex::<M61>::ZERO);
        pairs += usize::from(conjugate == inverse && conjugate == field[(N - k) % N]);
    }
    let counted = format!("for {pairs} of {N} powers");
    let lines = [
        "dashed: from $w$ to $1/w$,",
        "which is its conjugate:",
        "over floats to rounding,",
        "in the field, $p = 2^{61}−1$,",
        "exactly,",
        &counted,
    ];
    for (i, line) in lines.iter().enumerate() {
        let y = 105.0 + 24.0 * i as f64;
        figure.text(304.0, y, Anchor::Start, "small ink", line);
    }
    Ok(figure.finish())
}
