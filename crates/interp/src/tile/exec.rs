// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The machine that runs core code: scalars and control flow.
//!
//! In: code. Out: the effects of its instructions, in program order, or the first fault.

use attnc_tensor::{Tensor, View};
use attnc_tile::core::{Arg, Bin, Bound, BufId, Core, CountFn, Inst, Layout, Range, Val};

use super::order::Order;
use super::{FaultKind, Memory, ops};

/// State of one run.
pub(crate) struct Machine<'a> {
    pub(crate) core: &'a Core,
    pub(super) inputs: [&'a View<'a>; 3],
    pub(super) batch: usize,
    pub(super) seq_len: usize,
    pub(super) out: &'a mut Tensor,
    pub(super) lse: &'a mut Tensor,
    pub(super) out_written: Vec<Option<i64>>,
    pub(super) lse_written: Vec<Option<i64>>,
    vals: Vec<Option<i64>>,
    plan: Vec<Vec<Option<i64>>>,
    pub(crate) mem: Vec<Memory>,
    pub(super) order: Order,
    pub(super) task: Option<i64>,
    pub(crate) madds: u64,
    /// The way to the instruction at fault, innermost first.
    pub(crate) trail: Vec<String>,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(
        core: &'a Core,
        inputs: [&'a View<'a>; 3],
        batch: usize,
        seq_len: usize,
        out: &'a mut Tensor,
        lse: &'a mut Tensor,
    ) -> Machine<'a> {
        let (rows, lses) = (out.len() / core.head_dim.max(1) as usize, lse.len());
        Machine {
            core,
            inputs,
            batch,
            seq_len,
            out,
            lse,
            out_written: vec![None; rows],
            lse_written: vec![None; lses],
            vals: vec![None; core.vals as usize],
            plan: core
                .plan_tables
                .iter()
                .map(|t| vec![None; t.len as usize])
                .collect(),
            mem: core
                .bufs
                .iter()
                .map(|b| {
                    let parts = if b.staged { core.stages } else { 1 };
                    Memory::new(b.elem, b.len * u64::from(parts))
                })
                .collect(),
            order: Order::new(core),
            task: None,
            madds: 0,
            trail: Vec::new(),
        }
    }

    /// Runs the launch plan; yields the number of tasks.
    pub(crate) fn plan(&mut self) -> Result<i64, FaultKind> {
        self.named("plan", &self.core.plan)?;
        self.get(self.core.tasks)
    }

    /// One `run` call: `enter`, then the tasks first..last.
    pub(crate) fn worker(&mut self, first: i64, last: i64) -> Result<(), FaultKind> {
        self.mem.iter_mut().for_each(Memory::forget);
        self.task = None;
        self.named("enter", &self.core.enter)?;
        for t in first..last {
            for (m, b) in self.mem.iter_mut().zip(&self.core.bufs) {
                if !b.persist {
                    m.forget();
                }
            }
            self.task = Some(t);
            self.order.begin(self.core);
            self.named("body", &self.core.body)?;
            self.order.queue.end()?;
        }
        Ok(())
    }

    /// Every output element must have been written; yields the products issued.
    pub(crate) fn finish(self) -> Result<u64, FaultKind> {
        for (what, written) in [("out", &self.out_written), ("lse", &self.lse_written)] {
            if let Some(index) = written.iter().position(Option::is_none) {
                return Err(FaultKind::Missing { what, index });
            }
        }
        Ok(self.madds)
    }

    pub(crate) fn get(&self, v: Val) -> Result<i64, FaultKind> {
        self.vals
            .get(v.0 as usize)
            .copied()
            .flatten()
            .ok_or(FaultKind::Malformed("a value is used before it is defined"))
    }

    fn set(&mut self, v: Val, x: i64) -> Result<(), FaultKind> {
        *self
            .vals
            .get_mut(v.0 as usize)
            .ok_or(FaultKind::Malformed("a value has no number"))? = Some(x);
        Ok(())
    }

    fn name(&self, b: BufId) -> Result<&'a str, FaultKind> {
        self.core
            .bufs
            .get(b.0 as usize)
            .map(|b| b.name.as_str())
            .ok_or(FaultKind::Malformed("a buffer does not exist"))
    }

    pub(super) fn layout(&self, b: BufId) -> Result<Layout, FaultKind> {
        let buf = self.core.bufs.get(b.0 as usize);
        buf.map(|b| b.layout)
            .ok_or(FaultKind::Malformed("a buffer does not exist"))
    }

    /// Where element `i` of a staged buffer's part is; elsewhere `i` itself.
    fn slot(&self, b: BufId, i: i64, part: u64) -> Result<i64, FaultKind> {
        let buf = &self.core.bufs[b.0 as usize];
        match u64::try_from(i) {
            Ok(x) if x < buf.len => Ok((part * buf.len + x) as i64),
            Ok(_) | Err(_) => Err(FaultKind::Bounds {
                what: buf.name.clone(),
                index: i,
                len: buf.len,
            }),
        }
    }

    /// An element as it is read: of a staged buffer, the front's.
    fn front(&self, b: BufId, i: i64) -> Result<i64, FaultKind> {
        if self.core.bufs[b.0 as usize].staged {
            self.slot(b, i, self.order.front()?)
        } else {
            Ok(i)
        }
    }

    /// An element as it is written: of a staged buffer, the rear's.
    fn rear(&mut self, b: BufId, i: i64) -> Result<i64, FaultKind> {
        if self.core.bufs[b.0 as usize].staged {
            let part = self.order.fill(self.core, &mut self.mem)?;
            self.slot(b, i, part)
        } else {
            Ok(i)
        }
    }

    pub(crate) fn int(&self, b: BufId, i: i64) -> Result<i64, FaultKind> {
        let name = self.name(b)?;
        self.mem[b.0 as usize].int(name, self.front(b, i)?)
    }

    /// A row number of an asynchronous copy.
    pub(super) fn int_behind(&self, b: BufId, i: i64) -> Result<i64, FaultKind> {
        let name = self.name(b)?;
        let at = if self.core.bufs[b.0 as usize].staged {
            self.slot(b, i, self.order.rear())?
        } else {
            i
        };
        self.mem[b.0 as usize].int(name, at)
    }

    pub(crate) fn float(&self, b: BufId, i: i64) -> Result<f32, FaultKind> {
        let name = self.name(b)?;
        self.order.read(self.core, b, i)?;
        self.mem[b.0 as usize].float(name, self.front(b, i)?)
    }

    pub(crate) fn set_float(&mut self, b: BufId, i: i64, x: f32) -> Result<(), FaultKind> {
        let name = self.name(b)?;
        if self.core.bufs[b.0 as usize].staged {
            return Err(FaultKind::Malformed(
                "a staged buffer is written at once, not by a copy",
            ));
        }
        self.order.write(self.core, b, i)?;
        self.mem[b.0 as usize].set_float(name, i, x)
    }

    /// Begins to copy an element into the stage at the rear.
    pub(super) fn copy_float(&mut self, b: BufId, i: i64, x: f32) -> Result<(), FaultKind> {
        self.name(b)?;
        if !self.core.bufs[b.0 as usize].staged {
            return Err(FaultKind::Malformed("a copy into what is not staged"));
        }
        let at = self.rear(b, i)?;
        self.order.copy(b, at as usize, x);
        Ok(())
    }

    /// Sets a flag.
    pub(super) fn raise(&mut self, b: BufId, i: i64) -> Result<(), FaultKind> {
        self.order.raise(self.core, b, i)?;
        self.put_int(b, i, 1)
    }

    /// Stores an integer for scalar code.
    fn set_int(&mut self, b: BufId, i: i64, x: i64) -> Result<(), FaultKind> {
        self.order.store(self.core, b, i)?;
        let i = self.rear(b, i)?;
        self.put_int(b, i, x)
    }

    fn put_int(&mut self, b: BufId, i: i64, x: i64) -> Result<(), FaultKind> {
        let name = self.name(b)?;
        if !self.in_range(self.core.bufs[b.0 as usize].range, x) {
            return Err(FaultKind::OutOfRange {
                what: name.to_string(),
                value: x,
            });
        }
        self.mem[b.0 as usize].set_int(name, i, x)
    }

    fn in_range(&self, r: Option<Range>, x: i64) -> bool {
        r.is_none_or(|r| {
            let hi = match r.hi {
                Bound::Const(c) => c,
                Bound::SeqLen(c) => self.seq_len as i64 + c,
                Bound::Batch(c) => self.batch as i64 + c,
            };
            r.lo <= x && x <= hi
        })
    }

    fn block(&mut self, code: &'a [Inst]) -> Result<(), FaultKind> {
        for (i, inst) in code.iter().enumerate() {
            if let Err(fault) = self.inst(inst) {
                self.trail.push(i.to_string());
                return Err(fault);
            }
        }
        Ok(())
    }

    /// A block inside an instruction, or a section, by name.
    fn named(&mut self, name: &str, code: &'a [Inst]) -> Result<(), FaultKind> {
        let run = self.block(code);
        if run.is_err() {
            self.trail.push(name.to_string());
        }
        run
    }

    fn inst(&mut self, inst: &'a Inst) -> Result<(), FaultKind> {
        self.order.insts += 1;
        match inst {
            Inst::Const(v, x) => self.set(*v, *x),
            Inst::Arg(v, a) => {
                let x = match a {
                    Arg::Batch => self.batch as i64,
                    Arg::SeqLen => self.seq_len as i64,
                    Arg::Task => self.task.ok_or(FaultKind::Malformed(
                        "the task number is read outside a task",
                    ))?,
                };
                self.set(*v, x)
            }
            Inst::Bin(v, op, a, b) => {
                let x = bin(*op, self.get(*a)?, self.get(*b)?)?;
                self.set(*v, x)
            }
            Inst::Select(v, c, a, b) => {
                let x = if self.get(*c)? != 0 {
                    self.get(*a)?
                } else {
                    self.get(*b)?
                };
                self.set(*v, x)
            }
            Inst::Table(v, t, i) => {
                let t = &self.core.tables[t.0 as usize];
                let i = self.get(*i)?;
                let x = usize::try_from(i).ok().and_then(|i| t.data.get(i)).copied();
                let fault = FaultKind::Bounds {
                    what: t.name.clone(),
                    index: i,
                    len: t.data.len() as u64,
                };
                self.set(*v, x.ok_or(fault)?)
            }
            Inst::Plan(v, t, i) => {
                let i = self.get(*i)?;
                let x = *self.plan_slot(t.0, i)?;
                let what = self.core.plan_tables[t.0 as usize].name.clone();
                self.set(
                    *v,
                    x.ok_or(FaultKind::Uninitialised {
                        what,
                        index: i as u64,
                    })?,
                )
            }
            Inst::PlanStore(t, i, x) => {
                let (i, x) = (self.get(*i)?, self.get(*x)?);
                let table = &self.core.plan_tables[t.0 as usize];
                if !self.in_range(table.range, x) {
                    return Err(FaultKind::OutOfRange {
                        what: table.name.clone(),
                        value: x,
                    });
                }
                *self.plan_slot(t.0, i)? = Some(x);
                Ok(())
            }
            Inst::Load(v, b, i) => {
                let i = self.get(*i)?;
                self.order.read(self.core, *b, i)?;
                let x = self.int(*b, i)?;
                self.set(*v, x)
            }
            Inst::Store(b, i, x) => {
                let (i, x) = (self.get(*i)?, self.get(*x)?);
                self.set_int(*b, i, x)
            }
            Inst::For {
                iv,
                lo,
                hi,
                step,
                body,
            } => {
                let (mut i, hi, step) = (self.get(*lo)?, self.get(*hi)?, self.get(*step)?);
                if step < 1 {
                    return Err(FaultKind::Arithmetic("a loop's step is not positive"));
                }
                while i < hi {
                    self.set(*iv, i)?;
                    self.named("do", body)?;
                    i = i.saturating_add(step);
                }
                Ok(())
            }
            Inst::Walk {
                cur,
                lo,
                hi,
                body,
                next,
            } => {
                let (mut i, hi) = (self.get(*lo)?, self.get(*hi)?);
                while i < hi {
                    self.set(*cur, i)?;
                    self.named("do", body)?;
                    let n = self.get(*next)?;
                    if n <= i {
                        return Err(FaultKind::Arithmetic("a walk does not advance"));
                    }
                    i = n;
                }
                Ok(())
            }
            Inst::If { cond, then, els } => {
                let taken = self.get(*cond)? != 0;
                if taken {
                    self.named("then", then)
                } else {
                    self.named("else", els)
                }
            }
            Inst::Floats { dst, src, count, f } => {
                let (d, s) = (self.get(dst.at)?, self.get(src.at)?);
                for i in 0..self.get(*count)? {
                    let x = self.int(src.buf, s + i)?;
                    if x < 0 {
                        return Err(FaultKind::Arithmetic("a count is negative"));
                    }
                    let x = x as f64;
                    let y = match f {
                        CountFn::Float => x,
                        CountFn::Log2 => x.log2(),
                        CountFn::Ln => x.ln(),
                    };
                    self.set_float(dst.buf, d + i, y as f32)?;
                }
                Ok(())
            }
            Inst::Gather {
                dst,
                lie,
                src,
                idx,
                live,
                flag,
                ahead,
            } => self.gather(*dst, *lie, *src, *idx, *live, *flag, *ahead),
            Inst::Inspect(v, src, width, live) => {
                let (at, rows, width) = (self.get(src.at)?, self.get(*live)?, u64::from(*width));
                let layout = self.layout(src.buf)?;
                let mut found = false;
                for i in 0..rows.max(0) as u64 {
                    for d in 0..width {
                        let x = layout.at(i, d, width) as i64;
                        found |= self.large(self.float(src.buf, at + x)?);
                    }
                }
                self.set(*v, i64::from(found))
            }
            Inst::Queued(v) => self.set(*v, i64::from(self.order.queue.flying())),
            Inst::Commit => self.order.commit(),
            Inst::Wait(ahead) => self.order.wait(*ahead, self.core, &mut self.mem),
            Inst::Release => Ok(self.order.queue.release()?),
            Inst::Barrier => {
                self.order.barrier();
                Ok(())
            }
            Inst::Scatter {
                dst,
                idx,
                live,
                src,
                lie,
            } => self.scatter(*dst, *idx, *live, *src, *lie),
            Inst::Fill {
                dst,
                idx,
                live,
                value,
            } => {
                let (at, width) = (self.get(idx.at)?, self.width(*dst));
                for i in 0..self.get(*live)? {
                    let row = self.int(idx.buf, at + i)?;
                    self.put_row(*dst, row, &vec![*value; width])?;
                }
                Ok(())
            }
            Inst::Call { f, tiles, scalars } => {
                let f = &self.core.fns[f.0 as usize];
                let tiles = tiles
                    .iter()
                    .map(|p| Ok((p.buf, self.get(p.at)?)))
                    .collect::<Result<Vec<_>, FaultKind>>()?;
                let scalars = scalars
                    .iter()
                    .map(|s| self.get(*s))
                    .collect::<Result<Vec<_>, _>>()?;
                ops::call(self, f, &tiles, &scalars)
            }
        }
    }

    fn plan_slot(&mut self, t: u32, i: i64) -> Result<&mut Option<i64>, FaultKind> {
        let (table, name) = (
            &mut self.plan[t as usize],
            &self.core.plan_tables[t as usize].name,
        );
        let len = table.len() as u64;
        usize::try_from(i)
            .ok()
            .and_then(|i| table.get_mut(i))
            .ok_or_else(|| FaultKind::Bounds {
                what: name.clone(),
                index: i,
                len,
            })
    }
}

fn bin(op: Bin, a: i64, b: i64) -> Result<i64, FaultKind> {
    let over = FaultKind::Arithmetic("an integer overflows");
    Ok(match op {
        Bin::Add => a.checked_add(b).ok_or(over)?,
        Bin::Sub => a.checked_sub(b).ok_or(over)?,
        Bin::Mul => a.checked_mul(b).ok_or(over)?,
        Bin::Div | Bin::Rem => {
            if b < 1 || a < 0 {
                return Err(FaultKind::Arithmetic(
                    "a division by what is not positive, or of what is negative",
                ));
            }
            if op == Bin::Div { a / b } else { a % b }
        }
        Bin::Min => a.min(b),
        Bin::Max => a.max(b),
        Bin::And => a & b,
        Bin::Or => a | b,
        Bin::Shl | Bin::Shr => {
            let by = u32::try_from(b)
                .ok()
                .filter(|b| *b < 64)
                .ok_or(FaultKind::Arithmetic("a shift by more than 63"))?;
            if op == Bin::Shl {
                a << by
            } else {
                (a as u64 >> by) as i64
            }
        }
        Bin::Eq => i64::from(a == b),
        Bin::Lt => i64::from(a < b),
        Bin::Le => i64::from(a <= b),
    })
}
