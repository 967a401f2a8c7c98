// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Conversions between the storage dtypes and f32, one element or four at a time.
//!
//! In: places in memory, or the bits of floats. Out: bits of floats, or memory. All is integer arithmetic but one exact product (nearest
//! even, overflow to infinity, NaNs stay NaNs), so that objects need no library.

use attnc_tensor::DType;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Type, Value, types};

use crate::fx::{F4, Fx};

/// How many elements an operation moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    /// One, in an I32 value.
    One,
    /// Four, in an I32X4 value.
    Four,
}

impl Lanes {
    fn int(self) -> Type {
        match self {
            Lanes::One => types::I32,
            Lanes::Four => types::I32X4,
        }
    }
    fn float(self) -> Type {
        match self {
            Lanes::One => types::F32,
            Lanes::Four => F4,
        }
    }
    /// A constant in every lane.
    pub(crate) fn bits(self, fx: &mut Fx<'_>, x: u32) -> Value {
        match self {
            Lanes::One => fx.int32(x),
            Lanes::Four => fx.splat_int(x),
        }
    }
    fn number(self, fx: &mut Fx<'_>, x: f32) -> Value {
        match self {
            Lanes::One => fx.b.ins().f32const(x),
            Lanes::Four => fx.splat(x),
        }
    }
    /// Lanes of `a` where a > limit was true of them, else of `b`; all compared values are below 2^31.
    fn choose(self, fx: &mut Fx<'_>, cond: Value, a: Value, b: Value) -> Value {
        match self {
            Lanes::One => fx.b.ins().select(cond, a, b),
            Lanes::Four => fx.b.ins().bitselect(cond, a, b),
        }
    }
    fn above(self, fx: &mut Fx<'_>, a: Value, limit: u32) -> Value {
        let limit = self.bits(fx, limit);
        fx.b.ins().icmp(IntCC::SignedGreaterThan, a, limit)
    }
    fn and(self, fx: &mut Fx<'_>, a: Value, mask: u32) -> Value {
        let mask = self.bits(fx, mask);
        fx.b.ins().band(a, mask)
    }
    fn or(self, fx: &mut Fx<'_>, a: Value, mask: u32) -> Value {
        let mask = self.bits(fx, mask);
        fx.b.ins().bor(a, mask)
    }
    fn plus(self, fx: &mut Fx<'_>, a: Value, x: u32) -> Value {
        let x = self.bits(fx, x);
        fx.b.ins().iadd(a, x)
    }
    /// The magnitude of floats.
    pub(crate) fn magnitude(self, fx: &mut Fx<'_>, x: Value) -> Value {
        self.and(fx, x, 0x7fff_ffff)
    }
}

fn left(fx: &mut Fx<'_>, x: Value, by: u32) -> Value {
    let by = fx.int32(by);
    fx.b.ins().ishl(x, by)
}

fn right(fx: &mut Fx<'_>, x: Value, by: u32) -> Value {
    let by = fx.int32(by);
    fx.b.ins().ushr(x, by)
}

/// The f32 bits of the elements at `p + off`.
pub(crate) fn widen(fx: &mut Fx<'_>, dtype: DType, n: Lanes, p: Value, off: i64) -> Value {
    let off = off as i32;
    if dtype == DType::F32 {
        return fx.load(n.int(), p, off);
    }
    let h = match n {
        Lanes::One => {
            let h = fx.load(types::I16, p, off);
            fx.b.ins().uextend(types::I32, h)
        }
        Lanes::Four => {
            let flags = MemFlagsData::new().with_notrap();
            fx.b.ins().uload16x4(flags, p, off)
        }
    };
    expand(fx, dtype, n, h)
}

/// The f32 bits of 16-bit elements.
fn expand(fx: &mut Fx<'_>, dtype: DType, n: Lanes, h: Value) -> Value {
    if dtype == DType::Bf16 {
        return left(fx, h, 16);
    }
    let sign = n.and(fx, h, 0x8000);
    let sign = left(fx, sign, 16);
    let low = n.and(fx, h, 0x7fff);
    let low = left(fx, low, 13);
    // A product with 2^112 moves the exponent and makes subnormals normal; infinities and NaNs keep all exponent bits.
    let x = fx.bits(low, n.float());
    let scale = n.number(fx, f32::from_bits(0x7780_0000));
    let x = fx.b.ins().fmul(x, scale);
    let x = fx.bits(x, n.int());
    let special = n.above(fx, low, 0x0f80_0000 - 1);
    let raised = n.or(fx, low, 0x7f80_0000);
    let x = n.choose(fx, special, raised, x);
    fx.b.ins().bor(x, sign)
}

/// Rounds f32 bits to `dtype`, to nearest even, and stores them at `to + off`.
pub(crate) fn narrow(fx: &mut Fx<'_>, dtype: DType, n: Lanes, x: Value, to: Value, off: i64) {
    let off = off as i32;
    if dtype == DType::F32 {
        fx.store(x, to, off);
        return;
    }
    let h = contract(fx, dtype, n, x);
    match n {
        Lanes::One => {
            let h = fx.b.ins().ireduce(types::I16, h);
            fx.store(h, to, off);
        }
        Lanes::Four => {
            let h = fx.b.ins().unarrow(h, h);
            let h = fx.bits(h, types::I64X2);
            let h = fx.b.ins().extractlane(h, 0);
            fx.store(h, to, off);
        }
    }
}

/// Rounds f32 bits to numbers of `dtype`, to nearest even, which stay f32 bits.
pub(crate) fn round(fx: &mut Fx<'_>, dtype: DType, n: Lanes, x: Value) -> Value {
    if dtype == DType::F32 {
        return x;
    }
    let h = contract(fx, dtype, n, x);
    expand(fx, dtype, n, h)
}

/// The 16-bit elements nearest to f32 bits.
fn contract(fx: &mut Fx<'_>, dtype: DType, n: Lanes, x: Value) -> Value {
    let a = n.magnitude(fx, x);
    let nan = n.above(fx, a, 0x7f80_0000);
    if dtype == DType::Bf16 {
        let odd = right(fx, x, 16);
        let odd = n.and(fx, odd, 1);
        let r = n.plus(fx, x, 0x7fff);
        let r = fx.b.ins().iadd(r, odd);
        let r = right(fx, r, 16);
        let top = right(fx, x, 16);
        let top = n.or(fx, top, 0x40);
        n.choose(fx, nan, top, r)
    } else {
        half(fx, n, x, a, nan)
    }
}

/// The f16 bits of floats of magnitude `a`.
fn half(fx: &mut Fx<'_>, n: Lanes, x: Value, a: Value, nan: Value) -> Value {
    let sign = right(fx, x, 16);
    let sign = n.and(fx, sign, 0x8000);
    // Subnormal halves: adding 1/2 lets the adder round at the right place.
    let f = fx.bits(a, n.float());
    let one_half = n.number(fx, 0.5);
    let small = fx.b.ins().fadd(f, one_half);
    let small = fx.bits(small, n.int());
    let small = n.plus(fx, small, 0x3f00_0000u32.wrapping_neg());
    let odd = right(fx, a, 13);
    let odd = n.and(fx, odd, 1);
    let r = n.plus(fx, a, 0x0fff);
    let r = fx.b.ins().iadd(r, odd);
    let r = n.plus(fx, r, (112u32 << 23).wrapping_neg());
    let r = right(fx, r, 13);
    let normal = n.above(fx, a, 0x3880_0000 - 1);
    let r = n.choose(fx, normal, r, small);
    let over = n.above(fx, a, 0x477f_f000 - 1);
    let inf = n.bits(fx, 0x7c00);
    let r = n.choose(fx, over, inf, r);
    let quiet = n.bits(fx, 0x7e00);
    let r = n.choose(fx, nan, quiet, r);
    fx.b.ins().bor(r, sign)
}
