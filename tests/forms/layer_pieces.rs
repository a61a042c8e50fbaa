//! Pieces of the layer: its initialization, the functions its poles are stored by, names of forms, modes.

use hungry_hippos::algebra::{Ball, Real};
use hungry_hippos::flashconv::Chunking;
use hungry_hippos::h3::{
    Config, Form, HeadOrder, Initialization, Modes, RealType, polar, sigmoid, softplus,
};
use hungry_hippos::ssm::Discretization;
use hungry_hippos::ssm::hippo::Diagonalized;
use num_complex::Complex;

#[test]
fn the_largest_legs_spectrum_is_of_256() {
    let check = |d_state| {
        let config = Config {
            d_model: 2,
            head_dim: 1,
            d_state,
            n_ssm: 1,
            disc: Discretization::Bilinear,
            real_type: RealType::Exp,
            l_max: None,
            head_order: HeadOrder::D2H,
        };
        let measure = vec![Diagonalized::LegS];
        let (dt_min, dt_max) = (0.001, 0.1);
        Initialization {
            config,
            measure,
            dt_min,
            dt_max,
        }
        .checked()
    };
    assert_eq!(check(256), Ok(()));
    assert!(check(257).unwrap_err().to_string().contains("at most 256"));
}

/// The circle and its center are outside.
#[test]
fn normal_numbers_come_from_within_the_circle() {
    for (x, y) in [(0.0, 0.0), (-1.0, 0.0), (0.0, -1.0), (-1.0, 0.5)] {
        assert_eq!(polar(x, y), None, "{x}, {y}");
    }
    assert!(polar(f64::EPSILON, 0.0).is_some());
    assert!(polar(0.0, 1.0 - f64::EPSILON).is_some());
    // s = 1/2: -2 ln(s) / s = 4 ln 2.
    let expected = core::f64::consts::LN_2.sqrt();
    for x in [0.5, -0.5] {
        let error = polar(x, 0.5).unwrap() - expected * x.signum();
        assert!(error.abs() <= f64::EPSILON, "{error:e}");
    }
}

#[test]
fn the_sigmoid_neither_overflows_nor_underflows_early() {
    // 1 + e^-740 rounds to 1, and e^-740 is a number still, while e^740 is none.
    assert!(sigmoid(-740.0) > 0.0);
    assert_eq!(sigmoid(-740.0), Real::exp(-740.0));
    assert_eq!(sigmoid(800.0), 1.0);
    assert_eq!((sigmoid(0.0), sigmoid(-0.0)), (0.5, 0.5));
}

/// The slope is 1/4 at most. With the exponential in the denominator alone no more of a small
/// radius comes out; with it in both places twice as much would.
#[test]
fn the_sigmoid_of_a_ball_around_zero_is_narrow() {
    let radius = f64::EPSILON;
    let y = sigmoid(Ball::new([0.0, 0.0], radius));
    assert!(y.contains(0.5));
    assert!((radius / 4.0..=radius / 4.0 * 1.001).contains(&y.radius()));
}

/// PyTorch's threshold: "reverts to the linear function" above 20, not at 20.
#[test]
fn softplus_is_the_formula_up_to_twenty() {
    // ln(1 + e^20) = 20 + ln(1 + e^-20) = 20 + 2.0611536e-9.
    let above: f64 = softplus(20.0) - 20.0;
    assert!((above - 2.061_153_6e-9).abs() < 1e-14, "{above:e}");
    let next = 20f64.next_up();
    assert_eq!(softplus(next), next);
}

#[test]
fn names_are_read_back() {
    let chunking = Chunking::Ragged(vec![2, 3]);
    for form in Form::all([chunking.clone()]) {
        let read = Form::from_name(form.name(), chunking.clone());
        assert_eq!(read, Ok(form));
    }
    let error = Form::from_name("fourier", chunking).expect_err("no form");
    assert_eq!(
        error.to_string(),
        "form: unknown value \"fourier\"; expected one of recurrence, scan, toeplitz, \
         convolution, fft, real-fft, block-fft, flashconv, attention"
    );
}

#[test]
fn flashconv_is_listed_once_per_chunking() {
    let chunkings = [1, 7].map(Chunking::Uniform);
    let forms = Form::all(chunkings.clone());
    assert_eq!(forms.len(), Form::all([]).len() + 2);
    for chunking in chunkings {
        assert!(forms.contains(&Form::FlashConv(chunking)));
    }
}

#[test]
fn modes_are_shared_equally_or_refused() {
    let modes = |n_ssm| {
        let five = vec![Complex::new(-0.5, 1.0); 5];
        Modes {
            n_ssm,
            lambda: five.clone(),
            b: five,
            dt: vec![0.1; 10],
        }
        .bilinear()
    };
    for n_ssm in [1, 5] {
        let heads = modes(n_ssm).expect("a divisor of 5");
        assert!(
            heads
                .iter()
                .all(|(a, b)| [a.len(), b.len()] == [5 / n_ssm; 2])
        );
    }
    for n_ssm in [0, 2, 3, 6] {
        let message = modes(n_ssm).expect_err("refused").to_string();
        let why = format!("{n_ssm} does not divide 5 modes");
        assert!(message.contains(&why), "{message}");
    }
}
