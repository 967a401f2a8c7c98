// SPDX-License-Identifier: Apache-2.0 OR MIT
//! mma.sync. In: form and operands. Out: one instruction over the 32 lanes of a warp.
//!
//! All fragments but Volta's m8n8k4.f16 follow one rule (PTX ISA manual, 9.7.15.5). With
//! g = lane/4, t = lane%4 and P elements in a register: register r of A holds row
//! g + 8(r mod 2) (row g only, if M is 8), columns 4P(r div R) + tP + j, R registers of rows;
//! register r of B holds rows 4Pr + tP + j of column g; element i of C and D is row
//! g + 8(i div 2), column 2t + i mod 2.

use super::alu::zx;
use super::code::*;
use super::decode::{D, Dec, refuse};
use super::float::*;
use super::state::Machine;
use super::warp_ops::small_int;
use crate::module::{Instr, Operand};
use crate::ty::Type;

/// m, n, k of a shape such as `m16n8k16`.
pub(crate) fn shape(s: &str) -> Option<(usize, usize, usize)> {
    let (m, r) = s.strip_prefix('m')?.split_once('n')?;
    let (n, k) = r.split_once('k')?;
    Some((m.parse().ok()?, n.parse().ok()?, k.parse().ok()?))
}

/// Reads one element of a matrix as f32; exact for all types it is used with.
pub(crate) fn element_f32(v: u64, ty: Type) -> f32 {
    match ty {
        Type::F16 => h2f(v as u16),
        Type::Bf16 => b2f(v as u16),
        // The low 13 bits are ignored.
        Type::Tf32 => f32::from_bits(v as u32 & 0xffff_e000),
        Type::E4m3 => unpack(v & 0xff, E4M3) as f32,
        Type::E5m2 => unpack(v & 0xff, E5M2) as f32,
        _ => f32::from_bits(v as u32),
    }
}

struct Mma {
    m: usize,
    k: usize,
    at: Type,
    bt: Type,
    dt: Type,
    ct: Type,
    a: Vec<Slot>,
    b: Vec<Slot>,
    c: Vec<Slot>,
    d: Vec<Slot>,
    sat: bool,
    and: bool,
}

pub(crate) fn decode(d: &mut Dec<'_>, i: &Instr) -> D<Op> {
    let Some((m, n, k)) = i.slot("S").and_then(shape) else {
        return refuse(i.text());
    };
    let ty = |s: &str| i.slot_type(s).unwrap_or(Type::F16);
    let (at, bt, dt, ct) = (ty("A"), ty("B"), ty("D"), ty("C"));
    if (m, n, k) == (8, 8, 4) && at == Type::F16 {
        return volta(d, i, dt, ct);
    }
    // A constant such as {0, 0, 0, 0} may stand for C.
    let list = |d: &mut Dec<'_>, o: &Operand, t: Type| d.srcs(o, t);
    let f = |t: Type| match t {
        Type::F64 => Type::F64,
        Type::F32 => Type::F32,
        _ => Type::B32,
    };
    let x = Mma {
        m,
        k,
        at,
        bt,
        dt,
        ct,
        a: list(d, &i.args[1], f(at))?,
        b: list(d, &i.args[2], f(bt))?,
        c: list(d, &i.args[3], f(ct))?,
        d: d.dsts(&i.args[0])?,
        sat: i.has("satfinite"),
        and: i.has("and"),
    };
    let word = if at == Type::F64 { 64 } else { 32 };
    let acc = |t: Type| {
        if t == Type::F16 {
            m * n / 64
        } else {
            m * n / 32
        }
    };
    let want = [
        m * k * at.bits() as usize / word / 32,
        n * k * at.bits() as usize / word / 32,
        acc(ct),
        acc(dt),
    ];
    if want != [x.a.len(), x.b.len(), x.c.len(), x.d.len()] {
        return refuse(format!("register counts of `{}`", i.text()));
    }
    Ok(Op::Exec(Box::new(x)))
}

impl Mma {
    /// Calls `f(row, column, bits)` for every element of A (or of B transposed).
    fn each(
        &self,
        mc: &Machine<'_>,
        regs: &[Slot],
        ty: Type,
        a: bool,
        mut f: impl FnMut(usize, usize, u64),
    ) {
        let w = ty.bits();
        let reg_bits = if ty == Type::F64 { 64 } else { 32 };
        let p = (reg_bits / w) as usize;
        let rows = if a { self.m / 8 } else { 1 };
        for (r, s) in regs.iter().enumerate() {
            let lanes = mc.r(*s);
            for (l, v) in lanes.iter().enumerate() {
                let (g, t) = (l / 4, l % 4);
                for j in 0..p {
                    let bits = if w == 64 {
                        *v
                    } else {
                        zx(*v >> (w * j as u32), w)
                    };
                    f(g + 8 * (r % rows), 4 * p * (r / rows) + t * p + j, bits);
                }
            }
        }
    }

    fn float(&self, m: &mut Machine<'_>, mask: u32, def: u32) {
        let mut a = [[0f32; 32]; 16];
        let mut b = [[0f32; 8]; 32];
        self.each(m, &self.a, self.at, true, |r, c, v| {
            a[r][c] = element_f32(v, self.at)
        });
        self.each(m, &self.b, self.bt, false, |n, k, v| {
            b[k][n] = element_f32(v, self.bt)
        });
        let mut acc = [[0f32; 8]; 16];
        let half = self.ct == Type::F16;
        for l in 0..32 {
            for i in 0..4 {
                let (r, c) = (l / 4 + 8 * (i / 2), l % 4 * 2 + i % 2);
                let v = if half {
                    m.r(self.c[i / 2])[l] >> (16 * (i % 2))
                } else {
                    m.r(self.c[i])[l]
                };
                acc[r][c] = if half {
                    h2f(v as u16)
                } else {
                    f32::from_bits(v as u32)
                };
            }
        }
        for r in 0..16 {
            let row = &mut acc[r];
            for k in 0..self.k {
                let x = a[r][k];
                for n in 0..8 {
                    row[n] += x * b[k][n];
                }
            }
        }
        let half = self.dt == Type::F16;
        let mut out = [[0u64; 32]; 4];
        for l in 0..32 {
            for i in 0..4 {
                let v = acc[l / 4 + 8 * (i / 2)][l % 4 * 2 + i % 2];
                if half {
                    out[i / 2][l] |= encode(v.into(), F16, Round::Near, false) << (16 * (i % 2));
                } else {
                    out[i][l] = u64::from(canon(v));
                }
            }
        }
        for (s, o) in self.d.iter().zip(&out) {
            m.set(*s, o, mask, def);
        }
    }

    fn double(&self, m: &mut Machine<'_>, mask: u32, def: u32) {
        let mut a = [[0f64; 16]; 16];
        let mut b = [[0f64; 16]; 8];
        self.each(m, &self.a, Type::F64, true, |r, c, v| {
            a[r][c] = f64::from_bits(v)
        });
        self.each(m, &self.b, Type::F64, false, |n, k, v| {
            b[n][k] = f64::from_bits(v)
        });
        for (i, s) in self.d.iter().enumerate() {
            let mut out = [0u64; 32];
            for l in 0..32 {
                let (r, c) = (l / 4 + 8 * (i / 2), l % 4 * 2 + i % 2);
                let mut x = f64::from_bits(m.r(self.c[i])[l]);
                for k in 0..self.k {
                    x = a[r][k].mul_add(b[c][k], x);
                }
                out[l] = x.to_bits();
            }
            m.set(*s, &out, mask, def);
        }
    }

    fn integer(&self, m: &mut Machine<'_>, mask: u32, def: u32) {
        let mut a = vec![[0i32; 256]; 16];
        let mut b = vec![[0i32; 256]; 8];
        let signed = |t: Type| matches!(t, Type::S8 | Type::S4);
        let (wa, wb) = (self.at.bits(), self.bt.bits());
        self.each(m, &self.a, self.at, true, |r, c, v| {
            a[r][c] = small_int(v, wa, signed(self.at))
        });
        self.each(m, &self.b, self.bt, false, |n, k, v| {
            b[n][k] = small_int(v, wb, signed(self.bt))
        });
        let one = self.at == Type::B1;
        let mut outs = Vec::with_capacity(4);
        for i in 0..self.d.len() {
            let mut out = [0u64; 32];
            for l in 0..32 {
                let (r, c) = (l / 4 + 8 * (i / 2), l % 4 * 2 + i % 2);
                let mut x = i64::from(m.r(self.c[i])[l] as u32 as i32);
                for k in 0..self.k {
                    let (p, q) = (a[r][k], b[c][k]);
                    x += i64::from(if !one {
                        p * q
                    } else if self.and {
                        p & q
                    } else {
                        p ^ q
                    });
                }
                let x = if self.sat {
                    x.clamp(i32::MIN.into(), i32::MAX.into())
                } else {
                    x
                };
                out[l] = u64::from(x as i32 as u32);
            }
            outs.push(out);
        }
        for (s, o) in self.d.iter().zip(&outs) {
            m.set(*s, o, mask, def);
        }
    }
}

impl Exec for Mma {
    fn run(&self, m: &mut Machine<'_>, mask: u32) -> Exe {
        // Every output depends on many lanes: one undefined input makes all undefined.
        let all = m.defined(&self.a) & m.defined(&self.b) & m.defined(&self.c);
        let def = if all & mask == mask { mask } else { 0 };
        match self.at {
            Type::F64 => self.double(m, mask, def),
            Type::F16 | Type::Bf16 | Type::Tf32 | Type::E4m3 | Type::E5m2 => {
                self.float(m, mask, def)
            }
            _ => self.integer(m, mask, def),
        }
        Ok(())
    }
}

/// m8n8k4 on f16: four independent products, one for each quad pair (lanes q, q+1, q+2, q+3,
/// q+16, ... of q = 4p). Source: PTX ISA manual, 9.7.15.5.1.
fn volta(d: &mut Dec<'_>, i: &Instr, dt: Type, ct: Type) -> D<Op> {
    let (arow, brow) = (i.slot("LA") == Some("row"), i.slot("LB") == Some("row"));
    let outs = d.dsts(&i.args[0])?;
    let (a, b) = (
        d.srcs(&i.args[1], Type::B32)?,
        d.srcs(&i.args[2], Type::B32)?,
    );
    let c = d.srcs(&i.args[3], Type::B32)?;
    let want = |t: Type| if t == Type::F16 { 4 } else { 8 };
    if (a.len(), b.len(), c.len(), outs.len()) != (2, 2, want(ct), want(dt)) {
        return refuse(format!("register counts of `{}`", i.text()));
    }
    // Row and column of element e of an f32 accumulator, and of an f16 one.
    let at32 = |l: usize, e: usize| {
        (
            (l & 1) + (e & 2) + if l < 16 { 0 } else { 4 },
            (e & 4) + (l & 2) + (e & 1),
        )
    };
    let at16 = |l: usize, e: usize| (l % 4 + if l < 16 { 0 } else { 4 }, e);
    let run = move |m: &mut Machine<'_>, mask: u32| {
        let half = |m: &Machine<'_>, s: &[Slot], l: usize, e: usize| {
            h2f((m.r(s[e / 2])[l] >> (16 * (e % 2))) as u16)
        };
        let mut out = vec![[0u64; 32]; outs.len()];
        for q in 0..4 {
            let lanes: Vec<usize> = (0..8).map(|x| 4 * q + x % 4 + 16 * (x / 4)).collect();
            let (mut ma, mut mb, mut acc) = ([[0f32; 4]; 8], [[0f32; 8]; 4], [[0f32; 8]; 8]);
            for &l in &lanes {
                let hi = if l < 16 { 0 } else { 4 };
                for e in 0..4 {
                    let v = half(m, &a, l, e);
                    if arow {
                        ma[l % 4 + hi][e] = v;
                    } else {
                        ma[e + hi][l % 4] = v;
                    }
                    let v = half(m, &b, l, e);
                    if brow {
                        mb[l % 4][e + hi] = v;
                    } else {
                        mb[e][l % 4 + hi] = v;
                    }
                }
                for e in 0..8 {
                    let (r, n) = if ct == Type::F16 {
                        at16(l, e)
                    } else {
                        at32(l, e)
                    };
                    acc[r][n] = if ct == Type::F16 {
                        half(m, &c, l, e)
                    } else {
                        f32::from_bits(m.r(c[e])[l] as u32)
                    };
                }
            }
            for r in 0..8 {
                for n in 0..8 {
                    for k in 0..4 {
                        acc[r][n] += ma[r][k] * mb[k][n];
                    }
                }
            }
            for &l in &lanes {
                for e in 0..8 {
                    if dt == Type::F16 {
                        let (r, n) = at16(l, e);
                        out[e / 2][l] |=
                            encode(acc[r][n].into(), F16, Round::Near, false) << (16 * (e % 2));
                    } else {
                        let (r, n) = at32(l, e);
                        out[e][l] = u64::from(canon(acc[r][n]));
                    }
                }
            }
        }
        for (s, o) in outs.iter().zip(&out) {
            m.set(*s, o, mask, mask);
        }
        Ok(())
    };
    Ok(Op::Exec(Box::new(run)))
}
