// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The text of scalar code. A value that is used once stands where it is used, so that code reads like the formulas it came from.
//!
//! In: a section. Out: lines. What is folded is exactly what the parser unfolds: an instruction is folded only where reading the text
//! (operands before their operation, from left to right; the right side of a store first; the end of a loop before its start)
//! meets it in its place of the program, and only under the number that the parser gives it: one more than the last.

use crate::core::{Arg, Core, Inst, Lie, Place, Range, Val, View};
use crate::print::names::{self, CALLED};
use crate::print::{Lines, range};

/// Longest expression that is folded further, in characters.
const LONG: usize = 96;

/// How often each value is defined and used.
struct Uses {
    defined: Vec<u8>,
    used: Vec<u8>,
}

impl Uses {
    fn of(core: &Core) -> Uses {
        let n = core.vals as usize;
        let mut u = Uses {
            defined: vec![0; n],
            used: vec![0; n],
        };
        u.uses(&[core.tasks]);
        for code in [&core.plan, &core.enter, &core.body] {
            u.block(code);
        }
        u
    }

    fn count(counts: &mut [u8], v: Val) {
        if let Some(c) = counts.get_mut(v.0 as usize) {
            *c = c.saturating_add(1);
        }
    }

    fn uses(&mut self, vals: &[Val]) {
        vals.iter().for_each(|v| Uses::count(&mut self.used, *v));
    }

    fn block(&mut self, code: &[Inst]) {
        for inst in code {
            if let Some(v) = inst.defines() {
                Uses::count(&mut self.defined, v);
            }
            self.uses(&inst.operands());
            if let Inst::Walk { next, .. } = inst {
                self.uses(&[*next]);
            }
            for block in inst.blocks() {
                self.block(block);
            }
        }
    }

    /// Whether `v` may stand where it is used.
    fn once(&self, v: Val) -> bool {
        let i = v.0 as usize;
        self.defined.get(i) == Some(&1) && self.used.get(i) == Some(&1)
    }
}

/// A value that waits for its use.
struct Pending {
    val: Val,
    text: Text,
}

/// An expression as text.
#[derive(Clone)]
struct Text {
    s: String,
    /// How tightly its outermost operation binds.
    strength: u8,
}

impl Text {
    fn atom(s: String) -> Text {
        Text {
            s,
            strength: CALLED,
        }
    }

    /// In parentheses unless it binds at least as tightly as `strength`.
    fn within(&self, strength: u8) -> String {
        if self.strength >= strength {
            self.s.clone()
        } else {
            format!("({})", self.s)
        }
    }
}

/// Prints the sections of a program.
pub(super) struct CodePrinter<'a> {
    core: &'a Core,
    uses: Uses,
    out: &'a mut Lines,
    /// Values that wait for their use, in program order.
    pending: Vec<Pending>,
    /// The number that the parser gives the next unnamed value.
    next: u32,
}

impl<'a> CodePrinter<'a> {
    pub(super) fn new(core: &'a Core, out: &'a mut Lines) -> Self {
        CodePrinter {
            core,
            uses: Uses::of(core),
            out,
            pending: Vec::new(),
            next: 0,
        }
    }

    /// `name { code }`, with the number of tasks at the end of the plan.
    pub(super) fn section(&mut self, name: &str, code: &[Inst], tasks: Option<Val>) {
        self.out.open(&format!("{name} {{"));
        self.code(code);
        if let Some(tasks) = tasks {
            let x = self.operands(&[tasks]);
            self.line(&format!("tasks {}", x[0].s));
        }
        self.flush(self.pending.len());
        self.out.close("}");
    }

    fn code(&mut self, code: &[Inst]) {
        code.iter().for_each(|inst| self.inst(inst));
    }

    /// The block of a loop or conditional; what waits at its end is not needed outside.
    fn block(&mut self, code: &[Inst]) {
        self.code(code);
        self.flush(self.pending.len());
    }

    /// Writes the oldest `n` waiting values.
    fn flush(&mut self, n: usize) {
        for p in self.pending.drain(..n).collect::<Vec<_>>() {
            self.out.line(&format!("{} = {}", p.val, p.text.s));
        }
    }

    /// A line that is an instruction of its own.
    fn line(&mut self, s: &str) {
        self.flush(self.pending.len());
        self.out.line(s);
    }

    fn open(&mut self, s: &str) {
        self.flush(self.pending.len());
        self.out.open(s);
    }

    /// The texts of the operands of the next instruction, in the order in which the parser meets them.
    fn operands(&mut self, vals: &[Val]) -> Vec<Text> {
        let waits = |v: &Val| self.pending.iter().any(|p| p.val == *v);
        let wanted: Vec<Val> = vals.iter().copied().filter(waits).collect();
        // The longest end of the wanted operands that is also the end of what waits is folded.
        let same = (wanted.iter().rev())
            .zip(self.pending.iter().rev())
            .take_while(|(w, p)| **w == p.val)
            .count();
        let kept = self.pending.len() - same;
        let folded: Vec<Pending> = self.pending.drain(kept..).collect();
        if same < wanted.len() {
            // Others are needed by name, so they and all before them stand before this instruction.
            self.flush(kept);
        }
        let text = |v: &Val| match folded.iter().find(|p| p.val == *v) {
            Some(p) => p.text.clone(),
            None => Text::atom(v.to_string()),
        };
        vals.iter().map(text).collect()
    }

    /// A value whose operands have been taken.
    fn value(&mut self, v: Val, text: Text) {
        let fold = v.0 == self.next && self.uses.once(v) && text.s.len() <= LONG;
        self.next = v.0.wrapping_add(1);
        self.pending.push(Pending { val: v, text });
        if !fold {
            self.flush(self.pending.len());
        }
    }

    fn name(&self, b: crate::core::BufId) -> &'a str {
        name(self.core.bufs.get(b.0 as usize).map(|b| &b.name))
    }

    /// `name[at]`; the texts of positions come in order.
    fn place(&self, p: Place, at: &Text) -> String {
        format!("{}[{}]", self.name(p.buf), at.s)
    }

    /// A view, taking its batch entry and head from `x`.
    fn view<'t>(&self, v: View, x: &mut impl Iterator<Item = &'t Text>) -> String {
        match v {
            View::Tensor { port, .. } => {
                format!("{}({}, {})", names::port(port), take(x), take(x))
            }
            View::Work { buf, width } => format!("{} by {width}", self.name(buf)),
        }
    }

    fn inst(&mut self, inst: &Inst) {
        let c = self.core;
        let x = self.operands(&inst.operands());
        match inst {
            Inst::Const(v, x) => self.value(*v, Text::atom(x.to_string())),
            Inst::Arg(v, a) => {
                let word = match a {
                    Arg::Batch => "B",
                    Arg::SeqLen => "N",
                    Arg::Task => "task",
                };
                self.value(*v, Text::atom(word.to_string()));
            }
            Inst::Bin(v, op, ..) => {
                let (word, strength) = (names::bin(*op), names::strength(*op));
                let text = if strength == CALLED {
                    Text::atom(format!("{word}({}, {})", x[0].s, x[1].s))
                } else {
                    let (a, b) = (x[0].within(strength), x[1].within(strength + 1));
                    let s = format!("{a} {word} {b}");
                    Text { s, strength }
                };
                self.value(*v, text);
            }
            Inst::Select(v, ..) => {
                let s = format!("select({}, {}, {})", x[0].s, x[1].s, x[2].s);
                self.value(*v, Text::atom(s));
            }
            Inst::Table(v, t, _) => {
                let name = name(c.tables.get(t.0 as usize).map(|t| &t.name));
                self.value(*v, Text::atom(format!("{name}[{}]", x[0].s)));
            }
            Inst::Plan(v, t, _) => {
                let name = name(c.plan_tables.get(t.0 as usize).map(|t| &t.name));
                self.value(*v, Text::atom(format!("{name}[{}]", x[0].s)));
            }
            Inst::PlanStore(t, ..) => {
                let name = name(c.plan_tables.get(t.0 as usize).map(|t| &t.name));
                self.line(&format!("{name}[{}] = {}", x[1].s, x[0].s));
            }
            Inst::Load(v, b, _) => {
                let s = format!("{}[{}]", self.name(*b), x[0].s);
                self.value(*v, Text::atom(s));
            }
            Inst::Store(b, ..) => {
                let name = self.name(*b);
                self.line(&format!("{name}[{}] = {}", x[1].s, x[0].s));
            }
            Inst::For { iv, body, .. } => {
                let (hi, lo) = (&x[0].s, &x[1].s);
                let step = match x[2].s.as_str() {
                    "1" => String::new(),
                    step => format!(" by {step}"),
                };
                self.open(&format!("for {iv} in {lo}..{hi}{step} {{"));
                self.next = iv.0.wrapping_add(1);
                self.block(body);
                self.out.close("}");
            }
            Inst::Walk {
                cur, body, next, ..
            } => {
                self.open(&format!("walk {cur} in {}..{} {{", x[1].s, x[0].s));
                self.next = cur.0.wrapping_add(1);
                self.code(body);
                let next = self.operands(&[*next]);
                self.line(&format!("next {}", next[0].s));
                self.out.close("}");
            }
            Inst::If { then, els, .. } => {
                self.open(&format!("if {} {{", x[0].s));
                self.block(then);
                if !els.is_empty() {
                    self.out.close("} else {");
                    self.out.deeper();
                    self.block(els);
                }
                self.out.close("}");
            }
            Inst::Floats { dst, src, f, .. } => {
                let (d, s, f) = (
                    self.place(*dst, &x[0]),
                    self.place(*src, &x[1]),
                    names::count_fn(*f),
                );
                self.line(&format!("floats {d} = {f} {s} live {}", x[2].s));
            }
            Inst::Gather {
                dst,
                lie,
                src,
                idx,
                flag,
                ahead,
                ..
            } => {
                let word = if *ahead { "async gather" } else { "gather" };
                let mut x = x.iter();
                let d = self.place(*dst, text(&mut x));
                let view = self.view(*src, &mut x);
                let at = self.place(*idx, text(&mut x));
                let live = take(&mut x);
                let flag = flag.map_or(String::new(), |f| {
                    format!(" flag {}", self.place(f, text(&mut x)))
                });
                let lie = lies(*lie);
                self.line(&format!(
                    "{word} {d} {lie} = {view} at {at} live {live}{flag}"
                ));
            }
            Inst::Inspect(v, src, width, _) => {
                let (s, live) = (self.place(*src, &x[0]), &x[1].s);
                self.line(&format!("{v} = inspect {s} by {width} live {live}"));
                self.next = v.0.wrapping_add(1);
            }
            Inst::Queued(v) => self.value(*v, Text::atom("queued".to_string())),
            Inst::Commit => self.line("commit"),
            Inst::Wait(ahead) => self.line(&format!("wait {ahead}")),
            Inst::Release => self.line("release"),
            Inst::Barrier => self.line("barrier"),
            Inst::Scatter {
                dst, idx, src, lie, ..
            } => {
                let mut x = x.iter();
                let view = self.view(*dst, &mut x);
                let at = self.place(*idx, text(&mut x));
                let live = take(&mut x);
                let (s, lie) = (self.place(*src, text(&mut x)), lies(*lie));
                self.line(&format!("scatter {view} at {at} live {live} = {s} {lie}"));
            }
            Inst::Fill {
                dst, idx, value, ..
            } => {
                let mut x = x.iter();
                let view = self.view(*dst, &mut x);
                let at = self.place(*idx, text(&mut x));
                let live = take(&mut x);
                self.line(&format!("fill {view} at {at} live {live} = {value:?}"));
            }
            Inst::Call { f, tiles, .. } => {
                let places: Vec<String> = (tiles.iter().zip(&x))
                    .map(|(p, at)| self.place(*p, at))
                    .collect();
                let scalars: Vec<&str> = x[tiles.len()..].iter().map(|x| x.s.as_str()).collect();
                let f = name(c.fns.get(f.0 as usize).map(|f| &f.name));
                self.line(&format!(
                    "{f}({}; {})",
                    places.join(", "),
                    scalars.join(", ")
                ));
            }
        }
    }
}

/// The next operand.
fn text<'t>(x: &mut impl Iterator<Item = &'t Text>) -> &'t Text {
    x.next().expect("`Inst::operands` lists every operand")
}

fn take<'t>(x: &mut impl Iterator<Item = &'t Text>) -> &'t str {
    &text(x).s
}

/// A name, or a question mark for what does not exist (in programs that the verifier rejects).
fn name(name: Option<&String>) -> &str {
    name.map_or("?", |n| n.as_str())
}

fn lies(l: Lie) -> String {
    match l {
        Lie::Cols { stride } => format!("cols {stride}"),
        Lie::Rows => "rows".to_string(),
    }
}

/// ` in lo..=hi` of a buffer or plan table.
pub(super) fn promise(r: Option<Range>) -> String {
    r.map_or(String::new(), |r| format!(" in {}", range(r)))
}
