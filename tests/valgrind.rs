// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machine code under valgrind: no read or write outside what was allocated, no decision on bytes that nobody wrote.
//!
//! In: small operators through the real command (parser, compiler, generated code, runtime, tensor files by memory map). Out: valgrind's
//! verdict. Skipped where valgrind is not installed, unless `ATTNC_REQUIRE_VALGRIND` is set.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const OP: &str = "attention op { heads = 2, kv_heads = 1, head_dim = 5, causal = true
    semantics = torchscale
    branch { segment = 6, dilation = 2 }
    branch { segment = 16, dilation = 3 }
}\n";

fn installed() -> bool {
    let found = Command::new("valgrind").arg("--version").output();
    if found.is_ok_and(|f| f.status.success()) {
        return true;
    }
    assert!(
        std::env::var_os("ATTNC_REQUIRE_VALGRIND").is_none(),
        "valgrind is not installed"
    );
    println!("skipped: valgrind is not installed");
    false
}

/// Runs the command under valgrind; its own exit code where memory was misused is 77.
fn checked(folder: &Path, arguments: &[&str]) {
    let run = Command::new("valgrind")
        .args([
            "--quiet",
            "--error-exitcode=77",
            "--smc-check=all",
            "--max-stackframe=8000000",
        ])
        .arg(env!("CARGO_BIN_EXE_attnc-under-test"))
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .stdin(Stdio::null())
        .output()
        .expect("valgrind runs");
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(0), "{arguments:?}: {said}");
}

#[test]
fn generated_code_and_tensor_files_stay_within_their_memory() {
    if !installed() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    fs::write(folder.join("op.attn"), OP).expect("written");
    let common = [
        "--threads",
        "2",
        "-q",
        "--no-cache",
        "--output",
        "y.safetensors",
    ];
    for target in ["x86_64", "native"] {
        let words = [
            "run",
            "op.attn",
            "--seq-len",
            "21",
            "--batch",
            "2",
            "--target",
            target,
        ];
        checked(folder, &[&words[..], &common].concat());
    }
    let q = attnc_tensor::normal_tensor(attnc_tensor::Storage::F32, &[1, 9, 2, 5], 0, 1);
    let k = attnc_tensor::normal_tensor(attnc_tensor::Storage::F32, &[1, 9, 1, 5], 0, 2);
    let (q, k) = (q.expect("small"), k.expect("small"));
    let mut file = fs::File::create(folder.join("x.safetensors")).expect("made");
    attnc_tensor::write_safetensors(&mut file, &[("q", &q), ("k", &k), ("v", &k)], &[])
        .expect("written");
    let words = ["run", "op.attn", "--input", "x.safetensors", "--verify"];
    checked(folder, &[&words[..], &common].concat());
}
