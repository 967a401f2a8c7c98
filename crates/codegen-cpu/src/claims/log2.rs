// SPDX-License-Identifier: Apache-2.0 OR MIT
//! log2 of a vector.
//!
//! In: a vector. Out: its logarithms: -inf of 0, NaN of NaN and of what is negative, infinity of infinity; absolute error below 2e-7 for
//! normal numbers. x = 2^e m with m in [sqrt(1/2), sqrt 2), log2 m by the series of atanh, as in the portable body.

use super::asm::{Asm, Operand, V};

/// sqrt(1/2), as bits.
const ROOT: u32 = 0x3f35_04f3;
/// 2 log2 e, whose odd parts are the coefficients of the series.
const SCALE: f64 = 2.0 * std::f64::consts::LOG2_E;
/// Comparisons: equal; not below, and not NaN.
const EQUAL: i32 = 0x00;
const AT_LEAST: i32 = 0x0d;

/// Registers that [`emit`] needs beside its vector.
pub(super) const SPARE: usize = 6;

/// Emits `x = log2 x`. Writes EAX.
pub(super) fn emit(asm: &mut Asm, x: V, spare: &[V; SPARE]) {
    let [e, m, z, p, c, mask] = *spare;
    asm.constant(c, ROOT);
    asm.exponent(e, x, c);
    asm.shift_exponent(m, e);
    asm.sub_int(m, x, m);
    asm.constant(c, 1f32.to_bits());
    asm.sub(m, m, c);
    asm.constant(c, 2f32.to_bits());
    asm.add(z, m, c);
    asm.div(z, m, z);
    asm.mul(m, z, z);
    asm.constant(p, ((SCALE / 11.0) as f32).to_bits());
    for k in [9.0, 7.0, 5.0, 3.0, 1.0] {
        asm.constant(c, ((SCALE / k) as f32).to_bits());
        asm.fma213(p, m, Operand::Reg(c));
    }
    asm.float(e);
    asm.fma213(p, z, Operand::Reg(e));
    for (from, to) in [(f32::INFINITY, f32::INFINITY), (0.0, f32::NEG_INFINITY)] {
        asm.constant(c, from.to_bits());
        asm.constant(z, to.to_bits());
        asm.choose(p, EQUAL, (x, c), (z, p), mask);
    }
    asm.constant(c, 0);
    asm.constant(z, f32::NAN.to_bits());
    asm.choose(x, AT_LEAST, (x, c), (p, z), mask);
}
