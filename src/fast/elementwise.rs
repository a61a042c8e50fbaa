//! Elementwise products of runs of lanes.

use super::lanes::{Arithmetic, Element};
use super::level::{Isa, Kernel, Level};

/// Vectors a call.
const AT_ONCE: usize = 4;

/// `out = a b`, or `out += a b`, over as many vectors as the shortest has.
///
/// A level is entered for every few vectors, with no loop over them inside. In such a loop the
/// compiler would take neighbouring *steps* rather than neighbouring lanes for the elements of a
/// vector, and gather them one by one: measured, six times slower. Four vectors per call were
/// measured to be faster than sixteen.
pub(super) fn multiply<T: Element>(
    level: Level,
    a: &[T::Lanes],
    b: &[T::Lanes],
    add: bool,
    out: &mut [T::Lanes],
) {
    let (a, a_rest) = a.as_chunks::<AT_ONCE>();
    let (b, b_rest) = b.as_chunks::<AT_ONCE>();
    let (out, out_rest) = out.as_chunks_mut::<AT_ONCE>();
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        level.run(Multiply::<T, AT_ONCE> { a, b, add, out });
    }
    for ((out, a), b) in out_rest.iter_mut().zip(a_rest).zip(b_rest) {
        level.run(Multiply::<T, 1> {
            a: &[*a],
            b: &[*b],
            add,
            out: core::array::from_mut(out),
        });
    }
}

struct Multiply<'a, T: Element, const N: usize> {
    a: &'a [T::Lanes; N],
    b: &'a [T::Lanes; N],
    add: bool,
    out: &'a mut [T::Lanes; N],
}

impl<T: Element, const N: usize> Kernel for Multiply<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Isa>(self) {
        let Self { a, b, add, out } = self;
        if add {
            for i in 0..N {
                out[i] = a[i].fma::<S>(b[i], out[i]);
            }
        } else {
            for i in 0..N {
                out[i] = a[i].times(b[i]);
            }
        }
    }
}
