// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the graph IR means: every operation, unfused and fused, on dense values in float64.
//!
//! In: a graph and q, k, v. Out: out and lse, rounded once. Slow and plain: a branch is its gathered rows, a bag is a count for each
//! key, a row is one softmax. Nothing is shared with the schedule or the tile IR but the index arithmetic of the graph.

mod fused;
mod state;
mod unfused;

use std::rc::Rc;

use attnc_graph::{Branch, Grid, Header, NodeRef, Once, Op, OpGraph, Port, Side, Type};
use attnc_tensor::{Storage, Tensor, View};

use self::state::{Pair, State};

/// Why a graph was not interpreted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GraphFault {
    /// A tensor that does not belong to the graph.
    #[error("{name} has the shape {found:?}, the graph needs {needed:?}")]
    Shape {
        /// Tensor.
        name: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// What fits.
        needed: Vec<usize>,
    },
    /// Outputs that no memory holds.
    #[error("the outputs do not fit into memory")]
    Memory,
    /// The graph has no output.
    #[error(transparent)]
    Graph(#[from] attnc_graph::GraphError),
    /// An operand of another kind than the verifier promised.
    #[error("%{node}: an operand is not what the verifier promised")]
    Operand {
        /// The node.
        node: u32,
    },
}

/// What a run gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// `[B,N,H,D]` in the operator's dtype.
    pub out: Tensor,
    /// `[B,H,N]`, f32, natural logarithm.
    pub lse: Tensor,
}

/// A tensor of rows, one vector of D for each (b, head, n).
pub(crate) struct Dense {
    heads: usize,
    rows: Vec<Vec<f64>>,
}

/// Scores of the rows of a branch against the rows of their segment: hidden ones are none.
pub(crate) type Scores = Vec<Vec<Option<f64>>>;

/// A row of a softmax.
pub(crate) struct Probs {
    /// Weights of the keys it sees.
    pub(crate) p: Vec<Option<f64>>,
    /// Everything of the pair but its out.
    pub(crate) pair: Pair,
}

/// A bag: terms that count each distinct key once, or every key.
#[derive(Clone)]
pub(crate) enum Bag {
    Once(Once),
    Dense(u32),
}

/// A value. Rows of a branch are in the order (b, h, segment, row), rows of the sequence in the order (b, h, n).
#[derive(Clone)]
pub(crate) enum Value {
    Tensor(Rc<Dense>),
    Gathered(Rc<Vec<Vec<f64>>>),
    Scores(Rc<Scores>),
    Probs(Rc<Vec<Probs>>),
    Pairs(Rc<Vec<Pair>>),
    States(Rc<Vec<State>>),
    Bag(Rc<Vec<Bag>>),
    Unit,
}

/// Sizes of one run.
pub(crate) struct Sizes<'a> {
    pub(crate) header: &'a Header,
    pub(crate) batch: usize,
    pub(crate) seq_len: usize,
}

impl Sizes<'_> {
    pub(crate) fn heads(&self) -> usize {
        self.header.heads as usize
    }
    pub(crate) fn head_dim(&self) -> usize {
        self.header.head_dim as usize
    }
    pub(crate) fn grid(&self, b: Branch, head: usize) -> Grid {
        Grid::new(self.header, b, head as u32, self.seq_len as u64)
    }
    /// Where the rows of (b, h, s) begin in the order of a branch.
    pub(crate) fn segment_at(&self, grid: &Grid, b: usize, h: usize, s: usize) -> usize {
        ((b * self.heads() + h) * grid.segments() as usize + s) * grid.rows() as usize
    }
    /// The row of (b, head, n) in a tensor of `heads` heads.
    pub(crate) fn row_at(&self, heads: usize, b: usize, head: usize, n: usize) -> usize {
        (b * heads + head) * self.seq_len + n
    }
    /// The vector that query head `h` reads at position n.
    pub(crate) fn read<'t>(&self, t: &'t Dense, b: usize, h: usize, n: usize) -> &'t [f64] {
        let head = h / (self.heads() / t.heads);
        &t.rows[self.row_at(t.heads, b, head, n)]
    }
    /// (b, h, s) of every segment of a branch.
    pub(crate) fn segments(&self, branch: Branch) -> impl Iterator<Item = (usize, usize, usize)> {
        let (heads, count) = (self.heads(), self.grid(branch, 0).segments() as usize);
        (0..self.batch)
            .flat_map(move |b| (0..heads).flat_map(move |h| (0..count).map(move |s| (b, h, s))))
    }
}

/// Runs `g` on q, k, v.
///
/// # Errors
/// Shapes that do not fit; see [`GraphFault`].
pub fn run(g: &OpGraph, q: &View<'_>, k: &View<'_>, v: &View<'_>) -> Result<Outcome, GraphFault> {
    let h = g.header();
    let (batch, seq_len) = match *q.shape() {
        [b, n, _, _] => (b, n),
        _ => (0, 0),
    };
    let d = h.head_dim as usize;
    for (name, view, heads) in [
        ("q", q, h.heads),
        ("k", k, h.kv_heads),
        ("v", v, h.kv_heads),
    ] {
        let needed = vec![batch, seq_len, heads as usize, d];
        if view.shape() != needed {
            let found = view.shape().to_vec();
            return Err(GraphFault::Shape {
                name,
                found,
                needed,
            });
        }
    }
    let heads = h.heads as usize;
    let memory = |_| GraphFault::Memory;
    let mut out = Tensor::zeros(h.dtype, &[batch, seq_len, heads, d]).map_err(memory)?;
    let mut lse = Tensor::zeros(Storage::F32, &[batch, heads, seq_len]).map_err(memory)?;
    let output = g.output()?;
    if batch == 0 || seq_len == 0 {
        return Ok(Outcome { out, lse });
    }
    let sizes = Sizes {
        header: h,
        batch,
        seq_len,
    };
    let mut values: Vec<Value> = Vec::new();
    for n in g.nodes() {
        let at: Vec<Value> = g
            .operands(n)
            .iter()
            .map(|o| values[o.0 as usize].clone())
            .collect();
        let value = apply(&sizes, g, n, &at, [q, k, v]).ok_or(GraphFault::Operand { node: n.0 })?;
        values.push(value);
    }
    let NodeRef(pairs) = g.operands(output)[0];
    let Value::Pairs(pairs) = &values[pairs as usize] else {
        return Err(GraphFault::Operand { node: output.0 });
    };
    for b in 0..batch {
        for head in 0..heads {
            for n in 0..seq_len {
                let p = &pairs[sizes.row_at(heads, b, head, n)];
                for (i, x) in p.out.iter().enumerate() {
                    out.set(((b * seq_len + n) * heads + head) * d + i, *x);
                }
                lse.set((b * heads + head) * seq_len + n, p.lse);
            }
        }
    }
    Ok(Outcome { out, lse })
}

fn dense(x: &View<'_>) -> Dense {
    let (batch, n, heads, d) = (x.shape()[0], x.shape()[1], x.shape()[2], x.shape()[3]);
    let mut rows = Vec::with_capacity(batch * heads * n);
    for b in 0..batch {
        for h in 0..heads {
            for n in 0..n {
                rows.push((0..d).map(|i| x.get(&[b, n, h, i])).collect());
            }
        }
    }
    Dense { heads, rows }
}

/// The branch whose rows a value of this type has.
fn rows_of(ty: Type) -> Option<Branch> {
    match ty {
        Type::Gathered(b)
        | Type::Scores(b)
        | Type::Probs(b)
        | Type::BranchPair(b)
        | Type::State(Some(b))
        | Type::Bag(Some(b)) => Some(b),
        Type::Tensor | Type::Pair | Type::State(None) | Type::Bag(None) | Type::Unit => None,
    }
}

/// One operation; none when an operand is of another kind.
fn apply(
    z: &Sizes<'_>,
    g: &OpGraph,
    n: NodeRef,
    at: &[Value],
    inputs: [&View<'_>; 3],
) -> Option<Value> {
    let d = z.head_dim();
    let branch = rows_of(g.ty(n));
    let value = match g.op(n) {
        Op::Input(p) => Value::Tensor(Rc::new(dense(match p {
            Port::Q => inputs[0],
            Port::K => inputs[1],
            Port::V => inputs[2],
        }))),
        Op::Gather(b, Side::Query | Side::Key) => {
            Value::Gathered(Rc::new(unfused::gather(z, *b, tensor(&at[0])?)))
        }
        Op::Qk => {
            let (Value::Gathered(q), Value::Gathered(k)) = (&at[0], &at[1]) else {
                return None;
            };
            Value::Scores(Rc::new(unfused::products(z, branch?, q, k)))
        }
        Op::Scale(c) => {
            let scaled = |row: &Vec<Option<f64>>| row.iter().map(|x| x.map(|x| x * c)).collect();
            Value::Scores(Rc::new(scores(&at[0])?.iter().map(scaled).collect()))
        }
        Op::Mask => Value::Scores(Rc::new(unfused::mask(z, branch?, scores(&at[0])?))),
        Op::Softmax => {
            let rows = scores(&at[0])?.iter().map(|s| unfused::softmax(s, d));
            Value::Probs(Rc::new(rows.collect()))
        }
        Op::Pv => {
            let (Value::Probs(p), Value::Gathered(v)) = (&at[0], &at[1]) else {
                return None;
            };
            Value::Pairs(Rc::new(unfused::values(z, branch?, p, v)))
        }
        Op::Scatter => {
            let from = rows_of(g.ty(g.operands(n)[0]))?;
            Value::Pairs(Rc::new(unfused::scatter(z, from, pairs(&at[0])?)))
        }
        Op::Merge | Op::Mix => {
            let all = at.iter().map(pairs).collect::<Option<Vec<_>>>()?;
            let mix = *g.op(n) == Op::Mix;
            let rows = (0..all.first()?.len()).map(|i| {
                let row: Vec<&Pair> = all.iter().map(|p| &p[i]).collect();
                if mix {
                    Pair::mix(&row, d)
                } else {
                    Pair::merge(&row, d)
                }
            });
            Value::Pairs(Rc::new(rows.collect()))
        }
        Op::Local(_) => Value::Bag(Rc::new(Vec::new())),
        Op::Once(o) => Value::Bag(Rc::new(vec![Bag::Once(o.clone())])),
        Op::Dense(w) => Value::Bag(Rc::new(vec![Bag::Dense(*w)])),
        Op::Sum => {
            let both = [bag(&at[0])?, bag(&at[1])?].concat();
            Value::Bag(Rc::new(both))
        }
        Op::Attend(e) => match branch {
            Some(b) => {
                let (Value::Gathered(q), Value::Gathered(k), Value::Gathered(v)) =
                    (&at[0], &at[1], &at[2])
                else {
                    return None;
                };
                Value::States(Rc::new(fused::local(z, b, *e, [q, k, v])))
            }
            None => {
                let x = [tensor(&at[0])?, tensor(&at[1])?, tensor(&at[2])?];
                Value::States(Rc::new(fused::attend(z, *e, x, bag(&at[3])?)))
            }
        },
        Op::Fold(e) => {
            let x = [tensor(&at[1])?, tensor(&at[2])?, tensor(&at[3])?];
            let more = fused::attend(z, *e, x, bag(&at[4])?);
            Value::States(Rc::new(join(states(&at[0])?, &more)))
        }
        Op::Join => Value::States(Rc::new(join(states(&at[0])?, states(&at[1])?))),
        Op::Finish => {
            let rows = states(&at[0])?.iter().map(|s| s.clone().finish());
            Value::Pairs(Rc::new(rows.collect()))
        }
        Op::Panels => at[0].clone(),
        Op::Output => Value::Unit,
    };
    Some(value)
}

fn tensor(v: &Value) -> Option<&Dense> {
    if let Value::Tensor(t) = v {
        Some(t)
    } else {
        None
    }
}

fn scores(v: &Value) -> Option<&Scores> {
    if let Value::Scores(s) = v {
        Some(s)
    } else {
        None
    }
}

fn pairs(v: &Value) -> Option<&Vec<Pair>> {
    if let Value::Pairs(p) = v {
        Some(p)
    } else {
        None
    }
}

fn states(v: &Value) -> Option<&Vec<State>> {
    if let Value::States(s) = v {
        Some(s)
    } else {
        None
    }
}

fn bag(v: &Value) -> Option<&[Bag]> {
    if let Value::Bag(b) = v { Some(b) } else { None }
}

fn join(a: &[State], b: &[State]) -> Vec<State> {
    let rows = a.iter().zip(b);
    rows.map(|(a, b)| a.clone().join(b.clone())).collect()
}
