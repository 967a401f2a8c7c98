// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The text of tile functions: a signature, temporaries, one operation a line.
//!
//! In: a [`TileFn`]. Out: lines. A tile stands as `name[rows, columns]` with the axes `1`, `q` (queries), `k` (keys), `d` (head
//! dimension); f32 unless `i64` or `data` is said, rows unless a packed layout is.

use crate::core::{Core, Elem, Expr, Layout, OpKind, Red, Tile, TileFn, TileTy};
use crate::print::names::{CALLED, axis};
use crate::print::{Lines, names};

/// `fn name(tiles; scalars) mq M nk K {` ... `}`.
pub(super) fn print(core: &Core, f: &TileFn, out: &mut Lines) {
    let tiles: Vec<String> = f.tiles.iter().map(declaration).collect();
    let dim = if f.head_dim == core.head_dim {
        String::new()
    } else {
        format!(" dim {}", f.head_dim)
    };
    out.open(&format!(
        "fn {}({}; {}) mq {} nk {}{dim} {{",
        f.name,
        tiles.join(", "),
        f.scalars.join(", "),
        f.mq,
        f.nk
    ));
    if !f.temps.is_empty() {
        let temps: Vec<String> = f.temps.iter().map(declaration).collect();
        out.list("temp", &temps);
    }
    for op in &f.body {
        let guard = op.guard.map_or(String::new(), |g| {
            let name = f.scalars.get(g.scalar.0 as usize);
            let not = if g.when { "" } else { "not " };
            format!("when {not}{}: ", name.map_or("?", |s| s))
        });
        out.line(&format!("{guard}{}", operation(f, &op.kind)));
    }
    out.close("}");
}

fn declaration((name, ty): &(String, TileTy)) -> String {
    let elem = match ty.elem {
        Elem::F32 => String::new(),
        Elem::I64 | Elem::Data => format!("{} ", names::elem(ty.elem)),
    };
    let layout = match ty.layout {
        Layout::Row => String::new(),
        layout => format!(" {}", names::layout_text(layout)),
    };
    format!("{elem}{name}[{},{}]{layout}", axis(ty.rows), axis(ty.cols))
}

fn name(f: &TileFn, t: Tile) -> &str {
    (f.tiles.iter().chain(&f.temps).nth(t.0 as usize)).map_or("?", |(n, _)| n)
}

fn operation(f: &TileFn, op: &OpKind) -> String {
    let n = |t: &Tile| name(f, *t);
    let causal = |c: &Option<(Tile, Tile)>| match c {
        Some((k, q)) => format!(" causal {} <= {}", n(k), n(q)),
        None => String::new(),
    };
    let only = |o: &Option<Tile>| match o {
        Some(o) => format!(" only {}", n(o)),
        None => String::new(),
    };
    match op {
        OpKind::DotKeys { dst, a, b } => format!("{} = dot_keys {}, {}", n(dst), n(a), n(b)),
        OpKind::DotValues { dst, a, b, only: o } => {
            format!("{} = dot_values {}, {}{}", n(dst), n(a), n(b), only(o))
        }
        OpKind::Map { dst, expr } => format!("{} = {}", n(dst), expression(f, expr).0),
        OpKind::Reduce { dst, op, src } => {
            let op = match op {
                Red::Max => "max",
                Red::Sum => "sum",
            };
            format!("{} = reduce_{op} {}", n(dst), n(src))
        }
        OpKind::Visible {
            dst,
            weight,
            causal: c,
        } => format!("{} = visible {}{}", n(dst), n(weight), causal(c)),
        OpKind::Mask {
            dst,
            causal: c,
            only: o,
        } => format!("mask {}{}{}", n(dst), causal(c), only(o)),
    }
}

/// An expression and how tightly it binds.
fn expression(f: &TileFn, e: &Expr) -> (String, u8) {
    let x = |e: &Expr| expression(f, e).0;
    let within = |e: &Expr, least: u8| match expression(f, e) {
        (s, strength) if strength >= least => s,
        (s, _) => format!("({s})"),
    };
    let infix = |op: &str, strength: u8, a: &Expr, b: &Expr| {
        let (a, b) = (within(a, strength), within(b, strength + 1));
        (format!("{a} {op} {b}"), strength)
    };
    let call = |s: String| (s, CALLED);
    match e {
        Expr::Tile(t) => call(name(f, *t).to_string()),
        Expr::Const(v) => call(format!("{v:?}")),
        Expr::Add(a, b) => infix("+", 5, a, b),
        Expr::Sub(a, b) => infix("-", 5, a, b),
        Expr::Mul(a, b) => infix("*", 6, a, b),
        Expr::Div(a, b) => infix("/", 6, a, b),
        Expr::Fma(a, b, c) => call(format!("fma({}, {}, {})", x(a), x(b), x(c))),
        Expr::Max(a, b) => call(format!("max({}, {})", x(a), x(b))),
        Expr::Exp2(a, near) => call(format!("exp2{}({})", near.suffix(), x(a))),
        Expr::Exp(a, near) => call(format!("exp{}({})", near.suffix(), x(a))),
        Expr::Log2(a) => call(format!("log2({})", x(a))),
        Expr::Ln(a) => call(format!("ln({})", x(a))),
        Expr::Data(a) => call(format!("data({})", x(a))),
        Expr::IfEq(a, b, c, d) => call(format!("select({} == {}, {}, {})", x(a), x(b), x(c), x(d))),
        Expr::IfLt(a, b, c, d) => call(format!("select({} < {}, {}, {})", x(a), x(b), x(c), x(d))),
    }
}
