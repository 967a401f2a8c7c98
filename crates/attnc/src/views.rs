// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From dense results to the caller's strided room for them.

use attnc_tensor::{Tensor, ViewMut};

/// Writes every element of `from` to `to`, which has its shape.
pub(crate) fn copy_into(to: &mut ViewMut<'_>, from: &Tensor) {
    let shape = to.shape().to_vec();
    let mut index = vec![0; shape.len()];
    for i in 0..from.len() {
        to.set(&index, from.get(i));
        for (x, n) in index.iter_mut().zip(&shape).rev() {
            *x += 1;
            if *x < *n {
                break;
            }
            *x = 0;
        }
    }
}
