// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `attnc run` through the command line: golden data, reports, seeds, input types. Data: golden/, and made on the spot.

#[path = "support/run.rs"]
mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use attnc_tensor::measure::frobenius;
use attnc_tensor::{Storage, TensorFile};
use serde_json::Value;
use support::*;

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
