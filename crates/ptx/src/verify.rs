// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rules of the language beyond its grammar. In: a module. Out: every broken rule.
//!
//! 1. An instruction needs no later `.version` and no higher `.target` than the module has;
//!    an architecture-specific one (`sm_90a`) needs just that target.
//! 2. Operands have the number and shape that the form asks for: destinations are
//!    registers, addresses stand in brackets, constants are constants.
//! 3. Every name is declared before its use, or is a label of an enclosing block, a
//!    function, a special register.
//! 4. A register has the width of the operand's type (at least that, for cvt, ld, st) and no
//!    contradictory class: predicates only where predicates are asked for, floating point
//!    types not where integers are asked for and the reverse.
//! 5. A variable is accessed through the state space it is declared in.
//! 6. Alignments are powers of two.
//! 7. A call has as many arguments and results as the function.

use crate::error::Pos;
use crate::isa::{self, What, form, is_special};
use crate::module::*;
use crate::ty::{Class, Space, Type};
use std::collections::HashMap;

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pos}: rule {}: {kind}{}", kind.rule(), if text.is_empty() { String::new() } else { format!(" [`{text}`]") })]
pub struct VerifyError {
    /// Where.
    pub pos: Pos,
    /// The instruction; empty for declarations.
    pub text: String,
    /// Which rule, and how.
    pub kind: VerifyErrorKind,
}

/// The kinds of [`VerifyError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyErrorKind {
    /// Rule 1.
    #[error("needs .version {}.{}", need.0, need.1)]
    Version {
        /// The lowest that has it.
        need: (u32, u32),
    },
    /// Rule 1.
    #[error("needs .target sm_{arch}{}", if *specific { "a" } else { " or higher" })]
    Target {
        /// The lowest that has it.
        arch: u32,
        /// That target and no other.
        specific: bool,
    },
    /// Rule 2.
    #[error("{found} operands where the form has {least} to {most}")]
    Count {
        /// Operands there are.
        found: usize,
        /// Fewest.
        least: usize,
        /// Most.
        most: usize,
    },
    /// Rule 2.
    #[error("operand {index} must be {want}")]
    Shape {
        /// From 1.
        index: usize,
        /// What it must be.
        want: &'static str,
    },
    /// Rule 3.
    #[error("`{0}` is not declared")]
    Undeclared(String),
    /// Rule 3.
    #[error("`{0}` is declared twice")]
    Twice(String),
    /// Rule 4.
    #[error("operand {index} has type .{found} where .{want} is asked for")]
    Type {
        /// From 1.
        index: usize,
        /// The register's type.
        found: Type,
        /// The operand's type.
        want: Type,
    },
    /// Rule 5.
    #[error("`{name}` lies in .{declared}, not in .{used}")]
    Space {
        /// Variable.
        name: String,
        /// Its space.
        declared: Space,
        /// The instruction's.
        used: &'static str,
    },
    /// Rule 6.
    #[error("alignment {0} is no power of two")]
    Alignment(u32),
    /// Rule 7.
    #[error("`{0}` has another number of arguments or results")]
    Call(String),
}

impl VerifyErrorKind {
    /// The number of the rule at the top of this file.
    pub fn rule(&self) -> u8 {
        match self {
            Self::Version { .. } | Self::Target { .. } => 1,
            Self::Count { .. } | Self::Shape { .. } => 2,
            Self::Undeclared(_) | Self::Twice(_) => 3,
            Self::Type { .. } => 4,
            Self::Space { .. } => 5,
            Self::Alignment(_) => 6,
            Self::Call(_) => 7,
        }
    }
}

/// All broken rules, in textual order.
pub fn verify(m: &Module) -> Vec<VerifyError> {
    let arch = m.arch();
    let digits = arch
        .trim_start_matches("sm_")
        .trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let mut v = Verifier {
        version: m.version,
        arch: digits.parse().unwrap_or(0),
        specific: arch.ends_with('a'),
        scopes: vec![HashMap::new()],
        functions: HashMap::new(),
        out: Vec::new(),
    };
    for f in m.functions() {
        v.functions
            .insert(f.name.clone(), (f.returns.len(), f.params.len()));
        v.scopes[0].insert(f.name.clone(), Kind::Function);
    }
    for i in &m.items {
        match i {
            Item::Var(x) => v.var(x),
            Item::Alias(a, _) => {
                v.scopes[0].insert(a.clone(), Kind::Function);
            }
            Item::Function(_)
            | Item::File(_)
            | Item::Section(_)
            | Item::Pragma(_)
            | Item::Loc(_) => {}
        }
    }
    for f in m.functions() {
        v.scopes.push(HashMap::new());
        for p in f.returns.iter().chain(&f.params) {
            match p {
                Param::Var(x) => v.var(x),
                Param::Reg(t, n) => v.declare(f.pos.0, n, Kind::Reg(*t)),
            }
        }
        if let Some(b) = &f.body {
            v.block(b);
        }
        v.scopes.pop();
    }
    v.out
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Reg(Type),
    Family(u32, Type),
    Vector(Type),
    Var(Space),
    Label,
    Function,
    Other,
}

struct Verifier {
    version: (u32, u32),
    arch: u32,
    specific: bool,
    scopes: Vec<HashMap<Name, Kind>>,
    functions: HashMap<Name, (usize, usize)>,
    out: Vec<VerifyError>,
}

impl Verifier {
    fn report(&mut self, pos: Pos, text: String, kind: VerifyErrorKind) {
        self.out.push(VerifyError { pos, text, kind });
    }

    fn declare(&mut self, pos: Pos, n: &Name, k: Kind) {
        if let Some(top) = self.scopes.last_mut()
            && top.insert(n.clone(), k).is_some()
            && &**n != "_"
        {
            self.report(pos, String::new(), VerifyErrorKind::Twice(n.to_string()));
        }
    }

    fn var(&mut self, x: &Var) {
        if let Some(a) = x.align
            && !a.is_power_of_two()
        {
            self.report(x.pos.0, String::new(), VerifyErrorKind::Alignment(a));
        }
        self.declare(x.pos.0, &x.name, Kind::Var(x.space));
    }

    fn find(&self, n: &str) -> Option<Kind> {
        for s in self.scopes.iter().rev() {
            if let Some(k) = s.get(n) {
                return Some(*k);
            }
            let digits = n.bytes().rev().take_while(u8::is_ascii_digit).count();
            for cut in (n.len() - digits)..n.len() {
                let (stem, num) = n.split_at(cut);
                if num.len() > 1 && num.starts_with('0') {
                    continue;
                }
                if let Some(Kind::Family(count, t)) = s.get(format!("{stem}<").as_str())
                    && num.parse::<u32>().is_ok_and(|k| k < *count)
                {
                    return Some(Kind::Reg(*t));
                }
            }
            if let Some((stem, _)) = n.rsplit_once('.')
                && let Some(Kind::Vector(t)) = s.get(stem)
            {
                return Some(Kind::Reg(*t));
            }
        }
        None
    }

    fn block(&mut self, b: &[Stmt]) {
        for s in b {
            match s {
                Stmt::Label(n) => self.declare(Pos::default(), n, Kind::Label),
                Stmt::BranchTargets(n, _) | Stmt::CallTargets(n, _) | Stmt::Prototype(n, ..) => {
                    self.declare(Pos::default(), n, Kind::Other);
                }
                Stmt::Instr(_)
                | Stmt::Var(_)
                | Stmt::Reg(_)
                | Stmt::Block(_)
                | Stmt::Loc(_)
                | Stmt::Pragma(_) => {}
            }
        }
        for s in b {
            match s {
                Stmt::Instr(i) => self.instr(i),
                Stmt::Var(x) => self.var(x),
                Stmt::Reg(r) => {
                    for (n, c) in &r.names {
                        match c {
                            Some(c) => self.declare(
                                Pos::default(),
                                &format!("{n}<").as_str().into(),
                                Kind::Family(*c, r.ty),
                            ),
                            None if r.vector > 1 => {
                                self.declare(Pos::default(), n, Kind::Vector(r.ty))
                            }
                            None => self.declare(Pos::default(), n, Kind::Reg(r.ty)),
                        }
                    }
                }
                Stmt::Block(b) => {
                    self.scopes.push(HashMap::new());
                    self.block(b);
                    self.scopes.pop();
                }
                Stmt::Label(_)
                | Stmt::Loc(_)
                | Stmt::Pragma(_)
                | Stmt::BranchTargets(..)
                | Stmt::CallTargets(..)
                | Stmt::Prototype(..) => {}
            }
        }
    }

    fn instr(&mut self, i: &Instr) {
        let f = form(i.form);
        let mut bad: Vec<VerifyErrorKind> = Vec::new();
        if self.version < f.version {
            bad.push(VerifyErrorKind::Version { need: f.version });
        }
        if self.arch < f.arch || (f.specific && !(self.specific && self.arch == f.arch)) {
            bad.push(VerifyErrorKind::Target {
                arch: f.arch,
                specific: f.specific,
            });
        }
        if let Some(g) = &i.guard {
            self.named(&g.pred, 0, Some(Type::Pred), false, &mut bad);
        }
        if i.opcode() == "call" {
            self.call(i, &mut bad);
        } else {
            let least = f.operands.iter().filter(|s| !s.optional).count();
            if i.args.len() < least || i.args.len() > f.operands.len() {
                bad.push(VerifyErrorKind::Count {
                    found: i.args.len(),
                    least,
                    most: f.operands.len(),
                });
            }
            let slots = f.captures(&i.mods).unwrap_or_default();
            let slot = |n: &str| slots.iter().find(|(k, _)| *k == n).map(|(_, m)| *m);
            for (k, (a, s)) in i.args.iter().zip(&f.operands).enumerate() {
                let ty = match s.what {
                    What::Type(t) => Some(t),
                    What::SlotType(n) => slot(n).and_then(Type::from_name),
                    What::Double(n) => slot(n).and_then(Type::from_name).and_then(double),
                    What::Pred => Some(Type::Pred),
                    What::Address | What::Const | What::Label | What::Any => None,
                };
                self.operand(i, a, s, ty, k + 1, &mut bad);
            }
        }
        for k in bad {
            self.report(i.pos.0, i.to_string(), k);
        }
    }

    fn operand(
        &self,
        i: &Instr,
        a: &Operand,
        s: &isa::Spec,
        ty: Option<Type>,
        k: usize,
        bad: &mut Vec<VerifyErrorKind>,
    ) {
        let mut shape = |want: &'static str| bad.push(VerifyErrorKind::Shape { index: k, want });
        match s.what {
            What::Address => return self.address(i, a, k, bad),
            What::Const if !matches!(a, Operand::Imm(Imm::Int(_))) => {
                return shape("an integer constant");
            }
            What::Label if !matches!(a, Operand::Name(_)) => return shape("a label"),
            What::Const
            | What::Label
            | What::Any
            | What::Type(_)
            | What::SlotType(_)
            | What::Double(_)
            | What::Pred => {}
        }
        match a {
            Operand::Name(n) => self.named(n, k, ty, s.relaxed, bad),
            Operand::Offset(n, _) => self.named(n, k, None, false, bad),
            Operand::Not(n) => self.named(n, k, Some(Type::Pred), false, bad),
            Operand::Vector(v) => {
                for x in v {
                    self.operand(i, x, s, ty, k, bad);
                }
            }
            Operand::Pair(p, q) => {
                if !s.pair {
                    shape("a single value");
                }
                self.operand(i, p, s, ty, k, bad);
                if let Operand::Name(n) = &**q {
                    self.named(n, k, Some(Type::Pred), false, bad);
                }
            }
            Operand::Imm(_) | Operand::Sink => {
                if s.dst && matches!(a, Operand::Imm(_)) {
                    shape("a register");
                }
            }
            Operand::Address(_) => {
                if s.what != What::Any {
                    shape("a value");
                }
            }
            Operand::List(_) => shape("no list"),
        }
    }

    fn address(&self, i: &Instr, a: &Operand, k: usize, bad: &mut Vec<VerifyErrorKind>) {
        let Operand::Address(x) = a else {
            bad.push(VerifyErrorKind::Shape {
                index: k,
                want: "an address in brackets",
            });
            return;
        };
        for p in &x.parts {
            let s = isa::Spec {
                dst: false,
                optional: false,
                what: What::Any,
                pair: false,
                relaxed: false,
                vector: None,
            };
            self.operand(i, p, &s, None, k, bad);
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
                    && !same_space(declared, u)
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
            ) => {
                bad.push(VerifyErrorKind::Shape {
                    index: k,
                    want: "an address",
                });
            }
        }
    }

    fn named(
        &self,
        n: &Name,
        k: usize,
        ty: Option<Type>,
        relaxed: bool,
        bad: &mut Vec<VerifyErrorKind>,
    ) {
        match self.find(n) {
            None if is_special(n) => {}
            None => bad.push(VerifyErrorKind::Undeclared(n.to_string())),
            Some(Kind::Reg(t)) => {
                if let Some(want) = ty
                    && !compatible(t, want, relaxed)
                {
                    bad.push(VerifyErrorKind::Type {
                        index: k,
                        found: t,
                        want,
                    });
                }
            }
            Some(
                Kind::Family(..)
                | Kind::Vector(_)
                | Kind::Var(_)
                | Kind::Label
                | Kind::Function
                | Kind::Other,
            ) => {}
        }
    }

    fn call(&self, i: &Instr, bad: &mut Vec<VerifyErrorKind>) {
        let [Operand::List(r), Operand::Name(n), Operand::List(p), ..] = i.args.as_slice() else {
            bad.push(VerifyErrorKind::Shape {
                index: 1,
                want: "results, a function, arguments",
            });
            return;
        };
        match (self.find(n), self.functions.get(n)) {
            (None, _) => bad.push(VerifyErrorKind::Undeclared(n.to_string())),
            (Some(Kind::Function), Some((a, b))) if (*a, *b) != (r.len(), p.len()) => {
                bad.push(VerifyErrorKind::Call(n.to_string()));
            }
            (Some(_), _) => {}
        }
        for x in r.iter().chain(p) {
            if let Operand::Name(n) = x
                && self.find(n).is_none()
            {
                bad.push(VerifyErrorKind::Undeclared(n.to_string()));
            }
        }
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

/// Rule 4.
fn compatible(reg: Type, want: Type, relaxed: bool) -> bool {
    if (reg == Type::Pred) != (want == Type::Pred) {
        return false;
    }
    if relaxed {
        return reg.bits() >= want.bits();
    }
    if reg.bits() != want.bits() {
        return false;
    }
    let (a, b) = (reg.class(), want.class());
    a == Class::Bits || b == Class::Bits || (a == Class::Float) == (b == Class::Float)
}
