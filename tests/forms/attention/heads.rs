//! Claim: feature maps are what they are called and keep linear attention one function; several
//! heads are one attention on slices of the channels.

use hungry_hippos::algebra::{Ball, Dual, M61, Matrix, Real, Rng, Sample};
use hungry_hippos::attention::{
    FeatureMap, linear_attention_quadratic, linear_attention_recurrent, linear_attention_ssm,
    masked_attention, multi_head, softmax_attention,
};
use hungry_hippos::ssm::toeplitz_matrix;

fn matrix<T: Sample>(rows: usize, cols: usize, rng: &mut Rng) -> Matrix<T> {
    Matrix::from_fn(rows, cols, |_, _| T::sample(rng))
}

#[test]
fn feature_maps_by_hand() {
    for (x, elu, exp) in [
        (2.0, 3.0, 2f64.exp()),
        (0.0, 1.0, 1.0),
        (-1.5, (-1.5f64).exp(), (-1.5f64).exp()),
    ] {
        assert_eq!(FeatureMap::EluPlusOne.of(x), elu);
        assert_eq!(FeatureMap::Exp.of(x), exp);
        assert_eq!(FeatureMap::Identity.of(x), x);
        // The slope: 1 from zero up, e^x below.
        let slope = FeatureMap::EluPlusOne.of(Dual::variable(x)).derivative;
        assert_eq!(slope, if x < 0.0 { elu } else { 1.0 }, "at {x}");
    }
    // A ball that straddles zero holds both sides.
    let ball = FeatureMap::EluPlusOne.of(Ball::hull(-0.5, 0.5));
    for x in [-0.5, 0.0, 0.5] {
        let y: f64 = FeatureMap::EluPlusOne.of(x);
        assert!((y - ball.to_f64()).abs() <= ball.radius(), "{x}: {ball:?}");
    }
}

/// The three forms agree for every map; positive features give weighted means; and the maps are
/// different attentions.
#[test]
fn linear_attention_with_each_map() {
    let rng = &mut Rng::new(5);
    let (n, d) = (24, 4);
    let (q, k): (Matrix<f64>, Matrix<f64>) = (matrix(n, d, rng), matrix(n, d, rng));
    let v: Matrix<f64> = matrix(n, 3, rng);
    let close = |a: &Matrix<f64>, b: &Matrix<f64>| {
        let pairs = a.entries().iter().zip(b.entries());
        pairs.fold(0.0f64, |worst, (a, b)| worst.max((a - b).abs())) < 1e-12
    };
    let mut outputs: Vec<Matrix<f64>> = Vec::new();
    for map in [FeatureMap::EluPlusOne, FeatureMap::Exp] {
        let (phi_q, phi_k) = (map.apply(&q), map.apply(&k));
        let o = linear_attention_quadratic(&phi_q, &phi_k, &v).expect("positive");
        let recurrent = linear_attention_recurrent(&phi_q, &phi_k, &v).expect("positive");
        assert!(close(&o, &recurrent), "{map:?}");
        let ssm = linear_attention_ssm(&phi_q, &phi_k, &v).expect("positive");
        assert!(close(&o, &ssm), "{map:?}");
        // Weights are positive and add up to one: a mean of values in [-1, 1).
        assert!(o.entries().iter().all(|o| o.abs() <= 1.0), "{map:?}");
        let first = |x: &Matrix<f64>| x.get(0, 0).expect("inside");
        assert!(
            (first(&o) - first(&v)).abs() < 1e-15,
            "it sees itself alone"
        );
        assert!(outputs.iter().all(|other| !close(other, &o)), "{map:?}");
        outputs.push(o);
    }
    // The identity is no such mean, and its normalizer can be zero.
    let q = Matrix::new(1, 2, vec![1.0, 1.0]).expect("fits");
    let k = Matrix::new(1, 2, vec![1.0, -1.0]).expect("fits");
    let identity = FeatureMap::Identity;
    let said = linear_attention_recurrent(&identity.apply(&q), &identity.apply(&k), &k);
    assert!(said.expect_err("0").to_string().contains("normalizer"));
    let positive = FeatureMap::EluPlusOne;
    assert!(linear_attention_recurrent(&positive.apply(&q), &positive.apply(&k), &k).is_ok());
}

#[test]
fn heads_are_slices() {
    let rng = &mut Rng::new(6);
    let n = 9;
    let (q, k, v): (Matrix<M61>, Matrix<M61>, Matrix<M61>) =
        (matrix(n, 6, rng), matrix(n, 6, rng), matrix(n, 4, rng));
    let masks = [1, 2].map(|h| toeplitz_matrix(&[M61::new(h); 9], M61::new(5), n));
    let all = multi_head(&q, &k, &v, 2, |h, q, k, v| {
        masked_attention(q, k, v, &masks[h])
    });
    let all = all.expect("2 divides");
    assert_eq!((all.rows(), all.cols()), (n, 4));
    for h in 0..2 {
        let part = |x: &Matrix<M61>, w: usize| {
            Matrix::from_fn(n, w, |i, c| x.get(i, h * w + c).expect("inside"))
        };
        let own = masked_attention(&part(&q, 3), &part(&k, 3), &part(&v, 2), &masks[h]);
        assert_eq!(part(&all, 2), own.expect("fits"), "head {h}");
    }
    // One head is the attention itself; two are not one.
    let one = multi_head(&q, &k, &v, 1, |_, q, k, v| {
        masked_attention(q, k, v, &masks[0])
    });
    let one = one.expect("1 divides");
    assert_eq!(one, masked_attention(&q, &k, &v, &masks[0]).expect("fits"));
    assert_ne!(one, all);
    // What does not divide, and a head that returns another length, are refused.
    for heads in [0, 4, 5] {
        let e = multi_head(&q, &k, &v, heads, |_, _, _, v| Ok(v.clone()));
        assert!(e.expect_err("no").to_string().contains("does not divide"));
    }
    let e = multi_head(&q, &k, &v, 2, |_, _, _, v| Ok(v.transpose()));
    assert!(e.expect_err("no").to_string().contains("rows of a head"));
    let floats: Matrix<f64> = matrix(n, 4, rng);
    let softmax = multi_head(&floats, &floats, &floats, 2, |_, q, k, v| {
        softmax_attention(q, k, v, 0.5)
    });
    assert_eq!(softmax.expect("2 divides").get(0, 3), floats.get(0, 3));
}
