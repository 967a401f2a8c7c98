// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The table of fields: which values each takes.
//!
//! In: a field, its value and where it stands. Out: the checked value, or `None` and a diagnostic.

use attnc_diag::{Code, Diagnostic, Sink, Span};

use crate::eval::integer_help;
use crate::value::Value;
use crate::words::{Field, Word, word_list};
use crate::{MAX_HEAD_DIM, MAX_HEADS, MAX_LENGTH};

/// A checked value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Setting {
    Int(u64),
    Number(f64),
    Word(Word),
}

/// Smallest and largest value of an integer field; `None` for the others.
fn range(field: Field) -> Option<(u64, u64)> {
    match field {
        Field::Heads | Field::KvHeads => Some((1, u64::from(MAX_HEADS))),
        Field::HeadDim => Some((1, u64::from(MAX_HEAD_DIM))),
        Field::Segment | Field::Dilation => Some((1, MAX_LENGTH)),
        Field::DType
        | Field::Precision
        | Field::Causal
        | Field::Scale
        | Field::Semantics
        | Field::Offsets
        | Field::Ragged
        | Field::Rows
        | Field::Gradient
        | Field::ZeroLse => None,
    }
}

/// A large bound as people write it.
fn bound(n: u64) -> String {
    if n == MAX_LENGTH {
        "2^40".to_owned()
    } else {
        n.to_string()
    }
}

/// Whether `scale` is positive and within the normal numbers of f32.
pub(crate) fn is_scale(scale: f64) -> bool {
    scale >= f64::from(f32::MIN_POSITIVE) && scale <= f64::from(f32::MAX)
}

/// Checks the value of a field.
pub(crate) fn check(field: Field, value: &Value, span: Span, sink: &mut Sink) -> Option<Setting> {
    let name = field.name();
    let words = field.words();
    let mut fail = |code, message: String, label: &str, help: String| {
        sink.push(Diagnostic::new(code, span, message, label).with_help(help));
        None
    };
    match value {
        Value::Poison => None,
        Value::Word(word) if words.contains(word) => Some(Setting::Word(*word)),
        Value::Word(word) if !words.is_empty() => {
            let other = word.field();
            let message = format!("`{name}` does not take `{}`", word.name());
            let takes = if field == Field::Segment {
                "an integer or `whole`".to_owned()
            } else {
                word_list(words)
            };
            let help = format!(
                "`{name}` takes {takes}; `{}` is a value of `{}`",
                word.name(),
                other.name()
            );
            fail(Code::FieldWord, message, "not a value of this field", help)
        }
        Value::Float(x) if field == Field::Scale => scale(*x, &mut fail),
        Value::Int(n) if field == Field::Scale => scale(*n as f64, &mut fail),
        Value::Int(n) => match range(field) {
            Some((low, high)) => {
                match u64::try_from(*n).ok().filter(|n| (low..=high).contains(n)) {
                    Some(n) => Some(Setting::Int(n)),
                    None => {
                        let help = format!("`{name}` goes from {} to {}", bound(low), bound(high));
                        let label = if *n < low as i64 {
                            "too small"
                        } else {
                            "too large"
                        };
                        fail(
                            Code::FieldRange,
                            format!("`{name}` cannot be {n}"),
                            label,
                            help,
                        )
                    }
                }
            }
            None => wrong_type(field, value, &mut fail),
        },
        Value::Float(_) | Value::Word(_) | Value::List(_) => wrong_type(field, value, &mut fail),
    }
}

fn scale(
    x: f64,
    fail: &mut dyn FnMut(Code, String, &str, String) -> Option<Setting>,
) -> Option<Setting> {
    if is_scale(x) {
        return Some(Setting::Number(x));
    }
    let label = if x <= 0.0 {
        "not positive"
    } else {
        "outside the normal numbers of f32"
    };
    let help = format!(
        "`scale` goes from {:e} to {:e}; the default is 1 / sqrt(head_dim)",
        f32::MIN_POSITIVE,
        f32::MAX
    );
    fail(
        Code::ScaleRange,
        format!("`scale` cannot be {x:?}"),
        label,
        help,
    )
}

fn wrong_type(
    field: Field,
    value: &Value,
    fail: &mut dyn FnMut(Code, String, &str, String) -> Option<Setting>,
) -> Option<Setting> {
    let (name, words) = (field.name(), word_list(field.words()));
    let takes = match field {
        Field::Segment => "an integer or `whole`".to_owned(),
        Field::Scale => "a number".to_owned(),
        _ if range(field).is_some() => "an integer".to_owned(),
        _ => words.clone(),
    };
    let help = match value {
        _ if matches!(field, Field::Scale) => "write for instance `1 / sqrt(head_dim)`".to_owned(),
        Value::Word(_) if field == Field::Dilation => "only `segment` takes words".to_owned(),
        value if range(field).is_some() => integer_help(value).to_owned(),
        _ => format!("write {words}"),
    };
    let message = format!("`{name}` takes {takes}, found {}", value.describe());
    fail(Code::FieldType, message, "a value of the wrong type", help)
}
