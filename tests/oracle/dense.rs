//! One dense model: right ports pass in every form, mistakes are refused and named.

use super::dumped;
use hungry_hippos::Tensor;
use hungry_hippos::algebra::{Matrix, Real, RootsOfUnity, Scalar};
use hungry_hippos::flashconv::{Chunking, Convention, MatrixSet};
use hungry_hippos::h3::Form;
use hungry_hippos::oracle::{Candidate, DenseGolden, Format, Report, check_dense, dense_suite};
use hungry_hippos::safetensors::{Dtype, SafeTensors};
use hungry_hippos::ssm::{Dense, StateSpace};
use std::path::PathBuf;

/// A golden file of the suite, and what a port reads from it.
struct Given {
    golden: DenseGolden,
    ssm: Dense<f64>,
    input: Tensor<f64>,
    initial: Vec<f64>,
}

fn given(name: &str) -> Given {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1");
    let path = PathBuf::from(folder).join(format!("{name}.safetensors"));
    let file = SafeTensors::open(&path).expect("a file");
    let of = |name: &str| file.tensor(name).and_then(|t| t.to_f64()).expect("there");
    let m = of("ssm.B").len();
    let a = Matrix::new(m, m, of("ssm.A")).expect("square");
    let shape = file.tensor("input").expect("there").shape.to_vec();
    Given {
        golden: DenseGolden::open(&path).expect("a golden file"),
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
        let candidate = Candidate::read_dense(&dumped(&stages, dtype), &self.golden);
        check_dense(&self.golden, &candidate.expect("can be judged"), format).expect("judged")
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
            assert!(!report.says_nothing());
        }
    }
}

#[test]
fn right_ports_of_a_dense_model_pass() {
    for case in dense_suite() {
        let given = given(case.name);
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
            let diagnosis = report.diagnosis.as_ref().expect("refused");
            let first = diagnosis.suspects.first().map(|s| s.mutants[0].name());
            assert_eq!(first, Some(name), "{case}: {:?}", report.stages);
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
        let diagnosis = report.diagnosis.expect("refused");
        assert_eq!(diagnosis.first_stage, "kernel");
        assert!(diagnosis.suspects.is_empty());
    }
}
