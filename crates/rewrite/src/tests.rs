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
        grain: (8, 5),
        tile: 32,
        chunk: 2048,
        head_dim: 64,
        causal: false,
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

/// Every operator's proof starts at its graph, ends at its fused one, and its steps save what the ends differ by.
#[test]
fn the_steps_of_a_proof_save_what_its_ends_differ_by() {
    let whole = Branch {
        segment: Segment::Whole,
        dilation: 1,
    };
    let mut dense = operator(&[(64, 2), (64, 2), (96, 65)], Profile::PAPER);
    dense.branches.push(whole);
    let sixteen: Vec<(u64, u64)> = (0..16).map(|i| (256 << i, 1 << i.min(6))).collect();
    let displaced = Profile {
        rows: attnc_spec::Rows::Displaced,
        ..Profile::PAPER
    };
    let operators = [
        operator(&PAPER, Profile::PAPER),
        operator(&PAPER, Profile::TORCHSCALE),
        operator(&sixteen, Profile::PAPER),
        // Two row maps: their bags cannot be added, one softmax goes on over both.
        operator(&[(64, 1), (50, 3)], displaced),
        dense,
    ];
    let mut applied = std::collections::BTreeSet::new();
    for op in &operators {
        for plan in [Plan::Auto, Plan::Share, Plan::Each] {
            let g = lower(op).unwrap();
            let o = optimize(&g, &options(plan)).unwrap();
            let first = o.proof.first().unwrap();
            let last = o.proof.last().unwrap();
            assert_eq!(first.cost_before, o.cost_before);
            assert_eq!(last.cost_after, o.cost_after);
            for pair in o.proof.windows(2) {
                assert_eq!(pair[0].cost_after, pair[1].cost_before);
            }
            for step in &o.proof {
                assert_ne!(step.before, step.after);
                assert!(crate::rules().iter().any(|r| r.name == step.rule));
                applied.insert(step.rule.clone());
            }
        }
    }
    assert_eq!(applied.len(), crate::rules().len(), "{applied:?}");
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
    let total = |o: &crate::Optimized| o.cost_after.total();
    assert!(total(&auto) <= total(&share).min(total(&each)));
}

/// Sharing that is asked for is had even where it costs more.
#[test]
fn share_shares_whatever_it_costs() {
    let mut op = operator(&[(64, 1), (128, 2)], Profile::PAPER);
    op.head_dim = 4;
    let g = lower(&op).unwrap();
    let mut o = options(Plan::Share);
    o.cost.head_dim = 4;
    assert_eq!(bags(&optimize(&g, &o).unwrap().graph), 1);
    o.plan = Plan::Auto;
    assert_eq!(bags(&optimize(&g, &o).unwrap().graph), 2);
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

/// For each rule an operator whose plan needs it: left out, another plan is found, and it costs more.
#[test]
fn leaving_a_rule_out_changes_the_plan_and_its_cost() {
    let whole = |dilation| Branch {
        segment: Segment::Whole,
        dilation,
    };
    let of = |branches: Vec<Branch>| {
        let mut op = operator(&[], Profile::PAPER);
        op.branches = branches;
        op
    };
    let paper = operator(&PAPER, Profile::PAPER);
    let apart = operator(&[(64, 3), (96, 65)], Profile::PAPER);
    let twice = operator(&[(64, 2), (64, 2)], Profile::PAPER);
    let cases = [
        ("flash", &paper),
        ("base-2", &paper),
        ("gather-fusion", &paper),
        ("merge-states", &paper),
        ("join-bags", &apart),
        ("score-once", &paper),
        ("duplicates", &twice),
        ("panels", &paper),
    ];
    for (rule, op) in cases {
        let g = lower(op).unwrap();
        let mut o = options(Plan::Auto);
        let with = optimize(&g, &o).unwrap();
        o.without = vec![rule.into()];
        let without = optimize(&g, &o).unwrap();
        assert_ne!(print(&with.graph), print(&without.graph), "{rule}");
        assert!(
            with.cost_after < without.cost_after,
            "{rule}: {:?} and {:?}",
            with.cost_after,
            without.cost_after
        );
    }
    // These two say the same in another way: the plan changes, its cost may.
    let dense = of(vec![whole(1)]);
    for (rule, op) in [("dense", &dense), ("stream", &apart)] {
        let g = lower(op).unwrap();
        let mut o = options(Plan::Auto);
        if rule == "stream" {
            o.without = vec!["join-bags".into()];
        }
        let with = optimize(&g, &o).unwrap();
        o.without.push(rule.into());
        let without = optimize(&g, &o).unwrap();
        assert_ne!(print(&with.graph), print(&without.graph), "{rule}");
        assert_ne!(with.cost_after, without.cost_after, "{rule}");
    }
    assert_eq!(cases.len() + 2, crate::rules().len());
}

#[test]
fn a_thousand_branches_fuse_within_the_limits() {
    let branches: Vec<(u64, u64)> = (0..1024).map(|i| (64 + 8 * i, 1 + i % 7)).collect();
    let g = lower(&operator(&branches, Profile::PAPER)).unwrap();
    let mut o = options(Plan::Auto);
    let refused = RewriteError::Unproved { branches: 1024 };
    assert_eq!(optimize(&g, &o).err(), Some(refused));
    o.proof = false;
    o.node_limit = 2_000_000;
    let best = optimize(&g, &o).unwrap();
    assert!(
        !best
            .graph
            .nodes()
            .any(|n| matches!(best.graph.op(n), Op::Softmax | Op::Scatter | Op::Merge)),
    );
}

/// What a rule with these two sides would be told.
fn united(left: &str, right: &str) -> Option<String> {
    let facts = crate::facts::Facts {
        displaced: false,
        zero_keys: false,
        contradiction: None,
    };
    let mut g = crate::facts::Graph::new(facts);
    let [a, b] = [left, right].map(|side| g.add_expr(&side.parse().expect("a term")));
    g.union(a, b);
    g.rebuild();
    g.analysis.contradiction
}

#[test]
fn a_rule_that_loses_or_doubles_a_branch_contradicts_itself() {
    let once = |terms: &str| format!("(once aligned masked {terms})");
    let (b, c) = ("(br 4 1)", "(br 8 2)");
    let [one, two] = [once(&format!("(x 1 {b})")), once(&format!("(x 2 {b})"))];
    let both = once(&format!("(x 1 {b}) (x 1 {c})"));
    let more = once(&format!("(x 2 {b}) (x 1 {c})"));
    let other = once(&format!("(x 1 {c})"));
    let attend = |bag: &str| format!("(attend exp 0.5 q k v {bag})");
    let holds = [
        (format!("(sum {one} {one})"), two.clone()),
        (format!("(sum {one} {other})"), both.clone()),
        (format!("(sum {one} {both})"), more.clone()),
        (format!("(sum (sum {other} {one}) {one})"), more.clone()),
        (
            format!("(join {} {})", attend(&one), attend(&other)),
            attend(&both),
        ),
        (
            format!("(fold exp 0.5 {} q k v {one})", attend(&both)),
            attend(&more),
        ),
        (once("(x 3 (br whole 1))"), "(dense 3)".to_owned()),
        (
            format!("(scatter (pv (softmax (qk (gather-query {b} q) (gather-key {b} k))) v))"),
            format!("(finish {})", attend(&one)),
        ),
    ];
    for (left, right) in &holds {
        assert_eq!(united(left, right), None, "{left} = {right}");
    }
    let wrong = [
        (format!("(sum {one} {one})"), one.clone()),
        (format!("(sum {one} {both})"), both.clone()),
        (format!("(sum {one} {other})"), two.clone()),
        (
            format!("(join {} {})", attend(&one), attend(&other)),
            attend(&one),
        ),
        (
            format!("(fold exp 0.5 {} q k v {one})", attend(&both)),
            attend(&both),
        ),
        (once("(x 3 (br whole 1))"), "(dense 1)".to_owned()),
        (once("(x 1 (br whole 2))"), "(dense 1)".to_owned()),
        (one.clone(), format!("(once displaced masked (x 1 {b}))")),
        ("0.5".to_owned(), "0.25".to_owned()),
        (
            format!("(scatter (pv (softmax (qk (gather-query {b} q) (gather-key {b} k))) v))"),
            format!("(finish {})", attend(&two)),
        ),
    ];
    for (left, right) in &wrong {
        assert!(united(left, right).is_some(), "{left} = {right}");
    }
}
