// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc run` through the command line: golden data, reports, and bad input of every kind. Nothing panics, nothing is half-written.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use attnc_tensor::measure::frobenius;
use attnc_tensor::{Storage, Tensor, TensorFile, write_safetensors};
use serde_json::Value;

const OP: &str = "attention op { heads = 4, kv_heads = 2, head_dim = 8, causal = true, branch { segment = 8, dilation = 2 } branch { segment = 16, dilation = 4 } }\n";

struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnc-under-test"));
    command.arg("run").args(arguments).current_dir(folder);
    command.env_clear().stdin(Stdio::null());
    command
}

fn finish(output: Output) -> Run {
    Run {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Runs with `--backend oracle`.
fn run(folder: &Path, arguments: &[&str]) -> Run {
    let mut command = command(folder, arguments);
    command.args(["--backend", "oracle"]);
    finish(command.output().expect("the command runs"))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("op.attn"), OP).expect("can be written");
    folder
}

fn write(path: &Path, tensors: &[(&str, &Tensor)]) {
    let mut file = fs::File::create(path).expect("can be created");
    write_safetensors(&mut file, tensors, &[]).expect("can be written");
}

fn tensor(storage: Storage, shape: &[usize]) -> Tensor {
    attnc_tensor::normal_tensor(storage, shape, 1, 0).expect("small")
}

/// `good.safetensors` for `op.attn`: batch 2, 21 tokens, in float64, with a tensor that is ignored.
fn good(folder: &Path) -> PathBuf {
    let path = folder.join("good.safetensors");
    let q = tensor(Storage::F64, &[2, 21, 4, 8]);
    let k = tensor(Storage::F64, &[2, 21, 2, 8]);
    write(&path, &[("q", &q), ("k", &k), ("v", &k), ("extra", &q)]);
    path
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}: {}{}", run.out, run.err))
}

/// Nothing but the named files is in the folder.
fn assert_only(folder: &Path, names: &[&str]) {
    let mut found: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    found.sort();
    assert_eq!(found, names);
}

#[test]
fn golden_files_run_through_the_command_line() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    let manifest = fs::read_to_string(golden.join("manifest.json")).expect("a manifest");
    let cases: Vec<Value> = serde_json::from_str(&manifest).expect("a list");
    assert_eq!(cases.len(), 26);
    let folder = tempfile::tempdir().expect("a folder");
    for c in &cases {
        let name = c["name"].as_str().expect("a name");
        let branches: String = (c["segment_lengths"].as_array().expect("a list").iter())
            .zip(c["dilation_rates"].as_array().expect("a list"))
            .map(|(w, r)| format!("    branch {{ segment = {w}, dilation = {r} }}\n"))
            .collect();
        let text = format!(
            "attention original {{\n    heads = {}, head_dim = {}, causal = {}, semantics = torchscale\n{branches}}}\n\
             attention regular = original with {{ semantics = paper, offsets = blocked }}\n",
            c["heads"], c["head_dim"], c["causal"],
        );
        fs::write(folder.path().join("g.attn"), text).expect("can be written");
        let input = golden.join(format!("{name}.safetensors"));
        let want = TensorFile::open(&input).expect("golden");
        for (op, prefix) in [("original", ""), ("regular", "masked_")] {
            let arguments = [
                "g.attn",
                "--name",
                op,
                "--input",
                input.to_str().expect("UTF-8"),
                "--output",
                "y.safetensors",
                "--verify",
                "--json",
                "-q",
            ];
            let r = run(folder.path(), &arguments);
            assert_eq!(r.code, Some(0), "{name} {op}: {}", r.err);
            assert_eq!(json(&r)["verified"], true, "{name} {op}");
            let got = TensorFile::open(&folder.path().join("y.safetensors")).expect("written");
            for tensor in ["out", "lse"] {
                let stored = format!("{prefix}{tensor}");
                let have = want.names().contains(&stored);
                let want = want
                    .load(if have { &stored } else { tensor })
                    .expect("golden");
                let got = got.load(tensor).expect("written");
                assert_eq!(got.storage(), Storage::F32);
                assert_eq!(got.shape(), want.shape());
                let w: Vec<f64> = want
                    .to_f64()
                    .into_iter()
                    .map(|x| if x <= -9e7 { f64::NEG_INFINITY } else { x })
                    .collect();
                let finite = |x: &f64| if x.is_finite() { *x } else { 0.0 };
                assert!(
                    got.to_f64()
                        .iter()
                        .zip(&w)
                        .all(|(g, w)| g.is_finite() == w.is_finite())
                );
                let error = frobenius(got.to_f64().iter().map(finite), w.iter().map(finite));
                assert!(error < 2e-7, "{name} {stored}: {error}");
            }
        }
    }
}

#[test]
fn the_json_report_has_the_contracted_keys() {
    let folder = folder();
    let arguments = [
        "op.attn",
        "--seq-len",
        "1k",
        "--repeat",
        "3",
        "--threads",
        "1",
        "--json",
        "--verify",
    ];
    let r = run(folder.path(), &arguments);
    assert_eq!(r.code, Some(0), "{}", r.err);
    let report = json(&r);
    let keys: Vec<&String> = report.as_object().expect("an object").keys().collect();
    let want = "operator target kernel backend dtype batch seq_len heads kv_heads head_dim causal threads compile_ms run_ms run_ms_all gflops \
                madds_formula madds_executed peak_extra_bytes cache verified error lse_error rows_checked";
    assert_eq!(keys, want.split_whitespace().collect::<Vec<_>>());
    assert_eq!(r.out.lines().count(), 1);
    assert_eq!(report["run_ms_all"].as_array().expect("a list").len(), 3);
    // 2 * 4 * 8 * 1024 * (8/4 + 16/16) / 2
    assert_eq!(report["madds_formula"], 98304);
    assert_eq!(
        (&report["threads"], &report["batch"], &report["causal"]),
        (&1.into(), &1.into(), &true.into())
    );
    assert_eq!(report["rows_checked"], 4096);
    let without = run(folder.path(), &["op.attn", "--seq-len", "9", "--json"]);
    assert!(json(&without).get("verified").is_none());
    let table = run(
        folder.path(),
        &["op.attn", "--seq-len", "9", "--verify=all"],
    );
    for word in [
        "operator",
        "op",
        "oracle",
        "verified",
        "yes, all 36 rows",
        "worst row",
    ] {
        assert!(table.out.contains(word), "{}", table.out);
    }
}

#[test]
fn the_same_seed_gives_the_same_file() {
    let folder = folder();
    let made = |seed: &str, threads: &str| {
        let arguments = [
            "op.attn",
            "--seq-len",
            "33",
            "--batch",
            "2",
            "--seed",
            seed,
            "--threads",
            threads,
            "--output",
            "y",
        ];
        let r = run(folder.path(), &arguments);
        assert_eq!(r.code, Some(0), "{}", r.err);
        fs::read(folder.path().join("y")).expect("written")
    };
    assert_eq!(made("7", "1"), made("7", "3"));
    assert_ne!(made("7", "1"), made("8", "1"));
    assert_only(folder.path(), &["op.attn", "y"]);
}

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
fn inputs_of_every_type_are_cast_and_pipes_are_read() {
    let folder = folder();
    let result = |path: &str| {
        let r = run(
            folder.path(),
            &[
                "op.attn", "--input", path, "--output", "y", "--verify", "--json",
            ],
        );
        assert_eq!(r.code, Some(0), "{}", r.err);
        let y = TensorFile::open(&folder.path().join("y")).expect("written");
        y.load("out").expect("there").to_f64()
    };
    let reference = good(folder.path());
    let file = TensorFile::open(&reference).expect("written");
    let f64_result = result("good.safetensors");
    for storage in [Storage::F32, Storage::F16, Storage::Bf16] {
        let [q, k, v] = ["q", "k", "v"].map(|n| file.load_as(n, storage).expect("there"));
        write(&folder.path().join("x"), &[("q", &q), ("k", &k), ("v", &v)]);
        let error = frobenius(result("x"), f64_result.iter().copied());
        // f32 inputs are what the f64 ones are cast to.
        assert!(
            if storage == Storage::F32 {
                error == 0.0
            } else {
                error > 1e-5 && error < 1e-1
            },
            "{storage} {error}"
        );
    }
    let mut child = command(
        folder.path(),
        &["op.attn", "--input", "/dev/stdin", "--backend", "oracle"],
    );
    let mut child = child
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("runs");
    let bytes = fs::read(&reference).expect("written");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(&bytes)
        .expect("it reads");
    let r = finish(child.wait_with_output().expect("it ends"));
    assert_eq!(r.code, Some(0), "{}", r.err);
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
    let r = run(
        folder.path(),
        &["op.attn", "--seq-len", "8", "--threads", "1000000"],
    );
    assert_eq!(r.code, Some(1), "{}", r.err);
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
        assert!(r.out.is_empty(), "{}", r.out);
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
