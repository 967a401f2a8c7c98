// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moves by themselves in Bochs' CPU, assembled and portable ones, at every head dimension.
//!
//! In: rows of random bits (NaNs, subnormal numbers and infinities among them) at odd strides, in orders of their own, every kind of tail.
//! Every tensor, list and tile ends where a page ends that nobody may touch. Out: every byte as it follows from the meaning of the move,
//! written down here once more; what is not the move's to write stays as it was.

mod made;
mod rows;

use attnc_codegen_cpu::Program;
use attnc_tensor::DType;
use attnc_tests::bochs::{Arg, Image, there};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use made::{Made, OLD, PAIRS, PORTABLE, TILES, V3, V4};
use rows::{Guest, Rows};

/// The moves of these head dimensions, each with two numbers of live rows.
fn check(m: Made, dims: impl Iterator<Item = usize>) {
    if !there() {
        return;
    }
    let dims: Vec<usize> = dims.collect();
    for dims in dims.chunks(16) {
        let programs: Vec<Program> = dims.iter().map(|d| m.program(*d)).collect();
        let mut g = Guest {
            image: Image::of_all(&programs),
            wanted: Vec::new(),
        };
        for &d in dims {
            let mut random = ChaCha8Rng::seed_from_u64(d as u64);
            let lives = [
                [37, 64],
                [1, 32],
                [33, 31],
                [0, 8],
                [63, 15],
                [5, 48],
                [40, 16],
            ][d % 7];
            for (i, live) in lives.into_iter().enumerate() {
                let rows = Rows::draw(m, d, ((d + i) % 3) as u32, &mut random);
                let order: Vec<usize> = (0..live).map(|_| random.random_range(0..40)).collect();
                if m.half {
                    g.halves(m, d, &rows, &order);
                } else {
                    g.floats(m, d, &rows, &order, &mut random);
                }
            }
        }
        let ran = g.image.run(&m.processor).unwrap_or_else(|e| panic!("{e}"));
        for (what, buffer, wanted) in &g.wanted {
            let got = ran.bytes(*buffer);
            if got != wanted {
                let at = got.iter().zip(wanted).position(|(a, b)| a != b);
                panic!("{what}: byte {at:?} of {}", got.len());
            }
        }
    }
}

#[test]
fn panels_of_pairs_hold_what_they_are_to_hold() {
    check(PAIRS, 1..=256);
    check(TILES, [1, 24, 64, 129].into_iter());
    // Nothing but the limit knows the dtype.
    let dtype = DType::F16;
    check(Made { dtype, ..PAIRS }, [5, 32, 63].into_iter());
}

#[test]
fn halves_are_converted_by_256_bits() {
    check(V3, 1..=256);
}

#[test]
fn halves_are_converted_by_512_bits() {
    check(V4, 1..=256);
}

#[test]
fn other_dtypes_move_by_both_widths() {
    for dtype in [DType::F32, DType::Bf16] {
        for made in [V3, V4] {
            check(Made { dtype, ..made }, (1..=256).step_by(15));
        }
    }
}

#[test]
fn portable_moves_do_the_same() {
    for dtype in [DType::F32, DType::Bf16, DType::F16] {
        for half in [false, true] {
            if (dtype, half) != (DType::F32, true) {
                let made = Made {
                    dtype,
                    half,
                    ..PORTABLE
                };
                check(made, (1..=256).step_by(17));
            }
        }
    }
}

/// Integers as floats and their logarithms: the portable bits, and near what they are to be.
#[test]
fn logarithms_of_counts_are_those_of_the_portable_body() {
    if !there() {
        return;
    }
    let counts: Vec<i64> = (0..27)
        .chain([1 << 24, (1 << 24) + 1, (1 << 62) + 12_345, i64::MAX, -1])
        .collect();
    let run = |m: Made, f: &str, count: usize| -> Vec<u32> {
        let program = m.program(1);
        let mut image = Image::of(&program);
        let src: Vec<u8> = counts[..count]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        let src = image.constant(&src, 8);
        let dst = image.buffer(&vec![OLD; 4 * counts.len()], 4);
        let args = [Arg::At(dst), Arg::At(src), Arg::Int(count as i64)];
        image.call(&m.name(1, &format!("floats_{f}")), &args);
        let ran = image.run(&m.processor).unwrap_or_else(|e| panic!("{e}"));
        let words = ran.bytes(dst).chunks_exact(4);
        words
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()
    };
    for f in ["float", "log2", "ln"] {
        for count in [counts.len(), 16, 7, 1, 0] {
            let want = run(PORTABLE, f, count);
            for made in [V3, V4] {
                assert_eq!(
                    run(made, f, count),
                    want,
                    "{f} of {count} at {:?}",
                    made.level
                );
            }
            for (x, y) in counts[..count].iter().zip(&want) {
                let (x, y) = (*x as f64, f64::from(f32::from_bits(*y)));
                let exact = match f {
                    "float" => x,
                    "log2" => x.log2(),
                    _ => x.ln(),
                };
                let same = y == exact || y.is_nan() && exact.is_nan();
                assert!(
                    same || (y - exact).abs() <= 2e-7 * exact.abs().max(1.0),
                    "{f} of {x}: {y}"
                );
            }
            assert!(want[count..].iter().all(|x| *x == u32::MAX));
        }
    }
}
