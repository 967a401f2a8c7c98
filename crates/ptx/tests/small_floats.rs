// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The 8-bit floats, code by code, from their definition: a value is sign, exponent and
//! fraction; e4m3 has no infinity and one NaN a sign, e5m2 is like f16 cut short. Conversions
//! round to the nearest value of the format, ties to the even code, and saturate.

mod common;
use common::{Run, kernel, words};

/// The value of a code; NaN where it is none.
fn value(code: u8, e4m3: bool) -> f64 {
    let (bits, bias) = if e4m3 { (3, 7) } else { (2, 15) };
    let sign = if code & 0x80 != 0 { -1.0 } else { 1.0 };
    let e = i32::from(code & 0x7f) >> bits;
    let f = f64::from(code & ((1 << bits) - 1)) / f64::from(1 << bits);
    if e4m3 && code & 0x7f == 0x7f {
        return f64::NAN;
    }
    if !e4m3 && e == 31 {
        return if f == 0.0 {
            sign * f64::INFINITY
        } else {
            f64::NAN
        };
    }
    sign * if e == 0 {
        f * f64::exp2(f64::from(1 - bias))
    } else {
        (1.0 + f) * f64::exp2(f64::from(e - bias))
    }
}

/// The code nearest to a number, by trying all of them.
fn code(x: f64, e4m3: bool) -> u8 {
    if x.is_nan() {
        return 0x7f;
    }
    let sign = if x.is_sign_negative() { 0x80 } else { 0 };
    let x = x.abs().min(if e4m3 { 448.0 } else { 57344.0 });
    let mut best = 0u8;
    for c in 0..0x80u8 {
        let v = value(c, e4m3);
        if !v.is_finite() {
            continue;
        }
        let (d, b) = ((v - x).abs(), (value(best, e4m3) - x).abs());
        if d < b || (d == b && c % 2 == 0) {
            best = c;
        }
    }
    sign | best
}

fn half(x: f64) -> u16 {
    half::f16::from_f64(x).to_bits()
}

#[test]
fn every_code_converts_to_half_precision() {
    for (name, e4m3) in [("e4m3x2", true), ("e5m2x2", false)] {
        for relu in ["", ".relu"] {
            let text = kernel(
                "sm_90",
                "8.1",
                1,
                "",
                &format!(
                    "shl.b32 %r1, %t, 8; not.b32 %r2, %t; and.b32 %r2, %r2, 255; or.b32 %r1, %r1, %r2; cvt.u16.u32 %h1, %r1;
                     cvt.rn{relu}.f16x2.{name} %r3, %h1; mul.wide.u32 %d1, %t, 4; add.s64 %d1, %p0, %d1; st.global.b32 [%d1], %r3;"
                ),
            );
            let got = Run::new(&text).block(256).words(&[0; 256]).result(0);
            for (t, g) in got.iter().enumerate() {
                for (c, h) in [(!(t as u8), *g as u16), (t as u8, (*g >> 16) as u16)] {
                    let v = value(c, e4m3);
                    if v.is_nan() {
                        assert_eq!(h & 0x7fff, 0x7fff, "{name} {c:#x}");
                    } else if !relu.is_empty() && c & 0x80 != 0 {
                        // The manual leaves the sign of a clamped -0 open.
                        assert_eq!(
                            h & if v == 0.0 { 0x7fff } else { 0xffff },
                            0,
                            "{name} {c:#x}{relu}"
                        );
                    } else {
                        assert_eq!(h, half(v), "{name} {c:#x}");
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_round_to_the_nearest_code_and_saturate() {
    // Each value of the format, its neighbours and midpoints; large ones; specials.
    for (name, e4m3) in [("e4m3x2", true), ("e5m2x2", false)] {
        let mut xs: Vec<f32> = vec![
            0.0,
            -0.0,
            448.0,
            449.0,
            464.0,
            480.0,
            57344.0,
            61440.0,
            65536.0,
            1e30,
            -1e30,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::NAN,
            1e-8,
            -1e-8,
            0.0009765625,
            0.00048828125,
        ];
        for c in 0..0x7fu8 {
            let (a, b) = (value(c, e4m3), value(c + 1, e4m3));
            if b.is_finite() {
                let m = ((a + b) / 2.0) as f32;
                xs.extend([a as f32, -(a as f32), m, -m]);
                xs.extend([
                    f32::from_bits(m.to_bits() + 1),
                    f32::from_bits(m.to_bits() - 1),
                ]);
            }
        }
        xs.resize(xs.len().next_multiple_of(2), 1.0);
        let n = xs.len() / 2;
        let text = kernel(
            "sm_90",
            "8.1",
            2,
            "",
            &format!(
                "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mad.lo.u32 %r3, %r1, %r2, %t; setp.ge.u32 %q1, %r3, {n}; @%q1 ret;
                 mul.wide.u32 %d1, %r3, 8; add.s64 %d2, %p0, %d1; ld.global.v2.f32 {{%f1, %f2}}, [%d2];
                 cvt.rn.satfinite.{name}.f32 %h1, %f1, %f2; mul.wide.u32 %d3, %r3, 4; add.s64 %d3, %p1, %d3; cvt.u32.u16 %r4, %h1; st.global.b32 [%d3], %r4;"
            ),
        );
        let input: Vec<u32> = xs.iter().map(|x| x.to_bits()).collect();
        let got = Run::new(&text)
            .grid(16)
            .block(64)
            .words(&input)
            .words(&vec![0; n])
            .result(1);
        for (t, g) in got.iter().enumerate() {
            // The first source is the upper half.
            for (x, c) in [(xs[2 * t], (*g >> 8) as u8), (xs[2 * t + 1], *g as u8)] {
                let want = code(f64::from(x), e4m3);
                assert!(
                    c == want || (x.is_nan() && value(c, e4m3).is_nan()),
                    "{name} {x}: {c:#x}, not {want:#x}"
                );
            }
        }
    }
}

/// Products of equal elements need no layout: each result is k times a times b plus c.
#[test]
fn mma_mixes_the_formats() {
    let (one4, half4, two5, three5) = (0x38u32, 0x30u32, 0x40u32, 0x42u32);
    let cases = [
        ("m16n8k32", "e4m3", "e5m2", one4, two5, 32.0 * 2.0),
        ("m16n8k32", "e5m2", "e4m3", three5, half4, 32.0 * 1.5),
        ("m16n8k32", "e4m3", "e4m3", half4, half4, 32.0 * 0.25),
        ("m16n8k16", "e5m2", "e5m2", two5, three5, 16.0 * 6.0),
        ("m16n8k16", "e4m3", "e5m2", one4, three5, 16.0 * 3.0),
    ];
    for (shape, at, bt, a, b, ab) in cases {
        let (na, nb) = if shape == "m16n8k32" { (4, 2) } else { (2, 1) };
        let list = |from: usize, n: usize| {
            let v: Vec<String> = (from..from + n).map(|x| format!("%r{x}")).collect();
            format!("{{{}}}", v.join(", "))
        };
        for acc in ["f32", "f16"] {
            let c = if acc == "f32" {
                2.5f32.to_bits()
            } else {
                0x4100_4100
            };
            let nc = if acc == "f32" { 4 } else { 2 };
            let mut body = String::new();
            for k in 0..8 {
                let v = if k < na { a } else { b } * 0x0101_0101;
                body += &format!("mov.b32 %r{k}, {v};\n");
            }
            for k in 0..nc {
                body += &format!("mov.b32 %r{}, {c};\n", 10 + k);
            }
            body += &format!(
                "mma.sync.aligned.{shape}.row.col.{acc}.{at}.{bt}.{acc} {}, {}, {}, {};\nmul.wide.u32 %d1, %t, 16; add.s64 %d1, %p0, %d1;\n",
                list(20, nc),
                list(0, na),
                list(na, nb),
                list(10, nc)
            );
            for k in 0..nc {
                body += &format!("st.global.b32 [%d1+{}], %r{};\n", 4 * k, 20 + k);
            }
            let text = kernel("sm_89", "8.7", 1, "", &body);
            let got = Run::new(&text).words(&[0; 128]).result(0);
            let want = if acc == "f32" {
                (ab as f32 + 2.5).to_bits()
            } else {
                u32::from(half(ab + 2.5)) * 0x1_0001
            };
            for (t, g) in got.chunks(4).enumerate() {
                assert_eq!(
                    &g[..nc],
                    vec![want; nc],
                    "{shape} {at} {bt} {acc}, lane {t}"
                );
            }
        }
    }
}

/// Volta's shape: four groups of eight lanes, each with matrices of its own; the layouts
/// are those of the manual (9.7.15.5.1), for all orders of A and B.
#[test]
fn four_products_of_eight_by_eight_by_four() {
    let mut seed = 3u64;
    let mut number = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
        ((seed >> 40) % 9) as i64 - 4
    };
    for (arow, brow) in [(true, true), (true, false), (false, true), (false, false)] {
        for acc16 in [false, true] {
            let mut m = [[[0i64; 8]; 8]; 12];
            m.iter_mut().flatten().flatten().for_each(|x| *x = number());
            let (a, rest) = m.split_at(4);
            let (b, c) = rest.split_at(4);
            let group = |l: usize| l % 16 / 4;
            let high = |l: usize| if l < 16 { 0 } else { 4 };
            // Row and column of element i of a lane.
            let a_at = |l: usize, i: usize| {
                if arow {
                    (l % 4 + high(l), i)
                } else {
                    (i + high(l), l % 4)
                }
            };
            let b_at = |l: usize, i: usize| {
                if brow {
                    (l % 4, i + high(l))
                } else {
                    (i, l % 4 + high(l))
                }
            };
            let c_at = |l: usize, i: usize| {
                if acc16 {
                    (l % 4 + high(l), i)
                } else {
                    ((l & 1) + (i & 2) + high(l), (i & 4) + (l & 2) + (i & 1))
                }
            };
            let h = |x: i64| u32::from(half(x as f64));
            let nc = if acc16 { 4 } else { 8 };
            let mut buf = vec![0u32; 32 * 16];
            for l in 0..32 {
                for i in 0..4 {
                    let ((r, k), (q, n)) = (a_at(l, i), b_at(l, i));
                    buf[16 * l + i / 2] |= h(a[group(l)][r][k]) << (16 * (i % 2));
                    buf[16 * l + 2 + i / 2] |= h(b[group(l)][q][n]) << (16 * (i % 2));
                }
                for i in 0..8 {
                    let (r, n) = c_at(l, i);
                    let v = c[group(l)][r][n];
                    if acc16 {
                        buf[16 * l + 4 + i / 2] |= h(v) << (16 * (i % 2));
                    } else {
                        buf[16 * l + 4 + i] = (v as f32).to_bits();
                    }
                }
            }
            let list = |from: usize, n: usize| {
                let v: Vec<String> = (from..from + n).map(|x| format!("%r{x}")).collect();
                format!("{{{}}}", v.join(", "))
            };
            let order = |row: bool| if row { "row" } else { "col" };
            let t = if acc16 { "f16" } else { "f32" };
            let mut body = String::from(
                "mul.wide.u32 %d1, %t, 64; add.s64 %d2, %p0, %d1; add.s64 %d3, %p1, %d1;\n",
            );
            for k in 0..4 + nc {
                body += &format!("ld.global.b32 %r{k}, [%d2+{}];\n", 4 * k);
            }
            body += &format!(
                "mma.sync.aligned.m8n8k4.{}.{}.{t}.f16.f16.{t} {}, {}, {}, {};\n",
                order(arow),
                order(brow),
                list(20, nc),
                list(0, 2),
                list(2, 2),
                list(4, nc)
            );
            for k in 0..nc {
                body += &format!("st.global.b32 [%d3+{}], %r{};\n", 4 * k, 20 + k);
            }
            let text = kernel("sm_80", "7.0", 2, "", &body);
            let mut run = Run::new(&text).words(&buf).words(&[0; 512]);
            run.go().unwrap_or_else(|e| panic!("{e}"));
            let out = words(&run.buffers[1]);
            for l in 0..32 {
                for i in 0..8 {
                    let (r, n) = c_at(l, i);
                    let g = group(l);
                    let want = c[g][r][n] + (0..4).map(|k| a[g][r][k] * b[g][k][n]).sum::<i64>();
                    let got = if acc16 {
                        out[16 * l + i / 2] >> (16 * (i % 2)) & 0xffff
                    } else {
                        out[16 * l + i]
                    };
                    let want = if acc16 {
                        h(want)
                    } else {
                        (want as f32).to_bits()
                    };
                    assert_eq!(got, want, "{arow} {brow} {t} lane {l} element {i}");
                }
            }
        }
    }
}
