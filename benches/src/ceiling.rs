// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ceilings of f32 kernels: fused multiply-adds on vectors of 128, 256 and 512 bits, as fast as the processor issues them.
//!
//! In: nothing. Out: GFLOP/s of one thread now, a multiply-add counted as two. Twelve independent accumulators in registers: more than
//! latency times throughput of any processor so far (4 cycles x 2 a cycle), fewer than the registers there are. The loop is twelve
//! `vfmadd` on registers, an addition and a branch; a factor or an accumulator in memory would show as a rate far below the kernels'.

use std::hint::black_box;
use std::time::Instant;

use attnc::CpuTarget;

/// Accumulators.
const CHAINS: usize = 12;
/// Rounds of one measurement.
const ROUNDS: u64 = 2_000_000;

/// Vectors that this processor multiplies and adds in one instruction.
#[derive(Clone, Copy, Debug)]
pub struct Fma {
    bits: u32,
    spin: Spin,
}

impl Fma {
    /// Every width that this processor has, narrowest first; none on processors that are not measured.
    pub fn here() -> Vec<Fma> {
        [128, 256, 512]
            .into_iter()
            .filter_map(|bits| {
                Some(Fma {
                    bits,
                    spin: spin(bits)?,
                })
            })
            .collect()
    }

    /// The width that a target's kernels use.
    pub fn of(target: CpuTarget) -> Option<Fma> {
        let bits = match target {
            CpuTarget::X86_64 | CpuTarget::Aarch64 => 128,
            CpuTarget::X86_64V3 => 256,
            CpuTarget::X86_64V4 | CpuTarget::X86_64Amx => 512,
        };
        Fma::here().into_iter().find(|f| f.bits == bits)
    }

    /// Bits of a vector.
    pub fn bits(self) -> u32 {
        self.bits
    }

    /// GFLOP/s of one thread, the best of several tries (some 10 ms each).
    pub fn ceiling(self) -> f64 {
        let lanes = f64::from(self.bits / 32);
        let flops = 2.0 * lanes * CHAINS as f64 * ROUNDS as f64;
        (0..8)
            .map(|_| {
                let start = Instant::now();
                self.spin.run();
                flops / start.elapsed().as_secs_f64() / 1e9
            })
            .fold(0.0, f64::max)
    }
}

#[cfg(target_arch = "x86_64")]
use x86::{Spin, spin};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHAINS, ROUNDS, black_box};
    use pulp::x86::{V3, V4};

    /// A loop for one width.
    #[derive(Clone, Copy, Debug)]
    pub(super) enum Spin {
        F32x4(V3),
        F32x8(V3),
        F32x16(V4),
    }

    /// The loop for vectors of `bits`, where the processor has them.
    pub(super) fn spin(bits: u32) -> Option<Spin> {
        match bits {
            128 => V3::try_new().map(Spin::F32x4),
            256 => V3::try_new().map(Spin::F32x8),
            512 => V4::try_new().map(Spin::F32x16),
            _ => None,
        }
    }

    /// ROUNDS times CHAINS products and sums inside the instruction set `$simd`, kept from the optimiser by opaque factors.
    macro_rules! rounds {
        ($simd:expr, $set:ty, $vector:ty, $splat:ident, $mul_add:ident) => {{
            struct Rounds($set);
            impl pulp::NullaryFnOnce for Rounds {
                type Output = [$vector; CHAINS];
                #[inline(always)]
                fn call(self) -> Self::Output {
                    let x = self.0.$splat(black_box(0.5));
                    let y = self.0.$splat(black_box(1.0));
                    let mut acc = [y; CHAINS];
                    for _ in 0..ROUNDS {
                        for a in &mut acc {
                            *a = self.0.$mul_add(*a, x, y);
                        }
                    }
                    acc
                }
            }
            black_box($simd.vectorize(Rounds($simd)));
        }};
    }

    impl Spin {
        pub(super) fn run(self) {
            match self {
                Spin::F32x4(v) => rounds!(v, V3, pulp::f32x4, splat_f32x4, mul_add_f32x4),
                Spin::F32x8(v) => rounds!(v, V3, pulp::f32x8, splat_f32x8, mul_add_f32x8),
                Spin::F32x16(v) => rounds!(v, V4, pulp::f32x16, splat_f32x16, mul_add_f32x16),
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
use elsewhere::{Spin, spin};

/// Processors whose ceiling is not measured.
#[cfg(not(target_arch = "x86_64"))]
mod elsewhere {
    #[derive(Clone, Copy, Debug)]
    pub(super) enum Spin {}

    pub(super) fn spin(_bits: u32) -> Option<Spin> {
        None
    }

    impl Spin {
        pub(super) fn run(self) {
            match self {}
        }
    }
}
