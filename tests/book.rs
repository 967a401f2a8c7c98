// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The documentation: every page is in the book, links lead somewhere, examples are right and commands print what the page says.
//!
//! In: `docs/`, the README and its companions. An ```` ```attn ```` block that opens with `// NAME.attn` becomes that file (`attn,bad`:
//! one with mistakes); a line `$ COMMAND` of a ```` ```console ```` block is run beside those files, and the lines below it are its output.
//! `INSTA_UPDATE=always` writes outputs, the index of diagnostics and the pictures anew, to be looked at like any snapshot.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use attnc_diag::Code;

const ATTNC: &str = env!("CARGO_BIN_EXE_attnc-under-test");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Pages below `docs/`, by their paths from there, sorted.
fn pages() -> BTreeSet<String> {
    fn walk(folder: &Path, prefix: &str, out: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("readable").path();
            let name = path.file_name().and_then(|n| n.to_str()).expect("UTF-8");
            if path.is_dir() {
                walk(&path, &format!("{prefix}{name}/"), out);
            } else if name.ends_with(".md") && name != "SUMMARY.md" {
                out.insert(format!("{prefix}{name}"));
            }
        }
    }
    let mut out = BTreeSet::new();
    walk(&root().join("docs"), "", &mut out);
    assert!(out.len() > 5, "{out:?}");
    out
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Whether snapshots are to be written anew.
fn update() -> bool {
    std::env::var_os("INSTA_UPDATE").is_some_and(|v| v == "always")
}

/// Compares with what stands there, or writes it.
fn same(path: &Path, want: &str) {
    if update() {
        fs::write(path, want).expect("can be written");
        return;
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    if found != want {
        let line = found.lines().zip(want.lines()).position(|(a, b)| a != b);
        let at = line.unwrap_or_else(|| found.lines().count().min(want.lines().count()));
        let show = |t: &str| t.lines().nth(at).unwrap_or("(the end)").to_owned();
        panic!(
            "{} is not what it should be from line {} on:\n  there:  {}\n  wanted: {}\nINSTA_UPDATE=always writes it anew",
            path.display(),
            at + 1,
            show(&found),
            show(want)
        );
    }
}

/// The targets of Markdown links and pictures outside code.
fn links(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        // What stands between backquotes is no link.
        let plain: String = line.split('`').step_by(2).collect();
        for part in plain.split("](").skip(1) {
            if let Some((target, _)) = part.split_once(')') {
                out.push(target.to_owned());
            }
        }
    }
    out
}

/// Anchors of headings, as mdBook and code hosts make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|l| l.starts_with('#'));
    headings
        .map(|h| {
            let words = h.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter_map(|c| match c {
                ' ' => Some('-'),
                c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
                _ => None,
            });
            kept.collect()
        })
        .collect()
}

#[test]
fn the_summary_lists_every_page_once() {
    let summary = read(&root().join("docs/SUMMARY.md"));
    let listed = links(&summary);
    let set: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(listed.len(), set.len(), "a page stands there twice");
    assert_eq!(set, pages());
}

#[test]
fn links_lead_somewhere() {
    let root = root();
    let mut files: Vec<PathBuf> = pages().iter().map(|p| root.join("docs").join(p)).collect();
    files.push(root.join("docs/SUMMARY.md"));
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "ARCHITECTURE.md",
        "dsl/README.md",
    ] {
        files.push(root.join(name));
    }
    let (mut breaches, mut seen) = (Vec::new(), 0);
    for file in files {
        for link in links(&read(&file)) {
            if link.contains("://") {
                continue;
            }
            seen += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = match path {
                "" => file.clone(),
                path => file.parent().expect("a folder").join(path),
            };
            let ok =
                target.exists() && (anchor.is_empty() || anchors(&read(&target)).contains(anchor));
            if !ok {
                breaches.push(format!("{}: {link}", file.display()));
            }
        }
    }
    assert!(seen > 20, "{seen} links");
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

/// A block of code: its first line's words, where its text starts and ends (lines, from 0).
struct Block {
    kind: String,
    first: usize,
    end: usize,
}

fn blocks(lines: &[&str]) -> Vec<Block> {
    let mut out = Vec::new();
    let mut open: Option<(String, usize)> = None;
    for (i, line) in lines.iter().enumerate() {
        let Some(rest) = line.strip_prefix("```") else {
            continue;
        };
        open = match open.take() {
            None => Some((rest.to_owned(), i + 1)),
            Some((kind, first)) => {
                out.push(Block {
                    kind,
                    first,
                    end: i,
                });
                None
            }
        };
    }
    assert!(open.is_none(), "a block is not closed");
    out
}

/// What a shell prints for `command`, both streams together.
fn shell(folder: &Path, bin: &Path, command: &str) -> String {
    let system = std::env::var("PATH").unwrap_or_default();
    let out = Command::new("sh")
        .args(["-c", &format!("{{ {command}\n}} 2>&1")])
        .current_dir(folder)
        .env_clear()
        .env("PATH", format!("{}:{system}", bin.display()))
        .stdin(Stdio::null())
        .output()
        .expect("a shell");
    String::from_utf8(out.stdout).expect("UTF-8")
}

#[test]
fn examples_are_right_and_commands_print_what_the_page_says() {
    let bin = tempfile::tempdir().expect("a folder");
    fs::copy(ATTNC, bin.path().join("attnc")).expect("a copy");
    let (mut examples, mut commands) = (0, 0);
    let mut files: Vec<PathBuf> = pages()
        .iter()
        .map(|p| root().join("docs").join(p))
        .collect();
    files.push(root().join("README.md"));
    for file in files {
        // Its examples are the business of the test that keeps that page.
        if file.ends_with("errors.md") {
            continue;
        }
        let text = read(&file);
        let lines: Vec<&str> = text.lines().collect();
        let folder = tempfile::tempdir().expect("a folder");
        let mut out = String::new();
        let mut at = 0;
        for block in blocks(&lines) {
            let body = &lines[block.first..block.end];
            if block.kind == "attn" || block.kind == "attn,bad" {
                examples += 1;
                let named = body.first().and_then(|l| l.strip_prefix("// "));
                let name = named
                    .filter(|n| n.ends_with(".attn"))
                    .unwrap_or("unnamed.attn");
                fs::write(folder.path().join(name), body.join("\n") + "\n").expect("written");
                let printed = shell(
                    folder.path(),
                    bin.path(),
                    &format!("attnc check -q {name} || echo FAILED"),
                );
                let bad = block.kind == "attn,bad";
                assert_eq!(
                    printed.contains("FAILED"),
                    bad,
                    "{}: {name}: {printed}",
                    file.display()
                );
                assert!(
                    bad || printed.is_empty(),
                    "{}: {name}: {printed}",
                    file.display()
                );
                let formatted = shell(
                    folder.path(),
                    bin.path(),
                    &format!("attnc fmt --check {name}"),
                );
                assert!(
                    bad || formatted.is_empty(),
                    "{}: {name}: {formatted}",
                    file.display()
                );
            }
            for line in &lines[at..block.first] {
                out.push_str(line);
                out.push('\n');
            }
            at = block.first;
            if block.kind == "console" {
                for command in body.iter().filter_map(|l| l.strip_prefix("$ ")) {
                    commands += 1;
                    let printed = shell(folder.path(), bin.path(), command);
                    assert!(
                        !printed.contains("```") && !printed.contains("panicked"),
                        "{printed}"
                    );
                    let _ = writeln!(out, "$ {command}\n{}", printed.trim_end());
                    if printed.trim().is_empty() {
                        out.pop();
                    }
                }
                at = block.end;
            }
        }
        for line in &lines[at..] {
            out.push_str(line);
            out.push('\n');
        }
        same(&file, &out);
    }
    assert!(
        examples >= 8 && commands >= 12,
        "{examples} examples, {commands} commands"
    );
}

#[test]
fn the_index_of_diagnostics_is_that_of_the_table() {
    let mut text = String::from(
        "# Diagnostics\n\nEvery code that `attnc` reports, as `attnc explain-code CODE` prints it. This page is made from the table in\n`crates/diag/src/code.rs`.\n\n| code | what |\n|---|---|\n",
    );
    for code in Code::ALL {
        let (id, title) = (code.id(), code.title());
        let _ = writeln!(text, "| [{id}](#{}) | {title} |", id.to_lowercase());
    }
    for code in Code::ALL {
        let _ = writeln!(
            text,
            "\n## {}\n\n**{}**\n\n{}",
            code.id(),
            code.title(),
            code.page().trim_end()
        );
    }
    same(&root().join("docs/errors.md"), &text);
}

/// The pictures of the pages: file, and the arguments that make it.
const PICTURES: [(&str, &[&str]); 2] = [
    (
        "pattern.svg",
        &["plot", "docs/pattern.attn", "--seq-len", "64"],
    ),
    (
        "longnet_base.svg",
        &["plot", "dsl/examples/longnet_base.attn", "--seq-len", "32k"],
    ),
];

#[test]
fn pictures_are_what_the_command_draws() {
    for (name, arguments) in PICTURES {
        let out = Command::new(ATTNC)
            .args(arguments)
            .current_dir(root())
            .env_clear()
            .output()
            .expect("the command runs");
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        let drawn = String::from_utf8(out.stdout).expect("UTF-8");
        same(&root().join("docs/images").join(name), &drawn);
    }
    let mut found: Vec<String> = fs::read_dir(root().join("docs/images"))
        .expect("a folder")
        .map(|e| {
            e.expect("readable")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    found.sort();
    let mut want: Vec<String> = PICTURES.iter().map(|(n, _)| (*n).to_owned()).collect();
    want.sort();
    assert_eq!(found, want);
}

#[test]
fn the_operator_of_the_picture_is_the_one_of_the_pages() {
    let picture = read(&root().join("docs/pattern.attn"));
    let (_, body) = picture.split_once("edition 1").expect("an edition");
    for page in ["guide/language.md", "guide/command.md"] {
        assert!(
            read(&root().join("docs").join(page)).contains(body.trim_end()),
            "{page}"
        );
    }
}
