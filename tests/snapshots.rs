// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The stages of the small examples, side by side with what they were: `snapshots/EXAMPLE/N-STAGE[.TARGET].snap`.
//!
//! Data: `dsl/examples`. `cargo insta review` (or `INSTA_UPDATE=always` and a look at the difference) takes a wanted change over.
//! Targets are named, so that the snapshots are the same on every machine.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Examples of published models: too long to be read stage by stage.
const LARGE: [&str; 4] = [
    "longnet_base",
    "longnet_base_pretrained",
    "longvit",
    "slide_encoder",
];

/// The one example whose code is kept too: thousands of lines a target.
const WITH_CODE: &str = "tiny";

/// Number and name of each stage, and the targets where it depends on one.
const STAGES: [(&str, &[&str]); 7] = [
    ("ast", &[]),
    ("spec", &[]),
    ("graph", &[]),
    ("fused", &[]),
    ("tile", &["x86_64", "sm_80"]),
    ("clif", &["x86_64", "aarch64"]),
    (
        "asm",
        &["x86_64", "x86_64-v3", "x86_64-v4", "x86_64-amx", "aarch64"],
    ),
];

/// Folders of snapshots that other tests keep.
const OTHERS: [&str; 2] = ["diagnostics", PAIRS];

/// An operator whose panels hold pairs of bf16, its folder, and the programs whose claims are kept of it.
const PAIRS: &str = "pairs";
const OF_PAIRS: &str =
    "attention pairs { heads = 1, head_dim = 16, dtype = bf16, branch { segment = 64 } }";
const PROGRAMS: [(&str, &str); 2] = [("x86_64-v4", "v4_bf16"), ("x86_64-amx", "amx")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names of the small examples.
fn examples() -> BTreeSet<String> {
    fs::read_dir(root().join("../dsl/examples"))
        .expect("it is there")
        .map(|e| e.expect("can be listed").path())
        .filter(|p| p.extension().is_some_and(|e| e == "attn"))
        .filter_map(|p| Some(p.file_stem()?.to_str()?.to_string()))
        .filter(|name| !LARGE.contains(&name.as_str()))
        .collect()
}

/// (snapshot name, stage, target) of every stage that is kept of an example.
fn stages(example: &str) -> Vec<(String, &'static str, Option<&'static str>)> {
    let mut out = Vec::new();
    for (i, (stage, targets)) in STAGES.iter().enumerate() {
        if ["clif", "asm"].contains(stage) && example != WITH_CODE {
            continue;
        }
        let name = format!("{}-{stage}", i + 1);
        if targets.is_empty() {
            out.push((name.clone(), *stage, None));
        }
        for target in *targets {
            out.push((format!("{name}.{target}"), stage, Some(*target)));
        }
    }
    out
}

fn emit(example: &str, stage: &str, target: Option<&str>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnc-under-test"));
    command.current_dir(root().join("../dsl/examples"));
    command.args(["emit", &format!("{example}.attn"), "--stage", stage, "-q"]);
    command.args(target.into_iter().flat_map(|t| ["--target", t]));
    let out = command.env_clear().output().expect("the command runs");
    let error = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{example} {stage}: {error}");
    String::from_utf8(out.stdout).expect("UTF-8")
}

#[test]
fn stages_of_small_examples_are_as_they_were() {
    for example in examples() {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(format!("snapshots/{example}"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| {
            for (name, stage, target) in stages(&example) {
                insta::assert_snapshot!(name, emit(&example, stage, target));
            }
        });
    }
}

/// The assembled functions of a listing that belong to `program`, one behind the other.
fn claims(listing: &str, program: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for line in listing.lines() {
        if line.starts_with("attnc") {
            inside = line.contains(&format!(".{program}.")) && line.contains(".claim:");
        }
        if inside {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[test]
fn claims_over_pairs_of_bf16_are_as_they_were() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("pairs.attn"), OF_PAIRS).expect("written");
    for (target, program) in PROGRAMS {
        let mut command = Command::new(env!("CARGO_BIN_EXE_attnc-under-test"));
        command.current_dir(&folder).env_clear();
        command.args([
            "emit",
            "pairs.attn",
            "--stage",
            "asm",
            "-q",
            "--target",
            target,
        ]);
        let out = command.output().expect("the command runs");
        assert!(out.status.success(), "{out:?}");
        let text = claims(&String::from_utf8(out.stdout).expect("UTF-8"), program);
        for what in ["vdpbf16ps", "step.claim:", "keep_"] {
            assert!(text.contains(what), "{target}: {what}");
        }
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(format!("snapshots/{PAIRS}"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(format!("asm.{target}"), text));
    }
    let kept = fs::read_dir(root().join("snapshots").join(PAIRS)).expect("a folder");
    assert_eq!(kept.count(), PROGRAMS.len());
}

#[test]
fn no_snapshot_is_left_over() {
    let wanted: BTreeSet<PathBuf> = examples()
        .iter()
        .flat_map(|e| {
            let file = move |(name, ..): (String, _, _)| Path::new(e).join(name + ".snap");
            stages(e).into_iter().map(file)
        })
        .collect();
    let mut found = BTreeSet::new();
    for folder in fs::read_dir(root().join("snapshots")).expect("it is there") {
        let folder = folder.expect("can be listed").path();
        let name = PathBuf::from(folder.file_name().expect("a name"));
        if OTHERS.iter().any(|o| name == Path::new(o)) {
            continue;
        }
        for file in fs::read_dir(&folder).expect("a folder") {
            found.insert(name.join(file.expect("can be listed").file_name()));
        }
    }
    let left: Vec<_> = found.difference(&wanted).collect();
    let missing: Vec<_> = wanted.difference(&found).collect();
    assert!(left.is_empty(), "no stage has these snapshots: {left:?}");
    assert!(
        missing.is_empty(),
        "these snapshots are missing: {missing:?}"
    );
}
