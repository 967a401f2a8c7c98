// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What an operator costs at a sequence length, by each plan, before it runs.
//!
//! In: an operator and the choices of its compilation. Out: a [`CostReport`]: products by formula, by distinct pairs and as issued under
//! each plan, bytes, memory, and why the plan in force is the one it is. All mathematics stands elsewhere: the formula in the oracle,
//! products issued in the schedule's own count, what plans are chosen by in the cost model, the pairs in [`crate::pattern`].

use attnc_graph::{Branch, Op, OpGraph, Segment};
use attnc_oracle::madds_formula;
use attnc_spec::Operator;
use serde::Serialize;

use crate::engine::EngineError;
use crate::pattern::{Pairs, pairs};
use crate::pipeline::{self, Choices, NOMINAL_N, Plan};
use crate::signature::Signature;

/// Steps spent on counting distinct pairs: a fraction of a second.
const PAIR_STEPS: u64 = 1 << 26;

/// Meetings of tiles and panels that are counted at most: a fraction of a second.
const MEETINGS: u64 = 1 << 20;

/// One plan at one length.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanCost {
    /// `share`, `each`, or `mixed` where the cheapest plan is neither.
    pub plan: String,
    /// Groups of branches whose keys are scored once, `(segment, dilation)` each.
    pub groups: Vec<Vec<String>>,
    /// What the choice compares: products and elements moved for one head at [`NOMINAL_N`].
    pub weight: u64,
    /// Multiply-adds as issued, padding included: counted along the schedule's loops, of long sequences those of a sample of tasks.
    pub madds: u128,
    /// Bytes read and written beside the operands of products; an estimate.
    pub bytes_moved: u128,
    /// Bytes of memory that a worker needs beside the tensors.
    pub workspace_bytes: u64,
}

/// What is known before a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostReport {
    /// The operator's name.
    pub operator: String,
    /// The target compiled for.
    pub target: String,
    /// B.
    pub batch: u64,
    /// N.
    pub seq_len: u64,
    /// Multiply-adds by formula, the unit of every rate.
    pub madds_formula: u128,
    /// Multiply-adds if every branch scored exactly what it shows.
    pub madds_shown: u128,
    /// Multiply-adds if every pair that some branch shows were scored once: what no plan can go below.
    pub madds_distinct: u128,
    /// Whether the two counts above are exact; else they come from a sample of rows.
    pub pairs_exact: bool,
    /// Bytes of q, k, v, out and lse.
    pub tensor_bytes: u128,
    /// The plan in force.
    pub chosen: PlanCost,
    /// Why it is in force.
    pub why: String,
    /// Sharing wherever the limits allow.
    pub share: PlanCost,
    /// Every branch by itself.
    pub each: PlanCost,
}

/// The branches of every group whose keys are scored once, in the order of the graph.
pub(crate) fn groups(graph: &OpGraph) -> Vec<Vec<Branch>> {
    let mut groups = Vec::new();
    for n in graph.nodes() {
        match graph.op(n) {
            Op::Once(o) => groups.push(o.terms.iter().map(|t| t.branch).collect()),
            Op::Dense(_) => groups.push(vec![Branch {
                segment: Segment::Whole,
                dilation: 1,
            }]),
            _ => {}
        }
    }
    groups
}

/// Everything but times.
///
/// # Errors
/// What compilation refuses.
pub fn estimate(
    op: &Operator,
    choices: &Choices,
    batch: u64,
    seq_len: u64,
) -> Result<CostReport, EngineError> {
    let graph = pipeline::graph(op)?;
    let fused = |plan| {
        let choices = Choices {
            plan,
            proof: false,
            ..choices.clone()
        };
        pipeline::fuse(&graph, &choices)
    };
    let of = |name: &str, graph: &OpGraph| plan_cost(op, choices, (batch, seq_len), name, graph);
    let (chosen, share, each) = (
        fused(choices.plan)?,
        fused(Plan::Share)?,
        fused(Plan::Each)?,
    );
    // One branch is both: then there is nothing to share.
    let name = if chosen.graph == each.graph {
        "each"
    } else if chosen.graph == share.graph {
        "share"
    } else {
        "mixed"
    };
    let chosen = of(name, &chosen.graph)?;
    let (share, each) = (of("share", &share.graph)?, of("each", &each.graph)?);
    let Pairs {
        shown,
        distinct,
        exact,
    } = pairs(op, seq_len, PAIR_STEPS);
    let products = |pairs: f64| (pairs * 2.0 * f64::from(op.head_dim) * batch as f64) as u128;
    Ok(CostReport {
        operator: op.name.clone(),
        target: choices.target.clone(),
        batch,
        seq_len,
        madds_formula: madds_formula(op, batch, seq_len),
        madds_shown: products(shown),
        madds_distinct: products(distinct),
        pairs_exact: exact,
        tensor_bytes: Signature::from(op).bytes(batch, seq_len),
        why: why(op, choices, &chosen, &share, &each),
        chosen,
        share,
        each,
    })
}

fn plan_cost(
    op: &Operator,
    choices: &Choices,
    (batch, seq_len): (u64, u64),
    plan: &str,
    graph: &OpGraph,
) -> Result<PlanCost, EngineError> {
    let one = if seq_len == 0 {
        pipeline::Cost::default()
    } else {
        pipeline::cost(graph, choices, seq_len)
    };
    let heads = u128::from(batch) * u128::from(op.heads);
    let core = pipeline::tile(graph, choices)?;
    let work = pipeline::work(graph, choices, seq_len, MEETINGS)?;
    let name = |b: &Branch| format!("({}, {})", b.segment, b.dilation);
    Ok(PlanCost {
        plan: plan.to_owned(),
        groups: groups(graph)
            .iter()
            .map(|g| g.iter().map(name).collect())
            .collect(),
        weight: pipeline::cost(graph, choices, NOMINAL_N).total(),
        madds: (work.products * batch as f64) as u128,
        bytes_moved: u128::from(one.elements) * heads * op.dtype.bytes() as u128,
        workspace_bytes: core
            .bufs
            .iter()
            .map(|b| b.len * b.elem.bytes(core.dtype))
            .sum(),
    })
}

/// The reason in one sentence.
fn why(
    op: &Operator,
    choices: &Choices,
    chosen: &PlanCost,
    share: &PlanCost,
    each: &PlanCost,
) -> String {
    if choices.sizes.is_some() {
        return "chosen by measurement (`attnc tune`)".to_owned();
    }
    match choices.plan {
        Plan::Share => return "asked for by --plan share".to_owned(),
        Plan::Each => return "asked for by --plan each".to_owned(),
        Plan::Auto => {}
    }
    if op.branches.len() == 1 {
        return "there is one branch".to_owned();
    }
    let percent = |other: &PlanCost| {
        let less = other.weight.saturating_sub(chosen.weight);
        format!(
            "{:.1} % below {}",
            100.0 * less as f64 / other.weight.max(1) as f64,
            other.plan
        )
    };
    let others: Vec<String> = [share, each]
        .into_iter()
        .filter(|o| o.plan != chosen.plan && o.groups != chosen.groups)
        .map(percent)
        .collect();
    if others.is_empty() {
        return "no two branches can share keys".to_owned();
    }
    format!(
        "least products and elements moved for one head at N = {NOMINAL_N}, whatever the length of a run: {}",
        others.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use attnc_spec::{Branch, Precision, Profile};
    use attnc_tensor::DType;

    fn op(branches: &[(u64, u64)], causal: bool) -> Operator {
        let branch = |&(w, dilation): &(u64, u64)| Branch {
            segment: Segment::Finite(w),
            dilation,
        };
        Operator {
            name: "c".into(),
            heads: 4,
            kv_heads: 4,
            head_dim: 16,
            dtype: DType::Bf16,
            precision: Precision::Standard,
            causal,
            scale: 0.25,
            profile: Profile::PAPER,
            branches: branches.iter().map(branch).collect(),
        }
    }

    const NESTED: [(u64, u64); 3] = [(256, 1), (512, 2), (1024, 4)];

    fn of(op: &Operator, plan: Plan) -> CostReport {
        let choices = Choices {
            plan,
            ..Choices::new("x86_64")
        };
        estimate(op, &choices, 2, 4096).unwrap()
    }

    #[test]
    fn counts_are_in_their_order_and_distinct_is_a_floor() {
        let r = of(&op(&NESTED, false), Plan::Auto);
        assert!(r.pairs_exact);
        // Segments divide N and dilations divide segments: the formula counts what is shown.
        assert_eq!(r.madds_formula, r.madds_shown);
        assert!(r.madds_distinct < r.madds_shown);
        assert!(r.madds_distinct <= r.share.madds && r.share.madds < r.each.madds);
        assert!(r.madds_shown <= r.each.madds);
        assert_eq!(r.chosen.plan, "share");
        assert_eq!(r.chosen.groups.len(), 1);
        assert_eq!(r.each.groups.len(), 3);
        assert!(
            r.why.contains("below each") && !r.why.contains("below share"),
            "{}",
            r.why
        );
        // Half of the pairs are hidden when causal, but tiles on the diagonal are whole.
        let causal = of(&op(&NESTED, true), Plan::Auto).share.madds;
        assert!(r.share.madds / 2 < causal && causal < r.share.madds);
    }

    #[test]
    fn a_plan_that_is_asked_for_or_alone_says_so() {
        let r = of(&op(&NESTED, false), Plan::Each);
        assert_eq!(
            (r.chosen.plan.as_str(), r.why.as_str()),
            ("each", "asked for by --plan each")
        );
        let r = of(&op(&NESTED[..1], false), Plan::Auto);
        assert_eq!(
            (r.chosen.plan.as_str(), r.why.as_str()),
            ("each", "there is one branch")
        );
    }

    #[test]
    fn a_sequence_of_nothing_costs_nothing() {
        let r = estimate(&op(&NESTED, true), &Choices::new("x86_64"), 1, 0).unwrap();
        assert_eq!(
            (
                r.madds_formula,
                r.madds_distinct,
                r.chosen.madds,
                r.chosen.bytes_moved
            ),
            (0, 0, 0, 0)
        );
    }
}
