// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a launch did, in numbers. In: accesses and instructions as they run. Out: sums
//! with fixed meanings (the README of `ptx-emu` says each key's meaning).

use super::code::CLASSES;

/// Sums over a launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Instructions by class, counted once for each thread that executes them.
    pub(crate) by_class: [u64; CLASSES.len()],
    /// Warp instructions executed.
    pub warp_instructions: u64,
    /// Thread instructions executed (predicated-off threads do not count).
    pub thread_instructions: u64,
    /// Wavefronts that shared memory accesses took.
    pub shared_wavefronts: u64,
    /// Wavefronts that the same words need without bank conflicts.
    pub shared_wavefronts_ideal: u64,
    /// 32-byte sectors that global accesses touched, instruction by instruction.
    pub global_sectors: u64,
    /// Sectors that the needed bytes would fill.
    pub global_sectors_ideal: u64,
    /// Bytes that threads read from global memory.
    pub global_bytes_read: u64,
    /// Bytes that threads wrote to global memory.
    pub global_bytes_written: u64,
    /// Bytes that threads read from shared memory.
    pub shared_bytes_read: u64,
    /// Bytes that threads wrote to shared memory.
    pub shared_bytes_written: u64,
    /// Barrier instructions, counted once for each warp.
    pub barriers: u64,
    /// Branches that split a warp.
    pub divergent_branches: u64,
}

impl Counters {
    /// Adds another block's sums.
    pub fn add(&mut self, o: &Self) {
        for (a, b) in self.by_class.iter_mut().zip(&o.by_class) {
            *a += b;
        }
        self.warp_instructions += o.warp_instructions;
        self.thread_instructions += o.thread_instructions;
        self.shared_wavefronts += o.shared_wavefronts;
        self.shared_wavefronts_ideal += o.shared_wavefronts_ideal;
        self.global_sectors += o.global_sectors;
        self.global_sectors_ideal += o.global_sectors_ideal;
        self.global_bytes_read += o.global_bytes_read;
        self.global_bytes_written += o.global_bytes_written;
        self.shared_bytes_read += o.shared_bytes_read;
        self.shared_bytes_written += o.shared_bytes_written;
        self.barriers += o.barriers;
        self.divergent_branches += o.divergent_branches;
    }

    /// Thread instructions by class, in a fixed order.
    pub fn classes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CLASSES.iter().zip(self.by_class).map(|((_, n), v)| (*n, v))
    }

    /// One warp's access to shared memory: address and bytes of each lane.
    pub(crate) fn shared(&mut self, addrs: &[(u64, u32)], write: bool) {
        if addrs.is_empty() {
            return;
        }
        let width = addrs[0].1.max(1);
        let bytes: u64 = addrs.iter().map(|a| u64::from(a.1)).sum();
        if write {
            self.shared_bytes_written += bytes;
        } else {
            self.shared_bytes_read += bytes;
        }
        // Wide accesses go in halves or quarters of a warp, so that a wavefront moves 128 bytes.
        let lanes = (128 / width.max(4)).max(1) as usize;
        let mut words: Vec<u64> = Vec::with_capacity(64);
        let mut all: Vec<u64> = Vec::with_capacity(128);
        for part in addrs.chunks(lanes) {
            words.clear();
            for (a, n) in part {
                let mut w = a / 4;
                while w * 4 < a + u64::from(*n) {
                    words.push(w);
                    w += 1;
                }
            }
            words.sort_unstable();
            words.dedup();
            let mut banks = [0u64; 32];
            for w in &words {
                banks[(w % 32) as usize] += 1;
            }
            self.shared_wavefronts += banks.iter().max().copied().unwrap_or(0);
            all.extend_from_slice(&words);
        }
        all.sort_unstable();
        all.dedup();
        self.shared_wavefronts_ideal += (all.len() as u64).div_ceil(32);
    }

    /// One warp's access to global memory: address and bytes of each lane.
    pub(crate) fn global(&mut self, addrs: &[(u64, u32)], write: bool) {
        if addrs.is_empty() {
            return;
        }
        let bytes: u64 = addrs.iter().map(|a| u64::from(a.1)).sum();
        if write {
            self.global_bytes_written += bytes;
        } else {
            self.global_bytes_read += bytes;
        }
        let mut sorted: Vec<(u64, u64)> = addrs
            .iter()
            .filter(|a| a.1 > 0)
            .map(|(a, n)| (*a, a + u64::from(*n)))
            .collect();
        sorted.sort_unstable();
        let (mut sectors, mut needed) = (0u64, 0u64);
        let (mut last_sector, mut end) = (None, 0u64);
        for (a, b) in sorted {
            let from = a.max(end);
            if b > from {
                needed += b - from;
                end = b;
            }
            let mut s = a / 32;
            while s * 32 < b {
                if last_sector.is_none_or(|l| s > l) {
                    sectors += 1;
                    last_sector = Some(s);
                }
                s += 1;
            }
        }
        self.global_sectors += sectors;
        self.global_sectors_ideal += needed.div_ceil(32);
    }
}
