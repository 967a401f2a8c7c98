// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc run` at its edges: damaged and foreign files, NaN and infinity, empty and impossible sizes, places that cannot be written.
//! Nothing panics, nothing is half-written. Data: made on the spot.

#[path = "support/run.rs"]
mod support;

use std::fs;

use attnc_tensor::{Storage, TensorFile};
use serde_json::Value;
use support::*;

#[test]
fn damaged_and_foreign_files_are_refused_and_nothing_is_written() {
    let folder = folder();
    let bytes = fs::read(good(folder.path())).expect("written");
    let path = folder.path().join("bad.safetensors");
    let q = tensor(Storage::F32, &[2, 21, 4, 8]);
    let k = tensor(Storage::F32, &[2, 21, 2, 8]);
    let attempt = |message: &str| {
        let arguments = [
            "op.attn",
            "--input",
            "bad.safetensors",
            "--output",
            "y.safetensors",
        ];
        let r = run(folder.path(), &arguments);
        assert_eq!(r.code, Some(1), "{message}: {}", r.err);
        assert!(
            r.err.contains(message) && r.err.contains("bad.safetensors"),
            "{message}: {}",
            r.err
        );
        assert!(!r.err.contains("panicked") && r.out.is_empty(), "{}", r.err);
        assert_eq!(r.err.matches("error:").count(), 1, "{}", r.err);
        assert_only(
            folder.path(),
            &["bad.safetensors", "good.safetensors", "op.attn"],
        );
    };
    for cut in [0, 5, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..cut]).expect("can be written");
        attempt("truncated");
    }
    fs::write(&path, [&bytes[..], b"x"].concat()).expect("can be written");
    attempt("trailing data");
    fs::write(&path, OP.repeat(4)).expect("can be written");
    attempt("not a safetensors file");
    fs::write(&path, [&40u64.to_le_bytes()[..], &[b'{'; 40]].concat()).expect("can be written");
    attempt("not a valid safetensors file");
    write(&path, &[("q", &q), ("k", &k)]);
    attempt("no tensor `v` (it has: k, q)");
    write(&path, &[("q", &k), ("k", &k), ("v", &k)]);
    attempt("takes [B, N, 4, 8]");
    write(&path, &[("q", &q), ("k", &q), ("v", &k)]);
    attempt("tensor `k`");
    write(
        &path,
        &[
            ("q", &q),
            ("k", &k),
            ("v", &tensor(Storage::F32, &[2, 20, 2, 8])),
        ],
    );
    attempt("tensor `v`");
    write(
        &path,
        &[("q", &tensor(Storage::F32, &[4, 8])), ("k", &k), ("v", &k)],
    );
    attempt("has shape [4, 8]");
    // An integer tensor of the right shape.
    let header = br#"{"q":{"dtype":"I64","shape":[1,1,4,8],"data_offsets":[0,256]},"k":{"dtype":"F32","shape":[1,1,2,8],"data_offsets":[256,320]},"v":{"dtype":"F32","shape":[1,1,2,8],"data_offsets":[320,384]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    fs::write(&path, [&length[..], header, &[0; 384]].concat()).expect("can be written");
    attempt("dtype I64");
    fs::remove_file(&path).expect("there");
    fs::create_dir(&path).expect("can be made");
    attempt("cannot read");
    fs::remove_dir(&path).expect("there");
    let r = run(folder.path(), &["op.attn", "--input", "none.safetensors"]);
    assert_eq!(
        (r.code, r.err.contains("none.safetensors")),
        (Some(1), true)
    );
}

#[test]
fn nan_and_infinity_reach_the_rows_that_see_them_and_no_others() {
    let folder = folder();
    let file = TensorFile::open(&good(folder.path())).expect("written");
    let [q, k, clean] = ["q", "k", "v"].map(|n| file.load(n).expect("there"));
    let mut v = clean;
    // Batch 0, position 4, key/value head 0 (query heads 0 and 1), dimension 3.
    v.set(4 * 2 * 8 + 3, f64::NAN);
    write(&folder.path().join("x"), &[("q", &q), ("k", &k), ("v", &v)]);
    let r = run(
        folder.path(),
        &[
            "op.attn", "--input", "x", "--output", "y", "--verify", "--json",
        ],
    );
    assert_eq!(r.code, Some(0), "{}", r.err);
    let out = TensorFile::open(&folder.path().join("y"))
        .expect("written")
        .load("out")
        .expect("there");
    for b in 0..2usize {
        for n in 0..21usize {
            for h in 0..4usize {
                // Head 0 sees position 4 from 4 and 6 (segment 8, even places) and 4, 8, 12 (segment 16, every fourth).
                let sees = b == 0 && h == 0 && [4, 6, 8, 12].contains(&n);
                let at = ((b * 21 + n) * 4 + h) * 8;
                let nan = (0..8).filter(|d| out.get(at + d).is_nan()).count();
                assert_eq!(nan, if sees { 8 } else { 0 }, "b {b} n {n} h {h}");
            }
        }
    }
    let mut k = k;
    k.set(0, f64::INFINITY);
    write(&folder.path().join("x"), &[("q", &q), ("k", &k), ("v", &v)]);
    let r = run(
        folder.path(),
        &["op.attn", "--input", "x", "--verify", "--json"],
    );
    assert_eq!(
        (r.code, r.err.contains("panicked")),
        (Some(0), false),
        "{}",
        r.err
    );
}

#[test]
fn empty_sizes_succeed() {
    let folder = folder();
    for (b, n) in [("0", "5"), ("3", "0"), ("0", "0")] {
        let arguments = [
            "op.attn",
            "--seq-len",
            n,
            "--batch",
            b,
            "--output",
            "y",
            "--verify",
            "--json",
        ];
        let r = run(folder.path(), &arguments);
        assert_eq!(r.code, Some(0), "{}", r.err);
        let report = json(&r);
        assert_eq!(
            (&report["verified"], &report["rows_checked"]),
            (&true.into(), &0.into())
        );
        let y = TensorFile::open(&folder.path().join("y")).expect("written");
        let (b, n) = (b.parse().expect("a number"), n.parse().expect("a number"));
        assert_eq!(y.shape("out").expect("there"), [b, n, 4, 8]);
        assert_eq!(y.shape("lse").expect("there"), [b, 4, n]);
    }
    let empty = |h| tensor(Storage::Bf16, &[1, 0, h, 8]);
    write(
        &folder.path().join("x"),
        &[("q", &empty(4)), ("k", &empty(2)), ("v", &empty(2))],
    );
    let r = run(folder.path(), &["op.attn", "--input", "x", "--verify"]);
    assert_eq!(r.code, Some(0), "{}", r.err);
}

#[test]
fn sizes_beyond_memory_are_refused_at_once() {
    let folder = folder();
    for (n, b) in [
        ("1024G", "1"),
        ("18446744073709551615", "1"),
        ("16777215G", "16777215G"),
        ("1", "1024G"),
    ] {
        let start = std::time::Instant::now();
        let r = run(
            folder.path(),
            &["op.attn", "--seq-len", n, "--batch", b, "--output", "y"],
        );
        assert_eq!(r.code, Some(1), "{}", r.err);
        assert!(r.err.contains("are available"), "{}", r.err);
        assert!(start.elapsed().as_secs() < 5);
        assert_only(folder.path(), &["op.attn"]);
    }
}

#[test]
fn thread_counts_are_bounded_on_every_backend() {
    let folder = folder();
    for backend in ["cpu", "interp-graph", "interp-tile", "oracle"] {
        for (threads, code) in [("1025", 2), ("18446744073709551615", 2), ("64", 0)] {
            let mut command = command(
                folder.path(),
                &["op.attn", "--seq-len", "8", "--threads", threads],
            );
            command.args(["--backend", backend, "--verify=all"]);
            let r = finish(command.output().expect("the command runs"));
            assert_eq!(r.code, Some(code), "{backend} {threads}: {}", r.err);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_the_address_space_is_seen_before_allocation() {
    let folder = folder();
    let command = command(folder.path(), &["op.attn", "--seq-len", "16M"]);
    // A gigabyte and a half of tensors; a limit of one.
    let limited = std::process::Command::new("sh")
        .args(["-c", "ulimit -v 1000000; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(folder.path())
        .output();
    let r = finish(limited.expect("sh runs"));
    assert_eq!(r.code, Some(1), "{}", r.err);
    assert!(r.err.contains("are available"), "{}", r.err);
}

#[test]
fn usage_errors_name_the_argument_and_are_json_where_json_is_asked_for() {
    let folder = folder();
    for (arguments, says) in [
        (&["--seq-len", "-1"][..], "'-1' for '--seq-len"),
        (
            &["--seq-len", "8", "--threads", "-2"],
            "'-2' for '--threads",
        ),
        (
            &["--seq-len", "8", "--without", "sharing"],
            "no rewrite rule `sharing`; the rules are flash,",
        ),
        (&[], "--seq-len"),
    ] {
        for json in [false, true] {
            let mut command = command(folder.path(), &["op.attn"]);
            command.args(arguments);
            if json {
                command.args(["--error-format", "json"]);
            }
            let r = finish(command.output().expect("the command runs"));
            assert_eq!(r.code, Some(2), "{arguments:?}: {}", r.err);
            assert!(r.err.contains(says), "{arguments:?}: {}", r.err);
            if json {
                let last = r.err.lines().last().expect("a line");
                let line: Value = serde_json::from_str(last).expect("one object");
                assert_eq!(
                    (&line["severity"], &line["file"]),
                    (&"error".into(), &Value::Null)
                );
                assert!(
                    line["message"].as_str().is_some_and(|m| m.contains(says)),
                    "{line}"
                );
            }
        }
    }
}

#[test]
fn outputs_that_cannot_be_written_are_errors() {
    let folder = folder();
    let mut places = vec!["missing/y", "op.attn/y", "."];
    if cfg!(target_os = "linux") {
        places.extend(["/dev/full", "/proc/y"]);
    }
    for place in places {
        let r = run(
            folder.path(),
            &["op.attn", "--seq-len", "9", "--output", place],
        );
        assert_eq!(r.code, Some(1), "{place}: {}", r.err);
        assert!(
            r.err.contains(&format!("cannot write {place}")),
            "{place}: {}",
            r.err
        );
        // The name of the file written beside is nobody's business.
        assert!(r.out.is_empty() && !r.err.contains("tmp"), "{}", r.err);
        assert_only(folder.path(), &["op.attn"]);
    }
}

#[cfg(unix)]
#[test]
fn read_only_folders_are_reported_before_the_work() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).expect("can be made");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).expect("ours");
    // A superuser may write anyway; then there is nothing to see.
    let anyway = fs::write(locked.join("probe"), "").is_ok();
    if !anyway {
        let r = run(
            folder.path(),
            &["op.attn", "--seq-len", "9", "--output", "locked/y"],
        );
        assert_eq!(r.code, Some(1), "{}", r.err);
        assert!(r.err.contains("cannot write locked/y"), "{}", r.err);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn full_and_closed_standard_output() {
    let folder = folder();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("Linux has it");
    let mut c = command(
        folder.path(),
        &[
            "op.attn",
            "--seq-len",
            "9",
            "-q",
            "--backend",
            "oracle",
            "--json",
        ],
    );
    let r = finish(c.stdout(full).output().expect("runs"));
    assert_eq!(r.code, Some(1));
    assert!(r.err.contains("standard output"), "{}", r.err);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut c = command(
        folder.path(),
        &["op.attn", "--seq-len", "9", "-q", "--backend", "oracle"],
    );
    let r = finish(c.stdout(writer).output().expect("runs"));
    assert_eq!((r.code, r.err.as_str()), (Some(0), ""));
    // Tensors written to a pipe that nobody reads.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let arguments = [
        "op.attn",
        "--seq-len",
        "9",
        "-q",
        "--backend",
        "oracle",
        "--output",
        "/dev/stdout",
    ];
    let r = finish(
        command(folder.path(), &arguments)
            .stdout(writer)
            .output()
            .expect("runs"),
    );
    assert_eq!((r.code, r.err.as_str()), (Some(0), ""));
}

#[test]
fn what_is_to_come_says_so() {
    let folder = folder();
    for extra in [
        &["--backend", "cuda"][..],
        &["--backend", "ptx-emulator"],
        &["--backend", "oracle", "--grad"],
    ] {
        let mut c = command(folder.path(), &["op.attn", "--seq-len", "9", "-q"]);
        let r = finish(c.args(extra).output().expect("runs"));
        assert_eq!(
            (r.code, r.err.contains("not built yet")),
            (Some(1), true),
            "{}",
            r.err
        );
    }
}
