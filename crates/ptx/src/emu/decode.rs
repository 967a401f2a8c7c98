// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From the tree to [`Code`]: names become slots and addresses, constants and special
//! registers become slots too, labels become instruction numbers. In: a module and an
//! entry. Out: the entry and every function it reaches, or what the emulator lacks.

use super::code::*;
use super::fault::FaultKind;
use super::lower;
use crate::error::Pos;
use crate::module::*;
use crate::ty::Type;
use std::collections::HashMap;

/// Why an instruction cannot be decoded.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) pos: Pos,
    pub(crate) text: String,
    pub(crate) kind: FaultKind,
}

/// A decoding step inside one instruction.
pub(crate) type D<T> = Result<T, FaultKind>;

/// Fails with `Unsupported`.
pub(crate) fn refuse<T>(what: impl Into<String>) -> D<T> {
    Err(FaultKind::Unsupported(what.into()))
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Sym {
    Reg(Slot, Type),
    Vector(Vec<Slot>),
    Shared(u32),
    Global(u64),
    Local(u32),
    ParamEntry(u32),
    ParamLocal(u32, u32),
    Func(usize),
    Label(usize),
    Targets(Vec<Name>),
    Prototype,
}

/// An address operand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addr {
    pub(crate) base: Slot,
    pub(crate) off: u64,
    /// The space that a variable's name implies.
    pub(crate) space: Option<MemSpace>,
}

/// Where a memory access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemSpace {
    Generic,
    Global,
    Shared,
    Local,
    ParamEntry,
}

/// A formal parameter's storage.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Formal {
    Reg(Slot),
    Local(u32, u32),
}

/// A function as the decoder sees it.
pub(crate) struct FnInfo<'m> {
    pub(crate) decl: &'m Function,
    pub(crate) formals: Option<(Vec<Formal>, Vec<Formal>)>,
    pub(crate) pc: Option<u32>,
}

/// The decoder.
pub(crate) struct Dec<'m> {
    pub(crate) fns: Vec<FnInfo<'m>>,
    pub(crate) globals: HashMap<Name, Sym>,
    pub(super) scopes: Vec<HashMap<Name, Sym>>,
    labels: Vec<Option<u32>>,
    pub(super) queue: Vec<usize>,
    pub(crate) code: Code,
    values: HashMap<u64, Slot>,
    specials: HashMap<Special, Slot>,
    in_entry: bool,
    pub(crate) cc: Slot,
    /// Labels to patch behind decoding: instruction, label.
    patches: Vec<(usize, Vec<usize>)>,
    calls: Vec<(usize, Vec<usize>)>,
    /// The module uses `wgmma`: remember which registers each instruction touches.
    track: bool,
}

fn uses_wgmma(b: &[Stmt]) -> bool {
    b.iter().any(|s| match s {
        Stmt::Instr(i) => i.opcode() == "wgmma",
        Stmt::Block(b) => uses_wgmma(b),
        Stmt::Label(_)
        | Stmt::Var(_)
        | Stmt::Reg(_)
        | Stmt::Loc(_)
        | Stmt::Pragma(_)
        | Stmt::BranchTargets(..)
        | Stmt::CallTargets(..)
        | Stmt::Prototype(..) => false,
    })
}

fn at<T>(i: &Instr, r: D<T>) -> Result<T, Refused> {
    r.map_err(|kind| Refused {
        pos: i.pos.0,
        text: i.to_string(),
        kind,
    })
}

/// Decodes an entry. `address_of` gives the addresses of module variables.
pub(crate) fn decode(
    m: &Module,
    entry: &Function,
    address_of: &HashMap<Name, u64>,
) -> Result<Code, Refused> {
    let code = Code {
        ins: Vec::new(),
        slots: 0,
        fixed: Vec::new(),
        names: Vec::new(),
        start: 0,
        local: 0,
        shared_static: 0,
        dynamic_align: 1,
        params: Vec::new(),
        param_bytes: 0,
        reqntid: None,
        maxntid: None,
        async_proxy: false,
        has_wgmma: false,
        cross_block: false,
    };
    let mut d = Dec {
        fns: Vec::new(),
        globals: HashMap::new(),
        scopes: Vec::new(),
        labels: Vec::new(),
        queue: Vec::new(),
        code,
        values: HashMap::new(),
        specials: HashMap::new(),
        in_entry: true,
        cc: 0,
        patches: Vec::new(),
        calls: Vec::new(),
        track: m
            .functions()
            .any(|f| f.body.as_deref().is_some_and(uses_wgmma)),
    };
    d.cc = d.slot("carry flag");
    // A body wins over a declaration of the same name.
    for f in m.functions() {
        match d.fns.iter().position(|x| x.decl.name == f.name) {
            Some(k) if f.body.is_some() => d.fns[k].decl = f,
            Some(_) => {}
            None => {
                d.globals.insert(f.name.clone(), Sym::Func(d.fns.len()));
                d.fns.push(FnInfo {
                    decl: f,
                    formals: None,
                    pc: None,
                });
            }
        }
    }
    for i in &m.items {
        match i {
            Item::Var(v) => d.module_var(v, address_of),
            Item::Alias(a, b) => {
                if let Some(s) = d.globals.get(b).cloned() {
                    d.globals.insert(a.clone(), s);
                }
            }
            Item::Function(_)
            | Item::File(_)
            | Item::Section(_)
            | Item::Pragma(_)
            | Item::Loc(_) => {}
        }
    }
    for p in &entry.params {
        if let Param::Var(v) = p {
            let al = v.alignment() as u32;
            let off = d.code.param_bytes.next_multiple_of(al);
            let size = v.size() as u32;
            d.code.params.push((off, size));
            d.code.param_bytes = off + size;
        }
    }
    let dims = |n: &str| {
        entry.tuning(n).map(|v| {
            let g = |k: usize| v.get(k).copied().unwrap_or(1) as u32;
            [g(0), g(1), g(2)]
        })
    };
    d.code.reqntid = dims("reqntid");
    d.code.maxntid = dims("maxntid");
    d.function(entry, None)?;
    while let Some(k) = d.queue.pop() {
        let f = d.fns[k].decl;
        if f.body.is_some() {
            d.in_entry = false;
            d.fns[k].pc = Some(d.code.ins.len() as u32);
            d.function(f, Some(k))?;
        }
    }
    d.patch();
    lower::finish(&mut d.code);
    Ok(d.code)
}

impl<'m> Dec<'m> {
    /// A fresh slot.
    pub(crate) fn slot(&mut self, name: &str) -> Slot {
        let s = self.code.slots;
        self.code.slots += 1;
        if !name.is_empty() {
            self.code.names.push((s, name.into()));
        }
        s
    }

    /// The slot that holds a constant.
    pub(crate) fn value(&mut self, v: u64) -> Slot {
        if let Some(s) = self.values.get(&v) {
            return *s;
        }
        let s = self.slot("");
        self.code.fixed.push((s, Fixed::Value(v)));
        self.values.insert(v, s);
        s
    }

    pub(super) fn special(&mut self, x: Special) -> Slot {
        if let Some(s) = self.specials.get(&x) {
            return *s;
        }
        let s = self.slot("");
        self.code.fixed.push((s, Fixed::Special(x)));
        self.specials.insert(x, s);
        s
    }

    fn function(&mut self, f: &'m Function, k: Option<usize>) -> Result<(), Refused> {
        self.scopes = vec![HashMap::new()];
        match k {
            None => {
                let offs = self.code.params.clone();
                let vars = f.params.iter().filter_map(|p| match p {
                    Param::Var(v) => Some(v),
                    Param::Reg(..) => None,
                });
                for (v, (o, _)) in vars.zip(offs) {
                    self.declare(&v.name, Sym::ParamEntry(o));
                }
            }
            Some(k) => {
                let (r, p) = self.formals(k);
                for (p, s) in f.returns.iter().zip(r).chain(f.params.iter().zip(p)) {
                    match (p, s) {
                        (Param::Reg(t, n), Formal::Reg(s)) => self.declare(n, Sym::Reg(s, *t)),
                        (Param::Var(v), Formal::Local(o, len)) => {
                            self.declare(&v.name, Sym::ParamLocal(o, len))
                        }
                        (Param::Reg(..), Formal::Local(..)) | (Param::Var(_), Formal::Reg(_)) => {}
                    }
                }
            }
        }
        if let Some(b) = &f.body {
            self.block(b)?;
        }
        // Falling off the end returns.
        let end = Op::Ctl(if self.in_entry { Ctl::Exit } else { Ctl::Ret });
        self.push(
            end,
            None,
            Meet::None,
            Class::Control,
            Pos::default(),
            "end of function".into(),
        );
        Ok(())
    }

    fn push(
        &mut self,
        op: Op,
        guard: Option<(Slot, bool)>,
        sync: Meet,
        class: Class,
        pos: Pos,
        text: Box<str>,
    ) {
        let (guard, negated) = guard.unwrap_or((NONE, false));
        self.code.ins.push(Ins {
            op,
            guard,
            negated,
            sync,
            class,
            pos,
            text,
            touches: Box::default(),
        });
    }

    fn block(&mut self, b: &'m [Stmt]) -> Result<(), Refused> {
        for s in b {
            match s {
                Stmt::Label(n) => {
                    let id = self.labels.len();
                    self.labels.push(None);
                    self.declare(n, Sym::Label(id));
                }
                Stmt::BranchTargets(n, l) | Stmt::CallTargets(n, l) => {
                    self.declare(n, Sym::Targets(l.clone()))
                }
                Stmt::Prototype(n, ..) => self.declare(n, Sym::Prototype),
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
                Stmt::Label(n) => {
                    if let Some(Sym::Label(id)) = self.lookup(n) {
                        self.labels[id] = Some(self.code.ins.len() as u32);
                    }
                }
                Stmt::Reg(r) => self.registers(r),
                Stmt::Var(v) => self.local_var(v),
                Stmt::Block(b) => {
                    self.scopes.push(HashMap::new());
                    self.block(b)?;
                    self.scopes.pop();
                }
                Stmt::Instr(i) => self.instr(i)?,
                Stmt::Loc(_)
                | Stmt::Pragma(_)
                | Stmt::BranchTargets(..)
                | Stmt::CallTargets(..)
                | Stmt::Prototype(..) => {}
            }
        }
        Ok(())
    }

    /// Remembers that the instruction decoded next jumps to these labels.
    pub(crate) fn jump(&mut self, labels: Vec<usize>) {
        self.patches.push((self.code.ins.len(), labels));
    }

    /// Remembers that the instruction decoded next calls these functions.
    pub(crate) fn calls(&mut self, fns: Vec<usize>) {
        self.calls.push((self.code.ins.len(), fns));
    }

    fn instr(&mut self, i: &Instr) -> Result<(), Refused> {
        let guard = match &i.guard {
            Some(g) => Some((
                at(i, self.src(&Operand::Name(g.pred.clone()), Type::Pred))?,
                g.negated,
            )),
            None => None,
        };
        let (op, sync, class) = at(i, self.op(i))?;
        self.push(op, guard, sync, class, i.pos.0, i.to_string().into());
        if self.track && i.opcode() != "wgmma" {
            let mut all = Vec::new();
            i.args.iter().for_each(|a| self.registers_of(a, &mut all));
            if let Some(ins) = self.code.ins.last_mut() {
                ins.touches = all.into();
            }
        }
        Ok(())
    }

    fn registers_of(&mut self, o: &Operand, out: &mut Vec<Slot>) {
        match o {
            Operand::Name(n) | Operand::Not(n) => {
                if let Some(Sym::Reg(s, _)) = self.lookup(n) {
                    out.push(s);
                }
            }
            Operand::Vector(v) | Operand::List(v) => {
                v.iter().for_each(|x| self.registers_of(x, out))
            }
            Operand::Pair(a, b) => {
                self.registers_of(a, out);
                self.registers_of(b, out);
            }
            Operand::Address(a) => {
                if let Some(n) = &a.base {
                    self.registers_of(&Operand::Name(n.clone()), out);
                }
                a.parts.iter().for_each(|x| self.registers_of(x, out));
            }
            Operand::Offset(..) | Operand::Imm(_) | Operand::Sink => {}
        }
    }

    fn patch(&mut self) {
        for (k, labels) in std::mem::take(&mut self.patches) {
            let at: Vec<u32> = labels
                .iter()
                .map(|l| self.labels[*l].unwrap_or(0))
                .collect();
            match &mut self.code.ins[k].op {
                Op::Ctl(Ctl::Bra(t)) => *t = at[0],
                Op::Ctl(Ctl::BrxIdx { targets, .. }) => *targets = at,
                Op::Ctl(_) | Op::Alu { .. } | Op::Exec(_) | Op::Nop => {}
            }
        }
        for (k, fns) in std::mem::take(&mut self.calls) {
            match &mut self.code.ins[k].op {
                Op::Ctl(Ctl::Call { entry, .. }) => *entry = self.fns[fns[0]].pc.unwrap_or(0),
                Op::Ctl(Ctl::CallIndirect { candidates, .. }) => {
                    for (c, f) in candidates.iter_mut().zip(&fns) {
                        c.entry = self.fns[*f].pc.unwrap_or(0);
                    }
                }
                Op::Ctl(_) | Op::Alu { .. } | Op::Exec(_) | Op::Nop => {}
            }
        }
    }
}
