// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Stores of f32 lanes as elements of a tensor, rounded to nearest even (256 bits; f32 and bf16).
//!
//! In: vectors. Out: code that rounds and stores them. A NaN stays one: its upper half, made quiet.

use attnc_tensor::DType;
use iced_x86::IcedError;
use iced_x86::code_asm::{AsmMemoryOperand, CodeAssembler};

use super::asm::{Asm, V, xmm, ymm};

/// Constants in registers 8 to 10; 13 and 14 are written.
pub(super) struct Narrow {
    dtype: DType,
}

const ONE: V = V(8);
const BELOW_HALF: V = V(9);
const QUIET: V = V(10);
const SPARE: [V; 2] = [V(13), V(14)];

impl Narrow {
    /// Sets the constants. Writes EAX.
    pub(super) fn new(asm: &mut Asm, dtype: DType) -> Narrow {
        if dtype != DType::F32 {
            asm.constant(ONE, 1);
            asm.constant(BELOW_HALF, 0x7fff);
            asm.constant(QUIET, 0x40);
        }
        Narrow { dtype }
    }

    /// Eight elements.
    pub(super) fn store(&self, asm: &mut Asm, to: AsmMemoryOperand, x: V) {
        if self.dtype == DType::F32 {
            return asm.store(to, x);
        }
        asm.scalar(|a| {
            halves(a, x)?;
            // Low halves of the dwords of each 128 bits, twice; then both together.
            let x = ymm(x);
            a.vpackusdw(x, x, x)?;
            a.vpermq(x, x, 0x08)
        });
        asm.scalar(|a| a.vmovups(to, xmm(x)));
    }

    /// The lowest lane.
    pub(super) fn store_one(&self, asm: &mut Asm, to: AsmMemoryOperand, x: V) {
        if self.dtype == DType::F32 {
            return asm.store_one(to, x);
        }
        asm.scalar(|a| {
            halves(a, x)?;
            a.vpextrw(to, xmm(x), 0)
        });
    }
}

/// Rounds lanes to bf16, in the low halves of the lanes; the high halves are 0.
fn halves(a: &mut CodeAssembler, x: V) -> Result<(), IcedError> {
    let [r, nan] = SPARE.map(ymm);
    let x = ymm(x);
    a.vpsrld(r, x, 16)?;
    a.vpand(r, r, ymm(ONE))?;
    a.vpaddd(r, r, ymm(BELOW_HALF))?;
    a.vpaddd(r, r, x)?;
    // Unordered with itself.
    a.vcmpps(nan, x, x, 3)?;
    a.vpsrld(r, r, 16)?;
    a.vpsrld(x, x, 16)?;
    a.vpor(x, x, ymm(QUIET))?;
    a.vblendvps(x, r, x, nan)
}
