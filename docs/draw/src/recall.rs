//! Associative recall as a masked attention matrix, with the shift on the keys and without.

use crate::svg::{Anchor, Figure, LEVELS};
use hungry_hippos::Error;
use hungry_hippos::algebra::Matrix;
use hungry_hippos::ssm::{Shift, recurrence, toeplitz_matrix};

const TEXT: [&str; 7] = ["a", "2", "c", "4", "b", "3", "b"];
const N: usize = TEXT.len();

pub(crate) fn draw() -> Result<String, Error> {
    let equal = |i: usize, j: usize| if TEXT[i] == TEXT[j] { 1.0 } else { 0.0 };
    // One column a symbol, by its first place in the text.
    let x = Matrix::from_fn(N, N, |i, c| {
        let first = TEXT.iter().position(|t| *t == TEXT[i]);
        if first == Some(c) { 1.0 } else { 0.0 }
    });
    let delay = Shift::new(vec![1.0, 0.0], vec![0.0, 1.0], 0.0)?;
    let mut keys = Vec::new();
    for c in 0..N {
        let key: Vec<f64> = (0..N).filter_map(|i| x.get(i, c)).collect();
        keys.extend(recurrence(&delay, &key, None)?.output);
    }
    let shifted = Matrix::new(N, N, keys)?;
    let mask = toeplitz_matrix(&[1.0; N], 0.0, N);

    let mut figure = Figure::new(
        480.0,
        "H3's attention matrix on an associative recall",
        "For the text a 2 c 4 b 3 b: which earlier tokens each token reads, as 7 by 7 matrices. With \
         keys shifted by one place the last b reads the token 3, which followed the first b. \
         Without the shift it reads both tokens b.",
    );
    let rows = [
        (
            "keys shifted by one",
            x.times(&shifted)?,
            "the last b reads 3: what followed b",
        ),
        (
            "keys as they are",
            Matrix::from_fn(N, N, equal),
            "the last b reads b, twice: itself and its like",
        ),
    ];
    for (r, (title, scores, reads)) in rows.iter().enumerate() {
        let top = 66.0 + 236.0 * r as f64;
        figure.text(20.0, top - 42.0, Anchor::Start, "head ink", title);
        let product = scores.hadamard(&mask)?;
        let shown = [
            (scores, "$q_i · k_j$"),
            (&mask, "mask $T_f$"),
            (&product, "product"),
        ];
        for (p, (matrix, label)) in shown.iter().enumerate() {
            let (left, cell) = (38.0 + 152.0 * p as f64, 17.0);
            let one = LEVELS - 1;
            figure.heat((left, top), cell, (N, N), |i, j| {
                if matrix.get(i, j) == Some(1.0) {
                    one
                } else {
                    0
                }
            });
            let side = cell * N as f64;
            figure.frame([left, top, side, side], "stroke thin soft-line");
            for (i, token) in TEXT.iter().enumerate() {
                let at = (i as f64 + 0.5) * cell;
                figure.text(left + at, top - 6.0, Anchor::Middle, "small soft", token);
                figure.text(
                    left - 11.0,
                    top + at + 4.5,
                    Anchor::Middle,
                    "small soft",
                    token,
                );
            }
            figure.text(
                left + side / 2.0,
                top + side + 20.0,
                Anchor::Middle,
                "ink",
                label,
            );
            if p == 2 {
                let last = [left, top + side - cell, side, cell];
                figure.frame(last, "stroke thick s1-line");
            }
            if p > 0 {
                let sign = ["", "∘", "="][p];
                let x = left - 25.0;
                figure.text(x, top + side / 2.0 + 5.0, Anchor::Middle, "ink", sign);
            }
        }
        figure.text(462.0, top + 160.0, Anchor::End, "ink", reads);
    }
    Ok(figure.finish())
}
