// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Global memory: allocations in one address space, shared by all blocks of a launch.
//! In: sizes and bytes. Out: addresses and bytes. Words are atomics, so that blocks on
//! several threads of the host may touch them with no `unsafe`; a race in the kernel is
//! a wrong result here, never undefined behaviour of the emulator.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Where the first allocation lies.
const FIRST: u64 = 0x0001_0000_0000;
/// Unused bytes between allocations, at least.
const GAP: u64 = 4096;

/// One allocation.
#[derive(Debug)]
pub(crate) struct Alloc {
    pub(crate) base: u64,
    pub(crate) size: u64,
    words: Vec<AtomicU32>,
}

impl Alloc {
    pub(crate) fn read(&self, off: u64, out: &mut [u8]) {
        let mut o = off as usize;
        let mut k = 0;
        while k < out.len() {
            let w = self.words[o / 4].load(Relaxed).to_le_bytes();
            let n = (4 - o % 4).min(out.len() - k);
            out[k..k + n].copy_from_slice(&w[o % 4..o % 4 + n]);
            o += n;
            k += n;
        }
    }

    pub(crate) fn write(&self, off: u64, src: &[u8]) {
        let mut o = off as usize;
        let mut k = 0;
        while k < src.len() {
            let n = (4 - o % 4).min(src.len() - k);
            let word = &self.words[o / 4];
            if n == 4 {
                word.store(
                    u32::from_le_bytes([src[k], src[k + 1], src[k + 2], src[k + 3]]),
                    Relaxed,
                );
            } else {
                // Bytes beside these may be written by another block at the same time.
                let (mut mask, mut val) = ([0u8; 4], [0u8; 4]);
                mask[o % 4..o % 4 + n].fill(0xff);
                val[o % 4..o % 4 + n].copy_from_slice(&src[k..k + n]);
                let (mask, val) = (u32::from_le_bytes(mask), u32::from_le_bytes(val));
                let mut old = word.load(Relaxed);
                while let Err(now) =
                    word.compare_exchange_weak(old, (old & !mask) | val, Relaxed, Relaxed)
                {
                    old = now;
                }
            }
            o += n;
            k += n;
        }
    }
}

/// Global memory.
#[derive(Debug, Default)]
pub struct Memory {
    allocs: Vec<Alloc>,
    next: u64,
}

/// An address range outside of every allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes at {addr:#x} are outside of every allocation")]
pub struct BadRange {
    /// First byte.
    pub addr: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Memory {
    /// No allocations.
    pub fn new() -> Self {
        Self {
            allocs: Vec::new(),
            next: FIRST,
        }
    }

    /// Zeroed bytes at an address that is a multiple of 256.
    pub fn alloc(&mut self, bytes: u64) -> u64 {
        let base = self.next.max(FIRST);
        let words = (0..bytes.div_ceil(4)).map(|_| AtomicU32::new(0)).collect();
        self.allocs.push(Alloc {
            base,
            size: bytes,
            words,
        });
        self.next = (base + bytes + GAP).next_multiple_of(256);
        base
    }

    /// Gives an allocation back; `false` if none begins there.
    pub fn free(&mut self, addr: u64) -> bool {
        let n = self.allocs.len();
        self.allocs.retain(|a| a.base != addr);
        self.allocs.len() < n
    }

    /// Which allocation holds the range; `hint` is looked at first and updated.
    pub(crate) fn find(&self, addr: u64, bytes: u64, hint: &mut usize) -> Option<(&Alloc, u64)> {
        let inside = |a: &Alloc| {
            addr >= a.base && addr - a.base < a.size && a.size - (addr - a.base) >= bytes
        };
        if let Some(a) = self.allocs.get(*hint)
            && inside(a)
        {
            return Some((a, addr - a.base));
        }
        let k = self
            .allocs
            .partition_point(|a| a.base <= addr)
            .checked_sub(1)?;
        let a = &self.allocs[k];
        if !inside(a) {
            return None;
        }
        *hint = k;
        Some((a, addr - a.base))
    }

    /// Copies bytes in.
    pub fn write(&self, addr: u64, src: &[u8]) -> Result<(), BadRange> {
        let bytes = src.len() as u64;
        if bytes == 0 {
            return Ok(());
        }
        let (a, off) = self
            .find(addr, bytes, &mut 0)
            .ok_or(BadRange { addr, bytes })?;
        a.write(off, src);
        Ok(())
    }

    /// Copies bytes out.
    pub fn read(&self, addr: u64, bytes: u64) -> Result<Vec<u8>, BadRange> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let (a, off) = self
            .find(addr, bytes, &mut 0)
            .ok_or(BadRange { addr, bytes })?;
        let mut v = vec![0; bytes as usize];
        a.read(off, &mut v);
        Ok(v)
    }
}
