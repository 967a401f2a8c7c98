// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rule 29: what stages and warps a program may have, and how staged buffers are reached.
//!
//! In: a program. Out: what no machine could run so, or what has no meaning.

use super::uses::{Use, uses};
use super::{Rule, VerifyError};
use crate::core::{Core, Elem, Inst, Lie, Space, View};

/// Most stages: a machine's counter of copies in flight.
const STAGES: u32 = 8;
/// Most warps of a block.
const WARPS: u32 = 32;
/// Rows of a warp come in fragments of this many.
const FRAGMENT: u32 = 16;

/// Checks the header, the buffers and the copies of a program.
pub(super) fn check(core: &Core) -> Vec<VerifyError> {
    let mut errors = Vec::new();
    let mut fail = |path: &str, detail: String| {
        errors.push(VerifyError {
            rule: Rule::Stages,
            path: path.to_string(),
            detail,
        });
    };
    let (stages, warps) = (core.stages, core.warps);
    if !(1..=STAGES).contains(&stages) || !(1..=WARPS).contains(&warps) {
        fail("header", format!("{stages} stages, {warps} warps"));
    }
    for b in &core.bufs {
        if b.staged && (b.space != Space::Shared || b.persist) {
            fail("header", format!("{} is staged, not shared", b.name));
        }
        if b.elem == Elem::Data && b.space == Space::Frag {
            let detail = format!("{} holds elements of tensors in fragments", b.name);
            fail("header", detail);
        }
    }
    for f in &core.fns {
        if warps > 1 && !f.mq.is_multiple_of(warps.saturating_mul(FRAGMENT)) {
            let detail = format!("{} rows do not divide over {warps} warps", f.mq);
            fail(&f.name, detail);
        }
    }
    for (name, code) in [("enter", &core.enter), ("body", &core.body)] {
        block(core, code, name, &mut fail);
    }
    errors
}

fn block(core: &Core, code: &[Inst], path: &str, fail: &mut impl FnMut(&str, String)) {
    for (i, inst) in code.iter().enumerate() {
        let path = format!("{path}.{i}");
        for (buf, how) in uses(core, inst) {
            let b = &core.bufs[buf.0 as usize];
            let wrong = match how {
                Use::Write | Use::Raise => b.staged,
                Use::Fill => !b.staged || b.elem != Elem::Data,
                Use::Load | Use::Store | Use::Read | Use::FillRows => false,
            };
            if wrong {
                let detail = match how {
                    Use::Fill => format!("{} is no staged buffer of tensor elements", b.name),
                    Use::Load
                    | Use::Store
                    | Use::Read
                    | Use::FillRows
                    | Use::Write
                    | Use::Raise => {
                        format!("{} is staged: only asynchronous copies fill it", b.name)
                    }
                };
                fail(&path, detail);
            }
        }
        if let Inst::Gather {
            lie,
            src,
            flag,
            ahead: true,
            ..
        } = inst
        {
            let wrong = match (lie, src, flag) {
                (Lie::Cols { .. }, _, _) => "turns rows into columns",
                (Lie::Rows, View::Work { .. }, _) => "copies from work memory",
                (Lie::Rows, View::Tensor { .. }, Some(_)) => "looks at elements on their way",
                (Lie::Rows, View::Tensor { .. }, None) => "",
            };
            if !wrong.is_empty() {
                fail(&path, format!("an asynchronous gather {wrong}"));
            }
        }
        for inner in inst.blocks() {
            block(core, inner, &path, fail);
        }
    }
}
