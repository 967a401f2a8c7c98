// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is printed is what runs: the text of the stages graph and fused as input of `attnc run`, and the proof between them.
//!
//! In: dsl/examples. Out: the same bits from the text of a stage as from the operator; an edit that shows; words that do not go with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use attnc_tensor::TensorFile;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn attnc(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnc-under-test"));
    command.args(arguments).current_dir(folder);
    let output = command
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("the command runs");
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

fn good(folder: &Path, arguments: &[&str]) -> String {
    let r = attnc(folder, arguments);
    assert_eq!(r.code, Some(0), "{arguments:?}: {}", r.err);
    r.out
}

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dsl/examples");
    let files = fs::read_dir(folder).expect("examples");
    let mut files: Vec<PathBuf> = files.map(|f| f.expect("readable").path()).collect();
    files.retain(|f| f.extension().is_some_and(|x| x == "attn"));
    files.sort();
    assert!(files.len() > 10);
    files
}

fn bits(path: &Path) -> Vec<Vec<f64>> {
    let file = TensorFile::open(path).expect("written");
    ["out", "lse"]
        .map(|t| file.load(t).expect("there").to_f64())
        .to_vec()
}

#[test]
fn the_text_of_a_stage_gives_the_bits_of_the_operator() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    for file in examples() {
        let file = file.to_str().expect("UTF-8");
        let size = ["--seq-len", "70", "--batch", "2", "-q", "--output"];
        let operator = [&["run", file][..], &size, &["want.st"]].concat();
        good(folder, &operator);
        let want = bits(&folder.join("want.st"));
        for stage in ["graph", "fused"] {
            good(
                folder,
                &["emit", file, "--stage", stage, "-q", "-o", "text"],
            );
            let text = [&["run", "text"][..], &size, &["got.st"]].concat();
            good(folder, &text);
            assert!(want == bits(&folder.join("got.st")), "{file} {stage}");
        }
    }
}

#[test]
fn printed_graphs_are_read_back_under_every_plan() {
    let dir = tempfile::tempdir().expect("a folder");
    for file in examples() {
        let file = file.to_str().expect("UTF-8");
        for plan in ["share", "each", "auto"] {
            for stage in ["graph", "fused"] {
                let emit = ["emit", file, "--stage", stage, "--plan", plan, "-q"];
                let text = good(dir.path(), &emit);
                let graph = attnc_graph::parse(&text).expect(file);
                assert_eq!(attnc_graph::print(&graph), text);
                let json = good(dir.path(), &[&emit[..], &["--format", "json"]].concat());
                assert!(
                    attnc_graph::from_json(&json).expect(file) == graph,
                    "{file}"
                );
            }
        }
    }
}

const OP: &str = "attention op { heads = 2, head_dim = 4\n branch { segment = 4, dilation = 2 }\n branch { segment = 8 } }";

#[test]
fn an_edit_in_the_text_shows_in_the_result() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    fs::write(folder.join("op.attn"), OP).expect("written");
    let fused = good(folder, &["emit", "op.attn", "--stage", "fused"]);
    let graph = good(folder, &["emit", "op.attn", "--stage", "graph"]);
    assert!(fused.contains("1 br(4, 2)") && graph.contains("scale 0.5"));
    let edits = [
        (
            "fused",
            fused.clone(),
            fused.replace("1 br(4, 2)", "3 br(4, 2)"),
        ),
        (
            "graph",
            graph.clone(),
            graph.replace("scale 0.5", "scale 0.75"),
        ),
    ];
    for (stage, text, edited) in edits {
        for backend in ["cpu", "interp-tile", "interp-graph"] {
            let mut results = Vec::new();
            for (name, text) in [("a", &text), ("b", &edited)] {
                fs::write(folder.join(name), text).expect("written");
                let to = format!("{name}.st");
                let words = ["run", name, "--seq-len", "16", "--backend", backend];
                good(folder, &[&words[..], &["--output", &to]].concat());
                results.push(bits(&folder.join(to)));
            }
            assert!(results[0] != results[1], "{stage} {backend}");
        }
    }
}

#[test]
fn words_that_need_an_operator_are_usage_errors() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    fs::write(folder.join("op.attn"), OP).expect("written");
    for stage in ["graph", "fused"] {
        good(folder, &["emit", "op.attn", "--stage", stage, "-o", "text"]);
        for words in [
            &["--verify"][..],
            &["--plan", "each"],
            &["--without", "flash"],
            &["--backend", "oracle"],
            &["--name", "op"],
        ] {
            let all = [&["run", "text", "--seq-len", "16"][..], words].concat();
            let r = attnc(folder, &all);
            assert_eq!(r.code, Some(2), "{all:?}: {}", r.err);
            let named = format!("the text of the stage {stage}");
            assert!(
                r.err.contains(&named) && r.err.contains(words[0]),
                "{}",
                r.err
            );
        }
    }
}

/// Tile programs that must not reach machine code: each did, and crashed, hung or left rows as they were.
#[test]
fn damaged_programs_are_refused_before_they_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    fs::write(folder.join("op.attn"), OP).expect("written");
    let tile = good(folder, &["emit", "op.attn", "--stage", "tile"]);
    let plan = tile.find("clipped[%").expect("the plan writes its table");
    let plan = tile[..plan].rfind("for %").expect("in a loop");
    let header = tile[plan..].lines().next().expect("a line");
    let empty = header.replace("..2 {", "..0 {");
    assert_ne!(header, empty);
    let tasks = tile.find("tasks ").expect("a plan ends with its tasks");
    let tasks = tile[tasks..].lines().next().expect("a line");
    let inside = "covered[%1000] = 0\n";
    for (from, to, want) in [
        (header, &*empty, "not surely written whole"),
        (tasks, "tasks 0", "rule 18 (Race)"),
        (
            "body {\n",
            &format!(
                "body {{\n %1001 = N\n %1002 = %1001 + 9223372036854775807\n %1000 = %1002 >> 62\n {inside}"
            ),
            "",
        ),
        (
            "body {\n",
            "body {\n for %1000 in 0..9223372036854775807 by 9223372036854775806 {\n }\n",
            "rule 8",
        ),
        ("any[1]", "any[1] in 5..=6", "starts as 0"),
        ("causal false", "causal true", "never compared"),
    ] {
        let text = tile.replacen(from, to, 1);
        assert_ne!(text, tile, "{from}");
        fs::write(folder.join("text"), text).expect("written");
        for backend in ["cpu", "interp-tile"] {
            let arguments = ["run", "text", "--seq-len", "16", "--backend", backend];
            let r = attnc(folder, &arguments);
            assert_eq!(r.code, Some(1), "{to} on {backend}: {}", r.err);
            assert!(r.err.contains(want), "{to} on {backend}: {}", r.err);
        }
    }
    // A byte order mark is no mistake.
    fs::write(folder.join("text"), format!("\u{feff}{tile}")).expect("written");
    good(folder, &["run", "text", "--seq-len", "16"]);
}

#[test]
fn mistakes_in_the_text_name_line_column_and_rule() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path();
    fs::write(folder.join("op.attn"), OP).expect("written");
    let fused = good(folder, &["emit", "op.attn", "--stage", "fused"]);
    for (from, to, want) in [
        ("1 br(4, 2)", "0 br(4, 2)", "G03"),
        ("finish %", "finish %9", "G01"),
        (" : bag", " : bog", "G09"),
        ("fused 1", "fused 9", "version 9"),
        ("fused 1", "fused one", "one"),
        ("heads = 2", "heads = 0", "G07"),
    ] {
        fs::write(folder.join("text"), fused.replacen(from, to, 1)).expect("written");
        let r = attnc(folder, &["run", "text", "--seq-len", "16"]);
        assert_eq!(r.code, Some(1), "{to}: {}", r.err);
        assert!(
            r.err.contains("text: line ") && r.err.contains(want),
            "{}",
            r.err
        );
    }
}

#[test]
fn the_proof_leads_from_one_printed_stage_to_the_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let number = |text: &str| text.parse::<i128>().expect("a number");
    for file in examples() {
        let file = file.to_str().expect("UTF-8");
        let stage = |s| good(dir.path(), &["emit", file, "--stage", s, "-q"]);
        let text = good(dir.path(), &["explain", file, "-q"]);
        assert!(text.starts_with(&stage("graph")), "{file}");
        assert!(
            text.contains(&format!("\n\n{}\nsaved by rule", stage("fused"))),
            "{file}"
        );
        // `N. rule: P products, B bytes`: the steps add up to what the ends differ by.
        let mut sums = [0, 0];
        for line in text.lines() {
            let Some((head, saved)) = line.split_once(": ") else {
                continue;
            };
            let Some((count, _)) = head.split_once(". ") else {
                continue;
            };
            if count.parse::<u32>().is_err() {
                continue;
            }
            let words: Vec<&str> = saved.split_whitespace().collect();
            sums[0] += number(words[0]);
            sums[1] += number(words[2]);
        }
        let last = text.lines().last().expect("a line").replace(',', "");
        let words: Vec<&str> = last.split_whitespace().collect();
        let ends = [1, 5].map(|i| number(words[i]) - number(words[i + 2]));
        assert_eq!(sums, ends, "{file}: {last}");
    }
}
