// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The state of warps and blocks, and the view of it that an instruction gets.
//! In: decoded code and a launch. Out: registers, memories, barriers.

use super::code::{Code, Lanes, NONE, Slot};
use super::counters::Counters;
use super::fault::FaultKind;
use super::mbarrier::MbarTable;
use super::mem::Memory;
use super::race::{Know, RaceCta, RaceGrid};
use crate::error::Pos;
use std::collections::BTreeMap;

/// Shared memory begins here in the shared window, as on sm_90 (1 KB is the system's).
pub(crate) const SHARED_BASE: u64 = 1024;
/// Where the shared window lies in generic addresses (low 32 bits zero).
pub(crate) const SHARED_WINDOW: u64 = 0x7f00_0000_0000;
/// Where the local window lies in generic addresses.
pub(crate) const LOCAL_WINDOW: u64 = 0x7e00_0000_0000;
/// Where the window of kernel parameters lies in generic addresses.
pub(crate) const PARAM_WINDOW: u64 = 0x7d00_0000_0000;
/// Where function addresses begin.
pub(crate) const CODE_WINDOW: u64 = 0x7c00_0000_0000;
/// Size of a window.
pub(crate) const WINDOW: u64 = 1 << 32;

/// Why a group of lanes does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It does.
    Ready,
    /// At a barrier, until its generation is over.
    Bar { id: u8, generation: u64 },
    /// For other lanes to reach a `.sync` instruction.
    Lanes,
}

/// Lanes that execute together.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) pc: u32,
    pub(crate) mask: u32,
    pub(crate) stack: Vec<Frame>,
    pub(crate) wait: Wait,
    /// When it last ran, for fairness.
    pub(crate) turn: u64,
}

/// A call to return from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The call instruction.
    pub(crate) call: u32,
    /// Which candidate of an indirect call.
    pub(crate) candidate: u32,
}

/// A `cp.async` under way.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) lane: u8,
    pub(crate) group: u32,
    pub(crate) dst: u64,
    pub(crate) src: u64,
    pub(crate) bytes: u8,
    pub(crate) take: u8,
}

/// A warp.
pub(crate) struct Warp {
    pub(crate) id: u32,
    pub(crate) live: u32,
    pub(crate) regs: Vec<Lanes>,
    pub(crate) def: Vec<u32>,
    /// Bytes that are defined where the whole is not (see `partial`).
    pub(crate) bytes: Vec<super::partial::Bytes>,
    pub(crate) groups: Vec<Group>,
    /// `cp.async` groups committed, by lane.
    pub(crate) cp_group: [u32; 32],
    pub(crate) pending: Vec<Pending>,
    /// Bulk groups: committed, by lane.
    pub(crate) bulk_group: [u32; 32],
    /// The group of a lane's last bulk copy, and the last group that it waited for.
    pub(crate) bulk_issued: [u32; 32],
    pub(crate) bulk_waited: [u32; 32],
    pub(crate) wgmma: super::wgmma::InFlight,
    pub(crate) local: Vec<u8>,
    pub(crate) ticks: u64,
}

impl Warp {
    /// The lanes of the mask, lowest first.
    pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
        let mut m = mask;
        std::iter::from_fn(move || {
            if m == 0 {
                return None;
            }
            let l = m.trailing_zeros() as usize;
            m &= m - 1;
            Some(l)
        })
    }
}

/// A hardware barrier.
#[derive(Clone, Debug, Default)]
pub(crate) struct BarState {
    pub(crate) generation: u64,
    pub(crate) arrived: u32,
    pub(crate) expected: Option<u32>,
    pub(crate) popc: u32,
    pub(crate) and: bool,
    pub(crate) or: bool,
    pub(crate) waiting: u32,
    pub(crate) know: Option<Know>,
    /// Results of finished generations that waiting lanes have yet to take.
    pub(crate) done: BTreeMap<u64, (u32, bool, bool, u32, Option<Know>)>,
}

/// A bulk copy under way.
#[derive(Clone, Debug)]
pub(crate) struct Bulk {
    pub(crate) warp: u32,
    pub(crate) lane: u8,
    /// Commit group of the issuing thread; none if it completes on an mbarrier.
    pub(crate) group: Option<u32>,
    pub(crate) action: super::bulk::Action,
}

/// The state of a block beside its warps.
pub(crate) struct Cta {
    pub(crate) linear: u32,
    pub(crate) id: [u32; 3],
    pub(crate) shared: Vec<u8>,
    pub(crate) bars: Vec<BarState>,
    pub(crate) live: u32,
    pub(crate) mbars: MbarTable,
    pub(crate) bulk: Vec<Bulk>,
    pub(crate) race: Option<RaceCta>,
    pub(crate) counters: Counters,
    pub(crate) rng: Rng,
    /// Counts everything that another thread could see change.
    pub(crate) changes: u64,
    pub(crate) hint: usize,
    pub(crate) serial: u64,
}

/// What all blocks share.
pub(crate) struct Grid<'a> {
    pub(crate) code: &'a Code,
    pub(crate) memory: &'a Memory,
    pub(crate) params: &'a [u8],
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) dynamic_shared: u32,
    pub(crate) shared_bytes: u32,
    pub(crate) seed: u64,
    pub(crate) count: bool,
    pub(crate) races: Option<RaceGrid>,
    pub(crate) budget: u64,
}

/// What an instruction sees and changes.
pub(crate) struct Machine<'a> {
    pub(crate) w: &'a mut Warp,
    pub(crate) c: &'a mut Cta,
    pub(crate) g: &'a Grid<'a>,
    pub(crate) pos: Pos,
    /// The lane that a fault concerns.
    pub(crate) lane: usize,
}

impl Machine<'_> {
    /// A register's lanes.
    pub(crate) fn r(&self, s: Slot) -> &Lanes {
        &self.w.regs[s as usize]
    }

    /// A register's lanes where all of `mask` must be defined.
    pub(crate) fn need(&mut self, s: Slot, mask: u32) -> Result<&Lanes, FaultKind> {
        let missing = mask & !self.w.def[s as usize];
        if missing != 0 {
            self.lane = missing.trailing_zeros() as usize;
            return Err(FaultKind::Undefined(self.g.code.slot_name(s)));
        }
        Ok(&self.w.regs[s as usize])
    }

    /// As [`Self::need`], where only the lowest bytes must be defined.
    pub(crate) fn need_low(
        &mut self,
        s: Slot,
        bytes: usize,
        mask: u32,
    ) -> Result<&Lanes, FaultKind> {
        let missing = mask & !self.w.low_bytes(s, bytes);
        if missing != 0 {
            self.lane = missing.trailing_zeros() as usize;
            return Err(FaultKind::Undefined(self.g.code.slot_name(s)));
        }
        Ok(&self.w.regs[s as usize])
    }

    /// Writes lanes; `def`: which of them hold defined values.
    pub(crate) fn set(&mut self, s: Slot, v: &Lanes, mask: u32, def: u32) {
        if s == NONE {
            return;
        }
        let r = &mut self.w.regs[s as usize];
        if mask == u32::MAX {
            *r = *v;
        } else {
            for l in 0..32 {
                if mask >> l & 1 == 1 {
                    r[l] = v[l];
                }
            }
        }
        self.w.define(s, mask, def);
    }

    /// Writes one lane.
    pub(crate) fn set1(&mut self, s: Slot, lane: usize, v: u64) {
        if s != NONE {
            self.w.regs[s as usize][lane] = v;
            self.w.def[s as usize] |= 1 << lane;
        }
    }

    /// Which lanes of all these registers are defined.
    pub(crate) fn defined(&self, slots: &[Slot]) -> u32 {
        slots
            .iter()
            .filter(|s| **s != NONE)
            .fold(u32::MAX, |d, s| d & self.w.def[*s as usize])
    }

    /// The linear thread number of a lane.
    pub(crate) fn tid(&self, lane: usize) -> u32 {
        self.w.id * 32 + lane as u32
    }

    /// Something that others can see has changed.
    pub(crate) fn changed(&mut self) {
        self.c.changes += 1;
    }

    /// Bounds and alignment of a shared access; the index into the block's bytes.
    pub(crate) fn shared_at(
        &self,
        addr: u64,
        bytes: u32,
        align: u32,
        write: bool,
    ) -> Result<usize, FaultKind> {
        if !addr.is_multiple_of(u64::from(align)) {
            return Err(FaultKind::Misaligned {
                space: "shared",
                addr,
                align,
            });
        }
        let off = addr.wrapping_sub(SHARED_BASE);
        if addr < SHARED_BASE || off + u64::from(bytes) > self.c.shared.len() as u64 {
            return Err(FaultKind::OutOfBounds {
                space: "shared",
                addr,
                bytes,
                write,
            });
        }
        Ok(off as usize)
    }
}

/// A small generator (splitmix64) for the order in which things take turns.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// Little-endian bytes to a number.
pub(crate) fn le(b: &[u8]) -> u64 {
    let mut v = [0u8; 8];
    v[..b.len().min(8)].copy_from_slice(&b[..b.len().min(8)]);
    u64::from_le_bytes(v)
}
