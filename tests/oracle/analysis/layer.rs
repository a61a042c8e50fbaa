//! The analysis of the layer beyond the first order. (Scales of whole cases are tested in `tests/oracle/scales.rs`.)

use hungry_hippos::algebra::{COMPLEX_PRODUCT, ComplexErrorScale, ErrorBound, ErrorScale, Ring};
use hungry_hippos::oracle::{Format, kernel_errors};
use hungry_hippos::ssm::Diagonal;

/// Powers of a pole that every step takes further off in the same direction, by its own error and by that
/// of a product. Beyond the first order they are within the scale, to first order they are not; where
/// roundings are small the two agree up to a product.
#[test]
fn roundings_that_multiply_are_bounded() {
    let u = Format::BF16.unit_roundoff();
    for (size, own) in [(1.0, 8.0), (0.99, 8.0), (0.97, 0.0)] {
        let pole = ComplexErrorScale::new(size.into(), ErrorBound::both(own * size));
        let one = vec![ComplexErrorScale::ONE];
        let ssm = Diagonal::new(vec![pole], one.clone(), one, ErrorScale::ZERO).expect("one mode");
        let kernel = |beyond: Option<Format>| kernel_errors(&ssm, 300, beyond);
        let first = kernel(None);
        let beyond = kernel(Some(Format::BF16));
        let fine = kernel(Some(Format::F64));
        let factor = 1.0 + (own + COMPLEX_PRODUCT) * u;
        let mut missed = 0;
        for (l, (first, beyond)) in (0..).zip(first.iter().zip(&beyond)) {
            // A kernel's number is twice the real part.
            let off = 2.0 * f64::powi(size, l) * (factor.powi(l) - 1.0);
            assert!(off <= u * beyond.worst, "{size}, {l}: {off:e} {beyond:?}");
            assert!(beyond.worst >= first.worst && beyond.probable == first.probable);
            missed += u32::from(off > u * first.worst);
        }
        assert!(missed > 100, "{size}, {own}: {missed}");
        for (l, (fine, first)) in (0..).zip(fine.iter().zip(&first)) {
            // It allows for a product more than running powers have.
            let product = 2.0 * COMPLEX_PRODUCT * f64::powi(size, l);
            assert!(fine.worst <= (first.worst + product) * (1.0 + 1e-11));
        }
    }
}
