//! Claim: what the formulas of `cost` say is what is done, to the last operation, at every size.

#[path = "../../examples/cost.rs"]
#[allow(dead_code, reason = "its main is not called")]
pub(crate) mod example;

use example::{Row, attentions, layers, models, operators, ssd};
use hungry_hippos::algebra::{Counted, Rng};
use hungry_hippos::cost::{self, AttentionShape, Convolution, SsdShape, Structure};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{Form, HeadOrder, LayerShape};
use hungry_hippos::ssm::{Diagonal, StateSpace};

fn assert_same(what: &str, rows: Result<Vec<Row>, hungry_hippos::Error>) {
    let rows = rows.expect("runs");
    assert!(rows.len() >= 4, "{what}");
    for row in rows {
        assert_eq!(row.counted, row.formula, "{what}: {}", row.name);
    }
}

#[test]
fn counted_operations_are_the_formulas() {
    // 0, 1, 2; a prime; a power of two and beside it; m - 1, m, m + 1 and chunks' ends.
    for n in [0, 1, 2, 4, 5, 6, 13, 31, 32, 33] {
        for (m, chunk) in [(1, 1), (5, 4), (6, 13), (7, 40)] {
            let what = format!("N = {n}, m = {m}, T = {chunk}");
            for structure in [
                Structure::Diagonal(m),
                Structure::Shift(m),
                Structure::Dense(m.min(5)),
            ] {
                assert_same(
                    &format!("{structure:?}, {what}"),
                    models(structure, n, chunk),
                );
            }
        }
        assert_same(&format!("N = {n}"), attentions(n, 3, 2));
        assert_same(&format!("operators, N = {n}"), operators(n, 7));
        for (inputs, state, chunk) in [(1, 1, 1), (3, 2, 4), (2, 5, 40)] {
            let shape = SsdShape {
                seq_len: n,
                inputs,
                state,
            };
            assert_same(&format!("{shape:?}, T = {chunk}"), ssd(shape, chunk));
        }
    }
    for (heads, d_h, m, n, chunk) in [(3, 1, 4, 11, 4), (2, 3, 6, 9, 2), (1, 2, 2, 1, 1)] {
        let what = format!("{heads} heads of {d_h}, m = {m}, N = {n}, T = {chunk}");
        assert_same(&what, layers(heads, d_h, m, n, chunk));
    }
}

/// Backwards through a Toeplitz matrix is a product with its transpose, N^2 products, and the matrix
/// `g u^T`, N^2 again; a direct correlation is a product for each place on or below the diagonal, once
/// for the kernel and once for the input.
#[test]
fn the_adjoint_of_toeplitz_goes_through_the_matrix() {
    let rng = &mut Rng::new(3);
    let ssm = Diagonal::<Counted>::sample(4, rng);
    for n in [1, 2, 7] {
        let u = ssm.kernel(n);
        let multiplications = |form: Form| {
            let (gradients, count) = Counted::count(|| form.gradients(&ssm, &u, None, &u, None));
            gradients.expect("fits");
            count.multiplications
        };
        let more = multiplications(Form::Toeplitz) - multiplications(Form::Convolution);
        let n = n as u64;
        assert_eq!(more, 2 * n * n - n * (n + 1), "N = {n}");
    }
}

/// The count is of the run and of nothing else: the numbers are those of f64, bit for bit.
#[test]
fn counting_changes_no_number() {
    let (rng, again) = (&mut Rng::new(9), &mut Rng::new(9));
    let counted = Diagonal::<Counted>::sample(4, rng);
    let plain = Diagonal::<f64>::sample(4, again);
    let kernel: Vec<f64> = counted.kernel(50).into_iter().map(Counted::value).collect();
    assert_eq!(kernel, plain.kernel(50));
    // Threads do not see one another's operations.
    let ((), here) = Counted::count(|| {
        let elsewhere = std::thread::spawn(move || Counted::count(|| counted.kernel(9)).1.total());
        assert!(elsewhere.join().expect("ends") > 0);
    });
    assert_eq!(here.total(), 0);
}

/// Teeth: one input or one state more is another number; and what has no cost is said.
#[test]
fn other_sizes_cost_otherwise() {
    let form = Form::FlashConv(Chunking::Uniform(4));
    let of = |m, n| cost::model(&form, Structure::Diagonal(m), n).expect("fits");
    assert_ne!(of(4, 12), of(4, 13));
    assert_ne!(of(4, 12), of(5, 12));
    let shape = |seq_len, key_dim| AttentionShape {
        seq_len,
        key_dim,
        value_dim: 4,
    };
    assert_ne!(
        cost::softmax_attention(shape(9, 4)),
        cost::softmax_attention(shape(9, 5))
    );
    assert!(
        cost::model(
            &Form::FlashConv(Chunking::Uniform(0)),
            Structure::Shift(3),
            5
        )
        .is_err()
    );
    assert!(Convolution::Fft.operations(usize::MAX).is_err());
    let head = |state| SsdShape {
        seq_len: 9,
        inputs: 2,
        state,
    };
    let chunks = Form::FlashConv(Chunking::Uniform(4));
    assert_ne!(
        cost::ssd(&chunks, head(3)).ok(),
        cost::ssd(&chunks, head(4)).ok()
    );
    assert!(
        cost::ssd(&Form::Fft, head(3)).is_err(),
        "there is no kernel"
    );
    let cut = LayerShape {
        n_heads: 1,
        head_dim: 1,
        d_state: 2,
        l_max: Some(4),
        head_order: HeadOrder::D2H,
    };
    assert!(cost::h3_layer(&Form::Fft, &cut, 5).is_err());
}
