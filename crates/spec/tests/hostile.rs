// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Inputs made to hang, overflow or fill the memory; random files; garbage. Nothing may panic, every span lies in its file.

mod common;

use std::time::Instant;

use attnc_spec::Resolution;
use common::{codes, text};
use proptest::prelude::*;

const MEBIBYTE: usize = 1 << 20;

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

/// The distinct codes that a large text gives, within a bounded time.
fn survives(what: &str, source: &str) -> Vec<&'static str> {
    let started = Instant::now();
    let mut found = codes(&text(source));
    assert!(
        started.elapsed().as_secs() < 30,
        "{what} took {:?}",
        started.elapsed()
    );
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn large_files_of_one_kind_take_no_time() {
    let base = "attention a0 { heads = 2, head_dim = 4, branch { segment = 8 } }\n";
    let many =
        "attention a0 { heads = 2, head_dim = 4\n for i in 1..1025 { branch { segment = i } } }\n";
    for (what, source, expected) in [
        (
            "lets in a chain",
            fill(
                "let a0 = 1\n",
                |i| format!("let a{} = a{i} + 0\n", i + 1),
                base.replace("a0", "b").as_str(),
            ),
            &["W07"][..],
        ),
        (
            "lets in a chain, backwards",
            fill("", |i| format!("let a{i} = a{}\n", i + 1), ""),
            &["E0201", "W07"],
        ),
        (
            "lets in a circle",
            fill(
                "let a0 = z\n",
                |i| format!("let a{} = a{i}\n", i + 1),
                "let z = a9 let y = z let x = y let w = x",
            ),
            &["E0207", "W07"],
        ),
        (
            "nested lists",
            fill("let a0 = 1\n", |i| format!("let a{} = [a{i}]\n", i + 1), ""),
            &["E0315", "W07"],
        ),
        (
            "lists of lists",
            fill(
                "let a0 = [1]\n",
                |i| format!("let a{} = [a{i}, a{i}, a{i}]\n", i + 1),
                "",
            ),
            &["E0315", "W07"],
        ),
        (
            "unknown names",
            fill("", |i| format!("let b{i} = abcdefgh{i}\n"), ""),
            &["E0123", "E0201", "W07"],
        ),
        (
            "unknown fields",
            fill("attention a {\n", |i| format!("head{i} = 1\n"), "}"),
            &["E0123", "E0203"],
        ),
        (
            "unknown bases",
            fill("", |i| format!("attention b{i} = c{i} with {{ }}\n"), ""),
            &["E0123", "E0211"],
        ),
        (
            "the same name",
            fill("", |_| "let a = 1\n".to_owned(), ""),
            &["E0123", "E0204", "W07"],
        ),
        (
            "copies in a chain",
            fill(
                base,
                |i| format!("attention a{} = a{i} with {{ }}\n", i + 1),
                "",
            ),
            &["E0406"],
        ),
        (
            "copies in a circle",
            fill(
                "attention a0 = z with { }\n",
                |i| format!("attention a{} = a{i} with {{ }}\n", i + 1),
                "attention z = a100 with { }",
            ),
            &["E0209"],
        ),
        (
            "copies of many branches",
            fill(many, |i| format!("attention c{i} = a0 with {{ }}\n"), ""),
            &["E0407"],
        ),
        (
            "loops without branches",
            fill(
                "",
                |i| {
                    format!(
                        "attention c{i} {{ heads = 1, head_dim = 1, branch {{ segment = 1 }} for j in 0..65536 {{ }} }}\n"
                    )
                },
                "",
            ),
            &["E0314"],
        ),
        (
            "geometric lists",
            fill(
                "attention a { heads = 2, head_dim = 4, for i in 1..1000 {\n",
                |i| {
                    format!(
                        "let x{i} = geom(i, 9223372036854775807 - i * {}, 64)\n",
                        i + 1
                    )
                },
                "branch { segment = 8 } } }",
            ),
            &["E0314", "W07"],
        ),
        (
            "shadowed names",
            fill(
                "attention a { heads = 2, head_dim = 4\nlet x0 = 1\n",
                |i| format!("let x{} = x{i}\n", i + 1),
                "branch { segment = 8 } }",
            ),
            &["W07"],
        ),
        (
            "a long sum",
            fill(
                "attention a { heads = 2, head_dim = 4\nbranch { segment = 1",
                |_| " + 1".to_owned(),
                "} }",
            ),
            &[],
        ),
        (
            "a long word",
            fill("let a = ", |_| "abcdefgh".to_owned(), ""),
            &["E0201", "W07"],
        ),
        (
            "branches",
            fill(
                "attention a { heads = 2, head_dim = 4\n",
                |_| "branch { segment = 8 }\n".to_owned(),
                "}",
            ),
            &["E0405"],
        ),
        (
            "uses",
            fill("", |i| format!("use \"f{i}.attn\"\n"), ""),
            &["E0123", "E0501"],
        ),
        (
            "the same library",
            fill("", |_| "use \"std/longnet.attn\"\n".to_owned(), ""),
            &[],
        ),
        (
            "wrong loops",
            fill(
                "attention a { heads = 2, head_dim = 4\n",
                |_| "for i in x { branch { segment = i } }\n".to_owned(),
                "}",
            ),
            &["E0123", "E0201"],
        ),
    ] {
        assert_eq!(survives(what, &source), expected, "{what}");
    }
}

fn spans_are_sound(resolution: &Resolution) {
    for d in &resolution.diagnostics {
        for label in d.secondary.iter().chain([&d.primary]) {
            assert!(
                resolution
                    .sources
                    .text(label.span.file)
                    .get(label.span.range())
                    .is_some(),
                "{d:?}"
            );
        }
        assert!(
            !d.message.is_empty()
                && !d.primary.text.is_empty()
                && d.help.as_ref().is_some_and(|h| !h.is_empty()),
            "{d:?}"
        );
    }
}

fn expr() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "0",
        "1",
        "2",
        "7",
        "64",
        "32k",
        "0.5",
        "1e300",
        "9223372036854775807",
        "heads",
        "kv_heads",
        "head_dim",
        "whole",
        "bf16",
        "true",
        "a",
        "b",
        "c",
        "i",
        "x",
        "foo",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let op = prop::sample::select(vec!["+", "-", "*", "/", "%", "^"]);
        let function = prop::sample::select(vec![
            "sqrt", "min", "max", "ceil_div", "floor", "round", "len", "geom", "bar",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|list| format!("[{}]", list.join(", "))),
            (function, prop::collection::vec(inner, 0..4))
                .prop_map(|(f, list)| format!("{f}({})", list.join(", "))),
        ]
    })
}

fn items() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec![
        "heads",
        "kv_heads",
        "head_dim",
        "dtype",
        "precision",
        "causal",
        "scale",
        "semantics",
        "offsets",
        "rows",
        "segment",
        "hheads",
    ]);
    let item = prop_oneof![
        (field, expr()).prop_map(|(f, e)| format!("{f} = {e}\n")),
        (
            prop::sample::select(vec!["a", "b", "x", "i", "heads"]),
            expr()
        )
            .prop_map(|(n, e)| format!("let {n} = {e}\n")),
        (expr(), expr()).prop_map(|(w, r)| format!("branch {{ segment = {w}, dilation = {r} }}\n")),
        Just("branch { segment = 8 }\n".to_owned()),
        Just("heads = 4, head_dim = 8\n".to_owned()),
    ];
    let loops = item.clone().prop_recursive(3, 12, 3, |inner| {
        (
            prop::option::of(expr()),
            expr(),
            prop::collection::vec(inner, 0..3),
        )
            .prop_map(|(from, to, body)| {
                let from = from.map_or(String::new(), |from| format!("{from}.."));
                format!("for i in {from}{to} {{\n{}}}\n", body.concat())
            })
    });
    prop::collection::vec(prop_oneof![item, loops], 0..6).prop_map(|list| list.concat())
}

fn file() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c", "o1", "o2", "o3", "longnet_base"]);
    let item = prop_oneof![
        (name.clone(), expr()).prop_map(|(n, e)| format!("let {n} = {e}\n")),
        (name.clone(), items()).prop_map(|(n, body)| format!("attention {n} {{\n{body}}}\n")),
        (name.clone(), name, items())
            .prop_map(|(n, base, body)| format!("attention {n} = {base} with {{\n{body}}}\n")),
        Just("use \"std/longnet.attn\"\n".to_owned()),
        Just("use \"nope.attn\"\n".to_owned()),
    ];
    prop::collection::vec(item, 0..7).prop_map(|list| list.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_files_are_resolved(source in file()) {
        let resolution = text(&source);
        spans_are_sound(&resolution);
        for op in resolution.operators() {
            prop_assert_eq!(op.validate(), Ok(()));
            let again = text(&op.to_attn());
            prop_assert!(!again.has_errors());
            prop_assert_eq!(again.operators().next(), Some(op));
        }
        // Formatting changes no meaning.
        if let Some(formatted) = attnc_syntax::format(&source) {
            let again = text(&formatted);
            prop_assert_eq!(codes(&again), codes(&resolution));
            prop_assert!(again.operators().eq(resolution.operators()));
        }
    }

    #[test]
    fn damaged_files_are_survived(source in file(), cuts in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(vec!["", "}", "{", "(", "[", ",", "=", "let", "\"", "/*", "..", "9k9", "é"])), 1..4)) {
        let mut text_of = source;
        for (index, insert) in cuts {
            let mut at = index.index(text_of.len() + 1);
            while !text_of.is_char_boundary(at) {
                at -= 1;
            }
            if insert.is_empty() {
                text_of.truncate(at);
            } else {
                text_of.insert_str(at, insert);
            }
        }
        spans_are_sound(&text(&text_of));
    }
}
