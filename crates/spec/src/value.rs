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

    /// The value as it could be written; long lists are cut.
    pub(crate) fn written(&self) -> String {
        const SHOWN: usize = 16;
        match self {
            Value::Int(n) => n.to_string(),
            Value::Float(x) => format!("{x:?}"),
            Value::Word(word) => word.name().to_owned(),
            Value::Poison => "?".to_owned(),
            Value::List(list) => {
                let mut items: Vec<String> = Vec::new();
                for item in list.items.iter().take(SHOWN) {
                    // Lists of lists of lists can be large at every level.
                    items.push(match item {
                        Value::List(inner) if list.depth > 2 => {
                            format!("[{} elements]", inner.items.len())
                        }
                        item => item.written(),
                    });
                }
                if list.items.len() > SHOWN {
                    items.push(format!("... {} more", list.items.len() - SHOWN));
                }
                format!("[{}]", items.join(", "))
            }
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
