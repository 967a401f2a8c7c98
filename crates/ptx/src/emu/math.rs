// SPDX-License-Identifier: Apache-2.0 OR MIT
//! f32 and f64 arithmetic and the special functions. In: their form and operands.
//! Out: pure functions of lanes. The approximate functions are computed in f64 and rounded
//! once, which is inside of the error that the manual allows (9.7.3). NaN results are the
//! canonical 0x7fffffff, as the hardware's are.

use super::alu::{op1, op2, op3};
use super::code::Op;
use super::decode::{D, Dec, refuse};
use super::float::*;
use crate::module::Instr;
use crate::ty::Type;

fn sat32(x: f32) -> f32 {
    if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) }
}

/// How operands and result of an f32 instruction are treated.
#[derive(Clone, Copy)]
struct Style {
    ftz: bool,
    sat: bool,
    round: Round,
}

impl Style {
    fn of(i: &Instr) -> Self {
        Self {
            ftz: i.has("ftz"),
            sat: i.has("sat"),
            round: Round::of(i.slot("R")),
        }
    }

    #[inline]
    fn arg(self, v: u64) -> f32 {
        let x = f32::from_bits(v as u32);
        if self.ftz { ftz(x) } else { x }
    }

    /// From an f64 rounded to odd.
    #[inline]
    fn end(self, x: f64) -> u64 {
        let r = if self.round == Round::Near {
            x as f32
        } else {
            f32::from_bits(to_f32(x, self.round))
        };
        self.end32(r)
    }

    #[inline]
    fn end32(self, r: f32) -> u64 {
        let r = if self.ftz { ftz(r) } else { r };
        u64::from(canon(if self.sat { sat32(r) } else { r }))
    }
}

/// An exact zero sum takes its sign from the rounding mode.
fn zero_sum(s: f64, a: f64, b: f64, mode: Round) -> f64 {
    if s == 0.0
        && mode == Round::Down
        && (a != 0.0 || b != 0.0 || a.is_sign_negative() != b.is_sign_negative())
    {
        -0.0
    } else {
        s
    }
}

/// add, sub, mul, mad, fma, div, abs, neg, min, max of f32 and f64.
pub(crate) fn arith(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let ty = i.slot_type("T").unwrap_or(Type::F32);
    match ty {
        Type::F32 => arith32(d, i),
        Type::F32x2 => arith32x2(d, i),
        _ => arith64(d, i),
    }
}

fn arith32x2(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let s = Style::of(i);
    let both = move |a: u64, b: u64, c: u64, f: fn(f64, f64, f64) -> f64| {
        let one = |k: u32| {
            s.end(f(
                s.arg(a >> k).into(),
                s.arg(b >> k).into(),
                s.arg(c >> k).into(),
            ))
        };
        one(0) | one(32) << 32
    };
    let t = Type::B64;
    match i.opcode() {
        "add" => op2(d, i, [t; 2], move |a, b| {
            both(a, b, 0, |x, y, _| add_odd(x, y))
        }),
        "sub" => op2(d, i, [t; 2], move |a, b| {
            both(a, b, 0, |x, y, _| add_odd(x, -y))
        }),
        "mul" => op2(d, i, [t; 2], move |a, b| both(a, b, 0, |x, y, _| x * y)),
        "fma" => op3(d, i, [t; 3], move |a, b, c| both(a, b, c, fma_odd)),
        other => refuse(format!("`{other}.f32x2`")),
    }
}

fn arith32(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let s = Style::of(i);
    let (t2, t3) = ([Type::F32; 2], [Type::F32; 3]);
    let plain = s.round == Round::Near;
    match i.opcode() {
        "add" if plain => op2(d, i, t2, move |a, b| s.end32(s.arg(a) + s.arg(b))),
        "sub" if plain => op2(d, i, t2, move |a, b| s.end32(s.arg(a) - s.arg(b))),
        "mul" if plain => op2(d, i, t2, move |a, b| s.end32(s.arg(a) * s.arg(b))),
        "add" | "sub" => {
            let sub = i.opcode() == "sub";
            op2(d, i, t2, move |a, b| {
                let (a, b) = (f64::from(s.arg(a)), f64::from(s.arg(b)));
                let b = if sub { -b } else { b };
                s.end(zero_sum(add_odd(a, b), a, b, s.round))
            })
        }
        "mul" => op2(d, i, t2, move |a, b| {
            s.end(f64::from(s.arg(a)) * f64::from(s.arg(b)))
        }),
        "mad" | "fma" => op3(d, i, t3, move |a, b, c| {
            let (a, b, c) = (
                f64::from(s.arg(a)),
                f64::from(s.arg(b)),
                f64::from(s.arg(c)),
            );
            s.end(zero_sum(fma_odd(a, b, c), a * b, c, s.round))
        }),
        "div" => op2(d, i, t2, move |a, b| {
            s.end(div_odd(s.arg(a).into(), s.arg(b).into()))
        }),
        "abs" => op1(d, i, Type::F32, move |a| {
            u64::from(s.arg(a).abs().to_bits())
        }),
        "neg" => op1(d, i, Type::F32, move |a| {
            u64::from(s.arg(a).to_bits() ^ 0x8000_0000)
        }),
        "min" | "max" => {
            let (max, nan, xs) = (i.opcode() == "max", i.has("NaN"), i.has("xorsign"));
            op2(d, i, t2, move |a, b| {
                let (a, b) = (s.arg(a), s.arg(b));
                let sign = (a.to_bits() ^ b.to_bits()) & 0x8000_0000;
                let (x, y) = if xs { (a.abs(), b.abs()) } else { (a, b) };
                let r = min_max32(x, y, max, nan);
                u64::from(if xs && !r.is_nan() {
                    r.to_bits() | sign
                } else {
                    canon(r)
                })
            })
        }
        other => refuse(format!("`{other}.f32`")),
    }
}

/// Minimum or maximum with -0 < +0; a NaN gives way unless `nan`.
pub(crate) fn min_max32(a: f32, b: f32, max: bool, nan: bool) -> f32 {
    if a.is_nan() || b.is_nan() {
        if nan || (a.is_nan() && b.is_nan()) {
            return f32::NAN;
        }
        return if a.is_nan() { b } else { a };
    }
    if (a.total_cmp(&b) == std::cmp::Ordering::Greater) == max {
        a
    } else {
        b
    }
}

fn arith64(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let m = Round::of(i.slot("R"));
    let (t2, t3) = ([Type::F64; 2], [Type::F64; 3]);
    let f = f64::from_bits;
    let out = |x: f64| {
        if x.is_nan() {
            0x7fff_ffff_ffff_ffff
        } else {
            x.to_bits()
        }
    };
    match i.opcode() {
        "add" | "sub" => {
            let sub = i.opcode() == "sub";
            op2(d, i, t2, move |a, b| {
                let (a, b) = (f(a), if sub { -f(b) } else { f(b) });
                let (s, e) = two_sum(a, b);
                out(direct(zero_sum(s, a, b, m), e, m))
            })
        }
        "mul" => op2(d, i, t2, move |a, b| {
            let (a, b) = (f(a), f(b));
            let p = a * b;
            out(if m == Round::Near {
                p
            } else {
                direct(p, a.mul_add(b, -p), m)
            })
        }),
        "mad" | "fma" => op3(d, i, t3, move |a, b, c| {
            let (a, b, c) = (f(a), f(b), f(c));
            let r = a.mul_add(b, c);
            if m == Round::Near {
                return out(r);
            }
            // The exact error of a fused operation, from the product's two parts.
            let p = a * b;
            let pe = a.mul_add(b, -p);
            let (s, se) = two_sum(p, c);
            let (t, te) = two_sum(s - r, se);
            out(direct(r, t + (te + pe), m))
        }),
        "div" => op2(d, i, t2, move |a, b| {
            let (a, b) = (f(a), f(b));
            let q = a / b;
            let r = (-q).mul_add(b, a);
            out(if m == Round::Near {
                q
            } else {
                direct(q, if b < 0.0 { -r } else { r }, m)
            })
        }),
        "abs" => op1(d, i, Type::F64, |a| a & !(1 << 63)),
        "neg" => op1(d, i, Type::F64, |a| a ^ 1 << 63),
        "min" | "max" => {
            let max = i.opcode() == "max";
            op2(d, i, t2, move |a, b| {
                let (a, b) = (f(a), f(b));
                out(if a.is_nan() {
                    b
                } else if b.is_nan() || (a.total_cmp(&b) == std::cmp::Ordering::Greater) == max {
                    a
                } else {
                    b
                })
            })
        }
        other => refuse(format!("`{other}.f64`")),
    }
}

/// copysign, rcp, sqrt, rsqrt, sin, cos, lg2, ex2, tanh.
pub(crate) fn func(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let ty = i.slot_type("T").unwrap_or(Type::F32);
    let s = Style::of(i);
    let op = i.opcode();
    match ty {
        Type::F64 => {
            let m = s.round;
            let f = f64::from_bits;
            match op {
                "copysign" => op2(d, i, [ty; 2], move |a, b| f(b).copysign(f(a)).to_bits()),
                "rcp" => op1(d, i, ty, move |a| {
                    let (a, q) = (f(a), 1.0 / f(a));
                    let r = (-q).mul_add(a, 1.0);
                    direct(q, if a < 0.0 { -r } else { r }, m).to_bits()
                }),
                "sqrt" => op1(d, i, ty, move |a| {
                    let q = f(a).sqrt();
                    direct(q, (-q).mul_add(q, f(a)), m).to_bits()
                }),
                "rsqrt" => op1(d, i, ty, move |a| (1.0 / f(a).sqrt()).to_bits()),
                other => refuse(format!("`{other}.f64`")),
            }
        }
        Type::F32 => match op {
            "copysign" => op2(d, i, [ty; 2], |a, b| {
                u64::from(
                    f32::from_bits(b as u32)
                        .copysign(f32::from_bits(a as u32))
                        .to_bits(),
                )
            }),
            "rcp" => op1(d, i, ty, move |a| s.end(div_odd(1.0, s.arg(a).into()))),
            "sqrt" => op1(d, i, ty, move |a| s.end(sqrt_odd(s.arg(a).into()))),
            _ => {
                let g: fn(f64) -> f64 = match op {
                    "rsqrt" => |x| 1.0 / x.sqrt(),
                    "sin" => f64::sin,
                    "cos" => f64::cos,
                    "lg2" => f64::log2,
                    "ex2" => f64::exp2,
                    "tanh" => f64::tanh,
                    other => return refuse(format!("`{other}.f32`")),
                };
                if op == "ex2" {
                    return op1(d, i, ty, move |a| s.end32(s.arg(a).exp2()));
                }
                op1(d, i, ty, move |a| s.end(g(s.arg(a).into())))
            }
        },
        Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => {
            let g: fn(f64) -> f64 = match op {
                "ex2" => f64::exp2,
                "tanh" => f64::tanh,
                other => return refuse(format!("`{other}.{ty}`")),
            };
            let fm = if matches!(ty, Type::F16 | Type::F16x2) {
                F16
            } else {
                BF16
            };
            let one = move |v: u64| encode(g(unpack(v & 0xffff, fm)), fm, Round::Near, false);
            let packed = matches!(ty, Type::F16x2 | Type::Bf16x2);
            op1(d, i, ty, move |a| {
                one(a) | if packed { one(a >> 16) << 16 } else { 0 }
            })
        }
        _ => refuse(format!("`{op}.{ty}`")),
    }
}
