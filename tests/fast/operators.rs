//! Gated long convolutions, the H3 operator and those of StripedHyena against their definitions.

use crate::common::{assert_close, data, golden_file};
use crate::support::{assert_within, share_used, signal, transform_bound};
use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{
    Element, H3Kernels, H3Operator, Level, LongConvolution, Panels, StripedFilter, StripedOperator,
    StripedParameters, Workspace,
};
use hungry_hippos::safetensors::SafeTensors;
use hungry_hippos::ssm::causal_convolution;
use num_complex::Complex;

/// A number with how far a computed one may be from it, one for every step.
#[derive(Clone)]
struct Bounded {
    values: Vec<f64>,
    bounds: Vec<f64>,
}

impl Bounded {
    /// Inputs, which are what they are.
    fn exact<T: Element>(values: impl Iterator<Item = T>) -> Self {
        let values: Vec<f64> = values.map(|x| x.to_f64()).collect();
        let bounds = vec![0.0; values.len()];
        Self { values, bounds }
    }

    /// Step by step: `value` of both values, and a bound from both values and bounds.
    fn zip(&self, other: &Self, value: impl Fn(f64, f64) -> f64, unit: f64) -> Self {
        let pairs = || (0..self.values.len()).map(|t| (self.at(t), other.at(t)));
        Self {
            values: pairs().map(|((a, _), (b, _))| value(a, b)).collect(),
            bounds: pairs()
                .map(|((a, of_a), (b, of_b))| {
                    let product = (a.abs() + of_a) * (b.abs() + of_b) - a.abs() * b.abs();
                    product * (1.0 + unit) + unit * value(a, b).abs()
                })
                .collect(),
        }
    }

    fn at(&self, t: usize) -> (f64, f64) {
        (self.values[t], self.bounds[t])
    }

    fn times<T: Element>(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a * b, T::UNIT_ROUNDOFF)
    }

    fn plus<T: Element>(mut self, other: &Self) -> Self {
        for t in 0..self.values.len() {
            let (value, bound) = other.at(t);
            self.values[t] += value;
            self.bounds[t] += bound + T::UNIT_ROUNDOFF * self.values[t].abs();
        }
        self
    }

    /// Convolved with `f`, `d` added to its first tap: by a transform of so many points, or, with none,
    /// as a sum of products in any order.
    fn convolved<T: Element>(&self, f: &[f64], d: f64, points: Option<usize>) -> Self {
        let mut f = f[..f.len().min(self.values.len())].to_vec();
        f.resize(f.len().max(1), 0.0);
        // A bound for both taps apart.
        let mut wide: Vec<f64> = f.iter().map(|f| f.abs()).collect();
        f[0] += d;
        wide[0] += d.abs();
        let size: Vec<f64> = self.values.iter().map(|x| x.abs()).collect();
        let sums = causal_convolution(&wide, &size);
        let carried = causal_convolution(&wide, &self.bounds);
        // Taps rounded, products and sums: here and in the reference.
        let unit = (2 * f.len() + 8) as f64 * 2.0 * T::UNIT_ROUNDOFF;
        let transforms = points.map(|n| transform_bound::<T>(n, &wide, &size));
        let bound = |t: usize| match &transforms {
            Some(bounds) => 1.1 * bounds[t],
            None => unit * sums[t],
        };
        Self {
            values: causal_convolution(&f, &self.values),
            bounds: (0..size.len())
                .map(|t| 1.01 * carried[t] + bound(t))
                .collect(),
        }
    }

    /// Holds `got` against it, and shows that it would refuse what is a step late, or off by a thousandth.
    fn hold<T: Element>(&self, what: &str, got: &[T]) -> f64 {
        assert_within(what, got, &self.values, &self.bounds);
        if self.values.len() > 2 && self.values.iter().any(|&x| x != 0.0) {
            let mut late = self.values.clone();
            late.rotate_right(1);
            assert!(share_used(got, &late, &self.bounds) > 1.0, "{what}");
            let off: Vec<f64> = self.values.iter().map(|x| 1.001 * x).collect();
            assert!(share_used(got, &off, &self.bounds) > 1.0, "{what}");
        }
        share_used(got, &self.values, &self.bounds)
    }
}

/// One channel of row-major signals (batch, seq_len, channels).
fn channel<T: Element>(
    x: &[T],
    [len, channels]: [usize; 2],
    [b, c]: [usize; 2],
) -> impl Iterator<Item = T> {
    (0..len).map(move |t| x[(b * len + t) * channels + c])
}

fn poisoned<T: Element>(like: &Panels<T>) -> Panels<T> {
    let nan = vec![T::from_f64(f64::NAN); like.batch() * like.seq_len() * like.channels()];
    Panels::from_rows(like.batch(), like.seq_len(), like.channels(), &nan).unwrap()
}

fn gated<T: Element>(level: Level, shape: [usize; 4], with: [bool; 3], seed: u64) -> f64 {
    let [batch, channels, taps, len] = shape;
    let rng = &mut Rng::new(seed);
    let [u, pre, post] = [(); 3].map(|()| signal::<T>(batch * len * channels, rng));
    let (k, d) = (
        signal::<T>(taps * channels, rng),
        signal::<T>(channels, rng),
    );
    let panels = |x: &[T]| Panels::from_rows(batch, len, channels, x).unwrap();
    let [of_u, of_pre, of_post] = [&u, &pre, &post].map(|x| panels(x));
    let kernels = Panels::from_rows(1, taps, channels, &k).unwrap();
    let mut convolution = LongConvolution::<T>::new(level, channels, len);
    let mut run = |threads: usize| {
        let workspace = &mut Workspace::new(threads).sharing_all();
        let mut y = poisoned(&of_u);
        let d = with[0].then_some(&d[..]);
        let set = convolution.set_kernels_and_feedthrough(&kernels, d, workspace);
        set.unwrap();
        let gates = [with[1].then_some(&of_pre), with[2].then_some(&of_post)];
        convolution
            .run_gated(&of_u, gates, &mut y, workspace)
            .unwrap();
        y.to_rows()
    };
    let y = run(1);
    assert_eq!(y, run(2), "threads");
    let mut worst: f64 = 0.0;
    for b in 0..batch {
        for c in 0..channels {
            let of = |x: &[T]| Bounded::exact(channel(x, [len, channels], [b, c]));
            let f: Vec<f64> = channel(&k, [taps, channels], [0, c])
                .map(|x| x.to_f64())
                .collect();
            let d = if with[0] { d[c].to_f64() } else { 0.0 };
            let mut p = of(&u);
            if with[1] {
                p = p.times::<T>(&of(&pre));
            }
            let mut want = p.convolved::<T>(&f, d, Some(convolution.points()));
            if with[2] {
                want = want.times::<T>(&of(&post));
            }
            let got: Vec<T> = channel(&y, [len, channels], [b, c]).collect();
            worst = worst.max(want.hold(&format!("{level}, {shape:?}, {with:?}"), &got));
        }
    }
    worst
}

#[test]
fn gated_convolutions_at_every_level() {
    for level in Level::all() {
        for [taps, len] in [[1, 1], [0, 9], [33, 17], [17, 33], [97, 97], [300, 1000]] {
            for bits in 0..8 {
                let with = [0, 1, 2].map(|bit| bits >> bit & 1 == 1);
                gated::<f32>(level, [2, 3, taps, len], with, 1);
                let used = gated::<f64>(level, [1, 17, taps, len], with, 2);
                assert!(used < 0.5, "the bound is nearly used up: {used}");
            }
        }
    }
}

/// Rows of a layer's order of channels, by head channel and head.
fn of_heads(head_dim: usize) -> impl Fn(usize, usize) -> usize + Copy {
    move |i, head| head * head_dim + i
}

fn run_h3<T: Element>(
    level: Level,
    kernels: &H3Kernels,
    [batch, len]: [usize; 2],
    signals: [&[T]; 3],
    threads: usize,
) -> Vec<T> {
    let (heads, d_h) = (kernels.heads, kernels.head_dim);
    let [q, k, v] = signals.map(|x| {
        let mut panels = Panels::zeros(batch * d_h, len, heads);
        panels.read_parts(d_h, of_heads(d_h), x).unwrap();
        panels
    });
    let operator = H3Operator::<T>::new(level, kernels, len).unwrap();
    let workspace = &mut Workspace::new(threads).sharing_all();
    let mut y = poisoned(&q);
    operator.run([&q, &k, &v], &mut y, workspace).unwrap();
    let mut rows = vec![T::from_f64(f64::NAN); batch * len * heads * d_h];
    y.write_parts(d_h, of_heads(d_h), &mut rows).unwrap();
    rows
}

fn h3<T: Element>(level: Level, shape: [usize; 6], seed: u64) -> f64 {
    let [batch, heads, d_h, shift_taps, taps, len] = shape;
    let d = heads * d_h;
    let rng = &mut Rng::new(seed);
    let [q, k, v] = [(); 3].map(|()| signal::<T>(batch * len * d, rng));
    let mut of = |size: usize| (0..size).map(|_| rng.unit()).collect::<Vec<f64>>();
    let kernels = H3Kernels {
        heads,
        head_dim: d_h,
        ssm: of(heads * taps),
        d: of(heads),
        shift: of(d * shift_taps),
        shift_d: if shift_taps > 0 { of(d) } else { Vec::new() },
    };
    let y = run_h3(level, &kernels, [batch, len], [&q, &k, &v], 1);
    let again = run_h3(level, &kernels, [batch, len], [&q, &k, &v], 2);
    assert_eq!(y, again, "threads");
    let points = |taps: usize| {
        let convolution = LongConvolution::<T>::with_taps(level, heads, len, taps);
        Some(convolution.points())
    };
    let mut worst: f64 = 0.0;
    for b in 0..batch {
        for c in 0..d {
            let (h, d2) = (c / d_h, c % d_h);
            let of = |x: &[T], i: usize| Bounded::exact(channel(x, [len, d], [b, h * d_h + i]));
            let mut sum: Option<Bounded> = None;
            for d1 in 0..d_h {
                let row = h * d_h + d1;
                let mut key = of(&k, d1);
                if shift_taps > 0 {
                    let f = &kernels.shift[row * shift_taps..][..shift_taps];
                    key = key.convolved::<T>(f, kernels.shift_d[row], points(shift_taps));
                }
                let f = &kernels.ssm[h * taps..][..taps];
                let kv = key.times::<T>(&of(&v, d2));
                let out = kv.convolved::<T>(f, kernels.d[h], points(taps));
                let term = of(&q, d1).times::<T>(&out);
                sum = Some(match sum {
                    None => term,
                    Some(sum) => sum.plus::<T>(&term),
                });
            }
            let got: Vec<T> = channel(&y, [len, d], [b, c]).collect();
            let what = format!("{level}, {shape:?}, channel {c}");
            worst = worst.max(sum.expect("a head").hold(&what, &got));
        }
    }
    worst
}

#[test]
fn h3_operators_at_every_level() {
    for level in Level::all() {
        for shape in [
            // One of everything; lanes to spare, more than full; no shift; kernels longer than the sequence.
            [1, 1, 1, 1, 1, 1],
            [2, 3, 1, 4, 20, 17],
            [1, 17, 1, 0, 30, 33],
            [2, 2, 3, 5, 97, 61],
            [1, 9, 2, 150, 40, 100],
        ] {
            h3::<f32>(level, shape, 3);
            let used = h3::<f64>(level, shape, 4);
            assert!(used < 0.5, "the bound is nearly used up: {used}");
        }
    }
}

/// A case file, channels by channels.
fn tensor(file: &SafeTensors, name: &str) -> (Vec<usize>, Vec<f64>) {
    let tensor = file.tensor(name).unwrap();
    (tensor.shape.to_vec(), tensor.to_f64().unwrap())
}

/// (batch, channels, seq_len) as (batch, seq_len, channels).
fn rows_of((shape, x): &(Vec<usize>, Vec<f64>)) -> Vec<f64> {
    let [batch, channels, len] = shape[..] else {
        panic!("three axes")
    };
    let at =
        |i: usize| x[(i / channels / len * channels + i % channels) * len + i / channels % len];
    (0..batch * channels * len).map(at).collect()
}

/// What the official code computed, of a convolution, and of the H3 operator with a kernel beyond the sequence.
#[test]
fn official_numbers_are_met() {
    let level = Level::detect();
    let file = SafeTensors::open(&data("conv-c3-gated-D-K41-L23")).unwrap();
    let of = |name: &str| rows_of(&tensor(&file, name));
    let (shape, k) = tensor(&file, "k");
    let k = rows_of(&([&[1][..], &shape[..]].concat(), k));
    let panels = |name: &str| Panels::from_rows(2, 23, 3, &of(name)).unwrap();
    let mut convolution = LongConvolution::<f64>::new(level, 3, 23);
    let workspace = &mut Workspace::new(1);
    let (kernels, d) = (
        Panels::from_rows(1, 41, 3, &k).unwrap(),
        tensor(&file, "D").1,
    );
    let set = convolution.set_kernels_and_feedthrough(&kernels, Some(&d), workspace);
    set.unwrap();
    let (pre, post, mut y) = (panels("pregate"), panels("postgate"), panels("u"));
    convolution
        .run_gated(&panels("u"), [Some(&pre), Some(&post)], &mut y, workspace)
        .unwrap();
    assert_close("y", &y.to_rows(), &of("y"), 1e-13);
    // Without its second gate it is another function.
    convolution
        .run_gated(&panels("u"), [Some(&pre), None], &mut y, workspace)
        .unwrap();
    assert!(crate::common::close("y", &y.to_rows(), &of("y"), 1e-2).is_err());

    let file = SafeTensors::open(&data("h3op-o4-hd2-shift-L19-K12")).unwrap();
    let of = |name: &str| rows_of(&tensor(&file, name));
    let values = |name: &str| tensor(&file, name).1;
    let kernels = H3Kernels {
        heads: 3,
        head_dim: 2,
        ssm: values("ssm_kernel"),
        d: values("D"),
        shift: values("shift_kernel"),
        shift_d: values("ssm_k_D"),
    };
    let y = run_h3(level, &kernels, [2, 19], [&of("q"), &of("k"), &of("v")], 1);
    assert_close("gated", &y, &of("gated"), 1e-13);
}

/// A StripedHyena case of the suite: its operator, its projections, and the channel of each.
struct Striped {
    parameters: StripedParameters,
    file: SafeTensors,
    /// Layout, whether the gates are exchanged, heads.
    layout: (String, bool, usize),
}

impl Striped {
    fn open(name: &str) -> Self {
        let file = SafeTensors::open(&golden_file(name)).unwrap();
        let text = |key: &str| file.metadata()[key].clone();
        let layout = (
            text("layout"),
            text("hyena_flip_x1x2") == "true",
            text("num_attention_heads").parse().unwrap(),
        );
        let (shape, _) = tensor(&file, "input");
        let channels = shape[2];
        let optional = |name: &str| file.get(name).map_or(Vec::new(), |_| tensor(&file, name).1);
        let complex = |name: &str| -> Vec<Complex<f64>> {
            let values = tensor(&file, name).1;
            let pairs = values.as_chunks::<2>().0;
            pairs.iter().map(|&[re, im]| Complex::new(re, im)).collect()
        };
        let values = |name: &str| tensor(&file, name).1;
        let (groups, filter) = match &text("operator")[..] {
            "sh1" => (
                "filter.residues",
                StripedFilter::Sh1 {
                    poles: complex("filter.poles"),
                    residues: complex("filter.residues"),
                },
            ),
            "hcl" => (
                "filter.residues",
                StripedFilter::Hcl {
                    log_poles: values("filter.log_poles"),
                    residues: values("filter.residues"),
                },
            ),
            "hcm" => ("filter.h", StripedFilter::Hcm(values("filter.h"))),
            _ => ("filter.h", StripedFilter::Hcs(values("filter.h"))),
        };
        let mut case = Self {
            parameters: StripedParameters {
                channels,
                short: Vec::new(),
                short_bias: Vec::new(),
                groups: tensor(&file, groups).0[0],
                filter,
                d: optional("filter.D"),
            },
            layout,
            file,
        };
        // The short filters lie in the order of the projections.
        let of_parts = |name: &str| -> Vec<f64> {
            let Some(tensor) = case.file.get(name) else {
                return Vec::new();
            };
            let values = tensor.to_f64().unwrap();
            let each = values.len() / (3 * channels);
            let channels = (0..3).flat_map(|p| (0..channels).map(move |c| (p, c)));
            let rows = channels.map(|(p, c)| &values[case.place(p, c) * each..][..each]);
            rows.flatten().copied().collect()
        };
        let (short, bias) = (
            of_parts("filter.short_filter_weight"),
            of_parts("filter.short_filter_bias"),
        );
        (case.parameters.short, case.parameters.short_bias) = (short, bias);
        case
    }

    /// Where the projections hold channel `c` of x2, x1 or v.
    fn place(&self, part: usize, c: usize) -> usize {
        let (layout, flip, heads) = &self.layout;
        let (part, d) = (
            if *flip { [1, 0, 2][part] } else { part },
            self.parameters.channels,
        );
        match &layout[..] {
            "split" => part * d + c,
            "interleave" => 3 * c + part,
            _ => (c / (d / heads) * 3 + part) * (d / heads) + c % (d / heads),
        }
    }
}

/// The certified cases of all four operators, outputs and states, in one call and in three.
#[test]
fn striped_hyena_is_met() {
    fn met<T: Element>(name: &str, bound: f64) {
        let case = Striped::open(name);
        let (shape, projected) = tensor(&case.file, "projected");
        let (batch, len, d) = (shape[0], shape[1], shape[2] / 3);
        let projected: Vec<T> = projected.iter().map(|&x| T::from_f64(x)).collect();
        for level in Level::all() {
            let operator = StripedOperator::<T>::new(level, &case.parameters).unwrap();
            let mut state = operator.zero_state(batch);
            let workspace = &mut Workspace::new(2).sharing_all();
            let mut gated = vec![T::ZERO; batch * len * d];
            for steps in [0..5, 5..6, 6..len] {
                let count = steps.len();
                let rows = (0..batch).flat_map(|b| {
                    let first = b * len + steps.start;
                    projected[first * 3 * d..(first + count) * 3 * d].to_vec()
                });
                let rows: Vec<T> = rows.collect();
                let mut z = Panels::zeros(3 * batch, count, d);
                z.read_parts(3, |p, c| case.place(p, c), &rows).unwrap();
                let mut y = poisoned(&Panels::zeros(batch, count, d));
                operator.run(&z, &mut state, &mut y, workspace).unwrap();
                let y = y.to_rows();
                for b in 0..batch {
                    let to = (b * len + steps.start) * d;
                    gated[to..to + count * d].copy_from_slice(&y[b * count * d..][..count * d]);
                }
            }
            let what = format!("{name}, {level}");
            let gated: Vec<f64> = gated.iter().map(|x| x.to_f64()).collect();
            let want = tensor(&case.file, "gated").1;
            let size = want.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            assert_close(&what, &gated, &want, bound * size);
            // The states that decoding goes on from.
            let (shape, fir) = tensor(&case.file, "state.fir");
            for (i, want) in fir.iter().enumerate() {
                let (back, at, b) = (i % shape[2], i / shape[2] % (3 * d), i / shape[2] / (3 * d));
                let (p, c) = (0..3)
                    .flat_map(|p| (0..d).map(move |c| (p, c)))
                    .find(|&(p, c)| case.place(p, c) == at)
                    .unwrap();
                let got = operator.projection_before(&state, [b, p, c], shape[2] - 1 - back);
                assert_eq!(got.map(|x| x.to_f64() as f32), Some(*want as f32), "{what}");
            }
            let parts = |name: &str| case.file.get(name).map(|_| tensor(&case.file, name));
            let modes = parts("state.iir");
            let (shape, want) = modes.or_else(|| parts("state.fir_inner")).unwrap();
            let complex = shape.len() == 4;
            let newest_first = case.file.get("state.iir").is_none();
            let each = shape[2];
            let got = (0..batch * d * each).flat_map(|i| {
                let n = if newest_first {
                    each - 1 - i % each
                } else {
                    i % each
                };
                let part = operator.inner_part(&state, [i / each / d, i / each % d], n);
                let part = part.unwrap();
                let parts = [part.re.to_f64(), part.im.to_f64()];
                parts.into_iter().take(1 + usize::from(complex))
            });
            let got: Vec<f64> = got.collect();
            let size = want.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            assert_close(&format!("{what}, state"), &got, &want, bound * size);
        }
    }
    for name in ["96-sh1", "97-hcl", "98-hcm", "99-hcs"] {
        met::<f64>(name, 1e-14);
        met::<f32>(name, 5e-6);
    }
}

/// Filters of every kind over lengths at and around where pieces end, channels that fill lanes or do not,
/// against their definitions.
fn striped<T: Element>(level: Level, filter: &str, [channels, len]: [usize; 2], seed: u64) -> f64 {
    let rng = &mut Rng::new(seed);
    let z = signal::<T>(len * 3 * channels, rng);
    let mut of = |size: usize| (0..size).map(|_| rng.unit()).collect::<Vec<f64>>();
    let taps = match filter {
        "hcl" => 4,
        "hcm" => 128,
        _ => 7,
    };
    let given = of(channels * taps);
    let logs: Vec<f64> = of(channels * taps)
        .iter()
        .map(|x| 0.05 * x - 0.06)
        .collect();
    let row = |x: &[f64], c: usize| x[c * taps..(c + 1) * taps].to_vec();
    let parameters = StripedParameters {
        channels,
        short: of(9 * channels),
        short_bias: of(3 * channels),
        groups: channels,
        filter: match filter {
            "hcl" => StripedFilter::Hcl {
                log_poles: logs.clone(),
                residues: given.clone(),
            },
            "hcm" => StripedFilter::Hcm(given.clone()),
            _ => StripedFilter::Hcs(given.clone()),
        },
        d: of(channels),
    };
    let operator = StripedOperator::<T>::new(level, &parameters).unwrap();
    let mut panels = Panels::zeros(3, len, channels);
    panels.read_parts(3, |p, c| p * channels + c, &z).unwrap();
    let run = |threads: usize| {
        let mut y = poisoned(&Panels::zeros(1, len, channels));
        let workspace = &mut Workspace::new(threads).sharing_all();
        let state = &mut operator.zero_state(1);
        operator.run(&panels, state, &mut y, workspace).unwrap();
        y.to_rows()
    };
    let y = run(1);
    assert_eq!(y, run(2), "threads");
    let mut worst: f64 = 0.0;
    // The last channels are those that do not fill their lanes.
    for c in channels.saturating_sub(2)..channels {
        let short = |p: usize| {
            let at = p * channels + c;
            let taps: Vec<f64> = parameters.short[3 * at..][..3]
                .iter()
                .rev()
                .copied()
                .collect();
            let bias = Bounded::exact((0..len).map(|_| T::from_f64(parameters.short_bias[at])));
            let z = Bounded::exact(channel(&z, [len, 3 * channels], [0, at]));
            let rounded = Bounded {
                bounds: bias
                    .values
                    .iter()
                    .map(|b| b.abs() * T::UNIT_ROUNDOFF)
                    .collect(),
                values: vec![parameters.short_bias[at]; len],
            };
            z.convolved::<T>(&taps, 0.0, None).plus::<T>(&rounded)
        };
        let p = short(1).times::<T>(&short(2));
        let (kernel, points) = match filter {
            "hcl" => {
                let (logs, residues) = (row(&logs, c), row(&given, c));
                let at = |t: usize| -> f64 {
                    let modes = logs.iter().zip(&residues);
                    modes.map(|(l, r)| r * (l * t as f64).exp()).sum()
                };
                ((0..len).map(at).collect(), None)
            }
            "hcm" => {
                let all = usize::MAX;
                let convolution = LongConvolution::<T>::with_taps(level, 1, all, taps);
                // A transform takes part of what is long, and no transform what is short.
                let points = (len >= taps).then(|| convolution.points());
                (row(&given, c), points)
            }
            _ => (row(&given, c).into_iter().rev().collect::<Vec<f64>>(), None),
        };
        let filtered = match points {
            // Pieces and the parts of transforms do not end together.
            Some(n) => {
                let mut filtered = p.convolved::<T>(&kernel, parameters.d[c], Some(len.max(n)));
                let direct = p.convolved::<T>(&kernel, parameters.d[c], None);
                for (bound, more) in filtered.bounds.iter_mut().zip(direct.bounds) {
                    *bound += more;
                }
                filtered
            }
            None => p.convolved::<T>(&kernel, parameters.d[c], None),
        };
        let want = short(0).times::<T>(&filtered);
        let got: Vec<T> = channel(&y, [len, channels], [0, c]).collect();
        worst = worst.max(want.hold(&format!("{level}, {filter}, {len} steps"), &got));
    }
    worst
}

#[test]
fn striped_hyena_at_every_level() {
    for level in Level::all() {
        for (filter, shape) in [
            ("hcs", [1, 1]),
            ("hcs", [18, 100]),
            ("hcs", [3, 1030]),
            ("hcm", [3, 90]),
            ("hcm", [17, 300]),
            ("hcl", [5, 17]),
            ("hcl", [17, 1040]),
        ] {
            striped::<f32>(level, filter, shape, 5);
            let used = striped::<f64>(level, filter, shape, 6);
            assert!(used < 0.5, "{filter}: the bound is nearly used up: {used}");
        }
    }
    // Beyond a piece of transforms.
    striped::<f32>(Level::detect(), "hcm", [1, 8300], 7);
}

#[test]
fn wrong_shapes_are_refused() {
    let (level, workspace) = (Level::detect(), &mut Workspace::new(1));
    let zeros = |batch, len, channels| Panels::<f32>::zeros(batch, len, channels);
    let mut convolution = LongConvolution::<f32>::new(level, 3, 8);
    let error = convolution
        .set_kernels_and_feedthrough(&zeros(1, 8, 3), Some(&[0.0; 4]), workspace)
        .unwrap_err();
    assert!(error.to_string().contains('D'), "{error}");
    let gate = zeros(1, 8, 2);
    for gates in [[Some(&gate), None], [None, Some(&gate)]] {
        let done = convolution.run_gated(&zeros(1, 8, 3), gates, &mut zeros(1, 8, 3), workspace);
        assert!(done.unwrap_err().to_string().contains("gate"));
    }
    let kernels = H3Kernels {
        heads: 2,
        head_dim: 2,
        ssm: vec![0.0; 10],
        d: vec![0.0; 2],
        shift: vec![0.0; 12],
        shift_d: vec![0.0; 4],
    };
    let operator = H3Operator::<f32>::new(level, &kernels, 8).unwrap();
    let x = zeros(2, 8, 2);
    assert!(
        operator
            .run([&x, &x, &x], &mut zeros(2, 8, 2), workspace)
            .is_ok()
    );
    for [q, y] in [
        [(2, 8, 3), (2, 8, 2)],
        [(2, 9, 2), (2, 9, 2)],
        [(2, 8, 2), (3, 8, 2)],
    ] {
        let [q, mut y] = [q, y].map(|(batch, len, heads)| zeros(batch, len, heads));
        assert!(operator.run([&q, &q, &q], &mut y, workspace).is_err());
    }
    for change in [
        |k: &mut H3Kernels| k.ssm.truncate(9),
        |k: &mut H3Kernels| k.shift.truncate(11),
        |k: &mut H3Kernels| k.shift_d.truncate(3),
        |k: &mut H3Kernels| k.d.truncate(1),
    ] {
        let mut kernels = kernels.clone();
        change(&mut kernels);
        assert!(H3Operator::<f32>::new(level, &kernels, 8).is_err());
    }
    let parameters = StripedParameters {
        channels: 4,
        short: vec![0.0; 36],
        short_bias: Vec::new(),
        groups: 2,
        filter: StripedFilter::Hcs(vec![0.0; 14]),
        d: Vec::new(),
    };
    let operator = StripedOperator::<f32>::new(level, &parameters).unwrap();
    let mut run = |z: &Panels<f32>, batch: usize| {
        let state = &mut operator.zero_state(batch);
        operator.run(z, state, &mut zeros(1, 8, 4), workspace)
    };
    assert!(run(&zeros(3, 8, 4), 1).is_ok());
    assert!(run(&zeros(3, 8, 4), 2).is_err());
    assert!(run(&zeros(2, 8, 4), 1).is_err());
    for change in [
        |p: &mut StripedParameters| p.groups = 3,
        |p: &mut StripedParameters| p.short.truncate(35),
        |p: &mut StripedParameters| p.short_bias = vec![0.0; 11],
        |p: &mut StripedParameters| p.d = vec![0.0; 3],
        |p: &mut StripedParameters| p.filter = StripedFilter::Hcs(vec![0.0; 13]),
    ] {
        let mut parameters = parameters.clone();
        change(&mut parameters);
        assert!(StripedOperator::<f32>::new(level, &parameters).is_err());
    }
}
