// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Operands as slots: the decoder's part that instruction families call.
//! In: operands of the tree. Out: slots, constants placed in slots, addresses.

use super::code::*;
use super::decode::{Addr, D, Dec, MemSpace, Sym, refuse};
use super::lower;
use super::state::CODE_WINDOW;
use crate::module::*;
use crate::ty::Type;

impl Dec<'_> {
    /// The address that a symbol has as a value.
    fn symbol_value(&mut self, s: &Sym) -> Option<u64> {
        match s {
            Sym::Shared(a) => Some(u64::from(*a)),
            Sym::Global(a) => Some(*a),
            Sym::Local(o) | Sym::ParamLocal(o, _) | Sym::ParamEntry(o) => Some(u64::from(*o)),
            Sym::Func(k) => {
                self.formals(*k);
                Some(CODE_WINDOW + 16 * *k as u64)
            }
            Sym::Reg(..) | Sym::Vector(_) | Sym::Label(_) | Sym::Targets(_) | Sym::Prototype => {
                None
            }
        }
    }

    /// A number as bits of a type.
    pub(crate) fn imm_bits(i: Imm, ty: Type) -> u64 {
        use super::float::{BF16, F16, Round, encode};
        let mask = if ty.bits() >= 64 {
            u64::MAX
        } else {
            (1 << ty.bits()) - 1
        };
        let float = |x: f64| match ty {
            Type::F64 => x.to_bits(),
            Type::F32 | Type::Tf32 => u64::from((x as f32).to_bits()),
            Type::F16 => encode(x, F16, Round::Near, false),
            Type::Bf16 => encode(x, BF16, Round::Near, false),
            _ => x.to_bits() & mask,
        };
        match (i, ty) {
            (Imm::Int(v), Type::F64 | Type::F32) => float(v as f64),
            (Imm::Int(v), _) => v as u64 & mask,
            (Imm::F32(b), Type::F64) => f64::from(f32::from_bits(b)).to_bits(),
            (Imm::F32(b), _) => u64::from(b) & mask,
            (Imm::F64(b), Type::B64 | Type::U64 | Type::S64) => b,
            (Imm::F64(b), Type::B32 | Type::U32 | Type::S32) => {
                u64::from((f64::from_bits(b) as f32).to_bits())
            }
            (Imm::F64(b), _) => float(f64::from_bits(b)),
        }
    }

    /// A source operand of a type.
    pub(crate) fn src(&mut self, o: &Operand, ty: Type) -> D<Slot> {
        match o {
            Operand::Imm(i) => Ok(self.value(Self::imm_bits(*i, ty))),
            Operand::Name(n) => {
                if let Some(s) = self.lookup(n) {
                    if let Sym::Reg(s, _) = s {
                        return Ok(s);
                    }
                    return match self.symbol_value(&s) {
                        Some(_) if matches!(s, Sym::Shared(u32::MAX)) => {
                            let v = self.slot("");
                            self.code.fixed.push((v, Fixed::Value(lower::DYNAMIC)));
                            Ok(v)
                        }
                        Some(v) => Ok(self.value(v)),
                        None => refuse(format!("`{n}` as a value")),
                    };
                }
                match self.special_named(n) {
                    Some(s) => Ok(s),
                    None => refuse(format!("name `{n}`")),
                }
            }
            Operand::Offset(n, off) => match self.lookup(n) {
                Some(Sym::Shared(u32::MAX)) => {
                    let v = self.slot("");
                    self.code
                        .fixed
                        .push((v, Fixed::Value(lower::DYNAMIC.wrapping_add(*off as u64))));
                    Ok(v)
                }
                Some(s) => match self.symbol_value(&s) {
                    Some(v) => Ok(self.value(v.wrapping_add(*off as u64))),
                    None => refuse(format!("`{n}` with an offset as a value")),
                },
                None => refuse(format!("name `{n}`")),
            },
            Operand::Vector(v) if v.len() == 1 => self.src(&v[0], ty),
            Operand::Vector(_)
            | Operand::Address(_)
            | Operand::Not(_)
            | Operand::Pair(..)
            | Operand::Sink
            | Operand::List(_) => refuse(format!("operand `{o}` here")),
        }
    }

    /// A destination.
    pub(crate) fn dst(&mut self, o: &Operand) -> D<Slot> {
        match o {
            Operand::Sink => Ok(NONE),
            Operand::Name(n) => match self.lookup(n) {
                Some(Sym::Reg(s, _)) => Ok(s),
                Some(_) | None => refuse(format!("destination `{n}`")),
            },
            Operand::Vector(v) if v.len() == 1 => self.dst(&v[0]),
            Operand::Imm(_)
            | Operand::Offset(..)
            | Operand::Vector(_)
            | Operand::Address(_)
            | Operand::Not(_)
            | Operand::Pair(..)
            | Operand::List(_) => refuse(format!("destination `{o}`")),
        }
    }

    /// A destination with an optional predicate behind `|`.
    pub(crate) fn dst_pair(&mut self, o: &Operand) -> D<(Slot, Slot)> {
        match o {
            Operand::Pair(a, b) => Ok((self.dst(a)?, self.dst(b)?)),
            _ => Ok((self.dst(o)?, NONE)),
        }
    }

    /// A predicate source: slot and whether it is negated.
    pub(crate) fn pred(&mut self, o: &Operand) -> D<(Slot, bool)> {
        match o {
            Operand::Not(n) => Ok((self.src(&Operand::Name(n.clone()), Type::Pred)?, true)),
            _ => Ok((self.src(o, Type::Pred)?, false)),
        }
    }

    /// The elements of a vector operand, or the one register.
    pub(crate) fn elements(&mut self, o: &Operand) -> Vec<Operand> {
        match o {
            Operand::Vector(v) => v.clone(),
            Operand::Name(n) => match self.lookup(n) {
                Some(Sym::Vector(c)) => (0..c.len())
                    .map(|k| Operand::Name(format!("{n}.{}", b"xyzw"[k] as char).as_str().into()))
                    .collect(),
                Some(_) | None => vec![o.clone()],
            },
            _ => vec![o.clone()],
        }
    }

    /// Source slots of a vector.
    pub(crate) fn srcs(&mut self, o: &Operand, ty: Type) -> D<Vec<Slot>> {
        self.elements(o).iter().map(|e| self.src(e, ty)).collect()
    }

    /// Destination slots of a vector.
    pub(crate) fn dsts(&mut self, o: &Operand) -> D<Vec<Slot>> {
        self.elements(o).iter().map(|e| self.dst(e)).collect()
    }

    /// The second slot of a 128-bit register.
    pub(crate) fn partner(&mut self, n: &Name) -> Slot {
        let key: Name = format!("{n} upper half").as_str().into();
        if let Some(Sym::Reg(s, _)) = self.globals.get(&key) {
            return *s;
        }
        let s = self.slot(&key);
        self.globals.insert(key, Sym::Reg(s, Type::B64));
        s
    }

    /// The width of a register operand in bits, if it is one.
    pub(crate) fn width(&mut self, o: &Operand) -> Option<u32> {
        match o {
            Operand::Name(n) => match self.lookup(n) {
                Some(Sym::Reg(_, t)) => Some(t.bits()),
                Some(_) | None => None,
            },
            _ => None,
        }
    }

    /// An address operand.
    pub(crate) fn addr(&mut self, o: &Operand) -> D<Addr> {
        let Operand::Address(a) = o else {
            return refuse(format!("address `{o}`"));
        };
        let off = a.offset as u64;
        let Some(n) = &a.base else {
            return Ok(Addr {
                base: NONE,
                off,
                space: None,
            });
        };
        match self.lookup(n) {
            Some(Sym::Reg(s, _)) => Ok(Addr {
                base: s,
                off,
                space: None,
            }),
            Some(Sym::Shared(u32::MAX)) => Ok(Addr {
                base: self.src(&Operand::Name(n.clone()), Type::U64)?,
                off,
                space: Some(MemSpace::Shared),
            }),
            Some(Sym::Shared(x)) => Ok(Addr {
                base: NONE,
                off: off.wrapping_add(x.into()),
                space: Some(MemSpace::Shared),
            }),
            Some(Sym::Global(x)) => Ok(Addr {
                base: NONE,
                off: off.wrapping_add(x),
                space: Some(MemSpace::Global),
            }),
            Some(Sym::Local(x) | Sym::ParamLocal(x, _)) => Ok(Addr {
                base: NONE,
                off: off.wrapping_add(x.into()),
                space: Some(MemSpace::Local),
            }),
            Some(Sym::ParamEntry(x)) => Ok(Addr {
                base: NONE,
                off: off.wrapping_add(x.into()),
                space: Some(MemSpace::ParamEntry),
            }),
            Some(
                Sym::Vector(_) | Sym::Func(_) | Sym::Label(_) | Sym::Targets(_) | Sym::Prototype,
            )
            | None => refuse(format!("address of `{n}`")),
        }
    }
}
