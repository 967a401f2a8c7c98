// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The content hash: what changes it and what must not.

mod common;

use std::collections::BTreeMap;

use attnc_spec::{
    Branch, Gradient, Offsets, Operator, Precision, Profile, Ragged, Rows, Segment, ZeroLse,
};
use attnc_tensor::DType;

fn first(source: &str) -> Operator {
    let resolution = common::text(source);
    let list = resolution.diagnostics.iter();
    let errors: Vec<String> = list
        .map(|d| format!("{} {}", d.code.id(), d.message))
        .collect();
    let operator = resolution.operators().next();
    let operator = operator.unwrap_or_else(|| panic!("{source}: {errors:?}"));
    Operator::clone(operator)
}

fn hash(source: &str) -> String {
    first(source).content_hash().to_string()
}

const PLAIN: &str = "attention a { heads = 4, head_dim = 8, branch { segment = 16 }, branch { segment = 64, dilation = 2 } }";

#[test]
fn writing_the_same_operator_otherwise_keeps_the_hash() {
    let same = [
        "edition 1\n\nattention a {\n    heads    = 4\n    head_dim = 8\n    branch { segment = 16 }\n    branch { segment = 64, dilation = 2 }\n}\n",
        "// words\nattention a { // more\n heads = 4 // heads\n\n\n\thead_dim = 8, branch { segment = 16 }, branch { segment = 64, dilation = 2 } }",
        "let h = 4\nlet d = 2 * h\nattention a { heads = h, head_dim = d, branch { segment = 16 }, branch { segment = 64, dilation = 2 } }",
        "let heads_of_mine = 4\nattention a { heads = heads_of_mine, head_dim = 2^3, for i in 0..2 { branch { segment = 16 * 4^i, dilation = 2^i } } }",
        "attention a { head_dim = 8, heads = 4, kv_heads = 4, dtype = f32, causal = false, branch { segment = 16, dilation = 1 }, branch { dilation = 2, segment = 64 } }",
        "attention b { heads = 4, head_dim = 8, branch { segment = 16 }, branch { segment = 64, dilation = 2 } }\nattention a = b with { causal = false }",
    ];
    let want = hash(PLAIN);
    for source in same {
        let resolution = common::text(source);
        let mut found = resolution.operators().filter(|op| op.name == "a");
        let found = found.next().unwrap_or_else(|| panic!("{source}"));
        assert_eq!(found.content_hash().to_string(), want, "{source}");
    }
    let again = first(&first(PLAIN).to_attn());
    assert_eq!(again.content_hash().to_string(), want, "its own text");
}

/// Every field changed alone.
fn changed(op: &Operator) -> Vec<(&'static str, Operator)> {
    let with = |what, change: &dyn Fn(&mut Operator)| {
        let mut other = op.clone();
        change(&mut other);
        assert_ne!(other, *op, "{what}");
        (what, other)
    };
    vec![
        with("name", &|o| o.name = "b".into()),
        with("heads", &|o| o.heads = 8),
        with("kv_heads", &|o| o.kv_heads = 2),
        with("head_dim", &|o| o.head_dim = 9),
        with("bf16", &|o| o.dtype = DType::Bf16),
        with("f16", &|o| o.dtype = DType::F16),
        with("fast", &|o| o.precision = Precision::Fast),
        with("tf32", &|o| o.precision = Precision::Tf32),
        with("causal", &|o| o.causal = true),
        with("scale by one unit in the last place", &|o| {
            o.scale = f64::from_bits(o.scale.to_bits() + 1);
        }),
        with("offsets", &|o| o.profile.offsets = Offsets::Blocked),
        with("ragged", &|o| o.profile.ragged = Ragged::ZeroKeys),
        with("rows", &|o| o.profile.rows = Rows::Displaced),
        with("gradient", &|o| o.profile.gradient = Gradient::Detached),
        with("zero_lse", &|o| o.profile.zero_lse = ZeroLse::Uncovered),
        with("segment", &|o| {
            o.branches[0].segment = Segment::Finite(17);
        }),
        with("whole", &|o| o.branches[0].segment = Segment::Whole),
        with("dilation", &|o| o.branches[0].dilation = 2),
        with("order of branches", &|o| o.branches.reverse()),
        with("a branch twice", &|o| o.branches.push(o.branches[0])),
        with("a branch less", &|o| o.branches.truncate(1)),
        // No validated operator has such names; no other one may take its hash either.
        with("a name that looks like fields", &|o| {
            o.name = "a\nheads=4".into();
        }),
        with("a name that looks escaped", &|o| {
            o.name = "a\\nheads=4".into();
        }),
    ]
}

#[test]
fn every_field_and_every_branch_changes_the_hash() {
    let op = first(PLAIN);
    let mut seen = BTreeMap::from([(op.content_hash(), "unchanged")]);
    for (what, other) in changed(&op) {
        if let Some(twin) = seen.insert(other.content_hash(), what) {
            panic!("{what} and {twin} have one hash");
        }
    }
}

#[test]
fn the_hash_is_sha_256_of_a_text_that_stays() {
    let op = Operator {
        name: "a".into(),
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        dtype: DType::Bf16,
        precision: Precision::Standard,
        causal: true,
        scale: 0.1,
        profile: Profile::TORCHSCALE,
        branches: vec![
            Branch {
                segment: Segment::Finite(16),
                dilation: 1,
            },
            Branch {
                segment: Segment::Whole,
                dilation: 2,
            },
        ],
    };
    let text = "attnc operator content 1\nattention a\nheads=4\nkv_heads=2\nhead_dim=8\ndtype=bf16\nprecision=standard\ncausal=true\nscale=0.1\noffsets=blocked\nragged=zero_keys\nrows=displaced\ngradient=detached\nzero_lse=uncovered\nbranch=16,1\nbranch=whole,2\n";
    assert_eq!(op.canonical(), text);
    // Of `printf TEXT | sha256sum`. Stored code and manifests lean on it: a change needs another number in the first line.
    let want = "a55c7ba0b4cef81272f38f580f76c677b9351855351438fa391eb4797e11a163";
    assert_eq!(op.content_hash().to_string(), want);
    assert_eq!(op.content_hash().bytes().len(), 32);
}
