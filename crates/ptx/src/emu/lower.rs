// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The last step of decoding: where dynamic shared memory begins is known only when all
//! static variables are laid out. In: code with marked constants. Out: code without them.

use super::code::{Code, Fixed};
use super::state::SHARED_BASE;

/// Marks the address of dynamic shared memory in constants; offsets are added to it.
pub(crate) const DYNAMIC: u64 = 0x5bad_d15c_0000_0000;

/// Resolves the marks.
pub(crate) fn finish(code: &mut Code) {
    let start = SHARED_BASE + u64::from(dynamic_start(code));
    for (_, f) in &mut code.fixed {
        if let Fixed::Value(v) = f {
            let off = v.wrapping_sub(DYNAMIC) as i64;
            if off.unsigned_abs() < 1 << 32 {
                *v = start.wrapping_add(off as u64);
            }
        }
    }
}

/// Offset of dynamic shared memory in the block's shared memory.
pub(crate) fn dynamic_start(code: &Code) -> u32 {
    code.shared_static
        .next_multiple_of(code.dynamic_align.max(1))
}
