// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Expressions: what each name in them means, and what is said about names that mean nothing.

use attnc_diag::{Code, Diagnostic, Span};
use attnc_syntax::ast::{self, Ident};

use super::{Lowerer, Top};
use crate::hir::{Expr, ExprKind, Function};
use crate::index::Meaning;
use crate::words::{Field, Word, word_list};

impl Lowerer<'_> {
    /// The expression with its names resolved.
    pub(super) fn expr(&mut self, expr: &ast::Expr) -> Expr {
        let kind = match &expr.kind {
            ast::ExprKind::Error => ExprKind::Error,
            ast::ExprKind::Int(value) => ExprKind::Int(*value),
            ast::ExprKind::Float(value) => ExprKind::Float(*value),
            ast::ExprKind::Name(name) => self.name(name, expr.span),
            ast::ExprKind::List(items) => {
                ExprKind::List(items.iter().map(|item| self.expr(item)).collect())
            }
            ast::ExprKind::Call(name, arguments) => self.call(name, arguments, expr.span),
            ast::ExprKind::Index(list, index) => {
                ExprKind::Index(Box::new(self.expr(list)), Box::new(self.expr(index)))
            }
            // The span with its parentheses is the better one to point at.
            ast::ExprKind::Paren(inner) => {
                return Expr {
                    span: expr.span,
                    ..self.expr(inner)
                };
            }
            ast::ExprKind::Neg(inner) => ExprKind::Neg(Box::new(self.expr(inner))),
            ast::ExprKind::Pow(base, exponent) => {
                ExprKind::Pow(Box::new(self.expr(base)), Box::new(self.expr(exponent)))
            }
            ast::ExprKind::Chain(first, steps) => {
                let first = Box::new(self.expr(first));
                ExprKind::Chain(
                    first,
                    steps
                        .iter()
                        .map(|(op, operand)| (*op, self.expr(operand)))
                        .collect(),
                )
            }
        };
        Expr {
            kind,
            span: expr.span,
        }
    }

    fn call(&mut self, name: &Ident, arguments: &[ast::Expr], span: Span) -> ExprKind {
        let lowered: Vec<Expr> = arguments
            .iter()
            .map(|argument| self.expr(argument))
            .collect();
        let Some(function) = Function::from_name(&name.name) else {
            let value = self.is_known(&name.name);
            let functions = Function::ALL.map(Function::name);
            let help = if name.name == "range" {
                "a range is written `0..n`, after `in`".to_owned()
            } else if value {
                format!(
                    "`{}` is no function; a product is written with `*`",
                    name.name
                )
            } else {
                self.suggest.help(
                    &name.name,
                    functions,
                    &format!("the functions are {}", functions.join(", ")),
                )
            };
            let message = format!("unknown function `{}`", name.name);
            self.report(
                Code::UnknownFunction,
                name.span,
                message,
                "no function has this name",
                help,
            );
            return ExprKind::Error;
        };
        self.notes.refer(name.span, || Meaning::Function(function));
        if !function.takes(arguments.len()) {
            let count = arguments.len();
            let given = if count == 1 {
                "1 argument is".to_owned()
            } else {
                format!("{count} arguments are")
            };
            self.report(
                Code::ArgumentCount,
                span,
                format!(
                    "`{}` is called as `{}`, {given} given",
                    function.name(),
                    function.signature()
                ),
                "a wrong number of arguments",
                format!("write `{}`", function.signature()),
            );
            return ExprKind::Error;
        }
        ExprKind::Call(function, lowered)
    }

    fn is_known(&self, name: &str) -> bool {
        self.top.contains_key(name) || self.scopes.iter().any(|scope| scope.contains_key(name))
    }

    fn name(&mut self, name: &str, span: Span) -> ExprKind {
        if let Some(word) = Word::from_name(name) {
            self.notes.refer(span, || Meaning::Word(word));
            return ExprKind::Word(word);
        }
        for scope in self.scopes.iter_mut().rev() {
            if let Some(local) = scope.get_mut(name) {
                local.used = true;
                let meaning = Meaning::constant(local.span, local.value);
                self.notes.refer(span, || meaning);
                return ExprKind::Local(local.slot);
            }
        }
        match self.top.get(name).map(|(top, declared)| (*top, *declared)) {
            Some((Top::Let(index), declared)) => {
                self.used_globals[index] = true;
                let value = self.global_values[index];
                self.notes
                    .refer(span, || Meaning::constant(declared, value));
                self.reads.push((index, span));
                return ExprKind::Global(index);
            }
            Some((Top::Attention(_) | Top::Import(_), declared)) => {
                let diagnostic = Diagnostic::new(
                    Code::NotAValue,
                    span,
                    format!("`{name}` is an attention and no value"),
                    "expected a value",
                )
                .with_secondary(declared, format!("`{name}` comes from here"))
                .with_help("attentions are copied with `with`; they cannot be computed with");
                self.sink.push(diagnostic);
                return ExprKind::Error;
            }
            None => {}
        }
        let field = Field::from_name(name);
        if let (Some(field), Some(_)) = (field.filter(|f| f.is_readable()), self.field) {
            self.notes.refer(span, || Meaning::Own(field));
            return ExprKind::Own(field);
        }
        self.unknown(name, field, span);
        ExprKind::Error
    }

    fn unknown(&mut self, name: &str, field: Option<Field>, span: Span) {
        if self.parsed.lost_names.contains(name) {
            return;
        }
        if let Some(function) = Function::from_name(name) {
            let (message, help) = (
                format!("`{name}` is a function and no value"),
                format!("call it: `{}`", function.signature()),
            );
            return self.report(Code::NotAValue, span, message, "expected a value", help);
        }
        if let Some(field) = field {
            let (message, help) = if field.is_readable() {
                (
                    format!("the field `{name}` cannot be read here"),
                    "only expressions of fields know it: write this there, or name the number with `let` and use the name in both places",
                )
            } else {
                (
                    format!("the field `{name}` cannot be read"),
                    "`heads`, `kv_heads` and `head_dim` can be read, in expressions of fields",
                )
            };
            return self.report(
                Code::FieldReadOutside,
                span,
                message,
                "not a value here",
                help.to_owned(),
            );
        }
        let words: &[Word] = self.field.map_or(&[], Field::words);
        let otherwise = match self.field {
            Some(field) if words.len() > 1 => {
                format!("`{}` takes {}", field.name(), word_list(words))
            }
            _ => "give it a value with `let`".to_owned(),
        };
        if self.suggest.is_spent() {
            let help = "give it a value with `let`".to_owned();
            return self.report(
                Code::UnknownName,
                span,
                format!("unknown name `{name}`"),
                "nothing has this name here",
                help,
            );
        }
        let mut candidates: Vec<&str> = words.iter().map(|word| word.name()).collect();
        for scope in self.scopes.iter().rev() {
            let mut locals: Vec<&str> = scope.keys().map(String::as_str).collect();
            locals.sort_unstable();
            candidates.extend(locals);
        }
        candidates.extend(self.names.iter().map(String::as_str));
        candidates.extend(
            ["heads", "kv_heads", "head_dim"]
                .iter()
                .filter(|_| self.field.is_some()),
        );
        candidates.extend(Word::ALL.iter().map(|word| word.name()));
        candidates.extend(Function::ALL.iter().map(|function| function.name()));
        let help = self.suggest.help(name, candidates, &otherwise);
        self.report(
            Code::UnknownName,
            span,
            format!("unknown name `{name}`"),
            "nothing has this name here",
            help,
        );
    }
}
