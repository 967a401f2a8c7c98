// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rewriting on operators in use: what fuses, what may not, and the proof.

use attnc_graph::{Op, lower, print};
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::DType;

use crate::{CostModel, Options, Plan, RewriteError, optimize};

fn operator(branches: &[(u64, u64)], profile: Profile) -> Operator {
    Operator {
        name: "op".into(),
        heads: 12,
        kv_heads: 12,
        head_dim: 64,
        dtype: DType::F32,
        precision: Precision::Standard,
        causal: false,
        scale: 0.125,
        profile,
        branches: branches
            .iter()
            .map(|&(w, r)| Branch {
                segment: Segment::Finite(w),
                dilation: r,
            })
            .collect(),
    }
}

fn options(plan: Plan) -> Options {
    let cost = CostModel {
        mq: 8,
        nk: 5,
        chunk: 2048,
        head_dim: 64,
        nominal_n: 32768,
    };
    Options {
        cost,
        plan,
        without: Vec::new(),
        node_limit: 200_000,
        proof: true,
    }
}

const PAPER: [(u64, u64); 5] = [(2048, 1), (4096, 2), (8192, 4), (16384, 6), (32768, 12)];

fn bags(g: &attnc_graph::OpGraph) -> usize {
    g.nodes()
        .filter(|n| matches!(g.op(*n), Op::Once(_)))
        .count()
}

#[test]
fn the_papers_branches_become_one_bag_with_a_checked_proof() {
    let g = lower(&operator(&PAPER, Profile::PAPER)).unwrap();
    let o = optimize(&g, &options(Plan::Share)).unwrap();
    assert_eq!(bags(&o.graph), 1, "{}", print(&o.graph));
    assert!(o.proof.len() > 5, "{:#?}", o.proof);
    assert!(o.cost_after < o.cost_before);
}

#[test]
fn each_keeps_every_branch_apart_in_one_stream() {
    let g = lower(&operator(&PAPER, Profile::PAPER)).unwrap();
    let o = optimize(&g, &options(Plan::Each)).unwrap();
    assert_eq!(bags(&o.graph), 5);
    assert_eq!(
        o.graph
            .nodes()
            .filter(|n| matches!(o.graph.op(*n), Op::Attend(_)))
            .count(),
        1
    );
}

#[test]
fn sharing_wins_by_cost_on_the_papers_branches() {
    let g = lower(&operator(&PAPER, Profile::PAPER)).unwrap();
    let share = optimize(&g, &options(Plan::Share)).unwrap();
    let each = optimize(&g, &options(Plan::Each)).unwrap();
    let auto = optimize(&g, &options(Plan::Auto)).unwrap();
    assert!(share.cost_after < each.cost_after);
    assert!(auto.cost_after <= share.cost_after.min(each.cost_after));
}

#[test]
fn equal_branches_become_one_of_weight_two() {
    let g = lower(&operator(&[(64, 2), (64, 2)], Profile::PAPER)).unwrap();
    let o = optimize(&g, &options(Plan::Each)).unwrap();
    assert!(
        print(&o.graph).contains("once { 2 br(64, 2) }"),
        "{}",
        print(&o.graph)
    );
}

#[test]
fn uncovered_branches_are_fused_inside_but_never_merged() {
    let g = lower(&operator(&PAPER, Profile::TORCHSCALE)).unwrap();
    let o = optimize(&g, &options(Plan::Auto)).unwrap();
    assert_eq!(bags(&o.graph), 5);
    assert!(o.graph.nodes().any(|n| *o.graph.op(n) == Op::Mix));
    assert!(
        !o.graph
            .nodes()
            .any(|n| matches!(o.graph.op(n), Op::Softmax | Op::Scatter))
    );
}

#[test]
fn sixteen_branches_still_fuse() {
    let branches: Vec<(u64, u64)> = (0..16).map(|i| (256 << i, 1 << i.min(6))).collect();
    let g = lower(&operator(&branches, Profile::PAPER)).unwrap();
    let o = optimize(&g, &options(Plan::Share)).unwrap();
    assert_eq!(bags(&o.graph), 1, "{} nodes", o.nodes);
}

#[test]
fn the_nominal_length_never_changes_the_e_graph() {
    let g = lower(&operator(&PAPER, Profile::PAPER)).unwrap();
    let mut o = options(Plan::Auto);
    let sizes = [1, 1 << 40].map(|n| {
        o.cost.nominal_n = n;
        let r = optimize(&g, &o).unwrap();
        (r.nodes, r.rounds)
    });
    assert_eq!(sizes[0], sizes[1]);
}

#[test]
fn an_unknown_rule_is_named_with_the_known_ones() {
    let g = lower(&operator(&PAPER, Profile::PAPER)).unwrap();
    let mut o = options(Plan::Auto);
    o.without = vec!["flsh".into()];
    let Err(RewriteError::UnknownRule { known, .. }) = optimize(&g, &o) else {
        panic!("accepted")
    };
    assert!(known.contains("flash"));
}
