// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Exit codes and the launch format, rule by rule.

#[path = "../../ptx/tests/common/ptxas.rs"]
mod ptxas;

use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};

const PTX: &str = ".version 7.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 a, .param .u64 b, .param .b32 x)
.reqntid 4
{
.reg .b64 %d<6>; .reg .b32 %r<6>; .reg .f32 %f<4>;
ld.param.u64 %d1, [a];
ld.param.u64 %d2, [b];
ld.param.b32 %f1, [x];
mov.u32 %r1, %tid.x;
mul.wide.u32 %d3, %r1, 4;
add.s64 %d1, %d1, %d3;
add.s64 %d2, %d2, %d3;
ld.global.f32 %f2, [%d1];
mul.f32 %f3, %f2, %f1;
st.global.f32 [%d2], %f3;
ret;
}
";

fn bytes(v: &[f32]) -> Vec<u8> {
    v.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A launch that passes; tests change one thing.
fn good() -> Value {
    json!({
        "format": "ptx-launch-1", "name": "n", "unknown key": [1], "ptx": "k.ptx", "target": "sm_80", "entry": "k",
        "grid": [1, 1, 1], "block": [4, 1, 1], "dynamic_shared": 0,
        "args": [
            {"name": "a", "kind": "ptr", "buffer": "in", "offset": 4},
            {"name": "b", "kind": "ptr", "buffer": "out"},
            {"name": "x", "kind": "f32", "value": 2.0},
        ],
        "buffers": {
            "in": {"dtype": "f32", "count": 5, "role": "in", "init": {"file": "in.bin"}},
            "out": {"dtype": "f32", "count": 4, "shape": [2, 2], "role": "out", "init": {"fill": "nan"},
                    "expect": {"file": "want.bin", "dtype": "f32", "atol": 0.0, "rtol": 0.0, "rel_l2": 0.0}},
        },
    })
}

fn run_in(dir: &Path, launch: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ptx-emu"))
        .arg(dir.join(launch))
        .args(args)
        .output()
        .expect("runs")
}

fn run_with(ptx: &str, v: &Value, args: &[&str]) -> (i32, String) {
    let t = tempfile::tempdir().expect("folder");
    let d = t.path();
    std::fs::write(d.join("k.ptx"), ptx).expect("written");
    std::fs::write(d.join("in.bin"), bytes(&[9.0, 1.0, 2.0, 3.0, 4.0])).expect("written");
    std::fs::write(d.join("want.bin"), bytes(&[2.0, 4.0, 6.0, 8.0])).expect("written");
    std::fs::write(d.join("l.json"), v.to_string()).expect("written");
    let o = run_in(d, "l.json", args);
    (
        o.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&o.stderr).into_owned(),
    )
}

fn code(v: &Value) -> i32 {
    run_with(PTX, v, &["--check"]).0
}

fn changed(path: &str, to: Value) -> Value {
    let mut v = good();
    *v.pointer_mut(path).expect("there") = to;
    v
}

#[test]
fn a_good_launch_passes() {
    ptxas::assemble(PTX);
    let (c, e) = run_with(
        PTX,
        &good(),
        &["--check", "--races", "--counters", "--seed", "3"],
    );
    assert_eq!(c, 0, "{e}");
}

#[test]
fn failed_checks_and_contradictions_exit_with_1() {
    for (path, to) in [
        ("/args/2/value", json!(3.0)),
        ("/target", json!("sm_90")),
        ("/entry", json!("nothing")),
        ("/block", json!([8, 1, 1])),
        ("/args/2/kind", json!("f64")),
        ("/args/0/offset", json!(8)),
        ("/args/0/offset", json!(2)),
        ("/args/1/buffer", json!(null)),
        ("/args/1/buffer", json!("in")),
        ("/grid", json!([0, 1, 1])),
        ("/args", json!([])),
    ] {
        let v = changed(path, to.clone());
        assert_eq!(code(&v), 1, "{path} = {to}");
    }
    // Without --check nobody compares.
    assert_eq!(
        run_with(PTX, &changed("/args/2/value", json!(3.0)), &[]).0,
        0
    );
    // An `in` buffer that the kernel changes.
    let v = changed("/buffers/out/role", json!("in"));
    let mut v = v;
    v["buffers"]["out"]
        .as_object_mut()
        .expect("object")
        .remove("expect");
    let (c, e) = run_with(PTX, &v, &["--check"]);
    assert_eq!(c, 1);
    assert!(e.contains("`out`"), "{e}");
}

#[test]
fn malformed_input_exits_with_2() {
    for (path, to) in [
        ("/format", json!("ptx-launch-2")),
        ("/ptx", json!("missing.ptx")),
        ("/args/0/buffer", json!("missing")),
        ("/args/2/kind", json!("f8")),
        ("/args/2/value", json!("two")),
        ("/args/2", json!({"name": "x", "kind": "i8", "value": 300})),
        ("/buffers/in/count", json!(6)),
        ("/buffers/in/init/file", json!("missing.bin")),
        ("/buffers/in/dtype", json!("f8")),
        ("/buffers/in/role", json!("input")),
        ("/buffers/out/shape", json!([3, 2])),
        ("/buffers/out/role", json!("in")),
        ("/buffers/out/expect/dtype", json!("f64")),
        ("/grid", json!([1, 1])),
    ] {
        let v = changed(path, to.clone());
        assert_eq!(code(&v), 2, "{path} = {to}");
    }
    assert_eq!(run_with(PTX, &json!({"format": 1}), &[]).0, 2);
    assert_eq!(run_with("this is no PTX", &good(), &[]).0, 2);
    let none = Command::new(env!("CARGO_BIN_EXE_ptx-emu"))
        .output()
        .expect("runs");
    assert_eq!(none.status.code(), Some(2));
    let t = tempfile::tempdir().expect("folder");
    std::fs::write(t.path().join("l.json"), "{").expect("written");
    assert_eq!(run_in(t.path(), "l.json", &[]).status.code(), Some(2));
    assert_eq!(run_in(t.path(), "absent.json", &[]).status.code(), Some(2));
    assert_eq!(
        run_in(t.path(), "l.json", &["--bogus"]).status.code(),
        Some(2)
    );
}

#[test]
fn unknown_instructions_are_named_with_their_line() {
    for (from, to, word) in [
        ("mul.f32", "frobnicate.f32", "frobnicate"),
        ("mul.f32", "mul.approx.f32", "approx"),
        ("mul.f32", "mul.sat.rn.f32", "mul.sat.rn.f32"),
    ] {
        let (c, e) = run_with(&PTX.replace(from, to), &good(), &[]);
        assert_eq!(c, 1, "{e}");
        assert!(e.contains(":16:") && e.contains(word), "{e}");
    }
}

#[test]
fn numbers_of_every_kind_reach_the_kernel() {
    let kinds = [
        ("i8", json!(-1), ".s8"),
        ("u8", json!(255), ".u8"),
        ("i16", json!(-1), ".s16"),
        ("u16", json!(65535), ".u16"),
        ("i32", json!(-1), ".b32"),
        ("u32", json!(4294967295u64), ".u32"),
        ("i64", json!(-1), ".s64"),
        ("u64", json!(18446744073709551615u64), ".u64"),
        ("f16", json!("nan"), ".b16"),
        ("bf16", json!(1.00390625), ".b16"),
        ("f32", json!("-inf"), ".f32"),
        ("f64", json!(0.1), ".f64"),
    ];
    let want: Vec<u64> = vec![
        0xff,
        0xff,
        0xffff,
        0xffff,
        0xffff_ffff,
        0xffff_ffff,
        u64::MAX,
        u64::MAX,
        0x7e00,
        0x3f80,
        0xff80_0000,
        0.1f64.to_bits(),
    ];
    for ((kind, value, ty), want) in kinds.into_iter().zip(want) {
        let bits = ty[2..].parse::<u32>().expect("width");
        let reg = if bits == 8 { 16 } else { bits };
        let ptx = format!(
            ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param {ty} x, .param .u64 o) {{\n.reg .b64 %d<4>; .reg .b32 %r<3>; .reg .b16 %h<3>;\n\
             ld.param.u64 %d1, [o]; ld.param.b{bits} {src}, [x]; mov.u64 %d2, 0; {widen} st.global.u64 [%d1], %d2; ret; }}",
            src = match reg {
                16 => "%h1",
                32 => "%r1",
                _ => "%d3",
            },
            widen = match bits {
                8 => "cvt.u64.u8 %d2, %h1;",
                16 => "cvt.u64.u16 %d2, %h1;",
                32 => "cvt.u64.u32 %d2, %r1;",
                _ => "mov.u64 %d2, %d3;",
            },
        );
        let v = json!({
            "format": "ptx-launch-1", "ptx": "k.ptx", "target": "sm_80", "entry": "k", "grid": [1, 1, 1], "block": [1, 1, 1],
            "dynamic_shared": 0, "args": [{"kind": kind, "value": value}, {"kind": "ptr", "buffer": "o"}],
            "buffers": {"o": {"dtype": "u64", "count": 1, "role": "out", "init": {"fill": 5},
                        "expect": {"file": "w.bin", "dtype": "u64", "atol": 0, "rtol": 0}}},
        });
        let t = tempfile::tempdir().expect("folder");
        std::fs::write(t.path().join("k.ptx"), ptx).expect("written");
        std::fs::write(t.path().join("w.bin"), want.to_le_bytes()).expect("written");
        std::fs::write(t.path().join("l.json"), v.to_string()).expect("written");
        let o = run_in(t.path(), "l.json", &["--check"]);
        assert_eq!(
            o.status.code(),
            Some(0),
            "{kind}: {}",
            String::from_utf8_lossy(&o.stderr)
        );
    }
}
