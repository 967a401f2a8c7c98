// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a graph costs a head and sequence: products, padded to the target's tile sizes, and elements moved.
//!
//! In: a [`CostModel`], plain data that the pipeline fills from the schedule. Out: the cost of one e-node; extraction adds them up.
//! The nominal length enters here and in `bag`, which estimates what a bag issues, and nowhere else.

use std::cell::RefCell;
use std::collections::HashMap;

use attnc_graph::{Branch, Segment};
use egg::{CostFunction, Id, Language};

use crate::bag::{CostModel, Issued};
use crate::facts::{Fact, Graph};
use crate::lang::Node;

/// What a term costs: estimates for one head and the nominal length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Multiply-adds, padding included.
    pub products: u64,
    /// Elements read and written beyond what the products read.
    pub elements: u64,
    /// Meetings of a tile of rows and a run of keys.
    pub runs: u64,
}

/// Products that take as long as what a tile does once for every run of keys: reading classes, counts and positions.
const RUN: u64 = 4096;

impl Cost {
    /// What extraction compares: an element moved weighs as much as a product, a run as much as `RUN` does.
    pub fn total(self) -> u64 {
        let runs = self.runs.saturating_mul(RUN);
        self.products
            .saturating_add(self.elements)
            .saturating_add(runs)
    }
    pub(crate) fn and(self, other: Cost) -> Cost {
        Cost {
            products: self.products.saturating_add(other.products),
            elements: self.elements.saturating_add(other.elements),
            runs: self.runs.saturating_add(other.runs),
        }
    }
}

impl PartialOrd for Cost {
    fn partial_cmp(&self, other: &Cost) -> Option<std::cmp::Ordering> {
        Some(self.total().cmp(&other.total()))
    }
}

/// What bags issue; a conversion from infinity is the largest number.
fn issued(x: Issued) -> Cost {
    Cost {
        products: x.products as u64,
        elements: 0,
        runs: x.runs as u64,
    }
}

fn moved(elements: u64) -> Cost {
    Cost {
        elements,
        ..Cost::default()
    }
}

/// The cost of an e-node beside its operands.
pub(crate) struct Costs<'a> {
    graph: &'a Graph,
    model: &'a CostModel,
    /// Extraction asks again and again; bags take a while.
    known: RefCell<HashMap<Node, Cost>>,
}

impl<'a> Costs<'a> {
    pub(crate) fn new(graph: &'a Graph, model: &'a CostModel) -> Costs<'a> {
        Costs {
            graph,
            model,
            known: RefCell::default(),
        }
    }

    fn branch(&self, id: Id) -> Option<Branch> {
        match self.graph[id].data {
            Fact::Branch(b) | Fact::Rows(b) => Some(b),
            _ => None,
        }
    }

    /// Both products of a branch by itself.
    fn alone(&self, id: Id) -> Cost {
        issued(self.model.bag(self.branch(id)))
    }

    /// One of them; halves are rounded up, so that a softmax of its own never costs less than a fused one.
    fn half(&self, id: Id) -> Cost {
        let both = self.alone(id);
        Cost {
            products: both.products.div_ceil(2),
            runs: both.runs.div_ceil(2),
            ..both
        }
    }

    /// Scores of a branch by itself.
    fn scores(&self, id: Id) -> u64 {
        self.alone(id).products / (2 * self.model.head_dim.max(1))
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
            Node::Qk([q, _]) => self.half(*q).and(moved(self.scores(*q))),
            Node::Pv([p, _]) => self.half(*p).and(moved(self.scores(*p))),
            Node::Scale([_, s]) | Node::Mask([s]) => moved(self.scores(*s).saturating_mul(2)),
            // And a softmax of its own sweeps twice over rows and keys: dearer than any fused one, however few its scores are.
            Node::Softmax([s]) => moved(self.scores(*s).saturating_mul(2).saturating_add(wide)),
            Node::Local([b]) => self.alone(*b),
            Node::Scatter(_) | Node::Merge(_) | Node::Join(_) => moved(wide.saturating_mul(2)),
            Node::Mix(_) => moved(wide.saturating_mul(3)),
            Node::Once(ids) => {
                let terms = ids[2..].iter().filter_map(|t| match self.graph[*t].data {
                    Fact::Term(t) => Some(t.branch),
                    _ => None,
                });
                issued(m.bag(terms))
            }
            Node::Dense(_) => {
                let whole = Branch {
                    segment: Segment::Whole,
                    dilation: 1,
                };
                // Equal to the bag of its one branch, and simpler.
                Cost {
                    runs: 0,
                    ..issued(m.bag([whole]))
                }
            }
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
        let known = self.known.borrow().get(n).copied();
        let own = known.unwrap_or_else(|| {
            let own = self.own(n);
            self.known.borrow_mut().insert(n.clone(), own);
            own
        });
        n.children().iter().fold(own, |sum, c| sum.and(child(*c)))
    }
}
