// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The order of a task: stages of copies in flight, and which warp touches what between two barriers.
//!
//! In: the accesses of a machine. Out: nothing, or the fault that an access is. Copies in flight change memory when they are awaited and
//! not before; of every element the machine knows who has written and who has read it since the last barrier.

use std::cell::Cell;
use std::collections::VecDeque;

use attnc_tile::core::{Buf, BufId, Core, Elem, Lie, Space};
use attnc_tile::queue::Queue;

use super::{FaultKind, Memory};

/// Whose lanes an access is done for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// One warp's.
    Warp(u32),
    /// Every warp's, or those of a warp that the program does not choose.
    Any,
}

/// The last access of a kind.
#[derive(Clone, Copy)]
struct Access {
    /// The number of the barrier before it; 0 for none.
    barrier: u64,
    /// The number of its instruction.
    inst: u64,
    who: Who,
}

type Last = Cell<Access>;

/// Accesses to the elements of one buffer.
struct Touched {
    wrote: Vec<Last>,
    read: Vec<Last>,
}

/// A copy in flight.
struct Copy {
    buf: BufId,
    at: usize,
    value: f32,
}

/// What a task is in the middle of.
pub(super) struct Order {
    stages: u64,
    warps: u32,
    pub(super) queue: Queue,
    /// Stages closed in this task, and stages that were the front.
    committed: u64,
    taken: u64,
    /// Copies of the stage that is being filled.
    filling: Vec<Copy>,
    /// Copies of closed stages, oldest first.
    flying: VecDeque<Vec<Copy>>,
    /// Whose lanes are at hand.
    pub(super) who: Who,
    barriers: u64,
    /// Instructions so far.
    pub(super) insts: u64,
    touched: Vec<Option<Touched>>,
}

impl Order {
    pub(super) fn new(core: &Core) -> Order {
        let touched = |b: &Buf| {
            let common = b.elem == Elem::I64 || b.space != Space::Frag;
            let none = Access {
                barrier: 0,
                inst: 0,
                who: Who::Any,
            };
            let never = || vec![Cell::new(none); b.len as usize];
            (core.warps > 1 && !b.staged && common).then(|| Touched {
                wrote: never(),
                read: never(),
            })
        };
        Order {
            stages: u64::from(core.stages.max(1)),
            warps: core.warps.max(1),
            queue: Queue::new(core.stages, core.warps),
            committed: 0,
            taken: 0,
            filling: Vec::new(),
            flying: VecDeque::new(),
            who: Who::Any,
            barriers: 1,
            insts: 0,
            touched: core.bufs.iter().map(touched).collect(),
        }
    }

    /// A task begins: all stages are free, all warps are here.
    pub(super) fn begin(&mut self, core: &Core) {
        self.queue = Queue::new(core.stages, core.warps);
        (self.committed, self.taken) = (0, 0);
        self.filling.clear();
        self.flying.clear();
        self.barriers += 1;
    }

    pub(super) fn barrier(&mut self) {
        self.queue.barrier();
        self.barriers += 1;
    }

    /// The warp that lane `i` of a tile belongs to, or nobody in particular where rows lie.
    pub(super) fn lane(&self, lie: Lie, i: i64) -> Who {
        match lie {
            Lie::Cols { stride } if self.warps > 1 => {
                let rows = i64::from((stride / self.warps).max(1));
                Who::Warp((i / rows) as u32)
            }
            Lie::Cols { .. } | Lie::Rows => Who::Any,
        }
    }

    /// The rear's number among the stages; begins to fill it where it is not being filled.
    pub(super) fn fill(&mut self, core: &Core, mem: &mut [Memory]) -> Result<u64, FaultKind> {
        let begins = !self.queue.filling();
        self.queue.fill()?;
        let rear = self.rear();
        if begins {
            for (m, b) in mem.iter_mut().zip(&core.bufs).filter(|(_, b)| b.staged) {
                m.forget_part(rear, b.len);
            }
        }
        Ok(rear)
    }

    pub(super) fn rear(&self) -> u64 {
        self.committed % self.stages
    }

    /// The front's number among the stages.
    pub(super) fn front(&self) -> Result<u64, FaultKind> {
        self.queue.read()?;
        Ok((self.taken.max(1) - 1) % self.stages)
    }

    /// Begins to copy an element.
    pub(super) fn copy(&mut self, buf: BufId, at: usize, value: f32) {
        self.filling.push(Copy { buf, at, value });
    }

    pub(super) fn commit(&mut self) -> Result<(), FaultKind> {
        self.queue.commit()?;
        self.committed += 1;
        self.flying.push_back(std::mem::take(&mut self.filling));
        Ok(())
    }

    pub(super) fn wait(
        &mut self,
        ahead: u32,
        core: &Core,
        mem: &mut [Memory],
    ) -> Result<(), FaultKind> {
        self.queue.wait(ahead)?;
        self.taken += 1;
        while self.flying.len() > ahead as usize {
            for c in self.flying.pop_front().into_iter().flatten() {
                let name = &core.bufs[c.buf.0 as usize].name;
                mem[c.buf.0 as usize].set_float(name, c.at as i64, c.value)?;
            }
        }
        Ok(())
    }

    /// The element's accesses, where warps share it.
    fn last(&self, b: BufId, i: i64) -> Option<(&Last, &Last)> {
        let t = self.touched.get(b.0 as usize)?.as_ref()?;
        let i = usize::try_from(i).ok()?;
        Some((t.wrote.get(i)?, t.read.get(i)?))
    }

    fn clash(&self, last: &Last) -> bool {
        let Access { barrier, who, .. } = last.get();
        barrier == self.barriers && (who == Who::Any || who != self.who)
    }

    fn now(&self, who: Who) -> Access {
        Access {
            barrier: self.barriers,
            inst: self.insts,
            who,
        }
    }

    /// What a clash with `last` is: rows that one instruction writes twice, or warps without a barrier.
    fn fault(&self, core: &Core, b: BufId, index: i64, last: &Last) -> FaultKind {
        let what = core.bufs[b.0 as usize].name.clone();
        if last.get().inst == self.insts {
            let index = index as usize;
            FaultKind::Twice { what, index }
        } else {
            FaultKind::Unordered { what, index }
        }
    }

    /// Floats, and flags as scalar code loads them, are read.
    pub(super) fn read(&self, core: &Core, b: BufId, i: i64) -> Result<(), FaultKind> {
        let Some((wrote, read)) = self.last(b, i) else {
            return Ok(());
        };
        if self.clash(wrote) {
            return Err(self.fault(core, b, i, wrote));
        }
        let last = read.get();
        let others = last.barrier == self.barriers && last.who != self.who;
        read.set(self.now(if others { Who::Any } else { self.who }));
        Ok(())
    }

    /// Floats are written.
    pub(super) fn write(&self, core: &Core, b: BufId, i: i64) -> Result<(), FaultKind> {
        let Some((wrote, read)) = self.last(b, i) else {
            return Ok(());
        };
        for last in [wrote, read] {
            if self.clash(last) {
                return Err(self.fault(core, b, i, last));
            }
        }
        wrote.set(self.now(self.who));
        Ok(())
    }

    /// A flag is raised by whoever sees reason to: a raised flag may be raised again.
    pub(super) fn raise(&self, core: &Core, b: BufId, i: i64) -> Result<(), FaultKind> {
        let Some((wrote, read)) = self.last(b, i) else {
            return Ok(());
        };
        if read.get().barrier == self.barriers {
            return Err(self.fault(core, b, i, read));
        }
        wrote.set(self.now(Who::Any));
        Ok(())
    }

    /// Scalar code stores an integer.
    pub(super) fn store(&self, core: &Core, b: BufId, i: i64) -> Result<(), FaultKind> {
        match self.last(b, i) {
            Some((wrote, _)) if wrote.get().barrier == self.barriers => {
                Err(self.fault(core, b, i, wrote))
            }
            Some(_) | None => Ok(()),
        }
    }
}
