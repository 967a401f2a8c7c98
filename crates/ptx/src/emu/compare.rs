// SPDX-License-Identifier: Apache-2.0 OR MIT
//! set, setp, selp, slct, testp. In: their form and operands. Out: pure functions of lanes.
//! Source: PTX ISA manual, 9.7.3.1, 9.7.6, 9.7.7.

use super::alu::{op1, op3, opn, sx, zx};
use super::code::{Alu, NONE, Op, Part, lift2, lift3};
use super::decode::{D, Dec};
use super::float::{F16, b2f, ftz, unpack as fdecode};
use crate::module::Instr;
use crate::ty::{Class, Type};

/// A comparison of two values of a type.
pub(crate) type Cmp = Box<dyn Fn(u64, u64) -> bool + Send + Sync>;

/// Widens a value to f64 for comparison.
fn float_of(ty: Type, flush: bool) -> fn(u64) -> f64 {
    match (ty, flush) {
        (Type::F64, _) => f64::from_bits,
        (Type::F32, false) => |v| f64::from(f32::from_bits(v as u32)),
        (Type::F32, true) => |v| f64::from(ftz(f32::from_bits(v as u32))),
        (Type::Bf16 | Type::Bf16x2, _) => |v| f64::from(b2f(v as u16)),
        (_, false) => |v| fdecode(v & 0xffff, F16),
        (_, true) => |v| {
            let x = fdecode(v & 0xffff, F16);
            if x.abs() < 6.103_515_625e-5 { 0.0 } else { x }
        },
    }
}

/// The comparison of that name.
pub(crate) fn comparison(c: &'static str, ty: Type, flush: bool) -> Cmp {
    let bits = ty.bits();
    if ty.class() == Class::Float {
        use std::cmp::Ordering::{self, Equal, Greater, Less};
        let w = float_of(ty, flush);
        // The unordered forms hold for a NaN too.
        fn is(a: f64, b: f64, p: Ordering, q: Ordering) -> bool {
            a.partial_cmp(&b).is_none_or(|o| o == p || o == q)
        }
        return match c {
            "eq" => Box::new(move |a, b| w(a) == w(b)),
            "ne" => Box::new(move |a, b| w(a) < w(b) || w(a) > w(b)),
            "lt" => Box::new(move |a, b| w(a) < w(b)),
            "le" => Box::new(move |a, b| w(a) <= w(b)),
            "gt" => Box::new(move |a, b| w(a) > w(b)),
            "ge" => Box::new(move |a, b| w(a) >= w(b)),
            "equ" => Box::new(move |a, b| !(w(a) < w(b) || w(a) > w(b))),
            "neu" => Box::new(move |a, b| w(a) != w(b)),
            "ltu" => Box::new(move |a, b| is(w(a), w(b), Less, Less)),
            "leu" => Box::new(move |a, b| is(w(a), w(b), Less, Equal)),
            "gtu" => Box::new(move |a, b| is(w(a), w(b), Greater, Greater)),
            "geu" => Box::new(move |a, b| is(w(a), w(b), Greater, Equal)),
            "nan" => Box::new(move |a, b| w(a).is_nan() || w(b).is_nan()),
            _ => Box::new(move |a, b| !w(a).is_nan() && !w(b).is_nan()),
        };
    }
    let signed = ty.class() == Class::Signed;
    let key = move |v: u64| if signed { sx(v, bits) ^ i64::MIN } else { zx(v, bits) as i64 } as u64;
    match c {
        "eq" => Box::new(move |a, b| zx(a, bits) == zx(b, bits)),
        "ne" => Box::new(move |a, b| zx(a, bits) != zx(b, bits)),
        "lt" | "lo" => Box::new(move |a, b| key(a) < key(b)),
        "le" | "ls" => Box::new(move |a, b| key(a) <= key(b)),
        "gt" | "hi" => Box::new(move |a, b| key(a) > key(b)),
        _ => Box::new(move |a, b| key(a) >= key(b)),
    }
}

/// set, setp, selp, slct, testp.
pub(crate) fn compare(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let ty = i.slot_type("T").unwrap_or(Type::B32);
    match i.opcode() {
        "selp" => {
            let (p, neg) = d.pred(&i.args[3])?;
            let s = vec![d.src(&i.args[1], ty)?, d.src(&i.args[2], ty)?, p];
            let f = lift3(move |a, b, p| if (p & 1 == 1) != neg { a } else { b });
            Ok(Op::Alu {
                f: Alu::F3(f),
                d: vec![d.dst(&i.args[0])?],
                s,
                part: Part::Select {
                    negated: neg,
                    width: ty.bytes() as usize,
                },
            })
        }
        "slct" => {
            let u = i.slot_type("U").unwrap_or(Type::S32);
            let flush = i.has("ftz");
            op3(d, i, [ty, ty, u], move |a, b, c| {
                let take = if u == Type::F32 {
                    let c = f32::from_bits(c as u32);
                    (if flush { ftz(c) } else { c }) >= 0.0
                } else {
                    c as i32 >= 0
                };
                if take { a } else { b }
            })
        }
        "testp" => {
            let op = i.slot("O").unwrap_or("finite");
            let w = float_of(ty, false);
            let sub = move |v: u64| {
                if ty == Type::F64 {
                    f64::from_bits(v).is_subnormal()
                } else {
                    f32::from_bits(v as u32).is_subnormal()
                }
            };
            op1(d, i, ty, move |a| {
                let x = w(a);
                u64::from(match op {
                    "finite" => x.is_finite(),
                    "infinite" => x.is_infinite(),
                    "number" => !x.is_nan(),
                    "notanumber" => x.is_nan(),
                    "subnormal" => sub(a),
                    // The manual counts neither zero nor subnormals.
                    _ => x.is_finite() && x != 0.0 && !sub(a),
                })
            })
        }
        _ => {
            let cmp = comparison(i.slot("C").unwrap_or("eq"), ty, i.has("ftz"));
            let boolean = i.slot("B");
            let mut s = vec![d.src(&i.args[1], ty)?, d.src(&i.args[2], ty)?];
            let mut neg = false;
            if boolean.is_some() {
                let (p, n) = d.pred(&i.args[3])?;
                s.push(p);
                neg = n;
            }
            let comb = move |r: bool, c: u64| {
                let c = (c & 1 == 1) != neg;
                match boolean {
                    None => r,
                    Some("and") => r && c,
                    Some("or") => r || c,
                    Some(_) => r != c,
                }
            };
            let packed = matches!(ty, Type::F16x2 | Type::Bf16x2);
            if i.opcode() == "set" {
                let dt = i.slot_type("D").unwrap_or(Type::U32);
                let (one, w) = match dt {
                    Type::F32 => (0x3f80_0000u64, 32),
                    Type::F16 | Type::F16x2 => (0x3c00, 16),
                    Type::Bf16 | Type::Bf16x2 => (0x3f80, 16),
                    _ => (zx(u64::MAX, dt.bits()), dt.bits()),
                };
                return Ok(opn(vec![d.dst(&i.args[0])?], s, move |x, o| {
                    let c = x.get(2).copied().unwrap_or(0);
                    o[0] = u64::from(comb(cmp(x[0], x[1]), c)) * one;
                    if packed {
                        o[0] |= (u64::from(comb(cmp(x[0] >> 16, x[1] >> 16), c)) * one) << w;
                    }
                }));
            }
            let (p, q) = d.dst_pair(&i.args[0])?;
            if !packed && q == NONE && boolean.is_none() {
                return Ok(Op::Alu {
                    f: Alu::F2(lift2(move |a, b| u64::from(cmp(a, b)))),
                    d: vec![p],
                    s,
                    part: Part::Whole,
                });
            }
            Ok(opn(vec![p, q], s, move |x, o| {
                let c = x.get(2).copied().unwrap_or(0);
                let r = cmp(x[0], x[1]);
                o[0] = u64::from(comb(r, c));
                o[1] = u64::from(if packed {
                    comb(cmp(x[0] >> 16, x[1] >> 16), c)
                } else {
                    comb(!r, c)
                });
            }))
        }
    }
}
