// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rules of the graph. An [`crate::OpGraph`] cannot be built against them: `add` asks [`infer`] first.
//!
//! * G01 operands are defined before their use
//! * G02 the number and types of operands are the operation's
//! * G03 bags have terms, sorted, of positive weight
//! * G04 merge and join need zero_lse = covered; mix needs uncovered; displaced bags need rows = displaced; zeros need zero keys
//! * G05 one output, last
//! * G06 scales are finite

use attnc_spec::{Ragged, Rows, ZeroLse};

use crate::graph::{GraphError, Header};
use crate::op::{Once, Op, RowMap, Type};
use crate::text::op_name;

/// The type of `op` applied to operands of these types.
///
/// # Errors
/// The rule that it breaks.
pub fn infer(header: &Header, op: &Op, operands: &[Type]) -> Result<Type, GraphError> {
    let wrong = || GraphError::Operands {
        op: op_name(op),
        found: operands.to_vec(),
    };
    let needs = |holds: bool, needs: &'static str| {
        if holds {
            Ok(())
        } else {
            Err(GraphError::Profile {
                op: op_name(op),
                needs,
            })
        }
    };
    let profile = header.profile;
    let covered = profile.zero_lse == ZeroLse::Covered;
    let once = |o: &Once| {
        if o.terms.is_empty() || o.terms.iter().any(|t| t.weight == 0) || !o.terms.is_sorted() {
            return Err(GraphError::Terms);
        }
        needs(
            o.map == RowMap::Aligned || profile.rows == Rows::Displaced,
            "rows = displaced",
        )?;
        needs(
            !o.zero_keys || profile.ragged == Ragged::ZeroKeys,
            "ragged = zero_keys",
        )
    };
    match (op, operands) {
        (Op::Input(_), []) => Ok(Type::Tensor),
        (Op::Gather(b, _), [Type::Tensor]) => Ok(Type::Gathered(*b)),
        (Op::Qk, [Type::Gathered(a), Type::Gathered(b)]) if a == b => Ok(Type::Scores(*a)),
        (Op::Scale(x), [Type::Scores(b)]) => {
            if x.is_finite() {
                Ok(Type::Scores(*b))
            } else {
                Err(GraphError::Scale)
            }
        }
        (Op::Mask, [Type::Scores(b)]) => Ok(Type::Scores(*b)),
        (Op::Softmax, [Type::Scores(b)]) => Ok(Type::Probs(*b)),
        (Op::Pv, [Type::Probs(a), Type::Gathered(b)]) if a == b => Ok(Type::BranchPair(*a)),
        (Op::Scatter, [Type::BranchPair(_)]) => Ok(Type::Pair),
        (Op::Merge, [Type::Pair, Type::Pair]) => {
            needs(covered, "zero_lse = covered").map(|()| Type::Pair)
        }
        (Op::Mix, pairs) if !pairs.is_empty() && pairs.iter().all(|p| *p == Type::Pair) => {
            needs(!covered, "zero_lse = uncovered").map(|()| Type::Pair)
        }
        (Op::Local(b), []) => Ok(Type::Bag(Some(*b))),
        (Op::Once(o), []) => once(o).map(|()| Type::Bag(None)),
        (Op::Dense(w), []) => {
            if *w == 0 {
                Err(GraphError::Terms)
            } else {
                Ok(Type::Bag(None))
            }
        }
        (Op::Sum, [Type::Bag(None), Type::Bag(None)]) => Ok(Type::Bag(None)),
        (Op::Attend(e), [Type::Tensor, Type::Tensor, Type::Tensor, Type::Bag(None)]) => {
            finite(e.scale).map(|()| Type::State(None))
        }
        (
            Op::Attend(e),
            [
                Type::Gathered(a),
                Type::Gathered(b),
                Type::Gathered(c),
                Type::Bag(Some(d)),
            ],
        ) if a == b && b == c && c == d => finite(e.scale).map(|()| Type::State(Some(*a))),
        (Op::Zeros(o), []) => {
            needs(profile.ragged == Ragged::ZeroKeys, "ragged = zero_keys")?;
            once(o).map(|()| Type::State(None))
        }
        (Op::Join, [Type::State(None), Type::State(None)]) => Ok(Type::State(None)),
        (
            Op::Fold(e),
            [
                Type::State(None),
                Type::Tensor,
                Type::Tensor,
                Type::Tensor,
                Type::Bag(None),
            ],
        ) => finite(e.scale).map(|()| Type::State(None)),
        (Op::Finish, [Type::State(None)]) => Ok(Type::Pair),
        (Op::Finish, [Type::State(Some(b))]) => Ok(Type::BranchPair(*b)),
        (Op::Panels, [Type::Tensor]) => Ok(Type::Tensor),
        (Op::Output, [Type::Pair]) => Ok(Type::Unit),
        _ => Err(wrong()),
    }
}

fn finite(x: f64) -> Result<(), GraphError> {
    if x.is_finite() {
        Ok(())
    } else {
        Err(GraphError::Scale)
    }
}
