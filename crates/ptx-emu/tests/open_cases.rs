// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernels that another compiler made must pass all checks whatever the order of execution.

use std::path::Path;
use std::process::Command;

#[test]
fn open_cases_pass_with_every_seed() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ptx/open");
    for case in [
        "add_n300_sm80",
        "softmax_c60_sm80",
        "gemm_f16_64x48x96_sm80",
    ] {
        for seed in 0..8 {
            let out = Command::new(env!("CARGO_BIN_EXE_ptx-emu"))
                .arg(dir.join(format!("{case}.json")))
                .args([
                    "--check",
                    "--races",
                    "--counters",
                    "--seed",
                    &seed.to_string(),
                ])
                .output()
                .expect("runs");
            let err = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{case} seed {seed}: {err}");
            let json: serde_json::Value =
                serde_json::from_slice(&out.stdout).expect("one JSON object");
            assert!(json["thread_instructions"].as_u64() > Some(0));
        }
    }
}
