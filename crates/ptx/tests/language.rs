// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The language itself: errors with line and token, every directive, the verifier's rules,
//! text that is no PTX, random programs against a scalar evaluation of their own.

mod common;
use attnc_ptx::{ParseErrorKind as K, parse, print, verify};
use common::{Run, kernel};
use proptest::prelude::*;

fn module(body: &str) -> String {
    format!(".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{\n{body}\n}}\n")
}

#[test]
fn errors_name_line_and_token() {
    let cases: Vec<(String, u32, K)> = vec![
        (module("foo.s32 %r1;"), 6, K::UnknownOpcode("foo".into())),
        (
            module("ret;\n  add.s33 %r1, %r1, 1;"),
            7,
            K::UnknownModifier {
                opcode: "add".into(),
                modifier: "s33".into(),
            },
        ),
        (
            module("add.ftz.s32 %r1, %r1, 1;"),
            6,
            K::Combination("add.ftz.s32".into()),
        ),
        (
            module("add.s32 %r1, %r1, 1"),
            7,
            K::Expected {
                expected: "`;`",
                found: "}".into(),
            },
        ),
        (module(".bogus 1;"), 6, K::UnknownDirective(".bogus".into())),
        (module("mov.u32 %r1, 0xfg;"), 6, K::Number("0xfg".into())),
        (module("mov.u32 %r1, `;"), 6, K::Character('`')),
        (module("/* open"), 6, K::Unterminated("comment")),
        (
            ".target sm_80".into(),
            1,
            K::Expected {
                expected: "`.version`",
                found: ".target".into(),
            },
        ),
    ];
    for (text, line, kind) in cases {
        let e = parse(&text).expect_err(&text);
        assert_eq!((e.pos.line, e.kind), (line, kind), "{text}");
    }
}

#[test]
fn all_that_compilers_print_survives() {
    let text = r#"
.version 8.0
.target sm_90a, debug
.address_size 64
.file 1 "a b.cu", 17, 400
.extern .func (.param .b32 r) vprintf (.param .b64 a, .param .b64 b);
.extern .shared .align 16 .b8 dyn[];
.visible .global .align 8 .u64 table[3] = {generic(data)+4, data, 7};
.global .align 4 .f32 data[2][2] = {{1.5, -0f3F800000}, {2}};
.const .align 4 .b32 c = (1 << 4) | 3;
.weak .global .b8 bytes[] = {1, 2, 0xff};
.pragma "nounroll";
.func (.reg .b32 %out) f (.reg .b32 %in, .param .align 8 .b8 s[16]) .noreturn { ret; }
.visible .entry k(.param .u64 .ptr .global .align 16 p, .param .align 8 .b8 big[24])
.reqntid 32, 2, 1
.minnctapersm 2
.maxnreg 64
{
  .reg .pred %p<3>; .reg .v4 .f32 v; .reg .b32 a, b, %r<4>; .reg .b64 %rd<9>;
  .local .align 8 .b8 depot[32];
  .shared .align 4 .v2 .f32 s[4];
  .loc 1 3 0
  .loc 1 3 0, function_name $L__info0+8, inlined_at 1 4 5
  .pragma "nounroll";
$start:
  @!%p1 bra.uni $start;
  { .reg .b32 a; mov.u32 a, %tid.x; }
  mov.u64 %rd1, data+8;
  mov.b32 a, dyn;
  ld.global.v4.f32 {v.x, v.y, v.z, v.w}, [%rd1+-16];
  ld.param.b64 %rd1, [big+16];
  setp.lt.and.s32 %p1|%p2, a, -5, !%p1;
  mov.b64 {a, _}, %rd1;
  cp.async.cg.shared.global.L2::128B [a], [%rd1], 16, 8;
  atom.global.acq_rel.gpu.cas.b32 a, [%rd1], 0, 1;
  shfl.sync.bfly.b32 a|%p1, b, 0x1, 31, -1;
  tab: .branchtargets $start, end;
  brx.idx a, tab;
  call (a), f, (b, big);
  call.uni f2;
  proto: .callprototype (.param .b32 _) _ (.param .b64 _);
  call (a), %rd1, (b), proto;
end:
  ret;
}
.func f2 { ret; }
.section .debug_str
{
$L__info0:
.b8 1, 2
.b32 .debug_abbrev
.b64 $L__info0+4
.b32 end1-start1
}
"#;
    let m = parse(text).unwrap_or_else(|e| panic!("{e}"));
    let p = print(&m);
    assert_eq!(parse(&p).as_ref(), Ok(&m), "{p}");
    assert_eq!(m.items.len(), 12);
}

#[test]
fn verifier_rules() {
    let regs = ".reg .pred %p<3>; .reg .b16 %h<3>; .reg .b32 %r<5>; .reg .f32 %f<3>; .reg .b64 %d<3>; .shared .b8 s[16]; .local .b8 l[16];";
    let cases: &[(&str, &[u8])] = &[
        ("add.s32 %r1, %r2, 3;", &[]),
        ("add.f32 %r1, %r2, %f1;", &[]),
        ("ld.shared.u8 %r1, [s+3];", &[]),
        ("redux.sync.add.s32 %r1, %r2, -1;", &[]),
        ("wgmma.fence.sync.aligned;", &[1, 1]),
        ("elect.sync %r1|%p1, -1;", &[1, 1]),
        ("add.s32 %r1, %r2;", &[2]),
        ("add.s32 7, %r2, %r3;", &[2]),
        ("ld.shared.u32 %r1, %r2;", &[2]),
        ("add.s32 %r1, %r2, %r9;", &[3]),
        ("bra nowhere;", &[3]),
        ("@%q1 ret;", &[3]),
        ("add.s32 %r1, %d2, 3;", &[4]),
        ("add.s32 %r1, %f1, 3;", &[4]),
        ("mul.wide.s32 %r1, %r1, %r2;", &[4]),
        ("cvt.u32.u64 %h1, %d1;", &[4]),
        ("selp.b32 %r1, %r2, %r3, %r4;", &[4]),
        ("ld.shared.u32 %r1, [l];", &[5]),
        ("st.local.u32 [s], %r1;", &[5]),
    ];
    for (body, want) in cases {
        let m = parse(&module(&format!("{regs}\n{body} ret;"))).unwrap_or_else(|e| panic!("{e}"));
        let got: Vec<u8> = verify(&m).iter().map(|e| e.kind.rule()).collect();
        assert_eq!(got, *want, "{body}");
    }
    let m = parse(&module(
        ".reg .b32 a; .reg .b32 a; .shared .align 3 .b8 x[4]; call.uni g; ret;",
    ))
    .expect("parses");
    let got: Vec<u8> = verify(&m).iter().map(|e| e.kind.rule()).collect();
    assert_eq!(got, [3, 6, 3]);
}

/// Where ptxas is installed, it accepts every module of the corpus, as the verifier does.
#[test]
fn the_corpus_assembles() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ptx");
    if common::ptxas().is_none() {
        return;
    }
    for dir in ["open", "triton", "hand", "strict"] {
        for e in std::fs::read_dir(root.join(dir)).expect("folder") {
            let p = e.expect("entry").path();
            if p.extension().is_some_and(|x| x == "ptx") {
                let text = std::fs::read_to_string(&p).expect("readable");
                common::assemble(&text);
                common::assemble(&print(&parse(&text).expect("parses")));
            }
        }
    }
}

/// A random instruction of straight-line code: opcode, destination, two or three sources.
#[derive(Clone, Debug)]
struct Op(usize, usize, usize, usize, usize);

const OPS: &[(&str, usize)] = &[
    ("add.s32", 2),
    ("sub.s32", 2),
    ("mul.lo.s32", 2),
    ("mul.hi.u32", 2),
    ("mad.lo.s32", 3),
    ("and.b32", 2),
    ("or.b32", 2),
    ("xor.b32", 2),
    ("shl.b32", 2),
    ("shr.u32", 2),
    ("shr.s32", 2),
    ("min.s32", 2),
    ("max.u32", 2),
    ("popc.b32", 1),
    ("brev.b32", 1),
    ("add.f32", 2),
    ("mul.f32", 2),
    ("fma.rn.f32", 3),
    ("max.f32", 2),
    ("cvt.rn.f32.s32", 1),
];

/// The meaning of an operation, written against Rust's own arithmetic.
fn eval(op: &str, a: u32, b: u32, c: u32) -> u32 {
    let f = |x: u32| f32::from_bits(x);
    let canon = |x: f32| if x.is_nan() { 0x7fff_ffff } else { x.to_bits() };
    match op {
        "add.s32" => a.wrapping_add(b),
        "sub.s32" => a.wrapping_sub(b),
        "mul.lo.s32" => a.wrapping_mul(b),
        "mul.hi.u32" => ((u64::from(a) * u64::from(b)) >> 32) as u32,
        "mad.lo.s32" => a.wrapping_mul(b).wrapping_add(c),
        "and.b32" => a & b,
        "or.b32" => a | b,
        "xor.b32" => a ^ b,
        "shl.b32" => a.checked_shl(b).unwrap_or(0),
        "shr.u32" => a.checked_shr(b).unwrap_or(0),
        "shr.s32" => ((a as i32) >> b.min(31)) as u32,
        "min.s32" => (a as i32).min(b as i32) as u32,
        "max.u32" => a.max(b),
        "popc.b32" => a.count_ones(),
        "brev.b32" => a.reverse_bits(),
        "add.f32" => canon(f(a) + f(b)),
        "mul.f32" => canon(f(a) * f(b)),
        "fma.rn.f32" => canon(f(a).mul_add(f(b), f(c))),
        "max.f32" => {
            let (x, y) = (f(a), f(b));
            if x.is_nan() && y.is_nan() {
                0x7fff_ffff
            } else if x.is_nan() {
                b
            } else if y.is_nan() {
                a
            } else if x == 0.0 && y == 0.0 {
                // +0 is the larger zero.
                a & b
            } else if x > y {
                a
            } else {
                b
            }
        }
        _ => canon(a as i32 as f32),
    }
}

/// An instruction that lacks operands reaches no decoder: the launch names the broken rule.
#[test]
fn damaged_instructions_are_refused() {
    let regs = ".reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %d<3>; .shared .b8 s[16];";
    let cases = [
        // Found by `damaged_modules_neither_panic_nor_hang`: a comma became a space.
        "mov.u32 %r1;",
        "mov.b64 %d1;",
        "cvt.u32.u64 %r1;",
        "add.s32 %r1;",
        "setp.eq.s32 %p1;",
        "ld.shared.u32 %r1;",
        "st.shared.u32 [s];",
        "atom.shared.add.u32 %r1, [s];",
        "shfl.sync.bfly.b32 %r1, %r2;",
        "bar.sync;",
        "cp.async.wait_group;",
        "bra;",
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%r1, %r2, %r3, %r4};",
    ];
    for line in cases {
        let m = parse(&module(&format!("{regs}\n{line} ret;"))).unwrap_or_else(|e| panic!("{e}"));
        let rules: Vec<u8> = verify(&m).iter().map(|e| e.kind.rule()).collect();
        assert!(rules.contains(&2), "{line}: {rules:?}");
        let mut memory = attnc_ptx::emu::Memory::new();
        let p = attnc_ptx::emu::Program::load(m, &mut memory);
        let l = attnc_ptx::emu::Launch {
            entry: "k",
            grid: [1; 3],
            block: [32, 1, 1],
            dynamic_shared: 0,
            params: &[],
        };
        match p.launch(&memory, &l, &attnc_ptx::emu::Options::default()) {
            Err(attnc_ptx::emu::LaunchError::Invalid(e)) => assert_eq!(e.pos.line, 7, "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}

/// How many cases: so many, or what the environment asks for (`with_cases` alone ignores it).
fn cases(usual: u32) -> u32 {
    std::env::var("PROPTEST_CASES").map_or(usual, |n| n.parse().expect("a number"))
}

/// A text of the corpus, and where its tokens begin and end.
fn corpus(k: usize) -> (String, Vec<(usize, usize)>) {
    const FILES: [&str; 10] = [
        "open/gemm_f16_64x48x96_sm80",
        "open/softmax_c60_sm80",
        "triton/sm80_atom",
        "triton/sm90_attn_bf16_1",
        "triton/sm90_tma",
        "triton/sm80_dbg",
        "hand/bulk",
        "hand/wgmma",
        "hand/control",
        "hand/atomics",
    ];
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ptx");
    let text = std::fs::read_to_string(root.join(format!("{}.ptx", FILES[k % FILES.len()])))
        .expect("readable");
    let text = text.split(".section").next().expect("a part").to_string();
    let word = |c: char| c.is_ascii_alphanumeric() || "_$%.".contains(c);
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let n = match rest.find(|c: char| !word(c)) {
            Some(0) => 1,
            Some(n) => n,
            None => rest.len(),
        };
        if !rest.starts_with(char::is_whitespace) {
            tokens.push((at, at + n));
        }
        at += n;
    }
    (text, tokens)
}

/// What the emulator does with a text that may be damaged: anything but panicking.
fn survives(text: &str) -> Result<(), TestCaseError> {
    let Ok(m) = parse(text) else { return Ok(()) };
    prop_assert!(parse(&print(&m)).is_ok_and(|x| x == m));
    let Some(entry) = m.functions().find(|f| f.entry).map(|f| f.name.to_string()) else {
        return Ok(());
    };
    let _ = verify(&m);
    let mut memory = attnc_ptx::emu::Memory::new();
    let buffer = memory.alloc(4096);
    let params: Vec<u8> = buffer.to_le_bytes().repeat(20);
    let p = attnc_ptx::emu::Program::load(m, &mut memory);
    for races in [false, true] {
        let l = attnc_ptx::emu::Launch {
            entry: &entry,
            grid: [1; 3],
            block: [128, 1, 1],
            dynamic_shared: 6144,
            params: &params,
        };
        let o = attnc_ptx::emu::Options {
            budget: 2000,
            threads: 1,
            races,
            ..Default::default()
        };
        let _ = p.launch(&memory, &l, &o);
    }
    Ok(())
}

proptest! {
    // Found cases become tests of their own (`damaged_instructions_are_refused`), not files.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases(60)) })]

    #[test]
    fn straight_line_programs_agree_with_a_scalar_evaluation(
        ops in prop::collection::vec((0..OPS.len(), 0..8usize, 0..8usize, 0..8usize, 0..8usize).prop_map(|x| Op(x.0, x.1, x.2, x.3, x.4)), 1..40),
        start in prop::collection::vec(prop_oneof![any::<u32>(), (-4i32..40).prop_map(|x| x as u32), any::<f32>().prop_map(f32::to_bits)], 8 * 4),
    ) {
        let mut body = String::from("mul.wide.u32 %d1, %t, 32; add.s64 %d2, %p0, %d1; add.s64 %d3, %p1, %d1;\n");
        for k in 0..8 {
            body += &format!("ld.global.b32 %r{k}, [%d2+{}];\n", 4 * k);
        }
        for Op(o, d, a, b, c) in &ops {
            let (name, n) = OPS[*o];
            let src: Vec<String> = [a, b, c].iter().take(n).map(|x| format!("%r{x}")).collect();
            body += &format!("{name} %r{d}, {};\n", src.join(", "));
        }
        for k in 0..8 {
            body += &format!("st.global.b32 [%d3+{}], %r{k};\n", 4 * k);
        }
        let text = kernel("sm_80", "7.8", 2, "", &body);
        let mut run = Run::new(&text).block(4).words(&start).words(&[0; 32]);
        run.assembles = false;
        let got = run.result(1);
        for t in 0..4 {
            let mut r: Vec<u32> = start[8 * t..8 * t + 8].to_vec();
            for Op(o, d, a, b, c) in &ops {
                r[*d] = eval(OPS[*o].0, r[*a], r[*b], r[*c]);
            }
            prop_assert_eq!(&got[8 * t..8 * t + 8], &r[..], "thread {}\n{}", t, body);
        }
    }

    #[test]
    fn the_parser_never_panics_on_text(s in "\\PC{0,200}") {
        let _ = parse(&s);
        let _ = parse(&module(&s));
    }

    #[test]
    fn the_parser_never_panics_on_shuffled_tokens(words in prop::collection::vec(prop_oneof![
        Just("add"), Just(".s32"), Just("%r1"), Just(","), Just(";"), Just("{"), Just("}"), Just("["), Just("]"), Just("("), Just(")"),
        Just("@"), Just("!"), Just("ld"), Just(".global"), Just("mov"), Just("call"), Just(".reg"), Just("<4>"), Just("0f00000000"),
        Just("-"), Just("+"), Just("1"), Just("x:"), Just(".param"), Just(".align"), Just("="), Just("|"), Just("\"s\""), Just(".loc"),
        Just(".entry"), Just(".section"), Just(".version 7.0 .target sm_80"), Just("bra"), Just("0x"), Just("/*"), Just("~"), Just("<<")
    ], 0..60)) {
        let s = words.join(" ");
        if let Ok(m) = parse(&module(&s)) {
            // What parses also prints and verifies.
            prop_assert!(parse(&print(&m)).is_ok_and(|x| x == m));
            let _ = verify(&m);
        }
        let _ = parse(&s);
    }

    #[test]
    fn damaged_modules_neither_panic_nor_hang(file in 0usize..10, cut in any::<prop::sample::Index>(), put in "[ -~]{0,3}", len in 0usize..6) {
        let (text, _) = corpus(file);
        let at = cut.index(text.len());
        let end = (at + len).min(text.len());
        if text.is_char_boundary(at) && text.is_char_boundary(end) {
            survives(&format!("{}{}{}", &text[..at], put, &text[end..]))?;
        }
    }

    #[test]
    fn exchanged_tokens_neither_panic_nor_hang(file in 0usize..10, at in any::<prop::sample::Index>(), from in any::<prop::sample::Index>(), near in 0usize..3, how in 0u8..4) {
        let (text, tokens) = corpus(file);
        let k = at.index(tokens.len());
        // Another token of the same line as a rule, so that much of it still parses.
        let other = if near < 2 { (k + from.index(7)).saturating_sub(3).min(tokens.len() - 1) } else { from.index(tokens.len()) };
        let ((a, b), (c, d)) = (tokens[k], tokens[other]);
        let put = match how {
            0 => String::new(),
            1 => text[c..d].to_string(),
            2 => format!("{} {}", &text[a..b], &text[c..d]),
            _ => format!("{}, {}", &text[a..b], &text[c..d]),
        };
        survives(&format!("{}{}{}", &text[..a], put, &text[b..]))?;
    }
}
