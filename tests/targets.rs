// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Targets through the command line: what this machine runs, why not the rest, and what `native` becomes.

use std::process::{Command, Output};

const ALL: [&str; 12] = [
    "x86_64",
    "x86_64-v3",
    "x86_64-v4",
    "x86_64-amx",
    "aarch64",
    "sm_80",
    "sm_86",
    "sm_89",
    "sm_90",
    "sm_90a",
    "sm_100",
    "sm_120",
];

fn attnc(arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let op = "attention op { heads = 2, head_dim = 4, branch { segment = 4 } }\n";
    std::fs::write(folder.path().join("op.attn"), op).expect("can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnc-under-test"));
    command.args(arguments).current_dir(folder.path());
    let Output {
        status,
        stdout,
        stderr,
    } = command.env_clear().output().expect("the command runs");
    let text = |b| String::from_utf8(b).expect("UTF-8");
    (status.code(), text(stdout), text(stderr))
}

/// The line of a target in the table.
fn line<'t>(table: &'t str, target: &str) -> &'t str {
    let found = table
        .lines()
        .find(|l| l.split_whitespace().next() == Some(target));
    found.unwrap_or_else(|| panic!("{target} is not in\n{table}"))
}

fn run<'a>(target: &'a str, extra: &[&'a str]) -> (Option<i32>, String, String) {
    let all = ["run", "op.attn", "--seq-len", "9", "--target", target];
    attnc(&[&all[..], extra].concat())
}

#[test]
fn the_table_says_of_every_target_whether_it_runs_and_run_agrees() {
    let (code, table, _) = attnc(&["targets"]);
    assert_eq!(code, Some(0));
    let native = table.lines().filter(|l| l.ends_with("; native"));
    assert_eq!(native.count(), 1, "{table}");
    for target in ALL {
        let line = line(&table, target);
        let (code, out, err) = run(target, &[]);
        if line.contains("not built yet") {
            assert_eq!((code, out.as_str()), (Some(1), ""), "{target}");
            assert!(err.contains("not built yet"), "{target}: {err}");
        } else if line.contains("this machine lacks") {
            assert_eq!((code, out.as_str()), (Some(1), ""), "{target}");
            assert!(err.contains("lacks"), "{target}: {err}");
            assert_eq!(err.lines().count(), 1, "{err}");
        } else {
            assert!(line.contains("runs"), "{line}");
            assert_eq!(code, Some(0), "{target}: {err}");
        }
    }
}

#[test]
fn another_processors_target_is_refused_by_name_but_its_code_is_printed() {
    let other = if cfg!(target_arch = "aarch64") {
        "x86_64"
    } else {
        "aarch64"
    };
    let (code, _, err) = run(other, &[]);
    assert_eq!(code, Some(1));
    let what = format!("does not run {other}: it lacks a processor of the family {other}");
    assert!(err.contains(&what), "{err}");
    for stage in ["clif", "asm"] {
        let (code, out, _) = attnc(&["emit", "op.attn", "--stage", stage, "--target", other]);
        assert_eq!(code, Some(0));
        assert!(out.contains("attnc_op_run"), "{out}");
    }
}

#[test]
fn native_is_resolved_in_what_is_printed() {
    let (code, out, err) = run("native", &["--json"]);
    assert_eq!(code, Some(0), "{err}");
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let native = attnc_codegen_cpu::CpuTarget::here().expect("a known processor");
    assert_eq!(report["target"], native.name());
    let (_, asm, _) = attnc(&["emit", "op.attn", "--stage", "asm"]);
    let first = asm.lines().next();
    assert_eq!(first, Some(&*format!("; {}", native.name())));
}

#[test]
fn every_example_becomes_code_for_every_processor() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsl/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(examples).expect("a folder") {
        let path = entry.expect("an entry").path();
        let file = path.to_str().expect("UTF-8");
        if path.extension().is_none_or(|e| e != "attn") {
            continue;
        }
        seen += 1;
        for target in ["x86_64", "x86_64-v3", "x86_64-v4", "x86_64-amx", "aarch64"] {
            let (code, out, err) = attnc(&["emit", file, "--stage", "asm", "--target", target]);
            assert_eq!(code, Some(0), "{file} {target}: {err}");
            assert!(out.contains("_forward:"), "{file}");
        }
    }
    assert!(seen >= 8, "{seen} examples");
}
