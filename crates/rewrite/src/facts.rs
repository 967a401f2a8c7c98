// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an e-class knows of its value: constants, branches, bags. The side conditions of rules read this and the profile, nothing else.

use attnc_graph::{Branch, Header, Once, RowMap, Rows, Segment, Term, divides};
use egg::{Analysis, DidMerge, EGraph, Id, Symbol};

use crate::lang::Node;

/// The e-graph of op graphs.
pub(crate) type Graph = EGraph<Node, Facts>;

/// The constants of the operator that side conditions read, and what the facts of united classes said against each other.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) displaced: bool,
    pub(crate) zero_keys: bool,
    /// Two different things that a rule has united: a bug of the rule, found before the terms it makes are searched.
    pub(crate) contradiction: Option<String>,
}

impl Facts {
    pub(crate) fn of(h: &Header) -> Facts {
        Facts {
            displaced: h.profile.rows == Rows::Displaced,
            zero_keys: h.profile.ragged == attnc_graph::Ragged::ZeroKeys,
            contradiction: None,
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
    /// Any other bag, by the row map of its members, with what it holds.
    Bag(RowMap, Members),
    /// Rows or scores of one gathered branch.
    Rows(Branch),
    /// A state, or the pair of out and lse that it becomes, by the branches whose keys have entered it.
    State(Members),
    Other,
}

/// A multiset of branches, as a sum of fingerprints: equal multisets have equal sums, and a rule that loses, doubles or swaps a branch is
/// seen at once, whatever way it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Members(u128);

impl Members {
    /// One branch, so many times.
    fn of(b: Branch, weight: u64) -> Members {
        let segment = match b.segment {
            Segment::Finite(w) => w,
            Segment::Whole => u64::MAX,
        };
        let half =
            |salt: u64| u128::from(scramble(scramble(segment ^ salt).wrapping_add(b.dilation)));
        Members((half(1) << 64 | half(2)).wrapping_mul(u128::from(weight)))
    }

    fn plus(self, other: Members) -> Members {
        Members(self.0.wrapping_add(other.0))
    }
}

/// The finalizer of SplitMix64.
fn scramble(x: u64) -> u64 {
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// The members of a bag.
fn members(f: &Fact) -> Option<Members> {
    match f {
        Fact::Once(o) => Some(
            o.terms
                .iter()
                .map(|t| Members::of(t.branch, u64::from(t.weight)))
                .fold(Members(0), Members::plus),
        ),
        Fact::Bag(_, m) => Some(*m),
        Fact::Num(_)
        | Fact::Real(_)
        | Fact::Sym(_)
        | Fact::Branch(_)
        | Fact::Term(_)
        | Fact::Rows(_)
        | Fact::State(_)
        | Fact::Other => None,
    }
}

/// The state of a bag, or of the keys of one branch by itself.
fn entered(f: &Fact) -> Option<Members> {
    match f {
        Fact::State(m) => Some(*m),
        bag => members(bag),
    }
}

/// The state that two make together.
fn together(a: &Fact, b: &Fact) -> Fact {
    match (entered(a), entered(b)) {
        (Some(a), Some(b)) => Fact::State(a.plus(b)),
        _ => Fact::Other,
    }
}

/// The bag's row map, if it is a bag of rows.
pub(crate) fn map_of(f: &Fact) -> Option<RowMap> {
    match f {
        Fact::Once(o) => Some(o.map),
        Fact::Bag(m, _) => Some(*m),
        Fact::Num(_)
        | Fact::Real(_)
        | Fact::Sym(_)
        | Fact::Branch(_)
        | Fact::Term(_)
        | Fact::Rows(_)
        | Fact::State(_)
        | Fact::Other => None,
    }
}

/// Whether rows of the branch return to their own position under these facts.
pub(crate) fn aligned(facts: &Facts, b: Branch) -> bool {
    !facts.displaced || divides(b)
}

/// Whether no value can be both.
fn contradicts(a: &Fact, b: &Fact) -> bool {
    match (a, b) {
        (Fact::Once(_) | Fact::Bag(..), Fact::Once(_) | Fact::Bag(..)) => {
            (map_of(a), members(a)) != (map_of(b), members(b))
        }
        (Fact::Other, _) | (_, Fact::Other) => false,
        _ => a != b,
    }
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
            Node::Dense([w]) => match fact(w) {
                Fact::Num(w) => {
                    let whole = Branch {
                        segment: Segment::Whole,
                        dilation: 1,
                    };
                    Fact::Bag(RowMap::Aligned, Members::of(whole, *w as u64))
                }
                _ => Fact::Other,
            },
            Node::Sum([a, b]) => {
                let (a, b) = (fact(a), fact(b));
                match (map_of(a), map_of(b), members(a), members(b)) {
                    (Some(x), Some(y), Some(a), Some(b)) if x == y => Fact::Bag(x, a.plus(b)),
                    _ => Fact::Other,
                }
            }
            Node::GatherQuery([b, _]) | Node::GatherKey([b, _]) => match fact(b) {
                Fact::Branch(b) => Fact::Rows(*b),
                _ => Fact::Other,
            },
            Node::Qk([x, _]) | Node::Scale([_, x]) | Node::Mask([x]) | Node::Softmax([x]) => {
                match fact(x) {
                    Fact::Rows(b) => Fact::Rows(*b),
                    _ => Fact::Other,
                }
            }
            Node::Pv([x, _]) => match fact(x) {
                Fact::Rows(b) => Fact::State(Members::of(*b, 1)),
                _ => Fact::Other,
            },
            Node::Local([b]) => match fact(b) {
                Fact::Branch(b) => Fact::State(Members::of(*b, 1)),
                _ => Fact::Other,
            },
            Node::Attend([.., bag]) => entered(fact(bag)).map_or(Fact::Other, Fact::State),
            Node::Finish([x]) | Node::Scatter([x]) => {
                entered(fact(x)).map_or(Fact::Other, Fact::State)
            }
            Node::Merge([a, b]) | Node::Join([a, b]) => together(fact(a), fact(b)),
            Node::Fold([_, _, state, .., bag]) => together(fact(state), fact(bag)),
            Node::Mix(_) | Node::Panels(_) | Node::Output(_) => Fact::Other,
        }
    }

    // A class may hold a `once` beside sums and `dense`: the `once` says most.
    fn merge(&mut self, a: &mut Fact, b: Fact) -> DidMerge {
        if self.contradiction.is_none() && contradicts(a, &b) {
            self.contradiction = Some(format!("{a:?} and {b:?}"));
        }
        match (&*a, &b) {
            (Fact::Once(x), Fact::Once(y)) if y.terms.len() < x.terms.len() => {
                *a = b;
                DidMerge(true, false)
            }
            (Fact::Bag(..), Fact::Once(_)) | (Fact::Other, Fact::Rows(_) | Fact::State(_)) => {
                *a = b;
                DidMerge(true, false)
            }
            _ => DidMerge(false, *a != b),
        }
    }
}
