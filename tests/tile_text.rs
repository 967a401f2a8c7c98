// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tile stages as text: every example is read back as it was printed, and `attnc run` takes the text for the program.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const OP: &str = "attention op { heads = 4, kv_heads = 2, head_dim = 8, causal = true, branch { segment = 8, dilation = 2 } branch { segment = 16, dilation = 4 } }\n";

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

fn attnc(folder: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnc-under-test"));
    command.args(arguments).current_dir(folder);
    command.env_clear().stdin(Stdio::null());
    let output = command.output().expect("the command runs");
    Run {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("op.attn"), OP).expect("can be written");
    folder
}

fn emit(folder: &Path, arguments: &[&str]) -> String {
    let mut all = vec!["emit", "--stage", "tile"];
    all.extend(arguments);
    let r = attnc(folder, &all);
    assert_eq!(r.code, Some(0), "{}", r.err);
    r.out
}

fn run(folder: &Path, arguments: &[&str]) -> Run {
    let mut all = vec!["run"];
    all.extend(arguments);
    attnc(folder, &all)
}

const SIZES: [&str; 8] = [
    "--seq-len",
    "53",
    "--batch",
    "2",
    "--seed",
    "5",
    "--threads",
    "2",
];

/// The bytes that a run writes.
fn written(folder: &Path, file: &str, backend: &str) -> Vec<u8> {
    let mut arguments = vec![file, "--backend", backend, "--output", "y.safetensors"];
    arguments.extend(SIZES);
    let r = run(folder, &arguments);
    assert_eq!(r.code, Some(0), "{file} {backend}: {}", r.err);
    fs::read(folder.join("y.safetensors")).expect("written")
}

#[test]
fn every_example_is_read_back_as_it_was_printed() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsl/examples");
    let mut seen = 0;
    for entry in fs::read_dir(&examples).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "attn") {
            continue;
        }
        for plan in ["share", "each"] {
            let text = emit(
                &examples,
                &[path.to_str().expect("UTF-8"), "--plan", plan, "-q"],
            );
            let core =
                attnc_tile::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(
                attnc_tile::verify::core(&core),
                Ok(()),
                "{}",
                path.display()
            );
            assert_eq!(attnc_tile::print(&core), text, "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 30, "{seen}");
}

#[test]
fn the_text_of_a_stage_runs_to_the_same_bits() {
    let folder = folder();
    let folder = folder.path();
    for plan in ["share", "each"] {
        let text = emit(folder, &["op.attn", "--plan", plan, "-q"]);
        fs::write(folder.join("op.tile"), text).expect("can be written");
        for backend in ["cpu", "interp-tile"] {
            let mut arguments = vec!["op.attn", "--plan", plan, "--backend", backend, "-q"];
            arguments.extend(["--output", "want.safetensors"]);
            arguments.extend(SIZES);
            let r = run(folder, &arguments);
            assert_eq!(r.code, Some(0), "{}", r.err);
            let want = fs::read(folder.join("want.safetensors")).expect("written");
            assert!(
                written(folder, "op.tile", backend) == want,
                "{plan} {backend}"
            );
        }
    }
    let mut arguments = vec!["op.tile", "--json"];
    arguments.extend(SIZES);
    let report = run(folder, &arguments).out;
    let report: serde_json::Value = serde_json::from_str(&report).expect("a report");
    assert_eq!(report["operator"], "op");
    assert_eq!(report["causal"], true);
    assert_eq!(report["kv_heads"], 2);
    assert!(report["madds_formula"].is_null());
}

#[test]
fn an_edited_weight_changes_the_result() {
    let folder = folder();
    let folder = folder.path();
    let text = emit(folder, &["op.attn", "--plan", "share", "-q"]);
    assert!(text.contains("weight = [1, 1]"), "{text}");
    fs::write(folder.join("a.tile"), &text).expect("can be written");
    fs::write(
        folder.join("b.tile"),
        text.replace("weight = [1, 1]", "weight = [1, 5]"),
    )
    .expect("can be written");
    for backend in ["cpu", "interp-tile"] {
        assert!(written(folder, "a.tile", backend) != written(folder, "b.tile", backend));
    }
}

#[test]
fn damaged_programs_are_refused_by_name() {
    let folder = folder();
    let folder = folder.path();
    let text = emit(folder, &["op.attn", "-q"]);
    let cases = [
        (
            "finish(tile_m",
            "finish(tile_x",
            "there is no buffer or table `tile_x`",
        ),
        (
            "tile 2 op",
            "tile 3 op",
            "1:6: this is version 3 of the text form",
        ),
        (
            "clipped[2] in 1..=N",
            "clipped[1] in 1..=N",
            "rule 4 (Index) at plan.",
        ),
        ("heads 4,", "heads 0,", "rule 28 (Limits) at header"),
        (
            "iota[2048]",
            "iota[999999999999]",
            "rule 28 (Limits) at header",
        ),
        ("iota[2048]", "iota[2047]", "rule 4 (Index) at body."),
        ("when not mixed: mask s\n", "", "rule 23 (Unmasked)"),
    ];
    for (from, to, message) in cases {
        assert!(text.contains(from), "no `{from}`");
        fs::write(folder.join("bad.tile"), text.replacen(from, to, 1)).expect("can be written");
        let r = run(
            folder,
            &["bad.tile", "--seq-len", "8", "--output", "y.safetensors"],
        );
        assert_eq!(r.code, Some(1), "{}", r.err);
        assert!(
            r.err.contains("bad.tile") && r.err.contains(message),
            "{message}: {}",
            r.err
        );
        assert!(!folder.join("y.safetensors").exists());
    }
}

#[test]
fn what_needs_an_operator_is_a_usage_error() {
    let folder = folder();
    let folder = folder.path();
    fs::write(folder.join("op.tile"), emit(folder, &["op.attn", "-q"])).expect("can be written");
    for more in [
        &["--verify"][..],
        &["--plan", "each"],
        &["--without", "online"],
        &["--name", "op"],
        &["--backend", "oracle"],
        &["--backend", "interp-graph"],
    ] {
        let mut arguments = vec!["op.tile", "--seq-len", "8"];
        arguments.extend(more);
        let r = run(folder, &arguments);
        assert_eq!(r.code, Some(2), "{more:?}: {}", r.err);
        assert!(r.err.contains("carries no operator"), "{more:?}: {}", r.err);
    }
    let text = emit(folder, &["op.attn", "-q"]);
    let steps = text.replacen("key_step ", "key_step 7", 1);
    fs::write(folder.join("steps.tile"), steps).expect("can be written");
    let r = run(folder, &["steps.tile", "--seq-len", "8"]);
    assert_eq!(r.code, Some(1), "{}", r.err);
    assert!(r.err.contains("rule 19 (Extents)"), "{}", r.err);
    let target = text
        .lines()
        .next()
        .and_then(|l| l.rsplit(' ').next())
        .expect("a target");
    let other = text.replacen(&format!("target {target}"), "target sm_80", 1);
    fs::write(folder.join("gpu.tile"), other).expect("can be written");
    let r = run(folder, &["gpu.tile", "--seq-len", "8"]);
    assert_eq!(r.code, Some(1), "{}", r.err);
    assert!(
        r.err.contains("cannot run a program for `sm_80`"),
        "{}",
        r.err
    );
    let r = run(
        folder,
        &["gpu.tile", "--seq-len", "8", "--backend", "interp-tile"],
    );
    assert_eq!(r.code, Some(0), "{}", r.err);
}
