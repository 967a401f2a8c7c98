// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rule 28: sizes that every machine can hold, for programs that come from edited text.
//!
//! In: a program. Out: what is empty or beyond the limits.

use super::{Rule, VerifyError};
use crate::core::{Axis, Core, TileFn};

/// Heads and head dimension.
const MOST: u32 = 1 << 16;
/// Bytes of the buffers of a worker, and of the temporaries of a function.
const BYTES: u64 = 1 << 28;
/// Elements of the plan's tables.
const PLAN: u64 = 1 << 20;

/// Checks the sizes of a program.
pub(super) fn check(core: &Core) -> Vec<VerifyError> {
    let mut errors = Vec::new();
    let mut limit = |ok: bool, path: &str, detail: String| {
        if !ok {
            errors.push(VerifyError {
                rule: Rule::Limits,
                path: path.to_string(),
                detail,
            });
        }
    };
    let (h, kv, d) = (core.heads, core.kv_heads, core.head_dim);
    let sizes = [h, kv, d].iter().all(|x| (1..=MOST).contains(x));
    limit(
        sizes && h.is_multiple_of(kv.max(1)),
        "header",
        format!("{h} heads, {kv} key/value heads, dimension {d}"),
    );
    let bytes = (core.bufs.iter()).fold(0u64, |sum, b| sum.saturating_add(core.bytes(b)));
    limit(
        bytes <= BYTES,
        "header",
        format!("buffers of {bytes} bytes, more than {BYTES}"),
    );
    let plan = (core.plan_tables.iter()).fold(0u64, |sum, t| sum.saturating_add(t.len));
    limit(
        plan <= PLAN,
        "header",
        format!("plan tables of {plan} elements, more than {PLAN}"),
    );
    for f in &core.fns {
        let bytes = temporaries(core, f);
        limit(
            bytes <= BYTES,
            &f.name,
            format!("temporaries of {bytes} bytes, more than {BYTES}"),
        );
    }
    errors
}

fn temporaries(core: &Core, f: &TileFn) -> u64 {
    let extent = |a: Axis| {
        u64::from(match a {
            Axis::One => 1,
            Axis::Query => f.mq,
            Axis::Key { .. } => f.nk,
            Axis::Dim => f.head_dim,
        })
    };
    f.temps.iter().fold(0u64, |sum, (_, t)| {
        let n = extent(t.rows).saturating_mul(extent(t.cols));
        sum.saturating_add(n.saturating_mul(t.elem.bytes(core.dtype)))
    })
}
