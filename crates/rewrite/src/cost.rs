// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a graph costs a head and sequence: products, padded to the target's tile sizes, and elements moved.
//!
//! In: a [`CostModel`], plain data that the pipeline fills from the schedule. Out: the cost of one e-node; extraction adds them up.
//! The nominal length enters here and nowhere else.

use attnc_graph::{Branch, Once, Segment};
use egg::{CostFunction, Id, Language};

use crate::facts::{Fact, Graph};
use crate::lang::Node;

/// Tile sizes and the nominal sequence length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostModel {
    /// Rows are computed in steps of this many.
    pub mq: u64,
    /// Keys are computed in steps of this many.
    pub nk: u64,
    /// Rows of a task.
    pub chunk: u64,
    /// D.
    pub head_dim: u64,
    /// The length that costs are estimated for.
    pub nominal_n: u64,
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn round_up(x: u64, step: u64) -> u64 {
    x.div_ceil(step).saturating_mul(step)
}

impl CostModel {
    fn clipped(&self, b: Branch) -> u64 {
        match b.segment {
            Segment::Finite(w) => w.min(self.nominal_n).max(1),
            Segment::Whole => self.nominal_n.max(1),
        }
    }

    /// Products of one bag for head 0 (offset 0): the rows of a cell by mask against the keys of its regions by mask, both padded,
    /// and a constant for every run of a tile.
    pub(crate) fn bag(&self, o: &Once) -> u64 {
        let mut branches: Vec<(u64, u64)> = o
            .terms
            .iter()
            .map(|t| (self.clipped(t.branch), t.branch.dilation))
            .collect();
        branches.sort_unstable();
        let period = branches
            .iter()
            .fold(1u64, |l, (_, r)| (r / gcd(l, *r)).saturating_mul(l));
        let cell = branches[0].0.min(self.chunk).min(self.nominal_n).max(1);
        let cells = self.nominal_n.max(1).div_ceil(cell);
        let mut total = 0u64;
        let row_classes = classes(&branches, 0, period);
        let mut inner = 0u64;
        for (i, (w, _)) in branches.iter().enumerate() {
            let len = w - inner.min(*w);
            inner = *w;
            if len == 0 {
                continue;
            }
            for (keys, residues) in classes(&branches, i, period) {
                let reached: u64 = row_classes
                    .iter()
                    .filter(|(rows, _)| rows & keys != 0)
                    .map(|(_, n)| n)
                    .sum();
                let rows = round_up((cell * reached).div_ceil(period), self.mq);
                let keys = round_up((len * residues).div_ceil(period), self.nk);
                let runs = rows.div_ceil(4 * self.mq);
                let run = rows
                    .saturating_mul(keys)
                    .saturating_mul(2 * self.head_dim)
                    .saturating_add(runs * 4096);
                total = total.saturating_add(run.saturating_mul(cells));
            }
        }
        total
    }
}

/// (mask, residues) of the branches from `from` on, within one period; a lone branch has one class.
fn classes(branches: &[(u64, u64)], from: usize, period: u64) -> Vec<(u64, u64)> {
    if branches.len() == 1 {
        return vec![(1, 1)];
    }
    let mut out: Vec<(u64, u64)> = Vec::new();
    for x in 0..period.min(64) {
        let mask = branches
            .iter()
            .enumerate()
            .skip(from)
            .filter(|(_, (_, r))| x % r == 0)
            .fold(0u64, |m, (i, _)| m | 1 << i);
        if mask != 0 {
            match out.iter_mut().find(|(m, _)| *m == mask) {
                Some((_, n)) => *n += 1,
                None => out.push((mask, 1)),
            }
        }
    }
    out
}

/// What a term costs: estimates for one head and the nominal length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-adds, padding included.
    pub products: u64,
    /// Elements read and written beyond what the products read.
    pub elements: u64,
}

impl Cost {
    /// What extraction compares: an element moved weighs as much as a product.
    pub fn total(self) -> u64 {
        self.products.saturating_add(self.elements)
    }
    pub(crate) fn and(self, other: Cost) -> Cost {
        Cost {
            products: self.products.saturating_add(other.products),
            elements: self.elements.saturating_add(other.elements),
        }
    }
}

impl PartialOrd for Cost {
    fn partial_cmp(&self, other: &Cost) -> Option<std::cmp::Ordering> {
        Some(self.total().cmp(&other.total()))
    }
}

fn products(products: u64) -> Cost {
    Cost {
        products,
        elements: 0,
    }
}

fn moved(elements: u64) -> Cost {
    Cost {
        products: 0,
        elements,
    }
}

/// The cost of an e-node beside its operands.
pub(crate) struct Costs<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) model: &'a CostModel,
}

impl Costs<'_> {
    fn branch(&self, id: Id) -> Option<Branch> {
        match self.graph[id].data {
            Fact::Branch(b) | Fact::Rows(b) => Some(b),
            _ => None,
        }
    }

    /// Both products of a branch by itself.
    fn alone(&self, id: Id) -> u64 {
        let bag = self.branch(id).map(|branch| Once {
            terms: vec![attnc_graph::Term { branch, weight: 1 }],
            map: attnc_graph::RowMap::Aligned,
            zero_keys: false,
        });
        bag.map_or(0, |b| self.model.bag(&b))
    }

    /// Scores of a branch by itself.
    fn scores(&self, id: Id) -> u64 {
        self.alone(id) / (2 * self.model.head_dim.max(1))
    }

    fn own(&self, n: &Node) -> Cost {
        let m = self.model;
        let wide = m.nominal_n.max(1).saturating_mul(m.head_dim);
        match n {
            Node::Num(_) | Node::Real(_) | Node::Sym(_) | Node::Br(_) | Node::Times(_) => {
                Cost::default()
            }
            // Gathered rows are written and read again.
            Node::GatherQuery([b, _]) | Node::GatherKey([b, _]) => {
                let r = self.branch(*b).map_or(1, |b| b.dilation.max(1));
                moved((2 * wide / r).saturating_add(1))
            }
            // Scores in memory are written and read by every operation between the products.
            Node::Qk([q, _]) => products(self.alone(*q) / 2).and(moved(self.scores(*q))),
            Node::Pv([p, _]) => products(self.alone(*p) / 2).and(moved(self.scores(*p))),
            Node::Scale([_, s]) | Node::Mask([s]) | Node::Softmax([s]) => {
                moved(self.scores(*s).saturating_mul(2))
            }
            Node::Local([b]) => products(self.alone(*b)),
            Node::Scatter(_) | Node::Merge(_) | Node::Join(_) => moved(wide.saturating_mul(2)),
            Node::Mix(_) => moved(wide.saturating_mul(3)),
            Node::Once(ids) => {
                let terms = ids[2..].iter().filter_map(|t| match self.graph[*t].data {
                    Fact::Term(t) => Some(t),
                    _ => None,
                });
                let bag = Once {
                    terms: terms.collect(),
                    map: attnc_graph::RowMap::Aligned,
                    zero_keys: false,
                };
                products(if bag.terms.is_empty() {
                    u64::MAX / 4
                } else {
                    m.bag(&bag)
                })
            }
            Node::Dense(_) => products(m.nominal_n.saturating_mul(wide).saturating_mul(2)),
            Node::Sum(_) => moved(wide / 8),
            Node::Attend([f, _, _, k, ..]) | Node::Fold([f, _, _, _, k, ..]) => {
                let natural = matches!(self.graph[*f].data, Fact::Sym(s) if s.as_str() == "exp");
                let bare = matches!(self.graph[*k].data, Fact::Sym(_));
                moved(
                    wide / 4
                        + if natural { wide } else { 0 }
                        + if bare { wide.saturating_mul(2) } else { 0 },
                )
            }
            Node::Finish(_) => moved(wide / 4),
            Node::Panels(_) => moved(wide / 2),
            Node::Output(_) => Cost::default(),
        }
    }
}

impl CostFunction<Node> for Costs<'_> {
    type Cost = Cost;

    fn cost<C: FnMut(Id) -> Cost>(&mut self, n: &Node, mut child: C) -> Cost {
        let children = n.children().iter();
        children.fold(self.own(n), |sum, c| sum.and(child(*c)))
    }
}
