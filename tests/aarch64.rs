// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The object file for aarch64, linked statically and run by an emulator of that processor: golden data, other types, other layouts.

#[path = "support/object.rs"]
mod support;

use std::path::Path;

use attnc::{Inputs, Signature};
use attnc_codegen_cpu::CpuTarget;
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::measure::frobenius;
use attnc_tensor::{DType, TensorFile};
use serde_json::Value;
use support::*;

const REQUIRED_BY: &str = "ATTNC_REQUIRE_AARCH64";
const GCC: Tool = Tool {
    name: "aarch64-linux-gnu-gcc",
    required_by: REQUIRED_BY,
};
const QEMU: Tool = Tool {
    name: "qemu-aarch64",
    required_by: REQUIRED_BY,
};

fn run(op: &Operator, layout: i32, shapes: &[Inputs]) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let (core, program) = program(op, CpuTarget::Aarch64);
    let o = write(folder.path(), "op.o", &[program]);
    let exe = link(
        folder.path(),
        &[GCC.name, "-std=c99", "-static"],
        op,
        &core,
        &o,
    );
    drive(&exe, &[QEMU.name], layout, -1, shapes)
}

fn numbers(v: &Value) -> Vec<u64> {
    let list = v.as_array().expect("a list");
    list.iter().map(|x| x.as_u64().expect("whole")).collect()
}

#[test]
fn golden_data_come_out_right_on_aarch64() {
    if !GCC.there() || !QEMU.there() {
        return;
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let manifest = std::fs::read_to_string(golden.join("manifest.json")).expect("a manifest");
    let cases: Vec<Value> = serde_json::from_str(&manifest).expect("a list");
    assert_eq!(cases.len(), 26);
    for c in &cases {
        let name = c["name"].as_str().expect("a name");
        let head_dim = c["head_dim"].as_u64().expect("whole") as u32;
        let heads = c["heads"].as_u64().expect("whole") as u32;
        let branches = numbers(&c["segment_lengths"])
            .into_iter()
            .zip(numbers(&c["dilation_rates"]));
        let op = Operator {
            name: "golden".into(),
            heads,
            kv_heads: heads,
            head_dim,
            dtype: DType::F32,
            precision: Precision::Standard,
            causal: c["causal"].as_bool().expect("yes or no"),
            scale: 1.0 / f64::from(head_dim).sqrt(),
            profile: Profile::TORCHSCALE,
            branches: branches
                .map(|(w, dilation)| Branch {
                    segment: Segment::Finite(w),
                    dilation,
                })
                .collect(),
        };
        let path = golden.join(format!("{name}.safetensors"));
        let x = Inputs::load(&Signature::from(&op), &path).expect("golden");
        let got = run(&op, 0, std::slice::from_ref(&x));
        let bounds = judge(&op, &x, &got[0], name);
        // The stored result, too: what the published code gave. Its own rounding stands beside ours.
        let want = TensorFile::open(&path).expect("golden").load("out");
        let (out, _) = results(&op, &x, &got[0]);
        let error = frobenius(out.to_f64(), want.expect("golden").to_f64());
        assert!(error < bounds.out, "{name}: {error}");
    }
}

#[test]
fn every_type_and_layout_comes_out_right_on_aarch64() {
    if !GCC.there() || !QEMU.there() {
        return;
    }
    let branch = |w, dilation| Branch {
        segment: Segment::Finite(w),
        dilation,
    };
    for (dtype, causal, layout) in [
        (DType::F32, true, 2),
        (DType::Bf16, false, 1),
        (DType::F16, true, 0),
    ] {
        let op = Operator {
            name: "other".into(),
            heads: 4,
            kv_heads: 2,
            head_dim: 7,
            dtype,
            precision: Precision::Standard,
            causal,
            scale: 0.4,
            profile: Profile::PAPER,
            branches: vec![branch(16, 1), branch(64, 2), branch(100, 4)],
        };
        let make = |b, n| Inputs::generate(&Signature::from(&op), b, n, 5).expect("small");
        let shapes = [make(2, 150), make(1, 1)];
        for (x, bytes) in shapes.iter().zip(run(&op, layout, &shapes)) {
            judge(&op, x, &bytes, op.dtype.name());
        }
    }
}
