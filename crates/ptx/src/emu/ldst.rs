// SPDX-License-Identifier: Apache-2.0 OR MIT
//! ld, ldu, st and their hints. In: form and operands. Out: accesses of each lane.
//! Source: PTX ISA manual, 9.7.9.8 to 9.7.9.15.

use super::access::{Order, place};
use super::alu::{sx, zx};
use super::code::*;
use super::convert::pair128;
use super::decode::{Addr, D, Dec, MemSpace, refuse};
use super::state::{Machine, Warp, le};
use crate::module::{Instr, Operand};
use crate::ty::{Class as TyClass, Type};

/// The space that a modifier names.
pub(crate) fn space_of(m: Option<&str>) -> MemSpace {
    match m {
        Some("global" | "const") => MemSpace::Global,
        Some("local") => MemSpace::Local,
        Some("param" | "param::entry" | "param::func") => MemSpace::ParamEntry,
        Some(_) => MemSpace::Shared,
        None => MemSpace::Generic,
    }
}

/// The memory order that modifiers ask for.
pub(crate) fn order_of(i: &Instr) -> Order {
    let s = i.slot("S");
    Order {
        strong: matches!(
            s,
            Some("relaxed" | "acquire" | "release" | "acq_rel" | "volatile" | "mmio")
        ),
        acquire: matches!(s, Some("acquire" | "acq_rel")),
        release: matches!(s, Some("release" | "acq_rel")),
        cta: i.slot("SC") == Some("cta"),
    }
}

/// Space and address of a memory operand; a parameter of a function is local memory.
pub(crate) fn operand(d: &mut Dec<'_>, i: &Instr, o: &Operand) -> D<(MemSpace, Addr)> {
    let a = d.addr(o)?;
    let mut sp = space_of(i.slot("SP"));
    if sp == MemSpace::ParamEntry && a.space == Some(MemSpace::Local) {
        sp = MemSpace::Local;
    }
    if sp == MemSpace::Generic
        && let Some(s) = a.space
    {
        sp = s;
    }
    Ok((sp, a))
}

struct Access {
    space: MemSpace,
    addr: Addr,
    regs: Vec<Slot>,
    /// Bytes of one element.
    elem: u32,
    order: Order,
    /// Sign bits of a load into a wider register: from, to.
    extend: Option<(u32, u32)>,
    write: bool,
}

pub(crate) fn decode(d: &mut Dec<'_>, i: &Instr) -> D<(Op, Meet, Class)> {
    match i.opcode() {
        "ld" | "ldu" | "st" => {}
        _ => return Ok((Op::Nop, Meet::None, Class::OtherMemory)),
    }
    if i.has("async") {
        return super::bulk::st_async(d, i);
    }
    let write = i.opcode() == "st";
    let (a, v) = if write {
        (&i.args[0], &i.args[1])
    } else {
        (&i.args[1], &i.args[0])
    };
    let (space, addr) = operand(d, i, a)?;
    let ty = i.slot_type("T").unwrap_or(Type::B32);
    let n: usize = match i.slot("V") {
        Some("v2") => 2,
        Some("v4") => 4,
        Some("v8") => 8,
        _ => 1,
    };
    let mut elem = ty.bytes();
    let regs = if ty == Type::B128 {
        elem = 8;
        let mut r = Vec::new();
        for e in d.elements(v) {
            r.extend(pair128(d, &e, !write)?);
        }
        r
    } else if write {
        d.srcs(v, ty)?
    } else {
        d.dsts(v)?
    };
    if regs.len() != n * if ty == Type::B128 { 2 } else { 1 } {
        return refuse(format!("{} registers for {n} elements", regs.len()));
    }
    let mut extend = None;
    if !write && ty.class() == TyClass::Signed {
        let first = d.elements(v).first().cloned();
        if let Some(w) = first.and_then(|o| d.width(&o))
            && w > ty.bits()
        {
            extend = Some((ty.bits(), w));
        }
    }
    let order = order_of(i);
    if order.strong && matches!(space, MemSpace::Global | MemSpace::Generic) {
        d.code.cross_block = true;
    }
    let class = match (space, write) {
        (MemSpace::Shared, false) => Class::LoadShared,
        (MemSpace::Shared, true) => Class::StoreShared,
        (MemSpace::Global | MemSpace::Generic, false) => Class::LoadGlobal,
        (MemSpace::Global | MemSpace::Generic, true) => Class::StoreGlobal,
        (MemSpace::Local | MemSpace::ParamEntry, _) => Class::OtherMemory,
    };
    Ok((
        Op::Exec(Box::new(Access {
            space,
            addr,
            regs,
            elem,
            order,
            extend,
            write,
        })),
        Meet::None,
        class,
    ))
}

impl Exec for Access {
    fn run(&self, m: &mut Machine<'_>, mask: u32) -> Exe {
        m.need_addr(self.addr, mask)?;
        let total = self.elem * self.regs.len() as u32;
        if m.g.count && !matches!(self.space, MemSpace::Local | MemSpace::ParamEntry) {
            let places: Vec<_> = Warp::lanes(mask)
                .map(|l| place(self.space, m.address(self.addr, l)))
                .collect();
            m.count_access(&places, total, self.write);
        }
        let e = self.elem as usize;
        let mut buf = [0u8; 64];
        let buf = &mut buf[..total as usize];
        if self.write {
            for r in &self.regs {
                m.need_low(*r, e, mask)?;
            }
            for l in Warp::lanes(mask) {
                for (k, r) in self.regs.iter().enumerate() {
                    buf[k * e..(k + 1) * e].copy_from_slice(&m.r(*r)[l].to_le_bytes()[..e]);
                }
                let p = place(self.space, m.address(self.addr, l));
                m.store(l, p, total, self.order, buf)?;
            }
            return Ok(());
        }
        for l in Warp::lanes(mask) {
            let p = place(self.space, m.address(self.addr, l));
            m.load(l, p, total, self.order, buf)?;
            for (k, r) in self.regs.iter().enumerate() {
                let mut v = le(&buf[k * e..(k + 1) * e]);
                if let Some((from, to)) = self.extend {
                    v = zx(sx(v, from) as u64, to);
                }
                m.set1(*r, l, v);
            }
        }
        Ok(())
    }
}
