// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The grammar sentence by sentence, mistakes one by one, and inputs made to break a parser.

use attnc_diag::{Code, FileId, SourceFile};

use super::{Parsed, parse};
use crate::dump_text;
use crate::limits::{MAX_DEPTH, MAX_FILE_BYTES};

fn read(text: &str) -> Parsed {
    parse(
        FileId::new(0),
        &SourceFile::new("t.attn", text.as_bytes().to_vec()),
    )
}

/// The mistakes as `CODE text`, the text being what the primary span covers.
fn mistakes(text: &str) -> Vec<String> {
    let list = read(text).diagnostics;
    list.iter()
        .map(|d| format!("{} {}", d.code.id(), &text[d.primary.span.range()]))
        .collect()
}

fn good(text: &str) {
    assert_eq!(mistakes(text), [""; 0], "{text}");
}

/// The tree of `let x = ...` in one line: nodes in parentheses.
fn tree(text: &str) -> String {
    let source = format!("let x = {text}");
    assert_eq!(mistakes(&source), [""; 0], "{source}");
    let dump = dump_text(&read(&source).file, false);
    let mut out = String::new();
    let mut depths = Vec::new();
    for line in dump.lines().skip(2) {
        let depth = line.len() - line.trim_start().len();
        while depths.last().is_some_and(|d| *d >= depth) {
            depths.pop();
            out.push(')');
        }
        out.push_str(if out.is_empty() { "(" } else { " (" });
        out.push_str(line.trim_start());
        depths.push(depth);
    }
    out + &")".repeat(depths.len())
}

#[test]
fn precedence_and_associativity() {
    for (text, expected) in [
        ("-2^2", "(neg (pow (int 2) (int 2)))"),
        ("2^-1", "(pow (int 2) (neg (int 1)))"),
        ("2^-2^2", "(pow (int 2) (neg (pow (int 2) (int 2))))"),
        ("2^3^4", "(pow (int 2) (pow (int 3) (int 4)))"),
        ("1 - 2 - 3", "(chain (int 1) (-) (int 2) (-) (int 3))"),
        (
            "1 + 2 * 3",
            "(chain (int 1) (+) (chain (int 2) (*) (int 3)))",
        ),
        ("1 * -2", "(chain (int 1) (*) (neg (int 2)))"),
        ("a % b / c", "(chain (name a) (%) (name b) (/) (name c))"),
        ("2 * 3^2", "(chain (int 2) (*) (pow (int 3) (int 2)))"),
        ("a[0]^2", "(pow (index (name a) (int 0)) (int 2))"),
        (
            "f(1, 2)[0][1]",
            "(index (index (call f (int 1) (int 2)) (int 0)) (int 1))",
        ),
        ("-a[0]", "(neg (index (name a) (int 0)))"),
        ("[1, 2][i]", "(index (list (int 1) (int 2)) (name i))"),
        ("(1)", "(paren (int 1))"),
        ("--1", "(neg (neg (int 1)))"),
        ("[]", "(list)"),
        ("[1,]", "(list (int 1))"),
        ("f()", "(call f)"),
        ("f(1,)", "(call f (int 1))"),
        ("f (1)", "(call f (int 1))"),
        ("a\n[0]", "(index (name a) (int 0))"),
    ] {
        assert_eq!(tree(text), expected, "{text}");
    }
}

#[test]
fn literals() {
    for (text, expected) in [
        ("32k", "(int 32768)"),
        ("1M", "(int 1048576)"),
        ("2G", "(int 2147483648)"),
        ("1_000", "(int 1000)"),
        ("1_0k", "(int 10240)"),
        ("007", "(int 7)"),
        ("9223372036854775807", "(int 9223372036854775807)"),
        ("1.5", "(float 1.5)"),
        ("1e3", "(float 1000.0)"),
        ("1E3", "(float 1000.0)"),
        ("1.5e-3", "(float 0.0015)"),
        ("1e+2", "(float 100.0)"),
        ("1_0.5", "(float 10.5)"),
        ("2k^2", "(pow (int 2048) (int 2))"),
    ] {
        assert_eq!(tree(text), expected, "{text}");
    }
}

#[test]
fn everything_that_is_allowed() {
    good("");
    good("\u{feff}edition 1\r\n");
    good("// only a comment");
    good("/* a /* nested */ comment */");
    good("edition 1 use \"a.attn\" let a = 1 attention b { } attention c = b with { }");
    good("edition 1, use \"a.attn\", let a = 1, attention b { },");
    good("use \"a \\\"quoted\\\" \\\\ path\"");
    good("attention a { heads = 1, head_dim = 2, branch { segment = 4, dilation = 2, }, }");
    good("attention a { heads = 1 branch { segment = 4 } branch { segment = 8 } }");
    good("attention a { heads = 1\nhead_dim = 2 /* x\n */ dtype = f32 }");
    good(
        "attention a { for i in 0..5 { for j in [1, 2] { let k = i * j branch { segment = k } } } }",
    );
    good("attention a { for i in a - 1 .. b + 1 { } for x in xs { } for y in f(1) { } }");
    good("let heads = 1 let f = 2 let sqrt = 3");
}

#[test]
fn every_mistake_has_its_code_and_its_span() {
    for (text, expected) in [
        ("let a = 1;", &["E0101 ;"][..]),
        ("let a = 1 ;;; ;", &["E0101 ;;;", "E0101 ;"]),
        ("attention a { heads: 12 }", &["E0101 :"]),
        ("let é = 1", &["E0101 é"]),
        ("let a\u{a0}= 1", &["E0101 \u{a0}"]),
        ("let a = 1 /* x /* y */", &["E0102 /*"]),
        ("use \"abc", &["E0103 \"abc"]),
        ("use \"abc\nlet a = 1", &["E0103 \"abc"]),
        ("use \"a\\nb\"", &["E0104 \\n"]),
        ("let a = 1.", &["E0105 1."]),
        ("let a = .5", &["E0105 .5"]),
        ("let a = 1_", &["E0105 1_"]),
        ("let a = 1__0", &["E0105 1__0"]),
        ("let a = 1e", &["E0105 1e"]),
        ("let a = 1e+", &["E0105 1e+"]),
        ("let a = [1., 2.]", &["E0105 1.", "E0105 2."]),
        ("let a = 32K", &["E0106 K"]),
        ("let a = 32kb", &["E0106 kb"]),
        ("let a = 1.5k", &["E0106 k"]),
        ("let a = 0x10", &["E0106 x10"]),
        ("let a = 2a", &["E0106 a"]),
        (
            "let a = 18446744073709551616",
            &["E0107 18446744073709551616"],
        ),
        ("let a = 9007199254740993k", &["E0107 9007199254740993k"]),
        ("let a = 1e999", &["E0306 1e999"]),
        ("let a = ", &["E0111 "]),
        ("let = 1", &["E0111 ="]),
        ("let a 1", &["E0111 1"]),
        ("let a == 1", &["E0111 ="]),
        ("let a = 1 +", &["E0111 "]),
        ("let a = +1", &["E0111 +"]),
        ("let a = 1 2", &["E0111 2"]),
        ("let a = [1 2]", &["E0111 2"]),
        ("let a = [1,,2]", &["E0111 ,"]),
        ("let a = (1, 2)", &["E0111 ,"]),
        ("let a = 3(4)", &["E0111 ("]),
        ("let a = (1", &["E0112 ("]),
        ("let a = [1, 2\nlet b = 3", &["E0112 ["]),
        ("let a = f(1", &["E0112 ("]),
        ("attention a { heads = 1", &["E0112 {"]),
        ("attention a { heads = [1, 2\nhead_dim = 4 }", &["E0112 ["]),
        ("attention a { heads = 1\nattention b { }", &["E0112 {"]),
        ("attention a { } }", &["E0111 }"]),
        (
            "attention a { heads = 1 head_dim = 2 dtype = f32 }",
            &["E0113 head_dim", "E0113 dtype"],
        ),
        (
            "attention a { branch { segment = 1 dilation = 2 } }",
            &["E0113 dilation"],
        ),
        ("attention a { for i in 0..=5 { } }", &["E0114 ..="]),
        ("let a = 0..5", &["E0115 .."]),
        ("let a = [0..5]", &["E0115 .."]),
        ("let a = \"x\"", &["E0116 \"x\""]),
        ("let for = 1", &["E0117 for"]),
        ("attention with { }", &["E0117 with"]),
        ("attention a { for in in 0..5 { } }", &["E0117 in"]),
        ("let a = 1 + in", &["E0117 in"]),
        ("edition 2", &["E0118 2"]),
        ("edition 1.0", &["E0118 1.0"]),
        ("let a = 1 edition 1", &["E0119 edition"]),
        ("edition 1 edition 1", &["E0119 edition"]),
        ("edition", &["E0111 "]),
        ("heads = 12", &["E0120 heads"]),
        (
            "attention a { for i in 0..5 { heads = i } }",
            &["E0120 heads"],
        ),
        ("branch { segment = 4 }", &["E0121 branch"]),
        ("for i in 0..5 { }", &["E0121 for"]),
        ("attention a { branch { branch { } } }", &["E0121 branch"]),
        (
            "attention a { branch { let a = 1 for i in 0..1 { } } }",
            &["E0121 let", "E0121 for"],
        ),
        ("attention a { use \"x\" }", &["E0121 use"]),
        ("attention a = b { }", &["E0122 {"]),
        ("attention a = b\nattention c { }", &["E0122 attention"]),
        ("attention a = b with", &["E0111 "]),
        ("attenton a { heads = }", &["E0111 attenton", "E0111 }"]),
        (
            "attention a { brnch { segment = } }",
            &["E0111 brnch", "E0111 }"],
        ),
        ("attention a { heads }", &["E0111 }"]),
        (
            "attention a { foo { bar = 1 } heads = }",
            &["E0111 {", "E0111 }"],
        ),
        (
            "attention a { heads 12, head_dim = }",
            &["E0111 12", "E0111 }"],
        ),
        ("attention { heads = 1 }", &["E0111 {"]),
        ("foo", &["E0111 foo"]),
        ("use std", &["E0111 std"]),
        ("use 1 let a = ", &["E0111 1", "E0111 "]),
        (
            "attention a { for i 0..5 { heads = 1 } }",
            &["E0111 0", "E0120 heads"],
        ),
        ("attention a { , heads = 1 }", &["E0111 ,"]),
        ("attention a { heads = 1,, head_dim = 2 }", &["E0111 ,"]),
    ] {
        assert_eq!(mistakes(text), expected, "{text}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_reported() {
    let text = "let a = (1 + \nlet b = 32K\nattention c { heads = , head_dim = [1 2] branch { segment = 1. } }\nlet d = $";
    assert_eq!(
        mistakes(text),
        [
            "E0111 let",
            "E0106 K",
            "E0111 ,",
            "E0111 2",
            "E0105 1.",
            "E0101 $"
        ]
    );
}

#[test]
fn nesting_up_to_the_limit_is_read() {
    for (open, close) in [("(", ")"), ("[", "]"), ("-", ""), ("f(", ")"), ("2^", "")] {
        good(&format!(
            "let a = {}1{}",
            open.repeat(MAX_DEPTH),
            close.repeat(MAX_DEPTH)
        ));
        let deep = format!(
            "let a = {}1{}\nlet b = 2",
            open.repeat(MAX_DEPTH + 1),
            close.repeat(MAX_DEPTH + 1)
        );
        let list = mistakes(&deep);
        assert!(
            list.len() == 1 && list[0].starts_with("E0110"),
            "{open}: {list:?}"
        );
        assert_eq!(read(&deep).file.items.len(), 2, "{open}");
    }
    good(&format!("let a = b{}", "[0]".repeat(MAX_DEPTH)));
    assert_eq!(
        mistakes(&format!(
            "let a = b{}\nlet c = 1",
            "[0]".repeat(MAX_DEPTH + 1)
        )),
        ["E0110 ["]
    );
    let blocks = |n: usize| {
        format!(
            "attention a {{ {} {} }}",
            "for i in x {".repeat(n),
            "}".repeat(n)
        )
    };
    good(&blocks(MAX_DEPTH - 1));
    let list = mistakes(&blocks(MAX_DEPTH));
    assert!(list.len() == 1 && list[0].starts_with("E0110"), "{list:?}");
}

#[test]
fn chains_are_no_nesting() {
    good(&format!("let a = 1{}", " + 1 * 2 - 3".repeat(10_000)));
}

#[test]
fn files_over_a_mebibyte_and_files_not_in_utf8_are_refused() {
    good(&" ".repeat(MAX_FILE_BYTES));
    assert_eq!(
        read(&" ".repeat(MAX_FILE_BYTES + 1)).diagnostics[0].code,
        Code::FileTooLarge
    );
    let parsed = parse(
        FileId::new(0),
        &SourceFile::new("t", b"let a = \xff1".to_vec()),
    );
    assert_eq!(parsed.diagnostics.len(), 1);
    assert_eq!(
        (
            parsed.diagnostics[0].code,
            parsed.diagnostics[0].primary.span.start
        ),
        (Code::NotUtf8, 8)
    );
}

#[test]
fn no_input_hangs_or_overflows() {
    let pieces = [
        "(",
        "[",
        "-",
        "/*",
        "{",
        "}",
        ")",
        "]",
        "2^",
        "a[",
        "f(",
        "in ",
        "for ",
        "branch {",
        "attention a {",
        "for i in ",
        "for i in x {",
        "let ",
        "let a = ",
        "attention a = b with {",
        "use ",
        "use \"",
        "\"",
        "\\",
        ".",
        "..",
        "..=",
        ",",
        "=",
        "a =",
        "a ",
        "1.",
        ".5",
        "1_",
        "1 ",
        "edition ",
        "@ ",
        "é",
        "\r",
        "\n",
        "\0",
        "/",
        "//",
        "+",
        "1+",
        "[1,",
        "heads = [",
        "branch { segment = (",
        "x = 1 ",
        "x\n",
        "with ",
        "use a ",
        "(]",
        "[)",
        "({",
        "[{",
        "branch { branch { } ",
        "let let ",
        "attention attention ",
        "for i in [ {",
        "a = b = ",
        "a(1)(",
        "1 2 ",
        "\u{feff}",
    ];
    for piece in pieces {
        let text = piece.repeat(MAX_FILE_BYTES / piece.len());
        let started = std::time::Instant::now();
        let parsed = read(&text);
        drop(crate::format(&text));
        drop(parsed);
        assert!(
            started.elapsed().as_secs() < 20,
            "{piece:?} took {:?}",
            started.elapsed()
        );
    }
}
