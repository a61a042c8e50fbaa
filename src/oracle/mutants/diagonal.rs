//! The diagonal model: decoding, discretization, kernel, and its pass over kv.

use super::Mutant::{
    self, BDropped, BUndiscretised, BilinearForZoh, CarryNoFactor2, CarryRealParts, ConjA, ConjB,
    ConjC, DTwice, DecodeBf16, DtExpExp, DtRaw, DtSoftplus, EulerB, ExpImag, Factor4, ImagDropped,
    KernelAdvance, KernelBf16, KernelDelay, MagnitudeOnly, MissingBilinearDenominator, NoFactor2,
    RealBeforePower, RealDecodeExp, RealDecodeNone, RealDecodePositive, RealDecodeSoftplus,
    ReluWithoutOffset, ScanOperands, ScanUnderflow, StateBf16, Undiscretised, ZohForBilinear,
};
use super::activation::{bf16, softplus};
use super::evaluate::Run;
use super::passing::{Model, Passed};
use super::switches::Switches;
use crate::algebra::Ring;
use crate::error::Error;
use crate::h3::{Name, Parameters, RealType};
use crate::ssm::Discretization;
use num_complex::Complex;

/// The diagonal model of one head.
pub(super) struct DiagonalModel {
    a: Vec<Complex<f64>>,
    b: Vec<Complex<f64>>,
    c: Vec<Complex<f64>>,
    pub(super) d: f64,
    /// What multiplies a real part: 2, for the conjugate modes.
    factor: f64,
    /// The same where a carried state is read.
    carry_factor: f64,
    /// M62a: real parts multiplied, not products.
    carry_real_parts: bool,
}

/// The diagonal model of every head.
pub(super) fn models(run: &Run<'_>) -> Result<Vec<DiagonalModel>, Error> {
    let (on, n) = (run.on, run.config.n_modes());
    let p = &run.parameters;
    let lambda = lambda(p, on)?;
    let (stored_b, stored_c) = (p.get(Name::B), p.get(Name::C));
    let complex = |parts: &[f64], i: usize| Complex::new(parts[2 * i], parts[2 * i + 1]);
    (0..run.sizes.heads)
        .map(|h| {
            let dt = step_size(p.get(Name::LogDt)[h], on);
            let model = h % run.config.n_ssm;
            let (mut a, mut b) = (Vec::with_capacity(n), Vec::with_capacity(n));
            for i in model * n..(model + 1) * n {
                let input = match complex(stored_b, i) {
                    _ if on.on(BDropped) => Complex::ONE, // M51a
                    b if on.on(ConjB) => b.conj(),        // M45b
                    b => b,
                };
                let (pole, input) = discretize(run.config.disc, lambda[i], input, dt, on)
                    .map_err(|e| Error::value(format!("head {h}"), e.to_string()))?;
                a.push(pole);
                b.push(input);
            }
            let c = (h * n..(h + 1) * n)
                .map(|i| match complex(stored_c, i) {
                    c if on.on(ConjC) => c.conj(), // M45a
                    c => c,
                })
                .collect();
            let factor = match () {
                () if on.on(NoFactor2) => 1.0, // M41
                () if on.on(Factor4) => 4.0,   // M42
                () => 2.0,
            };
            // M62b
            let carried = if on.on(CarryNoFactor2) { 0.5 } else { 1.0 };
            Ok(DiagonalModel {
                a,
                b,
                c,
                d: p.get(Name::D)[h],
                factor,
                carry_factor: factor * carried,
                carry_real_parts: on.on(CarryRealParts),
            })
        })
        .collect()
}

/// The real_type a mutant decodes by, instead of the layer's own.
const REAL_TYPES: [(Mutant, RealType); 3] = [
    (RealDecodeNone, RealType::None),         // M47a
    (RealDecodeSoftplus, RealType::Softplus), // M47c
    (RealDecodeExp, RealType::Exp),           // M47d
];

/// Lambda of every stored mode.
fn lambda(p: &Parameters<f64>, on: Switches<'_>) -> Result<Vec<Complex<f64>>, Error> {
    let mut config = p.config().clone();
    for (mutant, real_type) in REAL_TYPES {
        if on.on(mutant) {
            config.real_type = real_type;
        }
    }
    let decoded = Parameters::new(config, |name| Ok(p.get(name).to_vec()))?;
    let mut lambda = decoded.lambda();
    for z in &mut lambda {
        if on.on(RealDecodePositive) {
            z.re = -z.re; // M47b: the minus sign forgotten
        }
        if on.on(ReluWithoutOffset) && p.config().real_type == RealType::Relu {
            z.re += 1e-4; // M47e
        }
        if on.on(ExpImag) {
            z.im = z.im.exp(); // M46
        }
        if on.on(ImagDropped) {
            z.im = 0.0; // M44a
        }
        if on.on(ConjA) {
            z.im = -z.im; // M45c
        }
        if on.on(DecodeBf16) {
            *z = Complex::new(bf16(z.re), bf16(z.im)); // M70c
        }
    }
    Ok(lambda)
}

fn step_size(log_dt: f64, on: Switches<'_>) -> f64 {
    let dt = match () {
        () if on.on(DtSoftplus) => softplus(log_dt), // M48a
        () if on.on(DtRaw) => log_dt,                // M48b
        () if on.on(DtExpExp) => log_dt.exp().exp(), // M48c
        () => log_dt.exp(),
    };
    if on.on(DecodeBf16) { bf16(dt) } else { dt } // M70c
}

/// One mode's discrete pole and input.
fn discretize(
    disc: Discretization,
    lambda: Complex<f64>,
    input: Complex<f64>,
    dt: f64,
    on: Switches<'_>,
) -> Result<(Complex<f64>, Complex<f64>), Error> {
    let disc = match disc {
        _ if on.on(ZohForBilinear) => Discretization::ZeroOrderHold, // M38a
        _ if on.on(BilinearForZoh) => Discretization::Bilinear,      // M38b
        disc => disc,
    };
    if on.on(Undiscretised) {
        return Ok((lambda.exp(), input)); // M49
    }
    let (mut a, mut b) = disc.apply(lambda, input, dt)?;
    if on.on(EulerB) {
        (a, b) = ((lambda * dt).exp(), input * dt); // M39
    }
    if on.on(MissingBilinearDenominator) && disc == Discretization::Bilinear {
        b = input * dt; // M40
    }
    if on.on(BUndiscretised) {
        b = input; // M51b
    }
    if on.on(RealBeforePower) {
        a.im = 0.0; // M43
    }
    if on.on(MagnitudeOnly) {
        a = Complex::new(a.norm(), 0.0); // M44b
    }
    Ok((a, b))
}

impl DiagonalModel {
    /// The kernel of `len` taps.
    pub(super) fn kernel(&self, on: Switches<'_>, len: usize) -> Vec<f64> {
        let terms = self.c.iter().zip(&self.b).map(|(c, b)| c * b).collect();
        let mut kernel = self.vandermonde(terms, self.factor, len + 1);
        if on.on(KernelDelay) {
            kernel.insert(0, 0.0); // M50a
        }
        if on.on(KernelAdvance) {
            kernel.remove(0); // M50b
        }
        kernel.truncate(len);
        if on.on(DTwice)
            && let Some(first) = kernel.first_mut()
        {
            *first += self.d; // M37
        }
        if on.on(KernelBf16) {
            kernel.iter_mut().for_each(|tap| *tap = bf16(*tap)); // M70a
        }
        kernel
    }

    /// `factor Re(sum_n w_n a_n^i)`, `i = 0, ..., len - 1`.
    fn vandermonde(&self, mut terms: Vec<Complex<f64>>, factor: f64, len: usize) -> Vec<f64> {
        (0..len)
            .map(|_| {
                let sum = terms.iter().fold(0.0, |sum, term| sum + term.re);
                for (term, &a) in terms.iter_mut().zip(&self.a) {
                    *term *= a;
                }
                factor * sum
            })
            .collect()
    }

    /// The same with B = 1.
    pub(super) fn without_b(&self) -> Self {
        Self {
            a: self.a.clone(),
            b: vec![Complex::ONE; self.b.len()],
            c: self.c.clone(),
            ..*self
        }
    }

    /// The recurrence, with a mistake in its scan or its state.
    pub(super) fn step(
        &self,
        on: Switches<'_>,
        chunks: &[usize],
        u: &[f64],
        x0: &[Complex<f64>],
    ) -> Passed<Complex<f64>> {
        let last = u.len() - chunks.last().copied().unwrap_or(0);
        let (mut x, mut boundary) = (x0.to_vec(), x0.to_vec());
        let mut powers = vec![Complex::<f64>::ONE; x.len()];
        let mut sums = vec![Complex::<f64>::ZERO; x.len()];
        let mut within = Vec::with_capacity(u.len());
        for (t, &u) in u.iter().enumerate() {
            if t == last {
                boundary.clone_from(&x);
            }
            for (n, x) in x.iter_mut().enumerate() {
                let (a, input) = (self.a[n], self.b[n] * u);
                if on.on(ScanUnderflow) {
                    // M53: cumulative sums over cumulative products, kept from vanishing.
                    powers[n] *= a;
                    sums[n] += input / (powers[n] + 1e-10);
                    *x = powers[n] * (sums[n] + x0[n]);
                } else if on.on(ScanOperands) {
                    // M54: the earlier product multiplies the later input.
                    *x += powers[n] * input;
                    powers[n] *= a;
                } else {
                    *x = a * *x + input;
                }
                if on.on(StateBf16) {
                    *x = Complex::new(bf16(x.re), bf16(x.im)); // M70b
                }
            }
            let read = self.c.iter().zip(&x);
            within.push(self.factor * read.fold(0.0, |sum, (c, x)| sum + (c * x).re));
        }
        Passed {
            carried: vec![0.0; within.len()],
            within,
            state: x,
            boundary,
        }
    }
}

impl Model for DiagonalModel {
    type X = Complex<f64>;

    fn advance(&self, x: &[Complex<f64>], k: usize) -> Vec<Complex<f64>> {
        let pairs = self.a.iter().zip(x);
        pairs.map(|(&a, &x)| a.power(k as u64) * x).collect()
    }

    fn rows(&self, x: &[Complex<f64>], first: usize, len: usize) -> Vec<f64> {
        let x = self.advance(x, first);
        if self.carry_real_parts {
            // M62a: 2 Re(C) Re(A^{i+1} x).
            let mut rows = vec![0.0; len];
            for ((c, &a), mut x) in self.c.iter().zip(&self.a).zip(x) {
                for row in &mut rows {
                    *row += self.carry_factor * c.re * x.re;
                    x *= a;
                }
            }
            return rows;
        }
        let terms = self.c.iter().zip(x).map(|(c, x)| c * x).collect();
        self.vandermonde(terms, self.carry_factor, len)
    }

    fn absorb(&self, u: &[f64]) -> Vec<Complex<f64>> {
        let pairs = self.a.iter().zip(&self.b);
        pairs
            .map(|(&a, &b)| {
                let (mut power, mut sum) = (Complex::<f64>::ONE, Complex::<f64>::ZERO);
                for &u in u.iter().rev() {
                    sum += power * u;
                    power *= a;
                }
                sum * b
            })
            .collect()
    }
}
