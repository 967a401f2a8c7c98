// SPDX-License-Identifier: Apache-2.0 OR MIT
//! f16, bf16 and their packed pairs. In: form and operands. Out: pure functions of lanes;
//! every result is rounded once, from f64 rounded to odd. Source: PTX ISA manual, 9.7.4.

use super::alu::{op1, op2, op3};
use super::code::Op;
use super::decode::{D, Dec, refuse};
use super::float::*;
use super::math::min_max32;
use crate::module::Instr;
use crate::ty::Type;

/// add, sub, mul, fma, abs, neg, min, max.
pub(crate) fn arith(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let ty = i.slot_type("T").unwrap_or(Type::F16);
    let packed = matches!(ty, Type::F16x2 | Type::Bf16x2);
    let fm = if matches!(ty, Type::F16 | Type::F16x2) {
        F16
    } else {
        BF16
    };
    let (flush, sat, relu) = (i.has("ftz"), i.has("sat"), i.has("relu"));
    let (nan, xs, max) = (i.has("NaN"), i.has("xorsign"), i.opcode() == "max");
    let arg = move |v: u64| {
        let x = unpack(v & 0xffff, fm);
        if flush && x.abs() < 6.103_515_625e-5 {
            0f64.copysign(x)
        } else {
            x
        }
    };
    let end = move |x: f64| {
        let mut r = encode(x, fm, Round::Near, false);
        let v = unpack(r, fm);
        if flush && v.abs() < 6.103_515_625e-5 {
            r &= 0x8000;
        }
        if sat {
            r = if v.is_nan() {
                0
            } else {
                encode(v.clamp(0.0, 1.0), fm, Round::Near, false)
            };
        }
        if relu && v < 0.0 {
            r = 0;
        }
        r
    };
    let pair = move |f: &dyn Fn(u32) -> u64| f(0) | if packed { f(16) << 16 } else { 0 };
    match i.opcode() {
        "add" => op2(d, i, [ty; 2], move |a, b| {
            pair(&|k| end(add_odd(arg(a >> k), arg(b >> k))))
        }),
        "sub" => op2(d, i, [ty; 2], move |a, b| {
            pair(&|k| end(add_odd(arg(a >> k), -arg(b >> k))))
        }),
        "mul" => op2(d, i, [ty; 2], move |a, b| {
            pair(&|k| end(arg(a >> k) * arg(b >> k)))
        }),
        "fma" => op3(d, i, [ty; 3], move |a, b, c| {
            pair(&|k| end(fma_odd(arg(a >> k), arg(b >> k), arg(c >> k))))
        }),
        "abs" => op1(d, i, ty, move |a| {
            a & if packed { 0x7fff_7fff } else { 0x7fff }
        }),
        "neg" => op1(d, i, ty, move |a| {
            a ^ if packed { 0x8000_8000 } else { 0x8000 }
        }),
        "min" | "max" => op2(d, i, [ty; 2], move |a, b| {
            pair(&|k| {
                let (x, y) = (arg(a >> k) as f32, arg(b >> k) as f32);
                let sign = (x.to_bits() ^ y.to_bits()) >> 16 & 0x8000;
                let (x, y) = if xs { (x.abs(), y.abs()) } else { (x, y) };
                let r = min_max32(x, y, max, nan);
                end(r.into())
                    | if xs && !r.is_nan() {
                        u64::from(sign)
                    } else {
                        0
                    }
            })
        }),
        other => refuse(format!("`{other}.{ty}`")),
    }
}
