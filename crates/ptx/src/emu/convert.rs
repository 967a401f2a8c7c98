// SPDX-License-Identifier: Apache-2.0 OR MIT
//! mov with packing, cvt in all its roundings, address conversions. In: form and operands.
//! Out: pure functions of lanes. Source: PTX ISA manual, 9.7.9.1, 9.7.9.20 to 9.7.9.23.

use super::alu::{op1, op2, opn, sx, zx};
use super::code::*;
use super::decode::{D, Dec, refuse};
use super::float::*;
use super::state::{LOCAL_WINDOW, Machine, PARAM_WINDOW, SHARED_WINDOW, WINDOW};
use crate::module::{Instr, Operand};
use crate::ty::{Class as TyClass, Type};

/// mov, and mov between a vector and a wider register.
pub(crate) fn mov(d: &mut Dec<'_>, i: &Instr) -> D<(Op, Meet, Class)> {
    let ty = i.slot_type("T").unwrap_or(Type::B32);
    if let Operand::Name(n) = &i.args[1] {
        let clock: Option<fn(&Machine<'_>) -> u64> = match &**n {
            "%clock" => Some(|m| m.w.ticks & 0xffff_ffff),
            "%clock_hi" => Some(|m| m.w.ticks >> 32),
            "%clock64" => Some(|m| m.w.ticks),
            "%globaltimer" => Some(|m| m.w.ticks),
            "%globaltimer_lo" => Some(|m| m.w.ticks & 0xffff_ffff),
            "%globaltimer_hi" => Some(|m| m.w.ticks >> 32),
            _ => None,
        };
        if let Some(f) = clock {
            let out = d.dst(&i.args[0])?;
            let run = move |m: &mut Machine<'_>, mask: u32| {
                let v = [f(m); 32];
                m.set(out, &v, mask, mask);
                Ok(())
            };
            return Ok((Op::Exec(Box::new(run)), Meet::None, Class::Move));
        }
    }
    let dv = matches!(i.args[0], Operand::Vector(_));
    let sv = matches!(i.args[1], Operand::Vector(_));
    let op = if ty == Type::B128 {
        mov128(d, i)?
    } else if dv && !sv {
        let outs = d.dsts(&i.args[0])?;
        let w = ty.bits() / outs.len() as u32;
        let s = vec![d.src(&i.args[1], ty)?];
        opn(outs, s, move |x, o| {
            for (k, o) in o.iter_mut().enumerate() {
                *o = zx(x[0] >> (w * k as u32), w);
            }
        })
        .parted(Part::Unpack(w as usize / 8))
    } else if sv && !dv {
        let Operand::Vector(v) = &i.args[1] else {
            return refuse("mov");
        };
        let w = ty.bits() / v.len() as u32;
        let part = match w {
            8 => Type::B8,
            16 => Type::B16,
            _ => Type::B32,
        };
        let s = d.srcs(&i.args[1], part)?;
        opn(vec![d.dst(&i.args[0])?], s, move |x, o| {
            o[0] = x
                .iter()
                .enumerate()
                .fold(0, |r, (k, v)| r | zx(*v, w) << (w * k as u32));
        })
        .parted(Part::Pack(w as usize / 8))
    } else if ty == Type::Pred {
        let (s, neg) = d.pred(&i.args[1])?;
        opn(vec![d.dst(&i.args[0])?], vec![s], move |x, o| {
            o[0] = x[0] ^ u64::from(neg)
        })
    } else {
        op1(d, i, ty, |a| a)?.parted(Part::Each {
            unit: 1,
            width: ty.bytes() as usize,
        })
    };
    Ok((op, Meet::None, Class::Move))
}

/// A 128-bit register is the pair of its slot and a partner.
fn mov128(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let outs = pair128(d, &i.args[0], true)?;
    let s = pair128(d, &i.args[1], false)?;
    Ok(opn(outs, s, |x, o| o.copy_from_slice(x)))
}

/// The two slots of a 128-bit operand: `{lo, hi}` or a `.b128` register.
pub(crate) fn pair128(d: &mut Dec<'_>, o: &Operand, dst: bool) -> D<Vec<Slot>> {
    match o {
        Operand::Vector(v) if v.len() == 2 => {
            if dst {
                d.dsts(o)
            } else {
                d.srcs(o, Type::B64)
            }
        }
        Operand::Name(n) => {
            let lo = d.dst(o)?;
            let hi = d.partner(n);
            Ok(vec![lo, hi])
        }
        _ => refuse(format!("128-bit operand `{o}`")),
    }
}

/// Rounds to an integral value.
fn integral(x: f64, m: Round) -> f64 {
    match m {
        Round::Near | Round::Away => x.round_ties_even(),
        Round::Zero => x.trunc(),
        Round::Down => x.floor(),
        Round::Up => x.ceil(),
    }
}

/// The reader of a float type as f64; exact.
fn reader(ty: Type, flush: bool) -> D<fn(u64) -> f64> {
    Ok(match ty {
        Type::F64 => f64::from_bits,
        Type::F32 if flush => |v| f64::from(ftz(f32::from_bits(v as u32))),
        Type::F32 => |v| f64::from(f32::from_bits(v as u32)),
        Type::F16 => |v| unpack(v & 0xffff, F16),
        Type::Bf16 => |v| f64::from(b2f(v as u16)),
        _ => return refuse(format!("cvt from .{ty}")),
    })
}

/// cvt.
pub(crate) fn cvt(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    if i.has("pack") {
        return pack(d, i);
    }
    let (Some(dt), Some(st)) = (i.slot_type("D"), i.slot_type("T")) else {
        return refuse(i.text());
    };
    let (flush, sat, relu, finite) = (
        i.has("ftz"),
        i.has("sat"),
        i.has("relu"),
        i.has("satfinite"),
    );
    let mode = i
        .mods
        .iter()
        .find(|m| m.len() <= 3 && m.starts_with('r') && **m != "relu")
        .copied();
    let to_int = mode.is_some_and(|m| m.ends_with('i'));
    let m = Round::of(mode);
    let clip = move |x: f64| {
        let x = if relu && (x < 0.0 || x.is_nan()) {
            if x.is_nan() { x } else { 0.0 }
        } else {
            x
        };
        if sat {
            if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) }
        } else {
            x
        }
    };
    match dt {
        Type::F16x2 | Type::Bf16x2 | Type::E4m3x2 | Type::E5m2x2 => {
            let (f, w) = match dt {
                Type::F16x2 => (F16, 16),
                Type::Bf16x2 => (BF16, 16),
                Type::E4m3x2 => (E4M3, 8),
                _ => (E5M2, 8),
            };
            return match st {
                // The first source goes to the upper half.
                Type::F32 => op2(d, i, [st; 2], move |a, b| {
                    let one = |v: u64| encode(clip(f32::from_bits(v as u32).into()), f, m, finite);
                    one(a) << w | one(b)
                }),
                Type::F16x2 => op1(d, i, Type::B32, move |a| {
                    let one = |v: u64| encode(clip(unpack(v & 0xffff, F16)), f, m, finite);
                    one(a >> 16) << w | one(a)
                }),
                _ => {
                    let g = if st == Type::E4m3x2 { E4M3 } else { E5M2 };
                    op1(d, i, Type::B16, move |a| {
                        let one = |v: u64| encode(clip(unpack(v & 0xff, g)), f, m, false);
                        one(a >> 8) << w | one(a)
                    })
                }
            };
        }
        Type::Tf32 => {
            return op1(d, i, st, move |a| {
                let x = clip(f32::from_bits(a as u32).into());
                encode(x, TF32, m, finite) << 13
            });
        }
        _ => {}
    }
    let db = dt.bits();
    let reg = d.width(&i.args[0]).unwrap_or(db).max(db);
    let (sf, df) = (st.class() == TyClass::Float, dt.class() == TyClass::Float);
    let (ssign, dsign) = (st.class() == TyClass::Signed, dt.class() == TyClass::Signed);
    let sb = st.bits();
    // A destination register wider than the type gets the value extended.
    let fit = move |v: i128| {
        if dsign {
            zx(sx(v as u64, db) as u64, reg)
        } else {
            zx(v as u64, db)
        }
    };
    let (lo, hi) = if dsign {
        (-(1i128 << (db - 1)), (1i128 << (db - 1)) - 1)
    } else {
        (0, (1i128 << db) - 1)
    };
    if !sf && !df {
        return op1(d, i, st, move |a| {
            let v = if ssign {
                i128::from(sx(a, sb))
            } else {
                i128::from(zx(a, sb))
            };
            fit(if sat { v.clamp(lo, hi) } else { v })
        });
    }
    if sf && !df {
        let r = reader(st, flush)?;
        return op1(d, i, st, move |a| {
            let x = r(a);
            // Out of range saturates; a NaN becomes 0.
            let x = if x.is_nan() {
                0
            } else {
                integral(x, m) as i128
            };
            fit(x.clamp(lo, hi))
        });
    }
    let (fm, dbl) = match dt {
        Type::F16 => (F16, false),
        Type::Bf16 => (BF16, false),
        Type::F32 => (F32, false),
        _ => (F32, true),
    };
    let write = move |x: f64| -> u64 {
        if dbl {
            return if x.is_nan() {
                0x7fff_ffff_ffff_ffff
            } else {
                x.to_bits()
            };
        }
        let v = if fm == F32 {
            u64::from(to_f32(x, m))
        } else {
            encode(x, fm, m, finite)
        };
        if fm == F32 && x.is_nan() {
            0x7fff_ffff
        } else if flush && fm == F32 {
            u64::from(ftz(f32::from_bits(v as u32)).to_bits())
        } else {
            v
        }
    };
    if !sf {
        return op1(d, i, st, move |a| {
            let v = if ssign {
                i128::from(sx(a, sb))
            } else {
                i128::from(zx(a, sb))
            };
            // To odd: the part of 64 bits that f64 does not hold is the sticky rest.
            let near = v as f64;
            let rest = (v - near as i128) as f64;
            let x = if dbl {
                direct(near, rest, m)
            } else {
                odd(near, rest)
            };
            write(clip(x))
        });
    }
    let r = reader(st, flush)?;
    op1(d, i, st, move |a| {
        let x = r(a);
        write(clip(if to_int { integral(x, m) } else { x }))
    })
}

fn pack(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let (w, lo, hi) = match i.slot("D") {
        Some("u16") => (16, 0i64, 65535i64),
        Some("s16") => (16, -32768, 32767),
        Some("u8") => (8, 0, 255),
        Some("s8") => (8, -128, 127),
        Some("u4") => (4, 0, 15),
        Some("s4") => (4, -8, 7),
        Some("u2") => (2, 0, 3),
        _ => (2, -2, 1),
    };
    let s: Vec<Slot> = i.args[1..]
        .iter()
        .map(|a| d.src(a, Type::S32))
        .collect::<D<_>>()?;
    Ok(opn(vec![d.dst(&i.args[0])?], s, move |x, o| {
        let one = |v: u64| zx(i64::from(v as i32).clamp(lo, hi) as u64, w);
        let c = x.get(2).copied().unwrap_or(0);
        o[0] = zx(c << (2 * w) | one(x[0]) << w | one(x[1]), 32);
    }))
}

/// cvta, isspacep, mapa, getctarank, createpolicy.
pub(crate) fn address(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let base = match i.slot("SP") {
        Some(s) if s.starts_with("shared") => SHARED_WINDOW,
        Some("local") => LOCAL_WINDOW,
        Some(s) if s.starts_with("param") => PARAM_WINDOW,
        Some(_) | None => 0,
    };
    let t = Type::U64;
    let bits = i.slot_type("T").unwrap_or(t).bits();
    match i.opcode() {
        "cvta" if i.has("to") => op1(d, i, t, move |a| zx(a.wrapping_sub(base), bits)),
        "cvta" => op1(d, i, t, move |a| zx(a.wrapping_add(base), bits)),
        "isspacep" => op1(d, i, t, move |a| {
            let special = (PARAM_WINDOW..SHARED_WINDOW + WINDOW).contains(&a);
            u64::from(if base == 0 {
                !special
            } else {
                (base..base + WINDOW).contains(&a)
            })
        }),
        // A cluster of one block: every address maps to itself.
        "mapa" => op1(d, i, t, |a| a),
        "getctarank" => op1(d, i, t, |_| 0),
        _ => {
            let out = d.dst(&i.args[0])?;
            Ok(opn(vec![out], Vec::new(), |_, o| o[0] = 0))
        }
    }
}
