// SPDX-License-Identifier: Apache-2.0 OR MIT
//! shfl, vote, match, redux, elect, activemask, ldmatrix, stmatrix, movmatrix.
//! In: form and operands. Out: instructions over all lanes of a warp.
//! Source: PTX ISA manual, 9.7.9.6, 9.7.13.7 to 9.7.13.11, 9.7.15.5.15 to 9.7.15.5.17.

use super::access::{Order, Place};
use super::alu::sx;
use super::code::*;
use super::decode::{D, Dec, refuse};
use super::fault::FaultKind;
use super::state::{Machine, Warp, le};
use crate::module::Instr;
use crate::ty::Type;

fn lanes_fn(run: impl Fn(&mut Machine<'_>, u32) -> Exe + Send + Sync + 'static) -> Op {
    Op::Exec(Box::new(run))
}

pub(crate) fn decode(d: &mut Dec<'_>, i: &Instr) -> D<(Op, Meet, Class)> {
    let sync = i.has("sync");
    let member = |d: &mut Dec<'_>, k: usize| -> D<Meet> {
        if sync {
            Ok(Meet::Mask(d.src(&i.args[k], Type::B32)?))
        } else {
            Ok(Meet::None)
        }
    };
    Ok(match i.opcode() {
        "activemask" => {
            let out = d.dst(&i.args[0])?;
            let op = lanes_fn(move |m, mask| {
                let v = [u64::from(mask); 32];
                m.set(out, &v, mask, mask);
                Ok(())
            });
            (op, Meet::None, Class::Warp)
        }
        "elect" => {
            let (out, p) = d.dst_pair(&i.args[0])?;
            let s = member(d, 1)?;
            let op = lanes_fn(move |m, mask| {
                let lead = mask.trailing_zeros();
                for l in Warp::lanes(mask) {
                    m.set1(out, l, u64::from(lead));
                    m.set1(p, l, u64::from(l as u32 == lead));
                }
                Ok(())
            });
            (op, s, Class::Warp)
        }
        "shfl" => {
            let s = if sync { member(d, 4)? } else { Meet::None };
            (shfl(d, i)?, s, Class::Warp)
        }
        "vote" => {
            let (p, neg) = d.pred(&i.args[1])?;
            let s = if sync { member(d, 2)? } else { Meet::None };
            let out = d.dst(&i.args[0])?;
            let mode = i
                .mods
                .iter()
                .find(|m| matches!(**m, "all" | "any" | "uni" | "ballot"))
                .copied()
                .unwrap_or("ballot");
            let op = lanes_fn(move |m, mask| {
                let x = m.r(p);
                let mut b = 0u32;
                for l in Warp::lanes(mask) {
                    b |= u32::from((x[l] & 1 == 1) != neg) << l;
                }
                let def = if mask & !m.w.def[p as usize] == 0 {
                    mask
                } else {
                    0
                };
                let v = match mode {
                    "all" => u64::from(b == mask),
                    "any" => u64::from(b != 0),
                    "uni" => u64::from(b == 0 || b == mask),
                    _ => u64::from(b),
                };
                m.set(out, &[v; 32], mask, def);
                Ok(())
            });
            (op, s, Class::Warp)
        }
        "match" => {
            let ty = i.slot_type("T").unwrap_or(Type::B32);
            let a = d.src(&i.args[1], ty)?;
            let s = member(d, 2)?;
            let (out, p) = d.dst_pair(&i.args[0])?;
            let all = i.has("all");
            let op = lanes_fn(move |m, mask| {
                let x = *m.need(a, mask)?;
                for l in Warp::lanes(mask) {
                    let same = Warp::lanes(mask)
                        .filter(|k| x[*k] == x[l])
                        .fold(0u32, |b, k| b | 1 << k);
                    let whole = same == mask;
                    m.set1(out, l, u64::from(if all && !whole { 0 } else { same }));
                    m.set1(p, l, u64::from(whole));
                }
                Ok(())
            });
            (op, s, Class::Warp)
        }
        "redux" => {
            let ty = i.slot_type("T").unwrap_or(Type::U32);
            let a = d.src(&i.args[1], ty)?;
            let s = member(d, 2)?;
            let out = d.dst(&i.args[0])?;
            let f = super::atom::combine(i.slot("O").unwrap_or("add"), ty)?;
            let op = lanes_fn(move |m, mask| {
                let x = *m.need(a, mask)?;
                let v = Warp::lanes(mask)
                    .map(|l| x[l])
                    .reduce(|p, q| f(p, q, ty))
                    .unwrap_or(0);
                m.set(out, &[v; 32], mask, mask);
                Ok(())
            });
            (op, s, Class::Warp)
        }
        "movmatrix" => {
            let a = d.src(&i.args[1], Type::B32)?;
            let out = d.dst(&i.args[0])?;
            let op = lanes_fn(move |m, mask| {
                let x = *m.need(a, mask)?;
                let mut v = [0u64; 32];
                for l in 0..32 {
                    for j in 0..2 {
                        // Element (row l/4, column 2(l%4)+j) of the transpose.
                        let (r, c) = (l % 4 * 2 + j, l / 4);
                        v[l] |= (x[r * 4 + c / 2] >> (16 * (c % 2)) & 0xffff) << (16 * j);
                    }
                }
                m.set(out, &v, mask, mask);
                Ok(())
            });
            (op, Meet::Aligned, Class::Matrix)
        }
        "ldmatrix" | "stmatrix" => (
            matrix(d, i)?,
            Meet::Aligned,
            if i.opcode() == "ldmatrix" {
                Class::LoadShared
            } else {
                Class::StoreShared
            },
        ),
        other => return refuse(format!("`{other}`")),
    })
}

fn shfl(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let (out, p) = d.dst_pair(&i.args[0])?;
    let a = d.src(&i.args[1], Type::B32)?;
    let b = d.src(&i.args[2], Type::B32)?;
    let c = d.src(&i.args[3], Type::B32)?;
    let mode = i.slot("M").unwrap_or("idx");
    Ok(lanes_fn(move |m, mask| {
        let (x, bb, cc) = (*m.r(a), *m.need(b, mask)?, *m.need(c, mask)?);
        let def = m.w.def[a as usize];
        let (mut v, mut vd) = ([0u64; 32], 0u32);
        let (mut from, mut valid) = ([0u8; 32], 0u32);
        for l in Warp::lanes(mask) {
            let (bv, cv) = ((bb[l] & 0x1f) as i32, cc[l] as u32);
            let (cval, seg) = ((cv & 0x1f) as i32, (cv >> 8 & 0x1f) as i32);
            let lane = l as i32;
            let max = (lane & seg) | (cval & !seg);
            let min = lane & seg;
            let (mut j, ok) = match mode {
                "up" => (lane - bv, lane - bv >= max),
                "down" => (lane + bv, lane + bv <= max),
                "bfly" => (lane ^ bv, (lane ^ bv) <= max),
                _ => {
                    let j = min | (bv & !seg);
                    (j, j <= max)
                }
            };
            if !ok {
                j = lane;
            }
            let j = (j & 31) as usize;
            v[l] = x[j];
            // The value of a lane that does not take part is undefined.
            if mask >> j & 1 == 1 {
                valid |= 1 << l;
                vd |= (def >> j & 1) << l;
            }
            from[l] = j as u8;
            m.set1(p, l, u64::from(ok));
        }
        if vd & mask != mask && out != NONE {
            m.w.define_from(out, a, &from, valid, mask);
            for l in Warp::lanes(mask) {
                m.w.regs[out as usize][l] = v[l];
            }
        } else {
            m.set(out, &v, mask, vd);
        }
        Ok(())
    }))
}

fn matrix(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let load = i.opcode() == "ldmatrix";
    let (ra, aa) = if load {
        (&i.args[0], &i.args[1])
    } else {
        (&i.args[1], &i.args[0])
    };
    let regs = if load {
        d.dsts(ra)?
    } else {
        d.srcs(ra, Type::B32)?
    };
    let n: usize = match i.slot("N") {
        Some("x1") => 1,
        Some("x2") => 2,
        _ => 4,
    };
    if regs.len() != n {
        return refuse(format!("{} registers for {n} matrices", regs.len()));
    }
    let (space, addr) = super::ldst::operand(d, i, aa)?;
    let trans = i.has("trans");
    Ok(lanes_fn(move |m, mask| {
        // Lanes 8k to 8k+7 hold the row addresses of matrix k.
        let used = if n == 4 {
            u32::MAX
        } else {
            (1u32 << (8 * n)) - 1
        };
        m.need_addr(addr, mask & used)?;
        if !load {
            for r in &regs {
                m.need(*r, mask)?;
            }
        }
        for k in 0..n {
            let mut tile = [[0u64; 8]; 8];
            let mut places = [Place::Shared(0); 8];
            for r in 0..8 {
                places[r] = super::access::place(space, m.address(addr, 8 * k + r));
                if !matches!(places[r], Place::Shared(_)) {
                    return Err(FaultKind::Operand("the address is not in shared memory"));
                }
            }
            if m.g.count {
                m.count_access(&places, 16, !load);
            }
            // Element (r, c) of the register's matrix sits in lane 4r + c/2, half c%2.
            if !load {
                for l in 0..32 {
                    for j in 0..2 {
                        let v = m.r(regs[k])[l] >> (16 * j) & 0xffff;
                        let (r, c) = (l / 4, l % 4 * 2 + j);
                        if trans {
                            tile[c][r] = v;
                        } else {
                            tile[r][c] = v;
                        }
                    }
                }
            }
            for r in 0..8 {
                let mut row = [0u8; 16];
                if load {
                    m.load(8 * k + r, places[r], 16, Order::default(), &mut row)?;
                    for c in 0..8 {
                        tile[r][c] = le(&row[2 * c..2 * c + 2]);
                    }
                } else {
                    for c in 0..8 {
                        row[2 * c..2 * c + 2].copy_from_slice(&(tile[r][c] as u16).to_le_bytes());
                    }
                    m.store(8 * k + r, places[r], 16, Order::default(), &row)?;
                }
            }
            if load {
                let mut v = [0u64; 32];
                for l in 0..32 {
                    for j in 0..2 {
                        let (r, c) = (l / 4, l % 4 * 2 + j);
                        v[l] |= (if trans { tile[c][r] } else { tile[r][c] }) << (16 * j);
                    }
                }
                m.set(regs[k], &v, mask, mask);
            }
        }
        Ok(())
    }))
}

/// Sign-extends a value of `bits` bits to i32.
pub(crate) fn small_int(v: u64, bits: u32, signed: bool) -> i32 {
    if signed {
        sx(v, bits) as i32
    } else {
        (v & ((1 << bits) - 1)) as i32
    }
}
