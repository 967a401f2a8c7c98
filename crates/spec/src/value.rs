// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Values of expressions.

use std::rc::Rc;

use crate::words::Word;

/// What an expression stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Int(i64),
    /// Always finite.
    Float(f64),
    Word(Word),
    List(Rc<List>),
    /// A mistake that has been reported. Everything computed from it is one too, silently.
    Poison,
}

/// A list. Copies share it.
#[derive(Debug, PartialEq)]
pub(crate) struct List {
    pub(crate) items: Vec<Value>,
    /// Lists within lists, this one included; bounded, so that dropping a list does not exhaust the stack.
    pub(crate) depth: usize,
}

impl Value {
    /// A list of `items`.
    pub(crate) fn list(items: Vec<Value>) -> Value {
        let inner = items.iter().map(Value::depth).max().unwrap_or(0);
        Value::List(Rc::new(List {
            items,
            depth: inner + 1,
        }))
    }

    pub(crate) fn depth(&self) -> usize {
        match self {
            Value::List(list) => list.depth,
            Value::Int(_) | Value::Float(_) | Value::Word(_) | Value::Poison => 0,
        }
    }

    /// The value in words, for messages.
    pub(crate) fn describe(&self) -> String {
        match self {
            Value::Int(n) => format!("the integer {n}"),
            Value::Float(x) => format!("the float {x:?}"),
            Value::Word(word) => format!("the word `{}`", word.name()),
            Value::List(list) => format!("a list of {}", list.items.len()),
            Value::Poison => "a mistake".to_owned(),
        }
    }
}
