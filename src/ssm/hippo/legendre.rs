//! Legendre polynomials, as values and as coefficients, by their three-term recurrence.

use crate::algebra::{Field, Matrix};
use crate::error::Error;

/// `P_0(x), ..., P_{m-1}(x)` by `(n+1) P_{n+1} = (2n+1) x P_n - n P_{n-1}`.
///
/// # Errors
///
/// If some `n <= m` has no inverse in this scalar.
pub fn legendre<T: Field>(m: usize, x: T) -> Result<Vec<T>, Error> {
    let mut values: Vec<T> = Vec::with_capacity(m);
    for n in 0..m {
        let next = match n {
            0 => T::ONE,
            1 => x,
            _ => {
                let k = n as i64 - 1;
                let sum =
                    T::from_i64(2 * k + 1) * x * values[n - 1] - T::from_i64(k) * values[n - 2];
                divide(sum, k + 1)?
            }
        };
        values.push(next);
    }
    Ok(values)
}

/// The Legendre polynomials of an affine argument, expanded in Legendre polynomials:
/// `P_n(a x + b) = sum_k M_nk P_k(x)`. `M` is m x m and lower triangular.
///
/// The same recurrence, on coefficients: `x P_k = ((k+1) P_{k+1} + k P_{k-1}) / (2k+1)`.
///
/// # Errors
///
/// As [`legendre`].
pub fn legendre_of_affine<T: Field>(m: usize, a: T, b: T) -> Result<Matrix<T>, Error> {
    let times_x = |p: &[T]| -> Result<Vec<T>, Error> {
        let mut product = vec![T::ZERO; m];
        for (k, &c) in p.iter().enumerate() {
            let (k, c) = (k as i64, divide(c, 2 * k as i64 + 1)?);
            if let Some(up) = product.get_mut(k as usize + 1) {
                *up = *up + T::from_i64(k + 1) * c;
            }
            if k > 0 {
                product[k as usize - 1] = product[k as usize - 1] + T::from_i64(k) * c;
            }
        }
        Ok(product)
    };
    let mut rows: Vec<Vec<T>> = Vec::with_capacity(m);
    for n in 0..m {
        let mut row = vec![T::ZERO; m];
        if n == 0 {
            row[0] = T::ONE;
        } else {
            // P_n has degree n < m, so nothing falls off the end of the product.
            let k = n as i64 - 1;
            let last = &rows[n - 1];
            for (i, &x) in times_x(last)?.iter().enumerate() {
                let argument = a * x + b * last[i];
                let before = if n > 1 { rows[n - 2][i] } else { T::ZERO };
                let sum = T::from_i64(2 * k + 1) * argument - T::from_i64(k) * before;
                row[i] = divide(sum, k + 1)?;
            }
        }
        rows.push(row);
    }
    Matrix::new(m, m, rows.concat())
}

/// `x / n` for an integer `n > 0`.
pub(super) fn divide<T: Field>(x: T, n: i64) -> Result<T, Error> {
    x.divide(T::from_i64(n)).ok_or_else(|| {
        Error::unsupported(format!(
            "Legendre polynomials over a scalar in which {n} is zero"
        ))
    })
}
