// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Logic, shifts, permutes. In: their form and operands. Out: pure functions of lanes.
//! Source: PTX ISA manual, 9.7.8.

use super::alu::{op1, op2, op3, opn, sx, zx};
use super::code::*;
use super::decode::{D, Dec, refuse};
use crate::module::{Imm, Instr, Operand};
use crate::ty::{Class, Type};

/// The rule of a shift by a constant.
fn by_bytes(count: &Operand, bits: u32, left: bool) -> Part {
    let width = bits as usize / 8;
    match count {
        Operand::Imm(Imm::Int(n)) if *n >= 0 && *n < i128::from(bits) && *n % 8 == 0 => {
            let by = *n as usize / 8;
            if left {
                Part::Up { by, width }
            } else {
                Part::Down { by, width }
            }
        }
        _ => Part::Whole,
    }
}

/// Logic and shifts.
pub(crate) fn logic(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let ty = i.slot_type("T").unwrap_or(Type::B32);
    let bits = ty.bits();
    if ty == Type::Pred {
        let (a, na) = d.pred(&i.args[1])?;
        let out = d.dst(&i.args[0])?;
        if i.opcode() == "not" {
            return Ok(opn(vec![out], vec![a], move |x, o| {
                o[0] = x[0] ^ 1 ^ u64::from(na)
            }));
        }
        let (b, nb) = d.pred(&i.args[2])?;
        let op = i.opcode();
        return Ok(opn(vec![out], vec![a, b], move |x, o| {
            let (p, q) = (x[0] ^ u64::from(na), x[1] ^ u64::from(nb));
            o[0] = match op {
                "and" => p & q,
                "or" => p | q,
                _ => p ^ q,
            };
        }));
    }
    let t2 = [ty; 2];
    let bytes = ty.bytes() as usize;
    let each = Part::Each {
        unit: 1,
        width: bytes,
    };
    match i.opcode() {
        "and" => Ok(op2(d, i, t2, |a, b| a & b)?.parted(Part::And(bytes))),
        "or" => Ok(op2(d, i, t2, |a, b| a | b)?.parted(each)),
        "xor" => Ok(op2(d, i, t2, |a, b| a ^ b)?.parted(each)),
        "not" => Ok(op1(d, i, ty, move |a| zx(!a, bits))?.parted(each)),
        "cnot" => op1(d, i, ty, move |a| u64::from(zx(a, bits) == 0)),
        "lop3" => {
            let Operand::Imm(Imm::Int(lut)) = i.args[4] else {
                return refuse("lop3 with a table in a register");
            };
            let lut = lut as u64;
            let f = move |a: u64, b: u64, c: u64| {
                let mut r = 0u64;
                for k in 0..8 {
                    if lut >> k & 1 == 1 {
                        let p = if k & 4 != 0 { a } else { !a };
                        let q = if k & 2 != 0 { b } else { !b };
                        let s = if k & 1 != 0 { c } else { !c };
                        r |= p & q & s;
                    }
                }
                zx(r, 32)
            };
            let Some(op) = i.slot("O") else {
                return Ok(op3(d, i, [ty; 3], f)?.parted(each));
            };
            let (out, p) = d.dst_pair(&i.args[0])?;
            let (q, neg) = d.pred(&i.args[5])?;
            let s = vec![
                d.src(&i.args[1], ty)?,
                d.src(&i.args[2], ty)?,
                d.src(&i.args[3], ty)?,
                q,
            ];
            Ok(opn(vec![out, p], s, move |x, o| {
                o[0] = f(x[0], x[1], x[2]);
                let (nz, q) = (u64::from(o[0] != 0), x[3] ^ u64::from(neg));
                o[1] = if op == "or" { nz | q } else { nz & q };
            }))
        }
        "shf" => {
            let (left, wrap) = (i.has("l"), i.has("wrap"));
            op3(d, i, [Type::B32, Type::B32, Type::U32], move |a, b, c| {
                let n = if wrap {
                    c & 31
                } else {
                    u64::from((c as u32).min(32))
                };
                let v = zx(b, 32) << 32 | zx(a, 32);
                if left {
                    (v << n) >> 32 & 0xffff_ffff
                } else {
                    zx(v >> n, 32)
                }
            })
        }
        "shl" => Ok(op2(d, i, [ty, Type::U32], move |a, n| {
            let n = n as u32;
            if n >= bits { 0 } else { zx(a << n, bits) }
        })?
        .parted(by_bytes(&i.args[2], bits, true))),
        "shr" if ty.class() == Class::Signed => op2(d, i, [ty, Type::U32], move |a, n| {
            zx((sx(a, bits) >> (n as u32).min(bits - 1)) as u64, bits)
        }),
        "shr" => Ok(op2(d, i, [ty, Type::U32], move |a, n| {
            let n = n as u32;
            if n >= bits { 0 } else { zx(a, bits) >> n }
        })?
        .parted(by_bytes(&i.args[2], bits, false))),
        "prmt" => {
            let mode = i.slot("M");
            let part = match (&i.args[3], mode) {
                (Operand::Imm(Imm::Int(n)), None) => Part::Bytes(*n as u32),
                _ => Part::Whole,
            };
            Ok(op3(d, i, [Type::B32; 3], move |a, b, c| {
                let v = zx(b, 32) << 32 | zx(a, 32);
                let byte = |k: u64| v >> (8 * k) & 0xff;
                let mut out = 0;
                let n = c & 3;
                for k in 0..4u64 {
                    let x = match mode {
                        None => {
                            let sel = c >> (4 * k) & 0xf;
                            let x = byte(sel & 7);
                            if sel & 8 != 0 { (x >> 7) * 0xff } else { x }
                        }
                        Some("f4e") => byte(n + k),
                        Some("b4e") => byte((n + 8 - k) & 7),
                        Some("rc8") => byte(n),
                        Some("ecl") => byte(n.max(k)),
                        Some("ecr") => byte(n.min(k)),
                        Some(_) => byte((n & 1) * 2 + (k & 1)),
                    };
                    out |= x << (8 * k);
                }
                out
            })?
            .parted(part))
        }
        other => refuse(format!("`{other}` on .{ty}")),
    }
}
