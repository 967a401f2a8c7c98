// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The cost of an operator by formula, the unit of every rate that is reported.
//!
//! In: operator, B, N. Out: `madds_formula`, the multiply-adds of both products: 2 B H D sum over branches of N w' / r^2, summed exactly as a fraction,
//! halved when causal, rounded down once (section "Cost" of the semantics).

use attnc_spec::{Operator, Segment};
use num_bigint::BigUint;

/// `madds_formula` for `batch` entries of `seq_len` tokens; saturates at `u128::MAX`, which no machine will ever compute.
pub fn madds_formula(op: &Operator, batch: u64, seq_len: u64) -> u128 {
    // sum = numerator / denominator
    let (mut numerator, mut denominator) = (BigUint::ZERO, BigUint::from(1u8));
    for b in &op.branches {
        let width = match b.segment {
            Segment::Finite(w) => w.min(seq_len),
            Segment::Whole => seq_len,
        };
        let square = BigUint::from(b.dilation) * b.dilation;
        let term = BigUint::from(seq_len) * width;
        if (&denominator % &square) == BigUint::ZERO {
            numerator += term * (&denominator / &square);
        } else {
            numerator = numerator * &square + term * &denominator;
            denominator *= square;
        }
    }
    numerator *= BigUint::from(2u8) * batch * op.heads * op.head_dim;
    if op.causal {
        denominator *= 2u8;
    }
    u128::try_from(numerator / denominator).unwrap_or(u128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use attnc_spec::{Branch, Precision, Profile};
    use attnc_tensor::DType;

    fn op(branches: &[(u64, u64)], heads: u32, head_dim: u32, causal: bool) -> Operator {
        let branch = |&(w, dilation): &(u64, u64)| Branch {
            segment: Segment::Finite(w),
            dilation,
        };
        Operator {
            name: "t".into(),
            heads,
            kv_heads: heads,
            head_dim,
            dtype: DType::F32,
            precision: Precision::Standard,
            causal,
            scale: 1.0,
            profile: Profile::PAPER,
            branches: branches.iter().map(branch).collect(),
        }
    }

    #[test]
    fn formula_is_exact_and_rounded_once() {
        // Dense: 2 B H D N^2, half of it causal.
        let n = 1000u64;
        assert_eq!(madds_formula(&op(&[(n, 1)], 3, 5, false), 2, n), 60_000_000);
        assert_eq!(madds_formula(&op(&[(n, 1)], 3, 5, true), 2, n), 30_000_000);
        // 2 * (7*7/9 + 7*7/25) = 14.8088..., where rounding each branch first would give 14 or less.
        assert_eq!(madds_formula(&op(&[(9, 3), (9, 5)], 1, 1, false), 1, 7), 14);
        assert_eq!(madds_formula(&op(&[(9, 3), (9, 5)], 1, 1, true), 1, 7), 7);
        // Three times a third of one: 2 * (1/9) * 9 branches = 2.
        assert_eq!(madds_formula(&op(&[(1, 3); 9], 1, 1, false), 1, 1), 2);
    }

    #[test]
    fn paper_schedule_at_8192() {
        let b = [(2048, 1), (4096, 2), (8192, 4), (16384, 6), (32768, 12)];
        // 8192 * (2048/1 + 4096/4 + 8192/16 + 8192/36 + 8192/144) = 8192 * 3868.44...; times 2*12*64, halved.
        assert_eq!(
            madds_formula(&op(&b, 12, 64, true), 1, 8192),
            24_338_148_010
        );
    }

    #[test]
    fn extremes_do_not_overflow() {
        let huge = op(&[(1 << 40, 1), (1 << 40, (1 << 40) - 1)], 4096, 256, false);
        assert!(madds_formula(&huge, 1 << 20, 1 << 40) > 1 << 120);
        assert_eq!(madds_formula(&huge, u64::MAX, u64::MAX), u128::MAX);
        assert_eq!(madds_formula(&huge, 0, 5), 0);
        assert_eq!(madds_formula(&huge, 5, 0), 0);
    }
}
