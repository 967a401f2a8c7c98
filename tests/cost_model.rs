// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cost model that chooses plans, held against what the schedule issues.
//!
//! Data: every operator of `dsl/examples/`, and schedules in use, each causal and not, at the nominal length, for kernels of every width.
//! The schedule's own count is exact (`tests/schedules.rs`); of long sequences it comes from a sample of tasks. `--nocapture` prints all:
//! what share and each issue, the prediction over that, and what the chosen plan issues beside the better of the two.

use std::path::Path;

use attnc::pipeline::{self, Choices, NOMINAL_N, Plan};
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::DType;
use attnc_tests::corpus;

/// Meetings of tiles and panels to count; beyond, tasks are sampled.
const LIMIT: u64 = 1 << 17;

fn operators() -> Vec<Operator> {
    let mut all: Vec<Operator> = Vec::new();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsl/examples");
    let mut paths: Vec<_> = std::fs::read_dir(examples)
        .expect("examples")
        .map(|e| e.expect("readable").path())
        .filter(|p| p.extension().is_some_and(|e| e == "attn"))
        .collect();
    paths.sort();
    for path in paths {
        for case in corpus::cases(&path) {
            if all.iter().all(|op| op.name != case.op.name) {
                all.push(case.op);
            }
        }
    }
    let geometric = |w: u64, r: u64, n: u32| -> Vec<(u64, u64)> {
        (0..n).map(|i| (w << i, r.pow(i))).collect()
    };
    for (name, branches) in [
        ("local64", vec![(64, 1)]),
        ("local1k", vec![(1024, 1)]),
        ("local4k", vec![(4096, 1)]),
        ("dilated", vec![(8192, 8)]),
        ("pattern", geometric(16, 2, 3)),
        ("small", geometric(64, 2, 3)),
        ("four", geometric(256, 2, 4)),
        ("middle", geometric(512, 2, 3)),
        ("c1", geometric(2048, 2, 3)),
        ("thirds", vec![(192, 1), (576, 3), (1728, 9)]),
        ("unnested", vec![(100, 1), (250, 2), (999, 3)]),
        ("twice", vec![(2048, 1), (2048, 1)]),
    ] {
        let branches = branches.into_iter().map(|(w, dilation)| Branch {
            segment: Segment::Finite(w),
            dilation,
        });
        all.push(Operator {
            name: name.into(),
            heads: 4,
            kv_heads: 4,
            head_dim: 64,
            dtype: DType::F32,
            precision: Precision::Standard,
            causal: false,
            scale: 0.125,
            profile: Profile::PAPER,
            branches: branches.collect(),
        });
    }
    let both = |op: Operator| {
        [false, true].map(|causal| Operator {
            causal,
            ..op.clone()
        })
    };
    all.into_iter().flat_map(both).collect()
}

/// What a plan of an operator issues, and what the model said.
struct Point {
    issued: f64,
    predicted: f64,
}

fn point(op: &Operator, target: &str, plan: Plan) -> Point {
    let choices = Choices {
        plan,
        ..Choices::new(target)
    };
    let graph = pipeline::graph(op).expect("checked");
    let fused = pipeline::fuse(&graph, &choices)
        .expect("within limits")
        .graph;
    let work = pipeline::work(&fused, &choices, NOMINAL_N, LIMIT).expect("a schedule");
    let cost = pipeline::cost(&fused, &choices, NOMINAL_N);
    Point {
        issued: work.products,
        predicted: cost.products as f64 * f64::from(op.heads),
    }
}

/// Whether all segments are powers of two from 64 on, or whole.
fn even(op: &Operator) -> bool {
    op.branches.iter().all(|b| match b.segment {
        Segment::Finite(w) => w.is_power_of_two() && w >= 64,
        Segment::Whole => true,
    })
}

#[test]
fn predicted_products_are_those_issued() {
    // Segments that divide each other and a task; and any, whose cells the model knows by their mean length only.
    let mut found = [(f64::INFINITY, 0.0f64); 2];
    let mut count = 0;
    for target in ["x86_64", "x86_64-v3", "x86_64-v4"] {
        for op in operators() {
            let mut line = format!("{target:10} {:24} {:6}", op.name, op.causal);
            let [auto, share, each] =
                [Plan::Auto, Plan::Share, Plan::Each].map(|plan| point(&op, target, plan));
            for p in [&share, &each] {
                let ratio = p.predicted / p.issued;
                let (least, most) = &mut found[usize::from(!even(&op))];
                (*least, *most) = (least.min(ratio), most.max(ratio));
                line += &format!(" {:.3e} x{ratio:.3}", p.issued);
            }
            let best = share.issued.min(each.issued);
            line += &format!(" auto {:.3}", auto.issued / best);
            println!("{line}");
            count += 1;
        }
    }
    println!("{found:?}");
    assert!(count >= 150, "{count}");
    for ((least, most), bound) in found.into_iter().zip([0.94..1.10, 0.76..1.31]) {
        assert!(least > bound.start && most < bound.end, "{found:?}");
    }
}
