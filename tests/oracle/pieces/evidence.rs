//! Evidence convicts from its limits on, and not below; the heads it is gathered on are spread.

use hungry_hippos::algebra::{FloatFormat, Rng};
use hungry_hippos::oracle::{
    BY_CHANCE, CHANCE, Evidence, LARGE, SHARE, SHARE_AT_16_BITS, SHARE_OF_FEW, SHARE_OF_LARGE,
    SHARE_OF_ROUNDED, Scales, Weights, chosen,
};

const EXACT: Scales = Scales {
    exact_parameters: true,
    coarse: None,
    of_few: false,
};

const ROUNDED: Scales = Scales {
    exact_parameters: false,
    coarse: None,
    of_few: false,
};

/// The evidence of an error for a departure, at a stage so large that neither is a part of it.
fn evidence(scales: Scales, error: &[f64], departure: &[f64]) -> Evidence {
    of_stage(scales, error, departure, 1e9)
}

/// The same where every element of the stage is `stage`, all weighed alike.
fn of_stage(scales: Scales, error: &[f64], departure: &[f64], stage: f64) -> Evidence {
    let weights = Weights::of(&vec![1.0; error.len()]);
    let elements = error.iter().zip(departure);
    weights.evidence(scales, elements.map(|(&e, &m)| (e, m, stage)))
}

/// Errors of one size and of either sign, `elements` of them.
fn signs(elements: usize) -> Vec<f64> {
    let sign = |at: usize| match at % 4 < 2 {
        true => 1.0,
        false => -1.0,
    };
    (0..elements).map(sign).collect()
}

/// The same, orthogonal to them.
fn other_signs(elements: usize) -> Vec<f64> {
    let mut signs = signs(elements);
    signs.rotate_right(1);
    signs
}

fn scaled(x: &[f64], by: f64) -> Vec<f64> {
    x.iter().map(|x| by * x).collect()
}

fn sum(x: &[f64], y: &[f64]) -> Vec<f64> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

#[test]
fn a_departure_that_is_the_error_explains_all_of_it() {
    let error = scaled(&signs(64), 3.0);
    let found = evidence(EXACT, &error, &error);
    assert_eq!(found.share, 1.0);
    assert_eq!((found.elements, found.length), (64.0, 24.0));
    assert!(found.convicts(0));
    // Half of it, or twice as much, in its direction.
    let half = evidence(EXACT, &error, &scaled(&error, 0.5));
    assert_eq!(half.share, 0.75);
    let twice = evidence(EXACT, &error, &scaled(&error, 2.0));
    assert_eq!(twice.share, 0.0);
    assert!(half.convicts(0) && !twice.convicts(0));
    let away = evidence(EXACT, &error, &scaled(&error, -1.0));
    assert_eq!(away.share, -3.0);
    assert!(!away.convicts(0));
}

#[test]
fn a_departure_orthogonal_to_the_error_explains_nothing() {
    let (error, other) = (signs(64), other_signs(64));
    let found = evidence(EXACT, &error, &other);
    assert_eq!(found.share, -1.0);
    assert!(!found.convicts(0));
    // The smaller it is the less it speaks against it, and never for it.
    let small = evidence(EXACT, &error, &scaled(&other, 0.25));
    assert_eq!(small.share, -0.0625);
    // Next to it, what is along the error is its share.
    let found = evidence(EXACT, &sum(&error, &other), &error);
    assert_eq!(found.share, 0.5);
}

/// Without an error there is nothing to explain.
#[test]
fn no_error_is_no_evidence() {
    let (none, departure) = (vec![0.0; 64], signs(64));
    let found = evidence(EXACT, &none, &departure);
    assert_eq!(found.share, 0.0);
    assert!(!found.convicts(0));
    // A port that departs so would show it.
    assert!(found.would_show());
    assert!(!evidence(EXACT, &none, &scaled(&departure, 0.1)).would_show());
    let empty = evidence(EXACT, &[], &[]);
    assert_eq!((empty.share, empty.length), (0.0, 0.0));
    assert!(!empty.convicts(0) && !empty.would_show());
}

/// The share that is too much: that of very many elements, and more the fewer there are, up to 0.9.
#[test]
fn the_limit_falls_with_the_number_of_elements() {
    let limit = |scales, elements: usize, fitted: usize| {
        let error = signs(elements);
        evidence(scales, &error, &scaled(&error, 3.0)).limit(fitted)
    };
    for (scales, elements, fitted, expected) in [
        (EXACT, 1, 0, 0.9),
        (EXACT, 8, 0, 0.9),
        (EXACT, 16, 0, SHARE + BY_CHANCE / 16.0),
        (EXACT, 800, 0, SHARE + 0.01),
        (EXACT, 800, 1, SHARE + 10.0 / 800.0),
        (ROUNDED, 800, 0, SHARE_OF_ROUNDED + 0.01),
        (ROUNDED, 800, 1, SHARE_OF_ROUNDED + 10.0 / 800.0),
        // Fitted by several numbers it explains much in any case.
        (EXACT, 800, 4, SHARE_OF_ROUNDED + 16.0 / 800.0),
        (ROUNDED, 16, 4, 0.9),
    ] {
        let found = limit(scales, elements, fitted).expect("stands out");
        assert!(
            (found - expected).abs() < 1e-12,
            "{found} for {elements}, {fitted}"
        );
    }
    // One element that is off by far counts as one.
    let mut lone = scaled(&signs(800), 1e-9);
    lone[7] = 1.0;
    let found = evidence(EXACT, &lone, &lone);
    assert!((found.elements - 1.0).abs() < 1e-9 && found.limit(0) == Some(0.9));
}

/// A share that is the limit convicts nobody; one element more does.
#[test]
fn the_limit_itself_convicts_nobody() {
    let error = signs(800);
    // A departure that is the error in some places explains their share.
    let limit = SHARE + BY_CHANCE / 800.0;
    for (places, convicts) in [(127, false), (128, false), (129, true)] {
        let departure: Vec<f64> = (0..800)
            .map(|at| if at < places { error[at] } else { 0.0 })
            .collect();
        let found = evidence(EXACT, &error, &departure);
        assert_eq!(found.share, places as f64 / 800.0);
        assert_eq!(found.limit(0), Some(limit));
        assert_eq!(found.convicts(0), convicts, "{places}");
        assert!(!found.convicts(1), "{places}: one number of it fitted");
    }
}

/// A departure shorter than the probable error cannot be told from it; of one that is fitted more is
/// asked.
#[test]
fn departures_stand_out_from_some_length_on() {
    for (fitted, least) in [(0, 1.0), (1, 1.0), (2, 3.0), (9, 3.0)] {
        for (length, stands_out) in [(least, true), (f64::next_down(least), false)] {
            let mut departure = vec![0.0; 800];
            departure[3] = length;
            let found = evidence(EXACT, &signs(800), &departure);
            assert_eq!(found.length, length);
            assert_eq!(
                found.limit(fitted).is_some(),
                stands_out,
                "{length}, {fitted}"
            );
        }
    }
}

/// A departure that is a large part of the stage needs no length, but has to explain most of the error,
/// and more than any of so many random directions would.
#[test]
fn large_parts_of_a_stage_need_no_length() {
    let limit = |elements: usize, part: f64, fitted: usize| {
        let size = 2f64.powi(-20);
        let error = scaled(&signs(elements), size);
        of_stage(EXACT, &error, &scaled(&error, part), size).limit(fitted)
    };
    assert_eq!(limit(800, LARGE, 0), Some(SHARE_OF_LARGE));
    assert_eq!(limit(800, f64::next_down(LARGE), 0), None);
    let of_few = limit(16, 1.0, 0).expect("large");
    assert!((of_few - (1.0 - 10f64.powf(-24.0 / 15.0))).abs() < 1e-12);
    assert!(limit(16, 1.0, 4).expect("large") > of_few);
    // One element is off by some part of it always; so is one more than was fitted.
    assert_eq!(limit(1, 1.0, 0), None);
    assert_eq!(limit(5, 1.0, 4), None);
    assert!(limit(6, 1.0, 4).is_some());
    // Where the departure stands out as well, the lower limit counts.
    let error = scaled(&signs(800), 3.0);
    let both = of_stage(EXACT, &error, &error, 3.0);
    assert_eq!(both.limit(0), Some(SHARE + BY_CHANCE / 800.0));
    let both = of_stage(ROUNDED, &error[..40], &error[..40], 3.0);
    let limit = both.limit(0).expect("both");
    assert!((limit - (SHARE_OF_ROUNDED + 0.2)).abs() < 1e-12, "{limit}");
}

/// In 16 bits a departure of one rounding of the stage needs no length either, and has to explain less; if
/// the parameters are exact and it was not made to measure.
#[test]
fn in_16_bits_one_rounding_is_enough() {
    let u = FloatFormat::BF16.unit_roundoff();
    let coarse = |exact_parameters| Scales {
        exact_parameters,
        coarse: Some(u),
        of_few: false,
    };
    let error = scaled(&signs(800), 1e-6);
    let limit = |scales, part: f64, fitted: usize| {
        of_stage(scales, &error, &scaled(&error, part), 1e-6).limit(fitted)
    };
    let chance = |fitted: f64| 1.0 - CHANCE.powf(2.0 / (799.0 - fitted));
    for fitted in [0, 1] {
        let chance = chance(fitted as f64);
        let expected = chance + SHARE_AT_16_BITS * (1.0 - chance);
        let found = limit(coarse(true), u, fitted).expect("as large as that");
        assert!((found - expected).abs() < 1e-12, "{found}, {expected}");
    }
    // An error made of few numbers has to be explained nearly whole.
    let few = Scales {
        of_few: true,
        ..coarse(true)
    };
    let found = limit(few, u, 0).expect("as large as that");
    assert_eq!(found, SHARE_OF_FEW);
    let found = |count: usize| {
        let few_elements = scaled(&signs(count), 1e-6);
        of_stage(few, &few_elements, &scaled(&few_elements, u), 1e-6).limit(0)
    };
    // Unless chance alone has more.
    assert!(found(8).expect("as large as that") > SHARE_OF_FEW);
    assert_eq!(limit(coarse(true), f64::next_down(u), 0), None);
    assert_eq!(limit(coarse(true), u, 2), None);
    assert_eq!(limit(coarse(false), u, 0), None);
    assert_eq!(limit(EXACT, u, 0), None);
}

/// What has no probable error takes no part; what has next to none counts as a thousandth of the median.
#[test]
fn weights_are_those_of_what_rounds() {
    let weights = Weights::of(&[0.0, 2.0, 4.0, 0.0, 1e-30, 8.0, 4e-3, 9e9, 5.0]);
    let expected = [0.0, 0.5, 0.25, 0.0, 250.0, 0.125, 250.0, 1.0 / 9e9, 0.2];
    assert_eq!(core::array::from_fn(|at| weights.at(at)), expected);
    // Four of seven elements.
    let weights = Weights::of(&[0.0, 2.0, 2.0, 0.0, 2.0, 2.0, 0.0]);
    let errors = [9.0, 2.0, -2.0, 9.0, 2.0, 2.0, 9.0];
    assert_eq!(weights.rms(errors.into_iter()), 1.0);
    let elements = errors.into_iter().map(|e| (e, e, 1e9));
    let found = weights.evidence(EXACT, elements);
    assert_eq!((found.share, found.elements, found.length), (1.0, 4.0, 2.0));
    // A departure where nothing rounds is judged by the bound alone.
    let exact = errors.into_iter().zip([9.0, 0.0, 0.0, 9.0, 0.0, 0.0, 9.0]);
    let found = weights.evidence(EXACT, exact.map(|(e, m)| (e, m, 1e9)));
    assert_eq!((found.share, found.length), (0.0, 0.0));
    assert!(found.limit(0).is_none() && !found.would_show());

    let exact = Weights::of(&[0.0; 3]);
    assert_eq!(exact.rms([1.0, 2.0, 3.0].into_iter()), 0.0);
    assert_eq!(Weights::of(&[]).rms(core::iter::empty()), 0.0);
}

/// A port that makes a mistake said to be excluded is refused, or left undecided: whatever its roundings,
/// if they are as large as the ones that were seen.
#[test]
fn what_would_show_does() {
    let rng = &mut Rng::new(19);
    let (mut said, mut silent) = (0, 0);
    for trial in 0..6000 {
        let elements = [3, 8, 40, 200][trial % 4];
        let mut scales = [EXACT, ROUNDED][trial / 4 % 2];
        scales.coarse = (trial % 5 == 0).then_some(1.0 / 256.0);
        let mut random =
            |size: f64| -> Vec<f64> { (0..elements).map(|_| size * rng.unit()).collect() };
        let size = 2f64.powi(trial as i32 % 13 - 6);
        let (rounding, other, departure) = (random(0.2), random(0.2), random(size));
        let stage = [1e9, 2.0][trial / 8 % 2];
        if !of_stage(scales, &rounding, &departure, stage).would_show() {
            silent += 1;
            continue;
        }
        said += 1;
        let error = sum(&other, &departure);
        let found = of_stage(scales, &error, &departure, stage);
        let weights = Weights::of(&vec![1.0; elements]);
        let undecided = weights.rms(error.into_iter()) >= LARGE * stage;
        assert!(found.convicts(0) || undecided, "{trial}: {found:?}");
    }
    assert!(said > 1000 && silent > 1000, "{said}, {silent}");
}

#[test]
fn heads_are_spread_and_half_are_wrong_ones() {
    let even = chosen(768, &[], 16);
    assert_eq!(even.len(), 16);
    let parts: Vec<usize> = even.iter().map(|head| head / 48).collect();
    assert_eq!(parts, (0..16).collect::<Vec<_>>());
    for period in [2, 3, 4, 6, 8] {
        let places = even.iter().map(|head| head % period);
        let seen = places.collect::<std::collections::BTreeSet<_>>();
        assert!(seen.len() > 1, "all alike modulo {period}");
    }
    // One that is wrong is among them, and no more than half are chosen for that.
    assert!(!even.contains(&701));
    assert!(chosen(768, &[701], 16).contains(&701));
    let last: Vec<usize> = (704..768).collect();
    let found = chosen(768, &last, 16);
    let wrong = found.iter().filter(|head| last.contains(head)).count();
    assert!((8..12).contains(&wrong), "{found:?}");
    assert_eq!(chosen(768, &(0..768).collect::<Vec<_>>(), 16), even);
}
