//! The H3 layer of *Hungry Hungry Hippos* (arXiv 2212.14052) on one page, in plain f64: every stage
//! from the official parameters to the output, and FlashConv's passing of states between chunks.
//!
//! ```text
//! cargo run --release --example one_page tests/golden/v2/01-basic.safetensors
//! ```
//! To be read from top to bottom; formulas count from 1, code from 0. Of the crate it uses only the
//! file reader: it is an independent check of the reference (`tests/one_page/`).
#![allow(non_snake_case, reason = "the letters are the paper's")]

use hungry_hippos::safetensors::SafeTensors;
use num_complex::Complex64;
use std::{env, error::Error, path::Path};

type Fallible<T> = Result<T, Box<dyn Error>>;
type Reals = Vec<f64>;
type State = Vec<Complex64>;
/// The name of a stage, its shape, and its elements in row-major order.
pub(crate) type Stage = (&'static str, Vec<usize>, Reals);

// 1. DECODING: the real part of lambda from its stored form; negative, so that states decay.
fn re_lambda(real_type: &str, stored: f64) -> f64 {
    -match real_type {
        "none" => stored,
        "relu" => stored.max(0.0) + 1e-4,
        "sigmoid" => 1.0 / (1.0 + (-stored).exp()),
        "softplus" if stored > 20.0 => stored, // as PyTorch does
        "softplus" => stored.exp().ln_1p(),
        _ => stored.exp(),
    }
}

// 2. DISCRETIZING: x' = lambda x + B u, sampled every dt, becomes x_i = a x_{i-1} + b u_i.
fn discretize(disc: &str, lambda: Complex64, B: Complex64, dt: f64) -> (Complex64, Complex64) {
    let (z, one) = (lambda * dt, Complex64::ONE);
    if disc == "bilinear" || z == Complex64::ZERO {
        return ((one + z / 2.0) / (one - z / 2.0), B * dt / (one - z / 2.0));
    }
    // Zero-order hold: a = e^z, b = B (a - 1) / lambda. So that a - 1 does not cancel near z = 0,
    // its real part, for z = x + iy, is (e^x - 1) cos y - 2 sin^2(y/2).
    let re = z.re.exp_m1() * z.im.cos() - 2.0 * (z.im / 2.0).sin().powi(2);
    (z.exp(), B * Complex64::new(re, z.exp().im) / lambda)
}

// 3. THE STATE SPACE MODEL: x_i = A x_{i-1} + B u_i,  y_i = C x_i + D u_i,  i = 1, ..., N.
//    The output reads the state after the update. Of a diagonal A one pole of each conjugate pair
//    is stored; the other contributes the conjugate. So C holds twice the stored C, and y = Re C x.
//
//    Unrolled over a chunk of T inputs u that finds the state x:
//
//        y = M_xy x + f * u + D u      M_xy = [C A; C A^2; ...; C A^T]     f_j = C A^j B
//        x = M_xx x + M_ux u           M_ux = [A^(T-1) B, ..., A B, B]     M_xx = A^T
//
//    The first output reads A x + B u_1, after the update: M_xy begins with C A, and f with C B.
//    A has not yet acted on the last input: M_ux ends with B.

#[rustfmt::skip] // A is its diagonal, or None for the shift: ones below the diagonal
struct Ssm { A: Option<State>, B: State, C: State, D: f64 }

fn plus(x: &State, y: &State, factor: f64) -> State {
    x.iter().zip(y).map(|(x, y)| x + y * factor).collect()
}

#[rustfmt::skip]
impl Ssm {
    fn A(&self, k: usize, x: &State) -> State { // A^k x
        (0..x.len()).map(|n| match &self.A {
            Some(a) => a[n].powu(k as u32) * x[n],
            None => if n < k { Complex64::ZERO } else { x[n - k] },
        }).collect()
    }
    fn C(&self, x: &State) -> f64 { self.C.iter().zip(x).map(|(C, x)| (C * x).re).sum() } // Re C x
    fn f(&self, T: usize) -> Reals { (0..T).map(|j| self.C(&self.A(j, &self.B))).collect() }
    fn M_xy(&self, T: usize, x: &State) -> Reals { (1..=T).map(|i| self.C(&self.A(i, x))).collect() }
    fn M_xx(&self, T: usize, x: &State) -> State { self.A(T, x) }
    fn M_ux(&self, u: &[f64]) -> State {
        let (T, zero) = (u.len(), vec![Complex64::ZERO; self.B.len()]);
        (1..=T).fold(zero, |x, i| plus(&x, &self.A(T - i, &self.B), u[i - 1]))
    }
    /// Outputs, and the state after every chunk of T inputs; T = 0 is the recurrence, one chunk of all
    /// the convolution. Only there can `l_max` cut f, and it never cuts the state.
    fn run(&self, mut x: State, u: &[f64], T: usize, l_max: usize) -> (Reals, Vec<Reals>) {
        let (mut y, mut states) = (Vec::new(), Vec::new());
        for u in u.chunks(T.max(1)) {
            if T == 0 {
                x = plus(&self.A(1, &x), &self.B, u[0]);
                y.push(self.C(&x) + self.D * u[0]);
            } else {
                let (f, passed) = (self.f(u.len()), self.M_xy(u.len(), &x));
                for i in 0..u.len() {
                    let convolved: f64 = (0..=i).take(l_max).map(|j| f[j] * u[i - j]).sum();
                    y.push(passed[i] + convolved + self.D * u[i]);
                }
                x = plus(&self.M_xx(u.len(), &x), &self.M_ux(u), 1.0);
            }
            let parts = |x: &Complex64| if self.A.is_some() { vec![x.re, x.im] } else { vec![x.re] };
            states.push(x.iter().flat_map(parts).collect());
        }
        (y, states)
    }
}

// 4. THE LAYER: a batch of sequences of N tokens of d channels, in H heads of d_h channels.
/// Every stage, with the models run in chunks of T or, if T = 0, by the recurrence.
#[rustfmt::skip]
pub(crate) fn layer(file: &SafeTensors, T: usize) -> Fallible<Vec<Stage>> {
    // Tensors under their official names, sizes, choices; what is absent is the official default.
    let given = |name: &str, shape: &[usize]| match file.get(name) {
        None if name.starts_with("initial_state") => Ok(vec![0.0; shape.iter().product()]),
        Some(x) if x.shape != shape => Err(format!("{name}: {:?}, not {shape:?}", x.shape).into()),
        _ => file.tensor(name).and_then(|x| x.to_f64()).map_err(Box::<dyn Error>::from),
    };
    let text = |key: &str, or: &'static str| file.metadata().get(key).map_or(or, String::as_str);
    let number = |key: &str, or: usize| match text(key, "none") {
        "none" => Ok(or), x => x.parse().map_err(|e| format!("metadata {key}: {e}")),
    };
    let choice = |key: &str, known: &[&'static str]| match text(key, known[0]) {
        x if known.contains(&x) => Ok(x), x => Err(format!("metadata {key}: {x} is not in {known:?}")),
    };
    let axis = |name: &str, n| file.tensor(name).map(|x| x.shape.get(n).copied().unwrap_or(0));
    let _whole = choice("sequence", &["none", "schedule", "cotangent"])?; // no documents, no padding
    let (batch, N, d) = (axis("input", 0)?, axis("input", 1)?, axis("input", 2)?);
    let (m, n_ssm) = (axis("ssm_k_kernel.kernel.B", 1)?, axis("kernel.kernel.B", 0)?);
    let (modes, d_h, position) = (m / 2, number("head_dim", 1)?, number("position", 0)?);
    let (l_max, chunk_len) = (number("l_max", usize::MAX)?, number("chunk_len", N)?);
    if [batch, N, d, m, n_ssm, d_h, l_max, chunk_len].contains(&0) || d % d_h + d / d_h % n_ssm > 0 {
        return Err("expected sizes from 1, head_dim dividing d, and n_ssm the heads".into());
    }
    let resumed = file.names().any(|name| name.starts_with("initial_state"));
    if (resumed || T.min(chunk_len) < N) && l_max < position.saturating_add(N) {
        return Err("l_max cuts the kernel, so no state can be passed on".into());
    }
    let (H, pairs) = (d / d_h, batch * d_h * d_h);
    let real = |x: Reals| -> State { x.into_iter().map(Complex64::from).collect() };
    let complex = |x: Reals| -> State { x.chunks(2).map(|z| Complex64::new(z[0], z[1])).collect() };
    let row = |x: &State, r: usize, m: usize| x[r * m..][..m].to_vec();

    // A shift model for every channel of the keys.
    let B = real(given("ssm_k_kernel.kernel.B", &[d, m])?);
    let C = real(given("ssm_k_kernel.kernel.C", &[1, d, m])?);
    let D = given("ssm_k_D", &[d])?;
    let shift = |c: usize| Ssm { A: None, B: row(&B, c, m), C: row(&C, c, m), D: D[c] };
    let shift: Vec<Ssm> = (0..d).map(shift).collect();

    // A diagonal model for every head: dt, C and D are its own, lambda and B those of h mod n_ssm.
    let disc = choice("disc", &["bilinear", "zoh"])?;
    let real_type = choice("real_type", &["exp", "none", "relu", "sigmoid", "softplus"])?;
    let inv_A_real = given("kernel.kernel.inv_A_real", &[n_ssm, modes])?;
    let A_imag = given("kernel.kernel.A_imag", &[n_ssm, modes])?;
    let B = complex(given("kernel.kernel.B", &[n_ssm, modes, 2])?);
    let C = complex(given("kernel.kernel.C", &[1, H, modes, 2])?);
    let (log_dt, D) = (given("kernel.kernel.log_dt", &[H])?, given("D", &[H])?);
    let lambda = |n: usize| Complex64::new(re_lambda(real_type, inv_A_real[n]), A_imag[n]);
    let head = |h: usize| {
        let (stored, dt) = ((0..modes).map(|n| h % n_ssm * modes + n), log_dt[h].exp());
        let (A, B) = stored.map(|n| discretize(disc, lambda(n), B[n], dt)).unzip();
        Ssm { A: Some(A), B, C: row(&C, h, modes).iter().map(|C| C * 2.0).collect(), D: D[h] }
    };
    let heads: Vec<Ssm> = (0..H).map(head).collect();
    // W x + b for every token; q, k and v then have a row over time for every (sequence, channel).
    let linear = |name: &str, x: &[f64]| -> Fallible<Reals> {
        let W = given(&format!("{name}.weight"), &[d, d])?;
        let b = given(&format!("{name}.bias"), &[d])?;
        let entry = |x: &[f64], c: usize| b[c] + (0..d).map(|e| W[c * d + e] * x[e]).sum::<f64>();
        Ok((0..batch * N * d).map(|r| entry(&x[r / d * d..], r % d)).collect())
    };
    let over_time = |name: &str| -> Fallible<Reals> {
        let x = linear(name, &given("input", &[batch, N, d])?)?;
        Ok((0..batch * d * N).map(|r| x[(r / (d * N) * N + r % N) * d + r / N % d]).collect())
    };
    let (q, k, v) = (over_time("q_proj")?, over_time("k_proj")?, over_time("v_proj")?);

    // The shift SSM of k. Rows meet the models in turn.
    let run = |models: &[Ssm], x: &State, u: &[f64], T: usize| -> (Reals, Vec<Reals>) {
        let (model, m) = (|r: usize| &models[r % models.len()], models[0].B.len());
        let response = |(r, u): (usize, _)| model(r).run(row(x, r, m), u, T, l_max);
        let (y, states): (Vec<_>, Vec<_>) = u.chunks(N).enumerate().map(response).unzip();
        let after = |c: usize| states.iter().flat_map(|state| state[c].clone()).collect();
        (y.concat(), (0..states[0].len()).map(after).collect())
    };
    let x_k = real(given("initial_state_k", &[batch, d, m])?);
    let (shift_k, mut passed_k) = run(&shift, &x_k, &k, T);

    // The outer product (d1 of the key, d2 of the value; a row for every b, d1, d2, h), and its SSM.
    let channel = |b: usize, h: usize, e: usize| (b * d + h * d_h + e) * N;
    let at = |r: usize| (r / (d_h * d_h * H), r / (d_h * H) % d_h, r / H % d_h, r % H);
    let mut kv = Vec::new();
    for (b, d1, d2, h) in (0..pairs * H).map(at) {
        kv.extend((0..N).map(|i| shift_k[channel(b, h, d1) + i] * v[channel(b, h, d2) + i]));
    }
    let x = complex(given("initial_state", &[pairs, H, modes, 2])?);
    let (ssm_out, mut passed) = run(&heads, &x, &kv, T);

    // The gate, in which q sums over d1, and the output projection.
    let head_order = choice("head_order", &["d2h", "hd2"])?;
    let mut gated = vec![0.0; batch * N * d];
    for (r, (b, d1, d2, h)) in (0..pairs * H).map(at).enumerate() {
        let c = if head_order == "d2h" { d2 * H + h } else { h * d_h + d2 };
        for i in 0..N { gated[(b * N + i) * d + c] += q[channel(b, h, d1) + i] * ssm_out[r * N + i]; }
    }
    let output = linear("output_linear", &gated)?;

    let (W, rows, pair_rows) = (l_max.min(N), [batch, d, N], [batch, d_h, d_h, H, N]);
    let f = |models: &[Ssm]| models.iter().flat_map(|model| model.f(W)).collect();
    let stage = |name, shape: &[usize], x: Reals| (name, shape.to_vec(), x);
    let mut stages = vec![
        stage("q", &rows, q), stage("k", &rows, k.clone()), stage("v", &rows, v),
        stage("shift_kernel", &[d, W], f(&shift)),
        stage("shift_k", &rows, shift_k),
        stage("kv", &pair_rows, kv.clone()),
        stage("ssm_kernel", &[H, W], f(&heads)),
        stage("ssm_out", &pair_rows, ssm_out),
        stage("gated", &[batch, N, d], gated),
        stage("output", &[batch, N, d], output),
        stage("final_state_k", &[batch, d, m], passed_k.pop().unwrap_or_default()),
        stage("final_state", &[pairs, H, modes, 2], passed.pop().unwrap_or_default()),
    ];
    if text("chunk_len", "none") != "none" {
        let (k, kv) = (run(&shift, &x_k, &k, chunk_len).1, run(&heads, &x, &kv, chunk_len).1);
        stages.push(stage("chunk_states_k", &[k.len(), batch, d, m], k.concat()));
        stages.push(stage("chunk_states", &[kv.len(), pairs, H, modes, 2], kv.concat()));
    }
    Ok(stages)
}

// 5. THE PROGRAM: every stage by convolution, its largest magnitude and distance from the file's; and
//    how far the recurrence is from state passing in chunks of 8.
#[rustfmt::skip]
pub(crate) fn report(file: &SafeTensors) -> Fallible<String> {
    let (stages, both) = (layer(file, usize::MAX)?, layer(file, 0).ok().zip(layer(file, 8).ok()));
    let apart = |x: &[f64], y: &[f64]| {
        let largest = x.iter().zip(y).map(|(x, y)| (x - y).abs()).max_by(f64::total_cmp);
        format!("{:.1e}", largest.unwrap_or(0.0))
    };
    let mut text = String::from("stage           largest  - file   steps - chunks of 8  shape\n");
    for (s, (name, shape, x)) in stages.iter().enumerate() {
        let largest = apart(x, &vec![0.0; x.len()]);
        let golden = file.get(name).map_or(Ok("-".into()), |y| y.to_f64().map(|y| apart(x, &y)))?;
        let passing = both.as_ref().map_or("-".into(), |(x, y)| apart(&x[s].2, &y[s].2));
        text += &format!("{name:<15} {largest:<8} {golden:<8} {passing:<20} {shape:?}\n");
    }
    Ok(text)
}

#[rustfmt::skip]
fn main() -> Result<(), String> {
    let path = env::args().nth(1).ok_or("expected the path of a case file")?;
    let file = SafeTensors::open(Path::new(&path)).map_err(|e| e.to_string())?;
    report(&file).map(|text| print!("{text}")).map_err(|e| format!("{path}: {e}"))
}
