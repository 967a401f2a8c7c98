// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which family decodes which opcode. In: an instruction. Out: its operation, the lanes it
//! must find together, its class.

use super::code::*;
use super::decode::{D, Dec, refuse};
use super::{
    alu, atom, compare, convert, cp_async, ctl, half_ops, ldst, logic, math, mbarrier, mma,
    warp_ops, wgmma,
};
use crate::module::*;
use crate::ty::{Class as TyClass, Type};

impl Dec<'_> {
    pub(super) fn op(&mut self, i: &Instr) -> D<(Op, Meet, Class)> {
        let pure = |op: Op, c: Class| (op, Meet::None, c);
        Ok(match i.opcode() {
            "add" | "sub" | "mul" | "mad" | "fma" | "div" | "rem" | "abs" | "neg" | "min"
            | "max" | "addc" | "subc" | "madc" | "mul24" | "mad24" | "sad" | "popc" | "clz"
            | "bfind" | "fns" | "brev" | "bfe" | "bfi" | "szext" | "bmsk" | "dp4a" | "dp2a"
            | "vadd4" | "vsub4" | "vavrg4" | "vabsdiff4" | "vmin4" | "vmax4" => {
                match i.slot_type("T").unwrap_or(Type::B32) {
                    Type::F32 | Type::F64 | Type::F32x2 => {
                        pure(math::arith(self, i)?, Class::Float)
                    }
                    Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => {
                        let width = i.slot_type("T").map_or(4, Type::bytes) as usize;
                        let part = Part::Each { unit: 2, width };
                        pure(half_ops::arith(self, i)?.parted(part), Class::Half)
                    }
                    _ => pure(alu::int(self, i)?, Class::Integer),
                }
            }
            "and" | "or" | "xor" | "not" | "cnot" | "lop3" | "shf" | "shl" | "shr" | "prmt" => {
                pure(logic::logic(self, i)?, Class::Integer)
            }
            "set" | "setp" | "selp" | "slct" | "testp" => {
                pure(compare::compare(self, i)?, Class::Compare)
            }
            "copysign" | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" => {
                pure(math::func(self, i)?, Class::Math)
            }
            "mov" => convert::mov(self, i)?,
            "cvt" => {
                let op = convert::cvt(self, i)?;
                let integer = |t: Option<Type>| {
                    t.filter(|t| matches!(t.class(), TyClass::Signed | TyClass::Unsigned))
                };
                let part = match (integer(i.slot_type("D")), integer(i.slot_type("T"))) {
                    // The destination register may be wider than its type.
                    (Some(d), Some(s)) if !i.has("sat") => Part::Cvt {
                        from: s.bytes().min(d.bytes()) as usize,
                        to: 8,
                        signed: d.class() == TyClass::Signed || s.class() == TyClass::Signed,
                    },
                    _ => Part::Whole,
                };
                pure(op.parted(part), Class::Convert)
            }
            "cvta" | "isspacep" | "mapa" | "getctarank" | "createpolicy" => {
                pure(convert::address(self, i)?, Class::Move)
            }
            "ld" | "ldu" | "st" | "prefetch" | "prefetchu" | "applypriority" | "discard" => {
                ldst::decode(self, i)?
            }
            "atom" | "red" => atom::decode(self, i)?,
            "cp" | "tensormap" => cp_async::decode(self, i)?,
            "mbarrier" => mbarrier::decode(self, i)?,
            "fence" | "membar" | "griddepcontrol" => ctl::fence(self, i)?,
            "bar" | "barrier" => ctl::barrier(self, i)?,
            "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "brkpt" | "nop" | "pmevent"
            | "nanosleep" | "setmaxnreg" => (
                ctl::flow(self, i)?,
                if i.opcode() == "setmaxnreg" {
                    Meet::Aligned
                } else {
                    Meet::None
                },
                Class::Control,
            ),
            "activemask" | "elect" | "shfl" | "vote" | "match" | "redux" | "movmatrix"
            | "ldmatrix" | "stmatrix" => warp_ops::decode(self, i)?,
            "mma" => (mma::decode(self, i)?, Meet::Aligned, Class::Matrix),
            "wgmma" => wgmma::decode(self, i)?,
            other => return refuse(format!("opcode `{other}`")),
        })
    }
}
