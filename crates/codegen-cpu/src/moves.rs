// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moves between rows of tensors and tiles, with the conversion of dtypes: each kind of move is one internal function.
//!
//! In: the kind. Out: its body. Conversions are integer arithmetic (nearest even, overflow to infinity), so that objects need no library.

use attnc_tensor::DType;
use attnc_tile::core::{CountFn, KEY_STEP, Lie, QUERY_STEP};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};

use crate::fx::{F4, Fx};

/// A kind of move: everything about it that is known at compile time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Move {
    /// (dst, base, row bytes, idx, live, flag or 0).
    Gather { dtype: DType, lie: Lie, width: u32 },
    /// (base, row bytes, idx, live, src).
    Scatter { dtype: DType, lie: Lie, width: u32 },
    /// (base, row bytes, idx, live, bits of the value).
    Fill { dtype: DType, width: u32 },
    /// (dst, src, count).
    Floats(CountFn),
}

impl Move {
    /// Number of 64-bit parameters.
    pub(crate) fn params(self) -> usize {
        match self {
            Move::Gather { .. } => 6,
            Move::Scatter { .. } | Move::Fill { .. } => 5,
            Move::Floats(_) => 3,
        }
    }

    /// Name of its function.
    pub(crate) fn name(self) -> String {
        let lies = |l: Lie| match l {
            Lie::Cols { stride } => format!("cols{stride}"),
            Lie::Rows => "rows".to_string(),
        };
        match self {
            Move::Gather { dtype, lie, width } => format!("gather_{dtype}_{}_{width}", lies(lie)),
            Move::Scatter { dtype, lie, width } => format!("scatter_{dtype}_{}_{width}", lies(lie)),
            Move::Fill { dtype, width } => format!("fill_{dtype}_{width}"),
            Move::Floats(f) => format!("floats_{f:?}").to_lowercase(),
        }
    }
}

/// Fills the function at the builder's entry. `careful` is the bit pattern from which a magnitude raises the flag.
pub(crate) fn lower(fx: &mut Fx<'_>, m: Move, a: &[Value], careful: u32) {
    match m {
        Move::Gather { dtype, lie, width } => gather(fx, dtype, lie, width, a, careful),
        Move::Scatter { dtype, lie, width } => {
            let size = dtype.bytes() as i64;
            fx.upto(a[3], |fx, i| {
                let to = row(fx, a[0], a[1], a[2], i);
                let (start, step) = lanes(fx, a[4], lie, width, i);
                let n = fx.int(i64::from(width));
                fx.upto(n, |fx, d| {
                    let off = fx.mulc(d, step);
                    let from = fx.add(start, off);
                    let x = fx.load(types::I32, from, 0);
                    let off = fx.mulc(d, size);
                    let to = fx.add(to, off);
                    narrow(fx, dtype, x, to);
                });
            });
        }
        Move::Fill { dtype, width } => {
            let size = dtype.bytes() as i64;
            let x = fx.b.ins().ireduce(types::I32, a[4]);
            fx.upto(a[3], |fx, i| {
                let to = row(fx, a[0], a[1], a[2], i);
                let n = fx.int(i64::from(width));
                fx.upto(n, |fx, d| {
                    let off = fx.mulc(d, size);
                    let to = fx.add(to, off);
                    narrow(fx, dtype, x, to);
                });
            });
        }
        Move::Floats(f) => fx.upto(a[2], |fx, i| {
            let at = fx.mulc(i, 8);
            let from = fx.add(a[1], at);
            let x = fx.load(types::I64, from, 0);
            let x = fx.b.ins().fcvt_from_sint(types::F32, x);
            let x = fx.b.ins().splat(F4, x);
            let y = match f {
                CountFn::Float => x,
                CountFn::Log2 => fx.log2(x),
                CountFn::Ln => {
                    let y = fx.log2(x);
                    let c = fx.splat(std::f32::consts::LN_2);
                    fx.b.ins().fmul(y, c)
                }
            };
            let y = fx.b.ins().extractlane(y, 0);
            let at = fx.mulc(i, 4);
            let to = fx.add(a[0], at);
            fx.store(y, to, 0);
        }),
    }
}

/// Address of row idx[i].
fn row(fx: &mut Fx<'_>, base: Value, bytes: Value, idx: Value, i: Value) -> Value {
    let at = fx.mulc(i, 8);
    let at = fx.add(idx, at);
    let n = fx.load(types::I64, at, 0);
    let off = fx.b.ins().imul(n, bytes);
    fx.add(base, off)
}

/// Where row i of a tile begins, and the bytes between its elements.
fn lanes(fx: &mut Fx<'_>, tile: Value, lie: Lie, width: u32, i: Value) -> (Value, i64) {
    let (by, step) = match lie {
        Lie::Cols { stride } => (4, i64::from(stride) * 4),
        Lie::Rows => (i64::from(width) * 4, 4),
    };
    let off = fx.mulc(i, by);
    (fx.add(tile, off), step)
}

fn gather(fx: &mut Fx<'_>, dtype: DType, lie: Lie, width: u32, a: &[Value], careful: u32) {
    let [dst, base, bytes, idx, live, flag] = [a[0], a[1], a[2], a[3], a[4], a[5]];
    let size = dtype.bytes() as i64;
    let n = fx.int(i64::from(width));
    let none = fx.int32(0);
    let vector = dtype == DType::F32 && lie == Lie::Rows && width.is_multiple_of(4);
    let (lo, one) = (fx.int(0), fx.int(1));
    let seen = fx.carry([lo, live, one], &[none], |fx, i, seen| {
        let from = row(fx, base, bytes, idx, i);
        let at = fx.mulc(i, 8);
        let at = fx.add(idx, at);
        let number = fx.load(types::I64, at, 0);
        let zero = fx.int(0);
        let missing = fx.b.ins().icmp(IntCC::SignedLessThan, number, zero);
        let (start, step) = lanes(fx, dst, lie, width, i);
        // A missing row is read from the tile's own first element and multiplied away: no branch in the copy.
        let from = fx.b.ins().select(missing, start, from);
        let keep =
            fx.b.ins()
                .icmp(IntCC::SignedGreaterThanOrEqual, number, zero);
        let keep = fx.b.ins().uextend(types::I32, keep);
        let keep = fx.b.ins().ineg(keep);
        if vector {
            let (lo, four) = (fx.int(0), fx.int(4));
            let acc = fx.b.ins().splat(types::I32X4, none);
            let acc = fx.carry([lo, n, four], &[acc], |fx, d, acc| {
                let off = fx.mulc(d, 4);
                let p = fx.add(from, off);
                let x = fx.load(types::I32X4, p, 0);
                let to = fx.add(start, off);
                fx.store(x, to, 0);
                let mask = fx.int32(0x7fff_ffff);
                let mask = fx.b.ins().splat(types::I32X4, mask);
                let x = fx.b.ins().band(x, mask);
                let limit = fx.int32(careful - 1);
                let limit = fx.b.ins().splat(types::I32X4, limit);
                let over = fx.b.ins().icmp(IntCC::SignedGreaterThan, x, limit);
                vec![fx.b.ins().bor(acc[0], over)]
            });
            let wide = fx.bits(acc[0], types::I64X2);
            let (x, y) = (
                fx.b.ins().extractlane(wide, 0),
                fx.b.ins().extractlane(wide, 1),
            );
            let any = fx.b.ins().bor(x, y);
            let zero = fx.int(0);
            let any = fx.b.ins().icmp(IntCC::NotEqual, any, zero);
            let any = fx.b.ins().uextend(types::I32, any);
            return vec![fx.b.ins().bor(seen[0], any)];
        }
        let (lo, one) = (fx.int(0), fx.int(1));
        fx.carry([lo, n, one], &[seen[0]], |fx, d, seen| {
            let off = fx.mulc(d, size);
            let p = fx.add(from, off);
            let x = widen(fx, dtype, p);
            let x = fx.b.ins().band(x, keep);
            let off = fx.mulc(d, step);
            let to = fx.add(start, off);
            fx.store(x, to, 0);
            let mask = fx.int32(0x7fff_ffff);
            let x = fx.b.ins().band(x, mask);
            let limit = fx.int32(careful);
            let over = fx.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, x, limit);
            let over = fx.b.ins().uextend(types::I32, over);
            vec![fx.b.ins().bor(seen[0], over)]
        })
    });
    let group = i64::from(if lie == Lie::Rows {
        KEY_STEP
    } else {
        QUERY_STEP
    });
    let end = fx.groups(live, group);
    let end = fx.mulc(end, group);
    fx.each(live, end, 1, |fx, i| {
        let (start, step) = lanes(fx, dst, lie, width, i);
        fx.upto(n, |fx, d| {
            let off = fx.mulc(d, step);
            let to = fx.add(start, off);
            let zero = fx.int32(0);
            fx.store(zero, to, 0);
        });
    });
    fx.when(flag, |fx| {
        fx.when(seen[0], |fx| {
            let one = fx.int(1);
            fx.store(one, flag, 0);
        });
    });
}

/// The f32 bits of an element.
fn widen(fx: &mut Fx<'_>, dtype: DType, p: Value) -> Value {
    if dtype == DType::F32 {
        return fx.load(types::I32, p, 0);
    }
    let h = fx.load(types::I16, p, 0);
    let h = fx.b.ins().uextend(types::I32, h);
    let sixteen = fx.int32(16);
    if dtype == DType::Bf16 {
        return fx.b.ins().ishl(h, sixteen);
    }
    let sign = fx.int32(0x8000);
    let sign = fx.b.ins().band(h, sign);
    let sign = fx.b.ins().ishl(sign, sixteen);
    let low = fx.int32(0x7fff);
    let low = fx.b.ins().band(h, low);
    let by = fx.int32(13);
    let low = fx.b.ins().ishl(low, by);
    // A product with 2^112 moves the exponent and makes subnormals normal; infinities and NaNs keep all exponent bits.
    let x = fx.bits(low, types::F32);
    let scale = fx.b.ins().f32const(f32::from_bits(0x7780_0000));
    let x = fx.b.ins().fmul(x, scale);
    let x = fx.bits(x, types::I32);
    let top = fx.int32(0x0f80_0000);
    let special = fx.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, low, top);
    let all = fx.int32(0x7f80_0000);
    let raised = fx.b.ins().bor(low, all);
    let x = fx.b.ins().select(special, raised, x);
    fx.b.ins().bor(x, sign)
}

/// Rounds f32 bits to `dtype`, to nearest even, and stores them.
fn narrow(fx: &mut Fx<'_>, dtype: DType, x: Value, to: Value) {
    if dtype == DType::F32 {
        fx.store(x, to, 0);
        return;
    }
    let (one, sixteen) = (fx.int32(1), fx.int32(16));
    let magnitude = fx.int32(0x7fff_ffff);
    let a = fx.b.ins().band(x, magnitude);
    let inf = fx.int32(0x7f80_0000);
    let nan = fx.b.ins().icmp(IntCC::UnsignedGreaterThan, a, inf);
    let h = if dtype == DType::Bf16 {
        let odd = fx.b.ins().ushr(x, sixteen);
        let odd = fx.b.ins().band(odd, one);
        let half = fx.int32(0x7fff);
        let r = fx.add(x, half);
        let r = fx.add(r, odd);
        let r = fx.b.ins().ushr(r, sixteen);
        let top = fx.b.ins().ushr(x, sixteen);
        let quiet = fx.int32(0x40);
        let top = fx.b.ins().bor(top, quiet);
        fx.b.ins().select(nan, top, r)
    } else {
        let sign = fx.b.ins().ushr(x, sixteen);
        let bit = fx.int32(0x8000);
        let sign = fx.b.ins().band(sign, bit);
        // Subnormal halves: adding 1/2 lets the adder round at the right place.
        let f = fx.bits(a, types::F32);
        let half = fx.b.ins().f32const(0.5);
        let small = fx.b.ins().fadd(f, half);
        let small = fx.bits(small, types::I32);
        let base = fx.int32(0x3f00_0000);
        let small = fx.b.ins().isub(small, base);
        let by = fx.int32(13);
        let odd = fx.b.ins().ushr(a, by);
        let odd = fx.b.ins().band(odd, one);
        let rounding = fx.int32(0x0fff);
        let r = fx.add(a, rounding);
        let r = fx.add(r, odd);
        let bias = fx.int32(112 << 23);
        let r = fx.b.ins().isub(r, bias);
        let r = fx.b.ins().ushr(r, by);
        let normal = fx.int32(0x3880_0000);
        let is_small = fx.b.ins().icmp(IntCC::UnsignedLessThan, a, normal);
        let r = fx.b.ins().select(is_small, small, r);
        let limit = fx.int32(0x477f_f000);
        let over = fx.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, a, limit);
        let h_inf = fx.int32(0x7c00);
        let r = fx.b.ins().select(over, h_inf, r);
        let h_nan = fx.int32(0x7e00);
        let r = fx.b.ins().select(nan, h_nan, r);
        fx.b.ins().bor(r, sign)
    };
    let h = fx.b.ins().ireduce(types::I16, h);
    fx.store(h, to, 0);
}
