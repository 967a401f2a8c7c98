// SPDX-License-Identifier: Apache-2.0 OR MIT
//! cp.async with its groups. In: form and operands. Out: copies that land when the seed
//! says, at the latest at their wait. Source: PTX ISA manual, 9.7.9.24 and 9.7.9.25.

use super::access::{Place, Who, place};
use super::bulk::{Out, bulk, constant, done};
use super::code::*;
use super::decode::{Dec, refuse};
use super::fault::FaultKind;
use super::ldst::operand;
use super::state::{Machine, Pending, Warp};
use super::tensor;
use crate::module::{Instr, Operand};
use crate::ty::Type;

/// cp, cp.reduce, tensormap.
pub(crate) fn decode(d: &mut Dec<'_>, i: &Instr) -> Out {
    if i.opcode() == "tensormap" {
        return tensor::map_op(d, i);
    }
    if i.has("bulk") {
        return bulk(d, i);
    }
    if i.has("commit_group") {
        return done(|m, mask| {
            for l in Warp::lanes(mask) {
                m.w.cp_group[l] += 1;
            }
            Ok(())
        });
    }
    if i.has("wait_group") || i.has("wait_all") {
        let n = if i.has("wait_all") {
            None
        } else {
            Some(constant(&i.args[0])?)
        };
        return done(move |m, mask| {
            for l in Warp::lanes(mask) {
                if n.is_none() {
                    m.w.cp_group[l] += 1;
                }
            }
            m.cp_wait(mask, n.unwrap_or(0))
        });
    }
    if i.has("arrive") {
        let (sp, a) = operand(d, i, &i.args[0])?;
        let noinc = i.has("noinc");
        return done(move |m, mask| {
            m.need_addr(a, mask)?;
            for l in Warp::lanes(mask) {
                // Landing the lane's copies here is one of the legal orders; a reader that does
                // not wait for the phase is found by the race check, not by luck.
                m.w.cp_group[l] += 1;
                m.cp_land(1 << l, 0)?;
                let p = place(sp, m.address(a, l));
                let (tid, group) = (m.tid(l), m.w.cp_group[l]);
                if let (Place::Shared(x), Some(r)) = (p, m.c.race.as_ref()) {
                    let actor = r.cp_actor(tid);
                    if let Some(b) = m.c.mbars.get_mut(&x) {
                        super::race::raise(&mut b.now.own, actor as usize, group);
                    }
                }
                if noinc {
                    m.mbar_arrive(l, p, 1, false, 0, false)?;
                }
            }
            Ok(())
        });
    }
    cp_async(d, i)
}

fn cp_async(d: &mut Dec<'_>, i: &Instr) -> Out {
    let (dst, src) = (d.addr(&i.args[0])?, d.addr(&i.args[1])?);
    let size = constant(&i.args[2])?;
    if !(size == 16 || (i.has("ca") && matches!(size, 4 | 8))) {
        return refuse(format!("cp.async of {size} bytes"));
    }
    let hint = usize::from(i.has("L2::cache_hint"));
    let mut take = NONE;
    let mut ignore = false;
    if i.args.len() > 3 + hint {
        let o = &i.args[3];
        ignore = matches!(o, Operand::Not(_)) || d.width(o) == Some(1);
        if ignore {
            let (s, neg) = d.pred(o)?;
            if neg {
                return refuse("cp.async with a negated ignore-src");
            }
            take = s;
        } else {
            take = d.src(o, Type::U32)?;
        }
    }
    done(move |m, mask| {
        m.need_addr(dst, mask)?;
        m.need_addr(src, mask)?;
        if take != NONE {
            m.need(take, mask)?;
        }
        let first = m.w.pending.len();
        let mut shared = Vec::new();
        let mut global = Vec::new();
        for l in Warp::lanes(mask) {
            m.lane = l;
            let n = match take {
                NONE => u64::from(size),
                s if ignore => u64::from(size) * (1 - (m.r(s)[l] & 1)),
                s => m.r(s)[l],
            };
            if n > u64::from(size) {
                return Err(FaultKind::Operand("source size above the copy's size"));
            }
            let (to, from) = (m.address(dst, l) & 0xffff_ffff, m.address(src, l));
            let off = m.shared_at(to, size, size, true)?;
            let (tid, group) = (m.tid(l), m.w.cp_group[l] + 1);
            if n > 0 {
                if !from.is_multiple_of(u64::from(size)) {
                    return Err(FaultKind::Misaligned {
                        space: "global",
                        addr: from,
                        align: size,
                    });
                }
                let oob = FaultKind::OutOfBounds {
                    space: "global",
                    addr: from,
                    bytes: n as u32,
                    write: false,
                };
                m.g.memory.find(from, n, &mut m.c.hint).ok_or(oob)?;
                global.push((from, n as u32));
            }
            shared.push((to, size));
            let p = Pending {
                lane: l as u8,
                group,
                dst: to,
                src: from,
                bytes: size as u8,
                take: n as u8,
            };
            if let Some(r) = m.c.race.as_ref() {
                let actor = r.cp_actor(tid);
                let twin = m.w.pending[first..]
                    .iter()
                    .any(|q| q.dst == to && q.src == from && q.take == p.take);
                let who = Who::Engine {
                    actor,
                    clock: group,
                    generic: true,
                };
                m.race_shared(tid, who, off, size as usize, (false, true), false, twin)?;
                if n > 0 {
                    m.race_global(
                        tid,
                        Who::Thread,
                        from,
                        n as usize,
                        (true, false),
                        false,
                        false,
                    )?;
                }
            }
            m.w.pending.push(p);
        }
        if m.g.count {
            m.c.counters.shared(&shared, true);
            m.c.counters.global(&global, false);
        }
        // Some seeds let copies land early.
        if m.g.seed % 4 != 0 && m.c.rng.below(3) == 0 {
            while m.w.pending.len() > first {
                if let Some(p) = m.w.pending.pop() {
                    m.land(&p)?;
                }
            }
        }
        Ok(())
    })
}

impl Machine<'_> {
    fn land(&mut self, p: &Pending) -> Exe {
        let mut b = [0u8; 16];
        let n = p.take as usize;
        if n > 0 {
            let oob = FaultKind::OutOfBounds {
                space: "global",
                addr: p.src,
                bytes: n as u32,
                write: false,
            };
            let (al, off) = self
                .g
                .memory
                .find(p.src, n as u64, &mut self.c.hint)
                .ok_or(oob)?;
            al.read(off, &mut b[..n]);
        }
        let off = self.shared_at(p.dst, p.bytes.into(), p.bytes.into(), true)?;
        self.c.shared[off..off + p.bytes as usize].copy_from_slice(&b[..p.bytes as usize]);
        self.changed();
        Ok(())
    }

    /// Lands the copies of these lanes in all but their last `n` groups.
    fn cp_land(&mut self, mask: u32, n: u32) -> Exe {
        let mut k = 0;
        while k < self.w.pending.len() {
            let p = &self.w.pending[k];
            let l = p.lane as usize;
            if mask >> l & 1 == 1 && p.group.saturating_add(n) <= self.w.cp_group[l] {
                let p = self.w.pending.remove(k);
                self.land(&p)?;
            } else {
                k += 1;
            }
        }
        Ok(())
    }

    fn cp_wait(&mut self, mask: u32, n: u32) -> Exe {
        self.cp_land(mask, n)?;
        let w = self.w.id;
        if let Some(r) = self.c.race.as_mut() {
            // Lanes whose groups are alike learn alike.
            let mut left = mask;
            while left != 0 {
                let l0 = left.trailing_zeros() as usize;
                let g = self.w.cp_group[l0];
                let same = Warp::lanes(left)
                    .filter(|l| self.w.cp_group[*l] == g)
                    .fold(0u32, |b, l| b | 1 << l);
                left &= !same;
                if g > n {
                    let actors: Vec<(usize, u32)> = Warp::lanes(same)
                        .map(|l| (l, r.cp_actor(w * 32 + l as u32)))
                        .collect();
                    for (l, a) in actors {
                        r.finished(w, 1 << l, a, g - n);
                    }
                }
            }
        }
        Ok(())
    }
}
