//! What is remembered is what was computed, as long as there is room.

use hungry_hippos::oracle::{Memo, ROOM, Recall, Step};

/// Numbers asked before are not computed again; those that differ in a number, a length or the step are.
#[test]
fn only_the_same_numbers_are_remembered() {
    let memo = Memo::default();
    let learning = Recall::new(Some(&memo), true);
    let (one, other) = ([1.0, 2.0], [2.0]);
    // There is no room for what a run with a mistake leaves.
    let reading = Recall::new(Some(&memo), false);
    reading.answer(Step::Convolve, &[&vec![0.5; ROOM]], || ());
    let first = learning.answer(Step::Kernel, &[&one, &other], || vec![3.0]);
    assert_eq!(first, [3.0]);
    let again = reading.answer(Step::Kernel, &[&one, &other], || vec![4.0]);
    assert_eq!(again, [3.0]);

    for asked in [[&one[..], &[-2.0]], [&one[..1], &[2.0, 2.0]]] {
        assert_eq!(reading.answer(Step::Kernel, &asked, || vec![4.0]), [4.0]);
        // It has left nothing behind.
        assert_eq!(reading.answer(Step::Kernel, &asked, || vec![5.0]), [5.0]);
    }
    let step = reading.answer(Step::Absorb, &[&one, &other], || vec![4.0]);
    assert_eq!(step, [4.0]);
    let none = Recall::default().answer(Step::Kernel, &[&one, &other], || vec![4.0]);
    assert_eq!(none, [4.0]);
    // Zeros of two signs are two numbers, and a number that is none is itself.
    let [zero, minus, nan] = [0.0, -0.0, f64::NAN];
    for x in [zero, minus, nan] {
        let _ = learning.answer(Step::Project, &[&[x]], || x.to_bits());
    }
    for x in [zero, minus, nan] {
        let known = reading.answer(Step::Project, &[&[x]], || 1);
        assert_eq!(known, x.to_bits());
    }
}

/// A run with a mistake leaves its answers as long as there is room.
#[test]
fn mistakes_leave_their_answers_where_there_is_room() {
    let memo = Memo::default();
    let mistaken = Recall::new(Some(&memo), false);
    let asked = |x: f64, answer: f64| {
        let numbers = vec![x; ROOM / 2];
        mistaken.answer(Step::Convolve, &[&numbers], || answer)
    };
    assert_eq!([asked(1.0, 1.0), asked(1.0, 2.0)], [1.0, 1.0]);
    assert_eq!([asked(2.0, 3.0), asked(2.0, 4.0)], [3.0, 3.0]);
    assert_eq!([asked(3.0, 5.0), asked(3.0, 6.0)], [5.0, 6.0]);
}
