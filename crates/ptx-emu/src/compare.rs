// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Comparison of a buffer with what the launch file expects, in f64. In: bytes of both.
//! Out: nothing, or what differs.

use crate::data::Dtype;
use crate::launch::Expect;

/// One element against its expectation.
fn close(got: f64, want: f64, atol: f64, rtol: f64) -> bool {
    if want.is_nan() {
        got.is_nan()
    } else if want.is_infinite() {
        got == want
    } else {
        // False for a NaN or an infinity in `got`.
        (got - want).abs() <= atol + rtol * want.abs()
    }
}

/// Compares all elements.
pub(crate) fn compare(got: &[u8], dtype: Dtype, e: &Expect) -> Result<(), String> {
    let got = dtype.widen(got);
    let want = e.dtype.widen(&e.bytes);
    let bad: Vec<usize> = (0..want.len())
        .filter(|k| !close(got[*k], want[*k], e.atol, e.rtol))
        .collect();
    if let Some(k) = bad.first() {
        return Err(format!(
            "{} of {} elements differ, first [{k}]: got {}, want {}",
            bad.len(),
            want.len(),
            got[*k],
            want[*k]
        ));
    }
    if let Some(limit) = e.rel_l2 {
        let (mut d, mut n) = (0.0, 0.0);
        for (g, w) in got.iter().zip(&want).filter(|(_, w)| w.is_finite()) {
            d += (g - w) * (g - w);
            n += w * w;
        }
        let (d, n): (f64, f64) = (d.sqrt(), n.sqrt());
        let rel = if d == 0.0 { 0.0 } else { d / n };
        // A NaN in `got` has failed above already.
        if rel.is_nan() || rel > limit {
            return Err(format!("relative error {rel:e} above {limit:e}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect(want: &[f32], rel_l2: Option<f64>) -> Expect {
        Expect {
            dtype: Dtype::F32,
            bytes: want.iter().flat_map(|x| x.to_le_bytes()).collect(),
            atol: 0.1,
            rtol: 0.0,
            rel_l2,
        }
    }

    fn bytes(v: &[f32]) -> Vec<u8> {
        v.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    #[test]
    fn nan_and_infinity_must_be_met_exactly() {
        let (n, i) = (f32::NAN, f32::INFINITY);
        assert!(
            compare(
                &bytes(&[n, i, -i, 1.05]),
                Dtype::F32,
                &expect(&[n, i, -i, 1.0], None)
            )
            .is_ok()
        );
        assert!(compare(&bytes(&[1.0]), Dtype::F32, &expect(&[n], None)).is_err());
        assert!(compare(&bytes(&[n]), Dtype::F32, &expect(&[1.0], None)).is_err());
        assert!(compare(&bytes(&[i]), Dtype::F32, &expect(&[1.0], None)).is_err());
        assert!(compare(&bytes(&[-i]), Dtype::F32, &expect(&[i], None)).is_err());
    }

    #[test]
    fn relative_error_counts_finite_elements_only() {
        let e = expect(&[10.0, f32::NAN], Some(0.006));
        assert!(compare(&bytes(&[10.05, f32::NAN]), Dtype::F32, &e).is_ok());
        assert!(compare(&bytes(&[10.07, f32::NAN]), Dtype::F32, &e).is_err());
    }
}
