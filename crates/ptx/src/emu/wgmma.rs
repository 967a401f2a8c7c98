// SPDX-License-Identifier: Apache-2.0 OR MIT
//! wgmma: products of a warpgroup, a quarter of the rows in each warp.
//! In: form and operands. Out: accumulators, computed at the issue (one of the legal
//! moments); the race checker holds the shared bytes and the registers until the wait.
//!
//! Descriptor: bits 0-13 address/16, 16-29 leading offset/16, 32-45 stride offset/16,
//! 62-63 swizzle (0 none, 1 128, 2 64, 3 32 bytes). Layouts: PTX ISA manual, 9.7.16.5.

use super::access::Who;
use super::alu::zx;
use super::code::*;
use super::decode::{D, Dec, refuse};
use super::fault::FaultKind;
use super::float::*;
use super::mma::{element_f32, shape};
use super::state::Machine;
use super::tensor::swizzle;
use super::warp_ops::small_int;
use crate::module::{Instr, Operand};
use crate::ty::Type;
use std::collections::BTreeMap;

/// What a warp's asynchronous products still use.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight {
    /// Groups committed.
    pub(crate) group: u32,
    /// Register -> the last group that uses it, and whether as accumulator.
    pub(crate) regs: BTreeMap<Slot, (u32, bool)>,
    /// Whether any `wgmma.fence` has come before.
    pub(crate) fenced: bool,
    /// Registers touched since the last `wgmma.fence`.
    pub(crate) dirty: std::collections::BTreeSet<Slot>,
}

impl InFlight {
    /// An ordinary instruction reads or writes registers.
    pub(crate) fn touch(&mut self, touched: &[Slot]) -> Result<(), Slot> {
        if !self.regs.is_empty()
            && let Some(s) = touched.iter().find(|s| self.regs.contains_key(s))
        {
            return Err(*s);
        }
        self.dirty.extend(touched.iter().copied());
        Ok(())
    }
}

enum Source {
    Regs(Vec<Slot>),
    Shared { desc: Slot, mn_major: bool },
}

struct Wgmma {
    n: usize,
    k: usize,
    at: Type,
    bt: Type,
    dt: Type,
    a: Source,
    b: Source,
    d: Vec<Slot>,
    /// Predicate: add to D; not: D = A*B.
    scale: Slot,
    negated: bool,
    neg_a: bool,
    neg_b: bool,
    sat: bool,
}

pub(crate) fn decode(d: &mut Dec<'_>, i: &Instr) -> D<(Op, Meet, Class)> {
    d.code.async_proxy = true;
    d.code.has_wgmma = true;
    let wrap = |f: Box<dyn Exec>| Ok((Op::Exec(f), Meet::Aligned, Class::Matrix));
    match i.mods[0] {
        "fence" => {
            return wrap(Box::new(|m: &mut Machine<'_>, _: u32| {
                m.w.wgmma.dirty.clear();
                m.w.wgmma.fenced = true;
                Ok(())
            }));
        }
        "commit_group" => {
            return wrap(Box::new(|m: &mut Machine<'_>, _: u32| {
                m.w.wgmma.group += 1;
                Ok(())
            }));
        }
        "wait_group" => {
            let Operand::Imm(crate::module::Imm::Int(n)) = i.args[0] else {
                return refuse("wgmma.wait_group of a register");
            };
            let n = n as u32;
            return wrap(Box::new(move |m: &mut Machine<'_>, mask: u32| {
                let done = m.w.wgmma.group.saturating_sub(n);
                m.w.wgmma.regs.retain(|_, (g, _)| *g > done);
                let w = m.w.id;
                if let Some(r) = m.c.race.as_mut() {
                    let a = r.wgmma_actor(w);
                    r.finished(w, mask, a, done);
                }
                Ok(())
            }));
        }
        _ => {}
    }
    let Some((_, n, k)) = i.slot("S").and_then(shape) else {
        return refuse(i.text());
    };
    let ty = |s: &str| i.slot_type(s).unwrap_or(Type::F16);
    let (at, bt, dt) = (ty("A"), ty("B"), ty("D"));
    let imm = |o: Option<&Operand>| match o {
        Some(Operand::Imm(crate::module::Imm::Int(v))) => Ok(Some(*v)),
        Some(o) => refuse(format!("`{o}` where a constant is needed")),
        None => Ok(None),
    };
    let regs_a = matches!(i.args[1], Operand::Vector(_));
    // D, A, B, scale-d, imm-scale-a, imm-scale-b, then imm-trans-a (A in shared), imm-trans-b.
    let (sa, sb) = (imm(i.args.get(4))?, imm(i.args.get(5))?);
    let (ta, tb) = if regs_a {
        (None, imm(i.args.get(6))?)
    } else {
        (imm(i.args.get(6))?, imm(i.args.get(7))?)
    };
    let outs = d.dsts(&i.args[0])?;
    if outs.len() != if dt == Type::F16 { n / 4 } else { n / 2 } {
        return refuse(format!("register counts of `{}`", i.text()));
    }
    let a = if regs_a {
        let r = d.srcs(&i.args[1], Type::B32)?;
        if r.len() != 4 {
            return refuse(format!("register counts of `{}`", i.text()));
        }
        Source::Regs(r)
    } else {
        Source::Shared {
            desc: d.src(&i.args[1], Type::B64)?,
            mn_major: ta == Some(1),
        }
    };
    let b = Source::Shared {
        desc: d.src(&i.args[2], Type::B64)?,
        mn_major: tb == Some(1),
    };
    let (scale, negated) = match &i.args[3] {
        Operand::Imm(crate::module::Imm::Int(v)) => (d.value(u64::from(*v != 0)), false),
        o => d.pred(o)?,
    };
    let x = Wgmma {
        n,
        k,
        at,
        bt,
        dt,
        a,
        b,
        d: outs,
        scale,
        negated,
        neg_a: sa == Some(-1),
        neg_b: sb == Some(-1),
        sat: i.has("satfinite"),
    };
    wrap(Box::new(x))
}

/// Shared address of the byte `kb` bytes along K in row `r` (K-major), or of row `r` at
/// element `k` (MN-major, 16-bit elements).
fn locate(desc: u64, mn_major: bool, r: usize, k: usize, bytes: usize) -> u64 {
    let start = (desc & 0x3fff) << 4;
    let lead = (desc >> 16 & 0x3fff) << 4;
    let stride = (desc >> 32 & 0x3fff) << 4;
    let (width, bits) = match desc >> 62 {
        0 => (16u64, 0),
        1 => (128, 3),
        2 => (64, 2),
        _ => (32, 1),
    };
    let (r, kb, k) = (r as u64, (k * bytes) as u64, k as u64);
    let a = if mn_major {
        let rb = r * bytes as u64;
        if bits == 0 {
            start + rb % 16 + rb / 16 * stride + k % 8 * 16 + k / 8 * lead
        } else {
            start + rb % width + rb / width * lead + k % 8 * width + k / 8 * stride
        }
    } else if bits == 0 {
        start + r / 8 * stride + r % 8 * 16 + kb / 16 * lead + kb % 16
    } else {
        start + r / 8 * stride + r % 8 * width + kb
    };
    if bits == 0 { a } else { swizzle(a, bits) }
}

impl Wgmma {
    /// Elements of an operand in shared memory: `f(row, k, bits)`.
    fn shared(
        &self,
        m: &mut Machine<'_>,
        src: &Source,
        ty: Type,
        rows: std::ops::Range<usize>,
        who: Who,
        mut f: impl FnMut(usize, usize, u64),
    ) -> Exe {
        let Source::Shared { desc, mn_major } = src else {
            return Ok(());
        };
        let (desc, mn) = (m.r(*desc)[0], *mn_major);
        let w = ty.bytes() as usize;
        if mn && w != 2 {
            return Err(FaultKind::Operand("only 16-bit types may be transposed"));
        }
        let tid = m.w.id * 32;
        let race = m.c.race.is_some();
        let first = rows.start;
        for r in rows {
            for k in 0..self.k {
                let a = locate(desc, mn, r, k, w);
                // The pitch of the descriptor counts from the window's first bytes.
                let off = m.shared_at(a, w as u32, w as u32, false)?;
                // Runs of 16 bytes are checked at once where K is contiguous.
                if race {
                    if mn {
                        if (r - first).is_multiple_of(8) {
                            m.race_shared(tid, who, off, 16, (true, false), false, false)?;
                        }
                    } else if (k * w).is_multiple_of(16) {
                        m.race_shared(
                            tid,
                            who,
                            off,
                            16.min(self.k * w),
                            (true, false),
                            false,
                            false,
                        )?;
                    }
                }
                let v = super::state::le(&m.c.shared[off..off + w]);
                f(r, k, v);
            }
        }
        Ok(())
    }

    fn hold(&self, m: &mut Machine<'_>) -> Exe {
        if m.c.race.is_none() {
            return Ok(());
        }
        let mut all: Vec<(Slot, bool)> = self.d.iter().map(|s| (*s, true)).collect();
        if let Source::Regs(r) = &self.a {
            all.extend(r.iter().map(|s| (*s, false)));
        }
        let group = m.w.wgmma.group + 1;
        for (s, acc) in all {
            if !m.w.wgmma.fenced || m.w.wgmma.dirty.contains(&s) {
                return Err(FaultKind::WgmmaFence(m.g.code.slot_name(s)));
            }
            // The same accumulators may follow each other; anything else must wait.
            if let Some((_, was)) = m.w.wgmma.regs.get(&s)
                && *was != acc
            {
                return Err(FaultKind::InFlight(m.g.code.slot_name(s)));
            }
            m.w.wgmma.regs.insert(s, (group, acc));
        }
        Ok(())
    }
}

impl Exec for Wgmma {
    fn run(&self, m: &mut Machine<'_>, mask: u32) -> Exe {
        self.hold(m)?;
        m.need(self.scale, mask)?;
        for s in [&self.a, &self.b] {
            if let Source::Shared { desc, .. } = s {
                m.need(*desc, mask)?;
            }
        }
        let add = (m.r(self.scale)[0] & 1 == 1) != self.negated;
        let int = self.dt == Type::S32;
        let who = match m.c.race.as_ref() {
            Some(r) => Who::Engine {
                actor: r.wgmma_actor(m.w.id),
                clock: m.w.wgmma.group + 1,
                generic: false,
            },
            None => Who::Thread,
        };
        let (at, bt) = (self.at, self.bt);
        let value = |v: u64, t: Type| -> f32 {
            match t {
                Type::U8 | Type::S8 => small_int(v, 8, t == Type::S8) as f32,
                _ => element_f32(v, t),
            }
        };
        // Integers up to 8 bits and their products are exact in f32; sums are made in f64 or i64.
        let mut a = vec![[0f32; 32]; 16];
        let quarter = (m.w.id % 4) as usize * 16;
        let mut b = vec![0f32; self.n * self.k];
        match &self.a {
            Source::Regs(regs) => {
                let p = (32 / at.bits()) as usize;
                for (r, s) in regs.iter().enumerate() {
                    for (l, v) in m.r(*s).iter().enumerate() {
                        for j in 0..p {
                            let bits = zx(*v >> (at.bits() * j as u32), at.bits());
                            a[l / 4 + 8 * (r % 2)][4 * p * (r / 2) + l % 4 * p + j] =
                                value(bits, at);
                        }
                    }
                }
            }
            src @ Source::Shared { .. } => {
                self.shared(m, src, at, quarter..quarter + 16, who, |r, k, v| {
                    a[r - quarter][k] = value(v, at)
                })?;
            }
        }
        let n = self.n;
        self.shared(m, &self.b, bt, 0..n, who, |r, k, v| {
            b[k * n + r] = value(v, bt)
        })?;
        if self.neg_a != self.neg_b {
            for x in a.iter_mut().flatten() {
                *x = -*x;
            }
        }
        let half = self.dt == Type::F16;
        let mut acc = vec![0f64; 16 * n];
        let at_of =
            |l: usize, i: usize| (l / 4 + 8 * (i / 2 % 2)) * n + i / 4 * 8 + l % 4 * 2 + i % 2;
        let mut def = mask;
        if add {
            def = if m.defined(&self.d) & mask == mask {
                mask
            } else {
                0
            };
            for l in 0..32 {
                for i in 0..n / 2 {
                    acc[at_of(l, i)] = if half {
                        f64::from(h2f((m.r(self.d[i / 2])[l] >> (16 * (i % 2))) as u16))
                    } else if int {
                        f64::from(m.r(self.d[i])[l] as u32 as i32)
                    } else {
                        f64::from(f32::from_bits(m.r(self.d[i])[l] as u32))
                    };
                }
            }
        }
        if let Source::Regs(r) = &self.a
            && m.defined(r) & mask != mask
        {
            def = 0;
        }
        let mut row = vec![0f32; n];
        for r in 0..16 {
            if int {
                for k in 0..self.k {
                    for c in 0..n {
                        acc[r * n + c] += f64::from(a[r][k]) * f64::from(b[k * n + c]);
                    }
                }
                continue;
            }
            for (c, x) in row.iter_mut().enumerate() {
                *x = acc[r * n + c] as f32;
            }
            for k in 0..self.k {
                let x = a[r][k];
                for (c, y) in row.iter_mut().enumerate() {
                    *y += x * b[k * n + c];
                }
            }
            for (c, x) in row.iter().enumerate() {
                acc[r * n + c] = f64::from(*x);
            }
        }
        for (j, s) in self.d.iter().enumerate() {
            let mut v = [0u64; 32];
            for l in 0..32 {
                v[l] = if half {
                    let e = |i: usize| encode(acc[at_of(l, i)], F16, Round::Near, false);
                    e(2 * j) | e(2 * j + 1) << 16
                } else if int {
                    let x = acc[at_of(l, j)];
                    let x = if self.sat {
                        x.clamp(f64::from(i32::MIN), f64::from(i32::MAX))
                    } else {
                        x
                    };
                    u64::from(x as i64 as u32)
                } else {
                    u64::from(canon(acc[at_of(l, j)] as f32))
                };
            }
            m.set(*s, &v, mask, def);
        }
        Ok(())
    }
}
