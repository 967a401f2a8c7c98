// SPDX-License-Identifier: Apache-2.0 OR MIT
//! mbarrier objects. In: form and operands. Out: changes of the object's 64 bits in shared
//! memory and, for race checking, of what its phases publish.
//!
//! The object (opaque to programs): bits 0-19 expected arrivals, 20-39 pending arrivals,
//! 40-61 pending transactions (signed), 63 phase. Source: PTX ISA manual, 9.7.13.15.

use super::access::{Place, place};
use super::alu::sx;
use super::code::*;
use super::decode::{D, Dec};
use super::fault::FaultKind;
use super::ldst::operand;
use super::race::Know;
use super::state::{Machine, Warp, le};
use crate::module::{Instr, Operand};
use crate::ty::Type;
use std::collections::BTreeMap;

/// What race checking knows of one object.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mbar {
    /// Completed phases.
    pub(crate) phases: u32,
    /// Actor of the asynchronous operations that complete on it.
    pub(crate) actor: Option<u32>,
    /// Published in the current phase.
    pub(crate) now: Know,
    /// Published by all completed phases.
    pub(crate) past: Know,
}

/// Objects by shared address.
pub(crate) type MbarTable = BTreeMap<u64, Mbar>;

const COUNT: u64 = (1 << 20) - 1;
const TX: u64 = (1 << 22) - 1;

fn fields(v: u64) -> (u64, u64, i64, u64) {
    (v & COUNT, v >> 20 & COUNT, sx(v >> 40 & TX, 22), v >> 63)
}

fn object(expected: u64, pending: u64, tx: i64, phase: u64) -> u64 {
    expected & COUNT | (pending & COUNT) << 20 | (tx as u64 & TX) << 40 | phase << 63
}

impl Machine<'_> {
    fn mbar_at(&self, p: Place) -> Result<(u64, usize), FaultKind> {
        let Place::Shared(a) = p else {
            return Err(FaultKind::Operand("an mbarrier lies in shared memory"));
        };
        Ok((a, self.shared_at(a, 8, 8, true)?))
    }

    fn mbar_value(&mut self, lane: usize, p: Place) -> Result<(u64, usize, u64), FaultKind> {
        let (a, off) = self.mbar_at(p)?;
        if !self.c.mbars.contains_key(&a) {
            return Err(FaultKind::Operand("this is no initialised mbarrier"));
        }
        let tid = self.tid(lane);
        self.race_shared(
            tid,
            super::access::Who::Thread,
            off,
            8,
            (true, true),
            true,
            false,
        )?;
        Ok((a, off, le(&self.c.shared[off..off + 8])))
    }

    fn mbar_set(&mut self, a: u64, off: usize, expected: u64, pending: u64, tx: i64, phase: u64) {
        let done = pending == 0 && tx == 0;
        let v = if done {
            object(expected, expected, 0, phase ^ 1)
        } else {
            object(expected, pending, tx, phase)
        };
        self.c.shared[off..off + 8].copy_from_slice(&v.to_le_bytes());
        if done && let Some(b) = self.c.mbars.get_mut(&a) {
            b.phases += 1;
            let now = std::mem::take(&mut b.now);
            b.past.join(&now);
        }
        self.changed();
    }

    /// Publishes a thread's past in the object's current phase.
    pub(crate) fn mbar_publish(&mut self, lane: usize, a: u64) {
        let tid = self.tid(lane);
        if let (Some(r), Some(b)) = (self.c.race.as_mut(), self.c.mbars.get_mut(&a)) {
            let k = r.publish_one(tid);
            b.now.join(&k);
        }
    }

    /// Some arrivals; returns the state before.
    pub(crate) fn mbar_arrive(
        &mut self,
        lane: usize,
        p: Place,
        n: u64,
        drop: bool,
        tx: i64,
        release: bool,
    ) -> Result<u64, FaultKind> {
        let (a, off, v) = self.mbar_value(lane, p)?;
        let (mut expected, pending, t, phase) = fields(v);
        if n > pending {
            return Err(FaultKind::Barrier(
                "more arrivals at an mbarrier than it expects",
            ));
        }
        if drop {
            expected = expected.saturating_sub(n);
        }
        if release {
            self.mbar_publish(lane, a);
        }
        self.mbar_set(a, off, expected, pending - n, t + tx, phase);
        Ok(v)
    }

    /// Adds to the pending transactions.
    pub(crate) fn mbar_tx(&mut self, lane: usize, p: Place, tx: i64) -> Exe {
        let (a, off, v) = self.mbar_value(lane, p)?;
        let (e, n, t, ph) = fields(v);
        self.mbar_set(a, off, e, n, t + tx, ph);
        Ok(())
    }

    /// Completes transactions from an engine: no thread accesses the object.
    pub(crate) fn mbar_complete(&mut self, a: u64, bytes: u32) -> Exe {
        let (_, off) = self.mbar_at(Place::Shared(a))?;
        let (e, n, t, ph) = fields(le(&self.c.shared[off..off + 8]));
        self.mbar_set(a, off, e, n, t - i64::from(bytes), ph);
        Ok(())
    }

    /// Actor and clock of an asynchronous operation that completes on the object now.
    pub(crate) fn mbar_engine(&mut self, a: u64) -> Result<(u32, u32), FaultKind> {
        let Some(b) = self.c.mbars.get_mut(&a) else {
            return Err(FaultKind::Operand("this is no initialised mbarrier"));
        };
        let Some(r) = self.c.race.as_mut() else {
            return Ok((0, 0));
        };
        let actor = *b.actor.get_or_insert_with(|| r.new_actor());
        Ok((actor, b.phases + 1))
    }

    /// Whether the phase that a token or parity names is over; if so, the lane learns what
    /// it published.
    fn mbar_test(
        &mut self,
        lane: usize,
        p: Place,
        phase: u64,
        acquire: bool,
    ) -> Result<bool, FaultKind> {
        let (a, _, v) = self.mbar_value(lane, p)?;
        let done = v >> 63 != phase;
        if done && acquire {
            let (warp, tid) = (self.w.id, self.tid(lane));
            if let (Some(r), Some(b)) = (self.c.race.as_mut(), self.c.mbars.get(&a)) {
                r.know[tid as usize].join(&b.past);
                if let Some(actor) = b.actor {
                    r.finished(warp, 1 << lane, actor, b.phases);
                }
            }
        }
        Ok(done)
    }
}

pub(crate) fn decode(d: &mut Dec<'_>, i: &Instr) -> D<(Op, Meet, Class)> {
    let wrap = |f: Box<dyn Exec>| Ok((Op::Exec(f), Meet::None, Class::Barrier));
    let relaxed = i.slot("S") == Some("relaxed");
    if i.has("pending_count") {
        let op = super::alu::op1(d, i, Type::B64, |v| v >> 20 & COUNT)?;
        return Ok((op, Meet::None, Class::Barrier));
    }
    let out = matches!(
        i.mods.first(),
        Some(&("arrive" | "arrive_drop" | "test_wait" | "try_wait"))
    );
    let at = usize::from(out);
    let (sp, addr) = operand(d, i, &i.args[at])?;
    let extra = match i.args.get(at + 1) {
        Some(o) => d.src(
            o,
            if i.has("test_wait") || i.has("try_wait") {
                Type::B64
            } else {
                Type::U32
            },
        )?,
        None => d.value(1),
    };
    let dst = if out && i.args[0] != Operand::Sink {
        d.dst(&i.args[0])?
    } else {
        NONE
    };
    match i.mods[0] {
        "init" => wrap(Box::new(move |m: &mut Machine<'_>, mask: u32| {
            m.need_addr(addr, mask)?;
            let n = *m.need(extra, mask)?;
            for l in Warp::lanes(mask) {
                if n[l] == 0 || n[l] > COUNT {
                    return Err(FaultKind::Operand("an mbarrier's count is 1 to 2^20-1"));
                }
                let p = place(sp, m.address(addr, l));
                m.mbar_at(p)?;
                m.store(
                    l,
                    p,
                    8,
                    Default::default(),
                    &object(n[l], n[l], 0, 0).to_le_bytes(),
                )?;
                if let Place::Shared(a) = p {
                    m.c.mbars.insert(a, Mbar::default());
                }
            }
            Ok(())
        })),
        "inval" => wrap(Box::new(move |m: &mut Machine<'_>, mask: u32| {
            m.need_addr(addr, mask)?;
            for l in Warp::lanes(mask) {
                let p = place(sp, m.address(addr, l));
                let (a, off, _) = m.mbar_value(l, p)?;
                m.race_shared(
                    m.tid(l),
                    super::access::Who::Thread,
                    off,
                    8,
                    (false, true),
                    false,
                    false,
                )?;
                m.c.mbars.remove(&a);
            }
            Ok(())
        })),
        "expect_tx" | "complete_tx" => {
            let sign = if i.has("expect_tx") { 1 } else { -1 };
            wrap(Box::new(move |m: &mut Machine<'_>, mask: u32| {
                m.need_addr(addr, mask)?;
                let n = *m.need(extra, mask)?;
                for l in Warp::lanes(mask) {
                    m.mbar_tx(l, place(sp, m.address(addr, l)), sign * n[l] as i64)?;
                }
                Ok(())
            }))
        }
        "arrive" | "arrive_drop" => {
            let (drop, tx) = (i.has("arrive_drop"), i.has("expect_tx"));
            wrap(Box::new(move |m: &mut Machine<'_>, mask: u32| {
                m.need_addr(addr, mask)?;
                let n = *m.need(extra, mask)?;
                for l in Warp::lanes(mask) {
                    m.lane = l;
                    let p = place(sp, m.address(addr, l));
                    let (n, t) = if tx { (1, n[l] as i64) } else { (n[l], 0) };
                    let v = m.mbar_arrive(l, p, n, drop, t, !relaxed)?;
                    m.set1(dst, l, v);
                }
                Ok(())
            }))
        }
        _ => {
            let parity = i.has("parity");
            wrap(Box::new(move |m: &mut Machine<'_>, mask: u32| {
                m.need_addr(addr, mask)?;
                let n = *m.need(extra, mask)?;
                for l in Warp::lanes(mask) {
                    m.lane = l;
                    let p = place(sp, m.address(addr, l));
                    let phase = if parity { n[l] & 1 } else { n[l] >> 63 };
                    let done = m.mbar_test(l, p, phase, !relaxed)?;
                    m.set1(dst, l, u64::from(done));
                }
                Ok(())
            }))
        }
    }
}
