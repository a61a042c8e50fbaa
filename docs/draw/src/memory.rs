//! The states of the worked associative recall, step by step: what a hand-set layer has filed.

use crate::svg::{Anchor, Figure, level};
use hungry_hippos::algebra::Matrix;
use hungry_hippos::h3::{Form, HeadOrder, Layer, LayerParts, LayerStream, Linear};
use hungry_hippos::ssm::{Diagonal, Shift};
use hungry_hippos::{Error, Tensor};
use num_complex::Complex;

const SYMBOLS: [&str; 6] = ["a", "b", "c", "2", "3", "4"];
/// The text, as indices of symbols: a 2 c 4 b 3 b.
const TEXT: [usize; 7] = [0, 3, 2, 5, 1, 4, 1];
const N: usize = TEXT.len();

/// Chapter 18's layer: queries and keys see letters, values digits; keys come one place late; the
/// diagonal model sums.
fn layer() -> Result<Layer<f64>, Error> {
    let letters = |letters: bool| {
        let weight = Matrix::from_fn(6, 6, |i, j| f64::from(i == j && (i < 3) == letters));
        Linear::new(weight, vec![0.0; 6])
    };
    let sum = [1.0, 1.0, 0.5].map(|x| vec![Complex::new(x, 0.0)]);
    let [a, b, c] = sum;
    Layer::new(LayerParts {
        head_dim: 6,
        l_max: None,
        head_order: HeadOrder::HD2,
        q: letters(true)?,
        k: letters(true)?,
        v: letters(false)?,
        output: Linear::new(Matrix::identity(6), vec![0.0; 6])?,
        shift: vec![Shift::new(vec![1.0, 0.0], vec![0.0, 1.0], 0.0)?; 6],
        diagonal: vec![Diagonal::new(a, b, c, 0.0)?],
    })
}

pub(crate) fn draw() -> Result<String, Error> {
    let mut figure = Figure::new(
        262.0,
        "The memory of the worked recall, token by token",
        "For the text a 2 c 4 b 3 b seven tables of three letters by three digits: what the state \
         holds after each token. A digit files itself under the letter before it: a2, then c4, then \
         b3. The query of a letter marks its row. The rows of the first a, c and b are empty then; at \
         the last b the row holds 3, which is the answer.",
    );
    let layer = layer()?;
    let tokens = TEXT
        .iter()
        .flat_map(|&token| (0..6).map(move |c| f64::from(c == token)));
    let tokens: Vec<f64> = tokens.collect();
    let u = Tensor::new([1, N, 6], tokens.clone())?;
    let stages = layer.forward(&Form::Recurrence, &u, None)?;
    let name = |counts: &dyn Fn(usize) -> f64| {
        let found = SYMBOLS.iter().enumerate();
        let mut found = found.filter(|&(c, _)| counts(c) != 0.0);
        found.next().map_or("–", |(_, symbol)| symbol)
    };

    let (left, cell) = (62.0, 15.0);
    let step = |i: usize| left + 59.5 * i as f64;
    for (y, label) in [
        (30.0, "token"),
        (58.0, "late key"),
        (80.0, "value"),
        (102.0, "query"),
        (238.0, "answer"),
    ] {
        figure.text(left - 10.0, y, Anchor::End, "small soft", label);
    }
    let (top, side) = (142.0, 3.0 * cell);
    for (r, letter) in SYMBOLS[..3].iter().enumerate() {
        let y = top + cell * (r as f64 + 0.5) + 4.5;
        figure.text(left - 10.0, y, Anchor::End, "small soft", letter);
    }
    let mut stream = LayerStream::new(&layer, 1);
    let mut before = [0.0; 9];
    for i in 0..N {
        let answer = stream.step(&tokens[6 * i..6 * (i + 1)])?;
        let held =
            |letter: usize, digit: usize| stream.state().diagonal.data()[6 * letter + digit + 3].re;
        let at = |stage: &Tensor<f64>, c: usize| stage.data()[c * N + i];
        let (x, middle) = (step(i), step(i) + side / 2.0);
        let mut write = |y: f64, class: &str, label: &str| {
            figure.text(middle, y, Anchor::Middle, class, label);
        };
        write(30.0, "head ink", SYMBOLS[TEXT[i]]);
        write(58.0, "ink", name(&|c| at(&stages.shift_k, c)));
        write(80.0, "ink", name(&|c| at(&stages.v, c)));
        write(102.0, "ink", name(&|c| at(&stages.q, c)));
        for (d, digit) in SYMBOLS[3..].iter().enumerate() {
            figure.text(
                x + cell * (d as f64 + 0.5),
                top - 6.0,
                Anchor::Middle,
                "small soft",
                digit,
            );
        }
        figure.heat((x, top), cell, (3, 3), |r, d| level(held(r, d), 1.0));
        figure.frame([x, top, side, side], "stroke thin soft-line");
        for (place, old) in before.iter_mut().enumerate() {
            let (r, d) = (place / 3, place % 3);
            if held(r, d) != *old {
                let new = [x + cell * d as f64, top + cell * r as f64, cell, cell];
                figure.frame(new, "stroke thick s1-line");
                *old = held(r, d);
            }
        }
        let asked = (0..3).find(|&c| at(&stages.q, c) != 0.0);
        if let Some(r) = asked {
            let row = [x - 3.0, top + cell * r as f64 + 1.0, side + 6.0, cell - 2.0];
            figure.frame(row, "stroke d2 s2-line");
            figure.arrow((middle, top + side + 5.0), (middle, 222.0), "s2");
        }
        let found = name(&|c| answer[c]);
        figure.text(middle, 238.0, Anchor::Middle, "head ink", found);
    }
    Ok(figure.finish())
}
