// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tensor maps and the copies that use them, in tiled mode. In: a map of 128 bytes that
//! `tensormap.replace` filled (the layout is this emulator's own: the real one is not
//! documented), coordinates. Out: pieces of a bulk copy.
//!
//! Layout: 0 address u64; 8 rank-1; 9 element type; 10 interleave; 11 swizzle; 12 fill;
//! 16 box u32x5; 36 extents u32x5; 56 byte strides u64x4; 88 element strides u32x5.
//! Source: PTX ISA manual, 5.5 and 9.7.9.27.

use super::access::Place;
use super::atom::combine;
use super::bulk::{Action, Piece, tensor_operand};
use super::code::*;
use super::decode::{Addr, D, Dec, refuse};
use super::fault::FaultKind;
use super::ldst::operand;
use super::state::{Machine, Warp, le};
use crate::module::{Imm, Instr, Operand};
use crate::ty::Type;

/// Offset and width of a field.
fn field(name: &str, index: u32) -> (u64, u32) {
    let k = u64::from(index);
    match name {
        "global_address" => (0, 8),
        "rank" => (8, 1),
        "elemtype" => (9, 1),
        "interleave_layout" => (10, 1),
        "swizzle_mode" => (11, 1),
        "fill_mode" => (12, 1),
        "box_dim" => (16 + 4 * k, 4),
        "global_dim" => (36 + 4 * k, 4),
        "global_stride" => (56 + 8 * k, 8),
        _ => (88 + 4 * k, 4),
    }
}

/// tensormap.replace and tensormap.cp_fenceproxy.
pub(crate) fn map_op(d: &mut Dec<'_>, i: &Instr) -> D<(Op, Meet, Class)> {
    if i.has("cp_fenceproxy") {
        let (dst, src) = (d.addr(&i.args[0])?, d.addr(&i.args[1])?);
        let run = move |m: &mut Machine<'_>, mask: u32| {
            m.need_addr(dst, mask)?;
            m.need_addr(src, mask)?;
            // All lanes name the same map; one copies.
            let l = mask.trailing_zeros() as usize;
            let mut b = [0u8; 128];
            for k in 0..8usize {
                let p = Place::Shared((m.address(src, l) & 0xffff_ffff) + 16 * k as u64);
                m.load(l, p, 16, Default::default(), &mut b[16 * k..16 * k + 16])?;
            }
            for k in 0..8usize {
                let p = Place::Global(m.address(dst, l) + 16 * k as u64);
                m.store(l, p, 16, Default::default(), &b[16 * k..16 * k + 16])?;
            }
            m.map_written(m.address(dst, l));
            Ok(())
        };
        return Ok((Op::Exec(Box::new(run)), Meet::Aligned, Class::AsyncCopy));
    }
    let (sp, addr) = operand(d, i, &i.args[0])?;
    let name = i.slot("F").unwrap_or("rank");
    let (index, value) = if i.args.len() == 3 {
        let Operand::Imm(Imm::Int(k)) = i.args[1] else {
            return refuse("tensormap.replace with an index in a register");
        };
        (k as u32, &i.args[2])
    } else {
        (0, &i.args[1])
    };
    let (off, width) = field(name, index);
    let v = d.src(value, i.slot_type("T").unwrap_or(Type::B32))?;
    let run = move |m: &mut Machine<'_>, mask: u32| {
        m.need_addr(addr, mask)?;
        let x = *m.need(v, mask)?;
        for l in Warp::lanes(mask) {
            let map = super::access::place(sp, m.address(addr, l));
            if let Place::Global(a) = map {
                m.map_written(a);
            }
            let p = super::access::place(sp, m.address(addr, l).wrapping_add(off));
            m.store(
                l,
                p,
                1,
                Default::default(),
                &x[l].to_le_bytes()[..width as usize],
            )?;
        }
        Ok(())
    };
    Ok((Op::Exec(Box::new(run)), Meet::None, Class::AsyncCopy))
}

impl Machine<'_> {
    /// A tensor map in global memory was written.
    fn map_written(&self, at: u64) {
        if let Some(g) = self.g.races.as_ref() {
            g.map_version(at, 1);
        }
    }

    /// An acquire fence of the tensor map proxy on the map at an address.
    pub(crate) fn map_acquired(&mut self, at: u64) {
        if let (Some(g), Some(r)) = (self.g.races.as_ref(), self.c.race.as_mut()) {
            r.maps.insert(at, g.map_version(at, 0));
        }
    }

    fn map_used(&self, at: u64) -> Exe {
        if let (Some(g), Some(r)) = (self.g.races.as_ref(), self.c.race.as_ref()) {
            let now = g.map_version(at, 0);
            if now != r.maps.get(&at).copied().unwrap_or(0) {
                return Err(FaultKind::TensormapFence { addr: at });
            }
        }
        Ok(())
    }
}

/// Swizzles a shared address: bits 4 and up take the exclusive or with bits 7 and up.
pub(crate) fn swizzle(a: u64, bits: u32) -> u64 {
    a ^ ((a >> 7 & ((1 << bits) - 1)) << 4)
}

struct Map {
    base: u64,
    rank: usize,
    elem: u32,
    /// The type that reductions use.
    ty: Option<Type>,
    swizzle: u32,
    nan: Option<[u8; 8]>,
    boxes: [u32; 5],
    dims: [u32; 5],
    strides: [u64; 5],
}

fn read_map(m: &mut Machine<'_>, at: u64) -> Result<Map, FaultKind> {
    let mut b = [0u8; 128];
    m.peek(
        super::access::place(super::decode::MemSpace::Generic, at),
        &mut b,
    )?;
    let u = |k: usize| le(&b[k..k + 4]) as u32;
    let rank = b[8] as usize + 1;
    let elem = match b[9] {
        0 => 1,
        1 | 6 | 10 => 2,
        2 | 3 | 7 | 8 | 11 | 12 => 4,
        4 | 5 | 9 => 8,
        _ => {
            return Err(FaultKind::Unsupported(
                "this element type of a tensor map".into(),
            ));
        }
    };
    if rank > 5 || b[10] != 0 {
        return Err(FaultKind::Unsupported("interleaved tensor maps".into()));
    }
    let swizzle = match b[11] {
        s @ 0..=3 => u32::from(s),
        _ => {
            return Err(FaultKind::Unsupported(
                "this swizzle of a tensor map".into(),
            ));
        }
    };
    let nan = (b[12] != 0).then_some([0xff; 8]);
    let mut map = Map {
        base: le(&b[0..8]),
        rank,
        elem,
        ty: match b[9] {
            2 => Some(Type::U32),
            3 => Some(Type::S32),
            4 => Some(Type::U64),
            5 => Some(Type::S64),
            6 => Some(Type::F16),
            7 | 8 => Some(Type::F32),
            9 => Some(Type::F64),
            10 => Some(Type::Bf16),
            _ => None,
        },
        swizzle,
        nan,
        boxes: [1; 5],
        dims: [1; 5],
        strides: [0; 5],
    };
    map.strides[0] = elem.into();
    for k in 0..rank {
        map.boxes[k] = u(16 + 4 * k);
        map.dims[k] = u(36 + 4 * k);
        if u(88 + 4 * k) != 1 {
            return Err(FaultKind::Unsupported(
                "element strides other than 1 in a tensor map".into(),
            ));
        }
        if k > 0 {
            map.strides[k] = le(&b[56 + 8 * (k - 1)..56 + 8 * k]);
        }
    }
    Ok(map)
}

impl Map {
    fn bytes(&self) -> u32 {
        self.boxes.iter().product::<u32>() * self.elem
    }

    /// Shared address and, inside the bounds, global address of every run of bytes that is
    /// contiguous on both sides.
    fn runs(&self, shared: u64, at: &[i64; 5]) -> Vec<(u64, Option<u64>, u32)> {
        let mut out: Vec<(u64, Option<u64>, u32)> = Vec::new();
        let total = self.boxes.iter().map(|b| u64::from(*b)).product::<u64>();
        let mut idx = [0u32; 5];
        for n in 0..total {
            let s = swizzle(shared + n * u64::from(self.elem), self.swizzle);
            let mut inside = true;
            let mut g = self.base;
            for k in 0..self.rank {
                let c = at[k] + i64::from(idx[k]);
                inside &= c >= 0 && c < i64::from(self.dims[k]);
                g = g.wrapping_add((c as u64).wrapping_mul(self.strides[k]));
            }
            let g = inside.then_some(g);
            match out.last_mut() {
                Some((ls, lg, len))
                    if *ls + u64::from(*len) == s
                        && !s.is_multiple_of(16)
                        && lg.map(|x| x + u64::from(*len)) == g
                        && lg.is_some() == inside =>
                {
                    *len += self.elem;
                }
                _ => out.push((s, g, self.elem)),
            }
            for k in 0..5 {
                idx[k] += 1;
                if idx[k] < self.boxes[k] {
                    break;
                }
                idx[k] = 0;
            }
        }
        out
    }
}

/// cp.async.bulk.tensor and cp.reduce.async.bulk.tensor.
pub(crate) fn copy(d: &mut Dec<'_>, i: &Instr) -> D<(Op, Meet, Class)> {
    if i.slot("M").is_some_and(|m| m != "tile") {
        return refuse("im2col tensor copies");
    }
    let store = i.slot("DS") == Some("global");
    let (shared, map): (Addr, _) = if store {
        (d.addr(&i.args[1])?, tensor_operand(d, &i.args[0])?)
    } else {
        (d.addr(&i.args[0])?, tensor_operand(d, &i.args[1])?)
    };
    let mbar = if store {
        None
    } else {
        Some(d.addr(&i.args[2])?)
    };
    let op = i.slot("O");
    let (mb, off, coords) = map;
    let run = move |m: &mut Machine<'_>, mask: u32| {
        m.need_addr(shared, mask)?;
        if let Some(b) = mbar {
            m.need_addr(b, mask)?;
        }
        for c in coords
            .iter()
            .chain(if mb == NONE { None } else { Some(&mb) })
        {
            m.need(*c, mask)?;
        }
        for l in Warp::lanes(mask) {
            m.lane = l;
            let at = m.address(
                Addr {
                    base: mb,
                    off,
                    space: None,
                },
                l,
            );
            m.map_used(at)?;
            let map = read_map(m, at)?;
            if map.rank != coords.len() {
                return Err(FaultKind::Operand(
                    "coordinates and the tensor map's rank differ",
                ));
            }
            let mut c = [0i64; 5];
            for (k, s) in coords.iter().enumerate() {
                c[k] = i64::from(m.r(*s)[l] as i32);
            }
            let sa = m.address(shared, l) & 0xffff_ffff;
            if !sa.is_multiple_of(128) {
                return Err(FaultKind::Misaligned {
                    space: "shared",
                    addr: sa,
                    align: 128,
                });
            }
            let runs = map.runs(sa, &c);
            let reduce = match op {
                None => None,
                Some(o) => {
                    let Some(ty) = map.ty else {
                        return Err(FaultKind::Unsupported(
                            "reductions on this element type of a tensor map".into(),
                        ));
                    };
                    Some((combine(o, ty)?, ty))
                }
            };
            let pieces: Vec<Piece> = runs
                .into_iter()
                .filter(|r| !store || r.1.is_some())
                .map(|(s, g, len)| {
                    let g = g.map(Place::Global);
                    let fill = map.nan.unwrap_or([0; 8]);
                    match (store, g) {
                        (true, Some(g)) => Piece {
                            dst: g,
                            src: Some(Place::Shared(s)),
                            fill,
                            len,
                        },
                        (_, g) => Piece {
                            dst: Place::Shared(s),
                            src: g,
                            fill,
                            len,
                        },
                    }
                })
                .collect();
            let mbar = mbar.map(|b| (m.address(b, l) & 0xffff_ffff, map.bytes()));
            m.issue(
                l,
                Action {
                    pieces,
                    reduce,
                    literal: None,
                    mbar,
                },
                store,
            )?;
        }
        Ok(())
    };
    Ok((Op::Exec(Box::new(run)), Meet::None, Class::AsyncCopy))
}
