// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values of expressions: checked 64-bit integers, finite floats, words, lists.
//!
//! In: resolved expressions. Out: values; every mistake is reported once at its span and becomes [`Value::Poison`]. Work is counted, so
//! that no file takes longer than [`MAX_STEPS`] steps.

use attnc_diag::{Code, Diagnostic, Sink, Span};

use crate::functions::Geometric;
use crate::hir::{Expr, ExprKind, Op};
use crate::index::Notes;
use crate::value::Value;
use crate::words::Field;

/// Steps that the evaluation of one file may take.
pub(crate) const MAX_STEPS: u64 = 1 << 24;
/// Longest list.
pub(crate) const MAX_LIST: usize = 65536;

/// Evaluates the expressions of one file.
pub(crate) struct Evaluator<'a> {
    pub(crate) sink: &'a mut Sink,
    pub(crate) notes: &'a mut Notes,
    /// Values of the top-level `let`s evaluated so far.
    pub(crate) globals: Vec<Value>,
    /// Values of the block's names.
    pub(crate) frame: Vec<Value>,
    pub(crate) geometric: Geometric,
    steps: u64,
    exhausted: bool,
}

/// Gives the operator's own final values.
pub(crate) trait Own {
    /// The value of a readable field, read at `span`.
    fn own(&mut self, field: Field, span: Span, eval: &mut Evaluator<'_>) -> Value;
}

/// No operator: outside fields nothing of it can be read.
pub(crate) struct NoOwn;

impl Own for NoOwn {
    fn own(&mut self, _field: Field, _span: Span, _eval: &mut Evaluator<'_>) -> Value {
        Value::Poison
    }
}

/// A number of either kind.
#[derive(Clone, Copy)]
enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    fn as_float(self) -> f64 {
        match self {
            Number::Int(n) => n as f64,
            Number::Float(x) => x,
        }
    }
}

impl<'a> Evaluator<'a> {
    /// An evaluator that reports to `sink`.
    pub(crate) fn new(sink: &'a mut Sink, notes: &'a mut Notes) -> Evaluator<'a> {
        Evaluator {
            sink,
            notes,
            globals: Vec::new(),
            frame: Vec::new(),
            geometric: Geometric::default(),
            steps: 0,
            exhausted: false,
        }
    }

    /// Whether the file has used up its steps.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// Counts work; `false` when there is none left, which is reported once.
    pub(crate) fn spend(&mut self, steps: u64, span: Span) -> bool {
        self.steps = self.steps.saturating_add(steps);
        if self.steps <= MAX_STEPS {
            return true;
        }
        if !self.exhausted {
            self.exhausted = true;
            let help = "compute less in loops; give values that do not change a name outside";
            let message = format!("the file takes more than {MAX_STEPS} steps to evaluate");
            self.fail(
                Code::TooMuchWork,
                span,
                message,
                "the steps are used up here",
                help,
            );
        }
        false
    }

    /// The value of an expression that stands for a name or a field, noted for whoever asks what it became.
    pub(crate) fn named(&mut self, expr: &Expr, own: &mut dyn Own) -> Value {
        let value = self.eval(expr, own);
        self.notes.value(expr.span, &value);
        value
    }

    /// Reports a mistake.
    pub(crate) fn fail(
        &mut self,
        code: Code,
        span: Span,
        message: String,
        label: &str,
        help: &str,
    ) -> Value {
        self.sink
            .push(Diagnostic::new(code, span, message, label).with_help(help));
        Value::Poison
    }

    /// The value of `expr`.
    pub(crate) fn eval(&mut self, expr: &Expr, own: &mut dyn Own) -> Value {
        if !self.spend(1, expr.span) {
            return Value::Poison;
        }
        match &expr.kind {
            ExprKind::Error => Value::Poison,
            ExprKind::Int(n) => match i64::try_from(*n) {
                Ok(n) => Value::Int(n),
                Err(_) => self.fail(
                    Code::NumberTooLarge,
                    expr.span,
                    format!("`{n}` does not fit in 64 bits"),
                    "too large",
                    "integers go up to 9223372036854775807",
                ),
            },
            ExprKind::Float(x) => Value::Float(*x),
            ExprKind::Word(word) => Value::Word(*word),
            ExprKind::Local(slot) => self.frame.get(*slot).cloned().unwrap_or(Value::Poison),
            ExprKind::Global(index) => self.globals.get(*index).cloned().unwrap_or(Value::Poison),
            ExprKind::Own(field) => own.own(*field, expr.span, self),
            ExprKind::List(items) => self.list(items, expr.span, own),
            ExprKind::Index(list, index) => self.index(list, index, own),
            ExprKind::Neg(inner) => self.negate(inner, expr.span, own),
            ExprKind::Pow(base, exponent) => {
                let (a, b) = (self.eval(base, own), self.eval(exponent, own));
                self.power(&a, &b, base.span, exponent.span)
            }
            ExprKind::Chain(first, steps) => {
                let mut value = self.eval(first, own);
                for (op, operand) in steps {
                    let right = self.eval(operand, own);
                    value = self.binary(
                        *op,
                        &value,
                        &right,
                        first.span.to(operand.span),
                        operand.span,
                    );
                }
                value
            }
            ExprKind::Call(function, arguments) => {
                let values: Vec<Value> = arguments
                    .iter()
                    .map(|argument| self.eval(argument, own))
                    .collect();
                if values.contains(&Value::Poison) {
                    return Value::Poison;
                }
                let spans: Vec<Span> = arguments.iter().map(|argument| argument.span).collect();
                self.call(*function, &values, &spans, expr.span)
            }
        }
    }

    fn list(&mut self, items: &[Expr], span: Span, own: &mut dyn Own) -> Value {
        if items.len() > MAX_LIST {
            let message = format!("a list of {} elements", items.len());
            let help = format!("lists have at most {MAX_LIST} elements");
            return self.fail(Code::ListTooLong, span, message, "too long", &help);
        }
        let items: Vec<Value> = items.iter().map(|item| self.eval(item, own)).collect();
        let list = Value::list(items);
        if list.depth() > attnc_syntax::MAX_DEPTH {
            let message = format!("a list nested deeper than {}", attnc_syntax::MAX_DEPTH);
            return self.fail(
                Code::ListTooDeep,
                span,
                message,
                "too deep",
                "put the values into one list",
            );
        }
        list
    }

    fn index(&mut self, list: &Expr, index: &Expr, own: &mut dyn Own) -> Value {
        let (value, at) = (self.eval(list, own), self.eval(index, own));
        let items = match &value {
            Value::Poison => return Value::Poison,
            Value::List(items) => items,
            other => {
                let message = format!("{} has no elements", other.describe());
                return self.fail(
                    Code::NotAList,
                    list.span,
                    message,
                    "this is no list",
                    "only lists can be indexed",
                );
            }
        };
        let length = items.items.len();
        match at {
            Value::Poison => Value::Poison,
            Value::Int(n) => match usize::try_from(n).ok().and_then(|n| items.items.get(n)) {
                Some(item) => item.clone(),
                None => {
                    let elements = if length == 1 {
                        "1 element".to_owned()
                    } else {
                        format!("{length} elements")
                    };
                    let help = match length {
                        0 => "the list is empty".to_owned(),
                        _ => format!("indices go from 0 to {}", length - 1),
                    };
                    let message = format!("index {n} of a list of {elements}");
                    self.fail(
                        Code::IndexOutOfRange,
                        index.span,
                        message,
                        "no such element",
                        &help,
                    )
                }
            },
            other => {
                let message = format!("{} is no index", other.describe());
                self.fail(
                    Code::ArgumentType,
                    index.span,
                    message,
                    "an index is an integer",
                    integer_help(&other),
                )
            }
        }
    }

    fn negate(&mut self, inner: &Expr, span: Span, own: &mut dyn Own) -> Value {
        // The most negative integer has no positive twin to negate.
        if let ExprKind::Int(n) = inner.kind
            && n == 1 << 63
        {
            return Value::Int(i64::MIN);
        }
        match self.eval(inner, own) {
            Value::Poison => Value::Poison,
            Value::Int(n) => match n.checked_neg() {
                Some(n) => Value::Int(n),
                None => self.overflow(span),
            },
            Value::Float(x) => Value::Float(-x),
            other => {
                let message = format!("`-` takes a number, found {}", other.describe());
                self.fail(
                    Code::OperandType,
                    inner.span,
                    message,
                    "this is no number",
                    "remove the `-`",
                )
            }
        }
    }

    fn overflow(&mut self, span: Span) -> Value {
        self.fail(
            Code::IntegerOverflow,
            span,
            "the result does not fit in 64 bits".to_owned(),
            "this overflows",
            "integers go up to 9223372036854775807; compute with floats: `2.0 * x`",
        )
    }

    /// `x` if it is finite.
    pub(crate) fn finite(&mut self, x: f64, span: Span) -> Value {
        if x.is_finite() {
            return Value::Float(x);
        }
        let what = if x.is_nan() {
            "not a number"
        } else {
            "infinite"
        };
        self.fail(
            Code::NonFinite,
            span,
            format!("the result is {what}"),
            "no finite number",
            "values must be finite",
        )
    }

    /// Both operands as numbers, or a report.
    fn numbers(
        &mut self,
        symbol: &str,
        a: &Value,
        b: &Value,
        span: Span,
    ) -> Option<(Number, Number)> {
        let number = |value: &Value| match value {
            Value::Int(n) => Some(Number::Int(*n)),
            Value::Float(x) => Some(Number::Float(*x)),
            Value::Word(_) | Value::List(_) | Value::Poison => None,
        };
        if matches!(a, Value::Poison) || matches!(b, Value::Poison) {
            return None;
        }
        if let (Some(a), Some(b)) = (number(a), number(b)) {
            return Some((a, b));
        }
        let message = format!(
            "`{symbol}` takes numbers, found {} and {}",
            a.describe(),
            b.describe()
        );
        let help = if matches!(a, Value::List(_)) || matches!(b, Value::List(_)) {
            "take an element: `list[i]`"
        } else {
            "words stand for themselves; they cannot be computed with"
        };
        self.fail(
            Code::OperandType,
            span,
            message,
            "these do not go together",
            help,
        );
        None
    }

    fn binary(&mut self, op: Op, a: &Value, b: &Value, span: Span, right: Span) -> Value {
        let Some(pair) = self.numbers(op.symbol(), a, b, span) else {
            return Value::Poison;
        };
        if let (Number::Int(a), Number::Int(b)) = pair {
            return self.integers(op, a, b, span, right);
        }
        let (a, b) = (pair.0.as_float(), pair.1.as_float());
        let result = match op {
            Op::Add => a + b,
            Op::Sub => a - b,
            Op::Mul => a * b,
            Op::Div if b == 0.0 => return self.by_zero(span, right),
            Op::Div => a / b,
            Op::Rem => {
                let message = "`%` takes integers".to_owned();
                return self.fail(
                    Code::OperandType,
                    span,
                    message,
                    "a float is no integer",
                    "convert with `floor(x)` or `round(x)`",
                );
            }
        };
        self.finite(result, span)
    }

    /// A division by the 0 at `zero`.
    pub(crate) fn by_zero(&mut self, span: Span, zero: Span) -> Value {
        self.sink.push(
            Diagnostic::new(
                Code::DivisionByZero,
                span,
                "division by zero",
                "this divides by 0",
            )
            .with_secondary(zero, "this is 0")
            .with_help("divide by something else"),
        );
        Value::Poison
    }

    fn integers(&mut self, op: Op, a: i64, b: i64, span: Span, right: Span) -> Value {
        let result = match op {
            Op::Add => a.checked_add(b),
            Op::Sub => a.checked_sub(b),
            Op::Mul => a.checked_mul(b),
            Op::Div | Op::Rem if b == 0 => return self.by_zero(span, right),
            // i64::MIN % -1 is 0; only its quotient overflows.
            Op::Rem => Some(a.wrapping_rem_euclid(b)),
            Op::Div if a.wrapping_rem(b) != 0 => {
                let message = format!("{a} / {b} leaves a remainder");
                let help = "`/` of integers must be exact; write `ceil_div(a, b)`, `floor(1.0 * a / b)`, or divide a float";
                return self.fail(Code::InexactDivision, span, message, "no integer", help);
            }
            Op::Div => a.checked_div(b),
        };
        match result {
            Some(n) => Value::Int(n),
            None => self.overflow(span),
        }
    }

    fn power(&mut self, a: &Value, b: &Value, base: Span, exponent: Span) -> Value {
        let span = base.to(exponent);
        match self.numbers("^", a, b, span) {
            None => Value::Poison,
            Some((Number::Int(a), Number::Int(b))) if b < 0 => {
                let message = format!("{a}^({b}): an integer to a negative power is no integer");
                self.sink.push(
                    Diagnostic::new(Code::NegativeExponent, span, message, "no integer")
                        .with_secondary(exponent, "negative")
                        .with_help(format!("write `{a}.0^{b}`")),
                );
                Value::Poison
            }
            Some((Number::Int(a), Number::Int(b))) => match integer_power(a, b) {
                Some(n) => Value::Int(n),
                None => self.overflow(span),
            },
            Some((a, b)) => {
                if a.as_float() == 0.0 && b.as_float() < 0.0 {
                    return self.by_zero(span, base);
                }
                self.finite(a.as_float().powf(b.as_float()), span)
            }
        }
    }
}

/// a^b for b >= 0; `None` if it overflows.
fn integer_power(a: i64, b: i64) -> Option<i64> {
    match a {
        0 if b > 0 => Some(0),
        1 => Some(1),
        -1 => Some(if b % 2 == 0 { 1 } else { -1 }),
        _ => a.checked_pow(u32::try_from(b).ok()?),
    }
}

/// How to make an integer of a value that is none.
pub(crate) fn integer_help(value: &Value) -> &'static str {
    match value {
        Value::Float(_) => {
            "no float becomes an integer by itself; convert with `round(x)` or `floor(x)`"
        }
        Value::List(_) => "take an element: `list[i]`",
        Value::Int(_) | Value::Word(_) | Value::Poison => "write an integer",
    }
}
