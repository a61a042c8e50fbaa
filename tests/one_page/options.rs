//! Every option of the layer, at random.

use crate::page::layer;
use crate::reference::Reference;
use crate::support::{WHOLE, first_wrong, is_cut};
use hungry_hippos::algebra::Rng;
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{Config, Form, HeadOrder, Name};
use hungry_hippos::safetensors::{Dtype, SafeTensors, Writer};
use std::collections::BTreeSet;

/// One of a few values, noted under what it is a choice of.
fn pick<T: Copy + std::fmt::Debug>(
    rng: &mut Rng,
    seen: &mut BTreeSet<String>,
    what: &str,
    values: &[T],
) -> T {
    let value = values[rng.below(values.len())];
    seen.insert(format!("{what} {value:?}"));
    value
}

/// A case file with random choices and numbers.
fn sampled(rng: &mut Rng, seen: &mut BTreeSet<String>) -> SafeTensors {
    let disc = pick(rng, seen, "disc", &["bilinear", "zoh"]);
    let real_types = ["exp", "none", "relu", "sigmoid", "softplus"];
    let real_type = pick(rng, seen, "real_type", &real_types);
    let head_order = pick(rng, seen, "head_order", &["d2h", "hd2"]);
    let d_h = pick(rng, seen, "head_dim", &[1, 2, 3]);
    let n_ssm = pick(rng, seen, "n_ssm", &[1, 2, 4]);
    let m = pick(rng, seen, "d_state", &[1, 2, 5, 6]);
    let l_max = pick(rng, seen, "l_max", &["none", "none", "5", "40"]);
    let cut = l_max == "5";
    let resumed = pick(rng, seen, "resumed", &[false, true]) && !cut;
    let chunk_len = pick(rng, seen, "chunk_len", &[None, Some("1"), Some("4")]);
    let batch = pick(rng, seen, "batch", &[1, 2]);
    let len = pick(rng, seen, "len", &[6, 11]);
    let (heads, modes) = (4, m / 2);
    let d = d_h * heads;

    let mut writer = Writer::new();
    let strings = [
        ("disc", disc),
        ("real_type", real_type),
        ("head_order", head_order),
        ("head_dim", &d_h.to_string()),
        ("l_max", l_max),
    ];
    let chunk_len = chunk_len
        .filter(|_| !cut)
        .map(|chunk_len| ("chunk_len", chunk_len));
    for (key, value) in strings.into_iter().chain(chunk_len) {
        writer.metadata(key, value).expect("a new key");
    }
    // Decays from none at all to some beyond PyTorch's threshold of softplus, 20.
    let decays = match real_type {
        "none" => [0.0, 3.0],
        "softplus" => [-3.0, 25.0],
        _ => [-2.0, 2.0],
    };
    let config = Config {
        d_model: d,
        head_dim: d_h,
        d_state: m,
        n_ssm,
        disc: disc.parse().expect("known"),
        real_type: real_type.parse().expect("known"),
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    let mut add = |name: &str, shape: &[usize], [from, to]: [f64; 2]| {
        let draw = |_| from + (to - from) * rng.unit();
        let mut values: Vec<f64> = (0..shape.iter().product()).map(draw).collect();
        // A pole of lambda = 0, where (e^(dt lambda) - 1) / lambda is 0/0.
        if let ("none", true, Some(first)) = (real_type, name.contains("A_"), values.first_mut()) {
            *first = 0.0;
        }
        writer
            .add(name, Dtype::F64, shape, &values)
            .expect("a new tensor");
    };
    for name in Name::ALL {
        let range = match name {
            Name::LogDt => [-4.0, 0.0],
            Name::InvAReal => decays,
            Name::AImag => [-4.0, 4.0],
            _ => [-1.0, 1.0],
        };
        add(name.official(), &name.shape(&config), range);
    }
    add("input", &[batch, len, d], [-1.0, 1.0]);
    if resumed {
        add("initial_state_k", &[batch, d, m], [-1.0, 1.0]);
        add(
            "initial_state",
            &[batch * d_h * d_h, heads, modes, 2],
            [-1.0, 1.0],
        );
    }
    SafeTensors::from_bytes(writer.to_bytes().expect("a file")).expect("valid")
}

#[test]
fn every_option_of_the_reference_is_the_pages() {
    let (rng, mut seen) = (&mut Rng::new(18), BTreeSet::new());
    for sample in 0..120 {
        let file = sampled(rng, &mut seen);
        let reference = Reference::read(&file);
        let mut forms = vec![(Form::Convolution, WHOLE)];
        if !is_cut(&file) {
            forms.push((Form::Recurrence, 0));
            forms.push((Form::FlashConv(Chunking::Uniform(4)), 4));
        }
        for (form, chunk) in forms {
            let page = layer(&file, chunk).expect("the page runs");
            let wrong = first_wrong(&page, &reference.expected(&form));
            assert_eq!(
                wrong,
                None,
                "sample {sample}, {form}, {:?}",
                file.metadata()
            );
        }
    }
    assert_eq!(
        seen.len(),
        2 + 5 + 2 + 3 + 3 + 4 + 3 + 2 + 3 + 2 + 2,
        "{seen:?}"
    );
}
