// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a fused graph to a nest of loops.
//!
//! In: a graph in one of the forms that rewriting reaches. Out: its [`Nest`]. What a graph leaves unfused stays unfused in the nest
//! (states that are joined, pairs that are merged); a chain with scores in memory has no schedule on these targets and is refused by name.

use attnc_graph::{Exponential, NodeRef, Offsets, Once, Op, OpGraph, Ragged, RowMap, Segment};

use crate::nest::{Combine, Group, Nest, Term, WHOLE};

/// Why a graph has no schedule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// An operation that no kernel computes by itself.
    #[error(
        "no kernel computes `{op}` by itself: it is there only while the rule `{rule}` has not fused it"
    )]
    Unfused {
        /// The operation.
        op: String,
        /// The rule that removes it.
        rule: &'static str,
    },
    /// Two attends of one graph differ in exponential or scale.
    #[error("all attends of a graph share one exponential and scale; found {0} and {1}")]
    Exponential(f64, f64),
    /// An attend on something else than the operator's q, k, v.
    #[error("an attend takes the operator's q, k and v, k and v perhaps as panels")]
    Operands,
    /// The graph breaks a rule of its verifier.
    #[error(transparent)]
    Graph(#[from] attnc_graph::GraphError),
}

struct Reader<'a> {
    g: &'a OpGraph,
    groups: Vec<Group>,
    softmax: Option<Exponential>,
    panels: bool,
    displaced: bool,
    combine: Combine,
}

/// The nest of a fused graph.
///
/// # Errors
/// When an operation is left that only rewriting could have removed.
pub fn nest(g: &OpGraph) -> Result<Nest, ScheduleError> {
    let output = g.output()?;
    let mut r = Reader {
        g,
        groups: Vec::new(),
        softmax: None,
        panels: true,
        displaced: false,
        combine: Combine::Stream,
    };
    r.pair(g.operands(output)[0])?;
    let h = g.header();
    let softmax = r.softmax.ok_or(ScheduleError::Operands)?;
    if r.displaced {
        // A displaced branch brings its own query map, and aligned ones may take theirs as displaced: each on its own.
        r.groups = r
            .groups
            .into_iter()
            .flat_map(|g| g.terms.into_iter().map(|t| Group { terms: vec![t] }))
            .collect();
    }
    Ok(Nest {
        name: h.name.clone(),
        heads: h.heads,
        kv_heads: h.kv_heads,
        head_dim: h.head_dim,
        dtype: h.dtype,
        causal: h.causal,
        blocked: h.profile.offsets == Offsets::Blocked,
        zero_keys: h.profile.ragged == Ragged::ZeroKeys,
        displaced: r.displaced,
        base2: softmax.base2,
        scale: softmax.scale,
        panels: r.panels,
        combine: r.combine,
        groups: r.groups,
    })
}

impl Reader<'_> {
    fn unfused(&self, n: NodeRef, rule: &'static str) -> ScheduleError {
        ScheduleError::Unfused {
            op: attnc_graph::op_name(self.g.op(n)),
            rule,
        }
    }

    fn pair(&mut self, n: NodeRef) -> Result<(), ScheduleError> {
        let at = self.g.operands(n);
        match self.g.op(n) {
            Op::Finish => self.state(at[0]),
            Op::Merge => {
                self.combine = Combine::Merge;
                self.pair(at[0])?;
                self.pair(at[1])
            }
            Op::Mix => {
                self.combine = Combine::Mix {
                    branches: at.len() as u32,
                };
                at.iter().try_for_each(|p| self.pair(*p))
            }
            Op::Scatter => Err(self.unfused(n, "gather-fusion")),
            Op::Input(_)
            | Op::Gather(..)
            | Op::Qk
            | Op::Scale(_)
            | Op::Mask
            | Op::Softmax
            | Op::Pv
            | Op::Local(_)
            | Op::Once(_)
            | Op::Dense(_)
            | Op::Sum
            | Op::Attend(_)
            | Op::Zeros(_)
            | Op::Join
            | Op::Fold(_)
            | Op::Panels
            | Op::Output => Err(self.unfused(n, "flash")),
        }
    }

    fn state(&mut self, n: NodeRef) -> Result<(), ScheduleError> {
        let at = self.g.operands(n);
        match self.g.op(n) {
            Op::Attend(e) => self.attend(*e, [at[0], at[1], at[2], at[3]]),
            Op::Fold(e) => {
                self.state(at[0])?;
                self.attend(*e, [at[1], at[2], at[3], at[4]])
            }
            Op::Join => {
                if self.combine == Combine::Stream {
                    self.combine = Combine::Join;
                }
                self.state(at[0])?;
                self.state(at[1])
            }
            _ => Err(self.unfused(n, "flash")),
        }
    }

    fn attend(
        &mut self,
        e: Exponential,
        [q, k, v, bag]: [NodeRef; 4],
    ) -> Result<(), ScheduleError> {
        match self.softmax {
            Some(x) if x != e => return Err(ScheduleError::Exponential(x.scale, e.scale)),
            Some(_) | None => self.softmax = Some(e),
        }
        if !matches!(self.g.op(q), Op::Input(_)) {
            return Err(ScheduleError::Operands);
        }
        for x in [k, v] {
            match self.g.op(x) {
                Op::Panels => {}
                Op::Input(_) => self.panels = false,
                _ => return Err(ScheduleError::Operands),
            }
        }
        self.bag(bag)
    }

    fn bag(&mut self, n: NodeRef) -> Result<(), ScheduleError> {
        match self.g.op(n) {
            Op::Sum => self.g.operands(n).into_iter().try_for_each(|b| self.bag(b)),
            Op::Once(o) => {
                self.displaced |= o.map == RowMap::Displaced;
                self.groups.push(group(o));
                Ok(())
            }
            Op::Dense(w) => {
                self.groups.push(Group {
                    terms: vec![Term {
                        segment: WHOLE,
                        dilation: 1,
                        weight: i64::from(*w),
                    }],
                });
                Ok(())
            }
            _ => Err(ScheduleError::Operands),
        }
    }
}

fn group(o: &Once) -> Group {
    let term = |t: &attnc_graph::Term| Term {
        segment: match t.branch.segment {
            Segment::Finite(w) => w as i64,
            Segment::Whole => WHOLE,
        },
        dilation: t.branch.dilation as i64,
        weight: i64::from(t.weight),
    };
    Group {
        terms: o.terms.iter().map(term).collect(),
    }
}
