// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The claim of tile functions that are nothing but maps: `open`, `settle`, `join`, `mix`, `finish` and their like.
//!
//! In: a tile function. Out: machine code with its parameters, in the C calling convention of Linux, or nothing where it does more than
//! map tiles of f32 or asks for more registers than there are; the portable body serves then.
//!
//! Maps that go over the same axis become one pass ([`passes`]): lanes outside, rows inside, every tile loaded and stored at most once a
//! place, row vectors and constants in registers all along. Temporaries that only their own pass reads never reach memory.

use std::collections::BTreeSet;

use attnc_tile::core::{Axis, Elem, Expr, OpKind, Tile, TileFn};
use iced_x86::IcedError;
use iced_x86::code_asm::{
    AsmMemoryOperand, AsmRegister64, ptr, qword_ptr, r8, r9, r10, r11, r12, r13, r14, r15, rax,
    rbp, rbx, rcx, rdi, rdx, rsi, rsp,
};

use super::asm::{Asm, V, Width};
use super::exp2::Exp2;
use super::log2;

const SAVED: [AsmRegister64; 6] = [rbx, rbp, r12, r13, r14, r15];
/// Parameters in registers; more of them stand on the stack.
const PASSED: [AsmRegister64; 6] = [rdi, rsi, rdx, rcx, r8, r9];
/// Where tiles that are passed on the stack go.
const MORE: [AsmRegister64; 5] = [r10, r11, rbx, rbp, r12];
/// Temporaries; bytes to the lane; bytes to the place, row and lane.
const TEMPS: AsmRegister64 = r13;
const LANE: AsmRegister64 = r14;
const PLACE: AsmRegister64 = r15;
/// Stack of our own: the end of the lanes, then the constants of exp2.
const OWN: i32 = 64 + 10 * 64;
const END: i32 = 0;
const CONSTANTS: i32 = 64;

/// Maps that are computed together: all over row vectors, or all over the elements of a head.
#[derive(Debug)]
struct Pass<'f> {
    rows: Axis,
    maps: Vec<(Tile, &'f Expr)>,
    reads: BTreeSet<u32>,
    writes: BTreeSet<u32>,
}

/// The maps of `f` in as few passes as their order allows; `None`: it does something else.
fn passes(f: &TileFn) -> Option<Vec<Pass<'_>>> {
    let mut all: Vec<Pass<'_>> = Vec::new();
    for op in &f.body {
        let (None, OpKind::Map { dst, expr }) = (op.guard, &op.kind) else {
            return None;
        };
        let rows = rows_of(f, *dst)?;
        let mut reads = BTreeSet::new();
        tiles(expr, &mut reads);
        // The last pass over the same axis, if nothing behind it depends on this map, nor this map on that.
        let free = |p: &Pass<'_>| {
            reads.is_disjoint(&p.writes) && !p.writes.contains(&dst.0) && !p.reads.contains(&dst.0)
        };
        let mut at = all.len();
        while at > 0 && all[at - 1].rows != rows && free(&all[at - 1]) {
            at -= 1;
        }
        if at == 0 || all[at - 1].rows != rows {
            all.push(Pass {
                rows,
                maps: Vec::new(),
                reads: BTreeSet::new(),
                writes: BTreeSet::new(),
            });
            at = all.len();
        }
        let p = &mut all[at - 1];
        p.maps.push((*dst, expr));
        p.reads.extend(reads);
        p.writes.insert(dst.0);
    }
    Some(all)
}

/// The rows of a tile of f32 whose lanes are queries.
fn rows_of(f: &TileFn, t: Tile) -> Option<Axis> {
    let (_, ty) = f.tiles.iter().chain(&f.temps).nth(t.0 as usize)?;
    let fits =
        ty.elem == Elem::F32 && ty.cols == Axis::Query && matches!(ty.rows, Axis::One | Axis::Dim);
    fits.then_some(ty.rows)
}

/// The parts of an expression.
fn parts(e: &Expr) -> Vec<&Expr> {
    match e {
        Expr::Tile(_) | Expr::Const(_) => vec![],
        Expr::Exp2(a, _) | Expr::Exp(a, _) | Expr::Log2(a) | Expr::Ln(a) | Expr::Data(a) => vec![a],
        Expr::Add(a, b) | Expr::Sub(a, b) | Expr::Mul(a, b) | Expr::Div(a, b) | Expr::Max(a, b) => {
            vec![a, b]
        }
        Expr::Fma(a, b, c) => vec![a, b, c],
        Expr::IfEq(a, b, c, d) | Expr::IfLt(a, b, c, d) => vec![a, b, c, d],
    }
}

fn tiles(e: &Expr, out: &mut BTreeSet<u32>) {
    if let Expr::Tile(t) = e {
        out.insert(t.0);
    }
    parts(e).into_iter().for_each(|x| tiles(x, out));
}

fn constants(e: &Expr, out: &mut BTreeSet<u32>) {
    if let Expr::Const(c) = e {
        out.insert(c.to_bits());
    }
    parts(e).into_iter().for_each(|x| constants(x, out));
}

fn any(e: &Expr, what: fn(&Expr) -> bool) -> bool {
    what(e) || parts(e).into_iter().any(|x| any(x, what))
}

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// The tile's lanes at this place.
    Tile(u32),
    /// A constant, by its bits, for the whole pass.
    Const(u32),
}

/// One function under assembly.
struct Maps<'f> {
    f: &'f TileFn,
    asm: Asm,
    exp2: Exp2,
    /// Byte offset of each temporary.
    temps: Vec<i32>,
    free: Vec<V>,
    held: Vec<(Held, V)>,
}

/// A value, and whether its register may be written.
#[derive(Clone, Copy)]
struct Value {
    v: V,
    own: bool,
}

/// The code.
///
/// # Errors
/// An instruction that does not exist: a bug of ours.
pub(super) fn emit(f: &TileFn, width: Width) -> Result<Option<Vec<u8>>, IcedError> {
    let lanes = f.mq.is_multiple_of(width.lanes());
    let shape = f.nk == 0 && f.scalars.len() == 1 && f.tiles.len() <= PASSED.len() + MORE.len();
    let fits = (0..f.tiles.len() + f.temps.len()).all(|t| rows_of(f, Tile(t as u32)).is_some());
    let Some(passes) = passes(f).filter(|_| lanes && shape && fits) else {
        return Ok(None);
    };
    let mut asm = Asm::new(width)?;
    let mut at = 0;
    let temps = f.temps.iter().map(|(_, ty)| {
        let here = at;
        let rows = if ty.rows == Axis::Dim { f.head_dim } else { 1 };
        at += (rows * f.mq * 4).next_multiple_of(64) as i32;
        here
    });
    let temps = temps.collect();
    // Parameters: the tiles, the number of live lanes, the memory of temporaries.
    let behind = OWN + 8 * SAVED.len() as i32 + 8;
    let stack = |i: usize| qword_ptr(rsp + behind + 8 * (i as i32 - PASSED.len() as i32));
    let count = f.tiles.len();
    asm.scalar(|a| {
        for r in SAVED {
            a.push(r)?;
        }
        a.sub(rsp, OWN)?;
        let scalar = |i: usize| PASSED.get(i).copied();
        match scalar(count) {
            Some(r) => a.mov(rax, r)?,
            None => a.mov(rax, stack(count))?,
        }
        // Whole vectors, in bytes.
        let lanes = width.lanes() as i32;
        a.add(rax, lanes - 1)?;
        a.and(rax, -lanes)?;
        a.shl(rax, 2)?;
        a.mov(qword_ptr(rsp + END), rax)?;
        match scalar(count + 1) {
            Some(r) => a.mov(TEMPS, r)?,
            None => a.mov(TEMPS, stack(count + 1))?,
        }
        for (i, r) in MORE.into_iter().enumerate() {
            if PASSED.len() + i < count {
                a.mov(r, stack(PASSED.len() + i))?;
            }
        }
        Ok(())
    });
    let natural = f.body.iter().any(|op| {
        matches!(&op.kind, OpKind::Map { expr, .. } if any(expr, |e| matches!(e, Expr::Exp(..))))
    });
    let (exp2, _) = Exp2::write(&mut asm, natural, (rsp, CONSTANTS));
    let free = (0..width.registers()).rev().map(V).collect();
    let mut maps = Maps {
        f,
        asm,
        exp2,
        temps,
        free,
        held: Vec::new(),
    };
    for (i, p) in passes.iter().enumerate() {
        let elsewhere = |t: u32| {
            let mut others = passes.iter().enumerate().filter(|(j, _)| *j != i);
            others.any(|(_, p)| p.reads.contains(&t))
        };
        if maps.pass(p, elsewhere).is_none() {
            return Ok(None);
        }
    }
    maps.asm.scalar(|a| a.add(rsp, OWN));
    maps.asm.leave(&SAVED);
    Ok(Some(maps.asm.finish()?))
}

impl Maps<'_> {
    /// A pass; `None`: too few registers. `elsewhere`: whether other passes read a temporary.
    fn pass(&mut self, p: &Pass<'_>, elsewhere: impl Fn(u32) -> bool) -> Option<()> {
        // Logarithms write EAX, which counts rows.
        let log = |e: &Expr| any(e, |e| matches!(e, Expr::Log2(_) | Expr::Ln(_)));
        if p.rows == Axis::Dim && p.maps.iter().any(|(_, e)| log(e)) {
            return None;
        }
        let mut known = BTreeSet::new();
        p.maps.iter().for_each(|(_, e)| constants(e, &mut known));
        for bits in known {
            let v = self.free.pop()?;
            self.asm.constant(v, bits);
            self.held.push((Held::Const(bits), v));
        }
        let [mut lanes, mut rows] = std::array::from_fn(|_| self.asm.label());
        self.asm.scalar(|a| a.xor(LANE, LANE));
        self.asm.bind(&mut lanes);
        self.asm.scalar(|a| a.mov(PLACE, LANE));
        let (fixed, mark) = (self.held.clone(), self.free.clone());
        if p.rows == Axis::Dim {
            for &t in &p.reads {
                if rows_of(self.f, Tile(t)) == Some(Axis::One) {
                    let v = self.free.pop()?;
                    let from = self.place(t, LANE);
                    self.asm.load(v, from);
                    self.held.push((Held::Tile(t), v));
                }
            }
            self.asm.scalar(|a| a.mov(rax, u64::from(self.f.head_dim)));
            self.asm.bind(&mut rows);
        }
        let (lane, row_mark) = (self.held.clone(), self.free.clone());
        for (dst, e) in &p.maps {
            let x = self.value(e)?;
            let temporary = dst.0 as usize >= self.f.tiles.len();
            if !temporary || elsewhere(dst.0) {
                let to = self.place(dst.0, PLACE);
                self.asm.store(to, x.v);
            }
            if let Some(i) = self.held.iter().position(|h| h.0 == Held::Tile(dst.0)) {
                self.free.push(self.held.swap_remove(i).1);
            }
            let v = if x.own { x.v } else { self.copy(x.v)? };
            self.held.push((Held::Tile(dst.0), v));
        }
        let (pitch, width) = (self.f.mq as i32 * 4, self.asm.width.bytes());
        if p.rows == Axis::Dim {
            (self.held, self.free) = (lane, row_mark);
            self.asm.scalar(|a| {
                a.add(PLACE, pitch)?;
                a.dec(rax)?;
                a.jnz(rows)
            });
        }
        (self.held, self.free) = (fixed, mark);
        self.asm.scalar(|a| {
            a.add(LANE, width)?;
            a.cmp(LANE, qword_ptr(rsp + END))?;
            a.jl(lanes)
        });
        for (_, v) in std::mem::take(&mut self.held) {
            self.free.push(v);
        }
        Some(())
    }

    /// A tile's lanes at `offset`.
    fn place(&self, t: u32, offset: AsmRegister64) -> AsmMemoryOperand {
        let t = t as usize;
        match self.f.tiles.len() {
            n if t >= n => ptr(TEMPS + offset + self.temps[t - n]),
            _ => ptr(PASSED.iter().chain(&MORE).nth(t).copied().unwrap_or(TEMPS) + offset),
        }
    }

    fn copy(&mut self, x: V) -> Option<V> {
        let v = self.free.pop()?;
        self.asm.copy(v, x);
        Some(v)
    }

    fn owned(&mut self, x: Value) -> Option<V> {
        if x.own { Some(x.v) } else { self.copy(x.v) }
    }

    fn done(&mut self, x: Value) {
        if x.own {
            self.free.push(x.v);
        }
    }

    fn value(&mut self, e: &Expr) -> Option<Value> {
        let held = |v| Value { v, own: false };
        let own = |v| Value { v, own: true };
        Some(match e {
            Expr::Const(c) => held(self.find(Held::Const(c.to_bits()))?),
            Expr::Tile(t) => match self.find(Held::Tile(t.0)) {
                Some(v) => held(v),
                None => {
                    let v = self.free.pop()?;
                    let from = self.place(t.0, PLACE);
                    self.asm.load(v, from);
                    self.held.push((Held::Tile(t.0), v));
                    held(v)
                }
            },
            Expr::Add(a, b) => self.two(a, b, Asm::add)?,
            Expr::Sub(a, b) => self.two(a, b, Asm::sub)?,
            Expr::Mul(a, b) => self.two(a, b, Asm::mul)?,
            Expr::Div(a, b) => self.two(a, b, Asm::div)?,
            Expr::Max(a, b) => self.two(a, b, Asm::max)?,
            Expr::Fma(a, b, c) => {
                let (a, b, c) = (self.value(a)?, self.value(b)?, self.value(c)?);
                if a.own {
                    self.asm.fma213(a.v, b.v, c.v);
                    self.done(b);
                    self.done(c);
                    a
                } else {
                    let d = self.owned(c)?;
                    self.asm.fma231(d, a.v, b.v);
                    self.done(b);
                    own(d)
                }
            }
            // As near as any accuracy asks for.
            Expr::Exp2(a, _) | Expr::Exp(a, _) => {
                let x = self.value(a)?;
                let x = self.owned(x)?;
                let spare = [self.free.pop()?, self.free.pop()?];
                // A function has exponentials of one base only.
                self.exp2.emit(&mut self.asm, &[x], &spare);
                self.free.extend(spare);
                own(x)
            }
            Expr::Log2(a) | Expr::Ln(a) => {
                let x = self.value(a)?;
                let x = self.owned(x)?;
                let mut spare = [x; log2::SPARE];
                for s in &mut spare {
                    *s = self.free.pop()?;
                }
                log2::emit(&mut self.asm, x, &spare);
                if matches!(e, Expr::Ln(_)) {
                    self.asm
                        .constant(spare[0], std::f32::consts::LN_2.to_bits());
                    self.asm.mul(x, x, spare[0]);
                }
                self.free.extend(spare);
                own(x)
            }
            // No sum of states rounds to the operator's dtype.
            Expr::Data(_) => return None,
            Expr::IfEq(a, b, c, d) => self.choice(0x00, [a, b, c, d])?,
            Expr::IfLt(a, b, c, d) => self.choice(0x11, [a, b, c, d])?,
        })
    }

    fn find(&self, what: Held) -> Option<V> {
        self.held.iter().find(|h| h.0 == what).map(|h| h.1)
    }

    fn two(&mut self, a: &Expr, b: &Expr, op: fn(&mut Asm, V, V, V)) -> Option<Value> {
        let (a, b) = (self.value(a)?, self.value(b)?);
        let d = match (a.own, b.own) {
            (true, _) => a.v,
            (false, true) => b.v,
            (false, false) => self.free.pop()?,
        };
        op(&mut self.asm, d, a.v, b.v);
        if a.own {
            self.done(b);
        }
        Some(Value { v: d, own: true })
    }

    fn choice(&mut self, compare: i32, e: [&Expr; 4]) -> Option<Value> {
        let [a, b, c, d] = [e[0], e[1], e[2], e[3]].map(|e| self.value(e));
        let (a, b, c, d) = (a?, b?, c?, d?);
        let (to, mask) = (self.free.pop()?, self.free.pop()?);
        self.asm.choose(to, compare, (a.v, b.v), (c.v, d.v), mask);
        self.free.push(mask);
        [a, b, c, d].into_iter().for_each(|x| self.done(x));
        Some(Value { v: to, own: true })
    }
}
