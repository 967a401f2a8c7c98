// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What tasks find before anything of theirs has run: plan tables that the plan has written whole, and buffers whose fresh memory lies in
//! the range that they promise.

use std::collections::HashMap;

use super::{Rule, VerifyError};
use crate::core::{Bound, Core, Inst, PlanId, Val};

/// Elements of plan tables that the top level of the plan surely writes: single ones, or whole tables by a loop over their length.
#[derive(Default)]
struct Written {
    constants: HashMap<Val, i64>,
    elements: Vec<(PlanId, i64)>,
    whole: Vec<PlanId>,
}

impl Written {
    fn inst(&mut self, core: &Core, inst: &Inst) {
        match inst {
            Inst::Const(v, x) => {
                self.constants.insert(*v, *x);
            }
            Inst::PlanStore(t, i, _) => {
                if let Some(i) = self.constants.get(i) {
                    self.elements.push((*t, *i));
                }
            }
            Inst::For {
                iv,
                lo,
                hi,
                step,
                body,
            } => {
                let known = |v: &Val| self.constants.get(v).copied();
                let (Some(0), Some(end), Some(1)) = (known(lo), known(hi), known(step)) else {
                    return;
                };
                for inst in body {
                    if let Inst::PlanStore(t, i, _) = inst
                        && i == iv
                        && core
                            .plan_tables
                            .get(t.0 as usize)
                            .is_some_and(|t| t.len as i64 <= end)
                    {
                        self.whole.push(*t);
                    }
                }
            }
            Inst::Arg(..)
            | Inst::Bin(..)
            | Inst::Select(..)
            | Inst::Table(..)
            | Inst::Plan(..)
            | Inst::Load(..)
            | Inst::Store(..)
            | Inst::Walk { .. }
            | Inst::If { .. }
            | Inst::Floats { .. }
            | Inst::Gather { .. }
            | Inst::Inspect(..)
            | Inst::Queued(_)
            | Inst::Commit
            | Inst::Wait(_)
            | Inst::Release
            | Inst::Barrier
            | Inst::Scatter { .. }
            | Inst::Fill { .. }
            | Inst::Call { .. } => {}
        }
    }
}

pub(super) fn check(core: &Core) -> Vec<VerifyError> {
    let mut errors = Vec::new();
    let mut written = Written::default();
    for inst in &core.plan {
        written.inst(core, inst);
    }
    for (i, t) in core.plan_tables.iter().enumerate() {
        let id = PlanId(i as u32);
        let single = |x: u64| written.elements.contains(&(id, x as i64));
        if !written.whole.contains(&id) && !(0..t.len).all(single) {
            errors.push(VerifyError {
                rule: Rule::ReadFirst,
                path: "plan".to_string(),
                detail: format!("{} is not surely written whole", t.name),
            });
        }
    }
    for b in &core.bufs {
        let Some(range) = b.range else { continue };
        let least = match range.hi {
            Bound::Const(c) => c,
            // N and B are at least 1.
            Bound::SeqLen(c) | Bound::Batch(c) => c.saturating_add(1),
        };
        if range.lo > 0 || least < 0 {
            errors.push(VerifyError {
                rule: Rule::StoredRange,
                path: "header".to_string(),
                detail: format!("{} starts as 0, outside its range", b.name),
            });
        }
    }
    errors
}
