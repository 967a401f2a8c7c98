// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an e-class knows of its value: constants, branches, bags. The side conditions of rules read this and the profile, nothing else.

use attnc_graph::{Branch, Header, Once, RowMap, Rows, Segment, Term, divides};
use egg::{Analysis, DidMerge, EGraph, Id, Symbol};

use crate::lang::Node;

/// The e-graph of op graphs.
pub(crate) type Graph = EGraph<Node, Facts>;

/// The constants of the operator that side conditions read.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) displaced: bool,
    pub(crate) zero_keys: bool,
}

impl Facts {
    pub(crate) fn of(h: &Header) -> Facts {
        Facts {
            displaced: h.profile.rows == Rows::Displaced,
            zero_keys: h.profile.ragged == attnc_graph::Ragged::ZeroKeys,
        }
    }
}

/// The fact of one class.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    Num(i64),
    Real(f64),
    Sym(Symbol),
    Branch(Branch),
    Term(Term),
    /// One `once`.
    Once(Once),
    /// Any other bag, by the row map of its members.
    Bag(RowMap),
    /// Rows, scores or pairs of one gathered branch.
    Rows(Branch),
    Other,
}

/// The bag's row map, if it is a bag of rows.
pub(crate) fn map_of(f: &Fact) -> Option<RowMap> {
    match f {
        Fact::Once(o) => Some(o.map),
        Fact::Bag(m) => Some(*m),
        Fact::Num(_)
        | Fact::Real(_)
        | Fact::Sym(_)
        | Fact::Branch(_)
        | Fact::Term(_)
        | Fact::Rows(_)
        | Fact::Other => None,
    }
}

/// Whether rows of the branch return to their own position under these facts.
pub(crate) fn aligned(facts: &Facts, b: Branch) -> bool {
    !facts.displaced || divides(b)
}

impl Analysis<Node> for Facts {
    type Data = Fact;

    fn make(g: &mut Graph, n: &Node, _: Id) -> Fact {
        let fact = |id: &Id| &g[*id].data;
        match n {
            Node::Num(x) => Fact::Num(*x),
            Node::Real(x) => Fact::Real(x.get()),
            Node::Sym(s) => Fact::Sym(*s),
            Node::Br([w, r]) => match (fact(w), fact(r)) {
                (Fact::Num(w), Fact::Num(r)) => Fact::Branch(Branch {
                    segment: Segment::Finite(*w as u64),
                    dilation: *r as u64,
                }),
                (Fact::Sym(_), Fact::Num(r)) => Fact::Branch(Branch {
                    segment: Segment::Whole,
                    dilation: *r as u64,
                }),
                _ => Fact::Other,
            },
            Node::Times([w, b]) => match (fact(w), fact(b)) {
                (Fact::Num(w), Fact::Branch(b)) => Fact::Term(Term {
                    branch: *b,
                    weight: *w as u32,
                }),
                _ => Fact::Other,
            },
            Node::Once(ids) => {
                let is =
                    |id: &Id, name: &str| matches!(fact(id), Fact::Sym(s) if s.as_str() == name);
                let terms = ids[2..]
                    .iter()
                    .filter_map(|t| {
                        if let Fact::Term(t) = fact(t) {
                            Some(*t)
                        } else {
                            None
                        }
                    })
                    .collect();
                let map = if is(&ids[0], "displaced") {
                    RowMap::Displaced
                } else {
                    RowMap::Aligned
                };
                Fact::Once(Once {
                    terms,
                    map,
                    zero_keys: is(&ids[1], "zero_keys"),
                })
            }
            Node::Dense(_) => Fact::Bag(RowMap::Aligned),
            Node::Sum([a, b]) => match (map_of(fact(a)), map_of(fact(b))) {
                (Some(x), Some(y)) if x == y => Fact::Bag(x),
                _ => Fact::Other,
            },
            Node::GatherQuery([b, _]) | Node::GatherKey([b, _]) => match fact(b) {
                Fact::Branch(b) => Fact::Rows(*b),
                _ => Fact::Other,
            },
            Node::Qk([x, _])
            | Node::Scale([_, x])
            | Node::Mask([x])
            | Node::Softmax([x])
            | Node::Pv([x, _]) => match fact(x) {
                Fact::Rows(b) => Fact::Rows(*b),
                _ => Fact::Other,
            },
            Node::Scatter(_)
            | Node::Merge(_)
            | Node::Mix(_)
            | Node::Local(_)
            | Node::Attend(_)
            | Node::Join(_)
            | Node::Fold(_)
            | Node::Finish(_)
            | Node::Panels(_)
            | Node::Output(_) => Fact::Other,
        }
    }

    // A class may hold a `once` beside sums and `dense`: the `once` says most.
    fn merge(&mut self, a: &mut Fact, b: Fact) -> DidMerge {
        match (&*a, &b) {
            (Fact::Once(x), Fact::Once(y)) if y.terms.len() < x.terms.len() => {
                *a = b;
                DidMerge(true, false)
            }
            (Fact::Bag(_), Fact::Once(_)) | (Fact::Other, Fact::Rows(_)) => {
                *a = b;
                DidMerge(true, false)
            }
            _ => DidMerge(false, *a != b),
        }
    }
}
