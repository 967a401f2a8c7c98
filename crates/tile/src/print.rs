// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The text form of core programs: `emit --stage tile`.
//!
//! In: a [`Core`]. Out: text, one instruction a line, two spaces a level of nesting.

use std::fmt::{self, Display, Write};

use crate::core::{
    Arg, Axis, Bin, Bound, Core, CountFn, Elem, Expr, Inst, Layout, Lie, OpKind, Place, Port,
    Range, Red, Space, TileFn, TileTy, Val, View,
};

/// Version of the text form.
pub const VERSION: u32 = 1;

impl Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

/// The whole program as text.
pub fn print(core: &Core) -> String {
    let mut p = Printer {
        core,
        out: String::new(),
        depth: 0,
    };
    p.header();
    for f in &core.fns {
        p.function(f);
    }
    for (name, code) in [
        ("plan", &core.plan),
        ("enter", &core.enter),
        ("body", &core.body),
    ] {
        let title = if name == "plan" {
            format!("plan -> {} {{", core.tasks)
        } else {
            format!("{name} {{")
        };
        p.line(&title);
        p.block(code);
        p.line("}");
    }
    p.out
}

fn range(r: Option<Range>) -> String {
    let Some(r) = r else { return String::new() };
    let hi = match r.hi {
        Bound::Const(x) => x.to_string(),
        Bound::SeqLen(x) => format!("N{x:+}"),
        Bound::Batch(x) => format!("B{x:+}"),
    };
    format!(" in {}..={hi}", r.lo)
}

fn elem(e: Elem) -> &'static str {
    match e {
        Elem::I64 => "i64",
        Elem::F32 => "f32",
    }
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items
        .into_iter()
        .map(|x| x.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Names of the integer operations.
pub(crate) fn bin_name(op: Bin) -> &'static str {
    match op {
        Bin::Add => "add",
        Bin::Sub => "sub",
        Bin::Mul => "mul",
        Bin::Div => "div",
        Bin::Rem => "rem",
        Bin::Min => "min",
        Bin::Max => "max",
        Bin::And => "and",
        Bin::Or => "or",
        Bin::Shl => "shl",
        Bin::Shr => "shr",
        Bin::Eq => "eq",
        Bin::Lt => "lt",
        Bin::Le => "le",
    }
}

/// Names of the tensors.
pub(crate) fn port_name(p: Port) -> &'static str {
    match p {
        Port::Q => "q",
        Port::K => "k",
        Port::V => "v",
        Port::Out => "out",
        Port::Lse => "lse",
    }
}

struct Printer<'a> {
    core: &'a Core,
    out: String,
    depth: usize,
}

impl Printer<'_> {
    fn line(&mut self, s: &str) {
        let _ = writeln!(self.out, "{:width$}{s}", "", width = self.depth * 2);
    }

    fn header(&mut self) {
        let c = self.core;
        self.line(&format!("tile {VERSION} {} target {}", c.name, c.target));
        self.line(&format!(
            "const heads = {}, kv_heads = {}, head_dim = {}, dtype = {}, careful_above = {:?}, values = {}",
            c.heads, c.kv_heads, c.head_dim, c.dtype, c.careful_above, c.vals
        ));
        for b in &c.bufs {
            let space = match b.space {
                Space::Work => "work",
                Space::Shared => "shared",
                Space::Frag => "frag",
            };
            let layout = match b.layout {
                Layout::Row => "row",
                Layout::St => "st",
                Layout::Swz128 => "swz128",
            };
            let persist = if b.persist { " persist" } else { "" };
            self.line(&format!(
                "alloc {}: {}[{}] @{space} {layout}{persist}{}",
                b.name,
                elem(b.elem),
                b.len,
                range(b.range)
            ));
        }
        for t in &c.tables {
            self.line(&format!("table {} = [{}]", t.name, list(&t.data)));
        }
        for t in &c.plan_tables {
            self.line(&format!(
                "plan_table {}[{}]{}",
                t.name,
                t.len,
                range(t.range)
            ));
        }
    }

    fn place(&self, p: Place) -> String {
        format!("{}[{}]", self.core.bufs[p.buf.0 as usize].name, p.at)
    }

    fn view(&self, v: View) -> String {
        match v {
            View::Tensor { port, batch, head } => format!("{}({batch}, {head})", port_name(port)),
            View::Work { buf, width } => {
                format!("{} by {width}", self.core.bufs[buf.0 as usize].name)
            }
        }
    }

    fn block(&mut self, code: &[Inst]) {
        self.depth += 1;
        for inst in code {
            self.inst(inst);
        }
        self.depth -= 1;
    }

    fn inst(&mut self, inst: &Inst) {
        let c = self.core;
        let s = match inst {
            Inst::Const(v, x) => format!("{v} = {x}"),
            Inst::Arg(v, a) => {
                let a = match a {
                    Arg::Batch => "batch",
                    Arg::SeqLen => "seq_len",
                    Arg::Task => "task",
                };
                format!("{v} = arg {a}")
            }
            Inst::Bin(v, op, a, b) => format!("{v} = {} {a}, {b}", bin_name(*op)),
            Inst::Select(v, x, a, b) => format!("{v} = select {x}, {a}, {b}"),
            Inst::Table(v, t, i) => format!("{v} = table {}[{i}]", c.tables[t.0 as usize].name),
            Inst::Plan(v, t, i) => format!("{v} = plan {}[{i}]", c.plan_tables[t.0 as usize].name),
            Inst::PlanStore(t, i, x) => {
                format!("plan {}[{i}] = {x}", c.plan_tables[t.0 as usize].name)
            }
            Inst::Load(v, b, i) => format!("{v} = load {}[{i}]", c.bufs[b.0 as usize].name),
            Inst::Store(b, i, x) => format!("store {}[{i}] = {x}", c.bufs[b.0 as usize].name),
            Inst::For {
                iv,
                lo,
                hi,
                step,
                body,
            } => {
                self.line(&format!("for {iv} in {lo}..{hi} by {step} {{"));
                self.block(body);
                "}".to_string()
            }
            Inst::Walk {
                cur,
                lo,
                hi,
                body,
                next,
            } => {
                self.line(&format!("walk {cur} in {lo}..{hi} then {next} {{"));
                self.block(body);
                "}".to_string()
            }
            Inst::If { cond, then, els } => {
                self.line(&format!("if {cond} {{"));
                self.block(then);
                if !els.is_empty() {
                    self.line("} else {");
                    self.block(els);
                }
                "}".to_string()
            }
            Inst::Floats { dst, src, count, f } => {
                let f = match f {
                    CountFn::Float => "float",
                    CountFn::Log2 => "log2",
                    CountFn::Ln => "ln",
                };
                format!(
                    "floats {} = {f} {} count {count}",
                    self.place(*dst),
                    self.place(*src)
                )
            }
            Inst::Gather {
                dst,
                lie,
                src,
                idx,
                live,
                flag,
            } => {
                let flag = flag.map_or(String::new(), |f| format!(" flag {}", self.place(f)));
                format!(
                    "gather {} {} = {} at {} live {live}{flag}",
                    self.place(*dst),
                    lies(*lie),
                    self.view(*src),
                    self.place(*idx)
                )
            }
            Inst::Scatter {
                dst,
                idx,
                live,
                src,
                lie,
            } => {
                format!(
                    "scatter {} at {} live {live} = {} {}",
                    self.view(*dst),
                    self.place(*idx),
                    self.place(*src),
                    lies(*lie)
                )
            }
            Inst::Fill {
                dst,
                idx,
                live,
                value,
            } => format!(
                "fill {} at {} live {live} = {value:?}",
                self.view(*dst),
                self.place(*idx)
            ),
            Inst::Call { f, tiles, scalars } => {
                let tiles = list(tiles.iter().map(|p| self.place(*p)));
                format!(
                    "call {}({tiles}; {})",
                    c.fns[f.0 as usize].name,
                    list(scalars)
                )
            }
        };
        self.line(&s);
    }

    fn function(&mut self, f: &TileFn) {
        let ty = |(name, ty): &(String, TileTy)| {
            format!(
                "{name}: {}[{}, {}]",
                elem(ty.elem),
                axis(ty.rows),
                axis(ty.cols)
            )
        };
        self.line(&format!(
            "fn {}({}; {}) mq {} nk {} {{",
            f.name,
            list(f.tiles.iter().map(ty)),
            list(&f.scalars),
            f.mq,
            f.nk
        ));
        self.depth += 1;
        for t in &f.temps {
            self.line(&format!("temp {}", ty(t)));
        }
        let name = |t: crate::core::Tile| {
            let i = t.0 as usize;
            f.tiles
                .iter()
                .chain(&f.temps)
                .nth(i)
                .map_or_else(|| format!("?{i}"), |(n, _)| n.clone())
        };
        for op in &f.body {
            let guard = op.guard.map_or(String::new(), |g| {
                let s = f
                    .scalars
                    .get(g.scalar.0 as usize)
                    .map_or("?", |s| s.as_str());
                format!("{}{s}: ", if g.when { "" } else { "not " })
            });
            let causal = |c: &Option<(crate::core::Tile, crate::core::Tile)>| {
                c.map_or(String::new(), |(k, q)| {
                    format!(" causal {} <= {}", name(k), name(q))
                })
            };
            let only = |o: &Option<crate::core::Tile>| {
                o.map_or(String::new(), |o| format!(" only {}", name(o)))
            };
            let s = match &op.kind {
                OpKind::DotKeys { dst, a, b } => {
                    format!("{} = dot_keys {}, {}", name(*dst), name(*a), name(*b))
                }
                OpKind::DotValues { dst, a, b, only: o } => format!(
                    "{} = dot_values {}, {}{}",
                    name(*dst),
                    name(*a),
                    name(*b),
                    only(o)
                ),
                OpKind::Map { dst, expr } => {
                    format!("{} = {}", name(*dst), expression(expr, &name))
                }
                OpKind::Reduce { dst, op, src } => {
                    let op = match op {
                        Red::Max => "max",
                        Red::Sum => "sum",
                    };
                    format!("{} = reduce_{op} {}", name(*dst), name(*src))
                }
                OpKind::Visible {
                    dst,
                    weight,
                    causal: p,
                } => format!("{} = visible {}{}", name(*dst), name(*weight), causal(p)),
                OpKind::Mask {
                    dst,
                    causal: p,
                    only: o,
                } => format!("mask {}{}{}", name(*dst), causal(p), only(o)),
            };
            self.line(&format!("{guard}{s}"));
        }
        self.depth -= 1;
        self.line("}");
    }
}

fn lies(l: Lie) -> String {
    match l {
        Lie::Cols { stride } => format!("cols {stride}"),
        Lie::Rows => "rows".to_string(),
    }
}

fn axis(a: Axis) -> String {
    match a {
        Axis::One => "one".to_string(),
        Axis::Query => "query".to_string(),
        Axis::Key { order } => format!("key:{order}"),
        Axis::Dim => "dim".to_string(),
    }
}

fn expression(e: &Expr, name: &dyn Fn(crate::core::Tile) -> String) -> String {
    let x = |e: &Expr| expression(e, name);
    match e {
        Expr::Tile(t) => name(*t),
        Expr::Const(v) => format!("{v:?}"),
        Expr::Add(a, b) => format!("add({}, {})", x(a), x(b)),
        Expr::Sub(a, b) => format!("sub({}, {})", x(a), x(b)),
        Expr::Mul(a, b) => format!("mul({}, {})", x(a), x(b)),
        Expr::Div(a, b) => format!("div({}, {})", x(a), x(b)),
        Expr::Fma(a, b, c) => format!("fma({}, {}, {})", x(a), x(b), x(c)),
        Expr::Max(a, b) => format!("max({}, {})", x(a), x(b)),
        Expr::Exp2(a) => format!("exp2({})", x(a)),
        Expr::Exp(a) => format!("exp({})", x(a)),
        Expr::Log2(a) => format!("log2({})", x(a)),
        Expr::Ln(a) => format!("ln({})", x(a)),
        Expr::IfEq(a, b, c, d) => format!("if_eq({}, {}, {}, {})", x(a), x(b), x(c), x(d)),
        Expr::IfLt(a, b, c, d) => format!("if_lt({}, {}, {}, {})", x(a), x(b), x(c), x(d)),
    }
}
