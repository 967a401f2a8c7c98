// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tolerance table: what counts as right, in one place for every engine and test.
//!
//! In: dtype, precision, where the code ran, the largest |score| and the most keys a row sees. Out: bounds on the relative errors that
//! [`crate::measure`] computes against the float64 reference.
//! The numbers are those of the section "Accuracy that counts as right" of the semantics.

use crate::DType;

/// How much accuracy an operator trades for speed, as far as the tolerances care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exactness {
    /// `precision = standard`.
    Standard,
    /// `precision = fast`: a coarser exponential (bf16, f16).
    Fast,
    /// `precision = tf32`: f32 products on tensor cores.
    Tf32,
}

/// What kind of machine made a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Processor code, interpreters and emulators.
    Host,
    /// A GPU: f32 bounds are ten times wider.
    Gpu,
}

/// Bounds for one comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// On ||x - ref|| / ||ref|| over all elements (Frobenius).
    pub out: f64,
    /// On |lse - ref| / max(1, |ref|).
    pub lse: f64,
}

/// A single row may be off by this many times the bound on the whole, relative to max(||row||, ||ref|| / sqrt(rows)).
pub const ROW_FACTOR: f64 = 10.0;

impl Bounds {
    /// The bounds for results of `dtype`.
    ///
    /// `max_abs_score` is the largest finite |scale * q.k| over visible keys, `keys` the most keys that a row sees (K).
    /// f32: 1e-6 * clamp(max|s|/4, 1, 50) * max(1, sqrt(K/65536)); bf16 1e-2; f16 2e-3.
    /// `fast` has 3.2e-3 (the language's figure) and the lse bounds of `standard`. For `tf32` the semantics give no figure; since its products keep
    /// as many bits as f16 holds, f16's bounds are used, widened like f32's with the scores.
    pub fn new(
        dtype: DType,
        exactness: Exactness,
        place: Place,
        max_abs_score: f64,
        keys: u64,
    ) -> Bounds {
        let by_scores = (max_abs_score / 4.0).clamp(1.0, 50.0);
        let by_keys = (keys as f64 / 65536.0).sqrt().max(1.0);
        match (dtype, exactness) {
            (DType::F32, Exactness::Tf32) => Bounds {
                out: 2e-3 * by_scores,
                lse: 5e-3,
            },
            (DType::F32, Exactness::Standard | Exactness::Fast) => {
                let gpu = match place {
                    Place::Host => 1.0,
                    Place::Gpu => 10.0,
                };
                Bounds {
                    out: 1e-6 * by_scores * by_keys * gpu,
                    lse: 1e-5,
                }
            }
            (DType::Bf16, Exactness::Fast) => Bounds {
                out: 3.2e-3,
                lse: 5e-3,
            },
            (DType::Bf16, Exactness::Standard | Exactness::Tf32) => Bounds {
                out: 1e-2,
                lse: 5e-3,
            },
            (DType::F16, Exactness::Fast) => Bounds {
                out: 3.2e-3,
                lse: 1e-3,
            },
            (DType::F16, Exactness::Standard | Exactness::Tf32) => Bounds {
                out: 2e-3,
                lse: 1e-3,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32_bound(s: f64, k: u64) -> f64 {
        Bounds::new(DType::F32, Exactness::Standard, Place::Host, s, k).out
    }

    #[test]
    fn f32_grows_with_scores_and_keys_within_its_clamps() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12 * b, "{a} {b}");
        close(f32_bound(0.0, 1), 1e-6);
        close(f32_bound(4.0, 65536), 1e-6);
        close(f32_bound(40.0, 100), 1e-5);
        close(f32_bound(1e9, 100), 5e-5);
        close(f32_bound(1.0, 4 * 65536), 2e-6);
        close(f32_bound(8.0, 4 * 65536), 4e-6);
    }

    #[test]
    fn half_types_have_fixed_bounds_and_the_gpu_widens_f32_only() {
        let b = |d, p| Bounds::new(d, Exactness::Standard, p, 400.0, 1 << 24);
        assert_eq!(
            b(DType::Bf16, Place::Host),
            Bounds {
                out: 1e-2,
                lse: 5e-3
            }
        );
        assert_eq!(
            b(DType::F16, Place::Gpu),
            Bounds {
                out: 2e-3,
                lse: 1e-3
            }
        );
        let (host, gpu) = (b(DType::F32, Place::Host), b(DType::F32, Place::Gpu));
        assert!((gpu.out / host.out - 10.0).abs() < 1e-12);
        assert_eq!((host.lse, gpu.lse), (1e-5, 1e-5));
        for (dtype, lse) in [(DType::F16, 1e-3), (DType::Bf16, 5e-3)] {
            let fast = Bounds::new(dtype, Exactness::Fast, Place::Host, 1.0, 1);
            assert_eq!(fast, Bounds { out: 3.2e-3, lse });
        }
    }
}
