// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tree to text. In: a [`Module`]. Out: text whose parse is the same tree.

use crate::module::*;
use std::fmt::{Display, Formatter, Result, Write};

/// The module's text.
pub fn print(m: &Module) -> String {
    m.to_string()
}

impl Display for Module {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, ".version {}.{}", self.version.0, self.version.1)?;
        writeln!(f, ".target {}", self.target.join(", "))?;
        if let Some(a) = self.address_size {
            writeln!(f, ".address_size {a}")?;
        }
        for i in &self.items {
            match i {
                Item::Var(v) => writeln!(f, "{v};")?,
                Item::Function(x) => write!(f, "\n{x}")?,
                Item::File(x) => {
                    write!(f, ".file {} \"{}\"", x.index, x.name)?;
                    if let Some((t, s)) = x.stamp {
                        write!(f, ", {t}, {s}")?;
                    }
                    writeln!(f)?;
                }
                Item::Section(s) => {
                    writeln!(f, ".section {} {{", s.name)?;
                    for l in &s.lines {
                        match l {
                            SectionLine::Label(n) => writeln!(f, "{n}:")?,
                            SectionLine::Data(t, v) => writeln!(f, ".{t} {}", Commas(v))?,
                        }
                    }
                    writeln!(f, "}}")?;
                }
                Item::Pragma(p) => writeln!(f, "{}", Strings(p))?,
                Item::Loc(l) => writeln!(f, "{l}")?,
                Item::Alias(a, b) => writeln!(f, ".alias {a}, {b};")?,
            }
        }
        Ok(())
    }
}

struct Commas<'a, T>(&'a [T]);
impl<T: Display> Display for Commas<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        for (k, x) in self.0.iter().enumerate() {
            if k > 0 {
                f.write_str(", ")?;
            }
            x.fmt(f)?;
        }
        Ok(())
    }
}

struct Strings<'a>(&'a [String]);
impl Display for Strings<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, ".pragma ")?;
        for (k, s) in self.0.iter().enumerate() {
            write!(f, "{}\"{s}\"", if k > 0 { ", " } else { "" })?;
        }
        f.write_char(';')
    }
}

fn offset(f: &mut Formatter<'_>, o: i128) -> Result {
    if o == 0 { Ok(()) } else { write!(f, "{o:+}") }
}

impl Display for SectionValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Int(v) => v.fmt(f),
            Self::Label(n, o) => {
                n.fmt(f)?;
                offset(f, *o)
            }
            Self::Difference(a, b) => write!(f, "{a}-{b}"),
        }
    }
}

impl Display for Loc {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, ".loc {} {} {}", self.at[0], self.at[1], self.at[2])?;
        if let Some((n, o, p)) = &self.inlined {
            write!(f, ", function_name {n}")?;
            offset(f, *o)?;
            write!(f, ", inlined_at {} {} {}", p[0], p[1], p[2])?;
        }
        Ok(())
    }
}

impl Display for Linkage {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Internal => "",
            Self::Extern => ".extern ",
            Self::Visible => ".visible ",
            Self::Weak => ".weak ",
            Self::Common => ".common ",
        })
    }
}

impl Display for Var {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}.{}", self.linkage, self.space)?;
        if let Some(a) = self.align {
            write!(f, " .align {a}")?;
        }
        if self.vector > 1 {
            write!(f, " .v{}", self.vector)?;
        }
        write!(f, " .{}", self.ty)?;
        if let Some(p) = &self.ptr {
            f.write_str(" .ptr")?;
            if let Some(s) = p.space {
                write!(f, " .{s}")?;
            }
            if let Some(a) = p.align {
                write!(f, " .align {a}")?;
            }
        }
        write!(f, " {}", self.name)?;
        for d in &self.dims {
            match d {
                Some(d) => write!(f, "[{d}]")?,
                None => f.write_str("[]")?,
            }
        }
        if let Some(i) = &self.init {
            write!(f, " = {i}")?;
        }
        Ok(())
    }
}

impl Display for Init {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::One(InitValue::Imm(i)) => i.fmt(f),
            Self::One(InitValue::Symbol(n, o, generic)) => {
                if *generic {
                    write!(f, "generic({n})")?;
                } else {
                    n.fmt(f)?;
                }
                offset(f, *o)
            }
            Self::List(l) => write!(f, "{{{}}}", Commas(l)),
        }
    }
}

impl Display for Param {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Var(v) => v.fmt(f),
            Self::Reg(t, n) => write!(f, ".reg .{t} {n}"),
        }
    }
}

impl Display for Function {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(
            f,
            "{}{} ",
            self.linkage,
            if self.entry { ".entry" } else { ".func" }
        )?;
        if !self.returns.is_empty() {
            write!(f, "({}) ", Commas(&self.returns))?;
        }
        write!(f, "{}", self.name)?;
        if !self.params.is_empty() {
            f.write_str("(\n")?;
            for (k, p) in self.params.iter().enumerate() {
                writeln!(
                    f,
                    "\t{p}{}",
                    if k + 1 < self.params.len() { "," } else { "" }
                )?;
            }
            f.write_char(')')?;
        }
        f.write_char('\n')?;
        for t in &self.tuning {
            if t.name.starts_with("pragma") {
                writeln!(f, ".{};", t.name)?;
            } else {
                writeln!(f, ".{} {}", t.name, Commas(&t.values))?;
            }
        }
        match &self.body {
            None => writeln!(f, ";"),
            Some(b) => {
                writeln!(f, "{{")?;
                stmts(f, b, 1)?;
                writeln!(f, "}}")
            }
        }
    }
}

fn stmts(f: &mut Formatter<'_>, b: &[Stmt], depth: usize) -> Result {
    let tab = "\t".repeat(depth);
    for s in b {
        match s {
            Stmt::Label(n) => writeln!(f, "{n}:")?,
            Stmt::Instr(i) => writeln!(f, "{tab}{i}")?,
            Stmt::Var(v) => writeln!(f, "{tab}{v};")?,
            Stmt::Reg(r) => {
                write!(f, "{tab}.reg ")?;
                if r.vector > 1 {
                    write!(f, ".v{} ", r.vector)?;
                }
                write!(f, ".{} ", r.ty)?;
                for (k, (n, c)) in r.names.iter().enumerate() {
                    write!(f, "{}{n}", if k > 0 { ", " } else { "" })?;
                    if let Some(c) = c {
                        write!(f, "<{c}>")?;
                    }
                }
                writeln!(f, ";")?;
            }
            Stmt::Block(b) => {
                writeln!(f, "{tab}{{")?;
                stmts(f, b, depth + 1)?;
                writeln!(f, "{tab}}}")?;
            }
            Stmt::Loc(l) => writeln!(f, "{tab}{l}")?,
            Stmt::Pragma(p) => writeln!(f, "{tab}{}", Strings(p))?,
            Stmt::BranchTargets(n, l) => writeln!(f, "{n}: .branchtargets {};", Commas(l))?,
            Stmt::CallTargets(n, l) => writeln!(f, "{n}: .calltargets {};", Commas(l))?,
            Stmt::Prototype(n, r, p) => {
                writeln!(f, "{n}: .callprototype ({}) _ ({});", Commas(r), Commas(p))?
            }
        }
    }
    Ok(())
}

impl Display for Instr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(g) = &self.guard {
            write!(f, "@{}{} ", if g.negated { "!" } else { "" }, g.pred)?;
        }
        f.write_str(self.opcode())?;
        for m in &self.mods {
            write!(f, ".{m}")?;
        }
        if self.opcode() == "call" {
            let mut sep = " ";
            for (k, a) in self.args.iter().enumerate() {
                // Empty lists are left out, the params only where nothing follows.
                if matches!(a, Operand::List(l) if l.is_empty()) && (k == 0 || self.args.len() == 3)
                {
                    continue;
                }
                write!(f, "{sep}{a}")?;
                sep = ", ";
            }
        } else if !self.args.is_empty() {
            write!(f, " {}", Commas(&self.args))?;
        }
        f.write_char(';')
    }
}

impl Display for Imm {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Int(v) => v.fmt(f),
            Self::F32(b) => write!(f, "0f{b:08X}"),
            Self::F64(b) => write!(f, "0d{b:016X}"),
        }
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Name(n) => n.fmt(f),
            Self::Offset(n, o) => write!(f, "{n}{o:+}"),
            Self::Imm(i) => i.fmt(f),
            Self::Vector(v) => write!(f, "{{{}}}", Commas(v)),
            Self::Address(a) => {
                f.write_char('[')?;
                match &a.base {
                    Some(n) => {
                        n.fmt(f)?;
                        offset(f, a.offset)?;
                    }
                    None => a.offset.fmt(f)?,
                }
                for p in &a.parts {
                    write!(f, ", {p}")?;
                }
                f.write_char(']')
            }
            Self::Not(n) => write!(f, "!{n}"),
            Self::Pair(a, b) => write!(f, "{a}|{b}"),
            Self::Sink => f.write_char('_'),
            Self::List(l) => write!(f, "({})", Commas(l)),
        }
    }
}
