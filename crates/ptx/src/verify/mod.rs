// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rules of the language beyond its grammar. In: a module. Out: every broken rule.
//!
//! 1. An instruction needs no later `.version` and no higher `.target` than the module has;
//!    an architecture-specific one (`sm_90a`) needs just that target.
//! 2. Operands have the number and shape that the form asks for: destinations are
//!    registers, addresses stand in brackets, constants are constants, vectors have as many
//!    elements as `.v2` or the matrix shape says; special registers are read by `mov` and
//!    `cvt` only, variables become values by `mov` and `cvta` only, labels never do.
//! 3. Every name is declared before its use, or is a label of an enclosing block, a
//!    function, a special register.
//! 4. A register has the width of the operand's type (at least that, for cvt, ld, st) and no
//!    contradictory class: predicates only where predicates are asked for, floating point
//!    types not where integers are asked for and the reverse; constants likewise.
//! 5. A variable is accessed through the state space it is declared in.
//! 6. Alignments are powers of two.
//! 7. A call has as many arguments and results as the function.
//! 8. Constants lie in the range that the instruction has.
//! 9. Modifiers that a form takes one by one also fit together: orderings have a scope,
//!    atomic operations the types they work on.
//!
//! Where NVIDIA's assembler is stricter or laxer than the manual, its verdict counts (a test
//! compares them); `instruction` holds
//! rules 1, 2, 4 and 5, `constraints` rules 8 and 9.

mod constraints;
mod instruction;

use crate::error::Pos;
use crate::module::*;
use crate::ty::{Space, Type};
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
    /// Rule 4.
    #[error("operand {index} is a constant that is no .{want}")]
    Constant {
        /// From 1.
        index: usize,
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
    /// Rule 8.
    #[error("operand {index} must be {want}")]
    Range {
        /// From 1.
        index: usize,
        /// What it must be.
        want: &'static str,
    },
    /// Rule 9.
    #[error("{0}")]
    Modifiers(&'static str),
}

impl VerifyErrorKind {
    /// The number of the rule at the top of this file.
    pub fn rule(&self) -> u8 {
        match self {
            Self::Version { .. } | Self::Target { .. } => 1,
            Self::Count { .. } | Self::Shape { .. } => 2,
            Self::Undeclared(_) | Self::Twice(_) => 3,
            Self::Type { .. } | Self::Constant { .. } => 4,
            Self::Space { .. } => 5,
            Self::Alignment(_) => 6,
            Self::Call(_) => 7,
            Self::Range { .. } => 8,
            Self::Modifiers(_) => 9,
        }
    }
}

type Bad = Vec<VerifyErrorKind>;

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
                // What an entry is given can be read only.
                Param::Var(x) if f.entry => v.variable(x, Space::ParamEntry),
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
        self.variable(x, x.space);
    }

    fn variable(&mut self, x: &Var, space: Space) {
        if let Some(a) = x.align
            && !a.is_power_of_two()
        {
            self.report(x.pos.0, String::new(), VerifyErrorKind::Alignment(a));
        }
        self.declare(x.pos.0, &x.name, Kind::Var(space));
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
