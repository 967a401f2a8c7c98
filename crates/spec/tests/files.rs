// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `use`, the library and its frozen names, operators as text, JSON and built in code.

mod common;

use attnc_spec::{
    Branch, Loaded, NoFiles, Operator, OperatorError, Profile, STD_FILES, Segment, resolve,
    std_file,
};
use attnc_tensor::DType;
use common::{codes, files, operator, text, with_items};

fn finite(op: &Operator) -> Vec<(u64, u64)> {
    let number = |s: Segment| if let Segment::Finite(w) = s { w } else { 0 };
    op.branches
        .iter()
        .map(|b| (number(b.segment), b.dilation))
        .collect()
}

#[test]
fn use_imports_attentions_and_nothing_else() {
    let lib = "let hidden = 3\nattention x { heads = hidden, head_dim = 4, branch { segment = 8 } }\nattention y = x with { }\n";
    let resolution = files(&[
        (
            "main.attn",
            "use \"lib.attn\"\nattention z = x with { heads = 5 }\n",
        ),
        ("lib.attn", lib),
    ]);
    assert_eq!(codes(&resolution), [""; 0]);
    let names = |list: &[std::sync::Arc<Operator>]| {
        list.iter().map(|op| op.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(
        (
            names(&resolution.files[0].own),
            names(&resolution.files[0].imported)
        ),
        (vec!["z".to_owned()], vec!["x".to_owned(), "y".to_owned()])
    );
    let run = |main: &str, more: &[(&str, &str)]| {
        let mut list = vec![("main.attn", main), ("lib.attn", lib)];
        list.extend(more);
        codes(&files(&list)).join(" ")
    };
    assert_eq!(
        run(
            "use \"lib.attn\"\nlet a = hidden let b = a attention z { heads = b, head_dim = 1, branch { segment = 8 } }",
            &[]
        ),
        "E0201"
    );
    assert_eq!(
        run(
            "use \"mid.attn\"\nattention z = x with { }",
            &[("mid.attn", "use \"lib.attn\"\n")]
        ),
        "E0211",
        "not what it imports itself"
    );
    assert_eq!(
        run("use \"lib.attn\" use \"./lib.attn\"", &[]),
        "",
        "a file loads once"
    );
    assert_eq!(
        run(
            "use \"lib.attn\" attention x { heads = 1, head_dim = 1, branch { segment = 8 } }",
            &[]
        ),
        "E0505"
    );
    assert_eq!(run("use \"lib.attn\" let y = 3", &[]), "E0505");
    assert_eq!(
        run(
            "use \"lib.attn\" use \"two.attn\"",
            &[(
                "two.attn",
                "attention y { heads = 1, head_dim = 1, branch { segment = 8 } }"
            )]
        ),
        "E0505"
    );
    assert_eq!(
        run(
            "use \"a.attn\" use \"b.attn\"",
            &[
                ("a.attn", "use \"lib.attn\""),
                ("b.attn", "use \"lib.attn\"")
            ]
        ),
        "",
        "a diamond"
    );
    assert_eq!(
        run("use \"a.attn\"", &[("a.attn", "use \"main.attn\"")]),
        "E0504"
    );
    assert_eq!(run("use \"main.attn\"", &[]), "E0504");
    assert_eq!(
        run("use \"nope.attn\"\nattention z = x with { }", &[]),
        "E0501",
        "its names are not missed too"
    );
    assert_eq!(run("use \"/lib.attn\"", &[]), "E0503");
    assert_eq!(run("use \"C:\\\\lib.attn\"", &[]), "E0503");
    assert_eq!(run("use \"std/nope.attn\"", &[]), "E0507");
    assert_eq!(
        run(
            "use \"lib.attn\"\nlet q = x let r = q attention z { heads = r, head_dim = 1, branch { segment = 8 } }",
            &[]
        ),
        "E0210"
    );
    assert_eq!(
        run(
            "use \"w.attn\"",
            &[(
                "w.attn",
                "let unused = 1 attention w { heads = 1, head_dim = 1, branch { segment = 8, dilation = 2 } }"
            )]
        ),
        "",
        "warnings are for the named files"
    );
    assert_eq!(
        run(
            "use \"w.attn\"",
            &[(
                "w.attn",
                "attention w { heads = 0, head_dim = 1, branch { segment = 8 } }"
            )]
        ),
        "E0403"
    );
}

#[test]
fn chains_of_use_end_at_64() {
    let chain = |n: usize| {
        let mut list: Vec<(String, String)> = (0..n)
            .map(|i| (format!("f{i}.attn"), format!("use \"f{}.attn\"", i + 1)))
            .collect();
        list.push((format!("f{n}.attn"), String::new()));
        let list: Vec<(&str, &str)> = list.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        codes(&files(&list)).join(" ")
    };
    assert_eq!(chain(64), "");
    assert_eq!(chain(65), "E0506");
}

#[test]
fn the_library_has_its_frozen_names() {
    let all: String = STD_FILES
        .iter()
        .map(|(name, _)| format!("use \"{name}\"\n"))
        .collect();
    let resolution = text(&all);
    assert_eq!(codes(&resolution), [""; 0]);
    let find = |name: &str| {
        Operator::clone(
            resolution
                .operators()
                .find(|op| op.name == name)
                .unwrap_or_else(|| panic!("{name}")),
        )
    };
    let paper = [(2048, 1), (4096, 2), (8192, 4), (16384, 6), (32768, 12)];
    for (name, heads, head_dim) in [
        ("longnet_base", 12, 64),
        ("longnet_350m", 16, 64),
        ("longnet_760m", 24, 64),
        ("longnet_2_7b", 32, 80),
    ] {
        let op = find(name);
        assert_eq!(
            (
                op.heads,
                op.kv_heads,
                op.head_dim,
                op.dtype,
                op.causal,
                op.profile
            ),
            (heads, heads, head_dim, DType::Bf16, true, Profile::PAPER)
        );
        assert_eq!(finite(&op), paper);
        assert_eq!(op.scale, 1.0 / f64::from(head_dim).sqrt());
    }
    let powers = [1, 2, 4, 8, 16];
    let slide = [1024, 5792, 32768, 185_363, 1_048_576];
    for (name, heads, head_dim, segments) in [
        ("longvit_1k", 16, 24, [64, 128, 256, 512, 1024]),
        (
            "longvit_32k",
            16,
            24,
            [1024, 4096, 32768, 262_144, 1_048_576],
        ),
        ("slide_12l768d", 16, 48, slide),
        ("slide_24l1024d", 16, 64, slide),
        ("slide_12l1536d", 16, 96, slide),
    ] {
        let op = find(name);
        assert_eq!(
            (op.heads, op.head_dim, op.dtype, op.causal, op.profile),
            (heads, head_dim, DType::F16, false, Profile::TORCHSCALE)
        );
        assert_eq!(
            finite(&op),
            segments.into_iter().zip(powers).collect::<Vec<_>>()
        );
    }
    for (name, causal) in [("dense", false), ("dense_causal", true)] {
        let op = find(name);
        assert_eq!(
            (op.heads, op.head_dim, op.dtype, op.causal),
            (8, 64, DType::F32, causal)
        );
        assert_eq!(
            op.branches,
            [Branch {
                segment: Segment::Whole,
                dilation: 1
            }]
        );
    }
    assert_eq!(finite(&find("local_1k")), [(1024, 1)]);
    assert_eq!(resolution.operators().count(), 12);
    assert!(std_file("std/dense.attn").is_some() && std_file("std/../dense.attn").is_none());
}

#[test]
fn texts_and_json_read_back_as_the_same_operator() {
    let all: String = STD_FILES
        .iter()
        .map(|(name, _)| format!("use \"{name}\"\n"))
        .collect();
    for op in text(&all).operators() {
        let written = op.to_attn();
        assert_eq!(operator(&written), **op, "{written}");
        assert_eq!(
            attnc_syntax::format(&written).as_deref(),
            Some(written.as_str())
        );
        assert_eq!(
            Operator::from_json(&op.to_json().to_string()).ok().as_ref(),
            Some(&**op)
        );
    }
    assert!(Operator::from_json("{}").is_err());
    let mut json = operator(&with_items("branch { segment = 8 }")).to_json();
    json["operator"]["heads"] = 0.into();
    assert!(Operator::from_json(&json.to_string()).is_err());
    json["version"] = 2.into();
    assert!(
        Operator::from_json(&json.to_string()).is_err_and(|e| e.to_string().contains("version 2"))
    );
}

#[test]
fn operators_built_in_code_are_checked() {
    let good = operator(&with_items("branch { segment = 8 }"));
    assert_eq!(good.validate(), Ok(()));
    let bad = Operator {
        name: "for".to_owned(),
        heads: 4097,
        kv_heads: 3,
        head_dim: 0,
        scale: f64::NAN,
        branches: vec![Branch {
            segment: Segment::Finite(0),
            dilation: (1 << 40) + 1,
        }],
        ..good.clone()
    };
    let list = bad.validate().expect_err("it is bad");
    assert_eq!(list.len(), 7, "{list:?}");
    assert!(list.contains(&OperatorError::Name("for".to_owned())));
    assert_eq!(
        Operator {
            branches: Vec::new(),
            ..good
        }
        .validate(),
        Err(vec![OperatorError::BranchCount(0)])
    );
}

#[test]
fn files_named_twice_are_one_file() {
    let file = || {
        Ok(Loaded {
            key: "k".to_owned(),
            name: "f.attn".to_owned(),
            bytes: b"let a = 1".to_vec(),
        })
    };
    let resolution = resolve(vec![file(), file()], &mut NoFiles);
    assert_eq!(codes(&resolution), ["W07"]);
    assert_eq!(resolution.files.len(), 2);
}
