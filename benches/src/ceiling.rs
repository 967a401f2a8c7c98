// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ceiling of the portable kernels: fused multiply-adds on 128-bit vectors, as fast as the processor issues them.
//!
//! In: nothing. Out: GFLOP/s of one thread now, a multiply-add counted as two. Twelve independent accumulators in registers: more than
//! latency times throughput of any processor so far (4 cycles x 2 a cycle), fewer than the registers there are.

use std::hint::black_box;
use std::time::Instant;

/// Accumulators.
const CHAINS: usize = 12;
/// Rounds of one measurement.
const ROUNDS: u64 = 2_000_000;

/// A processor that fuses multiplication and addition.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct Fma(pulp::x86::V3);

/// A processor that fuses multiplication and addition.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy, Debug)]
pub struct Fma(());

#[cfg(target_arch = "x86_64")]
impl Fma {
    /// This one, if it does.
    pub fn here() -> Option<Fma> {
        pulp::x86::V3::try_new().map(Fma)
    }

    fn spin(self) {
        struct Spin(pulp::x86::V3);
        impl pulp::NullaryFnOnce for Spin {
            type Output = [pulp::f32x4; CHAINS];
            #[inline(always)]
            fn call(self) -> Self::Output {
                let x = black_box(self.0.splat_f32x4(0.5));
                let y = black_box(self.0.splat_f32x4(1.0));
                let mut acc = [y; CHAINS];
                for _ in 0..ROUNDS {
                    for a in &mut acc {
                        *a = self.0.mul_add_f32x4(*a, x, y);
                    }
                }
                acc
            }
        }
        black_box(self.0.vectorize(Spin(self.0)));
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Fma {
    /// Not measured on this processor.
    pub fn here() -> Option<Fma> {
        None
    }
    fn spin(self) {}
}

/// GFLOP/s, the best of several tries.
pub fn ceiling(fma: Fma) -> f64 {
    let flops = 2.0 * 4.0 * CHAINS as f64 * ROUNDS as f64;
    (0..8)
        .map(|_| {
            let start = Instant::now();
            fma.spin();
            flops / start.elapsed().as_secs_f64() / 1e9
        })
        .fold(0.0, f64::max)
}
