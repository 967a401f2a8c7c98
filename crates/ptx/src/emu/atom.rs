// SPDX-License-Identifier: Apache-2.0 OR MIT
//! atom and red: every operation, width, vector form, ordering and scope.
//! In: form and operands. Out: read-modify-write accesses, one lane after the other in an
//! order that the seed decides. Source: PTX ISA manual, 9.7.13.5, 9.7.13.6.

use super::access::{Order, Place, Who, place};
use super::alu::{sx, zx};
use super::code::*;
use super::convert::pair128;
use super::decode::{Addr, D, Dec, MemSpace, refuse};
use super::fault::FaultKind;
use super::float::*;
use super::ldst::{operand, order_of};
use super::race::Strong;
use super::state::{Machine, Warp};
use crate::module::{Instr, Operand};
use crate::ty::{Class as TyClass, Type};

/// Combines the old value and an operand.
pub(crate) type Combine = fn(u64, u64, Type) -> u64;

/// The operation of that name.
pub(crate) fn combine(op: &str, ty: Type) -> D<Combine> {
    let float = ty.class() == TyClass::Float;
    Ok(match op {
        "and" => |a, b, _| a & b,
        "or" => |a, b, _| a | b,
        "xor" => |a, b, _| a ^ b,
        "exch" => |_, b, _| b,
        "add" if float => add_float,
        "add" => |a, b, t| zx(a.wrapping_add(b), t.bits()),
        "inc" => |a, b, _| if a >= b { 0 } else { a + 1 },
        "dec" => |a, b, _| if a == 0 || a > b { b } else { a - 1 },
        "min" if float => |a, b, t| minmax_float(a, b, t, false),
        "max" if float => |a, b, t| minmax_float(a, b, t, true),
        "min" => |a, b, t| pick(a, b, t, false),
        "max" => |a, b, t| pick(a, b, t, true),
        other => return refuse(format!("atomic `{other}`")),
    })
}

fn pick(a: u64, b: u64, t: Type, max: bool) -> u64 {
    let less = if t.class() == TyClass::Signed {
        sx(a, t.bits()) < sx(b, t.bits())
    } else {
        a < b
    };
    if less != max { a } else { b }
}

fn each16(a: u64, b: u64, t: Type, f: impl Fn(f64, f64) -> f64) -> u64 {
    let fm = if matches!(t, Type::F16 | Type::F16x2) {
        F16
    } else {
        BF16
    };
    let one = |k: u32| {
        encode(
            f(unpack(a >> k & 0xffff, fm), unpack(b >> k & 0xffff, fm)),
            fm,
            Round::Near,
            false,
        ) << k
    };
    if matches!(t, Type::F16x2 | Type::Bf16x2) {
        one(0) | one(16)
    } else {
        one(0)
    }
}

fn add_float(a: u64, b: u64, t: Type) -> u64 {
    match t {
        Type::F32 => u64::from(canon(f32::from_bits(a as u32) + f32::from_bits(b as u32))),
        Type::F64 => (f64::from_bits(a) + f64::from_bits(b)).to_bits(),
        _ => each16(a, b, t, add_odd),
    }
}

fn minmax_float(a: u64, b: u64, t: Type, max: bool) -> u64 {
    let f = move |x: f64, y: f64| {
        if x.is_nan() {
            y
        } else if y.is_nan() || (x.total_cmp(&y) == std::cmp::Ordering::Greater) == max {
            x
        } else {
            y
        }
    };
    match t {
        Type::F32 => u64::from(
            (f(
                f32::from_bits(a as u32).into(),
                f32::from_bits(b as u32).into(),
            ) as f32)
                .to_bits(),
        ),
        Type::F64 => f(f64::from_bits(a), f64::from_bits(b)).to_bits(),
        _ => each16(a, b, t, f),
    }
}

struct Atom {
    space: MemSpace,
    addr: Addr,
    dst: Vec<Slot>,
    src: Vec<Slot>,
    /// For cas: what is compared; `src` replaces it.
    cmp: Vec<Slot>,
    ty: Type,
    f: Combine,
    order: Order,
}

pub(crate) fn decode(d: &mut Dec<'_>, i: &Instr) -> D<(Op, Meet, Class)> {
    if i.has("async") {
        return super::bulk::red_async(d, i);
    }
    let red = i.opcode() == "red";
    let at = usize::from(!red);
    let ty = i.slot_type("T").unwrap_or(Type::B32);
    let (space, addr) = operand(d, i, &i.args[at])?;
    if space != MemSpace::Shared {
        d.code.cross_block = true;
    }
    let cas = i.has("cas");
    let regs = |d: &mut Dec<'_>, o: &Operand, dst: bool| -> D<Vec<Slot>> {
        if ty == Type::B128 {
            pair128(d, o, dst)
        } else if dst {
            d.dsts(o)
        } else {
            d.srcs(o, ty)
        }
    };
    let dst = if red {
        Vec::new()
    } else {
        regs(d, &i.args[0], true)?
    };
    let (cmp, src) = if cas {
        (regs(d, &i.args[2], false)?, regs(d, &i.args[3], false)?)
    } else {
        (Vec::new(), regs(d, &i.args[at + 1], false)?)
    };
    let f = combine(
        if cas {
            "exch"
        } else {
            i.slot("O").unwrap_or("add")
        },
        ty,
    )?;
    let mut order = order_of(i);
    // Without a semantics modifier it is relaxed.
    order.strong = true;
    Ok((
        Op::Exec(Box::new(Atom {
            space,
            addr,
            dst,
            src,
            cmp,
            ty,
            f,
            order,
        })),
        Meet::None,
        Class::Atomic,
    ))
}

impl Machine<'_> {
    /// One lane's read-modify-write of one element of at most 8 bytes.
    pub(crate) fn rmw(
        &mut self,
        lane: usize,
        p: Place,
        bytes: u32,
        o: Order,
        f: impl Fn(u64) -> u64,
    ) -> Result<u64, FaultKind> {
        self.lane = lane;
        let n = bytes as usize;
        let tid = self.tid(lane);
        let old;
        match p {
            Place::Shared(a) => {
                let off = self.shared_at(a, bytes, bytes, true)?;
                self.race_shared(tid, Who::Thread, off, n, (true, true), true, false)?;
                old = super::state::le(&self.c.shared[off..off + n]);
                let new = f(old);
                self.c.shared[off..off + n].copy_from_slice(&new.to_le_bytes()[..n]);
                if new != old {
                    self.changed();
                }
            }
            Place::Global(a) => {
                if !a.is_multiple_of(u64::from(bytes)) {
                    return Err(FaultKind::Misaligned {
                        space: "global",
                        addr: a,
                        align: bytes,
                    });
                }
                let oob = FaultKind::OutOfBounds {
                    space: "global",
                    addr: a,
                    bytes,
                    write: true,
                };
                let (al, off) = self
                    .g
                    .memory
                    .find(a, u64::from(bytes), &mut self.c.hint)
                    .ok_or(oob)?;
                self.race_global(tid, Who::Thread, a, n, (true, true), true, false)?;
                let mut b = [0u8; 8];
                al.read(off, &mut b[..n]);
                old = u64::from_le_bytes(b);
                let new = f(old);
                al.write(off, &new.to_le_bytes()[..n]);
                if new != old {
                    self.changed();
                }
            }
            Place::Local(_) | Place::Param(_) => {
                return Err(FaultKind::Operand(
                    "an atomic needs a global or shared address",
                ));
            }
        }
        self.strong(
            lane,
            p,
            Strong {
                read: true,
                write: true,
                acquire: o.acquire,
                release: o.release,
                cta: o.cta,
            },
        );
        Ok(old)
    }
}

impl Exec for Atom {
    fn run(&self, m: &mut Machine<'_>, mask: u32) -> Exe {
        m.need_addr(self.addr, mask)?;
        for s in self.src.iter().chain(&self.cmp) {
            m.need(*s, mask)?;
        }
        let elem = if self.ty == Type::B128 {
            8
        } else {
            self.ty.bytes()
        };
        let total = elem * self.src.len() as u32;
        if m.g.count {
            let places: Vec<_> = Warp::lanes(mask)
                .map(|l| place(self.space, m.address(self.addr, l)))
                .collect();
            m.count_access(&places, total, true);
        }
        // Lanes take turns in any order; which, the seed decides.
        let turn = m.c.rng.below(32) as usize;
        for k in 0..32 {
            let l = (k + turn) % 32;
            if mask >> l & 1 == 0 {
                continue;
            }
            let p = place(self.space, m.address(self.addr, l));
            let step = |k: usize| match p {
                Place::Global(a) => Place::Global(a + u64::from(elem) * k as u64),
                Place::Shared(a) => Place::Shared(a + u64::from(elem) * k as u64),
                other => other,
            };
            // A 128-bit compare must look at both halves before it writes one.
            let mut hit = true;
            if self.cmp.len() == 2 {
                for j in 0..2 {
                    let want = m.r(self.cmp[j])[l];
                    hit &= m.rmw(l, step(j), elem, self.order, |v| v)? == want;
                }
            }
            for j in 0..self.src.len() {
                let new = m.r(self.src[j])[l];
                let old = if self.cmp.is_empty() {
                    m.rmw(l, step(j), elem, self.order, |v| (self.f)(v, new, self.ty))?
                } else {
                    let want = m.r(self.cmp[j])[l];
                    let single = self.cmp.len() == 1;
                    m.rmw(l, step(j), elem, self.order, |v| {
                        let yes = if single {
                            v == zx(want, self.ty.bits().min(64))
                        } else {
                            hit
                        };
                        if yes { new } else { v }
                    })?
                };
                if let Some(s) = self.dst.get(j) {
                    m.set1(*s, l, old);
                }
            }
        }
        Ok(())
    }
}
