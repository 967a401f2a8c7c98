// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a graph costs, in products a head and sequence: padded work at the target's tile sizes, with bytes weighed in.
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

/// The cost of an e-node beside its operands.
pub(crate) struct Costs<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) model: &'a CostModel,
}

impl CostFunction<Node> for Costs<'_> {
    type Cost = u64;

    fn cost<C: FnMut(Id) -> u64>(&mut self, n: &Node, mut child: C) -> u64 {
        let m = self.model;
        let wide = m.nominal_n.max(1).saturating_mul(m.head_dim);
        let branch = |id: &Id| {
            if let Fact::Branch(b) = self.graph[*id].data {
                Some(b)
            } else {
                None
            }
        };
        let own = match n {
            Node::Num(_) | Node::Real(_) | Node::Sym(_) | Node::Br(_) | Node::Times(_) => 0,
            Node::GatherQuery([b, _]) => branch(b)
                .map_or(wide, |b| wide / b.dilation.max(1))
                .saturating_add(1),
            // Scores of an unfused chain are written and read by every operation between the products.
            Node::GatherKey([b, _]) => match branch(b) {
                Some(branch) => {
                    let terms = vec![attnc_graph::Term { branch, weight: 1 }];
                    let alone = Once {
                        terms,
                        map: attnc_graph::RowMap::Aligned,
                        zero_keys: false,
                    };
                    m.bag(&alone).saturating_mul(2).saturating_add(wide)
                }
                None => wide,
            },
            Node::Qk(_) | Node::Pv(_) => wide.saturating_mul(64),
            Node::Scale(_) | Node::Mask(_) | Node::Softmax(_) => wide.saturating_mul(4),
            Node::Local(_) => 0,
            Node::Scatter(_) | Node::Merge(_) | Node::Join(_) => wide.saturating_mul(2),
            Node::Mix(_) => wide.saturating_mul(3),
            Node::Once(ids) => {
                let terms = ids[2..]
                    .iter()
                    .filter_map(|t| {
                        if let Fact::Term(t) = self.graph[*t].data {
                            Some(t)
                        } else {
                            None
                        }
                    })
                    .collect();
                let first = Once {
                    terms,
                    map: attnc_graph::RowMap::Aligned,
                    zero_keys: false,
                };
                if first.terms.is_empty() {
                    u64::MAX / 4
                } else {
                    m.bag(&first)
                }
            }
            Node::Dense(_) => m.nominal_n.saturating_mul(wide).saturating_mul(2),
            Node::Sum(_) => wide / 8,
            Node::Attend([f, _, _, k, ..]) | Node::Fold([f, _, _, _, k, ..]) => {
                let natural = matches!(self.graph[*f].data, Fact::Sym(s) if s.as_str() == "exp");
                let bare = matches!(&self.graph[*k].data, Fact::Sym(_));
                wide / 4
                    + if natural { wide } else { 0 }
                    + if bare { wide.saturating_mul(2) } else { 0 }
            }
            Node::Finish(_) => wide / 4,
            Node::Panels(_) => wide / 2,
            Node::Output(_) => 0,
        };
        n.children()
            .iter()
            .fold(own, |sum, c| sum.saturating_add(child(*c)))
    }
}
