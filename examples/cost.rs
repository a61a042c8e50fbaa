//! Chapter 16's table: what each form costs, by formula and as counted while it runs.
//!
//! ```text
//! cargo run --release --example cost
//! ```

use hungry_hippos::Error;
use hungry_hippos::algebra::{Counted, Matrix, OperationCount, Rng, RootsOfUnity, Sample, Scalar};
use hungry_hippos::attention::{self, hyena};
use hungry_hippos::cost::{self, AttentionShape, Convolution, Structure};
use hungry_hippos::flashconv::{Chunking, pass_varying_states};
use hungry_hippos::fourier::convolution as fourier;
use hungry_hippos::h3::{Form, HeadOrder, Layer, LayerShape};
use hungry_hippos::ssm::{
    Dense, Diagonal, Shift, StateSpace, Varying, varying_quadratic, varying_recurrence,
    varying_scan,
};
use std::fmt::Write as _;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// The form.
    pub(crate) name: String,
    /// What the formula of `hungry_hippos::cost` says.
    pub(crate) formula: OperationCount,
    /// What was done.
    pub(crate) counted: OperationCount,
}

fn row(
    name: impl Into<String>,
    formula: OperationCount,
    work: impl FnOnce() -> Result<(), Error>,
) -> Result<Row, Error> {
    let (done, counted) = Counted::count(work);
    done?;
    Ok(Row {
        name: name.into(),
        formula,
        counted,
    })
}

/// The forms of one model: attention is a form of the layer.
pub(crate) fn forms(chunk: usize) -> Vec<Form> {
    let mut forms = Form::all([Chunking::Uniform(chunk)]);
    forms.retain(|form| *form != Form::Attention);
    forms
}

fn signal(n: usize, rng: &mut Rng) -> Vec<Counted> {
    (0..n).map(|_| Counted::sample(rng)).collect()
}

fn model_rows<S>(ssm: &S, structure: Structure, n: usize, chunk: usize) -> Result<Vec<Row>, Error>
where
    S: StateSpace<Scalar = Counted>,
    <Counted as Scalar>::Complex: RootsOfUnity,
{
    let u = signal(n, &mut Rng::new(1));
    let rows = forms(chunk).into_iter().map(|form| {
        let formula = cost::model(&form, structure, n)?;
        row(form.to_string(), formula, || {
            form.respond(ssm, &u, None).map(drop)
        })
    });
    rows.collect()
}

/// Every form of one model with `m` elements of state on `n` inputs, in chunks of `chunk`.
pub(crate) fn models(structure: Structure, n: usize, chunk: usize) -> Result<Vec<Row>, Error> {
    let rng = &mut Rng::new(2);
    match structure {
        Structure::Dense(m) => model_rows(&Dense::sample(m, rng), structure, n, chunk),
        Structure::Diagonal(m) => model_rows(&Diagonal::sample(m, rng), structure, n, chunk),
        Structure::Shift(m) => model_rows(&Shift::sample(m, rng), structure, n, chunk),
    }
}

/// Attention of one head in every form, and Hyena of one channel.
pub(crate) fn attentions(n: usize, key_dim: usize, value_dim: usize) -> Result<Vec<Row>, Error> {
    let rng = &mut Rng::new(3);
    let mut matrix = |rows, cols| {
        // Positive, so that no normalizer vanishes.
        Matrix::from_fn(rows, cols, |_, _| {
            Counted::new(1.5 + Counted::sample(rng).value())
        })
    };
    let (q, k, v) = (matrix(n, key_dim), matrix(n, key_dim), matrix(n, value_dim));
    let mask = matrix(n, n);
    let shape = AttentionShape {
        seq_len: n,
        key_dim,
        value_dim,
    };
    let half = Counted::new(0.5);
    let mut rows = vec![
        row("softmax attention", cost::softmax_attention(shape), || {
            attention::softmax_attention(&q, &k, &v, half).map(drop)
        })?,
        row("masked attention", cost::masked_attention(shape), || {
            attention::masked_attention(&q, &k, &v, &mask).map(drop)
        })?,
        row(
            "linear, quadratic",
            cost::linear_attention_quadratic(shape),
            || attention::linear_attention_quadratic(&q, &k, &v).map(drop),
        )?,
        row(
            "linear, recurrent",
            cost::linear_attention_recurrent(shape),
            || attention::linear_attention_recurrent(&q, &k, &v).map(drop),
        )?,
        row(
            "linear, as models",
            cost::linear_attention_ssm(shape),
            || attention::linear_attention_ssm(&q, &k, &v).map(drop),
        )?,
    ];
    let rng = &mut Rng::new(4);
    for order in 1..=3 {
        let steps: Vec<_> = (0..order)
            .map(|_| hyena::Step {
                filter: hyena::Filter {
                    kernel: signal(n, rng),
                    feedthrough: Counted::sample(rng),
                },
                gate: signal(n, rng),
            })
            .collect();
        let v = signal(n, rng);
        let formula = |convolution| cost::hyena(order, convolution, n);
        rows.push(row(
            format!("hyena {order}, direct"),
            formula(Convolution::Direct)?,
            || hyena::recursive(&steps, &v).map(drop),
        )?);
        rows.push(row(
            format!("hyena {order}, real-fft"),
            formula(Convolution::RealFft)?,
            || hyena::recursive_with(&steps, &v, fourier::via_real_fft).map(drop),
        )?);
        rows.push(row(
            format!("hyena {order}, matrix"),
            cost::hyena_matrix(order, n),
            || hyena::matrix(&steps, n).map(drop),
        )?);
    }
    Ok(rows)
}

/// A whole H3 layer in every form.
pub(crate) fn layers(
    n_heads: usize,
    head_dim: usize,
    d_state: usize,
    n: usize,
    chunk: usize,
) -> Result<Vec<Row>, Error> {
    let shape = LayerShape {
        n_heads,
        head_dim,
        d_state,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    let rng = &mut Rng::new(5);
    let layer = Layer::<Counted>::sample(shape, rng)?;
    let u = layer.sample_input(1, n, rng);
    let forms = Form::all([Chunking::Uniform(chunk)]).into_iter();
    let rows = forms.map(|form| {
        let formula = cost::h3_layer(&form, &shape, n)?;
        row(form.to_string(), formula, || {
            layer.forward(&form, &u, None).map(drop)
        })
    });
    rows.collect()
}

/// One head of SSD in every form there is.
pub(crate) fn ssd(shape: cost::SsdShape, chunk: usize) -> Result<Vec<Row>, Error> {
    let rng = &mut Rng::new(6);
    let mut of = |cols| Matrix::from_fn(shape.seq_len, cols, |_, _| Counted::sample(rng));
    let (a, b, c) = (of(1), of(shape.state), of(shape.state));
    let u = of(shape.inputs);
    let ssm = Varying::new(a, b, c)?;
    let rows = [
        Form::Recurrence,
        Form::Scan,
        Form::Attention,
        Form::FlashConv(Chunking::Uniform(chunk)),
    ];
    let rows = rows.into_iter().map(|form| {
        row(form.to_string(), cost::ssd(&form, shape)?, || {
            let done = match &form {
                Form::Recurrence => varying_recurrence(&ssm, &u, None),
                Form::Scan => varying_scan(&ssm, &u, None),
                Form::FlashConv(chunks) => pass_varying_states(&ssm, &u, None, chunks),
                _ => varying_quadratic(&ssm, &u, None),
            };
            done.map(drop)
        })
    });
    rows.collect()
}

fn products(a: &[Counted], b: &[Counted]) -> Vec<Counted> {
    a.iter().zip(b).map(|(&a, &b)| a * b).collect()
}

/// Operators: a gated convolution, H3's with heads of two channels, StripedHyena's of one channel with eight
/// modes and with sixteen taps.
pub(crate) fn operators(n: usize, chunk: usize) -> Result<Vec<Row>, Error> {
    let rng = &mut Rng::new(7);
    let mut of = || signal(n, rng);
    let (u, pre, kernel, gate) = (of(), of(), of(), of());
    let step = |gate: &[Counted]| hyena::Step {
        filter: hyena::Filter {
            kernel: kernel.clone(),
            feedthrough: Counted::new(0.5),
        },
        gate: gate.to_vec(),
    };
    let by_fft = fourier::via_real_fft;
    let mut rows = vec![
        row(
            "gated convolution",
            cost::gated_convolution(Convolution::RealFft, n)?,
            || hyena::recursive_with(&[step(&gate)], &products(&pre, &u), by_fft).map(drop),
        )?,
        row(
            "h3, 3 heads of 2",
            cost::h3_operator(Convolution::RealFft, [3, 2], n)?,
            || {
                for _ in 0..3 * 2 {
                    let shifted = by_fft(&kernel, &u)?;
                    for (y, &u) in shifted.iter().zip(&u) {
                        let _ = *y + Counted::new(0.5) * u;
                    }
                    for _ in 0..2 {
                        let kv = products(&u, &pre);
                        for y in hyena::recursive_with(&[step(&gate)], &kv, by_fft)? {
                            let _ = y + y;
                        }
                    }
                }
                Ok(())
            },
        )?,
    ];
    let short = Shift::<Counted>::sample(3, rng);
    let (modes, taps) = (Diagonal::sample(8, rng), Shift::sample(16, rng));
    for form in forms(chunk) {
        let formula = |inner| cost::striped(&form, 3, inner, n);
        rows.push(row(
            format!("hcl, {form}"),
            formula(Structure::Diagonal(8))?,
            || striped(&form, &short, &modes, &u),
        )?);
        rows.push(row(
            format!("hcm, {form}"),
            formula(Structure::Shift(16))?,
            || striped(&form, &short, &taps, &u),
        )?);
    }
    Ok(rows)
}

/// One channel between its projections, the three of them being the same.
fn striped<S: StateSpace<Scalar = Counted>>(
    form: &Form,
    short: &Shift<Counted>,
    inner: &S,
    u: &[Counted],
) -> Result<(), Error> {
    let filtered = || Ok::<_, Error>(form.respond(short, u, None)?.output);
    let (x2, x1, v) = (filtered()?, filtered()?, filtered()?);
    let y = form.respond(inner, &products(&x1, &v), None)?.output;
    let _ = products(&x2, &y);
    Ok(())
}

fn print(title: &str, rows: &[Row], table: &mut String) {
    let _ = writeln!(table, "{title}");
    let _ = writeln!(
        table,
        "  {:<20}{:>10}{:>10}{:>8}{:>8}   formula",
        "form", "*", "+", "/", "exp"
    );
    for row in rows {
        let OperationCount {
            multiplications,
            additions,
            divisions,
            functions,
        } = row.counted;
        let same = if row.counted == row.formula {
            "the same"
        } else {
            "DIFFERS"
        };
        let _ = writeln!(
            table,
            "  {:<20}{multiplications:>10}{additions:>10}{divisions:>8}{functions:>8}   {same}",
            row.name
        );
    }
    let _ = writeln!(table);
}

/// The table of the chapter.
pub(crate) fn report() -> Result<String, Error> {
    let mut table = String::new();
    let (n, chunk) = (256, 32);
    let diagonal = models(Structure::Diagonal(8), n, chunk)?;
    print(
        "one diagonal model, N = 256, 8 modes, chunks of 32",
        &diagonal,
        &mut table,
    );
    let shift = models(Structure::Shift(16), n, chunk)?;
    print(
        "one shift model, N = 256, m = 16, chunks of 32",
        &shift,
        &mut table,
    );
    let heads = attentions(64, 16, 16)?;
    print(
        "one head of 16 channels, or one channel of Hyena, N = 64",
        &heads,
        &mut table,
    );
    let layers = layers(4, 1, 16, n, chunk)?;
    print(
        "an H3 layer, N = 256, d = 4, d_h = 1, m = 16, chunks of 32",
        &layers,
        &mut table,
    );
    let shape = cost::SsdShape {
        seq_len: n,
        inputs: 16,
        state: 16,
    };
    print(
        "one head of SSD, L = 256, P = 16, N = 16, chunks of 32",
        &ssd(shape, chunk)?,
        &mut table,
    );
    print(
        "operators, L = 256: of 8 modes (hcl) or 16 taps (hcm) one channel, chunks of 32",
        &operators(n, chunk)?,
        &mut table,
    );
    Ok(table)
}

fn main() -> Result<(), Error> {
    print!("{}", report()?);
    Ok(())
}
