// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The egg language of op graphs, and the two ways between them.
//!
//! In: an [`OpGraph`]. Out: a `RecExpr`, one e-node an operation with its attributes as leaves, and back. Both directions lose nothing,
//! so a proof's first and last terms are the printed graphs.

use std::fmt;
use std::str::FromStr;

use attnc_graph::{
    Branch, Exponential, GraphError, Header, NodeRef, Once, Op, OpGraph, Port, RowMap, Segment,
    Side, Term,
};
use egg::{Id, Language, RecExpr, Symbol, define_language};

/// A finite f64 as a leaf: equal and ordered by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Real(u64);

impl Real {
    pub(crate) fn new(x: f64) -> Real {
        Real(x.to_bits())
    }
    pub(crate) fn get(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl fmt::Display for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.get())
    }
}

impl FromStr for Real {
    type Err = std::num::ParseFloatError;
    fn from_str(s: &str) -> Result<Real, Self::Err> {
        s.parse().map(Real::new)
    }
}

define_language! {
    pub(crate) enum Node {
        Num(i64),
        Real(Real),
        "br" = Br([Id; 2]),
        "x" = Times([Id; 2]),
        "gather-query" = GatherQuery([Id; 2]),
        "gather-key" = GatherKey([Id; 2]),
        "qk" = Qk([Id; 2]),
        "scale" = Scale([Id; 2]),
        "mask" = Mask([Id; 1]),
        "softmax" = Softmax([Id; 1]),
        "pv" = Pv([Id; 2]),
        "scatter" = Scatter([Id; 1]),
        "merge" = Merge([Id; 2]),
        "mix" = Mix(Box<[Id]>),
        "local" = Local([Id; 1]),
        "once" = Once(Box<[Id]>),
        "dense" = Dense([Id; 1]),
        "sum" = Sum([Id; 2]),
        "attend" = Attend([Id; 6]),
        "join" = Join([Id; 2]),
        "fold" = Fold([Id; 7]),
        "finish" = Finish([Id; 1]),
        "panels" = Panels([Id; 1]),
        "output" = Output([Id; 1]),
        Sym(Symbol),
    }
}

/// Adds nodes to anything that takes them: an expression or an e-graph.
pub(crate) trait Sink {
    fn put(&mut self, n: Node) -> Id;
}

impl Sink for RecExpr<Node> {
    fn put(&mut self, n: Node) -> Id {
        self.add(n)
    }
}

impl<A: egg::Analysis<Node>> Sink for egg::EGraph<Node, A> {
    fn put(&mut self, n: Node) -> Id {
        self.add(n)
    }
}

pub(crate) fn put_branch(s: &mut impl Sink, b: Branch) -> Id {
    let w = match b.segment {
        Segment::Finite(w) => s.put(Node::Num(w as i64)),
        Segment::Whole => s.put(Node::Sym("whole".into())),
    };
    let r = s.put(Node::Num(b.dilation as i64));
    s.put(Node::Br([w, r]))
}

/// `(once map zeros (x weight (br w r)) ...)`.
pub(crate) fn put_once(s: &mut impl Sink, o: &Once) -> Id {
    let map = s.put(Node::Sym(
        if o.map == RowMap::Aligned {
            "aligned"
        } else {
            "displaced"
        }
        .into(),
    ));
    let zeros = s.put(Node::Sym(
        if o.zero_keys { "zero_keys" } else { "masked" }.into(),
    ));
    let mut ids = vec![map, zeros];
    for t in &o.terms {
        let w = s.put(Node::Num(i64::from(t.weight)));
        let b = put_branch(s, t.branch);
        ids.push(s.put(Node::Times([w, b])));
    }
    s.put(Node::Once(ids.into_boxed_slice()))
}

pub(crate) fn put_exponential(s: &mut impl Sink, e: Exponential) -> (Id, Id) {
    (
        s.put(Node::Sym(if e.base2 { "exp2" } else { "exp" }.into())),
        s.put(Node::Real(Real::new(e.scale))),
    )
}

/// The graph as an expression.
pub(crate) fn to_expr(g: &OpGraph) -> RecExpr<Node> {
    let mut e = RecExpr::default();
    let mut ids: Vec<Id> = Vec::new();
    for n in g.nodes() {
        let at: Vec<Id> = g.operands(n).iter().map(|o| ids[o.0 as usize]).collect();
        let id = match g.op(n) {
            Op::Input(p) => e.add(Node::Sym(p.name().into())),
            Op::Gather(b, side) => {
                let b = put_branch(&mut e, *b);
                e.add(match side {
                    Side::Query => Node::GatherQuery([b, at[0]]),
                    Side::Key => Node::GatherKey([b, at[0]]),
                })
            }
            Op::Qk => e.add(Node::Qk([at[0], at[1]])),
            Op::Scale(x) => {
                let x = e.add(Node::Real(Real::new(*x)));
                e.add(Node::Scale([x, at[0]]))
            }
            Op::Mask => e.add(Node::Mask([at[0]])),
            Op::Softmax => e.add(Node::Softmax([at[0]])),
            Op::Pv => e.add(Node::Pv([at[0], at[1]])),
            Op::Scatter => e.add(Node::Scatter([at[0]])),
            Op::Merge => e.add(Node::Merge([at[0], at[1]])),
            Op::Mix => e.add(Node::Mix(at.into_boxed_slice())),
            Op::Local(b) => {
                let b = put_branch(&mut e, *b);
                e.add(Node::Local([b]))
            }
            Op::Once(o) => put_once(&mut e, o),
            Op::Dense(w) => {
                let w = e.add(Node::Num(i64::from(*w)));
                e.add(Node::Dense([w]))
            }
            Op::Sum => e.add(Node::Sum([at[0], at[1]])),
            Op::Attend(x) => {
                let (f, c) = put_exponential(&mut e, *x);
                e.add(Node::Attend([f, c, at[0], at[1], at[2], at[3]]))
            }
            Op::Fold(x) => {
                let (f, c) = put_exponential(&mut e, *x);
                e.add(Node::Fold([f, c, at[0], at[1], at[2], at[3], at[4]]))
            }
            Op::Join => e.add(Node::Join([at[0], at[1]])),
            Op::Finish => e.add(Node::Finish([at[0]])),
            Op::Panels => e.add(Node::Panels([at[0]])),
            Op::Output => e.add(Node::Output([at[0]])),
        };
        ids.push(id);
    }
    e
}

/// Reads attributes of an expression's leaves.
struct Leaves<'a>(&'a RecExpr<Node>);

impl Leaves<'_> {
    fn num(&self, id: Id) -> i64 {
        if let Node::Num(x) = self.0[id] { x } else { 0 }
    }
    fn is(&self, id: Id, name: &str) -> bool {
        matches!(self.0[id], Node::Sym(s) if s.as_str() == name)
    }
    fn branch(&self, id: Id) -> Branch {
        match self.0[id] {
            Node::Br([w, r]) => Branch {
                segment: if self.is(w, "whole") {
                    Segment::Whole
                } else {
                    Segment::Finite(self.num(w) as u64)
                },
                dilation: self.num(r) as u64,
            },
            _ => Branch {
                segment: Segment::Whole,
                dilation: 0,
            },
        }
    }
    fn once(&self, ids: &[Id]) -> Once {
        let terms = ids[2..]
            .iter()
            .map(|t| match self.0[*t] {
                Node::Times([w, b]) => Term {
                    branch: self.branch(b),
                    weight: self.num(w) as u32,
                },
                _ => Term {
                    branch: self.branch(*t),
                    weight: 0,
                },
            })
            .collect();
        let map = if self.is(ids[0], "displaced") {
            RowMap::Displaced
        } else {
            RowMap::Aligned
        };
        Once {
            terms,
            map,
            zero_keys: self.is(ids[1], "zero_keys"),
        }
    }
    fn exponential(&self, f: Id, c: Id) -> Exponential {
        let scale = if let Node::Real(x) = self.0[c] {
            x.get()
        } else {
            f64::NAN
        };
        Exponential {
            base2: self.is(f, "exp2"),
            scale,
        }
    }
}

/// The expression as a graph.
///
/// # Errors
/// When the expression is not a graph: a rule of the graph's verifier says why.
pub(crate) fn from_expr(header: &Header, e: &RecExpr<Node>) -> Result<OpGraph, GraphError> {
    let mut g = OpGraph::new(header.clone());
    let x = Leaves(e);
    let mut refs: Vec<Option<NodeRef>> = Vec::new();
    for node in e.as_ref() {
        let op = match node {
            Node::Num(_) | Node::Real(_) | Node::Br(_) | Node::Times(_) => None,
            Node::Sym(s) => match s.as_str() {
                "q" => Some(Op::Input(Port::Q)),
                "k" => Some(Op::Input(Port::K)),
                "v" => Some(Op::Input(Port::V)),
                _ => None,
            },
            Node::GatherQuery([b, _]) => Some(Op::Gather(x.branch(*b), Side::Query)),
            Node::GatherKey([b, _]) => Some(Op::Gather(x.branch(*b), Side::Key)),
            Node::Qk(_) => Some(Op::Qk),
            Node::Scale([c, _]) => Some(Op::Scale(if let Node::Real(c) = e[*c] {
                c.get()
            } else {
                f64::NAN
            })),
            Node::Mask(_) => Some(Op::Mask),
            Node::Softmax(_) => Some(Op::Softmax),
            Node::Pv(_) => Some(Op::Pv),
            Node::Scatter(_) => Some(Op::Scatter),
            Node::Merge(_) => Some(Op::Merge),
            Node::Mix(_) => Some(Op::Mix),
            Node::Local([b]) => Some(Op::Local(x.branch(*b))),
            Node::Once(ids) => Some(Op::Once(x.once(ids))),
            Node::Dense([w]) => Some(Op::Dense(x.num(*w) as u32)),
            Node::Sum(_) => Some(Op::Sum),
            Node::Attend([f, c, ..]) => Some(Op::Attend(x.exponential(*f, *c))),
            Node::Fold([f, c, ..]) => Some(Op::Fold(x.exponential(*f, *c))),
            Node::Join(_) => Some(Op::Join),
            Node::Finish(_) => Some(Op::Finish),
            Node::Panels(_) => Some(Op::Panels),
            Node::Output(_) => Some(Op::Output),
        };
        let operands: Vec<NodeRef> = node
            .children()
            .iter()
            .filter_map(|c| refs[usize::from(*c)])
            .collect();
        refs.push(match op {
            Some(op) => Some(g.add(op, &operands)?),
            None => None,
        });
    }
    Ok(g)
}
