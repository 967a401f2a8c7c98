// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs the branches and loops of a block, within limits.

use std::rc::Rc;

use attnc_diag::Code;

use super::{Built, BuiltBranch, Fields};
use crate::eval::Evaluator;
use crate::fields::{Setting, check};
use crate::hir::{self, Expr, Item, Over};
use crate::value::Value;
use crate::words::Field;
use crate::{Branch, MAX_BRANCHES, Segment};

/// Most iterations of the loops of an attention.
const MAX_ITERATIONS: u64 = 65536;

/// The branches of an attention, its own or the copied ones; `None` if one of them, or that there is none, is a mistake.
pub(super) fn branches(
    hir: &hir::Attention,
    base: Option<&Built>,
    fields: &mut Fields<'_>,
    eval: &mut Evaluator<'_>,
) -> Option<Rc<[BuiltBranch]>> {
    let mut run = Run {
        fields,
        list: Vec::new(),
        good: true,
        count: 0,
        iterations: 0,
    };
    let finished = run.items(&hir.items, eval, true).is_ok();
    let (good, list) = (run.good && finished && !eval.is_exhausted(), run.list);
    if !hir.writes_branches && hir.base != hir::Base::None {
        return base.and_then(|base| base.branches.clone());
    }
    if list.is_empty() && good {
        if hir.complete && !hir.forgiven.contains(&Field::Segment) {
            let (message, label) = (
                format!("the attention `{}` has no branch", hir.name),
                "at least one branch is needed",
            );
            let help = "add for instance `branch { segment = 2048 }`, or `branch { segment = whole }` for dense attention";
            eval.fail(Code::NoBranch, hir.name_span, message, label, help);
        }
        return None;
    }
    good.then(|| list.into())
}

/// Runs the branches and loops of a block.
struct Run<'a, 'b> {
    fields: &'a mut Fields<'b>,
    list: Vec<BuiltBranch>,
    good: bool,
    /// Branches, wrong ones included.
    count: usize,
    iterations: u64,
}

/// A limit was met; the rest is not run.
struct Stop;

impl Run<'_, '_> {
    /// `outermost`: the lets have been evaluated, with the fields in mind.
    fn items(
        &mut self,
        items: &[Item],
        eval: &mut Evaluator<'_>,
        outermost: bool,
    ) -> Result<(), Stop> {
        for item in items {
            match item {
                Item::Let(slot, value) if !outermost => {
                    let value = eval.named(value, self.fields);
                    eval.frame[*slot] = value;
                }
                Item::Let(..) => {}
                Item::Branch(branch) => self.branch(branch, eval)?,
                Item::For(item) => self.run_loop(item, eval)?,
            }
            if eval.is_exhausted() {
                return Err(Stop);
            }
        }
        Ok(())
    }

    fn branch(&mut self, branch: &hir::Branch, eval: &mut Evaluator<'_>) -> Result<(), Stop> {
        self.count += 1;
        if self.count > MAX_BRANCHES {
            let message = format!(
                "the attention `{}` has more than {MAX_BRANCHES} branches",
                self.fields.hir.name
            );
            eval.fail(
                Code::TooManyBranches,
                branch.span,
                message,
                "one branch too many",
                "use fewer branches",
            );
            return Err(Stop);
        }
        eval.spend(1, branch.span);
        let mut value = |field, expr: &Option<Expr>| {
            expr.as_ref().map(|expr| {
                let value = eval.named(expr, self.fields);
                (check(field, &value, expr.span, eval.sink), expr.span)
            })
        };
        let segment = value(Field::Segment, &branch.segment);
        let dilation = value(Field::Dilation, &branch.dilation)
            .unwrap_or((Some(Setting::Int(1)), branch.span));
        let w = match segment {
            Some((Some(Setting::Int(w)), span)) => Some((Segment::Finite(w), span)),
            Some((Some(Setting::Word(_)), span)) => Some((Segment::Whole, span)),
            _ => None,
        };
        match (w, dilation) {
            (Some((w, segment)), (Some(Setting::Int(r)), dilation)) => {
                self.list.push(BuiltBranch {
                    branch: Branch {
                        segment: w,
                        dilation: r,
                    },
                    span: branch.span,
                    segment,
                    dilation,
                })
            }
            _ => self.good = false,
        }
        Ok(())
    }

    fn run_loop(&mut self, item: &hir::For, eval: &mut Evaluator<'_>) -> Result<(), Stop> {
        match &item.over {
            Over::Range(from, to) => {
                let mut bound = |expr: &Expr| match eval.eval(expr, self.fields) {
                    Value::Int(n) => Some(n),
                    Value::Poison => None,
                    other => {
                        let message =
                            format!("a range goes over integers, found {}", other.describe());
                        let help = crate::eval::integer_help(&other);
                        eval.fail(
                            Code::RangeBound,
                            expr.span,
                            message,
                            "this is no integer",
                            help,
                        );
                        None
                    }
                };
                let (Some(from), Some(to)) = (bound(from), bound(to)) else {
                    return self.body_once(item, eval);
                };
                let length = if from < to { to.abs_diff(from) } else { 0 };
                self.count_iterations(item, length, eval)?;
                for n in from..to {
                    self.body(item, Value::Int(n), eval)?;
                }
            }
            Over::List(list) => match eval.eval(list, self.fields) {
                Value::List(list) => {
                    self.count_iterations(item, list.items.len() as u64, eval)?;
                    for value in &list.items {
                        self.body(item, value.clone(), eval)?;
                    }
                }
                Value::Poison => return self.body_once(item, eval),
                other => {
                    let help = match other {
                        Value::Int(n) => format!("did you mean the range `0..{n}`?"),
                        _ => "write a range `a..b`, or a list".to_owned(),
                    };
                    let message = format!(
                        "`for` goes over a range or a list, found {}",
                        other.describe()
                    );
                    eval.fail(
                        Code::NotAList,
                        item.span,
                        message,
                        "neither a range nor a list",
                        &help,
                    );
                    return self.body_once(item, eval);
                }
            },
        }
        Ok(())
    }

    fn count_iterations(
        &mut self,
        item: &hir::For,
        length: u64,
        eval: &mut Evaluator<'_>,
    ) -> Result<(), Stop> {
        self.iterations = self.iterations.saturating_add(length);
        if self.iterations <= MAX_ITERATIONS {
            return Ok(());
        }
        let message = format!(
            "the loops of `{}` take more than {MAX_ITERATIONS} iterations",
            self.fields.hir.name
        );
        eval.fail(
            Code::TooManyIterations,
            item.span,
            message,
            "this loop is too long",
            "loop over fewer elements",
        );
        Err(Stop)
    }

    fn body(
        &mut self,
        item: &hir::For,
        value: Value,
        eval: &mut Evaluator<'_>,
    ) -> Result<(), Stop> {
        eval.spend(1, item.span);
        eval.notes.value(item.variable, &value);
        eval.frame[item.slot] = value;
        self.items(&item.body, eval, false)
    }

    /// The loop's range is a mistake: its body is checked once, for mistakes of its own.
    fn body_once(&mut self, item: &hir::For, eval: &mut Evaluator<'_>) -> Result<(), Stop> {
        self.good = false;
        self.body(item, Value::Poison, eval)
    }
}
