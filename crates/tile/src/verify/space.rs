// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rules 27 and 34: buffers lie where their use can reach them, and only panels are packed.
//!
//! In: a program. Out: buffers whose space or layout does not go with what they hold, or with how the code reaches them.

use super::{Rule, VerifyError};
use crate::core::{Buf, Core, Elem, Inst, Layout, Space, View};

/// Shared memory that a block may have, in bytes: compute capability 8.0 (CUDA C++ Programming Guide, technical specifications).
pub const SHARED_BYTES: u64 = 163 << 10;

/// Checks the buffers of a program and the row views of its code.
pub(super) fn check(core: &Core) -> Vec<VerifyError> {
    let mut errors: Vec<VerifyError> = core.bufs.iter().filter_map(declared).collect();
    errors.extend(core.bufs.iter().filter_map(|b| packed(core, b)));
    let shared = core.bufs.iter().filter(|b| b.space == Space::Shared);
    let bytes = shared.fold(0u64, |sum, b| sum.saturating_add(core.bytes(b)));
    if bytes > SHARED_BYTES {
        let detail = format!("{bytes} bytes of shared memory, more than {SHARED_BYTES}");
        errors.push(error("header", detail));
    }
    for (name, code) in [("enter", &core.enter), ("body", &core.body)] {
        views(core, code, name, &mut errors);
    }
    errors
}

fn error(path: &str, detail: String) -> VerifyError {
    VerifyError {
        rule: Rule::Space,
        path: path.to_string(),
        detail,
    }
}

fn declared(b: &Buf) -> Option<VerifyError> {
    let wrong = if b.persist && b.space != Space::Work {
        "persists outside work memory"
    } else if b.elem == Elem::I64 && b.space == Space::Frag {
        "holds integers in fragments"
    } else if b.elem == Elem::I64 && b.layout != Layout::Row {
        "holds integers in another layout than rows"
    } else if b.layout == Layout::Swz128 && b.space != Space::Shared {
        "is swizzled outside shared memory"
    } else {
        return None;
    };
    Some(error("header", format!("{} {wrong}", b.name)))
}

/// Rule 34 for buffers.
fn packed(core: &Core, b: &Buf) -> Option<VerifyError> {
    let (d, step) = (core.head_dim, core.key_step);
    let wrong = match b.layout {
        Layout::Row | Layout::St | Layout::Swz128 => return None,
        Layout::Padded { .. } | Layout::Transposed { .. } if b.elem != Elem::Data => {
            "is packed and holds no data of tensors"
        }
        Layout::Padded { pitch } if pitch < d => "has rows beyond its pitch",
        Layout::Transposed { stride } if stride == 0 || step == 0 || stride % step != 0 => {
            "has a stride that is no multiple of the key step"
        }
        Layout::Padded { .. } | Layout::Transposed { .. } => return None,
    };
    Some(VerifyError {
        rule: Rule::Packing,
        path: "header".to_string(),
        detail: format!("{} {wrong}", b.name),
    })
}

/// Rows of a work view are found by number, which fragments do not allow and which swizzled rows are not laid out for.
fn views(core: &Core, code: &[Inst], path: &str, out: &mut Vec<VerifyError>) {
    for (i, inst) in code.iter().enumerate() {
        let path = format!("{path}.{i}");
        let view = match inst {
            Inst::Gather { src, .. } => Some(*src),
            Inst::Scatter { dst, .. } | Inst::Fill { dst, .. } => Some(*dst),
            Inst::Const(..)
            | Inst::Arg(..)
            | Inst::Bin(..)
            | Inst::Select(..)
            | Inst::Table(..)
            | Inst::Plan(..)
            | Inst::PlanStore(..)
            | Inst::Load(..)
            | Inst::Store(..)
            | Inst::For { .. }
            | Inst::Walk { .. }
            | Inst::If { .. }
            | Inst::Floats { .. }
            | Inst::Call { .. }
            | Inst::Inspect(..)
            | Inst::Queued(_)
            | Inst::Commit
            | Inst::Wait(_)
            | Inst::Release
            | Inst::Barrier => None,
        };
        if let Some(View::Work { buf, .. }) = view
            && let Some(b) = core.bufs.get(buf.0 as usize)
            && (b.space == Space::Frag || b.layout == Layout::Swz128)
        {
            out.push(error(&path, format!("rows of {} by number", b.name)));
        }
        for block in inst.blocks() {
            views(core, block, &path, out);
        }
    }
}
