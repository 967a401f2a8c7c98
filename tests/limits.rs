// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Inputs made to exhaust memory, stack or time, through the command under limits of the system: 512 MiB of address space, a minute of
//! processor time. Each ends with its diagnostic.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// KiB of address space; the optimised code of the dependencies alone maps some tens of MiB.
const MEMORY: u32 = 512 << 10;
/// Seconds of processor time: an unoptimised build on a busy machine has plenty.
const SECONDS: u32 = 60;
const MEBIBYTE: usize = 1 << 20;

struct Ran {
    code: Option<i32>,
    err: String,
}

/// Runs the command under the limits; what it prints is cut.
fn attnc(folder: &Path, arguments: &[&str]) -> Ran {
    let command = env!("CARGO_BIN_EXE_attnc-under-test");
    let script = format!("ulimit -v {MEMORY} && ulimit -t {SECONDS} && exec \"$0\" \"$@\"");
    let run = Command::new("sh")
        .args(["-c", &script, command])
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("a shell runs");
    let err = String::from_utf8(run.stderr).expect("UTF-8");
    Ran {
        code: run.status.code(),
        err: err.chars().take(4000).collect(),
    }
}

/// `line(i)` repeated up to a mebibyte.
fn fill(head: &str, line: impl Fn(usize) -> String, tail: &str) -> String {
    let mut out = head.to_owned();
    for i in 0.. {
        let line = line(i);
        if out.len() + line.len() + tail.len() > MEBIBYTE {
            break;
        }
        out.push_str(&line);
    }
    out + tail
}

fn attention(body: &str) -> String {
    format!("attention a {{ heads = 1, head_dim = 1\n{body}\n branch {{ segment = 8 }} }}\n")
}

/// Texts that want too much, and the code of what is said about them.
fn hostile() -> Vec<(&'static str, String, &'static str)> {
    let half = MEBIBYTE / 2 - 100;
    let pair = |open: &str, close: &str| {
        format!(
            "let a = {}1{}\n",
            open.repeat(half / open.len()),
            close.repeat(half / open.len())
        )
    };
    vec![
        ("parentheses", pair("(", ")"), "E0110"),
        ("brackets", pair("[", "]"), "E0110"),
        (
            "open brackets",
            format!("let a = {}", "[".repeat(MEBIBYTE - 20)),
            "E0110",
        ),
        ("calls", pair("sqrt(", ")"), "E0110"),
        (
            "minus signs",
            format!("let a = {}1\n", "-".repeat(MEBIBYTE - 20)),
            "E0110",
        ),
        (
            "powers",
            format!("let a = 1{}\n", "^1".repeat(half)),
            "E0110",
        ),
        (
            "indices",
            format!("let a = [1]{}\n", "[0]".repeat(half / 2)),
            "E0110",
        ),
        (
            "blocks",
            attention(&"for i in 0..2 { ".repeat(60_000)),
            "E0110",
        ),
        ("comments", "/*".repeat(half), "E0102"),
        (
            "a huge range",
            attention("for i in 0..9223372036854775807 { branch { segment = 8 } }"),
            "E0312",
        ),
        (
            "loops in loops",
            attention("for i in 0..60000 { for j in 0..60000 { for k in 0..60000 { } } }"),
            "E0312",
        ),
        (
            "a range of both ends",
            attention("for i in -9223372036854775807..9223372036854775807 { }"),
            "E0312",
        ),
        (
            "powers of powers",
            "let a = 2^2^2^2^2^2\n".to_owned(),
            "E0302",
        ),
        (
            "a huge power",
            "let a = 9223372036854775807 ^ 9223372036854775807\n".to_owned(),
            "E0302",
        ),
        ("a huge float", "let a = 10.0 ^ 400.0\n".to_owned(), "E0306"),
        (
            "lists of lists",
            fill(
                "let a0 = [1]\n",
                |i| format!("let a{} = [a{i}, a{i}, a{i}, a{i}]\n", i + 1),
                "",
            ),
            "E0315",
        ),
        (
            "a long list",
            format!("let a = [{}1]\n", "1,".repeat(70_000)),
            "E0311",
        ),
        (
            "many branches",
            attention("for i in 0..2000 { branch { segment = 8 + i } }"),
            "E0405",
        ),
        (
            "copied branches",
            fill(
                "attention a { heads = 2, head_dim = 4\n for i in 1..1025 { branch { segment = i } } }\n",
                |i| format!("attention c{i} = a with {{ }}\n"),
                "",
            ),
            "E0407",
        ),
        (
            "copies of copies",
            fill(
                &attention("").replace("attention a", "attention a0"),
                |i| format!("attention a{} = a{i} with {{ }}\n", i + 1),
                "",
            ),
            "E0406",
        ),
        (
            "much work",
            fill(
                "",
                |i| {
                    format!(
                        "attention c{i} {{ heads = 1, head_dim = 1, branch {{ segment = 1 }} for j in 0..65536 {{ }} }}\n"
                    )
                },
                "",
            ),
            "E0314",
        ),
        ("many mistakes", "@ ".repeat(half), "E0123"),
        (
            "unknown names",
            fill("", |i| format!("let b{i} = abcdefgh{i}\n"), ""),
            "E0123",
        ),
        (
            "a long name",
            format!("let {} = 1\n", "a".repeat(MEBIBYTE - 20)),
            "W07",
        ),
        (
            "a long number",
            format!("let a = {}\n", "9".repeat(MEBIBYTE - 20)),
            "E0107",
        ),
        (
            "a long string",
            format!("use \"{}\"\n", "a".repeat(MEBIBYTE - 20)),
            "E0502",
        ),
        ("a large file", "\n".repeat(MEBIBYTE + 1), "E0108"),
        ("no text", "\u{0}".repeat(MEBIBYTE), "E0101"),
    ]
}

#[test]
fn hostile_files_end_with_their_diagnostic() {
    let dir = tempfile::tempdir().expect("a folder");
    for (what, text, code) in hostile() {
        fs::write(dir.path().join("a.attn"), text).expect("written");
        let wanted = if code.starts_with('W') { 0 } else { 1 };
        let run = attnc(dir.path(), &["check", "--error-format", "json", "a.attn"]);
        assert_eq!(run.code, Some(wanted), "{what}: {}", run.err);
        // The last of ten thousand says that there are more.
        if code != "E0123" {
            assert!(run.err.contains(code), "{what}: {}", run.err);
        }
        let run = attnc(dir.path(), &["fmt", "--check", "-q", "a.attn"]);
        assert!(matches!(run.code, Some(0 | 1)), "{what}: {}", run.err);
    }
}

#[test]
fn chains_and_circles_of_files_end_with_their_diagnostic() {
    let dir = tempfile::tempdir().expect("a folder");
    for i in 0..2000 {
        let text = format!("use \"f{}.attn\"\n", i + 1);
        fs::write(dir.path().join(format!("f{i}.attn")), text).expect("written");
    }
    let run = attnc(dir.path(), &["check", "f0.attn"]);
    assert_eq!(run.code, Some(1));
    assert!(run.err.contains("E0506"), "{}", run.err);
    fs::write(dir.path().join("f40.attn"), "use \"f0.attn\"\n").expect("written");
    let run = attnc(dir.path(), &["check", "f0.attn"]);
    assert!(
        run.code == Some(1) && run.err.contains("E0504"),
        "{}",
        run.err
    );
}

#[test]
fn files_without_end_are_read_to_the_limit_only() {
    let dir = tempfile::tempdir().expect("a folder");
    // A terabyte that takes no room.
    let large = fs::File::create(dir.path().join("large.attn")).expect("made");
    large.set_len(1 << 40).expect("a sparse file");
    for file in ["large.attn", "/dev/zero"] {
        let run = attnc(dir.path(), &["check", file]);
        assert!(
            run.code == Some(1) && run.err.contains("E0108"),
            "{file}: {}",
            run.err
        );
    }
    fs::write(dir.path().join("user.attn"), "use \"large.attn\"\n").expect("written");
    let run = attnc(dir.path(), &["check", "user.attn"]);
    assert!(
        run.code == Some(1) && run.err.contains("E0108"),
        "{}",
        run.err
    );
    let run = attnc(dir.path(), &["run", "large.attn", "--seq-len", "8"]);
    assert_eq!(run.code, Some(1), "{}", run.err);
}

#[test]
fn hostile_texts_of_later_stages_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let graph = include_str!("snapshots/tiny/3-graph.snap");
    let graph = graph.split("\n---\n").nth(1).expect("a head");
    let tile = include_str!("fuzz/tile_text/plan.tile");
    let nested = format!(
        "body {{ {} {}",
        "if 1 { ".repeat(100_000),
        "}".repeat(100_000)
    );
    for (what, text) in [
        ("deep tile code", tile.replacen("body {", &nested, 1)),
        (
            "open tile code",
            tile.replacen(
                "body {",
                &format!("body {{ {}", "if 1 { ".repeat(150_000)),
                1,
            ),
        ),
        (
            "a deep expression",
            tile.replacen(
                "body {",
                &format!("body {{ %90 = {}1", "(".repeat(500_000)),
                1,
            ),
        ),
        (
            "a huge buffer",
            tile.replacen("chunk_o[8192]", "chunk_o[9223372036854775807]", 1),
        ),
        (
            "huge heads",
            tile.replacen("heads 2", "heads 4294967295", 1),
        ),
        (
            "a huge head",
            graph.replacen("head_dim = 4", "head_dim = 4294967295", 1),
        ),
        (
            "many nodes",
            format!(
                "{graph}{}",
                "%0 = input q : f32[B, N, 2, 4]\n".repeat(30_000)
            ),
        ),
        (
            "a long line",
            format!("{graph}%99 = {}", "sum ".repeat(200_000)),
        ),
    ] {
        fs::write(dir.path().join("a.txt"), text).expect("written");
        let run = attnc(
            dir.path(),
            &["run", "a.txt", "--seq-len", "8", "--threads", "1"],
        );
        assert_eq!(run.code, Some(1), "{what}: {}", run.err);
        assert!(
            run.err.starts_with("error:") && !run.err.contains("panicked"),
            "{what}: {}",
            run.err
        );
    }
}
