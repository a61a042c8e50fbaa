//! Claim: the chunked adjoint stores the states passed between chunks and no others, the
//! layer's stores no stage larger than (batch, d, seq_len), and a model's what its blocks return.
//!
//! Two measurements. The states a backward pass is given are counted: [`flashconv_adjoint_from`]
//! gets one state a chunk and nothing else of the forward pass. And the memory the process really
//! took is read from the operating system, which sees every allocation, in a process of its own, since
//! the other tests of this program run at the same time.

use hungry_hippos::algebra::{M61, Rng, Sample};
use hungry_hippos::flashconv::{Chunking, chunk_states, flashconv_adjoint_from};
use hungry_hippos::ssm::{Diagonal, StateSpace, recurrence_adjoint};

#[test]
fn what_is_stored_is_one_state_a_chunk() {
    let rng = &mut Rng::new(1);
    let (m, n) = (6, 100);
    let ssm = Diagonal::<M61>::sample(m, rng);
    let mut signal = || -> Vec<M61> { (0..n).map(|_| M61::sample(rng)).collect() };
    let (u, g) = (signal(), signal());
    let x0 = vec![hungry_hippos::algebra::Ring::ONE; m];
    let expected = recurrence_adjoint(&ssm, &u, Some(&x0), &g, None).expect("fits");
    for (chunk, chunks, reason) in [
        (1, 100, "every state"),
        (7, 15, "a last chunk that is not full"),
        (25, 4, "a divisor"),
        (100, 1, "one chunk: the initial state alone"),
        (200, 1, "a chunk longer than the sequence"),
    ] {
        let chunking = Chunking::Uniform(chunk);
        let mut saved = vec![x0.clone()];
        saved.extend(chunk_states(&ssm, &u, Some(&x0), &chunking).expect("fits"));
        saved.pop();
        let stored: usize = saved.iter().map(Vec::len).sum();
        assert_eq!(stored, m * chunks, "{reason}");
        let gradients = flashconv_adjoint_from(&ssm, &u, &saved, &g, None, &chunking);
        assert_eq!(gradients.as_ref(), Ok(&expected), "{reason}");
        // None of them is superfluous: a wrong one gives a wrong gradient.
        for c in 0..chunks {
            let mut wrong = saved.clone();
            wrong[c][c % m] = ssm.poles()[0];
            let gradients = flashconv_adjoint_from(&ssm, &u, &wrong, &g, None, &chunking);
            assert_ne!(gradients.as_ref(), Ok(&expected), "state {c}: {reason}");
        }
        saved.pop();
        let e = flashconv_adjoint_from(&ssm, &u, &saved, &g, None, &chunking)
            .expect_err("one state too few");
        assert!(e.to_string().contains("states before the chunks"), "{e}");
    }
    assert_eq!(ssm.state_dim(), m);
}

/// The largest resident size this process has had since it was last asked to forget, in bytes.
#[cfg(target_os = "linux")]
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    1024 * kib
        .and_then(|kib| kib.parse::<usize>().ok())
        .expect("in kB")
}

/// By how much `work` raised the peak. Later calls can only see what exceeds earlier ones, so the
/// small comes before the large.
#[cfg(target_os = "linux")]
fn growth<R>(work: impl FnOnce() -> R) -> usize {
    let before = peak();
    std::hint::black_box(work());
    peak() - before
}

/// Runs a test of this module again, measuring, in a process of its own.
#[cfg(target_os = "linux")]
fn alone(test: &str, measure: impl FnOnce()) {
    const ALONE: &str = "HIPPOS_MEASURED_ALONE";
    if std::env::var_os(ALONE).is_some() {
        measure();
        return;
    }
    let (_, module) = module_path!().split_once("::").expect("a module");
    let name = format!("{module}::{test}");
    let program = std::env::current_exe().expect("the program of this test");
    let output = std::process::Command::new(program)
        .args(["--exact", &name, "--nocapture"])
        .env(ALONE, "1")
        .output()
        .expect("the program starts");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let complaint = String::from_utf8_lossy(&output.stderr);
    print!("{printed}");
    assert!(output.status.success(), "{printed}{complaint}");
    assert!(printed.contains("1 passed"), "{printed}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_operating_system_saw() {
    alone("what_the_operating_system_saw", measure);
}

/// Of a model four arrays (batch, seq_len, d) a block are kept, what it returns and their cotangents, and
/// those of one block's turn; the stages of every H3 layer, which automatic differentiation keeps, are more.
#[cfg(target_os = "linux")]
#[test]
fn a_model_keeps_what_its_blocks_return() {
    alone("a_model_keeps_what_its_blocks_return", || {
        use hungry_hippos::Tensor;
        use hungry_hippos::h3::{self, Form, HeadOrder, RealType};
        use hungry_hippos::model::{Mixer, ModelConfig, ModelParameters, SsmMixer, initial_values};
        use hungry_hippos::ssm::Discretization;

        const SLACK: usize = 2 << 20;
        let (n_layer, len, d) = (24, 256, 16);
        let config = ModelConfig {
            n_layer,
            d_inner: 2 * d,
            vocab_size: 8,
            max_position_embeddings: 0,
            attn_layer_idx: Vec::new(),
            num_heads: 0,
            layer_norm_epsilon: 1e-5,
            ssm: SsmMixer::H3,
            h3: h3::Config {
                d_model: d,
                head_dim: 1,
                d_state: 4,
                n_ssm: d,
                disc: Discretization::Bilinear,
                real_type: RealType::Exp,
                l_max: None,
                head_order: HeadOrder::D2H,
            },
        };
        let values = |name| Ok(initial_values(&config, name, Rng::new(1)).collect());
        let parameters = ModelParameters::new(config.clone(), values).expect("a model");
        let ids: Vec<usize> = (0..len).map(|i| i % 8).collect();
        let targets = ids.iter().map(|&id| Some(id)).collect();
        let ids = Tensor::new([1, len], ids).expect("fits");
        let targets = Tensor::new([1, len], targets).expect("fits");
        let form = Form::Recurrence;

        // The model, its gradients and what they are joined from are as large as the parameters.
        let (array, own) = (len * d * 8, 3 * 8 * config.parameter_count());
        let allowed = (4 * n_layer + 30) * array + own + SLACK;
        let took = growth(|| parameters.gradients(&form, &ids, &targets).expect("runs"));
        println!("model: {took} of {allowed} bytes allowed");
        assert!(took <= allowed);

        // Teeth: the stages of every layer, and both sides of every activation, are over the bound.
        let model = parameters.model().expect("a model");
        let input = Tensor::new([1, len, d], vec![1.0; len * d]).expect("fits");
        let stages = growth(|| {
            let blocks = model.blocks().iter();
            let of_block = |mixer: &Mixer<f64>| match mixer {
                Mixer::H3(layer) => layer.forward(&form, &input, None).expect("runs"),
                _ => unreachable!("no attention"),
            };
            let activations = || vec![1.0; 2 * 2 * d * len];
            blocks
                .map(|block| (of_block(&block.mixer), activations()))
                .collect::<Vec<_>>()
        });
        println!("stages of every layer: {stages} bytes more");
        assert!(took + stages > allowed);
    });
}

#[cfg(target_os = "linux")]
fn measure() {
    use hungry_hippos::flashconv::flashconv_adjoint;
    use hungry_hippos::h3::{Form, HeadOrder, Layer, LayerShape};

    // Allocators keep what was freed, and pages come in clusters.
    const SLACK: usize = 2 << 20;
    const MODE: usize = 16; // bytes of a stored complex mode
    let rng = &mut Rng::new(2);

    // One model: 3 N scalars, m N/T states, a chunk's transforms.
    let (m, n, t) = (128, 1 << 14, 256);
    let ssm = Diagonal::<f64>::sample(m, rng);
    let mut signal = |n: usize| -> Vec<f64> { (0..n).map(|_| f64::sample(rng)).collect() };
    let (u, g) = (signal(n), signal(n));
    let every_state = m * n * MODE;
    let allowed = 3 * n * 8 + m * n / t * MODE + 64 * t * MODE + SLACK;
    assert!(
        4 * allowed < every_state,
        "the measurement can tell them apart"
    );
    let chunked = growth(|| flashconv_adjoint(&ssm, &u, None, &g, None, &Chunking::Uniform(t)));
    println!("one model: {chunked} of {allowed} bytes allowed; every state: {every_state}");
    assert!(chunked <= allowed);

    // The layer, one head of 32 channels: kv would be 32 times a stage. Sixteen stages of (d, N)
    // are held at most (q, k, v, shift_k, gated, output's and input's, and their cotangents), and
    // four layer states (initial, final's cotangent, and what they become).
    let (len, d, m, t) = (1 << 10, 32, 16, 16);
    let shape = LayerShape {
        n_heads: 1,
        head_dim: d,
        d_state: 2 * m,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    let layer = Layer::<f64>::sample(shape, &mut Rng::new(3)).expect("sizes are positive");
    let input = layer.sample_input(1, len, &mut Rng::new(4));
    let state = d * d * m * MODE;
    let whole_allowed = 16 * d * len * 8 + m * len / t * MODE + 4 * state + SLACK;
    let (every_kv, every_passed) = (d * d * len * 8, state * len / t);
    assert!(whole_allowed < every_kv && whole_allowed < every_passed);
    let form = Form::FlashConv(Chunking::Uniform(t));
    let whole = growth(|| layer.gradients(&form, &input, None, &input, None));
    println!("layer: {whole} of {whole_allowed} bytes; kv {every_kv}, states {every_passed}");
    assert!(whole <= whole_allowed);

    // Teeth: the adjoint that stores every state is over the bound, by the same measurement.
    let stored = growth(|| recurrence_adjoint(&ssm, &u, None, &g, None));
    println!("every state: {stored} bytes");
    assert!(stored > allowed);
}
