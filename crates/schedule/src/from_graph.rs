// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From a graph to a nest of loops.
//!
//! In: a graph in one of the forms that rewriting reaches, with any of its rules left out. Out: its [`Nest`]. What a graph leaves
//! unfused stays unfused in the nest: states that are joined, pairs that are merged, gathers that are copied for every use, softmaxes
//! that know their maximum before they take an exponential.

use attnc_graph::{
    Branch, Exponential, NodeRef, Offsets, Op, OpGraph, Precision, Ragged, RowMap, Rows, Segment,
    divides,
};

use crate::nest::{Combine, FEW, Group, Nest, Term, WHOLE};

/// Why a graph has no schedule.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// An operation stands where no form of an operator has it.
    #[error("no kernel computes `{op}` here: expected {expected}")]
    Form {
        /// The operation.
        op: String,
        /// What could stand in its place.
        expected: &'static str,
    },
    /// Two attends of one graph differ in exponential or scale.
    #[error("all attends of a graph share one exponential and scale; found {0} and {1}")]
    Exponential(f64, f64),
    /// The gathers and the bag of one attend are not of one branch.
    #[error("the gathers of a branch differ: {0} and {1}")]
    Branch(String, String),
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
    two_sweeps: bool,
    combine: Combine,
}

/// The nest of a graph.
///
/// # Errors
/// When an operation stands where no kernel computes it.
pub fn nest(g: &OpGraph) -> Result<Nest, ScheduleError> {
    let output = g.output()?;
    let mut r = Reader {
        g,
        groups: Vec::new(),
        softmax: None,
        panels: true,
        displaced: false,
        two_sweeps: false,
        combine: Combine::Stream,
    };
    r.pair(g.operands(output)[0])?;
    let h = g.header();
    let softmax = r
        .softmax
        .ok_or_else(|| r.form(output, "at least one branch"))?;
    if r.displaced {
        // A displaced branch brings its own query map, and aligned ones may take theirs as displaced: each on its own.
        r.groups = r
            .groups
            .into_iter()
            .flat_map(|g| g.terms.into_iter().map(|t| Group { terms: vec![t] }))
            .collect();
    }
    if r.groups.len() > FEW && r.combine == Combine::Stream {
        // One chain of sums through so many groups would lose too much.
        r.combine = Combine::Join;
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
        fast: h.precision == Precision::Fast,
        panels: r.panels,
        two_sweeps: r.two_sweeps,
        combine: r.combine,
        groups: r.groups,
    })
}

const PAIR: &str = "`finish`, `scatter`, `merge` or one `mix`";
const STATE: &str = "`attend`, `fold` or `join`";
const CHAIN: &str = "an attention over the gathered rows of one branch";
const ROWS: &str = "the operator's q, k and v, k and v perhaps as panels";

impl Reader<'_> {
    fn form(&self, n: NodeRef, expected: &'static str) -> ScheduleError {
        ScheduleError::Form {
            op: attnc_graph::op_name(self.g.op(n)),
            expected,
        }
    }

    fn pair(&mut self, n: NodeRef) -> Result<(), ScheduleError> {
        let at = self.g.operands(n);
        match self.g.op(n) {
            Op::Finish => self.state(at[0]),
            Op::Scatter => self.branch(at[0]),
            Op::Merge => {
                self.combine = Combine::Merge;
                self.pair(at[0])?;
                self.pair(at[1])
            }
            // A mix counts its branches one by one, so each is a group of one branch that counts once, and nothing else is around it.
            Op::Mix if self.combine == Combine::Stream && self.groups.is_empty() => {
                self.combine = Combine::Mix {
                    branches: at.len() as u32,
                };
                for (i, p) in at.iter().enumerate() {
                    if matches!(self.g.op(*p), Op::Merge | Op::Mix) {
                        return Err(self.form(*p, "one branch in each operand of `mix`"));
                    }
                    self.pair(*p)?;
                    let alone = self.groups.len() == i + 1
                        && matches!(self.groups[i].terms[..], [Term { weight: 1, .. }]);
                    if !alone {
                        return Err(self.form(*p, "one branch in each operand of `mix`"));
                    }
                }
                Ok(())
            }
            Op::Mix
            | Op::Input(_)
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
            | Op::Join
            | Op::Fold(_)
            | Op::Panels
            | Op::Output => Err(self.form(n, PAIR)),
        }
    }

    /// The rows of one branch, scattered: an attend over gathers, or a softmax that is still whole.
    fn branch(&mut self, n: NodeRef) -> Result<(), ScheduleError> {
        let at = self.g.operands(n);
        let (q, k, v) = match self.g.op(n) {
            Op::Finish => {
                let Op::Attend(e) = self.g.op(at[0]) else {
                    return Err(self.form(at[0], CHAIN));
                };
                self.exponential(*e)?;
                let x = self.g.operands(at[0]);
                let Op::Local(_) = self.g.op(x[3]) else {
                    return Err(self.form(x[3], CHAIN));
                };
                (x[0], x[1], x[2])
            }
            Op::Pv => {
                let softmax = self.below(at[0], &Op::Softmax)?;
                let mask = self.below(softmax, &Op::Mask)?;
                let Op::Scale(scale) = self.g.op(mask) else {
                    return Err(self.form(mask, CHAIN));
                };
                self.exponential(Exponential {
                    base2: false,
                    scale: *scale,
                })?;
                self.two_sweeps = true;
                let qk = self.g.operands(mask)[0];
                if *self.g.op(qk) != Op::Qk {
                    return Err(self.form(qk, CHAIN));
                }
                let x = self.g.operands(qk);
                (x[0], x[1], at[1])
            }
            _ => return Err(self.form(n, CHAIN)),
        };
        let (b, kb, vb) = (self.gather(q)?, self.gather(k)?, self.gather(v)?);
        for other in [kb, vb] {
            if other != b {
                let name = |b: Branch| format!("br({}, {})", b.segment, b.dilation);
                return Err(ScheduleError::Branch(name(b), name(other)));
            }
        }
        let displaced = self.g.header().profile.rows == Rows::Displaced && !divides(b);
        self.displaced |= displaced;
        self.panels = false;
        self.groups.push(Group {
            terms: vec![term(b, 1)],
        });
        Ok(())
    }

    /// The operand of `n`, which is `op`.
    fn below(&self, n: NodeRef, op: &Op) -> Result<NodeRef, ScheduleError> {
        if self.g.op(n) == op {
            Ok(self.g.operands(n)[0])
        } else {
            Err(self.form(n, CHAIN))
        }
    }

    /// The branch whose rows `n` gathers from the operator's q, k or v.
    fn gather(&self, n: NodeRef) -> Result<Branch, ScheduleError> {
        let Op::Gather(b, _) = self.g.op(n) else {
            return Err(self.form(n, CHAIN));
        };
        let from = self.g.operands(n)[0];
        match self.g.op(from) {
            Op::Input(_) => Ok(*b),
            _ => Err(self.form(from, ROWS)),
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
            _ => Err(self.form(n, STATE)),
        }
    }

    fn exponential(&mut self, e: Exponential) -> Result<(), ScheduleError> {
        match self.softmax {
            Some(x) if x != e => Err(ScheduleError::Exponential(x.scale, e.scale)),
            Some(_) | None => {
                self.softmax = Some(e);
                Ok(())
            }
        }
    }

    fn attend(
        &mut self,
        e: Exponential,
        [q, k, v, bag]: [NodeRef; 4],
    ) -> Result<(), ScheduleError> {
        self.exponential(e)?;
        if !matches!(self.g.op(q), Op::Input(_)) {
            return Err(self.form(q, ROWS));
        }
        for x in [k, v] {
            match self.g.op(x) {
                Op::Panels => {}
                Op::Input(_) => self.panels = false,
                _ => return Err(self.form(x, ROWS)),
            }
        }
        self.bag(bag)
    }

    fn bag(&mut self, n: NodeRef) -> Result<(), ScheduleError> {
        match self.g.op(n) {
            Op::Sum => self.g.operands(n).into_iter().try_for_each(|b| self.bag(b)),
            Op::Once(o) => {
                self.displaced |= o.map == RowMap::Displaced;
                let terms = o.terms.iter().map(|t| term(t.branch, t.weight)).collect();
                self.groups.push(Group { terms });
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
            _ => Err(self.form(n, "a bag of keys")),
        }
    }
}

fn term(b: Branch, weight: u32) -> Term {
    Term {
        segment: match b.segment {
            Segment::Finite(w) => w as i64,
            Segment::Whole => WHOLE,
        },
        dilation: b.dilation as i64,
        weight: i64::from(weight),
    }
}
