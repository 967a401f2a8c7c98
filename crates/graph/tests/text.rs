// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Text and JSON: every rule has a graph that breaks it (`broken/`, the expected message in its second line), random graphs survive both
//! forms, and no text makes the parser panic.

use std::collections::BTreeSet;
use std::path::Path;

use attnc_graph::{
    Branch, Exponential, Form, Gradient, Header, NodeRef, Offsets, Once, Op, OpGraph, Port,
    Precision, Profile, Ragged, RowMap, Rows, Segment, Side, Term, Type, ZeroLse, from_json, parse,
    print, to_json,
};
use attnc_tensor::DType;
use proptest::prelude::*;

#[test]
fn every_rule_has_a_graph_that_breaks_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut rules = BTreeSet::new();
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let line = text.lines().nth(1).unwrap_or_default();
        let want = line.strip_prefix("// expect: ").unwrap();
        let error = parse(&text).expect_err(&path.display().to_string());
        let message = error.to_string();
        assert!(message.contains(want), "{}: {message}", path.display());
        let at = |i: usize| message.as_bytes().get(i).is_some_and(u8::is_ascii_digit);
        if let Some(i) = message.find(": G").filter(|i| at(i + 3) && at(i + 4)) {
            rules.insert(message[i + 2..i + 5].to_string());
        }
    }
    let all: BTreeSet<String> = (1..=9).map(|i| format!("G{i:02}")).collect();
    assert_eq!(rules, all);
}

fn branch() -> impl Strategy<Value = Branch> {
    let segment = prop_oneof![
        Just(Segment::Whole),
        (1u64..=1 << 40).prop_map(Segment::Finite)
    ];
    (segment, 1u64..=1 << 40).prop_map(|(segment, dilation)| Branch { segment, dilation })
}

fn header() -> impl Strategy<Value = Header> {
    let switches = proptest::collection::vec(any::<bool>(), 7);
    (1u32..9, 1u32..9, 1u32..=256, switches, 0usize..3).prop_map(|(kv, share, d, s, dtype)| {
        Header {
            form: if s[0] { Form::Graph } else { Form::Fused },
            name: "random_1".into(),
            heads: kv * share,
            kv_heads: kv,
            head_dim: d,
            dtype: DType::ALL[dtype],
            precision: [Precision::Standard, Precision::Fast, Precision::Tf32][dtype],
            causal: s[1],
            profile: Profile {
                offsets: [Offsets::Modulo, Offsets::Blocked][usize::from(s[2])],
                ragged: [Ragged::Masked, Ragged::ZeroKeys][usize::from(s[3])],
                rows: [Rows::Aligned, Rows::Displaced][usize::from(s[4])],
                gradient: [Gradient::Exact, Gradient::Detached][usize::from(s[5])],
                zero_lse: [ZeroLse::Covered, ZeroLse::Uncovered][usize::from(s[6])],
            },
        }
    })
}

/// An operation of kind `kind`, with attributes.
fn op(kind: u32, b: Branch, weight: u32, scale: f64, h: &Header) -> Op {
    let e = Exponential {
        base2: weight.is_multiple_of(2),
        scale,
    };
    let once = Once {
        terms: vec![Term { branch: b, weight }],
        map: if h.profile.rows == Rows::Displaced && weight.is_multiple_of(3) {
            RowMap::Displaced
        } else {
            RowMap::Aligned
        },
        zero_keys: h.profile.ragged == Ragged::ZeroKeys,
    };
    match kind {
        0 => Op::Input([Port::Q, Port::K, Port::V][weight as usize % 3]),
        1 => Op::Gather(b, [Side::Query, Side::Key][weight as usize % 2]),
        2 => Op::Qk,
        3 => Op::Scale(scale),
        4 => Op::Mask,
        5 => Op::Softmax,
        6 => Op::Pv,
        7 => Op::Scatter,
        8 => Op::Merge,
        9 => Op::Mix,
        10 => Op::Local(b),
        11 => Op::Once(once),
        12 => Op::Dense(weight),
        13 => Op::Sum,
        14 => Op::Attend(e),
        15 => Op::Join,
        16 => Op::Fold(e),
        17 => Op::Finish,
        _ => Op::Panels,
    }
}

/// Any graph that the verifier lets be built: operations with operands drawn from what is there, those that do not fit left out.
fn graph() -> impl Strategy<Value = OpGraph> {
    let step = (
        0u32..19,
        branch(),
        1u32..9,
        1e-30f64..1e30,
        proptest::collection::vec(any::<u32>(), 5),
    );
    (header(), proptest::collection::vec(step, 1..60), branch()).prop_map(|(h, steps, one)| {
        let mut g = OpGraph::new(h.clone());
        let all = [Port::Q, Port::K, Port::V].map(|p| g.add(Op::Input(p), &[]).unwrap());
        for side in [Side::Query, Side::Key] {
            g.add(Op::Gather(one, side), &all[..1]).unwrap();
        }
        for (kind, b, weight, scale, picks) in steps {
            // Mostly one branch, so that operands fit together.
            let b = if weight < 7 { one } else { b };
            let op = op(kind, b, weight, scale, &h);
            for arity in 0..=5 {
                let count = g.nodes().count() as u32;
                let operands: Vec<NodeRef> =
                    picks[..arity].iter().map(|p| NodeRef(p % count)).collect();
                if g.add(op.clone(), &operands).is_ok() {
                    break;
                }
            }
        }
        let bag = g.add(op(11, one, 1, 1.0, &h), &[]);
        let state = g
            .add(
                op(14, one, 1, 0.5, &h),
                &[all[0], all[1], all[2], bag.unwrap()],
            )
            .unwrap();
        let mut pair = g.add(Op::Finish, &[state]).unwrap();
        if let Some(other) = g.nodes().find(|n| g.ty(*n) == Type::Pair) {
            let mix = if h.profile.zero_lse == ZeroLse::Covered {
                Op::Merge
            } else {
                Op::Mix
            };
            pair = g.add(mix, &[other, pair]).unwrap();
        }
        g.add(Op::Output, &[pair]).unwrap();
        g
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_graphs_survive_text_and_json(g in graph()) {
        let text = print(&g);
        prop_assert_eq!(&parse(&text).map_err(|e| TestCaseError::fail(format!("{e}\n{text}")))?, &g);
        let json = to_json(&g).unwrap();
        prop_assert_eq!(&from_json(&json).unwrap(), &g);
    }

    #[test]
    fn damaged_text_is_refused_without_panic(g in graph(), cut in any::<usize>(), put in "[%{}(),: a-z0-9é]{0,6}") {
        let text = print(&g);
        let mut at = cut % (text.len() + 1);
        while !text.is_char_boundary(at) { at -= 1; }
        let _ = parse(&format!("{}{put}{}", &text[..at], &text[at..]));
        let _ = parse(&text[..at]);
        let json = to_json(&g).unwrap();
        let at = cut % (json.len() + 1);
        prop_assert!(from_json(&json[..at.min(json.len() - 2)]).is_err());
    }
}

#[test]
fn json_of_another_version_or_with_other_fields_is_refused() {
    let error = |text: &str| from_json(text).unwrap_err().to_string();
    assert!(error(r#"{"attnc_graph": 2}"#).contains("version 2"));
    assert!(error(r#"{"attnc_graph": 1, "more": 3}"#).contains("more"));
    assert!(error("[]").contains("invalid length"));
}
