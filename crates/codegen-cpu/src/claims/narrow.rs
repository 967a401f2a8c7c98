// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Stores of f32 lanes as elements of a tensor, rounded to nearest even (256 bits).
//!
//! In: vectors. Out: code that rounds and stores them. A NaN stays one, the same as in the portable body: in bf16 its upper half, made
//! quiet, in f16 the quiet one of its sign.

use attnc_tensor::DType;
use iced_x86::IcedError;
use iced_x86::code_asm::{AsmMemoryOperand, CodeAssembler};

use super::asm::{Asm, V, xmm, ymm};

/// Constants in registers 8 to 10; 13 and 14 are written.
pub(super) struct Narrow {
    dtype: DType,
}

const HELD: [V; 3] = [V(8), V(9), V(10)];
const SPARE: [V; 2] = [V(13), V(14)];
/// Unordered with itself: NaN.
const UNORDERED: i32 = 3;
/// To nearest even, whatever MXCSR says.
const NEAREST: i32 = 0;

impl Narrow {
    /// Sets the constants. Writes EAX.
    pub(super) fn new(asm: &mut Asm, dtype: DType) -> Narrow {
        let constants = match dtype {
            DType::F32 => &[][..],
            DType::Bf16 => &[1, 0x7fff, 0x40],
            DType::F16 => &[0x8000_0000, f32::NAN.to_bits()],
        };
        for (v, bits) in HELD.into_iter().zip(constants) {
            asm.constant(v, *bits);
        }
        Narrow { dtype }
    }

    /// Eight elements.
    pub(super) fn store(&self, asm: &mut Asm, to: AsmMemoryOperand, x: V) {
        match self.dtype {
            DType::F32 => asm.store(to, x),
            DType::Bf16 => asm.scalar(|a| {
                upper_halves(a, x)?;
                // Low halves of the dwords of each 128 bits, twice; then both together.
                let y = ymm(x);
                a.vpackusdw(y, y, y)?;
                a.vpermq(y, y, 0x08)?;
                a.vmovups(to, xmm(x))
            }),
            DType::F16 => asm.scalar(|a| {
                plain_nans(a, x)?;
                a.vcvtps2ph(to, ymm(x), NEAREST)
            }),
        }
    }

    /// The lowest lane.
    pub(super) fn store_one(&self, asm: &mut Asm, to: AsmMemoryOperand, x: V) {
        if self.dtype == DType::F32 {
            return asm.store_one(to, x);
        }
        self.lowest(asm, x);
        asm.scalar(|a| a.vpextrw(to, xmm(x), 0));
    }

    /// The lowest lane in its lowest bits, of a dtype of 16 bits.
    pub(super) fn lowest(&self, asm: &mut Asm, x: V) {
        match self.dtype {
            DType::F32 => {}
            DType::Bf16 => asm.scalar(|a| upper_halves(a, x)),
            DType::F16 => asm.scalar(|a| {
                plain_nans(a, x)?;
                a.vcvtps2ph(xmm(x), ymm(x), NEAREST)
            }),
        }
    }
}

/// Rounds lanes to bf16, in the low halves of the lanes; the high halves are 0.
fn upper_halves(a: &mut CodeAssembler, x: V) -> Result<(), IcedError> {
    let ([one, below_half, quiet], [r, nan]) = (HELD.map(ymm), SPARE.map(ymm));
    let x = ymm(x);
    a.vpsrld(r, x, 16)?;
    a.vpand(r, r, one)?;
    a.vpaddd(r, r, below_half)?;
    a.vpaddd(r, r, x)?;
    a.vcmpps(nan, x, x, UNORDERED)?;
    a.vpsrld(r, r, 16)?;
    a.vpsrld(x, x, 16)?;
    a.vpor(x, x, quiet)?;
    a.vblendvps(x, r, x, nan)
}

/// Every NaN becomes the one of its sign: conversion to f16 would keep the upper bits of what it carries.
fn plain_nans(a: &mut CodeAssembler, x: V) -> Result<(), IcedError> {
    let ([sign, plain, _], [r, nan]) = (HELD.map(ymm), SPARE.map(ymm));
    let x = ymm(x);
    a.vcmpps(nan, x, x, UNORDERED)?;
    a.vandps(r, x, sign)?;
    a.vorps(r, r, plain)?;
    a.vblendvps(x, x, r, nan)
}
