//! One dense model: right ports pass in every form, mistakes are refused and named.

use super::{committed_one, dumped, first_finding, judge};
use crate::common::golden_file;
use hungry_hippos::algebra::{Matrix, Real, Rng, RootsOfUnity, Scalar};
use hungry_hippos::flashconv::{Chunking, Convention, MatrixSet};
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Case, Format, Golden, Report};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use hungry_hippos::ssm::{Dense, StateSpace};
use hungry_hippos::{Error, Tensor};
use std::path::Path;

/// A golden file of the suite, and what a port reads from it.
struct Given {
    golden: Golden,
    ssm: Dense<f64>,
    input: Tensor<f64>,
    initial: Vec<f64>,
}

fn given(name: &str) -> Given {
    let file = SafeTensors::open(&golden_file(name)).expect("a file");
    let of = |name: &str| file.tensor(name).and_then(|t| t.to_f64()).expect("there");
    let m = of("ssm.B").len();
    let a = Matrix::new(m, m, of("ssm.A")).expect("square");
    let shape = file.tensor("input").expect("there").shape.to_vec();
    Given {
        golden: committed_one(name),
        ssm: Dense::new(a, of("ssm.B"), of("ssm.C"), of("ssm.D")[0]).expect("fits"),
        initial: match file.get("initial_x") {
            Some(x) => x.to_f64().expect("floats"),
            None => vec![0.0; shape[0] * m],
        },
        input: Tensor::new(shape, of("input")).expect("fits"),
    }
}

impl Given {
    /// Judges a port: its kernel, and what it makes of a sequence from a state.
    fn judge<T: Real>(
        &self,
        format: Format,
        kernel: &[T],
        run: impl Fn(&[T], &[T]) -> (Vec<T>, Vec<T>),
    ) -> Report {
        let (len, m) = (self.input.shape()[1], self.ssm.state_dim());
        let (mut output, mut state) = (Vec::new(), Vec::new());
        for (u, x0) in self.input.data().chunks(len).zip(self.initial.chunks(m)) {
            let number = |x: &[f64]| x.iter().map(|&x| T::from_f64(x)).collect::<Vec<_>>();
            let (y, x) = run(&number(u), &number(x0));
            output.extend(y.iter().map(|y| y.to_f64()));
            state.extend(x.iter().map(|x| x.to_f64()));
        }
        let kernel: Vec<f64> = kernel.iter().map(|f| f.to_f64()).collect();
        let output = Tensor::new([self.initial.len() / m, len], output).expect("fits");
        let state = Tensor::new([self.initial.len() / m, m], state).expect("fits");
        let kernel = Tensor::new([len], kernel).expect("fits");
        let stages = [
            ("kernel", &kernel),
            ("output", &output),
            ("final_x", &state),
        ];
        let dtype = match format.name() {
            "f32" => Dtype::F32,
            _ => Dtype::F64,
        };
        judge(&self.golden, &dumped(&stages, dtype), format)
    }

    fn in_every_form<T>(&self, format: Format)
    where
        T: Real,
        <T as Scalar>::Complex: RootsOfUnity,
    {
        let ssm = self.ssm.map(T::from_f64);
        let kernel = ssm.kernel(self.input.shape()[1]);
        for form in [
            Form::Recurrence,
            Form::Scan,
            Form::Toeplitz,
            Form::Convolution,
            Form::Fft,
            Form::FlashConv(Chunking::Uniform(7)),
        ] {
            let report = self.judge(format, &kernel, |u, x0| {
                let response = form.respond(&ssm, u, Some(x0)).expect("fits");
                (response.output, response.state)
            });
            assert!(
                report.pass(),
                "{form}, {}: {:?}",
                format.name(),
                report.stages
            );
        }
    }
}

#[test]
fn right_ports_of_a_dense_model_pass() {
    for name in ["42-dense", "43-dense-resumed"] {
        let given = given(name);
        given.in_every_form::<f64>(Format::F64);
        given.in_every_form::<f32>(Format::F32);
    }
}

#[test]
fn mistakes_with_a_dense_model_are_refused_and_named() {
    for (case, format) in [
        ("42-dense", Format::F64),
        ("42-dense", Format::F32),
        ("43-dense-resumed", Format::F32),
    ] {
        let given = given(case);
        let (ssm, len) = (&given.ssm, given.input.shape()[1]);
        let kernel = ssm.kernel(len);
        let right = |u: &[f64], x0: &[f64]| {
            let response = Form::Recurrence.respond(ssm, u, Some(x0)).expect("fits");
            (response.output, response.state)
        };
        let named = |name: &str, report: &Report| {
            assert_eq!(suspects(report).first(), Some(&name), "{case}: {report}");
        };
        let early = given.judge(format, &kernel, |u, x0| {
            let chunks = Chunking::Uniform(8);
            let y = MatrixSet::EarlyRows.outputs(ssm, u, Some(x0), &chunks);
            (y.expect("fits"), right(u, x0).1)
        });
        named("mxy_one_early", &early);
        let mut delayed = kernel.clone();
        delayed.insert(0, 0.0);
        let before = given.judge(format, &delayed[..len], |u, x0| {
            let y = Convention::ReadsBefore.recurrence(ssm, u, Some(x0));
            (y.expect("fits"), right(u, x0).1)
        });
        named("kernel_delay", &before);
        let skipped = given.judge(format, &kernel, |u, x0| {
            let (y, x) = right(u, x0);
            let d = ssm.feedthrough();
            (y.iter().zip(u).map(|(y, u)| y - d * u).collect(), x)
        });
        named("no_d", &skipped);
        if case.ends_with("resumed") {
            let ignored = given.judge(format, &kernel, |u, x0| right(u, &vec![0.0; x0.len()]));
            named("initial_state_ignored", &ignored);
        }
        // In no catalogue: A transposed. Refused, and said where.
        let transposed = Matrix::from_fn(5, 5, |i, j| {
            let unit: Vec<f64> = (0..5).map(|k| f64::from(u8::from(k == i))).collect();
            ssm.advance(&unit, 1)[j]
        });
        let zero = vec![0.0; 5];
        let b = ssm.input_to_state(&[1.0]);
        let c: Vec<f64> = (0..5)
            .map(|n| {
                let mut unit = zero.clone();
                unit[n] = 1.0;
                ssm.read(&unit)
            })
            .collect();
        let other = Dense::new(transposed, b, c, ssm.feedthrough()).expect("fits");
        let report = given.judge(format, &other.kernel(len), |u, x0| {
            let response = Form::Recurrence.respond(&other, u, Some(x0)).expect("fits");
            (response.output, response.state)
        });
        assert_eq!(first_finding(&report).stage, "kernel");
        assert!(suspects(&report).is_empty());
    }
}

/// The golden file of a model, its inputs and its states.
fn certify(
    ssm: &Dense<f64>,
    input: &Tensor<f64>,
    initial: Option<&Tensor<f64>>,
) -> Result<Golden, Error> {
    let m = ssm.state_dim();
    let (a, skip) = (ssm.a().entries(), [ssm.feedthrough()]);
    let mut writer = Writer::new();
    writer.metadata("kind", "dense-ssm")?;
    writer.add("ssm.A", Dtype::F64, &[m, m], a)?;
    writer.add("ssm.B", Dtype::F64, &[m], ssm.b())?;
    writer.add("ssm.C", Dtype::F64, &[m], ssm.c())?;
    writer.add("ssm.D", Dtype::F64, &[1], &skip)?;
    writer.add("input", Dtype::F64, input.shape(), input.data())?;
    if let Some(x) = initial {
        writer.add("initial_x", Dtype::F64, x.shape(), x.data())?;
    }
    Golden::read(&SafeTensors::from_bytes(writer.to_bytes()?)?)
}

/// A model of `m` modes that fade, certified over two sequences of `len` from states.
fn random(m: usize, len: usize, seed: u64) -> Given {
    let rng = &mut Rng::new(seed);
    let mut numbers =
        |count: usize, size: f64| -> Vec<f64> { (0..count).map(|_| size * rng.unit()).collect() };
    let a = Matrix::new(m, m, numbers(m * m, 1.2 / m as f64)).expect("square");
    let ssm = Dense::new(a, numbers(m, 1.0), numbers(m, 1.0), 0.75).expect("fits");
    let input = Tensor::new([2, len], numbers(2 * len, 1.0)).expect("fits");
    let initial = Tensor::new([2, m], numbers(2 * m, 1.0)).expect("fits");
    let golden = certify(&ssm, &input, Some(&initial));
    Given {
        golden: golden.expect("decided"),
        ssm,
        input,
        initial: initial.into_data(),
    }
}

/// The state of every step, in plain loops.
fn states(ssm: &Dense<f64>, u: &[f64], x0: &[f64]) -> Vec<Vec<f64>> {
    let m = x0.len();
    let mut states = vec![x0.to_vec()];
    for &u in u {
        let x = &states[states.len() - 1];
        let next = (0..m).map(|i| {
            (0..m)
                .map(|j| ssm.a().entries()[i * m + j] * x[j])
                .sum::<f64>()
                + ssm.b()[i] * u
        });
        states.push(next.collect());
    }
    states
}

fn read(ssm: &Dense<f64>, x: &[f64]) -> f64 {
    ssm.c().iter().zip(x).map(|(c, x)| c * x).sum()
}

/// The suspects at the first step that is wrong, by name.
fn suspects(report: &Report) -> Vec<&'static str> {
    let suspects = first_finding(report).suspects.iter();
    suspects.map(|s| s.mistakes[0].name).collect()
}

/// A state dropped, or read early, at the boundaries of chunks: of the lengths that are usual, and
/// of halves, thirds and quarters of the sequence. Written out, chunk by chunk.
#[test]
fn mistakes_between_chunks_are_named_at_every_length() {
    for (len, chunks) in [
        (21, vec![4, 5, 7, 8, 10, 16, 21]),
        (131, vec![4, 8, 16, 32, 43, 64, 65, 128, 131]),
        (6, vec![1, 2, 3, 4, 6]),
        (4, vec![1, 2, 4]),
    ] {
        let given = random(3, len, len as u64);
        let ssm = &given.ssm;
        let kernel: Vec<f64> = {
            let mut impulse = vec![0.0; len];
            impulse[0] = 1.0;
            let x = states(ssm, &impulse, &[0.0; 3]);
            x[1..].iter().map(|x| read(ssm, x)).collect()
        };
        for chunk in chunks {
            let by_chunks = |name: &str, early: bool| {
                let report = given.judge(Format::F32, &kernel, |u, x0| {
                    let right = states(ssm, u, x0);
                    let mut y = Vec::new();
                    for (c, part) in u.chunks(chunk).enumerate() {
                        let from = c * chunk;
                        let carried = match c {
                            _ if early => right[from].clone(),
                            0 => x0.to_vec(),
                            _ => vec![0.0; 3],
                        };
                        // What the chunk's own inputs leave, and what was carried into it.
                        let own = states(ssm, part, &[0.0; 3]);
                        let passed = states(ssm, &vec![0.0; part.len()], &carried);
                        for (i, u) in part.iter().enumerate() {
                            let late = usize::from(!early);
                            y.push(
                                read(ssm, &own[i + 1])
                                    + read(ssm, &passed[i + late])
                                    + ssm.feedthrough() * u,
                            );
                        }
                    }
                    (y, right[len].clone())
                });
                assert_eq!(suspects(&report), [name], "{len} tokens, chunks of {chunk}");
            };
            if chunk < len {
                by_chunks("carry_dropped", false);
            }
            // Of one chunk too, from a state.
            by_chunks("mxy_one_early", true);
        }
    }
}

/// Too short for a quarter: no chunk of nothing is tried.
#[test]
fn the_shortest_sequences_are_judged() {
    for len in 1..4 {
        let given = random(2, len, 7);
        let kernel = given.ssm.kernel(len);
        let report = given.judge(Format::F32, &kernel, |u, x0| {
            let right = states(&given.ssm, u, x0);
            (vec![9.0; len], right[len].clone())
        });
        assert!(suspects(&report).is_empty(), "{len} tokens");
        assert_eq!(first_finding(&report).stage, "output");
    }
}

/// The kernel's end wraps around to the first outputs, and the state before them is lost with it.
#[test]
fn a_circular_convolution_is_named() {
    let given = random(3, 21, 5);
    let (ssm, len) = (&given.ssm, 21);
    let kernel = ssm.kernel(len);
    let report = given.judge(Format::F32, &kernel, |u, x0| {
        let y = (0..len).map(|i| {
            let terms = (0..len).map(|j| kernel[j] * u[(i + len - j) % len]);
            terms.sum::<f64>() + ssm.feedthrough() * u[i]
        });
        (y.collect(), states(ssm, u, x0)[len].clone())
    });
    assert_eq!(suspects(&report), ["circular_fft_long"]);
}

/// Where nothing is given to be off by, what underflow may lose is: as many of the format's smallest
/// normal numbers as there are products behind an element, times the square of the largest number given,
/// if that is above 1. To the last bit.
#[test]
fn underflow_is_allowed_for() {
    let (m, len) = (2, 3);
    for (largest, magnified) in [(0.5, 1.0), (8.0, 64.0)] {
        for (format, smallest) in [
            (Format::F32, 2f64.powi(-126)),
            (Format::F64, 2f64.powi(-1022)),
            (Format::F16, 2f64.powi(-24)),
            (Format::MIXED_BF16, 2f64.powi(-126)),
        ] {
            let a = Matrix::new(m, m, vec![0.5; m * m]).expect("square");
            // A model that is not read: its kernel is zero, exactly.
            let ssm = Dense::new(a, vec![0.5; m], vec![0.0; m], 0.5).expect("fits");
            let input = Tensor::new([1, len], vec![0.5, -largest, 0.25]).expect("fits");
            let golden = certify(&ssm, &input, None).expect("exact");
            assert!(golden.stages()[0].scale.data().iter().all(|&s| s == 0.0));
            let allowed = smallest * (len * m * m) as f64 * magnified;
            for (off, passes) in [
                (allowed, true),
                (-allowed, true),
                (allowed.next_up(), false),
                (allowed / 2.0, true),
            ] {
                let kernel = Tensor::new([len], vec![0.0, off, 0.0]).expect("fits");
                let file = dumped(&[("kernel", &kernel)], Dtype::F64);
                let report = judge(&golden, &file, format);
                let what = format!("{}, {off:e} of {allowed:e}", format.name());
                assert_eq!(report.pass(), passes, "{what}");
                assert_eq!(report.findings.is_empty(), passes, "{what}");
            }
        }
    }
}

/// A golden file of one dense model with something changed, and what is said of it.
fn reopened(
    test: &str,
    change: impl Fn(&str, &mut Vec<usize>, &mut Vec<f64>) -> bool,
    metadata: &[(&str, &str)],
) -> Result<Golden, String> {
    let golden = random(2, 3, 11).golden;
    let bytes = golden.writer().and_then(|w| w.to_bytes()).expect("small");
    let file = SafeTensors::from_bytes(bytes).expect("valid");
    let mut writer = Writer::new();
    for (key, value) in file.metadata() {
        let changed = metadata.iter().find(|(k, _)| k == key);
        let value = changed.map_or(value.as_str(), |(_, value)| value);
        if !value.is_empty() {
            writer.metadata(key, value).expect("once");
        }
    }
    for tensor in file.tensors() {
        let (mut shape, mut values) = (tensor.shape.to_vec(), tensor.to_f64().expect("floats"));
        if change(tensor.name, &mut shape, &mut values) {
            writer
                .add(tensor.name, tensor.dtype, &shape, &values)
                .expect("fits");
        }
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("oracle-dense-{test}"));
    writer.write(&path).expect("written");
    Golden::open(&path).map_err(|e| e.to_string())
}

#[test]
fn golden_files_of_a_dense_model_are_held_to_their_words() {
    let whole = reopened("whole", |_, _, _| true, &[]).expect("as it was written");
    // A scale of zero is one; stages are those of the file, not those certified here.
    let scale = |name: &str| name == "scale.output";
    let exact = reopened(
        "exact",
        |name, _, values| {
            if scale(name) {
                values[1] = 0.0;
            }
            if name == "final_x" {
                values[0] = 5.0;
            }
            true
        },
        &[],
    );
    let exact = exact.expect("no negative scale");
    assert_eq!(exact.stages()[1].scale.data()[1], 0.0);
    assert_eq!(exact.stages()[2].values.data()[0], 5.0);
    // And it is that scale that decides, in a mixed format times the coarser roundoff.
    let mut off = whole.stages()[1].values.data().to_vec();
    off[1] += 1e-9;
    let off = Tensor::new([2, 3], off).expect("fits");
    let off = dumped(&[("output", &off)], Dtype::F64);
    for format in [Format::F32, Format::MIXED_TF32, Format::MIXED_BF16] {
        for (golden, passes) in [(&whole, true), (&exact, false)] {
            let report = judge(golden, &off, format);
            assert_eq!(report.pass(), passes, "{}", format.name());
        }
    }
    let bytes = exact.writer().and_then(|w| w.to_bytes()).expect("small");
    let case = Case::read(&SafeTensors::from_bytes(bytes).expect("valid"));
    let anew = case.and_then(Case::certify).expect("decided");
    assert_eq!(anew.stages(), whole.stages());
    // A stage without a scale is not judged.
    let some = reopened("some", |name, _, _| name != "scale.kernel", &[]);
    let some = some.expect("the other two");
    assert_eq!(some.stages(), &whole.stages()[1..]);
    // Without a word of being golden it is certified.
    let plain = reopened("plain", |name, _, _| name != "output", &[("golden", "")]);
    assert_eq!(plain.expect("certified").stages(), whole.stages());

    type Change = fn(&str, &mut Vec<usize>, &mut Vec<f64>) -> bool;
    /// The file's name, what is done to its tensors and metadata, and what is said.
    type Refused<'a> = (&'a str, Change, &'a [(&'a str, &'a str)], &'a str);
    let refused: [Refused<'_>; 10] = [
        (
            "kind",
            |_, _, _| true,
            &[("kind", "dense")],
            "metadata kind",
        ),
        ("no-kind", |_, _, _| true, &[("kind", "")], "metadata kind"),
        (
            "version",
            |_, _, _| true,
            &[("golden", "hippos-golden/9")],
            "metadata golden",
        ),
        (
            "negative",
            |name, _, values| {
                if name == "scale.output" {
                    values[4] = -1.0;
                }
                true
            },
            &[],
            "element 4 is negative",
        ),
        (
            "shape",
            |name, shape, _| {
                if name == "output" {
                    *shape = vec![3, 2];
                }
                true
            },
            &[],
            "output",
        ),
        (
            "infinite",
            |name, _, values| {
                if name == "scale.final_x" {
                    values[0] = f64::INFINITY;
                }
                true
            },
            &[],
            "scale.final_x",
        ),
        (
            "states",
            |name, shape, values| {
                if name == "initial_x" {
                    *shape = vec![1, 2];
                    values.truncate(2);
                }
                true
            },
            &[],
            "initial_x",
        ),
        (
            "skip",
            |name, shape, values| {
                if name == "ssm.D" {
                    *shape = vec![2];
                    values.push(1.0);
                }
                true
            },
            &[],
            "[1]",
        ),
        (
            "axes",
            |name, shape, _| {
                if name == "ssm.B" {
                    shape.push(1);
                }
                true
            },
            &[],
            "1 axes",
        ),
        (
            "empty",
            |name, shape, values| {
                if name == "input" {
                    *shape = vec![2, 0];
                    values.clear();
                }
                true
            },
            &[],
            "none of them empty",
        ),
    ];
    for (test, change, metadata, says) in refused {
        let said = reopened(test, change, metadata).expect_err(test);
        assert!(said.contains(says), "{test}: {said}");
        assert!(said.contains(&format!("oracle-dense-{test}")), "{said}");
    }
}

/// Two states that go the same inexact way and are read against each other: a zero that no number of
/// words proves. It is counted; refused, with the stage, is what overflows.
#[test]
fn what_cannot_be_certified_is_counted_or_refused() {
    let of = |pole: f64| {
        let a = Matrix::new(2, 2, vec![pole, 0.0, 0.0, pole]).expect("square");
        let ssm = Dense::new(a, vec![1.0, 1.0], vec![1.0, -1.0], 0.0).expect("fits");
        let input = Tensor::new([1, 8], vec![1.0; 8]).expect("fits");
        certify(&ssm, &input, None)
    };
    let golden = of(1.0 / 3.0).expect("a zero");
    let kernel = &golden.stages()[0];
    assert_eq!((kernel.name(), kernel.undecided > 0), ("kernel", true));
    assert!(kernel.values.data().iter().all(|&x| x == 0.0));
    let said = of(1e60 / 3.0).expect_err("an overflow").to_string();
    assert!(
        said.contains("stage kernel: element 6 is not known"),
        "{said}"
    );
}

/// What a candidate brings of the model, its inputs and states has to be what they are.
#[test]
fn other_models_stages_are_not_judged() {
    let given = random(2, 3, 11);
    let bytes = given.golden.writer().and_then(|w| w.to_bytes());
    let whole = SafeTensors::from_bytes(bytes.expect("small")).expect("valid");
    assert!(given.golden.candidate(&whole).is_ok());
    for name in ["ssm.A", "ssm.B", "ssm.C", "ssm.D", "input", "initial_x"] {
        let mut writer = Writer::new();
        for tensor in whole.tensors() {
            let mut values = tensor.to_f64().expect("floats");
            if tensor.name == name {
                let last = values.len() - 1;
                values[last] += 1e-9;
            }
            writer
                .add(tensor.name, tensor.dtype, tensor.shape, &values)
                .expect("fits");
        }
        let bytes = writer.to_bytes().expect("small");
        let other = SafeTensors::from_bytes(bytes).expect("valid");
        let said = given.golden.candidate(&other).expect_err(name);
        assert!(said.to_string().contains(name), "{said}");
    }
}
