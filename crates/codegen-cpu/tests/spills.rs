// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The register tiles of the dots stay in registers: the speed of the portable kernels hangs on it, and a change of the code generator
//! could undo it without any result changing.
//!
//! In: the tile functions of several head dimensions, compiled for x86_64 with fused multiply-add. Out: no vector is stored to or loaded
//! from the stack in any dot.

use attnc_codegen_cpu::{CpuTarget, asm, compile};
use attnc_tensor::DType;
use attnc_tile::core::{Accuracy, Core, Val};
use attnc_tile::step::{Extents, Panels, Softmax, step};

fn core(head_dim: u32) -> Core {
    let e = Extents {
        mq: 32,
        nk: 80,
        head_dim,
        panels: Panels::Float,
    };
    let softmax = Softmax {
        base2: true,
        scale: 0.125,
        weights: Accuracy::Full,
    };
    Core {
        name: "t".to_string(),
        target: "x86_64".to_string(),
        heads: 1,
        kv_heads: 1,
        head_dim,
        dtype: DType::F32,
        causal: false,
        key_step: 5,
        warps: 1,
        stages: 1,
        careful_above: 1e18,
        bufs: Vec::new(),
        tables: Vec::new(),
        plan_tables: Vec::new(),
        fns: vec![step(e, softmax, false)],
        vals: 1,
        plan: Vec::new(),
        tasks: Val(0),
        enter: Vec::new(),
        body: Vec::new(),
    }
}

#[test]
fn dots_keep_their_register_tiles() {
    for head_dim in [4, 5, 13, 24, 37, 48, 64, 80, 96, 128, 256] {
        let text = asm(&compile(&core(head_dim), CpuTarget::X86_64).unwrap()).unwrap();
        let mut dots = 0;
        for function in text.split("\n\n").filter(|f| f.contains("fma.dot_")) {
            dots += 1;
            let spills: Vec<&str> = function
                .lines()
                .filter(|l| l.contains("xmm") && (l.contains("[rsp") || l.contains("[rbp")))
                .collect();
            let name = function.lines().next().unwrap_or_default();
            assert!(spills.is_empty(), "{name} {spills:#?}");
        }
        assert!(dots > 0, "{text}");
    }
}
