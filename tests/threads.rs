// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The bits of a result do not depend on the number of threads, and several workers really run tasks.

use attnc::pipeline::{self, Choices, Plan};
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::{DType, Tensor, normal_tensor};

#[test]
fn output_bits_are_the_same_for_1_2_3_and_7_threads() {
    let (batch, seq_len, heads, d) = (2usize, 300usize, 64u32, 8u32);
    let branch = |w, dilation| Branch {
        segment: Segment::Finite(w),
        dilation,
    };
    let op = Operator {
        name: "threads".into(),
        heads,
        kv_heads: 16,
        head_dim: d,
        dtype: DType::F32,
        precision: Precision::Standard,
        causal: true,
        scale: 0.35,
        profile: Profile::PAPER,
        branches: vec![branch(64, 1), branch(128, 2), branch(256, 4)],
    };
    let shape = |h: u32| [batch, seq_len, h as usize, d as usize];
    let fill = |h, stream| normal_tensor(op.dtype, &shape(h), 7, stream).expect("small");
    let (q, k, v) = (fill(heads, 0), fill(16, 1), fill(16, 2));
    for plan in [Plan::Share, Plan::Each] {
        let choices = Choices {
            plan,
            ..Choices::new("x86_64")
        };
        let graph = pipeline::graph(&op).expect("a graph");
        let fused = pipeline::fuse(&graph, &choices).expect("rewriting ends");
        let core = pipeline::tile(&fused.graph, &choices).expect("a program");
        let code = attnc_codegen_cpu::Jit::new(&core).expect("code");
        let mut first: Option<(Vec<u8>, Vec<u8>)> = None;
        for threads in [1, 2, 3, 7] {
            let mut out = Tensor::zeros(op.dtype, &shape(heads)).expect("small");
            let mut lse =
                Tensor::zeros(DType::F32, &[batch, heads as usize, seq_len]).expect("small");
            let launch = attnc_runtime::Launch {
                q: q.view(),
                k: k.view(),
                v: v.view(),
                out: out.view_mut(),
                lse: lse.view_mut(),
                threads,
            };
            let stats = attnc_runtime::launch(&code, &core, launch, &|_, _| true).expect("runs");
            assert!(stats.tasks > 100, "{} tasks", stats.tasks);
            assert_eq!(stats.worker_tasks.len(), threads);
            assert!(
                stats.worker_tasks.iter().all(|n| *n > 0),
                "{:?}",
                stats.worker_tasks
            );
            let got = (out.bytes().to_vec(), lse.bytes().to_vec());
            match &first {
                None => first = Some(got),
                Some(want) => assert!(*want == got, "{plan:?}, {threads} threads"),
            }
        }
    }
}
