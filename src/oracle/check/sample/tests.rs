use super::*;

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
