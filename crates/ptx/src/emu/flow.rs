// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What moves the program counter: branches, calls, returns, exits, barriers.
//! In: a group of lanes and a control instruction. Out: the warp's groups afterwards.

use super::code::*;
use super::fault::{Fault, FaultKind};
use super::state::*;
use super::step::{fault, merge};

fn copies(w: &mut Warp, g: &Grid<'_>, list: &[Copy], mask: u32) {
    let size = g.code.local as usize;
    for x in list {
        match *x {
            Copy::Reg { from, to } => {
                for l in Warp::lanes(mask) {
                    w.regs[to as usize][l] = w.regs[from as usize][l];
                }
                let d = w.def[from as usize];
                w.define(to, mask, d);
            }
            Copy::Bytes { from, to, len } => {
                for l in Warp::lanes(mask) {
                    let (a, b) = (l * size + from as usize, l * size + to as usize);
                    w.local.copy_within(a..a + len as usize, b);
                }
            }
        }
    }
}

fn enter(
    w: &mut Warp,
    c: &Cta,
    g: &Grid<'_>,
    k: usize,
    ins: &Ins,
    target: (u32, u32),
    copy_in: &[Copy],
    mask: u32,
) -> Result<(), Box<Fault>> {
    let (entry, candidate) = target;
    let pc = w.groups[k].pc;
    let recursive = w.groups[k]
        .stack
        .iter()
        .any(|f| match &g.code.ins[f.call as usize].op {
            Op::Ctl(Ctl::Call { entry: e, .. }) => *e == entry,
            Op::Ctl(Ctl::CallIndirect { candidates, .. }) => {
                candidates[f.candidate as usize].entry == entry
            }
            Op::Ctl(_) | Op::Alu { .. } | Op::Exec(_) | Op::Nop => false,
        });
    if recursive {
        let l = mask.trailing_zeros() as usize;
        return Err(fault(
            w,
            c,
            ins,
            l,
            FaultKind::Unsupported("recursion".into()),
        ));
    }
    copies(w, g, copy_in, mask);
    w.groups[k].stack.push(Frame {
        call: pc,
        candidate,
    });
    w.groups[k].pc = entry;
    Ok(())
}

pub(super) fn control(
    w: &mut Warp,
    c: &mut Cta,
    g: &Grid<'_>,
    k: usize,
    ins: &Ins,
    ctl: &Ctl,
    mask: u32,
) -> Result<(), Box<Fault>> {
    let whole = w.groups[k].mask;
    let pc = w.groups[k].pc;
    // Lanes that the guard switches off go on behind the instruction.
    let off = whole & !mask;
    if off != 0 && !matches!(ctl, Ctl::Trap) {
        if g.count && matches!(ctl, Ctl::Bra(_) | Ctl::BrxIdx { .. } | Ctl::Ret | Ctl::Exit) {
            c.counters.divergent_branches += 1;
        }
        w.groups[k].mask = mask;
        let n = Group {
            pc: pc + 1,
            mask: off,
            stack: w.groups[k].stack.clone(),
            wait: Wait::Ready,
            turn: w.ticks,
        };
        w.groups.push(n);
    }
    let first = mask.trailing_zeros() as usize;
    match ctl {
        Ctl::Bra(t) => w.groups[k].pc = *t,
        Ctl::BrxIdx { index, targets } => {
            let v = w.regs[*index as usize];
            let mut left = mask;
            let mut mine = true;
            while left != 0 {
                let l0 = left.trailing_zeros() as usize;
                let same = Warp::lanes(left)
                    .filter(|l| v[*l] == v[l0])
                    .fold(0u32, |b, l| b | 1 << l);
                left &= !same;
                let Some(t) = targets.get(v[l0] as usize).copied() else {
                    return Err(fault(
                        w,
                        c,
                        ins,
                        l0,
                        FaultKind::Operand("brx.idx index beyond its targets"),
                    ));
                };
                if mine {
                    w.groups[k].mask = same;
                    w.groups[k].pc = t;
                    mine = false;
                } else {
                    let n = Group {
                        pc: t,
                        mask: same,
                        stack: w.groups[k].stack.clone(),
                        wait: Wait::Ready,
                        turn: w.ticks,
                    };
                    w.groups.push(n);
                }
            }
        }
        Ctl::Call { entry, copy_in, .. } => enter(w, c, g, k, ins, (*entry, 0), copy_in, mask)?,
        Ctl::CallIndirect { target, candidates } => {
            let v = w.regs[*target as usize];
            let same = Warp::lanes(mask)
                .filter(|l| v[*l] == v[first])
                .fold(0u32, |b, l| b | 1 << l);
            let Some(n) = candidates.iter().position(|x| x.id == v[first]) else {
                return Err(fault(
                    w,
                    c,
                    ins,
                    first,
                    FaultKind::Operand("call of an address that is no fitting function"),
                ));
            };
            if same != mask {
                // The others call in a turn of their own.
                let rest = mask & !same;
                w.groups[k].mask = same;
                let n = Group {
                    pc,
                    mask: rest,
                    stack: w.groups[k].stack.clone(),
                    wait: Wait::Ready,
                    turn: w.ticks,
                };
                w.groups.push(n);
            }
            let x = &candidates[n];
            enter(w, c, g, k, ins, (x.entry, n as u32), &x.copy_in, same)?;
        }
        Ctl::Ret => match w.groups[k].stack.pop() {
            None => {
                waited(w, c, mask).map_err(|(l, kind)| fault(w, c, ins, l, kind))?;
                exit(w, c, k, mask);
            }
            Some(f) => {
                match &g.code.ins[f.call as usize].op {
                    Op::Ctl(Ctl::Call { copy_out, .. }) => copies(w, g, copy_out, mask),
                    Op::Ctl(Ctl::CallIndirect { candidates, .. }) => {
                        copies(w, g, &candidates[f.candidate as usize].copy_out, mask);
                    }
                    Op::Ctl(_) | Op::Alu { .. } | Op::Exec(_) | Op::Nop => {}
                }
                w.groups[k].pc = f.call + 1;
            }
        },
        Ctl::Exit => {
            waited(w, c, mask).map_err(|(l, kind)| fault(w, c, ins, l, kind))?;
            exit(w, c, k, mask);
        }
        Ctl::Trap => {
            return Err(fault(
                w,
                c,
                ins,
                first,
                FaultKind::Trap("the kernel executed `trap`".into()),
            ));
        }
        Ctl::Bar(b) => {
            if b.aligned && mask != w.live {
                w.groups[k].wait = Wait::Lanes;
                if w.groups.len() > 1 {
                    merge_all(w);
                }
                return Ok(());
            }
            barrier(w, c, g, k, b, mask).map_err(|kind| fault(w, c, ins, first, kind))?;
        }
    }
    if w.groups.len() > 1 {
        merge_all(w);
    }
    Ok(())
}

fn merge_all(w: &mut Warp) {
    let mut k = 0;
    while k < w.groups.len() {
        k = merge(w, k) + 1;
    }
}

/// Whether lanes that end have waited for their bulk copies out of shared memory.
fn waited(w: &Warp, c: &Cta, mask: u32) -> Result<(), (usize, FaultKind)> {
    if c.race.is_none() {
        return Ok(());
    }
    match Warp::lanes(mask).find(|l| w.bulk_issued[*l] > w.bulk_waited[*l]) {
        Some(l) => Err((l, FaultKind::BulkWait)),
        None => Ok(()),
    }
}

fn exit(w: &mut Warp, c: &mut Cta, k: usize, mask: u32) {
    w.groups.remove(k);
    w.live &= !mask;
    c.live -= mask.count_ones();
    c.changes += 1;
    // Lanes that waited for these need not wait any more.
    for g in &mut w.groups {
        if g.wait == Wait::Lanes {
            g.wait = Wait::Ready;
        }
    }
    for id in 0..c.bars.len() {
        complete(c, id);
    }
}

/// Ends a barrier's generation if all have come.
fn complete(c: &mut Cta, id: usize) {
    let live = c.live;
    let b = &mut c.bars[id];
    let need = b.expected.unwrap_or(live);
    if b.arrived == 0 || b.arrived < need {
        return;
    }
    if b.waiting > 0 {
        let know = b.know.take();
        b.done
            .insert(b.generation, (b.popc, b.and, b.or, b.waiting, know));
    }
    let (generation, done) = (b.generation + 1, std::mem::take(&mut b.done));
    *b = BarState {
        generation,
        done,
        and: true,
        ..BarState::default()
    };
    c.changes += 1;
}

fn barrier(w: &mut Warp, c: &mut Cta, g: &Grid<'_>, k: usize, b: &Bar, mask: u32) -> Exe {
    let first = mask.trailing_zeros() as usize;
    let same = |s: Slot| -> Result<u64, FaultKind> {
        let v = &w.regs[s as usize];
        if Warp::lanes(mask).any(|l| v[l] != v[first]) {
            return Err(FaultKind::Barrier(
                "its number or count differs within a warp",
            ));
        }
        if w.def[s as usize] & mask != mask {
            return Err(FaultKind::Undefined(g.code.slot_name(s)));
        }
        Ok(v[first])
    };
    let id = same(b.id)? as usize;
    if id > 16 || (id == 16) != b.cluster {
        return Err(FaultKind::Barrier("there are barriers 0 to 15"));
    }
    let count = if b.count == NONE {
        None
    } else {
        Some(same(b.count)? as u32)
    };
    if let Some(n) = count
        && (n == 0 || n % 32 != 0)
    {
        return Err(FaultKind::Barrier(
            "a thread count is a multiple of the warp size",
        ));
    }
    let n = if count.is_some() && b.aligned {
        32
    } else {
        mask.count_ones()
    };
    let id8 = id as u8;
    if c.bars[id].arrived > 0 && c.bars[id].expected != count {
        return Err(FaultKind::Barrier(
            "participants name different thread counts",
        ));
    }
    if let Some(r) = c.race.as_mut() {
        let know = r.publish(w.id, mask);
        match &mut c.bars[id].know {
            Some(x) => x.join(&know),
            x @ None => *x = Some(know),
        }
    }
    let s = &mut c.bars[id];
    if s.arrived == 0 {
        s.and = true;
    }
    s.expected = count;
    s.arrived += n;
    if let Some(need) = count
        && s.arrived > need
    {
        return Err(FaultKind::Barrier("more threads arrive than it expects"));
    }
    if let Some(r) = &b.red {
        let v = &w.regs[r.pred as usize];
        for l in Warp::lanes(mask) {
            let p = (v[l] & 1 == 1) != r.negated;
            s.popc += u32::from(p);
            s.and &= p;
            s.or |= p;
        }
    }
    if b.wait {
        s.waiting += mask.count_ones();
        w.groups[k].wait = Wait::Bar {
            id: id8,
            generation: s.generation,
        };
    } else {
        w.groups[k].pc += 1;
    }
    c.changes += 1;
    complete(c, id);
    Ok(())
}
