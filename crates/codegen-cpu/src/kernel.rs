// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Core code as CLIF: scalars become SSA values, loops and conditionals blocks, moves and tile functions calls.
//!
//! In: a [`Core`], its layout, and the functions and data it may name. Out: the bodies of `plan` and `run`.

use attnc_tensor::DType;
use attnc_tile::core::{Arg, Bin, Core, Elem, Inst, Lie, OpKind, Place, Port, TileOp, Val, View};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{FuncRef, GlobalValue, InstBuilder, Value, types};

use crate::fx::Fx;
use crate::layout::{self, Layout};
use crate::moves::Move;

/// What a body can call and read, as the function under construction knows it.
pub(crate) struct Names<'a> {
    pub(crate) core: &'a Core,
    pub(crate) layout: &'a Layout,
    pub(crate) moves: Vec<(Move, FuncRef)>,
    pub(crate) fns: Vec<FuncRef>,
    /// Lanes and keys that each tile function computes in multiples of.
    pub(crate) steps: &'a [(u32, u32)],
    pub(crate) tables: Vec<GlobalValue>,
}

/// A body under construction.
pub(crate) struct Kernel<'a> {
    pub(crate) names: &'a Names<'a>,
    /// The plan structure.
    pub(crate) plan: Value,
    /// The workspace (`run` only).
    pub(crate) work: Value,
    /// The task number (`run` only).
    pub(crate) task: Value,
    vals: Vec<Option<Value>>,
}

impl<'a> Kernel<'a> {
    pub(crate) fn new(names: &'a Names<'a>, plan: Value, work: Value, task: Value) -> Kernel<'a> {
        Kernel {
            names,
            plan,
            work,
            task,
            vals: vec![None; names.core.vals as usize],
        }
    }

    /// A defined value; an undefined one, which the interpreter faults on, reads as 0.
    pub(crate) fn get(&self, fx: &mut Fx<'_>, v: Val) -> Value {
        self.vals
            .get(v.0 as usize)
            .copied()
            .flatten()
            .unwrap_or_else(|| fx.int(0))
    }

    fn set(&mut self, v: Val, x: Value) {
        if let Some(slot) = self.vals.get_mut(v.0 as usize) {
            *slot = Some(x);
        }
    }

    pub(crate) fn block(&mut self, fx: &mut Fx<'_>, code: &[Inst]) {
        for inst in code {
            self.inst(fx, inst);
        }
    }

    fn buffer(&self, fx: &mut Fx<'_>, p: Place) -> Value {
        let i = p.buf.0 as usize;
        let at = self.get(fx, p.at);
        let off = fx.mulc(
            at,
            self.names.core.bufs[i].elem.bytes(self.names.core.dtype) as i64,
        );
        let base = fx.addc(self.work, self.names.layout.bufs[i]);
        fx.add(base, off)
    }

    fn table(&self, fx: &mut Fx<'_>, base: Value, i: Val) -> Value {
        let i = self.get(fx, i);
        let off = fx.mulc(i, 8);
        fx.add(base, off)
    }

    fn inst(&mut self, fx: &mut Fx<'_>, inst: &Inst) {
        match inst {
            Inst::Const(v, x) => {
                let x = fx.int(*x);
                self.set(*v, x);
            }
            Inst::Arg(v, a) => {
                let x = match a {
                    Arg::Batch => fx.load(types::I64, self.plan, layout::BATCH),
                    Arg::SeqLen => fx.load(types::I64, self.plan, layout::SEQ_LEN),
                    Arg::Task => self.task,
                };
                self.set(*v, x);
            }
            Inst::Bin(v, op, a, b) => {
                let (a, b) = (self.get(fx, *a), self.get(fx, *b));
                let x = bin(fx, *op, a, b);
                self.set(*v, x);
            }
            Inst::Select(v, c, a, b) => {
                let (c, a, b) = (self.get(fx, *c), self.get(fx, *a), self.get(fx, *b));
                let x = fx.b.ins().select(c, a, b);
                self.set(*v, x);
            }
            Inst::Table(v, t, i) => {
                let base =
                    fx.b.ins()
                        .symbol_value(types::I64, self.names.tables[t.0 as usize]);
                let p = self.table(fx, base, *i);
                let x = fx.load(types::I64, p, 0);
                self.set(*v, x);
            }
            Inst::Plan(v, t, i) => {
                let p = self.table(fx, self.plan, *i);
                let x = fx.load(types::I64, p, self.names.layout.plan_tables[t.0 as usize]);
                self.set(*v, x);
            }
            Inst::PlanStore(t, i, x) => {
                let x = self.get(fx, *x);
                let p = self.table(fx, self.plan, *i);
                fx.store(x, p, self.names.layout.plan_tables[t.0 as usize]);
            }
            Inst::Load(v, b, i) => {
                let p = self.buffer(fx, Place { buf: *b, at: *i });
                let x = fx.load(types::I64, p, 0);
                self.set(*v, x);
            }
            Inst::Store(b, i, x) => {
                let x = self.get(fx, *x);
                let p = self.buffer(fx, Place { buf: *b, at: *i });
                fx.store(x, p, 0);
            }
            Inst::For {
                iv,
                lo,
                hi,
                step,
                body,
            } => {
                let bounds = [self.get(fx, *lo), self.get(fx, *hi), self.get(fx, *step)];
                fx.carry(bounds, &[], |fx, i, _| {
                    self.set(*iv, i);
                    self.block(fx, body);
                    Vec::new()
                });
            }
            Inst::Walk {
                cur,
                lo,
                hi,
                body,
                next,
            } => self.walk(fx, [*cur, *lo, *hi, *next], body),
            Inst::If { cond, then, els } => {
                let cond = self.get(fx, *cond);
                // Both arms need `self`; they run one after the other.
                let this = std::cell::RefCell::new(self);
                fx.either(
                    cond,
                    |fx| this.borrow_mut().block(fx, then),
                    |fx| this.borrow_mut().block(fx, els),
                );
            }
            Inst::Floats { dst, src, count, f } => {
                let args = vec![
                    self.buffer(fx, *dst),
                    self.buffer(fx, *src),
                    self.get(fx, *count),
                ];
                self.call(fx, Move::Floats(*f), args);
            }
            Inst::Gather {
                dst,
                lie,
                src,
                idx,
                live,
                flag,
                ahead: _,
            } => {
                let (base, bytes) = self.rows(fx, *src);
                let flag = flag.map(|f| self.buffer(fx, f));
                let flag = flag.unwrap_or_else(|| fx.int(0));
                let args = vec![
                    self.buffer(fx, *dst),
                    base,
                    bytes,
                    self.buffer(fx, *idx),
                    self.get(fx, *live),
                    flag,
                ];
                self.call(fx, gather(self.names.core, *dst, *src, *lie), args);
            }
            // `compile` has refused programs with these.
            Inst::Inspect(..)
            | Inst::Queued(_)
            | Inst::Commit
            | Inst::Wait(_)
            | Inst::Release
            | Inst::Barrier => {}
            Inst::Scatter {
                dst,
                idx,
                live,
                src,
                lie,
            } => {
                let (base, bytes) = self.rows(fx, *dst);
                let args = vec![
                    base,
                    bytes,
                    self.buffer(fx, *idx),
                    self.get(fx, *live),
                    self.buffer(fx, *src),
                ];
                self.call(fx, scatter(self.names.core, *dst, *lie), args);
            }
            Inst::Fill {
                dst,
                idx,
                live,
                value,
            } => {
                let (base, bytes) = self.rows(fx, *dst);
                let bits = fx.int(i64::from(value.to_bits()));
                let args = vec![
                    base,
                    bytes,
                    self.buffer(fx, *idx),
                    self.get(fx, *live),
                    bits,
                ];
                self.call(fx, fill(self.names.core, *dst), args);
            }
            Inst::Call { f, tiles, scalars } => {
                let mut args: Vec<Value> = tiles.iter().map(|t| self.buffer(fx, *t)).collect();
                args.extend(scalars.iter().map(|s| self.get(fx, *s)));
                args.push(fx.addc(self.work, self.names.layout.temps));
                fx.b.ins().call(self.names.fns[f.0 as usize], &args);
                let steps = self.names.steps[f.0 as usize];
                let f = &self.names.core.fns[f.0 as usize];
                let dots = |op: &&TileOp| {
                    matches!(
                        op.kind,
                        OpKind::DotKeys { .. } | OpKind::DotValues { only: None, .. }
                    )
                };
                let dots = f.body.iter().filter(dots).count() as i64;
                if dots > 0 && scalars.len() > 1 {
                    let (q, k) = (self.get(fx, scalars[0]), self.get(fx, scalars[1]));
                    self.count(fx, (q, k), steps, dots * i64::from(f.head_dim));
                }
            }
        }
    }

    /// Adds the products of a step to the counter: both extents rounded up as the loops of the dots round them.
    fn count(&self, fx: &mut Fx<'_>, (q, k): (Value, Value), steps: (u32, u32), each: i64) {
        let pad = |fx: &mut Fx<'_>, x: Value, step: u32| {
            let groups = fx.groups(x, i64::from(step));
            fx.mulc(groups, i64::from(step))
        };
        let (q, k) = (pad(fx, q, steps.0), pad(fx, k, steps.1));
        let n = fx.b.ins().imul(q, k);
        let n = fx.mulc(n, each);
        let sum = fx.load(types::I64, self.work, layout::COUNTER);
        let sum = fx.add(sum, n);
        fx.store(sum, self.work, layout::COUNTER);
    }

    fn walk(&mut self, fx: &mut Fx<'_>, [cur, lo, hi, next]: [Val; 4], body: &[Inst]) {
        let (lo, hi) = (self.get(fx, lo), self.get(fx, hi));
        let (head, inside, exit) = (
            fx.b.create_block(),
            fx.b.create_block(),
            fx.b.create_block(),
        );
        fx.b.append_block_param(head, types::I64);
        fx.b.ins().jump(head, &[lo.into()]);
        fx.b.switch_to_block(head);
        let at = fx.b.block_params(head)[0];
        let more = fx.b.ins().icmp(IntCC::SignedLessThan, at, hi);
        fx.b.ins().brif(more, inside, &[], exit, &[]);
        fx.b.switch_to_block(inside);
        self.set(cur, at);
        self.block(fx, body);
        let next = self.get(fx, next);
        fx.b.ins().jump(head, &[next.into()]);
        fx.b.switch_to_block(exit);
    }

    fn call(&self, fx: &mut Fx<'_>, m: Move, args: Vec<Value>) {
        if let Some((_, f)) = self.names.moves.iter().find(|(x, _)| *x == m) {
            fx.b.ins().call(*f, &args);
        }
    }

    /// Address of row 0 of a view, and the bytes from one row to the next.
    fn rows(&self, fx: &mut Fx<'_>, v: View) -> (Value, Value) {
        match v {
            View::Work { buf, width } => {
                let base = fx.addc(self.work, self.names.layout.bufs[buf.0 as usize]);
                (base, fx.int(i64::from(width) * 4))
            }
            View::Tensor { port, batch, head } => {
                let at = layout::strides(port);
                let (batch, head) = (self.get(fx, batch), self.get(fx, head));
                let stride = |fx: &mut Fx<'_>, i: i32| fx.load(types::I64, self.plan, at + 8 * i);
                let (sb, sh) = (
                    stride(fx, 0),
                    stride(fx, if port == Port::Lse { 1 } else { 2 }),
                );
                let b = fx.b.ins().imul(batch, sb);
                let h = fx.b.ins().imul(head, sh);
                let off = fx.add(b, h);
                let size = dtype_of(self.names.core, v).bytes() as i64;
                let off = fx.mulc(off, size);
                let base = fx.load(types::I64, self.plan, layout::pointer(port));
                let base = fx.add(base, off);
                let step = if port == Port::Lse {
                    fx.int(4)
                } else {
                    let sn = stride(fx, 1);
                    fx.mulc(sn, size)
                };
                (base, step)
            }
        }
    }
}

fn bin(fx: &mut Fx<'_>, op: Bin, a: Value, b: Value) -> Value {
    let flag = |fx: &mut Fx<'_>, cc: IntCC| {
        let x = fx.b.ins().icmp(cc, a, b);
        fx.b.ins().uextend(types::I64, x)
    };
    match op {
        Bin::Add => fx.b.ins().iadd(a, b),
        Bin::Sub => fx.b.ins().isub(a, b),
        Bin::Mul => fx.b.ins().imul(a, b),
        Bin::Div => fx.b.ins().udiv(a, b),
        Bin::Rem => fx.b.ins().urem(a, b),
        Bin::Min => fx.b.ins().smin(a, b),
        Bin::Max => fx.b.ins().smax(a, b),
        Bin::And => fx.b.ins().band(a, b),
        Bin::Or => fx.b.ins().bor(a, b),
        Bin::Shl => fx.b.ins().ishl(a, b),
        Bin::Shr => fx.b.ins().ushr(a, b),
        Bin::Eq => flag(fx, IntCC::Equal),
        Bin::Lt => flag(fx, IntCC::SignedLessThan),
        Bin::Le => flag(fx, IntCC::SignedLessThanOrEqual),
    }
}

fn dtype_of(core: &Core, v: View) -> DType {
    match v {
        View::Tensor {
            port: Port::Lse, ..
        }
        | View::Work { .. } => DType::F32,
        View::Tensor { .. } => core.dtype,
    }
}

fn width_of(core: &Core, v: View) -> u32 {
    match v {
        View::Tensor {
            port: Port::Lse, ..
        } => 1,
        View::Tensor { .. } => core.head_dim,
        View::Work { width, .. } => width,
    }
}

fn gather(core: &Core, dst: Place, v: View, lie: Lie) -> Move {
    let to = &core.bufs[dst.buf.0 as usize];
    let (dtype, width) = (dtype_of(core, v), width_of(core, v));
    match to.elem {
        Elem::Data => Move::Keep {
            dtype,
            layout: to.layout,
            width,
        },
        Elem::F32 | Elem::I64 => Move::Gather { dtype, lie, width },
    }
}
fn scatter(core: &Core, v: View, lie: Lie) -> Move {
    Move::Scatter {
        dtype: dtype_of(core, v),
        lie,
        width: width_of(core, v),
    }
}
fn fill(core: &Core, v: View) -> Move {
    Move::Fill {
        dtype: dtype_of(core, v),
        width: width_of(core, v),
    }
}

/// The moves that some code uses, each once, in order of first use.
pub(crate) fn moves(core: &Core) -> Vec<Move> {
    let mut out = Vec::new();
    for code in [&core.plan, &core.enter, &core.body] {
        collect(core, code, &mut out);
    }
    out
}

fn collect(core: &Core, code: &[Inst], out: &mut Vec<Move>) {
    for inst in code {
        let m = match inst {
            Inst::Gather { dst, src, lie, .. } => gather(core, *dst, *src, *lie),
            Inst::Scatter { dst, lie, .. } => scatter(core, *dst, *lie),
            Inst::Fill { dst, .. } => fill(core, *dst),
            Inst::Floats { f, .. } => Move::Floats(*f),
            Inst::For { body, .. } | Inst::Walk { body, .. } => {
                collect(core, body, out);
                continue;
            }
            Inst::If { then, els, .. } => {
                collect(core, then, out);
                collect(core, els, out);
                continue;
            }
            Inst::Const(..)
            | Inst::Arg(..)
            | Inst::Bin(..)
            | Inst::Select(..)
            | Inst::Table(..)
            | Inst::Plan(..)
            | Inst::PlanStore(..)
            | Inst::Load(..)
            | Inst::Store(..)
            | Inst::Inspect(..)
            | Inst::Queued(_)
            | Inst::Commit
            | Inst::Wait(_)
            | Inst::Release
            | Inst::Barrier
            | Inst::Call { .. } => continue,
        };
        if !out.contains(&m) {
            out.push(m);
        }
    }
}
