//! Float transforms against a truth of about 100 bits, within bounds derived beforehand, and
//! wrong results that the same comparison refuses.
//!
//! The bounds are those of Higham, Accuracy and Stability of Numerical Algorithms (2nd ed.),
//! theorem 24.2, and what the chapter derives from it. `u` is the unit roundoff, `mu` the largest
//! error of a root of unity, `gamma_k = k u / (1 - k u)`.

use super::double_double::{self, Cd};
use super::support::{complex_signal, signal};
use hungry_hippos::algebra::{ComplexScalar, Real, Rng, RootsOfUnity, Sample, Scalar};
use hungry_hippos::fourier::block::{block_fft, permuted_fft, permuted_order};
use hungry_hippos::fourier::convolution::{
    causal_convolution, circular_convolution, transform_len, via_block_fft, via_real_fft,
};
use hungry_hippos::fourier::dft::dft;
use hungry_hippos::fourier::fft::{fft, inverse_fft};
use hungry_hippos::fourier::real::{inverse_real_fft, real_fft};
use num_complex::Complex;

/// A float whose companion is `num_complex::Complex` of itself.
trait Float: Real + Sample + Scalar<Complex = Complex<Self>>
where
    Complex<Self>: RootsOfUnity,
{
    const NAME: &str;
    /// The largest error of a root of unity, from the claims of `roots.rs`: each component within
    /// 1.5 units in the last place (f64) or half a unit and a little (f32), a unit in the last
    /// place of a number below 1 being at most u.
    const MU: f64;
}

impl Float for f32 {
    const NAME: &str = "f32";
    const MU: f64 = 0.71 * Self::UNIT_ROUNDOFF;
}

impl Float for f64 {
    const NAME: &str = "f64";
    const MU: f64 = 2.13 * Self::UNIT_ROUNDOFF;
}

fn gamma<T: Real>(k: f64) -> f64 {
    let ku = k * T::UNIT_ROUNDOFF;
    ku / (1.0 - ku)
}

/// `sum / (1 - sum)`, above `(1 + eta_1) ... (1 + eta_t) - 1` for `sum = eta_1 + ... + eta_t`.
fn compounded(sum: f64) -> f64 {
    assert!(sum < 0.5);
    sum / (1.0 - sum)
}

/// One radix-2 stage: `eta = mu + gamma_4 (sqrt 2 + mu)`.
fn eta<T: Float>() -> f64
where
    Complex<T>: RootsOfUnity,
{
    T::MU + gamma::<T>(4.0) * (2f64.sqrt() + T::MU)
}

/// The relative 2-norm error of the FFT of length `n = 2^t`: `t eta / (1 - t eta)`.
fn fft_bound<T: Float>(n: usize) -> f64
where
    Complex<T>: RootsOfUnity,
{
    compounded(f64::from(n.ilog2()) * eta::<T>())
}

/// The same of the real FFT: one stage more than covers the unpacking.
fn real_bound<T: Float>(n: usize) -> f64
where
    Complex<T>: RootsOfUnity,
{
    compounded(f64::from(n.ilog2() + 1) * eta::<T>())
}

/// The same of the block FFT: `sqrt r (mu + gamma_{r+2} (1 + mu))` for a dense transform of
/// length r, `mu + gamma_3 (1 + mu)` for the twiddles between two of them.
fn block_bound<T: Float>(factors: &[usize]) -> f64
where
    Complex<T>: RootsOfUnity,
{
    let dense = |r: f64| r.sqrt() * (T::MU + gamma::<T>(r + 2.0) * (1.0 + T::MU));
    let twiddle = T::MU + gamma::<T>(3.0) * (1.0 + T::MU);
    let dense: f64 = factors.iter().map(|&r| dense(r as f64)).sum();
    compounded(dense + factors.len().saturating_sub(1) as f64 * twiddle)
}

/// Checks length, then finiteness, then the bound; returns the ratio of error to bound.
fn check(got: &[Complex<f64>], truth: &[Cd], measure: Measure) -> Result<f64, String> {
    if got.len() != truth.len() {
        return Err(format!("length {} for {}", got.len(), truth.len()));
    }
    if let Some(i) = got
        .iter()
        .position(|z| !z.re.is_finite() || !z.im.is_finite())
    {
        return Err(format!("element {i} is {}", got[i]));
    }
    let errors = || got.iter().zip(truth).map(|(&z, t)| t.distance(z));
    let (error, allowed) = match measure {
        Measure::Norm(bound) => {
            let norm = truth.iter().map(|t| t.abs().powi(2)).sum::<f64>().sqrt();
            (errors().map(|e| e * e).sum::<f64>().sqrt(), bound * norm)
        }
        Measure::Each(allowed) => (errors().fold(0.0, f64::max), allowed),
    };
    if error <= allowed {
        Ok(if error == 0.0 { 0.0 } else { error / allowed })
    } else {
        let worst = errors().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        let i = worst.map_or(0, |(i, _)| i);
        Err(format!(
            "error {error:e} is {} times the {allowed:e} allowed; worst at {i}: {} for {:?}",
            error / allowed,
            got[i],
            truth[i]
        ))
    }
}

#[derive(Clone, Copy)]
enum Measure {
    /// `|got - truth|_2 <= bound |truth|_2`.
    Norm(f64),
    /// Every element within the given distance.
    Each(f64),
}

fn widen<T: Real>(x: &[Complex<T>]) -> Vec<Complex<f64>> {
    x.iter()
        .map(|z| Complex::new(z.re.to_f64(), z.im.to_f64()))
        .collect()
}

fn widen_real<T: Real>(x: &[T]) -> Vec<Complex<f64>> {
    x.iter().map(|&x| Complex::new(x.to_f64(), 0.0)).collect()
}

/// Inputs of length `n` of different character: the bound is about all of them.
fn inputs<T: Float>(n: usize) -> Vec<(&'static str, Vec<Complex<T>>)>
where
    Complex<T>: RootsOfUnity,
{
    let from = |re: f64, im: f64| Complex::new(T::from_f64(re), T::from_f64(im));
    let mut rng = Rng::new(n as u64);
    let wide = (0..n).map(|j| {
        let scale = 2f64.powi((j as i32 % 41) - 20);
        from(rng.unit() * scale, rng.unit() * scale)
    });
    vec![
        ("random", complex_signal::<T>(n, n as u64)),
        ("constant: one bin of n", vec![from(1.0, -0.3); n]),
        ("magnitudes from 2^-20 to 2^20", wide.collect()),
        (
            "one frequency: one bin, the rest cancels",
            Complex::<T>::roots_of_unity(n).expect("floats have all orders"),
        ),
        (
            "decaying",
            (0..n).map(|j| from(0.9f64.powi(j as i32), 0.0)).collect(),
        ),
    ]
}

fn transforms_are_within_their_bounds<T: Float>()
where
    Complex<T>: RootsOfUnity,
{
    let mut worst = 0.0f64;
    let mut take = |name: String, result: Result<f64, String>| match result {
        Ok(ratio) => worst = worst.max(ratio),
        Err(why) => panic!("{} {name}: {why}", T::NAME),
    };
    for n in (0..=9).map(|t| 1usize << t) {
        for (kind, x) in inputs::<T>(n) {
            let truth = double_double::dft(&widen(&x));
            let bins = fft(&x).expect("a power of two");
            let bound = fft_bound::<T>(n);
            take(
                format!("fft {n}, {kind}"),
                check(&widen(&bins), &truth, Measure::Norm(bound)),
            );

            // The inverse of the computed bins: two transforms' worth of error.
            let back = inverse_fft(&bins).expect("a power of two");
            let x_truth: Vec<Cd> = widen(&x).into_iter().map(Cd::from).collect();
            let twice = Measure::Norm(compounded(2.0 * bound));
            take(
                format!("there and back {n}, {kind}"),
                check(&widen(&back), &x_truth, twice),
            );

            if n <= 128 {
                let bound = block_bound::<T>(&[n]);
                let bins = dft(&x).expect("floats have all orders");
                take(
                    format!("dft {n}, {kind}"),
                    check(&widen(&bins), &truth, Measure::Norm(bound)),
                );
            }
            if n >= 2 {
                let x: Vec<T> = x.iter().map(|z| z.re).collect();
                let bins = real_fft(&x).expect("a power of two");
                let mut full = bins.clone();
                full.extend((1..n / 2).rev().map(|k| bins[k].conj()));
                let truth = double_double::dft(&widen_real(&x));
                let bound = real_bound::<T>(n);
                take(
                    format!("real fft {n}, {kind}"),
                    check(&widen(&full), &truth, Measure::Norm(bound)),
                );
                let back: Vec<T> = inverse_real_fft(&bins, n).expect("matching bins");
                let x_truth: Vec<Cd> = widen_real(&x).into_iter().map(Cd::from).collect();
                let twice = Measure::Norm(compounded(2.0 * bound));
                take(
                    format!("real, there and back {n}, {kind}"),
                    check(&widen_real(&back), &x_truth, twice),
                );
            }
        }
    }
    for factors in [
        &[2, 2, 2, 2, 2][..],
        &[8, 8],
        &[16, 16],
        &[3, 5, 7],
        &[7, 11],
        &[4, 15],
        &[97],
    ] {
        let n = factors.iter().product();
        for (kind, x) in inputs::<T>(n) {
            let truth = double_double::dft(&widen(&x));
            let bound = Measure::Norm(block_bound::<T>(factors));
            let bins = block_fft(&x, factors).expect("factors of n");
            take(
                format!("block {factors:?}, {kind}"),
                check(&widen(&bins), &truth, bound),
            );
            let order = permuted_order(factors).expect("a small product");
            let truth: Vec<Cd> = order.iter().map(|&k| truth[k]).collect();
            let bins = permuted_fft(&x, factors).expect("factors of n");
            take(
                format!("permuted {factors:?}, {kind}"),
                check(&widen(&bins), &truth, bound),
            );
        }
    }
    // Errors of a right transform are of the bound's order: were they far below, the bound
    // would refuse nothing worth refusing.
    println!("{}: at most {worst} of the bound", T::NAME);
    assert!(worst > 0.02, "{}: {worst}", T::NAME);
}

#[test]
fn transforms_are_within_their_bounds_f32() {
    transforms_are_within_their_bounds::<f32>();
}

#[test]
fn transforms_are_within_their_bounds_f64() {
    transforms_are_within_their_bounds::<f64>();
}

/// A recursive FFT with its roots handed in: a second program, for making mistakes with.
fn recursive_fft<T: Float>(
    x: &[Complex<T>],
    root: &dyn Fn(usize, usize) -> Complex<T>,
) -> Vec<Complex<T>>
where
    Complex<T>: RootsOfUnity,
{
    let n = x.len();
    if n == 1 {
        return x.to_vec();
    }
    let half = |s: usize| -> Vec<Complex<T>> { x.iter().skip(s).step_by(2).copied().collect() };
    let (even, odd) = (recursive_fft(&half(0), root), recursive_fft(&half(1), root));
    (0..n)
        .map(|k| {
            let turned = root(k % (n / 2), n) * odd[k % (n / 2)];
            if k < n / 2 {
                even[k] + turned
            } else {
                even[k - n / 2] - turned
            }
        })
        .collect()
}

fn wrong_transforms_are_refused<T: Float>()
where
    Complex<T>: RootsOfUnity,
{
    let n = 512;
    let x = complex_signal::<T>(n, 77);
    let truth = double_double::dft(&widen(&x));
    let bound = Measure::Norm(fft_bound::<T>(n));
    let bins = fft(&x).expect("a power of two");
    let root = |k: usize, n: usize| Complex::<T>::roots_of_unity(n).expect("exists")[k].conj();
    let rounded = |k: usize, n: usize| {
        let round = |x: T| T::from_f64((x.to_f64() * 512.0).round() / 512.0);
        let w = root(k, n);
        Complex::new(round(w.re), round(w.im))
    };
    let upside_down = |k: usize, n: usize| root(k, n).conj();

    // The second program is right when nothing is wrong with it.
    check(&widen(&recursive_fft(&x, &root)), &truth, bound).expect("right roots");
    check(&widen(&bins), &truth, bound).expect("the library");

    let edited = |edit: &dyn Fn(&mut Vec<Complex<T>>)| {
        let mut bins = bins.clone();
        edit(&mut bins);
        bins
    };
    let thousandth = T::from_f64(1.001);
    let wrong: Vec<(&str, Vec<Complex<T>>)> = vec![
        ("roots rounded to 9 bits", recursive_fft(&x, &rounded)),
        ("the other sign", recursive_fft(&x, &upside_down)),
        (
            "one bin off by a thousandth",
            edited(&|b| b[100] = b[100] * Complex::new(thousandth, T::ZERO)),
        ),
        (
            "one bin zero",
            edited(&|b| b[3] = Complex::new(T::ZERO, T::ZERO)),
        ),
        ("two bins exchanged", edited(&|b| b.swap(7, 8))),
        ("last bin dropped", edited(&|b| b.truncate(n - 1))),
        (
            "one bin too many",
            edited(&|b| b.push(Complex::new(T::ZERO, T::ZERO))),
        ),
        (
            "one bin not a number",
            edited(&|b| b[5].im = T::from_f64(f64::NAN)),
        ),
        (
            "one bin infinite",
            edited(&|b| b[5].re = T::from_f64(f64::INFINITY)),
        ),
        ("all zero", vec![Complex::new(T::ZERO, T::ZERO); n]),
        (
            "divided by n",
            edited(&|b| {
                for z in b.iter_mut() {
                    *z = *z * Complex::new(T::from_f64(1.0 / n as f64), T::ZERO);
                }
            }),
        ),
    ];
    for (name, bins) in wrong {
        assert!(
            check(&widen(&bins), &truth, bound).is_err(),
            "{} accepts: {name}",
            T::NAME
        );
    }

    // A missing 1/n on the way back.
    let x_truth: Vec<Cd> = widen(&x).into_iter().map(Cd::from).collect();
    let twice = Measure::Norm(compounded(2.0 * fft_bound::<T>(n)));
    let missing = fft(&bins).expect("a power of two");
    let missing: Vec<_> = (0..n).map(|j| missing[(n - j) % n]).collect();
    assert!(check(&widen(&missing), &x_truth, twice).is_err());
    let by_n: Vec<_> = widen(&missing).iter().map(|z| z / n as f64).collect();
    check(&by_n, &x_truth, twice).expect("the same with 1/n is right");

    // The Nyquist bin halved.
    let real: Vec<T> = x.iter().map(|z| z.re).collect();
    let mut bins = real_fft(&real).expect("a power of two");
    bins[n / 2] = bins[n / 2] * Complex::new(T::from_f64(0.5), T::ZERO);
    let back: Vec<T> = inverse_real_fft(&bins, n).expect("matching bins");
    let real_truth: Vec<Cd> = widen_real(&real).into_iter().map(Cd::from).collect();
    let twice = Measure::Norm(compounded(2.0 * real_bound::<T>(n)));
    assert!(check(&widen_real(&back), &real_truth, twice).is_err());
}

#[test]
fn wrong_transforms_are_refused_f32() {
    wrong_transforms_are_refused::<f32>();
}

#[test]
fn wrong_transforms_are_refused_f64() {
    wrong_transforms_are_refused::<f64>();
}

/// Per element of a convolution, in units of `|f|_2 |u|_2` (the chapter derives it):
/// `(1 + e)^2 (1 + sqrt 2 gamma_2) (1 + paths e) (1 + u) - 1`, `e` the bound of one transform.
fn convolution_bound<T: Real>(e: f64, paths: f64) -> f64 {
    let product = 2f64.sqrt() * gamma::<T>(2.0);
    (1.0 + e).powi(2) * (1.0 + product) * (1.0 + paths * e) * (1.0 + T::UNIT_ROUNDOFF) - 1.0
}

fn norm<T: Real>(x: &[T]) -> f64 {
    x.iter().map(|x| x.to_f64().powi(2)).sum::<f64>().sqrt()
}

fn convolutions<T: Float>()
where
    Complex<T>: RootsOfUnity,
{
    let cases = [
        (1, 1, "one product"),
        (64, 64, "2^k"),
        (65, 64, "kernel cut"),
        (40, 97, "prime length"),
        (300, 300, "neither prime nor power of two"),
    ];
    let mut worst = 0.0f64;
    for (kernel_len, n, why) in cases {
        for decay in [1.0, 0.95] {
            let damp = |x: Vec<T>| -> Vec<T> {
                x.into_iter()
                    .enumerate()
                    .map(|(j, x)| x * T::from_f64(f64::powi(decay, j as i32)))
                    .collect()
            };
            let (f, u) = (damp(signal::<T>(kernel_len, 3)), signal::<T>(n, 4));
            let cut = &f[..kernel_len.min(n)];
            let to_f64 = |x: &[T]| -> Vec<f64> { x.iter().map(|x| x.to_f64()).collect() };
            let truth = double_double::convolution(&to_f64(&f), &to_f64(&u));
            let scale = norm(cut) * norm(&u);
            let len = transform_len(cut.len(), n).expect("short");
            // A mixed radix that is no power of two: 11 * 5 * 11 = 605 >= 599.
            let factors = [11, 5, 11];
            let complex = Measure::Each(scale * convolution_bound::<T>(fft_bound::<T>(len), 1.0));
            let real =
                Measure::Each(scale * convolution_bound::<T>(real_bound::<T>(len.max(2)), 2.0));
            let block =
                Measure::Each(scale * convolution_bound::<T>(block_bound::<T>(&factors), 1.0));
            let right = causal_convolution(&f, &u).expect("any lengths");
            let name = |route: &str| format!("{} {route}, {kernel_len} x {n}: {why}", T::NAME);
            for (route, y, measure) in [
                ("complex", right.clone(), complex),
                ("real", via_real_fft(&f, &u).expect("any lengths"), real),
                (
                    "block",
                    via_block_fft(&f, &u, &factors).expect("605 >= 599"),
                    block,
                ),
            ] {
                match check(&widen_real(&y), &truth, measure) {
                    Ok(ratio) if n > 1 => worst = worst.max(ratio),
                    Ok(_) => {}
                    Err(e) => panic!("{}: {e}", name(route)),
                }
            }
            if n == 1 {
                continue;
            }

            // The same comparison, at the widest of the three bounds, refuses:
            let mut padded = cut.to_vec();
            padded.resize(n, T::ZERO);
            let spectra = |x: &[T]| {
                let mut z: Vec<Complex<T>> = x.iter().map(|&x| Complex::new(x, T::ZERO)).collect();
                z.resize(len, Complex::new(T::ZERO, T::ZERO));
                fft(&z).expect("a power of two")
            };
            let from = |bins: Vec<Complex<T>>| -> Vec<T> {
                let y = inverse_fft(&bins).expect("a power of two");
                y[..n].iter().map(|z| z.re).collect()
            };
            let (ff, fu) = (spectra(cut), spectra(&u));
            let zip = |g: &dyn Fn(Complex<T>, Complex<T>) -> Complex<T>| -> Vec<Complex<T>> {
                ff.iter().zip(&fu).map(|(&f, &u)| g(f, u)).collect()
            };
            let one_bin = |k: usize| {
                let mut bins = zip(&|f, u| f * u);
                bins[k] = bins[k] * Complex::new(T::from_f64(1.5), T::ZERO);
                bins
            };
            let by_len = Complex::new(T::from_i64(len as i64), T::ZERO);
            let edited = |edit: &dyn Fn(&mut Vec<T>)| {
                let mut y = right.clone();
                edit(&mut y);
                y
            };
            let wrong = [
                (
                    "circular",
                    circular_convolution(&padded, &u).expect("one length"),
                ),
                ("conjugate in the product", from(zip(&|f, u| f.conj() * u))),
                ("missing 1/n", from(zip(&|f, u| f * u * by_len))),
                ("one bin of the product by 1.5", from(one_bin(3))),
                ("first two outputs exchanged", edited(&|y| y.swap(0, 1))),
                (
                    "one step late",
                    edited(&|y| {
                        y.pop();
                        y.insert(0, T::ZERO);
                    }),
                ),
                ("last output zero", edited(&|y| y[n - 1] = T::ZERO)),
                ("last output dropped", edited(&|y| y.truncate(n - 1))),
                (
                    "not a number",
                    edited(&|y| y[n - 1] = T::from_f64(f64::NAN)),
                ),
                ("all zero", vec![T::ZERO; n]),
            ];
            for (mistake, y) in wrong {
                assert!(
                    check(&widen_real(&y), &truth, block).is_err()
                        && check(&widen_real(&y), &truth, real).is_err()
                        && check(&widen_real(&y), &truth, complex).is_err(),
                    "{} accepts: {mistake}",
                    name("any route")
                );
            }
        }
    }
    println!("{}: at most {worst} of the bound", T::NAME);
}

#[test]
fn convolutions_are_within_their_bound_and_wrong_ones_are_not_f32() {
    convolutions::<f32>();
}

#[test]
fn convolutions_are_within_their_bound_and_wrong_ones_are_not_f64() {
    convolutions::<f64>();
}
