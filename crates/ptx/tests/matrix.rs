// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Matrix instructions with the fragment layouts written out from the manual, shape by shape
//! (9.7.15.5), on integers that every type holds exactly.

mod common;
use common::{Run, kernel, words};

/// Where element `i` of a lane's fragment lies: row and column.
type At = fn(usize, usize, usize) -> (usize, usize);

struct Shape {
    name: &'static str,
    mnk: [usize; 3],
    bits: usize,
    a: At,
    b: At,
}

fn half(x: f32) -> u64 {
    // Small integers: exponent and fraction by hand.
    if x == 0.0 {
        return 0;
    }
    let s = if x < 0.0 { 0x8000 } else { 0 };
    let e = x.abs().log2().floor();
    let frac = (x.abs() / e.exp2() - 1.0) * 1024.0;
    s | (((e as i32 + 15) as u64) << 10) | frac as u64
}

fn bfloat(x: f32) -> u64 {
    u64::from(x.to_bits() >> 16)
}

/// Pseudo-random small integers.
fn number(seed: &mut u64, lo: i64, hi: i64) -> i64 {
    *seed = seed
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    lo + ((*seed >> 33) as i64).rem_euclid(hi - lo + 1)
}

/// Runs one shape and compares D with A*B + C.
fn check(
    s: &Shape,
    types: &str,
    range: (i64, i64),
    enc: fn(i64) -> u64,
    acc_enc: fn(i64) -> u64,
    acc_bits: usize,
    combine: fn(i64, i64) -> i64,
) {
    let [m, n, k] = s.mnk;
    let mut seed = 7;
    let mut a = vec![vec![0i64; k]; m];
    let mut b = vec![vec![0i64; n]; k];
    let mut c = vec![vec![0i64; n]; m];
    a.iter_mut()
        .flatten()
        .for_each(|x| *x = number(&mut seed, range.0, range.1));
    b.iter_mut()
        .flatten()
        .for_each(|x| *x = number(&mut seed, range.0, range.1));
    c.iter_mut()
        .flatten()
        .for_each(|x| *x = number(&mut seed, -9, 9));
    let word = if s.bits == 64 { 64 } else { 32 };
    let per = word / s.bits;
    let (na, nb, nc) = (m * k / 32 / per, k * n / 32 / per, m * n / 32);
    let accs = if acc_bits == 16 { nc / 2 } else { nc };
    let mut buf = vec![0u64; (na + nb + accs) * 32];
    // The accumulators' layout is the same in all shapes.
    let c_at = |l: usize, i: usize| (l / 4 + if i < 2 { 0 } else { 8 }, l % 4 * 2 + i % 2);
    for l in 0..32 {
        for i in 0..na * per {
            let (r, q) = (s.a)(l / 4, l % 4, i);
            buf[(i / per) * 32 + l] |= enc(a[r][q]) << (s.bits * (i % per));
        }
        for i in 0..nb * per {
            let (r, q) = (s.b)(l / 4, l % 4, i);
            buf[(na + i / per) * 32 + l] |= enc(b[r][q]) << (s.bits * (i % per));
        }
        for i in 0..nc {
            let (r, q) = c_at(l, i);
            if acc_bits == 16 {
                buf[(na + nb + i / 2) * 32 + l] |= acc_enc(c[r][q]) << (16 * (i % 2));
            } else {
                buf[(na + nb + i) * 32 + l] = acc_enc(c[r][q]);
            }
        }
    }
    let list = |from: usize, n: usize, letter: char| {
        let v: Vec<String> = (from..from + n).map(|x| format!("%{letter}{x}")).collect();
        format!("{{{}}}", v.join(", "))
    };
    let letter = |bits: usize| if bits == 64 { 'e' } else { 'r' };
    let (in_l, acc_l) = (letter(s.bits), letter(acc_bits));
    let mut body = String::from(
        "mul.wide.u32 %d40, %t, 8; add.s64 %d41, %p0, %d40; add.s64 %d42, %p1, %d40;\n",
    );
    for x in 0..na + nb + accs {
        let w = if x < na + nb { s.bits } else { acc_bits };
        let (l, t) = if w == 64 { ('e', "f64") } else { ('r', "b32") };
        body += &format!("ld.global.{t} %{l}{x}, [%d41+{}];\n", x * 256);
    }
    body += &format!(
        "mma.sync.aligned.{}.row.col{types} {}, {}, {}, {};\n",
        s.name,
        list(20, accs, acc_l),
        list(0, na, in_l),
        list(na, nb, in_l),
        list(na + nb, accs, acc_l)
    );
    for x in 0..accs {
        let (l, t) = if acc_bits == 64 {
            ('e', "f64")
        } else {
            ('r', "b32")
        };
        body += &format!("st.global.{t} [%d42+{}], %{l}{};\n", x * 256, 20 + x);
    }
    // The version and target that have every one of these.
    let target = if types.contains("e4m3") || types.contains("e5m2") {
        ("sm_89", "8.7")
    } else {
        ("sm_90", "8.0")
    };
    let text = kernel(target.0, target.1, 2, "", &body);
    let bytes: Vec<u8> = buf.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut run = Run::new(&text).bytes(&bytes).bytes(&vec![0; accs * 256]);
    run.go().unwrap_or_else(|e| panic!("{e}\n{text}"));
    let out = words(&run.buffers[1]);
    for l in 0..32 {
        for i in 0..nc {
            let (r, q) = c_at(l, i);
            let want = acc_enc(c[r][q] + (0..k).map(|x| combine(a[r][x], b[x][q])).sum::<i64>());
            let slot = if acc_bits == 16 { i / 2 } else { i } * 32 + l;
            let got = u64::from(out[2 * slot]) | u64::from(out[2 * slot + 1]) << 32;
            let got = match acc_bits {
                16 => got >> (16 * (i % 2)) & 0xffff,
                32 => got & 0xffff_ffff,
                _ => got,
            };
            assert_eq!(got, want, "{}{types} lane {l} element {i}", s.name);
        }
    }
}

const F32: fn(i64) -> u64 = |x| u64::from((x as f32).to_bits());
const S32: fn(i64) -> u64 = |x| u64::from(x as i32 as u32);
const MUL: fn(i64, i64) -> i64 = |a, b| a * b;

fn k16_16bit() -> Shape {
    Shape {
        name: "m16n8k16",
        mnk: [16, 8, 16],
        bits: 16,
        a: |g, t, i| {
            (
                if i < 2 || (4..6).contains(&i) {
                    g
                } else {
                    g + 8
                },
                t * 2 + (i & 1) + if i >= 4 { 8 } else { 0 },
            )
        },
        b: |g, t, i| (t * 2 + (i & 1) + if i >= 2 { 8 } else { 0 }, g),
    }
}

fn k8_16bit() -> Shape {
    Shape {
        name: "m16n8k8",
        mnk: [16, 8, 8],
        bits: 16,
        a: |g, t, i| (if i < 2 { g } else { g + 8 }, t * 2 + (i & 1)),
        b: |g, t, i| (t * 2 + i, g),
    }
}

#[test]
fn half_precision() {
    for s in [k16_16bit(), k8_16bit()] {
        check(
            &s,
            ".f32.f16.f16.f32",
            (-6, 6),
            |x| half(x as f32),
            F32,
            32,
            MUL,
        );
        check(
            &s,
            ".f16.f16.f16.f16",
            (-3, 3),
            |x| half(x as f32),
            |x| half(x as f32),
            16,
            MUL,
        );
        check(
            &s,
            ".f32.bf16.bf16.f32",
            (-6, 6),
            |x| bfloat(x as f32),
            F32,
            32,
            MUL,
        );
    }
}

#[test]
fn tf32() {
    let k4 = Shape {
        name: "m16n8k4",
        mnk: [16, 8, 4],
        bits: 32,
        a: |g, t, i| (if i == 0 { g } else { g + 8 }, t),
        b: |g, t, _| (t, g),
    };
    let k8 = Shape {
        name: "m16n8k8",
        mnk: [16, 8, 8],
        bits: 32,
        a: |g, t, i| {
            (
                if i == 0 || i == 2 { g } else { g + 8 },
                if i < 2 { t } else { t + 4 },
            )
        },
        b: |g, t, i| (if i == 0 { t } else { t + 4 }, g),
    };
    for s in [k4, k8] {
        // The 13 low bits carry garbage that must not count.
        check(
            &s,
            ".f32.tf32.tf32.f32",
            (-6, 6),
            |x| u64::from((x as f32).to_bits() | 0x1fff),
            F32,
            32,
            MUL,
        );
    }
}

#[test]
fn eight_bit_integers_and_floats() {
    let k16 = Shape {
        name: "m16n8k16",
        mnk: [16, 8, 16],
        bits: 8,
        a: |g, t, i| (if i < 4 { g } else { g + 8 }, t * 4 + (i & 3)),
        b: |g, t, i| (t * 4 + (i & 3), g),
    };
    let k32 = Shape {
        name: "m16n8k32",
        mnk: [16, 8, 32],
        bits: 8,
        a: |g, t, i| {
            (
                if i < 4 || (8..12).contains(&i) {
                    g
                } else {
                    g + 8
                },
                t * 4 + (i & 3) + if i < 8 { 0 } else { 16 },
            )
        },
        b: |g, t, i| (t * 4 + (i & 3) + if i < 4 { 0 } else { 16 }, g),
    };
    let m8 = Shape {
        name: "m8n8k16",
        mnk: [8, 8, 16],
        bits: 8,
        a: |g, t, i| (g, t * 4 + i),
        b: |g, t, i| (t * 4 + i, g),
    };
    for s in [k16, k32, m8] {
        check(
            &s,
            ".s32.s8.s8.s32",
            (-128, 127),
            |x| x as u8 as u64,
            S32,
            32,
            MUL,
        );
        check(&s, ".s32.u8.u8.s32", (0, 255), |x| x as u64, S32, 32, MUL);
        check(
            &s,
            ".satfinite.s32.u8.s8.s32",
            (0, 127),
            |x| x as u64,
            S32,
            32,
            MUL,
        );
    }
    let k32 = Shape {
        name: "m16n8k32",
        mnk: [16, 8, 32],
        bits: 8,
        a: |g, t, i| {
            (
                if i < 4 || (8..12).contains(&i) {
                    g
                } else {
                    g + 8
                },
                t * 4 + (i & 3) + if i < 8 { 0 } else { 16 },
            )
        },
        b: |g, t, i| (t * 4 + (i & 3) + if i < 4 { 0 } else { 16 }, g),
    };
    // 0, 1, 2, 4 in both formats.
    let e4m3: fn(i64) -> u64 = |x| [0, 0x38, 0x40, 0x44, 0x48][x as usize];
    let e5m2: fn(i64) -> u64 = |x| [0, 0x3c, 0x40, 0x42, 0x44][x as usize];
    check(&k32, ".f32.e4m3.e4m3.f32", (0, 4), e4m3, F32, 32, MUL);
    check(&k32, ".f32.e5m2.e5m2.f32", (0, 4), e5m2, F32, 32, MUL);
}

#[test]
fn four_and_one_bit_integers() {
    let k32 = Shape {
        name: "m16n8k32",
        mnk: [16, 8, 32],
        bits: 4,
        a: |g, t, i| (if i < 8 { g } else { g + 8 }, t * 8 + (i & 7)),
        b: |g, t, i| (t * 8 + (i & 7), g),
    };
    let k64 = Shape {
        name: "m16n8k64",
        mnk: [16, 8, 64],
        bits: 4,
        a: |g, t, i| {
            (
                if i < 8 || (16..24).contains(&i) {
                    g
                } else {
                    g + 8
                },
                t * 8 + (i & 7) + if i < 16 { 0 } else { 32 },
            )
        },
        b: |g, t, i| (t * 8 + (i & 7) + if i < 8 { 0 } else { 32 }, g),
    };
    let m8 = Shape {
        name: "m8n8k32",
        mnk: [8, 8, 32],
        bits: 4,
        a: |g, t, i| (g, t * 8 + i),
        b: |g, t, i| (t * 8 + i, g),
    };
    for s in [k32, k64, m8] {
        check(
            &s,
            ".s32.s4.s4.s32",
            (-8, 7),
            |x| x as u64 & 15,
            S32,
            32,
            MUL,
        );
        check(&s, ".s32.u4.u4.s32", (0, 15), |x| x as u64, S32, 32, MUL);
    }
    let k128 = Shape {
        name: "m16n8k128",
        mnk: [16, 8, 128],
        bits: 1,
        a: |g, t, i| (if i < 32 { g } else { g + 8 }, t * 32 + (i & 31)),
        b: |g, t, i| (t * 32 + (i & 31), g),
    };
    let k256 = Shape {
        name: "m16n8k256",
        mnk: [16, 8, 256],
        bits: 1,
        a: |g, t, i| {
            (
                if i < 32 || (64..96).contains(&i) {
                    g
                } else {
                    g + 8
                },
                t * 32 + (i & 31) + if i < 64 { 0 } else { 128 },
            )
        },
        b: |g, t, i| (t * 32 + (i & 31) + if i < 32 { 0 } else { 128 }, g),
    };
    for s in [k128, k256] {
        check(
            &s,
            ".s32.b1.b1.s32.and.popc",
            (0, 1),
            |x| x as u64,
            S32,
            32,
            |a, b| a & b,
        );
    }
}

#[test]
fn double_precision() {
    let f64b: fn(i64) -> u64 = |x| (x as f64).to_bits();
    let shapes = [
        Shape {
            name: "m8n8k4",
            mnk: [8, 8, 4],
            bits: 64,
            a: |g, t, _| (g, t),
            b: |g, t, _| (t, g),
        },
        Shape {
            name: "m16n8k4",
            mnk: [16, 8, 4],
            bits: 64,
            a: |g, t, i| (g + 8 * i, t),
            b: |g, t, _| (t, g),
        },
        Shape {
            name: "m16n8k8",
            mnk: [16, 8, 8],
            bits: 64,
            a: |g, t, i| {
                (
                    if i % 2 == 0 { g } else { g + 8 },
                    if i < 2 { t } else { t + 4 },
                )
            },
            b: |g, t, i| (t + 4 * i, g),
        },
        Shape {
            name: "m16n8k16",
            mnk: [16, 8, 16],
            bits: 64,
            a: |g, t, i| (if i % 2 == 0 { g } else { g + 8 }, i / 2 * 4 + t),
            b: |g, t, i| (t + 4 * i, g),
        },
    ];
    for s in shapes {
        check(&s, ".f64.f64.f64.f64", (-50, 50), f64b, f64b, 64, MUL);
    }
}

/// Words 0..32 in shared memory: row r of the 8x8 matrix holds elements 8r to 8r+7.
const LOAD: &str = "mov.u32 %r2, s; and.b32 %r3, %t, 7; shl.b32 %r4, %r3, 4; add.u32 %r4, %r4, %r2; setp.lt.u32 %q1, %t, 32;
    shl.b32 %r5, %t, 2; add.u32 %r5, %r5, %r2; shl.b32 %r6, %t, 1; add.u32 %r7, %r6, 1; shl.b32 %r7, %r7, 16; or.b32 %r6, %r6, %r7;
    st.shared.b32 [%r5], %r6; bar.sync 0;";

#[test]
fn ldmatrix_and_movmatrix_and_stmatrix() {
    let store = "mul.wide.u32 %d1, %t, 4; add.s64 %d1, %p0, %d1;";
    let run = |op: &str| {
        let text = kernel(
            "sm_90",
            "8.0",
            1,
            ".shared .align 128 .b8 s[512];",
            &format!("{LOAD} {store} {op} st.global.b32 [%d1], %r9;"),
        );
        Run::new(&text).words(&[0; 32]).result(0)
    };
    // Element (r, c) is 8r + c; lane l holds (l/4, 2(l%4)) and the next.
    let plain: Vec<u32> = (0..32).map(|l| (2 * l) | ((2 * l + 1) << 16)).collect();
    assert_eq!(
        run("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r9}, [%r4];"),
        plain
    );
    let transposed: Vec<u32> = (0..32)
        .map(|l: u32| {
            let (r, c) = (l / 4, l % 4 * 2);
            (8 * c + r) | (8 * (c + 1) + r) << 16
        })
        .collect();
    assert_eq!(
        run("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r9}, [%r4];"),
        transposed
    );
    assert_eq!(
        run(
            "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r8}, [%r4]; movmatrix.sync.aligned.m8n8.trans.b16 %r9, %r8;"
        ),
        transposed
    );
    assert_eq!(
        run(
            "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r8}, [%r4]; bar.sync 0; stmatrix.sync.aligned.m8n8.x1.trans.shared.b16 [%r4], {%r8}; bar.sync 0; ld.shared.b32 %r9, [%r5];"
        ),
        transposed
    );
    // Rows may lie anywhere: reversed order of rows.
    let reversed: Vec<u32> = (0..32)
        .map(|l: u32| {
            let e = 8 * (7 - l / 4) + l % 4 * 2;
            e | (e + 1) << 16
        })
        .collect();
    assert_eq!(
        run(
            "xor.b32 %r3, %r3, 7; shl.b32 %r4, %r3, 4; add.u32 %r4, %r4, %r2; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r9}, [%r4];"
        ),
        reversed
    );
}
