// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rules 1, 2, 4, 5 and 8: one instruction against its form. In: an instruction and what the
//! names in scope are. Out: broken rules.

use super::constraints::{combinations, dims, features, ranges};
use super::{Bad, Kind, Verifier, VerifyErrorKind};
use crate::isa::{self, What, form, is_special};
use crate::module::*;
use crate::ty::{Class, Space, Type};

/// What an operand must be, as the form and the modifiers together say.
#[derive(Clone, Copy)]
struct Want {
    /// From 1, for messages.
    index: usize,
    dst: bool,
    pair: bool,
    relaxed: bool,
    what: What,
    ty: Option<Type>,
}

fn shape(bad: &mut Bad, index: usize, want: &'static str) {
    bad.push(VerifyErrorKind::Shape { index, want });
}

impl Verifier {
    pub(super) fn instr(&mut self, i: &Instr) {
        let f = form(i.form);
        let mut bad: Bad = Vec::new();
        let (version, arch, specific) = features(i);
        let (version, arch) = (version.max(f.version), arch.max(f.arch));
        if self.version < version {
            bad.push(VerifyErrorKind::Version { need: version });
        }
        let other = f.specific && !(self.specific && self.arch == f.arch);
        if self.arch < arch || other || (specific && !self.specific) {
            bad.push(VerifyErrorKind::Target {
                arch,
                specific: specific || f.specific,
            });
        }
        if let Some(g) = &i.guard {
            let guard = Want {
                index: 0,
                dst: false,
                pair: false,
                relaxed: false,
                what: What::Pred,
                ty: Some(Type::Pred),
            };
            self.named(i, &g.pred, guard, &mut bad);
        }
        if i.opcode() == "call" {
            self.call(i, &mut bad);
        } else {
            let mut least = f.operands.iter().filter(|s| !s.optional).count();
            let mut most = f.operands.len();
            // A cache policy comes last, just where the modifier asks for it.
            let policy = f.slots.iter().any(|s| s.name == "L2::cache_hint");
            if policy && i.has("L2::cache_hint") {
                least += 1;
            } else if policy {
                most -= 1;
            }
            if i.args.len() < least || i.args.len() > most {
                bad.push(VerifyErrorKind::Count {
                    found: i.args.len(),
                    least,
                    most,
                });
            }
            self.operands(i, f, &mut bad);
            if bad.is_empty() {
                ranges(i, &mut bad);
                combinations(i, self.version, self.arch, &mut bad);
            }
        }
        for k in bad {
            self.report(i.pos.0, i.to_string(), k);
        }
    }

    fn operands(&self, i: &Instr, f: &isa::Form, bad: &mut Bad) {
        let slots = f.captures(&i.mods).unwrap_or_default();
        let slot = |n: &str| slots.iter().find(|(k, _)| *k == n).map(|(_, m)| *m);
        let typed = |n: &str| slot(n).and_then(Type::from_name);
        for (k, (a, s)) in i.args.iter().zip(&f.operands).enumerate() {
            let ty = match s.what {
                What::Type(t) => Some(t),
                What::SlotType(n) => typed(n),
                What::Double(n) => typed(n).and_then(double),
                What::Pred => Some(Type::Pred),
                // A descriptor, where it is no fragment.
                What::Any if i.opcode() == "wgmma" => Some(Type::B64),
                What::Any if i.opcode() == "cvta" => typed("T"),
                What::Any if i.has("replace") && k + 1 == i.args.len() => typed("T"),
                What::Address | What::Const | What::Label | What::Any => None,
            };
            let w = Want {
                index: k + 1,
                dst: s.dst,
                pair: s.pair,
                relaxed: s.relaxed,
                what: s.what,
                ty,
            };
            let matrix = fragment(i, k);
            match (matrix, s.vector) {
                (Some(_), _) if !matches!(a, Operand::Vector(_)) => {
                    shape(bad, k + 1, "a vector in braces");
                }
                (Some((n, ty)), _) => self.vector(i, a, n, Want { ty: Some(ty), ..w }, bad),
                (None, Some(v)) => {
                    let n = slot(v)
                        .and_then(|v| v.strip_prefix('v')?.parse().ok())
                        .unwrap_or(1);
                    self.vector(i, a, n, w, bad);
                }
                (None, None) if i.opcode() == "mov" && s.what == What::Any => {}
                (None, None) => match a {
                    Operand::Vector(v) if v.len() > 1 && s.what != What::Any => {
                        shape(bad, k + 1, "a single value");
                    }
                    _ => self.operand(i, a, w, bad),
                },
            }
        }
        if i.opcode() == "mov"
            && let ([d, s], Some(ty)) = (i.args.as_slice(), typed("T"))
            && ty != Type::Pred
        {
            self.mov(i, d, s, ty, bad);
        }
    }

    /// `mov`: between registers, or between a register and its parts.
    fn mov(&self, i: &Instr, d: &Operand, s: &Operand, ty: Type, bad: &mut Bad) {
        let is_vector = |o: &Operand| matches!(o, Operand::Vector(v) if v.len() > 1);
        if is_vector(d) && is_vector(s) {
            shape(bad, 2, "a single value");
            return;
        }
        if (is_vector(d) || is_vector(s)) && ty.class() != Class::Bits {
            shape(bad, if is_vector(d) { 1 } else { 2 }, "a single value");
            return;
        }
        for (k, o) in [d, s].into_iter().enumerate() {
            let w = Want {
                index: k + 1,
                dst: k == 0,
                pair: false,
                relaxed: false,
                what: What::Any,
                ty: Some(ty),
            };
            match o {
                Operand::Vector(v) if v.len() > 1 => {
                    let part = match ty.bits() / v.len() as u32 {
                        16 => Type::B16,
                        32 => Type::B32,
                        64 => Type::B64,
                        _ => Type::B8,
                    };
                    if !matches!(v.len(), 2 | 4) || part == Type::B8 && ty.bits() != 32 {
                        shape(bad, k + 1, "a vector of 2 or 4 parts");
                    }
                    for x in v {
                        self.operand(
                            i,
                            x,
                            Want {
                                ty: Some(part),
                                ..w
                            },
                            bad,
                        );
                    }
                }
                _ => self.operand(i, o, w, bad),
            }
        }
    }

    /// An operand of so many elements.
    fn vector(&self, i: &Instr, a: &Operand, n: usize, w: Want, bad: &mut Bad) {
        match a {
            Operand::Vector(v) if v.len() == n => {
                for x in v {
                    self.operand(i, x, w, bad);
                }
                let widths = v.iter().filter_map(|x| match x {
                    Operand::Name(n) => match self.find(n) {
                        Some(Kind::Reg(t)) => Some(t.bits()),
                        _ => None,
                    },
                    _ => None,
                });
                if widths.clone().min() != widths.max() {
                    shape(bad, w.index, "a vector of equally wide elements");
                }
            }
            Operand::Name(x) if n > 1 && matches!(self.find(x), Some(Kind::Vector(_))) => {}
            Operand::Sink => {}
            _ if n == 1 && !matches!(a, Operand::Vector(_)) => self.operand(i, a, w, bad),
            _ => shape(bad, w.index, "a vector of as many elements as the form has"),
        }
    }

    fn operand(&self, i: &Instr, a: &Operand, w: Want, bad: &mut Bad) {
        match w.what {
            What::Address => return self.address(i, a, w.index, bad),
            What::Const if !matches!(a, Operand::Imm(Imm::Int(_))) => {
                return shape(bad, w.index, "an integer constant");
            }
            What::Label => return self.label(i, a, w.index, bad),
            What::Const
            | What::Any
            | What::Type(_)
            | What::SlotType(_)
            | What::Double(_)
            | What::Pred => {}
        }
        match a {
            Operand::Name(n) => self.named(i, n, w, bad),
            Operand::Offset(n, _) => {
                self.named(i, n, Want { ty: None, ..w }, bad);
            }
            Operand::Not(n) => {
                self.named(
                    i,
                    n,
                    Want {
                        ty: Some(Type::Pred),
                        ..w
                    },
                    bad,
                );
            }
            Operand::Vector(v) => {
                for x in v {
                    self.operand(i, x, w, bad);
                }
            }
            Operand::Pair(p, q) => {
                if !w.pair {
                    shape(bad, w.index, "a single value");
                }
                self.operand(i, p, w, bad);
                if let Operand::Name(n) = &**q {
                    self.named(
                        i,
                        n,
                        Want {
                            ty: Some(Type::Pred),
                            ..w
                        },
                        bad,
                    );
                }
            }
            Operand::Imm(x) => {
                if w.dst {
                    shape(bad, w.index, "a register");
                } else if let Some(ty) = w.ty
                    && !constant(*x, ty)
                {
                    bad.push(VerifyErrorKind::Constant {
                        index: w.index,
                        want: ty,
                    });
                }
            }
            Operand::Sink => {}
            Operand::Address(_) => {
                if w.what != What::Any || i.opcode() == "mov" {
                    shape(bad, w.index, "a value");
                }
            }
            Operand::List(_) => shape(bad, w.index, "no list"),
        }
    }

    fn label(&self, i: &Instr, a: &Operand, k: usize, bad: &mut Bad) {
        let Operand::Name(n) = a else {
            return shape(bad, k, "a label");
        };
        match self.find(n) {
            None => bad.push(VerifyErrorKind::Undeclared(n.to_string())),
            Some(Kind::Label) if i.opcode() == "bra" => {}
            Some(Kind::Other) if i.opcode() == "brx" => {}
            Some(_) => shape(bad, k, "a label"),
        }
    }

    fn address(&self, i: &Instr, a: &Operand, k: usize, bad: &mut Bad) {
        let Operand::Address(x) = a else {
            return shape(bad, k, "an address in brackets");
        };
        for p in &x.parts {
            let w = Want {
                index: k,
                dst: false,
                pair: false,
                relaxed: false,
                what: What::Any,
                ty: None,
            };
            self.operand(i, p, w, bad);
        }
        let Some(n) = &x.base else { return };
        match self.find(n) {
            None => bad.push(VerifyErrorKind::Undeclared(n.to_string())),
            Some(Kind::Var(declared)) => {
                let used = i
                    .slot("SP")
                    .or_else(|| i.mods.contains(&"shared").then_some("shared"));
                if let Some(u) = used
                    && matches!(
                        i.opcode(),
                        "ld" | "st" | "atom" | "red" | "ldmatrix" | "stmatrix" | "mbarrier"
                    )
                    && (!same_space(declared, u)
                        || (i.opcode() == "st" && declared == Space::ParamEntry))
                {
                    bad.push(VerifyErrorKind::Space {
                        name: n.to_string(),
                        declared,
                        used: u,
                    });
                }
            }
            Some(Kind::Reg(t)) => {
                if t.class() == Class::Float || t.bits() < 32 {
                    bad.push(VerifyErrorKind::Type {
                        index: k,
                        found: t,
                        want: Type::B64,
                    });
                }
            }
            Some(
                Kind::Family(..) | Kind::Vector(_) | Kind::Label | Kind::Function | Kind::Other,
            ) => shape(bad, k, "an address"),
        }
    }

    fn named(&self, i: &Instr, n: &Name, w: Want, bad: &mut Bad) {
        match self.find(n) {
            None if is_special(n) => {
                if w.dst || !matches!(i.opcode(), "mov" | "cvt") {
                    shape(bad, w.index, "a register; `mov` reads special ones");
                }
            }
            None => bad.push(VerifyErrorKind::Undeclared(n.to_string())),
            Some(Kind::Reg(t)) => {
                if let Some(want) = w.ty
                    && !compatible(t, want, w.relaxed)
                {
                    bad.push(VerifyErrorKind::Type {
                        index: w.index,
                        found: t,
                        want,
                    });
                }
            }
            Some(Kind::Var(_) | Kind::Function) => {
                let takes = matches!(
                    i.opcode(),
                    "mov" | "cvta" | "mapa" | "isspacep" | "getctarank"
                );
                if w.dst || !takes {
                    shape(bad, w.index, "a register");
                }
            }
            Some(Kind::Family(..) | Kind::Vector(_) | Kind::Label | Kind::Other) => {
                shape(bad, w.index, "a register");
            }
        }
    }
}

/// Elements and element type of a matrix operand; `None` for other operands.
/// Source: PTX ISA manual, 9.7.15 and 9.7.16: 32 lanes (128 for wgmma) share the elements.
fn fragment(i: &Instr, k: usize) -> Option<(usize, Type)> {
    let number = |n: &str| match n {
        "x1" => Some(1),
        "x2" => Some(2),
        "x4" => Some(4),
        _ => None,
    };
    match (i.opcode(), k) {
        ("ldmatrix", 0) | ("stmatrix", 1) => Some((i.slot("N").and_then(number)?, Type::B32)),
        ("wgmma", 1) if matches!(i.args.get(1), Some(Operand::Vector(_))) => Some((4, Type::B32)),
        ("mma", 0..=3) => {
            let (m, n, depth) = dims(i.slot("S")?)?;
            let ty = |s| i.slot_type(s).unwrap_or(Type::F16);
            let volta = (m, n, depth) == (8, 8, 4) && i.slot("A").is_none();
            let (t, elements) = match k {
                0 => (ty("D"), m * n),
                1 => (ty("A"), m * depth),
                2 => (ty("B"), depth * n),
                _ => (ty("C"), m * n),
            };
            // Volta's shape multiplies four pairs of matrices at once.
            let elements = if volta { 4 * elements } else { elements };
            let one = match t {
                Type::F64 | Type::F32 | Type::S32 => t,
                _ => Type::U32,
            };
            let packed = elements * t.bits() as usize / 32 / one.bits() as usize;
            Some((packed, one))
        }
        ("wgmma", 0) if i.has("mma_async") => {
            let (m, n, _) = dims(i.slot("S")?)?;
            let t = i.slot_type("D")?;
            let one = if t == Type::F16 { Type::U32 } else { t };
            Some((m * n * t.bits() as usize / 128 / 32, one))
        }
        _ => None,
    }
}

/// The type of twice the width.
fn double(t: Type) -> Option<Type> {
    Some(match t {
        Type::U16 => Type::U32,
        Type::S16 => Type::S32,
        Type::U32 => Type::U64,
        Type::S32 => Type::S64,
        _ => return None,
    })
}

fn same_space(declared: Space, used: &str) -> bool {
    let family = |s: &str| match s.split("::").next() {
        Some("const") => 0,
        Some("global") => 1,
        Some("local") => 2,
        Some("param") => 3,
        _ => 4,
    };
    family(declared.name()) == family(used)
}

/// Rule 4 for registers.
fn compatible(reg: Type, want: Type, relaxed: bool) -> bool {
    if (reg == Type::Pred) != (want == Type::Pred) {
        return false;
    }
    let (a, b) = (reg.class(), want.class());
    let class = match (a, b) {
        (Class::Bits, _) | (_, Class::Bits) => true,
        // A floating point register holds its own type only.
        (Class::Float, Class::Float) => reg == want,
        (Class::Float, _) | (_, Class::Float) => false,
        (Class::Pred | Class::Unsigned | Class::Signed, _) => true,
    };
    class
        && if relaxed {
            reg.bits() >= want.bits()
        } else {
            reg.bits() == want.bits()
        }
}

/// Rule 4 for constants: a number with a fraction or an exponent where floating point is
/// asked for, an integer where not; hexadecimal bits of an f32 or f64 are bits as well.
fn constant(i: Imm, want: Type) -> bool {
    match (i, want) {
        (Imm::Int(_), Type::F32 | Type::F64 | Type::F16 | Type::Bf16) => false,
        (Imm::Int(_), _) => true,
        (Imm::F32(_) | Imm::F64(_), Type::F32 | Type::F64) => true,
        (Imm::F32(_), t) => t.bits() == 32 && t.class() == Class::Bits,
        (Imm::F64(_), t) => t.bits() == 64 && t.class() == Class::Bits,
    }
}
