// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who is ordered before whom: vector clocks.
//!
//! Every thread has a clock that ticks whenever it publishes what it did (barrier, `.sync`
//! instruction, release). A thread's knowledge says up to which tick of each other thread
//! everything happens before it. Asynchronous engines are actors of their own, each with a
//! row in the same table, so that "landed at its wait, visible behind a barrier" is the same
//! rule as everything else:
//!
//! * `[0, T)` threads of the block; `[T, 2T)` the `cp.async` engine of each thread, whose
//!   clock is its commit group; `[2T, 3T)` the reads of the bulk groups of each thread;
//!   `[3T, 3T+W)` the `wgmma` engine of each warp; `[3T+W, 4T+W)` the writes of bulk groups;
//!   behind them one actor for each mbarrier (clock = phase).
//! * `asy` is the part of the knowledge that a `fence.proxy.async` made visible to the
//!   asynchronous proxy.
//!
//! In: synchronisation events. Out: knowledge; [`super::shadow`] asks it about accesses.

use super::shadow::{GridShadow, Shadow};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A vector clock; missing entries are 0.
pub(crate) type Clock = Arc<Vec<u32>>;

/// The latest of each entry.
pub(crate) fn join(a: &mut Clock, b: &Clock) {
    if Arc::ptr_eq(a, b) {
        return;
    }
    if b.iter()
        .enumerate()
        .all(|(k, v)| a.get(k).copied().unwrap_or(0) >= *v)
    {
        return;
    }
    let m = Arc::make_mut(a);
    if m.len() < b.len() {
        m.resize(b.len(), 0);
    }
    for (x, y) in m.iter_mut().zip(b.iter()) {
        *x = (*x).max(*y);
    }
}

/// Sets one entry to at least `v`.
pub(crate) fn raise(a: &mut Clock, k: usize, v: u32) {
    if a.get(k).copied().unwrap_or(0) < v {
        let m = Arc::make_mut(a);
        if m.len() <= k {
            m.resize(k + 1, 0);
        }
        m[k] = v;
    }
}

/// What happens before a thread's next instruction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Know {
    pub(crate) own: Clock,
    pub(crate) asy: Clock,
    /// Clocks of other blocks.
    pub(crate) foreign: Option<Arc<BTreeMap<u32, Clock>>>,
}

impl Know {
    /// Adds all that `o` knows, of the same block.
    pub(crate) fn join(&mut self, o: &Self) {
        join(&mut self.own, &o.own);
        join(&mut self.asy, &o.asy);
        self.join_foreign(o.foreign.as_ref(), None);
    }

    fn join_foreign(&mut self, o: Option<&Arc<BTreeMap<u32, Clock>>>, except: Option<u32>) {
        let Some(o) = o else { return };
        if self.foreign.as_ref().is_some_and(|f| Arc::ptr_eq(f, o)) {
            return;
        }
        let m = Arc::make_mut(self.foreign.get_or_insert_default());
        for (k, c) in o.iter() {
            if Some(*k) != except {
                join(m.entry(*k).or_default(), c);
            }
        }
    }

    /// Adds what a thread of block `from` published, for a thread of block `to`.
    pub(crate) fn acquire(&mut self, from: u32, to: u32, o: &Self) {
        if from == to {
            self.join(o);
            return;
        }
        let back = o.foreign.as_ref().and_then(|f| f.get(&to).cloned());
        if let Some(c) = back {
            join(&mut self.own, &c);
        }
        self.join_foreign(o.foreign.as_ref(), Some(to));
        let m = Arc::make_mut(self.foreign.get_or_insert_default());
        join(m.entry(from).or_default(), &o.own);
    }
}

/// What a block published at an address.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) block: u32,
    /// Only threads of the same block synchronise (`.cta` scope of the store or its fence).
    pub(crate) cta_only: bool,
    pub(crate) know: Know,
}

/// The race state of a block.
pub(crate) struct RaceCta {
    pub(crate) block: u32,
    pub(crate) threads: u32,
    pub(crate) warps: u32,
    pub(crate) know: Vec<Know>,
    pub(crate) clock: Vec<u32>,
    /// What the last release fences of a thread published: to the block, to all.
    pub(crate) fenced: Vec<[Option<Know>; 2]>,
    /// What relaxed reads have seen, until an acquire fence takes it.
    pub(crate) seen: Vec<Vec<(u32, Know)>>,
    pub(crate) shared: Shadow,
    /// Release sequences at shared addresses.
    pub(crate) objects: BTreeMap<u64, Vec<Published>>,
    pub(crate) actors: u32,
    /// Which version of a tensor map this block has acquired.
    pub(crate) maps: BTreeMap<u64, u32>,
}

/// The race state of a launch.
pub(crate) struct RaceGrid {
    pub(crate) global: GridShadow,
    pub(crate) objects: std::sync::Mutex<BTreeMap<u64, Vec<Published>>>,
    /// How often the tensor map at an address was written in this launch.
    pub(crate) maps: std::sync::Mutex<BTreeMap<u64, u32>>,
}

impl RaceGrid {
    /// The version of the tensor map at an address, after `more` further writes; 0 if this
    /// launch did not make it.
    pub(crate) fn map_version(&self, addr: u64, more: u32) -> u32 {
        let mut m = self
            .maps
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if more > 0 {
            *m.entry(addr).or_default() += more;
        }
        m.get(&addr).copied().unwrap_or(0)
    }
}

impl RaceCta {
    pub(crate) fn new(block: u32, warps: u32, shared_bytes: usize) -> Self {
        let t = (warps * 32) as usize;
        let base = Know::default();
        Self {
            block,
            threads: warps * 32,
            warps,
            know: vec![base; t],
            clock: vec![1; t],
            fenced: vec![[None, None]; t],
            seen: vec![Vec::new(); t],
            shared: Shadow::new(shared_bytes),
            objects: BTreeMap::new(),
            maps: BTreeMap::new(),
            actors: 4 * t as u32 + warps,
        }
    }

    /// The actor of a thread's `cp.async` engine.
    pub(crate) fn cp_actor(&self, tid: u32) -> u32 {
        self.threads + tid
    }

    /// The actor of what a thread's bulk groups read.
    pub(crate) fn bulk_actor(&self, tid: u32) -> u32 {
        2 * self.threads + tid
    }

    /// The actor of what a thread's bulk groups write.
    pub(crate) fn bulk_writer(&self, tid: u32) -> u32 {
        3 * self.threads + self.warps + tid
    }

    /// The actor of a warp's `wgmma` engine.
    pub(crate) fn wgmma_actor(&self, warp: u32) -> u32 {
        3 * self.threads + warp
    }

    /// A fresh actor.
    pub(crate) fn new_actor(&mut self) -> u32 {
        self.actors += 1;
        self.actors - 1
    }

    /// What these threads know together, with all that they did; their clocks tick.
    pub(crate) fn publish(&mut self, warp: u32, mask: u32) -> Know {
        let mut k = Know::default();
        let base = (warp * 32) as usize;
        let mut first = true;
        let mut last: Option<(Clock, Clock)> = None;
        for l in super::state::Warp::lanes(mask) {
            let x = &self.know[base + l];
            if first {
                k = x.clone();
                first = false;
            } else if last
                .as_ref()
                .is_none_or(|(o, a)| !Arc::ptr_eq(o, &x.own) || !Arc::ptr_eq(a, &x.asy))
            {
                k.join(x);
            } else if x.foreign.is_some() {
                k.join_foreign(x.foreign.as_ref(), None);
            }
            last = Some((x.own.clone(), x.asy.clone()));
        }
        drop(last);
        let own = Arc::make_mut(&mut k.own);
        if own.len() < base + 32 {
            own.resize(base + 32, 0);
        }
        for l in super::state::Warp::lanes(mask) {
            own[base + l] = own[base + l].max(self.clock[base + l]);
            self.clock[base + l] += 1;
        }
        k
    }

    /// Orders these lanes among each other: a warp-synchronous instruction.
    pub(crate) fn sync_lanes(&mut self, warp: u32, mask: u32) {
        let k = self.publish(warp, mask);
        self.learn(warp, mask, &k);
    }

    /// These lanes now know exactly `k`, which includes what they knew.
    pub(crate) fn learn(&mut self, warp: u32, mask: u32, k: &Know) {
        for l in super::state::Warp::lanes(mask) {
            self.know[(warp * 32) as usize + l] = k.clone();
        }
    }

    /// `fence.proxy.async`: what these lanes know becomes visible to the asynchronous proxy.
    pub(crate) fn proxy_fence(&mut self, warp: u32, mask: u32) {
        let k = self.publish(warp, mask);
        for l in super::state::Warp::lanes(mask) {
            let x = &mut self.know[(warp * 32) as usize + l];
            join(&mut x.asy, &k.own);
        }
    }

    /// A thread learns that an actor has finished up to a clock.
    pub(crate) fn finished(&mut self, warp: u32, lanes: u32, actor: u32, clock: u32) {
        let all: Vec<usize> = super::state::Warp::lanes(lanes)
            .map(|l| (warp * 32) as usize + l)
            .collect();
        let Some(first) = all.first() else { return };
        // Lanes that share one clock go on sharing it.
        let before = self.know[*first].own.clone();
        let mut after = before.clone();
        raise(&mut after, actor as usize, clock);
        for t in all {
            if Arc::ptr_eq(&self.know[t].own, &before) {
                self.know[t].own = after.clone();
            } else {
                raise(&mut self.know[t].own, actor as usize, clock);
            }
        }
    }

    /// One thread publishes.
    pub(crate) fn publish_one(&mut self, tid: u32) -> Know {
        self.publish(tid / 32, 1 << (tid % 32))
    }

    /// A fence that releases and acquires; `cta`: with the threads of its block only.
    pub(crate) fn fence(&mut self, tid: u32, release: bool, acquire: bool, cta: bool) {
        let t = tid as usize;
        if acquire {
            let block = self.block;
            for (from, k) in std::mem::take(&mut self.seen[t]) {
                if cta && from != block {
                    self.seen[t].push((from, k));
                } else {
                    self.know[t].acquire(from, block, &k);
                }
            }
        }
        if release {
            let k = self.publish_one(tid);
            if !cta {
                self.fenced[t][1] = Some(k.clone());
            }
            self.fenced[t][0] = Some(k);
        }
    }

    /// A strong operation at an address that may synchronise. `shared`: which table.
    pub(crate) fn strong(&mut self, grid: Option<&RaceGrid>, tid: u32, addr: u64, o: Strong) {
        let t = tid as usize;
        let block = self.block;
        let know = o.release.then(|| self.publish_one(tid));
        let [near, far] = match know {
            Some(k) if o.cta => [Some(k), self.fenced[t][1].clone()],
            Some(k) => [None, Some(k)],
            None => self.fenced[t].clone(),
        };
        let mut lock = grid.map(|g| {
            g.objects
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        });
        let table = match &mut lock {
            Some(l) => &mut **l,
            None => &mut self.objects,
        };
        if o.read
            && let Some(all) = table.get(&addr)
        {
            for p in all
                .iter()
                .filter(|p| p.block == block || !(p.cta_only || o.cta))
            {
                if o.acquire {
                    self.know[t].acquire(p.block, block, &p.know);
                } else {
                    self.seen[t].push((p.block, p.know.clone()));
                }
            }
        }
        if o.write {
            if !o.read {
                table.remove(&addr);
            }
            for (k, cta_only) in [(near, true), (far, o.cta)] {
                let Some(know) = k else { continue };
                let all = table.entry(addr).or_default();
                match all
                    .iter_mut()
                    .find(|p| p.block == block && p.cta_only == cta_only)
                {
                    Some(p) => p.know.join(&know),
                    None => all.push(Published {
                        block,
                        cta_only,
                        know,
                    }),
                }
            }
        }
    }
}

/// What a strong operation does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strong {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) acquire: bool,
    pub(crate) release: bool,
    /// `.cta` scope.
    pub(crate) cta: bool,
}
