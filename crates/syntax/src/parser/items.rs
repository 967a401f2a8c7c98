// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Top-level items, and the parts that blocks share with them: `let`, `= value`.

use attnc_diag::{Code, Diagnostic};

use super::Parser;
use super::blocks::Inside;
use crate::ast::{Attention, Edition, Expr, File, Ident, Item, Let, Use};
use crate::lexer::unescape;
use crate::token::{Keyword, Kind};

impl Parser<'_> {
    pub(super) fn file(&mut self) -> File {
        let mut file = File {
            edition: None,
            items: Vec::new(),
        };
        let mut first = true;
        while self.kind() != Kind::Eof {
            match self.kind() {
                Kind::Keyword(Keyword::Edition) => self.edition(&mut file, first),
                Kind::Keyword(Keyword::Use) => file.items.extend(self.use_item().map(Item::Use)),
                Kind::Keyword(Keyword::Let) => file
                    .items
                    .extend(self.let_item(Self::skip_to_item).map(Item::Let)),
                Kind::Keyword(Keyword::Attention) => {
                    file.items.extend(self.attention().map(Item::Attention))
                }
                Kind::Keyword(Keyword::Branch | Keyword::For) => self.block_item_at_top(),
                Kind::Ident if self.kind_after(1) == Kind::Eq => self.field_out_of_place(
                    "at the top level",
                    "a field belongs into the braces of an attention",
                ),
                _ => self.wrong_item(&mut file),
            }
            self.comma_after_item();
            first = false;
        }
        file
    }

    pub(super) fn comma_after_item(&mut self) {
        self.eat(Kind::Comma);
    }

    /// What begins no item: a misspelt keyword, or anything.
    fn wrong_item(&mut self, file: &mut File) {
        let near = self.near_keyword(&["attention", "let", "use", "edition"]);
        let help = near.map(|name| format!("did you mean `{name}`?"));
        let extra = self.kind() == Kind::RBrace;
        let help = help
            .or_else(|| extra.then(|| "there is one `}` too many, or one `{` too few".to_owned()));
        self.unexpected("`use`, `let` or `attention`", help);
        match near {
            Some("attention") if self.kind_after(1) == Kind::Ident => {
                file.items.extend(self.attention().map(Item::Attention))
            }
            Some("let") if self.kind_after(2) == Kind::Eq => file
                .items
                .extend(self.let_item(Self::skip_to_item).map(Item::Let)),
            Some("use") if self.kind_after(1) == Kind::Str => {
                file.items.extend(self.use_item().map(Item::Use))
            }
            _ if extra => {
                self.bump();
            }
            _ => {
                self.lose();
                self.skip_to_item();
            }
        }
    }

    fn edition(&mut self, file: &mut File, first: bool) {
        let start = self.span();
        if !first {
            let message = if file.edition.is_some() {
                "`edition` is given twice"
            } else {
                "`edition` does not stand first"
            };
            self.report(
                Diagnostic::new(
                    Code::EditionNotFirst,
                    start,
                    message,
                    "`edition` stands once, before everything else",
                )
                .with_help("remove it, or move it to the head of the file"),
            );
        }
        self.bump();
        let span = self.span();
        let number = match self.kind() {
            Kind::Int(number) => number,
            Kind::BadNumber => {
                self.bump();
                return;
            }
            Kind::Float(_) => 0,
            _ => {
                self.unexpected("the edition's number", Some("write `edition 1`".to_owned()));
                return;
            }
        };
        if number != 1 {
            let text = self.text_of(self.token()).to_owned();
            let message = format!("edition `{text}` does not exist");
            self.report(
                Diagnostic::new(Code::UnknownEdition, span, message, "no such edition")
                    .with_help("there is `edition 1`"),
            );
        }
        self.bump();
        if first {
            file.edition = Some(Edition { number, span });
        }
    }

    pub(super) fn use_item(&mut self) -> Option<Use> {
        self.bump();
        let token = self.token();
        match token.kind {
            Kind::Str => {
                self.bump();
                Some(Use {
                    path: unescape(self.text_of(token)),
                    span: self.span_of(token),
                })
            }
            Kind::BadStr => {
                self.bump();
                None
            }
            _ => {
                let help = (token.kind == Kind::Ident)
                    .then(|| "paths stand in quotes: `use \"std/dense.attn\"`".to_owned());
                self.unexpected("a path in quotes", help);
                if token.kind == Kind::Ident && token.newlines == 0 {
                    self.skip_to_item();
                }
                None
            }
        }
    }

    /// `let name = value`; `recover` is called where the rest cannot be read.
    pub(super) fn let_item(&mut self, recover: fn(&mut Self)) -> Option<Let> {
        self.bump();
        let Some(name) = self.ident("a name") else {
            recover(self);
            return None;
        };
        let value = self.assigned(recover);
        Some(Let { name, value })
    }

    /// `= value`; a missing `=` before an expression is reported and taken as there.
    pub(super) fn assigned(&mut self, recover: fn(&mut Self)) -> Expr {
        let start = self.span();
        let good =
            self.expect(Kind::Eq, "`=`", None) || self.starts_expr() && self.token().newlines == 0;
        if !good {
            recover(self);
            return Expr {
                kind: crate::ast::ExprKind::Error,
                span: start,
            };
        }
        // `heads == 12`
        if self.kind() == Kind::Eq {
            self.unexpected(
                "an expression",
                Some("a field is given with one `=`".to_owned()),
            );
            self.bump();
        }
        self.value()
    }

    fn attention(&mut self) -> Option<Attention> {
        self.bump();
        let Some(name) = self.ident("the attention's name") else {
            self.skip_to_item();
            return None;
        };
        let mut base = None;
        if self.eat(Kind::Eq) {
            base = self.ident("the attention to copy");
            if base.is_none() {
                self.lost_names.insert(name.name);
                self.skip_to_item();
                return None;
            }
            if !self.eat(Kind::Keyword(Keyword::With)) {
                let copied = base.as_ref().map_or("", |b: &Ident| b.name.as_str());
                let help = format!("write `attention {} = {copied} with {{ ... }}`", name.name);
                let diagnostic = Diagnostic::new(
                    Code::MissingWith,
                    self.span(),
                    format!("expected `with`, found {}", self.describe(self.token())),
                    "expected `with { ... }`",
                )
                .with_help(help);
                self.report(diagnostic);
                if self.kind() != Kind::LBrace {
                    if !matches!(
                        self.kind(),
                        Kind::Keyword(Keyword::Attention | Keyword::Let | Keyword::Use)
                    ) {
                        self.skip_to_item();
                    }
                    return Some(Attention {
                        name,
                        base,
                        block: Vec::new(),
                    });
                }
            }
        }
        if self.kind() != Kind::LBrace {
            self.unexpected(if base.is_some() { "`{`" } else { "`{` or `=`" }, None);
            self.skip_to_item();
            if base.is_none() {
                self.lost_names.insert(name.name.clone());
            }
            return base.map(|base| Attention {
                name,
                base: Some(base),
                block: Vec::new(),
            });
        }
        let block = self.block(Inside::Attention);
        Some(Attention { name, base, block })
    }
}
