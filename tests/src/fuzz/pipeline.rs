// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The whole compiler on tiny operators, against the oracle.
//!
//! In: bytes that choose an operator, sizes and an engine. Promise: it compiles, and every row obeys its bound.

use arbitrary::{Arbitrary, Unstructured};
use attnc::Backend;
use attnc::pipeline::Plan;
use attnc_spec::{
    Branch, Gradient, Offsets, Operator, Precision, Profile, Ragged, Rows, Segment, ZeroLse,
};
use attnc_tensor::DType;

use crate::engines::Engine;
use crate::random::Case;

/// An operator and an engine, from bytes.
pub(super) fn pipeline(data: &[u8]) -> bool {
    let mut bytes = Unstructured::new(data);
    let Ok((case, engine)) = chosen(&mut bytes) else {
        return false;
    };
    if let Err(e) = engine.check(&case) {
        panic!("{case:?}\n{e}");
    }
    true
}

fn chosen(u: &mut Unstructured<'_>) -> arbitrary::Result<(Case, Engine)> {
    let plans = [Plan::Share, Plan::Each];
    let engine = match u.int_in_range(0..=15u32)? {
        // Compiling takes longest; it has its turn less often.
        0 => Engine::new(Backend::Cpu, Some(*u.choose(&plans)?), 1),
        1 | 2 => Engine::new(Backend::InterpTile, Some(*u.choose(&plans)?), 2),
        3..=5 => Engine::new(Backend::InterpGraph, Some(*u.choose(&plans)?), 1),
        _ => Engine::new(Backend::InterpGraph, None, 1),
    };
    Ok((case(u)?, engine))
}

fn case(u: &mut Unstructured<'_>) -> arbitrary::Result<Case> {
    let (heads, kv_heads) = *u.choose(&[(1, 1), (2, 1), (2, 2), (3, 1), (4, 2)])?;
    let head_dim = u.int_in_range(1..=4)?;
    let flag = |u: &mut Unstructured<'_>| bool::arbitrary(u);
    let profile = Profile {
        offsets: if flag(u)? {
            Offsets::Modulo
        } else {
            Offsets::Blocked
        },
        ragged: if flag(u)? {
            Ragged::Masked
        } else {
            Ragged::ZeroKeys
        },
        rows: if flag(u)? {
            Rows::Aligned
        } else {
            Rows::Displaced
        },
        gradient: Gradient::Exact,
        zero_lse: if flag(u)? {
            ZeroLse::Covered
        } else {
            ZeroLse::Uncovered
        },
    };
    let causal = flag(u)?;
    let dtype = *u.choose(&[DType::F32, DType::F32, DType::Bf16, DType::F16])?;
    let seq_len = u.int_in_range(1..=24)?;
    let seed = u64::from(u8::arbitrary(u)?);
    let mut branches = Vec::new();
    for _ in 0..u.int_in_range(1..=3)? {
        let segment = match u.int_in_range(0..=28u64)? {
            0 => Segment::Whole,
            w => Segment::Finite(w),
        };
        let dilation = u.int_in_range(1..=7)?;
        branches.push(Branch { segment, dilation });
    }
    let op = Operator {
        name: "tiny".into(),
        heads,
        kv_heads,
        head_dim,
        dtype,
        precision: Precision::Standard,
        causal,
        scale: 1.0 / f64::from(head_dim).sqrt(),
        profile,
        branches,
    };
    Ok(Case {
        op,
        batch: 1,
        seq_len,
        seed,
    })
}
