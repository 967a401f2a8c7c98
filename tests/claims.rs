// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Claims: every head dimension has assembled code on the targets that have any, and its results obey the bounds of every row.
//!
//! In: operators that differ in their head dimension, dtype and causality. Out: agreement with the float64 oracle on every target that
//! this machine runs; the others are compiled and decoded.

use std::collections::BTreeSet;

use attnc::pipeline::{self, Choices, Plan};
use attnc_codegen_cpu::{CpuTarget, census, compile};
use attnc_spec::{Operator, Precision};
use attnc_tensor::DType;
use attnc_tests::engines::Engine;
use attnc_tests::operators::odd_segments;
use attnc_tests::precision::weights_are_coarser;
use attnc_tests::random::Case;

const WIDE: [CpuTarget; 3] = [
    CpuTarget::X86_64V3,
    CpuTarget::X86_64V4,
    CpuTarget::X86_64Amx,
];

#[test]
fn every_head_dimension_agrees_with_the_oracle() {
    for head_dim in 1..=256 {
        // Tails of one, two and three vectors, and of one to eight keys, come with the lengths.
        let (dtype, causal) = match head_dim % 4 {
            0 => (DType::F32, false),
            1 => (DType::F32, true),
            2 => (DType::Bf16, false),
            _ => (DType::F16, true),
        };
        let case = Case {
            op: Operator {
                // Every other dimension that 16 bits are for.
                precision: match dtype {
                    DType::Bf16 | DType::F16 if head_dim % 8 < 4 => Precision::Fast,
                    _ => Precision::Standard,
                },
                ..odd_segments(head_dim, dtype, causal)
            },
            batch: 1,
            seq_len: 68 + head_dim as usize % 67,
            seed: u64::from(head_dim),
        };
        for engine in Engine::machine_code(Some(Plan::Share), 1) {
            if let Err(e) = engine.check(&case) {
                panic!("head_dim {head_dim} {dtype}: {e}");
            }
        }
    }
}

#[test]
fn fast_operators_have_coarser_weights() {
    for engine in Engine::machine_code(Some(Plan::Share), 1) {
        weights_are_coarser(&engine);
    }
}

/// What names of moves begin with.
const MOVES: [&str; 5] = [".gather_", ".keep_", ".scatter_", ".fill_", ".floats_"];

#[test]
fn every_head_dimension_is_claimed_and_decodes() {
    let mut moved = BTreeSet::new();
    for head_dim in 1..=256 {
        for target in WIDE {
            let dtype = DType::ALL[head_dim as usize % 3];
            let op = Operator {
                precision: match dtype {
                    DType::Bf16 | DType::F16 if head_dim % 4 < 2 => Precision::Fast,
                    _ => Precision::Standard,
                },
                ..odd_segments(head_dim, dtype, head_dim % 2 == 0)
            };
            let choices = Choices::new(target.name());
            let graph = pipeline::graph(&op).expect("a graph");
            let fused = pipeline::fuse(&graph, &choices).expect("fused");
            let core = pipeline::tile(&fused.graph, &choices).expect("a program");
            let program = compile(&core, target).expect("code");
            let claimed = |(name, _): (&str, &[u8])| name.ends_with(".step.claim");
            assert_eq!(program.functions().filter(|f| claimed(*f)).count(), 1);
            // What moves rows and what sums states, too: portable bodies stand only behind a claim that may go on in them.
            for kind in MOVES.iter().chain(&[".settle", ".finish", ".init"]) {
                let mut all = program.functions().filter(|(name, _)| name.contains(kind));
                assert!(all.all(|(name, _)| name.ends_with(".claim")), "{kind}");
            }
            moved.extend(MOVES.iter().filter(|kind| {
                let mut all = program.functions();
                all.any(|(name, _)| name.contains(**kind))
            }));
            if head_dim % 16 == 0 {
                let bytes: usize = program.functions().map(|f| f.1.len()).sum();
                let found: usize = census(&program).expect("decodes").iter().sum();
                assert_eq!(found, bytes, "{head_dim}");
            }
        }
    }
    assert_eq!(moved, BTreeSet::from(MOVES));
}

/// A step that is not the one the schedule writes, by an edit of its text, say, is run as it stands.
#[test]
fn an_edited_step_is_not_claimed() {
    let op = odd_segments(8, DType::F32, false);
    for target in WIDE {
        let choices = Choices::new(target.name());
        let graph = pipeline::graph(&op).expect("a graph");
        let fused = pipeline::fuse(&graph, &choices).expect("fused");
        let mut core = pipeline::tile(&fused.graph, &choices).expect("a program");
        let step = core.fns.iter_mut().find(|f| f.name == "step");
        step.expect("a step").body.pop();
        let program = compile(&core, target).expect("code");
        assert!(
            program
                .functions()
                .all(|(name, _)| !name.ends_with(".step.claim"))
        );
    }
}
