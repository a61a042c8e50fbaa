//! How long an operation on balls and discs takes: the table of chapter 02, in nanoseconds.
//!
//! ```text
//! cargo run --release --manifest-path benches/Cargo.toml --bin ball_speed
//! ```

use hungry_hippos::algebra::ball::{BallN, DiscN};
use hungry_hippos::algebra::{ComplexScalar, Field, Real, Rng};
use std::hint::black_box;
use std::time::Instant;

/// Each figure is the least of this many rounds: what others do to the machine only adds.
const ROUNDS: usize = 15;
const NUMBERS: usize = 256;

fn main() {
    println!(
        "| words | `x <- a x + b u` on discs | `*` | `/` | `sqrt` | `exp` | sine and cosine |"
    );
    println!("|---|---|---|---|---|---|---|");
    row::<2>();
    row::<3>();
    row::<4>();
}

fn row<const W: usize>() {
    let rng = &mut Rng::new(1);
    // Numbers with all their words in use, between 1 and 2.
    let mut ball = || {
        let mut words = [0.0; W];
        for (i, word) in words.iter_mut().enumerate() {
            *word = (1.0 + rng.unit().abs()) * 2f64.powi(-54 * i as i32);
        }
        BallN::<W>::new(words, 0.0)
    };
    let pairs: Vec<_> = (0..NUMBERS).map(|_| (ball(), ball())).collect();
    let half = BallN::from_f64(0.5);
    let (a, b) = (
        DiscN::from_parts(half * ball(), half * ball()),
        DiscN::from_parts(ball(), ball()),
    );
    let figures = [
        least(|| {
            let mut x = b;
            for &(u, _) in &pairs {
                x = black_box(a) * x + b.scale(u);
            }
            black_box(x);
        }),
        each(&pairs, |x, y| x * y),
        each(&pairs, |x, y| x.divide(y)),
        each(&pairs, |x, _| x.sqrt()),
        each(&pairs, |x, _| x.exp()),
        each(&pairs, |x, _| x.sin_cos()),
    ];
    let cells: Vec<String> = figures.iter().map(|ns| format!("{ns:.0}")).collect();
    println!("| {W} | {} |", cells.join(" | "));
}

fn each<const W: usize, R>(
    pairs: &[(BallN<W>, BallN<W>)],
    operation: impl Fn(BallN<W>, BallN<W>) -> R,
) -> f64 {
    least(|| {
        for &(x, y) in pairs {
            black_box(operation(black_box(x), black_box(y)));
        }
    })
}

/// Nanoseconds for one of the `NUMBERS` operations of a run, the least of several rounds.
fn least(run: impl Fn()) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..4 {
                run();
            }
            start.elapsed().as_secs_f64() * 1e9 / (4 * NUMBERS) as f64
        })
        .fold(f64::INFINITY, f64::min)
}
