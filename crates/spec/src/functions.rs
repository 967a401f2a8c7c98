// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The functions of the language.

use std::collections::HashMap;

use attnc_diag::{Code, Span};
use num_bigint::BigUint;

use crate::eval::{Evaluator, integer_help};
use crate::hir::Function;
use crate::value::Value;

/// Longest geometric list.
const MAX_GEOM: i64 = 64;
/// Lists kept: a loop that asks for the same one again gets it for one step.
const KEPT: usize = 1024;

/// Geometric lists computed so far.
#[derive(Debug, Default)]
pub(crate) struct Geometric {
    kept: HashMap<(i64, i64, i64), Value>,
}

/// `geom(first, last, count)`: element i is floor((first^(n-1-i) * last^i)^(1/(n-1))), n = count, computed exactly with integers of any
/// size; `[first]` for count = 1. Needs first, last >= 1 and count >= 1.
pub(crate) fn geometric(first: u64, last: u64, count: u32) -> Vec<u64> {
    let Some(steps) = count.checked_sub(1).filter(|steps| *steps > 0) else {
        return vec![first];
    };
    let (a, b) = (BigUint::from(first), BigUint::from(last));
    let root = |i: u32| {
        let product = a.pow(steps - i) * b.pow(i);
        // The root lies between first and last, so it has at most 64 bits.
        product
            .nth_root(steps)
            .iter_u64_digits()
            .next()
            .unwrap_or(0)
    };
    (0..count)
        .map(|i| match i {
            0 => first,
            i if i == steps => last,
            i => root(i),
        })
        .collect()
}

/// floor(a / b) rounded up, b not 0; `None` if it overflows.
fn ceil_div(a: i64, b: i64) -> Option<i64> {
    let quotient = a.checked_div(b)?;
    let up = a % b != 0 && (a < 0) == (b < 0);
    quotient.checked_add(i64::from(up))
}

impl Evaluator<'_> {
    /// Calls a function; the number of arguments is right and none is poison.
    pub(crate) fn call(
        &mut self,
        function: Function,
        values: &[Value],
        spans: &[Span],
        span: Span,
    ) -> Value {
        match (function, values) {
            (Function::Sqrt, [x]) => match self.float(function, x, spans[0]) {
                Some(x) if x < 0.0 => self.fail(
                    Code::NonFinite,
                    span,
                    format!("the square root of {x:?} is no number"),
                    "no finite number",
                    "take the root of a number >= 0",
                ),
                Some(x) => self.finite(x.sqrt(), span),
                None => Value::Poison,
            },
            (Function::Min, _) => self.extreme(function, values, spans, |a, b| a < b),
            (Function::Max, _) => self.extreme(function, values, spans, |a, b| a > b),
            (Function::CeilDiv, [a, b]) => {
                match (
                    self.integer(function, a, spans[0]),
                    self.integer(function, b, spans[1]),
                ) {
                    (Some(_), Some(0)) => self.by_zero(span, spans[1]),
                    (Some(a), Some(b)) => match ceil_div(a, b) {
                        Some(n) => Value::Int(n),
                        None => self.too_large(span),
                    },
                    _ => Value::Poison,
                }
            }
            (Function::Floor, [x]) => self.as_integer(function, x, span, spans[0], f64::floor),
            (Function::Round, [x]) => self.as_integer(function, x, span, spans[0], f64::round),
            (Function::Len, [Value::List(list)]) => Value::Int(list.items.len() as i64),
            (Function::Len, [other]) => {
                let message = format!("`len` takes a list, found {}", other.describe());
                self.fail(
                    Code::NotAList,
                    spans[0],
                    message,
                    "this is no list",
                    "only lists have a length",
                )
            }
            (Function::Geom, [first, last, count]) => self.geom(first, last, count, spans, span),
            // `lower` has checked the numbers of arguments.
            _ => Value::Poison,
        }
    }

    fn too_large(&mut self, span: Span) -> Value {
        self.fail(
            Code::IntegerOverflow,
            span,
            "the result does not fit in 64 bits".to_owned(),
            "this overflows",
            "integers go up to 9223372036854775807",
        )
    }

    fn float(&mut self, function: Function, value: &Value, span: Span) -> Option<f64> {
        match value {
            Value::Int(n) => Some(*n as f64),
            Value::Float(x) => Some(*x),
            other => {
                let message = format!(
                    "`{}` takes numbers, found {}",
                    function.name(),
                    other.describe()
                );
                let help = match other {
                    Value::List(_) => "take an element: `list[i]`",
                    _ => "write a number",
                };
                self.fail(Code::ArgumentType, span, message, "this is no number", help);
                None
            }
        }
    }

    fn integer(&mut self, function: Function, value: &Value, span: Span) -> Option<i64> {
        match value {
            Value::Int(n) => Some(*n),
            other => {
                let message = format!(
                    "`{}` takes integers, found {}",
                    function.name(),
                    other.describe()
                );
                self.fail(
                    Code::ArgumentType,
                    span,
                    message,
                    "this is no integer",
                    integer_help(other),
                );
                None
            }
        }
    }

    /// The value that is `better` than all others; an integer if all are, else a float.
    fn extreme(
        &mut self,
        function: Function,
        values: &[Value],
        spans: &[Span],
        better: fn(f64, f64) -> bool,
    ) -> Value {
        let mut floats = Vec::with_capacity(values.len());
        for (value, span) in values.iter().zip(spans) {
            floats.extend(self.float(function, value, *span));
        }
        if floats.len() < values.len() {
            return Value::Poison;
        }
        let integers: Option<Vec<i64>> = values
            .iter()
            .map(|value| {
                if let Value::Int(n) = value {
                    Some(*n)
                } else {
                    None
                }
            })
            .collect();
        if let Some(integers) = integers {
            // Floats do not tell large integers apart.
            let best = if function == Function::Min {
                integers.into_iter().min()
            } else {
                integers.into_iter().max()
            };
            return best.map_or(Value::Poison, Value::Int);
        }
        floats
            .into_iter()
            .reduce(|a, b| if better(b, a) { b } else { a })
            .map_or(Value::Poison, Value::Float)
    }

    fn as_integer(
        &mut self,
        function: Function,
        value: &Value,
        span: Span,
        argument: Span,
        to: fn(f64) -> f64,
    ) -> Value {
        if let Value::Int(n) = value {
            return Value::Int(*n);
        }
        let Some(x) = self.float(function, value, argument) else {
            return Value::Poison;
        };
        let x = to(x);
        // 2^63 is the first float beyond; -2^63 is the last one within.
        if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&x) {
            Value::Int(x as i64)
        } else {
            self.too_large(span)
        }
    }

    fn geom(
        &mut self,
        first: &Value,
        last: &Value,
        count: &Value,
        spans: &[Span],
        span: Span,
    ) -> Value {
        let mut arguments = [0; 3];
        for (n, value) in [first, last, count].into_iter().enumerate() {
            match self.integer(Function::Geom, value, spans[n]) {
                Some(value) => arguments[n] = value,
                None => return Value::Poison,
            }
        }
        let [first, last, count] = arguments;
        for (n, (name, value)) in [("first", first), ("last", last)].into_iter().enumerate() {
            if value < 1 {
                let message = format!("`geom` needs {name} >= 1, found {value}");
                return self.fail(
                    Code::ArgumentRange,
                    spans[n],
                    message,
                    "too small",
                    "a geometric list has positive ends",
                );
            }
        }
        if !(1..=MAX_GEOM).contains(&count) {
            let message = format!("`geom` needs a count from 1 to {MAX_GEOM}, found {count}");
            return self.fail(
                Code::ArgumentRange,
                spans[2],
                message,
                "out of range",
                "the count is the length of the list",
            );
        }
        if let Some(list) = self.geometric.kept.get(&(first, last, count)) {
            return list.clone();
        }
        // A root of a number of 63 n bits takes some n^2 microseconds at most; a step is some ten nanoseconds.
        let effort = (count * count * 8) as u64;
        if !self.spend(effort, span) {
            return Value::Poison;
        }
        let list = geometric(first as u64, last as u64, count as u32);
        let value = Value::list(list.into_iter().map(|n| Value::Int(n as i64)).collect());
        if self.geometric.kept.len() < KEPT {
            self.geometric
                .kept
                .insert((first, last, count), value.clone());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometric_lists_are_exact() {
        assert_eq!(
            geometric(1024, 1_048_576, 5),
            [1024, 5792, 32768, 185_363, 1_048_576]
        );
        assert_eq!(geometric(7, 100, 1), [7]);
        assert_eq!(geometric(7, 100, 2), [7, 100]);
        assert_eq!(
            geometric(1, 1 << 60, 61),
            (0..61).map(|i| 1 << i).collect::<Vec<u64>>()
        );
        assert_eq!(geometric(100, 1, 3), [100, 10, 1]);
        assert_eq!(geometric(5, 5, 64), [5; 64]);
        let top = i64::MAX as u64;
        assert_eq!(geometric(top, top, 64), [top; 64]);
    }

    #[test]
    fn every_element_is_the_floor_of_the_root() {
        for (first, last, count) in [
            (3u64, 1_000_003u64, 9u32),
            (1, i64::MAX as u64, 64),
            (i64::MAX as u64, 2, 17),
            (2048, 32768, 5),
        ] {
            let list = geometric(first, last, count);
            let n = count - 1;
            for (i, x) in list.iter().enumerate() {
                let i = i as u32;
                let product = BigUint::from(first).pow(n - i) * BigUint::from(last).pow(i);
                assert!(
                    BigUint::from(*x).pow(n) <= product && BigUint::from(x + 1).pow(n) > product,
                    "{first} {last} {count} [{i}]"
                );
            }
        }
    }

    #[test]
    fn division_rounds_up() {
        for (a, b, expected) in [
            (7, 2, 4),
            (6, 2, 3),
            (-7, 2, -3),
            (7, -2, -3),
            (-7, -2, 4),
            (0, 5, 0),
            (1, i64::MAX, 1),
        ] {
            assert_eq!(ceil_div(a, b), Some(expected), "{a} {b}");
        }
        assert_eq!(ceil_div(i64::MIN, -1), None);
    }
}
