// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Integer arithmetic, and what all pure computations share. In: their form and operands.
//! Out: pure functions of lanes. Source: PTX ISA manual, 9.7.1, 9.7.2.

use super::code::*;
use super::decode::{D, Dec, refuse};
use crate::module::Instr;
use crate::ty::{Class, Type};

/// Sign-extends the low bits of a type.
pub(crate) fn sx(v: u64, bits: u32) -> i64 {
    let s = 64 - bits;
    ((v << s) as i64) >> s
}

/// Keeps the low bits.
pub(crate) fn zx(v: u64, bits: u32) -> u64 {
    if bits >= 64 { v } else { v & ((1 << bits) - 1) }
}

/// A number of a type as i128.
fn wide(v: u64, signed: bool, bits: u32) -> i128 {
    if signed {
        i128::from(sx(v, bits))
    } else {
        i128::from(zx(v, bits))
    }
}

pub(crate) fn op1(
    d: &mut Dec<'_>,
    i: &Instr,
    ty: Type,
    f: impl Fn(u64) -> u64 + Send + Sync + 'static,
) -> D<Op> {
    let s = vec![d.src(&i.args[1], ty)?];
    Ok(Op::Alu {
        f: Alu::F1(lift1(f)),
        d: vec![d.dst(&i.args[0])?],
        s,
        part: Part::Whole,
    })
}

pub(crate) fn op2(
    d: &mut Dec<'_>,
    i: &Instr,
    ty: [Type; 2],
    f: impl Fn(u64, u64) -> u64 + Send + Sync + 'static,
) -> D<Op> {
    let s = vec![d.src(&i.args[1], ty[0])?, d.src(&i.args[2], ty[1])?];
    Ok(Op::Alu {
        f: Alu::F2(lift2(f)),
        d: vec![d.dst(&i.args[0])?],
        s,
        part: Part::Whole,
    })
}

pub(crate) fn op3(
    d: &mut Dec<'_>,
    i: &Instr,
    ty: [Type; 3],
    f: impl Fn(u64, u64, u64) -> u64 + Send + Sync + 'static,
) -> D<Op> {
    let s = vec![
        d.src(&i.args[1], ty[0])?,
        d.src(&i.args[2], ty[1])?,
        d.src(&i.args[3], ty[2])?,
    ];
    Ok(Op::Alu {
        f: Alu::F3(lift3(f)),
        d: vec![d.dst(&i.args[0])?],
        s,
        part: Part::Whole,
    })
}

/// Any number of operands, lane by lane.
pub(crate) fn opn(
    d: Vec<Slot>,
    s: Vec<Slot>,
    f: impl Fn(&[u64], &mut [u64]) + Send + Sync + 'static,
) -> Op {
    Op::Alu {
        f: Alu::N(Box::new(f)),
        d,
        s,
        part: Part::Whole,
    }
}

/// Applies `f` to both 16-bit halves.
pub(crate) fn halves2(a: u64, b: u64, f: impl Fn(u64, u64) -> u64) -> u64 {
    (f(a & 0xffff, b & 0xffff) & 0xffff) | (f(a >> 16 & 0xffff, b >> 16 & 0xffff) & 0xffff) << 16
}

/// Integer arithmetic.
pub(crate) fn int(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let ty = i.slot_type("T").unwrap_or(Type::B32);
    let bits = ty.bits();
    let signed = ty.class() == Class::Signed;
    let (hi, widen) = (i.has("hi"), i.has("wide"));
    let t2 = [ty; 2];
    let t3 = [ty; 3];
    if matches!(ty, Type::U16x2 | Type::S16x2) {
        let (op, relu) = (i.opcode(), i.has("relu"));
        let f = move |a, b| {
            halves2(a, b, |x, y| match (op, signed) {
                ("add", _) => x.wrapping_add(y),
                ("min", true) => sx(x, 16)
                    .min(sx(y, 16))
                    .max(if relu { 0 } else { i64::MIN }) as u64,
                ("max", true) => sx(x, 16)
                    .max(sx(y, 16))
                    .max(if relu { 0 } else { i64::MIN }) as u64,
                ("min", false) => x.min(y),
                _ => x.max(y),
            })
        };
        return Ok(op2(d, i, t2, f)?.parted(Part::Each { unit: 2, width: 4 }));
    }
    if i.has("cc") || matches!(i.opcode(), "addc" | "subc" | "madc") {
        return carry(d, i, ty);
    }
    // The common 32-bit cases have closures of their own, which the host can vectorise.
    match (i.opcode(), bits) {
        ("add", 32) if !i.has("sat") => {
            return op2(d, i, t2, |a, b| {
                u64::from((a as u32).wrapping_add(b as u32))
            });
        }
        ("sub", 32) if !i.has("sat") => {
            return op2(d, i, t2, |a, b| {
                u64::from((a as u32).wrapping_sub(b as u32))
            });
        }
        ("mul", 32) if !hi && !widen => {
            return op2(d, i, t2, |a, b| {
                u64::from((a as u32).wrapping_mul(b as u32))
            });
        }
        ("mad", 32) if !hi && !widen => {
            return op3(d, i, t3, |a, b, c| {
                u64::from((a as u32).wrapping_mul(b as u32).wrapping_add(c as u32))
            });
        }
        ("add", 64) => return op2(d, i, t2, u64::wrapping_add),
        ("sub", 64) => return op2(d, i, t2, u64::wrapping_sub),
        _ => {}
    }
    let w = move |v: u64| wide(v, signed, bits);
    let z = move |v: i128| zx(v as u64, bits);
    match i.opcode() {
        "add" if i.has("sat") => op2(d, i, t2, |a, b| {
            u64::from((a as i32).saturating_add(b as i32) as u32)
        }),
        "sub" if i.has("sat") => op2(d, i, t2, |a, b| {
            u64::from((a as i32).saturating_sub(b as i32) as u32)
        }),
        "add" => op2(d, i, t2, move |a, b| zx(a.wrapping_add(b), bits)),
        "sub" => op2(d, i, t2, move |a, b| zx(a.wrapping_sub(b), bits)),
        "mul" if widen => op2(d, i, t2, move |a, b| zx((w(a) * w(b)) as u64, bits * 2)),
        "mul" if hi => op2(d, i, t2, move |a, b| mul_hi(a, b, signed, bits)),
        "mul" => op2(d, i, t2, move |a, b| zx(a.wrapping_mul(b), bits)),
        "mad" if widen => {
            let c = if bits == 16 { Type::U32 } else { Type::U64 };
            op3(d, i, [ty, ty, c], move |a, b, c| {
                zx(((w(a) * w(b)) as u64).wrapping_add(c), bits * 2)
            })
        }
        "mad" if i.has("sat") => op3(d, i, t3, move |a, b, c| {
            let s = ((w(a) * w(b)) >> 32) + w(c);
            z(s.clamp(i128::from(i32::MIN), i128::from(i32::MAX)))
        }),
        "mad" if hi => op3(d, i, t3, move |a, b, c| {
            zx(mul_hi(a, b, signed, bits).wrapping_add(c), bits)
        }),
        "mad" => op3(d, i, t3, move |a, b, c| {
            zx(a.wrapping_mul(b).wrapping_add(c), bits)
        }),
        "mul24" | "mad24" => {
            let sat = i.has("sat");
            let p = move |a: u64, b: u64| {
                let v = wide(a, signed, 24) * wide(b, signed, 24);
                if hi { v >> 16 } else { v }
            };
            if i.opcode() == "mul24" {
                return op2(d, i, t2, move |a, b| z(p(a, b)));
            }
            op3(d, i, t3, move |a, b, c| {
                let q = if sat {
                    (i128::from(sx(p(a, b) as u64, 32)) + w(c))
                        .clamp(i128::from(i32::MIN), i128::from(i32::MAX))
                } else {
                    p(a, b) + w(c)
                };
                z(q)
            })
        }
        "sad" => op3(d, i, t3, move |a, b, c| z((w(a) - w(b)).abs() + w(c))),
        // The manual leaves x/0 open; the hardware returns all ones.
        "div" => op2(d, i, t2, move |a, b| {
            if zx(b, bits) == 0 {
                zx(u64::MAX, bits)
            } else {
                z(w(a) / w(b))
            }
        }),
        "rem" => op2(d, i, t2, move |a, b| {
            if zx(b, bits) == 0 {
                zx(a, bits)
            } else {
                z(w(a) % w(b))
            }
        }),
        "abs" => op1(d, i, ty, move |a| z(w(a).abs())),
        "neg" => op1(d, i, ty, move |a| z(-w(a))),
        "min" => {
            let relu = i.has("relu");
            op2(d, i, t2, move |a, b| {
                z(w(a).min(w(b)).max(if relu { 0 } else { i128::MIN }))
            })
        }
        "max" => {
            let relu = i.has("relu");
            op2(d, i, t2, move |a, b| {
                z(w(a).max(w(b)).max(if relu { 0 } else { i128::MIN }))
            })
        }
        "popc" => op1(d, i, ty, move |a| u64::from(zx(a, bits).count_ones())),
        "clz" => op1(d, i, ty, move |a| {
            u64::from(zx(a, bits).leading_zeros() - (64 - bits))
        }),
        "brev" => op1(d, i, ty, move |a| zx(a, bits).reverse_bits() >> (64 - bits)),
        "bfind" => {
            let shift = i.has("shiftamt");
            op1(d, i, ty, move |a| {
                let v = if signed && sx(a, bits) < 0 {
                    zx(!a, bits)
                } else {
                    zx(a, bits)
                };
                if v == 0 {
                    return 0xffff_ffff;
                }
                let p = 63 - v.leading_zeros();
                u64::from(if shift { bits - 1 - p } else { p })
            })
        }
        "fns" => op3(
            d,
            i,
            [Type::B32, Type::B32, Type::S32],
            |mask, base, off| {
                let (mask, base, off) = (mask as u32, base as u32, off as i32);
                let pick = |up: bool, n: i32| {
                    let mut left = n;
                    let mut k = i64::from(base);
                    while (0..32).contains(&k) {
                        if mask >> k & 1 == 1 {
                            left -= 1;
                            if left == 0 {
                                return k as u64;
                            }
                        }
                        k += if up { 1 } else { -1 };
                    }
                    0xffff_ffff
                };
                if off == 0 {
                    if base < 32 && mask >> base & 1 == 1 {
                        u64::from(base)
                    } else {
                        0xffff_ffff
                    }
                } else {
                    pick(off > 0, off.saturating_abs())
                }
            },
        ),
        "bfe" => op3(d, i, [ty, Type::U32, Type::U32], move |a, pos, len| {
            let (pos, len) = ((pos & 0xff) as u32, (len & 0xff) as u32);
            let msb = bits - 1;
            let sbit = if !signed || len == 0 {
                0
            } else {
                zx(a, bits) >> (pos + len - 1).min(msb) & 1
            };
            let field = if pos >= bits { 0 } else { zx(a, bits) >> pos };
            let got = if pos >= bits {
                0
            } else {
                (bits - pos).min(len)
            };
            let low = if got == 0 { 0 } else { zx(field, got) };
            let fill = if sbit == 1 && got < bits {
                zx(u64::MAX, bits) & !zx(u64::MAX, got)
            } else {
                0
            };
            let fill = if got == 0 && sbit == 1 {
                zx(u64::MAX, bits)
            } else {
                fill
            };
            low | fill
        }),
        "bfi" => {
            let s = vec![
                d.src(&i.args[1], ty)?,
                d.src(&i.args[2], ty)?,
                d.src(&i.args[3], Type::U32)?,
                d.src(&i.args[4], Type::U32)?,
            ];
            Ok(opn(vec![d.dst(&i.args[0])?], s, move |x, o| {
                let (pos, len) = ((x[2] & 0xff) as u32, (x[3] & 0xff) as u32);
                let n = if pos >= bits { 0 } else { len.min(bits - pos) };
                let m = if n == 0 { 0 } else { zx(u64::MAX, n) << pos };
                o[0] = zx(
                    if n == 0 {
                        x[1]
                    } else {
                        (x[1] & !m) | (x[0] << pos & m)
                    },
                    bits,
                );
            }))
        }
        "szext" => {
            let wrap = i.has("wrap");
            op2(d, i, [ty, Type::U32], move |a, n| {
                let n = if wrap {
                    (n & 31) as u32
                } else {
                    (n as u32).min(32)
                };
                if n == 0 {
                    0
                } else if n >= 32 {
                    zx(a, 32)
                } else if signed {
                    zx(sx(a, n) as u64, 32)
                } else {
                    zx(a, n)
                }
            })
        }
        "bmsk" => {
            let wrap = i.has("wrap");
            op2(d, i, [Type::U32; 2], move |p, n| {
                let (p, n) = if wrap {
                    (p & 31, n & 31)
                } else {
                    (u64::from((p as u32).min(32)), u64::from((n as u32).min(32)))
                };
                if p >= 32 {
                    0
                } else {
                    zx(zx(u64::MAX, n as u32) << p, 32) * u64::from(n > 0)
                }
            })
        }
        "dp4a" | "dp2a" => {
            let (sa, sb) = (
                i.slot_type("T") == Some(Type::S32),
                i.slot_type("U") == Some(Type::S32),
            );
            let (two, hi) = (i.opcode() == "dp2a", i.has("hi"));
            op3(d, i, [Type::B32, Type::B32, Type::S32], move |a, b, c| {
                let mut s = c as i64;
                if two {
                    for k in 0..2 {
                        let y = b >> (8 * (k + if hi { 2 } else { 0 }));
                        s += (wide(a >> (16 * k), sa, 16) * wide(y, sb, 8)) as i64;
                    }
                } else {
                    for k in 0..4 {
                        s += (wide(a >> (8 * k), sa, 8) * wide(b >> (8 * k), sb, 8)) as i64;
                    }
                }
                zx(s as u64, 32)
            })
        }
        "vadd4" | "vsub4" | "vavrg4" | "vabsdiff4" | "vmin4" | "vmax4" => simd4(d, i),
        other => refuse(format!("`{other}` on .{ty}")),
    }
}

fn mul_hi(a: u64, b: u64, signed: bool, bits: u32) -> u64 {
    if bits == 64 && !signed {
        return ((u128::from(a) * u128::from(b)) >> 64) as u64;
    }
    zx(
        ((wide(a, signed, bits) * wide(b, signed, bits)) >> bits) as u64,
        bits,
    )
}

fn carry(d: &mut Dec<'_>, i: &Instr, ty: Type) -> D<Op> {
    let bits = ty.bits();
    let signed = ty.class() == Class::Signed;
    let (cc, give, take) = (d.cc, i.has("cc"), i.opcode().ends_with('c'));
    let mut s: Vec<Slot> = i.args[1..].iter().map(|a| d.src(a, ty)).collect::<D<_>>()?;
    s.push(if take { cc } else { d.value(0) });
    let (op, hi) = (i.opcode(), i.has("hi"));
    let sub = op.starts_with("sub");
    let mul = op.starts_with("mad");
    let outs = vec![d.dst(&i.args[0])?, if give { cc } else { NONE }];
    Ok(opn(outs, s, move |x, o| {
        let c = u128::from(x[x.len() - 1] & 1);
        let (a, b) = if mul {
            (
                if hi {
                    mul_hi(x[0], x[1], signed, bits)
                } else {
                    zx(x[0].wrapping_mul(x[1]), bits)
                },
                zx(x[2], bits),
            )
        } else {
            (zx(x[0], bits), zx(x[1], bits))
        };
        let (a, b) = (u128::from(a), u128::from(b));
        let r = if sub {
            a.wrapping_sub(b).wrapping_sub(c)
        } else {
            a + b + c
        };
        o[0] = zx(r as u64, bits);
        // For subtraction the flag is the borrow.
        o[1] = (r >> bits & 1) as u64;
    }))
}

fn simd4(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let s = |n| i.slot_type(n) == Some(Type::S32);
    let (rs, sa, sb, sat, acc) = (s("T"), s("U"), s("W"), i.has("sat"), i.has("add"));
    let op = i.opcode();
    op3(d, i, [Type::B32; 3], move |a, b, c| {
        let (mut out, mut sum) = (0u64, 0i128);
        for k in 0..4 {
            let (x, y) = (wide(a >> (8 * k), sa, 8), wide(b >> (8 * k), sb, 8));
            let v = match op {
                "vadd4" => x + y,
                "vsub4" => x - y,
                "vavrg4" => (x + y + 1) >> 1,
                "vabsdiff4" => (x - y).abs(),
                "vmin4" => x.min(y),
                _ => x.max(y),
            };
            sum += v;
            let v = if !sat {
                v
            } else if rs {
                v.clamp(-128, 127)
            } else {
                v.clamp(0, 255)
            };
            out |= zx(v as u64, 8) << (8 * k);
        }
        if acc {
            zx((sum as u64).wrapping_add(c), 32)
        } else {
            out
        }
    })
}
