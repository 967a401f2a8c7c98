// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From the tree to [`Code`]: names become slots and addresses, constants and special
//! registers become slots too, labels become instruction numbers. In: a module and an
//! entry. Out: the entry and every function it reaches, or what the emulator lacks.

use super::code::*;
use super::fault::FaultKind;
use super::state::SHARED_BASE;
use super::{
    alu, atom, bulk, compare, convert, ctl, half_ops, ldst, lower, math, mbarrier, mma, warp_ops,
    wgmma,
};
use crate::error::Pos;
use crate::module::*;
use crate::ty::{Class as TyClass, Space, Type};
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
    scopes: Vec<HashMap<Name, Sym>>,
    labels: Vec<Option<u32>>,
    queue: Vec<usize>,
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

    fn special(&mut self, x: Special) -> Slot {
        if let Some(s) = self.specials.get(&x) {
            return *s;
        }
        let s = self.slot("");
        self.code.fixed.push((s, Fixed::Special(x)));
        self.specials.insert(x, s);
        s
    }

    fn alloc_shared(&mut self, v: &Var) -> u32 {
        let al = v.alignment() as u32;
        // Extern arrays of unknown length begin behind all static memory; patched at the end
        // of decoding by laying static variables out first (see `lower::finish`).
        let off = self.code.shared_static.next_multiple_of(al);
        self.code.shared_static = off + v.size() as u32;
        SHARED_BASE as u32 + off
    }

    fn module_var(&mut self, v: &'m Var, address_of: &HashMap<Name, u64>) {
        let sym = match v.space {
            Space::Shared | Space::SharedCta | Space::SharedCluster => {
                if v.linkage == Linkage::Extern && v.size() == 0 {
                    self.code.dynamic_align =
                        self.code.dynamic_align.max(v.alignment() as u32).max(16);
                    Sym::Shared(u32::MAX)
                } else {
                    Sym::Shared(self.alloc_shared(v))
                }
            }
            Space::Global | Space::Const => {
                Sym::Global(address_of.get(&v.name).copied().unwrap_or(0))
            }
            Space::Reg | Space::Local | Space::Param | Space::ParamEntry | Space::ParamFunc => {
                return;
            }
        };
        self.globals.insert(v.name.clone(), sym);
    }

    fn alloc_local(&mut self, size: u32, align: u32) -> u32 {
        let off = self.code.local.next_multiple_of(align.max(1));
        self.code.local = off + size;
        off
    }

    fn declare(&mut self, n: &Name, s: Sym) {
        if let Some(top) = self.scopes.last_mut() {
            top.insert(n.clone(), s);
        }
    }

    /// Storage of a function's results and parameters, made on first use.
    pub(crate) fn formals(&mut self, k: usize) -> (Vec<Formal>, Vec<Formal>) {
        if let Some(f) = &self.fns[k].formals {
            return f.clone();
        }
        let decl = self.fns[k].decl;
        let mut make = |list: &'m [Param]| -> Vec<Formal> {
            list.iter()
                .map(|p| match p {
                    Param::Reg(_, n) => Formal::Reg(self.slot(n)),
                    Param::Var(v) => {
                        let size = v.size() as u32;
                        Formal::Local(self.alloc_local(size, v.alignment() as u32), size)
                    }
                })
                .collect()
        };
        let r = (make(&decl.returns), make(&decl.params));
        self.fns[k].formals = Some(r.clone());
        self.queue.push(k);
        r
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

    fn registers(&mut self, r: &RegDecl) {
        for (n, count) in &r.names {
            let names: Vec<Name> = match count {
                None => vec![n.clone()],
                // `%r<1000000>` costs nothing: slots are made on first use.
                Some(_) => {
                    self.declare(
                        &format!("{n}<").as_str().into(),
                        Sym::Reg(count.unwrap_or(0), r.ty),
                    );
                    continue;
                }
            };
            for n in names {
                if r.vector > 1 {
                    let comps: Vec<Slot> = (0..r.vector)
                        .map(|k| self.slot(&format!("{n}.{}", b"xyzw"[k as usize] as char)))
                        .collect();
                    for (k, s) in comps.iter().enumerate() {
                        for set in ["xyzw", "rgba"] {
                            let c = &set[k..=k];
                            self.declare(&format!("{n}.{c}").as_str().into(), Sym::Reg(*s, r.ty));
                        }
                    }
                    self.declare(&n, Sym::Vector(comps));
                } else {
                    let s = self.slot(&n);
                    self.declare(&n, Sym::Reg(s, r.ty));
                }
            }
        }
    }

    fn local_var(&mut self, v: &Var) {
        let sym = match v.space {
            Space::Shared | Space::SharedCta | Space::SharedCluster => {
                Sym::Shared(self.alloc_shared(v))
            }
            Space::Local => Sym::Local(self.alloc_local(v.size() as u32, v.alignment() as u32)),
            Space::Param | Space::ParamFunc | Space::ParamEntry => {
                let size = v.size() as u32;
                Sym::ParamLocal(self.alloc_local(size, v.alignment() as u32), size)
            }
            Space::Global | Space::Const => Sym::Global(0),
            Space::Reg => return,
        };
        self.declare(&v.name, sym);
    }

    /// What a name stands for; makes slots of `%r<N>` families on first use.
    pub(crate) fn lookup(&mut self, n: &Name) -> Option<Sym> {
        for s in self.scopes.iter().rev() {
            if let Some(x) = s.get(n) {
                return Some(x.clone());
            }
            // A member of a family `%r<N>`: the digits behind its longest family name.
            let digits = n.bytes().rev().take_while(u8::is_ascii_digit).count();
            for cut in (n.len() - digits)..n.len() {
                let (stem, num) = n.split_at(cut);
                if (num.len() > 1 && num.starts_with('0')) || num.is_empty() {
                    continue;
                }
                if let Some(Sym::Reg(count, ty)) = s.get(format!("{stem}<").as_str()).cloned()
                    && num.parse::<u32>().is_ok_and(|k| k < count)
                {
                    // Family members live as long as the function: declare beside the family.
                    let slot = self.slot(n);
                    let scope = self
                        .scopes
                        .iter_mut()
                        .rev()
                        .find(|x| x.contains_key(format!("{stem}<").as_str()));
                    if let Some(scope) = scope {
                        scope.insert(n.clone(), Sym::Reg(slot, ty));
                    }
                    return Some(Sym::Reg(slot, ty));
                }
            }
        }
        self.globals.get(n).cloned()
    }

    pub(crate) fn special_named(&mut self, n: &str) -> Option<Slot> {
        let x = match n {
            "%laneid" => Special::Laneid,
            "%warpid" => Special::Warpid,
            "%nwarpid" => Special::Nwarpid,
            "%smid" => Special::Smid,
            "%nsmid" => Special::Nsmid,
            "%gridid" => Special::Gridid,
            "%lanemask_eq" => Special::LanemaskEq,
            "%lanemask_le" => Special::LanemaskLe,
            "%lanemask_lt" => Special::LanemaskLt,
            "%lanemask_ge" => Special::LanemaskGe,
            "%lanemask_gt" => Special::LanemaskGt,
            "%dynamic_smem_size" | "%aggr_smem_size" => Special::DynamicSmem,
            "%total_smem_size" => Special::TotalSmem,
            "%cluster_nctarank" | "%is_explicit_cluster" => Special::One,
            "%cluster_ctarank" | "%envreg0" => Special::Zero,
            _ => {
                let (stem, comp) = n.rsplit_once('.')?;
                let k = ["x", "y", "z", "w"].iter().position(|c| *c == comp)? as u8;
                match stem {
                    "%tid" => Special::Tid(k),
                    "%ntid" => Special::Ntid(k),
                    "%ctaid" | "%clusterid" => Special::Ctaid(k),
                    "%nctaid" | "%nclusterid" => Special::Nctaid(k),
                    "%cluster_ctaid" => Special::Zero,
                    "%cluster_nctaid" => Special::One,
                    _ => return None,
                }
            }
        };
        Some(self.special(x))
    }

    /// A label's number.
    pub(crate) fn label(&mut self, n: &Name) -> D<usize> {
        match self.lookup(n) {
            Some(Sym::Label(id)) => Ok(id),
            Some(_) | None => refuse(format!("label `{n}`")),
        }
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

    fn op(&mut self, i: &Instr) -> D<(Op, Meet, Class)> {
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
                        pure(half_ops::arith(self, i)?.parted(Part::Each), Class::Half)
                    }
                    _ => pure(alu::int(self, i)?, Class::Integer),
                }
            }
            "and" | "or" | "xor" | "not" | "cnot" | "lop3" | "shf" | "shl" | "shr" | "prmt" => {
                pure(alu::logic(self, i)?, Class::Integer)
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
                // Between integers, a narrow result is a part of the source.
                let integer = |t: Option<Type>| {
                    t.filter(|t| matches!(t.class(), TyClass::Signed | TyClass::Unsigned))
                        .map(Type::bits)
                };
                let part = match (integer(i.slot_type("D")), integer(i.slot_type("T"))) {
                    (Some(a), Some(b)) if 2 * a <= b && !i.has("sat") => Part::Low,
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
            "cp" | "tensormap" => bulk::decode(self, i)?,
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
