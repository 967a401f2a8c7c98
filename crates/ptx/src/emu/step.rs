// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One warp: which lanes run next, and one instruction of theirs.
//!
//! Lanes at the same place with the same calls form a group. The deepest call and then the
//! smallest instruction number goes first, which reconverges structured code; a group that
//! starves gets a burst, so that a spin on another lane ends (independent thread scheduling).
//! A `.sync` instruction holds its group until the lanes it needs have come.
//! In: a warp. Out: its state one instruction later, or a fault.

use super::code::*;
use super::fault::{Fault, FaultKind};
use super::flow::control;
use super::state::*;

/// Instructions after which a group that could run must run.
const STARVED: u64 = 20_000;
/// How long it then runs.
const BURST: u64 = 2_000;

/// What became of a warp's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// All lanes have exited.
    Finished,
    /// No group can run.
    Blocked,
    /// The turn is over.
    Over,
}

fn ready(w: &Warp, c: &Cta, k: usize) -> bool {
    match w.groups[k].wait {
        Wait::Ready => true,
        Wait::Bar { id, generation } => c.bars[usize::from(id)].generation != generation,
        Wait::Lanes => false,
    }
}

/// The group that runs next.
fn pick(w: &Warp, c: &Cta) -> Option<usize> {
    if w.groups.len() == 1 {
        return ready(w, c, 0).then_some(0);
    }
    let mut best: Option<usize> = None;
    let mut oldest: Option<usize> = None;
    let mut latest: Option<usize> = None;
    for k in 0..w.groups.len() {
        if !ready(w, c, k) {
            continue;
        }
        let g = &w.groups[k];
        let key = |k: usize| (usize::MAX - w.groups[k].stack.len(), w.groups[k].pc);
        if best.is_none_or(|b| key(k) < key(b)) {
            best = Some(k);
        }
        if oldest.is_none_or(|o| g.turn < w.groups[o].turn) {
            oldest = Some(k);
        }
        if latest.is_none_or(|o| g.turn > w.groups[o].turn) {
            latest = Some(k);
        }
    }
    let (best, oldest, latest) = (best?, oldest?, latest?);
    if w.ticks.saturating_sub(w.groups[oldest].turn) > STARVED {
        return Some(oldest);
    }
    // Within a burst the group that ran last goes on.
    if w.ticks % (STARVED + BURST) > STARVED {
        Some(latest)
    } else {
        Some(best)
    }
}

/// Runs up to `steps` instructions.
pub(crate) fn run_warp(
    w: &mut Warp,
    c: &mut Cta,
    g: &Grid<'_>,
    steps: u64,
) -> Result<Turn, Box<Fault>> {
    for _ in 0..steps {
        if w.groups.is_empty() {
            return Ok(Turn::Finished);
        }
        let Some(k) = pick(w, c) else {
            return Ok(Turn::Blocked);
        };
        if let Wait::Bar { id, generation } = w.groups[k].wait {
            resume(w, c, g, k, id, generation);
        }
        w.ticks += 1;
        w.groups[k].turn = w.ticks;
        step(w, c, g, k)?;
    }
    Ok(if w.groups.is_empty() {
        Turn::Finished
    } else {
        Turn::Over
    })
}

/// Takes a finished barrier's results.
fn resume(w: &mut Warp, c: &mut Cta, g: &Grid<'_>, k: usize, id: u8, generation: u64) {
    let (pc, mask) = (w.groups[k].pc, w.groups[k].mask);
    let b = &mut c.bars[usize::from(id)];
    if let Some(d) = b.done.get_mut(&generation) {
        d.3 = d.3.saturating_sub(mask.count_ones());
        let (popc, and, or, left, know) = d.clone();
        if left == 0 {
            b.done.remove(&generation);
        }
        if let Op::Ctl(Ctl::Bar(Bar { red: Some(r), .. })) = &g.code.ins[pc as usize].op {
            let v = match r.op {
                RedOp::Popc => u64::from(popc),
                RedOp::And => u64::from(and),
                RedOp::Or => u64::from(or),
            };
            for l in Warp::lanes(mask) {
                if r.dst != NONE {
                    w.regs[r.dst as usize][l] = v;
                    w.def[r.dst as usize] |= 1 << l;
                }
            }
        }
        if let (Some(r), Some(k)) = (c.race.as_mut(), know) {
            r.learn(w.id, mask, &k);
        }
    }
    w.groups[k].wait = Wait::Ready;
    w.groups[k].pc += 1;
    merge(w, k);
}

/// Joins other groups at the same place; returns where the group now is.
pub(super) fn merge(w: &mut Warp, k: usize) -> usize {
    let mut k = k;
    let mut j = 0;
    while j < w.groups.len() {
        let (a, b) = (&w.groups[k], &w.groups[j]);
        if j != k
            && a.pc == b.pc
            && !matches!(b.wait, Wait::Bar { .. })
            && !matches!(a.wait, Wait::Bar { .. })
            && a.stack == b.stack
        {
            let other = w.groups.remove(j);
            if j < k {
                k -= 1;
            }
            w.groups[k].mask |= other.mask;
            w.groups[k].wait = Wait::Ready;
        } else {
            j += 1;
        }
    }
    k
}

/// Splits lanes off a group, into a group of their own at `pc`.
fn split(w: &mut Warp, k: usize, lanes: u32, pc: u32) {
    w.groups[k].mask &= !lanes;
    let n = Group {
        pc,
        mask: lanes,
        stack: w.groups[k].stack.clone(),
        wait: Wait::Ready,
        turn: w.ticks,
    };
    w.groups.push(n);
    let last = w.groups.len() - 1;
    merge(w, last);
}

pub(crate) fn fault(w: &Warp, c: &Cta, ins: &Ins, lane: usize, kind: FaultKind) -> Box<Fault> {
    Box::new(Fault {
        pos: ins.pos,
        text: ins.text.to_string(),
        block: c.id,
        thread: w.id * 32 + lane as u32,
        kind,
    })
}

fn step(w: &mut Warp, c: &mut Cta, g: &Grid<'_>, k: usize) -> Result<(), Box<Fault>> {
    let code = g.code;
    let pc = w.groups[k].pc;
    let ins = &code.ins[pc as usize];
    let whole = w.groups[k].mask;
    let mut mask = whole;
    if ins.guard != NONE {
        let p = &w.regs[ins.guard as usize];
        let mut b = 0u32;
        for (l, v) in p.iter().enumerate() {
            b |= ((*v as u32 & 1) ^ u32::from(ins.negated)) << l;
        }
        let missing = whole & !w.def[ins.guard as usize];
        if missing != 0 {
            let l = missing.trailing_zeros() as usize;
            return Err(fault(
                w,
                c,
                ins,
                l,
                FaultKind::Undefined(code.slot_name(ins.guard)),
            ));
        }
        mask &= b;
    }
    c.serial += 1;
    if g.count {
        c.counters.warp_instructions += 1;
        let n = u64::from(mask.count_ones());
        c.counters.thread_instructions += n;
        c.counters.by_class[ins.class as usize] += n;
        if ins.class == Class::Barrier && mask != 0 {
            c.counters.barriers += 1;
        }
    }
    if mask == 0 {
        w.groups[k].pc += 1;
        if w.groups.len() > 1 {
            merge(w, k);
        }
        return Ok(());
    }
    if !ins.touches.is_empty()
        && c.race.is_some()
        && let Err(s) = w.wgmma.touch(&ins.touches)
    {
        let l = mask.trailing_zeros() as usize;
        return Err(fault(w, c, ins, l, FaultKind::InFlight(code.slot_name(s))));
    }
    match &ins.op {
        Op::Alu { f, d, s, part } => alu(w, f, d, s, *part, mask),
        Op::Nop if ins.sync == Meet::None => {}
        Op::Nop => {
            if !synced(w, c, g, k, ins, mask, |_, _| Ok(()))? {
                return Ok(());
            }
        }
        Op::Exec(e) if ins.sync == Meet::None => {
            let lane = mask.trailing_zeros() as usize;
            let mut m = Machine {
                w,
                c,
                g,
                pos: ins.pos,
                lane,
            };
            let r = e.run(&mut m, mask);
            let lane = m.lane;
            r.map_err(|kind| fault(w, c, ins, lane, kind))?;
        }
        Op::Exec(e) => {
            if !synced(w, c, g, k, ins, mask, |m, mask| e.run(m, mask))? {
                return Ok(());
            }
        }
        Op::Ctl(ctl) => return control(w, c, g, k, ins, ctl, mask),
    }
    w.groups[k].pc += 1;
    if w.groups.len() > 1 {
        merge(w, k);
    }
    Ok(())
}

fn alu(w: &mut Warp, f: &Alu, d: &[Slot], s: &[Slot], part: Part, mask: u32) {
    let def = s.iter().fold(u32::MAX, |x, s| x & w.def[*s as usize]);
    if def & mask == mask {
        for d in d.iter().filter(|d| **d != NONE) {
            w.def[*d as usize] |= mask;
        }
    } else {
        // Before the results are written: a rule may look at the sources' values.
        w.define_parts(part, d, s, mask);
    }
    let mut out = [0u64; 32];
    match f {
        Alu::F1(f) => f(&w.regs[s[0] as usize], &mut out),
        Alu::F2(f) => f(&w.regs[s[0] as usize], &w.regs[s[1] as usize], &mut out),
        Alu::F3(f) => f(
            &w.regs[s[0] as usize],
            &w.regs[s[1] as usize],
            &w.regs[s[2] as usize],
            &mut out,
        ),
        Alu::N(f) => {
            let (mut x, mut o) = ([0u64; 16], [0u64; 16]);
            for l in Warp::lanes(mask) {
                for (k, s) in s.iter().enumerate() {
                    x[k] = w.regs[*s as usize][l];
                }
                f(&x[..s.len()], &mut o[..d.len()]);
                for (k, d) in d.iter().enumerate() {
                    if *d != NONE {
                        w.regs[*d as usize][l] = o[k];
                    }
                }
            }
            return;
        }
    }
    let d = d[0];
    if d == NONE {
        return;
    }
    let r = &mut w.regs[d as usize];
    if mask == u32::MAX {
        *r = out;
    } else {
        for l in 0..32 {
            if mask >> l & 1 == 1 {
                r[l] = out[l];
            }
        }
    }
}

/// Runs a `.sync` instruction for those lanes whose partners are all here. `true`: the whole
/// group executed it (the caller moves on); `false`: the group's state is already right.
fn synced(
    w: &mut Warp,
    c: &mut Cta,
    g: &Grid<'_>,
    k: usize,
    ins: &Ins,
    mask: u32,
    run: impl Fn(&mut Machine<'_>, u32) -> Exe,
) -> Result<bool, Box<Fault>> {
    let whole = w.groups[k].mask;
    if mask != whole {
        // Lanes that the guard switches off go on by themselves.
        let pc = w.groups[k].pc + 1;
        split(w, k, whole & !mask, pc);
        return Ok(false);
    }
    let go = |w: &mut Warp, c: &mut Cta, lanes: u32| -> Result<(), Box<Fault>> {
        let id = w.id;
        if let Some(r) = c.race.as_mut() {
            r.sync_lanes(id, lanes);
        }
        let lane = lanes.trailing_zeros() as usize;
        let mut m = Machine {
            w,
            c,
            g,
            pos: ins.pos,
            lane,
        };
        let r = run(&mut m, lanes);
        let lane = m.lane;
        r.map_err(|kind| fault(w, c, ins, lane, kind))
    };
    match ins.sync {
        Meet::Mask(s) => {
            let missing = mask & !w.def[s as usize];
            if missing != 0 {
                let l = missing.trailing_zeros() as usize;
                return Err(fault(
                    w,
                    c,
                    ins,
                    l,
                    FaultKind::Undefined(g.code.slot_name(s)),
                ));
            }
            let v = w.regs[s as usize];
            let mut left = mask;
            let mut ran = 0u32;
            while left != 0 {
                let l0 = left.trailing_zeros() as usize;
                let want = v[l0] as u32;
                let class = Warp::lanes(left)
                    .filter(|l| v[*l] as u32 == want)
                    .fold(0u32, |b, l| b | 1 << l);
                left &= !class;
                if class & !want != 0 {
                    let l = (class & !want).trailing_zeros() as usize;
                    return Err(fault(w, c, ins, l, FaultKind::MemberMask(want)));
                }
                if want & w.live & !class == 0 {
                    go(w, c, class)?;
                    ran |= class;
                }
            }
            if ran == mask {
                return Ok(true);
            }
            w.groups[k].wait = Wait::Lanes;
            if ran != 0 {
                let pc = w.groups[k].pc + 1;
                split(w, k, ran, pc);
            }
            Ok(false)
        }
        Meet::Aligned | Meet::None => {
            if mask == w.live {
                go(w, c, mask)?;
                return Ok(true);
            }
            w.groups[k].wait = Wait::Lanes;
            Ok(false)
        }
    }
}
