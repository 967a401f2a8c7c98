// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Expressions, by precedence. Recursion is bounded by [`MAX_DEPTH`]; chains of `+ -` and `* / %` are loops.

use attnc_diag::{Code, Diagnostic, Span};

use super::Parser;
use crate::ast::{Expr, ExprKind, Ident, Op};
use crate::limits::MAX_DEPTH;
use crate::token::{Keyword, Kind, Token};

impl Parser<'_> {
    /// An expression where no range can stand; `a..b` is reported and read as a hole.
    pub(super) fn value(&mut self) -> Expr {
        let first = self.expr();
        if !matches!(self.kind(), Kind::DotDot | Kind::DotDotEq) {
            return first;
        }
        self.report(
            Diagnostic::new(
                Code::RangeAsValue,
                self.span(),
                "a range is no value",
                "a range stands after `for ... in` only",
            )
            .with_help("write the elements as a list: `[0, 1, 2]`"),
        );
        self.bump();
        if self.starts_expr() {
            self.expr();
        }
        self.hole(first.span)
    }

    /// An expression: `sum`s of products of powers.
    pub(super) fn expr(&mut self) -> Expr {
        self.sum()
    }

    fn hole(&self, start: Span) -> Expr {
        Expr {
            kind: ExprKind::Error,
            span: self.span_from(start),
        }
    }

    fn sum(&mut self) -> Expr {
        self.chain(Self::product, |kind| match kind {
            Kind::Plus => Some(Op::Add),
            Kind::Minus => Some(Op::Sub),
            _ => None,
        })
    }

    fn product(&mut self) -> Expr {
        self.chain(Self::unary, |kind| match kind {
            Kind::Star => Some(Op::Mul),
            Kind::Slash => Some(Op::Div),
            Kind::Percent => Some(Op::Rem),
            _ => None,
        })
    }

    fn chain(&mut self, operand: fn(&mut Self) -> Expr, op: fn(Kind) -> Option<Op>) -> Expr {
        let first = operand(self);
        let start = first.span;
        let mut steps = Vec::new();
        while let Some(op) = op(self.kind()) {
            self.bump();
            steps.push((op, operand(self)));
        }
        if steps.is_empty() {
            return first;
        }
        Expr {
            kind: ExprKind::Chain(Box::new(first), steps),
            span: self.span_from(start),
        }
    }

    /// Runs `inner` one level deeper; a hole if that is too deep.
    fn deeper(&mut self, inner: impl FnOnce(&mut Self) -> Expr) -> Expr {
        self.expression_depth += 1;
        let expr = if self.expression_depth > MAX_DEPTH {
            self.too_deep("expressions");
            let start = self.span();
            self.skip_nested();
            self.blamed = Some(self.at);
            self.hole(start)
        } else {
            inner(self)
        };
        self.expression_depth -= 1;
        expr
    }

    fn unary(&mut self) -> Expr {
        let start = self.span();
        if !self.eat(Kind::Minus) {
            return self.power();
        }
        let inner = self.deeper(Self::unary);
        Expr {
            kind: ExprKind::Neg(Box::new(inner)),
            span: self.span_from(start),
        }
    }

    fn power(&mut self) -> Expr {
        let base = self.postfix();
        if !self.eat(Kind::Caret) {
            return base;
        }
        let start = base.span;
        // Right-associative, and a unary minus may stand here: unary does both.
        let exponent = self.deeper(Self::unary);
        Expr {
            kind: ExprKind::Pow(Box::new(base), Box::new(exponent)),
            span: self.span_from(start),
        }
    }

    fn postfix(&mut self) -> Expr {
        let mut expr = self.primary();
        let start = expr.span;
        let mut indices = 0;
        loop {
            let open = self.token();
            match open.kind {
                Kind::LBracket if self.expression_depth + indices >= MAX_DEPTH => {
                    self.too_deep("indices");
                    self.skip_nested();
                    self.blamed = Some(self.at);
                    return self.hole(start);
                }
                Kind::LBracket => {
                    indices += 1;
                    self.bump();
                    let index = self.deeper(Self::value);
                    if !self.close(open, Kind::RBracket, "]") {
                        return self.hole(start);
                    }
                    expr = Expr {
                        kind: ExprKind::Index(Box::new(expr), Box::new(index)),
                        span: self.span_from(start),
                    };
                }
                Kind::LParen => {
                    self.unexpected(
                        "an operator or the end of the expression",
                        Some("only the name of a function can stand before `(`; a product is written with `*`".to_owned()),
                    );
                    self.bump();
                    self.arguments(open, Kind::RParen, ")");
                    return self.hole(start);
                }
                _ => return expr,
            }
        }
    }

    pub(super) fn starts_expr(&self) -> bool {
        matches!(
            self.kind(),
            Kind::Ident
                | Kind::Int(_)
                | Kind::Float(_)
                | Kind::BadNumber
                | Kind::Str
                | Kind::BadStr
                | Kind::LBracket
                | Kind::LParen
                | Kind::Minus
        )
    }

    fn primary(&mut self) -> Expr {
        let token = self.token();
        let start = self.span();
        let kind = match token.kind {
            Kind::Int(value) => ExprKind::Int(value),
            Kind::Float(value) => ExprKind::Float(value),
            Kind::BadNumber | Kind::BadStr => ExprKind::Error,
            Kind::Str => {
                self.report(
                    Diagnostic::new(
                        Code::StringAsValue,
                        start,
                        "a string is no value",
                        "strings stand after `use` only",
                    )
                    .with_help("words such as `bf16` are written without quotes"),
                );
                ExprKind::Error
            }
            Kind::Ident => return self.name_or_call(),
            Kind::LParen => return self.parenthesis(),
            Kind::LBracket => {
                self.bump();
                let elements = self.arguments(token, Kind::RBracket, "]");
                return Expr {
                    kind: elements.map_or(ExprKind::Error, ExprKind::List),
                    span: self.span_from(start),
                };
            }
            Kind::Plus => {
                self.unexpected(
                    "an expression",
                    Some("there is no unary `+`; remove it".to_owned()),
                );
                self.bump();
                return if self.starts_expr() {
                    self.primary()
                } else {
                    self.hole(start)
                };
            }
            Kind::Keyword(Keyword::In | Keyword::With | Keyword::Branch | Keyword::For)
                if token.newlines == 0 =>
            {
                self.keyword_as_value(token);
                return self.hole(start);
            }
            _ => {
                self.unexpected("an expression", None);
                return Expr {
                    kind: ExprKind::Error,
                    span: start,
                };
            }
        };
        self.bump();
        Expr { kind, span: start }
    }

    fn keyword_as_value(&mut self, token: Token) {
        // `segment = branch {`: the keyword begins the next item; only the expression is missing.
        if matches!(token.kind, Kind::Keyword(Keyword::Branch))
            && self.kind_after(1) == Kind::LBrace
            || matches!(token.kind, Kind::Keyword(Keyword::For))
                && self.kind_after(1) == Kind::Ident
        {
            return self.unexpected("an expression", None);
        }
        let word = self.text_of(token).to_owned();
        self.report(
            Diagnostic::new(
                Code::KeywordAsName,
                self.span(),
                format!("`{word}` is a keyword and no value"),
                "expected an expression",
            )
            .with_help("take another name"),
        );
        self.bump();
    }

    fn name_or_call(&mut self) -> Expr {
        let token = self.bump();
        let name = Ident {
            name: self.text_of(token).to_owned(),
            span: self.span_of(token),
        };
        let open = self.token();
        if !self.eat(Kind::LParen) {
            return Expr {
                span: name.span,
                kind: ExprKind::Name(name.name),
            };
        }
        let start = name.span;
        let arguments = self.arguments(open, Kind::RParen, ")");
        Expr {
            kind: arguments.map_or(ExprKind::Error, |list| ExprKind::Call(name, list)),
            span: self.span_from(start),
        }
    }

    fn parenthesis(&mut self) -> Expr {
        let start = self.span();
        let open = self.bump();
        let inner = self.deeper(Self::value);
        if self.kind() == Kind::Comma {
            self.unexpected(
                "`)`",
                Some("lists are written in brackets: `[1, 2]`".to_owned()),
            );
            self.bump();
            self.arguments(open, Kind::RParen, ")");
            return self.hole(start);
        }
        if !self.close(open, Kind::RParen, ")") {
            return self.hole(start);
        }
        Expr {
            kind: ExprKind::Paren(Box::new(inner)),
            span: self.span_from(start),
        }
    }

    /// Elements of a list or arguments of a call, behind the opening bracket `open`, and the closing bracket; `None` without that.
    fn arguments(&mut self, open: Token, closing: Kind, symbol: &str) -> Option<Vec<Expr>> {
        let mut list = Vec::new();
        while !matches!(
            self.kind(),
            Kind::RBracket | Kind::RParen | Kind::RBrace | Kind::Eof
        ) {
            let before = self.at;
            if self.begins_item() {
                break;
            }
            list.push(self.deeper(Self::value));
            if self.eat(Kind::Comma) {
                continue;
            }
            if self.starts_expr() && !self.begins_item() {
                self.unexpected(
                    &format!("`,` or `{symbol}`"),
                    Some("elements are separated by commas".to_owned()),
                );
                continue;
            }
            if !matches!(
                self.kind(),
                Kind::RBracket | Kind::RParen | Kind::RBrace | Kind::Eof
            ) && !self.begins_item()
            {
                self.unexpected(&format!("`,` or `{symbol}`"), None);
                self.skip_nested();
                self.eat(Kind::Comma);
                self.blamed = Some(self.at);
            }
            if self.at == before {
                break;
            }
        }
        self.close(open, closing, symbol).then_some(list)
    }

    /// Whether the present token begins an item, so that a bracket before it was forgotten.
    fn begins_item(&self) -> bool {
        match self.kind() {
            Kind::Keyword(_) => true,
            Kind::Ident => self.kind_after(1) == Kind::Eq,
            _ => false,
        }
    }
}
