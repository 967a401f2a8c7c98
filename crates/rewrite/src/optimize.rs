// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Equality saturation over one graph, extraction of the cheapest form, and the proof that it equals the first.

use attnc_graph::{Form, GraphError, Header, OpGraph};
use egg::{CostFunction, Extractor, RecExpr, Runner, SimpleScheduler, StopReason};

use crate::bag::CostModel;
use crate::cost::{Cost, Costs};
use crate::facts::{Facts, Graph};
use crate::lang::{Node, from_expr, to_expr};
use crate::proof::{Step, steps};
use crate::rules::{families, rules, table};

/// Branches of an operator whose proof is written down.
pub const MAX_PROVED: usize = 64;

/// How branches are grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plan {
    /// By cost.
    #[default]
    Auto,
    /// As few bags as the limits allow.
    Share,
    /// Every branch a bag of its own.
    Each,
}

impl Plan {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Plan::Auto => "auto",
            Plan::Share => "share",
            Plan::Each => "each",
        }
    }
}

/// What rewriting is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Costs.
    pub cost: CostModel,
    /// Grouping.
    pub plan: Plan,
    /// Rules to leave out, by name.
    pub without: Vec<String>,
    /// E-nodes at most.
    pub node_limit: usize,
    /// Whether a proof is wanted (it costs time).
    pub proof: bool,
}

/// What rewriting found.
#[derive(Clone, Debug)]
pub struct Optimized {
    /// The fused graph.
    pub graph: OpGraph,
    /// The proof, step by step, checked by egg; empty unless it was asked for.
    pub proof: Vec<Step>,
    /// Cost of the graph that came in.
    pub cost_before: Cost,
    /// Cost of the fused graph.
    pub cost_after: Cost,
    /// E-nodes at the end.
    pub nodes: usize,
    /// Rounds of rewriting.
    pub rounds: usize,
}

/// Why rewriting failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// No such rule.
    #[error("there is no rewrite rule `{name}`; the rules are {known}")]
    UnknownRule {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A limit was hit before the rules were exhausted.
    #[error(
        "rewriting stopped at its limit ({what}); the graph is larger than the rules are meant for"
    )]
    Limit {
        /// Which.
        what: String,
    },
    /// A rule that united what differs: a bug of the rule.
    #[error("a rewrite rule united what differs: {what}")]
    Contradiction {
        /// The two facts.
        what: String,
    },
    /// A proof that would take minutes and fill the screen for days.
    #[error(
        "a proof of {branches} branches is too long: its text grows with the square of their number; at most {MAX_PROVED} are proved; \
         `emit --stage graph` and `emit --stage fused` show its two ends, and an operator with fewer of the branches its steps"
    )]
    Unproved {
        /// How many there are.
        branches: usize,
    },
    /// A proof between other graphs than those asked for: a bug.
    #[error("the proof does not lead from the unfused to the fused graph")]
    Proof,
    /// A result that is no graph: a bug of a rule.
    #[error("a rewrite rule made a term that is no graph: {0}")]
    Graph(#[from] GraphError),
}

/// Rewrites `graph` to its cheapest form.
///
/// # Errors
/// An unknown rule in `without`, or a limit that was hit.
pub fn optimize(graph: &OpGraph, options: &Options) -> Result<Optimized, RewriteError> {
    if let Some(name) = options
        .without
        .iter()
        .find(|w| !rules().iter().any(|r| r.name == *w))
    {
        let known = rules()
            .iter()
            .map(|r| r.name)
            .collect::<Vec<_>>()
            .join(", ");
        return Err(RewriteError::UnknownRule {
            name: name.clone(),
            known,
        });
    }
    let start = to_expr(graph);
    let branches = graph
        .nodes()
        .filter(|n| matches!(graph.op(*n), attnc_graph::Op::Scatter))
        .count();
    if options.proof && branches > MAX_PROVED {
        return Err(RewriteError::Unproved { branches });
    }
    // Beyond 32 branches the bags of a quadratic number of pairs would be tried: small groups keep that linear.
    let cap = match options.plan {
        Plan::Each => 1,
        Plan::Auto | Plan::Share => {
            if branches <= 32 {
                64
            } else {
                4
            }
        }
    };
    let table = table(cap, &options.without);
    let mut runner = Runner::<Node, Facts, ()>::new(Facts::of(graph.header()));
    if options.proof {
        runner = runner.with_explanations_enabled();
    }
    let mut runner = runner
        .with_expr(&start)
        .with_iter_limit(4 * branches + 64)
        .with_node_limit(options.node_limit)
        .with_time_limit(std::time::Duration::from_secs(u64::from(u32::MAX)))
        .with_scheduler(SimpleScheduler)
        .with_hook(|r| r.egraph.analysis.contradiction.clone().map_or(Ok(()), Err));
    // Family by family, so that long chains are not searched for rules whose turn has not come; the last run, of all rules, finds
    // nothing new or goes on until it does: the e-graph is saturated whatever the order was.
    for rules in families(cap, &options.without).iter().chain([&table]) {
        runner.stop_reason = None;
        runner = runner.run(rules);
        if !matches!(runner.stop_reason, Some(StopReason::Saturated)) {
            break;
        }
    }
    if let Some(what) = &runner.egraph.analysis.contradiction {
        return Err(RewriteError::Contradiction { what: what.clone() });
    }
    match &runner.stop_reason {
        Some(StopReason::Saturated) | None => {}
        Some(StopReason::NodeLimit(n)) => {
            return Err(RewriteError::Limit {
                what: format!("{n} e-nodes"),
            });
        }
        Some(StopReason::IterationLimit(n)) => {
            return Err(RewriteError::Limit {
                what: format!("{n} rounds"),
            });
        }
        Some(StopReason::TimeLimit(_) | StopReason::Other(_)) => {
            return Err(RewriteError::Limit {
                what: "time".to_string(),
            });
        }
    }
    let root = runner.roots[0];
    let costs = Costs::new(&runner.egraph, &options.cost);
    let facts = || Facts::of(graph.header());
    let cost_before = cost_of(&start, facts(), &options.cost);
    let best = if options.plan == Plan::Share {
        Extractor::new(&runner.egraph, Fewest(costs))
            .find_best(root)
            .1
    } else {
        Extractor::new(&runner.egraph, costs).find_best(root).1
    };
    let cost_after = cost_of(&best, facts(), &options.cost);
    let proof = if options.proof {
        steps(
            &mut runner,
            graph.header(),
            &options.cost,
            [&start, &best],
            &table,
        )?
    } else {
        Vec::new()
    };
    let (nodes, rounds) = (runner.egraph.total_size(), runner.iterations.len());
    Ok(Optimized {
        graph: from_expr(
            &Header {
                form: Form::Fused,
                ..graph.header().clone()
            },
            &best,
        )?,
        proof,
        cost_before,
        cost_after,
        nodes,
        rounds,
    })
}

/// What a graph costs a head and sequence under a model, whose length may be any.
pub fn cost(graph: &OpGraph, model: &CostModel) -> Cost {
    cost_of(&to_expr(graph), Facts::of(graph.header()), model)
}

/// The cost of one term: of an e-graph that holds nothing else.
pub(crate) fn cost_of(e: &RecExpr<Node>, facts: Facts, model: &CostModel) -> Cost {
    let mut graph = Graph::new(facts);
    let root = graph.add_expr(e);
    graph.rebuild();
    Extractor::new(&graph, Costs::new(&graph, model)).find_best_cost(root)
}

/// Costs with two groups so dear that the fewest win.
struct Fewest<'a>(Costs<'a>);

impl CostFunction<Node> for Fewest<'_> {
    type Cost = Cost;
    fn cost<C: FnMut(egg::Id) -> Cost>(&mut self, n: &Node, child: C) -> Cost {
        let dear = Cost {
            products: u64::MAX >> 12,
            ..Cost::default()
        };
        let cost = self.0.cost(n, child);
        // Whatever brings two bags together, and not only their sum: else a fold of two would hide from the count.
        if matches!(
            n,
            Node::Sum(_) | Node::Join(_) | Node::Fold(_) | Node::Merge(_)
        ) {
            cost.and(dear)
        } else {
            cost
        }
    }
}
