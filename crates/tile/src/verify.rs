// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The verifier of core programs: what compiled code takes on trust is proven here, for every B >= 1 and N in 1..=2^47.
//!
//! In: a [`Core`]. Out: nothing, or every broken rule with the way to the instruction. Scalars are followed by intervals and
//! differences (`verify/facts.rs`), moves and calls are checked in `verify/moves.rs`, tile functions in `verify/function.rs`.
//!
//! The rules ([`Rule`], by number):
//! 1. Every value is below `vals`, defined once, and used only where its definition is in scope.
//! 2. Buffers, tables, plan tables and functions that are named exist.
//! 3. Integer code touches I64 buffers, float moves F32 buffers, row numbers and flags I64 buffers. Data is what rows of tensors are
//!    gathered into as they are and what `inspect` and the dots read.
//! 4. The index of a load, store, table or plan access lies inside.
//! 5. A stored value lies in the range that its buffer or plan table promises; the range of a buffer holds 0, which is what a worker's
//!    fresh memory holds.
//! 6. Dividends are at least 0, divisors at least 1.
//! 7. Shifts are by 0..=63.
//! 8. A loop steps by at least 1 and not beyond 64 bits; a walk's next value is larger.
//! 9. Instructions stand in a section where they mean something: task numbers and outputs in `body`, plan stores in `plan`.
//! 10. The places of moves, over all their rows and padding, lie inside their buffers; counts are at least 0 and fit the stride.
//! 11. Row numbers lie inside the tensor or work buffer; -1 is allowed only to column gathers.
//! 12. Batch entries and heads lie inside the tensor.
//! 13. Inputs are gathered from, outputs scattered to; strides of columns are multiples of the query step.
//! 14. A call passes as many places and values as the function has; each place has room for the whole tile, in the right type.
//! 15. `live_q` is in 1..=mq and `live_k` in 1..=nk, always (a call without rows must not be reached).
//! 16. A tile that a function writes shares its buffer with no other tile of the call.
//! 17. No buffer is read before the first instruction that writes it (in `enter` for what persists). Buffers are tracked whole: the
//!     interpreter, which tracks elements, finds the rest. Plan tables are written whole by the plan (`verify/plan.rs`).
//! 18. No two tasks write the same rows: there are as many tasks as batch entries times heads times chunks of S rows, batch entry,
//!     head and chunk of an output write are decoded from the task number by division (`verify/facts/tasks.rs`), and the row numbers
//!     come from buffers that do not persist and in which only rows of that chunk are stored. (That a task writes each of its rows
//!     once, the interpreter finds.)
//! 19. Extents of functions are multiples of the steps, D is the operator's, and the live counts are among the scalars.
//! 20. Operands of tile operations exist and have the axes and types that the operation needs.
//! 21. Contracted and paired key axes carry the same order tag.
//! 22. Tiles are written before they are read, under every combination of guards.
//! 23. Scores are masked before they are reduced, exponentiated or contracted, under every combination of guards.
//! 24. Guards name scalar parameters other than the live counts.
//! 25. What becomes a float count is at least 0.
//! 26. Names can be written down and read back: words that the text form does not use itself, distinct among the buffers and tables,
//!     the functions, the tiles of a function and its scalars; the operator and the target are words.
//! 27. Buffers that persist are in work memory; integers are in rows and not in fragments; swizzled tiles are in shared memory, of
//!     which a block has [`SHARED_BYTES`]; rows are taken by number neither from fragments nor from swizzled tiles.
//! 28. Heads, head dimension, buffers, temporaries and plan tables are within limits that every machine can hold; key/value heads
//!     divide the heads.
//! 29. There are 1 to 8 stages and 1 to 32 warps, over which the rows of tiles divide in fragments of 16. Staged buffers are in shared
//!     memory and do not persist; nothing but scalar stores and asynchronous gathers fills them. Asynchronous gathers copy rows of
//!     tensors as they are into staged buffers of the operator's dtype and raise no flag. Only `body` has stages and barriers.
//! 30. On every way through the program a staged buffer is read only while a stage of it is the front; a wait covers the oldest stage
//!     in flight and comes after the release of the last one; what is committed was filled, and no task ends with a stage in use.
//! 31. On every way a stage is filled only while one is free, neither in flight nor read.
//! 32. On every way there is a barrier between a wait and the reads of its stage and between a release and the next fill of that
//!     stage, between warps that touch the same float buffer in work or shared memory, one of them writing, and between a gather that
//!     raises a flag and a load of it. Integer code is ordered by the backend. (30 to 32 are checked when all other rules hold.)
//! 33. Functions that compute scores compare positions in a mask of them, and where they ask what is visible, in causal programs; in
//!     others none does. (Under which guard is the caller's promise, which the interpreter checks.)
//! 34. Packed are panels only: buffers of the operator's dtype, which nothing but gathers of rows fills and nothing but `inspect` and
//!     calls reads, and tiles of keys or values that stand in buffers of the same packing. A pitch has room for a row, a stride, a
//!     multiple of the key step, for the keys.
//!
//! Of a sum, difference or product that may leave 64 bits nothing is known: machine code wraps around, the interpreter faults.

mod facts;
mod function;
mod limits;
mod moves;
mod name;
mod order;
mod plan;
mod space;
mod stages;
mod uses;

use std::collections::BTreeSet;

use crate::core::{Arg, Bin, BufId, Core, Elem, Inst, PlanId, Range, TableId, Val};
use facts::Facts;
pub use space::SHARED_BYTES;

/// The rules, in the order of the list at the top of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rule {
    /// 1
    Scope = 1,
    /// 2
    Exists,
    /// 3
    ElementType,
    /// 4
    Index,
    /// 5
    StoredRange,
    /// 6
    Division,
    /// 7
    Shift,
    /// 8
    LoopStep,
    /// 9
    Section,
    /// 10
    MoveBounds,
    /// 11
    Rows,
    /// 12
    Head,
    /// 13
    Port,
    /// 14
    CallPlaces,
    /// 15
    Live,
    /// 16
    Alias,
    /// 17
    ReadFirst,
    /// 18
    Race,
    /// 19
    Extents,
    /// 20
    Operand,
    /// 21
    Order,
    /// 22
    Unwritten,
    /// 23
    Unmasked,
    /// 24
    Guard,
    /// 25
    Count,
    /// 26
    Name,
    /// 27
    Space,
    /// 28
    Limits,
    /// 29
    Stages,
    /// 30
    InFlight,
    /// 31
    Refill,
    /// 32
    Barrier,
    /// 33
    Positions,
    /// 34
    Packing,
}

impl Rule {
    /// The rule's number in the list.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {} ({rule:?}) at {path}: {detail}", .rule.number())]
pub struct VerifyError {
    /// Which rule.
    pub rule: Rule,
    /// The way to the instruction: section, then positions in blocks; or function and operation.
    pub path: String,
    /// The names and bounds in question.
    pub detail: String,
}

/// Verifies a program.
///
/// # Errors
/// Every broken rule that was found, in program order.
pub fn core(core: &Core) -> Result<(), Vec<VerifyError>> {
    let mut v = Verifier::new(core);
    v.errors.extend(name::check(core));
    v.errors.extend(space::check(core));
    v.errors.extend(limits::check(core));
    v.errors.extend(plan::check(core));
    v.errors.extend(stages::check(core));
    for f in &core.fns {
        v.errors.extend(function::check(core, f));
    }
    v.section(Section::Plan, &core.plan);
    v.section(Section::Enter, &core.enter);
    v.section(Section::Body, &core.body);
    v.races();
    if v.errors.is_empty() {
        v.errors.extend(order::check(core));
    }
    if v.errors.is_empty() {
        Ok(())
    } else {
        Err(v.errors)
    }
}

/// Where an instruction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Plan,
    Enter,
    Body,
}

impl Section {
    fn name(self) -> &'static str {
        match self {
            Section::Plan => "plan",
            Section::Enter => "enter",
            Section::Body => "body",
        }
    }
}

struct Verifier<'a> {
    core: &'a Core,
    errors: Vec<VerifyError>,
    section: Section,
    path: Vec<String>,
    facts: Facts,
    /// Values that have a definition anywhere so far.
    defined: Vec<bool>,
    visible: Vec<bool>,
    /// Buffers that some earlier instruction writes.
    written: Vec<bool>,
    /// Rows of a chunk, where the number of tasks is that of a grid.
    grid: Option<i64>,
    /// Values that are the first row of the task's chunk.
    first_rows: BTreeSet<u32>,
    /// For each buffer, those first rows in whose chunk everything lies that was stored in it.
    own: Vec<Option<BTreeSet<u32>>>,
    /// Row buffers of output writes.
    outputs: Vec<(String, BufId)>,
}

impl<'a> Verifier<'a> {
    fn new(core: &'a Core) -> Verifier<'a> {
        let (vals, bufs) = (core.vals as usize, core.bufs.len());
        Verifier {
            core,
            errors: Vec::new(),
            section: Section::Plan,
            path: Vec::new(),
            facts: Facts::new(core.vals),
            defined: vec![false; vals],
            visible: vec![false; vals],
            written: vec![false; bufs],
            grid: None,
            first_rows: BTreeSet::new(),
            own: vec![None; bufs],
            outputs: Vec::new(),
        }
    }

    fn fail(&mut self, rule: Rule, detail: String) {
        self.errors.push(VerifyError {
            rule,
            path: self.path.join("."),
            detail,
        });
    }

    fn section(&mut self, section: Section, code: &[Inst]) {
        self.section = section;
        self.path = vec![section.name().to_string()];
        self.visible.fill(false);
        self.facts = Facts::new(self.core.vals);
        for (written, buf) in self.written.iter_mut().zip(&self.core.bufs) {
            *written &= buf.persist;
        }
        self.insts(code);
        if section == Section::Plan {
            if self.is_visible(self.core.tasks) {
                self.grid = self.facts.grid(self.core.tasks, self.core.heads);
            } else {
                let detail = "the number of tasks is not a value of the plan";
                self.fail(Rule::Scope, detail.into());
            }
        }
    }

    fn insts(&mut self, code: &[Inst]) {
        for (i, inst) in code.iter().enumerate() {
            self.path.push(i.to_string());
            self.inst(inst);
            self.path.pop();
        }
    }

    /// A nested block: what it defines and learns is forgotten at its end. `enter` says what holds at its start.
    fn block(
        &mut self,
        name: &str,
        code: &[Inst],
        next: Option<Val>,
        enter: impl FnOnce(&mut Self),
    ) {
        let visible = self.visible.clone();
        let mark = self.facts.mark();
        self.path.push(name.to_string());
        enter(self);
        self.insts(code);
        if let Some(next) = next {
            // A walk's next value is read at the end of its body.
            self.reads(&[next]);
        }
        self.path.pop();
        if next.is_none() {
            self.facts.rewind(mark);
            self.visible = visible;
        }
    }

    fn is_visible(&self, v: Val) -> bool {
        self.visible.get(v.0 as usize).copied().unwrap_or(false)
    }

    /// Uses of values; false when one is out of scope.
    fn reads(&mut self, vals: &[Val]) -> bool {
        let mut ok = true;
        for v in vals {
            if !self.is_visible(*v) {
                self.fail(Rule::Scope, format!("v{} is not in scope", v.0));
                ok = false;
            }
        }
        ok
    }

    /// A definition; false when the value has one already.
    fn defines(&mut self, v: Val) -> bool {
        let i = v.0 as usize;
        if i >= self.defined.len() {
            self.fail(
                Rule::Scope,
                format!("v{} is beyond the number of values", v.0),
            );
            return false;
        }
        if std::mem::replace(&mut self.defined[i], true) {
            self.fail(Rule::Scope, format!("v{} is defined twice", v.0));
            return false;
        }
        self.visible[i] = true;
        true
    }

    fn buffer(&mut self, b: BufId, elem: Elem) -> bool {
        match self.core.bufs.get(b.0 as usize) {
            None => {
                self.fail(Rule::Exists, format!("there is no buffer {}", b.0));
                false
            }
            Some(buf) if buf.elem != elem => {
                let detail = format!("{} does not hold {elem:?}", buf.name);
                self.fail(Rule::ElementType, detail);
                false
            }
            Some(_) => {
                if self.section == Section::Plan {
                    self.fail(Rule::Section, "the plan has no buffers".into());
                }
                true
            }
        }
    }

    /// Says that a buffer is read here.
    fn reads_buffer(&mut self, b: BufId) {
        if !self.written[b.0 as usize] {
            let detail = format!(
                "{} is read before anything writes it",
                self.core.bufs[b.0 as usize].name
            );
            self.fail(Rule::ReadFirst, detail);
            // Once is enough.
            self.written[b.0 as usize] = true;
        }
    }

    fn index(&mut self, name: &str, i: Val, len: u64) {
        let (lo, hi) = self.facts.bounds(i);
        if lo < 0 || i128::from(hi) >= i128::from(len) {
            let detail = format!(
                "{name} has {len} elements, the index is in {}",
                show(lo, hi)
            );
            self.fail(Rule::Index, detail);
        }
    }

    fn stored(&mut self, name: &str, x: Val, range: Option<Range>) {
        if let Some(r) = range
            && !self.facts.within(x, r)
        {
            let (lo, hi) = self.facts.bounds(x);
            let detail = format!("{name} promises {r:?}, the value is in {}", show(lo, hi));
            self.fail(Rule::StoredRange, detail);
        }
    }

    fn plan_table(&mut self, t: PlanId) -> Option<&'a crate::core::PlanTable> {
        let table = self.core.plan_tables.get(t.0 as usize);
        if table.is_none() {
            self.fail(Rule::Exists, format!("there is no plan table {}", t.0));
        }
        table
    }

    fn table(&mut self, t: TableId) -> Option<&'a crate::core::Table> {
        let table = self.core.tables.get(t.0 as usize);
        if table.is_none() {
            self.fail(Rule::Exists, format!("there is no table {}", t.0));
        }
        table
    }

    fn inst(&mut self, inst: &Inst) {
        match inst {
            Inst::Const(v, x) => {
                if self.defines(*v) {
                    self.facts.constant(*v, *x);
                }
            }
            Inst::Arg(v, a) => {
                if *a == Arg::Task && self.section != Section::Body {
                    self.fail(Rule::Section, "the task number outside a task".into());
                }
                if self.defines(*v) {
                    self.facts.arg(*v, *a);
                }
            }
            Inst::Bin(v, op, a, b) => {
                let ok = self.reads(&[*a, *b]);
                if ok {
                    self.operands(*op, *a, *b);
                }
                if self.defines(*v) && ok {
                    self.facts.bin(*v, *op, *a, *b);
                    if self.section == Section::Body
                        && let Some(size) = self.grid
                    {
                        self.first_rows.extend(self.facts.first_row(*v, size));
                    }
                }
            }
            Inst::Select(v, c, a, b) => {
                let ok = self.reads(&[*c, *a, *b]);
                if self.defines(*v) && ok {
                    self.facts.select(*v, *a, *b);
                }
            }
            Inst::Table(v, t, i) => {
                let ok = self.reads(&[*i]);
                let table = self.table(*t);
                if let (true, Some(table)) = (ok, table) {
                    self.index(&table.name, *i, table.data.len() as u64);
                }
                if self.defines(*v)
                    && let Some(table) = table
                {
                    let (lo, hi) = (table.data.iter().min(), table.data.iter().max());
                    if let (Some(lo), Some(hi)) = (lo, hi) {
                        self.facts.interval(*v, *lo, *hi);
                    }
                }
            }
            Inst::Plan(v, t, i) => {
                let ok = self.reads(&[*i]);
                let table = self.plan_table(*t);
                if let (true, Some(table)) = (ok, table) {
                    self.index(&table.name, *i, table.len);
                }
                if self.defines(*v)
                    && let Some(table) = table
                {
                    self.facts.ranged(*v, table.range);
                }
            }
            Inst::PlanStore(t, i, x) => {
                let ok = self.reads(&[*i, *x]);
                if self.section != Section::Plan {
                    self.fail(Rule::Section, "a plan store outside the plan".into());
                }
                if let (Some(table), true) = (self.plan_table(*t), ok) {
                    self.index(&table.name, *i, table.len);
                    self.stored(&table.name, *x, table.range);
                }
            }
            Inst::Load(v, b, i) => {
                let ok = self.reads(&[*i]);
                let mut range = None;
                if self.buffer(*b, Elem::I64) && ok {
                    let buf = &self.core.bufs[b.0 as usize];
                    self.index(&buf.name, *i, buf.len);
                    self.reads_buffer(*b);
                    range = buf.range;
                }
                if self.defines(*v) {
                    self.facts.ranged(*v, range);
                }
            }
            Inst::Store(b, i, x) => {
                let ok = self.reads(&[*i, *x]);
                if self.buffer(*b, Elem::I64) && ok {
                    let buf = &self.core.bufs[b.0 as usize];
                    self.index(&buf.name, *i, buf.len);
                    self.stored(&buf.name, *x, buf.range);
                    self.written[b.0 as usize] = true;
                    self.owns(*b, *x);
                }
            }
            Inst::For {
                iv,
                lo,
                hi,
                step,
                body,
            } => {
                if !self.reads(&[*lo, *hi, *step]) {
                    return;
                }
                if self.facts.bounds(*step).0 < 1 {
                    let detail = format!("the step may be {}", self.facts.bounds(*step).0);
                    self.fail(Rule::LoopStep, detail);
                }
                let ends = [*hi, *step].map(|v| self.facts.bounds(v).1);
                if ends[0].checked_add(ends[1] - 1).is_none() {
                    let detail = format!("the end may be {}, the step {}", ends[0], ends[1]);
                    self.fail(Rule::LoopStep, detail);
                }
                let (iv, lo, hi, step) = (*iv, *lo, *hi, *step);
                self.block("do", body, None, |s| {
                    if s.defines(iv) {
                        s.facts.loop_value(iv, lo, hi, Some(step));
                    }
                });
            }
            Inst::Walk {
                cur,
                lo,
                hi,
                body,
                next,
            } => {
                if !self.reads(&[*lo, *hi]) {
                    return;
                }
                let (cur, lo, hi, next) = (*cur, *lo, *hi, *next);
                let (visible, mark) = (self.visible.clone(), self.facts.mark());
                self.block("do", body, Some(next), |s| {
                    if s.defines(cur) {
                        s.facts.loop_value(cur, lo, hi, None);
                    }
                });
                if self.is_visible(next) && !self.facts.at_most(cur, next, -1) {
                    let detail = format!("v{} is not proven larger than v{}", next.0, cur.0);
                    self.fail(Rule::LoopStep, detail);
                }
                self.facts.rewind(mark);
                self.visible = visible;
            }
            Inst::If { cond, then, els } => {
                let known = self.reads(&[*cond]);
                for (name, code, when) in [("then", then, true), ("else", els, false)] {
                    self.block(name, code, None, |s| {
                        if known {
                            s.facts.assume(*cond, when);
                        }
                    });
                }
            }
            Inst::Floats {
                dst,
                src,
                count,
                f: _,
            } => self.floats(*dst, *src, *count),
            Inst::Gather {
                dst,
                lie,
                src,
                idx,
                live,
                flag,
                ahead: _,
            } => self.gather(*dst, *lie, *src, *idx, *live, *flag),
            Inst::Inspect(v, src, width, live) => {
                let ok = self.reads(&[*live]);
                if ok {
                    self.inspect(*src, *width, *live);
                }
                if self.defines(*v) {
                    self.facts.interval(*v, 0, 1);
                }
            }
            Inst::Queued(v) => {
                self.task_only("stages");
                if self.defines(*v) {
                    self.facts.interval(*v, 0, i64::from(self.core.stages));
                }
            }
            Inst::Commit | Inst::Wait(_) | Inst::Release => self.task_only("stages"),
            Inst::Barrier => self.task_only("barriers"),
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
                value: _,
            } => self.fill(*dst, *idx, *live),
            Inst::Call { f, tiles, scalars } => self.call(*f, tiles, scalars),
        }
    }

    fn task_only(&mut self, what: &str) {
        if self.section != Section::Body {
            self.fail(Rule::Section, format!("{what} outside a task"));
        }
    }

    fn operands(&mut self, op: Bin, a: Val, b: Val) {
        let ((a_lo, _), (b_lo, b_hi)) = (self.facts.bounds(a), self.facts.bounds(b));
        match op {
            Bin::Div | Bin::Rem => {
                if a_lo < 0 || b_lo < 1 {
                    let detail = format!("the dividend may be {a_lo}, the divisor {b_lo}");
                    self.fail(Rule::Division, detail);
                }
            }
            Bin::Shl | Bin::Shr => {
                if b_lo < 0 || b_hi > 63 {
                    self.fail(Rule::Shift, format!("the shift is in {}", show(b_lo, b_hi)));
                }
            }
            Bin::Add
            | Bin::Sub
            | Bin::Mul
            | Bin::Min
            | Bin::Max
            | Bin::And
            | Bin::Or
            | Bin::Eq
            | Bin::Lt
            | Bin::Le => {}
        }
    }

    /// Notes in which chunks a stored value lies.
    fn owns(&mut self, b: BufId, x: Val) {
        let size = self.grid.unwrap_or(0);
        let facts = &self.facts;
        let own = &mut self.own[b.0 as usize];
        let before = own.as_ref().unwrap_or(&self.first_rows);
        let now = before.iter().copied();
        *own = Some(now.filter(|r| facts.in_chunk(x, *r, size)).collect());
    }

    /// Rule 18, when every store has been seen.
    fn races(&mut self) {
        // All rows of a task lie in one chunk, the same for all writes.
        let mut common = self.first_rows.clone();
        for (path, buf) in std::mem::take(&mut self.outputs) {
            let b = &self.core.bufs[buf.0 as usize];
            let none = BTreeSet::new();
            let own = self.own[buf.0 as usize].as_ref().unwrap_or(&none);
            common.retain(|r| own.contains(r));
            if b.persist || common.is_empty() {
                let detail = format!("{} may hold rows of another task's chunk", b.name);
                let rule = Rule::Race;
                self.errors.push(VerifyError { rule, path, detail });
            }
        }
    }
}

/// An interval for people.
fn show(lo: i64, hi: i64) -> String {
    let end = |x: i64, open: i64| {
        if x == open {
            "?".to_string()
        } else {
            x.to_string()
        }
    };
    format!("{}..={}", end(lo, i64::MIN), end(hi, i64::MAX))
}
