// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tree of a PTX module. In: what the parser found, or what a code generator built.
//! Out: the input of printer, verifier and emulator. Two trees are equal when their
//! texts mean the same; positions do not take part in equality.

use crate::error::Pos;
use crate::isa::{FormId, form};
use crate::ty::{Space, Type};
use std::sync::Arc;

/// An identifier: register, variable, label, function.
pub type Name = Arc<str>;

/// A module: header and items in textual order.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// `.version`, major and minor.
    pub version: (u32, u32),
    /// `.target`: the architecture first, then options.
    pub target: Vec<String>,
    /// `.address_size` in bits.
    pub address_size: Option<u32>,
    /// Everything after the header.
    pub items: Vec<Item>,
}

impl Module {
    /// The architecture that `.target` names, such as `sm_80`.
    pub fn arch(&self) -> &str {
        self.target.first().map_or("", String::as_str)
    }

    /// The functions and entries with a body or a declaration.
    pub fn functions(&self) -> impl Iterator<Item = &Function> {
        self.items.iter().filter_map(|i| match i {
            Item::Function(f) => Some(f),
            Item::Var(_)
            | Item::File(_)
            | Item::Section(_)
            | Item::Pragma(_)
            | Item::Loc(_)
            | Item::Alias(..) => None,
        })
    }

    /// The entry of that name.
    pub fn entry(&self, name: &str) -> Option<&Function> {
        self.functions()
            .find(|f| f.entry && &*f.name == name && f.body.is_some())
    }
}

/// One thing at module scope.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A module variable.
    Var(Var),
    /// A function or kernel.
    Function(Function),
    /// `.file`.
    File(File),
    /// `.section`, kept but without effect on a run.
    Section(Section),
    /// `.pragma` at module scope.
    Pragma(Vec<String>),
    /// `.loc` at module scope.
    Loc(Loc),
    /// `.alias A, B`.
    Alias(Name, Name),
}

/// `.file INDEX "NAME" [, TIME, SIZE]`.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Index that `.loc` uses.
    pub index: u32,
    /// File name as written, escapes untouched.
    pub name: String,
    /// Time stamp and size.
    pub stamp: Option<(u64, u64)>,
}

/// `.section NAME { ... }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Name with its dot.
    pub name: String,
    /// Lines.
    pub lines: Vec<SectionLine>,
}

/// One line of a section.
#[derive(Clone, Debug, PartialEq)]
pub enum SectionLine {
    /// A label.
    Label(Name),
    /// Data.
    Data(Type, Vec<SectionValue>),
}

/// One datum of a section.
#[derive(Clone, Debug, PartialEq)]
pub enum SectionValue {
    /// A number.
    Int(i128),
    /// A label or section name plus an offset.
    Label(Name, i128),
    /// The difference of two labels.
    Difference(Name, Name),
}

/// `.loc FILE LINE COLUMN [, function_name LABEL[+OFFSET], inlined_at FILE LINE COLUMN]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Loc {
    /// File, line, column.
    pub at: [u32; 3],
    /// Name label with offset, and the place of the call.
    pub inlined: Option<(Name, i128, [u32; 3])>,
}

/// Who sees a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// This module only.
    Internal,
    /// `.extern`
    Extern,
    /// `.visible`
    Visible,
    /// `.weak`
    Weak,
    /// `.common`
    Common,
}

/// A variable of any space but `.reg`, or a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Var {
    /// Where it is declared (not compared).
    pub pos: At,
    /// Who sees it.
    pub linkage: Linkage,
    /// Its space.
    pub space: Space,
    /// `.align`.
    pub align: Option<u32>,
    /// Vector width: 1, 2, 4.
    pub vector: u8,
    /// Element type.
    pub ty: Type,
    /// `.ptr` attribute of a kernel parameter.
    pub ptr: Option<Ptr>,
    /// Name.
    pub name: Name,
    /// Array extents; `None` = `[]`, filled by the initialiser or at launch.
    pub dims: Vec<Option<u64>>,
    /// Initial values.
    pub init: Option<Init>,
}

impl Var {
    /// Bytes it takes; `[]` counts what its initialiser holds.
    pub fn size(&self) -> u64 {
        let elem = u64::from(self.ty.bytes()) * u64::from(self.vector);
        let mut n = 1u64;
        for d in &self.dims {
            n = n.saturating_mul(match d {
                Some(d) => *d,
                None => match &self.init {
                    Some(Init::List(l)) => l.len() as u64,
                    Some(Init::One(_)) | None => 0,
                },
            });
        }
        elem.saturating_mul(n)
    }

    /// Alignment in bytes: as declared, else that of the type.
    pub fn alignment(&self) -> u64 {
        self.align
            .map_or(
                u64::from(self.ty.bytes()) * u64::from(self.vector),
                u64::from,
            )
            .max(1)
    }
}

/// `.ptr [.SPACE] [.align N]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Ptr {
    /// What it points into.
    pub space: Option<Space>,
    /// Promised alignment.
    pub align: Option<u32>,
}

/// An initialiser.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// A scalar.
    One(InitValue),
    /// `{ ... }`.
    List(Vec<Init>),
}

/// One initial value.
#[derive(Clone, Debug, PartialEq)]
pub enum InitValue {
    /// A number.
    Imm(Imm),
    /// The address of a symbol plus an offset; `true`: its generic address.
    Symbol(Name, i128, bool),
}

/// A register declaration.
#[derive(Clone, Debug, PartialEq)]
pub struct RegDecl {
    /// Type.
    pub ty: Type,
    /// Vector width: 1, 2, 4.
    pub vector: u8,
    /// Names; with a count, `NAME0` to `NAME(count-1)`.
    pub names: Vec<(Name, Option<u32>)>,
}

/// A parameter of a function: in `.param` space or a register.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// `.param ...`
    Var(Var),
    /// `.reg ...`
    Reg(Type, Name),
}

/// A performance directive: name without the dot and its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// Such as `reqntid`.
    pub name: String,
    /// Its numbers.
    pub values: Vec<u64>,
}

/// `.entry` or `.func`.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    /// Where (not compared).
    pub pos: At,
    /// Who sees it.
    pub linkage: Linkage,
    /// A kernel.
    pub entry: bool,
    /// Return values.
    pub returns: Vec<Param>,
    /// Name.
    pub name: Name,
    /// Parameters.
    pub params: Vec<Param>,
    /// `.reqntid`, `.maxntid`, `.minnctapersm`, `.noreturn`, ...
    pub tuning: Vec<Tuning>,
    /// `None` for a declaration.
    pub body: Option<Vec<Stmt>>,
}

impl Function {
    /// The numbers of a performance directive.
    pub fn tuning(&self, name: &str) -> Option<&[u64]> {
        self.tuning
            .iter()
            .find(|t| t.name == name)
            .map(|t| t.values.as_slice())
    }
}

/// A statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// `NAME:`
    Label(Name),
    /// An instruction.
    Instr(Instr),
    /// A local variable.
    Var(Var),
    /// Registers.
    Reg(RegDecl),
    /// `{ ... }`
    Block(Vec<Stmt>),
    /// `.loc`
    Loc(Loc),
    /// `.pragma`
    Pragma(Vec<String>),
    /// `NAME: .branchtargets ...;`
    BranchTargets(Name, Vec<Name>),
    /// `NAME: .calltargets ...;`
    CallTargets(Name, Vec<Name>),
    /// `NAME: .callprototype (returns) _ (params);`
    Prototype(Name, Vec<Param>, Vec<Param>),
}

/// A position that does not take part in comparisons.
#[derive(Clone, Copy, Debug, Default)]
pub struct At(pub Pos);
impl PartialEq for At {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// `@p` or `@!p`.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// Predicate register.
    pub pred: Name,
    /// `!`
    pub negated: bool,
}

/// An instruction: one of the forms of [`crate::isa`], with its operands.
#[derive(Clone, Debug, PartialEq)]
pub struct Instr {
    /// Where (not compared).
    pub pos: At,
    /// Predicate.
    pub guard: Option<Guard>,
    /// Which line of the instruction tables it is.
    pub form: FormId,
    /// The modifiers as written.
    pub mods: Vec<&'static str>,
    /// Operands in textual order.
    pub args: Vec<Operand>,
}

impl Instr {
    /// First part of the opcode.
    pub fn opcode(&self) -> &'static str {
        form(self.form).opcode
    }

    /// The whole opcode as it is printed.
    pub fn text(&self) -> String {
        let mut s = String::from(self.opcode());
        for m in &self.mods {
            s.push('.');
            s.push_str(m);
        }
        s
    }

    /// Whether a modifier is there.
    pub fn has(&self, m: &str) -> bool {
        self.mods.contains(&m)
    }

    /// What the slot of that name holds.
    pub fn slot(&self, name: &str) -> Option<&'static str> {
        form(self.form)
            .captures(&self.mods)
            .and_then(|c| c.into_iter().find(|(n, _)| *n == name).map(|(_, m)| m))
    }

    /// The type in the slot of that name.
    pub fn slot_type(&self, name: &str) -> Option<Type> {
        self.slot(name).and_then(Type::from_name)
    }
}

/// A number in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imm {
    /// An integer.
    Int(i128),
    /// `0fXXXXXXXX`
    F32(u32),
    /// `0dXXXXXXXXXXXXXXXX` or a decimal fraction
    F64(u64),
}

/// An operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// Register, special register, variable, label or function.
    Name(Name),
    /// `NAME + OFFSET` outside brackets: an address as a value.
    Offset(Name, i128),
    /// A number.
    Imm(Imm),
    /// `{ a, b, ... }`
    Vector(Vec<Operand>),
    /// `[ base + offset ]`, with coordinates for tensors; `None` base: an absolute address.
    Address(Address),
    /// `!p`
    Not(Name),
    /// `p|q`
    Pair(Box<Operand>, Box<Operand>),
    /// `_`
    Sink,
    /// `(a, b)` of a call.
    List(Vec<Operand>),
}

/// What stands between brackets.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// Register or variable.
    pub base: Option<Name>,
    /// Bytes added.
    pub offset: i128,
    /// Further comma-separated parts: coordinates of a tensor copy.
    pub parts: Vec<Operand>,
}
