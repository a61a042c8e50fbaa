//! Chapter 18's associative recall, step by step: a hand-set H3 layer reads `a 2 c 4 b 3`, then
//! `b`, and answers 3. With one of its parts taken away it does not.
//!
//! ```text
//! cargo run --example recall
//! ```

use hungry_hippos::algebra::Matrix;
use hungry_hippos::h3::{Form, HeadOrder, Layer, LayerParts, LayerStream, Linear};
use hungry_hippos::ssm::{Diagonal, Shift};
use hungry_hippos::{Error, Tensor};
use num_complex::Complex;

const TEXT: [&str; 7] = ["a", "2", "c", "4", "b", "3", "b"];
const SYMBOLS: [&str; 6] = ["a", "b", "c", "2", "3", "4"];

fn main() -> Result<(), Error> {
    print!("{}", report()?);
    Ok(())
}

/// The layer, with `d` = 6 channels in one head. Queries and keys see letters, values see digits; the shift
/// models delay by one place; the diagonal model sums.
fn layer(shift_taps: [f64; 2]) -> Result<Layer<f64>, Error> {
    let keep = |kept: std::ops::Range<usize>| {
        let weight = Matrix::from_fn(6, 6, |i, j| f64::from(i == j && kept.contains(&i)));
        Linear::new(weight, vec![0.0; 6])
    };
    let one = Complex::new(1.0, 0.0);
    Layer::new(LayerParts {
        head_dim: 6,
        l_max: None,
        head_order: HeadOrder::HD2,
        q: keep(0..3)?,
        k: keep(0..3)?,
        v: keep(3..6)?,
        output: keep(0..6)?,
        shift: vec![Shift::new(vec![1.0, 0.0], shift_taps.to_vec(), 0.0)?; 6],
        // A pole at 1, and 2 Re (1/2) = 1: the sum of everything so far.
        diagonal: vec![Diagonal::new(vec![one], vec![one], vec![one / 2.0], 0.0)?],
    })
}

fn one_hot(symbol: &str) -> Vec<f64> {
    SYMBOLS.iter().map(|s| f64::from(*s == symbol)).collect()
}

/// A vector of counts as the symbols it counts.
fn named(counts: &[f64]) -> String {
    let parts: Vec<String> = SYMBOLS
        .iter()
        .zip(counts)
        .filter(|&(_, &count)| count != 0.0)
        .map(|(symbol, &count)| {
            if count == 1.0 {
                (*symbol).to_string()
            } else {
                format!("{count} x {symbol}")
            }
        })
        .collect();
    if parts.is_empty() {
        "-".into()
    } else {
        parts.join(" + ")
    }
}

/// The pairs a memory holds: an entry for every letter and digit filed under it.
fn pairs(memory: impl Fn(usize, usize) -> f64) -> String {
    let mut held = Vec::new();
    for letter in 0..3 {
        for digit in 3..6 {
            if memory(letter, digit) == 1.0 {
                held.push(format!("{}{}", SYMBOLS[letter], SYMBOLS[digit]));
            }
        }
    }
    if held.is_empty() {
        "-".into()
    } else {
        held.join(" ")
    }
}

/// What the example prints.
pub(crate) fn report() -> Result<String, Error> {
    let layer = layer([0.0, 1.0])?;
    let mut text =
        String::from("token  window of keys  shifted key  value  memory S  query  answer q S\n");
    let tokens: Vec<f64> = TEXT.iter().flat_map(|token| one_hot(token)).collect();
    let u = Tensor::new([1, TEXT.len(), 6], tokens)?;
    let stages = layer.forward(&Form::Recurrence, &u, None)?;

    let mut stream = LayerStream::new(&layer, 1);
    for (i, token) in TEXT.into_iter().enumerate() {
        let answer = stream.step(&one_hot(token))?;
        let state = stream.state();
        // Windows are (channel, place), memories (d1, d2).
        let window = |place: usize| -> Vec<f64> {
            (0..6).map(|c| state.shift.data()[2 * c + place]).collect()
        };
        let memory = |d1: usize, d2: usize| state.diagonal.data()[6 * d1 + d2].re;
        let at = |stage: &Tensor<f64>| -> Vec<f64> {
            (0..6).map(|c| stage.data()[c * TEXT.len() + i]).collect()
        };
        let (now, before) = (named(&window(0)), named(&window(1)));
        text += &format!(
            "{token:<5}  {:<14}  {before:<11}  {:<5}  {:<8}  {:<5}  {}\n",
            format!("({now}, {before})"),
            named(&at(&stages.v)),
            pairs(memory),
            named(&at(&stages.q)),
            named(&answer),
        );
    }

    text += "\nthe last answer, with a part of the layer taken away:\n";
    let last = |data: &[f64]| named(&data[6 * (TEXT.len() - 1)..]);
    text += &format!(
        "  nothing                          {}\n",
        last(stages.output.data())
    );
    let unshifted = self::layer([1.0, 0.0])?.forward(&Form::Recurrence, &u, None)?;
    text += &format!(
        "  the shift                        {}\n",
        last(unshifted.output.data())
    );
    // Without a product what is left of it is its other factor.
    let n = TEXT.len();
    let sum =
        |stage: &Tensor<f64>, c: usize| -> f64 { stage.data()[c * n..(c + 1) * n].iter().sum() };
    let values: Vec<f64> = (0..6).map(|d2| sum(&stages.v, d2)).collect();
    text += &format!("  the product of key and value     {}\n", named(&values));
    let kv = |d1: usize, d2: usize| sum(&stages.kv, 6 * d1 + d2);
    let ungated: Vec<f64> = (0..6).map(|d2| (0..6).map(|d1| kv(d1, d2)).sum()).collect();
    text += &format!("  the product with the query       {}\n", named(&ungated));

    text += "\nand with a part in another place:\n";
    // Values one place late under keys in their own place; then the last query reads.
    let at = |stage: &Tensor<f64>, c: usize, i: usize| stage.data()[c * n + i];
    let late: Vec<f64> = (0..6)
        .map(|d2| {
            (0..6)
                .map(|d1| {
                    let pairs = (1..n).map(|i| at(&stages.k, d1, i) * at(&stages.v, d2, i - 1));
                    at(&stages.q, d1, n - 1) * pairs.sum::<f64>()
                })
                .sum()
        })
        .collect();
    text += &format!("  the shift on the values          {}\n", named(&late));
    let early: Vec<f64> = (0..6)
        .map(|d2| {
            (0..n)
                .map(|i| {
                    let score: f64 = (0..6)
                        .map(|d1| at(&stages.q, d1, i) * at(&stages.shift_k, d1, i))
                        .sum();
                    score * at(&stages.v, d2, i)
                })
                .sum()
        })
        .collect();
    text += &format!("  the query before the sum         {}\n", named(&early));
    Ok(text)
}
