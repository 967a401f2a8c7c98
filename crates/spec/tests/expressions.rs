// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Numbers, precedence, functions, lists: each sentence of the language as a row of a table.

mod common;

use attnc_spec::Segment;
use common::{mistakes, operator, with_items};

/// The value of an integer expression (between -2^39 and 2^39).
fn int(expr: &str) -> i64 {
    let op = operator(&with_items(&format!(
        "branch {{ segment = 2^39 + ({expr}) }}"
    )));
    match op.branches[0].segment {
        Segment::Finite(w) => w as i64 - (1 << 39),
        Segment::Whole => panic!("{expr} is whole"),
    }
}

/// The value of a positive number.
fn number(expr: &str) -> f64 {
    operator(&with_items(&format!(
        "scale = {expr}\nbranch {{ segment = 8 }}"
    )))
    .scale
}

/// The mistake of an expression, as code and place.
fn wrong(expr: &str) -> Vec<String> {
    mistakes(&with_items(&format!("branch {{ segment = {expr} }}")))
}

#[test]
fn integers() {
    for (expr, value) in [
        ("-2^2", -4),
        ("(-2)^2", 4),
        ("2^3^2", 512),
        ("-2^3", -8),
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("10 - 4 - 3", 3),
        ("100 / 10 / 2", 5),
        ("2 * 7 % 4", 2),
        ("7 % 3", 1),
        ("-7 % 3", 2),
        ("-(7 % 3)", -1),
        ("(-7) % 3", 2),
        ("7 % -3", 1),
        ("(-7) % -3", 2),
        ("0^0", 1),
        ("0^5", 0),
        ("1^1000000000000", 1),
        ("(-1)^1000000000001", -1),
        ("2^10", 1024),
        ("--3", 3),
        ("- -3", 3),
        ("1 - -1", 2),
        ("32k", 32768),
        ("1M - 1k^2", 0),
        ("1_000", 1000),
        ("-6 / 3", -2),
        ("6 / -3", -2),
        ("9223372036854775807 - 9223372036854775806", 1),
        ("-9223372036854775808 + 9223372036854775807", -1),
        ("(-9223372036854775808) % -1", 0),
        ("min(3, 1, 2)", 1),
        ("max(3, 1, 2)", 3),
        ("min(5)", 5),
        ("max(1, 2,)", 2),
        ("ceil_div(7, 2)", 4),
        ("ceil_div(8, 2)", 4),
        ("ceil_div(-7, 2)", -3),
        ("floor(2.7)", 2),
        ("floor(-2.1)", -3),
        ("floor(5)", 5),
        ("round(2.5)", 3),
        ("round(-2.5)", -3),
        ("round(2.4)", 2),
        ("len([])", 0),
        ("len([1, whole, [2, 3]])", 3),
        ("[5, 6, 7][1]", 6),
        ("[[1, 2], [3, 4]][1][0]", 3),
        ("[1, 2, 3,][len([1, 2])]", 3),
        ("geom(1024, 1048576, 5)[0]", 1024),
        ("geom(1024, 1048576, 5)[1]", 5792),
        ("geom(1024, 1048576, 5)[2]", 32768),
        ("geom(1024, 1048576, 5)[3]", 185_363),
        ("geom(1024, 1048576, 5)[4]", 1_048_576),
        ("len(geom(7, 9, 1))", 1),
        ("geom(7, 9, 1)[0]", 7),
        ("geom(1, 9223372036854775807, 64)[1]", 1),
        ("geom(1, 4611686018427387904, 63)[1]", 2),
        ("floor(sqrt(2) * 1000)", 1414),
        ("floor(1.0 * 7 / 2)", 3),
        ("floor(2^0.5 * 1000)", 1414),
        ("floor(2.0^-1 * 8)", 4),
        ("floor(min(2, 1.5) * 2)", 3),
        ("floor(1e3)", 1000),
    ] {
        assert_eq!(int(expr), value, "{expr}");
    }
}

#[test]
fn floats() {
    for (expr, value) in [
        ("0.5", 0.5),
        ("1 / 2.0", 0.5),
        ("1.0 / 2", 0.5),
        ("2.0^-1", 0.5),
        ("2^0.5", 2f64.sqrt()),
        ("1", 1.0),
        ("2^-1.0", 0.5),
        ("1e-3", 0.001),
        ("1.5e+1", 15.0),
        ("sqrt(4)", 2.0),
        ("1 / sqrt(head_dim)", 0.25),
        ("3 - 2.5", 0.5),
        ("max(1, 0.5)", 1.0),
        ("-(-0.5)", 0.5),
        ("1_0.5", 10.5),
    ] {
        assert_eq!(number(expr), value, "{expr}");
    }
}

#[test]
fn mistakes_stand_at_their_span() {
    for (expr, expected) in [
        ("7 / 2", "E0303 7 / 2"),
        ("1 + 7 / 2", "E0303 7 / 2"),
        ("8 / 2 / 3", "E0303 8 / 2 / 3"),
        ("7 / 0", "E0304 7 / 0"),
        ("1 + 7 % 0", "E0304 7 % 0"),
        ("round(7.0 / 0)", "E0304 7.0 / 0"),
        ("round(7.0 / 0.0)", "E0304 7.0 / 0.0"),
        ("ceil_div(7, 0)", "E0304 ceil_div(7, 0)"),
        ("round(0.0^-1)", "E0304 0.0^-1"),
        ("2^-1", "E0305 2^-1"),
        ("1^-1", "E0305 1^-1"),
        ("2^63", "E0302 2^63"),
        ("2^1000000000000", "E0302 2^1000000000000"),
        ("9223372036854775807 + 1", "E0302 9223372036854775807 + 1"),
        (
            "1 + 9223372036854775807 * 2",
            "E0302 9223372036854775807 * 2",
        ),
        ("-(-9223372036854775808)", "E0302 -(-9223372036854775808)"),
        (
            "(-9223372036854775808) / -1",
            "E0302 (-9223372036854775808) / -1",
        ),
        ("9223372036854775808", "E0107 9223372036854775808"),
        ("floor(1e300)", "E0302 floor(1e300)"),
        ("round(1e300 * 1e300)", "E0306 1e300 * 1e300"),
        ("round(sqrt(-1))", "E0306 sqrt(-1)"),
        ("round((-1.0)^0.5)", "E0306 (-1.0)^0.5"),
        ("5.0 % 2", "E0301 5.0 % 2"),
        ("whole + 1", "E0301 whole + 1"),
        ("[1] * 2", "E0301 [1] * 2"),
        ("-whole", "E0301 whole"),
        ("-[1]", "E0301 [1]"),
        ("true ^ 2", "E0301 true ^ 2"),
        ("[1, 2][2]", "E0307 2"),
        ("[1, 2][-1]", "E0307 -1"),
        ("[][0]", "E0307 0"),
        ("[1, 2][0.0]", "E0309 0.0"),
        ("[1, 2][whole]", "E0309 whole"),
        ("5[0]", "E0308 5"),
        ("len(5)", "E0308 5"),
        ("sqrt(whole)", "E0309 whole"),
        ("min([1, 2])", "E0309 [1, 2]"),
        ("ceil_div(1.0, 2)", "E0309 1.0"),
        ("geom(1.0, 2, 3)", "E0309 1.0"),
        ("geom(0, 2, 3)", "E0310 0"),
        ("geom(1, 0, 3)", "E0310 0"),
        ("geom(1, 2, 0)", "E0310 0"),
        ("geom(1, 2, 65)", "E0310 65"),
        ("min()", "E0216 min()"),
        ("sqrt(1, 2)", "E0216 sqrt(1, 2)"),
        ("foo(1)", "E0202 foo"),
        ("heads(1)", "E0202 heads"),
        ("1024.0", "E0401 1024.0"),
        ("[1024]", "E0401 [1024]"),
        ("2.0^10", "E0401 2.0^10"),
        ("0", "E0403 0"),
        ("-5", "E0403 -5"),
        ("2^40 + 1", "E0403 2^40 + 1"),
        ("paper", "E0402 paper"),
    ] {
        assert_eq!(wrong(expr), [expected], "{expr}");
    }
    assert_eq!(wrong("2^40"), [""; 0]);
    assert_eq!(wrong("whole"), [""; 0]);
}

#[test]
fn a_mistake_has_no_consequences() {
    for expr in [
        "(7 / 2) * 3 + [1, 2][7 / 2]",
        "min(1 / 0, 2) + len(3 / 0)",
        "[1 / 0][0] + foo",
    ] {
        let list = wrong(expr);
        assert!(
            list.iter().all(|m| !m.starts_with("E04")),
            "{expr}: {list:?}"
        );
    }
    assert_eq!(wrong("(7 / 2) * 3").len(), 1);
}

#[test]
fn words_are_values() {
    let op = operator(&with_items("branch { segment = [1024, whole][1] }"));
    assert_eq!(op.branches[0].segment, Segment::Whole);
    let source = "let types = [f32, bf16]\nlet on = true\nlet all = whole\n";
    let op = operator(&format!(
        "{source}{}",
        with_items("dtype = types[1]\ncausal = on\nbranch { segment = all }")
    ));
    assert_eq!((op.dtype, op.causal), (attnc_tensor::DType::Bf16, true));
}
