// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One lane's access to memory: address resolution, bounds, alignment, race checks.
//! In: space, address, bytes. Out: bytes, or the fault.

use super::code::Exe;
use super::decode::{Addr, MemSpace};
use super::fault::FaultKind;
use super::race::Strong;
use super::shadow::{Access, Epoch};
use super::state::*;

/// How an access takes part in the memory model.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Order {
    /// relaxed, volatile, acquire, release, or atomic.
    pub(crate) strong: bool,
    pub(crate) acquire: bool,
    pub(crate) release: bool,
    pub(crate) cta: bool,
}

/// Who makes an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The lane itself.
    Thread,
    /// An engine: its actor and clock; `generic`: through the generic proxy.
    Engine {
        actor: u32,
        clock: u32,
        generic: bool,
    },
}

/// A resolved address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Global(u64),
    Shared(u64),
    Local(u64),
    Param(u64),
}

/// The space that an address lies in.
pub(crate) fn place(space: MemSpace, a: u64) -> Place {
    match space {
        MemSpace::Global => Place::Global(a),
        MemSpace::Shared => Place::Shared(a & 0xffff_ffff),
        MemSpace::Local => Place::Local(a & 0xffff_ffff),
        MemSpace::ParamEntry => Place::Param(a & 0xffff_ffff),
        MemSpace::Generic => match a & !(WINDOW - 1) {
            SHARED_WINDOW => Place::Shared(a - SHARED_WINDOW),
            LOCAL_WINDOW => Place::Local(a - LOCAL_WINDOW),
            PARAM_WINDOW => Place::Param(a - PARAM_WINDOW),
            _ => Place::Global(a),
        },
    }
}

impl Machine<'_> {
    /// A lane's address.
    pub(crate) fn address(&self, a: Addr, lane: usize) -> u64 {
        if a.base == super::code::NONE {
            a.off
        } else {
            self.r(a.base)[lane].wrapping_add(a.off)
        }
    }

    /// Checks that an address register is defined.
    pub(crate) fn need_addr(&mut self, a: Addr, mask: u32) -> Exe {
        if a.base != super::code::NONE {
            self.need(a.base, mask)?;
        }
        Ok(())
    }

    fn epoch(&self, tid: u32, who: Who, strong: bool) -> Epoch {
        let race = self.c.race.as_ref();
        let (actor, clock, generic) = match who {
            Who::Thread => (tid, race.map_or(0, |r| r.clock[tid as usize]), true),
            Who::Engine {
                actor,
                clock,
                generic,
            } => (actor, clock, generic),
        };
        Epoch {
            block: self.c.linear,
            actor,
            clock,
            line: self.pos.line,
            strong,
            generic,
            serial: self.c.serial,
        }
    }

    /// The race check of a shared access.
    pub(crate) fn race_shared(
        &mut self,
        tid: u32,
        who: Who,
        off: usize,
        len: usize,
        (read, write): (bool, bool),
        strong: bool,
        same: bool,
    ) -> Exe {
        let me = self.epoch(tid, who, strong);
        let Some(r) = self.c.race.as_mut() else {
            return Ok(());
        };
        let a = Access {
            me,
            issuer: tid,
            know: &r.know[tid as usize],
            read,
            write,
            asynchronous: matches!(who, Who::Engine { generic: false, .. }),
            space: "shared",
            threads: r.threads,
            warps: r.warps,
            isolated: false,
        };
        r.shared.access(&a, SHARED_BASE, off, len, same, true)
    }

    /// The race check of a global access.
    pub(crate) fn race_global(
        &mut self,
        tid: u32,
        who: Who,
        addr: u64,
        len: usize,
        (read, write): (bool, bool),
        strong: bool,
        same: bool,
    ) -> Exe {
        let me = self.epoch(tid, who, strong);
        let (Some(r), Some(g)) = (self.c.race.as_ref(), self.g.races.as_ref()) else {
            return Ok(());
        };
        let a = Access {
            me,
            issuer: tid,
            know: &r.know[tid as usize],
            read,
            write,
            asynchronous: false,
            space: "global",
            threads: r.threads,
            warps: r.warps,
            isolated: !self.g.code.cross_block,
        };
        g.global.access(&a, addr, len, same)
    }

    /// Tells the race checker that a strong operation may synchronise.
    pub(crate) fn strong(&mut self, lane: usize, p: Place, s: Strong) {
        let tid = self.tid(lane);
        let grid = self.g.races.as_ref();
        if let Some(r) = self.c.race.as_mut() {
            match p {
                Place::Shared(a) => r.strong(None, tid, a, s),
                Place::Global(a) => r.strong(grid, tid, a, s),
                Place::Local(_) | Place::Param(_) => {}
            }
        }
    }

    fn local_at(
        &self,
        lane: usize,
        addr: u64,
        bytes: usize,
        write: bool,
    ) -> Result<usize, FaultKind> {
        let size = u64::from(self.g.code.local);
        if addr + bytes as u64 > size {
            return Err(FaultKind::OutOfBounds {
                space: "local",
                addr,
                bytes: bytes as u32,
                write,
            });
        }
        Ok(lane * size as usize + addr as usize)
    }

    /// Reads `out.len()` bytes for a lane. `align`: what the address must be a multiple of.
    pub(crate) fn load(
        &mut self,
        lane: usize,
        p: Place,
        align: u32,
        o: Order,
        out: &mut [u8],
    ) -> Exe {
        self.lane = lane;
        let n = out.len();
        match p {
            Place::Shared(a) => {
                let off = self.shared_at(a, n as u32, align, false)?;
                if self.c.race.is_some() {
                    self.race_shared(
                        self.tid(lane),
                        Who::Thread,
                        off,
                        n,
                        (true, false),
                        o.strong,
                        false,
                    )?;
                }
                out.copy_from_slice(&self.c.shared[off..off + n]);
            }
            Place::Global(a) => {
                if !a.is_multiple_of(u64::from(align)) {
                    return Err(FaultKind::Misaligned {
                        space: "global",
                        addr: a,
                        align,
                    });
                }
                let oob = FaultKind::OutOfBounds {
                    space: "global",
                    addr: a,
                    bytes: n as u32,
                    write: false,
                };
                let (al, off) = self
                    .g
                    .memory
                    .find(a, n as u64, &mut self.c.hint)
                    .ok_or(oob)?;
                al.read(off, out);
                if self.c.race.is_some() {
                    self.race_global(
                        self.tid(lane),
                        Who::Thread,
                        a,
                        n,
                        (true, false),
                        o.strong,
                        false,
                    )?;
                }
            }
            Place::Local(a) => {
                if !a.is_multiple_of(u64::from(align)) {
                    return Err(FaultKind::Misaligned {
                        space: "local",
                        addr: a,
                        align,
                    });
                }
                let off = self.local_at(lane, a, n, false)?;
                out.copy_from_slice(&self.w.local[off..off + n]);
            }
            Place::Param(a) => {
                let a = a as usize;
                if a + n > self.g.params.len() {
                    return Err(FaultKind::OutOfBounds {
                        space: "param",
                        addr: a as u64,
                        bytes: n as u32,
                        write: false,
                    });
                }
                out.copy_from_slice(&self.g.params[a..a + n]);
            }
        }
        if o.strong && self.c.race.is_some() {
            self.strong(
                lane,
                p,
                Strong {
                    read: true,
                    write: false,
                    acquire: o.acquire,
                    release: false,
                    cta: o.cta,
                },
            );
        }
        Ok(())
    }

    /// Writes bytes for a lane.
    pub(crate) fn store(&mut self, lane: usize, p: Place, align: u32, o: Order, src: &[u8]) -> Exe {
        self.lane = lane;
        let n = src.len();
        if o.strong && self.c.race.is_some() {
            self.strong(
                lane,
                p,
                Strong {
                    read: false,
                    write: true,
                    acquire: false,
                    release: o.release,
                    cta: o.cta,
                },
            );
        }
        match p {
            Place::Shared(a) => {
                let off = self.shared_at(a, n as u32, align, true)?;
                let same = self.c.shared[off..off + n] == *src;
                if self.c.race.is_some() {
                    self.race_shared(
                        self.tid(lane),
                        Who::Thread,
                        off,
                        n,
                        (false, true),
                        o.strong,
                        same,
                    )?;
                }
                if !same {
                    self.c.shared[off..off + n].copy_from_slice(src);
                    self.changed();
                }
            }
            Place::Global(a) => {
                if !a.is_multiple_of(u64::from(align)) {
                    return Err(FaultKind::Misaligned {
                        space: "global",
                        addr: a,
                        align,
                    });
                }
                let oob = FaultKind::OutOfBounds {
                    space: "global",
                    addr: a,
                    bytes: n as u32,
                    write: true,
                };
                let (al, off) = self
                    .g
                    .memory
                    .find(a, n as u64, &mut self.c.hint)
                    .ok_or(oob)?;
                if self.c.race.is_some() {
                    let mut old = [0u8; 32];
                    al.read(off, &mut old[..n]);
                    let same = old[..n] == *src;
                    self.race_global(
                        self.tid(lane),
                        Who::Thread,
                        a,
                        n,
                        (false, true),
                        o.strong,
                        same,
                    )?;
                }
                al.write(off, src);
                self.changed();
            }
            Place::Local(a) => {
                if !a.is_multiple_of(u64::from(align)) {
                    return Err(FaultKind::Misaligned {
                        space: "local",
                        addr: a,
                        align,
                    });
                }
                let off = self.local_at(lane, a, n, true)?;
                self.w.local[off..off + n].copy_from_slice(src);
            }
            Place::Param(a) => {
                return Err(FaultKind::OutOfBounds {
                    space: "param",
                    addr: a,
                    bytes: n as u32,
                    write: true,
                });
            }
        }
        Ok(())
    }

    /// Counts one warp's accesses.
    pub(crate) fn count_access(&mut self, places: &[Place], bytes: u32, write: bool) {
        let mut shared = Vec::with_capacity(32);
        let mut global = Vec::with_capacity(32);
        for p in places {
            match p {
                Place::Shared(a) => shared.push((*a, bytes)),
                Place::Global(a) => global.push((*a, bytes)),
                Place::Local(_) | Place::Param(_) => {}
            }
        }
        self.c.counters.shared(&shared, write);
        self.c.counters.global(&global, write);
    }
}
