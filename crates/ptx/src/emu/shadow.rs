// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Who touched which byte last: the memory that race checking keeps.
//! In: accesses with their actor, clock and knowledge. Out: the first conflict.
//! A cell stands for four bytes and is split in four when a narrower access needs it.

use super::fault::FaultKind;
use super::race::Know;
use std::collections::HashMap;
use std::sync::Mutex;

/// An access as it is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    pub(crate) block: u32,
    pub(crate) actor: u32,
    /// 0: no access.
    pub(crate) clock: u32,
    /// Line of the instruction.
    pub(crate) line: u32,
    pub(crate) strong: bool,
    /// Through the generic proxy (needs a proxy fence before an asynchronous access).
    pub(crate) generic: bool,
    /// Which executed instruction of the block.
    pub(crate) serial: u64,
}

const NEVER: Epoch = Epoch {
    block: 0,
    actor: 0,
    clock: 0,
    line: 0,
    strong: false,
    generic: false,
    serial: 0,
};

#[derive(Clone, Debug)]
struct Cell {
    /// The last write, strong ones included.
    write: Epoch,
    /// The last write that is not strong: strong accesses conflict with it however many strong
    /// writes lie between.
    plain: Epoch,
    read: Epoch,
    more: Option<Vec<Epoch>>,
    /// Bytes ever written (shared memory).
    written: bool,
}

const EMPTY: Cell = Cell {
    write: NEVER,
    plain: NEVER,
    read: NEVER,
    more: None,
    written: false,
};

/// An access about to be made.
pub(crate) struct Access<'a> {
    pub(crate) me: Epoch,
    /// The thread that issues it, where the actor is an engine; its own accesses are ordered
    /// before the issue.
    pub(crate) issuer: u32,
    pub(crate) know: &'a Know,
    /// Reads, writes.
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// Through the asynchronous proxy.
    pub(crate) asynchronous: bool,
    pub(crate) space: &'static str,
    /// Threads of a block, to name engines' threads.
    pub(crate) threads: u32,
    pub(crate) warps: u32,
    /// No two blocks synchronise in this launch: readers of several blocks need not be kept.
    pub(crate) isolated: bool,
}

impl Access<'_> {
    fn ordered(&self, e: &Epoch) -> bool {
        if e.clock == 0 {
            return true;
        }
        if e.block == self.me.block {
            return e.actor == self.issuer
                || self
                    .know
                    .own
                    .get(e.actor as usize)
                    .is_some_and(|c| *c >= e.clock);
        }
        let f = self.know.foreign.as_ref().and_then(|f| f.get(&e.block));
        f.and_then(|c| c.get(e.actor as usize))
            .is_some_and(|c| *c >= e.clock)
    }

    fn race(&self, addr: u64, e: &Epoch, other: &'static str) -> FaultKind {
        let t = self.threads;
        let (thread, engine) = match e.actor {
            a if a < t => (a, false),
            a if a < 3 * t => (a % t, true),
            a if a < 3 * t + self.warps => ((a - 3 * t) * 32, true),
            _ => (0, true),
        };
        let name = |engine: bool, write: bool, strong: bool| match (engine, write, strong) {
            (true, true, _) => "asynchronous write",
            (true, false, _) => "asynchronous read",
            (false, true, false) => "write",
            (false, false, false) => "read",
            (false, true, true) => "strong write",
            (false, false, true) => "strong read",
        };
        FaultKind::Race {
            space: self.space,
            addr,
            this: name(self.me.actor >= t, self.write, self.me.strong),
            other: name(engine, other == "write", e.strong),
            other_thread: thread,
            other_block: e.block,
            other_line: e.line,
        }
    }
}

impl Cell {
    /// `same`: whether the bytes to be written equal those in memory.
    fn touch(
        &mut self,
        a: &Access<'_>,
        addr: u64,
        same: bool,
        need_init: bool,
    ) -> Result<(), FaultKind> {
        if a.read && need_init && !self.written {
            return Err(FaultKind::Uninitialised { addr });
        }
        let w = &self.write;
        let both_strong = w.strong && a.me.strong;
        if w.clock != 0 && !both_strong && !a.ordered(w) {
            let replicated =
                a.write && !a.read && same && w.serial == a.me.serial && w.block == a.me.block;
            if !replicated {
                return Err(a.race(addr, w, "write"));
            }
        }
        let p = &self.plain;
        if w.strong && a.me.strong && p.clock != 0 && !a.ordered(p) {
            return Err(a.race(addr, p, "write"));
        }
        if a.asynchronous && w.clock != 0 && w.generic && w.block == a.me.block {
            let fenced = a
                .know
                .asy
                .get(w.actor as usize)
                .is_some_and(|c| *c >= w.clock);
            if !fenced {
                return Err(FaultKind::ProxyFence {
                    addr,
                    other_line: w.line,
                });
            }
        }
        if a.write {
            let clash = |r: &Epoch| !(a.ordered(r) || (r.strong && a.me.strong));
            if clash(&self.read) {
                return Err(a.race(addr, &self.read, "read"));
            }
            if let Some(m) = &self.more
                && let Some(r) = m.iter().find(|r| clash(r))
            {
                return Err(a.race(addr, r, "read"));
            }
            self.read = NEVER;
            self.more = None;
            self.write = a.me;
            if !a.me.strong {
                self.plain = a.me;
            }
            self.written = true;
            return Ok(());
        }
        let r = &mut self.read;
        if r.clock == 0 || (a.ordered(r) && self.more.is_none() && (r.strong || !a.me.strong)) {
            *r = a.me;
            return Ok(());
        }
        if r.block == a.me.block && r.actor == a.me.actor && r.strong == a.me.strong {
            r.clock = a.me.clock;
            return Ok(());
        }
        let first = r.block;
        let m = self.more.get_or_insert_default();
        if let Some(x) = m
            .iter_mut()
            .find(|x| x.block == a.me.block && x.actor == a.me.actor && x.strong == a.me.strong)
        {
            x.clock = a.me.clock;
            return Ok(());
        }
        if a.isolated && m.iter().any(|x| x.block != first) {
            // Readers of two blocks are known: any write conflicts with one of them already.
            return Ok(());
        }
        if m.len() >= 8 {
            m.retain(|x| !a.ordered(x) || (x.strong != a.me.strong));
        }
        m.push(a.me);
        Ok(())
    }
}

/// Shadow of a block's shared memory.
#[derive(Debug)]
pub(crate) struct Shadow {
    cells: Vec<Cell>,
    split: HashMap<usize, Box<[Cell; 4]>>,
}

impl Shadow {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            cells: vec![EMPTY; bytes.div_ceil(4)],
            split: HashMap::new(),
        }
    }

    /// Checks and remembers an access to bytes `off..off+len`; `base` is added for messages.
    /// `same`: per byte, whether the write leaves the byte as it is.
    pub(crate) fn access(
        &mut self,
        a: &Access<'_>,
        base: u64,
        off: usize,
        len: usize,
        same: bool,
        need_init: bool,
    ) -> Result<(), FaultKind> {
        let mut o = off;
        let end = off + len;
        while o < end {
            let word = o / 4;
            let n = (4 - o % 4).min(end - o);
            if n == 4 && (self.split.is_empty() || !self.split.contains_key(&word)) {
                self.cells[word].touch(a, base + o as u64, same, need_init)?;
            } else {
                let cell = &self.cells[word];
                let parts = self.split.entry(word).or_insert_with(|| {
                    Box::new([cell.clone(), cell.clone(), cell.clone(), cell.clone()])
                });
                for k in 0..n {
                    parts[o % 4 + k].touch(a, base + (o + k) as u64, same, need_init)?;
                }
                if n == 4 && a.write {
                    self.cells[word] = parts[0].clone();
                    self.split.remove(&word);
                }
            }
            o += n;
        }
        Ok(())
    }
}

const PAGE: u64 = 256;
const SHARDS: u64 = 64;

/// Shadow of global memory, shared by blocks.
#[derive(Debug, Default)]
pub(crate) struct GridShadow {
    shards: Vec<Mutex<HashMap<u64, Shadow>>>,
}

impl GridShadow {
    pub(crate) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect(),
        }
    }

    pub(crate) fn access(
        &self,
        a: &Access<'_>,
        addr: u64,
        len: usize,
        same: bool,
    ) -> Result<(), FaultKind> {
        let mut at = addr;
        let end = addr + len as u64;
        while at < end {
            let page = at / PAGE;
            let n = ((page + 1) * PAGE - at).min(end - at);
            let shard = &self.shards[(page % SHARDS) as usize];
            let mut s = shard
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let p = s.entry(page).or_insert_with(|| Shadow::new(PAGE as usize));
            p.access(
                a,
                page * PAGE,
                (at % PAGE) as usize,
                n as usize,
                same,
                false,
            )?;
            at += n;
        }
        Ok(())
    }
}
