// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The proof as a list of steps: which rule rewrote which term into which, and what that saved.
//!
//! In: egg's explanation, checked. Out: [`Step`]s. The first starts at the graph that came in, the last ends at the fused one, and each
//! starts where the one before ended; so what they save adds up to the difference of the ends' costs.

use attnc_graph::{Header, OpGraph};
use egg::{FlatTerm, RecExpr, Runner};

use crate::bag::CostModel;
use crate::cost::Cost;
use crate::facts::Facts;
use crate::lang::{Node, from_expr};
use crate::optimize::{RewriteError, cost_of};

/// One application of a rule.
#[derive(Clone, Debug)]
pub struct Step {
    /// The rule's name, as in the table.
    pub rule: String,
    /// Whether the rule was applied from right to left.
    pub backward: bool,
    /// The term that was rewritten, as an s-expression.
    pub before: String,
    /// What it became.
    pub after: String,
    /// Cost of the whole graph before the step.
    pub cost_before: Cost,
    /// Cost of the whole graph after it.
    pub cost_after: Cost,
    /// The whole graph after it.
    pub graph: OpGraph,
}

/// The proof that `start` equals `best`, checked against `table`.
///
/// # Errors
/// [`RewriteError::Graph`] when a step is no graph: a bug of a rule. [`RewriteError::Proof`] when the ends are not the ones asked for.
pub(crate) fn steps(
    runner: &mut Runner<Node, Facts, ()>,
    header: &Header,
    model: &CostModel,
    [start, best]: [&RecExpr<Node>; 2],
    table: &[egg::Rewrite<Node, Facts>],
) -> Result<Vec<Step>, RewriteError> {
    let mut explanation = runner.explain_equivalence(start, best);
    explanation.check_proof(table);
    let terms = explanation.make_flat_explanation();
    let text = |t: &FlatTerm<Node>| t.remove_rewrites().get_recexpr().to_string();
    let ends = [terms.first(), terms.last()].map(|t| t.map(text));
    if ends != [Some(start.to_string()), Some(best.to_string())] {
        return Err(RewriteError::Proof);
    }
    let cost = |t: &FlatTerm<Node>| {
        let e = t.remove_rewrites().get_recexpr();
        cost_of(&e, Facts::of(header), model)
    };
    let mut steps = Vec::new();
    let mut cost_before = cost(&terms[0]);
    for pair in terms.windows(2) {
        let (before, after) = changed(&pair[0], &pair[1]);
        let rule = after.forward_rule.or(after.backward_rule);
        let cost_after = cost(&pair[1]);
        steps.push(Step {
            rule: rule.map_or_else(String::new, |r| named(r.as_str()).to_string()),
            backward: after.backward_rule.is_some(),
            before: text(before),
            after: text(after),
            cost_before,
            cost_after,
            graph: from_expr(header, &shared(&pair[1].remove_rewrites().get_recexpr()))?,
        });
        cost_before = cost_after;
    }
    Ok(steps)
}

/// The name in the table of one of egg's rules: some have a second pattern.
fn named(rule: &str) -> &str {
    crate::rules::rules()
        .iter()
        .map(|r| r.name)
        .find(|name| rule == *name || rule.strip_prefix(name).is_some_and(|x| x.starts_with('-')))
        .unwrap_or(rule)
}

/// The two terms at the place where the second was rewritten.
fn changed<'a>(
    before: &'a FlatTerm<Node>,
    after: &'a FlatTerm<Node>,
) -> (&'a FlatTerm<Node>, &'a FlatTerm<Node>) {
    if after.forward_rule.is_some() || after.backward_rule.is_some() {
        return (before, after);
    }
    let marked = |t: &FlatTerm<Node>| t.has_rewrite_forward() || t.has_rewrite_backward();
    let below = before.children.iter().zip(&after.children);
    match below.into_iter().find(|(_, a)| marked(a)) {
        Some((b, a)) => changed(b, a),
        None => (before, after),
    }
}

/// The expression with equal subterms in one place.
fn shared(e: &RecExpr<Node>) -> RecExpr<Node> {
    let mut out = RecExpr::default();
    let mut seen = std::collections::HashMap::new();
    let mut ids: Vec<egg::Id> = Vec::new();
    for node in e.as_ref() {
        let node = egg::Language::map_children(node.clone(), |c| ids[usize::from(c)]);
        let id = *seen.entry(node.clone()).or_insert_with(|| out.add(node));
        ids.push(id);
    }
    out
}
