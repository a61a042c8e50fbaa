//! Claim: in the steady state the fast path allocates nothing, beside what starting a thread takes.
//!
//! Every allocation of the process is counted, so all is in one test. A call of each kind is made
//! first, to fill the workspace; then the same call must not allocate.

use hungry_hippos::algebra::Rng;
use hungry_hippos::fast::{
    DiagonalParameters, DiagonalSsm, Element, FastAdjoint, FastLayer, H3Kernels, H3Operator, Level,
    LongConvolution, Panels, Projection, SavedStates, ShiftParameters, ShiftSsm, Ssd, SsdInputs,
    StripedFilter, StripedOperator, StripedParameters, Workspace,
};
use hungry_hippos::h3::{Config, HeadOrder, Name, Parameters, RealType};
use hungry_hippos::ssm::Discretization;
use num_complex::Complex;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's own promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's own promise.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's own promise.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations the second and third call make.
fn allocations(mut call: impl FnMut()) -> usize {
    call();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    call();
    call();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

fn parameters(head_dim: usize, rng: &mut Rng) -> Parameters<f64> {
    let config = Config {
        d_model: 24,
        head_dim,
        d_state: 10,
        n_ssm: 1,
        disc: Discretization::Bilinear,
        real_type: RealType::Exp,
        l_max: None,
        head_order: HeadOrder::D2H,
    };
    Parameters::new(config.clone(), |name| {
        let size: usize = name.shape(&config).iter().product();
        Ok((0..size)
            .map(|_| match name {
                Name::LogDt => -3.0 + rng.unit(),
                _ => 0.5 * rng.unit(),
            })
            .collect())
    })
    .expect("sizes fit")
}

fn signal<T: Element>(len: usize, rng: &mut Rng) -> Vec<T> {
    (0..len).map(|_| T::from_f64(rng.unit())).collect()
}

fn nothing_is_allocated<T: Element>(level: Level) {
    let rng = &mut Rng::new(1);
    let (d, len, channels) = (24, 300, 20);
    let workspace = &mut Workspace::<T>::new(1);
    let mut found = Vec::new();

    for head_dim in [1, 2] {
        let p = parameters(head_dim, rng);
        let layer = FastLayer::<T>::new(level, &p).expect("a layer");
        for (what, batch, steps) in [("layer", 2, len), ("step", 1, 1), ("batched step", 8, 1)] {
            let u = signal::<T>(batch * steps * d, rng);
            let (mut out, mut state) = (u.clone(), layer.zero_state(batch));
            found.push((
                what,
                allocations(|| {
                    layer
                        .run(&u, &mut out, &mut state, workspace)
                        .expect("runs")
                }),
            ));
        }
        let u = signal::<T>(2 * len * d, rng);
        let mut config = p.config().clone();
        config.l_max = Some(7);
        let cut = Parameters::new(config, |name| Ok(p.get(name).to_vec())).expect("sizes fit");
        let cut = FastLayer::<T>::new(level, &cut).expect("a layer");
        // A cut sequence begins at the zero state: one for every call.
        let mut states = vec![cut.zero_state(2); 3];
        let mut out = u.clone();
        found.push((
            "layer with cut kernels",
            allocations(|| {
                let mut state = states.pop().expect("three calls");
                cut.run(&u, &mut out, &mut state, workspace).expect("runs");
            }),
        ));
        let adjoint = FastAdjoint::<T>::new(level, &p).expect("a layer");
        let (mut out, mut of_u) = (u.clone(), u.clone());
        let (mut saved, mut sums) = (SavedStates::with_projections(), adjoint.zero_gradients());
        let mut state = adjoint.layer().zero_state(2);
        let mut cotangent = state.clone();
        found.push((
            "forward and backward",
            allocations(|| {
                let forward = adjoint.forward(&u, &mut out, &mut state, &mut saved, workspace);
                forward.expect("runs");
                let back = adjoint.backward(
                    &u,
                    &u,
                    &saved,
                    &mut cotangent,
                    &mut of_u,
                    &mut sums,
                    workspace,
                );
                back.expect("runs");
            }),
        ));
    }

    let u =
        Panels::from_rows(2, len, channels, &signal::<T>(2 * len * channels, rng)).expect("fits");
    let mut y = Panels::zeros(2, len, channels);
    let pairs = 5;
    let complex = |size: f64, rng: &mut Rng| {
        let mut one = || Complex::new(size * rng.unit(), size * rng.unit());
        (0..channels * pairs).map(|_| one()).collect::<Vec<_>>()
    };
    let bank = DiagonalParameters {
        pairs,
        a: complex(0.6, rng),
        b: complex(1.0, rng),
        c: complex(1.0, rng),
        d: signal(channels, rng),
    };
    let ssm = DiagonalSsm::<T>::new(level, &bank).expect("a bank");
    let mut state = ssm.zero_state(2);
    found.push((
        "diagonal models",
        allocations(|| ssm.run(&u, &mut state, &mut y, workspace).expect("runs")),
    ));
    // Tap by tap, and by transforms.
    for (what, taps) in [("shift models", 9), ("shift models, long", 100)] {
        let bank = ShiftParameters {
            taps,
            b: signal(taps * channels, rng),
            c: signal(taps * channels, rng),
            d: signal(channels, rng),
        };
        let ssm = ShiftSsm::<T>::new(level, &bank).expect("a bank");
        let mut state = ssm.zero_state(2);
        found.push((
            what,
            allocations(|| ssm.run(&u, &mut state, &mut y, workspace).expect("runs")),
        ));
    }
    let kernels =
        Panels::from_rows(1, len, channels, &signal::<T>(len * channels, rng)).expect("fits");
    let short = Panels::from_rows(1, 20, channels, &signal::<T>(20 * channels, rng)).expect("fits");
    for (what, kernels) in [
        ("long convolution", &kernels),
        ("the same in parts", &short),
    ] {
        let taps = kernels.seq_len();
        let mut convolution = LongConvolution::<T>::with_taps(level, channels, len, taps);
        found.push((
            what,
            allocations(|| {
                convolution.set_kernels(kernels, workspace).expect("fits");
                convolution.run(&u, &mut y, workspace).expect("runs");
            }),
        ));
    }
    let mut convolution = LongConvolution::<T>::new(level, channels, len);
    convolution.set_kernels(&kernels, workspace).expect("fits");
    found.push((
        "gated convolution",
        allocations(|| {
            let gates = [Some(&u), Some(&u)];
            convolution
                .run_gated(&u, gates, &mut y, workspace)
                .expect("runs");
        }),
    ));
    let kernels = H3Kernels {
        heads: channels,
        head_dim: 2,
        ssm: signal(channels * len, rng),
        d: signal(channels, rng),
        shift: signal(2 * channels * 9, rng),
        shift_d: signal(2 * channels, rng),
    };
    let operator = H3Operator::<T>::new(level, &kernels, len).expect("fits");
    found.push((
        "H3 operator",
        allocations(|| operator.run([&u; 3], &mut y, workspace).expect("runs")),
    ));
    let z = Panels::zeros(6, len, channels);
    for (what, filter) in [
        (
            "hcl",
            StripedFilter::Hcl {
                log_poles: vec![-0.1; 3 * channels],
                residues: signal(3 * channels, rng),
            },
        ),
        ("hcm", StripedFilter::Hcm(signal(128 * channels, rng))),
    ] {
        let parameters = StripedParameters {
            channels,
            short: signal(9 * channels, rng),
            short_bias: Vec::new(),
            groups: channels,
            filter,
            d: Vec::new(),
        };
        let operator = StripedOperator::<T>::new(level, &parameters).expect("fits");
        let mut state = operator.zero_state(2);
        found.push((
            what,
            allocations(|| {
                operator
                    .run(&z, &mut state, &mut y, workspace)
                    .expect("runs");
            }),
        ));
    }
    let ssd = Ssd::new(level, [2, channels], [1, 7]).expect("fits");
    let mut state = ssd.zero_state(1);
    let (of_heads, of_groups) = (signal::<T>(2 * len, rng), signal::<T>(7 * len, rng));
    let inputs = SsdInputs {
        x: &u,
        dt: None,
        log_a: &of_heads,
        b: &of_groups,
        c: &of_groups,
    };
    found.push((
        "SSD",
        allocations(|| {
            ssd.run(&inputs, &mut state, &mut y, workspace)
                .expect("runs")
        }),
    ));
    let weight = signal::<T>(d * d, rng);
    let projection = Projection::new(level, d, &weight, &weight[..d]).expect("fits");
    let (u, mut out) = (signal::<T>(len * d, rng), vec![weight[0]; len * d]);
    found.push((
        "projection",
        allocations(|| projection.apply(&u, &mut out, workspace).expect("fits")),
    ));
    for (what, allocations) in found {
        assert_eq!(allocations, 0, "{what} at {level}");
    }
}

#[test]
fn nothing_is_allocated_in_the_steady_state() {
    for level in Level::all() {
        nothing_is_allocated::<f32>(level);
        nothing_is_allocated::<f64>(level);
    }
    // The count can tell: a call that returns its output in a new tensor allocates.
    let rng = &mut Rng::new(2);
    let p = parameters(1, rng);
    let layer = FastLayer::<f32>::new(Level::detect(), &p).expect("a layer");
    let u = hungry_hippos::Tensor::new([1, 5, 24], signal::<f32>(120, rng)).expect("fits");
    let workspace = &mut Workspace::new(1);
    assert!(allocations(|| drop(layer.forward(&u, None, workspace))) > 0);
}
