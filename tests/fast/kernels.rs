//! Pieces of training on the fast path, and what is learned of its threads.

use hungry_hippos::fast::{Element, Experience, Masks, TRIALS, Vector, gelu};
use hungry_hippos::model::{exact_gelu, exact_gelu_slope, gelu as mlp_gelu};

/// The factors of `count` numbers from number `first` on.
fn factors(masks: Masks, first: u64, count: usize) -> Vec<f64> {
    type Lanes = <f64 as Element>::Lanes;
    let mut lanes = vec![Lanes::ZERO; count.div_ceil(Lanes::WIDTH)];
    masks.factors::<f64>(first, count, &mut lanes);
    let all = lanes.iter().flat_map(|lanes| lanes.lanes().to_vec());
    all.take(count).collect()
}

/// True if every factor is one of the two, and so many are zero as of independent draws but for five
/// standard deviations: then the mean is one, and what is evaluated without dropout is what was trained.
fn is_dropout(factors: &[f64], rate: f64) -> bool {
    let kept = 1.0 / (1.0 - rate);
    let zeros = factors.iter().filter(|x| **x == 0.0).count() as f64;
    let count = factors.len() as f64;
    let deviation = (count * rate * (1.0 - rate)).sqrt();
    factors.iter().all(|x| *x == 0.0 || *x == kept)
        && (zeros - rate * count).abs() <= 5.0 * deviation
}

#[test]
fn what_is_kept_makes_up_for_what_is_not() {
    for rate in [0.1, 0.5, 0.9] {
        let masks = Masks::new(3, 4, 1, rate).expect("some are left out");
        let all = factors(masks, 0, 20_000);
        assert!(is_dropout(&all, rate), "{rate}");
        let unscaled: Vec<f64> = all.iter().map(|x| x * (1.0 - rate)).collect();
        assert!(!is_dropout(&unscaled, rate), "{rate}, not scaled");
        assert!(!is_dropout(&all, 0.8 * rate), "{rate}, another share");
        // Numbers are drawn by their place, wherever a run of them begins.
        assert_eq!(factors(masks, 7, 100), all[7..107], "{rate}");
        for (seed, step, site) in [(2, 4, 1), (3, 5, 1), (3, 4, 2)] {
            let other = Masks::new(seed, step, site, rate).expect("some are left out");
            assert_ne!(factors(other, 0, 200), all[..200], "{seed}, {step}, {site}");
        }
    }
    assert!(Masks::new(3, 4, 1, 0.0).is_none());
}

/// The reference's is by a series and a continued fraction.
#[test]
fn the_activation_is_the_exact_gelu() {
    for i in -800..=800 {
        let x = f64::from(i) / 100.0;
        let [value, slope] = gelu(x);
        assert!((value - exact_gelu(x)).abs() <= 1e-14, "{x}");
        assert!((slope - exact_gelu_slope(x)).abs() <= 1e-14, "{x}");
    }
    assert!((gelu(3.0)[0] - mlp_gelu(3.0)).abs() > 1e-4, "the other one");
}

/// Both ways are tried, then the quicker one is taken but for one call in 32; each size is a matter of its own.
#[test]
fn the_quicker_way_is_taken() {
    for quicker in [true, false] {
        let mut experience = Experience::default();
        let mut shared = 0;
        for call in 0..320 {
            let share = experience.share(5000);
            if call < TRIALS {
                assert_eq!(share, call % 2 == 0, "both are tried");
            }
            shared += usize::from(share);
            // The first call of all is slow.
            let slow = if call == 0 { 5.0 } else { 1.0 };
            let seconds = if share == quicker { slow } else { 1.2 * slow };
            experience.note(5000, share, seconds);
        }
        let rare = if quicker { 320 - shared } else { shared };
        assert!((11..=13).contains(&rare), "{rare}");
        assert!(experience.share(9000), "of another size nothing is known");
    }
}
