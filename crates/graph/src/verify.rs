// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The rules of the graph. An [`crate::OpGraph`] cannot be built against them: `add` asks [`infer`] first.
//!
//! * G01 operands are defined before their use
//! * G02 the number and types of operands are the operation's
//! * G03 bags have terms, sorted, of positive weight
//! * G04 merge, join and fold need zero_lse = covered, mix needs uncovered; displaced bags need rows = displaced; bags hold zero keys
//!   exactly where ragged = zero_keys
//! * G05 one output, last
//! * G06 scales are positive normal numbers of f32
//! * G07 the header is within the limits of the language
//! * G08 branches are within the limits of the language

use attnc_spec::{Branch, Ragged, Rows, Segment, ZeroLse};

use crate::graph::{GraphError, Header};
use crate::op::{Once, Op, RowMap, Shown, Type};
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
        o.terms.iter().try_for_each(|t| branch(t.branch))?;
        needs(
            o.map == RowMap::Aligned || profile.rows == Rows::Displaced,
            "rows = displaced",
        )?;
        needs(
            o.zero_keys == (profile.ragged == Ragged::ZeroKeys),
            "zero_keys exactly where ragged = zero_keys",
        )
    };
    let pair = [Type::Pair, Type::Pair];
    match op {
        Op::Input(_) if operands.is_empty() => Ok(Type::Tensor),
        Op::Gather(b, _) if operands == [Type::Tensor] => branch(*b).map(|()| Type::Gathered(*b)),
        Op::Qk => match *operands {
            [Type::Gathered(a), Type::Gathered(b)] if a == b => Ok(Type::Scores(a)),
            _ => Err(wrong()),
        },
        Op::Scale(x) => match *operands {
            [Type::Scores(b)] => scale(*x).map(|()| Type::Scores(b)),
            _ => Err(wrong()),
        },
        Op::Mask => match *operands {
            [Type::Scores(b)] => Ok(Type::Scores(b)),
            _ => Err(wrong()),
        },
        Op::Softmax => match *operands {
            [Type::Scores(b)] => Ok(Type::Probs(b)),
            _ => Err(wrong()),
        },
        Op::Pv => match *operands {
            [Type::Probs(a), Type::Gathered(b)] if a == b => Ok(Type::BranchPair(a)),
            _ => Err(wrong()),
        },
        Op::Scatter => match *operands {
            [Type::BranchPair(_)] => Ok(Type::Pair),
            _ => Err(wrong()),
        },
        Op::Merge if operands == pair => needs(covered, "zero_lse = covered").map(|()| Type::Pair),
        Op::Mix if !operands.is_empty() && operands.iter().all(|p| *p == Type::Pair) => {
            needs(!covered, "zero_lse = uncovered").map(|()| Type::Pair)
        }
        Op::Local(b) if operands.is_empty() => branch(*b).map(|()| Type::Bag(Some(*b))),
        Op::Once(o) if operands.is_empty() => once(o).map(|()| Type::Bag(None)),
        Op::Dense(w) if operands.is_empty() => {
            if *w == 0 {
                Err(GraphError::Terms)
            } else {
                Ok(Type::Bag(None))
            }
        }
        Op::Sum if operands == [Type::Bag(None), Type::Bag(None)] => Ok(Type::Bag(None)),
        Op::Attend(e) => match *operands {
            [Type::Tensor, Type::Tensor, Type::Tensor, Type::Bag(None)] => {
                scale(e.scale).map(|()| Type::State(None))
            }
            [
                Type::Gathered(a),
                Type::Gathered(b),
                Type::Gathered(c),
                Type::Bag(Some(d)),
            ] if a == b && b == c && c == d => scale(e.scale).map(|()| Type::State(Some(a))),
            _ => Err(wrong()),
        },
        Op::Join if operands == [Type::State(None), Type::State(None)] => {
            needs(covered, "zero_lse = covered").map(|()| Type::State(None))
        }
        Op::Fold(e) => match *operands {
            [
                Type::State(None),
                Type::Tensor,
                Type::Tensor,
                Type::Tensor,
                Type::Bag(None),
            ] => {
                scale(e.scale)?;
                needs(covered, "zero_lse = covered").map(|()| Type::State(None))
            }
            _ => Err(wrong()),
        },
        Op::Finish => match *operands {
            [Type::State(None)] => Ok(Type::Pair),
            [Type::State(Some(b))] => Ok(Type::BranchPair(b)),
            _ => Err(wrong()),
        },
        Op::Panels if operands == [Type::Tensor] => Ok(Type::Tensor),
        Op::Output if operands == [Type::Pair] => Ok(Type::Unit),
        Op::Input(_)
        | Op::Gather(..)
        | Op::Merge
        | Op::Mix
        | Op::Local(_)
        | Op::Once(_)
        | Op::Dense(_)
        | Op::Sum
        | Op::Join
        | Op::Panels
        | Op::Output => Err(wrong()),
    }
}

/// G06.
fn scale(x: f64) -> Result<(), GraphError> {
    if x > 0.0 && (x as f32).is_normal() {
        Ok(())
    } else {
        Err(GraphError::Scale)
    }
}

/// G08.
fn branch(b: Branch) -> Result<(), GraphError> {
    let within = |x: u64| (1..=1 << 40).contains(&x);
    let segment = match b.segment {
        Segment::Finite(w) => within(w),
        Segment::Whole => true,
    };
    if segment && within(b.dilation) {
        Ok(())
    } else {
        Err(GraphError::Branch(Shown(b).to_string()))
    }
}
