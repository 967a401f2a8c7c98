// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The text form of graphs: `emit --stage graph` and `--stage fused`, and the graphviz form beside it.
//!
//! In: a graph. Out: a header line, the facts, and one node a line in topological order.

use std::fmt::Write;

use attnc_spec::Branch;

use crate::graph::{NodeRef, OpGraph};
use crate::op::{Exponential, Once, Op, Port, RowMap, Shown, Side, Type};

/// Version of the text form.
pub const VERSION: u32 = 1;

fn exponential(e: &Exponential) -> String {
    format!("{} {:?}", if e.base2 { "exp2" } else { "exp" }, e.scale)
}

fn once(o: &Once) -> String {
    let terms: Vec<String> = o
        .terms
        .iter()
        .map(|t| format!("{} {}", t.weight, Shown(t.branch)))
        .collect();
    let map = if o.map == RowMap::Displaced {
        " displaced"
    } else {
        ""
    };
    let zeros = if o.zero_keys { " zero_keys" } else { "" };
    format!("{{ {} }}{map}{zeros}", terms.join(", "))
}

/// The operation with its attributes.
pub fn op_name(op: &Op) -> String {
    match op {
        Op::Input(p) => format!("input {}", p.name()),
        Op::Gather(b, Side::Query) => format!("gather query {}", Shown(*b)),
        Op::Gather(b, Side::Key) => format!("gather key {}", Shown(*b)),
        Op::Qk => "qk".to_string(),
        Op::Scale(x) => format!("scale {x:?}"),
        Op::Mask => "mask".to_string(),
        Op::Softmax => "softmax".to_string(),
        Op::Pv => "pv".to_string(),
        Op::Scatter => "scatter".to_string(),
        Op::Merge => "merge".to_string(),
        Op::Mix => "mix".to_string(),
        Op::Local(b) => format!("local {}", Shown(*b)),
        Op::Once(o) => format!("once {}", once(o)),
        Op::Dense(w) => format!("dense {w}"),
        Op::Sum => "sum".to_string(),
        Op::Attend(e) => format!("attend {}", exponential(e)),
        Op::Join => "join".to_string(),
        Op::Fold(e) => format!("fold {}", exponential(e)),
        Op::Finish => "finish".to_string(),
        Op::Panels => "panels".to_string(),
        Op::Output => "output".to_string(),
    }
}

fn rows(b: Branch) -> String {
    format!("rows({}, {})", b.segment, b.dilation)
}

pub(crate) fn type_name(g: &OpGraph, n: NodeRef) -> String {
    let h = g.header();
    let heads = match g.op(n) {
        Op::Input(Port::K | Port::V) | Op::Panels => h.kv_heads,
        Op::Input(Port::Q)
        | Op::Gather(..)
        | Op::Qk
        | Op::Scale(_)
        | Op::Mask
        | Op::Softmax
        | Op::Pv
        | Op::Scatter
        | Op::Merge
        | Op::Mix
        | Op::Local(_)
        | Op::Once(_)
        | Op::Dense(_)
        | Op::Sum
        | Op::Attend(_)
        | Op::Join
        | Op::Fold(_)
        | Op::Finish
        | Op::Output => h.heads,
    };
    match g.ty(n) {
        Type::Tensor => format!("{}[B, N, {heads}, {}]", h.dtype, h.head_dim),
        Type::Gathered(b) => format!("gathered[B, {}, {}, {}]", h.heads, rows(b), h.head_dim),
        Type::Scores(b) => format!("scores[B, {}, {}, {}]", h.heads, rows(b), rows(b)),
        Type::Probs(b) => format!("probs[B, {}, {}, {}]", h.heads, rows(b), rows(b)),
        Type::BranchPair(b) => format!("pair[B, {}, {}]", h.heads, rows(b)),
        Type::Pair => format!("pair[B, N, {}]", h.heads),
        Type::State(None) => format!("state[B, N, {}]", h.heads),
        Type::State(Some(b)) => format!("state[B, {}, {}]", h.heads, rows(b)),
        Type::Bag(_) => "bag".to_string(),
        Type::Unit => "()".to_string(),
    }
}

/// The graph as text.
pub fn print(g: &OpGraph) -> String {
    let mut out = String::new();
    let h = g.header();
    let _ = writeln!(out, "{} {VERSION} {}", h.form.name(), h.name);
    let fields: Vec<String> = h
        .fields()
        .into_iter()
        .map(|(k, v)| format!("{k} = {v}"))
        .collect();
    let _ = writeln!(out, "{}", fields[..6].join(", "));
    let _ = writeln!(out, "{}\n", fields[6..].join(", "));
    for n in g.nodes() {
        let operands: String = g.operands(n).iter().map(|o| format!(" %{}", o.0)).collect();
        let _ = writeln!(
            out,
            "%{} = {}{operands} : {}",
            n.0,
            op_name(g.op(n)),
            type_name(g, n)
        );
    }
    out
}

/// The graph for graphviz.
pub fn dot(g: &OpGraph) -> String {
    let mut out = format!(
        "digraph {} {{\n  node [shape=box, fontname=monospace];\n",
        g.header().name
    );
    for n in g.nodes() {
        let _ = writeln!(
            out,
            "  n{} [label=\"{}\\n{}\"];",
            n.0,
            op_name(g.op(n)),
            type_name(g, n)
        );
        for o in g.operands(n) {
            let _ = writeln!(out, "  n{} -> n{};", o.0, n.0);
        }
    }
    out.push_str("}\n");
    out
}
