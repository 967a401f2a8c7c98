// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Kernels that another compiler made must pass all checks whatever the order of execution.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn emu(launch: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ptx-emu"))
        .arg(launch)
        .args(args)
        .output()
        .expect("runs")
}

fn launches(folder: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/ptx")
        .join(folder);
    let mut v: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("folder")
        .map(|e| e.expect("entry").path())
        .filter(|p| {
            p.extension().is_some_and(|x| x == "json")
                && p.file_stem().is_some_and(|s| s != "manifest")
        })
        .collect();
    v.sort();
    v
}

#[test]
fn open_cases_pass_with_every_seed() {
    let all = launches("open");
    assert_eq!(all.len(), 3);
    for l in all {
        for seed in 0..8 {
            let out = emu(
                &l,
                &[
                    "--check",
                    "--races",
                    "--counters",
                    "--seed",
                    &seed.to_string(),
                ],
            );
            let err = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{} seed {seed}: {err}", l.display());
            let json: serde_json::Value =
                serde_json::from_slice(&out.stdout).expect("one JSON object");
            assert!(json["thread_instructions"].as_u64() > Some(0));
        }
    }
}

#[test]
fn handwritten_kernels_pass_with_every_seed() {
    let all = launches("hand");
    assert!(all.len() >= 9);
    for l in all.into_iter().chain(launches("more")) {
        for seed in 0..8 {
            let out = emu(&l, &["--check", "--races", "--seed", &seed.to_string()]);
            let err = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{} seed {seed}: {err}", l.display());
        }
    }
}

/// Values are right, but two warps store the same value with nothing between, or a register
/// of `wgmma` moves before its wait: by the letter of the rules on races, faults.
#[test]
fn kernels_that_break_the_rules_by_the_letter_are_reported() {
    for (name, what) in [
        ("sm80_sort", "race at shared address"),
        ("sm90_specialised", "race at shared address"),
        (
            "sm90_gemm_fp16_fp16_ieee_1",
            "`wgmma.wait_group` is missing",
        ),
    ] {
        let l = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("../../tests/ptx/strict/{name}.json"));
        for seed in ["0", "3", "6"] {
            let out = emu(&l, &["--check", "--seed", seed]);
            let err = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{name} seed {seed}: {err}");
            let out = emu(&l, &["--check", "--races", "--seed", seed]);
            let err = String::from_utf8_lossy(&out.stderr);
            assert_eq!(out.status.code(), Some(1), "{name} seed {seed}");
            assert!(err.contains(what), "{name} seed {seed}: {err}");
        }
    }
}

#[test]
fn kernels_of_triton_pass() {
    let all = launches("triton");
    assert!(all.len() > 15);
    for l in all {
        for seed in [0, 5] {
            let out = emu(&l, &["--check", "--races", "--seed", &seed.to_string()]);
            let err = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{} seed {seed}: {err}", l.display());
        }
    }
}
