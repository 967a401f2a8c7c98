// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Names, scopes, loops, `with`, fields and their defaults: each sentence of the language.

mod common;

use attnc_spec::{
    Branch, Gradient, Offsets, Operator, Precision, Profile, Ragged, Rows, Segment, ZeroLse,
};
use attnc_tensor::DType;
use common::{mistakes, operator, operators, with_items};

fn finite(op: &Operator) -> Vec<(u64, u64)> {
    let number = |s: Segment| if let Segment::Finite(w) = s { w } else { 0 };
    op.branches
        .iter()
        .map(|b| (number(b.segment), b.dilation))
        .collect()
}

#[test]
fn defaults() {
    let op = operator("attention a { heads = 12, head_dim = 64, branch { segment = 2048 } }");
    let expected = Operator {
        name: "a".to_owned(),
        heads: 12,
        kv_heads: 12,
        head_dim: 64,
        dtype: DType::F32,
        precision: Precision::Standard,
        causal: false,
        scale: 0.125,
        profile: Profile::PAPER,
        branches: vec![Branch {
            segment: Segment::Finite(2048),
            dilation: 1,
        }],
    };
    assert_eq!(op, expected);
}

#[test]
fn every_field_takes_its_values() {
    let op = operator(
        "attention a { heads = 8, kv_heads = 2, head_dim = 7, dtype = bf16, precision = fast, causal = true, scale = 0.3\n\
         semantics = torchscale, branch { segment = whole, dilation = 4 } }",
    );
    assert_eq!(
        (op.heads, op.kv_heads, op.head_dim, op.dtype),
        (8, 2, 7, DType::Bf16)
    );
    assert_eq!(
        (op.precision, op.causal, op.scale, op.profile),
        (Precision::Fast, true, 0.3, Profile::TORCHSCALE)
    );
    assert_eq!(
        op.branches,
        [Branch {
            segment: Segment::Whole,
            dilation: 4
        }]
    );
    let op = operator(&with_items(
        "offsets = blocked, ragged = zero_keys, rows = displaced, gradient = detached, zero_lse = uncovered\nbranch { segment = 8 }",
    ));
    assert_eq!(op.profile, Profile::TORCHSCALE);
    let op = operator(&with_items(
        "semantics = torchscale, offsets = modulo, zero_lse = covered\nbranch { segment = 8 }",
    ));
    let expected = Profile {
        offsets: Offsets::Modulo,
        zero_lse: ZeroLse::Covered,
        ..Profile::TORCHSCALE
    };
    assert_eq!(op.profile, expected);
    let op = operator(&with_items(
        "ragged = masked, semantics = torchscale, rows = aligned, gradient = exact\nbranch { segment = 8 }",
    ));
    let expected = Profile {
        ragged: Ragged::Masked,
        rows: Rows::Aligned,
        gradient: Gradient::Exact,
        ..Profile::TORCHSCALE
    };
    assert_eq!(op.profile, expected);
}

#[test]
fn limits_of_fields() {
    let field = |heads: &str, head_dim: &str, more: &str| {
        mistakes(&format!(
            "attention a {{ heads = {heads}, head_dim = {head_dim}, {more} branch {{ segment = 8 }} }}"
        ))
    };
    assert_eq!(field("4096", "256", ""), [""; 0]);
    assert_eq!(field("1", "1", ""), [""; 0]);
    assert_eq!(field("4097", "257", ""), ["E0403 4097", "E0403 257"]);
    assert_eq!(field("0", "0", ""), ["E0403 0", "E0403 0"]);
    assert_eq!(field("12", "8", "kv_heads = 5,"), ["E0404 5"]);
    assert_eq!(field("12", "8", "kv_heads = 24,"), ["E0404 24"]);
    assert_eq!(field("12", "8", "kv_heads = 0,"), ["E0403 0"]);
    assert_eq!(field("12", "8", "scale = 0,"), ["E0408 0"]);
    assert_eq!(field("12", "8", "scale = -0.5,"), ["E0408 -0.5"]);
    assert_eq!(field("12", "8", "scale = 1e-38,"), ["E0408 1e-38"]);
    assert_eq!(field("12", "8", "scale = 1.2e-38,"), [""; 0]);
    assert_eq!(field("12", "8", "scale = 3.4e38,"), [""; 0]);
    assert_eq!(field("12", "8", "scale = 3.5e38,"), ["E0408 3.5e38"]);
    assert_eq!(field("12", "8", "causal = 1,"), ["E0401 1"]);
    assert_eq!(field("12", "8", "causal = paper,"), ["E0402 paper"]);
    assert_eq!(field("12", "8", "scale = true,"), ["E0401 true"]);
    assert_eq!(field("12.0", "8", ""), ["E0401 12.0"]);
    assert_eq!(field("true", "8", ""), ["E0401 true"]);
}

#[test]
fn the_examples_of_the_language_page() {
    let source = "// The language model of the LongNet paper.\nedition 1\n\nlet ratios = [1, 2, 4, 6, 12]\n\n\
        attention longnet_base {\n    heads    = 12\n    head_dim = 64\n    dtype    = bf16\n    causal   = true\n    for i in 0..5 {\n        \
        branch { segment = 2048 * 2^i, dilation = ratios[i] }\n    }\n}\n\n\
        attention longnet_base_pretrained = longnet_base with { semantics = torchscale }\n\n\
        attention slide_encoder {\n    heads = 16, head_dim = 48, dtype = f16\n    \
        for i in 0..5 { branch { segment = geom(1024, 1048576, 5)[i], dilation = 2^i } }\n}\n";
    let list = operators(source);
    assert_eq!(
        finite(&list[0]),
        [(2048, 1), (4096, 2), (8192, 4), (16384, 6), (32768, 12)]
    );
    assert_eq!(
        (list[1].profile, list[1].causal, &list[1].branches),
        (Profile::TORCHSCALE, true, &list[0].branches)
    );
    assert_eq!(
        finite(&list[2]),
        [
            (1024, 1),
            (5792, 2),
            (32768, 4),
            (185_363, 8),
            (1_048_576, 16)
        ]
    );
    assert_eq!(attnc_syntax::format(source).as_deref(), Some(source));
}

#[test]
fn top_level_names_are_independent_of_order() {
    let op = operator(
        "attention b = a with { head_dim = d }\nlet d = c * 2\nattention a { heads = 2, head_dim = c, branch { segment = 8 } }\nlet c = 4\n",
    );
    assert_eq!(op.head_dim, 8);
    assert_eq!(
        mistakes("let a = b let b = c let c = a let d = a\nlet e = d"),
        ["E0207 a", "W07 e"]
    );
    assert_eq!(mistakes("let a = a + 1"), ["E0207 a"]);
    assert_eq!(
        mistakes(
            "attention a = b with { } attention b = c with { } attention c = a with { } attention d = a with { }"
        ),
        ["E0209 b"]
    );
    assert_eq!(mistakes("attention a = a with { }"), ["E0209 a"]);
}

#[test]
fn a_block_let_runs_from_its_line_to_the_brace() {
    let op = operator(&format!(
        "let w = 8\n{}",
        with_items("branch { segment = w }\nlet w = w * 2\nbranch { segment = w }")
    ));
    assert_eq!(finite(&op), [(8, 1), (16, 1)]);
    let op = operator(&format!(
        "let w = 8\n{}",
        with_items(
            "for i in 0..2 { let w = w * 2 branch { segment = w + i } } branch { segment = w }"
        )
    ));
    assert_eq!(finite(&op), [(16, 1), (17, 1), (8, 1)]);
    assert_eq!(
        mistakes(&with_items(
            "branch { segment = w }\nlet w = 8\nbranch { segment = w }"
        )),
        ["E0201 w"]
    );
    assert_eq!(
        mistakes(&with_items(
            "for i in 0..2 { let w = 8 branch { segment = w + i } }\nbranch { segment = w }"
        )),
        ["E0201 w"]
    );
    assert_eq!(
        mistakes(&with_items("let w = 8\nlet w = 9\nbranch { segment = w }")),
        ["E0204 w"]
    );
    assert_eq!(
        operator(&with_items(
            "let w = 8\nfor w in [w, 2 * w] { let w = w + 1 branch { segment = w } }"
        ))
        .branches
        .len(),
        2
    );
    let op = operator(
        &with_items("scale = w\nlet w = 3\nbranch { segment = w }")
            .replace("scale = w\nlet w = 3", "let w = 3\nscale = w"),
    );
    assert_eq!(op.scale, 3.0);
    assert_eq!(
        mistakes(&with_items("scale = w\nlet w = 3\nbranch { segment = w }")),
        ["E0201 w"]
    );
}

#[test]
fn names_given_twice_and_words_given_meanings() {
    assert_eq!(
        mistakes("let a = 1 let a = 2 let b = a let c = b")
            .first()
            .map(String::as_str),
        Some("E0204 a")
    );
    assert_eq!(
        mistakes(&format!(
            "let a = 1\n{}",
            with_items("branch { segment = a }")
        )),
        ["E0204 a"]
    );
    for word in [
        "true",
        "false",
        "f32",
        "whole",
        "paper",
        "torchscale",
        "exact",
        "zero_keys",
        "standard",
    ] {
        assert_eq!(
            mistakes(&format!("let {word} = 1")),
            [format!("E0206 {word}")]
        );
        assert_eq!(
            mistakes(&format!(
                "attention {word} {{ heads = 1, head_dim = 1, branch {{ segment = 1 }} }}"
            )),
            [format!("E0206 {word}")]
        );
        assert_eq!(
            mistakes(&with_items(&format!(
                "for {word} in 0..1 {{ branch {{ segment = 8 }} }}"
            ))),
            [format!("E0206 {word}")]
        );
    }
    assert_eq!(
        mistakes(&with_items(
            "heads = 3\nbranch { segment = 8, segment = 9 }"
        )),
        ["E0205 heads", "E0205 segment"]
    );
}

#[test]
fn fields_read_final_values() {
    let op = operator(
        "attention a { kv_heads = heads / 2, head_dim = kv_heads * 4, heads = 8, scale = 1.0 / heads, branch { segment = head_dim } }",
    );
    assert_eq!(
        (op.kv_heads, op.head_dim, op.scale, finite(&op)),
        (4, 16, 0.125, vec![(16, 1)])
    );
    let op = operator("attention a { heads = 8, head_dim = kv_heads, branch { segment = 8 } }");
    assert_eq!(op.head_dim, 8, "kv_heads means its default");
    let source = "attention a { heads = 8, head_dim = heads, scale = 1.0 / heads, branch { segment = heads } }\n\
                  attention b = a with { heads = 4, kv_heads = heads / 2 }\n";
    let list = operators(source);
    assert_eq!(
        (
            list[1].heads,
            list[1].kv_heads,
            list[1].head_dim,
            list[1].scale
        ),
        (4, 2, 8, 0.125),
        "copied values are evaluated already"
    );
    assert_eq!(finite(&list[1]), [(8, 1)]);
    let op = operator(&format!(
        "let heads = 3\n{}",
        "attention a { heads = 8, head_dim = heads, branch { segment = 8 } }"
    ));
    assert_eq!(op.head_dim, 3, "a let hides them");
    let op = operator(
        "attention a { heads = 8, head_dim = 8\nfor heads in [3] { branch { segment = heads } } }",
    );
    assert_eq!(finite(&op), [(3, 1)]);
    assert_eq!(
        mistakes("attention a { heads = head_dim, head_dim = heads, branch { segment = 8 } }"),
        ["E0208 heads"]
    );
    assert_eq!(
        mistakes("attention a { heads = kv_heads, head_dim = 8, branch { segment = 8 } }"),
        ["E0208 kv_heads"]
    );
    assert_eq!(
        mistakes(&with_items("let x = heads\nbranch { segment = x }")),
        ["E0213 heads"]
    );
    assert_eq!(
        mistakes("let x = head_dim let y = x let z = y")[0],
        "E0213 head_dim"
    );
    assert_eq!(
        mistakes(&with_items("scale = segment\nbranch { segment = 8 }")),
        ["E0213 segment"]
    );
}

#[test]
fn loops() {
    let branches = |items: &str| finite(&operator(&with_items(items)));
    assert_eq!(
        branches("for i in 3..6 { branch { segment = i } }"),
        [(3, 1), (4, 1), (5, 1)]
    );
    assert_eq!(
        branches("branch { segment = 1 }\nfor i in 6..3 { branch { segment = i } }"),
        [(1, 1)]
    );
    assert_eq!(
        branches("branch { segment = 1 }\nfor i in [] { branch { segment = i } }"),
        [(1, 1)]
    );
    assert_eq!(
        branches("for i in [4, 9] { branch { segment = i } }"),
        [(4, 1), (9, 1)]
    );
    assert_eq!(
        branches(
            "for i in 1..3 { for j in 1..3 { branch { segment = 10 * i + j, dilation = j } } }"
        ),
        [(11, 1), (12, 2), (21, 1), (22, 2)]
    );
    assert_eq!(
        branches("for p in [[4, 1], [8, 2]] { branch { segment = p[0], dilation = p[1] } }"),
        [(4, 1), (8, 2)]
    );
    assert_eq!(
        branches("for i in -2..1 { branch { segment = i + 3 } }"),
        [(1, 1), (2, 1), (3, 1)]
    );
    assert_eq!(
        mistakes(&with_items("for i in 0..0 { branch { segment = 8 } }")),
        ["E0215 a"]
    );
    assert_eq!(
        mistakes(&with_items("for i in 0..foo { branch { segment = 0 } }")),
        ["E0201 foo", "E0403 0"]
    );
    assert_eq!(
        mistakes(&with_items("for i in 0..3 { branch { segment = 7 / 2 } }")),
        ["E0303 7 / 2"],
        "once, not three times"
    );
    assert_eq!(
        mistakes(&with_items(
            "branch { segment = 8 } for i in 3..0 { branch { segment = nope } }"
        )),
        ["E0201 nope"],
        "also in lines that never run"
    );
    assert_eq!(
        mistakes(&with_items(
            "for i in 0..9223372036854775807 { branch { segment = 8 } }"
        )),
        ["E0312 0..9223372036854775807"]
    );
    assert_eq!(
        mistakes(&with_items("branch { segment = 8 }\nfor i in 0..65536 { }")),
        [""; 0]
    );
    assert_eq!(
        mistakes(&with_items("branch { segment = 8 }\nfor i in 0..65537 { }")),
        ["E0312 0..65537"]
    );
    assert_eq!(
        mistakes(&with_items("for i in 1..1025 { branch { segment = i } }")),
        [""; 0]
    );
    assert_eq!(
        mistakes(&with_items("for i in 1..1026 { branch { segment = i } }")),
        ["E0405 branch"]
    );
}

#[test]
fn with_copies_written_fields_and_replaces() {
    let source = "attention a { heads = 12, head_dim = 64, causal = true, scale = 0.5, offsets = blocked, branch { segment = 8 } branch { segment = 16 } }\n\
        attention b = a with { heads = 6 }\n\
        attention c = b with { head_dim = 16, branch { segment = 32 } }\n\
        attention d = a with { semantics = torchscale, rows = aligned }\n\
        attention e = d with { semantics = paper }\n\
        attention f = a with { }\n";
    let list = operators(source);
    assert_eq!(
        (
            list[1].heads,
            list[1].kv_heads,
            list[1].scale,
            list[1].branches.len()
        ),
        (6, 6, 0.5, 2)
    );
    assert_eq!(
        (list[2].head_dim, list[2].scale, finite(&list[2])),
        (16, 0.5, vec![(32, 1)])
    );
    let expected = Profile {
        rows: Rows::Aligned,
        ..Profile::TORCHSCALE
    };
    assert_eq!(list[3].profile, expected);
    let expected = Profile {
        offsets: Offsets::Blocked,
        ..Profile::PAPER
    };
    assert_eq!(
        list[4].profile, expected,
        "a switch set alone beats semantics wherever written"
    );
    assert_eq!(
        *list[5],
        Operator {
            name: "f".to_owned(),
            ..Operator::clone(&list[0])
        }
    );
    let list = operators(
        "attention a { heads = 12, head_dim = 64, branch { segment = 8 } } attention b = a with { head_dim = 16, heads = 4 }",
    );
    assert_eq!(
        (list[1].kv_heads, list[1].scale),
        (4, 0.25),
        "defaults are computed anew"
    );
    let source = "attention a { heads = 12, kv_heads = 4, head_dim = 64, branch { segment = 8 } } attention b = a with { heads = 6 }";
    assert_eq!(mistakes(source), ["E0404 6"]);
    let source = "attention a { heads = 2, head_dim = 4, branch { segment = 8 } } attention b = a with { for i in 0..0 { branch { segment = i } } }";
    assert_eq!(mistakes(source), ["E0215 b"]);
}

#[test]
fn mistakes_of_a_base_are_reported_once() {
    assert_eq!(
        mistakes(
            "attention a { heads = 0, branch { segment = 8 } } attention b = a with { } attention c = b with { causal = 3 }"
        ),
        ["E0214 a", "E0403 0", "E0401 3"]
    );
    assert_eq!(
        mistakes("attention b = nope with { heads = 2 } attention c = b with { }"),
        ["E0211 nope"]
    );
    assert_eq!(
        mistakes(
            "attention a { heads = 12, kv_heads = 5, head_dim = 4, branch { segment = 8 } } attention b = a with { causal = true }"
        ),
        ["E0404 5"]
    );
    assert_eq!(
        mistakes("attention a { head = 12, head_dim = 4, branch { segmnt = 8 } }"),
        ["E0203 head", "E0203 segmnt"],
        "what is misspelt is not missing"
    );
    assert_eq!(
        mistakes("attention a { segment = 8, heads = 2, head_dim = 4 }"),
        ["E0217 segment"]
    );
    assert_eq!(
        mistakes("attention a { heads = , head_dim = 4 }"),
        ["E0111 ,"],
        "what cannot be read is not missing"
    );
}

#[test]
fn missing_fields_are_named_together() {
    for (fields, missing, example) in [
        ("", "`heads` and no `head_dim`", "heads = 8, head_dim = 64"),
        ("heads = 2,", "`head_dim`", "head_dim = 64"),
        ("head_dim = 8,", "`heads`", "heads = 8"),
    ] {
        let source = format!("attention a {{ {fields} branch {{ segment = 8 }} }}");
        let resolution = common::text(&source);
        let [only] = &resolution.diagnostics[..] else {
            panic!("{source}: {:?}", resolution.diagnostics);
        };
        assert_eq!(only.message, format!("the attention `a` has no {missing}"));
        assert_eq!(
            only.help.as_deref(),
            Some(&*format!("add for instance `{example}`"))
        );
    }
}

#[test]
fn chains_of_with_end_at_64() {
    let chain = |n: usize| -> String {
        let first = "attention a0 { heads = 2, head_dim = 4, branch { segment = 8 } }\n".to_owned();
        // Backwards, to be independent of order too.
        (1..=n)
            .rev()
            .map(|i| format!("attention a{i} = a{} with {{ }}\n", i - 1))
            .collect::<String>()
            + &first
    };
    assert_eq!(mistakes(&chain(64)), [""; 0]);
    assert_eq!(mistakes(&chain(65)), ["E0406 a64"]);
    assert_eq!(mistakes(&chain(20_000)), ["E0406 a64"]);
}

#[test]
fn unused_lets_are_found_in_every_scope() {
    assert_eq!(
        mistakes(&format!(
            "let u = 1\nlet v = 2\n{}",
            with_items("let x = v\nlet y = 2\nfor i in 0..1 { let z = 3 branch { segment = y } }")
        )),
        ["W07 u", "W07 x", "W07 z"]
    );
    assert_eq!(
        mistakes("let u = 1\nlet v = $"),
        ["E0101 $"],
        "not while the text cannot be read"
    );
}
