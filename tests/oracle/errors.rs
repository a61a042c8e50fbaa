//! Claim: no bad shape panics. Every public function that takes slices, matrices or states answers
//! a wrong one with an error that names it.

use crate::common::golden_file;
use hungry_hippos::algebra::{M61, Matrix, Rng, Sample};
use hungry_hippos::attention::{h3_on_k, h3_on_v, hyena_on_v};
use hungry_hippos::flashconv::{
    ChunkConvolution, Chunking, Convention, MatrixSet, chunk_states, flashconv,
};
use hungry_hippos::h3::{
    Config, Form, HeadOrder, Layer, LayerParts, LayerShape, LayerStream, Linear, Name, Parameters,
    RealType,
};
use hungry_hippos::oracle::Case;
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use hungry_hippos::ssm::{
    Dense, Diagonal, Discretization, Shift, Stream, convolution, recurrence, scan, toeplitz,
};
use hungry_hippos::{Error, Tensor};

/// The call fails, and its message has the fragment.
fn refused<V>(result: Result<V, Error>, fragment: &str) {
    let message = match result {
        Err(e) => e.to_string(),
        Ok(_) => panic!("must be refused: {fragment}"),
    };
    assert!(message.contains(fragment), "{fragment:?} not in {message}");
}

fn vector(n: usize) -> Vec<M61> {
    let rng = &mut Rng::new(n as u64);
    (0..n).map(|_| M61::sample(rng)).collect()
}

#[test]
fn models() {
    let square = || Matrix::identity(3);
    let wide = Matrix::new(2, 3, vector(6)).expect("fits");
    refused(
        Dense::new(wide, vector(2), vector(2), M61::new(0)),
        "columns of A",
    );
    refused(Dense::new(square(), vector(2), vector(3), M61::new(0)), "B");
    refused(Dense::new(square(), vector(3), vector(4), M61::new(0)), "C");
    refused(Shift::new(vector(3), vector(2), M61::new(0)), "C");
    let complex = |n: usize| vec![num_complex::Complex::new(M61::new(1), M61::new(2)); n];
    let d = M61::new(5);
    refused(Diagonal::new(complex(2), complex(3), complex(2), d), "B");
    refused(Diagonal::new(complex(2), complex(2), complex(1), d), "C");
    refused(Matrix::new(2, 2, vector(3)), "matrix entries");
    refused(Matrix::new(usize::MAX, 2, vector(3)), "too large");
    assert_eq!(square().get(3, 0), None::<M61>);
    assert_eq!(square().get(0, 3), None::<M61>);
}

#[test]
fn forms_of_a_model() {
    let ssm = Shift::<M61>::sample(3, &mut Rng::new(1));
    let (u, bad) = (vector(7), vector(2));
    refused(recurrence(&ssm, &u, Some(&bad)), "initial state");
    refused(scan(&ssm, &u, Some(&bad)), "initial state");
    refused(toeplitz(&ssm, &u, Some(&bad)), "initial state");
    refused(convolution(&ssm, &u, Some(&bad)), "initial state");
    refused(Stream::resume(&ssm, bad.clone()), "saved state");
    let chunking = Chunking::Uniform(2);
    refused(flashconv(&ssm, &u, Some(&bad), &chunking), "initial state");
    refused(
        chunk_states(&ssm, &u, Some(&bad), &chunking),
        "initial state",
    );
    for set in MatrixSet::ALL {
        refused(
            set.outputs(&ssm, &u, Some(&bad), &chunking),
            "initial state",
        );
    }
    refused(
        Convention::ReadsBefore.recurrence(&ssm, &u, Some(&bad)),
        "initial state",
    );
    for form in [Form::Fft, Form::RealFft, Form::BlockFft, Form::Attention] {
        refused(form.respond(&ssm, &u, Some(&bad)), "initial state");
    }
    for chunking in [
        Chunking::Uniform(0),
        Chunking::Ragged(vec![3, 0, 4]),
        Chunking::Ragged(vec![3, 3]),
        Chunking::Ragged(vec![usize::MAX, 8]),
        Chunking::Ragged(vec![]),
    ] {
        refused(flashconv(&ssm, &u, None, &chunking), "chunk");
    }
    let convolution = ChunkConvolution::new(&vector(4)).expect("a kernel");
    refused(convolution.apply(&vector(5)), "chunk");
}

#[test]
fn matrices_of_attention() {
    let (t3, t4) = (Matrix::<M61>::identity(3), Matrix::<M61>::identity(4));
    refused(h3_on_v(&vector(3), &vector(4), &t3, &t3), "vector");
    refused(
        h3_on_v(&vector(4), &vector(3), &t3, &t3),
        "rows of the right factor",
    );
    refused(
        h3_on_k(&vector(3), &vector(3), &t3, &t4),
        "rows of the right factor",
    );
    refused(
        hyena_on_v(&vector(3), &vector(3), &t4, &t3),
        "rows of the right factor",
    );
    refused(t3.hadamard(&t4), "entrywise product");
    refused(t3.apply(&vector(4)), "vector");
}

fn config() -> Config {
    Config {
        d_model: 6,
        head_dim: 2,
        d_state: 4,
        n_ssm: 3,
        disc: Discretization::Bilinear,
        real_type: RealType::Exp,
        l_max: None,
        head_order: HeadOrder::D2H,
    }
}

fn parameters(config: Config) -> Result<Parameters<f64>, Error> {
    let sizes = config.clone();
    Parameters::new(config, |name| {
        Ok(vec![0.1; name.shape(&sizes).iter().product()])
    })
}

#[test]
fn parameters_and_configurations() {
    parameters(config()).expect("a layer");
    let with = |change: fn(&mut Config)| {
        let mut changed = config();
        change(&mut changed);
        parameters(changed)
    };
    refused(with(|c| c.d_model = 0), "d_model");
    refused(with(|c| c.head_dim = 0), "head_dim");
    refused(with(|c| c.head_dim = 4), "head_dim");
    refused(with(|c| c.d_state = 0), "d_state");
    refused(with(|c| c.n_ssm = 0), "n_ssm");
    refused(with(|c| c.n_ssm = 2), "n_ssm");
    refused(with(|c| c.l_max = Some(0)), "l_max");
    for short in Name::ALL {
        let result = Parameters::<f64>::new(config(), |name| {
            let size: usize = name.shape(&config()).iter().product();
            Ok(vec![0.1; if name == short { size - 1 } else { size }])
        });
        refused(result, short.official());
    }
    refused("dss".parse::<Discretization>(), "bilinear");
    refused("EXP".parse::<RealType>(), "softplus");
    refused("".parse::<HeadOrder>(), "hd2");
}

#[test]
fn layers() {
    let rng = &mut Rng::new(1);
    let shape = LayerShape {
        n_heads: 3,
        head_dim: 2,
        d_state: 4,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    refused(
        Layer::<M61>::sample(
            LayerShape {
                n_heads: 0,
                ..shape
            },
            rng,
        ),
        "layer",
    );
    refused(
        Layer::<M61>::sample(
            LayerShape {
                head_dim: 0,
                ..shape
            },
            rng,
        ),
        "layer",
    );
    refused(
        Layer::<M61>::sample(
            LayerShape {
                l_max: Some(0),
                ..shape
            },
            rng,
        ),
        "l_max",
    );
    let layer = Layer::<M61>::sample(shape, rng).expect("a layer");
    let with = |change: fn(&mut LayerParts<M61>)| {
        let mut parts = layer.parts().clone();
        change(&mut parts);
        Layer::new(parts)
    };
    refused(with(|p| p.head_dim = 3), "head_dim");
    refused(with(|p| p.shift.truncate(4)), "head_dim");
    refused(
        with(|p| p.shift[2] = Shift::sample(5, &mut Rng::new(1))),
        "taps",
    );
    refused(
        with(|p| p.diagonal[1] = Diagonal::sample(5, &mut Rng::new(1))),
        "modes",
    );
    let linear = |n| Linear::new(Matrix::identity(n), vector(n)).expect("square");
    let parts = layer.parts().clone();
    refused(
        Layer::new(LayerParts {
            v: linear(5),
            ..parts
        }),
        "v_proj",
    );
    refused(Linear::new(Matrix::identity(3), vector(2)), "bias");

    refused(Tensor::new([2, 3], vector(5)), "[2, 3]");
    refused(Tensor::new([usize::MAX, 3], vector(5)), "too large");
    let forms = [Form::Recurrence, Form::Fft, Form::Attention];
    for form in &forms {
        for shape in [vec![], vec![6], vec![2, 6], vec![1, 2, 5], vec![1, 1, 2, 6]] {
            let size = shape.iter().product();
            let u = Tensor::new(shape, vector(size)).expect("fits");
            refused(layer.forward(form, &u, None), "input");
        }
        let u = layer.sample_input(2, 4, rng);
        let other_batch = layer.sample_state(1, 0, rng);
        refused(layer.forward(form, &u, Some(&other_batch)), "state");
        let mut far = layer.sample_state(2, 0, rng);
        far.position = usize::MAX;
        refused(layer.forward(form, &u, Some(&far)), "position");
        // Nothing in, nothing out.
        let empty = layer.sample_input(2, 0, rng);
        let stages = layer
            .forward(form, &empty, None)
            .expect("an empty sequence");
        assert_eq!(stages.output.shape(), [2, 0, 6]);
        assert_eq!(stages.state, layer.zero_state(2));
    }
    let mut stream = LayerStream::new(&layer, 2);
    refused(stream.step(&vector(6)), "token");
    let mut wrong = layer.zero_state(2);
    wrong.shift = Tensor::new([2, 3], vector(6)).expect("fits");
    refused(LayerStream::resume(&layer, wrong), "shift models");
    let mut end = layer.zero_state(2);
    end.position = usize::MAX;
    let mut stream = LayerStream::resume(&layer, end).expect("a state");
    refused(stream.step(&vector(12)), "position");
}

/// A file with the last entry of one tensor's axis left out.
fn cut(name: &str, tensor: &str, axis: usize) -> SafeTensors {
    let file = SafeTensors::open(&golden_file(name)).expect("a golden file");
    let mut writer = Writer::new();
    for (key, value) in file.metadata() {
        writer.metadata(key, value).expect("new");
    }
    for known in file
        .tensors()
        .filter(|known| !known.name.contains("scale."))
    {
        let mut shape = known.shape.to_vec();
        let Ok(mut values) = known.to_f64() else {
            continue;
        };
        if known.name == tensor {
            let (len, stride) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
            let is_kept = |at: &usize| at / stride % len + 1 < len;
            let kept = (0..values.len()).filter(is_kept);
            values = kept.map(|at| values[at]).collect();
            shape[axis] -= 1;
        }
        let dtype = Dtype::F64;
        writer
            .add(known.name, dtype, &shape, &values)
            .expect("fits");
    }
    SafeTensors::from_bytes(writer.to_bytes().expect("small")).expect("valid")
}

/// Where the tensor is wrong by which the sizes of others are known, it is named with the first of those.
#[test]
fn the_tensor_that_sets_a_size_is_named() {
    for (name, tensor, axis) in [
        ("90-convolution", "u", 1),
        ("90-convolution", "k", 0),
        ("92-h3-operator", "k", 1),
        ("92-h3-operator", "q", 2),
        ("94-hyena", "input", 2),
        ("94-hyena", "filter_fn.pos_emb.z", 1),
        ("94-hyena", "filter_fn.pos_emb.z", 2),
        ("84-mamba2", "dt_bias", 0),
        ("84-mamba2", "in_proj.weight", 0),
        ("84-mamba2", "in_proj.weight", 1),
        ("84-mamba2", "conv1d.weight", 0),
        ("84-mamba2", "out_proj.weight", 1),
    ] {
        assert!(Case::read(&cut(name, "none", 0)).is_ok(), "{name}");
        let error = Case::read(&cut(name, tensor, axis)).expect_err("does not fit");
        let said = error.to_string();
        let names = [
            format!("\"{tensor}\""),
            format!("({tensor})"),
            format!("{tensor} "),
        ];
        assert!(
            names.iter().any(|name| said.contains(name)),
            "{name} {tensor}: {said}"
        );
    }
}
