// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The command line: exit codes, standard streams, files that appear complete or not at all. Data: made on the spot.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

fn finish(output: Output) -> Run {
    Run {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnc-under-test"));
    command.args(arguments).current_dir(folder).env_clear();
    command
}

fn attnc(folder: &Path, arguments: &[&str]) -> Run {
    finish(
        command(folder, arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the command runs"),
    )
}

fn attnc_with(folder: &Path, arguments: &[&str], input: &str) -> Run {
    let mut child = command(folder, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(input.as_bytes())
        .expect("it reads");
    finish(child.wait_with_output().expect("it ends"))
}

const GOOD: &str = "edition 1\n\nattention one {\n    heads    = 2\n    head_dim = 8\n    branch { segment = 8 }\n}\n\nattention two = one with { causal = true }\n";
const UGLY: &str = "attention one{heads=2,head_dim=8,branch{segment=8}}";

/// A folder with `good.attn`, `bad.attn`, `warn.attn` and `ugly.attn`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("good.attn", GOOD),
        ("bad.attn", "attention a { heads = }\n"),
        (
            "warn.attn",
            "let unused = 1\nattention one { heads = 2, head_dim = 8, branch { segment = 8 } }\n",
        ),
        ("ugly.attn", UGLY),
        (
            "none.attn",
            "let a = 1\nlet b = a\nlet a2 = b + a2_\nlet a2_ = 1\n",
        ),
    ] {
        fs::write(folder.path().join(name), text).expect("can be written");
    }
    folder
}

#[test]
fn exit_codes_tell_success_failure_and_usage() {
    let folder = folder();
    for (arguments, code) in [
        (&["check", "good.attn"][..], 0),
        (&["check", "good.attn", "warn.attn"], 0),
        (&["check", "--deny-warnings", "warn.attn"], 1),
        (&["check", "bad.attn"], 1),
        (&["check", "good.attn", "bad.attn"], 1),
        (&["check", "missing.attn"], 1),
        (&["check", "."], 1),
        (&["check", "good.attn", "--name", "two"], 0),
        (&["check", "good.attn", "--name", "three"], 1),
        (&["check"], 2),
        (&[], 2),
        (&["frobnicate"], 2),
        (&["check", "--frobnicate", "good.attn"], 2),
        (&["check", "-q", "-v", "good.attn"], 2),
        (&["emit", "good.attn"], 2),
        (&["emit", "good.attn", "--stage", "nonsense"], 2),
        (
            &["emit", "good.attn", "--stage", "spec", "--format", "dot"],
            2,
        ),
        (
            &["emit", "good.attn", "--stage", "spec", "--launch", "x"],
            2,
        ),
        (
            &["emit", "good.attn", "--stage", "spec", "--target", "z80"],
            2,
        ),
        (&["emit", "bad.attn", "--stage", "ast"], 1),
        (&["emit", "missing.attn", "--stage", "ast"], 1),
        (&["explain-code", "E9999"], 2),
        (&["run", "good.attn"], 2),
        (&["run", "good.attn", "--seq-len", "32K"], 2),
        (
            &[
                "run",
                "good.attn",
                "--seq-len",
                "8",
                "--input",
                "x.safetensors",
            ],
            2,
        ),
        (
            &[
                "run",
                "good.attn",
                "--input",
                "x.safetensors",
                "--seed",
                "1",
            ],
            2,
        ),
        (&["run", "good.attn", "--seq-len", "8", "--threads", "0"], 2),
        (&["run", "good.attn", "--seq-len", "8", "--verify=0"], 2),
        (
            &["run", "good.attn", "--seq-len", "8", "--backend", "tpu"],
            2,
        ),
        (&["--help"], 0),
        (&["run", "--help"], 0),
        (&["--version"], 0),
        (&["targets"], 0),
        (&["help", "fmt"], 0),
    ] {
        let run = attnc(folder.path(), arguments);
        assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.err);
        assert!(
            run.code == Some(0) || !run.err.is_empty(),
            "{arguments:?} says nothing"
        );
    }
}

#[test]
fn the_hash_is_of_the_meaning_and_of_the_operator_named() {
    let folder = folder();
    let hash = |arguments: &[&str]| {
        let run = attnc(folder.path(), &[&["hash"], arguments].concat());
        assert_eq!(run.code, Some(0), "{}", run.err);
        let digits = run.out.strip_suffix('\n').expect("one line").to_owned();
        let hexadecimal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        assert!(digits.len() == 64 && digits.bytes().all(hexadecimal));
        digits
    };
    let one = hash(&["good.attn"]);
    assert_eq!(one, hash(&["ugly.attn"]));
    assert_eq!(one, hash(&["good.attn", "--name", "one"]));
    assert_ne!(one, hash(&["good.attn", "--name", "two"]));
    let piped = attnc_with(folder.path(), &["hash", "-"], GOOD);
    assert_eq!((piped.code, piped.out.trim()), (Some(0), &*one));
    assert_eq!(attnc(folder.path(), &["hash", "bad.attn"]).code, Some(1));
}

#[test]
fn what_is_to_come_says_so() {
    let folder = folder();
    let run = attnc(
        folder.path(),
        &["build", "good.attn", "--target", "sm_80", "--output", "new"],
    );
    let told = run.err.contains("not built yet");
    assert_eq!((run.code, told), (Some(1), true), "{}", run.err);
}

#[test]
fn a_check_without_mistakes_is_silent() {
    let folder = folder();
    let run = attnc(folder.path(), &["check", "good.attn"]);
    assert_eq!((run.out.as_str(), run.err.as_str()), ("", ""));
    let run = attnc(folder.path(), &["check", "-q", "warn.attn"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let run = attnc(
        folder.path(),
        &["check", "-q", "--deny-warnings", "warn.attn"],
    );
    assert!(run.code == Some(1) && run.err.contains("W07"));
}

#[test]
fn mistakes_of_all_files_are_reported_in_one_run_and_each_once() {
    let folder = folder();
    fs::write(
        folder.path().join("lib.attn"),
        "attention l { heads = 0, head_dim = 8, branch { segment = 8 } }\n",
    )
    .expect("can be written");
    for name in ["a.attn", "b.attn"] {
        fs::write(
            folder.path().join(name),
            "use \"lib.attn\"\nattention x = l with { heads = 2 }\n",
        )
        .expect("can be written");
    }
    let run = attnc(
        folder.path(),
        &[
            "check",
            "--error-format",
            "json",
            "a.attn",
            "b.attn",
            "bad.attn",
            "missing.attn",
            "a.attn",
        ],
    );
    let codes: Vec<String> = run
        .err
        .lines()
        .map(|line| {
            let d: Value = serde_json::from_str(line).expect("JSON");
            format!(
                "{} {}",
                d["file"].as_str().expect("a file"),
                d["code"].as_str().expect("a code")
            )
        })
        .collect();
    assert_eq!(
        codes,
        ["bad.attn E0111", "missing.attn E0501", "lib.attn E0403"]
    );
}

#[test]
fn standard_input_is_a_file_and_uses_the_working_folder() {
    let folder = folder();
    let run = attnc_with(
        folder.path(),
        &["check", "-"],
        "use \"good.attn\"\nattention x = two with { heads = 4 }\n",
    );
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let run = attnc_with(
        folder.path(),
        &["emit", "-", "--stage", "spec", "--name", "one"],
        "use \"good.attn\"\n",
    );
    assert!(
        run.code == Some(0) && run.out.contains("attention one {"),
        "{}",
        run.err
    );
    let run = attnc_with(folder.path(), &["check", "-"], "let a = $");
    assert!(
        run.code == Some(1) && run.err.contains("<stdin>:1:9"),
        "{}",
        run.err
    );
}

#[test]
fn the_first_attention_is_taken_with_a_note() {
    let folder = folder();
    let run = attnc(folder.path(), &["emit", "good.attn", "--stage", "spec"]);
    assert!(
        run.out.contains("attention one {")
            && run.err.contains("note:")
            && run.err.contains("`two`"),
        "{}",
        run.err
    );
    let run = attnc(
        folder.path(),
        &["emit", "good.attn", "--stage", "spec", "-q"],
    );
    assert_eq!(run.err, "");
    let run = attnc(
        folder.path(),
        &["emit", "good.attn", "--stage", "spec", "--name", "two"],
    );
    assert!(run.out.contains("attention two {") && run.err.is_empty());
    let run = attnc(folder.path(), &["emit", "none.attn", "--stage", "spec"]);
    assert!(
        run.code == Some(1) && run.err.contains("no attention in none.attn"),
        "{}",
        run.err
    );
}

#[test]
fn emitted_spec_means_the_same_operator() {
    let folder = folder();
    let text = attnc(
        folder.path(),
        &["emit", "good.attn", "--stage", "spec", "--name", "two"],
    )
    .out;
    let again = attnc_with(folder.path(), &["emit", "-", "--stage", "spec"], &text);
    assert_eq!(again.out, text);
    let json = attnc(
        folder.path(),
        &[
            "emit",
            "good.attn",
            "--stage",
            "spec",
            "--name",
            "two",
            "--format",
            "json",
        ],
    )
    .out;
    let value: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(value["operator"]["causal"], Value::Bool(true));
    let ast: Value = serde_json::from_str(
        &attnc(
            folder.path(),
            &["emit", "good.attn", "--stage", "ast", "--format", "json"],
        )
        .out,
    )
    .expect("JSON");
    assert_eq!(ast["items"].as_array().map(Vec::len), Some(2));
}

#[test]
fn fmt_formats_in_place_checks_and_filters() {
    let folder = folder();
    let ugly = folder.path().join("ugly.attn");
    let check = attnc(folder.path(), &["fmt", "--check", "ugly.attn", "good.attn"]);
    assert_eq!(check.code, Some(1));
    assert!(
        check.out.contains("-attention one{heads=2") && check.out.contains("+attention one {"),
        "{}",
        check.out
    );
    assert_eq!(
        fs::read_to_string(&ugly).expect("there"),
        UGLY,
        "--check changes nothing"
    );
    assert_eq!(attnc(folder.path(), &["fmt", "ugly.attn"]).code, Some(0));
    let formatted = fs::read_to_string(&ugly).expect("there");
    assert_eq!(
        formatted,
        "attention one { heads = 2, head_dim = 8, branch { segment = 8 } }\n"
    );
    assert_eq!(
        attnc(folder.path(), &["fmt", "--check", "ugly.attn"]).code,
        Some(0)
    );
    let filter = attnc_with(folder.path(), &["fmt", "-"], UGLY);
    assert_eq!((filter.code, filter.out), (Some(0), formatted.clone()));
    let filter = attnc_with(folder.path(), &["fmt", "-"], &formatted);
    assert_eq!(filter.out, formatted);
    let bad = attnc(folder.path(), &["fmt", "bad.attn"]);
    assert!(bad.code == Some(1) && bad.err.contains("E0111"));
    assert_eq!(
        fs::read_to_string(folder.path().join("bad.attn")).expect("there"),
        "attention a { heads = }\n"
    );
    let bad = attnc_with(folder.path(), &["fmt", "-"], "let a = ");
    assert_eq!((bad.code, bad.out.as_str()), (Some(1), ""));
    assert_eq!(
        attnc_with(folder.path(), &["fmt", "--check", "-"], UGLY).code,
        Some(1)
    );
}

#[cfg(unix)]
#[test]
fn fmt_keeps_permissions_and_links_and_leaves_nothing_behind() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let file = folder.path().join("ugly.attn");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("allowed");
    std::os::unix::fs::symlink("ugly.attn", folder.path().join("link.attn")).expect("allowed");
    assert_eq!(attnc(folder.path(), &["fmt", "link.attn"]).code, Some(0));
    assert_eq!(
        fs::metadata(&file).expect("there").permissions().mode() & 0o777,
        0o640
    );
    assert!(
        fs::symlink_metadata(folder.path().join("link.attn"))
            .expect("there")
            .is_symlink()
    );
    assert!(
        fs::read_to_string(&file)
            .expect("there")
            .starts_with("attention one {")
    );
    let names: Vec<PathBuf> = fs::read_dir(folder.path())
        .expect("there")
        .map(|e| e.expect("there").path())
        .collect();
    assert!(
        names
            .iter()
            .all(|n| n.extension().is_some_and(|e| e == "attn")),
        "{names:?}"
    );
}

#[cfg(unix)]
#[test]
fn output_appears_complete_or_not_at_all() {
    let folder = folder();
    let emit = |out: &str| {
        attnc(
            folder.path(),
            &[
                "emit",
                "good.attn",
                "--stage",
                "spec",
                "--name",
                "one",
                "-o",
                out,
            ],
        )
    };
    assert_eq!(emit("new.attn").code, Some(0));
    assert!(
        fs::read_to_string(folder.path().join("new.attn"))
            .expect("there")
            .starts_with("edition 1")
    );
    assert_eq!(emit("/dev/null").code, Some(0));
    for (out, reason) in [
        ("/dev/full", "No space left"),
        (".", "directory"),
        ("no/such/folder", "No such file"),
    ] {
        let run = emit(out);
        assert!(
            run.code == Some(1) && run.err.contains(reason) && run.err.lines().count() == 1,
            "{out}: {}",
            run.err
        );
    }
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("there");
    let run = finish(
        command(folder.path(), &["targets"])
            .stdout(full)
            .output()
            .expect("runs"),
    );
    assert!(
        run.code == Some(1) && run.err.contains("No space left"),
        "{}",
        run.err
    );
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_is_silent() {
    let folder = folder();
    for arguments in [
        &["explain-code", "E0101"][..],
        &["--help"],
        &["emit", "good.attn", "--stage", "ast"],
    ] {
        let mut child = command(folder.path(), arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("runs");
        drop(child.stdout.take());
        let run = finish(child.wait_with_output().expect("ends"));
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn failures_are_json_where_json_is_asked_for() {
    let folder = folder();
    let run = attnc(
        folder.path(),
        &[
            "emit",
            "good.attn",
            "--stage",
            "spec",
            "--name",
            "x",
            "--error-format",
            "json",
        ],
    );
    let value: Value = serde_json::from_str(run.err.trim_end()).expect("one object");
    assert_eq!(
        (run.code, value["severity"].as_str()),
        (Some(1), Some("error"))
    );
    assert!(
        value["message"]
            .as_str()
            .is_some_and(|m| m.contains("no attention `x`"))
    );
}

#[test]
fn the_version_tells_commit_and_features() {
    let run = attnc(Path::new("."), &["--version"]);
    assert!(
        run.out.starts_with("attnc ")
            && run.out.contains("commit: ")
            && run.out.contains("features: "),
        "{}",
        run.out
    );
}

#[test]
fn a_thousand_lines_are_checked_quickly() {
    let folder = folder();
    let text: String = (0..150)
        .map(|i| {
            GOOD.replace("edition 1\n\n", "")
                .replace("one", &format!("one{i}"))
                .replace("two", &format!("two{i}"))
        })
        .collect();
    fs::write(folder.path().join("long.attn"), &text).expect("can be written");
    assert!(text.lines().count() >= 1000);
    let started = std::time::Instant::now();
    assert_eq!(attnc(folder.path(), &["check", "long.attn"]).code, Some(0));
    // The goal is 10 ms in a release build; this only catches what is hopeless.
    assert!(
        started.elapsed().as_millis() < 1000,
        "{:?}",
        started.elapsed()
    );
}

/// What cannot be shared runs as `each`, with a note; what can, without.
#[test]
fn branches_that_cannot_be_shared_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let operator = |name: &str, more: &str| {
        format!(
            "attention {name} {{ heads = 2, head_dim = 4{more}\n branch {{ segment = 64 }}\n branch {{ segment = 128, dilation = 2 }} }}\n"
        )
    };
    let text = operator("shared", "") + &operator("apart", ", zero_lse = uncovered");
    std::fs::write(folder.path().join("o.attn"), text).expect("written");
    let verbs = [["run", "--seq-len", "200"], ["build", "--output", "out"]];
    for (name, noted) in [("shared", false), ("apart", true)] {
        for (plan, verb) in ["share", "each"]
            .into_iter()
            .flat_map(|p| verbs.map(|v| (p, v)))
        {
            let out = std::process::Command::new(env!("CARGO_BIN_EXE_attnc-under-test"))
                .args(verb)
                .args(["o.attn", "--name", name, "--plan", plan])
                .current_dir(folder.path())
                .env_clear()
                .output()
                .expect("runs");
            let err = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{err}");
            let found = err.contains(
                "2 of the branches cannot share scores and run as `each`: (64, 1), (128, 2)",
            );
            assert_eq!(
                found,
                noted && plan == "share",
                "{verb:?} {name} {plan}: {err}"
            );
        }
    }
}
