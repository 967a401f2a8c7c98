// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The text form of core programs: `emit --stage tile`. [`crate::parse`] reads it back.
//!
//! In: a [`Core`]. Out: text: a header with what a run needs, buffers and tables, functions (`print/function.rs`) and the three
//! sections of code (`print/code.rs`), two spaces a level of nesting. A buffer stands as `name[length] in range`, grouped by space,
//! element type and layout.

mod code;
mod function;
pub(crate) mod names;

use std::fmt::{self, Display, Write};

use crate::core::{Bound, Buf, Core, Range, Val};
use code::CodePrinter;

/// Version of the text form.
pub const VERSION: u32 = 2;

/// Where lists of declarations are broken, in characters.
const WIDTH: usize = 118;

impl Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// The whole program as text. What comes out for a program that passes its verifier, [`crate::parse`] reads back as the same program.
pub fn print(core: &Core) -> String {
    let mut out = Lines::default();
    header(core, &mut out);
    for f in &core.fns {
        function::print(core, f, &mut out);
    }
    let mut p = CodePrinter::new(core, &mut out);
    p.section("plan", &core.plan, Some(core.tasks));
    p.section("enter", &core.enter, None);
    p.section("body", &core.body, None);
    out.text
}

/// Indented lines.
#[derive(Default)]
struct Lines {
    text: String,
    depth: usize,
}

impl Lines {
    fn line(&mut self, s: &str) {
        let _ = writeln!(self.text, "{:width$}{s}", "", width = self.depth * 2);
    }

    /// A line that begins a block.
    fn open(&mut self, s: &str) {
        self.line(s);
        self.deeper();
    }

    fn deeper(&mut self) {
        self.depth += 1;
    }

    /// A line that ends a block.
    fn close(&mut self, s: &str) {
        self.depth -= 1;
        self.line(s);
    }

    /// `head a, b, c`, in as many lines as it takes.
    fn list(&mut self, head: &str, items: &[String]) {
        let mut line = head.to_string();
        for (i, item) in items.iter().enumerate() {
            let last = i + 1 == items.len();
            if i > 0 && line.len() + item.len() + 2 > WIDTH {
                self.line(&line);
                line = " ".to_string();
            }
            let _ = write!(line, " {item}{}", if last { "" } else { "," });
        }
        self.line(&line);
    }
}

fn header(c: &Core, out: &mut Lines) {
    out.line(&format!("tile {VERSION} {} target {}", c.name, c.target));
    let mut facts = vec![
        format!("heads {}", c.heads),
        format!("kv_heads {}", c.kv_heads),
        format!("head_dim {}", c.head_dim),
        format!("dtype {}", c.dtype),
        format!("causal {}", c.causal),
        format!("key_step {}", c.key_step),
        format!("careful_above {:?}", c.careful_above),
    ];
    for (name, x) in [("warps", c.warps), ("stages", c.stages)] {
        if x != 1 {
            facts.push(format!("{name} {x}"));
        }
    }
    let highest = highest(c);
    if c.vals != highest {
        facts.push(format!("values {}", c.vals));
    }
    out.line(&facts.join(", "));
    for group in c.bufs.chunk_by(|a, b| kind(a) == kind(b)) {
        let items: Vec<String> = (group.iter())
            .map(|b| format!("{}[{}]{}", b.name, b.len, code::promise(b.range)))
            .collect();
        out.list(&format!("alloc {}:", kind(&group[0])), &items);
    }
    let tables: Vec<String> = (c.tables.iter())
        .map(|t| {
            let data: Vec<String> = t.data.iter().map(ToString::to_string).collect();
            format!("{} = [{}]", t.name, data.join(", "))
        })
        .collect();
    if !tables.is_empty() {
        out.list("table", &tables);
    }
    let plan: Vec<String> = (c.plan_tables.iter())
        .map(|t| format!("{}[{}]{}", t.name, t.len, code::promise(t.range)))
        .collect();
    if !plan.is_empty() {
        out.list("plan_table", &plan);
    }
}

/// What the buffers of one line have in common.
fn kind(b: &Buf) -> String {
    let persist = if b.persist { " persist" } else { "" };
    let staged = if b.staged { " staged" } else { "" };
    format!(
        "{} {} {}{persist}{staged}",
        names::space(b.space),
        names::elem(b.elem),
        names::layout_text(b.layout)
    )
}

/// One more than the highest number of a value: what the parser takes `vals` for.
fn highest(c: &Core) -> u32 {
    fn block(code: &[crate::core::Inst]) -> u32 {
        let of = |i: &crate::core::Inst| {
            let here = i.defines().map_or(0, |v| v.0.saturating_add(1));
            i.blocks().into_iter().map(block).fold(here, u32::max)
        };
        code.iter().map(of).max().unwrap_or(0)
    }
    block(&c.plan).max(block(&c.enter)).max(block(&c.body))
}

/// `lo..=hi`, the end left out where it is the largest integer.
fn range(r: Range) -> String {
    let symbol = |name: &str, x: i64| match x {
        0 => name.to_string(),
        x => format!("{name}{x:+}"),
    };
    let hi = match r.hi {
        Bound::Const(i64::MAX) => return format!("{}..", r.lo),
        Bound::Const(x) => power(x),
        Bound::SeqLen(x) => symbol("N", x),
        Bound::Batch(x) => symbol("B", x),
    };
    format!("{}..={hi}", r.lo)
}

/// Large powers of two, and one less, as powers.
fn power(x: i64) -> String {
    let is = |x: i64| x > 0 && x.count_ones() == 1 && x.trailing_zeros() >= 20;
    if is(x) {
        format!("2^{}", x.trailing_zeros())
    } else if x < i64::MAX && is(x + 1) {
        format!("2^{}-1", (x + 1).trailing_zeros())
    } else {
        x.to_string()
    }
}
