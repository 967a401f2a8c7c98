// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every code of the table, through the command line: one file that has exactly this mistake, its rendered text as a snapshot
//! (`snapshots/diagnostics/CODE.snap`), its JSON, its page with an example that is wrong and one that is right.
//!
//! Data: `diagnostics/CODE.attn`; cases that are too large to store or need several files are made by [`made`].

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use attnc_diag::Code;
use serde_json::Value;

fn attnc(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_attnc-under-test"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .output()
        .expect("the command runs")
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("diagnostics")
}

/// Cases that are made: for a code, files and their contents; the first file is checked.
fn made(code: Code) -> Option<Vec<(String, Vec<u8>)>> {
    let one = |text: String| Some(vec![(format!("{}.attn", code.id()), text.into_bytes())]);
    let fields = "heads = 2, head_dim = 8";
    match code {
        Code::FileTooLarge => one(" ".repeat((1 << 20) + 1)),
        Code::NotUtf8 => Some(vec![(
            "E0109.attn".to_owned(),
            b"let name = \xff\xfe\n".to_vec(),
        )]),
        Code::NestingTooDeep => one(format!(
            "let a = {}1{}\nlet b = a\nattention c {{ {fields}, branch {{ segment = b }} }}\n",
            "(".repeat(129),
            ")".repeat(129)
        )),
        Code::TooManyMistakes => one("let a = @\n".repeat(10_100)),
        Code::ListTooLong => one(format!(
            "let a = [{}]\nattention c {{ {fields}, branch {{ segment = a[0] }} }}\n",
            "1,".repeat(65_537)
        )),
        Code::TooMuchWork => one(format!(
            "attention a {{ {fields}\n    branch {{ segment = 8 }}\n    for i in 0..30_000 {{\n        for j in [\n            i{}] {{ }}\n    }}\n}}\n",
            " + 1".repeat(600)
        )),
        Code::ListTooDeep => {
            let lets: String = (1..=129)
                .map(|i| format!("let a{i} = [a{}]\n", i - 1))
                .collect();
            one(format!(
                "let a0 = 1\n{lets}attention c {{ {fields}, branch {{ segment = len(a129) }} }}\n"
            ))
        }
        Code::WithTooDeep => {
            let copies: String = (1..=66)
                .map(|i| format!("attention a{i} = a{} with {{ }}\n", i - 1))
                .collect();
            one(format!(
                "attention a0 {{ {fields}, branch {{ segment = 8 }} }}\n{copies}"
            ))
        }
        Code::TooManyBranchesInAll => {
            let copies: String = (1..=1024)
                .map(|i| format!("attention a{i} = a0 with {{ }}\n"))
                .collect();
            one(format!(
                "attention a0 {{ {fields}\n    for i in 0..1024 {{ branch {{ segment = i + 1 }} }}\n}}\n{copies}"
            ))
        }
        Code::FileUnreadable => Some(vec![
            ("E0502.attn".to_owned(), b"use \"folder\"\n".to_vec()),
            ("folder/nothing.attn".to_owned(), Vec::new()),
        ]),
        Code::UseCycle => Some(vec![
            ("E0504.attn".to_owned(), b"use \"other.attn\"\n".to_vec()),
            (
                "other.attn".to_owned(),
                b"// Back again.\nuse \"E0504.attn\"\n".to_vec(),
            ),
        ]),
        Code::UseTooDeep => {
            let mut files = vec![("E0506.attn".to_owned(), b"use \"f1.attn\"\n".to_vec())];
            files.extend((1..=65).map(|i| {
                (
                    format!("f{i}.attn"),
                    format!("use \"f{}.attn\"\n", i + 1).into_bytes(),
                )
            }));
            files.push(("f66.attn".to_owned(), Vec::new()));
            Some(files)
        }
        _ => None,
    }
}

/// The folder and the file of a code's case.
fn case(code: Code) -> (Option<tempfile::TempDir>, PathBuf, String) {
    let name = format!("{}.attn", code.id());
    let Some(files) = made(code) else {
        return (None, data(), name);
    };
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("can be made");
        fs::write(path, bytes).expect("can be written");
    }
    let path = folder.path().to_owned();
    (Some(folder), path, name)
}

/// The diagnostics of a file as JSON.
fn diagnostics(folder: &Path, file: &str) -> Vec<Value> {
    let output = attnc(folder, &["check", "--error-format", "json", file]);
    let text = String::from_utf8(output.stderr).expect("JSON is UTF-8");
    assert!(output.stdout.is_empty());
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect()
}

fn codes(list: &[Value]) -> BTreeSet<String> {
    list.iter()
        .map(|d| d["code"].as_str().expect("a code").to_owned())
        .collect()
}

#[test]
fn every_code_has_a_case_that_has_this_mistake_only() {
    for code in Code::ALL {
        let (_keep, folder, file) = case(*code);
        let list = diagnostics(&folder, &file);
        let mut found = codes(&list);
        match code {
            // An offset beyond the segment needs a dilation beyond it.
            Code::HeadNeverCovered => assert!(found.remove("W06")),
            // The mistakes that there are too many of.
            Code::TooManyMistakes => {
                assert_eq!(list.len(), 10_000);
                assert!(found.remove("E0101"));
            }
            _ => {}
        }
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [code.id()], "{file}");
        let exit = attnc(&folder, &["check", &file]).status.code();
        let warning = code.id().starts_with('W');
        assert_eq!(exit, Some(if warning { 0 } else { 1 }), "{file}");
        assert_eq!(
            attnc(&folder, &["check", "--deny-warnings", &file])
                .status
                .code(),
            Some(1),
            "{file}"
        );
    }
}

#[test]
fn every_code_is_drawn() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots/diagnostics");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for code in Code::ALL {
            let (_keep, folder, file) = case(*code);
            let mut text =
                String::from_utf8(attnc(&folder, &["check", &file]).stderr).expect("UTF-8");
            if *code == Code::TooManyMistakes {
                text = text
                    .split_once("[E0123]")
                    .map(|(_, last)| format!("[E0123]{last}"))
                    .expect("it is there");
            }
            insta::assert_snapshot!(code.id(), text);
        }
    });
}

#[test]
fn no_case_is_left_over() {
    for entry in fs::read_dir(data()).expect("it is there") {
        let name = entry
            .expect("can be listed")
            .file_name()
            .into_string()
            .expect("UTF-8");
        let code = Code::from_id(name.trim_end_matches(".attn"))
            .unwrap_or_else(|| panic!("{name} belongs to no code"));
        assert!(made(code).is_none(), "{name} is not used");
    }
}

/// The example under `heading` on a page.
fn example(code: Code, heading: &str) -> Option<String> {
    let (_, rest) = code
        .page()
        .split_once(&format!("{heading}:\n\n```attn\n"))?;
    Some(
        rest.split_once("```")
            .expect("the example ends")
            .0
            .to_owned(),
    )
}

#[test]
fn every_page_says_what_is_wrong_and_what_is_right() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page.attn");
    for code in Code::ALL {
        let output = attnc(folder.path(), &["explain-code", &code.id().to_lowercase()]);
        assert!(output.status.success());
        let page = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(
            page.starts_with(&format!("{}: {}\n\n", code.id(), code.title())),
            "{page}"
        );
        let right =
            example(*code, "Right").unwrap_or_else(|| panic!("{} has no right example", code.id()));
        fs::write(&file, &right).expect("can be written");
        let list = diagnostics(folder.path(), "page.attn");
        assert!(list.is_empty(), "{}: {list:?}", code.id());
        assert_eq!(
            attnc_syntax::format(&right).as_deref(),
            Some(right.as_str()),
            "{}",
            code.id()
        );
        match example(*code, "Wrong") {
            Some(wrong) => {
                fs::write(&file, &wrong).expect("can be written");
                assert!(
                    codes(&diagnostics(folder.path(), "page.attn")).contains(code.id()),
                    "{}",
                    code.id()
                );
            }
            None => assert!(made(*code).is_some(), "{} has no wrong example", code.id()),
        }
    }
}

#[test]
fn json_has_the_promised_keys_and_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "\u{feff}// é𝔸\r\nattention a {\r\n\theads = 2 /* é𝔸 */, head_dims = 8\r\n    branch { segment = 8 }\r\n}\r\n";
    fs::write(folder.path().join("a.attn"), text).expect("can be written");
    let output = attnc(folder.path(), &["check", "--error-format=json", "a.attn"]);
    let line = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(line.lines().count(), 1, "{line}");
    let start = text.find("head_dims").expect("it is there");
    assert_eq!(
        line.trim_end(),
        format!(
            r#"{{"code":"E0203","severity":"error","message":"unknown field `head_dims`","label":"no field has this name","help":"did you mean `head_dim`?","file":"a.attn","byte_start":{start},"byte_end":{},"line":3,"column":22,"end_line":3,"end_column":31}}"#,
            start + 9
        )
    );
}

#[test]
fn text_of_odd_files_can_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "\u{feff}let a\t= \u{1b}[31m // 漢字\r\nlet b = 漢字\r\n";
    fs::write(folder.path().join("a.attn"), text).expect("can be written");
    let drawn =
        String::from_utf8(attnc(folder.path(), &["check", "a.attn"]).stderr).expect("UTF-8");
    assert!(
        drawn.contains("a.attn:1:9") && drawn.contains("a.attn:2:9"),
        "{drawn}"
    );
    assert!(
        !drawn.contains('\u{1b}') && !drawn.contains('\r'),
        "{drawn:?}"
    );
    let coloured = attnc(folder.path(), &["check", "--color=always", "a.attn"]).stderr;
    assert!(String::from_utf8_lossy(&coloured).contains('\u{1b}'));
}
