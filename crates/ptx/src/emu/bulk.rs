// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Bulk copies and reductions, st.async and red.async. In: form and operands. Out: copies that land when
//! the seed says, at the latest at their wait. Source: PTX ISA manual, 9.7.9.24 to 9.7.9.27.

use super::access::{Place, Who, place};
use super::atom::{Combine, combine};
use super::code::*;
use super::decode::{Addr, D, Dec, MemSpace, refuse};
use super::fault::FaultKind;
use super::state::{Bulk, Machine, Warp, le};
use super::tensor;
use crate::module::{Address, Instr, Operand};
use crate::ty::Type;

/// A contiguous part of a bulk copy.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) dst: Place,
    /// Nothing: bytes of this value (out of a tensor's bounds).
    pub(crate) src: Option<Place>,
    pub(crate) fill: [u8; 8],
    pub(crate) len: u32,
}

/// What happens when a bulk copy lands.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) reduce: Option<(Combine, Type)>,
    /// Values that come from registers instead of memory.
    pub(crate) literal: Option<Vec<u8>>,
    /// mbarrier and the bytes that complete on it.
    pub(crate) mbar: Option<(u64, u32)>,
}

pub(super) type Out = D<(Op, Meet, Class)>;

pub(super) fn done(f: impl Fn(&mut Machine<'_>, u32) -> Exe + Send + Sync + 'static) -> Out {
    Ok((Op::Exec(Box::new(f)), Meet::None, Class::AsyncCopy))
}

pub(super) fn constant(o: &Operand) -> D<u32> {
    match o {
        Operand::Imm(crate::module::Imm::Int(v)) => Ok(*v as u32),
        _ => refuse(format!("`{o}` where a constant is needed")),
    }
}

impl Machine<'_> {
    /// Lands one bulk copy.
    pub(crate) fn land_bulk(&mut self, a: &Action) -> Exe {
        let mut at = 0usize;
        for p in &a.pieces {
            let n = p.len as usize;
            let mut b = vec![0u8; n];
            match (&a.literal, p.src) {
                (Some(v), _) => b.copy_from_slice(&v[at..at + n]),
                (None, Some(s)) => self.peek(s, &mut b)?,
                (None, None) => {
                    for (k, x) in b.iter_mut().enumerate() {
                        *x = p.fill[k % 8];
                    }
                }
            }
            at += n;
            if let Some((f, ty)) = a.reduce {
                let w = ty.bytes() as usize;
                let mut old = vec![0u8; n];
                self.peek(p.dst, &mut old)?;
                for (o, x) in old.chunks(w).zip(b.chunks_mut(w)) {
                    let v = f(le(o), le(x), ty);
                    x.copy_from_slice(&v.to_le_bytes()[..w]);
                }
            }
            self.poke(p.dst, &b)?;
        }
        self.changed();
        if let Some((m, bytes)) = a.mbar {
            self.mbar_complete(m, bytes)?;
        }
        Ok(())
    }

    /// Reads bytes without any check of order.
    pub(crate) fn peek(&mut self, p: Place, out: &mut [u8]) -> Exe {
        let n = out.len() as u32;
        match p {
            Place::Shared(a) => {
                let off = self.shared_at(a, n, 1, false)?;
                out.copy_from_slice(&self.c.shared[off..off + out.len()]);
            }
            Place::Global(a) => {
                let oob = FaultKind::OutOfBounds {
                    space: "global",
                    addr: a,
                    bytes: n,
                    write: false,
                };
                let (al, off) = self
                    .g
                    .memory
                    .find(a, n.into(), &mut self.c.hint)
                    .ok_or(oob)?;
                al.read(off, out);
            }
            Place::Local(_) | Place::Param(_) => {
                return Err(FaultKind::Operand(
                    "this address is not in global or shared memory",
                ));
            }
        }
        Ok(())
    }

    fn poke(&mut self, p: Place, b: &[u8]) -> Exe {
        let n = b.len() as u32;
        match p {
            Place::Shared(a) => {
                let off = self.shared_at(a, n, 1, true)?;
                self.c.shared[off..off + b.len()].copy_from_slice(b);
            }
            Place::Global(a) => {
                let oob = FaultKind::OutOfBounds {
                    space: "global",
                    addr: a,
                    bytes: n,
                    write: true,
                };
                let (al, off) = self
                    .g
                    .memory
                    .find(a, n.into(), &mut self.c.hint)
                    .ok_or(oob)?;
                al.write(off, b);
            }
            Place::Local(_) | Place::Param(_) => {
                return Err(FaultKind::Operand(
                    "this address is not in global or shared memory",
                ));
            }
        }
        Ok(())
    }

    /// Checks a bulk operation against bounds and races, then queues it.
    pub(crate) fn issue(&mut self, lane: usize, a: Action, grouped: bool) -> Exe {
        self.lane = lane;
        let tid = self.tid(lane);
        let (mut actor, mut clock) = (0, 0);
        if let Some((b, _)) = a.mbar {
            (actor, clock) = self.mbar_engine(b)?;
        }
        if grouped {
            clock = self.w.bulk_group[lane] + 1;
            actor = self.c.race.as_ref().map_or(0, |r| r.bulk_actor(tid));
            self.w.bulk_issued[lane] = clock;
        }
        let who = Who::Engine {
            actor,
            clock,
            generic: false,
        };
        let writer = match self.c.race.as_ref() {
            Some(r) if grouped => Who::Engine {
                actor: r.bulk_writer(tid),
                clock,
                generic: false,
            },
            Some(_) | None => who,
        };
        for p in &a.pieces {
            let n = p.len as usize;
            let mut scratch = vec![0u8; n];
            if let Some(s) = p.src {
                self.peek(s, &mut scratch)?;
                match s {
                    Place::Shared(x) => {
                        let off = self.shared_at(x, p.len, 1, false)?;
                        self.race_shared(tid, who, off, n, (true, false), false, false)?;
                    }
                    Place::Global(x) => {
                        self.race_global(tid, who, x, n, (true, false), false, false)?
                    }
                    Place::Local(_) | Place::Param(_) => {}
                }
            }
            let reduce = a.reduce.is_some();
            match p.dst {
                Place::Shared(x) => {
                    let off = self.shared_at(x, p.len, 1, true)?;
                    self.race_shared(tid, writer, off, n, (reduce, true), reduce, false)?;
                }
                Place::Global(x) => {
                    let oob = FaultKind::OutOfBounds {
                        space: "global",
                        addr: x,
                        bytes: p.len,
                        write: true,
                    };
                    self.g
                        .memory
                        .find(x, p.len.into(), &mut self.c.hint)
                        .ok_or(oob)?;
                    self.race_global(tid, writer, x, n, (reduce, true), reduce, false)?;
                }
                Place::Local(_) | Place::Param(_) => {
                    return Err(FaultKind::Operand(
                        "this address is not in global or shared memory",
                    ));
                }
            }
        }
        let group = grouped.then_some(clock);
        let warp = self.w.id;
        self.c.bulk.push(Bulk {
            warp,
            lane: lane as u8,
            group,
            action: a,
        });
        Ok(())
    }

    /// Lands those bulk copies of which `pick` is true, in queue order.
    pub(crate) fn land_where(&mut self, pick: impl Fn(&Bulk) -> bool) -> Exe {
        let mut k = 0;
        while k < self.c.bulk.len() {
            if pick(&self.c.bulk[k]) {
                let b = self.c.bulk.remove(k);
                self.land_bulk(&b.action)?;
            } else {
                k += 1;
            }
        }
        Ok(())
    }
}

fn shared_place(m: &Machine<'_>, a: Addr, l: usize) -> Place {
    let v = m.address(a, l);
    match place(MemSpace::Generic, v) {
        Place::Shared(x) => Place::Shared(x),
        _ => Place::Shared(v & 0xffff_ffff),
    }
}

pub(super) fn bulk(d: &mut Dec<'_>, i: &Instr) -> Out {
    d.code.async_proxy = true;
    if i.has("commit_group") {
        return done(|m, mask| {
            for l in Warp::lanes(mask) {
                m.w.bulk_group[l] += 1;
            }
            Ok(())
        });
    }
    if i.has("wait_group") {
        let n = constant(&i.args[0])?;
        let read_only = i.has("read");
        return done(move |m, mask| {
            let (w, groups) = (m.w.id, m.w.bulk_group);
            m.land_where(|b| {
                b.warp == w
                    && mask >> b.lane & 1 == 1
                    && b.group
                        .is_some_and(|g| g.saturating_add(n) <= groups[b.lane as usize])
            })?;
            for l in Warp::lanes(mask) {
                let done = &mut m.w.bulk_waited[l];
                *done = (*done).max(groups[l].saturating_sub(n));
            }
            if let Some(r) = m.c.race.as_mut() {
                for l in Warp::lanes(mask) {
                    if groups[l] > n {
                        let tid = w * 32 + l as u32;
                        r.finished(w, 1 << l, r.bulk_actor(tid), groups[l] - n);
                        if !read_only {
                            r.finished(w, 1 << l, r.bulk_writer(tid), groups[l] - n);
                        }
                    }
                }
            }
            Ok(())
        });
    }
    if i.has("prefetch") {
        return Ok((Op::Nop, Meet::None, Class::AsyncCopy));
    }
    if i.has("multicast::cluster") {
        return refuse("multicast to a cluster");
    }
    if i.has("tensor") {
        return tensor::copy(d, i);
    }
    if i.has("cp_mask") {
        return refuse("cp.async.bulk with a byte mask");
    }
    let (dst, src) = (d.addr(&i.args[0])?, d.addr(&i.args[1])?);
    let size = d.src(&i.args[2], Type::U32)?;
    let mbar = if i.has("mbarrier::complete_tx::bytes") {
        Some(d.addr(&i.args[3])?)
    } else {
        None
    };
    let to_global = i.slot("DS") == Some("global");
    let from_global = i.has("global") && !to_global;
    let reduce = if i.has("reduce") {
        let ty = i.slot_type("T").unwrap_or(Type::B32);
        Some((combine(i.slot("O").unwrap_or("add"), ty)?, ty))
    } else {
        None
    };
    done(move |m, mask| {
        for a in [Some(dst), Some(src), mbar].into_iter().flatten() {
            m.need_addr(a, mask)?;
        }
        let n = *m.need(size, mask)?;
        for l in Warp::lanes(mask) {
            m.lane = l;
            if n[l] % 16 != 0 {
                return Err(FaultKind::Operand("a bulk copy's size is a multiple of 16"));
            }
            let at = |m: &Machine<'_>, a: Addr, global: bool| {
                if global {
                    Place::Global(m.address(a, l))
                } else {
                    shared_place(m, a, l)
                }
            };
            let (to, from) = (at(m, dst, to_global), at(m, src, from_global));
            for p in [to, from] {
                let (Place::Global(x) | Place::Shared(x) | Place::Local(x) | Place::Param(x)) = p;
                if !x.is_multiple_of(16) {
                    return Err(FaultKind::Misaligned {
                        space: "bulk copy",
                        addr: x,
                        align: 16,
                    });
                }
            }
            let mb = match mbar {
                Some(a) => match shared_place(m, a, l) {
                    Place::Shared(x) => Some((x, n[l] as u32)),
                    _ => None,
                },
                None => None,
            };
            let pieces = vec![Piece {
                dst: to,
                src: Some(from),
                fill: [0; 8],
                len: n[l] as u32,
            }];
            m.issue(
                l,
                Action {
                    pieces,
                    reduce,
                    literal: None,
                    mbar: mb,
                },
                mb.is_none(),
            )?;
            if m.g.count {
                m.c.counters.global(
                    &[(
                        match if to_global { to } else { from } {
                            Place::Global(x) => x,
                            _ => 0,
                        },
                        if to_global || from_global {
                            n[l] as u32
                        } else {
                            0
                        },
                    )],
                    to_global,
                );
            }
        }
        Ok(())
    })
}

/// Address and value operands of st.async and red.async, which complete on an mbarrier.
fn remote(d: &mut Dec<'_>, i: &Instr, reduce: Option<(Combine, Type)>) -> Out {
    let ty = i.slot_type("T").unwrap_or(Type::B32);
    let (dst, mbar) = (d.addr(&i.args[0])?, d.addr(&i.args[2])?);
    let regs = d.srcs(&i.args[1], ty)?;
    d.code.async_proxy = true;
    let w = ty.bytes() as usize;
    done(move |m, mask| {
        m.need_addr(dst, mask)?;
        m.need_addr(mbar, mask)?;
        for r in &regs {
            m.need(*r, mask)?;
        }
        for l in Warp::lanes(mask) {
            let v: Vec<u8> = regs
                .iter()
                .flat_map(|r| m.r(*r)[l].to_le_bytes()[..w].to_vec())
                .collect();
            let len = v.len() as u32;
            let Place::Shared(b) = shared_place(m, mbar, l) else {
                continue;
            };
            let pieces = vec![Piece {
                dst: shared_place(m, dst, l),
                src: None,
                fill: [0; 8],
                len,
            }];
            m.issue(
                l,
                Action {
                    pieces,
                    reduce,
                    literal: Some(v),
                    mbar: Some((b, len)),
                },
                false,
            )?;
        }
        Ok(())
    })
}

/// st.async.
pub(crate) fn st_async(d: &mut Dec<'_>, i: &Instr) -> Out {
    remote(d, i, None)
}

/// red.async.
pub(crate) fn red_async(d: &mut Dec<'_>, i: &Instr) -> Out {
    let ty = i.slot_type("T").unwrap_or(Type::B32);
    let f = combine(i.slot("O").unwrap_or("add"), ty)?;
    remote(d, i, Some((f, ty)))
}

/// Base and coordinates of a tensor operand `[map, {c0, c1}]`.
pub(crate) fn tensor_operand(d: &mut Dec<'_>, o: &Operand) -> D<(Slot, u64, Vec<Slot>)> {
    let Operand::Address(Address { parts, .. }) = o else {
        return refuse(format!("tensor operand `{o}`"));
    };
    let a = d.addr(o)?;
    let coords = match parts.first() {
        Some(v) => d.srcs(v, Type::S32)?,
        None => Vec::new(),
    };
    Ok((a.base, a.off, coords))
}
