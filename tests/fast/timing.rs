//! The times of steps: their medians and the slope of a line through them.

use hungry_hippos::lm::{StepTimes, median};

fn times(second: f64) -> StepTimes {
    let seconds = vec![vec![5.0, 5.0], vec![7.0, second], vec![11.0, 11.0]];
    StepTimes::of(vec![1, 2, 4], seconds)
}

#[test]
fn the_slope_of_a_line_is_exact_and_has_no_error() {
    // 3 + 2 n at n = 1, 2, 4.
    assert_eq!(times(7.0).seconds_per_token_before(), Some((2.0, 0.0)));
    let (_, error) = times(8.0)
        .seconds_per_token_before()
        .expect("three lengths");
    assert!(error > 0.0);
}

#[test]
fn the_median_is_the_middle_one() {
    assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(Vec::new()), 0.0);
    assert_eq!(times(8.0).medians(), [5.0, 8.0, 11.0]);
}
