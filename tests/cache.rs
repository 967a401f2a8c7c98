// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The kernel cache as processes see it: many at once, killed ones, no room, no place. Never a wrong kernel, never a failure: what cannot
//! be cached is compiled. Data: small operators, made on the spot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

fn text(name: &str, segment: u32) -> String {
    format!(
        "attention {name} {{ heads = 2, head_dim = 8, branch {{ segment = {segment} }} branch {{ segment = {}, dilation = 2 }} }}\n",
        2 * segment
    )
}

/// A folder with `op0.attn` to `op3.attn`; the cache comes to `cache`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for i in 0..4 {
        let text = text(&format!("op{i}"), 8 << i);
        fs::write(folder.path().join(format!("op{i}.attn")), text).expect("can be written");
    }
    folder
}

fn attnc(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnc-under-test"));
    command.args(arguments).current_dir(folder).env_clear();
    command.env("ATTNC_CACHE_DIR", "cache");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    command
}

const RUN: [&str; 8] = [
    "--seq-len",
    "50",
    "--verify",
    "--json",
    "--threads",
    "1",
    "--target",
    "native",
];

fn start(folder: &Path, file: &str) -> Child {
    let mut command = attnc(folder, &["run", file]);
    command.args(RUN).spawn().expect("the command runs")
}

/// The report of a run that went well and was right.
fn report(output: &Output) -> Value {
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{err}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["verified"], true);
    report
}

fn run(folder: &Path, file: &str) -> (Value, String) {
    let output = start(folder, file).wait_with_output().expect("ends");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (report(&output), told)
}

fn warnings(told: &str) -> usize {
    told.lines().filter(|l| l.starts_with("warning:")).count()
}

#[test]
fn one_kernel_serves_every_length_and_batch() {
    let folder = folder();
    let run = |arguments: &[&str]| {
        let mut command = attnc(folder.path(), &["run", "op0.attn", "--json", "--verify"]);
        let output = command.args(arguments).output().expect("runs");
        report(&output)["cache"]
            .as_str()
            .expect("a word")
            .to_owned()
    };
    assert_eq!(run(&["--seq-len", "100"]), "miss");
    assert_eq!(
        run(&["--seq-len", "5001", "--batch", "2", "--threads", "2"]),
        "hit"
    );
    assert_eq!(run(&["--seq-len", "100", "--plan", "each"]), "miss");
    assert_eq!(run(&["--seq-len", "100", "--plan", "each"]), "hit");
    assert_eq!(run(&["--seq-len", "100", "--no-cache"]), "off");
    assert_eq!(run(&["--seq-len", "100", "--backend", "oracle"]), "off");
    // Spelling is no part of the key, a name is.
    let spelt = text("op0", 8).replace(
        "{ heads",
        "{\n  // a comment\n  scale = 1 / sqrt(8)\n  heads",
    );
    fs::write(folder.path().join("op0.attn"), spelt).expect("can be written");
    assert_eq!(run(&["--seq-len", "9"]), "hit");
    fs::write(folder.path().join("op0.attn"), text("renamed", 8)).expect("can be written");
    assert_eq!(run(&["--seq-len", "9"]), "miss");
}

#[test]
fn the_verb_tells_the_place_and_size_and_empties_it() {
    let folder = folder();
    let cache = |action: &str| {
        let output = attnc(folder.path(), &["cache", action]).output();
        let output = output.expect("runs");
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert_eq!(cache("path"), "cache\n");
    assert_eq!(
        cache("stat"),
        "cache: 0 kernels, 0 B of at most 256.0 MiB\n"
    );
    run(folder.path(), "op0.attn");
    assert!(cache("stat").starts_with("cache: 1 kernel, "));
    run(folder.path(), "op1.attn");
    assert!(cache("clear").starts_with("cache: 2 kernels, "));
    assert_eq!(cache("clear"), "cache: 0 kernels, 0 B removed\n");
    for (name, value, want) in [
        ("HOME", "/h", "/h/.cache/attnc\n"),
        ("XDG_CACHE_HOME", "/x", "/x/attnc\n"),
    ] {
        let mut command = attnc(folder.path(), &["cache", "path"]);
        command.env_remove("ATTNC_CACHE_DIR").env(name, value);
        let output = command.output().expect("runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), want);
    }
    // Nowhere to be: a run goes without, silently; the verb says so.
    let mut command = attnc(folder.path(), &["cache", "stat"]);
    let output = command.env_remove("ATTNC_CACHE_DIR").output();
    assert_eq!(output.expect("runs").status.code(), Some(1));
    let mut command = attnc(folder.path(), &["run", "op0.attn"]);
    let output = command.args(RUN).env_remove("ATTNC_CACHE_DIR").output();
    let output = output.expect("runs");
    assert_eq!(report(&output)["cache"], "off");
    assert_eq!(warnings(&String::from_utf8_lossy(&output.stderr)), 0);
}

#[test]
fn sixteen_processes_at_once_get_right_kernels() {
    let folder = folder();
    let children: Vec<(usize, Child)> = (0..16)
        // Half of them the same operator, the others each of four.
        .map(|i| if i % 2 == 0 { 0 } else { (i / 2) % 4 })
        .map(|op| (op, start(folder.path(), &format!("op{op}.attn"))))
        .collect();
    for (op, child) in children {
        let output = child.wait_with_output().expect("ends");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = report(&output);
        assert_eq!(report["operator"], format!("op{op}"));
        assert!(report["cache"] == "hit" || report["cache"] == "miss");
        assert_eq!(warnings(&told), 0, "{told}");
    }
    for i in 0..4 {
        let (report, _) = run(folder.path(), &format!("op{i}.attn"));
        assert_eq!(report["cache"], "hit");
    }
    let names = fs::read_dir(folder.path().join("cache")).expect("there");
    assert_eq!(names.count(), 4, "nothing unfinished stays");
}

#[test]
fn processes_killed_at_any_moment_leave_a_whole_cache() {
    let folder = folder();
    let mut wait = 0x9e37_79b9_u64;
    for i in 0..40 {
        wait = wait.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let file = format!("op{}.attn", i % 4);
        let mut child = start(folder.path(), &file);
        std::thread::sleep(Duration::from_micros((wait >> 33) % 60_000));
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().expect("ends");
    }
    for i in 0..4 {
        for _ in 0..2 {
            let (report, told) = run(folder.path(), &format!("op{i}.attn"));
            assert_eq!(report["operator"], format!("op{i}"));
            assert_eq!(warnings(&told), 0, "{told}");
        }
        let (report, _) = run(folder.path(), &format!("op{i}.attn"));
        assert_eq!(report["cache"], "hit");
    }
}

#[test]
fn damage_is_told_once_and_mended() {
    let folder = folder();
    run(folder.path(), "op0.attn");
    let entry = fs::read_dir(folder.path().join("cache")).expect("there");
    let entry = entry.last().expect("one").expect("readable").path();
    let good = fs::read(&entry).expect("readable");
    // The mark, the key, the code, the checksum; half of it; all of another.
    for at in [0, 20, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&entry, &bad).expect("writable");
        let (report, told) = run(folder.path(), "op0.attn");
        assert_eq!(
            (&report["cache"], warnings(&told)),
            (&"miss".into(), 1),
            "{told}"
        );
        let (report, told) = run(folder.path(), "op0.attn");
        assert_eq!((&report["cache"], warnings(&told)), (&"hit".into(), 0));
    }
    fs::write(&entry, &good[..good.len() / 2]).expect("writable");
    assert_eq!(warnings(&run(folder.path(), "op0.attn").1), 1);
    run(folder.path(), "op1.attn");
    let other = fs::read_dir(folder.path().join("cache")).expect("there");
    let other = other
        .map(|e| e.expect("readable").path())
        .find(|p| *p != entry);
    fs::copy(other.expect("two"), &entry).expect("writable");
    let (report, told) = run(folder.path(), "op0.attn");
    assert_eq!(report["operator"], "op0");
    assert_eq!(warnings(&told), 1, "{told}");
}

#[test]
fn a_full_disk_and_a_folder_open_to_others_cost_a_warning_each() {
    let folder = folder();
    // Files beyond 8 KiB fail to be written, as on a full disk: the signal that would tell is ignored.
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\""]);
    shell.arg(env!("CARGO_BIN_EXE_attnc-under-test"));
    shell
        .args(["run", "op0.attn"])
        .args(RUN)
        .current_dir(folder.path());
    shell.env("ATTNC_CACHE_DIR", "cache").stdin(Stdio::null());
    let output = shell.output().expect("a shell");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(report(&output)["cache"], "off");
    assert_eq!(warnings(&told), 1, "{told}");
    let cache = folder.path().join("cache");
    let names = fs::read_dir(&cache).expect("there");
    assert_eq!(names.count(), 0, "nothing half-written stays");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).expect("ours");
    let (report, told) = run(folder.path(), "op0.attn");
    assert_eq!(report["cache"], "off");
    assert!(warnings(&told) == 1 && told.contains("chmod 700"), "{told}");
}
