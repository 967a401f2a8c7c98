// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Blocks and the order in which they and their warps take turns. In: a grid.
//! Out: its effects and counters, or the first fault. Blocks that cannot speak with each
//! other run in parallel; others take turns on one thread, so that a seed gives one result.

use super::code::{CLASSES, Fixed, Meet, Special};
use super::counters::Counters;
use super::fault::{Fault, FaultKind};
use super::race::RaceCta;
use super::state::*;
use super::step::{Turn, fault, run_warp};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// A block in flight.
struct Block {
    c: Cta,
    warps: Vec<Warp>,
}

/// What became of a block's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Done,
    /// It only waits for something that others must do.
    Idle,
}

fn fixed(g: &Grid<'_>, f: Fixed, c: [u32; 3], warp: u32, lane: u32) -> u64 {
    let t = warp * 32 + lane;
    let b = g.block;
    let pick = |v: [u32; 3], k: u8| v.get(usize::from(k)).copied().unwrap_or(0);
    u64::from(match f {
        Fixed::Value(v) => return v,
        Fixed::Special(s) => match s {
            Special::Tid(k) => pick([t % b[0], t / b[0] % b[1], t / (b[0] * b[1])], k),
            Special::Ntid(k) => pick(b, k),
            Special::Ctaid(k) => pick(c, k),
            Special::Nctaid(k) => pick(g.grid, k),
            Special::Laneid => lane,
            Special::Warpid => warp,
            Special::Nwarpid => b.iter().product::<u32>().div_ceil(32),
            Special::Smid | Special::Gridid | Special::Zero => 0,
            Special::Nsmid | Special::One => 1,
            Special::LanemaskEq => 1 << lane,
            Special::LanemaskLe => ((1u64 << (lane + 1)) - 1) as u32,
            Special::LanemaskLt => (1 << lane) - 1,
            Special::LanemaskGe => !((1u32 << lane) - 1),
            Special::LanemaskGt => !(((1u64 << (lane + 1)) - 1) as u32),
            Special::DynamicSmem => g.dynamic_shared,
            Special::TotalSmem => g.shared_bytes,
        },
    })
}

impl Block {
    fn new(g: &Grid<'_>, linear: u32) -> Self {
        let n = g.grid;
        let id = [linear % n[0], linear / n[0] % n[1], linear / (n[0] * n[1])];
        let threads = g.block.iter().product::<u32>();
        let count = threads.div_ceil(32);
        let warps = (0..count)
            .map(|w| {
                let here = (threads - w * 32).min(32);
                let live = if here == 32 {
                    u32::MAX
                } else {
                    (1 << here) - 1
                };
                // What a register holds that nothing wrote: no plausible number.
                let mut regs = vec![[0xa5c3_96e1_b7d2_8f5b_u64; 32]; g.code.slots as usize];
                let mut def = vec![0u32; g.code.slots as usize];
                for (s, f) in &g.code.fixed {
                    for l in 0..32 {
                        regs[*s as usize][l as usize] = fixed(g, *f, id, w, l);
                    }
                    def[*s as usize] = u32::MAX;
                }
                // The carry flag is a register that programs need not set.
                def[0] = u32::MAX;
                regs[0] = [0; 32];
                Warp {
                    id: w,
                    live,
                    regs,
                    bytes: vec![[0; 8]; def.len()],
                    def,
                    groups: vec![Group {
                        pc: g.code.start,
                        mask: live,
                        stack: Vec::new(),
                        wait: Wait::Ready,
                        turn: 0,
                    }],
                    cp_group: [0; 32],
                    pending: Vec::new(),
                    bulk_group: [0; 32],
                    bulk_issued: [0; 32],
                    bulk_waited: [0; 32],
                    wgmma: Default::default(),
                    local: vec![0; g.code.local as usize * 32],
                    ticks: 0,
                }
            })
            .collect();
        let race = g
            .races
            .as_ref()
            .map(|_| RaceCta::new(linear, count, g.shared_bytes as usize));
        // Contents are undefined at the start: a pattern that is no plausible number.
        let shared = (0..g.shared_bytes)
            .map(|k| 0xa5 ^ (k as u8).wrapping_mul(31))
            .collect();
        let c = Cta {
            linear,
            id,
            shared,
            bars: vec![
                BarState {
                    and: true,
                    ..BarState::default()
                };
                17
            ],
            live: threads,
            mbars: Default::default(),
            bulk: Vec::new(),
            race,
            counters: Counters::default(),
            rng: Rng(g.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ u64::from(linear) << 20),
            changes: 0,
            hint: 0,
            serial: 0,
        };
        Self { c, warps }
    }

    /// Lands bulk copies; all of them, or one in some turns.
    fn land(&mut self, g: &Grid<'_>, all: bool) -> Result<bool, Box<Fault>> {
        let mut any = false;
        while !self.c.bulk.is_empty() {
            let n = self.c.bulk.len() as u64;
            let k = if g.seed == 0 {
                0
            } else {
                self.c.rng.below(n) as usize
            };
            let b = self.c.bulk.remove(k);
            let w = &mut self.warps[b.warp as usize];
            let ins = &g.code.ins[w.groups.first().map_or(0, |x| x.pc as usize)];
            let mut m = Machine {
                w,
                c: &mut self.c,
                g,
                pos: ins.pos,
                lane: b.lane.into(),
            };
            let r = m.land_bulk(&b.action);
            r.map_err(|kind| {
                fault(
                    &self.warps[b.warp as usize],
                    &self.c,
                    ins,
                    b.lane.into(),
                    kind,
                )
            })?;
            any = true;
            if !all {
                break;
            }
        }
        Ok(any)
    }

    /// Runs until the block is done or waits for others.
    fn run(&mut self, g: &Grid<'_>, spent: &mut u64) -> Result<Status, Box<Fault>> {
        let n = self.warps.len();
        let mut quiet = 0u32;
        let mut order: Vec<usize> = (0..n).collect();
        loop {
            let before = self.c.changes;
            if g.seed != 0 {
                for k in (1..n).rev() {
                    let j = self.c.rng.below(k as u64 + 1) as usize;
                    order.swap(k, j);
                }
            }
            let (mut live, mut ran) = (false, false);
            for &k in &order {
                let steps = if g.seed == 0 {
                    2000
                } else {
                    1 + self.c.rng.below(400)
                };
                let w = &mut self.warps[k];
                let t0 = w.ticks;
                let turn = run_warp(w, &mut self.c, g, steps)?;
                let used = w.ticks - t0;
                *spent += used;
                if *spent > g.budget {
                    let ins = &g.code.ins[w.groups.first().map_or(0, |x| x.pc as usize)];
                    return Err(fault(w, &self.c, ins, 0, FaultKind::Budget(g.budget)));
                }
                live |= turn != Turn::Finished;
                ran |= used > 0;
                if !self.c.bulk.is_empty() && self.c.rng.below(2) == 0 {
                    self.land(g, false)?;
                }
            }
            if !live {
                // Copies out of shared memory may still be under way.
                self.land(g, true)?;
                return Ok(Status::Done);
            }
            if self.c.changes != before {
                quiet = 0;
                continue;
            }
            if self.land(g, true)? {
                continue;
            }
            if !ran {
                return Ok(Status::Idle);
            }
            quiet += 1;
            if quiet >= 64 {
                return Ok(Status::Idle);
            }
        }
    }

    /// Whether nothing in the block can ever change unless others change memory: every warp
    /// is blocked or repeats a state exactly.
    fn stuck(&mut self, g: &Grid<'_>) -> Result<Option<Box<Fault>>, Box<Fault>> {
        let before = self.c.changes;
        let mut found: Option<Box<Fault>> = None;
        for k in 0..self.warps.len() {
            if self.warps[k].groups.is_empty() {
                continue;
            }
            let w = &mut self.warps[k];
            let turn = run_warp(w, &mut self.c, g, 1)?;
            if self.c.changes != before || turn == Turn::Finished {
                return Ok(None);
            }
            if turn != Turn::Blocked {
                let key = |w: &Warp| w.groups.iter().map(|x| (x.pc, x.mask)).collect::<Vec<_>>();
                let (k0, r0) = (key(w), w.regs.clone());
                let mut cycle = false;
                for _ in 0..100_000 {
                    if run_warp(w, &mut self.c, g, 1)? == Turn::Finished || self.c.changes != before
                    {
                        return Ok(None);
                    }
                    if key(w) == k0 && w.regs == r0 {
                        cycle = true;
                        break;
                    }
                }
                if !cycle {
                    return Ok(None);
                }
            }
            if found.is_none() {
                let w = &self.warps[k];
                let gr = &w.groups[0];
                let ins = &g.code.ins[gr.pc as usize];
                let lane = gr.mask.trailing_zeros() as usize;
                let aligned = ins.sync == Meet::Aligned;
                let kind = match gr.wait {
                    Wait::Lanes if aligned => FaultKind::Divergent {
                        mask: gr.mask,
                        live: w.live,
                    },
                    Wait::Lanes => {
                        FaultKind::Deadlock("lanes named by a member mask never come".into())
                    }
                    Wait::Bar { id, .. } => {
                        let b = &self.c.bars[usize::from(id)];
                        let need = b.expected.unwrap_or(self.c.live);
                        FaultKind::Deadlock(format!(
                            "barrier {id} has {} of {need} threads and no other can come",
                            b.arrived
                        ))
                    }
                    Wait::Ready => {
                        FaultKind::Deadlock("this loop waits for what no thread will do".into())
                    }
                };
                found = Some(fault(w, &self.c, ins, lane, kind));
            }
        }
        Ok(found)
    }
}

/// Threads times instructions up to which blocks run one after the other.
const SMALL: u64 = 1 << 22;

/// Runs all blocks.
pub(crate) fn run(g: &Grid<'_>, threads: usize) -> Result<Counters, Box<Fault>> {
    debug_assert!(CLASSES.iter().enumerate().all(|(k, c)| c.0 as usize == k));
    let total = g.grid.iter().product::<u32>();
    let mut order: Vec<u32> = (0..total).collect();
    if g.seed != 0 {
        let mut r = Rng(g.seed);
        for k in (1..order.len()).rev() {
            let j = r.below(k as u64 + 1) as usize;
            order.swap(k, j);
        }
    }
    // A small launch gains nothing from threads, and one after the other its blocks give one
    // result for a seed even where they race.
    let work = u64::from(total) * g.block.iter().map(|b| u64::from(*b)).product::<u64>();
    let small = work.saturating_mul(g.code.ins.len() as u64) <= SMALL;
    if g.code.cross_block || threads <= 1 || total == 1 || small {
        return turns(g, &order);
    }
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new(Counters::default());
    let faults: Mutex<Vec<(usize, Box<Fault>)>> = Mutex::new(Vec::new());
    std::thread::scope(|s| {
        for _ in 0..threads.min(order.len()) {
            s.spawn(|| {
                let mut mine = Counters::default();
                loop {
                    let k = next.fetch_add(1, Relaxed);
                    if k >= order.len() || stop.load(Relaxed) {
                        break;
                    }
                    match turns(g, &order[k..=k]) {
                        Ok(c) => mine.add(&c),
                        Err(f) => {
                            stop.store(true, Relaxed);
                            faults
                                .lock()
                                .unwrap_or_else(std::sync::PoisonError::into_inner)
                                .push((k, f));
                        }
                    }
                }
                sum.lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .add(&mine);
            });
        }
    });
    let mut faults = faults
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    faults.sort_by_key(|f| f.0);
    match faults.into_iter().next() {
        Some((_, f)) => Err(f),
        None => Ok(sum
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)),
    }
}

/// Runs these blocks on this thread; a block that waits gives its turn away.
fn turns(g: &Grid<'_>, order: &[u32]) -> Result<Counters, Box<Fault>> {
    let mut sum = Counters::default();
    let mut spent = 0u64;
    let mut fresh = order.iter();
    let mut waiting: std::collections::VecDeque<Block> = Default::default();
    let mut idle = 0usize;
    loop {
        let started = fresh.next().map(|k| Block::new(g, *k));
        let Some(mut b) = started.or_else(|| waiting.pop_front()) else {
            return Ok(sum);
        };
        let before = b.c.changes;
        match b.run(g, &mut spent)? {
            Status::Done => {
                sum.add(&b.c.counters);
                idle = 0;
            }
            Status::Idle => {
                if b.c.changes != before {
                    idle = 0;
                }
                idle += 1;
                waiting.push_back(b);
                if idle > waiting.len() && fresh.len() == 0 {
                    // All have had a turn in which nothing changed.
                    let mut first = None;
                    let mut all = true;
                    for b in &mut waiting {
                        match b.stuck(g)? {
                            Some(f) => first = first.or(Some(f)),
                            None => {
                                all = false;
                                break;
                            }
                        }
                    }
                    if let (true, Some(f)) = (all, first) {
                        return Err(f);
                    }
                    idle = 0;
                }
            }
        }
    }
}
