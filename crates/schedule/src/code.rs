// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A builder for core programs: scalar code that reads like the formulas it stands for.
//!
//! In: calls in program order, closures for the bodies of loops and conditionals. Out: a `Core` with its buffers, tables and code.

use attnc_tile::core::{
    Arg, Bin, Bound, Buf, BufId, Core, CountFn, Elem, FnId, Inst, Layout, Lie, Place, PlanId,
    PlanTable, Range, Space, Table, TableId, TileFn, Val, View,
};

/// Collects instructions into nested blocks.
pub(crate) struct Code {
    core: Core,
    blocks: Vec<Vec<Inst>>,
    /// Where integer buffers live.
    ints: Space,
}

impl Code {
    /// Starts from a core without code.
    pub(crate) fn new(core: Core, ints: Space) -> Code {
        Code {
            core,
            blocks: vec![Vec::new()],
            ints,
        }
    }

    /// Ends a section (plan, enter or body) and yields its code.
    pub(crate) fn section(&mut self) -> Vec<Inst> {
        debug_assert_eq!(self.blocks.len(), 1, "every block is closed");
        std::mem::replace(&mut self.blocks, vec![Vec::new()])
            .pop()
            .unwrap_or_default()
    }

    /// The finished core; the caller has set its sections.
    pub(crate) fn finish(self, set: impl FnOnce(&mut Core)) -> Core {
        let mut core = self.core;
        set(&mut core);
        core
    }

    fn push(&mut self, inst: Inst) {
        if let Some(block) = self.blocks.last_mut() {
            block.push(inst);
        }
    }

    fn val(&mut self) -> Val {
        self.core.vals += 1;
        Val(self.core.vals - 1)
    }

    fn nested(&mut self, body: impl FnOnce(&mut Code)) -> Vec<Inst> {
        self.blocks.push(Vec::new());
        body(self);
        self.blocks.pop().unwrap_or_default()
    }

    /// Declares an integer buffer whose elements lie in `range`.
    pub(crate) fn ints(&mut self, name: &str, len: u64, range: Option<Range>) -> BufId {
        self.buffer(name, Elem::I64, len, self.ints, Layout::Row, range)
    }

    /// Declares a float buffer.
    pub(crate) fn floats(&mut self, name: &str, len: u64, space: Space, layout: Layout) -> BufId {
        self.buffer(name, Elem::F32, len, space, layout, None)
    }

    /// Makes a buffer keep its contents from task to task.
    pub(crate) fn persist(&mut self, buf: BufId) {
        self.core.bufs[buf.0 as usize].persist = true;
    }

    /// Declares a panel: rows of tensors, as they are in the program's stages or where they are packed, else as floats.
    pub(crate) fn panel(&mut self, name: &str, len: u64, lie: (Space, Layout)) -> BufId {
        let staged = self.core.stages > 1;
        if !staged && !lie.1.packed() {
            return self.floats(name, len, lie.0, lie.1);
        }
        let buf = self.buffer(name, Elem::Data, len, lie.0, lie.1, None);
        if staged {
            self.staged(buf);
        }
        buf
    }

    /// Gives a buffer a part for each stage.
    pub(crate) fn staged(&mut self, buf: BufId) {
        self.core.bufs[buf.0 as usize].staged = true;
    }

    fn buffer(
        &mut self,
        name: &str,
        elem: Elem,
        len: u64,
        space: Space,
        layout: Layout,
        range: Option<Range>,
    ) -> BufId {
        self.core.bufs.push(Buf {
            name: name.to_string(),
            elem,
            len,
            space,
            layout,
            persist: false,
            staged: false,
            range,
        });
        BufId(self.core.bufs.len() as u32 - 1)
    }

    /// Declares a table of constants.
    pub(crate) fn table(&mut self, name: &str, data: Vec<i64>) -> TableId {
        self.core.tables.push(Table {
            name: name.to_string(),
            data,
        });
        TableId(self.core.tables.len() as u32 - 1)
    }

    /// Declares a plan table.
    pub(crate) fn plan_table(&mut self, name: &str, len: u64, range: Option<Range>) -> PlanId {
        self.core.plan_tables.push(PlanTable {
            name: name.to_string(),
            len,
            range,
        });
        PlanId(self.core.plan_tables.len() as u32 - 1)
    }

    /// Adds a tile function.
    pub(crate) fn function(&mut self, f: TileFn) -> FnId {
        self.core.fns.push(f);
        FnId(self.core.fns.len() as u32 - 1)
    }

    pub(crate) fn c(&mut self, x: i64) -> Val {
        let v = self.val();
        self.push(Inst::Const(v, x));
        v
    }
    pub(crate) fn arg(&mut self, a: Arg) -> Val {
        let v = self.val();
        self.push(Inst::Arg(v, a));
        v
    }
    fn bin(&mut self, op: Bin, a: Val, b: Val) -> Val {
        let v = self.val();
        self.push(Inst::Bin(v, op, a, b));
        v
    }
    pub(crate) fn add(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::Add, a, b)
    }
    pub(crate) fn sub(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::Sub, a, b)
    }
    pub(crate) fn mul(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::Mul, a, b)
    }
    pub(crate) fn div(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::Div, a, b)
    }
    pub(crate) fn rem(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::Rem, a, b)
    }
    pub(crate) fn min(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::Min, a, b)
    }
    pub(crate) fn max(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::Max, a, b)
    }
    pub(crate) fn and(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::And, a, b)
    }
    pub(crate) fn or(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::Or, a, b)
    }
    pub(crate) fn shl(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::Shl, a, b)
    }
    pub(crate) fn shr(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::Shr, a, b)
    }
    pub(crate) fn eq(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::Eq, a, b)
    }
    pub(crate) fn lt(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::Lt, a, b)
    }
    pub(crate) fn le(&mut self, a: Val, b: Val) -> Val {
        self.bin(Bin::Le, a, b)
    }
    /// x + constant.
    pub(crate) fn addc(&mut self, a: Val, x: i64) -> Val {
        let c = self.c(x);
        self.add(a, c)
    }
    /// ceil(a / b).
    pub(crate) fn ceil_div(&mut self, a: Val, b: Val) -> Val {
        let s = self.add(a, b);
        let s = self.addc(s, -1);
        self.div(s, b)
    }
    /// a == 0.
    pub(crate) fn is_zero(&mut self, a: Val) -> Val {
        let zero = self.c(0);
        self.eq(a, zero)
    }
    pub(crate) fn select(&mut self, c: Val, a: Val, b: Val) -> Val {
        let v = self.val();
        self.push(Inst::Select(v, c, a, b));
        v
    }
    pub(crate) fn at(&mut self, t: TableId, i: Val) -> Val {
        let v = self.val();
        self.push(Inst::Table(v, t, i));
        v
    }
    pub(crate) fn plan(&mut self, t: PlanId, i: Val) -> Val {
        let v = self.val();
        self.push(Inst::Plan(v, t, i));
        v
    }
    pub(crate) fn plan_store(&mut self, t: PlanId, i: Val, x: Val) {
        self.push(Inst::PlanStore(t, i, x));
    }
    pub(crate) fn load(&mut self, b: BufId, i: Val) -> Val {
        let v = self.val();
        self.push(Inst::Load(v, b, i));
        v
    }
    pub(crate) fn store(&mut self, b: BufId, i: Val, x: Val) {
        self.push(Inst::Store(b, i, x));
    }
    /// A mutable scalar: element `i` of a buffer of cells.
    pub(crate) fn get(&mut self, b: BufId) -> Val {
        let zero = self.c(0);
        self.load(b, zero)
    }
    /// Writes a cell.
    pub(crate) fn set(&mut self, b: BufId, x: Val) {
        let zero = self.c(0);
        self.store(b, zero, x);
    }
    /// Element 0 of a buffer.
    pub(crate) fn start(&mut self, buf: BufId) -> Place {
        Place { buf, at: self.c(0) }
    }

    pub(crate) fn range(&mut self, lo: Val, hi: Val, step: Val, body: impl FnOnce(&mut Code, Val)) {
        let iv = self.val();
        let body = self.nested(|c| body(c, iv));
        self.push(Inst::For {
            iv,
            lo,
            hi,
            step,
            body,
        });
    }
    /// for i in 0..hi.
    pub(crate) fn upto(&mut self, hi: Val, body: impl FnOnce(&mut Code, Val)) {
        let (lo, step) = (self.c(0), self.c(1));
        self.range(lo, hi, step, body);
    }
    /// Repeats while the current value is below `hi`; the body yields the next one.
    pub(crate) fn walk(&mut self, lo: Val, hi: Val, body: impl FnOnce(&mut Code, Val) -> Val) {
        let cur = self.val();
        let mut next = cur;
        let body = self.nested(|c| next = body(c, cur));
        self.push(Inst::Walk {
            cur,
            lo,
            hi,
            body,
            next,
        });
    }
    pub(crate) fn when(&mut self, cond: Val, then: impl FnOnce(&mut Code)) {
        let then = self.nested(then);
        self.push(Inst::If {
            cond,
            then,
            els: Vec::new(),
        });
    }
    pub(crate) fn either(
        &mut self,
        cond: Val,
        then: impl FnOnce(&mut Code),
        els: impl FnOnce(&mut Code),
    ) {
        let then = self.nested(then);
        let els = self.nested(els);
        self.push(Inst::If { cond, then, els });
    }
    pub(crate) fn counts(&mut self, dst: Place, src: Place, count: Val, f: CountFn) {
        self.push(Inst::Floats { dst, src, count, f });
    }
    pub(crate) fn gather(
        &mut self,
        dst: Place,
        lie: Lie,
        src: View,
        idx: Place,
        live: Val,
        flag: Option<Place>,
    ) {
        self.push(Inst::Gather {
            dst,
            lie,
            src,
            idx,
            live,
            flag,
            ahead: false,
        });
    }
    /// Begins to copy rows of a tensor into the stage at the rear.
    pub(crate) fn copy(&mut self, dst: Place, src: View, idx: Place, live: Val) {
        self.push(Inst::Gather {
            dst,
            lie: Lie::Rows,
            src,
            idx,
            live,
            flag: None,
            ahead: true,
        });
    }
    /// 1 where one of `live` rows holds an element that needs care.
    pub(crate) fn inspect(&mut self, src: Place, width: u32, live: Val) -> Val {
        let v = self.val();
        self.push(Inst::Inspect(v, src, width, live));
        v
    }
    pub(crate) fn queued(&mut self) -> Val {
        let v = self.val();
        self.push(Inst::Queued(v));
        v
    }
    pub(crate) fn commit(&mut self) {
        self.push(Inst::Commit);
    }
    pub(crate) fn wait(&mut self, ahead: u32) {
        self.push(Inst::Wait(ahead));
    }
    pub(crate) fn release(&mut self) {
        self.push(Inst::Release);
    }
    /// All warps of the block, where there are several.
    pub(crate) fn barrier(&mut self) {
        if self.core.warps > 1 {
            self.push(Inst::Barrier);
        }
    }
    pub(crate) fn scatter(&mut self, dst: View, idx: Place, live: Val, src: Place, lie: Lie) {
        self.push(Inst::Scatter {
            dst,
            idx,
            live,
            src,
            lie,
        });
    }
    pub(crate) fn fill(&mut self, dst: View, idx: Place, live: Val, value: f32) {
        self.push(Inst::Fill {
            dst,
            idx,
            live,
            value,
        });
    }
    pub(crate) fn call(&mut self, f: FnId, tiles: Vec<Place>, scalars: Vec<Val>) {
        self.push(Inst::Call { f, tiles, scalars });
    }
}

/// lo..=hi with a constant upper end.
pub(crate) fn within(lo: i64, hi: i64) -> Option<Range> {
    Some(Range {
        lo,
        hi: Bound::Const(hi),
    })
}

/// lo..=N + c.
pub(crate) fn within_seq(lo: i64, c: i64) -> Option<Range> {
    Some(Range {
        lo,
        hi: Bound::SeqLen(c),
    })
}
