// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The formatter: its style case by case; over the corpus and random texts it is idempotent, keeps every comment and literal and
//! changes no tree. And the parser survives garbage.

use std::fs;
use std::path::Path;

use attnc_diag::{FileId, SourceFile};
use attnc_syntax::{Parsed, dump_text, format, parse};
use proptest::prelude::*;

fn read(text: &str) -> Parsed {
    parse(
        FileId::new(0),
        &SourceFile::new("t.attn", text.as_bytes().to_vec()),
    )
}

fn tree(text: &str) -> String {
    let parsed = read(text);
    assert!(
        parsed.diagnostics.is_empty(),
        "{text}\n{:?}",
        parsed.diagnostics
    );
    dump_text(&parsed.file, false)
}

/// The comments of a text, by a scan of its own that knows strings and nesting.
fn comments(text: &str) -> Vec<String> {
    let bytes: Vec<char> = text.replace("\r\n", "\n").chars().collect();
    let (mut list, mut i) = (Vec::new(), 0);
    while i < bytes.len() {
        let two = (bytes[i], bytes.get(i + 1).copied().unwrap_or(' '));
        let start = i;
        match two {
            ('"', _) => {
                i += 1;
                while bytes[i] != '"' {
                    i += if bytes[i] == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            ('/', '/') => {
                while i < bytes.len() && bytes[i] != '\n' {
                    i += 1;
                }
                list.push(
                    bytes[start..i]
                        .iter()
                        .collect::<String>()
                        .trim_end()
                        .to_owned(),
                );
            }
            ('/', '*') => {
                let mut depth = 0;
                loop {
                    match (bytes[i], bytes[i + 1]) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 {
                        break;
                    }
                }
                list.push(bytes[start..i].iter().collect());
            }
            _ => i += 1,
        }
    }
    list
}

fn holds(text: &str) -> String {
    let once = format(text)
        .unwrap_or_else(|| panic!("does not parse: {text}\n{:?}", read(text).diagnostics));
    assert_eq!(
        tree(text),
        tree(&once),
        "the tree changed\n--- before\n{text}\n--- after\n{once}"
    );
    assert_eq!(
        comments(text),
        comments(&once),
        "comments changed\n--- before\n{text}\n--- after\n{once}"
    );
    let twice = format(&once).unwrap_or_else(|| panic!("does not parse again: {once}"));
    assert_eq!(once, twice, "not idempotent\n--- before\n{text}");
    assert!(
        once.lines()
            .all(|line| line.trim_end() == line || once.contains("/*")),
        "blanks at a line end: {once}"
    );
    once
}

#[test]
fn style() {
    for (before, after) in [
        ("", ""),
        ("\n\n", ""),
        ("let   a=1", "let a = 1\n"),
        ("let a = 1,let b = 2", "let a = 1\nlet b = 2\n"),
        (
            "\n\nlet a = 1\n\n\n\nlet b = 2\n\n",
            "let a = 1\n\nlet b = 2\n",
        ),
        (
            "let a=-1*( 2+3 )^ - 2 %b [ 0 ]",
            "let a = -1 * (2 + 3)^-2 % b[0]\n",
        ),
        ("let a = f ( 1,2 , )", "let a = f(1, 2)\n"),
        ("let a = [ 1,2 , ]", "let a = [1, 2]\n"),
        ("let a = [1,\n2]", "let a = [\n    1,\n    2,\n]\n"),
        (
            "let a = [\n1, 2,\n\n3, 4\n]",
            "let a = [\n    1, 2,\n\n    3, 4,\n]\n",
        ),
        (
            "let a = [[1,\n2], [3]]",
            "let a = [[\n    1,\n    2,\n], [3]]\n",
        ),
        ("let a = 1 +\n 2", "let a = 1 + 2\n"),
        ("let a = (\n1\n)", "let a = (1)\n"),
        ("let a = b[\n1\n]", "let a = b[1]\n"),
        ("let a = 32k + 0x", ""),
        (
            "attention a{heads=1,head_dim=2}",
            "attention a { heads = 1, head_dim = 2 }\n",
        ),
        ("attention a{}", "attention a {}\n"),
        ("attention a{\n}", "attention a {\n}\n"),
        (
            "attention a {\nheads=1\n  head_dim=2\n\n\n\tdtype=f32,\n branch{segment=4,dilation=2}}",
            "attention a {\n    heads    = 1\n    head_dim = 2\n\n    dtype = f32\n    branch { segment = 4, dilation = 2 }\n}\n",
        ),
        (
            "attention a {\n\nheads=1,head_dim=2\n\n}",
            "attention a {\n    heads = 1, head_dim = 2\n}\n",
        ),
        (
            "attention a {\nbranch{} branch{}\n}",
            "attention a {\n    branch {}\n    branch {}\n}\n",
        ),
        (
            "attention a{branch{} for i in 0 .. 5{ branch { } } }",
            "attention a { branch {}, for i in 0..5 { branch {} } }\n",
        ),
        (
            "attention b=a with{heads=2}",
            "attention b = a with { heads = 2 }\n",
        ),
        (
            "let a = 1 // one\n// two\n\n\n/* three */ let b = 2",
            "let a = 1 // one\n// two\n\n/* three */ let b = 2\n",
        ),
        (
            "attention a { // one\n // two\nheads = 1, // three\n\n// four\n}",
            "attention a { // one\n    // two\n    heads = 1 // three\n\n    // four\n}\n",
        ),
        (
            "let a = [\n1, // one\n2 // two\n// three\n]",
            "let a = [\n    1, // one\n    2, // two\n    // three\n]\n",
        ),
        (
            "edition 1 // one\n// two\n\n\n// three",
            "edition 1 // one\n// two\n\n// three\n",
        ),
        ("let a = 1\n// end\n", "let a = 1\n// end\n"),
        (
            "attention a {}\n/* one */ /* two */\n// end\n",
            "attention a {}\n/* one */ /* two */\n// end\n",
        ),
        ("let a = [// one\n1]", "let a = [ // one\n    1,\n]\n"),
        ("let a = 1 + // one\n2", "let a = 1 + // one\n    2\n"),
        (
            "let a = f(/* x */ 1 /* y */)",
            "let a = f(/* x */ 1 /* y */)\n",
        ),
        (
            "\u{feff}let a = 1\r\nlet b = 2\r\n",
            "let a = 1\r\nlet b = 2\r\n",
        ),
    ] {
        match format(before) {
            Some(text) => {
                assert_eq!(text, after, "{before}");
                holds(before);
            }
            None => assert_eq!(after, "", "{before}"),
        }
    }
}

#[test]
fn the_corpus_is_formatted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dsl");
    let mut files = 0;
    for folder in ["std", "examples"] {
        for entry in fs::read_dir(root.join(folder)).expect("dsl/ is there") {
            let path = entry.expect("can be listed").path();
            let text = fs::read_to_string(&path).expect("can be read");
            assert_eq!(holds(&text), text, "{}", path.display());
            files += 1;
        }
    }
    assert!(files >= 20);
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

fn cat(parts: Vec<Vec<String>>) -> Vec<String> {
    parts.concat()
}

/// An expression as words.
fn expr() -> impl Strategy<Value = Vec<String>> {
    let leaf = prop::sample::select(vec![
        "1", "32k", "1_000", "2.5", "1e-3", "a", "heads", "bf16", "whole", "_x1",
    ])
    .prop_map(|w| words(&[w]));
    leaf.prop_recursive(5, 40, 4, |inner| {
        let many = prop::collection::vec(inner.clone(), 0..4);
        let op = prop::sample::select(vec!["+", "-", "*", "/", "%", "^"]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| cat(vec![
                words(&["("]),
                a,
                words(&[")", op, "("]),
                b,
                words(&[")"])
            ])),
            (inner.clone(), prop::sample::select(vec!["+", "*", "^"]))
                .prop_map(|(a, op)| cat(vec![words(&["1", op]), a])),
            inner.clone().prop_map(|a| cat(vec![words(&["-"]), a])),
            inner
                .clone()
                .prop_map(|a| cat(vec![words(&["a", "["]), a, words(&["]"])])),
            (many.clone(), any::<bool>())
                .prop_map(|(list, comma)| bracketed("[", list, comma, "]")),
            (many, any::<bool>()).prop_map(|(list, comma)| cat(vec![
                words(&["max"]),
                bracketed("(", list, comma, ")")
            ])),
        ]
    })
}

fn bracketed(open: &str, list: Vec<Vec<String>>, comma: bool, close: &str) -> Vec<String> {
    let mut out = words(&[open]);
    let n = list.len();
    for (i, element) in list.into_iter().enumerate() {
        out.extend(element);
        if i + 1 < n || comma {
            out.push(",".to_owned());
        }
    }
    out.push(close.to_owned());
    out
}

/// `\n` as a word stands for a line end that must be there.
fn separator() -> impl Strategy<Value = Vec<String>> {
    prop_oneof![
        Just(words(&[","])),
        Just(words(&["\n"])),
        Just(words(&[",", "\n"]))
    ]
}

fn field() -> impl Strategy<Value = Vec<String>> {
    (
        prop::sample::select(vec!["heads", "segment", "dilation", "x"]),
        expr(),
        separator(),
    )
        .prop_map(|(name, value, end)| cat(vec![words(&[name, "="]), value, end]))
}

fn let_item() -> impl Strategy<Value = Vec<String>> {
    (expr(), prop::option::of(separator())).prop_map(|(value, end)| {
        cat(vec![
            words(&["let", "y", "="]),
            value,
            end.unwrap_or_default(),
        ])
    })
}

fn branch() -> impl Strategy<Value = Vec<String>> {
    (
        prop::collection::vec(field(), 0..3),
        prop::option::of(separator()),
    )
        .prop_map(|(fields, end)| {
            cat(vec![
                words(&["branch", "{"]),
                cat(fields),
                words(&["}"]),
                end.unwrap_or_default(),
            ])
        })
}

fn loops() -> impl Strategy<Value = Vec<String>> {
    let body = prop_oneof![branch(), let_item()];
    body.prop_recursive(3, 12, 3, |inner| {
        (
            prop::option::of(expr()),
            expr(),
            prop::collection::vec(inner, 0..3),
            prop::option::of(separator()),
        )
            .prop_map(|(from, to, body, end)| {
                let range = match from {
                    Some(from) => cat(vec![from, words(&[".."]), to]),
                    None => to,
                };
                cat(vec![
                    words(&["for", "i", "in"]),
                    range,
                    words(&["{"]),
                    cat(body),
                    words(&["}"]),
                    end.unwrap_or_default(),
                ])
            })
    })
}

fn file() -> impl Strategy<Value = Vec<String>> {
    let item = prop_oneof![
        let_item(),
        Just(words(&["use", "\"a // b /* \\\" c\"", "\n"])),
        (
            prop::option::of(Just(())),
            prop::collection::vec(prop_oneof![field(), branch(), loops(), let_item()], 0..6)
        )
            .prop_map(|(with, items)| {
                let head = if with.is_some() {
                    words(&["attention", "b", "=", "a", "with", "{"])
                } else {
                    words(&["attention", "a", "{"])
                };
                cat(vec![head, cat(items), words(&["}"])])
            }),
    ];
    (any::<bool>(), prop::collection::vec(item, 0..5)).prop_map(|(edition, items)| {
        cat(vec![
            if edition {
                words(&["edition", "1"])
            } else {
                Vec::new()
            },
            cat(items),
        ])
    })
}

/// What stands between two words: never a comment that swallows the next one.
fn trivia() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        10 => Just(" "),
        2 => Just("\n"),
        1 => Just("\n\n\n"),
        1 => Just("\t  "),
        1 => Just("\r\n"),
        1 => Just(" // c\n"),
        1 => Just("\n// own // line \n"),
        1 => Just(" /* b */ "),
        1 => Just("\n/* b\n  /* nested */ */\n"),
        1 => Just(" /* over\n lines */ "),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_files_keep_their_meaning(words in file(), gaps in prop::collection::vec(trivia(), 64), crlf in any::<bool>()) {
        let mut text = String::new();
        for (i, word) in words.iter().enumerate() {
            if word == "\n" {
                text.push('\n');
                continue;
            }
            text.push_str(word);
            text.push_str(gaps[i * 7 % gaps.len()]);
        }
        if crlf {
            text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        }
        holds(&text);
    }

    #[test]
    fn garbage_is_read_without_a_panic(pieces in prop::collection::vec(prop_oneof![
        prop::sample::select(vec![
            "attention", "branch", "for", "in", "let", "use", "with", "edition", "a", "heads", "{", "}", "[", "]", "(", ")", ",", "=", "+", "-", "*", "/", "%",
            "^", "..", "..=", "1", "1.", ".5", "32k", "32K", "\"s\"", "\"", "\\", "//", "/*", "*/", "\n", " ", ";", "é", "\u{feff}", "\0",
        ]).prop_map(str::to_owned),
        ".{0,4}",
    ], 0..60), spaced in any::<bool>()) {
        let text = pieces.join(if spaced { " " } else { "" });
        let parsed = read(&text);
        for d in &parsed.diagnostics {
            prop_assert!(text.get(d.primary.span.range()).is_some(), "{:?} in {text:?}", d);
            prop_assert!(!d.message.is_empty() && !d.primary.text.is_empty());
        }
        prop_assert_eq!(format(&text).is_some(), parsed.diagnostics.is_empty());
        if parsed.diagnostics.is_empty() {
            holds(&text);
        }
    }
}
